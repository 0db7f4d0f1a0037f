//! Plans that take a change back. What is put back is what the history says was there, never a guess; an object that
//! moved on since is left alone.

use std::collections::HashSet;
use std::net::IpAddr;

use super::armed::{armed_on, time_words, too_late};
use super::effect::{place_sentences, record_differences};
use super::exposure::{
    ChangeOptions, PlanBasis, check_loadable, name_left_open, opened_clause, planned_swap,
};
use super::opening::name_opened;
use super::table::{blocking_sentence, draft_blocking, freeing_sentence};
use super::{
    Address, Confirm, Difference, Draft, Operation, Planned, PlannedEntry, Refusal, RefusalKind,
    Risk, Undo,
};
use crate::domain::history::HistoryEntry;
use crate::domain::pf::table::Entry as TableEntry;
use crate::domain::pfsense::change::{
    ChangeId, ChangeOutcome, ConfigurationEdit, Placed, Records, Swap,
};
use crate::domain::pfsense::proof::is_out;

/// What the sentence of an undo has more than that of `virusprot add`.
const AGAIN: &str = " again";

/// What a change is taken back from.
#[derive(Clone, Copy, Debug)]
pub enum Past<'a> {
    /// Table entries, as they are now; and where the operator works from, which is never blocked again.
    Table(&'a [TableEntry], Option<IpAddr>),
    /// The configuration, as it is now; and what the firewall itself keeps of the change, which alone is written.
    Configuration(PlanBasis<'a>, ChangeOptions, Option<&'a ChangeOutcome>),
}

/// Plans to take back a change of the history.
pub fn plan_undo(entry: &HistoryEntry, now: &Past<'_>) -> Result<Planned, Refusal> {
    let id = entry.plan.id.as_str();
    if let Some(line) = entry.broken.line() {
        return Err(refuse_broken(id, line));
    }
    if let Some(by) = &entry.undone_by {
        return Err(Refusal::new(
            RefusalKind::Impossible,
            format!("{id} was taken back already, by {by}."),
        )
        .hint(format!("See what it did: `kmsctl history {by}`")));
    }
    let Some(finish) = &entry.finish else {
        return Err(refuse_unsettled(id));
    };
    check_words(entry)?;
    let mut planned = match (&entry.plan.change.operation, now) {
        (Operation::TableDelete { table, .. }, Past::Table(entries, operator)) => {
            Ok(put_back(table, &finish.changed, entries, *operator))
        }
        (Operation::TableAdd { table, .. }, Past::Table(entries, _)) => {
            let addresses = finish.changed.iter().map(|entry| entry.address).collect();
            let choice = super::TableChoice::Addresses(addresses);
            // What was blocked by hand tripped no cap.
            let counts = super::SourceCounts::Kept;
            super::plan_freeing(entries, &choice, table, entry.plan.made_at, &counts)
        }
        (Operation::Configuration { .. }, Past::Configuration(present, terms, stored)) => {
            let Some(outcome) = &finish.outcome else {
                return Err(refuse_unsettled(id));
            };
            put_records_back(entry, (outcome, *stored), present, *terms)
        }
        _ => Err(Refusal::new(
            RefusalKind::Impossible,
            format!("{id} cannot be taken back. {}", why_not(entry)),
        )
        .hint("See what else was changed: `kmsctl history`")),
    }?;
    if let Planned::Change(draft) = &mut planned {
        draft.undoes = Some(id.to_owned());
    }
    Ok(planned)
}

