//! `kmsctl history`: what was changed, by whom, and how it stands: from this machine's history, and from the firewall's
//! own, so that two operators see each other's changes.

use clap::Args as ClapArgs;
use jiff::Timestamp;
use serde::Serialize;

use super::context::{Context, wanted};
use crate::domain::blocked::age;
use crate::domain::change::Armed;
use crate::domain::history::{self, Elsewhere, Entry, FindError};
use crate::domain::plan::{Operation, Undo};
use crate::domain::warning::Warning;
use crate::error::{Failure, Kind, Result};
use crate::firewall::facts::{Question, Reading};
use crate::procedure::{self, report};
use crate::terminal::human::{left, span};
use crate::terminal::{Tone, View};

/// Arguments of `kmsctl history`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// One change, whole: its id or the beginning of it
    #[arg(conflicts_with = "verify")]
    id: Option<String>,
    /// Check that nothing in the history was altered, removed or inserted: exit 3 if so
    #[arg(long)]
    verify: bool,
    /// Do not ask the firewall for its own history and what is armed there
    #[arg(long)]
    local: bool,
    /// How many changes to list
    #[arg(long, value_name = "N", default_value_t = 20, conflicts_with_all = ["id", "verify"])]
    limit: usize,
}

impl From<FindError> for Failure {
    fn from(error: FindError) -> Self {
        Self::usage(
            format!("{error}.")
                .replacen("there is", "There is", 1)
                .replacen("several", "Several", 1),
        )
        .hint("kmsctl history lists them.")
    }
}

/// Runs `kmsctl history`.
pub async fn run(context: &Context, arguments: &Args) -> Result<()> {
    if arguments.verify {
        return verify(context);
    }
    if let Some(id) = &arguments.id {
        return one(context, id, arguments.local).await;
    }
    let entries = report::entries(context)?;
    let mut warnings = Vec::new();
    let reading = if arguments.local {
        None
    } else {
        firewalls_own(context, &mut warnings).await
    };
    let view = list(
        context,
        &entries,
        reading.as_ref(),
        arguments.limit,
        warnings,
    )?;
    context.terminal.show(&view)
}

/// Asks the firewall; without it the list is shorter, and says so.
async fn firewalls_own(context: &Context, warnings: &mut Vec<Warning>) -> Option<Reading> {
    match context.read(&[Question::Configured]).await {
        Ok(reading) => Some(reading),
        Err(failure) => {
            warnings.push(Warning::new(
                "fact-missing",
                format!(
                    "Changes made from elsewhere, and what is armed: unknown. {}",
                    failure.message
                ),
            ));
            None
        }
    }
}

#[derive(Debug, Serialize)]
struct List {
    entries: Vec<Row>,
    armed: Vec<ArmedRow>,
}

/// A way back that is armed on the firewall.
#[derive(Clone, Debug, Serialize)]
pub struct ArmedRow {
    id: String,
    reverts_at: Option<Timestamp>,
    what: String,
    who: String,
}

impl From<&Armed> for ArmedRow {
    fn from(armed: &Armed) -> Self {
        Self {
            id: armed.id.to_string(),
            reverts_at: Timestamp::from_second(armed.reverts_at).ok(),
            what: armed.what.clone(),
            who: armed.who.clone(),
        }
    }
}

/// Renders what is armed in a line.
pub fn armed_line(armed: &ArmedRow, now: Timestamp) -> String {
    let when = armed.reverts_at.map_or_else(
        || "soon".to_owned(),
        |at| format!("in {}", span(age(now, at))),
    );
    format!(
        "{} by {} reverts by itself {when}: {}",
        armed.id, armed.who, armed.what
    )
}

#[derive(Debug, Serialize)]
struct Row {
    at: Option<Timestamp>,
    id: String,
    who: String,
    firewall: String,
    command: Option<String>,
    what: String,
    outcome: Option<&'static str>,
    reason: Option<String>,
    undoes: Option<String>,
    undone_by: Option<String>,
    kept_by: Option<String>,
    reverts_at: Option<Timestamp>,
    /// The firewall took it back when its time was over; null where that is not known.
    reverted: Option<bool>,
    /// `here`: from this machine's history; `firewall`: only the firewall's own tells of it.
    source: &'static str,
}

const COLUMNS: &[&str] = &[
    "at",
    "id",
    "who",
    "firewall",
    "command",
    "what",
    "outcome",
    "reason",
    "undoes",
    "undone_by",
    "kept_by",
    "reverts_at",
    "reverted",
    "source",
];

