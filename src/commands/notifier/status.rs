//! `kmsctl notifier status`: is it alive, is it behind, who was here.

use jiff::Timestamp;

use super::gather::{self, Wish};
use crate::app::Context;
use crate::commands::verify;
use crate::domain::notifier::event_log::Held;
use crate::domain::notifier::health::{
    ContainerReport, Health, PodReport, Report, judge_pipeline, waiting_messages,
};
use crate::domain::reachability::finding::CheckResult;
use crate::domain::virusprot::entries::age_seconds;
use crate::error::{Failure, FailureKind, Result};
use crate::terminal::human::{format_bytes, format_count, format_span};
use crate::terminal::{Human, Tone, View};

/// Runs `kmsctl notifier status`. Fails with [`FailureKind::No`] when something is wrong, with [`FailureKind::Inconclusive`] when
/// nobody can tell.
pub async fn run_notifier_status(context: &Context) -> Result<()> {
    let kubectl = gather::configured_kubectl(context)?;
    let asked = gather::gather_pipeline(context, &kubectl, Wish::EVERYTHING);
    let gathered = Box::pin(gather::kubectl_or_interrupt(context, asked)).await?;
    let now = gathered.now;
    let report = judge_pipeline(&gathered.evidence(&context.settings.cluster.names));
    let mut view = View::new("notifier.status", now, &report)?;
    view.items = Some((
        "pods",
        &[
            "name",
            "node",
            "phase",
            "ready",
            "health",
            "version",
            "notifier.image",
            "notifier.restarts",
            "notifier.state",
        ],
    ));
    for_people(&mut view.human, &report, now);
    context.terminal.show(&view)?;
    conclude_health(&report)
}

fn conclude_health(report: &Report) -> Result<()> {
    match (report.outcome(), report.health) {
        (_, Health::Dead | Health::Behind) => Err(Failure::new(
            FailureKind::No,
            format!("The notifier is {}: {}.", report.health.name(), report.why),
        )),
        (CheckResult::Wrong, _) => Err(Failure::new(
            FailureKind::No,
            format!("Something is wrong: {}.", report.faults().join(", ")),
        )),
        (_, Health::Unknown) => Err(Failure::new(
            FailureKind::Inconclusive,
            format!("Nobody can tell how the notifier is: {}.", report.why),
        )),
        (_, Health::Ok | Health::Idle) => Ok(()),
    }
}

fn for_people(human: &mut Human, report: &Report, now: Timestamp) {
    let tone = match report.health {
        Health::Ok => Tone::Good,
        Health::Idle | Health::Unknown => Tone::Warning,
        Health::Behind | Health::Dead => Tone::Bad,
    };
    let health = match report.health {
        Health::Dead | Health::Behind => report.health.name().to_uppercase(),
        other => other.name().to_owned(),
    };
    human.field("Health", format!("{health}: {}", report.why), tone);
    for pod in &report.pods {
        pod_lines(human, pod, now);
    }
    reading_line(human, report, now);
    slack_line(human, report, now);
    counts_lines(human, report, now);
    let interesting: Vec<_> = report
        .findings
        .iter()
        .filter(|finding| finding.result != CheckResult::Ok)
        .cloned()
        .collect();
    if !interesting.is_empty() {
        human.gap();
        verify::for_people(human, &interesting);
    }
}

fn time_ago(at: Timestamp, now: Timestamp) -> String {
    format!("{} ago", format_span(age_seconds(at, now)))
}

fn pod_lines(human: &mut Human, pod: &PodReport, now: Timestamp) {
    let node = pod.node.as_ref().map(|node| format!(" on {node}"));
    let phase = pod.phase.as_ref().map(|phase| format!(", {phase}"));
    let ready = match pod.ready {
        Some(true) => ", ready",
        Some(false) => ", not ready",
        None => "",
    };
    human.field(
        "Pod",
        format!(
            "{}{}{}{ready}",
            pod.name,
            node.unwrap_or_default(),
            phase.unwrap_or_default()
        ),
        if pod.ready == Some(false) {
            Tone::Warning
        } else {
            Tone::Plain
        },
    );
    let version = pod
        .version
        .as_ref()
        .map(|version| format!("kmsctl {version}, "));
    for (label, container, version) in [
        ("Notifier", &pod.notifier, version.unwrap_or_default()),
        ("Server", &pod.server, String::new()),
    ] {
        if let Some(container) = container {
            human.field(
                label,
                version + &container_line(container, now),
                if container.ready {
                    Tone::Plain
                } else {
                    Tone::Bad
                },
            );
        }
    }
}

