//! `kmsctl notifier status`: is it alive, is it behind, who was here.

use crate::app::{Context, work_or_interrupt};
use crate::commands::verify;
use crate::domain::cluster::objects::{KubernetesService, Pod};
use crate::domain::notifier::event_log::{EventKind, EventRecord, Held, split_kubectl_stamp};
use crate::domain::notifier::health::{
    ContainerReport, Evidence, Health, MetricsReading, NoPage, PodEvidence, PodReport, Report,
    judge_pipeline, waiting_messages,
};
use crate::domain::reachability::finding::CheckResult;
use crate::domain::virusprot::entries::age_seconds;
use crate::error::{Failure, FailureKind, Result};
use crate::kubectl::{Kubectl, KubectlError, PodFilter, PodPart};
use crate::terminal::human::left_out_sentence;
use crate::terminal::{Human, Tone, View};
use crate::text::{clean_text, counted, format_bytes, format_span, whole_second};
use crate::vantage::inside::known_answer;
use crate::vantage::{inside, join_in_order};
use jiff::{SignedDuration, Timestamp};
use std::future::Future;
use std::time::Duration;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Most pods that are asked: a deployment in a bad way can have very many.
pub const MOST_PODS: usize = 8;

/// Most lines read of a pod's output. In 24 hours a notifier that echoes probes prints up to 25,000.
const LINES: usize = 30_000;

/// Time between two looks at the numbers: more than a second, as they are whole seconds.
const BETWEEN: Duration = Duration::from_millis(1_600);

const COLUMNS: [StatusColumn; 8] = [
    StatusColumn("AT", 20, 20, 0),
    StatusColumn("EVENT", 10, 23, 0),
    StatusColumn("DECISION", 9, 9, 2),
    StatusColumn("CLIENT", 21, 21, 0),
    StatusColumn("SOURCE", 12, 12, 4),
    StatusColumn("PRODUCT", 12, 34, 1),
    StatusColumn("WORKSTATION", 15, 28, 3),
    StatusColumn("STATUS", 12, 12, 5),
];

const STATUS: usize = 7;

/// Those that take what is left, in this order: product, workstation, event.
const GROWING: [usize; 3] = [5, 6, 1];

/// Those that are never cut: half an address or half a time is worse than none.
const WHOLE: [&str; 2] = ["AT", "CLIENT"];

/// Blanks between two columns.
const COLUMN_GAP: usize = 2;

/// Runs `kmsctl notifier status`. Fails with [`FailureKind::No`] when something is wrong, with [`FailureKind::Inconclusive`] when
/// it is not known.
pub async fn run_notifier_status(context: &Context) -> Result<()> {
    let kubectl = configured_kubectl(context)?;
    let asked = gather_pipeline(context, &kubectl, true);
    let evidence = Box::pin(kubectl_or_interrupt(context, asked)).await?;
    let now = evidence.now;
    let report = judge_pipeline(&evidence);
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
            format!("It is not known how the notifier is: {}.", report.why),
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
        verify::for_people(human, &interesting, None);
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
        format!("{}{}{}{ready}", pod.name, node.unwrap_or_default(), phase.unwrap_or_default()),
        Tone::Plain,
    );
    let version = pod.version.as_ref().map(|version| format!("kmsctl {version}, "));
    for (label, container, version) in [
        ("Notifier", &pod.notifier, version.unwrap_or_default()),
        ("Server", &pod.server, String::new()),
    ] {
        if let Some(container) = container {
            human.field(label, version + &container_line(container, now), Tone::Plain);
        }
    }
}

