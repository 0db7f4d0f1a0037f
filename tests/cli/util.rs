//! `kmsctl util …`, help and usage errors.

use crate::support::environment::TestEnvironment;

#[test]
fn generated_files_need_no_configuration() {
    let environment = TestEnvironment::new();
    let script = environment.run(&["util", "completions", "bash"]).success();
    assert!(script.contains("virusprot"));
    let told = environment.run(&["util", "man", "/nonexistent"]).fails_with(1);
    assert!(told.contains("cannot be written"), "{told}");
}

#[test]
fn every_command_has_help_that_fits_a_terminal() {
    fn walk(command: &clap::Command, path: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
        found.push(path.clone());
        for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
            path.push(inner.get_name().to_owned());
            walk(inner, path, found);
            path.pop();
        }
    }
    let mut paths = Vec::new();
    walk(&kmsctl::cli::command_tree(), &mut Vec::new(), &mut paths);
    assert!(paths.len() > 20, "{paths:?}");
    let environment = TestEnvironment::new();
    for path in paths {
        let mut arguments: Vec<&str> = path.iter().map(String::as_str).collect();
        arguments.push("--help");
        let help = environment.run(&arguments).success();
        assert!(help.contains("Usage:"), "{path:?}");
        let widest = help.lines().map(|line| line.chars().count()).max().unwrap_or_default();
        assert!(widest <= 120, "{path:?}: {widest} columns");
    }
}

#[test]
fn usage_errors_are_2() {
    let environment = TestEnvironment::new();
    for arguments in [
        &["nonsense"][..],
        &["virusprot", "test"],
        &["virusprot", "test", "kms.example.net"],
        &["-o", "yaml", "config", "path"],
        &["states", "--watch=fast", "--demo"],
    ] {
        let outcome = environment.run(arguments);
        assert_eq!(outcome.code, Some(2), "{arguments:?}: {outcome}");
        assert_eq!(outcome.stdout, "", "{arguments:?}");
    }
}

/// Each sentence is about the value that was typed, and proposes nothing that is far from it.
#[test]
fn a_wrong_value_has_its_own_sentence() {
    let environment = TestEnvironment::new();
    for (line, wanted, never) in [
        ("--timeout -1s status", "is not a duration", "unexpected"),
        ("expose revoke --for -2h", "is not a duration", "unexpected"),
        ("history --limit -3", "whole number", "unexpected"),
        ("notifier logs --tail x", "whole number from 1", "digit"),
        ("notifier logs --tail 0", "whole number from 1", "echo"),
        ("notifier logs --since 5", "a time: 2026-03-01T12:21:34Z", "34."),
        ("ratelimit set --rate 10/0", "from 1", "N/SECONDS, such"),
        ("ratelimit set --max-src-conn 0", "`none`", "similar"),
        ("virusprot add 8.8.8.0/8", "8.0.0.0/8", "neither"),
        ("util completions tcsh", "tcsh", "similar"),
        ("verify --expect nope", "nope", "similar"),
        ("runbook nope", "There are contexts, doctor", "is about"),
    ] {
        let outcome = environment.demo(&line.split(' ').collect::<Vec<_>>());
        assert_eq!(outcome.code, Some(2), "{line}: {outcome}");
        assert!(outcome.stderr.contains(wanted), "{line}: {outcome}");
        assert!(!outcome.stderr.to_lowercase().contains(never), "{line}: {outcome}");
    }
    let scenario = environment.variable("KMSCTL_DEMO", "half").run(&["status"]).fails_with(2);
    assert!(scenario.contains("--demo=half"), "{scenario}");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    use std::process::Stdio;
    let environment = TestEnvironment::new();
    let mut command = environment.command(&["util", "completions", "zsh"]);
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("kmsctl runs");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("kmsctl ends");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn a_typo_gets_the_one_command_that_is_nearest() {
    let environment = TestEnvironment::new();
    for (typed, meant, not) in [
        ("statsu", "'status'", "'states'"),
        ("stauts", "'status'", "'states'"),
        ("sttaes", "'states'", "'status'"),
        ("verfiy", "'verify'", "'version'"),
        ("rulebook", "'runbook'", "'rule'"),
    ] {
        let told = environment.run(&[typed]).fails_with(2);
        assert!(told.contains(meant) && !told.contains(not), "{typed}: {told}");
    }
}
