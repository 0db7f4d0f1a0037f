//! How fast the state table is read: `cargo bench --bench parsers`.
//!
//! Prints figures and judges nothing. `-ss` and `-vvss` of a million plausible states are made once in memory,
//! then read in chunks of 64 KiB; beside it stands a count of newlines over the same bytes, so that figures from
//! different machines can be compared. Then the same text comes through a pipe from a process of our own, and the
//! peak resident memory of the reader is printed (`/proc`, so Linux only). Last, what the filter costs the firewall.
//!
//! `cargo bench --bench parsers -- stdin` reads any saved `pfctl -ss` output from stdin instead; `-- filter` measures the
//! filter alone.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "a bench is a program of its own: it prints, and stops at the first surprise"
)]

use std::fmt::Write as _;
use std::hint::black_box;
use std::io::{BufWriter, Read, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use kmsctl::domain::pf::Verbosity;
use kmsctl::domain::pf::rule::{self, Direction};
use kmsctl::domain::pf::state::{Detail, Host, Identity, State, StateParser};
use kmsctl::domain::shell_word::ShellWord;
use kmsctl::ssh::script::{Nonce, OutputFilter, Script, ScriptCommand};

const STATES: u64 = 1_000_000;
const CHUNK: usize = 64 * 1024;
const ROUNDS: usize = 5;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.first().map(String::as_str) {
        Some("stdin") => read_stdin(),
        Some("filter") => filter_on_the_firewall(),
        Some("generate") => generate_to_stdout(words.get(1).map(String::as_str) == Some("-vv")),
        // `cargo bench` passes `--bench`.
        _ => {
            measure("-ss", Verbosity::Plain);
            measure("-vvss", Verbosity::VeryVerbose);
            filter_on_the_firewall();
            pathological();
            pathological_rules();
            through_pipe("-ss", "-");
            through_pipe("-vvss", "-vv");
        }
    }
}

/// Times the parser and the newline count over a million states in memory.
fn measure(name: &str, verbosity: Verbosity) {
    let mut text = String::new();
    each_state(|state| writeln!(text, "{}", state.display(verbosity)).unwrap());
    let bytes = text.as_bytes();
    let per_state = bytes.len() as u64 / STATES;
    println!("{name}: {STATES} states, {per_state} B each");
    report("  parsed", bytes.len(), || {
        let mut tally = Tally::default();
        let mut parser = StateParser::new();
        for chunk in bytes.chunks(CHUNK) {
            parser.push(chunk, &mut |state| tally.add(&state));
        }
        let end = parser.finish_table(&mut |state| tally.add(&state));
        assert_eq!((end.value as u64, end.unread.len()), (STATES, 0));
        tally.service
    });
    report("  newlines only", bytes.len(), || memchr::memchr_iter(b'\n', bytes).count() as u64);
}

/// Times what the firewall's processor spends on the filter over a million states, with and without the `grep` before awk,
/// and the newlines of the same text beside it. `original-awk` is FreeBSD's; it stands in for `/usr/bin/awk` where it is
/// installed.
fn filter_on_the_firewall() {
    let mut table = tempfile::NamedTempFile::new().unwrap();
    let mut out = BufWriter::with_capacity(1 << 20, table.as_file_mut());
    let mut busy = 0;
    each_state(|state| {
        // One state in some thousands is the service's on a big firewall.
        busy += 1;
        let mut state = state.clone();
        if busy % 5_000 != 0 {
            let inside = state.left_inside.iter_mut();
            for host in [&mut state.left, &mut state.right].into_iter().chain(inside) {
                host.port = if host.port == 1688 { 443 } else { host.port };
            }
        }
        writeln!(out, "{}", state.display(Verbosity::VeryVerbose)).unwrap();
    });
    drop(out);
    let words =
        [ShellWord::fixed("/bin/cat"), ShellWord::path(table.path().to_str().unwrap()).unwrap()];
    let mut command = ScriptCommand::new(words);
    command.filter = Some(OutputFilter { port: 1688, address: None });
    let script = Script { commands: vec![command] };
    let mut text = String::from_utf8(script.render(&Nonce::new([7; 16]))).unwrap();
    if Path::new("/usr/bin/original-awk").exists() {
        text = text.replace("/usr/bin/awk", "/usr/bin/original-awk");
    }
    let begin = text.find("/usr/bin/grep").unwrap();
    let end = begin + text[begin..].find("| ").unwrap() + 2;
    let alone = format!("{}{}", &text[..begin], &text[end..]);
    println!("the filter on the firewall, {STATES} states of -vvss (seconds of processor time):");
    println!("  awk alone       {:.2}", processor_seconds(&alone));
    println!("  grep, then awk  {:.2}", processor_seconds(&text));
}

