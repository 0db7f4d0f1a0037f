//! What kmsctl keeps on the simulated firewall, as the agent does under `/conf/kmsctl`: outcomes by the change's id,
//! which of them a rollback is armed for, and ids that were declared void.

use serde::{Deserialize, Serialize};

use crate::domain::pfsense::change::{
    ChangeEnding, ChangeId, ChangeOutcome, RecordNames, Reverted, Swap,
};
use crate::domain::pfsense::leftovers::StoredFile;
use crate::domain::pfsense::stored::StoredChange;
use crate::pfsense::agent::{ApplyRequest, ReadRequest};

/// Cron's step, in seconds.
const MINUTE: i64 = 60;

/// Everything kept, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    stored: Vec<Stored>,
    void: Vec<ChangeId>,
    /// What crashes have left behind.
    #[serde(default)]
    pub debris: Vec<StoredFile>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    pub outcome: ChangeOutcome,
    /// When the armed rollback fires, in epoch seconds; `None` once nothing is armed.
    pub revert_at: Option<i64>,
    /// Whether it is a [`Change::Delete`](crate::domain::pfsense::change::ConfigurationEdit::Delete).
    #[serde(default)]
    pub deletes: bool,
    pub who: String,
    pub what: String,
    /// When it began, in epoch seconds; `None` where an older kmsctl kept it.
    #[serde(default)]
    since: Option<i64>,
    service: ReadRequest,
    #[serde(default)]
    names: RecordNames,
}

impl Stored {
    /// Makes an entry; `now` in epoch seconds.
    pub fn new(outcome: ChangeOutcome, request: &ApplyRequest, now: i64) -> Self {
        Self {
            revert_at: outcome.reverts_at,
            outcome,
            deletes: request.swap.deletes,
            who: request.who.clone(),
            what: request.what.clone(),
            since: Some(now),
            service: request.service.clone(),
            names: request.swap.names.clone(),
        }
    }

    /// Says whether it is about the same rules: of this port and interface.
    fn is_about(&self, service: &ReadRequest) -> bool {
        self.service.port == service.port && self.service.interface == service.interface
    }

    pub fn swap(&self) -> Swap {
        Swap {
            before: self.outcome.before.clone(),
            after: self.outcome.after.clone(),
            names: self.names.clone(),
            ..Swap::default()
        }
    }
}

impl Ledger {
    /// Returns what a crash three days ago has left behind; epoch milliseconds.
    pub fn after_a_crash(now: i64) -> Self {
        let since = now.div_euclid(1000) - 3 * 86_400;
        let file = |path: &str| StoredFile { path: path.to_owned(), since, orphaned: false };
        Self {
            debris: vec![
                file("/conf/.kmsctl-5f1e7c0d9a42.xml"),
                file("/conf/kmsctl/config-5f1e7c0d9a42.xml"),
                file("/conf/kmsctl/lock"),
                file("/conf/kmsctl/lost-5f1e7c0d9a42-damaged.xml"),
                file("/conf/kmsctl/revert-5f1e7c0d9a42.php"),
                file("/etc/cron.d/kmsctl-5f1e7c0d9a42"),
            ],
            ..Self::default()
        }
    }

    pub fn get(&self, id: &ChangeId) -> Option<&Stored> {
        self.stored.iter().find(|stored| stored.outcome.id == *id)
    }

    pub fn get_mut(&mut self, id: &ChangeId) -> Option<&mut Stored> {
        self.stored.iter_mut().find(|stored| stored.outcome.id == *id)
    }

    /// Keeps a change, and forgets those of these that nothing is armed for.
    pub fn keep(&mut self, stored: Stored, forgotten: &[ChangeId]) {
        self.stored
            .retain(|stored| stored.revert_at.is_some() || !forgotten.contains(&stored.outcome.id));
        self.stored.push(stored);
    }

    /// Declares an id void: a request that still travels under it will be refused.
    pub fn declare_void(&mut self, id: &ChangeId) {
        if !self.is_void(id) {
            self.void.push(id.clone());
        }
    }

    pub fn is_void(&self, id: &ChangeId) -> bool {
        self.void.contains(id)
    }

    /// Returns all of them, oldest first, as the agent reports them.
    pub fn changes(&self, service: &ReadRequest) -> Vec<StoredChange> {
        let change = |stored: &Stored| {
            let outcome = &stored.outcome;
            let in_force = matches!(outcome.result, ChangeEnding::Done | ChangeEnding::Unproven);
            let deletes = stored.deletes && in_force;
            StoredChange {
                id: outcome.id.clone(),
                who: stored.who.clone(),
                what: stored.what.clone(),
                since: stored.since.unwrap_or_default(),
                port: stored.service.port,
                interface: stored.service.interface.clone(),
                alias: stored.service.alias.clone(),
                ended: true,
                done: outcome.result == ChangeEnding::Done,
                deletes,
                has_job: stored.revert_at.is_some(),
                revert_at: stored.revert_at,
                reverted: outcome.reverted.clone(),
                took: (deletes && stored.is_about(service)).then(|| outcome.before.clone()),
            }
        };
        self.stored.iter().map(change).collect()
    }

    /// Returns the ids of the changes that are taken back, and who made them.
    pub fn armed(&self) -> impl Iterator<Item = (&ChangeId, &str, i64)> {
        self.stored
            .iter()
            .filter_map(|stored| Some((&stored.outcome.id, stored.who.as_str(), stored.revert_at?)))
    }

    /// Returns the changes whose armed rollbacks are about the same rules.
    pub fn armed_on(&self, service: &ReadRequest) -> Vec<ChangeId> {
        let same = |stored: &&Stored| stored.revert_at.is_some() && stored.is_about(service);
        let armed = self.stored.iter().filter(same);
        armed.map(|stored| stored.outcome.id.clone()).collect()
    }

    /// Disarms a rollback, and notes how it ended.
    pub fn end_rollback(&mut self, id: &ChangeId, reverted: Reverted) {
        if let Some(stored) = self.get_mut(id) {
            stored.revert_at = None;
            stored.outcome.reverted = Some(reverted);
        }
    }

    /// Returns the next armed rollback and when cron's job will take it, in epoch milliseconds: at the first full
    /// minute that is not before its time.
    pub fn next_due(&self) -> Option<(i64, ChangeId)> {
        let due = |(id, _, at): (&ChangeId, &str, i64)| (next_minute(at), id.clone());
        self.armed().map(due).min()
    }
}

/// Returns the first full minute not before a moment; epoch seconds to epoch milliseconds.
fn next_minute(seconds: i64) -> i64 {
    let late = seconds.rem_euclid(MINUTE);
    let wait = if late == 0 { 0 } else { MINUTE - late };
    seconds.saturating_add(wait).saturating_mul(1000)
}

#[cfg(test)]
mod tests {
    use super::next_minute;

    #[test]
    fn cron_comes_by_within_a_minute() {
        assert_eq!(next_minute(120), 120_000);
        assert_eq!(next_minute(121), 180_000);
        assert_eq!(next_minute(179), 180_000);
        assert_eq!(next_minute(i64::MAX), i64::MAX);
    }
}
