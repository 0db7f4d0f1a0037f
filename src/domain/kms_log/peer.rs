//! The far end of a connection as the log names it: `192.168.1.230:53140` or `[fe80::1%eth0]:50123`.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// Address and port of a client. The scope id of a link-local address is dropped and an IPv4 address mapped
/// into IPv6 is unmapped, so that one client has one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Peer {
    pub address: IpAddr,
    pub port: u16,
}

impl Peer {
    /// Reads what stands between `accepted: ` or `closed: ` and the final dot; port 0 exists in no connection.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let colon = memchr::memrchr(b':', text)?;
        let (address, port) = (text.get(..colon)?, text.get(colon + 1..)?);
        let port = parse_port(port)?;
        let address = match address.strip_prefix(b"[") {
            Some(rest) => parse_v6(rest.strip_suffix(b"]")?)?,
            None => IpAddr::V4(std::str::from_utf8(address).ok()?.parse().ok()?),
        };
        Some(Self { address, port })
    }
}

fn parse_port(digits: &[u8]) -> Option<u16> {
    if digits.is_empty() || digits.len() > 5 {
        return None;
    }
    let mut port = 0_u32;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        port = port * 10 + u32::from(digit - b'0');
    }
    u16::try_from(port).ok().filter(|&port| port != 0)
}

fn parse_v6(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let (bare, scope) =
        text.split_once('%').map_or((text, None), |(bare, scope)| (bare, Some(scope)));
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-@".contains(&byte);
    if scope.is_some_and(|scope| scope.is_empty() || !scope.bytes().all(plain)) {
        return None;
    }
    Some(IpAddr::V6(bare.parse::<Ipv6Addr>().ok()?).to_canonical())
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            IpAddr::V4(address) => write!(f, "{address}:{}", self.port),
            IpAddr::V6(address) => write!(f, "[{address}]:{}", self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Option<String> {
        Peer::parse(text.as_bytes()).map(|peer| peer.to_string())
    }

    #[test]
    fn both_families_scopes_and_mapped_addresses_are_read() {
        assert_eq!(shown("192.168.1.230:53140").as_deref(), Some("192.168.1.230:53140"));
        assert_eq!(shown("[2001:db8::1]:50123").as_deref(), Some("[2001:db8::1]:50123"));
        assert_eq!(shown("[fe80::1%eth0]:50123").as_deref(), Some("[fe80::1]:50123"));
        assert_eq!(shown("[::ffff:203.0.113.9]:50123").as_deref(), Some("203.0.113.9:50123"));
    }

    #[test]
    fn what_is_no_peer_is_refused() {
        for wrong in [
            "",
            ":",
            "1.2.3.4",
            "1.2.3.4:",
            "1.2.3.4:0",
            "1.2.3.4:65536",
            "1.2.3.4:+1",
            "1.2.3:5",
            "2001:db8::1:5",
            "[2001:db8::1]5",
            "[::1%]:5",
            "[::1%a b]:5",
            "[1.2.3.4]:5",
            "01.2.3.4:5",
        ] {
            assert_eq!(shown(wrong), None, "{wrong}");
        }
    }
}
