//! `kmsctl history`, `undo` and the file behind them.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::support::environment::TestEnvironment;

fn done(environment: &TestEnvironment, arguments: &[&str]) -> Value {
    environment.demo(&[arguments, &["--yes", "-o", "json"]].concat()).json()["data"].clone()
}

fn journal(environment: &TestEnvironment) -> std::path::PathBuf {
    environment.home().join(".local/state/kmsctl/demo/journal.jsonl")
}

fn blocked(environment: &TestEnvironment) -> Vec<String> {
    let csv = environment.demo(&["virusprot", "show", "--sort", "address", "-o", "csv"]).success();
    csv.lines().skip(1).filter_map(|line| line.split(',').next().map(str::to_owned)).collect()
}

#[test]
fn the_list_says_what_by_whom_and_how_it_stands() {
    let environment = TestEnvironment::new();
    assert!(environment.demo(&["history"]).stderr.contains("Nothing was changed yet"));
    let first = done(&environment, &["ratelimit", "tighten", "--reason", "abuse"]);
    done(&environment, &["virusprot", "flush"]);
    done(&environment, &["undo", first["id"].as_str().expect("an id")]);
    let list = environment.demo(&["history", "-o", "json"]).json();
    assert_eq!(list["schema"], "kmsctl/history/v1");
    let entries = list["data"]["entries"].as_array().expect("entries");
    let commands: Vec<&str> =
        entries.iter().filter_map(|entry| entry["command"].as_str()).collect();
    let undo = format!("undo {}", first["id"].as_str().expect("an id"));
    assert_eq!(commands, [undo.as_str(), "virusprot flush", "ratelimit tighten"]);
    assert_eq!(
        (&entries[2]["who"], &entries[2]["reason"], &entries[2]["source"]),
        (&"tester@demo".into(), &"abuse".into(), &"here".into())
    );
    assert_eq!(entries[2]["undone_by"], entries[0]["id"]);
    for form in ["table", "ndjson", "csv"] {
        assert!(!environment.demo(&["history", "-o", form]).success().is_empty(), "{form}");
    }
    let whole = environment.demo(&["history", first["id"].as_str().expect("an id")]).success();
    for wanted in [
        "Undone ",
        "50 -> 10",
        "What differed on the firewall:",
        "max-src-conn: \"50\"",
        "max-src-conn: \"10\"",
    ] {
        assert!(whole.contains(wanted), "{wanted}: {whole}");
    }
    environment.demo(&["history", "ffffffffffff"]).fails_with(2);
    environment.demo(&["undo", "ffffffffffff", "--yes"]).fails_with(2);
    environment.demo(&["keep", "ffffffffffff", "--yes"]).fails_with(2);
}

#[test]
fn every_change_is_taken_back_once() {
    let environment = TestEnvironment::new();
    let entries = blocked(&environment);
    let state =
        || environment.demo(&["expose", "show", "-o", "json"]).json()["data"]["caps"].clone();
    let before = state();
    let changes: [&[&str]; 6] = [
        &["ratelimit", "tighten"],
        &["ratelimit", "set", "--rate", "none"],
        &["virusprot", "flush"],
        &["expose", "revoke"],
        &["expose", "revoke", "--delete"],
        &["virusprot", "delete", &entries[0]],
    ];
    for change in changes {
        let id = done(&environment, change)["id"].as_str().expect("an id").to_owned();
        let undone = done(&environment, &["undo"]);
        assert_eq!(undone["outcome"], "done", "{change:?}");
        assert_eq!(blocked(&environment), entries, "{change:?}");
        assert_eq!(state(), before, "{change:?}");
        let told = environment.demo(&["undo", &id, "--yes"]).fails_with(1);
        assert!(told.contains("taken back already"), "{change:?}: {told}");
    }
    let told = environment.demo(&["undo", "--yes"]).fails_with(1);
    assert!(told.contains("nothing to take back"), "{told}");
    environment.demo(&["history", "--verify"]).success();
}

#[test]
fn an_undo_of_an_undo_makes_the_change_once_more() {
    let environment = TestEnvironment::new();
    done(&environment, &["ratelimit", "tighten"]);
    let undone = done(&environment, &["undo"]);
    let again = done(&environment, &["undo", undone["id"].as_str().expect("an id")]);
    assert_eq!(again["after"]["max_src_conn"], 10, "{again:#}");
    assert!(environment.demo(&["ratelimit", "show"]).success().contains("preset tighten"));
}

