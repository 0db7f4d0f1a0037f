//! Changing commands when something goes wrong on the way, through OpenSSH's own sshd and both links: every exit code,
//! and whether what is told is what is true on the far side. Exit code 3 is the answer of `test`, `verify` and `doctor`; no
//! change ends with it.

use std::process::{Child, Output};

use serde_json::Value;

use crate::support::environment::TestEnvironment;
use crate::support::live::{LiveBox, program, until};
use crate::support::processes;
use crate::support::sshd::{Options, Sshd};

const LINKS: [&str; 2] = ["openssh", "russh"];
const TIGHT: &str = "max-src-conn 10, max-src-conn-rate 3/60";
const OPEN: &str = "max-src-conn 50, max-src-conn-rate 10/60";
const OLD: &str = "Thu Jan  1 00:00:00 2026";

fn over_both(test: impl Fn(&LiveBox)) {
    for transport in LINKS {
        let Some(live) = LiveBox::start(transport) else {
            return;
        };
        eprintln!("{transport}");
        test(&live);
    }
}

fn caps(live: &LiveBox) -> String {
    live.loaded_caps().unwrap_or_default()
}

fn id_of(data: &Value) -> String {
    data["data"]["id"].as_str().expect("an id").to_owned()
}

/// What a run said: its exit code, its data, its talk.
fn ended(child: Child) -> (Option<i32>, Value, String) {
    let Output { status, stdout, stderr } = child.wait_with_output().expect("it ends");
    let told = String::from_utf8_lossy(&stderr).into_owned();
    let data = serde_json::from_slice(&stdout).unwrap_or(Value::Null);
    (status.code(), data, told)
}

/// Waits until the firewall is at work no more.
fn until_settled(live: &LiveBox, id: &str) {
    until("the change comes to its end", || {
        live.firewall.text(&format!("conf/kmsctl/change-{id}.json")).contains("\"phase\":\"ended\"")
    });
}

#[test]
fn without_a_terminal_and_without_yes_sshd_never_hears_of_it() {
    over_both(|live| {
        let commands: [&[&str]; 13] = [
            &["virusprot", "delete", "192.0.2.1"],
            &["virusprot", "expire"],
            &["virusprot", "flush"],
            &["states", "kill", "--all"],
            &["states", "kill", "192.0.2.1"],
            &["ratelimit", "tighten"],
            &["ratelimit", "loosen"],
            &["ratelimit", "default"],
            &["ratelimit", "set", "--preset", "tighten"],
            &["expose", "revoke"],
            &["expose", "revoke", "--delete"],
            &["expose", "restore"],
            &["expose", "apply"],
        ];
        for command in commands {
            let told = live.environment.run(command).fails_with(4);
            assert!(told.contains("nothing was changed"), "{command:?}: {told}");
        }
        let wrong: [&[&str]; 7] = [
            &["ratelimit", "set", "--rate", "10/0"],
            &["ratelimit", "set", "--max-src-conn", "0"],
            &["ratelimit", "tighten", "--for", "5s"],
            &["virusprot", "delete", "kms.example"],
            &["states", "kill", "kms.example"],
            &["states", "kill"],
            &["apply", "nowhere.json"],
        ];
        for command in wrong {
            let _ = live.environment.run(&[command, &["--yes"]].concat()).fails_with(2);
        }
        assert_eq!(live.sshd.connections(), 0, "{}", live.sshd.log());
        // Which changes can be kept is on the firewall: it is read, and nothing more.
        let _ = live.environment.run(&["keep", "abc"]).fails_with(2);
        assert_eq!(live.sshd.connections(), 1, "the log is read right");
    });
}

