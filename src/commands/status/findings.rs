//! What `kmsctl status` says first: everything that is wrong, or could not be read, the worst first, each with its command.
//! The rules are judged by [`whole`], the table by [`super::virusprot`]; this puts them in one order.

use super::super::verify;
use super::super::virusprot::TableView;
use crate::app::Context;
use crate::domain::connections::{Half, connection_half};
use crate::domain::exposure::Exposure;
use crate::domain::notifier::health::LogSide;
use crate::domain::reachability::finding::{CheckResult, Finding};
use crate::domain::reachability::path;
use crate::domain::reachability::whole;
use crate::domain::virusprot::entries::Flag;
use crate::domain::virusprot::expiry::Expiry;
use crate::domain::warning::Warning;
use crate::pfsense::questions::Reading;

/// Most addresses that a command names.
const NAMED: usize = 3;
/// From so many unanswered connections on the server is called dead, as a single one may be a scanner's.
const UNANSWERED: usize = 3;
/// What the exposure finds that is no fault by itself, or that the first finding says already.
const SAID: [&str; 12] = [
    "anchor-unread",
    "configuration-unread",
    "filter-missing",
    "filter-rule-disabled",
    "ha-peer",
    "nat-disabled",
    "nat-missing",
    "nat-pass",
    "no-caps",
    "reflection",
    "shadowed",
    "upnp-elsewhere",
];

pub(super) struct StatusFacts<'a> {
    pub exposure: Option<&'a Exposure>,
    pub table: Option<&'a TableView>,
    pub notifier: Option<&'a LogSide>,
    pub warnings: &'a [Warning],
}

/// Lists what is wrong first, then what is not known; nothing where all is as it should be.
pub(super) fn find_faults(
    context: &Context,
    reading: &Reading,
    seen: &StatusFacts<'_>,
) -> Vec<Finding> {
    // What its absence has caused follows it.
    let mut findings: Vec<Finding> = table_finding(context, reading, seen).into_iter().collect();
    if let Some(exposure) = seen.exposure {
        findings.extend(exposure_findings(exposure));
    }
    findings.extend(dead_server(context, reading, seen));
    if let Some(table) = seen.table {
        findings.extend(expiry_finding(context, table));
        findings.extend(blocked_findings(table));
    }
    let missing = seen.notifier.iter().flat_map(|side| &side.unknown);
    findings.extend(missing.map(|sentence| {
        Finding::unknown("notifier", sentence).fix("Look at it: `kmsctl notifier status`")
    }));
    // Those of blocked addresses and of expiry are findings already.
    let others = seen.warnings.iter().filter(|warning| {
        !warning.code.ends_with("-blocked")
            && !findings
                .iter()
                .any(|found| found.evidence == warning.message)
    });
    let others: Vec<Finding> = others
        .map(|warning| {
            Finding::unknown(warning.code, &warning.message)
                .fix("Look what is the matter: `kmsctl doctor --problems`")
        })
        .collect();
    findings.extend(others);
    findings.sort_by_key(|finding| finding.result != CheckResult::Wrong);
    findings
}

fn exposure_findings(exposure: &Exposure) -> Vec<Finding> {
    let mut findings = whole::exposure_faults(exposure, None);
    if findings.is_empty() {
        let judged = whole::judge_whole(exposure, None);
        findings.extend((judged.result != CheckResult::Ok).then_some(judged));
    }
    let paths = exposure.told_paths();
    let others = exposure.why.iter().skip(1).filter(|reason| {
        let is_path = reason.code == "other-path";
        let said = |found: &Finding| {
            found.evidence.contains(&reason.message) || is_path && found.evidence.contains(&paths)
        };
        let is_off = reason.code == "filter-disabled" && !exposure.filtering;
        !SAID.contains(&reason.code) && !is_off && !findings.iter().any(said)
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

/// The server behind an open port: by the cluster, or by connections that pf let in and that got no answer.
fn dead_server(context: &Context, reading: &Reading, seen: &StatusFacts<'_>) -> Option<Finding> {
    let fix = "Look where it breaks: `kmsctl verify`";
    if seen
        .notifier
        .is_some_and(|side| side.server_ready == Some(false))
    {
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
        let words = format!(
            "The server answers none of the {} connections that pf let in.",
            levels.len()
        );
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
    let by_hand = "Free the old ones by hand: `kmsctl virusprot expire`; what is the matter: `kmsctl doctor --problems`";
    if expiry.not_working().is_some() || expiry.expiry == Expiry::None {
        return Some(Finding::wrong("expiry", warning.message, by_hand));
    }
    Some(Finding::unknown("expiry", warning.message).fix(by_hand))
}

/// Blocked addresses that deserve a second look, by what is known of them.
fn blocked_findings(table: &TableView) -> Vec<Finding> {
    let kinds = [
        (
            "customer",
            Flag::Customer,
            "was activated within the last day",
        ),
        ("operator", Flag::Operator, "is the address you work from"),
        ("gateway", Flag::Gateway, "is a gateway of this firewall"),
        (
            "protected",
            Flag::Protected,
            "lies in a network you protect",
        ),
        (
            "own-subnet",
            Flag::OwnSubnet,
            "lies in the firewall's own networks",
        ),
        ("private", Flag::Private, "is a private address"),
    ];
    let mut named: Vec<&str> = Vec::new();
    let mut findings = Vec::new();
    for (check, flag, what) in kinds {
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
