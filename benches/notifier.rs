//! How fast the server's log is read: `cargo bench --bench notifier [-- FILE or a part of a row's name]`.
//!
//! Prints figures and judges nothing. Two million lines are made in memory (or FILE is read): activations as the
//! tests' generator writes them, the samples over and over, 200,000 connections that are never closed, and machines that ask
//! beside so many open connections. Then: the newline count and attribution alone; how much memory `kmsctl notifier replay` takes
//! for the same bytes; and, in turns so that what else the machine does meets all alike, the whole replay, `wc -l`, a short Python
//! loop and mtail, where they are installed. Every rate is lines by second of processor time (the kernel's account of this
//! process and of its children), the most of five rounds.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    reason = "a bench is a program of its own: it prints, and stops at the first surprise"
)]

use std::hint::black_box;
use std::io::Write as _;
use std::process::{Command, Stdio};

#[path = "../tests/support/kms_log/mod.rs"]
mod kms_log;

use kmsctl::domain::kms_log::Log;
use kmsctl::domain::kms_log::line::LogLines;
use kmsctl::domain::notifier::decide::DecisionRules;
use kmsctl::domain::notifier::dedup::Dedup;
use kmsctl::notifier::replay::replay_log;

const LINES: usize = 2_000_000;
const ROUNDS: usize = 5;
const BUSY: &[u8] = include_bytes!("../tests/fixtures/vlmcsd/busy.old.log");
const QUIET: &[u8] = include_bytes!("../tests/fixtures/vlmcsd/quiet.old.log");

/// What a short Python program does with the log: anchored expressions, a dictionary of open connections.
const PYTHON: &str = r#"
import re, sys
opened = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d: IPv[46] connection accepted: (\S+)\.$")
closed = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d: IPv[46] connection closed: (\S+)\.$")
field = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d: (Licensing status|Activation ID \(Product\)|Workstation name) *: (.*)$")
state, current, probes, activations = {}, None, 0, 0
for line in open(sys.argv[1], errors="replace"):
    m = opened.match(line)
    if m:
        current = state[m[1]] = {}
        continue
    m = closed.match(line)
    if m:
        if state.pop(m[1], None): activations += 1
        else: probes += 1
        continue
    m = field.match(line)
    if m and current is not None: current[m[1]] = m[2]
"#;

const MTAIL: &str = r"
counter accepted
counter closed
counter products by product
/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d: IPv[46] connection accepted: \S+\.$/ {
  accepted++
}
/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d: IPv[46] connection closed: \S+\.$/ {
  closed++
}
/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d: Activation ID \(Product\) *: (?P<product>\S+)/ {
  products[$product]++
}
";

fn main() {
    let named = std::env::args().skip(1).find(|word| !word.starts_with('-'));
    let named = named.unwrap_or_default();
    if std::path::Path::new(&named).is_file() {
        measure(&named, &std::fs::read(&named).unwrap());
        return;
    }
    let row = |name: &str, make: &dyn Fn() -> Vec<u8>| {
        if name.contains(&named) {
            measure(name, &make());
        }
    };
    let busy = kms_log::Profile { seconds: 53 * 3600, ..kms_log::Profile::busy() };
    row("generated, busy", &|| busy.simulate(1).bytes());
    row("sample, busy", &|| repeated(BUSY));
    row("sample, quiet", &|| repeated(QUIET));
    row("never closed", &|| never_closed(200_000));
    for open in [40, 250, 800, 2_300, 4_096] {
        row(&format!("{open} open"), &|| beside_open(open));
    }
}

