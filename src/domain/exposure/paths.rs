//! Every way by which pf leads the outside to the service: a loaded translation, or a publicly routed address of the
//! service, **and** a loaded pass rule that admits the result (or `rdr pass`). Not only the managed pair: a second WAN,
//! another outside port, 1:1 NAT, a floating rule that passes what the pair no longer does.
//!
//! Each candidate is followed as one connection: the translation that it meets first, then what the filter rules do
//! with it, inbound and outbound. What cannot be decided from the rules ([`UNDECIDABLE`], tables of unknown content)
//! leaves both answers standing, and the path is then not certain; it is never taken for closed.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use super::matching::{On, network, on, port_included, table_name};
use crate::domain::pf::rule::{Action, Direction, Endpoint, Family, Rule};
use crate::domain::pfsense::config::members_of_alias;
use crate::domain::pfsense::configured::{Configured, InterfaceConfig};
use crate::domain::ratelimit::Caps;
use crate::domain::service::Service;

/// Conditions of a rule on which kmsctl cannot say whether a connection meets them: such a rule may match or not.
pub const UNDECIDABLE: [&str; 12] = [
    "divert-to",
    "group",
    "once",
    "os",
    "probability",
    "received-on",
    "route-to",
    "rtable",
    "tagged",
    "tos",
    "user",
    "max-pkt-rate",
];
/// Tables of pfSense's own that hold offenders and bogons, never the service or the outside at large.
const SYSTEM_TABLES: [&str; 6] = [
    "bogons",
    "bogonsv6",
    "snort2c",
    "sshguard",
    "sshlockout",
    "virusprot",
];
/// Devices of VPNs, whose other side is not the outside unless the configuration names them.
const VPN_DEVICES: [&str; 9] = [
    "ovpn",
    "wg",
    "tun_wg",
    "ipsec",
    "enc",
    "gif",
    "gre",
    "l2tp",
    "tailscale",
];
/// The device that leads to an address behind a route: none of the outside.
const UNKNOWN_DEVICE: &str = "";
/// Most points of a network or a range of ports that are tried, and most paths that are kept.
const TRIED: usize = 64;
const KEPT: usize = 64;

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
}

/// One way into the service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PathIn {
    /// By what.
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
    /// The caps of the admitting rule.
    pub caps: Option<Caps>,
}

impl PathIn {
    /// Says it in a clause: `the forward on opt1 198.51.100.2:1688 leads to 10.0.20.202:1688`.
    pub fn clause(&self) -> String {
        let kind = match self.kind {
            PathKind::Forward => "a port forward",
            PathKind::OneToOne => "1:1 NAT",
            PathKind::Routed => "the routed address",
        };
        let sources = if self.sources == "any" {
            String::new()
        } else {
            format!(" for {}", self.sources)
        };
        let may = if self.certain { "leads" } else { "may lead" };
        format!(
            "{kind} on {} at {} {may} to {}{sources}",
            self.interface, self.enters, self.leads_to
        )
    }
}

/// A device whose other side is the outside.
#[derive(Clone, Debug, PartialEq, Eq)]
struct OutsideDevice {
    name: String,
    device: String,
    addresses: Vec<IpAddr>,
}

/// What is known beside the rules.
pub struct Surroundings<'a> {
    service: &'a Service,
    configured: Option<&'a Configured>,
    outside: Vec<OutsideDevice>,
}

