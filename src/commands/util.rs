//! `kmsctl util`: generated files. Nothing here reads the configuration or connects.

use std::path::{Path, PathBuf};

use clap::{Args as ClapArgs, Subcommand};
use clap_complete::Shell;

use super::context::Context;
use crate::error::{Failure, Result};

/// Arguments of `kmsctl util`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the completion script of a shell
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Print the example configuration: every key with its default, meaning and environment name
    ExampleConfig,
    /// Write the man pages into a directory
    Man {
        /// Existing directory
        #[arg(value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
        directory: PathBuf,
    },
}

/// Runs `kmsctl util …`.
pub fn run(context: &Context, arguments: &Args) -> Result<()> {
    match &arguments.command {
        Command::Completions { shell } => context.terminal.write(&completions(*shell)),
        Command::ExampleConfig => context.terminal.write(&crate::settings::keys::example()),
        Command::Man { directory } => {
            let count = man(directory)?;
            context.terminal.say(&format!(
                "Wrote {count} man pages into {}.",
                directory.display()
            ));
            Ok(())
        }
    }
}

/// Returns the completion script of a shell.
pub fn completions(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut crate::cli::tree(), "kmsctl", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// Writes a man page for every command and returns how many.
pub fn man(directory: &Path) -> Result<usize> {
    let failed = |error: std::io::Error| {
        Failure::failed(format!(
            "The man pages cannot be written into {}: {error}.",
            directory.display()
        ))
    };
    let mut tree = crate::cli::tree();
    // Builds names such as `kmsctl-virusprot-show`, which mangen's file names come from.
    tree.build();
    clap_mangen::generate_to(tree.clone(), directory).map_err(failed)?;
    Ok(pages(&tree))
}

fn pages(command: &clap::Command) -> usize {
    1 + command
        .get_subcommands()
        .filter(|inner| !inner.is_hide_set())
        .map(pages)
        .sum::<usize>()
}
