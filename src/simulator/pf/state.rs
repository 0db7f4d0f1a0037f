//! One state of the simulated pf: half of a forwarded connection.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::RuleRef;
use crate::domain::pf::rule::Direction;
use crate::text::word_enum;

word_enum! {
    /// The protocols the simulated traffic uses, by the names that pfctl prints.
    pub enum Protocol {
        Tcp = "tcp",
        Udp = "udp",
    }
}

/// How far one peer of a state has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// TCP: nothing seen.
    Closed,
    /// TCP: its SYN was seen.
    SynSent,
    /// TCP: its SYN was acknowledged.
    Established,
    /// TCP: its FIN was seen.
    Closing,
    /// TCP: its FIN was acknowledged.
    FinWait2,
    /// TCP: reset.
    TimeWait,
    /// UDP: nothing seen.
    NoTraffic,
    /// UDP: packets in one direction.
    Single,
    /// UDP: packets in both directions.
    Multiple,
}

impl Level {
    /// Returns the name pfctl prints.
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "CLOSED",
            Self::SynSent => "SYN_SENT",
            Self::Established => "ESTABLISHED",
            Self::Closing => "CLOSING",
            Self::FinWait2 => "FIN_WAIT_2",
            Self::TimeWait => "TIME_WAIT",
            Self::NoTraffic => "NO_TRAFFIC",
            Self::Single => "SINGLE",
            Self::Multiple => "MULTIPLE",
        }
    }
}

/// A list of translation rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StateChain {
    /// Source translation.
    Nat,
    /// Destination translation.
    Rdr,
}

/// A state. Times are milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    pub protocol: Protocol,
    /// `<-` or `->`.
    pub direction: Direction,
    /// The interface it was made on. States float, so pfctl prints `all`, and this only with `-vv`.
    pub interface: String,
    /// Left of the arrow: inbound, the destination after redirection; outbound, the source after NAT.
    pub left: SocketAddr,
    /// In brackets: what was there before translation.
    pub left_inside: Option<SocketAddr>,
    /// Right of the arrow: inbound, the client; outbound, the destination.
    pub right: SocketAddr,
    /// The levels of the left and the right peer.
    pub levels: (Level, Level),
    pub created: i64,
    /// When it goes, unless packets pass before.
    pub expires: i64,
    /// Packets in the state's direction and in reply.
    pub packets: (u64, u64),
    /// Bytes likewise.
    pub bytes: (u64, u64),
    /// The filter rule that made it; `None` for `rdr pass`.
    pub rule: Option<RuleRef>,
    pub translation: Option<(StateChain, RuleRef)>,
    /// `reply-to: ADDRESS@INTERFACE` or `route-to: …`.
    pub via: Option<String>,
    /// Whether its source is tracked, and has it been counted as a connection.
    pub tracked: Tracked,
}

/// What a state means to its source node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tracked {
    /// The rule tracks no sources, or the node was deleted.
    No,
    /// Counts as a state of its node.
    State,
    /// Counts as a state and, the handshake done, as a connection.
    Connection,
}

impl State {
    /// Sets the levels of (initiator, responder).
    pub fn set_peers(&mut self, initiator: Level, responder: Level) {
        self.levels = match self.direction {
            Direction::In => (responder, initiator),
            Direction::Out => (initiator, responder),
        };
    }

    /// Returns how long the state lives without packets, in milliseconds: pf's default time-outs, chosen as
    /// `pf_test_state_tcp` and `pf_test_state_udp` of FreeBSD choose them.
    pub fn patience(&self) -> i64 {
        let (one, other) = (self.levels.0.min(self.levels.1), self.levels.0.max(self.levels.1));
        1000 * match self.protocol {
            Protocol::Udp if one == Level::Multiple => 60,
            Protocol::Udp if one == Level::NoTraffic => 60,
            Protocol::Udp => 30,
            Protocol::Tcp if one >= Level::FinWait2 => 90,
            Protocol::Tcp if one >= Level::Closing => 45,
            Protocol::Tcp if one == Level::Closed => 120,
            Protocol::Tcp if one < Level::Established => 30,
            Protocol::Tcp if other >= Level::Closing => 900,
            Protocol::Tcp => 86_400,
        }
    }
}