#[test]
fn a_link_that_is_cut_in_the_middle_is_made_again_and_the_truth_is_asked_for() {
    over_both(|live| {
        let commands: [&[&str]; 2] = [&["ratelimit", "tighten"], &["expose", "revoke"]];
        for command in commands {
            live.hold(true);
            let connections = live.sshd.connections();
            let kmsctl = live.spawn(&[command, &["--yes", "-o", "json"]].concat());
            live.wait_until_held();
            let before = live.sshd.connections();
            assert!(before >= connections);
            live.sshd.signal_connections("KILL");
            until("it connects again", || live.sshd.connections() > before);
            live.hold(false);
            let (code, shown, told) = ended(kmsctl);
            assert_eq!(code, Some(0), "{command:?}: {told}");
            assert_eq!(shown["data"]["outcome"], "done", "{command:?}: {shown:#}");
            assert!(told.contains("Connecting again to ask what happened"), "{told}");
        }
        assert!(!live.redirected());
        assert!(live.firewall.left_over().iter().all(|name| name.starts_with("change-")));
    });
}

#[test]
fn a_reload_that_outlasts_the_patience_is_waited_for_all_the_same() {
    over_both(|live| {
        live.hold(true);
        let kmsctl =
            live.spawn(&["ratelimit", "tighten", "--yes", "-o", "json", "--timeout", "3s"]);
        live.wait_until_held();
        std::thread::sleep(std::time::Duration::from_secs(5));
        live.hold(false);
        let (code, shown, told) = ended(kmsctl);
        assert_eq!(code, Some(0), "{told}");
        assert_eq!(shown["data"]["outcome"], "done", "{shown:#}");
        assert_eq!(caps(live), TIGHT);
    });
}

#[test]
fn a_firewall_that_cannot_be_asked_leaves_it_open_until_it_can() {
    for transport in LINKS {
        let Some(mut live) = LiveBox::start(transport) else {
            return;
        };
        live.hold(true);
        let kmsctl = live.spawn(&["ratelimit", "tighten", "--yes", "-o", "json"]);
        live.wait_until_held();
        let port = live.sshd.port;
        live.sshd.end();
        let (code, shown, told) = ended(kmsctl);
        assert_eq!(code, Some(8), "{told}");
        assert_eq!(shown["data"]["outcome"], "unverified", "{shown:#}");
        let id = id_of(&shown);
        assert!(
            told.contains("it is not known how it ended")
                && told.contains(&format!("kmsctl history {id}")),
            "{told}"
        );
        // Nothing may be taken back while that is so.
        let undone = live.environment.run(&["undo", &id, "--yes"]);
        let _ = undone.fails_with(5);
        live.hold(false);
        until_settled(&live, &id);
        live.sshd = Sshd::start(Options::default()).expect("sshd was here before");
        assert_ne!(live.sshd.port, port);
        live.environment.write_config(&live.settings(transport));
        let asked = live.environment.run(&["history", &id, "-o", "json"]).json();
        assert_eq!(asked["data"]["outcome"], "done", "{asked:#}");
        assert_eq!(caps(&live), TIGHT);
        live.environment.run(&["undo", &id, "--yes"]).success();
        assert_eq!(caps(&live), OPEN);
    }
}

#[test]
fn an_interrupted_operator_is_told_how_to_ask() {
    over_both(|live| {
        for signal in ["INT", "TERM"] {
            live.hold(true);
            let kmsctl = live.spawn(&["ratelimit", "tighten", "--yes", "-o", "json"]);
            live.wait_until_held();
            // As a terminal does it: everybody in the foreground hears Ctrl-C.
            processes::signal_group(kmsctl.id(), signal);
            let (code, shown, told) = ended(kmsctl);
            assert_eq!(code, Some(130), "{signal}: {told}");
            assert_eq!(shown["data"]["outcome"], "unverified", "{signal}: {shown:#}");
            let id = id_of(&shown);
            assert!(
                told.contains("Interrupted. The firewall may have begun the change")
                    && told.contains(&format!("kmsctl history {id}")),
                "{signal}: {told}"
            );
            live.hold(false);
            until_settled(live, &id);
            assert_eq!(caps(live), TIGHT, "the firewall finishes by itself");
            let asked = live.environment.run(&["history", &id, "-o", "json"]).json();
            assert_eq!(asked["data"]["outcome"], "done", "{asked:#}");
            live.environment.run(&["undo", &id, "--yes"]).success();
            assert_eq!(caps(live), OPEN);
        }
    });
}

