//! Which configured rule decides about the service's connections before the managed pair does. A rule matches them, does
//! not, or leaves it open (`None`: a list from the web, a name, a mark): only what is known decides.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::config::{ReadRequest, members_of_text, port_field_is, ranges_of_port};
use super::configured::{Configured, FilterRule, NatRule, Side};
use super::managed::{covers_tcp, is_for_port, is_of_family, is_own_address, is_tcp};
use crate::domain::address::is_public;

/// What a rule asks of a packet beside addresses and ports, and what is not known of it here.
const CONDITIONS: [&str; 7] =
    ["dscp", "os", "sched", "tagged", "tcpflags1", "tcpflags2", "vlanprio"];
const MOST_SOURCES: usize = 1024;
/// The word of a rule for every address of the firewall.
const SELF: &str = "(self)";

/// Finds an enabled floating rule that lets the service in: it can stand in the place of the pair's filter rule.
pub fn find_floating_pass<'a>(
    configured: &'a Configured,
    service: &ReadRequest,
) -> Option<&'a FilterRule> {
    let mut rules = configured.all_filter.iter();
    rules.find(|rule| {
        rule.floating
            && !rule.disabled
            && rule.direction.as_deref() != Some("out")
            && rule.is_pass()
            && !is_conditional(rule)
            && is_on_interface(configured, rule, &service.interface)
            && matches_service(configured, rule, service) == Some(true)
    })
}

/// Says whether a rule is for some packets only of those that it is about, or may lead what it passes elsewhere.
fn is_conditional(rule: &FilterRule) -> bool {
    conditions_of(rule).next().is_some()
}

fn has_gateway(rule: &FilterRule) -> bool {
    rule.conditions.iter().any(|(key, _)| *key == "gateway")
}

/// Returns on what it depends beside addresses and ports whether a rule's packets arrive: `os Linux`.
pub fn conditions_of(rule: &FilterRule) -> impl Iterator<Item = String> {
    let counts = |key: &str| CONDITIONS.contains(&key) || (key == "gateway" && rule.is_pass());
    let conditions = rule.conditions.iter();
    let counting = conditions.filter(move |(key, _)| counts(key));
    counting.map(|(key, value)| format!("{key} {value}"))
}

/// Finds the enabled rule that decides about connections from addresses that no rule names, before the pair's filter rule
/// sees them: what it blocks is shut, and where it passes its caps count. A rule that is to be built would stand last.
pub fn find_rule_before<'a>(
    configured: &'a Configured,
    own: Option<&FilterRule>,
    service: &ReadRequest,
) -> Option<&'a FilterRule> {
    rule_before_for(configured, own, service, None)
}

/// Says whether the pair lets in some of the sources that rules name, once it is enabled; with `passes` no filter rule is
/// asked.
pub fn lets_named_sources_in(
    configured: &Configured,
    forward: Option<&NatRule>,
    own: Option<&FilterRule>,
    passes: bool,
    service: &ReadRequest,
) -> bool {
    let filters = configured.all_filter.iter();
    let forwards = configured.nat.iter();
    let sources = filters.map(|rule| &rule.source).chain(forwards.map(|rule| &rule.source));
    let nets: BTreeSet<IpNet> = sources
        .filter_map(|from| side_networks(configured, from))
        .flatten()
        .filter(|net| net.prefix_len() > 0)
        .take(MOST_SOURCES)
        .collect();
    let mut clients = nets.iter().map(|net| Some(net.addr()));
    clients.any(|client| {
        forward_before_for(configured, forward, service, client).is_none()
            && (passes || rule_before_for(configured, own, service, client).is_none())
            && leaves_for_service(configured, service, client)
    })
}

/// Says whether the floating rules let a client's connection out of the firewall again, to the service.
fn leaves_for_service(
    configured: &Configured,
    service: &ReadRequest,
    client: Option<IpAddr>,
) -> bool {
    let mut leaves = true;
    for rule in exit_rules(configured, service) {
        let looks = !is_conditional(rule)
            && holds_client(configured, &rule.source, client) == Some(true)
            && matches_service(configured, rule, service) == Some(true);
        if looks {
            leaves = rule.is_pass();
            if rule.quick {
                break;
            }
        }
    }
    leaves
}