/// Runs a script in a shell, and returns the processor time of its children, least of three.
fn processor_seconds(script: &str) -> f64 {
    let round = || {
        let mut shell = Command::new("/bin/sh")
            .arg("-s")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = shell.stdin.take().unwrap();
        write!(input, "{script}t\ntimes >&2\n").unwrap();
        drop(input);
        let said = shell.wait_with_output().unwrap().stderr;
        let said = String::from_utf8(said).unwrap();
        // The last line of `times` is the children's: `0m0.270000s 0m0.030000s`.
        let seconds = said.lines().last().unwrap().split_whitespace().map(|word| {
            let (minutes, seconds) = word.trim_end_matches('s').split_once('m').unwrap();
            minutes.parse::<f64>().unwrap() * 60.0 + seconds.parse::<f64>().unwrap()
        });
        seconds.sum::<f64>()
    };
    (0..3).map(|_| round()).fold(f64::MAX, f64::min)
}

/// What a command wants to know of each state: is it the service's, whose, how many bytes.
#[derive(Default)]
struct Tally {
    states: u64,
    service: u64,
    bytes: u64,
}

impl Tally {
    fn add(&mut self, state: &State) {
        self.states += 1;
        if state.left.port == 1688 && state.right.address != IpAddr::V4(Ipv4Addr::UNSPECIFIED) {
            self.service += 1;
        }
        if let Some(detail) = &state.detail {
            self.bytes = self.bytes.wrapping_add(detail.bytes.0);
        }
        black_box(state);
    }
}

/// Prints the best and the median of some rounds in MB/s (millions of bytes).
fn report(name: &str, bytes: usize, mut round: impl FnMut() -> u64) {
    let mut speeds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let begin = Instant::now();
            black_box(round());
            bytes as f64 / 1e6 / begin.elapsed().as_secs_f64()
        })
        .collect();
    speeds.sort_by(f64::total_cmp);
    let (median, best) = (speeds[ROUNDS / 2], speeds[ROUNDS - 1]);
    println!("{name}: best {best:.0} MB/s, median {median:.0} MB/s");
}

/// Times texts that a careless parser reads in quadratic time; each at two sizes.
fn pathological() {
    println!("garbage (the second size is eight times the first; speeds should be alike):");
    let rubbish: [(&str, &[u8]); 4] = [
        ("  one line without end", b"x"),
        ("  tiny lines", b"?\n"),
        ("  lines of blanks", b"   \n"),
        ("  brackets", b"igb0 tcp ((((((((\n"),
    ];
    for (name, unit) in rubbish {
        for size in [1_000_000, 8_000_000] {
            let text = unit.repeat(size / unit.len());
            report(&format!("{name}, {size} B"), text.len(), || {
                let mut parser = StateParser::new();
                for chunk in text.chunks(997) {
                    parser.push(chunk, &mut |_| {});
                }
                parser.finish_table(&mut |_| {}).value as u64
            });
        }
    }
}

/// The same for rules, whose labels may hold anything.
fn pathological_rules() {
    let label = format!("pass all label \"{}\"\n", "\" label \"".repeat(5_000));
    let host = format!("pass from {}\n", "(<x:1> ".repeat(7_000));
    for (name, line) in [("  quotes in a rule", label), ("  brackets in a rule", host)] {
        for times in [20, 160] {
            let text = line.repeat(times);
            report(&format!("{name}, {} B", text.len()), text.len(), || {
                rule::parse_pf_rules(text.as_bytes()).value.len() as u64
            });
        }
    }
}

/// Runs a generator and, at the other end of its pipe, a reader.
fn through_pipe(name: &str, form: &str) {
    let this = std::env::current_exe().unwrap();
    let mut generator =
        Command::new(&this).args(["generate", form]).stdout(Stdio::piped()).spawn().unwrap();
    let reader =
        Command::new(&this).arg("stdin").stdin(generator.stdout.take().unwrap()).output().unwrap();
    generator.wait().unwrap();
    print!("{name} through a pipe: {}", String::from_utf8_lossy(&reader.stdout));
}

