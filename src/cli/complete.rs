//! Values that a shell's Tab key offers: contexts, ids of the history, presets, vantages, scenarios, and the addresses that were
//! blocked at the last reading. Only files of this machine are read; nothing connects, and what cannot be read offers
//! nothing.

use std::ffi::OsString;
use std::path::Path;

use clap::Command;
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use clap_complete::env::CompleteEnv;

use super::tree::command_tree;
use crate::app::last_reading;
use crate::commands::config::completion::{COMPLETED_SHELLS, COMPLETION_VARIABLE};
use crate::domain::history::{Folder, HistoryEntry};
use crate::journal::Journal;
use crate::settings::{Environment, Layers, Settings, SettingsReader};
use crate::simulator::Scenario;
use crate::text::clean_text;

type Values = fn() -> Vec<CompletionCandidate>;

/// Which arguments have values to offer: (command, argument, values).
const OFFERED: &[(&str, &str, Values)] = &[
    ("", "context", context_candidates),
    ("", "demo", scenario_candidates),
    ("expose restore", "from", vantage_candidates),
    ("expose revoke", "from", vantage_candidates),
    ("history", "id", change_candidates),
    ("keep", "id", temporary_candidates),
    ("ratelimit preview", "preset", preset_candidates),
    ("ratelimit set", "preset", preset_candidates),
    ("undo", "id", change_candidates),
    ("verify", "from", vantage_candidates),
    ("virusprot delete", "addresses", blocked_candidates),
    ("virusprot test", "addresses", blocked_candidates),
];

/// Answers a shell that asks for completions, and returns whether one did.
pub fn answer_shell() -> Result<bool, clap::Error> {
    let arguments = std::env::args_os();
    let directory = std::env::current_dir().ok();
    CompleteEnv::with_factory(command_tree)
        .var(COMPLETION_VARIABLE)
        .shells(COMPLETED_SHELLS)
        .bin("kmsctl")
        .completer("kmsctl")
        .try_complete(arguments, directory.as_deref())
}

pub(super) fn with_values(command: Command, path: &str) -> Command {
    let mut command = command.mut_subcommands(|inner| {
        let below = format!("{path} {}", inner.get_name());
        with_values(inner, below.trim_start())
    });
    for (_, argument, values) in OFFERED.iter().filter(|(known, _, _)| *known == path) {
        let found = command.get_arguments().any(|known| known.get_id() == argument);
        if found {
            command =
                command.mut_arg(argument, |known| known.add(ArgValueCandidates::new(*values)));
        }
    }
    command
}

/// What the command line that is being completed would work with.
struct Here {
    settings: Settings,
    layers: Layers,
    demo: bool,
    demo_directory: std::path::PathBuf,
}

impl Here {
    fn read() -> Option<Self> {
        Self::read_choosing(true)
    }

    fn read_choosing(with_context: bool) -> Option<Self> {
        let environment = Environment::of_process();
        let words: Vec<OsString> = std::env::args_os().collect();
        let named = |wanted: &str| {
            let after = words.windows(2).find_map(|pair| match pair {
                [flag, value] if flag == wanted => value.to_str(),
                _ => None,
            });
            let joined = words.iter().filter_map(|word| word.to_str());
            let mut joined = joined.filter_map(|word| word.strip_prefix(wanted)?.strip_prefix('='));
            after.or(joined.next_back())
        };
        let variable = environment.variable("KMSCTL_DEMO").map(str::to_lowercase);
        let demo = matches!(variable.as_deref(), Some("1" | "true" | "yes" | "on"))
            || words
                .iter()
                .filter_map(|word| word.to_str())
                .any(|word| word == "--demo" || word.starts_with("--demo="));
        let read_by = if demo { environment.without_configuration() } else { environment.clone() };
        // A word that is being completed names no context yet.
        let context = named("--context").filter(|_| with_context);
        let context = context.map(|name| ("context", "--context", name.to_owned()));
        let flags: Vec<_> = context.into_iter().collect();
        let (layers, problem) = Layers::read(&read_by, named("--config").map(Path::new), &flags);
        if problem.is_some() && with_context {
            return None;
        }
        Some(Self {
            settings: Settings::resolve(&SettingsReader::new(&layers, &environment)).ok()?,
            demo,
            demo_directory: environment.demo_directory(&layers.demo_name()),
            layers,
        })
    }

    fn directory(&self) -> Option<std::path::PathBuf> {
        if self.demo {
            Some(self.demo_directory.clone())
        } else {
            self.settings.state_directory.clone()
        }
    }
}

fn to_candidates<T: Into<OsString>>(
    values: impl IntoIterator<Item = T>,
) -> Vec<CompletionCandidate> {
    values.into_iter().map(CompletionCandidate::new).collect()
}

fn change_candidates() -> Vec<CompletionCandidate> {
    candidates_among(|_| true)
}

/// Only what may still be armed can be kept.
fn temporary_candidates() -> Vec<CompletionCandidate> {
    candidates_among(HistoryEntry::may_be_reverted)
}

fn candidates_among(is_meant: fn(&HistoryEntry) -> bool) -> Vec<CompletionCandidate> {
    const MOST: usize = 100;
    let Some(directory) = Here::read().and_then(|here| here.directory()) else {
        return Vec::new();
    };
    let mut folder = Folder::of_last(MOST);
    let mut each = |at, event, broken| folder.push(at, event, broken);
    if Journal::at(&directory).scan(&mut each).is_err() {
        return Vec::new();
    }
    let entries = folder.into_entries();
    let newest_first = entries.iter().rev().filter(|entry| is_meant(entry)).enumerate();
    newest_first
        .map(|(place, entry)| {
            CompletionCandidate::new(entry.plan.id.as_str())
                .help(Some(clean_text(&entry.plan.command).into_owned().into()))
                .display_order(Some(place))
        })
        .collect()
}

fn preset_candidates() -> Vec<CompletionCandidate> {
    let presets = Here::read().map(|here| here.settings.presets);
    to_candidates(presets.into_iter().flatten().map(|preset| preset.name))
}

fn vantage_candidates() -> Vec<CompletionCandidate> {
    match Here::read() {
        Some(here) if here.demo => to_candidates(["vps"]),
        Some(here) => to_candidates(here.settings.vantages.into_iter().map(|vantage| vantage.name)),
        None => Vec::new(),
    }
}

fn context_candidates() -> Vec<CompletionCandidate> {
    let here = Here::read_choosing(false);
    to_candidates(here.into_iter().flat_map(|here| here.layers.contexts.into_keys()))
}

fn scenario_candidates() -> Vec<CompletionCandidate> {
    let scenarios = Scenario::ALL.iter();
    scenarios
        .map(|scenario| {
            CompletionCandidate::new(scenario.name()).help(Some(scenario.about().into()))
        })
        .collect()
}

fn blocked_candidates() -> Vec<CompletionCandidate> {
    let Some(here) = Here::read() else {
        return Vec::new();
    };
    let demo = here.layers.demo_name();
    let firewall = if here.demo { &demo } else { &here.settings.firewall.target.host };
    let context = here.layers.remembered_context(here.demo);
    let last = here.directory().and_then(|directory| last_reading(&directory, context, firewall));
    let addresses = last.into_iter().flat_map(|last| last.addresses);
    to_candidates(addresses.map(|address| address.to_string()))
}
