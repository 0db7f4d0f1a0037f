//! Carries out changes of the overload table, and proves them by reading the table back in the same round. pfctl adds
//! and deletes in one call to the kernel, so there is no half-way to repair; after a lost connection the table itself
//! says what happened.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use super::Execution;
use super::carry::{ask_again, run_actions};
use crate::app::{Context, Session};
use crate::domain::history::{EndedAs, Finish};
use crate::domain::pf::table::{Entry, TableName};
use crate::domain::plan::{Address, PlannedEntry};
use crate::error::{Failure, FailureKind};
use crate::pfsense::actions::{Done, FirewallAction};
use crate::pfsense::questions::{Answer, FactError, Question, Reading};
use crate::text::counted;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Delete,
    Add,
}

/// So many addresses' counts are forgotten in one script.
const FORGOTTEN_AT_ONCE: usize = 200;
const LOOK: &str = "See what the table holds: `kmsctl virusprot show`";
const PROOF: &[Question] = &[Question::Client, Question::Table];

/// Deletes exactly these entries. Before them pf's counts of some go: while an address is blocked, nothing is counted of it.
pub(super) async fn free_entries(
    context: &Context,
    session: &mut Session,
    table: &TableName,
    entries: &[PlannedEntry],
    forget: &[IpAddr],
) -> Execution {
    let delete = FirewallAction::Delete(table.clone(), addresses_of(entries));
    let forgets = forget.iter().copied().map(FirewallAction::ForgetSource);
    let mut actions: Vec<FirewallAction> = forgets.chain([delete]).collect();
    let mut refusals = Vec::new();
    // One call of pfctl forgets one address, and one script holds so many of them.
    while actions.len() > FORGOTTEN_AT_ONCE {
        let batch = actions.drain(..FORGOTTEN_AT_ONCE).collect();
        let done = forget.len() + 1 - actions.len() - FORGOTTEN_AT_ONCE;
        let doing = format!("pf forgets what it counted: {done} of {} …", forget.len());
        match run_actions(context, session, &doing, batch, &[]).await {
            Ok((said, _)) => refusals.extend(said.into_iter().filter_map(Result::err)),
            Err(failure) => {
                let change = Direction::Delete;
                return ask_table_again(context, session, entries, change, failure).await;
            }
        }
    }
    let doing = format!("Freeing {} …", counted(entries.len(), "entry", "entries"));
    let mut carried = match run_actions(context, session, &doing, actions, PROOF).await {
        Ok((mut said, reading)) => {
            let deleted = said.pop();
            refusals.extend(said.into_iter().filter_map(Result::err));
            judge_reply(deleted, entries, Direction::Delete, reading)
        }
        Err(failure) => {
            return ask_table_again(context, session, entries, Direction::Delete, failure).await;
        }
    };
    say_forgotten(&mut carried, forget.len(), &refusals);
    carried
}

/// Says what became of pf's counts, where entries were freed at all.
fn say_forgotten(carried: &mut Execution, wanted: usize, refusals: &[FactError]) {
    if wanted == 0 || carried.finish.changed.is_empty() {
        return;
    }
    let forgotten = wanted.saturating_sub(refusals.len());
    let message = &mut carried.finish.message;
    let addresses = counted(forgotten, "address", "addresses");
    message.push_str(&format!(" pf forgot what it counted of {addresses}."));
    if let Some(first) = refusals.first()
        && carried.failure.is_none()
    {
        carried.finish.ended = EndedAs::Unverified;
        let message = format!(
            "Freed, but pf may block {} again at the next connection: it did not forget what it counted there. {}",
            counted(refusals.len(), "address", "addresses"),
            Failure::from(first).message
        );
        carried.failure = Some(Failure::new(FailureKind::Unproven, message).hint(LOOK));
    }
}

pub(super) async fn block_entries(
    context: &Context,
    session: &mut Session,
    table: &TableName,
    entries: &[PlannedEntry],
) -> Execution {
    let change = Direction::Add;
    let action = FirewallAction::Add(table.clone(), addresses_of(entries));
    let doing = format!("Blocking {} …", counted(entries.len(), "entry", "entries"));
    match run_actions(context, session, &doing, vec![action], PROOF).await {
        Ok((mut said, reading)) => judge_reply(said.pop(), entries, change, reading),
        Err(failure) => ask_table_again(context, session, entries, change, failure).await,
    }
}

