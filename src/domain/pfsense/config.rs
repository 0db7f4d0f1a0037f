//! The sections of config.xml that the firewall reports, as raw records in their order, and the one place that gives them
//! the shape the judgements use ([`Configured`]). The firewall chooses sections, never records: which of them are the
//! service's is decided here.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::change::{Deleted, Element};
use super::configured::{
    Alias, Configured, CronItem, FilterRule, InterfaceConfig, InterfaceGroup, NatRule,
    VirtualAddress,
};
use super::edit::are_of_service;
use super::managed::ManagedPair;
use super::separators::separators_of;
use crate::domain::pf::table::TableName;
use crate::domain::service::Service;
use crate::text::hexadecimal;

/// How deep aliases of ports are followed into aliases.
const ALIAS_DEPTH: u8 = 4;

/// The service, as it is looked for in config.xml.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadRequest {
    pub alias: String,
    /// The address the alias should hold.
    pub address: IpAddr,
    /// The service's port.
    pub port: u16,
    /// pfSense's name of the outside interface (`wan`).
    pub interface: String,
    /// The overload table, for its cron item.
    pub table: TableName,
}

impl From<&Service> for ReadRequest {
    fn from(service: &Service) -> Self {
        Self {
            alias: service.alias.clone(),
            address: service.address,
            port: service.port,
            interface: service.interface.clone(),
            table: service.table.clone(),
        }
    }
}

impl ReadRequest {
    /// Returns whether a field names the service: its alias, or its address in any spelling.
    pub fn is_named_by(&self, field: Option<&str>) -> bool {
        let field = field.unwrap_or_default().trim();
        let network = || field.parse::<ipnet::IpNet>().ok();
        field == self.alias
            || field.parse::<IpAddr>() == Ok(self.address)
            || network() == Some(ipnet::IpNet::from(self.address))
    }
}

/// Sections of config.xml, raw: `nat/{rule,separator,onetoone}`, `filter/{rule,separator}`, `aliases/alias`,
/// `interfaces`, `gateways/gateway_item`, `ifgroups/ifgroupentry`, `virtualip/vip`, `cron/item` of the table, and the flags of
/// `system`. An element that is absent there is absent here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sections(pub Element);

/// An empty element.
static EMPTY: Element = Element::Text(String::new());

impl Sections {
    /// Returns a section; one that is absent looks like an empty one.
    pub fn section(&self, name: &str) -> &Element {
        self.0.get(name).unwrap_or(&EMPTY)
    }

    /// Returns the records of a list such as `nat/rule`; an empty section is a text, not a list.
    pub fn list(&self, section: &str, tag: &str) -> &[Element] {
        match self.section(section).get(tag) {
            Some(Element::List(records)) => records,
            _ => &[],
        }
    }

    /// Gives a list such as `nat/rule` to `edit`; the list is made if it is not there.
    pub fn edit_list<T>(
        &mut self,
        section: &str,
        tag: &str,
        edit: impl FnOnce(&mut Vec<Element>) -> T,
    ) -> T {
        let mut records = self.list(section, tag).to_vec();
        let result = edit(&mut records);
        self.set_child(section, tag, Element::List(records));
        result
    }

    pub fn set_child(&mut self, section: &str, tag: &str, child: Element) {
        let mut holder = self.section(section).clone();
        holder.set_child(tag, child);
        self.0.set_child(section, holder);
    }
}

/// Returns whether a port field covers the port: a number, a range, or one of these aliases that holds it.
pub fn port_field_covers(aliases: &[Alias], field: Option<&str>, port: u16, depth: u8) -> bool {
    ranges_of_port(aliases, field.unwrap_or_default(), depth)
        .is_some_and(|ranges| ranges.iter().any(|(low, high)| (*low..=*high).contains(&port)))
}

/// Returns whether a port field is this port and no other one, as a number or as an alias that holds nothing else.
pub fn port_field_is(aliases: &[Alias], field: Option<&str>, port: u16) -> bool {
    single_port_of(aliases, field) == Some(port)
}

