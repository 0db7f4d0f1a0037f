//! `kmsctl keep`: makes a temporary change permanent, or prolongs it.

use std::collections::BTreeSet;

use clap::Args as ClapArgs;

use super::undo::check_entry;
use crate::app::{Context, require_answer};
use crate::change;
use crate::change::{ChangeFlags, report};
use crate::domain::history::{self, FindError};
use crate::domain::pfsense::change::ChangeId;
use crate::domain::plan;
use crate::error::{Failure, Result};
use crate::pfsense::questions::Reading;
use crate::text::quoted;

/// Arguments of `kmsctl keep`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The change's id or the beginning of it; without it the only one that is armed
    id: Option<String>,
    /// Prolong it instead: the firewall takes it back after this long from now, such as 3h
    #[arg(long = "for", value_name = "DURATION")]
    for_: Option<String>,
    #[command(flatten)]
    flags: ChangeFlags,
}

/// Runs `kmsctl keep`.
pub async fn keep_change(context: &Context, arguments: &Args) -> Result<()> {
    context.require_configuration()?;
    let longer = arguments.for_.as_deref().map(change::parse_timer).transpose()?;
    // Which ids there are is on the firewall: a wrong one is said before the lack of a terminal.
    let session = context.connect().await?;
    let typed = arguments.id.as_deref();
    let here =
        typed.map_or_else(|| Ok(BTreeSet::new()), |typed| report::ids_here(context, typed))?;
    let here: Vec<&ChangeId> = here.iter().collect();
    let mut command = typed.map_or_else(
        || "keep".to_owned(),
        |typed| {
            let given = history::only_match(&here, |id| id.as_str(), typed);
            format!("keep {}", given.map_or(typed, |id| id.as_str()))
        },
    );
    if let Some(text) = &arguments.for_ {
        command.push_str(&format!(" --for {text}"));
    }
    let plan = |reading: &Reading| {
        change::note_expired(context, reading)?;
        // Another operator's change can be kept too: what is armed is on the firewall, not in this history.
        let configured = require_answer(&reading.configured)?;
        let armed: Vec<&ChangeId> = configured.armed.iter().map(|armed| &armed.id).collect();
        let meant = match (typed, armed.as_slice()) {
            (Some(typed), _) => typed,
            (None, [one]) => one.as_str(),
            (None, []) => {
                let none = "Nothing to do: no temporary change is armed on the firewall.";
                return Ok(plan::Planned::NothingToDo(none.to_owned()));
            }
            (None, several) => {
                let ids: Vec<&str> = several.iter().map(|id| id.as_str()).collect();
                return Err(Failure::usage(format!(
                    "Several temporary changes are armed: {}. Say which one to keep.",
                    ids.join(", ")
                )));
            }
        };
        let expired = configured.expired.iter().map(|expired| &expired.id);
        let ids: BTreeSet<&ChangeId> = armed.into_iter().chain(expired).chain(here).collect();
        let ids: Vec<&ChangeId> = ids.into_iter().collect();
        let found = history::only_match(&ids, |id| id.as_str(), meant);
        let id = found.map_err(|error| match error {
            FindError::Unknown(id) => refuse_unknown(context, &id),
            several @ FindError::Ambiguous { .. } => several.into(),
        })?;
        let known = report::armed_entry(context, id)?;
        if let Some(entry) = &known {
            check_entry(context, entry)?;
        }
        let situation = context.situation(reading);
        let now = reading.clock.now.as_second();
        let until = longer.map(|seconds| now.saturating_add_unsigned(seconds));
        Ok(plan::plan_keep(id.as_str(), until, known.as_ref(), &situation.present()?)?)
    };
    let change = change::ChangeRun::new(context, &arguments.flags, &command, change::CHANGING);
    change.run_over(session, plan).await
}

/// Refuses an id that is nothing of this firewall: as another one's, where the history has it.
fn refuse_unknown(context: &Context, id: &str) -> Failure {
    let elsewhere = report::entries_meant(context, id).and_then(|entries| {
        let entry = history::find_entry(&entries, id).ok();
        entry.map_or(Ok(()), |entry| check_entry(context, entry))
    });
    elsewhere.err().unwrap_or_else(|| {
        let id = quoted(id);
        Failure::usage(format!("There is no change {id}, here or armed on the firewall."))
            .hint("See them: `kmsctl history`")
    })
}
