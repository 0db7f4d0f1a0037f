//! The directory in which the simulated box lives between runs: its state, its keys, and a lock so that two
//! runs do not mix. Knows files, not what is in the world.

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use russh::keys::PrivateKey;
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::Ed25519Keypair;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};

use super::SimulatorError;
use super::scenario::Scenario;
use super::world::World;
use crate::journal::Journal;
use crate::own_files::{SPENT_CONNECTIONS, make_private_directory, replace_private_file};
use crate::plain_file;

/// The form of the state file; raised when an older kmsctl could not read it.
const VERSION: u32 = 2;
const STATE: &str = "state.json";
const LOCK: &str = "lock";
/// More is no key.
const LARGEST_KEY: u64 = 64 << 10;
/// The file of the server's key.
pub const HOST_KEY: &str = "host_key";
/// The file of the key that kmsctl logs in with.
pub const CLIENT_KEY: &str = "client_key";
const KNOWN_HOSTS: &str = "known_hosts-";
/// A state file is a few hundred kilobytes.
const LARGEST: u64 = 64 << 20;
/// How often and how long another run is waited for.
const PATIENCE: (u32, Duration) = (40, Duration::from_millis(50));

/// The open directory.
#[derive(Debug)]
pub struct WorldStore {
    directory: PathBuf,
    /// Held for as long as the store; without it nothing is written.
    lock: Option<File>,
}

/// The state file, with what is looked at of the world.
#[derive(Deserialize, Serialize)]
struct SavedWorld<W> {
    version: u32,
    world: W,
}

impl WorldStore {
    /// Opens the directory, making it if need be (0700), and waits up to two seconds for another run to end.
    pub async fn open(directory: &Path) -> Result<Self, SimulatorError> {
        make_private_directory(directory).map_err(|why| error_at(directory, why))?;
        let mut lock = take_lock(directory)?;
        for _ in 0..PATIENCE.0 {
            if lock.is_some() {
                break;
            }
            tokio::time::sleep(PATIENCE.1).await;
            lock = take_lock(directory)?;
        }
        Ok(Self { directory: directory.to_owned(), lock })
    }

    /// Opens the directory if it is there and no other run uses it.
    pub fn open_now(directory: &Path) -> Result<Option<Self>, SimulatorError> {
        if !directory.exists() {
            return Ok(None);
        }
        let lock = take_lock(directory)?;
        Ok(lock.map(|lock| Self { directory: directory.to_owned(), lock: Some(lock) }))
    }

    /// Removes the history of the changes that were made to the world: another has none of them. Does nothing without
    /// the lock.
    pub fn forget_history(&self) -> Result<(), SimulatorError> {
        if !self.writable() {
            return Ok(());
        }
        forget_history(&self.directory)
    }

    /// Says whether this run may write: another one that uses the directory forbids it.
    pub fn writable(&self) -> bool {
        self.lock.is_some()
    }

    /// Returns the path of a file in the directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Reads the saved world, if there is one.
    pub fn load(&self) -> Result<Option<World>, SimulatorError> {
        let path = self.path(STATE);
        let corrupt = |why: String| SimulatorError::Corrupt { path: path.clone(), why };
        let text = match read_state(&self.directory) {
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(|why| error_at(&path, why))?,
        };
        // Only of a form that is known the world can be read.
        let SavedWorld::<IgnoredAny> { version, .. } =
            serde_json::from_slice(&text).map_err(|why| corrupt(why.to_string()))?;
        if version != VERSION {
            return Err(corrupt(format!(
                "it has the form {version} and this kmsctl reads {VERSION}"
            )));
        }
        let saved: SavedWorld<World> =
            serde_json::from_slice(&text).map_err(|why| corrupt(why.to_string()))?;
        Ok(Some(saved.world))
    }

    /// Saves the world; does nothing without the lock.
    pub fn save(&self, world: &World) -> Result<(), SimulatorError> {
        if !self.writable() {
            return Ok(());
        }
        let path = self.path(STATE);
        let text = serde_json::to_vec(&SavedWorld { version: VERSION, world })
            .map_err(|why| error_at(&path, why.into()))?;
        self.replace(STATE, &text)
    }

