//! The path of a connection, hop by hop, as it can be judged from inside: names, firewall, cluster, server. Evidence
//! in, one finding per hop out, and a verdict. What the outside sees is not proven here; that takes a vantage.
//!
//! A hop is wrong only on evidence; what could not be read is unknown, never guessed. [`names`] judges DNS, [`gate`]
//! the firewall, [`backend`] the cluster, [`reply`] what the service itself answered.

use std::net::IpAddr;

use serde::Serialize;

use super::finding::{CheckResult, Finding};
use super::kms_bind::BindAnswer;
use crate::domain::cluster::objects::{Announcement, EndpointSlice, ObjectList, ObjectNames, Pod};
use crate::domain::exposure::Exposure;
use crate::domain::pfsense::freebsd::InterfaceAddress;
use crate::domain::service::Service;

pub mod backend;
pub mod gate;
pub mod names;
pub mod reply;
#[cfg(test)]
mod tests;

pub use reply::ServiceConnection;

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
}

impl Trouble {
    /// Makes one without advice.
    pub fn new(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            fix: None,
            fault: false,
        }
    }

    /// Makes the finding of a check that rests on the missing evidence.
    pub fn finding(&self, check: &'static str) -> Finding {
        Finding {
            fix: self.fix.clone(),
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
            ..Finding::new(check, CheckResult::Wrong, format!("{what}: {}.", self.why))
        }
    }
}

/// What one resolver said about the public name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolution {
    /// Which one, for people.
    pub resolver: String,
    /// It is the system's own.
    pub system: bool,
    /// The addresses, or why there is no answer.
    pub answer: Result<Vec<IpAddr>, String>,
}

impl Resolution {
    /// Makes one; addresses are sorted and told once.
    pub fn new(resolver: &str, system: bool, answer: Result<Vec<IpAddr>, String>) -> Self {
        let answer = answer.map(|mut addresses| {
            addresses.sort();
            addresses.dedup();
            addresses
        });
        Self {
            resolver: resolver.to_owned(),
            system,
            answer,
        }
    }
}

/// The firewall's outside interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wan {
    /// The system's name of it, such as `vtnet0`.
    pub device: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

impl Wan {
    /// Finds the addresses of a device.
    pub fn of_device(device: &str, interfaces: &[InterfaceAddress]) -> Self {
        let here = interfaces
            .iter()
            .filter(|address| address.interface == device);
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

/// What the cluster said.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// The Service.
    pub service: Known<crate::domain::cluster::objects::KubernetesService>,
    /// Its endpoints.
    pub endpoints: Known<ObjectList<EndpointSlice>>,
    /// Who announces its address.
    pub announcements: Known<ObjectList<Announcement>>,
    /// The pods behind it.
    pub pods: Known<ObjectList<Pod>>,
}

/// What the path is expected to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Expected {
    /// Clients outside get in.
    Open,
    /// Nobody outside gets in.
    Closed,
}

impl Expected {
    /// Reads the intention out of the exposure: open where config.xml enables the whole pair, although pf may say
    /// otherwise. Without the configuration nobody knows: what is loaded is what is to be judged.
    pub fn of(exposure: &Exposure) -> Option<Self> {
        exposure.nat.configured?;
        let passes = exposure
            .why
            .iter()
            .any(|finding| finding.code == "nat-pass");
        let open = match (exposure.nat.enabled, exposure.filter.enabled) {
            (Some(true), Some(true)) => true,
            (Some(true), _) => passes,
            _ => false,
        };
        Some(if open { Self::Open } else { Self::Closed })
    }

    /// Returns the word that stands in JSON and on the screen.
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
        }
    }
}

/// What the evidence amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// pf lets connections in, and the service behind it answers as a KMS server.
    Open,
    /// pf lets nothing in.
    Closed,
    /// The evidence allows neither.
    Inconclusive,
}

