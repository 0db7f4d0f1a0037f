//! Is the notifier alive, is it behind, and can its answers be trusted? Judges what Kubernetes, the notifier's metrics
//! page and its output say; each may be missing alone. `kubectl` fetches them.

use super::decide::Probes;
use super::event_log::{EventRecord, Held, Last};
use crate::domain::cluster::objects::{
    ContainerStatus, KubernetesEvent, KubernetesService, ObjectNames, Pod, pod_word,
};
use crate::domain::notifier::event_log::EventKind;
use crate::domain::notifier::prometheus::{Page, growth_per_second};
use crate::domain::notifier::source::ClientSource;
use crate::domain::reachability::finding::{CheckResult, Finding};
use crate::domain::reachability::path::{Known, Trouble};
use crate::text::{format_bytes, format_span, whole_second, word_enum};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use std::collections::BTreeMap;

/// A warning of Kubernetes within this time is a fault.
const FRESH: SignedDuration = SignedDuration::from_mins(10);

/// The least requests that let one conclude anything from where they come.
const REQUESTS: u64 = 2;

/// How long the log may be silent where Kubernetes probes the server: it alone makes two lines each five seconds.
const SILENCE: SignedDuration = SignedDuration::from_secs(120);

/// How far behind the log it may be for a moment, in bytes.
const LAG_BYTES: u64 = 1 << 20;

/// How old the last line read may be while there are unread ones, in seconds.
const LAG_SECONDS: u64 = 60;

/// Most seconds between a stamp and the notifier's clock that need no word.
pub const CLOCKS_AGREE: i64 = 60;

/// How long a message may wait while Slack takes none.
const WAITING: SignedDuration = SignedDuration::from_secs(120);

/// How long a full outbox is a fault: as long as its alert fires.
const DROPPED: SignedDuration = SignedDuration::from_hours(1);

/// A restart within this time is a fault.
const RECENT: SignedDuration = SignedDuration::from_hours(1);

word_enum! {
    #[derive(PartialOrd, Ord)]
    pub enum Health {
        Ok = "ok",
        Idle = "idle",
        Unknown = "unknown",
        /// It lives, and does not keep up: with the log, or with Slack.
        Behind = "behind",
        /// It does not run, or stands still.
        Dead = "dead",
    }
}

/// Why a metrics page could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPage {
    /// This login may not.
    Forbidden,
    /// No process listens on its port.
    Silent,
    /// It was asked for, and no whole page came in time.
    Unanswered,
}

#[derive(Clone, Debug)]
pub struct PodEvidence {
    pub name: String,
    /// What Kubernetes says about it; `None` where only its name is known.
    pub pod: Option<Pod>,
    /// Whether it is ready, by itself or by the endpoints of the Service.
    pub ready: Option<bool>,
    pub first: Known<MetricsReading>,
    /// Why that could not be read; `None` where it was.
    pub no_page: Option<NoPage>,
    /// The page a moment later; `None` where it was not asked twice.
    pub second: Option<MetricsReading>,
    pub log: Known<Vec<EventRecord>>,
}

#[derive(Clone, Debug)]
pub struct Evidence<'a> {
    pub names: &'a ObjectNames,
    pub now: Timestamp,
    pub pods: Known<Vec<PodEvidence>>,
    /// Why they could not be listed, though their names are known.
    pub unlisted: Option<Trouble>,
    pub service: Known<KubernetesService>,
    pub events: Known<Vec<KubernetesEvent>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ContainerReport {
    pub image: String,
    pub image_id: String,
    pub ready: bool,
    pub restarts: u64,
    /// `running`, or why it does not run.
    pub state: String,
    pub started_at: Option<Timestamp>,
    /// How it ended before, such as `Error, exit code 1`.
    pub last_exit: Option<String>,
    pub last_exit_at: Option<Timestamp>,
}

