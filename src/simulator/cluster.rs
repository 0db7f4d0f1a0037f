//! The cluster behind the simulated firewall: what kubectl prints, by the arguments that kmsctl uses. Healthy, and at
//! one moment always the same; anything that kmsctl would not ask is not answered.

use jiff::{SignedDuration, Timestamp};

mod notifier;
mod timeline;

const SERVICE: &str = include_str!("cluster/service.json");
const PODS: &str = include_str!("cluster/pods.json");
const ENDPOINT_SLICES: &str = include_str!("cluster/endpointslices.json");
const ANNOUNCEMENTS: &str = include_str!("cluster/servicel2statuses.json");
const VERSION: &str = r#"{"clientVersion": {"gitVersion": "v1.33.2"}}"#;
const NOTHING: &str = r#"{"items": []}"#;

/// The moment that the documents have for everything that began.
const BEGAN: &str = "2026-08-20T06:00:00Z";

/// Returns what kubectl would print now.
pub fn answers(words: &[&str], now: Timestamp) -> Option<String> {
    if let ["-n", _, "logs", _, "-c", container, flags @ ..] = words {
        return Some(output(container, flags, now));
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
            return Some(notifier::page(now));
        }
        ["-n", _, "exec", _, "-c", _, "--", "tail", "-n", lines, ..] => {
            return Some(notifier::server_log(lines.parse().ok()?, now));
        }
        _ => return None,
    };
    let began = timeline::started(now).to_string();
    Some(document.replace(BEGAN, &began))
}

/// Answers `kubectl logs`. The server prints nothing: it writes its log into a file.
fn output(container: &str, flags: &[&str], now: Timestamp) -> String {
    if container != "slack-notifier" || flags.contains(&"--previous") {
        return String::new();
    }
    let flag = |name: &str| flags.iter().find_map(|flag| flag.strip_prefix(name));
    let since = flag("--since-time=").and_then(|text| text.parse().ok());
    let since = since.unwrap_or(now - SignedDuration::from_hours(24));
    let text = notifier::output(since, now);
    let lines: Vec<&str> = text.lines().collect();
    let tail = flag("--tail=").and_then(|count| count.parse().ok());
    let skipped = lines.len().saturating_sub(tail.unwrap_or(lines.len()));
    lines
        .into_iter()
        .skip(skipped)
        .map(|line| format!("{line}\n"))
        .collect()
}
