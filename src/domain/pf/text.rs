//! The small pieces that several pfctl outputs share: numbers, `HH:MM:SS`, `ctime`, addresses.
//!
//! Readers that take a prefix return the value and the rest, for the state table's inner loop.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use jiff::Timestamp;
use jiff::civil::{DateTime, Weekday};
use jiff::tz::TimeZone;

use super::swar;

/// Reads decimal digits off the front.
pub(super) fn take_digits(text: &str) -> Option<(u64, &str)> {
    match swar::number(text.as_bytes()) {
        Some((value, length)) => Some((value, text.get(length..)?)),
        None => digits_slowly(text),
    }
}

fn digits_slowly(text: &str) -> Option<(u64, &str)> {
    let mut value: u64 = 0;
    let mut length = 0;
    for byte in text.bytes() {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(digit))?;
        length += 1;
    }
    (length > 0).then_some((value, text.get(length..)?))
}

/// Reads a whole decimal number; no sign, no blanks.
pub(super) fn whole_number<T: TryFrom<u64>>(text: &str) -> Option<T> {
    match take_digits(text)? {
        (value, "") => T::try_from(value).ok(),
        _ => None,
    }
}

/// Reads blanks, a label and a number off the front: `  Packets: 12  Bytes: …` after `Packets:`.
pub(super) fn take_labelled<'a>(text: &'a str, label: &str) -> Option<(u64, &'a str)> {
    let rest = text.trim_start_matches(' ').strip_prefix(label)?;
    take_digits(rest.trim_start_matches(' '))
}

/// Tells whether only blanks and the closing bracket are left; a wide number leaves no blank before it.
pub(super) fn is_closed(text: &str) -> bool {
    text.trim_matches(' ') == "]"
}

/// Reads `HH:MM:SS` off the front, in seconds; the hours may have any number of digits.
pub(super) fn take_clock(text: &str) -> Option<(u64, &str)> {
    match swar::clock(text.as_bytes()) {
        Some(seconds) => Some((seconds, text.get(8..)?)),
        None => clock_slowly(text),
    }
}

fn clock_slowly(text: &str) -> Option<(u64, &str)> {
    let (hours, rest) = take_digits(text)?;
    let (minutes, rest) = take_digits(rest.strip_prefix(':')?)?;
    let (seconds, rest) = take_digits(rest.strip_prefix(':')?)?;
    if minutes > 59 || seconds > 59 {
        return None;
    }
    let total = hours
        .checked_mul(3600)?
        .checked_add(minutes * 60 + seconds)?;
    Some((total, rest))
}

/// Prints seconds as pfctl does: at least two digits each.
pub(super) struct ClockTime(pub(super) u64);

impl fmt::Display for ClockTime {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (minutes, seconds) = (self.0 / 60, self.0 % 60);
        write!(
            formatter,
            "{:02}:{:02}:{seconds:02}",
            minutes / 60,
            minutes % 60
        )
    }
}

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

fn weekday_name(day: Weekday) -> &'static str {
    match day {
        Weekday::Monday => "Mon",
        Weekday::Tuesday => "Tue",
        Weekday::Wednesday => "Wed",
        Weekday::Thursday => "Thu",
        Weekday::Friday => "Fri",
        Weekday::Saturday => "Sat",
        Weekday::Sunday => "Sun",
    }
}

/// Reads C's `ctime` form, `Thu Oct  9 06:06:40 2025`, as UTC (the commands run with `TZ=UTC`).
pub(super) fn parse_ctime(text: &str) -> Option<Timestamp> {
    let mut words = text.split_ascii_whitespace();
    let (day_name, month_name) = (words.next()?, words.next()?);
    let (day, time, year) = (words.next()?, words.next()?, words.next()?);
    if words.next().is_some() {
        return None;
    }
    let month = MONTHS.iter().position(|month| *month == month_name)? + 1;
    let (hour, rest) = time.split_once(':')?;
    let (minute, second) = rest.split_once(':')?;
    let civil = DateTime::new(
        whole_number(year)?,
        i8::try_from(month).ok()?,
        whole_number(day)?,
        whole_number(hour)?,
        whole_number(minute)?,
        whole_number(second)?,
        0,
    )
    .ok()?;
    // A weekday that does not fit the date is a garbled line, not a time.
    if weekday_name(civil.weekday()) != day_name {
        return None;
    }
    let zoned = civil.to_zoned(TimeZone::UTC).ok()?;
    Some(zoned.timestamp())
}

/// Prints a moment in `ctime` form, in UTC.
pub(super) struct Ctime(pub(super) Timestamp);

impl fmt::Display for Ctime {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let zoned = self.0.to_zoned(TimeZone::UTC);
        let month = usize::from(zoned.month().unsigned_abs()).wrapping_sub(1);
        write!(
            formatter,
            "{} {} {:>2} {:02}:{:02}:{:02} {}",
            weekday_name(zoned.weekday()),
            MONTHS.get(month).unwrap_or(&"???"),
            zoned.day(),
            zoned.hour(),
            zoned.minute(),
            zoned.second(),
            zoned.year(),
        )
    }
}

