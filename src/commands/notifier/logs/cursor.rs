//! The place in a log that is read again after a cut: which lines came already, and whether the two readings meet. Pure.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use jiff::{SignedDuration, Timestamp};

/// How far back a stamped log is asked for again: lines of stdout and stderr may be a little out of order.
const OVERLAP: SignedDuration = SignedDuration::from_secs(2);

/// Most lines remembered of that time; beyond it, in a flood, lines may come twice rather than be lost.
const MOST_SEEN_LINES: usize = 65_536;

/// Lines of a file that are remembered to find the place again. Each bears a time and most a port: so many in the same
/// order are one place.
const REMEMBERED: usize = 64;

/// The seam of a log whose lines are stamped.
#[derive(Clone, Debug, Default)]
pub(super) struct LogCursor {
    newest: Option<Timestamp>,
    kept: BTreeMap<(Timestamp, u64), u32>,
    again: Option<Again>,
}

/// What may come again after a cut.
#[derive(Clone, Debug)]
struct Again {
    from: Option<Timestamp>,
    until: Option<Timestamp>,
    lines: BTreeMap<(Timestamp, u64), u32>,
    met: u64,
}

impl LogCursor {
    /// Returns the time from which the log must be read again; `None` before the first line.
    pub(super) fn since(&self) -> Option<Timestamp> {
        let from = self.newest?.checked_sub(OVERLAP).ok()?;
        Timestamp::from_second(from.as_second()).ok()
    }

    /// Notes that the log is read again from [`LogCursor::since`].
    pub(super) fn reopen(&mut self) {
        self.again = Some(Again {
            from: self.since(),
            until: self.newest,
            lines: self.kept.clone(),
            met: 0,
        });
    }

    /// Returns whether a line is new; one that came already is not.
    pub(super) fn is_new(&mut self, at: Timestamp, line: &[u8]) -> bool {
        let mut hasher = DefaultHasher::new();
        line.hash(&mut hasher);
        let key = (at, hasher.finish());
        if let Some(again) = &mut self.again {
            if again.from.is_some_and(|from| at < from) {
                again.met += 1;
                return false;
            }
            if let Some(count) = again.lines.get_mut(&key).filter(|count| **count > 0) {
                *count -= 1;
                again.met += 1;
                return false;
            }
        }
        *self.kept.entry(key).or_default() += 1;
        if self.newest.is_none_or(|newest| at > newest) {
            self.newest = Some(at);
            if let Some(from) = self.since() {
                self.kept = self.kept.split_off(&(from, 0));
            }
        }
        while self.kept.len() > MOST_SEEN_LINES {
            self.kept.pop_first();
        }
        true
    }

    /// Returns, after a reopening, whether the two readings meet: `Some(true)` where a known line came again, so that
    /// nothing is lost; `Some(false)` where newer ones came without; `None` while that is open.
    pub(super) fn readings_meet(&self) -> Option<bool> {
        let again = self.again.as_ref()?;
        if again.met > 0 || again.lines.is_empty() {
            return Some(true);
        }
        (self.newest > again.until).then_some(false)
    }
}

/// The seam of a file that is read again by its last lines.
#[derive(Clone, Debug, Default)]
pub(super) struct TailSeam {
    last: VecDeque<Vec<u8>>,
    catching: Option<Vec<Vec<u8>>>,
    /// How many bytes these have.
    caught: usize,
}

impl TailSeam {
    /// How many lines must be asked for after a cut.
    pub(super) const AGAIN: usize = 5_000;

    /// Most bytes of lines that are held while the place is looked for.
    const HELD: usize = 16 << 20;

    /// Notes that the last [`TailSeam::AGAIN`] lines come again.
    pub(super) fn reopen(&mut self) {
        self.catching = (!self.last.is_empty()).then(Vec::new);
        self.caught = 0;
    }

    /// Returns whether the place was not found again yet.
    pub(super) fn is_searching(&self) -> bool {
        self.catching.is_some()
    }

    /// Takes a line and returns those that are new by now. The second value is false where the place was not found:
    /// then lines may be missing, or come twice.
    pub(super) fn take_new_lines(&mut self, line: &[u8]) -> (Vec<Vec<u8>>, bool) {
        let Some(lines) = &mut self.catching else {
            self.remember_line(line);
            return (vec![line.to_vec()], true);
        };
        lines.push(line.to_vec());
        self.caught += line.len();
        let place = lines.len().checked_sub(self.last.len());
        let end = place.and_then(|place| lines.get(place..));
        if end.is_some_and(|end| end.iter().eq(self.last.iter())) {
            self.catching = None;
            return (Vec::new(), true);
        }
        if lines.len() < Self::AGAIN && self.caught < Self::HELD {
            return (Vec::new(), true);
        }
        (self.give_up(), false)
    }

