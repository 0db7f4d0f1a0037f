//! The sentences: why the state is what it is, and where configured and loaded differ.

use super::matching::{from_anywhere, sees_inbound_tcp};
use super::path::{OtherRedirection, Path};
use super::paths::PathIn;
use super::upnp::UPNP_ANCHOR;
use super::{CapsView, Loaded, State, alias};
use crate::domain::pf::rule::{Action, PF_WORDS, Rule};
use crate::domain::pfsense::config::ReadRequest;
use crate::domain::pfsense::configured::{Configured, FilterRule, NatRule};
use crate::domain::pfsense::managed::ManagedPair;
use crate::domain::ratelimit::Caps;
use crate::domain::service::Service;
use crate::domain::warning::Warning;
use crate::text::quoted;

/// Most paths that are named one by one.
const NAMED: usize = 8;

/// The anchors that pfSense itself writes: for its VPNs, its proxies, its load balancer and the rules of logins.
const OWN_ANCHORS: [&str; 7] =
    ["ipsec", "natearly", "natrules", "openvpn", "relayd", "tftp-proxy", "userrules"];

/// Says why the state is what it is; the code is specific, so that scripts can tell the ways apart.
///
/// `known` is whether any rule of the exposure is configured or loaded.
pub(super) fn state_reason(
    state: State,
    known: bool,
    path: &Path<'_>,
    loaded: Loaded<'_>,
    caps: CapsView,
    service: &Service,
) -> Warning {
    if let Some(other) = path.elsewhere.filter(|_| !known && loaded.enabled) {
        return other_target(&other, service);
    }
    let caps = caps.loaded.unwrap_or_default();
    let (code, message) = match state {
        State::Open if path.redirections.is_empty() => (
            "in-force",
            format!("A filter rule lets connections to the service's routed address in; {caps} per source are in force."),
        ),
        State::Open => ("in-force", format!("The port forward and a filter rule are loaded; {caps} per source are in force.")),
        State::Uncapped if path.redirection_passes() => (
            "rdr-pass",
            "The loaded redirection lets connections in by itself (rdr pass): no filter rule and no cap applies.".into(),
        ),
        State::Uncapped => {
            return default_pass(path, loaded.filter).unwrap_or_else(|| {
                Warning::new("no-caps", "Connections get in, and the loaded filter rule caps no source.")
            });
        }
        State::Half if path.redirects => (
            "filter-not-in-force",
            "The port forward is loaded, but no loaded filter rule lets its connections in from everywhere.".into(),
        ),
        State::Half => (
            "nat-not-in-force",
            "The filter rule is loaded, but no redirection leads to the service.".into(),
        ),
        State::Closed if !loaded.enabled => ("pf-disabled", "pf is switched off: nothing is redirected, and nothing is filtered.".into()),
        State::Closed => ("not-loaded", "Neither the port forward nor the filter rule is in force.".into()),
        State::Unknown => ("path-unknown", "The rules alone do not say whether something leads to the service.".into()),
        State::Absent => ("no-rules", "No port forward and no filter rule for the service exist.".into()),
    };
    Warning::new(code, message)
}

/// Says why connections of the loaded pair do not get to the service.
pub(super) fn kept_behind(rule: Option<&Rule>) -> Warning {
    let message = rule.map_or_else(
        || {
            "The pair is loaded, but other loaded rules keep its connections from the service."
                .to_owned()
        },
        |rule| {
            rule.rule_sentences(
                "The pair is loaded, but a rule keeps its connections from getting out to the service",
            )
        },
    );
    Warning::new("kept-behind", message)
}

/// Says that pf's table of the alias is not what the configuration says.
pub(super) fn alias_stale(difference: &str) -> Warning {
    Warning::new("alias-stale", format!("The rules are loaded, but {difference}."))
}

/// Says that it is not known what pf's table of the alias holds.
pub(super) fn alias_unread(service: &Service) -> Warning {
    Warning::new(
        "alias-unread",
        format!(
            "The rules are loaded, but pf's table of the alias {} could not be read: whether they lead to {} is not known.",
            service.alias, service.address
        ),
    )
}

/// Says that the loaded pair leads nowhere, or is for no source, as pf's table of an alias holds nothing.
pub(super) fn empty_table(table: &str) -> Warning {
    Warning::new(
        "table-empty",
        format!(
            "The pair is loaded, but pf's table {} holds no address: no connection gets in by it.",
            quoted(table)
        ),
    )
}

