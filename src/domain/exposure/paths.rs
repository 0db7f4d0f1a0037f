//! Every way by which pf leads the outside to the service: a loaded translation, or a publicly routed address of the
//! service, **and** a loaded pass rule that admits the result (or `rdr pass`). Not only the managed pair: a second WAN,
//! another outside port, 1:1 NAT, a floating rule that passes what the pair no longer does.
//!
//! Each candidate is followed as one connection: the translation that it meets first, then what the filter rules do
//! with it, inbound and outbound. What cannot be decided from the rules ([`UNDECIDABLE`], tables of unknown content)
//! leaves both answers standing, and the path is then not certain; it is never taken for closed.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};
use serde::Serialize;

use super::matching::{
    On, TUNNEL_END, Truth, WIDE, host_network, host_range, on_interface, plain_host_holds,
    port_included, printed_port_ranges, sees_inbound_tcp, table_name,
};
use super::upnp::{UPNP_ANCHOR, is_upnp_anchor};
use super::{AliasTable, Loaded};
use crate::domain::address::is_public;
use crate::domain::pf::rule::{
    Action, Direction, Endpoint, Family, Interface, Keep, PF_WORDS, Rule,
};
use crate::domain::pf::table::Entry;
use crate::domain::pfsense::config::members_of_alias;
use crate::domain::pfsense::configured::{Configured, InterfaceConfig};
use crate::domain::ratelimit::Caps;
use crate::domain::service::Service;

mod closing;

pub use closing::{Aftermath, DoorElsewhere};

/// Conditions of a rule on which kmsctl cannot say whether a connection meets them: such a rule may match or not.
pub const UNDECIDABLE: [&str; 11] = [
    "bitmask",
    "group",
    "max-pkt-rate",
    "max-pkt-size",
    "once",
    "os",
    "prio",
    "probability",
    "received-on",
    "tos",
    "user",
];
/// Words of a pass rule after which kmsctl cannot say where the connection goes: it is let in, and perhaps led elsewhere.
pub const LEADING_ELSEWHERE: [&str; 5] = ["af-to", "divert-to", "rdr-to", "route-to", "rtable"];
/// Tables of pfSense's own that hold offenders and bogons, never the service or the outside at large.
const SYSTEM_TABLES: [&str; 6] =
    ["bogons", "bogonsv6", "snort2c", "sshguard", "sshlockout", "virusprot"];
/// Devices of VPNs, whose other side is not the outside unless the configuration names them.
/// A client of L2TP or PPPoE (`l2tp0`, `pppoe0`) is an uplink; the devices of pfSense's own servers are not.
const VPN_DEVICES: [&str; 9] =
    ["ovpn", "wg", "tun_wg", "ipsec", "enc", "gre", "l2tps", "poes", "tailscale"];
/// Devices that no connection comes in by.
const OWN_DEVICES: [&str; 3] = ["lo", "pflog", "pfsync"];
/// A tunnel: the one that brings IPv6 leads outside, the one to another site does not.
const TUNNEL_DEVICE: &str = "gif";
/// What stands for the rule of a path where no rule is asked.
const NO_RULE: &str = "none, as pf is switched off";
/// The device that leads to an address behind a route: none of the outside.
const UNKNOWN_DEVICE: &str = "";
const OTHER_DEVICE: &str = "?";
/// Most addresses or ports of a rule that are tried, most clients, and most paths that are kept.
const TRIED: usize = 64;
const CLIENTS: usize = 512;
const KEPT: usize = 64;
/// Outside addresses that stand for one that is not known.
const GENERIC_POINTS: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(198, 51, 100, 254)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 0xfffe)),
];
/// A source port that the client's system chooses.
const EPHEMERAL: u16 = 50_000;
/// Addresses of the outside at large: the first that is in no list of the rules stands for it.
const AT_LARGE: [[u8; 4]; 4] = [[9, 9, 9, 9], [150, 9, 9, 9], [80, 80, 80, 80], [210, 9, 9, 9]];

/// How a connection reaches the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PathKind {
    /// A port forward (`rdr`).
    Forward,
    /// 1:1 NAT (`binat`).
    OneToOne,
    /// The service's address is routed publicly: no translation is needed.
    Routed,
    /// A port forward in UPnP's anchor: a machine inside has asked for it.
    Upnp,
    /// A loaded rule that could not be read: what it does is not known.
    Unread,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PathIn {
    pub kind: PathKind,
    /// pfSense's name of the interface, or the device's where that is not known.
    pub interface: String,
    /// What a client outside addresses: `192.168.1.2:1688`.
    pub enters: String,
    /// Where it ends: `10.0.20.202:1688`.
    pub leads_to: String,
    /// Who gets in: `any`, or the sources of the rules that let some in.
    pub sources: String,
    /// The loaded rule that leads it: the translation, or the pass rule of a routed address.
    pub rule: String,
    /// The loaded filter rule that admits it; null with `rdr pass`, and where pf's own default passes.
    pub passed_by: Option<String>,
    /// The pair that kmsctl manages makes it; every other path is named and never changed.
    pub managed: bool,
    /// The rules alone say that it is one; if not, it depends on what is not in the rules.
    pub certain: bool,
    pub caps: Option<Caps>,
}

impl PathIn {
    /// Returns its rule, and where that stands.
    pub fn rule_clause(&self) -> String {
        let place = match self.kind {
            PathKind::Upnp => format!(", in the anchor {UPNP_ANCHOR}"),
            _ => String::new(),
        };
        format!("{}{place}: {}.", PF_WORDS.trim_start(), self.rule)
    }

    /// Says it in a clause: `the forward on opt1 198.51.100.2:1688 leads to 10.0.20.202:1688`.
    pub fn path_clause(&self) -> String {
        let kind = match self.kind {
            PathKind::Forward => "a port forward",
            PathKind::OneToOne => "1:1 NAT",
            PathKind::Routed => "the routed address",
            PathKind::Upnp => "a port opened by UPnP",
            PathKind::Unread => {
                return "a loaded rule that kmsctl cannot read may let connections in".to_owned();
            }
        };
        let sources =
            if self.sources == "any" { String::new() } else { format!(" for {}", self.sources) };
        let may = if self.certain { "leads" } else { "may lead" };
        format!(
            "{kind} on {} at {} {may} to {}{sources}",
            self.interface, self.enters, self.leads_to
        )
    }

    /// Says which step in the GUI takes it away; none is known for a rule that could not be read.
    pub fn closing_step(&self) -> Option<String> {
        let host = |end: &str| end.rsplit_once(':').map_or(end, |(host, _)| host).to_owned();
        let (enters, interface) = (&self.enters, self.interface.to_uppercase());
        match self.kind {
            PathKind::Forward => Some(format!(
                "Firewall > NAT > Port Forward, disable the forward of {enters} on {interface}"
            )),
            PathKind::OneToOne => Some(format!(
                "Firewall > NAT > 1:1, disable the entry that leads {} on {interface} to {}",
                host(enters),
                host(&self.leads_to)
            )),
            PathKind::Routed if self.passed_by.is_some() => Some(format!(
                "Firewall > Rules, disable the rule that lets {interface} through to {enters}"
            )),
            PathKind::Upnp => {
                Some(format!("Status > UPnP & NAT-PMP, take back the port at {enters}"))
            }
            PathKind::Routed | PathKind::Unread => None,
        }
    }

