//! The box as it lives: reproducible, bounded, always worth looking at, and readable by the parsers.

use std::collections::BTreeSet;

use super::{DETAIL, HOUR, World};
use crate::domain::exposure::{self, AliasTable, Loaded, State as Exposure};
use crate::domain::pf::rule::{self, Direction};
use crate::domain::pf::table::{self, TableName};
use crate::domain::pf::{info, source, state};
use crate::domain::service::Service;
use crate::pfsense::agent::ReadRequest;
use crate::simulator::pfctl;
use crate::simulator::scenario::{KMS, Scenario};
use crate::simulator::traffic::{OFFICE, OFFICE_CONNECTIONS};

const NOW: i64 = 1_795_354_620_000;

fn world() -> World {
    World::fresh_world(Scenario::Open, 7, NOW)
}

fn text(world: &World) -> String {
    serde_json::to_string(world).unwrap()
}

fn pfctl(world: &mut World, command: &str) -> Vec<u8> {
    let arguments: Vec<String> = command.split(' ').map(str::to_owned).collect();
    let mut output = pfctl::run_pfctl(world, &arguments, b"");
    // As kmsctl does where a load of the ruleset races with it.
    while output.stderr.ends_with(b": Device busy\n") {
        output = pfctl::run_pfctl(world, &arguments, b"");
    }
    assert_eq!((output.status, output.stderr), (0, Vec::new()), "{command}");
    output.stdout
}

#[test]
fn equal_seeds_and_moments_give_equal_boxes() {
    assert_eq!(text(&world()), text(&world()));
    assert_ne!(text(&world()), text(&World::fresh_world(Scenario::Open, 8, NOW)));
    assert_ne!(text(&world()), text(&World::fresh_world(Scenario::Open, 7, NOW + 1)));
}

#[test]
fn one_seed_shows_the_same_sources_at_any_moment() {
    let sources = |now: i64| {
        let world = World::fresh_world(Scenario::Open, 7, now);
        let states = world.pf.states.values();
        let clients: Vec<String> = states.map(|state| state.right.to_string()).collect();
        let table = world.pf.table("virusprot").expect("the table");
        let blocked: BTreeSet<String> = table.entries.keys().map(ToString::to_string).collect();
        let late = |since: &i64| now - now.rem_euclid(HOUR) - since > HOUR;
        (clients, blocked, table.entries.values().any(late))
    };
    let (clients, blocked, late) = sources(NOW - NOW.rem_euclid(HOUR));
    assert!(!late && !blocked.is_empty());
    for after in [400, 1000, 61_000, 1_294_000, 3_599_000, 5 * HOUR + 17_000] {
        let (later_clients, later_blocked, late) = sources(NOW - NOW.rem_euclid(HOUR) + after);
        assert_eq!(later_clients, clients, "{after}");
        // Cron frees fewer, the longer ago it ran.
        assert!(!late && later_blocked.is_superset(&blocked), "{after}");
    }
}

#[test]
fn many_small_steps_are_one_big_step() {
    let (mut once, mut often) = (world(), world());
    once.advance_to(NOW + 2 * HOUR);
    for step in 1..=7200 {
        often.advance_to(NOW + step * 1000);
    }
    assert_eq!(text(&once), text(&often));
    once.advance_to(NOW);
    assert_eq!(text(&once), text(&often), "the past stays");
}

#[test]
fn a_saved_box_goes_on_as_if_never_saved() {
    let mut kept = world();
    let mut read: World = serde_json::from_str(&text(&kept)).unwrap();
    assert_eq!(text(&read), text(&kept));
    read.advance_to(NOW + HOUR);
    kept.advance_to(NOW + HOUR);
    // The queue may be stored in another order; what it gives is the same.
    for command in ["-vvss", "-sS -v", "-si -v", "-vvPsr", "-vvPsn", "-t virusprot -T show -v"] {
        assert_eq!(pfctl(&mut read, command), pfctl(&mut kept, command), "{command}");
    }
}

