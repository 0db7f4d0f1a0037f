//! Evidence from both ends → verdict: what vantages outside saw of the service, what the firewall saw of them, and
//! whether that makes the service open, closed, or neither. Pure; asks nobody.
//!
//! The rule of the house: *open* needs a connection that was completed and that the firewall saw; *closed* needs
//! failed attempts from a vantage that works and a proof that its packets arrive. Everything else is *inconclusive*, with
//! the reason. Words are nmap's: open, closed, filtered, and why.

mod end;
mod names;
mod one;
pub mod place;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::kms_bind::BindAnswer;
use crate::domain::warning::Warning;

pub use end::{EvidenceSide, FirewallEvidence, HeardFromServer, Saw};
pub use names::{PublicNames, Resolved};

/// How many failed attempts make a "no"; one lost packet must not.
pub const ATTEMPTS: usize = 3;

/// What can be said of the outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Somebody outside connects.
    Open,
    /// Nobody outside connects, and that is proven.
    Closed,
    /// The evidence does not allow a verdict.
    Inconclusive,
}

impl Verdict {
    /// Returns the word that stands in JSON and on the screen.
    pub fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
            Self::Inconclusive => "inconclusive",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What the operator wants to be true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expected {
    /// A client outside is answered by a KMS server.
    Open,
    /// The firewall lets nobody in.
    Closed,
}

impl Expected {
    /// Returns the word that stands in JSON and on the screen.
    pub fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
        }
    }
}

impl From<super::path::Expected> for Expected {
    fn from(expected: super::path::Expected) -> Self {
        match expected {
            super::path::Expected::Open => Self::Open,
            super::path::Expected::Closed => Self::Closed,
        }
    }
}

/// One attempt to connect, as the vantage saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "result")]
pub enum Attempt {
    /// The connection was completed.
    Connected {
        /// What answered the bind; null where the vantage cannot speak it.
        answer: Option<BindAnswer>,
        /// Until the connection stood, in milliseconds.
        milliseconds: u64,
    },
    /// A reset.
    Refused,
    /// Nothing came back in time.
    NoAnswer,
    /// The network says that there is no way.
    Unreachable {
        /// Its words.
        why: String,
    },
    /// The vantage could not try.
    NotTried {
        /// Why.
        why: String,
    },
}

/// Where a vantage is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "where", content = "why")]
pub enum Place {
    /// Outside.
    Outside,
    /// Behind the firewall, or sharing its address: what it sees is a hairpin and proves nothing.
    Inside(String),
    /// Nothing proves that it is outside.
    Unproven(String),
}

/// The positive control: a vantage that reaches nothing at all proves nothing by not reaching us.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "result")]
pub enum Control {
    /// It connected to something known to be open.
    Passed {
        /// `host:port`.
        to: String,
        /// It is another port of the very address that was tried: proof that the way there works.
        same_address: bool,
    },
    /// None is configured; that the vantage answers us is all that is known.
    OwnPath,
    /// It did not connect.
    Failed {
        /// `host:port`.
        to: String,
        /// What happened.
        why: String,
    },
    /// It was not needed, as a connection was completed.
    NotNeeded,
}

/// What one vantage (or one node of a check service) saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// The name in the configuration.
    pub vantage: String,
    /// `ssh`, `check-host`, `local`.
    pub kind: &'static str,
    /// The node of a check service.
    pub node: Option<String>,
    /// The address that the firewall should see, if known.
    pub address: Option<IpAddr>,
    /// Where it is.
    pub place: Place,
    /// In order.
    pub attempts: Vec<Attempt>,
    /// The positive control.
    pub control: Control,
    /// Why there are fewer attempts than wanted.
    pub short: Option<String>,
    /// Why the vantage could not be used at all.
    pub trouble: Option<String>,
}

/// nmap's word for the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PortState {
    /// A SYN-ACK came back.
    Open,
    /// A reset came back.
    Closed,
    /// Nothing came back, or an ICMP refusal.
    Filtered,
}

impl PortState {
    /// Returns the word that stands in JSON and on the screen.
    pub fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
            Self::Filtered => "filtered",
        }
    }
}

/// What both ends together mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Row {
    /// Connected, and a KMS server answers.
    OpenKms,
    /// Connected, and something else answers, or nobody does.
    OpenNotKms,
    /// It arrived, and the firewall dropped it.
    ClosedHere,
    /// Nothing arrived at the firewall: the provider, carrier NAT, a wrong address, a wrong name.
    NothingArrived,
    /// Forwarded, but nobody listens; or a rule that rejects.
    NobodyListens,
}

/// The judgement of one observation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Seen {
    /// The name in the configuration.
    pub vantage: String,
    /// `ssh`, `check-host`, `local`.
    pub kind: &'static str,
    /// The node of a check service.
    pub node: Option<String>,
    /// The address that the firewall should see, if known.
    pub address: Option<IpAddr>,
    /// Where it is.
    pub place: Place,
    /// What it proves.
    pub verdict: Verdict,
    /// nmap's word; null where no attempt was made.
    pub port: Option<PortState>,
    /// nmap's reason: `syn-ack`, `reset`, `no-response`, `host-unreach`.
    pub reason: Option<&'static str>,
    /// What both ends together mean, where they do.
    pub row: Option<Row>,
    /// One sentence for people.
    pub why: String,
    /// In order.
    pub attempts: Vec<Attempt>,
    /// The positive control.
    pub control: Control,
}