    /// Says how its sources are capped, to follow [`Self::path_clause`].
    pub fn caps_clause(&self) -> String {
        match self.caps {
            _ if self.kind == PathKind::Unread => String::new(),
            Some(caps) if !caps.is_empty() => format!(", with {caps} per source"),
            _ => ", uncapped".to_owned(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct OutsideDevice {
    name: String,
    device: String,
    addresses: Vec<IpAddr>,
    /// Its other side is the outside; without a configuration that is known of the service's own device alone.
    certain: bool,
}

pub struct Surroundings<'a> {
    service: &'a Service,
    configured: Option<&'a Configured>,
    outside: Vec<OutsideDevice>,
    /// The addresses of the service: the configured one first, then the others of its alias.
    addresses: Vec<IpAddr>,
    /// What the tables of aliases hold; those of unknown content are missing.
    tables: BTreeMap<&'a str, Vec<IpNet>>,
    /// How many entries pf's tables have, as the rules were printed; none where that changed meanwhile.
    entries: BTreeMap<&'a str, Option<u32>>,
    /// What the service's alias holds was read from pf; else it is taken to hold the service's address.
    is_alias_read: bool,
}

impl<'a> Surroundings<'a> {
    /// Collects it. Without a configuration the device of the redirections to the service leads outside, and any other of
    /// `named` may.
    pub fn new(
        configured: Option<&'a Configured>,
        service: &'a Service,
        device: Option<&str>,
        loaded: Loaded<'a>,
    ) -> Self {
        let rules = loaded.nat.iter().chain(loaded.filter);
        let devices = rules.clone().filter_map(|rule| rule.interface.as_ref());
        let devices: BTreeSet<&str> = devices.map(|interface| interface.name.as_str()).collect();
        // One that is switched off counts while pf still has rules for it.
        let is_in_use = |interface: &InterfaceConfig| {
            let device = interface.device.as_deref();
            interface.is_enabled() || device.is_some_and(|device| devices.contains(device))
        };
        let mut outside: Vec<OutsideDevice> = configured
            .map(|configured| configured.interfaces.as_slice())
            .unwrap_or_default()
            .iter()
            .filter(|interface| is_outside(interface, service) && is_in_use(interface))
            .flat_map(|interface| outside_devices(interface, service))
            .collect();
        if let Some(device) = device
            && !outside.iter().any(|other| other.device == device)
        {
            let own = configured.and_then(|configured| configured.interface.as_ref());
            outside.insert(
                0,
                OutsideDevice {
                    name: service.interface.clone(),
                    device: device.to_owned(),
                    addresses: own.map(interface_addresses).unwrap_or_default(),
                    certain: true,
                },
            );
        }
        // A device that the configuration does not name may lead outside.
        let interfaces = configured.map_or(&[][..], |configured| &configured.interfaces);
        let is_unnamed = |name: &&str| {
            let is_device = name.ends_with(|letter: char| letter.is_ascii_digit())
                || name.ends_with(TUNNEL_END);
            let is_inside = |start: &&str| configured.is_some() && name.starts_with(*start);
            let mut named = interfaces.iter().filter_map(|other| other.device.as_deref());
            is_device
                && !VPN_DEVICES.iter().chain(&OWN_DEVICES).any(is_inside)
                && !named.any(|device| device == *name)
        };
        let some_other = configured.is_none().then_some(OTHER_DEVICE);
        let knows_devices = configured.is_none() || !interfaces.is_empty();
        let unnamed = devices.into_iter().filter(|name| knows_devices && is_unnamed(name));
        for device in unnamed.chain(some_other) {
            if !outside.iter().any(|other| other.device == device) {
                let name = Some(device).filter(|device| *device != OTHER_DEVICE);
                outside.push(OutsideDevice {
                    name: name.unwrap_or("some interface").to_owned(),
                    device: device.to_owned(),
                    addresses: Vec::new(),
                    certain: false,
                });
            }
        }
        // What is saved and not applied is not what pf's tables hold.
        let applied =
            configured.filter(|configured| !configured.dirty.iter().any(|what| what == "aliases"));
        let aliases = applied.map(|configured| configured.aliases.as_slice());
        let aliases = aliases.unwrap_or_default();
        let entries = entries_of_tables(rules);
        let tables = aliases.iter().filter_map(|alias| {
            let members = members_of_alias(aliases, &alias.name)?;
            let distinct: BTreeSet<IpNet> = members.iter().map(IpNet::trunc).collect();
            let counted = entries.get(alias.name.as_str());
            // With another number of entries pf's table is not, or not yet, what the configuration says.
            let is_loaded = counted.is_none_or(|count| {
                count.is_some_and(|count| usize::try_from(count) == Ok(distinct.len()))
            });
            is_loaded.then_some((alias.name.as_str(), members))
        });
        let mut tables: BTreeMap<&str, Vec<IpNet>> = tables.collect();
        let alias = service.alias.as_str();
        // Another number of entries than the rules show is that of another moment.
        let listed = match loaded.alias_table {
            AliasTable::Read(listed) => Some(listed),
            AliasTable::Unasked | AliasTable::Unread => None,
        };
        let in_pf = listed.filter(|listed| {
            let counted = entries.get(alias).copied().flatten();
            counted.is_none_or(|count| usize::try_from(count) == Ok(listed.len()))
                && !listed.iter().any(|entry| entry.negated)
        });
        if let Some(listed) = in_pf {
            tables.insert(alias, listed.iter().map(|entry| entry.net).collect());
        }
        let addresses = service_addresses(configured, service, in_pf.unwrap_or_default());
        Self {
            service,
            configured,
            outside,
            addresses,
            tables,
            entries,
            is_alias_read: in_pf.is_some(),
        }
    }

    pub fn is_outside(&self, rule: &Rule) -> bool {
        self.outside.iter().any(|device| self.sees_device(rule, &device.device) != Truth::No)
    }

    fn sees_device(&self, rule: &Rule, device: &str) -> Truth {
        let Some(interface) = &rule.interface else {
            return Truth::Yes;
        };
        if device == UNKNOWN_DEVICE {
            let mut outside = self.outside.iter().filter(|outside| outside.certain);
            let leads_elsewhere =
                interface.name == "lo0" || outside.any(|outside| outside.device == interface.name);
            return if leads_elsewhere && !interface.negated { Truth::No } else { Truth::Maybe };
        }
        if let Some(members) = self.group_devices(&interface.name) {
            return Truth::from_bool(members.contains(&device) != interface.negated);
        }
        let plain = Interface { negated: false, name: interface.name.clone() };
        let seen = match on_interface(&plain, device) {
            On::Device => Truth::Yes,
            On::Elsewhere => Truth::No,
            On::Group => Truth::Maybe,
        };
        seen.negated_if(interface.negated)
    }

    fn group_devices(&self, name: &str) -> Option<Vec<&'a str>> {
        let configured = self.configured?;
        let mut groups = configured.interface_groups.iter();
        let group = groups.find(|group| group.name == name)?;
        let device = |member: &String| {
            let mut interfaces = configured.interfaces.iter();
            interfaces
                .find(|interface| interface.name == *member)
                .and_then(|interface| interface.device.as_deref())
        };
        Some(group.members.iter().filter_map(device).collect())
    }

    /// Says whether pf's table holds nothing.
    pub fn is_empty_table(&self, name: &str) -> bool {
        self.entries.get(name) == Some(&Some(0))
    }

    /// Returns the members of a table that config.xml defines; `None` where they are not known.
    fn table_members(&self, name: &str) -> Option<Cow<'_, [IpNet]>> {
        if self.is_empty_table(name) {
            return Some(Cow::Borrowed(&[]));
        }
        if let Some(interface) = name.strip_suffix("__NETWORK") {
            let mut interfaces = self.configured?.interfaces.iter();
            let interface = interfaces.find(|other| other.name.eq_ignore_ascii_case(interface))?;
            let networks = interface.rule_networks();
            return (!networks.is_empty()).then_some(networks.into());
        }
        self.tables.get(name).map(Cow::from)
    }

    /// Returns the firewall's own addresses, as far as they are configured.
    fn own_addresses(&self) -> Vec<IpAddr> {
        let configured = self.configured.into_iter();
        let interfaces = configured.flat_map(|configured| &configured.interfaces);
        interfaces.flat_map(interface_addresses).collect()
    }

    fn exit_device(&self, address: IpAddr) -> &str {
        let exit = self.configured.and_then(|configured| configured.exit_interface(address));
        exit.and_then(|interface| interface.device.as_deref()).unwrap_or(UNKNOWN_DEVICE)
    }
}

fn is_named_outside(interface: &InterfaceConfig, service: &Service) -> bool {
    let mut outside = service.outside.iter();
    interface.name == service.interface
        || outside.any(|name| *name == interface.name || interface.device.as_ref() == Some(name))
}

fn is_outside(interface: &InterfaceConfig, service: &Service) -> bool {
    let device = interface.device.as_deref().unwrap_or_default();
    let is_vpn = VPN_DEVICES.iter().any(|vpn| device.starts_with(vpn));
    let has_gateway = interface.has_gateway() || interface.has_routing_gateway;
    is_named_outside(interface, service) || (has_gateway && !is_vpn)
}

/// Returns the device of an interface that leads outside, and that of its tunnel where it has IPv6 by 6rd or 6to4.
fn outside_devices(interface: &InterfaceConfig, service: &Service) -> Vec<OutsideDevice> {
    let device = interface.device.clone().filter(|name| !name.is_empty());
    let has_tunnel = matches!(interface.ipaddr_v6.as_deref(), Some("6rd" | "6to4"));
    let tunnel = has_tunnel.then(|| format!("{}{TUNNEL_END}", interface.name));
    let outside = |device: String| OutsideDevice {
        name: interface.name.clone(),
        certain: is_named_outside(interface, service)
            || (interface.has_gateway() && !device.starts_with(TUNNEL_DEVICE)),
        device,
        addresses: interface_addresses(interface),
    };
    device.into_iter().chain(tunnel).map(outside).collect()
}

/// Returns the addresses of the service: those of its alias too, as configured and in pf, of which only public ones can be
/// reached without a translation.
fn service_addresses(
    configured: Option<&Configured>,
    service: &Service,
    in_pf: &[Entry],
) -> Vec<IpAddr> {
    let mut addresses = vec![service.address];
    let mut members = configured.map(Configured::alias_networks).unwrap_or_default();
    members.extend(in_pf.iter().map(|entry| entry.net));
    let single = |network: &IpNet| network.prefix_len() == network.max_prefix_len();
    for network in members.iter().filter(|net| single(net)).take(TRIED) {
        if !addresses.contains(&network.addr()) {
            addresses.push(network.addr());
        }
    }
    addresses
}

/// Collects how many entries tables have.
fn entries_of_tables<'r>(rules: impl Iterator<Item = &'r Rule>) -> BTreeMap<&'r str, Option<u32>> {
    let mut found: BTreeMap<&str, Option<u32>> = BTreeMap::new();
    for end in rules.flat_map(|rule| [&rule.from, &rule.to]) {
        if let (Some(table), Some(count)) = (table_name(&end.host), end.entries) {
            let known = found.entry(table).or_insert(Some(count));
            *known = known.filter(|known| *known == count);
        }
    }
    found
}

