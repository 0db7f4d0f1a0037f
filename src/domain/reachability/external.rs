//! Evidence from both ends → verdict: what vantages outside saw of the service, what the firewall saw of them, and
//! whether that makes the service open, closed, or neither. Pure.
//!
//! The rule of the house: *open* needs a connection that was completed and that the firewall saw; *closed* needs
//! failed attempts from a vantage that works and a proof that its packets arrive. Everything else is *inconclusive*, with
//! the reason. Words are nmap's: open, closed, filtered, and why.

use super::finding::{CheckResult, Finding};
use super::kms_bind::BindAnswer;
pub use super::path::{Expected, Verdict};
use crate::domain::address::is_private;
use crate::domain::connections;
use crate::domain::connections::Half;
use crate::domain::exposure::{Counters, Exposure};
use crate::domain::pf::rule::PF_WORDS;
use crate::domain::pf::rule::{Action, Direction, Family, Rule};
use crate::domain::pf::state::State;
use crate::domain::pf::table::Entry;
use crate::domain::pfsense::freebsd::InterfaceAddress;
use crate::domain::service::Service;
use crate::domain::warning::Warning;
use crate::text::word_enum;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

/// How many failed attempts make a "no"; one lost packet must not.
pub const ATTEMPTS: usize = 3;

/// One attempt to connect, as the vantage saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "result")]
pub enum Attempt {
    Connected {
        /// What answered the bind; null where the vantage cannot speak it.
        answer: Option<BindAnswer>,
        /// Until the connection stood, in milliseconds.
        milliseconds: u64,
    },
    Refused,
    NoAnswer,
    /// The network says that there is no way.
    Unreachable {
        why: String,
    },
    /// The vantage could not try.
    NotTried {
        why: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "where", content = "why")]
pub enum Place {
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
        why: String,
    },
    /// It was not needed, as a connection was completed.
    NotNeeded,
}

/// What one vantage (or one node of a check service) saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    pub vantage: String,
    /// `ssh`, `check-host`, `local`.
    pub kind: &'static str,
    pub node: Option<String>,
    /// The address that the firewall should see, if known.
    pub address: Option<IpAddr>,
    pub place: Place,
    pub attempts: Vec<Attempt>,
    pub control: Control,
    /// Why there are fewer attempts than wanted.
    pub short: Option<String>,
    /// Why the vantage could not be used at all.
    pub trouble: Option<String>,
}

word_enum! {
pub enum PortState {
    /// A SYN-ACK came back.
    Open = "open",
    Closed = "closed",
    /// Nothing came back, or an ICMP refusal.
    Filtered = "filtered",
}
}

/// What both ends together mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Row {
    /// Connected, and a KMS server answers.
    OpenKms,
    /// Connected, and no KMS server answers.
    OpenNotKms,
    /// It arrived, and the firewall dropped it.
    ClosedHere,
    /// Nothing arrived at the firewall: the provider, carrier NAT, a wrong address, a wrong name.
    NothingArrived,
    /// Forwarded to a port without a server; or a rule that rejects.
    NobodyListens,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Seen {
    pub vantage: String,
    /// `ssh`, `check-host`, `local`.
    pub kind: &'static str,
    pub node: Option<String>,
    /// The address that the firewall should see, if known.
    pub address: Option<IpAddr>,
    pub place: Place,
    pub verdict: Verdict,
    /// nmap's word; null where no attempt was made.
    pub port: Option<PortState>,
    /// nmap's reason: `syn-ack`, `reset`, `no-response`, `host-unreach`.
    pub reason: Option<&'static str>,
    /// What both ends together mean, where they do.
    pub row: Option<Row>,
    pub why: String,
    pub attempts: Vec<Attempt>,
    pub control: Control,
}

/// How many vantages say what. The nodes of one check service are one vantage: one node that proves it open is proof,
/// closed takes more than half of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Quorum {
    pub open: usize,
    pub closed: usize,
    pub inconclusive: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Judgement {
    pub verdict: Verdict,
    /// What the operator wants; null where it is not known.
    pub expected: Option<Expected>,
    /// The verdict is the wanted one, for the right reason; null where it is not known what is wanted.
    pub as_expected: Option<bool>,
    pub summary: String,
    pub quorum: Quorum,
    pub vantages: Vec<Seen>,
    /// What was seen, without what was expected: the verdict and its reason.
    #[serde(skip)]
    pub seen: String,
    /// What is odd: conflicts, names that lead elsewhere. Travels as warnings.
    #[serde(skip)]
    pub findings: Vec<Warning>,
}

/// Judges a run. Without `expected` it cannot be said whether the verdict is the expected one.
pub fn judge(
    observations: &[Observation],
    end: &FirewallEvidence,
    names: &PublicNames,
    expected: Option<Expected>,
) -> Judgement {
    let vantages: Vec<Seen> =
        observations.iter().map(|observation| vantage_verdict(observation, end)).collect();
    let quorum = count(&vantages);
    let mut findings = names.name_findings();
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
    let deciding = vantages.iter().find(|one| one.verdict == verdict);
    let deciding = deciding.map_or("nothing was tried", |one| one.why.as_str());
    let obstacle = obstacle.as_deref();
    Judgement {
        verdict,
        expected,
        as_expected: expected
            .map(|expected| verdict.name() == expected.name() && obstacle.is_none()),
        summary: summary(deciding, verdict, expected, obstacle),
        seen: format!("{verdict}: {}", obstacle.unwrap_or(deciding)),
        quorum,
        vantages,
        findings,
    }
}

