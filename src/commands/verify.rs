//! `kmsctl verify`: the path of a connection, hop by hop, as it can be judged from inside; `--external` proves from
//! outside ([`crate::domain::reachability::external`]). Reads only; to the server it says the first word of its protocol
//! and no more.

use clap::{Args as ClapArgs, ValueEnum};
use serde::Serialize;

use crate::app::{Context, work_or_interrupt};
use crate::domain::exposure::Exposure;
use crate::domain::reachability::doctor::{LOGIN, backup_finding};
use crate::domain::reachability::finding::{CheckResult, Finding};
use crate::domain::reachability::path;
use crate::domain::reachability::path::{
    Evidence, Expected, Judgement, Known, Trouble, Verdict, Wan,
};
use crate::domain::reachability::whole::judge_whole;
use crate::error::{Failure, FailureKind, Result};
use crate::pfsense::questions::{Answer, FactError, Question, Reading};
use crate::terminal::{Human, Tone, View};

mod external_view;

/// Arguments of `kmsctl verify`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Prove it from outside instead, from every configured vantage
    #[arg(long)]
    external: bool,
    /// Use this vantage only; may be given more than once
    #[arg(long, value_name = "VANTAGE", requires = "external")]
    from: Vec<String>,
    /// What it should be; without it, a whole exposure: open with its caps, or closed on purpose
    #[arg(long, value_name = "STATE", value_enum)]
    expect: Option<Expect>,
}

/// Words of `--expect`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Expect {
    /// Clients outside get in, and each source is capped
    Open,
    /// No path of any kind leads in
    Closed,
}

/// Fails where the rules of an exposure are not as expected, with [`FailureKind::No`], or do not say, with
/// [`FailureKind::Inconclusive`]. Nothing is probed.
pub fn judge_expected(exposure: &Exposure, expect: Expect) -> Result<()> {
    let expected = Expected::from(expect);
    let whole = judge_whole(exposure, Some(expected));
    let (kind, sentence) = match whole.result {
        CheckResult::Ok | CheckResult::Skipped => return Ok(()),
        CheckResult::Wrong => (FailureKind::No, "Not as expected"),
        CheckResult::Unknown => (FailureKind::Inconclusive, "Not known"),
    };
    let message = format!("{sentence} ({}): {}", expected.name(), whole.evidence);
    let mut failure = Failure::new(kind, message);
    failure.hints.extend(whole.fix);
    Err(failure)
}

impl From<Expect> for Expected {
    fn from(expect: Expect) -> Self {
        match expect {
            Expect::Open => Self::Open,
            Expect::Closed => Self::Closed,
        }
    }
}

const QUESTIONS: &[Question] = &[
    Question::Rules,
    Question::Translation,
    Question::Info,
    Question::AliasTable,
    Question::Table,
    Question::Configured,
    Question::Interfaces,
];

/// `data` of the schema `verify`.
#[derive(Serialize)]
struct Verified<'a> {
    verdict: Verdict,
    expected: Option<Expected>,
    as_expected: Option<bool>,
    hops: &'a [Finding],
    /// Filled by tries from outside.
    vantages: [(); 0],
}

