//! The way of a connection's first packet: redirection, block table, filter rule, and the two states it leaves.

use std::net::SocketAddr;

use super::SimulatedPf;
use super::load::resolve_target;
use super::node::TrackedSource;
use super::rule::LoadedRule;
use super::state::{Level, Protocol, State, StateChain, Tracked};
use super::table::table_net;
use crate::domain::pf::rule::Direction;

/// The first state id; the creator's share of it makes ids of two hosts differ.
pub(super) const FIRST_STATE: u64 = 0x6740_0000_0000_1a01;

/// The way of a forwarded connection through the firewall.
#[derive(Clone, Debug)]
pub struct Passage {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Where it comes in and goes out.
    pub interfaces: (&'static str, &'static str),
    pub client: SocketAddr,
    pub addressed: SocketAddr,
    /// Where it ends if nothing redirects it elsewhere; differs from `addressed` when it must be redirected.
    pub server: SocketAddr,
    /// The client's address after source translation.
    pub translated: Option<SocketAddr>,
    /// The `ridentifier` of the rule that lets it out.
    pub exit_rule: u32,
}

/// What pf makes of a first packet.
struct PassageRoute {
    server: SocketAddr,
    /// The filter rule that let it in; none with `rdr pass`.
    rule: Option<usize>,
    redirection: Option<usize>,
}

impl SimulatedPf {
    /// Lets the first packet of a connection in, or drops it. Returns the two states' ids.
    pub fn open(&mut self, passage: &Passage, now: i64) -> Option<(u64, u64)> {
        let redirection = self.find_redirection(passage);
        let source = passage.client.ip();
        if !self.enabled || self.drop_blocked(source, now) {
            return None;
        }
        let Some(way) = self.find_way(passage, redirection) else {
            self.deny_packet(source, passage.interfaces.0, now);
            return None;
        };
        let last = way.rule.unwrap_or(usize::MAX);
        self.count_evaluations(last, passage.interfaces.0, Direction::In);
        let entry = self.entry_state(passage, &way, now);
        let exit = self.exit_state(passage, way.server, now);
        let ids = (self.insert(entry, now), self.insert(exit, now));
        self.count_transfer(ids, (1, 0), (60, 0), now);
        Some(ids)
    }

    /// Finds where the packet goes and which filter rule lets it in; `None` if nothing does.
    fn find_way(&self, passage: &Passage, redirection: Option<usize>) -> Option<PassageRoute> {
        let rdr = redirection.and_then(|number| self.rdr.get(number));
        let server = match rdr {
            Some(rule) => self.redirection_target(rule, passage.addressed)?,
            None if passage.addressed == passage.server => passage.server,
            None => return None,
        };
        let rule = if rdr.is_some_and(|rule| rule.text.starts_with("rdr pass ")) {
            None
        } else {
            Some(self.admitting_rule(passage, server)?)
        };
        Some(PassageRoute { server, rule, redirection })
    }

    /// Returns where a redirection leads: `-> HOST [port N]`.
    fn redirection_target(&self, rule: &LoadedRule, addressed: SocketAddr) -> Option<SocketAddr> {
        let (_, target) = rule.text.split_once(" -> ")?;
        let mut words = target.split(' ');
        let address = resolve_target(&self.tables, words.next()?)?;
        let port = match (words.next(), words.next()) {
            (Some("port"), Some(port)) => port.parse().ok()?,
            _ => addressed.port(),
        };
        Some(SocketAddr::new(address, port))
    }

    /// Returns the number of the user's rule that lets a packet in; `None` if none does, or one forbids it.
    fn admitting_rule(&self, passage: &Passage, server: SocketAddr) -> Option<usize> {
        let protocol = passage.protocol.name();
        let matches = |rule: &LoadedRule| {
            rule.considers(passage.interfaces.0, Direction::In)
                && rule.is_users()
                && rule.protocol().is_none_or(|wanted| wanted == protocol)
                && rule.ends().is_some_and(|(from, to)| {
                    self.end_holds(from, passage.client) && self.end_holds(to, server)
                })
        };
        let found = self.filter.iter().position(matches)?;
        self.filter.get(found).is_some_and(|rule| rule.text.starts_with("pass ")).then_some(found)
    }

    /// Says whether `HOST [port = N]` of a rule matches an address and port.
    fn end_holds(&self, end: &str, address: SocketAddr) -> bool {
        let (host, port) = match end.split_once(" port ") {
            Some((host, port)) => (host, Some(port)),
            None => (end, None),
        };
        let ip = address.ip();
        let inside = match host.strip_prefix('<').and_then(|name| name.strip_suffix('>')) {
            Some(name) => self.table(name).is_some_and(|table| table.find(ip).is_some()),
            None => host == "any" || table_net(host).is_some_and(|net| net.contains(&ip)),
        };
        let same_port = port.is_none_or(|port| match port.split_once(':') {
            Some((low, high)) => low
                .parse()
                .ok()
                .zip(high.parse().ok())
                .is_some_and(|(low, high)| (low..=high).contains(&address.port())),
            None => port.strip_prefix("= ") == Some(address.port().to_string().as_str()),
        });
        inside && same_port
    }

