//! The judgement: evidence in, a report with findings out.

use jiff::{SignedDuration, Timestamp};

use super::around::{client_addresses, kubernetes_warnings};
use super::checks::{
    SILENCE, clock as server_clock, lag_seconds, outbox_trouble, posting_trouble, reading_lag,
    silent_log, unparsed_lines, unreadable_log, waiting_messages, webhook_trouble,
};
use super::{
    Activations, ContainerReport, Evidence, Health, MetricsReading, NoPage, Numbers, PodEvidence,
    PodReport, Rates, Report,
};
use crate::domain::notifier::event_log::Held;
use crate::domain::notifier::prometheus::growth_per_second;
use crate::domain::reachability::finding::Finding;

/// A restart within this time is told as something wrong.
const RECENT: SignedDuration = SignedDuration::from_hours(1);
/// Judges everything.
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
    let told = pods.iter().filter_map(|pod| pod.log.as_ref().ok());
    let heard = told.clone().next().is_some();
    let hour = evidence.now - SignedDuration::from_hours(1);
    let last_hour = heard.then(|| Held::since(told.flatten(), hour));
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
    let now = Numbers::total(readings.iter().map(|reading| &reading.numbers));
    Report {
        health,
        why,
        pods: reports,
        lag_bytes: now.lag_bytes,
        lag_seconds: lag_seconds(&now, evidence.now),
        last_line: now.last_line,
        outbox: now.outbox,
        last_post: now.last_post,
        posts: now.posts,
        activations: Activations {
            total: now.activations,
            held_back: now.held_back,
            refused: now.refused,
            last_at: now.last_activation.max(
                last_hour
                    .as_ref()
                    .and_then(|hour| hour.last_activation.as_ref())
                    .map(|last| last.at),
            ),
        },
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
        version: evidence
            .first
            .as_ref()
            .ok()
            .and_then(|reading| reading.numbers.version.clone()),
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
        .and_then(|told| told.iter().filter_map(|told| told.at).max());
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
                        "The container runs, and nobody answers on its metrics port: {}.",
                        trouble.why
                    );
                    Finding::wrong("metrics", text, trouble.fix.clone().unwrap_or_default())
                }
                // What it printed says nothing about now: a process that hangs had printed something, too.
                Some(NoPage::Unanswered) | None => {
                    let text = format!(
                        "The metrics page of {name} does not answer: {}.",
                        trouble.why
                    );
                    let fix = format!(
                        "Does the process hang? `kmsctl notifier logs` has its last words; `kubectl delete pod {name}` starts it anew, and it goes on from its checkpoint."
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
    if let Some(why) = unreadable_log(evidence, reading, findings) {
        return (Health::Behind, why);
    }
    let (Some(last_read), Some(_)) = (numbers.last_read, numbers.lines) else {
        let (health, why) = by_output(heard, all.now, "its metrics do not tell whether it reads");
        findings.push(Finding::unknown(
            "reading",
            "The metrics page is not of `kmsctl notifier run`: it tells neither lag nor outbox, nor whether the log is still read.",
        ).fix("`kmsctl runbook notifier` tells what replaces it."));
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
            format!("Look at its words: `kmsctl notifier logs`. `kubectl delete pod {}` starts it anew; it goes on from its checkpoint.", evidence.name),
        ));
        return (
            Health::Dead,
            "it answers, but no longer reads the log".to_owned(),
        );
    }
    let behind = [
        reading_lag(&reading.numbers, latest, all.now, findings),
        outbox_trouble(&reading.numbers, latest, findings),
    ];
    let unheard = [
        webhook_trouble(numbers, findings),
        posting_trouble(latest, findings),
    ];
    unparsed_lines(numbers, findings);
    server_clock(numbers, findings);
    let silent = silent_log(evidence, numbers, all, findings);
    if let Some(why) = behind.into_iter().flatten().next() {
        return (Health::Behind, why);
    }
    if let Some(why) = silent {
        return (Health::Idle, why);
    }
    let mut unheard = unheard.into_iter().flatten();
    let slack = unheard
        .next()
        .unwrap_or_else(|| waiting_messages(numbers.outbox.unwrap_or_default()));
    (Health::Ok, format!("it reads the log, and {slack}"))
}

/// Judges by its output alone, where the page cannot tell.
fn by_output(heard: Option<Timestamp>, now: Timestamp, why: &str) -> (Health, String) {
    match heard {
        Some(at) if now.duration_since(at) <= SILENCE => (
            Health::Ok,
            format!("{why}, but it printed something at {}", clock_time(at)),
        ),
        Some(at) => (
            Health::Unknown,
            format!("{why}, and the last thing it printed is of {at}"),
        ),
        None => (Health::Unknown, format!("{why}, nor anything it printed")),
    }
}

fn clock_time(at: Timestamp) -> String {
    at.strftime("%H:%M:%S UTC").to_string()
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
                format!("Which container, and why: `kubectl describe pod {name}`, by somebody who may get pods."),
            ));
        }
        return None;
    };
    for name in [&all.names.server, &all.names.notifier] {
        let Some(status) = pod.container(name) else {
            continue;
        };
        let report = ContainerReport::of(status);
        let recent = report
            .last_exit_at
            .is_some_and(|at| all.now.duration_since(at) < RECENT);
        let text = format!("{name} in {}: {}.", evidence.name, status.standing());
        if report.state != "running" || (status.restart_count > 0 && recent) {
            let ended = report.last_exit.as_ref();
            let ended = ended.map_or(String::new(), |ended| format!(" It ended with {ended}."));
            findings.push(Finding::wrong(
                "container",
                text + &ended,
                format!(
                    "Read why: `kubectl logs {} -c {name} --previous`.",
                    evidence.name
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
                growth_per_second(before.sum(name)?, now.sum(name)?, seconds)
            })
            .peekable();
        rates.peek()?;
        Some((rates.sum::<f64>() * 100.0).round() / 100.0)
    };
    Rates {
        lines: grown("kms_log_lines_total"),
        posts: grown("kms_slack_posts_total"),
    }
}
