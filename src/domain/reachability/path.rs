//! The path of a connection, hop by hop, as it can be judged from inside: names, firewall, cluster, server. Evidence
//! in, one finding per hop out, and a verdict. What the outside sees is not proven here; that takes a vantage.
//!
//! A hop is wrong only on evidence; what could not be read is unknown, never guessed.

use super::finding::{CheckResult, Finding};
use super::kms_bind::BindAnswer;
use super::whole;
use super::whole::{half_remedy, judge_whole};
use crate::domain::address::is_private;
use crate::domain::cluster::objects::{
    Announcement, EndpointSlice, KubernetesService, ObjectList, ObjectNames, Pod,
};
use crate::domain::exposure::paths::PathIn;
use crate::domain::exposure::{Exposure, Part, State};
use crate::domain::pf::rule::PF_WORDS;
use crate::domain::pfsense::freebsd::InterfaceAddress;
use crate::domain::service::Service;
use crate::text::{format_span, word_enum};
use std::net::IpAddr;
use std::time::Duration;

const CHECKS: [&str; 5] = ["service", "address", "announcement", "endpoints", "pod"];

/// What to do where service.address is the built-in one beside another firewall.
pub const NAME_ADDRESS: &str = "Set service.address in the configuration (or KMSCTL_SERVICE_ADDRESS) to the address that the firewall leads to; `kmsctl config init` reads it off the firewall.";

const BUILD: &str =
    "Build it: `kmsctl expose apply`; or correct service.interface, service.port or service.alias.";

/// A piece of evidence, or why there is none.
pub type Known<T> = Result<T, Trouble>;

/// Why a piece of evidence is missing, and what would bring it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// A part of a sentence, without a full stop.
    pub why: String,
    /// One sentence, or nothing.
    pub fix: Option<String>,
    /// It is proven to be a fault of the very thing that was looked at, and not only of our sight.
    pub fault: bool,
    /// The check that says why, where one does.
    pub follows: Option<&'static str>,
}

impl Trouble {
    /// Makes one without advice.
    pub fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), fix: None, fault: false, follows: None }
    }

    #[must_use]
    pub fn follows(mut self, check: &'static str) -> Self {
        self.follows = Some(check);
        self
    }

    /// Makes the finding of a check that rests on the missing evidence.
    pub fn finding(&self, check: &'static str) -> Finding {
        Finding {
            fix: self.fix.clone(),
            follows: self.follows,
            ..Finding::unknown(check, format!("Unknown: {}.", self.why))
        }
    }

    /// Makes the finding of the check that is about the missing evidence itself: wrong where it is a fault.
    pub fn finding_itself(&self, check: &'static str, what: &str) -> Finding {
        if !self.fault {
            return self.finding(check);
        }
        Finding {
            fix: self.fix.clone(),
            unread: true,
            ..Finding::new(check, CheckResult::Wrong, format!("{what}: {}.", self.why))
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolution {
    pub resolver: String,
    pub system: bool,
    /// The addresses, or why there is no answer.
    pub answer: Result<Vec<IpAddr>, String>,
}

impl Resolution {
    /// Makes one; addresses are sorted, each once.
    pub fn new(resolver: &str, system: bool, answer: Result<Vec<IpAddr>, String>) -> Self {
        let answer = answer.map(|mut addresses| {
            addresses.sort();
            addresses.dedup();
            addresses
        });
        Self { resolver: resolver.to_owned(), system, answer }
    }
}

/// The firewall's outside interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wan {
    /// The system's name of it, such as `vtnet0`.
    pub device: String,
    pub addresses: Vec<IpAddr>,
}

impl Wan {
    pub fn of_device(device: &str, interfaces: &[InterfaceAddress]) -> Self {
        let here = interfaces.iter().filter(|address| address.interface == device);
        Self {
            device: device.to_owned(),
            addresses: here.map(|address| address.net.addr()).collect(),
        }
    }

    /// Returns its IPv4 address, which the public name's A record leads to.
    pub fn address(&self) -> Option<IpAddr> {
        self.addresses.iter().copied().find(IpAddr::is_ipv4)
    }
}

#[derive(Clone, Debug)]
pub struct Cluster {
    pub service: Known<crate::domain::cluster::objects::KubernetesService>,
    pub endpoints: Known<ObjectList<EndpointSlice>>,
    pub announcements: Known<ObjectList<Announcement>>,
    pub pods: Known<ObjectList<Pod>>,
}

word_enum! {
pub enum Expected {
    Open = "open",
    Closed = "closed",
}
}

word_enum! {
#[derive(PartialOrd, Ord)]
/// What the evidence amounts to.
pub enum Verdict {
    /// pf lets connections in, and the service behind it answers as a KMS server.
    Open = "open",
    /// pf lets nothing in.
    Closed = "closed",
    /// The evidence allows neither.
    Inconclusive = "inconclusive",
}
}

#[derive(Clone, Debug)]
pub struct Evidence<'a> {
    pub service: &'a Service,
    /// The service's address is not the built-in one beside another firewall.
    pub address_named: bool,
    pub names: &'a ObjectNames,
    pub public_address: Option<IpAddr>,
    pub resolutions: &'a [Resolution],
    pub exposure: Known<&'a Exposure>,
    /// Number of entries of the overload table; `None` where it does not exist.
    pub table: Known<Option<u64>>,
    pub wan: Known<Wan>,
    /// The cluster; `None` where none is configured.
    pub cluster: Option<&'a Cluster>,
    /// How a connection from this machine to the service's address went.
    pub connection: &'a ServiceConnection,
    /// What the service answered to the bind, where it took the connection.
    pub answer: Option<BindAnswer>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    pub expected: Option<Expected>,
    pub verdict: Verdict,
    /// Whether that is as expected; `None` where it is not known.
    pub as_expected: Option<bool>,
    pub hops: Vec<Finding>,
}

