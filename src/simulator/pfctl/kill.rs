//! `pfctl -k` and `-K`: what ends states and source nodes.

use super::PfctlOutput;
use super::options::PfctlOptions;
use crate::simulator::pf::table::table_net;
use crate::simulator::pf::{SimulatedPf, widened_count};

const NO_NAME: &str = "pfctl: getaddrinfo: Name does not resolve";

/// Runs `-k label` and `-k id`.
pub fn kill_by_option(pf: &mut SimulatedPf, options: &PfctlOptions, now: i64) -> PfctlOutput {
    let doomed: Vec<u64> = match options.kill.as_slice() {
        [kind, label] if kind == "label" => {
            let labelled = |rule| pf.made_by(rule).is_some_and(|rule| rule.labels.contains(label));
            let states = pf.states.iter();
            let made = states.filter(|(_, state)| state.rule.is_some_and(labelled));
            made.map(|(id, _)| *id).collect()
        }
        [kind, id] if kind == "id" => {
            // `HEX/CREATOR`, as kmsctl names a state.
            let creator = format!("/{:08x}", pf.host_id);
            let id = id.strip_suffix(&creator).unwrap_or_default();
            u64::from_str_radix(id, 16).ok().into_iter().collect()
        }
        _ => return PfctlOutput::unsupported("such a -k"),
    };
    let killed = doomed.into_iter().filter(|id| pf.remove(*id, now)).count();
    PfctlOutput::talk(&format!("killed {killed} states"))
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
    PfctlOutput::talk(&format!("killed {killed} src nodes from 1 sources and 0 destinations"))
}
