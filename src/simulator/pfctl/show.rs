//! `pfctl -s …`: rules, states, source nodes. Counters and limits are in [`super::info`].

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::options::PfctlOptions;
use super::{PfctlOutput, entry_count, info, printed_time};
use crate::domain::pf::state as printed;
use crate::domain::pf::{ClockTime, Verbosity};
use crate::simulator::pf::SimulatedPf;
use crate::simulator::pf::rule::LoadedRule;
use crate::simulator::pf::state::{Protocol, State, StateChain, Tracked};
use crate::simulator::random::scramble_number;
use crate::simulator::world::World;

pub fn show_word(world: &World, word: &str, options: &PfctlOptions, now: i64) -> PfctlOutput {
    let pf = &world.pf;
    if options.in_upnp {
        return show_upnp(pf, word, options);
    }
    PfctlOutput::data(match word {
        "rules" => filter_rules(pf, options),
        "nat" => translation_rules(pf, options),
        "states" => show_states(pf, options, now),
        "Sources" => show_sources(pf, options, now),
        "info" => info::show_info(pf, options, now),
        _ => info::show_memory(pf, world.scenario),
    })
}

fn show_upnp(pf: &SimulatedPf, word: &str, options: &PfctlOptions) -> PfctlOutput {
    if !pf.has_upnp() {
        return PfctlOutput::failure(0, "pfctl: DIOCGETRULES: Invalid argument");
    }
    let (filter, rdr) = &pf.upnp;
    let rules = if word == "nat" { rdr } else { filter };
    let mut text = String::new();
    for (number, rule) in rules.iter().enumerate() {
        print_rule(&mut text, pf, number, rule, 0, options);
    }
    PfctlOutput::data(text)
}

fn filter_rules(pf: &SimulatedPf, options: &PfctlOptions) -> String {
    let mut text = String::new();
    for (number, rule) in pf.scrub.iter().enumerate() {
        print_rule(&mut text, pf, number, rule, 0, options);
    }
    for (number, rule) in pf.filter.iter().enumerate() {
        print_rule(&mut text, pf, number, rule, pf.states_of(number), options);
    }
    text
}

fn translation_rules(pf: &SimulatedPf, options: &PfctlOptions) -> String {
    let mut text = String::new();
    for (chain, rules) in [(StateChain::Nat, &pf.nat), (StateChain::Rdr, &pf.rdr)] {
        for (number, rule) in rules.iter().enumerate() {
            print_rule(&mut text, pf, number, rule, pf.states_translated(chain, number), options);
        }
    }
    for (number, rule) in pf.binat.iter().enumerate() {
        print_rule(&mut text, pf, number, rule, 0, options);
    }
    text
}

fn print_rule(
    text: &mut String,
    pf: &SimulatedPf,
    number: usize,
    rule: &LoadedRule,
    states: usize,
    options: &PfctlOptions,
) {
    if options.verbose >= 2 {
        let _ = writeln!(text, "@{number} {}", with_counts(pf, &rule.text));
    } else {
        let _ = writeln!(text, "{}", rule.text);
    }
    if options.verbose == 0 {
        return;
    }
    let (packets, bytes) = (rule.packets.0 + rule.packets.1, rule.bytes.0 + rule.bytes.1);
    let _ = writeln!(
        text,
        "  [ Evaluations: {:<8}  Packets: {packets:<8}  Bytes: {bytes:<10}  States: {states:<6}]",
        rule.evaluations
    );
    let (pid, creations) = (pf.loader(), rule.creations);
    let _ = writeln!(text, "  [ Inserted: uid 0 pid {pid} State Creations: {creations:<6}]");
    if options.verbose >= 2 {
        let last = rule.last_active.map_or_else(|| "N/A".to_owned(), printed_time);
        let _ = writeln!(text, "  [ Last Active Time: {last} ]");
    }
}

