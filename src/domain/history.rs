//! What the history means: events in order → changes with their endings, which of them were taken back, and which one
//! `undo` means. Reading and writing the file is the journal's work.

use super::pfsense::change::{ChangeEnding, ChangeId, ChangeOutcome, Expired, Reverted};
use super::plan::{Operation, Plan, PlannedEntry, Undo};
use crate::domain::reachability::external::{Expected, FirewallEvidence, Judgement, Seen, Verdict};
use crate::text::{quoted, word_enum};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

/// One event of the history. Fields are added, never re-used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case", deny_unknown_fields)]
pub enum HistoryEvent {
    /// A change begins; written before the firewall is touched.
    Started {
        /// The whole plan.
        plan: Box<Plan>,
        /// Who carries it out, `user@host`, where that is not who made it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
        /// The context it was carried out in.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        context: Option<String>,
        /// The command that the plan was made by, where it came out of a file.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        planned_as: Option<String>,
        /// The change of a pair's other node that was confirmed together with it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        beside: Option<ChangeBeside>,
    },
    /// A change has ended, or what is known of it.
    Ended {
        /// Its id.
        id: String,
        /// How.
        finish: Box<Finish>,
    },
    /// A record was found torn (the machine died while writing it) and was taken out of the file.
    Recovered {
        /// How many bytes there were.
        bytes: u64,
        /// Their beginning.
        text: String,
    },
}

impl HistoryEvent {
    /// Makes the record of how a change of this id has ended.
    pub fn ended(id: &ChangeId, finish: Finish) -> Self {
        Self::Ended { id: id.to_string(), finish: Box::new(finish) }
    }
}

/// A change of a pair's other node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeBeside {
    /// The context of that node.
    pub context: String,
    /// The change's id.
    pub id: String,
}

word_enum! {
    /// How a change ended, as the operator reads it.
    pub enum EndedAs {
        /// Done and proven.
        Done = "done",
        /// There was nothing to do.
        NothingToDo = "nothing-to-do",
        /// It failed, and the old state is back in force.
        RolledBack = "rolled-back",
        /// Written or sent, and not proven.
        Unverified = "unverified",
        /// It failed or was refused; nothing changed.
        Failed = "failed",
        /// It was to be taken back, and was not: another writer has changed the rules since.
        KeptByOthers = "kept-by-others",
    }
}

/// What became of what a change was planned to make different.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum WhatBecame {
    /// It was made, and nothing here took it back.
    Made,
    /// It was made, and not all of it is proven.
    MadeInPart,
    /// It was made and taken back: when it failed, by an undo, or by the firewall when its time was over.
    TakenBack,
    /// It was never made.
    NotMade,
    /// It is not known whether it was made.
    NotKnown,
}

impl WhatBecame {
    /// Says it behind a difference that was planned; nothing where that is a fact.
    pub fn clause(self) -> Option<&'static str> {
        match self {
            Self::Made => None,
            Self::MadeInPart => Some("planned; made, but not all of it is proven"),
            Self::TakenBack => Some("taken back"),
            Self::NotMade => Some("planned, never made"),
            Self::NotKnown => Some("planned; whether it was made is not known"),
        }
    }
}

/// The ending of a change with what it takes to undo it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finish {
    /// How it ended.
    pub ended: EndedAs,
    /// One sentence.
    pub message: String,
    /// Table entries that really were changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<PlannedEntry>,
    /// States that were ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub killed: Option<u64>,
    /// How many of the planned ones among them were of clients inside (private addresses).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub killed_inside: Option<u64>,
    /// The agent's whole outcome, with the records before and after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Box<ChangeOutcome>>,
    /// What was seen from outside, where that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outside: Option<Box<ExternalOutcome>>,
}

impl Finish {
    /// Makes an ending that changed nothing that is kept here.
    pub fn new(ended: EndedAs, message: impl Into<String>) -> Self {
        Self {
            ended,
            message: message.into(),
            changed: Vec::new(),
            killed: None,
            killed_inside: None,
            outcome: None,
            outside: None,
        }
    }
}

impl Finish {
    /// Returns whether the change took effect: also where something about it was not proven, such as that the outside
    /// is shut out, or that every connection was ended.
    pub fn took_effect(&self) -> bool {
        let written = self.outcome.as_ref();
        let made = !self.changed.is_empty()
            || written.is_some_and(|outcome| outcome.result == ChangeEnding::Done);
        self.ended == EndedAs::Done || (self.ended == EndedAs::Unverified && made)
    }

