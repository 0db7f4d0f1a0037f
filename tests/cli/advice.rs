//! What kmsctl says is wrong and what it says to do about it, held against what it knows itself: on the demo, scenario by
//! scenario.

use serde_json::Value;

use crate::support::environment::TestEnvironment;
use crate::support::screen::at_terminal;

fn demo_in(scenario: &str) -> TestEnvironment {
    TestEnvironment::new().variable("KMSCTL_DEMO_SCENARIO", scenario)
}

fn findings_in(answer: &Value) -> Vec<Value> {
    let findings = answer["data"]["findings"].as_array().cloned();
    findings.expect("findings")
}

/// Returns the lines of a screen that begin with a label.
fn labelled<'a>(shown: &'a str, label: &str) -> Vec<&'a str> {
    let lines = shown.lines();
    lines.filter(|line| line.starts_with(label)).collect()
}

/// A customer who is shut out is on the screen, or named below what is; what `doctor` proves to be wrong with the pair is there, too.
#[test]
fn status_hides_no_customer_and_no_rule() {
    for scenario in [
        "floating",
        "group",
        "group-forward",
        "no-cron",
        "one-to-one",
        "other-port",
        "routed",
        "second-wan",
        "shared-association",
        "table-missing",
        "upnp",
    ] {
        let environment = demo_in(scenario);
        let status = environment.demo(&["status"]);
        let answer = environment.demo(&["status", "-o", "json"]).json();
        let found = findings_in(&answer);
        if found.iter().any(|finding| finding["check"] == "customer") {
            let shown = status.stdout.contains("203.0.113.65 is blocked and was activated")
                || status.stdout.contains("a blocked customer: ");
            assert!(shown, "{scenario}: {status}");
        }
        assert!(status.stdout.lines().count() <= 22, "{scenario}: {status}");
        let doctor = environment.demo(&["doctor", "-o", "json"]).stdout;
        let doctor: Value = serde_json::from_str(&doctor).expect("JSON");
        let said = status_text(&found);
        for finding in findings_in(&doctor) {
            let evidence = finding["evidence"].as_str().expect("text");
            let is_pair = finding["check"] == "pair" || finding["check"] == "association";
            if is_pair && finding["result"] == "wrong" {
                assert!(said.contains(evidence), "{scenario}: {evidence}\n{said}");
            }
        }
        assert!(scenario != "table-missing" || !said.contains("unknown"), "{said}");
    }
}

fn status_text(findings: &[Value]) -> String {
    findings.iter().filter_map(|finding| finding["evidence"].as_str()).collect()
}

/// Half is no green word where a door is open all the same.
#[test]
fn half_says_where_it_is_open() {
    let environment = demo_in("second-wan");
    let _ = environment.demo(&["expose", "revoke", "--yes"]);
    for words in [&["status"][..], &["expose", "show"]] {
        let shown = environment.demo(words).stdout;
        assert!(shown.contains("half, and not closed: "), "{shown}");
    }
    let half = demo_in("half").demo(&["expose", "show"]).stdout;
    assert!(half.contains("half: "), "{half}");
}

#[test]
fn a_hidden_finding_has_a_command_that_shows_it() {
    let mut hidden = 0;
    for scenario in ["group", "routed", "second-wan", "shared-association", "upnp"] {
        let environment = demo_in(scenario);
        let status = environment.demo(&["status"]);
        let answer = environment.demo(&["status", "-o", "json"]).json();
        for finding in findings_in(&answer) {
            let evidence = finding["evidence"].as_str().expect("text");
            if !evidence.contains(" is blocked and ") || status.stdout.contains(evidence) {
                continue;
            }
            hidden += 1;
            let pointers = labelled(&status.stdout, "And ").concat();
            assert!(pointers.contains("virusprot show`"), "{scenario}: {status}");
        }
    }
    assert!(hidden > 0, "no scenario hides one");
}

