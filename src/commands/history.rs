//! `kmsctl history`: what was changed, by whom, and how it stands: from this machine's history, and from the firewall's
//! own, so that two operators see each other's changes.

mod list;
mod one;

use std::path::Path;

use clap::Args as ClapArgs;
use jiff::Timestamp;
use serde::Serialize;

use crate::app::Context;
use crate::change;
use crate::change::report;
use crate::domain::history::{FindError, HistoryEntry};
use crate::domain::pfsense::change::Armed;
use crate::domain::virusprot::entries::age_seconds;
use crate::domain::warning::Warning;
use crate::error::{Failure, FailureKind, Result};
use crate::pfsense::questions::{Question, Reading};
use crate::settings::values;
use crate::terminal::{Tone, View};
use crate::text::{counted, format_bytes, format_span, quoted_for_shell};

/// Arguments of `kmsctl history`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// One change, whole: its id or the beginning of it
    #[arg(conflicts_with = "verify")]
    id: Option<String>,
    /// Check that nothing in the history was altered, removed or inserted; exit 3 where something was
    #[arg(long)]
    verify: bool,
    /// Do not ask the firewall for its own history and what is armed there
    #[arg(long)]
    local: bool,
    /// How many changes to list
    #[arg(long, value_name = "N", default_value_t = 20, conflicts_with_all = ["id", "verify"], value_parser = values::parse_count)]
    limit: usize,
}

impl From<FindError> for Failure {
    fn from(error: FindError) -> Self {
        Self::usage(
            format!("{error}.")
                .replacen("there is", "There is", 1)
                .replacen("several", "Several", 1),
        )
        .hint("See them: `kmsctl history`")
    }
}

/// Runs `kmsctl history`.
pub async fn run_history(context: &Context, arguments: &Args) -> Result<()> {
    if arguments.verify {
        return verify_history(context);
    }
    if let Some(id) = &arguments.id {
        return one::show_entry(context, id, arguments.local).await;
    }
    let mut entries = report::last_entries(context, arguments.limit)?;
    let mut warnings = Vec::new();
    let asked =
        if arguments.local { None } else { Some(context.read(&[Question::Configured]).await) };
    let unread = asked.as_ref().and_then(unread_history);
    let reading = match asked {
        Some(Err(failure)) if failure.kind == FailureKind::Interrupted => return Err(failure),
        Some(Err(failure)) => {
            let known = "Changes made from elsewhere, and what is armed: unknown.";
            warnings.push(Warning::new("fact-missing", format!("{known} {}", failure.message)));
            None
        }
        Some(Ok(reading)) => Some(reading),
        None => None,
    };
    if let Some(reading) = &reading {
        match change::note_expired(context, reading) {
            Ok(true) => entries = report::last_entries(context, arguments.limit)?,
            Ok(false) => {}
            Err(failure) => warnings.push(Warning::new("history-not-kept", failure.message)),
        }
    }
    let view = list::history_view(context, &entries, reading.as_ref(), arguments.limit, warnings)?;
    context.terminal.show(&view)?;
    unread.map_or(Ok(()), Err)
}

/// Says that the firewall's own history is missing from the list: it was not reached, or config.xml was not read.
fn unread_history(asked: &Result<Reading>) -> Option<Failure> {
    let (kind, hints) = match asked {
        Err(failure) => (failure.kind, failure.hints.clone()),
        Ok(reading) => {
            let error = reading.configured.as_ref().err()?;
            (FailureKind::Inconclusive, Failure::from(error).hints)
        }
    };
    let failure = Failure::new(kind, "The firewall's own history was not read.");
    let failure = hints.into_iter().fold(failure, Failure::hint);
    Some(failure.hint("This machine's alone: `kmsctl history --local`"))
}

#[derive(Clone, Debug, Serialize)]
pub struct ArmedRow {
    id: String,
    reverts_at: Option<Timestamp>,
    what: String,
    who: String,
    port: u16,
    interface: String,
}

impl From<&Armed> for ArmedRow {
    fn from(armed: &Armed) -> Self {
        Self {
            id: armed.id.to_string(),
            reverts_at: Timestamp::from_second(armed.reverts_at).ok(),
            what: armed.what.clone(),
            who: armed.who.clone(),
            port: armed.port,
            interface: armed.interface.clone(),
        }
    }
}

