//! The list of changes: this machine's history and the firewall's own, together.

use jiff::Timestamp;
use serde::Serialize;

use super::{ArmedRow, armed_line};
use crate::app::{Context, answer_or_warning};
use crate::domain::history;
use crate::domain::history::{HistoryEntry, ListedChange};
use crate::domain::pfsense::change::Reverted;
use crate::domain::pfsense::configured::Configured;
use crate::domain::warning::Warning;
use crate::error::Result;
use crate::pfsense::questions::Reading;
use crate::terminal::human::text_column;
use crate::terminal::{Tone, View};
use crate::text::whole_second;

#[derive(Debug, Serialize)]
struct HistoryList {
    entries: Vec<HistoryRow>,
    armed: Vec<ArmedRow>,
}

#[derive(Debug, Serialize)]
pub(super) struct HistoryRow {
    at: Option<Timestamp>,
    id: String,
    who: String,
    firewall: String,
    command: Option<String>,
    what: String,
    outcome: Option<&'static str>,
    reason: Option<String>,
    undoes: Option<String>,
    undone_by: Option<String>,
    kept_by: Option<String>,
    superseded_by: Option<String>,
    reverts_at: Option<Timestamp>,
    /// The firewall took it back when its time was over; null where that is not known.
    reverted: Option<bool>,
    /// `here`: from this machine's history; `firewall`: only the firewall's own has it.
    source: &'static str,
    context: Option<String>,
    /// The command that the plan was made by, where it came out of a file.
    planned_as: Option<String>,
}

const COLUMNS: &[&str] = &[
    "at",
    "id",
    "who",
    "firewall",
    "command",
    "what",
    "outcome",
    "reason",
    "undoes",
    "undone_by",
    "kept_by",
    "superseded_by",
    "reverts_at",
    "reverted",
    "source",
    "context",
    "planned_as",
];

pub(super) fn history_row(entry: &HistoryEntry) -> HistoryRow {
    let outcome = entry.finish.as_ref().and_then(|finish| finish.outcome.as_ref());
    let armed = outcome.filter(|outcome| outcome.reverted.is_none());
    let reverts_at = armed.and_then(|outcome| outcome.reverts_at);
    HistoryRow {
        at: Some(entry.at),
        id: entry.plan.id.to_string(),
        who: entry.carried_out_by().to_owned(),
        firewall: entry.plan.firewall.clone(),
        command: Some(entry.plan.command.clone()),
        what: entry.plan.change.what.clone(),
        outcome: Some(entry.ending_word()),
        reason: entry.plan.reason.clone(),
        undoes: entry.plan.change.undoes.clone(),
        undone_by: entry.undone_by.clone(),
        kept_by: entry.kept_by.clone(),
        superseded_by: entry.superseded_by.clone(),
        reverts_at: reverts_at.and_then(|at| Timestamp::from_second(at).ok()),
        reverted: outcome.and_then(|outcome| outcome.reverted.as_ref()).map(Reverted::is_back),
        source: "here",
        context: entry.context.clone(),
        planned_as: entry.planned_as.clone(),
    }
}

fn row_elsewhere(elsewhere: ListedChange, firewall: &str) -> HistoryRow {
    HistoryRow {
        at: elsewhere.at,
        id: elsewhere.id,
        who: elsewhere.who,
        firewall: firewall.to_owned(),
        command: None,
        what: elsewhere.what,
        outcome: None,
        reason: None,
        undoes: None,
        undone_by: None,
        kept_by: None,
        superseded_by: None,
        reverts_at: None,
        reverted: None,
        source: "firewall",
        context: None,
        planned_as: None,
    }
}

