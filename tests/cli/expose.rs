//! `kmsctl expose …`: closes and opens the exposure, from every condition, and nothing else with it.

use serde_json::Value;

use crate::support::environment::TestEnvironment;

fn show(environment: &TestEnvironment) -> Value {
    environment.demo(&["expose", "show", "-o", "json"]).json()["data"].clone()
}

fn done(environment: &TestEnvironment, arguments: &[&str]) -> Value {
    environment
        .demo(&[arguments, &["--yes", "-o", "json"]].concat())
        .json()["data"]
        .clone()
}

fn sources(environment: &TestEnvironment) -> usize {
    environment
        .demo(&["states", "-o", "ndjson"])
        .success()
        .lines()
        .count()
}

#[test]
fn revoke_closes_and_ends_connections_and_restore_opens_again() {
    let environment = TestEnvironment::new();
    let before = show(&environment);
    let revoked = done(&environment, &["expose", "revoke"]);
    assert_eq!(
        (&revoked["outcome"], &revoked["after"]["exposure"]),
        (&Value::from("done"), &Value::from("closed"))
    );
    assert!(
        revoked["states_ended"]
            .as_u64()
            .is_some_and(|ended| ended > 0),
        "{revoked:#}"
    );
    assert_eq!(show(&environment)["state"], "closed");
    assert_eq!(sources(&environment), 0);
    assert_eq!(
        done(&environment, &["expose", "revoke"])["outcome"],
        "nothing-to-do"
    );
    assert_eq!(
        done(&environment, &["expose", "restore"])["outcome"],
        "done"
    );
    let after = show(&environment);
    assert_eq!(
        (&after["state"], &after["caps"]),
        (&before["state"], &before["caps"])
    );
    assert_eq!(
        done(&environment, &["expose", "restore"])["outcome"],
        "nothing-to-do"
    );
}

#[test]
fn keep_states_leaves_connections_and_says_so() {
    let environment = TestEnvironment::new();
    let outcome = environment.demo(&["expose", "revoke", "--keep-states", "--yes"]);
    assert!(
        outcome.stderr.contains("open connections live on"),
        "{outcome}"
    );
    assert!(sources(&environment) > 0);
    assert_eq!(show(&environment)["state"], "closed");
    let ended = done(&environment, &["expose", "revoke"]);
    assert!(
        ended["states_ended"]
            .as_u64()
            .is_some_and(|ended| ended > 0),
        "closed already, and now the connections: {ended:#}"
    );
    assert_eq!(sources(&environment), 0);
}

#[test]
fn delete_is_put_back_verbatim_by_restore_and_by_undo() {
    for way in [&["expose", "restore"][..], &["undo"]] {
        let environment = TestEnvironment::new();
        done(&environment, &["ratelimit", "set", "--max-src-conn", "33"]);
        let before = show(&environment);
        let deleted = done(&environment, &["expose", "revoke", "--delete"]);
        assert_eq!(deleted["after"]["exposure"], "absent");
        assert_eq!(show(&environment)["state"], "absent");
        let id = deleted["id"].as_str().expect("an id");
        let entry = environment.demo(&["history", id, "-o", "json"]).json();
        let records = &entry["data"]["finish"]["outcome"]["before"];
        assert_eq!(
            records["filter"]["record"]["tracker"], "1763000004",
            "{records:#}"
        );
        assert_eq!(done(&environment, way)["outcome"], "done");
        let after = show(&environment);
        for key in ["state", "caps", "alias"] {
            assert_eq!(after[key], before[key], "{way:?} {key}");
        }
        for key in ["nat", "filter"] {
            assert_eq!(
                after[key]["tracker"], before[key]["tracker"],
                "{way:?} {key}"
            );
        }
        // Once more by undo: the records are what they were before the deletion, so there is nothing to take back.
        let told = environment.demo(&["undo", id, "--yes"]);
        assert!(
            told.stdout.contains("Nothing to do") || told.stderr.contains("already"),
            "{told}"
        );
    }
}

#[test]
fn apply_makes_it_so_from_any_condition_and_is_idle_the_second_time() {
    for scenario in [
        "absent",
        "closed",
        "half",
        "half-filter",
        "pass-association",
        "old-target",
        "uncapped",
        "open",
    ] {
        let environment = TestEnvironment::new().variable("KMSCTL_DEMO_SCENARIO", scenario);
        let first = done(&environment, &["expose", "apply"]);
        let wanted = if scenario == "open" {
            "nothing-to-do"
        } else {
            "done"
        };
        assert_eq!(first["outcome"], wanted, "{scenario}: {first:#}");
        let shown = show(&environment);
        assert_eq!(shown["state"], "open", "{scenario}: {:#}", shown["why"]);
        assert_eq!(
            shown["caps"]["loaded"]["rate"]["connections"], 10,
            "{scenario}"
        );
        assert_eq!(
            done(&environment, &["expose", "apply"])["outcome"],
            "nothing-to-do",
            "{scenario}"
        );
    }
}

#[test]
fn restore_builds_where_nothing_was_saved() {
    let environment = TestEnvironment::new().variable("KMSCTL_DEMO_SCENARIO", "absent");
    let outcome = environment.demo(&["expose", "restore", "--yes"]);
    assert!(
        outcome.stderr.contains("built from kmsctl's configuration"),
        "{outcome}"
    );
    assert_eq!(show(&environment)["state"], "open");
    done(&environment, &["undo"]);
    assert_eq!(show(&environment)["state"], "absent");
}

#[test]
fn a_temporary_opening_closes_by_itself() {
    let environment = TestEnvironment::new().variable("KMSCTL_DEMO_SCENARIO", "closed");
    let opened = done(&environment, &["expose", "restore", "--for", "30m"]);
    assert!(opened["reverts_at"].is_string(), "{opened:#}");
    assert_eq!(show(&environment)["state"], "open");
    let later = environment.variable("KMSCTL_DEMO_NOW", "2026-03-01T13:30:00Z");
    assert_eq!(show(&later)["state"], "closed");
}
