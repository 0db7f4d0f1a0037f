//! Every changing command through OpenSSH's own sshd and both links, on a firewall whose pf and configuration are one
//! state: what is printed, the exit code, and what is true on the far side afterwards.

use std::io::Write as _;
use std::process::Stdio;

use serde_json::Value;

use crate::support::boxes::{Fixture, Version};
use crate::support::environment::TestEnvironment;
use crate::support::live::{LiveBox, TRACKER};

const LINKS: [&str; 2] = ["openssh", "russh"];
const OLD: &str = "Thu Jan  1 00:00:00 2026";

/// Runs a test on a fresh firewall for each link.
fn over_both(test: impl Fn(&LiveBox)) {
    for transport in LINKS {
        let Some(live) = LiveBox::start(transport) else {
            return;
        };
        eprintln!("{transport}");
        test(&live);
    }
}

/// Runs a command that must be done, and returns its data.
#[track_caller]
fn done(live: &LiveBox, arguments: &[&str]) -> Value {
    let shown = live.environment.run(&[arguments, &["--yes", "-o", "json"]].concat()).json();
    assert_eq!(shown["schema"], "kmsctl/change/v1", "{arguments:?}");
    assert_eq!(shown["data"]["outcome"], "done", "{arguments:?}: {shown:#}");
    shown["data"].clone()
}

#[track_caller]
fn undo(live: &LiveBox, change: &Value) -> Value {
    done(live, &["undo", change["id"].as_str().expect("an id")])
}

#[test]
fn caps_are_changed_loaded_and_taken_back() {
    over_both(|live| {
        let (foreign, at_first) = (live.firewall.foreign(), live.firewall.ours());
        let commands: [(&[&str], &str); 6] = [
            (&["ratelimit", "tighten"], "max-src-conn 10, max-src-conn-rate 3/60"),
            (&["ratelimit", "loosen"], "max-src-conn 50, max-src-conn-rate 30/60"),
            (&["ratelimit", "default"], "max-src-conn 50, max-src-conn-rate 10/60"),
            (
                &["ratelimit", "set", "--max-src-conn", "20", "--rate", "5/30"],
                "max-src-conn 20, max-src-conn-rate 5/30",
            ),
            (&["ratelimit", "set", "--rate", "none"], "max-src-conn 20"),
            (
                &["ratelimit", "set", "--preset", "tighten"],
                "max-src-conn 10, max-src-conn-rate 3/60",
            ),
        ];
        let mut made = Vec::new();
        for (command, caps) in commands {
            made.push(done(live, command));
            assert_eq!(live.loaded_caps().as_deref(), Some(caps), "{command:?}");
            assert_eq!(live.firewall.foreign(), foreign, "{command:?}");
        }
        let again = live.environment.run(&["ratelimit", "tighten", "--yes", "-o", "json"]).json();
        assert_eq!(again["data"]["outcome"], "nothing-to-do");
        for change in made.iter().rev() {
            undo(live, change);
        }
        assert_eq!(live.firewall.ours(), at_first, "to the byte");
        assert_eq!(live.firewall.foreign(), foreign);
    });
}

