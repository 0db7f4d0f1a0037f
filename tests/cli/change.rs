//! What every changing command has in common: it asks, plans, proves, keeps a history, and tells the truth when the
//! firewall does not do as it is told.

use serde_json::Value;

use crate::support::environment::TestEnvironment;
use crate::support::screen::at_terminal;

/// Every changing command, as it is typed.
const CHANGING: &[&[&str]] = &[
    &["virusprot", "delete", "192.0.2.1"],
    &["virusprot", "delete", "-"],
    &["virusprot", "expire"],
    &["virusprot", "flush"],
    &["states", "kill", "--all"],
    &["states", "kill", "192.0.2.1"],
    &["ratelimit", "tighten"],
    &["ratelimit", "loosen"],
    &["ratelimit", "default"],
    &["ratelimit", "set", "--preset", "tighten"],
    &["expose", "revoke"],
    &["expose", "restore"],
    &["expose", "apply"],
    &["undo"],
    &["doctor", "--clean"],
    &["keep", "abc"],
    &["virusprot", "add", "203.0.113.99"],
    &["apply", "plan.json"],
];

/// The changes that the demo's firewall can be made to fail at.
const CHANGES: &[&[&str]] =
    &[&["ratelimit", "tighten"], &["expose", "revoke"], &["expose", "revoke", "--delete"]];

fn scenario(name: &str) -> TestEnvironment {
    TestEnvironment::new().variable("KMSCTL_DEMO_SCENARIO", name)
}

fn journal(environment: &TestEnvironment) -> std::path::PathBuf {
    environment.home().join(".local/state/kmsctl/demo/journal.jsonl")
}

fn exposure(environment: &TestEnvironment) -> Value {
    let shown = environment.demo(&["expose", "show", "-o", "json"]).json();
    serde_json::json!([shown["data"]["state"], shown["data"]["caps"]])
}

#[test]
fn without_a_terminal_and_without_yes_nothing_is_even_connected_to() {
    // Nobody listens there: whoever tried would end with 5.
    let environment = TestEnvironment::new()
        .variable("KMSCTL_FIREWALL_HOST", "127.0.0.1")
        .variable("KMSCTL_FIREWALL_PORT", "1");
    // doctor, apply, keep and undo read before there is anything to confirm: what is to be cleaned, the plan, what can be
    // kept or taken back. A list on stdin is read before, too.
    let reads = ["apply", "doctor", "keep", "undo"];
    let asking =
        CHANGING.iter().filter(|command| !reads.contains(&command[0]) && !command.contains(&"-"));
    for command in asking {
        let told = environment.run(command).fails_with(4);
        assert!(told.contains("nothing was changed"), "{command:?}: {told}");
        assert!(told.contains("--yes"), "{command:?}: {told}");
    }
    let told = environment.run(&["virusprot", "flush", "--yes"]).fails_with(5);
    assert!(told.contains("127.0.0.1"), "{told}");
}

#[test]
fn every_command_that_can_be_confirmed_can_be_tried_and_is_listed_here() {
    fn walk(command: &clap::Command, path: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
        let has =
            |name: &str| command.get_arguments().any(|argument| argument.get_long() == Some(name));
        // The wizard writes this machine's configuration; nothing on a firewall.
        if has("yes") && *path != ["config", "init"] {
            assert!(has("dry-run"), "{path:?}");
            found.push(path.clone());
        }
        for sub in command.get_subcommands() {
            path.push(sub.get_name().to_owned());
            walk(sub, path, found);
            path.pop();
        }
    }
    let mut found = Vec::new();
    walk(&kmsctl::cli::command_tree(), &mut Vec::new(), &mut found);
    for path in &found {
        let listed = CHANGING.iter().any(|command| {
            command.iter().zip(path).filter(|(word, name)| *word == name).count() == path.len()
        });
        assert!(listed, "{path:?} changes something and is not tested here");
    }
    assert!(found.len() >= 13, "{found:?}");
}

#[test]
fn a_dry_run_shows_the_plan_and_changes_nothing() {
    let environment = TestEnvironment::new();
    let before = exposure(&environment);
    for command in CHANGES {
        let shown = environment.demo(&[command, &["--dry-run", "-o", "json"][..]].concat()).json();
        assert_eq!(shown["schema"], "kmsctl/change/v1");
        assert_eq!(shown["data"]["outcome"], "dry-run", "{command:?}");
        assert!(!shown["data"]["checks"].as_array().expect("checks").is_empty());
        assert_ne!(shown["data"]["before"], shown["data"]["after"]);
    }
    assert_eq!(exposure(&environment), before);
    assert!(!journal(&environment).exists());
}