/// Returns a rule of which cannot be said whether it keeps the service's connections from getting out of the firewall:
/// it asks for more than addresses and ports, or for a list that is not in the configuration, or leads them to a gateway.
pub fn find_open_exit<'a>(
    configured: &'a Configured,
    service: &ReadRequest,
) -> Option<&'a FilterRule> {
    exit_rules(configured, service).find(|rule| {
        let from = side_networks(configured, &rule.source)
            .and_then(|_| holds_client(configured, &rule.source, None));
        let to = matches_service(configured, rule, service);
        let may_match = from != Some(false) && to != Some(false);
        let is_sure = !is_conditional(rule) && from.is_some() && to.is_some();
        let leads_away = rule.is_pass() && has_gateway(rule);
        may_match && (leads_away || rule.is_block() && !is_sure)
    })
}

/// Returns the floating rules that pf asks where connections to the service leave the firewall.
fn exit_rules<'a>(
    configured: &'a Configured,
    service: &ReadRequest,
) -> impl Iterator<Item = &'a FilterRule> {
    let exit = configured.exit_interface(service.address);
    let exit = exit.map_or("", |interface| interface.name.as_str()).to_owned();
    configured.all_filter.iter().filter(move |rule| {
        rule.floating
            && !rule.disabled
            && matches!(rule.direction.as_deref(), Some("out" | "any"))
            && (rule.is_pass() || rule.is_block())
            && is_on_interface(configured, rule, &exit)
    })
}

/// Returns when pf meets a rule: floating ones first, then those of groups, then those of the interface.
fn place_of(rule: &FilterRule, service: &ReadRequest) -> (u8, u32) {
    let kind = match rule.interface.as_deref() {
        _ if rule.floating => 0,
        Some(name) if name == service.interface => 2,
        _ => 1,
    };
    (kind, rule.index)
}

/// Returns the rules that pf may meet before the pair's, and end with.
fn rules_before<'a>(
    configured: &'a Configured,
    own: Option<&FilterRule>,
    service: &ReadRequest,
) -> impl Iterator<Item = &'a FilterRule> {
    let ours = own.map_or((2, u32::MAX), |rule| place_of(rule, service));
    let rules = configured.all_filter.iter();
    rules.filter(move |rule| {
        !rule.disabled
            && (rule.is_pass() || rule.is_block())
            && (!rule.floating || rule.quick && rule.direction.as_deref() != Some("out"))
            && place_of(rule, service) < ours
            && is_on_interface(configured, rule, &service.interface)
    })
}

/// Finds the rule for a client; without one, for addresses that no rule names.
fn rule_before_for<'a>(
    configured: &'a Configured,
    own: Option<&FilterRule>,
    service: &ReadRequest,
    client: Option<IpAddr>,
) -> Option<&'a FilterRule> {
    let decides = |rule: &&FilterRule| {
        !is_conditional(rule)
            && holds_client(configured, &rule.source, client) == Some(true)
            && matches_service(configured, rule, service) == Some(true)
    };
    let rules = rules_before(configured, own, service).filter(decides);
    rules.min_by_key(|rule| place_of(rule, service))
}

/// Finds a rule before `end` of which it is not known whether it decides about addresses that no rule names, and otherwise than
/// by passing or blocking as is known; without `strangers` about any address.
pub fn find_open_rule<'a>(
    configured: &'a Configured,
    end: Option<&FilterRule>,
    (passes, strangers): (bool, bool),
    service: &ReadRequest,
) -> Option<&'a FilterRule> {
    let mut rules = rules_before(configured, end, service);
    rules.find(|rule| {
        let from = &rule.source;
        let holds = if strangers {
            holds_client(configured, from, None)
        } else {
            let nets = side_networks(configured, from);
            nets.filter(|_| is_for_every_port(from)).map(|_| true)
        };
        let truths = [holds, matches_service(configured, rule, service)];
        let is_other = rule.is_pass() != passes;
        let is_open =
            is_conditional(rule) && (passes || is_other) || truths.contains(&None) && is_other;
        is_open && !truths.contains(&Some(false))
    })
}

