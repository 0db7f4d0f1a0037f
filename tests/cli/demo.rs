//! `kmsctl demo …`: the simulated firewall for any ssh client, and its state.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use crate::support::environment::TestEnvironment;

#[test]
fn any_ssh_client_can_ask_the_served_demo() {
    let environment = TestEnvironment::new();
    let mut command =
        environment.command(&["demo", "serve", "--listen", "127.0.0.1:0", "-o", "ndjson"]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("kmsctl serves");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("stdout"))
        .read_line(&mut line)
        .expect("a line");
    let serving: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    let address: std::net::SocketAddr = serving["address"]
        .as_str()
        .expect("an address")
        .parse()
        .expect("an address");
    let known_hosts = serving["known_hosts"].as_str().expect("known hosts");
    let Ok(output) = Command::new("ssh")
        .args([
            "-F",
            "/dev/null",
            "-o",
            "BatchMode=yes",
            "-o",
            "StrictHostKeyChecking=yes",
            "-o",
        ])
        .arg(format!("UserKnownHostsFile={known_hosts}"))
        .args([
            "-p",
            &address.port().to_string(),
            "admin@127.0.0.1",
            "pfctl -t virusprot -T show -v",
        ])
        .stdin(Stdio::null())
        .output()
    else {
        assert!(
            std::env::var_os("KMSCTL_TESTS_MUST_RUN").is_none(),
            "ssh is missing"
        );
        eprintln!("SKIPPED: the served demo, because there is no ssh program");
        let _ = child.kill().and_then(|()| child.wait());
        return;
    };
    let _ = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    let ended = child.wait().expect("kmsctl ends");
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("\tCleared:     "),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
    assert_eq!(ended.code(), Some(130));
}

#[test]
fn the_demo_serves_loopback_only() {
    let environment = TestEnvironment::new();
    let told = environment
        .run(&["demo", "serve", "--listen", "0.0.0.0:0"])
        .fails_with(2);
    assert!(told.contains("not a loopback address"), "{told}");
}

#[test]
fn state_is_kept_between_runs_and_forgotten_on_request() {
    let environment = TestEnvironment::new();
    let first = environment.demo(&["virusprot", "show"]).success();
    let second = environment.demo(&["virusprot", "show"]).success();
    assert_eq!(first, second, "the clock stands still");
    let state = environment.home().join(".local/state/kmsctl/demo");
    assert!(state.is_dir());
    assert!(
        environment
            .run(&["demo", "reset"])
            .success()
            .contains("has forgotten")
    );
    assert!(
        environment
            .run(&["demo", "reset"])
            .success()
            .contains("had no state")
    );
}
