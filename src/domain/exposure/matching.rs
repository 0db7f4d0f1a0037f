//! Does this rule concern the service? Addresses and ports as pfctl prints them.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::domain::pf::rule::{Direction, Endpoint, Family, Interface, Rule};
use crate::domain::service::Service;

/// Returns whether a printed port condition (`= 1688`, `25:587`, `1000 >< 2000`, …) includes the port.
///
/// Names of services are read as other ports: 1688 has none in FreeBSD's list.
pub fn port_included(printed: Option<&str>, port: u16) -> bool {
    let Some(printed) = printed else { return true };
    let ranges = printed_port_ranges(printed);
    ranges.iter().flatten().any(|(low, high)| (*low..=*high).contains(&port))
}

/// Returns the ports of a printed condition as ranges, the ends included, the lowest first; `None` where it has a name.
pub(super) fn printed_port_ranges(printed: &str) -> Option<Vec<(u16, u16)>> {
    let number = |text: &str| text.trim().parse::<u16>().ok().map(i32::from);
    let last = i32::from(u16::MAX);
    let words: Vec<&str> = printed.split_ascii_whitespace().collect();
    let ranges = match *words.as_slice() {
        ["=", value] => vec![(number(value)?, number(value)?)],
        ["!=", value] => vec![(0, number(value)? - 1), (number(value)? + 1, last)],
        ["<", value] => vec![(0, number(value)? - 1)],
        ["<=", value] => vec![(0, number(value)?)],
        [">", value] => vec![(number(value)? + 1, last)],
        [">=", value] => vec![(number(value)?, last)],
        // Both exclude the two ends themselves: 1000 >< 2000 is within, 1000 <> 2000 without.
        [low, "><", high] => vec![(number(low)? + 1, number(high)? - 1)],
        [low, "<>", high] => vec![(0, number(low)? - 1), (number(high)? + 1, last)],
        [range] => {
            let (low, high) = range.split_once(':').unwrap_or((range, range));
            vec![(number(low)?, number(high)?)]
        }
        _ => return None,
    };
    let ports = |(low, high): (i32, i32)| u16::try_from(low).ok().zip(u16::try_from(high).ok());
    Some(ranges.into_iter().filter_map(ports).filter(|(low, high)| low <= high).collect())
}

/// Returns whether an endpoint is exactly the service: its alias's table, or its address.
pub fn is_service(endpoint: &Endpoint, service: &Service) -> bool {
    !endpoint.negated && names_service(&endpoint.host, service)
}

/// Returns whether an address, network or `<table>` is exactly the service.
pub fn names_service(host: &str, service: &Service) -> bool {
    if let Some(table) = table_name(host) {
        return table == service.alias;
    }
    host == service.alias || host_network(host) == Some(IpNet::from(service.address))
}

/// Whether something holds, as far as the rules show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Truth {
    No,
    /// What a table or an interface's network holds is not in the rules; of two clients one can, or one more.
    Maybe,
    #[default]
    Yes,
}

impl Truth {
    pub(super) fn from_bool(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }

    pub(super) fn negated_if(self, negated: bool) -> Self {
        match (self, negated) {
            (Self::Yes, true) => Self::No,
            (Self::No, true) => Self::Yes,
            (truth, _) => truth,
        }
    }
}

/// Says whether an endpoint includes the service's address: `any`, a network or range around it, or itself.
///
/// Other tables and networks of interfaces may; the firewall's own addresses (`(self)`, `(vtnet0)`) do not.
pub fn endpoint_includes(endpoint: &Endpoint, service: &Service) -> Truth {
    let included = if table_name(&endpoint.host).is_some() || endpoint.host == service.alias {
        if names_service(&endpoint.host, service) { Truth::Yes } else { Truth::Maybe }
    } else {
        host_holds(&endpoint.host, service.address)
    };
    included.negated_if(endpoint.negated)
}

/// Returns whether an endpoint certainly includes the service's address; see [`endpoint_includes`].
pub fn includes_service(endpoint: &Endpoint, service: &Service) -> bool {
    endpoint_includes(endpoint, service) == Truth::Yes
}