#[test]
fn no_printed_command_is_cut_in_two() {
    for scenario in ["group", "no-cron", "one-to-one", "shared-association"] {
        let environment = demo_in(scenario);
        let _ = environment.demo(&["ratelimit", "tighten", "--for", "2h", "--yes"]);
        for (columns, words) in [
            (80, "--demo status"),
            (80, "--demo doctor --problems --no-pager"),
            (140, "--demo status"),
        ] {
            let shown = at_terminal(&environment, columns, 50, words);
            for line in shown.lines() {
                let ticks = line.matches('`').count();
                assert_eq!(ticks % 2, 0, "{scenario} {columns} {words}: {line}\n{shown}");
            }
        }
    }
}

#[test]
fn nothing_to_do_is_not_said_behind_a_shadow() {
    for words in [
        &["expose", "restore", "--yes"][..],
        &["expose", "restore", "--dry-run"],
        &["expose", "apply", "--yes"],
    ] {
        let refused = demo_in("shadowed").demo(words).fails_with(6);
        assert!(refused.contains("No KMS during the audit"), "{refused}");
    }
    // Where the pair itself is not in force, there is something to do.
    for scenario in ["closed", "half", "half-filter"] {
        let opened = demo_in(scenario).demo(&["expose", "restore", "--dry-run"]);
        assert_eq!(opened.code, Some(0), "{scenario}: {opened}");
    }
}

#[test]
fn only_loosening_advises_to_free_customers() {
    let environment = TestEnvironment::new();
    let advises = |words: &[&str]| {
        let plan = environment.demo(&[&["ratelimit"], words, &["--dry-run"]].concat());
        let plan = plan.success();
        assert!(plan.contains("stay blocked"), "{words:?}: {plan}");
        plan.contains("Free those that are customers: `kmsctl --demo virusprot show`")
    };
    for words in [
        &["set", "--rate", "5/60"][..],
        &["set", "--max-src-conn", "40"],
        &["set", "--max-src-conn", "60", "--rate", "5/60"],
        &["set", "--rate", "10/120"],
        &["tighten"],
    ] {
        assert!(!advises(words), "{words:?}");
    }
    for words in [&["loosen"][..], &["set", "--max-src-conn", "60"]] {
        assert!(advises(words), "{words:?}");
    }
    environment.demo(&["ratelimit", "loosen", "--yes"]).success();
    assert!(!advises(&["default"]), "back from loosen");
}

#[test]
fn without_a_cron_job_no_expiry_is_promised() {
    let environment = demo_in("no-cron");
    let status = environment.demo(&["status"]).success();
    let (_, rest) = status.split_once("until then: `kmsctl ").expect("a command");
    let (command, _) = rest.split_once('`').expect("its end");
    let words: Vec<&str> = command.split(' ').collect();
    let frees = environment.run(&[&words[..], &["--dry-run"]].concat());
    assert!(frees.stdout.contains("Free "), "{command}: {frees}");
    for words in [
        &["virusprot", "add", "203.0.113.250"][..],
        &["ratelimit", "tighten"],
        &["ratelimit", "loosen"],
    ] {
        let plan = environment.demo(&[words, &["--dry-run"]].concat()).success();
        assert!(!plan.contains("expiry"), "{words:?}: {plan}");
    }
    let preview = environment.demo(&["ratelimit", "preview", "tighten"]);
    let preview = preview.success();
    assert!(!preview.contains("unknown"), "{preview}");
    assert!(preview.contains("until freed"), "{preview}");
}

/// What would make a change fail is known before it is tried.
#[test]
fn what_a_change_would_meet_is_a_finding() {
    for (scenario, check) in
        [("disk-full", "free-space"), ("leftovers", "leftovers"), ("states-full", "limits")]
    {
        let answer = demo_in(scenario).demo(&["status", "-o", "json"]).json();
        let found = findings_in(&answer);
        assert!(found.iter().any(|finding| finding["check"] == check), "{scenario}: {found:#?}");
    }
}