#[test]
fn a_change_has_its_keys_in_every_form() {
    let environment = TestEnvironment::new();
    let shown = environment.demo(&["ratelimit", "tighten", "--yes", "-o", "json"]).json();
    assert_eq!(shown["data"]["outcome"], "done");
    assert_eq!(shown["data"]["before"], serde_json::json!({ "max_src_conn": 50, "rate": "10/60" }));
    assert_eq!(shown["data"]["after"], serde_json::json!({ "max_src_conn": 10, "rate": "3/60" }));
    let id = shown["data"]["id"].as_str().expect("an id");
    assert_eq!(shown["data"]["undo"], format!("kmsctl --demo undo {id}"));
    assert!(shown["data"]["reverts_at"].is_null());
    let line = environment.demo(&["ratelimit", "loosen", "--yes", "-o", "ndjson"]).success();
    assert_eq!(serde_json::from_str::<Value>(&line).expect("JSON")["outcome"], "done");
    let csv = environment.demo(&["virusprot", "flush", "--yes", "-o", "csv"]).success();
    assert!(csv.starts_with("address,added_at,age_seconds,result\n"), "{csv}");
    assert!(csv.lines().skip(1).all(|line| line.ends_with(",freed")), "{csv}");
    let table = environment.demo(&["ratelimit", "default", "--yes"]);
    assert!(table.stdout.contains("rate  30/60 -> 10/60"), "{table}");
    assert!(table.stderr.contains("hint: `kmsctl --demo undo "), "{table}");
    let again = environment.demo(&["ratelimit", "default", "--yes", "-o", "json"]).json();
    assert_eq!(again["data"]["outcome"], "nothing-to-do");
    assert!(again["data"]["id"].is_null());
}

#[test]
fn what_the_firewall_could_not_do_is_told_as_it_is() {
    let cases = [
        ("load-fails", 7, "Rolled back", "rolled-back"),
        ("unproven", 7, "not", "unverified"),
        ("disk-full", 1, "free", "failed"),
        ("write-fails", 1, "did not write", "failed"),
        ("locked", 6, "anna@desk", ""),
        ("php-missing", 1, "php is not on the firewall", ""),
        ("pf-disabled", 1, "disabled", ""),
        ("denied", 5, "/dev/pf", ""),
    ];
    for (name, code, wanted, outcome) in cases {
        for command in CHANGES {
            let environment = scenario(name);
            let told = environment
                .demo(&[command, &["--yes", "--timeout", "3s"][..]].concat())
                .fails_with(code);
            assert!(told.contains(wanted), "{name} {command:?}: {told}");
            let by_hand = told.contains("Firewall > NAT > Port Forward");
            let shuts = command[0] == "expose" && !outcome.is_empty();
            assert!(by_hand || !shuts, "{name} {command:?}: {told}");
            let list = environment.demo(&["history", "--local", "-o", "json"]).json();
            if outcome == "rolled-back" || outcome == "unverified" {
                let told = scenario(name).demo(&[command, &["--yes", "-o", "json"][..]].concat());
                let json: serde_json::Value = serde_json::from_str(&told.stdout).expect("JSON");
                let checks = &json["data"]["checks"];
                assert_eq!(checks, &serde_json::json!([]), "nothing is proven: {told}");
            }
            let entry = &list["data"]["entries"][0]["outcome"];
            if outcome.is_empty() {
                assert!(entry.is_null(), "{name} {command:?}: {list:#}");
            } else {
                assert_eq!(entry, outcome, "{name} {command:?}");
            }
        }
    }
}

/// What is wrong is on each stream once, however often the firewall has met it; at a terminal once in all.
#[test]
fn one_cause_is_said_once() {
    for (name, cause) in [
        ("unproven", "syntax error"),
        ("load-fails", "syntax error"),
        ("lost-update", "/conf/kmsctl/lost-"),
        ("write-fails", "did not write"),
    ] {
        for command in CHANGES {
            let outcome = scenario(name).demo(&[command, &["--yes"][..]].concat());
            for text in [&outcome.stdout, &outcome.stderr] {
                // The warning about a lost update has a command with the file beside it.
                let said = text.matches(cause).count();
                let most = 1 + text.matches("`diff -u ").count();
                assert!(said <= most, "{name} {command:?}: {outcome}");
            }
            let words = format!("--demo={name} {} --yes --color never", command.join(" "));
            let shown = at_terminal(&TestEnvironment::new(), 200, 40, &words);
            let most = 1 + shown.matches("`diff -u ").count();
            assert_eq!(shown.matches(cause).count(), most, "{name} {command:?}: {shown}");
        }
    }
}

#[test]
fn a_lost_answer_is_asked_for_and_never_guessed() {
    for name in ["cut-after-apply", "cut-before-answer"] {
        for command in CHANGES {
            let environment = scenario(name);
            let outcome = environment.demo(&[command, &["--yes", "-o", "json"][..]].concat());
            let asked = outcome.stderr.contains("Connecting again to ask what happened");
            assert!(asked || name == "cut-after-apply", "{command:?}: {outcome}");
            let shown: Value = serde_json::from_str(&outcome.stdout)
                .unwrap_or_else(|error| panic!("{error}: {outcome}"));
            assert_eq!(
                (outcome.code, &shown["data"]["outcome"]),
                (Some(0), &Value::from("done")),
                "{name} {command:?}"
            );
            let state = exposure(&environment);
            if command[0] == "expose" {
                assert_ne!(state[0], "open", "{name} {command:?}");
            } else {
                assert_eq!(state[1]["loaded"]["max_src_conn"], 10, "{name} {command:?}");
            }
        }
    }
}

