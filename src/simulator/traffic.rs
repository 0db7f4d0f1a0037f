//! Who talks through the simulated firewall, and how. Public clients live in the documentation networks
//! (RFC 5737, RFC 3849). Nothing here touches pf; [`super::world`] does what these tables say.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::pf::Passage;
use super::pf::state::Protocol;
use super::random::Random;

/// `ridentifier`s of the rules that let traffic out.
const OUT4: u32 = 1_000_003_615;
const OUT6: u32 = 1_000_003_616;
const OUT_WAN: u32 = 1_000_003_711;

/// How many connections the busiest source keeps: near the cap of 50 and never above it.
pub const OFFICE_CONNECTIONS: u8 = 46;
/// The busiest source, an office behind one address.
pub const OFFICE: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 200));

/// How many KMS clients outside renew.
const RENEWING: u8 = 24;

const SECOND: i64 = 1000;
const MINUTE: i64 = 60 * SECOND;

/// Something that acts again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Actor {
    /// An address over the rate cap of the KMS rule, now and then.
    Abuser,
    /// An IPv6 address over the rate cap of the HTTPS rule.
    Abuser6,
    /// A KMS client in the LAN, which no cap concerns.
    Lan(u8),
    /// Unasked packets to ports that are closed.
    Noise,
    /// One of the connections that the office keeps open.
    Office(u8),
    /// A workload that fetches something outside, through NAT.
    Pod,
    /// A KMS client outside that renews.
    Renewing(u8),
    /// A scanner that looks whether the port is open.
    Scanner,
    Web(u8),
    /// A visitor of the web server over IPv6.
    Web6,
    /// A WireGuard peer, whose port looks like ours to a careless filter.
    WireGuard,
}

/// What a connection is for, hence its way through the firewall.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrafficTarget {
    /// HTTPS, redirected.
    Https,
    /// HTTPS over IPv6, not redirected.
    Https6,
    /// KMS from outside, redirected.
    Kms,
    /// KMS from the LAN.
    KmsLan,
    /// From a workload to the world, through NAT.
    Pod,
    /// WireGuard, redirected.
    WireGuard,
}

/// How a connection goes. Times are milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Style {
    /// How long it stays open after the handshake.
    pub hold: i64,
    /// Packets of one exchange, to the server and back.
    pub packets: (u64, u64),
    /// Bytes likewise.
    pub bytes: (u64, u64),
    /// Ends with a reset rather than in order.
    pub reset: bool,
    /// Exchanges again after this time.
    pub repeat: Option<i64>,
}

/// A KMS activation, as an abuser's burst has it.
pub const ACTIVATION: Style =
    Style { hold: 30 * SECOND, packets: (4, 3), bytes: (716, 584), reset: false, repeat: None };

#[derive(Clone, Copy, Debug)]
pub struct Act {
    pub client: SocketAddr,
    pub service: TrafficTarget,
    pub style: Style,
    /// How many more follow at once: more than the cap, for an abuser.
    pub burst: u8,
}

/// Returns every actor, in a fixed order.
pub fn all_actors() -> Vec<Actor> {
    let mut actors = vec![
        Actor::Abuser,
        Actor::Abuser6,
        Actor::Noise,
        Actor::Pod,
        Actor::Scanner,
        Actor::Web6,
        Actor::WireGuard,
    ];
    actors.extend((0..OFFICE_CONNECTIONS).map(Actor::Office));
    actors.extend((0..RENEWING).map(Actor::Renewing));
    actors.extend((0..3).map(Actor::Lan));
    actors.extend((0..3).map(Actor::Web));
    actors
}

impl Actor {
    /// Returns when it acts first, in milliseconds after the beginning.
    pub fn phase(self) -> i64 {
        match self {
            Self::Abuser => 4 * MINUTE,
            Self::Abuser6 => 9 * MINUTE,
            Self::Noise => 3 * SECOND,
            // More than six seconds apart, so that the rate cap never minds.
            Self::Office(slot) => i64::from(slot) * 7 * SECOND,
            Self::Renewing(slot) => i64::from(slot) * 5_000,
            Self::Lan(index) => i64::from(index) * 70 * SECOND + 11 * SECOND,
            Self::Web(index) => i64::from(index) * 20 * SECOND + 5 * SECOND,
            Self::Pod => 13 * SECOND,
            Self::Scanner => 31 * SECOND,
            Self::Web6 => 17 * SECOND,
            Self::WireGuard => SECOND,
        }
    }

    /// Returns the milliseconds until it acts again, given how long its connection was held.
    pub fn pause(self, hold: i64, random: &mut Random) -> i64 {
        match self {
            Self::Abuser => random.between(12 * MINUTE, 15 * MINUTE),
            Self::Abuser6 => random.between(22 * MINUTE, 26 * MINUTE),
            Self::Noise => random.between(8 * SECOND, 25 * SECOND),
            // A closed connection counts against the cap for 90 s more.
            Self::Office(_) => hold + 100 * SECOND,
            // Without a jitter they stay spread, so that some are always connected.
            Self::Renewing(_) => 2 * MINUTE,
            Self::Lan(_) => random.between(200 * SECOND, 220 * SECOND),
            Self::Web(_) => random.between(50 * SECOND, 70 * SECOND),
            Self::Pod => random.between(35 * SECOND, 45 * SECOND),
            Self::Scanner => random.between(60 * SECOND, 150 * SECOND),
            Self::Web6 => random.between(80 * SECOND, 100 * SECOND),
            Self::WireGuard => 25 * SECOND,
        }
    }

