//! `kmsctl undo`: takes a change back, by a plan like any other.

use std::ffi::OsString;

use clap::Args as ClapArgs;
use jiff::SignedDuration;

use super::contexts::peer::undo_on_pair;
use crate::app::{Context, Session, require_answer};
use crate::change;
use crate::change::{ChangeFlags, report};
use crate::domain::history;
use crate::domain::history::{ChangeBeside, HistoryEntry};
use crate::domain::pfsense::change::{ChangeId, ChangeOutcome};
use crate::domain::plan::{self, ChangeOptions, Operation, Past, Planned, Undo};
use crate::error::{Failure, FailureKind, Result};
use crate::pfsense::questions::{Question, Reading};
use crate::text::whole_second;

/// Arguments of `kmsctl undo`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The change's id or the beginning of it; without one, the last that can be taken back
    id: Option<String>,
    /// Go on although changes saved in the GUI wait to be applied; they are activated too
    #[arg(long)]
    with_pending: bool,
    #[command(flatten)]
    flags: ChangeFlags,
}

/// Runs `kmsctl undo`. `global` are the words of the command line that every command takes.
pub async fn undo_change(context: &Context, arguments: &Args, global: &[OsString]) -> Result<()> {
    context.require_configuration()?;
    if let Some(id) = &arguments.id {
        let entries = report::entries_meant(context, id)?;
        let entry = history::find_entry(&entries, id)?;
        if !entry.is_unsettled() {
            takes_effect(entry)?;
        }
    }
    if context.journal()?.count()? == 0 {
        return Err(nothing_to_take_back(context));
    }
    arguments.flags.someone_can_confirm(context.terminal)?;
    // Which changes are this firewall's is known by its host key alone.
    let mut session = context.connect().await?;
    let entry = match Box::pin(find_change(context, &mut session, arguments.id.as_deref())).await {
        Ok(entry) => entry,
        Err(failure) => {
            let _ = session.close().await;
            return Err(failure);
        }
    };
    let terms = ChangeOptions { with_pending: arguments.with_pending, ..ChangeOptions::default() };
    if arguments.id.is_none() {
        context.terminal.say(&format!(
            "The last change that can be taken back: {}, made at {} by {}: {}.",
            entry.plan.id,
            whole_second(entry.at),
            entry.carried_out_by(),
            entry.plan.command
        ));
    }
    let unrecorded = unrecorded_beside(context, &entry);
    if let Some(ChangeBeside { context: node, id }) =
        change_beside(context, &entry).or(unrecorded.as_ref())
    {
        if unrecorded.is_none() && context.settings.firewall.peer.as_deref() == Some(node) {
            session.close().await?;
            let ids = (entry.plan.id.as_str(), id.as_str());
            return Box::pin(undo_on_pair(context, ids, node, &arguments.flags, global)).await;
        }
        if !arguments.flags.shows_only() {
            context.terminal.caution(&format!(
                "The same change of {node} is left as it is. To take it back: `kmsctl --context {node} --alone undo {id}`"
            ));
        }
    }
    let command = format!("undo {}", entry.plan.id);
    let stored = match change::fetch_stored_outcome(context, &mut session, &entry).await {
        Ok(stored) => stored,
        Err(failure) => {
            let _ = session.close().await;
            return Err(failure);
        }
    };
    let stored = stored.as_deref();
    let plan = |reading: &Reading| plan_undo(context, &entry, stored, reading, terms);
    let questions = match entry.plan.change.operation {
        Operation::Configuration { .. } => change::CHANGING,
        _ => &[Question::Client, Question::Table],
    };
    let change = change::ChangeRun::new(context, &arguments.flags, &command, questions);
    change.run_over(session, plan).await
}

/// Finds the change that is meant, as it stands by what the firewall says.
async fn find_change(
    context: &Context,
    session: &mut Session,
    id: Option<&str>,
) -> Result<HistoryEntry> {
    let mut entry = choose_entry(context, id)?;
    if id.is_none() && entry.may_be_reverted() {
        // What was taken back by itself is not what is meant.
        let reading = context.ask_over(session, &[Question::Configured]).await?;
        change::note_expired(context, &reading)?;
        entry = choose_entry(context, None)?;
    }
    if entry.is_unsettled() {
        change::settle_entry(context, session, &entry).await?;
        entry = choose_entry(context, Some(entry.plan.id.as_str()))?;
    }
    takes_effect(&entry)?;
    Ok(entry)
}

