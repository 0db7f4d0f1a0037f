//! FreeBSD's own tools as text: `ifconfig -a`, `route -n get default`, `date '+%s %z'`. Nothing of pf.
//!
//! Forms as printed by FreeBSD 12 to 15. What is not an address line is of no interest here and skipped.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use jiff::{Timestamp, tz};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceAddress {
    /// The system's name, such as `vtnet0`.
    pub interface: String,
    pub net: IpNet,
}

/// Reads `ifconfig -a`: every `inet` and `inet6` address, scopes dropped.
pub fn interface_addresses(text: &[u8]) -> Vec<InterfaceAddress> {
    let text = String::from_utf8_lossy(text);
    let mut interface = String::new();
    let mut found = Vec::new();
    for line in text.lines() {
        if !line.starts_with([' ', '\t']) {
            line.split(':').next().unwrap_or_default().clone_into(&mut interface);
            continue;
        }
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let net = match words.as_slice() {
            ["inet", address, rest @ ..] => parse_inet(address, rest),
            ["inet6", address, rest @ ..] => parse_inet6(address, rest),
            _ => None,
        };
        found.extend(net.map(|net| InterfaceAddress { interface: interface.clone(), net }));
    }
    found
}

fn parse_inet(address: &str, rest: &[&str]) -> Option<IpNet> {
    let address: Ipv4Addr = address.parse().ok()?;
    let mask = rest.iter().skip_while(|word| **word != "netmask").nth(1)?;
    let mask = u32::from_str_radix(mask.strip_prefix("0x")?, 16).ok()?;
    Some(IpNet::V4(Ipv4Net::with_netmask(address, Ipv4Addr::from(mask)).ok()?))
}

fn parse_inet6(address: &str, rest: &[&str]) -> Option<IpNet> {
    let address: Ipv6Addr = address.split('%').next()?.parse().ok()?;
    let length = rest.iter().skip_while(|word| **word != "prefixlen").nth(1)?;
    Some(IpNet::V6(Ipv6Net::new(address, length.parse().ok()?).ok()?))
}

/// Reads the gateway of `route -n get default`; `None` without a default route.
pub fn default_gateway(text: &[u8]) -> Option<IpAddr> {
    let text = String::from_utf8_lossy(text);
    let gateway = text.lines().find_map(|line| line.trim().strip_prefix("gateway:"))?;
    gateway.trim().split('%').next()?.parse().ok()
}

/// The firewall's clock and its own time zone's present offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirewallClock {
    /// Its present moment, whole seconds.
    pub now: Timestamp,
    /// The offset its cron works with. Fixed: a change of daylight saving within the next hours is not foreseen.
    pub zone: tz::TimeZone,
}

/// Reads `date '+%s %z'`.
pub fn parse_firewall_clock(text: &[u8]) -> Option<FirewallClock> {
    // What the box says at a login can stand beside it.
    String::from_utf8_lossy(text).lines().find_map(clock_line)
}

fn clock_line(line: &str) -> Option<FirewallClock> {
    let (seconds, offset) = line.trim().split_once(' ')?;
    let plain = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let signed = offset.strip_prefix(['+', '-']);
    if !plain(seconds) || !signed.is_some_and(|digits| digits.len() == 4 && plain(digits)) {
        return None;
    }
    let now = Timestamp::from_second(seconds.parse().ok()?).ok()?;
    let (sign, digits) = (offset.get(..1)?, offset.get(1..)?);
    let (hours, minutes): (i32, i32) =
        (digits.get(..2)?.parse().ok()?, digits.get(2..4)?.parse().ok()?);
    let seconds = (hours * 3_600 + minutes * 60) * if sign == "-" { -1 } else { 1 };
    Some(FirewallClock { now, zone: tz::Offset::from_seconds(seconds).ok()?.to_time_zone() })
}

/// Reads the client's address of `SSH_CONNECTION` (`CLIENT PORT SERVER PORT`), as the firewall sees it.
pub fn ssh_client(text: &[u8]) -> Option<IpAddr> {
    String::from_utf8_lossy(text).lines().find_map(|line| {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let [client, port, _, _] = words.as_slice() else {
            return None;
        };
        port.parse::<u16>().ok()?;
        client.split('%').next()?.parse().ok()
    })
}

/// The role of this node for one CARP address group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carp {
    /// `MASTER`, `BACKUP` or `INIT`.
    pub state: String,
    pub vhid: u32,
}

/// What a node of a pair is, by all of its CARP groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CarpRole {
    /// It is the master of each: its rules are those of the pair.
    Primary,
    /// It is the backup of each: the primary replaces its rules.
    Backup,
    /// It has no group, is neither in one, or is the master of some and the backup of others.
    Unclear,
}

impl CarpRole {
    pub fn of_groups(groups: &[Carp]) -> Self {
        let are_all = |state: &str| groups.iter().all(|group| group.state == state);
        match groups {
            [_, ..] if are_all("MASTER") => Self::Primary,
            [_, ..] if are_all("BACKUP") => Self::Backup,
            _ => Self::Unclear,
        }
    }
}