/// Puts the paths that kmsctl does not manage beside the reason: before it where the pair alone would be called shut.
pub(super) fn other_paths(
    alone: State,
    state: State,
    reason: Warning,
    paths: &[PathIn],
) -> Vec<Warning> {
    let mut others: Vec<Warning> = paths
        .iter()
        .filter(|path| !path.managed)
        .take(NAMED)
        .map(|path| {
            let code = if path.certain { "other-path" } else { "path-unknown" };
            let (clause, caps) = (path.path_clause(), path.caps_clause());
            let rule = path.rule_clause();
            Warning::new(
                code,
                format!("A path that kmsctl does not manage: {clause}{caps}. {rule}"),
            )
        })
        .collect();
    let more = paths.iter().filter(|path| !path.managed).count().saturating_sub(NAMED);
    if more > 0 {
        others.push(Warning::new(
            "other-path",
            format!("{more} more paths that kmsctl does not manage lead to the service."),
        ));
    }
    let place = if alone == state { 0 } else { others.len() };
    // What lets in is then another path, and the pair's own reason would claim it.
    if alone == state || !alone.lets_in() {
        others.insert(place, reason);
    }
    others
}

/// Counts redirections on inside interfaces.
pub(super) fn reflection_warning(count: usize) -> Option<Warning> {
    (count > 0).then(|| Warning::new(
        "reflection",
        format!("{count} more redirections to the service are loaded on inside interfaces (NAT reflection); the caps do not apply there."),
    ))
}

/// Says that a rule passes what nothing leads to the service: no way in by itself.
pub(super) fn pass_alone(rule: &str, service: &Service) -> Warning {
    let (address, port) = (service.address, service.port);
    Warning::new(
        "pass-alone",
        format!(
            "A rule passes connections from outside to {address} port {port}, and nothing leads them there: it is no way in by itself.{PF_WORDS}: {rule}."
        ),
    )
}

/// Says that what answers at the service's port, which the pair does not lead anywhere, is another machine's.
pub(super) fn upnp_elsewhere(rule: &Rule, service: &Service) -> Warning {
    let target = rule.target.as_deref().unwrap_or_default();
    let (port, text) = (service.port, &rule.text);
    Warning::new(
        "upnp-elsewhere",
        format!(
            "UPnP has opened port {port} outside for another machine ({target}): what answers there is not the service.{PF_WORDS}: {text}."
        ),
    )
}

/// Names the anchors whose rules can let connections in and are not read: all but pfSense's own ones.
pub(super) fn anchors_unread(loaded: Loaded<'_>, service: &Service) -> Vec<Warning> {
    let mut named: Vec<(&str, &str)> = Vec::new();
    let rules = [("-sn", loaded.nat), ("-sr", loaded.filter)];
    for (list, rule) in
        rules.iter().flat_map(|(list, rules)| rules.iter().map(move |rule| (*list, rule)))
    {
        let Action::Anchor { kind, name } = &rule.action else {
            continue;
        };
        let base = name.split_once('/').map_or(name.as_str(), |(base, _)| base);
        // What stands in braces is read with them; outbound NAT lets no connection in.
        let is_read = rule.block || rule.depth > 0 || kind == "nat-anchor";
        if !is_read
            && sees_inbound_tcp(rule, service)
            && !OWN_ANCHORS.contains(&base)
            && !named.iter().any(|(other, _)| other == name)
        {
            named.push((name, list));
        }
    }
    named.into_iter().take(NAMED).map(anchor_unread).collect()
}

fn anchor_unread((name, list): (&str, &str)) -> Warning {
    let unread = if name == UPNP_ANCHOR {
        "UPnP's rules (anchor miniupnpd) are not read: a port that a machine inside has opened by UPnP is not seen here."
            .to_owned()
    } else {
        format!(
            "The rules of the anchor {} are not read: what they let in is not seen here.",
            quoted(name)
        )
    };
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "_-./".contains(letter);
    // The star means every anchor.
    let asked = if !name.is_empty() && name.chars().all(is_plain) { name } else { "'*'" };
    let message = format!("{unread} Look on the firewall: `pfctl -a {asked} {list}`");
    Warning::new("anchor-unread", message)
}

/// Names a port forward that leads to another port inside.
pub(super) fn other_inside_port(path: &Path<'_>, service: &Service) -> Option<Warning> {
    let inside = path.inside_port?;
    Some(Warning::new(
        "other-inside-port",
        format!(
            "The loaded port forward leads port {} to port {inside} of {}.",
            service.port, service.alias
        ),
    ))
}

