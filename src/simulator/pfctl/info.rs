//! `pfctl -si` and `-sm`.

use std::collections::BTreeMap;

use super::options::PfctlOptions;
use crate::domain::pf::Verbosity;
use crate::domain::pf::info::{COUNTERS, Info, LIMIT_COUNTERS, Lookups, Syncookies};
use crate::simulator::pf::{SimulatedPf, widened_count};
use crate::simulator::random::scramble_number;

/// pfSense sets source nodes as high as states, and raises the table limit.
pub const MEMORY: &str = "states        hard limit   403000
src-nodes     hard limit   403000
frags         hard limit     5000
table-entries hard limit   400000
";

/// Prints `-si`, with `-v` or without.
pub fn show_info(pf: &SimulatedPf, options: &PfctlOptions, now: i64) -> String {
    let verbosity = if options.verbose > 0 {
        Verbosity::Verbose
    } else {
        Verbosity::Plain
    };
    format!("{}\n", simulated_info(pf, now).display(verbosity))
}

/// Returns what the simulated pf would say of itself at `now` (Unix milliseconds).
fn simulated_info(pf: &SimulatedPf, now: i64) -> Info {
    let totals = &pf.totals;
    let counters = COUNTERS.iter().filter(|name| **name != "translate"); // of FreeBSD 15
    Info {
        enabled: pf.enabled,
        running_seconds: u64::try_from((now - pf.since) / 1000).ok(),
        debug: Some("Urgent".to_owned()),
        states: Some(widened_count(pf.states.len())),
        state_table: Some(Lookups {
            searches: totals.searches,
            inserts: totals.inserts,
            removals: totals.removals,
        }),
        source_nodes: Some(widened_count(pf.nodes.len())),
        source_table: Some(Lookups {
            searches: totals.nodes.0,
            inserts: totals.nodes.1,
            removals: totals.nodes.2,
        }),
        checksum: Some(ruleset_checksum(pf)),
        host_id: Some(pf.host_id),
        limit_counters: named_counters(&LIMIT_COUNTERS, |name| match name {
            "max-src-conn" => totals.source_connections,
            "max-src-conn-rate" => totals.source_rates,
            "overload table insertion" => totals.overload_insertions,
            "overload flush states" => totals.overload_flushes,
            _ => 0,
        }),
        // Nothing in the simulated traffic moves the others.
        counters: named_counters(counters, |name| match name {
            "match" => totals.matches,
            _ => 0,
        }),
        interface: None,
        syncookies: Some(Syncookies {
            mode: "never".to_owned(),
            active: "inactive".to_owned(),
        }),
        reassemble: Some("yes".to_owned()),
    }
}

/// Returns `names` with the number that `number` gives each.
fn named_counters<'a>(
    names: impl IntoIterator<Item = &'a &'static str>,
    number: impl Fn(&str) -> u64,
) -> BTreeMap<String, u64> {
    names
        .into_iter()
        .map(|name| ((*name).to_owned(), number(name)))
        .collect()
}

/// Changes when the rules do; the real one is MD5 over them.
fn ruleset_checksum(pf: &SimulatedPf) -> String {
    let rules = pf
        .scrub
        .iter()
        .chain(&pf.filter)
        .chain(&pf.nat)
        .chain(&pf.rdr)
        .chain(&pf.binat);
    let mixed = rules
        .flat_map(|rule| rule.text.bytes())
        .fold(0, |sum: u64, byte| scramble_number(sum ^ u64::from(byte)));
    format!("0x{mixed:016x}{:016x}", scramble_number(mixed))
}