    /// Returns the ids of the temporary changes that it disarmed.
    fn superseded(&self) -> impl Iterator<Item = &str> {
        let steps = self.outcome.iter().flat_map(|outcome| &outcome.steps);
        let disarmed = steps.filter(|step| step.name == "supersede" && step.ok);
        disarmed.map(|step| step.detail.as_str())
    }
}

/// One change of the history.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryEntry {
    /// When it was started.
    pub at: Timestamp,
    /// The plan.
    pub plan: Plan,
    /// Who carried it out, where that is not who made the plan.
    pub by: Option<String>,
    /// The context it was carried out in.
    pub context: Option<String>,
    /// The command that the plan was made by, where it came out of a file.
    pub planned_as: Option<String>,
    /// The change of a pair's other node that was confirmed together with it.
    pub beside: Option<ChangeBeside>,
    /// How it ended; `None` if that was never written.
    pub finish: Option<Finish>,
    /// The change that took it back.
    pub undone_by: Option<String>,
    /// The change that kept it.
    pub kept_by: Option<String>,
    /// The later change of the same rules that disarmed its rollback.
    pub superseded_by: Option<String>,
    /// Which of its lines are not to be trusted.
    pub broken: Broken,
}

/// Lines of the history that are not as they were written, or not where they were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Broken {
    started: Option<u64>,
    ended: Option<u64>,
}

impl Broken {
    /// Returns the first of them, counted from 1.
    pub fn line(self) -> Option<u64> {
        self.started.or(self.ended)
    }
}

impl HistoryEntry {
    /// Returns who carried it out: `user@host`.
    pub fn carried_out_by(&self) -> &str {
        self.by.as_deref().unwrap_or(&self.plan.who)
    }

    /// Returns how it ended, in a word.
    pub fn ending_word(&self) -> &'static str {
        self.ended_as().map_or("unknown", EndedAs::name)
    }

    /// Returns how it ended, its rollback included: one that another writer's change kept from firing is no plain `done`.
    pub fn ended_as(&self) -> Option<EndedAs> {
        let finish = self.finish.as_ref()?;
        let reverted = self.outcome().and_then(|outcome| outcome.reverted.as_ref());
        let stale = reverted.is_some_and(|reverted| reverted.result == ChangeEnding::Stale);
        let others = finish.ended == EndedAs::Done && stale && self.superseded_by.is_none();
        Some(if others { EndedAs::KeptByOthers } else { finish.ended })
    }

    /// Returns what became of the differences that it was planned to make.
    pub fn what_became(&self) -> WhatBecame {
        let Some(finish) = &self.finish else {
            return WhatBecame::NotKnown;
        };
        let reverted = self.outcome().and_then(|outcome| outcome.reverted.as_ref());
        if self.undone_by.is_some() || reverted.is_some_and(Reverted::is_back) {
            return WhatBecame::TakenBack;
        }
        match finish.ended {
            EndedAs::Done | EndedAs::KeptByOthers => WhatBecame::Made,
            EndedAs::RolledBack => WhatBecame::TakenBack,
            EndedAs::Failed | EndedAs::NothingToDo => WhatBecame::NotMade,
            EndedAs::Unverified if finish.took_effect() => WhatBecame::MadeInPart,
            EndedAs::Unverified => WhatBecame::NotKnown,
        }
    }

    /// Returns whether it is known to have taken effect.
    pub fn took_effect(&self) -> bool {
        self.finish.as_ref().is_some_and(Finish::took_effect)
    }

    /// Returns whether it took effect, and nothing here has taken it back since.
    pub fn is_in_effect(&self) -> bool {
        self.took_effect() && self.undone_by.is_none()
    }

    /// Returns whether only the firewall can know how it ended: its ending was never written, or the firewall had not
    /// proven it. Such a change is tried again there each minute, and ends otherwise as a rule.
    pub fn is_unsettled(&self) -> bool {
        let open = |finish: &Finish| {
            let outcome = finish.outcome.as_ref();
            finish.ended == EndedAs::Unverified
                && outcome.is_none_or(|outcome| outcome.result == ChangeEnding::Unproven)
        };
        matches!(self.plan.change.operation, Operation::Configuration { .. })
            && self.finish.as_ref().is_none_or(open)
    }

    /// Returns what the agent says of it, if it is known here.
    fn outcome(&self) -> Option<&ChangeOutcome> {
        self.finish.as_ref()?.outcome.as_deref()
    }

    /// Returns whether the firewall may have taken it back by itself since, and it is not known here.
    pub fn may_be_reverted(&self) -> bool {
        let armed =
            |outcome: &ChangeOutcome| outcome.reverts_at.is_some() && outcome.reverted.is_none();
        self.kept_by.is_none() && self.outcome().is_some_and(armed)
    }

    /// Returns the ending with what the firewall says of its rollback, where that is news. A line that is not as it was
    /// written is not written anew.
    pub fn learnt_ending(&self, expired: &[Expired]) -> Option<Finish> {
        let outcome = self.outcome()?;
        if outcome.reverted.is_some() || self.broken.line().is_some() {
            return None;
        }
        let expired = expired.iter().find(|expired| expired.id == self.plan.id)?;
        let mut finish = self.finish.clone()?;
        finish.outcome = Some(Box::new(ChangeOutcome {
            reverted: Some(expired.reverted.clone()),
            ..outcome.clone()
        }));
        Some(finish)
    }
}

