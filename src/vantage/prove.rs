//! `kmsctl verify --external`: tries the service from every vantage, in parallel, reads the firewall before and
//! after over one held shell, and has both ends judged. No rules in here.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::join_in_order;
use super::one;
use super::one::{Prepared, Times};
use super::resolver;
use crate::app::situation::QUESTIONS;
use crate::app::{Context, Session, answer_or_warning, require_answer, work_or_interrupt};
use crate::domain::address::is_private;
use crate::domain::exposure::Exposure;
use crate::domain::pfsense::configured::Configured;
use crate::domain::reachability::external;
use crate::domain::reachability::external::{
    EvidenceSide, Expected, FirewallEvidence, Judgement, PublicNames, Resolved,
};
use crate::domain::reachability::finding::Finding;
use crate::domain::reachability::path;
use crate::domain::reachability::whole::judge_whole;
use crate::domain::warning::Warning;
use crate::error::{Failure, FailureKind, Result};
use crate::pfsense::questions::{Answer, FactError, Question, Reader, Reading};
use crate::settings::target::Target;
use crate::settings::vantages::Vantage;
use crate::text::format_span;

/// The whole run; what has not begun an attempt by then is inconclusive.
const WHOLE: Duration = Duration::from_secs(15);
/// What is left of it for the last attempt, its answer and the second reading.
const TAIL: Duration = Duration::from_secs(4);
/// What is left of that for the second reading.
const READING: Duration = Duration::from_secs(1);
/// How long the system's resolver may take.
const RESOLVE: Duration = Duration::from_secs(2);
#[derive(Clone, Debug, Default)]
pub struct ProofRequest {
    pub from: Vec<String>,
    /// What should be true; `None` is what the firewall's configuration says.
    pub expect: Option<Expected>,
}

#[derive(Debug)]
pub struct Proof {
    pub judgement: Judgement,
    /// What the firewall's rules say about the exposure.
    pub whole: Finding,
    pub end: FirewallEvidence,
    pub names: PublicNames,
    /// Where was connected to, if that was known.
    pub target: Option<SocketAddr>,
    /// The firewall's second reading.
    pub reading: Reading,
    pub warnings: Vec<Warning>,
    /// Set when no vantage could be used: why the first could not.
    pub trouble: Option<Failure>,
}

/// The questions whose answers both readings need. What is configured is asked once, while the vantages try: pfSense's
/// PHP takes as long as all the others together, and no packet waits for it so.
fn proof_questions() -> Vec<Question> {
    let others = [
        Question::Client,
        Question::Interfaces,
        Question::Gateway,
        Question::Table,
        Question::States(None),
    ];
    QUESTIONS
        .iter()
        .filter(|question| **question != Question::Configured)
        .cloned()
        .chain(others)
        .collect()
}

/// Refuses, before anything is done, what names no vantage.
pub fn check_vantages(context: &Context, from: &[String]) -> Result<()> {
    choose_vantages(&context.vantages(), from).map(drop)
}

/// Waits until a vantage may connect as often as the proof of a closing takes, with a countdown; Ctrl-C ends it.
pub async fn wait_for_budget(context: &Context, from: &[String]) -> Result<()> {
    const SECOND: Duration = Duration::from_secs(1);
    let vantages = context.vantages();
    let chosen = choose_vantages(&vantages, from)?;
    let Some(seconds) = one::budget_seconds(context, &chosen, Expected::Closed) else {
        return Ok(());
    };
    let terminal = context.terminal;
    terminal.say(&format!(
        "It is closed already: pf lets nothing in to the service. The proof from outside begins in {}: a vantage connects at most five times a minute, lest the firewall's caps block it.",
        format_span(seconds)
    ));
    let words =
        |left: u64| format!("Closed already; {} until the proof from outside …", format_span(left));
    let spinner = terminal.spinner(&words(seconds));
    for left in (1..=seconds).rev() {
        spinner.set_message(&words(left));
        context.pause(SECOND).await?;
    }
    spinner.finish_and_clear();
    Ok(())
}

/// Refuses the proof of an opening that no vantage has connections left for, before the opening.
pub fn check_opening_budget(context: &Context, from: &[String]) -> Result<()> {
    let vantages = context.vantages();
    match one::budget_seconds(context, &choose_vantages(&vantages, from)?, Expected::Open) {
        None => Ok(()),
        Some(seconds) => Err(Failure::new(
            FailureKind::Conflict,
            format!("Nothing was changed: no vantage may connect as often as the proof takes before {} have passed.", format_span(seconds)),
        )
        .hint("A vantage connects at most five times a minute, lest the firewall's caps block it.")
        .hint("If it cannot wait, make the change without --verify, and prove it afterwards: `kmsctl verify --external`")),
    }
}

