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
    /// The alias of the service.
    pub alias: String,
    pub ended: bool,
    /// It ended as it was meant to.
    pub done: bool,
    /// It has deleted rules, and is in force.
    pub deletes: bool,
    /// Its armed job is there; without one nothing has been written yet, or nothing is left to do.
    pub has_job: bool,
    /// Epoch seconds, by the firewall's clock, at which it is taken back.
    pub revert_at: Option<i64>,
    pub reverted: Option<Reverted>,
    /// What it has deleted, if the rules were of the service's port and interface.
    pub took: Option<Records>,
}

/// As many ended changes of which nothing is armed stay on the firewall, to be asked about.
const KEPT: usize = 50;

impl StoredChange {
    pub(super) fn has_ended_unarmed(&self) -> bool {
        self.ended && self.revert_at.is_none()
    }

    /// Returns whether it is the only place that has what a deletion took away: until a later change of the rules is in force.
    pub(super) fn is_needed(&self, changes: &[Self]) -> bool {
        let replaces = |other: &Self| {
            (&other.alias, other.port, &other.interface)
                == (&self.alias, self.port, &self.interface)
                && other.since > self.since
                && other.done
        };
        self.deletes && !changes.iter().any(replaces)
    }

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
        Some(Expired { id: self.id.clone(), reverted: self.reverted.clone()? })
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
    /// Returns the changes that the firewall may forget when the next one ends: all but the newest, and what is needed.
    pub fn forgotten_changes(&self) -> Vec<ChangeId> {
        let ended = self.changes.iter();
        let ended: Vec<&StoredChange> = ended.filter(|one| one.has_ended_unarmed()).collect();
        let over = (ended.len() + 1).saturating_sub(KEPT);
        let old = ended.into_iter().take(over);
        let old = old.filter(|change| !change.is_needed(&self.changes));
        old.map(|change| change.id.clone()).collect()
    }

    /// Sorts the changes by what they still do. Whether a deletion was proven does not matter where the rules are gone.
    pub(super) fn sort_changes(&mut self) {
        let changes = || self.changes.iter();
        let armed = changes().filter_map(StoredChange::armed).collect();
        let expired = changes().filter_map(StoredChange::expired).collect();
        let unfinished = changes().filter_map(StoredChange::unfinished).collect();
        let deletions = changes().rev().filter_map(StoredChange::deleted);
        self.deletions = deletions.take(MOST_DELETIONS).collect();
        (self.armed, self.expired, self.unfinished) = (armed, expired, unfinished);
        self.leftovers = self.files.find_leftovers(&self.changes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(number: i64) -> StoredChange {
        StoredChange {
            id: ChangeId::new(&format!("c{number}")).unwrap(),
            who: "viktor@laptop".into(),
            what: "caps".into(),
            since: number,
            port: 1688,
            interface: "wan".into(),
            alias: "k8s_kms_lb".into(),
            ended: true,
            done: true,
            deletes: false,
            has_job: false,
            revert_at: None,
            reverted: None,
            took: None,
        }
    }

    fn forgotten(changes: Vec<StoredChange>) -> Vec<String> {
        let configured = Configured { changes, ..Configured::default() };
        let forgotten = configured.forgotten_changes();
        forgotten.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_newest_fifty_stay_with_the_one_that_is_made() {
        assert_eq!(forgotten((0..49).map(change).collect()), [""; 0]);
        assert_eq!(forgotten((0..51).map(change).collect()), ["c0", "c1"]);
    }

    #[test]
    fn what_has_something_to_do_or_is_needed_is_not_forgotten() {
        let mut changes: Vec<StoredChange> = (0..54).map(change).collect();
        changes[0].ended = false;
        changes[1].revert_at = Some(4_000_000_000);
        // Of another service, so that no later change has put anything in its place.
        changes[2].deletes = true;
        changes[2].port = 1689;
        // Of this one: the next change is in force instead.
        changes[3].deletes = true;
        assert_eq!(forgotten(changes), ["c3", "c4"]);
    }

    #[test]
    fn a_deletion_is_needed_until_a_later_change_is_in_force() {
        let mut changes: Vec<StoredChange> = (0..3).map(change).collect();
        changes[1].deletes = true;
        assert!(!changes[1].is_needed(&changes));
        changes[2].done = false;
        assert!(changes[1].is_needed(&changes));
        changes[2].done = true;
        changes[2].alias = "another".into();
        assert!(changes[1].is_needed(&changes));
    }
}
