//! Generations of a log: by what one is known, and which of them lie beside it.
//!
//! A file is known by device, inode, time of birth (where the file system tells it), a hash of its first bytes and one
//! of the last bytes that were read, so that an inode that is used again, a file that was cut and grew again, or one
//! that merely starts like another, is not taken for the one before.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// First bytes by which a file is told from another. A server's whole request is less, with its client's address and
/// machine: fewer bytes may be the same in two generations that both begin in the middle of one.
pub const HEAD: usize = 2_048;
/// Last bytes before an offset by which it is known that the file was read up to there.
const TAIL: usize = 256;
/// Most files beside the log that are looked at.
const MOST_FILES: usize = 4_096;
/// Endings of packed generations; there is nothing to read in them.
const PACKED: [&str; 5] = ["gz", "xz", "bz2", "zst", "lz4"];

/// Some bytes of a file, as a hash.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    length: usize,
    sum: String,
}

impl Head {
    fn of(bytes: &[u8]) -> Self {
        let sum = Sha256::digest(bytes);
        let sum = sum.iter().take(16).map(|byte| format!("{byte:02x}"));
        Self {
            length: bytes.len(),
            sum: sum.collect(),
        }
    }

    /// Returns whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Returns whether there are enough bytes to tell one log from any other.
    pub fn is_whole(&self) -> bool {
        self.length >= HEAD
    }

    /// Tells whether a file that starts with these bytes starts as this one did. An empty head begins nothing.
    pub fn begins(&self, bytes: &[u8]) -> bool {
        !self.is_empty()
            && bytes
                .get(..self.length)
                .is_some_and(|bytes| Self::of(bytes) == *self)
    }
}

/// Where reading stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Device of the file.
    pub device: u64,
    /// Inode of the file.
    pub inode: u64,
    /// Nanoseconds between 1970 and the file's birth, where the file system tells.
    pub born: Option<u64>,
    /// Nanoseconds between 1970 and a change of this file before which nothing that is still to be read was changed.
    pub modified: u64,
    /// The file's first bytes.
    pub head: Head,
    /// The last bytes before `offset`.
    #[serde(default)]
    pub tail: Head,
    /// Offset of the first byte that was not read.
    pub offset: u64,
    /// How many bytes before `offset` belong to a line that was not complete.
    #[serde(default)]
    pub unfinished: u64,
}

impl Position {
    /// Returns the start of a file.
    pub fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            born: metadata.created().ok().map(unix_nanoseconds),
            modified: modified_nanoseconds(metadata),
            head: Head::default(),
            tail: Head::default(),
            offset: 0,
            unfinished: 0,
        }
    }

    /// Returns a place in no file at all: what was written since then, in Unix seconds, is still to be read.
    pub fn since(seconds: i64) -> Self {
        let seconds = u64::try_from(seconds).unwrap_or_default();
        Self {
            modified: seconds.saturating_mul(1_000_000_000),
            ..Self::default()
        }
    }

    /// Tells whether this is a place in no file.
    pub fn is_nowhere(&self) -> bool {
        self.inode == 0
    }

    /// Tells whether this is a position in that file, as far as a directory tells.
    pub fn is(&self, metadata: &Metadata) -> bool {
        self.is_same_file(&Self::of(metadata))
    }

    /// Tells whether both are positions in the same file.
    pub fn is_same_file(&self, other: &Self) -> bool {
        let born = self.born.is_none() || other.born.is_none() || self.born == other.born;
        born && (self.device, self.inode) == (other.device, other.inode)
    }

    /// Tells whether a file holds what was read up to here: its first bytes, and the last before the offset.
    pub fn fits(&self, file: &File) -> io::Result<bool> {
        if self.head.is_empty() {
            return Ok(self.offset == 0);
        }
        let start = self.offset.saturating_sub(self.tail.length as u64);
        Ok(self.head.begins(&head_of(file)?)
            && (self.tail.is_empty()
                || self.tail.begins(&bytes_at(file, start, self.tail.length)?)))
    }

    /// Notes bytes that were read at the offset; `recent` holds those before.
    pub fn advance(&mut self, bytes: &[u8], recent: &mut Vec<u8>) {
        recent.extend_from_slice(
            bytes
                .get(bytes.len().saturating_sub(TAIL)..)
                .unwrap_or_default(),
        );
        recent.drain(..recent.len().saturating_sub(TAIL));
        self.offset += bytes.len() as u64;
        self.tail = Head::of(recent);
    }

    /// Goes back to the start of a line that was not complete: whoever held its first half is gone.
    pub fn go_back(&mut self) {
        if self.unfinished > 0 {
            self.offset = self.offset.saturating_sub(self.unfinished);
            self.unfinished = 0;
            self.tail = Head::default();
        }
    }

    /// Learns more of the file's first bytes, up to what was read of it.
    pub fn learn(&mut self, file: &File) -> io::Result<()> {
        if self.head.is_whole() {
            return Ok(());
        }
        let bytes = head_of(file)?;
        if !self.head.is_empty() && !self.head.begins(&bytes) {
            return Ok(());
        }
        let known = usize::try_from(self.offset)
            .unwrap_or(HEAD)
            .min(bytes.len());
        if known > self.head.length {
            self.head = Head::of(bytes.get(..known).unwrap_or_default());
        }
        Ok(())
    }
}

