//! The script against real shells and real awks: what is rendered means to them what `kmsctl` thinks it means.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};

use kmsctl::domain::shell_word::ShellWord;
use kmsctl::ssh::framing::{Demux, FramedStream};
use kmsctl::ssh::script::{
    AWK_FILTER, Nonce, OutputFilter, ROUND, Script, ScriptCommand, round_of,
};

use crate::support::skip;

/// Status, standard output, standard error.
type Answer = (i32, Vec<u8>, Vec<u8>);

fn sh(text: &'static str) -> ScriptCommand {
    ScriptCommand::new([
        ShellWord::fixed("/bin/sh"),
        ShellWord::fixed("-c"),
        ShellWord::fixed(text),
    ])
}

fn cat(path: &str) -> ScriptCommand {
    ScriptCommand::new([ShellWord::fixed("/bin/cat"), ShellWord::path(path).unwrap()])
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// Feeds a script to a local shell and returns its whole standard output and standard error.
fn feed(shell: &str, text: Vec<u8>) -> (Vec<u8>, Vec<u8>) {
    let mut process = Process::new(shell)
        .arg("-s")
        .env_clear()
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = process.stdin.take().unwrap();
    let (mut stdout, mut stderr) = (process.stdout.take().unwrap(), process.stderr.take().unwrap());
    let write = std::thread::spawn(move || input.write_all(&text).unwrap());
    let errors = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        stderr.read_to_end(&mut bytes).unwrap();
        bytes
    });
    let mut output = Vec::new();
    stdout.read_to_end(&mut output).unwrap();
    write.join().unwrap();
    assert!(process.wait().unwrap().success());
    (output, errors.join().unwrap())
}

/// Runs so many rounds of a script in a local shell and returns the answers of the last one.
fn run_rounds(shell: &str, script: &Script, rounds: usize) -> Vec<Answer> {
    let nonce = Nonce::new(*b"\x00\x01fedcba98765432");
    let mut text = script.render(&nonce);
    text.extend(ROUND.repeat(rounds));
    let (output, errors) = feed(shell, text);

    // Each stream holds all rounds one after the other.
    let end = format!("\n{} d\n", nonce.as_str());
    let last = |bytes: &[u8]| {
        let ends: Vec<usize> =
            memchr::memmem::find_iter(bytes, end.as_bytes()).map(|at| at + end.len()).collect();
        assert_eq!(ends.len(), rounds, "{}", String::from_utf8_lossy(bytes));
        let from = if rounds > 1 { ends[rounds - 2] } else { 0 };
        bytes[from..].to_vec()
    };
    let all: Vec<usize> = (0..script.commands.len()).collect();
    let mut demux = Demux::new(&nonce);
    let mut answers = vec![Answer::default(); script.commands.len()];
    let mut sink = |index: usize, stream: FramedStream, bytes: &[u8]| {
        let (_, output, errors) = &mut answers[index];
        let into = if stream == FramedStream::Stdout { output } else { errors };
        into.extend_from_slice(bytes);
        ControlFlow::Continue(())
    };
    demux.begin_round(&all);
    let _ = demux.feed_bytes(FramedStream::Stdout, &last(&output), &mut sink).unwrap();
    let _ = demux.feed_bytes(FramedStream::Stderr, &last(&errors), &mut sink).unwrap();
    assert!(demux.is_complete());
    for (answer, status) in answers.iter_mut().zip(demux.statuses()) {
        answer.0 = *status;
    }
    answers
}

fn run(commands: Vec<ScriptCommand>) -> Vec<Answer> {
    let script = Script { commands };
    let answers = run_rounds("/bin/sh", &script, 1);
    // What these agree on, FreeBSD's sh does too; their own complaints on stderr differ in words.
    let data = |answers: &[Answer]| -> Vec<(i32, Vec<u8>)> {
        answers.iter().map(|(status, output, _)| (*status, output.clone())).collect()
    };
    for shell in ["/bin/dash", "/bin/bash"].into_iter().filter(|shell| Path::new(shell).exists()) {
        assert_eq!(data(&run_rounds(shell, &script, 1)), data(&answers), "{shell}");
    }
    assert_eq!(run_rounds("/bin/sh", &script, 3), answers, "the third round");
    answers
}

