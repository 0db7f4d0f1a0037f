//! `kmsctl virusprot show`: the table of blocked addresses.

use clap::{Args as ClapArgs, ValueEnum};

use super::{QUESTIONS, assess_table};
use crate::app::Context;
use crate::app::watch;
use crate::app::watch::Watch;
use crate::commands::log_side::{self, KmsActivity};
use crate::domain::virusprot::entries;
use crate::domain::virusprot::entries::Blocked;
use crate::domain::virusprot::expiry::{Expiry, Judged};
use crate::domain::warning::Warning;
use crate::error::{Failure, Result};
use crate::pfsense::questions::Reading;
use crate::settings::values;
use crate::terminal::human::{number_column, text_column};
use crate::terminal::{Mode, View};
use crate::text::{format_span, whole_second};

/// Arguments of `kmsctl virusprot show`.
#[derive(Debug, ClapArgs)]
pub(super) struct Show {
    /// Only entries older than this, such as 2h
    #[arg(long, value_name = "DURATION")]
    older_than: Option<String>,
    /// Order of the entries
    #[arg(long, value_enum, default_value_t)]
    sort: Sort,
    #[command(flatten)]
    pub(super) watch: Watch,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(super) enum Sort {
    /// By address
    Address,
    /// Newest first
    #[default]
    Newest,
    /// Oldest first
    Oldest,
    /// Next released first
    Release,
    /// Most live states first
    States,
}

/// Runs `kmsctl virusprot show`.
pub(super) async fn show_blocked(context: &Context, arguments: &Show) -> Result<()> {
    let older_than = arguments
        .older_than
        .as_deref()
        .map(values::parse_duration)
        .transpose()
        .map_err(|problem| Failure::usage(format!("--older-than: {problem}.")))?;
    let older_than = older_than.map(|duration| duration.as_secs());
    let build = |reading: &Reading, _: Option<&Reading>, heard: &KmsActivity| {
        blocked_view(context, reading, heard, older_than, arguments.sort)
    };
    let beside = async || Box::pin(log_side::fetch_kms_activity(context)).await;
    watch::show_beside(context, QUESTIONS, &arguments.watch, beside, build).await
}

fn blocked_view(
    context: &Context,
    reading: &Reading,
    heard: &KmsActivity,
    older_than: Option<u64>,
    sort: Sort,
) -> Result<View> {
    let mut warnings = Vec::new();
    let mut table = assess_table(context, reading, heard, older_than, &mut warnings)?;
    let all = reading.table.as_ref().map_or(0, Vec::len);
    order_entries(&mut table.entries, sort);
    let mut view = context.view("virusprot.show", reading, &table)?;
    view.items = Some((
        "entries",
        &["address", "added_at", "age_seconds", "release_at", "states", "flags", "activated_at"],
    ));
    view.warnings.extend(warnings);
    let unknown = heard.side.iter().flat_map(|side| &side.unknown);
    view.warnings.extend(unknown.map(|why| {
        Warning::new(
            "customers-unknown",
            format!("Which of them are customers is not known in full. {why}"),
        )
    }));
    if older_than.is_some() && table.entries.iter().any(|entry| entry.age_seconds.is_none()) {
        view.warnings.push(Warning::new(
            "age-unknown",
            "The age of some entries could not be read; they are shown as well.",
        ));
    }
    let shown = table.entries.len();
    if shown == 0 {
        view.empty = Some(match all {
            0 => format!("No addresses are blocked: {} is empty.", table.table),
            _ => format!("None of the {all} blocked addresses is that old."),
        });
        return Ok(view);
    }
    let of_all = if shown == all { String::new() } else { format!(" of {all}") };
    view.human.line(format!(
        "{shown}{of_all} blocked in {}, on every port and interface. {}",
        table.table,
        release_sentence(&table.expiry, reading)
    ));
    // Long lists cost memory; the rows are for people alone.
    if context.terminal.mode == Mode::Table {
        view.human.gap();
        table_of(&mut view, reading, &table.entries, &table.expiry);
    }
    Ok(view)
}

/// Says what lets entries go, and when it does next.
pub fn release_sentence(expiry: &Judged, reading: &Reading) -> String {
    if let Some(sentence) = expiry.not_working() {
        return sentence;
    }
    match &expiry.expiry {
        Expiry::Cron { older_than_seconds, schedule, .. } => {
            let (now, zone) = (reading.clock.now, &reading.clock.zone);
            let next =
                schedule.next(now, zone).map(|at| format!(" (next at {})", whole_second(at)));
            format!(
                "Cron frees those older than {} at `{schedule}`{}.",
                format_span(*older_than_seconds),
                next.unwrap_or_default()
            )
        }
        Expiry::None => "Nothing frees them: no cron job is configured.".to_owned(),
        Expiry::Unknown { why } => format!("What frees them is unknown: {why}."),
    }
}

pub fn table_of(view: &mut View, reading: &Reading, entries: &[Blocked], expiry: &Judged) {
    let now = reading.clock.now;
    let rows = entries.iter().map(|entry| {
        let flags: Vec<&str> = entry.flags.iter().map(|flag| flag.name()).collect();
        vec![
            entry.address.clone(),
            entry.added_at.map_or_else(|| "unknown".to_owned(), |at| whole_second(at).to_string()),
            entry.age_seconds.map_or_else(|| "-".to_owned(), format_span),
            entry.release_at.map_or_else(
                || if expiry.expiry == Expiry::None { "never" } else { "unknown" }.to_owned(),
                |at| format!("in {}", format_span(entries::age_seconds(now, at))),
            ),
            entry.states.to_string(),
            flags.join(" "),
        ]
    });
    let columns = vec![
        text_column("ADDRESS"),
        text_column("SINCE (UTC)").droppable(2),
        number_column("AGE"),
        text_column("RELEASED"),
        number_column("CONNECTIONS").droppable(1),
        text_column("FLAGS"),
    ];
    view.human.table(columns, rows.collect());
}

pub(super) fn order_entries(entries: &mut [Blocked], sort: Sort) {
    match sort {
        Sort::Address => entries.sort_by_key(|entry| entry.net),
        Sort::Newest => entries.sort_by_key(|entry| (std::cmp::Reverse(entry.added_at), entry.net)),
        Sort::Oldest => entries.sort_by_key(|entry| (entry.added_at, entry.net)),
        Sort::Release => {
            entries.sort_by_key(|entry| (entry.release_at.is_none(), entry.release_at, entry.net));
        }
        Sort::States => entries.sort_by_key(|entry| (std::cmp::Reverse(entry.states), entry.net)),
    }
}
