//! A five-field cron schedule as FreeBSD's cron reads it (crontab(5)): `*`, lists, ranges, steps and names.
//! Not for running anything: it only says when the firewall will.

use std::fmt;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, Zoned};

/// Days looked at before a schedule is taken to never run: 29 February can be eight years away.
const DAYS: u32 = 366 * 9;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    text: String,
    minutes: CronField,
    hours: CronField,
    days: CronField,
    months: CronField,
    weekdays: CronField,
}

/// Allowed values of a field, one bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct CronField {
    bits: u64,
    /// The field starts with `*`; cron then lets the other of the two day fields decide.
    any: bool,
}

impl CronField {
    fn has_value(self, value: i8) -> bool {
        u32::try_from(value).is_ok_and(|value| value < 64 && self.bits >> value & 1 == 1)
    }
}

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

impl Schedule {
    /// Reads the five fields: minute, hour, day of the month, month, day of the week.
    pub fn new(fields: [&str; 5]) -> Option<Self> {
        let [minute, hour, day, month, weekday] = fields.map(str::trim);
        let mut weekdays = parse_cron_field(weekday, 0, 7, &WEEKDAYS, 0)?;
        // 7 is Sunday too.
        weekdays.bits |= weekdays.bits >> 7 & 1;
        Some(Self {
            text: [minute, hour, day, month, weekday].join(" "),
            minutes: parse_cron_field(minute, 0, 59, &[], 0)?,
            hours: parse_cron_field(hour, 0, 23, &[], 0)?,
            days: parse_cron_field(day, 1, 31, &[], 0)?,
            months: parse_cron_field(month, 1, 12, &MONTHS, 1)?,
            weekdays,
        })
    }

    /// Returns the first run at or after a moment, in the time zone in which cron reads its table.
    ///
    /// Where a clock change skips or repeats an hour, cron's own catching up is not modelled; the answer may then
    /// be off by that hour.
    pub fn next(&self, from: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let mut moment = whole_minute(from)?.to_zoned(zone.clone());
        for _ in 0..DAYS {
            if self.runs_on(moment.date())
                && let Some(run) = self.within_day(&moment)
            {
                return Some(run);
            }
            let tomorrow = moment.date().tomorrow().ok()?;
            moment = zone.to_zoned(tomorrow.at(0, 0, 0, 0)).ok()?;
        }
        None
    }

    /// Returns how often it runs in a leap year, so that 29 February counts; 0 is never.
    pub(crate) fn runs_in_a_leap_year(&self) -> u64 {
        let days = std::iter::successors(Date::new(2028, 1, 1).ok(), |date| date.tomorrow().ok())
            .take(366)
            .filter(|date| self.runs_on(*date))
            .count();
        let runs = self.minutes.bits.count_ones() * self.hours.bits.count_ones();
        u64::from(runs).saturating_mul(u64::try_from(days).unwrap_or_default())
    }

    fn runs_on(&self, date: Date) -> bool {
        let day = self.days.has_value(date.day());
        let weekday = self.weekdays.has_value(date.weekday().to_sunday_zero_offset());
        // crontab(5): with both fields restricted, either is enough.
        let today =
            if self.days.any || self.weekdays.any { day && weekday } else { day || weekday };
        self.months.has_value(date.month()) && today
    }

