//! `kmsctl expose …`: closes and opens the exposure, from every condition, and nothing else with it.

use serde_json::Value;

use crate::support::environment::TestEnvironment;

fn show(environment: &TestEnvironment) -> Value {
    environment.demo(&["expose", "show", "-o", "json"]).json()["data"].clone()
}

fn done(environment: &TestEnvironment, arguments: &[&str]) -> Value {
    environment.demo(&[arguments, &["--yes", "-o", "json"]].concat()).json()["data"].clone()
}

fn sources(environment: &TestEnvironment) -> usize {
    environment.demo(&["states", "-o", "ndjson"]).success().lines().count()
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
    assert!(revoked["states_ended"].as_u64().is_some_and(|ended| ended > 0), "{revoked:#}");
    assert_eq!(show(&environment)["state"], "closed");
    assert_eq!(sources(&environment), 0);
    assert_eq!(done(&environment, &["expose", "revoke"])["outcome"], "nothing-to-do");
    assert_eq!(done(&environment, &["expose", "restore"])["outcome"], "done");
    let after = show(&environment);
    assert_eq!((&after["state"], &after["caps"]), (&before["state"], &before["caps"]));
    assert_eq!(done(&environment, &["expose", "restore"])["outcome"], "nothing-to-do");
}

#[test]
fn keep_states_leaves_connections_and_says_so() {
    let environment = TestEnvironment::new();
    let outcome = environment.demo(&["expose", "revoke", "--keep-states", "--yes"]);
    assert!(outcome.stderr.contains("open connections live on"), "{outcome}");
    assert!(sources(&environment) > 0);
    assert_eq!(show(&environment)["state"], "closed");
    let ended = done(&environment, &["expose", "revoke"]);
    assert!(
        ended["states_ended"].as_u64().is_some_and(|ended| ended > 0),
        "closed already, and now the connections: {ended:#}"
    );
    // Who is inside does not come in by the port.
    let left = environment.demo(&["states", "-o", "json"]).json();
    for source in left["data"]["sources"].as_array().expect("sources") {
        let address = source["address"].as_str().and_then(|address| address.parse().ok());
        assert!(address.is_some_and(|it| kmsctl::domain::address::is_private(&it)), "{source}");
    }
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
        assert_eq!(records["filter"]["record"]["tracker"], "1763000004", "{records:#}");
        assert_eq!(done(&environment, way)["outcome"], "done");
        let after = show(&environment);
        for key in ["state", "caps", "alias"] {
            assert_eq!(after[key], before[key], "{way:?} {key}");
        }
        for key in ["nat", "filter"] {
            assert_eq!(after[key]["tracker"], before[key]["tracker"], "{way:?} {key}");
        }
        // Once more by undo: the records are what they were before the deletion, so there is nothing to take back.
        let told = environment.demo(&["undo", id, "--yes"]);
        assert!(told.stdout.contains("Nothing to do") || told.stderr.contains("already"), "{told}");
    }
}

#[test]
fn what_another_operator_deleted_is_put_back_from_what_the_firewall_keeps() {
    let environment = TestEnvironment::new();
    done(&environment, &["ratelimit", "set", "--max-src-conn", "33"]);
    let before = show(&environment);
    let deleted = done(&environment, &["expose", "revoke", "--delete"]);
    let id = deleted["id"].as_str().expect("an id");
    let journal = environment.home().join(".local/state/kmsctl/demo/journal.jsonl");
    std::fs::remove_file(journal).expect("as on another operator's machine");
    let planned = environment.demo(&["expose", "restore", "--dry-run"]).success();
    let what = format!("put back the rules that {id} by tester@demo deleted at 2026-03-01T12:21:");
    for part in [
        what.as_str(),
        "none -> port 1688 to k8s_kms_lb from any",
        "none -> pass to k8s_kms_lb port 1688 from any",
        "none -> 33",
        "absent -> open",
    ] {
        assert!(planned.contains(part), "{part}: {planned}");
    }
    assert_eq!(done(&environment, &["expose", "restore"])["outcome"], "done");
    let after = show(&environment);
    assert_eq!(after["caps"], before["caps"]);
    assert_eq!(after["filter"]["tracker"], "1763000004");
}

