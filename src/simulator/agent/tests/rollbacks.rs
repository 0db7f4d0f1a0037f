//! Temporary changes: armed, kept, taken back in time, left alone when somebody else has changed the rules.

use super::changes::{caps, id, planned, world};
use super::{NOW, request};
use crate::domain::pfsense::change::{ChangeEnding, ConfigurationEdit, Element, Kept};
use crate::pfsense::agent::KeepRequest;
use crate::simulator::agent::{apply_change, keep_change, read_configured};
use crate::simulator::scenario::Scenario;
use crate::simulator::world::World;

const SECOND: i64 = NOW / 1000;

/// Makes a temporary change that ends `after` seconds.
fn temporary(world: &mut World, name: &str, change: ConfigurationEdit, after: i64) {
    let mut request = planned(world, name, change);
    request.revert_at = Some(SECOND + after);
    let outcome = apply_change(world, &request);
    assert_eq!(
        (outcome.result, outcome.reverts_at),
        (ChangeEnding::Done, Some(SECOND + after)),
        "{}",
        outcome.message
    );
}

fn max_src_conn(world: &World) -> String {
    read_configured(world, &request()).filter[0].caps.max_src_conn.clone().unwrap()
}

fn ended(world: &World, name: &str) -> (ChangeEnding, i64) {
    let reverted = world.ledger.get(&id(name)).unwrap().outcome.reverted.clone();
    let reverted = reverted.expect("it has fired");
    (reverted.result, reverted.at)
}

#[test]
fn it_is_taken_back_within_a_minute_of_its_time() {
    let mut world = world(Scenario::Open);
    temporary(&mut world, "c1", caps(10, (3, 60)), 7200);
    let armed = read_configured(&world, &request()).armed;
    assert_eq!((armed.len(), armed[0].reverts_at), (1, SECOND + 7200));
    assert_eq!(
        (armed[0].who.as_str(), armed[0].what.as_str()),
        ("viktor@laptop", "caps per source: max-src-conn 10, max-src-conn-rate 3/60")
    );
    world.advance_to(NOW + 7_199_999);
    assert_eq!(max_src_conn(&world), "10");
    world.advance_to(NOW + 7_260_000);
    assert_eq!(max_src_conn(&world), "50");
    let (result, at) = ended(&world, "c1");
    assert_eq!(result, ChangeEnding::Done);
    assert!((SECOND + 7200..=SECOND + 7260).contains(&at) && at % 60 == 0, "{at}");
    let words = read_configured(&world, &request());
    assert!(words.armed.is_empty());
    assert!(
        words.revision.description.unwrap().contains("kmsctl c1: taken back, its time is over")
    );
    assert!(
        world
            .pf
            .filter
            .iter()
            .any(|rule| { rule.text.contains("max-src-conn 50, max-src-conn-rate 10/60") })
    );
}

#[test]
fn also_between_runs_and_far_behind() {
    for away in [4 * 3_600_000, 40 * 24 * 3_600_000] {
        let mut world = world(Scenario::Open);
        temporary(&mut world, "c1", ConfigurationEdit::Disable, 1800);
        let text = serde_json::to_string(&world).unwrap();
        let mut world: World = serde_json::from_str(&text).unwrap();
        world.advance_to(NOW + away);
        let (result, at) = ended(&world, "c1");
        assert_eq!(result, ChangeEnding::Done);
        assert!(at <= SECOND + 1860, "{at}");
        assert!(!read_configured(&world, &request()).filter[0].disabled);
    }
}

#[test]
fn what_it_activates_of_others_is_said() {
    let mut world = world(Scenario::Open);
    temporary(&mut world, "c1", ConfigurationEdit::Disable, 600);
    world.configuration.dirty.push("filter".to_owned());
    world.advance_to(NOW + 700_000);
    let reverted = world.ledger.get(&id("c1")).unwrap().outcome.reverted.clone();
    let message = reverted.unwrap().message;
    assert!(
        message.contains("activated changes saved in the GUI and not applied (filter)"),
        "{message}"
    );
}

#[test]
fn in_steps_or_at_once_is_the_same() {
    let (mut once, mut often) = (world(Scenario::Open), world(Scenario::Open));
    for world in [&mut once, &mut often] {
        temporary(world, "c1", ConfigurationEdit::Delete, 600);
    }
    once.advance_to(NOW + 1_800_000);
    for step in 1..=180 {
        often.advance_to(NOW + step * 10_000);
    }
    let text = |world: &World| serde_json::to_string(world).unwrap();
    assert_eq!(text(&once), text(&often));
    assert_eq!(ended(&once, "c1").0, ChangeEnding::Done);
}

