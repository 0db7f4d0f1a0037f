//! `kmsctl ratelimit …`: presets, values, refusals, and changes that revert by themselves.

use serde_json::Value;

use crate::support::environment::TestEnvironment;

fn caps(environment: &TestEnvironment) -> Value {
    let shown = environment
        .demo(&["ratelimit", "show", "-o", "json"])
        .json();
    assert_eq!(
        shown["data"]["configured"], shown["data"]["loaded"],
        "{shown:#}"
    );
    let loaded = &shown["data"]["loaded"];
    serde_json::json!([
        loaded["max_src_conn"],
        loaded["rate"]["connections"],
        loaded["rate"]["seconds"],
        shown["data"]["preset"]
    ])
}

#[test]
fn presets_come_from_the_configuration_and_both_sides_follow() {
    let environment = TestEnvironment::new()
        .variable("KMSCTL_PRESETS_NIGHT_MAX_SRC_CONN", "5")
        .variable("KMSCTL_PRESETS_NIGHT_RATE", "2/30")
        .variable("KMSCTL_PRESETS_LOOSEN_MAX_SRC_CONN", "60")
        .variable("KMSCTL_PRESETS_LOOSEN_RATE", "31/61");
    let cases: [(&[&str], Value); 4] = [
        (&["tighten"], serde_json::json!([10, 3, 60, "tighten"])),
        (
            &["set", "--preset", "night"],
            serde_json::json!([5, 2, 30, "night"]),
        ),
        (&["loosen"], serde_json::json!([60, 31, 61, "loosen"])),
        (&["default"], serde_json::json!([50, 10, 60, "default"])),
    ];
    for (arguments, wanted) in cases {
        environment
            .demo(&[&["ratelimit"], arguments, &["--yes"]].concat())
            .success();
        assert_eq!(caps(&environment), wanted, "{arguments:?}");
    }
}

#[test]
fn set_changes_what_it_names_and_leaves_the_rest() {
    let environment = TestEnvironment::new();
    let set = |arguments: &[&str]| {
        environment.demo(&[&["ratelimit", "set", "--yes"], arguments].concat())
    };
    set(&["--max-src-conn", "7"]).success();
    assert_eq!(caps(&environment), serde_json::json!([7, 10, 60, null]));
    set(&["--rate", "4/20"]).success();
    assert_eq!(caps(&environment), serde_json::json!([7, 4, 20, null]));
    let outcome = set(&["--rate", "none"]);
    assert!(
        outcome.stderr.contains("no address is ever blocked"),
        "{outcome}"
    );
    assert_eq!(caps(&environment), serde_json::json!([7, null, null, null]));
    set(&["--max-src-conn", "50", "--rate", "10/60"]).success();
    assert_eq!(caps(&environment)[3], "default");
}

#[test]
fn bad_values_are_refused_before_any_connection() {
    let environment = TestEnvironment::new();
    let bad: [&[&str]; 16] = [
        &["--max-src-conn", "0"],
        &["--max-src-conn", "-1"],
        &["--max-src-conn", "4294967296"],
        &["--max-src-conn", " 10"],
        &["--max-src-conn", ""],
        &["--max-src-conn", "+5"],
        &["--rate", "10/0"],
        &["--rate", "0/60"],
        &["--rate", "10"],
        &["--rate", "10/"],
        &["--rate", "10 / 60"],
        &["--rate", "10/256"],
        &["--rate", "99999999/60"],
        &["--preset", "nonsense"],
        &["--preset", "tighten", "--rate", "10/60"],
        &[],
    ];
    for arguments in bad {
        let outcome = environment.demo(&[&["ratelimit", "set", "--yes"], arguments].concat());
        assert_eq!(
            (outcome.code, outcome.stdout.as_str()),
            (Some(2), ""),
            "{arguments:?}: {outcome}"
        );
    }
    assert!(
        !environment.home().join(".local").exists(),
        "the demo was not even started"
    );
    let told = environment
        .demo(&["ratelimit", "set", "--preset", "nonsense", "--yes"])
        .fails_with(2);
    assert!(told.contains("default, loosen, tighten"), "{told}");
    for wrong in ["30s", "0s", "31d", "soon", "-1h"] {
        environment
            .demo(&["ratelimit", "tighten", "--yes", &format!("--for={wrong}")])
            .fails_with(2);
    }
}

