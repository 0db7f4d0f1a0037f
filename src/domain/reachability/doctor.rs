//! kmsctl's assumptions about the way to the firewall and about the firewall itself, each judged alone. A missing
//! piece of evidence costs the checks that rest on it and no other.

use std::time::Duration;

use super::finding::Finding;
use super::path::reply::rounded_time;
use super::path::{Known, Trouble, gate};
use crate::domain::exposure::Exposure;
use crate::domain::pf::info::{Info, Limits};
use crate::domain::pfsense::configured::Configured;
use crate::domain::pfsense::freebsd::Carp;
use crate::domain::service::Service;
use crate::domain::virusprot::expiry::{Expiry, Judged};

mod left;
pub mod login;
pub mod rights;
mod rules;
#[cfg(test)]
mod tests;

pub use left::{LeftoverChain, journal_chain_finding};

/// pfSense versions whose own code kmsctl's script was run with.
pub const TESTED: [&str; 4] = ["2.6.0", "2.7.0", "2.7.1", "2.7.2"];
/// The oldest PHP that the script runs with (pfSense 2.6.0 has it).
const OLDEST_PHP: (u32, u32) = (7, 4);
/// Bytes that must be free below /cf/conf: a configuration written to a full disk is cut, and reported as success.
const FREE_SPACE: u64 = 50 << 20;
/// Seconds that two clocks may differ.
const CLOCK: i64 = 5;

/// What one round of questions brought, each with its own reason where it is missing.
#[derive(Debug)]
pub struct Facts<'a> {
    /// What is exposed.
    pub service: &'a Service,
    /// The firewall's clock minus this machine's, in seconds.
    pub clock_offset: Known<i64>,
    /// How long the round trip with all questions took.
    pub round_trip: Known<Duration>,
    /// What config.xml says.
    pub configured: Known<&'a Configured>,
    /// The exposure.
    pub exposure: Known<&'a Exposure>,
    /// pf's status.
    pub info: Known<&'a Info>,
    /// pf's limits.
    pub limits: Known<&'a Limits>,
    /// Number of entries of the overload table; `None` where it does not exist.
    pub entries: Known<Option<u64>>,
    /// What ages them.
    pub expiry: Known<Judged>,
    /// `net.pf.request_maxcount`.
    pub request_limit: Known<u64>,
    /// Free bytes below /cf/conf.
    pub free_space: Known<u64>,
    /// States of CARP addresses.
    pub carp: &'a [Carp],
    /// Files of ours in /etc/cron.d.
    pub armed: Known<&'a [String]>,
}

impl<'a> Facts<'a> {
    /// Makes the facts of a firewall that could not be asked at all.
    pub fn unseen(service: &'a Service, trouble: &Trouble) -> Self {
        fn none<T>(trouble: &Trouble) -> Known<T> {
            Err(trouble.clone())
        }
        Self {
            service,
            clock_offset: none(trouble),
            round_trip: none(trouble),
            configured: none(trouble),
            exposure: none(trouble),
            info: none(trouble),
            limits: none(trouble),
            entries: none(trouble),
            expiry: none(trouble),
            request_limit: none(trouble),
            free_space: none(trouble),
            carp: &[],
            armed: none(trouble),
        }
    }
}

/// Judges everything about the firewall itself.
pub fn judge(facts: &Facts<'_>) -> Vec<Finding> {
    [
        speed(facts),
        version(facts),
        php(facts),
        pf(facts),
        table(facts),
        expiry(facts),
        limits(facts),
        requests(facts),
        clock(facts),
        space(facts),
        pending(facts),
        high_availability(facts),
    ]
    .into_iter()
    .chain(rules::rule_findings(facts))
    .chain([left::leftover_findings(facts)])
    .collect()
}

fn speed(facts: &Facts<'_>) -> Finding {
    let took = match &facts.round_trip {
        Ok(took) => *took,
        Err(trouble) => return trouble.finding("ssh-speed"),
    };
    let told = format!(
        "Every question in one round trip, within {}.",
        rounded_time(took)
    );
    if took > Duration::from_secs(5) {
        return Finding::wrong(
            "ssh-speed",
            told,
            "Look at the load of the firewall and at the line to it.",
        );
    }
    Finding::ok("ssh-speed", told)
}

fn version(facts: &Facts<'_>) -> Finding {
    let check = "pfsense-version";
    let configured = match &facts.configured {
        Ok(configured) => configured,
        Err(trouble) => return trouble.finding(check),
    };
    let Some(version) = &configured.system.version else {
        return Finding::unknown(check, "Unknown: /etc/version cannot be read.");
    };
    let number = version.split('-').next().unwrap_or_default();
    let schema = configured
        .system
        .config_version
        .as_deref()
        .unwrap_or("unknown");
    let told = format!("pfSense {version}, config.xml version {schema}");
    if TESTED.contains(&number) {
        return Finding::ok(check, format!("{told}: one that kmsctl is tested with."));
    }
    Finding::unknown(
        check,
        format!("{told}: kmsctl is tested with {}.", TESTED.join(", ")),
    )
    .fix("Reading is safe. Before the first change, look at its --dry-run.")
}

