//! Plans that make the exposure what kmsctl's configuration says, from what is there: only what differs is named,
//! and only that is changed. The differences are those of `pfsense::edit`, field by field. Who may connect is
//! the administrator's: the configuration says nothing of sources, so they stay.

use super::armed::{nothing_to_do, refuse_crossing};
use super::exposure::{Present, Terms, draft_change, ready_pair};
use super::opening::{of_caps, promised_exposure, refuse_taken};
use super::{Difference, Draft, Planned, Refusal, RefusalKind, Risk, caps};
use crate::domain::exposure::State;
use crate::domain::pfsense::change::ConfigurationEdit;
use crate::domain::pfsense::config::port_field_is;
use crate::domain::pfsense::configured::{Alias, FilterRule, NatRule, Side};
use crate::domain::pfsense::managed::{ManagedPair, association_of};
use crate::domain::ratelimit::{self, Caps};
use crate::domain::service::Service;

/// Plans to make alias, port forward, filter rule and caps what the configuration says.
pub fn plan_apply(present: &Present<'_>, caps: Caps, terms: Terms) -> Result<Planned, Refusal> {
    caps::check_caps(caps)?;
    let pair = ready_pair(present, terms)?;
    let draft = draft_building(present, &pair, caps, true, terms)?;
    let exposure = present.exposure;
    let (nat, filter) = (pair.first_forward(), pair.passes.first().copied());
    let limited = limited_clause(nat, filter);
    let as_wanted = match &limited {
        None => exposure.state == State::Open && exposure.caps.loaded == Some(caps),
        Some(_) => exposure.nat.loaded && exposure.filter.loaded,
    };
    if draft.differences.is_empty() && as_wanted {
        let words = limited.map(|words| format!(" {words}")).unwrap_or_default();
        return nothing_to_do(
            present,
            terms,
            &format!("the firewall is what the configuration says.{words}"),
        );
    }
    refuse_crossing(present, terms)?;
    refuse_taken(present, nat)?;
    Ok(promised_exposure(draft, nat, filter, present, of_caps(caps)).into())
}

/// Refuses to open what another service has.
pub(super) fn leads_elsewhere(nat: &NatRule, service: &Service) -> Refusal {
    let target = nat.target.as_deref().unwrap_or_default();
    let message = format!(
        "Port {} of {} leads elsewhere: {} points to {target:?}.",
        service.port,
        service.interface,
        called_rule("the port forward", nat.descr.as_ref()),
    );
    Refusal::new(RefusalKind::Conflict, message).hint(
        "`kmsctl expose apply --dry-run` shows what it takes to lead it to the service; or remove it in the GUI.",
    )
}

fn called_rule(what: &str, description: Option<&String>) -> String {
    match description.filter(|text| !text.is_empty()) {
        Some(text) => format!("{what} {text:?}"),
        None => what.to_owned(),
    }
}

/// Says who may connect, where the rules do not say everybody.
pub(super) fn limited_clause(nat: Option<&NatRule>, filter: Option<&FilterRule>) -> Option<String> {
    let of_nat = nat.map(|rule| ("port forward", &rule.source));
    let of_filter = filter.map(|rule| ("filter rule", &rule.source));
    let anybody = |side: &Side| source_clause(side) == "any";
    let said: Vec<String> = of_nat
        .into_iter()
        .chain(of_filter)
        .filter(|(_, side)| !anybody(side))
        .map(|(rule, side)| format!("the {rule}'s source is {:?}", side_words(side)))
        .collect();
    (!said.is_empty()).then(|| {
        format!(
            "Not everybody may connect: {}. That stays as it is.",
            said.join(", ")
        )
    })
}

/// Says who may connect; a rule that does not say it means anybody.
pub(super) fn source_clause(source: &Side) -> String {
    Some(side_words(source))
        .filter(|words| !words.is_empty())
        .unwrap_or_else(|| "any".to_owned())
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
    present: &Present<'_>,
    pair: &ManagedPair<'_>,
    caps: Caps,
    alias: bool,
    terms: Terms,
) -> Result<Draft, Refusal> {
    let service = present.service;
    let (nat, filter) = (pair.first_forward(), pair.passes.first().copied());
    let change = ConfigurationEdit::Build {
        description: service.description.clone(),
        max_src_conn: caps.max_src_conn,
        rate: caps.rate,
        alias,
    };
    let what = if alias {
        "Make alias, port forward, filter rule and caps what the configuration says."
    } else {
        "Open the exposure: build the port forward and its filter rule from the configuration."
    };
    let mut draft = draft_change(present, terms, change, what);
    let aliases = present.configured.aliases.as_slice();
    if let Some(other) = pair.forward_elsewhere() {
        if !alias {
            return Err(leads_elsewhere(other, service));
        }
        draft.risks.push(takes_over(other, filter));
    }
    let is_wider =
        |nat: &&NatRule| !port_field_is(aliases, nat.destination.port.as_deref(), service.port);
    if let Some(nat) = nat.filter(is_wider) {
        let rule = called_rule("The port forward", nat.descr.as_ref());
        let message = format!("{rule} is for more than port {}.", service.port);
        return Err(Refusal::new(RefusalKind::Impossible, message)
            .hint("Limit it to the service's port in the GUI."));
    }
    let differences = &mut draft.differences;
    if alias {
        alias_differences(present, differences);
    }
    match nat {
        None => differences.push(Difference::new(
            "port forward",
            None::<&str>,
            format!("port {} to {}", service.port, service.alias),
        )),
        Some(nat) => nat_differences(nat, aliases, service, differences),
    }
    link_differences(nat, filter, differences);
    match filter {
        None => {
            differences.push(Difference::new(
                "filter rule",
                None::<&str>,
                format!("pass to {} port {}", service.alias, service.port),
            ));
            differences.extend(caps::caps_differences(Caps::default(), caps));
        }
        Some(filter) => {
            filter_differences(filter, aliases, service, differences);
            differences.extend(caps::caps_differences(
                ratelimit::of_configured(filter).0,
                caps,
            ));
        }
    }
    draft
        .checks
        .push(format!("pf's loaded rule carries {caps}."));
    Ok(draft)
}