/// Reads an IPv4 address in dotted form off the front; leading zeros are refused, as everywhere in Rust.
pub(super) fn take_ipv4(text: &str) -> Option<(Ipv4Addr, &str)> {
    match swar::ipv4(text.as_bytes()) {
        Some((bits, length)) => Some((Ipv4Addr::from_bits(bits), text.get(length..)?)),
        None => ipv4_slowly(text),
    }
}

fn ipv4_slowly(text: &str) -> Option<(Ipv4Addr, &str)> {
    let mut bits: u32 = 0;
    let mut octet: u32 = 0;
    let (mut dots, mut in_octet, mut length) = (0, 0, 0);
    for byte in text.bytes() {
        let digit = byte.wrapping_sub(b'0');
        if digit <= 9 {
            if in_octet > 0 && octet == 0 {
                return None;
            }
            octet = octet * 10 + u32::from(digit);
            if octet > 255 {
                return None;
            }
            in_octet += 1;
        } else if byte == b'.' && dots < 3 && in_octet > 0 {
            bits = bits << 8 | octet;
            (dots, octet, in_octet) = (dots + 1, 0, 0);
        } else {
            break;
        }
        length += 1;
    }
    if dots != 3 || in_octet == 0 {
        return None;
    }
    Some((Ipv4Addr::from_bits(bits << 8 | octet), text.get(length..)?))
}

/// Reads an IPv6 address off the front; it ends before the first byte that no address holds.
pub(super) fn take_ipv6(text: &str) -> Option<(Ipv6Addr, &str)> {
    let mut bits: u128 = 0;
    // Groups before and after `::`.
    let (mut groups, mut gap) = (0_u32, None);
    let mut rest = text.as_bytes();
    if let [b':', b':', ..] = rest {
        gap = Some(0);
        rest = rest.get(2..)?;
    }
    loop {
        let (group, length) = take_hex_group(rest);
        if length == 0 {
            // Only `::` may stand at the end, and too long a group is none.
            if rest.first().is_some_and(u8::is_ascii_hexdigit) {
                return None;
            }
            break;
        }
        bits = bits << 16 | u128::from(group);
        groups += 1;
        rest = rest.get(length..)?;
        match rest {
            [b':', b':', ..] if gap.is_none() => {
                gap = Some(groups);
                rest = rest.get(2..)?;
            }
            [b':', digit, ..] if digit.is_ascii_hexdigit() && groups < 8 => rest = rest.get(1..)?,
            // `::ffff:192.0.2.1` and a ninth group.
            [b'.' | b':', ..] => return ipv6_slowly(text),
            _ => break,
        }
    }
    match gap {
        None if groups == 8 => {}
        Some(before) if groups < 8 => {
            let after = 16 * (groups - before);
            let (high, low) = match after {
                0 => (bits, 0),
                _ => (bits >> after, bits & (u128::MAX >> (128 - after))),
            };
            bits = high.checked_shl(128 - 16 * before).unwrap_or(0) | low;
        }
        _ => return None,
    }
    let length = text.len() - rest.len();
    Some((Ipv6Addr::from_bits(bits), text.get(length..)?))
}

/// Reads one to four hexadecimal digits off the front; a fifth makes it none.
fn take_hex_group(text: &[u8]) -> (u16, usize) {
    swar::group(text).unwrap_or_else(|| group_slowly(text))
}

fn group_slowly(text: &[u8]) -> (u16, usize) {
    let mut value: u32 = 0;
    let mut length = 0;
    for byte in text.iter().take(5) {
        let Some(digit) = char::from(*byte).to_digit(16) else {
            break;
        };
        value = value << 4 | digit;
        length += 1;
    }
    match u16::try_from(value) {
        Ok(value) if length <= 4 => (value, length),
        _ => (0, 0),
    }
}

/// Leaves the rare forms to the standard library.
fn ipv6_slowly(text: &str) -> Option<(Ipv6Addr, &str)> {
    let end = text
        .bytes()
        .position(|byte| !byte.is_ascii_hexdigit() && byte != b':' && byte != b'.')
        .unwrap_or(text.len());
    let (address, rest) = text.split_at_checked(end)?;
    Some((address.parse().ok()?, rest))
}

/// Reads an address or network; a host has the full prefix length.
pub(super) fn parse_net(text: &str) -> Option<IpNet> {
    match text.split_once('/') {
        Some((address, length)) => {
            IpNet::new(address.parse::<IpAddr>().ok()?, whole_number(length)?).ok()
        }
        None => Some(IpNet::from(text.parse::<IpAddr>().ok()?)),
    }
}

/// Prints an address or network, a host without its length.
pub(super) struct Net(pub(super) IpNet);