impl Judgement {
    /// Puts what the firewall's rules prove before what was seen from outside: a finding stands with any result of a probe, and
    /// what the rules leave open is not as expected either.
    #[must_use]
    pub fn beside_rules(mut self, exposure: &Finding) -> Self {
        let sentence = exposure.evidence.split(PF_WORDS).next().unwrap_or_default();
        match exposure.result {
            CheckResult::Wrong => {
                self.as_expected = Some(false);
                self.summary =
                    format!("not as expected: {sentence} From outside it is {}", self.seen);
            }
            // What a probe has proven to be wrong stays so.
            CheckResult::Unknown if self.as_expected != Some(false) => {
                self.as_expected = None;
                self.summary = format!("not known: {sentence} From outside it is {}", self.seen);
            }
            CheckResult::Ok | CheckResult::Skipped | CheckResult::Unknown => {}
        }
        self
    }
}

/// Counts vantages. One node's proven connection is not outvoted; of "closed" more than half must speak.
fn count(seen: &[Seen]) -> Quorum {
    let mut by_vantage: BTreeMap<&str, Vec<Verdict>> = BTreeMap::new();
    for one in seen {
        by_vantage.entry(&one.vantage).or_default().push(one.verdict);
    }
    let mut quorum = Quorum::default();
    for verdicts in by_vantage.values() {
        let closed = verdicts.iter().filter(|verdict| **verdict == Verdict::Closed).count();
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

/// Says why a verdict with the wanted word is still not what the operator wants.
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
                .or_else(|| names.misleading_clause())
        }
        (Expected::Closed, Verdict::Closed) => end
            .lets_in
            .then(|| {
                "the firewall still lets connections in; it is closed only because the server does not answer"
                    .to_owned()
            })
            .or_else(|| names.other_family()),
        _ => None,
    }
}

fn summary(
    deciding: &str,
    verdict: Verdict,
    expected: Option<Expected>,
    obstacle: Option<&str>,
) -> String {
    if verdict == Verdict::Inconclusive {
        return format!("{verdict}: {deciding}");
    }
    let Some(expected) = expected else {
        return format!("{verdict}, and it is not known what to expect: {deciding}");
    };
    match obstacle {
        Some(obstacle) => format!("{verdict}, but not as expected: {obstacle}"),
        None if verdict.name() == expected.name() => format!("{verdict}, as expected: {deciding}"),
        None => format!("{verdict}, expected {}: {deciding}", expected.name()),
    }
}

#[derive(Clone, Copy, Debug)]
pub struct EvidenceSide<'a> {
    pub exposure: &'a Exposure,
    pub filter: &'a [Rule],
    pub states: &'a [State],
    /// The overload table; `None` where it could not be read, or does not exist.
    pub table: Option<&'a [Entry]>,
}

/// What the firewall saw while it was tried from outside.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirewallEvidence {
    /// The loaded rules let a connection from anywhere in.
    pub lets_in: bool,
    /// pf was off at one of the readings: nothing was filtered, so silence is no refusal.
    #[serde(skip)]
    pub pf_off: bool,
    /// The rules are not the same before and after; then nothing can be counted.
    pub changed: bool,
    /// States that the redirection and the rule made meanwhile, for any client; null where it cannot be counted.
    pub forwarded: Option<u64>,
    /// Packets dropped because their source is in the table.
    pub dropped_by_table: Option<u64>,
    /// Packets dropped by all other rules, inbound.
    pub dropped: Option<u64>,
    /// The rule that dropped most of those: its tracker.
    pub dropped_by: Option<u32>,
    /// Sources with new states through the port forward, with the pair of levels (the server's, the client's) of that one
    /// of them in which the server said most.
    pub sources: BTreeMap<IpAddr, String>,
    #[serde(skip)]
    pub blocked: Vec<IpNet>,
}

/// Whether the firewall saw a vantage's attempts get in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saw {
    /// There is a new state with its address.
    Yes,
    No,
    /// States were made, and it is not known which of them are the vantage's.
    Unknown,
}

/// What the firewall heard of the server in a connection that it forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HeardFromServer {
    /// Not a word: its side is CLOSED still.
    Nothing,
    /// A reset, which puts both sides into TIME_WAIT (FreeBSD pf source, `pf_tcp_track_full`).
    Reset,
    /// A SYN at least; or something that is not understood, which proves no silence.
    Answer,
}

impl HeardFromServer {
    /// Reads the pair of levels of an inbound state: the server's stands first.
    pub fn from_levels(levels: &str) -> Self {
        match levels.split_once(':') {
            Some(("CLOSED", "SYN_SENT")) => Self::Nothing,
            Some(("TIME_WAIT", "TIME_WAIT")) => Self::Reset,
            _ => Self::Answer,
        }
    }
}

