//! What people and scripts read of a change: the plan before, and the change after. One schema, `change`, for every command
//! that changes something.

mod after;
mod rows;

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::app::Context;
use crate::domain::history::{
    self, EndedAs, ExternalOutcome, Finish, Folder, HistoryEntry, HistoryEvent, UndoSearch,
};
use crate::domain::pfsense::change::ChangeId;
use crate::domain::plan::{Difference, Operation, Plan, PlannedEntry, Risk, Undo, as_sentence};
use crate::domain::virusprot::block_log::HandBlocks;
use crate::domain::virusprot::entries::age_seconds;
use crate::domain::warning::Warning;
use crate::error::{Failure, FailureKind, Result};
use crate::journal::Chain;
use crate::pfsense::questions::Reading;
use crate::terminal::human::{number_column, text_column};
use crate::terminal::{Human, Mode, Tone};
use crate::text::format_span;
use rows::{ReportRow, blocked_now, entry_rows, planned_rows};

/// The data of `change`.
#[derive(Debug, Default, Serialize)]
struct Report<'a> {
    id: Option<&'a str>,
    outcome: &'a str,
    what: &'a str,
    message: Option<&'a str>,
    before: Map<String, Value>,
    after: Map<String, Value>,
    undo: Option<String>,
    reverts_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entries: Option<Vec<ReportRow>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    states_ended: Option<u64>,
    /// How many of them were of clients inside (private addresses), where any was.
    #[serde(skip_serializing_if = "Option::is_none")]
    states_ended_inside: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outside: Option<&'a ExternalOutcome>,
    checks: &'a [String],
    risks: &'a [Risk],
}

const ENTRY_COLUMNS: &[&str] = &["address", "added_at", "age_seconds", "result"];

/// Where one change is meant, so many that could be it are read whole.
const MOST_MEANT: usize = 10;
/// So many changes that the firewall took back by itself are noted at once.
const MOST_SETTLED: usize = 1000;
/// So many of the last deletions are looked at.
const MOST_DELETIONS: usize = 100;

/// Reads the changes whose ids begin so, and says where the history is damaged; the others take no memory.
pub fn entries_meant(context: &Context, prefix: &str) -> Result<Vec<HistoryEntry>> {
    let wanted = |plan: &Plan| plan.id.as_str().starts_with(prefix);
    fold_history(context, Folder::of_wanted(MOST_MEANT, wanted))
}

/// Reads the last change with this id.
pub fn entry_of_id(context: &Context, id: &str) -> Result<Option<HistoryEntry>> {
    let wanted = |plan: &Plan| plan.id.as_str() == id;
    Ok(fold_history(context, Folder::of_wanted(1, wanted))?.pop())
}

/// Reads the last changes of this firewall that have one of these ids; where the history is damaged is not said again.
pub fn entries_here(context: &Context, ids: &BTreeSet<&ChangeId>) -> Result<Vec<HistoryEntry>> {
    let wanted = |plan: &Plan| ids.contains(&plan.id) && context.is_of_this_firewall(plan);
    let mut folder = Folder::of_wanted(MOST_SETTLED, wanted);
    scan_into(context, &mut folder)?;
    Ok(folder.into_entries())
}

/// Reads the last change of an id that the firewall knows, of whichever firewall the record says it is.
pub fn armed_entry(context: &Context, id: &ChangeId) -> Result<Option<HistoryEntry>> {
    let mut folder = Folder::of_wanted(1, |plan: &Plan| plan.id == *id);
    scan_into(context, &mut folder)?;
    Ok(folder.into_entries().pop())
}

pub fn ids_here(context: &Context, prefix: &str) -> Result<BTreeSet<ChangeId>> {
    let wanted =
        |plan: &Plan| plan.id.as_str().starts_with(prefix) && context.is_of_this_firewall(plan);
    let entries = fold_history(context, Folder::of_wanted(MOST_MEANT, wanted))?;
    Ok(entries.into_iter().map(|entry| entry.plan.id).collect())
}

