//! `pfctl -k`, `-K` and `-F`: what ends states and source nodes. Matching is by the key on the wire, as the
//! kernel's `pf_kill_states` does, so the inside half of a translated connection often stays.

use std::net::IpAddr;

use ipnet::IpNet;

use super::Output;
use super::options::Options;
use crate::simulator::pf::state::{State, Tracked};
use crate::simulator::pf::table::net;
use crate::simulator::pf::{Pf, count};

const NO_NAME: &str = "pfctl: getaddrinfo: Name does not resolve";

/// Runs `-k`.
pub fn states(pf: &mut Pf, options: &Options, now: i64) -> Output {
    let [first, second] =
        [options.kill.first(), options.kill.get(1)].map(|word| word.map(String::as_str));
    let kind = first.unwrap_or_default();
    let wanted: Box<dyn Fn(&Pf, u64, &State) -> bool> = match (kind, second) {
        ("label" | "id" | "gateway" | "key", None) => {
            return Output::usage(Some(&format!("pfctl: no {kind} specified")));
        }
        ("label", Some(label)) => {
            let label = label.to_owned();
            Box::new(move |pf, _, state| {
                let rule = state.rule.and_then(|rule| pf.filter.get(rule));
                rule.is_some_and(|rule| rule.labels.contains(&label))
            })
        }
        ("id", Some(id)) => {
            let Some((id, creator)) = state_id(id, pf.host_id) else {
                return Output::usage(Some("pfctl: wrong id format specified"));
            };
            Box::new(move |pf, candidate, _| candidate == id && creator == pf.host_id)
        }
        ("gateway", Some(gateway)) => {
            let wanted = format!(": {gateway}@");
            Box::new(move |_, _, state| state.via.as_ref().is_some_and(|via| via.contains(&wanted)))
        }
        _ => return by_host(pf, options, now),
    };
    let killed = kill(pf, options, now, wanted.as_ref());
    Output::talk(&format!("killed {killed} states"), options.quiet)
}

fn by_host(pf: &mut Pf, options: &Options, now: i64) -> Output {
    let mut nets = Vec::new();
    for word in &options.kill {
        let Some(net) = net(word) else {
            return Output::failure(1, NO_NAME);
        };
        nets.push(net);
    }
    let holds = |net: Option<&IpNet>, address: IpAddr| net.is_none_or(|net| net.contains(&address));
    let killed = kill(pf, options, now, &|_, _, state| {
        holds(nets.first(), state.wire_source()) && holds(nets.get(1), state.wire_destination())
    });
    let destinations = nets.len().saturating_sub(1);
    Output::talk(
        &format!("killed {killed} states from 1 sources and {destinations} destinations"),
        options.quiet,
    )
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

fn kill(
    pf: &mut Pf,
    options: &Options,
    now: i64,
    wanted: &dyn Fn(&Pf, u64, &State) -> bool,
) -> u64 {
    let on = |state: &State| {
        options
            .interface
            .as_ref()
            .is_none_or(|interface| *interface == state.interface)
    };
    let doomed: Vec<u64> = pf
        .states
        .iter()
        .filter(|(id, state)| on(state) && wanted(pf, **id, state))
        .map(|(id, _)| *id)
        .collect();
    let mut partners = Vec::new();
    if options.kill_match {
        for state in doomed.iter().filter_map(|id| pf.states.get(id)) {
            partners.extend(
                pf.states
                    .iter()
                    .filter(|(_, other)| partner(state, other))
                    .map(|(id, _)| *id),
            );
        }
    }
    let mut killed = 0;
    for id in doomed.into_iter().chain(partners) {
        let there = if options.dry_run {
            pf.states.contains_key(&id)
        } else {
            pf.remove(id, now)
        };
        killed += u64::from(there);
    }
    killed
}

/// Says whether two states are the halves of one forwarded connection.
fn partner(state: &State, other: &State) -> bool {
    let client = |state: &State| match state.direction {
        crate::domain::pf::rule::Direction::In => state.right,
        crate::domain::pf::rule::Direction::Out => state.left_inside.unwrap_or(state.left),
    };
    state.direction != other.direction && client(state) == client(other)
}

/// Runs `-K`.
pub fn sources(pf: &mut Pf, options: &Options) -> Output {
    let mut nets = Vec::new();
    for word in &options.kill_sources {
        let Some(net) = net(word) else {
            return Output::failure(1, NO_NAME);
        };
        nets.push(net);
    }
    // A second address would be where a sticky translation points: nothing here has one.
    let killed = match nets.as_slice() {
        [source] if !options.dry_run => pf.forget_sources(source),
        _ => 0,
    };
    let destinations = nets.len().saturating_sub(1);
    Output::talk(
        &format!("killed {killed} src nodes from 1 sources and {destinations} destinations"),
        options.quiet,
    )
}

/// Runs `-F`, for what the simulation can lose without a ruleset to load again.
pub fn clear(pf: &mut Pf, word: &str, options: &Options, now: i64) -> Output {
    match word {
        "states" => {
            let all: Vec<u64> = pf.states.keys().copied().collect();
            let number = count(all.len());
            if !options.dry_run {
                all.into_iter().for_each(|id| {
                    pf.remove(id, now);
                });
            }
            Output::talk(&format!("{number} states cleared"), options.quiet)
        }
        "Sources" => {
            if !options.dry_run {
                pf.nodes.clear();
                pf.states
                    .values_mut()
                    .for_each(|state| state.tracked = Tracked::No);
            }
            Output::talk("source tracking entries cleared", options.quiet)
        }
        other => Output::failure(
            1,
            &format!("pfctl: -F {other} is not supported by the simulated firewall"),
        ),
    }
}