#[test]
fn addresses_are_freed_expired_flushed_and_put_back() {
    over_both(|live| {
        let now = jiff::Timestamp::now().strftime("%a %b %e %H:%M:%S %Y").to_string();
        live.block(&[("192.0.2.1", OLD), ("198.51.100.7", now.as_str()), ("2001:db8::7", OLD)]);
        let config = live.firewall.config();
        let all = live.blocked();
        let freed = done(live, &["virusprot", "delete", "192.0.2.1"]);
        assert_eq!(freed["entries"][0]["address"], "192.0.2.1");
        assert_eq!(freed["entries"][0]["result"], "freed");
        assert_eq!(freed["entries"][0]["added_at"], "2026-01-01T00:00:00Z");
        assert!(freed["entries"][0]["age_seconds"].as_u64() > Some(86_400));
        assert_eq!(live.blocked(), ["198.51.100.7", "2001:db8::7"]);
        undo(live, &freed);
        assert_eq!(live.blocked(), all);
        // Put back means blocked since now, so that only the third is old.
        let expired = done(live, &["virusprot", "expire", "--older-than", "24h"]);
        assert_eq!(expired["entries"].as_array().map(Vec::len), Some(1), "{expired:#}");
        assert_eq!(live.blocked(), ["192.0.2.1", "198.51.100.7"]);
        undo(live, &expired);
        let flushed = done(live, &["virusprot", "flush"]);
        assert_eq!(flushed["entries"].as_array().map(Vec::len), Some(3));
        assert!(live.blocked().is_empty());
        let again = live.environment.run(&["virusprot", "flush", "--yes", "-o", "json"]).json();
        assert_eq!(again["data"]["outcome"], "nothing-to-do");
        undo(live, &flushed);
        assert_eq!(live.blocked(), all);
        let twice =
            live.environment.run(&["undo", flushed["id"].as_str().expect("an id"), "--yes"]);
        assert!(twice.fails_with(1).contains("taken back already"));
        assert_eq!(live.firewall.config(), config, "the configuration is not written for it");
        let asked = live.firewall.text("pfctl.log");
        for never in ["-F", "flush", "zero", "-k"] {
            assert!(
                !asked.lines().any(|line| line.split(' ').any(|word| word == never)),
                "{never}"
            );
        }
    });
}

/// A time as pfctl prints it, so many seconds ago.
fn printed_time(seconds_ago: i64) -> String {
    let now = jiff::Timestamp::now().as_second() - seconds_ago;
    let at = jiff::Timestamp::from_second(now).expect("a time");
    at.strftime("%a %b %e %H:%M:%S %Y").to_string()
}

#[test]
fn freed_addresses_are_forgotten_by_pf() {
    over_both(|live| {
        let (young, old) = (printed_time(2), printed_time(400));
        let counted = "192.0.2.1\n192.0.2.2\n192.0.2.3\n2001:db8::7\n";
        let begin = || {
            live.firewall.php().write("pf/nodes", counted.as_bytes());
            live.firewall.php().write("pf/virusprot", b"");
            live.block(&[
                ("192.0.2.1", &young),
                ("192.0.2.2", &old),
                ("192.0.2.3", &young),
                ("2001:db8::7", &young),
            ]);
        };
        begin();
        live.connect("10.0.20.202", &["192.0.2.3"]);
        let plan = live.environment.run(&["virusprot", "flush", "--dry-run"]);
        let plan = plan.success();
        assert!(plan.contains("192.0.2.3: connections to the service are live"), "{plan}");
        assert!(plan.contains("under its other rules too"), "{plan}");
        let flushed = done(live, &["virusprot", "flush"]);
        let nodes = live.firewall.text("pf/nodes");
        assert_eq!(nodes, "192.0.2.2\n192.0.2.3\n", "{flushed:#}");
        assert!(live.blocked().is_empty());
        begin();
        done(live, &["virusprot", "flush", "--keep-count"]);
        assert_eq!(live.firewall.text("pf/nodes"), counted);
        begin();
        let saved = ["virusprot", "flush", "--plan-out", "flush.json"];
        live.environment.run(&saved).success();
        done(live, &["apply", "flush.json"]);
        assert_eq!(live.firewall.text("pf/nodes"), "192.0.2.2\n192.0.2.3\n");
        begin();
        live.firewall.php().write("pfctl-trouble", b"fail|-K 192.0.2.1\n");
        let words = ["virusprot", "delete", "192.0.2.1", "--yes"];
        let told = live.environment.run(&words).fails_with(7);
        assert!(told.contains("did not forget what it counted"), "{told}");
        assert!(!live.blocked().contains(&"192.0.2.1".to_owned()));
    });
}

