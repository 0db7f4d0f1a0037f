//! Finds out how a change ended whose ending is not in the history: the operator's machine died, the connection was lost
//! and did not come back, or the firewall was not done with it yet. The firewall keeps the outcome under the change's id.

use super::{config, report};
use crate::app::{Context, Session};
use crate::domain::history::{EndedAs, Finish, HistoryEntry, HistoryEvent};
use crate::domain::pfsense::change::{ChangeOutcome, Expired, OutcomeAnswer};
use crate::domain::plan::Operation;
use crate::error::{Failure, Result};
use crate::pfsense::questions::Reading;

/// Asks the firewall and writes the answer into the history; `None` where it cannot know, or is still at work.
pub async fn settle_entry(
    context: &Context,
    session: &mut Session,
    entry: &HistoryEntry,
) -> Result<Option<Finish>> {
    if !entry.is_unsettled() {
        return Ok(None);
    }
    context.check_firewall(&entry.plan)?;
    let (answer, reading) = config::outcome_of(context, session, &entry.plan.id, true).await?;
    let finish = match answer.map_err(|error| Failure::from(&error))? {
        OutcomeAnswer::Ended { outcome } => config::of_outcome(outcome, Some(reading)).finish,
        OutcomeAnswer::Unknown => Finish::new(
            EndedAs::Failed,
            "The firewall never began this change; nothing was changed.",
        ),
        OutcomeAnswer::Running { .. } => return Ok(None),
    };
    if entry.finish.as_ref() == Some(&finish) {
        return Ok(None);
    }
    let ended = HistoryEvent::ended(&entry.plan.id, finish.clone());
    context.journal()?.append(context.clock.now(), &ended)?;
    Ok(Some(finish))
}

/// Asks the firewall what it keeps of a change of the configuration: its own records are what is put back.
pub async fn fetch_stored_outcome(
    context: &Context,
    session: &mut Session,
    entry: &HistoryEntry,
) -> Result<Option<Box<ChangeOutcome>>> {
    if !matches!(entry.plan.change.operation, Operation::Configuration { .. }) {
        return Ok(None);
    }
    let (answer, _) = config::outcome_of(context, session, &entry.plan.id, false).await?;
    match answer.map_err(|error| Failure::from(&error))? {
        OutcomeAnswer::Ended { outcome } => Ok(Some(outcome)),
        OutcomeAnswer::Running { .. } | OutcomeAnswer::Unknown => Ok(None),
    }
}

/// Writes into the history which changes the firewall has taken back by itself, or whose rollback a later change has
/// disarmed: the firewall does not keep that for ever. Returns whether there was any.
pub fn note_expired(context: &Context, reading: &Reading) -> Result<bool> {
    let expired = reading.configured.iter().flat_map(|read| &read.expired);
    let expired: Vec<Expired> = expired.cloned().collect();
    if expired.is_empty() {
        return Ok(false);
    }
    let ids = expired.iter().map(|expired| &expired.id).collect();
    let mut learnt = false;
    for entry in report::entries_here(context, &ids)? {
        let Some(finish) = entry.learnt_ending(&expired) else {
            continue;
        };
        let ended = HistoryEvent::ended(&entry.plan.id, finish);
        context.journal()?.append(context.clock.now(), &ended)?;
        learnt = true;
    }
    Ok(learnt)
}
