//! Plans in files, and what is taken for one: whose they are, and that they say what they do.

use std::path::Path;

use serde_json::Value;

use crate::support::environment::TestEnvironment;
use crate::support::pods::make_pipe;

/// Writes into a named pipe as soon as somebody reads it; never, if nobody does.
fn feed(path: &Path, text: Vec<u8>) {
    let path = path.to_owned();
    std::thread::spawn(move || std::fs::write(path, text));
}

#[test]
fn a_plan_in_a_named_pipe_is_refused_and_not_waited_for() {
    let environment = TestEnvironment::new();
    environment.demo(&["ratelimit", "tighten", "--plan-out", "plan.json"]).success();
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
    environment.demo(&["ratelimit", "tighten", "--yes"]).success();
    let journal = environment.home().join(".local/state/kmsctl/demo/journal.jsonl");
    std::fs::remove_file(&journal).expect("a history");
    make_pipe(&journal);
    feed(&journal, Vec::new());
    let told = environment.demo(&["history", "--local"]).fails_with(2);
    assert!(told.contains("it is not a plain file"), "{told}");
    let told = environment.demo(&["ratelimit", "loosen", "--yes"]).fails_with(2);
    assert!(told.contains("it is not a plain file"), "{told}");
}

#[test]
fn where_there_is_nothing_to_do_no_plan_is_saved_and_that_is_said() {
    let environment = TestEnvironment::new();
    let idle = environment.demo(&["expose", "apply", "--plan-out", "plan.json"]);
    assert!(idle.stdout.contains("Nothing to do"), "{idle}");
    assert!(idle.stderr.contains("No plan was saved: plan.json"), "{idle}");
    assert_eq!(idle.code, Some(0));
    assert!(!environment.home().join("plan.json").exists());
}