/// Reads the last changes of this firewall that deleted rules.
pub fn last_deletions(context: &Context) -> Result<Vec<HistoryEntry>> {
    let wanted = |plan: &Plan| history::is_deletion(plan) && context.is_of_this_firewall(plan);
    fold_history(context, Folder::of_wanted(MOST_DELETIONS, wanted))
}

/// Reads the last changes that were made by this command, on whichever firewall.
pub fn entries_of_command(context: &Context, command: &str) -> Result<Vec<HistoryEntry>> {
    fold_history(context, Folder::of_wanted(MOST_MEANT, |plan: &Plan| plan.command == command))
}

/// Reads which addresses changes from here have blocked on this firewall. What was freed and put back is what it was before.
pub fn read_hand_blocks(context: &Context) -> Result<HandBlocks> {
    context.forget_stale_history()?;
    let mut blocks = HandBlocks::default();
    let mut each = |at: Timestamp, event: HistoryEvent, _| {
        if let HistoryEvent::Started { plan, .. } = event
            && let Operation::TableAdd { entries, .. } = &plan.change.operation
            && (context.is_of_this_firewall(&plan) || plan.firewall == context.firewall_name())
        {
            for PlannedEntry { address, since } in entries {
                blocks.note_block(address.net.addr(), *since, at);
            }
        }
    };
    context.journal()?.scan(&mut each)?;
    Ok(blocks)
}

/// Reads the last changes of the history, so many.
pub fn last_entries(context: &Context, count: usize) -> Result<Vec<HistoryEntry>> {
    fold_history(context, Folder::of_last(count))
}

/// Finds the change of this firewall that `undo` without an id means.
pub fn find_last_undoable(context: &Context) -> Result<Option<ChangeId>> {
    context.forget_stale_history()?;
    let mut search = UndoSearch::default();
    let mut each = |_, event: HistoryEvent, _| {
        let elsewhere = matches!(&event, HistoryEvent::Started { context: Some(name), .. } if context.layers.chosen_context() != Some(name));
        let here = |plan: &Plan| !elsewhere && context.is_of_this_firewall(plan);
        search.push(&event, here);
    };
    // Where the history is damaged is said when the change that was found is read.
    context.journal()?.scan(&mut each)?;
    Ok(search.found())
}

fn fold_history(context: &Context, mut folder: Folder<'_>) -> Result<Vec<HistoryEntry>> {
    let chain = scan_into(context, &mut folder)?;
    if let Some(broken) = chain.breaks.first() {
        context.terminal.caution(&format!(
            "The history's chain is broken at line {}: {}. See: `kmsctl history --verify`",
            broken.line, broken.what
        ));
    }
    Ok(folder.into_entries())
}

fn scan_into(context: &Context, folder: &mut Folder<'_>) -> Result<Chain> {
    context.forget_stale_history()?;
    let mut each = |at, event, broken| folder.push(at, event, broken);
    Ok(context.journal()?.scan(&mut each)?)
}

/// Says that there is nothing to do; on the other stream where it cannot be written, as that is no failure of the change.
pub(super) fn report_nothing_to_do(
    context: &Context,
    reading: &Reading,
    sentence: &str,
    outside: Option<&ExternalOutcome>,
) {
    if let Err(failure) = show_nothing(context, reading, sentence, outside)
        && failure.kind != FailureKind::ReaderGone
    {
        let mut human = Human::default();
        human.verdict("Output", &failure.message, Tone::Bad);
        human.field("Nothing to do", sentence, Tone::Plain);
        context.terminal.present(&human);
    }
}