/// Names a port forward to the service that is on another interface or port than kmsctl was given.
pub(super) fn configured_elsewhere(configured: &Configured, service: &Service) -> Option<Warning> {
    let request = ReadRequest::from(service);
    let leads_there = |rule: &&NatRule| !rule.nordr && request.is_named_by(rule.target.as_deref());
    let forward = configured.all_nat.iter().find(leads_there)?;
    Some(Warning::new(
        "configured-elsewhere",
        format!(
            "A port forward to {} is configured on {} port {}, not on {} port {}.",
            service.alias,
            forward.interface,
            forward.destination.port.as_deref().unwrap_or("any"),
            service.interface,
            service.port
        ),
    ))
}

/// Says where the port leads instead of to the service.
pub(super) fn other_target(other: &OtherRedirection<'_>, service: &Service) -> Warning {
    let target = other.redirection.target.as_deref().unwrap_or_default();
    let (port, alias, caps) = (service.port, &service.alias, other.caps());
    let effect = match (other.lets_in(), caps.is_empty()) {
        (false, _) if !other.takes_everybody() => {
            "it takes the connections of some sources only".to_owned()
        }
        (false, _) => "no loaded filter rule lets its connections in".to_owned(),
        (true, true) => "its connections get in, and no source is capped".to_owned(),
        (true, false) => format!("its connections get in, with {caps} per source"),
    };
    Warning::new(
        "other-target",
        format!("Port {port} is redirected to {target}, not to {alias}: {effect}."),
    )
}

/// Warns where no loaded rule decides: pf's own default is to pass, so nothing keeps anybody out.
pub(super) fn default_pass(path: &Path<'_>, filter: &[Rule]) -> Option<Warning> {
    if path.decides.is_some() {
        return None;
    }
    let decides = |rule: &Rule| matches!(rule.action, Action::Pass | Action::Block);
    Some(if filter.iter().any(decides) {
        Warning::new(
            "default-pass",
            "DANGER: no loaded filter rule decides about the service's connections, and pf passes what no rule decides. \
             pfSense's default deny rule is not loaded.",
        )
    } else {
        Warning::new(
            "no-rules-loaded",
            "DANGER: pf is enabled and has no filter rule loaded, so it passes everything, on every interface. \
             The ruleset was flushed, or its last load failed.",
        )
    })
}

/// Names what in the configuration as a whole concerns the exposure.
pub(super) fn configuration_warnings(
    configured: Option<&Configured>,
    service: &Service,
) -> Vec<Warning> {
    let Some(configured) = configured else {
        return vec![Warning::new(
            "configuration-unread",
            "The firewall's configuration could not be read: this is judged from the loaded rules alone.",
        )];
    };
    let mut findings = Vec::new();
    let mut say = |code, message: String| findings.push(Warning::new(code, message));
    let view = alias(Some(configured), service);
    if configured.alias.is_none() {
        say(
            "alias-missing",
            format!(
                "The alias {} does not exist: pfSense leaves out every rule that uses it at the next reload.",
                view.name
            ),
        );
    } else if view.addresses.is_empty() {
        say(
            "alias-empty",
            format!(
                "The alias {} has no member: pfSense leaves out every rule that uses it at the next reload.",
                view.name
            ),
        );
    } else if view.as_expected.is_none() {
        let members = view.addresses.join(" ");
        say(
            "alias-unknown",
            format!(
                "The alias {} holds {members}: only the firewall knows which addresses that are.",
                view.name
            ),
        );
    } else if view.as_expected == Some(false) {
        let (members, wanted) = (view.addresses.join(" "), service.address);
        say(
            "alias-differs",
            format!("The alias {} holds {members}, not just {wanted}.", view.name),
        );
    }
    if configured.interface.is_none() {
        say(
            "interface-missing",
            format!("The firewall has no interface {}.", quoted(&service.interface)),
        );
    }
    if !configured.dirty.is_empty() {
        let what = configured.dirty.join(", ");
        say(
            "pending-changes",
            format!(
                "Changes are saved in the GUI and not applied ({what}): the next reload, by anyone, puts them in force."
            ),
        );
    }
    if configured.ha_peer {
        say("ha-peer", "A sync peer is configured: the table and its entries are each node's own, and rules reach the peer later.".into());
    }
    if configured.filter_disabled {
        say("filter-disabled", "Packet filtering is switched off in the configuration (System > Advanced > Firewall & NAT).".into());
    }
    findings
}