/// Returns the one port that a field stands for, if it is one.
pub fn single_port_of(aliases: &[Alias], field: Option<&str>) -> Option<u16> {
    let ranges = ranges_of_port(aliases, field.unwrap_or_default(), 0)?;
    let (port, _) = *ranges.first()?;
    ranges.iter().all(|range| *range == (port, port)).then_some(port)
}

/// Returns the ranges of ports that a field names; `None` if a part of it is not understood and none is.
pub fn ranges_of_port(aliases: &[Alias], field: &str, depth: u8) -> Option<Vec<(u16, u16)>> {
    let field = field.trim();
    if let Ok(number) = field.parse::<u16>() {
        return Some(vec![(number, number)]);
    }
    if let Some((low, high)) = field.split_once(['-', ':'])
        && let (Ok(low), Ok(high)) = (low.parse::<u16>(), high.parse::<u16>())
    {
        return Some(vec![(low, high)]);
    }
    let alias = aliases
        .iter()
        .find(|alias| alias.name == field && alias.kind.as_deref() == Some("port"))
        .filter(|_| !field.is_empty() && depth <= ALIAS_DEPTH)?;
    let members = alias.address.as_deref().unwrap_or_default();
    let mut ranges = Vec::new();
    for member in members.split_whitespace() {
        // What is not understood covers no port that is known, and makes the field more than one port.
        ranges.extend(ranges_of_port(aliases, member, depth + 1).unwrap_or_else(|| vec![(0, 0)]));
    }
    Some(ranges)
}

/// Returns the addresses and networks that an alias holds, nested ones too; `None` if a member is not understood.
pub fn members_of_alias(aliases: &[Alias], name: &str) -> Option<Vec<IpNet>> {
    let mut members = Vec::new();
    add_members(aliases, name, &mut members, &mut Vec::new())?;
    Some(members)
}

/// Returns the addresses and networks that a list of members stands for.
pub fn members_of_text(aliases: &[Alias], text: &str) -> Option<Vec<IpNet>> {
    let (mut members, mut seen) = (Vec::new(), Vec::new());
    for member in text.split_whitespace() {
        add_members(aliases, member, &mut members, &mut seen)?;
    }
    Some(members)
}

/// Says whether a list of members stands for this address alone.
pub fn is_exactly(aliases: &[Alias], text: &str, address: IpAddr) -> bool {
    members_of_text(aliases, text).is_some_and(|members| {
        !members.is_empty() && members.iter().all(|member| *member == IpNet::from(address))
    })
}

/// Adds an address, a network or what an alias holds. Aliases are followed however deep they are; pfSense does so too, and
/// leaves out those that it has followed already.
fn add_members<'a>(
    aliases: &'a [Alias],
    member: &'a str,
    members: &mut Vec<IpNet>,
    seen: &mut Vec<&'a str>,
) -> Option<()> {
    let mut waiting = vec![member];
    while let Some(member) = waiting.pop() {
        if let Ok(address) = member.parse::<IpAddr>() {
            members.push(IpNet::from(address));
        } else if let Ok(network) = member.parse::<IpNet>() {
            members.push(network);
        } else if !seen.contains(&member) {
            let alias = aliases.iter().find(|alias| alias.name == member)?;
            let kind = alias.kind.as_deref().unwrap_or_default();
            // What such a table holds is downloaded by the firewall, and is not in its configuration.
            if kind.starts_with("urltable") {
                return None;
            }
            seen.push(member);
            let nested = alias.address.as_deref().unwrap_or_default();
            let before = waiting.len();
            waiting.extend(nested.split_whitespace());
            waiting.get_mut(before..)?.reverse();
        }
    }
    Some(())
}

