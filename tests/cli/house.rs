//! The fences of the house: what a reader of `src/lib.rs` is promised about files, imports and generated text.

use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(under: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(under)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a source folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                // Where the fuzzer was built, there is generated text.
                if !path.ends_with("target") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("a source file");
                found.push((path, text));
            }
        }
    }
    assert!(!found.is_empty(), "no sources under {under}");
    found
}

/// The part of a file before its unit tests; `mod tests;` alone is a file of its own.
fn code(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text)
}

#[test]
fn the_domain_touches_no_world() {
    let forbidden = [
        "tokio",
        "std::fs",
        "std::process",
        "std::net::Tcp",
        "std::net::Udp",
        "std::env",
        "std::io",
        "Timestamp::now",
        "SystemTime",
        "Instant::now",
    ];
    for (path, text) in rust_files("src/domain") {
        // What only the unit tests read, such as how many cases are wanted.
        if path.components().any(|part| part.as_os_str() == "tests") {
            continue;
        }
        for word in forbidden {
            assert!(!code(&text).contains(word), "{} mentions {word}", path.display());
        }
    }
}

/// What each room may name of the crate beside itself, from the top of the house to its foundation: never what stands above
/// it. `clock`, `error`, `own_files`, `plain_file` and `text` may be named by every room.
const ROOMS: [(&str, &[&str]); 16] = [
    ("start", &["cli", "app", "settings", "terminal"]),
    ("cli", &["commands", "app", "simulator", "settings", "journal", "terminal", "domain"]),
    (
        "commands",
        &[
            "change",
            "vantage",
            "app",
            "simulator",
            "exporter",
            "notifier",
            "kubectl",
            "pfsense",
            "ssh",
            "settings",
            "journal",
            "terminal",
            "domain",
        ],
    ),
    ("change", &["vantage", "app", "pfsense", "settings", "journal", "terminal", "domain"]),
    (
        "vantage",
        &["app", "simulator", "kubectl", "pfsense", "ssh", "settings", "terminal", "domain"],
    ),
    ("app", &["simulator", "pfsense", "ssh", "settings", "journal", "terminal", "domain"]),
    ("simulator", &["notifier", "pfsense", "ssh", "journal", "domain"]),
    ("exporter", &["notifier", "domain"]),
    ("notifier", &["settings", "domain"]),
    ("kubectl", &["settings", "domain"]),
    ("pfsense", &["ssh", "domain"]),
    ("ssh", &["settings", "domain"]),
    ("settings", &["domain"]),
    ("journal", &["domain"]),
    ("terminal", &["domain"]),
    ("domain", &[]),
];

const FOUNDATIONS: [&str; 5] = ["clock", "error", "own_files", "plain_file", "text"];

#[test]
fn every_room_names_only_what_is_below() {
    for (room, below) in ROOMS {
        let mut files = rust_files("src");
        files.retain(|(path, _)| within(path, &[room]));
        assert!(!files.is_empty(), "there is no room {room}");
        for (path, text) in files {
            for named in text.split("crate::").skip(1) {
                let end = named.find(|letter: char| !letter.is_ascii_lowercase() && letter != '_');
                let named = &named[..end.unwrap_or(named.len())];
                assert!(!named.is_empty(), "{}: one room a `use`", path.display());
                assert!(
                    named == room || below.contains(&named) || FOUNDATIONS.contains(&named),
                    "{} names {named}, which is not below {room}",
                    path.display()
                );
            }
        }
    }
}

#[test]
fn rooms_stand_above_what_they_name() {
    for (place, (room, below)) in ROOMS.iter().enumerate() {
        for named in *below {
            let stands = ROOMS.iter().position(|(other, _)| other == named);
            assert!(stands > Some(place), "{room} names {named}, which stands above it");
        }
    }
    let mut rooms: Vec<&str> = ROOMS.iter().map(|(room, _)| *room).chain(FOUNDATIONS).collect();
    rooms.extend(["lib", "main"]);
    for (path, _) in rust_files("src") {
        let path = path.strip_prefix(root().join("src")).expect("a source file");
        let first = path.components().next().expect("a name").as_os_str().to_string_lossy();
        let room = first.trim_end_matches(".rs");
        assert!(rooms.contains(&room), "{room} stands in no table");
    }
}

