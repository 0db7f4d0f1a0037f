//! Plans that make the exposure what kmsctl's configuration says, from what is there: only what differs is named,
//! and only that is changed. The differences are those of `pfsense::edit`, field by field. Who may connect is
//! the administrator's: the configuration says nothing of sources, so they stay.

use super::armed::{nothing_to_open, refuse_crossing};
use super::effect::{listed_kinds, touched_kinds};
use super::exposure::{ChangeOptions, PlanBasis, draft_change, ready_pair, switching_title};
use super::opening::{promised_exposure, refuse_shadowed, refuse_taken, state_of_caps};
use super::{Draft, Planned, Refusal, RefusalKind, Risk, caps};
use crate::domain::exposure::State;
use crate::domain::pfsense::change::{ArmedKind, ConfigurationEdit, Swap};
use crate::domain::pfsense::config::{ReadRequest, is_exactly, port_field_is};
use crate::domain::pfsense::configured::{Alias, FilterRule, NatRule, Side};
use crate::domain::pfsense::deciding::{conditions_of, find_rule_before};
use crate::domain::pfsense::managed::ManagedPair;
use crate::domain::ratelimit::{self, Caps};
use crate::domain::reachability::path::Expected;
use crate::text::quoted;

/// Plans to make alias, port forward, filter rule and caps what the configuration says.
pub fn plan_apply(
    present: &PlanBasis<'_>,
    caps: Caps,
    terms: ChangeOptions,
) -> Result<Planned, Refusal> {
    caps::check_caps(caps)?;
    let pair = ready_pair(present, terms)?;
    let mut draft = draft_building(present, &pair, caps, true, terms)?;
    let users = alias_users(present, &pair)?;
    draft.risks.splice(0..0, users);
    let exposure = present.exposure;
    // A rule that blocks is made one that passes, and then counts as such: pfSense reads its gateway.
    let passing = pair.passes.first().map(|rule| FilterRule { kind: None, ..(*rule).clone() });
    let (nat, filter) = (pair.first_forward(), passing.as_ref());
    let limited = limited_clause(nat, filter);
    let request = ReadRequest::from(present.service);
    refuse_uncapped_before(present, filter, caps, &request)?;
    let as_wanted = match &limited {
        None => exposure.state == State::Open && exposure.caps.loaded == Some(caps),
        Some(_) => exposure.nat.loaded && exposure.filter.loaded,
    };
    if draft.differences.is_empty() && as_wanted && !present.exposure.is_alias_stale() {
        let lets_in = exposure.paths.iter().any(|path| path.managed && path.certain);
        if limited.is_some() && !lets_in {
            return Err(refuse_letting_none_in(present, limited));
        }
        let words = limited.map(|words| format!(" {words}")).unwrap_or_default();
        return nothing_to_open(
            present,
            terms,
            &format!("the firewall is what the configuration says.{words}"),
        );
    }
    refuse_crossing(present, terms, &[ArmedKind::Caps, ArmedKind::Closing])?;
    refuse_taken(present, nat)?;
    draft.differences.extend(caps::loaded_differences(present, filter, caps));
    if matches!(exposure.state, State::Closed | State::Absent)
        && Expected::of(exposure) == Some(Expected::Closed)
    {
        draft.risks.push(closed_on_purpose(present));
    }
    let draft = promised_exposure(draft, nat, filter, present, state_of_caps(caps));
    refuse_shadowed(&draft, present)?;
    Ok(draft.into())
}

/// Refuses caps that would not count, as another rule lets all sources in first and has none.
fn refuse_uncapped_before(
    present: &PlanBasis<'_>,
    filter: Option<&FilterRule>,
    caps: Caps,
    request: &ReadRequest,
) -> Result<(), Refusal> {
    let is_uncapped =
        |rule: &&FilterRule| rule.is_pass() && ratelimit::of_configured(rule).0.is_empty();
    let first = find_rule_before(present.configured, filter, request);
    let Some(first) = first.filter(is_uncapped).filter(|_| !caps.is_empty()) else {
        return Ok(());
    };
    let rule = called_rule("The filter rule", first.descr.as_ref());
    let message = format!(
        "{rule} (tracker {}) lets the service's traffic in before the pair's rule sees it, and caps no source.",
        first.tracker.as_deref().unwrap_or("none")
    );
    Err(Refusal::new(RefusalKind::Conflict, message)
        .hint("Give it the caps, or move or disable it in the GUI: Firewall > Rules."))
}

/// Refuses to call the firewall as wanted where pf runs the pair as it is configured, and lets no client in, or it is not known.
fn refuse_letting_none_in(present: &PlanBasis<'_>, limited: Option<String>) -> Refusal {
    let exposure = present.exposure;
    let why = exposure.why.first().map_or("", |finding| finding.message.as_str());
    let limited = limited.map(|words| format!(" {words}")).unwrap_or_default();
    let message = format!(
        "Both rules are loaded as they are configured, and the exposure is {}: {why}{limited}",
        exposure.state
    );
    Refusal::new(RefusalKind::Conflict, message)
        .hint("Change who may connect in the GUI: Firewall > NAT and Firewall > Rules.")
}