/// Adds the number of entries to tables and dynamic addresses, as `-vv` does for `from` and `to`.
fn with_counts(pf: &SimulatedPf, line: &str) -> String {
    let (rule, target) =
        line.split_once(" -> ").map_or((line, None), |(rule, target)| (rule, Some(target)));
    let mut previous = "";
    let mut words = Vec::new();
    for word in rule.split(' ') {
        let host = ["from", "to", "!"].contains(&previous);
        let table = word.strip_prefix('<').and_then(|word| word.strip_suffix('>'));
        let dynamic = word.strip_prefix('(').and_then(|word| word.strip_suffix(')'));
        words.push(match (table, dynamic) {
            (Some(name), _) if host => format!("<{name}:{}>", entry_count(pf, name)),
            (_, Some("self")) if host => "(self:7)".to_owned(),
            (_, Some(interface)) if host => format!("({interface}:1)"),
            _ => word.to_owned(),
        });
        previous = word;
    }
    let rule = words.join(" ");
    target.map_or_else(|| rule.clone(), |target| format!("{rule} -> {target}"))
}

fn show_states(pf: &SimulatedPf, options: &PfctlOptions, now: i64) -> String {
    let mut text = String::new();
    for (id, state) in &pf.states {
        let _ =
            writeln!(text, "{}", as_printed(pf, *id, state, now).display(rule_verbosity(options)));
    }
    text
}

fn as_printed(pf: &SimulatedPf, id: u64, state: &State, now: i64) -> printed::State {
    let mut extras = Vec::new();
    if state.tracked != Tracked::No {
        extras.push("source-track".to_owned());
    }
    printed::State {
        interface: "all".to_owned(),
        protocol: state.protocol.name().to_owned(),
        direction: state.direction,
        left: printed_host(state.left),
        left_inside: state.left_inside.map(printed_host),
        right: printed_host(state.right),
        right_inside: None,
        levels: format!("{}:{}", state.levels.0.name(), state.levels.1.name()),
        detail: Some(printed::Detail {
            windows: (state.protocol == Protocol::Tcp).then(|| sequence_windows(id, state)),
            age_seconds: whole_seconds(now - state.created),
            expires_seconds: whole_seconds(state.expires - now),
            packets: state.packets,
            bytes: state.bytes,
            rule: state.rule.and_then(|rule| u32::try_from(rule.number).ok()),
            extras,
        }),
        identity: Some(printed::Identity {
            id,
            creator: pf.host_id,
            extras: state.via.iter().cloned().collect(),
            original_interface: Some(state.interface.clone()),
        }),
    }
}

/// Sequence numbers that look like some: the simulator keeps none.
fn sequence_windows(id: u64, state: &State) -> String {
    let sequence =
        |salt: u64, moved: u64| (scramble_number(id ^ salt).wrapping_add(moved)) & 0xffff_ffff;
    let (one, other) = (sequence(0, state.bytes.0), sequence(1 << 63, state.bytes.1));
    format!("[{one} + 64256] wscale 7  [{other} + 65535] wscale 8")
}

fn printed_host(address: SocketAddr) -> printed::Host {
    printed::Host { address: address.ip(), scope: None, port: address.port() }
}

fn whole_seconds(milliseconds: i64) -> u64 {
    u64::try_from(milliseconds / 1000).unwrap_or(0)
}

/// FreeBSD 14's kernel exports neither the rate nor the time left, so pfctl prints zeros.
fn show_sources(pf: &SimulatedPf, options: &PfctlOptions, now: i64) -> String {
    let mut text = String::new();
    for node in &pf.nodes {
        let target = match node.address {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let _ = writeln!(
            text,
            "{} -> {target} ( states {}, connections {}, rate 0.0/0s )",
            node.address, node.states, node.connections
        );
        if options.verbose > 0 {
            let age = ClockTime(whole_seconds(now - node.created));
            let expires = if node.states == 0 { ", expires in 00:00:00" } else { "" };
            let _ = writeln!(
                text,
                "   age {age}{expires}, {} pkts, {} bytes, filter rule {}",
                node.packets, node.bytes, node.rule.number
            );
        }
    }
    text
}

fn rule_verbosity(options: &PfctlOptions) -> Verbosity {
    match options.verbose {
        0 => Verbosity::Plain,
        1 => Verbosity::Verbose,
        _ => Verbosity::VeryVerbose,
    }
}
