//! pf's own rate arithmetic, both generations: when does a source trip `max-src-conn-rate N/S`?
//!
//! pf counts a TCP connection at the moment its handshake completes. What follows from a trip (the overload
//! table, flushing) is not here. Source: FreeBSD's `sys/netpfil/pf/pf.c`, `pf_add_threshold` and
//! `pf_check_threshold` in 12 and 14, the rate check with a fixed window in 15.

use serde::{Deserialize, Serialize};

use super::pf::rule::Rate;

/// The kernel counts in thousandths of connections.
const THOUSANDTHS: u32 = 1000;

/// Which of the two algorithms a firewall runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Generation {
    /// FreeBSD 12 and 14 (pfSense 2.6, 2.7): a count that decays between connections; there is no window.
    Decaying,
    /// FreeBSD 15 (pfSense 2.8, Plus 25): a count within a window that begins with its first connection.
    Window,
}

impl Generation {
    /// Finds it by pfSense's version, such as `2.7.2-RELEASE`; `None` where a version may run either.
    pub fn of_version(version: &str) -> Option<Self> {
        let mut numbers = version.split(['.', '-']).map(str::parse::<u32>);
        let major = numbers.next()?.ok()?;
        let minor = numbers.next()?.ok()?;
        match (major, minor) {
            (2, 4..=7) | (21..=23, _) => Some(Self::Decaying),
            (2, 8..) | (25.., _) => Some(Self::Window),
            _ => None,
        }
    }
}

/// What pf keeps for one source under one rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateTracker {
    generation: Generation,
    rate: Rate,
    /// Thousandths of connections (decaying) or connections (window).
    count: u32,
    /// Seconds: the last connection (decaying) or the beginning of the window; `None` before the first.
    since: Option<u64>,
}

impl RateTracker {
    pub fn new(generation: Generation, rate: Rate) -> Self {
        Self { generation, rate, count: 0, since: None }
    }

    /// Counts a completed handshake at `now_seconds` (of any steady clock), and returns whether it tripped the rate.
    ///
    /// A source that tripped goes on tripping until it slows down.
    pub fn count_connection(&mut self, now_seconds: u64) -> bool {
        match self.generation {
            Generation::Decaying => self.decay_count(now_seconds),
            Generation::Window => self.count_in_window(now_seconds),
        }
    }

    /// Returns what a connection at `now_seconds` would find counted, rounded up to whole connections.
    pub fn count_at(mut self, now_seconds: u64) -> u32 {
        self.count_connection(now_seconds);
        match self.generation {
            Generation::Decaying => self.count.saturating_sub(THOUSANDTHS).div_ceil(THOUSANDTHS),
            Generation::Window => self.count.saturating_sub(1),
        }
    }

    /// The 32-bit arithmetic is the kernel's, wrapping included.
    fn decay_count(&mut self, now: u64) -> bool {
        let seconds = self.rate.seconds;
        let since_last = self.elapsed_seconds(now);
        match u32::try_from(since_last) {
            Ok(passed) if passed < seconds => {
                let decayed = self.count.wrapping_mul(passed) / seconds;
                self.count = self.count.wrapping_sub(decayed);
            }
            _ => self.count = 0,
        }
        self.count = self.count.wrapping_add(THOUSANDTHS);
        self.since = Some(now);
        self.count > self.rate.connections.wrapping_mul(THOUSANDTHS)
    }

    fn count_in_window(&mut self, now: u64) -> bool {
        if self.elapsed_seconds(now) >= u64::from(self.rate.seconds) {
            self.count = 0;
            self.since = Some(now);
        }
        self.count = self.count.saturating_add(1);
        self.count > self.rate.connections
    }

    /// A first connection, or a clock set back, is as good as a long pause.
    fn elapsed_seconds(&self, now: u64) -> u64 {
        self.since.map_or(u64::MAX, |since| now.wrapping_sub(since))
    }
}

/// What pf may have counted of one source where the moments are known by the whole seconds of another clock: by pf's own, whose
/// seconds begin at another moment, a connection is of its stamp's second or already of the next.
#[derive(Debug)]
struct BlurredCount {
    /// The second of the last connection, and what is counted then.
    possible: Vec<(u64, RateTracker)>,
    /// The same before it; kept for its memory.
    before: Vec<(u64, RateTracker)>,
}

impl BlurredCount {
    fn new(generation: Generation, rate: Rate) -> Self {
        Self { possible: vec![(0, RateTracker::new(generation, rate))], before: Vec::new() }
    }

