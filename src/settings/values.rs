//! Typed values out of configuration text. Each function says in its error what it wanted.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use ipnet::IpNet;

use crate::domain::pf::rule::Rate;
use crate::domain::pf::table::TableName;
use crate::domain::shell_word::ShellWord;
use crate::text::format_span;

/// Longest duration taken: ten years.
const LONGEST_SECONDS: u64 = 10 * 366 * 24 * 60 * 60;

/// Reads a duration: numbers with the units `d`, `h`, `m`, `s`, largest first, as in `1h30m`. A day is 24 hours.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let seconds = parse_span(text)?;
    if seconds > LONGEST_SECONDS {
        let longest = format_span(LONGEST_SECONDS);
        return Err(format!("`{text}` is too long; {longest} is the longest"));
    }
    Ok(Duration::from_secs(seconds))
}

/// Reads a duration in which something can happen.
pub fn parse_period(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        Duration::ZERO => Err("it must be at least 1s".to_owned()),
        period => Ok(period),
    }
}

/// Reads a span of time, however long, in seconds.
pub fn parse_span(text: &str) -> Result<u64, String> {
    let seconds = || {
        let mut rest = text;
        let mut seconds = 0_u64;
        for (unit, length) in [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)] {
            if let Some((number, tail)) = rest.split_once(unit) {
                let digits = number.bytes().all(|byte| byte.is_ascii_digit());
                let number: u64 = number.parse().ok().filter(|_| digits)?;
                seconds = seconds.saturating_add(number.saturating_mul(length));
                rest = tail;
            }
        }
        (!text.is_empty() && rest.is_empty()).then_some(seconds)
    };
    seconds().ok_or_else(|| format!("`{text}` is not a duration; write 90s, 15m, 2h, 1d or 1h30m"))
}

/// Reads a list, which commas separate.
pub fn parse_list<T>(
    text: &str,
    parse: impl FnMut(&str) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(parse).collect()
}

/// Reads what may be left empty.
pub fn parse_optional<T>(
    text: &str,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Result<Option<T>, String> {
    (!text.is_empty()).then(|| parse(text)).transpose()
}

pub fn parse_text(text: &str) -> Result<String, String> {
    if text.chars().any(char::is_control) {
        return Err("it holds a control character".to_owned());
    }
    Ok(text.to_owned())
}

/// Reads a text, or nothing.
pub fn parse_given(text: &str) -> Result<Option<String>, String> {
    parse_optional(text, parse_text)
}

/// Reads one of several words.
pub fn parse_word(text: &str, words: &[&'static str]) -> Result<&'static str, String> {
    words.iter().find(|word| **word == text).copied().ok_or_else(|| {
        let shown: Vec<&str> =
            words.iter().map(|word| if word.is_empty() { "\"\"" } else { word }).collect();
        format!("`{text}` is not one of {}", shown.join(", "))
    })
}

/// Reads a whole number from the first to the last.
pub fn parse_number<T: TryFrom<u64>>(text: &str, range: RangeInclusive<u64>) -> Result<T, String> {
    let number = text.parse().ok().filter(|number| range.contains(number));
    number.and_then(|number| T::try_from(number).ok()).ok_or_else(|| {
        format!("`{text}` is not a whole number from {} to {}", range.start(), range.end())
    })
}

/// Reads how many of something are wanted: none at all is never meant.
pub fn parse_count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if count > 0 => Ok(count),
        _ => Err(format!("`{text}` is not a whole number from 1")),
    }
}

pub fn parse_port(text: &str) -> Result<u16, String> {
    parse_number(text, 1..=65_535)
}

/// Reads a cap of connections.
pub fn parse_connections(text: &str) -> Result<u32, String> {
    parse_number(text, 1..=u64::from(u32::MAX))
}

pub fn parse_listen_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("`{text}` is not an address and a port, such as [::]:9101"))
}

pub fn parse_table_name(text: &str) -> Result<TableName, String> {
    TableName::new(text)
        .ok_or_else(|| format!("`{text}` is not a table name (1 to 31 letters, digits, _ - .)"))
}