#[test]
fn what_takes_its_time_is_shown_at_a_terminal() {
    let Some(live) = LiveBox::start("russh") else {
        return;
    };
    let block = || live.block(&[("192.0.2.1", OLD), ("192.0.2.2", OLD)]);
    block();
    live.answer_pfctl(
        "russh",
        "*'-T delete'*) sleep 2; exec \"$PFCTL\" \"$@\" ;;\n*'-vsi') sleep 2; exec \"$PFCTL\" \"$@\" ;;",
    );
    let at_terminal = |arguments: &[&str]| {
        let mut command = live.environment.command(arguments);
        command.stdin(Stdio::inherit());
        let mut terminal = rexpect::session::spawn_command(command, Some(20_000)).expect("a pty");
        terminal.exp_eof().expect("the end")
    };
    let deleting = "Freeing 2 entries";
    let said = at_terminal(&["virusprot", "flush", "--yes"]);
    assert!(said.contains(deleting), "{said}");
    let said = at_terminal(&["rule", "show"]);
    assert!(said.contains("Reading the firewall"), "{said}");
    for quiet in ["-q", "-ojson"] {
        block();
        let said = at_terminal(&["virusprot", "flush", "--yes", quiet]);
        assert!(!said.contains(deleting), "{quiet}: {said}");
    }
}

#[test]
fn many_young_addresses_are_forgotten_in_batches() {
    over_both(|live| {
        let young = printed_time(1);
        let addresses: Vec<String> =
            (1..=450_u32).map(|n| format!("198.18.{}.{}", n / 250, n % 250 + 1)).collect();
        let entries: Vec<(&str, &str)> =
            addresses.iter().map(|address| (address.as_str(), young.as_str())).collect();
        live.block(&entries);
        let nodes = addresses.join("\n") + "\n";
        live.firewall.php().write("pf/nodes", nodes.as_bytes());
        done(live, &["virusprot", "flush"]);
        assert!(live.blocked().is_empty());
        assert_eq!(live.firewall.text("pf/nodes"), "");
        // One shell reads, forgets, forgets, then deletes and reads back.
        assert_eq!(live.sshd.sessions(), 1, "{}", live.sshd.log());
    });
}

