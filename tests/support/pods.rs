//! What surrounds a running notifier: a Slack of the test's own, lines as the KMS server writes them, and the
//! notifier itself as a process that can be asked, stopped and killed.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::environment::TestEnvironment;

/// What the fake Slack does with a message.
#[derive(Clone, Copy, Debug)]
pub enum Answer {
    /// Status, one header line with its end or nothing, body.
    Say(u16, &'static str, &'static str),
    /// Takes the message and never answers.
    Hang,
    /// Answers `ok` after so many milliseconds.
    Slow(u64),
}

/// The answer of a healthy Slack.
pub const OK: Answer = Answer::Say(200, "", "ok");

/// A message that was taken: the status it got (0 for none) and its text.
#[derive(Clone, Debug)]
pub struct Taken {
    pub status: u16,
    pub text: String,
}

#[derive(Default)]
struct Inside {
    script: VecDeque<Answer>,
    then: Option<Answer>,
    resetting: bool,
    taken: Vec<Taken>,
}

/// A Slack of the test's own: answers by a script, then the same for ever.
#[derive(Clone)]
pub struct FakeSlack {
    pub url: String,
    inside: Arc<Mutex<Inside>>,
}

impl FakeSlack {
    pub fn start(script: &[Answer]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let slack =
            Self { url: format!("http://{address}/services/SECRET"), inside: Arc::default() };
        slack.inside().script = script.iter().copied().collect();
        let serving = slack.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let serving = serving.clone();
                std::thread::spawn(move || serving.serve(BufReader::new(stream)));
            }
        });
        slack
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets what is answered from now on.
    pub fn answer(&self, answer: Answer) {
        self.inside().then = Some(answer);
    }

    /// Cuts every connection that says something, from now on or no longer; what was said is not taken.
    pub fn reset(&self, resetting: bool) {
        self.inside().resetting = resetting;
    }

    /// Returns whether a message that has begun to arrive is to be cut off. The kernel sends a reset where a connection
    /// is closed with something unread.
    fn cuts(&self, reader: &BufReader<TcpStream>) -> bool {
        let _ = reader.get_ref().peek(&mut [0; 1]);
        self.inside().resetting
    }

    fn serve(&self, mut reader: BufReader<TcpStream>) {
        while !self.cuts(&reader)
            && let Some(body) = read_message(&mut reader)
        {
            let json: serde_json::Value = serde_json::from_str(&body).expect("a message is JSON");
            let text = json["text"].as_str().expect("a text").to_owned();
            let answer = {
                let mut inside = self.inside();
                let then = inside.then.unwrap_or(OK);
                let answer = inside.script.pop_front().unwrap_or(then);
                let status = match answer {
                    Answer::Say(status, ..) => status,
                    Answer::Slow(_) => 200,
                    Answer::Hang => 0,
                };
                inside.taken.push(Taken { status, text });
                answer
            };
            let (status, header, body) = match answer {
                Answer::Say(status, header, body) => (status, header, body),
                Answer::Slow(wait) => {
                    std::thread::sleep(Duration::from_millis(wait));
                    (200, "", "ok")
                }
                Answer::Hang => {
                    let _ = reader.read(&mut [0; 1]);
                    return;
                }
            };
            let text = format!(
                "HTTP/1.1 {status} X\r\n{header}Content-Length: {}\r\n\r\n{body}",
                body.len()
            );
            if reader.get_mut().write_all(text.as_bytes()).is_err() {
                return;
            }
        }
    }

    /// Returns every message so far.
    pub fn taken(&self) -> Vec<Taken> {
        self.inside().taken.clone()
    }

    /// Returns the texts of the messages that were answered with 200.
    pub fn posted_texts(&self) -> Vec<String> {
        let taken = self.taken().into_iter();
        taken.filter(|taken| taken.status == 200).map(|taken| taken.text).collect()
    }

    /// Waits until so many messages were answered with 200 and returns them.
    #[track_caller]
    pub fn wait_for(&self, count: usize) -> Vec<String> {
        let enough = eventually(|| self.posted_texts().len() >= count);
        assert!(enough, "{count} messages are wanted: {:?}", self.taken());
        self.posted_texts()
    }

    /// Returns how often each client was posted, digests left out.
    pub fn clients(&self) -> BTreeMap<Ipv4Addr, usize> {
        let mut clients = BTreeMap::new();
        for text in self.posted_texts() {
            let client = text.lines().find_map(|line| {
                line.strip_prefix("• *Client:* `")?.split('`').next()?.parse().ok()
            });
            *clients.entry(client.unwrap_or_else(|| panic!("no client in {text}"))).or_default() +=
                1;
        }
        clients
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

/// Starts a Slack whose certificate for `localhost`, a file of this folder, a private authority signed; returns its URL.
pub fn slack_with_private_certificate(folder: &Path) -> String {
    let certificate = CertificateDer::from_pem_file(folder.join("server.pem")).expect("a file");
    let key = PrivateKeyDer::from_pem_file(folder.join("server.key")).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let configuration = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("a certificate");
    let configuration = Arc::new(configuration);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let connection = rustls::ServerConnection::new(Arc::clone(&configuration));
            let mut stream = rustls::StreamOwned::new(connection.expect("a connection"), stream);
            let (mut message, mut piece) = (Vec::new(), [0; 4_096]);
            while !message.ends_with(b"}")
                && let Ok(count) = stream.read(&mut piece)
                && count > 0
            {
                message.extend_from_slice(&piece[..count]);
            }
            if message.ends_with(b"}") {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            }
        }
    });
    format!("https://localhost:{port}/services/SECRET")
}

