//! Whether a plan that comes out of a file says what it does. Anybody can write such a file, digest and all: what it tells
//! the operator, and asks of him, is compared with what its operation comes to on this firewall, planned once more.

use super::{
    Address, Confirm, Difference, Draft, Operation, Past, Plan, Planned, PlannedEntry, Present,
    Refusal, RefusalKind, SavedRecords, StatesChoice, TableChoice, Terms, apply, free, kill,
    ratelimit, restore, revoke, undo,
};
use crate::domain::history::HistoryEntry;
use crate::domain::pf::table::Entry as TableEntry;
use crate::domain::pfsense::change::{ConfigurationEdit, Records};
use crate::domain::ratelimit::Caps;

/// The shortest time after which a change may revert, in seconds: the firewall looks at its clock once a minute.
pub const SHORTEST: u64 = 60;
/// The longest.
pub const LONGEST: u64 = 30 * 86_400;

/// Where the records and addresses of a plan may come from: never from the plan's file.
#[derive(Clone, Copy, Debug, Default)]
pub struct Origins<'a> {
    /// The change that the plan takes back, as the history has it.
    pub undone: Option<&'a HistoryEntry>,
    /// What the last deletion of the service's rules took away.
    pub saved: Option<&'a SavedRecords>,
}

/// Compares what a plan tells with what its operation changes in the configuration. Returns the plan as it is to be
/// shown and asked: in the words of the operation, and with the risks that it leaves out.
pub fn configuration(
    plan: &Plan,
    present: &Present<'_>,
    origins: Origins<'_>,
) -> Result<Draft, Refusal> {
    let draft = &plan.change;
    let Operation::Configuration {
        change,
        with_pending,
        end_connections: ends,
    } = &draft.operation
    else {
        return Ok(draft.clone());
    };
    let terms = Terms {
        with_pending: *with_pending,
        reverts_after: draft.reverts_after,
    };
    let derived = match change {
        ConfigurationEdit::Caps { max_src_conn, rate } => {
            let caps = Caps {
                max_src_conn: *max_src_conn,
                rate: *rate,
            };
            ratelimit(present, &super::WantedCaps { caps, preset: None }, terms)
        }
        ConfigurationEdit::Disable => revoke(present, false, *ends, terms),
        ConfigurationEdit::Delete => revoke(present, true, *ends, terms),
        ConfigurationEdit::Enable => restore(present, None, Caps::default(), terms),
        ConfigurationEdit::Build {
            max_src_conn,
            rate,
            alias,
            ..
        } => {
            let caps = Caps {
                max_src_conn: *max_src_conn,
                rate: *rate,
            };
            if *alias {
                apply(present, caps, terms)
            } else {
                restore(present, None, caps, terms)
            }
        }
        ConfigurationEdit::PutBack { records, .. } => match &draft.undoes {
            Some(id) => undo(known(id, origins)?, &Past::Configuration(*present, terms)),
            None if **records == Records::default() => revoke(present, false, *ends, terms),
            None => restore(present, origins.saved, Caps::default(), terms),
        },
    };
    match derived? {
        Planned::NothingToDo(sentence) => Err(stale(&sentence)),
        Planned::Change(derived) if derived.operation != draft.operation => {
            Err(untrue("here another operation would be planned"))
        }
        Planned::Change(derived) => {
            same(draft, &derived)?;
            Ok(in_words_of(draft.clone(), *derived))
        }
    }
}

/// Returns the change that a plan takes back. What this history does not have cannot be compared with the plan.
fn known<'a>(id: &str, origins: Origins<'a>) -> Result<&'a HistoryEntry, Refusal> {
    origins.undone.ok_or_else(|| {
        Refusal::new(
            RefusalKind::Conflict,
            format!(
                "The plan takes back {id:?}, which is not in the history here; nothing was changed."
            ),
        )
        .hint("Make the plan where the history has it: kmsctl undo ID --plan-out FILE")
    })
}

