//! `kmsctl status` and the commands it is made of, on the demo in every scenario and every form.

use serde_json::Value;

use crate::support::environment::TestEnvironment;
use crate::support::live::LiveBox;
use crate::support::screen::at_terminal;

const READS: &[&[&str]] = &[
    &["status"],
    &["virusprot", "show"],
    &["rule", "show"],
    &["states"],
    &["states", "--all"],
    &["ratelimit", "show"],
    &["expose", "show"],
];

#[test]
fn every_read_command_answers_in_every_form() {
    let environment = TestEnvironment::new();
    for command in READS {
        for form in ["table", "json", "ndjson", "csv"] {
            let outcome = environment.demo(&[command, &["-o", form][..]].concat());
            assert_eq!(outcome.code, Some(0), "{command:?} {form}: {outcome}");
            assert!(!outcome.stdout.is_empty(), "{command:?} {form}");
            assert!(!outcome.stdout.contains('\u{1b}'), "{command:?} {form}: colour in a pipe");
            for line in outcome.stdout.lines().filter(|_| form == "ndjson") {
                serde_json::from_str::<serde_json::Value>(line)
                    .unwrap_or_else(|error| panic!("{command:?}: {error}: {line}"));
            }
        }
    }
}

#[test]
fn the_exposure_is_judged_in_every_scenario() {
    let expected = [
        ("absent", "absent"),
        ("closed", "closed"),
        ("drifted", "open"),
        ("half", "half"),
        ("half-filter", "half"),
        ("no-cron", "open"),
        ("open", "open"),
        ("pass-association", "uncapped"),
        ("pf-disabled", "closed"),
        ("php-missing", "open"),
        ("table-missing", "open"),
        ("uncapped", "uncapped"),
    ];
    for (scenario, state) in expected {
        let environment = TestEnvironment::new().variable("KMSCTL_DEMO_SCENARIO", scenario);
        let shown = environment.demo(&["expose", "show", "-o", "json"]).json();
        assert_eq!(shown["data"]["state"], state, "{scenario}: {:#}", shown["data"]["why"]);
        let status = environment.demo(&["status", "-o", "json"]).json();
        assert_eq!(status["data"]["expose"]["state"], state, "{scenario}");
    }
}

#[test]
fn one_missing_fact_hides_nothing_else() {
    let environment = TestEnvironment::new().variable("KMSCTL_DEMO_SCENARIO", "php-missing");
    let status = environment.demo(&["status", "-o", "json"]).json();
    assert!(
        status["data"]["virusprot"]["entries"]
            .as_array()
            .is_some_and(|entries| !entries.is_empty()),
        "{status:#}"
    );
    // What cron runs is read without PHP.
    assert_eq!(status["data"]["virusprot"]["expiry"]["kind"], "cron");
    assert!(status["data"]["expose"]["nat"]["configured"].is_null(), "{status:#}");
    let told: String = status["warnings"].to_string();
    assert!(told.contains("php is not on the firewall"), "{told}");

    let environment = TestEnvironment::new().variable("KMSCTL_DEMO_SCENARIO", "table-missing");
    let status = environment.demo(&["status", "-o", "json"]).json();
    assert!(status["data"]["virusprot"].is_null());
    assert!(
        status["data"]["states"]["sources"].as_array().is_some_and(|sources| !sources.is_empty()),
        "{status:#}"
    );
}

#[test]
fn caps_configured_but_not_loaded_are_named() {
    let environment = TestEnvironment::new().variable("KMSCTL_DEMO_SCENARIO", "drifted");
    let shown = environment.demo(&["ratelimit", "show", "-o", "json"]).json();
    assert_eq!(shown["data"]["configured"]["rate"]["connections"], 10, "{shown:#}");
    assert_eq!(shown["data"]["loaded"]["rate"]["connections"], 30, "{shown:#}");
    let codes =
        environment.demo(&["expose", "show", "-o", "json"]).json()["data"]["why"].to_string();
    assert!(codes.contains("caps-differ"), "{codes}");
}

