//! The service's live connections out of the state table, tallied by source.
//!
//! pf shows a forwarded connection twice: inbound on the outside interface and outbound towards the server.
//! Only the inbound half counts here, so that one connection is one.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use super::address::{canonical, canonical_net};
use super::pf::rule::Direction;
use super::pf::source::SourceNode;
use super::pf::state::{Host, State};
use super::service::Service;

/// Which half of one of the service's connections a state is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// The client's side, inbound; `forwarded` when it came through the port forward.
    Client {
        /// The destination was rewritten.
        forwarded: bool,
    },
    /// The server's side, outbound.
    Server,
}

/// Returns which half of the service's connections a state is, or `None` if it is none of them. The alias holds
/// `members` beside the service's address.
///
/// `None` is an alias that is not known: then what the firewall forwards to the service's port counts, wherever to.
pub fn half(state: &State, service: &Service, members: Option<&[IpNet]>) -> Option<Half> {
    let serves = |host: &Host| {
        let address = canonical(host.address);
        let member = |net: &IpNet| canonical_net(*net).contains(&address);
        address == canonical(service.address)
            || members.is_some_and(|members| members.iter().any(member))
    };
    let forwarded = state.left_inside.is_some();
    match state.direction {
        _ if !concerns(state, service) => None,
        Direction::In if serves(&state.left) || (forwarded && members.is_none()) => {
            Some(Half::Client { forwarded })
        }
        Direction::Out if serves(&state.right) => Some(Half::Server),
        _ => None,
    }
}

/// Returns whether a state can be one of the service's connections: TCP to its port, wherever to. What is kept of the
/// state table before the alias is known.
pub fn concerns(state: &State, service: &Service) -> bool {
    let server = match state.direction {
        Direction::In => &state.left,
        Direction::Out => &state.right,
    };
    state.protocol == "tcp" && server.port == service.port
}

/// Reads members of an alias; names, which only the firewall can resolve, are left out.
pub fn members<'a>(addresses: impl IntoIterator<Item = &'a str>) -> Vec<IpNet> {
    let net = |text: &str| {
        let address = || text.parse::<IpAddr>().ok().map(IpNet::from);
        text.parse::<IpNet>().ok().or_else(address)
    };
    addresses.into_iter().filter_map(net).collect()
}

/// Returns the servers whose connections are the service's: the alias's members, or, where it is not known, whoever
/// the firewall forwards the service's port to. What ends connections looks for both halves of them.
pub fn servers(states: &[State], service: &Service, members: Option<&[IpNet]>) -> Vec<IpNet> {
    if let Some(members) = members {
        return members.to_vec();
    }
    let forwarded = states
        .iter()
        .filter(|state| matches!(half(state, service, None), Some(Half::Client { .. })));
    let mut servers: Vec<IpNet> = forwarded
        .map(|state| IpNet::from(canonical(state.left.address)))
        .collect();
    servers.sort_unstable();
    servers.dedup();
    servers
}

/// The connections of one source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Source {
    /// The client.
    pub address: IpAddr,
    /// Connections whose handshake is complete on both sides.
    pub established: u64,
    /// Connections in any state.
    pub states: u64,
    /// What pf counts against the cap for this source (its source node); `None` without a node, as for
    /// inside clients and for connections older than the last filter reload.
    pub counted: Option<u32>,
    /// Bytes from the client.
    pub bytes_in: u64,
    /// Bytes to the client.
    pub bytes_out: u64,
    /// Age of its oldest connection.
    pub oldest_seconds: u64,
    /// It is in the overload table.
    pub blocked: bool,
}

/// Tallies the client halves by source, busiest first. The alias holds `members`, as in [`half`]; `nodes` are the source
/// nodes of the exposure's filter rule.
pub fn tally<'a>(
    states: impl IntoIterator<Item = &'a State>,
    service: &Service,
    members: Option<&[IpNet]>,
    nodes: &[SourceNode],
    blocked: impl Fn(&IpAddr) -> bool,
) -> Vec<Source> {
    let mut sources: BTreeMap<IpAddr, Source> = BTreeMap::new();
    for state in states {
        let Some(Half::Client { .. }) = half(state, service, members) else {
            continue;
        };
        let address = canonical(state.right.address);
        let source = sources.entry(address).or_insert_with(|| Source {
            address,
            established: 0,
            states: 0,
            counted: nodes
                .iter()
                .find(|node| canonical(node.address) == address)
                .map(|node| node.connections),
            bytes_in: 0,
            bytes_out: 0,
            oldest_seconds: 0,
            blocked: blocked(&address),
        });
        source.states += 1;
        source.established += u64::from(state.levels == "ESTABLISHED:ESTABLISHED");
        if let Some(detail) = &state.detail {
            source.bytes_in = source.bytes_in.saturating_add(detail.bytes.0);
            source.bytes_out = source.bytes_out.saturating_add(detail.bytes.1);
            source.oldest_seconds = source.oldest_seconds.max(detail.age_seconds);
        }
    }
    let mut sources: Vec<Source> = sources.into_values().collect();
    sources.sort_by(|left, right| {
        (right.established, right.states)
            .cmp(&(left.established, left.states))
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
            states
                .iter()
                .map(|state| half(state, &service, members))
                .collect()
        };
        let client = Some(Half::Client { forwarded: true });
        assert_eq!(halves(Some(&[])), [None, None, None]);
        let held = members(["10.0.20.203", "kms.example"]);
        assert_eq!(halves(Some(&held)), [client, Some(Half::Server), None]);
        assert_eq!(
            halves(None),
            [client, None, None],
            "what is forwarded counts"
        );
        assert!(states.iter().all(|state| concerns(state, &service)));
        let tallied = tally(&states, &service, Some(&held), &[], |_| false);
        assert_eq!((tallied.len(), tallied[0].established), (1, 1));
        assert!(tally(&states, &service, Some(&[]), &[], |_| false).is_empty());
        assert_eq!(servers(&states, &service, Some(&held)), held);
        assert_eq!(servers(&states, &service, None), members(["10.0.20.203"]));
    }

    #[test]
    fn a_mapped_source_is_the_ipv4_one() {
        let text = "vtnet0 tcp ::ffff:10.0.20.202[1688] <- ::ffff:198.51.100.7[40001]       ESTABLISHED:ESTABLISHED\n";
        let tallied = tally(&states(text), &service(), Some(&[]), &[], IpAddr::is_ipv4);
        assert_eq!(tallied.len(), 1);
        assert_eq!(tallied[0].address.to_string(), "198.51.100.7");
        assert!(tallied[0].blocked, "asked about by its IPv4 form");
    }
}
