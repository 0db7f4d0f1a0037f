//! Carries out changes of the configuration: has the agent apply them, learns the outcome also when the answer was
//! lost, proves from pf that it is so, and ends connections where that belongs to it. Never guesses: what is not known
//! is called so.

use std::time::Duration;

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::carry::{ActionReplies, ask_again, run_actions};
use super::{Execution, disproof, states};
use crate::app::situation::Situation;
use crate::app::{Context, Session};
use crate::domain::exposure::Part;
use crate::domain::history::{EndedAs, Finish};
use crate::domain::pfsense::change::{
    ChangeEnding, ChangeId, ChangeOutcome, ConfigurationEdit, OutcomeAnswer, Swap,
};
use crate::domain::pfsense::configured::{Configured, parse_tracker};
use crate::domain::pfsense::edit::{EditIds, make_swap};
use crate::domain::pfsense::proof::{PfCondition, PfWant};
use crate::domain::plan::{Draft, Operation, Planned, Refusal, Risk, as_sentence};
use crate::domain::plan::{Live, Plan, StatesChoice, plan_kill};
use crate::domain::reachability::doctor::{MAKE_ROOM, TAKE_MASTER};
use crate::error::{Failure, FailureKind, Result};
use crate::pfsense::actions::{Done, FirewallAction};
use crate::pfsense::agent::{ApplyRequest, OutcomeRequest};
use crate::pfsense::questions::{FactError, Question, Reading};
use crate::text::counted;

/// What proves a change of the configuration.
pub(super) const PROOF: &[Question] = &[
    Question::Rules,
    Question::Translation,
    Question::Configured,
    Question::Dispensable(&Question::Info),
    Question::Dispensable(&Question::AliasTable),
    Question::Dispensable(&Question::States(None)),
];
/// What plans about the configuration are made from.
pub const CHANGING: &[Question] = &[
    Question::Rules,
    Question::Translation,
    Question::Configured,
    Question::Dispensable(&Question::Info),
    Question::Dispensable(&Question::Table),
    Question::Dispensable(&Question::AliasTable),
    Question::Dispensable(&Question::States(None)),
];
/// What keeps pfSense from writing its configuration.
const NOT_WRITTEN: &str = "Look at pfSense's notices and at its disk (Diagnostics > Command Prompt: `df -h /conf`), then run the command again.";
/// How often a change that is still being made is asked for, and how long is waited between.
const ASKED: u32 = 30;
const BETWEEN: Duration = Duration::from_secs(1);

#[derive(Clone, Copy)]
pub(super) struct ConfigurationChange<'a> {
    pub(super) plan: &'a Plan,
    pub(super) change: &'a ConfigurationEdit,
    pub(super) with_pending: bool,
    pub(super) end_connections: bool,
    /// When the firewall was read, by the clock of this machine.
    pub(super) read_at: Timestamp,
}

pub(super) async fn change_configuration(
    context: &Context,
    session: &mut Session,
    wanted: &ConfigurationChange<'_>,
    before: &Reading,
) -> Execution {
    let plan = wanted.plan;
    let configured = match &before.configured {
        Ok(configured) => configured,
        Err(error) => return Execution::from_failure(Failure::from(error)),
    };
    let swap = match swap_of(context, configured, wanted.change, before, &plan.id) {
        Ok(swap) => swap,
        Err(failure) => return Execution::from_failure(failure),
    };
    let request = ApplyRequest {
        service: (&context.settings.service).into(),
        id: plan.id.clone(),
        who: context.who(),
        reason: plan.reason.clone(),
        expect: configured.digest_of_rules(),
        what: wanted.change.edit_words(),
        swap,
        with_pending: wanted.with_pending,
        forget: configured.forgotten_changes(),
        revert_at: plan
            .change
            .reverts_after
            .map(|after| reverts_at(context, before, wanted.read_at, after)),
    };
    let said = run_actions(
        context,
        session,
        "Changing the configuration and loading the rules …",
        vec![FirewallAction::Apply(Box::new(request))],
        PROOF,
    )
    .await;
    let learnt = match said {
        Ok((mut said, reading)) => match said.pop() {
            Some(Ok(Done::Applied(outcome))) => Ok((outcome, Some(reading))),
            Some(Err(error @ FactError::ProgramMissing { .. })) => {
                return Execution::from_failure(Failure::from(&error));
            }
            // PHP began and its answer is not whole: only the firewall knows how far it came.
            _ => fetch_outcome(context, session, &plan.id).await,
        },
        Err(failure) if failure.kind == FailureKind::Interrupted => {
            Err(Box::new(interrupted_change(&plan.id)))
        }
        Err(_) => fetch_outcome(context, session, &plan.id).await,
    };
    match learnt {
        Ok((outcome, reading)) => {
            judge_outcome(context, session, wanted, before, outcome, reading).await
        }
        Err(carried) => *carried,
    }
}