/// Refuses a record whose words are not those of what it did, or that ended with other addresses than it was about: who
/// may write the history may make its chain anew, and these words are shown.
fn check_words(entry: &HistoryEntry) -> Result<(), Refusal> {
    let change = &entry.plan.change;
    let mut sentences = Vec::new();
    let mut meant: &[PlannedEntry] = &[];
    let commands: &[&str] = match &change.operation {
        Operation::TableDelete { table, entries, .. } => {
            let freed = entries.iter().map(|entry| &entry.address);
            sentences.push(freeing_sentence(freed, table));
            meant = entries;
            &["virusprot delete", "virusprot expire", "virusprot flush"]
        }
        Operation::TableAdd { table, entries } => {
            let blocked = || entries.iter().map(|entry| &entry.address);
            sentences.extend(["", AGAIN].map(|again| blocking_sentence(blocked(), again, table)));
            meant = entries;
            &["virusprot add"]
        }
        Operation::Configuration { change, .. } => match change {
            ConfigurationEdit::Caps { .. } => &["ratelimit"],
            ConfigurationEdit::Disable
            | ConfigurationEdit::DisableForward
            | ConfigurationEdit::DisableFilter
            | ConfigurationEdit::Delete => &["expose revoke"],
            ConfigurationEdit::Build { alias: true, .. } => &["expose apply"],
            ConfigurationEdit::Enable | ConfigurationEdit::Build { .. } => &["expose restore"],
            ConfigurationEdit::PutBack { .. } => &["expose restore", "expose revoke"],
        },
        _ => return Ok(()),
    };
    let command = format!("{} ", entry.plan.command);
    let begins = |words: &&str| command.starts_with(&format!("{words} "));
    let meant: HashSet<Address> = meant.iter().map(|entry| entry.address).collect();
    let changed = entry.finish.iter().flat_map(|finish| &finish.changed);
    let fits = (commands.iter().any(begins) || ["undo", "apply"].iter().any(begins))
        && (sentences.is_empty() || sentences.contains(&change.what))
        && changed.into_iter().all(|entry| meant.contains(&entry.address));
    if fits {
        return Ok(());
    }
    Err(refuse_other_words(&entry.plan.id))
}

fn refuse_other_words(id: &ChangeId) -> Refusal {
    Refusal::new(
        RefusalKind::Conflict,
        format!("The history's words for {id} are not those of what it did; nothing was changed."),
    )
    .hint("Say what you want instead: `kmsctl ratelimit set`, `kmsctl expose apply`, `kmsctl virusprot delete`")
}

fn why_not(entry: &HistoryEntry) -> String {
    match &entry.plan.change.undo {
        Undo::Impossible(why) => why.clone(),
        Undo::Command(_) => "The firewall was not read for it.".to_owned(),
    }
}

/// Refuses what an altered line says: what was there is not known.
pub(super) fn refuse_broken(id: &str, line: u64) -> Refusal {
    Refusal::new(
        RefusalKind::Conflict,
        format!(
            "Line {line} of the history, which is about {id}, is not as it was written or not where it was, so what it says is not put back."
        ),
    )
    .hint("See: `kmsctl history --verify`; and say what you want instead: `kmsctl ratelimit set`, `kmsctl expose apply`")
}

fn refuse_unsettled(id: &str) -> Refusal {
    Refusal::new(
        RefusalKind::Impossible,
        format!("How {id} ended is not known, so there is nothing safe to take back."),
    )
    .hint(format!("Ask the firewall: `kmsctl history {id}`"))
}

/// Returns what the firewall keeps of a change, where that is what the history here says of it. The history is a file of
/// the operator's machine: what it alone holds is never written.
fn compared_with_store<'a>(
    id: &str,
    recorded: &ChangeOutcome,
    stored: Option<&'a ChangeOutcome>,
) -> Result<&'a ChangeOutcome, Refusal> {
    let refuse = |why: &str| {
        Refusal::new(RefusalKind::Conflict, format!("{why}; nothing was changed."))
            .hint("Say what you want instead: `kmsctl ratelimit set`, `kmsctl expose restore`, `kmsctl expose apply`")
    };
    let Some(stored) = stored else {
        return Err(refuse(&format!(
            "The firewall does not keep the records of {id} any more, and what only the history of this machine has is not put back"
        )));
    };
    let same = stored.before == recorded.before
        && stored.after == recorded.after
        && stored.fingerprints == recorded.fingerprints;
    same.then_some(stored).ok_or_else(|| {
        refuse(&format!(
            "The firewall keeps other records of {id} than the history of this machine"
        ))
    })
}

