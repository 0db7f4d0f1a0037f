//! What a closing leaves: the paths that stay, what it would open, and where the doors of the pair lead without it.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::{
    Client, Crossing, OutsideDevice, Packet, PathIn, PathKind, TRIED, Truth, Walk, host_network,
    inside_port, moved_into, new_path, port_included,
};
use crate::domain::address::is_public;
use crate::domain::pf::rule::{Action, Direction, Rule};
use crate::domain::ratelimit::{Caps, is_wider};

/// Most doors that are named one by one.
const NAMED: usize = 8;

/// What is so once some of the pair's rules are gone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Aftermath {
    pub left_open: Vec<PathIn>,
    /// Of those the ones that are new, or let in more than what is at the same door now.
    pub opened: Vec<PathIn>,
    /// Where the pair's doors lead then, if not to the service.
    pub elsewhere: Vec<DoorElsewhere>,
}

/// A door of the pair that leads to another end without it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DoorElsewhere {
    pub path: PathIn,
    /// Filter rules let connections in there, or may.
    pub admits: bool,
}

impl DoorElsewhere {
    /// Says where it leads, and whether connections are let in there, in a sentence; its rule follows.
    pub fn door_sentence(&self) -> String {
        let PathIn { enters, interface, leads_to, certain, .. } = &self.path;
        let end = if leads_to == enters { "the firewall itself" } else { leads_to };
        let may = if *certain { "leads" } else { "may lead" };
        let rule = self.path.rule_clause();
        let admits = match (self.admits, *certain) {
            (true, true) => format!("connections are let in{}", self.path.caps_clause()),
            (true, false) => "connections may be let in".to_owned(),
            (false, _) => "no filter rule lets connections in there".to_owned(),
        };
        format!("{enters} on {interface} {may} to {end} then, and {admits}. {rule}")
    }
}

/// An address and a port.
type End = (IpAddr, u16);

/// One way from a door to the service.
struct Way<'r> {
    kind: PathKind,
    translation: Option<&'r Rule>,
    end: End,
    /// Its translation leads there.
    lands: Truth,
}

