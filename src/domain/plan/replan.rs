//! Plans the operation of a plan that comes out of a file once more. Anybody can write such a file, digest and all: what
//! the operator is shown and asked, and what is written, is computed from the operation, the firewall as it is and the
//! history; the file's own words, addresses and records are compared with that and never used.

use std::collections::HashSet;

use jiff::Timestamp;

use super::{
    Address, ChangeOptions, Difference, Draft, Live, Operation, Past, Plan, PlanBasis, Planned,
    PlannedEntry, Refusal, RefusalKind, SavedRecords, SourceCounts, StatesChoice, TableChoice,
    WantedCaps, block, caps_of_preset, plan_apply, plan_caps, plan_cleaning, plan_freeing,
    plan_keep, plan_kill, plan_restore, plan_revoke, plan_undo,
};
use crate::domain::history::HistoryEntry;
use crate::domain::pf::table::Entry as TableEntry;
use crate::domain::pfsense::change::{ChangeOutcome, ConfigurationEdit, Records};
use crate::domain::pfsense::leftovers::Leftover;
use crate::domain::ratelimit::{Caps, Preset, preset_of};
use crate::domain::service::Service;
use crate::domain::virusprot::entries::Surroundings;
use crate::text::quoted;

/// The shortest time after which a change may revert, in seconds: the firewall looks at its clock once a minute.
pub const SHORTEST: u64 = 60;
pub const LONGEST: u64 = 30 * 86_400;

/// What an operation is planned from once more.
#[derive(Clone, Debug)]
pub enum Ground<'a> {
    /// The table's entries, what lies around the firewall, whose table it is, and what becomes of pf's counts.
    Table(&'a [TableEntry], &'a Surroundings, &'a Service, &'a SourceCounts),
    /// The service's states, and the labels of the exposure's loaded rule.
    States(Live<'a>, Vec<String>),
    Configuration(PlanBasis<'a>, &'a [Preset]),
    /// What kmsctl has left behind on the firewall, and the firewall's time.
    Leftovers(&'a [Leftover], Timestamp),
}

/// Where the records and addresses of a plan may come from: never from the plan's file.
#[derive(Clone, Copy, Debug, Default)]
pub struct Origins<'a> {
    /// The change that the plan takes back, or keeps, as the history has it.
    pub known: Option<&'a HistoryEntry>,
    /// What the firewall keeps of the change that the plan takes back.
    pub stored: Option<&'a ChangeOutcome>,
    /// What the last deletion of the service's rules took away.
    pub saved: Option<&'a SavedRecords>,
}

/// Plans the operation once more: what it is now. See [`check_same_change`].
pub fn plan_again(plan: &Plan, ground: Ground<'_>, origins: Origins<'_>) -> Result<Draft, Refusal> {
    let draft = &plan.change;
    let planned = match (&draft.operation, ground) {
        (
            Operation::TableDelete { table, entries, .. } | Operation::TableAdd { table, entries },
            Ground::Table(now, around, service, counts),
        ) => {
            if *table != service.table {
                let name = service.table.as_str();
                return Err(untrue(&format!("it is of another table than {name}")));
            }
            match (&draft.undoes, &draft.operation) {
                (Some(id), _) => {
                    let past = Past::Table(now, around.operator);
                    plan_undo(known(id, draft, origins)?, &past)
                }
                (None, Operation::TableAdd { .. }) => {
                    block(now, &addresses(entries), table, around)
                }
                (None, operation) => {
                    let forgets = matches!(operation, Operation::TableDelete { forget, .. } if !forget.is_empty());
                    let counts = if forgets { counts } else { &SourceCounts::Kept };
                    plan_freeing(now, &chosen(entries, now), table, plan.made_at, counts)
                }
            }
        }
        (Operation::StatesKill { clients, .. }, Ground::States(live, labels)) => {
            plan_kill(&live, labels, &StatesChoice::of_clients(clients))
        }
        (Operation::Configuration { .. }, Ground::Configuration(present, presets)) => {
            check_revert(draft)?;
            edit_again(draft, &present, presets, origins)
        }
        (Operation::Keep { id, until }, Ground::Configuration(present, _)) => {
            plan_keep(id.as_str(), *until, origins.known, &present)
        }
        (Operation::Clean { paths }, Ground::Leftovers(leftovers, now)) => {
            let planned = |file: &&Leftover| !file.stale || paths.contains(&file.path);
            let leftovers: Vec<Leftover> = leftovers.iter().filter(planned).cloned().collect();
            Ok(plan_cleaning(&leftovers, now))
        }
        _ => Err(untrue("the firewall was not read for its operation")),
    };
    // What a command line would be refused for as wrongly typed is no usage here: the file is not what was planned.
    let planned = planned.map_err(|refusal| match refusal.kind {
        RefusalKind::Usage => untrue(&refusal.message),
        RefusalKind::Impossible | RefusalKind::Conflict => refusal,
    });
    match planned? {
        Planned::NothingToDo(sentence) => Err(stale(&sentence)),
        Planned::Change(derived) => Ok(*derived),
    }
}

