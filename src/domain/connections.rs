//! The service's live connections out of the state table, tallied by source.
//!
//! pf shows a forwarded connection twice: inbound on the outside interface and outbound towards the server.
//! Only the inbound half counts here, so that one connection is one.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use super::address::{canonical_address, canonical_net};
use super::pf::rule::Direction;
use super::pf::source::SourceNode;
use super::pf::state::{Host, State};
use super::service::Service;

/// Which half of one of the service's connections a state is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// The client's side, inbound; `forwarded` when it came through the port forward.
    Client {
        forwarded: bool,
    },
    Server,
}

/// Returns which half of the service's connections a state is, or `None` if it is none of them. The alias holds
/// `members` beside the service's address.
///
/// What comes in by the service's port and is forwarded to one of its servers is the service's, whichever port that listens
/// on. Of those to another port only the client's half is known: without it the connection is over, and the server's half may
/// be that of something else.
///
/// `None` is an alias that is not known: then what the firewall forwards to the service's port counts, wherever to.
pub fn connection_half(
    state: &State,
    service: &Service,
    members: Option<&[IpNet]>,
) -> Option<Half> {
    let serves = |host: &Host| {
        let address = canonical_address(host.address);
        let member = |net: &IpNet| canonical_net(*net).contains(&address);
        address == canonical_address(service.address)
            || members.is_some_and(|members| members.iter().any(member))
    };
    let forwarded = state.left_inside.is_some();
    let is_led_anywhere = forwarded && members.is_none() && state.left.port == service.port;
    match state.direction {
        _ if !concerns_service(state, service) => None,
        Direction::In if serves(&state.left) || is_led_anywhere => Some(Half::Client { forwarded }),
        Direction::Out if serves(&state.right) => Some(Half::Server),
        _ => None,
    }
}

/// Returns whether a state can be one of the service's connections: TCP to its port, outside or inside, wherever to. What is
/// kept of the state table before the alias is known.
pub fn concerns_service(state: &State, service: &Service) -> bool {
    let is_ours = |host: &Host| host.port == service.port;
    let is_to_port = match state.direction {
        Direction::In => is_ours(&state.left) || state.left_inside.as_ref().is_some_and(is_ours),
        Direction::Out => is_ours(&state.right),
    };
    state.protocol == "tcp" && is_to_port
}

/// Reads members of an alias; names, which only the firewall can resolve, are left out.
pub fn alias_members<'a>(addresses: impl IntoIterator<Item = &'a str>) -> Vec<IpNet> {
    let net = |text: &str| {
        let address = || text.parse::<IpAddr>().ok().map(IpNet::from);
        text.parse::<IpNet>().ok().or_else(address)
    };
    addresses.into_iter().filter_map(net).collect()
}