#[test]
fn a_foreign_edit_that_our_write_replaced_is_reported() {
    let shown =
        scenario("lost-update").demo(&["ratelimit", "tighten", "--yes", "-o", "json"]).json();
    let warnings = shown["warnings"].to_string();
    assert!(warnings.contains("lost-update") && warnings.contains("/conf/"), "{warnings}");
}

#[test]
fn a_saved_plan_is_private_and_applied_once() {
    let environment = TestEnvironment::new();
    let saved = environment.demo(&["ratelimit", "tighten", "--plan-out", "plan.json"]);
    assert!(saved.stderr.contains("nothing was changed"), "{saved}");
    let path = environment.home().join("plan.json");
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&path.metadata().expect("a plan").permissions());
    assert_eq!(mode & 0o777, 0o600);
    let told = environment.demo(&["ratelimit", "tighten", "--plan-out", "plan.json"]).fails_with(2);
    assert!(told.contains("exists already"), "{told}");
    let done = environment.demo(&["apply", "plan.json", "--yes", "-o", "json"]).json();
    assert_eq!(done["data"]["outcome"], "done", "{done:#}");
    let told = environment.demo(&["apply", "plan.json", "--yes"]).fails_with(6);
    assert!(told.contains("carried out already"), "{told}");
}

#[test]
fn a_stale_plan_is_refused_and_what_moved_is_named() {
    let environment = TestEnvironment::new();
    environment.demo(&["ratelimit", "tighten", "--plan-out", "caps.json"]).success();
    environment.demo(&["virusprot", "flush", "--plan-out", "flush.json"]).success();
    environment.demo(&["ratelimit", "loosen", "--yes"]).success();
    let csv = environment.demo(&["virusprot", "show", "-o", "csv"]).success();
    let first =
        csv.lines().nth(1).and_then(|line| line.split(',').next()).expect("an entry").to_owned();
    environment.demo(&["virusprot", "delete", &first, "--yes"]).success();
    let told = environment.demo(&["apply", "caps.json", "--yes"]).fails_with(6);
    assert!(told.contains("max-src-conn-rate: was 10, is 30"), "{told}");
    let told = environment.demo(&["apply", "flush.json", "--yes"]).fails_with(6);
    assert!(
        told.contains(&format!("{first}: was blocked since")) && told.contains("is nothing"),
        "{told}"
    );
}

#[test]
fn a_plan_that_is_not_ours_is_refused() {
    let environment = TestEnvironment::new();
    environment.demo(&["ratelimit", "tighten", "--plan-out", "plan.json"]).success();
    let path = environment.home().join("plan.json");
    let text = std::fs::read_to_string(&path).expect("a plan");
    let refused = |text: &str, wanted: &str| {
        std::fs::write(&path, text).expect("a plan");
        let told = environment.demo(&["apply", "plan.json", "--yes"]).fails_with(2);
        assert!(told.contains(wanted), "{told}");
    };
    refused(&text.replacen("\"max_src_conn\": 10", "\"max_src_conn\": 9999", 1), "edited");
    refused(&text.replacen("plan/v1", "plan/v9", 1), "this kmsctl reads kmsctl/plan/v1");
    refused("{}", "not a plan of kmsctl");
    refused("\u{1}", "not a plan of kmsctl");
    std::fs::write(&path, &text).expect("a plan");
    std::fs::remove_dir_all(environment.home().join(".local"))
        .expect("the demo is forgotten, its host key too");
    let told = environment.demo(&["apply", "plan.json", "--yes"]).fails_with(6);
    assert!(told.contains("another firewall"), "{told}");
    environment.demo(&["apply", "/nonexistent.json", "--yes"]).fails_with(2);
}

#[test]
fn without_a_history_that_can_be_kept_the_firewall_is_not_touched() {
    let environment = TestEnvironment::new();
    let before = exposure(&environment);
    let blocked = || environment.demo(&["virusprot", "show", "-o", "ndjson"]).success();
    let entries = blocked();
    std::os::unix::fs::symlink("/dev/full", journal(&environment)).expect("a link");
    let more = [&["virusprot", "flush"][..]];
    let all = CHANGES.iter().chain(&more);
    // What closes is never stopped by the history.
    for command in all.filter(|command| !command.starts_with(&["expose", "revoke"])) {
        let told = environment.demo(&[command, &["--yes"][..]].concat()).fails_with(2);
        assert!(told.contains("The history cannot be kept"), "{told}");
    }
    assert_eq!(exposure(&environment), before);
    assert_eq!(blocked(), entries);
}