/// Returns which entries are meant: all, where the plan names every one.
fn chosen(entries: &[PlannedEntry], now: &[TableEntry]) -> TableChoice {
    let addresses = addresses(entries);
    let planned: HashSet<Address> = addresses.iter().copied().collect();
    let all = now.len() > 1 && now.iter().all(|entry| planned.contains(&entry.into()));
    if all { TableChoice::All } else { TableChoice::Addresses(addresses) }
}

fn edit_again(
    draft: &Draft,
    present: &PlanBasis<'_>,
    presets: &[Preset],
    origins: Origins<'_>,
) -> Result<Planned, Refusal> {
    let Operation::Configuration { change, with_pending, end_connections: ends } = &draft.operation
    else {
        return Err(untrue("it does not change the configuration"));
    };
    // What the consent of a plan covers is in its differences, which are compared.
    let terms = ChangeOptions {
        with_pending: *with_pending,
        urgent: *with_pending,
        reverts_after: draft.reverts_after,
    };
    let default = || caps_of_preset(presets, "default");
    match change {
        ConfigurationEdit::Caps { max_src_conn, rate } => {
            let caps = Caps { max_src_conn: *max_src_conn, rate: *rate };
            let preset = preset_of(presets, caps).map(|preset| preset.name.clone());
            plan_caps(present, &WantedCaps { caps, preset }, terms)
        }
        ConfigurationEdit::Disable
        | ConfigurationEdit::DisableForward
        | ConfigurationEdit::DisableFilter => plan_revoke(present, false, *ends, terms),
        ConfigurationEdit::Delete => plan_revoke(present, true, *ends, terms),
        ConfigurationEdit::Build { alias: true, .. } => plan_apply(present, default()?, terms),
        ConfigurationEdit::PutBack { records, .. } => match &draft.undoes {
            Some(id) => {
                let past = Past::Configuration(*present, terms, origins.stored);
                plan_undo(known(id, draft, origins)?, &past)
            }
            None if **records == Records::default() => plan_revoke(present, false, *ends, terms),
            None => plan_restore(present, origins.saved, default()?, terms),
        },
        ConfigurationEdit::Enable | ConfigurationEdit::Build { alias: false, .. } => {
            plan_restore(present, origins.saved, default()?, terms)
        }
    }
}

/// Returns the change that a plan takes back. What this history does not have cannot be compared with the plan.
fn known<'a>(id: &str, draft: &Draft, origins: Origins<'a>) -> Result<&'a HistoryEntry, Refusal> {
    let entry = origins.known.ok_or_else(|| {
        Refusal::new(
            RefusalKind::Conflict,
            format!(
                "The plan takes back {}, which is not in the history here; nothing was changed.",
                quoted(id)
            ),
        )
        .hint("Make the plan where the history has it: `kmsctl undo ID --plan-out FILE`")
    })?;
    let edits = |draft: &Draft| matches!(draft.operation, Operation::Configuration { .. });
    if edits(draft) == edits(&entry.plan.change) {
        Ok(entry)
    } else {
        Err(untrue("it takes back another change than it says"))
    }
}