/// Names where the pair and the loaded rules differ, and disabled halves.
pub(super) fn pair_differences(
    pair: &ManagedPair<'_>,
    path: &Path<'_>,
    own_lines: &[&Rule],
    caps: CapsView,
) -> Vec<Warning> {
    let mut findings = Vec::new();
    let nat = pair.own_forward().map(|rule| rule.disabled);
    findings.extend(half_difference(
        "nat",
        "port forward",
        nat,
        !path.redirections.is_empty(),
        None,
    ));
    let filter = pair.own_filter().map(|rule| rule.disabled);
    let schedule =
        pair.own_filter().and_then(|rule| rule.sched.as_deref()).filter(|name| !name.is_empty());
    let expected = !pair.forward_passes() && (pair.foreign.is_none() || !pair.is_ours);
    if expected || !own_lines.is_empty() {
        findings.extend(half_difference(
            "filter",
            "filter rule",
            filter,
            !own_lines.is_empty(),
            schedule,
        ));
    }
    findings.extend(association_difference(pair, path));
    findings.extend(pair.own_forward().and_then(|rule| limited_sources(rule, path)));
    // Compared with the pair's own rule: another rule that lets traffic in is a finding of its own.
    let own = path.passes.first().map(|rule| Caps::of_loaded(rule));
    if let (Some(configured), Some(loaded)) = (caps.configured, own)
        && configured != loaded
        && filter == Some(false)
    {
        findings.push(Warning::new("caps-differ", format!("Configured are {configured}, loaded are {loaded}: the configuration was changed and not applied, or its last reload failed.")));
    }
    findings
}

/// Names a port forward that is configured for some sources, unless the loaded one says so itself.
fn limited_sources(rule: &NatRule, path: &Path<'_>) -> Option<Warning> {
    let source = &rule.source;
    let host = source.address.as_deref().or(source.network.as_deref());
    let host = host.map(str::trim).filter(|host| !host.is_empty());
    let port = source.port.as_deref().map(str::trim);
    let port = port.filter(|port| !matches!(*port, "" | "any"));
    let said = path.redirections.iter().any(|rule| !from_anywhere(rule));
    if said || (host.is_none_or(|host| host == "any") && port.is_none()) {
        return None;
    }
    let sign = if source.not { "! " } else { "" };
    let port = port.map(|port| format!(" port {port}")).unwrap_or_default();
    let host = host.unwrap_or("any");
    let loaded =
        if path.redirections.is_empty() { "" } else { "; the loaded one is for everybody" };
    Some(Warning::new(
        "source-limited",
        format!(
            "The port forward is configured for connections from {sign}{host}{port} only{loaded}."
        ),
    ))
}

/// Compares whether the port forward lets connections in by itself.
fn association_difference(pair: &ManagedPair<'_>, path: &Path<'_>) -> Option<Warning> {
    let enabled = pair.own_forward().is_some_and(|nat| !nat.disabled);
    if !enabled
        || path.redirections.is_empty()
        || pair.forward_passes() == path.redirection_passes()
    {
        return None;
    }
    let (code, message) = if pair.forward_passes() {
        (
            "configured-not-loaded",
            "The port forward is configured to let connections in by itself, but the loaded one does not yet.",
        )
    } else {
        (
            "loaded-not-configured",
            "The loaded port forward lets connections in by itself (rdr pass), but the configuration no longer says so.",
        )
    };
    Some(Warning::new(code, message))
}

/// Compares one half: `disabled` is `None` where it is not configured.
fn half_difference(
    key: &str,
    name: &str,
    disabled: Option<bool>,
    loaded: bool,
    schedule: Option<&str>,
) -> Option<Warning> {
    let nat = key == "nat";
    let (code, message) = match (disabled, loaded) {
        (Some(false), true) => return None,
        (None, false) if nat => ("nat-missing", format!("No {name} to the alias is configured.")),
        (None, false) => ("filter-missing", format!("No {name} for the service is configured.")),
        (Some(true), false) if nat => {
            ("nat-disabled", format!("The {name} is disabled in the configuration."))
        }
        (Some(true), false) => {
            ("filter-rule-disabled", format!("The {name} is disabled in the configuration."))
        }
        (Some(false), false) => {
            let because = schedule
                .map(|name| format!(" Its schedule {} may be outside its time.", quoted(name)))
                .unwrap_or_default();
            (
                "configured-not-loaded",
                format!("The {name} is configured and enabled, but pf has not loaded it.{because}"),
            )
        }
        (Some(true), true) => (
            "loaded-not-configured",
            format!("The {name} is disabled in the configuration, but pf still has it loaded."),
        ),
        (None, true) => (
            "loaded-not-configured",
            format!("The {name} is loaded, but the configuration does not have it."),
        ),
    };
    Some(Warning::new(code, message))
}