    /// Reads a key, making it first if there is none.
    pub fn key(&self, name: &str) -> Result<PrivateKey, SimulatorError> {
        let path = self.path(name);
        if path.exists() {
            return read_key(&path).map_err(|why| SimulatorError::Corrupt { path, why });
        }
        if !self.writable() {
            return Err(SimulatorError::Busy { path: self.directory.clone() });
        }
        let mut seed = [0; 32];
        let random =
            |why: getrandom::Error| error_at(&path, std::io::Error::other(why.to_string()));
        getrandom::fill(&mut seed).map_err(random)?;
        let key = PrivateKey::from(Ed25519Keypair::from_seed(&seed));
        let text = key
            .to_openssh(LineEnding::LF)
            .map_err(|why| error_at(&path, std::io::Error::other(why)))?;
        self.replace(name, text.as_bytes())?;
        Ok(key)
    }

    /// Writes the known_hosts file of a server on this port and returns its path. One file a port, as several
    /// runs may serve from one directory.
    pub fn known_hosts(&self, port: u16, line: &str) -> Result<PathBuf, SimulatorError> {
        let name = format!("{KNOWN_HOSTS}{port}");
        self.replace(&name, line.as_bytes())?;
        Ok(self.path(&name))
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), SimulatorError> {
        let path = self.path(name);
        replace_private_file(&path, bytes).map_err(|why| error_at(&path, why))
    }
}

fn read_state(directory: &Path) -> std::io::Result<Vec<u8>> {
    plain_file::read_plain_file(&directory.join(STATE), LARGEST)
}

/// Reads a key of the box or of its client; the error is a sentence without a full stop.
fn read_key(path: &Path) -> Result<PrivateKey, String> {
    let text = plain_file::read_plain_text(path, LARGEST_KEY).map_err(|error| error.to_string())?;
    PrivateKey::from_openssh(text).map_err(|error| error.to_string())
}

/// What is read of the saved world where the world itself is not needed.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct SavedBirth {
    pub scenario: Scenario,
    /// Epoch milliseconds.
    pub now: i64,
    /// Likewise; 0 where an earlier kmsctl made it.
    #[serde(default)]
    pub born: i64,
}

/// Reads the saved world, or a part of it, while another may have it; `None` without one that can be read.
pub fn saved_world<T: DeserializeOwned>(directory: &Path) -> Option<T> {
    let saved: SavedWorld<T> = serde_json::from_slice(&read_state(directory).ok()?).ok()?;
    Some(saved.world)
}

/// Forgets the state of the box in this directory, and keys that cannot be read. Says whether there was a state.
pub fn reset_store(directory: &Path) -> Result<bool, SimulatorError> {
    if !directory.exists() {
        return Ok(false);
    }
    let Some(_lock) = take_lock(directory)? else {
        return Err(SimulatorError::Busy { path: directory.to_owned() });
    };
    for name in [HOST_KEY, CLIENT_KEY] {
        let path = directory.join(name);
        if path.exists() && read_key(&path).is_err() {
            fs::remove_file(&path).map_err(|why| error_at(&path, why))?;
        }
    }
    for entry in fs::read_dir(directory).map_err(|why| error_at(directory, why))?.flatten() {
        if entry.file_name().to_string_lossy().starts_with(KNOWN_HOSTS) {
            let _ = fs::remove_file(entry.path());
        }
    }
    forget_history(directory)?;
    let path = directory.join(STATE);
    match fs::remove_file(&path) {
        Ok(()) => Ok(true),
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(why) => Err(error_at(&path, why)),
    }
}

fn forget_history(directory: &Path) -> Result<(), SimulatorError> {
    let journal = Journal::at(directory);
    let forgotten = journal.forget();
    forgotten.map_err(|why| error_at(journal.path(), std::io::Error::other(why)))?;
    // Its vantages have not connected to the next box.
    let _ = fs::remove_file(directory.join(SPENT_CONNECTIONS));
    Ok(())
}

/// Takes the lock if it is free.
fn take_lock(directory: &Path) -> Result<Option<File>, SimulatorError> {
    let path = directory.join(LOCK);
    let mut options = File::options();
    options.create(true).truncate(false).write(true).mode(0o600);
    let file =
        plain_file::open_plain_file(&path, &mut options).map_err(|why| error_at(&path, why))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(why)) => Err(error_at(&path, why)),
    }
}

fn error_at(path: &Path, source: std::io::Error) -> SimulatorError {
    SimulatorError::Files { path: path.to_owned(), source }
}