fn generate_to_stdout(very_verbose: bool) {
    let verbosity = if very_verbose { Verbosity::VeryVerbose } else { Verbosity::Plain };
    let mut out = BufWriter::with_capacity(1 << 20, std::io::stdout().lock());
    each_state(|state| writeln!(out, "{}", state.display(verbosity)).unwrap());
    out.flush().unwrap();
}

fn read_stdin() {
    let mut tally = Tally::default();
    let mut parser = StateParser::new();
    let mut buffer = vec![0; CHUNK];
    let mut input = std::io::stdin().lock();
    let (mut length, mut busy) = (0, std::time::Duration::ZERO);
    loop {
        let read = input.read(&mut buffer).unwrap();
        if read == 0 {
            break;
        }
        length += read;
        let begin = Instant::now();
        parser.push(&buffer[..read], &mut |state| tally.add(&state));
        busy += begin.elapsed();
    }
    let end = parser.finish_table(&mut |state| tally.add(&state));
    let speed = length as f64 / 1e6 / busy.as_secs_f64();
    println!(
        "{} states, {} unread, {} B; parsing at {speed:.0} MB/s; peak resident {}",
        end.value,
        end.unread.len() + end.more_unread,
        length,
        peak_resident(),
    );
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

/// Makes a million states one after the other: mostly TCP, a quarter IPv6, NAT on both sides, some UDP and ICMP.
fn each_state(mut take: impl FnMut(&State)) {
    let mut random = SplitMix(1688);
    for number in 0..STATES {
        take(&plausible(number, &mut random));
    }
}

fn plausible(number: u64, random: &mut SplitMix) -> State {
    let six = random.below(4) == 0;
    let icmp = if six { "ipv6-icmp" } else { "icmp" };
    let protocol = random.pick(&["tcp", "tcp", "tcp", "udp", icmp]);
    let levels = random.pick(match protocol {
        "tcp" => &[
            "ESTABLISHED:ESTABLISHED",
            "FIN_WAIT_2:FIN_WAIT_2",
            "TIME_WAIT:TIME_WAIT",
            "CLOSED:SYN_SENT",
        ],
        "udp" => {
            &["MULTIPLE:MULTIPLE", "SINGLE:NO_TRAFFIC", "SINGLE:MULTIPLE", "NO_TRAFFIC:SINGLE"]
        }
        _ => &["0:0"],
    });
    let direction = random.pick(&[Direction::In, Direction::Out]);
    let service = random.pick(&[1688, 443, 443]);
    let high = 1024 + random.below(64_000) as u16;
    let (left, right) = match direction {
        Direction::In => (service, high),
        Direction::Out => (high, service),
    };
    let translated = random.below(2) == 0;
    State {
        interface: random.pick(&["all", "vtnet0", "igb2.100"]).to_owned(),
        protocol: protocol.to_owned(),
        direction,
        left: host(six, left, random),
        left_inside: translated.then(|| host(six, left, random)),
        right: host(six, right, random),
        right_inside: None,
        levels: levels.to_owned(),
        detail: Some(detail(protocol == "tcp", translated, random)),
        identity: Some(Identity {
            id: 0x6400_0000_5f3a_0000 + number,
            creator: 0x1f2e_3d4c,
            extras: Vec::new(),
            original_interface: Some("vtnet0".to_owned()),
        }),
    }
}

fn detail(tcp: bool, tracked: bool, random: &mut SplitMix) -> Detail {
    let sequence = random.next() as u32;
    let windows = format!("[{sequence} + 65535] wscale 7  [{} + 64240] wscale 8", sequence / 3);
    Detail {
        windows: tcp.then_some(windows),
        age_seconds: random.below(400_000),
        expires_seconds: random.below(86_400),
        packets: (random.below(100_000), random.below(100_000)),
        bytes: (random.below(100_000_000), random.below(100_000_000)),
        rule: Some(random.below(120) as u32),
        extras: tracked.then(|| "source-track".to_owned()).into_iter().collect(),
    }
}

fn host(six: bool, port: u16, random: &mut SplitMix) -> Host {
    let bits = random.next();
    let address = if six {
        let groups = Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(bits));
        IpAddr::V6(groups)
    } else {
        IpAddr::V4(Ipv4Addr::from_bits(bits as u32))
    };
    Host { address, scope: None, port }
}

/// A small generator, so that every run reads the same text.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}
