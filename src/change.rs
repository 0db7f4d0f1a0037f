//! The only path that changes anything: read → plan → show → confirm → journal → apply → prove → journal → report.
//!
//! A command brings its questions and a function from a reading to a plan; everything after that is the same for all.
//! What a plan says is `domain::plan`'s work, what is sent to the firewall that of `pfsense::actions`. `pfsense::actions` is used
//! nowhere else, and the history is written nowhere else; tests hold both.

mod carry;
mod clean;
mod config;
mod disproof;
mod external_proof;
mod flags;
mod keep;
mod peer_proof;
pub mod report;
mod saved;
mod settle;
mod states;
mod table;

use std::time::{Duration, Instant};

use super::app::{Context, Session};
use super::domain::pfsense::leftovers::lock_is_held;
use super::pfsense::questions::{Question, Reading};
use crate::domain::history::{ChangeBeside, EndedAs, Finish, HistoryEvent};
use crate::domain::plan::{Author, Confirm, Operation, Plan, Planned, Refusal, RefusalKind, Undo};
use crate::error::{Failure, FailureKind, Result};
use crate::journal::{Appended, SideRecord};
use crate::terminal::prompt;
use crate::text::format_bytes;

pub use config::CHANGING;
pub use external_proof::{ExternalProof, show_external_proof};
pub use flags::{ChangeFlags, FromOutside, Temporary, parse_timer};
pub use saved::{BLOCKING, FREEING, apply_saved_plan, deleted_records, load_plan, source_counts};
pub use settle::{fetch_stored_outcome, note_expired, settle_entry};

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let kind = match refusal.kind {
            RefusalKind::Usage => FailureKind::Usage,
            RefusalKind::Impossible => FailureKind::Failed,
            RefusalKind::Conflict => FailureKind::Conflict,
        };
        let mut failure = Self::new(kind, refusal.message);
        failure.hints = refusal.hints;
        failure
    }
}

/// What a change ended in, and what was read to prove it.
pub struct Execution {
    finish: Finish,
    /// `None` where the firewall could not be read any more.
    reading: Option<Reading>,
    /// Why it is no success: the kind decides the exit code.
    failure: Option<Failure>,
}

impl Execution {
    fn from_failure(failure: Failure) -> Self {
        Self {
            finish: Finish::new(EndedAs::Failed, &failure.message),
            reading: None,
            failure: Some(failure),
        }
    }

    fn not_verified(message: &str, reading: Option<Reading>) -> Self {
        Self {
            finish: Finish::new(EndedAs::Unverified, message),
            reading,
            failure: Some(Failure::new(FailureKind::Unproven, message)),
        }
    }

    /// It is not known whether it was done: there is no evidence either way.
    fn not_known(message: &str, next: &str) -> Self {
        Self {
            failure: Some(Failure::new(FailureKind::Inconclusive, message).hint(next)),
            ..Self::not_verified(message, None)
        }
    }

    /// The operator did not wait for the end.
    fn from_interrupt(message: &str, next: &str) -> Self {
        Self {
            failure: Some(Failure::new(FailureKind::Interrupted, message).hint(next)),
            ..Self::not_verified(message, None)
        }
    }
}

/// What a command wants beside its change.
#[derive(Clone, Copy, Default)]
pub struct Options<'a> {
    pub outside: Option<&'a ExternalProof>,
    /// The command closes the exposure, by any kind of change: it waits, as long as the time-out allows, for another operator
    /// who is making a change, and no history stops it.
    pub closes: bool,
    /// The change of a pair's other node that is confirmed together with this one.
    pub beside: Option<&'a ChangeBeside>,
}

/// A change that a command makes.
pub struct ChangeRun<'a> {
    context: &'a Context,
    flags: &'a ChangeFlags,
    /// The command line in words, for the history.
    command: &'a str,
    /// What the plan is made from.
    questions: &'a [Question],
    options: Options<'a>,
}