fn show_nothing(
    context: &Context,
    reading: &Reading,
    sentence: &str,
    outside: Option<&ExternalOutcome>,
) -> Result<()> {
    let report = Report {
        outcome: EndedAs::NothingToDo.name(),
        what: sentence,
        message: Some(sentence),
        outside,
        ..Report::default()
    };
    let mut view = context.view("change", reading, &report)?;
    view.human.line(sentence);
    if let Some(outside) = outside {
        super::external_proof::show_external_proof(&mut view.human, outside);
    }
    // A cron job with -q has nothing to say where there was nothing to do.
    if context.terminal.quiet && context.terminal.mode == Mode::Table && outside.is_none() {
        return Ok(());
    }
    context.terminal.show(&view)
}

/// Shows a plan as data: `--dry-run` and `--plan-out`.
///
/// Only the id of a plan in a file ever names a change; of any other nothing is said that needs it.
pub(super) fn plan_only(
    context: &Context,
    plan: &Plan,
    reading: &Reading,
    in_file: bool,
) -> Result<()> {
    let rows = planned_rows(plan, reading.clock.now);
    let mut report = Report { entries: rows, ..build_report(plan, "dry-run", None) };
    report.undo = report.undo.filter(|_| in_file);
    let mut view = context.view("change", reading, &report)?;
    if report.entries.is_some() {
        view.items = Some(("entries", ENTRY_COLUMNS));
    }
    view.human = of_plan(context, plan, reading, in_file);
    for risk in plan.change.shown_risks() {
        view.human.verdict("Warning", &risk.message, Tone::Warning);
    }
    view.human.line("Nothing was changed.");
    context.terminal.show(&view)
}

/// Reports a change that was carried out. What was refused or failed is reported as that failure.
/// `read_back` is the reading after it, if there was one.
pub(super) fn report_change(
    context: &Context,
    plan: &Plan,
    finish: &Finish,
    before: &Reading,
    read_back: Option<&Reading>,
) -> Result<()> {
    let now = read_back.unwrap_or(before);
    if finish.ended == EndedAs::Failed {
        return Ok(());
    }
    let rows = entry_rows(plan, finish, now);
    let mut report = Report {
        entries: rows,
        states_ended: finish.killed,
        states_ended_inside: finish.killed_inside,
        outside: finish.outside.as_deref(),
        ..build_report(plan, finish.ended.name(), Some(&finish.message))
    };
    // What is not done is not proven either.
    if finish.ended != EndedAs::Done {
        report.checks = &[];
    }
    if finish.ended == EndedAs::RolledBack || finish.ended == EndedAs::NothingToDo {
        report.after = report.before.clone();
        report.undo = None;
    }
    if matches!(finish.ended, EndedAs::Unverified | EndedAs::KeptByOthers) {
        let planned = std::mem::take(&mut report.after);
        report.after = read_back
            .map(|reading| after::known_after(context, finish, planned, reading))
            .unwrap_or_default();
        report.undo = report.undo.filter(|_| finish.took_effect());
    }
    if let Some(reading) = read_back {
        after::exposure_after(context, &mut report.after, reading);
        let operation = &plan.change.operation;
        after::connections_after(context, operation, &mut report.after, before, reading);
    }
    if let Some((field, blocked)) = read_back.and_then(|now| blocked_now(plan, now)) {
        report.after.insert(field, blocked.into());
    }
    let reverts_at = finish.outcome.as_ref().and_then(|outcome| outcome.reverts_at);
    report.reverts_at = reverts_at.and_then(|at| Timestamp::from_second(at).ok());
    let mut view = context.view("change", now, &report)?;
    if report.entries.is_some() {
        view.items = Some(("entries", ENTRY_COLUMNS));
    }
    let lost = finish.outcome.as_ref().and_then(|outcome| outcome.lost_update.as_ref());
    if let Some(file) = lost {
        view.warnings.push(Warning::new(
            "lost-update",
            format!("Another user saved the configuration at the same moment, and our write replaced it; the other version is in {file} on the firewall. What differs: `diff -u {file} /cf/conf/config.xml` there; put back what is missing, or the whole file under Diagnostics > Backup & Restore."),
        ));
    }
    if context.terminal.mode == Mode::Table {
        for_people(&mut view.human, plan, finish, &report, now);
    }
    context.terminal.show(&view)?;
    print_undo_hints(context, plan, finish, &report);
    Ok(())
}

