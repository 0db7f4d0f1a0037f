//! Where a vantage is, as far as addresses tell.

use std::net::IpAddr;

use super::Place;
use crate::domain::pfsense::freebsd::InterfaceAddress;
use crate::domain::virusprot::entries::is_private;

/// What is known about the way from a vantage.
#[derive(Clone, Copy, Debug)]
pub struct VantageSurroundings<'a> {
    /// The address that is tried.
    pub target: IpAddr,
    /// The firewall's own addresses.
    pub interfaces: &'a [InterfaceAddress],
    /// Its default gateway: the network that holds it is the outside.
    pub gateway: Option<IpAddr>,
}

/// Judges a vantage by the address it is known by. Without one it passes for outside: what the firewall sees of it
/// decides then.
pub fn by_address(address: Option<IpAddr>, around: VantageSurroundings<'_>) -> Place {
    let VantageSurroundings {
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

/// What is known about this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Machine {
    /// The address that the configuration gives it: a claim, which proves nothing alone.
    pub configured: Option<IpAddr>,
    /// Where the firewall sees our SSH connection come from.
    pub seen_by_firewall: Option<IpAddr>,
    /// Our SSH connection goes to the firewall itself, not through a jump host, which is what it would see then.
    pub direct: bool,
    /// The address that the system would send from; `None` without a route.
    pub source: Option<IpAddr>,
    /// The private address that the system's resolver gives the public name.
    pub told_inside: Option<IpAddr>,
}

/// Judges this machine: it counts only where the firewall sees it come from outside, a way there exists, and nothing
/// speaks against it.
pub fn of_this_machine(machine: Machine, around: VantageSurroundings<'_>) -> Place {
    let Some(source) = machine.source else {
        return Place::Unproven(format!("this machine has no route to {}", around.target));
    };
    if source == around.target {
        return Place::Inside("the address that was tried is this machine's own".to_owned());
    }
    let known = [machine.seen_by_firewall, machine.configured];
    for address in known {
        let place = by_address(address, around);
        if place != Place::Outside {
            return place;
        }
    }
    let against = match (machine.seen_by_firewall, machine.configured) {
        (None, _) => Some("the firewall does not tell from which address this machine comes".to_owned()),
        _ if !machine.direct => Some(
            "the firewall is reached through a jump host or proxy, and that is what it sees".to_owned(),
        ),
        (Some(seen), Some(configured)) if seen != configured => Some(format!(
            "its configured address is {configured}, but the firewall sees it come from {seen}"
        )),
        _ => machine.told_inside.map(|address| {
            format!("its resolver gives the public name the private address {address}, as the inside is told")
        }),
    };
    against.map_or(Place::Outside, Place::Unproven)
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
        let around = VantageSurroundings {
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
        let around = VantageSurroundings {
            target: "192.0.2.1".parse().unwrap(),
            interfaces: &[],
            gateway: None,
        };
        let address = |text: &str| text.parse().ok();
        let judged = |seen: &str, source: &str| {
            let machine = Machine {
                seen_by_firewall: address(seen),
                direct: true,
                source: address(source),
                ..Machine::default()
            };
            of_this_machine(machine, around)
        };
        assert_eq!(judged("198.51.100.10", "192.168.43.7"), Place::Outside);
        assert!(matches!(judged("10.0.10.7", "10.0.10.7"), Place::Inside(_)));
        assert!(matches!(judged("", "198.51.100.10"), Place::Unproven(_)));
        assert!(matches!(judged("198.51.100.10", ""), Place::Unproven(_)));
        assert!(matches!(
            judged("198.51.100.10", "192.0.2.1"),
            Place::Inside(_)
        ));
    }

    #[test]
    fn a_configured_address_is_a_claim_and_what_speaks_against_it_wins() {
        let around = VantageSurroundings {
            target: "192.0.2.1".parse().unwrap(),
            interfaces: &[],
            gateway: None,
        };
        let address = |text: &str| text.parse().ok();
        let outside = Machine {
            configured: address("198.51.100.10"),
            seen_by_firewall: address("198.51.100.10"),
            direct: true,
            source: address("192.168.43.7"),
            told_inside: None,
        };
        assert_eq!(of_this_machine(outside, around), Place::Outside);
        for seen in ["10.0.10.5", "192.0.2.1"] {
            let inside = Machine {
                seen_by_firewall: address(seen),
                ..outside
            };
            let place = of_this_machine(inside, around);
            assert!(matches!(place, Place::Inside(_)), "{seen}: {place:?}");
        }
        for (against, word) in [
            (
                Machine {
                    seen_by_firewall: address("203.0.113.9"),
                    ..outside
                },
                "203.0.113.9",
            ),
            (
                Machine {
                    seen_by_firewall: None,
                    ..outside
                },
                "does not tell",
            ),
            (
                Machine {
                    direct: false,
                    ..outside
                },
                "jump host",
            ),
            (
                Machine {
                    told_inside: address("10.0.20.202"),
                    ..outside
                },
                "resolver",
            ),
        ] {
            match of_this_machine(against, around) {
                Place::Unproven(why) => assert!(why.contains(word), "{why}"),
                other => panic!("{word}: {other:?}"),
            }
        }
    }
}
