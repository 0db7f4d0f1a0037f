//! What survives a crash: position, parser, window and outbox in one file, so that they can never disagree.
//! Written aside, synced and renamed; the generation before is kept, and a checksum finds a broken one. Holds no
//! policy about what to do without one.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::outbox::Owed;
use super::tail::Position;
use crate::domain::kms_log::checkpoint::SavedLog;
use crate::domain::notifier::decide::Post;
use crate::domain::notifier::dedup::DedupKey;
use crate::own_files::directory_problem;
use crate::plain_file::{open_own_file, read_own_file};
use crate::text::hexadecimal;

/// Everything the notifier must not forget.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Checkpoint {
    pub position: Option<Position>,
    /// Generations that were read, oldest first.
    #[serde(default)]
    pub seen: Vec<Position>,
    /// What was there before the first look and is not read yet: a file, and how many bytes of it.
    #[serde(default)]
    pub already: Vec<(Position, u64)>,
    /// The line at hand is thrown away up to its end.
    #[serde(default)]
    pub discarding: bool,
    /// What a lease of this notifier in a shared window holds.
    #[serde(default)]
    pub identity: String,
    /// What is still to be written to a shared window; `until` is seconds from `saved_at`.
    #[serde(default)]
    pub owed: Vec<Owed>,
    /// Which boot of the machine this was written in, and seconds since that boot: a clock that is never set.
    #[serde(default)]
    pub uptime: Option<(String, u64)>,
    /// By how many seconds the server's stamps are ahead.
    #[serde(default)]
    pub skew: i64,
    /// Lines of the echo that their reader has not taken.
    #[serde(default)]
    pub echo: String,
    /// When this was written, Unix seconds.
    pub saved_at: i64,
    /// Of what was there before the first look, nothing that happened before this is posted, Unix seconds.
    pub not_before: i64,
    pub log: SavedLog,
    /// Keys of the window with the seconds they have left.
    pub window: Vec<(DedupKey, u64)>,
    /// Posts that are not sent yet, oldest first.
    pub outbox: Vec<Post>,
    /// Posts that did not fit into the outbox and were not reported yet.
    pub dropped: u64,
}

impl Checkpoint {
    /// Returns how many seconds have gone by since this was written: by the machine's uptime within one boot, else by
    /// the clock, which may have been set.
    pub fn age(&self, uptime: Option<&(String, u64)>, now: i64) -> u64 {
        match (&self.uptime, uptime) {
            (Some((before, then)), Some((boot, seconds))) if before == boot => {
                seconds.saturating_sub(*then)
            }
            _ => u64::try_from(now.saturating_sub(self.saved_at)).unwrap_or_default(),
        }
    }
}

/// Returns the machine's boot and the seconds since then, where /proc has them (proc(5)).
pub fn machine_uptime() -> Option<(String, u64)> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let uptime = fs::read_to_string("/proc/uptime").ok()?;
    let seconds = uptime.split('.').next()?.parse().ok()?;
    Some((boot.trim().to_owned(), seconds))
}

/// Largest checkpoint that is read, in bytes; a full one is about 2 MiB.
const LARGEST: u64 = 16 * 1024 * 1024;

/// Where checkpoints are kept; holds the lock on the directory as long as it lives.
#[derive(Debug)]
pub struct CheckpointStore {
    folder: PathBuf,
    _lock: File,
}

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("another notifier uses {0}")]
    Taken(PathBuf),
    #[error("{0} cannot be written: {1}")]
    Unusable(PathBuf, io::Error),
}

#[derive(Debug)]
pub enum LoadedCheckpoint {
    /// The newest checkpoint.
    Newest(Box<Checkpoint>),
    /// The newest is broken; this is the one before.
    Previous(Box<Checkpoint>),
    None,
    Broken,
}

