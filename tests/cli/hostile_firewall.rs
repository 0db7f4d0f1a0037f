//! A firewall whose every answer is meant to hurt: kmsctl stays small, ends at once where it is interrupted, and says
//! nothing that acts on a terminal.

use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::environment::TestEnvironment;
use crate::support::hostile::{CASES, Hostile, measured};
use crate::support::processes;
use crate::support::raw_sshd::{Moment, RawSshd, message, string};
use crate::support::sshd::key;

const MOST_MEBIBYTES: u64 = 256;
/// One second is promised and measured by the bench; a machine that is busy with other tests is given more.
const MOST_PATIENCE: Duration = Duration::from_secs(30);

fn acts_on_terminal(text: &str) -> bool {
    text.chars().any(|one| one != '\n' && kmsctl::text::acts_on_terminal(one))
}

#[test]
fn no_answer_fills_the_memory() {
    let Some(hostile) = Hostile::start("russh") else {
        return;
    };
    let mut wrong = Vec::new();
    for case in CASES {
        let run = hostile.measure(case);
        eprintln!("{}: {:?}, {} MiB, {:?}", case.0, run.code, run.peak, run.took);
        if run.peak > MOST_MEBIBYTES || run.code.is_none_or(|code| code > 8) {
            wrong.push((case.0, run.code, run.peak));
        }
        let said = run.stdout + &run.stderr;
        if acts_on_terminal(&said) || said.len() > 64 << 10 {
            let beginning: String = said.chars().take(500).collect();
            panic!("{}: {} bytes: {beginning:?}", case.0, said.len());
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn an_interrupt_ends_every_built_in_answer() {
    interrupt_every_answer("russh", &[700, 1500, 3000]);
}

#[test]
fn an_interrupt_ends_every_openssh_answer() {
    interrupt_every_answer("openssh", &[1000]);
}

/// Interrupts each answer once, at the moments in turn: all of them at all moments is the bench's.
fn interrupt_every_answer(transport: &str, moments: &[u64]) {
    let Some(hostile) = Hostile::start(transport) else {
        return;
    };
    for (case, after) in CASES.iter().zip(moments.iter().cycle()) {
        let took = hostile.interrupt(case, Duration::from_millis(*after));
        eprintln!("{}: interrupted after {after} ms: {took:?}", case.0);
        assert!(took <= MOST_PATIENCE, "{transport}, {}: {took:?}", case.0);
    }
}

#[test]
fn a_typed_interrupt_ends_every_built_in_answer() {
    type_interrupt_at_every_answer("russh");
}

#[test]
fn a_typed_interrupt_ends_every_openssh_answer() {
    type_interrupt_at_every_answer("openssh");
}

/// As an operator does it, at a terminal, where ssh gets the signal too.
fn type_interrupt_at_every_answer(transport: &str) {
    let Some(hostile) = Hostile::start(transport) else {
        return;
    };
    for case in CASES.iter().filter(|case| case.1 != "cut") {
        hostile.answer(case.1, case.2, case.3);
        let mut command = hostile.environment.command(case.4);
        command.args(["--timeout", "60s", "--no-pager"]);
        let mut terminal = rexpect::session::spawn_command(command, Some(20_000)).expect("a pty");
        std::thread::sleep(Duration::from_millis(700));
        let start = Instant::now();
        // What has ended already takes no key.
        let _ = terminal.send_control('c');
        let said = terminal.exp_eof().expect("it ends");
        let took = start.elapsed();
        assert!(took <= MOST_PATIENCE, "{transport}, {}: {took:?}", case.0);
        assert!(said.len() < 64 << 10, "{transport}, {}", case.0);
    }
}

#[test]
fn a_limit_ends_every_built_in_answer() {
    limit_every_answer("russh");
}

#[test]
fn a_limit_ends_every_openssh_answer() {
    limit_every_answer("openssh");
}

fn limit_every_answer(transport: &str) {
    const LIMIT: Duration = Duration::from_secs(1);
    let Some(hostile) = Hostile::start(transport) else {
        return;
    };
    for case in CASES {
        hostile.answer(case.1, case.2, case.3);
        let mut command = hostile.environment.command(case.4);
        command.args(["--timeout", "1s"]);
        let run = measured(command);
        assert!(run.took <= LIMIT + MOST_PATIENCE, "{transport}, {}: {run:?}", case.0);
        assert!(run.code.is_some_and(|code| code <= 8), "{transport}, {}: {run:?}", case.0);
    }
}

/// What a server may say, and when: a name, the moment, and the message.
fn floods() -> Vec<(&'static str, Moment, Vec<u8>)> {
    let odd = "\u{1b}]0;owned\u{7}REVOKED HOST KEY DETECTED\n".repeat(20);
    let banner = message(53, &[&string(odd.as_bytes()), &string(b"")]);
    let debug = message(4, &[&[1], &string(odd.as_bytes()), &string(b"")]);
    let ignored = message(2, &[&string(&[b'x'; 900])]);
    let request = |name: &[u8], reply: u8| message(80, &[&string(name), &[reply]]);
    let keys = [string(b"hostkeys-00@openssh.com"), vec![0], string(&string(b"ssh-ed25519"))];
    let channel = |number: u8, parts: &[&[u8]]| message(number, &[&[0; 4], &parts.concat()]);
    let opened = [&string(b"forwarded-tcpip")[..], &[0; 4], &[0, 1, 0, 0], &[0, 1, 0, 0]];
    vec![
        ("silence in the key exchange", Moment::KeyExchange, vec![]),
        ("messages to ignore in the key exchange", Moment::KeyExchange, ignored.clone()),
        ("debug messages in the key exchange", Moment::KeyExchange, debug.clone()),
        ("silence before the login", Moment::Service, vec![]),
        ("messages to ignore before the login", Moment::Service, ignored.clone()),
        ("silence in the login", Moment::Login, vec![]),
        ("banners in the login", Moment::Login, banner),
        ("debug messages in the login", Moment::Login, debug.clone()),
        ("refusals of the login", Moment::Login, message(51, &[&string(b"publickey"), &[0]])),
        ("requests after the login", Moment::Welcome, request(b"keepalive@openssh.com", 1)),
        ("requests without an answer", Moment::Welcome, request(odd.as_bytes(), 0)),
        ("host keys", Moment::Welcome, message(80, &[&keys.concat()])),
        ("debug messages after the login", Moment::Welcome, debug),
        ("new key exchanges", Moment::Welcome, message(20, &[&[7; 16], &[0; 45]])),
        ("silence for a channel", Moment::Channel, vec![]),
        ("channels of its own", Moment::Channel, message(90, &[&opened.concat()])),
        ("silence of a shell", Moment::Shell, vec![]),
        ("requests in a shell", Moment::Shell, request(b"keepalive@openssh.com", 1)),
        ("window adjustments", Moment::Shell, channel(93, &[&[0, 0, 0, 1]])),
        (
            "requests to the channel",
            Moment::Shell,
            channel(98, &[&string(b"keepalive@openssh.com"), &[1]]),
        ),
        ("data beyond the window", Moment::Shell, channel(94, &[&string(&[b'\n'; 9000])])),
        (
            "errors beyond the window",
            Moment::Shell,
            channel(95, &[&[0, 0, 0, 1], &string(&[b'\n'; 9000])]),
        ),
        (
            "data of an unknown kind",
            Moment::Shell,
            channel(95, &[&[0, 0, 0, 7], &string(&[b'\n'; 900])]),
        ),
        ("messages without a meaning", Moment::Shell, message(200, &[&[b'x'; 900]])),
    ]
}

fn bytes_below(directory: &std::path::Path) -> u64 {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(found) if found.is_dir() => bytes_below(&entry.path()),
            Ok(found) => found.len(),
            Err(_) => 0,
        })
        .sum()
}

/// A server that floods or falls silent at each moment of the conversation costs the patience that was asked for, no
/// memory and no disk, and an interrupt ends it.
#[test]
fn a_flood_at_any_moment_ends() {
    let floods = floods();
    let cases: Vec<_> = ["openssh", "russh"]
        .into_iter()
        .flat_map(|transport| floods.iter().map(move |flood| (transport, flood)))
        .collect();
    // Most of the time is waiting.
    std::thread::scope(|scope| {
        for share in cases.chunks(cases.len().div_ceil(4)) {
            scope.spawn(move || {
                for (transport, (name, moment, flood)) in share {
                    check_flood(transport, name, *moment, flood);
                }
            });
        }
    });
}

fn check_flood(transport: &str, name: &str, moment: Moment, flood: &[u8]) {
    const PATIENCE: Duration = Duration::from_secs(1);
    let server = RawSshd::start(moment, flood);
    let environment = TestEnvironment::new().private_runtime().without("KMSCTL_FIREWALL_HOST");
    let known = environment.home().join("known_hosts");
    std::fs::write(&known, &server.known).expect("a file");
    environment.write_config(&format!(
        "[firewall]\nhost = \"127.0.0.1\"\nport = {}\nuser = \"root\"\ntransport = \"{transport}\"\nidentity = \"{}\"\n\
         known_hosts = \"{}\"\nssh_config = \"/dev/null\"\ncontrol_persist = \"1s\"\n",
        server.port,
        key("client").display(),
        known.display(),
    ));
    let run = measured(environment.command(&["virusprot", "show", "--timeout", "1s"]));
    let left = bytes_below(&environment.home().join("r"));
    let case = format!("{transport}, {name}: {left} bytes are left; {run:?}");
    assert!(matches!(run.code, Some(1 | 5)), "{case}");
    assert!(run.peak <= MOST_MEBIBYTES, "{case}");
    assert!(run.took <= PATIENCE + MOST_PATIENCE, "{case}");
    assert!(left <= 64 << 10, "{case}");
    let said = run.stdout + &run.stderr;
    assert!(!acts_on_terminal(&said) && said.len() <= 8 << 10, "{case}");
    let mut command = environment.command(&["virusprot", "show", "--timeout", "60s"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().expect("kmsctl starts");
    std::thread::sleep(PATIENCE / 2);
    let start = Instant::now();
    processes::signal(child.id(), "INT");
    let code = child.wait().expect("it ends").code();
    assert!(start.elapsed() <= MOST_PATIENCE, "{case}");
    assert!(run.took < PATIENCE || code == Some(130), "{code:?}, {case}");
}
