//! `kmsctl notifier replay` and `kmsctl notifier run`.

use std::path::PathBuf;

use crate::support::environment::TestEnvironment;

fn sample(name: &str) -> String {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests/fixtures/vlmcsd", name]
        .iter()
        .collect();
    path.display().to_string()
}

#[test]
fn replay_tells_every_decision_in_every_form() {
    let environment = TestEnvironment::new();
    let log = sample("flood.old.log");
    let table = environment.run(&["notifier", "replay", &log]).success();
    assert_eq!(table.matches("post").count(), 4, "{table}");
    assert!(
        table.contains("Probes") && table.contains("11 ("),
        "{table}"
    );
    let json = environment
        .run(&["notifier", "replay", &log, "-o", "json"])
        .success();
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["schema"], "kmsctl/notifier.replay/v1");
    assert_eq!(json["data"]["summary"]["posts"], 4);
    assert_eq!(json["data"]["summary"]["probes"]["external"], 7);
    assert_eq!(json["data"]["events"].as_array().map(Vec::len), Some(15));
    let lines = environment
        .run(&["notifier", "replay", &log, "-o", "ndjson"])
        .success();
    let events: Vec<serde_json::Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(
        events,
        json["data"]["events"].as_array().cloned().expect("a list")
    );
    let csv = environment
        .run(&["notifier", "replay", &log, "-o", "csv"])
        .success();
    assert_eq!(csv.lines().count(), 16);
}

#[test]
fn replay_of_a_hostile_log_shows_no_control_character() {
    let environment = TestEnvironment::new();
    for form in ["table", "ndjson", "json", "csv"] {
        let text = environment
            .run(&["notifier", "replay", &sample("hostile.old.log"), "-o", form])
            .success();
        let acting = text
            .chars()
            .find(|character| character.is_control() && *character != '\n');
        assert_eq!(acting, None, "{form}");
    }
}

#[test]
fn replay_says_what_is_wrong_with_a_file() {
    let environment = TestEnvironment::new();
    let told = environment
        .run(&["notifier", "replay", "/nonexistent"])
        .fails_with(2);
    assert!(told.contains("cannot be read"), "{told}");
    let told = environment
        .run(&["notifier", "replay", "/tmp"])
        .fails_with(2);
    assert!(told.contains("it is a directory"), "{told}");
}
