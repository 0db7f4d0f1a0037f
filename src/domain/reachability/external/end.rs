//! The firewall's end: what moved between two readings of its counters, states and table. Nothing here knows what a
//! vantage saw.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::domain::connections::{self, Half};
use crate::domain::exposure::{Counters, Exposure};
use crate::domain::pf::rule::{Action, Direction, Family, Rule};
use crate::domain::pf::state::State;
use crate::domain::pf::table::Entry;
use crate::domain::service::Service;

/// One reading of the firewall.
#[derive(Clone, Copy, Debug)]
pub struct EvidenceSide<'a> {
    /// The exposure as judged from it.
    pub exposure: &'a Exposure,
    /// The loaded filter rules.
    pub filter: &'a [Rule],
    /// States of the service.
    pub states: &'a [State],
    /// The overload table; `None` where it could not be read, or does not exist.
    pub table: Option<&'a [Entry]>,
}

/// What the firewall saw while it was tried from outside.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirewallEvidence {
    /// The loaded rules let a connection from anywhere in.
    pub lets_in: bool,
    /// pf was off at one of the readings: nothing was filtered, so silence is nobody's refusal.
    #[serde(skip)]
    pub pf_off: bool,
    /// The rules are not the same before and after; then nothing can be counted.
    pub changed: bool,
    /// States that the redirection and the rule made meanwhile, whoever asked for them; null where it cannot be counted.
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
    /// What the table holds.
    #[serde(skip)]
    pub blocked: Vec<IpNet>,
}

/// Whether the firewall saw a vantage's attempts get in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saw {
    /// There is a new state with its address.
    Yes,
    /// No state was made at all.
    No,
    /// States were made, and which of them are the vantage's cannot be told.
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
    pub fn of(levels: &str) -> Self {
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
            "pf is switched off, so its rules hold for nobody"
        } else if self.lets_in {
            "its rules let in"
        } else {
            "its rules let nobody in"
        };
        if self.changed {
            return write!(f, "{rules}; they changed meanwhile, so nothing was counted");
        }
        let number = |count: Option<u64>| {
            count.map_or_else(|| "an unknown number".to_owned(), |count| count.to_string())
        };
        let counted = |count: Option<u64>, what: &str| match count {
            Some(1) => format!("1 {what}"),
            Some(count) => format!("{count} {what}s"),
            None => format!("an unknown number of {what}s"),
        };
        write!(
            f,
            "{rules}; meanwhile it forwarded {} and dropped {}, {} of blocked addresses",
            counted(self.forwarded, "connection"),
            counted(self.dropped, "packet"),
            number(self.dropped_by_table)
        )
    }
}

impl FirewallEvidence {
    /// Compares two readings.
    pub fn between(before: EvidenceSide<'_>, after: EvidenceSide<'_>, service: &Service) -> Self {
        let changed = before.exposure.state != after.exposure.state
            || !same_rules(before.filter, after.filter)
            || before.exposure.nat.text != after.exposure.nat.text
            || before.exposure.elsewhere.text != after.exposure.elsewhere.text;
        let made = |counters: Option<Counters>| counters.map(|counters| counters.state_creations);
        let moved = |before: Option<u64>, after: Option<u64>| after?.checked_sub(before?);
        let filter = moved(
            made(before.exposure.filter.counters),
            made(after.exposure.filter.counters),
        );
        // Whatever a connection to the port is redirected to, it went through the firewall.
        let redirected = |side: EvidenceSide<'_>| {
            let other = side.exposure.elsewhere.counters;
            made(side.exposure.nat.counters.or(other))
        };
        let nat = moved(redirected(before), redirected(after));
        let packets = |side: EvidenceSide<'_>| {
            side.exposure
                .block
                .counters
                .map(|counters| counters.packets)
        };
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

    /// Tells whether an address is blocked by the table.
    pub fn blocks(&self, address: IpAddr) -> bool {
        self.blocked.iter().any(|net| net.contains(&address))
    }

    /// Tells whether the attempts of a vantage got in.
    pub fn saw(&self, address: Option<IpAddr>) -> Saw {
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
            let loader = |rule: &Rule| rule.counters.as_ref()?.inserted;
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
    let members = after.exposure.alias.members();
    let through = Some(Half::Client { forwarded: true });
    let new = after
        .states
        .iter()
        .filter(|state| connections::connection_half(state, service, members.as_deref()) == through)
        .filter(|state| !old.contains(&identity(state)));
    most_telling(new.map(|state| (state.right.address, state.levels.as_str())))
}

/// Keeps one pair of levels of each source: one answer tells more than any number of silences.
fn most_telling<'a>(states: impl Iterator<Item = (IpAddr, &'a str)>) -> BTreeMap<IpAddr, String> {
    let mut sources: BTreeMap<IpAddr, String> = BTreeMap::new();
    for (address, levels) in states {
        let kept = sources.entry(address).or_insert_with(|| levels.to_owned());
        if HeardFromServer::of(levels) > HeardFromServer::of(kept) {
            levels.clone_into(kept);
        }
    }
    sources
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_answer_among_silences_is_kept_wherever_it_stands() {
        let address: IpAddr = "198.51.100.10".parse().unwrap();
        let [silent, reset, answer] = [
            "CLOSED:SYN_SENT",
            "TIME_WAIT:TIME_WAIT",
            "SYN_SENT:ESTABLISHED",
        ];
        for (levels, wanted) in [
            ([silent, answer, reset], answer),
            ([answer, silent, silent], answer),
            ([silent, silent, reset], reset),
            ([silent; 3], silent),
        ] {
            let kept = most_telling(levels.into_iter().map(|levels| (address, levels)));
            assert_eq!(kept[&address], wanted);
        }
    }
}
