//! Connections from outside with a client that waits: a simulated vantage tries, and sees at once what came of it. They
//! go the way of all others, through redirection, block table and filter rule, and move the same counters and states.

use std::net::SocketAddr;

use super::World;
use crate::simulator::pf::Handshake;
use crate::simulator::pf::state::Level;
use crate::simulator::traffic::TrafficTarget;

/// What came of a try to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// A server; the connection's two states.
    Server((u64, u64)),
    Reset,
    Silence,
}

impl World {
    /// Connects to a port of the firewall's outside address.
    pub fn reach_port(&mut self, client: SocketAddr, port: u16) -> Reached {
        if !self.pf.enabled {
            // Nothing is translated then, and the firewall itself does not listen there.
            return Reached::Reset;
        }
        let service = match port {
            443 => TrafficTarget::Https,
            1688 => TrafficTarget::Kms,
            _ => {
                self.pf.deny_packet(client.ip(), "vtnet0", self.now);
                return Reached::Silence;
            }
        };
        let passage = service.passage(client, &mut self.random);
        let Some(states) = self.pf.open(&passage, self.now) else {
            return Reached::Silence;
        };
        if self.nobody_answers(service) {
            return Reached::Silence;
        }
        match self.pf.complete_handshake(states, self.now) {
            Handshake::Passed => Reached::Server(states),
            Handshake::Tripped => Reached::Silence,
        }
    }

    /// Counts a question and its answer; says whether the connection still stood.
    pub fn speak_over(&mut self, states: (u64, u64)) -> bool {
        let stands = self.pf.states.contains_key(&states.0);
        if stands {
            self.pf.count_transfer(states, (2, 1), (176, 112), self.now);
        }
        stands
    }

    /// Ends a connection in order.
    pub fn leave_connection(&mut self, states: (u64, u64)) {
        self.pf.count_transfer(states, (2, 2), (104, 104), self.now);
        self.finish_connection(states, Level::FinWait2);
    }

    fn finish_connection(&mut self, states: (u64, u64), level: Level) {
        for id in [states.0, states.1] {
            self.pf.set_levels(id, level, level, self.now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::scenario::Scenario;

    const NOW: i64 = 1_772_367_694_000;

    fn vantage() -> SocketAddr {
        "198.51.100.77:50001".parse().unwrap()
    }

    fn packets_of(world: &World, tracker: u32) -> u64 {
        let rule = &world.pf.filter[world.pf.rule(tracker).unwrap()];
        rule.packets.0
    }

    #[test]
    fn an_open_box_lets_it_in_and_keeps_its_states() {
        let mut world = World::fresh_world(Scenario::Open, 7, NOW);
        let Reached::Server(states) = world.reach_port(vantage(), 1688) else {
            panic!("not reached");
        };
        assert_eq!(world.pf.states[&states.0].right, vantage());
        assert!(world.speak_over(states));
        world.leave_connection(states);
        assert_eq!(world.pf.states[&states.0].levels, (Level::FinWait2, Level::FinWait2));
    }

    #[test]
    fn a_closed_box_drops_and_counts_it() {
        let mut world = World::fresh_world(Scenario::Closed, 7, NOW);
        let before = packets_of(&world, 1_000_000_103);
        for _ in 0..3 {
            assert_eq!(world.reach_port(vantage(), 1688), Reached::Silence);
        }
        assert_eq!(packets_of(&world, 1_000_000_103), before + 3);
        // The address itself answers elsewhere.
        assert!(matches!(world.reach_port(vantage(), 443), Reached::Server(_)));
    }

    #[test]
    fn a_blocked_vantage_is_dropped_by_the_tables_rule() {
        let mut world = World::fresh_world(Scenario::Open, 7, NOW);
        let table = world.pf.table_mut("virusprot").unwrap();
        table.entries.insert(ipnet::IpNet::from(vantage().ip()), NOW);
        let before = packets_of(&world, crate::simulator::pf::OVERLOAD_BLOCK);
        assert_eq!(world.reach_port(vantage(), 1688), Reached::Silence);
        assert_eq!(packets_of(&world, crate::simulator::pf::OVERLOAD_BLOCK), before + 1);
    }

    #[test]
    fn the_rate_cap_holds_for_a_vantage_too() {
        let mut world = World::fresh_world(Scenario::Open, 7, NOW);
        let tries = (0..12).map(|_| world.reach_port(vantage(), 1688));
        let reached: Vec<Reached> = tries.collect();
        assert_eq!(reached.last(), Some(&Reached::Silence), "{reached:?}");
    }

    #[test]
    fn a_dead_server_leaves_what_the_firewall_forwards_without_an_answer() {
        let mut world = World::fresh_world(Scenario::BackendDead, 7, NOW);
        let before = world.pf.states.len();
        assert_eq!(world.reach_port(vantage(), 1688), Reached::Silence);
        assert_eq!(world.pf.states.len(), before + 2);
        // The others are not answered either, and no source goes over a cap.
        let established = |state: &crate::simulator::pf::state::State| {
            state.left.port() == 1688 && state.levels.0 >= Level::Established
        };
        assert!(!world.pf.states.values().any(established));
        assert!(matches!(world.reach_port(vantage(), 443), Reached::Server(_)));
    }
}