impl ContainerReport {
    fn of(status: &ContainerStatus) -> Self {
        let state = &status.state;
        let ended = |ended: &crate::domain::cluster::objects::Terminated| {
            let reason = ended.reason.as_deref().unwrap_or("ended");
            format!("{reason}, exit code {}", ended.exit_code)
        };
        let last = status.last_state.terminated.as_ref();
        Self {
            image: status.image.clone(),
            image_id: status.image_id.clone(),
            ready: status.ready,
            restarts: status.restart_count,
            state: if state.running.is_some() {
                "running".to_owned()
            } else if let Some(waiting) = &state.waiting {
                waiting.reason.clone().unwrap_or("waiting".to_owned())
            } else {
                state.terminated.as_ref().map_or("unknown".to_owned(), ended)
            },
            started_at: state.running.as_ref().and_then(|running| running.started_at),
            last_exit: last.map(ended),
            last_exit_at: last.and_then(|last| last.finished_at),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PodReport {
    pub name: String,
    pub node: Option<String>,
    /// `Running`, `Pending`, ….
    pub phase: Option<String>,
    /// All of its containers are; by the endpoints of the Service where pods may not be listed.
    pub ready: Option<bool>,
    pub notifier: Option<ContainerReport>,
    pub server: Option<ContainerReport>,
    pub version: Option<String>,
    pub health: Health,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Activations {
    /// All since the notifier started, also those that the window held back.
    pub total: Option<u64>,
    pub held_back: Option<u64>,
    pub refused: Option<u64>,
    /// The last one.
    pub last_at: Option<Timestamp>,
}

/// Growth per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Rates {
    /// Lines read; the kubelet's probes alone make about 0.5.
    pub lines: Option<f64>,
    pub posts: Option<f64>,
}

/// The judgement; the data of `notifier.status`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    pub health: Health,
    pub why: String,
    pub pods: Vec<PodReport>,
    /// Bytes of the log that are not read.
    pub lag_bytes: Option<u64>,
    /// How old the last line read is, while there are unread ones; else 0.
    pub lag_seconds: Option<u64>,
    /// Stamp of the last line.
    pub last_line: Option<Timestamp>,
    pub outbox: Option<u64>,
    /// When Slack took the last one.
    pub last_post: Option<Timestamp>,
    /// Tries to post since the notifier started, by what became of them.
    pub posts: std::collections::BTreeMap<String, u64>,
    pub activations: Activations,
    /// Probes by class, since the notifier started.
    pub probes: Option<Probes>,
    /// Growth between two looks.
    pub rates: Rates,
    /// What the last hour held, by the notifier's own output; null where that could not be read.
    pub last_hour: Option<Held>,
    pub findings: Vec<Finding>,
}

impl Report {
    /// Returns the checks in which something is wrong, each once.
    pub fn faults(&self) -> Vec<&'static str> {
        let wrong = |finding: &&Finding| finding.result == CheckResult::Wrong;
        let mut names: Vec<&str> = Vec::new();
        for finding in self.findings.iter().filter(wrong) {
            if !names.contains(&finding.check) {
                names.push(finding.check);
            }
        }
        names
    }

    /// Returns what it amounts to: the health first, then every finding.
    pub fn outcome(&self) -> CheckResult {
        match self.health {
            Health::Dead | Health::Behind => CheckResult::Wrong,
            _ if !self.faults().is_empty() => CheckResult::Wrong,
            Health::Unknown => CheckResult::Unknown,
            Health::Ok | Health::Idle => CheckResult::Ok,
        }
    }

    /// Returns the whole as one finding of `doctor`.
    pub fn finding(&self, check: &'static str) -> Finding {
        let wrong = |finding: &&Finding| finding.result == CheckResult::Wrong;
        let mut sentences: Vec<String> =
            self.findings.iter().filter(wrong).map(|finding| finding.evidence.clone()).collect();
        let health = format!("The notifier is {}: {}.", self.health.name(), self.why);
        // The worst stands first.
        match self.health {
            Health::Dead | Health::Behind => sentences.insert(0, health),
            Health::Ok | Health::Idle | Health::Unknown => sentences.push(health),
        }
        let finding = Finding::new(check, self.outcome(), sentences.join(" "));
        match self.outcome() {
            CheckResult::Ok | CheckResult::Skipped => finding,
            CheckResult::Wrong | CheckResult::Unknown => {
                finding.fix("`kmsctl notifier status` shows each fault with its fix.")
            }
        }
    }
}

/// The log's side of `status` and `states`: who was here, by the notifier.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct LogSide {
    /// When the last activation was.
    pub last_activation_at: Option<Timestamp>,
    /// The last activation, where the notifier's output still holds it.
    pub last_activation: Option<Last>,
    /// Activations since the notifier started, repeated ones included.
    pub activations: Option<u64>,
    pub probes: Option<Probes>,
    /// What the last 24 hours held, by the notifier's own output.
    pub last_day: Option<Held>,
    #[serde(skip)]
    pub server_ready: Option<bool>,
    /// What could not be read.
    pub unknown: Vec<String>,
}

impl LogSide {
    pub fn of(pods: &[PodEvidence], now: Timestamp) -> Self {
        let readings = pods.iter().filter_map(|pod| pod.first.as_ref().ok());
        let numbers = Numbers::total_of(readings.map(|reading| &reading.numbers));
        let mut unknown: Vec<String> = Vec::new();
        let mut miss = |what: &str, why: &str| {
            let sentence = format!("{what}: {why}.");
            if !unknown.contains(&sentence) {
                unknown.push(sentence);
            }
        };
        let mut records = Vec::new();
        let mut heard = false;
        for pod in pods {
            if let Err(trouble) = &pod.first {
                miss("The notifier's numbers", &trouble.why);
            }
            match &pod.log {
                Ok(lines) => {
                    heard = true;
                    records.extend(lines);
                }
                Err(trouble) => miss("The notifier's output", &trouble.why),
            }
        }
        let day = now - jiff::SignedDuration::from_hours(24);
        let last_day = heard.then(|| Held::tally_since(records, day));
        let last_activation = last_day.as_ref().and_then(|day| day.last_activation.clone());
        let ready: Vec<Option<bool>> = pods.iter().map(|pod| pod.ready).collect();
        let server_ready = match ready.iter().all(Option::is_some) {
            _ if ready.contains(&Some(true)) => Some(true),
            true if !ready.is_empty() => Some(false),
            _ => None,
        };
        Self {
            server_ready,
            last_activation_at: numbers
                .last_activation
                .max(last_activation.as_ref().map(|last| last.at)),
            last_activation,
            activations: numbers.activations(),
            probes: numbers.probes,
            last_day,
            unknown,
        }
    }
}

