//! Which records of config.xml are the service's: the one finder, for the screen and for every edit. By port, interface,
//! target and association; never by description or position. A filter rule that others need too is named, not taken.

use super::config::{ReadRequest, members_of_text, port_field_covers, port_field_is};
use super::configured::{Alias, Configured, FilterRule, InterfaceConfig, NatRule, Side};
use super::deciding::{find_beside_forwards, matches_led_elsewhere};
use crate::domain::ratelimit;
use crate::domain::service::Service;
use crate::text::quoted;

#[derive(Clone, Debug, Default)]
pub struct ManagedPair<'a> {
    /// Port forwards of the service's port; more than one is not clear. Beside an enabled one those that are disabled do not
    /// count.
    pub forwards: Vec<&'a NatRule>,
    /// Those that do not count: what takes the enabled one away would leave one of them in its place.
    pub disabled_copies: Vec<&'a NatRule>,
    /// Whether these lead to the service; if not, they hold its port on the interface's own address for another target.
    pub is_ours: bool,
    /// The filter rules that let the service's traffic in, and nothing of others: more than one is not clear.
    pub passes: Vec<&'a FilterRule>,
    /// Why the filter rule that is joined to the forward is not among them.
    pub foreign: Option<ForeignRule<'a>>,
    /// The rule that lets the service's own traffic in, where a rule does that and nothing else.
    own: Option<&'a FilterRule>,
}

/// A filter rule that is joined to the service's forward and is not the service's alone.
#[derive(Clone, Debug)]
pub struct ForeignRule<'a> {
    pub rule: &'a FilterRule,
    /// Another port forward that carries the same association.
    pub shared_with: Option<&'a NatRule>,
    /// What gets in by it without a forward, to other hosts or ports, in a clause.
    pub lets_in_too: Option<String>,
    /// It is not for the service's interface, protocol, port or address.
    pub is_for_others: bool,
    /// More filter rules carry the association.
    pub is_one_of: usize,
}

impl ForeignRule<'_> {
    pub fn foreign_clause(&self) -> String {
        let way = |side: &Side, address: Option<&String>| {
            let host = address
                .or(side.address.as_ref())
                .or(side.network.as_ref())
                .map_or("any", String::as_str);
            format!("{host}:{}", side.port.as_deref().unwrap_or("any"))
        };
        let rule = format!(
            "the filter rule {} that is joined to the port forward",
            quoted(self.rule.descr.as_deref().unwrap_or_default())
        );
        let mut clauses = Vec::new();
        if self.is_for_others {
            clauses.push(format!("is for {}", way(&self.rule.destination, None)));
        }
        if let Some(forward) = self.shared_with {
            clauses.push(format!(
                "belongs to another port forward as well: {} (port {} of {})",
                quoted(forward.descr.as_deref().unwrap_or_default()),
                forward.destination.port.as_deref().unwrap_or("any"),
                forward.interface
            ));
        }
        if let Some(what) = &self.lets_in_too {
            clauses.push(format!("lets in what {what}"));
        }
        if self.is_one_of > 1 {
            clauses.push(format!("is one of {} with the same association", self.is_one_of));
        }
        format!("{rule} {}", clauses.join(", and "))
    }
}

/// Returns the association that joins a forward to a filter rule.
pub fn association_of(id: Option<&String>) -> Option<&str> {
    id.map(String::as_str).filter(|id| !matches!(*id, "" | "pass"))
}

impl<'a> ManagedPair<'a> {
    pub fn of_service(configured: &'a Configured, service: &Service) -> Self {
        Self::find(configured, &ReadRequest::from(service))
    }

