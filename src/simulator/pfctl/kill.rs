//! `pfctl -k` and `-K`: what ends states and source nodes.

use super::PfctlOutput;
use super::options::PfctlOptions;
use crate::simulator::pf::table::table_net;
use crate::simulator::pf::{SimulatedPf, widened_count};

const NO_NAME: &str = "pfctl: getaddrinfo: Name does not resolve";

/// Runs `-k label` and `-k id`.
pub fn kill_by_option(pf: &mut SimulatedPf, options: &PfctlOptions, now: i64) -> PfctlOutput {
    let kind = options.kill.first().map(String::as_str).unwrap_or_default();
    let doomed: Vec<u64> = match (kind, options.kill.get(1)) {
        ("label" | "id", None) => {
            return PfctlOutput::usage(Some(&format!("pfctl: no {kind} specified")));
        }
        ("label", Some(label)) => {
            let labelled = |rule| {
                pf.made_by(rule)
                    .is_some_and(|rule| rule.labels.contains(label))
            };
            let states = pf.states.iter();
            let made = states.filter(|(_, state)| state.rule.is_some_and(labelled));
            made.map(|(id, _)| *id).collect()
        }
        ("id", Some(id)) => match state_id(id, pf.host_id) {
            Some((id, creator)) => Some(id)
                .filter(|_| creator == pf.host_id)
                .into_iter()
                .collect(),
            None => return PfctlOutput::usage(Some("pfctl: wrong id format specified")),
        },
        _ => return PfctlOutput::unsupported(&format!("-k {kind}")),
    };
    let killed = doomed.into_iter().filter(|id| pf.remove(*id, now)).count();
    PfctlOutput::talk(&format!("killed {killed} states"))
}

/// Reads `HEX[/CREATOR]`.
fn state_id(text: &str, host_id: u32) -> Option<(u64, u32)> {
    let (id, creator) = text
        .split_once('/')
        .map_or((text, None), |(id, creator)| (id, Some(creator)));
    let creator = creator.map_or(Some(host_id), |creator| {
        u32::from_str_radix(creator, 16).ok()
    })?;
    Some((u64::from_str_radix(id, 16).ok()?, creator))
}

/// Runs `-K`.
pub fn kill_sources(pf: &mut SimulatedPf, options: &PfctlOptions) -> PfctlOutput {
    let [source] = options.kill_sources.as_slice() else {
        return PfctlOutput::unsupported("-K with two addresses");
    };
    let Some(source) = table_net(source) else {
        return PfctlOutput::failure(1, NO_NAME);
    };
    let killed = widened_count(pf.forget_sources(&source));
    PfctlOutput::talk(&format!(
        "killed {killed} src nodes from 1 sources and 0 destinations"
    ))
}
