//! The configured pair: which NAT rule and which filter rule of config.xml are the exposure. Rules are found by
//! target, port, interface and association; never by description or position.

use std::net::IpAddr;

use super::matching::{field_covers, names_service, protocol_has_tcp, side_is_service};
use crate::domain::pfsense::config::ReadRequest;
use crate::domain::pfsense::configured::{Configured, FilterRule, NatRule};
use crate::domain::pfsense::managed::{ForeignRule, ManagedPair};
use crate::domain::service::Service;
use crate::domain::warning::Warning;

/// What config.xml has of the exposure.
#[derive(Debug, Default)]
pub struct Pair<'a> {
    /// The port forward to the alias.
    pub nat: Option<&'a NatRule>,
    /// The rule that lets its traffic in.
    pub filter: Option<&'a FilterRule>,
    /// The rule that is joined to the port forward and that others need too: it is named, and never changed.
    pub foreign: Option<ForeignRule<'a>>,
    /// What is odd about them.
    pub findings: Vec<Warning>,
}

impl<'a> Pair<'a> {
    /// Finds the pair; doubts become findings, never guesses that go unsaid.
    pub fn find(configured: &'a Configured, service: &Service) -> Self {
        let mut pair = Self::default();
        pair.find_nat(configured, service);
        let managed = ManagedPair::find(configured, &ReadRequest::from(service));
        pair.foreign = managed.foreign.filter(|_| managed.is_ours);
        if let Some(foreign) = &pair.foreign {
            let clause = foreign.clause();
            pair.findings.push(Warning::new(
                "foreign-association",
                format!("No filter rule is the exposure's own: {clause}."),
            ));
        } else {
            pair.find_filter(configured, service);
        }
        pair.look_at_tracker(configured);
        pair
    }