impl Configured {
    /// Fills everything that is made of the raw sections.
    #[must_use]
    pub fn shaped_for(mut self, request: &ReadRequest) -> Self {
        let sections = &self.sections;
        let rules = |section| sections.list(section, "rule").iter().enumerate();
        self.all_nat =
            rules("nat").map(|(place, rule)| NatRule::of_record(index_of(place), rule)).collect();
        self.all_filter = rules("filter")
            .map(|(place, rule)| FilterRule::of_record(index_of(place), rule))
            .collect();
        self.aliases = sections.list("aliases", "alias").iter().map(Alias::of_record).collect();
        self.nat = self
            .all_nat
            .iter()
            .filter(|rule| touches_service(&self.aliases, rule, request))
            .cloned()
            .collect();
        self.filter = self
            .all_filter
            .iter()
            .filter(|rule| concerns_service(&self.aliases, rule, &self.nat, request))
            .cloned()
            .collect();
        let alias = self.aliases.iter().find(|alias| alias.name == request.alias);
        self.alias = alias.cloned();
        self.interfaces = parse_interfaces(sections);
        let named = |interface: &&InterfaceConfig| interface.name == request.interface;
        self.interface = self.interfaces.iter().find(named).cloned();
        self.interface_groups = sections
            .list("ifgroups", "ifgroupentry")
            .iter()
            .map(|group| InterfaceGroup {
                name: record_field(group, "ifname"),
                members: split_words(group.child_text("members")),
            })
            .collect();
        self.cron = sections.list("cron", "item").iter().map(cron_item).collect();
        self.filter_disabled = sections.section("system").has_child("disablefilter");
        self.sort_history();
        self.sort_changes();
        self.fingerprint = self.fingerprint_of_pair(request);
        self.deleted = self.last_deletion(request);
        self
    }
}

impl Configured {
    /// Returns the fingerprint of the service's records, the alias and the separators: what a plan names.
    fn fingerprint_of_pair(&self, request: &ReadRequest) -> String {
        let pair = ManagedPair::find(self, request);
        let records = |section, tag, places: &[u32]| {
            let list = self.sections.list(section, tag);
            let record = |place: &u32| list.get(usize::try_from(*place).ok()?).cloned();
            Element::List(places.iter().filter_map(record).collect())
        };
        let forwards: Vec<u32> = pair.forwards.iter().map(|rule| rule.index).collect();
        let passes: Vec<u32> = pair.passes.iter().map(|rule| rule.index).collect();
        let named = |alias: &&Element| alias.child_text("name") == Some(request.alias.as_str());
        let alias = self.sections.list("aliases", "alias").iter().find(named);
        let whole = Element::Map(vec![
            ("alias".to_owned(), Element::List(alias.cloned().into_iter().collect())),
            ("filter".to_owned(), records("filter", "rule", &passes)),
            ("nat".to_owned(), records("nat", "rule", &forwards)),
            (
                "separators".to_owned(),
                Element::Map(vec![
                    ("filter".to_owned(), separators_of(&self.sections, "filter")),
                    ("nat".to_owned(), separators_of(&self.sections, "nat")),
                ]),
            ),
        ]);
        hexadecimal(&Sha256::digest(whole.canonical_json()))
    }

    /// What another alias had is another service's. While a rule of the service is there nothing is to be put back.
    fn last_deletion(&self, request: &ReadRequest) -> Option<Deleted> {
        let pair = ManagedPair::find(self, request);
        let is_gone = pair.forwards.is_empty() && pair.passes.is_empty();
        let is_ours = |deleted: &&Deleted| are_of_service(&deleted.records, &self.aliases, request);
        self.deletions.iter().find(is_ours).filter(|_| is_gone).cloned()
    }

    /// Returns the digest of every rule, the aliases and the separators: what a swap names, so that nothing that it was
    /// judged by has changed since.
    pub fn digest_of_rules(&self) -> String {
        let sections = ["aliases", "filter", "nat"];
        let named = |name: &str| (name.to_owned(), self.sections.section(name).clone());
        let whole = Element::Map(sections.map(named).into());
        hexadecimal(&Sha256::digest(whole.canonical_json()))
    }
}

/// A port forward touches the service by its outside port, its inside port or its target.
fn touches_service(aliases: &[Alias], rule: &NatRule, request: &ReadRequest) -> bool {
    let covers = |field: Option<&String>| {
        port_field_covers(aliases, field.map(String::as_str), request.port, 0)
    };
    covers(rule.destination.port.as_ref())
        || covers(rule.local_port.as_ref())
        || request.is_named_by(rule.target.as_deref())
}

