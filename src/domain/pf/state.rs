//! `pfctl -ss` and `pfctl -vvss`: the state table, streamed.
//!
//! A state table can hold a million states, so [`StateParser`] takes chunks as they arrive and hands the states out one by
//! one.

mod parser;
mod print;
mod record;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

pub use parser::StateParser;
pub use print::DisplayState;

use super::rule::Direction;
use super::{Parsed, Verbosity};

/// One state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The printed interface: `all` for floating states.
    pub interface: String,
    /// Protocol name, or number where unknown.
    pub protocol: String,
    /// `<-` or `->`.
    pub direction: Direction,
    /// The host left of the arrow: inbound, the destination after redirection; outbound, the source after NAT.
    pub left: Host,
    /// In brackets after the left host: what the client addressed, or the inside source.
    pub left_inside: Option<Host>,
    /// The host right of the arrow: inbound, the client; outbound, the destination.
    pub right: Host,
    /// In brackets after the right host.
    pub right_inside: Option<Host>,
    /// The state pair as printed, such as `ESTABLISHED:ESTABLISHED`: left host's peer, right host's peer.
    pub levels: String,
    /// From `-v`.
    pub detail: Option<Detail>,
    /// From `-vv`.
    pub identity: Option<Identity>,
}

impl State {
    /// Returns who made the connection of which this is a half; where the firewall translates the source as well (hairpin),
    /// that stands in brackets.
    pub fn client(&self) -> &Host {
        match self.direction {
            Direction::In => &self.right,
            Direction::Out => self.left_inside.as_ref().unwrap_or(&self.left),
        }
    }

    /// Prints the state as pfctl does (FreeBSD 14), as far as it is known; no newline at the end.
    pub fn display(&self, verbosity: Verbosity) -> DisplayState<'_> {
        DisplayState::new(self, verbosity)
    }
}

/// An address and port of a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// The address, without scope.
    pub address: IpAddr,
    /// `%scope`, if printed.
    pub scope: Option<String>,
    /// 0 is not printed by pfctl.
    pub port: u16,
}

/// What `-v` adds to a state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detail {
    /// The TCP window line as printed (without the leading blanks), if any.
    pub windows: Option<String>,
    /// Seconds since the state was made.
    pub age_seconds: u64,
    /// Seconds until it times out.
    pub expires_seconds: u64,
    /// Packets in the state's direction and in reply.
    pub packets: (u64, u64),
    /// Bytes likewise.
    pub bytes: (u64, u64),
    /// The number of the filter rule that made it.
    pub rule: Option<u32>,
    /// Options other than `rule`, as printed, in order.
    pub extras: Vec<String>,
}

/// What `-vv` adds to a state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The state's id.
    pub id: u64,
    /// The host that made it.
    pub creator: u32,
    /// `reply-to: ADDR@IF` and the like, as printed.
    pub extras: Vec<String>,
    /// `origif: IF` (14+), where the printed interface is `all`.
    pub original_interface: Option<String>,
}

/// Parses a whole output at once, for small tables; a big one goes through [`StateParser`].
pub fn parse(text: &[u8]) -> Parsed<Vec<State>> {
    let mut states = Vec::new();
    let mut keep = |state| states.push(state);
    let mut parser = StateParser::new();
    parser.push(text, &mut keep);
    parser.finish_table(&mut keep).map(|_| states)
}
