//! Plans in files: written once and private, read back only when whole and unedited, and applied only to the firewall
//! and the condition they were made for.

use std::collections::{BTreeMap, HashSet};
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::{ChangeFlags, ChangeRun, Options, carry_out, config, flags, peer_proof, settle};
use crate::app::{Context, Session, require_answer};
use crate::domain::history::{self, ChangeBeside};
use crate::domain::pfsense::configured::Configured;
use crate::domain::plan::{
    self, Address, Draft, Ground, Operation, Origins, Plan, SavedRecords, SourceCounts,
    StatesChoice, check_same_change, configuration_facts, entry_facts, plan_again, state_facts,
};
use crate::error::{Failure, FailureKind, Result};
use crate::pfsense::questions::{Question, Reading};
use crate::plain_file;

/// The largest plan, in bytes: a hundred thousand addresses are about ten million.
const LARGEST: u64 = 64 << 20;
/// So many of what moved since a plan are named.
const MOST_NAMED: usize = 5;

/// Writes a plan to a file that must not exist, readable by its owner only.
pub(super) fn save_plan(plan: &Plan, path: &Path) -> Result<()> {
    let text = serde_json::to_string_pretty(plan)
        .map_err(|error| Failure::failed("The plan cannot be put into JSON.").with_cause(error))?;
    let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).and_then(
        |mut file| {
            file.write_all(text.as_bytes())?;
            file.write_all(b"\n")?;
            file.sync_all()
        },
    );
    written.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Failure::usage(format!("{} exists already; a plan overwrites nothing.", path.display()))
        }
        _ => Failure::failed(format!("The plan cannot be written to {}: {error}.", path.display()))
            .hint("Nothing was changed: name a file in a directory that you may write to."),
    })
}

/// Reads a plan, and refuses what is none, newer, or edited.
pub fn load_plan(path: &Path) -> Result<Plan> {
    let unreadable = |error: std::io::Error| {
        Failure::usage(format!("{} cannot be read: {error}.", path.display()))
            .hint("A change writes a plan with --plan-out FILE.")
    };
    let text = plain_file::read_plain_text(path, LARGEST + 1).map_err(unreadable)?;
    if text.len() as u64 > LARGEST {
        return Err(Failure::usage(format!("{} is larger than any plan.", path.display())));
    }
    Plan::read(&text).map_err(|error| {
        Failure::usage(format!("{}: {error}.", path.display()))
            .hint("Make a new plan with --plan-out.")
    })
}

/// Applies a saved plan, if nothing moved since it was made. `command` is the command line in words, for the history.
pub async fn apply_saved_plan(
    context: &Context,
    flags: &ChangeFlags,
    command: &str,
    beside: Option<&ChangeBeside>,
    plan: &Plan,
) -> Result<()> {
    context.require_configuration()?;
    if super::report::entry_of_id(context, plan.id.as_str())?.is_some() {
        return Err(Failure::new(
            FailureKind::Conflict,
            format!("This plan was carried out already: {}.", plan.id),
        )
        .hint(format!("See how it ended: `kmsctl history {}`", plan.id)));
    }
    flags.someone_can_confirm(context.terminal)?;
    let mut session = context.connect().await?;
    let options = Options { beside, ..Options::default() };
    let how = &ChangeRun::new(context, flags, command, &[]).with(options);
    let worked = Box::pin(apply_checked(context, &mut session, how, plan)).await;
    let closed = session.close().await;
    worked.and(closed)
}