/// Plans to block addresses again.
fn put_back(
    table: &crate::domain::pf::table::TableName,
    freed: &[PlannedEntry],
    now: &[TableEntry],
    operator: Option<IpAddr>,
) -> Planned {
    let name = table.as_str();
    let there: HashSet<Address> = now.iter().map(Address::from).collect();
    let is_there = |entry: &PlannedEntry| there.contains(&entry.address);
    let is_operator = |entry: &PlannedEntry| {
        operator
            .is_some_and(|operator| !entry.address.negated && entry.address.net.contains(&operator))
    };
    let (own, rest): (Vec<PlannedEntry>, Vec<PlannedEntry>) =
        freed.iter().copied().filter(|entry| !is_there(entry)).partition(is_operator);
    let mut risks = vec![Risk::new(
        "ages-restart",
        "Ages restart: pf counts from now, so the cron job frees later than it would have.",
    )];
    if let Some(entry) = own.first() {
        risks.push(Risk::new(
            "operator-left-out",
            format!(
                "{} is where you work from; it is left out, as blocking it would lock you out.",
                entry.address
            ),
        ));
    }
    if let (Some(entry), []) = (own.first(), rest.as_slice()) {
        let others = if freed.len() > own.len() {
            format!(" What else was freed is in {name} again already.")
        } else {
            String::new()
        };
        return Planned::NothingToDo(format!(
            "Nothing to do: {} is where you work from, and is left out, as blocking it would lock you out.{others}",
            entry.address
        ));
    }
    if rest.is_empty() {
        return Planned::NothingToDo(format!(
            "Nothing to do: what was freed is in {name} again already."
        ));
    }
    let what = blocking_sentence(rest.iter().map(|entry| &entry.address), AGAIN, table);
    draft_blocking(what, rest, now.len(), risks, table).into()
}

/// How the records of a change stand in the configuration now. Separators do not count, nor does an alias that the change
/// does not touch: an administrator who moves a coloured bar has not touched the exposure. The agent's `kmsctl_stand` judges
/// alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stand {
    Before,
    After,
    Otherwise,
}

fn find_stand(outcome: &ChangeOutcome, back: &Swap) -> Stand {
    let (before, after) = (&outcome.before, &outcome.after);
    let touches_alias = before.alias != after.alias;
    let text = |placed: &Option<Placed>| placed.as_ref().map(|one| one.record.canonical_json());
    let touched = |records: &Records| {
        let alias = if touches_alias { text(&records.alias) } else { None };
        [text(&records.nat), text(&records.filter), alias]
    };
    let now = touched(&back.before);
    if now == touched(before) {
        Stand::Before
    } else if now == touched(after) {
        Stand::After
    } else {
        Stand::Otherwise
    }
}