    /// Finds the records among what [`Configured`] has of the service.
    pub fn find(configured: &'a Configured, service: &ReadRequest) -> Self {
        let aliases = configured.aliases.as_slice();
        let (mine, others): (Vec<&NatRule>, Vec<&NatRule>) = configured
            .nat
            .iter()
            .filter(|rule| is_forward_of_port(rule, aliases, service))
            .partition(|rule| service.is_named_by(rule.target.as_deref()));
        let is_ours = !mine.is_empty();
        let interface = configured.interface.as_ref();
        let (mut forwards, mut disabled_copies) = (mine, Vec::new());
        if forwards.iter().any(|rule| !rule.disabled) {
            (disabled_copies, forwards) = forwards.into_iter().partition(|rule| rule.disabled);
        }
        if !is_ours {
            let own = |rule: &&NatRule| is_own_address(&rule.destination, interface, service);
            forwards = others.into_iter().filter(own).collect();
        }
        let mut pair = Self { forwards, disabled_copies, is_ours, ..Self::default() };
        pair.find_passes(configured, service);
        pair
    }

    fn find_passes(&mut self, configured: &'a Configured, service: &ReadRequest) {
        let ids: Vec<&str> = self
            .forwards
            .iter()
            .filter_map(|rule| association_of(rule.association.as_ref()))
            .collect();
        let joined = |rule: &&FilterRule| {
            association_of(rule.association.as_ref()).is_some_and(|id| ids.contains(&id))
        };
        let linked: Vec<&FilterRule> = configured.filter.iter().filter(joined).collect();
        let aliases = configured.aliases.as_slice();
        let lets_in = |rule: &&FilterRule| passes_to_service(rule, aliases, service);
        let by_way: Vec<&FilterRule> = configured.filter.iter().filter(lets_in).collect();
        let enabled = by_way.iter().find(|rule| !rule.disabled);
        self.own = enabled.or(by_way.first()).copied();
        if linked.is_empty() {
            self.passes = by_way;
            return;
        }
        let all: Vec<&NatRule> = self.all_forwards().collect();
        let foreign =
            |forward: &&NatRule| find_foreign(configured, (forward, &all), &linked, service);
        self.foreign = self.forwards.iter().find_map(foreign);
        if self.is_ours {
            let enabled = linked.iter().find(|rule| !rule.disabled).or(linked.first());
            self.own = enabled.copied().filter(|_| self.foreign.is_none());
        }
        if self.foreign.is_none() {
            self.passes = linked;
        }
    }

