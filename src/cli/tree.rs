//! The command tree as people meet it: grouped at the top, two examples in each help, words that other tools use for the
//! same thing, and the nearest command for a wrong one. Parsing is clap's.

use clap::{Arg, Command, CommandFactory as _};

use super::complete::with_values;
use super::examples::examples_of;
use super::{Cli, EXIT_STATUS};
use crate::text::{nearest_word, word_likeness};

/// The groups of `kmsctl --help`, in order. A test holds that every command is in one.
const GROUPS: &[(&str, &[&str])] = &[
    ("Look", &["status", "virusprot", "rule", "states", "history"]),
    ("Change", &["expose", "ratelimit", "apply", "undo", "keep"]),
    ("Prove", &["verify", "doctor"]),
    ("Cluster", &["notifier", "exporter"]),
    ("This machine", &["config", "demo", "runbook", "util", "help"]),
];

/// Words that work as well, and are not shown: (command, word).
const SYNONYMS: &[(&str, &str)] = &[
    ("expose restore", "open"),
    ("expose revoke", "close"),
    ("virusprot delete", "free"),
    ("virusprot delete", "unban"),
    ("virusprot show", "list"),
    ("virusprot show", "ls"),
];

/// Returns the whole command tree, for parsing, completions, man pages and tests.
pub fn command_tree() -> Command {
    let tree = in_order(with_values(with_examples(Cli::command(), ""), ""));
    let groups = command_groups(&tree);
    let after = tree.get_after_help().map(ToString::to_string);
    let after = format!("{}\n\nExit codes:\n{EXIT_STATUS}", after.unwrap_or_default());
    tree.after_help(after).help_template(format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{groups}Options:\n{{options}}{{after-help}}"
    ))
}

/// Completion offers the commands in the order of the help.
fn in_order(tree: Command) -> Command {
    let names: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| *names).copied().collect();
    tree.mut_subcommands(|inner| {
        let place = names.iter().position(|name| *name == inner.get_name());
        inner.display_order(place.unwrap_or(names.len()))
    })
}

fn with_examples(command: Command, path: &str) -> Command {
    let mut command = command.mut_args(taking_hyphens).mut_subcommands(|inner| {
        let below = format!("{path} {}", inner.get_name());
        with_examples(inner, below.trim_start())
    });
    for (_, synonym) in SYNONYMS.iter().filter(|(known, _)| *known == path) {
        command = command.alias(*synonym);
    }
    let examples = examples_of(path);
    if examples.is_empty() {
        return command;
    }
    let mut after = String::from("Examples:");
    for example in examples {
        after.push_str(&format!("\n  kmsctl {example}"));
    }
    if let Some(more) = command.get_after_help() {
        after.push_str(&format!("\n\n{more}"));
    }
    command.after_help(after)
}

/// Lets a number, a duration or a place be refused by its own sentence where it begins with a hyphen: the parser's own is about
/// an argument that was never typed.
fn taking_hyphens(argument: Arg) -> Arg {
    const NEVER_FLAGS: [&str; 6] = ["DURATION", "N", "N/SECONDS", "USER@HOST", "VANTAGE", "WHEN"];
    let names = argument.get_value_names().unwrap_or_default();
    let is_one = names.iter().any(|name| NEVER_FLAGS.contains(&name.as_str()));
    if is_one { argument.allow_hyphen_values(true) } else { argument }
}

fn command_groups(tree: &Command) -> String {
    let known = |name: &&str| **name == *"help" || tree.find_subcommand(name).is_some();
    let names = GROUPS.iter().flat_map(|(_, names)| *names);
    let widest = names.map(|name| name.len()).max().unwrap_or_default();
    let mut text = String::new();
    for (group, names) in GROUPS {
        text.push_str(&format!("{group}:\n"));
        for name in names.iter().filter(|name| known(name)) {
            let about = tree.find_subcommand(name).and_then(Command::get_about);
            let about = about.map_or_else(
                || "Print this message, or a command's help".to_owned(),
                ToString::to_string,
            );
            text.push_str(&format!("  {name:widest$}  {about}\n"));
        }
        text.push('\n');
    }
    text
}