impl<'a> Surroundings<'a> {
    /// Collects it. Without a configuration the outside is the device of the redirections to the service.
    pub fn new(
        configured: Option<&'a Configured>,
        service: &'a Service,
        device: Option<&str>,
    ) -> Self {
        let mut outside: Vec<OutsideDevice> = configured
            .map(|configured| configured.interfaces.as_slice())
            .unwrap_or_default()
            .iter()
            .filter(|interface| is_outside(interface, service))
            .filter_map(outside_device)
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
                    addresses: own.map(addresses).unwrap_or_default(),
                },
            );
        }
        Self {
            service,
            configured,
            outside,
        }
    }

    /// Returns whether a rule looks at packets of a device of the outside.
    pub fn is_outside(&self, rule: &Rule) -> bool {
        self.outside
            .iter()
            .any(|device| self.sees_device(rule, &device.device) != Truth::No)
    }

    fn sees_device(&self, rule: &Rule, device: &str) -> Truth {
        let Some(interface) = &rule.interface else {
            return Truth::Yes;
        };
        if device == UNKNOWN_DEVICE {
            let mut outside = self.outside.iter();
            let leads_elsewhere =
                interface.name == "lo0" || outside.any(|outside| outside.device == interface.name);
            return if leads_elsewhere && !interface.negated {
                Truth::No
            } else {
                Truth::Maybe
            };
        }
        if let Some(members) = self.group_devices(&interface.name) {
            return Truth::of(members.contains(&device) != interface.negated);
        }
        match on(rule, Some(device)) {
            On::Device => Truth::Yes,
            On::Elsewhere => Truth::No,
            On::Group => Truth::Maybe,
        }
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

    /// Returns the members of a table that config.xml defines; `None` where they are not known.
    fn table_members(&self, name: &str) -> Option<Vec<IpNet>> {
        let configured = self.configured?;
        if let Some(interface) = name.strip_suffix("__NETWORK") {
            let mut interfaces = configured.interfaces.iter();
            let interface = interfaces.find(|other| other.name.eq_ignore_ascii_case(interface))?;
            return Some(vec![subnet(interface)?]);
        }
        members_of_alias(&configured.aliases, name, 0)
    }

    /// Returns the addresses of the service; only those that are public can be reached without a translation.
    fn service_addresses(&self) -> Vec<IpAddr> {
        let mut addresses = vec![self.service.address];
        let members = self.table_members(&self.service.alias).unwrap_or_default();
        let single = |network: &IpNet| network.prefix_len() == network.max_prefix_len();
        for network in members.into_iter().filter(single).take(TRIED) {
            if !addresses.contains(&network.addr()) {
                addresses.push(network.addr());
            }
        }
        addresses
    }

    /// Returns the device that leads to an address inside.
    fn exit_device(&self, address: IpAddr) -> &str {
        let mut interfaces = self
            .configured
            .into_iter()
            .flat_map(|configured| &configured.interfaces);
        interfaces
            .find(|interface| subnet(interface).is_some_and(|net| net.contains(&address)))
            .and_then(|interface| interface.device.as_deref())
            .unwrap_or(UNKNOWN_DEVICE)
    }
}

fn is_outside(interface: &InterfaceConfig, service: &Service) -> bool {
    let device = interface.device.as_deref().unwrap_or_default();
    let named = service
        .outside
        .iter()
        .any(|name| *name == interface.name || name == device);
    let is_vpn = VPN_DEVICES.iter().any(|vpn| device.starts_with(vpn));
    let enabled = interface.enabled || interface.name == "wan";
    named || interface.name == service.interface || (enabled && interface.has_gateway() && !is_vpn)
}

fn outside_device(interface: &InterfaceConfig) -> Option<OutsideDevice> {
    let device = interface.device.clone().filter(|name| !name.is_empty())?;
    Some(OutsideDevice {
        name: interface.name.clone(),
        device,
        addresses: addresses(interface),
    })
}

fn addresses(interface: &InterfaceConfig) -> Vec<IpAddr> {
    [&interface.ipaddr, &interface.ipaddr_v6]
        .into_iter()
        .filter_map(|text| text.as_deref()?.trim().parse().ok())
        .collect()
}

fn subnet(interface: &InterfaceConfig) -> Option<IpNet> {
    let address: IpAddr = interface.ipaddr.as_deref()?.trim().parse().ok()?;
    let bits: u8 = interface.subnet.as_deref()?.trim().parse().ok()?;
    IpNet::new(address, bits)
        .ok()
        .map(|network| network.trunc())
}

/// Whether something holds, where both can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Truth {
    No,
    Maybe,
    Yes,
}

impl Truth {
    fn of(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }

    fn negated_if(self, negated: bool) -> Self {
        match (self, negated) {
            (Self::Yes, true) => Self::No,
            (Self::No, true) => Self::Yes,
            (truth, _) => truth,
        }
    }
}

/// Who connects.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Client {
    /// Somewhere outside, in no list that a rule names.
    Anywhere,
    /// The sources of one rule: all of them, or one address of them.
    Listed {
        from: Endpoint,
        address: Option<IpAddr>,
    },
}

