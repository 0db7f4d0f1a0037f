//! Makes a temporary change permanent, or prolongs it: disarms its rollback timer and proves that nothing is armed any
//! more, or sets its time and proves that.

use super::Execution;
use super::carry::ask_again;
use super::config::PROOF;
use crate::app::{Context, Session};
use crate::domain::history::{EndedAs, Finish};
use crate::domain::pfsense::change::{ChangeId, Kept};
use crate::domain::plan;
use crate::domain::plan::too_late;
use crate::error::{Failure, FailureKind, Result};
use crate::pfsense::actions::{Done, FirewallAction};
use crate::pfsense::agent::KeepRequest;
use crate::pfsense::questions::{FactError, Reading};

const LOOK: &str = "See what is armed: `kmsctl status`";

/// Disarms the rollback timer of a temporary change, or prolongs it until a time of the firewall's clock.
pub(super) async fn keep_temporary_change(
    context: &Context,
    session: &mut Session,
    id: &ChangeId,
    until: Option<i64>,
) -> Execution {
    let request =
        KeepRequest { service: (&context.settings.service).into(), id: id.clone(), until };
    // Disarming twice is the same as once, so a lost answer may simply be asked for again.
    let mut said = disarm_rollback(context, session, &request).await;
    if let Ok((Err(_), reading)) = &said
        && is_as_wished(reading, id, until)
    {
        // It broke off behind what matters, or something else took the rollback: the second answer says which.
        said = disarm_rollback(context, session, &request).await;
    }
    let (kept, reading) = match said {
        Ok(said) => said,
        Err(failure) if failure.kind == FailureKind::Interrupted => {
            let message = format!("Interrupted; it is not known whether {id} is kept.");
            return Execution::from_interrupt(&message, LOOK);
        }
        Err(failure) => {
            let message = format!("It is not known whether {id} is kept: {}", failure.message);
            return Execution::not_known(&message, LOOK);
        }
    };
    let as_wished = is_as_wished(&reading, id, until);
    let mut carried = match kept {
        Ok(kept) => of_kept(id, until, kept),
        Err(error) if !as_wished || matches!(error, FactError::ProgramMissing { .. }) => {
            Execution::from_failure(Failure::from(&error))
        }
        Err(error) => Execution::not_verified(
            &format!("It is not known whether {id} is kept: {error}."),
            None,
        ),
    };
    if carried.finish.ended == EndedAs::Done && !as_wished {
        let but = match until {
            None => "is still armed to revert",
            Some(_) => "is not armed for the new time",
        };
        carried = Execution::not_verified(&format!("{id} {but}."), None);
    }
    carried.reading = Some(reading);
    carried
}

type KeepReply = (std::result::Result<Kept, FactError>, Reading);

async fn disarm_rollback(
    context: &Context,
    session: &mut Session,
    request: &KeepRequest,
) -> Result<KeepReply> {
    let actions = vec![FirewallAction::Keep(request.clone())];
    let (mut said, reading) = ask_again(context, session, actions, PROOF).await?;
    let kept = match said.pop() {
        Some(Ok(Done::Kept(kept))) => Ok(kept),
        Some(Err(error)) => Err(error),
        _ => Err(FactError::NotAsked),
    };
    Ok((kept, reading))
}

/// Returns whether nothing is armed under this id any more, or not before the time.
fn is_as_wished(reading: &Reading, id: &ChangeId, until: Option<i64>) -> bool {
    let mut all = reading.configured.iter().flat_map(|read| &read.armed);
    let armed = all.find(|armed| armed.id == *id);
    armed.map(|armed| armed.reverts_at) == until
        || armed.is_some_and(|armed| until.is_some_and(|until| until <= armed.reverts_at))
}

fn of_kept(id: &ChangeId, until: Option<i64>, kept: Kept) -> Execution {
    let carried = |ended, message: String| Execution {
        finish: Finish::new(ended, message),
        reading: None,
        failure: None,
    };
    match kept {
        Kept::Kept { .. } => {
            let message = until.map_or_else(
                || format!("{id} is permanent now."),
                |until| format!("{id} reverts by itself at {}.", plan::time_words(until)),
            );
            carried(EndedAs::Done, message)
        }
        Kept::NotArmed if until.is_some() => Execution::from_failure(
            Failure::new(
                FailureKind::Conflict,
                format!("Nothing is armed any more to take back {id}; nothing was prolonged."),
            )
            .hint(LOOK),
        ),
        // It was armed when the plan was made; a repeated question finds it disarmed by the first.
        Kept::NotArmed => carried(EndedAs::Done, format!("Nothing is armed to take back {id}.")),
        Kept::Reverted { reverted } => Execution::from_failure(
            Failure::new(FailureKind::Conflict, too_late(id.as_str(), &reverted)).hint(LOOK),
        ),
        Kept::Locked { holder } => Execution::from_failure(
            Failure::new(
                FailureKind::Conflict,
                format!("Another change is being made: {} by {}.", holder.id, holder.who),
            )
            .hint("Try again in a minute."),
        ),
    }
}