/// Computes the records before and after a change. New records are stamped by the firewall's clock, and named after the
/// change's id in the form of PHP's `uniqid`.
fn swap_of(
    context: &Context,
    configured: &Configured,
    change: &ConfigurationEdit,
    before: &Reading,
    id: &ChangeId,
) -> Result<Swap> {
    let now = before.clock.now.as_second();
    let salt = Sha256::digest(id.as_str());
    let number = |bytes: &[u8], most: u64| {
        bytes.iter().fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte)) % most
    };
    let (fraction, digits) = salt.split_at(16);
    let association = format!(
        "nat_{now:08x}{:05x}{}.{:08}",
        number(fraction, 1_000_000),
        number(digits, 9) + 1,
        number(fraction, 100_000_000)
    );
    let ids = EditIds { who: &context.who(), now, association: &association };
    let service = (&context.settings.service).into();
    let mut swap = make_swap(configured, change, &service, &ids).map_err(Refusal::from)?;
    if never_ran(context, configured, before) {
        let asked = |condition: &PfCondition| condition.wants == PfWant::None;
        swap.proof.before.retain(asked);
    }
    Ok(swap)
}

/// Says whether pf does not run an enabled rule of the pair though nothing waits to be applied, as where its interface has no
/// address: it need not run it either once a change was taken back.
fn never_ran(context: &Context, configured: &Configured, before: &Reading) -> bool {
    let is_missing = |part: &Part| part.enabled == Some(true) && !part.loaded;
    let exposure = context.situation(before).proven_exposure();
    configured.dirty.is_empty()
        && exposure.is_ok_and(|exposure| is_missing(&exposure.nat) || is_missing(&exposure.filter))
}

/// Takes out of a plan a number of connections that was not read, and says so: no change of the configuration waits for it.
pub(super) fn note_unread_connections(draft: &mut Draft, reading: &Reading) {
    let (Operation::Configuration { end_connections, .. }, Err(error)) =
        (&draft.operation, &reading.states)
    else {
        return;
    };
    let next =
        if *end_connections { " They are read again and ended once it is closed." } else { "" };
    let message = format!("Connections: not read, as {error}.{next}");
    draft.differences.retain(|difference| difference.field != "connections");
    draft.risks.push(Risk::new("connections-unread", message));
}

/// The firewall's clock decides; what passed since it was read is measured here.
fn reverts_at(context: &Context, before: &Reading, read_at: Timestamp, after: u64) -> i64 {
    let thought = context.clock.now().duration_since(read_at).as_secs().max(0);
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    before.clock.now.as_second().saturating_add(thought).saturating_add(after)
}

fn interrupted_change(id: &ChangeId) -> Execution {
    Execution::from_interrupt(
        "Interrupted. The firewall may have begun the change: it brings it to an end or takes it back by itself.",
        &format!("Ask it how it ended: `kmsctl history {id}`"),
    )
}

type Learnt = std::result::Result<(Box<ChangeOutcome>, Option<Reading>), Box<Execution>>;