#[test]
fn statuses_and_streams_are_kept_apart() {
    let answers = run(vec![
        sh("exit 0"),
        sh("echo out; echo err >&2; exit 1"),
        sh("exit 2"),
        ScriptCommand::new([ShellWord::fixed("/nonexistent/pfctl")]),
        sh("echo 'pfctl: Table does not exist.' >&2; exit 255"),
        sh("kill -9 $$"),
    ]);
    let statuses: Vec<i32> = answers.iter().map(|answer| answer.0).collect();
    assert_eq!(statuses, [0, 1, 2, 127, 255, 137]);
    assert_eq!((answers[1].1.as_slice(), answers[1].2.as_slice()), (&b"out\n"[..], &b"err\n"[..]));
    assert!(String::from_utf8_lossy(&answers[3].2).contains("/nonexistent/pfctl"));
    assert_eq!(answers[4].2, b"pfctl: Table does not exist.\n");
}

#[test]
fn some_commands_are_run_once_more_alone() {
    let nonce = Nonce::new(*b"\x00\x01fedcba98765432");
    let word = |text| ScriptCommand::new([ShellWord::fixed("/bin/echo"), ShellWord::fixed(text)]);
    let input = ScriptCommand {
        input: b"its own\n".to_vec(),
        ..ScriptCommand::new([ShellWord::fixed("/bin/cat")])
    };
    let filtered = ScriptCommand {
        filter: Some(OutputFilter { port: 1688, address: None }),
        ..word("all tcp 10.0.0.1:1688 <- 10.0.0.2:1  X")
    };
    let script =
        Script { commands: vec![word("zero"), input, word("two"), filtered, word("four")] };
    for shell in
        ["/bin/sh", "/bin/dash", "/bin/bash"].into_iter().filter(|shell| Path::new(shell).exists())
    {
        let mut text = script.render(&nonce);
        text.extend(round_of(&[1, 3]));
        text.extend(round_of(&[4]));
        let (output, errors) = feed(shell, text);
        let mark = nonce.as_str();
        let expected = format!(
            "\n{mark} b 1\nits own\n\n{mark} e 1 0\n\n{mark} b 3\nall tcp 10.0.0.1:1688 <- 10.0.0.2:1  X\n\n{mark} e 3 0\n\n{mark} d\n\n{mark} b 4\nfour\n\n{mark} e 4 0\n\n{mark} d\n"
        );
        assert_eq!(String::from_utf8(output).unwrap(), expected, "{shell}");
        assert_eq!(String::from_utf8(errors).unwrap().matches(" e ").count(), 3, "{shell}");
    }
}

#[test]
fn a_slow_command_runs_beside_others() {
    let mark = tempfile::tempdir().unwrap();
    let path = |name: &str| ShellWord::path(mark.path().join(name).to_str().unwrap()).unwrap();
    // Waits for a sign of the command whose turn comes two commands later.
    let waiting = ScriptCommand::new([
        ShellWord::fixed("/bin/sh"),
        ShellWord::fixed("-c"),
        ShellWord::fixed(
            "for i in 1 2 3 4 5 6 7 8 9 10; do [ -e \"$1\" ] && exec echo seen; sleep 1; done; echo never",
        ),
        ShellWord::fixed("sh"),
        path("started"),
    ]);
    let ahead = ScriptCommand {
        input: b"its own input\n".to_vec(),
        starts_ahead: 2,
        ..ScriptCommand::new([
            ShellWord::fixed("/bin/sh"),
            ShellWord::fixed("-c"),
            ShellWord::fixed("cat; : >\"$1\"; echo noise >&2; head -c 300000 /dev/zero; exit 7"),
            ShellWord::fixed("sh"),
            path("started"),
        ])
    };
    let answers =
        run(vec![sh("echo zero"), waiting, sh("echo two; exit 2"), ahead, sh("cat; echo four")]);
    assert_eq!(answers[1].1, b"seen\n");
    assert_eq!((answers[2].0, answers[2].1.as_slice()), (2, &b"two\n"[..]));
    let wanted = [b"its own input\nnoise\n".to_vec(), vec![0; 300_000]].concat();
    assert!(answers[3] == (7, wanted, Vec::new()), "{:?}", answers[3].0);
    assert_eq!(answers[4].1, b"four\n");
}