/// Compares what a plan tells with the entries of the table that it frees or blocks: only those of the service's table,
/// and only what a change of the history freed is blocked again.
pub fn entries(
    plan: &Plan,
    (now, operator): (&[TableEntry], Option<std::net::IpAddr>),
    service: &crate::domain::service::Service,
    origins: Origins<'_>,
) -> Result<Draft, Refusal> {
    let draft = &plan.change;
    let Some((table, planned)) = table_of(&draft.operation) else {
        return Ok(draft.clone());
    };
    if *table != service.table {
        return Err(foreign(&format!(
            "is of another table than {}",
            service.table.as_str()
        )));
    }
    let (adds, wanted) = (
        matches!(draft.operation, Operation::TableAdd { .. }),
        addresses(planned),
    );
    let derived = match &draft.undoes {
        Some(id) => undo(known(id, origins)?, &Past::Table(now, operator))?,
        None if adds => return Err(foreign("blocks what a change of the history did not free")),
        None => {
            let choice = TableChoice::Addresses(wanted.clone());
            free(now, &choice, table, plan.made_at)?
        }
    };
    let derived = match derived {
        Planned::NothingToDo(sentence) => return Err(stale(&sentence)),
        Planned::Change(derived) => *derived,
    };
    let found = table_of(&derived.operation);
    let same_kind = matches!(derived.operation, Operation::TableAdd { .. }) == adds;
    if !same_kind || found.is_none_or(|(_, found)| addresses(found) != wanted) {
        let why = if adds {
            "blocks other addresses than those that it may block again: it names what the change did not free, or leaves some out"
        } else {
            "frees other addresses than those of the table"
        };
        return Err(foreign(why));
    }
    Ok(emptying(in_words_of(draft.clone(), derived), now.len()))
}

fn table_of(
    operation: &Operation,
) -> Option<(&crate::domain::pf::table::TableName, &[PlannedEntry])> {
    match operation {
        Operation::TableDelete { table, entries } | Operation::TableAdd { table, entries } => {
            Some((table, entries))
        }
        _ => None,
    }
}

fn addresses(entries: &[PlannedEntry]) -> Vec<Address> {
    let mut addresses: Vec<Address> = entries.iter().map(|entry| entry.address).collect();
    addresses.sort_unstable();
    addresses
}

/// Compares what a plan tells with the states that it ends. `labels` are those of the exposure's loaded rule.
pub fn states(plan: &Plan, live: &super::Live<'_>, labels: Vec<String>) -> Result<Draft, Refusal> {
    let Operation::StatesKill { clients, .. } = &plan.change.operation else {
        return Ok(plan.change.clone());
    };
    let choice = if clients.is_empty() {
        StatesChoice::All
    } else {
        StatesChoice::Clients(clients.clone())
    };
    let derived = match kill(live, labels, &choice)? {
        Planned::NothingToDo(sentence) => return Err(stale(&sentence)),
        Planned::Change(derived) => *derived,
    };
    if ended(&plan.change.operation) != ended(&derived.operation) {
        return Err(untrue("it ends others than those states"));
    }
    same(&plan.change, &derived)?;
    Ok(in_words_of(plan.change.clone(), derived))
}

/// States by id and creator.
type Ids = Vec<(u64, u32)>;

/// Returns which states are ended: all that tells them apart, but not their ages.
fn ended(operation: &Operation) -> Option<(&[String], Ids)> {
    let Operation::StatesKill { labels, states, .. } = operation else {
        return None;
    };
    let mut ids: Ids = states.iter().map(|one| (one.id, one.creator)).collect();
    ids.sort_unstable();
    Some((labels, ids))
}

