//! What `doctor` asks the cluster: kubectl's version, the rights of this login, and how the notifier is, beside what
//! `verify` asks as well.

use crate::app::Context;
use crate::commands::log_side::KmsActivity;
use crate::commands::notifier::status;
use crate::domain::notifier::health::judge_pipeline;
use crate::domain::reachability::doctor;
use crate::domain::reachability::doctor::RIGHTS;
use crate::domain::reachability::finding::Finding;
use crate::domain::reachability::path::{Cluster, Known};
use crate::kubectl::Kubectl;
use crate::vantage::inside;
use crate::vantage::inside::known_answer;
use crate::vantage::join_in_order;

pub struct Looked {
    /// The cluster's side of the path.
    pub cluster: Option<Cluster>,
    /// The checks that are no hop of it.
    pub findings: Vec<Finding>,
    /// Who was activated.
    pub heard: KmsActivity,
}

pub async fn look_at_cluster(context: &Context, kubectl: Option<&Kubectl>) -> Looked {
    let Some(kubectl) = kubectl else {
        let why = "No cluster is configured: set cluster.context, or cluster.enabled = \"yes\".";
        let checks = ["kubectl", "kubectl-rights", "notifier"];
        return Looked {
            heard: KmsActivity::default(),
            cluster: None,
            findings: checks.into_iter().map(|check| Finding::skipped(check, why)).collect(),
        };
    };
    let (version, rights, cluster, (notifier, heard)) = tokio::join!(
        kubectl.kubectl_version(),
        rights_finding(context, kubectl),
        inside::ask_cluster(context, Some(kubectl)),
        notifier_finding(context, kubectl),
    );
    Looked {
        heard,
        cluster,
        findings: vec![kubectl_finding(context, known_answer(version)), rights, notifier],
    }
}

fn kubectl_finding(context: &Context, version: Known<String>) -> Finding {
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
                format!("kubectl {version}; context: {place}, namespace: {}.", cluster.namespace),
            )
        }
    }
}

/// Asks for every right that a command needs, all at once. `pods/log` is a subresource, and asked for as one.
async fn rights_finding(context: &Context, kubectl: &Kubectl) -> Finding {
    let cluster = &context.settings.cluster;
    let speaks_kms = context.settings.service.speaks_kms;
    let needed = RIGHTS.into_iter();
    let needed = needed.filter(|right| speaks_kms || right.serves_verify());
    let asked = needed.map(|right| async move {
        let namespace = if right.metallb {
            cluster.metallb_namespace.as_str()
        } else {
            cluster.namespace.as_str()
        };
        let answer = kubectl.has_right(namespace, right.verb, right.resource, right.subresource);
        (right, namespace, known_answer(answer.await))
    });
    doctor::rights_findings(&join_in_order(asked.collect()).await)
}

/// Judges the notifier as `notifier status` does.
async fn notifier_finding(context: &Context, kubectl: &Kubectl) -> (Finding, KmsActivity) {
    let check = "notifier";
    if !context.settings.service.speaks_kms {
        let skipped = Finding::skipped(check, "service.protocol is tcp: there is no notifier.");
        return (skipped, KmsActivity::default());
    }
    let gathered = status::gather_pipeline(context, kubectl, true).await;
    match known_answer(gathered) {
        Ok(gathered) => {
            let heard =
                KmsActivity::of_pods(&gathered.pods, &gathered.names.notifier, context.clock.now());
            (judge_pipeline(&gathered).finding(check), heard)
        }
        Err(trouble) => (trouble.finding(check), KmsActivity::default()),
    }
}