/// Judges the path. Without `expected` the exposure has to be whole, by its own intention.
pub fn judge(evidence: &Evidence<'_>, wanted: Option<Expected>) -> Judgement {
    let exposure = match &evidence.exposure {
        Ok(exposure) => judge_whole(exposure, wanted),
        Err(trouble) => trouble.finding(whole::CHECK),
    };
    let expected = wanted
        .or_else(|| evidence.exposure.as_ref().ok().and_then(|exposure| Expected::of(exposure)));
    let mut hops = name_hops(evidence);
    hops.extend(firewall_hops(evidence, expected));
    hops.extend(cluster_hops(evidence));
    hops.extend(service_hops(evidence));
    // What is wrong with the rules is said before everything that was tried.
    let place = if exposure.result == CheckResult::Wrong {
        0
    } else {
        hops.iter().position(|hop| hop.check == "pf").unwrap_or(0)
    };
    let whole = exposure.result;
    hops.insert(place, exposure);
    let state =
        evidence.exposure.as_ref().ok().map(|exposure| (exposure.lets_in(), exposure.filtering));
    let verdict = verdict(state, &hops);
    Judgement {
        as_expected: as_expected(expected, whole, verdict, &hops, state.is_some()),
        expected,
        verdict,
        hops,
    }
}

/// `state` is whether connections are let in, and whether pf filters at all.
fn verdict(state: Option<(Option<bool>, bool)>, hops: &[Finding]) -> Verdict {
    // Only of a server that does not speak KMS nothing is asked.
    let fine = |check: &str| {
        let fine = [CheckResult::Ok, CheckResult::Skipped];
        let is_fine = |hop: &Finding| hop.check == check && fine.contains(&hop.result);
        hops.iter().any(is_fine)
    };
    match state {
        Some((_, false)) => Verdict::Inconclusive,
        Some((Some(false), true)) => Verdict::Closed,
        Some((Some(true), _)) if fine("connect") && fine("speaks") => Verdict::Open,
        _ => Verdict::Inconclusive,
    }
}

/// What is proven from the rules goes before what a hop could not see. A path that should be open is not as expected with one
/// wrong hop, even if others are unknown; one that should be closed is judged by pf alone, as a sick server behind a closed door
/// is no open door.
fn as_expected(
    expected: Option<Expected>,
    whole: CheckResult,
    verdict: Verdict,
    hops: &[Finding],
    pf_read: bool,
) -> Option<bool> {
    if whole == CheckResult::Wrong {
        return Some(false);
    }
    // That pf may not be asked is wrong, but says nothing about what it does.
    let speaks = |hop: &&Finding| pf_read || hop.check != "pf";
    let wrong = hops.iter().filter(speaks).any(|hop| hop.result == CheckResult::Wrong);
    match (expected?, verdict) {
        (Expected::Open, Verdict::Closed) => Some(false),
        (Expected::Open, _) if wrong => Some(false),
        (Expected::Open, Verdict::Inconclusive) => None,
        (Expected::Open, Verdict::Open) | (Expected::Closed, _) => {
            (whole == CheckResult::Ok).then_some(true)
        }
    }
}

