//! The pages of `kmsctl notifier run`: what Prometheus reads from them, and what no client can do to them.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::environment::TestEnvironment;
use crate::support::side_car::{SideCar, free_port};
use crate::support::skip;

/// The names that are older than kmsctl, with their labels.
const OLD: [(&str, &str, &[&str]); 5] = [
    ("kms_activations_total", "counter", &["product", "status"]),
    ("kms_activations_dedup_skipped_total", "counter", &["product"]),
    ("kms_connection_probes_total", "counter", &["source"]),
    ("kms_last_activation_timestamp_seconds", "gauge", &[]),
    ("kms_slack_notifier_up", "gauge", &[]),
];

/// The names that came with it; others may join them.
const NEW: [(&str, &str, &[&str]); 19] = [
    ("kms_attribution_ambiguous_total", "counter", &[]),
    ("kms_checkpoint_failures_total", "counter", &[]),
    ("kms_dedup_evicted_total", "counter", &[]),
    ("kms_log_anomalies_total", "counter", &["kind"]),
    ("kms_log_last_line_timestamp_seconds", "gauge", &[]),
    ("kms_log_last_read_timestamp_seconds", "gauge", &[]),
    ("kms_log_lines_total", "counter", &[]),
    ("kms_log_open", "gauge", &[]),
    ("kms_log_read_lag_bytes", "gauge", &[]),
    ("kms_log_rotations_total", "counter", &["kind"]),
    ("kms_log_unparsed_lines_total", "counter", &[]),
    ("kms_notifier_build_info", "gauge", &["version"]),
    ("kms_open_connections", "gauge", &[]),
    ("kms_requests_total", "counter", &["result"]),
    ("kms_slack_last_dropped_timestamp_seconds", "gauge", &[]),
    ("kms_slack_last_rejected_timestamp_seconds", "gauge", &[]),
    ("kms_slack_last_success_timestamp_seconds", "gauge", &[]),
    ("kms_slack_posts_total", "counter", &["result"]),
    ("kms_slack_queue_length", "gauge", &[]),
];

/// Label names that may be on the page. Addresses, workstations, namespaces, pods and nodes may not: the scrape adds the
/// latter, and the others would be a series each.
const LABELS: [&str; 8] =
    ["product", "status", "source", "result", "kind", "version", "commit", "commit_date"];

/// Samples of a page in text form: name and labels, and the value.
fn samples(page: &str) -> BTreeMap<String, f64> {
    page.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').expect("a sample");
            (series.to_owned(), value.parse().expect("a number"))
        })
        .collect()
}

/// Types by family.
fn types(page: &str) -> BTreeMap<&str, &str> {
    page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect()
}

/// Names of the labels of a series whose values hold no quotes.
fn labels(series: &str) -> Vec<&str> {
    let inner = series.split_once('{').map_or("", |(_, rest)| rest.trim_end_matches('}'));
    inner.split("\",").filter_map(|pair| pair.split_once('=').map(|(name, _)| name)).collect()
}

#[test]
fn the_page_has_every_name_and_no_label_that_names_anybody() {
    let environment = TestEnvironment::new();
    let side_car = SideCar::start(&environment);
    let (head, empty) = side_car.get("/metrics", "");
    assert!(head.to_lowercase().contains("content-type: text/plain; version=0.0.4"), "{head}");
    // What is known beforehand is there at 0, so that the first increment is one.
    let before = samples(&empty);
    for series in [
        "kms_connection_probes_total{source=\"internal_pod\"}",
        "kms_connection_probes_total{source=\"cluster_node\"}",
        "kms_connection_probes_total{source=\"external\"}",
        "kms_requests_total{result=\"answered\"}",
        "kms_slack_posts_total{result=\"rejected\"}",
        "kms_log_rotations_total{kind=\"renamed\"}",
        "kms_last_activation_timestamp_seconds",
    ] {
        assert_eq!(before.get(series), Some(&0.0), "{series} in {empty}");
    }
    side_car.activation("198.51.100.7", "Windows 10 Professional", "SECRET-PC");
    side_car.activation("198.51.100.7", "Windows 10 Professional", "SECRET-PC");
    side_car.activation("2001db8.example", "Other", "SECRET-PC");
    side_car.probe("203.0.113.9");
    side_car.wait_for("two activations and a probe", |side_car| {
        let page = side_car.get("/metrics", "").1;
        page.contains("kms_activations_dedup_skipped_total{product=\"Windows 10 Professional\"} 1")
            && page.contains("kms_connection_probes_total{source=\"external\"} 1")
    });
    let page = side_car.get("/metrics", "").1;
    let (types, samples) = (types(&page), samples(&page));
    for (name, kind, wanted) in OLD.iter().chain(&NEW) {
        assert_eq!(types.get(name), Some(kind), "{name} in {page}");
        let own: Vec<&String> =
            samples.keys().filter(|series| series.split('{').next() == Some(name)).collect();
        assert!(!own.is_empty(), "{name} has no series");
        assert!(own.iter().all(|series| labels(series) == *wanted), "{own:?}");
    }
    for series in samples.keys() {
        assert!(series.starts_with("kms_"), "{series}");
        assert!(labels(series).iter().all(|label| LABELS.contains(label)), "{series}");
    }
    for word in ["198.51.100.7", "203.0.113.9", "SECRET-PC"] {
        assert!(!page.contains(word), "{word}");
    }
    promtool_is_content(&page);
}