#[test]
fn the_first_line_follows_the_expectation() {
    for (scenario, expect, word) in [
        ("closed", "open", "WRONG"),
        ("closed", "closed", "Fine"),
        ("absent", "closed", "Fine"),
        ("half", "closed", "Fine"),
        ("floating", "closed", "WRONG"),
        ("open", "closed", "WRONG"),
    ] {
        let status = demo_in(scenario).demo(&["status", "--expect", expect]);
        let first = status.stdout.lines().next().unwrap_or_default();
        let code = if word == "Fine" { 0 } else { 3 };
        assert_eq!(status.code, Some(code), "{scenario}: {status}");
        assert!(first.starts_with(word), "{scenario} {expect}: {status}");
    }
}

/// Why a source is in the table no log of the server's says, so that no caps are said to have done it.
#[test]
fn blocked_sources_stand_beside_the_sum() {
    let environment = TestEnvironment::new();
    let preview = |words: &[&str]| environment.demo(&[&["ratelimit", "preview"], words].concat());
    for words in [&["loosen"][..], &["default"], &[]] {
        let shown = preview(words);
        assert_eq!(shown.code, Some(0), "{shown}");
        // They are in the exporter's record, and one of them is in the table now.
        for customer in ["198.51.100.68", "203.0.113.65"] {
            assert!(shown.stdout.contains(customer), "{words:?}: {shown}");
        }
        assert!(shown.stdout.contains("the log does not show why"), "{words:?}: {shown}");
        let data = preview(&[words, &["-o", "json"]].concat()).json();
        assert_eq!(data["data"]["lower_bound"], true, "{words:?}: {data:#}");
        assert_eq!(data["data"]["cut"], 0, "{words:?}: {data:#}");
        assert!(data["data"]["blocked"].as_array().is_some_and(|blocked| blocked.len() > 10));
    }
    let none = preview(&["--max-src-conn", "none", "--rate", "none", "-o", "json"]).json();
    assert_eq!(none["data"]["lower_bound"], false, "{none:#}");
    let words = ["ratelimit", "set", "--max-src-conn", "none", "--rate", "none", "--dry-run"];
    let plan = environment.demo(&words).success();
    assert!(!plan.contains("more could be cut"), "{plan}");
    assert!(!plan.contains("These caps"), "{plan}");
    let plan = environment.demo(&["ratelimit", "loosen", "--dry-run"]).success();
    assert!(plan.contains("203.0.113.65"), "{plan}");
}

/// A preview and the plan of the same caps say the same of the same sources.
#[track_caller]
fn check_plan_and_preview(scenario: &str, preview: &[&str], set: &[&str]) -> bool {
    let environment = demo_in(scenario);
    let shown = environment.demo(&[&["ratelimit", "preview"], preview].concat());
    let plan = environment.demo(&[&["ratelimit"], set, &["--dry-run", "-o", "json"]].concat());
    if plan.code != Some(0) {
        return false;
    }
    let plan = plan.json();
    let risks = plan["data"]["risks"].as_array().expect("risks").iter();
    let mut said = risks.filter(|risk| risk["code"] == "preview");
    let said = said.next().and_then(|risk| risk["message"].as_str()).unwrap_or_default();
    let mut sentences = Vec::new();
    for label in ["Preview ", "Loaded ", "In the table "] {
        for line in labelled(&shown.stdout, label) {
            let sentence = line.trim_start_matches(label).trim();
            let sentence = sentence.split_once(" would have ").map_or(sentence, |(_, rest)| rest);
            if sentence == "without caps no source is blocked" {
                continue;
            }
            assert!(
                said.contains(&format!("{sentence}.")),
                "{scenario} {preview:?}: {sentence}\n{said}"
            );
            sentences.push(sentence.to_owned());
        }
    }
    let is_bound = |text: &str| text.contains("efused connections are not in the log");
    assert_eq!(is_bound(&shown.stderr), is_bound(said), "{scenario} {preview:?}: {shown}\n{said}");
    assert_eq!(said.is_empty(), shown.code != Some(0), "{scenario} {preview:?}: {shown}\n{said}");
    for words in ["would have blocked", "came into virusprot"] {
        let (shown, said) = (shown.stdout.matches(words).count(), said.matches(words).count());
        assert_eq!(shown, said, "{scenario} {preview:?}: {words}");
    }
    !sentences.is_empty()
}

