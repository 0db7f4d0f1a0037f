//! The firewall's hops: pf itself, port forward, filter rule, caps and alias, each as configured and as loaded. What they mean
//! together is [`crate::domain::exposure`]'s judgement, which is evidence here.

use std::net::IpAddr;

use super::{Evidence, Expected, Known, Trouble};
use crate::domain::exposure::paths::PathIn;
use crate::domain::exposure::{Exposure, Part, State};
use crate::domain::reachability::finding::Finding;
use crate::domain::service::Service;

/// How a pf that cannot be asked is told.
pub const UNREADABLE: &str = "pf cannot be asked";
const LEAD: &str = "Lead the port to the service, with caps: `kmsctl expose apply`; its --dry-run shows what that rewrites.";
const RELOAD: &str = "What is saved was not applied: apply it in pfSense (Status > Filter Reload), then look at its notices.";

/// Judges the hops `pf`, `nat`, `filter`, `caps`, `table` and `alias`. Without `expected` nobody knows what is to be.
pub fn firewall_hops(evidence: &Evidence<'_>, expected: Option<Expected>) -> Vec<Finding> {
    let exposure = match &evidence.exposure {
        Ok(exposure) => *exposure,
        Err(trouble) => return unread_hops(evidence, trouble),
    };
    let mut hops = vec![
        pf_hop(exposure),
        stale_redirection(evidence, exposure).unwrap_or_else(|| {
            rule_hop("nat", "The port forward", &exposure.nat, exposure, expected)
        }),
        filter_hop(exposure, expected),
        caps_hop(exposure),
        table_hop(evidence.service, &evidence.table, Some(exposure)),
        alias_hop(evidence, exposure),
    ];
    hops.extend(other_paths(exposure));
    hops
}

/// Names the paths that kmsctl does not manage, where there are any; shared with `doctor`.
pub fn other_paths(exposure: &Exposure) -> Option<Finding> {
    let clauses: Vec<String> = exposure.foreign_paths().map(PathIn::clause).collect();
    let told = format!("Beside the managed pair: {}.", clauses.join("; "));
    let fix = "Switch it off in pfSense (Firewall > NAT and Firewall > Rules): kmsctl names it and never changes it.";
    if exposure.foreign_paths().any(|path| path.certain) {
        Some(Finding::wrong("paths", told, fix))
    } else {
        (!clauses.is_empty()).then(|| Finding::unknown("paths", told))
    }
}

fn unread_hops(evidence: &Evidence<'_>, trouble: &Trouble) -> Vec<Finding> {
    vec![
        trouble.finding_itself("pf", UNREADABLE),
        trouble.finding("nat"),
        trouble.finding("filter"),
        trouble.finding("caps"),
        table_hop(evidence.service, &evidence.table, None),
        trouble.finding("alias"),
    ]
}

/// The loaded redirection has the WAN address of its load time written into it: after a change of the address without
/// a reload it waits for connections that no longer come.
fn stale_redirection(evidence: &Evidence<'_>, exposure: &Exposure) -> Option<Finding> {
    let wan = evidence.wan.as_ref().ok()?.address()?;
    let text = exposure.nat.text.as_deref()?;
    let to = text.split(" to ").nth(1)?.split_ascii_whitespace().next()?;
    let loaded: IpAddr = to.parse().ok()?;
    (loaded != wan).then(|| {
        Finding::wrong(
            "nat",
            format!("The loaded port forward waits at {loaded}, but the interface has {wan}."),
            "Reload the filter in pfSense (Status > Filter Reload): the address is written into the rule when it is loaded.",
        )
    })
}

fn pf_hop(exposure: &Exposure) -> Finding {
    if exposure.filtering {
        return Finding::ok("pf", "pf is enabled.");
    }
    Finding::wrong(
        "pf",
        "pf is disabled: nothing is filtered, and nothing is translated.",
        "Enable it in pfSense: System > Advanced > Firewall & NAT.",
    )
}

fn filter_hop(exposure: &Exposure, expected: Option<Expected>) -> Finding {
    if exposure
        .why
        .iter()
        .any(|finding| finding.code == "nat-pass")
    {
        return Finding::wrong(
            "filter",
            "The port forward's filter rule association is \"Pass\": it lets everybody in by itself, without a filter rule and without caps.",
            "Give the port forward an associated filter rule (Firewall > NAT), then set the caps on it.",
        );
    }
    rule_hop(
        "filter",
        "The filter rule",
        &exposure.filter,
        exposure,
        expected,
    )
}

/// One rule of the pair against what is expected. Nobody gets in while one of the two is off, so a rule that is on
/// is no fault of a closed exposure.
fn rule_hop(
    check: &'static str,
    what: &str,
    part: &Part,
    exposure: &Exposure,
    expected: Option<Expected>,
) -> Finding {
    let standing = part_words(what, part) + &odd_findings(check, exposure);
    let enabled = part.enabled == Some(true);
    match expected {
        _ if part.enabled.is_some() && part.loaded && !enabled => {
            Finding::wrong(check, standing, RELOAD)
        }
        Some(Expected::Open) | None if part.loaded => Finding::ok(check, standing),
        Some(Expected::Open) if enabled => Finding::wrong(check, standing, RELOAD),
        Some(Expected::Open) if exposure.elsewhere.loaded => Finding::wrong(check, standing, LEAD),
        Some(Expected::Open) => {
            Finding::wrong(check, standing, "Open it with `kmsctl expose restore`.")
        }
        Some(Expected::Closed) if exposure.state.lets_in() && is_own_part(part) => {
            Finding::wrong(check, standing, "Close it with `kmsctl expose revoke`.")
        }
        Some(Expected::Closed) if exposure.state.lets_in() => Finding::wrong(
            check,
            standing,
            "Switch off the rule that lets them in, in pfSense (Firewall > NAT and Firewall > Rules): it is not kmsctl's own.",
        ),
        Some(Expected::Closed) if part.loaded && exposure.filtering => Finding::ok(
            check,
            format!("{standing} Nobody gets in, as the other half of the pair is off."),
        ),
        Some(Expected::Closed) => Finding::ok(check, standing),
        None => Finding::unknown(check, standing),
    }
}