/// A first packet, as the rules see it.
#[derive(Clone, Copy)]
struct Packet<'p> {
    device: &'p str,
    direction: Direction,
    client: &'p Client,
    to: IpAddr,
    port: u16,
}

/// The loaded rules, followed packet by packet.
pub struct Walk<'a, 'r> {
    around: &'a Surroundings<'a>,
    filter: &'r [Rule],
    nat: &'r [Rule],
    /// The redirection of the managed pair.
    managed: Option<&'r Rule>,
    /// The pass rules of the managed pair.
    own_passes: &'a [&'r Rule],
    /// Rules that are taken as not loaded.
    without: Vec<&'r Rule>,
}

/// What the filter rules do with a packet.
struct Admission<'r> {
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
        Self {
            around,
            filter,
            nat,
            managed,
            own_passes,
            without: Vec::new(),
        }
    }

    /// Returns the paths that are left once the pair is disabled: its forward, and its filter rule unless that has to stay.
    pub fn find_left_open(&self, keeps_filter: bool) -> Vec<PathIn> {
        let mut without: Vec<&Rule> = self.managed.into_iter().collect();
        if !keeps_filter {
            without.extend(self.own_passes);
        }
        let after = Walk {
            around: self.around,
            filter: self.filter,
            nat: self.nat,
            managed: None,
            own_passes: &[],
            without,
        };
        after.find_paths()
    }

    /// Returns the rules that count: those of the main ruleset, but for what is taken as not loaded.
    fn rules_of(&self, list: &'r [Rule]) -> impl Iterator<Item = &'r Rule> + use<'r, '_, 'a> {
        list.iter().filter(|rule| {
            rule.depth == 0 && !self.without.iter().any(|other| std::ptr::eq(*other, *rule))
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
            for address in self.around.service_addresses() {
                paths.extend(self.follow_routed(outside, address));
            }
        }
        paths.sort_by_key(|path: &PathIn| (!path.managed, !path.certain));
        paths.dedup();
        paths.truncate(KEPT);
        paths
    }

    fn follow_forward(&self, outside: &OutsideDevice, rule: &'r Rule) -> Option<PathIn> {
        let lands = self.leads_to_service(rule);
        if lands == Truth::No {
            return None;
        }
        let mut best: Option<PathIn> = None;
        for to in self.points_of(&rule.to, outside) {
            for port in self.ports_of(rule) {
                let inside = inside_port(rule, port)?;
                let is_managed = self
                    .managed
                    .is_some_and(|managed| std::ptr::eq(managed, rule));
                // The service's own outside port leads into it by whatever inside port; else it must be its port.
                let service = self.around.service.port;
                if inside != service && !(is_managed && port == service) {
                    continue;
                }
                let mut found = PathIn {
                    kind: PathKind::Forward,
                    interface: outside.name.clone(),
                    enters: socket(to, port),
                    leads_to: socket(self.around.service.address, inside),
                    sources: String::new(),
                    rule: rule.text.clone(),
                    passed_by: None,
                    managed: is_managed,
                    certain: false,
                    caps: None,
                };
                let end = (self.around.service.address, inside);
                let truth = self.admit(outside, (to, port), end, Some(rule), &mut found);
                found.certain = truth.min(lands) == Truth::Yes;
                if truth > Truth::No && best.as_ref().is_none_or(|best| is_better(&found, best)) {
                    best = Some(found);
                }
            }
        }
        best
    }

    fn follow_one_to_one(&self, outside: &OutsideDevice, rule: &'r Rule) -> Option<PathIn> {
        let service = self.around.service;
        let external = external_of(rule, service.address)?;
        let mut found = PathIn {
            kind: PathKind::OneToOne,
            interface: outside.name.clone(),
            enters: socket(external, service.port),
            leads_to: socket(service.address, service.port),
            sources: String::new(),
            rule: rule.text.clone(),
            passed_by: None,
            managed: false,
            certain: false,
            caps: None,
        };
        let end = (service.address, service.port);
        let truth = self.admit(
            outside,
            (external, service.port),
            end,
            Some(rule),
            &mut found,
        );
        found.certain = truth == Truth::Yes;
        (truth > Truth::No).then_some(found)
    }

    fn follow_routed(&self, outside: &OutsideDevice, address: IpAddr) -> Option<PathIn> {
        if !is_public(address) {
            return None;
        }
        let end = (address, self.around.service.port);
        let mut found = PathIn {
            kind: PathKind::Routed,
            interface: outside.name.clone(),
            enters: socket(end.0, end.1),
            leads_to: socket(end.0, end.1),
            sources: String::new(),
            rule: String::new(),
            passed_by: None,
            managed: false,
            certain: false,
            caps: None,
        };
        let truth = self.admit(outside, end, end, None, &mut found);
        found.certain = truth == Truth::Yes;
        let is_own = |text: &String| self.own_passes.iter().any(|rule| rule.text == *text);
        found.managed = found.passed_by.as_ref().is_some_and(is_own);
        found.rule = found.passed_by.clone().unwrap_or_default();
        (truth > Truth::No).then_some(found)
    }

    /// Says whether anyone outside gets from `begin` to `end` by this translation, and notes who and by which rule.
    fn admit(
        &self,
        outside: &OutsideDevice,
        begin: (IpAddr, u16),
        end: (IpAddr, u16),
        translation: Option<&'r Rule>,
        path: &mut PathIn,
    ) -> Truth {
        let mut best = Truth::No;
        let mut who: Vec<String> = Vec::new();
        for client in self.clients(translation) {
            let packet = Packet {
                device: &outside.device,
                direction: Direction::In,
                client: &client,
                to: begin.0,
                port: begin.1,
            };
            let met = self.meets(packet, translation);
            if met == Truth::No {
                continue;
            }
            let passes = translation.is_some_and(|rule| rule.action == Action::Rdr { pass: true });
            let moved = Packet {
                to: end.0,
                port: end.1,
                ..packet
            };
            let entry = if passes {
                Admission {
                    truth: Truth::Yes,
                    rule: None,
                    blocked_by: None,
                }
            } else {
                self.filter(moved)
            };
            let out = Packet {
                device: self.around.exit_device(end.0),
                direction: Direction::Out,
                ..moved
            };
            let exit = self.filter(out).truth;
            let truth = met.min(entry.truth).min(exit);
            if truth == Truth::No {
                continue;
            }
            if truth > best {
                best = truth;
                path.passed_by = entry.rule.map(|rule| rule.text.clone());
                path.caps = entry.rule.map(Caps::of_loaded);
            }
            if client == Client::Anywhere {
                path.sources = "any".to_owned();
                if truth == Truth::Yes {
                    return Truth::Yes;
                }
            }
            if let Client::Listed { from, .. } = &client {
                let text = from_text(from);
                if !who.contains(&text) {
                    who.push(text);
                }
            }
        }
        if path.sources.is_empty() {
            who.truncate(3);
            path.sources = who.join(", ");
        }
        best
    }

    /// Returns the clients that rules tell apart: the outside at large, and the sources of each rule.
    fn clients(&self, translation: Option<&Rule>) -> Vec<Client> {
        let mut clients = vec![Client::Anywhere];
        let passes = self
            .rules_of(self.filter)
            .filter(|rule| rule.action == Action::Pass);
        for rule in translation.into_iter().chain(passes) {
            let from = &rule.from;
            if from.host == "any" && from.port.is_none() {
                continue;
            }
            self.add_clients(from, &mut clients);
        }
        // A rule for all but some leaves those to the rules after it: they are clients of their own.
        let excluded = self
            .rules_of(self.nat)
            .chain(self.rules_of(self.filter))
            .filter(|rule| rule.from.negated);
        for rule in excluded {
            let from = Endpoint {
                negated: false,
                ..rule.from.clone()
            };
            self.add_clients(&from, &mut clients);
        }
        clients
    }

    /// Adds some addresses of these sources, or the sources as such where no address of them is known.
    fn add_clients(&self, from: &Endpoint, clients: &mut Vec<Client>) {
        let mut points: Vec<Option<IpAddr>> =
            self.known_points(from).into_iter().map(Some).collect();
        if points.is_empty() {
            points.push(None);
        }
        for address in points {
            let client = Client::Listed {
                from: from.clone(),
                address,
            };
            if !clients.contains(&client) && clients.len() < TRIED {
                clients.push(client);
            }
        }
    }

    /// Says whether a packet meets exactly this translation first (or none): redirections go before 1:1 NAT.
    fn meets(&self, packet: Packet<'_>, wanted: Option<&Rule>) -> Truth {
        let mut reached = Truth::Yes;
        let is_wanted = |rule: &Rule| wanted.is_some_and(|wanted| std::ptr::eq(wanted, rule));
        for binat in [false, true] {
            for rule in self.rules_of(self.nat) {
                let matches = match &rule.action {
                    Action::Rdr { .. } if !binat => self.matches(rule, packet),
                    Action::No(kind) if !binat && kind == "rdr" => self.matches(rule, packet),
                    Action::No(kind) if binat && kind == "binat" => {
                        self.matches_binat(rule, packet)
                    }
                    Action::Binat if binat => self.matches_binat(rule, packet),
                    _ => continue,
                };
                if is_wanted(rule) {
                    return reached.min(matches);
                }
                match matches {
                    Truth::Yes => return Truth::No,
                    Truth::Maybe => reached = Truth::Maybe,
                    Truth::No => {}
                }
            }
        }
        if wanted.is_none() { reached } else { Truth::No }
    }

    /// Follows the filter rules: the first `quick` match or else the last match; where none matches, pf passes.
    fn filter(&self, packet: Packet<'_>) -> Admission<'r> {
        let mut standing: Vec<Option<&'r Rule>> = vec![None];
        let mut settled: Vec<Option<&'r Rule>> = Vec::new();
        for rule in self.rules_of(self.filter) {
            if !matches!(rule.action, Action::Pass | Action::Block) {
                continue;
            }
            let matches = self.matches(rule, packet);
            match (matches, rule.quick) {
                (Truth::No, _) => {}
                (Truth::Yes, false) => standing = vec![Some(rule)],
                (Truth::Maybe, false) => standing.push(Some(rule)),
                (Truth::Maybe, true) => settled.push(Some(rule)),
                (Truth::Yes, true) => {
                    standing = vec![Some(rule)];
                    break;
                }
            }
        }
        settled.extend(standing);
        let passes = |rule: Option<&Rule>| rule.is_none_or(|rule| rule.action == Action::Pass);
        let admitting = settled.iter().rev().find(|rule| passes(**rule));
        let all = settled.iter().all(|rule| passes(*rule));
        Admission {
            truth: match (admitting, all) {
                (Some(_), true) => Truth::Yes,
                (Some(_), false) => Truth::Maybe,
                (None, _) => Truth::No,
            },
            rule: admitting.copied().flatten(),
            blocked_by: settled
                .iter()
                .rev()
                .find_map(|rule| rule.filter(|rule| rule.action == Action::Block)),
        }
    }

    /// Finds the rule that keeps connections from anywhere on their way from the firewall to this port of the service.
    pub fn find_exit_block(&self, port: u16) -> Option<&'r Rule> {
        let to = self.around.service.address;
        let packet = Packet {
            device: self.around.exit_device(to),
            direction: Direction::Out,
            client: &Client::Anywhere,
            to,
            port,
        };
        self.filter(packet).blocked_by
    }

    fn matches(&self, rule: &Rule, packet: Packet<'_>) -> Truth {
        self.sees(rule, packet)
            .min(self.is_from(&rule.from, packet.client))
            .min(self.is_to(&rule.to, packet.to))
            .min(Truth::of(port_included(
                rule.to.port.as_deref(),
                packet.port,
            )))
    }

    fn matches_binat(&self, rule: &Rule, packet: Packet<'_>) -> Truth {
        let external = rule.target_hosts().first().copied().and_then(network);
        let here = match external {
            Some(network) => Truth::of(network.contains(&packet.to)),
            None if matches!(rule.action, Action::No(_)) => self.is_to(&rule.from, packet.to),
            None => Truth::Maybe,
        };
        self.sees(rule, packet)
            .min(self.is_from(&rule.to, packet.client))
            .min(here)
    }

    /// Says whether a rule looks at such a packet at all, whoever sends it to whom.
    fn sees(&self, rule: &Rule, packet: Packet<'_>) -> Truth {
        let family = match rule.family {
            Some(Family::Inet) => packet.to.is_ipv4(),
            Some(Family::Inet6) => packet.to.is_ipv6(),
            None => true,
        };
        let direction = rule
            .direction
            .is_none_or(|wanted| wanted == packet.direction);
        let protocol = rule.protocol.as_deref().is_none_or(|name| name == "tcp");
        if !family || !direction || !protocol {
            return Truth::No;
        }
        self.around
            .sees_device(rule, packet.device)
            .min(sees_syn(rule))
    }

    fn is_from(&self, from: &Endpoint, client: &Client) -> Truth {
        let port = match (&from.port, client) {
            (None, _) => Truth::Yes,
            (Some(port), Client::Listed { from, .. }) if from.port.as_ref() == Some(port) => {
                Truth::Yes
            }
            // One source port is the client's choice: those who know it are clients of their own.
            (Some(port), Client::Anywhere) => Truth::of(!port.starts_with("= ")),
            (Some(port), Client::Listed { from: known, .. }) => match &known.port {
                Some(text) => {
                    let number = text.strip_prefix("= ").and_then(|text| text.parse().ok());
                    number.map_or(Truth::Maybe, |number| {
                        Truth::of(port_included(Some(port), number))
                    })
                }
                None => Truth::of(!port.starts_with("= ")),
            },
        };
        port.min(self.is_from_host(from, client))
    }

    fn is_from_host(&self, from: &Endpoint, client: &Client) -> Truth {
        if from.host == "any" {
            return Truth::of(!from.negated);
        }
        match client {
            Client::Anywhere => {
                let wide = network(&from.host).is_some_and(|net| net.prefix_len() < 8)
                    || from.host.contains(" - ");
                Truth::of(wide).negated_if(from.negated && !wide)
            }
            Client::Listed {
                from: known,
                address: None,
            } => {
                if known.host == from.host {
                    return Truth::of(known.negated == from.negated);
                }
                let system = table_name(&from.host).is_some_and(is_system_table);
                if system {
                    return Truth::No.negated_if(from.negated);
                }
                Truth::Maybe
            }
            Client::Listed {
                address: Some(address),
                ..
            } => self.holds(&from.host, *address).negated_if(from.negated),
        }
    }

    fn is_to(&self, to: &Endpoint, address: IpAddr) -> Truth {
        self.holds(&to.host, address).negated_if(to.negated)
    }

    fn holds(&self, host: &str, address: IpAddr) -> Truth {
        if host == "any" {
            return Truth::Yes;
        }
        if let Some((low, high)) = host.split_once(" - ") {
            let ends: (Option<IpAddr>, Option<IpAddr>) =
                (low.trim().parse().ok(), high.trim().parse().ok());
            return match ends {
                (Some(low), Some(high)) => Truth::of(low <= address && address <= high),
                _ => Truth::Maybe,
            };
        }
        if let Some(network) = network(host) {
            return Truth::of(network.contains(&address));
        }
        if let Some(table) = table_name(host) {
            let service = self.around.service;
            if table == service.alias && address == service.address {
                return Truth::Yes;
            }
            if is_system_table(table) {
                return Truth::No;
            }
            return self
                .around
                .table_members(table)
                .map_or(Truth::Maybe, |nets| {
                    Truth::of(nets.iter().any(|net| net.contains(&address)))
                });
        }
        self.own_addresses_hold(host, address)
    }

    /// `(vtnet0)`, `(vtnet0:network)`, `(self)`: addresses of the firewall itself, never the service's.
    fn own_addresses_hold(&self, host: &str, address: IpAddr) -> Truth {
        let Some(inside) = host
            .strip_prefix('(')
            .and_then(|host| host.strip_suffix(')'))
        else {
            return Truth::Maybe;
        };
        if self.around.service_addresses().contains(&address) && !inside.contains(':') {
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
                subnet(interface).is_some_and(|net| net.contains(&address))
            } else {
                addresses(interface).contains(&address)
            }
        });
        let is_known = is_wide && here.iter().all(|interface| subnet(interface).is_some());
        match (found, is_known && !here.is_empty()) {
            (true, _) => Truth::Yes,
            (false, true) => Truth::No,
            // A lease, or an address that the interface has beside its own.
            (false, false) => Truth::Maybe,
        }
    }

    /// Says whether the target of a redirection is the service, or holds it.
    fn leads_to_service(&self, rule: &Rule) -> Truth {
        let service = self.around.service;
        rule.target_hosts()
            .into_iter()
            .map(|host| {
                if host == service.alias || table_name(host) == Some(service.alias.as_str()) {
                    Truth::Yes
                } else {
                    self.holds(host, service.address)
                }
            })
            .max()
            .unwrap_or(Truth::No)
    }

    /// Returns addresses that a redirection is for: all that rules tell apart, as far as they are known.
    fn points_of(&self, to: &Endpoint, outside: &OutsideDevice) -> Vec<IpAddr> {
        let family = |address: &IpAddr| address.is_ipv4() == self.around.service.address.is_ipv4();
        let mut points = if to.negated {
            Vec::new()
        } else {
            self.known_points(to)
        };
        let others = self.rules_of(self.nat);
        let named = others.flat_map(|rule| {
            let external = rule.target_hosts();
            let external = external.first().copied().and_then(network);
            let binat = external.filter(|_| rule.action == Action::Binat);
            [
                rule.to.host.parse().ok(),
                binat.map(|network| network.addr()),
            ]
        });
        let generic = [
            IpAddr::from([198, 51, 100, 254]),
            IpAddr::from([0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 0xfffe]),
        ];
        let more = outside
            .addresses
            .iter()
            .copied()
            .chain(named.flatten())
            .chain(generic);
        for address in more.filter(family) {
            if points.len() < TRIED
                && !points.contains(&address)
                && self.is_to(to, address) != Truth::No
            {
                points.push(address);
            }
        }
        points
    }

    /// Returns some addresses of an endpoint that is not negated, where they are known.
    fn known_points(&self, endpoint: &Endpoint) -> Vec<IpAddr> {
        if endpoint.negated || endpoint.host == "any" {
            return Vec::new();
        }
        if let Some((low, high)) = endpoint.host.split_once(" - ") {
            return [low, high]
                .iter()
                .filter_map(|end| end.trim().parse().ok())
                .collect();
        }
        let networks = match table_name(&endpoint.host) {
            Some(table) => self.around.table_members(table).unwrap_or_default(),
            None => network(&endpoint.host).into_iter().collect(),
        };
        let ends = networks
            .iter()
            .take(TRIED)
            .flat_map(|net| [net.network(), middle(net), net.broadcast()]);
        let mut points: Vec<IpAddr> = ends.collect();
        points.dedup();
        points
    }

    /// Returns outside ports of a redirection that can lead to the service.
    fn ports_of(&self, rule: &Rule) -> Vec<u16> {
        let service = self.around.service.port;
        let range = rule.to.port.as_deref().and_then(ends_of_ports);
        let mut ports = vec![service];
        if let Some((low, high)) = range {
            let moved = rule
                .target_port()
                .and_then(|port| port.split(':').next()?.parse::<u16>().ok())
                .and_then(|first| service.checked_sub(first)?.checked_add(low));
            ports.extend(moved);
            ports.extend([low, high]);
        }
        let named = self
            .rules_of(self.nat)
            .filter_map(|rule| ends_of_ports(rule.to.port.as_deref()?));
        for (low, high) in named.take(TRIED) {
            let beside = [low, high, low.saturating_sub(1), high.saturating_add(1)];
            ports.extend(beside.into_iter().filter(|port| *port > 0));
        }
        ports.push(40_000);
        ports.retain(|port| port_included(rule.to.port.as_deref(), *port));
        ports.sort_unstable_by_key(|port| (*port != service, *port));
        ports.dedup();
        ports.truncate(TRIED);
        ports
    }
}