impl Verdict {
    /// Returns the word that stands in JSON and on the screen.
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
            Self::Inconclusive => "inconclusive",
        }
    }
}

/// Everything that is known about the path.
#[derive(Clone, Debug)]
pub struct Evidence<'a> {
    /// What is exposed.
    pub service: &'a Service,
    /// The names in the cluster.
    pub names: &'a ObjectNames,
    /// The address the public name should have, where the operator said so.
    pub public_address: Option<IpAddr>,
    /// What the resolvers said.
    pub resolutions: &'a [Resolution],
    /// The firewall's judgement of the pair.
    pub exposure: Known<&'a Exposure>,
    /// Number of entries of the overload table; `None` where it does not exist.
    pub table: Known<Option<u64>>,
    /// The outside interface.
    pub wan: Known<Wan>,
    /// The cluster; `None` where none is configured.
    pub cluster: Option<&'a Cluster>,
    /// How a connection from this machine to the service's address went.
    pub connection: &'a ServiceConnection,
    /// What the service answered to the bind, where it took the connection.
    pub answer: Option<BindAnswer>,
}

/// The path, judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// What it was compared with.
    pub expected: Option<Expected>,
    /// What the evidence amounts to.
    pub verdict: Verdict,
    /// Whether that is as expected; `None` where nobody can tell.
    pub as_expected: Option<bool>,
    /// One finding per hop, in the order of the path.
    pub hops: Vec<Finding>,
}

/// Judges the path. Without `expected` the exposure's own intention counts.
pub fn judge(evidence: &Evidence<'_>, expected: Option<Expected>) -> Judgement {
    let expected = expected.or_else(|| {
        evidence
            .exposure
            .as_ref()
            .ok()
            .and_then(|exposure| Expected::of(exposure))
    });
    let mut hops = names::name_hops(evidence);
    hops.extend(gate::firewall_hops(evidence, expected));
    hops.extend(backend::cluster_hops(evidence));
    hops.extend(reply::service_hops(evidence));
    let state = evidence
        .exposure
        .as_ref()
        .ok()
        .map(|exposure| (exposure.lets_in(), exposure.filtering));
    let verdict = verdict(state, &hops);
    Judgement {
        as_expected: as_expected(expected, state, verdict, &hops),
        expected,
        verdict,
        hops,
    }
}

/// `state` is whether connections are let in, and whether pf filters at all.
fn verdict(state: Option<(Option<bool>, bool)>, hops: &[Finding]) -> Verdict {
    let fine = |check: &str| {
        hops.iter()
            .any(|hop| hop.check == check && hop.result == CheckResult::Ok)
    };
    match state {
        Some((_, false)) => Verdict::Inconclusive,
        Some((Some(false), true)) => Verdict::Closed,
        Some((Some(true), _)) if fine("connect") && fine("speaks") => Verdict::Open,
        _ => Verdict::Inconclusive,
    }
}

/// A path that should be open is not as expected with one wrong hop, whatever else is unknown; one that should be
/// closed is judged by pf alone, as a sick server behind a closed door is no open door.
fn as_expected(
    expected: Option<Expected>,
    state: Option<(Option<bool>, bool)>,
    verdict: Verdict,
    hops: &[Finding],
) -> Option<bool> {
    // That pf may not be asked is wrong, but says nothing about what it does.
    let speaks = |hop: &&Finding| state.is_some() || hop.check != "pf";
    let wrong = hops
        .iter()
        .filter(speaks)
        .any(|hop| hop.result == CheckResult::Wrong);
    match (expected?, verdict) {
        (Expected::Open, Verdict::Closed) => Some(false),
        (Expected::Open, _) if wrong => Some(false),
        (Expected::Open, Verdict::Open) => Some(true),
        (Expected::Open, Verdict::Inconclusive) => None,
        (Expected::Closed, _) => match state? {
            (_, false) => Some(false),
            (lets_in, true) => lets_in.map(|lets_in| !lets_in),
        },
    }
}