fn php(facts: &Facts<'_>) -> Finding {
    let check = "php";
    let php = match &facts.configured {
        Ok(configured) => &configured.system.php,
        Err(trouble) if trouble.fault => {
            return Finding::wrong(
                check,
                format!("The configuration cannot be read: {}.", trouble.why),
                "Log in as admin or root (or set firewall.become), and let firewall.paths.php name PHP's path.",
            );
        }
        Err(trouble) => return trouble.finding(check),
    };
    let mut numbers = php.split('.').map_while(|part| part.parse::<u32>().ok());
    let told = format!("PHP {php} runs pfSense's own code and read config.xml.");
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) if (major, minor) < OLDEST_PHP => Finding::wrong(
            check,
            told,
            "Upgrade pfSense: kmsctl needs PHP 7.4 or newer.",
        ),
        _ => missing(check, told, facts),
    }
}

fn missing(check: &'static str, told: String, facts: &Facts<'_>) -> Finding {
    let missing = facts
        .configured
        .as_ref()
        .map_or_else(|_| Vec::new(), |configured| configured.missing.clone());
    if missing.is_empty() {
        return Finding::ok(check, told);
    }
    Finding::wrong(
        check,
        format!(
            "{told} It lacks what a change needs: {}.",
            missing.join(", ")
        ),
        "Change nothing with kmsctl on this firewall; reading is safe.",
    )
}

fn pf(facts: &Facts<'_>) -> Finding {
    let disabled = facts
        .configured
        .as_ref()
        .is_ok_and(|configured| configured.filter_disabled);
    match &facts.info {
        Err(trouble) => trouble.finding_itself("pf", gate::UNREADABLE),
        Ok(info) if !info.enabled => Finding::wrong(
            "pf",
            "pf is disabled: nothing is filtered, and nothing is translated.",
            "Enable it in pfSense: System > Advanced > Firewall & NAT.",
        ),
        Ok(_) if disabled => Finding::wrong(
            "pf",
            "pf is enabled, but config.xml switches it off: the next reload or reboot does it.",
            "Enable it in pfSense: System > Advanced > Firewall & NAT.",
        ),
        Ok(_) => Finding::ok("pf", "pf is enabled."),
    }
}

fn table(facts: &Facts<'_>) -> Finding {
    let exposure = facts.exposure.as_ref().ok().copied();
    gate::table_hop(facts.service, &facts.entries, exposure)
}

fn expiry(facts: &Facts<'_>) -> Finding {
    let judged = match &facts.expiry {
        Ok(judged) => judged,
        Err(trouble) => return trouble.finding("expiry"),
    };
    if let Some(sentence) = judged.not_working() {
        return Finding::wrong(
            "expiry",
            sentence,
            "Look whether /usr/local/sbin/expiretable is there and cron runs it (Status > System Logs); free them until then: kmsctl virusprot expire",
        );
    }
    let expiry = &judged.expiry;
    let told = expiry
        .warning(&facts.service.table)
        .map(|warning| warning.message)
        .unwrap_or_default();
    match expiry {
        Expiry::Cron {
            older_than_seconds,
            schedule,
            ..
        } => Finding::ok(
            "expiry",
            format!("Cron frees entries older than {older_than_seconds} s, at `{schedule}`."),
        ),
        Expiry::None => Finding::wrong(
            "expiry",
            told,
            format!(
                "Put pfSense's own job back (Cron package): */60 * * * * root /usr/bin/nice -n20 /usr/local/sbin/expiretable -v -t 3600 {}",
                facts.service.table.as_str()
            ),
        ),
        Expiry::Unknown { .. } => Finding::unknown("expiry", told),
    }
}

