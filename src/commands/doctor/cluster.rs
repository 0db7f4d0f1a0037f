//! What `doctor` asks the cluster: kubectl's version, the rights of this login, and how the notifier is, beside what
//! `verify` asks as well.

use crate::app::Context;
use crate::commands::notifier::gather::{self, Wish};
use crate::domain::notifier::health::judge;
use crate::domain::reachability::doctor::rights;
use crate::domain::reachability::doctor::rights::RIGHTS;
use crate::domain::reachability::finding::Finding;
use crate::domain::reachability::path::{Cluster, Known};
use crate::kubectl::Kubectl;
use crate::vantage::all;
use crate::vantage::inside;
use crate::vantage::inside::known;

/// What was found.
pub struct Looked {
    /// The cluster's side of the path.
    pub cluster: Option<Cluster>,
    /// The checks that are no hop of it.
    pub findings: Vec<Finding>,
}

/// Looks at everything at once.
pub async fn look(context: &Context, kubectl: Option<&Kubectl>) -> Looked {
    let Some(kubectl) = kubectl else {
        let why = "No cluster is configured: set cluster.context, or cluster.enabled = \"yes\".";
        let checks = ["kubectl", "kubectl-rights", "notifier"];
        return Looked {
            cluster: None,
            findings: checks
                .into_iter()
                .map(|check| Finding::skipped(check, why))
                .collect(),
        };
    };
    let (version, rights, cluster, notifier) = tokio::join!(
        kubectl.version(),
        rights(context, kubectl),
        inside::cluster(context, Some(kubectl)),
        notifier(context, kubectl),
    );
    Looked {
        cluster,
        findings: vec![program(context, known(version)), rights, notifier],
    }
}

fn program(context: &Context, version: Known<String>) -> Finding {
    let cluster = &context.settings.cluster;
    match version {
        Err(trouble) => Finding::wrong(
            "kubectl",
            format!("It cannot be run: {}.", trouble.why),
            trouble.fix.unwrap_or_default(),
        ),
        Ok(version) => {
            let place = cluster.context.as_deref().unwrap_or("the current one");
            Finding::ok(
                "kubectl",
                format!(
                    "kubectl {version}; context: {place}, namespace: {}.",
                    cluster.namespace
                ),
            )
        }
    }
}

/// Asks for every right that a command needs, all at once. `pods/log` is a subresource, and asked for as one.
async fn rights(context: &Context, kubectl: &Kubectl) -> Finding {
    let cluster = &context.settings.cluster;
    let asked = RIGHTS.map(|right| async move {
        let namespace = if right.metallb {
            cluster.metallb_namespace.as_str()
        } else {
            cluster.namespace.as_str()
        };
        let answer = kubectl.may(namespace, right.verb, right.resource, right.subresource);
        (right, namespace, known(answer.await))
    });
    rights::judge(&all(asked.into()).await)
}

/// Judges the notifier as `notifier status` does.
async fn notifier(context: &Context, kubectl: &Kubectl) -> Finding {
    let check = "notifier";
    let gathered = gather::gather(context, kubectl, Wish::EVERYTHING).await;
    match known(gathered) {
        Ok(gathered) => judge(&gathered.evidence(&context.settings.cluster.names)).finding(check),
        Err(trouble) => trouble.finding(check),
    }
}
