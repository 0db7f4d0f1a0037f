//! `kmsctl doctor`: every assumption kmsctl makes, checked at once, each with its fix. One thing that cannot be seen
//! hides nothing else: without a firewall the cluster is still looked at, and the other way round.

use std::time::Duration;

use clap::Args as ClapArgs;
use jiff::Timestamp;
use serde::Serialize;
use tokio::time::Instant;

use super::history::open_sentence;
use super::log_side::KmsActivity;
use super::verify;
use super::verify::{known_beside, known_fact};
use super::virusprot::assess_table;
use crate::app::{Context, require_answer, work_or_interrupt};
use crate::change;
use crate::change::ChangeFlags;
use crate::clock::Clock;
use crate::domain::exposure::Exposure;
use crate::domain::plan;
use crate::domain::reachability::doctor;
use crate::domain::reachability::doctor::Facts;
use crate::domain::reachability::doctor::Login;
use crate::domain::reachability::finding::{CheckResult, Finding, count_findings};
use crate::domain::reachability::path;
use crate::domain::reachability::path::{Evidence, Known, Resolution, Trouble};
use crate::domain::virusprot::expiry::{Expiry, Judged};
use crate::error::{Failure, FailureKind, Result};
use crate::journal::Journal;
use crate::pfsense::questions::{Question, Reading};
use crate::plain_file::read_plain_text;
use crate::ssh::target::Link;
use crate::terminal::{Tone, View};
use crate::vantage::inside;

mod cluster;

/// Arguments of `kmsctl doctor`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Show only what is wrong or unknown
    #[arg(long)]
    problems: bool,
    /// Remove what kmsctl left behind on the firewall, instead of looking; what is armed stays
    #[arg(long, conflicts_with = "problems")]
    clean: bool,
    #[command(flatten)]
    flags: ChangeFlags,
}

impl Args {
    /// Returns whether the firewall is only looked at.
    pub fn only_looks(&self) -> bool {
        !self.clean
    }
}

const QUESTIONS: &[Question] = &[
    Question::Client,
    Question::Interfaces,
    Question::Gateway,
    Question::Crontab,
    Question::Table,
    Question::Rules,
    Question::Translation,
    Question::Info,
    Question::AliasTable,
    Question::Limits,
    Question::Configured,
    Question::FreeSpace,
    Question::RequestLimit,
    Question::Armed,
];

/// What the firewall answered, and over which connection.
struct Visit {
    login: Known<Login>,
    reading: Known<Reading>,
    round_trip: Duration,
    /// The firewall's clock minus ours, in seconds.
    clock_offset: i64,
    /// Why there is no reading: its kind is the exit code, as of every other command.
    failure: Option<Failure>,
}

/// Runs `kmsctl doctor`.
pub async fn run_doctor(context: &Context, arguments: &Args) -> Result<()> {
    if arguments.clean {
        return Box::pin(clean_leftover_files(context, &arguments.flags)).await;
    }
    if arguments.flags.any_set() {
        return Err(Failure::usage(
            "doctor changes nothing; these flags belong to doctor --clean.",
        ));
    }
    let kubectl = inside::inside_kubectl(context);
    let look = async {
        tokio::join!(
            visit_firewall(context),
            inside::resolve_everywhere(context),
            cluster::look_at_cluster(context, kubectl.as_ref()),
        )
    };
    let (visit, resolutions, cluster) = work_or_interrupt(look).await?;
    let visit = visit?;
    let mut findings = doctor::login_findings(&visit.login);
    findings.extend(of_firewall(context, &visit));
    findings.extend(
        visit.reading.as_ref().ok().and_then(|reading| {
            doctor::overdue(reading.configured.as_ref().ok()?, reading.clock.now)
        }),
    );
    findings.extend(of_table(context, &visit, &cluster.heard));
    findings.extend(of_path(context, &visit, &resolutions, &cluster));
    findings.extend(cluster.findings);
    findings.push(journal_finding(context));
    context.terminal.show(&doctor_view(context, &visit, &findings, arguments)?)?;
    conclude_checks(&findings, visit.failure.as_ref())
}

