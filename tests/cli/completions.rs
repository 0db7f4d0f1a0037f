//! Completion in real interactive shells: the values that kmsctl knows are offered, without any connection.

use std::path::Path;
use std::process::Stdio;

use rexpect::session::PtySession;

use crate::support::environment::TestEnvironment;
use crate::support::skip;

const SHELLS: [(&str, &[&str], &[&str]); 3] = [
    ("bash", &["/bin/bash", "/usr/bin/bash"], &["--norc", "--noprofile", "-i"]),
    ("zsh", &["/usr/bin/zsh", "/bin/zsh"], &["-f", "-i"]),
    ("fish", &["/usr/bin/fish"], &["--no-config", "-i"]),
];

/// A demo with a change in its history and a reading of its table.
fn used_demo() -> (TestEnvironment, String, String) {
    let environment = TestEnvironment::new().variable("KMSCTL_PRESETS_QUIETEST_RATE", "1/60");
    let environment = environment.variable("KMSCTL_PRESETS_QUIETEST_MAX_SRC_CONN", "2");
    let changed = environment.demo(&["ratelimit", "tighten", "--yes", "-o", "json"]).json();
    let id = changed["data"]["id"].as_str().expect("an id").to_owned();
    let table = environment.demo(&["virusprot", "show", "-o", "json"]).json();
    let entries = table["data"]["entries"].as_array().expect("entries");
    let v4 = entries
        .iter()
        .filter_map(|entry| entry["address"].as_str())
        .find(|address| !address.contains(':'));
    (environment, id, v4.expect("an address").to_owned())
}

