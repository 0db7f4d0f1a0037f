//! Ends states and proves it: by the rule's label first where the plan names it, then by id what is still there, read back in
//! the same rounds.
//! Bounded: a client that reconnects faster than states end is reported, not chased.

use std::net::IpAddr;

use ipnet::IpNet;

use super::Execution;
use super::carry::{ActionReplies, ask_again, run_actions};
use crate::app::{Context, Session};
use crate::domain::address::is_private;
use crate::domain::connections::connection_half;
use crate::domain::history::{EndedAs, Finish};
use crate::domain::pf::rule::Direction;
use crate::domain::pf::state::State;
use crate::domain::plan::PlannedState;
use crate::error::{Failure, FailureKind, Result};
use crate::pfsense::actions::{Done, FirewallAction};
use crate::pfsense::questions::{FactError, Question, Reading};
use crate::text::counted;

const PROOF: &[Question] = &[Question::States(None)];
const LOOK: &str = "See who is still connected: `kmsctl states`";

pub(super) struct Killing {
    pub(super) killed: u64,
    /// Planned states of clients inside that are gone.
    pub(super) inside: u64,
    /// Planned connections that are gone, and how many of them were from inside.
    connections: (u64, u64),
    pub(super) left: usize,
    pub(super) new: usize,
    /// The last reading.
    pub(super) reading: Reading,
    /// pfctl's first complaint.
    trouble: Option<FactError>,
}

pub(super) async fn end_states(
    context: &Context,
    session: &mut Session,
    labels: &[String],
    states: &[PlannedState],
    clients: &[IpAddr],
    before: &Reading,
) -> Execution {
    match kill_states_in_rounds(context, session, labels, states, before).await {
        Ok(killing) => judge_killing(killing, clients),
        Err(failure) if failure.kind == FailureKind::Interrupted => Execution::from_interrupt(
            "Interrupted while states were being ended; some may be left.",
            LOOK,
        ),
        Err(failure) => Execution::not_known(
            &format!("It is not known which states were ended: {}", failure.message),
            LOOK,
        ),
    }
}

fn judge_killing(killing: Killing, clients: &[IpAddr]) -> Execution {
    let said = killing.ended_sentence();
    let Killing { killed, inside, left, new, reading, trouble, .. } = killing;
    let again = if new > 0 && clients.is_empty() {
        let new = counted(new, "state was", "states were");
        format!(" {new} made meanwhile: clients connect again.")
    } else {
        String::new()
    };
    let message = format!("{said}{again}");
    let mut finish = Finish::new(EndedAs::Done, message);
    finish.killed = Some(killed);
    finish.killed_inside = Some(inside).filter(|inside| *inside > 0);
    let failure = match (left, trouble) {
        (0, _) => None,
        (_, Some(error)) if killed == 0 => {
            finish.ended = EndedAs::Failed;
            Some(Failure::from(&error))
        }
        _ => {
            finish.ended = EndedAs::Unverified;
            let left = counted(left, "state is still there.", "states are still there.");
            Some(Failure::new(FailureKind::Unproven, left).hint(LOOK))
        }
    };
    Execution { finish, reading: Some(reading), failure }
}

impl Killing {
    /// Says how many connections were ended, how many of those from inside, and how many states of pf that were: pf keeps two of
    /// each, and some of connections that are no more.
    pub(super) fn ended_sentence(&self) -> String {
        let (ended, inside) = self.connections;
        let states = counted(self.killed, "pf state", "pf states");
        if ended == 0 && self.killed > 0 {
            return format!("{states} ended, left over from connections that had ended.");
        }
        let inside = match inside {
            0 => String::new(),
            all if all == ended => ", from inside".to_owned(),
            some => format!(", {some} of them from inside"),
        };
        format!("{} ended{inside} ({states}).", counted(ended, "connection", "connections"))
    }
}

/// Ends states: at most one round by label and one by id. A lost connection is made again once, to read what is left.
/// `before` says which servers are the service's.
pub(super) async fn kill_states_in_rounds(
    context: &Context,
    session: &mut Session,
    labels: &[String],
    states: &[PlannedState],
    before: &Reading,
) -> Result<Killing> {
    let before = context.situation(before);
    let members = before.members();
    let mut killing = None;
    let mut left: Vec<PlannedState> = states.to_vec();
    if !labels.is_empty() {
        let actions = labels.iter().cloned().map(FirewallAction::KillLabel).collect();
        let reading = kill_round(context, session, actions).await?;
        let after = count_killed(context, reading, states, members, None)?;
        left = still_there(&after.reading, states);
        killing = Some(after);
    }
    if killing.is_none() || !left.is_empty() {
        let actions = left.into_iter().map(FirewallAction::KillState).collect();
        let reading = kill_round(context, session, actions).await?;
        killing = Some(count_killed(context, reading, states, members, killing)?);
    }
    killing.ok_or_else(|| Failure::failed("There was nothing to end."))
}

async fn kill_round(
    context: &Context,
    session: &mut Session,
    actions: Vec<FirewallAction>,
) -> Result<ActionReplies> {
    let doing = "Ending connections …";
    match run_actions(context, session, doing, actions, PROOF).await {
        Err(failure) if failure.kind != FailureKind::Interrupted => {
            ask_again(context, session, Vec::new(), PROOF).await
        }
        other => other,
    }
}

/// Counts what was ended, what is left of it, and which states of the service are new.
fn count_killed(
    context: &Context,
    (said, reading): ActionReplies,
    states: &[PlannedState],
    members: Option<&[IpNet]>,
    before: Option<Killing>,
) -> Result<Killing> {
    let (mut killed, mut trouble) =
        before.map_or((0, None), |before| (before.killed, before.trouble));
    for done in said {
        match done {
            Ok(Done::Killed(count)) => killed += count,
            Err(error) => trouble = trouble.or(Some(error)),
            Ok(_) => {}
        }
    }
    let Ok(now) = &reading.states else {
        return Err(Failure::new(FailureKind::Unproven, "the states could not be read back."));
    };
    let service = &context.settings.service;
    let ours = now.iter().filter(|state| connection_half(state, service, members).is_some());
    let there = still_there(&reading, states);
    let inside = |states: &[PlannedState]| {
        let inside = states.iter().filter(|state| is_private(&state.client));
        inside.count() as u64
    };
    let of_clients = |states: &[PlannedState]| {
        let clients = states.iter().filter(|state| state.direction == Direction::In);
        let inside = clients.clone().filter(|state| is_private(&state.client));
        (clients.count() as u64, inside.count() as u64)
    };
    let (were, are) = (of_clients(states), of_clients(&there));
    let left = there.len();
    let new = ours.count().saturating_sub(left);
    Ok(Killing {
        killed,
        inside: inside(states).saturating_sub(inside(&there)),
        connections: (were.0.saturating_sub(are.0), were.1.saturating_sub(are.1)),
        left,
        new,
        reading,
        trouble,
    })
}

fn still_there(reading: &Reading, states: &[PlannedState]) -> Vec<PlannedState> {
    let now: Vec<&State> = reading.states.iter().flatten().collect();
    let ids: std::collections::HashSet<(u64, u32)> = now
        .iter()
        .filter_map(|state| state.identity.as_ref())
        .map(|identity| (identity.id, identity.creator))
        .collect();
    states.iter().filter(|state| ids.contains(&(state.id, state.creator))).cloned().collect()
}
