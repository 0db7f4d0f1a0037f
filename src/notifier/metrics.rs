//! The numbers behind /metrics, as they are counted and printed. No label ever
//! holds an address, and the one that comes from the log (`product`) is bounded.

use crate::domain::kms_log::Anomaly;
use crate::domain::notifier::source::ClientSource;
use crate::notifier::http::Pages;
use crate::text::acts_on_terminal;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Most product names with a series each; the rest is `other`, as a forged line can invent any.
const PRODUCTS: usize = 200;

/// A loop that did not come round for so long stands still.
const STILL: Duration = Duration::from_secs(10);

type Labels = Vec<(&'static str, String)>;

type Counters = Family<Labels, Counter>;

/// Declares each number once: its field, its type, its name on the page and its help there.
macro_rules! metrics_page {
    ($($visibility:vis $field:ident: $kind:ident = $name:literal, $help:literal;)*) => {
        #[derive(Debug)]
        pub struct Metrics {
            registry: Registry,
            products: Mutex<BTreeSet<String>>,
            heartbeat: Mutex<Option<Instant>>,
            ready: AtomicBool,
            $(#[doc = $help] $visibility $field: $kind,)*
        }

        impl Default for Metrics {
            /// Registers every series and creates those whose labels are known, so that a first increment is seen.
            fn default() -> Self {
                let mut page = Registry::default();
                $(
                    let $field = $kind::default();
                    page.register($name, $help, $field.clone());
                )*
                register_constants(&mut page);
                let metrics = Self {
                    registry: page,
                    products: Mutex::default(),
                    heartbeat: Mutex::default(),
                    ready: AtomicBool::new(false),
                    $($field,)*
                };
                metrics.create_series();
                metrics
            }
        }
    };
}

metrics_page! {
    activations: Counters = "kms_activations",
        "Activations outside the dedup window, posted to Slack or not: those too old to be posted and those the server did not answer too; without a webhook there is no window, and all count";
    skipped: Counters = "kms_activations_dedup_skipped",
        "Activations that were not posted, as the same client and product was within the window";
    probes: Counters = "kms_connection_probes",
        "Connections that closed without any request, by class of their address";
    requests: Counters = "kms_requests",
        "Requests by what the server did";
    posts: Counters = "kms_slack_posts",
        "Messages to Slack by what became of each try; dropped counts activations the outbox had no room for";
    anomalies: Counters = "kms_log_anomalies",
        "What no honest client and server write, by kind";
    rotations: Counters = "kms_log_rotations",
        "Rotations of the log by kind";
    pub last_activation: Gauge = "kms_last_activation_timestamp_seconds",
        "Time of the last activation, those within the dedup window included; 0 before the first";
    pub last_line: Gauge = "kms_log_last_line_timestamp_seconds",
        "Time of the last line of the log: its stamp taken as UTC, less what the server's clock is off by; 0 before the first";
    pub clock_skew: Gauge = "kms_log_clock_skew_seconds",
        "By how much the stamps of lines that were just written are ahead of the notifier's clock; negative where they are behind";
    pub last_read: Gauge = "kms_log_last_read_timestamp_seconds",
        "Time of the last look at the log that did not fail, 0 before the first; one that finds no log yet is no failure";
    pub understood: Gauge = "kms_log_understood",
        "0 while lines come and none of them is the KMS server's";
    pub log_open: Gauge = "kms_log_open",
        "1 while the log is open; 0 where it does not exist yet or cannot be read";
    pub lag: Gauge = "kms_log_read_lag_bytes",
        "Bytes of the log that are not read yet";
    pub open: Gauge = "kms_open_connections",
        "Connections that are open by the log";
    pub window_up: Gauge = "kms_dedup_store_up",
        "1 while the shared dedup window answers; 1 always where none is shared";
    pub queue: Gauge = "kms_slack_queue_length",
        "Activations not posted to Slack yet";
    pub last_success: Gauge = "kms_slack_last_success_timestamp_seconds",
        "Time of the last message that Slack took, 0 before the first";
    pub configured: Gauge = "kms_slack_configured",
        "1 where the notifier was started with a webhook; 0 where it only counts and posts nothing";
    pub last_rejected: Gauge = "kms_slack_last_rejected_timestamp_seconds",
        "Time of the last message that Slack refused for good, 0 before the first and once the webhook's file has another address; later than the last success while no message was taken since";
    pub last_dropped: Gauge = "kms_slack_last_dropped_timestamp_seconds",
        "Time at which the outbox last had no room for an activation, 0 before the first";
    pub lines: Counter = "kms_log_lines",
        "Lines of the log that were read";
    pub unparsed: Counter = "kms_log_unparsed_lines",
        "Lines that no known server writes";
    pub ambiguous: Counter = "kms_attribution_ambiguous",
        "Requests whose client is a guess";
    pub evicted: Counter = "kms_dedup_evicted",
        "Clients and products forgotten before their window ended, as there were too many";
    pub failed_checkpoints: Counter = "kms_checkpoint_failures",
        "Checkpoints that could not be written";
    pub echo_dropped: Counter = "kms_echo_dropped",
        "Events that --echo gave up, as no process read them from stdout";
    pub window_errors: Counter = "kms_dedup_store_errors",
        "Tries at the shared dedup window that failed";
    pub window_unchecked: Counter = "kms_dedup_unchecked",
        "Activations posted without an answer from the shared dedup window";
}

fn register_constants(page: &mut Registry) {
    let up = Gauge::<i64, AtomicI64>::default();
    up.set(1);
    page.register("kms_slack_notifier_up", "1 while the notifier runs", up);
    let build = Family::<Labels, Gauge>::default();
    build.get_or_create(&own_build_labels()).set(1);
    page.register(
        "kms_notifier_build_info",
        "Version of the notifier, and the commit it was built from",
        build,
    );
}

impl Metrics {
    /// Counts an activation that the window let through.
    pub fn count_activation(&self, product: &str, status: &str) {
        let labels = vec![("product", self.product_label(product)), ("status", status.to_owned())];
        // Its sibling begins at 0, so that the first repetition is seen as an increase.
        drop(self.skipped.get_or_create(&vec![("product", self.product_label(product))]));
        self.activations.get_or_create(&labels).inc();
    }

    /// Counts an activation that the window held back.
    pub fn count_skipped(&self, product: &str) {
        self.skipped.get_or_create(&vec![("product", self.product_label(product))]).inc();
    }

    pub fn count_probe(&self, source: ClientSource) {
        self.probes.get_or_create(&vec![("source", source.name().to_owned())]).inc();
    }

    pub fn count_request(&self, result: &'static str) {
        self.requests.get_or_create(&vec![("result", result.to_owned())]).inc();
    }

    pub fn count_post(&self, result: &'static str) {
        self.posts.get_or_create(&vec![("result", result.to_owned())]).inc();
    }

    /// Notes when a message ended: `sent`, or refused for good. Of the two times the later one is always that of the
    /// later message, also within one second and when the clock steps back.
    pub fn note_ending(&self, sent: bool, now: i64) {
        if sent {
            self.last_success.set(now.max(self.last_rejected.get()));
        } else {
            self.last_rejected.set(now.max(self.last_success.get().saturating_add(1)));
        }
    }

    pub fn count_anomaly(&self, kind: Anomaly) {
        self.anomalies.get_or_create(&vec![("kind", kind.name().to_owned())]).inc();
    }

    pub fn count_rotation(&self, kind: &'static str) {
        self.rotations.get_or_create(&vec![("kind", kind.to_owned())]).inc();
    }

    /// Notes that the loop is alive, whether the log is open, and whether it could be looked at.
    pub fn note_beat(&self, now: i64, ready: bool, looked: bool) {
        // By a clock that does not step, unlike the one of `now`.
        *self.heartbeat.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        self.ready.store(ready, Ordering::Relaxed);
        self.log_open.set(i64::from(ready && looked));
        if looked {
            self.last_read.set(now);
        }
    }

    fn product_label(&self, name: &str) -> String {
        let mut products = self.products.lock().unwrap_or_else(PoisonError::into_inner);
        if products.contains(name) {
            return name.to_owned();
        }
        if products.len() >= PRODUCTS {
            return "other".to_owned();
        }
        // A carriage return or a change of direction in a forged name would only confuse readers of the page.
        let name: String =
            name.chars().filter(|character| !acts_on_terminal(*character)).take(100).collect();
        products.insert(name.clone());
        name
    }
}

impl Pages for Metrics {
    fn print_page(&self, open_metrics: bool) -> String {
        print_registry(&self.registry, open_metrics)
    }

    /// The loop was alive within the last ten seconds.
    fn check_health(&self, now: Instant) -> Result<(), &'static str> {
        let heartbeat = *self.heartbeat.lock().unwrap_or_else(PoisonError::into_inner);
        heartbeat
            .filter(|heartbeat| now.saturating_duration_since(*heartbeat) <= STILL)
            .map(|_| ())
            .ok_or("the loop that reads the log stands still")
    }

    /// The log is open and the checkpoint was read.
    fn check_readiness(&self, _: Instant) -> Result<(), &'static str> {
        let ready = self.ready.load(Ordering::Relaxed);
        ready.then_some(()).ok_or("the log is not open yet")
    }
}