#[test]
fn every_file_opens_with_what_it_is_for() {
    for folder in ["src", "tests", "benches"] {
        for (path, text) in rust_files(folder) {
            assert!(text.starts_with("//!"), "{}", path.display());
        }
    }
}

#[test]
fn processes_start_in_few_places() {
    for (path, text) in rust_files("src") {
        let edges = [
            "ssh/control_master.rs",
            "src/kubectl.rs",
            "terminal/pager.rs",
            // kmsctl itself, once a context.
            "commands/contexts.rs",
        ];
        let edge = edges.iter().any(|place| path.ends_with(place));
        assert!(
            edge || !(code(&text).contains("process::") && code(&text).contains("Command::new(")),
            "{} starts a process",
            path.display()
        );
    }
}

/// Rust's own quotation has escapes of its own; `text::quoted` has those of all other texts.
#[test]
fn texts_from_outside_have_one_form_of_escapes() {
    // What is hashed, two enums of russh, and what tests alone print.
    let others = ["ssh/control_master.rs", "ssh/builtin.rs", "ssh/forward.rs", "kms_log/score.rs"];
    for (path, text) in rust_files("src") {
        let is_test = text.contains("#[test]") && !text.contains("\nmod tests {");
        if is_test
            || path.components().any(|part| part.as_os_str() == "tests")
            || others.iter().any(|other| path.ends_with(other))
        {
            continue;
        }
        let code = text.split("\nmod tests {").next().unwrap_or_default();
        let lines = code.lines().enumerate();
        let debugs: Vec<_> = lines.filter(|(_, line)| line.contains(":?}")).collect();
        assert!(debugs.is_empty(), "{}: {debugs:?}", path.display());
    }
}

/// To open a named pipe waits for its other end, deaf to signals and time limits.
#[test]
fn files_are_opened_in_one_place() {
    let others = [
        // /proc and /etc; directories that are synced; a log, looked at first; what is given to be read once.
        "settings/environment.rs",
        "src/journal.rs",
        "notifier/checkpoint.rs",
        "notifier/tail.rs",
        "notifier/replay.rs",
        "virusprot/change.rs",
        // A plan that it has just had written.
        "contexts/peer.rs",
    ];
    for (path, text) in rust_files("src") {
        let is_test = text.contains("#[test]") && !text.contains("\nmod tests {");
        if is_test || others.iter().any(|other| path.ends_with(other)) {
            continue;
        }
        let code = text.split("\nmod tests {").next().unwrap_or_default();
        for opened in ["File::open(", "fs::read(", "fs::read_to_string("] {
            assert!(!code.contains(opened), "{}: {opened}", path.display());
        }
    }
}

#[test]
fn the_example_configuration_is_the_built_in_one() {
    let file =
        std::fs::read_to_string(root().join("config.example.toml")).expect("config.example.toml");
    assert_eq!(file, kmsctl::settings::keys::example_configuration(), "run `tests/generate`");
}

#[test]
fn completions_and_man_pages_are_fresh() {
    use clap_complete::Shell;
    for (shell, name) in
        [(Shell::Bash, "kmsctl.bash"), (Shell::Fish, "kmsctl.fish"), (Shell::Zsh, "_kmsctl")]
    {
        let file = std::fs::read_to_string(root().join("completions").join(name)).expect(name);
        assert_eq!(
            file,
            kmsctl::cli::util::completion_script(shell),
            "{name}: run `tests/generate`"
        );
    }
    let fresh = tempfile::tempdir().expect("a folder");
    kmsctl::cli::util::write_man_pages(fresh.path()).expect("man pages");
    let names = |folder: &Path| {
        let mut names: Vec<_> = std::fs::read_dir(folder)
            .expect("man pages")
            .map(|entry| entry.expect("a page").file_name())
            .collect();
        names.sort();
        names
    };
    let kept = root().join("completions/man");
    assert_eq!(names(&kept), names(fresh.path()), "run `tests/generate`");
    for name in names(&kept) {
        let read = |folder: &Path| std::fs::read_to_string(folder.join(&name)).expect("a page");
        assert_eq!(read(&kept), read(fresh.path()), "{}: run `tests/generate`", name.display());
    }
}

