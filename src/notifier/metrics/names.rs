//! What every series is called and what it says of itself. Five names are older than kmsctl and keep their labels.

use std::sync::atomic::AtomicI64;

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::{Counters, Labels, Metrics};
use crate::domain::kms_log::Anomaly;
use crate::domain::notifier::source::ClientSource;

impl Metrics {
    /// Registers every series and creates those whose labels are known.
    pub(super) fn register(&mut self) {
        self.register_families();
        self.register_gauges();
        self.register_gauges_of_slack();
        self.register_counters();
        self.register_constants();
        self.create();
    }

    fn register_families(&mut self) {
        let families = [
            (
                "kms_activations",
                "Activations outside the dedup window, told to Slack or not: those too old to be told and those the server did not answer too; without a webhook there is no window, and all count",
                &self.activations,
            ),
            (
                "kms_activations_dedup_skipped",
                "Activations that were not posted, as the same client and product was within the window",
                &self.skipped,
            ),
            (
                "kms_connection_probes",
                "Connections that closed without any request, by class of their address",
                &self.probes,
            ),
            (
                "kms_requests",
                "Requests by what the server did",
                &self.requests,
            ),
            (
                "kms_slack_posts",
                "Messages to Slack by what became of each try; dropped counts activations the outbox had no room for",
                &self.posts,
            ),
            (
                "kms_log_anomalies",
                "What no honest client and server write, by kind",
                &self.anomalies,
            ),
            (
                "kms_log_rotations",
                "Rotations of the log by kind",
                &self.rotations,
            ),
        ];
        for (name, help, family) in families {
            self.registry.register(name, help, family.clone());
        }
    }

    fn register_gauges(&mut self) {
        let gauges = [
            (
                "kms_last_activation_timestamp_seconds",
                "Time of the last activation, those within the dedup window included; 0 before the first",
                &self.last_activation,
            ),
            (
                "kms_log_last_line_timestamp_seconds",
                "Time of the last line of the log: its stamp taken as UTC, less what the server's clock is off by; 0 before the first",
                &self.last_line,
            ),
            (
                "kms_log_clock_skew_seconds",
                "By how much the stamps of lines that were just written are ahead of the notifier's clock; negative where they are behind",
                &self.clock_skew,
            ),
            (
                "kms_log_last_read_timestamp_seconds",
                "Time of the last look at the log that did not fail, 0 before the first; one that finds no log yet is no failure",
                &self.last_read,
            ),
            (
                "kms_log_understood",
                "0 while lines come and none of them is the KMS server's",
                &self.understood,
            ),
            (
                "kms_log_open",
                "1 while the log is open; 0 where it does not exist yet or cannot be read",
                &self.log_open,
            ),
            (
                "kms_log_read_lag_bytes",
                "Bytes of the log that are not read yet",
                &self.lag,
            ),
            (
                "kms_open_connections",
                "Connections that are open by the log",
                &self.open,
            ),
            (
                "kms_dedup_store_up",
                "1 while the shared dedup window answers; 1 always where none is shared",
                &self.window_up,
            ),
        ];
        for (name, help, gauge) in gauges {
            self.registry.register(name, help, gauge.clone());
        }
    }

    fn register_gauges_of_slack(&mut self) {
        let gauges = [
            (
                "kms_slack_queue_length",
                "Activations that Slack was not told yet",
                &self.queue,
            ),
            (
                "kms_slack_last_success_timestamp_seconds",
                "Time of the last message that Slack took, 0 before the first",
                &self.last_success,
            ),
            (
                "kms_slack_configured",
                "1 where the notifier was started with a webhook; 0 where it only counts, so that nobody is told",
                &self.configured,
            ),
            (
                "kms_slack_last_rejected_timestamp_seconds",
                "Time of the last message that Slack refused for good, 0 before the first; later than the last success while no message was taken since",
                &self.last_rejected,
            ),
            (
                "kms_slack_last_dropped_timestamp_seconds",
                "Time at which the outbox last had no room for an activation, 0 before the first",
                &self.last_dropped,
            ),
        ];
        for (name, help, gauge) in gauges {
            self.registry.register(name, help, gauge.clone());
        }
    }

    fn register_counters(&mut self) {
        let counters = [
            (
                "kms_log_lines",
                "Lines of the log that were read",
                &self.lines,
            ),
            (
                "kms_log_unparsed_lines",
                "Lines that no known server writes",
                &self.unparsed,
            ),
            (
                "kms_attribution_ambiguous",
                "Requests whose client is a guess",
                &self.ambiguous,
            ),
            (
                "kms_dedup_evicted",
                "Clients and products forgotten before their window ended, as there were too many",
                &self.evicted,
            ),
            (
                "kms_checkpoint_failures",
                "Checkpoints that could not be written",
                &self.failed_checkpoints,
            ),
            (
                "kms_echo_dropped",
                "Events that --echo gave up, as nobody read them from stdout",
                &self.echo_dropped,
            ),
            (
                "kms_dedup_store_errors",
                "Tries at the shared dedup window that failed",
                &self.window_errors,
            ),
            (
                "kms_dedup_unchecked",
                "Activations told without an answer from the shared dedup window",
                &self.window_unchecked,
            ),
        ];
        for (name, help, counter) in counters {
            self.registry.register(name, help, counter.clone());
        }
    }

    fn register_constants(&mut self) {
        let up = Gauge::<i64, AtomicI64>::default();
        up.set(1);
        self.registry
            .register("kms_slack_notifier_up", "1 while the notifier runs", up);
        let build = Family::<Labels, Gauge>::default();
        build
            .get_or_create(&build_labels(
                env!("CARGO_PKG_VERSION"),
                env!("KMSCTL_COMMIT"),
                env!("KMSCTL_COMMIT_DATE"),
            ))
            .set(1);
        self.registry.register(
            "kms_notifier_build_info",
            "Version of the notifier, and the commit it was built from",
            build,
        );
    }

    fn create(&self) {
        let pre = |family: &Counters, label: &'static str, values: &[&str]| {
            for value in values {
                drop(family.get_or_create(&vec![(label, (*value).to_owned())]));
            }
        };
        pre(
            &self.probes,
            "source",
            &ClientSource::ALL.map(ClientSource::name),
        );
        pre(
            &self.requests,
            "result",
            &["answered", "refused", "unanswered"],
        );
        pre(
            &self.posts,
            "result",
            &["ok", "rate_limited", "rejected", "error", "dropped"],
        );
        pre(&self.anomalies, "kind", &Anomaly::ALL.map(Anomaly::name));
        pre(
            &self.rotations,
            "kind",
            &["renamed", "truncated", "missing"],
        );
        self.window_up.set(1);
        self.understood.set(1);
    }
}

/// Labels of the build; what is not known has no label, as an empty one says no more.
fn build_labels(version: &str, commit: &str, commit_date: &str) -> Labels {
    [
        ("version", version),
        ("commit", commit),
        ("commit_date", commit_date),
    ]
    .into_iter()
    .filter(|(_, value)| !value.is_empty())
    .map(|(name, value)| (name, value.to_owned()))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::build_labels;

    #[test]
    fn build_labels_say_what_is_known() {
        let names = |commit, date| -> Vec<&str> {
            let labels = build_labels("0.1.0", commit, date);
            labels.into_iter().map(|(name, _)| name).collect()
        };
        assert_eq!(names("", ""), ["version"]);
        assert_eq!(names("0123456789", ""), ["version", "commit"]);
        assert_eq!(
            names("0123456789", "2026-11-28"),
            ["version", "commit", "commit_date"]
        );
    }
}