/// How many vantages say what. The nodes of one check service are one vantage: one node that proves it open is proof,
/// closed takes more than half of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Quorum {
    /// Vantages that prove it open.
    pub open: usize,
    /// Vantages that prove it closed.
    pub closed: usize,
    /// Vantages that prove nothing.
    pub inconclusive: usize,
}

/// The judgement of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Judgement {
    /// What can be said of the outside.
    pub verdict: Verdict,
    /// What was wanted; null where nobody knows.
    pub expected: Option<Expected>,
    /// The verdict is the wanted one, for the right reason; null where nobody knows what was wanted.
    pub as_expected: Option<bool>,
    /// One sentence.
    pub summary: String,
    /// Who says what.
    pub quorum: Quorum,
    /// Every observation.
    pub vantages: Vec<Seen>,
    /// What is odd: conflicts, names that lead elsewhere. Travels as warnings.
    #[serde(skip)]
    pub findings: Vec<Warning>,
}

/// Judges a run. Without `expected` nothing is as expected, nor is it not.
pub fn judge(
    observations: &[Observation],
    end: &FirewallEvidence,
    names: &PublicNames,
    expected: Option<Expected>,
) -> Judgement {
    let vantages: Vec<Seen> = observations
        .iter()
        .map(|observation| one::vantage_verdict(observation, end))
        .collect();
    let quorum = count(&vantages);
    let mut findings = names.findings();
    if end.changed {
        findings.push(Warning::new(
            "changed-meanwhile",
            "The firewall's rules changed while it was tried from outside.",
        ));
    }
    let conflict = quorum.open > 0 && quorum.closed > 0;
    if conflict {
        findings.push(Warning::new(
            "conflict",
            format!(
                "The vantages disagree: {} open, {} closed; a completed connection is the stronger proof.",
                quorum.open, quorum.closed
            ),
        ));
    }
    let verdict = match quorum {
        Quorum { open: 1.., .. } => Verdict::Open,
        Quorum { closed: 1.., .. } => Verdict::Closed,
        _ => Verdict::Inconclusive,
    };
    let obstacle =
        expected.and_then(|expected| obstacle(&vantages, end, names, verdict, expected, conflict));
    let summary = summary(&vantages, verdict, expected, obstacle.as_deref());
    Judgement {
        verdict,
        expected,
        as_expected: expected
            .map(|expected| verdict.word() == expected.word() && obstacle.is_none()),
        summary,
        quorum,
        vantages,
        findings,
    }
}

/// Counts vantages. One node's proven connection is not outvoted; of "closed" more than half must speak.
fn count(seen: &[Seen]) -> Quorum {
    let mut by_vantage: BTreeMap<&str, Vec<Verdict>> = BTreeMap::new();
    for one in seen {
        by_vantage
            .entry(&one.vantage)
            .or_default()
            .push(one.verdict);
    }
    let mut quorum = Quorum::default();
    for verdicts in by_vantage.values() {
        let closed = verdicts
            .iter()
            .filter(|verdict| **verdict == Verdict::Closed)
            .count();
        if verdicts.contains(&Verdict::Open) {
            quorum.open += 1;
        } else if closed * 2 > verdicts.len() {
            quorum.closed += 1;
        } else {
            quorum.inconclusive += 1;
        }
    }
    quorum
}

/// Tells why a verdict with the wanted word is still not what was wanted.
fn obstacle(
    vantages: &[Seen],
    end: &FirewallEvidence,
    names: &PublicNames,
    verdict: Verdict,
    expected: Expected,
    conflict: bool,
) -> Option<String> {
    match (expected, verdict) {
        (Expected::Open, Verdict::Open) => {
            let other = vantages.iter().find(|one| one.row == Some(Row::OpenNotKms));
            conflict
                .then(|| "the vantages disagree".to_owned())
                .or_else(|| other.map(|one| one.why.clone()))
                .or_else(|| names.misleading())
        }
        (Expected::Closed, Verdict::Closed) => end
            .lets_in
            .then(|| {
                "the firewall still lets connections in; it is closed only because nobody answers behind it"
                    .to_owned()
            })
            .or_else(|| names.other_family()),
        _ => None,
    }
}

fn summary(
    vantages: &[Seen],
    verdict: Verdict,
    expected: Option<Expected>,
    obstacle: Option<&str>,
) -> String {
    let deciding = vantages
        .iter()
        .find(|one| one.verdict == verdict)
        .map_or("nothing was tried", |one| one.why.as_str());
    if verdict == Verdict::Inconclusive {
        return format!("{verdict}: {deciding}");
    }
    let Some(expected) = expected else {
        return format!("{verdict}, and nobody knows what to expect: {deciding}");
    };
    match obstacle {
        Some(obstacle) => format!("{verdict}, but not as expected: {obstacle}"),
        None if verdict.word() == expected.word() => format!("{verdict}, as expected: {deciding}"),
        None => format!("{verdict}, expected {}: {deciding}", expected.word()),
    }
}