    /// Finds the port forward that leads the service's port on the interface's own address elsewhere, first one that
    /// is enabled. A virtual address and its port are somebody else's.
    pub fn elsewhere(configured: &'a Configured, service: &Service) -> Option<&'a NatRule> {
        let others = configured.nat.iter().filter(|rule| {
            on_port(rule, service)
                && !rule.nordr
                && !is_ours(rule, service)
                && is_own_address(rule, configured)
        });
        let others: Vec<&NatRule> = others.collect();
        let enabled = others.iter().find(|rule| !rule.disabled);
        enabled.or(others.first()).copied()
    }

    /// Returns whether the NAT rule lets traffic in by itself, without a filter rule and its caps.
    pub fn nat_passes(&self) -> bool {
        self.nat
            .is_some_and(|nat| nat.association.as_deref() == Some("pass"))
    }

    fn say(&mut self, code: &'static str, message: String) {
        self.findings.push(Warning::new(code, message));
    }

    fn find_nat(&mut self, configured: &'a Configured, service: &Service) {
        let here: Vec<&NatRule> = configured
            .nat
            .iter()
            .filter(|rule| on_port(rule, service))
            .collect();
        let (ours, others): (Vec<&NatRule>, Vec<&NatRule>) =
            here.into_iter().partition(|rule| is_ours(rule, service));
        let (port, interface) = (service.port, &service.interface);
        // The first match wins in pf, and disabled rules are not loaded.
        self.nat = ours
            .iter()
            .find(|rule| !rule.disabled)
            .or(ours.first())
            .copied();
        if ours.len() > 1 {
            let count = ours.len();
            self.say(
                "duplicate-nat",
                format!("{count} port forwards of {interface} port {port} point to {}; the first enabled one counts.", service.alias),
            );
        }
        let own = self.nat.map(|rule| &rule.destination);
        let same_place = |rule: &NatRule| {
            own.is_none_or(|own| {
                own.network == rule.destination.network && own.address == rule.destination.address
            })
        };
        for other in others
            .iter()
            .filter(|rule| !rule.disabled && same_place(rule))
        {
            if other.nordr {
                self.say(
                    "no-rdr-exception",
                    format!("An exception (No RDR) for {interface} port {port} is configured."),
                );
            } else {
                let target = other.target.as_deref().unwrap_or_default();
                self.say(
                    "other-target",
                    format!("Another port forward of {interface} port {port} points to {target:?} instead of {}.", service.alias),
                );
            }
        }
    }

    fn find_filter(&mut self, configured: &'a Configured, service: &Service) {
        if self.nat_passes() {
            self.say(
                "nat-pass",
                "The port forward's filter rule association is \"Pass\": it lets traffic in by itself, without any cap.".into(),
            );
            return;
        }
        self.filter = self.find_linked(configured);
        let matching = |rule: &&FilterRule| passes_to_service(rule, service);
        let by_match: Vec<&FilterRule> = configured.filter.iter().filter(matching).collect();
        if self.filter.is_none() {
            self.filter = by_match
                .iter()
                .find(|rule| !rule.disabled)
                .or(by_match.first())
                .copied();
            if self.filter.is_some() && self.nat.is_some() {
                self.say(
                    "not-linked",
                    "The filter rule is not linked to the port forward: disabling one in the GUI leaves the other.".into(),
                );
            }
        }
        let chosen = self.filter.map(|rule| rule.index);
        let others = by_match
            .iter()
            .filter(|rule| !rule.disabled && Some(rule.index) != chosen)
            .count();
        if others > 0 {
            let (count, port, alias) = (others + 1, service.port, &service.alias);
            self.say(
                "duplicate-filter",
                format!("{count} filter rules let port {port} through to {alias}; the first in order counts."),
            );
        }
    }

    /// Follows the port forward's association; the first of several is the one pfSense uses.
    fn find_linked(&mut self, configured: &'a Configured) -> Option<&'a FilterRule> {
        let id = self
            .nat?
            .association
            .as_deref()
            .filter(|id| !id.is_empty())?;
        let has_it = |rule: &&FilterRule| rule.association.as_deref() == Some(id);
        let linked: Vec<&FilterRule> = configured.filter.iter().filter(has_it).collect();
        match linked.len() {
            0 => self.say(
                "linked-rule-missing",
                "The filter rule that belongs to the port forward does not exist.".into(),
            ),
            1 => {}
            count => self.say(
                "duplicate-association",
                format!("{count} filter rules carry the association {id:?} of the port forward; pfSense uses the first."),
            ),
        }
        linked.first().copied()
    }

    fn look_at_tracker(&mut self, configured: &Configured) {
        let Some(filter) = self.filter else { return };
        match filter.tracker.as_deref().filter(|tracker| !tracker.is_empty()) {
            None => self.say(
                "no-tracker",
                "The configured filter rule has no tracker; the loaded one is found by target and port instead.".into(),
            ),
            Some(tracker) => {
                let shared = |rule: &&FilterRule| rule.index != filter.index && rule.tracker.as_deref() == Some(tracker);
                if configured.filter.iter().any(|rule| shared(&rule)) {
                    self.say("tracker-shared", format!("Another configured filter rule has the same tracker {tracker}."));
                }
            }
        }
    }
}

/// Says whether rules that are not in the configuration would be the service's pair there: as the edit says it of saved
/// records. The filter rule of the service's forward goes wherever it goes.
pub fn is_pair_of(nat: Option<&NatRule>, filter: Option<&FilterRule>, service: &Service) -> bool {
    let link = |id: Option<&String>| id.filter(|id| !matches!(id.as_str(), "" | "pass")).cloned();
    let joined = nat.and_then(|rule| link(rule.association.as_ref()));
    let is_joined =
        |rule: &FilterRule| joined.is_some() && link(rule.association.as_ref()) == joined;
    (nat.is_some() || filter.is_some())
        && nat.is_none_or(|rule| on_port(rule, service) && is_ours(rule, service))
        && filter.is_none_or(|rule| is_joined(rule) || passes_to_service(rule, service))
}

fn on_port(rule: &NatRule, service: &Service) -> bool {
    let outside = field_covers(rule.destination.port.as_deref(), service.port);
    // An alias of ports: the agent has looked into it; the inside port tells the rest.
    let covered = outside
        .unwrap_or_else(|| field_covers(rule.local_port.as_deref(), service.port) != Some(false));
    rule.interface == service.interface && covered && protocol_has_tcp(rule.protocol.as_deref())
}

fn is_own_address(rule: &NatRule, configured: &Configured) -> bool {
    let destination = &rule.destination;
    let address = |text: Option<&String>| text?.trim().parse::<IpAddr>().ok();
    let interface = configured.interface.as_ref();
    let own = interface.and_then(|interface| address(interface.ipaddr.as_ref()));
    let network = destination.network.as_deref().unwrap_or_default();
    !destination.not
        && (network == format!("{}ip", rule.interface)
            || (own.is_some() && address(destination.address.as_ref()) == own))
}

/// Returns whether a port forward leads to the service, on any interface and port.
pub(super) fn is_ours(rule: &NatRule, service: &Service) -> bool {
    !rule.nordr
        && rule
            .target
            .as_deref()
            .is_some_and(|target| names_service(target.trim(), service))
}

fn passes_to_service(rule: &FilterRule, service: &Service) -> bool {
    let interfaces = rule.interface.as_deref().unwrap_or_default();
    let here = interfaces.split(',').any(|name| name == service.interface)
        || (rule.floating && matches!(interfaces, "" | "any"));
    here && matches!(rule.kind.as_deref(), None | Some("" | "pass"))
        && protocol_has_tcp(rule.protocol.as_deref())
        && side_is_service(&rule.destination, service)
}