fn addresses_of(entries: &[PlannedEntry]) -> Vec<Address> {
    entries.iter().map(|entry| entry.address).collect()
}

fn judge_reply(
    reply: Option<Answer<Done>>,
    entries: &[PlannedEntry],
    direction: Direction,
    reading: Reading,
) -> Execution {
    match reply {
        Some(Ok(Done::Changed(changed))) => {
            compare_table(entries, Some(&changed), direction, reading)
        }
        Some(Err(error)) => refused_change(&error, reading),
        _ => Execution::not_verified("The firewall did not say what it did.", Some(reading)),
    }
}

/// Asks the table what happened. Also when the operator interrupted: pfctl may have done it, and without knowing what,
/// nothing could be undone. A second interruption is taken as it is.
async fn ask_table_again(
    context: &Context,
    session: &mut Session,
    entries: &[PlannedEntry],
    direction: Direction,
    failure: Failure,
) -> Execution {
    let interrupted = failure.kind == FailureKind::Interrupted;
    let asked = ask_again(context, session, Vec::new(), PROOF).await;
    match asked {
        Ok((_, reading)) if interrupted => {
            stopped_change(compare_table(entries, None, direction, reading), entries)
        }
        Ok((_, reading)) => compare_table(entries, None, direction, reading),
        Err(again) if interrupted || again.kind == FailureKind::Interrupted => {
            Execution::from_interrupt(
                "Interrupted; it is not known whether the table was changed.",
                LOOK,
            )
        }
        Err(again) => Execution::not_known(
            &format!(
                "The connection was lost during the change, and the firewall cannot be asked what happened: {}",
                again.message
            ),
            LOOK,
        ),
    }
}

/// What was seen right after an interruption need not be the last of it.
fn stopped_change(mut carried: Execution, entries: &[PlannedEntry]) -> Execution {
    let seen = carried.finish.changed.len();
    let unfinished = Execution::from_interrupt(
        &format!(
            "Interrupted. Asked right afterwards, {seen} of {} entries were changed; what was sent already may follow.",
            entries.len()
        ),
        LOOK,
    );
    carried.finish.ended = unfinished.finish.ended;
    carried.finish.message = unfinished.finish.message;
    carried.failure = unfinished.failure;
    carried
}

fn refused_change(error: &FactError, reading: Reading) -> Execution {
    let mut carried = Execution::from_failure(Failure::from(error));
    carried.reading = Some(reading);
    carried
}

/// Compares the table afterwards with what was wanted. `said` are the entries pfctl says it changed, if it was heard.
fn compare_table(
    entries: &[PlannedEntry],
    said: Option<&[Address]>,
    direction: Direction,
    reading: Reading,
) -> Execution {
    let Ok(now) = &reading.table else {
        return Execution::not_verified(
            "The table could not be read back, so nothing is proven.",
            Some(reading),
        );
    };
    let there: HashMap<Address, &Entry> = now.iter().map(|now| (now.into(), now)).collect();
    let said: Option<HashSet<&Address>> = said.map(|said| said.iter().collect());
    let (mut changed, mut missed) = (Vec::new(), 0_usize);
    for entry in entries {
        let named = said.as_ref().is_some_and(|said| said.contains(&entry.address));
        match (direction, there.get(&entry.address)) {
            (Direction::Delete, Some(now)) if !named && is_same_entry(now, entry) => missed += 1,
            (Direction::Add, None) => missed += 1,
            // Without pfctl's word, an entry that is as wanted is taken for our work.
            _ if named || said.is_none() => changed.push(*entry),
            _ => {}
        }
    }
    let (verb, count) = match direction {
        Direction::Delete => ("freed", changed.len()),
        Direction::Add => ("blocked", changed.len()),
    };
    let mut finish = Finish::new(EndedAs::Done, format!("{count} of {} {verb}.", entries.len()));
    finish.changed = changed;
    let failure = (missed > 0).then(|| {
        let message = format!("{missed} of {} entries stayed as they were.", entries.len());
        if finish.changed.is_empty() {
            finish.ended = EndedAs::Failed;
            Failure::failed(message).hint(LOOK)
        } else {
            finish.ended = EndedAs::Unverified;
            Failure::new(FailureKind::Unproven, message).hint(LOOK)
        }
    });
    Execution { finish, reading: Some(reading), failure }
}

/// An entry with a later time was freed and blocked again meanwhile.
fn is_same_entry(now: &Entry, planned: &PlannedEntry) -> bool {
    now.since == planned.since
}
