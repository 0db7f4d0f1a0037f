//! The notifier's metrics page as numbers. What a page lacks (the script that kmsctl replaces has five names only) is
//! `None`, never 0.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::domain::notifier::decide::Probes;
use crate::domain::notifier::prometheus::Page;

/// A page and when it was read.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricsReading {
    /// When, by our clock.
    pub at: Timestamp,
    /// The page.
    pub page: Page,
    /// What it says.
    pub numbers: Numbers,
}

impl MetricsReading {
    /// Reads a page.
    pub fn of(text: &str, at: Timestamp) -> Self {
        let page = Page::parse(text);
        let numbers = Numbers::of(&page);
        Self { at, page, numbers }
    }
}

/// What a page says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Numbers {
    /// Version of the notifier.
    pub version: Option<String>,
    /// Bytes of the log not read.
    pub lag_bytes: Option<u64>,
    /// Whether the log is open and can be read.
    pub log_open: Option<bool>,
    /// When the loop looked at the log last.
    pub last_read: Option<Timestamp>,
    /// Stamp of the last line.
    pub last_line: Option<Timestamp>,
    /// Seconds by which the server's stamps are ahead of the notifier's clock.
    pub clock_skew: Option<i64>,
    /// Messages that wait.
    pub outbox: Option<u64>,
    /// Whether there is a webhook at all.
    pub configured: Option<bool>,
    /// When Slack took the last one.
    pub last_post: Option<Timestamp>,
    /// When Slack refused one for good the last time; later than `last_post` while it took none since.
    pub last_refusal: Option<Timestamp>,
    /// When the outbox had no room the last time.
    pub last_drop: Option<Timestamp>,
    /// Tries to post by what became of them.
    pub posts: BTreeMap<String, u64>,
    /// Activations outside the window.
    pub activations: Option<u64>,
    /// Activations the window held back.
    pub held_back: Option<u64>,
    /// Requests the server refused.
    pub refused: Option<u64>,
    /// When the last activation was.
    pub last_activation: Option<Timestamp>,
    /// Probes by class.
    pub probes: Option<Probes>,
    /// Lines read.
    pub lines: Option<u64>,
    /// Lines not understood.
    pub unparsed: Option<u64>,
}

impl Numbers {
    /// Reads them off a page.
    pub fn of(page: &Page) -> Self {
        let count = |name: &str| page.sum(name).and_then(whole_number);
        let time = |name: &str| {
            let seconds = count(name).filter(|seconds| *seconds > 0)?;
            Timestamp::from_second(i64::try_from(seconds).ok()?).ok()
        };
        let labelled = |name: &str, label: &str| -> BTreeMap<String, u64> {
            let values = page.of(name);
            let values = values.filter_map(|sample| {
                Some((sample.label(label)?.to_owned(), whole_number(sample.value)?))
            });
            values.collect()
        };
        let probes = labelled("kms_connection_probes_total", "source");
        let probe = |name: &str| probes.get(name).copied().unwrap_or_default();
        // A series of the script appears at its first event, so a page without one means none.
        let notifier = page.sum("kms_slack_notifier_up").is_some();
        let or_none = |number: Option<u64>| number.or_else(|| notifier.then_some(0));
        Self {
            version: page
                .of("kms_notifier_build_info")
                .find_map(|sample| sample.label("version").map(str::to_owned)),
            lag_bytes: count("kms_log_read_lag_bytes"),
            log_open: count("kms_log_open").map(|one| one > 0),
            last_read: time("kms_log_last_read_timestamp_seconds"),
            last_line: time("kms_log_last_line_timestamp_seconds"),
            clock_skew: page.sum("kms_log_clock_skew_seconds").and_then(|skew| {
                let size = i64::try_from(whole_number(skew.abs())?).ok()?;
                Some(if skew < 0.0 { -size } else { size })
            }),
            outbox: count("kms_slack_queue_length"),
            configured: count("kms_slack_configured").map(|one| one > 0),
            last_post: time("kms_slack_last_success_timestamp_seconds"),
            last_refusal: time("kms_slack_last_rejected_timestamp_seconds"),
            last_drop: time("kms_slack_last_dropped_timestamp_seconds"),
            posts: labelled("kms_slack_posts_total", "result"),
            activations: or_none(count("kms_activations_total")),
            held_back: or_none(count("kms_activations_dedup_skipped_total")),
            refused: labelled("kms_requests_total", "result")
                .get("refused")
                .copied(),
            last_activation: time("kms_last_activation_timestamp_seconds"),
            probes: notifier.then(|| Probes {
                internal_pod: probe("internal_pod"),
                cluster_node: probe("cluster_node"),
                external: probe("external"),
            }),
            lines: count("kms_log_lines_total"),
            unparsed: count("kms_log_unparsed_lines_total"),
        }
    }

    /// Adds the pages of several pods: counts are summed, of times the newest counts.
    pub fn total<'a>(all: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut total = Self::default();
        for one in all {
            let add = |sum: &mut Option<u64>, more: Option<u64>| {
                *sum = match (*sum, more) {
                    (Some(sum), Some(more)) => Some(sum.saturating_add(more)),
                    (sum, more) => sum.or(more),
                };
            };
            add(&mut total.lag_bytes, one.lag_bytes);
            add(&mut total.outbox, one.outbox);
            add(&mut total.activations, one.activations);
            add(&mut total.held_back, one.held_back);
            add(&mut total.refused, one.refused);
            add(&mut total.lines, one.lines);
            add(&mut total.unparsed, one.unparsed);
            total.last_read = total.last_read.max(one.last_read);
            total.last_line = total.last_line.max(one.last_line);
            total.last_post = total.last_post.max(one.last_post);
            total.last_refusal = total.last_refusal.max(one.last_refusal);
            total.last_drop = total.last_drop.max(one.last_drop);
            total.last_activation = total.last_activation.max(one.last_activation);
            total.version = total.version.or_else(|| one.version.clone());
            for (result, count) in &one.posts {
                *total.posts.entry(result.clone()).or_default() += count;
            }
            if let Some(more) = one.probes {
                let sum = total.probes.get_or_insert_default();
                sum.internal_pod += more.internal_pod;
                sum.cluster_node += more.cluster_node;
                sum.external += more.external;
            }
        }
        total
    }

    /// Returns the tries with one end.
    pub fn posted(&self, result: &str) -> u64 {
        self.posts.get(result).copied().unwrap_or_default()
    }
}

/// Returns a value as a whole number; pages have floats.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the range is checked; a fraction of a second is of no interest"
)]
fn whole_number(value: f64) -> Option<u64> {
    (0.0..9e15).contains(&value).then_some(value as u64)
}