/// Judges whether the log still has the clients' own addresses.
fn client_addresses(evidence: &Evidence, pods: &[PodEvidence], findings: &mut Vec<Finding>) {
    const CHECK: &str = "client-addresses";
    let fix = format!(
        "`kubectl patch service {} -p '{{\"spec\":{{\"externalTrafficPolicy\":\"Local\"}}}}'`, and put it into what deploys it.",
        evidence.names.service
    );
    let policy = match &evidence.service {
        Ok(service) => service.spec.external_traffic_policy.as_deref(),
        Err(trouble) => {
            findings.push(trouble.finding(CHECK));
            None
        }
    };
    let records = pods.iter().filter_map(|pod| pod.log.as_ref().ok()).flatten();
    let day = evidence.now - SignedDuration::from_hours(24);
    let held = Held::tally_since(records, day);
    let nodes_only = held.addresses.iter().all(|(source, _)| *source == ClientSource::ClusterNode);
    let hidden = held.activations >= REQUESTS && !held.addresses.is_empty() && nodes_only;
    let addresses: Vec<String> =
        held.addresses.iter().take(3).map(|(_, address)| address.to_string()).collect();
    let seen = format!(
        "All {} activations of the last day come from nodes ({})",
        held.activations,
        addresses.join(", ")
    );
    match policy {
        Some("Local") if hidden => findings.push(Finding::wrong(
            CHECK,
            format!("{seen}: the clients' own addresses are lost on the way, although externalTrafficPolicy is Local."),
            "Was it Cluster until a moment ago? Else something before the Service translates addresses.",
        )),
        Some("Local") => findings.push(Finding::ok(
            CHECK,
            "externalTrafficPolicy is Local: the log has the clients' own addresses.",
        )),
        Some(other) => {
            let also = if hidden { format!(" {seen}.") } else { String::new() };
            findings.push(Finding::wrong(
                CHECK,
                format!("externalTrafficPolicy is {other}: every client from outside looks like a node.{also}"),
                fix,
            ));
        }
        None if hidden => findings.push(Finding::wrong(
            CHECK,
            format!("{seen}: externalTrafficPolicy Local was lost."),
            fix,
        )),
        None => {}
    }
}

/// Adds what Kubernetes warns of about these pods.
fn kubernetes_warnings(evidence: &Evidence, findings: &mut Vec<Finding>) {
    const MOST: usize = 3;
    let events = match &evidence.events {
        Ok(events) => events,
        Err(trouble) => {
            findings.push(trouble.finding("events"));
            return;
        }
    };
    let ours = |name: &str| {
        evidence.pods.as_ref().is_ok_and(|pods| pods.iter().any(|pod| pod.name == name))
    };
    let mut warnings: Vec<_> = events
        .iter()
        .filter(|event| event.kind == "Warning" && ours(&event.involved_object.name))
        .collect();
    warnings.sort_by_key(|event| std::cmp::Reverse(event.last_timestamp));
    let ready = |name: &str| {
        let pods = evidence.pods.as_ref().ok()?;
        pods.iter().find(|pod| pod.name == name)?.ready
    };
    for event in warnings.into_iter().take(MOST) {
        // What a pod went through before it became ready is of no interest any more.
        let fresh = event.last_timestamp.is_some_and(|at| evidence.now.duration_since(at) < FRESH);
        let outcome = match ready(&event.involved_object.name) {
            _ if fresh => CheckResult::Wrong,
            Some(true) => CheckResult::Ok,
            Some(false) => CheckResult::Wrong,
            None => CheckResult::Unknown,
        };
        let at = event.last_timestamp.map(|at| format!(" ({at})")).unwrap_or_default();
        findings.push(Finding::new(
            "events",
            outcome,
            format!("{}: {}{at}", event.reason, event.message),
        ));
    }
}

fn lag_seconds(numbers: &Numbers, now: Timestamp) -> Option<u64> {
    match (numbers.lag_bytes?, numbers.last_line) {
        (0, _) => Some(0),
        (_, Some(line)) => u64::try_from(now.duration_since(line).as_secs()).ok(),
        (_, None) => None,
    }
}

/// Returns the last of the notifier's words that are of one kind.
fn last_note(evidence: &PodEvidence, is_own: impl Fn(&str) -> bool) -> Option<&str> {
    let notes = evidence.log.iter().flatten().filter_map(|record| {
        let text = record.text.as_deref().filter(|_| record.event == EventKind::Note)?;
        is_own(text).then_some((record.at, text))
    });
    notes.max_by_key(|(at, _)| *at).map(|(_, text)| text)
}