#[test]
fn an_interrupted_flush_says_what_it_did_and_can_be_undone() {
    over_both(|live| {
        live.block(&[("192.0.2.1", OLD), ("192.0.2.2", OLD)]);
        live.firewall.php().write("hold-table", b"");
        let kmsctl = live.spawn(&["virusprot", "flush", "--yes", "-o", "json"]);
        live.wait_until_held();
        processes::signal_group(kmsctl.id(), "INT");
        let (code, shown, told) = ended(kmsctl);
        std::fs::remove_file(live.firewall.file("hold-table")).expect("it was held");
        assert_eq!(code, Some(130), "{told}");
        assert!(
            told.contains("2 of 2 entries were changed") && told.contains("kmsctl virusprot show"),
            "{told}"
        );
        assert!(live.blocked().is_empty());
        live.environment.run(&["undo", &id_of(&shown), "--yes"]).success();
        assert_eq!(live.blocked(), ["192.0.2.1", "192.0.2.2"]);
    });
}

#[test]
fn a_cut_link_during_a_flush_is_asked_about() {
    over_both(|live| {
        live.block(&[("192.0.2.1", OLD), ("192.0.2.2", OLD)]);
        live.firewall.php().write("hold-table", b"");
        let kmsctl = live.spawn(&["virusprot", "flush", "--yes", "-o", "json"]);
        live.wait_until_held();
        live.sshd.signal_connections("KILL");
        let (code, shown, told) = ended(kmsctl);
        std::fs::remove_file(live.firewall.file("hold-table")).expect("it was held");
        assert_eq!(code, Some(0), "{told}");
        assert_eq!(shown["data"]["outcome"], "done", "{shown:#}");
        assert!(told.contains("Connecting again"), "{told}");
        assert!(live.blocked().is_empty());
    });
}

#[test]
fn a_second_operator_is_told_who_holds_the_lock() {
    over_both(|live| {
        let anna = TestEnvironment::new().private_runtime().variable("USER", "anna");
        anna.write_config(&live.settings("russh"));
        anna.run(&["ratelimit", "loosen", "--plan-out", "plan.json"]).success();
        live.hold(true);
        let kmsctl = live.spawn(&["ratelimit", "tighten", "--yes", "-o", "json"]);
        live.wait_until_held();
        let fresh = anna.run(&["ratelimit", "loosen", "--yes"]).fails_with(6);
        assert!(fresh.contains("tester@"), "{fresh}");
        live.hold(false);
        let (code, ..) = ended(kmsctl);
        assert_eq!(code, Some(0));
        let stale = anna.run(&["apply", "plan.json", "--yes"]).fails_with(6);
        assert!(stale.contains("The plan is stale"), "{stale}");
        assert_eq!(caps(live), TIGHT);
    });
}

#[test]
fn the_lock_itself_is_kept_on_the_firewall() {
    over_both(|live| {
        let anna = TestEnvironment::new().private_runtime().variable("USER", "anna");
        anna.write_config(&live.settings("russh"));
        anna.run(&["expose", "revoke", "--plan-out", "plan.json"]).success();
        // Held before anything is written, so that neither the reading nor the plan can tell.
        live.firewall.php().write("conf/kmsctl/.keep", b"");
        live.firewall.php().write(
            "conf/kmsctl/lock",
            b"{\"id\":\"aaaa\",\"who\":\"boris@desk\",\"what\":\"caps\",\"since\":1}",
        );
        let lock = std::fs::File::open(live.firewall.file("conf/kmsctl/lock")).expect("a lock");
        lock.lock().expect("nobody has it");
        let config = live.firewall.config();
        let told = anna.run(&["apply", "plan.json", "--yes"]).fails_with(6);
        assert!(told.contains("boris@desk"), "{told}");
        let told = live.environment.run(&["ratelimit", "tighten", "--yes"]).fails_with(6);
        assert!(told.contains("boris@desk"), "{told}");
        assert_eq!(live.firewall.config(), config);
        // Its holder is gone: a lock that nobody has is none, whatever stands in the file.
        drop(lock);
        live.environment.run(&["ratelimit", "tighten", "--yes"]).success();
        assert_eq!(caps(live), TIGHT);
    });
}