/// Runs `kmsctl verify`.
pub async fn run_verify(context: &Context, arguments: &Args) -> Result<()> {
    if arguments.external {
        let request = crate::vantage::prove::ProofRequest {
            from: arguments.from.clone(),
            expect: arguments.expect.map(Expected::from),
        };
        return Box::pin(prove_externally(context, &request)).await;
    }
    // The inside asks the cluster as well, which takes its own time.
    let both = async {
        tokio::join!(context.read(QUESTIONS), crate::vantage::inside::gather_inside(context))
    };
    let (read, inside) = Box::pin(work_or_interrupt(both)).await?;
    let read = match read {
        Err(failure) if matches!(failure.kind, FailureKind::Interrupted | FailureKind::Usage) => {
            return Err(failure);
        }
        read => read,
    };
    let situation = read.as_ref().map(|reading| (reading, context.situation(reading)));
    let unread = |failure: &Failure| trouble_of_failure(failure).follows(LOGIN);
    let exposure =
        situation.as_ref().map_err(|failure| unread(failure)).and_then(|(reading, situation)| {
            let exposure = situation.exposure();
            exposure.map_err(|failure| unseen_exposure(reading, &failure))
        });
    let warnings =
        situation.as_ref().map_or_else(|_| Vec::new(), |(_, situation)| situation.warnings());
    let evidence = Evidence {
        service: &context.settings.service,
        address_named: context.names_service_address(),
        names: &context.settings.cluster.names,
        public_address: context.public_address(),
        resolutions: &inside.resolutions,
        exposure: exposure.clone(),
        table: read.as_ref().map_err(unread).and_then(count_entries),
        wan: read.as_ref().map_err(unread).and_then(find_wan),
        cluster: inside.cluster.as_ref(),
        connection: &inside.connection,
        answer: inside.answer,
    };
    let mut judgement = path::judge(&evidence, arguments.expect.map(Expected::from));
    // The path by this node may be whole, and is not the one that clients take.
    let backup = read.as_ref().ok().and_then(|reading| backup_finding(&reading.carp));
    judgement.hops.extend(backup.map(|found| Finding { result: CheckResult::Unknown, ..found }));
    let mut view = verify_view(context, &read, &judgement)?;
    view.warnings.extend(warnings);
    context.terminal.show(&view)?;
    // The hops that need no firewall were worth showing; without it there is still no verdict.
    read.map(drop)?;
    conclude_verdict(&judgement)
}

/// Runs `kmsctl verify --external`. Fails with [`FailureKind::No`] when it is not as expected, with [`FailureKind::Inconclusive`]
/// when nothing is proven, and as unreachable when no vantage could be used; the report is shown in any case.
async fn prove_externally(
    context: &Context,
    request: &crate::vantage::prove::ProofRequest,
) -> Result<()> {
    let proof = Box::pin(crate::vantage::prove::prove_from_outside(context, request)).await?;
    context.terminal.show(&external_view::external_view(context, &proof)?)?;
    let crate::vantage::prove::Proof { judgement, trouble, whole, .. } = proof;
    // A finding proven from loaded rules goes before a probe that proves nothing.
    if whole.result == CheckResult::Wrong {
        // The report on the same screen has the finding and its fix.
        if context.terminal.shows_people() {
            return Err(Failure::new(FailureKind::No, "It is not as expected."));
        }
        let mut failure =
            Failure::new(FailureKind::No, format!("Not as expected: {}", whole.evidence));
        failure.hints.extend(whole.fix);
        return Err(failure);
    }
    let unproven = Failure::new(FailureKind::Inconclusive, "Nothing is proven.");
    match (trouble, judgement.verdict, judgement.expected) {
        (Some(trouble), ..) => Err(trouble),
        (None, Verdict::Inconclusive, _) => Err(unproven),
        (None, _, Some(expected)) => match judgement.as_expected {
            Some(true) => Ok(()),
            Some(false) => Err(Failure::new(
                FailureKind::No,
                format!("It is not {} as expected.", expected.name()),
            )
            .hint("Look where it breaks: `kmsctl verify`")),
            None => Err(unproven.hint(whole.evidence)),
        },
        (None, _, None) => Err(Failure::new(
            FailureKind::Inconclusive,
            "What it should be is not known, as the firewall's configuration was not read.",
        )
        .hint("Say it yourself: --expect open, or --expect closed.")),
    }
}

fn verify_view(context: &Context, read: &Result<Reading>, judgement: &Judgement) -> Result<View> {
    let data = Verified {
        verdict: judgement.verdict,
        expected: judgement.expected,
        as_expected: judgement.as_expected,
        hops: &judgement.hops,
        vantages: [],
    };
    let mut view = match read {
        Ok(reading) => context.view("verify", reading, &data)?,
        Err(_) => View::new("verify", context.clock.now(), &data)?,
    };
    view.firewall = Some(context.firewall_name().to_owned());
    view.items = Some(("hops", COLUMNS));
    view.human.field("Verdict", verdict_sentence(judgement), verdict_tone(judgement));
    view.human.gap();
    for_people(&mut view.human, &judgement.hops, read.as_ref().err());
    Ok(view)
}

pub const COLUMNS: &[&str] = &["check", "result", "evidence", "fix"];

