//! The pipeline whole: two servers' logs → two notifiers → one Slack, one window on a real Redis or Valkey, and a real
//! Prometheus; with rotations and kills, and books that balance to the event.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::pods::{
    FakeSlack, Pod, Random, Running, activate, client, eventually, free_port, get,
};
use crate::support::redis::Redis;
use crate::support::skip::program;

/// A Prometheus that scrapes these ports five times a second; killed when dropped.
struct Prometheus {
    child: Child,
    port: u16,
}

impl Prometheus {
    fn start(folder: &Path, targets: &[u16]) -> Option<Self> {
        let binary = program("the whole pipeline", &["/usr/bin/prometheus"])?;
        let jobs: String = targets
            .iter()
            .enumerate()
            .map(|(pod, port)| {
                format!(
                    "- job_name: pod{pod}\n  static_configs:\n  - targets: ['127.0.0.1:{port}']\n"
                )
            })
            .collect();
        let config = folder.join("prometheus.yml");
        let text = format!(
            "global:\n  scrape_interval: 200ms\n  scrape_timeout: 200ms\nscrape_configs:\n{jobs}"
        );
        std::fs::write(&config, text).expect("a configuration");
        let port = free_port();
        let child = Command::new(binary)
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("tsdb").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--log.level=error")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("Prometheus runs");
        Some(Self { child, port })
    }

    /// Returns the value of a query with one result; the query needs no escaping.
    fn value(&self, query: &str) -> Option<f64> {
        let answer = get(self.port, &format!("/api/v1/query?query={query}"))?;
        let body = &answer[answer.find('{')?..=answer.rfind('}')?];
        let json: serde_json::Value = serde_json::from_str(body).ok()?;
        json["data"]["result"][0]["value"][1].as_str()?.parse().ok()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const CLIENTS: u32 = 120;

#[test]
fn the_books_balance_from_log_to_slack_and_prometheus() {
    let Some(redis) = Redis::start(None) else {
        return;
    };
    let slack = FakeSlack::start(&[]);
    let mut pods = [Pod::new(&slack), Pod::new(&slack)];
    for pod in &mut pods {
        pod.set("KMSCTL_NOTIFIER_DEDUP_STORE", &redis.address());
        pod.set("KMSCTL_NOTIFIER_DEDUP_LEASE", "3s");
        pod.set("KMSCTL_NOTIFIER_DIGEST_FROM", "1000");
    }
    let mut running: Vec<Option<Running>> = pods.iter().map(|pod| Some(pod.start())).collect();
    let ports: Vec<u16> = running.iter().flatten().map(Running::port).collect();
    let folder = tempfile::tempdir().expect("a folder");
    let Some(prometheus) = Prometheus::start(folder.path(), &ports) else {
        return;
    };
    // The first part: rotations and kills. A third of the clients asks both servers.
    let mut random = Random(7);
    let (mut kills, mut rotations) = (0, 0);
    let mut written = [0_u32; 2];
    for number in 0..CLIENTS {
        let both = number % 3 == 0;
        for at in 0..2 {
            if both || number % 2 == at {
                let at = usize::try_from(at).expect("small");
                activate(&pods[at].log(), number);
                written[at] += 1;
            }
        }
        let at = usize::try_from(random.below(2)).expect("small");
        if random.below(8) == 0 {
            let log = pods[at].log();
            if log.exists() {
                rotations += 1;
                std::fs::rename(&log, log.with_extension(format!("log.{rotations}")))
                    .expect("a rotation");
            }
        }
        if random.below(8) == 0 {
            drop(running[at].take());
            kills += 1;
            std::thread::sleep(Duration::from_millis(random.below(60)));
            running[at] = Some(pods[at].start_quickly(pods[at].command(&[])));
        }
    }
    let all = eventually(|| slack.clients().len() == CLIENTS as usize);
    let lost: Vec<u32> =
        (0..CLIENTS).filter(|number| !slack.clients().contains_key(&client(*number))).collect();
    assert!(all, "lost: {lost:?}");
    let empty = |running: &[Option<Running>]| {
        running.iter().flatten().all(|one| one.metric("kms_slack_queue_length") == Some(0.0))
    };
    assert!(eventually(|| empty(&running)));
    std::thread::sleep(Duration::from_millis(600));
    let twice: usize = slack.clients().values().map(|count| count - 1).sum();
    eprintln!(
        "pipeline: {CLIENTS} clients, {written:?} activations in two logs, {rotations} rotations, {kills} kills: 0 lost, {twice} posted twice"
    );
    assert!(twice <= kills, "{twice} posted twice after {kills} kills");
    // The second part: fresh counters, no kills, and everything adds up wherever one looks.
    for at in 0..2 {
        if let Some(one) = running[at].take() {
            assert_eq!(one.stop().0, Some(0));
        }
        running[at] = Some(pods[at].start());
    }
    let before = slack.posted_texts().len();
    for number in 0..CLIENTS + 30 {
        for pod in &pods {
            activate(&pod.log(), number);
        }
    }
    slack.wait_for(before + 30);
    assert!(eventually(|| {
        running
            .iter()
            .flatten()
            .all(|one| one.metric("kms_log_lines_total") == Some(f64::from((CLIENTS + 30) * 24)))
    }));
    assert!(eventually(|| empty(&running)));
    assert_eq!(slack.posted_texts().len(), before + 30, "known clients are not posted again");
    let events = f64::from((CLIENTS + 30) * 2);
    for (query, wanted) in [
        ("sum(kms_requests_total)", events),
        ("sum(kms_activations_total)", 30.0),
        ("sum(kms_activations_dedup_skipped_total)", events - 30.0),
        ("sum(kms_slack_posts_total)", 30.0),
        ("sum(kms_log_lines_total)", events * 24.0),
        ("sum(kms_dedup_unchecked_total)", 0.0),
        ("sum(kms_dedup_store_up)", 2.0),
        ("sum(kms_slack_notifier_up)", 2.0),
        ("sum(kms_slack_queue_length)", 0.0),
    ] {
        let agrees = eventually(|| {
            prometheus.value(query).is_some_and(|value| (value - wanted).abs() < 0.1)
        });
        assert!(agrees, "{query} is {:?}, not {wanted}", prometheus.value(query));
    }
}
