//! The service's live connections out of the state table, tallied by source.
//!
//! pf shows a forwarded connection twice: inbound on the outside interface and outbound towards the server.
//! Only the inbound half counts here, so that one connection is one.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Serialize;

use super::pf::rule::Direction;
use super::pf::source::SourceNode;
use super::pf::state::State;
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

/// Returns which half of the service's connections a state is, or `None` if it is none of them.
pub fn half(state: &State, service: &Service) -> Option<Half> {
    let serves = |host: &super::pf::state::Host| {
        host.address == service.address && host.port == service.port
    };
    match state.direction {
        _ if state.protocol != "tcp" => None,
        Direction::In if serves(&state.left) => Some(Half::Client {
            forwarded: state.left_inside.is_some(),
        }),
        Direction::Out if serves(&state.right) => Some(Half::Server),
        _ => None,
    }
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

/// Tallies the client halves by source, busiest first. `nodes` are the source nodes of the exposure's filter rule.
pub fn tally<'a>(
    states: impl IntoIterator<Item = &'a State>,
    service: &Service,
    nodes: &[SourceNode],
    blocked: impl Fn(&IpAddr) -> bool,
) -> Vec<Source> {
    let mut sources: BTreeMap<IpAddr, Source> = BTreeMap::new();
    for state in states {
        let Some(Half::Client { .. }) = half(state, service) else {
            continue;
        };
        let address = state.right.address;
        let source = sources.entry(address).or_insert_with(|| Source {
            address,
            established: 0,
            states: 0,
            counted: nodes
                .iter()
                .find(|node| node.address == address)
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