/// Machines that come and ask beside so many connections that say nothing: each of those is closed and another accepted before
/// it is idle for too long, a twentieth of them each second.
fn beside_open(count: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let (mut begun, mut ended, mut lines) = (0, 0, 0);
    for second in 0.. {
        let (hour, minute) = (second / 3_600 % 24, second / 60 % 60);
        let day = 1 + second / 86_400;
        let mut write = |text: &str| {
            let stamp = format!("2026-05-{day:02} {hour:02}:{minute:02}:{:02}: ", second % 60);
            bytes.extend_from_slice(stamp.as_bytes());
            bytes.extend_from_slice(text.as_bytes());
            bytes.push(b'\n');
            lines += 1;
        };
        let client = |number: u32| {
            let address = std::net::Ipv4Addr::from(0xc633_0000 + number % 60_000);
            format!("{address}:{}", number % 50_000 + 1_024)
        };
        let renewed = if second == 0 { 0 } else { (count / 20).max(1) };
        for _ in 0..renewed {
            write(&format!("IPv4 connection closed: {}.", client(ended)));
            ended += 1;
        }
        while begun - ended < count {
            write(&format!("IPv4 connection accepted: {}.", client(begun)));
            begun += 1;
        }
        for number in second * 10..second * 10 + 10 {
            let peer = format!("203.0.113.{}:{}", number % 250, number % 50_000 + 1_024);
            let machine = number % 1_000;
            write(&format!("IPv4 connection accepted: {peer}."));
            for text in [
                "<<< Incoming KMS request",
                "Protocol version                : 6.0",
                "Client is a virtual machine     : No",
                "Licensing status                : 2 (OOB grace)",
                "Remaining time (0 = forever)    : 43200 minutes",
                "Application ID                  : 55c92734-d682-4d71-983e-d6ec3f16059f (Windows)",
                "Activation ID (Product)         : 2de67392-b7a7-462a-b1ca-108dd189f588 (Windows 10 Professional)",
                "Key Management Service ID       : 58e2134f-8e11-4d17-9cb2-91069c151148 (Windows 10 VL)",
                &format!(
                    "Client machine ID               : {machine:08x}-0000-4000-8000-000000000000"
                ),
                "Previous client machine ID      : 00000000-0000-0000-0000-000000000000",
                "Client request timestamp (UTC)  : 2026-05-10 13:12:17",
                &format!("Workstation name                : PC-{machine}"),
                "N count policy (minimum clients): 25",
                ">>> Sending response, ePID source = randomized at program start",
                "Protocol version                : 6.0",
                "KMS host extended PID           : 00000-00000-000-000000-03-1033-9600.0000-0012026",
                "KMS host Hardware ID            : 0123456789ABCDEF",
                &format!(
                    "Client machine ID               : {machine:08x}-0000-4000-8000-000000000000"
                ),
                "Client request timestamp (UTC)  : 2026-05-10 13:12:17",
                "KMS host current active clients : 50",
                "Renewal interval policy         : 10080",
                "Activation interval policy      : 120",
            ] {
                write(text);
            }
            write(&format!("IPv4 connection closed: {peer}."));
        }
        if lines >= LINES {
            break;
        }
    }
    bytes
}

/// Connections of which none is ever closed, ten a second.
fn never_closed(count: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in 0..count {
        let (second, port) = (number / 10, number % 50_000 + 1_024);
        let (day, rest) = (1 + second / 86_400, second % 86_400);
        let clock = format!("{:02}:{:02}:{:02}", rest / 3_600, rest / 60 % 60, rest % 60);
        let address = std::net::Ipv4Addr::from(0xc633_0000 + number);
        bytes.extend_from_slice(
            format!("2026-05-{day:02} {clock}: IPv4 connection accepted: {address}:{port}.\n")
                .as_bytes(),
        );
    }
    bytes
}

fn repeated(sample: &[u8]) -> Vec<u8> {
    let lines = memchr::memchr_iter(b'\n', sample).count();
    sample.repeat(LINES.div_ceil(lines))
}