fn container_line(container: &ContainerReport, now: Timestamp) -> String {
    let mut text = format!("{}, {}", container.image, container.state);
    if let Some(at) = container.started_at {
        text.push_str(&format!(" for {}", format_span(age_seconds(at, now))));
    }
    text.push_str(&match container.restarts {
        0 => ", no restarts".to_owned(),
        1 => ", 1 restart".to_owned(),
        count => format!(", {count} restarts"),
    });
    if let Some(ended) = &container.last_exit {
        let when = container.last_exit_at.map(|at| format!(" {}", time_ago(at, now)));
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
        .map(|(end, times)| format!("{times} {}", end.replace('_', " ")))
        .collect();
    let ends =
        if ends.is_empty() { String::new() } else { format!("; since start: {}", ends.join(", ")) };
    human.field("Slack", format!("{waits}, {last}{ends}"), Tone::Plain);
}

fn counts_lines(human: &mut Human, report: &Report, now: Timestamp) {
    if let Some(total) = report.activations.total {
        let held = report.activations.held_back.unwrap_or_default();
        let refused = match report.activations.refused {
            Some(refused) if refused > 0 => format!("; {refused} refused"),
            _ => String::new(),
        };
        human.field(
            "Since start",
            format!(
                "{}, {held} held back as repeats{refused}{}",
                counted(total, "activation", "activations"),
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
        let whose = report.last_hour.as_ref().and_then(|hour| hour.last_activation.as_ref());
        let whose = whose.map_or_else(String::new, |last| {
            let address = last.address.map(|address| address.to_string());
            let words = [address, last.workstation.clone(), last.product.clone()];
            let words: Vec<String> = words.into_iter().flatten().collect();
            format!(": {}", words.join(", "))
        });
        human.field("Last activation", format!("{}{whose}", time_ago(at, now)), Tone::Plain);
    }
}

pub fn probes_text(probes: &crate::domain::notifier::decide::Probes) -> String {
    format!(
        "probes: {} of nodes, {} of pods, {} from outside",
        probes.cluster_node, probes.internal_pod, probes.external
    )
}

pub fn held_text(held: &Held) -> String {
    if held.activations == 0 && held.refusals == 0 {
        return "no activation".to_owned();
    }
    let class = &held.activations_by_class;
    let classes = [
        (class.external, "from outside"),
        (class.cluster_node, "of nodes"),
        (class.internal_pod, "of pods"),
    ];
    let classes = classes.into_iter().filter(|(times, _)| *times > 0);
    let classes: Vec<String> = classes.map(|(times, of)| format!("{times} {of}")).collect();
    let mut text = format!(
        "{} ({}) by {}; {} for Slack, {} held back as repeats",
        counted(held.activations, "activation", "activations"),
        classes.join(", "),
        counted(held.clients, "client", "clients"),
        held.posts,
        held.duplicates
    );
    if held.refusals > 0 {
        text.push_str(&format!(", {} refused", held.refusals));
    }
    if held.anomalies > 0 {
        text.push_str(&format!(", {}", counted(held.anomalies, "anomaly", "anomalies")));
    }
    text
}

#[derive(Clone, Debug)]
pub struct FoundPod {
    pub name: String,
    /// What Kubernetes says about it; `None` where only endpoints name it.
    pub pod: Option<Pod>,
    pub ready: Option<bool>,
}

/// Returns the way to the cluster, or says how to configure one.
pub fn configured_kubectl(context: &Context) -> Result<Kubectl> {
    inside::inside_kubectl(context).ok_or_else(|| {
        Failure::usage("No cluster is configured, so there is no notifier to ask.")
            .hint("Name kubectl's context: cluster.context in the configuration, or KMSCTL_CLUSTER_CONTEXT.")
            .hint("Try it without one: `kmsctl --demo notifier status`")
    })
}

/// Waits for work with the cluster; Ctrl-C ends it.
pub async fn kubectl_or_interrupt<T>(
    context: &Context,
    work: impl Future<Output = Result<T, KubectlError>>,
) -> Result<T> {
    let spinner = context.terminal.spinner("Asking the cluster …");
    let answered = work_or_interrupt(work).await;
    spinner.finish_and_clear();
    answered?.map_err(Failure::from)
}

/// Lists the pods; where that is forbidden, their names, and whether they are ready, may still be read from the endpoints
/// of the Service.
pub async fn find_notifier_pods(
    context: &Context,
    kubectl: &Kubectl,
) -> Result<(Vec<FoundPod>, Option<KubectlError>), KubectlError> {
    let (namespace, names) =
        (context.settings.cluster.namespace.as_str(), &context.settings.cluster.names);
    let denied = match kubectl.pods(namespace, names).await {
        Ok(list) => {
            let pods = list.items.into_iter();
            let named = pods.map(|pod| FoundPod {
                name: pod.metadata.name.clone(),
                ready: Some(pod.is_ready()),
                pod: Some(pod),
            });
            return Ok((named.take(MOST_PODS).collect(), None));
        }
        Err(error @ KubectlError::Forbidden { .. }) => error,
        Err(error) => return Err(error),
    };
    let slices = kubectl.endpoints(namespace, names).await;
    let slices = slices.map(|list| list.items).unwrap_or_default();
    let mut found: Vec<FoundPod> = Vec::new();
    let endpoints = slices.into_iter().filter_map(|slice| slice.endpoints);
    for endpoint in endpoints.flatten() {
        if let Some(target) = endpoint.target_ref.filter(|target| target.kind == "Pod")
            && found.len() < MOST_PODS
            && !found.iter().any(|pod| pod.name == target.name)
        {
            found.push(FoundPod { name: target.name, pod: None, ready: endpoint.conditions.ready });
        }
    }
    if found.is_empty() {
        return Err(denied);
    }
    Ok((found, Some(denied)))
}

/// Asks every pod; if `thorough`, for its numbers twice, and what lies around. Fails where the cluster cannot be asked at all.
pub async fn gather_pipeline<'a>(
    context: &'a Context,
    kubectl: &Kubectl,
    thorough: bool,
) -> Result<Evidence<'a>, KubectlError> {
    let (namespace, names) =
        (context.settings.cluster.namespace.as_str(), &context.settings.cluster.names);
    let around = async {
        if thorough {
            let (service, events) =
                tokio::join!(kubectl.service(namespace, names), kubectl.events(namespace));
            (known_answer(service), known_answer(events.map(|list| list.items)))
        } else {
            (Ok(KubernetesService::default()), Ok(Vec::new()))
        }
    };
    let inside = async {
        let (pods, denied) = match find_notifier_pods(context, kubectl).await {
            Err(error @ KubectlError::Forbidden { .. }) => {
                return Ok((known_answer(Err(error)), None));
            }
            found => found?,
        };
        let asked =
            pods.into_iter().map(|found| gather_pod_evidence(context, kubectl, found, thorough));
        let pods = join_in_order(asked.collect()).await;
        let unlisted = known_answer(denied.map_or(Ok(()), Err)).err();
        Ok((Ok(pods), unlisted))
    };
    let (inside, (service, events)) = tokio::join!(inside, around);
    let (pods, unlisted) = inside?;
    Ok(Evidence { names, now: context.clock.now(), pods, unlisted, service, events })
}

async fn gather_pod_evidence(
    context: &Context,
    kubectl: &Kubectl,
    found: FoundPod,
    thorough: bool,
) -> PodEvidence {
    let FoundPod { name, pod, ready } = found;
    let cluster = &context.settings.cluster;
    let port = pod.as_ref().map_or_else(
        || Pod::default().metrics_port(""),
        |pod| pod.metrics_port(&cluster.names.notifier),
    );
    let numbers = async {
        let first = read_pod_metrics(context, kubectl, &name, port).await;
        if first.is_err() || !thorough {
            return (first, None);
        }
        let later = kubectl.at_later_time(BETWEEN).await;
        let second = read_pod_metrics(context, &later, &name, port).await;
        (first, second.ok())
    };
    let restarts = pod
        .as_ref()
        .and_then(|pod| pod.container(&cluster.names.notifier))
        .map_or(0, |container| container.restart_count);
    let (numbers, log) = tokio::join!(numbers, read_pod_events(context, kubectl, &name, restarts));
    PodEvidence {
        log: known_answer(log),
        no_page: numbers.0.as_ref().err().map(|error| match error {
            KubectlError::Forbidden { .. } => NoPage::Forbidden,
            KubectlError::PodSilent { .. } => NoPage::Silent,
            _ => NoPage::Unanswered,
        }),
        first: known_answer(numbers.0),
        second: numbers.1,
        pod,
        ready,
        name,
    }
}

pub async fn read_pod_metrics(
    context: &Context,
    kubectl: &Kubectl,
    pod: &str,
    port: u16,
) -> Result<MetricsReading, KubectlError> {
    let namespace = &context.settings.cluster.namespace;
    let text = kubectl.metrics(namespace, pod, port).await?;
    Ok(MetricsReading::from_page(&text, kubectl.now(context.clock)))
}

/// Reads what a pod printed in the last 24 hours, also before its last restart.
async fn read_pod_events(
    context: &Context,
    kubectl: &Kubectl,
    pod: &str,
    restarts: u64,
) -> Result<Vec<EventRecord>, KubectlError> {
    let cluster = &context.settings.cluster;
    let place =
        PodFilter { namespace: &cluster.namespace, pod, container: &cluster.names.notifier };
    let part = PodPart {
        since: Some(context.clock.now() - SignedDuration::from_hours(24)),
        tail: Some(LINES),
        previous: false,
    };
    let earlier = async {
        if restarts == 0 {
            return String::new();
        }
        let part = PodPart { previous: true, ..part };
        // It may be gone already; what runs now is what counts.
        kubectl.output(&place, part).await.unwrap_or_default()
    };
    let (earlier, present) = tokio::join!(earlier, kubectl.output(&place, part));
    let text = earlier + &present?;
    let lines = text.split('\n').filter(|line| !line.is_empty());
    Ok(lines
        .map(|line| {
            let (printed, line) = split_kubectl_stamp(line);
            EventRecord::read_line(line, printed)
        })
        .collect())
}

/// One column: its title, least and most width, and when it goes on a narrow terminal (highest first, 0 stays).
struct StatusColumn(&'static str, usize, usize, u8);

pub struct Layout {
    shown: Vec<(usize, usize)>,
    width: Option<usize>,
}

impl Layout {
    /// Fits the columns to a terminal's width.
    pub fn new(width: Option<u16>) -> Self {
        let mut shown: Vec<usize> = (0..COLUMNS.len()).collect();
        let width = width.map(usize::from);
        let order = |index: &usize| COLUMNS.get(*index).map_or(0, |column| column.3);
        let mut widths = COLUMNS.map(|column| column.1);
        let least = |shown: &[usize]| -> usize {
            let widths = shown.iter().filter_map(|index| widths.get(*index));
            widths.map(|width| width + COLUMN_GAP).sum::<usize>() - COLUMN_GAP
        };
        while let Some(room) = width
            && least(&shown) > room
        {
            let Some(most) = shown.iter().map(order).max().filter(|most| *most > 0) else {
                break;
            };
            shown.retain(|index| order(index) != most);
        }
        let spare =
            |shown: &[usize]| width.map_or(usize::MAX, |room| room.saturating_sub(least(shown)));
        let growth = |index: &usize| COLUMNS.get(*index).map_or(0, |column| column.2 - column.1);
        // Whole names are worth more than the status before.
        if spare(&shown) < GROWING.iter().map(growth).sum() {
            shown.retain(|index| *index != STATUS);
        }
        let mut spare = spare(&shown);
        for index in GROWING {
            if let Some(wide) = widths.get_mut(index).filter(|_| shown.contains(&index)) {
                let more = growth(&index).min(spare);
                spare -= more;
                *wide += more;
            }
        }
        let wide = |index: usize| Some((index, *widths.get(index)?));
        Self { shown: shown.into_iter().filter_map(wide).collect(), width }
    }

    pub fn title_row(&self) -> String {
        self.render_row(&COLUMNS.map(|column| column.0))
    }

    /// Says which columns the terminal has no room for.
    pub fn left_out(&self) -> Option<String> {
        let is_shown = |place: usize| self.shown.iter().any(|(index, _)| *index == place);
        let left_out = COLUMNS.iter().enumerate().filter(|(place, _)| !is_shown(*place));
        let titles: Vec<&str> = left_out.map(|(_, column)| column.0).collect();
        left_out_sentence(&titles)
    }

    /// Renders one row; cells are cleaned here.
    fn render_row(&self, cells: &[&str; 8]) -> String {
        let mut line = String::new();
        for (index, width) in &self.shown {
            let (Some(cell), Some(column)) = (cells.get(*index), COLUMNS.get(*index)) else {
                continue;
            };
            let cell = clean_text(cell);
            let whole = self.width.is_none() || WHOLE.contains(&column.0);
            let cell = if whole { cell.into_owned() } else { cut_to_width(&cell, *width) };
            // Padded by columns: some characters take two.
            let blanks = width.saturating_sub(cell.width()) + COLUMN_GAP;
            line.push_str(&cell);
            line.push_str(&" ".repeat(blanks));
        }
        self.fit_line(line.trim_end())
    }

    pub fn render_event(&self, record: &EventRecord) -> String {
        let at = record.at.map_or_else(String::new, |at| whole_second(at).to_string());
        if record.event == EventKind::Note {
            let text = record.text.as_deref().unwrap_or_default();
            return self.fit_line(&format!("{at:20}  {:10}  {}", "note", clean_text(text)));
        }
        let client = match (record.address, record.port) {
            (Some(address), Some(port)) => std::net::SocketAddr::new(address, port).to_string(),
            (Some(address), None) => address.to_string(),
            _ => String::new(),
        };
        let guess = if record.attribution.as_deref() == Some("ambiguous") { "?" } else { "" };
        let kind = record.kind.as_ref().map(|kind| format!(" {kind}"));
        self.render_row(&[
            &at,
            &format!("{}{}", record.event.name(), kind.unwrap_or_default()),
            record.decision.as_deref().unwrap_or_default(),
            &format!("{client}{guess}"),
            record.source.map_or("", crate::domain::notifier::source::ClientSource::name),
            record.product.as_deref().unwrap_or_default(),
            record.workstation.as_deref().unwrap_or_default(),
            record.status.as_deref().unwrap_or_default(),
        ])
    }

    pub fn fit_line(&self, line: &str) -> String {
        self.width.map_or_else(|| line.to_owned(), |width| cut_to_width(line, width))
    }
}

fn cut_to_width(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    // The first column is the ellipsis's.
    let mut used = 1;
    let kept = text.chars().take_while(|character| {
        used += character.width().unwrap_or(0);
        used <= width
    });
    kept.chain(std::iter::once('…')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_fit_every_terminal_and_stay_whole_in_a_pipe() {
        let record = EventRecord {
            event: EventKind::Activation,
            at: "2026-03-01T12:00:00.25Z".parse().ok(),
            address: "2001:db8:1234:5678:9abc:def0:1234:5678".parse().ok(),
            port: Some(50_001),
            product: Some("A product with a very long name that no column holds".into()),
            workstation: Some("x\x1b[2Jy".into()),
            ..EventRecord::default()
        };
        let wide = EventRecord {
            product: Some("事務所のとても長い名前の製品でどの列にも入らない".into()),
            ..record.clone()
        };
        for width in [20, 79, 80, 100, 140, 200] {
            let layout = Layout::new(Some(width));
            for record in [&record, &wide] {
                for line in [layout.title_row(), layout.render_event(record)] {
                    assert!(line.width() <= usize::from(width), "{width}: {line}");
                }
            }
        }
        let whole = Layout::new(None).render_event(&record);
        assert!(whole.contains("that no column holds") && whole.contains("x\\x1b[2Jy"), "{whole}");
        assert!(whole.contains("[2001:db8:1234:5678:9abc:def0:1234:5678]:50001"));
        let narrow = Layout::new(Some(80)).title_row();
        assert!(
            narrow.contains("CLIENT") && narrow.contains("DECISION") && !narrow.contains("STATUS")
        );
        assert!(Layout::new(Some(180)).title_row().contains("STATUS"));
        let left_out = |width| Layout::new(width).left_out().unwrap_or_default();
        assert!(
            left_out(Some(80)).contains("SOURCE, WORKSTATION, STATUS"),
            "{}",
            left_out(Some(80))
        );
        assert_eq!((left_out(Some(180)), left_out(None)), (String::new(), String::new()));
    }
}