#[test]
fn what_moved_on_since_is_left_alone() {
    let environment = TestEnvironment::new();
    let first = done(&environment, &["ratelimit", "tighten"]);
    done(&environment, &["ratelimit", "loosen"]);
    let told =
        environment.demo(&["undo", first["id"].as_str().expect("an id"), "--yes"]).fails_with(6);
    assert!(told.contains("moved on since"), "{told}");
    assert!(environment.demo(&["ratelimit", "show"]).success().contains("preset loosen"));
}

#[test]
fn ages_restart_and_undo_says_so() {
    let environment = TestEnvironment::new();
    done(&environment, &["virusprot", "flush"]);
    let outcome = environment.demo(&["undo", "--yes"]);
    assert!(outcome.stderr.contains("Ages restart"), "{outcome}");
    let shown = environment.demo(&["virusprot", "show", "-o", "json"]).json();
    let ages: Vec<u64> = shown["data"]["entries"]
        .as_array()
        .expect("entries")
        .iter()
        .filter_map(|entry| entry["age_seconds"].as_u64())
        .collect();
    assert!(!ages.is_empty() && ages.iter().all(|age| *age == 0), "{ages:?}");
}

#[test]
fn ended_connections_cannot_be_taken_back() {
    let environment = TestEnvironment::new();
    let killed = done(&environment, &["states", "kill", "--all"]);
    let told =
        environment.demo(&["undo", killed["id"].as_str().expect("an id"), "--yes"]).fails_with(1);
    assert!(told.contains("do not come back"), "{told}");
}

/// Writes what the history's head was when this line was the last one.
fn write_head(environment: &TestEnvironment, line: &str) {
    let line: Value = serde_json::from_str(line).expect("JSON");
    let head = serde_json::json!({ "seq": line["seq"], "hash": line["hash"] });
    let path = journal(environment).with_file_name("journal.head");
    std::fs::write(path, head.to_string()).expect("a head");
}

#[test]
fn a_torn_record_is_recovered_and_reported() {
    let environment = TestEnvironment::new();
    done(&environment, &["ratelimit", "tighten"]);
    let text = std::fs::read(journal(&environment)).expect("a history");
    std::fs::write(journal(&environment), &text[..text.len() - 20]).expect("a torn history");
    // A machine that goes down while writing has not come to the head yet.
    let first = String::from_utf8_lossy(&text);
    write_head(&environment, first.lines().next().expect("a line"));
    let verified = environment.demo(&["history", "--verify"]);
    assert!(verified.code == Some(0) && verified.stderr.contains("torn"), "{verified}");
    // How the change ended was in the torn record; the firewall is asked, and knows.
    let list = environment.demo(&["history", "--local", "-o", "json"]).json();
    assert_eq!(list["data"]["entries"][0]["outcome"], "unknown");
    let id = list["data"]["entries"][0]["id"].as_str().expect("an id").to_owned();
    assert!(environment.demo(&["history", &id]).success().contains("done: "));
    std::fs::write(journal(&environment), &text[..text.len() - 20]).expect("a torn history");
    write_head(&environment, first.lines().next().expect("a line"));
    let outcome = environment.demo(&["virusprot", "flush", "--yes"]);
    assert!(outcome.code == Some(0) && outcome.stderr.contains("torn record"), "{outcome}");
    assert!(
        environment.demo(&["history", "--verify"]).success().contains("chain of 4 records holds")
    );
}

#[test]
fn a_change_whose_ending_was_never_written_is_settled_by_undo() {
    let environment = TestEnvironment::new();
    let id =
        done(&environment, &["ratelimit", "tighten"])["id"].as_str().expect("an id").to_owned();
    let text = std::fs::read_to_string(journal(&environment)).expect("a history");
    let first: String = text.lines().take(1).map(|line| format!("{line}\n")).collect();
    std::fs::write(journal(&environment), first).expect("a history");
    assert_eq!(done(&environment, &["undo", &id])["outcome"], "done");
    assert!(environment.demo(&["ratelimit", "show"]).success().contains("preset default"));
}

