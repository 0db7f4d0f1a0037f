//! What an armed rollback means for other plans: what it takes away again is not done, and two of them would cross.

use super::exposure::{ChangeOptions, PlanBasis};
use super::{Difference, Planned, Refusal, RefusalKind, Risk};
use crate::domain::pfsense::change::{Armed, ArmedKind, Reverted};
use crate::text::format_span;

/// Returns the rollbacks that are armed on the rules of this service: another's does not concern it.
pub(super) fn armed_on<'a>(present: &PlanBasis<'a>) -> impl Iterator<Item = &'a Armed> {
    let service = present.service;
    let armed = present.configured.armed.iter();
    armed.filter(|armed| armed.port == service.port && armed.interface == service.interface)
}

/// Says that there is nothing to do, where that holds for as long as the operator wants it: what an armed rollback takes
/// away again is not done.
pub(super) fn nothing_to_do(
    present: &PlanBasis<'_>,
    terms: ChangeOptions,
    why: &str,
) -> Result<Planned, Refusal> {
    if let (Some(armed), None) = (armed_on(present).next(), terms.reverts_after) {
        return Err(refuse_while_armed(armed, "That is so already, and only for a while."));
    }
    let more = timer_risk(present, terms).map(|risk| format!(" {}", risk.message));
    let more = more.unwrap_or_default();
    Ok(Planned::NothingToDo(format!("Nothing to do: {why}{more}")))
}

/// Says what becomes of `--for` where the rules need no change. The same command again, by a cron job perhaps, must neither
/// hold it for ever nor end it.
pub fn timer_risk(present: &PlanBasis<'_>, terms: ChangeOptions) -> Option<Risk> {
    let seconds = terms.reverts_after?;
    Some(match armed_on(present).next() {
        Some(armed) => Risk::new(
            "timer-stays",
            format!(
                "{} To prolong it: `kmsctl keep {} --for {}`",
                timer_sentence(armed),
                armed.id,
                format_span(seconds).replace(' ', "")
            ),
        ),
        None => Risk::new(
            "for-left-out",
            "No rollback was armed: there is no change that --for could take back.",
        ),
    })
}

/// Says that what lets the service in is as wanted, and names what lets in beside it.
pub(super) fn nothing_to_open(
    present: &PlanBasis<'_>,
    terms: ChangeOptions,
    why: &str,
) -> Result<Planned, Refusal> {
    let others = paths_beside(present).map(|others| format!(" {others}"));
    nothing_to_do(present, terms, &format!("{why}{}", others.unwrap_or_default()))
}

/// Names what lets in beside the managed pair, and stays as it is.
pub(super) fn paths_beside(present: &PlanBasis<'_>) -> Option<String> {
    let exposure = present.exposure;
    exposure.foreign_paths().next()?;
    let paths = exposure.paths_sentence();
    Some(format!(
        "Beside the managed pair, {paths} kmsctl names such paths and never changes them: `kmsctl expose show`"
    ))
}

fn timer_sentence(armed: &Armed) -> String {
    let Armed { id, what, who, .. } = armed;
    let at = time_words(armed.reverts_at);
    format!("The temporary change {id} by {who} ({what}) reverts by itself at {at}.")
}

/// Returns a time of the firewall's clock, from epoch seconds.
pub fn time_words(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds)
        .map_or_else(|_| "an unknown time".to_owned(), |at| at.to_string())
}

/// Refuses to arm a second rollback timer on the same rules, and to make permanent what was for a while: a lasting change
/// disarms the rollback of what it `replaces`.
pub(super) fn refuse_crossing(
    present: &PlanBasis<'_>,
    terms: ChangeOptions,
    replaces: &[ArmedKind],
) -> Result<(), Refusal> {
    let is_crossed =
        |armed: &&Armed| terms.reverts_after.is_some() || !replaces.contains(&armed.kind());
    let Some(armed) = armed_on(present).find(is_crossed) else {
        return Ok(());
    };
    let why = match terms.reverts_after {
        Some(_) => "Two rollbacks would cross each other.",
        None => "This change would disarm that, and leave it so for good.",
    };
    Err(refuse_while_armed(armed, why))
}

/// Returns the rollbacks that a lasting change disarms, each a difference.
pub(super) fn disarmed_differences(present: &PlanBasis<'_>) -> impl Iterator<Item = Difference> {
    armed_on(present)
        .map(|armed| Difference::new("reverts_at", time_words(armed.reverts_at), None::<&str>))
}

/// Names the temporary changes that a change of caps makes permanent.
pub(super) fn lasting_risks(present: &PlanBasis<'_>) -> impl Iterator<Item = Risk> {
    armed_on(present).filter_map(|armed| {
        let next = match armed.kind() {
            ArmedKind::Caps => return None,
            ArmedKind::Closing => "To open it: `kmsctl expose restore`",
            ArmedKind::Opening => "To close it: `kmsctl expose revoke`",
        };
        let Armed { id, who, what, .. } = armed;
        let message = format!("The temporary change {id} by {who} ({what}) becomes permanent with this: its rollback is disarmed. {next}");
        Some(Risk::new("becomes-permanent", message))
    })
}

/// Says why a change cannot be kept any more: its rollback has fired, or a later change stands in its place.
pub fn too_late(id: &str, reverted: &Reverted) -> String {
    format!(
        "Too late to keep {id}: its rollback ended at {}: {}.",
        time_words(reverted.at),
        reverted.message
    )
}

/// Refuses because a temporary change is armed.
pub(super) fn refuse_while_armed(armed: &Armed, why: &str) -> Refusal {
    let id = &armed.id;
    Refusal::new(RefusalKind::Conflict, format!("{} {why}", timer_sentence(armed)))
        .hint(format!("Make it permanent: `kmsctl keep {id}`; or take it back: `kmsctl undo {id}`"))
}