/// Puts the wanted changes together as their events are read; the others take no memory, but count where they took a
/// wanted one back, kept it, or took its place. A later ending of the same change replaces an earlier one.
pub struct Folder<'a> {
    wanted: Box<dyn Fn(&Plan) -> bool + 'a>,
    /// Only so many of the last wanted ones are kept.
    most: usize,
    entries: VecDeque<HistoryEntry>,
    /// By its id, what a change that was begun does to a wanted one.
    begun: HashMap<ChangeId, DoneToAnother>,
}

/// What a change does to an earlier one.
#[derive(Clone, Debug)]
enum DoneToAnother {
    /// It takes it back.
    Undoes(String),
    /// It makes it permanent.
    Keeps(String),
    /// It prolongs it, until then in epoch seconds.
    Prolongs(String, i64),
}

impl DoneToAnother {
    fn of(plan: &Plan) -> Option<Self> {
        match (&plan.change.undoes, &plan.change.operation) {
            (Some(id), _) => Some(Self::Undoes(id.clone())),
            (None, Operation::Keep { id, until }) => Some(match until {
                None => Self::Keeps(id.to_string()),
                Some(until) => Self::Prolongs(id.to_string(), *until),
            }),
            _ => None,
        }
    }

    fn named(&self) -> &str {
        let (Self::Undoes(id) | Self::Keeps(id) | Self::Prolongs(id, _)) = self;
        id
    }
}

impl<'a> Folder<'a> {
    /// Keeps the last changes of which this is true, so many at most.
    pub fn of_wanted(most: usize, wanted: impl Fn(&Plan) -> bool + 'a) -> Self {
        Self { wanted: Box::new(wanted), most, entries: VecDeque::new(), begun: HashMap::new() }
    }

    /// Keeps the last changes only, so many.
    pub fn of_last(count: usize) -> Self {
        Self::of_wanted(count, |_| true)
    }

    /// Takes the next event, with its line where that is broken.
    pub fn push(&mut self, at: Timestamp, event: HistoryEvent, broken: Option<u64>) {
        match event {
            HistoryEvent::Started { plan, by, context, planned_as, beside } => {
                if let Some(done) = DoneToAnother::of(&plan)
                    && self.entries.iter().any(|entry| entry.plan.id.as_str() == done.named())
                {
                    self.begun.insert(plan.id.clone(), done);
                }
                if !(self.wanted)(&plan) {
                    return;
                }
                self.entries.push_back(HistoryEntry {
                    at,
                    plan: *plan,
                    by,
                    context,
                    planned_as,
                    beside,
                    finish: None,
                    undone_by: None,
                    kept_by: None,
                    superseded_by: None,
                    broken: Broken { started: broken, ended: None },
                });
                if self.entries.len() > self.most {
                    self.entries.pop_front();
                }
            }
            HistoryEvent::Ended { id, finish } => self.settle_entry(&id, *finish, broken),
            HistoryEvent::Recovered { .. } => {}
        }
    }

    /// Returns the changes in their order.
    pub fn into_entries(self) -> Vec<HistoryEntry> {
        self.entries.into()
    }

    fn settle_entry(&mut self, id: &str, finish: Finish, broken: Option<u64>) {
        if finish.took_effect() {
            self.mark_others(id, &finish);
        }
        let mut last_first = self.entries.iter_mut().rev();
        if let Some(entry) = last_first.find(|entry| entry.plan.id.as_str() == id) {
            entry.finish = Some(finish);
            entry.broken.ended = broken;
        }
    }

