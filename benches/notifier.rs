//! How fast the server's log is read: `cargo bench --bench notifier [-- FILE]`.
//!
//! Prints figures and judges nothing. Two million lines are made in memory out of the sample logs (or FILE is
//! read), then: the newline count, attribution alone, the whole replay; and, where they are installed, `wc -l`, a
//! short Python loop and mtail over the same bytes in a file.

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
use std::time::Instant;

use kmsctl::domain::decision::Rules;
use kmsctl::domain::dedup::Dedup;
use kmsctl::domain::vlmcsd::Log;
use kmsctl::domain::vlmcsd::lines::Lines;
use kmsctl::notifier::replay::replay;

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
    if let Some(file) = named {
        measure(&file, &std::fs::read(file.clone()).unwrap());
        return;
    }
    for (name, sample) in [("activations", BUSY), ("probes", QUIET)] {
        measure(name, &repeated(sample));
    }
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
        let (mut splitter, mut log, mut events) = (Lines::default(), Log::default(), Vec::new());
        for chunk in bytes.chunks(256 * 1024) {
            splitter.feed(chunk, |line| log.line(line, &mut events));
            black_box(events.drain(..).count());
        }
    });
    report("replayed", lines, || {
        let rules = Rules {
            pods: vec!["10.10.0.0/16".parse().unwrap()],
            nodes: vec!["10.0.20.0/24".parse().unwrap()],
            not_before: i64::MIN,
        };
        let mut dedup = Dedup::new(3600, Dedup::MOST);
        black_box(replay::<std::io::Error>(bytes, &rules, &mut dedup, |_, _| Ok(())).unwrap());
    });
    others(lines, bytes);
}

fn report(name: &str, lines: usize, mut work: impl FnMut()) {
    let mut seconds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed().as_secs_f64()
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    let median = seconds.get(ROUNDS / 2).copied().unwrap();
    println!(
        "  {name:<18} {:>9.2} M lines/s (median of {ROUNDS}, {median:.3} s)",
        lines as f64 / median / 1e6
    );
}

/// Runs other programs over the same bytes, once each.
fn others(lines: usize, bytes: &[u8]) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("vlmcsd.log");
    std::fs::File::create(&file)
        .unwrap()
        .write_all(bytes)
        .unwrap();
    let program = folder.path().join("vlmcsd.mtail");
    std::fs::write(&program, MTAIL).unwrap();
    let path = file.to_str().unwrap();
    let mtail = [
        "-one_shot",
        "-progs",
        program.to_str().unwrap(),
        "-logs",
        path,
        "-log_dir",
        folder.path().to_str().unwrap(),
    ];
    for (name, program, arguments) in [
        ("wc -l", "wc", &["-l", path][..]),
        ("short Python loop", "python3", &["-c", PYTHON, path]),
        ("mtail", "mtail", &mtail),
    ] {
        let start = Instant::now();
        let status = Command::new(program)
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        let seconds = start.elapsed().as_secs_f64();
        match status {
            Ok(status) if status.success() => {
                println!(
                    "  {name:<18} {:>9.2} M lines/s (once, {seconds:.3} s)",
                    lines as f64 / seconds / 1e6
                );
            }
            Ok(status) => println!("  {name:<18} failed: {status}"),
            Err(_) => println!("  {name:<18} not installed"),
        }
    }
}