/// Asks the firewall how a change ended whose answer was lost.
async fn fetch_outcome(context: &Context, session: &mut Session, id: &ChangeId) -> Learnt {
    let unknown = |why: &str| {
        let message = format!(
            "The connection was lost during the change, and it is not known how it ended: {why} The firewall finishes or takes it back by itself."
        );
        let next = format!("Ask it when it can be reached again: `kmsctl history {id}`");
        Box::new(Execution::not_known(&message, &next))
    };
    for _ in 0..ASKED {
        let said = match outcome_of(context, session, id, true).await {
            Ok(said) => said,
            Err(failure) if failure.kind == FailureKind::Interrupted => {
                return Err(Box::new(interrupted_change(id)));
            }
            Err(failure) => return Err(unknown(&failure.message)),
        };
        match said {
            (Ok(OutcomeAnswer::Ended { outcome }), reading) => return Ok((outcome, Some(reading))),
            (Ok(OutcomeAnswer::Unknown), reading) => {
                let message = "The connection was lost before the firewall began the change; nothing was changed.";
                let mut carried = Execution::from_failure(
                    Failure::failed(message).hint("Run the command again."),
                );
                carried.reading = Some(reading);
                return Err(Box::new(carried));
            }
            (Ok(OutcomeAnswer::Running { .. }), _) => {
                if context.pause(BETWEEN).await.is_err() {
                    return Err(Box::new(interrupted_change(id)));
                }
            }
            (Err(error), _) => return Err(unknown(&format!("{error}."))),
        }
    }
    Err(unknown("the firewall is still at work."))
}

/// Asks once how a change ended; where it is to be settled, the answer is final.
pub(super) async fn outcome_of(
    context: &Context,
    session: &mut Session,
    id: &ChangeId,
    settle: bool,
) -> Result<(std::result::Result<OutcomeAnswer, FactError>, Reading)> {
    let request =
        OutcomeRequest { service: (&context.settings.service).into(), id: id.clone(), settle };
    let (mut said, reading): ActionReplies =
        ask_again(context, session, vec![FirewallAction::Outcome(request)], PROOF).await?;
    let answer = match said.pop() {
        Some(Ok(Done::Answered(answer))) => Ok(answer),
        Some(Err(error)) => Err(error),
        _ => Err(FactError::NotAsked),
    };
    Ok((answer, reading))
}

/// Turns an outcome into an ending, and proves it with kmsctl's own eyes.
async fn judge_outcome(
    context: &Context,
    session: &mut Session,
    wanted: &ConfigurationChange<'_>,
    before: &Reading,
    outcome: Box<ChangeOutcome>,
    reading: Option<Reading>,
) -> Execution {
    let mut carried = of_outcome(outcome, reading);
    if wanted.change.only_closes()
        && let Some(failure) = carried.failure.take()
    {
        carried.failure = Some(failure.hint(closing_hint(context, before)));
    }
    let in_force = matches!(carried.finish.ended, EndedAs::Done | EndedAs::NothingToDo);
    if !in_force {
        return carried;
    }
    if let Some(problem) = speaks_against(context, wanted, before, carried.reading.as_ref()) {
        carried.finish.ended = EndedAs::Unverified;
        carried.finish.message = problem.clone();
        let failure = Failure::new(FailureKind::Unproven, problem)
            .hint("See what is in force: `kmsctl expose show`");
        let now = carried.reading.as_ref().filter(|_| wanted.change.only_closes());
        carried.failure = Some(match now {
            Some(now) => failure.hint(closing_hint(context, now)),
            None => failure,
        });
    }
    if carried.finish.ended == EndedAs::Done
        && matches!(wanted.change, ConfigurationEdit::Caps { .. })
        && let Some(reading) = &carried.reading
        && let Ok(exposure) = context.situation(reading).exposure()
        && !exposure.filter.loaded
    {
        let when = match exposure.filter.enabled {
            Some(false) => "the rules are enabled",
            _ => "pf runs the rule",
        };
        carried.finish.message = format!("Written; the caps count once {when}.");
    }
    if wanted.end_connections {
        end_connections(context, session, before, &mut carried).await;
    }
    carried
}