/// Returns the servers whose connections are the service's: the alias's members, or, where it is not known, any that
/// the firewall forwards the service's port to. What ends connections looks for both halves of them.
pub fn server_networks(
    states: &[State],
    service: &Service,
    members: Option<&[IpNet]>,
) -> Vec<IpNet> {
    if let Some(members) = members {
        return members.to_vec();
    }
    let forwarded = states
        .iter()
        .filter(|state| matches!(connection_half(state, service, None), Some(Half::Client { .. })));
    let mut servers: Vec<IpNet> =
        forwarded.map(|state| IpNet::from(canonical_address(state.left.address))).collect();
    servers.sort_unstable();
    servers.dedup();
    servers
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConnectedSource {
    pub address: IpAddr,
    /// Connections whose handshake is complete on both sides.
    pub established: u64,
    pub states: u64,
    /// What pf counts against the cap for this source (its source node); `None` without a node, as for
    /// inside clients and for connections older than the last filter reload.
    pub counted: Option<u32>,
    /// Bytes from the client; `None`, like the next two, where the detail of one of its states was not read.
    pub bytes_in: Option<u64>,
    pub bytes_out: Option<u64>,
    /// Age of its oldest connection.
    pub oldest_seconds: Option<u64>,
    pub blocked: bool,
}

impl ConnectedSource {
    /// Returns the bytes of both directions.
    pub fn bytes(&self) -> Option<u64> {
        Some(self.bytes_in?.saturating_add(self.bytes_out?))
    }
}

/// Returns the nodes that count against the caps of loaded rules, given by number and present states. A reload leaves
/// the nodes of the rule before in place, under the same number; what they hold counts no more. Those of the loaded
/// rule are younger than the load, and their states are the rule's own. Source: pf on FreeBSD 14, measured.
pub fn counting_nodes(nodes: &[SourceNode], rules: &[(u32, u64)]) -> Vec<SourceNode> {
    let mut counting = Vec::new();
    for (number, present) in rules {
        let of_rule = |node: &&SourceNode| matches!(&node.rule, Some((kind, rule)) if kind == "filter" && rule == number);
        let mut own: Vec<&SourceNode> = nodes.iter().filter(of_rule).collect();
        own.sort_by_key(|node| node.age_seconds.unwrap_or(u64::MAX));
        let mut seen = std::collections::BTreeSet::new();
        own.retain(|node| seen.insert(canonical_address(node.address)));
        // The lists are not of one moment, so the sums need not meet.
        let (mut sum, mut best, mut kept) = (0, *present, 0);
        for (place, node) in own.iter().enumerate() {
            sum += u64::from(node.states);
            let distance = present.abs_diff(sum);
            if distance <= best {
                (best, kept) = (distance, place + 1);
            }
        }
        counting.extend(own.into_iter().take(kept).cloned());
    }
    counting
}

/// Tallies the client halves by source, busiest first. The alias holds `members`, as in [`connection_half`]; `nodes` are the source
/// nodes of the exposure's filter rule.
pub fn tally_sources<'a>(
    states: impl IntoIterator<Item = &'a State>,
    service: &Service,
    members: Option<&[IpNet]>,
    nodes: &[SourceNode],
    blocked: impl Fn(&IpAddr) -> bool,
) -> Vec<ConnectedSource> {
    let mut sources: BTreeMap<IpAddr, ConnectedSource> = BTreeMap::new();
    for state in states {
        let Some(Half::Client { .. }) = connection_half(state, service, members) else {
            continue;
        };
        let address = canonical_address(state.right.address);
        let source = sources.entry(address).or_insert_with(|| ConnectedSource {
            address,
            established: 0,
            states: 0,
            counted: nodes
                .iter()
                .find(|node| canonical_address(node.address) == address)
                .map(|node| node.connections),
            bytes_in: Some(0),
            bytes_out: Some(0),
            oldest_seconds: Some(0),
            blocked: blocked(&address),
        });
        source.states += 1;
        source.established += u64::from(state.levels == "ESTABLISHED:ESTABLISHED");
        let sum = |sum: Option<u64>, more: Option<u64>| Some(sum?.saturating_add(more?));
        let detail = state.detail.as_ref();
        source.bytes_in = sum(source.bytes_in, detail.map(|detail| detail.bytes.0));
        source.bytes_out = sum(source.bytes_out, detail.map(|detail| detail.bytes.1));
        source.oldest_seconds = source
            .oldest_seconds
            .zip(detail)
            .map(|(oldest, detail)| oldest.max(detail.age_seconds));
    }
    let mut sources: Vec<ConnectedSource> = sources.into_values().collect();
    sources.sort_by(|left, right| {
        (right.states, right.established)
            .cmp(&(left.states, left.established))
            .then(left.address.cmp(&right.address))
    });
    sources
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::exposure::fixtures::service;
    use crate::domain::pf::state::parse;

    fn states(text: &str) -> Vec<State> {
        parse(text.as_bytes()).value
    }

    const MOVED: &str = "vtnet0 tcp 10.0.20.203:1688 (192.168.1.2:1688) <- 198.51.100.7:40001       ESTABLISHED:ESTABLISHED\n\
         vtnet2 tcp 198.51.100.7:40001 -> 10.0.20.203:1688       ESTABLISHED:ESTABLISHED\n\
         vtnet1 tcp 10.0.20.9:1688 <- 10.0.10.5:40002       ESTABLISHED:ESTABLISHED\n";

    #[test]
    fn the_aliass_other_members_serve_too() {
        let (states, service) = (states(MOVED), service());
        assert_eq!(states.len(), 3);
        let halves = |members: Option<&[IpNet]>| -> Vec<Option<Half>> {
            states.iter().map(|state| connection_half(state, &service, members)).collect()
        };
        let client = Some(Half::Client { forwarded: true });
        assert_eq!(halves(Some(&[])), [None, None, None]);
        let held = alias_members(["10.0.20.203", "kms.example"]);
        assert_eq!(halves(Some(&held)), [client, Some(Half::Server), None]);
        assert_eq!(halves(None), [client, None, None], "what is forwarded counts");
        assert!(states.iter().all(|state| concerns_service(state, &service)));
        let tallied = tally_sources(&states, &service, Some(&held), &[], |_| false);
        assert_eq!((tallied.len(), tallied[0].established), (1, 1));
        assert!(tally_sources(&states, &service, Some(&[]), &[], |_| false).is_empty());
        assert_eq!(server_networks(&states, &service, Some(&held)), held);
        assert_eq!(server_networks(&states, &service, None), alias_members(["10.0.20.203"]));
    }

    #[test]
    fn another_inside_port_is_the_services() {
        let client = Some(Half::Client { forwarded: true });
        let direct = Some(Half::Client { forwarded: false });
        let alias = alias_members(["10.0.20.203"]);
        let end = "198.51.100.7:40001       ESTABLISHED:ESTABLISHED\n";
        for (hosts, expected) in [
            ("10.0.20.202:21688 (192.168.1.2:1688)", [client, client]),
            ("10.0.20.203:443 (192.168.1.2:1688)", [client, None]),
            ("10.0.20.202:1688 (192.168.1.2:31688)", [client, client]),
            ("10.0.20.202:1688", [direct, direct]),
            // Another port of the same server, and the port of another server.
            ("10.0.20.202:21688 (192.168.1.2:21688)", [None, None]),
            ("10.0.20.202:21688", [None, None]),
            ("10.0.20.50:443 (192.168.1.2:1688)", [None, None]),
        ] {
            let states = states(&format!("vtnet0 tcp {hosts} <- {end}"));
            let state = states.first().expect("a state");
            let known = connection_half(state, &service(), Some(&alias));
            assert_eq!([known, connection_half(state, &service(), None)], expected, "{hosts}");
            if expected.contains(&client) || expected.contains(&direct) {
                assert!(concerns_service(state, &service()), "kept: {hosts}");
                let tallied = tally_sources(&states, &service(), Some(&alias), &[], |_| false);
                assert_eq!(tallied.len(), 1, "{hosts}");
            }
        }
        let source = states(
            "vtnet2 tcp 10.0.20.202:50000 (192.168.1.2:1688) -> 198.51.100.7:443       ESTABLISHED:ESTABLISHED\n",
        );
        assert!(source.iter().all(|state| connection_half(state, &service(), None).is_none()));
    }

    fn counted(text: &[u8], present: u64) -> Vec<(String, u32)> {
        let nodes = crate::domain::pf::source::parse_source_nodes(text).value;
        let counting = counting_nodes(&nodes, &[(77, present)]);
        let pairs = counting.iter().map(|node| (node.address.to_string(), node.connections));
        pairs.collect()
    }

    #[test]
    fn bytes_that_were_not_read_are_none() {
        let text = b"all tcp 10.0.20.202:1688 (192.168.1.2:1688) <- 198.51.100.7:50001       ESTABLISHED:ESTABLISHED\n   [1 + 2] wscale 7  [3 + 4] wscale 7\n   age 00:01:00, expires in 23:59:00, 3:2 pkts, 300:200 bytes, rule 5\n";
        let mut states = parse(text).value;
        let tally = |states: &[State]| tally_sources(states, &service(), None, &[], |_| false);
        assert_eq!(tally(&states)[0].bytes(), Some(500));
        assert_eq!(tally(&states)[0].oldest_seconds, Some(60));
        let mut second = states[0].clone();
        second.detail = None;
        states.push(second);
        let source = &tally(&states)[0];
        assert_eq!((source.states, source.bytes()), (2, None));
        assert_eq!(source.oldest_seconds, None);
    }

    #[test]
    fn nodes_from_before_a_reload_count_nothing() {
        let before = include_bytes!("../../tests/fixtures/pfctl-kernel/reload-before-sS.txt");
        let held = |counts: Vec<(String, u32)>| -> Vec<(String, u32)> {
            counts.into_iter().filter(|(_, count)| *count > 0).collect()
        };
        let of = |address: &str, count: u32| (address.to_owned(), count);
        let two = include_bytes!("../../tests/fixtures/pfctl-kernel/reload-two-nodes-sS.txt");
        assert_eq!(held(counted(two, 9)), [of("198.18.7.70", 9)], "the new node");
        assert_eq!(held(counted(two, 8)), [of("198.18.7.70", 9)], "read a moment later");
        let after = include_bytes!("../../tests/fixtures/pfctl-kernel/reload-after-sS.txt");
        for text in [&before[..], &after[..]] {
            assert_eq!(held(counted(text, 0)), [], "all are older than the load");
        }
        let text = "192.0.2.1 -> 0.0.0.0 ( states 2, connections 2, rate 0.0/60s )\n   age 00:00:05, 1 pkts, 1 bytes, filter rule 77\n\
                    192.0.2.2 -> 0.0.0.0 ( states 3, connections 1, rate 0.0/60s )\n   age 00:00:50, 1 pkts, 1 bytes, filter rule 77\n\
                    192.0.2.3 -> 0.0.0.0 ( states 8, connections 8, rate 0.0/60s )\n   age 00:05:00, 1 pkts, 1 bytes, filter rule 77\n\
                    192.0.2.4 -> 0.0.0.0 ( states 4, connections 4, rate 0.0/60s )\n   age 00:00:01, 1 pkts, 1 bytes, filter rule 12\n";
        for (present, count) in [(0, 0), (2, 1), (5, 2), (6, 2), (13, 3), (14, 3)] {
            assert_eq!(counted(text.as_bytes(), present).len(), count, "{present}");
        }
    }

    #[test]
    fn a_mapped_source_is_the_ipv4_one() {
        let text = "vtnet0 tcp ::ffff:10.0.20.202[1688] <- ::ffff:198.51.100.7[40001]       ESTABLISHED:ESTABLISHED\n";
        let tallied = tally_sources(&states(text), &service(), Some(&[]), &[], IpAddr::is_ipv4);
        assert_eq!(tallied.len(), 1);
        assert_eq!(tallied[0].address.to_string(), "198.51.100.7");
        assert!(tallied[0].blocked, "asked about by its IPv4 form");
    }
}