impl<'r> Walk<'_, 'r> {
    /// Follows what is left without the pair's filter rules that go, and without its forward where that does.
    pub fn follow_closing(&self, takes_forward: bool, goes: impl Fn(&Rule) -> bool) -> Aftermath {
        let forward = self.managed.filter(|_| takes_forward);
        let mut without: Vec<&Rule> = forward.into_iter().collect();
        without.extend(self.filter.iter().filter(|rule| goes(rule)));
        let after = Walk {
            around: self.around,
            filter: self.filter,
            nat: self.nat,
            managed: self.managed.filter(|_| !takes_forward),
            own_passes: if self.own_passes.iter().any(|own| goes(own)) {
                &[]
            } else {
                self.own_passes
            },
            without,
        };
        let left_open = after.find_paths();
        let mut opened: Vec<PathIn> = Vec::new();
        for outside in &self.around.outside {
            let here = left_open.iter().filter(|path| path.interface == outside.name);
            let here = here.filter_map(|path| path.enters.parse::<SocketAddr>().ok());
            let mut doors: Vec<End> = here.map(|door| (door.ip(), door.port())).collect();
            // What goes to the service's own address is not translated by being led there.
            let is_left = !left_open.is_empty();
            let own = self.around.addresses.iter().filter(|_| is_left);
            doors.extend(own.map(|address| (*address, self.around.service.port)));
            doors.extend(
                forward
                    .filter(|_| is_left)
                    .into_iter()
                    .flat_map(|rule| self.doors_of(outside, rule)),
            );
            doors.sort_unstable();
            doors.dedup();
            opened.extend(doors.iter().flat_map(|door| self.find_opened(&after, outside, *door)));
        }
        opened.dedup_by(|one, other| one.rule == other.rule && one.interface == other.interface);
        let elsewhere = forward.map(|forward| self.find_elsewhere(&after, forward));
        Aftermath { left_open, opened, elsewhere: elsewhere.unwrap_or_default() }
    }

    /// Returns the outside addresses that a redirection is for, with the service's port.
    fn doors_of(&self, outside: &OutsideDevice, rule: &Rule) -> Vec<End> {
        let service = self.around.service;
        let sees = self.around.sees_device(rule, &outside.device) > Truth::No
            && port_included(rule.to.port.as_deref(), service.port);
        let points = sees.then(|| self.points_of(rule, outside, service.address.is_ipv6()));
        let points = points.into_iter().flatten().take(TRIED);
        points.map(|address| (address, service.port)).collect()
    }

    /// Returns the ways to the service that translations give such a connection, whichever it meets first.
    fn ways_at(&self, outside: &OutsideDevice, (to, port): End) -> Vec<Way<'r>> {
        let service = self.around.service.port;
        let mut ways = Vec::new();
        for address in self.around.addresses.iter().copied() {
            let (kind, lands) = (PathKind::Routed, Truth::Yes);
            if is_public(address) && (to, port) == (address, service) {
                ways.push(Way { kind, translation: None, end: (to, port), lands });
            }
            let rules = self.rules_of(self.nat);
            for rule in
                rules.filter(|rule| self.around.sees_device(rule, &outside.device) > Truth::No)
            {
                let is_managed = self.managed.is_some_and(|managed| std::ptr::eq(managed, rule));
                let (kind, inside, lands) = match rule.action {
                    Action::Rdr { .. } if port_included(rule.to.port.as_deref(), port) => {
                        let inside = inside_port(rule, port);
                        let inside = inside.filter(|inside| is_managed || *inside == service);
                        (PathKind::Forward, inside, self.leads_to(rule, address))
                    }
                    Action::Binat if port == service => {
                        let externals = self.externals_of(outside, rule, address).into_iter();
                        let maps = externals.filter(|(external, _)| *external == to);
                        let maps = maps.map(|(_, maps)| maps).max().unwrap_or(Truth::No);
                        (PathKind::OneToOne, Some(port), maps)
                    }
                    _ => continue,
                };
                if let Some(inside) = inside.filter(|_| lands > Truth::No) {
                    ways.push(Way { kind, translation: Some(rule), end: (address, inside), lands });
                }
            }
        }
        ways
    }

    /// Returns what lets more in at a door afterwards than now.
    fn find_opened(&self, after: &Self, outside: &OutsideDevice, door: End) -> Vec<PathIn> {
        let crossing =
            |walk: &Self, way: &Way<'r>| walk.crossing(outside, door, way.end, way.translation);
        let now = self.ways_at(outside, door).into_iter().map(|way| (crossing(self, &way), way));
        let now: Vec<(Crossing<'r>, Way<'r>)> = now.collect();
        let ways = after.ways_at(outside, door).into_iter();
        let opened = ways.filter_map(|way| {
            let then = crossing(after, &way);
            self.opens(&now, after, (&then, &way)).then(|| {
                let rule = way.translation.map(|rule| rule.text.clone()).unwrap_or_default();
                let mut path = PathIn { kind: way.kind, ..new_path(outside, door, way.end, rule) };
                let truth = after.admits_anyone(&then, way.end.0.is_ipv6(), &mut path);
                path.certain = truth.min(way.lands) == Truth::Yes && outside.certain;
                if path.rule.is_empty() {
                    path.rule = path.passed_by.clone().unwrap_or_default();
                }
                path
            })
        });
        opened.collect()
    }

    /// Says whether some client gets in by a way then that does not now at the same door, or with looser caps.
    fn opens(
        &self,
        now: &[(Crossing<'r>, Way<'r>)],
        after: &Self,
        (then, way): (&Crossing<'r>, &Way<'r>),
    ) -> bool {
        let now = || now.iter().filter(|(_, other)| other.end == way.end);
        let rules = then.facing().chain(now().flat_map(|(crossing, _)| crossing.facing()));
        let (mut clients, is_cut) = self.distinct_clients(rules, way.end.0.is_ipv6());
        clients.extend(is_cut.then(Client::of_anyone));
        let is_same = |other: &Way<'r>| match (other.translation, way.translation) {
            (Some(one), Some(other)) => std::ptr::eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        };
        clients.iter().any(|client| {
            let then = after.admit(then, client);
            let truth = then.truth.min(way.lands);
            let caps = |rule: Option<&Rule>| rule.map(Caps::of_loaded).unwrap_or_default();
            let present = now().map(|(crossing, other)| {
                let admission = self.admit(crossing, client);
                (admission.truth.min(other.lands), is_same(other), caps(admission.rule))
            });
            let present = present.max_by_key(|(truth, is_same, _)| (*truth, *is_same));
            // What may be so by the same rule is not more so without others.
            let is_known =
                present.filter(|(now, is_same, _)| *now == Truth::Yes || *now == truth && *is_same);
            truth > Truth::No && is_known.is_none_or(|(_, _, now)| is_wider(caps(then.rule), now))
        })
    }

    /// Finds where connections to the doors of the pair's forward lead without it, if not to the service.
    fn find_elsewhere(&self, after: &Self, forward: &'r Rule) -> Vec<DoorElsewhere> {
        let mut found: Vec<DoorElsewhere> = Vec::new();
        for outside in &self.around.outside {
            for door in self.doors_of(outside, forward) {
                let (to, port) = door;
                let direction = Direction::In;
                let packet = Packet { device: &outside.device, direction, to, port };
                let now = self.face_translations(packet);
                let (clients, _) = self.distinct_clients(now.iter(), to.is_ipv6());
                let meets = |walk: &Self, nat: &[_], rule: Option<&Rule>| {
                    let met = clients.iter().map(|client| walk.meets_first(nat, client, rule));
                    met.max().unwrap_or(Truth::No)
                };
                if meets(self, &now, Some(forward)) == Truth::No {
                    continue;
                }
                let then = after.face_translations(packet);
                let rules = then.iter().map(|facing| Some(facing.rule));
                let itself = std::iter::once(None).filter(|_| forward.to.host != "any");
                for translation in rules.chain(itself) {
                    let met = meets(after, &then, translation);
                    let led = after.lead_elsewhere(outside, door, translation);
                    let Some(mut led) = led.filter(|_| met > Truth::No) else { continue };
                    led.path.certain &= met == Truth::Yes;
                    let is_new = !found.iter().any(|other| {
                        (&other.path.rule, &other.path.interface)
                            == (&led.path.rule, &led.path.interface)
                    });
                    found.extend(is_new.then_some(led));
                }
            }
        }
        found.truncate(NAMED);
        found
    }

    /// Follows where a translation leads from a door, or without one to the firewall itself, and who is let in there. `None`
    /// where that is the service, and where the firewall itself lets nothing in.
    fn lead_elsewhere(
        &self,
        outside: &OutsideDevice,
        door: End,
        translation: Option<&'r Rule>,
    ) -> Option<DoorElsewhere> {
        let addresses = &self.around.addresses;
        let end = match translation {
            None => Some(door),
            Some(rule) => {
                let hosts = rule.target_hosts();
                let host = hosts.first().copied()?;
                if rule.action == Action::Binat {
                    let inside = host_network(&rule.from.host);
                    let moved = inside.zip(host_network(host));
                    let moved = moved.and_then(|(inside, host)| moved_into(inside, host, door.0));
                    moved.map(|address| (address, door.1))
                } else if self.leads_to_service(rule) == Truth::No {
                    let networks = self.known_networks(host).unwrap_or_default();
                    networks.first().map(IpNet::addr).zip(inside_port(rule, door.1))
                } else {
                    return None;
                }
            }
        };
        if end.is_some_and(|(address, _)| addresses.contains(&address)) {
            return None;
        }
        let rule = translation.map(|rule| rule.text.clone()).unwrap_or_default();
        let mut path = new_path(outside, door, end.unwrap_or(door), rule);
        let Some(end) = end else {
            path.leads_to = translation.map(Rule::target_hosts)?.join(", ");
            return Some(DoorElsewhere { path, admits: true });
        };
        let mut crossing = self.crossing(outside, door, end, translation);
        if translation.is_none() {
            crossing.lane.exit.clear();
        }
        let truth = self.admits_anyone(&crossing, door.0.is_ipv6(), &mut path);
        path.certain = truth != Truth::Maybe && outside.certain;
        let admits = truth > Truth::No;
        if translation.is_none() {
            path.rule = path.passed_by.clone().filter(|_| admits)?;
        }
        Some(DoorElsewhere { path, admits })
    }
}