#[test]
fn a_preview_and_its_plan_agree() {
    let none = ["--max-src-conn", "none", "--rate", "none"];
    for caps in [&none[..], &["--max-src-conn", "100", "--rate", "none"], &["--rate", "20/60"]] {
        assert!(check_plan_and_preview("open", caps, &[&["set"], caps].concat()), "{caps:?}");
    }
    assert!(check_plan_and_preview("open", &["loosen"], &["loosen"]));
    let list = TestEnvironment::new().run(&["demo", "scenarios", "-o", "json"]).json();
    let scenarios = list["data"]["scenarios"].as_array().expect("scenarios").iter();
    let names = scenarios.filter_map(|scenario| scenario["name"].as_str());
    let agree = names.filter(|name| check_plan_and_preview(name, &["tighten"], &["tighten"]));
    let agree: Vec<&str> = agree.collect();
    for name in ["closed", "open", "uncapped"] {
        assert!(agree.contains(&name), "{name}: {agree:?}");
    }
}

#[test]
fn a_closed_pair_beside_an_open_path_is_one_finding() {
    // A filter rule that caps the other path too is left.
    for (scenario, says) in [
        ("second-wan", "the pair is closed, and the service is not"),
        ("one-to-one", "half: beside the managed pair, 1:1 NAT on wan"),
    ] {
        let environment = demo_in(scenario);
        environment.demo(&["expose", "revoke", "--yes"]).fails_with(7);
        let answer = environment.demo(&["status", "-o", "json"]).json();
        let found = findings_in(&answer);
        let exposure = found.iter().filter(|finding| finding["check"] == "exposure");
        assert_eq!(exposure.count(), 1, "{scenario}: {found:#?}");
        let status = environment.demo(&["status"]).success();
        assert!(status.contains(says), "{status}");
        assert!(!status.contains("Neither the port forward"), "{status}");
    }
}

#[test]
fn what_is_proven_wrong_leads_the_verdict() {
    let mut met = 0;
    for scenario in ["backend-dead", "half", "shadowed", "uncapped"] {
        let environment = demo_in(scenario);
        let verified = environment.demo(&["verify", "-o", "json"]);
        let verified: Value = serde_json::from_str(&verified.stdout).expect("JSON");
        let data = &verified["data"];
        if data["verdict"] == "inconclusive" && data["as_expected"] == false {
            met += 1;
            let shown = environment.demo(&["verify"]).stdout;
            let first = shown.lines().next().unwrap_or_default();
            assert!(first.starts_with("Verdict"), "{shown}");
            assert!(first.contains("  not as expected"), "{scenario}: {first}");
            assert!(!first.contains("inconclusive"), "{scenario}: {first}");
            let hops = data["hops"].as_array().expect("hops");
            let mut wrong = hops.iter().filter(|hop| hop["result"] == "wrong");
            let named = |hop: &Value| first.contains(hop["check"].as_str().unwrap_or("?"));
            assert!(wrong.any(named), "{scenario}: {first}");
        }
    }
    assert!(met > 0, "no scenario is both");
}

#[test]
fn one_source_has_one_count() {
    let environment = TestEnvironment::new();
    let states = environment.demo(&["states", "-o", "json"]).json();
    let sources = states["data"]["sources"].as_array().expect("sources");
    let counts: Vec<u64> = sources.iter().filter_map(|source| source["states"].as_u64()).collect();
    assert!(counts.is_sorted_by(|one, next| one >= next), "{counts:?}");
    let (address, all) = (&sources[0]["address"], &sources[0]["states"]);
    let (address, up) = (address.as_str().expect("text"), &sources[0]["established"]);
    assert_ne!(all, up);
    let plan = environment.demo(&["ratelimit", "tighten", "--dry-run"]).success();
    let named = format!("{address} ({up} established of {all})");
    assert!(plan.contains(&named), "{named}: {plan}");
    // What the notifier knows of others is not this source's.
    let one = environment.demo(&["states", "--source", address]).success();
    assert!(!one.contains("Last day") && !one.contains("Activated"), "{one}");
    let client = environment.demo(&["states", "--source", "198.51.100.68"]).success();
    assert!(client.contains("ago (198.51.100.68)"), "{client}");
}