fn interface_addresses(interface: &InterfaceConfig) -> Vec<IpAddr> {
    [&interface.ipaddr, &interface.ipaddr_v6]
        .into_iter()
        .filter_map(|text| text.as_deref()?.trim().parse().ok())
        .collect()
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Client {
    /// The sources of the rule that names it; none are the outside at large, which is in no list of unknown content.
    listed: Option<Endpoint>,
    /// Its address; none is somewhere in a list of unknown content.
    address: Option<IpAddr>,
    port: u16,
}

/// A source port that may be each.
const SOME_PORT: u16 = 0;

impl Client {
    /// Returns one of whom nothing is known: every condition on the sender but `any` may hold.
    fn of_anyone() -> Self {
        Self { listed: Some(Endpoint::default()), address: None, port: SOME_PORT }
    }
}

/// The mark (`tag`) that a packet may bear; none is without one.
type Mark<'r> = Option<&'r str>;

/// A first packet, as the rules see it.
#[derive(Clone, Copy)]
struct Packet<'p> {
    device: &'p str,
    direction: Direction,
    to: IpAddr,
    port: u16,
}

/// A rule that looks at a packet, from any sender.
#[derive(Clone, Copy)]
struct Facing<'r> {
    rule: &'r Rule,
    looks: Truth,
    gives: Mark<'r>,
    /// The mark that a packet must bear, or must not.
    wants: Option<(&'r str, bool)>,
}

impl<'r> Facing<'r> {
    fn new(rule: &'r Rule, looks: Truth) -> Self {
        let refuses =
            || words_of(rule).zip(words_of(rule).skip(1)).any(|pair| pair == ("!", "tagged"));
        Self {
            rule,
            looks,
            gives: value_of_word(rule, "tag"),
            wants: value_of_word(rule, "tagged").map(|mark| (mark, refuses())),
        }
    }

    /// Says whether a packet that bears one of these marks is one that it wants.
    fn wants_marked(&self, marks: &[Mark<'r>]) -> Truth {
        let Some((wanted, refused)) = self.wants else {
            return Truth::Yes;
        };
        let borne = marks.iter().filter(|mark| **mark == Some(wanted)).count();
        let truth = match borne {
            0 => Truth::No,
            _ if borne == marks.len() => Truth::Yes,
            _ => Truth::Maybe,
        };
        truth.negated_if(refused)
    }
}

/// What stands between a redirected packet and the service.
struct Lane<'r> {
    entry: Vec<Facing<'r>>,
    /// NAT of the client's address on the way out.
    sources: Vec<Facing<'r>>,
    exit: Vec<Facing<'r>>,
}

/// What a connection meets between a door outside and an end inside.
struct Crossing<'r> {
    nat: Vec<Facing<'r>>,
    lane: Lane<'r>,
    translation: Option<&'r Rule>,
}

impl<'r> Crossing<'r> {
    fn facing(&self) -> impl Iterator<Item = &Facing<'r>> {
        let rules = self.nat.iter().chain(&self.lane.entry);
        rules.chain(&self.lane.sources).chain(&self.lane.exit)
    }
}

/// The loaded rules, followed packet by packet.
pub struct Walk<'a, 'r> {
    around: &'a Surroundings<'a>,
    filter: &'r [Rule],
    nat: &'r [Rule],
    managed: Option<&'r Rule>,
    own_passes: &'a [&'r Rule],
    /// Rules that are taken as not loaded.
    without: Vec<&'r Rule>,
}

/// What the filter rules do with a packet.
#[derive(Default)]
struct Admission<'r> {
    marks: Vec<Mark<'r>>,
    truth: Truth,
    rule: Option<&'r Rule>,
    /// The rule that keeps it out, where one does or may.
    blocked_by: Option<&'r Rule>,
}