fn is_better(found: &PathIn, best: &PathIn) -> bool {
    (found.certain, found.sources == "any") > (best.certain, best.sources == "any")
}

fn is_system_table(table: &str) -> bool {
    SYSTEM_TABLES.contains(&table)
}

/// Says whether the first packet of a TCP connection can meet a rule's conditions beside addresses.
fn sees_syn(rule: &Rule) -> Truth {
    let unquoted: String = rule.text.split('"').step_by(2).collect();
    let mut words = unquoted.split_ascii_whitespace().peekable();
    let mut truth = Truth::Yes;
    while let Some(word) = words.next() {
        match word {
            "fragment" => return Truth::No,
            "flags" => {
                let flags = words.peek().copied().unwrap_or_default();
                if let Some((set, mask)) = flags.split_once('/') {
                    let syn = if mask.contains('S') { "S" } else { "" };
                    if set != syn {
                        return Truth::No;
                    }
                }
            }
            _ if UNDECIDABLE.contains(&word) => truth = Truth::Maybe,
            _ => {}
        }
    }
    truth
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
    let low = rule
        .to
        .port
        .as_deref()
        .and_then(ends_of_ports)
        .map_or(0, |(low, _)| low);
    let span = last.checked_sub(first)?.checked_add(1)?;
    first.checked_add(port.checked_sub(low)? % span)
}