#[test]
fn counts_name_what_they_count() {
    let seen = TestEnvironment::new().demo(&["verify", "--external"]).stdout;
    assert!(seen.contains("its rules let clients in;"), "{seen}");
    assert!(seen.contains("0 packets of blocked addresses and 0 others"), "{seen}");
    let environment = demo_in("table-missing");
    environment.demo(&["ratelimit", "tighten", "--yes"]).success();
    let status = environment.demo(&["status"]).success();
    let line = labelled(&status, "Since load").concat();
    assert!(line.contains(" 0 connections,"), "{status}");
    assert!(!line.contains("overload"), "{status}");
    assert!(status.contains("overloads since it started"), "{status}");
}

#[test]
fn what_was_closed_on_purpose_is_remembered() {
    let environment = TestEnvironment::new();
    let closed = environment.demo(&["expose", "revoke", "--delete", "--yes", "-o", "json"]);
    let id = closed.json()["data"]["id"].as_str().expect("an id").to_owned();
    let shown = environment.demo(&["expose", "show"]).success();
    assert!(shown.contains(&id) && shown.contains("kmsctl --demo expose restore"), "{shown}");
    for environment in [environment, demo_in("closed")] {
        let plan = environment.demo(&["expose", "apply", "--dry-run"]).success();
        assert!(plan.contains("closed on purpose"), "{plan}");
    }
    let built = demo_in("absent").demo(&["expose", "apply", "--dry-run"]).success();
    assert!(!built.contains("on purpose"), "{built}");
}

/// Scenarios in which some change is refused, fails or is not proven.
const UNWILLING: [&str; 12] = [
    "cut-before-answer",
    "denied",
    "disk-full",
    "load-fails",
    "locked",
    "old-target",
    "pf-disabled",
    "php-missing",
    "shadowed",
    "shared-association",
    "unproven",
    "write-fails",
];

#[test]
fn every_failed_change_ends_with_a_next_step() {
    let lower = regex::Regex::new(r"\. ([a-z]\S*)").expect("a pattern");
    let names = ["config.xml", "kmsctl", "max-src-conn", "pf", "pfctl", "pfSense"];
    let mut failed = 0;
    for scenario in UNWILLING {
        for words in [
            &["expose", "revoke"][..],
            &["expose", "restore"],
            &["expose", "apply"],
            &["ratelimit", "tighten"],
            &["virusprot", "flush"],
        ] {
            let environment = demo_in(scenario);
            let outcome = environment.demo(&[words, &["--yes", "--timeout", "2s"]].concat());
            let Some(place) = outcome.stderr.find("error: ") else {
                continue;
            };
            failed += 1;
            let error = &outcome.stderr[place..];
            assert!(error.contains("\nhint: "), "{scenario} {words:?}: {outcome}");
            let sentences = lower.captures_iter(error).map(|found| found[1].to_owned());
            let odd: Vec<String> =
                sentences.filter(|word| !names.iter().any(|name| word.starts_with(name))).collect();
            assert!(odd.is_empty(), "{scenario} {words:?}: {odd:?} {outcome}");
            // What it recommends can be done.
            for command in error.split("`kmsctl --demo ").skip(1) {
                let command = command.split('`').next().unwrap_or_default();
                let command: Vec<&str> = command.split(' ').collect();
                let dry: &[&str] =
                    if matches!(command[..], ["expose", "show"] | ["history" | "rule", ..]) {
                        &[]
                    } else {
                        &["--help"]
                    };
                let followed = environment.demo(&[&command, dry].concat());
                assert!(
                    !matches!(followed.code, Some(1 | 2)),
                    "{scenario}: {command:?} {followed}"
                );
            }
        }
    }
    assert!(failed > 30, "only {failed} changes failed");
}

#[test]
fn a_screen_says_an_outcome_once() {
    let cause = "did not load its ruleset";
    let environment = demo_in("load-fails");
    let screen = at_terminal(&environment, 140, 40, "--demo --color never expose revoke --yes");
    assert_eq!(screen.matches(cause).count(), 1, "{screen}");
    assert!(screen.contains("error: The change was rolled back."), "{screen}");
    // Where the report goes elsewhere, the error is whole.
    let piped = demo_in("load-fails").demo(&["expose", "revoke", "--yes"]);
    assert!(piped.stderr.contains(cause) && piped.stdout.contains(cause), "{piped}");
}