/// Plans to put the records back, if they still are what the change made of them.
fn put_records_back(
    entry: &HistoryEntry,
    (recorded, stored): (&ChangeOutcome, Option<&ChangeOutcome>),
    present: &PlanBasis<'_>,
    terms: ChangeOptions,
) -> Result<Planned, Refusal> {
    let id = entry.plan.id.as_str();
    // Duplicates and rules that others share are no obstacle: the records say which rules are meant.
    check_loadable(present, terms)?;
    let alias = matches!(
        &entry.plan.change.operation,
        Operation::Configuration {
            change: ConfigurationEdit::Build { alias: true, .. }
                | ConfigurationEdit::PutBack { alias: true, .. },
            ..
        }
    );
    let back = ConfigurationEdit::PutBack { records: Box::new(recorded.before.clone()), alias };
    if recorded.before == recorded.after && matches!(entry.plan.change.undo, Undo::Impossible(_)) {
        return Err(Refusal::new(
            RefusalKind::Impossible,
            format!("{id} changed no rule, it only loaded them: there is nothing to put back."),
        )
        .hint("To close it: `kmsctl expose revoke`; to open it: `kmsctl expose restore`"));
    }
    let swap = planned_swap(present, &back)?;
    match find_stand(recorded, &swap) {
        Stand::Before => {
            return Ok(Planned::NothingToDo(format!(
                "Nothing to do: the rules are what they were before {id} already."
            )));
        }
        Stand::After => {}
        Stand::Otherwise => {
            return Err(Refusal::new(
                RefusalKind::Conflict,
                format!("The rules moved on since {id}: they are not what it made of them, so taking it back could undo another's work."),
            )
            .hint("See what they are now: `kmsctl expose show`; and who changed them: `kmsctl history`"));
        }
    }
    let outcome = compared_with_store(id, recorded, stored)?;
    let shown = &entry.plan.change.differences;
    let written = record_differences(&outcome.before, &outcome.after);
    if !written.iter().all(|written| shown.contains(written)) {
        return Err(refuse_other_words(&entry.plan.id));
    }
    let mut differences = record_differences(&outcome.after, &outcome.before);
    // What the loading of the rest turned, and not the caps, does not turn back.
    let is_of_caps = matches!(
        &entry.plan.change.operation,
        Operation::Configuration { change: ConfigurationEdit::Caps { .. }, .. }
    );
    let turned = entry.plan.change.turns_exposure();
    let turned =
        turned.filter(|(before, after)| !is_of_caps || before.lets_in() == after.lets_in());
    let closing = closing_part(&swap).and_then(|part| present.exposure.after_closing(&part));
    let turns = turned.filter(|_| closing.is_none());
    differences.extend(
        turns.map(|(before, after)| Difference::new("exposure", after.name(), before.name())),
    );
    let mut draft = Draft {
        what: format!("Take back {id} ({}): put the rules back as they were.", entry.plan.command),
        differences,
        checks: vec![
            "Both rules are what they were, to the byte, and nothing else in the configuration differs.".to_owned(),
            "pf runs them so.".to_owned(),
        ]
        .into_iter()
        .chain(place_sentences(&swap, present.configured))
        .collect(),
        undo: Undo::Command("makes the change once more".to_owned()),
        risks: super::exposure::change_risks(present, terms),
        confirm: Confirm::YesNo,
        seen: super::exposure::seen_configuration(present),
        operation: Operation::Configuration {
            change: back,
            with_pending: terms.with_pending,
            end_connections: false,
        },
        reverts_after: None,
        undoes: None,
    };
    if let (Some(after), Some((before, _))) = (closing, turned) {
        if !after.opened.is_empty() {
            let opened = opened_clause(&after.opened);
            let message = format!("Without these rules this would be open: {opened}.");
            draft.risks.insert(0, Risk::new("uncovers", message));
        }
        name_left_open(&mut draft, present, after, before);
    }
    match draft.turns_exposure() {
        // Taking an opening back closes, and is asked for like any closing.
        Some((before, after)) if before.lets_in() && !after.lets_in() => {
            draft.confirm = Confirm::Word("revoke".to_owned());
            draft.risks.extend(super::exposure::live_on(present));
        }
        Some((before, after)) if after.lets_in() && !before.lets_in() => {
            name_opened(&mut draft, present, after);
        }
        _ => {}
    }
    Ok(draft.into())
}

/// Returns what of the pair goes out of force, as the change that disables it.
fn closing_part(swap: &Swap) -> Option<ConfigurationEdit> {
    let goes =
        |was: &Option<Placed>, now: &Option<Placed>| !is_out(was.as_ref()) && is_out(now.as_ref());
    let (before, after) = (&swap.before, &swap.after);
    match (goes(&before.nat, &after.nat), goes(&before.filter, &after.filter)) {
        (true, true) => Some(ConfigurationEdit::Disable),
        (true, false) => Some(ConfigurationEdit::DisableForward),
        (false, true) => Some(ConfigurationEdit::DisableFilter),
        (false, false) => None,
    }
}