#[test]
fn what_started_ahead_is_missing_or_unwanted() {
    let nonce = Nonce::new(*b"\x00\x01fedcba98765432");
    let missing = ScriptCommand {
        starts_ahead: 1,
        ..ScriptCommand::new([ShellWord::fixed("/nonexistent/php")])
    };
    let script = Script { commands: vec![sh("echo zero"), missing, sh("echo two")] };
    // Each shell complains in words of its own.
    let answers = run_rounds("/bin/sh", &script, 1);
    assert_eq!((answers[1].0, answers[2].1.as_slice()), (127, &b"two\n"[..]));
    let echo = |text| ScriptCommand::new([ShellWord::fixed("/bin/echo"), ShellWord::fixed(text)]);
    let ahead = ScriptCommand { starts_ahead: 1, ..echo("one") };
    let script = Script { commands: vec![echo("zero"), ahead, echo("two")] };
    for shell in
        ["/bin/sh", "/bin/dash", "/bin/bash"].into_iter().filter(|shell| Path::new(shell).exists())
    {
        let mut text = script.render(&nonce);
        text.extend(round_of(&[0, 2]));
        text.extend(round_of(&[1]));
        let (output, errors) = feed(shell, text);
        let mark = nonce.as_str();
        let zero_and_two = format!(
            "\n{mark} b 0\nzero\n\n{mark} e 0 0\n\n{mark} b 2\ntwo\n\n{mark} e 2 0\n\n{mark} d\n"
        );
        let one = format!("\n{mark} b 1\none\n\n{mark} e 1 0\n\n{mark} d\n");
        assert_eq!(String::from_utf8(output).unwrap(), zero_and_two + &one, "{shell}");
        assert_eq!(String::from_utf8(errors).unwrap().matches(" e ").count(), 3, "{shell}");
    }
}

#[test]
fn output_is_kept_byte_for_byte() {
    let answers = run(vec![
        sh("printf 'no newline'"),
        sh("printf '\\n\\n'"),
        sh("printf '\\000\\001\\377\\r\\n\\033[31m'"),
        sh(":"),
        sh("head -c 300000 /dev/zero"),
    ]);
    assert_eq!(answers[0].1, b"no newline");
    assert_eq!(answers[1].1, b"\n\n");
    assert_eq!(answers[2].1, b"\x00\x01\xff\r\n\x1b[31m");
    assert_eq!(answers[3].1, b"");
    assert_eq!(answers[4].1, vec![0; 300_000]);
}

#[test]
fn input_arrives_as_it_is() {
    let mut everything: Vec<u8> = (1..=255).collect();
    everything.extend("$HOME `id` \\ 'quote' \"—\" é\nEOF\nn\n".as_bytes());
    let mut big = Vec::new();
    for line in 0..20_000 {
        big.extend(format!("{line} $x `y` 'z'\n").into_bytes());
    }
    let input = |bytes: &[u8]| ScriptCommand {
        input: bytes.to_vec(),
        ..ScriptCommand::new([ShellWord::fixed("/bin/cat")])
    };
    let answers = run(vec![
        input(&everything),
        input(b"no newline"),
        input(&big),
        sh("cat"),
        sh("echo next"),
    ]);
    assert_eq!(answers[0].1, everything);
    // The shell's own rule: a document has whole lines.
    assert_eq!(answers[1].1, b"no newline\n");
    assert_eq!(answers[2].1, big);
    assert_eq!(
        (answers[3].0, answers[3].1.len()),
        (0, 0),
        "without input a command reads nothing of the script"
    );
    assert_eq!(answers[4].1, b"next\n");
}