#[test]
fn the_schemas_have_their_keys() {
    let environment = TestEnvironment::new();
    let keys = |arguments: &[&str], pointer: &str| -> Vec<String> {
        let shown = environment.demo(&[arguments, &["-o", "json"]].concat()).json();
        let object = shown
            .pointer(pointer)
            .and_then(serde_json::Value::as_object)
            .unwrap_or_else(|| panic!("{arguments:?} {pointer}: {shown:#}"));
        let mut keys: Vec<String> = object.keys().cloned().collect();
        keys.sort();
        keys
    };
    assert_eq!(keys(&["rule", "show"], "/data"), ["block", "filter", "nat"]);
    assert_eq!(
        keys(&["rule", "show"], "/data/filter"),
        ["caps", "configured", "counters", "enabled", "loaded", "tracker"]
    );
    assert_eq!(
        keys(&["rule", "show"], "/data/filter/counters"),
        ["bytes", "evaluations", "packets", "state_creations", "states"]
    );
    assert_eq!(keys(&["states"], "/data"), ["cap", "notifier", "sources"]);
    assert_eq!(
        keys(&["states"], "/data/sources/0"),
        [
            "address",
            "blocked",
            "bytes_in",
            "bytes_out",
            "counted",
            "established",
            "oldest_seconds",
            "states"
        ]
    );
    assert_eq!(keys(&["states", "--all"], "/data"), ["cap", "notifier", "sources", "states"]);
    assert_eq!(
        keys(&["ratelimit", "show"], "/data"),
        [
            "configured",
            "in_force",
            "loaded",
            "near",
            "near_rate",
            "preset",
            "uncapped_paths",
            "why"
        ]
    );
    assert_eq!(keys(&["ratelimit", "show"], "/data/loaded"), ["max_src_conn", "rate"]);
    assert_eq!(
        keys(&["expose", "show"], "/data"),
        ["alias", "caps", "filter", "nat", "paths", "state", "why"]
    );
    assert_eq!(
        keys(&["status"], "/data"),
        [
            "armed",
            "expose",
            "findings",
            "notifier",
            "pf",
            "ratelimit",
            "rule",
            "states",
            "virusprot"
        ]
    );
}