/// Says whether a printed host holds an address that is not the firewall's own.
fn host_holds(host: &str, address: IpAddr) -> Truth {
    plain_host_holds(host, address).unwrap_or_else(|| {
        // `:0` is the first address alone; `:network`, `:peer` and `:broadcast` are more than the firewall's own.
        let own = host.starts_with('(') && (!host.contains(':') || host.ends_with(":0)"));
        if own { Truth::No } else { Truth::Maybe }
    })
}

/// Says whether a printed host holds an address; `None` where it is neither `any` nor a range, network or address.
pub(super) fn plain_host_holds(host: &str, address: IpAddr) -> Option<Truth> {
    if host == "any" {
        return Some(Truth::Yes);
    }
    let holds = match host_range(host) {
        Some((low, high)) => low <= address && address <= high,
        None => host_network(host)?.contains(&address),
    };
    Some(Truth::from_bool(holds))
}

/// Says whether a connection to the outside address that `ours` is for meets `other` too; `outside` is the first
/// address of the outside device, where it is known.
pub fn same_place(other: &Endpoint, ours: &Endpoint, outside: Option<IpAddr>) -> Truth {
    if !other.negated && (other.host == "any" || other.host == ours.host && !ours.negated) {
        return Truth::Yes;
    }
    // `(vtnet0)` is every address of the device; only the first one is known here.
    let address = |endpoint: &Endpoint| {
        let own = endpoint.host.starts_with('(') && !endpoint.host.contains(":network");
        let single = || endpoint.host.parse::<IpAddr>().ok();
        if own { outside } else { single() }.filter(|_| !endpoint.negated)
    };
    let Some(wanted) = address(ours) else {
        return Truth::Maybe;
    };
    let held = match address(other) {
        Some(first) if first == wanted => Truth::Yes,
        // The device may have more addresses.
        _ if other.host.starts_with('(') => Truth::Maybe,
        Some(_) => Truth::No,
        None => host_holds(&other.host, wanted),
    };
    held.negated_if(other.negated)
}

/// How much of the outside can be the source of what a rule looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sources {
    All,
    /// Nearly everybody: all but some, or a network that is wider than any private one.
    Most,
    /// Some, or who is not known from the rules (a table).
    Some,
    /// None.
    None,
}

/// Says how much of the outside a rule's `from` is.
///
/// The widest private network is a /8 (10.0.0.0/8, RFC 1918), and people list friends or offenders by no wider ones:
/// what is shorter than that is a part of the Internet at large. A single source port is chosen by the client, so it
/// admits those who know it; a range of ports admits nearly everybody.
pub fn rule_sources(rule: &Rule) -> Sources {
    let from = &rule.from;
    let hosts = match (from.host.as_str(), from.negated) {
        ("any", false) => Sources::All,
        ("any", true) => Sources::None,
        (host, negated) => match (host_width(host), negated) {
            (Some(0), false) => Sources::All,
            (Some(0), true) => Sources::None,
            (Some(bits), false) if bits < WIDE => Sources::Most,
            (_, true) => Sources::Most,
            (_, false) => Sources::Some,
        },
    };
    match from.port.as_deref() {
        Some(port) if port.starts_with("= ") && hosts != Sources::None => Sources::Some,
        Some(_) if hosts == Sources::All => Sources::Most,
        _ => hosts,
    }
}

/// Prefix length from which a network can be a private one.
pub(super) const WIDE: u8 = 8;

/// Returns the prefix length of a network, or of the widest network that fits into a range.
fn host_width(host: &str) -> Option<u8> {
    if let Some((low, high)) = host_range(host) {
        let bits = |address: IpAddr| match address {
            IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
            IpAddr::V6(address) => address.to_bits(),
        };
        let span = bits(high).checked_sub(bits(low))?;
        // A range never is everybody: pf prints that as `any`.
        return u8::try_from(span.leading_zeros().max(1)).ok();
    }
    host_network(host).map(|network| network.prefix_len())
}

