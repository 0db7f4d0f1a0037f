//! `pfctl -k`, `-K` and `-F`: what ends states and source nodes. Matching is by the key on the wire, as the
//! kernel's `pf_kill_states` does, so the inside half of a translated connection often stays.

use std::net::IpAddr;

use ipnet::IpNet;

use super::PfctlOutput;
use super::options::PfctlOptions;
use crate::simulator::pf::state::{State, Tracked};
use crate::simulator::pf::table::table_net;
use crate::simulator::pf::{SimulatedPf, widened_count};

const NO_NAME: &str = "pfctl: getaddrinfo: Name does not resolve";

/// Which states `-k` is about.
enum KillTarget {
    /// The source, and perhaps the destination, on the wire.
    Hosts(Vec<IpNet>),
    /// A label of the rule that made it.
    Label(String),
    /// Its id and the host that made it.
    Id(u64, u32),
    /// `: ADDRESS@` of its route-to or reply-to.
    Gateway(String),
}

impl KillTarget {
    fn matches(&self, pf: &SimulatedPf, id: u64, state: &State) -> bool {
        let within =
            |net: Option<&IpNet>, address: IpAddr| net.is_none_or(|net| net.contains(&address));
        match self {
            Self::Hosts(nets) => {
                within(nets.first(), state.wire_source())
                    && within(nets.get(1), state.wire_destination())
            }
            Self::Label(label) => {
                let rule = state.rule.and_then(|rule| pf.made_by(rule));
                rule.is_some_and(|rule| rule.labels.contains(label))
            }
            Self::Id(wanted, creator) => (id, pf.host_id) == (*wanted, *creator),
            Self::Gateway(via) => state.via.as_ref().is_some_and(|text| text.contains(via)),
        }
    }
}

/// Runs `-k`.
pub fn kill_by_option(pf: &mut SimulatedPf, options: &PfctlOptions, now: i64) -> PfctlOutput {
    let kind = options.kill.first().map(String::as_str).unwrap_or_default();
    let wanted = match (kind, options.kill.get(1)) {
        ("label" | "id" | "gateway", None) => {
            return PfctlOutput::usage(Some(&format!("pfctl: no {kind} specified")));
        }
        ("label", Some(label)) => KillTarget::Label(label.clone()),
        ("id", Some(id)) => match state_id(id, pf.host_id) {
            Some((id, creator)) => KillTarget::Id(id, creator),
            None => return PfctlOutput::usage(Some("pfctl: wrong id format specified")),
        },
        ("gateway", Some(gateway)) => KillTarget::Gateway(format!(": {gateway}@")),
        _ => match options
            .kill
            .iter()
            .map(|word| table_net(word))
            .collect::<Option<Vec<IpNet>>>()
        {
            Some(nets) => KillTarget::Hosts(nets),
            None => return PfctlOutput::failure(1, NO_NAME),
        },
    };
    let killed = kill_matching(pf, options, now, &wanted);
    let what = match &wanted {
        KillTarget::Hosts(nets) => format!(
            " from 1 sources and {} destinations",
            nets.len().saturating_sub(1)
        ),
        _ => String::new(),
    };
    PfctlOutput::talk(&format!("killed {killed} states{what}"), options.quiet)
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

fn kill_matching(
    pf: &mut SimulatedPf,
    options: &PfctlOptions,
    now: i64,
    wanted: &KillTarget,
) -> u64 {
    let on = |state: &State| {
        options
            .interface
            .as_ref()
            .is_none_or(|interface| *interface == state.interface)
    };
    let hit = |(id, state): &(&u64, &State)| on(state) && wanted.matches(pf, **id, state);
    let mut doomed: Vec<u64> = pf.states.iter().filter(hit).map(|(id, _)| *id).collect();
    if options.kill_match {
        let halves: Vec<&State> = doomed.iter().filter_map(|id| pf.states.get(id)).collect();
        let others = pf
            .states
            .iter()
            .filter(|(_, other)| halves.iter().any(|state| is_partner(state, other)));
        let others: Vec<u64> = others
            .map(|(id, _)| *id)
            .filter(|id| !doomed.contains(id))
            .collect();
        doomed.extend(others);
    }
    if !options.dry_run {
        for id in &doomed {
            pf.remove(*id, now);
        }
    }
    widened_count(doomed.len())
}

/// Says whether two states are the halves of one forwarded connection.
fn is_partner(state: &State, other: &State) -> bool {
    let client = |state: &State| match state.direction {
        crate::domain::pf::rule::Direction::In => state.right,
        crate::domain::pf::rule::Direction::Out => state.left_inside.unwrap_or(state.left),
    };
    state.direction != other.direction && client(state) == client(other)
}

/// Runs `-K`.
pub fn kill_sources(pf: &mut SimulatedPf, options: &PfctlOptions) -> PfctlOutput {
    let mut nets = Vec::new();
    for word in &options.kill_sources {
        let Some(net) = table_net(word) else {
            return PfctlOutput::failure(1, NO_NAME);
        };
        nets.push(net);
    }
    // A second address would be where a sticky translation points: nothing here has one.
    let killed = match nets.as_slice() {
        [source] if !options.dry_run => pf.forget_sources(source),
        _ => 0,
    };
    let destinations = nets.len().saturating_sub(1);
    PfctlOutput::talk(
        &format!("killed {killed} src nodes from 1 sources and {destinations} destinations"),
        options.quiet,
    )
}

/// Runs `-F`, for what the simulation can lose without a ruleset to load again.
pub fn flush_word(
    pf: &mut SimulatedPf,
    word: &str,
    options: &PfctlOptions,
    now: i64,
) -> PfctlOutput {
    match word {
        "states" => {
            let all: Vec<u64> = pf.states.keys().copied().collect();
            let number = widened_count(all.len());
            if !options.dry_run {
                for id in all {
                    pf.remove(id, now);
                }
            }
            PfctlOutput::talk(&format!("{number} states cleared"), options.quiet)
        }
        "Sources" => {
            if !options.dry_run {
                pf.nodes.clear();
                pf.states
                    .values_mut()
                    .for_each(|state| state.tracked = Tracked::No);
            }
            PfctlOutput::talk("source tracking entries cleared", options.quiet)
        }
        other => PfctlOutput::failure(
            1,
            &format!("pfctl: -F {other} is not supported by the simulated firewall"),
        ),
    }
}