    /// Marks what a change that took effect has done to others.
    fn mark_others(&mut self, id: &str, finish: &Finish) {
        let superseded: Vec<&str> = finish.superseded().collect();
        let done = ChangeId::new(id).and_then(|id| self.begun.get(&id));
        for other in &mut self.entries {
            let name = other.plan.id.as_str();
            if superseded.contains(&name) {
                other.superseded_by = Some(id.to_owned());
            }
            match done {
                Some(DoneToAnother::Undoes(undone)) if undone == name => {
                    other.undone_by = Some(id.to_owned());
                }
                Some(DoneToAnother::Keeps(kept)) if kept == name => {
                    other.kept_by = Some(id.to_owned());
                }
                Some(DoneToAnother::Prolongs(longer, until)) if longer == name => {
                    if let Some(outcome) = other.finish.as_mut().and_then(|at| at.outcome.as_mut())
                    {
                        outcome.reverts_at = outcome.reverts_at.map(|at| at.max(*until));
                    }
                }
                _ => {}
            }
        }
    }
}

/// Finds, as events are read, the last change that can be taken back and was not: what `undo` without an id means. Of each
/// change that changed something a few words are kept. Undoing an undo must be asked for by its id, so that `undo` twice
/// never goes back and forth. One that superseded another is found also where it cannot be taken back: what lies before
/// it is not in force as it was made.
#[derive(Debug, Default)]
pub struct UndoSearch {
    changes: Vec<UndoCandidate>,
    places: HashMap<ChangeId, usize>,
}

#[derive(Debug)]
struct UndoCandidate {
    id: ChangeId,
    undoes: Option<String>,
    /// It is one of those that are meant.
    meant: bool,
    /// There is a command for it, or it stands in the place of another, which is never taken back past it.
    possible: bool,
    /// It took effect, and the firewall has not taken it back by itself.
    stands: bool,
    undone: bool,
}

impl UndoSearch {
    /// Takes the next event; `meant` says of a plan whether it counts, such as those of one firewall.
    pub fn push(&mut self, event: &HistoryEvent, meant: impl Fn(&Plan) -> bool) {
        match event {
            HistoryEvent::Started { plan, .. } => {
                let change = &plan.change;
                self.places.insert(plan.id.clone(), self.changes.len());
                self.changes.push(UndoCandidate {
                    id: plan.id.clone(),
                    undoes: change.undoes.clone(),
                    meant: change.undoes.is_none() && meant(plan),
                    possible: matches!(change.undo, Undo::Command(_)),
                    stands: false,
                    undone: false,
                });
            }
            HistoryEvent::Ended { id, finish } => self.settle_candidate(id, finish),
            HistoryEvent::Recovered { .. } => {}
        }
    }

    fn settle_candidate(&mut self, id: &str, finish: &Finish) {
        let outcome = finish.outcome.as_ref();
        let reverted = outcome.and_then(|outcome| outcome.reverted.as_ref());
        let effect = finish.took_effect();
        let Some(candidate) = self.of_id(id) else {
            return;
        };
        candidate.stands = effect && !reverted.is_some_and(Reverted::is_back);
        candidate.possible |= finish.superseded().next().is_some();
        let undone = candidate.undoes.clone().filter(|_| effect);
        if let Some(undone) = undone.and_then(|undone| self.of_id(&undone)) {
            undone.undone = true;
        }
    }

    fn of_id(&mut self, id: &str) -> Option<&mut UndoCandidate> {
        let place = *self.places.get(&ChangeId::new(id)?)?;
        self.changes.get_mut(place)
    }

    /// Returns the change that was found.
    pub fn found(self) -> Option<ChangeId> {
        let undoable = |one: &UndoCandidate| one.meant && one.possible && one.stands && !one.undone;
        self.changes.into_iter().rfind(undoable).map(|one| one.id)
    }
}

/// Why a change is not found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FindError {
    /// None has it.
    #[error("there is no change {} in the history", quoted(.0))]
    Unknown(String),
    /// Several begin with it.
    #[error("several changes begin with {prefix}: {ids}")]
    Ambiguous {
        /// What was given.
        prefix: String,
        /// Which ones.
        ids: String,
    },
}

/// Finds a change by its id or the beginning of it.
pub fn find_entry<'a>(
    entries: &'a [HistoryEntry],
    prefix: &str,
) -> Result<&'a HistoryEntry, FindError> {
    only_match(entries, |entry| entry.plan.id.as_str(), prefix)
}