/// Tries the service from outside and judges.
pub async fn prove_from_outside(context: &Context, request: &ProofRequest) -> Result<Proof> {
    check_vantages(context, &request.from)?;
    if context.demo {
        // Its host outside is there once the firewall is.
        let mut session = context.connect().await?;
        let proof = Box::pin(prove_over(context, &mut session, request)).await;
        let closed = session.close().await;
        return proof.and_then(|proof| closed.map(|()| proof));
    }
    let vantages = context.vantages();
    let run = Run::new(context, choose_vantages(&vantages, &request.from)?);
    let near = async {
        let mut session = context.connect().await?;
        match first_reading(context, &mut session).await {
            Ok((survey, before)) => Ok((session, survey, before)),
            Err(failure) => {
                session.close().await?;
                Err(failure)
            }
        }
    };
    let both = async { tokio::join!(near, run.far(None)) };
    let (near, far) = Box::pin(work_or_interrupt(both)).await?;
    let (mut session, survey, before) = near?;
    let proof = run.tried(request, &mut session, (survey, before), far).await;
    let closed = session.close().await;
    proof.and_then(|proof| closed.map(|()| proof))
}

/// Tries the service from outside and judges, over a connection to the firewall that is open already.
pub async fn prove_over(
    context: &Context,
    session: &mut Session,
    request: &ProofRequest,
) -> Result<Proof> {
    let vantages = context.vantages();
    let run = Run::new(context, choose_vantages(&vantages, &request.from)?);
    let outside = context.outside(session).await?;
    let simulated = outside.as_ref().map(|(target, _)| target);
    let both = async { tokio::join!(first_reading(context, session), run.far(simulated)) };
    let (near, far) = Box::pin(work_or_interrupt(both)).await?;
    run.tried(request, session, near?, far).await
}

struct Run<'a> {
    context: &'a Context,
    chosen: Vec<&'a Vantage>,
    times: Times,
}

/// The vantages, logged in to, and what this machine's resolver answers about the public name.
struct Far {
    prepared: Vec<Prepared>,
    /// `None` on the demo, which sends nothing anywhere: there its vantage's answers count.
    resolved: Option<Resolved>,
}

impl<'a> Run<'a> {
    fn new(context: &'a Context, chosen: Vec<&'a Vantage>) -> Self {
        let now = Instant::now();
        Self {
            context,
            chosen,
            times: Times { deadline: now + WHOLE - TAIL, end: now + WHOLE - READING },
        }
    }

    /// Logs in to every vantage and asks for the name, at once. `simulated` is where the demo's vantage is.
    async fn far(&self, simulated: Option<&Target>) -> Far {
        let context = self.context;
        let preparing =
            self.chosen.iter().map(|vantage| one::prepare_vantage(context, vantage, simulated));
        let here = async {
            let host = &context.settings.service.host;
            if context.demo || host.is_empty() { None } else { Some(system_resolve(host).await) }
        };
        let (prepared, resolved) = tokio::join!(join_in_order(preparing.collect()), here);
        Far { prepared, resolved }
    }

    /// Asks what is configured; no longer than the vantages may try.
    async fn configured(&self, session: &mut Session) -> Answer<Configured> {
        let asked = self.context.ask_over(session, &[Question::Configured]);
        match timeout_at(self.times.end, asked).await {
            Ok(Ok(reading)) => reading.configured,
            Ok(Err(_)) | Err(_) => Err(FactError::NotAsked),
        }
    }

