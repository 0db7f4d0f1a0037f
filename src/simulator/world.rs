//! The simulated box as it lives: events in order of time, from a seeded generator, so that the same seed
//! and the same moments give the same bytes. Advancing in one step or in many makes no difference.

mod outside;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::agent::{self, ledger::Ledger};
use super::configuration::Configuration;
use super::pf::state::{Level, Protocol};
use super::pf::{Handshake, SimulatedPf};
use super::random::Random;
use super::scenario::Scenario;
use super::traffic;
use super::traffic::{Actor, Style, TrafficTarget};
use super::warm;
use crate::domain::pfsense::change::Element;
pub use outside::Reached;

/// At most this much is lived through in detail; a longer pause is jumped over (three hours, milliseconds).
pub const DETAIL: i64 = 3 * 3_600_000;
const HOUR: i64 = 3_600_000;
/// How long ago a fresh box has last seen cron.
const SINCE_CRON: i64 = 1_294_000;
/// pf's `interval`: how often it looks for states whose time is over.
const PURGE: i64 = 10_000;
/// How long the server waits for a client that has fallen silent.
const SERVER_PATIENCE: i64 = 30_000;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct World {
    /// Epoch milliseconds up to which everything has happened.
    pub now: i64,
    /// When it was made, likewise; 0 where an earlier kmsctl made it.
    #[serde(default)]
    pub born: i64,
    pub scenario: Scenario,
    pub pf: SimulatedPf,
    pub configuration: Configuration,
    pub ledger: Ledger,
    /// How the connection that is being answered will break.
    #[serde(skip)]
    pub cut: Option<Cut>,
    /// How many lists of rules were read while the ruleset was being loaded.
    #[serde(default)]
    pub raced: u64,
    random: Random,
    queue: BinaryHeap<Reverse<Scheduled>>,
    sequence: u64,
    flows: BTreeMap<u64, Flow>,
}

/// When a connection breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    AfterAnswer,
    BeforeAnswer,
}