pub fn parse_remote_path(text: &str) -> Result<ShellWord, String> {
    ShellWord::path(text)
        .ok_or_else(|| format!("`{text}` is not an absolute path of letters, digits and /._-+"))
}

/// Reads a name that becomes an argument of kubectl: one that looks like a flag would be taken for one.
pub fn parse_object_name(text: &str) -> Result<String, String> {
    if text.is_empty() || text.starts_with('-') {
        return Err(format!("`{text}` is not a name"));
    }
    parse_text(text)
}

/// Reads a literal address; names are refused, as resolving them would guess. An IPv4-mapped IPv6 address is the IPv4
/// address that pf knows it by.
pub fn parse_address(text: &str) -> Result<IpAddr, String> {
    text.parse::<IpAddr>()
        .map(|address| address.to_canonical())
        .map_err(|_| format!("`{text}` is not an IP address; names are not looked up here"))
}

/// An address or network as it was typed, or pasted out of what kmsctl prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypedNetwork {
    /// What is meant; an address is a network of one.
    pub net: IpNet,
    /// The port that stood beside an address, which means nothing here.
    pub port: Option<u16>,
}

/// Reads an address, a network in CIDR notation, or an address with a port as kmsctl prints it: `203.0.113.65:49396`,
/// `[2001:db8::1]:1688`.
pub fn parse_typed_network(text: &str) -> Result<TypedNetwork, String> {
    let with_port = || text.parse::<SocketAddr>().ok();
    let bare = || {
        let inner = text.strip_prefix('[')?.strip_suffix(']')?;
        inner.parse::<std::net::Ipv6Addr>().ok().map(IpAddr::V6)
    };
    let address = text.parse::<IpAddr>().ok().or_else(bare);
    if let Some(address) = address {
        let net = IpNet::from(address.to_canonical());
        return Ok(TypedNetwork { net, port: None });
    }
    if let Some(socket) = with_port() {
        return Ok(TypedNetwork {
            net: IpNet::from(socket.ip().to_canonical()),
            port: Some(socket.port()),
        });
    }
    let net = text.parse::<IpNet>().map_err(|_| {
        format!("`{text}` is neither an address nor a network; names are not looked up here")
    })?;
    if net != net.trunc() {
        let (net, alone, length) = (net.trunc(), net.addr(), net.prefix_len());
        return Err(format!(
            "`{text}` has bits beyond its first {length}; write {net} for the whole network, or {alone} alone"
        ));
    }
    Ok(TypedNetwork { net, port: None })
}

/// Reads a name server: `ADDRESS`, `ADDRESS:PORT` or `[ADDRESS]:PORT`; the port is 53 by default.
pub fn parse_resolver(text: &str) -> Result<SocketAddr, String> {
    let bare = text.parse::<IpAddr>().map(|address| SocketAddr::new(address, 53));
    bare.or_else(|_| text.parse::<SocketAddr>())
        .ok()
        .filter(|address| address.port() != 0)
        .ok_or_else(|| format!("`{text}` is not a name server; write ADDRESS or ADDRESS:PORT"))
}

/// Reads a network in CIDR notation; a bare address is a network of one.
pub fn parse_network(text: &str) -> Result<IpNet, String> {
    text.parse::<IpNet>()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| format!("`{text}` is not a network; write it like 10.10.0.0/16"))
}

pub fn parse_networks(text: &str) -> Result<Vec<IpNet>, String> {
    parse_list(text, parse_network)
}

/// Reads `N/SECONDS`, both from 1, as pfSense's own form accepts them (seconds up to 65535 load in pf).
pub fn parse_rate(text: &str) -> Result<Rate, String> {
    let wanted = || format!("`{text}` is not a rate; write N/SECONDS, such as 10/60");
    let (connections, seconds) = text.split_once('/').ok_or_else(wanted)?;
    let number = |digits: &str| match digits.parse::<u32>() {
        Ok(0) => Err(format!("`{text}` holds a 0; both numbers of a rate are from 1")),
        Ok(number) if digits.bytes().all(|byte| byte.is_ascii_digit()) => Ok(number),
        _ => Err(wanted()),
    };
    Ok(Rate { connections: number(connections)?, seconds: number(seconds)? })
}

