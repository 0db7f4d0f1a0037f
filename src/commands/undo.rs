//! `kmsctl undo`: takes a change back, by a plan like any other.

use clap::Args as ClapArgs;

use super::context::{Context, needed};
use super::expose::{CHANGING, Gathered};
use super::history::settle;
use crate::domain::history::{self, Entry};
use crate::domain::plan::{self, Operation, Past, Planned, Terms, Undo};
use crate::error::{Failure, Kind, Result};
use crate::firewall::facts::{Question, Reading};
use crate::procedure::{self, Flags, report};

/// Arguments of `kmsctl undo`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The change's id or the beginning of it; without one, the last that can be taken back
    id: Option<String>,
    /// Go on although changes saved in the GUI wait to be applied; they are activated too
    #[arg(long)]
    with_pending: bool,
    #[command(flatten)]
    flags: Flags,
}

/// Runs `kmsctl undo`.
pub async fn run(context: &Context, arguments: &Args) -> Result<()> {
    arguments.flags.someone_can_confirm(context.terminal)?;
    let mut entry = choose(context, arguments.id.as_deref())?;
    if arguments.id.is_none() && entry.may_be_reverted() {
        // What was taken back by itself is not what is meant.
        let reading = context.read(&[Question::Configured]).await?;
        procedure::note_expired(context, &report::entries(context)?, &reading)?;
        entry = choose(context, None)?;
    }
    let id = entry.plan.id.to_string();
    if entry.is_unsettled() {
        settle(context, &entry).await?;
        entry = choose(context, Some(&id))?;
    }
    takes_effect(&entry)?;
    let terms = Terms {
        with_pending: arguments.with_pending,
        reverts_after: None,
    };
    let command = format!("undo {id}");
    let plan = |reading: &Reading| planned(context, &entry, reading, terms);
    let questions = match entry.plan.change.operation {
        Operation::Configuration { .. } => CHANGING,
        _ => &[Question::Client, Question::Table],
    };
    procedure::change(context, &arguments.flags, &command, questions, plan).await
}

fn choose(context: &Context, id: Option<&str>) -> Result<Entry> {
    let entries = report::entries(context)?;
    let firewall = context.firewall_name();
    let entry = match id {
        Some(id) => history::find(&entries, id)?,
        None => history::last_undoable(&entries, firewall).ok_or_else(|| {
            Failure::new(Kind::Failed, format!("Nothing on {firewall} can be taken back: nothing was changed from here, or all of it was taken back."))
                .hint("kmsctl history lists what was changed.")
        })?,
    };
    if entry.plan.firewall != firewall {
        return Err(Failure::usage(format!(
            "{} was made on {}, and kmsctl would connect to {firewall}.",
            entry.plan.id, entry.plan.firewall
        )));
    }
    Ok(entry.clone())
}

/// Says before any connection what cannot be taken back.
fn takes_effect(entry: &Entry) -> Result<()> {
    let id = &entry.plan.id;
    if let Some(by) = &entry.undone_by {
        return Err(Failure::failed(format!(
            "{id} was taken back already, by {by}."
        )));
    }
    if let Undo::Impossible(why) = &entry.plan.change.undo {
        return Err(Failure::failed(format!("{id} cannot be taken back: {why}")));
    }
    if entry.finish.is_some() && !entry.took_effect() {
        return Err(Failure::failed(format!(
            "There is nothing to take back: {id} ended as {}.",
            entry.word()
        )));
    }
    Ok(())
}

fn planned(context: &Context, entry: &Entry, reading: &Reading, terms: Terms) -> Result<Planned> {
    if !matches!(entry.plan.change.operation, Operation::Configuration { .. }) {
        let past = Past::Table(needed(&reading.table)?, reading.client);
        return Ok(plan::undo(entry, &past)?);
    }
    let gathered = Gathered::of(context, reading)?;
    let past = Past::Configuration(gathered.present(context, reading)?, terms);
    Ok(plan::undo(entry, &past)?)
}