/// Lists what limits or marks the pair's traffic beside the three caps: as pf runs it, and what else the configuration says.
pub(super) fn other_limits(filter: Option<&FilterRule>, path: &Path<'_>) -> Vec<String> {
    let mut limits: Vec<String> = deciding_rule(path).map(loaded_limits).unwrap_or_default();
    let configured = filter.map(|rule| rule.conditions.as_slice()).unwrap_or_default();
    for (key, value) in configured {
        let spelt = match *key {
            "statetimeout" => format!("tcp.established {value}"),
            _ => format!("{key} {value}").trim().to_owned(),
        };
        if !limits.contains(&spelt) {
            limits.push(spelt);
        }
    }
    limits
}

fn loaded_limits(rule: &Rule) -> Vec<String> {
    let options = &rule.state_options;
    let number = |name: &str, value: Option<u32>| value.map(|value| format!("{name} {value}"));
    let mut limits: Vec<String> = options
        .other
        .iter()
        .filter(|text| ["max ", "tcp.", "adaptive."].iter().any(|start| text.starts_with(start)))
        .cloned()
        .collect();
    limits.extend(number("max-src-nodes", options.max_src_nodes));
    limits.extend(number("max-src-states", options.max_src_states));
    // What stands in quotes is a label's, but for the values of these words.
    let parts: Vec<&str> = rule.text.split('"').collect();
    for pair in parts.chunks_exact(2) {
        let [before, value] = pair else { continue };
        let word = before.split_ascii_whitespace().next_back().unwrap_or_default();
        if matches!(word, "os" | "tag" | "tagged") {
            limits.push(format!("{word} {value}"));
        }
    }
    limits
}

/// Says that there are others, and which of them is lower than the caps.
pub(super) fn limits_finding(limits: &[String], caps: Option<Caps>) -> Option<Warning> {
    let lower = caps.and_then(|caps| lower_limit(limits, caps));
    let lower = lower.map(|lower| format!(" {lower}")).unwrap_or_default();
    (!limits.is_empty()).then(|| {
        Warning::new(
            "other-limits",
            format!(
                "The filter rule has other limits and conditions beside the caps: {}.{lower}",
                limits.join(", ")
            ),
        )
    })
}

/// Names a limit that holds a source before its cap on connections does.
pub fn lower_limit(limits: &[String], caps: Caps) -> Option<String> {
    let value = |limit: &String, name: &str| limit.strip_prefix(name)?.trim().parse::<u32>().ok();
    let found = limits.iter().find_map(|limit| {
        let number = value(limit, "max-src-states ").or_else(|| value(limit, "max "))?;
        let is_lower = caps.max_src_conn.is_none_or(|cap| number < cap);
        is_lower.then_some(limit)
    })?;
    Some(format!("{found} is the lower limit: it holds before max-src-conn does."))
}

fn deciding_rule<'a>(path: &Path<'a>) -> Option<&'a Rule> {
    let deciding = path.decides.filter(|_| path.lets_in());
    deciding.or(path.passes.first().copied())
}

/// Names what is odd about the caps of the rule that lets connections in.
pub(super) fn look_at_loaded_caps(path: &Path<'_>, service: &Service, findings: &mut Vec<Warning>) {
    let Some(rule) = deciding_rule(path) else {
        return;
    };
    let caps = Caps::of_loaded(rule);
    let table = service.table.as_str();
    match &rule.state_options.overload {
        None if caps.rate.is_some() => findings.push(Warning::new(
            "no-overload",
            format!("The loaded rule has a rate but no overload table: offenders are cut off, and never put into {table}."),
        )),
        None if caps.max_src_conn.is_some() => findings.push(Warning::new(
            "never-overloads",
            format!("Only max-src-conn is loaded, without a rate: it limits each source, but never puts one into {table}."),
        )),
        Some(overload) if overload.table != table => findings.push(Warning::new(
            "other-table",
            format!("The loaded rule puts offenders into {}, not into {table}.", quoted(&overload.table)),
        )),
        _ => {}
    }
}
