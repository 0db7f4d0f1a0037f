//! Rules on a pair of nodes (`firewall.peer`): they are changed on the CARP primary alone, which hands them on by itself some
//! seconds later. A change is done once the other node holds and runs the same; nothing is ever changed there.

use std::time::{Duration, Instant};

use super::{Execution, disproof, external_proof};
use crate::app::{Context, Session};
use crate::domain::exposure::{Exposure, Part};
use crate::domain::history::EndedAs;
use crate::domain::pfsense::freebsd::CarpRole;
use crate::domain::plan::{Draft, Operation, Risk};
use crate::error::{Failure, FailureKind, Result};
use crate::pfsense::questions::{FactError, Question, Reading};

/// What is asked of the other node.
const LOOK: &[Question] = &[
    Question::Rules,
    Question::Translation,
    Question::Info,
    Question::AliasTable,
    Question::Configured,
];
/// How long is waited between two looks at it.
const BETWEEN: Duration = Duration::from_secs(2);

/// Returns the questions, and where the firewall is a node of a pair the one for its role. Of changes, those of the rules alone
/// ask for the alias's table.
pub(super) fn with_role(context: &Context, questions: &[Question]) -> Vec<Question> {
    let mut questions = questions.to_vec();
    let is_paired = context.settings.firewall.peer.is_some();
    let is_about_rules = questions.iter().any(|asked| *asked.itself() == Question::AliasTable);
    if is_paired && is_about_rules && !questions.contains(&Question::Interfaces) {
        questions.push(Question::Interfaces);
    }
    questions
}

pub(super) fn is_wanted(context: &Context, draft: &Draft) -> bool {
    context.settings.firewall.peer.is_some()
        && matches!(draft.operation, Operation::Configuration { .. })
}

/// Refuses a change of rules on a node that is not the primary, and says in the plan what the other node proves and what a
/// failover leaves behind. Where it is not clear which node is the primary, as after a failover, this one is closed all the same.
pub(super) fn plan_for_pair(
    context: &Context,
    reading: &Reading,
    command: &str,
    draft: &mut Draft,
) -> Result<()> {
    let Some(peer) = context.settings.firewall.peer.as_deref() else {
        return Ok(());
    };
    if !is_wanted(context, draft) {
        return Ok(());
    }
    draft.risks.retain(|risk| risk.code != "ha-sync");
    match unclear_primary(context, peer, reading) {
        Some(sentence) if draft.operation.only_closes() => {
            let message = format!("{sentence} What {peer} runs may stay open.");
            draft.risks.insert(0, Risk::new("ha-sync", message));
        }
        _ => check_primary(context, peer, reading, command)?,
    }
    draft.checks.push(format!("The other node, {peer}, holds and runs the same rules."));
    if draft.reverts_after.is_some() {
        let own = context.layers.chosen_context().unwrap_or_default();
        draft.risks.push(Risk::new(
            "failover",
            format!("The rollback timer lives on {own}: a failover leaves it behind, and while {own} is down the rules of {peer} stay as changed."),
        ));
    }
    Ok(())
}

/// Refuses unless this node is the primary and hands its rules on.
fn check_primary(context: &Context, peer: &str, reading: &Reading, command: &str) -> Result<()> {
    let own = context.layers.chosen_context().unwrap_or_default();
    let refused = |sentence: String| {
        Failure::new(FailureKind::Conflict, format!("{sentence} Nothing was changed."))
    };
    if CarpRole::of_groups(&reading.carp) == CarpRole::Backup {
        return Err(refused(format!(
            "{own} is the CARP backup: rules are changed on the primary, which hands them on."
        ))
        .hint(format!("kmsctl --context {peer} {command}")));
    }
    let Some(sentence) = unclear_primary(context, peer, reading) else {
        return Ok(());
    };
    let both = |command: &str| {
        [own, peer].map(|name| format!("`kmsctl --context {name} --alone {command}`")).join("; ")
    };
    Err(refused(sentence)
        .hint(format!("Look at both: {}", both("doctor --problems")))
        .hint(format!("Or change each node by itself: {}", both(command))))
}

/// Says why it is not clear that the other node gets this one's rules, unless this one is the backup.
fn unclear_primary(context: &Context, peer: &str, reading: &Reading) -> Option<String> {
    let own = context.layers.chosen_context().unwrap_or_default();
    let hands_on = reading.configured.as_ref().is_ok_and(|configured| configured.ha_peer);
    match CarpRole::of_groups(&reading.carp) {
        CarpRole::Backup => None,
        CarpRole::Primary if hands_on => None,
        CarpRole::Primary => Some(format!(
            "{own} is the CARP primary and has no other firewall to hand its rules to (System > High Availability)."
        )),
        CarpRole::Unclear => Some(format!(
            "{own} and {peer} are a pair, and it is not clear that {own} is the CARP primary, where rules are changed."
        )),
    }
}

/// Waits for the other node after a change was carried out and proven on the primary. Its ending is not `done` any more where
/// the other does not hold and run the same in time; nothing is taken back.
pub(super) async fn prove_on_peer(context: &Context, session: &Session, carried: &mut Execution) {
    let (Some(peer), Some(reading)) =
        (context.settings.firewall.peer.as_deref(), carried.reading.as_ref())
    else {
        return;
    };
    match Box::pin(wait_for_peer(context, peer, session, reading)).await {
        Ok(()) => {
            let words = carried.finish.message.trim_end_matches('.');
            carried.finish.message = format!("{words}; {peer} holds and runs the same.");
        }
        Err(failure) => {
            carried.finish.ended = EndedAs::Unverified;
            carried.finish.message.clone_from(&failure.message);
            carried.failure = Some(external_proof::rollback_note(failure, &carried.finish));
        }
    }
}

