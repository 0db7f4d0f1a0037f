//! The table entries of a change, row by row, and what became of each.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;
use serde::Serialize;

use crate::domain::history::Finish;
use crate::domain::pf::table::Entry as TableEntry;
use crate::domain::plan::{Address, Operation, Plan, PlannedEntry};
use crate::domain::virusprot::entries::entry_age;
use crate::pfsense::questions::Reading;

/// One table entry of a change.
#[derive(Debug, Serialize)]
pub(super) struct ReportRow {
    pub(super) address: String,
    added_at: Option<Timestamp>,
    pub(super) age_seconds: Option<u64>,
    /// `planned`, `freed`, `freed-and-back`, `gone-already`, `blocked`, `blocked-already`, `unchanged`.
    pub(super) result: &'static str,
}

fn planned_entries(plan: &Plan) -> Option<(&[PlannedEntry], bool)> {
    match &plan.change.operation {
        Operation::TableDelete { entries, .. } => Some((entries, true)),
        Operation::TableAdd { entries, .. } => Some((entries, false)),
        _ => None,
    }
}

fn entry_row(
    entry: &PlannedEntry,
    since: Option<Timestamp>,
    now: Timestamp,
    result: &'static str,
) -> ReportRow {
    ReportRow {
        address: entry.address.to_string(),
        added_at: since,
        age_seconds: entry_age(since, now),
        result,
    }
}

pub(super) fn planned_rows(plan: &Plan, now: Timestamp) -> Option<Vec<ReportRow>> {
    let (entries, deleted) = planned_entries(plan)?;
    // What is blocked again starts its age anew.
    let since = |entry: &PlannedEntry| entry.since.filter(|_| deleted);
    Some(entries.iter().map(|entry| entry_row(entry, since(entry), now, "planned")).collect())
}

/// Says of each entry what became of it, by what pfctl said and by the table read back.
pub(super) fn entry_rows(plan: &Plan, finish: &Finish, now: &Reading) -> Option<Vec<ReportRow>> {
    let (entries, deleted) = planned_entries(plan)?;
    let table: &[TableEntry] = now.table.as_ref().map(Vec::as_slice).unwrap_or_default();
    let there: HashMap<Address, Option<Timestamp>> =
        table.iter().map(|entry| (Address::from(entry), entry.since)).collect();
    let changed: HashSet<Address> = finish.changed.iter().map(|entry| entry.address).collect();
    let result = |entry: &PlannedEntry| {
        let (changed, there) =
            (changed.contains(&entry.address), there.contains_key(&entry.address));
        match (deleted, changed, there) {
            (true, true, false) => "freed",
            (true, true, true) => "freed-and-back",
            (true, false, false) => "gone-already",
            (false, true, true) => "blocked",
            (false, false, true) => "blocked-already",
            _ => "unchanged",
        }
    };
    let since = |entry: &PlannedEntry| match there.get(&entry.address) {
        Some(since) if !deleted => *since,
        _ => entry.since,
    };
    Some(
        entries
            .iter()
            .map(|entry| entry_row(entry, since(entry), now.clock.now, result(entry)))
            .collect(),
    )
}

pub(super) fn blocked_now(plan: &Plan, now: &Reading) -> Option<(String, usize)> {
    planned_entries(plan)?;
    Some(("blocked".to_owned(), now.table.as_ref().ok()?.len()))
}