    /// Counts a connection. Of counts that go on alike only the lowest is kept, or the highest, and none that tripped; returns
    /// whether one did.
    fn count_connection(&mut self, stamp: u64, keeps_highest: bool) -> bool {
        std::mem::swap(&mut self.possible, &mut self.before);
        self.possible.clear();
        let mut has_tripped = false;
        for (last, tracker) in &self.before {
            for at in [stamp, stamp + 1].into_iter().filter(|at| at >= last) {
                let mut counted = *tracker;
                if counted.count_connection(at) {
                    has_tripped = true;
                } else {
                    self.possible.push((at, counted));
                }
            }
        }
        let order = |count: u32| if keeps_highest { u32::MAX - count } else { count };
        self.possible.sort_unstable_by_key(|(at, own)| (*at, own.since, order(own.count)));
        self.possible.dedup_by_key(|(at, own)| (*at, own.since));
        has_tripped
    }
}

/// Returns whether connections of these seconds, in order, trip the rate however they lie within them.
pub fn surely_trips(
    generation: Generation,
    rate: Rate,
    mut stamps: impl Iterator<Item = u64>,
) -> bool {
    let mut counts = BlurredCount::new(generation, rate);
    stamps.any(|stamp| {
        counts.count_connection(stamp, false);
        counts.possible.is_empty()
    })
}

/// Returns the first of these seconds, in order, whose connection may trip the rate, as they can lie within them.
pub fn may_trip(
    generation: Generation,
    rate: Rate,
    mut stamps: impl Iterator<Item = u64>,
) -> Option<u64> {
    let mut counts = BlurredCount::new(generation, rate);
    stamps.find(|stamp| counts.count_connection(*stamp, true))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEN_A_MINUTE: Rate = Rate { connections: 10, seconds: 60 };

    /// Returns which connection (from 1) trips first, if one comes every `gap` seconds.
    fn first_trip(generation: Generation, gap: u64) -> Option<u64> {
        let mut tracker = RateTracker::new(generation, TEN_A_MINUTE);
        (1..10_000).find(|number| tracker.count_connection(1_000_000 + number * gap))
    }

    #[test]
    fn eleven_in_one_second_trip_at_the_eleventh() {
        assert_eq!(first_trip(Generation::Decaying, 0), Some(11));
        assert_eq!(first_trip(Generation::Window, 0), Some(11));
    }

    #[test]
    fn one_every_six_seconds_never_trips() {
        assert_eq!(first_trip(Generation::Decaying, 6), None);
        assert_eq!(first_trip(Generation::Decaying, 60), None);
        assert_eq!(first_trip(Generation::Window, 6), None);
    }

    #[test]
    fn one_every_five_seconds_trips_at_the_twenty_first_or_in_the_first_window() {
        assert_eq!(first_trip(Generation::Decaying, 5), Some(21));
        // 0, 5, … 50, 55 s: twelve within the first minute.
        assert_eq!(first_trip(Generation::Window, 5), Some(11));
    }

    #[test]
    fn a_long_pause_forgets_everything() {
        let mut tracker = RateTracker::new(Generation::Decaying, TEN_A_MINUTE);
        assert_eq!((1..=20).filter(|_| tracker.count_connection(100)).count(), 10);
        assert!(tracker.count_connection(101));
        assert!(!tracker.count_connection(161));
        assert_eq!(tracker.count, 1000);
    }

    #[test]
    fn the_decay_is_the_kernels_to_the_thousandth() {
        let mut tracker = RateTracker::new(Generation::Decaying, TEN_A_MINUTE);
        let counts: Vec<u32> = [0, 7, 20, 20, 79, 139]
            .into_iter()
            .map(|now| {
                tracker.count_connection(now);
                tracker.count
            })
            .collect();
        // 1000; 1000 - 116 + 1000; 1884 - 408 + 1000; + 1000; 3476 - 3418 + 1000; 60 s later 0 + 1000.
        assert_eq!(counts, [1000, 1884, 2476, 3476, 1058, 1000]);
    }

    #[test]
    fn twice_the_limit_passes_across_a_windows_border() {
        let mut tracker = RateTracker::new(Generation::Window, TEN_A_MINUTE);
        assert!(!tracker.count_connection(100));
        let before = (0..9).filter(|_| !tracker.count_connection(159)).count();
        let after = (0..10).filter(|_| !tracker.count_connection(160)).count();
        assert_eq!((before, after), (9, 10));
        assert!(tracker.count_connection(160), "the 11th of the second window");
        assert!(tracker.count_connection(219), "and every later one in it");
        assert!(!tracker.count_connection(220));
    }

    proptest! {
        #[test]
        fn no_input_panics(
            connections: u32,
            seconds: u32,
            window: bool,
            times in proptest::collection::vec(any::<u64>(), 0..50),
        ) {
            let generation = if window { Generation::Window } else { Generation::Decaying };
            let mut tracker = RateTracker::new(generation, Rate { connections, seconds });
            for now in times {
                tracker.count_connection(now % 1000);
                tracker.count_connection(now);
            }
        }
    }
}