    /// Returns what it does now; `None` for [`Actor::Noise`], which opens nothing.
    pub fn act(self, random: &mut Random) -> Option<Act> {
        use TrafficTarget as To;
        let (client, service) = match self {
            Self::Noise => return None,
            Self::Abuser => (abuser_address(random), To::Kms),
            Self::Abuser6 => (documented6(0xbad, u16::from(random.byte(1, 64))), To::Https6),
            Self::Lan(index) => ([10, 0, 10, 50 + index].into(), To::KmsLan),
            Self::Office(_) => (OFFICE, To::Kms),
            Self::Pod => ([10, 0, 20, 31].into(), To::Pod),
            Self::Renewing(slot) => (renewing_address(slot), To::Kms),
            Self::Scanner => ([192, 0, 2, random.byte(1, 254)].into(), To::Kms),
            Self::Web(index) => ([203, 0, 113, 40 + index].into(), To::Https),
            Self::Web6 => (documented6(0x77, 0x10), To::Https6),
            Self::WireGuard => ([203, 0, 113, 7].into(), To::WireGuard),
        };
        let style = match self {
            // The server drops an idle connection after half a minute.
            Self::Abuser | Self::Lan(_) | Self::Renewing(_) => {
                Style { hold: random.between(28 * SECOND, 32 * SECOND), ..ACTIVATION }
            }
            Self::Office(_) => Style {
                hold: random.between(40 * MINUTE, 80 * MINUTE),
                repeat: Some(2 * MINUTE),
                ..ACTIVATION
            },
            Self::Scanner => Style {
                hold: random.between(200, 2 * SECOND),
                packets: (1, 0),
                bytes: (40, 0),
                reset: true,
                repeat: None,
            },
            Self::WireGuard => {
                Style { hold: 0, packets: (190, 205), bytes: (91_200, 141_450), ..ACTIVATION }
            }
            _ => Style {
                hold: 45 * SECOND,
                packets: (21, 34),
                bytes: (3_920, 41_730),
                reset: false,
                repeat: Some(20 * SECOND),
            },
        };
        let port = match self {
            Self::WireGuard => 51_688,
            _ => random.port(),
        };
        Some(Act {
            client: SocketAddr::new(client, port),
            service,
            style,
            burst: match self {
                Self::Abuser => 18,
                Self::Abuser6 => 28,
                _ => 0,
            },
        })
    }
}

impl TrafficTarget {
    /// Returns a connection's way through the firewall.
    pub fn passage(self, client: SocketAddr, random: &mut Random) -> Passage {
        let tcp = Protocol::Tcp;
        let [wan, kms, shared, outside] =
            [[192, 168, 1, 2], [10, 0, 20, 202], [10, 0, 20, 200], [192, 0, 2, 80]]
                .map(IpAddr::from);
        let web6 = documented6(0x20, 0x44);
        let (inbound, from_lan) = (("vtnet0", "vtnet2"), ("vtnet1", "vtnet2"));
        let (protocol, interfaces, addressed, server, port, exit_rule) = match self {
            Self::Https => (tcp, inbound, wan, shared, 443, OUT4),
            Self::Https6 => (tcp, inbound, web6, web6, 443, OUT6),
            Self::Kms => (tcp, inbound, wan, kms, 1688, OUT4),
            Self::KmsLan => (tcp, from_lan, kms, kms, 1688, OUT4),
            Self::Pod => (tcp, ("vtnet2", "vtnet0"), outside, outside, 443, OUT_WAN),
            Self::WireGuard => (Protocol::Udp, inbound, wan, shared, 51_820, OUT4),
        };
        let translated = (self == Self::Pod).then(|| SocketAddr::new(wan, random.port()));
        Passage {
            protocol,
            interfaces,
            client,
            addressed: SocketAddr::new(addressed, port),
            server: SocketAddr::new(server, port),
            translated,
            exit_rule,
        }
    }
}

/// Returns an address that will go over the cap: rarely one that should not be blocked, the router in
/// front of the firewall or a host beside it, as happens when that router hides clients behind itself.
fn abuser_address(random: &mut Random) -> IpAddr {
    IpAddr::from(match random.below(24) {
        0 => [192, 168, 1, 1],
        1 => [192, 168, 1, 77],
        _ => [203, 0, 113, random.byte(60, 254)],
    })
}

/// Returns the address of a client that renews: some sit together behind one address.
fn renewing_address(slot: u8) -> IpAddr {
    let last = match slot {
        0..8 => 24,
        8..12 => 91,
        _ => 20 + 8 * slot.saturating_sub(12),
    };
    IpAddr::from([198, 51, 100, last])
}

fn documented6(network: u16, host: u16) -> IpAddr {
    IpAddr::from([0x2001, 0xdb8, network, 0, 0, 0, 0, host])
}