impl fmt::Display for FirewallEvidence {
    /// Says what the firewall saw meanwhile.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rules = if self.pf_off {
            "pf is switched off, so its rules do not apply"
        } else if self.lets_in {
            "its rules let clients in"
        } else {
            "its rules let no client in"
        };
        if self.changed {
            return write!(f, "{rules}; they changed meanwhile, so nothing was counted");
        }
        let others = match self.dropped {
            Some(1) => "1 other".to_owned(),
            Some(count) => format!("{count} others"),
            None => "an unknown number of others".to_owned(),
        };
        let counted = |count: Option<u64>, what: &str| match count {
            Some(1) => format!("1 {what}"),
            Some(count) => format!("{count} {what}s"),
            None => format!("an unknown number of {what}s"),
        };
        write!(
            f,
            "{rules}; meanwhile it forwarded {} and dropped {} of blocked addresses and {others}",
            counted(self.forwarded, "connection"),
            counted(self.dropped_by_table, "packet"),
        )
    }
}

impl FirewallEvidence {
    pub fn between_readings(
        before: EvidenceSide<'_>,
        after: EvidenceSide<'_>,
        service: &Service,
    ) -> Self {
        let changed = before.exposure.state != after.exposure.state
            || !same_rules(before.filter, after.filter)
            || before.exposure.nat.text != after.exposure.nat.text
            || before.exposure.elsewhere.text != after.exposure.elsewhere.text;
        let made = |counters: Option<Counters>| counters.map(|counters| counters.state_creations);
        let moved = |before: Option<u64>, after: Option<u64>| after?.checked_sub(before?);
        let filter =
            moved(made(before.exposure.filter.counters), made(after.exposure.filter.counters));
        // A connection to the port went through the firewall, wherever a rule redirects it.
        let redirected = |side: EvidenceSide<'_>| {
            let other = side.exposure.elsewhere.counters;
            made(side.exposure.nat.counters.or(other))
        };
        let nat = moved(redirected(before), redirected(after));
        let packets =
            |side: EvidenceSide<'_>| side.exposure.block.counters.map(|counters| counters.packets);
        let drops = dropped_by_rules(before.filter, after.filter, after.exposure);
        let known = |value: Option<u64>| value.filter(|_| !changed);
        Self {
            lets_in: after.exposure.lets_in() != Some(false),
            pf_off: !before.exposure.filtering || !after.exposure.filtering,
            changed,
            // Without a loaded redirection nothing can be forwarded by it.
            forwarded: known(Some(filter.unwrap_or(0).max(nat.unwrap_or(0)))),
            dropped_by_table: known(moved(packets(before), packets(after))),
            dropped: known(drops.as_ref().map(|drops| drops.0)),
            dropped_by: drops.and_then(|drops| drops.1).filter(|_| !changed),
            sources: new_sources(before.states, after, service),
            blocked: [before.table, after.table]
                .into_iter()
                .flatten()
                .flatten()
                .filter(|entry| !entry.negated)
                .map(|entry| entry.net)
                .collect(),
        }
    }

    pub fn blocks_address(&self, address: IpAddr) -> bool {
        self.blocked.iter().any(|net| net.contains(&address))
    }

    /// Returns whether pf has taken a vantage's connection itself and still waits for the server (`synproxy state`).
    fn proxies_for(&self, address: Option<IpAddr>) -> bool {
        let levels = address.and_then(|address| self.sources.get(&address));
        levels.is_some_and(|levels| levels.starts_with("PROXY:"))
    }

    pub fn saw_attempts(&self, address: Option<IpAddr>) -> Saw {
        let by_address = address.is_some_and(|address| self.sources.contains_key(&address));
        match self.forwarded {
            _ if by_address => Saw::Yes,
            Some(0) if self.sources.is_empty() => Saw::No,
            _ => Saw::Unknown,
        }
    }
}

fn same_rules(before: &[Rule], after: &[Rule]) -> bool {
    before.len() == after.len()
        && before.iter().zip(after).all(|(before, after)| {
            let packets = |rule: &Rule| rule.counters.as_ref().map(|counters| counters.packets);
            let loader = |rule: &Rule| rule.counters.as_ref()?.loader;
            // A reload that changes nothing starts some counters from zero and keeps others; another process made it.
            before.text == after.text
                && packets(before) <= packets(after)
                && loader(before) == loader(after)
        })
}

/// Sums what inbound block rules dropped, without the table's, and names the busiest of them.
fn dropped_by_rules(
    before: &[Rule],
    after: &[Rule],
    exposure: &Exposure,
) -> Option<(u64, Option<u32>)> {
    let of_table = exposure.block.text.as_deref();
    let mut total = 0;
    let mut busiest = (0, None);
    for (before, after) in before.iter().zip(after) {
        let inbound = after.action == Action::Block
            && after.direction != Some(Direction::Out)
            && after.family != Some(Family::Inet6)
            && Some(after.text.as_str()) != of_table;
        if !inbound {
            continue;
        }
        let packets = |rule: &Rule| rule.counters.as_ref().map(|counters| counters.packets);
        let dropped = packets(after)?.checked_sub(packets(before)?)?;
        total += dropped;
        if dropped > busiest.0 {
            busiest = (dropped, after.tracker());
        }
    }
    Some((total, busiest.1))
}