/// A cause stands in front, once; the checks that it took with it are counted below it, and each is in the JSON.
#[test]
fn one_cause_is_said_first_and_once() {
    let verify = ["announcement", "endpoints", "connect", "speaks"];
    let php = ["pfsense-version", "pending-changes", "ha", "pair", "association", "wan", "alias"];
    for (scenario, command, cause, followers) in [
        ("backend-dead", "verify", "pod", &verify[..]),
        ("backend-dead", "doctor", "pod", &verify[..2]),
        ("php-missing", "doctor", "php", &php),
        ("denied", "doctor", "pf", &["table", "caps", "alias"]),
    ] {
        let environment = demo_in(scenario);
        let shown = environment.demo(&[command]);
        let mut lines = shown.stdout.lines().filter(|line| !line.starts_with("Verdict"));
        let first = lines.find(|line| !line.is_empty()).unwrap_or_default();
        assert!(first.starts_with(cause) && first.contains("WRONG"), "{scenario}: {shown}");
        for check in followers {
            assert!(labelled(&shown.stdout, &format!("{check} ")).is_empty(), "{check}: {shown}");
            let listed = [format!("({check}"), format!(", {check}")];
            assert!(listed.iter().any(|listed| shown.stdout.contains(listed)), "{check}: {shown}");
        }
        assert!(shown.stdout.contains("For the same reason ("), "{shown}");
        let data = environment.demo(&[command, "-o", "json"]).stdout;
        for check in followers {
            assert!(data.contains(&format!("\"check\": \"{check}\"")), "{check}: {data}");
        }
    }
    let dead = demo_in("backend-dead").demo(&["verify"]);
    assert!(dead.stderr.contains("Wrong: pod."), "{dead}");
}

#[test]
fn no_fix_is_said_twice() {
    for scenario in ["absent", "drifted", "half", "old-target", "one-to-one", "pass-association"] {
        for command in ["verify", "doctor"] {
            let shown = demo_in(scenario).demo(&[command]);
            let mut fixes = labelled(shown.stdout.trim(), " ");
            fixes.retain(|line| line.contains("Fix: ") && !line.contains("Fix: The same as for "));
            let all = fixes.len();
            fixes.sort_unstable();
            fixes.dedup();
            assert_eq!(fixes.len(), all, "{scenario}: {shown}");
        }
    }
}

#[test]
fn a_closed_pair_hides_no_path_without_caps() {
    for scenario in ["one-to-one", "second-wan", "upnp"] {
        let environment = demo_in(scenario);
        environment.demo(&["expose", "revoke", "--yes"]).fails_with(7);
        for command in ["verify", "doctor"] {
            let shown = environment.demo(&[command]);
            assert!(!shown.stdout.contains("Nothing gets in"), "{scenario}: {shown}");
        }
    }
    let off = demo_in("pf-disabled").demo(&["doctor"]);
    assert!(!off.stdout.contains("Nothing gets in"), "{off}");
}

/// What an opening leaves as it is, it names once; among other warnings, and under the same name when it is made.
#[test]
fn an_opening_names_what_lets_in_beside() {
    for (scenario, beside) in [
        ("group", "a port forward on opt2"),
        ("group-forward", "21688 leads to"),
        ("one-to-one", "1:1 NAT on wan"),
        ("open", ""),
        ("routed", "the routed address on wan"),
        ("second-wan", "a port forward on opt2"),
        ("upnp", "a port opened by UPnP"),
    ] {
        let environment = demo_in(scenario);
        let closed = environment.demo(&["expose", "revoke", "--yes"]);
        assert_eq!(closed.code, Some(if scenario == "open" { 0 } else { 7 }), "{closed}");
        for words in [
            &["expose", "apply", "--dry-run"][..],
            &["expose", "restore", "--dry-run"],
            &["expose", "restore", "--for", "2h", "--dry-run"],
            &["undo", "--dry-run"],
            &["expose", "restore", "--yes"],
        ] {
            let plan = environment.demo(words);
            assert_eq!(plan.code, Some(0), "{scenario} {words:?}: {plan}");
            let said = plan.to_string();
            let named = said.matches("Beside the managed pair, ").count();
            assert_eq!(named, usize::from(scenario != "open"), "{scenario} {words:?}: {plan}");
            assert!(said.contains(beside), "{scenario} {words:?}: {plan}");
        }
    }
}

