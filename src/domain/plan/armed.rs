//! What an armed way back means for other plans: what it takes away again is not done, and two of them would cross.

use super::exposure::{Present, Terms};
use super::{Planned, Refusal, RefusalKind};
use crate::domain::pfsense::change::{Armed, Reverted};

/// Returns the ways back that are armed on the rules of this service: another's does not concern it.
pub(super) fn armed_on<'a>(present: &Present<'a>) -> impl Iterator<Item = &'a Armed> {
    let service = present.service;
    let armed = present.configured.armed.iter();
    armed.filter(|armed| armed.port == service.port && armed.interface == service.interface)
}

/// Says that there is nothing to do, where that holds for as long as the operator wants it: what an armed way back takes
/// away again is not done.
pub(super) fn nothing_to_do(
    present: &Present<'_>,
    terms: Terms,
    why: &str,
) -> Result<Planned, Refusal> {
    if let Some(armed) = armed_on(present).next() {
        return Err(refuse_while_armed(
            armed,
            "It is so now, but would not stay so.",
        ));
    }
    let unarmed = match terms.reverts_after {
        Some(_) => " No way back was armed: there is no change that --for could take back.",
        None => "",
    };
    Ok(Planned::NothingToDo(format!(
        "Nothing to do: {why}{unarmed}"
    )))
}

/// Tells why a change cannot be kept any more: its way back has fired, or a later change stands in its place.
pub fn too_late(id: &str, reverted: &Reverted) -> String {
    let at = jiff::Timestamp::from_second(reverted.at)
        .map_or_else(|_| "an unknown time".to_owned(), |at| at.to_string());
    format!(
        "Too late to keep {id}: its way back ended at {at}: {}.",
        reverted.message
    )
}

/// Refuses because a temporary change is armed.
pub(super) fn refuse_while_armed(armed: &Armed, why: &str) -> Refusal {
    let Armed { id, what, who, .. } = armed;
    let at = jiff::Timestamp::from_second(armed.reverts_at)
        .map_or_else(|_| "a time".to_owned(), |at| at.to_string());
    Refusal::new(
        RefusalKind::Conflict,
        format!("The temporary change {id} by {who} ({what}) reverts by itself at {at}. {why}"),
    )
    .hint(format!(
        "Make it permanent: kmsctl keep {id}; or take it back: kmsctl undo {id}"
    ))
}