/// Says on the other stream, also when quiet, what a change has come to whose report could not be written.
pub(super) fn in_spite(context: &Context, plan: &Plan, finish: &Finish, failure: &Failure) {
    let mut human = Human::default();
    human.verdict("Output", &failure.message, Tone::Bad);
    let (word, tone) = ending_word(finish.ended);
    human.verdict(word, &finish.message, tone);
    human.field("Change", plan.id.as_str(), Tone::Plain);
    if finish.took_effect() && matches!(plan.change.undo, Undo::Command(_)) {
        human.field("Undo", format!("`{}`", command_line("undo", plan)), Tone::Plain);
    }
    context.terminal.present(&human);
}

/// Says how to take the change back, and how to keep it.
fn print_undo_hints(context: &Context, plan: &Plan, finish: &Finish, report: &Report<'_>) {
    match &report.undo {
        Some(command) => {
            if let Undo::Command(what) = &plan.change.undo {
                context.terminal.hint(&format!("`{command}` {what}"));
            }
        }
        None if finish.ended == EndedAs::Done => {
            // No one wants leftovers back.
            let cleaned = matches!(plan.change.operation, Operation::Clean { .. });
            if let Undo::Impossible(why) = &plan.change.undo
                && !cleaned
            {
                context.terminal.hint(why);
            }
        }
        None => {}
    }
    let live_on = |risk: &Risk| risk.code == "connections-live-on";
    if finish.took_effect() && plan.change.risks.iter().any(live_on) {
        let ends = "`kmsctl states kill --all` ends the connections that live on";
        context.terminal.hint(ends);
    }
    // What is not proven should not be made permanent; the failure says that it reverts.
    if report.reverts_at.is_some() && finish.ended == EndedAs::Done {
        context.terminal.hint(&format!("`{}` makes it permanent", command_line("keep", plan)));
    }
}

fn build_report<'a>(plan: &'a Plan, outcome: &'a str, message: Option<&'a str>) -> Report<'a> {
    let side = |pick: fn(&Difference) -> &Value| {
        let pairs = plan.change.differences.iter();
        pairs.map(|difference| (field_key(&difference.field), pick(difference).clone())).collect()
    };
    Report {
        id: Some(plan.id.as_str()),
        outcome,
        what: &plan.change.what,
        message,
        before: side(|difference| &difference.before),
        after: side(|difference| &difference.after),
        undo: matches!(plan.change.undo, Undo::Command(_)).then(|| command_line("undo", plan)),
        reverts_at: None,
        entries: None,
        states_ended: None,
        states_ended_inside: None,
        outside: None,
        checks: &plan.change.checks,
        risks: &plan.change.risks,
    }
}

/// Scripts want a name without blanks.
fn field_key(field: &str) -> String {
    field.replace(' ', "_")
}

fn command_line(verb: &str, plan: &Plan) -> String {
    format!("kmsctl {verb} {}", plan.id)
}

/// Renders a plan for people: a short difference that can be judged.
/// With `named` its undo carries its id.
pub(super) fn of_plan(context: &Context, plan: &Plan, reading: &Reading, named: bool) -> Human {
    let mut human = Human::default();
    human.field(
        "Plan",
        format!("{} on {}", plan.change.what, context.firewall_name()).replace(". on ", ", on ")
            + ".",
        Tone::Plain,
    );
    for difference in &plan.change.differences {
        let line = format!(
            "{} -> {}",
            difference_text(&difference.before),
            difference_text(&difference.after)
        );
        human.field(&format!("  {}", difference.field), line, Tone::Plain);
    }
    for check in &plan.change.checks {
        human.field("Proof", check, Tone::Plain);
    }
    match &plan.change.undo {
        Undo::Command(what) if named => {
            human.field("Undo", format!("`{}`: {what}", command_line("undo", plan)), Tone::Plain)
        }
        Undo::Command(what) => human.field("Undo", as_sentence(what), Tone::Plain),
        Undo::Impossible(why) => human.field("Undo", format!("none. {why}"), Tone::Warning),
    };
    if let Some(after) = plan.change.reverts_after {
        human.field(
            "Reverts",
            format!("by itself {} after it is made", format_span(after)),
            Tone::Plain,
        );
    }
    if let Some(rows) = planned_rows(plan, reading.clock.now) {
        rows_table(&mut human, &rows);
    }
    human
}

