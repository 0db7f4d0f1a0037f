//! `kmsctl notifier run` as a process of its own, with a Slack that is never there, for tests of its pages.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::environment::TestEnvironment;

/// A running notifier; killed when dropped.
pub struct SideCar {
    pub child: Child,
    pub address: SocketAddr,
    pub log: PathBuf,
}

/// Returns a port that nobody listens on.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a port")
        .port()
}

impl SideCar {
    /// Starts one on an empty log in the environment's home and waits until it is ready.
    pub fn start(environment: &TestEnvironment) -> Self {
        let home = environment.home();
        let log = home.join("vlmcsd.log");
        std::fs::write(&log, "").expect("a log");
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let mut command = environment.command(&["notifier", "run"]);
        command
            .env_remove("KMSCTL_DEMO_NOW")
            .env("KMSCTL_NOTIFIER_LISTEN", address.to_string())
            .env("KMSCTL_NOTIFIER_STATE", home.join("state"))
            .env("KMSCTL_NOTIFIER_LOG", &log)
            // Nobody listens there. Without any webhook there would be no window.
            .env("SLACK_WEBHOOK_URL", "http://127.0.0.1:1/hook");
        Self::spawn(command, address, &log)
    }

    /// Runs a command that starts one, and waits until it is ready.
    pub fn spawn(mut command: Command, address: SocketAddr, log: &Path) -> Self {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let side_car = Self { child, address, log: log.to_owned() };
        side_car.wait_for("the log is open", |side_car| side_car.status("/readyz") == Some(200));
        side_car
    }

    /// Waits until something is so; fails after ten seconds.
    #[track_caller]
    pub fn wait_for(&self, what: &str, mut so: impl FnMut(&Self) -> bool) {
        let end = Instant::now() + Duration::from_secs(20);
        while !so(self) {
            assert!(Instant::now() < end, "{what}: never");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Opens a connection and does nothing with it.
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a deadline");
        stream
    }

    /// Sends raw bytes and returns all that comes back.
    pub fn send(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        // It may hang up before it has read everything.
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Asks for a page with further headers, each ended with CR LF; returns head and body.
    pub fn get(&self, path: &str, headers: &str) -> (String, String) {
        let answer =
            self.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n").as_bytes());
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        (head.to_owned(), body.to_owned())
    }

    /// Asks for a page and returns its status.
    pub fn status(&self, path: &str) -> Option<u16> {
        let mut stream = TcpStream::connect(self.address).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        answer.split(' ').nth(1)?.parse().ok()
    }

    /// Appends lines to the log, each with the present time.
    pub fn write(&self, lines: &[&str]) {
        let now = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M:%S").to_string();
        let mut file = std::fs::OpenOptions::new().append(true).open(&self.log).expect("the log");
        for line in lines {
            writeln!(file, "{now}: {line}").expect("a line");
        }
    }

    /// Writes a probe from an address.
    pub fn probe(&self, address: &str) {
        self.write(&[
            &format!("IPv4 connection accepted: {address}:40000."),
            &format!("IPv4 connection closed: {address}:40000."),
        ]);
    }

    /// Writes an activation from an address.
    pub fn activation(&self, address: &str, product: &str, workstation: &str) {
        self.write(&[
            &format!("IPv4 connection accepted: {address}:50001."),
            "<<< Incoming KMS request",
            "Protocol version                : 6.0",
            "Licensing status                : 1 (Licensed)",
            "Application ID                  : 55c92734-d682-4d71-983e-d6ec3f16059f (Windows)",
            &format!(
                "Activation ID (Product)         : 2de67392-b7a7-462a-b1ca-108dd189f588 ({product})"
            ),
            &format!("Workstation name                : {workstation}"),
            "N count policy (minimum clients): 25",
            ">>> Sending response, ePID source = x",
            &format!("IPv4 connection closed: {address}:50001."),
        ]);
    }

    /// Returns the resident memory, in KiB.
    pub fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))
            .expect("its status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// Counts its open descriptors.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).expect("its descriptors").count()
    }
}

impl Drop for SideCar {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