/// An event and its time; the sequence number keeps the order of what happens at once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Scheduled {
    at: i64,
    sequence: u64,
    event: WorldEvent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum WorldEvent {
    Act(Actor),
    /// One more connection of an abuser.
    Burst {
        source: IpAddr,
        service: TrafficTarget,
        left: u8,
    },
    /// The hourly cron job.
    Cron,
    /// The minute in which an armed rollback is due.
    Minute,
    Purge,
    Step(u64, WorldStep),
    /// The server closes a connection whose client is gone; the state is its half behind the firewall.
    GiveUp(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum WorldStep {
    Handshake,
    Exchange,
    Close,
}

/// A connection that is going on: its two states and how it goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Flow {
    states: (u64, u64),
    client: SocketAddr,
    interface: String,
    style: Style,
}

impl World {
    /// Makes a box that has been up for two weeks and lets it live for three hours.
    pub fn fresh_world(scenario: Scenario, seed: u64, now: i64) -> Self {
        // pf counts in whole seconds.
        let begin = now - now.rem_euclid(1000) - DETAIL;
        let mut world = Self {
            now: begin,
            born: now,
            scenario,
            pf: scenario.load(begin),
            configuration: scenario.configuration(),
            ledger: scenario.ledger(now),
            cut: None,
            raced: 0,
            random: Random::new(seed),
            queue: BinaryHeap::new(),
            sequence: 0,
            flows: BTreeMap::new(),
        };
        let seconds = begin.saturating_sub(world.pf.since) / 1000;
        warm::age_counters(&mut world.pf, seconds, begin);
        world.populate_actors((DETAIL - SINCE_CRON).rem_euclid(HOUR));
        world.advance_to(begin + DETAIL);
        world.advance_to(now);
        world.follow_the_clock();
        world
    }

    /// Gives cron its place on the clock, and frees what it would have freed at the last full hour. Until then a fresh box
    /// has lived by a clock of its own, so that the same seed shows the same sources at any moment.
    fn follow_the_clock(&mut self) {
        let since_hour = self.now.rem_euclid(HOUR);
        self.queue.retain(|Reverse(next)| !matches!(next.event, WorldEvent::Cron));
        self.schedule_event(HOUR - since_hour, WorldEvent::Cron);
        self.expire_entries(self.now - since_hour);
    }

    /// Lets everything happen up to `to` (epoch milliseconds); the past stays as it is.
    pub fn advance_to(&mut self, to: i64) {
        if to - self.now > DETAIL {
            self.jump_to(to - DETAIL);
        }
        while let Some(Reverse(next)) = self.queue.peek()
            && next.at <= to
        {
            let Some(Reverse(next)) = self.queue.pop() else {
                break;
            };
            self.now = next.at.max(self.now);
            self.happen_event(next.event);
        }
        self.now = self.now.max(to);
    }

    /// Skips a pause without a reader: connections are gone, the table has aged, counters have grown.
    fn jump_to(&mut self, to: i64) {
        let seconds = (to - self.now) / 1000;
        self.take_back_until(to);
        self.now = to;
        self.queue.clear();
        self.flows.clear();
        self.pf.totals.removals += super::pf::widened_count(self.pf.states.len());
        self.pf.totals.nodes.2 += super::pf::widened_count(self.pf.nodes.len());
        self.pf.states.clear();
        self.pf.nodes.clear();
        warm::age_counters(&mut self.pf, seconds, to);
        self.expire_entries(self.now);
        self.populate_actors(HOUR - self.now.rem_euclid(HOUR));
    }

    fn populate_actors(&mut self, until_cron: i64) {
        for actor in traffic::all_actors() {
            self.schedule_event(actor.phase(), WorldEvent::Act(actor));
        }
        self.schedule_event(PURGE, WorldEvent::Purge);
        self.schedule_event(until_cron, WorldEvent::Cron);
        self.wake_at_minute();
    }

    /// Sees to it that cron's job runs when the next armed rollback is due.
    pub fn wake_at_minute(&mut self) {
        if let Some((due, _)) = self.ledger.next_due() {
            self.schedule_event(due.saturating_sub(self.now).max(0), WorldEvent::Minute);
        }
    }

    /// Takes back every temporary change whose time is over by `to`, each at its time.
    fn take_back_until(&mut self, to: i64) {
        while let Some((due, id)) = self.ledger.next_due().filter(|(due, _)| *due <= to) {
            self.now = self.now.max(due);
            agent::revert_change(self, &id);
        }
        self.wake_at_minute();
    }

    fn schedule_event(&mut self, delay: i64, event: WorldEvent) {
        self.sequence += 1;
        self.queue.push(Reverse(Scheduled {
            at: self.now + delay,
            sequence: self.sequence,
            event,
        }));
    }

    fn happen_event(&mut self, event: WorldEvent) {
        match event {
            WorldEvent::Act(actor) => self.act_as(actor),
            WorldEvent::Burst { source, service, left } => {
                self.burst_connections(source, service, left);
            }
            WorldEvent::Cron => {
                self.expire_entries(self.now);
                self.schedule_event(HOUR, WorldEvent::Cron);
            }
            WorldEvent::Minute => self.take_back_until(self.now),
            WorldEvent::Purge => {
                self.pf.purge_expired(self.now);
                self.schedule_event(PURGE, WorldEvent::Purge);
            }
            WorldEvent::Step(flow, step) => self.step_flow(flow, step),
            WorldEvent::GiveUp(state) => {
                self.pf.count_transfer((0, state), (0, 1), (0, 52), self.now);
                self.pf.set_levels(state, Level::Established, Level::Closing, self.now);
            }
        }
    }

    /// `expiretable -t 3600 virusprot`, if the configuration has the cron item.
    fn expire_entries(&mut self, now: i64) {
        let expires = |item: &Element| {
            item.child_text("command").is_some_and(|command| command.contains("expiretable"))
        };
        if self.configuration.tree.list("cron", "item").iter().any(expires)
            && let Some(table) = self.pf.table_mut("virusprot")
        {
            table.expire(3600, now);
        }
    }

    fn act_as(&mut self, actor: Actor) {
        let act = actor.act(&mut self.random);
        let hold = act.map_or(0, |act| act.style.hold);
        let pause = actor.pause(hold, &mut self.random);
        self.schedule_event(pause, WorldEvent::Act(actor));
        let Some(act) = act else {
            let source = IpAddr::from([192, 0, 2, self.random.byte(1, 254)]);
            if self.pf.enabled && !self.pf.drop_blocked(source, self.now) {
                self.pf.deny_packet(source, "vtnet0", self.now);
            }
            return;
        };
        if act.burst > 0 {
            self.schedule_event(
                1,
                WorldEvent::Burst {
                    source: act.client.ip(),
                    service: act.service,
                    left: act.burst,
                },
            );
        } else if act.service == TrafficTarget::WireGuard {
            self.send_datagrams(act.client, act.style);
        } else {
            self.connect_client(act.client, act.service, act.style);
        }
    }

    /// Sends datagrams over the peer's state, which lives on as long as they keep coming.
    fn send_datagrams(&mut self, client: SocketAddr, style: Style) {
        let passage = TrafficTarget::WireGuard.passage(client, &mut self.random);
        let mine = |inbound: bool| {
            let found = self.pf.states.iter().filter(|(_, state)| state.protocol == Protocol::Udp);
            found
                .filter(|(_, state)| state.right == if inbound { client } else { passage.server })
                .map(|(id, _)| *id)
                .next()
        };
        let states = match (mine(true), mine(false)) {
            (Some(inbound), Some(outbound)) => (inbound, outbound),
            _ => match self.pf.open(&passage, self.now) {
                Some(states) => states,
                None => return,
            },
        };
        self.pf.set_levels(states.0, Level::Multiple, Level::Multiple, self.now);
        self.pf.set_levels(states.1, Level::Multiple, Level::Multiple, self.now);
        self.pf.count_transfer(states, style.packets, style.bytes, self.now);
    }

    fn burst_connections(&mut self, source: IpAddr, service: TrafficTarget, left: u8) {
        let port = self.random.port();
        let inside =
            self.connect_client(SocketAddr::new(source, port), service, traffic::ACTIVATION);
        // Refused, it tries again for a while, slower.
        let pause = if inside {
            self.random.between(250, 800)
        } else {
            self.random.between(15_000, 60_000)
        };
        if left > 1 {
            self.schedule_event(pause, WorldEvent::Burst { source, service, left: left - 1 });
        }
    }

    /// Sends the first packet of a connection; says whether it got in.
    fn connect_client(&mut self, client: SocketAddr, service: TrafficTarget, style: Style) -> bool {
        let passage = service.passage(client, &mut self.random);
        let Some(states) = self.pf.open(&passage, self.now) else {
            return false;
        };
        if self.nobody_answers(service) {
            // The states wait for an answer until pf forgets them.
            return true;
        }
        let interface = passage.interfaces.0.to_owned();
        let flow = states.0;
        self.flows.insert(flow, Flow { states, client, interface, style });
        let delay = self.random.between(12, 90);
        self.schedule_event(delay, WorldEvent::Step(flow, WorldStep::Handshake));
        true
    }

    /// Says whether the server behind the firewall is gone: no node announces its address then.
    fn nobody_answers(&self, service: TrafficTarget) -> bool {
        self.scenario == Scenario::BackendDead
            && matches!(service, TrafficTarget::Kms | TrafficTarget::KmsLan)
    }

    fn step_flow(&mut self, id: u64, step: WorldStep) {
        let Some(flow) = self.flows.get(&id).cloned() else {
            return;
        };
        if !self.pf.states.contains_key(&flow.states.0) {
            // Flushed or killed: the client's packets find no state, the server waits in vain.
            self.flows.remove(&id);
            if !self.pf.drop_blocked(flow.client.ip(), self.now) {
                self.pf.deny_packet(flow.client.ip(), &flow.interface, self.now);
            }
            self.schedule_event(SERVER_PATIENCE, WorldEvent::GiveUp(flow.states.1));
            return;
        }
        match step {
            WorldStep::Handshake => {
                if self.pf.complete_handshake(flow.states, self.now) == Handshake::Tripped {
                    self.flows.remove(&id);
                    self.schedule_event(SERVER_PATIENCE, WorldEvent::GiveUp(flow.states.1));
                    return;
                }
                self.schedule_event(40, WorldEvent::Step(id, WorldStep::Exchange));
                self.schedule_event(flow.style.hold, WorldEvent::Step(id, WorldStep::Close));
            }
            WorldStep::Exchange => {
                self.pf.count_transfer(flow.states, flow.style.packets, flow.style.bytes, self.now);
                if let Some(repeat) = flow.style.repeat {
                    self.schedule_event(repeat, WorldEvent::Step(id, WorldStep::Exchange));
                }
            }
            WorldStep::Close => self.close_flow(id, &flow),
        }
    }

    fn close_flow(&mut self, id: u64, flow: &Flow) {
        self.flows.remove(&id);
        let (packets, bytes, end) = if flow.style.reset {
            ((1, 0), (40, 0), Level::TimeWait)
        } else {
            ((2, 2), (104, 104), Level::FinWait2)
        };
        self.pf.count_transfer(flow.states, packets, bytes, self.now);
        self.pf.set_levels(flow.states.0, end, end, self.now);
        self.pf.set_levels(flow.states.1, end, end, self.now);
    }
}

#[cfg(test)]
mod tests;