/// Says whether a change is made although the history cannot be kept.
fn only_closes(how: &ChangeRun<'_>, operation: &Operation) -> bool {
    how.options.closes || operation.only_closes()
}

impl<'a> ChangeRun<'a> {
    pub fn new(
        context: &'a Context,
        flags: &'a ChangeFlags,
        command: &'a str,
        questions: &'a [Question],
    ) -> Self {
        Self { context, flags, command, questions, options: Options::default() }
    }

    #[must_use]
    pub fn with(self, options: Options<'a>) -> Self {
        Self { options, ..self }
    }

    /// Makes the change, and proves it from outside where that is wanted. What keeps it from being made (no vantage, no
    /// terminal to confirm it at, no history) is found out before the firewall is asked anything.
    pub async fn run(&self, plan: impl FnOnce(&Reading) -> Result<Planned>) -> Result<()> {
        self.context.require_configuration()?;
        if let Some(wanted) = self.options.outside {
            wanted.check_vantages(self.context)?;
        }
        self.flags.someone_can_confirm(self.context.terminal)?;
        self.context.journal()?;
        self.run_over(self.context.connect().await?, plan).await
    }

    /// Makes a change that most often has nothing to do: without a terminal to confirm it at, it fails only where it has.
    pub async fn run_if_needed(
        &self,
        plan: impl FnOnce(&Reading) -> Result<Planned>,
    ) -> Result<()> {
        self.context.require_configuration()?;
        self.context.journal()?;
        self.run_over(self.context.connect().await?, plan).await
    }

    /// Makes the change over a connection that was made to find out which change is meant.
    pub async fn run_over(
        &self,
        mut session: Session,
        plan: impl FnOnce(&Reading) -> Result<Planned>,
    ) -> Result<()> {
        let worked = Box::pin(plan_and_carry_out(self, &mut session, plan)).await;
        // Carrying a change out may have lost and made connections; the last one is closed here.
        let closed = session.close().await;
        worked.and(closed)
    }
}

async fn plan_and_carry_out(
    how: &ChangeRun<'_>,
    session: &mut Session,
    plan: impl FnOnce(&Reading) -> Result<Planned>,
) -> Result<()> {
    let (context, flags) = (how.context, how.flags);
    if let Some(wanted) = how.options.outside.filter(|_| !flags.dry_run) {
        wanted.check_opening_budget(context)?;
    }
    let reading = read_for_plan(context, session, how).await?;
    let mut draft = match plan(&reading)? {
        Planned::Change(draft) => *draft,
        Planned::NothingToDo(sentence) => {
            return nothing_to_do(context, session, how, &reading, &sentence).await;
        }
    };
    config::note_unread_connections(&mut draft, &reading);
    peer_proof::plan_for_pair(context, &reading, how.command, &mut draft)?;
    flags.someone_can_confirm(context.terminal)?;
    draft.checks.extend(how.options.outside.map(|proof| proof.check_sentence(context)));
    let author = Author {
        made_at: context.clock.now(),
        firewall: context.firewall_name().to_owned(),
        identity: session.identity(),
        who: context.who(),
        command: how.command.to_owned(),
        reason: flags.reason.clone(),
    };
    // Two plans of one moment differ by what the history held before them.
    let held = match context.journal()?.count() {
        Err(error) if !only_closes(how, &draft.operation) => return Err(error.into()),
        counted => counted.unwrap_or_default(),
    };
    let plan = if context.demo {
        let there = reading.configured.as_ref().map_or(0, |there| there.history.len());
        Plan::seal_for_demo(draft, author, &format!("{held} {there}"))
    } else {
        Plan::seal(draft, author, &held.to_string())
    };
    if flags.shows_only() {
        if let Some(path) = &flags.plan_out {
            saved::save_plan(&plan, path)?;
            context
                .terminal
                .say(&format!("The plan is in {}; nothing was changed.", path.display()));
        }
        return report::plan_only(context, &plan, &reading, flags.plan_out.is_some());
    }
    carry_out(context, session, how, &plan, None, reading).await
}