#[test]
fn one_word_names_command_file_runbook_and_test() {
    for (name, _) in kmsctl::commands::runbook::RUNBOOKS {
        // A subcommand with a runbook of its own lives in its group's folder.
        let homes = [format!("src/commands/{name}.rs"), format!("src/commands/notifier/{name}.rs")];
        let has_home = homes.iter().any(|path| root().join(path).is_file());
        assert!(has_home, "{homes:?} are missing");
        let path = format!("runbooks/{name}.md");
        assert!(root().join(&path).is_file(), "{path} is missing");
    }
    let mut names: Vec<&str> =
        kmsctl::commands::runbook::RUNBOOKS.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        kmsctl::commands::runbook::RUNBOOKS.iter().map(|(name, _)| *name).collect::<Vec<_>>()
    );
}

/// Returns whether a source file is part of what may do this.
fn within(path: &Path, places: &[&str]) -> bool {
    let relative = path.strip_prefix(root().join("src")).unwrap_or(path);
    places
        .iter()
        .any(|place| relative.starts_with(place) || relative == Path::new(&format!("{place}.rs")))
}

#[test]
fn only_the_change_room_changes_anything() {
    // What changes a firewall, and the only places that may name it. The simulator is the other side of the wire.
    let fences: [(&[&str], &[&str]); 4] = [
        (
            &["pfsense::actions", "actions::", "Action::"],
            &[
                "change",
                "pfsense/actions",
                "pfsense/agent",
                "pfsense/mod",
                // Actions of pf's rules, which are read only.
                "domain/pf",
                "domain/exposure",
                "domain/reachability",
                "simulator",
            ],
        ),
        (
            &["ApplyRequest", "KeepRequest", "OutcomeRequest", "Request::Apply", "Request::Keep"],
            &["change", "pfsense/actions", "pfsense/agent", "domain/pfsense", "simulator"],
        ),
        (
            &[
                "\"delete\"",
                "\"add\"",
                "\"-k\"",
                "\"-K\"",
                "\"-F\"",
                "\"flush\"",
                "\"zero\"",
                "\"expire\"",
                "\"replace\"",
                "\"-f\"",
            ],
            &[
                // Reads such words in a crontab.
                "domain/virusprot",
                "pfsense/actions",
                "pfsense/questions",
                "ssh/ssh_arguments",
                // `tail -F` in a pod.
                "kubectl",
                // A word of Kubernetes' patches, which are printed only.
                "domain/cluster",
                "domain/plan",
                "simulator",
            ],
        ),
        (&[".append("], &["change", "exporter", "journal", "terminal"]),
    ];
    for (path, text) in rust_files("src") {
        if path.ends_with("tests.rs") || path.to_string_lossy().ends_with("_tests.rs") {
            continue;
        }
        for (words, places) in fences {
            for word in words {
                let named = code(&text).contains(word);
                assert!(
                    !named || within(&path, places),
                    "{} names {word}: changes go through src/change.rs",
                    path.display()
                );
            }
        }
    }
}

#[test]
fn nothing_ever_flushes_zeroes_or_replaces() {
    let act = std::fs::read_to_string(root().join("src/pfsense/actions.rs")).expect("the actions");
    for word in ["\"flush\"", "\"zero\"", "\"-F\"", "\"replace\"", "\"reset\""] {
        assert!(!code(&act).contains(word), "{word}");
    }
    // Counts are forgotten of one address a call, never of a network.
    assert_eq!(code(&act).matches("\"-K\"").count(), 1);
    assert!(code(&act).contains("ShellWord::fixed(\"-K\"), ShellWord::address("));
}