/// A file beside the log.
#[derive(Clone, Debug)]
pub struct FoundGeneration {
    /// Its name at that time.
    pub path: PathBuf,
    /// Its start, or where reading it goes on.
    pub position: Position,
    /// Its first bytes.
    pub head: Vec<u8>,
    /// Its size at that time.
    pub size: u64,
}

impl FoundGeneration {
    /// Tells whether it holds what was read up to that position.
    pub fn holds(&self, read: &Position) -> bool {
        read.head.begins(&self.head)
            && self.size >= read.offset
            && File::open(&self.path).is_ok_and(|file| read.fits(&file).unwrap_or(false))
    }
}

/// The log's place: its name, and the directory around it. Nothing is ever written there.
#[derive(Clone, Debug)]
pub struct LogPosition(pub PathBuf);

impl LogPosition {
    /// Opens the log; `None` where there is no file of that name. What is no regular file is refused.
    pub fn open(&self) -> io::Result<Option<File>> {
        let refused = || io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file");
        // Not before it is known to be a file: opening a pipe would wait for a writer.
        match fs::metadata(&self.0) {
            Ok(metadata) if metadata.is_file() => {}
            Ok(_) => return Err(refused()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        }
        match File::open(&self.0) {
            Ok(file) if file.metadata()?.is_file() => Ok(Some(file)),
            Ok(_) => Err(refused()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens a generation under the name it had, or under the one it has now.
    pub fn find(&self, path: &Path, wanted: &Position) -> Option<File> {
        let fits = |path: &Path| {
            if !fs::metadata(path).ok()?.is_file() {
                return None;
            }
            let file = File::open(path).ok()?;
            let metadata = file.metadata().ok()?;
            (wanted.is(&metadata) && wanted.fits(&file).ok()?).then_some(file)
        };
        fits(path).or_else(|| {
            let siblings = self.siblings();
            let mut same = siblings
                .iter()
                .filter(|found| wanted.is_same_file(&found.position));
            same.find_map(|found| fits(&found.path))
        })
    }

    /// Lists the uncompressed files whose names begin with the log's, without the log: oldest first, at offset 0.
    pub fn siblings(&self) -> Vec<FoundGeneration> {
        let Some((folder, name)) = self.0.parent().zip(self.0.file_name()) else {
            return Vec::new();
        };
        let folder = if folder.as_os_str().is_empty() {
            Path::new(".")
        } else {
            folder
        };
        let Ok(entries) = fs::read_dir(folder) else {
            return Vec::new();
        };
        let beside = entries.flatten().filter(|entry| {
            entry.file_name() != name
                && entry
                    .file_name()
                    .as_encoded_bytes()
                    .starts_with(name.as_encoded_bytes())
        });
        let mut found: Vec<FoundGeneration> = beside
            .map(|entry| entry.path())
            .filter(|path| !is_packed(path))
            .take(MOST_FILES)
            .filter_map(|path| describe_generation(path).ok().flatten())
            .collect();
        found.sort_by(|one, other| {
            (one.position.modified, &one.path).cmp(&(other.position.modified, &other.path))
        });
        found
    }
}

fn is_packed(path: &Path) -> bool {
    path.extension()
        .is_some_and(|end| PACKED.iter().any(|packed| end == *packed))
}

fn describe_generation(path: PathBuf) -> io::Result<Option<FoundGeneration>> {
    if !fs::symlink_metadata(&path)?.is_file() {
        return Ok(None);
    }
    let file = File::open(&path)?;
    let metadata = file.metadata()?;
    let head = head_of(&file)?;
    let position = Position {
        head: Head::of(&head),
        ..Position::of(&metadata)
    };
    Ok(Some(FoundGeneration {
        path,
        position,
        head,
        size: metadata.len(),
    }))
}

/// Returns nanoseconds between 1970 and a file's last change.
pub fn modified_nanoseconds(metadata: &Metadata) -> u64 {
    metadata.modified().map_or(0, unix_nanoseconds)
}

fn unix_nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    })
}

/// Reads the first bytes of a file.
pub fn head_of(file: &File) -> io::Result<Vec<u8>> {
    bytes_at(file, 0, HEAD)
}

/// Reads at most so many bytes of a file.
fn bytes_at(file: &File, start: u64, count: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; count.min(HEAD)];
    let mut filled = 0;
    while filled < bytes.len() {
        let rest = bytes.get_mut(filled..).unwrap_or_default();
        match file.read_at(rest, start + filled as u64)? {
            0 => break,
            count => filled += count,
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}