/// Names who else uses the alias whose members change. Refuses where another service would be led elsewhere.
fn alias_users(present: &PlanBasis<'_>, pair: &ManagedPair<'_>) -> Result<Vec<Risk>, Refusal> {
    let (configured, service) = (present.configured, present.service);
    let changes = |alias: &&Alias| !is_exactly(&configured.aliases, &alias.name, service.address);
    let Some(alias) = configured.alias.as_ref().filter(changes) else {
        return Ok(Vec::new());
    };
    let mut names = vec![alias.name.as_str()];
    let mut place = 0;
    while let Some(name) = names.get(place).copied() {
        let holds = |other: &&Alias| {
            let members = other.address.as_deref().unwrap_or_default();
            members.split_whitespace().any(|member| member == name)
                && !names.contains(&other.name.as_str())
        };
        let holders: Vec<&str> =
            configured.aliases.iter().filter(holds).map(|other| other.name.as_str()).collect();
        names.extend(holders);
        place += 1;
    }
    let names_it = |field: Option<&String>| {
        field.is_some_and(|field| field.split_whitespace().any(|word| names.contains(&word)))
    };
    let is_port = |field: Option<&String>| {
        port_field_is(&configured.aliases, field.map(String::as_str), service.port)
    };
    let is_side = |side: &Side| names_it(side.address.as_ref());
    let mut users: Vec<(String, bool)> = Vec::new();
    for rule in &configured.all_nat {
        let is_led = names_it(rule.target.as_ref());
        let is_own = pair.all_forwards().any(|own| own.index == rule.index);
        if !is_own && (is_led || is_side(&rule.source) || is_side(&rule.destination)) {
            let is_others = is_led && !rule.disabled && !is_port(rule.local_port.as_ref());
            users.push((called_rule("the port forward", rule.descr.as_ref()), is_others));
        }
    }
    for rule in &configured.all_filter {
        let is_led = is_side(&rule.destination);
        let is_own = pair.passes.iter().any(|own| own.index == rule.index);
        if !is_own && (is_led || is_side(&rule.source)) {
            let is_others = is_led
                && !rule.disabled
                && rule.is_pass()
                && !is_port(rule.destination.port.as_ref());
            users.push((called_rule("the filter rule", rule.descr.as_ref()), is_others));
        }
    }
    let nested = names.iter().skip(1).map(|name| (format!("the alias {}", quoted(name)), false));
    users.extend(nested);
    let name = quoted(&alias.name);
    if let Some((other, _)) = users.iter().find(|(_, is_others)| *is_others) {
        let message = format!(
            "The alias {name} is used for another service too, which would lead to {} with it: {other}.",
            service.address
        );
        return Err(Refusal::new(RefusalKind::Conflict, message).hint(
            "Give the service an alias of its own (service.alias in kmsctl's configuration), or that rule another one in the GUI.",
        ));
    }
    let named = users.into_iter().map(|(other, _)| {
        let message = format!(
            "The alias {name} is used by others too, and changes for them as well: {other}."
        );
        Risk::new("alias-shared", message)
    });
    Ok(named.collect())
}

/// Says that what is closed was closed by an operator, and what would bring back exactly that.
fn closed_on_purpose(present: &PlanBasis<'_>) -> Risk {
    let how = match &present.configured.deleted {
        Some(deleted) => format!("{} by {} deleted both rules", deleted.id, deleted.who),
        None => "both rules are disabled".to_owned(),
    };
    Risk::new(
        "opens-closed",
        format!(
            "It was closed on purpose ({how}), and this opens it. What was there comes back with `kmsctl expose restore`."
        ),
    )
}

/// Refuses a forward that is not by the service's alias, whether it leads to the service's address or elsewhere.
pub(super) fn leads_elsewhere(nat: &NatRule, present: &PlanBasis<'_>) -> Refusal {
    let (service, target) = (present.service, nat.target.as_deref().unwrap_or_default());
    let leads = if is_exactly(&present.configured.aliases, target, service.address) {
        format!("to the service, and not by the alias {}", service.alias)
    } else {
        "elsewhere".to_owned()
    };
    let message = format!(
        "Port {} of {} leads {leads}: {} points to {}.",
        service.port,
        service.interface,
        called_rule("the port forward", nat.descr.as_ref()),
        quoted(target),
    );
    Refusal::new(RefusalKind::Conflict, message)
}

/// Where the port could lead to the service instead.
pub(super) const LEAD_HERE: &str = "`kmsctl expose apply --dry-run` shows what it takes to lead it to the service; or remove it in the GUI.";