/// Reads `HOST:PORT`, the host a name or an address, IPv6 in brackets; the port is never 0.
pub fn parse_endpoint(text: &str) -> Result<(String, u16), String> {
    let wanted =
        || format!("`{text}` is not HOST:PORT, such as example.net:443 or [2001:db8::1]:443");
    let (host, port) = text.rsplit_once(':').ok_or_else(wanted)?;
    let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(wanted)?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = bare.unwrap_or(host);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    let fits = match bare {
        Some(host) => host.parse::<Ipv6Addr>().is_ok(),
        None => !host.is_empty() && !host.starts_with('-') && host.bytes().all(plain),
    };
    fits.then(|| (host.to_owned(), port)).ok_or_else(wanted)
}

/// Reads the base URL of a check service: no user, query or fragment, since paths are added to it.
pub fn parse_url(text: &str) -> Result<String, String> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"?#@\"<>\\".contains(&byte);
    match rest {
        Some(rest) if !rest.is_empty() && rest.bytes().all(plain) => Ok(text.to_owned()),
        _ => Err(format!("`{text}` is not a URL such as https://check-host.net")),
    }
}

/// Reads an address, a host name or a Host of ssh_config.
pub fn parse_host(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".:_-%[]".contains(&byte);
    let wrong = || {
        let signs = "letters, digits, dots, hyphens and underscores, the first no hyphen";
        format!("`{text}` is neither an address nor a host name ({signs})")
    };
    if text.is_empty() || text.starts_with('-') || !text.bytes().all(plain) {
        return Err(wrong());
    }
    if let Ok((host, port)) = parse_endpoint(text) {
        return Err(format!("`{text}` holds a port; write host = \"{host}\" and port = {port}"));
    }
    if !text.contains([':', '[', ']', '%']) {
        return Ok(text.to_owned());
    }
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let address = bare.unwrap_or(text).split('%').next().unwrap_or_default();
    match (address.parse::<Ipv6Addr>(), bare) {
        (Ok(_), None) => Ok(text.to_owned()),
        (Ok(_), Some(bare)) => Err(format!("`{text}` has brackets; write host = \"{bare}\"")),
        (Err(_), _) => Err(wrong()),
    }
}

/// Reads an account's name, or nothing.
pub fn parse_account(text: &str) -> Result<Option<String>, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-@".contains(&byte);
    if text.starts_with('-') || !text.bytes().all(plain) {
        return Err(format!(
            "`{text}` is not an account name (letters, digits and ._-@, the first no hyphen)"
        ));
    }
    parse_given(text)
}

/// Reads a name that pfSense gives: to an alias, to an interface.
pub fn parse_name(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if (1..=31).contains(&text.len()) && text.bytes().all(plain) {
        return Ok(text.to_owned());
    }
    Err(format!("`{text}` is not a name that pfSense takes (1 to 31 letters, digits and _)"))
}