impl CheckpointStore {
    /// Takes the directory, creating it if need be.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let unusable = |error| StoreError::Unusable(folder.to_owned(), error);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(unusable)?;
        if let Some(problem) = directory_problem(folder) {
            return Err(unusable(io::Error::new(io::ErrorKind::PermissionDenied, problem)));
        }
        let mut options = File::options();
        options.create(true).truncate(false).write(true).mode(0o600);
        let path = folder.join("lock");
        let lock = open_own_file(&path, &mut options)
            .map_err(|error| StoreError::Unusable(path, error))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { folder: folder.to_owned(), _lock: lock }),
            Err(fs::TryLockError::WouldBlock) => Err(StoreError::Taken(folder.to_owned())),
            Err(fs::TryLockError::Error(error)) => Err(unusable(error)),
        }
    }

    /// Reads the newest checkpoint that is whole.
    pub fn load(&self) -> LoadedCheckpoint {
        let newest = self.folder.join("checkpoint");
        let previous = self.folder.join("checkpoint.previous");
        match (read_checkpoint(&newest), read_checkpoint(&previous)) {
            // No newest but one before: killed between the two renames.
            (Read::Whole(checkpoint), _) | (Read::Nothing, Read::Whole(checkpoint)) => {
                LoadedCheckpoint::Newest(checkpoint)
            }
            (Read::Broken, Read::Whole(checkpoint)) => LoadedCheckpoint::Previous(checkpoint),
            (Read::Nothing, Read::Nothing) => LoadedCheckpoint::None,
            _ => LoadedCheckpoint::Broken,
        }
    }

    /// Writes a checkpoint; when this returns, it survives a crash of the machine.
    pub fn save(&self, checkpoint: &Checkpoint) -> io::Result<()> {
        let body = serde_json::to_vec(checkpoint)?;
        let aside = self.folder.join("checkpoint.new");
        let newest = self.folder.join("checkpoint");
        if let Err(error) = write_checkpoint(&aside, &body) {
            // Half a file is of no use, and the disk may be full.
            let _ = fs::remove_file(&aside);
            return Err(error);
        }
        match fs::rename(&newest, self.folder.join("checkpoint.previous")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::rename(&aside, &newest)?;
        File::open(&self.folder)?.sync_all()
    }
}

fn write_checkpoint(path: &Path, body: &[u8]) -> io::Result<()> {
    // What is left of a run that was killed, or lies there for us to write through.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = File::options();
    let mut file = open_own_file(path, options.write(true).create_new(true).mode(0o600))?;
    file.write_all(hexadecimal(&Sha256::digest(body)).as_bytes())?;
    file.write_all(b"\n")?;
    file.write_all(body)?;
    file.sync_all()
}

enum Read {
    Whole(Box<Checkpoint>),
    Broken,
    Nothing,
}

