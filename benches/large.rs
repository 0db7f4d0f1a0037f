//! What long lists cost: a table of 100,000 entries shown, one of 150,000 flushed and read back, and the service's connections
//! among a million states. Through OpenSSH's sshd on loopback; a stand-in for pfctl prints what it has in a file. Beside each
//! stands the same list through plain ssh. Prints the least of some rounds, and kmsctl's peak memory (`/proc`, so Linux
//! only); judges nothing.
//!
//! `cargo bench --bench large`
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

use std::fmt::Write as _;
use std::process::{Command, Stdio};
use std::time::Instant;

#[path = "../tests/support/mod.rs"]
mod support;

use support::hostile::{Measured, measured};
use support::live::LiveBox;

const ROUNDS: usize = 5;
const STATES: u32 = 1_000_000;

/// What pfctl says instead: each list lies in a file.
const PFCTL: &str = r#"*'-T show -v'*) exec cat "$BOX/entries" ;;
*'-T delete -v'*) exec awk '{ print "D  " $1 }' ;;
*-vvss*) exec cat "$BOX/states" ;;"#;

fn entries(count: u32) -> String {
    let mut text = String::new();
    for n in 0..count {
        let [_, second, third, fourth] = n.to_be_bytes();
        writeln!(
            text,
            "   198.{}.{third}.{fourth}\n\tCleared:     Thu Oct  9 06:06:40 2025",
            18 + second
        )
        .unwrap();
    }
    text
}

/// Two halves of a connection; one in five thousand is to the service.
fn states() -> String {
    let mut text = String::new();
    for n in 0..STATES / 2 {
        let [_, second, third, fourth] = n.to_be_bytes();
        let client = format!("198.{}.{third}.{fourth}:{}", 18 + second, 1024 + n % 60_000);
        let (host, port) = match n % 5_000 {
            0 => ("10.0.20.202", 1688),
            _ => ("10.0.20.50", 443),
        };
        for line in [
            format!("vtnet0 tcp {host}:{port} (192.168.1.2:{port}) <- {client}"),
            format!("vtnet2 tcp {client} -> {host}:{port}"),
        ] {
            writeln!(text, "{line}       ESTABLISHED:ESTABLISHED\n   [0 + 64240] wscale 8  [0 + 64240] wscale 7\n   age 00:02:05, expires in 00:59:00, 14:11 pkts, 1820:3100 bytes, rule 25\n   id: 64000000{n:08x} creatorid: 1f2e3d4c\n   origif: vtnet0").unwrap();
        }
    }
    text
}

/// Runs kmsctl; an exit code beside 0 must be among these.
fn run_kmsctl(live: &LiveBox, arguments: &[&str], fine: &[i32]) -> Measured {
    let mut command = live.environment.command(arguments);
    command.stdin(Stdio::null());
    let run = measured(command);
    let code = run.code.unwrap_or(-1);
    assert!(code == 0 || fine.contains(&code), "{arguments:?}: {code} {}", run.stderr);
    run
}

/// How long plain ssh takes to fetch a list over a shared connection, in milliseconds.
fn plain_ssh(live: &LiveBox, words: &str) -> f64 {
    let socket = live.firewall.file("plain-ssh");
    let mut command = Command::new("ssh");
    command.args([
        "-F",
        "/dev/null",
        "-o",
        "BatchMode=yes",
        "-o",
        "ControlMaster=auto",
        "-o",
        "ControlPersist=5",
    ]);
    command.arg("-o").arg(format!("ControlPath={}", socket.display()));
    command.arg("-o").arg(format!("UserKnownHostsFile={}", live.sshd.known_hosts.display()));
    command.arg("-i").arg(&live.sshd.client_key);
    command.args(["-p", &live.sshd.port.to_string(), "-l", &live.sshd.user, "127.0.0.1"]);
    let pfctl = live.firewall.file("pfctl-instead");
    command.arg(format!("{} {words}", pfctl.display()));
    command.stdout(Stdio::null());
    let begun = Instant::now();
    assert!(command.status().unwrap().success());
    begun.elapsed().as_secs_f64() * 1e3
}

/// Prints the least of some rounds of both, side by side.
fn compare(live: &LiveBox, title: &str, words: &str, arguments: &[&str], fine: &[i32]) {
    let (mut plain, mut ours, mut peak) = (f64::INFINITY, f64::INFINITY, 0);
    for _ in 0..ROUNDS {
        plain = plain.min(plain_ssh(live, words));
        let run = run_kmsctl(live, arguments, fine);
        ours = ours.min(run.took.as_secs_f64() * 1e3);
        peak = peak.max(run.peak);
    }
    println!("| {title} | {plain:.0} | {ours:.0} | {:.2} × | {peak} |", ours / plain);
}

fn main() {
    let Some(live) = LiveBox::start("openssh") else {
        return;
    };
    live.answer_pfctl("openssh", PFCTL);
    println!("| command | pfctl through ssh, ms | kmsctl, ms | ratio | peak, MiB |");
    println!("| --- | --- | --- | --- | --- |");
    let table = "-t virusprot -T show -v";
    live.firewall.php().write("states", b"");
    live.firewall.php().write("entries", entries(100_000).as_bytes());
    compare(
        &live,
        "virusprot show, 100,000 entries",
        table,
        &["virusprot", "show", "-o", "json"],
        &[],
    );
    live.firewall.php().write("entries", entries(150_000).as_bytes());
    // The table stays as it is: the end is "not proven", after the same work.
    compare(
        &live,
        "virusprot flush, 150,000 entries",
        table,
        &["virusprot", "flush", "--yes", "-o", "json"],
        &[1, 7],
    );
    live.firewall.php().write("entries", b"");
    live.firewall.php().write("states", states().as_bytes());
    compare(&live, "states, a million on the firewall", "-vvss", &["states", "-o", "json"], &[]);
    compare(&live, "status, a million states", "-vvss", &["status", "-o", "json"], &[3]);
}