/// Finds the only one whose id is this or begins so; nothing begins with nothing.
pub fn only_match<'a, T>(
    all: &'a [T],
    id: impl Fn(&T) -> &str,
    prefix: &str,
) -> Result<&'a T, FindError> {
    let begins = |one: &&T| !prefix.is_empty() && id(one).starts_with(prefix);
    let found: Vec<&T> = all.iter().filter(begins).collect();
    match found.as_slice() {
        [] => Err(FindError::Unknown(prefix.to_owned())),
        [one] => Ok(one),
        several => Err(FindError::Ambiguous {
            prefix: prefix.to_owned(),
            ids: several.iter().map(|one| id(one)).collect::<Vec<_>>().join(", "),
        }),
    }
}

/// Returns whether a plan deletes rules.
pub fn is_deletion(plan: &Plan) -> bool {
    use super::pfsense::change::ConfigurationEdit;
    matches!(
        &plan.change.operation,
        Operation::Configuration { change: ConfigurationEdit::Delete, .. }
    )
}

/// Returns the deletions of rules among the changes of one firewall that hold what they took away, last first. Whether it was proven does not
/// matter: where the rules are gone, it has happened.
pub fn deletions_on(
    entries: &[HistoryEntry],
) -> impl Iterator<Item = (&HistoryEntry, &ChangeOutcome)> {
    let last_first = entries.iter().rev();
    let deletions = last_first.filter(|entry| is_deletion(&entry.plan));
    deletions.filter_map(|entry| {
        let outcome = entry.finish.as_ref()?.outcome.as_deref()?;
        let written = matches!(outcome.result, ChangeEnding::Done | ChangeEnding::Unproven);
        written.then_some((entry, outcome))
    })
}

/// A change that pfSense's own configuration history lists: this operator's or another's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ListedChange {
    /// When it was written.
    pub at: Option<Timestamp>,
    /// The change's id.
    pub id: String,
    /// `user@host`.
    pub who: String,
    /// What it did, with the reason.
    pub what: String,
}

impl ListedChange {
    /// Returns whether this entry is the firewall taking the change back: the agent's words for that begin so.
    pub fn is_revert(&self) -> bool {
        self.what.starts_with("taken back")
    }
}

/// Reads an entry of pfSense's configuration history, if kmsctl wrote it: the agent writes as `kmsctl (USER@HOST)`
/// with the description `kmsctl ID: WHAT`, before which pfSense puts the writer's name.
pub fn parse_listed_change(
    revision: &super::pfsense::configured::Revision,
) -> Option<ListedChange> {
    let username = revision.username.as_deref()?;
    let who = username.strip_prefix("kmsctl (")?.strip_suffix(')')?;
    let description = revision.description.as_deref()?;
    let entry = description
        .strip_prefix(username)
        .map_or(description, |rest| rest.trim_start_matches([':', ' ']));
    let (id, what) = entry.strip_prefix("kmsctl ")?.split_once(": ")?;
    let seconds = revision.time.as_deref().and_then(|time| time.parse().ok());
    Some(ListedChange {
        at: seconds.and_then(|seconds| Timestamp::from_second(seconds).ok()),
        id: id.to_owned(),
        who: who.to_owned(),
        what: what.to_owned(),
    })
}

/// The proof, or why there is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExternalOutcome {
    /// What can be said of the outside.
    pub verdict: Verdict,
    /// What the change was for.
    pub expected: Expected,
    /// The verdict is that one, for the right reason.
    pub as_expected: bool,
    /// One sentence without a full stop.
    pub summary: String,
    /// Where was connected to, if that was known.
    pub target: Option<SocketAddr>,
    /// What each vantage saw.
    pub vantages: Vec<Witness>,
    /// What the firewall saw meanwhile; null where it could not be read.
    pub firewall: Option<FirewallEvidence>,
}

/// What one vantage, or one node of a check service, saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Witness {
    /// Its name; a node stands behind a slash.
    pub name: String,
    /// The address that the firewall should see, if known.
    pub address: Option<IpAddr>,
    /// What it proves.
    pub verdict: Verdict,
    /// nmap's word and reason: `filtered (no-response)`; null where no attempt was made.
    pub port: Option<String>,
    /// One sentence for people, without a full stop.
    pub why: String,
}

impl From<&Seen> for Witness {
    fn from(seen: &Seen) -> Self {
        let node = seen.node.as_ref().map(|node| format!("/{node}"));
        Self {
            name: seen.vantage.clone() + &node.unwrap_or_default(),
            address: seen.address,
            verdict: seen.verdict,
            port: seen
                .port
                .zip(seen.reason)
                .map(|(port, reason)| format!("{} ({reason})", port.name())),
            why: seen.why.clone(),
        }
    }
}