impl<'a, 'r> Walk<'a, 'r> {
    /// Prepares to follow connections through these rules.
    pub fn new(
        around: &'a Surroundings<'a>,
        filter: &'r [Rule],
        nat: &'r [Rule],
        managed: Option<&'r Rule>,
        own_passes: &'a [&'r Rule],
    ) -> Self {
        Self { around, filter, nat, managed, own_passes, without: Vec::new() }
    }

    /// Returns the rules that count: those of the main ruleset and of UPnP's anchor, but for what is taken as not loaded.
    fn rules_of(&self, list: &'r [Rule]) -> impl Iterator<Item = &'r Rule> + use<'r, '_, 'a> {
        let mut in_upnp = false;
        list.iter().filter(move |rule| {
            if rule.depth == 0 {
                in_upnp = is_upnp_anchor(rule);
            }
            let counts = rule.depth == 0 || (rule.depth == 1 && in_upnp);
            counts && !self.without.iter().any(|other| std::ptr::eq(*other, *rule))
        })
    }

    /// Returns how many redirections to the service are loaded on inside interfaces: NAT reflection.
    pub fn count_reflections(&self) -> usize {
        self.rules_of(self.nat)
            .filter(|rule| {
                matches!(rule.action, Action::Rdr { .. })
                    && port_included(rule.to.port.as_deref(), self.around.service.port)
                    && self.leads_to_service(rule) == Truth::Yes
                    && !self.around.is_outside(rule)
            })
            .count()
    }

    /// Returns the redirection that UPnP has for the service's outside port and another machine.
    pub fn find_upnp_elsewhere(&self) -> Option<&'r Rule> {
        let service = self.around.service;
        let mut inside = self.rules_of(self.nat).filter(|rule| rule.depth > 0);
        inside.find(|rule| {
            matches!(rule.action, Action::Rdr { .. })
                && sees_inbound_tcp(rule, service)
                && port_included(rule.to.port.as_deref(), service.port)
                && self.leads_to_service(rule) == Truth::No
                && self.around.is_outside(rule)
        })
    }

    /// Returns the paths where pf is switched off: nothing is redirected, and nothing is kept from a public address.
    pub fn find_unfiltered(&self) -> Vec<PathIn> {
        let devices = self.around.outside.iter();
        let ways = devices.flat_map(|outside| {
            let addresses = self.around.addresses.iter();
            addresses.filter(|address| is_public(**address)).map(move |address| {
                let end = (*address, self.around.service.port);
                PathIn {
                    kind: PathKind::Routed,
                    sources: "any".to_owned(),
                    certain: outside.certain,
                    ..new_path(outside, end, end, NO_RULE.to_owned())
                }
            })
        });
        ways.take(KEPT).collect()
    }

    /// Returns every path, the managed one first.
    pub fn find_paths(&self) -> Vec<PathIn> {
        let mut paths = Vec::new();
        for outside in &self.around.outside {
            for rule in self.rules_of(self.nat) {
                let found = match rule.action {
                    Action::Rdr { .. } => self.follow_forward(outside, rule),
                    Action::Binat => self.follow_one_to_one(outside, rule),
                    _ => None,
                };
                paths.extend(found);
            }
            for address in &self.around.addresses {
                paths.extend(self.follow_routed(outside, *address));
            }
            let filter = self.rules_of(self.filter);
            paths.extend(filter.filter_map(|rule| self.follow_translating(outside, rule)));
        }
        paths.sort_by_key(|path: &PathIn| (!path.managed, !path.certain));
        paths.dedup();
        paths.truncate(KEPT);
        paths
    }

    fn follow_forward(&self, outside: &OutsideDevice, rule: &'r Rule) -> Option<PathIn> {
        if self.around.sees_device(rule, &outside.device) == Truth::No {
            return None;
        }
        let addresses = self.around.addresses.iter();
        let ways = addresses.map(|address| (*address, self.leads_to(rule, *address)));
        let ways = ways.filter(|(_, lands)| *lands > Truth::No);
        best_of(ways.filter_map(|way| self.follow_forward_to(outside, rule, way)))
    }

    fn follow_forward_to(
        &self,
        outside: &OutsideDevice,
        rule: &'r Rule,
        (address, lands): (IpAddr, Truth),
    ) -> Option<PathIn> {
        let is_managed = self.managed.is_some_and(|managed| std::ptr::eq(managed, rule));
        // The service's own outside port leads into it by whichever inside port; else it must be its port.
        let service = self.around.service.port;
        let led = |port: &u16| {
            let inside = inside_port(rule, *port);
            inside == Some(service) || (is_managed && *port == service && inside.is_some())
        };
        let ports: Vec<u16> = self.ports_of(rule).into_iter().filter(led).collect();
        let points = self.points_of(rule, outside, address.is_ipv6());
        let tries = points
            .iter()
            .take(TRIED)
            .flat_map(|to| ports.iter().take(TRIED).map(move |port| (*to, *port)));
        let kind = if rule.depth == 0 { PathKind::Forward } else { PathKind::Upnp };
        let mut best: Option<PathIn> = None;
        for (to, port) in tries {
            let end = (address, inside_port(rule, port)?);
            let mut found = PathIn {
                kind,
                managed: is_managed,
                ..new_path(outside, (to, port), end, rule.text.clone())
            };
            let crossing = self.crossing(outside, (to, port), end, Some(rule));
            let truth = self.admits_anyone(&crossing, address.is_ipv6(), &mut found);
            found.certain = truth.min(lands) == Truth::Yes && outside.certain;
            if truth > Truth::No && best.as_ref().is_none_or(|best| is_better(&found, best)) {
                let is_best = found.certain && found.sources == "any";
                best = Some(found);
                if is_best {
                    break;
                }
            }
        }
        let is_cut = points.len() > TRIED || ports.len() > TRIED;
        best.or_else(|| {
            let begin = (*points.first().filter(|_| is_cut)?, *ports.first()?);
            let end = (address, service);
            Some(PathIn { kind, ..new_path(outside, begin, end, rule.text.clone()) })
        })
    }

    /// Follows a filter rule of FreeBSD 15 that translates what it meets (`rdr-to`, `af-to`). What rules do with the result is
    /// not followed: it may lead in.
    fn follow_translating(&self, outside: &OutsideDevice, rule: &'r Rule) -> Option<PathIn> {
        let service = self.around.service;
        let is_tcp = rule.protocol.as_deref().is_none_or(|name| name == "tcp");
        let looks = matches!(rule.action, Action::Pass | Action::Match)
            && rule.direction != Some(Direction::Out)
            && is_tcp
            && self.around.sees_device(rule, &outside.device) > Truth::No
            && sees_syn(rule) > Truth::No;
        let is_ours = match rule.family {
            Some(Family::Inet) => service.address.is_ipv4(),
            Some(Family::Inet6) => service.address.is_ipv6(),
            None => true,
        };
        let ports = self.ports_of(rule);
        let port = ports.iter().find(|port| inside_port(rule, **port) == Some(service.port));
        let leads = (has_word(rule, &["rdr-to"])
            && is_ours
            && self.leads_to_service(rule) > Truth::No)
            // The address inside is a part of the one that it is for.
            || (has_word(rule, &["af-to"]) && !is_ours);
        let port = *port.filter(|_| looks && leads)?;
        let named = self.known_networks(&rule.to.host).unwrap_or_default();
        let here = outside.addresses.first().copied();
        let to = named.first().map(IpNet::network).or(here);
        let end = (service.address, service.port);
        Some(PathIn {
            sources: from_text(&rule.from),
            passed_by: Some(rule.text.clone()),
            ..new_path(outside, (to.unwrap_or(service.address), port), end, rule.text.clone())
        })
    }

    fn follow_one_to_one(&self, outside: &OutsideDevice, rule: &'r Rule) -> Option<PathIn> {
        let port = self.around.service.port;
        let addresses = self.around.addresses.iter();
        let ways = addresses.flat_map(|address| {
            let externals = self.externals_of(outside, rule, *address).into_iter();
            externals.map(|(external, maps)| ((external, port), (*address, port), maps))
        });
        best_of(ways.filter_map(|(begin, end, maps)| {
            let way = new_path(outside, begin, end, rule.text.clone());
            let mut found = PathIn { kind: PathKind::OneToOne, ..way };
            let crossing = self.crossing(outside, begin, end, Some(rule));
            let truth = self.admits_anyone(&crossing, end.0.is_ipv6(), &mut found);
            found.certain = truth.min(maps) == Truth::Yes && outside.certain;
            (truth > Truth::No).then_some(found)
        }))
    }

    /// Returns the outside addresses that 1:1 NAT has for an inside one. Where one of its sides is a table, or the address of a
    /// device that is leased, it may have one.
    fn externals_of(
        &self,
        outside: &OutsideDevice,
        rule: &Rule,
        address: IpAddr,
    ) -> Vec<(IpAddr, Truth)> {
        let inside = self.host_holds(&rule.from.host, address).negated_if(rule.from.negated);
        let hosts = rule.target_hosts();
        let Some(external) = hosts.first().copied().filter(|_| inside > Truth::No) else {
            return Vec::new();
        };
        let same_family = |other: &IpAddr| other.is_ipv6() == address.is_ipv6();
        let network = host_network(&rule.from.host).filter(|_| !rule.from.negated);
        match (network, host_network(external)) {
            (Some(network), Some(external)) => {
                let mapped = moved_into(external, network, address);
                mapped.map(|external| (external, Truth::Yes)).into_iter().collect()
            }
            (Some(network), None) => {
                let known = outside.addresses.iter().copied().chain(GENERIC_POINTS);
                let known = known.filter(same_family);
                let held = known.map(|known| (known, self.host_holds(external, known)));
                held.filter(|(known, held)| {
                    let here = IpNet::new(*known, network.prefix_len()).ok();
                    let mapped = || moved_into(network, here?.trunc(), *known);
                    *held == Truth::Maybe || (*held == Truth::Yes && mapped() == Some(address))
                })
                .collect()
            }
            (None, external) => {
                let known = external.map(|network| network.network()).into_iter();
                let known = known.chain(outside.addresses.iter().copied());
                let known = known.chain(GENERIC_POINTS).find(same_family);
                known.map(|known| (known, Truth::Maybe)).into_iter().collect()
            }
        }
    }

    fn follow_routed(&self, outside: &OutsideDevice, address: IpAddr) -> Option<PathIn> {
        is_public(address).then(|| self.follow_untranslated(outside, address))?
    }

    /// Returns the rule that lets the outside through to the service's private address, where no translation leads there.
    pub fn find_pass_alone(&self) -> Option<String> {
        let address = Some(self.around.service.address).filter(|address| !is_public(*address))?;
        let mut outside = self.around.outside.iter();
        outside.find_map(|outside| {
            let found = self.follow_untranslated(outside, address)?;
            found.passed_by.filter(|_| found.certain)
        })
    }

    fn follow_untranslated(&self, outside: &OutsideDevice, address: IpAddr) -> Option<PathIn> {
        let end = (address, self.around.service.port);
        let mut found =
            PathIn { kind: PathKind::Routed, ..new_path(outside, end, end, String::new()) };
        let crossing = self.crossing(outside, end, end, None);
        let truth = self.admits_anyone(&crossing, address.is_ipv6(), &mut found);
        found.certain = truth == Truth::Yes && outside.certain;
        let is_own = |text: &String| self.own_passes.iter().any(|rule| rule.text == *text);
        found.managed = found.passed_by.as_ref().is_some_and(is_own);
        found.rule = found.passed_by.clone().unwrap_or_default();
        (truth > Truth::No).then_some(found)
    }

    /// Collects the rules between a door outside and an end inside, by this translation.
    fn crossing(
        &self,
        outside: &OutsideDevice,
        begin: (IpAddr, u16),
        end: (IpAddr, u16),
        translation: Option<&'r Rule>,
    ) -> Crossing<'r> {
        let arriving = Packet {
            device: &outside.device,
            direction: Direction::In,
            to: begin.0,
            port: begin.1,
        };
        let mut lane = self.lane(&outside.device, end);
        // What a translation leaves as it is was not translated for pf, and the filter rules are asked.
        if begin != end && translation.is_some_and(passes_by_itself) {
            lane.entry.clear();
        }
        Crossing { nat: self.face_translations(arriving), lane, translation }
    }

    /// Says whether a client's connection crosses, and by which filter rule.
    fn admit(&self, crossing: &Crossing<'r>, client: &Client) -> Admission<'r> {
        let Crossing { nat, lane, translation } = crossing;
        let met = self.meets_first(nat, client, *translation);
        if met == Truth::No {
            return Admission { truth: met, ..Admission::default() };
        }
        let marks = [translation.and_then(|rule| value_of_word(rule, "tag"))];
        let entry = self.follow_filter(&lane.entry, client, &marks, translation.is_some());
        let exit = self.leave(lane, client, &entry.marks);
        Admission { truth: met.min(entry.truth).min(exit.truth), ..entry }
    }

    /// Says whether anyone outside crosses, and notes who and by which rule.
    fn admits_anyone(&self, crossing: &Crossing<'r>, six: bool, path: &mut PathIn) -> Truth {
        let (clients, is_cut) = self.distinct_clients(crossing.facing(), six);
        let mut best = Truth::No;
        let mut lets_strangers_in = false;
        if is_cut {
            best = self.admit(crossing, &Client::of_anyone()).truth.min(Truth::Maybe);
        }
        let mut who: Vec<String> = Vec::new();
        for client in clients {
            // Once some of the outside at large are let in, only its other parts matter: they may be so without caps.
            if lets_strangers_in && client.listed.is_some() {
                continue;
            }
            let entry = self.admit(crossing, &client);
            let truth = entry.truth;
            if truth == Truth::No {
                continue;
            }
            let caps = entry.rule.map(Caps::of_loaded);
            let is_uncapped_part =
                lets_strangers_in && truth == Truth::Yes && caps.is_none_or(Caps::is_empty);
            if truth > best || path.passed_by.is_none() || is_uncapped_part {
                best = best.max(truth);
                path.passed_by = entry.rule.map(|rule| rule.text.clone());
                path.caps = caps;
            }
            match &client.listed {
                None => {
                    path.sources = "any".to_owned();
                    if truth == Truth::Yes && caps.is_none_or(Caps::is_empty) {
                        return Truth::Yes;
                    }
                    lets_strangers_in |= truth == Truth::Yes;
                }
                Some(from) => {
                    let text = from_text(from);
                    if !who.contains(&text) {
                        who.push(text);
                    }
                }
            }
        }
        if path.sources.is_empty() {
            who.truncate(3);
            path.sources = who.join(", ");
        }
        best
    }

    /// Collects the filter rules between the outside and an end inside.
    fn lane(&self, device: &str, end: (IpAddr, u16)) -> Lane<'r> {
        let entering = Packet { device, direction: Direction::In, to: end.0, port: end.1 };
        let leaving = Packet {
            device: self.around.exit_device(end.0),
            direction: Direction::Out,
            ..entering
        };
        let is_filter =
            |rule: &Rule| matches!(rule.action, Action::Pass | Action::Block | Action::Match);
        let is_source = |rule: &Rule| match &rule.action {
            Action::No(kind) => kind == "nat",
            action => *action == Action::Nat,
        };
        Lane {
            entry: self.face(self.filter, is_filter, entering),
            sources: self.face(self.nat, is_source, leaving),
            exit: self.face(self.filter, is_filter, leaving),
        }
    }

    fn face(
        &self,
        rules: &'r [Rule],
        wanted: impl Fn(&Rule) -> bool,
        packet: Packet<'_>,
    ) -> Vec<Facing<'r>> {
        self.rules_of(rules)
            .filter(|rule| wanted(rule))
            .filter(|rule| port_included(rule.to.port.as_deref(), packet.port))
            .filter_map(|rule| self.facing(rule, self.is_to(&rule.to, packet.to), packet))
            .collect()
    }

    /// Returns the translations that such a packet can meet, in pf's order: redirections go before 1:1 NAT.
    fn face_translations(&self, packet: Packet<'_>) -> Vec<Facing<'r>> {
        let redirects = |rule: &Rule| match &rule.action {
            Action::Rdr { .. } => true,
            Action::No(kind) => kind == "rdr",
            _ => false,
        };
        let mut facing = self.face(self.nat, redirects, packet);
        facing.extend(self.rules_of(self.nat).filter_map(|rule| {
            let here = match &rule.action {
                Action::Binat => {
                    let external = rule.target_hosts().first().copied();
                    external.map_or(Truth::Maybe, |host| self.host_holds(host, packet.to))
                }
                Action::No(kind) if kind == "binat" => self.is_to(&rule.to, packet.to),
                _ => Truth::No,
            };
            self.facing(rule, here, packet)
        }));
        facing
    }

    /// Returns a rule that looks at such a packet, if it is `here` that the packet goes.
    fn facing(&self, rule: &'r Rule, here: Truth, packet: Packet<'_>) -> Option<Facing<'r>> {
        let may_look = here > Truth::No;
        let looks = may_look.then(|| here.min(self.rule_sees(rule, packet)))?;
        (looks > Truth::No).then(|| Facing::new(rule, looks))
    }

    /// Returns the clients that rules tell apart, the outside at large first, and whether there are too many of them.
    ///
    /// What rules say changes where one of their networks begins or has ended: those addresses stand for all.
    fn distinct_clients<'f>(
        &self,
        rules: impl Iterator<Item = &'f Facing<'r>>,
        six: bool,
    ) -> (Vec<Client>, bool)
    where
        'r: 'f,
    {
        let mut named: Vec<(Endpoint, Option<Vec<IpNet>>)> = Vec::new();
        let mut ports = vec![EPHEMERAL];
        for Facing { rule, .. } in rules {
            let from = senders_of(rule);
            ports.extend(from.port.as_deref().into_iter().flat_map(edges_of_ports));
            let is_own = from.host.starts_with('(') && !from.host.contains(":network");
            let is_system = table_name(&from.host).is_some_and(is_system_table);
            if from.host == "any" || is_own || is_system {
                continue;
            }
            let from = Endpoint { host: from.host.clone(), ..Endpoint::default() };
            if !named.iter().any(|(other, _)| *other == from) {
                let networks = self.known_networks(&from.host);
                named.push((from, networks));
            }
        }
        if ports.len() > 1 {
            ports.push(1);
        }
        ports.sort_unstable_by_key(|port| (*port != EPHEMERAL, *port));
        ports.dedup();
        let own: Vec<IpAddr> = self.around.own_addresses();
        let mut points: Vec<IpAddr> = named
            .iter()
            .filter_map(|(_, networks)| networks.as_ref())
            .flatten()
            .flat_map(|network| [Some(network.network()), next_address(network.broadcast())])
            .flatten()
            .filter(|point| point.is_ipv6() == six && !own.contains(point))
            .collect();
        points.sort_unstable();
        points.dedup();
        let holds = |networks: &Option<Vec<IpNet>>, point: &IpAddr, least: u8| {
            let mut networks = networks.iter().flatten();
            networks.any(|net| net.prefix_len() >= least && net.contains(point))
        };
        let is_listed =
            |point: &IpAddr| named.iter().any(|(_, networks)| holds(networks, point, WIDE));
        let mut strangers: Vec<IpAddr> =
            at_large(six).chain(points.iter().copied()).filter(|point| !is_listed(point)).collect();
        // Where rules split the outside at large, its parts are tried; else its first address stands for it.
        let is_split = named
            .iter()
            .any(|(_, networks)| networks.iter().flatten().any(|net| net.prefix_len() < WIDE));
        strangers.truncate(if is_split { TRIED } else { 1 });
        let strangers = strangers.into_iter().map(|address| (None, Some(address)));
        let listed = points.iter().filter_map(|point| {
            let mut lists = named.iter();
            let (from, _) = lists.find(|(_, networks)| holds(networks, point, 0))?;
            Some((Some(from.clone()), Some(*point)))
        });
        let unknown = named.iter().filter(|(_, networks)| networks.is_none());
        let unknown = unknown.map(|(from, _)| (Some(from.clone()), None));
        let sources: Vec<(Option<Endpoint>, Option<IpAddr>)> =
            strangers.chain(listed).chain(unknown).collect();
        let mut clients = Vec::new();
        for port in ports {
            for (listed, address) in &sources {
                let mut listed = listed.clone();
                if port != EPHEMERAL {
                    let from = listed.get_or_insert_with(|| Endpoint {
                        host: "any".to_owned(),
                        ..Endpoint::default()
                    });
                    from.port = Some(format!("= {port}"));
                }
                if clients.len() == CLIENTS {
                    return (clients, true);
                }
                clients.push(Client { listed, address: *address, port });
            }
        }
        (clients, false)
    }

    /// Says whether a client's packet meets exactly this translation first (or none). An exception to redirections is none
    /// to 1:1 NAT, which pf looks up whenever nothing was redirected.
    fn meets_first(&self, nat: &[Facing<'r>], client: &Client, wanted: Option<&Rule>) -> Truth {
        let is_redirection = |rule: &Rule| match &rule.action {
            Action::No(kind) => kind == "rdr",
            action => *action != Action::Binat,
        };
        let mut goes_on = Truth::Yes;
        for redirections in [true, false] {
            let mut excepted = Truth::No;
            let rules = nat.iter();
            for facing in rules.filter(|facing| is_redirection(facing.rule) == redirections) {
                let matches = self.rule_matches(*facing, client, &[None]);
                let taken = goes_on.min(matches);
                if wanted.is_some_and(|wanted| std::ptr::eq(wanted, facing.rule)) {
                    return taken;
                }
                if matches!(facing.rule.action, Action::No(_)) {
                    excepted = excepted.max(taken);
                }
                goes_on = goes_on.min(matches.negated_if(true));
            }
            goes_on = goes_on.max(excepted);
        }
        if wanted.is_none() { goes_on } else { Truth::No }
    }

    /// Follows the filter rules: the first `quick` match or else the last match; where none matches, pf passes. Each rule that
    /// matches marks the packet, whether it decides or not. A connection that is translated has a state, whatever a rule says.
    fn follow_filter(
        &self,
        rules: &[Facing<'r>],
        client: &Client,
        marks: &[Mark<'r>],
        is_translated: bool,
    ) -> Admission<'r> {
        let mut marks = marks.to_vec();
        let mut settled_marks = Vec::new();
        let mut standing: Vec<Option<&'r Rule>> = vec![None];
        let mut settled: Vec<Option<&'r Rule>> = Vec::new();
        for facing in rules {
            let rule = facing.rule;
            let matches = self.rule_matches(*facing, client, &marks);
            if facing.gives.is_some() {
                if matches == Truth::Yes {
                    marks.clear();
                }
                marks.extend((matches > Truth::No).then_some(facing.gives));
            }
            if rule.action == Action::Match {
                continue;
            }
            match (matches, rule.quick) {
                (Truth::No, _) => {}
                (Truth::Yes, false) => standing = vec![Some(rule)],
                (Truth::Maybe, false) => standing.push(Some(rule)),
                (Truth::Maybe, true) => {
                    settled.push(Some(rule));
                    settled_marks.extend_from_slice(&marks);
                }
                (Truth::Yes, true) => {
                    standing = vec![Some(rule)];
                    break;
                }
            }
        }
        settled.extend(standing);
        marks.extend(settled_marks);
        let passes = |rule: Option<&Rule>| match rule {
            Some(rule) if rule.action == Action::Block => Truth::No,
            Some(rule) if leads_elsewhere(rule) => Truth::Maybe,
            // Without a state the answers have to be let through by other rules.
            Some(rule) if rule.keep == Some(Keep::No) && !is_translated => Truth::Maybe,
            _ => Truth::Yes,
        };
        let blocks = |rule: &&Rule| rule.action == Action::Block;
        let best = settled.iter().max_by_key(|rule| passes(**rule));
        let best = best.filter(|rule| passes(**rule) > Truth::No);
        let all = settled.iter().all(|rule| passes(*rule) == Truth::Yes);
        Admission {
            marks,
            truth: match (best, all) {
                (Some(_), true) => Truth::Yes,
                (Some(_), false) => Truth::Maybe,
                (None, _) => Truth::No,
            },
            rule: best.copied().flatten(),
            blocked_by: settled.iter().rev().find_map(|rule| rule.filter(blocks)),
        }
    }

    /// Follows a client's packet out to the service, where its address may have been translated: the first rule that matches
    /// says so, or that it is not.
    fn leave(&self, lane: &Lane<'r>, client: &Client, marks: &[Mark<'r>]) -> Admission<'r> {
        let mut ways: Vec<Admission<'r>> = Vec::new();
        let mut is_settled = false;
        for facing in &lane.sources {
            let matches = self.rule_matches(*facing, client, marks);
            if matches == Truth::No {
                continue;
            }
            let translated = translated_client(facing.rule);
            let sender = translated.as_ref().unwrap_or(client);
            let is_translated = translated.is_some();
            ways.push(self.follow_filter(&lane.exit, sender, marks, is_translated));
            is_settled = matches == Truth::Yes;
            if is_settled {
                break;
            }
        }
        if !is_settled {
            ways.push(self.follow_filter(&lane.exit, client, marks, false));
        }
        let last = ways.pop().unwrap_or_default();
        let agree = ways.iter().all(|other| other.truth == last.truth);
        Admission { truth: if agree { last.truth } else { Truth::Maybe }, ..last }
    }

    /// Finds the rule that keeps connections from addresses that no rule names on their way from the firewall to this port
    /// of the service, and says whether it keeps every other one too.
    pub fn find_exit_block(&self, port: u16) -> Option<(&'r Rule, bool)> {
        let lane = self.lane(OTHER_DEVICE, (self.around.service.address, port));
        let is_six = self.around.service.address.is_ipv6();
        let (clients, _) = self.distinct_clients(lane.exit.iter(), is_six);
        let mut leaving = clients.iter().map(|client| self.leave(&lane, client, &[None]));
        let first = leaving.next()?;
        let rule = first.blocked_by.filter(|_| first.truth == Truth::No)?;
        Some((rule, leaving.all(|other| other.truth == Truth::No)))
    }

    fn rule_matches(&self, facing: Facing<'r>, client: &Client, marks: &[Mark<'r>]) -> Truth {
        let from = self.is_from(senders_of(facing.rule), client);
        facing.looks.min(from).min(facing.wants_marked(marks))
    }

    /// Says whether a rule looks at such a packet at all, from any sender to any receiver.
    fn rule_sees(&self, rule: &Rule, packet: Packet<'_>) -> Truth {
        let family = match rule.family {
            Some(Family::Inet) => packet.to.is_ipv4(),
            Some(Family::Inet6) => packet.to.is_ipv6(),
            None => true,
        };
        let direction = rule.direction.is_none_or(|wanted| wanted == packet.direction);
        let protocol = rule.protocol.as_deref().is_none_or(|name| name == "tcp");
        if !family || !direction || !protocol {
            return Truth::No;
        }
        match self.around.sees_device(rule, packet.device) {
            Truth::No => Truth::No,
            sees => sees.min(sees_syn(rule)),
        }
    }

    fn is_from(&self, from: &Endpoint, client: &Client) -> Truth {
        let port = match &from.port {
            Some(_) if client.port == SOME_PORT => Truth::Maybe,
            port => Truth::from_bool(port_included(port.as_deref(), client.port)),
        };
        let host = self.is_from_host(&from.host, client);
        port.min(host.negated_if(from.negated))
    }

    fn is_from_host(&self, host: &str, client: &Client) -> Truth {
        let is_own = host.starts_with('(') && !host.contains(":network");
        let is_system = table_name(host).is_some_and(is_system_table);
        match (&client.listed, client.address) {
            _ if host == "any" => Truth::Yes,
            (Some(known), None) if known.host == host => self.may_hold_addresses(host),
            _ if is_own || is_system => Truth::No,
            (Some(_), None) => Truth::Maybe,
            // The outside at large is in no list, whichever content that has.
            (None, Some(address)) => match self.host_holds(host, address) {
                Truth::Yes => Truth::Yes,
                _ => Truth::No,
            },
            (_, Some(address)) => self.host_holds(host, address),
            (None, None) => Truth::No,
        }
    }

    /// Says whether a list of unknown content holds an address.
    fn may_hold_addresses(&self, host: &str) -> Truth {
        let entries = table_name(host).and_then(|table| *self.around.entries.get(table)?);
        let is_filled = host.contains(":network") || entries.is_some_and(|count| count > 0);
        Truth::from_bool(is_filled).max(Truth::Maybe)
    }

    fn is_to(&self, to: &Endpoint, address: IpAddr) -> Truth {
        self.host_holds(&to.host, address).negated_if(to.negated)
    }

    fn host_holds(&self, host: &str, address: IpAddr) -> Truth {
        if let Some(holds) = plain_host_holds(host, address) {
            return holds;
        }
        if let Some(table) = table_name(host) {
            let service = self.around.service;
            let is_own = table == service.alias && address == service.address;
            let is_taken = is_own && !self.around.is_alias_read;
            if is_taken && !self.around.is_empty_table(table) {
                return Truth::Yes;
            }
            if is_system_table(table) {
                return Truth::No;
            }
            return self.around.table_members(table).map_or(Truth::Maybe, |nets| {
                Truth::from_bool(nets.iter().any(|net| net.contains(&address)))
            });
        }
        self.own_addresses_hold(host, address)
    }

    /// `(vtnet0)`, `(vtnet0:network)`, `(self)`: addresses of the firewall itself, never the service's.
    fn own_addresses_hold(&self, host: &str, address: IpAddr) -> Truth {
        let Some(inside) = host.strip_prefix('(').and_then(|host| host.strip_suffix(')')) else {
            return Truth::Maybe;
        };
        let inside = inside.trim_end_matches(":0");
        if self.around.addresses.contains(&address) && !inside.contains(':') {
            return Truth::No;
        }
        let configured = self.around.configured.into_iter();
        let interfaces = configured.flat_map(|configured| {
            let own = configured.interface.iter();
            configured.interfaces.iter().chain(own)
        });
        let name = inside.split(':').next().unwrap_or_default();
        let here: Vec<&InterfaceConfig> = interfaces
            .filter(|interface| name == "self" || interface.device.as_deref() == Some(name))
            .collect();
        let is_wide = inside.contains(":network");
        let found = here.iter().any(|interface| {
            if is_wide {
                interface.networks().iter().any(|net| net.contains(&address))
            } else {
                interface_addresses(interface).contains(&address)
            }
        });
        let is_known = is_wide && here.iter().all(|interface| !interface.networks().is_empty());
        match (found, is_known && !here.is_empty()) {
            (true, _) => Truth::Yes,
            (false, true) => Truth::No,
            // A lease, or an address that the interface has beside its own.
            (false, false) => Truth::Maybe,
        }
    }

    /// Says whether the target of a redirection is the service, or holds it.
    fn leads_to_service(&self, rule: &Rule) -> Truth {
        let addresses = self.around.addresses.iter();
        addresses.map(|address| self.leads_to(rule, *address)).max().unwrap_or(Truth::No)
    }

    /// The same for one of its addresses.
    fn leads_to(&self, rule: &Rule, address: IpAddr) -> Truth {
        let is_six = rule.family.map(|family| family == Family::Inet6);
        if is_six.is_some_and(|is_six| is_six != address.is_ipv6()) {
            return Truth::No;
        }
        let hosts = rule.target_hosts().into_iter();
        hosts.map(|host| self.host_holds(host, address)).max().unwrap_or(Truth::No)
    }

    /// Returns addresses that a redirection is for: all that translations tell apart, as far as they are known.
    fn points_of(&self, rule: &Rule, outside: &OutsideDevice, is_six: bool) -> Vec<IpAddr> {
        let seen = self
            .rules_of(self.nat)
            .filter(|other| self.around.sees_device(other, &outside.device) > Truth::No);
        let named = seen.flat_map(|other| {
            let external = other.target_hosts();
            let external = external.first().copied().filter(|_| other.action == Action::Binat);
            [Some(other.to.host.as_str()), external]
                .into_iter()
                .flatten()
                .filter_map(|host| self.known_networks(host))
                .flatten()
                .collect::<Vec<IpNet>>()
        });
        let own = self.known_networks(&rule.to.host).unwrap_or_default();
        let edges = own
            .into_iter()
            .chain(named)
            .flat_map(|net| [Some(net.network()), next_address(net.broadcast())]);
        let all = outside.addresses.iter().copied().chain(edges.flatten());
        let mut points: Vec<IpAddr> = Vec::new();
        for address in all.chain(GENERIC_POINTS) {
            if address.is_ipv6() == is_six
                && points.len() <= TRIED
                && !points.contains(&address)
                && self.is_to(&rule.to, address) != Truth::No
            {
                points.push(address);
            }
        }
        points
    }

    /// Returns the networks of a printed host, where they are known; a range is as many networks as it takes.
    fn known_networks(&self, host: &str) -> Option<Vec<IpNet>> {
        if let Some(ends) = host_range(host) {
            return match ends {
                (IpAddr::V4(low), IpAddr::V4(high)) => {
                    let subnets = Ipv4Subnets::new(low, high, 0);
                    Some(subnets.map(IpNet::V4).collect())
                }
                (IpAddr::V6(low), IpAddr::V6(high)) => {
                    let subnets = Ipv6Subnets::new(low, high, 0);
                    Some(subnets.map(IpNet::V6).collect())
                }
                _ => None,
            };
        }
        match table_name(host) {
            Some(table) => self.around.table_members(table).map(Cow::into_owned),
            None => host_network(host).map(|network| vec![network]),
        }
    }

    /// Returns the outside ports of a redirection that translations tell apart, and those that lead to the service's port.
    fn ports_of(&self, rule: &Rule) -> Vec<u16> {
        let service = self.around.service.port;
        let ranges = rule.to.port.as_deref().and_then(printed_port_ranges);
        let low = ranges.iter().flatten().next().map_or(1, |(low, _)| *low.max(&1));
        let high = ranges.iter().flatten().last().map_or(u16::MAX, |(_, high)| *high);
        let mut ports = vec![service];
        match rule.target_port().map(|port| port.split_once(':')) {
            // Each outside port keeps its number.
            None => {}
            Some(None) => {
                ports.push(low);
                let named = self.rules_of(self.nat);
                let named = named.filter_map(|rule| rule.to.port.as_deref());
                ports.extend(named.flat_map(edges_of_ports));
            }
            Some(Some(_)) => ports.extend(low..=high),
        }
        ports.retain(|port| {
            port_included(rule.to.port.as_deref(), *port)
                && inside_port(rule, *port)
                    .is_some_and(|inside| inside == service || *port == service)
        });
        ports.sort_unstable_by_key(|port| (*port != service, *port));
        ports.dedup();
        ports
    }
}

