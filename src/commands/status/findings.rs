//! What `kmsctl status` says first: what leaves much unread, then everything that is wrong, then what else could not be read, each
//! with its command.
//! The rules are judged by [`whole`], the table by [`super::virusprot`]; this puts them in one order.

use super::super::doctor::unwritable_history;
use super::super::verify;
use super::super::virusprot::TableView;
use crate::app::Context;
use crate::domain::connections::{Half, connection_half};
use crate::domain::exposure::Exposure;
use crate::domain::notifier::health::LogSide;
use crate::domain::reachability::doctor;
use crate::domain::reachability::finding::{CheckResult, Finding};
use crate::domain::reachability::path::{self, Expected};
use crate::domain::reachability::whole;
use crate::domain::virusprot::entries::{Blocked, Flag};
use crate::domain::virusprot::expiry::Expiry;
use crate::domain::warning::Warning;
use crate::pfsense::questions::Reading;
use crate::text::format_span;

const LOOK: &str = "Look what is the matter: `kmsctl doctor --problems`";
/// Most addresses that a command names.
const NAMED: usize = 3;
/// The age in seconds at which pfSense's own cron job frees an entry.
const USUAL_AGE: u64 = 3_600;
/// From so many unanswered connections on the server is called dead, as a single one may be a scanner's.
const UNANSWERED: usize = 3;
/// What the exposure finds that is no fault by itself, or that the first finding says already.
const SAID: [&str; 13] = [
    "anchor-unread",
    "configuration-unread",
    "filter-missing",
    "filter-rule-disabled",
    "ha-peer",
    "nat-disabled",
    "nat-missing",
    "nat-pass",
    "no-caps",
    "pass-alone",
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
    // What its absence has caused follows it.
    let mut findings: Vec<Finding> = table_finding(context, reading, seen).into_iter().collect();
    if let Some(exposure) = seen.exposure {
        findings.extend(exposure_findings(exposure, seen.expected));
    }
    findings.extend(dead_server(context, reading, seen));
    findings.extend(grave_hindrances(context, reading));
    if let Some(table) = seen.table {
        findings.extend(expiry_finding(context, table));
        findings.extend(blocked_findings(table));
    }
    findings.extend(hindrances(context, reading));
    let missing = seen.notifier.iter().flat_map(|side| &side.unknown);
    findings.extend(missing.map(|sentence| {
        Finding::unknown("notifier", sentence).fix("Look at it: `kmsctl notifier status`")
    }));
    // Those of blocked addresses and of expiry are findings already.
    let others = seen.warnings.iter().filter(|warning| {
        !warning.code.ends_with("-blocked")
            && !findings.iter().any(|found| found.evidence == warning.message)
    });
    let others: Vec<Finding> =
        others.map(|warning| Finding::unknown(warning.code, &warning.message).fix(LOOK)).collect();
    findings.extend(others);
    findings.sort_by_key(|finding| finding.result != CheckResult::Wrong);
    unread_sources(reading).chain(findings).collect()
}

/// What half of the other answers rest on.
fn unread_sources(reading: &Reading) -> impl Iterator<Item = Finding> {
    let configured = verify::known_fact(&reading.configured).err();
    let info = verify::known_fact(&reading.info).err();
    let configured = configured.map(|trouble| doctor::unread_configuration(&trouble));
    let found = configured.into_iter().chain(info.map(|trouble| path::unread_pf(&trouble)));
    found.map(|finding| Finding { fix: finding.fix.or_else(|| Some(LOOK.to_owned())), ..finding })
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

/// What keeps all new clients out, or leaves open what should be closed by now, as `doctor` judges it: before what concerns single
/// addresses. What was not read is said with what else rests on it.
fn grave_hindrances(context: &Context, reading: &Reading) -> impl Iterator<Item = Finding> {
    let limits = doctor::limits(
        &context.settings.service,
        &verify::known_fact(&reading.limits),
        &verify::known_fact(&reading.info),
        &verify::count_entries(reading),
    );
    let configured = reading.configured.as_ref().ok();
    let overdue = configured.and_then(|configured| doctor::overdue(configured, reading.clock.now));
    let found = overdue.into_iter().chain([limits]);
    found.filter(|finding| finding.result == CheckResult::Wrong)
}

/// What lies in the way of a change.
fn hindrances(context: &Context, reading: &Reading) -> impl Iterator<Item = Finding> {
    let space = doctor::free_space(&verify::known_fact(&reading.free_space).copied());
    let configured = reading.configured.as_ref().ok();
    let unkept = match context.journal() {
        Ok(journal) => unwritable_history(&journal),
        Err(failure) => Some(failure.message),
    };
    let unkept = unkept.map(|why| doctor::unkept_history(&why));
    let found = [space].into_iter().chain(configured.map(doctor::leftovers)).chain(unkept);
    found.filter(|finding| finding.result == CheckResult::Wrong)
}

/// The server behind an open port: by the cluster, or by connections that pf let in and that got no answer.
fn dead_server(context: &Context, reading: &Reading, seen: &StatusFacts<'_>) -> Option<Finding> {
    let fix = "Look where it breaks: `kmsctl verify`";
    if seen.notifier.is_some_and(|side| side.server_ready == Some(false)) {
        let words = "No pod of the service is ready: no client is served.";
        return Some(Finding::wrong("backend", words, fix));
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
        Finding::wrong("backend", words, fix)
    })
}