    /// Returns the forwards of the port, those too that do not count.
    pub fn all_forwards(&self) -> impl Iterator<Item = &'a NatRule> {
        self.forwards.iter().chain(&self.disabled_copies).copied()
    }

    /// Returns the forward of the port that counts: pf takes the first one that is loaded.
    pub fn first_forward(&self) -> Option<&'a NatRule> {
        let enabled = self.forwards.iter().find(|rule| !rule.disabled);
        enabled.or(self.forwards.first()).copied()
    }

    /// Returns what the joined filter rule is for, where that is neither the service's traffic nor what the forward leads to:
    /// its protocol, destination and port. One that is for more, and for the service too, is the pair's.
    pub fn leads_astray(&self, aliases: &[Alias], service: &ReadRequest) -> Option<String> {
        let (forward, pass) = (self.first_forward()?, self.passes.first()?);
        let trimmed =
            |field: &Option<String>| field.as_deref().unwrap_or_default().trim().to_owned();
        let to = &pass.destination;
        let (address, network, port) =
            (trimmed(&to.address), trimmed(&to.network), trimmed(&to.port));
        let protocol = trimmed(&pass.protocol);
        let is_there = service.is_named_by(Some(&address))
            || (!address.is_empty() && address == trimmed(&forward.target))
            || (address.is_empty() && network.is_empty());
        let is_port = port.is_empty()
            || port == trimmed(&forward.local_port)
            || port_field_covers(aliases, Some(&port), service.port, 0);
        let other_protocol = !covers_tcp(pass.protocol.as_ref());
        (!is_there || to.not || !is_port || other_protocol).then(|| {
            let protocol = Some(protocol + " ").filter(|_| other_protocol);
            let not = if to.not { "not " } else { "" };
            let port = if port.is_empty() { "any" } else { &port };
            format!("{}{not}{address}{network}:{port}", protocol.unwrap_or_default())
        })
    }

    /// Returns the inside port of the service's forward where that is not the service's.
    pub fn other_inside_port(&self, aliases: &[Alias], service: &ReadRequest) -> Option<&'a str> {
        let inside = self.own_forward()?.local_port.as_deref().map(str::trim)?;
        let is_ours = port_field_is(aliases, Some(inside), service.port);
        (!inside.is_empty() && !is_ours).then_some(inside)
    }

    /// Says why closing disables the forward alone: it is not clear that one filter rule is the service's, or which of pf's
    /// rules it is.
    pub fn why_filter_stays(
        &self,
        configured: &Configured,
        service: &ReadRequest,
    ) -> Option<String> {
        let aliases = configured.aliases.as_slice();
        if self.forwards.is_empty() {
            return None;
        }
        if self.passes.len() > 1 {
            let count = self.passes.len();
            return Some(format!(
                "{count} filter rules are for the service, and which of them is its own is not clear"
            ));
        }
        if let Some(kept) = self.passes.first().filter(|own| !own.is_pass()) {
            let name = quoted(kept.descr.as_deref().unwrap_or_default());
            return Some(format!(
                "the filter rule {name} that is joined to the port forward lets nothing in, and what it keeps out would get in without it"
            ));
        }
        if let Some(other) = self.find_capped_forward(configured, service) {
            let name = quoted(other.descr.as_deref().unwrap_or_default());
            return Some(format!(
                "the caps of the filter rule hold for the port forward {name} as well"
            ));
        }
        if let Some(to) = self.leads_astray(aliases, service) {
            return Some(format!("the filter rule that is joined to the port forward is for {to}"));
        }
        if let Some(port) = self.other_inside_port(aliases, service) {
            return Some(format!("the filter rule is for the inside port {port}"));
        }
        self.find_indistinct_pass(configured, service)
    }

    /// Returns another forward whose connections the pair's filter rule caps: a rule of its own may let them in without.
    pub fn find_capped_forward(
        &self,
        configured: &'a Configured,
        service: &ReadRequest,
    ) -> Option<&'a NatRule> {
        let own = self.passes.first().filter(|own| !ratelimit::of_configured(own).0.is_empty())?;
        let is_own = |rule: &NatRule| self.all_forwards().any(|own| own.index == rule.index);
        let mut others = configured.all_nat.iter().filter(|rule| !is_own(rule));
        others.find(|other| could_pass(configured, own, other, service))
    }

    /// Returns the filter rule that is disabled when the service is closed.
    pub fn closing_filter(
        &self,
        configured: &Configured,
        service: &ReadRequest,
    ) -> Option<&'a FilterRule> {
        let own = self.passes.first().filter(|_| self.passes.len() == 1).copied();
        own.filter(|_| self.why_filter_stays(configured, service).is_none())
    }

    /// Says why pf cannot be asked about the filter rule alone: it has no tracker of its own, and target and port do not
    /// distinguish it.
    pub fn find_indistinct_pass(
        &self,
        configured: &Configured,
        service: &ReadRequest,
    ) -> Option<String> {
        let own = self.passes.first()?;
        let number = own.tracker_number();
        let all = configured.all_filter.iter();
        let mut others = all
            .filter(|rule| rule.index != own.index && rule.tracker_number() == number)
            .peekable();
        if number.is_some() && others.peek().is_none() {
            return None;
        }
        let target = own.destination.address.as_deref().unwrap_or_default();
        let like_ours = |rule: &FilterRule| {
            passes_port_of_service(rule, &configured.aliases, service)
                && (service.is_named_by(rule.destination.address.as_deref())
                    || rule.destination.address.as_deref() == Some(target))
        };
        if target.is_empty() || !like_ours(own) {
            return Some("the filter rule has no tracker of its own, and pf cannot be asked about it by target and port".to_owned());
        }
        others.any(|other| !other.disabled && like_ours(other)).then(|| {
            "the filter rule has no tracker of its own, and another rule has its target and port"
                .to_owned()
        })
    }

    pub fn own_forward(&self) -> Option<&'a NatRule> {
        self.first_forward().filter(|_| self.is_ours)
    }

    /// Returns the port forward that leads the service's port on the interface's own address to another target.
    pub fn forward_elsewhere(&self) -> Option<&'a NatRule> {
        self.first_forward().filter(|_| !self.is_ours)
    }

    /// Returns that forward where its target is none of the service's addresses: once it is loaded, nothing gets in by it.
    pub fn forward_away(
        &self,
        configured: &Configured,
        service: &ReadRequest,
    ) -> Option<&'a NatRule> {
        let other = self.forward_elsewhere()?;
        let target = other.target.as_deref().unwrap_or_default();
        let members = members_of_text(&configured.aliases, target)?;
        (!members.iter().any(|net| net.contains(&service.address))).then_some(other)
    }

    /// Returns the filter rule that lets the service's traffic in and is its alone.
    pub fn own_filter(&self) -> Option<&'a FilterRule> {
        self.own.filter(|_| !self.forward_passes())
    }

    /// Returns whether the forward lets traffic in by itself, without a filter rule and its caps.
    pub fn forward_passes(&self) -> bool {
        self.own_forward().is_some_and(NatRule::passes_by_itself)
    }
}

