//! The cluster behind the simulated firewall: what kubectl prints, by the arguments that kmsctl uses. Healthy, and at
//! one moment always the same; anything that kmsctl would not ask is not answered.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

mod notifier;
mod timeline;

pub use timeline::is_client;

const SERVICE: &str = include_str!("cluster/service.json");
const PODS: &str = include_str!("cluster/pods.json");
const ENDPOINT_SLICES: &str = include_str!("cluster/endpointslices.json");
const ANNOUNCEMENTS: &str = include_str!("cluster/servicel2statuses.json");
const VERSION: &str = r#"{"clientVersion": {"gitVersion": "v1.33.2"}}"#;
const NOTHING: &str = r#"{"items": []}"#;

/// Seconds between two attempts of a container that crashes: kubelets wait five minutes at most.
const BACK_OFF: i64 = 310;

/// The moment that the documents have for everything that began.
const BEGAN: &str = "2026-08-20T06:00:00Z";

pub fn kubectl_answers(words: &[&str], now: Timestamp, birth: Timestamp) -> Option<String> {
    answer_until(words, now, now, birth)
}

/// Returns what kubectl would print now, were the server gone since [`timeline::crashed_at`].
pub fn answers_without_server(words: &[&str], now: Timestamp, birth: Timestamp) -> Option<String> {
    let died = timeline::crashed_at(now, birth);
    let text = answer_until(words, now, died, birth)?;
    match words {
        ["-n", _, "get", "pods", "-l", ..] => crash_loop(&text, now, died),
        ["-n", _, "get", "endpointslices.discovery.k8s.io", ..] => change_json(&text, |list| {
            let conditions = list.pointer_mut("/items/0/endpoints/0/conditions")?;
            *conditions = json!({"ready": false, "serving": false, "terminating": false});
            Some(())
        }),
        // No node with a Ready endpoint, so no node announces the address (externalTrafficPolicy Local).
        ["-n", _, "get", "servicel2statuses.metallb.io", ..] => Some(NOTHING.to_owned()),
        _ => Some(text),
    }
}

/// Puts the server's container into a crash loop.
fn crash_loop(pods: &str, now: Timestamp, died: Timestamp) -> Option<String> {
    let since = now.duration_since(died).as_secs();
    let last = now - SignedDuration::from_secs(since.rem_euclid(BACK_OFF));
    change_json(pods, |list| {
        let status = list.pointer_mut("/items/0/status/containerStatuses/0")?;
        let fields = status.as_object_mut()?;
        fields.insert("ready".to_owned(), json!(false));
        fields.insert("started".to_owned(), json!(false));
        fields.insert("restartCount".to_owned(), json!(since / BACK_OFF));
        let why = json!({"reason": "CrashLoopBackOff", "message": "back-off 5m0s restarting failed container=windows-kms"});
        fields.insert("state".to_owned(), json!({"waiting": why}));
        let ended =
            json!({"exitCode": 1, "reason": "Error", "startedAt": last, "finishedAt": last});
        fields.insert("lastState".to_owned(), json!({"terminated": ended}));
        let conditions = list.pointer_mut("/items/0/status/conditions")?;
        for condition in conditions.as_array_mut()? {
            let fields = condition.as_object_mut()?;
            fields.insert("status".to_owned(), json!("False"));
            fields.insert("lastTransitionTime".to_owned(), json!(died));
        }
        Some(())
    })
}

fn change_json(text: &str, change: impl FnOnce(&mut Value) -> Option<()>) -> Option<String> {
    let mut list: Value = serde_json::from_str(text).ok()?;
    change(&mut list)?;
    serde_json::to_string(&list).ok()
}