/// Waits up to half a minute for something to be true; returns whether it was.
pub fn eventually(mut holds: impl FnMut() -> bool) -> bool {
    within(Duration::from_secs(60), &mut holds)
}

/// Waits for something to be true; returns whether it was.
pub fn within(most: Duration, holds: &mut impl FnMut() -> bool) -> bool {
    let end = Instant::now() + most;
    loop {
        if holds() {
            return true;
        }
        if Instant::now() > end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(15));
    }
}

/// Returns whether a metric is a whole number.
pub fn is(value: f64, wanted: impl Into<f64>) -> bool {
    (value - wanted.into()).abs() < 0.1
}

/// Returns whether a line of stderr only says that the log is not there yet, or is there.
pub fn is_presence(line: &str) -> bool {
    [
        " does not exist yet; waiting.",
        " is there now and is read.",
        " is gone; waiting for it.",
        // A first start, or a file that was deleted before it was read to its end.
        "nothing older than notifier.too_old is posted.",
    ]
    .iter()
    .any(|end| line.ends_with(end))
}

/// Makes a named pipe, which to open for reading would wait for a writer.
pub fn make_pipe(path: &Path) {
    let made = Command::new("mkfifo").arg(path).status();
    assert!(made.expect("mkfifo is there").success());
}

/// Returns a port that is free now.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

/// A notifier's place: its home with log and state, and its environment.
pub struct Pod {
    pub environment: TestEnvironment,
    variables: BTreeMap<String, String>,
    pub port: u16,
}

impl Pod {
    /// Makes a place for a notifier that posts to this Slack.
    pub fn new(slack: &FakeSlack) -> Self {
        // The clock of the demo stands still; this is about time.
        let environment = TestEnvironment::new().without("KMSCTL_DEMO_NOW");
        let port = free_port();
        let mut pod = Self { variables: BTreeMap::new(), port, environment };
        let home = pod.environment.home().display().to_string();
        pod.set("KMSCTL_NOTIFIER_LISTEN", &format!("127.0.0.1:{port}"));
        pod.set("KMSCTL_NOTIFIER_STATE", &format!("{home}/state"));
        pod.set("VLMCSD_LOG", &format!("{home}/log/vlmcsd.log"));
        pod.set("SLACK_WEBHOOK_URL", &slack.url);
        pod.set("KMSCTL_NOTIFIER_POST_INTERVAL", "0s");
        std::fs::create_dir_all(pod.log().parent().expect("a folder")).expect("a folder");
        pod
    }

    /// Sets a variable of its environment.
    pub fn set(&mut self, name: &str, value: &str) {
        self.variables.insert(name.to_owned(), value.to_owned());
    }

    /// Takes a variable away.
    pub fn unset(&mut self, name: &str) {
        self.variables.remove(name);
    }

    /// Returns the server's log.
    pub fn log(&self) -> PathBuf {
        self.environment.home().join("log/vlmcsd.log")
    }

    /// Returns the notifier's own directory.
    pub fn state(&self) -> PathBuf {
        self.environment.home().join("state")
    }

    /// Returns the command line of the notifier.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.environment.command(&[&["notifier", "run"], arguments].concat());
        command.envs(&self.variables);
        command
    }

    /// Starts the notifier and waits for its page.
    pub fn start(&self) -> Running {
        let running = self.start_quickly(self.command(&[]));
        assert!(eventually(|| running.get("/metrics").is_some()), "no page");
        running
    }

    /// Starts a notifier without waiting for anything.
    pub fn start_quickly(&self, mut command: Command) -> Running {
        let child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("kmsctl runs");
        Running { child, port: self.port }
    }
}

/// A running notifier; killed when dropped.
pub struct Running {
    child: Child,
    port: u16,
}

impl Running {
    /// Returns the process's number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns the port of the metrics page.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns a page with its head.
    pub fn get(&self, path: &str) -> Option<String> {
        get(self.port, path)
    }

