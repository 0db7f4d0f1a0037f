//! What the worst replies of a hostile firewall cost in memory: `cargo bench --bench hostile`.
//!
//! Prints figures and judges nothing. Each text is as long as a reply may be, and is read in a process of its own, whose
//! peak resident memory is printed beside what the text alone takes (`/proc`, so Linux only). 256 MiB is the aim.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a bench is a program of its own: it prints, and stops at the first surprise"
)]

use std::hint::black_box;
use std::process::Command;

use kmsctl::domain::pf::{info, rule, source, state, table};
use kmsctl::domain::virusprot::expiry;
use kmsctl::pfsense::agent;
use kmsctl::ssh::script::Nonce;

/// The longest reply that is read.
const LONGEST: usize = 32 << 20;

type Case = (&'static str, &'static str, fn(&[u8]));

const CASES: &[Case] = &[
    ("nothing", "", |_| {}),
    ("rules", "pass\n", |bytes| {
        drop(black_box(rule::parse_pf_rules(bytes)));
    }),
    (
        "rules, long",
        "@1 pass in quick on igb0 inet proto tcp from any to 10.0.20.202 port = 1688\n",
        |bytes| {
            drop(black_box(rule::parse_pf_rules(bytes)));
        },
    ),
    (
        "states",
        "all tcp 10.0.20.202:1688 <- 198.51.100.23:50122 ESTABLISHED:ESTABLISHED\n",
        |bytes| {
            drop(black_box(state::parse(bytes)));
        },
    ),
    ("entries", "   1.1.1.1\n", |bytes| {
        drop(black_box(table::parse_table_entries(bytes)));
    }),
    ("tables", "-pa-r-- a\n", |bytes| {
        drop(black_box(table::parse_list(bytes)));
    }),
    (
        "sources",
        "1.1.1.1 -> 0.0.0.0 ( states 1, connections 1, rate 0.0/60s )\n",
        |bytes| {
            drop(black_box(source::parse_source_nodes(bytes)));
        },
    ),
    ("info", "  a 1\n", |bytes| {
        drop(black_box(info::parse_pf_info(bytes)));
    }),
    ("crontab", "* * * * * root x\n", |bytes| {
        drop(black_box(expiry::crontab_items(bytes)));
    }),
    ("agent", "[", |bytes| {
        drop(black_box(agent::parse_outcome(bytes, &Nonce::new([7; 16]))));
    }),
    ("garbage", "?\n", |bytes| {
        drop(black_box(rule::parse_pf_rules(bytes)));
    }),
];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let Some(name) = words.iter().find_map(|word| word.strip_prefix("case=")) {
        let (_, unit, read) = CASES.iter().find(|case| case.0 == name).unwrap();
        let text = unit.repeat(LONGEST / unit.len().max(1));
        read(text.as_bytes());
        println!("{name:12} {}", peak_resident());
        return;
    }
    for (name, _, _) in CASES {
        let run = Command::new(std::env::current_exe().unwrap())
            .arg(format!("case={name}"))
            .output()
            .unwrap();
        print!("{}", String::from_utf8_lossy(&run.stdout));
    }
}

/// Returns `VmHWM` as the kernel words it.
fn peak_resident() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    line.map_or_else(
        || String::from("unknown"),
        |line| line.trim_start_matches("VmHWM:").trim().to_owned(),
    )
}