#[test]
fn rules_that_were_disabled_when_they_were_deleted_come_back_open() {
    let environment = TestEnvironment::new();
    done(&environment, &["expose", "revoke"]);
    done(&environment, &["expose", "revoke", "--delete"]);
    let restored = done(&environment, &["expose", "restore"]);
    assert_eq!(restored["outcome"], "done", "{restored:#}");
    assert_eq!(restored["after"]["port_forward"], "port 1688 to k8s_kms_lb from any");
    let shown = show(&environment);
    assert_eq!(shown["state"], "open", "{shown:#}");
    assert_eq!(shown["filter"]["tracker"], "1763000004");
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
        let wanted = if scenario == "open" { "nothing-to-do" } else { "done" };
        assert_eq!(first["outcome"], wanted, "{scenario}: {first:#}");
        let shown = show(&environment);
        assert_eq!(shown["state"], "open", "{scenario}: {:#}", shown["why"]);
        assert_eq!(shown["caps"]["loaded"]["rate"]["connections"], 10, "{scenario}");
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
    assert!(outcome.stderr.contains("built from kmsctl's configuration"), "{outcome}");
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

/// What the history says of a change.
fn remembered(environment: &TestEnvironment, id: &Value) -> Value {
    let id = id.as_str().expect("an id");
    environment.demo(&["history", id, "-o", "json"]).json()["data"].clone()
}

#[test]
fn a_closing_and_an_opening_are_proven_from_outside() {
    let environment = TestEnvironment::new();
    let revoked = done(&environment, &["expose", "revoke", "--verify"]);
    assert_eq!(revoked["outcome"], "done");
    let outside = &revoked["outside"];
    assert_eq!(
        (&outside["verdict"], &outside["as_expected"]),
        (&Value::from("closed"), &Value::from(true)),
        "{outside:#}"
    );
    assert_eq!(outside["firewall"]["dropped"], 3, "both ends: {outside:#}");
    let entry = remembered(&environment, &revoked["id"]);
    assert_eq!(entry["finish"]["outside"], *outside);
    assert_eq!(entry["plan"]["command"], "expose revoke --verify");
    let id = revoked["id"].as_str().expect("an id");
    let told = environment.demo(&["history", id]).success();
    assert!(told.contains("Outside") && told.contains("198.51.100.77"), "{told}");

    let restored = done(&environment, &["expose", "restore", "--verify", "--from", "vps"]);
    assert_eq!(restored["outcome"], "done");
    assert_eq!(restored["outside"]["verdict"], "open", "{restored:#}");
    assert_eq!(restored["outside"]["firewall"]["forwarded"], 1);
}

#[test]
fn an_opening_that_the_outside_does_not_see_is_not_done() {
    let environment = TestEnvironment::new().variable("KMSCTL_DEMO_SCENARIO", "backend-dead");
    done(&environment, &["expose", "revoke"]);
    let outcome =
        environment.demo(&["expose", "restore", "--verify", "--for", "30m", "--yes", "-o", "json"]);
    assert_eq!(outcome.code, Some(7), "{outcome}");
    let json: Value = serde_json::from_str(&outcome.stdout).expect("JSON");
    let data = &json["data"];
    assert_eq!(
        (&data["outcome"], &data["outside"]["verdict"]),
        (&Value::from("unverified"), &Value::from("closed"))
    );
    assert_eq!(data["reverts_at"], "2026-03-01T12:51:34Z");
    assert!(outcome.stderr.contains("rollback stays armed"), "{outcome}");
    let entry = remembered(&environment, &data["id"]);
    assert_eq!(entry["finish"]["ended"], "unverified");
    // The firewall did what it was told, so undo means this change.
    assert_eq!(done(&environment, &["undo"])["outcome"], "done");
    assert_eq!(show(&environment)["state"], "closed");
}

/// Puts the demo's vantage into the table of blocked addresses.
fn block_the_vantage(environment: &TestEnvironment) {
    let state = environment.home().join(".local/state/kmsctl/demo/state.json");
    let mut saved: Value = serde_json::from_str(&std::fs::read_to_string(&state).unwrap()).unwrap();
    let tables = saved["world"]["pf"]["tables"].as_array_mut().unwrap();
    let table = tables.iter_mut().find(|table| table["name"] == "virusprot").unwrap();
    table["entries"]["198.51.100.77/32"] = 1_772_367_000_000_i64.into();
    std::fs::write(&state, saved.to_string()).unwrap();
}

/// Notes so many connections of the demo's vantage, so many seconds before the test's moment.
fn spend_connections(environment: &TestEnvironment, count: usize, seconds_ago: i64) {
    let path = environment.home().join(".local/state/kmsctl/demo/vantages.json");
    let text = std::fs::read_to_string(&path).expect("what was spent");
    let spent: Vec<Value> = serde_json::from_str(&text).expect("JSON");
    let mut one = spent.first().expect("a connection").clone();
    one["at"] = (1_772_367_694_000_i64 - seconds_ago * 1000).into();
    std::fs::write(&path, Value::from(vec![one; count]).to_string()).expect("a file");
}

#[test]
fn no_proof_is_called_no_proof() {
    let environment = TestEnvironment::new();
    let proven = done(&environment, &["expose", "revoke", "--verify"]);
    assert!(proven["checks"].as_array().is_some_and(|checks| checks.len() > 1), "{proven:#}");
    done(&environment, &["expose", "restore"]);
    // Three of the five connections of this minute are spent: an opening needs one, a closing three.
    spend_connections(&environment, 3, 58);
    let dry = environment.demo(&["expose", "revoke", "--verify", "--dry-run"]);
    assert_eq!(dry.code, Some(0), "a dry run connects to nobody: {dry}");
    let closed = environment.demo(&["expose", "revoke", "--verify", "--yes"]);
    // The clock of this test stands still, so the wait ends without a connection.
    assert_eq!(closed.code, Some(8), "{closed}");
    assert!(closed.stderr.contains("begins in 2s"), "{closed}");
    assert!(closed.stderr.contains("It is closed already"), "{closed}");
    assert!(!closed.stderr.contains("Nothing was changed"), "{closed}");
    assert_eq!(show(&environment)["state"], "closed");
    // One connection is enough for an opening.
    spend_connections(&environment, 3, 0);
    done(&environment, &["expose", "restore", "--verify"]);
    done(&environment, &["expose", "revoke"]);
    spend_connections(&environment, 5, 0);
    let refused = environment.demo(&["expose", "restore", "--verify", "--yes"]);
    assert_eq!(refused.code, Some(6), "{refused}");
    for part in ["Nothing was changed", "before 1m have passed", "without --verify"] {
        assert!(refused.stderr.contains(part), "{part}: {refused}");
    }
    assert_eq!(show(&environment)["state"], "closed");
    done(&environment, &["expose", "restore"]);
    // A vantage that is shut out cannot tell what others are.
    std::fs::remove_file(environment.home().join(".local/state/kmsctl/demo/vantages.json"))
        .unwrap();
    block_the_vantage(&environment);
    let outcome = environment
        .demo(&["expose", "revoke", "--delete", "--verify", "--for", "30m", "--yes", "-o", "json"]);
    assert_eq!(outcome.code, Some(8), "{outcome}");
    let json: Value = serde_json::from_str(&outcome.stdout).expect("JSON");
    assert_eq!(json["data"]["outcome"], "unverified");
    assert_eq!(json["data"]["checks"], serde_json::json!([]), "{json:#}");
    assert_eq!(json["data"]["outside"]["verdict"], "inconclusive");
    let after = json["data"]["after"].as_object().expect("what is known");
    let caps = [after.get("max_src_conn"), after.get("rate")];
    assert_eq!(caps, [Some(&Value::Null); 2], "no rule, no caps: {json:#}");
    for part in ["is not proven", "rollback stays armed", "verify --external --expect closed"] {
        assert!(outcome.stderr.contains(part), "{part}: {outcome}");
    }
    // What --delete saved is found again, proven from outside or not.
    let restored = done(&environment, &["expose", "restore"]);
    assert_eq!(restored["outcome"], "done");
    assert_eq!(show(&environment)["filter"]["tracker"], "1763000004");
}

#[test]
fn nothing_to_do_is_proven_as_well() {
    let environment = TestEnvironment::new().variable("KMSCTL_DEMO_SCENARIO", "backend-dead");
    let outcome = environment.demo(&["expose", "restore", "--verify", "--yes"]);
    assert_eq!(outcome.code, Some(3), "{outcome}");
    assert!(
        outcome.stdout.contains("Nothing to do")
            && outcome.stdout.contains("no server answers behind"),
        "{outcome}"
    );
}

#[test]
fn a_proof_nobody_can_make_is_refused_before_anything_is_changed() {
    let environment = TestEnvironment::new();
    let told = environment
        .demo(&["expose", "revoke", "--verify", "--from", "office", "--yes"])
        .fails_with(2);
    assert!(told.contains("There are: vps."), "{told}");
    for arguments in [
        &["expose", "revoke", "--from", "vps", "--yes"][..],
        &["expose", "revoke", "--verify", "--plan-out", "p.json"],
        &["expose", "apply", "--verify", "--yes"],
    ] {
        let _ = environment.demo(arguments).fails_with(2);
    }
    assert_eq!(show(&environment)["state"], "open");
    // Without the demo there is no vantage unless one is configured; no connection is made to find that out.
    let told = TestEnvironment::new().run(&["expose", "revoke", "--verify", "--yes"]).fails_with(2);
    assert!(told.contains("No vantage is configured"), "{told}");
    let planned = environment.demo(&["expose", "revoke", "--verify", "--dry-run"]).success();
    assert!(planned.contains("From outside, no connection opens."), "{planned}");
}

/// `expose show`, `status`, `doctor` and `verify` rest on one judgement, in every scenario of the demo.
#[test]
fn four_commands_say_one_thing_of_the_exposure() {
    let environment = TestEnvironment::new();
    let listed = environment.run(&["demo", "scenarios", "-o", "json"]).json();
    let scenarios = listed["data"]["scenarios"].as_array().expect("a list");
    assert!(scenarios.len() > 20, "{listed}");
    for scenario in scenarios {
        let name = scenario["name"].as_str().expect("a name");
        let demo = format!("--demo={name}");
        let run = |words: &str| {
            let words: Vec<&str> = words.split(' ').collect();
            let json = [&[demo.as_str(), "-o", "json"], words.as_slice()].concat();
            environment.run(&json)
        };
        let (shown, status) = (run("expose show"), run("status"));
        let (doctor, verified) = (run("doctor"), run("verify"));
        if shown.code != Some(0) {
            assert_ne!(doctor.code, Some(0), "{name}: {doctor}");
            assert_ne!(verified.code, Some(0), "{name}: {verified}");
            continue;
        }
        let (exposure, status) = (shown.json()["data"].clone(), status.json()["data"].clone());
        for field in ["state", "why", "paths", "caps", "alias"] {
            assert_eq!(exposure[field], status["expose"][field], "{name}: {field}");
        }
        let is_whole = matches!(exposure["state"].as_str(), Some("open" | "closed"));
        let finds = |list: &Value| {
            list.as_array().is_some_and(|findings| {
                let about = |finding: &&Value| finding["check"] == "exposure";
                findings.iter().filter(about).any(|found| found["result"] != "ok")
            })
        };
        if !is_whole {
            assert_eq!(doctor.code, Some(3), "{name}: {doctor}");
            assert!(matches!(verified.code, Some(3 | 8)), "{name}: {verified}");
            assert!(finds(&status["findings"]), "{name}: {status:#}");
            let expected = run("expose show --expect open");
            assert_eq!(expected.code, Some(3), "{name}: {expected}");
        }
        let hops = serde_json::from_str::<Value>(&verified.stdout).expect("JSON");
        let expected = run("expose show --expect open");
        let is_open = exposure["state"] == "open" && expected.code == Some(0);
        if verified.code == Some(0) {
            assert!(is_whole, "{name}: {verified}");
        }
        let is_fine = is_open || exposure["state"] == "closed" && name != "pf-disabled";
        // Without the configuration it is not known what is meant.
        if !hops["data"]["expected"].is_null() {
            assert_eq!(finds(&hops["data"]["hops"]), !is_fine, "{name}: {hops:#}");
        }
    }
}

/// Without a probe, from inside and from outside an expectation is judged alike: `closed` is that no path is loaded, and a half
/// pair is none.
#[test]
fn four_commands_judge_an_expectation_alike() {
    for (scenario, open, closed) in [
        ("absent", 3, 0),
        ("backend-dead", 0, 3),
        ("closed", 3, 0),
        ("drifted", 3, 3),
        ("floating", 3, 3),
        ("half", 3, 0),
        ("half-filter", 3, 0),
        ("no-cron", 0, 3),
        ("old-target", 3, 3),
        ("one-to-one", 3, 3),
        ("open", 0, 3),
        ("pass-association", 3, 3),
        ("pf-disabled", 3, 3),
        ("php-missing", 8, 3),
        ("routed", 3, 3),
        ("shadowed", 3, 0),
        ("shared-association", 3, 3),
        ("table-missing", 3, 3),
        ("uncapped", 3, 3),
    ] {
        let demo = format!("--demo={scenario}");
        for command in ["expose show", "status", "verify", "verify --external"] {
            for (expect, code) in [("open", open), ("closed", closed)] {
                let words: Vec<&str> = command.split(' ').collect();
                let words = [&[demo.as_str()], words.as_slice(), &["--expect", expect]].concat();
                let outcome = TestEnvironment::new().run(&words);
                // The rules are as they should be there, and the server is not.
                let server = scenario == "backend-dead" && command.starts_with("verify");
                let code = if server { 3 } else { code };
                assert_eq!(outcome.code, Some(code), "{words:?}: {outcome}");
            }
        }
    }
}

/// Where `revoke` cannot close, it says how it is closed by hand; no other command recommends it there.
#[test]
fn a_refused_closing_says_how_it_is_closed() {
    let by_hand = "Firewall > NAT > Port Forward";
    for scenario in ["denied", "locked", "old-target", "php-missing"] {
        let environment = TestEnvironment::new()
            .variable("KMSCTL_DEMO_SCENARIO", scenario)
            .variable("KMSCTL_TIMEOUT", "3s");
        let refused = environment.demo(&["expose", "revoke", "--yes"]);
        assert!(matches!(refused.code, Some(1 | 5 | 6)), "{refused}");
        let last = refused.stderr.lines().last().unwrap_or_default();
        assert!(last.contains(by_hand), "{scenario}: {refused}");
        assert_eq!(refused.stderr.matches(by_hand).count(), 1, "{refused}");
    }
    for scenario in ["old-target", "php-missing"] {
        for command in ["expose show", "status", "verify", "verify --external"] {
            let demo = format!("--demo={scenario}");
            let words: Vec<&str> = command.split(' ').collect();
            let words = [&[demo.as_str()], words.as_slice(), &["--expect", "closed"]].concat();
            let said = TestEnvironment::new().run(&words);
            assert_eq!(said.code, Some(3), "{words:?}: {said}");
            // What `status` and `expose show` say on the other stream is about what is configured.
            let said = if command.starts_with("verify") { said.to_string() } else { said.stderr };
            assert!(!said.contains("expose revoke"), "{words:?}: {said}");
            assert!(!said.contains("expose apply"), "{words:?}: {said}");
            assert!(said.contains(by_hand), "{words:?}: {said}");
        }
    }
}

#[test]
fn a_timer_that_is_not_armed_is_named() {
    for (first, again) in [
        (&["expose", "revoke", "--delete"][..], &["expose", "revoke", "--delete"][..]),
        (&["expose", "revoke"], &["expose", "revoke"]),
        (&["expose", "revoke", "--delete"], &["expose", "revoke"]),
    ] {
        let environment = TestEnvironment::new();
        environment.demo(&[first, &["--keep-states", "--yes"]].concat()).success();
        // Connections from before are all that is left to end.
        for how in ["--dry-run", "--yes"] {
            let outcome = environment.demo(&[again, &["--for", "2h", how]].concat());
            let all = format!("{}{}", outcome.stdout, outcome.stderr);
            assert!(all.contains("No rollback was armed"), "{outcome}");
            let named = all.contains("rules are left as they are");
            assert!(named || how == "--yes", "the plan: {outcome}");
        }
        let outcome = environment.demo(&[again, &["--for", "2h", "--yes"]].concat());
        assert!(outcome.success().contains("No rollback was armed"), "nothing at all to do");
    }
    let environment = TestEnvironment::new();
    for (command, option) in [
        (&["expose", "restore"][..], "--for"),
        (&["ratelimit", "default"], "--for"),
        (&["expose", "apply"], "--for"),
        (&["keep"], "--for"),
    ] {
        let outcome = environment.demo(&[command, &[option, "2h", "--yes"]].concat());
        let shown = outcome.success();
        assert!(shown.contains("Nothing to do"), "{command:?}: {shown}");
        assert!(shown.contains("rollback") || command == ["keep"], "{command:?}: {shown}");
    }
}

#[test]
fn an_undo_that_closes_says_how_connections_end() {
    let environment = TestEnvironment::new();
    environment.demo(&["expose", "revoke", "--keep-states", "--yes"]).success();
    environment.demo(&["expose", "restore", "--yes"]).success();
    let undone = environment.demo(&["undo", "--yes"]);
    let kill = "kmsctl --demo states kill --all";
    assert!(undone.stderr.contains(kill), "{undone}");
    let environment = TestEnvironment::new();
    let kept = environment.demo(&["expose", "revoke", "--keep-states", "--yes"]);
    assert!(kept.stderr.contains(kill), "{kept}");
}