impl ExternalOutcome {
    /// Keeps what was judged. Of the new connections only the vantages' own are kept: a busy service has many more.
    pub fn new(
        judgement: &Judgement,
        expected: Expected,
        target: Option<SocketAddr>,
        end: &FirewallEvidence,
    ) -> Self {
        let vantages: Vec<Witness> = judgement.vantages.iter().map(Witness::from).collect();
        let mut end = end.clone();
        end.sources.retain(|source, _| vantages.iter().any(|one| one.address == Some(*source)));
        Self {
            verdict: judgement.verdict,
            expected,
            as_expected: judgement.as_expected == Some(true),
            summary: judgement.summary.clone(),
            target,
            vantages,
            firewall: Some(end),
        }
    }

    /// Says that nothing could be tried.
    pub fn not_tried(expected: Expected, why: &str) -> Self {
        Self {
            verdict: Verdict::Inconclusive,
            expected,
            as_expected: false,
            summary: format!("inconclusive: {}", why.trim_end_matches('.')),
            target: None,
            vantages: Vec::new(),
            firewall: None,
        }
    }

    /// Returns one line for each end, with its name: what each vantage saw, then what the firewall saw.
    pub fn end_lines(&self) -> Vec<(String, String)> {
        let of_vantage = |one: &Witness| {
            let from = one.address.map(|address| format!("from {address}: ")).unwrap_or_default();
            let port = one.port.as_deref().unwrap_or("not tried");
            let why = Some(&one.why).filter(|why| !self.summary.contains(*why));
            let why = why.map(|why| format!("; {why}")).unwrap_or_default();
            (one.name.clone(), format!("{from}{port}{why}"))
        };
        let firewall = self.firewall.as_ref().map(|end| ("firewall".to_owned(), end.to_string()));
        self.vantages.iter().map(of_vantage).chain(firewall).collect()
    }
}

#[cfg(test)]
mod foreign_tests {
    use super::*;
    use crate::domain::reachability::external::{
        Attempt, Control, Observation, Place, PublicNames, judge,
    };

    fn closed() -> (Judgement, FirewallEvidence) {
        let observation = Observation {
            vantage: "public".to_owned(),
            kind: "check-host",
            node: Some("us1".to_owned()),
            address: "198.51.100.77".parse().ok(),
            place: Place::Outside,
            attempts: vec![Attempt::NoAnswer; 3],
            control: Control::Passed { to: "203.0.113.10:443".to_owned(), same_address: true },
            short: None,
            trouble: None,
        };
        let end = FirewallEvidence {
            forwarded: Some(0),
            dropped_by_table: Some(0),
            dropped: Some(6),
            dropped_by: Some(1_000_000_103),
            sources: [("192.0.2.9".parse().unwrap(), String::new())].into(),
            ..FirewallEvidence::default()
        };
        let judgement =
            judge(&[observation], &end, &PublicNames::default(), Some(Expected::Closed));
        (judgement, end)
    }

    #[test]
    fn both_ends_are_kept_and_come_back_from_json() {
        let (judgement, end) = closed();
        let kept = ExternalOutcome::new(
            &judgement,
            Expected::Closed,
            "203.0.113.10:1688".parse().ok(),
            &end,
        );
        assert!(kept.as_expected, "{kept:?}");
        let lines = kept.end_lines();
        assert_eq!(lines[0].0, "public/us1");
        assert!(lines[0].1.starts_with("from 198.51.100.77: filtered (no-response)"), "{lines:?}");
        assert!(!lines[0].1.contains("no answer"), "the summary says it already: {lines:?}");
        assert!(lines[1].1.contains("and 6 others"), "{lines:?}");
        let firewall = kept.firewall.as_ref().unwrap();
        assert!(firewall.sources.is_empty(), "a connection of another client");
        let text = serde_json::to_string(&kept).unwrap();
        assert_eq!(serde_json::from_str::<ExternalOutcome>(&text).unwrap(), kept);
    }

    #[test]
    fn what_could_not_be_tried_is_never_a_verdict() {
        let kept = ExternalOutcome::not_tried(Expected::Closed, "the firewall did not answer.");
        assert!(!kept.as_expected);
        assert_eq!(kept.verdict, Verdict::Inconclusive);
        assert_eq!(kept.summary, "inconclusive: the firewall did not answer");
    }
}
