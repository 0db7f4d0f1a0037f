//! `kmsctl notifier metrics`: the notifier's own numbers and how fast they grow, read twice through the API server.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args as ClapArgs;
use jiff::Timestamp;
use serde::Serialize;

use super::status;
use super::status::FoundPod;
use crate::app::Context;
use crate::app::watch;
use crate::app::watch::Watch;
use crate::domain::cluster::objects::Pod;
use crate::domain::notifier::health::{MetricsReading, Numbers};
use crate::domain::notifier::prometheus::{MetricKind, Sample, growth_per_second};
use crate::domain::virusprot::entries::age_seconds;
use crate::domain::warning::Warning;
use crate::error::{Failure, Result};
use crate::kubectl::{Kubectl, KubectlError};
use crate::terminal::human::{number_column, text_column};
use crate::terminal::{Tone, View};
use crate::text::format_span;
use crate::vantage::join_in_order;

/// Time between the two looks of an answer without `--watch`.
const BETWEEN: Duration = Duration::from_secs(2);

/// Arguments of `kmsctl notifier metrics`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(flatten)]
    watch: Watch,
}

/// What one look found: each pod with its page, or why not.
struct MetricsLook {
    pods: Vec<(String, Result<MetricsReading, KubectlError>)>,
}

#[derive(Serialize)]
struct Series {
    pod: String,
    name: String,
    labels: serde_json::Map<String, serde_json::Value>,
    kind: MetricKind,
    value: f64,
    /// Growth per second since the look before; null for what does not grow.
    rate: Option<f64>,
    #[serde(skip)]
    labels_text: String,
}

/// Runs `kmsctl notifier metrics`.
pub async fn run_metrics(context: &Context, arguments: &Args) -> Result<()> {
    let kubectl = status::configured_kubectl(context)?;
    let asked = status::find_notifier_pods(context, &kubectl);
    let (pods, _) = Box::pin(status::kubectl_or_interrupt(context, asked)).await?;
    if arguments.watch.is_on() {
        let mut before = None;
        return watch::repeat_look(context, &arguments.watch, async || {
            // Pods come and go while one watches.
            let pods = status::find_notifier_pods(context, &kubectl).await?.0;
            let look = read_all_pods(context, &kubectl, &pods).await;
            let view = metrics_view(context, &look, before.as_ref());
            before = Some(look);
            view
        })
        .await;
    }
    let twice = async {
        let first = read_all_pods(context, &kubectl, &pods).await;
        if first.pods.iter().all(|(_, page)| page.is_err()) {
            return Ok((first, None));
        }
        let later = kubectl.at_later_time(BETWEEN).await;
        let second = read_all_pods(context, &later, &pods).await;
        Ok((second, Some(first)))
    };
    let (look, before) = Box::pin(status::kubectl_or_interrupt(context, twice)).await?;
    context.terminal.show(&metrics_view(context, &look, before.as_ref())?)
}

async fn read_all_pods(context: &Context, kubectl: &Kubectl, pods: &[FoundPod]) -> MetricsLook {
    let notifier = &context.settings.cluster.names.notifier;
    let asked = pods.iter().map(|found| async move {
        let FoundPod { name, pod, .. } = found;
        let port = pod
            .as_ref()
            .map_or_else(|| Pod::default().metrics_port(""), |pod| pod.metrics_port(notifier));
        (name.clone(), status::read_pod_metrics(context, kubectl, name, port).await)
    });
    MetricsLook { pods: join_in_order(asked.collect()).await }
}