/// Says whether a filter rule can let connections to the service in, from some source.
pub fn lets_service_in(configured: &Configured, rule: &FilterRule, service: &ReadRequest) -> bool {
    rule.is_pass() && matches_service(configured, rule, service) != Some(false)
}

/// Finds an exception from forwards, or a forward to elsewhere, that takes the service's connections before its forward
/// does, or before one that is to be built last.
pub fn find_forward_before<'a>(
    configured: &'a Configured,
    forward: Option<&NatRule>,
    service: &ReadRequest,
) -> Option<&'a NatRule> {
    forward_before_for(configured, forward, service, None)
}

fn forward_before_for<'a>(
    configured: &'a Configured,
    forward: Option<&NatRule>,
    service: &ReadRequest,
    client: Option<IpAddr>,
) -> Option<&'a NatRule> {
    forwards_before(configured, forward, service)
        .find(|rule| takes_connection(configured, rule, forward, service, client) == Some(true))
}

/// Finds one of which cannot be said whether it takes the connections of addresses that no rule names, without `strangers` of
/// any: whom or which address it is for is not in the configuration. So it can be with the pair's own.
pub fn find_open_forward<'a>(
    configured: &'a Configured,
    forward: Option<&'a NatRule>,
    strangers: bool,
    service: &ReadRequest,
) -> Option<&'a NatRule> {
    let is_open = |rule: &&NatRule| {
        let is_listed = strangers || side_networks(configured, &rule.source).is_some();
        if is_listed {
            return takes_connection(configured, rule, forward, service, None).is_none();
        }
        holds_door(configured, &rule.destination, forward, service) != Some(false)
    };
    let has_open_door = |own: &&NatRule| {
        let to = &own.destination;
        (to.not || to.address.is_some()) && side_networks(configured, to).is_none()
    };
    let mut before = forwards_before(configured, forward, service);
    before.find(is_open).or(forward.filter(has_open_door))
}

/// Returns the exceptions from forwards, and the forwards to elsewhere, that pf meets before the pair's.
fn forwards_before<'a>(
    configured: &'a Configured,
    forward: Option<&NatRule>,
    service: &ReadRequest,
) -> impl Iterator<Item = &'a NatRule> {
    let leads_elsewhere = |rule: &NatRule| {
        let target = rule.target.as_deref().map(str::trim).unwrap_or_default();
        let own = IpNet::from(service.address);
        if let Some(nets) = members_of_text(&configured.aliases, target) {
            // pf leads to none of an empty list, and goes no further.
            let leads_there = nets.iter().all(|net| *net == own) && !nets.is_empty();
            return !target.is_empty() && !leads_there;
        }
        // What pfSense does not know it leaves out.
        let named = configured.aliases.iter().any(|alias| alias.name == target);
        named || interface_networks(configured, target).is_some()
    };
    // What a group's forward leads to the service is not led by the pair.
    let is_of_group = |rule: &NatRule| rule.interface != service.interface;
    configured.nat.iter().filter(move |rule| {
        (rule.nordr || is_of_group(rule) || leads_elsewhere(rule))
            && !rule.disabled
            && configured.covers_interface(&rule.interface, &service.interface)
            && is_for_port(rule, &configured.aliases, service)
            && forward.is_none_or(|own| rule.index < own.index)
    })
}

/// Says whether a rule of forwards takes a client's connection to where the pair's forward is for.
fn takes_connection(
    configured: &Configured,
    rule: &NatRule,
    forward: Option<&NatRule>,
    service: &ReadRequest,
    client: Option<IpAddr>,
) -> Option<bool> {
    let truths = [
        holds_client(configured, &rule.source, client),
        holds_door(configured, &rule.destination, forward, service),
    ];
    if truths.contains(&Some(false)) { Some(false) } else { truths[0].and(truths[1]) }
}

