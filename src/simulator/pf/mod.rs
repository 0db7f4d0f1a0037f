//! pf in memory: what FreeBSD's packet filter keeps, and what a packet, a handshake, an overload and a
//! time-out do to it. It knows no clock (every call is handed `now` in epoch milliseconds), invents no
//! traffic and prints nothing; sources are FreeBSD 14's kernel pf and its manual.

mod limits;
mod load;
pub mod node;
mod passage;
pub mod rule;
pub mod state;
pub mod table;

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::domain::overload::Generation;
use crate::domain::pf::rule::Direction;
use crate::simulator::configuration::generate::UPNP_RDR_ANCHOR;
pub use load::RuleRef;
use node::TrackedSource;
pub use passage::Passage;
use rule::LoadedRule;
use state::{Level, State, StateChain, Tracked};
use table::SimulatedTable;

/// The `ridentifier` of pfSense's block rule of the overload table.
pub const OVERLOAD_BLOCK: u32 = 1_000_000_400;
/// pfSense's default deny rules, inbound, IPv4 and IPv6.
const DEFAULT_DENY: (u32, u32) = (1_000_000_103, 1_000_000_105);
/// The process that loaded the first ruleset.
const FIRST_LOADER: u32 = 41_237;

/// Everything pf keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SimulatedPf {
    pub enabled: bool,
    /// Since when, in epoch milliseconds.
    pub since: i64,
    /// The arithmetic of `max-src-conn-rate`.
    pub generation: Generation,
    /// Carried by states as their creator.
    pub host_id: u32,
    /// In the order of `pfctl -sT`.
    pub tables: Vec<SimulatedTable>,
    /// Scrub rules, numbered from 0 on their own.
    pub scrub: Vec<LoadedRule>,
    pub filter: Vec<LoadedRule>,
    /// Filter rules of earlier loads that states still refer to.
    retired: Vec<(RuleRef, LoadedRule)>,
    /// How often rules were loaded before these.
    loads: u32,
    /// How often the same rules were loaded again, which changes nothing but the process that did.
    #[serde(default)]
    reloads: u32,
    pub nat: Vec<LoadedRule>,
    pub rdr: Vec<LoadedRule>,
    /// 1:1 NAT; no simulated packet addresses its outside.
    #[serde(default)]
    pub binat: Vec<LoadedRule>,
    /// The filter rules and the redirections in UPnP's anchor, which no load touches; no simulated packet meets them.
    #[serde(default)]
    pub upnp: (Vec<LoadedRule>, Vec<LoadedRule>),
    /// By id, so in the order they were made.
    pub states: BTreeMap<u64, State>,
    /// Source nodes, in the order they were made.
    pub nodes: Vec<TrackedSource>,
    pub totals: StateTotals,
    next_state: u64,
}

/// Totals of `pfctl -si -v`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateTotals {
    pub searches: u64,
    pub inserts: u64,
    pub removals: u64,
    /// Packets that were matched against rules.
    pub matches: u64,
    pub nodes: (u64, u64, u64),
    /// `max-src-conn` exceeded.
    pub source_connections: u64,
    /// `max-src-conn-rate` exceeded.
    pub source_rates: u64,
    /// `overload table insertion`, counted even when the address was there.
    pub overload_insertions: u64,
    /// `overload flush states`.
    pub overload_flushes: u64,
}

/// What a completed handshake led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handshake {
    Passed,
    /// A cap was exceeded: the states are gone, and the source may be in the overload table.
    Tripped,
}

impl SimulatedPf {
    /// Makes a pf that has just been enabled, without rules.
    pub fn new(host_id: u32, now: i64) -> Self {
        Self {
            enabled: true,
            since: now,
            generation: Generation::Decaying,
            host_id,
            tables: Vec::new(),
            scrub: Vec::new(),
            filter: Vec::new(),
            retired: Vec::new(),
            loads: 0,
            reloads: 0,
            nat: Vec::new(),
            rdr: Vec::new(),
            binat: Vec::new(),
            upnp: (Vec::new(), Vec::new()),
            states: BTreeMap::new(),
            nodes: Vec::new(),
            totals: StateTotals::default(),
            next_state: passage::FIRST_STATE,
        }
    }