async fn apply_checked(
    context: &Context,
    session: &mut Session,
    how: &ChangeRun<'_>,
    plan: &Plan,
) -> Result<()> {
    context.check_firewall(plan)?;
    let questions = questions_of_operation(&plan.change.operation);
    let reading = context.ask_over(session, &peer_proof::with_role(context, questions)).await?;
    let now = seen_now(context, plan, &reading)?;
    let mut moved = plan.change.seen.moved(&now.facts);
    if moved.is_empty() && now.fingerprint != plan.change.seen.fingerprint {
        moved.push("a field of the rules or separators that is not listed here".to_owned());
    }
    if !moved.is_empty() {
        let more = moved.len().saturating_sub(MOST_NAMED);
        moved.truncate(MOST_NAMED);
        moved.extend((more > 0).then(|| format!("and {more} more")));
        return Err(Failure::new(
            FailureKind::Conflict,
            format!(
                "The plan is stale; nothing was changed. Moved since {}: {}.",
                plan::time_words(plan.made_at.as_second()),
                moved.join("; ")
            ),
        )
        .hint("Make a new plan."));
    }
    if let Some(reason) = &plan.reason {
        flags::parse_reason(reason)
            .map_err(|why| Failure::usage(format!("The plan's reason is refused: {why}.")))?;
    }
    let mut draft = recheck_plan(context, session, plan, &reading).await?;
    peer_proof::plan_for_pair(context, &reading, how.command, &mut draft)?;
    check_same_change(plan, &draft)?;
    let planned_as = (how.command != plan.command).then_some(plan.command.as_str());
    let plan = &plan.replanned(draft, context.firewall_name(), how.command);
    if how.flags.shows_only() {
        return super::report::plan_only(context, plan, &reading, true);
    }
    carry_out(context, session, how, plan, planned_as, reading).await
}

/// Plans the operation of a plan once more.
async fn recheck_plan(
    context: &Context,
    session: &mut Session,
    plan: &Plan,
    reading: &Reading,
) -> Result<Draft> {
    let change = &plan.change;
    let id = match &change.operation {
        Operation::Keep { id, .. } => Some(id.as_str()),
        _ => change.undoes.as_deref(),
    };
    let known = match id {
        Some(id) => super::report::entry_of_id(context, id)?,
        None => None,
    };
    let known = known.as_ref();
    if let Some(entry) = known {
        context.check_firewall(&entry.plan)?;
    }
    let stored = match known.filter(|_| change.undoes.is_some()) {
        Some(entry) => settle::fetch_stored_outcome(context, session, entry).await?,
        None => None,
    };
    let origins = Origins { known, stored: stored.as_deref(), saved: None };
    let service = &context.settings.service;
    let situation = context.situation(reading);
    match &change.operation {
        Operation::TableDelete { .. } | Operation::TableAdd { .. } => {
            let now = require_answer(&reading.table)?.as_slice();
            let around = context.surroundings(reading);
            let counts = source_counts(context, reading);
            let ground = Ground::Table(now, &around, service, &counts);
            Ok(plan_again(plan, ground, origins)?)
        }
        Operation::StatesKill { .. } => {
            let (live, labels) = (situation.live()?, situation.rule_labels());
            Ok(plan_again(plan, Ground::States(live, labels), origins)?)
        }
        Operation::Configuration { .. } | Operation::Keep { .. } => {
            situation.proven_exposure().map_err(|why| {
                Failure::failed(format!(
                    "What the firewall runs could not be read, so nothing was changed: {why}"
                ))
                .hint("See what cannot be read: `kmsctl doctor --problems`")
            })?;
            let present = situation.present()?;
            let saved = deleted_records(context, present.configured)?;
            let origins = Origins { saved: saved.as_ref(), ..origins };
            let ground = Ground::Configuration(present, &context.settings.presets);
            Ok(plan_again(plan, ground, origins)?)
        }
        Operation::Clean { .. } => {
            let leftovers = &require_answer(&reading.configured)?.leftovers;
            let ground = Ground::Leftovers(leftovers, reading.clock.now);
            Ok(plan_again(plan, ground, origins)?)
        }
    }
}

/// The questions whose answers a plan that blocks addresses needs.
pub const BLOCKING: &[Question] = &[
    Question::Client,
    Question::Interfaces,
    Question::Gateway,
    Question::Crontab,
    Question::Table,
];

/// The questions whose answers a plan that frees addresses needs.
pub const FREEING: &[Question] = &[
    Question::Client,
    Question::Interfaces,
    Question::Gateway,
    Question::Table,
    Question::Rules,
    Question::States(None),
];

/// Judges what becomes of pf's counts of the addresses that are freed.
pub fn source_counts(context: &Context, reading: &Reading) -> SourceCounts {
    let (rules, states) = match (&reading.rules, &reading.states) {
        (Ok(rules), Ok(states)) => (rules, states),
        (Err(error), _) | (_, Err(error)) => {
            return SourceCounts::Unknown(Failure::from(error).message);
        }
    };
    let service = &context.settings.service;
    SourceCounts::judge(rules, states, service, reading.clock.now)
}

