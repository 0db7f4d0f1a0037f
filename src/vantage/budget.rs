//! How often a vantage may still connect: five times in a minute, across runs, so that our own checks never trip the
//! firewall's caps (half of pfSense's 10 in 60 s). Kept in one file of the state directory, locked while it is read
//! and written. Connections that share an address or a name, through a firewall that shares a host key, count together.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::own_files;
use crate::plain_file;

/// Connections within [`WINDOW`].
pub const MOST: usize = 5;
/// Milliseconds.
const WINDOW: i64 = 60_000;
/// How long another run may take to count: ctrl-C waits for no longer.
const PATIENCE: Duration = Duration::from_millis(500);
const POLL: Duration = Duration::from_millis(10);
/// A file larger than this is not ours.
const LARGEST: u64 = 64 << 10;

/// Where connections come from and which firewall counts them, by everything that is known of either.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spender {
    /// The vantage by its name, its address and any other name that it is known by.
    pub from: Vec<String>,
    /// The firewall's host keys; none where it was not reached yet, which counts as any.
    pub through: Vec<String>,
}

impl Spender {
    /// Returns whether both may be counted by the same firewall as one source.
    fn may_be(&self, other: &Self) -> bool {
        let share = |one: &[String], two: &[String]| one.iter().any(|item| two.contains(item));
        share(&self.from, &other.from)
            && (self.through.is_empty()
                || other.through.is_empty()
                || share(&self.through, &other.through))
    }
}

/// One connection.
#[derive(Debug, Serialize, Deserialize)]
struct Spent {
    /// Milliseconds since 1970.
    at: i64,
    by: Spender,
}

/// The file of spent connections.
#[derive(Clone, Debug)]
pub struct Budget {
    path: PathBuf,
}

/// Whether one more connection may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permit {
    /// Yes; it is counted.
    Granted,
    /// Not for so many seconds.
    Wait(u64),
}

impl Budget {
    /// Names the file in the state directory; nothing is made yet.
    pub fn new(state_directory: &Path) -> Self {
        Self { path: state_directory.join(own_files::SPENT_CONNECTIONS) }
    }

    /// Returns whether so many connections of a vantage may be made now, and counts none.
    pub fn look(
        &self,
        spender: &Spender,
        now: Timestamp,
        connections: usize,
    ) -> io::Result<Permit> {
        let mut file = match plain_file::open_own_file(&self.path, OpenOptions::new().read(true)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Permit::Granted),
            Err(error) => return Err(error),
        };
        take_lock(&file)?;
        let now = now.as_millisecond();
        let times = times_of(spender, &read_spent(&mut file, now)?);
        // So many of the first must be forgotten before.
        let over = (times.len() + connections).saturating_sub(MOST);
        let last = over.checked_sub(1).and_then(|last| times.get(last));
        Ok(last.map_or(Permit::Granted, |last| budget_wait(*last, now)))
    }

    /// Counts one connection of a vantage, if it may be made. Waits for another run that is counting, for the
    /// moment that takes; who holds the file for longer does not count.
    pub fn take(&self, spender: &Spender, now: Timestamp) -> io::Result<Permit> {
        if let Some(directory) = self.path.parent() {
            own_files::make_private_directory(directory)?;
        }
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).read(true).write(true).mode(0o600);
        let mut file = plain_file::open_own_file(&self.path, &mut options)?;
        take_lock(&file)?;
        let now = now.as_millisecond();
        let mut spent = read_spent(&mut file, now)?;
        let times = times_of(spender, &spent);
        if let Some(first) = times.len().checked_sub(MOST).and_then(|over| times.get(over)) {
            return Ok(budget_wait(*first, now));
        }
        spent.push(Spent { at: now, by: spender.clone() });
        write_spent(&mut file, &spent)?;
        Ok(Permit::Granted)
    }
}

/// Locks the file, unless another process holds it for longer than counting takes.
fn take_lock(file: &File) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => std::thread::sleep(POLL),
            Err(TryLockError::WouldBlock) => {
                return Err(io::Error::other("another process keeps the file locked"));
            }
            Err(TryLockError::Error(error)) => return Err(error),
            Ok(()) => return Ok(()),
        }
    }
}

/// Returns for how long a connection made at `then` still counts.
fn budget_wait(then: i64, now: i64) -> Permit {
    let seconds = (then + WINDOW - now + 999) / 1000;
    Permit::Wait(u64::try_from(seconds).unwrap_or_default())
}

/// Returns when the connections were made that count for a spender, the oldest first.
fn times_of(spender: &Spender, spent: &[Spent]) -> Vec<i64> {
    let counted = spent.iter().filter(|spent| spent.by.may_be(spender));
    let mut times: Vec<i64> = counted.map(|spent| spent.at).collect();
    times.sort_unstable();
    times
}

/// Reads what was spent within the window; a spoilt file counts as empty, since refusing to verify for ever would be
/// worse. What lies in the future was written by a clock that was wrong; it must not block for ever.
fn read_spent(file: &mut File, now: i64) -> io::Result<Vec<Spent>> {
    let mut text = Vec::new();
    file.take(LARGEST).read_to_end(&mut text)?;
    let mut spent: Vec<Spent> = serde_json::from_slice(&text).unwrap_or_default();
    spent.retain(|spent| (0..WINDOW).contains(&now.saturating_sub(spent.at)));
    Ok(spent)
}

