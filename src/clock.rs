//! The only place that asks what time it is; everything else is handed `now`.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

/// Where `now` comes from.
#[derive(Clone, Copy, Debug, Default)]
pub enum Clock {
    #[default]
    System,
    /// A moment that stands still, for tests and documentation.
    Fixed(Timestamp),
}

impl Clock {
    pub fn now(self) -> Timestamp {
        match self {
            #[expect(clippy::disallowed_methods, reason = "this is the edge that knows the time")]
            Self::System => Timestamp::now(),
            Self::Fixed(moment) => moment,
        }
    }

    /// Returns the day in UTC.
    pub fn today(self) -> Date {
        self.now().to_zoned(TimeZone::UTC).date()
    }
}
