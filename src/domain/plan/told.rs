//! Whether a plan that comes out of a file says what it does. Anybody can write such a file, digest and all: what it tells
//! the operator, and asks of him, is compared with what its operation comes to on this firewall, planned once more.

use super::{
    Confirm, Difference, Draft, Operation, Plan, Planned, Present, Refusal, RefusalKind, Risk,
    StatesChoice, Terms, apply, kill, ratelimit, restore, revoke,
};
use crate::domain::change::{Change, Placed, Records};
use crate::domain::ratelimit::Caps;

/// The shortest time after which a change may revert, in seconds: the firewall looks at its clock once a minute.
pub const SHORTEST: u64 = 60;
/// The longest.
pub const LONGEST: u64 = 30 * 86_400;

/// Compares what a plan tells with what its operation changes in the configuration. Returns the plan as it is to be
/// shown and asked: with the risks that it leaves out, and the word that it should have asked for.
pub fn configuration(plan: &Plan, present: &Present<'_>) -> Result<Draft, Refusal> {
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
        Change::Caps { max_src_conn, rate } => {
            let caps = Caps {
                max_src_conn: *max_src_conn,
                rate: *rate,
            };
            ratelimit(present, &super::Wanted { caps, preset: None }, terms)
        }
        Change::Disable => revoke(present, false, *ends, terms),
        Change::Delete => revoke(present, true, *ends, terms),
        Change::Enable => restore(present, None, Caps::default(), terms),
        Change::Build {
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
        Change::PutBack { records, .. } => return put_back(draft, records, present),
    };
    match derived? {
        Planned::NothingToDo(sentence) => Err(stale(&sentence)),
        Planned::Change(derived) if derived.operation != draft.operation => {
            Err(untrue("here another operation would be planned"))
        }
        Planned::Change(derived) => {
            same(draft, &derived)?;
            Ok(with_risks(draft.clone(), &derived.risks))
        }
    }
}

/// Compares what a plan tells with the states that it ends. `labels` are those of the exposure's loaded rule.
pub fn states(plan: &Plan, live: &super::Live<'_>, labels: Vec<String>) -> Result<(), Refusal> {
    let Operation::StatesKill { clients, .. } = &plan.change.operation else {
        return Ok(());
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
    same(&plan.change, &derived)
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
pub fn emptying(mut draft: Draft, entries: usize) -> Draft {
    if let Operation::TableDelete { entries: gone, .. } = &draft.operation
        && gone.len() == entries
        && entries > 1
    {
        draft.confirm = Confirm::Word("flush".to_owned());
    }
    draft
}

/// Records that come back say themselves whether they open the exposure.
fn put_back(draft: &Draft, records: &Records, present: &Present<'_>) -> Result<Draft, Refusal> {
    let opens = open(records);
    let turned = draft.turns_exposure();
    if turned.is_some_and(|(_, after)| after.lets_in() != opens) {
        return Err(untrue("the records it puts back open or close otherwise"));
    }
    let mut draft = draft.clone();
    if present.exposure.state.lets_in() && !opens {
        draft.confirm = Confirm::Word("revoke".to_owned());
    }
    Ok(draft)
}

fn open(records: &Records) -> bool {
    let enabled = |placed: &Placed| !placed.record.has("disabled");
    let passes = |nat: &Placed| nat.record.text("associated-rule-id") == Some("pass");
    let nat = records.nat.as_ref().filter(|nat| enabled(nat));
    nat.is_some_and(|nat| passes(nat) || records.filter.as_ref().is_some_and(enabled))
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

fn with_risks(mut draft: Draft, derived: &[Risk]) -> Draft {
    for risk in derived {
        if draft.risks.iter().all(|known| known.code != risk.code) {
            draft.risks.push(risk.clone());
        }
    }
    draft
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