/// Adds findings for people: what was found, and below it what to do. What is wrong comes first; what one cause explains, or
/// keeps from being seen, is one line with the number of checks below that cause. `failure` is why the firewall was not read, which
/// is said elsewhere.
pub fn for_people(human: &mut Human, findings: &[Finding], failure: Option<&Failure>) {
    let mut sorted: Vec<(&Finding, Option<Cause<'_>>)> =
        findings.iter().map(|finding| (finding, cause_of(finding, findings, failure))).collect();
    let place_of = |check: &str| findings.iter().position(|other| other.check == check);
    sorted.sort_by_key(|(finding, cause)| match (cause, finding.result) {
        (Some(Cause::Check(leader)), _) => (0, place_of(leader), true),
        (_, CheckResult::Wrong) => (0, place_of(finding.check), false),
        (_, CheckResult::Unknown) => (1, None, false),
        (_, CheckResult::Ok | CheckResult::Skipped) => (2, None, false),
    });
    let mut fixes: Vec<&Finding> = Vec::new();
    for (place, (finding, cause)) in sorted.iter().enumerate() {
        let is_same = |(other, its): &&(&Finding, Option<Cause<'_>>)| {
            cause.is_some() && (other.result, its) == (finding.result, cause)
        };
        if sorted.iter().take(place).any(|other| is_same(&other)) {
            continue;
        }
        let checks: Vec<&str> =
            sorted.iter().filter(is_same).map(|(other, _)| other.check).collect();
        let many = checks.len() > 1;
        let label =
            if many { format!("{} checks", checks.len()) } else { finding.check.to_owned() };
        let why = match cause {
            Some(Cause::Check(_)) => "For the same reason.",
            Some(Cause::Failure) => "The firewall was not read.",
            Some(Cause::Same(..)) | None => finding.evidence.as_str(),
        };
        let evidence = if many {
            format!("{} ({}).", why.trim_end_matches('.'), checks.join(", "))
        } else {
            why.to_owned()
        };
        let (word, tone) = match finding.result {
            CheckResult::Ok => ("ok", Tone::Good),
            CheckResult::Wrong => ("WRONG", Tone::Bad),
            CheckResult::Unknown => ("unknown", Tone::Warning),
            CheckResult::Skipped => ("skipped", Tone::Plain),
        };
        human.field(&label, format!("{word:<9}{evidence}"), tone);
        let is_said = matches!(cause, Some(Cause::Check(_) | Cause::Failure));
        let Some(fix) = finding.fix.as_ref().filter(|_| !is_said) else {
            continue;
        };
        let first = fixes.iter().find(|other| other.fix.as_ref() == Some(fix));
        let fix =
            first.map_or_else(|| fix.clone(), |first| format!("The same as for {}.", first.check));
        human.field("", format!("Fix: {fix}"), Tone::Plain);
        fixes.push(finding);
    }
}

/// What several checks have in common.
#[derive(PartialEq)]
enum Cause<'a> {
    /// This check is wrong.
    Check(&'static str),
    /// The firewall was not read.
    Failure,
    /// None that is known: what says the same is one line.
    Same(&'a str, Option<&'a str>),
}

/// Finds what a finding follows from, where it is none of its own.
fn cause_of<'a>(
    finding: &'a Finding,
    findings: &[Finding],
    failure: Option<&Failure>,
) -> Option<Cause<'a>> {
    let wrong = findings.iter().filter(|other| other.result == CheckResult::Wrong);
    let leader = wrong.map(|other| other.check).find(|check| finding.follows == Some(check));
    let is_seen = matches!(finding.result, CheckResult::Ok | CheckResult::Wrong);
    match leader {
        Some(check) => Some(Cause::Check(check)),
        None if is_seen => None,
        None if failure.is_some() && finding.follows == Some(LOGIN) => Some(Cause::Failure),
        None => Some(Cause::Same(&finding.evidence, finding.fix.as_deref())),
    }
}

/// Finds the outside interface's addresses; its name is known from the configuration alone.
pub fn find_wan(reading: &Reading) -> Known<Wan> {
    let configured = reading.configured.as_ref().map_err(|error| {
        Trouble::new(format!("which interface is outside is not known, as {error}")).follows("php")
    })?;
    let device = configured.interface.as_ref().and_then(|interface| interface.device.as_deref());
    let device = device
        .ok_or_else(|| Trouble::new("the interface is not configured (service.interface)"))?;
    let wan = Wan::of_device(device, &reading.interfaces);
    if reading.interfaces.is_empty() {
        return Err(Trouble::new("the firewall did not report its addresses"));
    }
    Ok(wan)
}