#[test]
fn at_any_moment_there_is_something_to_see() {
    let mut world = world();
    for step in 1..=72 {
        world.advance_to(NOW + step * 20 * 60_000 + step * 7_919);
        let entries = &world.pf.table("virusprot").unwrap().entries;
        let ages: BTreeSet<i64> =
            entries.values().map(|since| (world.now - since) / 60_000).collect();
        let v6 = entries.keys().filter(|net| net.addr().is_ipv6()).count();
        assert!(entries.len() >= 4 && v6 >= 1 && ages.len() >= 4, "{step}: {entries:?}");
        let rule = world.pf.rule(KMS).unwrap();
        let live = world
            .pf
            .nodes
            .iter()
            .filter(|node| node.rule == world.pf.object(rule) && node.connections > 0)
            .count();
        assert!(live >= 8, "{step}: {live} sources");
        let office = world.pf.nodes.iter().find(|node| node.address == OFFICE).unwrap();
        assert!(
            (40..=u32::from(OFFICE_CONNECTIONS)).contains(&office.connections),
            "{step}: {office:?}"
        );
        let rule = &world.pf.filter[rule];
        assert!(
            rule.evaluations > rule.creations
                && rule.creations > 0
                && rule.packets.0 > rule.creations
        );
    }
}

#[test]
fn entries_age_out_by_the_hourly_job_and_not_without_it() {
    let mut world = world();
    let added = world.now;
    let net = "192.0.2.250/32".parse().unwrap();
    world.pf.table_mut("virusprot").unwrap().entries.insert(net, added);
    let held = |world: &World| world.pf.table("virusprot").unwrap().entries.contains_key(&net);
    let hour = HOUR - added.rem_euclid(HOUR);
    world.advance_to(added + hour + 1);
    assert!(held(&world), "not yet an hour old when the job ran");
    world.advance_to(added + hour + HOUR - 1);
    assert!(held(&world));
    world.advance_to(added + hour + HOUR);
    assert!(!held(&world));

    let mut without = World::fresh_world(Scenario::NoCron, 7, NOW);
    without.pf.table_mut("virusprot").unwrap().entries.insert(net, NOW);
    without.advance_to(NOW + 2 * HOUR + 10);
    assert!(held(&without));
}

#[test]
fn a_month_away_is_jumped_over() {
    let mut world = world();
    let before = world.pf.filter[world.pf.rule(KMS).unwrap()].creations;
    world.advance_to(NOW + 30 * 24 * HOUR);
    let after = world.pf.filter[world.pf.rule(KMS).unwrap()].creations;
    assert!(after > before + 300_000, "{before} → {after}");
    let oldest = world.pf.table("virusprot").unwrap().entries.values().min().copied().unwrap();
    assert!(world.now - oldest <= DETAIL);
    assert!(world.pf.states.values().all(|state| world.now - state.created <= DETAIL));
}

#[test]
fn thirty_days_stay_small() {
    for scenario in [Scenario::Open, Scenario::NoCron] {
        let mut world = World::fresh_world(scenario, 7, NOW);
        // Two days of every hour; of the others, the last three hours each.
        for hour in (1..=48).chain((72..=720).step_by(24)) {
            world.advance_to(NOW + hour * HOUR);
            assert!(world.pf.states.len() < 600, "{hour}: {} states", world.pf.states.len());
            assert!(
                world.pf.nodes.len() < 100 && world.flows.len() < 150 && world.queue.len() < 400
            );
            assert!(world.pf.table("virusprot").unwrap().entries.len() < 320);
        }
        assert!(text(&world).len() < 500_000, "{}", text(&world).len());
    }
}

