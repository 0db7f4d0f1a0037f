//! One spelling for one address: an IPv4 address also has an IPv6 form (`::ffff:198.51.100.7`), and both mean the
//! same host. Not for what pf matches: pf keeps the two families apart, so an entry in the mapped form never blocks
//! an IPv4 packet, and what is printed or handed to pfctl stays as it was. And which addresses are public.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use ipnet::{IpNet, Ipv4Net};

/// Bits before the IPv4 address in its IPv6 form (RFC 4291, 2.5.5.2).
const MAPPED: u8 = 96;

/// Returns the IPv4 address that an IPv4-mapped IPv6 address stands for; any other address as it is.
pub fn canonical_address(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// Returns the IPv4 network that a network of IPv4-mapped IPv6 addresses stands for; any other network as it is.
pub fn canonical_net(net: IpNet) -> IpNet {
    let IpAddr::V4(address) = canonical_address(net.addr()) else {
        return net;
    };
    let length = match net {
        IpNet::V4(net) => Some(net.prefix_len()),
        IpNet::V6(net) => net.prefix_len().checked_sub(MAPPED),
    };
    length.and_then(|length| Ipv4Net::new(address, length).ok()).map_or(net, IpNet::V4)
}

/// Returns the IPv4 network that a network of an IPv6 transition stands for: of 6to4 (RFC 3056), or the clients of Teredo
/// (RFC 4380), whose bits are inverted. A network around such addresses stands for all of them.
pub fn embedded_net(net: &IpNet) -> Option<IpNet> {
    let IpNet::V6(net) = net else {
        return None;
    };
    if net.prefix_len() <= 16 && net.contains(&Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0)) {
        return Some(IpNet::V4(Ipv4Net::default()));
    }
    let (begin, high, low) = match net.addr().segments() {
        [0x2002, high, low, ..] => (16, high, low),
        [0x2001, 0, .., high, low] if net.prefix_len() > 96 => (96, !high, !low),
        _ => return None,
    };
    let address = Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    let length = net.prefix_len().saturating_sub(begin).min(32);
    Ipv4Net::new(address, length).ok().map(|net| IpNet::V4(net.trunc()))
}

/// Networks that no client on the internet has an address of (RFC 6890).
static SPECIAL: LazyLock<Vec<IpNet>> = LazyLock::new(|| {
    let networks = [
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "::/96",
        "::ffff:0:0/96",
        "64:ff9b::/96",
        "64:ff9b:1::/48",
        "fc00::/7",
        "fe80::/10",
        "ff00::/8",
    ];
    networks.iter().filter_map(|network| network.parse().ok()).collect()
});

/// Returns whether a network touches addresses that no client on the internet has, itself or as a part.
pub fn touches_special(net: &IpNet) -> bool {
    let net = canonical_net(*net);
    SPECIAL.iter().any(|special| special.contains(&net) || net.contains(special))
}

/// Returns whether a client on the internet can have the address; of IPv6, only `2000::/3` is given out.
pub fn is_public(address: IpAddr) -> bool {
    let given_out = match canonical_address(address) {
        IpAddr::V4(_) => true,
        IpAddr::V6(v6) => v6.segments().first().is_some_and(|first| first >> 13 == 1),
    };
    given_out && !touches_special(&IpNet::from(address))
}

/// Returns whether the address is of a network, a cable or a machine of its own: what a router in front translates.
/// Written without [`SPECIAL`], as it is asked of every entry and every state.
pub fn is_private(address: &IpAddr) -> bool {
    match canonical_address(*address) {
        IpAddr::V4(v4) => {
            let [first, second, ..] = v4.octets();
            let shared = first == 100 && (64..128).contains(&second);
            v4.is_private() || v4.is_link_local() || v4.is_loopback() || shared
        }
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_loopback() || is_link_local(address),
    }
}

pub fn is_link_local(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

/// Renders a network as pf does: a single address without its length.
pub fn network_text(net: &IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() { net.addr().to_string() } else { net.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_special_and_public_agree() {
        // Private; special, but no network's own; public; not given out yet.
        let judged = |text: &str| {
            let address: IpAddr = text.parse().unwrap();
            let special = touches_special(&IpNet::from(address));
            (is_private(&address), special, is_public(address))
        };
        for text in [
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "::1",
            "::ffff:10.0.0.1",
            "fd00::1",
            "fe80::1",
        ] {
            assert_eq!(judged(text), (true, true, false), "{text}");
        }
        for text in [
            "0.0.0.0",
            "224.0.0.1",
            "240.0.0.1",
            "::",
            "::10.0.0.1",
            "64:ff9b::1",
            "64:ff9b:1::1",
            "ff02::1",
        ] {
            assert_eq!(judged(text), (false, true, false), "{text}");
        }
        for text in [
            "100.128.0.1",
            "172.32.0.1",
            "198.51.100.7",
            "::ffff:198.51.100.7",
            "2001:db8::7",
            "3fff::1",
        ] {
            assert_eq!(judged(text), (false, false, true), "{text}");
        }
        assert_eq!(judged("4000::1"), (false, false, false));
    }

    #[test]
    fn a_network_that_holds_private_addresses_is_special() {
        let touches = |text: &str| touches_special(&text.parse().unwrap());
        assert!(touches("8.0.0.0/6") && touches("0.0.0.0/0") && touches("10.1.0.0/24"));
        assert!(!touches("198.51.100.0/24") && !touches("2001:db8::/32"));
    }

    #[test]
    fn transitions_hold_ipv4_networks() {
        let held = |text: &str| {
            let net = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
            embedded_net(&net.unwrap()).map(|net| net.to_string())
        };
        for (text, wanted) in [
            ("2002:a00:1::1", Some("10.0.0.1/32")),
            ("2002:c633:6407:5::/64", Some("198.51.100.7/32")),
            ("2002:a00::/24", Some("10.0.0.0/8")),
            ("2002::/16", Some("0.0.0.0/0")),
            ("2000::/3", Some("0.0.0.0/0")),
            ("2001:0:4136:e378:8000:63bf:f5ff:fffe", Some("10.0.0.1/32")),
            ("2001:0:4136:e378:8000:63bf:f5ff:0/112", Some("10.0.0.0/16")),
            ("2001:0:4136:e378::/64", None),
            ("2001:db8::f5ff:fffe", None),
            ("::ffff:10.0.0.1", None),
            ("10.0.0.1", None),
        ] {
            assert_eq!(held(text).as_deref(), wanted, "{text}");
        }
    }

    #[test]
    fn mapped_addresses_are_the_ipv4_ones() {
        let one = |text: &str| canonical_address(text.parse().unwrap()).to_string();
        assert_eq!(one("::ffff:198.51.100.7"), "198.51.100.7");
        assert_eq!(one("198.51.100.7"), "198.51.100.7");
        assert_eq!(one("2001:db8::7"), "2001:db8::7");
        assert_eq!(one("::198.51.100.7"), "::c633:6407", "not the mapped form");
    }

    #[test]
    fn mapped_networks_are_the_ipv4_ones() {
        let one = |text: &str| canonical_net(text.parse().unwrap()).to_string();
        assert_eq!(one("::ffff:198.51.100.7/128"), "198.51.100.7/32");
        assert_eq!(one("::ffff:10.0.0.0/104"), "10.0.0.0/8");
        assert_eq!(one("::ffff:0.0.0.0/95"), "::ffff:0.0.0.0/95", "wider than IPv4");
        assert_eq!(one("10.0.20.0/24"), "10.0.20.0/24");
        assert_eq!(one("2001:db8::/32"), "2001:db8::/32");
    }
}