/// Judges a log whose lines are not the server's; returns the words for it.
fn foreign_log(
    evidence: &PodEvidence,
    numbers: &Numbers,
    findings: &mut Vec<Finding>,
) -> Option<String> {
    if numbers.understood != Some(false) {
        return None;
    }
    let words = last_note(evidence, |text| {
        text.contains(" of the log ") && text.contains(" is the KMS server's.")
    });
    findings.push(Finding::wrong(
        "log",
        words.unwrap_or("The lines of the log are not the KMS server's."),
        "notifier.log must name the file that vlmcsd writes with `-l`. `kmsctl notifier logs --server` shows its lines.",
    ));
    Some("it reads the log, and understands no line of it".to_owned())
}

/// Judges a log that cannot be read; returns the words for it. One that does not exist yet is looked at and is silent.
fn unreadable_log(
    evidence: &PodEvidence,
    reading: &MetricsReading,
    findings: &mut Vec<Finding>,
) -> Option<String> {
    let latest = evidence.second.as_ref().unwrap_or(reading);
    if latest.numbers.log_open != Some(false) {
        return None;
    }
    let looks = latest.numbers.last_read.is_some_and(|last| {
        if evidence.second.is_some() {
            Some(last) > reading.numbers.last_read
        } else {
            latest.at.duration_since(last) <= SILENCE
        }
    });
    let words =
        |own: &str| last_note(evidence, |text| text.starts_with("The log ") && text.contains(own));
    if looks {
        // One that does not exist yet is only silent.
        latest.numbers.last_line?;
        findings.push(Finding::wrong(
            "log",
            words(" is gone").unwrap_or("The log is gone; the notifier waits for it."),
            "The server makes it anew with its next line. Does it still write where the notifier reads (`-l` of its arguments, notifier.log)?",
        ));
        return Some("it runs, and its log is gone".to_owned());
    }
    // The notifier prints this once, when it begins.
    findings.push(Finding::wrong(
        "log",
        words(" cannot be read: ").unwrap_or("The notifier cannot read the log."),
        "notifier.log must name the server's log, a file that the notifier's account may read on a volume that both containers mount. `kmsctl notifier logs` has the notifier's words.",
    ));
    Some("it runs, and cannot read the log".to_owned())
}

fn reading_lag(
    before: &Numbers,
    latest: &MetricsReading,
    now: Timestamp,
    findings: &mut Vec<Finding>,
) -> Option<String> {
    let bytes = latest.numbers.lag_bytes?;
    let unread = format!("{} of the log are not read", format_bytes(bytes));
    let seconds = lag_seconds(&latest.numbers, now).unwrap_or_default();
    let stays = before.lag_bytes.is_some_and(|before| before > 0);
    if bytes <= LAG_BYTES && (seconds <= LAG_SECONDS || !stays) {
        findings.push(Finding::ok("lag", format!("{unread} yet.")));
        return None;
    }
    findings.push(Finding::wrong(
        "lag",
        format!("{unread}; the last line read is {} old.", format_span(seconds)),
        "Is the container short of CPU (`kubectl top pod --containers`), or is the log flooded? `kmsctl states` shows from where.",
    ));
    Some(unread)
}

fn outbox_trouble(
    before: &Numbers,
    latest: &MetricsReading,
    findings: &mut Vec<Finding>,
) -> Option<String> {
    let waiting = latest.numbers.outbox?;
    let words = waiting_messages(waiting);
    let stays = waiting > 0 && before.outbox.is_some_and(|before| before > 0);
    let old = latest.numbers.last_post.is_none_or(|at| latest.at.duration_since(at) > WAITING);
    if !(stays && old) {
        let text = format!("For Slack {words}.");
        findings.push(Finding::ok("outbox", text));
        return None;
    }
    let since = latest
        .numbers
        .last_post
        .map_or_else(|| "none yet".to_owned(), |at| format!("the last one at {at}"));
    findings.push(Finding::wrong(
        "outbox",
        format!("{words}, and Slack takes none ({since})."),
        "`kmsctl notifier logs` shows what Slack answers; can the pod reach hooks.slack.com? They are kept, also through a restart.",
    ));
    Some(format!("{words} for Slack"))
}

pub fn waiting_messages(count: u64) -> String {
    match count {
        0 => "nothing waits".to_owned(),
        1 => "1 message waits".to_owned(),
        count => format!("{count} messages wait"),
    }
}

/// Judges whether there is a webhook; returns the words for it.
fn webhook_trouble(numbers: &Numbers, findings: &mut Vec<Finding>) -> Option<String> {
    // A notifier that does not report it may have one.
    if numbers.configured != Some(false) {
        return None;
    }
    findings.push(Finding::wrong(
        "webhook",
        "The notifier has no webhook: it counts, and posts nothing.",
        "Give it notifier.webhook_file or SLACK_WEBHOOK_URL; `kmsctl notifier manifest` has the Secret and where it is mounted.",
    ));
    Some("nothing is posted, as there is no webhook".to_owned())
}