impl ArmedRow {
    pub fn from_reading(reading: &Reading) -> Vec<Self> {
        let configured = reading.configured.iter();
        let armed = configured.flat_map(|configured| &configured.armed);
        armed.map(Self::from).collect()
    }
}

/// Says what is in force for a while only, and until when.
fn temporary_words(armed: &ArmedRow, now: Timestamp) -> String {
    let until = match armed.reverts_at {
        None => "for a while".to_owned(),
        Some(at) if at <= now => format!("until {at}, which is past"),
        Some(at) => format!("until {at}, for another {}", format_span(age_seconds(now, at))),
    };
    let what = armed.what.trim_end_matches('.');
    format!("{what} (port {} on {}), {until}", armed.port, armed.interface)
}

pub fn armed_line(armed: &ArmedRow, now: Timestamp) -> String {
    format!("{}; {} by {}", temporary_words(armed, now), armed.id, armed.who)
}

/// Renders what is armed with the commands that take it back now, or keep it.
pub fn armed_commands(armed: &ArmedRow, now: Timestamp) -> String {
    let id = &armed.id;
    let words = temporary_words(armed, now);
    format!("{words}. To take it back at once: `kmsctl undo {id}`; to keep it: `kmsctl keep {id}`")
}

/// Asks the firewall how a change ended, and notes it.
pub(super) async fn settle_unknown_ending(context: &Context, entry: &HistoryEntry) -> Result<()> {
    let mut session = context.connect().await?;
    let settled = change::settle_entry(context, &mut session, entry).await;
    let closed = session.close().await;
    settled?;
    closed
}

/// Says that a file or directory of the history is open to others.
pub(super) fn open_sentence(path: &Path, mode: u32) -> String {
    let what = if mode & 0o022 == 0 { "read" } else { "write" };
    format!(
        "Others may {what} {} (mode {mode:o}). Close it: `chmod go= {}`",
        path.display(),
        quoted_for_shell(&path.display().to_string())
    )
}

fn verify_history(context: &Context) -> Result<()> {
    #[derive(Serialize)]
    struct Verified<'a> {
        path: String,
        records: usize,
        torn_bytes: usize,
        breaks: &'a [crate::journal::Break],
        more_breaks: usize,
        /// No head beside the history says which record is the last one.
        is_headless: bool,
    }
    let journal = context.journal()?;
    let chain = journal.scan(&mut |_, _, _| {})?;
    let data = Verified {
        path: journal.path().display().to_string(),
        records: chain.records,
        torn_bytes: chain.torn,
        breaks: &chain.breaks,
        more_breaks: chain.more_breaks,
        is_headless: chain.is_headless,
    };
    let mut view = View::new("history.verify", context.clock.now(), &data)?;
    for broken in &chain.breaks {
        view.human.field(&format!("Line {}", broken.line), &broken.what, Tone::Plain);
    }
    if chain.more_breaks > 0 {
        let line = format!("And {} more broken places.", chain.more_breaks);
        view.human.line(line);
    }
    if chain.torn > 0 {
        view.warnings.push(Warning::new(
            "torn-record",
            format!("The last record is torn ({}): the machine went down while writing. The next change takes it out and notes it.", format_bytes(chain.torn as u64)),
        ));
    }
    for (path, mode) in journal.open_to_others() {
        view.warnings.push(Warning::new("open-to-others", open_sentence(&path, mode)));
    }
    if chain.breaks.is_empty() {
        let line = match chain.records {
            0 => "There is no history yet, and no record of its last line.".to_owned(),
            count => format!("The chain of {} holds.", counted(count, "record", "records")),
        };
        view.human.line(line);
    }
    context.terminal.show(&view)?;
    match chain.breaks.len() + chain.more_breaks {
        0 if chain.is_headless => Err(Failure::new(
            FailureKind::Inconclusive,
            "Whether records were cut off at the end is not known: journal.head, which names the last one, is missing.",
        )
        .hint("The next change writes it; kmsctl of an earlier version wrote none.")),
        0 => Ok(()),
        count => Err(Failure::new(
            FailureKind::No,
            format!(
                "The chain is broken in {count} place{}.",
                if count == 1 { "" } else { "s" }
            ),
        )),
    }
}