pub(super) fn host_range(host: &str) -> Option<(IpAddr, IpAddr)> {
    let (low, high) = host.split_once(" - ")?;
    low.trim().parse().ok().zip(high.trim().parse().ok())
}

/// Returns whether every outside client can be the source.
pub fn from_anywhere(rule: &Rule) -> bool {
    rule_sources(rule) == Sources::All
}

/// Returns the name between `<` and `>`, without a count (`:1`).
pub fn table_name(host: &str) -> Option<&str> {
    let name = host.strip_prefix('<')?.strip_suffix('>')?;
    Some(name.split_once(':').map_or(name, |(name, _)| name))
}

/// Returns whether the target of a loaded redirection (what follows `->`) is the service.
pub fn target_is_service(target: Option<&str>, service: &Service) -> bool {
    let first = target.and_then(|target| target.split_ascii_whitespace().next());
    first.is_some_and(|host| names_service(host, service))
}

/// Returns whether a rule looks at inbound TCP of the service's family.
pub fn sees_inbound_tcp(rule: &Rule, service: &Service) -> bool {
    let family = match rule.family {
        Some(Family::Inet) => service.address.is_ipv4(),
        Some(Family::Inet6) => service.address.is_ipv6(),
        None => true,
    };
    family
        && rule.direction != Some(Direction::Out)
        && rule.protocol.as_deref().is_none_or(|name| name == "tcp")
}

/// How a loaded rule's `on …` relates to the outside device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    Device,
    /// It does not.
    Elsewhere,
    /// An interface group, which may have the device as a member.
    Group,
}

/// Says whether a rule looks at packets of the device; an unknown device is every one.
pub fn looks_at_device(rule: &Rule, device: Option<&str>) -> On {
    match (&rule.interface, device) {
        (Some(interface), Some(device)) => on_interface(interface, device),
        _ => On::Device,
    }
}

/// How pfSense's name of a device for IPv6 by 6rd or 6to4 ends: `wan_stf`.
pub(super) const TUNNEL_END: &str = "_stf";

/// Says how an interface of a rule relates to a device.
pub(super) fn on_interface(interface: &Interface, device: &str) -> On {
    if (interface.name == device) != interface.negated {
        return On::Device;
    }
    // A device's name ends in its number; pf forbids that for groups.
    let numbered = interface.name.ends_with(|letter: char| letter.is_ascii_digit())
        || interface.name.ends_with(TUNNEL_END);
    // The built-in groups and the devices in them.
    let groups: [(&str, &[&str]); 7] = [
        ("openvpn", &["ovpn"]),
        ("ipsec", &["ipsec", "enc"]),
        ("wireguard", &["tun_wg", "wg"]),
        ("l2tp", &["l2tps"]),
        ("pppoe", &["poes"]),
        ("enc", &["enc"]),
        ("lo", &["lo"]),
    ];
    let group = groups.iter().find(|(group, _)| interface.name.eq_ignore_ascii_case(group));
    match group {
        Some((_, devices)) if devices.iter().any(|start| device.starts_with(start)) => On::Device,
        None if !numbered && !interface.negated => On::Group,
        _ => On::Elsewhere,
    }
}