    /// Tries, reads the firewall once more, and judges.
    async fn tried(
        &self,
        request: &ProofRequest,
        session: &mut Session,
        (mut survey, mut before): (Reader, Reading),
        far: Far,
    ) -> Result<Proof> {
        let context = self.context;
        let names = names_of(context, &before, far.resolved, &far.prepared);
        let target = names
            .target_address()
            .map(|address| SocketAddr::new(address, context.settings.service.port));
        let here =
            one::Here { direct: session.is_direct(), private_answer: names.private_answer() };
        let spinner = context.terminal.spinner("Trying from outside …");
        let trying = self.chosen.iter().zip(&far.prepared).map(|(vantage, prepared)| {
            one::try_out(context, vantage, prepared, &before, target, here, self.times)
        });
        let both =
            async { tokio::join!(join_in_order(trying.collect()), self.configured(session)) };
        let both = work_or_interrupt(both).await;
        spinner.finish_and_clear();
        let (observations, configured) = both?;
        let observations = observations.concat();
        let trouble = one::all_in_trouble(&self.chosen, &far.prepared);
        let farewell = far.prepared.into_iter().map(Prepared::close).collect();
        let (reading, _) =
            tokio::join!(context.within_time(survey.read()), join_in_order(farewell));
        survey.close().await;
        let mut reading = reading?;
        let mut warnings = Vec::new();
        // Both sides are judged by the same configuration, so that they differ only where pf does.
        before.configured = configured;
        let exposure = context.situation(&before).exposure();
        let exposure = exposure.map_err(Failure::without_verdict)?.clone();
        reading.configured = std::mem::replace(&mut before.configured, Err(FactError::NotAsked));
        let situation = context.situation(&reading);
        let after = situation.exposure().map_err(Failure::without_verdict)?;
        warnings.extend(situation.warnings());
        // A vantage that is blocked and not known to be proves nothing wrong: closed takes a control, which a block
        // would shut out as well.
        answer_or_warning(&reading.table, "Whether a vantage is blocked", &mut warnings);
        let end = compare_readings(context, (&before, &exposure), (&reading, after))
            .map_err(Failure::without_verdict)?;
        let whole = judge_whole(after, request.expect);
        let expected = request.expect.or_else(|| path::Expected::of(after));
        let judgement = external::judge(&observations, &end, &names, expected);
        Ok(Proof {
            judgement: judgement.beside_rules(&whole),
            whole,
            end,
            names,
            target,
            reading,
            warnings,
            trouble,
        })
    }
}

/// Collects what is known about the public name.
fn names_of(
    context: &Context,
    before: &Reading,
    resolved: Option<Resolved>,
    prepared: &[Prepared],
) -> PublicNames {
    let answers = prepared.iter().flat_map(Prepared::name_answers).cloned();
    PublicNames {
        host: context.settings.service.host.clone(),
        expected: context.public_address().or_else(|| outside_address(before)),
        resolved: resolved.into_iter().chain(answers).collect(),
    }
}

async fn first_reading(context: &Context, session: &mut Session) -> Result<(Reader, Reading)> {
    let questions = proof_questions();
    let work = async {
        let mut survey = context.survey(session, &questions).await?;
        let reading = survey.read().await?;
        Ok::<_, Failure>((survey, reading))
    };
    context.within_time(Box::pin(work)).await
}

fn compare_readings(
    context: &Context,
    (before, exposure_before): (&Reading, &Exposure),
    (after, exposure_after): (&Reading, &Exposure),
) -> Result<FirewallEvidence> {
    fn side<'a>(reading: &'a Reading, exposure: &'a Exposure) -> Result<EvidenceSide<'a>> {
        Ok(EvidenceSide {
            exposure,
            filter: require_answer(&reading.rules)?,
            states: require_answer(&reading.states)?,
            table: reading.table.as_deref().ok(),
        })
    }
    let before = side(before, exposure_before)?;
    let after = side(after, exposure_after)?;
    Ok(FirewallEvidence::between_readings(before, after, &context.settings.service))
}

/// Returns the vantages to use, or says how to get one.
fn choose_vantages<'a>(vantages: &'a [Vantage], from: &[String]) -> Result<Vec<&'a Vantage>> {
    if vantages.is_empty() {
        return Err(Failure::usage("No vantage is configured: there is no place outside to try from.")
            .hint("Any SSH login outside will do: [vantages.vps] with host = \"vps.example.net\"; nothing is installed there.")
            .hint("A public check service: [vantages.public] with kind = \"check-host\"; it learns the address and port.")
            .hint("This machine on another line, such as a phone's: [vantages.tether] with kind = \"local\"."));
    }
    if from.is_empty() {
        return Ok(vantages.iter().collect());
    }
    let mut names: Vec<&String> = Vec::new();
    for name in from {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
        .into_iter()
        .map(|name| {
            vantages.iter().find(|vantage| vantage.name == *name).ok_or_else(|| {
                let names: Vec<&str> =
                    vantages.iter().map(|vantage| vantage.name.as_str()).collect();
                Failure::usage(format!("There is no vantage `{name}`."))
                    .hint(format!("There are: {}.", names.join(", ")))
            })
        })
        .collect()
}

/// Returns the firewall's own outside address, where it is a public one.
fn outside_address(reading: &Reading) -> Option<IpAddr> {
    let gateway = reading.gateway?;
    reading
        .interfaces
        .iter()
        .find(|own| own.net.contains(&gateway))
        .map(|own| own.net.addr())
        .filter(|address| !is_private(address))
}

async fn system_resolve(host: &str) -> Resolved {
    Resolved {
        by: "this machine's resolver".to_owned(),
        from_outside: false,
        answer: resolver::look_up(host, RESOLVE).await,
    }
}
