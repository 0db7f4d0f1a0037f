//! Changes: what they do, what they leave alone, when they are refused, and what the scenarios break.

use std::sync::{Mutex, PoisonError};

use super::{NOW, request};
use crate::domain::pf::rule::Rate;
use crate::domain::pfsense::change::{
    ChangeEnding, ChangeId, ChangeOutcome, ConfigurationEdit, OutcomeAnswer, Records,
};
use crate::domain::pfsense::configured::Configured;
use crate::domain::pfsense::edit::{EditIds, EditRefusal, make_swap};
use crate::pfsense::agent::{ApplyRequest, OutcomeRequest};
use crate::simulator::agent::{answer_outcome, apply_change, read_configured};
use crate::simulator::configuration::Configuration;
use crate::simulator::pf::state::State;
use crate::simulator::pfctl;
use crate::simulator::scenario::{KMS, Scenario};
use crate::simulator::world::World;

/// A fresh box; making one lives through three hours, so each is made once.
pub fn world(scenario: Scenario) -> World {
    static FRESH: Mutex<Vec<World>> = Mutex::new(Vec::new());
    let mut fresh = FRESH.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(world) = fresh.iter().find(|world| world.scenario == scenario) {
        return world.clone();
    }
    let world = World::fresh_world(scenario, 1, NOW);
    fresh.push(world.clone());
    world
}

pub fn id(text: &str) -> ChangeId {
    ChangeId::new(text).unwrap()
}

/// A change planned on what is there now.
#[expect(clippy::needless_pass_by_value, reason = "a change is named where it is made")]
pub fn planned(world: &World, name: &str, change: ConfigurationEdit) -> ApplyRequest {
    asked(world, name, &change).unwrap()
}

fn asked(
    world: &World,
    name: &str,
    change: &ConfigurationEdit,
) -> Result<ApplyRequest, EditRefusal> {
    let configured = words(world);
    let ids = EditIds {
        who: "viktor@laptop",
        now: NOW.div_euclid(1000),
        association: "nat_65f0c0de1a2b3.12345678",
    };
    Ok(ApplyRequest {
        service: request(),
        id: id(name),
        who: "viktor@laptop".to_owned(),
        reason: Some("night".to_owned()),
        expect: configured.digest_of_rules(),
        what: change.edit_words(),
        swap: make_swap(&configured, change, &request(), &ids)?,
        with_pending: false,
        forget: configured.forgotten_changes(),
        revert_at: None,
    })
}

/// Makes a change; one that cannot be made of what is there is not even sent.
#[expect(clippy::needless_pass_by_value, reason = "a change is named where it is made")]
pub fn make(world: &mut World, name: &str, change: ConfigurationEdit) -> ChangeOutcome {
    match asked(world, name, &change) {
        Ok(request) => apply_change(world, &request),
        Err(refusal) => ChangeOutcome {
            id: id(name),
            result: ChangeEnding::Refused,
            message: refusal.clause,
            before: Records::default(),
            after: Records::default(),
            fingerprints: (String::new(), String::new()),
            steps: Vec::new(),
            reverts_at: None,
            lost_update: None,
            holder: None,
            reverted: None,
        },
    }
}

pub fn caps(connections: u32, rate: (u32, u32)) -> ConfigurationEdit {
    ConfigurationEdit::Caps {
        max_src_conn: Some(connections),
        rate: Some(Rate { connections: rate.0, seconds: rate.1 }),
    }
}

pub fn build(alias: bool) -> ConfigurationEdit {
    ConfigurationEdit::Build {
        description: "KMS public — kms.viktorbarzin.me".to_owned(),
        max_src_conn: Some(50),
        rate: Some(Rate { connections: 10, seconds: 60 }),
        alias,
    }
}

/// The configuration but for the revision, which every write changes.
pub fn rest(configuration: &Configuration) -> String {
    let mut tree = configuration.tree.0.clone();
    tree.remove("revision");
    tree.canonical_json()
}

pub fn words(world: &World) -> Configured {
    read_configured(world, &request())
}

pub fn kms_rules(world: &World) -> Vec<&str> {
    let rules = world.pf.filter.iter().chain(&world.pf.rdr);
    rules.map(|rule| rule.text.as_str()).filter(|text| text.contains("port = 1688")).collect()
}

