//! The simulated firewall, asked by the ssh of the system: what it prints, keeps and refuses.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use jiff::Timestamp;
use kmsctl::clock::Clock;
use kmsctl::domain::pf::table::TableName;
use kmsctl::domain::shell_word::ShellWord;
use kmsctl::simulator::{Scenario, Simulator, SimulatorError, SimulatorOptions, reset_simulator};
use kmsctl::ssh::script::{Nonce, REMOTE_SHELL, ROUND, Script, ScriptCommand};
use tokio::io::AsyncWriteExt as _;

const NOW: &str = "2026-11-22T13:37:00Z";

fn options(directory: &Path) -> SimulatorOptions {
    SimulatorOptions {
        directory: directory.to_owned(),
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        clock: Clock::Fixed(NOW.parse::<Timestamp>().unwrap()),
        scenario: None,
    }
}

/// Says whether the system has an ssh; loudly, if not.
fn ssh_is_missing(test: &str) -> bool {
    let found = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .any(|path| path.join("ssh").exists());
    if !found {
        assert!(
            std::env::var_os("KMSCTL_TESTS_MUST_RUN").is_none(),
            "{test}: ssh is not installed"
        );
        eprintln!("SKIPPED: {test} because ssh is not installed");
    }
    !found
}

#[expect(clippy::disallowed_methods, reason = "the ssh client under test is a process")]
async fn ssh(
    simulator: &Simulator,
    command: &[&str],
    input: &[u8],
) -> (String, String, Option<i32>) {
    let mut child = tokio::process::Command::from(std::process::Command::new("ssh"))
        .args([
            "-F",
            "/dev/null",
            "-o",
            "BatchMode=yes",
            "-o",
            "StrictHostKeyChecking=yes",
            "-o",
            "IdentitiesOnly=yes",
        ])
        .args([
            "-o",
            "GlobalKnownHostsFile=/dev/null",
            "-p",
            &simulator.address().port().to_string(),
        ])
        .arg("-o")
        .arg(format!("UserKnownHostsFile={}", simulator.known_hosts().display()))
        .arg("-i")
        .arg(simulator.client_key())
        .arg("admin@127.0.0.1")
        .args(command)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A remote command that ends early closes the pipe.
    stdin.write_all(input).await.ok();
    drop(stdin);
    let output = tokio::time::timeout(std::time::Duration::from_secs(20), child.wait_with_output())
        .await
        .unwrap()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr), output.status.code())
}

fn script() -> Script {
    let mut show = ScriptCommand::new(["/sbin/pfctl", "-t"].map(ShellWord::fixed));
    show.words.push(ShellWord::table(&TableName::new("virusprot").unwrap()));
    show.words.extend(["-T", "show", "-v"].map(ShellWord::fixed));
    Script { commands: vec![show, ScriptCommand::new(["/bin/date", "+%s"].map(ShellWord::fixed))] }
}

#[tokio::test]
async fn an_ssh_client_gets_what_pfctl_prints_and_its_exit_status() {
    if ssh_is_missing("an_ssh_client_gets_what_pfctl_prints_and_its_exit_status") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let simulator = Simulator::start(options(directory.path())).await.unwrap();
    let (stdout, stderr, status) = ssh(&simulator, &["pfctl -t virusprot -T show -v"], b"").await;
    assert_eq!((stderr.as_str(), status), ("", Some(0)));
    assert!(stdout.starts_with("   203.0.113."), "{stdout}");
    assert!(stdout.contains("\n\tCleared:     Sun Nov 22 1"), "{stdout}");
    let (stdout, stderr, status) = ssh(&simulator, &["/sbin/pfctl -t nosuch -T show"], b"").await;
    assert_eq!(
        (stdout.as_str(), stderr.as_str(), status),
        ("", "pfctl: Table does not exist.\n", Some(255))
    );
    let (_, stderr, status) = ssh(&simulator, &["pfctl -ss | head"], b"").await;
    assert_eq!(
        (stderr.as_str(), status),
        ("sh: unsupported by the simulated firewall\n", Some(127))
    );
    let (stdout, _, status) = ssh(&simulator, &[], b"").await;
    assert!(stdout.contains("no login shell") && status == Some(1), "{stdout} {status:?}");
    simulator.stop().await.unwrap();
}

#[tokio::test]
async fn one_shell_runs_a_script_round_after_round() {
    if ssh_is_missing("one_shell_runs_a_script_round_after_round") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let simulator = Simulator::start(options(directory.path())).await.unwrap();
    let nonce = Nonce::new([9; 16]);
    let mut input = script().render(&nonce);
    input.extend_from_slice(ROUND);
    input.extend_from_slice(ROUND);
    let (stdout, stderr, status) = ssh(&simulator, &[REMOTE_SHELL], &input).await;
    assert_eq!(status, Some(0), "{stderr}");
    let mark = nonce.as_str();
    assert_eq!(
        stdout
            .matches(&format!(
                "\n{mark} e 0 0\n\n{mark} b 1\n1795354620\n\n{mark} e 1 0\n\n{mark} d\n"
            ))
            .count(),
        2
    );
    assert_eq!(stderr.matches(&format!("\n{mark} d\n")).count(), 2);
    simulator.stop().await.unwrap();
}