/// Returns the end of a rule that says whose connections it is for: of 1:1 NAT that is the other one.
fn senders_of(rule: &Rule) -> &Endpoint {
    if rule.action == Action::Binat { &rule.to } else { &rule.from }
}

/// Returns who a client is for those behind the firewall once its address was translated; `None` where a rule excepts it.
fn translated_client(rule: &Rule) -> Option<Client> {
    let host = rule.target_hosts().first().copied().unwrap_or_default();
    (rule.action == Action::Nat).then(|| Client {
        listed: Some(Endpoint { host: host.to_owned(), ..Endpoint::default() }),
        address: host.parse().ok(),
        port: EPHEMERAL,
    })
}

/// Whether a translation lets its packets in without a filter rule.
fn passes_by_itself(rule: &Rule) -> bool {
    rule.action == Action::Rdr { pass: true } || rule.text.starts_with("binat pass ")
}

fn new_path(
    outside: &OutsideDevice,
    begin: (IpAddr, u16),
    end: (IpAddr, u16),
    rule: String,
) -> PathIn {
    PathIn {
        kind: PathKind::Forward,
        interface: outside.name.clone(),
        enters: socket_text(begin.0, begin.1),
        leads_to: socket_text(end.0, end.1),
        sources: String::new(),
        rule,
        passed_by: None,
        managed: false,
        certain: false,
        caps: None,
    }
}

