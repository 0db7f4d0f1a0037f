//! Filter rules that pf cannot be asked about by a tracker of their own. The scenarios are part of the suite in
//! `apply.rs`, which both the agent under real PHP and the simulator keep.

use kmsctl::domain::pfsense::change::{ChangeEnding, ConfigurationEdit, Element, Placed, Records};

use super::apply::{CAPS, Firewall, apply, back, caps, done, exposure, open_with, reading};

/// The records with another tracker of the filter rule, or none.
fn with_tracker(firewall: &mut impl Firewall, name: &str, tracker: Option<&str>) -> Records {
    let outcome = apply(firewall, name, ConfigurationEdit::Enable);
    assert_eq!(outcome.result, ChangeEnding::NothingToDo);
    let mut records = outcome.before;
    let rule = &mut records.filter.as_mut().expect("a filter rule").record;
    match tracker {
        Some(tracker) => rule.set_child("tracker", tracker),
        None => {
            rule.remove("tracker");
        }
    }
    records
}

/// Without a tracker it is asked about by target and port.
pub fn untracked(firewall: &mut impl Firewall) {
    let records = with_tracker(firewall, "n0", None);
    done(firewall, "n1", back(&records));
    open_with(firewall, CAPS);
    done(firewall, "n2", caps(Some(20), Some((5, 30))));
    done(firewall, "n3", ConfigurationEdit::Disable);
    assert_eq!(exposure(firewall), (None, None));
    done(firewall, "n4", ConfigurationEdit::Enable);
    open_with(firewall, (Some(20), Some((5, 30))));
    let deleted = done(firewall, "n5", ConfigurationEdit::Delete);
    assert_eq!(exposure(firewall), (None, None));
    done(firewall, "n6", back(&deleted.before));
    open_with(firewall, (Some(20), Some((5, 30))));
}

/// A tracker that another rule has as well tells the two apart by their targets; once deleted it could not come back.
pub fn shared_tracker(firewall: &mut impl Firewall) {
    let (loaded, _) = firewall.loaded();
    let others =
        loaded.lines().filter(|line| line.starts_with("pass") && !line.contains("<k8s_kms_lb>"));
    let mut trackers = others.filter_map(|line| line.split_once(" ridentifier 17630000"));
    let last = trackers.next().expect("another rule").1;
    let tracker = format!("17630000{last}");
    let records = with_tracker(firewall, "h0", Some(&tracker));
    done(firewall, "h1", back(&records));
    let (loaded, _) = firewall.loaded();
    let number = format!(" ridentifier {tracker}");
    let bearers = |text: &str| text.lines().filter(|line| line.contains(&number)).count();
    assert_eq!(bearers(&loaded), 2, "{loaded}");
    let outcome = apply(firewall, "h2", ConfigurationEdit::Delete);
    assert_eq!(outcome.result, ChangeEnding::Refused, "it could not come back");
    done(firewall, "h3", ConfigurationEdit::Disable);
    assert_eq!(exposure(firewall), (None, None));
    let (loaded, _) = firewall.loaded();
    assert_eq!(bearers(&loaded), 1, "the other one stays: {loaded}");
    done(firewall, "h4", ConfigurationEdit::Enable);
    open_with(firewall, CAPS);
}

fn record(placed: &mut Option<Placed>) -> &mut Element {
    &mut placed.as_mut().expect("a record").record
}

/// Neither a tracker nor target and port distinguish the rule: no change of it could be proven, so none is made.
pub fn indistinguishable(firewall: &mut impl Firewall) {
    let mut records = with_tracker(firewall, "i0", None);
    let elsewhere = Element::of_texts([("address", "10.0.30.5"), ("port", "1688")]);
    record(&mut records.filter).set_child("destination", elsewhere);
    // Somebody's rule that is joined to no forward, and the exposure's own to the same target.
    let mut theirs = Records { nat: None, ..records.clone() };
    record(&mut theirs.filter).set_child("associated-rule-id", "");
    done(firewall, "i2", back(&theirs));
    done(firewall, "i3", back(&records));
    left_alone(firewall, "another rule has its target and port");
}

/// A rule to anywhere has no target that it could be told by; disabled, it could still be put back.
pub fn to_anywhere(firewall: &mut impl Firewall) {
    let mut records = with_tracker(firewall, "a0", None);
    for placed in [&mut records.nat, &mut records.filter] {
        record(placed).set_child("disabled", "");
    }
    let anywhere = Element::of_texts([("any", ""), ("port", "1688")]);
    record(&mut records.filter).set_child("destination", anywhere);
    done(firewall, "a1", back(&records));
    left_alone(firewall, "cannot be asked about it by target and port");
}

/// What needs pf's word about the filter rule is refused with these words, and nothing is written; the forward is closed alone.
#[track_caller]
fn left_alone(firewall: &mut impl Firewall, words: &str) {
    let before = reading(firewall).revision;
    let loaded = firewall.loaded();
    for (name, change) in [("l1", ConfigurationEdit::Delete), ("l2", caps(Some(20), None))] {
        let outcome = apply(firewall, name, change);
        assert_eq!(outcome.result, ChangeEnding::Refused, "{name}: {outcome:#?}");
        assert!(outcome.message.contains(words), "{name}: {}", outcome.message);
    }
    assert_eq!(reading(firewall).revision, before);
    assert_eq!(firewall.loaded(), loaded);
    let closed = apply(firewall, "l3", ConfigurationEdit::Disable);
    let is_closed = matches!(closed.result, ChangeEnding::Done | ChangeEnding::NothingToDo);
    assert!(is_closed, "{closed:#?}");
    assert_eq!(closed.before.filter, closed.after.filter);
    assert!(record(&mut closed.after.nat.clone()).has_child("disabled"));
    let (filter, nat) = firewall.loaded();
    let passes = |text: &str| -> Vec<String> {
        text.lines().filter(|line| line.starts_with("pass")).map(str::to_owned).collect()
    };
    assert_eq!(passes(&filter), passes(&loaded.0));
    assert!(!nat.contains("k8s_kms_lb"), "{nat}");
}