/// Decides the exit code: of a firewall that is away, that of the failure; where all that is wrong is that something cannot be
/// read, nothing else is proven, as `verify` has it.
fn conclude_checks(findings: &[Finding], unread: Option<&Failure>) -> Result<()> {
    if let Some(failure) = unread.filter(|failure| failure.kind == FailureKind::Unreachable) {
        let message =
            "The firewall was not read: the finding `ssh-login` says why, and what to do.";
        return Err(Failure::new(failure.kind, message));
    }
    let wrong = findings.iter().filter(|finding| finding.result == CheckResult::Wrong);
    let (unread, proven): (Vec<&Finding>, Vec<&Finding>) = wrong.partition(|found| found.unread);
    let all = findings.len();
    match (proven.len(), unread.len()) {
        (0, 0) => Ok(()),
        (0, _) => {
            let (wrong, unknown) = (unread.len(), count_findings(findings, CheckResult::Unknown));
            let message = format!(
                "Wrong: {wrong}, unknown: {unknown}, of {all} checks: something cannot be read, and nothing else is proven to be wrong."
            );
            Err(Failure::new(FailureKind::Inconclusive, message))
        }
        (proven, unread) => Err(Failure::new(
            FailureKind::No,
            format!("Wrong: {} of {all} checks.", proven + unread),
        )),
    }
}

/// Removes leftovers, by `change`.
async fn clean_leftover_files(context: &Context, flags: &ChangeFlags) -> Result<()> {
    let plan = |reading: &Reading| {
        let leftovers = &require_answer(&reading.configured)?.leftovers;
        Ok(plan::plan_cleaning(leftovers, reading.clock.now))
    };
    change::ChangeRun::new(context, flags, "doctor --clean", &[Question::Configured])
        .run_if_needed(plan)
        .await
}

fn doctor_view(
    context: &Context,
    visit: &Visit,
    findings: &[Finding],
    arguments: &Args,
) -> Result<View> {
    #[derive(Serialize)]
    struct Doctor<'a> {
        findings: Vec<&'a Finding>,
    }
    let is_shown = |finding: &&Finding| {
        !arguments.problems || matches!(finding.result, CheckResult::Wrong | CheckResult::Unknown)
    };
    let shown: Vec<&Finding> = findings.iter().filter(is_shown).collect();
    let taken_at =
        visit.reading.as_ref().map_or_else(|_| context.clock.now(), |reading| reading.clock.now);
    let data = Doctor { findings: shown.clone() };
    let mut view = match &visit.reading {
        Ok(reading) => context.view("doctor", reading, &data)?,
        Err(_) => View::new("doctor", taken_at, &data)?,
    };
    view.firewall = Some(context.firewall_name().to_owned());
    view.items = Some(("findings", verify::COLUMNS));
    view.is_for_reading = true;
    let shown: Vec<Finding> = shown.into_iter().cloned().collect();
    verify::for_people(&mut view.human, &shown, None);
    let number = |outcome| count_findings(findings, outcome);
    let total = format!(
        "{} ok, {} wrong, {} unknown, {} skipped",
        number(CheckResult::Ok),
        number(CheckResult::Wrong),
        number(CheckResult::Unknown),
        number(CheckResult::Skipped)
    );
    view.human.gap().field("Total", total, Tone::Plain);
    Ok(view)
}