fn container_line(container: &ContainerReport, now: Timestamp) -> String {
    let mut text = format!("{}, {}", container.image, container.state);
    if let Some(at) = container.started_at {
        text.push_str(&format!(" since {}", format_span(age_seconds(at, now))));
    }
    text.push_str(&match container.restarts {
        0 => ", no restarts".to_owned(),
        1 => ", 1 restart".to_owned(),
        count => format!(", {count} restarts"),
    });
    if let Some(ended) = &container.last_exit {
        let when = container
            .last_exit_at
            .map(|at| format!(" {}", time_ago(at, now)));
        text.push_str(&format!(" (before: {ended}{})", when.unwrap_or_default()));
    }
    text
}

fn reading_line(human: &mut Human, report: &Report, now: Timestamp) {
    let Some(lag) = report.lag_bytes else {
        human.field("Reading", "unknown", Tone::Warning);
        return;
    };
    let mut parts = vec![format!("{} behind", format_bytes(lag))];
    if lag > 0
        && let Some(seconds) = report.lag_seconds
    {
        parts.push(format!("that is {}", format_span(seconds)));
    }
    parts.push(match report.last_line {
        Some(at) => format!("last line {}", time_ago(at, now)),
        None => "no line yet".to_owned(),
    });
    if let Some(rate) = report.rates.lines.filter(|rate| *rate > 0.0) {
        parts.push(format!("{rate} lines/s just now"));
    }
    human.field("Reading", parts.join(", "), Tone::Plain);
}

fn slack_line(human: &mut Human, report: &Report, now: Timestamp) {
    let Some(waiting) = report.outbox else {
        return;
    };
    let waits = waiting_messages(waiting);
    let last = match report.last_post {
        Some(at) => format!("last message {}", time_ago(at, now)),
        None => "no message yet".to_owned(),
    };
    let ends: Vec<String> = report
        .posts
        .iter()
        .filter(|(_, times)| **times > 0)
        .map(|(end, times)| format!("{} {}", format_count(*times), end.replace('_', " ")))
        .collect();
    let ends = if ends.is_empty() {
        String::new()
    } else {
        format!("; since start: {}", ends.join(", "))
    };
    human.field("Slack", format!("{waits}, {last}{ends}"), Tone::Plain);
}

fn counts_lines(human: &mut Human, report: &Report, now: Timestamp) {
    if let Some(total) = report.activations.total {
        let held = report.activations.held_back.unwrap_or_default();
        let refused = match report.activations.refused {
            Some(refused) if refused > 0 => format!(", {} refused", format_count(refused)),
            _ => String::new(),
        };
        human.field(
            "Since start",
            format!(
                "{} activations, {} more held back as repeats{refused}{}",
                format_count(total),
                format_count(held),
                report
                    .probes
                    .as_ref()
                    .map_or_else(String::new, |probes| format!("; {}", probes_text(probes)))
            ),
            Tone::Plain,
        );
    }
    match &report.last_hour {
        Some(hour) => human.field("Last hour", held_text(hour), Tone::Plain),
        None => human.field("Last hour", "unknown", Tone::Warning),
    };
    if let Some(at) = report.activations.last_at {
        let whose = report
            .last_hour
            .as_ref()
            .and_then(|hour| hour.last_activation.as_ref());
        let whose = whose.map_or_else(String::new, |last| {
            let address = last.address.map(|address| address.to_string());
            let words = [address, last.workstation.clone(), last.product.clone()];
            let words: Vec<String> = words.into_iter().flatten().collect();
            format!(": {}", words.join(", "))
        });
        human.field(
            "Last activation",
            format!("{}{whose}", time_ago(at, now)),
            Tone::Plain,
        );
    }
}

/// Tells probes by class.
pub fn probes_text(probes: &crate::domain::notifier::decide::Probes) -> String {
    format!(
        "probes: {} of nodes, {} of pods, {} from outside",
        format_count(probes.cluster_node),
        format_count(probes.internal_pod),
        format_count(probes.external)
    )
}

/// Tells what a period held.
pub fn held_text(held: &Held) -> String {
    if held.activations == 0 && held.refusals == 0 {
        return "no activation".to_owned();
    }
    let clients = if held.clients == 1 {
        "client"
    } else {
        "clients"
    };
    let class = &held.activations_by_class;
    let classes = [
        (class.external, "from outside"),
        (class.cluster_node, "of nodes"),
        (class.internal_pod, "of pods"),
    ];
    let classes = classes.into_iter().filter(|(times, _)| *times > 0);
    let classes: Vec<String> = classes
        .map(|(times, of)| format!("{} {of}", format_count(times)))
        .collect();
    let mut text = format!(
        "{} activations ({}) by {} {clients}; {} for Slack, {} held back as repeats",
        format_count(held.activations),
        classes.join(", "),
        format_count(held.clients),
        format_count(held.posts),
        format_count(held.duplicates)
    );
    if held.refusals > 0 {
        text.push_str(&format!(", {} refused", format_count(held.refusals)));
    }
    if held.anomalies > 0 {
        text.push_str(&format!(", {} anomalies", format_count(held.anomalies)));
    }
    text
}
