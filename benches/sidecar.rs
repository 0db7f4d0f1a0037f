//! What the running notifier needs: `cargo bench --bench sidecar`; KMSCTL_BENCH_BINARY names another build to measure.
//!
//! Prints figures and judges nothing: start to the first answer of /metrics, the last line of a request to Slack's
//! door, and resident memory after two million lines and after 200,000 connections that never close.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a bench is a program of its own: it prints, and stops at the first surprise"
)]

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

const BUSY: &[u8] = include_bytes!("../tests/fixtures/vlmcsd/busy.old.log");
const LINES: usize = 2_000_000;
const OPEN: u32 = 200_000;
const STARTS: usize = 21;
const MESSAGES: u32 = 31;

struct Running {
    child: Child,
    port: u16,
}

impl Running {
    fn start(folder: &Path, url: &str) -> Self {
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .unwrap()
            .port();
        let built = std::env::var("KMSCTL_BENCH_BINARY");
        let child = Command::new(built.as_deref().unwrap_or(env!("CARGO_BIN_EXE_kmsctl")))
            .args(["notifier", "run"])
            .env_clear()
            .env("HOME", folder)
            .env("KMSCTL_NOTIFIER_LISTEN", format!("127.0.0.1:{port}"))
            .env("KMSCTL_NOTIFIER_STATE", folder.join("state"))
            .env("KMSCTL_NOTIFIER_POST_INTERVAL", "0s")
            .env("VLMCSD_LOG", folder.join("vlmcsd.log"))
            .env("SLACK_WEBHOOK_URL", url)
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        Self { child, port }
    }

    fn metric(&self, name: &str) -> Option<f64> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok()?;
        let mut page = String::new();
        stream.read_to_string(&mut page).ok()?;
        page.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    }

    fn wait(&self, name: &str, wanted: f64) {
        while self.metric(name).is_none_or(|value| value < wanted) {
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Returns resident memory now and at its highest, in KiB (proc(5)).
    fn memory(&self) -> (String, String) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().to_owned()
        };
        (field("VmRSS:"), field("VmHWM:"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A Slack that says when a message came.
fn slack() -> (String, Receiver<Instant>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/x", listener.local_addr().unwrap());
    let (send, receive) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(stream);
            let (mut line, mut length) = (String::new(), 0);
            while reader.read_line(&mut line).is_ok_and(|count| count > 0) {
                if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                if line == "\r\n" {
                    let _ = send.send(Instant::now());
                    reader.read_exact(&mut vec![0; length]).unwrap();
                    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                    reader.get_mut().write_all(answer).unwrap();
                }
                line.clear();
            }
        }
    });
    (url, receive)
}

fn median(mut values: Vec<Duration>) -> (Duration, Duration) {
    values.sort();
    let middle = values.get(values.len() / 2).copied().unwrap();
    (middle, values.last().copied().unwrap())
}

fn main() {
    let (url, messages) = slack();
    starts(&url);
    latency(&url, &messages);
    memory(&url);
}

fn starts(url: &str) {
    let times = (0..STARTS).map(|_| {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("vlmcsd.log"), "").unwrap();
        let began = Instant::now();
        let running = Running::start(folder.path(), url);
        while running.metric("kms_slack_notifier_up").is_none() {
            std::thread::sleep(Duration::from_micros(200));
        }
        began.elapsed()
    });
    let (median, worst) = median(times.collect());
    println!("start to the first /metrics: {median:.1?} (median of {STARTS}, worst {worst:.1?})");
}

fn latency(url: &str, messages: &Receiver<Instant>) {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("vlmcsd.log");
    std::fs::write(&log, "").unwrap();
    let running = Running::start(folder.path(), url);
    running.wait("kms_slack_notifier_up", 1.0);
    let times = (0..MESSAGES).map(|number| {
        std::thread::sleep(Duration::from_millis(u64::from(300 + number * 7)));
        let stamp = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M:%S").to_string();
        let mut text = String::new();
        // Closed, and of a machine of its own: one that stays open could as well have asked again.
        for line in [
            format!("IPv4 connection accepted: 203.0.113.{number}:50001."),
            "<<< Incoming KMS request".to_owned(),
            "Activation ID (Product)         : 2de67392-b7a7-462a-b1ca-108dd189f588 (W)".to_owned(),
            format!("Workstation name                : PC-{number}"),
            "N count policy (minimum clients): 25".to_owned(),
            ">>> Sending response, ePID source = x".to_owned(),
            format!("IPv4 connection closed: 203.0.113.{number}:50001."),
        ] {
            writeln!(text, "{stamp}: {line}").unwrap();
        }
        let mut file = std::fs::OpenOptions::new().append(true).open(&log).unwrap();
        let began = Instant::now();
        file.write_all(text.as_bytes()).unwrap();
        messages.recv().unwrap().saturating_duration_since(began)
    });
    let (median, worst) = median(times.collect());
    println!(
        "last line of a request to Slack's door: {median:.1?} (median of {MESSAGES}, worst {worst:.1?})"
    );
}

fn memory(url: &str) {
    let lines = memchr::memchr_iter(b'\n', BUSY).count();
    let mut never = Vec::new();
    for number in 0..OPEN {
        let [_, high, middle, low] = number.to_be_bytes();
        let line = "2026-11-01 00:00:00: IPv4 connection accepted: 198";
        writeln!(never, "{line}.{high}.{middle}.{low}:50001.").unwrap();
    }
    let rounds = LINES.div_ceil(lines);
    for (name, text, wanted) in [
        ("2,000,000 lines", BUSY.repeat(rounds), rounds * lines),
        ("200,000 connections that never close", never, OPEN as usize),
    ] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("vlmcsd.log"), text).unwrap();
        let running = Running::start(folder.path(), url);
        let began = Instant::now();
        #[expect(clippy::cast_precision_loss, reason = "a few millions")]
        running.wait("kms_log_lines_total", wanted as f64);
        let read = began.elapsed();
        std::thread::sleep(Duration::from_secs(2));
        let (now, most) = running.memory();
        println!("{name}: {now} KiB resident, {most} KiB at the most; read in {read:.2?}");
    }
}
