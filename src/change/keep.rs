//! Makes a temporary change permanent: disarms its way back, and proves that nothing is armed any more.

use super::Carried;
use super::carry::ask_again;
use super::config::PROOF;
use crate::app::{Context, Session};
use crate::domain::history::{EndedAs, Finish};
use crate::domain::pfsense::change::{ChangeId, Kept};
use crate::domain::plan::too_late;
use crate::error::{Failure, FailureKind, Result};
use crate::pfsense::actions::{Done, FirewallAction};
use crate::pfsense::agent::KeepRequest;
use crate::pfsense::questions::{FactError, Reading};

const LOOK: &str = "See what is armed: kmsctl status";

/// Disarms the way back of a temporary change.
pub(super) async fn keep_temporary_change(
    context: &Context,
    session: &mut Session,
    id: &ChangeId,
) -> Carried {
    let request = KeepRequest {
        service: (&context.settings.service).into(),
        id: id.clone(),
    };
    // Disarming twice is the same as once, so a lost answer may simply be asked for again.
    let mut said = disarm_rollback(context, session, &request).await;
    if let Ok((Err(_), reading)) = &said
        && !is_armed(reading, id)
    {
        // It broke off behind what matters, or something else took the way back: the second answer tells.
        said = disarm_rollback(context, session, &request).await;
    }
    let (kept, reading) = match said {
        Ok(said) => said,
        Err(failure) if failure.kind == FailureKind::Interrupted => {
            let message = format!("Interrupted; it is not known whether {id} is kept.");
            return Carried::from_interrupt(&message, LOOK);
        }
        Err(failure) => {
            let message = format!("It is not known whether {id} is kept: {}", failure.message);
            return Carried::not_known(&message, LOOK);
        }
    };
    let armed = is_armed(&reading, id);
    let mut carried = match kept {
        Ok(kept) => of_kept(id, kept),
        Err(error) if armed || matches!(error, FactError::ProgramMissing { .. }) => {
            Carried::from_failure(Failure::from(&error))
        }
        Err(error) => Carried::not_verified(
            &format!("It is not known whether {id} is kept: {error}."),
            None,
        ),
    };
    if carried.finish.ended == EndedAs::Done && armed {
        carried = Carried::not_verified(&format!("{id} is still armed to revert."), None);
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

fn is_armed(reading: &Reading, id: &ChangeId) -> bool {
    let mut armed = reading.configured.iter().flat_map(|read| &read.armed);
    armed.any(|armed| armed.id == *id)
}

fn of_kept(id: &ChangeId, kept: Kept) -> Carried {
    let carried = |ended, message: String| Carried {
        finish: Finish::new(ended, message),
        reading: None,
        failure: None,
    };
    match kept {
        Kept::Kept { .. } => carried(EndedAs::Done, format!("{id} is permanent now.")),
        // It was armed when the plan was made; a repeated question finds it disarmed by the first.
        Kept::NotArmed => carried(
            EndedAs::Done,
            format!("Nothing is armed to take back {id}."),
        ),
        Kept::Reverted { reverted } => Carried::from_failure(Failure::new(
            FailureKind::Conflict,
            too_late(id.as_str(), &reverted),
        )),
        Kept::Locked { holder } => Carried::from_failure(
            Failure::new(
                FailureKind::Conflict,
                format!(
                    "Another change is being made: {} by {}.",
                    holder.id, holder.who
                ),
            )
            .hint("Try again in a minute."),
        ),
    }
}
