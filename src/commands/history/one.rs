//! One change: what was planned, how it ended, and what differed. JSON has the records before and after, whole.

use jiff::Timestamp;
use serde::Serialize;

use super::list::{HistoryRow, history_row};
use super::settle_unknown_ending;
use crate::app::Context;
use crate::change;
use crate::change::report;
use crate::domain::history;
use crate::domain::history::{Finish, HistoryEntry, WhatBecame};
use crate::domain::json_difference::differing_lines;
use crate::domain::plan::{Plan, Undo};
use crate::domain::warning::Warning;
use crate::error::{Failure, FailureKind, Result};
use crate::terminal::{Tone, View};

/// The data of `history.entry`: everything that is known of one change.
#[derive(Debug, Serialize)]
struct WholeEntry<'a> {
    #[serde(flatten)]
    row: HistoryRow,
    /// What became of the differences that the plan holds.
    became: WhatBecame,
    plan: &'a Plan,
    finish: Option<&'a Finish>,
}

/// Shows one change; how it ended is asked where this history does not know.
pub(super) async fn show_entry(context: &Context, id: &str, local: bool) -> Result<()> {
    let mut entries = report::entries_meant(context, id)?;
    let (mut warnings, mut unasked) = (Vec::new(), None);
    let entry = history::find_entry(&entries, id)?;
    if !local && entry.is_unsettled() {
        match settle_unknown_ending(context, entry).await {
            Ok(()) => entries = report::entries_meant(context, id)?,
            Err(failure) if failure.kind == FailureKind::Interrupted => return Err(failure),
            Err(failure) => {
                let why = format!("How it ended could not be asked: {}", failure.message);
                warnings.push(Warning::new("outcome-unknown", why));
                let message = "How it ended is not known.";
                unasked = Some(Failure { message: message.to_owned(), ..failure });
            }
        }
    }
    let entry = history::find_entry(&entries, id)?;
    let data = WholeEntry {
        row: history_row(entry),
        became: entry.what_became(),
        plan: &entry.plan,
        finish: entry.finish.as_ref(),
    };
    let mut view = View::new("history.entry", context.clock.now(), &data)?;
    view.warnings = warnings;
    view.is_for_reading = true;
    for_people(&mut view, entry);
    context.terminal.show(&view)?;
    unasked.map_or(Ok(()), |failure| {
        Err(failure.hint(format!("Without asking: `kmsctl history {id} --local`")))
    })
}

fn for_people(view: &mut View, entry: &HistoryEntry) {
    let plan = &entry.plan;
    let human = &mut view.human;
    let (word, tone) = report::entry_ending(entry);
    human.field("Change", format!("{} at {} on {}", plan.id, entry.at, plan.firewall), Tone::Plain);
    human.field("Who", entry.carried_out_by(), Tone::Plain);
    human.field("Command", &plan.command, Tone::Plain);
    if let Some(command) = &entry.planned_as {
        let made =
            format!("by {}, as `{command}`: a plan file, made at {}", plan.who, plan.made_at);
        human.field("Planned", made, Tone::Plain);
    } else if entry.by.is_some() {
        human.field("Planned", format!("by {}", plan.who), Tone::Plain);
    }
    if let Some(reason) = &plan.reason {
        human.field("Reason", reason, Tone::Plain);
    }
    human.field("What", &plan.change.what, Tone::Plain);
    let message = entry
        .finish
        .as_ref()
        .map_or("its ending was never written", |finish| finish.message.as_str());
    human.field("Outcome", format!("{word}: {message}"), tone);
    let became = entry.what_became().clause();
    let became = became.map_or_else(String::new, |clause| format!(" ({clause})"));
    for difference in &plan.change.differences {
        let line = format!(
            "{} -> {}{became}",
            report::difference_text(&difference.before),
            report::difference_text(&difference.after)
        );
        human.field(&format!("  {}", difference.field), line, Tone::Plain);
    }
    if let Some(by) = &entry.undone_by {
        human.field("Undone", format!("by {by}"), Tone::Plain);
    } else if let Some(by) = &entry.superseded_by {
        human.field(
            "Superseded",
            format!("by {by}, so it is not taken back by itself"),
            Tone::Plain,
        );
    } else if let Undo::Impossible(why) = &plan.change.undo {
        human.field("Undo", format!("none. {why}"), Tone::Plain);
    }
    if let Some(finish) = &entry.finish {
        add_ending(view, finish);
    }
}

/// Adds what was really changed, step by step, and what differs between the records before and after.
fn add_ending(view: &mut View, finish: &Finish) {
    let human = &mut view.human;
    let names: Vec<String> = finish.changed.iter().map(|entry| entry.address.to_string()).collect();
    if !names.is_empty() {
        human.field("Entries", names.join(" "), Tone::Plain);
    }
    if let Some(outside) = &finish.outside {
        change::show_external_proof(human, outside);
    }
    let Some(outcome) = &finish.outcome else {
        return;
    };
    if let Some(reverted) = &outcome.reverted {
        let at = Timestamp::from_second(reverted.at);
        let at = at.map_or_else(|_| String::new(), |at| format!("ended at {at}: "));
        human.field("Rollback", at + &reverted.message, Tone::Plain);
    }
    for step in &outcome.steps {
        let tone = if step.ok { Tone::Plain } else { Tone::Bad };
        let detail = match (step.ok, step.detail.as_str()) {
            (true, "") => "done".to_owned(),
            (true, detail) => revision_words(detail).unwrap_or_else(|| detail.to_owned()),
            (false, detail) => format!("FAILED: {detail}"),
        };
        human.field(&format!("  {}", step.name), detail, tone);
    }
    let records = |records| serde_json::to_value(records).unwrap_or_default();
    let lines = differing_lines(&records(&outcome.before), &records(&outcome.after));
    if !lines.is_empty() {
        human.gap().line("What differed on the firewall:");
    }
    for line in lines {
        human.verbatim(&format!("  {line}"));
    }
}

/// Says which revision of pfSense's configuration was written: it goes by the second.
fn revision_words(detail: &str) -> Option<String> {
    let second = detail.strip_prefix("revision ")?.parse().ok()?;
    Some(format!("the configuration's revision of {}", Timestamp::from_second(second).ok()?))
}