#[test]
fn words_mean_nothing_to_the_shell() {
    let echo = |word| ScriptCommand::new([ShellWord::fixed("/bin/echo"), word]);
    let answers = run(vec![
        echo(ShellWord::fixed("$(id) `id` * \"x\" 'it''s' \\ ; & | > <")),
        echo(ShellWord::address("2001:db8::1".parse().unwrap())),
        echo(ShellWord::path("/usr/local/bin/php").unwrap()),
    ]);
    assert_eq!(answers[0].1, b"$(id) `id` * \"x\" 'it''s' \\ ; & | > <\n");
    assert_eq!(answers[1].1, b"2001:db8::1\n");
    assert_eq!(answers[2].1, b"/usr/local/bin/php\n");
    for path in ["php", "/a b", "/a;b", "/$x", "/a'", ""] {
        assert!(ShellWord::path(path).is_none(), "{path}");
    }
}

/// What the filter shall keep, said again in Rust: records whose first line names the port, with their detail
/// lines. Rather too much than too little is allowed, so the wanted records need only be among those kept.
fn wanted(text: &str, port: u16) -> String {
    let mut kept = String::new();
    let mut keep = false;
    for line in text.lines() {
        if !line.starts_with([' ', '\t']) {
            keep = line.split([' ', '(', ')']).any(|word| {
                word.ends_with(&format!(":{port}")) || word.ends_with(&format!("[{port}]"))
            });
        }
        if keep && !line.trim().is_empty() {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

fn filtered(path: &Path, filter: OutputFilter) -> Answer {
    let command = ScriptCommand { filter: Some(filter), ..cat(path.to_str().unwrap()) };
    run(vec![command]).remove(0)
}

#[test]
fn the_filter_keeps_whole_records_of_the_port() {
    for name in [
        "ss.14",
        "ss.12",
        "ss-vv.14",
        "ss-vv.12",
        "ss-vv-floating.14",
        "ss-gen200.14",
        "ss-vv-gen200.12",
    ] {
        let path = fixture(&format!("pfctl/{name}.txt"));
        let text = std::fs::read_to_string(&path).unwrap();
        for port in [1688, 443, 16, 65535] {
            let (status, output, _) = filtered(&path, OutputFilter { port, address: None });
            let wanted = wanted(&text, port);
            assert_eq!(String::from_utf8(output).unwrap(), wanted, "{name} {port}");
            assert_eq!(status, 0);
        }
    }
}

const STATES: &str = "\
all tcp 10.0.20.202:1688 (203.0.113.10:1688) <- 198.51.100.23:50122       ESTABLISHED:ESTABLISHED
   age 00:02:05, expires in 00:59:00, 14:11 pkts, 1820:3100 bytes, rule 25
   id: 640000005f3a2101 creatorid: 1f2e3d4c
all tcp 198.51.100.23:50122 -> 10.0.20.202:1688       ESTABLISHED:ESTABLISHED
all tcp 10.0.20.202:1688 <- 198.51.100.230:1       ESTABLISHED:ESTABLISHED
all tcp 10.0.20.202:16880 <- 198.51.100.23:2       ESTABLISHED:ESTABLISHED
all tcp 10.0.20.202:11688 <- 198.51.100.23:3       ESTABLISHED:ESTABLISHED
all tcp 10.0.20.202:443 <- 198.51.100.23:1688       ESTABLISHED:ESTABLISHED
igb0 tcp 2001:db8:2::20[1688] (2001:db8:1::10[1688]) <- 2001:db8:ffff::77[50200]       ESTABLISHED:ESTABLISHED
   age 00:00:05, expires in 00:59:00, 1:1 pkts, 60:60 bytes
igb0 tcp 2001:db8:ffff::77[1688] -> 2001:db8:2::20[80]       SYN_SENT:CLOSED
igb0 tcp fe80::1%igb0[1688] <- fe80::2%igb0[9]       SYN_SENT:CLOSED
igb0 icmp 1.1.1.1:8 <- 192.168.1.100:8       0:0
";

#[test]
fn the_filter_knows_addresses_from_ports() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), STATES).unwrap();
    let kept = |address: Option<&str>| {
        let address = address.map(|address| address.parse().unwrap());
        let (_, output, _) = filtered(file.path(), OutputFilter { port: 1688, address });
        let text = String::from_utf8(output).unwrap();
        let first = |line: &str| STATES.lines().position(|candidate| candidate == line).unwrap();
        text.lines().map(first).collect::<BTreeSet<usize>>()
    };
    assert_eq!(kept(None), BTreeSet::from([0, 1, 2, 3, 4, 7, 8, 9, 10, 11]));
    assert_eq!(kept(Some("198.51.100.23")), BTreeSet::from([0, 1, 2, 3, 7]));
    assert_eq!(kept(Some("203.0.113.10")), BTreeSet::from([0, 1, 2]));
    assert_eq!(kept(Some("2001:db8:ffff::77")), BTreeSet::from([8, 9, 10]));
    assert_eq!(kept(Some("fe80::2")), BTreeSet::from([11]));
    assert_eq!(kept(Some("192.0.2.1")), BTreeSet::new());
}

