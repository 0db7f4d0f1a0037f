//! The changes that the firewall keeps, as its agent reports them: which of them will be taken back, which are not at an
//! end, and what deletions took away. Not for the outcomes themselves, which are asked for one by one.

use serde::{Deserialize, Serialize};

use super::change::{Armed, ChangeId, Deleted, Expired, Records, Reverted, RunningChange};
use super::configured::Configured;

/// Of that many deletions the records are looked at.
const MOST_DELETIONS: usize = 5;

/// A change that the firewall keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredChange {
    pub id: ChangeId,
    pub who: String,
    /// For people.
    pub what: String,
    /// Epoch seconds at which it began.
    pub since: i64,
    pub port: u16,
    pub interface: String,
    pub ended: bool,
    /// Its armed job is there; without one nothing has been written yet, or nothing is left to do.
    pub has_job: bool,
    /// Epoch seconds, by the firewall's clock, at which it is taken back.
    pub revert_at: Option<i64>,
    pub reverted: Option<Reverted>,
    /// What it has deleted of rules of the service's port and interface, if it is in force.
    pub took: Option<Records>,
}

impl StoredChange {
    fn armed(&self) -> Option<Armed> {
        Some(Armed {
            id: self.id.clone(),
            reverts_at: self.revert_at.filter(|_| self.ended)?,
            what: self.what.clone(),
            who: self.who.clone(),
            port: self.port,
            interface: self.interface.clone(),
        })
    }

    fn expired(&self) -> Option<Expired> {
        Some(Expired {
            id: self.id.clone(),
            reverted: self.reverted.clone()?,
        })
    }

    fn unfinished(&self) -> Option<RunningChange> {
        (!self.ended && self.has_job).then(|| RunningChange {
            id: self.id.clone(),
            who: self.who.clone(),
            what: self.what.clone(),
            since: self.since,
        })
    }

    fn deleted(&self) -> Option<Deleted> {
        Some(Deleted {
            id: self.id.clone(),
            who: self.who.clone(),
            since: Some(self.since),
            records: self.took.clone()?,
        })
    }
}

impl Configured {
    /// Sorts the changes by what they still do. Whether a deletion was proven does not matter where the rules are gone.
    pub(super) fn sort_changes(&mut self) {
        let changes = || self.changes.iter();
        let armed = changes().filter_map(StoredChange::armed).collect();
        let expired = changes().filter_map(StoredChange::expired).collect();
        let unfinished = changes().filter_map(StoredChange::unfinished).collect();
        let deletions = changes().rev().filter_map(StoredChange::deleted);
        self.deletions = deletions.take(MOST_DELETIONS).collect();
        (self.armed, self.expired, self.unfinished) = (armed, expired, unfinished);
    }
}
