//! What survives a crash: position, parser, window and outbox in one file, so that they can never disagree.
//! Written aside, synced and renamed; the generation before is kept, and a checksum tells a broken one. Holds no
//! policy about what to do without one.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::tail::Position;
use crate::domain::decision::Post;
use crate::domain::dedup::Key;
use crate::domain::vlmcsd::saved::Saved;

/// Everything the notifier must not forget.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Where reading goes on.
    pub position: Option<Position>,
    /// When this was written, Unix seconds.
    pub saved_at: i64,
    /// Nothing that happened before this is posted, Unix seconds.
    pub not_before: i64,
    /// The parser's state.
    pub log: Saved,
    /// Keys of the window with the seconds they have left.
    pub window: Vec<(Key, u64)>,
    /// Posts that are not sent yet, oldest first.
    pub outbox: Vec<Post>,
    /// Posts that did not fit into the outbox and were not told yet.
    pub dropped: u64,
}

/// Where checkpoints are kept; holds the lock on the directory as long as it lives.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    _lock: File,
}

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another notifier uses it.
    #[error("another notifier uses {0}")]
    Taken(PathBuf),
    /// It cannot be written.
    #[error("{0} cannot be written: {1}")]
    Unusable(PathBuf, io::Error),
}

/// What was found at the start.
#[derive(Debug)]
pub enum Loaded {
    /// The newest checkpoint.
    Newest(Box<Checkpoint>),
    /// The newest is broken; this is the one before.
    Previous(Box<Checkpoint>),
    /// There is none.
    None,
    /// Both are broken.
    Broken,
}

impl Store {
    /// Takes the directory, creating it if need be.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let unusable = |error| StoreError::Unusable(folder.to_owned(), error);
        fs::create_dir_all(folder).map_err(unusable)?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(folder.join("lock"))
            .map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                folder: folder.to_owned(),
                _lock: lock,
            }),
            Err(fs::TryLockError::WouldBlock) => Err(StoreError::Taken(folder.to_owned())),
            Err(fs::TryLockError::Error(error)) => Err(unusable(error)),
        }
    }

    /// Reads the newest checkpoint that is whole.
    pub fn load(&self) -> Loaded {
        let newest = self.folder.join("checkpoint");
        let previous = self.folder.join("checkpoint.previous");
        match (read(&newest), read(&previous)) {
            // No newest but one before: killed between the two renames.
            (Read::Whole(checkpoint), _) | (Read::Nothing, Read::Whole(checkpoint)) => {
                Loaded::Newest(checkpoint)
            }
            (Read::Broken, Read::Whole(checkpoint)) => Loaded::Previous(checkpoint),
            (Read::Nothing, Read::Nothing) => Loaded::None,
            _ => Loaded::Broken,
        }
    }

    /// Writes a checkpoint; when this returns, it survives a crash of the machine.
    pub fn save(&self, checkpoint: &Checkpoint) -> io::Result<()> {
        let body = serde_json::to_vec(checkpoint)?;
        let aside = self.folder.join("checkpoint.new");
        let newest = self.folder.join("checkpoint");
        let mut file = File::create(&aside)?;
        file.write_all(digest(&body).as_bytes())?;
        file.write_all(b"\n")?;
        file.write_all(&body)?;
        file.sync_all()?;
        match fs::rename(&newest, self.folder.join("checkpoint.previous")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::rename(&aside, &newest)?;
        File::open(&self.folder)?.sync_all()
    }
}

/// What one file holds.
enum Read {
    Whole(Box<Checkpoint>),
    Broken,
    Nothing,
}

fn read(path: &Path) -> Read {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Read::Nothing,
        Err(_) => return Read::Broken,
    };
    let whole = || {
        let line = memchr::memchr(b'\n', &bytes)?;
        let (sum, body) = (bytes.get(..line)?, bytes.get(line + 1..)?);
        (sum == digest(body).as_bytes()).then_some(())?;
        serde_json::from_slice(body).ok()
    };
    whole().map_or(Read::Broken, |checkpoint| Read::Whole(Box::new(checkpoint)))
}

fn digest(body: &[u8]) -> String {
    Sha256::digest(body)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_checkpoint_gives_way_to_the_one_before() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path()).expect("a store");
        assert!(matches!(store.load(), Loaded::None));
        for dropped in 1..=3 {
            store
                .save(&Checkpoint {
                    dropped,
                    ..Checkpoint::default()
                })
                .expect("a save");
        }
        assert!(matches!(store.load(), Loaded::Newest(checkpoint) if checkpoint.dropped == 3));
        let newest = folder.path().join("checkpoint");
        for broken in [&b""[..], &[0; 4096], b"abc\n{}"] {
            fs::write(&newest, broken).expect("a write");
            assert!(
                matches!(store.load(), Loaded::Previous(checkpoint) if checkpoint.dropped == 2)
            );
        }
        fs::remove_file(&newest).expect("a removal");
        assert!(matches!(store.load(), Loaded::Newest(checkpoint) if checkpoint.dropped == 2));
        fs::write(folder.path().join("checkpoint.previous"), b"x").expect("a write");
        assert!(matches!(store.load(), Loaded::Broken));
    }

    #[test]
    fn two_notifiers_do_not_share_a_checkpoint() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = Store::open(folder.path()).expect("a store");
        assert!(matches!(
            Store::open(folder.path()),
            Err(StoreError::Taken(_))
        ));
        drop(first);
        assert!(Store::open(folder.path()).is_ok());
    }
}