fn read_checkpoint(path: &Path) -> Read {
    let bytes = match read_own_file(path, LARGEST) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Read::Nothing,
        Err(_) => return Read::Broken,
    };
    let whole = || {
        let line = memchr::memchr(b'\n', &bytes)?;
        let (sum, body) = (bytes.get(..line)?, bytes.get(line + 1..)?);
        (sum == hexadecimal(&Sha256::digest(body)).as_bytes()).then_some(())?;
        serde_json::from_slice(body).ok()
    };
    whole().map_or(Read::Broken, |checkpoint| Read::Whole(Box::new(checkpoint)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_checkpoint_gives_way_to_the_one_before() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = CheckpointStore::open(folder.path()).expect("a store");
        assert!(matches!(store.load(), LoadedCheckpoint::None));
        for dropped in 1..=3 {
            store.save(&Checkpoint { dropped, ..Checkpoint::default() }).expect("a save");
        }
        assert!(
            matches!(store.load(), LoadedCheckpoint::Newest(checkpoint) if checkpoint.dropped == 3)
        );
        let newest = folder.path().join("checkpoint");
        for broken in [&b""[..], &[0; 4096], b"abc\n{}"] {
            fs::write(&newest, broken).expect("a write");
            assert!(
                matches!(store.load(), LoadedCheckpoint::Previous(checkpoint) if checkpoint.dropped == 2)
            );
        }
        fs::remove_file(&newest).expect("a removal");
        assert!(
            matches!(store.load(), LoadedCheckpoint::Newest(checkpoint) if checkpoint.dropped == 2)
        );
        fs::write(folder.path().join("checkpoint.previous"), b"x").expect("a write");
        assert!(matches!(store.load(), LoadedCheckpoint::Broken));
    }

    /// In a directory that is, or was, open to others anything may lie where kmsctl writes.
    #[test]
    fn what_others_put_into_the_state_is_not_used() {
        use rustix::fs::{FileType, Mode};
        use std::os::unix::fs::{chown, symlink};
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        let precious = at("precious");
        fs::write(&precious, "kept").expect("a write");
        let fifo = |path: &Path| {
            let (kind, mode) = (FileType::Fifo, Mode::RUSR | Mode::WUSR);
            rustix::fs::mknodat(rustix::fs::CWD, path, kind, mode, 0).expect("a pipe");
        };
        for plant in
            [&|path: &Path| symlink(&precious, path).expect("a link"), &fifo as &dyn Fn(&Path)]
        {
            plant(&at("lock"));
            assert!(CheckpointStore::open(folder.path()).is_err());
            fs::remove_file(at("lock")).expect("a removal");
        }
        let store = CheckpointStore::open(folder.path()).expect("a store");
        for plant in
            [&|path: &Path| symlink(&precious, path).expect("a link"), &fifo as &dyn Fn(&Path)]
        {
            plant(&at("checkpoint.new"));
            store.save(&Checkpoint::default()).expect("a save");
            assert!(matches!(store.load(), LoadedCheckpoint::Newest(_)));
        }
        assert_eq!(fs::read(&precious).expect("a read"), b"kept");
        if crate::own_files::own_user() == 0 {
            for name in ["checkpoint", "checkpoint.previous"] {
                chown(at(name), Some(65534), None).expect("root may");
            }
            assert!(matches!(store.load(), LoadedCheckpoint::Broken));
            drop(store);
            chown(folder.path(), Some(65534), None).expect("root may");
            assert!(CheckpointStore::open(folder.path()).is_err());
        }
    }

    #[test]
    fn a_clock_that_was_set_does_not_age_a_checkpoint() {
        let checkpoint =
            Checkpoint { saved_at: 1_000, uptime: Some(("a".into(), 50)), ..Checkpoint::default() };
        let same = ("a".to_owned(), 60);
        assert_eq!(checkpoint.age(Some(&same), 999_999), 10);
        assert_eq!(checkpoint.age(Some(&same), 1), 10);
        assert_eq!(checkpoint.age(Some(&("b".to_owned(), 60)), 1_007), 7);
        assert_eq!(checkpoint.age(None, 900), 0, "set back: nothing is forgotten early");
    }

    /// Restarts the parser after every so many lines and asserts that this changes nothing.
    fn survives(log: &[u8], every: usize) {
        use crate::domain::kms_log::Log;
        let (mut whole, mut cut) = (Log::default(), Log::default());
        let (mut wanted, mut found) = (Vec::new(), Vec::new());
        for (number, line) in log.split(|byte| *byte == b'\n').enumerate() {
            whole.read_line(line, &mut wanted);
            cut.read_line(line, &mut found);
            if number % every == 0 {
                let text = serde_json::to_string(&cut.save_log()).expect("JSON");
                cut = Log::restore_log(serde_json::from_str(&text).expect("a state"));
            }
            assert_eq!(found.last(), wanted.last(), "line {number}, every {every}");
        }
        assert_eq!(found, wanted);
    }

    #[test]
    fn a_restart_after_any_line_changes_no_event() {
        let logs: [&[u8]; 3] = [
            include_bytes!("../../tests/fixtures/vlmcsd/flood.old.log"),
            include_bytes!("../../tests/fixtures/vlmcsd/hostile.old.log"),
            include_bytes!("../../tests/fixtures/vlmcsd/busy.new.log"),
        ];
        for log in logs {
            for every in [1, 2, 3, 5, 7, 11, 13, 17, 40] {
                survives(log, every);
            }
        }
    }

    #[test]
    fn two_notifiers_do_not_share_a_checkpoint() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = CheckpointStore::open(folder.path()).expect("a store");
        assert!(matches!(CheckpointStore::open(folder.path()), Err(StoreError::Taken(_))));
        drop(first);
        assert!(CheckpointStore::open(folder.path()).is_ok());
    }
}