/// Returns the command that was most likely meant by a wrong word, whole: `expose revoke` for `revoke`.
pub fn nearest_command(word: &str) -> Option<String> {
    let mut paths = Vec::new();
    collect_paths(&command_tree(), "", &mut paths);
    let score = |path: &String| {
        let last = path.rsplit(' ').next().unwrap_or_default();
        let synonyms = SYNONYMS.iter().filter(|(command, _)| command == path);
        let names = [path.as_str(), last].into_iter().chain(synonyms.map(|(_, word)| *word));
        let likeness = names.map(|name| word_likeness(word, name)).fold(0.0, f64::max);
        // A command of the top goes before one below it with the same name.
        let depth = u32::try_from(path.matches(' ').count()).unwrap_or(u32::MAX);
        likeness - f64::from(depth) / 1000.0
    };
    nearest_word(paths, 0.6, score)
}

fn collect_paths(command: &Command, path: &str, paths: &mut Vec<String>) {
    for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set()) {
        let below = format!("{path} {}", inner.get_name());
        let below = below.trim_start();
        paths.push(below.to_owned());
        collect_paths(inner, below, paths);
    }
}

#[cfg(test)]
mod tests {
    use super::super::examples::EXAMPLES;
    use super::*;

    #[test]
    fn the_command_tree_is_sound() {
        command_tree().debug_assert();
    }

    #[test]
    fn every_command_is_in_one_group() {
        let tree = command_tree();
        for command in tree.get_subcommands().filter(|command| !command.is_hide_set()) {
            let name = command.get_name();
            let groups = GROUPS.iter().filter(|(_, names)| names.contains(&name));
            assert_eq!(groups.count(), 1, "{name}");
        }
    }

    #[test]
    fn every_command_has_two_sound_examples() {
        let mut paths = vec![String::new()];
        collect_paths(&command_tree(), "", &mut paths);
        for path in &paths {
            assert!(examples_of(path).len() >= 2, "kmsctl {path}");
        }
        for (path, examples) in EXAMPLES {
            for example in *examples {
                let words = example.replace('\'', "").replace("abuse, ticket 4711", "x");
                let words =
                    words.replace("new load balancer", "x").replace("maintenance window", "x");
                let parsed = command_tree().try_get_matches_from(
                    std::iter::once("kmsctl").chain(words.split_whitespace()),
                );
                let version =
                    |error: &clap::Error| error.kind() == clap::error::ErrorKind::DisplayVersion;
                assert!(parsed.as_ref().err().is_none_or(version), "{path}: {example}: {parsed:?}");
            }
        }
        assert!(EXAMPLES.is_sorted_by(|one, other| one.0 < other.0));
    }

    #[test]
    fn hidden_synonyms_mean_the_same() {
        for (typed, meant) in [
            ("expose open", "restore"),
            ("expose close", "revoke"),
            ("virusprot list", "show"),
            ("virusprot ls", "show"),
            ("virusprot unban 192.0.2.1", "delete"),
            ("virusprot free 192.0.2.1", "delete"),
        ] {
            let words = std::iter::once("kmsctl").chain(typed.split(' '));
            let matches = command_tree().try_get_matches_from(words).unwrap();
            let (_, group) = matches.subcommand().unwrap();
            assert_eq!(group.subcommand_name(), Some(meant), "{typed}");
        }
    }

    #[test]
    fn a_wrong_word_gets_the_nearest_command() {
        for (typed, meant) in [
            ("statsu", "status"),
            ("virusport", "virusprot"),
            ("revoke", "expose revoke"),
            ("reovke", "expose revoke"),
            ("tighten", "ratelimit tighten"),
            ("flush", "virusprot flush"),
            ("docter", "doctor"),
            ("close", "expose revoke"),
            ("unban", "virusprot delete"),
            ("states kill", "states kill"),
        ] {
            assert_eq!(nearest_command(typed).as_deref(), Some(meant), "{typed}");
        }
        for far in ["xyzzy", "nope", "tcsh"] {
            assert_eq!(nearest_command(far), None, "{far}");
        }
    }
}