#[test]
fn every_changing_command_hands_over() {
    for (path, text) in rust_files("src/commands") {
        let code = code(&text);
        let takes_flags = code.contains("flags: ChangeFlags") || code.contains("ChangeFlags {");
        if takes_flags {
            let ways = ["change::ChangeRun::new(", "change::apply_saved_plan("];
            let hands_over = ways.iter().any(|way| code.contains(way));
            assert!(hands_over, "{}", path.display());
        }
    }
}

#[test]
fn one_place_names_the_fields_of_caps() {
    // pfSense's names of them; the last is nobody else's, and pf's own syntax has the others.
    let names = ["\"max-src-conn-rate\"", "\"max-src-conn-rates\""];
    let may = [
        "src/domain/pfsense/edit",
        // pf's words, and the firewall that is simulated.
        "src/domain/pf/",
        "src/simulator/",
    ];
    let mut written = 0;
    for (path, text) in rust_files("src") {
        let path = path.strip_prefix(root()).expect("a source file");
        let path = path.to_string_lossy();
        let is_test = path.contains("/tests") || path.ends_with("fixtures.rs");
        let named = names.iter().any(|name| code(&text).contains(name));
        written += usize::from(named && path.starts_with(may[0]));
        let allowed = is_test || may.iter().any(|place| path.starts_with(place));
        assert!(allowed || !named, "{path} names the fields of caps");
    }
    assert_eq!(written, 1, "the place that writes them");
    let agent = root().join("src/pfsense/agent");
    let mut parts = 0;
    for entry in std::fs::read_dir(agent).expect("the agent") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|end| end == "php") {
            let text = std::fs::read_to_string(&path).expect("PHP");
            parts += 1;
            // The agent swaps records and holds patterns against pf; what they are about is the client's.
            for word in [
                "max-src",
                "tracker'",
                "local-port",
                "associated-rule-id",
                "statetype",
                "'target'",
                "'destination'",
            ] {
                assert!(!text.contains(word), "{}: {word}", path.display());
            }
        }
    }
    assert!(parts > 5, "the agent's parts");
}

#[test]
fn every_promise_names_its_test() {
    let text = std::fs::read_to_string(root().join("SECURITY.md")).expect("SECURITY.md");
    let sources: String = ["src", "tests"]
        .iter()
        .flat_map(|folder| rust_files(folder))
        .map(|(_, text)| text)
        .collect();
    let rows = text.lines().filter(|line| line.starts_with("| "));
    let rows: Vec<&str> = rows.filter(|row| !row.starts_with("| who |")).collect();
    assert!(rows.len() > 15, "{}", rows.len());
    for row in rows.iter().filter(|row| !row.starts_with("| ---")) {
        let tests = row.rsplit('|').nth(1).expect("a column of tests");
        let names: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "no test: {row}");
        for name in names {
            assert!(sources.contains(&format!("fn {name}(")), "{name}");
        }
    }
}

#[test]
fn every_risk_has_its_rank() {
    let plan = std::fs::read_to_string(root().join("src/domain/plan.rs")).expect("the plans");
    let (_, ranked) = plan.split_once("const RANKED").expect("the ranks");
    let (ranked, _) = ranked.split_once("];").expect("their end");
    for (path, text) in rust_files("src") {
        if path.to_string_lossy().contains("tests") {
            continue;
        }
        for risk in code(&text).split("Risk::new(").skip(1) {
            let literal = risk.trim_start().strip_prefix('"');
            let name = literal.and_then(|rest| rest.split('"').next());
            assert!(
                name.is_none_or(|name| ranked.contains(&format!("\"{name}\""))),
                "{name:?} in {}",
                path.display()
            );
        }
    }
}