    /// Returns a metric's value; `name` is the line up to the value.
    pub fn metric(&self, name: &str) -> Option<f64> {
        let page = self.get("/metrics")?;
        page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
    }

    /// Waits until a metric has a value.
    #[track_caller]
    pub fn wait_metric(&self, name: &str, holds: impl Fn(f64) -> bool) {
        let reached = eventually(|| self.metric(name).is_some_and(&holds));
        assert!(reached, "{name} is {:?}", self.metric(name));
    }

    /// Returns whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_some())
    }

    /// Asks it to stop.
    pub fn ask_to_stop(&self) {
        let id = self.child.id().to_string();
        let asked = Command::new("kill").arg(id).status();
        assert!(asked.is_ok_and(|status| status.success()));
    }

    /// Asks it to stop and returns exit code, stdout and stderr.
    pub fn stop(self) -> (Option<i32>, String, String) {
        self.ask_to_stop();
        self.ended()
    }

    /// Kills it and returns what it had printed.
    pub fn kill(mut self) -> (String, String) {
        self.child.kill().expect("a kill");
        let (_, out, err) = self.ended();
        (out, err)
    }

    /// Returns exit code, stdout and stderr once it has ended.
    pub fn ended(mut self) -> (Option<i32>, String, String) {
        let (mut out, mut err) = (String::new(), String::new());
        let pipes = (self.child.stdout.take(), self.child.stderr.take());
        let (Some(mut stdout), Some(mut stderr)) = pipes else {
            panic!("both are piped");
        };
        stderr.read_to_string(&mut err).expect("text");
        stdout.read_to_string(&mut out).expect("text");
        (self.child.wait().expect("an end").code(), out, err)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns a page of a local server with its head, or nothing if it does not answer with 200 or 503.
pub fn get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer).filter(|answer| !answer.is_empty())
}

/// Returns the client with a number: each has an address of its own.
pub fn client(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 0, 1)) + number)
}

/// Returns the lines of one whole activation by a client, without time stamps.
pub fn activation(number: u32) -> Vec<String> {
    let peer = format!("{}:{}", client(number), 20_000 + number % 40_000);
    vec![
        format!("IPv4 connection accepted: {peer}."),
        "<<< Incoming KMS request".to_owned(),
        "Protocol version                : 6.0".to_owned(),
        "Client is a virtual machine     : No".to_owned(),
        "Licensing status                : 1 (Licensed)".to_owned(),
        "Remaining time (0 = forever)    : 43200 minutes".to_owned(),
        "Application ID                  : 55c92734-d682-4d71-983e-d6ec3f16059f (Windows)".to_owned(),
        "Activation ID (Product)         : 2de67392-b7a7-462a-b1ca-108dd189f588 (Windows 10 Professional)".to_owned(),
        "Key Management Service ID       : 58e2134f-8e11-4d17-9cb2-91069c151148 (Windows 10 VL)".to_owned(),
        format!("Client machine ID               : {number:08x}-0000-4000-8000-000000000000"),
        "Previous client machine ID      : 00000000-0000-0000-0000-000000000000".to_owned(),
        "Client request timestamp (UTC)  : 2026-05-10 13:12:17".to_owned(),
        format!("Workstation name                : <!channel> PC-{number}"),
        "N count policy (minimum clients): 25".to_owned(),
        ">>> Sending response, ePID source = randomized at program start".to_owned(),
        "Protocol version                : 6.0".to_owned(),
        "KMS host extended PID           : 06401-00206-471-111111-03-1033-17763.0000-0012026".to_owned(),
        "KMS host Hardware ID            : 364F463A8863D35F".to_owned(),
        format!("Client machine ID               : {number:08x}-0000-4000-8000-000000000000"),
        "Client request timestamp (UTC)  : 2026-05-10 13:12:17".to_owned(),
        "KMS host current active clients : 50".to_owned(),
        "Renewal interval policy         : 10080".to_owned(),
        "Activation interval policy      : 120".to_owned(),
        format!("IPv4 connection closed: {peer}."),
    ]
}

/// Returns the stamp that a line written now begins with.
pub fn stamp() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M:%S: ").to_string()
}

/// Appends lines to a log as the server does: opened and closed for each line.
pub fn append(log: &Path, lines: &[String]) {
    for text in lines {
        let mut file =
            std::fs::OpenOptions::new().create(true).append(true).open(log).expect("the log");
        file.write_all(format!("{}{text}\n", stamp()).as_bytes()).expect("a line");
    }
}

/// Appends one whole activation by a client.
pub fn activate(log: &Path, number: u32) {
    append(log, &activation(number));
}

/// A sequence of numbers that is the same for the same seed (splitmix64).
pub struct Random(pub u64);

impl Random {
    /// Returns a number below `most`.
    pub fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % most.max(1)
    }
}