/// Reads what the plan is made from; where the command waits for another operator, as it is when that one has ended or
/// the time is over.
async fn read_for_plan(
    context: &Context,
    session: &mut Session,
    how: &ChangeRun<'_>,
) -> Result<Reading> {
    const BETWEEN: Duration = Duration::from_secs(1);
    let begun = Instant::now();
    let mut said = false;
    let questions = &peer_proof::with_role(context, how.questions);
    loop {
        let spinner = context.terminal.spinner("Reading the firewall …");
        let reading = context.ask_over(session, questions).await;
        spinner.finish_and_clear();
        let reading = reading?;
        let held = (reading.configured.as_ref())
            .is_ok_and(|configured| lock_is_held(&configured.leftovers));
        let over = begun.elapsed() + BETWEEN >= context.settings.timeout;
        if !how.options.closes || !held || over {
            return Ok(reading);
        }
        if !said {
            let terminal = context.terminal;
            terminal.say("Another change is being made on the firewall; waiting for its end …");
            said = true;
        }
        context.pause(BETWEEN).await?;
    }
}

/// Says that there is nothing to do; what the outside sees may still be another matter.
async fn nothing_to_do(
    context: &Context,
    session: &mut Session,
    how: &ChangeRun<'_>,
    reading: &Reading,
    sentence: &str,
) -> Result<()> {
    if let Some(path) = &how.flags.plan_out {
        context.terminal.say(&format!("No plan was saved: {} was not written.", path.display()));
    }
    let acts = !how.flags.shows_only();
    let exposure = context.situation(reading).exposure().ok();
    let unread = exposure.and_then(|exposure| exposure.finding_of_code("alias-unread"));
    let unproven = unread.map(|unread| Failure::new(FailureKind::Unproven, &unread.message));
    let other = peer_proof::prove_nothing_to_do(context, session, reading, how.command, acts).await;
    let other = unproven.map_or(other, Err);
    let Some(wanted) = how.options.outside.filter(|_| acts && other.is_ok()) else {
        report::report_nothing_to_do(context, reading, sentence, None);
        return other;
    };
    let (seen, failure) = external_proof::prove_nothing_to_do(context, session, wanted).await;
    report::report_nothing_to_do(context, reading, sentence, Some(&seen));
    failure.map_or(Ok(()), Err)
}