fn metrics_view(
    context: &Context,
    look: &MetricsLook,
    before: Option<&MetricsLook>,
) -> Result<View> {
    let mut warnings = Vec::new();
    let mut series = Vec::new();
    let mut at = context.clock.now();
    for (pod, page) in &look.pods {
        let reading = match page {
            Ok(reading) => reading,
            Err(error) => {
                let text = format!("{pod}: {error}. {}", error.fix());
                warnings.push(Warning::new("pod-unread", text));
                continue;
            }
        };
        at = reading.at;
        if reading.page.unread > 0 {
            let text = format!("{pod}: {} lines of its page are no metrics.", reading.page.unread);
            warnings.push(Warning::new("unread-output", text));
        }
        let earlier = before
            .and_then(|look| look.pods.iter().find(|(name, _)| name == pod))
            .and_then(|(_, page)| page.as_ref().ok());
        let samples = reading.page.samples.iter();
        series.extend(samples.map(|sample| metrics_row(pod, sample, reading, earlier)));
    }
    if series.is_empty()
        && let Some(Err(error)) = look.pods.first().map(|(_, page)| page)
    {
        return Err(missing_right(error));
    }
    in_order(&mut series);
    let names: Vec<&str> = look.pods.iter().map(|(name, _)| name.as_str()).collect();
    let pages = look.pods.iter().filter_map(|(_, page)| page.as_ref().ok());
    let numbers = Numbers::total_of(pages.map(|reading| &reading.numbers));
    let activations = numbers.activations();
    let data = serde_json::json!({ "pods": names, "activations": activations, "series": series });
    let mut view = View::new("notifier.metrics", at, &data)?;
    view.items = Some(("series", &["pod", "name", "labels", "kind", "value", "rate"]));
    view.warnings = warnings;
    view.empty = series.is_empty().then(|| {
        let why = if names.is_empty() {
            "There is no pod, so there are"
        } else {
            "What the pods answered holds"
        };
        format!("{why} no numbers. `kmsctl notifier status` shows more.")
    });
    if let Some(times) = activations {
        let text = format!(
            "{times} since start: kms_activations_total, and the {} that the window held back",
            numbers.held_back.unwrap_or_default()
        );
        view.human.field("Activations", text, Tone::Plain);
        view.human.gap();
    }
    for_people(&mut view, &series, names.len() > 1, at);
    Ok(view)
}

/// Puts the series of a pod into the order of the page's names, and those of a name into the order of their labels: a page
/// has the latter in any order, and rows that jump cannot be watched.
fn in_order(series: &mut [Series]) {
    let mut names: BTreeMap<String, usize> = BTreeMap::new();
    for (place, series) in series.iter().enumerate() {
        names.entry(series.name.clone()).or_insert(place);
    }
    series.sort_by_cached_key(|series| {
        let place = names.get(&series.name).copied();
        (series.pod.clone(), place, series.labels_text.clone())
    });
}

fn missing_right(error: &KubectlError) -> Failure {
    let failure = Failure::from(error.clone());
    match error {
        KubectlError::Forbidden { .. } => failure
            .hint("The page is read through the API server: the verb get on pods/proxy is needed."),
        _ => failure,
    }
}

fn metrics_row(
    pod: &str,
    sample: &Sample,
    reading: &MetricsReading,
    before: Option<&MetricsReading>,
) -> Series {
    let grown = |before: &MetricsReading| {
        let seconds = reading.at.duration_since(before.at).as_secs_f64();
        // A series that was not there yet has grown from zero.
        let earlier = before.page.value_like(sample).unwrap_or(0.0);
        growth_per_second(earlier, sample.value, seconds)
    };
    let counts = sample.kind == MetricKind::Counter;
    let labels = sample.labels.iter();
    Series {
        pod: pod.to_owned(),
        name: sample.name.clone(),
        labels: labels.map(|(name, value)| (name.clone(), value.clone().into())).collect(),
        kind: sample.kind,
        value: sample.value,
        rate: before
            .filter(|_| counts)
            .and_then(grown)
            .map(|rate| (rate * 1000.0).round() / 1000.0),
        labels_text: sample
            .labels
            .iter()
            .map(|(_, value)| value.as_str())
            .collect::<Vec<_>>()
            .join(", "),
    }
}

fn for_people(view: &mut View, series: &[Series], several: bool, now: Timestamp) {
    let mut columns = vec![
        text_column("METRIC"),
        number_column("VALUE"),
        number_column("RATE"),
        text_column("LABELS"),
    ];
    if several {
        columns.insert(0, text_column("POD").droppable(1));
    }
    let rows = series.iter().map(|series| {
        let mut row = vec![
            series.name.clone(),
            value_text(series, now),
            match series.rate {
                Some(rate) if rate > 0.0 => format!("{rate}/s"),
                _ => String::new(),
            },
            series.labels_text.clone(),
        ];
        if several {
            row.insert(0, series.pod.clone());
        }
        row
    });
    view.human.table(columns, rows.collect());
}

/// Renders a value; of a moment, how long ago it was.
#[expect(clippy::cast_possible_truncation, reason = "moments are whole seconds")]
fn value_text(series: &Series, now: Timestamp) -> String {
    if series.name.ends_with("_timestamp_seconds") {
        if series.value == 0.0 {
            return "never".to_owned();
        }
        if let Ok(at) = Timestamp::from_second(series.value as i64) {
            return format!("{} ago", format_span(age_seconds(at, now)));
        }
    }
    series.value.to_string()
}
