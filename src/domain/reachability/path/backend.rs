//! The cluster's hops: the Service, its address, who announces it, its endpoints and pods. Each rests on a question of
//! its own, so a missing right costs that hop alone.

use std::net::IpAddr;

use super::{Cluster, Evidence};
use crate::domain::cluster::objects::{KubernetesService, ObjectList, Pod};
use crate::domain::reachability::finding::Finding;

const CHECKS: [&str; 5] = ["service", "address", "announcement", "endpoints", "pod"];

/// Judges the hops `service`, `address`, `announcement`, `endpoints` and `pod`.
pub fn cluster_hops(evidence: &Evidence<'_>) -> Vec<Finding> {
    let Some(cluster) = evidence.cluster else {
        let why = "No cluster is configured: set cluster.context, or cluster.enabled = \"yes\".";
        return CHECKS
            .into_iter()
            .map(|check| Finding::skipped(check, why))
            .collect();
    };
    let of_service =
        |check, judge: fn(&Evidence<'_>, &KubernetesService) -> Finding| match &cluster.service {
            Ok(service) => judge(evidence, service),
            Err(trouble) => trouble.finding(check),
        };
    vec![
        of_service("service", service_finding),
        of_service("address", address_finding),
        announcement_finding(evidence, cluster),
        endpoints_finding(evidence, cluster),
        match &cluster.pods {
            Ok(pods) => pod_finding(evidence, pods),
            Err(trouble) => trouble.finding("pod"),
        },
    ]
}

fn service_finding(evidence: &Evidence<'_>, service: &KubernetesService) -> Finding {
    let (name, port) = (&evidence.names.service, evidence.service.port);
    let spec = &service.spec;
    let policy = spec.external_traffic_policy.as_deref().unwrap_or("Cluster");
    if spec.kind != "LoadBalancer" {
        return Finding::wrong(
            "service",
            format!(
                "The Service {name} has the type {}, so it has no address outside the cluster.",
                spec.kind
            ),
            "Give it the type LoadBalancer.",
        );
    }
    if !service.has_port(port) {
        return Finding::wrong(
            "service",
            format!("The Service {name} does not take connections on TCP/{port}."),
            format!("Give it the port {port}, or correct service.port."),
        );
    }
    if policy != "Local" {
        return Finding::wrong(
            "service",
            format!(
                "externalTrafficPolicy of {name} is {policy}: the server sees a node instead of the client, so every activation looks like one from the cluster."
            ),
            "Set externalTrafficPolicy: Local.",
        );
    }
    Finding::ok(
        "service",
        format!("{name} is a LoadBalancer on TCP/{port} with externalTrafficPolicy Local."),
    )
}

fn address_finding(evidence: &Evidence<'_>, service: &KubernetesService) -> Finding {
    let expected = evidence.service.address;
    let (wanted, given) = (service.wanted(), service.given());
    let list = |addresses: &[IpAddr]| {
        addresses
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(" ")
    };
    let asked = if wanted.is_empty() {
        "none in particular".to_owned()
    } else {
        wanted.join(" ")
    };
    let told = format!(
        "Asked for: {asked}; given: {}; the firewall sends to {expected}.",
        if given.is_empty() {
            "none".to_owned()
        } else {
            list(&given)
        }
    );
    let other = |address: &String| address.parse() != Ok(expected);
    if given.is_empty() {
        return Finding::wrong(
            "address",
            told,
            "Look at `kubectl describe service`: the pool may be empty, or the address taken by another Service.",
        );
    }
    if given != [expected] {
        return Finding::wrong(
            "address",
            told,
            "Make the Service ask for the address in its annotation metallb.io/loadBalancerIPs, and let alias, service.address and Service agree.",
        );
    }
    if wanted.iter().any(other) {
        return Finding::wrong(
            "address",
            told,
            "The Service asks for another address than it has: it will move. Correct its annotation metallb.io/loadBalancerIPs.",
        );
    }
    Finding::ok("address", told)
}

/// The nodes where a connection finds an endpoint: told by the endpoints, or else by the Ready pods.
fn endpoint_nodes(cluster: &Cluster) -> Option<Vec<String>> {
    if let Ok(slices) = &cluster.endpoints {
        let endpoints = slices
            .items
            .iter()
            .filter_map(|slice| slice.endpoints.as_ref())
            .flatten();
        return Some(
            endpoints
                .filter(|endpoint| endpoint.is_ready())
                .filter_map(|endpoint| endpoint.node_name.clone())
                .collect(),
        );
    }
    let pods = cluster.pods.as_ref().ok()?;
    Some(
        pods.items
            .iter()
            .filter(|pod| pod.is_ready())
            .filter_map(|pod| pod.spec.node_name.clone())
            .collect(),
    )
}