/// Returns the sources of the states made through the port forward that were not there before.
fn new_sources(
    before: &[State],
    after: EvidenceSide<'_>,
    service: &Service,
) -> BTreeMap<IpAddr, String> {
    let identity = |state: &State| {
        let id = state.identity.as_ref().map(|identity| identity.id);
        (state.right.address, state.right.port, id)
    };
    let old: Vec<_> = before.iter().map(identity).collect();
    // Where the port leads to another target, what it forwards there is what the outside gets.
    let members = after.exposure.alias.members();
    let members = members.filter(|_| !after.exposure.elsewhere.loaded);
    let through = Some(Half::Client { forwarded: true });
    let new = after
        .states
        .iter()
        .filter(|state| connections::connection_half(state, service, members.as_deref()) == through)
        .filter(|state| !old.contains(&identity(state)));
    strongest_levels(new.map(|state| (state.right.address, state.levels.as_str())))
}

/// Keeps one pair of levels of each source: one answer proves more than any number of silences.
fn strongest_levels<'a>(
    states: impl Iterator<Item = (IpAddr, &'a str)>,
) -> BTreeMap<IpAddr, String> {
    let mut sources: BTreeMap<IpAddr, String> = BTreeMap::new();
    for (address, levels) in states {
        let kept = sources.entry(address).or_insert_with(|| levels.to_owned());
        if HeardFromServer::from_levels(levels) > HeardFromServer::from_levels(kept) {
            levels.clone_into(kept);
        }
    }
    sources
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Resolved {
    pub by: String,
    /// It was asked from a vantage, so it gives the answer that clients outside get.
    pub from_outside: bool,
    /// The addresses, or why there are none; null in JSON then.
    #[serde(rename = "addresses", serialize_with = "or_null")]
    pub answer: Result<Vec<IpAddr>, String>,
}

fn or_null<S: serde::Serializer>(
    answer: &Result<Vec<IpAddr>, String>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    answer.as_ref().ok().serialize(serializer)
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PublicNames {
    pub host: String,
    /// The address that is known to be the firewall's outside: configured, or its own where that is public.
    pub expected: Option<IpAddr>,
    pub resolved: Vec<Resolved>,
}

impl PublicNames {
    /// Returns the address to try: the known one, else what a resolver answers outside, else what it answers here.
    pub fn target_address(&self) -> Option<IpAddr> {
        self.expected.or_else(|| {
            let answered = |outside: bool| {
                self.resolved
                    .iter()
                    .filter(move |resolved| resolved.from_outside == outside)
                    .flat_map(|resolved| resolved.answer.iter().flatten())
                    .find(|address| address.is_ipv4())
                    .copied()
            };
            answered(true).or_else(|| answered(false))
        })
    }

    /// Returns the private address that this machine's own resolver gives: the answer for the inside.
    pub fn private_answer(&self) -> Option<IpAddr> {
        let here = self.resolved.iter().filter(|one| !one.from_outside);
        here.flat_map(|one| one.answer.iter().flatten())
            .find(|address| is_private(address))
            .copied()
    }

    pub fn name_findings(&self) -> Vec<Warning> {
        let mut findings = self.odd_answers(|_| true);
        let outside = |one: &Resolved| one.from_outside && one.answer.is_ok();
        let is_name = !self.host.is_empty() && self.host.parse::<IpAddr>().is_err();
        if is_name && !self.resolved.iter().any(outside) {
            findings.push(Warning::new(
                "name-not-checked",
                format!(
                    "Where {} leads was not checked from outside: name resolvers in verify.resolvers, which an ssh vantage asks.",
                    self.host
                ),
            ));
        }
        findings
    }

    fn odd_answers(&self, these: impl Fn(&Resolved) -> bool) -> Vec<Warning> {
        let mut findings = Vec::new();
        for resolved in self.resolved.iter().filter(|resolved| these(resolved)) {
            match &resolved.answer {
                Err(why) => findings.push(Warning::new(
                    "name-unknown",
                    format!("{} cannot resolve {}: {why}.", resolved.by, self.host),
                )),
                Ok(addresses) => self.look_at(&resolved.by, addresses, &mut findings),
            }
        }
        findings
    }

    fn look_at(&self, by: &str, addresses: &[IpAddr], findings: &mut Vec<Warning>) {
        let host = &self.host;
        let mut say = |code, message: String| findings.push(Warning::new(code, message));
        if let Some(six) = addresses.iter().find(|address| address.is_ipv6()) {
            say(
                "stray-aaaa",
                format!(
                    "{by} gives {host} the IPv6 address {six}: clients try it first, and the port forward is IPv4."
                ),
            );
        }
        let four: Vec<&IpAddr> = addresses.iter().filter(|address| address.is_ipv4()).collect();
        let elsewhere = self.target_address().and_then(|target| {
            let other = |address: &&&IpAddr| ***address != target && !is_private(address);
            four.iter().find(other).map(|address| (*address, target))
        });
        match (four.first(), elsewhere) {
            (None, _) => say("no-address", format!("{by} knows no IPv4 address of {host}.")),
            (Some(address), _) if is_private(address) => say(
                "split-horizon",
                format!(
                    "{by} gives {host} the private address {address}: that is the answer for the inside."
                ),
            ),
            (_, Some((address, target))) => say(
                "wrong-address",
                match self.expected {
                    Some(expected) => format!(
                        "{by} gives {host} the address {address}, but the firewall's outside is {expected}."
                    ),
                    None => {
                        format!("{by} gives {host} the address {address}, but {target} was tried.")
                    }
                },
            ),
            _ => {}
        }
    }

    /// Says why clients outside would not get there although the address answers. An answer of this machine's resolver
    /// counts where it cannot be an answer for the inside alone.
    pub fn misleading_clause(&self) -> Option<String> {
        let misleads = |from_outside: bool, codes: &[&str]| {
            let odd = self.odd_answers(|resolved| resolved.from_outside == from_outside);
            odd.into_iter()
                .find(|finding| codes.contains(&finding.code))
                .map(|finding| finding.message.trim_end_matches('.').to_owned())
        };
        let everything = ["stray-aaaa", "wrong-address", "no-address", "split-horizon"];
        misleads(true, &everything).or_else(|| misleads(false, &["stray-aaaa", "wrong-address"]))
    }

    /// Says why "closed" is half of the truth: the name has an IPv6 address that the outside can reach, and only IPv4 was
    /// tried.
    pub fn other_family(&self) -> Option<String> {
        self.resolved.iter().find_map(|resolved| {
            let six = resolved
                .answer
                .iter()
                .flatten()
                .find(|address| address.is_ipv6() && !is_private(address))?;
            Some(format!(
                "IPv4 only: IPv6 was not tried, and {} gives {} the address {six}",
                resolved.by, self.host
            ))
        })
    }
}

/// What is concluded, before it is joined with the observation.
struct Conclusion {
    verdict: Verdict,
    row: Option<Row>,
    why: String,
}

fn open_conclusion(row: Option<Row>, why: impl Into<String>) -> Conclusion {
    Conclusion { verdict: Verdict::Open, row, why: why.into() }
}

fn closed_conclusion(row: Row, why: impl Into<String>) -> Conclusion {
    Conclusion { verdict: Verdict::Closed, row: Some(row), why: why.into() }
}

fn inconclusive_conclusion(row: Option<Row>, why: impl Into<String>) -> Conclusion {
    Conclusion { verdict: Verdict::Inconclusive, row, why: why.into() }
}

fn vantage_verdict(observation: &Observation, end: &FirewallEvidence) -> Seen {
    let Conclusion { verdict, row, why } = conclude_vantage(observation, end);
    let (port, reason) = best_port_state(&observation.attempts).unzip();
    Seen {
        vantage: observation.vantage.clone(),
        kind: observation.kind,
        node: observation.node.clone(),
        address: observation.address,
        place: observation.place.clone(),
        verdict,
        port,
        reason,
        row,
        why,
        attempts: observation.attempts.clone(),
        control: observation.control.clone(),
    }
}

/// nmap's word and reason: the best that was seen.
fn best_port_state(attempts: &[Attempt]) -> Option<(PortState, &'static str)> {
    let any = |wanted: fn(&Attempt) -> bool| attempts.iter().any(wanted);
    if any(|attempt| matches!(attempt, Attempt::Connected { .. })) {
        Some((PortState::Open, "syn-ack"))
    } else if any(|attempt| *attempt == Attempt::Refused) {
        Some((PortState::Closed, "reset"))
    } else if any(|attempt| matches!(attempt, Attempt::Unreachable { .. })) {
        Some((PortState::Filtered, "host-unreach"))
    } else if any(|attempt| *attempt == Attempt::NoAnswer) {
        Some((PortState::Filtered, "no-response"))
    } else {
        None
    }
}

fn conclude_vantage(observation: &Observation, end: &FirewallEvidence) -> Conclusion {
    if let Some(trouble) = &observation.trouble {
        return inconclusive_conclusion(None, format!("the vantage could not be used: {trouble}"));
    }
    match &observation.place {
        Place::Outside => {}
        Place::Inside(why) => {
            return inconclusive_conclusion(None, format!("inside, so it proves nothing: {why}"));
        }
        Place::Unproven(why) => {
            return inconclusive_conclusion(None, format!("not proven to be outside: {why}"));
        }
    }
    let connected = observation.attempts.iter().find_map(|attempt| match attempt {
        Attempt::Connected { answer, .. } => Some(*answer),
        _ => None,
    });
    match connected {
        Some(answer) => conclude_connected(observation, end, answer),
        None => doubt_of_closed(observation, end).map_or_else(
            || conclude_failed(observation, end),
            |why| inconclusive_conclusion(None, why),
        ),
    }
}

fn conclude_connected(
    observation: &Observation,
    end: &FirewallEvidence,
    answer: Option<BindAnswer>,
) -> Conclusion {
    // Without a known address, the only new states show where the connection came from.
    if observation.address.is_none()
        && !end.sources.is_empty()
        && end.sources.keys().all(is_private)
    {
        return inconclusive_conclusion(
            None,
            "inside, so it proves nothing: its connection reached the firewall from a private address",
        );
    }
    match (end.saw_attempts(observation.address), answer) {
        (Saw::No, _) => inconclusive_conclusion(
            None,
            "something answered, but the firewall saw nothing of it: a wrong address, or a proxy in between",
        ),
        // Connections of other clients move the firewall's counters as well: only the vantage's own is proof.
        (Saw::Unknown, _) => inconclusive_conclusion(None, whose_answer(observation)),
        (Saw::Yes, Some(BindAnswer::Kms)) => {
            open_conclusion(Some(Row::OpenKms), "a KMS server answers")
        }
        (Saw::Yes, None) if end.proxies_for(observation.address) => inconclusive_conclusion(
            None,
            "pf itself takes the connection (synproxy), and nothing was heard of the server",
        ),
        (Saw::Yes, None) => open_conclusion(
            None,
            match observation.kind {
                "check-host" => {
                    "a connection opens; what answers was not asked, as a check service cannot"
                }
                _ => "a connection opens; what answers was not asked, as service.protocol is tcp",
            },
        ),
        (Saw::Yes, Some(answer)) => open_conclusion(Some(Row::OpenNotKms), not_kms(answer)),
    }
}

/// Says why an answer proves nothing while others connect as well, and what would help.
fn whose_answer(observation: &Observation) -> String {
    let name = &observation.vantage;
    match (observation.address, observation.kind) {
        (Some(address), "ssh") => format!(
            "something answered, but the firewall saw no new connection of {address}: if this vantage comes from another address, set vantages.{name}.address; if not, another machine answered"
        ),
        (Some(address), _) => format!(
            "something answered, but the firewall saw no new connection of {address}: it came from another address, or another machine answered"
        ),
        (None, "ssh") => format!(
            "something answered, but not provably through the firewall: the vantage's address is not known; set vantages.{name}.address"
        ),
        (None, _) => "something answered, but not provably through the firewall: the vantage's address is not known".to_owned(),
    }
}

fn not_kms(answer: BindAnswer) -> &'static str {
    match answer {
        BindAnswer::Kms => "a KMS server answers",
        BindAnswer::RpcNotKms => "an RPC server answers that does not speak KMS",
        BindAnswer::NotRpc => "something answers that is no KMS server",
        BindAnswer::Silent => "the connection opens, and the server sends nothing",
        BindAnswer::Reset => "the connection opens, and is reset before the server sends anything",
    }
}

/// Says why failed attempts prove nothing.
fn doubt_of_closed(observation: &Observation, end: &FirewallEvidence) -> Option<String> {
    let failed = observation.attempts.iter().find_map(|attempt| match attempt {
        Attempt::NotTried { why } => Some(why),
        _ => None,
    });
    if let Some(why) = failed {
        return Some(format!("the vantage could not try: {why}"));
    }
    if is_vantage_blocked(observation, end) {
        return Some(
            "this vantage is in the firewall's table of blocked addresses: it is shut out, others may not be"
                .to_owned(),
        );
    }
    if observation.attempts.len() < ATTEMPTS {
        let why = observation.short.as_deref().unwrap_or("time ran out");
        return Some(format!(
            "{} of {ATTEMPTS} attempts were made: {why}",
            observation.attempts.len()
        ));
    }
    if end.pf_off {
        return Some("pf is switched off: nothing is filtered, so it is not the firewall that keeps clients out".to_owned());
    }
    if end.changed {
        return Some("the firewall's rules changed meanwhile".to_owned());
    }
    match &observation.control {
        Control::Failed { to, why } => {
            Some(format!("the vantage does not reach its control {to} either: {why}"))
        }
        Control::NotNeeded => Some("the vantage was not controlled".to_owned()),
        Control::Passed { .. } | Control::OwnPath => None,
    }
}

fn is_vantage_blocked(observation: &Observation, end: &FirewallEvidence) -> bool {
    match observation.address {
        Some(address) => end.blocks_address(address),
        // The table dropped as many packets as we made attempts; they may have been ours.
        None => {
            !observation.attempts.is_empty()
                && end
                    .dropped_by_table
                    .is_some_and(|dropped| dropped >= observation.attempts.len() as u64)
        }
    }
}

fn conclude_failed(observation: &Observation, end: &FirewallEvidence) -> Conclusion {
    let reset = observation.attempts.contains(&Attempt::Refused);
    let saw = end.saw_attempts(observation.address);
    let way = matches!(observation.control, Control::Passed { same_address: true, .. });
    match (end.lets_in, saw) {
        (true, Saw::Yes) if !server_was_silent(end, observation, reset) => inconclusive_conclusion(
            None,
            "the firewall forwards, and the server answered: its answer did not reach the vantage",
        ),
        (true, Saw::Yes) if reset => closed_conclusion(
            Row::NobodyListens,
            "the firewall forwards, and no server listens behind it (reset)",
        ),
        (true, Saw::Yes) => closed_conclusion(
            Row::NobodyListens,
            "the firewall forwards, and no server answers behind it",
        ),
        (false, Saw::Yes) => inconclusive_conclusion(
            None,
            "the firewall made a state for this vantage although its rules should let no client in",
        ),
        (false, _) if reset && way => closed_conclusion(
            Row::NobodyListens,
            "the connection is rejected with a reset, and the firewall lets no client in",
        ),
        (false, _) if way => closed_conclusion(Row::ClosedHere, dropped_here(end)),
        (_, Saw::Unknown) => inconclusive_conclusion(
            None,
            "no answer, and it is not known which of the firewall's new connections are this vantage's",
        ),
        // The counters count every client: the firewall drops packets of the Internet at large all the time.
        (false, _) if end.dropped.is_some_and(|dropped| dropped > 0) => inconclusive_conclusion(
            None,
            "no connection, and it is not known whose packets the firewall dropped meanwhile: give the vantage a `control` on the very address that is tried",
        ),
        (_, _) if reset => inconclusive_conclusion(
            Some(Row::NothingArrived),
            "a reset came back, but nothing arrived at the firewall: it came from something on the way",
        ),
        (_, _) => inconclusive_conclusion(
            Some(Row::NothingArrived),
            "no answer, and nothing arrived at the firewall: the provider, carrier NAT, a wrong address or name",
        ),
    }
}

/// Returns whether the server stayed silent: its side of the vantage's states shows no SYN, or a reset that the vantage
/// received.
fn server_was_silent(end: &FirewallEvidence, observation: &Observation, reset: bool) -> bool {
    let levels = observation.address.and_then(|address| end.sources.get(&address));
    levels.is_some_and(|levels| match HeardFromServer::from_levels(levels) {
        HeardFromServer::Nothing => true,
        HeardFromServer::Reset => reset,
        HeardFromServer::Answer => false,
    })
}

fn dropped_here(end: &FirewallEvidence) -> String {
    let rule =
        end.dropped_by.map(|tracker| format!(", most by rule {tracker}")).unwrap_or_default();
    let dropped = match end.dropped {
        Some(1) => format!("; the firewall dropped 1 packet meanwhile{rule}"),
        Some(dropped) if dropped > 0 => {
            format!("; the firewall dropped {dropped} packets meanwhile{rule}")
        }
        _ => String::new(),
    };
    format!("no answer, although another port of the same address answers this vantage{dropped}")
}

#[derive(Clone, Copy, Debug)]
pub struct VantageSurroundings<'a> {
    pub target: IpAddr,
    pub interfaces: &'a [InterfaceAddress],
    /// Its default gateway: the network that holds it is the outside.
    pub gateway: Option<IpAddr>,
}

