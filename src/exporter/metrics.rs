//! The firewall's side of the metrics. What was not read is absent, never 0, and no label holds an address.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::metrics::TypedMetric;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Metric, Registry};

use crate::domain::exposure::{Exposure, State};
use crate::domain::ratelimit::Caps;
use crate::notifier::http::Pages;
use crate::notifier::metrics::{own_build_labels, print_registry};

type Labels = Vec<(&'static str, String)>;

/// What one look at the firewall found; `None` is what it did not learn.
#[derive(Debug, Default)]
pub struct FirewallSample {
    /// Unix seconds of the firewall's clock.
    pub at: i64,
    /// A list that the exposure is judged by could not be read, so that no alert on it can fire.
    pub list_unread: bool,
    /// The names of the answers that were asked for, and whether each came.
    pub answers: Vec<(&'static str, bool)>,
    pub exposure: Option<Exposure>,
    pub sources: Option<u64>,
    pub pf_enabled: Option<bool>,
    /// States of all services, and the limit on them.
    pub pf_states: Option<u64>,
    /// See `pf_states`.
    pub pf_states_limit: Option<u64>,
    /// How often an address was put into an overload table since pf was enabled.
    pub overloads: Option<u64>,
    pub blocked: Option<u64>,
    /// Those of them that were activated within 24 hours.
    pub blocked_customers: Option<u64>,
    /// Age of the oldest entry in seconds.
    pub oldest_blocked: Option<u64>,
    /// The cron job that lets entries go works.
    pub expiry_working: Option<bool>,
    /// Temporary changes that revert by themselves.
    pub armed: Option<u64>,
}

#[derive(Debug, Default)]
struct Seen {
    /// The last look that was answered.
    sample: Option<FirewallSample>,
    /// When it was answered, by a clock that does not step.
    answered: Option<Instant>,
    /// When each answer came last, by its name and a clock that does not step.
    came: BTreeMap<&'static str, Instant>,
    /// Why the firewall does not answer now.
    down: Option<&'static str>,
    /// The last time that the loop came round.
    heartbeat: Option<Instant>,
    logins: u64,
    unanswered: u64,
}

impl Seen {
    /// Returns why the firewall is not watched now.
    fn outage(&self) -> Option<&'static str> {
        let unread = self.sample.as_ref().is_some_and(|sample| sample.list_unread);
        self.down.or(unread.then_some("unread"))
    }
}

/// What is served. A loop that did not come round for `still` stands still, and a look older than that is not current.
#[derive(Debug)]
pub struct FirewallPages {
    seen: Mutex<Seen>,
    still: Duration,
}

impl FirewallPages {
    /// Makes pages that know nothing yet.
    pub fn new(still: Duration) -> Self {
        Self { seen: Mutex::default(), still }
    }

    pub fn note_beat(&self, now: Instant) {
        self.lock().heartbeat = Some(now);
    }

    pub fn count_login(&self) {
        self.lock().logins += 1;
    }

    pub fn note_sample(&self, sample: FirewallSample, now: Instant) {
        let mut seen = self.lock();
        let came = sample.answers.iter().filter(|(_, came)| *came);
        seen.came.extend(came.map(|(name, _)| (*name, now)));
        seen.sample = Some(sample);
        seen.answered = Some(now);
        seen.down = None;
    }

    /// Notes that a look was not answered, and why, in one of a few fixed words.
    pub fn note_down(&self, why: &'static str) {
        let mut seen = self.lock();
        seen.down = Some(why);
        seen.unanswered += 1;
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pages for FirewallPages {
    fn print_page(&self, open_metrics: bool) -> String {
        print_registry(&Page::of_seen(&self.lock(), Instant::now()).0, open_metrics)
    }

    fn check_health(&self, now: Instant) -> Result<(), &'static str> {
        let heartbeat = self.lock().heartbeat;
        heartbeat
            .filter(|heartbeat| now.saturating_duration_since(*heartbeat) <= self.still)
            .map(|_| ())
            .ok_or("the loop that asks the firewall stands still")
    }

    fn check_readiness(&self, now: Instant) -> Result<(), &'static str> {
        let seen = self.lock();
        let current = |at: &Instant| now.saturating_duration_since(*at) <= self.still;
        if seen.down.is_some() || !seen.answered.as_ref().is_some_and(current) {
            return Err("the firewall does not answer");
        }
        seen.outage()
            .map_or(Ok(()), |_| Err("not all of pf's rules, translation and status can be read"))
    }
}

/// A registry that is made anew for each page, as what is absent must not be on it.
struct Page(Registry);

impl Page {
    fn of_seen(seen: &Seen, now: Instant) -> Self {
        let mut page = Self(Registry::with_prefix("kmsctl"));
        let outage = seen.outage();
        let up = seen.sample.is_some() && outage.is_none();
        page.gauge(
            "up",
            "1 while the firewall answers, and pf's rules, translation and status can be read",
            Some(u64::from(up)),
        );
        let build = (own_build_labels(), 1);
        page.gauges("build_info", "Version of kmsctl, and the commit it was built from", [build]);
        page.counter("logins", "Logins that were tried", Some(seen.logins));
        page.counter(
            "looks_unanswered",
            "Looks at the firewall that brought no answer",
            Some(seen.unanswered),
        );
        page.gauges(
            "down",
            "Why kmsctl_up is 0",
            outage.map(|why| (vec![("reason", why.to_owned())], 1)),
        );
        let Some(sample) = &seen.sample else {
            return page;
        };
        page.gauge(
            "last_look_timestamp_seconds",
            "Time of the last look that was answered, by the firewall's clock",
            u64::try_from(sample.at).ok(),
        );
        page.gauges(
            "answer_age_seconds",
            "Seconds since each answer came last, by its name; one that never came is absent",
            seen.came.iter().map(|(name, at)| {
                let age = now.saturating_duration_since(*at).as_secs();
                (vec![("answer", (*name).to_owned())], age)
            }),
        );
        // What the firewall does not say any more is not shown as if it did.
        if seen.down.is_none() {
            page.add_sample(sample);
        }
        page
    }

    fn add_sample(&mut self, sample: &FirewallSample) {
        if let Some(exposure) = &sample.exposure {
            self.add_exposure(exposure);
        }
        self.gauges(
            "unread",
            "1 for each answer that the last look did not get, by its name; what it says is absent",
            sample
                .answers
                .iter()
                .filter(|(_, came)| !came)
                .map(|(name, _)| (vec![("answer", (*name).to_owned())], 1)),
        );
        let flag = |value: Option<bool>| value.map(u64::from);
        for (name, help, value) in [
            ("sources", "Sources with live connections of the service", sample.sources),
            ("pf_enabled", "1 while pf is enabled", flag(sample.pf_enabled)),
            ("pf_states", "States of pf, of all services", sample.pf_states),
            ("pf_states_limit", "Most states that pf holds", sample.pf_states_limit),
            ("blocked_entries", "Entries of the overload table", sample.blocked),
            (
                "blocked_customers",
                "Entries of the overload table that were activated within 24 hours",
                sample.blocked_customers,
            ),
            (
                "blocked_oldest_seconds",
                "Age of the oldest entry of the overload table",
                sample.oldest_blocked,
            ),
            (
                "expiry_working",
                "1 while the job that lets entries go works, as far as the entries show it",
                flag(sample.expiry_working),
            ),
            ("rollbacks_armed", "Temporary changes that revert by themselves", sample.armed),
        ] {
            self.gauge(name, help, value);
        }
        self.counter(
            "overloads",
            "Addresses that pf has put into an overload table since it was enabled",
            sample.overloads,
        );
    }

    fn add_exposure(&mut self, exposure: &Exposure) {
        self.gauges(
            "exposure_state",
            "1 for the state of the exposure, 0 for the others",
            State::ALL.map(|state| {
                let labels = vec![("state", state.name().to_owned())];
                (labels, u64::from(state == exposure.state))
            }),
        );
        let mut codes: Vec<&str> = exposure.why.iter().map(|finding| finding.code).collect();
        codes.sort_unstable();
        codes.dedup();
        self.gauges(
            "exposure_finding",
            "1 for each finding about the exposure, by its code in `kmsctl expose show`",
            codes.into_iter().map(|code| (vec![("code", code.to_owned())], 1)),
        );
        let sides = [("configured", exposure.caps.configured), ("loaded", exposure.caps.loaded)];
        self.gauges(
            "cap",
            "The caps per source; what is not capped is absent",
            sides.into_iter().flat_map(|(side, caps)| {
                cap_values(caps.unwrap_or_default()).map(move |(cap, value)| {
                    let labels = vec![("cap", cap.to_owned()), ("side", side.to_owned())];
                    (labels, value)
                })
            }),
        );
        let parts =
            [("forward", &exposure.nat), ("pass", &exposure.filter), ("block", &exposure.block)];
        let counted = |value: fn(&crate::domain::exposure::Counters) -> u64| {
            parts.iter().filter_map(move |(rule, part)| {
                let labels = vec![("rule", (*rule).to_owned())];
                Some((labels, value(part.counters.as_ref()?)))
            })
        };
        self.counters("rule_evaluations", "Looks at a rule", counted(|c| c.evaluations));
        self.counters("rule_packets", "Packets of a rule and its states", counted(|c| c.packets));
        self.counters("rule_bytes", "Bytes of a rule and its states", counted(|c| c.bytes));
        self.counters(
            "rule_state_creations",
            "States that a rule made since it was loaded last",
            counted(|c| c.state_creations),
        );
        self.gauges(
            "rule_states",
            "Present states that a rule made since it was loaded last",
            counted(|c| c.states),
        );
    }

    fn gauge(&mut self, name: &str, help: &str, value: Option<u64>) {
        self.add_value(name, help, value, set_gauge);
    }

    fn counter(&mut self, name: &str, help: &str, value: Option<u64>) {
        self.add_value(name, help, value, raise_counter);
    }

    fn gauges(&mut self, name: &str, help: &str, series: impl IntoIterator<Item = (Labels, u64)>) {
        self.add_series(name, help, series, set_gauge);
    }

    fn counters(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (Labels, u64)>,
    ) {
        self.add_series(name, help, series, raise_counter);
    }

    fn add_value<M: Metric + Default>(
        &mut self,
        name: &str,
        help: &str,
        value: Option<u64>,
        set: fn(&M, u64),
    ) {
        if let Some(value) = value {
            let metric = M::default();
            set(&metric, value);
            self.0.register(name, help, metric);
        }
    }

    fn add_series<M: Metric + TypedMetric + Clone + Default>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (Labels, u64)>,
        set: fn(&M, u64),
    ) {
        let family = Family::<Labels, M>::default();
        let mut series = series.into_iter().peekable();
        if series.peek().is_none() {
            return;
        }
        for (labels, value) in series {
            set(&family.get_or_create(&labels), value);
        }
        self.0.register(name, help, family);
    }
}