/// Reads the `carp:` lines of `ifconfig -a`.
pub fn parse_carp(text: &[u8]) -> Vec<Carp> {
    let text = String::from_utf8_lossy(text);
    let of_line = |line: &str| {
        let (state, rest) = line.trim().strip_prefix("carp: ")?.split_once(" vhid ")?;
        Some(Carp {
            state: state.to_owned(),
            vhid: rest.split_ascii_whitespace().next()?.parse().ok()?,
        })
    };
    text.lines().filter_map(of_line).collect()
}

/// Reads the available bytes out of `df -k PATH`; long device names put the numbers on a line of their own.
pub fn free_space(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    let words: Vec<&str> = text.lines().skip(1).flat_map(str::split_ascii_whitespace).collect();
    let percent = words.iter().position(|word| word.ends_with('%'))?;
    // Nearly full disks show a negative number: root's reserve is in use.
    let kibibytes: i64 = words.get(percent.checked_sub(1)?)?.parse().ok()?;
    Some(u64::try_from(kibibytes).unwrap_or(0) << 10)
}

/// Reads the one number that `sysctl -n` prints.
pub fn parse_sysctl(text: &[u8]) -> Option<u64> {
    String::from_utf8_lossy(text).lines().find_map(|line| line.trim().parse().ok())
}

/// Reads the names of our files out of `ls -1 /etc/cron.d`.
pub fn parse_armed_names(text: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(text);
    text.lines()
        .map(str::trim)
        .filter(|name| name.starts_with("kmsctl"))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const IFCONFIG: &[u8] = b"vtnet0: flags=8863<UP,BROADCAST,RUNNING,SIMPLEX,MULTICAST> metric 0 mtu 1500\n\
        \tdescription: WAN\n\toptions=4c07bb<RXCSUM,TXCSUM>\n\tether 52:54:00:12:34:56\n\
        \tinet 192.168.1.2 netmask 0xffffff00 broadcast 192.168.1.255\n\
        \tinet6 fe80::5054:ff:fe12:3456%vtnet0 prefixlen 64 scopeid 0x1\n\
        \tmedia: Ethernet autoselect (10Gbase-T <full-duplex>)\n\
        lo0: flags=8049<UP,LOOPBACK,RUNNING,MULTICAST> metric 0 mtu 16384\n\tinet 127.0.0.1 netmask 0xff000000\n";

    #[test]
    fn addresses_carry_their_networks() {
        let found = interface_addresses(IFCONFIG);
        let shown: Vec<String> =
            found.iter().map(|found| format!("{} {}", found.interface, found.net)).collect();
        assert_eq!(
            shown,
            ["vtnet0 192.168.1.2/24", "vtnet0 fe80::5054:ff:fe12:3456/64", "lo0 127.0.0.1/8"]
        );
    }

    #[test]
    fn the_gateway_the_clock_and_the_client_are_read() {
        let route = b"   route to: default\ndestination: default\n       mask: default\n    gateway: 192.168.1.1\n";
        assert_eq!(default_gateway(route), Some(IpAddr::from([192, 168, 1, 1])));
        assert_eq!(default_gateway(b"route: route has not been found\n"), None);
        let read = parse_firewall_clock(b"1763000004 -0330\n")
            .map(|clock| (clock.now.as_second(), clock.zone.to_offset(clock.now).seconds()));
        assert_eq!(read, Some((1_763_000_004, -12_600)));
        assert_eq!(parse_firewall_clock(b"soon\n"), None);
        assert_eq!(ssh_client(b"fe80::1%vtnet1 50000 10.0.20.1 22\n"), "fe80::1".parse().ok());
    }

    #[test]
    fn small_tools_are_read() {
        let text = b"vtnet0: flags=8863\n\tinet 192.168.1.2 netmask 0xffffff00\n\tcarp: BACKUP vhid 3 advbase 1 advskew 100\n";
        assert_eq!(parse_carp(text), [Carp { state: "BACKUP".into(), vhid: 3 }]);
        for (states, role) in [
            (&["MASTER", "MASTER"][..], CarpRole::Primary),
            (&["BACKUP"], CarpRole::Backup),
            (&["MASTER", "BACKUP"], CarpRole::Unclear),
            (&["INIT"], CarpRole::Unclear),
            (&[], CarpRole::Unclear),
        ] {
            let group = |state: &&str| Carp { state: (*state).to_owned(), vhid: 1 };
            let groups: Vec<Carp> = states.iter().map(group).collect();
            assert_eq!(CarpRole::of_groups(&groups), role, "{states:?}");
        }
        let df = b"Filesystem         1024-blocks   Used   Avail Capacity  Mounted on\npfSense/ROOT/default    9345672 812345 8533327     9%    /\n";
        assert_eq!(free_space(df), Some(8_533_327 << 10));
        let wrapped = b"Filesystem 1024-blocks Used Avail Capacity Mounted on\n/dev/gptid/very-long-name\n 100 200 -8 109% /\n";
        assert_eq!(free_space(wrapped), Some(0));
        assert_eq!(free_space(b"df: /cf/conf: No such file"), None);
        assert_eq!(parse_sysctl(b"65535\n"), Some(65_535));
        assert_eq!(parse_armed_names(b"at\nkmsctl-20260301-1\n"), ["kmsctl-20260301-1"]);
    }
}
