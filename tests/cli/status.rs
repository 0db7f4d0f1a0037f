//! `kmsctl status` and the commands it is made of, on the demo in every scenario and every form.

use crate::support::environment::TestEnvironment;

const READS: &[&[&str]] = &[
    &["status"],
    &["virusprot", "show"],
    &["rule", "show"],
    &["states"],
    &["states", "--all"],
    &["ratelimit", "show"],
    &["expose", "show"],
];

#[test]
fn every_read_command_answers_in_every_form() {
    let environment = TestEnvironment::new();
    for command in READS {
        for form in ["table", "json", "ndjson", "csv"] {
            let outcome = environment.demo(&[command, &["-o", form][..]].concat());
            assert_eq!(outcome.code, Some(0), "{command:?} {form}: {outcome}");
            assert!(!outcome.stdout.is_empty(), "{command:?} {form}");
            assert!(
                !outcome.stdout.contains('\u{1b}'),
                "{command:?} {form}: colour in a pipe"
            );
            for line in outcome.stdout.lines().filter(|_| form == "ndjson") {
                serde_json::from_str::<serde_json::Value>(line)
                    .unwrap_or_else(|error| panic!("{command:?}: {error}: {line}"));
            }
        }
    }
}

#[test]
fn the_exposure_is_judged_in_every_scenario() {
    let expected = [
        ("absent", "absent"),
        ("closed", "closed"),
        ("drifted", "open"),
        ("half", "half"),
        ("half-filter", "half"),
        ("no-cron", "open"),
        ("open", "open"),
        ("pass-association", "uncapped"),
        ("pf-disabled", "closed"),
        ("php-missing", "open"),
        ("table-missing", "open"),
        ("uncapped", "uncapped"),
    ];
    for (scenario, state) in expected {
        let environment = TestEnvironment::new().variable("KMSCTL_DEMO_SCENARIO", scenario);
        let shown = environment.demo(&["expose", "show", "-o", "json"]).json();
        assert_eq!(
            shown["data"]["state"], state,
            "{scenario}: {:#}",
            shown["data"]["why"]
        );
        let status = environment.demo(&["status", "-o", "json"]).json();
        assert_eq!(status["data"]["expose"]["state"], state, "{scenario}");
    }
}

#[test]
fn one_missing_fact_hides_nothing_else() {
    let environment = TestEnvironment::new().variable("KMSCTL_DEMO_SCENARIO", "php-missing");
    let status = environment.demo(&["status", "-o", "json"]).json();
    assert!(
        status["data"]["virusprot"]["entries"]
            .as_array()
            .is_some_and(|entries| !entries.is_empty()),
        "{status:#}"
    );
    // What cron runs is read without PHP.
    assert_eq!(status["data"]["virusprot"]["expiry"]["kind"], "cron");
    assert!(
        status["data"]["expose"]["nat"]["configured"].is_null(),
        "{status:#}"
    );
    let told: String = status["warnings"].to_string();
    assert!(told.contains("php is not on the firewall"), "{told}");

    let environment = TestEnvironment::new().variable("KMSCTL_DEMO_SCENARIO", "table-missing");
    let status = environment.demo(&["status", "-o", "json"]).json();
    assert!(status["data"]["virusprot"].is_null());
    assert!(
        status["data"]["states"]["sources"]
            .as_array()
            .is_some_and(|sources| !sources.is_empty()),
        "{status:#}"
    );
}

#[test]
fn caps_configured_but_not_loaded_are_named() {
    let environment = TestEnvironment::new().variable("KMSCTL_DEMO_SCENARIO", "drifted");
    let shown = environment
        .demo(&["ratelimit", "show", "-o", "json"])
        .json();
    assert_eq!(
        shown["data"]["configured"]["rate"]["connections"], 10,
        "{shown:#}"
    );
    assert_eq!(
        shown["data"]["loaded"]["rate"]["connections"], 30,
        "{shown:#}"
    );
    let codes =
        environment.demo(&["expose", "show", "-o", "json"]).json()["data"]["why"].to_string();
    assert!(codes.contains("caps-differ"), "{codes}");
}

#[test]
fn the_schemas_have_their_keys() {
    let environment = TestEnvironment::new();
    let keys = |arguments: &[&str], pointer: &str| -> Vec<String> {
        let shown = environment
            .demo(&[arguments, &["-o", "json"]].concat())
            .json();
        let object = shown
            .pointer(pointer)
            .and_then(serde_json::Value::as_object)
            .unwrap_or_else(|| panic!("{arguments:?} {pointer}: {shown:#}"));
        let mut keys: Vec<String> = object.keys().cloned().collect();
        keys.sort();
        keys
    };
    assert_eq!(keys(&["rule", "show"], "/data"), ["block", "filter", "nat"]);
    assert_eq!(
        keys(&["rule", "show"], "/data/filter"),
        [
            "caps",
            "configured",
            "counters",
            "enabled",
            "loaded",
            "tracker"
        ]
    );
    assert_eq!(
        keys(&["rule", "show"], "/data/filter/counters"),
        [
            "bytes",
            "evaluations",
            "packets",
            "state_creations",
            "states"
        ]
    );
    assert_eq!(keys(&["states"], "/data"), ["cap", "notifier", "sources"]);
    assert_eq!(
        keys(&["states"], "/data/sources/0"),
        [
            "address",
            "blocked",
            "bytes_in",
            "bytes_out",
            "counted",
            "established",
            "oldest_seconds",
            "states"
        ]
    );
    assert_eq!(
        keys(&["states", "--all"], "/data"),
        ["cap", "notifier", "sources", "states"]
    );
    assert_eq!(
        keys(&["ratelimit", "show"], "/data"),
        ["configured", "in_force", "loaded", "near", "preset", "why"]
    );
    assert_eq!(
        keys(&["ratelimit", "show"], "/data/loaded"),
        ["max_src_conn", "rate"]
    );
    assert_eq!(
        keys(&["expose", "show"], "/data"),
        ["alias", "caps", "filter", "nat", "paths", "state", "why"]
    );
    assert_eq!(
        keys(&["status"], "/data"),
        [
            "armed",
            "expose",
            "notifier",
            "pf",
            "ratelimit",
            "rule",
            "states",
            "virusprot"
        ]
    );
}

#[test]
fn watch_into_a_pipe_prints_an_object_a_line_over_one_channel() {
    use std::io::{BufRead as _, BufReader};
    use std::process::Stdio;
    let environment = TestEnvironment::new();
    let mut command = environment.command(&["--demo", "rule", "show", "--watch=1s"]);
    command.env_remove("KMSCTL_DEMO_NOW");
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("kmsctl runs");
    let stdout = child.stdout.take().expect("stdout");
    let lines: Vec<String> = BufReader::new(stdout)
        .lines()
        .take(2)
        .map(|line| line.expect("a line"))
        .collect();
    for line in &lines {
        let tick: serde_json::Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(tick["schema"], "kmsctl/rule.show/v1");
    }
    assert_eq!(lines.len(), 2);
    let output = child
        .wait_with_output()
        .expect("kmsctl ends when its reader is gone");
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