/// Returns the lowest and the highest port of a printed condition.
fn ends_of_ports(printed: &str) -> Option<(u16, u16)> {
    let number = |text: &str| text.trim().parse::<u16>().ok();
    let words: Vec<&str> = printed.split_ascii_whitespace().collect();
    match *words.as_slice() {
        ["=", value] => number(value).map(|port| (port, port)),
        [low, "><", high] => Some((number(low)?.checked_add(1)?, number(high)?.checked_sub(1)?)),
        ["<", value] => Some((1, number(value)?.checked_sub(1)?)),
        ["<=", value] => Some((1, number(value)?)),
        [">", value] => Some((number(value)?.checked_add(1)?, u16::MAX)),
        [">=", value] => Some((number(value)?, u16::MAX)),
        ["!=", _] | [_, "<>", _] => Some((1, u16::MAX)),
        [range] => {
            let (low, high) = range.split_once(':')?;
            Some((number(low)?, number(high)?))
        }
        _ => None,
    }
}

/// Returns the outside address that 1:1 NAT has for an inside one: the same offset in a network of the same size.
fn external_of(rule: &Rule, address: IpAddr) -> Option<IpAddr> {
    let inside = network(&rule.from.host)?;
    if !inside.contains(&address) || rule.from.negated {
        return None;
    }
    let external = network(rule.target_hosts().first().copied()?)?;
    match (external.network(), inside.network(), address) {
        (IpAddr::V4(external), IpAddr::V4(inside), IpAddr::V4(address)) => {
            let offset = address.to_bits().checked_sub(inside.to_bits())?;
            let external = external.to_bits().checked_add(offset)?;
            Some(IpAddr::V4(external.into()))
        }
        (IpAddr::V6(external), IpAddr::V6(inside), IpAddr::V6(address)) => {
            let offset = address.to_bits().checked_sub(inside.to_bits())?;
            let external = external.to_bits().checked_add(offset)?;
            Some(IpAddr::V6(external.into()))
        }
        _ => None,
    }
}

