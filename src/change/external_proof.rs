//! Proves a change from outside (`--verify`), after pf's own proof and before kmsctl says that it is done. Whatever
//! comes of it, the change stays as it is: taking back a closing would open the service, and a temporary change has its
//! rollback armed on the firewall.

use super::Execution;
use crate::app::{Context, Session};
use crate::domain::history::{EndedAs, ExternalOutcome, Finish};
use crate::domain::reachability::external::{Expected, Row, Verdict};
use crate::error::{Failure, FailureKind, Result};
use crate::terminal::{Human, Tone};
use crate::vantage::prove;
use crate::vantage::prove::ProofRequest;

#[derive(Clone, Debug)]
pub struct ExternalProof {
    from: Vec<String>,
    expected: Expected,
}

impl ExternalProof {
    /// Asks for a proof by these vantages, or by every one.
    pub fn new(from: &[String], expected: Expected) -> Self {
        Self { from: from.to_vec(), expected }
    }

    /// Refuses what names no vantage, or none that may connect often enough now, before anything is changed. A dry run
    /// connects to none.
    pub(super) fn check_vantages(&self, context: &Context) -> Result<()> {
        prove::check_vantages(context, &self.from)
    }

    /// Refuses the proof of an opening that no vantage has connections left for, once it is known to which box they would
    /// be made. A closing is made at once, and its proof waits.
    pub(super) fn check_opening_budget(&self, context: &Context) -> Result<()> {
        match self.expected {
            Expected::Open => prove::check_opening_budget(context, &self.from),
            Expected::Closed => Ok(()),
        }
    }

    pub(super) fn check_sentence(&self, context: &Context) -> String {
        match self.expected {
            Expected::Open if !context.settings.service.speaks_kms => {
                "From outside, a connection opens.".to_owned()
            }
            Expected::Open => "From outside, a KMS server answers.".to_owned(),
            Expected::Closed => "From outside, no connection opens.".to_owned(),
        }
    }

    fn as_word(&self) -> &'static str {
        self.expected.name()
    }
}

/// Tries from outside after a change was carried out and proven by pf. Its ending is not `done` any more where that
/// speaks against it, or proves nothing.
pub(super) async fn prove_externally(
    context: &Context,
    session: &mut Session,
    wanted: &ExternalProof,
    carried: &mut Execution,
) {
    let (outside, failure) =
        look_from_outside(context, session, wanted, FailureKind::Unproven).await;
    if outside.as_expected {
        let words = carried.finish.message.trim_end_matches('.');
        carried.finish.message = format!("{words}; from outside it is {}.", wanted.as_word());
    } else {
        carried.finish.ended = EndedAs::Unverified;
        carried.finish.message = unproven_message(wanted, &outside);
    }
    if let Some(failure) = failure {
        carried.failure = Some(rollback_note(failure, &carried.finish));
    }
    carried.finish.outside = Some(Box::new(outside));
}

/// Tries from outside where the firewall was as wanted already.
pub(super) async fn prove_nothing_to_do(
    context: &Context,
    session: &mut Session,
    wanted: &ExternalProof,
) -> (ExternalOutcome, Option<Failure>) {
    look_from_outside(context, session, wanted, FailureKind::No).await
}

/// Tries, and makes a failure of `against` of what speaks against it.
async fn look_from_outside(
    context: &Context,
    session: &mut Session,
    wanted: &ExternalProof,
    against: FailureKind,
) -> (ExternalOutcome, Option<Failure>) {
    let request = ProofRequest { from: wanted.from.clone(), expect: Some(wanted.expected) };
    let proving = async {
        if wanted.expected == Expected::Closed {
            prove::wait_for_budget(context, &wanted.from).await?;
        }
        prove::prove_over(context, session, &request).await
    };
    let proof = match Box::pin(proving).await {
        Ok(proof) => proof,
        Err(failure) => {
            let outside = ExternalOutcome::not_tried(wanted.expected, &failure.message);
            let kind = match failure.kind {
                FailureKind::Interrupted => FailureKind::Interrupted,
                _ => FailureKind::Inconclusive,
            };
            let mut unproven = Failure::new(kind, unproven_message(wanted, &outside));
            unproven.hints = failure.hints;
            return (outside, Some(try_again_hint(unproven, wanted)));
        }
    };
    let outside = ExternalOutcome::new(&proof.judgement, wanted.expected, proof.target, &proof.end);
    context.terminal.warn(&proof.judgement.findings);
    if outside.as_expected {
        return (outside, None);
    }
    if outside.verdict == Verdict::Inconclusive {
        let mut unproven =
            Failure::new(FailureKind::Inconclusive, unproven_message(wanted, &outside));
        unproven.hints = proof.trouble.map_or_else(Vec::new, |trouble| trouble.hints);
        return (outside, Some(try_again_hint(unproven, wanted)));
    }
    let unproven = Failure::new(against, unproven_message(wanted, &outside));
    let rows: Vec<Row> = proof.judgement.vantages.iter().filter_map(|seen| seen.row).collect();
    let unproven = what_to_do(unproven, wanted, &outside, &rows);
    (outside, Some(unproven))
}