/// Looks at the other node where the primary is as wanted already.
pub(super) async fn prove_nothing_to_do(
    context: &Context,
    session: &Session,
    reading: &Reading,
    command: &str,
    acts: bool,
) -> Result<()> {
    let Some(peer) = context.settings.firewall.peer.as_deref() else {
        return Ok(());
    };
    if matches!(reading.alias_table, Err(FactError::NotAsked)) {
        return Ok(());
    }
    check_primary(context, peer, reading, command)?;
    if acts { Box::pin(wait_for_peer(context, peer, session, reading)).await } else { Ok(()) }
}

/// Waits until the other node holds and runs what the primary does.
async fn wait_for_peer(
    context: &Context,
    peer: &str,
    session: &Session,
    reading: &Reading,
) -> Result<()> {
    let own = context.layers.chosen_context().unwrap_or_default();
    let waiting = async {
        let primary = context.situation(reading).proven_exposure();
        let primary = primary.map_err(Failure::failed)?;
        let mut node = context.in_context(peer)?;
        node.settings.timeout = context.settings.timeout;
        let mut other = node.connect().await?;
        let waited = if session.identity() == other.identity() {
            Err(Failure::failed("both contexts lead to one box, which is no pair."))
        } else {
            let waits = format!("Waiting until {peer} has the rules …");
            let spinner = context.terminal.spinner(&waits);
            let compared = compare_until_same(&node, &mut other, primary).await;
            spinner.finish_and_clear();
            compared
        };
        let closed = other.close().await;
        waited.and(closed)
    };
    waiting.await.map_err(|failure: Failure| {
        let kind = match failure.kind {
            FailureKind::Interrupted => FailureKind::Interrupted,
            _ => FailureKind::Unproven,
        };
        let message =
            format!("{own} is as wanted, and {peer} not, or not provably: {}", failure.message);
        let mut unproven = Failure::new(kind, message);
        unproven.hints = failure.hints;
        let look = format!("`kmsctl --context {peer} --alone expose show`");
        unproven.hint(format!("See what {peer} has: {look}")).hint(format!(
            "{own} sends its rules again by Status > Filter Reload > Force Config Sync in its GUI."
        ))
    })
}

/// Looks at the other node until it is the same or the time is over, and says then what differs.
async fn compare_until_same(
    node: &Context,
    session: &mut Session,
    primary: &Exposure,
) -> Result<()> {
    let begun = Instant::now();
    loop {
        let reading = node.ask_over(session, LOOK).await?;
        let differs = match node.situation(&reading).proven_exposure() {
            Ok(other) => find_difference(primary, other)
                .or_else(|| disproof::of_alias(other, &reading.alias_table)),
            Err(why) => Some(why),
        };
        let Some(differs) = differs else {
            return Ok(());
        };
        if begun.elapsed() + BETWEEN >= node.settings.timeout {
            return Err(Failure::failed(differs));
        }
        node.pause(BETWEEN).await?;
    }
}

/// Says in what the other node differs from the primary; names and counters are each node's own.
fn find_difference(primary: &Exposure, other: &Exposure) -> Option<String> {
    let place = |part: &Part| (part.configured, part.enabled, part.loaded);
    let members = |exposure: &Exposure| {
        let mut members = exposure.alias.addresses.clone();
        members.sort_unstable();
        members
    };
    if primary.state != other.state {
        return Some(format!("its exposure is {} and not {}.", other.state, primary.state));
    }
    let differs = [
        ("caps", primary.caps != other.caps),
        ("port forward", place(&primary.nat) != place(&other.nat)),
        ("filter rule", place(&primary.filter) != place(&other.filter)),
        ("alias", members(primary) != members(other)),
    ];
    let (name, _) = differs.into_iter().find(|(_, differs)| *differs)?;
    Some(format!(
        "there the {name} differ{} from the primary's.",
        if name == "caps" { "" } else { "s" }
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::exposure::fixtures::{
        block_table, configured, default_deny, pass, rdr, service,
    };
    use crate::domain::exposure::{AliasTable, CapsView, Loaded, State, judge};

    #[test]
    fn each_half_of_a_sync_is_missed() {
        let filter = [default_deny(), block_table(), pass()];
        let loaded = Loaded {
            filter: &filter,
            nat: &[rdr()],
            enabled: true,
            alias_table: AliasTable::Unasked,
        };
        let primary = judge(Some(&configured()), loaded, &service());
        assert_eq!(find_difference(&primary, &primary), None);
        let changed = |change: fn(&mut Exposure)| {
            let mut other = primary.clone();
            change(&mut other);
            find_difference(&primary, &other).unwrap_or_default()
        };
        for (change, named) in [
            ((|other| other.state = State::Half) as fn(&mut Exposure), "half"),
            (|other| other.caps = CapsView::default(), "the caps differ "),
            (|other| other.nat.enabled = Some(false), "port forward"),
            (|other| other.filter.loaded = false, "filter rule"),
            (|other| other.alias.addresses.clear(), "alias"),
        ] {
            let differs = changed(change);
            assert!(differs.contains(named), "{named}: {differs}");
        }
        let counted = changed(|other| other.nat.counters = None);
        assert_eq!(counted, "", "counters are each node's own");
    }
}