/// Judges the hops `service`, `address`, `announcement`, `endpoints` and `pod`.
pub fn cluster_hops(evidence: &Evidence<'_>) -> Vec<Finding> {
    let Some(cluster) = evidence.cluster else {
        let why = "No cluster is configured: set cluster.context, or cluster.enabled = \"yes\".";
        return CHECKS.into_iter().map(|check| Finding::skipped(check, why)).collect();
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
        addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    let asked = if wanted.is_empty() { "none in particular".to_owned() } else { wanted.join(" ") };
    let sentence = format!(
        "Asked for: {asked}; given: {}; the firewall sends to {expected}.",
        if given.is_empty() { "none".to_owned() } else { list(&given) }
    );
    // A Service with addresses of both families has one for each; the firewall sends to one of them.
    let here = |address: &&IpAddr| address.is_ipv4() == expected.is_ipv4();
    let other = |address: &String| match address.parse() {
        Ok(address) => here(&&address) && address != expected,
        Err(_) => true,
    };
    if given.is_empty() {
        return Finding::wrong(
            "address",
            sentence,
            format!(
                "Look at `kubectl describe service {}`: the pool may be empty, or the address taken by another Service.",
                evidence.names.service
            ),
        );
    }
    if !given.iter().filter(here).eq([&expected]) {
        return Finding::wrong(
            "address",
            sentence,
            "Make the Service ask for the address in its annotation metallb.io/loadBalancerIPs, and let alias, service.address and Service agree.",
        );
    }
    if wanted.iter().any(other) {
        return Finding::wrong(
            "address",
            sentence,
            "The Service asks for another address than it has: it will move. Correct its annotation metallb.io/loadBalancerIPs.",
        );
    }
    Finding::ok("address", sentence)
}

/// The nodes where a connection finds an endpoint: those of the endpoints, or else of the Ready pods.
fn endpoint_nodes(cluster: &Cluster) -> Option<Vec<String>> {
    if let Ok(slices) = &cluster.endpoints {
        let endpoints = slices.items.iter().filter_map(|slice| slice.endpoints.as_ref()).flatten();
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
            (record.metadata.name.as_str(), record.status.node.as_deref().unwrap_or("no node"))
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
            )
            .follows("pod");
        }
        [(_, node)] => *node,
        several => {
            let nodes: Vec<String> =
                several.iter().map(|(name, node)| format!("{node} ({name})")).collect();
            return Finding::wrong(
                check,
                format!(
                    "{} records say which node announces {address}: {}. A stale one makes the address jump between nodes.",
                    several.len(),
                    nodes.join(", ")
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
    let all: Vec<_> =
        slices.iter().filter_map(|slice| slice.endpoints.as_ref()).flatten().collect();
    let ready: Vec<String> = all
        .iter()
        .filter(|endpoint| endpoint.is_ready())
        .map(|endpoint| {
            let address = endpoint.addresses.join(" ");
            format!("{address} on {}", endpoint.node_name.as_deref().unwrap_or("an unknown node"))
        })
        .collect();
    let name = &evidence.names.service;
    if !ready.is_empty() {
        return Finding::ok("endpoints", format!("Ready: {}.", ready.join(", ")));
    }
    let sentence = match all.len() {
        0 => format!("The Service {name} has no endpoint."),
        1 => format!("The only endpoint of {name} is not Ready."),
        several => format!("None of the {several} endpoints of {name} is Ready."),
    };
    Finding::wrong(
        "endpoints",
        sentence,
        "Look at the pods, and whether the Service's selector fits their labels.",
    )
    .follows("pod")
}

/// Most pods that a sentence names.
const MOST_NAMED: usize = 8;

fn pod_finding(evidence: &Evidence<'_>, pods: &ObjectList<Pod>) -> Finding {
    let (names, pods) = (evidence.names, &pods.items);
    let server = |pod: &Pod| match pod.container(&names.server) {
        Some(container) => container.standing(),
        None => format!("no container {}", names.server),
    };
    let standings: Vec<String> = pods
        .iter()
        .take(MOST_NAMED)
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
    let others = pods.len().saturating_sub(MOST_NAMED);
    let others = if others > 0 { format!("; and {others} more") } else { String::new() };
    let sentence = standings.join("; ") + &others + ".";
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
            format!("No pod is Ready. {sentence}"),
            format!(
                "Look at `kubectl describe pod -l {}`; a pod with one sick container, be it {}, takes no connection at all.",
                names.selector, names.notifier
            ),
        );
    }
    let rolling = if pods.len() > 1 {
        " More than one pod: a rollout is under way, or the Deployment was scaled."
    } else {
        ""
    };
    Finding::ok("pod", format!("{sentence}{rolling}"))
}

/// Judges the hops `pf`, `nat`, `filter`, `caps`, `table` and `alias`. Without `expected` a rule that is not loaded is wrong
/// where config.xml was read: neither open nor closed is meant by it.
pub fn firewall_hops(evidence: &Evidence<'_>, expected: Option<Expected>) -> Vec<Finding> {
    let exposure = match &evidence.exposure {
        Ok(exposure) => *exposure,
        Err(trouble) => return unread_hops(evidence, trouble),
    };
    let mut hops = vec![
        pf_hop(exposure),
        stale_redirection(evidence, exposure).unwrap_or_else(|| {
            rule_hop("nat", "The port forward", &exposure.nat, exposure, expected)
        }),
        filter_hop(exposure, expected),
        match expected {
            Some(Expected::Closed) => {
                Finding::skipped("caps", "Nothing is to get in that could be capped.")
            }
            _ => caps_hop(exposure),
        },
        table_hop(evidence.service, &evidence.table, Some(exposure)),
        alias_hop(evidence, exposure),
    ];
    hops.extend(other_paths(exposure));
    hops
}

/// Names the paths that kmsctl does not manage, and where there could be more; shared with `doctor`.
pub fn other_paths(exposure: &Exposure) -> Option<Finding> {
    let clauses: Vec<String> = exposure.foreign_paths().map(PathIn::path_clause).collect();
    let unread = exposure.unread_anchors();
    if clauses.is_empty() {
        let judge = if exposure.lets_in().is_none() { Finding::unknown } else { Finding::skipped };
        return (!unread.is_empty()).then(|| judge("paths", unread.join(" ")));
    }
    let found = format!("Beside the managed pair: {}.", clauses.join("; "));
    let sentence = [&[found.as_str()], unread.as_slice()].concat().join(" ");
    Some(if exposure.foreign_paths().any(|path| path.certain) {
        Finding::wrong("paths", sentence, whole::FOREIGN)
    } else {
        Finding::unknown("paths", sentence)
    })
}

/// Says that pf was not read.
pub fn unread_pf(trouble: &Trouble) -> Finding {
    trouble.finding_itself("pf", "pf cannot be asked")
}

fn unread_hops(evidence: &Evidence<'_>, trouble: &Trouble) -> Vec<Finding> {
    vec![
        unread_pf(trouble),
        trouble.finding("nat"),
        trouble.finding("filter"),
        trouble.finding("caps"),
        table_hop(evidence.service, &evidence.table, None),
        trouble.finding("alias"),
    ]
}

/// The loaded redirection has the WAN address of its load time written into it: after a change of the address without
/// a reload it waits for connections that no longer come.
fn stale_redirection(evidence: &Evidence<'_>, exposure: &Exposure) -> Option<Finding> {
    let wan = evidence.wan.as_ref().ok()?.address()?;
    let text = exposure.nat.text.as_deref()?;
    let to = text.split(" to ").nth(1)?.split_ascii_whitespace().next()?;
    let loaded: IpAddr = to.parse().ok()?;
    (loaded != wan).then(|| {
        Finding::wrong(
            "nat",
            format!("The loaded port forward waits at {loaded}, but the interface has {wan}."),
            "Reload the filter in pfSense (Status > Filter Reload): the address is written into the rule when it is loaded.",
        )
    })
}

fn pf_hop(exposure: &Exposure) -> Finding {
    if exposure.filtering {
        return Finding::ok("pf", "pf is enabled.");
    }
    whole::switched_off("pf")
}

fn filter_hop(exposure: &Exposure, expected: Option<Expected>) -> Finding {
    if exposure.finding_of_code("nat-pass").is_some() {
        return Finding::wrong(
            "filter",
            "The port forward's filter rule association is \"Pass\": it lets everybody in by itself, without a filter rule and without caps.",
            whole::PASSES,
        );
    }
    rule_hop("filter", "The filter rule", &exposure.filter, exposure, expected)
}

/// One rule of the pair against what is expected. No client gets in while one of the two is off, so a rule that is on
/// is no fault of a closed exposure.
fn rule_hop(
    check: &'static str,
    what: &str,
    part: &Part,
    exposure: &Exposure,
    expected: Option<Expected>,
) -> Finding {
    let standing = format!("{what}: {}.", part.standing()) + &odd_findings(check, exposure);
    let enabled = part.enabled == Some(true);
    match expected {
        _ if part.enabled.is_some() && part.loaded && !enabled => {
            Finding::wrong(check, standing, whole::APPLY_SAVED)
        }
        Some(Expected::Open) | None if part.loaded => Finding::ok(check, standing),
        Some(Expected::Open) if enabled => Finding::wrong(check, standing, whole::APPLY_SAVED),
        Some(Expected::Open) | None if exposure.elsewhere.loaded => {
            Finding::wrong(check, standing, whole::LEAD)
        }
        Some(Expected::Open) => {
            Finding::wrong(check, standing, "Open it with `kmsctl expose restore`.")
        }
        Some(Expected::Closed) if exposure.state.lets_in() && is_own_part(part) => {
            Finding::wrong(check, standing, &exposure.closing)
        }
        Some(Expected::Closed) if exposure.state.lets_in() => Finding::wrong(
            check,
            standing,
            "Switch off the rule that lets them in, in pfSense (Firewall > NAT and Firewall > Rules): it is not kmsctl's own.",
        ),
        Some(Expected::Closed) if part.loaded && exposure.filtering => Finding::ok(
            check,
            format!("{standing} No client gets in, as the other half of the pair is off."),
        ),
        Some(Expected::Closed) => Finding::ok(check, standing),
        None => match part.configured {
            None => Finding::unknown(check, standing),
            Some(false) if exposure.state == State::Absent => {
                Finding::wrong(check, standing, BUILD)
            }
            Some(_) => Finding::wrong(check, standing, half_remedy(exposure)),
        },
    }
}

/// Whether a rule is the exposure's own, as far as that is known: only such can be revoked.
fn is_own_part(part: &Part) -> bool {
    part.configured.unwrap_or(part.loaded)
}

/// Renders what the exposure finds odd about the loaded rules of a hop.
fn odd_findings(check: &str, exposure: &Exposure) -> String {
    let codes: &[&str] = match check {
        "nat" => &["other-target", "no-rdr-exception", "source-limited", "rdr-pass"],
        _ => &["default-pass", "no-rules-loaded", "shadowed", "other-pass", "group-pass"],
    };
    exposure
        .why
        .iter()
        .filter(|finding| codes.contains(&finding.code))
        .filter_map(|finding| finding.message.split(PF_WORDS).next())
        .map(|sentence| format!(" {sentence}"))
        .chain(deciding_instead(check, exposure))
        .collect()
}

/// Names the filter rule that decides where the port leads to another target.
fn deciding_instead(check: &str, exposure: &Exposure) -> Option<String> {
    let text = exposure.elsewhere_filter.text.as_deref()?;
    (check == "filter").then(|| format!(" The rule that decides where the port leads: {text}."))
}

/// Judges whether each source is capped; shared with `doctor`.
pub fn caps_hop(exposure: &Exposure) -> Finding {
    let loaded = exposure.caps.loaded.map(|caps| caps.to_string()).unwrap_or_default();
    if let (State::Open, Some(paths)) = (exposure.state, exposure.uncapped_clause()) {
        let evidence = format!(
            "In force by the managed rule only: {loaded}. No source is capped where {paths}."
        );
        return Finding::wrong("caps", evidence, whole::FOREIGN);
    }
    match exposure.state {
        State::Uncapped if exposure.elsewhere_filter.loaded => Finding::wrong(
            "caps",
            "Connections get in by a rule that leads the port elsewhere, and no cap per source is in force.",
            whole::LEAD,
        ),
        State::Uncapped => {
            let passes = exposure.finding_of_code("nat-pass").is_some();
            Finding::wrong(
                "caps",
                "Connections get in, and no cap per source is in force.",
                if passes { whole::PASSES } else { whole::SET_CAPS },
            )
        }
        State::Open => match exposure.caps.configured {
            Some(configured) if Some(configured) != exposure.caps.loaded => Finding::wrong(
                "caps",
                format!("In force: {loaded}. Configured: {configured}."),
                whole::APPLY_SAVED,
            ),
            _ => {
                let others = exposure.finding_of_code("other-limits");
                let others = others.map(|finding| format!(" {}", finding.message));
                let others = others.unwrap_or_default();
                Finding::ok("caps", format!("In force per source: {loaded}.{others}"))
            }
        },
        State::Unknown => {
            Finding::unknown("caps", "Unknown: it is not clear whether connections get in.")
        }
        State::Closed | State::Half | State::Absent => idle_caps(exposure),
    }
}

/// Judges the caps where the managed pair lets nothing in: other paths may.
fn idle_caps(exposure: &Exposure) -> Finding {
    let check = "caps";
    if let Some(paths) = exposure.uncapped_clause() {
        let evidence = format!("No source is capped where {paths}.");
        return Finding::wrong(check, evidence, whole::FOREIGN);
    }
    match exposure.lets_in() {
        _ if !exposure.filtering => {
            Finding::skipped(check, "pf is disabled, so no cap is in force.").follows("pf")
        }
        Some(false) => Finding::skipped(check, "Nothing gets in that could be capped."),
        Some(true) | None => Finding::skipped(
            check,
            "The managed pair lets nothing in that could be capped; other paths have caps of their own.",
        ),
    }
}

/// Judges the overload table and the rule that blocks it; shared with `doctor`. Over a cap but not kept out, a source
/// simply tries again.
pub fn table_hop(
    service: &Service,
    entries: &Known<Option<u64>>,
    exposure: Option<&Exposure>,
) -> Finding {
    let (check, name) = ("table", service.table.as_str());
    let entries = match entries {
        Err(trouble) => return trouble.finding(check),
        Ok(None) => {
            let sentence =
                format!("The table {name} does not exist, so clients over a cap are not kept out.");
            return Finding::wrong(check, sentence, whole::RELOAD);
        }
        Ok(Some(1)) => "1 entry".to_owned(),
        Ok(Some(more)) => format!("{more} entries"),
    };
    let sentence = format!("The table {name} is there, with {entries}");
    let idle = exposure.and_then(|exposure| {
        let codes = ["block-missing", "block-ineffective"];
        let mut why = exposure.why.iter();
        why.find(|finding| codes.contains(&finding.code))
    });
    match (exposure, idle) {
        (_, Some(idle)) => {
            Finding::wrong(check, format!("{sentence}. {}", idle.message), whole::RELOAD)
        }
        (Some(exposure), None) if exposure.filtering => {
            Finding::ok(check, format!("{sentence}, and a loaded rule blocks it."))
        }
        (_, None) => Finding::ok(check, format!("{sentence}.")),
    }
}

/// Judges the alias against the service's address; shared with `doctor`.
pub fn alias_hop(evidence: &Evidence<'_>, exposure: &Exposure) -> Finding {
    let alias = &exposure.alias;
    let (name, wanted) = (&alias.name, evidence.service.address);
    let fix = if evidence.address_named {
        format!(
            "Make {wanted} the only member of the alias (Firewall > Aliases), or correct service.address."
        )
    } else {
        NAME_ADDRESS.to_owned()
    };
    if let Some(stale) = exposure.finding_of_code("alias-stale") {
        return Finding::wrong("alias", &stale.message, whole::APPLY_SAVED);
    }
    if let Some(unread) = exposure.finding_of_code("alias-unread") {
        return Finding::unknown("alias", &unread.message);
    }
    match (alias.configured, alias.as_expected) {
        (None, _) => Finding::unknown("alias", "Unknown: config.xml was not read.").follows("php"),
        (Some(false), _) => Finding::wrong(
            "alias",
            format!("The alias {name} does not exist: pfSense leaves out every rule that uses it at the next reload."),
            fix,
        ),
        (_, Some(true)) => Finding::ok("alias", format!("{name} is {wanted}.")),
        (_, None) if !alias.addresses.is_empty() => Finding::unknown(
            "alias",
            format!(
                "{name} holds {}: only the firewall knows which addresses that are.",
                alias.addresses.join(" ")
            ),
        ),
        _ if alias.addresses.is_empty() => Finding::wrong(
            "alias",
            format!("The alias {name} is empty: the port is silently closed."),
            fix,
        ),
        _ if !evidence.address_named => Finding::unknown(
            "alias",
            format!(
                "{name} is {}; {wanted} is the built-in service.address, and the configuration names a firewall without saying where its service is.",
                alias.addresses.join(" ")
            ),
        )
        .fix(fix),
        _ => Finding::wrong(
            "alias",
            format!("{name} is {}, not {wanted}.", alias.addresses.join(", ")),
            fix,
        ),
    }
}

/// Judges the hops `dns`, `dns-aaaa` and `wan`.
pub fn name_hops(evidence: &Evidence<'_>) -> Vec<Finding> {
    let names = if evidence.service.host.is_empty() {
        let nameless =
            |check| Finding::skipped(check, "No public name is configured (service.host).");
        ["dns", "dns-aaaa"].map(nameless)
    } else {
        [addresses_hop(evidence), strays_hop(evidence)]
    };
    names.into_iter().chain([wan_hop(evidence)]).collect()
}

/// Returns the address that resolvers should answer outside, if it is known.
fn public_address(evidence: &Evidence<'_>) -> Option<IpAddr> {
    let own = || evidence.wan.as_ref().ok()?.address().filter(|address| !is_private(address));
    evidence.public_address.or_else(own)
}

/// What one resolver's A records mean.
enum NameAnswer<'a> {
    Nothing(&'a str),
    NoAddress,
    Inside,
    Public(IpAddr),
    Wrong(IpAddr),
}

fn answer_of<'a>(resolution: &'a Resolution, evidence: &Evidence<'_>) -> NameAnswer<'a> {
    let answer = match &resolution.answer {
        Err(why) => return NameAnswer::Nothing(why),
        Ok(answer) => answer,
    };
    let own = |address: &IpAddr| *address == evidence.service.address;
    let mut addresses = answer.iter().copied().filter(|address| address.is_ipv4() || own(address));
    let Some(first) = addresses.next() else {
        return NameAnswer::NoAddress;
    };
    let all: Vec<IpAddr> = std::iter::once(first).chain(addresses).collect();
    if all.iter().all(own) {
        return NameAnswer::Inside;
    }
    let expected = public_address(evidence);
    let wrong = |address: &&IpAddr| match expected {
        Some(expected) => **address != expected,
        None => is_private(address),
    };
    match all.iter().find(wrong) {
        Some(address) => NameAnswer::Wrong(*address),
        None => NameAnswer::Public(first),
    }
}

fn addresses_hop(evidence: &Evidence<'_>) -> Finding {
    let host = &evidence.service.host;
    let resolutions = evidence.resolutions;
    if resolutions.is_empty() {
        return Finding::unknown("dns", "No resolver was asked.");
    }
    let mut sentences = Vec::new();
    let (mut unread, mut wrong, mut inside) = (false, false, false);
    let mut publics: Vec<IpAddr> = Vec::new();
    for resolution in resolutions {
        let who = &resolution.resolver;
        sentences.push(match answer_of(resolution, evidence) {
            NameAnswer::Nothing(why) => {
                unread = true;
                format!("{who}: no answer ({why})")
            }
            NameAnswer::NoAddress => {
                wrong = true;
                format!("{who}: no A record")
            }
            NameAnswer::Inside => {
                inside = true;
                format!("{who}: {}, the service's own address inside", evidence.service.address)
            }
            NameAnswer::Public(address) => {
                publics.push(address);
                format!("{who}: {address}")
            }
            NameAnswer::Wrong(address) => {
                wrong = true;
                format!("{who}: {address}, which does not lead to the firewall")
            }
        });
    }
    publics.sort();
    publics.dedup();
    let notes = dns_notes(evidence, &publics, inside);
    let sentence = format!("{host}: {}.{notes}", sentences.join("; "));
    match (wrong || publics.len() > 1, unread) {
        (true, _) => Finding::wrong("dns", sentence, dns_fix(evidence)),
        (false, true) => Finding::unknown("dns", sentence)
            .fix("Ask again; `verify.resolvers` names the name servers that are asked."),
        (false, false) if publics.is_empty() => {
            Finding::unknown("dns", sentence).fix("Name servers outside in verify.resolvers.")
        }
        (false, false) if public_address(evidence).is_none() => Finding::unknown("dns", sentence).fix(
            "Set service.public_address to the public address that is forwarded to the firewall.",
        ),
        (false, false) => Finding::ok("dns", sentence),
    }
}

/// Says what the answers do not prove.
fn dns_notes(evidence: &Evidence<'_>, publics: &[IpAddr], inside: bool) -> String {
    let mut notes = String::new();
    notes.push_str(match publics {
        [] if inside => " Resolvers outside were not asked.",
        [_] if inside => {
            " Split horizon: resolvers inside and outside answer different addresses, which is right here."
        }
        [] | [_] => "",
        _ => " They disagree.",
    });
    if !publics.is_empty() && public_address(evidence).is_none() {
        notes.push_str(" Whether that leads to the firewall is not known: its own address is not a public one, and service.public_address is not set.");
    }
    notes
}

fn dns_fix(evidence: &Evidence<'_>) -> String {
    let host = &evidence.service.host;
    match public_address(evidence) {
        Some(address) => {
            format!("Make the A record of {host} {address}; outside it may have no other.")
        }
        None => format!(
            "Give {host} one A record outside: the public address that is forwarded to the firewall."
        ),
    }
}

fn strays_hop(evidence: &Evidence<'_>) -> Finding {
    if evidence.service.address.is_ipv6() {
        return Finding::skipped("dns-aaaa", "The service has an IPv6 address of its own.");
    }
    let answers = || {
        evidence
            .resolutions
            .iter()
            .filter_map(|resolution| Some((resolution, resolution.answer.as_ref().ok()?)))
    };
    let stray = answers().find_map(|(resolution, answer)| {
        let address = answer.iter().find(|address| address.is_ipv6())?;
        Some((resolution, address))
    });
    let host = &evidence.service.host;
    match stray {
        Some((resolution, address)) => Finding::wrong(
            "dns-aaaa",
            format!(
                "{}: {host} has an AAAA record, {address}. Clients try it first, and the service has IPv4 only.",
                resolution.resolver
            ),
            format!("Remove the AAAA record of {host}."),
        ),
        None if answers().next().is_none() => Finding::unknown("dns-aaaa", "No resolver answered."),
        None => Finding::ok("dns-aaaa", format!("{host} has no AAAA record.")),
    }
}

fn wan_hop(evidence: &Evidence<'_>) -> Finding {
    let wan = match &evidence.wan {
        Ok(wan) => wan,
        Err(trouble) => return trouble.finding("wan"),
    };
    let (device, port) = (&wan.device, evidence.service.port);
    match wan.address() {
        None => Finding::wrong(
            "wan",
            format!("{device} has no IPv4 address."),
            "Look at Status > Interfaces in pfSense: is the line up?",
        ),
        Some(address) if is_private(&address) => Finding::ok(
            "wan",
            format!(
                "{device} has {address}, not a public address: another router stands before the firewall and must forward TCP/{port} to it, which nothing here can see."
            ),
        ),
        Some(address) => Finding::ok("wan", format!("{device} has {address}, a public address.")),
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServiceConnection {
    Open {
        took: Duration,
    },
    Refused,
    Silent {
        seconds: u64,
    },
    /// Its address is the built-in one, and the firewall is another.
    NotNamed,
    /// This machine could not even send.
    NoWay {
        reason: String,
    },
}

/// Judges the hops `connect` and `speaks`.
pub fn service_hops(evidence: &Evidence<'_>) -> Vec<Finding> {
    let place = format!("{}:{}", evidence.service.address, evidence.service.port);
    let pods = evidence.cluster.and_then(|cluster| cluster.pods.as_ref().ok());
    let is_dead = pods.is_some_and(|pods| !pods.items.iter().any(Pod::is_ready));
    let connect = connect_hop(evidence, &place);
    let answered = !matches!(
        evidence.connection,
        ServiceConnection::Refused | ServiceConnection::Silent { .. }
    );
    let cause = if is_dead && !answered { "pod" } else { "connect" };
    let connect = if cause == "pod" { connect.follows(cause) } else { connect };
    vec![connect, speaks_hop(evidence, cause)]
}

fn connect_hop(evidence: &Evidence<'_>, place: &str) -> Finding {
    let here = "From this machine";
    match evidence.connection {
        ServiceConnection::Open { took } => Finding::ok("connect", format!("{here}, {place} takes connections (within {}).", rounded_time(*took))),
        ServiceConnection::Refused => Finding::wrong(
            "connect",
            format!("{here}, {place} refuses connections: the address is there, but no server listens."),
            "Look at the pod; without a cluster configured, is the server running?",
        ),
        ServiceConnection::Silent { seconds } => Finding::unknown("connect", format!("{here}, {place} did not answer within {}.", format_span(*seconds)))
            .fix("Run it inside (LAN or VPN): from elsewhere silence says nothing. Inside, it means that no node announces the address."),
        ServiceConnection::NotNamed => Finding::unknown("connect", format!("Not tried: {place} is the built-in service.address, and the configuration names a firewall without saying where its service is."))
            .fix(NAME_ADDRESS),
        ServiceConnection::NoWay { reason } => Finding::unknown("connect", format!("{here}, {place} cannot be tried: {reason}."))
            .fix("Run it inside (LAN or VPN)."),
    }
}

fn speaks_hop(evidence: &Evidence<'_>, unconnected: &'static str) -> Finding {
    let check = "speaks";
    let another =
        "Is that the KMS server? Compare service.address and service.port with what is deployed.";
    let stuck =
        "The server is wedged, or something between takes connections for it: restart the pod.";
    if !evidence.service.speaks_kms {
        return Finding::skipped(
            check,
            "service.protocol is tcp: nothing is asked of the server beyond the connection.",
        );
    }
    let Some(answer) = evidence.answer else {
        return Finding::unknown(
            check,
            "Unknown: without a connection the server cannot be asked. Mend that first.",
        )
        .follows(unconnected);
    };
    match answer {
        BindAnswer::Kms => Finding::ok(
            check,
            "The server accepted a bind to the KMS interface; no activation was asked for.",
        ),
        BindAnswer::RpcNotKms => Finding::wrong(
            check,
            "It speaks DCE/RPC, but does not take the KMS interface.",
            another,
        ),
        BindAnswer::NotRpc => Finding::wrong(check, "It answered, but not in DCE/RPC.", another),
        BindAnswer::Silent => {
            Finding::wrong(check, "It took the connection and never answered.", stuck)
        }
        BindAnswer::Reset => {
            Finding::wrong(check, "It took the connection and closed it without an answer.", stuck)
        }
    }
}

/// Rounds a time up to a step, so that two runs print the same unless something changed.
pub fn rounded_time(took: Duration) -> String {
    let steps = [(10, "10ms"), (100, "0.1s"), (500, "0.5s"), (1_000, "1s"), (3_000, "3s")];
    let millis = took.as_millis();
    steps
        .into_iter()
        .find(|(step, _)| millis < *step)
        .map_or_else(|| format_span(took.as_secs() + 1), |(_, word)| word.to_owned())
}

#[cfg(test)]
mod tests;