#[test]
fn a_reason_is_kept_and_control_characters_are_refused() {
    let environment = TestEnvironment::new();
    environment
        .demo(&["ratelimit", "tighten", "--yes", "--reason", "night shift — abuse"])
        .success();
    let list = environment.demo(&["history", "-o", "json"]).json();
    assert_eq!(list["data"]["entries"][0]["reason"], "night shift — abuse");
    environment.demo(&["ratelimit", "loosen", "--yes", "--reason", "a\nb"]).fails_with(2);
    environment.demo(&["ratelimit", "loosen", "--yes", "--reason", &"x".repeat(300)]).fails_with(2);
}

#[test]
fn what_an_armed_rollback_would_take_away_is_not_called_done() {
    for command in [&["ratelimit", "loosen"][..], &["expose", "restore"]] {
        let environment = TestEnvironment::new();
        if command[0] == "expose" {
            environment.demo(&["expose", "revoke", "--yes"]).success();
        }
        let run = |more: &[&str]| environment.demo(&[command, more, &["--yes"]].concat());
        let armed = run(&["--for", "2h", "-o", "json"]).json();
        let id = armed["data"]["id"].as_str().expect("an id");
        let told = run(&[]).fails_with(6);
        for part in [
            id.to_owned(),
            format!("kmsctl --demo keep {id}"),
            format!("kmsctl --demo undo {id}"),
            "2026-03-01T14:21:34Z".to_owned(),
        ] {
            assert!(told.contains(&part), "{command:?} {part}: {told}");
        }
        // The same again, by a cron job perhaps, does not hold it for ever.
        for again in ["2h", "90m"] {
            let told = run(&["--for", again]).success();
            for part in [
                "Nothing to do".to_owned(),
                format!("kmsctl --demo keep {id} --for {}", again.replace("90m", "1h30m")),
                "2026-03-01T14:21:34Z".to_owned(),
            ] {
                assert!(told.contains(&part), "{command:?} {again} {part}: {told}");
            }
        }
        let told =
            environment.demo(&["ratelimit", "tighten", "--for", "1h", "--yes"]).fails_with(6);
        assert!(told.contains(id), "{told}");
        environment.demo(&["keep", id, "--yes"]).success();
        let told = run(&[]).success();
        assert!(told.contains("Nothing to do"), "{command:?}: {told}");
        let told = run(&["--for", "1h"]).success();
        assert!(told.contains("No rollback was armed"), "{command:?}: {told}");
    }
}

#[test]
fn a_temporary_change_again_is_nothing_to_do() {
    let closing: [&[&str]; 2] = [&["expose", "revoke"], &["expose", "revoke", "--delete"]];
    let others: [(&str, &[&str]); 6] = [
        ("closed", &["expose", "restore"]),
        ("absent", &["expose", "apply"]),
        ("open", &["ratelimit", "tighten"]),
        ("open", &["ratelimit", "loosen"]),
        ("open", &["ratelimit", "set", "--max-src-conn", "7", "--rate", "3/30"]),
        ("uncapped", &["ratelimit", "default"]),
    ];
    for (name, command) in closing.map(|command| ("open", command)).into_iter().chain(others) {
        let environment = scenario(name);
        let run = |more: &[&str]| environment.demo(&[command, &["--for", "2h"], more].concat());
        let armed = run(&["--yes", "-o", "json"]).json();
        let timer = armed["data"]["reverts_at"].as_str().expect("a time");
        let keep = format!("kmsctl --demo keep {} --for 2h", armed["data"]["id"].as_str().unwrap());
        for more in [&["--yes"][..], &["--dry-run"], &["--yes", "-v"]] {
            let said = run(more).success();
            for part in ["Nothing to do", timer, &keep] {
                assert!(said.contains(part), "{command:?} {more:?} {part}: {said}");
            }
        }
        let again = run(&["--yes", "-o", "json"]);
        assert_eq!(again.code, Some(0), "{command:?}: {again}");
        let data = &again.json()["data"];
        assert_eq!(data["outcome"], "nothing-to-do", "{command:?}: {data:#}");
        for field in ["what", "message"] {
            assert!(data[field].as_str().unwrap().contains(&keep), "{command:?} {field}: {data:#}");
        }
        let status = environment.demo(&["status", "-o", "json"]).json();
        assert_eq!(status["data"]["armed"][0]["reverts_at"], timer, "{command:?}: the timer");
        let history = environment.demo(&["history", "-o", "json"]).json();
        let entries = history["data"]["entries"].as_array().map(Vec::len);
        assert_eq!(entries, Some(1), "{command:?}: {history:#}");
    }
}

