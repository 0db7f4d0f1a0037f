//! Whose saved rules are, and where they may come back. The scenarios are part of the suite in `apply.rs`, which both the
//! agent under real PHP and the simulator keep.

use kmsctl::domain::pfsense::change::{ChangeEnding, ConfigurationEdit, Deleted, Element, Records};
use kmsctl::pfsense::agent;
use kmsctl::pfsense::agent::{AgentRequest, ReadRequest};

use super::agent::{nonce, request};
use super::apply::{
    CAPS, Firewall, apply, asked_of, back, done, exposure, id, open_with, reading, send, unsent,
};

/// Another service on the same port of the same interface.
fn another() -> ReadRequest {
    ReadRequest { alias: "k8s_new_lb".into(), address: [10, 0, 20, 203].into(), ..request() }
}

fn deleted(firewall: &mut impl Firewall, service: &ReadRequest) -> Option<Deleted> {
    let stdout = firewall.ask(&AgentRequest::Read(service.clone()));
    let read = agent::parse_agent_answer(&stdout, &nonce(), service).expect("a reading");
    read.deleted
}

/// Sends a change of the other service.
#[expect(clippy::needless_pass_by_value, reason = "a change is named where it is made")]
fn theirs(
    firewall: &mut impl Firewall,
    name: &str,
    change: ConfigurationEdit,
) -> (ChangeEnding, String) {
    let stdout = firewall.ask(&AgentRequest::Read(another()));
    let read = agent::parse_agent_answer(&stdout, &nonce(), &another()).expect("a reading");
    let outcome = match asked_of(&read, another(), name, &change) {
        Ok(asked) => send(firewall, asked),
        Err(refusal) => unsent(name, refusal),
    };
    (outcome.result, outcome.message)
}

pub fn another_alias_is_another_service(firewall: &mut impl Firewall) {
    let records = done(firewall, "o1", ConfigurationEdit::Delete).before;
    assert_eq!(deleted(firewall, &another()), None);
    let told = deleted(firewall, &request()).expect("what was deleted");
    assert_eq!(told.id.as_str(), "o1");
    let before = reading(firewall).revision;
    let mut halves = [records.clone(), records.clone()];
    halves[0].nat = None;
    halves[1].filter = None;
    for (at, records) in [&records, &halves[0], &halves[1]].into_iter().enumerate() {
        let (result, message) = theirs(firewall, &format!("o2{at}"), back(records));
        assert_eq!(result, ChangeEnding::Refused, "{at}: {message}");
        assert!(message.contains("not those of k8s_new_lb"), "{message}");
    }
    let port = |port: u16| ReadRequest { port, ..request() };
    assert_eq!(deleted(firewall, &port(1689)), None);
    assert_eq!(reading(firewall).revision, before);
    assert_eq!(exposure(firewall), (None, None));
    done(firewall, "o3", back(&records));
    open_with(firewall, CAPS);
}

/// What `apply` had led here goes back to elsewhere in the place of what is ours; it is not put where nothing is.
pub fn to_elsewhere_only_in_the_place_of_ours(firewall: &mut impl Firewall) {
    let ours = apply(firewall, "p0", ConfigurationEdit::Enable).before;
    let mut foreign: Records = ours.clone();
    for placed in [&mut foreign.nat, &mut foreign.filter].into_iter().flatten() {
        placed.record.set_child("associated-rule-id", "nat_theirs.1");
        placed.record.set_child("target", "10.0.30.5");
        let to = Element::of_texts([("network", "wanip"), ("port", "1688")]);
        placed.record.set_child("destination", to);
    }
    if let Some(filter) = &mut foreign.filter {
        filter.record.remove("target");
        let to = Element::of_texts([("address", "10.0.30.5"), ("port", "1688")]);
        filter.record.set_child("destination", to);
    }
    let led_elsewhere = done(firewall, "p1", back(&foreign));
    assert_eq!(exposure(firewall), (None, None));
    assert_eq!(led_elsewhere.after.nat, foreign.nat);
    // The association tells that it is the same forward.
    let mut joined = ours;
    for placed in [&mut joined.nat, &mut joined.filter].into_iter().flatten() {
        placed.record.set_child("associated-rule-id", "nat_theirs.1");
    }
    done(firewall, "p2", back(&joined));
    open_with(firewall, CAPS);
    done(firewall, "p3", ConfigurationEdit::Delete);
    let refused = apply(firewall, "p4", back(&foreign));
    assert_eq!(refused.result, ChangeEnding::Refused, "{refused:#?}");
    assert_eq!(exposure(firewall), (None, None));
}

pub fn an_unproven_deletion_is_found(firewall: &mut impl Firewall) {
    let records = done(firewall, "q1", ConfigurationEdit::Delete).before;
    firewall.unprove(&id("q1"));
    let told = deleted(firewall, &request()).expect("what was deleted");
    assert_eq!((told.id.as_str(), &told.records), ("q1", &records));
    done(firewall, "q2", back(&told.records));
    open_with(firewall, CAPS);
    // Where the rules are there, nothing is gone.
    assert_eq!(deleted(firewall, &request()), None);
}

/// Such a forward has no filter rule, so it is the whole pair.
pub fn passing_by_itself(firewall: &mut impl Firewall) {
    let mut records = apply(firewall, "s0", ConfigurationEdit::Enable).before;
    records.filter = None;
    let nat = &mut records.nat.as_mut().expect("a forward").record;
    nat.set_child("associated-rule-id", "pass");
    done(firewall, "s1", back(&records));
    let is_open = |firewall: &mut _| {
        let (filter, nat) = exposure(firewall);
        assert_eq!(filter, None);
        nat.is_some()
    };
    assert!(is_open(firewall));
    for (name, change, open) in [
        ("s2", ConfigurationEdit::Disable, false),
        ("s3", ConfigurationEdit::Enable, true),
        ("s4", ConfigurationEdit::Delete, false),
        ("s5", back(&records), true),
    ] {
        done(firewall, name, change);
        assert_eq!(is_open(firewall), open, "{name}");
    }
}
