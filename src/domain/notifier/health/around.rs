//! What lies around the notifier: whether clients keep their addresses on the way, and what Kubernetes warns of.

use jiff::SignedDuration;

use super::{Evidence, PodEvidence};
use crate::domain::notifier::event_log::Held;
use crate::domain::notifier::source::ClientSource;
use crate::domain::reachability::finding::{CheckResult, Finding};

/// A warning of Kubernetes within this time is told as something wrong.
const FRESH: SignedDuration = SignedDuration::from_mins(10);
/// The least requests that let one conclude anything from where they come.
const REQUESTS: u64 = 2;

/// Judges whether the log still has the clients' own addresses.
pub(super) fn client_addresses(
    evidence: &Evidence,
    pods: &[PodEvidence],
    findings: &mut Vec<Finding>,
) {
    const CHECK: &str = "client-addresses";
    let fix = format!(
        "`kubectl patch service {} -p '{{\"spec\":{{\"externalTrafficPolicy\":\"Local\"}}}}'`, and put it into what deploys it.",
        evidence.names.service
    );
    let policy = match &evidence.service {
        Ok(service) => service.spec.external_traffic_policy.as_deref(),
        Err(trouble) => {
            findings.push(trouble.finding(CHECK));
            None
        }
    };
    let told = pods
        .iter()
        .filter_map(|pod| pod.log.as_ref().ok())
        .flatten();
    let day = evidence.now - SignedDuration::from_hours(24);
    let held = Held::since(told, day);
    let nodes_only = held
        .addresses
        .iter()
        .all(|(source, _)| *source == ClientSource::ClusterNode);
    let hidden = held.activations >= REQUESTS && !held.addresses.is_empty() && nodes_only;
    let addresses: Vec<String> = held
        .addresses
        .iter()
        .take(3)
        .map(|(_, address)| address.to_string())
        .collect();
    let seen = format!(
        "All {} activations of the last 24 h come from nodes ({})",
        held.activations,
        addresses.join(", ")
    );
    match policy {
        Some("Local") if hidden => findings.push(Finding::wrong(
            CHECK,
            format!("{seen}: the clients' own addresses are lost on the way, although externalTrafficPolicy is Local."),
            "Was it Cluster until a moment ago? Else something before the Service translates addresses.",
        )),
        Some("Local") => findings.push(Finding::ok(
            CHECK,
            "externalTrafficPolicy is Local: the log has the clients' own addresses.",
        )),
        Some(other) => {
            let also = if hidden { format!(" {seen}.") } else { String::new() };
            findings.push(Finding::wrong(
                CHECK,
                format!("externalTrafficPolicy is {other}: every client from outside looks like a node.{also}"),
                fix,
            ));
        }
        None if hidden => findings.push(Finding::wrong(
            CHECK,
            format!("{seen}: externalTrafficPolicy Local was lost."),
            fix,
        )),
        None => {}
    }
}

/// Tells what Kubernetes warns of about these pods.
pub(super) fn kubernetes_warnings(evidence: &Evidence, findings: &mut Vec<Finding>) {
    const MOST: usize = 3;
    let events = match &evidence.events {
        Ok(events) => events,
        Err(trouble) => {
            findings.push(trouble.finding("events"));
            return;
        }
    };
    let ours = |name: &str| {
        evidence
            .pods
            .as_ref()
            .is_ok_and(|pods| pods.iter().any(|pod| pod.name == name))
    };
    let mut told: Vec<_> = events
        .iter()
        .filter(|event| event.kind == "Warning" && ours(&event.involved_object.name))
        .collect();
    told.sort_by_key(|event| std::cmp::Reverse(event.last_timestamp));
    let ready = |name: &str| {
        let pods = evidence.pods.as_ref().ok()?;
        pods.iter().find(|pod| pod.name == name)?.ready
    };
    for event in told.into_iter().take(MOST) {
        // What a pod went through before it became ready is of no interest any more.
        let fresh = event
            .last_timestamp
            .is_some_and(|at| evidence.now.duration_since(at) < FRESH);
        let outcome = match ready(&event.involved_object.name) {
            _ if fresh => CheckResult::Wrong,
            Some(true) => CheckResult::Ok,
            Some(false) => CheckResult::Wrong,
            None => CheckResult::Unknown,
        };
        let at = event
            .last_timestamp
            .map(|at| format!(" ({at})"))
            .unwrap_or_default();
        findings.push(Finding::new(
            "events",
            outcome,
            format!("{}: {}{at}", event.reason, event.message),
        ));
    }
}
