//! When a blocked address is let go: pfSense's cron item for the table, and the run at which an entry is old
//! enough. Not for removing anything.
//!
//! pfSense's default item is `*/60 * * * * root /usr/bin/nice -n20 /usr/local/sbin/expiretable -v -t 3600
//! virusprot`; it lives in config.xml and can be changed or missing, so it is read, never assumed.

use ipnet::IpNet;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::ser::{Serialize, SerializeStruct, Serializer};

use crate::domain::pf::table::{Entry, TableName};
use crate::domain::pfsense::configured::CronItem;
use crate::domain::warning::Warning;

mod command;
#[cfg(test)]
mod tests;

pub use crate::domain::virusprot::cron::Schedule;
use crate::text::quoted;
use command::Age;

/// What lets entries of the table go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// A cron item removes entries older than this at each run.
    Cron {
        /// An entry goes at the first run at which its age is more than this.
        older_than_seconds: u64,
        /// When it runs, in the firewall's time zone.
        schedule: Schedule,
        /// The other items that do the same, if any.
        others: Vec<Job>,
        /// A sentence without full stop about an item that may free entries too, and is not understood.
        doubt: Option<String>,
    },
    /// No cron item names the table: entries stay until they are removed by hand, or the firewall restarts.
    None,
    /// A cron item names the table and is not understood, or the configuration could not be read.
    Unknown {
        /// A sentence without full stop.
        why: String,
    },
}

/// One cron item that ages out the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// An entry goes at the first run at which its age is more than this.
    pub older_than_seconds: u64,
    /// When it runs, in the firewall's time zone.
    pub schedule: Schedule,
}

impl Job {
    /// Returns the first run, not before `now`, at which an entry added at `since` is old enough.
    fn release_at(&self, since: Timestamp, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        // Older than N, strictly: expiretable(1) and pfctl's expire both keep an entry of exactly N seconds.
        let age = i64::try_from(self.older_than_seconds).ok()?.checked_add(1)?;
        let ripe = since.checked_add(SignedDuration::from_secs(age)).ok()?;
        self.schedule.next(ripe.max(now), zone)
    }

    /// Returns how long an entry stays at most where the runs are spread evenly, in seconds: what jobs are
    /// compared by. One that never runs comes last.
    fn stay(&self) -> u64 {
        const YEAR: u64 = 366 * 86_400;
        let gap = YEAR.checked_div(self.schedule.runs_in_a_leap_year());
        gap.map_or(u64::MAX, |gap| self.older_than_seconds.saturating_add(gap))
    }
}

/// What lets entries go, held against the entries that are there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// What is configured.
    pub expiry: Expiry,
    /// Entries that should have been let go and are still there.
    pub overdue: Option<Overdue>,
}

/// Entries that no run has let go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overdue {
    /// The one that should have gone first.
    pub first: IpNet,
    /// How long ago that was, in seconds.
    pub late_seconds: u64,
    /// How many there are.
    pub count: usize,
}

/// A run at its minute takes some time, and the clock of a box can be corrected.
const GRACE_SECONDS: u64 = 15 * 60;

impl Judged {
    /// Looks for entries that should have been let go. `zone` is the firewall's own time zone.
    pub fn of(expiry: Expiry, entries: &[Entry], now: Timestamp, zone: &TimeZone) -> Self {
        let mut overdue: Option<Overdue> = None;
        for entry in entries.iter().filter(|entry| !entry.negated) {
            let due = entry.since.and_then(|since| expiry.due_at(since, zone));
            let late = due.map(|due| now.duration_since(due).as_secs());
            let late = late.and_then(|late| u64::try_from(late).ok());
            let Some(late_seconds) = late.filter(|late| *late > GRACE_SECONDS) else {
                continue;
            };
            let found = overdue.get_or_insert(Overdue { first: entry.net, late_seconds, count: 0 });
            found.count += 1;
            if late_seconds > found.late_seconds {
                (found.first, found.late_seconds) = (entry.net, late_seconds);
            }
        }
        Self { expiry, overdue }
    }

    /// Returns whether the job works, as far as the entries show it; `None` where there is no job, or it is not known.
    pub fn working(&self) -> Option<bool> {
        let job = matches!(self.expiry, Expiry::Cron { .. });
        job.then_some(self.overdue.is_none())
    }

    /// Returns the first run that will let an entry go that was added at `since`. `None` means never, or not known: what
    /// a job should do that does not work is no promise.
    pub fn release_at(
        &self,
        since: Timestamp,
        now: Timestamp,
        zone: &TimeZone,
    ) -> Option<Timestamp> {
        if self.overdue.is_some() {
            return None;
        }
        self.expiry.release_at(since, now, zone)
    }

    /// Warns where entries are not let go by themselves.
    pub fn warning(&self, table: &TableName) -> Option<Warning> {
        match self.not_working() {
            Some(sentence) => Some(Warning::new("expiry-not-working", sentence)),
            None => self.expiry.warning(table),
        }
    }