/// Says what the firewall has proven, and what the outside has not.
fn unproven_message(wanted: &ExternalProof, outside: &ExternalOutcome) -> String {
    let here = match wanted.expected {
        Expected::Open => "The firewall lets connections in",
        Expected::Closed => "The firewall's rules let no client in",
    };
    if outside.verdict == Verdict::Inconclusive {
        let why = outside.summary.strip_prefix("inconclusive: ");
        return format!(
            "{here}; that it is {} from outside is not proven: {}.",
            wanted.as_word(),
            why.unwrap_or(&outside.summary)
        );
    }
    let target =
        outside.target.map_or_else(|| "the service".to_owned(), |target| target.to_string());
    format!("{here}, but from outside {target} is {}.", outside.summary)
}

fn try_again_hint(failure: Failure, wanted: &ExternalProof) -> Failure {
    failure.hint(format!(
        "Nothing was taken back. Try again: `kmsctl verify --external --expect {}`",
        wanted.as_word()
    ))
}

/// Says where to look, by what both ends saw.
fn what_to_do(
    failure: Failure,
    wanted: &ExternalProof,
    outside: &ExternalOutcome,
    rows: &[Row],
) -> Failure {
    match wanted.expected {
        Expected::Closed if outside.verdict == Verdict::Open => {
            let open = outside.vantages.iter().filter(|one| one.verdict == Verdict::Open);
            let through = outside.firewall.as_ref().and_then(|end| {
                open.filter_map(|one| one.address).find(|address| end.sources.contains_key(address))
            });
            let where_to_look = match through {
                Some(source) => format!(
                    "The service is still OPEN: the firewall passed a connection of {source}. Which rule let it in: `kmsctl states --source {source}`; `kmsctl expose show`"
                ),
                None => "The service is still OPEN. Look for another rule or another way: `kmsctl expose show`"
                    .to_owned(),
            };
            failure.hint(where_to_look).hint(
                "Until that is found, disable the rule in pfSense, or take the server down: kmsctl has changed its own two rules and nothing else.",
            )
        }
        Expected::Closed => failure.hint("Look at the rules: `kmsctl expose show`"),
        Expected::Open if rows.contains(&Row::NobodyListens) => failure.hint(
            "The firewall forwards; the server is the matter. Look hop by hop: `kmsctl verify`",
        ),
        Expected::Open => failure.hint("Look hop by hop: `kmsctl verify`"),
    }
}

/// Says that a temporary change still has its rollback.
pub(super) fn rollback_note(failure: Failure, finish: &Finish) -> Failure {
    let at = finish
        .outcome
        .as_ref()
        .and_then(|outcome| outcome.reverts_at)
        .and_then(|at| jiff::Timestamp::from_second(at).ok());
    match at {
        Some(at) => failure.hint(format!(
            "The rollback stays armed: the firewall takes the change back by itself at {at}."
        )),
        None => failure,
    }
}

/// Adds what was seen from outside, and what the firewall saw of it.
pub fn show_external_proof(human: &mut Human, outside: &ExternalOutcome) {
    let tone = match (outside.verdict, outside.as_expected) {
        (_, true) => Tone::Good,
        (Verdict::Inconclusive, _) => Tone::Warning,
        (_, false) => Tone::Bad,
    };
    human.field("Outside", &outside.summary, tone);
    for (name, saw) in outside.end_lines() {
        human.field(&format!("  {name}"), saw, Tone::Plain);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::history::Witness;
    use crate::domain::reachability::external::FirewallEvidence;

    #[test]
    fn still_open_names_the_vantage_that_got_in() {
        let witness = |address: &str, verdict| Witness {
            name: address.to_owned(),
            address: address.parse().ok(),
            verdict,
            port: None,
            why: String::new(),
        };
        let sources = ["198.51.100.5", "198.51.100.10"]
            .map(|address| (address.parse().unwrap(), "x".to_owned()));
        let outside = ExternalOutcome {
            verdict: Verdict::Open,
            expected: Expected::Closed,
            as_expected: false,
            summary: "open".to_owned(),
            target: None,
            vantages: vec![
                witness("198.51.100.5", Verdict::Inconclusive),
                witness("198.51.100.10", Verdict::Open),
            ],
            firewall: Some(FirewallEvidence {
                sources: sources.into(),
                ..FirewallEvidence::default()
            }),
        };
        let wanted = ExternalProof::new(&[], Expected::Closed);
        let failure = Failure::new(FailureKind::Unproven, "x");
        let words = what_to_do(failure, &wanted, &outside, &[]).hints.join(" ");
        assert!(words.contains("states --source 198.51.100.10`;"), "{words}");
    }
}
