//! `kmsctl config`: log in and write one, show every value with where it came from, check without connecting, list the
//! contexts.

pub mod completion;
mod init;

use std::path::{Path, PathBuf};

use clap::{Args as ClapArgs, Subcommand};
use serde::Serialize;

use super::contexts;
use crate::app::Context;
use crate::error::{Failure, Result};
use crate::settings::window::shown_window;
use crate::terminal::View;
use crate::terminal::human::text_column;

/// Arguments of `kmsctl config`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check the configuration without connecting
    Check,
    /// List the contexts with firewall, service and the state at the last reading, without connecting
    Contexts,
    /// Log in, look, and write a configuration file; never overwrites one
    Init(Box<init::Args>),
    /// Print where the configuration file is looked for
    Path,
    /// Show every value and where it came from
    Show,
}

/// Runs `kmsctl config …`.
pub async fn run_config(context: &Context, arguments: &Args) -> Result<()> {
    match &arguments.command {
        Command::Check => check_configuration(context),
        Command::Contexts => contexts::list_contexts(context),
        Command::Init(arguments) => Box::pin(init::run_wizard(context, arguments)).await,
        Command::Path => show_configuration_path(context),
        Command::Show => show_configuration(context),
    }
}

/// The layers have been read and resolved before any command runs, so all that is left is to say how that went.
fn check_configuration(context: &Context) -> Result<()> {
    #[derive(Serialize)]
    struct Checked<'a> {
        file: Option<&'a Path>,
        valid: bool,
    }
    if let Some(problem) = &context.problem {
        return Err(problem.without_cause());
    }
    for name in context.layers.contexts.keys() {
        context.in_context(name)?;
    }
    let file = context.layers.file.as_deref();
    let mut view = View::new("config.check", context.clock.now(), &Checked { file, valid: true })?;
    view.human.line(match file {
        Some(file) => format!("{} is valid.", file.display()),
        None => "There is no configuration file; the built-in values are valid.".to_owned(),
    });
    context.terminal.show(&view)
}

fn show_configuration(context: &Context) -> Result<()> {
    #[derive(Serialize)]
    struct Row<'a> {
        key: &'a str,
        value: String,
        origin: String,
        environment: String,
    }
    #[derive(Serialize)]
    struct Shown<'a> {
        file: Option<&'a Path>,
        values: Vec<Row<'a>>,
    }
    let rows = context.layers.values.iter().map(|(key, value)| Row {
        key,
        value: if key == "notifier.dedup_store" {
            shown_window(&value.text)
        } else {
            value.text.clone()
        },
        origin: value.origin.to_string(),
        environment: format!("KMSCTL_{}", key.replace(['.', '-'], "_").to_uppercase()),
    });
    let shown = Shown { file: context.layers.file.as_deref(), values: rows.collect() };
    let mut view = View::new("config.show", context.clock.now(), &shown)?;
    view.items = Some(("values", &["key", "value", "origin", "environment"]));
    let quoted = |text: &str| {
        if text.is_empty() { "\"\"".to_owned() } else { text.to_owned() }
    };
    let cells = shown
        .values
        .iter()
        .map(|row| vec![row.key.to_owned(), quoted(&row.value), row.origin.clone()]);
    view.human.table(
        vec![text_column("KEY"), text_column("VALUE"), text_column("FROM")],
        cells.collect(),
    );
    context.terminal.show(&view)?;
    match &context.problem {
        Some(problem) => Err(problem.without_cause().hint("What is shown was read before this.")),
        None => Ok(()),
    }
}

fn show_configuration_path(context: &Context) -> Result<()> {
    #[derive(Serialize)]
    struct Found {
        path: String,
        exists: bool,
    }
    let path = configuration_path(context)?;
    let found = Found { exists: path.exists(), path: path.display().to_string() };
    let mut view = View::new("config.path", context.clock.now(), &found)?;
    view.human.line(&found.path);
    context.terminal.show(&view)?;
    if !found.exists {
        context.terminal.hint("There is no file yet; `kmsctl config init` writes one.");
    }
    Ok(())
}

/// Returns the file that is, or would be, read.
fn configuration_path(context: &Context) -> Result<PathBuf> {
    let named = context.config_named.clone().or_else(|| context.layers.file.clone());
    named.or_else(|| context.environment.config_file()).ok_or_else(|| {
        Failure::usage("There is no home directory to keep a configuration in.")
            .hint("Name a file with --config FILE.")
    })
}

fn refuse_existing(path: &Path) -> Result<()> {
    if path.symlink_metadata().is_ok() {
        return Err(Failure::usage(format!(
            "{} exists already and is not overwritten.",
            path.display()
        ))
        .hint("Edit it, or name another file with --config FILE."));
    }
    Ok(())
}