#[test]
fn the_filter_passes_the_status_and_says_nothing_of_its_own() {
    let failing = ScriptCommand {
        filter: Some(OutputFilter { port: 1688, address: None }),
        ..sh(
            "printf 'all tcp 10.0.0.1:1688 <- 10.0.0.2:1  X'; echo 'pfctl: /dev/pf: Permission denied' >&2; exit 1",
        )
    };
    let nothing = ScriptCommand {
        filter: Some(OutputFilter { port: 1688, address: None }),
        ..sh("exit 255")
    };
    let answers = run(vec![failing, nothing, sh("echo after")]);
    assert_eq!(answers[0].0, 1);
    assert_eq!(answers[0].1, b"all tcp 10.0.0.1:1688 <- 10.0.0.2:1  X\n");
    assert_eq!(answers[0].2, b"pfctl: /dev/pf: Permission denied\n");
    assert_eq!(answers[1], (255, Vec::new(), Vec::new()));
    assert_eq!(answers[2].1, b"after\n");
}

#[test]
fn every_awk_filters_alike() {
    // `original-awk` is the one of FreeBSD.
    let mut seen = 0;
    for awk in ["/usr/bin/original-awk", "/usr/bin/mawk", "/usr/bin/gawk", "/usr/bin/busybox"] {
        if !Path::new(awk).exists() {
            continue;
        }
        for name in ["ss-vv.14", "ss-vv-gen200.14", "ss-vv-gen200.12", "ss.14"] {
            let path = fixture(&format!("pfctl/{name}.txt"));
            for address in ["", "198.51.100.23", "2001:db8:ffff::77"] {
                let mut process = Process::new(awk);
                if awk.ends_with("busybox") {
                    process.arg("awk");
                }
                let output = process
                    .env("LC_ALL", "C")
                    .args(["-v", "n=nonce", "-v", "port=1688", "-v"])
                    .arg(format!("address={address}"))
                    .arg(AWK_FILTER)
                    .arg(&path)
                    .output()
                    .unwrap();
                assert!(output.status.success() && output.stderr.is_empty(), "{awk}: {output:?}");
                let reference =
                    filtered(&path, OutputFilter { port: 1688, address: address.parse().ok() });
                assert_eq!(output.stdout, reference.1, "{awk} {name} {address}");
            }
        }
        seen += 1;
    }
    if !Path::new("/usr/bin/original-awk").exists() {
        skip::skip("the filter under FreeBSD's awk", "original-awk is not installed");
    }
    assert!(seen > 0);
}