/// The table itself: that it is missing is a fault of its own.
fn table_finding(context: &Context, reading: &Reading, seen: &StatusFacts<'_>) -> Option<Finding> {
    let entries = verify::count_entries(reading);
    let missing = matches!(entries, Ok(None));
    missing.then(|| path::table_hop(&context.settings.service, &entries, seen.exposure))
}

fn expiry_finding(context: &Context, table: &TableView) -> Option<Finding> {
    let expiry = &table.expiry;
    let warning = expiry.warning(&context.settings.service.table)?;
    // What pfSense's own job would have freed, or what the job that does not work should have.
    let age = match expiry.expiry {
        Expiry::Cron { older_than_seconds, .. } => older_than_seconds,
        Expiry::None | Expiry::Unknown { .. } => USUAL_AGE,
    };
    let is_old = |entry: &Blocked| entry.age_seconds.is_some_and(|old| old > age);
    let by_hand = if table.entries.iter().any(is_old) {
        let age = format_span(age).replace(' ', "");
        format!(
            "Free the old ones by hand: `kmsctl virusprot expire --older-than {age}`; what is the matter: `kmsctl doctor --problems`"
        )
    } else {
        "What is the matter: `kmsctl doctor --problems`".to_owned()
    };
    if expiry.not_working().is_some() || expiry.expiry == Expiry::None {
        return Some(Finding::wrong("expiry", warning.message, by_hand));
    }
    Some(Finding::unknown("expiry", warning.message).fix(by_hand))
}

/// Blocked addresses that deserve a second look: the check, and what is known of them.
const ADDRESS_KINDS: [(&str, Flag, &str); 6] = [
    ("customer", Flag::Customer, "was activated within the last day"),
    ("operator", Flag::Operator, "is the address you work from"),
    ("gateway", Flag::Gateway, "is a gateway of this firewall"),
    ("protected", Flag::Protected, "lies in a network you protect"),
    ("own-subnet", Flag::OwnSubnet, "lies in the firewall's own networks"),
    ("private", Flag::Private, "is a private address"),
];

/// Returns whether a finding is about a blocked address: `doctor` has none of these.
pub(super) fn is_of_address(finding: &Finding) -> bool {
    ADDRESS_KINDS.iter().any(|(check, _, _)| *check == finding.check)
}

fn blocked_findings(table: &TableView) -> Vec<Finding> {
    let mut named: Vec<&str> = Vec::new();
    let mut findings = Vec::new();
    for (check, flag, what) in ADDRESS_KINDS {
        let hit = table.entries.iter().filter(|entry| {
            entry.flags.contains(&flag) && !named.contains(&entry.address.as_str())
        });
        let hit: Vec<&str> = hit.map(|entry| entry.address.as_str()).collect();
        let Some(first) = hit.first() else { continue };
        let more = match hit.len() - 1 {
            0 => String::new(),
            more => format!(" (and {more} more)"),
        };
        let shown: Vec<&str> = hit.iter().take(NAMED).copied().collect();
        findings.push(Finding::wrong(
            check,
            format!("{first}{more} is blocked and {what}."),
            format!("Free it: `kmsctl virusprot delete {}`", shown.join(" ")),
        ));
        named.extend(hit);
    }
    findings
}