#[test]
fn nothing_to_do_names_what_lets_in_beside() {
    for (scenario, beside) in [
        ("one-to-one", "1:1 NAT on wan"),
        ("second-wan", "a port forward on opt2"),
        ("upnp", "a port opened by UPnP"),
        ("open", ""),
    ] {
        let environment = demo_in(scenario);
        for words in [
            &["expose", "apply", "--yes"][..],
            &["expose", "restore", "--yes"],
            &["ratelimit", "default", "--yes"],
        ] {
            let answer = environment.demo(words).success();
            assert!(answer.starts_with("Nothing to do"), "{scenario} {words:?}: {answer}");
            assert!(answer.contains(beside), "{scenario} {words:?}: {answer}");
            assert_eq!(answer.contains("leads to"), scenario != "open", "{words:?}: {answer}");
        }
    }
}

#[test]
fn a_refused_closing_advises_nothing_that_opens() {
    let mut refused = 0;
    for scenario in UNWILLING {
        for words in [&["expose", "revoke"][..], &["expose", "revoke", "--delete"]] {
            let outcome = demo_in(scenario).demo(&[words, &["--yes", "--timeout", "2s"]].concat());
            if outcome.code == Some(0) {
                continue;
            }
            refused += 1;
            let hints = outcome.stderr.split("hint: ").skip(1);
            for hint in hints.filter(|hint| !hint.contains("puts ")) {
                for opens in ["expose apply", "expose restore", "ratelimit loosen"] {
                    assert!(!hint.contains(opens), "{scenario} {words:?}: {outcome}");
                }
            }
        }
    }
    assert!(refused > 5, "only {refused} were refused");
}

#[test]
fn paths_of_one_rule_are_one_warning() {
    let plan = demo_in("group-forward").demo(&["expose", "revoke", "--dry-run"]).success();
    assert_eq!(plan.matches("does not manage").count(), 1, "{plan}");
    for place in ["192.168.1.2:21688", "203.0.113.2:21688"] {
        assert!(plan.contains(place), "{plan}");
    }
}

/// Where only the firewall is named, the built-in service is that of another network: neither its address nor its name is
/// tried.
#[test]
fn a_service_that_is_not_named_is_not_tried() {
    let away = crate::support::stubs::closed_port();
    let environment = TestEnvironment::new()
        .variable("KMSCTL_FIREWALL_PORT", away.to_string())
        .variable("KMSCTL_FIREWALL_TRANSPORT", "russh");
    let filed = TestEnvironment::new().without("KMSCTL_FIREWALL_HOST");
    filed.write_config(&format!(
        "[firewall]\nhost = \"127.0.0.1\"\nport = {away}\ntransport = \"russh\"\n"
    ));
    for environment in [environment, filed] {
        let verified = environment.run(&["verify", "-o", "json"]);
        assert_eq!(verified.code, Some(5), "{verified}");
        let data: Value = serde_json::from_str(&verified.stdout).expect("JSON");
        let hops = data["data"]["hops"].as_array().expect("hops");
        let connect = hops.iter().find(|hop| hop["check"] == "connect").expect("the hop");
        assert_eq!(connect["result"], "unknown", "{connect}");
        let evidence = connect["evidence"].as_str().expect("text");
        assert!(evidence.starts_with("Not tried: "), "{connect}");
        let fix = connect["fix"].as_str().expect("text");
        assert!(fix.contains("service.address"), "{connect}");
        for check in ["dns", "dns-aaaa"] {
            let hop = hops.iter().find(|hop| hop["check"] == check).expect("the hop");
            assert_eq!(hop["result"], "skipped", "{hop}");
        }
        let named = environment.variable("KMSCTL_SERVICE_ADDRESS", "127.0.0.1");
        let named = named.variable("KMSCTL_SERVICE_PORT", away.to_string());
        let verified = named.run(&["verify"]);
        assert!(!verified.stdout.contains("Not tried"), "{verified}");
    }
}