/// Connections that the first closing left are ended by the second; its timer stays.
#[test]
fn a_second_closing_leaves_the_timer_alone() {
    let environment = TestEnvironment::new();
    let run =
        |more: &[&str]| environment.demo(&[&["expose", "revoke", "--for", "2h"], more].concat());
    let armed = run(&["--keep-states", "--yes", "-o", "json"]).json();
    let keep = format!("kmsctl --demo keep {} --for 2h", armed["data"]["id"].as_str().unwrap());
    let ended = run(&["--yes"]);
    assert!(ended.stderr.contains(&keep), "{ended}");
    assert!(!ended.stdout.contains("never"), "{ended}");
    ended.success();
    let status = environment.demo(&["status", "-o", "json"]).json();
    assert_eq!(status["data"]["armed"][0]["reverts_at"], armed["data"]["reverts_at"]);
}

#[test]
fn a_closing_for_a_while_is_made_one_for_good() {
    for command in [&["expose", "revoke"][..], &["expose", "revoke", "--delete"]] {
        let environment = TestEnvironment::new();
        let run = |more: &[&str]| environment.demo(&[command, more, &["--yes"]].concat());
        run(&["--for", "2h"]).success();
        run(&[]).success();
        let status = environment.demo(&["status", "-o", "json"]).json();
        assert_eq!(status["data"]["armed"].as_array().map(Vec::len), Some(0), "{status}");
        let again = run(&[]).success();
        assert!(again.contains("Nothing to do"), "{command:?}: {again}");
    }
}

#[test]
fn a_closing_ends_a_temporary_opening_for_good() {
    let environment = TestEnvironment::new();
    environment.demo(&["expose", "revoke", "--yes"]).success();
    let open = &["expose", "restore", "--for", "4h", "--yes"];
    environment.demo(open).success();
    let shut = environment.demo(&["expose", "revoke", "--for", "1h", "--yes", "-o", "json"]).json();
    assert_eq!(shut["data"]["outcome"], "done");
    assert!(shut["data"]["reverts_at"].is_null(), "{shut:#}");
}

#[test]
fn a_timer_left_out_is_said_when_quiet() {
    let environment = TestEnvironment::new();
    let run = |words: &[&str]| environment.demo(&[words, &["-q", "--yes"]].concat()).success();
    run(&["ratelimit", "tighten", "--for", "1h"]);
    let told = run(&["expose", "revoke", "--for", "2h"]);
    assert!(told.contains("Reverts") && told.contains("never. --for is left out"), "{told}");
}

#[test]
fn what_is_urgent_does_not_wait_for_the_gui() {
    for command in CHANGES {
        let outcome = scenario("drifted").demo(&[command, &["--yes"][..]].concat());
        let first = outcome.stderr.lines().next().unwrap_or_default().to_owned();
        assert!(first.contains("did not apply (filter)"), "{outcome}");
        outcome.success();
    }
    for command in [
        &["ratelimit", "loosen"][..],
        &["ratelimit", "set", "--max-src-conn", "9"],
        &["expose", "apply"],
    ] {
        let told = scenario("drifted").demo(&[command, &["--yes"]].concat());
        assert!(told.fails_with(6).contains("wait to be applied"));
    }
}

#[test]
fn what_is_not_proven_is_not_reported_as_planned() {
    for command in CHANGES {
        let environment = scenario("unproven");
        let outcome = environment.demo(&[command, &["--yes", "-o", "json"][..]].concat());
        let data = &serde_json::from_str::<Value>(&outcome.stdout).expect("JSON")["data"];
        assert_eq!(data["outcome"], "unverified", "{outcome}");
        assert!(data["undo"].is_null(), "{outcome}");
        let hint = format!("history {}", data["id"].as_str().expect("an id"));
        assert!(outcome.stderr.contains(&hint), "{outcome}");
        assert!(!outcome.stderr.contains("demo undo"), "{outcome}");
        let state = exposure(&environment);
        let after = data["after"].as_object().expect("fields");
        assert_eq!(after.get("connections"), data["before"].get("connections"), "{outcome}");
        if command[0] == "expose" {
            assert_eq!(after["exposure"], state[0], "{outcome}");
            assert!(!after.contains_key("port_forward"), "{outcome}");
        } else {
            let loaded = &state[1]["loaded"]["max_src_conn"];
            assert_eq!(&after["max_src_conn"], loaded, "{outcome}");
        }
    }
}

#[test]
fn a_dry_run_names_no_command_for_an_id_that_never_is() {
    let environment = TestEnvironment::new();
    let shown = environment.demo(&["ratelimit", "tighten", "--dry-run"]).success();
    assert!(shown.contains("Undo") && !shown.contains("kmsctl --demo undo"), "{shown}");
    let shown = environment.demo(&["ratelimit", "tighten", "--plan-out", "plan.json"]).success();
    assert!(shown.contains("kmsctl --demo undo"), "{shown}");
}