fn takes_over(nat: &NatRule, filter: Option<&FilterRule>) -> Risk {
    let target = nat.target.as_deref().unwrap_or_default();
    let forward = called_rule("the port forward", nat.descr.as_ref());
    let rewritten = filter.map_or_else(String::new, |filter| {
        let tracker = filter.tracker.as_deref().unwrap_or("none");
        let rule = called_rule("the filter rule", filter.descr.as_ref());
        format!(" and {rule} (tracker {tracker:?})")
    });
    Risk::new(
        "takes-over",
        format!(
            "It rewrites {forward}{rewritten}: what goes to {target:?} now goes to the service then."
        ),
    )
}

fn alias_differences(present: &Present<'_>, differences: &mut Vec<Difference>) {
    let service = present.service;
    let alias = present.configured.alias.as_ref();
    let members = alias.and_then(|alias| alias.address.as_deref());
    let is = present.configured.resolved_members();
    if is != Some(vec![ipnet::IpNet::from(service.address)]) {
        let wanted = service.address.to_string();
        differences.push(Difference::new("alias", members, wanted));
    }
    let kind = alias.map(|alias| alias.kind.as_deref().unwrap_or_default());
    if let Some(kind) = kind.filter(|kind| *kind != "host") {
        differences.push(Difference::new("alias type", kind, "host"));
    }
}

/// Names a field that is not what it must be.
fn text_difference(
    field: &str,
    present: Option<&String>,
    wanted: &str,
    differences: &mut Vec<Difference>,
) {
    if present.map(String::as_str) != Some(wanted) {
        differences.push(Difference::new(field, present.cloned(), wanted));
    }
}

fn nat_differences(
    nat: &NatRule,
    aliases: &[Alias],
    service: &Service,
    differences: &mut Vec<Difference>,
) {
    if nat.disabled {
        differences.push(Difference::new("port forward", "disabled", "enabled"));
    }
    let to = &nat.destination;
    let empty = |field: Option<&String>| field.is_none_or(String::is_empty);
    if to.not || to.any || (empty(to.network.as_ref()) && empty(to.address.as_ref())) {
        differences.push(Difference::new(
            "port forward destination",
            side_words(to),
            format!("{}ip port {}", service.interface, service.port),
        ));
    }
    let target = nat.target.as_ref();
    text_difference("port forward target", target, &service.alias, differences);
    if !port_field_is(aliases, nat.local_port.as_deref(), service.port) {
        let wanted = service.port.to_string();
        let field = "port forward port";
        differences.push(Difference::new(field, nat.local_port.clone(), wanted));
    }
    let protocol = nat.protocol.as_ref();
    text_difference("port forward protocol", protocol, "tcp", differences);
}

/// Names what changes so that the two rules are joined, as `pfsense::edit` joins them.
fn link_differences(
    nat: Option<&NatRule>,
    filter: Option<&FilterRule>,
    differences: &mut Vec<Difference>,
) {
    let of_nat = nat.and_then(|nat| association_of(nat.association.as_ref()));
    let of_filter = filter.and_then(|filter| association_of(filter.association.as_ref()));
    let keeps = of_nat.is_some() && (of_filter.is_none() || of_filter == of_nat);
    if let Some(nat) = nat.filter(|_| !keeps) {
        let now = nat.association.clone().filter(|id| !id.is_empty());
        let own = "a filter rule of its own";
        differences.push(Difference::new("association", now, own));
    }
    let remade = nat.is_some() && !keeps;
    if filter.is_some() && (remade || of_filter.is_none()) {
        let wanted = "that of the port forward";
        differences.push(Difference::new(
            "filter rule association",
            of_filter,
            wanted,
        ));
    }
}

fn filter_differences(
    filter: &FilterRule,
    aliases: &[Alias],
    service: &Service,
    differences: &mut Vec<Difference>,
) {
    if filter.disabled {
        differences.push(Difference::new("filter rule", "disabled", "enabled"));
    }
    let kind = filter.kind.as_deref().unwrap_or("pass");
    if !matches!(kind, "" | "pass") {
        differences.push(Difference::new("filter rule type", kind, "pass"));
    }
    let wanted = format!("{} port {}", service.alias, service.port);
    let way = side_words(&filter.destination);
    let port = filter.destination.port.as_deref().unwrap_or_default();
    let is_port = port_field_is(aliases, Some(port), service.port);
    if !is_port || way != format!("{} port {port}", service.alias) {
        differences.push(Difference::new("filter rule destination", way, wanted));
    }
    text_difference(
        "filter rule protocol",
        filter.protocol.as_ref(),
        "tcp",
        differences,
    );
    if filter.statetype.as_deref() == Some("none") {
        let field = "filter rule state type";
        differences.push(Difference::new(field, "none", "keep state"));
    }
}