/// Returns addresses that stand for the outside at large.
fn at_large(six: bool) -> impl Iterator<Item = IpAddr> {
    AT_LARGE.into_iter().map(move |octets| {
        let [a, b, c, d] = octets.map(u16::from);
        if six { IpAddr::from([0x2620, 0xfe, a, b, c, d, 0, 9]) } else { IpAddr::from(octets) }
    })
}

fn next_address(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => {
            let next = address.to_bits().checked_add(1)?;
            Some(IpAddr::V4(next.into()))
        }
        IpAddr::V6(address) => {
            let next = address.to_bits().checked_add(1)?;
            Some(IpAddr::V6(next.into()))
        }
    }
}

fn is_better(found: &PathIn, best: &PathIn) -> bool {
    (found.certain, found.sources == "any") > (best.certain, best.sources == "any")
}

/// Returns the first of the best.
fn best_of(found: impl Iterator<Item = PathIn>) -> Option<PathIn> {
    found.reduce(|best, found| if is_better(&found, &best) { found } else { best })
}

fn is_system_table(table: &str) -> bool {
    SYSTEM_TABLES.contains(&table)
}

/// Says whether the first packet of a TCP connection can meet a rule's conditions beside addresses. A client can set more
/// flags in it than it has to, and passes where that is wanted.
fn sees_syn(rule: &Rule) -> Truth {
    let mut words = words_of(rule).skip_while(|word| *word != "flags").skip(1);
    let flags = words.next().and_then(|flags| flags.split_once('/'));
    let set = flags.map_or("", |(set, _)| set);
    let plain = match flags {
        Some((_, mask)) if mask.contains('S') => "S",
        _ => "",
    };
    let more = set.trim_matches(['P', 'U', 'E', 'W']);
    if has_word(rule, &["fragment"]) || more != plain {
        return Truth::No;
    }
    if set != plain {
        return Truth::from_bool(rule.action != Action::Block).min(Truth::Maybe);
    }
    // A word that is not known may be a condition.
    if has_word(rule, &UNDECIDABLE) || !rule.is_understood {
        return Truth::Maybe;
    }
    Truth::Yes
}