#[test]
fn keep_for_prolongs_the_rollback_timer() {
    for command in
        [&["ratelimit", "tighten", "--for", "2h"][..], &["expose", "revoke", "--for", "2h"]]
    {
        let environment = TestEnvironment::new();
        let made = environment.demo(&[command, &["--yes", "-o", "json"]].concat());
        let id = made.json()["data"]["id"].as_str().expect("an id").to_owned();
        let armed = || {
            let list = environment.demo(&["history", "-o", "json"]).json();
            list["data"]["armed"][0]["reverts_at"].clone()
        };
        let keep = |more: &[&str]| environment.demo(&[&["keep"], more, &["--yes"]].concat());
        for (text, code) in [("30s", 2), ("31d", 2), ("soon", 2), ("1h", 0), ("2h", 0)] {
            let told = keep(&["--for", text]);
            assert_eq!(told.code, Some(code), "{text}: {told}");
            assert_eq!(armed(), "2026-03-01T14:21:34Z", "{text}: {told}");
        }
        let told = keep(&["--for", "3h"]).success();
        assert!(told.contains("2026-03-01T15:21:34Z"), "{told}");
        assert_eq!(armed(), "2026-03-01T15:21:34Z");
        keep(&[&id[..8], "--for", "4h"]).success();
        assert_eq!(armed(), "2026-03-01T16:21:34Z");
        let shown = environment.demo(&["history", &id, "-o", "json"]).json();
        let text = shown.to_string();
        assert!(text.contains("2026-03-01T16:21:34Z"), "{shown:#}");
        let status = environment.demo(&["status"]).success();
        for part in ["2026-03-01T16:21:34Z", "undo", "keep"] {
            assert!(status.contains(part), "{part}: {status}");
        }
        let told = keep(&[]).success();
        assert!(told.contains("permanent now"), "{told}");
        let told = keep(&[&id, "--for", "3h"]).success();
        assert!(told.contains("nothing is armed"), "{told}");
    }
}

#[test]
fn warnings_are_ranked_and_few() {
    let environment = TestEnvironment::new();
    let command = ["ratelimit", "set", "--max-src-conn", "none", "--rate", "none", "--for", "2h"];
    let dry = environment.demo(&[&command[..], &["--dry-run"]].concat()).success();
    let made = environment.demo(&[&command[..], &["--yes"]].concat());
    assert_eq!(made.code, Some(0), "{made}");
    let made = made.stderr;
    let shown = |text: &str, label: &str| -> Vec<String> {
        let lines = text.lines().filter_map(|line| line.strip_prefix(label));
        lines.map(|line| line.trim().to_owned()).collect()
    };
    let (before, now) = (shown(&dry, "Warning"), shown(&made, "warning:"));
    // Whether the cluster answers while the firewall does is a race.
    let ranked = |lines: &[String]| -> Vec<String> {
        let sure = lines.iter().filter(|line| !line.contains("would have"));
        sure.cloned().collect()
    };
    assert_eq!(ranked(&before), ranked(&now));
    assert!(now.len() <= 3 && now[0].starts_with("The caps are off"), "{now:#?}");
    for part in ["Without a rate", "count against"] {
        assert!(!made.contains(part), "{part}: {made}");
    }
}

#[test]
fn keep_takes_one_change_only() {
    let environment = TestEnvironment::new();
    environment.demo(&["ratelimit", "tighten", "--for", "2h", "--yes"]).success();
    let told = environment.demo(&["keep", "", "--yes"]).fails_with(2);
    assert!(told.contains("There is no change"), "{told}");
    let list = environment.demo(&["history", "-o", "json"]).json();
    assert_eq!(list["data"]["armed"].as_array().map(Vec::len), Some(1));
}

#[test]
fn keep_refuses_a_beginning_that_several_changes_have() {
    let environment = TestEnvironment::new();
    let mut ids: Vec<String> = Vec::new();
    // An id begins with one of sixteen digits, so at the latest the seventeenth shares its own.
    for _ in 0..17 {
        for command in [
            &["ratelimit", "loosen", "--yes", "-o", "json"][..],
            &["ratelimit", "tighten", "--for", "2h", "--yes", "-o", "json"],
        ] {
            let made = environment.demo(command).json();
            ids.push(made["data"]["id"].as_str().expect("an id").to_owned());
        }
        let (armed, others) = ids.split_last().expect("ids");
        let first = &armed[..1];
        if !others.iter().any(|id| id.starts_with(first)) {
            continue;
        }
        let told = environment.demo(&["keep", first, "--yes"]).fails_with(2);
        assert!(told.contains("Several changes begin with"), "{told}");
        assert!(told.contains(armed.as_str()), "{told}");
        let list = environment.demo(&["history", "-o", "json"]).json();
        assert_eq!(list["data"]["armed"][0]["id"], armed.as_str(), "{list:#}");
        environment.demo(&["keep", &armed[..8], "--yes"]).success();
        let list = environment.demo(&["history", "-o", "json"]).json();
        assert_eq!(list["data"]["armed"], serde_json::json!([]));
        return;
    }
    panic!("no two ids begin alike: {ids:?}");
}

