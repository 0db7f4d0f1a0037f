//! A long run of the exporter under cuts: `cargo bench --bench exporter [-- MINUTES [SEED]]` (60 minutes unless said);
//! KMSCTL_BENCH_BINARY names another build to measure.
//!
//! Prints figures, and fails where a promise is broken. `kmsctl exporter run` asks `kmsctl demo serve` each second through a proxy
//! that cuts the connection after a random time and refuses the next ones for a while: never more than one connection at a
//! time, at most two logins in 30 minutes, at most 20 MiB resident, and no descriptor or thread more at the end than at first.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a bench is a program of its own: it prints, and stops at the first surprise"
)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const LOGINS: Duration = Duration::from_secs(30 * 60);

/// Ended when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What the proxy has seen.
#[derive(Default)]
struct Seen {
    standing: AtomicUsize,
    most: AtomicUsize,
    cuts: AtomicUsize,
    refusing: AtomicBool,
    begun: Mutex<Vec<Instant>>,
    current: Mutex<Option<TcpStream>>,
}

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

fn main() {
    let words = std::env::args().skip(1).filter(|word| !word.starts_with('-'));
    let numbers: Vec<u64> = words.map(|word| word.parse().unwrap()).collect();
    let minutes = numbers.first().copied().unwrap_or(60);
    let seed = numbers.get(1).copied().unwrap_or(1);
    let home = tempfile::tempdir().unwrap();
    let (_served, target) = serve_demo(home.path());
    let seen = Arc::new(Seen::default());
    let proxy = start_proxy(target, &seen);
    let (exporter, page) = start_exporter(home.path(), target, proxy);
    let cutting = Arc::clone(&seen);
    std::thread::spawn(move || cut_now_and_then(&cutting, &mut Random(seed | 1)));
    let began = Instant::now();
    let (mut first, mut most_resident, mut answered) = (None, 0, 0);
    let end = Duration::from_secs(minutes * 60);
    while began.elapsed() < end {
        std::thread::sleep(Duration::from_secs(10).min(end));
        let (resident, descriptors, threads) = resources(exporter.0.id());
        first.get_or_insert((resident, descriptors, threads));
        most_resident = most_resident.max(resident);
        answered += usize::from(scrape(page).lines().any(|line| line == "kmsctl_up 1"));
    }
    let begun = seen.begun.lock().unwrap().clone();
    let logins_after = |from: &Instant| {
        let near = |at: &&Instant| **at >= *from && **at - *from < LOGINS;
        begun.iter().filter(near).count()
    };
    let most_logins = begun.iter().map(logins_after).max().unwrap();
    let (resident, descriptors, threads) = resources(exporter.0.id());
    let first = first.unwrap();
    println!(
        "{minutes} min, seed {seed}: {} cuts, {} connections, {} at a time, {most_logins} in 30 min at most; up at {answered} of {} scrapes",
        seen.cuts.load(Ordering::Relaxed),
        begun.len(),
        seen.most.load(Ordering::Relaxed),
        minutes * 6,
    );
    println!(
        "resident {} KiB at first, {resident} at the end, {most_resident} at most; descriptors {} and {descriptors}; threads {} and {threads}",
        first.0, first.1, first.2
    );
    assert_eq!(seen.most.load(Ordering::Relaxed), 1, "one connection at a time");
    assert!(most_logins <= 2, "{most_logins} logins in 30 minutes");
    assert!(most_resident <= 20 << 10, "{most_resident} KiB resident");
    assert!(descriptors <= first.1 && threads <= first.2, "a leak");
}