    /// Says by which entries the job is known not to work.
    pub fn not_working(&self) -> Option<String> {
        let overdue = self.overdue.as_ref()?;
        let address = if overdue.first.prefix_len() == overdue.first.max_prefix_len() {
            overdue.first.addr().to_string()
        } else {
            overdue.first.to_string()
        };
        let more = match overdue.count {
            0 | 1 => String::new(),
            count => format!(" (and {} more)", count - 1),
        };
        let (hours, minutes) = (overdue.late_seconds / 3600, overdue.late_seconds / 60 % 60);
        Some(format!(
            "{address}{more} should have been freed {hours}h {minutes}m ago and is still blocked: the cron job does not work."
        ))
    }
}

/// The keys of the schema `virusprot.show`.
impl Serialize for Judged {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (kind, older_than, schedule) = match &self.expiry {
            Expiry::Cron { older_than_seconds, schedule, .. } => {
                ("cron", Some(older_than_seconds), Some(schedule.to_string()))
            }
            Expiry::None => ("none", None, None),
            Expiry::Unknown { .. } => ("unknown", None, None),
        };
        let mut object = serializer.serialize_struct("Expiry", 4)?;
        object.serialize_field("kind", kind)?;
        object.serialize_field("older_than_seconds", &older_than)?;
        object.serialize_field("schedule", &schedule)?;
        object.serialize_field("working", &self.working())?;
        object.end()
    }
}

impl Expiry {
    /// Finds the cron items that age out the table, among all items.
    ///
    /// Where several do, the one that frees soonest as a rule (lowest age and gap between its runs together) is
    /// the one that is shown; [`Expiry::release_at`] looks at all. An item that names the table and is not
    /// understood makes the answer unknown, or where others are understood, doubtful.
    pub fn find(items: &[CronItem], table: &TableName) -> Self {
        let mut jobs = Vec::new();
        let mut doubt = None;
        for item in items {
            match read(item, table) {
                Reading::NotOurs => {}
                Reading::Doubtful(why) => doubt = doubt.or(Some(why)),
                Reading::Ages(job) => jobs.push(job),
            }
        }
        jobs.sort_by_cached_key(Job::stay);
        let mut jobs = jobs.into_iter();
        match (jobs.next(), doubt) {
            (Some(first), doubt) => Self::Cron {
                older_than_seconds: first.older_than_seconds,
                schedule: first.schedule,
                others: jobs.collect(),
                doubt,
            },
            (None, Some(why)) => Self::Unknown { why },
            (None, None) => Self::None,
        }
    }

    /// Says that the configuration was not read.
    pub fn unread() -> Self {
        Self::Unknown { why: "the firewall's configuration could not be read".into() }
    }

    /// Returns the first run of any item, not before `now`, at which an entry added at `since` is old enough.
    ///
    /// `zone` is the firewall's own time zone. `None` means never, or not known.
    pub fn release_at(
        &self,
        since: Timestamp,
        now: Timestamp,
        zone: &TimeZone,
    ) -> Option<Timestamp> {
        let runs = self.jobs().into_iter();
        runs.filter_map(|job| job.release_at(since, now, zone)).min()
    }

    /// Says what ends a block, after "until".
    pub fn freeing_words(&self) -> &'static str {
        match self {
            Self::None => "freed by hand: no cron job does it",
            Self::Cron { .. } | Self::Unknown { .. } => "expiry",
        }
    }

    /// Returns the run at which an entry that was added at `since` was, or will be, old enough.
    fn due_at(&self, since: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        self.release_at(since, since, zone)
    }

    fn jobs(&self) -> Vec<Job> {
        let Self::Cron { older_than_seconds, schedule, others, .. } = self else {
            return Vec::new();
        };
        let first = Job { older_than_seconds: *older_than_seconds, schedule: schedule.clone() };
        std::iter::once(first).chain(others.iter().cloned()).collect()
    }

    /// Warns where entries are not let go by themselves.
    pub fn warning(&self, table: &TableName) -> Option<Warning> {
        let table = table.as_str();
        match self {
            Self::Cron { doubt, .. } => doubt.as_ref().map(|why| {
                Warning::new(
                    "expiry-doubtful",
                    format!(
                        "Entries of the table {table} may be let go earlier than shown: {why}."
                    ),
                )
            }),
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
    Ages(Job),
}

fn read(item: &CronItem, table: &TableName) -> Reading {
    if item.minute.trim_start().starts_with('#') || item.command.trim_start().starts_with('#') {
        return Reading::NotOurs;
    }
    let older_than_seconds = match command::age_of(&item.command, table) {
        Age::NotOurs => return Reading::NotOurs,
        Age::Unread(why) => return Reading::Doubtful(why),
        Age::Seconds(age) => age,
    };
    let fields =
        [&item.minute, &item.hour, &item.mday, &item.month, &item.wday].map(String::as_str);
    match Schedule::new(fields) {
        Some(schedule) => Reading::Ages(Job { older_than_seconds, schedule }),
        None => Reading::Doubtful(format!(
            "the schedule {} of its cron item is not understood",
            quoted(&fields.join(" "))
        )),
    }
}
