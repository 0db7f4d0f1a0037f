//! kmsctl's assumptions about the way to the firewall and about the firewall itself, each judged alone. A missing
//! piece of evidence costs the checks that rest on it and no other.

use jiff::Timestamp;

use super::finding::Finding;
use super::path;
use super::path::{Known, Trouble, rounded_time};
use super::whole;
use super::whole::{IDLE_CAPS, PASSES, SET_WHOLE, absent_fault, half_fault, judge_whole};
use crate::domain::exposure::Exposure;
use crate::domain::pf::info::{Info, Limits};
use crate::domain::pfsense::change::Armed;
use crate::domain::pfsense::configured::Configured;
use crate::domain::pfsense::freebsd::Carp;
use crate::domain::pfsense::managed::ManagedPair;
use crate::domain::reachability::finding::CheckResult;
use crate::domain::service::Service;
use crate::domain::virusprot::entries::{Blocked, Flag};
use crate::domain::virusprot::expiry::{Expiry, Judged};
use crate::text::{format_bytes, format_span};
use std::time::Duration;

/// The check without which nothing of the firewall is read.
pub const LOGIN: &str = "ssh-login";
const CHECKS: [&str; 5] = [LOGIN, "ssh-key", "ssh-host-key", "ssh-reuse", "sudo"];

/// Every right that some command needs, in the order in which they are listed.
pub const RIGHTS: [Right; 9] = [
    own_right("get", "services", None, "`verify`, `doctor`, `notifier status`"),
    own_right("list", "pods", None, "`verify`, `doctor`, `status`, `notifier`"),
    own_right("get", "pods", None, "`notifier logs`"),
    own_right("get", "pods", Some("log"), "`notifier status`, `notifier logs`, `status`"),
    own_right("get", "pods", Some("proxy"), "`notifier status`, `notifier metrics`, `status`"),
    Right {
        optional: true,
        ..own_right("create", "pods", Some("exec"), "`notifier logs --server`")
    },
    own_right("list", "events", None, "`notifier status`"),
    own_right("list", "endpointslices.discovery.k8s.io", None, "`verify`, `doctor`"),
    Right {
        metallb: true,
        ..own_right("list", "servicel2statuses.metallb.io", None, "`verify`, `doctor`")
    },
];

/// pfSense versions whose own code kmsctl's script was run with.
pub const TESTED: [&str; 4] = ["2.6.0", "2.7.0", "2.7.1", "2.7.2"];

/// The oldest PHP that the script runs with (pfSense 2.6.0 has it).
const OLDEST_PHP: (u32, u32) = (7, 4);

/// Bytes that must be free below /cf/conf: a configuration written to a full disk is cut, and reported as success.
const FREE_SPACE: u64 = 50 << 20;

/// What comes first on a full disk, also of what is done by hand.
pub const MAKE_ROOM: &str = "Make room first, also before a change in the GUI: pfSense takes a configuration that was cut by a full disk for a success. What is large, on the firewall: `du -xk / | sort -n | tail`";
/// What to do on a CARP backup.
pub const TAKE_MASTER: &str =
    "Point firewall.host at the node that is MASTER; `kmsctl config show` says where it is set.";

/// Seconds that two clocks may differ.
const CLOCK: i64 = 5;

/// What one round of questions brought, each with its own reason where it is missing.
#[derive(Debug)]
pub struct Facts<'a> {
    pub service: &'a Service,
    /// The firewall's clock minus this machine's, in seconds.
    pub clock_offset: Known<i64>,
    /// How long the round trip with all questions took.
    pub round_trip: Known<Duration>,
    pub configured: Known<&'a Configured>,
    pub exposure: Known<&'a Exposure>,
    pub info: Known<&'a Info>,
    pub limits: Known<&'a Limits>,
    /// Number of entries of the overload table; `None` where it does not exist.
    pub entries: Known<Option<u64>>,
    pub expiry: Known<Judged>,
    /// `net.pf.request_maxcount`.
    pub request_limit: Known<u64>,
    /// Free bytes below /cf/conf.
    pub free_space: Known<u64>,
    pub carp: &'a [Carp],
    /// kmsctl's own files in /etc/cron.d.
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

/// Judges the rules beside all that [`judge_firewall`] does.
pub fn judge(facts: &Facts<'_>) -> Vec<Finding> {
    judge_firewall(facts).into_iter().chain(rule_findings(facts)).collect()
}

/// Judges the box: what `status` says of it as well.
pub fn judge_firewall(facts: &Facts<'_>) -> Vec<Finding> {
    vec![
        speed(facts),
        version(facts),
        php(facts),
        pf(facts),
        table(facts),
        expiry(facts),
        limits(facts),
        requests(facts),
        clock(facts),
        free_space(facts),
        pending(facts),
        high_availability(facts),
        leftover_findings(facts),
    ]
}

