//! When a blocked address is let go: pfSense's cron item for the table, and the run at which an entry is old
//! enough. Not for removing anything.
//!
//! pfSense's default item is `*/60 * * * * root /usr/bin/nice -n20 /usr/local/sbin/expiretable -v -t 3600
//! virusprot`; it lives in config.xml and can be changed or missing, so it is read, never assumed.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::ser::{Serialize, SerializeStruct, Serializer};

use super::configured::CronItem;
use super::pf::table::TableName;
use super::warning::Warning;

mod schedule;
#[cfg(test)]
mod tests;

pub use schedule::Schedule;

/// What lets entries of the table go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// A cron item removes entries older than this at each run.
    Cron {
        /// An entry goes at the first run at which its age is more than this.
        older_than_seconds: u64,
        /// When it runs, in the firewall's time zone.
        schedule: Schedule,
    },
    /// No cron item names the table: entries stay until somebody removes them, or the firewall restarts.
    None,
    /// A cron item names the table and is not understood, or the configuration could not be read.
    Unknown {
        /// A sentence without full stop.
        why: String,
    },
}

impl Serialize for Expiry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (kind, older_than, schedule) = match self {
            Self::Cron {
                older_than_seconds,
                schedule,
            } => ("cron", Some(older_than_seconds), Some(schedule.to_string())),
            Self::None => ("none", None, None),
            Self::Unknown { .. } => ("unknown", None, None),
        };
        let mut object = serializer.serialize_struct("Expiry", 3)?;
        object.serialize_field("kind", kind)?;
        object.serialize_field("older_than_seconds", &older_than)?;
        object.serialize_field("schedule", &schedule)?;
        object.end()
    }
}

impl Expiry {
    /// Finds the cron item that ages out the table, among all that name it.
    ///
    /// Where several do, the one with the lowest age counts: it frees an entry first, give or take its schedule.
    pub fn find(items: &[CronItem], table: &TableName) -> Self {
        let mut best: Option<Self> = None;
        let mut doubt = None;
        for item in items {
            match read(item, table) {
                Reading::NotOurs => {}
                Reading::Doubtful(why) => doubt = doubt.or(Some(why)),
                Reading::Ages(older_than_seconds, schedule) => {
                    let lowest = best.as_ref().and_then(Self::older_than);
                    if lowest.is_none_or(|lowest| older_than_seconds < lowest) {
                        best = Some(Self::Cron {
                            older_than_seconds,
                            schedule,
                        });
                    }
                }
            }
        }
        best.unwrap_or_else(|| doubt.map_or(Self::None, |why| Self::Unknown { why }))
    }

    /// Says that the configuration was not read.
    pub fn unread() -> Self {
        Self::Unknown {
            why: "the firewall's configuration could not be read".into(),
        }
    }

    /// Returns the age that entries must exceed, in seconds.
    pub fn older_than(&self) -> Option<u64> {
        match self {
            Self::Cron {
                older_than_seconds, ..
            } => Some(*older_than_seconds),
            Self::None | Self::Unknown { .. } => None,
        }
    }

    /// Returns the first run, not before `now`, at which an entry added at `since` is old enough.
    ///
    /// `zone` is the firewall's own time zone. `None` means never, or not known.
    pub fn release_at(
        &self,
        since: Timestamp,
        now: Timestamp,
        zone: &TimeZone,
    ) -> Option<Timestamp> {
        let Self::Cron {
            older_than_seconds,
            schedule,
        } = self
        else {
            return None;
        };
        // Older than N, strictly: expiretable(1) and pfctl's expire both keep an entry of exactly N seconds.
        let age =
            SignedDuration::from_secs(i64::try_from(*older_than_seconds).ok()?.checked_add(1)?);
        let ripe = since.checked_add(age).ok()?;
        schedule.next(ripe.max(now), zone)
    }

    /// Warns where entries are not let go by themselves.
    pub fn warning(&self, table: &TableName) -> Option<Warning> {
        let table = table.as_str();
        match self {
            Self::Cron { .. } => None,
            Self::None => Some(Warning::new(
                "no-expiry",
                format!(
                    "No cron item of the firewall ages out the table {table}: a blocked address stays blocked until \
                     it is removed by hand or the firewall restarts."
                ),
            )),
            Self::Unknown { why } => Some(Warning::new(
                "expiry-unknown",
                format!("When entries of the table {table} are let go is not known: {why}."),
            )),
        }
    }
}

/// Reads a system crontab (crontab(5): five fields, a user, a command); comments and settings are passed over.
pub fn crontab_items(text: &[u8]) -> Vec<CronItem> {
    let text = String::from_utf8_lossy(text);
    text.lines().filter_map(crontab_item).collect()
}

fn crontab_item(line: &str) -> Option<CronItem> {
    let mut rest = line.trim();
    if rest.starts_with('#') {
        return None;
    }
    let mut field = || {
        let (field, tail) = rest.split_once([' ', '\t'])?;
        rest = tail.trim_start();
        Some(field.to_owned())
    };
    let [minute, hour, mday, month, wday, who] =
        [field()?, field()?, field()?, field()?, field()?, field()?];
    // `NAME = some words` is a setting; a minute never looks like one.
    let setting = minute.contains('=') || hour.starts_with('=');
    (!setting && !rest.is_empty()).then(|| CronItem {
        minute,
        hour,
        mday,
        month,
        wday,
        who,
        command: rest.to_owned(),
    })
}