/// Judges what became of the messages: of what went wrong since the start only what is not over yet.
fn posting_trouble(latest: &MetricsReading, findings: &mut Vec<Finding>) -> Option<String> {
    let numbers = &latest.numbers;
    let [taken, refused, dropped] =
        ["ok", "rejected", "dropped"].map(|end| numbers.posted_with(end));
    let since_taken = |at: Timestamp| numbers.last_post.is_none_or(|taken| at > taken);
    if dropped > 0 {
        let text = format!("{dropped} activations were never posted, as the outbox was full");
        // Where the notifier does not report when, the fault stays.
        let lasts = numbers
            .last_drop
            .is_none_or(|at| since_taken(at) || latest.at.duration_since(at) < DROPPED);
        let when = numbers.last_drop.map(|at| format!(", the last time at {at}"));
        let text = format!("{text}{}.", when.unwrap_or_default());
        findings.push(if lasts {
            let fix = "`kmsctl notifier logs --activations` still names them.";
            Finding::wrong("posts", text, fix)
        } else {
            Finding::ok("posts", text)
        });
    }
    if refused == 0 {
        return None;
    }
    if numbers.is_renewed {
        findings.push(Finding::ok(
            "posts",
            format!("Slack refused {refused} for good; the webhook is another one since then, and the next message goes there."),
        ));
        return None;
    }
    let refuses = numbers.last_refusal.map_or(taken == 0, since_taken);
    if !refuses {
        findings.push(Finding::ok(
            "posts",
            format!("Slack took {taken} messages and refused {refused} for good."),
        ));
        return None;
    }
    let when = numbers.last_refusal.map(|at| format!(" at {at}"));
    let times = if refused == 1 { "message" } else { "messages" };
    findings.push(Finding::wrong(
        "posts",
        format!(
            "Slack refused the last message{} for good, {refused} {times} since the start.",
            when.unwrap_or_default()
        ),
        "The webhook is wrong or revoked: renew the Secret. `kmsctl notifier logs` has Slack's answer. The messages are lost, the next one is tried.",
    ));
    Some("Slack refuses its messages".to_owned())
}

fn unparsed_lines(numbers: &Numbers, findings: &mut Vec<Finding>) {
    let (Some(lines), Some(unparsed)) = (numbers.lines, numbers.unparsed) else {
        return;
    };
    if unparsed.saturating_mul(100) > lines.max(100) {
        findings.push(Finding::wrong(
            "unparsed",
            format!("{unparsed} of {lines} lines were not understood."),
            "The server's image may have changed: `kmsctl notifier logs --server` shows its lines.",
        ));
    }
}

fn clock_finding(numbers: &Numbers, findings: &mut Vec<Finding>) {
    let Some(skew) = numbers.clock_skew.filter(|skew| skew.abs() > CLOCKS_AGREE) else {
        return;
    };
    findings.push(Finding::wrong(
        "clock",
        clocks_differ(skew),
        "Does the server's container have a time zone (TZ) other than UTC, or a clock of its own? Activations are posted all the same.",
    ));
}

/// Says by how much the server's clock is off; `skew` is positive where it is ahead.
pub fn clocks_differ(skew: i64) -> String {
    let side = if skew < 0 { "behind" } else { "ahead" };
    // By the minute: seconds are the time that the line took.
    let off = SignedDuration::from_mins((skew.abs() + 30) / 60);
    let off = match off.as_hours() {
        hours @ 72.. => format!("{} days", (hours + 12) / 24),
        _ => format!("{off:#}"),
    };
    format!("The server's clock is {off} {side}; its stamps are not used.")
}

/// Judges a log in which nothing happens; returns the words for it.
fn silent_log(
    evidence: &PodEvidence,
    numbers: &Numbers,
    all: &Evidence,
    findings: &mut Vec<Finding>,
) -> Option<String> {
    let probed = evidence.pod.as_ref().is_some_and(|pod| pod.is_probed(&all.names.server));
    let age = numbers.last_line.map(|at| all.now.duration_since(at));
    if age.is_some_and(|age| age < -SILENCE) {
        findings.push(Finding::unknown(
            "lines",
            "The last line of the log is stamped in the future: the server's clock or time zone is another one.",
        ));
        return None;
    }
    if age.is_some_and(|age| age <= SILENCE) {
        return None;
    }
    let since = match (numbers.last_line, age) {
        (Some(_), Some(age)) => format!("for {}", format_span(age.as_secs().unsigned_abs())),
        _ => "since it started".to_owned(),
    };
    let text = format!("The server wrote no line {since}.");
    findings.push(if probed {
        Finding::wrong(
            "lines",
            format!("{text} Kubernetes connects to it every few seconds, and each time it writes two."),
            "Does the server write where the notifier reads (`-l` of its arguments, notifier.log)? `kmsctl notifier logs --server` reads the file itself.",
        )
    } else {
        Finding::ok("lines", text)
    });
    Some(format!("it looks at the log, and there was no line {since}"))
}