impl fmt::Display for Net {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0.addr())?;
        if self.0.prefix_len() < self.0.max_prefix_len() {
            write!(formatter, "/{}", self.0.prefix_len())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ctime_reads_the_padded_day_and_refuses_a_wrong_weekday() {
        let text = "Thu Oct  9 06:06:40 2025";
        let time = parse_ctime(text).unwrap();
        assert_eq!(time.to_string(), "2025-10-09T06:06:40Z");
        assert_eq!(Ctime(time).to_string(), text);
        assert_eq!(parse_ctime("Fri Oct  9 06:06:40 2025"), None);
        assert_eq!(parse_ctime("Thu Oct  9 06:06:40 2025 CEST"), None);
        assert_eq!(parse_ctime("Thu Oct 39 06:06:40 2025"), None);
        assert_eq!(parse_ctime("N/A"), None);
    }

    #[test]
    fn clocks_run_past_two_digit_hours() {
        assert_eq!(take_clock("100:00:01, x"), Some((360_001, ", x")));
        assert_eq!(ClockTime(360_001).to_string(), "100:00:01");
        for wrong in [
            "00:60:00,",
            "00:00:60,",
            "100:00:60",
            "00-00:00,",
            "00:0x:00,",
        ] {
            assert_eq!(take_clock(wrong), None, "{wrong}");
        }
        assert_eq!(take_clock("18446744073709551615:00:00"), None);
    }

    #[test]
    fn ipv6_forms_that_only_look_right_are_refused() {
        let address = |text: &str| text.parse::<Ipv6Addr>().unwrap();
        assert_eq!(take_ipv6("::"), Some((address("::"), "")));
        assert_eq!(take_ipv6("1::[5]"), Some((address("1::"), "[5]")));
        assert_eq!(
            take_ipv6("::ffff:192.0.2.1 x"),
            Some((address("::ffff:192.0.2.1"), " x"))
        );
        for bad in [
            "::A:0AaAa",
            "1:2:3:4:5:6:7",
            "1:2:3:4:5:6:7:8:9",
            "1::2::3",
            "1:",
            ":1",
            "",
            "::1.2.3",
        ] {
            assert!(!matches!(take_ipv6(bad), Some((_, ""))), "{bad}");
        }
    }

    #[test]
    fn numbers_take_no_sign_and_do_not_wrap() {
        assert_eq!(whole_number::<u64>("18446744073709551615"), Some(u64::MAX));
        assert_eq!(whole_number::<u64>("18446744073709551616"), None);
        assert_eq!(whole_number::<u32>("+1"), None);
        assert_eq!(whole_number::<u8>("256"), None);
        assert_eq!(whole_number::<u8>(""), None);
    }

    proptest! {
        #[test]
        fn the_fast_readers_agree_with_the_plain_ones(
            address in "[0-9]{1,4}(\\.[0-9]{1,4}){2,3}[.:) ]?[0-9 ]{0,9}",
            number in "[0-9]{0,21}[0-9:/. ]{0,9}",
            time in "[0-9]{1,3}:[0-9]{1,3}:[0-9]{1,3}[, 0-9]{0,9}",
            groups in "[0-9a-fA-F]{1,5}[ -~][!-~]{0,9}",
            noise in "[ -~]{0,20}",
        ) {
            for text in [&address, &number, &time, &groups, &noise] {
                prop_assert_eq!(take_ipv4(text), ipv4_slowly(text));
                prop_assert_eq!(take_digits(text), digits_slowly(text));
                prop_assert_eq!(take_clock(text), clock_slowly(text));
                prop_assert_eq!(take_hex_group(text.as_bytes()), group_slowly(text.as_bytes()));
                let blank = text.bytes().take(16).position(|byte| byte == b' ');
                if text.len() >= 16 {
                    prop_assert_eq!(swar::blank(text.as_bytes()), blank);
                }
            }
        }

        #[test]
        fn ipv4_agrees_with_the_standard_library(text in "[0-9]{1,3}(\\.[0-9]{1,4}){2,4}") {
            let ours = match take_ipv4(&text) {
                Some((address, "")) => Some(address),
                _ => None,
            };
            prop_assert_eq!(ours, text.parse().ok());
        }

        #[test]
        fn ipv6_agrees_with_the_standard_library(text in "[0-9a-f]{0,2}(::?[0-9a-fA-F]{0,5}){1,8}(\\.[0-9]{1,3}){0,3}") {
            let ours = match take_ipv6(&text) {
                Some((address, "")) => Some(address),
                _ => None,
            };
            prop_assert_eq!(ours, text.parse().ok());
        }

        #[test]
        fn ipv6_reads_what_is_printed(address: Ipv6Addr, holes in 0_u8..) {
            // Random addresses have no zero groups; these have.
            let mut groups = address.segments();
            for (place, group) in groups.iter_mut().enumerate() {
                *group *= u16::from(holes >> place & 1);
            }
            for address in [address, Ipv6Addr::from(groups)] {
                let text = format!("{address}[80]");
                prop_assert_eq!(take_ipv6(&text), Some((address, "[80]")));
            }
        }

        #[test]
        fn ctime_prints_what_it_reads(seconds in -60_000_000_000_i64..200_000_000_000) {
            let time = Timestamp::from_second(seconds).unwrap();
            prop_assert_eq!(parse_ctime(&Ctime(time).to_string()), Some(time));
        }

        #[test]
        fn clock_prints_what_it_reads(seconds: u64) {
            let text = ClockTime(seconds).to_string();
            prop_assert_eq!(take_clock(&text), Some((seconds, "")));
        }
    }
}