/// Compares what a plan tells with its own operation, where that is enough; and when it reverts.
pub fn itself(draft: &Draft) -> Result<(), Refusal> {
    let told = |field: &str| {
        let found = draft.differences.iter().find(|one| one.field == field);
        let count = |value: &serde_json::Value| value.as_u64();
        found.and_then(|one| Some((count(&one.before)?, count(&one.after)?)))
    };
    let fields = |names: &[&str]| {
        let fields = draft.differences.iter().map(|one| one.field.as_str());
        fields.eq(names.iter().copied())
    };
    let fits = match &draft.operation {
        Operation::TableDelete { entries, .. } => {
            fields(&["blocked"])
                && told("blocked").is_some_and(|(before, after)| {
                    before.checked_sub(after) == Some(entries.len() as u64)
                })
        }
        Operation::TableAdd { entries, .. } => {
            fields(&["blocked"])
                && told("blocked").is_some_and(|(before, after)| {
                    after.checked_sub(before) == Some(entries.len() as u64)
                })
        }
        Operation::Keep { .. } => fields(&["reverts_at"]),
        Operation::Clean { paths } => {
            let names: Vec<&str> = paths.iter().map(String::as_str).collect();
            fields(&names)
        }
        Operation::StatesKill { .. } | Operation::Configuration { .. } => true,
    };
    if !fits {
        return Err(untrue("its differences are not those of its operation"));
    }
    let Some(after) = draft.reverts_after else {
        return Ok(());
    };
    if !matches!(draft.operation, Operation::Configuration { .. }) {
        return Err(untrue("what it changes does not revert by itself"));
    }
    if (SHORTEST..=LONGEST).contains(&after) {
        Ok(())
    } else {
        Err(untrue(
            "it would revert after less than 1m or more than 30d",
        ))
    }
}

/// Asks for the word where every entry of the table goes, however the plan came to be.
fn emptying(mut draft: Draft, entries: usize) -> Draft {
    if let Operation::TableDelete { entries: gone, .. } = &draft.operation
        && gone.len() == entries
        && entries > 1
    {
        draft.confirm = Confirm::Word("flush".to_owned());
    }
    draft
}

fn same(plan: &Draft, derived: &Draft) -> Result<(), Refusal> {
    // How many are connected changes from one moment to the next, and is told again when they are ended.
    let fields = |draft: &Draft| -> Vec<Difference> {
        let kept = draft.differences.iter();
        kept.filter(|one| one.field != "connections")
            .cloned()
            .collect()
    };
    let (told, found) = (fields(plan), fields(derived));
    let wanted = |differences: &[Difference]| -> Vec<(String, serde_json::Value)> {
        let pairs = differences.iter();
        pairs
            .map(|one| (one.field.clone(), one.after.clone()))
            .collect()
    };
    if wanted(&told) != wanted(&found) {
        return Err(untrue("its differences are not those of its operation"));
    }
    if plan.confirm != derived.confirm {
        return Err(untrue("it asks for less, or for another word"));
    }
    if told != found {
        return Err(stale("What it changes is not any more what it was."));
    }
    Ok(())
}

/// Gives a plan the words of its operation, and the risks that it leaves out. The words of its file are not shown.
fn in_words_of(mut draft: Draft, derived: Draft) -> Draft {
    for risk in derived.risks {
        if draft.risks.iter().all(|known| known.code != risk.code) {
            draft.risks.push(risk);
        }
    }
    Draft {
        what: derived.what,
        checks: derived.checks,
        undo: derived.undo,
        ..draft
    }
}

fn foreign(why: &str) -> Refusal {
    Refusal::new(
        RefusalKind::Conflict,
        format!("The plan {why}; nothing was changed."),
    )
    .hint("Make a new plan with --plan-out.")
}

fn untrue(why: &str) -> Refusal {
    Refusal::new(
        RefusalKind::Usage,
        format!("The plan does not say what it does ({why}); nothing was changed."),
    )
    .hint("Make a new plan with --plan-out.")
}

fn stale(why: &str) -> Refusal {
    Refusal::new(
        RefusalKind::Conflict,
        format!("The plan is stale; nothing was changed. {why}"),
    )
    .hint("Make a new plan.")
}
