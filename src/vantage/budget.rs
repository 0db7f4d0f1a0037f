//! How often a vantage may still connect: five times in a minute, across runs, so that our own checks never trip the
//! firewall's caps (half of pfSense's 10 in 60 s). Kept in one file of the state directory, locked while it is read
//! and written.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;

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
        Self { path: state_directory.join("vantages.json") }
    }

    /// Returns whether so many connections of a vantage may be made now, and counts none.
    pub fn look(&self, vantage: &str, now: Timestamp, connections: usize) -> io::Result<Permit> {
        let mut file = match plain_file::open_plain_file(&self.path, OpenOptions::new().read(true))
        {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Permit::Granted),
            Err(error) => return Err(error),
        };
        take_lock(&file)?;
        let now = now.as_millisecond();
        let mut times = read_spent(&mut file)?.remove(vantage).unwrap_or_default();
        times.retain(|time| (0..WINDOW).contains(&(now - time)));
        times.sort_unstable();
        // So many of the first must be forgotten before.
        let over = (times.len() + connections).saturating_sub(MOST);
        let last = over.checked_sub(1).and_then(|last| times.get(last));
        Ok(last.map_or(Permit::Granted, |last| budget_wait(*last, now)))
    }

    /// Counts one connection of a vantage, if it may be made. Waits for another run that is counting, for the
    /// moment that takes; who holds the file for longer does not count.
    pub fn take(&self, vantage: &str, now: Timestamp) -> io::Result<Permit> {
        if let Some(directory) = self.path.parent() {
            own_files::make_private_directory(directory)?;
        }
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).read(true).write(true).mode(0o600);
        let mut file = plain_file::open_plain_file(&self.path, &mut options)?;
        take_lock(&file)?;
        let now = now.as_millisecond();
        let mut spent = read_spent(&mut file)?;
        // What lies in the future was written by a clock that was wrong; it must not block for ever.
        spent.retain(|_, times| {
            times.retain(|time| (0..WINDOW).contains(&(now - time)));
            !times.is_empty()
        });
        let times = spent.entry(vantage.to_owned()).or_default();
        if times.len() >= MOST {
            let first = times.iter().min().copied().unwrap_or(now);
            return Ok(budget_wait(first, now));
        }
        times.push(now);
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

type Spent = BTreeMap<String, Vec<i64>>;

/// Reads what was spent; a spoilt file counts as empty, since refusing to verify for ever would be worse.
fn read_spent(file: &mut File) -> io::Result<Spent> {
    let mut text = Vec::new();
    file.take(LARGEST).read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text).unwrap_or_default())
}

fn write_spent(file: &mut File, spent: &Spent) -> io::Result<()> {
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

    #[test]
    fn five_in_a_minute_and_no_more() {
        let home = tempfile::tempdir().unwrap();
        let budget = Budget::new(&home.path().join("state"));
        for second in 0..5 {
            assert_eq!(budget.take("vps", at(second)).unwrap(), Permit::Granted);
        }
        assert_eq!(budget.take("vps", at(10)).unwrap(), Permit::Wait(50));
        assert_eq!(budget.take("office", at(10)).unwrap(), Permit::Granted);
        // Another run knows what this one spent, and a refusal costs nothing.
        let other = Budget::new(&home.path().join("state"));
        assert_eq!(other.take("vps", at(59)).unwrap(), Permit::Wait(1));
        assert_eq!(other.take("vps", at(60)).unwrap(), Permit::Granted);
        assert_eq!(other.take("vps", at(60)).unwrap(), Permit::Wait(1));
        let mode = fs::metadata(&budget.path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn looking_tells_how_long_so_many_take_and_costs_nothing() {
        let home = tempfile::tempdir().unwrap();
        let budget = Budget::new(&home.path().join("state"));
        assert_eq!(budget.look("vps", at(0), 3).unwrap(), Permit::Granted);
        for second in [0, 10, 20] {
            assert_eq!(budget.take("vps", at(second)).unwrap(), Permit::Granted);
        }
        for _ in 0..9 {
            assert_eq!(budget.look("vps", at(20), 2).unwrap(), Permit::Granted);
            assert_eq!(budget.look("vps", at(20), 3).unwrap(), Permit::Wait(40));
            assert_eq!(budget.look("vps", at(20), 4).unwrap(), Permit::Wait(50));
            assert_eq!(budget.look("office", at(20), 5).unwrap(), Permit::Granted);
        }
        assert_eq!(budget.look("vps", at(60), 3).unwrap(), Permit::Granted);
    }

    #[test]
    fn spoilt_files_and_wrong_clocks_do_not_block_for_ever() {
        let home = tempfile::tempdir().unwrap();
        let budget = Budget::new(home.path());
        fs::write(&budget.path, b"\xff{{{").unwrap();
        assert_eq!(budget.take("vps", at(0)).unwrap(), Permit::Granted);
        for _ in 0..4 {
            assert_eq!(budget.take("vps", at(0)).unwrap(), Permit::Granted);
        }
        assert_eq!(budget.take("vps", at(-86_400)).unwrap(), Permit::Granted);
    }

    #[test]
    fn a_lock_that_stays_held_is_no_wait() {
        let home = tempfile::tempdir().unwrap();
        let budget = Budget::new(home.path());
        assert_eq!(budget.take("vps", at(0)).unwrap(), Permit::Granted);
        // The lock belongs to the open file: as good as another process.
        let holder = File::open(&budget.path).unwrap();
        holder.lock().unwrap();
        let started = Instant::now();
        for error in
            [budget.take("vps", at(0)).unwrap_err(), budget.look("vps", at(0), 1).unwrap_err()]
        {
            assert!(error.to_string().contains("locked"), "{error}");
        }
        assert!(started.elapsed() < Duration::from_secs(20));
        drop(holder);
        assert_eq!(budget.take("vps", at(0)).unwrap(), Permit::Granted);
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
                            .filter(|_| budget.take("vps", at(0)).unwrap() == Permit::Granted)
                            .count()
                    })
                })
                .collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).sum()
        });
        assert_eq!(granted, MOST);
    }
}
