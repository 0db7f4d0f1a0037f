//! What `kmsctl status` says first: what leaves much unread, then everything that is wrong, then what else could not be read, each
//! with its command.
//! The rules are judged by [`whole`], the box and who is blocked by [`doctor`]; this puts them in one order.

use super::super::doctor::{firewall_facts, unwritable_history};
use super::super::virusprot::TableView;
use crate::app::Context;
use crate::domain::connections::{Half, connection_half};
use crate::domain::exposure::Exposure;
use crate::domain::notifier::health::LogSide;
use crate::domain::reachability::doctor;
use crate::domain::reachability::doctor::judge_firewall;
use crate::domain::reachability::finding::{CheckResult, Finding};
use crate::domain::reachability::path::{Expected, Trouble};
use crate::domain::reachability::whole;
use crate::domain::warning::Warning;
use crate::pfsense::questions::{FactError, Reading};

const LOOK: &str = "See what is the matter: `kmsctl doctor --problems`";
/// What half of the other answers rest on.
const SOURCES: [&str; 2] = ["php", "pf"];
/// What the rules rest on: before them.
const WHOLE: [&str; 2] = ["pf", "table"];
/// What concerns all clients: before what concerns single addresses.
const GRAVE: [&str; 3] = ["limits", "ha", "expiry"];
/// From so many unanswered connections on the server is called dead, as a single one may be a scanner's.
const UNANSWERED: usize = 3;
/// What the exposure finds that is no fault by itself, or that another finding says already.
const SAID: [&str; 16] = [
    "anchor-unread",
    "block-ineffective",
    "block-missing",
    "configuration-unread",
    "filter-missing",
    "filter-rule-disabled",
    "ha-peer",
    "nat-disabled",
    "nat-missing",
    "nat-pass",
    "no-caps",
    "pass-alone",
    "pending-changes",
    "reflection",
    "shadowed",
    "upnp-elsewhere",
];

pub(super) struct StatusFacts<'a> {
    pub exposure: Option<&'a Exposure>,
    /// What `--expect` says it should be.
    pub expected: Option<Expected>,
    pub table: Option<&'a TableView>,
    pub notifier: Option<&'a LogSide>,
    pub warnings: &'a [Warning],
}

/// Lists what leaves much unread, what is wrong, then what is not known; nothing where all is as it should be.
pub(super) fn find_faults(
    context: &Context,
    reading: &Reading,
    seen: &StatusFacts<'_>,
) -> Vec<Finding> {
    let exposure = seen.exposure.ok_or_else(|| Trouble::new("the exposure is not known"));
    let facts = firewall_facts(context, reading, exposure);
    let of_box = judge_firewall(&facts);
    let counts = |found: &&Finding| match found.result {
        CheckResult::Wrong => true,
        CheckResult::Unknown => SOURCES.contains(&found.check) || found.check == "expiry",
        CheckResult::Ok | CheckResult::Skipped => false,
    };
    let of_box: Vec<&Finding> = of_box.iter().filter(counts).collect();
    let of_checks = |checks: &'static [&str]| {
        of_box.iter().filter(|found| checks.contains(&found.check)).copied().cloned()
    };
    let mut findings: Vec<Finding> = of_checks(&WHOLE).collect();
    if let Some(exposure) = seen.exposure {
        findings.extend(exposure_findings(exposure, seen.expected));
        let is_said = |found: &Finding| {
            let mut others = findings.iter();
            others.any(|other| other.evidence.contains(&found.evidence))
        };
        let of_pair = doctor::pair_faults(&facts);
        let of_pair: Vec<Finding> = of_pair.into_iter().filter(|found| !is_said(found)).collect();
        findings.extend(of_pair);
    }
    findings.extend(dead_server(context, reading, seen));
    let configured = reading.configured.as_ref().ok();
    findings
        .extend(configured.and_then(|configured| doctor::overdue(configured, reading.clock.now)));
    findings.extend(of_checks(&GRAVE));
    findings.extend(seen.table.iter().flat_map(|table| doctor::blocked_findings(&table.entries)));
    let is_other =
        |found: &&&Finding| !WHOLE.contains(&found.check) && !GRAVE.contains(&found.check);
    findings.extend(of_box.iter().filter(is_other).copied().cloned());
    findings.extend(unkept_history(context));
    let missing = seen.notifier.iter().flat_map(|side| &side.unknown);
    findings.extend(missing.map(|sentence| {
        Finding::unknown("notifier", sentence).fix("Look at it: `kmsctl notifier status`")
    }));
    // Those of blocked addresses and of expiry are findings already.
    let others = seen.warnings.iter().filter(|warning| {
        !warning.code.ends_with("-blocked")
            && !findings.iter().any(|found| found.evidence == warning.message)
    });
    let no_table = reading.table.as_ref().err();
    let no_table = no_table.filter(|error| matches!(error, FactError::NoTable { .. }));
    let no_table = no_table.map(ToString::to_string);
    let others: Vec<Finding> = others
        .map(|warning| {
            let found = Finding::unknown(warning.code, &warning.message).fix(LOOK);
            let is_table = no_table.as_ref().is_some_and(|why| warning.message.contains(why));
            if is_table { found.follows("table") } else { found }
        })
        .collect();
    findings.extend(others);
    // What another finding explains is not said again.
    let wrong = findings.iter().filter(|found| found.result == CheckResult::Wrong);
    let wrong: Vec<&str> = wrong.map(|found| found.check).collect();
    findings.retain(|found| !found.follows.is_some_and(|leader| wrong.contains(&leader)));
    let is_source = |found: &Finding| {
        SOURCES.contains(&found.check) && (found.unread || found.result == CheckResult::Unknown)
    };
    findings.sort_by_key(|found| (!is_source(found), found.result != CheckResult::Wrong));
    for found in &mut findings {
        found.fix.get_or_insert_with(|| LOOK.to_owned());
    }
    findings
}

