//! Where a vantage is, as far as addresses tell.

use std::net::IpAddr;

use super::Place;
use crate::domain::blocked::is_private;
use crate::domain::freebsd::InterfaceAddress;

/// What is known about the way from a vantage.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// The address that is tried.
    pub target: IpAddr,
    /// The firewall's own addresses.
    pub interfaces: &'a [InterfaceAddress],
    /// Its default gateway: the network that holds it is the outside.
    pub gateway: Option<IpAddr>,
}

/// Judges a vantage by the address it is known by. Without one it passes for outside: what the firewall sees of it
/// decides then.
pub fn by_address(address: Option<IpAddr>, around: Surroundings<'_>) -> Place {
    let Surroundings {
        target,
        interfaces,
        gateway,
    } = around;
    if is_private(&target) {
        return Place::Inside(format!(
            "the address that was tried, {target}, is a private one (split horizon?)"
        ));
    }
    let Some(address) = address else {
        return Place::Outside;
    };
    let outside = |net: &ipnet::IpNet| {
        net.contains(&target) || gateway.is_some_and(|gateway| net.contains(&gateway))
    };
    if address == target || interfaces.iter().any(|own| own.net.addr() == address) {
        Place::Inside(format!("its address {address} is the firewall's own"))
    } else if is_private(&address) {
        Place::Inside(format!("its address {address} is a private one"))
    } else if interfaces
        .iter()
        .any(|own| own.net.contains(&address) && !outside(&own.net))
    {
        Place::Inside(format!(
            "its address {address} is in a network behind the firewall"
        ))
    } else {
        Place::Outside
    }
}

/// Judges this machine: it counts only where the firewall sees it come from outside and a way there exists. `source`
/// is the address that the system would send from.
pub fn of_this_machine(
    seen_by_firewall: Option<IpAddr>,
    source: Option<IpAddr>,
    around: Surroundings<'_>,
) -> Place {
    let Some(source) = source else {
        return Place::Unproven(format!("this machine has no route to {}", around.target));
    };
    if source == around.target {
        return Place::Inside("the address that was tried is this machine's own".to_owned());
    }
    match (seen_by_firewall, by_address(seen_by_firewall, around)) {
        (Some(_), place) => place,
        (None, inside @ Place::Inside(_)) => inside,
        (None, _) => Place::Unproven(
            "the firewall does not tell from which address this machine comes".to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(address: &str, target: &str) -> Place {
        let interfaces: Vec<InterfaceAddress> = [
            ("wan", "192.0.2.1/24"),
            ("lan", "10.0.20.1/24"),
            ("dmz", "203.0.113.1/28"),
        ]
        .map(|(interface, net)| InterfaceAddress {
            interface: interface.into(),
            net: net.parse().unwrap(),
        })
        .into();
        let around = Surroundings {
            target: target.parse().unwrap(),
            interfaces: &interfaces,
            gateway: Some("192.0.2.254".parse().unwrap()),
        };
        by_address(address.parse().ok(), around)
    }

    #[test]
    fn addresses_of_the_inside_are_told() {
        for (address, target) in [
            ("192.0.2.1", "192.0.2.1"),
            ("10.0.10.5", "192.0.2.1"),
            ("203.0.113.5", "192.0.2.1"),
            ("203.0.113.1", "192.0.2.1"),
            ("198.51.100.1", "10.0.20.202"),
            ("", "10.0.20.202"),
        ] {
            assert!(
                matches!(place(address, target), Place::Inside(_)),
                "{address} {target}"
            );
        }
        for address in ["198.51.100.10", "192.0.2.9", ""] {
            assert_eq!(place(address, "192.0.2.1"), Place::Outside, "{address}");
        }
    }

    #[test]
    fn this_machine_must_be_seen_coming_from_outside() {
        let around = Surroundings {
            target: "192.0.2.1".parse().unwrap(),
            interfaces: &[],
            gateway: None,
        };
        let address = |text: &str| text.parse().ok();
        let judged =
            |seen: &str, source: &str| of_this_machine(address(seen), address(source), around);
        assert_eq!(judged("198.51.100.10", "192.168.43.7"), Place::Outside);
        assert!(matches!(judged("10.0.10.7", "10.0.10.7"), Place::Inside(_)));
        assert!(matches!(judged("", "198.51.100.10"), Place::Unproven(_)));
        assert!(matches!(judged("198.51.100.10", ""), Place::Unproven(_)));
        assert!(matches!(
            judged("198.51.100.10", "192.0.2.1"),
            Place::Inside(_)
        ));
    }
}