fn row(entry: &Entry) -> Row {
    let outcome = entry
        .finish
        .as_ref()
        .and_then(|finish| finish.outcome.as_ref());
    let reverts_at = outcome.and_then(|outcome| outcome.reverts_at);
    Row {
        at: Some(entry.at),
        id: entry.plan.id.to_string(),
        who: entry.plan.who.clone(),
        firewall: entry.plan.firewall.clone(),
        command: Some(entry.plan.command.clone()),
        what: entry.plan.change.what.clone(),
        outcome: Some(entry.word()),
        reason: entry.plan.reason.clone(),
        undoes: entry.plan.change.undoes.clone(),
        undone_by: entry.undone_by.clone(),
        kept_by: entry.kept_by.clone(),
        reverts_at: reverts_at.and_then(|at| Timestamp::from_second(at).ok()),
        reverted: None,
        source: "here",
    }
}

fn row_elsewhere(elsewhere: Elsewhere, firewall: &str) -> Row {
    Row {
        at: elsewhere.at,
        id: elsewhere.id,
        who: elsewhere.who,
        firewall: firewall.to_owned(),
        command: None,
        what: elsewhere.what,
        outcome: None,
        reason: None,
        undoes: None,
        undone_by: None,
        kept_by: None,
        reverts_at: None,
        reverted: None,
        source: "firewall",
    }
}

fn list(
    context: &Context,
    entries: &[Entry],
    reading: Option<&Reading>,
    limit: usize,
    mut warnings: Vec<Warning>,
) -> Result<View> {
    let configured = reading.and_then(|reading| {
        wanted(
            &reading.configured,
            "Changes made from elsewhere, and what is armed",
            &mut warnings,
        )
    });
    let ids: Vec<&str> = entries.iter().map(|entry| entry.plan.id.as_str()).collect();
    let told = configured.iter().flat_map(|configured| &configured.history);
    let (ours, others): (Vec<Elsewhere>, Vec<Elsewhere>) = told
        .filter_map(history::elsewhere)
        .partition(|other| ids.contains(&other.id.as_str()));
    let mut rows: Vec<Row> = entries.iter().map(row).collect();
    if configured.is_some() {
        for row in rows.iter_mut().filter(|row| row.reverts_at.is_some()) {
            let told = ours.iter().filter(|told| told.id == row.id);
            row.reverted = Some(told.into_iter().any(Elsewhere::is_revert));
        }
    }
    let name = context.firewall_name();
    rows.extend(others.into_iter().map(|other| row_elsewhere(other, name)));
    // Newest first; of one moment, the one written last.
    rows.reverse();
    rows.sort_by_key(|row| std::cmp::Reverse(row.at));
    rows.truncate(limit);
    let armed: Vec<ArmedRow> = configured
        .iter()
        .flat_map(|configured| &configured.armed)
        .map(ArmedRow::from)
        .collect();
    let now = reading.map_or_else(|| context.clock.now(), |reading| reading.clock.now);
    let data = List {
        entries: rows,
        armed,
    };
    let mut view = View::new("history", now, &data)?;
    view.items = Some(("entries", COLUMNS));
    view.warnings.extend(warnings);
    if data.entries.is_empty() {
        view.empty = Some("Nothing was changed yet.".to_owned());
    }
    let cells = data.entries.iter().map(|row| {
        vec![
            row.at.map_or_else(String::new, |at| {
                at.strftime("%Y-%m-%d %H:%M:%S").to_string()
            }),
            row.id.clone(),
            row.who.clone(),
            row.command.clone().unwrap_or_else(|| row.what.clone()),
            match (&row.undone_by, row.outcome) {
                (Some(by), _) => format!("undone by {by}"),
                _ if row.reverted == Some(true) => "reverted by itself".to_owned(),
                (None, outcome) => outcome.unwrap_or("see pfSense's history").to_owned(),
            },
        ]
    });
    view.human.table(
        vec![
            left("AT (UTC)"),
            left("ID"),
            left("WHO"),
            left("WHAT"),
            left("OUTCOME"),
        ],
        cells.collect(),
    );
    for armed in &data.armed {
        view.human
            .field("Armed", armed_line(armed, now), Tone::Warning);
    }
    Ok(view)
}

/// The data of `history.entry`: everything that is known of one change.
#[derive(Debug, Serialize)]
struct Whole<'a> {
    #[serde(flatten)]
    row: Row,
    plan: &'a crate::domain::plan::Plan,
    finish: Option<&'a history::Finish>,
}

