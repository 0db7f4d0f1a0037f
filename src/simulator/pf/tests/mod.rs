//! Caps, overload and kill, on a box where nothing else happens.

mod load;

use std::net::SocketAddr;

use super::state::{Level, Tracked};
use super::{Handshake, SimulatedPf};
use crate::domain::pf::rule::Direction;
use crate::simulator::random::Random;
use crate::simulator::scenario::{KMS, Scenario};
use crate::simulator::traffic::TrafficTarget;

const NOW: i64 = 1_790_000_000_000;
const CLIENT: &str = "203.0.113.9";

fn pf() -> SimulatedPf {
    Scenario::Open.load(NOW)
}

fn client(port: u16) -> SocketAddr {
    SocketAddr::new(CLIENT.parse().unwrap(), port)
}

/// Opens a connection and completes its handshake; `None` if the first packet was dropped.
fn connect(
    pf: &mut SimulatedPf,
    service: TrafficTarget,
    port: u16,
    now: i64,
) -> Option<((u64, u64), Handshake)> {
    let passage = service.passage(client(port), &mut Random::new(1));
    let ids = pf.open(&passage, now)?;
    Some((ids, pf.complete_handshake(ids, now)))
}

fn listed(pf: &SimulatedPf) -> Option<i64> {
    pf.table("virusprot").unwrap().entries.get(&format!("{CLIENT}/32").parse().unwrap()).copied()
}

#[test]
fn the_eleventh_connection_in_a_second_overloads() {
    let mut pf = pf();
    let web = connect(&mut pf, TrafficTarget::Https, 1, NOW).unwrap().0;
    for port in 0..10 {
        assert_eq!(
            connect(&mut pf, TrafficTarget::Kms, 100 + port, NOW + i64::from(port) * 50).unwrap().1,
            Handshake::Passed
        );
    }
    assert_eq!(listed(&pf), None);
    assert_eq!(connect(&mut pf, TrafficTarget::Kms, 200, NOW + 900).unwrap().1, Handshake::Tripped);
    assert_eq!(listed(&pf), Some(NOW + 900));
    // Flush global ends the inbound half of everything the source had, and only that half.
    let left: Vec<_> = pf.states.values().collect();
    assert_eq!(left.len(), 12);
    assert!(
        left.iter()
            .all(|state| state.direction == Direction::Out && state.left.ip() == client(0).ip())
    );
    assert!(!pf.states.contains_key(&web.0) && pf.states.contains_key(&web.1));
    assert_eq!(
        (pf.totals.source_rates, pf.totals.overload_insertions, pf.totals.overload_flushes),
        (1, 1, 1)
    );
    // From now on nothing of it gets in, whatever the port, and the block rule counts it.
    let block = pf.rule(super::OVERLOAD_BLOCK).unwrap();
    assert!(connect(&mut pf, TrafficTarget::Https, 300, NOW + 1000).is_none());
    assert_eq!(pf.filter[block].packets, (1, 0));
}

#[test]
fn six_seconds_apart_never_trips_until_the_connection_cap_does() {
    let mut pf = pf();
    for number in 0..50 {
        let connected =
            connect(&mut pf, TrafficTarget::Kms, 100 + number, NOW + i64::from(number) * 6000);
        assert_eq!(connected.unwrap().1, Handshake::Passed, "{number}");
    }
    assert_eq!(pf.nodes[0].connections, 50);
    assert_eq!(
        connect(&mut pf, TrafficTarget::Kms, 999, NOW + 300_000).unwrap().1,
        Handshake::Tripped
    );
    assert_eq!((pf.totals.source_connections, pf.totals.source_rates), (1, 0));
    assert!(listed(&pf).is_some());
}

#[test]
fn a_second_overload_does_not_renew_the_entry() {
    let mut pf = pf();
    let net = format!("{CLIENT}/32").parse().unwrap();
    for port in 0..11 {
        connect(&mut pf, TrafficTarget::Kms, 100 + port, NOW);
    }
    pf.table_mut("virusprot").unwrap().entries.insert(net, NOW - 5000);
    let rule = pf.object(pf.rule(KMS).unwrap());
    pf.overload(rule, client(0).ip(), NOW + 9000);
    assert_eq!(listed(&pf), Some(NOW - 5000));
    assert_eq!(pf.totals.overload_insertions, 2);
}