fn exposure_findings(exposure: &Exposure, expected: Option<Expected>) -> Vec<Finding> {
    let mut findings = whole::exposure_faults(exposure, expected);
    if findings.is_empty() {
        let judged = whole::judge_whole(exposure, expected);
        findings.extend((judged.result != CheckResult::Ok).then_some(judged));
    }
    let intended = expected.or_else(|| Expected::of(exposure));
    let paths = exposure.paths_sentence();
    let others = exposure.why.iter().skip(1).filter(|reason| {
        let is_path = reason.code == "other-path";
        let said = |found: &Finding| {
            found.evidence.contains(&reason.message) || is_path && found.evidence.contains(&paths)
        };
        let is_off = reason.code == "filter-disabled" && !exposure.filtering;
        // That the pair is not in force is what a closed one is for.
        let is_meant = reason.code == "not-loaded" && intended == Some(Expected::Closed);
        !SAID.contains(&reason.code) && !is_off && !is_meant && !findings.iter().any(said)
    });
    let others: Vec<Finding> = others
        .map(|reason| {
            let fix = whole::mending_step(reason.code);
            match reason.code {
                "path-unknown" => Finding::unknown("exposure", &reason.message).fix(fix),
                _ => Finding::wrong("exposure", &reason.message, fix),
            }
        })
        .collect();
    findings.extend(others);
    findings
}

/// What keeps changes from being noted.
fn unkept_history(context: &Context) -> Option<Finding> {
    let unkept = match context.journal() {
        Ok(journal) => unwritable_history(&journal),
        Err(failure) => Some(failure.message),
    };
    unkept.map(|why| doctor::unkept_history(&why))
}

/// The server behind an open port: by the cluster, or by connections that pf let in and that got no answer.
fn dead_server(context: &Context, reading: &Reading, seen: &StatusFacts<'_>) -> Option<Finding> {
    let fix = "Look where it breaks: `kmsctl verify`";
    if seen.notifier.is_some_and(|side| side.server_ready == Some(false)) {
        let words = "No pod of the service is ready: no client is served.";
        return Some(Finding::wrong("pod", words, fix));
    }
    let (situation, service) = (context.situation(reading), &context.settings.service);
    let clients = reading.states.as_ref().ok()?.iter().filter(|state| {
        let half = connection_half(state, service, situation.members());
        matches!(half, Some(Half::Client { .. }))
    });
    let levels: Vec<&str> = clients.map(|state| state.levels.as_str()).collect();
    let unanswered = levels.iter().all(|levels| *levels == "CLOSED:SYN_SENT");
    (unanswered && levels.len() >= UNANSWERED).then(|| {
        let words =
            format!("The server answers none of the {} connections that pf let in.", levels.len());
        Finding::wrong("connect", words, fix)
    })
}