enum Reading {
    NotOurs,
    Doubtful(String),
    Ages(u64, Schedule),
}

fn read(item: &CronItem, table: &TableName) -> Reading {
    if item.minute.trim_start().starts_with('#') || item.command.trim_start().starts_with('#') {
        return Reading::NotOurs;
    }
    let age = match age_of(&item.command, table) {
        Age::NotOurs => return Reading::NotOurs,
        Age::Unread(why) => return Reading::Doubtful(why),
        Age::Seconds(age) => age,
    };
    let fields = [
        &item.minute,
        &item.hour,
        &item.mday,
        &item.month,
        &item.wday,
    ]
    .map(String::as_str);
    match Schedule::new(fields) {
        Some(schedule) => Reading::Ages(age, schedule),
        None => Reading::Doubtful(format!(
            "the schedule {:?} of its cron item is not understood",
            fields.join(" ")
        )),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Age {
    NotOurs,
    Unread(String),
    Seconds(u64),
}

/// Finds the command that ages out the table in a cron command line, behind `nice`, `env` and the like.
fn age_of(command: &str, table: &TableName) -> Age {
    let words: Vec<&str> = command.split_ascii_whitespace().collect();
    for simple in words.split(|word| matches!(*word, ";" | "&&" | "||" | "|")) {
        let named = |name: &str| {
            simple
                .iter()
                .position(|word| word.rsplit('/').next() == Some(name))
        };
        let arguments = |place: usize| {
            let end = simple
                .iter()
                .position(|word| word.contains('>'))
                .unwrap_or(simple.len());
            simple.get(place + 1..end).unwrap_or_default()
        };
        let age = if let Some(place) = named("expiretable") {
            expiretable(arguments(place), table)
        } else if let Some(place) = named("pfctl") {
            pfctl(arguments(place), table)
        } else {
            Age::NotOurs
        };
        if age != Age::NotOurs {
            return age;
        }
    }
    Age::NotOurs
}

/// `expiretable [-dnvp] [-a anchor] [-t age] table`, as its manual has it.
fn expiretable(arguments: &[&str], table: &TableName) -> Age {
    let mut age = None;
    let mut rest = arguments.iter();
    while let Some(word) = rest.next() {
        let Some(flags) = word.strip_prefix('-') else {
            return match age {
                _ if *word != table.as_str() => Age::NotOurs,
                Some(text) => seconds(text).map_or_else(
                    || Age::Unread(format!("expiretable's age {text:?} is not understood")),
                    Age::Seconds,
                ),
                None => Age::Unread("expiretable is started without an age (-t)".into()),
            };
        };
        // Letters can be joined; the value of -t or -a is the rest of the word or the next one.
        for (place, flag) in flags.char_indices() {
            match flag {
                't' | 'a' => {
                    let joined = flags.get(place + 1..).filter(|text| !text.is_empty());
                    let value = joined.or_else(|| rest.next().copied());
                    if flag == 'a' {
                        return Age::NotOurs;
                    }
                    age = value;
                    break;
                }
                'v' => {}
                'n' => return Age::NotOurs,
                _ => {
                    return Age::Unread(format!(
                        "expiretable runs with -{flag}, so cron does not decide when"
                    ));
                }
            }
        }
    }
    Age::NotOurs
}

/// `pfctl -t table -T expire seconds`, flags in any order.
fn pfctl(arguments: &[&str], table: &TableName) -> Age {
    let after = |flag: &str| {
        let place = arguments.iter().position(|word| *word == flag)?;
        arguments.get(place + 1).copied()
    };
    if after("-t") != Some(table.as_str()) || after("-T") != Some("expire") {
        return Age::NotOurs;
    }
    let age = arguments
        .iter()
        .skip_while(|word| **word != "expire")
        .nth(1)
        .and_then(|age| age.parse().ok());
    age.map_or_else(
        || Age::Unread("pfctl's expire has no age that is understood".into()),
        Age::Seconds,
    )
}

/// Reads an age: seconds, or numbers with `d`, `h`, `m`, `s`; expiretable takes less than 100 million seconds.
fn seconds(text: &str) -> Option<u64> {
    let mut total: u64 = 0;
    let mut number: Option<u64> = None;
    for letter in text.chars() {
        if let Some(digit) = letter.to_digit(10) {
            number = Some(
                number
                    .unwrap_or(0)
                    .checked_mul(10)?
                    .checked_add(u64::from(digit))?,
            );
            continue;
        }
        let unit = match letter {
            'd' => 86_400,
            'h' => 3_600,
            'm' => 60,
            's' => 1,
            _ => return None,
        };
        total = total.checked_add(number.take()?.checked_mul(unit)?)?;
    }
    let total = match number {
        Some(plain) if total == 0 => plain,
        Some(_) => return None,
        None => total,
    };
    (1..100_000_000).contains(&total).then_some(total)
}
