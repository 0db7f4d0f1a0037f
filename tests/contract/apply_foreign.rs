//! What `build` leaves alone: who may connect, and other people's port forwards of the same port. The scenarios are
//! part of the suite in `apply.rs`, which both the agent under real PHP and the simulator keep.

use kmsctl::domain::pfsense::change::{
    ChangeEnding, ChangeOutcome, ConfigurationEdit, Element, Placed, Records,
};
use kmsctl::pfsense::agent;
use kmsctl::pfsense::agent::{AgentRequest, ApplyRequest, ReadRequest};

use super::agent::{nonce, request};
use super::apply::{
    CAPS, Firewall, apply, asked, asked_of, back, build, done, open_with, reading, send,
};

fn texts(pairs: &[(&str, &str)]) -> Element {
    Element::of_texts(pairs.iter().copied())
}

fn each(records: &mut Records) -> impl Iterator<Item = &mut Element> {
    let placed = [&mut records.nat, &mut records.filter];
    placed.into_iter().flatten().map(|placed| &mut placed.record)
}

fn whole(change: ConfigurationEdit) -> ConfigurationEdit {
    let ConfigurationEdit::Build { description, max_src_conn, rate, .. } = change else {
        panic!("{change:?}")
    };
    ConfigurationEdit::Build { description, max_src_conn, rate, alias: true }
}

/// A source limit on both rules is not what is built, so it is neither a difference nor removed by another one.
pub fn sources_stay(firewall: &mut impl Firewall) {
    let deleted = done(firewall, "w0", ConfigurationEdit::Delete);
    let mut limited = deleted.before.clone();
    for record in each(&mut limited) {
        record.set_child("source", texts(&[("address", "10.99.0.0/16")]));
    }
    let limited = done(firewall, "w1", back(&limited)).after;
    for (name, change) in [("w2", build(50, (10, 60))), ("w3", whole(build(50, (10, 60))))] {
        let outcome = apply(firewall, name, change);
        assert_eq!(outcome.result, ChangeEnding::NothingToDo, "{outcome:#?}");
    }
    let outcome = done(firewall, "w4", whole(build(20, (5, 30))));
    open_with(firewall, (Some(20), Some((5, 30))));
    let source = |placed: &Option<Placed>| {
        let placed = placed.as_ref().expect("a record");
        placed.record.get("source").cloned()
    };
    let told = |records: &Records| (source(&records.nat), source(&records.filter));
    assert_eq!(told(&outcome.after), told(&limited));
    assert_eq!(outcome.after.nat, limited.nat, "nothing in it differed");
    assert_ne!(outcome.after.filter, limited.filter);
}

/// Leaves, instead of the exposure, a port forward of its port from `destination` to 10.0.30.5, and the filter rule
/// 1700000009; joined if `association` is not empty.
fn somebody_elses(firewall: &mut impl Firewall, destination: &Element, association: &str) {
    let mut foreign = apply(firewall, "e0", ConfigurationEdit::Enable).before;
    for record in each(&mut foreign) {
        record.set_child("descr", "Theirs");
        record.set_child("associated-rule-id", association);
    }
    if let Some(placed) = &mut foreign.nat {
        placed.record.set_child("target", "10.0.30.5");
        placed.record.set_child("destination", destination.clone());
    }
    if let Some(placed) = &mut foreign.filter {
        let to = texts(&[("address", "10.0.30.5"), ("port", "1688")]);
        placed.record.set_child("destination", to);
        placed.record.set_child("tracker", "1700000009");
    }
    done(firewall, "e1", back(&foreign));
}

/// Returns what the firewall says of these two rules.
fn theirs(firewall: &mut impl Firewall) -> (Option<String>, Option<String>) {
    let configured = reading(firewall);
    let nat = configured.nat.into_iter().find(|rule| rule.descr.as_deref() == Some("Theirs"));
    let filter =
        configured.filter.into_iter().find(|rule| rule.tracker.as_deref() == Some("1700000009"));
    (nat.map(|rule| format!("{rule:?}")), filter.map(|rule| format!("{rule:?}")))
}