pub fn judge_pipeline(evidence: &Evidence) -> Report {
    let mut findings = Vec::new();
    let pods = match &evidence.pods {
        Ok(pods) => pods.as_slice(),
        Err(trouble) => {
            findings.push(trouble.finding("pods"));
            &[]
        }
    };
    if let Some(trouble) = &evidence.unlisted {
        findings.push(trouble.finding("pods"));
    }
    let mut why = Vec::new();
    let reports: Vec<PodReport> = pods
        .iter()
        .map(|pod| {
            let (health, reason) = health_of(pod, evidence, &mut findings);
            why.push((health, reason));
            report_of(pod, evidence, health)
        })
        .collect();
    if evidence.pods.is_ok() && pods.is_empty() {
        let selector = &evidence.names.selector;
        findings.push(Finding::wrong(
            "pods",
            format!("No pod has the label {selector}."),
            format!(
                "`kubectl rollout status deployment/{}`; do cluster.namespace and cluster.selector fit?",
                evidence.names.deployment
            ),
        ));
        why.push((Health::Dead, "there is no pod".to_owned()));
    }
    // A pod that is being replaced may be down while another does the work.
    let living = |health: Health| matches!(health, Health::Ok | Health::Idle | Health::Behind);
    let some_live = why.iter().any(|(health, _)| living(*health));
    let (health, why) = why
        .into_iter()
        .filter(|(health, _)| !some_live || living(*health))
        .max_by_key(|(health, _)| *health)
        .unwrap_or((Health::Unknown, "its pods could not be read".to_owned()));
    let logs = pods.iter().filter_map(|pod| pod.log.as_ref().ok());
    let heard = logs.clone().next().is_some();
    let hour = evidence.now - SignedDuration::from_hours(1);
    let last_hour = heard.then(|| Held::tally_since(logs.flatten(), hour));
    client_addresses(evidence, pods, &mut findings);
    kubernetes_warnings(evidence, &mut findings);
    assemble_report(evidence, pods, reports, (health, why), last_hour, findings)
}

fn assemble_report(
    evidence: &Evidence,
    pods: &[PodEvidence],
    reports: Vec<PodReport>,
    (health, why): (Health, String),
    last_hour: Option<Held>,
    findings: Vec<Finding>,
) -> Report {
    let latest = |pod: &'_ PodEvidence| {
        let first = pod.first.as_ref().ok();
        pod.second.clone().or_else(|| first.cloned())
    };
    let readings: Vec<_> = pods.iter().filter_map(latest).collect();
    let now = Numbers::total_of(readings.iter().map(|reading| &reading.numbers));
    Report {
        health,
        why,
        pods: reports,
        lag_bytes: now.lag_bytes,
        lag_seconds: lag_seconds(&now, evidence.now),
        last_line: now.last_line,
        outbox: now.outbox,
        last_post: now.last_post,
        activations: Activations {
            total: now.activations(),
            held_back: now.held_back,
            refused: now.refused,
            last_at: now.last_activation.max(
                last_hour
                    .as_ref()
                    .and_then(|hour| hour.last_activation.as_ref())
                    .map(|last| last.at),
            ),
        },
        posts: now.posts,
        probes: now.probes,
        rates: event_rates(pods),
        last_hour,
        findings,
    }
}

fn report_of(evidence: &PodEvidence, all: &Evidence, health: Health) -> PodReport {
    let pod = evidence.pod.as_ref();
    let container = |name: &str| pod?.container(name).map(ContainerReport::of);
    PodReport {
        name: evidence.name.clone(),
        node: pod.and_then(|pod| pod.spec.node_name.clone()),
        phase: pod.map(|pod| pod.status.phase.clone()),
        ready: evidence.ready,
        notifier: container(&all.names.notifier),
        server: container(&all.names.server),
        version: evidence.first.as_ref().ok().and_then(|reading| reading.numbers.version.clone()),
        health,
    }
}

/// Judges one pod: how it is, and in a few words why.
fn health_of(
    evidence: &PodEvidence,
    all: &Evidence,
    findings: &mut Vec<Finding>,
) -> (Health, String) {
    if let Some(dead) = container_trouble(evidence, all, findings) {
        return (Health::Dead, dead);
    }
    let heard = evidence
        .log
        .as_ref()
        .ok()
        .and_then(|records| records.iter().filter_map(|record| record.at).max());
    if let Err(trouble) = &evidence.log {
        findings.push(trouble.finding("output"));
    }
    let reading = match &evidence.first {
        Ok(reading) => reading,
        Err(trouble) => {
            let name = &evidence.name;
            let finding = match evidence.no_page {
                Some(NoPage::Forbidden) => trouble.finding("metrics"),
                Some(NoPage::Silent) => {
                    let text = format!(
                        "The container runs, but does not answer on its metrics port: {}.",
                        trouble.why
                    );
                    Finding::wrong("metrics", text, trouble.fix.clone().unwrap_or_default())
                }
                // What it printed says nothing about now: a process that hangs had printed something, too.
                Some(NoPage::Unanswered) | None => {
                    let text =
                        format!("The metrics page of {name} does not answer: {}.", trouble.why);
                    let fix = format!(
                        "Does the process hang? `kmsctl notifier logs` has its last words; `kubectl delete pod {}` starts it anew, and it goes on from its checkpoint.",
                        pod_word(name)
                    );
                    findings.push(Finding::unknown("metrics", text).fix(fix));
                    let why = "its metrics page does not answer";
                    return (Health::Unknown, why.to_owned());
                }
            };
            findings.push(finding);
            return by_output(heard, all.now, "its metrics page cannot be read");
        }
    };
    by_page(evidence, reading, heard, all, findings)
}