    fn find_redirection(&mut self, passage: &Passage) -> Option<usize> {
        if passage.interfaces.0 != "vtnet0" {
            return None;
        }
        let wanted =
            format!(" to {} port = {} ->", passage.addressed.ip(), passage.addressed.port());
        let found = self.rdr.iter().position(|rule| rule.text.contains(&wanted));
        let last = found.unwrap_or(usize::MAX).saturating_add(1);
        for rule in self.rdr.iter_mut().take(last) {
            rule.evaluations += u64::from(rule.considers(passage.interfaces.0, Direction::In));
        }
        found
    }

    fn entry_state(&mut self, passage: &Passage, way: &PassageRoute, now: i64) -> State {
        let source = passage.client.ip();
        let rule = way.rule.map(|number| self.object(number));
        let tracks =
            rule.and_then(|rule| self.made_by(rule)).is_some_and(|rule| rule.caps.track_sources());
        if let Some(rule) = rule.filter(|_| tracks) {
            self.totals.nodes.0 += 1;
            if self.node_mut(rule, source).is_none() {
                self.nodes.push(TrackedSource::new(source, rule, now));
                self.totals.nodes.1 += 1;
            }
            if let Some(node) = self.node_mut(rule, source) {
                node.states += 1;
            }
        }
        let reply_to = passage.interfaces.0 == "vtnet0" && source.is_ipv4() && rule.is_some();
        State {
            protocol: passage.protocol,
            direction: Direction::In,
            interface: passage.interfaces.0.to_owned(),
            left: way.server,
            left_inside: (passage.addressed != way.server).then_some(passage.addressed),
            right: passage.client,
            levels: first_levels(passage.protocol, Direction::In),
            created: now,
            expires: now,
            packets: (0, 0),
            bytes: (0, 0),
            rule,
            translation: way.redirection.map(|number| (StateChain::Rdr, self.object(number))),
            via: reply_to.then(|| "reply-to: 192.168.1.1@vtnet0".to_owned()),
            tracked: if tracks { Tracked::State } else { Tracked::No },
        }
    }

    fn exit_state(&mut self, passage: &Passage, server: SocketAddr, now: i64) -> State {
        let nat = passage.translated.and_then(|_| {
            let network = if passage.client.ip().to_string().starts_with("10.0.20.") {
                "10.0.20.0/24"
            } else {
                "10.0.10.0/24"
            };
            let wanted = format!(" from {network} to any -> ");
            self.nat.iter().position(|rule| rule.text.contains(&wanted))
        });
        let rule = self.rule(passage.exit_rule);
        self.count_evaluations(rule.unwrap_or(usize::MAX), passage.interfaces.1, Direction::Out);
        State {
            protocol: passage.protocol,
            direction: Direction::Out,
            interface: passage.interfaces.1.to_owned(),
            left: passage.translated.unwrap_or(passage.client),
            left_inside: passage.translated.map(|_| passage.client),
            right: server,
            levels: first_levels(passage.protocol, Direction::Out),
            created: now,
            expires: now,
            packets: (0, 0),
            bytes: (0, 0),
            rule: rule.map(|number| self.object(number)),
            translation: nat.map(|number| (StateChain::Nat, self.object(number))),
            via: passage.translated.map(|_| "route-to: 192.168.1.1@vtnet0".to_owned()),
            tracked: Tracked::No,
        }
    }

    fn insert(&mut self, state: State, now: i64) -> u64 {
        let id = self.next_state;
        self.next_state += 1;
        self.totals.inserts += 1;
        let made_by = (state.rule, state.translation);
        if let Some(rule) = made_by.0.and_then(|rule| self.made_by_mut(rule)) {
            rule.creations += 1;
            rule.last_active = Some(now);
        }
        if let Some(rule) = made_by.1.and_then(|made| self.translated_by(made)) {
            rule.creations += 1;
        }
        self.states.insert(id, state);
        id
    }
}

fn first_levels(protocol: Protocol, direction: Direction) -> (Level, Level) {
    match (protocol, direction) {
        (Protocol::Tcp, Direction::In) => (Level::Closed, Level::SynSent),
        (Protocol::Tcp, Direction::Out) => (Level::SynSent, Level::Closed),
        (Protocol::Udp, Direction::In) => (Level::NoTraffic, Level::Single),
        (Protocol::Udp, Direction::Out) => (Level::Single, Level::NoTraffic),
    }
}