fn serve_demo(home: &Path) -> (Running, SocketAddr) {
    let mut child = kmsctl(home)
        .args(["demo", "serve", "--listen", "127.0.0.1:0", "-o", "ndjson"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let stdout = child.stdout.take().unwrap();
    BufReader::new(stdout).read_line(&mut line).unwrap();
    let serving: serde_json::Value = serde_json::from_str(&line).unwrap();
    let address = serving.get("address").and_then(|text| text.as_str()).unwrap();
    (Running(child), address.parse().unwrap())
}

fn kmsctl(home: &Path) -> Command {
    let named = std::env::var("KMSCTL_BENCH_BINARY");
    let binary = named.unwrap_or_else(|_| env!("CARGO_BIN_EXE_kmsctl").to_owned());
    let mut command = Command::new(binary);
    command.env_clear().env("HOME", home).current_dir(home);
    command
}

fn start_exporter(home: &Path, served: SocketAddr, proxy: SocketAddr) -> (Running, SocketAddr) {
    let demo = home.join(".local/state/kmsctl/demo");
    let known = demo.join(format!("known_hosts-{}", served.port()));
    let text = std::fs::read_to_string(&known).unwrap();
    let own = home.join("known_hosts");
    let moved = text.replace(&served.port().to_string(), &proxy.port().to_string());
    std::fs::write(&own, moved).unwrap();
    let mut child = kmsctl(home)
        .env("KMSCTL_FIREWALL_HOST", "127.0.0.1")
        .env("KMSCTL_FIREWALL_PORT", proxy.port().to_string())
        .env("KMSCTL_FIREWALL_TRANSPORT", "russh")
        .env("KMSCTL_FIREWALL_IDENTITY", demo.join("client_key"))
        .env("KMSCTL_FIREWALL_KNOWN_HOSTS", own)
        .args(["exporter", "run", "--every", "1s", "--listen", "127.0.0.1:0"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut talk = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    talk.read_line(&mut line).unwrap();
    let (_, rest) = line.split_once("http://").unwrap();
    let page = rest.split_once('/').unwrap().0.parse().unwrap();
    std::thread::spawn(move || std::io::copy(&mut talk, &mut std::io::sink()));
    (Running(child), page)
}

/// Forwards connections, one after the other as they come.
fn start_proxy(target: SocketAddr, seen: &Arc<Seen>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::clone(seen);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            seen.begun.lock().unwrap().push(Instant::now());
            if seen.refusing.load(Ordering::Relaxed) {
                continue;
            }
            let seen = Arc::clone(&seen);
            std::thread::spawn(move || forward(&stream, target, &seen));
        }
    });
    address
}

fn forward(near: &TcpStream, target: SocketAddr, seen: &Seen) {
    let far = TcpStream::connect(target).unwrap();
    let standing = seen.standing.fetch_add(1, Ordering::Relaxed) + 1;
    seen.most.fetch_max(standing, Ordering::Relaxed);
    *seen.current.lock().unwrap() = near.try_clone().ok();
    let (mut up, mut up_to) = (near.try_clone().unwrap(), far.try_clone().unwrap());
    let (mut down, mut down_to) = (far.try_clone().unwrap(), near.try_clone().unwrap());
    let upward = std::thread::spawn(move || {
        let _ = std::io::copy(&mut up, &mut up_to);
        let _ = up_to.shutdown(Shutdown::Both);
    });
    let _ = std::io::copy(&mut down, &mut down_to);
    let _ = down_to.shutdown(Shutdown::Both);
    let _ = upward.join();
    seen.standing.fetch_sub(1, Ordering::Relaxed);
}

/// Cuts what stands after 5 to 125 seconds, and then refuses for up to a minute, again and again.
fn cut_now_and_then(seen: &Seen, random: &mut Random) {
    loop {
        std::thread::sleep(Duration::from_secs(5 + random.below(120)));
        if let Some(stream) = seen.current.lock().unwrap().take() {
            let _ = stream.shutdown(Shutdown::Both);
            seen.cuts.fetch_add(1, Ordering::Relaxed);
        }
        seen.refusing.store(true, Ordering::Relaxed);
        std::thread::sleep(Duration::from_secs(random.below(60)));
        seen.refusing.store(false, Ordering::Relaxed);
    }
}

/// Returns resident KiB, open descriptors and threads of a process.
fn resources(process: u32) -> (u64, usize, u64) {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let field = |name: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().split_whitespace().next().unwrap().parse().unwrap()
    };
    let descriptors = std::fs::read_dir(format!("/proc/{process}/fd")).unwrap();
    (field("VmRSS:"), descriptors.count(), field("Threads:"))
}

fn scrape(page: SocketAddr) -> String {
    let mut stream = TcpStream::connect(page).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text);
    text
}