    /// Returns the process that loaded the rules: each load is one of its own.
    pub fn loader(&self) -> u32 {
        FIRST_LOADER.wrapping_add(self.loads).wrapping_add(self.reloads)
    }

    /// The same rules are loaded again while they are being read.
    pub fn load_meanwhile(&mut self) {
        self.reloads += 1;
    }

    /// Says whether the loaded rules name UPnP's anchor.
    pub fn has_upnp(&self) -> bool {
        self.rdr.iter().any(|rule| rule.text == UPNP_RDR_ANCHOR)
    }

    pub fn table(&self, name: &str) -> Option<&SimulatedTable> {
        self.tables.iter().find(|table| table.name == name)
    }

    pub fn table_mut(&mut self, name: &str) -> Option<&mut SimulatedTable> {
        self.tables.iter_mut().find(|table| table.name == name)
    }

    /// Returns the number of the first filter rule with this `ridentifier`.
    pub fn rule(&self, identifier: u32) -> Option<usize> {
        self.filter.iter().position(|rule| rule.identifier == Some(identifier))
    }

    /// Completes the TCP handshake of a connection, which is when pf looks at the caps of its rule.
    pub fn complete_handshake(&mut self, ids: (u64, u64), now: i64) -> Handshake {
        for id in [ids.0, ids.1] {
            if let Some(state) = self.states.get_mut(&id) {
                state.set_peers(Level::Established, Level::Established);
            }
        }
        self.count_transfer(ids, (1, 1), (52, 60), now);
        let Some((rule, source)) = self.count_connection(ids.0) else {
            return Handshake::Passed;
        };
        if !self.exceeds(rule, source, now) {
            return Handshake::Passed;
        }
        self.overload(rule, source, now);
        self.remove(ids.0, now);
        Handshake::Tripped
    }

    /// Counts packets and bytes of a connection (client to server, and back) on whichever of its states
    /// still stand, and on their rules.
    pub fn count_transfer(
        &mut self,
        ids: (u64, u64),
        packets: (u64, u64),
        bytes: (u64, u64),
        now: i64,
    ) {
        for id in [ids.0, ids.1] {
            self.totals.searches += packets.0 + packets.1;
            let Some(state) = self.states.get_mut(&id) else {
                continue;
            };
            state.packets = (state.packets.0 + packets.0, state.packets.1 + packets.1);
            state.bytes = (state.bytes.0 + bytes.0, state.bytes.1 + bytes.1);
            state.expires = now + state.patience();
            let (direction, tracked, source) = (state.direction, state.tracked, state.right.ip());
            let rules = (state.rule, state.translation);
            if let Some(rule) = rules.0.and_then(|rule| self.made_by_mut(rule)) {
                rule.count(direction, packets, bytes, now);
            }
            if let Some(rule) = rules.1.and_then(|made| self.translated_by(made)) {
                rule.count(direction, packets, bytes, now);
            }
            if let Some(node) = rules
                .0
                .filter(|_| tracked != Tracked::No)
                .and_then(|rule| self.node_mut(rule, source))
            {
                node.packets += packets.0 + packets.1;
                node.bytes += bytes.0 + bytes.1;
            }
        }
    }

    /// Sets the levels (client, server) of one state, if it stands.
    pub fn set_levels(&mut self, id: u64, client: Level, server: Level, now: i64) {
        if let Some(state) = self.states.get_mut(&id) {
            state.set_peers(client, server);
            state.expires = now + state.patience();
        }
    }