/// Says why the rules that are joined to one of the service's forwards are not theirs alone.
fn find_foreign<'a>(
    configured: &'a Configured,
    (forward, forwards): (&NatRule, &[&NatRule]),
    linked: &[&'a FilterRule],
    service: &ReadRequest,
) -> Option<ForeignRule<'a>> {
    let id = association_of(forward.association.as_ref())?;
    let has_it = |rule: &&&FilterRule| association_of(rule.association.as_ref()) == Some(id);
    let linked: Vec<&FilterRule> = linked.iter().filter(has_it).copied().collect();
    let shared_with = configured.all_nat.iter().find(|other| {
        let is_joined = association_of(other.association.as_ref()) == Some(id);
        forwards.iter().all(|own| own.index != other.index)
            && (is_joined || linked.iter().any(|rule| carries(configured, rule, other, service)))
    });
    let aliases = configured.aliases.as_slice();
    let for_others = |rule: &&&FilterRule| !could_carry(rule, forward, aliases, service);
    let stranger = linked.iter().find(for_others);
    let rule = stranger.or(linked.first())?;
    let beside = |rule: &&FilterRule| find_beside_forwards(configured, rule, service);
    let lets_in_too = linked.iter().find_map(beside);
    let is_shared = shared_with.is_some() || stranger.is_some() || lets_in_too.is_some();
    is_shared.then_some(ForeignRule {
        rule,
        shared_with,
        lets_in_too,
        is_for_others: stranger.is_some(),
        is_one_of: linked.len(),
    })
}

/// Says whether a filter rule, being for more than the service, lets in what another forward without a rule of its own leads
/// elsewhere: with the rule that forward would be shut.
fn carries(
    configured: &Configured,
    rule: &FilterRule,
    other: &NatRule,
    service: &ReadRequest,
) -> bool {
    let id = association_of(other.association.as_ref());
    let is_its_own = |rule: &FilterRule| {
        !rule.disabled && id.is_some() && association_of(rule.association.as_ref()) == id
    };
    !configured.all_filter.iter().any(is_its_own) && could_pass(configured, rule, other, service)
}

/// Says whether an enabled filter rule is met by what another enabled forward leads elsewhere.
fn could_pass(
    configured: &Configured,
    rule: &FilterRule,
    other: &NatRule,
    service: &ReadRequest,
) -> bool {
    let is_asked = !rule.disabled && !other.disabled && !other.nordr && !other.passes_by_itself();
    let interface = rule.interface.as_deref().unwrap_or_default();
    is_asked
        && configured.shares_interface(interface, &other.interface)
        && matches_led_elsewhere(configured, rule, other, service)
}