/// Prints a registry: OpenMetrics, or Prometheus' text format 0.0.4 made from it (there a counter's family carries
/// `_total` itself, and there is no end mark).
pub fn print_registry(registry: &Registry, open_metrics: bool) -> String {
    let mut page = String::new();
    if encode(&mut page, registry).is_err() || open_metrics {
        return page;
    }
    let counters: BTreeSet<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter"))
        .collect();
    let mut text = String::with_capacity(page.len() + 512);
    for line in page.lines().filter(|line| *line != "# EOF") {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some(kind), Some(name), Some(rest)) if counters.contains(name) => {
                text.push_str(&format!("# {kind} {name}_total {rest}\n"));
            }
            _ => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    text
}

impl Metrics {
    fn create_series(&self) {
        let pre = |family: &Counters, label: &'static str, values: &[&str]| {
            for value in values {
                drop(family.get_or_create(&vec![(label, (*value).to_owned())]));
            }
        };
        pre(&self.probes, "source", &ClientSource::ALL.map(ClientSource::name));
        pre(&self.requests, "result", &["answered", "refused", "unanswered"]);
        pre(&self.posts, "result", &["ok", "rate_limited", "rejected", "error", "dropped"]);
        pre(&self.anomalies, "kind", &Anomaly::ALL.map(Anomaly::name));
        pre(&self.rotations, "kind", &["renamed", "truncated", "missing"]);
        self.window_up.set(1);
        self.understood.set(1);
    }
}

