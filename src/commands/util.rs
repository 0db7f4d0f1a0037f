//! `kmsctl util`: generated files. Nothing here reads the configuration or connects.

use std::path::{Path, PathBuf};

use clap::{Args as ClapArgs, Subcommand};
use clap_complete::Shell;

use super::context::Context;
use crate::error::{Failure, Result};

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
        Command::Man { directory } => {
            let count = man(directory)?;
            context.terminal.say(&format!("Wrote {count} man pages into {}.", directory.display()));
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
    let failed = |error: std::io::Error| Failure::failed(format!("The man pages cannot be written into {}: {error}.", directory.display()));
    let before = std::fs::read_dir(directory).map_err(failed)?.count();
    clap_mangen::generate_to(crate::cli::tree(), directory).map_err(failed)?;
    let after = std::fs::read_dir(directory).map_err(failed)?.count();
    Ok(after.max(before))
}