#[test]
fn caps_are_written_loaded_and_told() {
    let mut world = world(Scenario::Open);
    let (before, pf) = (world.configuration.clone(), world.pf.clone());
    let outcome = make(&mut world, "c1", caps(10, (3, 60)));
    assert_eq!(outcome.result, ChangeEnding::Done, "{}", outcome.message);
    assert!(kms_rules(&world)[0].contains(
        "keep state (source-track rule, max-src-conn 10, max-src-conn-rate 3/60, overload <virusprot> flush global, src.track 60)"
    ));
    assert_eq!(outcome.fingerprints.0, outcome.before.fingerprint());
    assert_eq!(outcome.fingerprints.1, outcome.after.fingerprint());
    assert_eq!(words(&world).fingerprint, outcome.fingerprints.1);
    let words = words(&world);
    assert_eq!(words.filter[0].caps.max_src_conn_rates.as_deref(), Some("60"));
    assert_eq!(
        words.revision.description.as_deref(),
        Some(
            "kmsctl (viktor@laptop): kmsctl c1: caps per source: max-src-conn 10, max-src-conn-rate 3/60: night"
        )
    );
    assert_eq!(words.history[1].time.as_deref(), Some("1763000900"));
    // Nothing else of the configuration and of pf.
    let mut expected = before;
    expected.tree.edit_list("filter", "rule", |rules| {
        rules[3] = outcome.after.filter.unwrap().record;
    });
    assert_eq!(rest(&world.configuration), rest(&expected));
    assert_eq!(world.pf.states, pf.states);
    assert_eq!(world.pf.tables, pf.tables);
    for (old, new) in pf.filter.iter().zip(&world.pf.filter) {
        assert!(old.text == new.text || old.identifier == Some(KMS));
    }
}

#[test]
fn what_already_is_so_writes_nothing() {
    let mut world = world(Scenario::Open);
    let before = (world.configuration.clone(), world.pf.clone());
    for (name, change) in
        [("c1", caps(50, (10, 60))), ("c2", ConfigurationEdit::Enable), ("c3", build(true))]
    {
        assert_eq!(make(&mut world, name, change).result, ChangeEnding::NothingToDo, "{name}");
    }
    assert_eq!((world.configuration, world.pf), before);
}

#[test]
fn a_change_is_made_once_and_told_again() {
    let mut world = world(Scenario::Open);
    let request = planned(&world, "c1", ConfigurationEdit::Disable);
    let first = apply_change(&mut world, &request);
    assert_eq!(first.result, ChangeEnding::Done);
    assert!(kms_rules(&world).is_empty());
    let before = world.configuration.clone();
    assert_eq!(apply_change(&mut world, &request), first);
    assert_eq!(world.configuration, before);
    let asked = OutcomeRequest { service: super::request(), id: id("c1"), settle: true };
    assert_eq!(
        answer_outcome(&mut world, &asked),
        OutcomeAnswer::Ended { outcome: Box::new(first) }
    );
    assert_eq!(make(&mut world, "c2", ConfigurationEdit::Enable).result, ChangeEnding::Done);
    assert_eq!(kms_rules(&world).len(), 2);
}

#[test]
fn an_id_that_was_settled_is_refused_when_it_arrives_late() {
    let mut world = world(Scenario::Open);
    let mut asked = OutcomeRequest { service: request(), id: id("c1"), settle: false };
    assert_eq!(answer_outcome(&mut world, &asked), OutcomeAnswer::Unknown);
    asked.settle = true;
    assert_eq!(answer_outcome(&mut world, &asked), OutcomeAnswer::Unknown);
    assert_eq!(make(&mut world, "c1", ConfigurationEdit::Disable).result, ChangeEnding::Refused);
    assert_eq!(make(&mut world, "c2", ConfigurationEdit::Disable).result, ChangeEnding::Done);
}

#[test]
fn delete_and_put_back_leave_no_trace() {
    let mut world = world(Scenario::Open);
    let before = rest(&world.configuration);
    let rules: Vec<String> = world.pf.filter.iter().map(|rule| rule.text.clone()).collect();
    let deleted = make(&mut world, "c1", ConfigurationEdit::Delete);
    assert_eq!(deleted.result, ChangeEnding::Done);
    assert_eq!((deleted.after.nat.is_none(), deleted.after.filter.is_none()), (true, true));
    assert!(kms_rules(&world).is_empty() && words(&world).nat.is_empty());
    let back =
        ConfigurationEdit::PutBack { records: Box::new(deleted.before.clone()), alias: false };
    let back = make(&mut world, "c2", back);
    assert_eq!(back.result, ChangeEnding::Done);
    assert_eq!(back.fingerprints.1, deleted.fingerprints.0);
    assert_eq!(rest(&world.configuration), before);
    assert!(world.pf.filter.iter().map(|rule| &rule.text).eq(&rules));
    assert_eq!(make(&mut world, "c3", ConfigurationEdit::Delete).result, ChangeEnding::Done);
    assert_eq!(
        make(&mut world, "c4", ConfigurationEdit::Delete).result,
        ChangeEnding::Refused,
        "there is nothing"
    );
}