#[test]
fn a_change_whose_php_was_killed_is_brought_to_an_end_by_the_firewall() {
    over_both(|live| {
        live.hold(true);
        let kmsctl = live.spawn(&["ratelimit", "tighten", "--yes", "-o", "json"]);
        processes::signal(live.wait_until_held().expect("PHP's id"), "KILL");
        live.hold(false);
        let (code, shown, told) = ended(kmsctl);
        // Whoever asks has it finished: written means that the operator's wish goes on.
        assert_eq!(code, Some(0), "{told}");
        assert_eq!(shown["data"]["outcome"], "done", "{shown:#}");
        assert_eq!(caps(live), TIGHT);
        assert!(live.firewall.left_over().iter().all(|name| name.starts_with("change-")));
    });
}

#[test]
fn what_does_not_load_is_rolled_back_and_called_so() {
    over_both(|live| {
        let at_first = live.firewall.ours();
        for trouble in [
            "load-error 1\n",
            "load-busy 1\n",
            "load-silent 1\n",
            "rule-lost 1\n",
            "rules-unwritable 1\n",
        ] {
            for command in [&["ratelimit", "tighten"][..], &["expose", "revoke"]] {
                live.firewall.trouble(trouble);
                let outcome = live.environment.run(&[command, &["--yes"]].concat());
                if trouble.starts_with("rule-lost") && command[0] == "expose" {
                    // Rules that are to go may well be lost.
                    assert_eq!(outcome.code, Some(0), "{outcome}");
                    live.firewall.trouble("");
                    live.environment.run(&["expose", "restore", "--yes"]).success();
                } else {
                    assert_eq!(outcome.code, Some(7), "{trouble} {command:?}: {outcome}");
                    assert!(outcome.stdout.contains("Rolled back"), "{trouble}: {outcome}");
                }
                assert_eq!(
                    (caps(live).as_str(), live.redirected()),
                    (OPEN, true),
                    "{trouble} {command:?}"
                );
                assert_eq!(live.firewall.ours(), at_first, "{trouble} {command:?}");
            }
        }
        // Neither the new ruleset nor the old one loads: not proven, and the rollback stays armed.
        live.firewall.trouble("rule-lost\n");
        let outcome = live.environment.run(&["ratelimit", "tighten", "--yes"]);
        assert_eq!(outcome.code, Some(7), "{outcome}");
        assert!(outcome.stdout.contains("NOT proven"), "{outcome}");
        live.firewall.trouble("");
        live.firewall.tick();
        assert!(live.redirected() && live.firewall.ours() == at_first);
    });
}