#[test]
fn thousands_from_stdin_are_freed_in_one_round_trip() {
    over_both(|live| {
        let addresses: Vec<String> =
            (0..6_000_u32).map(|n| format!("198.18.{}.{}", n / 250, n % 250 + 1)).collect();
        let entries: Vec<(&str, &str)> =
            addresses.iter().map(|address| (address.as_str(), OLD)).collect();
        live.block(&entries);
        live.block(&[("192.0.2.1", OLD)]);
        let mut command =
            live.environment.command(&["virusprot", "delete", "-", "--yes", "-o", "json"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut kmsctl = command.spawn().expect("kmsctl starts");
        let list = addresses.join("\n") + "\n203.0.113.9 # not in the table\n";
        kmsctl.stdin.take().expect("stdin").write_all(list.as_bytes()).expect("it reads");
        let output = kmsctl.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        let shown: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(shown["data"]["entries"].as_array().map(Vec::len), Some(6_000));
        assert_eq!(live.blocked(), ["192.0.2.1"]);
        let deletes = live.firewall.text("pfctl.log");
        let deletes = deletes.lines().filter(|line| line.contains("-T delete")).count();
        assert_eq!(deletes, 1, "one call");
        // One shell reads, deletes and reads back.
        assert_eq!(live.sshd.sessions(), 1, "{}", live.sshd.log());
        undo(live, &shown["data"]);
        assert_eq!(live.blocked().len(), 6_001);
    });
}

#[test]
fn connections_of_every_member_of_the_alias_are_ended_and_no_others() {
    over_both(|live| {
        // The service has a second server, which only the alias knows.
        let config = live.firewall.config();
        let config = config.replace(
            "<address>10.0.20.202</address>",
            "<address>10.0.20.202 10.0.20.203</address>",
        );
        live.firewall.php().write("conf/config.xml", config.as_bytes());
        live.connect("10.0.20.202", &["198.51.100.7", "198.51.100.8"]);
        live.connect("10.0.20.203", &["198.51.100.7", "198.51.100.9"]);
        live.connect_as("id:9", "10.0.20.77", &["198.51.100.7"]);
        live.connect_other();
        let shown = live.environment.run(&["states", "-o", "json"]).json();
        let count = |shown: &Value| -> u64 {
            let sources = shown["data"]["sources"].as_array().expect("sources").iter();
            sources.filter_map(|source| source["states"].as_u64()).sum()
        };
        assert_eq!(count(&shown), 4, "{shown:#}");
        let ended = done(live, &["states", "kill", "198.51.100.7"]);
        assert_eq!(ended["states_ended"], 4, "two connections, both halves: {ended:#}");
        assert_eq!(live.states(), 7);
        let ended = done(live, &["states", "kill", "--all"]);
        assert_eq!(ended["states_ended"], 4);
        let left = live.firewall.text("pf/states");
        assert!(!left.contains("10.0.20.202:1688") && !left.contains("10.0.20.203:1688"), "{left}");
        assert_eq!(live.states(), 3, "those of others are left alone: {left}");
        let undone = live.environment.run(&["undo", ended["id"].as_str().expect("an id"), "--yes"]);
        assert!(undone.fails_with(1).contains("cannot be taken back"));
        let nobody = live.environment.run(&["states", "kill", "--all", "--yes"]);
        assert!(nobody.success().contains("no client is connected"));
        // Closing ends them too, on every member.
        live.connect("10.0.20.203", &["198.51.100.9"]);
        let closed = done(live, &["expose", "revoke"]);
        assert_eq!((&closed["states_ended"], live.states()), (&Value::from(2), 3), "{closed:#}");
    });
}

#[test]
fn the_exposure_is_closed_opened_deleted_and_put_back() {
    over_both(|live| {
        let (foreign, at_first) = (live.firewall.foreign(), live.firewall.ours());
        live.connect("10.0.20.202", &["198.51.100.7"]);
        let closed = done(live, &["expose", "revoke", "--keep-states"]);
        assert_eq!((live.redirected(), live.loaded_caps(), live.states()), (false, None, 2));
        assert_eq!(live.firewall.ours().matches("<disabled>").count(), 2);
        undo(live, &closed);
        assert_eq!((live.redirected(), live.firewall.ours()), (true, at_first.clone()));
        done(live, &["expose", "revoke"]);
        assert_eq!((live.redirected(), live.states()), (false, 0));
        done(live, &["expose", "restore"]);
        assert_eq!((live.redirected(), live.firewall.ours()), (true, at_first.clone()));
        let deleted = done(live, &["expose", "revoke", "--delete"]);
        assert!(!live.firewall.ours().contains(TRACKER));
        assert!(live.firewall.ours().contains("k8s_kms_lb"), "the alias is never touched");
        undo(live, &deleted);
        assert_eq!(live.firewall.ours(), at_first);
        done(live, &["expose", "revoke", "--delete"]);
        let restored = done(live, &["expose", "restore"]);
        assert!(restored["what"].as_str().expect("what").contains("put back"), "{restored:#}");
        assert_eq!((live.redirected(), live.firewall.ours()), (true, at_first));
        assert_eq!(live.firewall.foreign(), foreign);
        let shown = live.environment.run(&["expose", "show", "-o", "json"]).json();
        assert_eq!(shown["data"]["state"], "open", "{shown:#}");
    });
}

#[test]
fn an_opening_is_done_only_where_the_whole_path_lets_in() {
    over_both(|live| {
        let ways: [(&[&str], &[&str]); 3] = [
            (&["expose", "revoke"], &["expose", "restore"]),
            (&["expose", "revoke", "--delete"], &["expose", "restore"]),
            (&["expose", "revoke"], &["undo"]),
        ];
        for (closing, opening) in ways {
            done(live, closing);
            // The agent proves its own two rules, and those are loaded.
            let above = b"block drop in quick on vtnet0 inet proto tcp from any to any port = 1688 label \"no\" ridentifier 1700000002\n";
            live.firewall.php().write("rules-above", above);
            let outcome = live.environment.run(&[opening, &["--yes", "-o", "json"]].concat());
            let shown: Value = serde_json::from_str(&outcome.stdout).expect("JSON");
            assert_eq!(
                (outcome.code, &shown["data"]["outcome"]),
                (Some(7), &Value::from("unverified")),
                "{closing:?} {opening:?}: {outcome}"
            );
            assert!(outcome.stderr.contains("written, but the service is"), "{outcome}");
            assert!(live.redirected() && live.loaded_caps().is_some());
            std::fs::remove_file(live.firewall.file("rules-above")).expect("it was there");
        }
    });
}

#[test]
fn another_machine_puts_back_what_the_firewall_keeps_or_builds_and_says_so() {
    over_both(|live| {
        let at_first = live.firewall.ours();
        let deleted = done(live, &["expose", "revoke", "--delete"]);
        let other = TestEnvironment::new().private_runtime().variable("USER", "anna");
        other.write_config(&live.settings("russh"));
        let restored = other.run(&["expose", "restore", "--yes", "-o", "json"]);
        let what = restored.json()["data"]["what"].to_string();
        let id = deleted["id"].as_str().expect("an id");
        assert!(what.contains(&format!("{id} by tester@")), "{what}");
        assert_eq!((live.redirected(), live.firewall.ours()), (true, at_first));
        let undone = live.environment.run(&["undo", "--yes"]).success();
        assert!(undone.contains("what they were before"), "{undone}");

        // Its record on the firewall has been tidied away.
        let deleted = done(live, &["expose", "revoke", "--delete"]);
        for id in [id, deleted["id"].as_str().expect("an id")] {
            let record = live.firewall.file(&format!("conf/kmsctl/change-{id}.json"));
            std::fs::remove_file(record).expect("a record");
        }
        let restored = other.run(&["expose", "restore", "--yes"]);
        assert_eq!(restored.code, Some(0), "{restored}");
        assert!(
            restored.stderr.contains("No saved records of this service were found")
                && restored.stderr.contains("built from"),
            "{restored}"
        );
        let rules = live.firewall.ours();
        assert!(live.redirected() && !rules.contains(TRACKER), "a new tracker: {rules}");
        assert!(live.firewall.text("pf/sr").contains("max-src-conn 50, max-src-conn-rate 10/60"));
        // The first machine has what it deleted, but the rules are not what it left: it takes nothing back.
        let undone = live.environment.run(&["undo", "--yes"]);
        assert!(undone.fails_with(6).contains("moved on since"));
        let list = live.environment.run(&["history", "-o", "json"]).json();
        let who: Vec<&str> = list["data"]["entries"]
            .as_array()
            .expect("entries")
            .iter()
            .filter_map(|entry| entry["who"].as_str())
            .collect();
        assert!(who[0].starts_with("anna@") && who[1].starts_with("tester@"), "{list:#}");
    });
}

#[test]
fn apply_makes_it_what_the_configuration_says_from_nothing_and_from_half() {
    for fixture in [
        Fixture::EmptySections,
        Fixture::Dangling,
        Fixture::NatPage,
        Fixture::Disabled,
        Fixture::PassAssociation,
    ] {
        let Some(mut live) = LiveBox::of("russh", Version::V272, fixture) else {
            return;
        };
        live.environment = live.environment.variable("KMSCTL_SERVICE_ADDRESS", "10.0.20.202");
        let at_first = live.firewall.ours();
        let applied = done(&live, &["expose", "apply"]);
        let shown = live.environment.run(&["expose", "show", "-o", "json"]).json();
        assert_eq!(shown["data"]["state"], "open", "{fixture:?}: {shown:#}");
        assert!(
            live.firewall.text("pf/sr").contains("max-src-conn 50, max-src-conn-rate 10/60"),
            "{fixture:?}"
        );
        let again = live.environment.run(&["expose", "apply", "--yes", "-o", "json"]).json();
        assert_eq!(again["data"]["outcome"], "nothing-to-do", "{fixture:?}");
        undo(&live, &applied);
        assert_eq!(live.firewall.ours(), at_first, "{fixture:?}");
    }
}

#[test]
fn a_temporary_change_is_kept_or_comes_back_by_itself() {
    over_both(|live| {
        let at_first = live.firewall.ours();
        let made = done(live, &["ratelimit", "tighten", "--for", "2h"]);
        assert!(made["reverts_at"].is_string(), "{made:#}");
        let id = made["id"].as_str().expect("an id").to_owned();
        assert!(live.firewall.left_over().iter().any(|name| name == &format!("kmsctl-{id}")));
        let status = live.environment.run(&["status"]).success();
        assert!(status.contains(&id), "{status}");
        assert_eq!(live.firewall.tick(), 1, "not yet");
        assert_eq!(live.loaded_caps().as_deref(), Some("max-src-conn 10, max-src-conn-rate 3/60"));
        done(live, &["keep", &id]);
        assert!(live.firewall.left_over().is_empty(), "{:?}", live.firewall.left_over());
        let again = live.environment.run(&["keep", &id, "--yes", "-o", "json"]).json();
        assert_eq!(again["data"]["outcome"], "nothing-to-do");
        undo(live, &made);
        let made = done(live, &["expose", "revoke", "--for", "1h30m"]);
        let id = made["id"].as_str().expect("an id").to_owned();
        assert!(!live.redirected());
        live.firewall
            .make_due(&kmsctl::domain::pfsense::change::ChangeId::new(&id).expect("an id"));
        live.firewall.tick();
        assert_eq!((live.redirected(), live.firewall.ours()), (true, at_first));
        assert!(live.firewall.left_over().is_empty());
        let list = live.environment.run(&["history"]).success();
        assert!(list.contains(&id) && list.contains("reverted by itself"), "{list}");
        let keep = ["keep", &id, "--yes"];
        let told = live.environment.run(&keep).fails_with(6);
        assert!(told.contains("its time was over"), "{told}");
    });
}

#[test]
fn a_saved_plan_is_applied_while_it_holds_and_refused_otherwise() {
    over_both(|live| {
        let environment = &live.environment;
        let save = |command: &[&str], file: &str| {
            environment.run(&[command, &["--plan-out", file]].concat()).success();
        };
        save(&["ratelimit", "tighten"], "fresh.json");
        let config = live.firewall.config();
        done(live, &["apply", "fresh.json"]);
        assert_eq!(live.loaded_caps().as_deref(), Some("max-src-conn 10, max-src-conn-rate 3/60"));
        assert_ne!(live.firewall.config(), config);
        let told = environment.run(&["apply", "fresh.json", "--yes"]).fails_with(6);
        assert!(told.contains("carried out already"), "{told}");
        live.block(&[("192.0.2.1", OLD)]);
        live.connect("10.0.20.202", &["198.51.100.7"]);
        // A neighbour's connections to the same port are nobody's business here.
        live.connect_as("id:9", "10.0.20.77", &["198.51.100.8"]);
        save(&["ratelimit", "loosen"], "caps.json");
        save(&["virusprot", "flush"], "flush.json");
        save(&["states", "kill", "--all"], "states.json");
        let neighbours = live.firewall.text("pf/states").replace("10.0.20.77", "10.0.20.78");
        live.firewall.php().write("pf/states", neighbours.as_bytes());
        done(live, &["apply", "states.json"]);
        done(live, &["ratelimit", "default"]);
        done(live, &["virusprot", "delete", "192.0.2.1"]);
        let config = live.firewall.config();
        let told = environment.run(&["apply", "caps.json", "--yes"]).fails_with(6);
        assert!(told.contains("max-src-conn-rate: was 3, is 10"), "{told}");
        let told = environment.run(&["apply", "flush.json", "--yes"]).fails_with(6);
        assert!(told.contains("192.0.2.1: was blocked since"), "{told}");
        save(&["ratelimit", "loosen"], "plan.json");
        let path = environment.home().join("plan.json");
        let text = std::fs::read_to_string(&path).expect("a plan");
        let edits = [
            (text.replacen("\"connections\": 30", "\"connections\": 3000", 1), "edited"),
            (text.replacen("plan/v1", "plan/v9", 1), "this kmsctl reads kmsctl/plan/v1"),
        ];
        for (edited, wanted) in edits {
            assert_ne!(edited, text);
            std::fs::write(&path, edited).expect("a plan");
            let told = environment.run(&["apply", "plan.json", "--yes"]).fails_with(2);
            assert!(told.contains(wanted), "{told}");
        }
        std::fs::write(&path, &text).expect("a plan");
        let mut elsewhere = environment.command(&["apply", "plan.json", "--yes"]);
        let output =
            elsewhere.env("KMSCTL_FIREWALL_HOST", "localhost").output().expect("kmsctl runs");
        let told = String::from_utf8_lossy(&output.stderr);
        // Which box it is is told by its key, never by its name, and this name has none in known_hosts.
        assert_eq!(output.status.code(), Some(5), "{told}");
        assert!(told.contains("host key"), "{told}");
        assert_eq!(live.firewall.config(), config);
    });
}

/// A port forward of another port that carries the association of the service's own.
const SHARES: &str = "<nat><rule><source><any/></source><destination><network>wanip</network><port>8443</port></destination>\
<ipprotocol>inet</ipprotocol><protocol>tcp</protocol><target>k8s_kms_lb</target><local-port>8443</local-port>\
<interface>wan</interface><descr>Also</descr>\
<associated-rule-id>nat_6b02e05bc72229.61817353</associated-rule-id></rule>";

#[test]
fn a_closing_of_the_forward_alone_is_taken_back() {
    over_both(|live| {
        let xml = live.firewall.config().replacen("<nat>", SHARES, 1);
        live.firewall.php().write("conf/config.xml", xml.as_bytes());
        live.firewall.boot();
        // Written once by pfSense, it has pfSense's form.
        done(live, &["expose", "revoke"]);
        done(live, &["undo"]);
        let at_first = live.firewall.ours();
        let closed = done(live, &["expose", "revoke"]);
        assert!(!live.redirected());
        assert_eq!(closed["before"]["filter_rule"], Value::Null, "{closed:#}");
        let what = closed["what"].as_str().expect("words");
        assert!(what.contains("the filter rule stays"), "{what}");
        let id = closed["id"].as_str().expect("an id");
        // As a saved plan too.
        live.environment.run(&["undo", id, "--plan-out", "plan.json"]).success();
        done(live, &["apply", "plan.json"]);
        assert!(live.redirected());
        assert_eq!(live.firewall.ours(), at_first);
        live.environment.run(&["expose", "revoke", "--plan-out", "close.json"]).success();
        done(live, &["apply", "close.json"]);
        assert!(!live.redirected());
    });
}

#[test]
fn clients_inside_are_counted_apart() {
    over_both(|live| {
        let connect = || {
            live.connect("10.0.20.202", &["203.0.113.7", "203.0.113.8", "192.168.7.5"]);
        };
        connect();
        let planned =
            live.environment.run(&["states", "kill", "--all", "--dry-run", "-o", "json"]).json();
        let risks = planned["data"]["risks"].as_array().expect("risks");
        let inside = risks.iter().find(|risk| risk["code"] == "ends-inside");
        let said = inside.expect("a risk")["message"].to_string();
        assert!(said.contains("1 of the 3 connections"), "{said}");
        let killed = done(live, &["states", "kill", "--all"]);
        assert!(killed["message"].to_string().contains("of them from inside"), "{killed:#}");
        let apart = |data: &Value| {
            let number = |key: &str| data[key].as_u64().expect("a count");
            (number("states_ended_inside"), number("states_ended"))
        };
        let (inside, all) = apart(&killed);
        assert!(inside > 0 && inside < all, "{killed:#}");
        connect();
        let (inside, all) = apart(&done(live, &["expose", "revoke"]));
        assert!(inside > 0 && inside < all);
    });
}

#[test]
fn a_closing_for_good_disarms_what_would_open_again() {
    over_both(|live| {
        done(live, &["expose", "revoke", "--for", "1h"]);
        assert!(!live.firewall.left_over().is_empty());
        let kept = live.environment.run(&["expose", "revoke", "--yes", "-o", "json"]).json();
        assert_eq!(kept["data"]["outcome"], "done", "{kept:#}");
        let status = live.environment.run(&["history", "-o", "json"]).json();
        assert_eq!(status["data"]["armed"], serde_json::json!([]), "{status:#}");
        assert!(!live.redirected());
    });
}

#[test]
fn a_flush_of_an_unread_list_is_refused() {
    let Some(live) = LiveBox::start("russh") else {
        return;
    };
    let list = "'-t virusprot -T show -v') printf '   203.0.113.9\\n\\tCleared:     Mon Nov 30 10:00:00 2026\\n   cut|\\n' ;;";
    live.answer_pfctl("russh", list);
    let said = live.environment.run(&["virusprot", "flush", "--yes"]).fails_with(1);
    assert!(said.contains("cannot be read"), "{said}");
}