fn write_spent(file: &mut File, spent: &[Spent]) -> io::Result<()> {
    let text = serde_json::to_vec(spent)?;
    file.seek(SeekFrom::Start(0))?;
    file.set_len(0)?;
    file.write_all(&text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn by(vantage: &str) -> Spender {
        Spender { from: vec![vantage.to_owned()], through: vec!["ed A".to_owned()] }
    }

    #[test]
    fn what_may_be_one_source_through_one_firewall_counts_together() {
        fn spender(from: &[&str], through: &[&str]) -> Spender {
            let owned = |items: &[&str]| items.iter().map(ToString::to_string).collect();
            Spender { from: owned(from), through: owned(through) }
        }
        let home = tempfile::tempdir().unwrap();
        let budget = Budget::new(home.path());
        let spent = spender(&["vps", "198.51.100.7"], &["ed A", "ec A"]);
        for _ in 0..MOST {
            assert_eq!(budget.take(&spent, at(0)).unwrap(), Permit::Granted);
        }
        for (from, through, together) in [
            (&["vps"][..], &["ed A"][..], true),
            (&["office", "198.51.100.7"], &["ec A"], true),
            (&["vps"], &[], true),
            (&["vps"], &["ed B"], false),
            (&["office", "203.0.113.9"], &["ed A"], false),
        ] {
            let permit = if together { Permit::Wait(60) } else { Permit::Granted };
            let other = spender(from, through);
            assert_eq!(budget.look(&other, at(0), 1).unwrap(), permit, "{from:?} {through:?}");
        }
    }

    #[test]
    fn five_in_a_minute_and_no_more() {
        let home = tempfile::tempdir().unwrap();
        let budget = Budget::new(&home.path().join("state"));
        for second in 0..5 {
            assert_eq!(budget.take(&by("vps"), at(second)).unwrap(), Permit::Granted);
        }
        assert_eq!(budget.take(&by("vps"), at(10)).unwrap(), Permit::Wait(50));
        assert_eq!(budget.take(&by("office"), at(10)).unwrap(), Permit::Granted);
        // Another run knows what this one spent, and a refusal costs nothing.
        let other = Budget::new(&home.path().join("state"));
        assert_eq!(other.take(&by("vps"), at(59)).unwrap(), Permit::Wait(1));
        assert_eq!(other.take(&by("vps"), at(60)).unwrap(), Permit::Granted);
        assert_eq!(other.take(&by("vps"), at(60)).unwrap(), Permit::Wait(1));
        let mode = fs::metadata(&budget.path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn looking_tells_how_long_so_many_take_and_costs_nothing() {
        let home = tempfile::tempdir().unwrap();
        let budget = Budget::new(&home.path().join("state"));
        assert_eq!(budget.look(&by("vps"), at(0), 3).unwrap(), Permit::Granted);
        for second in [0, 10, 20] {
            assert_eq!(budget.take(&by("vps"), at(second)).unwrap(), Permit::Granted);
        }
        for _ in 0..9 {
            assert_eq!(budget.look(&by("vps"), at(20), 2).unwrap(), Permit::Granted);
            assert_eq!(budget.look(&by("vps"), at(20), 3).unwrap(), Permit::Wait(40));
            assert_eq!(budget.look(&by("vps"), at(20), 4).unwrap(), Permit::Wait(50));
            assert_eq!(budget.look(&by("office"), at(20), 5).unwrap(), Permit::Granted);
        }
        assert_eq!(budget.look(&by("vps"), at(60), 3).unwrap(), Permit::Granted);
    }

    #[test]
    fn spoilt_files_and_wrong_clocks_do_not_block_for_ever() {
        let home = tempfile::tempdir().unwrap();
        let budget = Budget::new(home.path());
        fs::write(&budget.path, b"\xff{{{").unwrap();
        assert_eq!(budget.take(&by("vps"), at(0)).unwrap(), Permit::Granted);
        for _ in 0..4 {
            assert_eq!(budget.take(&by("vps"), at(0)).unwrap(), Permit::Granted);
        }
        assert_eq!(budget.take(&by("vps"), at(-86_400)).unwrap(), Permit::Granted);
        for never in [i64::MIN, i64::MAX] {
            let spent: Vec<Spent> = (0..MOST).map(|_| Spent { at: never, by: by("vps") }).collect();
            fs::write(&budget.path, serde_json::to_vec(&spent).unwrap()).unwrap();
            assert_eq!(budget.look(&by("vps"), at(0), 1).unwrap(), Permit::Granted, "{never}");
        }
    }

    #[test]
    fn a_lock_that_stays_held_is_no_wait() {
        let home = tempfile::tempdir().unwrap();
        let budget = Budget::new(home.path());
        assert_eq!(budget.take(&by("vps"), at(0)).unwrap(), Permit::Granted);
        // The lock belongs to the open file: as good as another process.
        let holder = File::open(&budget.path).unwrap();
        holder.lock().unwrap();
        let started = Instant::now();
        for error in [
            budget.take(&by("vps"), at(0)).unwrap_err(),
            budget.look(&by("vps"), at(0), 1).unwrap_err(),
        ] {
            assert!(error.to_string().contains("locked"), "{error}");
        }
        assert!(started.elapsed() < Duration::from_secs(20));
        drop(holder);
        assert_eq!(budget.take(&by("vps"), at(0)).unwrap(), Permit::Granted);
    }

    #[test]
    fn many_at_once_get_five_together() {
        let home = tempfile::tempdir().unwrap();
        let budget = Budget::new(home.path());
        let granted: usize = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        (0..4)
                            .filter(|_| budget.take(&by("vps"), at(0)).unwrap() == Permit::Granted)
                            .count()
                    })
                })
                .collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).sum()
        });
        assert_eq!(granted, MOST);
    }
}