/// One used number against its limit; pf refuses what is beyond, silently for whoever is refused.
fn limits(facts: &Facts<'_>) -> Finding {
    let (limits, info) = match (&facts.limits, &facts.info) {
        (Ok(limits), Ok(info)) => (limits, info),
        (Err(trouble), _) | (_, Err(trouble)) => return trouble.finding("limits"),
    };
    let used = [("states", info.states), ("src-nodes", info.source_nodes)];
    let (mut told, mut full) = (Vec::new(), Vec::new());
    for (name, used) in used {
        let limit = limits.get(name).copied().flatten();
        match (used, limit) {
            (Some(used), Some(limit)) => {
                told.push(format!("{name} {used} of {limit}"));
                if used.saturating_mul(10) >= limit.saturating_mul(9) {
                    full.push(name);
                }
            }
            (Some(used), None) => told.push(format!("{name} {used}")),
            (None, _) => {}
        }
    }
    // The limit is one for all tables together, and only ours was asked for: enough to call it full, not to call it free.
    let ours = facts.entries.as_ref().ok().copied().flatten();
    if let (Some(ours), Some(limit)) = (ours, limits.get("table-entries").copied().flatten()) {
        let table = facts.service.table.as_str();
        told.push(format!(
            "table-entries unknown of {limit} ({table} alone has {ours}; other tables count, too, and were not asked)"
        ));
        if ours.saturating_mul(10) >= limit.saturating_mul(9) {
            full.push("table-entries");
        }
    }
    let told = told.join(", ") + ".";
    if full.is_empty() {
        return Finding::ok("limits", told);
    }
    Finding::wrong(
        "limits",
        format!("{told} Nearly full: {}.", full.join(", ")),
        "Raise them in pfSense: System > Advanced > Firewall & NAT.",
    )
}

fn requests(facts: &Facts<'_>) -> Finding {
    let check = "request-limit";
    match (&facts.request_limit, &facts.entries) {
        (Ok(limit), Ok(Some(entries))) if entries >= limit => Finding::wrong(
            check,
            format!(
                "The table has {entries} entries, but pf answers no request for more than {limit} (net.pf.request_maxcount)."
            ),
            "Raise net.pf.request_maxcount in System > Advanced > System Tunables.",
        ),
        (Ok(limit), _) => Finding::ok(
            check,
            format!("pf answers requests for up to {limit} entries (net.pf.request_maxcount)."),
        ),
        (Err(trouble), _) => trouble.finding(check),
    }
}

fn clock(facts: &Facts<'_>) -> Finding {
    let offset = match &facts.clock_offset {
        Ok(offset) => *offset,
        Err(trouble) => return trouble.finding("clock"),
    };
    let told = match offset {
        0 => "The clocks of the firewall and of this machine agree.".to_owned(),
        _ => format!(
            "The firewall's clock is {} s {} of this machine's.",
            offset.abs(),
            if offset > 0 { "ahead" } else { "behind" }
        ),
    };
    if offset.abs() <= CLOCK {
        return Finding::ok("clock", told);
    }
    Finding::wrong(
        "clock",
        format!("{told} Ages come from the firewall's clock, deadlines of temporary changes too."),
        "Look at NTP on both (Services > NTP in pfSense).",
    )
}

fn space(facts: &Facts<'_>) -> Finding {
    let free = match &facts.free_space {
        Ok(free) => *free,
        Err(trouble) => return trouble.finding("free-space"),
    };
    let told = match free >> 20 {
        0 => format!("{} KiB are free below /cf/conf.", free >> 10),
        mebibytes => format!("{mebibytes} MiB are free below /cf/conf."),
    };
    if free >= FREE_SPACE {
        return Finding::ok("free-space", told);
    }
    Finding::wrong(
        "free-space",
        format!("{told} pfSense takes a configuration that was cut by a full disk for a success."),
        "Make room before any change.",
    )
}

fn pending(facts: &Facts<'_>) -> Finding {
    let check = "pending-changes";
    match &facts.configured {
        Err(trouble) => trouble.finding(check),
        Ok(configured) if configured.dirty.is_empty() => Finding::ok(
            check,
            "Nothing that was saved in the GUI waits to be applied.",
        ),
        Ok(configured) => Finding::wrong(
            check,
            format!(
                "Saved in the GUI and not applied: {}. A change by kmsctl would apply it as well.",
                configured.dirty.join(", ")
            ),
            "Apply or undo it in pfSense first.",
        ),
    }
}

fn high_availability(facts: &Facts<'_>) -> Finding {
    let check = "ha";
    let peer = match &facts.configured {
        Ok(configured) => configured.ha_peer,
        Err(trouble) => return trouble.finding(check),
    };
    let role: Vec<String> = facts
        .carp
        .iter()
        .map(|carp| format!("{} for vhid {}", carp.state, carp.vhid))
        .collect();
    if facts.carp.iter().any(|carp| carp.state == "BACKUP") {
        return Finding::wrong(
            check,
            format!(
                "This node is {}: what is changed here is overwritten by the other at its next sync.",
                role.join(", ")
            ),
            "Point firewall.host at the node that is MASTER.",
        );
    }
    Finding::ok(
        check,
        match (peer, role.as_slice()) {
            (false, []) => "A single node.".to_owned(),
            (true, []) => {
                "Changes are sent on to a sync peer; its overload table is its own.".to_owned()
            }
            (_, role) => format!(
                "This node is {}. The other's overload table is its own.",
                role.join(", ")
            ),
        },
    )
}