#[test]
fn build_makes_the_same_of_every_beginning() {
    for scenario in [
        Scenario::Absent,
        Scenario::Closed,
        Scenario::Half,
        Scenario::HalfFilter,
        Scenario::OldTarget,
        Scenario::PassAssociation,
        Scenario::Uncapped,
    ] {
        let mut world = world(scenario);
        let before = world.configuration.clone();
        let made = make(&mut world, "c1", build(true));
        assert_eq!(made.result, ChangeEnding::Done, "{scenario:?}: {}", made.message);
        let words = words(&world);
        assert_eq!((words.nat.len(), words.filter.len()), (1, 1), "{scenario:?}");
        assert_eq!(words.nat[0].association, words.filter[0].association);
        assert_eq!(words.alias.unwrap().address.as_deref(), Some("10.0.20.202"));
        let rules = kms_rules(&world);
        assert!(rules[0].contains("to <k8s_kms_lb> port = 1688 flags S/SA keep state (source-track rule, max-src-conn 50"), "{rules:?}");
        assert_eq!(
            rules[1],
            "rdr on vtnet0 inet proto tcp from any to 192.168.1.2 port = 1688 -> <k8s_kms_lb> round-robin"
        );
        assert_eq!(
            make(&mut world, "c2", build(true)).result,
            ChangeEnding::NothingToDo,
            "{scenario:?}"
        );
        let undo =
            ConfigurationEdit::PutBack { records: Box::new(made.before.clone()), alias: true };
        let undone = make(&mut world, "c3", undo);
        assert_eq!(undone.result, ChangeEnding::Done, "{scenario:?}: {}", undone.message);
        assert_eq!(rest(&world.configuration), rest(&before), "{scenario:?}");
    }
    let mut world = world(Scenario::OldTarget);
    assert_eq!(make(&mut world, "c1", build(false)).result, ChangeEnding::Refused, "no alias");
}

#[test]
fn closed_and_killed_it_stays_closed() {
    let mut world = world(Scenario::Open);
    let live = |world: &World| {
        let from_outside =
            |state: &&State| state.left_inside.is_some_and(|side| side.port() == 1688);
        world.pf.states.values().filter(from_outside).count()
    };
    let before = live(&world);
    assert!(before > 40, "{before}");
    assert_eq!(make(&mut world, "c1", ConfigurationEdit::Disable).result, ChangeEnding::Done);
    assert_eq!(live(&world), before, "a reload ends no connection");
    let kill = ["-k", "label", "-k", "id:1763000004"].map(str::to_owned);
    let killed = pfctl::run_pfctl(&mut world, &kill, b"").stderr;
    assert_eq!(killed, format!("killed {before} states\n").into_bytes());
    world.advance_to(NOW + 3_600_000);
    assert_eq!(live(&world), 0);
    assert_eq!(make(&mut world, "c2", ConfigurationEdit::Enable).result, ChangeEnding::Done);
    world.advance_to(NOW + 4_200_000);
    assert!(live(&world) > 20, "{}", live(&world));
}

#[test]
fn a_pair_that_was_built_anew_lets_clients_in() {
    let mut world = world(Scenario::Absent);
    assert_eq!(make(&mut world, "c1", build(true)).result, ChangeEnding::Done);
    let rule = words(&world).filter[0].tracker.clone().unwrap();
    assert_ne!(rule, KMS.to_string());
    let creations = |world: &World| {
        let number = world.pf.rule(rule.parse().unwrap()).unwrap();
        world.pf.filter[number].creations
    };
    world.advance_to(NOW + 600_000);
    assert!(creations(&world) > 20, "{}", creations(&world));
    world.advance_to(NOW + 30 * 24 * 3_600_000);
    assert!(creations(&world) > 100_000, "also while nobody watched");
}