#[test]
fn caps_are_refused_with_the_reason_where_they_cannot_work() {
    for (scenario, reason) in [
        ("pass-association", "association is \"Pass\""),
        ("absent", "no filter rule"),
    ] {
        let environment = TestEnvironment::new().variable("KMSCTL_DEMO_SCENARIO", scenario);
        let told = environment
            .demo(&["ratelimit", "tighten", "--yes"])
            .fails_with(1);
        assert!(
            told.contains(reason) && told.contains("kmsctl --demo expose apply"),
            "{scenario}: {told}"
        );
    }
}

#[test]
fn who_would_be_cut_is_told_before() {
    let environment = TestEnvironment::new();
    let plan = environment
        .demo(&["ratelimit", "tighten", "--dry-run", "-o", "json"])
        .json();
    let risks = plan["data"]["risks"].as_array().expect("risks").clone();
    let codes: Vec<&str> = risks
        .iter()
        .filter_map(|risk| risk["code"].as_str())
        .collect();
    assert!(
        codes.contains(&"counters-restart") && codes.contains(&"stay-blocked"),
        "{codes:?}"
    );
    let cut = risks
        .iter()
        .find(|risk| risk["code"] == "cut-soon")
        .expect("who");
    assert!(
        cut["message"]
            .as_str()
            .expect("a text")
            .contains("more than 10 connections now"),
        "{cut}"
    );
}

/// Without an id the only armed change is meant; once more is nothing to do.
#[test]
fn keep_without_an_id_means_the_only_armed() {
    let environment = TestEnvironment::new();
    let outcome = |words: &[&str]| {
        let shown = environment
            .demo(&[words, &["--yes", "-o", "json"]].concat())
            .json();
        shown["data"]["outcome"]
            .as_str()
            .expect("an outcome")
            .to_owned()
    };
    assert_eq!(outcome(&["keep"]), "nothing-to-do");
    assert_eq!(outcome(&["ratelimit", "tighten", "--for", "2h"]), "done");
    let armed = environment.demo(&["history", "-o", "json"]).json();
    assert_eq!(armed["data"]["armed"].as_array().map(Vec::len), Some(1));
    assert_eq!(outcome(&["keep"]), "done");
    let armed = environment.demo(&["history", "-o", "json"]).json();
    assert_eq!(armed["data"]["armed"].as_array().map(Vec::len), Some(0));
    assert_eq!(outcome(&["keep"]), "nothing-to-do");
}

#[test]
fn a_temporary_change_reverts_by_itself_unless_it_is_kept() {
    let environment = TestEnvironment::new();
    let at = |time: &str, arguments: &[&str]| {
        let mut command = environment.command(&[&["--demo"], arguments].concat());
        command.env("KMSCTL_DEMO_NOW", time);
        let output = command.output().expect("kmsctl runs");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let (noon, one, late) = (
        "2026-03-02T12:00:00Z",
        "2026-03-02T13:00:00Z",
        "2026-03-02T14:01:30Z",
    );
    let done: Value = serde_json::from_str(&at(
        noon,
        &["ratelimit", "tighten", "--for", "2h", "--yes", "-o", "json"],
    ))
    .expect("JSON");
    assert_eq!(
        done["data"]["reverts_at"], "2026-03-02T14:00:00Z",
        "{done:#}"
    );
    let id = done["data"]["id"].as_str().expect("an id").to_owned();
    for command in ["status", "history"] {
        let shown = at(one, &[command]);
        assert!(
            shown.contains("Armed  ") && shown.contains(&id) && shown.contains("in 1h"),
            "{shown}"
        );
    }
    assert!(at(one, &["ratelimit", "show"]).contains("preset tighten"));
    assert!(at(late, &["ratelimit", "show"]).contains("preset default"));
    assert!(at(late, &["history"]).contains("reverted by itself"));
    assert!(!at(late, &["status"]).contains("Armed"));
    let done: Value = serde_json::from_str(&at(
        late,
        &["ratelimit", "loosen", "--for", "1h", "--yes", "-o", "json"],
    ))
    .expect("JSON");
    let id = done["data"]["id"].as_str().expect("an id").to_owned();
    assert!(at(late, &["keep", &id[..7], "--yes"]).contains("permanent"));
    assert!(at("2026-03-02T18:00:00Z", &["ratelimit", "show"]).contains("preset loosen"));
    let list: Value = serde_json::from_str(&at("2026-03-02T18:00:00Z", &["history", "-o", "json"]))
        .expect("JSON");
    assert_eq!(list["data"]["armed"], serde_json::json!([]));
    assert!(
        list["data"]["entries"][1]["kept_by"].is_string(),
        "{list:#}"
    );
}
