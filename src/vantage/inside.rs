//! Gathers what this machine and the cluster can tell, all at once: name servers, a connection to the service, kubectl.
//! On the demo nothing is sent anywhere. Shared by `verify` and `doctor`.

use super::{resolver, service_connection};
use crate::app::Context;
use crate::domain::reachability::kms_bind::BindAnswer;
use crate::domain::reachability::path::{Cluster, Known, Resolution, ServiceConnection, Trouble};
use crate::kubectl::{Kubectl, KubectlError};
use crate::simulator::{self, Scenario};

/// Everything that is seen from inside.
pub struct InsideEvidence {
    /// What the resolvers said.
    pub resolutions: Vec<Resolution>,
    /// How a connection to the service went.
    pub connection: ServiceConnection,
    /// What it answered.
    pub answer: Option<BindAnswer>,
    /// What the cluster said, where one is configured.
    pub cluster: Option<Cluster>,
}

/// Gathers all of it.
pub async fn gather_inside(context: &Context) -> InsideEvidence {
    let kubectl = inside_kubectl(context);
    let (resolutions, (connection, answer), cluster) = tokio::join!(
        resolve_everywhere(context),
        greet_from_inside(context),
        ask_cluster(context, kubectl.as_ref()),
    );
    InsideEvidence {
        resolutions,
        connection,
        answer,
        cluster,
    }
}

/// Returns the way to the cluster, where one is configured; the demo has its own.
pub fn inside_kubectl(context: &Context) -> Option<Kubectl> {
    let cluster = &context.settings.cluster;
    if context.demo {
        let answers = match context.demo_condition() {
            Scenario::BackendDead => simulator::cluster::answers_without_server,
            _ => simulator::cluster::kubectl_answers,
        };
        return Some(Kubectl::Simulated(answers, context.clock));
    }
    cluster.configured.then(|| Kubectl::new(cluster))
}

/// Asks every resolver at once.
pub async fn resolve_everywhere(context: &Context) -> Vec<Resolution> {
    let (settings, host) = (&context.settings, context.settings.service.host.as_str());
    if context.demo {
        return simulator::inside::simulated_resolutions(settings.service.address);
    }
    let mut asked = tokio::task::JoinSet::new();
    let servers = std::iter::once(None).chain(settings.verify.resolvers.iter().copied().map(Some));
    for (place, server) in servers.enumerate() {
        let (host, deadline) = (host.to_owned(), settings.timeout.min(SYSTEM_RESOLVER));
        asked.spawn(async move {
            let resolution = match server {
                None => resolver::ask_system_resolver(&host, deadline).await,
                Some(server) => resolver::ask_resolver(&host, server).await,
            };
            (place, resolution)
        });
    }
    let mut answers = asked.join_all().await;
    answers.sort_by_key(|(place, _)| *place);
    answers
        .into_iter()
        .map(|(_, resolution)| resolution)
        .collect()
}

/// How long the system's resolver may take: with two dead name servers it tries for many times that.
const SYSTEM_RESOLVER: std::time::Duration = std::time::Duration::from_secs(5);

async fn greet_from_inside(context: &Context) -> (ServiceConnection, Option<BindAnswer>) {
    if context.demo {
        return simulator::inside::simulated_greeting(context.demo_condition());
    }
    let target = &context.settings.service;
    service_connection::greet_service((target.address, target.port).into()).await
}

/// Asks the cluster everything at once; each answer may be missing alone.
pub async fn ask_cluster(context: &Context, kubectl: Option<&Kubectl>) -> Option<Cluster> {
    let kubectl = kubectl?;
    let cluster = &context.settings.cluster;
    let (namespace, names) = (cluster.namespace.as_str(), &cluster.names);
    let (service, endpoints, announcements, pods) = tokio::join!(
        kubectl.service(namespace, names),
        kubectl.endpoints(namespace, names),
        kubectl.announcements(&cluster.metallb_namespace, namespace, names),
        kubectl.pods(namespace, names),
    );
    Some(Cluster {
        service: known_answer(service),
        endpoints: known_answer(endpoints),
        announcements: known_answer(announcements),
        pods: known_answer(pods),
    })
}

/// Turns kubectl's error into the reason of a finding.
pub fn known_answer<T>(answer: Result<T, KubectlError>) -> Known<T> {
    answer.map_err(|error| Trouble {
        why: error.to_string(),
        fix: Some(error.fix().to_owned()),
        fault: false,
    })
}
