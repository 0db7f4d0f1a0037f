//! `kmsctl notifier metrics`: values and rates through a real kubectl.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

use super::notifier_status::ask;
use crate::support::cluster::FakeCluster;
use crate::support::environment::TestEnvironment;

/// A page whose counter grows by one each ten milliseconds, until it is dropped.
struct Growing {
    folder: tempfile::TempDir,
    end: Arc<AtomicBool>,
}

impl Growing {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let end = Arc::new(AtomicBool::new(false));
        let (place, ended) = (folder.path().join("page"), Arc::clone(&end));
        let write = move |count: u64| {
            let now = jiff::Timestamp::now().as_second();
            let text = format!(
                "# TYPE kms_log_lines_total counter\nkms_log_lines_total {count}\n# TYPE kms_slack_queue_length gauge\n\
                 kms_slack_queue_length 3\n# TYPE kms_log_last_read_timestamp_seconds gauge\n\
                 kms_log_last_read_timestamp_seconds {now}\nnonsense\n"
            );
            let fresh = place.with_extension("new");
            std::fs::write(&fresh, text).expect("a page");
            std::fs::rename(fresh, &place).expect("a page");
        };
        write(1);
        std::thread::spawn(move || {
            let mut count = 1;
            while !ended.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(10));
                count += 1;
                write(count);
            }
        });
        Self { folder, end }
    }

    fn page(&self) -> String {
        self.folder.path().join("page").display().to_string()
    }
}

impl Drop for Growing {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn series<'a>(shown: &'a Value, name: &str) -> &'a Value {
    let list = shown["data"]["series"].as_array().expect("series");
    list.iter().find(|series| series["name"] == name).expect("the series")
}

#[test]
fn values_come_with_their_rates_and_no_prometheus() {
    let growing = Growing::start();
    let Some(cluster) =
        FakeCluster::start(&["--metrics-from", &growing.page(), "--scenario", "two-pods"])
    else {
        return;
    };
    let shown = ask(&cluster, &["notifier", "metrics", "-o", "json"]).json();
    assert_eq!(shown["data"]["pods"].as_array().map(Vec::len), Some(2));
    let rate = series(&shown, "kms_log_lines_total")["rate"].as_f64().expect("a rate");
    assert!(rate > 1.0, "{shown:#}");
    assert!(series(&shown, "kms_slack_queue_length")["rate"].is_null(), "{shown:#}");
    assert!(shown["warnings"].to_string().contains("no metrics"), "{shown:#}");
    let table = ask(&cluster, &["notifier", "metrics"]).success();
    assert!(table.contains("s ago") && table.contains("/s"), "{table}");
    assert_eq!(
        ask(&cluster, &["notifier", "metrics", "-o", "ndjson"]).success().lines().count(),
        6
    );
}

#[test]
fn watch_prints_a_tick_a_line() {
    let growing = Growing::start();
    let Some(cluster) = FakeCluster::start(&["--metrics-from", &growing.page()]) else {
        return;
    };
    let environment = TestEnvironment::new();
    let mut child = environment
        .command(&["notifier", "metrics", "--watch=1s"])
        .env_remove("KMSCTL_DEMO_NOW")
        .env("KMSCTL_CLUSTER_KUBECONFIG", cluster.kubeconfig())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("kmsctl runs");
    let stdout = child.stdout.take().expect("stdout");
    let ticks: Vec<Value> = BufReader::new(stdout)
        .lines()
        .take(2)
        .map(|line| serde_json::from_str(&line.expect("a line")).expect("JSON"))
        .collect();
    let status = child.wait().expect("an end");
    assert_eq!(status.code(), Some(0), "a reader that is gone is no error");
    assert!(series(&ticks[0], "kms_log_lines_total")["rate"].is_null());
    assert!(
        series(&ticks[1], "kms_log_lines_total")["rate"].as_f64().is_some_and(|rate| rate > 1.0)
    );
}

#[test]
fn what_cannot_be_read_is_said() {
    for (arguments, words) in [
        (["--deny", "get:pods/proxy"], "pods/proxy"),
        (["--scenario", "metrics-down"], "cannot reach the pod"),
        (["--deny", "list:pods,list:endpointslices"], "may not list pods in kms"),
    ] {
        let Some(cluster) = FakeCluster::start(&arguments) else {
            return;
        };
        let told = ask(&cluster, &["notifier", "metrics"]).fails_with(5);
        assert!(told.contains(words), "{arguments:?}: {told}");
    }
    let Some(cluster) = FakeCluster::start(&["--scenario", "no-pod"]) else {
        return;
    };
    let none = ask(&cluster, &["notifier", "metrics"]);
    assert!(
        none.stdout.is_empty() && none.stderr.contains("no pod") && none.code == Some(0),
        "{none}"
    );
}

#[test]
fn a_page_without_numbers_is_no_missing_pod() {
    let folder = tempfile::tempdir().expect("a folder");
    let page = folder.path().join("page");
    for text in ["", "<html>log in</html>\n"] {
        std::fs::write(&page, text).expect("a page");
        let page = page.display().to_string();
        let Some(cluster) = FakeCluster::start(&["--metrics-from", &page]) else {
            return;
        };
        let shown = ask(&cluster, &["notifier", "metrics"]);
        assert!(
            !shown.stderr.contains("no pod") && shown.stderr.contains("no numbers"),
            "{text:?}: {shown}"
        );
    }
}
