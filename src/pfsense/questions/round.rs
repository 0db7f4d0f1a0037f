//! Asks a shell its questions, and asks again, for a while, for what a reload of the ruleset raced. An answer without
//! end stops the round; what stands before it is kept. What a change can do without is asked last, and is not waited for
//! as long as the rest.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::gather::{Gathered, MOST_ARRIVED, MOST_KEPT};
use super::race::Race;
use super::{AskedQuestions, Question};
use crate::domain::exposure::upnp::UPNP_ANCHOR;
use crate::error::Failure;
use crate::ssh::error::LinkError;
use crate::ssh::shell::Shell;

/// How long is asked again. pfSense loads a ruleset in a fraction of a second, and seldom twice in a row.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long is waited before that: the lists of a few hundred rules are replaced in a tenth of this.
const PAUSE: Duration = Duration::from_millis(50);

/// What can be done without is waited for during this part of the time that is left.
const DISPENSABLE_PART: u32 = 4;

tokio::task_local! {
    /// The time-out that is running.
    pub static RUNNING_TIMEOUT: Arc<RunningTimeout>;
}

/// A time-out while it runs.
#[derive(Debug)]
pub struct RunningTimeout {
    /// Bytes that have come from the firewall since it began.
    pub arrived: AtomicUsize,
    begun: Instant,
    timeout: Duration,
}

impl RunningTimeout {
    /// Begins one.
    pub fn start(timeout: Duration) -> Arc<Self> {
        Arc::new(Self { arrived: AtomicUsize::new(0), begun: Instant::now(), timeout })
    }

    fn time_left(&self) -> Duration {
        self.timeout.saturating_sub(self.begun.elapsed())
    }
}

/// Runs the script once, in which so many commands stand before the questions, and returns all replies.
pub(super) async fn ask_round(
    shell: &mut Shell,
    asked: &AskedQuestions,
    before: usize,
) -> Result<Vec<Gathered>, Failure> {
    let questions = &asked.questions;
    let mut replies: Vec<Gathered> = (0..before).map(|_| Gathered::of_change()).collect();
    replies.extend(questions.iter().map(|question| Gathered::new(question, &asked.service)));
    let question = |place: &usize| place.checked_sub(before).and_then(|at| questions.get(at));
    let in_upnp = |place: &usize| {
        matches!(question(place), Some(Question::UpnpRules | Question::UpnpTranslation))
    };
    let (mut later, first): (Vec<usize>, Vec<usize>) = (0..replies.len()).partition(in_upnp);
    let can_wait = |place: &usize| matches!(question(place), Some(Question::Dispensable(_)));
    let (mut last, first): (Vec<usize>, Vec<usize>) = first.into_iter().partition(can_wait);
    let mut ended = run_commands(shell, &first, &mut replies).await?;
    if replies.iter().take(before).any(|reply| reply.status.is_none()) {
        let megabytes = MOST_ARRIVED >> 20;
        return Err(Failure::failed(format!(
            "More than {megabytes} MiB came as the answer to a change; what became of it is not known."
        )));
    }
    let begun = Instant::now();
    let mut race = Race::default();
    while ended {
        let lost = race.lost_answers(questions, replies.get(before..).unwrap_or_default());
        if lost.is_empty() {
            if !later.is_empty() && names_upnp_anchor(&replies) {
                ended = run_commands(shell, &later, &mut replies).await?;
                later.clear();
                continue;
            }
            if last.is_empty() {
                break;
            }
            ended = run_for_a_while(shell, &last, before > 0, &mut replies).await?;
            last.clear();
            continue;
        }
        let again: Vec<usize> = lost.iter().map(|place| before + place).collect();
        if begun.elapsed() + PAUSE > PATIENCE {
            for index in again {
                if let Some(reply) = replies.get_mut(index) {
                    reply.raced = true;
                }
            }
            if !last.is_empty() {
                run_for_a_while(shell, &last, before > 0, &mut replies).await?;
            }
            break;
        }
        sleep(PAUSE).await;
        for place in lost {
            if let (Some(reply), Some(question)) =
                (replies.get_mut(before + place), questions.get(place))
            {
                *reply = Gathered::new(question, &asked.service);
            }
        }
        ended = run_commands(shell, &again, &mut replies).await?;
    }
    Ok(replies)
}

/// Says whether a list names UPnP's anchor, whose rules are then asked too: most firewalls have none.
fn names_upnp_anchor(replies: &[Gathered]) -> bool {
    let name = format!("anchor \"{UPNP_ANCHOR}\" ");
    let finder = memchr::memmem::Finder::new(name.as_bytes());
    replies.iter().any(|reply| finder.find(&reply.stdout).is_some())
}

/// Runs these commands for a part of the time that is left: an answer that has not come to its end then, silent or not, or
/// with which the shell broke, is given up, and the shell with it. Says whether the round came to its end.
async fn run_for_a_while(
    shell: &mut Shell,
    commands: &[usize],
    after_change: bool,
    replies: &mut [Gathered],
) -> Result<bool, LinkError> {
    let Ok(left) = RUNNING_TIMEOUT.try_with(|running| running.time_left()) else {
        return run_commands(shell, commands, replies).await;
    };
    let patience = left / DISPENSABLE_PART;
    let broke = match timeout(patience, run_commands(shell, commands, replies)).await {
        Ok(Ok(ended)) => return Ok(ended),
        // What became of a change is asked again over a new connection, where that one is lost.
        Ok(Err(error)) if after_change && !matches!(error, LinkError::Garbled { .. }) => {
            return Err(error);
        }
        Ok(Err(_)) => true,
        Err(_) => false,
    };
    let statuses = shell.statuses().to_vec();
    let unended = commands.get(statuses.len()).and_then(|index| replies.get_mut(*index));
    if let Some(reply) = unended {
        reply.broke = broke;
        reply.given_up_after = Some(patience);
    }
    note_statuses(commands, statuses, replies);
    Ok(false)
}

/// Runs these commands; says whether the round came to its end, which an answer without end keeps it from.
async fn run_commands(
    shell: &mut Shell,
    commands: &[usize],
    replies: &mut [Gathered],
) -> Result<bool, LinkError> {
    let mut flooded = false;
    let mut kept: usize = replies.iter().map(|reply| reply.stdout.len()).sum();
    let result = shell
        .round_of(commands, &mut |index, stream, bytes| {
            let Some(reply) = replies.get_mut(index) else {
                return ControlFlow::Continue(());
            };
            kept -= reply.stdout.len();
            reply.take_bytes(stream, bytes, MOST_KEPT - kept.min(MOST_KEPT));
            kept += reply.stdout.len();
            let _ = RUNNING_TIMEOUT
                .try_with(|running| running.arrived.fetch_add(bytes.len(), Ordering::Relaxed));
            flooded = reply.arrived > MOST_ARRIVED;
            reply.cut |= flooded;
            if flooded { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .await;
    let statuses = match result {
        Ok(statuses) => statuses,
        Err(LinkError::Stopped { .. }) if flooded => shell.statuses().to_vec(),
        Err(error) => return Err(error),
    };
    note_statuses(commands, statuses, replies);
    Ok(!flooded)
}

fn note_statuses(commands: &[usize], statuses: Vec<i32>, replies: &mut [Gathered]) {
    for (index, status) in commands.iter().zip(statuses) {
        if let Some(reply) = replies.get_mut(*index) {
            reply.status = Some(status);
        }
    }
}