    /// Drops a packet of this source if the overload table holds it, and counts that.
    pub fn drop_blocked(&mut self, source: IpAddr, now: i64) -> bool {
        let Some(index) = self.rule(OVERLOAD_BLOCK) else {
            return false;
        };
        let name = self.overload_table();
        let listed = self.table(&name).is_some_and(|table| table.find(source).is_some());
        if listed {
            self.count_evaluations(index, "", Direction::In);
            if let Some(rule) = self.filter.get_mut(index) {
                rule.count(Direction::In, (1, 0), (60, 0), now);
            }
        }
        listed
    }

    /// Drops a packet by default and counts that.
    pub fn deny_packet(&mut self, source: IpAddr, interface: &str, now: i64) {
        self.count_evaluations(usize::MAX, interface, Direction::In);
        let identifier = if source.is_ipv4() { DEFAULT_DENY.0 } else { DEFAULT_DENY.1 };
        if let Some(rule) = self.rule(identifier).and_then(|index| self.filter.get_mut(index)) {
            rule.count(Direction::In, (1, 0), (60, 0), now);
        }
    }

    /// Removes states and source nodes whose time is over, as pf's purge thread does.
    pub fn purge_expired(&mut self, now: i64) {
        let over: Vec<u64> = self
            .states
            .iter()
            .filter(|(_, state)| state.expires <= now)
            .map(|(id, _)| *id)
            .collect();
        for id in over {
            self.remove(id, now);
        }
        let before = self.nodes.len();
        self.nodes.retain(|node| node.states > 0 || node.expires > now);
        self.totals.nodes.2 += widened_count(before - self.nodes.len());
        self.free_rules();
    }

    /// Removes one state and takes it off its source node. Says whether it was there.
    pub fn remove(&mut self, id: u64, now: i64) -> bool {
        let Some(state) = self.states.remove(&id) else {
            return false;
        };
        self.totals.removals += 1;
        let Some(rule) = state.rule.filter(|_| state.tracked != Tracked::No) else {
            return true;
        };
        let remember = self.made_by(rule).map_or(0, |rule| rule.caps.remember());
        if let Some(node) = self.node_mut(rule, state.right.ip()) {
            node.states = node.states.saturating_sub(1);
            node.connections =
                node.connections.saturating_sub(u32::from(state.tracked == Tracked::Connection));
            node.expires = now + remember;
        }
        true
    }

    /// Returns how many states a loaded rule has.
    pub fn states_of(&self, number: usize) -> usize {
        let rule = Some(self.object(number));
        self.states.values().filter(|state| state.rule == rule).count()
    }

    /// Returns how many states a loaded translation rule has.
    pub fn states_translated(&self, chain: StateChain, number: usize) -> usize {
        let made = Some((chain, self.object(number)));
        self.states.values().filter(|state| state.translation == made).count()
    }

    fn overload_table(&self) -> String {
        let inside = |text: &str| Some(text.split_once("from <")?.1.split_once('>')?.0.to_owned());
        self.rule(OVERLOAD_BLOCK)
            .and_then(|index| self.filter.get(index))
            .and_then(|rule| inside(&rule.text))
            .unwrap_or_default()
    }

    /// Returns the translation rule of a state, if it is of the present load.
    fn translated_by(&mut self, (chain, rule): (StateChain, RuleRef)) -> Option<&mut LoadedRule> {
        let rules = match chain {
            StateChain::Nat => &mut self.nat,
            StateChain::Rdr => &mut self.rdr,
        };
        rules.get_mut(rule.number).filter(|_| rule.load == self.loads)
    }

    fn node_mut(&mut self, rule: RuleRef, source: IpAddr) -> Option<&mut TrackedSource> {
        self.nodes.iter_mut().find(|node| node.rule == rule && node.address == source)
    }

    /// Counts the looks at filter rules up to the matching one.
    fn count_evaluations(&mut self, last: usize, interface: &str, direction: Direction) {
        self.totals.matches += 1;
        for rule in self.filter.iter_mut().take(last.saturating_add(1)) {
            rule.evaluations += u64::from(rule.considers(interface, direction));
        }
    }
}

/// Widens a count; nothing here comes near 2⁶⁴.
pub fn widened_count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
