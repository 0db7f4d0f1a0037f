//! The way of a connection's first packet: redirection, block table, filter rule, and the two states it leaves.

use std::net::SocketAddr;

use super::Pf;
use super::node::Node;
use super::state::{Chain, Level, Protocol, State, Tracked};
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
    /// The client.
    pub client: SocketAddr,
    /// What the client addresses.
    pub addressed: SocketAddr,
    /// Where it ends; differs from `addressed` when redirected.
    pub server: SocketAddr,
    /// The client's address after source translation.
    pub translated: Option<SocketAddr>,
    /// The `ridentifier` of the rules that let it in and out.
    pub rules: (u32, u32),
}

impl Pf {
    /// Lets the first packet of a connection in, or drops it. Returns the two states' ids.
    pub fn open(&mut self, passage: &Passage, now: i64) -> Option<(u64, u64)> {
        let redirection = self.redirection(passage);
        let source = passage.client.ip();
        if !self.enabled || self.blocked(source, now) {
            return None;
        }
        let redirected = passage.addressed == passage.server || redirection.is_some();
        let no_filter = redirection.is_some_and(|index| {
            self.rdr
                .get(index)
                .is_some_and(|rule| rule.text.starts_with("rdr pass "))
        });
        let rule = if no_filter {
            None
        } else {
            self.rule(passage.rules.0)
        };
        if !redirected || (rule.is_none() && !no_filter) {
            self.deny(source, passage.interfaces.0, now);
            return None;
        }
        self.evaluate(
            rule.unwrap_or(usize::MAX),
            passage.interfaces.0,
            Direction::In,
        );
        let entry = self.entry_state(passage, rule, redirection, now);
        let exit = self.exit_state(passage, now);
        let ids = (self.insert(entry, now), self.insert(exit, now));
        self.transfer(ids, (1, 0), (60, 0), now);
        Some(ids)
    }

    fn redirection(&mut self, passage: &Passage) -> Option<usize> {
        if passage.interfaces.0 != "vtnet0" {
            return None;
        }
        let wanted = format!(
            " to {} port = {} ->",
            passage.addressed.ip(),
            passage.addressed.port()
        );
        let found = self.rdr.iter().position(|rule| rule.text.contains(&wanted));
        let last = found.unwrap_or(usize::MAX).saturating_add(1);
        for rule in self.rdr.iter_mut().take(last) {
            rule.evaluations += u64::from(rule.considers(passage.interfaces.0, Direction::In));
        }
        found
    }

    fn entry_state(
        &mut self,
        passage: &Passage,
        rule: Option<usize>,
        redirection: Option<usize>,
        now: i64,
    ) -> State {
        let source = passage.client.ip();
        let tracks = rule
            .and_then(|index| self.filter.get(index))
            .is_some_and(|rule| rule.caps.track_sources());
        if let Some(rule) = rule.filter(|_| tracks) {
            self.totals.nodes.0 += 1;
            if self.node_mut(rule, source).is_none() {
                self.nodes.push(Node::new(source, rule, now));
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
            left: passage.server,
            left_inside: (passage.addressed != passage.server).then_some(passage.addressed),
            right: passage.client,
            levels: first_levels(passage.protocol, Direction::In),
            created: now,
            expires: now,
            packets: (0, 0),
            bytes: (0, 0),
            rule,
            translation: redirection.map(|index| (Chain::Rdr, index)),
            via: reply_to.then(|| "reply-to: 192.168.1.1@vtnet0".to_owned()),
            tracked: if tracks { Tracked::State } else { Tracked::No },
        }
    }

    fn exit_state(&mut self, passage: &Passage, now: i64) -> State {
        let nat = passage.translated.and_then(|_| {
            let network = if passage.client.ip().to_string().starts_with("10.0.20.") {
                "10.0.20.0/24"
            } else {
                "10.0.10.0/24"
            };
            self.nat
                .iter()
                .position(|rule| rule.text.contains(&format!(" from {network} to any -> ")))
        });
        let rule = self.rule(passage.rules.1);
        self.evaluate(
            rule.unwrap_or(usize::MAX),
            passage.interfaces.1,
            Direction::Out,
        );
        State {
            protocol: passage.protocol,
            direction: Direction::Out,
            interface: passage.interfaces.1.to_owned(),
            left: passage.translated.unwrap_or(passage.client),
            left_inside: passage.translated.map(|_| passage.client),
            right: passage.server,
            levels: first_levels(passage.protocol, Direction::Out),
            created: now,
            expires: now,
            packets: (0, 0),
            bytes: (0, 0),
            rule,
            translation: nat.map(|index| (Chain::Nat, index)),
            via: passage
                .translated
                .map(|_| "route-to: 192.168.1.1@vtnet0".to_owned()),
            tracked: Tracked::No,
        }
    }

    fn insert(&mut self, state: State, now: i64) -> u64 {
        let id = self.next_state;
        self.next_state += 1;
        self.totals.inserts += 1;
        let made_by = (state.rule, state.translation);
        if let Some(rule) = made_by.0.and_then(|index| self.filter.get_mut(index)) {
            rule.creations += 1;
            rule.last_active = Some(now);
        }
        if let Some(rule) = made_by
            .1
            .and_then(|(chain, index)| self.chain_mut(chain).get_mut(index))
        {
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
