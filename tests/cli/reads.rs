//! What is read of a firewall that is not at rest, or not friendly: beside reloads of its ruleset, by an account that may
//! not ask, and after a login that talks. An answer is right or it is called unread.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::boxes::{Fixture, Version};
use crate::support::environment::TestEnvironment;
use crate::support::live::{LiveBox, program, until};
use crate::support::sshd::{Login, Options};

const TRANSPORTS: [&str; 2] = ["openssh", "russh"];

#[test]
fn sixty_looks_beside_reloads_are_right() {
    let looks = |_: usize| {
        let environment = TestEnvironment::new().variable("KMSCTL_DEMO_SCENARIO", "reloading");
        for _ in 0..20 {
            let run = environment.demo(&["expose", "show", "-o", "json"]);
            assert_eq!(run.code, Some(0), "{run}");
            let shown: Value = serde_json::from_str(&run.stdout).expect("JSON");
            assert_eq!(shown["data"]["state"], "open", "{shown:#}");
            assert_eq!(shown["warnings"], serde_json::json!([]), "{shown:#}");
        }
    };
    std::thread::scope(|scope| {
        for place in 0..3 {
            scope.spawn(move || looks(place));
        }
    });
}

#[test]
fn one_race_fails_no_look() {
    for transport in TRANSPORTS {
        let Some(live) = LiveBox::start(transport) else {
            return;
        };
        for asked in ["-vvPsr", "-vvPsn", "-vsi"] {
            live.firewall.php().write("pfctl-trouble", format!("busy|{asked}|2\n").as_bytes());
            let shown = live.environment.run(&["expose", "show", "-o", "json"]);
            assert_eq!(shown.json()["data"]["state"], "open", "{asked}");
        }
    }
}

#[test]
fn an_endless_race_is_called_unread() {
    let Some(live) = LiveBox::start("russh") else {
        return;
    };
    for asked in ["-vvPsr", "-vvPsn"] {
        live.firewall.php().write("pfctl-trouble", format!("busy|{asked}\n").as_bytes());
        let began = Instant::now();
        let run = live.environment.run(&["expose", "show", "-o", "json"]);
        let said = run.fails_with(1);
        assert!(said.contains("the ruleset was being loaded"), "{said}");
        assert!(began.elapsed() < Duration::from_secs(20), "{asked}");
    }
}

#[test]
fn a_watch_outlives_a_race() {
    let Some(live) = LiveBox::start("russh") else {
        return;
    };
    live.answer_pfctl(
        "russh",
        "-vvPsr) n=$(cat \"$BOX/asked\" 2>/dev/null || echo 0); echo $((n + 1)) >\"$BOX/asked\"\n\
         [ $n -ge 1 ] && [ $n -lt 120 ] && { echo 'pfctl: DIOCGETRULE: Device busy' >&2; exit 0; }\n\
         exec \"$PFCTL\" \"$@\" ;;",
    );
    let (data, talk) = (live.firewall.file("data"), live.firewall.file("talk"));
    let file = |path| std::fs::File::create(path).expect("a file");
    let mut child = live
        .environment
        .command(&["rule", "show", "--watch=1s", "-o", "ndjson"])
        .stdout(file(&data))
        .stderr(file(&talk))
        .spawn()
        .expect("kmsctl");
    until("the race is called unread", || {
        live.firewall.text("talk").contains("the ruleset was being loaded")
    });
    let seen = live.firewall.text("data").lines().count();
    until("the watch goes on", || live.firewall.text("data").lines().count() > seen);
    interrupt(child.id());
    child.wait().expect("it ends");
}