#[test]
fn what_the_firewall_has_brought_to_another_end_since_is_asked_for() {
    let environment = TestEnvironment::new();
    let id =
        done(&environment, &["ratelimit", "tighten"])["id"].as_str().expect("an id").to_owned();
    // As it was written while the firewall could not prove it yet.
    let text = std::fs::read_to_string(journal(&environment)).expect("a history");
    let then = text
        .replace(r#""ended":"done""#, r#""ended":"unverified""#)
        .replace(r#""result":"done""#, r#""result":"unproven""#);
    assert_ne!(then, text);
    std::fs::write(journal(&environment), then).expect("a history");
    let local = environment.demo(&["history", &id, "--local", "-o", "json"]);
    assert_eq!(local.json()["data"]["outcome"], "unverified");
    let asked = environment.demo(&["history", &id, "-o", "json"]).json();
    assert_eq!(asked["data"]["outcome"], "done", "{asked:#}");
    let list = environment.demo(&["history", "--local", "-o", "json"]).json();
    assert_eq!(list["data"]["entries"][0]["outcome"], "done");
}

#[test]
fn a_broken_chain_is_named_and_does_not_stop_anybody() {
    let environment = TestEnvironment::new();
    done(&environment, &["ratelimit", "tighten"]);
    done(&environment, &["virusprot", "flush"]);
    let text = std::fs::read_to_string(journal(&environment)).expect("a history");
    std::fs::write(journal(&environment), text.replacen("tester@demo", "nobody@demo", 1))
        .expect("a forged history");
    let verified = environment.demo(&["history", "--verify", "-o", "json"]);
    assert_eq!(verified.code, Some(3), "{verified}");
    let shown: Value = serde_json::from_str(&verified.stdout).expect("JSON");
    assert_eq!(shown["data"]["breaks"][0]["line"], 1, "{shown:#}");
    let told = "The chain is broken in 1 place.";
    assert!(verified.stderr.contains(told), "{verified}");
    assert!(environment.demo(&["history"]).stderr.contains("chain is broken at line 1"));
    let without: String = text.lines().skip(1).map(|line| format!("{line}\n")).collect();
    std::fs::write(journal(&environment), without).expect("a history with a hole");
    environment.demo(&["history", "--verify"]).fails_with(3);
    done(&environment, &["ratelimit", "loosen"]);
    let forged = text.replace("tester@demo", "nobody@demo");
    std::fs::write(journal(&environment), forged).expect("a history forged twice");
    let verified = environment.demo(&["history", "--verify", "-o", "json"]);
    let shown: Value = serde_json::from_str(&verified.stdout).expect("JSON");
    let count = shown["data"]["breaks"].as_array().map_or(0, Vec::len);
    assert!(count > 1, "{shown:#}");
    let told = format!("The chain is broken in {count} places.");
    assert!(verified.stderr.contains(&told), "{verified}");
}

#[test]
fn a_rollback_that_a_later_change_disarmed_is_told_as_superseded() {
    let environment = TestEnvironment::new();
    let first = done(&environment, &["expose", "revoke", "--for", "1m"]);
    let warned = environment.demo(&["expose", "restore", "--yes"]);
    let first = first["id"].as_str().expect("an id");
    let warning = format!(
        "The temporary change {first} is armed to revert; this change supersedes and disarms it."
    );
    assert!(warned.stderr.contains(&warning), "{warned}");
    done(&environment, &["expose", "revoke"]);
    let later = environment.variable("KMSCTL_DEMO_NOW", "2026-03-01T12:31:34Z");
    let shown = later.demo(&["expose", "show", "-o", "json"]).json();
    assert_eq!(shown["data"]["state"], "closed", "the first does not open it");
    let list = later.demo(&["history", "-o", "json"]).json();
    let entries = list["data"]["entries"].as_array().expect("entries");
    assert_eq!(list["data"]["armed"], serde_json::json!([]));
    assert_eq!(entries[2]["id"], first);
    assert_eq!(entries[2]["superseded_by"], entries[1]["id"], "{list:#}");
    let by = entries[1]["id"].as_str().expect("an id");
    let told = later.demo(&["history"]).success();
    assert!(told.contains(&format!("superseded by {by}")), "{told}");
    let told = later.demo(&["history", first]).success();
    assert!(told.contains(&format!("by {by}, so it is not")), "{told}");
}

#[test]
fn another_operators_changes_are_listed_too() {
    let environment = TestEnvironment::new();
    let id = done(&environment, &["ratelimit", "tighten"])["id"].clone();
    std::fs::remove_file(journal(&environment)).expect("as another operator sees it");
    let list = environment.demo(&["history", "-o", "json"]).json();
    let entry = &list["data"]["entries"][0];
    assert_eq!(
        (&entry["id"], &entry["source"], &entry["who"]),
        (&id, &"firewall".into(), &"tester@demo".into()),
        "{list:#}"
    );
    let local = environment.demo(&["history", "--local", "-o", "json"]).json();
    assert_eq!(local["data"]["entries"], serde_json::json!([]));
}

/// Makes a change and gives its id, also where it fails.
fn made(environment: &TestEnvironment, arguments: &[&str]) -> String {
    let _outcome = environment.demo(&[arguments, &["--yes"]].concat());
    let list = environment.demo(&["history", "--local", "-o", "json"]).json();
    let id = list["data"]["entries"][0]["id"].as_str();
    id.expect("a change").to_owned()
}

#[test]
fn an_entry_says_what_became_of_its_differences() {
    let scenario = |name| TestEnvironment::new().variable("KMSCTL_DEMO_SCENARIO", name);
    let tighten: &[&str] = &["ratelimit", "tighten"];
    let revoke: &[&str] = &["expose", "revoke"];
    for (name, command, became, clause) in [
        ("open", tighten, "made", ""),
        ("load-fails", tighten, "taken-back", "taken back"),
        ("load-fails", revoke, "taken-back", "taken back"),
        ("disk-full", tighten, "not-made", "never made"),
        ("write-fails", revoke, "not-made", "never made"),
        ("unproven", tighten, "not-known", "not known"),
    ] {
        let environment = scenario(name);
        let id = made(&environment, command);
        let shown = environment.demo(&["history", &id, "--local"]).success();
        let entry = environment.demo(&["history", &id, "--local", "-o", "json"]).json();
        assert_eq!(entry["data"]["became"], became, "{name} {command:?}");
        let facts: Vec<&str> = shown.lines().filter(|line| line.contains(" -> ")).collect();
        assert!(!facts.is_empty(), "{name} {command:?}: {shown}");
        for fact in facts {
            assert!(
                fact.contains(clause) && (clause.is_empty() != fact.contains('(')),
                "{name} {command:?}: {shown}"
            );
        }
    }
    let environment = TestEnvironment::new();
    let id = made(&environment, &["virusprot", "flush"]);
    done(&environment, &["undo"]);
    let shown = environment.demo(&["history", &id]).success();
    assert!(shown.contains("-> 0 (taken back)"), "{shown}");
    // The ending is lost: only the beginning is in the file.
    let file = journal(&environment);
    let text = std::fs::read_to_string(&file).expect("a history");
    let first = text.lines().next().expect("a line");
    std::fs::write(&file, format!("{first}\n")).expect("a history");
    let shown = environment.demo(&["history", &id, "--local"]).success();
    assert!(shown.contains("whether it was made is not known"), "{shown}");
}

/// What superseded a change stands before it, also where it cannot be taken back itself.
#[test]
fn undo_never_goes_past_what_superseded() {
    for (temporary, permanent) in [
        (&["expose", "revoke"][..], &["expose", "revoke"][..]),
        (&["expose", "revoke"], &["expose", "revoke", "--keep-states"]),
    ] {
        let environment = TestEnvironment::new();
        made(&environment, &[temporary, &["--for", "2h"]].concat());
        let last = made(&environment, permanent);
        let refused = environment.demo(&["undo", "--yes"]).fails_with(1);
        assert!(
            refused.contains(&format!("{last} cannot be taken back. To open it: ")),
            "{refused}"
        );
        let shown = environment.demo(&["expose", "show", "-o", "json"]).json();
        assert_eq!(shown["data"]["state"], "closed", "{shown:#}");
    }
}

#[test]
fn an_undo_without_an_id_names_what_it_undoes() {
    let environment = TestEnvironment::new();
    let id = made(&environment, &["ratelimit", "tighten"]);
    for how in [&["--dry-run"][..], &["--yes"]] {
        let outcome = environment.demo(&[&["undo"], how].concat());
        for part in [id.as_str(), "2026-03-01T12:21:34Z", "ratelimit tighten"] {
            assert!(outcome.stderr.contains(part), "{part}: {outcome}");
        }
    }
}

#[test]
fn an_entry_says_that_its_plan_came_from_a_file() {
    let environment = TestEnvironment::new();
    for change in [&["ratelimit", "tighten"][..], &["virusprot", "flush"]] {
        let file = format!("{}.json", change[0]);
        environment.demo(&[change, &["--plan-out", &file]].concat()).success();
        environment.demo(&["apply", &file, "--yes"]).success();
        let entry = environment.demo(&["history", "--local", "-o", "json"]).json();
        let id = entry["data"]["entries"][0]["id"].as_str().expect("an id");
        let shown = environment.demo(&["history", id]).success();
        assert!(shown.contains("a plan file, made at"), "{shown}");
        assert!(shown.contains(&file), "{shown}");
        assert!(shown.contains(&change.join(" ")), "{shown}");
    }
    let id = made(&environment, &["ratelimit", "default"]);
    let shown = environment.demo(&["history", &id]).success();
    assert!(!shown.contains("plan file"), "{shown}");
}

#[test]
fn records_cut_off_at_the_end_are_found() {
    type Cut = fn(&std::path::Path, &str);
    let cuts: [(&str, Cut, &str); 4] = [
        ("the last", |path, text| keep_lines(path, text, 5), "1 record is missing"),
        ("four", |path, text| keep_lines(path, text, 2), "4 records are missing"),
        ("all", |path, _| std::fs::write(path, "").expect("a history"), "6 records are missing"),
        (
            "the file",
            |path, _| std::fs::remove_file(path).expect("a history"),
            "6 records are missing",
        ),
    ];
    for (name, cut, words) in cuts {
        let environment = TestEnvironment::new();
        done(&environment, &["ratelimit", "tighten"]);
        done(&environment, &["virusprot", "flush"]);
        done(&environment, &["ratelimit", "loosen"]);
        environment.demo(&["history", "--verify"]).success();
        let path = journal(&environment);
        let text = std::fs::read_to_string(&path).expect("a history");
        cut(&path, &text);
        let verified = environment.demo(&["history", "--verify"]);
        let shown = format!("{}{}", verified.stdout, verified.stderr);
        assert_eq!(verified.code, Some(3), "{name}: {shown}");
        assert!(shown.contains(words), "{name}: {shown}");
        let doctor = environment.demo(&["doctor", "--problems"]);
        assert!(
            doctor.code == Some(3) && doctor.stdout.contains("missing at the end"),
            "{name}: {doctor}"
        );
        // A change is made all the same, can be undone, and the gap stays named.
        done(&environment, &["ratelimit", "default"]);
        done(&environment, &["undo"]);
        environment.demo(&["history", "--verify"]).fails_with(3);
    }
}

fn keep_lines(path: &std::path::Path, text: &str, count: usize) {
    let kept: String = text.split_inclusive('\n').take(count).collect();
    std::fs::write(path, kept).expect("a history");
}

#[test]
fn a_head_that_is_behind_cries_no_wolf_and_one_that_is_missing_is_named() {
    let environment = TestEnvironment::new();
    let first = environment.demo(&["history", "--verify"]).success();
    assert!(first.contains("There is no history yet"), "{first}");
    done(&environment, &["ratelimit", "tighten"]);
    done(&environment, &["virusprot", "flush"]);
    let text = std::fs::read_to_string(journal(&environment)).expect("a history");
    let head = journal(&environment).with_file_name("journal.head");
    let mode = std::fs::metadata(&head).expect("a head").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // A machine that went down between the two.
    write_head(&environment, text.lines().nth(2).expect("a line"));
    environment.demo(&["history", "--verify"]).success();
    done(&environment, &["ratelimit", "loosen"]);
    environment.demo(&["history", "--verify"]).success();
    std::fs::remove_file(&head).expect("a head");
    let verified = environment.demo(&["history", "--verify"]).fails_with(8);
    assert!(verified.contains("journal.head"), "{verified}");
    let doctor = environment.demo(&["doctor", "--problems"]).stdout;
    assert!(doctor.contains("journal.head"), "{doctor}");
    done(&environment, &["ratelimit", "default"]);
    environment.demo(&["history", "--verify"]).success();
    // Rewritten as a whole, chain and all: the head knows another end.
    let path = journal(&environment);
    keep_lines(&path, &std::fs::read_to_string(&path).expect("a history"), 4);
    std::fs::remove_file(&head).expect("a head");
    done(&environment, &["virusprot", "add", "203.0.113.99"]);
    let other = std::fs::read_to_string(&path).expect("a history");
    let last = other.lines().last().expect("a line").replace("\"hash\":\"", "\"hash\":\"0");
    write_head(&environment, &last);
    environment.demo(&["history", "--verify"]).fails_with(3);
    std::fs::write(&head, "rubbish").expect("a head");
    environment.demo(&["history", "--verify"]).fails_with(3);
    environment.demo(&["demo", "reset"]).success();
    environment.demo(&["history", "--verify"]).success();
}

/// Replaces words of the history and makes its chain and its head anew, as one who may write the files can.
fn rewrite(environment: &TestEnvironment, words: &[(&str, &str)]) {
    let mut previous = kmsctl::journal::BEGINNING.to_owned();
    let mut lines = String::new();
    let text = std::fs::read_to_string(journal(environment)).expect("a history");
    for line in text.lines() {
        let (_, seq) = line.split_once("\"seq\":").expect("a record");
        let mut seq = seq.to_owned();
        for (from, to) in words {
            seq = seq.replace(from, to);
        }
        let rest = format!("\"previous\":\"{previous}\",\"seq\":{seq}");
        let digest = Sha256::digest(rest.as_bytes());
        previous = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        lines.push_str(&format!("{{\"hash\":\"{previous}\",{rest}\n"));
    }
    assert_ne!(lines, text, "{words:?}");
    write_head(environment, lines.lines().last().expect("a record"));
    std::fs::write(journal(environment), lines).expect("a history");
}

#[test]
fn a_record_whose_words_are_not_what_it_did_is_refused() {
    let freed = ["virusprot", "flush"];
    for (change, words) in [
        (
            &["ratelimit", "tighten"][..],
            &[("\"command\":\"ratelimit tighten", "\"command\":\"expose show")][..],
        ),
        (
            &["ratelimit", "tighten"],
            &[("\"before\":50,\"after\":10", "\"before\":40,\"after\":10")],
        ),
        (
            &["expose", "revoke"],
            &[("\"command\":\"expose revoke", "\"command\":\"ratelimit loosen")],
        ),
        (&freed, &[("Free ", "Free 1 of ")]),
        (
            &freed,
            &[
                ("\"table\":\"virusprot\"", "\"table\":\"sshguard\""),
                ("from virusprot", "from sshguard"),
            ],
        ),
        (&["virusprot", "add", "203.0.113.99"], &[("Block ", "Block 1 of ")]),
        (
            &["virusprot", "add", "203.0.113.99"],
            &[(
                "\"changed\":[{\"address\":\"203.0.113.99",
                "\"changed\":[{\"address\":\"192.168.1.1",
            )],
        ),
        (
            &["virusprot", "add", "203.0.113.99", "203.0.113.98"],
            &[("\"changed\":[", "\"changed\":[{\"address\":\"192.168.1.1\",\"since\":null},")],
        ),
        (
            &freed,
            &[("\"changed\":[", "\"changed\":[{\"address\":\"128.0.0.0/2\",\"since\":null},")],
        ),
        (
            &["virusprot", "add", "203.0.113.99"],
            &[("\"command\":\"virusprot add", "\"command\":\"virusprot delete")],
        ),
        (&["expose", "revoke"], &[("\"command\":\"expose revoke", "\"command\":\"expose restore")]),
    ] {
        let environment = TestEnvironment::new();
        done(&environment, change);
        rewrite(&environment, words);
        environment.demo(&["history", "--verify"]).success();
        let (entries, shown) = (blocked(&environment), ["expose", "show", "-o", "json"]);
        let exposure = environment.demo(&shown).json()["data"].clone();
        let refused = environment.demo(&["undo", "--yes"]).fails_with(6);
        assert!(refused.contains("nothing was changed"), "{words:?}: {refused}");
        assert_eq!(blocked(&environment), entries);
        assert_eq!(environment.demo(&shown).json()["data"], exposure);
    }
}

#[test]
fn a_history_that_is_open_to_others_is_named() {
    for (name, mode) in
        [("journal.jsonl", 0o666), ("journal.jsonl", 0o640), ("journal.head", 0o622), ("", 0o755)]
    {
        let environment = TestEnvironment::new();
        done(&environment, &["virusprot", "delete", "203.0.113.65"]);
        let directory = journal(&environment);
        let path = directory.with_file_name(name);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("it is ours");
        let words = format!("mode {mode:o}");
        let verified = environment.demo(&["history", "--verify"]);
        assert!(verified.stderr.contains(&words), "{name} {mode:o}: {verified}");
        let doctor = environment.demo(&["doctor", "--problems"]);
        // The simulated firewall closes the directory, which is its own too.
        assert!(
            name.is_empty() || (doctor.code == Some(3) && doctor.stdout.contains(&words)),
            "{name} {mode:o}: {doctor}"
        );
        done(&environment, &["ratelimit", "loosen"]);
        assert_eq!(environment.demo(&["doctor"]).code, Some(0), "{name} {mode:o}");
    }
}

#[test]
fn a_history_that_cannot_be_written_is_named() {
    const ANOTHER: u32 = 65534;
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|found| found.uid() == 0);
    let environment = TestEnvironment::new();
    let run = |arguments: &[&str]| {
        let mut command = environment.command(arguments);
        if is_root {
            command.uid(ANOTHER).gid(ANOTHER);
        }
        let output = command.output().expect("kmsctl runs");
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&text).into_owned())
    };
    let give = |path: &std::path::Path| {
        if is_root {
            std::os::unix::fs::chown(path, Some(ANOTHER), Some(ANOTHER)).expect("root may");
        }
    };
    give(environment.home());
    let (code, text) = run(&["--demo", "virusprot", "delete", "203.0.113.65", "--yes"]);
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(run(&["--demo", "doctor"]).0, Some(0));
    let path = journal(&environment);
    let directory = path.parent().expect("a directory");
    for (locked, mode, back) in [(path.as_path(), 0o400, 0o600), (directory, 0o500, 0o700)] {
        let set = |mode| {
            std::fs::set_permissions(locked, std::fs::Permissions::from_mode(mode))
                .expect("a mode");
        };
        set(mode);
        let (code, doctor) = run(&["--demo", "doctor", "--problems"]);
        let (_, status) = run(&["--demo", "status"]);
        set(back);
        assert_eq!(code, Some(3), "{}: {doctor}", locked.display());
        // The demo itself does not start in such a directory.
        let status = Some(status).filter(|_| locked == path);
        for text in [Some(doctor), status].into_iter().flatten() {
            let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(text.contains("cannot be written"), "{}: {text}", locked.display());
        }
    }
}

