//! `kmsctl util`: generated files. Nothing here reads the configuration or connects.

use std::io;
use std::path::{Path, PathBuf};

use clap::{Args as ClapArgs, Subcommand};
use clap_complete::Shell;

use super::{EXIT_STATUS, command_tree, examples_of};
use crate::app::Context;
use crate::commands::config::completion::registration_script;
use crate::error::{Failure, Result};

/// What kmsctl keeps on this machine, for the man pages.
const FILES: &str = "\
~/.config/kmsctl/config.toml   the configuration ($XDG_CONFIG_HOME; --config FILE)
~/.local/state/kmsctl/         the history and the demo's state ($XDG_STATE_HOME)
~/.ssh/known_hosts             host keys, always checked";

/// Arguments of `kmsctl util`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the completion script of a shell
    Completions(Completions),
    /// Print the example configuration: every key with its default, meaning and environment name
    ExampleConfig,
    /// Write the man pages into a directory
    Man {
        /// Existing directory
        #[arg(value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
        directory: PathBuf,
    },
}

/// Arguments of `kmsctl util completions`.
#[derive(Debug, ClapArgs)]
pub struct Completions {
    /// Which shell
    pub shell: Shell,
}

/// Runs `kmsctl util …`.
pub fn run_util(context: &Context, arguments: &Args) -> Result<()> {
    match &arguments.command {
        Command::Completions(wanted) => context.terminal.write(&completion_script(wanted.shell)),
        Command::ExampleConfig => {
            context.terminal.write(&crate::settings::keys::example_configuration())
        }
        Command::Man { directory } => {
            let count = write_man_pages(directory)?;
            context.terminal.say(&format!("Wrote {count} man pages into {}.", directory.display()));
            Ok(())
        }
    }
}

/// Returns the completion script of a shell; it names the commands for people who read it.
pub fn completion_script(shell: Shell) -> String {
    let tree = command_tree();
    let commands = tree.get_subcommands().filter(|command| !command.is_hide_set());
    let names: Vec<&str> = commands.map(clap::Command::get_name).collect();
    format!("{}\n# Completes: {}\n", registration_script(shell).trim_end(), names.join(" "))
}

pub fn write_man_pages(directory: &Path) -> Result<usize> {
    // A page for every `help` of every group would be most of the pages.
    // The version alone: the pages are the same whichever commit they were built from.
    let mut tree = without_help(command_tree()).version(env!("CARGO_PKG_VERSION"));
    // Builds names such as `kmsctl-virusprot-show`, which mangen's file names come from.
    tree.build();
    write_page_and_subpages(&tree, "", directory).map_err(|error| {
        Failure::failed(format!(
            "The man pages cannot be written into {}: {error}.",
            directory.display()
        ))
    })
}

fn write_page_and_subpages(
    command: &clap::Command,
    path: &str,
    directory: &Path,
) -> io::Result<usize> {
    let page = clap_mangen::Man::new(command.clone());
    let mut text = Vec::new();
    page.render_title(&mut text)?;
    page.render_name_section(&mut text)?;
    page.render_synopsis_section(&mut text)?;
    page.render_description_section(&mut text)?;
    page.render_options_section(&mut text)?;
    if command.has_subcommands() {
        page.render_subcommands_section(&mut text)?;
    }
    text.extend(man_section("EXIT STATUS", EXIT_STATUS.lines()).bytes());
    text.extend(man_section("FILES", FILES.lines()).bytes());
    let examples = examples_of(path).iter();
    let examples: Vec<String> = examples.map(|example| format!("kmsctl {example}")).collect();
    let examples = examples.iter().map(String::as_str);
    text.extend(man_section("EXAMPLES", examples).bytes());
    std::fs::write(directory.join(page.get_filename()), text)?;
    let mut count = 1;
    for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set()) {
        let below = format!("{path} {}", inner.get_name());
        count += write_page_and_subpages(inner, below.trim_start(), directory)?;
    }
    Ok(count)
}

/// Renders lines as they are: none of them is filled.
fn man_section<'a>(title: &str, lines: impl Iterator<Item = &'a str>) -> String {
    let escaped =
        lines.map(|line| line.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq"));
    let lines: String = escaped.map(|line| format!("\\&{line}\n")).collect();
    format!(".SH \"{title}\"\n.nf\n{lines}.fi\n")
}

fn without_help(command: clap::Command) -> clap::Command {
    command.disable_help_subcommand(true).mut_subcommands(without_help)
}