/// Shows, confirms, journals, applies, proves, journals and reports a plan. `planned_as` is the command that it was made by,
/// where it came out of a file.
async fn carry_out(
    context: &Context,
    session: &mut Session,
    how: &ChangeRun<'_>,
    plan: &Plan,
    planned_as: Option<&str>,
    reading: Reading,
) -> Result<()> {
    if !session.keeps_changes() {
        return Err(Failure::new(
            FailureKind::Conflict,
            "Another kmsctl has the simulated firewall, so a change would not be kept; nothing was changed.",
        )
        .hint("Wait for the other run to end, such as `kmsctl demo serve`."));
    }
    let read_at = context.clock.now();
    confirm_plan(context, how.flags, plan, &reading)?;
    let journal = context.journal()?;
    let started = HistoryEvent::Started {
        plan: Box::new(plan.clone()),
        by: Some(context.who()).filter(|who| *who != plan.who),
        context: context.layers.chosen_context().map(str::to_owned),
        planned_as: planned_as.map(str::to_owned),
        beside: how.options.beside.cloned(),
    };
    let appended = journal.append(context.clock.now(), &started);
    drop(started);
    let unrecorded;
    let (plan, appended) = match appended {
        Ok(appended) => (plan, appended),
        Err(error) if only_closes(how, &plan.change.operation) => {
            context.terminal.caution(&format!(
                "The history cannot be kept: {error}. It is closed all the same, and `kmsctl undo` does not know it."
            ));
            let mut plan = plan.clone();
            plan.change.undo = Undo::Impossible(
                "The firewall keeps what was done: `kmsctl expose restore` opens it again.".into(),
            );
            unrecorded = plan;
            (&unrecorded, Appended::default())
        }
        Err(error) => {
            return Err(Failure::from(error)
                .hint("Nothing was changed: without a history the firewall is not touched."));
        }
    };
    say_aside(context, &appended);
    if appended.torn > 0 {
        context.terminal.caution(&format!(
            "The history ended in a torn record of {}, from a machine that went down while writing; it was taken out and noted.",
            format_bytes(appended.torn as u64)
        ));
    }
    let mut carried = Box::pin(carry::execute(context, session, plan, &reading, read_at)).await;
    note_ending(context, plan, &carried);
    if carried.failure.is_none() && peer_proof::is_wanted(context, &plan.change) {
        peer_proof::prove_on_peer(context, session, &mut carried).await;
        note_ending(context, plan, &carried);
    }
    let outside = how.options.outside;
    if let Some(wanted) = outside.filter(|_| carried.failure.is_none()) {
        external_proof::prove_externally(context, session, wanted, &mut carried).await;
        note_ending(context, plan, &carried);
    }
    let read_back = carried.reading.as_ref();
    let shown = report::report_change(context, plan, &carried.finish, &reading, read_back);
    if let Err(failure) = &shown
        && failure.kind != FailureKind::ReaderGone
    {
        report::in_spite(context, plan, &carried.finish, failure);
    }
    // Whether the report could be read changes nothing about what was done.
    match carried.failure {
        Some(failure) if shown.is_ok() && carried.finish.ended != EndedAs::Failed => {
            Err(report::without_said(context, &carried.finish, failure))
        }
        Some(failure) => Err(failure),
        None => Ok(()),
    }
}

/// Writes into the history how it ended. A later ending of the same change replaces an earlier one.
fn note_ending(context: &Context, plan: &Plan, carried: &Execution) {
    let ended = HistoryEvent::ended(&plan.id, carried.finish.clone());
    let noted =
        context.journal().and_then(|journal| Ok(journal.append(context.clock.now(), &ended)?));
    match noted {
        Ok(appended) => say_aside(context, &appended),
        Err(failure) => context.terminal.caution(&format!(
            "What follows is not in the history: {} The firewall knows: `kmsctl history {}`",
            failure.message, plan.id
        )),
    }
}

/// Says where a record is that could not go into the history yet, and why.
fn say_aside(context: &Context, appended: &Appended) {
    if let Some(SideRecord { path, why, until }) = &appended.aside {
        let path = path.display();
        context.terminal.caution(&format!("{why}. The record is in {path}; {until}."));
    }
}

/// Shows the plan and asks, as much as is at stake. With `--yes` only the risks are shown.
fn confirm_plan(
    context: &Context,
    flags: &ChangeFlags,
    plan: &Plan,
    reading: &Reading,
) -> Result<()> {
    let terminal = context.terminal;
    if !flags.yes {
        terminal.present(&report::of_plan(context, plan, reading, true));
    }
    for risk in plan.change.shown_risks() {
        terminal.caution(&risk.message);
    }
    if flags.yes {
        return Ok(());
    }
    let answer = match &plan.change.confirm {
        Confirm::YesNo => prompt::ask_yes_no(terminal, "Do it?"),
        Confirm::Word(word) => {
            let question = format!("Type `{word}` to do it");
            prompt::ask_word(terminal, &question, word)
        }
    };
    let agreed = answer.map_err(|mut failure| {
        if failure.kind == FailureKind::Interrupted {
            "Interrupted; nothing was changed.".clone_into(&mut failure.message);
        }
        failure
    })?;
    if agreed {
        Ok(())
    } else {
        Err(Failure::new(FailureKind::NotConfirmed, "Not confirmed; nothing was changed."))
    }
}