#[test]
fn an_entry_has_moments_and_says_how_it_ended() {
    let environment = TestEnvironment::new();
    let id = made(&environment, &["expose", "revoke", "--for", "2h"]);
    let by = made(&environment, &["undo", &id]);
    let seconds = regex::Regex::new(r"\b1[5-9]\d{8}\b").expect("a pattern");
    for id in [&id, &by] {
        let shown = environment.demo(&["history", id]).success();
        let steps = shown.split("What differed").next().unwrap_or_default();
        assert!(!seconds.is_match(steps), "{shown}");
        assert!(steps.contains("Outcome") && steps.contains("done: Written"), "{shown}");
        assert!(steps.contains("revision of 2026-03-01T12:"), "{shown}");
    }
    let first = environment.demo(&["history", &id]).success();
    assert!(first.contains(&format!("by {by}")) && !first.contains("undone:"), "{first}");
}

/// Where the firewall is away, its own record is not known to be empty.
#[test]
fn an_unknown_record_is_not_an_empty_one() {
    let environment = TestEnvironment::new();
    environment.write_config("[firewall]\nhost = \"127.0.0.1\"\nport = 9\n");
    let run = environment.run(&["history"]);
    assert!(!run.to_string().contains("Nothing was changed yet"), "{run}");
    assert!(run.to_string().contains("what was changed elsewhere is not known"), "{run}");
}