fn set_gauge(gauge: &Gauge, value: u64) {
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
}

fn raise_counter(counter: &Counter, value: u64) {
    counter.inc_by(value);
}

fn cap_values(caps: Caps) -> impl Iterator<Item = (&'static str, u64)> {
    let rate = caps.rate;
    [
        ("connections", caps.max_src_conn),
        ("rate-connections", rate.map(|rate| rate.connections)),
        ("rate-seconds", rate.map(|rate| rate.seconds)),
    ]
    .into_iter()
    .filter_map(|(cap, value)| Some((cap, u64::from(value?))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_read_is_absent() {
        let pages = FirewallPages::new(Duration::from_secs(60));
        let page = pages.print_page(false);
        assert!(page.contains("kmsctl_up 0\n"), "{page}");
        assert!(!page.contains("blocked") && !page.contains("exposure"), "{page}");
        let now = Instant::now();
        assert!(pages.check_readiness(now).is_err() && pages.check_health(now).is_err());

        let answers = vec![("rules", true), ("table", true)];
        let sample =
            FirewallSample { at: 1_790_000_000, blocked: Some(3), answers, ..Default::default() };
        pages.note_beat(now);
        pages.note_sample(sample, now);
        let page = pages.print_page(false);
        for line in [
            "kmsctl_up 1",
            "kmsctl_blocked_entries 3",
            "kmsctl_last_look_timestamp_seconds 1790000000",
        ] {
            assert!(page.lines().any(|other| other == line), "{line} in\n{page}");
        }
        assert!(!page.contains("customers") && !page.contains("expiry"), "{page}");
        assert_eq!(pages.check_readiness(now), Ok(()));
        let later = now + Duration::from_secs(61);
        assert!(pages.check_readiness(later).is_err() && pages.check_health(later).is_err());

        let answers = vec![("rules", false), ("states", true), ("table", false)];
        let blind =
            FirewallSample { list_unread: true, answers, armed: Some(1), ..Default::default() };
        pages.note_sample(blind, now + Duration::from_secs(30));
        let in_a_minute = now + Duration::from_secs(60);
        let page = print_registry(&Page::of_seen(&pages.lock(), in_a_minute).0, false);
        for line in [
            "kmsctl_up 0",
            "kmsctl_down{reason=\"unread\"} 1",
            "kmsctl_looks_unanswered_total 0",
            "kmsctl_rollbacks_armed 1",
            "kmsctl_unread{answer=\"rules\"} 1",
            "kmsctl_unread{answer=\"table\"} 1",
            "kmsctl_answer_age_seconds{answer=\"table\"} 60",
            "kmsctl_answer_age_seconds{answer=\"states\"} 30",
        ] {
            assert!(page.lines().any(|other| other == line), "{line} in\n{page}");
        }
        assert!(pages.check_readiness(now).is_err() && pages.check_health(now).is_ok());

        pages.note_down("refused");
        let page = pages.print_page(false);
        assert!(
            page.contains("kmsctl_up 0\n") && page.contains("kmsctl_down{reason=\"refused\"} 1\n")
        );
        assert!(page.contains("last_look") && !page.contains("blocked_entries"), "{page}");
        assert!(pages.check_readiness(now).is_err());
    }
}