    fn within_day(&self, start: &Zoned) -> Option<Timestamp> {
        let mut moment = start.clone();
        // A day has at most 25 hours; each turn leaves an hour behind or moves one minute.
        for _ in 0..(25 + 60) {
            if moment.date() != start.date() {
                return None;
            }
            if !self.hours.has_value(moment.hour()) {
                let rest = SignedDuration::from_mins(i64::from(60 - moment.minute()));
                moment = moment.checked_add(rest).ok()?;
            } else if self.minutes.has_value(moment.minute()) {
                return Some(moment.timestamp());
            } else {
                moment = moment.checked_add(SignedDuration::from_mins(1)).ok()?;
            }
        }
        None
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The first whole minute at or after a moment.
fn whole_minute(moment: Timestamp) -> Option<Timestamp> {
    let seconds = moment.as_second() + i64::from(moment.subsec_nanosecond() > 0);
    let minute = seconds.checked_add(59)?.div_euclid(60).checked_mul(60)?;
    Timestamp::from_second(minute).ok()
}

/// Reads one field; `base` is the number of the first name.
fn parse_cron_field(field: &str, low: u8, high: u8, names: &[&str], base: u8) -> Option<CronField> {
    let mut bits = 0;
    for part in field.split(',') {
        bits |= part_bits(part, low, high, names, base)?;
    }
    Some(CronField { bits, any: field.starts_with('*') })
}

fn part_bits(part: &str, low: u8, high: u8, names: &[&str], base: u8) -> Option<u64> {
    let (range, step) = match part.split_once('/') {
        Some((range, step)) => (range, Some(parse_digits(step).filter(|step| *step > 0)?)),
        None => (part, None),
    };
    let value = |text: &str| -> Option<u8> {
        let place = names.iter().position(|name| text.eq_ignore_ascii_case(name));
        let number = place.and_then(|place| u8::try_from(place).ok()).map(|place| place + base);
        number.or_else(|| parse_digits(text)).filter(|value| (low..=high).contains(value))
    };
    let (first, last) = match range.split_once('-') {
        _ if range == "*" => (low, high),
        Some((first, last)) => (value(first)?, value(last)?),
        // Cron takes a step only after `*` or a range.
        None if step.is_some() => return None,
        None => (value(range)?, value(range)?),
    };
    if first > last {
        return None;
    }
    Some(
        (first..=last)
            .step_by(usize::from(step.unwrap_or(1)))
            .fold(0, |bits, value| bits | 1 << value),
    )
}

fn parse_digits(text: &str) -> Option<u8> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(fields: &str, from: &str, zone: &str) -> Option<String> {
        let fields: Vec<&str> = fields.split(' ').collect();
        let schedule = Schedule::new(fields.try_into().unwrap()).unwrap();
        let zone = TimeZone::get(zone).unwrap();
        schedule.next(from.parse().unwrap(), &zone).map(|run| run.to_string())
    }

    #[test]
    fn a_step_of_sixty_is_the_full_hour() {
        let run = next("*/60 * * * *", "2026-11-22T13:00:01Z", "UTC");
        assert_eq!(run.as_deref(), Some("2026-11-22T14:00:00Z"));
        let now = next("*/60 * * * *", "2026-11-22T13:00:00Z", "UTC");
        assert_eq!(
            now.as_deref(),
            Some("2026-11-22T13:00:00Z"),
            "a run at this very moment counts"
        );
    }

    #[test]
    fn lists_ranges_steps_and_names() {
        let cases = [
            ("5,35 * * * *", "2026-11-22T13:06:00Z", "2026-11-22T13:35:00Z"),
            ("10-20/5 * * * *", "2026-11-22T13:16:00Z", "2026-11-22T13:20:00Z"),
            ("0 3 * * *", "2026-11-22T03:00:30Z", "2026-11-23T03:00:00Z"),
            ("0 0 1 jan *", "2026-11-22T00:00:00Z", "2027-01-01T00:00:00Z"),
            ("0 0 * * MON-FRI", "2026-11-21T00:00:00Z", "2026-11-23T00:00:00Z"),
            ("0 0 * * 7", "2026-11-21T00:00:00Z", "2026-11-22T00:00:00Z"),
            ("0 0 29 2 *", "2026-11-22T00:00:00Z", "2028-02-29T00:00:00Z"),
            ("59 23 31 12 *", "2026-12-31T23:59:01Z", "2027-12-31T23:59:00Z"),
        ];
        for (fields, from, expected) in cases {
            assert_eq!(next(fields, from, "UTC").as_deref(), Some(expected), "{fields}");
        }
    }

    #[test]
    fn two_restricted_day_fields_mean_either() {
        // The 25th is a Wednesday; Monday the 23rd comes first.
        let run = next("0 0 25 * 1", "2026-11-22T00:00:00Z", "UTC");
        assert_eq!(run.as_deref(), Some("2026-11-23T00:00:00Z"));
    }

    #[test]
    fn the_box_reads_its_table_in_its_own_zone() {
        let run = next("0 3 * * *", "2026-11-22T00:30:00Z", "Europe/Sofia");
        assert_eq!(run.as_deref(), Some("2026-11-22T01:00:00Z"));
        let half_hour = next("0 * * * *", "2026-11-22T00:10:00Z", "Asia/Kolkata");
        assert_eq!(half_hour.as_deref(), Some("2026-11-22T00:30:00Z"));
    }

    #[test]
    fn a_clock_change_ends_no_search() {
        // In Sofia 03:00 jumps to 04:00 on 28 March 2027.
        let run = next("30 3 * * *", "2027-03-28T00:00:00Z", "Europe/Sofia");
        assert_eq!(run.as_deref(), Some("2027-03-29T00:30:00Z"));
        let back = next("30 3 * * *", "2026-10-24T22:00:00Z", "Europe/Sofia");
        assert_eq!(back.as_deref(), Some("2026-10-25T00:30:00Z"));
    }

    #[test]
    fn a_day_that_never_comes_never_runs() {
        assert_eq!(next("0 0 31 2 *", "2026-11-22T00:00:00Z", "UTC"), None);
    }

    #[test]
    fn what_cron_refuses_is_refused() {
        let wrong = [
            "60", "*/0", "5/10", "a", "", "1-", "-1", "7-3", "1,,2", "+5", "@hourly", "*/x", "300",
            "~",
        ];
        for minute in wrong {
            assert_eq!(Schedule::new([minute, "*", "*", "*", "*"]), None, "{minute:?}");
        }
        assert_eq!(Schedule::new(["0", "24", "*", "*", "*"]), None);
        assert_eq!(Schedule::new(["0", "0", "0", "*", "*"]), None);
        assert_eq!(Schedule::new(["0", "0", "*", "mon", "*"]), None);
    }

    proptest::proptest! {
        #[test]
        fn reading_and_searching_never_panic(fields in proptest::array::uniform5("[0-9*,/a-z-]{0,6}"), at in proptest::prelude::any::<i64>()) {
            if let Some(schedule) = Schedule::new(fields.each_ref().map(String::as_str))
                && let Ok(from) = Timestamp::from_second(at)
            {
                let run = schedule.next(from, &TimeZone::UTC);
                proptest::prop_assert!(run.is_none_or(|run| run >= from));
            }
        }
    }
}
