//! `kmsctl notifier …`: the side-car that tells Slack and Prometheus who activates, and its replay of a saved log.

mod replay;

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};

use super::context::Context;
use crate::error::Result;

/// Arguments of `kmsctl notifier`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what `run` would have done with a saved log; sends nothing
    Replay {
        /// The server's log; - reads it from stdin
        #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
        file: PathBuf,
        /// Print the totals only
        #[arg(long)]
        summary: bool,
        /// Show probes in the table as well; other forms always hold them
        #[arg(long)]
        probes: bool,
    },
}

/// Runs `kmsctl notifier …`.
#[expect(clippy::unused_async, reason = "the other commands of this group wait")]
pub async fn run(context: &Context, arguments: &Args) -> Result<()> {
    match &arguments.command {
        Command::Replay {
            file,
            summary,
            probes,
        } => replay::run(context, file, *summary, *probes),
    }
}
