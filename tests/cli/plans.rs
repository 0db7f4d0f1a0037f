//! Plans in files, and what is taken for one: whose they are, and that they say what they do.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::environment::TestEnvironment;

fn make_pipe(path: &Path) {
    let made = Command::new("mkfifo").arg(path).status().expect("mkfifo");
    assert!(made.success());
}

/// Writes into a named pipe as soon as somebody reads it; never, if nobody does.
fn feed(path: &Path, text: Vec<u8>) {
    let path = path.to_owned();
    std::thread::spawn(move || std::fs::write(path, text));
}

#[test]
fn a_plan_in_a_named_pipe_is_refused_and_not_waited_for() {
    let environment = TestEnvironment::new();
    environment
        .demo(&["ratelimit", "tighten", "--plan-out", "plan.json"])
        .success();
    let plan = std::fs::read(environment.home().join("plan.json")).expect("a plan");
    let pipe = environment.home().join("pipe");
    make_pipe(&pipe);
    // Whoever waited for it would get a good one.
    feed(&pipe, plan);
    let told = environment.demo(&["apply", "pipe", "--yes"]).fails_with(2);
    assert!(told.contains("it is not a plain file"), "{told}");
}

#[test]
fn a_history_that_is_a_named_pipe_is_refused_and_not_waited_for() {
    let environment = TestEnvironment::new();
    environment
        .demo(&["ratelimit", "tighten", "--yes"])
        .success();
    let journal = environment
        .home()
        .join(".local/state/kmsctl/demo/journal.jsonl");
    std::fs::remove_file(&journal).expect("a history");
    make_pipe(&journal);
    feed(&journal, Vec::new());
    let told = environment.demo(&["history", "--local"]).fails_with(1);
    assert!(told.contains("it is not a plain file"), "{told}");
    let told = environment
        .demo(&["ratelimit", "loosen", "--yes"])
        .fails_with(1);
    assert!(told.contains("it is not a plain file"), "{told}");
}

#[test]
fn where_there_is_nothing_to_do_no_plan_is_saved_and_that_is_said() {
    let environment = TestEnvironment::new();
    let idle = environment.demo(&["expose", "apply", "--plan-out", "plan.json"]);
    assert!(idle.stdout.contains("Nothing to do"), "{idle}");
    assert!(
        idle.stderr.contains("No plan was saved: plan.json"),
        "{idle}"
    );
    assert_eq!(idle.code, Some(0));
    assert!(!environment.home().join("plan.json").exists());
}

#[test]
fn a_plan_is_carried_out_in_the_name_of_whoever_applies_it() {
    let environment = TestEnvironment::new().variable("USER", "anna");
    environment
        .demo(&["ratelimit", "tighten", "--plan-out", "plan.json"])
        .success();
    let environment = environment.variable("USER", "boris");
    let done = environment
        .demo(&["apply", "plan.json", "--yes", "-o", "json"])
        .json();
    let id = done["data"]["id"].as_str().expect("an id");
    let whole = environment.demo(&["history", id, "-o", "json"]).json();
    assert_eq!(whole["data"]["who"], "boris@demo");
    assert_eq!(whole["data"]["plan"]["who"], "anna@demo");
    let told = environment.demo(&["history", id]).success();
    let told = told.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        told.contains("Who boris@demo Planned by anna@demo"),
        "{told}"
    );
    // What pfSense's own history says of it.
    let journal = ".local/state/kmsctl/demo/journal.jsonl";
    std::fs::remove_file(environment.home().join(journal)).expect("a history");
    let listed = environment.demo(&["history", "-o", "json"]).json();
    let entries = listed["data"]["entries"].as_array().expect("entries");
    let ours = entries.iter().find(|entry| entry["id"] == id);
    let who = ours.map(|entry| &entry["who"]);
    assert_eq!(who, Some(&Value::from("boris@demo")), "{listed:#}");
}
