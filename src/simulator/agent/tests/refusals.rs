//! What is refused, what fails, and what then stands.

use super::changes::{caps, id, kms_rules, make, planned, rest, words, world};
use super::request;
use crate::domain::pfsense::change::{ChangeEnding, ConfigurationEdit, OutcomeAnswer, Records};
use crate::pfsense::agent::OutcomeRequest;
use crate::simulator::agent::{answer_outcome as outcome_of, apply_change};
use crate::simulator::scenario::Scenario;

#[test]
fn refusals_change_nothing_and_leave_no_outcome() {
    let refused = |scenario, change: ConfigurationEdit, ending| {
        let mut world = world(scenario);
        let before = (world.configuration.clone(), world.pf.clone());
        let outcome = make(&mut world, "c1", change);
        assert_eq!(outcome.result, ending, "{scenario:?}: {}", outcome.message);
        assert!(!outcome.message.is_empty() && outcome.before == outcome.after);
        assert_eq!((&world.configuration, &world.pf), (&before.0, &before.1));
        let asked = OutcomeRequest { service: request(), id: id("c1"), settle: false };
        assert_eq!(outcome_of(&mut world, &asked), OutcomeAnswer::Unknown);
        outcome
    };
    refused(Scenario::PassAssociation, caps(10, (3, 60)), ChangeEnding::Refused);
    refused(Scenario::Absent, caps(10, (3, 60)), ChangeEnding::Refused);
    refused(Scenario::Absent, ConfigurationEdit::Disable, ChangeEnding::Refused);
    refused(Scenario::OldTarget, ConfigurationEdit::Disable, ChangeEnding::Refused);
    refused(Scenario::PassAssociation, ConfigurationEdit::Enable, ChangeEnding::NothingToDo);
    refused(Scenario::Open, caps(0, (3, 60)), ChangeEnding::Refused);
    refused(Scenario::Open, caps(10, (3, 0)), ChangeEnding::Refused);
    refused(Scenario::Open, caps(10, (3, 256)), ChangeEnding::Refused);
    refused(Scenario::DiskFull, ConfigurationEdit::Disable, ChangeEnding::Refused);
    refused(Scenario::PfDisabled, ConfigurationEdit::Disable, ChangeEnding::Refused);
    refused(Scenario::Drifted, ConfigurationEdit::Disable, ChangeEnding::Pending);
    let locked = refused(Scenario::Locked, ConfigurationEdit::Disable, ChangeEnding::Locked);
    assert_eq!(locked.holder.unwrap().who, "anna@desk");
    assert_eq!(words(&self::world(Scenario::Locked)).unfinished.len(), 1);
}

#[test]
fn a_plan_of_something_else_is_stale() {
    let mut world = world(Scenario::Open);
    let mut late = planned(&world, "c2", ConfigurationEdit::Disable);
    assert_eq!(make(&mut world, "c1", caps(10, (3, 60))).result, ChangeEnding::Done);
    assert_eq!(apply_change(&mut world, &late).result, ChangeEnding::Stale);
    late.expect = words(&world).digest_of_rules();
    assert_eq!(
        apply_change(&mut world, &late).result,
        ChangeEnding::Stale,
        "its records are not there"
    );
    late = planned(&world, "c2", ConfigurationEdit::Disable);
    assert_eq!(
        apply_change(&mut world, &late).result,
        ChangeEnding::Done,
        "a stale one may be planned anew"
    );
    // Neighbours are not part of the plan.
    let before = words(&world).fingerprint;
    world.configuration.tree.edit_list("nat", "rule", |rules| rules[0].set_child("descr", "other"));
    assert_eq!(words(&world).fingerprint, before);
    world.configuration.tree.set_child(
        "nat",
        "separator",
        crate::domain::pfsense::change::Element::default(),
    );
    assert_ne!(words(&world).fingerprint, before, "separators are");
}

#[test]
fn pending_changes_are_applied_along_when_that_is_wanted() {
    let mut world = world(Scenario::Drifted);
    let mut request = planned(&world, "c1", ConfigurationEdit::Disable);
    request.with_pending = true;
    assert_eq!(apply_change(&mut world, &request).result, ChangeEnding::Done);
    assert!(words(&world).dirty.is_empty() && kms_rules(&world).is_empty());
}

#[test]
fn what_does_not_load_is_rolled_back() {
    let mut world = world(Scenario::LoadFails);
    let before = (rest(&world.configuration), world.pf.filter.clone());
    let outcome = make(&mut world, "c1", ConfigurationEdit::Disable);
    assert_eq!((outcome.result, &outcome.before), (ChangeEnding::RolledBack, &outcome.after));
    assert_eq!(rest(&world.configuration), before.0);
    assert_eq!(kms_rules(&world).len(), 2);
    assert!(outcome.steps.iter().any(|step| step.name == "roll-back" && step.ok));
    // By itself, too: half a rate, which only hand-made records can have.
    let mut world = super::changes::world(Scenario::Uncapped);
    let mut records: Records = outcome.before;
    let record = &mut records.filter.as_mut().unwrap().record;
    record.remove("max-src-conn");
    record.remove("max-src-conn-rates");
    let change = ConfigurationEdit::PutBack { records: Box::new(records), alias: false };
    let outcome = make(&mut world, "c2", change);
    assert_eq!(outcome.result, ChangeEnding::RolledBack, "{}", outcome.message);
    assert!(kms_rules(&world)[0].contains("keep state label"));
}

#[test]
fn the_other_ways_to_fail() {
    let mut unproven = world(Scenario::Unproven);
    let outcome = make(&mut unproven, "c1", ConfigurationEdit::Disable);
    assert_eq!(outcome.result, ChangeEnding::Unproven);
    assert_eq!(kms_rules(&unproven).len(), 2, "pf goes on with what it has");
    let mut unwritten = world(Scenario::WriteFails);
    let before = unwritten.configuration.clone();
    assert_eq!(make(&mut unwritten, "c1", ConfigurationEdit::Disable).result, ChangeEnding::Failed);
    assert_eq!(unwritten.configuration, before);
    let mut lost = world(Scenario::LostUpdate);
    let outcome = make(&mut lost, "c1", ConfigurationEdit::Disable);
    assert_eq!(outcome.result, ChangeEnding::Done);
    let path = outcome.lost_update.unwrap();
    let time =
        path.strip_prefix("/conf/kmsctl/lost-c1-").and_then(|rest| rest.strip_suffix(".xml"));
    assert!(time.is_some_and(|time| time.parse::<u64>().is_ok()), "{path}");
    assert!(words(&lost).history[1].username.as_deref().unwrap().starts_with("anna@"));
}