/// Turns a failure into the reason of a finding.
pub fn trouble_of_failure(failure: &Failure) -> Trouble {
    Trouble {
        why: failure.message.trim_end_matches('.').to_owned(),
        fix: failure.hints.first().cloned(),
        fault: false,
        follows: None,
    }
}

/// Returns the fact, or the reason of a finding.
pub fn known_fact<T>(fact: &Answer<T>) -> Known<&T> {
    fact.as_ref().map_err(|error| Trouble {
        why: error.to_string(),
        fix: Failure::from(error).hints.into_iter().next(),
        fault: error.is_fault(),
        follows: None,
    })
}

/// The same of a fact that cannot be had where this check is wrong.
pub fn known_beside<'a, T>(fact: &'a Answer<T>, check: &'static str) -> Known<&'a T> {
    known_fact(fact).map_err(|trouble| if trouble.fault { trouble.follows(check) } else { trouble })
}

/// Says why the exposure cannot be judged.
pub fn unseen_exposure(reading: &Reading, failure: &Failure) -> Trouble {
    let rules = known_beside(&reading.rules, "pf").map(drop);
    let reason = rules.and_then(|()| known_beside(&reading.translation, "pf").map(drop));
    reason.err().unwrap_or_else(|| trouble_of_failure(failure))
}

/// Counts the overload table; that it does not exist is an answer, too.
pub fn count_entries(reading: &Reading) -> Known<Option<u64>> {
    match &reading.table {
        Err(FactError::NoTable { .. }) => Ok(None),
        table => known_beside(table, "pf").map(|entries| Some(entries.len() as u64)),
    }
}

fn verdict_sentence(judgement: &Judgement) -> String {
    let verdict = match judgement.verdict {
        Verdict::Open => "open: pf lets connections in, and the server behind it answers",
        Verdict::Closed => "closed: pf lets nothing in to the service",
        Verdict::Inconclusive => "inconclusive: the hops below say what is missing",
    };
    // What is proven leaves nothing open.
    let is_proven =
        judgement.verdict == Verdict::Inconclusive && judgement.as_expected == Some(false);
    let expected = match (judgement.expected, judgement.as_expected) {
        (Some(expected), Some(true)) => format!("as expected ({})", expected.name()),
        (Some(expected), Some(false)) if expected.name() == judgement.verdict.name() => {
            format!("expected: {}, but a hop is wrong", expected.name())
        }
        (Some(expected), Some(false)) => format!("not as expected ({})", expected.name()),
        (Some(expected), None) => format!("expected: {}", expected.name()),
        (None, Some(false)) => {
            "not as expected (open with its caps, or closed on purpose)".to_owned()
        }
        (None, _) => "what to expect is not known".to_owned(),
    };
    match leading_checks(judgement).as_slice() {
        [] => format!("{verdict}; {expected}. Seen from inside."),
        [check] if is_proven => format!("{expected}: {check} is wrong. Seen from inside."),
        checks if is_proven => {
            format!("{expected}: {} are wrong. Seen from inside.", checks.join(", "))
        }
        _ => format!("{verdict}; {expected}. Seen from inside."),
    }
}

fn verdict_tone(judgement: &Judgement) -> Tone {
    match judgement.as_expected {
        Some(true) => Tone::Good,
        Some(false) => Tone::Bad,
        None => Tone::Warning,
    }
}

/// Names what is wrong by itself.
fn leading_checks(judgement: &Judgement) -> Vec<&'static str> {
    let wrong = judgement.hops.iter().filter(|hop| hop.result == CheckResult::Wrong);
    let is_led =
        |hop: &&Finding| matches!(cause_of(hop, &judgement.hops, None), Some(Cause::Check(_)));
    wrong.filter(|hop| !is_led(hop)).map(|hop| hop.check).collect()
}

fn conclude_verdict(judgement: &Judgement) -> Result<()> {
    match judgement.as_expected {
        Some(true) => Ok(()),
        Some(false) => {
            let names = leading_checks(judgement);
            let which = if names.is_empty() {
                String::new()
            } else {
                format!(" Wrong: {}.", names.join(", "))
            };
            Err(Failure::new(FailureKind::No, format!("The path is not as expected.{which}")))
        }
        None => Err(Failure::new(FailureKind::Inconclusive, "The evidence allows no verdict.")),
    }
}