/// Returns a rule's words but for names: of an interface, in quotes, and of what stands in brackets.
fn words_of(rule: &Rule) -> impl Iterator<Item = &str> {
    let unquoted = rule.text.split('"').step_by(2);
    let plain = unquoted.flat_map(|part| part.split_ascii_whitespace());
    let mut depth = 0_usize;
    let mut is_name = false;
    plain.filter(move |word| {
        let opens = word.matches(['(', '{']).count();
        let closes = word.matches([')', '}']).count();
        let is_inside = depth > 0;
        depth = (depth + opens).saturating_sub(closes);
        let was_name = is_name;
        is_name = matches!(*word, "on" | "tag" | "tagged") || (is_name && *word == "!");
        !is_inside && !was_name
    })
}

/// Returns what follows a word of a rule, but in names.
fn value_of_word<'r>(rule: &'r Rule, wanted: &str) -> Option<&'r str> {
    let parts: Vec<&str> = rule.text.split('"').collect();
    parts.iter().enumerate().step_by(2).find_map(|(place, part)| {
        let mut words = part.split_ascii_whitespace();
        words.find(|word| *word == wanted)?;
        words.next().or_else(|| parts.get(place + 1).copied())
    })
}

/// Says whether a pass rule may lead its connections elsewhere. The routing table 0 is the usual one; UPnP's rules name it.
fn leads_elsewhere(rule: &Rule) -> bool {
    let leads = |word: &&str| match *word {
        "rtable" => value_of_word(rule, word).is_some_and(|table| table != "0"),
        word => has_word(rule, &[word]),
    };
    LEADING_ELSEWHERE.iter().any(leads)
}