/// `status`, `verify` and `doctor` give one answer to a firewall that cannot be reached.
#[test]
fn a_firewall_that_is_away_has_one_exit_code() {
    let environment = TestEnvironment::new()
        .variable("KMSCTL_FIREWALL_PORT", crate::support::stubs::closed_port().to_string())
        .variable("KMSCTL_FIREWALL_TRANSPORT", "russh");
    for command in ["status", "verify", "doctor"] {
        let away = environment.run(&[command]);
        assert_eq!(away.code, Some(5), "{away}");
        assert!(away.stderr.contains("error: "), "{away}");
    }
}

/// A list without the firewall's own part is shown, and is no success.
#[test]
fn a_history_without_the_firewall_is_no_success() {
    let away = || {
        TestEnvironment::new()
            .variable("KMSCTL_FIREWALL_PORT", crate::support::stubs::closed_port().to_string())
            .variable("KMSCTL_FIREWALL_TRANSPORT", "russh")
    };
    for (environment, demo, code) in [
        (away(), &[][..], 5),
        (demo_in("php-missing"), &["--demo"], 8),
        (demo_in("open"), &["--demo"], 0),
    ] {
        for form in ["table", "json", "ndjson", "csv"] {
            let listed = environment.run(&[demo, &["history", "-o", form]].concat());
            assert_eq!(listed.code, Some(code), "{form}: {listed}");
            let said = format!("{}{}", listed.stdout, listed.stderr);
            for words in ["history --local`", "Changes made from elsewhere, and what is armed"] {
                assert_eq!(said.contains(words), code != 0, "{form} {words}: {listed}");
            }
            let alone = environment.run(&[demo, &["history", "--local", "-o", form]].concat());
            assert_eq!(alone.code, Some(0), "{form}: {alone}");
        }
    }
}

/// What the screen shows is not said again by the error below it.
#[test]
fn a_proof_says_its_finding_once() {
    for scenario in ["half", "uncapped", "floating", "pass-association"] {
        let environment = demo_in(scenario);
        let proof = environment.demo(&["verify", "--external", "-o", "json"]);
        assert_eq!(proof.code, Some(3), "{proof}");
        let proof: Value = serde_json::from_str(&proof.stdout).expect("JSON");
        let found = &proof["data"]["hops"][0];
        let screen = at_terminal(&environment, 400, 40, "--demo verify --external");
        for words in [&found["evidence"], &found["fix"]] {
            let words = words.as_str().expect("text").split(" In pf's words: ").next();
            let words = words.and_then(|words| words.split('`').next()).expect("text").trim();
            assert_eq!(screen.matches(words).count(), 1, "{scenario}: {words}\n{screen}");
        }
        assert!(screen.contains("It is not as expected."), "{screen}");
        // Where the report goes elsewhere, the error is whole.
        let piped = environment.demo(&["verify", "--external"]);
        assert!(piped.stderr.contains("hint: "), "{piped}");
    }
    let dead = demo_in("backend-dead").demo(&["verify", "--external"]);
    assert!(dead.stderr.contains("kmsctl --demo verify`"), "{dead}");
}

/// A refusal says what to do: where room is to be made, and which node is the right one.
#[test]
fn a_refused_change_names_the_way() {
    for (scenario, way) in [("ha-backup", "config show`"), ("disk-full", "`du -xk / | sort")] {
        for words in
            [&["expose", "revoke"][..], &["ratelimit", "tighten"], &["ratelimit", "loosen"]]
        {
            let environment = demo_in(scenario);
            let refused = environment.demo(&[words, &["--yes"]].concat());
            let refused = refused.fails_with(1);
            assert!(refused.contains(way), "{scenario}: {refused}");
        }
    }
}