/// Returns the labels of `build_info`: the version, and the commit where it is known.
pub fn own_build_labels() -> Labels {
    build_labels(env!("CARGO_PKG_VERSION"), env!("BUILD_COMMIT"), env!("BUILD_COMMIT_DATE"))
}

/// Labels of the build; what is not known has no label, as an empty one says no more.
fn build_labels(version: &str, commit: &str, commit_date: &str) -> Labels {
    [("version", version), ("commit", commit), ("commit_date", commit_date)]
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| (name, value.to_owned()))
        .collect()
}

#[cfg(test)]
mod names_tests {
    use super::build_labels;

    #[test]
    fn build_labels_say_what_is_known() {
        let names = |commit, date| -> Vec<&str> {
            let labels = build_labels("0.1.0", commit, date);
            labels.into_iter().map(|(name, _)| name).collect()
        };
        assert_eq!(names("", ""), ["version"]);
        assert_eq!(names("0123456789", ""), ["version", "commit"]);
        assert_eq!(names("0123456789", "2026-11-28"), ["version", "commit", "commit_date"]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_names_stand_on_the_page_with_their_labels() {
        let metrics = Metrics::default();
        metrics.count_activation("Windows \"10\"\\\n", "Licensed");
        metrics.count_skipped("Windows");
        metrics.count_probe(ClientSource::External);
        let page = metrics.print_page(false);
        for line in [
            "kms_activations_total{product=\"Windows \\\"10\\\"\\\\\",status=\"Licensed\"} 1",
            "kms_activations_dedup_skipped_total{product=\"Windows\"} 1",
            "kms_connection_probes_total{source=\"external\"} 1",
            "kms_connection_probes_total{source=\"internal_pod\"} 0",
            "kms_last_activation_timestamp_seconds 0",
            "kms_slack_notifier_up 1",
            "# TYPE kms_activations_total counter",
        ] {
            assert!(page.lines().any(|other| other == line), "{line} in\n{page}");
        }
        assert!(!page.contains("# EOF") && metrics.print_page(true).ends_with("# EOF\n"));
    }

    #[test]
    fn of_two_ends_the_later_has_the_later_time() {
        let metrics = Metrics::default();
        let refused_last = || metrics.last_rejected.get() > metrics.last_success.get();
        metrics.note_ending(true, 100);
        metrics.note_ending(false, 100);
        assert!(refused_last(), "within one second");
        metrics.note_ending(true, 50);
        assert!(!refused_last(), "the clock stepped back");
        metrics.note_ending(false, 40);
        assert!(refused_last());
        metrics.note_ending(true, 200);
        assert!(!refused_last() && metrics.last_success.get() == 200);
    }

    #[test]
    fn a_look_that_fails_is_no_read() {
        let metrics = Metrics::default();
        metrics.note_beat(100, true, true);
        metrics.note_beat(200, true, false);
        let numbers = (metrics.log_open.get(), metrics.last_read.get());
        assert_eq!(numbers, (0, 100));
        let health = metrics.check_health(Instant::now());
        assert_eq!(health, Ok(()), "the loop itself is alive");
    }

    #[test]
    fn products_are_bounded() {
        let metrics = Metrics::default();
        (0..1000).for_each(|number| metrics.count_skipped(&number.to_string()));
        let page = metrics.print_page(false);
        assert_eq!(page.matches("kms_activations_dedup_skipped_total{").count(), PRODUCTS + 1);
        assert!(page.contains("{product=\"other\"} 800"));
    }
}