/// Says whether a rule that is joined to the service's forward can be its filter rule, as it is or once it is repaired: it
/// leads to the service, to where the forward leads, or to its port.
fn could_carry(
    rule: &FilterRule,
    forward: &NatRule,
    aliases: &[Alias],
    service: &ReadRequest,
) -> bool {
    let text = |field: &Option<String>| field.as_deref().unwrap_or_default().trim().to_owned();
    let (port, address) = (&rule.destination.port, &rule.destination.address);
    let leads_there = service.is_named_by(address.as_deref())
        || (!text(address).is_empty() && text(address) == text(&forward.target))
        || text(port) == text(&forward.local_port)
        || port_field_covers(aliases, port.as_deref(), service.port, 0);
    !rule.floating
        && rule.interface.as_deref() == Some(service.interface.as_str())
        && is_of_family(rule.ipprotocol.as_deref(), service)
        && leads_there
}

/// Says whether a rule is for the service's family of addresses; without a word it is for IPv4.
pub(super) fn is_of_family(family: Option<&str>, service: &ReadRequest) -> bool {
    match family {
        Some("inet6") => service.address.is_ipv6(),
        Some("inet46") => true,
        _ => service.address.is_ipv4(),
    }
}

/// Says whether a protocol is TCP, alone or with UDP; other programs write it in capitals, and pf takes that.
pub(super) fn is_tcp(protocol: Option<&String>) -> bool {
    let protocol = protocol.map(|protocol| protocol.trim().to_ascii_lowercase());
    matches!(protocol.as_deref(), Some("tcp" | "tcp/udp"))
}

/// The same of a filter rule, which may be for every protocol.
pub(super) fn covers_tcp(protocol: Option<&String>) -> bool {
    protocol.is_none_or(|protocol| matches!(protocol.trim(), "" | "any")) || is_tcp(protocol)
}

fn is_forward_of_port(rule: &NatRule, aliases: &[Alias], service: &ReadRequest) -> bool {
    !rule.nordr && is_about_port(rule, aliases, service)
}

/// Says whether a forward, or an exception from forwards, is for the service's port on its interface.
pub fn is_about_port(rule: &NatRule, aliases: &[Alias], service: &ReadRequest) -> bool {
    rule.interface == service.interface && is_for_port(rule, aliases, service)
}

/// The same on any interface.
pub(super) fn is_for_port(rule: &NatRule, aliases: &[Alias], service: &ReadRequest) -> bool {
    is_tcp(rule.protocol.as_ref())
        && is_of_family(rule.ipprotocol.as_deref(), service)
        && port_field_covers(aliases, rule.destination.port.as_deref(), service.port, 0)
}

/// Says whether a filter rule lets the service's traffic in, and no other port's.
pub fn passes_to_service(rule: &FilterRule, aliases: &[Alias], service: &ReadRequest) -> bool {
    service.is_named_by(rule.destination.address.as_deref())
        && passes_port_of_service(rule, aliases, service)
}

/// The same, wherever it leads.
pub fn passes_port_of_service(rule: &FilterRule, aliases: &[Alias], service: &ReadRequest) -> bool {
    rule.is_pass()
        && !rule.floating
        && is_tcp(rule.protocol.as_ref())
        && is_of_family(rule.ipprotocol.as_deref(), service)
        && rule.interface.as_deref() == Some(service.interface.as_str())
        && !rule.destination.not
        && port_field_is(aliases, rule.destination.port.as_deref(), service.port)
}

/// Says whether a destination is the interface's own address: a virtual address and its port are another service's.
pub(super) fn is_own_address(
    side: &Side,
    interface: Option<&InterfaceConfig>,
    service: &ReadRequest,
) -> bool {
    let address = |text: Option<&String>| text?.trim().parse::<std::net::IpAddr>().ok();
    let own = interface.and_then(|interface| address(interface.ipaddr.as_ref()));
    !side.not
        && (side.network.as_deref() == Some(format!("{}ip", service.interface).as_str())
            || (own.is_some() && address(side.address.as_ref()) == own))
}
