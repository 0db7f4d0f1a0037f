//! Follows containers that come and go: looks for pods, and gives each new one a task of its own, [`mod@reader`].
//! Nothing is printed here.

mod reader;

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc::Sender;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::Item;
use crate::domain::cluster::objects::{Container, ObjectNames};
use crate::error::Failure;
use crate::kubectl::{Kubectl, KubectlError};

/// How often it is looked for new pods; their output waits for us.
const LOOK: Duration = Duration::from_secs(10);

/// How often in a row a refusal is taken for an API server that has just started, once it had answered.
const PATIENT: u32 = 5;

/// What is followed.
#[derive(Clone)]
pub(super) struct Followed {
    /// The way there.
    pub kubectl: Kubectl,
    /// Namespace of the pods.
    pub namespace: String,
    /// Names of what is looked at.
    pub names: ObjectNames,
    /// Container that is read.
    pub container: String,
    /// From when on.
    pub since: Timestamp,
    /// The server's file and how many of its last lines, instead of the output.
    pub file: Option<(String, usize)>,
}

impl Followed {
    /// Says that a pod lacks the container that is read.
    pub(super) fn without_container(&self) -> Failure {
        let key = match self.file {
            Some(_) => "cluster.server_container",
            None => "cluster.notifier_container",
        };
        let message = format!("The pod has no container {}.", self.container);
        Failure::usage(message).hint(format!("Does {key} fit what is deployed?"))
    }
}

/// Follows every pod until nobody listens any more.
pub(super) async fn follow_all_pods(followed: Followed, listeners: Sender<Item>) {
    let mut known: BTreeSet<String> = BTreeSet::new();
    let mut tasks = JoinSet::new();
    let mut first = true;
    let mut told = false;
    let mut refusals = 0;
    loop {
        match followed
            .kubectl
            .pods(&followed.namespace, &followed.names)
            .await
        {
            Ok(list) => {
                told = false;
                refusals = 0;
                // A name that is still listed is not followed twice, though its task may have ended.
                known.retain(|name| list.items.iter().any(|pod| pod.metadata.name == *name));
                if list.items.is_empty() && first {
                    send_notice(&listeners, "There is no pod; waiting for one.").await;
                }
                for pod in list.items {
                    let name = pod.metadata.name.clone();
                    let wanted = |wanted: &Container| wanted.name == followed.container;
                    if first && !pod.spec.containers.iter().any(wanted) {
                        let failure = followed.without_container();
                        let hint = failure.hints.join(" ");
                        send_notice(&listeners, &format!("{name}: {} {hint}", failure.message))
                            .await;
                    }
                    if pod.container(&followed.container).is_none() || !known.insert(name.clone()) {
                        continue;
                    }
                    if !first {
                        send_notice(&listeners, &format!("A new pod: {name}.")).await;
                    }
                    tasks.spawn(reader::follow_one_pod(
                        followed.clone(),
                        pod,
                        listeners.clone(),
                    ));
                }
            }
            Err(error) if !first && refusals < PATIENT && is_refusal(&error) => {
                refusals += 1;
            }
            Err(error) if first || is_final(&error) => {
                let _ = listeners.send(Item::Fail(Failure::from(error))).await;
                return;
            }
            Err(error) if !told => {
                told = true;
                send_notice(
                    &listeners,
                    &format!("New pods cannot be looked for: {error}."),
                )
                .await;
            }
            Err(_) => {}
        }
        first = false;
        tokio::select! {
            () = sleep(LOOK) => {}
            Some(_) = tasks.join_next() => sleep(Duration::from_secs(1)).await,
            () = listeners.closed() => return,
        }
    }
}

async fn send_notice(listeners: &Sender<Item>, sentence: &str) {
    let _ = listeners.send(Item::Say(sentence.to_owned())).await;
}

/// Tells whether the cluster refuses what it may have granted before.
fn is_refusal(error: &KubectlError) -> bool {
    matches!(
        error,
        KubectlError::Forbidden { .. } | KubectlError::Unauthorized { .. }
    )
}

/// Tells whether trying again is pointless.
fn is_final(error: &KubectlError) -> bool {
    matches!(
        error,
        KubectlError::Forbidden { .. }
            | KubectlError::Unauthorized { .. }
            | KubectlError::Missing { .. }
            | KubectlError::NotStarted { .. }
            | KubectlError::Configuration { .. }
    )
}