/// Says whether a forward's destination holds that of the pair's forward, which is the interface's own address if there is
/// none.
fn holds_door(
    configured: &Configured,
    to: &Side,
    forward: Option<&NatRule>,
    service: &ReadRequest,
) -> Option<bool> {
    let door = forward.map(|own| &own.destination);
    let door = door.filter(|door| door.network.is_some() || door.address.is_some());
    let interface = configured.interface.as_ref();
    let is_own = door.is_none_or(|door| is_own_address(door, interface, service));
    let plain = Side { not: false, ..to.clone() };
    if let Some(door) = door
        && (&door.network, &door.address) == (&to.network, &to.address)
    {
        return Some(door.not == to.not);
    }
    let address = match door {
        Some(door) if door.not => None,
        Some(door) if !is_own => {
            side_networks(configured, door).and_then(|nets| nets.first().map(IpNet::addr))
        }
        _ => interface.and_then(|interface| interface.ipaddr.as_deref()?.trim().parse().ok()),
    };
    let is_here = if to.any || is_own && is_own_address(&plain, interface, service) {
        Some(true)
    } else if to.network.as_deref() == Some(SELF) {
        // The firewall may have more addresses than it is given here.
        is_own.then_some(true)
    } else {
        let held = side_networks(configured, to);
        held.zip(address).map(|(held, address)| held.iter().any(|net| net.contains(&address)))
    };
    is_here.map(|is_here| is_here != to.not)
}

fn is_on_interface(configured: &Configured, rule: &FilterRule, interface: &str) -> bool {
    let names = rule.interface.as_deref().unwrap_or_default();
    let is_any = rule.floating && matches!(names, "" | "any");
    let mut names = names.split(',').map(str::trim);
    is_any || names.any(|name| configured.covers_interface(name, interface))
}

/// Says whether a rule matches connections to the service, wherever they come from.
fn matches_service(
    configured: &Configured,
    rule: &FilterRule,
    service: &ReadRequest,
) -> Option<bool> {
    if !covers_tcp(rule.protocol.as_ref()) || !is_of_family(rule.ipprotocol.as_deref(), service) {
        return Some(false);
    }
    let to = &rule.destination;
    let leads_there = if service.is_named_by(to.address.as_deref()) {
        Some(true)
    } else if is_of_firewall(configured, to) {
        Some(false)
    } else {
        let nets = side_networks(configured, to);
        nets.map(|nets| nets.iter().any(|net| net.contains(&service.address)))
    };
    let leads_there = leads_there.map(|leads_there| leads_there != to.not);
    let port = to.port.as_deref().map(str::trim).unwrap_or_default();
    let has_port = if port.is_empty() {
        Some(true)
    } else {
        ranges_of_port(&configured.aliases, port, 0).map(|ranges| {
            let mut ranges = ranges.iter();
            ranges.any(|(low, high)| (*low..=*high).contains(&service.port))
        })
    };
    match (leads_there, has_port) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (leads_there, has_port) => leads_there.and(has_port),
    }
}

