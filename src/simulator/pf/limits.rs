//! What limits the sources of a rule: source nodes, caps, and what exceeding one does.

use std::net::IpAddr;

use ipnet::IpNet;

use super::state::Tracked;
use super::{RuleRef, SimulatedPf};

impl SimulatedPf {
    /// Deletes source nodes of these networks; their states stay and no longer count. Returns how many.
    pub fn forget_sources(&mut self, net: &IpNet) -> usize {
        let before = self.nodes.len();
        self.nodes.retain(|node| !net.contains(&node.address));
        for state in self.states.values_mut().filter(|state| net.contains(&state.right.ip())) {
            state.tracked = Tracked::No;
        }
        before - self.nodes.len()
    }

    /// Counts a state as a connection of its source node; `None` if its rule tracks no sources.
    pub(super) fn count_connection(&mut self, id: u64) -> Option<(RuleRef, IpAddr)> {
        let state = self.states.get_mut(&id)?;
        if state.tracked != Tracked::State {
            return None;
        }
        state.tracked = Tracked::Connection;
        let (rule, source) = (state.rule?, state.right.ip());
        self.node_mut(rule, source)?.connections += 1;
        Some((rule, source))
    }

    pub(super) fn exceeds(&mut self, rule: RuleRef, source: IpAddr, now: i64) -> bool {
        let Some(caps) = self.made_by(rule).map(|rule| rule.caps.clone()) else {
            return false;
        };
        let generation = self.generation;
        let Some(node) = self.node_mut(rule, source) else {
            return false;
        };
        let many = caps.connections.is_some_and(|limit| node.connections > limit);
        let fast = caps.rate.is_some_and(|rate| node.add_to_rate(rate, generation, now));
        self.totals.source_connections += u64::from(many);
        self.totals.source_rates += u64::from(fast);
        many || fast
    }

    /// Puts the source into the rule's table, which does not renew an entry that is there, and ends the
    /// states that have it in the first slot of their wire key: inbound from it, outbound to it. The
    /// partners of redirected connections on the inside stay until they time out.
    pub(super) fn overload(&mut self, rule: RuleRef, source: IpAddr, now: i64) {
        let Some(name) = self.made_by(rule).and_then(|rule| rule.caps.overload.clone()) else {
            return;
        };
        self.totals.overload_insertions += 1;
        if let Some(table) = self.table_mut(&name) {
            table.entries.entry(IpNet::from(source)).or_insert(now);
        }
        self.totals.overload_flushes += 1;
        let flushed: Vec<u64> = self
            .states
            .iter()
            .filter(|(_, state)| state.right.ip() == source)
            .map(|(id, _)| *id)
            .collect();
        for id in flushed {
            self.remove(id, now);
        }
    }
}