/// `promtool check metrics` exits 3 on a lint, and 0 on an empty page.
fn promtool_is_content(page: &str) {
    let Some(promtool) =
        skip::program("promtool check metrics", &["/usr/bin/promtool", "/usr/local/bin/promtool"])
    else {
        return;
    };
    let mut child = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool");
    let mut stdin = child.stdin.take().expect("stdin");
    stdin.write_all(page.as_bytes()).expect("a page");
    drop(stdin);
    let output = child.wait_with_output().expect("an end");
    let told = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && told.is_empty(), "{told}");
}

#[test]
fn the_form_is_negotiated_and_other_methods_are_refused() {
    let environment = TestEnvironment::new();
    let side_car = SideCar::start(&environment);
    let (head, page) = side_car.get(
        "/metrics?x=1",
        "Accept: application/openmetrics-text;version=1.0.0;q=0.6,text/plain;q=0.5\r\n",
    );
    assert!(head.contains("application/openmetrics-text; version=1.0.0"), "{head}");
    assert!(page.ends_with("# EOF\n"), "{page}");
    assert!(page.contains("# TYPE kms_connection_probes counter\n"), "{page}");
    let (head, page) = side_car
        .get("/metrics", "Accept: application/openmetrics-text;q=0\r\nAccept: text/plain\r\n");
    assert!(head.contains("text/plain; version=0.0.4") && !page.contains("EOF"), "{head}");
    let head = side_car.send(b"HEAD /metrics HTTP/1.0\r\n\r\n");
    assert!(head.starts_with("HTTP/1.0 200") && head.ends_with("\r\n\r\n"), "{head}");
    let refused =
        side_car.send(b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc");
    assert!(
        refused.starts_with("HTTP/1.1 405") && refused.to_lowercase().contains("allow: get, head"),
        "{refused}"
    );
    assert_eq!(side_car.status("/elsewhere"), Some(404));
}

/// A Prometheus of the test's own; killed when dropped.
struct Prometheus {
    child: Child,
    port: u16,
    _directory: tempfile::TempDir,
}

impl Prometheus {
    /// Starts one that scrapes an address every second; `None` where there is none, which was said aloud.
    fn start(target: &str) -> Option<Self> {
        let program = skip::program(
            "a scrape by Prometheus",
            &["/usr/bin/prometheus", "/usr/local/bin/prometheus"],
        )?;
        let directory = tempfile::tempdir().expect("a directory");
        let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/alerts.yaml");
        let config = directory.path().join("prometheus.yml");
        std::fs::write(
            &config,
            format!(
                "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: ['{rules}']\nscrape_configs:\n- job_name: kubernetes-pods\n  honor_labels: true\n  static_configs: [{{targets: ['{target}'], labels: {{namespace: kms, pod: kms-0}}}}]\n"
            ),
        )
        .expect("a configuration");
        let port = free_port();
        let child = Command::new(program)
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("Prometheus starts");
        Some(Self { child, port, _directory: directory })
    }

    /// Asks its API; `None` while it does not answer with success.
    fn ask(&self, path: &str) -> Option<serde_json::Value> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        write!(stream, "GET /api/v1/{path} HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let answer: serde_json::Value =
            serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()?;
        (answer["status"] == "success").then(|| answer["data"].clone())
    }

    /// Returns the value of an instant query that has one sample.
    fn value(&self, query: &str) -> Option<f64> {
        let encoded: String = query
            .bytes()
            .map(|byte| {
                if byte.is_ascii_alphanumeric() {
                    char::from(byte).to_string()
                } else {
                    format!("%{byte:02X}")
                }
            })
            .collect();
        let data = self.ask(&format!("query?query={encoded}"))?;
        let [sample] = data["result"].as_array()?.as_slice() else {
            return None;
        };
        sample["value"][1].as_str()?.parse().ok()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn prometheus_scrapes_it_and_answers_the_same_numbers() {
    let environment = TestEnvironment::new();
    let side_car = SideCar::start(&environment);
    let Some(prometheus) = Prometheus::start(&side_car.address.to_string()) else {
        return;
    };
    side_car.wait_for("a first scrape", |_| prometheus.value("kms_slack_notifier_up") == Some(1.0));
    for number in 1..=3 {
        side_car.activation(&format!("198.51.100.{number}"), "Windows 10 Professional \\\"x", "PC");
    }
    side_car.activation("198.51.100.1", "Windows 10 Professional \\\"x", "PC");
    side_car.probe("203.0.113.9");
    side_car.probe("10.0.20.103");
    for (query, value) in [
        ("kms_activations_total{product=~\"Windows 10.*\",status=\"Licensed\"}", 3.0),
        ("kms_activations_dedup_skipped_total", 1.0),
        ("kms_connection_probes_total{source=\"external\"}", 1.0),
        ("kms_connection_probes_total{source=\"cluster_node\"}", 1.0),
        ("kms_connection_probes_total{source=\"internal_pod\"}", 0.0),
        ("kms_requests_total{result=\"answered\"}", 4.0),
        ("kms_log_lines_total{namespace=\"kms\",pod=\"kms-0\"}", 44.0),
        ("up", 1.0),
        // The first increments are seen as such.
        ("increase(kms_connection_probes_total{source=\"external\"}[1m]) > bool 0", 1.0),
        ("time() - kms_last_activation_timestamp_seconds < bool 60", 1.0),
    ] {
        side_car.wait_for(query, |_| prometheus.value(query) == Some(value));
    }
    // What the API says are the names, types and helps of the page.
    let metadata = prometheus.ask("metadata").expect("metadata");
    for (name, kind, _) in OLD {
        // In OpenMetrics a counter's family has no suffix.
        let family = if metadata[name].is_null() { name.trim_end_matches("_total") } else { name };
        assert_eq!(metadata[family][0]["type"], kind, "{family}: {metadata}");
        assert!(
            metadata[family][0]["help"].as_str().is_some_and(|help| help.len() > 10),
            "{family}"
        );
    }
    let targets = prometheus.ask("targets").expect("targets");
    assert_eq!(targets["activeTargets"][0]["lastError"], "", "{targets}");
    let rules = prometheus.ask("rules").expect("rules");
    let rules = rules["groups"][0]["rules"].as_array().expect("rules").clone();
    assert!(rules.len() >= 10);
    for rule in rules {
        assert!(rule["lastError"].is_null() || rule["lastError"] == "", "{rule}");
        assert_ne!(rule["health"], "err", "{rule}");
        assert_ne!(rule["state"], "firing", "{rule}");
    }
}

#[test]
fn idle_and_slow_clients_block_nobody() {
    let environment = TestEnvironment::new();
    let side_car = SideCar::start(&environment);
    let (quiet, before) = (side_car.resident(), side_car.descriptors());
    // Thousands that say nothing, or a little and no more.
    let mut idle = Vec::new();
    for number in 0..3_000 {
        let mut stream = side_car.connect();
        if number % 2 == 0 {
            let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nX-Slow: ");
        }
        if number % 500 == 0 {
            assert_eq!(side_car.status("/healthz"), Some(200), "beside {number}");
            assert!(side_car.get("/metrics", "").1.contains("kms_slack_notifier_up 1"));
        }
        // Those that were hung up on give their descriptors back.
        if idle.len() >= 500 {
            idle.remove(0);
        }
        idle.push(stream);
    }
    assert_eq!(side_car.status("/readyz"), Some(200));
    let held = side_car.descriptors();
    assert!(held <= before + 160, "{before} → {held} descriptors");
    let full = side_car.resident();
    assert!(full <= quiet + 6 * 1024, "{quiet} → {full} KiB");
    // A slow loris gets its time and no more.
    let mut slow = side_car.connect();
    let mut told = 0;
    let started = Instant::now();
    slow.set_read_timeout(Some(Duration::from_millis(1))).expect("a deadline");
    let mut byte = [0];
    while started.elapsed() < Duration::from_secs(30) && slow.write_all(b"G").is_ok() {
        told += 1;
        if matches!(slow.read(&mut byte), Ok(0)) {
            break;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(told < 100, "the connection was kept for {:?}", started.elapsed());
    side_car.wait_for("everybody was shown out", |side_car| side_car.descriptors() <= before + 1);
}

#[test]
fn a_flood_of_connections_lets_a_scrape_through() {
    let environment = TestEnvironment::new();
    let side_car = SideCar::start(&environment);
    let address = side_car.address;
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut held = std::collections::VecDeque::new();
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    held.extend(TcpStream::connect(address));
                    if held.len() > 300 {
                        held.pop_front();
                    }
                }
            });
        }
        let good = (0..50)
            .filter(|_| side_car.get("/metrics", "").1.contains("kms_slack_notifier_up 1"))
            .count();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        // From the flood's own address; another address is not even pushed aside by it.
        assert!(good >= 45, "{good} of 50");
    });
}