/// Says how the service is closed by hand, as it stands in a reading.
fn closing_hint(context: &Context, reading: &Reading) -> String {
    let service = &context.settings.service;
    let situation = context.situation(reading);
    situation
        .exposure()
        .map_or_else(|_| service.closing_by_hand(), |exposure| exposure.closing_by_hand(service))
}

/// Says what speaks against the change, and what could not be read that would: neither is proven.
fn speaks_against(
    context: &Context,
    wanted: &ConfigurationChange<'_>,
    before: &Reading,
    reading: Option<&Reading>,
) -> Option<String> {
    let exposure = match reading.map(|reading| context.situation(reading).proven_exposure()) {
        Some(Ok(exposure)) => exposure,
        Some(Err(why)) => return Some(unread_clause(&why)),
        None => return Some(unread_clause("nothing was read afterwards.")),
    };
    let plan = &wanted.plan.change;
    let before = context.situation(before).exposure().ok();
    let closes = wanted.change.only_closes() && plan.undoes.is_none();
    disproof::contradiction(wanted.change, plan.turns_exposure(), exposure, closes)
        .or_else(|| disproof::contradicting_state(plan, before?, exposure))
        .or_else(|| disproof::contradicting_caps(plan, exposure))
        .or_else(|| disproof::of_alias(exposure, &reading?.alias_table))
}

fn unread_clause(why: &str) -> String {
    format!("The firewall says that it is done, but what pf runs could not be read back: {why}")
}

/// Returns whether the firewall was to take it back, and did not, as another writer has changed the rules.
fn left_alone(outcome: &ChangeOutcome) -> bool {
    outcome.steps.iter().any(|step| step.name == "left-alone")
}

/// Says where the steps of a change are, those that failed among them.
fn steps_hint(id: &ChangeId) -> String {
    format!("See its steps: `kmsctl history {id}`")
}

/// Turns what the agent says into an ending.
pub(super) fn of_outcome(outcome: Box<ChangeOutcome>, reading: Option<Reading>) -> Execution {
    let message = match &outcome.holder {
        Some(holder) => {
            let since = Timestamp::from_second(holder.since).unwrap_or_default();
            let (who, what) = (&holder.who, &holder.what);
            as_sentence(&format!("{who} is making a change since {since}: {what}"))
        }
        None => as_sentence(&outcome.brief_message()),
    };
    let conflict = |hint: &str| Some(Failure::new(FailureKind::Conflict, &message).hint(hint));
    let (ended, failure) = match outcome.result {
        ChangeEnding::Done => (EndedAs::Done, None),
        ChangeEnding::NothingToDo => (EndedAs::NothingToDo, None),
        ChangeEnding::RolledBack => (
            EndedAs::RolledBack,
            Some(
                Failure::new(FailureKind::Unproven, format!("Rolled back: {message}"))
                    .hint("See what pfSense says of its rules (Status > Filter Reload), and run the command again once they load.")
                    .hint(steps_hint(&outcome.id)),
            ),
        ),
        ChangeEnding::Unproven if left_alone(&outcome) => (
            EndedAs::KeptByOthers,
            Some(
                Failure::new(FailureKind::Unproven, &message)
                    .hint("See what is in force: `kmsctl expose show`"),
            ),
        ),
        ChangeEnding::Unproven => (
            EndedAs::Unverified,
            Some(
                Failure::new(FailureKind::Unproven, &message)
                    .hint("See what is in force: `kmsctl expose show`")
                    .hint(format!(
                        "Where the firewall goes on with it, ask it how it ended: `kmsctl history {}`",
                        outcome.id
                    )),
            ),
        ),
        ChangeEnding::Stale => (
            EndedAs::Failed,
            conflict("Make a new plan: run the command again."),
        ),
        ChangeEnding::Locked => (
            EndedAs::Failed,
            conflict("Wait for the other operator, and look again: `kmsctl expose show`"),
        ),
        ChangeEnding::Pending => (
            EndedAs::Failed,
            conflict("Apply or undo the waiting changes in the GUI, or go on with --with-pending."),
        ),
        ChangeEnding::Refused | ChangeEnding::Failed => {
            let failure = Failure::failed(&message);
            let has_failed = |name: &str| {
                outcome.steps.iter().any(|step| step.name == name && (!step.ok || name == "room"))
            };
            let failure = if has_failed("room") {
                failure.hint(MAKE_ROOM)
            } else if has_failed("write") {
                failure.hint(NOT_WRITTEN)
            } else if has_failed("primary") {
                failure.hint(TAKE_MASTER)
            } else {
                failure
            };
            (EndedAs::Failed, Some(failure.hint(steps_hint(&outcome.id))))
        }
    };
    let mut finish = Finish::new(ended, message);
    finish.outcome = Some(outcome);
    Execution { finish, reading, failure }
}