fn questions_of_operation(operation: &Operation) -> &'static [Question] {
    match operation {
        Operation::TableDelete { .. } => FREEING,
        Operation::TableAdd { .. } => BLOCKING,
        Operation::StatesKill { .. }
        | Operation::Configuration { .. }
        | Operation::Keep { .. }
        | Operation::Clean { .. } => config::CHANGING,
    }
}

fn seen_now(context: &Context, plan: &Plan, reading: &Reading) -> Result<plan::Seen> {
    match &plan.change.operation {
        Operation::TableDelete { entries, .. } => {
            let addresses: HashSet<Address> = entries.iter().map(|entry| entry.address).collect();
            let planned = |entry: &&crate::domain::pf::table::Entry| {
                addresses.contains(&Address::from(*entry))
            };
            let now = require_answer(&reading.table)?.iter().filter(planned);
            Ok(plan::Seen::of(entry_facts(now)))
        }
        Operation::TableAdd { entries, .. } => {
            let now: HashSet<Address> =
                require_answer(&reading.table)?.iter().map(Address::from).collect();
            let fact = |planned: &plan::PlannedEntry| {
                let there = now.contains(&planned.address);
                let word = if there { "blocked" } else { "nothing" };
                (planned.address.to_string(), word.to_owned())
            };
            Ok(plan::Seen::of(entries.iter().map(fact).collect::<BTreeMap<_, _>>()))
        }
        Operation::StatesKill { clients, .. } => {
            let choice = StatesChoice::of_clients(clients);
            let live = context.situation(reading).live()?;
            Ok(plan::Seen::of(state_facts(live.chosen_states(&choice).into_iter())))
        }
        Operation::Clean { paths } => {
            let leftovers = require_answer(&reading.configured)?.leftovers.iter();
            let planned = leftovers.filter(|file| paths.contains(&file.path));
            Ok(plan::Seen::of(plan::leftover_facts(planned)))
        }
        Operation::Configuration { .. } | Operation::Keep { .. } => {
            let configured = require_answer(&reading.configured)?;
            Ok(plan::Seen {
                fingerprint: configured.fingerprint.clone(),
                facts: configuration_facts(configured, &context.settings.service),
            })
        }
    }
}

/// Finds what the last `revoke --delete` of this service took away, as the firewall itself keeps it. Records that only the
/// history here holds are never written: the file is the operator's machine's.
pub fn deleted_records(context: &Context, configured: &Configured) -> Result<Option<SavedRecords>> {
    let Some(deleted) = &configured.deleted else {
        return deleted_in_history(context, configured);
    };
    let here = super::report::entry_of_id(context, deleted.id.as_str())?;
    // A line that was altered says nothing; the firewall's store does.
    let outcome = here
        .as_ref()
        .filter(|entry| entry.broken.line().is_none())
        .and_then(|entry| entry.finish.as_ref()?.outcome.as_ref());
    if let Some(outcome) = outcome
        && (&outcome.before.nat, &outcome.before.filter)
            != (&deleted.records.nat, &deleted.records.filter)
    {
        return Err(Failure::new(
            FailureKind::Conflict,
            format!(
                "The firewall keeps other rules as deleted by {} than the history of this machine does; nothing was changed.",
                deleted.id
            ),
        )
        .hint(format!("Compare them: `kmsctl history {}`", deleted.id)));
    }
    let at = deleted.since.map(jiff::Timestamp::from_second);
    Ok(Some(SavedRecords {
        id: deleted.id.to_string(),
        by: Some(deleted.who.clone()).filter(|_| here.is_none()),
        at: at.and_then(std::result::Result::ok),
        records: deleted.records.clone(),
        kept: true,
        broken: None,
    }))
}

/// Finds the last deletion of this service's rules in the history here, or of another's where there is none: it is named,
/// and never put back.
fn deleted_in_history(context: &Context, configured: &Configured) -> Result<Option<SavedRecords>> {
    let entries = super::report::last_deletions(context)?;
    let found = history::deletions_on(&entries).map(|(entry, outcome)| SavedRecords {
        id: entry.plan.id.to_string(),
        by: None,
        at: Some(entry.at),
        records: outcome.before.clone(),
        kept: false,
        broken: entry.broken.line(),
    });
    let found: Vec<SavedRecords> = found.collect();
    let service = &context.settings.service;
    let own = found.iter().find(|saved| saved.is_of(configured, service));
    Ok(own.or(found.first()).cloned())
}