fn tracker(outcome: &ChangeOutcome) -> String {
    let placed = outcome.after.filter.as_ref().expect("a filter rule");
    placed.record.child_text("tracker").expect("a tracker").to_owned()
}

/// A virtual address's port 1688 is another service, whoever asks.
pub fn another_address_is_not_ours(firewall: &mut impl Firewall) {
    let virtual_address = texts(&[("address", "203.0.113.9"), ("port", "1688")]);
    somebody_elses(firewall, &virtual_address, "nat_theirs.1");
    let before = theirs(firewall);
    assert!(before.0.is_some() && before.1.is_some(), "{before:?}");
    let restored = done(firewall, "e2", build(50, (10, 60)));
    open_with(firewall, CAPS);
    assert_eq!((&restored.before.nat, &restored.before.filter), (&None, &None));
    assert_eq!(theirs(firewall), before);
    done(firewall, "e3", back(&restored.before));
    let applied = done(firewall, "e4", whole(build(50, (10, 60))));
    assert_ne!(tracker(&applied), "1700000009");
    assert_eq!(theirs(firewall), before);
}

/// The interface's own address led elsewhere is corrected by `apply`, and by nothing else.
pub fn only_apply_retargets(firewall: &mut impl Firewall) {
    let own = texts(&[("network", "wanip"), ("port", "1688")]);
    somebody_elses(firewall, &own, "nat_theirs.1");
    let before = theirs(firewall);
    let refused = apply(firewall, "e2", build(50, (10, 60)));
    assert_eq!(refused.result, ChangeEnding::Refused, "{refused:#?}");
    assert!(refused.message.contains("elsewhere (10.0.30.5)"), "{}", refused.message);
    assert_eq!(theirs(firewall), before);
    let applied = done(firewall, "e3", whole(build(50, (10, 60))));
    open_with(firewall, CAPS);
    assert_eq!(tracker(&applied), "1700000009", "its filter rule leads here now");
    done(firewall, "e4", back(&applied.before));
    assert_eq!(theirs(firewall), before);
}

/// A filter rule that is not joined to the forward may let in what others bring.
pub fn filter_rules_to_elsewhere_stay(firewall: &mut impl Firewall) {
    let own = texts(&[("network", "wanip"), ("port", "1688")]);
    somebody_elses(firewall, &own, "");
    let before = theirs(firewall);
    let applied = done(firewall, "e2", whole(build(50, (10, 60))));
    open_with(firewall, CAPS);
    assert_ne!(tracker(&applied), "1700000009");
    assert_eq!(theirs(firewall).1, before.1);
    done(firewall, "e3", back(&applied.before));
    assert_eq!(theirs(firewall), before);
}

/// Two services on one firewall are two: neither's temporary change concerns the other's rules.
pub fn another_services_rollback(firewall: &mut impl Firewall) {
    let deadline = Some(4_000_000_000);
    let own =
        ApplyRequest { revert_at: deadline, ..asked(firewall, "o1", ConfigurationEdit::Disable) };
    assert_eq!(send(firewall, own).result, ChangeEnding::Done);
    let service = ReadRequest {
        alias: "web_lb".into(),
        address: [10, 0, 20, 209].into(),
        port: 8443,
        ..request()
    };
    let stdout = firewall.ask(&AgentRequest::Read(service.clone()));
    let read = agent::parse_agent_answer(&stdout, &nonce(), &service).expect("a reading");
    let mut change = build(20, (5, 60));
    if let ConfigurationEdit::Build { alias, .. } = &mut change {
        *alias = true;
    }
    let other = ApplyRequest {
        revert_at: deadline,
        ..asked_of(&read, service, "o2", &change).expect("an edit")
    };
    let outcome = send(firewall, other);
    assert_eq!(outcome.result, ChangeEnding::Done, "{outcome:#?}");
    let armed = reading(firewall).armed;
    let told: Vec<(&str, u16, &str)> = armed
        .iter()
        .map(|armed| (armed.id.as_str(), armed.port, armed.interface.as_str()))
        .collect();
    assert_eq!(told, [("o1", 1688, "wan"), ("o2", 8443, "wan")]);
}
