//! Plans that free addresses from the overload table. Always exactly the entries that were read, also for "all": an
//! address that pf blocks between reading and acting was not looked at, and stays.

use jiff::Timestamp;

use super::{
    Address, Confirm, Difference, Draft, Operation, Planned, PlannedEntry, Refusal, RefusalKind,
    Risk, Seen, Undo, counted, named,
};
use crate::domain::pf::table::{Entry, TableName};
use crate::domain::virusprot::entries::age_seconds;

/// Which entries to free.
#[derive(Clone, Debug)]
pub enum TableChoice {
    /// Those older than so many seconds.
    OlderThan(u64),
    /// These.
    Addresses(Vec<Address>),
    /// All.
    All,
}

/// Plans to free entries. `now` is the firewall's time.
pub fn free(
    entries: &[Entry],
    choice: &TableChoice,
    table: &TableName,
    now: Timestamp,
) -> Result<Planned, Refusal> {
    let name = table.as_str();
    let chosen: Vec<&Entry> = match choice {
        TableChoice::All => entries.iter().collect(),
        TableChoice::OlderThan(limit) => {
            let old = |entry: &&Entry| {
                entry
                    .since
                    .is_some_and(|since| age_seconds(since, now) > *limit)
            };
            entries.iter().filter(old).collect()
        }
        TableChoice::Addresses(addresses) => addressed(entries, addresses, name)?,
    };
    if chosen.is_empty() {
        return Ok(Planned::NothingToDo(nothing(entries.len(), choice, name)));
    }
    let planned: Vec<PlannedEntry> = chosen.iter().map(|entry| (*entry).into()).collect();
    let (count, all) = (planned.len(), entries.len());
    let free = counted(count, "address", "addresses");
    let confirm = if matches!(choice, TableChoice::All) {
        Confirm::Word("flush".to_owned())
    } else {
        Confirm::YesNo
    };
    Ok(Draft {
        what: format!("Free {free} from {name}."),
        differences: vec![Difference::new("blocked", all, all - count)],
        checks: vec![format!(
            "None of them is in {name} any more, read back from pf."
        )],
        undo: Undo::Command(
            "blocks the freed addresses again; their ages restart, so they stay longer than they would have".to_owned(),
        ),
        risks: risks(name, &missing(choice, &planned)),
        confirm,
        seen: Seen::of(super::entry_facts(chosen.into_iter())),
        operation: Operation::TableDelete {
            table: table.clone(),
            entries: planned,
        },
        reverts_after: None,
        undoes: None,
    }
    .into())
}

/// Finds the entries that are exactly these addresses. pf deletes exact entries only, so an address that is blocked
/// as part of a network must be told apart from one that is not blocked.
fn addressed<'a>(
    entries: &'a [Entry],
    addresses: &[Address],
    table: &str,
) -> Result<Vec<&'a Entry>, Refusal> {
    let mut wanted: Vec<Address> = addresses.to_vec();
    wanted.sort_unstable();
    wanted.dedup();
    let exact: std::collections::HashMap<Address, &Entry> = entries
        .iter()
        .map(|entry| (Address::from(entry), entry))
        .collect();
    let is_network =
        |entry: &&Entry| !entry.negated && entry.net.prefix_len() < entry.net.max_prefix_len();
    let networks: Vec<&Entry> = entries.iter().filter(is_network).collect();
    let mut chosen = Vec::new();
    for address in wanted {
        if let Some(entry) = exact.get(&address) {
            chosen.push(*entry);
            continue;
        }
        let around = networks
            .iter()
            .find(|entry| !address.negated && entry.net.contains(&address.net));
        if let Some(around) = around {
            let around = Address::from(*around);
            return Err(Refusal::new(
                RefusalKind::Impossible,
                format!("{address} is not an entry of {table} of its own: it is blocked as part of {around}."),
            )
            .hint(format!("Free the whole network: kmsctl virusprot delete {around}")));
        }
    }
    Ok(chosen)
}

fn nothing(all: usize, choice: &TableChoice, table: &str) -> String {
    match choice {
        _ if all == 0 => format!("Nothing to do: {table} is empty."),
        TableChoice::All => format!("Nothing to do: {table} is empty."),
        TableChoice::OlderThan(_) => {
            format!("Nothing to do: none of the {all} entries of {table} is that old.")
        }
        TableChoice::Addresses(addresses) => {
            let names: Vec<String> = addresses.iter().map(Address::to_string).collect();
            let verb = if names.len() == 1 { "is" } else { "are" };
            format!("Nothing to do: {} {verb} not in {table}.", named(&names))
        }
    }
}

/// Returns those that were asked for and are not there.
fn missing(choice: &TableChoice, planned: &[PlannedEntry]) -> Vec<String> {
    let TableChoice::Addresses(addresses) = choice else {
        return Vec::new();
    };
    let there: std::collections::HashSet<Address> =
        planned.iter().map(|entry| entry.address).collect();
    let missing = addresses.iter().filter(|address| !there.contains(address));
    missing.map(Address::to_string).collect()
}

fn risks(table: &str, missing: &[String]) -> Vec<Risk> {
    let mut risks = vec![
        Risk::new(
            "comes-back",
            "A source that goes on as before will be blocked again by the caps, within a minute.",
        ),
        Risk::new(
            "shared-table",
            format!(
                "{table} is shared by every rule with a rate cap: an entry need not come from this service, and freeing it opens every port to it."
            ),
        ),
    ];
    if !missing.is_empty() {
        let verb = if missing.len() == 1 { "is" } else { "are" };
        risks.push(Risk::new(
            "not-blocked",
            format!("{} {verb} not in {table}.", named(missing)),
        ));
    }
    risks
}
