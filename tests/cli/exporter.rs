//! `kmsctl exporter run` and `kmsctl virusprot history`: the firewall's side for Prometheus, and who was blocked when.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::environment::TestEnvironment;
use crate::support::served::Served;
use crate::support::skip;
use crate::support::sshd::{Options, Sshd};

const PATIENCE: Duration = Duration::from_secs(30);

/// A running exporter; killed when dropped.
struct Running {
    child: Child,
    address: SocketAddr,
    events: Receiver<Value>,
    talk: Receiver<String>,
}

impl Running {
    fn start(environment: &TestEnvironment, arguments: &[&str]) -> Self {
        let fixed = [
            "exporter",
            "run",
            "--every",
            "1s",
            "--listen",
            "127.0.0.1:0",
        ];
        let arguments: Vec<&str> = arguments.iter().copied().chain(fixed).collect();
        let mut child = environment
            .command(&arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kmsctl runs");
        let (send_event, events) = channel();
        let stdout = BufReader::new(child.stdout.take().expect("stdout"));
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let _ = send_event.send(serde_json::from_str(&line).expect(&line));
            }
        });
        let (send_line, talk) = channel();
        let stderr = BufReader::new(child.stderr.take().expect("stderr"));
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let _ = send_line.send(line);
            }
        });
        let first = talk.recv_timeout(PATIENCE).expect("a first line");
        let address = first
            .strip_prefix("Metrics are on http://")
            .and_then(|rest| rest.split_once('/'))
            .unwrap_or_else(|| panic!("{first}"))
            .0;
        Self {
            child,
            address: address.parse().expect("an address"),
            events,
            talk,
        }
    }

    /// Returns status line and body.
    fn get(&self, path: &str) -> (String, String) {
        let mut stream = TcpStream::connect(self.address).expect("the page");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").expect("asked");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        (
            head.lines().next().expect("a status").to_owned(),
            body.to_owned(),
        )
    }

    /// Waits until a line is on the page, and returns the page.
    fn page_with(&self, line: &str) -> String {
        let begin = Instant::now();
        loop {
            let (_, page) = self.get("/metrics");
            if page.lines().any(|other| other == line) {
                return page;
            }
            assert!(begin.elapsed() < PATIENCE, "{line} is not in\n{page}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn next_event(&self) -> Value {
        self.events.recv_timeout(PATIENCE).expect("an event")
    }

    /// Ends it and returns the exit code and what it said.
    fn stop(mut self) -> (Option<i32>, Vec<String>) {
        let _ = Command::new("kill")
            .args(["-TERM", &self.child.id().to_string()])
            .status();
        let ended = self.child.wait().expect("an end");
        (ended.code(), self.talk.iter().collect())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_page_shows_what_the_firewall_says() {
    let environment = TestEnvironment::new();
    let running = Running::start(&environment, &["--demo"]);
    let page = running.page_with("kmsctl_up 1");
    for line in [
        "kmsctl_exposure_state{state=\"open\"} 1",
        "kmsctl_exposure_state{state=\"half\"} 0",
        "kmsctl_cap{cap=\"connections\",side=\"loaded\"} 50",
        "kmsctl_expiry_working 1",
        "kmsctl_rollbacks_armed 0",
        "kmsctl_pf_enabled 1",
        "kmsctl_logins_total 1",
    ] {
        assert!(page.lines().any(|other| other == line), "{line} in\n{page}");
    }
    // Of the addresses that the demo blocks and connects, none is a label.
    for word in ["203.0.113", "198.51.100", "2001:db8"] {
        assert!(!page.contains(word), "{word} in\n{page}");
    }
    let (status, _) = running.get("/readyz");
    assert_eq!(status, "HTTP/1.1 200 OK");
    if let Some(promtool) = skip::program(
        "promtool check metrics",
        &["/usr/bin/promtool", "/usr/local/bin/promtool"],
    ) {
        let file = environment.home().join("page");
        std::fs::write(&file, &page).expect("written");
        let output = Command::new(promtool)
            .args(["check", "metrics"])
            .stdin(std::fs::File::open(&file).expect("a page"))
            .output()
            .expect("promtool runs");
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let (code, _) = running.stop();
    assert_eq!(code, Some(0));
}

#[test]
fn the_record_knows_who_is_gone() {
    let served = Served::start("open");
    let environment = served.reached_from(TestEnvironment::new());
    environment.run(&["virusprot", "history"]).fails_with(8);
    let running = Running::start(&environment, &[]);
    let first = running.next_event();
    assert_eq!(first["event"], "blocked");
    let shown = environment.run(&["virusprot", "show", "-o", "json"]).json();
    let address = shown["data"]["entries"][0]["address"]
        .as_str()
        .expect("an address")
        .to_owned();
    environment
        .run(&["virusprot", "delete", &address, "--yes"])
        .success();
    let released = std::iter::repeat_with(|| running.next_event())
        .take(1000)
        .find(|event| event["event"] == "released")
        .expect("a release");
    assert_eq!(released["address"], address.as_str());
    let periods = environment
        .run(&["virusprot", "history", "-o", "json"])
        .json();
    let gone: Vec<&Value> = periods["data"]["periods"]
        .as_array()
        .expect("periods")
        .iter()
        .filter(|period| !period["released_at"].is_null())
        .collect();
    assert_eq!(gone.len(), 1, "{periods}");
    assert_eq!(gone[0]["address"], address.as_str());
    assert!(
        environment
            .run(&["virusprot", "history"])
            .success()
            .contains("not yet")
    );
    running.stop();
    // Started again, it reports nothing that it has reported before.
    let running = Running::start(&environment, &[]);
    running.page_with("kmsctl_up 1");
    std::thread::sleep(Duration::from_millis(200));
    assert!(running.events.try_recv().is_err());
    drop(running);
    let record = environment
        .home()
        .join(".local/state/kmsctl/exporter/blocks.jsonl");
    let mode = std::fs::metadata(record).expect("a record").permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
}

/// Failures lock the operator out; so one is enough.
#[test]
fn a_refused_login_is_not_repeated() {
    let Some(sshd) = Sshd::start(Options::default()) else {
        return;
    };
    for transport in ["russh", "openssh"] {
        let environment = TestEnvironment::new();
        let key = environment.home().join("key");
        std::fs::copy(&sshd.other_client_key, &key).expect("a key");
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).expect("a mode");
        environment.write_config(&format!(
            "[firewall]\nhost = \"127.0.0.1\"\nport = {}\nuser = \"{}\"\ntransport = \"{transport}\"\n\
             identity = \"{}\"\nknown_hosts = \"{}\"\nssh_config = \"/dev/null\"\n",
            sshd.port,
            sshd.user,
            key.display(),
            sshd.known_hosts.display(),
        ));
        let before = sshd.connections();
        let running = Running::start(&environment, &[]);
        let page = running.page_with("kmsctl_down{reason=\"refused\"} 1");
        assert!(page.contains("kmsctl_up 0\n"), "{page}");
        assert!(!page.contains("kmsctl_exposure_state"), "{page}");
        std::thread::sleep(Duration::from_secs(7));
        assert_eq!(
            sshd.connections() - before,
            1,
            "{transport}: {}",
            sshd.log()
        );
        let (status, _) = running.get("/readyz");
        assert_eq!(status, "HTTP/1.1 503 Service Unavailable");
        let (status, _) = running.get("/healthz");
        assert_eq!(status, "HTTP/1.1 200 OK");
        // A key that may be the right one is tried at once.
        std::fs::copy(&sshd.client_key, &key).expect("a key");
        let begin = Instant::now();
        while sshd.connections() - before < 2 {
            assert!(begin.elapsed() < PATIENCE, "{transport}");
            std::thread::sleep(Duration::from_millis(100));
        }
        let (_, talk) = running.stop();
        let refused = talk.iter().filter(|line| line.contains("refused")).count();
        assert_eq!(refused, 1, "{talk:?}");
    }
}

#[test]
fn wrong_flags_are_usage_errors() {
    let environment = TestEnvironment::new();
    for arguments in [
        ["--demo", "exporter", "run", "--every", "0s"],
        ["--demo", "exporter", "run", "--every", "soon"],
        ["--demo", "exporter", "run", "--listen", "here"],
        ["--demo", "exporter", "run", "--state-dir", "/dev/null/x"],
        ["--demo", "virusprot", "history", "--since", "yesterday"],
    ] {
        environment.run(&arguments).fails_with(2);
    }
}