pub(super) fn host_network(host: &str) -> Option<IpNet> {
    host.parse::<IpNet>().ok().or_else(|| host.parse::<IpAddr>().ok().map(IpNet::from))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::exposure::fixtures::service;

    fn endpoint(host: &str) -> Endpoint {
        match host.strip_prefix("! ") {
            Some(host) => Endpoint { negated: true, host: host.into(), ..Endpoint::default() },
            None => Endpoint { host: host.into(), ..Endpoint::default() },
        }
    }

    #[test]
    fn printed_ports() {
        for covering in [
            "= 1688",
            "1000:2000",
            "1688:1688",
            "1687 >< 1689",
            "> 1024",
            "<= 1688",
            "!= 22",
            "1 <> 1687",
        ] {
            assert!(port_included(Some(covering), 1688), "{covering}");
        }
        for other in [
            "= 443",
            "= ssh",
            "1:1024",
            "1688 >< 1690",
            "< 1688",
            "!= 1688",
            "1600 <> 1700",
            "",
            "= 1688 x",
        ] {
            assert!(!port_included(Some(other), 1688), "{other}");
        }
        assert!(port_included(None, 1688), "no condition is every port");
    }

    #[test]
    fn hosts_that_include_the_service() {
        for host in [
            "any",
            "<k8s_kms_lb>",
            "<k8s_kms_lb:1>",
            "10.0.20.202",
            "10.0.20.0/24",
            "10.0.20.200 - 10.0.20.210",
            "! 10.0.10.0/24",
            "! (self)",
        ] {
            assert!(includes_service(&endpoint(host), &service()), "{host}");
        }
        for host in [
            "10.0.20.200",
            "(vtnet0)",
            "(vtnet0:0)",
            "(self)",
            "! 10.0.20.0/24",
            "! any",
            "! <k8s_kms_lb>",
            "::/0",
        ] {
            assert_eq!(endpoint_includes(&endpoint(host), &service()), Truth::No, "{host}");
        }
        for host in ["<k8s_shared_lb>", "! <virusprot>", "(vtnet2:network)", "no-route"] {
            assert_eq!(endpoint_includes(&endpoint(host), &service()), Truth::Maybe, "{host}");
        }
    }

    #[test]
    fn how_much_of_the_outside_a_source_is() {
        let of = |from: &str| {
            let text = format!("pass in quick on vtnet0 inet proto tcp from {from} to any");
            rule_sources(&crate::domain::exposure::fixtures::printed(&text))
        };
        for from in ["any", "0.0.0.0/0"] {
            assert_eq!(of(from), Sources::All, "{from}");
        }
        for from in [
            "! <friends:2>",
            "! 203.0.113.7",
            "0.0.0.0/1",
            "64.0.0.0/7",
            "any port > 1023",
            "any port 1024:65535",
            "1.0.0.0 - 223.255.255.255",
        ] {
            assert_eq!(of(from), Sources::Most, "{from}");
        }
        for from in [
            "<friends:2>",
            "203.0.113.7",
            "10.0.0.0/8",
            "any port = 53",
            "(vtnet0:network)",
            "203.0.113.7 - 203.0.113.9",
        ] {
            assert_eq!(of(from), Sources::Some, "{from}");
        }
        assert_eq!(of("! any"), Sources::None);
    }

    #[test]
    fn two_spellings_of_an_outside_address() {
        let outside = "192.168.1.2".parse().ok();
        let place = |other: &str, ours: &str, outside| {
            same_place(&endpoint(other), &endpoint(ours), outside)
        };
        let ours = "192.168.1.2";
        for other in ["192.168.1.2", "any", "(vtnet0)", "(self)", "192.168.1.0/24", "! 10.0.0.1"] {
            assert_eq!(place(other, ours, outside), Truth::Yes, "{other}");
        }
        for other in ["192.168.1.3", "! 192.168.1.2", "10.0.0.0/8"] {
            assert_eq!(place(other, ours, outside), Truth::No, "{other}");
        }
        assert_eq!(place("(vtnet0)", ours, None), Truth::Maybe);
        assert_eq!(place("(vtnet0)", "192.168.1.9", outside), Truth::Maybe);
        assert_eq!(place("<vips>", ours, outside), Truth::Maybe);
        assert_eq!(place("192.168.1.2", "(vtnet0)", outside), Truth::Yes);
        assert_eq!(place("(vtnet0)", "(vtnet0)", None), Truth::Yes);
    }

    #[test]
    fn targets_as_pfctl_prints_them() {
        for target in [
            "<k8s_kms_lb> round-robin",
            "<k8s_kms_lb:1> port 1688 round-robin",
            "10.0.20.202 port 1688",
            "10.0.20.202",
        ] {
            assert!(target_is_service(Some(target), &service()), "{target}");
        }
        for target in ["<k8s_shared_lb> round-robin", "127.0.0.1 port 19000", ""] {
            assert!(!target_is_service(Some(target), &service()), "{target}");
        }
        assert!(!target_is_service(None, &service()));
    }
}