fn measure(name: &str, bytes: &[u8]) {
    let lines = memchr::memchr_iter(b'\n', bytes).count();
    println!("{name}: {lines} lines, {} MB", bytes.len() / 1_000_000);
    report("newlines counted", lines, || {
        black_box(memchr::memchr_iter(b'\n', black_box(bytes)).count());
    });
    report("attributed", lines, || {
        let (mut splitter, mut log, mut events) = (LogLines::default(), Log::default(), Vec::new());
        for chunk in bytes.chunks(256 * 1024) {
            splitter.feed_chunk(chunk, |line| log.read_line(line, &mut events));
            black_box(events.drain(..).count());
        }
    });
    let replay = || {
        let rules = DecisionRules {
            pods: vec!["10.10.0.0/16".parse().unwrap()],
            nodes: vec!["10.0.20.0/24".parse().unwrap()],
        };
        let mut dedup = Dedup::new(3600, Dedup::MOST);
        black_box(
            replay_log::<std::io::Error>(
                bytes,
                &rules,
                (jiff::civil::date(2026, 6, 1), None),
                &mut dedup,
                |_, _| Ok(()),
            )
            .unwrap(),
        );
    };
    compare_programs(lines, bytes, replay);
}

fn report(name: &str, lines: usize, mut work: impl FnMut()) {
    let rounds = (0..ROUNDS).map(|_| timed(&mut work));
    print_rate(name, lines, rounds.fold(f64::INFINITY, f64::min), None);
}

fn timed(work: &mut impl FnMut()) -> f64 {
    let start = own_seconds();
    work();
    (own_seconds() - start).max(1e-6)
}

fn print_rate(name: &str, lines: usize, least: f64, ours: Option<f64>) {
    let ratio =
        ours.map_or_else(String::new, |ours| format!(", {:.1} times the replay", least / ours));
    println!(
        "  {name:<18} {:>9.2} M lines/s (least of {ROUNDS}, {least:.3} s{ratio})",
        lines as f64 / least / 1e6
    );
}

/// Returns the seconds of processor time this thread took.
fn own_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
}

/// Returns the seconds of processor time that children took which have ended; the kernel counts hundredths.
fn children_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap();
    let (_, after_name) = text.rsplit_once(')').unwrap();
    let fields = after_name.split_whitespace().skip(13).take(2);
    fields.map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>() / 100.0
}

/// Runs the replay and other programs over the same bytes, in turns.
fn compare_programs(lines: usize, bytes: &[u8], mut replay: impl FnMut()) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("vlmcsd.log");
    std::fs::File::create(&file).unwrap().write_all(bytes).unwrap();
    let program = folder.path().join("vlmcsd.mtail");
    std::fs::write(&program, MTAIL).unwrap();
    let path = file.to_str().unwrap();
    memory(path);
    let mtail = [
        "-one_shot",
        "-progs",
        program.to_str().unwrap(),
        "-logs",
        path,
        "-log_dir",
        folder.path().to_str().unwrap(),
    ];
    let programs = [
        ("wc -l", "wc", &["-l", path][..]),
        ("short Python loop", "python3", &["-c", PYTHON, path]),
        ("mtail", "mtail", &mtail),
    ];
    let mut ours = f64::INFINITY;
    let mut theirs = programs.map(|program| (program, f64::INFINITY, None));
    for _ in 0..ROUNDS {
        ours = ours.min(timed(&mut replay));
        for ((_, program, arguments), least, failure) in &mut theirs {
            let start = children_seconds();
            let ran = Command::new(program)
                .args(*arguments)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            let seconds = (children_seconds() - start).max(0.01);
            match ran {
                Ok(status) if status.success() => *least = least.min(seconds),
                Ok(status) => *failure = Some(format!("failed: {status}")),
                Err(error) => *failure = Some(format!("SKIPPED, {error}")),
            }
        }
    }
    print_rate("replayed", lines, ours, None);
    for ((name, ..), least, failure) in theirs {
        match failure {
            None => print_rate(name, lines, least, Some(ours)),
            Some(failure) => println!("  {name:<18} {failure}"),
        }
    }
}

/// Prints the most memory that a replay of this file had resident. The mark only grows, so the last look counts.
fn memory(path: &str) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_kmsctl"))
        .args(["notifier", "replay", "--summary", path])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut most = None;
    while child.try_wait().unwrap().is_none() {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        most = text
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .map(|size| size.trim().to_owned())
            .or(most);
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    println!("  kmsctl resident    {:>12}", most.unwrap_or_else(|| "too quick to see".to_owned()));
}