/// Answers for a server at which nothing happens after `until`.
fn answer_until(
    words: &[&str],
    now: Timestamp,
    until: Timestamp,
    birth: Timestamp,
) -> Option<String> {
    if let ["-n", _, "logs", _, "-c", container, flags @ ..] = words {
        return Some(container_output(container, flags, (now, until), birth));
    }
    let document = match words {
        ["version", "--client", "-o", "json"] => VERSION,
        ["-n", _, "auth", "can-i", ..] => "yes\n",
        ["-n", _, "get", "services", _, "-o", "json"] => SERVICE,
        ["-n", _, "get", "events", ..] => NOTHING,
        ["-n", _, "get", resource, "-l", _, "-o", "json"] => match *resource {
            "pods" => PODS,
            "endpointslices.discovery.k8s.io" => ENDPOINT_SLICES,
            "servicel2statuses.metallb.io" => ANNOUNCEMENTS,
            _ => return None,
        },
        ["get", "--raw", path] if path.ends_with(":9101/proxy/metrics") => {
            return Some(notifier::metrics_page(now, until, birth));
        }
        ["-n", _, "exec", _, "-c", _, "--", "tail", "-n", lines, ..] => {
            return Some(notifier::server_log(lines.parse().ok()?, until, birth));
        }
        _ => return None,
    };
    let began = timeline::started_at(now, birth).to_string();
    Some(document.replace(BEGAN, &began))
}

/// Answers `kubectl logs`. The server prints nothing: it writes its log into a file.
fn container_output(
    container: &str,
    flags: &[&str],
    (now, until): (Timestamp, Timestamp),
    birth: Timestamp,
) -> String {
    if container != "slack-notifier" || flags.contains(&"--previous") {
        return String::new();
    }
    let flag = |name: &str| flags.iter().find_map(|flag| flag.strip_prefix(name));
    let since = flag("--since-time=").and_then(|text| text.parse().ok());
    let since = since.unwrap_or(now - SignedDuration::from_hours(24));
    let text = notifier::notifier_output(since, now, until, birth);
    let lines: Vec<&str> = text.lines().collect();
    let tail = flag("--tail=").and_then(|count| count.parse().ok());
    let skipped = lines.len().saturating_sub(tail.unwrap_or(lines.len()));
    lines.into_iter().skip(skipped).map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::kms_log::line::LogLines;
    use crate::domain::kms_log::{KmsEvent, Log};
    use crate::domain::notifier::event_log::{EventRecord, Held, split_kubectl_stamp};
    use crate::domain::notifier::health::MetricsReading;

    #[test]
    fn output_log_and_counters_tell_one_story() {
        let now: Timestamp = "2026-03-01T12:21:34Z".parse().unwrap();
        let words = [
            "-n",
            "kms",
            "logs",
            "pod",
            "-c",
            "slack-notifier",
            "--since-time=2026-02-27T06:00:00Z",
        ];
        let said: Vec<EventRecord> = kubectl_answers(&words, now, now)
            .unwrap()
            .lines()
            .map(|line| {
                let (at, line) = split_kubectl_stamp(line);
                EventRecord::read_line(line, at)
            })
            .collect();
        let everything = Held::tally_since(&said, Timestamp::UNIX_EPOCH);
        let page = kubectl_answers(&["get", "--raw", "/x:9101/proxy/metrics"], now, now).unwrap();
        let numbers = MetricsReading::from_page(&page, now).numbers;
        assert_eq!(numbers.probes, Some(everything.probes));
        assert_eq!(numbers.let_through, Some(everything.posts));
        assert_eq!(numbers.held_back, Some(everything.duplicates));
        assert!(everything.posts > 0 && everything.duplicates > 0);
        let file = kubectl_answers(
            &["-n", "kms", "exec", "pod", "-c", "windows-kms", "--", "tail", "-n", "100000", "f"],
            now,
            now,
        );
        let (mut lines, mut log, mut events) = (LogLines::default(), Log::default(), Vec::new());
        lines.feed_chunk(file.unwrap().as_bytes(), |line| {
            log.read_line(line, &mut events);
        });
        let day = Held::tally_since(
            &said,
            now - SignedDuration::from_hours(24) + SignedDuration::from_nanos(1),
        );
        let requests = events.iter().filter(|event| matches!(event, KmsEvent::Request(_))).count();
        assert_eq!((requests as u64, log.tally.unparsed), (day.activations, 0));
        let probes = day.probes.internal_pod + day.probes.cluster_node + day.probes.external;
        assert_eq!((events.len() - requests) as u64, probes);
    }
}