async fn one(context: &Context, id: &str, local: bool) -> Result<()> {
    let mut entries = report::entries(context)?;
    let mut warnings = Vec::new();
    let entry = history::find(&entries, id)?;
    if !local && unsettled(entry) && entry.plan.firewall == context.firewall_name() {
        match settle(context, entry).await {
            Ok(()) => entries = report::entries(context)?,
            Err(failure) => warnings.push(Warning::new(
                "outcome-unknown",
                format!("How it ended could not be asked: {}", failure.message),
            )),
        }
    }
    let entry = history::find(&entries, id)?;
    let data = Whole {
        row: row(entry),
        plan: &entry.plan,
        finish: entry.finish.as_ref(),
    };
    let mut view = View::new("history.entry", context.clock.now(), &data)?;
    view.warnings = warnings;
    for_people(&mut view, entry);
    context.terminal.show(&view)
}

/// Returns whether only the firewall knows how a change ended.
pub(super) fn unsettled(entry: &Entry) -> bool {
    let unknown = entry.finish.as_ref().is_none_or(|finish| {
        finish.outcome.is_none() && finish.ended == history::Ended::Unverified
    });
    unknown && matches!(entry.plan.change.operation, Operation::Configuration { .. })
}

/// Asks the firewall how a change ended, and notes it.
pub(super) async fn settle(context: &Context, entry: &Entry) -> Result<()> {
    let mut session = context.connect().await?;
    let settled = procedure::settle(context, &mut session, entry).await;
    let closed = session.close().await;
    settled?;
    closed
}

fn for_people(view: &mut View, entry: &Entry) {
    let plan = &entry.plan;
    let human = &mut view.human;
    let (word, tone) = report::standing(entry);
    human.field(
        "Change",
        format!("{} at {} on {}", plan.id, entry.at, plan.firewall),
        Tone::Plain,
    );
    human.field("Who", &plan.who, Tone::Plain);
    human.field("Command", &plan.command, Tone::Plain);
    if let Some(reason) = &plan.reason {
        human.field("Reason", reason, Tone::Plain);
    }
    human.field("What", &plan.change.what, Tone::Plain);
    let message = entry
        .finish
        .as_ref()
        .map_or("its ending was never written", |finish| {
            finish.message.as_str()
        });
    human.field("Outcome", format!("{word}: {message}"), tone);
    for difference in &plan.change.differences {
        let line = format!(
            "{} -> {}",
            report::shown(&difference.before),
            report::shown(&difference.after)
        );
        human.field(&format!("  {}", difference.field), line, Tone::Plain);
    }
    if let Some(by) = &entry.undone_by {
        human.field("Undone", format!("by {by}"), Tone::Plain);
    } else if let Undo::Impossible(why) = &plan.change.undo {
        human.field("Undo", format!("none. {why}"), Tone::Plain);
    }
    let Some(finish) = &entry.finish else { return };
    let names: Vec<String> = finish
        .changed
        .iter()
        .map(|entry| entry.address.to_string())
        .collect();
    if !names.is_empty() {
        human.field("Entries", names.join(" "), Tone::Plain);
    }
    let Some(outcome) = &finish.outcome else {
        return;
    };
    for step in &outcome.steps {
        let tone = if step.ok { Tone::Plain } else { Tone::Bad };
        let mark = if step.ok { "" } else { "FAILED: " };
        human.field(
            &format!("  {}", step.name),
            format!("{mark}{}", step.detail),
            tone,
        );
    }
    for (title, records) in [("Before", &outcome.before), ("After", &outcome.after)] {
        let text = serde_json::to_string_pretty(records).unwrap_or_default();
        human.gap().line(format!("{title}:"));
        text.lines().for_each(|line| {
            human.verbatim(line);
        });
    }
}

fn verify(context: &Context) -> Result<()> {
    #[derive(Serialize)]
    struct Verified<'a> {
        path: String,
        records: usize,
        torn_bytes: usize,
        breaks: &'a [crate::journal::Break],
    }
    let journal = context.journal();
    let contents = journal.read()?;
    let data = Verified {
        path: journal.path().display().to_string(),
        records: contents.events.len(),
        torn_bytes: contents.torn,
        breaks: &contents.breaks,
    };
    let mut view = View::new("history.verify", context.clock.now(), &data)?;
    for broken in &contents.breaks {
        view.human
            .field(&format!("Line {}", broken.line), &broken.what, Tone::Bad);
    }
    if contents.torn > 0 {
        view.warnings.push(Warning::new(
            "torn-record",
            format!("The last record is torn ({} bytes): the machine went down while writing. The next change takes it out and notes it.", contents.torn),
        ));
    }
    if contents.breaks.is_empty() {
        view.human.line(format!(
            "The chain of {} records holds.",
            contents.events.len()
        ));
    }
    context.terminal.show(&view)?;
    match contents.breaks.len() {
        0 => Ok(()),
        count => Err(Failure::new(
            Kind::No,
            format!("The chain is broken in {count} places."),
        )),
    }
}