#[test]
fn it_is_left_alone_when_somebody_has_changed_the_rules() {
    let mut world = world(Scenario::Open);
    temporary(&mut world, "c1", caps(10, (3, 60)), 600);
    let somebody = |rules: &mut Vec<Element>| rules[3].set_child("max-src-conn", "20");
    world.configuration.tree.edit_list("filter", "rule", somebody);
    world.advance_to(NOW + 700_000);
    assert_eq!(ended(&world, "c1").0, ChangeEnding::Stale);
    assert_eq!(max_src_conn(&world), "20");
}

#[test]
fn kept_it_stays() {
    let mut world = world(Scenario::Open);
    temporary(&mut world, "c1", caps(10, (3, 60)), 600);
    let wish = KeepRequest { service: request(), id: id("c1"), until: None };
    assert_eq!(keep_change(&mut world, &wish), Kept::Kept { reverts_at: SECOND + 600 });
    assert_eq!(keep_change(&mut world, &wish), Kept::NotArmed);
    world.advance_to(NOW + 3_600_000);
    assert_eq!(max_src_conn(&world), "10");
    temporary_late(&mut world);
}

/// Too late to keep, and too late to make.
fn temporary_late(world: &mut World) {
    let mut request = planned(world, "c2", caps(50, (10, 60)));
    request.revert_at = Some(SECOND + 600);
    assert_eq!(apply_change(world, &request).result, ChangeEnding::Refused);
    request.revert_at = Some(SECOND + 3700);
    assert_eq!(apply_change(world, &request).result, ChangeEnding::Done);
    world.advance_to(NOW + 7_200_000);
    let wish = KeepRequest { service: super::request(), id: id("c2"), until: None };
    assert!(matches!(keep_change(world, &wish), Kept::Reverted { .. }));
}

#[test]
fn a_change_that_failed_arms_nothing() {
    for scenario in [Scenario::LoadFails, Scenario::Unproven, Scenario::WriteFails] {
        let mut world = world(scenario);
        let mut request = planned(&world, "c1", ConfigurationEdit::Disable);
        request.revert_at = Some(SECOND + 600);
        assert_eq!(apply_change(&mut world, &request).reverts_at, None, "{scenario:?}");
        assert!(read_configured(&world, &super::request()).armed.is_empty());
    }
}

#[test]
fn another_operator_holds_the_lock() {
    let mut world = world(Scenario::Locked);
    let wish = KeepRequest { service: request(), id: id("c1"), until: None };
    assert!(matches!(keep_change(&mut world, &wish), Kept::Locked { .. }));
}

/// Deletes the pair for a while; others edit the lists of rules, and the time is over.
fn deleted_while(section: &str, edit: impl FnOnce(&mut Vec<Element>)) -> World {
    let mut world = world(Scenario::Open);
    temporary(&mut world, "c1", ConfigurationEdit::Delete, 600);
    world.configuration.tree.edit_list(section, "rule", edit);
    world.advance_to(NOW + 700_000);
    world
}

#[test]
fn it_comes_back_beside_its_neighbours() {
    let order = |world: &World| {
        let rules = world.configuration.tree.list("filter", "rule").iter();
        let names = rules.map(|rule| rule.child_text("tracker").unwrap_or_default().to_owned());
        names.collect::<Vec<_>>()
    };
    let before = order(&world(Scenario::Open));
    let new = || Element::of_texts([("type", "block"), ("interface", "wan"), ("tracker", "9")]);
    let world = deleted_while("filter", |rules| drop(rules.splice(..0, [new(), new()])));
    assert_eq!(ended(&world, "c1").0, ChangeEnding::Done);
    assert_eq!(order(&world)[2..], before);
    let world = deleted_while("filter", |rules| {
        for rule in rules {
            rule.set_child("tracker", "9");
        }
    });
    assert_eq!(ended(&world, "c1").0, ChangeEnding::Done);
    assert_eq!(order(&world).len(), before.len(), "it ends, also where its place is lost");
}

#[test]
fn another_pair_that_was_built_meanwhile_stays() {
    let texts = [("interface", "wan"), ("protocol", "tcp"), ("local-port", "1688")];
    for (target, door, is_copy) in [
        ("k8s_kms_lb", ("network", "wanip"), true),
        ("10.0.20.202", ("address", "192.168.1.77"), true),
        ("10.0.20.50", ("address", "192.168.1.77"), false),
    ] {
        let mut forward = Element::of_texts(texts);
        forward.set_child("target", target);
        forward.set_child("destination", Element::of_texts([door, ("port", "1688")]));
        let world = deleted_while("nat", |rules| rules.push(forward));
        let wanted = if is_copy { ChangeEnding::Stale } else { ChangeEnding::Done };
        assert_eq!(ended(&world, "c1").0, wanted, "{target}");
    }
}