/// Says whether an address can be routed on the Internet.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [first, second, ..] = address.octets();
            let shared = first == 100 && (64..128).contains(&second);
            !address.is_private()
                && !address.is_loopback()
                && !address.is_link_local()
                && !address.is_multicast()
                && !address.is_unspecified()
                && !shared
        }
        IpAddr::V6(address) => {
            let [first, ..] = address.segments();
            first & 0xe000 == 0x2000
        }
    }
}

fn middle(network: &IpNet) -> IpAddr {
    match (network.network(), network.broadcast()) {
        (IpAddr::V4(low), IpAddr::V4(high)) => {
            let half = (high.to_bits() - low.to_bits()) / 2;
            IpAddr::V4((low.to_bits() + half).into())
        }
        (IpAddr::V6(low), IpAddr::V6(high)) => {
            let half = (high.to_bits() - low.to_bits()) / 2;
            IpAddr::V6((low.to_bits() + half).into())
        }
        (low, _) => low,
    }
}

/// Renders a printed end: `! <friends>`, `203.0.113.7`, `any port = 53`.
pub(super) fn from_text(from: &Endpoint) -> String {
    let sign = if from.negated { "! " } else { "" };
    let port = from
        .port
        .as_ref()
        .map(|port| format!(" port {port}"))
        .unwrap_or_default();
    format!("{sign}{}{port}", from.host)
}

fn socket(address: IpAddr, port: u16) -> String {
    std::net::SocketAddr::new(address, port).to_string()
}
