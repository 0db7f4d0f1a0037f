//! An SSH server outside the simulated firewall, as `verify --external` wants one: it makes connections on behalf of
//! a client that asks (SSH's `direct-tcpip`), from a documentation address and through the simulated firewall's rules. It is
//! reached over loopback, and nothing leaves this machine. The name server it can ask is simulated, too.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use russh::server::{Auth, ChannelOpenHandle, Handler, Msg, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelOpenFailure};

use super::inside::{BIND_ACK, PUBLIC};
use super::server::SharedWorld;
use super::world::Reached;
use crate::domain::address::is_private;
use crate::domain::reachability::kms_bind::BIND;

pub const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 77));
pub const RESOLVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 53)), 53);
/// Another port that is open on the firewall's outside: what a vantage that works can reach.
pub const CONTROL: (&str, u16) = ("203.0.113.10", 443);
/// After this a connection without an answer is given up: simulated silence need not last.
const PATIENCE: Duration = Duration::from_millis(200);
const CHANNELS: usize = 16;
/// The longest question that is listened to.
const LARGEST: usize = 1 << 10;
/// SSH's reason code of a connection that failed (RFC 4254, 5.1).
const CONNECT_FAILED: u32 = 2;

/// Whom a connection leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Partner {
    /// The service behind the firewall; the connection's states.
    Service((u64, u64)),
    Resolver,
}

/// One connection of a client of this vantage.
pub struct OutsideClient {
    shared: Arc<SharedWorld>,
    open: HashMap<ChannelId, (Partner, Vec<u8>)>,
}

impl OutsideClient {
    /// Makes the handler of one connection.
    pub fn new(shared: Arc<SharedWorld>) -> Self {
        Self { shared, open: HashMap::new() }
    }

    /// Connects; a failure has the words of OpenSSH's server.
    fn connect(&self, host: &str, port: u32) -> Result<Partner, &'static str> {
        let address = host.parse::<IpAddr>().map_err(|_| "Name does not resolve")?;
        let port = u16::try_from(port).map_err(|_| "No route to host")?;
        if (address, port) == (RESOLVER.ip(), RESOLVER.port()) {
            return Ok(Partner::Resolver);
        }
        // Every public address leads to the simulated firewall.
        if is_private(&address) || address.is_ipv6() {
            return Err("No route to host");
        }
        let mut world = self.shared.world();
        let made = world.pf.totals.inserts + world.pf.totals.matches;
        let source = 40_000 + u16::try_from(made % 20_000).unwrap_or_default();
        match world.reach_port(SocketAddr::new(ADDRESS, source), port) {
            Reached::Server(states) => Ok(Partner::Service(states)),
            Reached::Reset => Err("Connection refused"),
            Reached::Silence => Err("Connection timed out"),
        }
    }

    /// Hears bytes and returns the answer to them, once the question is whole.
    fn hear(&mut self, channel: ChannelId, bytes: &[u8]) -> Option<Vec<u8>> {
        let (partner, heard) = self.open.get_mut(&channel)?;
        heard.extend_from_slice(bytes.get(..LARGEST.min(bytes.len()))?);
        heard.truncate(LARGEST);
        match *partner {
            Partner::Service(states) => {
                if heard.len() < BIND.len() {
                    return None;
                }
                heard.clear();
                let stands = self.shared.world().speak_over(states);
                stands.then(|| BIND_ACK.to_vec())
            }
            Partner::Resolver => {
                let length = u16::from_be_bytes(heard.get(..2)?.try_into().ok()?);
                let end = usize::from(length) + 2;
                let answer = answer_dns(heard.get(2..end)?);
                heard.drain(..end);
                answer
            }
        }
    }
}

/// Answers a question for an A record with the public address, and every other with nothing (RFC 1035, 4.1).
fn answer_dns(question: &[u8]) -> Option<Vec<u8>> {
    let mut message = question.to_vec();
    // The type stands before the class, at the end: kmsctl's questions have no additional records.
    let is_a = question.len() >= 16 && question.get(question.len() - 4..)? == [0, 1, 0, 1];
    // An answer; recursion was desired, and is available.
    message.get_mut(2..4)?.copy_from_slice(&[0x81, 0x80]);
    if is_a {
        message.get_mut(6..8)?.copy_from_slice(&[0, 1]);
        message.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        message.extend_from_slice(&PUBLIC);
    }
    let length = u16::try_from(message.len()).ok()?;
    Some([&length.to_be_bytes()[..], &message].concat())
}

impl Handler for OutsideClient {
    type Error = russh::Error;

    async fn auth_none(&mut self, _user: &str) -> Result<Auth, Self::Error> {
        Ok(Auth::Accept)
    }

    async fn auth_publickey(
        &mut self,
        _user: &str,
        _key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, Self::Error> {
        Ok(Auth::Accept)
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        _originator: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        // Dropped, the handle refuses.
        if self.open.len() >= CHANNELS {
            return Ok(());
        }
        match self.connect(host, port) {
            Ok(partner) => {
                self.open.insert(channel.id(), (partner, Vec::new()));
                reply.accept().await;
            }
            Err(words) => {
                let silent = words.contains("timed out");
                let failure =
                    ChannelOpenFailure::Other { code: CONNECT_FAILED, reason: words.to_owned() };
                tokio::spawn(async move {
                    if silent {
                        tokio::time::sleep(PATIENCE).await;
                    }
                    reply.reject(failure).await;
                });
            }
        }
        Ok(())
    }

    async fn data(
        &mut self,
        channel: ChannelId,
        data: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        if let Some(answer) = self.hear(channel, data) {
            session.data(channel, answer)?;
        }
        Ok(())
    }

    async fn channel_close(
        &mut self,
        channel: ChannelId,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        if let Some((Partner::Service(states), _)) = self.open.remove(&channel) {
            self.shared.world().leave_connection(states);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::answer_dns;
    use crate::domain::reachability::dns;
    use crate::domain::reachability::dns::Family;

    #[test]
    fn the_name_server_speaks_as_the_client_expects() {
        for (family, addresses) in [(Family::A, vec!["203.0.113.10"]), (Family::Aaaa, vec![])] {
            let question = dns::dns_question(7, "kms.example.net", family).unwrap();
            let said = answer_dns(&question).unwrap();
            assert_eq!(usize::from(u16::from_be_bytes([said[0], said[1]])), said.len() - 2);
            let addresses: Vec<std::net::IpAddr> =
                addresses.iter().map(|text| text.parse().unwrap()).collect();
            assert_eq!(dns::parse_dns_answer(&said[2..], &question, family).unwrap(), addresses);
        }
        assert_eq!(answer_dns(b"\0"), None);
    }
}
