//! `pfctl -si` and `-sm`, as pfctl of FreeBSD 14 prints them.

use std::fmt::Write as _;

use super::options::PfctlOptions;
use crate::domain::pf::ClockTime;
use crate::simulator::pf::SimulatedPf;
use crate::simulator::random::scramble_number;
use crate::simulator::scenario::Scenario;

/// Prints `-sm`: pfSense sets source nodes as high as states, and raises the table limit. Where states are scarce, there
/// is room for a twentieth of those that are there.
pub fn show_memory(pf: &SimulatedPf, scenario: Scenario) -> String {
    let most = match scenario {
        Scenario::StatesFull => pf.states.len() + pf.states.len() / 20,
        _ => 403_000,
    };
    format!(
        "states        hard limit {most:>8}
src-nodes     hard limit {most:>8}
frags         hard limit     5000
table-entries hard limit   400000
"
    )
}

/// "Counters"; nothing in the simulated traffic moves any but the first.
const COUNTERS: [&str; 16] = [
    "match",
    "bad-offset",
    "fragment",
    "short",
    "normalize",
    "memory",
    "bad-timestamp",
    "congestion",
    "ip-option",
    "proto-cksum",
    "state-mismatch",
    "state-insert",
    "state-limit",
    "src-limit",
    "synproxy",
    "map-failed",
];

/// Prints `-si`, with `-v` or without.
pub fn show_info(pf: &SimulatedPf, options: &PfctlOptions, now: i64) -> String {
    let (totals, verbose) = (&pf.totals, options.verbose > 0);
    let seconds = u64::try_from((now - pf.since) / 1000).unwrap_or(0);
    let state = if pf.enabled { "Enabled" } else { "Disabled" };
    let clock = ClockTime(seconds % 86_400);
    let status = format!("Status: {state} for {} days {clock}", seconds / 86_400);
    let mut text = format!("{status:<44}{:>15}\n\n", "Debug: Urgent");
    if verbose {
        let (id, checksum) = (pf.host_id, ruleset_checksum(pf));
        let _ = writeln!(text, "Hostid:   0x{id:08x}\nChecksum: {checksum}\n");
    }
    let _ = writeln!(text, "{:<27} {:>14} {:>16}", "State Table", "Total", "Rate");
    print_present(&mut text, pf.states.len());
    let searches =
        [("searches", totals.searches), ("inserts", totals.inserts), ("removals", totals.removals)];
    print_counters(&mut text, searches, seconds);
    if verbose {
        text.push_str("Source Tracking Table\n");
        print_present(&mut text, pf.nodes.len());
        let (searches, inserts, removals) = totals.nodes;
        let searches = [("searches", searches), ("inserts", inserts), ("removals", removals)];
        print_counters(&mut text, searches, seconds);
    }
    text.push_str("Counters\n");
    let counters = COUNTERS.map(|name| (name, if name == "match" { totals.matches } else { 0 }));
    print_counters(&mut text, counters, seconds);
    if verbose {
        text.push_str("Limit Counters\n");
        let limits = [
            ("max states per rule", 0),
            ("max-src-states", 0),
            ("max-src-nodes", 0),
            ("max-src-conn", totals.source_connections),
            ("max-src-conn-rate", totals.source_rates),
            ("overload table insertion", totals.overload_insertions),
            ("overload flush states", totals.overload_flushes),
            ("synfloods detected", 0),
            ("syncookies sent", 0),
            ("syncookies validated", 0),
        ];
        print_counters(&mut text, limits, seconds);
        let _ = writeln!(text, "Syncookies\n  {:<25} never", "mode");
        let _ = writeln!(text, "  {:<25} inactive\nReassemble {:>24} ", "active", "yes");
    }
    text
}

fn print_present(text: &mut String, present: usize) {
    let _ = writeln!(text, "  {:<25} {present:>14} {:>14}", "current entries", "");
}

fn print_counters<const N: usize>(text: &mut String, counters: [(&str, u64); N], seconds: u64) {
    for (name, total) in counters {
        // Doubles, as in pfctl: the last digit of a rounded rate depends on it.
        #[expect(clippy::cast_precision_loss, reason = "pfctl divides doubles")]
        let rate = total as f64 / seconds.max(1) as f64;
        let _ = writeln!(text, "  {name:<25} {total:>14} {rate:>14.1}/s");
    }
}

/// Changes when the rules do; the real one is MD5 over them.
fn ruleset_checksum(pf: &SimulatedPf) -> String {
    let rules = pf.scrub.iter().chain(&pf.filter).chain(&pf.nat).chain(&pf.rdr).chain(&pf.binat);
    let mixed = rules
        .flat_map(|rule| rule.text.bytes())
        .fold(0, |sum: u64, byte| scramble_number(sum ^ u64::from(byte)));
    format!("0x{mixed:016x}{:016x}", scramble_number(mixed))
}