fn has_word(rule: &Rule, wanted: &[&str]) -> bool {
    // Nearly all rules have none of them in any place.
    let mut found = wanted.iter().filter(|wanted| rule.text.contains(**wanted));
    found.any(|wanted| words_of(rule).any(|word| word == *wanted))
}

/// Returns the inside port that a redirection makes of an outside one, as pf counts it through a range.
pub(super) fn inside_port(rule: &Rule, port: u16) -> Option<u16> {
    let Some(target) = rule.target_port() else {
        return Some(port);
    };
    let Some((first, last)) = target.split_once(':') else {
        return target.parse().ok();
    };
    let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
    // pf counts from the first number of the condition, also where that is not included itself.
    let printed = rule.to.port.as_deref().unwrap_or_default();
    let mut numbers = printed.split([' ', ':']).filter_map(|word| word.parse().ok());
    let low: u16 = numbers.next().unwrap_or(0);
    let span = last.checked_sub(first)?.checked_add(1)?;
    first.checked_add(port.checked_sub(low)? % span)
}

/// Returns the ports at which it changes whether a printed condition holds, but for the first port.
fn edges_of_ports(printed: &str) -> impl Iterator<Item = u16> {
    let ranges = printed_port_ranges(printed).unwrap_or_default().into_iter();
    let edges = ranges.flat_map(|(low, high)| [low, high.saturating_add(1)]);
    edges.filter(|port| *port > 1)
}

/// Moves an address of one network to the same offset in another one, as 1:1 NAT does.
fn moved_into(network: IpNet, from: IpNet, address: IpAddr) -> Option<IpAddr> {
    if !from.contains(&address) {
        return None;
    }
    match (network.network(), from.network(), address) {
        (IpAddr::V4(network), IpAddr::V4(from), IpAddr::V4(address)) => {
            let offset = address.to_bits().checked_sub(from.to_bits())?;
            let moved = network.to_bits().checked_add(offset)?;
            Some(IpAddr::V4(moved.into()))
        }
        (IpAddr::V6(network), IpAddr::V6(from), IpAddr::V6(address)) => {
            let offset = address.to_bits().checked_sub(from.to_bits())?;
            let moved = network.to_bits().checked_add(offset)?;
            Some(IpAddr::V6(moved.into()))
        }
        _ => None,
    }
}

/// Renders a printed end: `! <friends>`, `203.0.113.7`, `any port = 53`.
pub(super) fn from_text(from: &Endpoint) -> String {
    let sign = if from.negated { "! " } else { "" };
    let port = from.port.as_ref().map(|port| format!(" port {port}")).unwrap_or_default();
    format!("{sign}{}{port}", from.host)
}

fn socket_text(address: IpAddr, port: u16) -> String {
    std::net::SocketAddr::new(address, port).to_string()
}