fn start(environment: &TestEnvironment, shell: &Path, name: &str, flags: &[&str]) -> PtySession {
    let kmsctl = Path::new(env!("CARGO_BIN_EXE_kmsctl"));
    let folder = kmsctl.parent().expect("a folder").display();
    let like = environment.command(&[]);
    let mut command = std::process::Command::new(shell);
    command.args(flags).env_clear().stdin(Stdio::inherit());
    command.current_dir(environment.home());
    command.envs(like.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("PATH", format!("{folder}:/usr/bin:/bin")).env("TERM", "dumb");
    let mut terminal = rexpect::session::spawn_command(command, Some(20_000)).expect("a pty");
    let set_up = match name {
        "zsh" => "autoload -U compinit; compinit -u -D; source <(kmsctl util completions zsh)",
        "fish" => "kmsctl util completions fish | source",
        _ => "source <(kmsctl util completions bash)",
    };
    terminal.send_line(set_up).expect("the set-up");
    terminal.send_line("echo re''ady").expect("a mark");
    terminal.exp_string("ready").expect("the shell is ready");
    terminal
}

/// Types, presses Tab, and returns the line that the shell would run: what it echoes on the way differs.
fn complete(terminal: &mut PtySession, typed: &str) -> String {
    terminal.send(&format!("{typed}\t")).expect("typed");
    terminal.flush().expect("sent");
    std::thread::sleep(std::time::Duration::from_millis(1500));
    // To the beginning of the line, so that the line is printed instead of run.
    terminal.send("\u{1}echo it''is: \u{5}\n").expect("printed");
    terminal.flush().expect("sent");
    terminal.exp_string("itis:").unwrap_or_else(|error| panic!("{typed}: {error}"));
    terminal.read_line().expect("a line").trim().to_owned()
}

#[test]
fn shells_complete_words_with_colons_whole() {
    let (environment, _, _) = used_demo();
    let delete = "kmsctl --demo virusprot delete";
    for (name, places, flags) in SHELLS {
        let Some(shell) = skip::program(&format!("completion in {name}"), places) else {
            continue;
        };
        // What is ambiguous grows as far as all agree.
        let cases = [
            (format!("{delete} 2001:db8:bad::2"), format!("{delete} 2001:db8:bad::2")),
            (format!("{delete} 2001:"), format!("{delete} 2001:db8:bad::")),
            (format!("{delete} 2001:db8:bad::203"), format!("{delete} 2001:db8:bad::203")),
            (format!("{delete} 2001:db8:bad::26"), format!("{delete} 2001:db8:bad::26")),
            (
                format!("{delete} 2001:db8:bad::15 2001:db8:bad::26"),
                format!("{delete} 2001:db8:bad::15 2001:db8:bad::26"),
            ),
            (format!("{delete} 203.0.113.9:2"), format!("{delete} 203.0.113.9:2")),
            ("kmsctl --demo=hal".to_owned(), "kmsctl --demo=half".to_owned()),
            (
                "kmsctl --demo status --output=js".to_owned(),
                "kmsctl --demo status --output=json".to_owned(),
            ),
        ];
        for (typed, wanted) in cases {
            if name != "bash" && !typed.ends_with("::203") && !typed.ends_with("::26") {
                continue;
            }
            let mut terminal = start(&environment, &shell, name, flags);
            assert_eq!(complete(&mut terminal, &typed), wanted, "{name}: {typed}");
        }
    }
}

#[test]
fn shells_complete_what_kmsctl_knows() {
    let (environment, id, address) = used_demo();
    for (name, places, flags) in SHELLS {
        let Some(shell) = skip::program(&format!("completion in {name}"), places) else {
            continue;
        };
        for (typed, wanted) in [
            ("kmsctl virusp", "virusprot "),
            ("kmsctl --demo ratelimit set --preset quie", "quietest"),
            (&format!("kmsctl --demo history {}", &id[..4]), id.as_str()),
            (&format!("kmsctl --demo undo {}", &id[..4]), id.as_str()),
            (
                &format!("kmsctl --demo virusprot delete {}", &address[..address.len() - 1]),
                address.as_str(),
            ),
            ("kmsctl --demo verify --external --from v", "vps"),
        ] {
            // Once is enough for what does not differ between shells.
            if name != "bash" && !typed.contains("history") && !typed.contains("delete") {
                continue;
            }
            let mut terminal = start(&environment, &shell, name, flags);
            let line = complete(&mut terminal, typed);
            assert!(line.contains(wanted.trim()), "{name}: {typed}: {line}");
        }
    }
}

#[test]
fn keep_offers_what_is_temporary() {
    let environment = TestEnvironment::new();
    let made = |words: &[&str]| {
        let done = environment.demo(&[words, &["--yes", "-o", "json"]].concat()).json();
        done["data"]["id"].as_str().expect("an id").to_owned()
    };
    let lasting = made(&["virusprot", "flush"]);
    let temporary = made(&["ratelimit", "tighten", "--for", "2h"]);
    let mut command = environment.command(&["--", "kmsctl", "--demo", "keep", ""]);
    command.env("COMPLETE", "bash").env("_CLAP_COMPLETE_INDEX", "3").env("_CLAP_IFS", "\n");
    let output = command.output().expect("kmsctl runs");
    let offered = String::from_utf8_lossy(&output.stdout);
    assert!(offered.contains(&temporary) && !offered.contains(&lasting), "{offered}");
}

#[test]
fn nothing_is_offered_from_what_cannot_be_read() {
    let environment = TestEnvironment::new();
    environment.write_config("not toml");
    for words in [&["history", ""][..], &["ratelimit", "set", "--preset", ""]] {
        let mut command = environment.command(&["--", "kmsctl"]);
        command
            .args(words)
            .env("COMPLETE", "bash")
            .env("_CLAP_COMPLETE_INDEX", words.len().to_string());
        let output = command.output().expect("kmsctl runs");
        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(!shown.contains("error") && !shown.contains("tighten"), "{shown}");
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    }
}

#[test]
fn every_word_for_completions_prints_the_same() {
    let environment = TestEnvironment::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = environment.run(&["util", "completions", shell]).success();
        assert!(script.contains("COMPLETE") && script.contains("virusprot"), "{script}");
        assert_eq!(environment.run(&["completion", shell]).success(), script);
    }
    let version = environment.run(&["version"]).success();
    assert_eq!(version, environment.run(&["--version"]).success());
}

#[test]
fn what_is_offered_acts_on_no_terminal() {
    let environment = TestEnvironment::new();
    let plan = "p\u{1b}[2J\u{202e}\u{9b}31m.json";
    environment.demo(&["ratelimit", "tighten", "--plan-out", plan]).success();
    environment.demo(&["apply", plan, "--yes"]).success();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = environment
            .command(&["--", "kmsctl", "--demo", "undo", ""])
            .env("COMPLETE", shell)
            .env("_CLAP_COMPLETE_INDEX", "3")
            .env("_CLAP_IFS", "\n")
            .output()
            .expect("kmsctl runs");
        let offered = String::from_utf8_lossy(&output.stdout);
        let acts = |one: char| !"\n\t".contains(one) && kmsctl::text::acts_on_terminal(one);
        assert!(!offered.contains(acts), "{shell}: {offered:?}");
        assert!(offered.contains("--dry-run"), "{shell}: {offered:?}");
    }
}