fn speed(facts: &Facts<'_>) -> Finding {
    let took = match &facts.round_trip {
        Ok(took) => *took,
        Err(trouble) => return trouble.finding("ssh-speed"),
    };
    let evidence = format!("Every question in one round trip, within {}.", rounded_time(took));
    if took > Duration::from_secs(5) {
        return Finding::wrong(
            "ssh-speed",
            evidence,
            "Look at the load of the firewall and at the line to it.",
        );
    }
    Finding::ok("ssh-speed", evidence)
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
    let schema = configured.system.config_version.as_deref().unwrap_or("unknown");
    let evidence = format!("pfSense {version}, config.xml version {schema}");
    if TESTED.contains(&number) {
        return Finding::ok(check, format!("{evidence}: one that kmsctl is tested with."));
    }
    Finding::unknown(check, format!("{evidence}: kmsctl is tested with {}.", TESTED.join(", ")))
        .fix("Reading is safe. Before the first change, look at its --dry-run.")
}

fn php(facts: &Facts<'_>) -> Finding {
    let check = "php";
    let php = match &facts.configured {
        Ok(configured) => &configured.system.php,
        Err(trouble) => return unread_configuration(trouble),
    };
    let mut numbers = php.split('.').map_while(|part| part.parse::<u32>().ok());
    let evidence = format!("PHP {php} runs pfSense's own code and read config.xml.");
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) if (major, minor) < OLDEST_PHP => {
            Finding::wrong(check, evidence, "Upgrade pfSense: kmsctl needs PHP 7.4 or newer.")
        }
        _ => missing(check, evidence, facts),
    }
}

/// Says that config.xml was not read, and what mends that.
pub fn unread_configuration(trouble: &Trouble) -> Finding {
    let finding = trouble.finding_itself("php", "The configuration cannot be read");
    if trouble.fault {
        return finding.fix("Log in as admin or root (or set firewall.become), and let firewall.paths.php name PHP's path.");
    }
    finding
}

fn missing(check: &'static str, evidence: String, facts: &Facts<'_>) -> Finding {
    let missing = facts
        .configured
        .as_ref()
        .map_or_else(|_| Vec::new(), |configured| configured.missing.clone());
    if missing.is_empty() {
        return Finding::ok(check, evidence);
    }
    Finding::wrong(
        check,
        format!("{evidence} It lacks what a change needs: {}.", missing.join(", ")),
        "Change nothing with kmsctl on this firewall; reading is safe.",
    )
}

fn pf(facts: &Facts<'_>) -> Finding {
    let disabled = facts.configured.as_ref().is_ok_and(|configured| configured.filter_disabled);
    match &facts.info {
        Err(trouble) => path::unread_pf(trouble),
        Ok(info) if !info.enabled => whole::switched_off("pf"),
        Ok(_) if disabled => Finding::wrong(
            "pf",
            "pf is enabled, but config.xml switches it off: the next reload or reboot does it.",
            whole::ENABLE,
        ),
        Ok(_) => Finding::ok("pf", "pf is enabled."),
    }
}

fn table(facts: &Facts<'_>) -> Finding {
    let exposure = facts.exposure.as_ref().ok().copied();
    path::table_hop(facts.service, &facts.entries, exposure)
}

fn expiry(facts: &Facts<'_>) -> Finding {
    let judged = match &facts.expiry {
        Ok(judged) => judged,
        Err(trouble) => return trouble.finding("expiry"),
    };
    let expiry = &judged.expiry;
    // What the job that does not work should have freed, or what pfSense's own would have.
    let age = match expiry {
        Expiry::Cron { older_than_seconds, .. } => *older_than_seconds,
        Expiry::None | Expiry::Unknown { .. } => 3_600,
    };
    // Of a table that is not there nothing can be freed.
    let by_hand = if matches!(facts.entries, Ok(None)) {
        String::new()
    } else {
        let age = format_span(age).replace(' ', "");
        format!("; free the old ones until then: `kmsctl virusprot expire --older-than {age}`")
    };
    if let Some(sentence) = judged.not_working() {
        return Finding::wrong(
            "expiry",
            sentence,
            format!(
                "Look whether /usr/local/sbin/expiretable is there and cron runs it (Status > System Logs){by_hand}"
            ),
        );
    }
    let evidence =
        expiry.warning(&facts.service.table).map(|warning| warning.message).unwrap_or_default();
    match expiry {
        Expiry::Cron { older_than_seconds, schedule, .. } => Finding::ok(
            "expiry",
            format!(
                "Cron frees entries older than {}, at `{schedule}`.",
                format_span(*older_than_seconds)
            ),
        ),
        Expiry::None => Finding::wrong(
            "expiry",
            evidence,
            format!(
                "Put pfSense's own job back (Cron package: minute */60, the rest *, user root): `/usr/local/sbin/expiretable -v -t 3600 {}`{by_hand}",
                facts.service.table.as_str()
            ),
        ),
        Expiry::Unknown { .. } => Finding::unknown("expiry", evidence)
            .fix(format!("Look at the jobs in pfSense (Cron package){by_hand}")),
    }
}