#[test]
fn a_status_without_counters_needs_root() {
    let Some(live) = LiveBox::start("russh") else {
        return;
    };
    let sample =
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/cases/pfctl-si-unprivileged.15.txt");
    live.answer_pfctl("russh", &format!("-vsi) exec cat '{sample}' ;;\n*) exit 0 ;;"));
    for command in [&["expose", "show"][..], &["rule", "show"], &["states"], &["ratelimit", "show"]]
    {
        let said = live.environment.run(command).fails_with(5);
        assert!(said.contains("root"), "{said}");
        assert!(!said.contains("DISABLED") && !said.contains("disabled"), "{said}");
    }
    let status = live.environment.run(&["status"]);
    assert!(!status.stdout.contains("DISABLED"), "{status}");
    assert!(!status.stdout.contains("closed"), "{status}");
}

#[test]
fn a_dead_expiry_job_promises_nothing() {
    let Some(live) = LiveBox::start("russh") else {
        return;
    };
    live.firewall.php().write(
        "pf/virusprot",
        b"203.0.113.200\tFri Nov 20 22:01:02 2026\n203.0.113.201\tFri Nov 20 21:01:02 2026\n",
    );
    let shown = live.environment.run(&["virusprot", "show", "-o", "json"]).json();
    assert_eq!(shown["data"]["expiry"]["working"], false, "{shown:#}");
    assert_eq!(shown["data"]["entries"][0]["release_at"], Value::Null);
    let codes = shown["warnings"].to_string();
    assert!(codes.contains("expiry-not-working"), "{codes}");
    let status = live.environment.run(&["status"]).success();
    assert!(status.contains("the cron job does not work"), "{status}");
    let doctor = live.environment.run(&["doctor", "-o", "json"]);
    let findings: Value = serde_json::from_str(&doctor.stdout).expect("JSON");
    let expiry = findings["data"]["findings"].as_array().expect("findings");
    let expiry = expiry.iter().find(|one| one["check"] == "expiry");
    assert_eq!(expiry.expect("the check")["result"], "wrong", "{findings:#}");
}

#[test]
fn a_job_in_the_cron_folder_is_seen() {
    let Some(live) = LiveBox::start("openssh") else {
        return;
    };
    live.firewall.php().write("crontab", b"SHELL=/bin/sh\n");
    std::fs::create_dir(live.firewall.file("cron.d")).expect("a folder");
    live.firewall
        .php()
        .write("cron.d/expire", b"*/5 * * * * root /sbin/pfctl -q -t virusprot -T expire 7200\n");
    let shown = live.environment.run(&["virusprot", "show", "-o", "json"]).json();
    assert_eq!(shown["data"]["expiry"]["kind"], "cron", "{shown:#}");
    assert_eq!(shown["data"]["expiry"]["older_than_seconds"], 7200);
}

#[test]
fn a_menu_is_named_quickly() {
    for transport in TRANSPORTS {
        let options = Options { login: Login::Menu, ..Options::default() };
        let Some(live) = LiveBox::behind(options, transport, Version::V272, Fixture::Editor) else {
            return;
        };
        for command in [&["virusprot", "show"][..], &["expose", "show"]] {
            let began = Instant::now();
            let said = live.environment.run(command).fails_with(5);
            assert!(said.contains("shows a menu"), "{said}");
            assert!(said.contains("Enter an option"), "{said}");
            assert!(began.elapsed() < Duration::from_secs(15), "{said}");
        }
    }
}

#[test]
fn what_a_login_prints_late_is_no_data() {
    let options = Options { login: Login::Chatty, ..Options::default() };
    let Some(live) = LiveBox::behind(options, "russh", Version::V272, Fixture::Editor) else {
        return;
    };
    for _ in 0..16 {
        let shown = live.environment.run(&["expose", "show", "-o", "json"]).json();
        assert_eq!(shown["data"]["state"], "open", "{shown:#}");
    }
}

fn interrupt(process: u32) {
    let sent = Command::new("kill").args(["-INT", &process.to_string()]).status();
    assert!(sent.expect("kill").success());
}

#[test]
fn an_answer_without_end_is_called_that() {
    let Some(live) = LiveBox::start("russh") else {
        return;
    };
    live.answer_pfctl("russh", "-vvPsr) exec yes pass ;;");
    let said = live.environment.run(&["expose", "show", "--timeout", "120s"]).fails_with(1);
    assert!(said.contains("more than 64 MiB came"), "{said}");
}

