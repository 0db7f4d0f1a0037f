//! What is written where it cannot be written, and what a command line says back: the truth of a change never depends on
//! the report, and no word of a command line acts on the terminal.

use std::fs::File;
use std::process::Output;

use crate::support::environment::TestEnvironment;
use crate::support::screen::at_terminal;

/// What a terminal would act on, with a line that looks like an error of its own.
const ODD: &str = "\u{1b}]0;owned\u{7}\u{1b}[2J\u{202e}\u{9b}31m\u{200b}\r\nerror: fine";

fn into_a_full_device(environment: &TestEnvironment, arguments: &[&str]) -> Output {
    let full = File::options().write(true).open("/dev/full").expect("a full device");
    environment.command(arguments).stdout(full).output().expect("kmsctl runs")
}

fn stderr_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_change_is_done_without_its_report() {
    let environment = TestEnvironment::new();
    for more in [&[][..], &["-q"], &["-o", "json"]] {
        let arguments = [&["--demo", "ratelimit", "tighten", "--yes"], more].concat();
        let output = into_a_full_device(&environment, &arguments);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let said = stderr_of(&output);
        assert!(said.contains("cannot be written") && said.contains("Done"), "{said}");
        let history = environment.demo(&["history", "--local", "-o", "json"]).json();
        let id = history["data"]["entries"][0]["id"].as_str().expect("an id");
        assert!(said.contains(&format!("kmsctl --demo undo {id}")), "{said}");
        environment.demo(&["undo", "--yes"]).success();
    }
    let again = environment.demo(&["ratelimit", "default", "--yes", "-q"]);
    assert_eq!(again.code, Some(0));
    let output = into_a_full_device(&environment, &["--demo", "ratelimit", "default", "--yes"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(stderr_of(&output).contains("Nothing to do"), "{output:?}");
}

#[test]
fn a_read_that_cannot_be_written_fails() {
    let environment = TestEnvironment::new();
    for arguments in [
        &["--help"][..],
        &["--version"],
        &["expose", "--help"],
        &["help"],
        &["--demo", "status"],
        &["--demo", "ratelimit", "tighten", "--dry-run"],
        &["util", "completions", "bash"],
    ] {
        let output = into_a_full_device(&environment, arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
        assert!(stderr_of(&output).contains("cannot be written"), "{output:?}");
    }
}

#[test]
fn usage_errors_quote_nothing_that_acts() {
    let environment = TestEnvironment::new();
    let joined = [
        format!("--output={ODD}"),
        format!("-o{ODD}"),
        format!("--{ODD}"),
        format!("--timeout={ODD}"),
        format!("--max-src-conn={ODD}"),
        format!("--reason={ODD}"),
        format!("--rate={ODD}"),
        format!("--for={ODD}"),
    ];
    let [output, short, flag, timeout, number, reason, rate, time] = &joined;
    for arguments in [
        &[ODD][..],
        &[output, "status"],
        &[short, "status"],
        &[flag],
        &[timeout, "--demo", "status"],
        &["status", ODD],
        &["help", ODD],
        &["virusprot", ODD],
        &["virusprot", "test", ODD],
        &["virusprot", "delete", ODD, "--yes"],
        &["ratelimit", "set", number],
        &["ratelimit", "set", rate],
        &["ratelimit", "tighten", time],
        &["ratelimit", "tighten", reason],
        &["expose", "revoke", "--from", ODD],
        &["undo", ODD, "--yes"],
        &["keep", ODD, "--yes"],
        &["history", ODD],
        &["apply", ODD],
        &["runbook", ODD],
        &["util", "completions", ODD],
        &["verify", "--expect", ODD],
        &["verify", "--from", ODD],
        &["--config", ODD, "status"],
    ] {
        let run =
            environment.command(&[&["--demo"], arguments].concat()).output().expect("kmsctl runs");
        assert_ne!(run.status.code(), Some(0), "{arguments:?}");
        let said = String::from_utf8_lossy(&run.stderr).into_owned()
            + &String::from_utf8_lossy(&run.stdout);
        let acts = said
            .chars()
            .find(|character| *character != '\n' && kmsctl::text::acts_on_terminal(*character));
        assert_eq!(acts, None, "{arguments:?}: {said:?}");
        assert!(!said.contains("\nerror: fine"), "{arguments:?}: {said}");
    }
}

#[test]
fn a_reason_takes_nothing_that_acts() {
    let environment = TestEnvironment::new();
    for reason in ["a\u{202e}b", "a\u{2066}b", "a\u{1b}[1m", "a\tb", "a\u{9b}b", "a\u{200f}b"] {
        environment.demo(&["ratelimit", "tighten", "--dry-run", "--reason", reason]).fails_with(2);
    }
    environment.demo(&["ratelimit", "tighten", "--dry-run", "--reason", "Überlast – ok"]).success();
}

#[test]
fn what_was_typed_is_echoed_short() {
    let environment = TestEnvironment::new();
    let long = "x".repeat(100_000);
    let with_escape = "a\u{1b}[31mb";
    for command in [
        &["virusprot", "delete", "--yes"][..],
        &["virusprot", "test"],
        &["states", "--source"],
        &["status", "--timeout"],
        &["ratelimit", "set", "--yes", "--rate"],
        &["ratelimit", "set", "--yes", "--preset"],
        &["expose", "revoke", "--yes", "--for"],
        &["verify", "--external", "--from"],
        &["history"],
        &["undo", "--yes"],
        &["keep", "--yes"],
        &["apply"],
        &["runbook"],
        &["virusprot", "show", "--sort"],
        &["--nothing-such"],
        &["status", "--color"],
        &["config", "check", "--config"],
        &["status", "--context"],
    ] {
        for typed in [long.as_str(), with_escape] {
            let outcome = environment.demo(&[command, &[typed]].concat());
            let text = format!("{}{}", outcome.stdout, outcome.stderr);
            let code = outcome.code;
            assert!(code != Some(0), "{command:?}: {}", text.chars().take(300).collect::<String>());
            assert!(text.len() < 3_000, "{command:?}: {} bytes", text.len());
            assert!(!text.contains('\u{1b}'), "{command:?}: {text}");
        }
    }
}

#[test]
fn a_user_name_of_any_kind_stops_no_change() {
    for user in ["ann\na", "ann\u{1b}[2Ja", &"u".repeat(5_000)] {
        let environment = TestEnvironment::new().variable("USER", user);
        let closed = environment.demo(&["expose", "revoke", "--yes"]);
        assert_eq!(closed.code, Some(0), "{closed}");
        let list = environment.demo(&["history", "-o", "json"]).json();
        let who = list["data"]["entries"][0]["who"].as_str().expect("a name");
        assert!(who.len() < 80 && who.ends_with("@demo"), "{who}");
        assert!(!who.chars().any(char::is_control), "{who}");
    }
}

/// What the parser says, and what is wrong before anything is parsed through, has the colour that was asked for.
#[test]
fn usage_errors_and_help_have_the_colour_asked_for() {
    let colored = |environment: &TestEnvironment, words: &str| {
        at_terminal(environment, 80, 24, words).contains("\u{1b}[")
    };
    let lines = [
        "no-such-command",
        "status --no-such-flag",
        "ratelimit set --rate x",
        "--help",
        "status -h",
        "--config /nonexistent status",
        "statsu",
    ];
    let plain = TestEnvironment::new();
    for line in lines {
        for never in [format!("--color never {line}"), format!("{line} --color=never")] {
            assert!(!colored(&plain, &never), "{never}");
        }
        assert!(colored(&plain, line), "{line}");
    }
    for (name, value) in [("NO_COLOR", "1"), ("KMSCTL_COLOR", "never"), ("TERM", "dumb")] {
        let environment = TestEnvironment::new().variable(name, value);
        for line in lines {
            assert!(!colored(&environment, line), "{name}: {line}");
        }
    }
    // Into a pipe only what was asked for.
    let piped = plain.run(&["--color", "always", "no-such-command"]);
    assert!(piped.stderr.contains("\u{1b}["), "{piped}");
    assert!(!plain.run(&["no-such-command"]).stderr.contains("\u{1b}["));
}

/// Colour marks the one word, or the few, of a verdict: no label, no value and no sentence.
#[test]
fn colour_marks_verdicts_alone() {
    const VERDICTS: &[&str] = &[
        "BEHIND",
        "DEAD",
        "Done",
        "FAILED",
        "Fine",
        "NOT in force",
        "NOT proven",
        "Rolled back",
        "Uncapped",
        "Unknown",
        "WRONG",
        "Warning",
        "absent",
        "blocked",
        "closed",
        "done",
        "error:",
        "half",
        "idle",
        "in force",
        "inconclusive",
        "none",
        "not as expected",
        "not blocked",
        "not known",
        "ok",
        "open",
        "rolled-back",
        "uncapped",
        "unknown",
        "unverified",
        "warning:",
    ];
    let painted =
        regex::Regex::new("\u{1b}\\[[0-9;]*m(?:\u{1b}\\[[0-9;]*m)*([^\u{1b}]+)\u{1b}\\[0m")
            .expect("a pattern");
    let mut seen = std::collections::BTreeSet::new();
    for scenario in
        ["open", "closed", "drifted", "load-fails", "php-missing", "shadowed", "unproven"]
    {
        let environment = TestEnvironment::new().variable("KMSCTL_DEMO_SCENARIO", scenario);
        for words in [
            "ratelimit set --max-src-conn 12 --rate 3/60 --for 2h --yes --timeout 2s",
            "status",
            "expose show",
            "expose revoke --dry-run",
            "verify",
            "verify --external",
            "doctor",
            "rule show",
            "ratelimit show",
            "ratelimit preview tighten",
            "notifier status",
            "virusprot show",
            "virusprot test 203.0.113.65 192.0.2.1 192.0.2.0/24",
            "history",
        ] {
            let words: Vec<&str> = words.split(' ').collect();
            let shown = environment.demo(&[&["--color", "always"], &*words].concat());
            let all = format!("{}{}", shown.stdout, shown.stderr);
            for found in painted.captures_iter(&all) {
                let text = found.get(1).map_or("", |text| text.as_str());
                assert!(VERDICTS.contains(&text), "{scenario} {words:?}: {text:?}\n{shown}");
                seen.insert(text.to_owned());
            }
        }
    }
    for wanted in ["NOT in force", "NOT proven", "in force", "not blocked", "WRONG", "Fine"] {
        assert!(seen.contains(wanted), "{wanted} was not seen: {seen:?}");
    }
}
