//! One check a function: what the numbers of a living notifier say. Each adds a finding; those of which the health
//! depends return a few words.

use jiff::{SignedDuration, Timestamp};

use super::{Evidence, MetricsReading, Numbers, PodEvidence};
use crate::domain::kms_log::log::IDLE_SECONDS;
use crate::domain::notifier::event_log::Happening;
use crate::domain::reachability::finding::Finding;

/// How long the log may be silent where Kubernetes probes the server: it alone makes two lines each five seconds.
pub(super) const SILENCE: SignedDuration = SignedDuration::from_secs(IDLE_SECONDS);
/// How far behind the log it may be for a moment, in bytes.
const LAG_BYTES: u64 = 1 << 20;
/// How old the last line read may be while there are unread ones, in seconds.
const LAG_SECONDS: u64 = 60;
/// Most seconds between a stamp and the notifier's clock that need no word.
pub const CLOCKS_AGREE: i64 = 60;
/// How long a message may wait while Slack takes none.
const WAITING: SignedDuration = SignedDuration::from_secs(120);
/// How long a full outbox is told as something wrong; as long as its alert fires.
const DROPPED: SignedDuration = SignedDuration::from_hours(1);

pub(super) fn lag_seconds(numbers: &Numbers, now: Timestamp) -> Option<u64> {
    match (numbers.lag_bytes?, numbers.last_line) {
        (0, _) => Some(0),
        (_, Some(line)) => u64::try_from(now.duration_since(line).as_secs()).ok(),
        (_, None) => None,
    }
}

/// Judges a log that cannot be read; returns the words for it. One that does not exist yet is looked at and is silent.
pub(super) fn unreadable_log(
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
    if looks {
        return None;
    }
    // The notifier's own words, said once when it began.
    let told = evidence.log.iter().flatten();
    let words = told.filter_map(|told| {
        let text = told
            .text
            .as_deref()
            .filter(|_| told.event == Happening::Note)?;
        let own = text.starts_with("The log ") && text.contains(" cannot be read: ");
        own.then_some((told.at, text))
    });
    let words = words.max_by_key(|(at, _)| *at);
    findings.push(Finding::wrong(
        "log",
        words.map_or("The notifier cannot read the log.", |(_, text)| text),
        "notifier.log must name the server's log, a file that the notifier's account may read on a volume that both containers mount. `kmsctl notifier logs` has the notifier's words.",
    ));
    Some("it runs, and cannot read the log".to_owned())
}

pub(super) fn reading_lag(
    before: &Numbers,
    latest: &MetricsReading,
    now: Timestamp,
    findings: &mut Vec<Finding>,
) -> Option<String> {
    let bytes = latest.numbers.lag_bytes?;
    let seconds = lag_seconds(&latest.numbers, now).unwrap_or_default();
    let stays = before.lag_bytes.is_some_and(|before| before > 0);
    if bytes <= LAG_BYTES && (seconds <= LAG_SECONDS || !stays) {
        findings.push(Finding::ok(
            "lag",
            format!("{bytes} bytes of the log are not read yet."),
        ));
        return None;
    }
    findings.push(Finding::wrong(
        "lag",
        format!("{bytes} bytes of the log are not read; the last line read is {seconds} s old."),
        "Is the container short of CPU (`kubectl top pod --containers`), or is the log flooded? `kmsctl states` tells from where.",
    ));
    Some(format!("{bytes} bytes of the log are not read"))
}

pub(super) fn outbox_trouble(
    before: &Numbers,
    latest: &MetricsReading,
    findings: &mut Vec<Finding>,
) -> Option<String> {
    let waiting = latest.numbers.outbox?;
    let words = waiting_messages(waiting);
    let stays = waiting > 0 && before.outbox.is_some_and(|before| before > 0);
    let old = latest
        .numbers
        .last_post
        .is_none_or(|at| latest.at.duration_since(at) > WAITING);
    if !(stays && old) {
        let text = format!("For Slack {words}.");
        findings.push(Finding::ok("outbox", text));
        return None;
    }
    let since = latest.numbers.last_post.map_or_else(
        || "none yet".to_owned(),
        |at| format!("the last one at {at}"),
    );
    findings.push(Finding::wrong(
        "outbox",
        format!("{words}, and Slack takes none ({since})."),
        "`kmsctl notifier logs` tells what Slack answers; can the pod reach hooks.slack.com? They are kept, also through a restart.",
    ));
    Some(format!("{words} for Slack"))
}

/// Renders how many messages wait.
pub fn waiting_messages(count: u64) -> String {
    match count {
        0 => "nothing waits".to_owned(),
        1 => "1 message waits".to_owned(),
        count => format!("{count} messages wait"),
    }
}

/// Judges whether there is anybody to tell; returns the words for it.
pub(super) fn webhook_trouble(numbers: &Numbers, findings: &mut Vec<Finding>) -> Option<String> {
    // A notifier that does not tell may have one.
    if numbers.configured != Some(false) {
        return None;
    }
    findings.push(Finding::wrong(
        "webhook",
        "The notifier has no webhook: it counts, and tells nobody.",
        "Give it notifier.webhook_file or SLACK_WEBHOOK_URL; `kmsctl notifier manifest` has the Secret and where it is mounted.",
    ));
    Some("nobody is told, as there is no webhook".to_owned())
}

/// Judges what became of the messages: of what went wrong since the start only what is not over yet.
pub(super) fn posting_trouble(
    latest: &MetricsReading,
    findings: &mut Vec<Finding>,
) -> Option<String> {
    let numbers = &latest.numbers;
    let [taken, refused, dropped] = ["ok", "rejected", "dropped"].map(|end| numbers.posted(end));
    let since_taken = |at: Timestamp| numbers.last_post.is_none_or(|taken| at > taken);
    if dropped > 0 {
        let text = format!("{dropped} activations were never told, as the outbox was full");
        // A notifier that does not tell when counts for ever.
        let lasts = numbers
            .last_drop
            .is_none_or(|at| since_taken(at) || latest.at.duration_since(at) < DROPPED);
        let when = numbers
            .last_drop
            .map(|at| format!(", the last time at {at}"));
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

pub(super) fn unparsed_lines(numbers: &Numbers, findings: &mut Vec<Finding>) {
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

/// Judges the server's clock.
pub(super) fn clock(numbers: &Numbers, findings: &mut Vec<Finding>) {
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
    format!("The server's clock is {off:#} {side}; its stamps are not used.")
}

/// Judges a log in which nothing happens; returns the words for it.
pub(super) fn silent_log(
    evidence: &PodEvidence,
    numbers: &Numbers,
    all: &Evidence,
    findings: &mut Vec<Finding>,
) -> Option<String> {
    let probed = evidence
        .pod
        .as_ref()
        .is_some_and(|pod| pod.is_probed(&all.names.server));
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
        (Some(_), Some(age)) => format!("for {} s", age.as_secs()),
        _ => "since it started".to_owned(),
    };
    let text = format!("The server wrote no line {since}.");
    findings.push(if probed {
        Finding::wrong(
            "lines",
            format!("{text} Kubernetes connects to it each few seconds, and each time it writes two."),
            "Does the server write where the notifier reads (`-l` of its arguments, notifier.log)? `kmsctl notifier logs --server` reads the file itself.",
        )
    } else {
        Finding::ok("lines", text)
    });
    Some(format!(
        "it looks at the log, and there was no line {since}"
    ))
}
