//! Rollbacks as the operator meets them: those of another service, those that have fired, and what a history that was
//! altered may not bring back.

use serde_json::{Value, json};

use crate::support::environment::{Outcome, TestEnvironment};

const NOON: &str = "2026-03-02T12:00:00Z";
const LATE: &str = "2026-03-02T14:01:30Z";

/// One run of the demo at a time.
fn at(environment: &TestEnvironment, time: &str, arguments: &[&str]) -> Outcome {
    environment.demo_with(&[("KMSCTL_DEMO_NOW", time)], arguments)
}

/// One run for a second service on the same firewall.
fn of_web(environment: &TestEnvironment, arguments: &[&str]) -> Outcome {
    let service = [
        ("KMSCTL_SERVICE_ALIAS", "web_lb"),
        ("KMSCTL_SERVICE_ADDRESS", "10.0.20.209"),
        ("KMSCTL_SERVICE_PORT", "8443"),
    ];
    environment.demo_with(&service, arguments)
}

fn id(done: &Value) -> String {
    done["data"]["id"].as_str().expect("an id").to_owned()
}

#[test]
fn the_temporary_change_of_another_service_is_in_nobodys_way() {
    let environment = TestEnvironment::new();
    let revoke = ["expose", "revoke", "--for", "1h", "--yes", "-o", "json"];
    let first = id(&environment.demo(&revoke).json());
    let applied = of_web(&environment, &["expose", "apply", "--yes"]);
    assert_eq!(applied.code, Some(0), "{applied}");
    assert!(!applied.stderr.contains("armed"), "{applied}");
    let again = of_web(&environment, &["expose", "apply", "--yes"]).success();
    assert!(again.contains("Nothing to do"), "{again}");
    let second = id(&of_web(&environment, &revoke).json());
    // Both are armed, and told to both; each is kept from either side.
    let status = of_web(&environment, &["status", "-o", "json"]).json();
    let armed = &status["data"]["armed"];
    assert_eq!(armed[0]["id"], first, "{armed:#}");
    assert_eq!(armed[0]["port"], 1688, "{armed:#}");
    assert_eq!(armed[1]["id"], second, "{armed:#}");
    assert_eq!(armed[1]["port"], 8443, "{armed:#}");
    assert_eq!(armed[1]["interface"], "wan", "{armed:#}");
    let status = environment.demo(&["status"]).success();
    assert!(status.contains("(port 8443 on wan)"), "{status}");
    of_web(&environment, &["keep", &first, "--yes"]).success();
    let list = environment.demo(&["history", "-o", "json"]).json();
    assert_eq!(list["data"]["armed"][0]["id"], second, "{list:#}");
}

#[test]
fn what_has_reverted_is_neither_kept_nor_chosen_by_undo() {
    let environment = TestEnvironment::new();
    let caps = |time: &str| {
        let shown = at(&environment, time, &["ratelimit", "show", "-o", "json"]).json();
        shown["data"]["loaded"]["max_src_conn"].clone()
    };
    let change = |more: &[&str]| {
        let done = at(&environment, NOON, &[more, &["--yes", "-o", "json"]].concat());
        id(&done.json())
    };
    let before = caps(NOON);
    change(&["ratelimit", "set", "--max-src-conn", "30"]);
    let temporary = change(&["ratelimit", "tighten", "--for", "1h"]);
    assert_eq!(caps(LATE), json!(30), "it has reverted");
    let told = at(&environment, LATE, &["keep", &temporary, "--yes"]).fails_with(6);
    for part in [temporary.as_str(), "2026-03-02T13:00:00Z", "its time was over"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let local = at(&environment, LATE, &["history", "--local", "-o", "json"]).json();
    assert_eq!(local["data"]["entries"][0]["reverted"], true, "{local:#}");
    let told = at(&environment, LATE, &["history", &temporary]).success();
    assert!(told.contains("Rollback") && told.contains("its time was over"), "{told}");
    at(&environment, LATE, &["undo", "--yes"]).success();
    assert_eq!(caps(LATE), before, "the change before it was taken back");
}

#[test]
fn undo_asks_the_firewall_what_reverted_and_notes_it() {
    let environment = TestEnvironment::new();
    let tighten = ["ratelimit", "tighten", "--for", "1h", "--yes", "-o", "json"];
    let first = id(&at(&environment, NOON, &tighten).json());
    let told = at(&environment, LATE, &["undo", "--yes"]).fails_with(1);
    assert!(told.contains("nothing to take back"), "{told}");
    let local = at(&environment, LATE, &["history", &first, "--local", "-o", "json"]).json();
    let noted = &local["data"]["finish"]["outcome"]["reverted"];
    assert_eq!(noted["result"], "done", "{local:#}");
    at(&environment, LATE, &["history", "--verify"]).success();
    // One that is still armed is taken back as ever.
    at(&environment, LATE, &tighten).success();
    at(&environment, LATE, &["undo", "--yes"]).success();
}

#[test]
fn what_was_superseded_cannot_be_kept() {
    let environment = TestEnvironment::new();
    let revoke = ["expose", "revoke", "--for", "1h", "--yes", "-o", "json"];
    let first = id(&environment.demo(&revoke).json());
    let restore = ["expose", "restore", "--yes", "-o", "json"];
    let second = id(&environment.demo(&restore).json());
    let told = environment.demo(&["keep", &first, "--yes"]).fails_with(6);
    let wanted = format!("superseded by {second}");
    assert!(told.contains(&wanted), "{told}");
    // What is in force and permanent is kept already.
    let told = environment.demo(&["keep", &second, "--yes"]).success();
    assert!(told.contains("Nothing to do"), "{told}");
}

/// Alters what the history says was there before.
fn forge(environment: &TestEnvironment) {
    let path = environment.home().join(".local/state/kmsctl/demo/journal.jsonl");
    let text = std::fs::read_to_string(&path).expect("a history");
    let (from, to) = (r#""max-src-conn":"50""#, r#""max-src-conn":"40000""#);
    let lines = text.lines().map(|line| {
        let ended = line.contains(r#""event":"ended""#);
        let line = if ended { line.replace(from, to) } else { line.to_owned() };
        line + "\n"
    });
    let forged: String = lines.collect();
    assert_ne!(forged, text);
    std::fs::write(path, forged).expect("a forged history");
}

#[test]
fn a_history_that_was_altered_puts_nothing_back() {
    let environment = TestEnvironment::new();
    let tighten = ["ratelimit", "tighten", "--yes", "-o", "json"];
    let first = id(&environment.demo(&tighten).json());
    forge(&environment);
    for undo in [&["undo", "--yes"][..], &["undo", &first, "--yes"]] {
        let told = environment.demo(undo).fails_with(6);
        assert!(told.contains("Line 2 of the history"), "{told}");
    }
    let shown = environment.demo(&["ratelimit", "show", "-o", "json"]).json();
    assert_eq!(shown["data"]["loaded"]["max_src_conn"], 10, "{shown:#}");
}

#[test]
fn a_deletion_is_put_back_from_what_the_firewall_keeps_and_not_from_an_altered_line() {
    let environment = TestEnvironment::new();
    environment.demo(&["expose", "revoke", "--delete", "--yes"]).success();
    forge(&environment);
    environment.demo(&["undo", "--yes"]).fails_with(6);
    environment.demo(&["expose", "restore", "--yes"]).success();
    let shown = environment.demo(&["ratelimit", "show", "-o", "json"]).json();
    assert_eq!(shown["data"]["loaded"]["max_src_conn"], 50, "{shown:#}");
}