/// Plans to make a temporary change permanent, or to prolong it until a time of the firewall's clock, in epoch seconds.
/// `known` is what the history here says of it.
pub fn plan_keep(
    id: &str,
    until: Option<i64>,
    known: Option<&HistoryEntry>,
    present: &PlanBasis<'_>,
) -> Result<Planned, Refusal> {
    if let Some(line) = known.and_then(|entry| entry.broken.line()) {
        return Err(refuse_broken(id, line));
    }
    known.map_or(Ok(()), check_words)?;
    let mut armed = present.configured.armed.iter();
    let Some(armed) = armed.find(|armed| armed.id.as_str() == id) else {
        check_stands(id, known, present)?;
        return Ok(Planned::NothingToDo(format!(
            "Nothing to do: nothing is armed to take back {id}."
        )));
    };
    // The rules of another service are not those that were read.
    let is_of_service = armed_on(present).any(|own| own.id == armed.id);
    if is_of_service && has_moved_on(known, present) {
        let message = format!(
            "The rules moved on since {id}: they are not what it made of them, and its rollback leaves them as they are."
        );
        return Err(Refusal::new(RefusalKind::Conflict, message).hint(
            "See what they are now: `kmsctl expose show`; and who changed them: `kmsctl history`",
        ));
    }
    let at = time_words(armed.reverts_at);
    if until.is_some_and(|until| until <= armed.reverts_at) {
        return Ok(Planned::NothingToDo(format!(
            "Nothing to do: {id} reverts by itself at {at}, which is no sooner. To take it back now: `kmsctl undo {id}`"
        )));
    }
    let longer = until.map(time_words);
    let (what, check, hint) = match &longer {
        None => (
            "it does not revert by itself any more".to_owned(),
            "The firewall has nothing armed under this id any more.".to_owned(),
            format!("To take it back later: `kmsctl undo {id}`"),
        ),
        Some(longer) => (
            format!("it reverts by itself at {longer} only"),
            format!("The firewall has it armed for {longer}."),
            format!("To take it back sooner: `kmsctl undo {id}`"),
        ),
    };
    Ok(Draft {
        what: format!("Keep {id} ({}): {what}.", armed.what),
        differences: vec![Difference::new("reverts_at", at, longer)],
        checks: vec![check],
        undo: Undo::Impossible(hint),
        risks: Vec::new(),
        confirm: Confirm::YesNo,
        seen: super::exposure::seen_configuration(present),
        operation: Operation::Keep { id: armed.id.clone(), until },
        reverts_after: None,
        undoes: None,
    }
    .into())
}

/// Says whether the rules are not what a change of the history made of them.
fn has_moved_on(known: Option<&HistoryEntry>, present: &PlanBasis<'_>) -> bool {
    let finish = known.and_then(|entry| entry.finish.as_ref());
    finish.and_then(|finish| finish.outcome.as_ref()).is_some_and(|outcome| {
        let records = Box::new(outcome.before.clone());
        let back = ConfigurationEdit::PutBack { records, alias: false };
        let swap = planned_swap(present, &back);
        swap.map_or(true, |swap| find_stand(outcome, &swap) != Stand::After)
    })
}

/// Refuses where a change of which nothing is armed is not in force any more: that is no success of `keep`.
fn check_stands(
    id: &str,
    known: Option<&HistoryEntry>,
    present: &PlanBasis<'_>,
) -> Result<(), Refusal> {
    let refuse = |why: String| {
        Err(Refusal::new(RefusalKind::Conflict, why).hint(format!(
            "See what became of it: `kmsctl history {id}`; and what is in force: `kmsctl status`"
        )))
    };
    let configured = present.configured;
    if configured.unfinished.iter().any(|running| running.id.as_str() == id) {
        return refuse(format!("{id} is being made or taken back at this moment."));
    }
    let mut expired = configured.expired.iter();
    let recorded = expired.find(|expired| expired.id.as_str() == id);
    let finish = known.and_then(|entry| entry.finish.as_ref());
    let outcome = finish.and_then(|finish| finish.outcome.as_ref());
    let noted = outcome.and_then(|outcome| outcome.reverted.as_ref());
    if let Some(reverted) = recorded.map(|expired| &expired.reverted).or(noted) {
        return refuse(too_late(id, reverted));
    }
    let Some(entry) = known else {
        return Ok(());
    };
    if let Some(by) = entry.undone_by.as_ref().or(entry.superseded_by.as_ref()) {
        return refuse(format!("{by} stands in the place of {id}, so there is nothing to keep."));
    }
    if entry.is_unsettled() {
        return refuse(format!("How {id} ended is not known here."));
    }
    if !entry.took_effect() {
        return refuse(format!("There is nothing to keep: {id} ended as {}.", entry.ending_word()));
    }
    if has_moved_on(known, present) {
        return refuse(format!(
            "Nothing is armed to take back {id}, but the rules of {} are not what it made of them.",
            present.service.alias
        ));
    }
    Ok(())
}