#[test]
fn what_the_firewall_refuses_leaves_it_as_it_was() {
    over_both(|live| {
        live.block(&[("192.0.2.1", OLD)]);
        let config = live.firewall.config();
        let run = |arguments: &[&str]| live.environment.run(&[arguments, &["--yes"]].concat());
        live.firewall.trouble("disk-low\n");
        assert!(run(&["ratelimit", "tighten"]).fails_with(1).contains("free on the disk"));
        live.firewall.trouble("write-error\n");
        assert!(run(&["ratelimit", "tighten"]).fails_with(1).contains("old rules are in force"));
        live.firewall.trouble("");
        live.firewall.php().write("run/natconf.dirty", b"");
        assert!(run(&["ratelimit", "loosen"]).fails_with(6).contains("wait to be applied"));
        std::fs::remove_file(live.firewall.file("run/natconf.dirty")).expect("it was there");
        let pfctl = std::fs::read_to_string(live.firewall.file("pfctl")).expect("pfctl");
        program(
            &live.firewall.file("pfctl"),
            "#!/bin/sh\necho 'pfctl: /dev/pf: Permission denied' >&2\nexit 1\n",
        );
        for command in
            [&["virusprot", "flush"][..], &["states", "kill", "--all"], &["expose", "revoke"]]
        {
            assert!(run(command).fails_with(5).contains("/dev/pf"), "{command:?}");
        }
        program(&live.firewall.file("pfctl"), &pfctl);
        assert_eq!(live.blocked(), ["192.0.2.1"]);
        std::fs::remove_file(live.firewall.file("pf/virusprot")).expect("the table");
        assert!(run(&["virusprot", "flush"]).fails_with(1).contains("does not exist"));
        assert!(
            run(&["virusprot", "delete", "192.0.2.1"]).fails_with(1).contains("does not exist")
        );
        std::fs::remove_file(live.firewall.file("php-at-login")).expect("PHP");
        assert!(run(&["expose", "revoke"]).fails_with(1).contains("is not on the firewall"));
        assert_eq!(live.firewall.config(), config);
        let mut elsewhere = live.environment.command(&["expose", "revoke", "--yes"]);
        elsewhere.env("KMSCTL_FIREWALL_PORT", "1");
        let output = elsewhere.output().expect("kmsctl runs");
        assert_eq!(output.status.code(), Some(5));
        let list = live.environment.run(&["history", "--local", "-o", "json"]).json();
        let entries = list["data"]["entries"].as_array().expect("entries");
        assert!(entries.iter().all(|entry| entry["outcome"] == "failed"), "{list:#}");
    });
}

#[test]
fn an_answer_without_end_is_not_called_none() {
    for transport in LINKS {
        let Some(live) = LiveBox::start(transport) else {
            return;
        };
        for (slowly, said) in [
            ("while head -c 1000000 /dev/zero | tr '\\0' x; do sleep 0.3; done", "MiB came"),
            ("sleep 20", "did not answer within"),
        ] {
            live.answer_pfctl(transport, &format!("*sr) {slowly} ;;"));
            let told = live.environment.run(&["rule", "show", "--timeout", "4s"]).fails_with(5);
            assert!(told.contains(said), "{transport} {slowly}: {told}");
        }
    }
}

#[test]
fn a_holder_that_lives_is_waited_for() {
    for transport in LINKS {
        let Some(live) = LiveBox::start(transport) else {
            return;
        };
        // A change that the firewall is still loading holds the lock, and its process lives.
        live.hold(true);
        let first = live.spawn(&["ratelimit", "tighten", "--yes", "-o", "json"]);
        live.wait_until_held();
        let begun = std::time::Instant::now();
        let told =
            live.environment.run(&["expose", "revoke", "--yes", "--timeout", "4s"]).fails_with(6);
        assert!(begun.elapsed().as_secs() >= 3, "{told}");
        assert!(told.contains("Another change is being made"), "{told}");
        assert!(live.redirected(), "{told}");
        let second = live.spawn(&["expose", "revoke", "--yes", "--timeout", "60s", "-o", "json"]);
        std::thread::sleep(std::time::Duration::from_secs(2));
        live.hold(false);
        let (code, data, told) = ended(first);
        assert_eq!(code, Some(0), "{told} {data:#}");
        let (code, data, told) = ended(second);
        assert_eq!(code, Some(0), "{told} {data:#}");
        assert_eq!(data["data"]["outcome"], "done", "{data:#}");
        assert!(!live.redirected());
    }
}
