//! How fast `ratelimit preview` judges a day: `cargo bench --bench preview`.
//!
//! Prints figures and judges nothing: a million connections of 50,000 sources, and the peak resident memory (`/proc`, so
//! Linux only).

#![expect(
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    reason = "a bench is a program of its own: it prints, and stops at the first surprise"
)]

use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use kmsctl::domain::overload::Generation;
use kmsctl::domain::pf::rule::Rate;
use kmsctl::domain::ratelimit::Caps;
use kmsctl::domain::ratelimit::preview::{SeenConnections, preview_caps};

const CONNECTIONS: u64 = 1_000_000;
const SOURCES: u64 = 50_000;

fn main() {
    for generation in [Some(Generation::Decaying), Some(Generation::Window), None] {
        let begun = Instant::now();
        let mut seen = SeenConnections::default();
        let mut random = 1_u64;
        for number in 0..CONNECTIONS {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            // A few sources are much busier than the others.
            let source = ((random >> 33) % SOURCES) * ((random >> 20) % 8) / 7;
            let address = IpAddr::V4(Ipv4Addr::from_bits(0x0b00_0000 + source as u32));
            let at = 1_790_000_000 + (number * 86_400 / CONNECTIONS).cast_signed();
            seen.add_connection(address, at, at + (random >> 60).cast_signed());
        }
        let read = begun.elapsed();
        let rate = Rate { connections: 3, seconds: 60 };
        let caps = Caps { max_src_conn: Some(10), rate: Some(rate) };
        let cuts = preview_caps(&mut seen, caps, generation, |at| Some(at + 4_000));
        println!(
            "{generation:?}: {} cut, gathered in {read:.2?}, {:.2?} in all",
            cuts.len(),
            begun.elapsed()
        );
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find(|line| line.starts_with("VmHWM"));
    println!("{}", peak.unwrap_or("no /proc"));
}