#[test]
fn every_output_is_read_to_the_last_line() {
    for scenario in Scenario::ALL {
        if scenario == Scenario::Denied {
            continue;
        }
        let mut world = World::fresh_world(scenario, 7, NOW);
        for command in ["-Psr", "-vPsr", "-vvPsr", "-vvPsn"] {
            let text = pfctl(&mut world, command);
            let parsed = rule::parse_pf_rules(&text);
            assert_eq!(
                (parsed.unread, parsed.more_unread),
                (Vec::new(), 0),
                "{scenario:?} {command}"
            );
            assert!(!parsed.value.is_empty(), "{scenario:?} {command}");
        }
        for command in ["-ss", "-vss", "-vvss"] {
            let text = pfctl(&mut world, command);
            let parsed = state::parse(&text);
            assert_eq!(
                (parsed.unread, parsed.more_unread),
                (Vec::new(), 0),
                "{scenario:?} {command}"
            );
            assert_eq!(parsed.value.len(), world.pf.states.len());
        }
        if scenario != Scenario::TableMissing {
            let parsed = table::parse_table_entries(&pfctl(&mut world, "-t virusprot -T show -v"));
            assert_eq!((parsed.unread, parsed.more_unread), (Vec::new(), 0));
            assert_eq!(parsed.value.len(), world.pf.table("virusprot").unwrap().entries.len());
            assert!(parsed.value.iter().all(|entry| entry.since.is_some()));
        }
        let info = info::parse_pf_info(&pfctl(&mut world, "-vsi"));
        assert_eq!((info.unread, info.more_unread), (Vec::new(), 0));
        assert_eq!(info.value.enabled, scenario != Scenario::PfDisabled);
        assert_eq!(info.value.states, u64::try_from(world.pf.states.len()).ok());
        let limits = info::parse_limits(&pfctl(&mut world, "-sm"));
        assert_eq!((limits.unread.len(), limits.value.len()), (0, 4));
        let sources = source::parse_source_nodes(&pfctl(&mut world, "-vsS"));
        assert_eq!((sources.unread, sources.more_unread), (Vec::new(), 0));
        assert_eq!(sources.value.len(), world.pf.nodes.len());
    }
}

#[test]
fn rule_counters_agree_with_the_states() {
    let mut world = world();
    let rules = rule::parse_pf_rules(&pfctl(&mut world, "-vvPsr")).value;
    let states = state::parse(&pfctl(&mut world, "-vvss")).value;
    let kms = rules.iter().find(|rule| rule.ridentifier == Some(KMS)).unwrap();
    let of_rule = states
        .iter()
        .filter(|state| state.detail.as_ref().and_then(|detail| detail.rule) == kms.number);
    assert_eq!(
        kms.counters.as_ref().unwrap().states,
        u64::try_from(of_rule.clone().count()).unwrap()
    );
    assert!(
        of_rule
            .into_iter()
            .all(|state| state.direction == Direction::In && state.left.port == 1688)
    );
    let rdr = rule::parse_pf_rules(&pfctl(&mut world, "-vvPsn")).value;
    let rdr = rdr.iter().find(|rule| rule.text.contains("port = 1688 ->")).unwrap();
    assert_eq!(rdr.counters.as_ref().unwrap().states, kms.counters.as_ref().unwrap().states);
}

#[test]
fn the_domain_judges_each_scenario_as_it_is_meant() {
    let service = Service {
        alias: "k8s_kms_lb".into(),
        address: "10.0.20.202".parse().unwrap(),
        port: 1688,
        interface: "wan".into(),
        outside: Vec::new(),
        description: String::new(),
        host: "kms.viktorbarzin.me".into(),
        table: TableName::new("virusprot").unwrap(),
        speaks_kms: true,
    };
    let expected = |scenario| match scenario {
        Scenario::Absent => Exposure::Absent,
        Scenario::Closed | Scenario::PfDisabled | Scenario::UpnpElsewhere => Exposure::Closed,
        Scenario::Half | Scenario::HalfFilter | Scenario::Shadowed => Exposure::Half,
        // The port leads to the old target, without caps: that is what the outside can do.
        Scenario::OldTarget | Scenario::PassAssociation | Scenario::Uncapped => Exposure::Uncapped,
        _ => Exposure::Open,
    };
    for scenario in Scenario::ALL.into_iter().filter(|scenario| *scenario != Scenario::Denied) {
        let mut world = World::fresh_world(scenario, 7, NOW);
        let filter = rule::parse_pf_rules(&pfctl(&mut world, "-vvPsr")).value;
        let nat = rule::parse_pf_rules(&pfctl(&mut world, "-vvPsn")).value;
        let loaded = Loaded {
            filter: &filter,
            nat: &nat,
            enabled: world.pf.enabled,
            alias_table: AliasTable::Unasked,
        };
        let configured = world.configuration.read(&ReadRequest::from(&service));
        let judged = exposure::judge(Some(&configured), loaded, &service);
        assert_eq!(judged.state, expected(scenario), "{scenario:?}: {:?}", judged.why);
    }
}