#[test]
fn revoke_does_not_wait_for_states() {
    let Some(live) = LiveBox::start("russh") else {
        return;
    };
    live.answer_pfctl(
        "russh",
        "-vvss) exec yes 'all tcp 10.0.20.202:1688 <- 192.0.2.1:50000       ESTABLISHED:ESTABLISHED' ;;",
    );
    let said =
        live.environment.run(&["expose", "revoke", "--yes", "--timeout", "120s"]).fails_with(7);
    assert!(said.contains("more than 64 MiB came"), "{said}");
    assert!(!live.redirected(), "it is closed");
    let again =
        live.environment.run(&["expose", "revoke", "--yes", "--timeout", "120s"]).fails_with(7);
    assert!(again.contains("Connections: not read"), "{again}");
}

/// Silent, or talking on and on too slowly to be a flood, for as long as the firewall is there.
const NEVER_ENDS: [&str; 2] =
    [r#"while [ -e "$0" ]; do sleep 1; done"#, r#"while [ -e "$0" ]; do echo x; sleep 1; done"#];

/// Nothing that a closing can do without keeps the service open; what was not read is named.
#[test]
fn revoke_does_not_wait_for_silence() {
    for (transport, unended) in TRANSPORTS.into_iter().zip(NEVER_ENDS) {
        for (asked, code) in [("-vvss", 7), ("*virusprot*", 0), ("-vsi", 7), ("*k8s_kms_lb*", 7)] {
            let Some(live) = LiveBox::start(transport) else {
                return;
            };
            live.answer_pfctl(transport, &format!("{asked}) {unended} ;;"));
            let begun = Instant::now();
            let run = live.environment.run(&["expose", "revoke", "--yes", "--timeout", "12s"]);
            let case = format!("{transport}, {asked}, {unended}: {run:?}");
            assert_eq!(run.code, Some(code), "{case}");
            assert!(!live.redirected(), "{case}");
            assert!(begun.elapsed() < Duration::from_secs(12), "{case}");
            assert!(run.stderr.contains("Connections: not read"), "{case}");
            let named = run.stderr.contains("did not end within");
            assert!(asked != "-vvss" || named, "{case}");
        }
    }
}

/// A shell that ends with such an answer, or one that is none of ours, keeps nothing open either.
#[test]
fn revoke_survives_a_shell_that_breaks() {
    let breaks = ["kill -9 $PPID", "head -c 3000000 /dev/zero | tr '\\0' x"];
    for (transport, breaking) in TRANSPORTS.into_iter().zip(breaks) {
        for asked in ["-vvss", "*virusprot*", "-vsi"] {
            let Some(live) = LiveBox::start(transport) else {
                return;
            };
            live.answer_pfctl(transport, &format!("{asked}) {breaking} ;;"));
            let run = live.environment.run(&["expose", "revoke", "--yes", "--timeout", "12s"]);
            let case = format!("{transport}, {asked}, {breaking}: {run:?}");
            assert!(!live.redirected(), "{case}");
            assert!([Some(0), Some(7)].contains(&run.code), "{case}");
        }
    }
}

/// What a rule does that cannot be read is not known, also where it is the last of its kind.
#[test]
fn a_rule_that_cannot_be_read_closes_nothing() {
    let rules = [("rdr pass", "$(printf %070000d 0)"), ("frob", "")].map(|(action, end)| {
        format!(
            "@$n {action} on vtnet0 inet proto tcp from any to any port = 1688 -> 10.0.20.202 {end}"
        )
    });
    for (transport, rule) in TRANSPORTS.into_iter().zip(rules) {
        let Some(live) = LiveBox::start(transport) else {
            return;
        };
        let run = |words: &[&str]| live.environment.run(words);
        let again = "\"$PFCTL\" \"$@\"; n=$(\"$PFCTL\" \"$@\" | grep -c '^@[0-9]* .*rdr')";
        live.answer_pfctl(transport, &format!("*-vvPsn*) {again}; echo \"{rule}\"\necho '  [ Evaluations: 0         Packets: 0         Bytes: 0           States: 0     ]' ;;"));
        let revoked = run(&["expose", "revoke", "--yes"]);
        assert!(!live.redirected(), "{revoked:?}");
        assert_eq!(revoked.code, Some(7), "{transport}, {rule}: {revoked:?}");
        let shown = run(&["expose", "show", "--expect", "closed"]);
        assert!(shown.code != Some(0), "{transport}, {rule}: {shown:?}");
        let status = run(&["status", "--expect", "closed"]);
        assert!(status.code != Some(0), "{transport}, {rule}: {status:?}");
    }
}

/// Wherever it stands, it is no gap: the emergency goes through, and the rule is named.
#[test]
fn a_rule_that_cannot_be_read_stops_no_closing() {
    let shapes = [
        ("*-vvPsr*", "s/^@7 [a-z]*/@7 frob/"),
        ("*-vvPsr*", "s/^@1 [a-z]*/@1 frob/"),
        ("*-vvPsn*", "s/^@1 [a-z-]*/@1 frob/"),
    ];
    for (transport, (list, script)) in TRANSPORTS.into_iter().cycle().zip(shapes) {
        let Some(live) = LiveBox::start(transport) else {
            return;
        };
        live.answer_pfctl(transport, &format!("{list}) \"$PFCTL\" \"$@\" | sed '{script}' ;;"));
        let revoked = live.environment.run(&["expose", "revoke", "--yes"]);
        assert!(!live.redirected(), "{script}: {revoked:?}");
        assert_eq!(revoked.code, Some(7), "{transport}, {script}: {revoked:?}");
        assert!(revoked.stderr.contains("frob"), "{script}: {revoked:?}");
    }
}

/// Whom the caps of a plan would cut is not known then, and that is said.
#[test]
fn caps_do_not_hide_unread_connections() {
    let Some(live) = LiveBox::start("russh") else {
        return;
    };
    live.answer_pfctl("russh", &format!("-vvss) {} ;;", NEVER_ENDS[0]));
    let run = live.environment.run(&["ratelimit", "tighten", "--dry-run", "--timeout", "12s"]);
    assert_eq!(run.code, Some(0), "{run:?}");
    let said = run.stdout.clone() + &run.stderr;
    assert!(said.contains("Connections: not read"), "{run:?}");
}

/// An entry that was not understood may be the one that is meant.
#[test]
fn an_unread_entry_is_not_missing() {
    let Some(live) = LiveBox::start("russh") else {
        return;
    };
    live.answer_pfctl(
        "russh",
        "*virusprot*show*) echo '   203.0.113.200'; echo '   192.0.2.9@frob'; exit 0 ;;",
    );
    for words in [&["delete", "192.0.2.9"][..], &["delete", "192.0.2.0/24"], &["expire"]] {
        let said =
            live.environment.run(&[&["virusprot"], words, &["--yes"]].concat()).fails_with(1);
        assert!(said.contains("1 line of virusprot cannot be read"), "{words:?}: {said}");
    }
    live.environment.run(&["virusprot", "delete", "203.0.113.200", "--dry-run"]).success();
}

/// A configuration that never comes holds no command up for longer than it was given.
#[test]
fn no_silence_outlasts_the_timeout() {
    for (transport, unended) in TRANSPORTS.into_iter().zip(NEVER_ENDS) {
        let Some(live) = LiveBox::start(transport) else {
            return;
        };
        program(&live.firewall.file("php-at-login"), &format!("#!/bin/sh\n{unended}\n"));
        for words in [&["status"][..], &["expose", "revoke", "--yes"]] {
            let begun = Instant::now();
            let run = live.environment.run(&[words, &["--timeout", "4s"]].concat());
            let spent = begun.elapsed();
            assert_eq!(run.code, Some(5), "{transport}: {run:?}");
            assert!(spent < Duration::from_secs(10), "{transport}, {spent:?}: {run:?}");
        }
    }
}
