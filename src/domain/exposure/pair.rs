//! What is odd about the configured pair, which [`ManagedPair`] finds. Doubts become findings, never guesses that go
//! unsaid.

use crate::domain::pfsense::config::ReadRequest;
use crate::domain::pfsense::configured::{Configured, FilterRule, NatRule};
use crate::domain::pfsense::managed::{
    ManagedPair, association_of, is_about_port, passes_to_service,
};
use crate::domain::service::Service;
use crate::domain::warning::Warning;
use crate::text::quoted;

pub fn pair_findings(
    configured: &Configured,
    pair: &ManagedPair<'_>,
    service: &Service,
) -> Vec<Warning> {
    let mut findings = forward_findings(configured, pair, service);
    if let Some(foreign) = pair.foreign.as_ref().filter(|_| pair.is_ours) {
        let clause = foreign.foreign_clause();
        let message = format!("No filter rule is the exposure's own: {clause}.");
        findings.push(Warning::new("foreign-association", message));
    } else {
        findings.extend(filter_findings(configured, pair, service));
    }
    findings.extend(tracker_finding(configured, pair));
    findings
}

fn forward_findings(
    configured: &Configured,
    pair: &ManagedPair<'_>,
    service: &Service,
) -> Vec<Warning> {
    let mut findings = Vec::new();
    let (port, interface, alias) = (service.port, &service.interface, &service.alias);
    let own = pair.own_forward();
    let count = pair.all_forwards().count();
    if pair.is_ours && count > 1 {
        let message = format!(
            "{count} port forwards of {interface} port {port} point to {alias}; the first enabled one counts."
        );
        findings.push(Warning::new("duplicate-nat", message));
    }
    let request = ReadRequest::from(service);
    let is_own =
        |rule: &NatRule| pair.is_ours && pair.all_forwards().any(|own| own.index == rule.index);
    let same_place = |rule: &NatRule| {
        own.map(|own| &own.destination).is_none_or(|own| {
            own.network == rule.destination.network && own.address == rule.destination.address
        })
    };
    let others = configured.nat.iter().filter(|rule| {
        is_about_port(rule, &configured.aliases, &request)
            && !is_own(rule)
            && !rule.disabled
            && same_place(rule)
    });
    findings.extend(others.map(|other| {
        if other.nordr {
            let message =
                format!("An exception (No RDR) for {interface} port {port} is configured.");
            return Warning::new("no-rdr-exception", message);
        }
        let target = other.target.as_deref().unwrap_or_default();
        let message = format!(
            "Another port forward of {interface} port {port} points to {} instead of {alias}.",
            quoted(target)
        );
        Warning::new("other-target", message)
    }));
    findings
}

fn filter_findings(
    configured: &Configured,
    pair: &ManagedPair<'_>,
    service: &Service,
) -> Vec<Warning> {
    if pair.forward_passes() {
        return vec![Warning::new(
            "nat-pass",
            "The port forward's filter rule association is \"Pass\": it lets traffic in by itself, without any cap.",
        )];
    }
    let mut findings = Vec::new();
    let own = pair.own_filter();
    let id = pair.own_forward().and_then(|rule| association_of(rule.association.as_ref()));
    let is_linked =
        |rule: &FilterRule| id.is_some() && association_of(rule.association.as_ref()) == id;
    let linked = configured.filter.iter().filter(|rule| is_linked(rule)).count();
    if let Some(id) = id {
        match linked {
            0 => findings.push(Warning::new(
                "linked-rule-missing",
                "The filter rule that belongs to the port forward does not exist.",
            )),
            1 => {}
            count => findings.push(Warning::new(
                "duplicate-association",
                format!("{count} filter rules carry the association {} of the port forward; pfSense uses the first.", quoted(id)),
            )),
        }
    }
    if own.is_some() && pair.own_forward().is_some() && linked == 0 {
        findings.push(Warning::new(
            "not-linked",
            "The filter rule is not linked to the port forward: disabling one in the GUI leaves the other.",
        ));
    }
    let request = ReadRequest::from(service);
    let is_another = |rule: &&FilterRule| {
        !rule.disabled
            && own.is_none_or(|own| own.index != rule.index)
            && passes_to_service(rule, &configured.aliases, &request)
    };
    let others = configured.filter.iter().filter(is_another).count();
    if others > 0 {
        let (count, port, alias) = (others + 1, service.port, &service.alias);
        findings.push(Warning::new(
            "duplicate-filter",
            format!("{count} filter rules let port {port} through to {alias}; the first in order counts."),
        ));
    }
    findings
}

fn tracker_finding(configured: &Configured, pair: &ManagedPair<'_>) -> Option<Warning> {
    let filter = pair.own_filter()?;
    let tracker = filter.tracker.as_deref().unwrap_or_default();
    if filter.tracker_number().is_none() {
        let what = if tracker.is_empty() {
            "no tracker".to_owned()
        } else {
            format!("the tracker {}, which is no number that pf can carry", quoted(tracker))
        };
        return Some(Warning::new(
            "no-tracker",
            format!(
                "The configured filter rule has {what}; the loaded one is found by target and port instead."
            ),
        ));
    }
    let shares =
        |rule: &FilterRule| rule.index != filter.index && rule.tracker.as_deref() == Some(tracker);
    configured.filter.iter().any(shares).then(|| {
        let message = format!("Another configured filter rule has the same tracker {tracker}.");
        Warning::new("tracker-shared", message)
    })
}
