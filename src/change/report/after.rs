//! What a report says of the time after a change: of one that was not proven what was read back, never what was planned,
//! and of every one the exposure and the connections that were read back.

use serde_json::{Map, Value};

use crate::app::Context;
use crate::domain::history::Finish;
use crate::domain::pfsense::change::ChangeEnding;
use crate::domain::plan::{Live, Operation, StatesChoice, rate_value};
use crate::pfsense::questions::Reading;

/// Keeps of the planned fields those that are known, with the values that were read. A field that is left out is not
/// known: records count as what was planned where the firewall itself has proven them.
pub(super) fn known_after(
    context: &Context,
    finish: &Finish,
    planned: Map<String, Value>,
    reading: &Reading,
) -> Map<String, Value> {
    let exposure = context.situation(reading).proven_exposure().ok();
    // A rule that is known not to run has none.
    let caps = exposure.map(|exposure| {
        let part = &exposure.filter;
        part.caps.filter(|_| part.loaded).unwrap_or_default()
    });
    let outcome = finish.outcome.as_ref();
    let written = outcome.is_some_and(|outcome| outcome.result == ChangeEnding::Done);
    let now = |field: &str, planned: Value| match field {
        // The same for every ending: `exposure_after` and `connections_after`.
        "exposure" | "connections" | "states" => Some(planned),
        "max_src_conn" | "loaded_max_src_conn" => Some(caps?.max_src_conn.into()),
        "rate" | "loaded_rate" => Some(rate_value(caps?).into()),
        _ => written.then_some(planned),
    };
    let fields = planned.into_iter();
    fields.filter_map(|(field, value)| Some((field.clone(), now(&field, value)?))).collect()
}

/// Puts what the exposure is now in the place of what was planned; where it could not be read, it is not known.
pub(super) fn exposure_after(context: &Context, after: &mut Map<String, Value>, reading: &Reading) {
    let Some(planned) = after.get_mut("exposure") else {
        return;
    };
    match context.situation(reading).proven_exposure() {
        Ok(exposure) => *planned = exposure.state.name().into(),
        Err(_) => drop(after.remove("exposure")),
    }
}

/// Puts how many connections there are now in the place of what was planned; where they could not be read, it is not known.
/// Which servers are the service's is known from before: a change may have taken them out of the alias.
pub(super) fn connections_after(
    context: &Context,
    operation: &Operation,
    after: &mut Map<String, Value>,
    before: &Reading,
    reading: &Reading,
) {
    let choice = match operation {
        Operation::StatesKill { clients, .. } => StatesChoice::of_clients(clients),
        _ => StatesChoice::All,
    };
    let before = context.situation(before);
    let counts = reading.states.as_ref().ok().map(|states| {
        let live = Live::new(states, &context.settings.service, before.members());
        let chosen = live.chosen_states(&choice);
        (live.count_connections(&chosen), chosen.len())
    });
    let fields =
        [("connections", counts.map(|both| both.0)), ("states", counts.map(|both| both.1))];
    for (field, count) in fields {
        match (after.get_mut(field), count) {
            (Some(planned), Some(count)) => *planned = count.into(),
            (Some(_), None) => drop(after.remove(field)),
            (None, _) => {}
        }
    }
}