fn called_rule(what: &str, description: Option<&String>) -> String {
    match description.filter(|text| !text.is_empty()) {
        Some(text) => format!("{what} {}", quoted(text)),
        None => what.to_owned(),
    }
}

/// Says who may connect, where the rules do not say everybody.
pub(super) fn limited_clause(nat: Option<&NatRule>, filter: Option<&FilterRule>) -> Option<String> {
    let of_nat = nat.map(|rule| ("port forward", &rule.source));
    let of_filter = filter.map(|rule| ("filter rule", &rule.source));
    let anybody = |side: &Side| source_clause(side) == "any";
    let mut said: Vec<String> = of_nat
        .into_iter()
        .chain(of_filter)
        .filter(|(_, side)| !anybody(side))
        .map(|(rule, side)| format!("the {rule}'s source is {}", quoted(&side_words(side))))
        .collect();
    let asked: Vec<String> = filter.into_iter().flat_map(conditions_of).collect();
    if !asked.is_empty() {
        let asked = quoted(&asked.join(", "));
        said.push(format!("the filter rule also depends on {asked}"));
    }
    (!said.is_empty())
        .then(|| format!("Not all may connect: {}. That stays as it is.", said.join(", ")))
}

/// Says who may connect; a rule that does not say it means anybody.
pub(super) fn source_clause(source: &Side) -> String {
    Some(side_words(source)).filter(|words| !words.is_empty()).unwrap_or_else(|| "any".to_owned())
}

pub(super) fn side_words(side: &Side) -> String {
    let place = [side.network.as_deref(), side.address.as_deref()];
    let mut words: Vec<&str> = place.into_iter().flatten().map(str::trim).collect();
    words.retain(|word| !word.is_empty());
    if side.any {
        words.insert(0, "any");
    }
    if side.not {
        words.insert(0, "not");
    }
    let port = side.port.as_deref().map(str::trim).unwrap_or_default();
    if !port.is_empty() {
        words.extend(["port", port]);
    }
    words.join(" ")
}

/// Drafts the building. `alias` is for `apply`, which may make the alias and lead a forward to elsewhere here.
pub(super) fn draft_building(
    present: &PlanBasis<'_>,
    pair: &ManagedPair<'_>,
    caps: Caps,
    alias: bool,
    terms: ChangeOptions,
) -> Result<Draft, Refusal> {
    let service = present.service;
    let (nat, filter) = (pair.first_forward(), pair.passes.first().copied());
    let change = ConfigurationEdit::Build {
        description: service.description.clone(),
        max_src_conn: caps.max_src_conn,
        rate: caps.rate,
        alias,
    };
    let title = |swap: &Swap| {
        let (made, altered) = touched_kinds(swap);
        let touched = [altered, made].concat();
        match (touched.as_slice(), alias) {
            ([], _) => switching_title("Make pf run the configuration", "load", swap, present),
            (touched, true) => {
                let touched = listed_kinds(touched);
                format!("Make {touched} what the configuration says.")
            }
            (touched, false) => {
                let touched = listed_kinds(touched);
                format!("Open the exposure: make {touched} from the configuration.")
            }
        }
    };
    let other = pair.forward_elsewhere();
    if let Some(other) = other.filter(|_| !alias) {
        return Err(leads_elsewhere(other, present).hint(LEAD_HERE));
    }
    let aliases = present.configured.aliases.as_slice();
    let is_wider =
        |nat: &&NatRule| !port_field_is(aliases, nat.destination.port.as_deref(), service.port);
    if let Some(nat) = nat.filter(is_wider) {
        let rule = called_rule("The port forward", nat.descr.as_ref());
        let message = format!("{rule} is for more than port {}.", service.port);
        return Err(Refusal::new(RefusalKind::Impossible, message)
            .hint("Limit it to the service's port in the GUI."));
    }
    let (mut draft, _) = draft_change(present, terms, change, title)?;
    draft.risks.extend(other.map(|other| takes_over(other, filter)));
    draft.checks.push(format!("pf's loaded rule carries {caps}."));
    Ok(draft)
}

fn takes_over(nat: &NatRule, filter: Option<&FilterRule>) -> Risk {
    let target = nat.target.as_deref().unwrap_or_default();
    let forward = called_rule("the port forward", nat.descr.as_ref());
    let rewritten = filter.map_or_else(String::new, |filter| {
        let tracker = filter.tracker.as_deref().unwrap_or("none");
        let rule = called_rule("the filter rule", filter.descr.as_ref());
        format!(" and {rule} (tracker {})", quoted(tracker))
    });
    Risk::new(
        "takes-over",
        format!(
            "It rewrites {forward}{rewritten}: what goes to {} now goes to the service then.",
            quoted(target)
        ),
    )
}