/// Ends the service's connections after it was closed. That they live on does not make the closing undone, so it is
/// shown as what it is: done, and not all of it proven.
async fn end_connections(
    context: &Context,
    session: &mut Session,
    before: &Reading,
    carried: &mut Execution,
) {
    let Some(Ok(states)) = carried.reading.as_ref().map(|reading| &reading.states) else {
        return connections_left(carried, "they could not be read.");
    };
    let asked = context.situation(before);
    let live = Live::new(states, &context.settings.service, asked.members());
    let known = labels_of_rule(&asked, carried);
    let planned = plan_kill(&live, known, &StatesChoice::All);
    let Ok(Planned::Change(draft)) = planned else {
        match planned {
            Err(refusal) => connections_left(carried, &refusal.message),
            _ => carried.finish.killed = Some(0),
        }
        return;
    };
    let Operation::StatesKill { labels, states, .. } = draft.operation else {
        return;
    };
    // What was alive before is no answer any more.
    let was_read = carried.reading.as_mut().map(|reading| &mut reading.states);
    match states::kill_states_in_rounds(context, session, &labels, &states, before).await {
        Ok(killing) => {
            carried.finish.killed = Some(killing.killed);
            carried.finish.killed_inside = Some(killing.inside).filter(|inside| *inside > 0);
            let message = &mut carried.finish.message;
            message.push_str(&format!(" {}", killing.ended_sentence()));
            if let Some(states) = was_read {
                *states = killing.reading.states;
            }
            if killing.left > 0 {
                connections_left(
                    carried,
                    &counted(killing.left, "state is still there.", "states are still there."),
                );
            }
        }
        Err(failure) => {
            if let Some(states) = was_read {
                *states = Err(FactError::NotAsked);
            }
            let kind = failure.kind;
            connections_left(carried, &failure.message);
            if let (FailureKind::Interrupted, Some(unproven)) = (kind, &mut carried.failure) {
                unproven.kind = kind;
            }
        }
    }
}

/// States keep the labels of the rule that made them, also when it is not loaded any more: those it had before the change.
/// Where it was not loaded then either, or has none (pfSense 2.6), the states go by their ids.
fn labels_of_rule(before: &Situation<'_>, carried: &Execution) -> Vec<String> {
    let outcome = carried.finish.outcome.as_ref();
    let record = outcome.and_then(|outcome| outcome.before.filter.as_ref());
    let tracker = record.and_then(|placed| placed.record.child_text("tracker"));
    let tracker = tracker.and_then(parse_tracker);
    before.labels_of_tracker(tracker)
}

/// Says that connections are left. That something else is not proven either stays in the first place.
fn connections_left(carried: &mut Execution, why: &str) {
    const NEXT: &str = "End them: `kmsctl states kill --all`";
    let failure = if let Some(failure) = carried.failure.take() {
        failure.hint(format!("Not all connections were ended: {why} {NEXT}"))
    } else {
        let message = format!("The exposure is closed, but not all connections were ended: {why}");
        carried.finish.message.clone_from(&message);
        Failure::new(FailureKind::Unproven, message).hint(NEXT)
    };
    carried.failure = Some(failure);
    carried.finish.ended = EndedAs::Unverified;
}
