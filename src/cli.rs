//! The root parser: global flags and the list of groups. Each group's arguments sit beside its code in
//! `commands`; parsing touches nothing.

mod complete;
mod dispatch;
mod examples;
mod tree;
pub mod util;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, FromArgMatches as _, Parser, Subcommand};

use crate::commands::contexts::peer::PairWork;
use crate::commands::{
    apply, config, demo, doctor, exporter, expose, history, keep, notifier, ratelimit, rule,
    runbook, states, status, undo, verify, virusprot,
};
use crate::settings::keys;
use crate::simulator::Scenario;
use crate::text::nearest_word;

pub use complete::answer_shell;
pub use dispatch::run_command;
pub use examples::examples_of;
pub use tree::{command_tree, nearest_command};

/// The table of exit codes, for the help and the man pages.
pub const EXIT_STATUS: &str = "    0  done, nothing to do, or as expected
    1  the operation failed; nothing is half done
    2  usage or configuration
    3  the answer is no
    4  not confirmed; nothing changed
    5  cannot reach or log in, host key trouble too
    6  conflict: changed meanwhile, or locked; nothing changed
    7  written but not proven in force, or rolled back
    8  inconclusive
  130  interrupted";

/// Manage the public exposure of a KMS service behind pfSense: see, cap, revoke, prove
#[derive(Debug, Parser)]
#[command(
    name = "kmsctl",
    version = env!("BUILD_VERSION"),
    max_term_width = 100,
    disable_help_subcommand = false
)]
pub struct Cli {
    /// Flags of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags of every command.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Read this configuration file [env: KMSCTL_CONFIG]
    #[arg(long, global = true, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// Use this context of the configuration [env: KMSCTL_CONTEXT]
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// Look at every context, side by side; for `status`, `doctor`, `verify`, `expose show` and `virusprot show|history`
    #[arg(long, global = true, conflicts_with = "context")]
    pub all_contexts: bool,
    /// Take the context's own node alone where the firewall is a pair (`firewall.peer`)
    #[arg(long, global = true)]
    pub alone: bool,
    /// Use the embedded simulated firewall; it keeps its state between runs, reads no configuration
    /// but a file that --config names, and starts anew in
    /// another SCENARIO (see `kmsctl demo scenarios`) [env: KMSCTL_DEMO]
    #[arg(long, global = true, value_name = "SCENARIO", num_args = 0..=1, require_equals = true, default_missing_value = "", value_parser = demo_scenario)]
    pub demo: Option<String>,
    /// Print data as table, json, ndjson or csv [env: KMSCTL_OUTPUT]
    #[arg(short, long, global = true, value_name = "FORM", value_parser = keys::OUTPUTS.to_vec(), hide_possible_values = true)]
    pub output: Option<String>,
    /// Use colour: auto, always or never [env: KMSCTL_COLOR, NO_COLOR]
    #[arg(long, global = true, value_name = "WHEN", value_parser = keys::COLORS.to_vec(), hide_possible_values = true)]
    pub color: Option<String>,
    /// Print data and errors only, no talk [env: KMSCTL_QUIET]
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Print the causes of errors and what happens on the way [env: KMSCTL_VERBOSE]
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// Write what is longer than the screen without a pager ($PAGER, else less)
    #[arg(long, global = true)]
    pub no_pager: bool,
    /// Give up after this long, such as 30s or 2m [env: KMSCTL_TIMEOUT]
    #[arg(long, global = true, value_name = "DURATION")]
    pub timeout: Option<String>,
    /// Fit what is printed to so many columns, also into a pipe
    #[arg(long, global = true, hide = true, value_name = "COLUMNS", value_parser = clap::value_parser!(u16).range(20..))]
    pub width: Option<u16>,
}

/// Accepts the name of a scenario, or nothing for the one that there is.
pub fn demo_scenario(name: &str) -> Result<String, String> {
    if name.is_empty() || Scenario::named(name).is_some() {
        return Ok(name.to_owned());
    }
    let near = |scenario: &Scenario| strsim::jaro_winkler(name, scenario.name());
    let nearest = nearest_word(Scenario::ALL, 0.0, near).map_or("open", Scenario::name);
    Err(format!(
        "there is no such scenario; did you mean `{nearest}`? See: `kmsctl demo scenarios`"
    ))
}