/// Visits the firewall: one login, one round.
async fn visit_firewall(context: &Context) -> Result<Visit> {
    let without_login = |failure: Failure| match failure.kind {
        FailureKind::Interrupted => Err(failure),
        _ => Ok(Visit {
            login: Err(verify::trouble_of_failure(&failure)),
            reading: Err(doctor::no_login()),
            round_trip: Duration::ZERO,
            clock_offset: 0,
            failure: Some(failure),
        }),
    };
    let mut opened = match context.open(QUESTIONS).await {
        Ok(opened) => opened,
        Err(failure) => return without_login(failure),
    };
    let login = login_facts(context, opened.link());
    let (started, before) = (Instant::now(), context.clock.now());
    let reading = context.ask(&mut opened).await;
    let round_trip = match context.clock {
        Clock::System => started.elapsed(),
        // Where time stands still nothing takes any.
        Clock::Fixed(_) => Duration::ZERO,
    };
    let after = context.clock.now();
    // The reading is whole by now; a good-bye that fails spoils nothing.
    let _ = opened.close().await;
    let reading = match reading {
        Ok(reading) => reading,
        // ssh let us in, but our shell did not run: that is no login.
        Err(failure) => return without_login(failure),
    };
    Ok(Visit {
        login: Ok(login),
        clock_offset: clock_offset(reading.clock.now, before, after),
        reading: Ok(reading),
        round_trip,
        failure: None,
    })
}

/// Returns by how many seconds the firewall's clock is certainly off: it was read some time between two moments of this machine's.
fn clock_offset(there: Timestamp, before: Timestamp, after: Timestamp) -> i64 {
    let (there, before, after) = (there.as_second(), before.as_second(), after.as_second());
    there - there.clamp(before, after.max(before))
}

fn login_facts(context: &Context, link: &Link) -> Login {
    let target = &context.settings.firewall.target;
    let system_ssh = matches!(link, Link::OpenSsh(_));
    let user = target.user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
    Login {
        target: if context.demo {
            "admin@demo".to_owned()
        } else {
            format!("{user}{}", target.host)
        },
        system_ssh,
        identity: if context.demo {
            Some(("the demo's own".to_owned(), None))
        } else {
            target.identity.as_ref().map(|path| (path.display().to_string(), key_type(path)))
        },
        agent: context.environment.agent_socket.is_some(),
        host_key: if context.demo {
            // The demo makes its key anew in every home.
            link.host_key().algorithm.clone()
        } else {
            link.host_key().to_string()
        },
        pinned: context.demo || target.fingerprint.is_some(),
        kept_seconds: target.control_persist.as_secs(),
        reused: link.counts().connections == 0,
        sudo: !context.demo && target.sudo.is_some(),
        pfctl_sudo: !context.demo && context.settings.firewall.pfctl_sudo.is_some(),
    }
}

/// Reads the type of a key from its public half, which lies beside it.
fn key_type(path: &std::path::Path) -> Option<String> {
    let mut name = path.as_os_str().to_owned();
    name.push(".pub");
    let text = read_plain_text(std::path::Path::new(&name), 64 << 10).ok()?;
    text.split_ascii_whitespace().next().map(|kind| kind.chars().take(40).collect())
}

fn of_firewall(context: &Context, visit: &Visit) -> Vec<Finding> {
    let reading = match &visit.reading {
        Ok(reading) => reading,
        Err(trouble) => {
            return doctor::judge(&Facts::unseen(&context.settings.service, trouble));
        }
    };
    let exposure = context.situation(reading).exposure();
    let exposure = exposure.map_err(|failure| verify::unseen_exposure(reading, &failure));
    let facts = Facts {
        clock_offset: Ok(visit.clock_offset),
        round_trip: Ok(visit.round_trip),
        ..firewall_facts(context, reading, exposure)
    };
    doctor::judge(&facts)
}