#[test]
fn a_plan_is_carried_out_in_the_name_of_whoever_applies_it() {
    let environment = TestEnvironment::new().variable("USER", "anna");
    environment.demo(&["ratelimit", "tighten", "--plan-out", "plan.json"]).success();
    let environment = environment.variable("USER", "boris");
    let done = environment.demo(&["apply", "plan.json", "--yes", "-o", "json"]).json();
    let id = done["data"]["id"].as_str().expect("an id");
    let whole = environment.demo(&["history", id, "-o", "json"]).json();
    assert_eq!(whole["data"]["who"], "boris@demo");
    assert_eq!(whole["data"]["plan"]["who"], "anna@demo");
    let told = environment.demo(&["history", id]).success();
    let told = told.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        told.contains(
            "Who boris@demo Command apply plan.json Planned by anna@demo, as `ratelimit tighten`"
        ),
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

/// Saves the plan of a command.
fn saved(environment: &TestEnvironment, command: &[&str]) -> Value {
    let path = environment.home().join("plan.json");
    let _ = std::fs::remove_file(&path);
    environment.demo(&[command, &["--plan-out", "plan.json"][..]].concat()).success();
    serde_json::from_str(&std::fs::read_to_string(path).expect("a plan")).expect("a plan")
}

/// Writes a plan that somebody has edited, with a digest that fits.
fn forge(environment: &TestEnvironment, plan: &Value) {
    use sha2::Digest as _;
    let text = plan.to_string();
    let mut plan: kmsctl::domain::plan::Plan = serde_json::from_str(&text).expect("a plan");
    plan.digest.clear();
    let digest = sha2::Sha256::digest(serde_json::to_vec(&plan).expect("a plan"));
    plan.digest = kmsctl::text::hexadecimal(&digest);
    let text = serde_json::to_vec(&plan).expect("a plan");
    std::fs::write(environment.home().join("plan.json"), text).expect("a plan");
}

#[test]
fn every_plan_that_nobody_edited_says_what_it_does() {
    let environment = TestEnvironment::new();
    let address = environment.demo(&["virusprot", "show", "-o", "csv"]);
    let address = address.success();
    let address = address.lines().nth(1).and_then(|line| line.split(',').next());
    let apply = |command: &[&str]| {
        saved(&environment, command);
        let applied = environment.demo(&["apply", "plan.json", "--yes"]);
        assert_eq!(applied.code, Some(0), "{command:?}: {applied}");
    };
    for command in [
        &["ratelimit", "tighten"][..],
        &["undo"],
        &["ratelimit", "set", "--max-src-conn", "none", "--rate", "none"],
        &["expose", "apply"],
        &["virusprot", "delete", address.expect("an entry")],
        &["undo"],
        &["virusprot", "flush"],
        &["states", "kill", "--all"],
        &["expose", "revoke", "--for", "1h"],
        &["undo"],
        &["expose", "revoke"],
        &["expose", "restore"],
        &["undo"],
        &["expose", "restore"],
        &["expose", "revoke", "--delete", "--keep-states"],
        &["expose", "restore"],
        &["expose", "revoke", "--delete"],
        &["undo"],
    ] {
        apply(command);
    }
    let kept =
        environment.demo(&["ratelimit", "tighten", "--for", "1h", "--yes", "-o", "json"]).json();
    apply(&["keep", kept["data"]["id"].as_str().expect("an id")]);
    let environment = TestEnvironment::new().variable("KMSCTL_DEMO_SCENARIO", "leftovers");
    saved(&environment, &["doctor", "--clean"]);
    environment.demo(&["apply", "plan.json", "--yes"]).success();
    let environment = TestEnvironment::new().variable("KMSCTL_DEMO_SCENARIO", "absent");
    saved(&environment, &["expose", "restore"]);
    environment.demo(&["apply", "plan.json", "--yes"]).success();
}

#[test]
fn a_plan_that_says_other_than_it_does_is_refused() {
    let environment = TestEnvironment::new();
    let refused = |command: &[&str], pointer: &str, forged: Value, wanted: &str| {
        let mut plan = saved(&environment, command);
        let place = plan.pointer_mut(pointer).expect("a place");
        assert_ne!(*place, forged, "{command:?} {pointer}");
        *place = forged;
        forge(&environment, &plan);
        let told = environment.demo(&["apply", "plan.json", "--yes"]).fails_with(6);
        assert!(told.contains(wanted), "{command:?} {pointer}: {told}");
        assert!(told.contains("nothing was changed"), "{told}");
    };
    let other = "not those of its operation";
    let tighten = ["ratelimit", "tighten"];
    refused(&tighten, "/change/differences/0/after", 49.into(), other);
    refused(&tighten, "/change/operation/change/max_src_conn", 40_000.into(), other);
    refused(&tighten, "/change/differences", Value::Array(vec![]), other);
    let none = "would be no cap";
    refused(&tighten, "/change/operation/change/max_src_conn", 0.into(), none);
    refused(&tighten, "/change/differences/0/field", "\u{1b}[2J".into(), other);
    for seconds in [1, 31 * 86_400] {
        refused(&tighten, "/change/reverts_after", seconds.into(), "less than 1m or more than 30d");
    }
    refused(&["expose", "revoke"], "/change/differences/2/after", "open".into(), other);
    refused(&["virusprot", "flush"], "/change/differences/0/after", 1.into(), other);
    let flush = ["virusprot", "flush"];
    refused(&flush, "/change/reverts_after", 3600.into(), "does not revert by itself");
    let kill = ["states", "kill", "--all"];
    refused(&kill, "/change/operation/states/0/id", 1.into(), "ends others");
    let labels = serde_json::json!(["id:1763000001"]);
    refused(&kill, "/change/operation/labels", labels, "ends others");
    environment.demo(&["expose", "revoke", "--yes"]).success();
    environment.demo(&["expose", "restore", "--yes"]).success();
    let last = "/change/differences/2/after";
    refused(&["undo"], last, "open".into(), other);
    // What takes nothing back does not say of another change that it is taken back.
    let listed = environment.demo(&["history", "-o", "json"]).json();
    let id = listed["data"]["entries"][0]["id"].clone();
    let another = "takes back another change";
    refused(&tighten, "/change/undoes", id.clone(), another);
    refused(&flush, "/change/undoes", id, "takes back");
    // Where the configuration decides, the file does not.
    let absent = TestEnvironment::new().variable("KMSCTL_DEMO_SCENARIO", "absent");
    for command in [&["expose", "apply"][..], &["expose", "restore"]] {
        for (field, forged) in [
            ("max_src_conn", Value::from(40_000)),
            ("rate", Value::Null),
            ("description", "Mine".into()),
        ] {
            let mut plan = saved(&absent, command);
            plan["change"]["operation"]["change"][field] = forged;
            let said = refused_forgery(&absent, &plan, 6);
            assert!(said.contains("does not say what it does"), "{field}: {said}");
        }
    }
}

#[test]
fn a_plan_that_leaves_out_a_risk_or_a_word_is_given_it() {
    let environment = TestEnvironment::new();
    let mut plan = saved(&environment, &["ratelimit", "tighten"]);
    plan["change"]["risks"] = Value::Array(vec![]);
    forge(&environment, &plan);
    let done = environment.demo(&["apply", "plan.json", "--yes", "-o", "json"]).json();
    assert_eq!(done["data"]["risks"][0]["code"], "counters-restart");
    let mut plan = saved(&environment, &["virusprot", "flush"]);
    plan["change"]["confirm"] = "yes-no".into();
    forge(&environment, &plan);
    let done = environment.demo(&["apply", "plan.json", "--yes", "-o", "json"]).json();
    let id = done["data"]["id"].as_str().expect("an id");
    let whole = environment.demo(&["history", id, "-o", "json"]).json();
    let asked = &whole["data"]["plan"]["change"]["confirm"];
    assert_eq!(*asked, serde_json::json!({ "word": "flush" }));
    assert_eq!(whole["data"]["plan"]["command"], "apply plan.json");
    let uncapped = ["ratelimit", "set", "--max-src-conn", "none", "--rate", "none"];
    for (command, word) in [
        (&["states", "kill", "--all"][..], "kill"),
        (&uncapped, "uncapped"),
        (&["expose", "revoke"], "revoke"),
    ] {
        let mut plan = saved(&environment, command);
        plan["change"]["confirm"] = "yes-no".into();
        forge(&environment, &plan);
        let done = environment.demo(&["apply", "plan.json", "--yes", "-o", "json"]);
        let done = done.json();
        let id = done["data"]["id"].as_str().expect("an id");
        let whole = environment.demo(&["history", id, "-o", "json"]).json();
        let asked = &whole["data"]["plan"]["change"]["confirm"];
        assert_eq!(*asked, serde_json::json!({ "word": word }), "{command:?}");
    }
}

/// Forges a field of a plan, applies it, and returns what is said where it is refused before anything is written.
fn refused_forgery(environment: &TestEnvironment, plan: &Value, code: i32) -> String {
    forge(environment, plan);
    environment.demo(&["apply", "plan.json", "--yes"]).fails_with(code)
}

/// Returns an address that is blocked.
fn blocked_address(environment: &TestEnvironment) -> String {
    let listed = environment.demo(&["virusprot", "show", "-o", "csv"]);
    let listed = listed.success();
    let entry = listed.lines().nth(1).and_then(|line| line.split(',').next());
    entry.expect("an entry").to_owned()
}

#[test]
fn published_forgeries_change_nothing() {
    let environment = TestEnvironment::new();
    let own = saved(&environment, &["ratelimit", "tighten"]);
    for text in [
        include_str!("../fixtures/cases/plans/add_operator.json"),
        include_str!("../fixtures/cases/plans/othertable.json"),
        include_str!("../fixtures/cases/plans/php_alias.json"),
        include_str!("../fixtures/cases/plans/php_any1688.json"),
    ] {
        let refuse = || {
            let said = environment.demo(&["apply", "plan.json", "--yes"]);
            let what = said.stdout.lines().next().map(str::to_owned);
            let told = said.fails_with(6);
            assert!(told.contains("nothing was changed"), "{what:?} {told}");
        };
        std::fs::write(environment.home().join("plan.json"), text).expect("a plan");
        refuse();
        // Of this firewall and this moment, sealed again: what it wants is refused for itself.
        let mut plan: Value = serde_json::from_str(text).expect("JSON");
        for name in ["firewall", "host_key", "made_at"] {
            plan[name] = own[name].clone();
        }
        plan["change"]["seen"] = own["change"]["seen"].clone();
        forge(&environment, &plan);
        refuse();
    }
}

#[test]
fn a_plan_of_another_table_is_refused() {
    let environment = TestEnvironment::new();
    let address = blocked_address(&environment);
    let mut plan = saved(&environment, &["virusprot", "delete", &address]);
    plan["change"]["operation"]["table"] = "sshguard".into();
    let said = refused_forgery(&environment, &plan, 6);
    assert!(said.contains("another table"), "{said}");
    environment.demo(&["virusprot", "delete", &address, "--yes"]).success();
    let mut plan = saved(&environment, &["undo"]);
    plan["change"]["operation"]["table"] = "bogons".into();
    let said = refused_forgery(&environment, &plan, 6);
    assert!(said.contains("another table"), "{said}");
}

#[test]
fn a_plan_blocks_only_what_was_freed() {
    let environment = TestEnvironment::new();
    let address = blocked_address(&environment);
    environment.demo(&["virusprot", "delete", &address, "--yes"]).success();
    let good = saved(&environment, &["undo"]);
    for foreign in ["10.0.10.5", "198.51.100.77", "0.0.0.0/1", "::/0"] {
        for swapped in [true, false] {
            let mut plan = good.clone();
            let mut added = plan["change"]["operation"]["entries"][0].clone();
            added["address"] = foreign.into();
            let facts = &mut plan["change"]["seen"]["facts"];
            facts[foreign] = "nothing".into();
            if swapped {
                facts.as_object_mut().expect("facts").remove(&address);
                plan["change"]["operation"]["entries"][0] = added;
            } else {
                let entries = &mut plan["change"]["operation"]["entries"];
                entries.as_array_mut().expect("entries").push(added);
                let after = &mut plan["change"]["differences"][0]["after"];
                *after = (after.as_u64().expect("a count") + 1).into();
            }
            let facts = plan["change"]["seen"]["facts"].to_string();
            let facts = serde_json::from_str(&facts).expect("facts");
            let seen = kmsctl::domain::plan::Seen::of(facts);
            plan["change"]["seen"]["fingerprint"] = seen.fingerprint.into();
            let said = refused_forgery(&environment, &plan, 6);
            assert!(said.contains("did not free"), "{foreign}: {said}");
        }
    }
    let mut plan = good.clone();
    plan["change"]["undoes"] = "0123456789ab".into();
    let said = refused_forgery(&environment, &plan, 6);
    assert!(said.contains("0123456789ab"), "{said}");
    forge(&environment, &good);
    environment.demo(&["apply", "plan.json", "--yes"]).success();
}

#[test]
fn a_plan_writes_only_records_once_read() {
    let environment = TestEnvironment::new();
    environment.demo(&["expose", "revoke", "--delete", "--yes"]).success();
    let nat = "/change/operation/change/records/nat/record";
    let filter = "/change/operation/change/records/filter/record";
    for command in [&["expose", "restore"][..], &["undo"]] {
        let good = saved(&environment, command);
        for (place, field, forged) in [
            (filter, "destination", serde_json::json!({ "any": "", "port": "1688" })),
            (filter, "destination", serde_json::json!({ "any": "" })),
            (filter, "source", serde_json::json!({ "address": "203.0.113.9" })),
            (filter, "floating", "yes".into()),
            (filter, "max-src-conn", "50000".into()),
            (nat, "target", "10.0.20.1".into()),
            (nat, "local-port", "22".into()),
        ] {
            let mut plan = good.clone();
            plan.pointer_mut(place).expect("a record")[field] = forged;
            let said = refused_forgery(&environment, &plan, 6);
            assert!(said.contains("another operation"), "{command:?} {field}: {said}");
        }
        let mut plan = good.clone();
        let change = &mut plan["change"]["operation"]["change"];
        change["alias"] = (!change["alias"].as_bool().expect("a word")).into();
        change["records"]["alias"] = serde_json::json!({
            "index": 0,
            "record": { "name": "k8s_kms_lb", "type": "host", "address": "10.0.20.1", "descr": "", "detail": "" },
        });
        let said = refused_forgery(&environment, &plan, 6);
        assert!(said.contains("another operation"), "{command:?}: {said}");
    }
}

#[test]
fn what_a_plan_says_is_computed_again() {
    let environment = TestEnvironment::new();
    let address = blocked_address(&environment);
    let shown_on = |environment: &TestEnvironment, command: &[&str]| {
        let mut plan = saved(environment, command);
        plan["change"]["what"] = "Water the plants.".into();
        plan["change"]["checks"] = serde_json::json!(["Nothing is changed."]);
        plan["change"]["undo"] = serde_json::json!({ "command": "is not needed" });
        for risk in plan["change"]["risks"].as_array_mut().expect("risks") {
            risk["message"] = "There is no risk.".into();
        }
        let invented = serde_json::json!({ "code": "invented", "message": "There is no risk." });
        let risks = plan["change"]["risks"].as_array_mut();
        risks.expect("risks").push(invented);
        let cleans = plan["change"]["operation"]["kind"] == "clean";
        for difference in plan["change"]["differences"].as_array_mut().expect("differences") {
            if difference["before"].is_string() && cleans {
                difference["before"] = "It was never there.".into();
            }
        }
        plan["command"] = "status".into();
        plan["firewall"] = "the test box".into();
        forge(environment, &plan);
        let shown = environment.demo(&["apply", "plan.json", "--dry-run"]);
        let shown = shown.success();
        for lie in
            ["Water", "Nothing is changed.", "is not needed", "no risk", "never there", "test box"]
        {
            assert!(!shown.contains(lie), "{command:?}: {shown}");
        }
    };
    let shown = |command: &[&str]| shown_on(&environment, command);
    let kept =
        environment.demo(&["ratelimit", "loosen", "--for", "1h", "--yes", "-o", "json"]).json();
    shown(&["keep", kept["data"]["id"].as_str().expect("an id")]);
    let leftovers = TestEnvironment::new().variable("KMSCTL_DEMO_SCENARIO", "leftovers");
    shown_on(&leftovers, &["doctor", "--clean"]);
    shown(&["ratelimit", "tighten"]);
    shown(&["expose", "revoke"]);
    shown(&["virusprot", "delete", &address]);
    shown(&["states", "kill", "--all"]);
    environment.demo(&["virusprot", "delete", &address, "--yes"]).success();
    shown(&["undo"]);
    environment.demo(&["expose", "revoke", "--delete", "--yes"]).success();
    shown(&["undo"]);
    shown(&["expose", "restore"]);
    let done = environment.demo(&["apply", "plan.json", "--yes", "-o", "json"]);
    let id = done.json()["data"]["id"].as_str().map(str::to_owned);
    for asked in [&["history", "-o", "json"][..], &["history", &id.expect("an id")]] {
        let noted = environment.demo(asked).success();
        assert!(noted.contains("demo") && !noted.contains("test box"), "{noted}");
    }
}

#[test]
fn a_plan_without_host_keys_is_refused() {
    let environment = TestEnvironment::new();
    let mut plan = saved(&environment, &["ratelimit", "tighten"]);
    plan["host_key"] = Value::Null;
    plan["host_keys"] = Value::Array(vec![]);
    let said = refused_forgery(&environment, &plan, 6);
    assert!(said.contains("does not say which firewall"), "{said}");
    for nothing in ["", " ", "demo", "ssh-ed25519"] {
        plan["host_key"] = nothing.into();
        plan["host_keys"] = serde_json::json!([nothing]);
        let said = refused_forgery(&environment, &plan, 6);
        assert!(said.contains("another firewall"), "{said}");
    }
}

#[test]
fn a_saved_plan_reverts_so_long_after_its_writing() {
    for made_at in ["2020-01-01T00:00:00Z", "2040-01-01T00:00:00Z"] {
        let environment = TestEnvironment::new();
        let mut plan = saved(&environment, &["ratelimit", "tighten", "--for", "1h"]);
        plan["made_at"] = made_at.into();
        forge(&environment, &plan);
        let done = environment.demo(&["apply", "plan.json", "--yes", "-o", "json"]).json();
        let time = |value: &Value| -> jiff::Timestamp {
            value.as_str().and_then(|text| text.parse().ok()).expect("a time")
        };
        let after = time(&done["data"]["reverts_at"]).duration_since(time(&done["taken_at"]));
        assert!((3590..=3610).contains(&after.as_secs()), "{after:?}: {done:#}");
    }
}

#[test]
fn a_plan_of_more_leftovers_than_there_are_is_refused() {
    let environment = TestEnvironment::new().variable("KMSCTL_DEMO_SCENARIO", "leftovers");
    let good = saved(&environment, &["doctor", "--clean"]);
    for path in ["/conf/config.xml", "/conf/kmsctl/change-abc.json", "/"] {
        let mut plan = good.clone();
        let paths = &mut plan["change"]["operation"]["paths"];
        paths.as_array_mut().expect("paths").push(path.into());
        let said = refused_forgery(&environment, &plan, 6);
        assert!(said.contains("does not say what it does"), "{path}: {said}");
    }
    forge(&environment, &good);
    environment.demo(&["apply", "plan.json", "--yes"]).success();
}

/// Lets the simulated firewall forget what it keeps of changes, as fifty later ones do.
fn forget_stored_changes(environment: &TestEnvironment) {
    let path = environment.home().join(".local/state/kmsctl/demo/state.json");
    let text = std::fs::read_to_string(&path).expect("a simulated firewall");
    let mut saved: Value = serde_json::from_str(&text).expect("JSON");
    let stored = saved.pointer_mut("/world/ledger/stored").expect("changes");
    *stored = Value::Array(vec![]);
    std::fs::write(&path, saved.to_string()).expect("a simulated firewall");
}

#[test]
fn records_of_this_machine_alone_are_never_written() {
    let environment = TestEnvironment::new();
    environment.demo(&["expose", "revoke", "--delete", "--yes"]).success();
    let plan = saved(&environment, &["undo"]);
    forget_stored_changes(&environment);
    let said = environment.demo(&["undo", "--yes"]).fails_with(6);
    assert!(said.contains("does not keep the records"), "{said}");
    let said = refused_forgery(&environment, &plan, 6);
    assert!(said.contains("does not keep the records"), "{said}");
    let built = environment.demo(&["expose", "restore", "--dry-run", "-o", "json"]);
    let built = built.json();
    let risks = built["data"]["risks"].as_array().expect("risks");
    let anew = risks.iter().find(|risk| risk["code"] == "built-anew");
    let said = anew.expect("a risk")["message"].as_str().expect("words");
    assert!(said.contains("does not keep any more what"), "{said}");
    assert!(said.contains("Lost, as the history here has them"), "{said}");
}

#[test]
fn undo_of_a_deletion_names_what_comes_back() {
    let environment = TestEnvironment::new();
    environment.demo(&["expose", "revoke", "--delete", "--yes"]).success();
    let undone = environment.demo(&["undo", "--dry-run", "-o", "json"]).json();
    let after = &undone["data"]["after"];
    assert_eq!(after["port_forward"], "port 1688 to k8s_kms_lb from any");
    assert_eq!(after["filter_rule"], "pass to k8s_kms_lb port 1688 from any");
    assert_eq!(after["max_src_conn"], 50);
    assert_eq!(after["rate"], "10/60");
}

/// Where pf does not run what config.xml says, a plan shows what it runs now and what it will; what only pf had comes back with
/// no undo.
#[test]
fn a_plan_shows_what_pf_runs_now() {
    let plan = |scenario: &str, command: &str| {
        let words: Vec<&str> = command.split(' ').collect();
        let environment = TestEnvironment::new().variable("KMSCTL_DEMO_SCENARIO", scenario);
        let shown = environment.demo(&[&words[..], &["--dry-run", "-o", "json"]].concat());
        shown.json()["data"].clone()
    };
    for (command, then) in [
        ("expose apply --with-pending", "10/60"),
        ("ratelimit default --with-pending", "10/60"),
        ("ratelimit tighten --with-pending", "3/60"),
    ] {
        let shown = plan("drifted", command);
        assert_eq!(shown["before"]["loaded_rate"], "30/60", "{command}: {shown:#}");
        assert_eq!(shown["after"]["loaded_rate"], then, "{command}: {shown:#}");
    }
    let shown = plan("open", "ratelimit tighten");
    assert!(shown["before"]["loaded_rate"].is_null(), "{shown:#}");
    for (scenario, command, before, after) in [
        ("uncapped", "ratelimit tighten", "uncapped", "open"),
        ("open", "ratelimit set --max-src-conn none --rate none", "open", "uncapped"),
    ] {
        let shown = plan(scenario, command);
        assert_eq!(shown["before"]["exposure"], before, "{shown:#}");
        assert_eq!(shown["after"]["exposure"], after, "{shown:#}");
    }
    let environment = TestEnvironment::new().variable("KMSCTL_DEMO_SCENARIO", "drifted");
    let apply = ["expose", "apply", "--with-pending"];
    let shown = environment.demo(&[&apply[..], &["--dry-run"]].concat()).success();
    let back = "kmsctl --demo ratelimit set --max-src-conn 50 --rate 30/60";
    assert!(shown.contains("none. config.xml stays as it is") && shown.contains(back), "{shown}");
    environment.demo(&[&apply[..], &["--yes"]].concat()).success();
    let said = environment.demo(&["undo", "--yes"]).fails_with(1);
    assert!(said.contains("nothing to take back"), "{said}");
}

/// A title, and the word about the rollback, name the rules that a change touches and no other.
#[test]
fn titles_name_what_is_touched() {
    for (scenario, command, title, back) in [
        ("half", "expose revoke", "disable the port forward,", "the port forward back as it was."),
        ("half", "expose restore", "enable the filter rule,", "the filter rule back as it was."),
        ("half", "expose apply", "Make the filter rule what", "the filter rule back as it was."),
        (
            "half-filter",
            "expose revoke",
            "disable the filter rule,",
            "the filter rule back as it was.",
        ),
        (
            "half-filter",
            "expose restore",
            "enable the port forward,",
            "the port forward back as it was.",
        ),
        (
            "old-target",
            "expose apply",
            "Make the port forward, the filter rule and the alias what",
            "Puts the port forward and the filter rule back as they were, and removes the alias.",
        ),
        (
            "open",
            "expose revoke",
            "disable the port forward and the filter rule,",
            "and the filter rule back as they were.",
        ),
        (
            "pass-association",
            "expose revoke",
            "disable the port forward,",
            "the port forward back as it was.",
        ),
        (
            "pass-association",
            "expose apply",
            "Make the port forward and the filter rule what",
            "Puts the port forward back as it was, and removes the filter rule.",
        ),
    ] {
        let environment = TestEnvironment::new().variable("KMSCTL_DEMO_SCENARIO", scenario);
        let words: Vec<&str> = command.split(' ').collect();
        let shown = environment.demo(&[&words[..], &["--dry-run"]].concat()).success();
        assert!(shown.contains(title), "{scenario} {command}: {shown}");
        assert!(shown.contains(back), "{scenario} {command}: {shown}");
    }
    let environment = TestEnvironment::new().variable("KMSCTL_DEMO_SCENARIO", "pass-association");
    environment.demo(&["expose", "apply", "--yes"]).success();
    let shown = environment.demo(&["undo", "--dry-run"]).success();
    assert!(shown.contains("a filter rule of its own -> pass"), "{shown}");
}

/// One number is of one thing: connections, and pf's states beside them by name.
#[test]
fn connections_and_states_are_counted_apart() {
    for command in [&["expose", "revoke", "--yes"][..], &["states", "kill", "--all", "--yes"]] {
        let shown = TestEnvironment::new().demo(command);
        let words = "74 connections ended, 2 of them from inside (159 pf states).";
        assert!(shown.stdout.contains(words), "{shown}");
        assert!(shown.stderr.contains("2 of the 74 connections"), "{shown}");
    }
}

/// Writes a history of these events, chained as kmsctl chains them.
fn write_history(path: &Path, lines: &[Value]) {
    use sha2::{Digest as _, Sha256};
    let (mut previous, mut text) = ("0".repeat(64), String::new());
    for (number, line) in lines.iter().enumerate() {
        let rest = format!(
            "\"previous\":\"{previous}\",\"seq\":{},\"at\":{},\"event\":{}}}",
            number + 1,
            line["at"],
            line["event"]
        );
        let digest = Sha256::digest(&rest);
        previous = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        text += &format!("{{\"hash\":\"{previous}\",{rest}\n");
    }
    std::fs::write(path, text).expect("a history");
    let _ = std::fs::remove_file(path.with_file_name("journal.head"));
}

/// A record that was edited, with or without its hashes, is as little kept as it is taken back.
#[test]
fn keep_checks_a_record_as_undo_does() {
    let environment = TestEnvironment::new();
    let made = ["ratelimit", "tighten", "--for", "2h", "--yes", "-o", "json"];
    let made = environment.demo(&made).json();
    let id = made["data"]["id"].as_str().expect("an id").to_owned();
    let path = environment.home().join(".local/state/kmsctl/demo/journal.jsonl");
    let text = std::fs::read_to_string(&path).expect("a history");
    let lines: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("a record")).collect();
    write_history(&path, &lines);
    let commands = [["keep", &id, "--dry-run"], ["undo", &id, "--dry-run"]];
    for command in &commands {
        environment.demo(command).success();
    }
    for key in [Value::Null, Value::from("ssh-ed25519 SHA256:AAAA")] {
        let mut edited = lines.clone();
        edited[0]["event"]["plan"]["host_key"] = key.clone();
        write_history(&path, &edited);
        for command in &commands {
            let said = environment.demo(command).fails_with(6);
            assert!(said.contains(&id), "{key}, {command:?}: {said}");
        }
    }
    let mut edited = lines.clone();
    edited[0]["event"]["context"] = Value::from("elsewhere");
    write_history(&path, &edited);
    for command in &commands {
        let said = environment.demo(command).fails_with(6);
        assert!(said.contains("elsewhere"), "{command:?}: {said}");
    }
    for (word, other) in [("command", "expose revoke"), ("change", "")] {
        let mut edited = lines.clone();
        let plan = &mut edited[0]["event"]["plan"];
        if word == "command" {
            plan[word] = Value::from(other);
        } else {
            plan[word]["operation"]["change"] = serde_json::json!({"kind": "delete"});
        }
        write_history(&path, &edited);
        for command in &commands {
            let said = environment.demo(command).fails_with(6);
            assert!(said.contains("words"), "{word}, {command:?}: {said}");
        }
    }
    std::fs::write(&path, text.replace("preset tighten", "preset loosen")).expect("a history");
    for command in &commands {
        let said = environment.demo(command).fails_with(6);
        assert!(said.contains("altered"), "{command:?}: {said}");
    }
}

/// However much moved since a plan, what is said of it can be read.
#[test]
fn a_stale_plan_names_a_few() {
    let environment = TestEnvironment::new();
    environment.demo(&["virusprot", "flush", "--plan-out", "flush.json"]).success();
    environment.demo(&["virusprot", "expire", "--older-than", "1s", "--yes"]).success();
    let said = environment.demo(&["apply", "flush.json", "--yes"]).fails_with(6);
    assert!(said.contains("; and ") && said.matches("blocked since").count() == 5, "{said}");
}