/// Returns the enabled forwards from outside to the service whose connections the filter rules of their interface let in.
pub fn forwards_that_let_in<'a>(
    configured: &'a Configured,
    service: &ReadRequest,
) -> impl Iterator<Item = &'a NatRule> {
    let is_outside = |name: &str| {
        let mut interfaces = configured.interfaces.iter();
        interfaces.any(|interface| {
            (interface.name == service.interface || interface.has_gateway())
                && configured.shares_interface(name, &interface.name)
        })
    };
    let leads_here = |rule: &NatRule| {
        let target = rule.target.as_deref().unwrap_or_default().trim();
        let nets = members_of_text(&configured.aliases, target).unwrap_or_default();
        service.is_named_by(Some(target)) || nets.iter().any(|net| net.contains(&service.address))
    };
    let is_let_in = |rule: &NatRule| {
        let mut passes = configured
            .all_filter
            .iter()
            .filter(|pass| !pass.disabled && is_on_interface(configured, pass, &rule.interface));
        rule.passes_by_itself() || passes.any(|pass| lets_service_in(configured, pass, service))
    };
    configured.all_nat.iter().filter(move |rule| {
        !rule.disabled
            && !rule.nordr
            && is_tcp(rule.protocol.as_ref())
            && is_of_family(rule.ipprotocol.as_deref(), service)
            && port_field_is(&configured.aliases, rule.local_port.as_deref(), service.port)
            && is_outside(&rule.interface)
            && leads_here(rule)
            && is_let_in(rule)
    })
}

/// Says whether a filter rule matches what a port forward leads elsewhere than to the service.
pub(super) fn matches_led_elsewhere(
    configured: &Configured,
    rule: &FilterRule,
    forward: &NatRule,
    service: &ReadRequest,
) -> bool {
    let inside = forward.local_port.as_deref().unwrap_or_default();
    let ports = ranges_of_port(&configured.aliases, inside, 0).unwrap_or_default();
    let Some((port, _)) = ports.first() else {
        return false;
    };
    let target = forward.target.as_deref().unwrap_or_default().trim();
    let nets = members_of_text(&configured.aliases, target).unwrap_or_default();
    let own = IpNet::from(service.address);
    let mut elsewhere = nets.iter().filter(|net| **net != own || *port != service.port);
    elsewhere.any(|net| {
        let (alias, address) = (target.to_owned(), net.addr());
        let led = ReadRequest { alias, address, port: *port, ..service.clone() };
        matches_service(configured, rule, &led) == Some(true)
    })
}

/// Finds what a filter rule of more than the service lets in beside it, to another host or another port: what 1:1 NAT leads
/// there, or what reaches a public address of the service or of another network. Says it in a clause:
/// `1:1 NAT leads from 192.168.1.9 to 10.0.20.50`.
pub(super) fn find_beside_forwards(
    configured: &Configured,
    rule: &FilterRule,
    service: &ReadRequest,
) -> Option<String> {
    let to = &rule.destination;
    let interface = rule.interface.as_deref().unwrap_or_default();
    if rule.disabled || !rule.is_pass() {
        return None;
    }
    let ranges = ranges_of_port(&configured.aliases, to.port.as_deref().unwrap_or_default(), 0);
    let ports = ranges.into_iter().flatten().flat_map(|(low, high)| [low, high]);
    let every = is_for_every_port(to).then_some([service.port.saturating_add(1), service.port]);
    let ports: Vec<u16> = ports.chain(every.into_iter().flatten()).collect();
    let lets_in = |host: IpAddr| {
        let is_service = !to.not && host == service.address;
        ports.iter().any(|port| {
            let (alias, address) = (host.to_string(), host);
            let alias = if is_service { service.alias.clone() } else { alias };
            let led = ReadRequest { alias, address, port: *port, ..service.clone() };
            (host != service.address || *port != service.port)
                && matches_service(configured, rule, &led) == Some(true)
        })
    };
    if is_public(service.address) && lets_in(service.address) {
        return Some(format!("reaches other ports of {} from outside", service.address));
    }
    let named = side_networks(configured, to).unwrap_or_default();
    // Behind an interface without a gateway are hosts that the outside reaches by their own public addresses.
    let inside = configured.interfaces.iter().filter(|other| {
        other.is_enabled()
            && !other.has_gateway()
            && !configured.shares_interface(interface, &other.name)
    });
    for (other, net) in
        inside.flat_map(|other| other.networks().into_iter().map(move |net| (other, net)))
    {
        let own: Vec<IpNet> =
            interface_networks(configured, &format!("{}ip", other.name)).unwrap_or_default();
        let here =
            named.iter().filter(|named| net.contains(*named)).flat_map(|net| net.hosts().take(3));
        let mut hosts = here.chain(net.hosts().take(3)).filter(|host| is_public(*host));
        if hosts.any(|host| !own.contains(&IpNet::from(host)) && lets_in(host)) {
            return Some(format!("reaches {net} of {} from outside", other.name));
        }
    }
    let entries = configured.sections.list("nat", "onetoone").iter();
    let mut in_force = entries.filter(|entry| {
        let on = entry.child_text("interface").unwrap_or_default();
        !entry.has_child("disabled")
            && !entry.has_child("nobinat")
            && configured.shares_interface(interface, on)
    });
    in_force.find_map(|entry| {
        let nets = side_networks(configured, &Side::of_record(entry, "source"))?;
        let is_inside = |host: &IpAddr| nets.iter().any(|net| net.contains(host));
        let hosts = nets.iter().chain(&named).flat_map(|net| net.hosts().take(3));
        let mut hosts = hosts.chain([service.address]).filter(is_inside);
        let host = hosts.find(|host| lets_in(*host))?;
        let external = entry.child_text("external").unwrap_or_default();
        let ports = if host == service.address { ", on other ports too" } else { "" };
        Some(format!("1:1 NAT leads from {external} to {host}{ports}"))
    })
}

