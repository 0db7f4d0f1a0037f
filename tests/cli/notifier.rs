//! `kmsctl notifier replay` and `kmsctl notifier run`.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::environment::TestEnvironment;

fn sample(name: &str) -> String {
    let path: PathBuf =
        [env!("CARGO_MANIFEST_DIR"), "tests/fixtures/vlmcsd", name].iter().collect();
    path.display().to_string()
}

#[test]
fn replay_tells_every_decision_in_every_form() {
    let environment = TestEnvironment::new();
    let log = sample("flood.old.log");
    let table = environment.run(&["notifier", "replay", &log]).success();
    assert_eq!(table.matches("post").count(), 4, "{table}");
    assert!(table.contains("Probes") && table.contains("11 ("), "{table}");
    let json = environment.run(&["notifier", "replay", &log, "-o", "json"]).success();
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["schema"], "kmsctl/notifier.replay/v1");
    assert_eq!(json["data"]["summary"]["posts"], 4);
    assert_eq!(json["data"]["summary"]["probes"]["external"], 7);
    assert_eq!(json["data"]["events"].as_array().map(Vec::len), Some(15));
    let lines = environment.run(&["notifier", "replay", &log, "-o", "ndjson"]).success();
    let events: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(events, json["data"]["events"].as_array().cloned().expect("a list"));
    let csv = environment.run(&["notifier", "replay", &log, "-o", "csv"]).success();
    assert_eq!(csv.lines().count(), 16);
}

#[test]
fn replay_of_a_hostile_log_shows_no_control_character() {
    let environment = TestEnvironment::new();
    for form in ["table", "ndjson", "json", "csv"] {
        let text = environment
            .run(&["notifier", "replay", &sample("hostile.old.log"), "-o", form])
            .success();
        let acting = text.chars().find(|character| character.is_control() && *character != '\n');
        assert_eq!(acting, None, "{form}");
    }
}

#[test]
fn replay_says_what_is_wrong_with_a_file() {
    let environment = TestEnvironment::new();
    let told = environment.run(&["notifier", "replay", "/nonexistent"]).fails_with(2);
    assert!(told.contains("cannot be read"), "{told}");
    let told = environment.run(&["notifier", "replay", "/tmp"]).fails_with(2);
    assert!(told.contains("it is a directory"), "{told}");
}

/// A Slack of the test's own: answers each message by a script, then with `ok`, and remembers what it took.
struct FakeSlack {
    url: String,
    messages: Arc<Mutex<Vec<(Instant, u16, String)>>>,
}

