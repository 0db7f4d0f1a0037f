//! What a change costs on top of what the firewall's reload takes, through OpenSSH's sshd on loopback and real PHP over the
//! stand-in for pfSense's API; and two changes on the demo. Prints figures; judges nothing.
//!
//! `cargo bench --bench change`
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

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::time::Instant;

#[path = "../tests/support/mod.rs"]
mod support;

use support::environment::TestEnvironment;
use support::live::LiveBox;

const ROUNDS: usize = 11;
const ENTRIES: u32 = 10_000;

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}

fn addresses() -> String {
    (0..ENTRIES).map(|n| format!("198.18.{}.{}\n", n / 250, n % 250 + 1)).collect()
}

/// Runs kmsctl, which must say `done`, and returns its data and how long it took, in milliseconds.
fn timed(command: &mut Command, input: &str) -> (serde_json::Value, f64) {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let start = Instant::now();
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let took = start.elapsed().as_secs_f64() * 1e3;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(shown["data"]["outcome"], "done", "{shown:#}");
    (shown["data"].clone(), took)
}

/// Caps back and forth. The first run over a shared connection makes it, and is not counted.
fn through_sshd(title: &str, transport: &str, persist: &str, load_takes_ms: u32) {
    let Some(live) = LiveBox::start(transport) else {
        return;
    };
    let settings = live
        .settings(transport)
        .replace("control_persist = \"20s\"", &format!("control_persist = \"{persist}\""));
    live.environment.write_config(&settings);
    live.firewall.php().write("load-takes", load_takes_ms.to_string().as_bytes());
    let (mut whole, mut reload, mut rest) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let preset = if round % 2 == 0 { "tighten" } else { "default" };
        let arguments = ["ratelimit", preset, "--yes", "-o", "json"];
        let (_, took) = timed(&mut live.environment.command(&arguments), "");
        let loading: f64 = live.firewall.text("load-took").trim().parse().unwrap();
        if round > 0 {
            whole.push(took);
            reload.push(loading * 1e3);
            rest.push(took - loading * 1e3);
        }
    }
    let least = rest.iter().copied().fold(f64::INFINITY, f64::min);
    println!(
        "  {title:34} {:8.0} {:8.0} {:8.0} {least:8.0}",
        median(whole),
        median(reload),
        median(rest)
    );
}

/// Puts entries into the demo's table as an administrator would: with pfctl, through ssh.
fn block_on_the_demo(environment: &TestEnvironment) {
    let mut serve =
        environment.command(&["demo", "serve", "--listen", "127.0.0.1:0", "-o", "ndjson"]);
    let mut serve = serve.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(serve.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let serving: serde_json::Value = serde_json::from_str(&line).unwrap();
    let address: std::net::SocketAddr = serving["address"].as_str().unwrap().parse().unwrap();
    let mut ssh = Command::new("ssh");
    ssh.args(["-F", "/dev/null", "-o", "BatchMode=yes", "-o"]);
    ssh.arg(format!("UserKnownHostsFile={}", serving["known_hosts"].as_str().unwrap()));
    ssh.args(["-i", serving["identity"].as_str().unwrap()]);
    ssh.args(["-p", &address.port().to_string(), "admin@127.0.0.1"]);
    ssh.arg("/sbin/pfctl -t virusprot -T add -f -");
    let mut ssh = ssh.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    ssh.stdin.take().unwrap().write_all(addresses().as_bytes()).unwrap();
    let output = ssh.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("10000/10000 addresses added"), "{said}");
    support::processes::signal(serve.id(), "INT");
    serve.wait().unwrap();
}

fn on_the_demo() {
    let (mut deleting, mut closing) = (Vec::new(), Vec::new());
    let mut ended = 0;
    for _ in 0..5 {
        let environment = TestEnvironment::new();
        block_on_the_demo(&environment);
        let arguments = ["--demo", "virusprot", "delete", "-", "--yes", "-o", "json"];
        let (data, took) = timed(&mut environment.command(&arguments), &addresses());
        let entries = data["entries"].as_array().unwrap();
        let freed = entries.iter().filter(|entry| entry["result"] == "freed");
        assert_eq!(freed.count(), 10_000);
        deleting.push(took);
        let arguments = ["--demo", "expose", "revoke", "--yes", "-o", "json"];
        let (data, took) = timed(&mut environment.command(&arguments), "");
        assert_eq!(data["after"]["exposure"], "closed");
        ended = data["states_ended"].as_u64().unwrap();
        closing.push(took);
    }
    println!("\non the demo, SSH included (5 rounds, median ms)");
    println!("  virusprot delete -, 10,000 entries freed and read back {:8.0}", median(deleting));
    println!("  expose revoke, proven, {ended} states ended {:8.0}", median(closing));
}

fn main() {
    println!("ratelimit tighten|default through sshd ({ROUNDS} rounds, ms)");
    println!("                                        whole   reload the rest   least");
    through_sshd("ssh, shared connection", "openssh", "60s", 0);
    through_sshd("ssh, a new connection", "openssh", "0s", 0);
    through_sshd("built-in client", "russh", "0s", 0);
    through_sshd("built-in client, a reload of 1.5 s", "russh", "0s", 1_500);
    on_the_demo();
}