/// Collects what a reading says of the firewall; how long it took is not known from it.
pub(super) fn firewall_facts<'a>(
    context: &'a Context,
    reading: &'a Reading,
    exposure: Known<&'a Exposure>,
) -> Facts<'a> {
    let service = &context.settings.service;
    let unasked = Trouble::new("it is not looked at here");
    Facts {
        configured: known_beside(&reading.configured, "php"),
        exposure,
        info: known_beside(&reading.info, "pf"),
        limits: known_beside(&reading.limits, "pf"),
        entries: verify::count_entries(reading),
        expiry: known_fact(&reading.crontab).map(|items| {
            let entries = reading.table.as_ref().map(Vec::as_slice).unwrap_or_default();
            let expiry = Expiry::find(items, &service.table);
            Judged::of(expiry, entries, reading.clock.now, &reading.clock.zone)
        }),
        request_limit: known_fact(&reading.request_limit).copied(),
        free_space: known_fact(&reading.free_space).copied(),
        carp: &reading.carp,
        armed: known_beside(&reading.armed, "php").map(Vec::as_slice),
        ..Facts::unseen(service, &unasked)
    }
}

/// What is wrong with who is blocked; that the table was not read is a check of its own.
fn of_table(context: &Context, visit: &Visit, heard: &KmsActivity) -> Vec<Finding> {
    let reading = visit.reading.as_ref().ok();
    let table =
        reading.and_then(|reading| assess_table(context, reading, heard, None, &mut vec![]).ok());
    table.map_or_else(Vec::new, |table| doctor::blocked_findings(&table.entries))
}

/// Those hops of the path that are assumptions; whether the server answers is `verify`'s question.
fn of_path(
    context: &Context,
    visit: &Visit,
    resolutions: &[Resolution],
    cluster: &cluster::Looked,
) -> Vec<Finding> {
    let reading = visit.reading.as_ref();
    let exposure = reading.map_err(Clone::clone).and_then(|reading| {
        let exposure = context.situation(reading).exposure();
        exposure.map_err(|failure| verify::unseen_exposure(reading, &failure))
    });
    let evidence = Evidence {
        service: &context.settings.service,
        address_named: context.names_service_address(),
        names: &context.settings.cluster.names,
        public_address: context.public_address(),
        resolutions,
        exposure: exposure.clone(),
        table: reading.map_err(Clone::clone).and_then(verify::count_entries),
        wan: reading.map_err(Clone::clone).and_then(verify::find_wan),
        cluster: cluster.cluster.as_ref(),
        connection: &crate::domain::reachability::path::ServiceConnection::Refused,
        answer: None,
    };
    let mut findings = path::name_hops(&evidence);
    findings.push(match &evidence.exposure {
        Ok(exposure) => path::alias_hop(&evidence, exposure),
        Err(trouble) => trouble.finding("alias"),
    });
    findings.extend(path::cluster_hops(&evidence));
    findings
}

/// Says where no change could be noted, and why.
pub(super) fn unwritable_history(journal: &Journal) -> Option<String> {
    let (path, why) = journal.unwritable_path()?;
    Some(format!("{} cannot be written: {why}.", path.display()))
}

/// Looks whether the history is whole: every line is chained to the one before.
fn journal_finding(context: &Context) -> Finding {
    let check = "journal";
    let read = context.journal().and_then(|journal| {
        let chain = journal.scan(&mut |_, _, _| {})?;
        Ok((journal, chain))
    });
    match read {
        Err(failure) => Finding::wrong(
            check,
            failure.message,
            "Without a history nothing is changed: look at the file and its rights.",
        ),
        Ok((journal, chain)) => doctor::journal_chain_finding(&doctor::HistoryHealth {
            unwritable: unwritable_history(&journal),
            open: (journal.open_to_others().first()).map(|(path, mode)| open_sentence(path, *mode)),
            is_headless: chain.is_headless,
            events: chain.records,
            broken: chain.breaks.first().map(|found| (found.line, found.what.as_str())),
            torn: chain.torn,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_round_trip_moves_no_clock() {
        let at = |second| Timestamp::from_second(second).unwrap();
        for (there, before, after, off) in [
            (100, 100, 130, 0),
            (115, 100, 130, 0),
            (130, 100, 130, 0),
            (131, 100, 130, 1),
            (90, 100, 130, -10),
            (50, 100, 40, -50),
        ] {
            assert_eq!(clock_offset(at(there), at(before), at(after)), off, "{there}");
        }
    }
}
