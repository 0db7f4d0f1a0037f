//! `kmsctl config`: write one by questions, show every value with where it came from, check without connecting.

use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use clap::{Args as ClapArgs, Subcommand};
use serde::Serialize;

use super::context::Context;
use crate::error::{Failure, Kind, Result};
use crate::settings::{Layers, keys, values};
use crate::terminal::human::left;
use crate::terminal::{View, prompt};

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
    /// Write a configuration file by questions; never overwrites one
    Init,
    /// Print where the configuration file is looked for
    Path,
    /// Show every value and where it came from
    Show,
}

/// Runs `kmsctl config …`.
pub fn run(context: &Context, arguments: &Args) -> Result<()> {
    match arguments.command {
        Command::Check => check(context),
        Command::Init => init(context),
        Command::Path => path(context),
        Command::Show => show(context),
    }
}

/// The layers have been read and resolved before any command runs, so all that is left is to say how that went.
fn check(context: &Context) -> Result<()> {
    #[derive(Serialize)]
    struct Checked<'a> {
        file: Option<&'a Path>,
        valid: bool,
    }
    if let Some(problem) = &context.problem {
        return Err(problem.retold());
    }
    let file = context.layers.file.as_deref();
    let mut view = View::new(
        "config.check",
        context.clock.now(),
        &Checked { file, valid: true },
    )?;
    view.human.line(match file {
        Some(file) => format!("{} is valid.", file.display()),
        None => "There is no configuration file; the built-in values are valid.".to_owned(),
    });
    context.terminal.show(&view)
}

fn show(context: &Context) -> Result<()> {
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
        value: values::shown(
            keys::find(key).map_or(keys::Kind::Text, |key| key.kind),
            &value.text,
        ),
        origin: value.origin.to_string(),
        environment: format!("KMSCTL_{}", key.replace(['.', '-'], "_").to_uppercase()),
    });
    let shown = Shown {
        file: context.layers.file.as_deref(),
        values: rows.collect(),
    };
    let mut view = View::new("config.show", context.clock.now(), &shown)?;
    view.items = Some(("values", &["key", "value", "origin", "environment"]));
    let quoted = |text: &str| {
        if text.is_empty() {
            "\"\"".to_owned()
        } else {
            text.to_owned()
        }
    };
    let cells = shown
        .values
        .iter()
        .map(|row| vec![row.key.to_owned(), quoted(&row.value), row.origin.clone()]);
    view.human.table(
        vec![left("KEY"), left("VALUE"), left("FROM")],
        cells.collect(),
    );
    context.terminal.show(&view)?;
    match &context.problem {
        Some(problem) => Err(problem.retold().hint("What is shown was read before this.")),
        None => Ok(()),
    }
}

fn path(context: &Context) -> Result<()> {
    #[derive(Serialize)]
    struct Found {
        path: PathBuf,
        exists: bool,
    }
    let path = target(context)?;
    let found = Found {
        exists: path.exists(),
        path,
    };
    let mut view = View::new("config.path", context.clock.now(), &found)?;
    view.human.line(found.path.display().to_string());
    context.terminal.show(&view)?;
    if !found.exists {
        context
            .terminal
            .hint("There is no file yet; `kmsctl config init` writes one.");
    }
    Ok(())
}

/// Returns the file that is, or would be, read.
fn target(context: &Context) -> Result<PathBuf> {
    let named = context
        .config_named
        .clone()
        .or_else(|| context.layers.file.clone());
    named
        .or_else(|| context.environment.config_file())
        .ok_or_else(|| {
            Failure::usage("There is no home directory to keep a configuration in.")
                .hint("Name a file with --config FILE.")
        })
}

/// What `config init` asks for, in order; everything else keeps its default.
const ASKED: &[(&str, &str)] = &[
    ("firewall.host", "pfSense box (address, name or ssh Host)"),
    (
        "firewall.user",
        "Account on it (a dash leaves it to ssh_config)",
    ),
    ("firewall.port", "SSH port"),
    (
        "firewall.identity",
        "Private key file (a dash: agent and usual names)",
    ),
    ("service.alias", "Alias of the service in pfSense"),
    ("service.address", "Address behind the alias"),
    ("service.port", "TCP port of the service"),
    ("service.host", "Public name of the service"),
];

fn init(context: &Context) -> Result<()> {
    let path = target(context)?;
    refuse_existing(&path)?;
    let mut answers = Vec::new();
    for (key, question) in ASKED {
        let kind = keys::find(key).map_or(keys::Kind::Text, |key| key.kind);
        let answer = prompt::text(
            context.terminal,
            question,
            context.layers.text(key),
            |text| values::check(kind, none_of(text)),
        )?;
        answers.push((*key, none_of(&answer).to_owned()));
    }
    if !prompt::confirm(context.terminal, &format!("Write {}?", path.display()))? {
        return Err(Failure::new(Kind::NotConfirmed, "Nothing was written."));
    }
    write_new(&path, &document(&answers, &Layers::built_in()?))?;
    context.terminal.say(&format!("Wrote {}.", path.display()));
    context
        .terminal
        .hint("`kmsctl config show` shows every value; `kmsctl status` tries them.");
    Ok(())
}

/// A prompt with a default cannot be answered with nothing; a dash is nothing.
fn none_of(answer: &str) -> &str {
    if answer == "-" { "" } else { answer }
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

/// Renders the answers that differ from the built-in values as a TOML document.
fn document(answers: &[(&str, String)], built_in: &Layers) -> String {
    let mut text =
        String::from("# Written by `kmsctl config init`; config.example.toml has every key.\n");
    let mut table = "";
    for (path, answer) in answers {
        let Some(key) = keys::find(path) else {
            continue;
        };
        // A key that is not written is left to ssh_config or to the built-in value.
        if built_in.text(path) == answer {
            continue;
        }
        let literal = match key.kind {
            keys::Kind::Number(..) => answer.clone(),
            _ => toml::Value::String(answer.clone()).to_string(),
        };
        let (section, name) = key.split();
        if section != table {
            text.push_str(&format!("\n[{section}]\n"));
            table = section;
        }
        text.push_str(&format!("{name} = {literal}\n"));
    }
    text
}

/// Creates the file 0600 and its directory 0700; never follows or replaces what is there.
fn write_new(path: &Path, text: &str) -> Result<()> {
    let failed = |error: std::io::Error| {
        Failure::failed(format!("{} cannot be written: {error}.", path.display()))
    };
    if let Some(directory) = path
        .parent()
        .filter(|directory| !directory.as_os_str().is_empty())
    {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(failed)?;
    }
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(failed)?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(failed)
}