impl FakeSlack {
    /// Starts it. Status 0 closes the connection without an answer.
    fn start(script: &[(u16, &'static str, &'static str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/services/SECRET", listener.local_addr().expect("an address"));
        let messages: Arc<Mutex<Vec<(Instant, u16, String)>>> = Arc::default();
        let taken = Arc::clone(&messages);
        let mut script: VecDeque<_> = script.iter().copied().collect();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut reader = BufReader::new(stream);
                while let Some(body) = read_message(&mut reader) {
                    let (status, header, answer) = script.pop_front().unwrap_or((200, "", "ok"));
                    taken.lock().expect("messages").push((Instant::now(), status, body));
                    if status == 0 {
                        break;
                    }
                    let text = format!(
                        "HTTP/1.1 {status} X\r\n{header}Content-Length: {}\r\n\r\n{answer}",
                        answer.len()
                    );
                    if reader.get_mut().write_all(text.as_bytes()).is_err() {
                        break;
                    }
                }
            }
        });
        Self { url, messages }
    }

    fn taken(&self) -> Vec<(Instant, u16, String)> {
        self.messages.lock().expect("messages").clone()
    }

    /// Waits until so many messages were answered with 200.
    fn wait_for(&self, count: usize) -> Vec<String> {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let taken = self.taken();
            let good: Vec<String> = taken
                .iter()
                .filter(|(_, status, _)| *status == 200)
                .map(|(_, _, body)| body.clone())
                .collect();
            if good.len() >= count || Instant::now() > end {
                assert!(good.len() >= count, "{taken:?}");
                return good;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn read_message(reader: &mut BufReader<TcpStream>) -> Option<String> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    String::from_utf8(body).ok()
}

/// A running notifier; killed when dropped.
struct Running {
    child: Child,
    port: u16,
}

impl Running {
    fn start(environment: &TestEnvironment, slack: &FakeSlack, arguments: &[&str]) -> Self {
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a port")
            .port();
        let home = environment.home();
        let child = environment
            .command(&[&["notifier", "run"], arguments].concat())
            .env_remove("KMSCTL_DEMO_NOW")
            .env("KMSCTL_NOTIFIER_LISTEN", format!("127.0.0.1:{port}"))
            .env("KMSCTL_NOTIFIER_STATE", home.join("state"))
            .env("VLMCSD_LOG", home.join("vlmcsd.log"))
            .env("SLACK_WEBHOOK_URL", &slack.url)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kmsctl runs");
        let running = Self { child, port };
        let end = Instant::now() + Duration::from_secs(10);
        while running.get("/readyz").is_none_or(|page| !page.starts_with("HTTP/1.1 200")) {
            assert!(Instant::now() < end, "not ready: {:?}", running.get("/readyz"));
            std::thread::sleep(Duration::from_millis(10));
        }
        running
    }

    fn get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    /// Asks it to stop and returns exit code, stdout and stderr.
    fn stop(mut self) -> (Option<i32>, String, String) {
        let killed = std::process::Command::new("kill").arg(self.child.id().to_string()).status();
        assert!(killed.is_ok_and(|status| status.success()));
        let status = self.child.wait().expect("an end");
        let (mut out, mut err) = (String::new(), String::new());
        self.child.stdout.take().map(|mut pipe| pipe.read_to_string(&mut out));
        self.child.stderr.take().map(|mut pipe| pipe.read_to_string(&mut err));
        (status.code(), out, err)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Appends one whole activation from a client of its own, as the server would: one write a line.
fn activate(log: &Path, number: u32) {
    let now = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M:%S").to_string();
    let [high, low] = [number / 250, number % 250 + 1];
    let peer = format!("203.0.{high}.{low}:50001");
    for text in [
        format!("IPv4 connection accepted: {peer}."),
        "<<< Incoming KMS request".to_owned(),
        "Protocol version                : 6.0".to_owned(),
        "Licensing status                : 1 (Licensed)".to_owned(),
        "Application ID                  : 55c92734-d682-4d71-983e-d6ec3f16059f (Windows)".to_owned(),
        "Activation ID (Product)         : 2de67392-b7a7-462a-b1ca-108dd189f588 (Windows 10 Professional)".to_owned(),
        format!("Workstation name                : <!channel> PC-{number}"),
        "N count policy (minimum clients): 25".to_owned(),
        ">>> Sending response, ePID source = x".to_owned(),
        format!("IPv4 connection closed: {peer}."),
    ] {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(log).expect("the log");
        file.write_all(format!("{now}: {text}\n").as_bytes()).expect("a line");
    }
}

#[test]
fn run_posts_each_activation_once_and_counts_it() {
    let environment = TestEnvironment::new();
    let log = environment.home().join("vlmcsd.log");
    activate(&log, 1);
    let slack = FakeSlack::start(&[]);
    let running = Running::start(&environment, &slack, &["--echo"]);
    let first = slack.wait_for(1);
    assert!(
        first[0].contains("&lt;!channel&gt; PC-1")
            && first[0].contains(":computer: KMS activation"),
        "{first:?}"
    );
    activate(&log, 1);
    activate(&log, 2);
    let second = slack.wait_for(2);
    assert!(second[1].contains("PC-2"), "{second:?}");
    let page = running.get("/metrics?x=1").expect("a page");
    for line in [
        "kms_activations_total{product=\"Windows 10 Professional\",status=\"Licensed\"} 2",
        "kms_activations_dedup_skipped_total{product=\"Windows 10 Professional\"} 1",
        "kms_connection_probes_total{source=\"external\"} 0",
        "kms_requests_total{result=\"answered\"} 3",
        "kms_log_lines_total 30",
        "kms_slack_notifier_up 1",
    ] {
        assert!(page.contains(line), "{line} in {page}");
    }
    assert!(running.get("/healthz").is_some_and(|page| page.starts_with("HTTP/1.1 200")));
    let (code, out, err) = running.stop();
    assert_eq!((code, out.lines().count()), (Some(0), 3), "{out}{err}");
    assert!(!err.contains("SECRET"), "{err}");
    // A restart forgets neither the place nor the window.
    let running = Running::start(&environment, &slack, &[]);
    activate(&log, 2);
    activate(&log, 3);
    let third = slack.wait_for(3);
    assert!(third[2].contains("PC-3"), "{third:?}");
    drop(running);
}

#[test]
fn run_outlives_what_slack_does_and_keeps_the_pace() {
    let environment = TestEnvironment::new();
    let slack = FakeSlack::start(&[
        (0, "", ""),
        (500, "", "rollup_error"),
        (429, "Retry-After: 2\r\n", "rate_limited"),
        (200, "", "ok"),
        (404, "", "no_service"),
    ]);
    let log = environment.home().join("vlmcsd.log");
    activate(&log, 1);
    let running = Running::start(&environment, &slack, &[]);
    slack.wait_for(1);
    let taken = slack.taken();
    let statuses: Vec<u16> = taken.iter().map(|(_, status, _)| *status).collect();
    assert_eq!(statuses, [0, 500, 429, 200]);
    assert!(taken[3].0 - taken[2].0 >= Duration::from_secs(2), "Retry-After");
    activate(&log, 2);
    std::thread::sleep(Duration::from_millis(1500));
    activate(&log, 2);
    let good = slack.wait_for(2);
    assert!(good[1].contains("PC-2"), "a message refused for good frees its client: {good:?}");
    let page = running.get("/metrics").expect("a page");
    for line in ["rate_limited\"} 1", "rejected\"} 1", "error\"} 2", "result=\"ok\"} 2"] {
        assert!(page.contains(line), "{line} in {page}");
    }
    let (code, _, err) = running.stop();
    assert_eq!((code, err.matches("for good: 404 no_service").count()), (Some(0), 1), "{err}");
    for pair in slack.taken().windows(2) {
        assert!(pair[1].0 - pair[0].0 >= Duration::from_millis(490), "{pair:?}");
    }
}

#[test]
fn run_merges_a_backlog_and_loses_nothing_through_kills_and_rotations() {
    let environment = TestEnvironment::new();
    let slack = FakeSlack::start(&[]);
    let log = environment.home().join("vlmcsd.log");
    let stopped = Arc::new(Mutex::new(false));
    let writer = {
        let log = log.clone();
        let stopped = Arc::clone(&stopped);
        std::thread::spawn(move || {
            let mut number = 0;
            while !*stopped.lock().expect("a flag") {
                number += 1;
                activate(&log, number);
                if number % 20 == 0 {
                    let old = log.with_file_name(format!("vlmcsd.log.{}", number / 20));
                    std::fs::rename(&log, old).expect("a rotation");
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            number
        })
    };
    while !log.exists() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let kills: usize = 12;
    for round in 0..kills {
        let running = Running::start(&environment, &slack, &[]);
        std::thread::sleep(Duration::from_millis(150 + 97 * (round as u64 % 7)));
        drop(running);
    }
    *stopped.lock().expect("a flag") = true;
    let written = writer.join().expect("the writer") as usize;
    let last = Running::start(&environment, &slack, &[]);
    let end = Instant::now() + Duration::from_secs(60);
    let told = |slack: &FakeSlack| {
        slack.taken().iter().map(|(_, _, body)| count_told(body)).sum::<usize>()
    };
    while told(&slack) < written && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(100));
    }
    std::thread::sleep(Duration::from_millis(2500));
    let messages = slack.taken().len();
    let told = told(&slack);
    eprintln!(
        "{written} activations, {kills} kills, {} rotations: {told} told in {messages} messages",
        written / 20
    );
    assert!(told >= written, "{told} of {written}");
    drop(last);
}

/// How many activations a message tells: one, or what a digest says.
fn count_told(body: &str) -> usize {
    let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
    let text = body["text"].as_str().expect("a text");
    let digest =
        text.strip_prefix(":computer: KMS: ").and_then(|rest| rest.split(' ').next()?.parse().ok());
    digest.unwrap_or(1)
}

#[test]
fn run_refuses_what_it_cannot_work_with() {
    let environment = TestEnvironment::new().variable("KMSCTL_NOTIFIER_LISTEN", "127.0.0.1:0");
    let state = environment.home().join("state").display().to_string();
    let slack = FakeSlack::start(&[]);
    activate(&environment.home().join("vlmcsd.log"), 1);
    let running = Running::start(&environment, &slack, &[]);
    let environment = environment.variable("KMSCTL_NOTIFIER_STATE", state);
    let told = environment.run(&["notifier", "run"]).fails_with(6);
    assert!(told.contains("another notifier uses"), "{told}");
    drop(running);
    let environment = environment.variable("KMSCTL_NOTIFIER_LISTEN", "nonsense");
    let told = environment.run(&["notifier", "run"]).fails_with(2);
    assert!(told.contains("not an address and a port"), "{told}");
}

#[test]
fn a_damaged_packed_log_says_what_to_do() {
    let environment = TestEnvironment::new();
    let line = "2026-05-10 13:00:00: IPv4 connection accepted: 192.0.2.1:7.\n";
    let plain = environment.home().join("plain.log");
    let lines = (0..9_000).map(|number| format!("{number} {line}"));
    std::fs::write(&plain, lines.collect::<String>()).expect("a log");
    let packed = std::process::Command::new("gzip").arg("-c").arg(&plain).output();
    let packed = packed.expect("gzip").stdout;
    let damaged = environment.home().join("damaged.gz");
    let mut flipped = packed.clone();
    flipped[packed.len() / 2..][..64].fill(0xff);
    let cut = packed[..packed.len() / 2].to_vec();
    let head = packed[..5].to_vec();
    for bytes in [flipped, cut, head] {
        std::fs::write(&damaged, bytes).expect("a file");
        let path = damaged.display().to_string();
        for command in ["notifier replay", "ratelimit preview --log"] {
            let words: Vec<&str> = command.split(' ').chain([path.as_str()]).collect();
            let said = environment.run(&words).fails_with(1);
            assert!(said.contains("cannot be read"), "{command}: {said}");
            assert!(said.contains("copy it again") && said.contains("`zcat`"), "{command}: {said}");
        }
    }
}

#[test]
fn wrapped_logs_are_read_and_strange_ones_named() {
    let environment = TestEnvironment::new();
    let folder: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests/fixtures/wrapped"].iter().collect();
    let replayed = |path: &Path| {
        let path = path.display().to_string();
        environment.run(&["notifier", "replay", &path, "-o", "json"])
    };
    let summary = |path: &Path| {
        let json: serde_json::Value =
            serde_json::from_str(&replayed(path).success()).expect("JSON");
        let count = |name: &str| json["data"]["summary"][name].as_u64().expect("a number");
        (count("activations"), count("unparsed"), count("anomalies"))
    };
    for name in ["bom", "compose", "crlf", "docker-json", "kubectl-timestamps"] {
        let path = folder.join(format!("{name}.log"));
        assert_eq!(summary(&path), (2, 0, 0), "{name}");
        // The same, packed.
        let packed = environment.home().join("packed.gz");
        let file = std::fs::File::create(&packed).expect("a file");
        let status = std::process::Command::new("gzip").arg("-c").arg(&path).stdout(file).status();
        assert!(status.is_ok_and(|status| status.success()), "gzip");
        assert_eq!(summary(&packed), (2, 0, 0), "{name} packed");
        // What follows the packed part is no reason to lose it.
        for rest in [&b"rest"[..], &[0; 512]] {
            let mut bytes = std::fs::read(&packed).expect("a file");
            bytes.extend_from_slice(rest);
            std::fs::write(&packed, bytes).expect("a file");
            assert_eq!(summary(&packed), (2, 0, 0), "{name} packed, with {rest:?}");
        }
    }
    // Two servers in one log.
    let compose = std::fs::read_to_string(folder.join("compose.log")).expect("a log");
    let (name, _) = compose.split_once(' ').expect("a prefix");
    let both = environment.home().join("both.log");
    std::fs::write(&both, compose.clone() + &compose.replace(name, "kms-2")).expect("a log");
    assert_eq!(summary(&both).0, 4);
    let warned = replayed(&both);
    assert!(warned.stdout.contains("several-servers"), "{}", warned.stdout);
    for (name, unparsed) in [("v4", 0), ("v4-compose", 0)] {
        assert_eq!(summary(&folder.join(format!("{name}.log"))).1, unparsed, "{name}");
    }
    let run = replayed(&folder.join("no-sending-line.log"));
    let json: serde_json::Value = serde_json::from_str(&run.success()).expect("JSON");
    assert_eq!(json["data"]["summary"]["anomalies"], 0);
    assert_eq!(json["data"]["events"][0]["kind"], serde_json::Value::Null, "answered");
    let strange = replayed(&folder.join("py-kms.log"));
    assert_eq!(strange.code, Some(8));
    assert!(strange.stdout.contains("py-kms") && strange.stdout.contains("not-understood"));
}