/// Returns the change of a pair's other node that was made together with this one, unless it is known not to be in effect.
fn change_beside<'a>(context: &Context, entry: &'a HistoryEntry) -> Option<&'a ChangeBeside> {
    let beside = entry.beside.as_ref()?;
    let node = context.in_context(&beside.context);
    let other = node.and_then(|node| report::entry_of_id(&node, &beside.id));
    let stands = other.is_err()
        || other.is_ok_and(|other| other.as_ref().is_some_and(HistoryEntry::is_in_effect));
    stands.then_some(beside)
}

/// Finds the change of a pair's other node that was made together with this one by a kmsctl that recorded neither with the
/// other; it may be another, so it is only named.
fn unrecorded_beside(context: &Context, entry: &HistoryEntry) -> Option<ChangeBeside> {
    const TOGETHER: SignedDuration = SignedDuration::from_mins(10);
    let peer = context.settings.firewall.peer.as_deref().filter(|_| entry.beside.is_none())?;
    let node = context.in_context(peer).ok()?;
    let others = report::entries_of_command(&node, &entry.plan.command).ok()?;
    let mut others = others.into_iter().filter(|other| {
        other.context.as_deref() == Some(peer)
            && other.beside.is_none()
            && other.is_in_effect()
            && other.at.duration_since(entry.at).abs() <= TOGETHER
    });
    let id = others.next_back()?.plan.id.to_string();
    Some(ChangeBeside { context: peer.to_owned(), id })
}

fn choose_entry(context: &Context, id: Option<&str>) -> Result<HistoryEntry> {
    let last = match id {
        Some(_) => None,
        None => report::find_last_undoable(context)?,
    };
    let Some(id) = id.or(last.as_ref().map(ChangeId::as_str)) else {
        return Err(nothing_to_take_back(context));
    };
    let entries = report::entries_meant(context, id)?;
    let entry = history::find_entry(&entries, id)?;
    check_entry(context, entry)?;
    Ok(entry.clone())
}

fn nothing_to_take_back(context: &Context) -> Failure {
    let firewall = context.firewall_name();
    Failure::failed(format!("There is nothing to take back: no change made from here is known to be in force on {firewall}."))
        .hint("See how each change ended: `kmsctl history`")
}

/// Refuses an entry of another firewall, or of another context.
pub(super) fn check_entry(context: &Context, entry: &HistoryEntry) -> Result<()> {
    context.check_firewall(&entry.plan)?;
    let here = context.layers.chosen_context();
    // One box may have two services, and what is proven is about the chosen context's.
    if let Some(made_in) = entry.context.as_deref().filter(|name| here != Some(name)) {
        return Err(Failure::new(
            FailureKind::Conflict,
            format!(
                "{} was made in the context `{made_in}`, which this is not; nothing was changed.",
                entry.plan.id
            ),
        )
        .hint(format!("Run it with --context {made_in}.")));
    }
    Ok(())
}

/// Says what cannot be taken back.
fn takes_effect(entry: &HistoryEntry) -> Result<()> {
    let id = &entry.plan.id;
    if let Some(by) = &entry.undone_by {
        return Err(Failure::failed(format!("{id} was taken back already, by {by}.")));
    }
    if let Undo::Impossible(why) = &entry.plan.change.undo {
        return Err(Failure::failed(format!("{id} cannot be taken back. {why}")));
    }
    if entry.finish.is_some() && !entry.took_effect() {
        return Err(Failure::failed(format!(
            "There is nothing to take back: {id} ended as {}.",
            entry.ending_word()
        )));
    }
    Ok(())
}

fn plan_undo(
    context: &Context,
    entry: &HistoryEntry,
    stored: Option<&ChangeOutcome>,
    reading: &Reading,
    terms: ChangeOptions,
) -> Result<Planned> {
    if !matches!(entry.plan.change.operation, Operation::Configuration { .. }) {
        let own = &context.settings.service.table;
        if let Operation::TableDelete { table, .. } | Operation::TableAdd { table, .. } =
            &entry.plan.change.operation
            && table != own
        {
            let id = &entry.plan.id;
            let of_another = format!(
                "{id} was a change of another table than {}; nothing was changed.",
                own.as_str()
            );
            return Err(Failure::new(FailureKind::Conflict, of_another));
        }
        let past = Past::Table(require_answer(&reading.table)?, reading.client);
        return Ok(plan::plan_undo(entry, &past)?);
    }
    let situation = context.situation(reading);
    let past = Past::Configuration(situation.present()?, terms, stored);
    Ok(plan::plan_undo(entry, &past)?)
}