/// Whether a rule is the exposure's own, as far as that is known: only such can be revoked.
fn is_own_part(part: &Part) -> bool {
    part.configured.unwrap_or(part.loaded)
}

/// Renders what the exposure finds odd about the loaded rules of a hop.
fn odd_findings(check: &str, exposure: &Exposure) -> String {
    let codes: &[&str] = match check {
        "nat" => &[
            "other-target",
            "no-rdr-exception",
            "source-limited",
            "rdr-pass",
        ],
        _ => &[
            "default-pass",
            "no-rules-loaded",
            "shadowed",
            "other-pass",
            "group-pass",
        ],
    };
    exposure
        .why
        .iter()
        .filter(|finding| codes.contains(&finding.code))
        .map(|finding| format!(" {}", finding.message))
        .chain(deciding_instead(check, exposure))
        .collect()
}

/// Names the filter rule that decides where the port leads to another target.
fn deciding_instead(check: &str, exposure: &Exposure) -> Option<String> {
    let text = exposure.elsewhere_filter.text.as_deref()?;
    (check == "filter").then(|| format!(" The rule that decides where the port leads: {text}."))
}

fn part_words(what: &str, part: &Part) -> String {
    let loaded = if part.loaded { "loaded" } else { "not loaded" };
    let configured = match (part.configured, part.enabled) {
        (None, _) => "configuration unknown",
        (Some(false), _) => "not configured",
        (_, Some(false)) => "configured, disabled",
        _ => "configured, enabled",
    };
    format!("{what}: {configured}, {loaded}.")
}

/// Judges whether each source is capped; shared with `doctor`.
pub fn caps_hop(exposure: &Exposure) -> Finding {
    let loaded = exposure
        .caps
        .loaded
        .map(|caps| caps.to_string())
        .unwrap_or_default();
    match exposure.state {
        State::Uncapped if exposure.elsewhere_filter.loaded => Finding::wrong(
            "caps",
            "Connections get in by a rule that leads the port elsewhere, and no cap per source is in force.",
            LEAD,
        ),
        State::Uncapped => Finding::wrong(
            "caps",
            "Connections get in, and no cap per source is in force.",
            "`kmsctl ratelimit default` sets them; a port forward with the association \"Pass\" cannot have any.",
        ),
        State::Open => match exposure.caps.configured {
            Some(configured) if Some(configured) != exposure.caps.loaded => Finding::wrong(
                "caps",
                format!("In force: {loaded}. Configured: {configured}."),
                RELOAD,
            ),
            _ => Finding::ok("caps", format!("In force per source: {loaded}.")),
        },
        State::Unknown => Finding::unknown(
            "caps",
            "Unknown: it is not clear whether connections get in.",
        ),
        State::Closed | State::Half | State::Absent => {
            Finding::skipped("caps", "Nothing gets in that could be capped.")
        }
    }
}

/// Judges the overload table and the rule that blocks it; shared with `doctor`. Over a cap but not kept out, a source
/// simply tries again.
pub fn table_hop(
    service: &Service,
    entries: &Known<Option<u64>>,
    exposure: Option<&Exposure>,
) -> Finding {
    let (check, name) = ("table", service.table.as_str());
    let reload = "Both come with pfSense's ruleset: reload it (Status > Filter Reload), then look at its notices.";
    let entries = match entries {
        Err(trouble) => return trouble.finding(check),
        Ok(None) => {
            let told =
                format!("The table {name} does not exist, so nobody over a cap is kept out.");
            return Finding::wrong(check, told, reload);
        }
        Ok(Some(1)) => "1 entry".to_owned(),
        Ok(Some(more)) => format!("{more} entries"),
    };
    let told = format!("The table {name} is there, with {entries}");
    let idle = exposure.and_then(|exposure| {
        let codes = ["block-missing", "block-ineffective"];
        let mut why = exposure.why.iter();
        why.find(|finding| codes.contains(&finding.code))
    });
    match (exposure, idle) {
        (_, Some(idle)) => Finding::wrong(check, format!("{told}. {}", idle.message), reload),
        (Some(exposure), None) if exposure.filtering => {
            Finding::ok(check, format!("{told}, and a loaded rule blocks it."))
        }
        (_, None) => Finding::ok(check, format!("{told}.")),
    }
}

/// Judges the alias against the service's address; shared with `doctor`.
pub fn alias_hop(evidence: &Evidence<'_>, exposure: &Exposure) -> Finding {
    let alias = &exposure.alias;
    let (name, wanted) = (&alias.name, evidence.service.address);
    let fix = format!(
        "Make {wanted} the only member of the alias (Firewall > Aliases), or correct service.address."
    );
    match (alias.configured, alias.as_expected) {
        (None, _) => Finding::unknown("alias", "Unknown: config.xml was not read."),
        (Some(false), _) => Finding::wrong(
            "alias",
            format!("The alias {name} does not exist: pfSense loads neither rule."),
            fix,
        ),
        (_, Some(true)) => Finding::ok("alias", format!("{name} is {wanted}.")),
        _ if alias.addresses.is_empty() => Finding::wrong(
            "alias",
            format!("The alias {name} is empty: the port is silently closed."),
            fix,
        ),
        _ => Finding::wrong(
            "alias",
            format!("{name} is {}, not {wanted}.", alias.addresses.join(" ")),
            fix,
        ),
    }
}
