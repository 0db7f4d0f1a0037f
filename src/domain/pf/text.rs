//! The small pieces that several pfctl outputs share: numbers, `HH:MM:SS`, `ctime`, networks.
//!
//! Readers that take a prefix return the value and the rest.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use jiff::Timestamp;
use jiff::civil::{DateTime, Weekday};
use jiff::tz::TimeZone;

/// Reads decimal digits off the front.
pub(super) fn take_digits(text: &str) -> Option<(u64, &str)> {
    let end = text.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at_checked(end)?;
    Some((digits.parse().ok()?, rest))
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

/// Returns whether only blanks and the closing bracket are left; a wide number leaves no blank before it.
pub(super) fn is_closed(text: &str) -> bool {
    text.trim_matches(' ') == "]"
}

/// Reads `HH:MM:SS` off the front, in seconds; the hours may have any number of digits.
pub(super) fn take_clock(text: &str) -> Option<(u64, &str)> {
    let (hours, rest) = take_digits(text)?;
    let (minutes, rest) = take_digits(rest.strip_prefix(':')?)?;
    let (seconds, rest) = take_digits(rest.strip_prefix(':')?)?;
    if minutes > 59 || seconds > 59 {
        return None;
    }
    let total = hours.checked_mul(3600)?.checked_add(minutes * 60 + seconds)?;
    Some((total, rest))
}

/// Prints seconds as pfctl does: at least two digits each.
#[derive(Clone, Copy, Debug)]
pub struct ClockTime(pub u64);

impl fmt::Display for ClockTime {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (minutes, seconds) = (self.0 / 60, self.0 % 60);
        write!(formatter, "{:02}:{:02}:{seconds:02}", minutes / 60, minutes % 60)
    }
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

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

/// Reads an address or network; a host has the full prefix length.
pub(super) fn parse_net(text: &str) -> Option<IpNet> {
    match text.split_once('/') {
        Some((address, length)) => {
            IpNet::new(address.parse::<IpAddr>().ok()?, whole_number(length)?).ok()
        }
        None => Some(IpNet::from(text.parse::<IpAddr>().ok()?)),
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
        assert_eq!(parse_ctime("Fri Oct  9 06:06:40 2025"), None);
        assert_eq!(parse_ctime("Thu Oct  9 06:06:40 2025 CEST"), None);
        assert_eq!(parse_ctime("Thu Oct 39 06:06:40 2025"), None);
        assert_eq!(parse_ctime("N/A"), None);
    }

    #[test]
    fn clocks_run_past_two_digit_hours() {
        assert_eq!(take_clock("100:00:01, x"), Some((360_001, ", x")));
        assert_eq!(ClockTime(360_001).to_string(), "100:00:01");
        for wrong in ["00:60:00,", "00:00:60,", "100:00:60", "00-00:00,", "00:0x:00,"] {
            assert_eq!(take_clock(wrong), None, "{wrong}");
        }
        assert_eq!(take_clock("18446744073709551615:00:00"), None);
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
        fn ctime_reads_what_c_prints(seconds in -60_000_000_000_i64..200_000_000_000) {
            let time = Timestamp::from_second(seconds).unwrap();
            let text = time.strftime("%a %b %e %H:%M:%S %Y").to_string();
            prop_assert_eq!(parse_ctime(&text), Some(time));
        }

        #[test]
        fn clock_prints_what_it_reads(seconds: u64) {
            let text = ClockTime(seconds).to_string();
            prop_assert_eq!(take_clock(&text), Some((seconds, "")));
        }
    }
}
