//! What the worst answers of a hostile firewall cost: the peak of kmsctl's resident memory (256 MiB is the most), and how
//! long an interrupt in the middle takes (a second is the most). `cargo bench --bench hostile`; needs sshd and python3.
//!
//! Prints figures and judges nothing: `tests/cli/hostile_firewall.rs` runs the same cases and judges them.
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench touches the world and fails loudly"
)]

#[path = "../tests/support/environment.rs"]
#[allow(dead_code)]
mod environment;
#[path = "../tests/support/hostile.rs"]
#[allow(dead_code)]
mod hostile;
#[path = "../tests/support/processes.rs"]
#[allow(dead_code)]
mod processes;
#[path = "../tests/support/skip.rs"]
#[allow(dead_code)]
mod skip;
#[path = "../tests/support/sshd.rs"]
#[allow(dead_code)]
mod sshd;

use std::time::Duration;

fn main() {
    let Some(server) = hostile::Hostile::start("russh") else {
        return;
    };
    println!("| answer | exit | peak, MiB | took, s | interrupt, ms |");
    println!("| --- | --- | --- | --- | --- |");
    for case in hostile::CASES {
        let run = server.measure(case);
        // In the middle of it, and where it is taken apart.
        let moments = [run.took / 2, run.took.saturating_sub(Duration::from_millis(300))];
        let longest = moments.map(|moment| server.interrupt(case, moment));
        println!(
            "| {} | {} | {} | {:.1} | {} |",
            case.0,
            run.code.unwrap_or(-1),
            run.peak,
            run.took.as_secs_f64(),
            longest[0].max(longest[1]).as_millis()
        );
    }
}