fn check_revert(draft: &Draft) -> Result<(), Refusal> {
    let allowed = |after: u64| (SHORTEST..=LONGEST).contains(&after);
    if draft.reverts_after.is_none_or(allowed) {
        return Ok(());
    }
    Err(untrue("it would revert after less than 1m or more than 30d"))
}

/// Refuses a plan whose operation, or what it says to differ, is not what was planned once more; all else that it says is
/// not looked at.
pub fn check_same_change(plan: &Plan, derived: &Draft) -> Result<(), Refusal> {
    let draft = &plan.change;
    if draft.undoes != derived.undoes {
        return Err(untrue("it takes back another change than it says"));
    }
    if let Some(why) = other_operation(&draft.operation, &derived.operation) {
        return Err(untrue(why));
    }
    if draft.reverts_after.is_some()
        && !matches!(derived.operation, Operation::Configuration { .. })
    {
        return Err(untrue("what it changes does not revert by itself"));
    }
    let counts_only = !matches!(derived.operation, Operation::Configuration { .. });
    if steps_of(draft, counts_only) != steps_of(derived, counts_only) {
        return Err(untrue("its differences are not those of its operation"));
    }
    if !counts_only && !fields_of(draft).eq(fields_of(derived)) {
        return Err(stale("What it changes is not any more what it was."));
    }
    Ok(())
}

/// Says how two operations differ, but for what passes by itself: the ages of entries and states.
fn other_operation(planned: &Operation, derived: &Operation) -> Option<&'static str> {
    match (planned, derived) {
        (
            Operation::TableDelete { entries, .. },
            Operation::TableDelete { entries: now, .. },
        ) => (addresses(entries) != addresses(now))
            .then_some("it frees other addresses than those of the table"),
        (Operation::TableAdd { entries, .. }, Operation::TableAdd { entries: now, .. }) => {
            (addresses(entries) != addresses(now)).then_some(
                "it blocks other addresses than those that it may block again: it names what the change did not free, or leaves some out",
            )
        }
        (Operation::TableAdd { .. }, _) => {
            Some("it blocks what a change of the history did not free")
        }
        (
            Operation::StatesKill { labels, states, .. },
            Operation::StatesKill {
                labels: now_labels,
                states: now_states,
                ..
            },
        ) => {
            let ids = |states: &[super::PlannedState]| -> std::collections::BTreeSet<(u64, u32)> {
                states.iter().map(|state| (state.id, state.creator)).collect()
            };
            (labels != now_labels || ids(states) != ids(now_states))
                .then_some("it ends others than those states")
        }
        _ => (planned != derived).then_some("here another operation would be planned"),
    }
}

fn addresses(entries: &[PlannedEntry]) -> Vec<Address> {
    let mut addresses: Vec<Address> = entries.iter().map(|entry| entry.address).collect();
    addresses.sort_unstable();
    addresses
}

/// How many are connected changes from one moment to the next, and is shown as it is now.
fn fields_of(draft: &Draft) -> impl Iterator<Item = &Difference> {
    let kept = draft.differences.iter();
    kept.filter(|one| one.field != "connections")
}

/// Returns what each difference comes down to: its end; of counts, which move meanwhile, by how much they change.
fn steps_of(draft: &Draft, counts_only: bool) -> Vec<(&str, serde_json::Value)> {
    let step = |one: &Difference| match (one.before.as_i64(), one.after.as_i64()) {
        (Some(before), Some(after)) if counts_only => before.saturating_sub(after).into(),
        _ => one.after.clone(),
    };
    fields_of(draft).map(|one| (one.field.as_str(), step(one))).collect()
}

fn untrue(why: &str) -> Refusal {
    Refusal::new(
        RefusalKind::Conflict,
        format!("The plan does not say what it does ({why}); nothing was changed."),
    )
    .hint("Make a new plan with --plan-out.")
}

fn stale(why: &str) -> Refusal {
    Refusal::new(RefusalKind::Conflict, format!("The plan is stale; nothing was changed. {why}"))
        .hint("Make a new plan.")
}