#[test]
fn taking_an_opening_back_is_asked_for_as_a_closing() {
    let environment = TestEnvironment::new();
    for command in
        [&["expose", "revoke", "--keep-states", "--yes"][..], &["expose", "restore", "--yes"]]
    {
        environment.demo(command).success();
    }
    let (shown, code) = at_a_terminal(&environment, &["undo"], "Type `revoke` to do it", "y");
    assert_eq!(code, Some(4), "{shown}");
    assert!(shown.contains("live on"), "{shown}");
    let told = environment.demo(&["undo", "--yes"]);
    assert!(told.stderr.contains("connections live on"), "{told}");
    assert_eq!(exposure(&environment)[0], "closed");
    let planned = environment.demo(&["expose", "restore", "--for", "30m", "--dry-run"]).success();
    assert!(planned.contains("live on") && planned.contains("Closes it again"), "{planned}");
}

#[test]
fn choices_that_are_missing_are_all_named() {
    let environment = TestEnvironment::new();
    let told = environment.demo(&["ratelimit", "set", "--yes"]).fails_with(2);
    for part in ["--preset", "--max-src-conn", "--rate"] {
        assert!(told.contains(part), "{told}");
    }
    let told = environment.demo(&["states", "kill", "--yes"]).fails_with(2);
    assert!(told.contains("--all") && told.contains("ADDR"), "{told}");
    let told = environment.demo(&["virusprot", "delete", "-", "--yes"]).fails_with(2);
    assert!(told.contains("holds no address"), "{told}");
}

#[test]
fn what_is_blocked_again_is_as_old_as_that() {
    let environment = TestEnvironment::new();
    environment.demo(&["virusprot", "flush", "--yes"]).success();
    let planned = environment.demo(&["undo", "--dry-run", "-o", "json"]).json();
    for entry in planned["data"]["entries"].as_array().expect("entries") {
        assert!(entry["age_seconds"].is_null(), "not the old one: {entry}");
    }
    let shown = environment.demo(&["undo", "--yes", "-o", "json"]).json();
    let entries = shown["data"]["entries"].as_array().expect("entries");
    assert!(!entries.is_empty());
    for entry in entries {
        assert_eq!(entry["age_seconds"], 0, "{entry}");
    }
}

/// Runs a command at a terminal, answers its question, and returns what it printed and its exit code.
fn at_a_terminal(
    environment: &TestEnvironment,
    arguments: &[&str],
    question: &str,
    answer: &str,
) -> (String, Option<i32>) {
    let mut command = environment.command(&[&["--demo", "--color", "never"], arguments].concat());
    command.stdin(std::process::Stdio::inherit());
    let mut terminal = rexpect::session::spawn_command(command, Some(20_000)).expect("a pty");
    let shown = terminal.exp_string(question).expect(question);
    match answer {
        "Ctrl-C" => terminal.send_control('c').expect("an answer"),
        "SIGTERM" => {
            // Until it waits for a key, a signal could come between two of its steps.
            std::thread::sleep(std::time::Duration::from_millis(300));
            let process = terminal.process_mut();
            process.signal(rexpect::process::Signal::SIGTERM).expect("it runs");
        }
        answer => {
            terminal.send_line(answer).expect("an answer");
        }
    }
    let rest = terminal.exp_eof().expect("the end");
    let status = terminal.process().wait().expect("an exit status");
    // The type of the status is not public; it prints as `Exited(Pid(7), 4)`.
    let printed = format!("{status:?}");
    let code = printed.strip_suffix(')').and_then(|text| text.rsplit(", ").next()?.parse().ok());
    (shown + &rest, code)
}

#[test]
fn an_operator_is_asked_as_much_as_is_at_stake() {
    let environment = TestEnvironment::new();
    let csv = environment.demo(&["virusprot", "show", "-o", "csv"]).success();
    let first =
        csv.lines().nth(1).and_then(|line| line.split(',').next()).expect("an entry").to_owned();
    let (shown, code) =
        at_a_terminal(&environment, &["virusprot", "delete", &first], "Do it?", "n");
    assert_eq!(code, Some(4), "{shown}");
    assert!(shown.contains("10 -> 9") && shown.contains("nothing was changed"), "{shown}");
    let (shown, code) =
        at_a_terminal(&environment, &["virusprot", "flush"], "Type `flush` to do it", "yes");
    assert_eq!(code, Some(4), "{shown}");
    let (shown, code) =
        at_a_terminal(&environment, &["states", "kill", "--all"], "Type `kill` to do it", "");
    assert_eq!(code, Some(4), "{shown}");
    let (shown, code) =
        at_a_terminal(&environment, &["expose", "revoke"], "Type `revoke` to do it", "revoke");
    assert_eq!(code, Some(0), "{shown}");
    assert_eq!(exposure(&environment)[0], "closed");
    assert_eq!(
        environment.demo(&["history", "--local", "-o", "ndjson"]).success().lines().count(),
        1
    );
}