/// Says whether a side is addresses of the firewall itself, also where those are leased.
fn is_of_firewall(configured: &Configured, side: &Side) -> bool {
    let word = side.network.as_deref().unwrap_or_default().trim();
    let mut interfaces = configured.interfaces.iter();
    let is_own = |name| interfaces.any(|interface| interface.name == name);
    word == SELF || word.strip_suffix("ip").is_some_and(is_own)
}

/// Says whether a source holds a client; without one, the addresses that no rule names.
fn holds_client(configured: &Configured, from: &Side, client: Option<IpAddr>) -> Option<bool> {
    let Some(nets) = side_networks(configured, from) else {
        // Addresses that no rule names are in no list.
        return (client.is_none() && !from.not).then_some(false);
    };
    let held = match (client, nets.iter().map(IpNet::prefix_len).min()) {
        (Some(client), _) => nets.iter().any(|net| net.contains(&client)),
        (None, Some(0)) => true,
        (None, Some(1..8)) => return None,
        (None, _) => false,
    } != from.not;
    (is_for_every_port(from) || !held).then_some(held)
}

fn is_for_every_port(side: &Side) -> bool {
    side.port.as_deref().unwrap_or_default().trim().is_empty()
}

/// Returns the networks of a side, its negation left out; `None` where they are not in the configuration.
fn side_networks(configured: &Configured, side: &Side) -> Option<Vec<IpNet>> {
    let word = |text: &Option<String>| text.as_deref().unwrap_or_default().trim().to_owned();
    let (address, network) = (word(&side.address), word(&side.network));
    match (address.is_empty(), network.is_empty()) {
        (false, _) => members_of_text(&configured.aliases, &address),
        (true, false) => interface_networks(configured, &network),
        (true, true) => Some(vec!["0.0.0.0/0".parse().ok()?, "::/0".parse().ok()?]),
    }
}

/// Returns what the word of a rule for an interface stands for: `lan`, `wanip`.
fn interface_networks(configured: &Configured, word: &str) -> Option<Vec<IpNet>> {
    let named = |name: &str| {
        let mut interfaces = configured.interfaces.iter();
        interfaces.find(|interface| interface.name == name)
    };
    let (interface, is_address) = match named(word) {
        Some(interface) => (interface, false),
        None => (named(word.strip_suffix("ip")?)?, true),
    };
    let mut addresses = Vec::new();
    for address in [&interface.ipaddr, &interface.ipaddr_v6] {
        let address = address.as_deref().filter(|address| !address.is_empty());
        if let Some(address) = address {
            addresses.push(address.parse::<IpAddr>().ok()?);
        }
    }
    Some(if is_address {
        addresses.into_iter().map(IpNet::from).collect()
    } else {
        interface.rule_networks()
    })
}