/// Judges one pod by its metrics page.
fn by_page(
    evidence: &PodEvidence,
    reading: &MetricsReading,
    heard: Option<Timestamp>,
    all: &Evidence,
    findings: &mut Vec<Finding>,
) -> (Health, String) {
    let latest = evidence.second.as_ref().unwrap_or(reading);
    let numbers = &latest.numbers;
    if let Some(why) = unreadable_log(evidence, reading, findings)
        .or_else(|| foreign_log(evidence, numbers, findings))
    {
        return (Health::Behind, why);
    }
    let (Some(last_read), Some(_)) = (numbers.last_read, numbers.lines) else {
        let (health, why) = by_output(heard, all.now, "its metrics do not say whether it reads");
        findings.push(Finding::unknown(
            "reading",
            "The metrics page is not of `kmsctl notifier run`: it shows neither lag nor outbox, nor whether the log is still read.",
        ).fix("`kmsctl runbook notifier` says what replaces it."));
        return (health, why);
    };
    let moved = evidence.second.is_some().then(|| {
        let before = reading.numbers.last_read;
        before.is_none_or(|before| last_read > before)
    });
    let late = latest.at.duration_since(last_read);
    if moved == Some(false) || (moved.is_none() && late > SILENCE) {
        findings.push(Finding::wrong(
            "reading",
            format!("The loop that reads the log stands still since {last_read}, though the process answers."),
            format!("Look at its words: `kmsctl notifier logs`. `kubectl delete pod {}` starts it anew; it goes on from its checkpoint.", pod_word(&evidence.name)),
        ));
        return (Health::Dead, "it answers, but no longer reads the log".to_owned());
    }
    let behind = [
        reading_lag(&reading.numbers, latest, all.now, findings),
        outbox_trouble(&reading.numbers, latest, findings),
    ];
    let unheard = [webhook_trouble(numbers, findings), posting_trouble(latest, findings)];
    unparsed_lines(numbers, findings);
    clock_finding(numbers, findings);
    let silent = silent_log(evidence, numbers, all, findings);
    if let Some(why) = behind.into_iter().flatten().next() {
        return (Health::Behind, why);
    }
    if let Some(why) = silent {
        return (Health::Idle, why);
    }
    let mut unheard = unheard.into_iter().flatten();
    let slack =
        unheard.next().unwrap_or_else(|| waiting_messages(numbers.outbox.unwrap_or_default()));
    (Health::Ok, format!("it reads the log, and {slack}"))
}

/// Judges by its output alone, where the page does not say.
fn by_output(heard: Option<Timestamp>, now: Timestamp, why: &str) -> (Health, String) {
    match heard {
        Some(at) if now.duration_since(at) <= SILENCE => {
            (Health::Ok, format!("{why}, but it printed something at {}", whole_second(at)))
        }
        Some(at) => (
            Health::Unknown,
            format!("{why}, and the last thing it printed is of {}", whole_second(at)),
        ),
        None => (Health::Unknown, format!("{why}, nor anything it printed")),
    }
}

/// Judges the containers; returns why there can be no notifier at work.
fn container_trouble(
    evidence: &PodEvidence,
    all: &Evidence,
    findings: &mut Vec<Finding>,
) -> Option<String> {
    let Some(pod) = evidence.pod.as_ref() else {
        if evidence.ready == Some(false) {
            let name = &evidence.name;
            findings.push(Finding::wrong(
                "container",
                format!("{name} is not ready, by the endpoints of the Service."),
                format!("Which container, and why: `kubectl describe pod {}`, with a login that may get pods.", pod_word(name)),
            ));
        }
        return None;
    };
    for name in [&all.names.server, &all.names.notifier] {
        let Some(status) = pod.container(name) else {
            continue;
        };
        let report = ContainerReport::of(status);
        let recent = report.last_exit_at.is_some_and(|at| all.now.duration_since(at) < RECENT);
        let text = format!("{name} in {}: {}.", evidence.name, status.standing());
        if report.state != "running" || (status.restart_count > 0 && recent) {
            let ended = report.last_exit.as_ref();
            let ended = ended.map_or(String::new(), |ended| format!(" It ended with {ended}."));
            findings.push(Finding::wrong(
                "container",
                text + &ended,
                format!(
                    "Read why: `kubectl logs {} -c {name} --previous`.",
                    pod_word(&evidence.name)
                ),
            ));
        } else {
            findings.push(Finding::ok("container", text));
        }
    }
    let name = &all.names.notifier;
    let Some(status) = pod.container(name) else {
        findings.push(Finding::wrong(
            "container",
            format!("{} has no container {name}.", evidence.name),
            "Does cluster.notifier_container fit what is deployed?",
        ));
        return Some(format!("{} has no notifier", evidence.name));
    };
    let report = ContainerReport::of(status);
    (report.state != "running").then(|| format!("{name} does not run: {}", report.state))
}