/// A filter rule concerns the service if it is joined to one of these forwards, leads to its address, or is for its port
/// on its interface.
fn concerns_service(
    aliases: &[Alias],
    rule: &FilterRule,
    forwards: &[NatRule],
    request: &ReadRequest,
) -> bool {
    let id = rule.association.as_deref().unwrap_or_default();
    let joined = !matches!(id, "" | "pass")
        && forwards.iter().any(|forward| forward.association.as_deref() == Some(id));
    joined
        || request.is_named_by(rule.destination.address.as_deref())
        || (is_on_interface(rule, &request.interface)
            && port_field_covers(aliases, rule.destination.port.as_deref(), request.port, 0))
}

fn is_on_interface(rule: &FilterRule, interface: &str) -> bool {
    let names = rule.interface.as_deref().unwrap_or_default();
    names.split(',').any(|name| name == interface) || (rule.floating && matches!(names, "" | "any"))
}

fn parse_interfaces(sections: &Sections) -> Vec<InterfaceConfig> {
    let Element::Map(interfaces) = sections.section("interfaces") else {
        return Vec::new();
    };
    let owned = |record: &Element, key| record.child_text(key).map(str::to_owned);
    let virtual_addresses = parse_virtual_addresses(sections);
    let of_interface = |name: &String| {
        let here = virtual_addresses.iter().filter(|(other, _)| other == name);
        here.map(|(_, address)| *address).collect()
    };
    let gateways = sections.list("gateways", "gateway_item");
    let is_on = |gateway: &&Element, name: &str| {
        !gateway.has_child("disabled") && record_field(gateway, "interface") == name
    };
    interfaces
        .iter()
        .map(|(name, record)| InterfaceConfig {
            has_routing_gateway: gateways.iter().any(|gateway| is_on(&gateway, name)),
            virtual_addresses: of_interface(name),
            name: name.clone(),
            enabled: record.has_child("enable"),
            device: owned(record, "if"),
            descr: owned(record, "descr"),
            ipaddr: owned(record, "ipaddr"),
            subnet: owned(record, "subnet"),
            ipaddr_v6: owned(record, "ipaddrv6"),
            subnet_v6: owned(record, "subnetv6"),
            gateway: owned(record, "gateway"),
            gateway_v6: owned(record, "gatewayv6"),
        })
        .collect()
}

/// Returns the virtual addresses, each with the interface that it is on; one can be on another one's, `_vip` and its id.
fn parse_virtual_addresses(sections: &Sections) -> Vec<(String, VirtualAddress)> {
    let records = sections.list("virtualip", "vip");
    let interface_of = |name: String| {
        let id = name.strip_prefix("_vip")?;
        let mut records = records.iter();
        let other = records.find(|other| other.child_text("uniqid") == Some(id))?;
        Some(record_field(other, "interface"))
    };
    let virtual_address = |record: &Element| {
        let name = record_field(record, "interface");
        let address: IpAddr = record.child_text("subnet")?.trim().parse().ok()?;
        let bits = record.child_text("subnet_bits").map(str::trim);
        let bits = bits.and_then(|bits| bits.parse().ok());
        let single = IpNet::from(address);
        let network = bits.map_or(Some(single), |bits| IpNet::new(address, bits).ok())?;
        let mode = record.child_text("mode").unwrap_or_default();
        let place = interface_of(name.clone()).unwrap_or(name);
        Some((
            place,
            VirtualAddress { network: network.trunc(), is_own: matches!(mode, "carp" | "ipalias") },
        ))
    };
    records.iter().filter_map(virtual_address).collect()
}

fn cron_item(item: &Element) -> CronItem {
    CronItem {
        minute: record_field(item, "minute"),
        hour: record_field(item, "hour"),
        mday: record_field(item, "mday"),
        month: record_field(item, "month"),
        wday: record_field(item, "wday"),
        who: record_field(item, "who"),
        command: record_field(item, "command"),
    }
}

fn record_field(record: &Element, key: &str) -> String {
    record.child_text(key).unwrap_or_default().to_owned()
}

fn split_words(text: Option<&str>) -> Vec<String> {
    let words = text.unwrap_or_default().split_whitespace();
    words.map(str::to_owned).collect()
}

fn index_of(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}
