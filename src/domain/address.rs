//! One spelling for one address: an IPv4 address also has an IPv6 form (`::ffff:198.51.100.7`), and both mean the
//! same host. Not for what pf matches: pf keeps the two families apart, so an entry in the mapped form never blocks
//! an IPv4 packet, and what is printed or handed to pfctl stays as it was.

use std::net::IpAddr;

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
    length
        .and_then(|length| Ipv4Net::new(address, length).ok())
        .map_or(net, IpNet::V4)
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(
            one("::ffff:0.0.0.0/95"),
            "::ffff:0.0.0.0/95",
            "wider than IPv4"
        );
        assert_eq!(one("10.0.20.0/24"), "10.0.20.0/24");
        assert_eq!(one("2001:db8::/32"), "2001:db8::/32");
    }
}