fn event_rates(pods: &[PodEvidence]) -> Rates {
    let pairs = || {
        pods.iter().filter_map(|pod| {
            let (first, second) = (pod.first.as_ref().ok()?, pod.second.as_ref()?);
            let seconds = second.at.duration_since(first.at).as_secs_f64();
            Some((&first.page, &second.page, seconds))
        })
    };
    let grown = |name: &str| {
        let mut rates = pairs()
            .filter_map(|(before, now, seconds)| {
                growth_per_second(before.sum_of(name)?, now.sum_of(name)?, seconds)
            })
            .peekable();
        rates.peek()?;
        Some((rates.sum::<f64>() * 100.0).round() / 100.0)
    };
    Rates { lines: grown("kms_log_lines_total"), posts: grown("kms_slack_posts_total") }
}

#[derive(Clone, Debug, PartialEq)]
pub struct MetricsReading {
    pub at: Timestamp,
    pub page: Page,
    pub numbers: Numbers,
}

impl MetricsReading {
    pub fn from_page(text: &str, at: Timestamp) -> Self {
        let page = Page::parse(text);
        let numbers = Numbers::from_page(&page);
        Self { at, page, numbers }
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Numbers {
    pub version: Option<String>,
    /// Bytes of the log not read.
    pub lag_bytes: Option<u64>,
    pub log_open: Option<bool>,
    /// Whether the log's lines are the server's.
    pub understood: Option<bool>,
    /// When the loop looked at the log last.
    pub last_read: Option<Timestamp>,
    /// Stamp of the last line.
    pub last_line: Option<Timestamp>,
    /// Seconds by which the server's stamps are ahead of the notifier's clock.
    pub clock_skew: Option<i64>,
    pub outbox: Option<u64>,
    pub configured: Option<bool>,
    /// When Slack took the last one.
    pub last_post: Option<Timestamp>,
    /// When Slack refused one for good the last time; later than `last_post` while it took none since.
    pub last_refusal: Option<Timestamp>,
    /// Slack refused none since the webhook's file has this address.
    pub is_renewed: bool,
    /// When the outbox had no room the last time.
    pub last_drop: Option<Timestamp>,
    pub posts: BTreeMap<String, u64>,
    /// Activations outside the window.
    pub let_through: Option<u64>,
    pub held_back: Option<u64>,
    pub refused: Option<u64>,
    /// When the last activation was.
    pub last_activation: Option<Timestamp>,
    pub probes: Option<Probes>,
    pub lines: Option<u64>,
    /// Lines not understood.
    pub unparsed: Option<u64>,
}

impl Numbers {
    pub fn from_page(page: &Page) -> Self {
        let count = |name: &str| page.sum_of(name).and_then(whole_number);
        let time = |name: &str| {
            let seconds = count(name).filter(|seconds| *seconds > 0)?;
            Timestamp::from_second(i64::try_from(seconds).ok()?).ok()
        };
        let labelled = |name: &str, label: &str| -> BTreeMap<String, u64> {
            let values = page.samples_named(name);
            let values = values.filter_map(|sample| {
                Some((sample.label(label)?.to_owned(), whole_number(sample.value)?))
            });
            values.collect()
        };
        let probes = labelled("kms_connection_probes_total", "source");
        let probe = |name: &str| probes.get(name).copied().unwrap_or_default();
        // A series of the script appears at its first event, so a page without one means none.
        let notifier = page.sum_of("kms_slack_notifier_up").is_some();
        let or_none = |number: Option<u64>| number.or_else(|| notifier.then_some(0));
        Self {
            version: page
                .samples_named("kms_notifier_build_info")
                .find_map(|sample| sample.label("version").map(str::to_owned)),
            lag_bytes: count("kms_log_read_lag_bytes"),
            log_open: count("kms_log_open").map(|one| one > 0),
            understood: count("kms_log_understood").map(|one| one > 0),
            last_read: time("kms_log_last_read_timestamp_seconds"),
            last_line: time("kms_log_last_line_timestamp_seconds"),
            clock_skew: page.sum_of("kms_log_clock_skew_seconds").and_then(|skew| {
                let size = i64::try_from(whole_number(skew.abs())?).ok()?;
                Some(if skew < 0.0 { -size } else { size })
            }),
            outbox: count("kms_slack_queue_length"),
            configured: count("kms_slack_configured").map(|one| one > 0),
            last_post: time("kms_slack_last_success_timestamp_seconds"),
            last_refusal: time("kms_slack_last_rejected_timestamp_seconds"),
            is_renewed: count("kms_slack_last_rejected_timestamp_seconds") == Some(0),
            last_drop: time("kms_slack_last_dropped_timestamp_seconds"),
            posts: labelled("kms_slack_posts_total", "result"),
            let_through: or_none(count("kms_activations_total")),
            held_back: or_none(count("kms_activations_dedup_skipped_total")),
            refused: labelled("kms_requests_total", "result").get("refused").copied(),
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

    /// Returns how many activations there were, also those that the window held back.
    pub fn activations(&self) -> Option<u64> {
        let let_through = self.let_through?;
        Some(let_through.saturating_add(self.held_back.unwrap_or_default()))
    }

    /// Adds the pages of several pods: counts are summed, of times the newest counts.
    pub fn total_of<'a>(all: impl IntoIterator<Item = &'a Self>) -> Self {
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
            add(&mut total.let_through, one.let_through);
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
    pub fn posted_with(&self, result: &str) -> u64 {
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

#[cfg(test)]
mod tests;
