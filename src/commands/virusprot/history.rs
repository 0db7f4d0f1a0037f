//! `kmsctl virusprot history`: who was blocked when, also those that are gone, from the exporter's record.

use clap::Args as ClapArgs;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::app::Context;
use crate::commands::exporter::RecordPlace;
use crate::domain::virusprot::block_log::{BlockPeriod, periods_between};
use crate::error::{Failure, FailureKind, Result};
use crate::exporter::block_record::BlockRecord;
use crate::settings::values;
use crate::simulator::past_block_events;
use crate::terminal::View;
use crate::terminal::human::{number_column, text_column};
use crate::text::format_span;

/// Arguments of `kmsctl virusprot history`.
#[derive(Debug, ClapArgs)]
pub(super) struct History {
    /// Only who was blocked within this time
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = values::parse_duration)]
    since: std::time::Duration,
    #[command(flatten)]
    record: RecordPlace,
}

#[derive(Serialize)]
struct HistoryView {
    since: Timestamp,
    periods: Vec<BlockPeriod>,
}

/// Runs `kmsctl virusprot history`.
pub(super) fn show_history(context: &Context, arguments: &History) -> Result<()> {
    let directory = arguments.record.directory(context)?;
    let record = BlockRecord::read(&directory).map_err(|error| {
        Failure::failed(format!(
            "The record in {} cannot be read: {error}.",
            directory.display()
        ))
    })?;
    let now = context.clock.now();
    let record = record.or_else(|| context.demo.then(|| past_block_events(now)));
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
        .hint("It is kept from when the exporter runs: kmsctl exporter run")
        .hint("Who is blocked now: kmsctl virusprot show"));
    };
    let periods = periods_between(events, since, now);
    let mut view = View::new(
        "virusprot.history",
        now,
        &HistoryView {
            since,
            periods: periods.clone(),
        },
    )?;
    view.items = Some((
        "periods",
        &[
            "address",
            "blocked_at",
            "released_at",
            "seconds",
            "connections",
            "customer",
        ],
    ));
    show_periods(&mut view, &periods, arguments.since.as_secs());
    context.terminal.show(&view)
}

fn show_periods(view: &mut View, periods: &[BlockPeriod], since: u64) {
    let since = format_span(since);
    if periods.is_empty() {
        view.human.line(format!(
            "No address was blocked within {since}, as far as the record goes."
        ));
        return;
    }
    let still = periods
        .iter()
        .filter(|period| period.released_at.is_none())
        .count();
    let rest = match still {
        0 => "none is any more".to_owned(),
        1 => "1 still is".to_owned(),
        _ => format!("{still} still are"),
    };
    let count = periods.len();
    let line = format!("Blocked within {since}: {count}; {rest}, as of the last look.");
    view.human.line(line);
    view.human.gap();
    let time = |at: Timestamp| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let rows = periods.iter().map(|period| {
        vec![
            period.address.clone(),
            time(period.blocked_at),
            period
                .released_at
                .map_or_else(|| "not yet".to_owned(), time),
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
        text_column("RELEASED"),
        text_column("FOR"),
        number_column("STATES").droppable(1),
        text_column("CUSTOMER"),
    ];
    view.human.table(columns, rows.collect());
}
