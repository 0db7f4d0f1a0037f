//! What `doctor` asks the cluster: kubectl's version, the rights of this login, and the notifier's container, beside what
//! `verify` asks as well.

use crate::commands::context::Context;
use crate::commands::verify::inside::{self, known};
use crate::domain::findings::Finding;
use crate::domain::hops::{Cluster, Known};
use crate::kubectl::{Kubectl, KubectlError};

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
    let (version, rights, cluster) = tokio::join!(
        kubectl.version(),
        rights(context, kubectl),
        inside::cluster(context, Some(kubectl)),
    );
    let notifier = cluster.as_ref().map(|cluster| notifier(context, cluster));
    let mut findings = vec![program(context, known(version)), rights];
    findings.extend(notifier);
    Looked { cluster, findings }
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

/// Asks for every right that a command needs. `pods/log` is a subresource, and asked for as one.
async fn rights(context: &Context, kubectl: &Kubectl) -> Finding {
    let cluster = &context.settings.cluster;
    let (ours, metallb) = (
        cluster.namespace.as_str(),
        cluster.metallb_namespace.as_str(),
    );
    let needed = [
        (ours, "get", "services", None),
        (ours, "list", "pods", None),
        (ours, "get", "pods", Some("log")),
        (ours, "list", "endpointslices.discovery.k8s.io", None),
        (metallb, "list", "servicel2statuses.metallb.io", None),
    ];
    let ask = |(namespace, verb, resource, sub)| kubectl.may(namespace, verb, resource, sub);
    let [services, pods, logs, slices, announcements] = needed.map(ask);
    let answers = tokio::join!(services, pods, logs, slices, announcements);
    let answers = [answers.0, answers.1, answers.2, answers.3, answers.4];
    judge(
        &needed.map(|(namespace, verb, resource, sub)| {
            let sub = sub.map(|sub| format!("/{sub}")).unwrap_or_default();
            format!("{verb} {resource}{sub} in {namespace}")
        }),
        answers,
    )
}

fn judge(names: &[String], answers: [Result<bool, KubectlError>; 5]) -> Finding {
    let check = "kubectl-rights";
    let mut missing = Vec::new();
    let mut trouble = None;
    for (name, answer) in names.iter().zip(answers) {
        match answer {
            Ok(true) => {}
            Ok(false) => missing.push(name.as_str()),
            Err(error) => trouble = Some(error),
        }
    }
    match (missing.as_slice(), trouble) {
        ([], None) => Finding::ok(
            check,
            "This login may read everything that kmsctl asks for.",
        ),
        ([], Some(error)) => Finding::unknown(check, format!("Unknown: {error}.")).fix(error.fix()),
        (missing, _) => Finding::wrong(
            check,
            format!("This login may not: {}.", missing.join("; ")),
            "Ask for these rights, or use a login that has them (cluster.context).",
        ),
    }
}

fn notifier(context: &Context, cluster: &Cluster) -> Finding {
    let (check, name) = ("notifier", &context.settings.cluster.names.notifier);
    let pods = match &cluster.pods {
        Ok(pods) => &pods.items,
        Err(trouble) => return trouble.finding(check),
    };
    let mut told = Vec::new();
    let mut alive = false;
    for pod in pods {
        let container = pod.container(name);
        alive |= container.is_some_and(|container| container.ready);
        let standing = container.map_or_else(
            || format!("no container {name}"),
            |container| format!("{name} {}", container.standing()),
        );
        told.push(format!("{}: {standing}", pod.metadata.name));
    }
    match (told.is_empty(), alive) {
        (true, _) => Finding::wrong(check, "There is no pod.", "Look at the hop `pod`."),
        (false, true) => Finding::ok(check, told.join("; ") + "."),
        (false, false) => Finding::wrong(
            check,
            told.join("; ") + ".",
            format!(
                "Look at `kubectl -n {} logs POD -c {name} --previous`.",
                context.settings.cluster.namespace
            ),
        ),
    }
}