fn announcement_finding(evidence: &Evidence<'_>, cluster: &Cluster) -> Finding {
    let check = "announcement";
    let announcements = match &cluster.announcements {
        Ok(announcements) => &announcements.items,
        Err(trouble) => return trouble.finding(check),
    };
    let address = evidence.service.address;
    let records: Vec<(&str, &str)> = announcements
        .iter()
        .map(|record| {
            (
                record.metadata.name.as_str(),
                record.status.node.as_deref().unwrap_or("nobody"),
            )
        })
        .collect();
    let node = match records.as_slice() {
        [] => {
            return Finding::wrong(
                check,
                format!(
                    "No node announces {address}: with externalTrafficPolicy Local only a node with a Ready endpoint does."
                ),
                "Make a pod Ready; then look at MetalLB's speakers.",
            );
        }
        [(_, node)] => *node,
        several => {
            let told: Vec<String> = several
                .iter()
                .map(|(name, node)| format!("{node} ({name})"))
                .collect();
            return Finding::wrong(
                check,
                format!(
                    "{} records say who announces {address}: {}. A stale one makes the address jump between nodes.",
                    several.len(),
                    told.join(", ")
                ),
                "Delete the ServiceL2Status of the node that has no Ready endpoint; MetalLB writes its own again.",
            );
        }
    };
    announced_by(node, endpoint_nodes(cluster).as_deref(), evidence)
}

/// Compares the announcing node with those where an endpoint is.
fn announced_by(node: &str, ready: Option<&[String]>, evidence: &Evidence<'_>) -> Finding {
    let (check, address) = ("announcement", evidence.service.address);
    let Some(ready) = ready else {
        return Finding::unknown(
            check,
            format!("{node} announces {address}; whether an endpoint is there is unknown."),
        );
    };
    if ready.iter().any(|other| other == node) {
        return Finding::ok(
            check,
            format!("{node} announces {address}, and a Ready endpoint is there."),
        );
    }
    let there = if ready.is_empty() {
        "there is none at all".to_owned()
    } else {
        format!("they are on {}", ready.join(", "))
    };
    Finding::wrong(
        check,
        format!(
            "{node} announces {address}, but no Ready endpoint is there ({there}): with externalTrafficPolicy Local its connections are dropped."
        ),
        "Restart MetalLB's speaker on that node, or delete the stale ServiceL2Status.",
    )
}

fn endpoints_finding(evidence: &Evidence<'_>, cluster: &Cluster) -> Finding {
    let slices = match &cluster.endpoints {
        Ok(slices) => &slices.items,
        Err(trouble) => return trouble.finding("endpoints"),
    };
    let all: Vec<_> = slices
        .iter()
        .filter_map(|slice| slice.endpoints.as_ref())
        .flatten()
        .collect();
    let ready: Vec<String> = all
        .iter()
        .filter(|endpoint| endpoint.is_ready())
        .map(|endpoint| {
            let address = endpoint.addresses.join(" ");
            format!(
                "{address} on {}",
                endpoint.node_name.as_deref().unwrap_or("an unknown node")
            )
        })
        .collect();
    let name = &evidence.names.service;
    if !ready.is_empty() {
        return Finding::ok("endpoints", format!("Ready: {}.", ready.join(", ")));
    }
    let told = match all.len() {
        0 => format!("The Service {name} has no endpoint."),
        1 => format!("The only endpoint of {name} is not Ready."),
        several => format!("None of the {several} endpoints of {name} is Ready."),
    };
    Finding::wrong(
        "endpoints",
        told,
        "Look at the pods, and whether the Service's selector fits their labels.",
    )
}

fn pod_finding(evidence: &Evidence<'_>, pods: &ObjectList<Pod>) -> Finding {
    let (names, pods) = (evidence.names, &pods.items);
    let server = |pod: &Pod| match pod.container(&names.server) {
        Some(container) => container.standing(),
        None => format!("no container {}", names.server),
    };
    let told: Vec<String> = pods
        .iter()
        .map(|pod| {
            format!(
                "{} ({}): {} {}",
                pod.metadata.name,
                pod.spec.node_name.as_deref().unwrap_or("no node"),
                names.server,
                server(pod)
            )
        })
        .collect();
    let told = told.join("; ") + ".";
    if pods.is_empty() {
        return Finding::wrong(
            "pod",
            format!("No pod has the labels {}.", names.selector),
            format!(
                "Look at `kubectl describe deployment {}`: is it scaled to 0?",
                names.deployment
            ),
        );
    }
    if !pods.iter().any(Pod::is_ready) {
        return Finding::wrong(
            "pod",
            format!("No pod is Ready. {told}"),
            format!(
                "Look at `kubectl describe pod`; a pod with one sick container, be it {}, takes no connection at all.",
                names.notifier
            ),
        );
    }
    let rolling = if pods.len() > 1 {
        " More than one pod: a rollout is under way, or the Deployment was scaled."
    } else {
        ""
    };
    Finding::ok("pod", format!("{told}{rolling}"))
}