/// Reads the fingerprint of a host key.
pub fn parse_fingerprint(text: &str) -> Result<String, String> {
    let digest = text.strip_prefix("SHA256:").unwrap_or_default();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
    if digest.len() == 43 && digest.bytes().all(plain) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "`{text}` is not a fingerprint; write it as `ssh-keygen -l` prints it: SHA256: and 43 characters"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_are_what_operators_type() {
        let seconds = |text| parse_duration(text).map(|duration| duration.as_secs());
        assert_eq!(seconds("90s"), Ok(90));
        assert_eq!(seconds("1h30m"), Ok(5_400));
        assert_eq!(seconds("1d"), Ok(86_400));
        assert_eq!(seconds("0s"), Ok(0));
        for wrong in [
            "",
            "5",
            "h",
            "1m1h",
            "1h1h",
            "-1s",
            "1.5h",
            "1 h",
            "99999999999999999999s",
            "9999999d",
        ] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn rates_want_both_halves_from_one() {
        assert_eq!(parse_rate("10/60"), Ok(Rate { connections: 10, seconds: 60 }));
        for wrong in ["10", "10/", "/60", "+1/60", " 10/60", "10/60/1", "a/b"] {
            assert!(parse_rate(wrong).is_err_and(|why| why.contains("N/SECONDS")), "{wrong}");
        }
        for zero in ["0/60", "10/0", "0/0"] {
            assert!(parse_rate(zero).is_err_and(|why| why.contains("from 1")), "{zero}");
        }
    }

    #[test]
    fn networks_with_bits_beyond_are_refused() {
        for (typed, whole, alone) in [
            ("8.8.8.0/8", "8.0.0.0/8", "8.8.8.0 "),
            ("203.0.113.7/24", "203.0.113.0/24", "203.0.113.7 "),
            ("2001:db8::1/64", "2001:db8::/64", "2001:db8::1 "),
        ] {
            let why = parse_typed_network(typed).unwrap_err();
            assert!(why.contains(whole) && why.contains(alone), "{typed}: {why}");
        }
        for right in ["8.0.0.0/8", "203.0.113.7/32", "2001:db8::/64", "0.0.0.0/0"] {
            assert!(parse_typed_network(right).is_ok(), "{right}");
        }
    }

    #[test]
    fn names_are_not_addresses() {
        assert!(parse_address("kms.example.net").is_err());
        assert!(parse_address("2001:db8::1").is_ok());
        assert!(parse_network("10.10.0.0/16").is_ok());
        assert!(parse_network("10.10.0.0/33").is_err());
    }

    #[test]
    fn hosts_with_ports_say_how() {
        for plain in ["fw", "fw.example.net", "10.0.20.1", "::1", "fe80::1%em0", "my_alias"] {
            assert!(parse_host(plain).is_ok(), "{plain}");
        }
        for (typed, said) in [
            ("fw:2222", "host = \"fw\" and port = 2222"),
            ("10.0.20.1:22", "host = \"10.0.20.1\" and port = 22"),
            ("[::1]:22", "host = \"::1\" and port = 22"),
            ("[2001:db8::1]", "host = \"2001:db8::1\""),
            ("10.0.20.1:99999", "neither"),
            ("fw:", "neither"),
            ("[::1", "neither"),
            ("[fw]", "neither"),
            ("::g", "neither"),
            ("fw%h", "neither"),
        ] {
            let wording = parse_host(typed).unwrap_err();
            assert!(wording.contains(said), "{typed}: {wording}");
        }
    }

    #[test]
    fn endpoints_want_a_host_and_a_port() {
        assert_eq!(parse_endpoint("h:443"), Ok(("h".to_owned(), 443)));
        assert_eq!(parse_endpoint("[2001:db8::1]:443"), Ok(("2001:db8::1".to_owned(), 443)));
        for wrong in
            ["", "h", "h:", "h:0", ":1", "h:70000", "-h:1", "2001:db8::1:443", "a b:1", "[h]:1"]
        {
            assert!(parse_endpoint(wrong).is_err(), "{wrong}");
        }
        assert!(parse_url("http://127.0.0.1:8080").is_ok());
        for wrong in ["", "check-host.net", "ftp://x", "https://", "https://a?b", "http://u@h"] {
            assert!(parse_url(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn name_servers_are_addresses_with_or_without_a_port() {
        assert_eq!(parse_resolver("192.0.2.53"), Ok("192.0.2.53:53".parse().unwrap()));
        assert_eq!(parse_resolver("2001:db8::53"), Ok("[2001:db8::53]:53".parse().unwrap()));
        assert_eq!(parse_resolver("127.0.0.1:5353"), Ok("127.0.0.1:5353".parse().unwrap()));
        for wrong in ["", "dns.example.net", "192.0.2.53:0", "192.0.2.53:99999"] {
            assert!(parse_resolver(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,40}") {
            for key in super::super::keys::KEYS
                .iter()
                .chain(super::super::keys::VANTAGE_KEYS.iter())
            {
                let _ = (key.check)(&text);
            }
        }
    }
}