impl Global {
    /// Returns the flags as words again, without those that choose a context.
    pub fn words(&self) -> Vec<OsString> {
        let layers = self.layers().into_iter().filter(|(key, ..)| *key != "context");
        let values = layers.flat_map(|(_, flag, text)| [flag.into(), text.into()]);
        let config = self.config.iter().flat_map(|path| ["--config".into(), path.into()]);
        let demo = self.demo.iter().map(|scenario| format!("--demo={scenario}").into());
        let switches = [(self.quiet, "--quiet"), (self.verbose, "--verbose")];
        let switches =
            switches.into_iter().filter(|(is_on, _)| *is_on).map(|(_, flag)| flag.into());
        values.chain(config).chain(demo).chain(switches).collect()
    }

    /// Returns the flags that are configuration keys: (key, flag, text).
    pub fn layers(&self) -> Vec<(&'static str, &'static str, String)> {
        let flags = [
            ("output", "--output", &self.output),
            ("context", "--context", &self.context),
            ("color", "--color", &self.color),
            ("timeout", "--timeout", &self.timeout),
        ];
        flags.into_iter().filter_map(|(key, flag, text)| Some((key, flag, text.clone()?))).collect()
    }
}

/// Every command group, alphabetical.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Apply a plan that --plan-out has saved
    Apply(apply::Args),
    /// Print the completion script of a shell
    #[command(hide = true)]
    Completion(util::Completions),
    /// Write, show and check the configuration
    Config(config::Args),
    /// Run the simulated firewall, or forget its state
    Demo(demo::Args),
    /// Check every assumption, each with its fix
    Doctor(doctor::Args),
    /// Serve the firewall's side to Prometheus
    Exporter(exporter::Args),
    /// Show the exposure, close it, open it again
    Expose(expose::Args),
    /// Show what was changed, and by whom
    History(history::Args),
    /// Make a temporary change permanent
    Keep(keep::Args),
    /// Report activations to Slack and Prometheus
    Notifier(notifier::Args),
    /// Show the caps per source, and change them
    Ratelimit(ratelimit::Args),
    /// Show the exposure's rules and their counters
    Rule(rule::Args),
    /// Read a runbook in the terminal
    Runbook(runbook::Args),
    /// Show the service's live connections, end them
    States(states::Args),
    /// Show everything on one screen
    Status(status::Args),
    /// Take a change back
    Undo(undo::Args),
    /// Print completions and man pages
    Util(util::Args),
    /// Follow a connection's path, find what is wrong
    Verify(verify::Args),
    /// Print the version
    #[command(hide = true)]
    Version,
    /// Show, test and free blocked addresses
    Virusprot(virusprot::Args),
}

impl Command {
    pub fn reads_every_context(&self) -> bool {
        match self {
            Self::Doctor(arguments) => arguments.only_looks(),
            Self::Expose(arguments) => arguments.only_shows(),
            Self::Status(arguments) => arguments.looks_once(),
            Self::Verify(_) => true,
            Self::Virusprot(arguments) => arguments.shows_once(),
            _ => false,
        }
    }

    /// Returns what a command means where the firewall is a pair.
    pub fn pair_work(&self) -> PairWork<'_> {
        match self {
            _ if self.reads_every_context() => PairWork::Looks,
            Self::Virusprot(arguments) => {
                arguments.change_flags().map_or(PairWork::Own, PairWork::ChangesTable)
            }
            _ => PairWork::Own,
        }
    }

    /// Returns whether a command works without a sound configuration: those that help to mend one, and those that have
    /// nothing to do with it.
    pub fn does_without_configuration(&self) -> bool {
        matches!(
            self,
            Self::Completion(_)
                | Self::Config(_)
                | Self::Runbook(_)
                | Self::Util(_)
                | Self::Version
        )
    }
}

impl Cli {
    pub fn parse_process() -> Result<Self, clap::Error> {
        let mut matches = command_tree().try_get_matches()?;
        Self::from_arg_matches_mut(&mut matches)
    }
}