#[test]
fn an_interrupted_question_changes_nothing() {
    let environment = TestEnvironment::new();
    let before = exposure(&environment);
    let questions: [(&[&str], &str); 2] =
        [(&["ratelimit", "tighten"], "Do it?"), (&["expose", "revoke"], "Type `revoke` to do it")];
    for (command, question) in questions {
        for answer in ["Ctrl-C", "SIGTERM"] {
            let (shown, code) = at_a_terminal(&environment, command, question, answer);
            assert_eq!(code, Some(130), "{command:?} {answer}: {shown}");
            assert!(shown.contains("nothing was changed"), "{command:?} {answer}: {shown}");
        }
    }
    assert_eq!(exposure(&environment), before);
    assert!(!journal(&environment).exists());
}

#[test]
fn what_is_wrong_is_said_before_the_terminal() {
    let environment = TestEnvironment::new();
    environment.demo(&["ratelimit", "tighten", "--for", "2h", "--yes"]).success();
    let lines = [
        "apply missing.json",
        "expose apply --for never",
        "expose restore --for 31d",
        "expose restore --verify --from nowhere",
        "expose revoke --for 1s",
        "expose revoke --verify --from nowhere",
        "keep --for never",
        "keep /",
        "keep ffffffffffff",
        "keep nothing --for 3h",
        "ratelimit default --for 1s",
        "ratelimit loosen --for never",
        "ratelimit set --max-src-conn 0",
        "ratelimit set --preset nowhere",
        "ratelimit set --rate 3",
        "ratelimit set --rate 10/0",
        "ratelimit tighten --for 31d",
        "states kill",
        "states kill kms.example",
        "undo /",
        "undo ffffffffffff",
        "virusprot add kms.example",
        "virusprot delete -",
        "virusprot add 8.8.8.0/8",
        "virusprot delete 10.0.0.0/33",
        "virusprot delete 203.0.113.7/24",
        "virusprot expire --older-than never",
    ];
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        let outcome = environment.demo(&words);
        assert_eq!(outcome.code, Some(2), "{line}: {outcome}");
        assert!(!outcome.stderr.contains("no terminal"), "{line}: {outcome}");
    }
    let nothing = TestEnvironment::new().demo(&["undo"]);
    assert_eq!(nothing.code, Some(1), "{nothing}");
    // Each command of these is one that asks.
    let asking = ["keep", "keep --for 3h", "undo", "expose revoke", "virusprot flush"];
    for line in asking {
        let words: Vec<&str> = line.split(' ').collect();
        assert!(environment.demo(&words).fails_with(4).contains("no terminal"), "{line}");
    }
    let list = environment.demo(&["history", "-o", "json"]).json();
    assert_eq!(list["data"]["armed"].as_array().map(Vec::len), Some(1), "{list:#}");
}

#[test]
fn advice_for_closing_enables_no_filtering() {
    let environment = scenario("pf-disabled");
    for words in [&["expose", "revoke", "--yes"][..], &["expose", "show", "--expect", "closed"]] {
        let outcome = environment.demo(words);
        assert!(!outcome.stderr.contains("Enable it"), "{outcome}");
    }
    let opened = environment.demo(&["expose", "restore", "--yes"]);
    assert!(opened.stderr.contains("Enable it"), "{opened}");
}

#[test]
fn a_closed_service_keeps_inside_clients() {
    for name in ["closed", "absent"] {
        let environment = scenario(name);
        let before = environment.demo(&["states", "-o", "json"]).json();
        let sources = before["data"]["sources"].as_array().map(Vec::len);
        assert!(sources > Some(0), "{name}: {before:#}");
        let outcome = environment.demo(&["expose", "revoke", "--yes", "-o", "json"]).json();
        assert_eq!(outcome["data"]["outcome"], "nothing-to-do", "{name}: {outcome:#}");
        let after = environment.demo(&["states", "-o", "json"]).json();
        assert_eq!(after["data"]["sources"].as_array().map(Vec::len), sources, "{name}");
    }
}

#[test]
fn errors_name_a_step_that_opens_nothing() {
    for command in
        [&["ratelimit", "tighten", "--yes"][..], &["ratelimit", "set", "--rate", "3/60", "--yes"]]
    {
        let outcome = scenario("absent").demo(command);
        assert_eq!(outcome.code, Some(1), "{outcome}");
        assert!(outcome.stderr.contains("expose show"), "{outcome}");
        for opens in ["expose apply", "expose restore"] {
            assert!(!outcome.stderr.contains(opens), "{outcome}");
        }
    }
    // By hand in the GUI it would be no better: pfSense writes what it can, and says that it is done.
    for command in CHANGES {
        let full = scenario("disk-full").demo(&[command, &["--yes"][..]].concat());
        for part in [
            "20480 bytes are free on the disk of /conf",
            "needs",
            "hint: Make room first",
            "was cut by a full disk for a success",
        ] {
            assert!(full.stderr.contains(part), "{part}: {full}");
        }
        let hints = full.stderr.split_once("hint: ").expect("a hint").1;
        assert!(hints.starts_with("Make room first"), "{full}");
    }
}