#[test]
fn watch_into_a_pipe_prints_an_object_a_line_over_one_channel() {
    use std::io::{BufRead as _, BufReader};
    use std::process::Stdio;
    let environment = TestEnvironment::new();
    let mut command = environment.command(&["--demo", "rule", "show", "--watch=1s"]);
    command.env_remove("KMSCTL_DEMO_NOW");
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("kmsctl runs");
    let stdout = child.stdout.take().expect("stdout");
    let lines: Vec<String> =
        BufReader::new(stdout).lines().take(2).map(|line| line.expect("a line")).collect();
    for line in &lines {
        let tick: serde_json::Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(tick["schema"], "kmsctl/rule.show/v1");
    }
    assert_eq!(lines.len(), 2);
    let output = child.wait_with_output().expect("kmsctl ends when its reader is gone");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

/// What is wrong is said first, each with its command; where nothing is, that is said.
#[test]
fn status_leads_with_what_is_wrong() {
    for (scenario, word, command) in [
        ("absent", "absent", "kmsctl --demo expose apply"),
        ("backend-dead", "ready", "kmsctl --demo verify"),
        ("closed", "", ""),
        ("drifted", "Configured are", "Filter Reload"),
        ("half", "half", "kmsctl --demo expose restore"),
        ("half-filter", "half", "kmsctl --demo expose restore"),
        ("no-cron", "stays blocked", "kmsctl --demo virusprot expire"),
        ("old-target", "k8s_shared_lb", "kmsctl --demo expose apply"),
        ("open", "customer", "kmsctl --demo virusprot delete 203.0.113.65"),
        ("pass-association", "uncapped", "expose apply"),
        ("pf-disabled", "switched off", "System > Advanced"),
        ("table-missing", "does not exist", "Filter Reload"),
        ("uncapped", "uncapped", "kmsctl --demo ratelimit default"),
    ] {
        let environment = TestEnvironment::new().variable("KMSCTL_DEMO_SCENARIO", scenario);
        let shown = environment.demo(&["status"]).success();
        let first = shown.split("Firewall").next().unwrap_or_default();
        if scenario != "open" {
            assert!(first.contains(word), "{scenario}: {shown}");
        }
        assert!(first.contains(command), "{scenario}: {shown}");
        let data = environment.demo(&["status", "-o", "json"]).json();
        let findings = data["data"]["findings"].as_array().expect("findings");
        for finding in findings {
            assert!(finding["fix"].is_string(), "{scenario}: {finding:#}");
        }
        assert_eq!(findings.is_empty(), scenario == "closed", "{scenario}");
        assert_eq!(first.starts_with("Fine"), findings.is_empty(), "{shown}");
    }
    // Nothing is green where something is wrong.
    for (scenario, green) in [("half", false), ("open", false), ("closed", true)] {
        let environment = TestEnvironment::new().variable("KMSCTL_DEMO_SCENARIO", scenario);
        let shown = environment.demo(&["--color", "always", "status"]).success();
        assert_eq!(shown.contains("\u{1b}[32m"), green, "{scenario}: {shown}");
    }
}

#[test]
fn status_fits_a_screen_in_every_scenario() {
    let listed = TestEnvironment::new().run(&["demo", "scenarios", "-o", "json"]);
    let listed = listed.json();
    let scenarios = listed["data"]["scenarios"].as_array().expect("scenarios");
    for scenario in scenarios {
        let scenario = scenario["name"].as_str().expect("a name");
        let environment = TestEnvironment::new().variable("KMSCTL_DEMO_SCENARIO", scenario);
        let changed = environment.demo(&["ratelimit", "tighten", "--for", "2h", "--yes"]);
        let shown = at_terminal(&environment, 80, 24, "--demo status");
        assert!(
            shown.lines().count() < 24,
            "{scenario} ({:?}), {} lines:\n{shown}",
            changed.code,
            shown.lines().count()
        );
        let words = shown.split_whitespace().collect::<Vec<_>>().join(" ");
        for raw in ["pass in ", "block drop ", "rdr on ", " inet proto "] {
            assert!(!words.contains(raw), "{scenario}: {shown}");
        }
    }
}

#[test]
fn an_expectation_costs_no_probe() {
    for (scenario, open, closed) in [
        ("absent", 3, 0),
        ("closed", 3, 0),
        ("denied", 8, 8),
        ("drifted", 3, 3),
        ("half", 3, 0),
        ("half-filter", 3, 0),
        ("open", 0, 3),
        ("pf-disabled", 3, 3),
        ("pass-association", 3, 3),
        ("uncapped", 3, 3),
    ] {
        let environment = TestEnvironment::new().variable("KMSCTL_DEMO_SCENARIO", scenario);
        for command in [&["expose", "show"][..], &["status"]] {
            for (expect, code) in [("open", open), ("closed", closed)] {
                let outcome = environment.demo(&[command, &["--expect", expect]].concat());
                assert_eq!(outcome.code, Some(code), "{scenario} {expect}: {outcome}");
            }
            let denied = if command[0] == "status" { 8 } else { 5 };
            let code = if scenario == "denied" { denied } else { 0 };
            assert_eq!(environment.demo(command).code, Some(code), "{scenario}");
        }
    }
    let environment = TestEnvironment::new();
    let outcome = environment.demo(&["status", "--expect", "open", "--watch"]);
    assert_eq!(outcome.code, Some(2), "{outcome}");
}

/// Unreachable (5) is a firewall that is away; of one that is there and denies what is asked nothing is proven (8).
#[test]
fn a_denied_look_is_no_verdict() {
    let says = |words: &str, code: u8| format!("echo 'pfctl: {words}' >&2; exit {code}");
    for (transport, denial) in ["openssh", "russh"].into_iter().cycle().zip([
        says("/dev/pf: Permission denied", 1),
        says("/dev/pf: Operation not permitted", 1),
        says("/dev/pf: No such file or directory", 1),
        "exit 127".to_owned(),
        "exit 126".to_owned(),
        // As where it may not ask the kernel: nothing in any list, and a status that it made up.
        "case \"$*\" in *-vsi*) echo 'Status: Disabled' ;; esac; exit 0".to_owned(),
    ]) {
        let Some(live) = LiveBox::start(transport) else {
            return;
        };
        live.answer_pfctl(transport, &format!("*) {denial} ;;"));
        for words in [
            &["status"][..],
            &["status", "--expect", "open"],
            &["status", "--expect", "closed"],
            &["expose", "show", "--expect", "closed"],
            &["verify"],
            &["verify", "--expect", "closed"],
        ] {
            let looked = live.environment.run(words);
            assert_eq!(looked.code, Some(8), "{denial}, {words:?}: {looked}");
        }
        // The clock and the interface of this box are wrong by themselves.
        let doctor = live.environment.run(&["doctor", "--problems"]);
        let first = doctor.stdout.lines().next().unwrap_or_default();
        assert!(first.starts_with("pf ") && first.contains("WRONG"), "{denial}: {doctor}");
        assert!(doctor.stdout.contains("For the same reason (table, "), "{denial}: {doctor}");
        let away = live.environment.command(&["status"]).env("KMSCTL_FIREWALL_PORT", "1").output();
        assert_eq!(away.expect("kmsctl runs").status.code(), Some(5), "{denial}");
    }
}

/// What half of the answers rest on is among the findings that a screen shows, and what else is wrong behind it.
#[test]
fn a_screen_names_what_leaves_much_unread() {
    for (name, value) in [
        ("KMSCTL_SERVICE_INTERFACE", "wan"),
        ("KMSCTL_SERVICE_INTERFACE", "opt1"),
        ("KMSCTL_SERVICE_PORT", "1689"),
    ] {
        let environment = TestEnvironment::new()
            .variable("KMSCTL_DEMO_SCENARIO", "php-missing")
            .variable(name, value);
        for words in [&["status"][..], &["status", "--expect", "closed"]] {
            let shown = environment.demo(words);
            let first = shown.stdout.lines().next().unwrap_or_default();
            assert!(first.starts_with("WRONG") && first.contains("/php is not on"), "{shown}");
            assert!(shown.stdout.lines().count() < 24, "{shown}");
            let count = shown.stdout.matches("/php").count();
            assert_eq!(count, 1, "{shown}");
            let named = environment.demo(&[words, &["-o", "json"]].concat()).stdout;
            assert!(named.contains("\"check\": \"php\""), "{named}");
        }
    }
}

#[test]
fn what_keeps_all_out_precedes_one_address() {
    let environment = TestEnvironment::new().variable("KMSCTL_DEMO_SCENARIO", "states-full");
    let shown = environment.demo(&["status"]).success();
    let place = |part: &str| shown.find(part).expect(part);
    assert!(place("Nearly full") < place("is blocked and"), "{shown}");
}

/// What `status` finds wrong about the rules is wrong in `verify` and in `doctor` too, and none of the three calls unknown
/// what was read.
#[test]
fn status_verify_and_doctor_agree() {
    let environment = TestEnvironment::new();
    let scenarios = environment.demo(&["demo", "scenarios"]).success();
    let names: Vec<&str> =
        scenarios.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
    assert!(names.len() > 20, "{scenarios}");
    let mut met = std::collections::BTreeSet::new();
    for name in names {
        let scenario = format!("--demo={name}");
        let ask = |command: &str| {
            let outcome = environment.run(&[&scenario, command, "-o", "json"]);
            serde_json::from_str::<Value>(&outcome.stdout).ok()
        };
        let Some(status) = ask("status") else {
            continue;
        };
        let findings = |answer: &Value, list: &str| {
            let findings = answer["data"][list].as_array().cloned();
            findings.expect("findings")
        };
        let wrong = |finding: &&Value| finding["result"] == "wrong";
        let verify = findings(&ask("verify").expect("an answer"), "hops");
        let doctor = findings(&ask("doctor").expect("an answer"), "findings");
        let rules = ["exposure", "nat", "filter", "caps", "table", "paths", "pf", "alias"];
        let of_rules = |finding: &&Value| rules.iter().any(|check| finding["check"] == *check);
        let faulty =
            findings(&status, "findings").iter().filter(wrong).any(|found| of_rules(&found));
        let seen = verify.iter().filter(of_rules).filter(wrong).count();
        assert_eq!(faulty, seen > 0, "{name}: {status:#} {verify:#?}");
        let troubled = doctor.iter().any(|finding| wrong(&finding));
        assert!(!faulty || troubled, "{name}");
        // What would make a change fail is no reason for a green word either.
        assert!(!troubled || !findings(&status, "findings").is_empty(), "{name}");
        let unread = |finding: &&Value| {
            let evidence = finding["evidence"].as_str().unwrap_or_default();
            finding["result"] == "unknown"
                && (evidence.contains("not configured,")
                    || evidence.contains("configured, disabled"))
        };
        assert_eq!(verify.iter().find(unread), None, "{name}");
        let status = findings(&status, "findings");
        let loose = |finding: &&Value| wrong(finding) && finding["fix"].is_null();
        assert_eq!(verify.iter().chain(&doctor).chain(&status).find(loose), None, "{name}");
        // What is wrong has one name, one sentence and one fix.
        let first = |list: &[Value], check: &str| {
            let mut named = list.iter().filter(wrong).filter(|found| found["check"] == check);
            named.next().cloned()
        };
        for finding in status.iter().filter(wrong) {
            let check = finding["check"].as_str().expect("a name");
            let named = first(&doctor, check).or_else(|| first(&verify, check));
            assert!(named.is_some(), "{name}: {finding:#}");
        }
        for check in OF_BOX {
            let found = first(&status, check);
            assert_eq!(found, first(&doctor, check), "{name}: {check}");
            met.extend(found.map(|_| check));
        }
        let exposure = first(&doctor, "exposure");
        assert_eq!(exposure, first(&verify, "exposure"), "{name}");
        // That pf is off says all.
        let is_off = first(&status, "pf").is_some();
        assert!(is_off || first(&status, "exposure") == exposure, "{name}: {status:#?}");
    }
    for check in ["customer", "expiry", "free-space", "ha", "leftovers", "limits", "table"] {
        assert!(met.contains(check), "{check}: {met:?}");
    }
}

/// What is wrong with the box and with who is blocked.
const OF_BOX: [&str; 18] = [
    "customer",
    "expiry",
    "free-space",
    "gateway",
    "ha",
    "journal",
    "leftovers",
    "limits",
    "operator",
    "own-subnet",
    "pending-changes",
    "pf",
    "php",
    "private",
    "protected",
    "request-limit",
    "table",
    "timer",
];

#[test]
fn a_full_disk_says_what_is_needed() {
    let environment = TestEnvironment::new().variable("KMSCTL_DEMO_SCENARIO", "disk-full");
    for command in ["status", "doctor"] {
        let shown = environment.demo(&[command]).stdout;
        let shown = shown.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(shown.contains("A change should find 50.0 MiB"), "{shown}");
        assert!(shown.contains("`du -xk / | sort -n | tail`"), "{shown}");
    }
}

/// Rules have names; how pf prints them is for the commands that show all.
#[test]
fn a_rule_has_a_name_first() {
    for (name, value) in [
        ("KMSCTL_SERVICE_ALIAS", "nope"),
        ("KMSCTL_SERVICE_PORT", "443"),
        ("KMSCTL_SERVICE_INTERFACE", "opt1"),
        ("KMSCTL_SERVICE_ADDRESS", "10.0.20.200"),
    ] {
        for scenario in ["open", "closed", "half-filter", "second-wan", "upnp-elsewhere"] {
            let environment = TestEnvironment::new().variable("KMSCTL_DEMO_SCENARIO", scenario);
            let shown = environment.variable(name, value).demo(&["status"]).stdout;
            for raw in ["pass in ", "block drop ", "rdr on "] {
                assert!(!shown.contains(raw), "{scenario} {value}: {shown}");
            }
        }
    }
    for (scenario, title) in [
        ("floating", "\"Rate-limited KMS\" (tracker 1763000004)"),
        ("shared-association", "\"NAT KMS public — kms.viktorbarzin.me\" (tracker 1763000004)"),
        ("shadowed", "\"No KMS during the audit\" (tracker 1763000009)"),
    ] {
        let environment = TestEnvironment::new().variable("KMSCTL_DEMO_SCENARIO", scenario);
        let first = environment.demo(&["status"]).stdout;
        assert!(first.lines().next().is_some_and(|line| line.contains(title)), "{first}");
        // The whole rule is where the finding says to look.
        let shown = environment.demo(&["expose", "show"]).stdout;
        assert!(shown.contains(&format!("{title}. In pf's words: ")), "{shown}");
    }
}
