//! `kmsctl virusprot history`: who was blocked when, also those that are gone, from the exporter's record.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::app::Context;
use crate::commands::exporter::RecordPlace;
use crate::commands::notifier::status::{MOST_PODS, kubectl_or_interrupt};
use crate::domain::cluster::objects::ObjectNames;
use crate::domain::notifier::event_log::split_kubectl_stamp;
use crate::domain::virusprot::block_log::{BlockEvent, BlockPeriod, periods_between};
use crate::domain::warning::Warning;
use crate::error::{Failure, FailureKind, Result};
use crate::exporter::block_record::{BlockRecord, MOST_EVENTS};
use crate::kubectl::{Kubectl, PodFilter, PodPart};
use crate::settings::exporter::Exporter;
use crate::settings::values;
use crate::terminal::View;
use crate::terminal::human::{number_column, text_column};
use crate::text::{counted, format_span, whole_second};

/// The exporter's container, as deploy/exporter.yaml names it.
const CONTAINER: &str = "exporter";

/// Clocks that agree within so many seconds are called right.
const CLOCK_SLACK: SignedDuration = SignedDuration::from_secs(60);

/// Arguments of `kmsctl virusprot history`.
#[derive(Debug, ClapArgs)]
pub(super) struct History {
    /// Only who was blocked within this time
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = values::parse_period)]
    since: std::time::Duration,
    #[command(flatten)]
    record: RecordPlace,
}

#[derive(Serialize)]
struct HistoryView {
    since: Timestamp,
    /// When the record's last entry was made; null where it has none.
    last_event_at: Option<Timestamp>,
    periods: Vec<BlockPeriod>,
}

/// Runs `kmsctl virusprot history`.
pub(super) async fn show_history(context: &Context, arguments: &History) -> Result<()> {
    let now = whole_second(context.clock.now());
    if context.demo && !arguments.record.is_named() {
        // Its record is that of a box that is there.
        context.connect().await?.close().await?;
    }
    let (record, directory) = read_record(context, &arguments.record).await?;
    let since = SignedDuration::try_from(arguments.since)
        .ok()
        .and_then(|since| now.checked_sub(since).ok())
        .unwrap_or(Timestamp::MIN);
    let Some(events) = record else {
        return Err(Failure::new(
            FailureKind::Inconclusive,
            format!(
                "There is no record of who was blocked in {}.",
                directory.display()
            ),
        )
        .hint("It is kept from when the exporter runs: `kmsctl exporter run`; where that has --state-dir, this needs the same")
        .hint("The exporter of a cluster is asked where one is configured: cluster.context, exporter.selector")
        .hint("Who is blocked now: `kmsctl virusprot show`"));
    };
    let last_event_at = events.iter().map(|event| event.at).max();
    let periods = periods_between(events, since, now);
    let mut view = View::new(
        "virusprot.history",
        now,
        &HistoryView { since, last_event_at, periods: periods.clone() },
    )?;
    view.firewall = Some(context.firewall_name().to_owned());
    view.items = Some((
        "periods",
        &["address", "blocked_at", "released_at", "seconds", "connections", "customer"],
    ));
    view.warnings.extend(stepped_clock_warning(&periods, now));
    show_periods(&mut view, &periods, arguments.since.as_secs(), last_event_at);
    context.terminal.show(&view)
}

/// Reads who was blocked, as the exporter has recorded it here or in its pod; `None` where there is no record. Also returns
/// the directory of the one here.
pub(in crate::commands) async fn read_record(
    context: &Context,
    place: &RecordPlace,
) -> Result<(Option<Vec<BlockEvent>>, PathBuf)> {
    let settings = Exporter::resolve(&context.settings_reader())?;
    let directory = place.directory(context, &settings)?;
    let record = BlockRecord::read(&directory).map_err(|error| {
        Failure::failed(format!("The record in {} cannot be read: {error}.", directory.display()))
    })?;
    let record = match record {
        record if context.demo && !place.is_named() => {
            Some(context.demo_block_events(record.unwrap_or_default()))
        }
        Some(record) => Some(record),
        None if place.is_named() => None,
        None => read_pod_record(context, settings.selector).await?,
    };
    Ok((record, directory))
}