#[test]
fn half_open_connections_never_count() {
    let mut pf = pf();
    for port in 0..200 {
        let passage = TrafficTarget::Kms.passage(client(port), &mut Random::new(1));
        assert!(pf.open(&passage, NOW).is_some());
    }
    assert_eq!((pf.nodes[0].states, pf.nodes[0].connections), (200, 0));
    assert_eq!(listed(&pf), None);
}

#[test]
fn states_time_out_as_their_levels_say_and_nodes_outlive_them_by_the_rate() {
    let mut pf = pf();
    let (ids, _) = connect(&mut pf, TrafficTarget::Kms, 100, NOW).unwrap();
    pf.purge_expired(NOW + 86_399_000);
    assert!(pf.states.contains_key(&ids.0));
    pf.set_levels(ids.0, Level::FinWait2, Level::FinWait2, NOW);
    pf.purge_expired(NOW + 89_999);
    assert!(pf.states.contains_key(&ids.0));
    pf.purge_expired(NOW + 90_000);
    assert!(!pf.states.contains_key(&ids.0));
    assert_eq!((pf.nodes.len(), pf.nodes[0].states, pf.nodes[0].connections), (1, 0, 0));
    pf.purge_expired(NOW + 149_999);
    assert_eq!(pf.nodes.len(), 1);
    pf.purge_expired(NOW + 150_000);
    assert_eq!(pf.nodes.len(), 0);
}

#[test]
fn a_forgotten_source_starts_anew_and_its_states_no_longer_count() {
    let mut pf = pf();
    let (ids, _) = connect(&mut pf, TrafficTarget::Kms, 100, NOW).unwrap();
    assert_eq!(pf.forget_sources(&"203.0.113.0/24".parse().unwrap()), 1);
    assert_eq!(pf.states[&ids.0].tracked, Tracked::No);
    connect(&mut pf, TrafficTarget::Kms, 101, NOW);
    assert_eq!(pf.nodes[0].states, 1);
    pf.remove(ids.0, NOW);
    assert_eq!(pf.nodes[0].states, 1);
}

#[test]
fn a_freed_source_trips_until_it_is_forgotten() {
    let freed = |forget: bool| {
        let mut pf = pf();
        for port in 100..111 {
            connect(&mut pf, TrafficTarget::Kms, port, NOW);
        }
        assert!(listed(&pf).is_some());
        let net = format!("{CLIENT}/32").parse().unwrap();
        pf.table_mut("virusprot").unwrap().entries.remove(&net);
        if forget {
            assert_eq!(pf.forget_sources(&net), 1);
        }
        connect(&mut pf, TrafficTarget::Kms, 200, NOW + 3_000).unwrap().1
    };
    assert_eq!(freed(false), Handshake::Tripped);
    assert_eq!(freed(true), Handshake::Passed);
}

#[test]
fn the_preview_cuts_whom_the_simulator_cuts() {
    use crate::domain::ratelimit::Caps;
    use crate::domain::ratelimit::preview::{SeenConnections, preview_caps};
    let caps = Caps {
        max_src_conn: Some(50),
        rate: Some(crate::domain::pf::rule::Rate { connections: 10, seconds: 60 }),
    };
    for (step, count) in [(0, 10), (0, 11), (1, 12), (3, 14), (5, 20), (5, 21), (6, 80), (7, 60)] {
        let (mut pf, mut seen) = (pf(), SeenConnections::default());
        let mut tripped = None;
        for number in 0..count {
            let at = NOW + i64::from(number) * step * 1000;
            pf.purge_expired(at);
            seen.add_connection(CLIENT.parse().unwrap(), at / 1000, at / 1000);
            let connected = connect(&mut pf, TrafficTarget::Kms, 100 + number, at);
            if let Some((ids, handshake)) = connected {
                if handshake == Handshake::Tripped && tripped.is_none() {
                    tripped = Some(at / 1000);
                }
                pf.set_levels(ids.0, Level::FinWait2, Level::FinWait2, at);
            }
        }
        let generation = Some(crate::domain::overload::Generation::Decaying);
        let cuts = preview_caps(&mut seen, caps, generation, |_| None);
        let cut = cuts.iter().find(|cut| cut.cuts > 0);
        assert_eq!(cut.map(|cut| cut.cut_at.as_second()), tripped, "{step} {count}");
    }
}