pub fn difference_text(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn ending_word(ended: EndedAs) -> (&'static str, Tone) {
    match ended {
        EndedAs::Done => ("Done", Tone::Good),
        EndedAs::NothingToDo => ("Nothing to do", Tone::Plain),
        EndedAs::RolledBack => ("Rolled back", Tone::Bad),
        EndedAs::Unverified => ("NOT proven", Tone::Bad),
        EndedAs::Failed => ("Failed", Tone::Bad),
        EndedAs::KeptByOthers => ("Kept by others", Tone::Bad),
    }
}

fn for_people(human: &mut Human, plan: &Plan, finish: &Finish, report: &Report<'_>, now: &Reading) {
    let (word, tone) = ending_word(finish.ended);
    human.verdict(word, &finish.message, tone);
    for difference in &plan.change.differences {
        let name = field_key(&difference.field);
        let after = report.after.get(&name);
        if after != Some(&difference.before) {
            let after = after.map_or_else(|| "not known".to_owned(), difference_text);
            let line = format!("{} -> {after}", difference_text(&difference.before));
            human.field(&format!("  {}", difference.field), line, Tone::Plain);
        }
    }
    if let Some(outside) = &finish.outside {
        super::external_proof::show_external_proof(human, outside);
    }
    if let Some(at) = report.reverts_at {
        let left = format_span(age_seconds(now.clock.now, at));
        human.field("Reverts", format!("by itself in {left}, at {at}"), Tone::Plain);
    }
    let left_out = plan.change.risks.iter().find(|risk| risk.code == "for-left-out");
    if let Some(risk) = left_out.filter(|_| finish.took_effect()) {
        human.field("Reverts", format!("never. {}", risk.message), Tone::Warning);
    }
    if let Some(rows) = &report.entries {
        rows_table(human, rows);
    }
}

fn rows_table(human: &mut Human, rows: &[ReportRow]) {
    let cells = rows.iter().map(|row| {
        vec![
            row.address.clone(),
            row.age_seconds.map_or_else(|| "-".to_owned(), format_span),
            row.result.replace('-', " "),
        ]
    });
    let columns = vec![text_column("ADDRESS"), number_column("AGE"), text_column("RESULT")];
    human.gap();
    human.table(columns, cells.collect());
}

/// Renders how a change of the history ended, also where it was taken back later, in a word and its tone.
pub fn entry_ending(entry: &HistoryEntry) -> (&'static str, Tone) {
    let Some(ended) = entry.ended_as() else {
        return ("unknown", Tone::Bad);
    };
    let tone = match ended {
        EndedAs::Done => Tone::Good,
        EndedAs::NothingToDo => Tone::Plain,
        EndedAs::RolledBack | EndedAs::Failed | EndedAs::KeptByOthers => Tone::Warning,
        EndedAs::Unverified => Tone::Bad,
    };
    (ended.name(), tone)
}

/// Leaves out of a failure what its report has said on the same screen: how it ended stays.
pub(super) fn without_said(context: &Context, finish: &Finish, mut failure: Failure) -> Failure {
    let said = finish.message.trim_end_matches('.');
    if context.terminal.shows_people() && failure.message.trim_end_matches('.').ends_with(said) {
        failure.message = match finish.ended {
            EndedAs::RolledBack => "The change was rolled back.",
            EndedAs::KeptByOthers => "The change was left as others made it.",
            _ => "The change is not proven.",
        }
        .to_owned();
    }
    failure
}