/// Reads what the exporter's pods have printed, where a cluster is configured; `None` where there is no such pod.
async fn read_pod_record(context: &Context, selector: String) -> Result<Option<Vec<BlockEvent>>> {
    let cluster = &context.settings.cluster;
    if !cluster.configured {
        return Ok(None);
    }
    let kubectl = Kubectl::new(cluster);
    let names = ObjectNames { selector, ..cluster.names.clone() };
    let read = async {
        let pods = kubectl.pods(&cluster.namespace, &names).await?;
        let part = PodPart { tail: Some(MOST_EVENTS), ..PodPart::default() };
        let mut printed = Vec::new();
        for pod in pods.items.iter().take(MOST_PODS) {
            let place = PodFilter {
                namespace: &cluster.namespace,
                pod: &pod.metadata.name,
                container: CONTAINER,
            };
            printed.push(kubectl.output(&place, part).await?);
        }
        Ok(printed)
    };
    let printed = kubectl_or_interrupt(context, read).await?;
    if printed.is_empty() {
        return Ok(None);
    }
    let events_of = |text: &String| -> Vec<BlockEvent> {
        let lines = text.lines();
        let events =
            lines.filter_map(|line| serde_json::from_str(split_kubectl_stamp(line).1).ok());
        events.collect()
    };
    let mut of_pods: Vec<Vec<BlockEvent>> = printed.iter().map(events_of).collect();
    // Each pod's own stay as they came: the firewall's clock, by which they are, may have been set.
    of_pods.sort_by_key(|events| events.first().map(|event| event.at));
    Ok(Some(of_pods.concat()))
}

/// Says that times cannot be right: the record is by the firewall's clock, which may have been set.
fn stepped_clock_warning(periods: &[BlockPeriod], now: Timestamp) -> Option<Warning> {
    let is_odd = |period: &&BlockPeriod| {
        period.blocked_at > now + CLOCK_SLACK
            || period.released_at.is_some_and(|released| released < period.blocked_at)
    };
    let count = periods.iter().filter(is_odd).count();
    let odd = counted(count, "period begins", "periods begin");
    (count > 0).then(|| {
        Warning::new(
            "clock-stepped",
            format!("{odd} in the future or after the release: the firewall's clock was set, or differs from this machine's."),
        )
    })
}

fn show_periods(
    view: &mut View,
    periods: &[BlockPeriod],
    since: u64,
    last_event_at: Option<Timestamp>,
) {
    const NOW: &str = "Who is blocked now was not read: `kmsctl virusprot show`";
    let since = format_span(since);
    let record = last_event_at.map_or_else(
        || "the record, which has no entry".to_owned(),
        |at| format!("the record, whose last entry is of {}", whole_second(at)),
    );
    if periods.is_empty() {
        view.human.line(format!("Blocked within {since}: none, by {record}."));
        view.human.line(NOW);
        return;
    }
    let still = periods.iter().filter(|period| period.released_at.is_none()).count();
    let rest = match still {
        0 => "none of them still was".to_owned(),
        1 => "1 of them still was".to_owned(),
        _ => format!("{still} of them still were"),
    };
    let count = periods.len();
    let line = format!("Blocked within {since}: {count}; {rest}, by {record}.");
    view.human.line(line);
    view.human.line(NOW);
    view.human.gap();
    let rows = periods.iter().map(|period| {
        vec![
            period.address.clone(),
            period.blocked_at.to_string(),
            period.released_at.map_or_else(|| "not yet".to_owned(), |at| at.to_string()),
            format_span(period.seconds),
            period.connections.to_string(),
            match period.customer {
                Some(true) => "yes",
                Some(false) => "no",
                None => "not known",
            }
            .to_owned(),
        ]
    });
    let columns = vec![
        text_column("ADDRESS"),
        text_column("BLOCKED"),
        text_column("RELEASED").droppable(2),
        text_column("FOR").droppable(1),
        number_column("CONNECTIONS").droppable(3),
        text_column("CUSTOMER"),
    ];
    view.human.table(columns, rows.collect());
}
