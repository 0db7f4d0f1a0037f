//! Does this rule concern the service? Addresses and ports as pfctl prints them, and as config.xml spells them.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::domain::configured::Side;
use crate::domain::pf::rule::{Direction, Endpoint, Family, Rule};
use crate::domain::service::Service;

/// Returns whether a printed port condition (`= 1688`, `25:587`, `1000 >< 2000`, …) includes the port.
///
/// Names of services are read as other ports: 1688 has none in FreeBSD's list.
pub fn port_included(printed: Option<&str>, port: u16) -> bool {
    let Some(printed) = printed else { return true };
    let number = |text: &str| text.trim().parse::<u16>().ok();
    let words: Vec<&str> = printed.split_ascii_whitespace().collect();
    match *words.as_slice() {
        ["=", value] => number(value) == Some(port),
        ["!=", value] => number(value) != Some(port),
        ["<", value] => number(value).is_some_and(|value| port < value),
        ["<=", value] => number(value).is_some_and(|value| port <= value),
        [">", value] => number(value).is_some_and(|value| port > value),
        [">=", value] => number(value).is_some_and(|value| port >= value),
        // Both exclude the two ends themselves: 1000 >< 2000 is within, 1000 <> 2000 without.
        [low, "><", high] => number(low)
            .zip(number(high))
            .is_some_and(|(low, high)| low < port && port < high),
        [low, "<>", high] => number(low)
            .zip(number(high))
            .is_some_and(|(low, high)| port < low || high < port),
        [range] => match range.split_once(':') {
            Some((low, high)) => number(low)
                .zip(number(high))
                .is_some_and(|(low, high)| low <= port && port <= high),
            None => number(range) == Some(port),
        },
        _ => false,
    }
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
    host == service.alias || network(host) == Some(IpNet::from(service.address))
}

/// Returns whether an endpoint includes the service's address: `any`, a network or range around it, or itself.
///
/// What other tables and interfaces' own addresses hold is not known from the rules; they count as not including it.
pub fn includes_service(endpoint: &Endpoint, service: &Service) -> bool {
    let host = endpoint.host.as_str();
    let included = if host == "any" || names_service(host, service) {
        true
    } else if let Some((low, high)) = host.split_once(" - ") {
        let bounds = low
            .trim()
            .parse::<IpAddr>()
            .ok()
            .zip(high.trim().parse::<IpAddr>().ok());
        bounds.is_some_and(|(low, high)| low <= service.address && service.address <= high)
    } else if let Some(network) = network(host) {
        network.contains(&service.address)
    } else {
        return false;
    };
    included != endpoint.negated
}

/// Returns whether every outside client can be the source.
pub fn from_anywhere(rule: &Rule) -> bool {
    rule.from.host == "any" && !rule.from.negated && rule.from.port.is_none()
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
    /// It looks at packets of the device.
    Device,
    /// It does not.
    Elsewhere,
    /// An interface group, which may have the device as a member.
    Group,
}

/// Says whether a rule looks at packets of the device; an unknown device is every one.
pub fn on(rule: &Rule, device: Option<&str>) -> On {
    let (Some(interface), Some(device)) = (&rule.interface, device) else {
        return On::Device;
    };
    if (interface.name == device) != interface.negated {
        return On::Device;
    }
    // A device's name ends in its number; pf forbids that for groups. The built-in groups hold no outside device.
    let numbered = interface
        .name
        .ends_with(|letter: char| letter.is_ascii_digit());
    let inner = [
        "openvpn",
        "ipsec",
        "wireguard",
        "l2tp",
        "pppoe",
        "enc",
        "lo",
    ];
    if numbered
        || interface.negated
        || inner
            .iter()
            .any(|name| interface.name.eq_ignore_ascii_case(name))
    {
        On::Elsewhere
    } else {
        On::Group
    }
}

/// Returns whether a configured port field covers the port; `None` for an alias, whose ports are not known here.
pub fn field_covers(field: Option<&str>, port: u16) -> Option<bool> {
    let Some(field) = field.map(str::trim).filter(|field| !field.is_empty()) else {
        return Some(true);
    };
    if let Ok(number) = field.parse::<u16>() {
        return Some(number == port);
    }
    let (low, high) = field.split_once(['-', ':'])?;
    let (low, high) = (low.parse::<u16>().ok()?, high.parse::<u16>().ok()?);
    Some((low..=high).contains(&port))
}

/// Returns whether a configured protocol includes TCP; absent is any.
pub fn protocol_has_tcp(protocol: Option<&str>) -> bool {
    matches!(
        protocol.map(str::trim),
        None | Some("" | "any" | "tcp" | "tcp/udp")
    )
}

/// Returns whether a configured destination is exactly the service, on its port.
pub fn side_is_service(side: &Side, service: &Service) -> bool {
    let address = side.address.as_deref().map(str::trim);
    !side.not
        && address.is_some_and(|address| names_service(address, service))
        && field_covers(side.port.as_deref(), service.port) != Some(false)
}

fn network(host: &str) -> Option<IpNet> {
    host.parse::<IpNet>()
        .ok()
        .or_else(|| host.parse::<IpAddr>().ok().map(IpNet::from))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::exposure::fixtures::service;

    fn endpoint(host: &str) -> Endpoint {
        match host.strip_prefix("! ") {
            Some(host) => Endpoint {
                negated: true,
                host: host.into(),
                port: None,
            },
            None => Endpoint {
                negated: false,
                host: host.into(),
                port: None,
            },
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
        ] {
            assert!(includes_service(&endpoint(host), &service()), "{host}");
        }
        for host in [
            "<k8s_shared_lb>",
            "10.0.20.200",
            "(vtnet0)",
            "(self)",
            "no-route",
            "! 10.0.20.0/24",
            "! any",
            "! <virusprot>",
            "::/0",
        ] {
            assert!(!includes_service(&endpoint(host), &service()), "{host}");
        }
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

    #[test]
    fn configured_port_fields() {
        assert_eq!(field_covers(Some("1688"), 1688), Some(true));
        assert_eq!(field_covers(Some("1600-1700"), 1688), Some(true));
        assert_eq!(field_covers(Some("443"), 1688), Some(false));
        assert_eq!(
            field_covers(Some(""), 1688),
            Some(true),
            "an empty element is any port"
        );
        assert_eq!(field_covers(Some("kms_ports"), 1688), None);
        assert_eq!(field_covers(Some("a-b"), 1688), None);
    }
}
