//! `kmsctl keep`: makes a temporary change permanent.

use std::collections::BTreeSet;

use clap::Args as ClapArgs;

use super::context::{Context, needed};
use super::expose::{CHANGING, Gathered};
use crate::domain::change::ChangeId;
use crate::domain::history::{self, FindError};
use crate::domain::plan;
use crate::error::{Failure, Result};
use crate::firewall::facts::Reading;
use crate::procedure::{self, Flags, report};

/// Arguments of `kmsctl keep`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The change's id or the beginning of it
    id: String,
    #[command(flatten)]
    flags: Flags,
}

/// Runs `kmsctl keep`.
pub async fn run(context: &Context, arguments: &Args) -> Result<()> {
    arguments.flags.someone_can_confirm(context.terminal)?;
    let entries = report::entries(context)?;
    let here: Vec<ChangeId> = entries.into_iter().map(|entry| entry.plan.id).collect();
    let given = history::only(&here, ChangeId::as_str, &arguments.id);
    let command = format!(
        "keep {}",
        given.map_or(arguments.id.as_str(), ChangeId::as_str)
    );
    let plan = |reading: &Reading| {
        // Another operator's change can be kept too: what is armed is on the firewall, not in this history.
        let armed = &needed(&reading.configured)?.armed;
        let ids: BTreeSet<&ChangeId> = armed.iter().map(|armed| &armed.id).chain(&here).collect();
        let ids: Vec<&ChangeId> = ids.into_iter().collect();
        let found = history::only(&ids, |id| id.as_str(), &arguments.id);
        let id = found.map_err(|error| match error {
            FindError::Unknown(id) => Failure::usage(format!(
                "There is no change {id:?}, here or armed on the firewall."
            )),
            several @ FindError::Ambiguous { .. } => several.into(),
        })?;
        let gathered = Gathered::of(context, reading)?;
        Ok(plan::keep(
            id.as_str(),
            &gathered.present(context, reading)?,
        )?)
    };
    procedure::change(context, &arguments.flags, &command, CHANGING, plan).await
}