/// What is to be pasted is never wrapped in two: a terminal's lines are broken at blanks, but not between backticks.
#[test]
fn commands_in_sentences_stand_in_backticks() {
    let tree = kmsctl_commands();
    let shell = ["chgrp ", "chmod ", "chown ", "diff -", "kubectl describe ", "ssh-keygen -"];
    let mut bare = Vec::new();
    for (path, text) in rust_files("src") {
        // The simulated box speaks as pfSense does, and a manifest's comments are no screen.
        if within(&path, &["domain/cluster/manifest", "simulator/agent", "terminal/pasted"]) {
            continue;
        }
        for line in code(&text).lines().filter(|line| !line.trim_start().starts_with("//")) {
            // A line of an example that stands alone, or a command that is a value of its own.
            if line.starts_with("  kmsctl ") || line.contains("\"  ") {
                continue;
            }
            let starts = tree.iter().map(String::as_str).chain(shell);
            for (start, _) in starts.flat_map(|word| line.match_indices(word)) {
                let before = line.get(..start).unwrap_or_default();
                let is_in_text = before.replace("\\\"", "").matches('"').count() % 2 == 1;
                let is_sentence = before.ends_with(' ') || before.ends_with('(');
                if is_in_text && is_sentence && before.matches('`').count() % 2 == 0 {
                    bare.push(format!("{}: {}", path.display(), line.trim()));
                }
            }
        }
    }
    assert!(bare.is_empty(), "{}", bare.join("\n"));
}

/// Returns `kmsctl WORD` for every command of the top.
fn kmsctl_commands() -> Vec<String> {
    let folder = root().join("src/commands");
    let names = std::fs::read_dir(folder).expect("the commands").flatten();
    let names = names.filter_map(|entry| Some(entry.path().file_stem()?.to_str()?.to_owned()));
    let commands: Vec<String> = names
        .filter(|name| !matches!(name.as_str(), "mod" | "log_side"))
        .flat_map(|name| {
            [format!("kmsctl {name} "), format!("kmsctl {name}\""), format!("kmsctl {name};")]
        })
        .chain(["kmsctl util ".to_owned(), "kmsctl --demo".to_owned()])
        .collect();
    assert!(commands.len() > 40, "{commands:?}");
    commands
}

/// Messages, comments and runbooks name who is meant.
#[test]
fn no_text_speaks_of_somebody() {
    let words =
        regex::Regex::new(r"(?i)\b(he|him|his|nobody|somebody|someone|told|tells|whoever)\b")
            .expect("a pattern");
    // The agent's own words, which outcomes of earlier versions hold as well.
    let exempt = root().join("src/simulator/agent/apply.rs");
    let mut texts = rust_files("src");
    texts.retain(|(path, _)| {
        let is_test =
            path.components().any(|part| part.as_os_str().to_string_lossy().contains("tests"));
        !is_test && *path != exempt
    });
    for folder in ["runbooks", "src"] {
        let files = std::fs::read_dir(root().join(folder)).expect("a folder");
        let files = files.map(|file| file.expect("a file").path());
        let files = files.filter(|path| path.extension().is_some_and(|end| end == "md"));
        texts.extend(files.map(|path| {
            let text = std::fs::read_to_string(&path).expect("a text");
            (path, text)
        }));
    }
    for name in ["README.md", "SECURITY.md", "config.example.toml"] {
        texts.push((name.into(), std::fs::read_to_string(root().join(name)).expect("a text")));
    }
    for (path, text) in texts {
        let places = code(&text).lines().enumerate();
        let found = places.filter(|(_, line)| {
            // The code of a row has its name for ever.
            words.is_match(&line.replace("nobody-listens", ""))
        });
        let found: Vec<String> =
            found.map(|(place, line)| format!("{}: {}", place + 1, line.trim())).collect();
        assert!(found.is_empty(), "{}: {found:#?}", path.display());
    }
}