    /// Ends the search: everything that came counts as new.
    pub(super) fn give_up(&mut self) -> Vec<Vec<u8>> {
        let lines = self.catching.take().unwrap_or_default();
        for line in &lines {
            self.remember_line(line);
        }
        lines
    }

    fn remember_line(&mut self, line: &[u8]) {
        self.last.push_back(line.to_vec());
        if self.last.len() > REMEMBERED {
            self.last.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::from_millisecond(1_700_000_000_000 + milliseconds).unwrap()
    }

    #[test]
    fn a_log_that_no_longer_reaches_back_is_reported() {
        let mut seam = LogCursor::default();
        assert!(seam.is_new(at(0), b"a"));
        assert_eq!(seam.readings_meet(), None);
        seam.reopen();
        assert_eq!(seam.readings_meet(), None);
        assert!(seam.is_new(at(9_000), b"b"));
        assert_eq!(seam.readings_meet(), Some(false));
        seam.reopen();
        assert!(!seam.is_new(at(9_000), b"b"));
        assert_eq!(seam.readings_meet(), Some(true));
    }

    proptest! {
        /// For any cuts, and though some stamps are equal and some a little out of order.
        #[test]
        fn nothing_is_lost_and_nothing_comes_twice(
            steps in proptest::collection::vec((0_i64..1_500, 0_u8..3), 1..120),
            cuts in proptest::collection::vec(0_usize..120, 0..6),
        ) {
            let mut now = 0;
            let log: Vec<(Timestamp, Vec<u8>)> = steps.iter().map(|(step, text)| {
                now += step;
                // One in three is stamped half a second early, as another stream's line may be.
                (at(now - 500 * i64::from(*text == 2)), vec![*text])
            }).collect();
            let mut seam = LogCursor::default();
            let mut taken = Vec::new();
            let mut cuts = cuts;
            cuts.push(log.len());
            cuts.sort_unstable();
            for (round, cut) in cuts.iter().enumerate() {
                let since = seam.since();
                if round > 0 { seam.reopen(); }
                for (stamp, line) in log.iter().take((*cut).min(log.len())) {
                    if since.is_none_or(|since| *stamp >= since) && seam.is_new(*stamp, line) {
                        taken.push((*stamp, line.clone()));
                    }
                }
            }
            let mut wanted = log;
            wanted.sort();
            taken.sort();
            prop_assert_eq!(taken, wanted);
        }

        #[test]
        fn a_tail_goes_on_where_it_was_cut(count in 1_usize..300, first in 0_usize..300, again in 0_usize..300) {
            let log: Vec<Vec<u8>> = (0..count).map(|number| number.to_string().into_bytes()).collect();
            let first = first % count + 1;
            let mut seam = TailSeam::default();
            let mut taken = Vec::new();
            for line in &log[..first] { taken.extend(seam.take_new_lines(line).0); }
            // So many lines before the cut come again.
            let from = first.saturating_sub(again + REMEMBERED);
            seam.reopen();
            for line in &log[from..] {
                let (lines, sound) = seam.take_new_lines(line);
                prop_assert!(sound);
                taken.extend(lines);
            }
            prop_assert!(!seam.is_searching());
            prop_assert_eq!(taken, log);
        }
    }

    #[test]
    fn a_tail_whose_place_is_gone_shows_everything() {
        let mut seam = TailSeam::default();
        for line in [b"a", b"b"] {
            assert_eq!(seam.take_new_lines(line).0.len(), 1);
        }
        seam.reopen();
        assert_eq!(seam.take_new_lines(b"x"), (Vec::new(), true));
        assert!(seam.is_searching());
        assert_eq!(seam.give_up(), [b"x".to_vec()]);
        assert_eq!(seam.take_new_lines(b"y").0, [b"y".to_vec()]);
        seam.reopen();
        let mut sound = true;
        for number in 0..TailSeam::AGAIN {
            sound = seam.take_new_lines(number.to_string().as_bytes()).1;
        }
        assert!(!sound && !seam.is_searching());
    }
}
