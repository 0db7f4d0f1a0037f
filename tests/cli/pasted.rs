//! Every command that kmsctl prints can be pasted: it carries `--config` and `--demo` as the run had them.

use crate::support::environment::{Outcome, TestEnvironment};

const TOP: &[&str] = &[
    "apply",
    "config",
    "doctor",
    "expose",
    "history",
    "keep",
    "notifier",
    "ratelimit",
    "rule",
    "runbook",
    "states",
    "status",
    "undo",
    "verify",
    "virusprot",
];

/// Returns the printed commands that begin without the flags.
fn bare_commands(text: &str) -> Vec<String> {
    let joined = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let commands = joined.split("kmsctl ").skip(1);
    commands
        .filter(|rest| {
            let word = rest.split(|letter: char| !letter.is_alphanumeric()).next();
            word.is_some_and(|word| TOP.contains(&word))
        })
        .map(str::to_owned)
        .collect()
}

fn assert_pasteable(outcome: &Outcome, flags: &str) {
    assert_eq!(
        bare_commands(&outcome.stdout),
        Vec::<String>::new(),
        "{outcome}"
    );
    assert_eq!(
        bare_commands(&outcome.stderr),
        Vec::<String>::new(),
        "{outcome}"
    );
    assert!(
        outcome.to_string().contains(&format!("kmsctl {flags} ")),
        "{outcome}"
    );
}

#[test]
fn demo_commands_carry_the_demo() {
    for (scenario, command) in [
        ("open", &["expose", "revoke", "--yes"][..]),
        ("open", &["expose", "revoke", "--yes", "-o", "json"]),
        ("open", &["ratelimit", "tighten", "--for", "2h", "--yes"]),
        (
            "open",
            &["ratelimit", "tighten", "--for", "2h", "--yes", "-o", "json"],
        ),
        ("uncapped", &["doctor", "-o", "json"]),
        ("open", &["history", "nosuch"]),
        ("open", &["history", "nosuch", "-o", "json"]),
    ] {
        let environment = TestEnvironment::new().variable("KMSCTL_DEMO_SCENARIO", scenario);
        assert_pasteable(&environment.demo(command), "--demo");
        let environment = TestEnvironment::new()
            .variable("KMSCTL_DEMO_SCENARIO", scenario)
            .variable("KMSCTL_DEMO", "yes");
        assert_pasteable(&environment.run(command), "--demo");
    }
}

#[test]
fn a_named_file_is_carried_and_quoted() {
    let environment = TestEnvironment::new();
    let file = environment.home().join("it's mine.toml");
    std::fs::write(&file, "[firewall]\nhost = \"127.0.0.1\"\n").expect("a file");
    let shown = "--config '$HOME/it'\\''s mine.toml'";
    let file = file.display().to_string();
    assert_pasteable(
        &environment.run(&["--config", &file, "history", "nosuch"]),
        shown,
    );
    let variable = TestEnvironment::new().variable("KMSCTL_CONFIG", &*file);
    let outcome = variable.run(&["history", "nosuch"]);
    assert!(outcome.stderr.contains("--config '"), "{outcome}");
    assert_eq!(
        bare_commands(&outcome.stderr),
        Vec::<String>::new(),
        "{outcome}"
    );
}

/// A wrong use says what to do instead, before it asks whether it may.
#[test]
fn wrong_uses_name_a_next_step() {
    let environment = TestEnvironment::new();
    let broken = environment.home().join("broken.toml");
    std::fs::write(&broken, "nonsense = [").expect("a file");
    let broken = broken.display().to_string();
    for (words, step) in [
        (&["--demo", "apply", "no-such.plan"][..], "--plan-out"),
        (&["--demo", "apply", &broken], "--plan-out"),
        (&["--config", &broken, "status"], "util example-config"),
        (
            &["--demo", "notifier", "replay", "no-such.log"],
            "vlmcsd writes",
        ),
        (
            &["--demo", "notifier", "logs", "--since", "yesterday"],
            "or a time: 20",
        ),
        (&["--demo", "keep", "--for", "5"], "write 90s"),
        (&["--demo", "undo", "no-such-id"], "kmsctl --demo history"),
    ] {
        let outcome = environment.run(words);
        assert_eq!(outcome.code, Some(2), "{words:?}: {outcome}");
        assert!(outcome.stderr.contains(step), "{words:?}: {outcome}");
    }
}
