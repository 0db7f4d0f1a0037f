//! `pfctl -si`, `-sm` and `-st`.

use std::fmt::Write as _;

use super::options::Options;
use crate::simulator::pf::{Pf, count};
use crate::simulator::random::scramble;

/// pfSense sets source nodes as high as states, and raises the table limit.
pub const MEMORY: &str = "states        hard limit   403000
src-nodes     hard limit   403000
frags         hard limit     5000
table-entries hard limit   400000
";

/// FreeBSD's defaults, but for the adaptive ones, which follow the limit of states.
pub const TIMEOUTS: &str = "tcp.first                   120s
tcp.opening                  30s
tcp.established           86400s
tcp.closing                 900s
tcp.finwait                  45s
tcp.closed                   90s
tcp.tsdiff                   30s
sctp.first                  120s
sctp.opening                 30s
sctp.established          86400s
sctp.closing                900s
sctp.closed                  90s
udp.first                    60s
udp.single                   30s
udp.multiple                 60s
icmp.first                   20s
icmp.error                   10s
other.first                  60s
other.single                 30s
other.multiple               60s
frag                         30s
interval                     10s
adaptive.start           241800 states
adaptive.end             483600 states
src.track                     0s
";

/// Prints `-si`, with `-v` or without.
pub fn info(pf: &Pf, options: &Options, now: i64) -> String {
    let running = u64::try_from((now - pf.since) / 1000).unwrap_or(0);
    let (days, rest) = (running / 86_400, running % 86_400);
    let status = format!(
        "Status: {} for {days} days {:02}:{:02}:{:02}",
        if pf.enabled { "Enabled" } else { "Disabled" },
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    );
    let totals = &pf.totals;
    let verbose = options.verbose > 0;
    let mut text = format!("{status:<44}{:>15}\n\n", "Debug: Urgent");
    if verbose {
        let _ = write!(
            text,
            "Hostid:   0x{:08x}\nChecksum: {}\n\n",
            pf.host_id,
            checksum(pf)
        );
    }
    let present = count(pf.states.len());
    table(
        &mut text,
        "State Table",
        present,
        (totals.searches, totals.inserts, totals.removals),
        running,
    );
    if verbose {
        let nodes = count(pf.nodes.len());
        source_table(&mut text, nodes, totals.nodes, running);
    }
    text.push_str("Counters\n");
    line(&mut text, "match", totals.matches, running);
    for name in COUNTERS {
        line(&mut text, name, 0, running);
    }
    if verbose {
        text.push_str("Limit Counters\n");
        for (name, number) in [
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
        ] {
            line(&mut text, name, number, running);
        }
        text.push_str(
            "Syncookies\n  mode                      never\n  active                    inactive\n",
        );
        text.push_str("Reassemble                      yes \n");
    }
    text
}

/// The counters after `match`, which nothing in the simulated traffic moves.
const COUNTERS: [&str; 15] = [
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

fn table(text: &mut String, title: &str, entries: u64, totals: (u64, u64, u64), running: u64) {
    let _ = writeln!(text, "{title:<27} {:>14} {:>16}", "Total", "Rate");
    lookups(text, entries, totals, running);
}

fn source_table(text: &mut String, entries: u64, totals: (u64, u64, u64), running: u64) {
    text.push_str("Source Tracking Table\n");
    lookups(text, entries, totals, running);
}

fn lookups(
    text: &mut String,
    entries: u64,
    (searches, inserts, removals): (u64, u64, u64),
    running: u64,
) {
    let _ = writeln!(text, "  {:<25} {entries:>14} {:>14}", "current entries", "");
    line(text, "searches", searches, running);
    line(text, "inserts", inserts, running);
    line(text, "removals", removals, running);
}

fn line(text: &mut String, name: &str, number: u64, running: u64) {
    // One decimal, as printf rounds it, without leaving whole numbers.
    let running = running.max(1);
    let tenths = (number.saturating_mul(20) / running).saturating_add(1) / 2;
    let rate = format!("{}.{}", tenths / 10, tenths % 10);
    let _ = writeln!(text, "  {name:<25} {number:>14} {rate:>14}/s");
}

/// Changes when the rules do; the real one is MD5 over them.
fn checksum(pf: &Pf) -> String {
    let rules = pf
        .scrub
        .iter()
        .chain(&pf.filter)
        .chain(&pf.nat)
        .chain(&pf.rdr);
    let mixed = rules
        .flat_map(|rule| rule.text.bytes())
        .fold(0, |sum: u64, byte| scramble(sum ^ u64::from(byte)));
    format!("0x{mixed:016x}{:016x}", scramble(mixed))
}