/// Lists the changes, newest first.
pub(super) fn history_view(
    context: &Context,
    entries: &[HistoryEntry],
    reading: Option<&Reading>,
    limit: usize,
    mut warnings: Vec<Warning>,
) -> Result<View> {
    let configured = reading.and_then(|reading| {
        answer_or_warning(
            &reading.configured,
            "Changes made from elsewhere, and what is armed",
            &mut warnings,
        )
    });
    let mut rows = history_rows(entries, configured, context.firewall_name());
    // Newest first; of one moment, the one written last.
    rows.reverse();
    rows.sort_by_key(|row| std::cmp::Reverse(row.at));
    rows.truncate(limit);
    let armed = configured.iter().flat_map(|configured| &configured.armed);
    let data = HistoryList { entries: rows, armed: armed.map(ArmedRow::from).collect() };
    let now = reading.map_or_else(|| context.clock.now(), |reading| reading.clock.now);
    let mut view = View::new("history", now, &data)?;
    view.items = Some(("entries", COLUMNS));
    view.is_for_reading = true;
    view.warnings.extend(warnings);
    if data.entries.is_empty() {
        let known = "Nothing was changed yet.";
        let part = "This machine has changed nothing yet; what was changed elsewhere is not known.";
        view.empty = Some(if configured.is_some() { known } else { part }.to_owned());
    }
    let reasons = data.entries.iter().any(|row| row.reason.is_some());
    let columns = [
        text_column("AT"),
        text_column("ID"),
        text_column("WHO").droppable(1),
        text_column("WHAT"),
        text_column("OUTCOME"),
    ];
    let columns = columns.into_iter();
    let contexts = data.entries.iter().any(|row| row.context.is_some());
    let columns = columns.chain(contexts.then(|| text_column("CONTEXT")));
    let columns = columns.chain(reasons.then(|| text_column("REASON").droppable(2)));
    view.human.table(
        columns.collect(),
        data.entries.iter().map(|row| history_cells(row, contexts, reasons)).collect(),
    );
    for armed in &data.armed {
        view.human.field("Temporary", armed_line(armed, now), Tone::Plain);
    }
    Ok(view)
}

/// Puts together what is known here and what the firewall knows.
fn history_rows(
    entries: &[HistoryEntry],
    configured: Option<&Configured>,
    firewall: &str,
) -> Vec<HistoryRow> {
    let ids: Vec<&str> = entries.iter().map(|entry| entry.plan.id.as_str()).collect();
    let recorded = configured.iter().flat_map(|configured| &configured.history);
    let (ours, others): (Vec<ListedChange>, Vec<ListedChange>) = recorded
        .filter_map(history::parse_listed_change)
        .partition(|other| ids.contains(&other.id.as_str()));
    let mut rows: Vec<HistoryRow> = entries.iter().map(history_row).collect();
    if configured.is_some() {
        for row in rows.iter_mut().filter(|row| row.reverts_at.is_some()) {
            let mut recorded = ours.iter().filter(|recorded| recorded.id == row.id);
            row.reverted =
                Some(row.reverted == Some(true) || recorded.any(ListedChange::is_revert));
        }
    }
    rows.extend(others.into_iter().map(|other| row_elsewhere(other, firewall)));
    rows
}

fn history_cells(row: &HistoryRow, contexts: bool, reasons: bool) -> Vec<String> {
    let mut cells = vec![
        row.at.map_or_else(String::new, |at| whole_second(at).to_string()),
        row.id.clone(),
        row.who.clone(),
        row.command.clone().unwrap_or_else(|| row.what.clone()),
        match (&row.undone_by, &row.superseded_by, row.outcome) {
            (Some(by), _, _) => format!("undone by {by}"),
            (None, Some(by), _) => format!("superseded by {by}"),
            _ if row.reverted == Some(true) => "reverted by itself".to_owned(),
            (None, None, outcome) => outcome.unwrap_or("see pfSense's history").to_owned(),
        },
    ];
    cells.extend(contexts.then(|| row.context.clone().unwrap_or_default()));
    cells.extend(reasons.then(|| row.reason.clone().unwrap_or_default()));
    cells
}