/// Judges a vantage by the address it is known by. Without one it passes for outside: what the firewall sees of it
/// decides then.
pub fn by_address(address: Option<IpAddr>, around: VantageSurroundings<'_>) -> Place {
    let VantageSurroundings { target, interfaces, gateway } = around;
    if is_private(&target) {
        return Place::Inside(format!(
            "the address that was tried, {target}, is a private one (split horizon?)"
        ));
    }
    let Some(address) = address else {
        return Place::Outside;
    };
    let outside = |net: &ipnet::IpNet| {
        net.contains(&target) || gateway.is_some_and(|gateway| net.contains(&gateway))
    };
    if address == target || interfaces.iter().any(|own| own.net.addr() == address) {
        Place::Inside(format!("its address {address} is the firewall's own"))
    } else if is_private(&address) {
        Place::Inside(format!("its address {address} is a private one"))
    } else if interfaces.iter().any(|own| own.net.contains(&address) && !outside(&own.net)) {
        Place::Inside(format!("its address {address} is in a network behind the firewall"))
    } else {
        Place::Outside
    }
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Machine {
    /// The address that the configuration gives it: a claim, which proves nothing alone.
    pub configured: Option<IpAddr>,
    /// Where the firewall sees our SSH connection come from.
    pub seen_by_firewall: Option<IpAddr>,
    /// Our SSH connection goes to the firewall itself, not through a jump host, which is what it would see then.
    pub direct: bool,
    /// The address that the system would send from; `None` without a route.
    pub source: Option<IpAddr>,
    /// The private address that the system's resolver gives the public name.
    pub private_answer: Option<IpAddr>,
}

/// Judges this machine: it counts only where the firewall sees it come from outside, a way there exists, and nothing
/// speaks against it.
pub fn of_this_machine(machine: Machine, around: VantageSurroundings<'_>) -> Place {
    let Some(source) = machine.source else {
        return Place::Unproven(format!("this machine has no route to {}", around.target));
    };
    if source == around.target {
        return Place::Inside("the address that was tried is this machine's own".to_owned());
    }
    let known = [machine.seen_by_firewall, machine.configured];
    for address in known {
        let place = by_address(address, around);
        if place != Place::Outside {
            return place;
        }
    }
    let against = match (machine.seen_by_firewall, machine.configured) {
        (None, _) => Some("the firewall does not show from which address this machine comes".to_owned()),
        _ if !machine.direct => Some(
            "the firewall is reached through a jump host or proxy, and that is what it sees".to_owned(),
        ),
        (Some(seen), Some(configured)) if seen != configured => Some(format!(
            "its configured address is {configured}, but the firewall sees it come from {seen}"
        )),
        _ => machine.private_answer.map(|address| {
            format!("its resolver gives the public name the private address {address}, which is the answer for the inside")
        }),
    };
    against.map_or(Place::Outside, Place::Unproven)
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod evidence_tests {
    use super::*;

    #[test]
    fn one_answer_among_silences_is_kept() {
        let address: IpAddr = "198.51.100.10".parse().unwrap();
        let [silent, reset, answer] =
            ["CLOSED:SYN_SENT", "TIME_WAIT:TIME_WAIT", "SYN_SENT:ESTABLISHED"];
        for (levels, wanted) in [
            ([silent, answer, reset], answer),
            ([answer, silent, silent], answer),
            ([silent, silent, reset], reset),
            ([silent; 3], silent),
        ] {
            let kept = strongest_levels(levels.into_iter().map(|levels| (address, levels)));
            assert_eq!(kept[&address], wanted);
        }
    }
}

#[cfg(test)]
mod location_tests {
    use super::*;

    fn place(address: &str, target: &str) -> Place {
        let interfaces: Vec<InterfaceAddress> =
            [("wan", "192.0.2.1/24"), ("lan", "10.0.20.1/24"), ("dmz", "203.0.113.1/28")]
                .map(|(interface, net)| InterfaceAddress {
                    interface: interface.into(),
                    net: net.parse().unwrap(),
                })
                .into();
        let around = VantageSurroundings {
            target: target.parse().unwrap(),
            interfaces: &interfaces,
            gateway: Some("192.0.2.254".parse().unwrap()),
        };
        by_address(address.parse().ok(), around)
    }

    #[test]
    fn addresses_of_the_inside_are_recognised() {
        for (address, target) in [
            ("192.0.2.1", "192.0.2.1"),
            ("10.0.10.5", "192.0.2.1"),
            ("203.0.113.5", "192.0.2.1"),
            ("203.0.113.1", "192.0.2.1"),
            ("198.51.100.1", "10.0.20.202"),
            ("", "10.0.20.202"),
        ] {
            assert!(matches!(place(address, target), Place::Inside(_)), "{address} {target}");
        }
        for address in ["198.51.100.10", "192.0.2.9", ""] {
            assert_eq!(place(address, "192.0.2.1"), Place::Outside, "{address}");
        }
    }

    #[test]
    fn this_machine_must_be_seen_coming_from_outside() {
        let around = VantageSurroundings {
            target: "192.0.2.1".parse().unwrap(),
            interfaces: &[],
            gateway: None,
        };
        let address = |text: &str| text.parse().ok();
        let judged = |seen: &str, source: &str| {
            let machine = Machine {
                seen_by_firewall: address(seen),
                direct: true,
                source: address(source),
                ..Machine::default()
            };
            of_this_machine(machine, around)
        };
        assert_eq!(judged("198.51.100.10", "192.168.43.7"), Place::Outside);
        assert!(matches!(judged("10.0.10.7", "10.0.10.7"), Place::Inside(_)));
        assert!(matches!(judged("", "198.51.100.10"), Place::Unproven(_)));
        assert!(matches!(judged("198.51.100.10", ""), Place::Unproven(_)));
        assert!(matches!(judged("198.51.100.10", "192.0.2.1"), Place::Inside(_)));
    }

    #[test]
    fn evidence_overrules_a_configured_address() {
        let around = VantageSurroundings {
            target: "192.0.2.1".parse().unwrap(),
            interfaces: &[],
            gateway: None,
        };
        let address = |text: &str| text.parse().ok();
        let outside = Machine {
            configured: address("198.51.100.10"),
            seen_by_firewall: address("198.51.100.10"),
            direct: true,
            source: address("192.168.43.7"),
            private_answer: None,
        };
        assert_eq!(of_this_machine(outside, around), Place::Outside);
        for seen in ["10.0.10.5", "192.0.2.1"] {
            let inside = Machine { seen_by_firewall: address(seen), ..outside };
            let place = of_this_machine(inside, around);
            assert!(matches!(place, Place::Inside(_)), "{seen}: {place:?}");
        }
        for (against, word) in [
            (Machine { seen_by_firewall: address("203.0.113.9"), ..outside }, "203.0.113.9"),
            (Machine { seen_by_firewall: None, ..outside }, "does not show"),
            (Machine { direct: false, ..outside }, "jump host"),
            (Machine { private_answer: address("10.0.20.202"), ..outside }, "resolver"),
        ] {
            match of_this_machine(against, around) {
                Place::Unproven(why) => assert!(why.contains(word), "{why}"),
                other => panic!("{word}: {other:?}"),
            }
        }
    }
}

#[cfg(test)]
mod tests;
