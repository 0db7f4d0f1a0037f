//! Makes a temporary change permanent: disarms its way back, and proves that nothing is armed any more.

use super::Carried;
use super::carry::ask_again;
use super::configure::{PROOF, sentence};
use crate::commands::context::{Context, Session};
use crate::domain::change::{ChangeId, Kept};
use crate::domain::history::{Ended, Finish};
use crate::error::{Failure, Kind};
use crate::firewall::act::{Action, Done};
use crate::firewall::agent::KeepRequest;

const LOOK: &str = "See what is armed: kmsctl status";

/// Disarms the way back of a temporary change.
pub(super) async fn carry(context: &Context, session: &mut Session, id: &ChangeId) -> Carried {
    let request = KeepRequest {
        service: (&context.settings.service).into(),
        id: id.clone(),
    };
    // Disarming twice is the same as once, so a lost answer may simply be asked for again.
    let said = ask_again(context, session, vec![Action::Keep(request)], PROOF).await;
    let (mut said, reading) = match said {
        Ok(said) => said,
        Err(failure) if failure.kind == Kind::Interrupted => {
            let message = format!("Interrupted; it is not known whether {id} is kept.");
            return Carried::interrupted(&message, LOOK);
        }
        Err(failure) => {
            let message = format!("It is not known whether {id} is kept: {}", failure.message);
            return Carried::unknown(&message, LOOK);
        }
    };
    let mut carried = match said.pop() {
        Some(Ok(Done::Kept(kept))) => of_kept(id, kept),
        Some(Err(error)) => Carried::failed(Failure::from(&error)),
        _ => Carried::unverified("The firewall did not say what it did.", None),
    };
    let armed = reading
        .configured
        .iter()
        .any(|configured| configured.armed.iter().any(|armed| armed.id == *id));
    if carried.finish.ended == Ended::Done && armed {
        carried = Carried::unverified(&format!("{id} is still armed to revert."), None);
    }
    carried.reading = Some(reading);
    carried
}

fn of_kept(id: &ChangeId, kept: Kept) -> Carried {
    let carried = |ended, message: String| Carried {
        finish: Finish::new(ended, message),
        reading: None,
        failure: None,
    };
    match kept {
        Kept::Kept { .. } => carried(Ended::Done, format!("{id} is permanent now.")),
        // It was armed when the plan was made; a repeated question finds it disarmed by the first.
        Kept::NotArmed => carried(Ended::Done, format!("Nothing is armed to take back {id}.")),
        Kept::Reverted { reverted } => Carried::failed(Failure::new(
            Kind::Conflict,
            format!(
                "Too late: {id} was due already. {}",
                sentence(&reverted.message)
            ),
        )),
        Kept::Locked { holder } => Carried::failed(
            Failure::new(
                Kind::Conflict,
                format!(
                    "Another change is being made: {} by {}.",
                    holder.id, holder.who
                ),
            )
            .hint("Try again in a minute."),
        ),
    }
}
