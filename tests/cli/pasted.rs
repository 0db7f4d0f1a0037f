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
    assert_eq!(bare_commands(&outcome.stdout), Vec::<String>::new(), "{outcome}");
    assert_eq!(bare_commands(&outcome.stderr), Vec::<String>::new(), "{outcome}");
    assert!(outcome.to_string().contains(&format!("kmsctl {flags} ")), "{outcome}");
}

#[test]
fn demo_commands_carry_the_demo() {
    for (scenario, command) in [
        ("open", &["expose", "revoke", "--yes"][..]),
        ("open", &["expose", "revoke", "--yes", "-o", "json"]),
        ("open", &["ratelimit", "tighten", "--for", "2h", "--yes"]),
        ("open", &["ratelimit", "tighten", "--for", "2h", "--yes", "-o", "json"]),
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
    assert_pasteable(&environment.run(&["--config", &file, "history", "nosuch"]), shown);
    // It is pasted in another directory, too.
    assert_pasteable(&environment.run(&["--config", "it's mine.toml", "history", "nosuch"]), shown);
    let variable = TestEnvironment::new().variable("KMSCTL_CONFIG", &*file);
    let outcome = variable.run(&["history", "nosuch"]);
    assert!(outcome.stderr.contains("--config '"), "{outcome}");
    assert_eq!(bare_commands(&outcome.stderr), Vec::<String>::new(), "{outcome}");
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
        (&["--demo", "notifier", "replay", "no-such.log"], "vlmcsd writes"),
        (&["--demo", "notifier", "logs", "--since", "yesterday"], "or a time: 20"),
        (&["--demo", "keep", "--for", "5"], "write 90s"),
        (&["--demo", "undo", "no-such-id"], "kmsctl --demo history"),
        (&["--demo", "tighten"], "`kmsctl --demo ratelimit tighten`"),
        (&["--demo=half", "-o", "json", "revoke"], "`kmsctl --demo=half expose revoke`"),
        (&["--context", "home", "revoke"], "`kmsctl --context home expose revoke`"),
        (&["revoke", "--config", "/a b.toml"], "`kmsctl --config '/a b.toml' expose revoke`"),
    ] {
        let outcome = environment.run(words);
        assert_eq!(outcome.code, Some(2), "{words:?}: {outcome}");
        assert!(outcome.stderr.contains(step), "{words:?}: {outcome}");
    }
}

/// Scenarios whose rules, or what is read of them, differ from those of the usual one.
const CONDITIONS: [&str; 22] = [
    "absent",
    "closed",
    "denied",
    "drifted",
    "floating",
    "group-forward",
    "half",
    "half-filter",
    "no-cron",
    "old-target",
    "open",
    "pass-association",
    "pf-disabled",
    "php-missing",
    "routed",
    "second-wan",
    "shadowed",
    "shared-association",
    "table-missing",
    "uncapped",
    "upnp",
    "upnp-elsewhere",
];

/// Commands that say what to do next.
const ADVISERS: [&str; 13] = [
    "doctor",
    "expose apply --dry-run",
    "expose restore --dry-run",
    "expose revoke --dry-run",
    "ratelimit tighten --dry-run",
    "status",
    "status --expect closed",
    "status --expect open",
    "undo --dry-run",
    "verify",
    "verify --expect closed",
    "verify --external",
    "verify --external --expect closed",
];

/// Returns the commands that a text recommends for a scenario, without the names that are only examples.
fn recommended_commands(text: &str, scenario: &str) -> Vec<String> {
    let start = format!("kmsctl --demo={scenario} ");
    let pieces = text.lines().flat_map(|line| line.split(&start).skip(1));
    let mut commands: Vec<String> = pieces
        .map(|piece| {
            let piece = piece.split(['`', ';', ')']).next().unwrap_or_default();
            let mut words = Vec::new();
            for word in piece.split_whitespace() {
                let whole = word.trim_end_matches(['.', ',', ':']);
                words.push(whole);
                if whole != word {
                    break;
                }
            }
            words.join(" ")
        })
        .filter(|command| !command.split(' ').any(|word| word.contains("ADDR")))
        .collect();
    commands.sort_unstable();
    commands.dedup();
    commands
}

/// What a command recommends in a scenario is accepted there, and is no word against it.
#[test]
fn recommended_commands_are_accepted() {
    let advised = |scenario: &str| -> Vec<String> {
        let demo = format!("--demo={scenario}");
        // Each in a home of its own: a vantage connects a few times a minute only.
        let run = |command: &str| {
            let words: Vec<&str> = command.split(' ').collect();
            TestEnvironment::new().run(&[&[demo.as_str()], words.as_slice()].concat())
        };
        let mut tried: Vec<String> = Vec::new();
        let mut broken = Vec::new();
        for adviser in ADVISERS {
            let outcome = run(adviser);
            for mut command in recommended_commands(&outcome.to_string(), scenario) {
                let changes = ["expose", "ratelimit", "states kill", "virusprot"]
                    .iter()
                    .any(|group| command.starts_with(group))
                    && !["show", "history", "preview", "--dry-run"]
                        .iter()
                        .any(|word| command.contains(word));
                if changes {
                    command.push_str(" --dry-run");
                }
                if tried.contains(&command) {
                    continue;
                }
                let followed = run(&command);
                let refused = matches!(followed.code, Some(1 | 2 | 6));
                // What is to be freed once it is old may not be old yet.
                let idle = changes
                    && !command.contains("expire")
                    && followed.stdout.contains("Nothing to do");
                if refused || idle {
                    broken.push(format!("{scenario}: {adviser} -> {command}\n{followed}"));
                }
                tried.push(command);
            }
        }
        broken
    };
    let (ours, others) = CONDITIONS.split_at(CONDITIONS.len() / 2);
    let each = |scenarios: &[&str]| -> Vec<String> {
        scenarios.iter().flat_map(|scenario| advised(scenario)).collect()
    };
    let broken = std::thread::scope(|threads| {
        let others = threads.spawn(|| each(others));
        [each(ours), others.join().expect("it ends")].concat()
    });
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
