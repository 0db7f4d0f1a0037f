//! `kmsctl keep`: makes a temporary change permanent.

use clap::Args as ClapArgs;

use super::context::{Context, needed};
use super::expose::{CHANGING, Gathered};
use crate::domain::history;
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
    let here = history::find(&entries, &arguments.id)
        .ok()
        .map(|entry| entry.plan.id.to_string());
    let command = format!("keep {}", here.as_ref().unwrap_or(&arguments.id));
    let plan = |reading: &Reading| {
        // Another operator's change can be kept too: what is armed is on the firewall, not in this history.
        let armed = &needed(&reading.configured)?.armed;
        let mut ids = armed.iter().map(|armed| armed.id.to_string());
        let found = ids.find(|id| id.starts_with(&arguments.id));
        let Some(id) = found.or_else(|| here.clone()) else {
            return Err(Failure::usage(format!(
                "There is no change {}, here or armed on the firewall.",
                arguments.id
            )));
        };
        let gathered = Gathered::of(context, reading)?;
        Ok(plan::keep(&id, &gathered.present(context, reading)?)?)
    };
    procedure::change(context, &arguments.flags, &command, CHANGING, plan).await
}
