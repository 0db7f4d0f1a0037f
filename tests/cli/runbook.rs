//! The runbooks: every command in them runs on the demo and prints what the runbook shows.
//!
//! `KMSCTL_TESTS_BLESS=1 cargo test --test cli runbook` writes the present output into them; read the diff.

use std::fmt::Write as _;
use std::path::Path;

use crate::support::environment::TestEnvironment;

/// Replaces the output below every `$ kmsctl …` line of the console blocks by what the command prints now.
fn replay(text: &str, run: impl Fn(&[&str]) -> String) -> (String, usize) {
    let mut out = String::new();
    let mut commands = 0;
    let (mut inside, mut skipping) = (false, false);
    for line in text.lines() {
        if line.starts_with("```") {
            inside = line == "```console";
            skipping = false;
        }
        let command = line.strip_prefix("$ kmsctl ").filter(|_| inside);
        if let Some(command) = command {
            commands += 1;
            skipping = true;
            let _ = writeln!(out, "{line}");
            out.push_str(&run(&command.split(' ').collect::<Vec<_>>()));
        } else if !skipping {
            let _ = writeln!(out, "{line}");
        }
    }
    (out, commands)
}

#[test]
fn runbooks_show_what_the_commands_print() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("runbooks");
    let mut total = 0;
    for entry in std::fs::read_dir(&folder).expect("runbooks") {
        let path = entry.expect("a runbook").path();
        if path.extension().is_none_or(|extension| extension != "md") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("a runbook");
        let environment = TestEnvironment::new().variable("KMSCTL_DEMO", "1");
        let (fresh, commands) = replay(&text, |arguments| {
            let outcome = environment.run(arguments);
            assert!(matches!(outcome.code, Some(0 | 3)), "{arguments:?}: {outcome}");
            outcome.stdout + &outcome.stderr
        });
        assert!(commands > 0, "{} has no command", path.display());
        total += commands;
        if std::env::var_os("KMSCTL_TESTS_BLESS").is_some() {
            std::fs::write(&path, fresh).expect("a runbook");
        } else {
            assert_eq!(text, fresh, "{}", path.display());
        }
    }
    assert!(total >= 9, "{total}");
}

#[test]
fn runbooks_are_shown_in_the_terminal_as_they_are_on_disk() {
    let environment = TestEnvironment::new();
    for (name, text) in kmsctl::commands::runbook::RUNBOOKS {
        assert_eq!(&environment.run(&["runbook", name]).success(), text);
    }
    let list = environment.run(&["runbook"]).success();
    assert!(list.contains("virusprot"), "{list}");
    let unknown = environment.run(&["runbook", "nonsense"]).fails_with(2);
    assert!(unknown.contains("virusprot"), "{unknown}");
}

#[test]
fn a_command_finds_its_runbook() {
    let environment = TestEnvironment::new();
    for (words, name) in [
        (&["revoke"][..], "expose"),
        (&["expose", "revoke"], "expose"),
        (&["close"], "expose"),
        (&["reovke"], "expose"),
        (&["tighten"], "ratelimit"),
        (&["unban"], "virusprot"),
        (&["states", "kill"], "states"),
        (&["undo"], "history"),
        (&["exposs"], "expose"),
    ] {
        let shown = environment.run(&[&["runbook"], words].concat());
        let known = kmsctl::commands::runbook::RUNBOOKS.iter().find(|(known, _)| *known == name);
        assert_eq!(Some(shown.stdout.as_str()), known.map(|(_, text)| *text), "{words:?}: {shown}");
        assert!(shown.stderr.contains(name), "{words:?}: {shown}");
        assert_eq!(shown.code, Some(0), "{shown}");
    }
    for words in ["xyzzy", "help"] {
        let unknown = environment.run(&["runbook", words]).fails_with(2);
        assert!(unknown.contains("hint: ") && unknown.contains("`kmsctl runbook`"), "{unknown}");
    }
}