#[test]
fn garbage_is_refused_and_costs_no_memory() {
    let environment = TestEnvironment::new();
    let side_car = SideCar::start(&environment);
    let quiet = side_car.resident();
    let huge =
        [b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: ".as_slice(), &vec![b'a'; 4 << 20], b"\r\n\r\n"]
            .concat();
    let many = format!("GET /metrics HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(50_000));
    let pipelined = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n".repeat(1_000) + "\0\u{1b}[2Jgarbage";
    for _ in 0..5 {
        assert!(!side_car.send(&huge).starts_with("HTTP/1.1 200"));
        assert!(!side_car.send(many.as_bytes()).starts_with("HTTP/1.1 200"));
        let answers = side_car.send(pipelined.as_bytes());
        assert!(answers.matches("HTTP/1.1 ").count() <= 1, "{answers}");
        for bytes in [
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".as_slice(),
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"\0\0\0\0\0\0\0\0\r\n\r\n",
            b"GET http://[::1/metrics HTTP/1.1\r\n\r\n",
            b"GET /metrics HTTP/9.9\r\n\r\n",
        ] {
            assert!(!side_car.send(bytes).starts_with("HTTP/1.1 200"), "{bytes:?}");
        }
        // A body that is announced and never comes.
        let answer = side_car
            .send(b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    assert_eq!(side_car.status("/metrics"), Some(200));
    let full = side_car.resident();
    assert!(full <= quiet + 6 * 1024, "{quiet} → {full} KiB");
}

#[test]
fn a_loop_that_stands_still_is_told() {
    let environment = TestEnvironment::new();
    let side_car = SideCar::start(&environment);
    let Some(python) =
        skip::program("a loop that stands still", &["/usr/bin/python3", "/usr/local/bin/python3"])
    else {
        return;
    };
    assert_eq!(side_car.status("/healthz"), Some(200));
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/hold_threads.py");
    let mut holder = Command::new(python)
        .args([script, &side_car.child.id().to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3");
    let mut told = String::new();
    let mut lines = BufReader::new(holder.stdout.take().expect("stdout"));
    lines.read_line(&mut told).expect("a word");
    if !told.starts_with("held") {
        holder.wait().expect("an end");
        skip::skip(
            "a loop that stands still",
            &format!("ptrace is not allowed here ({})", told.trim()),
        );
        return;
    }
    side_car.wait_for("it is told", |side_car| side_car.status("/healthz") == Some(503));
    // The page is served all the same: its own numbers say when the log was looked at last.
    assert!(side_car.get("/metrics", "").1.contains("kms_log_last_read_timestamp_seconds"));
    drop(holder.stdin.take());
    holder.wait().expect("an end");
    side_car.wait_for("it goes on", |side_car| side_car.status("/healthz") == Some(200));
}