#[tokio::test]
async fn changes_stay_between_runs_until_reset() {
    if ssh_is_missing("changes_stay_between_runs_until_reset") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let first = Simulator::start(options(directory.path())).await.unwrap();
    let show = ["pfctl -t virusprot -T show -v"];
    let before = ssh(&first, &show, b"").await;
    assert_eq!(
        ssh(&first, &["pfctl -t virusprot -T add 192.0.2.123"], b"").await.1,
        "1/1 addresses added.\n"
    );
    let key = first.host_key_fingerprint();
    let known_hosts = first.known_hosts().to_owned();
    first.stop().await.unwrap();
    assert!(!known_hosts.exists());
    let second = Simulator::start(options(directory.path())).await.unwrap();
    assert_eq!(second.host_key_fingerprint(), key);
    let after = ssh(&second, &show, b"").await;
    assert_eq!(
        after.0.replace("   192.0.2.123\n\tCleared:     Sun Nov 22 13:37:00 2026\n", ""),
        before.0
    );
    assert_ne!(after.0, before.0);
    assert!(matches!(reset_simulator(directory.path()), Err(SimulatorError::Busy { .. })));
    second.stop().await.unwrap();
    assert!(reset_patiently(directory.path()).await);
    assert!(!reset_patiently(directory.path()).await);
    let third = Simulator::start(options(directory.path())).await.unwrap();
    assert_eq!(ssh(&third, &show, b"").await, before);
    third.stop().await.unwrap();
}

/// A process that a test beside this one starts holds our lock as well, from its fork to its exec.
async fn reset_patiently(directory: &Path) -> bool {
    for _ in 0..100 {
        match reset_simulator(directory) {
            Err(SimulatorError::Busy { .. }) => tokio::time::sleep(Duration::from_millis(20)).await,
            reset => return reset.unwrap(),
        }
    }
    panic!("the demo is still locked")
}

#[tokio::test]
async fn another_scenario_starts_another_box_which_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let closed =
        SimulatorOptions { scenario: Some(Scenario::TableMissing), ..options(directory.path()) };
    Simulator::start(closed).await.unwrap().stop().await.unwrap();
    let again = Simulator::start(options(directory.path())).await.unwrap();
    if !ssh_is_missing("another_scenario_starts_another_box_which_is_kept") {
        assert_eq!(ssh(&again, &["pfctl -t virusprot -T show"], b"").await.2, Some(255));
    }
    again.stop().await.unwrap();
}

#[tokio::test]
async fn a_second_run_beside_serves_and_keeps_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let first = Simulator::start(options(directory.path())).await.unwrap();
    let second = Simulator::start(options(directory.path())).await.unwrap();
    assert!(first.keeps_state() && !second.keeps_state());
    assert_ne!(first.address(), second.address());
    second.stop().await.unwrap();
    assert!(!directory.path().join("state.json").exists());
    first.stop().await.unwrap();
    assert!(directory.path().join("state.json").exists());
}

#[tokio::test]
async fn files_are_private_and_a_broken_state_is_named() {
    use std::os::unix::fs::PermissionsExt as _;
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("demo");
    let simulator = Simulator::start(options(&directory)).await.unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    assert_eq!((mode(simulator.client_key()), mode(simulator.known_hosts())), (0o600, 0o600));
    simulator.stop().await.unwrap();
    assert_eq!(mode(&directory.join("state.json")), 0o600);
    for text in ["", "{\"version\":2,\"world\":{}}", "{\"version\":1}", "{\"version\":999}"] {
        std::fs::write(directory.join("state.json"), text).unwrap();
        let failure = Simulator::start(options(&directory)).await.unwrap_err();
        assert!(matches!(failure, SimulatorError::Corrupt { .. }), "{failure}");
        let told = kmsctl::error::Failure::from(failure);
        assert!(
            told.message.contains("state.json") && told.hints[0].contains("kmsctl demo reset"),
            "{told:?}"
        );
    }
    assert!(reset_simulator(&directory).unwrap());
    Simulator::start(options(&directory)).await.unwrap().stop().await.unwrap();
}

#[tokio::test]
async fn only_loopback_is_listened_on() {
    let directory = tempfile::tempdir().unwrap();
    let open = SimulatorOptions {
        listen: SocketAddr::from(([0, 0, 0, 0], 0)),
        ..options(directory.path())
    };
    assert!(matches!(Simulator::start(open).await, Err(SimulatorError::NotLoopback { .. })));
}

#[tokio::test]
async fn garbage_and_a_crowd_do_not_disturb_it() {
    if ssh_is_missing("garbage_and_a_crowd_do_not_disturb_it") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let simulator = Simulator::start(options(directory.path())).await.unwrap();
    let mut garbage = tokio::net::TcpStream::connect(simulator.address()).await.unwrap();
    garbage.write_all(&vec![b'\xff'; 100_000]).await.ok();
    let silent = tokio::net::TcpStream::connect(simulator.address()).await.unwrap();
    let ask = || ssh(&simulator, &["/sbin/pfctl -vvss"], b"");
    let (one, two, three, four) = tokio::join!(ask(), ask(), ask(), ask());
    assert!(one.0.len() > 10_000 && one.2 == Some(0), "{one:?}");
    assert!(one == two && two == three && three == four);
    drop(silent);
    simulator.stop().await.unwrap();
}

#[tokio::test]
async fn input_without_end_is_refused() {
    if ssh_is_missing("input_without_end_is_refused") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let simulator = Simulator::start(options(directory.path())).await.unwrap();
    let line = vec![b'x'; 5 << 20];
    let (stdout, stderr, status) = ssh(&simulator, &[REMOTE_SHELL], &line).await;
    assert_eq!(
        (stdout.as_str(), stderr.as_str(), status),
        ("", "sh: unsupported by the simulated firewall\n", Some(127))
    );
    simulator.stop().await.unwrap();
}