/// Used numbers against their limits; pf refuses what is beyond, and the client gets no answer.
fn limits(facts: &Facts<'_>) -> Finding {
    let (limits, info) = match (&facts.limits, &facts.info) {
        (Ok(limits), Ok(info)) => (limits, info),
        (Err(trouble), _) | (_, Err(trouble)) => return trouble.finding("limits"),
    };
    let used = [("states", info.states), ("src-nodes", info.source_nodes)];
    let (mut numbers, mut full) = (Vec::new(), Vec::new());
    for (name, used) in used {
        let limit = limits.get(name).copied().flatten();
        match (used, limit) {
            (Some(used), Some(limit)) => {
                numbers.push(format!("{name} {used} of {limit}"));
                if used.saturating_mul(10) >= limit.saturating_mul(9) {
                    full.push(name);
                }
            }
            (Some(used), None) => numbers.push(format!("{name} {used}")),
            (None, _) => {}
        }
    }
    // The limit is one for all tables together, and only ours was asked for: enough to call it full, not to call it free.
    let ours = facts.entries.as_ref().ok().copied().flatten();
    if let (Some(ours), Some(limit)) = (ours, limits.get("table-entries").copied().flatten()) {
        let table = facts.service.table.as_str();
        numbers.push(format!(
            "table-entries {ours} in {table} alone, of {limit} for all tables together"
        ));
        if ours.saturating_mul(10) >= limit.saturating_mul(9) {
            full.push("table-entries");
        }
    }
    let evidence = numbers.join(", ") + ".";
    if full.is_empty() {
        return Finding::ok("limits", evidence);
    }
    Finding::wrong(
        "limits",
        format!(
            "Nearly full: {}. Beyond that pf refuses more. Counted: {evidence}",
            full.join(", ")
        ),
        match full.len() {
            1 => "Raise the limit in pfSense: System > Advanced > Firewall & NAT.",
            _ => "Raise the limits in pfSense: System > Advanced > Firewall & NAT.",
        },
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
    let evidence = match offset {
        0 => "The clocks of the firewall and of this machine agree.".to_owned(),
        _ => format!(
            "The firewall's clock is {} {} of this machine's.",
            format_span(offset.unsigned_abs()),
            if offset > 0 { "ahead" } else { "behind" }
        ),
    };
    if offset.abs() <= CLOCK {
        return Finding::ok("clock", evidence);
    }
    Finding::wrong(
        "clock",
        format!(
            "{evidence} Ages come from the firewall's clock, deadlines of temporary changes too."
        ),
        "Look at NTP on both (Services > NTP in pfSense).",
    )
}

fn free_space(facts: &Facts<'_>) -> Finding {
    let free = match &facts.free_space {
        Ok(free) => *free,
        Err(trouble) => return trouble.finding("free-space"),
    };
    let evidence = format!("{} are free on the disk of /conf.", format_bytes(free));
    if free >= FREE_SPACE {
        return Finding::ok("free-space", evidence);
    }
    Finding::wrong(
        "free-space",
        format!("{evidence} A change should find {} there.", format_bytes(FREE_SPACE)),
        MAKE_ROOM,
    )
}

fn pending(facts: &Facts<'_>) -> Finding {
    let check = "pending-changes";
    match &facts.configured {
        Err(trouble) => trouble.finding(check),
        Ok(configured) if configured.dirty.is_empty() => {
            Finding::ok(check, "Nothing that was saved in the GUI waits to be applied.")
        }
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
    let role = carp_roles(facts.carp);
    backup_finding(facts.carp).unwrap_or_else(|| {
        Finding::ok(
            check,
            match (peer, role.as_slice()) {
                (false, []) => "A single node.".to_owned(),
                (true, []) => {
                    "Changes are sent on to a sync peer; its overload table is its own.".to_owned()
                }
                (_, role) => {
                    format!(
                        "This node is {}. The other's overload table is its own.",
                        role.join(", ")
                    )
                }
            },
        )
    })
}

fn carp_roles(carp: &[Carp]) -> Vec<String> {
    carp.iter().map(|carp| format!("{} for vhid {}", carp.state, carp.vhid)).collect()
}

/// Says of a CARP backup that it is the wrong node to look at and to change.
pub fn backup_finding(carp: &[Carp]) -> Option<Finding> {
    carp.iter().any(|carp| carp.state == "BACKUP").then(|| {
        let evidence = format!(
            "This node is {}: clients come in through the other, whose next sync overwrites what is changed here.",
            carp_roles(carp).join(", ")
        );
        Finding::wrong("ha", evidence, TAKE_MASTER)
    })
}

/// Most addresses that a command names.
const NAMED: usize = 3;
pub const CUSTOMER: &str = "customer";
/// Blocked addresses that deserve a second look: the check, and what is known of them.
const ADDRESS_KINDS: [(&str, Flag, &str); 6] = [
    (CUSTOMER, Flag::Customer, "was activated within the last day"),
    ("operator", Flag::Operator, "is the address you work from"),
    ("gateway", Flag::Gateway, "is a gateway of this firewall"),
    ("protected", Flag::Protected, "lies in a network you protect"),
    ("own-subnet", Flag::OwnSubnet, "lies in the firewall's own networks"),
    ("private", Flag::Private, "is a private address"),
];

/// Returns whether a finding is about a blocked address.
pub fn is_of_address(finding: &Finding) -> bool {
    ADDRESS_KINDS.iter().any(|(check, _, _)| *check == finding.check)
}

/// Lists what is wrong with who is blocked, each address once.
pub fn blocked_findings(entries: &[Blocked]) -> Vec<Finding> {
    let mut named: Vec<&str> = Vec::new();
    let mut findings = Vec::new();
    for (check, flag, what) in ADDRESS_KINDS {
        let hit = entries.iter().filter(|entry| {
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

/// The history on this machine.
#[derive(Clone, Debug)]
pub struct HistoryHealth<'a> {
    /// Where and why it cannot be written; one sentence.
    pub unwritable: Option<String>,
    pub open: Option<String>,
    /// No head beside it says which record is the last one.
    pub is_headless: bool,
    pub events: usize,
    /// The first line at which the chain does not hold, and what is wrong there.
    pub broken: Option<(u64, &'a str)>,
    /// Bytes of a torn last line.
    pub torn: usize,
}

/// Says that no change can be noted, and so none but a closing is made.
pub fn unkept_history(why: &str) -> Finding {
    Finding::wrong(
        "journal",
        format!("The history cannot be kept: {why}"),
        "Without a history nothing is opened: look at its owner, its mode and its file system.",
    )
}

/// Judges the history on this machine.
pub fn journal_chain_finding(chain: &HistoryHealth<'_>) -> Finding {
    let check = "journal";
    if let Some((line, what)) = chain.broken {
        return Finding::wrong(
            check,
            format!("The history's chain is broken at line {line}: {what}."),
            "Something other than kmsctl wrote into it. See `kmsctl history --verify`; keep the file, and compare it with a backup.",
        );
    }
    if let Some(where_) = &chain.unwritable {
        return unkept_history(where_);
    }
    if let Some(open) = &chain.open {
        return Finding::wrong(
            check,
            open.clone(),
            "The next change closes it too. What others wrote into it until then is not known.",
        );
    }
    if chain.is_headless {
        return Finding::unknown(
            check,
            "Whether records were cut off at the history's end is not known: journal.head, which names the last one, is missing.",
        )
        .fix("The next change writes it; kmsctl of an earlier version wrote none.");
    }
    if chain.torn > 0 {
        return Finding::unknown(
            check,
            format!(
                "The history ends in a torn record of {}, from a machine that went down while writing.",
                format_bytes(chain.torn as u64)
            ),
        )
        .fix("The next change takes it out and notes it. `kmsctl history` shows how the last change ended.");
    }
    Finding::ok(
        check,
        match chain.events {
            0 => "The history is empty.".to_owned(),
            1 => "The history has 1 record, and its chain is whole.".to_owned(),
            more => format!("The history has {more} records, and its chain is whole."),
        },
    )
}

/// Without PHP only the names in /etc/cron.d are known.
fn leftover_findings(facts: &Facts<'_>) -> Finding {
    match &facts.configured {
        Ok(configured) => leftovers(configured),
        Err(_) => armed_finding(facts),
    }
}

/// Separates jobs that are still pending from what was left behind.
fn leftovers(configured: &Configured) -> Finding {
    let check = "leftovers";
    let described = |stale: bool| -> Vec<String> {
        let files = configured.leftovers.iter();
        files
            .filter(|file| file.stale == stale)
            .map(|file| format!("{} ({})", file.path, file.why))
            .collect()
    };
    let (stale, pending) = (described(true), described(false));
    let waits = match pending.as_slice() {
        [] => String::new(),
        files => format!(" Pending: {}.", files.join("; ")),
    };
    if stale.is_empty() {
        let nothing = "kmsctl has left nothing behind on the firewall";
        return Finding::ok(
            check,
            if pending.is_empty() {
                format!("{nothing}, and nothing is armed.")
            } else {
                format!("{nothing}.{waits}")
            },
        );
    }
    Finding::wrong(
        check,
        format!("Left behind: {}.{waits}", stale.join("; ")),
        "Remove them with `kmsctl doctor --clean`; what is pending stays.",
    )
}

/// Finds a temporary change that should be over and is not; nothing where cron may still be about to end it.
pub fn overdue(configured: &Configured, now: Timestamp) -> Option<Finding> {
    const GRACE: i64 = 180;
    let is_late = |armed: &&Armed| armed.reverts_at.saturating_add(GRACE) < now.as_second();
    let Armed { id, what, reverts_at, .. } = configured.armed.iter().find(is_late)?;
    let at = Timestamp::from_second(*reverts_at).unwrap_or_default();
    let evidence = format!(
        "The temporary change {id} ({what}) was to be taken back at {at}, and is still in force: cron on the firewall does not run it."
    );
    let by_hand = format!("Take it back by hand: `kmsctl undo {id}`");
    Some(Finding::wrong("timer", evidence, by_hand))
}

fn armed_finding(facts: &Facts<'_>) -> Finding {
    match &facts.armed {
        Err(trouble) => trouble.finding("leftovers"),
        Ok([]) => Finding::ok("leftovers", "kmsctl has nothing armed on the firewall."),
        Ok(files) => Finding::unknown(
            "leftovers",
            format!(
                "Files of kmsctl in /etc/cron.d: {}. Temporary changes revert from there.",
                files.join(", ")
            ),
        )
        .fix("`kmsctl history` shows which are pending; any other is a leftover."),
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// Whom and where: `admin@10.0.20.1`.
    pub target: String,
    /// Through the system's ssh, and not the built-in client.
    pub system_ssh: bool,
    /// The configured key file, and its type where the public half names it.
    pub identity: Option<(String, Option<String>)>,
    pub agent: bool,
    /// The host key that was verified: algorithm and fingerprint.
    pub host_key: String,
    /// It is also pinned in the configuration.
    pub pinned: bool,
    /// How long the connection is kept for the next command, in seconds; 0 is not at all.
    pub kept_seconds: u64,
    /// It was kept by an earlier command.
    pub reused: bool,
    pub sudo: bool,
    /// Through which pfctl's lists alone are read.
    pub pfctl_sudo: bool,
}

/// Says why nothing is known of a firewall that could not be logged in to.
pub fn no_login() -> Trouble {
    Trouble::new("there is no login").follows(LOGIN)
}

pub fn login_findings(login: &Known<Login>) -> Vec<Finding> {
    let login = match login {
        Ok(login) => login,
        Err(trouble) => {
            let fix = trouble.fix.clone().unwrap_or_else(|| "Try it with plain ssh.".to_owned());
            let mut findings =
                vec![Finding::wrong(LOGIN, format!("No login: {}.", trouble.why), fix)];
            let rest = CHECKS.into_iter().skip(1);
            findings.extend(rest.map(|check| no_login().finding(check)));
            return findings;
        }
    };
    vec![
        login_finding(login),
        key_finding(login),
        host_key(login),
        reuse_finding(login),
        sudo_finding(login),
    ]
}

fn login_finding(login: &Login) -> Finding {
    let client = if login.system_ssh { "the system's ssh" } else { "the built-in SSH client" };
    Finding::ok(LOGIN, format!("{} lets us in through {client}, and runs our shell.", login.target))
}

fn key_finding(login: &Login) -> Finding {
    let of_kind =
        |kind: &Option<String>| kind.as_ref().map(|kind| format!(" ({kind})")).unwrap_or_default();
    match (&login.identity, login.agent) {
        (Some((path, kind)), _) => Finding::ok("ssh-key", format!("The key is {path}{}.", of_kind(kind))),
        (None, true) => Finding::ok("ssh-key", "No key is named: ssh offers those of the agent one after another.")
            .fix("Name one in firewall.identity: sshd ends a login after 6 offers, and sshguard counts them."),
        (None, false) => Finding::ok("ssh-key", "No key is named: ssh takes the usual files."),
    }
}

fn host_key(login: &Login) -> Finding {
    let pinned = if login.pinned { " and as pinned" } else { "" };
    Finding::ok("ssh-host-key", format!("{}, as in known_hosts{pinned}.", login.host_key))
}

fn reuse_finding(login: &Login) -> Finding {
    if !login.system_ssh {
        return Finding::skipped("ssh-reuse", "The built-in client logs in anew for each command.");
    }
    let from = if login.reused { "was kept by an earlier command" } else { "is new" };
    match login.kept_seconds {
        0 => Finding::ok("ssh-reuse", "Connections are not kept: each command logs in.")
            .fix("Set firewall.control_persist to 10m: sshguard counts logins."),
        seconds => Finding::ok(
            "ssh-reuse",
            format!("The connection {from}, and is kept for {}.", format_span(seconds)),
        ),
    }
}

fn sudo_finding(login: &Login) -> Finding {
    if login.sudo {
        return Finding::ok("sudo", "Commands run as root through sudo, without a password.");
    }
    if login.pfctl_sudo {
        return Finding::ok(
            "sudo",
            "pfctl's lists are read through sudo; this account changes nothing.",
        );
    }
    Finding::skipped("sudo", "Not used: the account is expected to be root.")
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Right {
    /// In MetalLB's namespace, and not in that of the service.
    pub metallb: bool,
    /// `get`, `list`, `create`.
    pub verb: &'static str,
    /// The resource, with its group where that is not the core's.
    pub resource: &'static str,
    pub subresource: Option<&'static str>,
    pub needed_by: &'static str,
    /// `kmsctl notifier manifest` grants it on request alone, so a login without it is as intended.
    pub optional: bool,
}

const fn own_right(
    verb: &'static str,
    resource: &'static str,
    subresource: Option<&'static str>,
    needed_by: &'static str,
) -> Right {
    Right { metallb: false, verb, resource, subresource, needed_by, optional: false }
}

impl Right {
    /// Returns whether it is needed where there is no notifier, too.
    pub fn serves_verify(&self) -> bool {
        self.needed_by.contains("`verify`")
    }

    /// Says what it is, where, and what is lost without it.
    fn describe_right(&self, namespace: &str) -> String {
        let part = self.subresource.map(|part| format!("/{part}")).unwrap_or_default();
        format!(
            "{} {}{part} in {namespace} (needed by {})",
            self.verb, self.resource, self.needed_by
        )
    }
}

/// Judges the answers, each with the namespace that was asked about.
pub fn rights_findings(answers: &[(Right, &str, Known<bool>)]) -> Finding {
    let check = "kubectl-rights";
    let lacking = |optional: bool| -> Vec<String> {
        answers
            .iter()
            .filter(|(right, _, answer)| *answer == Ok(false) && right.optional == optional)
            .map(|(right, namespace, _)| right.describe_right(namespace))
            .collect()
    };
    let (missing, refused) = (lacking(false), lacking(true));
    let unseen = answers.iter().find_map(|(_, _, answer)| answer.as_ref().err());
    let more = match refused.as_slice() {
        [] => String::new(),
        _ => format!(" Not granted, as by default: {}.", refused.join("; ")),
    };
    if !missing.is_empty() {
        return Finding::wrong(
            check,
            format!("This login may not: {}.{more}", missing.join("; ")),
            "Ask for these rights (`kmsctl notifier manifest` renders them), or use a login that has them (cluster.context).",
        );
    }
    if let Some(trouble) = unseen {
        return trouble.finding(check);
    }
    if refused.is_empty() {
        return Finding::ok(check, "This login may do everything that kmsctl asks for.");
    }
    let evidence = format!("This login may do what most commands ask for.{more}");
    Finding::new(check, CheckResult::Ok, evidence)
        .fix("`kmsctl notifier manifest --exec` renders the rights with that one.")
}

/// Lists what is wrong with the pair in the configuration, and is not what the exposure's finding says: `status` has it too.
pub fn pair_faults(facts: &Facts<'_>) -> Vec<Finding> {
    let is_of_pair = |found: &Finding| {
        ["pair", "association"].contains(&found.check)
            && found.result == CheckResult::Wrong
            && found.follows.is_none()
    };
    rule_findings(facts).into_iter().filter(is_of_pair).collect()
}

fn rule_findings(facts: &Facts<'_>) -> Vec<Finding> {
    let paths = facts.exposure.as_ref().ok();
    let paths = paths.and_then(|exposure| path::other_paths(exposure));
    let exposure = match &facts.exposure {
        Ok(exposure) => judge_whole(exposure, None),
        Err(trouble) => trouble.finding(whole::CHECK),
    };
    let findings = [
        states_finding(facts),
        pair_finding(facts),
        rules_finding(facts),
        association_finding(facts),
        loadable_finding(facts),
        capped_finding(facts),
        reflection_finding(facts),
    ];
    let mut findings: Vec<Finding> = findings.into_iter().chain(paths).collect();
    // What the exposure says already follows from it.
    for finding in &mut findings {
        let said = exposure.evidence.contains(&finding.evidence)
            || finding.evidence.contains(&exposure.evidence);
        if said && finding.result == CheckResult::Wrong && exposure.result == CheckResult::Wrong {
            finding.follows = Some(whole::CHECK);
        }
    }
    findings.insert(0, exposure);
    findings
}

fn states_finding(facts: &Facts<'_>) -> Finding {
    let check = "state-policy";
    let text = match &facts.exposure {
        Ok(exposure) => exposure.filter.text.as_deref(),
        Err(trouble) => return trouble.finding(check),
    };
    match text {
        None => Finding::skipped(check, "The filter rule is not loaded."),
        Some(text) if text.contains("if-bound") => {
            Finding::ok(check, "States are bound to their interface (if-bound).")
        }
        Some(_) => Finding::ok(
            check,
            "States are not bound to an interface (floating), as pfSense up to 2.7.2 makes them.",
        ),
    }
}

/// Makes one finding of those sentences of the exposure that carry one of the codes.
fn of_codes(
    facts: &Facts<'_>,
    check: &'static str,
    codes: &[&str],
    fine: &str,
    fix: &str,
) -> Finding {
    let exposure = match &facts.exposure {
        Ok(exposure) => exposure,
        Err(trouble) => return trouble.finding(check),
    };
    let sentences: Vec<&str> = exposure
        .why
        .iter()
        .filter(|finding| codes.contains(&finding.code))
        .map(|finding| finding.message.as_str())
        .collect();
    if sentences.is_empty() {
        return Finding::ok(check, fine);
    }
    Finding::wrong(check, sentences.join(" "), fix)
}

fn pair_finding(facts: &Facts<'_>) -> Finding {
    let found = match &facts.exposure {
        Ok(exposure) => (exposure.nat.configured, exposure.filter.configured),
        Err(trouble) => return trouble.finding("pair"),
    };
    let codes = [
        "duplicate-nat",
        "duplicate-filter",
        "duplicate-association",
        "tracker-shared",
        "no-tracker",
        "not-linked",
        "linked-rule-missing",
        "interface-missing",
        "alias-missing",
        "alias-empty",
        "alias-differs",
        "alias-stale",
        "configured-not-loaded",
        "loaded-not-configured",
        "nat-missing",
        "filter-missing",
    ];
    if found == (None, None) {
        return Finding::unknown("pair", "Unknown: config.xml was not read.").follows("php");
    }
    if let Ok(exposure) = facts.exposure
        && found == (Some(false), Some(false))
    {
        if exposure.deleted {
            let evidence =
                "`revoke --delete` took both rules away; `kmsctl expose restore` puts them back.";
            return Finding::skipped("pair", evidence);
        }
        let Finding { evidence, fix, .. } = absent_fault(exposure);
        return Finding { fix, ..Finding::new("pair", CheckResult::Wrong, evidence) };
    }
    let found = of_codes(
        facts,
        "pair",
        &codes,
        "The port forward and its filter rule are there once each, and joined.",
        "Look at `kmsctl expose show`, then at Firewall > NAT in pfSense.",
    );
    let exposure = facts.exposure.as_ref().ok();
    let codes = ["alias-unread", "alias-unknown"];
    let unknown = codes.iter().find_map(|code| exposure?.finding_of_code(code));
    match unknown {
        Some(unknown) if found.result == CheckResult::Ok => {
            return Finding::unknown("pair", unknown.message.clone());
        }
        _ => {}
    }
    // Both off is a closed exposure; one alone is an unfinished change.
    match exposure {
        Some(exposure)
            if found.result == CheckResult::Ok
                && exposure.nat.enabled != exposure.filter.enabled
                && exposure.nat.enabled.is_some()
                && exposure.filter.enabled.is_some() =>
        {
            let Finding { evidence, fix, .. } = half_fault(exposure);
            Finding { fix, ..Finding::new("pair", CheckResult::Wrong, evidence) }
        }
        _ => found,
    }
}

fn rules_finding(facts: &Facts<'_>) -> Finding {
    let codes = [
        "earlier-block",
        "earlier-pass",
        "other-inside-port",
        "other-target",
        "no-rdr-exception",
        "source-limited",
        "other-pass",
        "shadowed",
        "group-pass",
        "kept-behind",
        "table-empty",
        "default-pass",
        "no-rules-loaded",
    ];
    of_codes(
        facts,
        "other-rules",
        &codes,
        "No other rule stands in the way, and none lets others in.",
        "Look at `kmsctl expose show`, then at Firewall > Rules in pfSense.",
    )
}

fn association_finding(facts: &Facts<'_>) -> Finding {
    let check = "association";
    let configured = match &facts.configured {
        Ok(configured) => configured,
        Err(trouble) => return trouble.finding(check),
    };
    let pair = ManagedPair::of_service(configured, facts.service);
    if let Some(foreign) = pair.foreign.as_ref().filter(|_| pair.is_ours) {
        return Finding::wrong(
            check,
            format!("No filter rule is the exposure's own: {}.", foreign.foreign_clause()),
            whole::OWN_RULE,
        );
    }
    let fix = if pair.own_filter().is_some() {
        "Give the port forward an associated filter rule (Firewall > NAT), then set the caps with `kmsctl ratelimit default`."
    } else {
        "Give the port forward an associated filter rule (Firewall > NAT), with caps."
    };
    match pair.own_forward().map(|nat| nat.association.as_deref().unwrap_or_default()) {
        None => Finding::skipped(check, "There is no port forward to the service."),
        Some("pass") => Finding::wrong(
            check,
            "The association is \"Pass\": open, without a filter rule, and no caps are possible.",
            PASSES,
        ),
        Some("") => Finding::wrong(
            check,
            "The port forward is not associated with a filter rule: pfSense will not toggle them together.",
            fix,
        ),
        Some(_) => Finding::ok(check, "The port forward is associated with its filter rule."),
    }
}

fn loadable_finding(facts: &Facts<'_>) -> Finding {
    of_codes(
        facts,
        "caps-loadable",
        &IDLE_CAPS,
        "pfSense can load the caps as they are configured.",
        SET_WHOLE,
    )
}

fn capped_finding(facts: &Facts<'_>) -> Finding {
    match &facts.exposure {
        Ok(exposure) => path::caps_hop(exposure),
        Err(trouble) => trouble.finding("caps"),
    }
}

fn reflection_finding(facts: &Facts<'_>) -> Finding {
    let check = "reflection";
    let configured = match &facts.configured {
        Ok(configured) => configured,
        Err(trouble) => return trouble.finding(check),
    };
    let Some(nat) = ManagedPair::of_service(configured, facts.service).own_forward() else {
        return Finding::skipped(check, "There is no port forward to the service.");
    };
    let exposure = facts.exposure.as_ref().ok();
    let reflected = exposure.and_then(|exposure| exposure.finding_of_code("reflection"));
    if let Some(finding) = reflected {
        return Finding::ok(check, finding.message.clone());
    }
    Finding::ok(
        check,
        match nat.natreflection.as_deref() {
            None | Some("") => {
                "The system's default (off, unless System > Advanced says otherwise)."
            }
            Some("disable") => "Off: inside, the public address does not lead to the service.",
            Some("purenat") => {
                "Pure NAT: inside clients may use the public address; the caps of WAN do not apply to them."
            }
            Some(_) => {
                "NAT and proxy: inside clients arrive from the firewall's own address; the caps of WAN do not apply to them."
            }
        },
    )
}

#[cfg(test)]
mod rights_tests {
    use super::*;
    use crate::domain::reachability::path::Trouble;

    fn without(lacking: &dyn Fn(&Right) -> bool) -> Finding {
        let answers = RIGHTS.map(|right| (right, "kms", Ok(!lacking(&right))));
        rights_findings(&answers)
    }

    #[test]
    fn each_missing_right_names_what_it_costs() {
        for right in RIGHTS {
            let finding = without(&|other| *other == right);
            let text = format!("in kms (needed by {})", right.needed_by);
            assert!(finding.evidence.contains(&text), "{finding:?}");
            let expected = if right.optional { CheckResult::Ok } else { CheckResult::Wrong };
            assert_eq!(finding.result, expected, "{finding:?}");
            assert!(finding.fix.is_some(), "{finding:?}");
        }
        let both = without(&|right| right.verb != "list");
        assert_eq!(both.evidence.matches("needed by").count(), 5, "{both:?}");
        assert_eq!(without(&|_| false).fix, None);
    }

    #[test]
    fn what_could_not_be_asked_is_unknown_unless_something_is_missing() {
        let mut answers = RIGHTS.map(|right| (right, "kms", Ok(true)));
        answers[0].2 = Err(Trouble::new("kubectl is not installed"));
        assert_eq!(rights_findings(&answers).result, CheckResult::Unknown);
        answers[1].2 = Ok(false);
        assert_eq!(rights_findings(&answers).result, CheckResult::Wrong);
    }
}

#[cfg(test)]
mod tests;
