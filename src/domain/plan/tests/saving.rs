//! Saved plans: read back whole, refused when edited, stale by name.

use super::*;

#[test]
fn a_saved_plan_comes_back_and_every_edit_shows() {
    let plan = sealed();
    let text = serde_json::to_string_pretty(&plan).unwrap();
    assert_eq!(Plan::read(&text), Ok(plan));
    for (from, to) in [
        ("203.0.113.9", "203.0.113.8"),
        ("\"demo\"", "\"fw\""),
        ("virusprot flush", "virusprot show"),
        ("\"reverts_after\": null", "\"reverts_after\": 60"),
    ] {
        let edited = text.replacen(from, to, 1);
        assert_ne!(edited, text, "{from}");
        assert_eq!(Plan::read(&edited), Err(PlanError::Edited), "{from}");
    }
    let newer = text.replacen("kmsctl/plan/v1", "kmsctl/plan/v2", 1);
    assert_eq!(Plan::read(&newer), Err(PlanError::NewerSchema("kmsctl/plan/v2".into())));
    for none in ["", "{}", "[]", "null", "{\"schema\": \"kmsctl/change/v1\"}", "\u{0}"] {
        assert!(matches!(Plan::read(none), Err(PlanError::NotAPlan(_))), "{none:?}");
    }
    let more = text.replacen('{', "{\"surplus\": 1,", 1);
    assert!(matches!(Plan::read(&more), Err(PlanError::NotAPlan(_))));
    let hostile = text.replace("203.0.113.9", "203.0.113.9\\nreboot");
    assert!(matches!(Plan::read(&hostile), Err(PlanError::NotAPlan(_))));
}

#[test]
fn ids_tell_apart_what_happens_at_one_moment() {
    let draft =
        || draft(plan_freeing(&entries(), &TableChoice::All, &table(), now(), &SourceCounts::Kept));
    let id = |salt: &str| Plan::seal(draft(), author(), salt).id;
    assert_eq!(id("0"), id("0"));
    assert_ne!(id("0"), id("2"));
    assert_eq!(id("0").as_str().len(), 12);
}

#[test]
fn what_moved_is_named() {
    let seen = Seen::of(entry_facts(entries()[..2].iter()));
    assert_eq!(seen.moved(&seen.facts), Vec::<String>::new());
    let now = entry_facts([entry("203.0.113.5", 10)].iter());
    assert_eq!(
        seen.moved(&now),
        [
            "203.0.113.5: was blocked since 2026-03-01T11:59:00Z, is blocked since 2026-03-01T11:59:50Z",
            "203.0.113.9: was blocked since 2026-03-01T10:00:00Z, is nothing",
        ]
    );
}

#[test]
fn a_plan_with_records_keeps_the_order_of_their_elements() {
    let saved = saved(records("1688"));
    let plan = Plan::seal(draft(restored(&Box_::absent(), Some(&saved))), author(), "0");
    let text = serde_json::to_string_pretty(&plan).unwrap();
    assert!(text.find("\"z\"").unwrap() < text.find("\"tracker\"").unwrap());
    assert_eq!(Plan::read(&text), Ok(plan));
}

#[test]
fn clauses_become_sentences_and_names_stay_as_they_are() {
    for (clause, wanted) in [
        ("it is so already", "It is so already."),
        ("pf does not run the rule", "pf does not run the rule."),
        ("anna@desk is making a change", "anna@desk is making a change."),
    ] {
        assert_eq!(as_sentence(clause), wanted);
    }
}

proptest::proptest! {
    #[test]
    fn no_text_panics_as_a_plan(text in ".{0,200}") {
        let _ = Plan::read(&text);
        let _ = text.parse::<Address>();
    }
}

#[test]
fn consent_covers_what_waited_then_alone() {
    let facts = |dirty: &[&str], saved: &str| {
        let on = Box_::open().changed(|configured| {
            configured.dirty = dirty.iter().map(|&what| what.to_owned()).collect();
            configured.revision.time = Some(saved.to_owned());
        });
        configuration_facts(&on.configured, &fixtures::service())
    };
    let then = Seen::of(facts(&["filter"], "1795350619"));
    assert_eq!(then.moved(&facts(&["filter"], "1795350619")), Vec::<String>::new());
    for (dirty, saved) in [(&["filter"][..], "1795350700"), (&[], "1795350619")] {
        assert_eq!(then.moved(&facts(dirty, saved)).len(), 1, "{dirty:?} {saved}");
    }
    let none = Seen::of(facts(&[], "1795350619"));
    assert!(none.moved(&facts(&[], "1795350700")).is_empty(), "nothing waits");
}
