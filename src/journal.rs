//! The history on disk: append-only JSON lines, each chained to the one before by SHA-256, written and synced before
//! the firewall is touched. Knows nothing of what the events mean; that is `domain::history`.
//!
//! A line is `{"hash":"H","previous":"P","seq":N,"at":"…","event":{…}}`, where H is the SHA-256 of every byte after
//! `"hash":"H",` and P is the hash of the line before. So every byte is covered, and a line can be checked without
//! printing it again.

mod line;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::domain::history::{Event, Recorded};
use crate::error::Failure;
use crate::plain_file;
pub use line::{LONGEST_LINE, Line};

/// The most that is read of a history: some hundred thousand changes.
const LONGEST: u64 = 1 << 30;
/// How much of a torn line is kept, in bytes.
const TORN_KEPT: usize = 200;
/// What stands before the first line.
pub const BEGINNING: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Why the history cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The operating system refused.
    #[error("{doing} {} failed: {source}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// An event is longer than a line may be.
    #[error("the record would have {0} bytes, and {LONGEST_LINE} is the most")]
    TooLong(usize),
    /// The file is longer than is ever read.
    #[error("{} is larger than {} MiB", path.display(), LONGEST >> 20)]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The event cannot be put into JSON.
    #[error("the record cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl From<JournalError> for Failure {
    fn from(error: JournalError) -> Self {
        Self::failed(format!("The history cannot be kept: {error}.")).because(error)
    }
}

/// What is wrong with the chain.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Break {
    /// The line in the file, from 1.
    pub line: u64,
    /// One sentence without a full stop.
    pub what: String,
    /// Its place among the events, if the line could be read at all.
    #[serde(skip)]
    pub event: Option<usize>,
}

/// Everything the file says.
#[derive(Debug, Default)]
pub struct Contents {
    /// The events with their times, in order.
    pub events: Vec<(Timestamp, Event)>,
    /// Where the chain does not hold.
    pub breaks: Vec<Break>,
    /// Bytes of a torn last line.
    pub torn: usize,
    // Hash of the last whole line while the chain is checked.
    head: String,
}

impl Contents {
    /// Returns the events, each with its line where that is broken.
    pub fn recorded(&self) -> impl Iterator<Item = Recorded<'_>> {
        let lines = self.breaks.iter();
        let lines: BTreeMap<usize, u64> = lines
            .filter_map(|broken| Some((broken.event?, broken.line)))
            .collect();
        let events = self.events.iter().enumerate();
        events.map(move |(place, (at, event))| (*at, event, lines.get(&place).copied()))
    }
}

/// The history of one operator on one machine.
#[derive(Clone, Debug)]
pub struct Journal {
    path: PathBuf,
}

impl Journal {
    /// Names the file; nothing is touched yet.
    pub fn at(directory: &Path) -> Self {
        Self {
            path: directory.join("journal.jsonl"),
        }
    }

    /// Returns the file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads and checks everything. A file that does not exist is an empty history.
    pub fn read(&self) -> Result<Contents, JournalError> {
        let file = match plain_file::open(&self.path, OpenOptions::new().read(true)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(check(b""));
            }
            Err(error) => return Err(self.io("Opening", error)),
        };
        file.lock_shared()
            .map_err(|error| self.io("Locking", error))?;
        Ok(check(&self.bytes(&file)?))
    }

    /// Appends one event and returns when it is on the disk. A torn last line, left by a machine that died while
    /// writing, is taken out of the file first and recorded as such; the number of its bytes is returned.
    pub fn append(&self, now: Timestamp, event: &Event) -> Result<usize, JournalError> {
        self.make_directory()?;
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600);
        let mut file = plain_file::open(&self.path, &mut options)
            .map_err(|error| self.io("Opening", error))?;
        file.lock().map_err(|error| self.io("Locking", error))?;
        self.make_private(&file)?;
        let bytes = self.bytes(&file)?;
        let whole = bytes
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |end| end + 1);
        let (kept, torn) = bytes.split_at_checked(whole).unwrap_or((&bytes, &[]));
        let (mut seq, mut head) = tail(kept);
        let mut text = Vec::new();
        if !torn.is_empty() {
            let shown = torn.get(..torn.len().min(TORN_KEPT)).unwrap_or_default();
            let recovered = Event::Recovered {
                bytes: torn.len() as u64,
                text: String::from_utf8_lossy(shown).into_owned(),
            };
            head = line::push(&mut text, seq, &head, now, &recovered)?;
            seq += 1;
        }
        line::push(&mut text, seq, &head, now, event)?;
        self.write(&mut file, kept.len() as u64, &text)?;
        if bytes.is_empty() {
            self.sync_directory()?;
        }
        Ok(torn.len())
    }

    /// Writes at the end of the whole lines. What could not be written whole is cut off again, so that a full disk
    /// leaves the history as it was.
    fn write(&self, file: &mut File, end: u64, text: &[u8]) -> Result<(), JournalError> {
        let written = file
            .seek(SeekFrom::Start(end))
            .and_then(|_| file.write_all(text))
            .and_then(|()| file.set_len(end + text.len() as u64))
            .and_then(|()| file.sync_all());
        written.map_err(|error| {
            let _ = file.set_len(end);
            self.io("Writing", error)
        })
    }

    fn bytes(&self, file: &File) -> Result<Vec<u8>, JournalError> {
        let length = file
            .metadata()
            .map_err(|error| self.io("Reading", error))?
            .len();
        if length > LONGEST {
            return Err(JournalError::TooLarge {
                path: self.path.clone(),
            });
        }
        let mut bytes = Vec::new();
        file.take(length)
            .read_to_end(&mut bytes)
            .map_err(|error| self.io("Reading", error))?;
        Ok(bytes)
    }

    fn make_directory(&self) -> Result<(), JournalError> {
        let Some(directory) = self.path.parent() else {
            return Ok(());
        };
        let failed = |doing: &'static str, source: io::Error| JournalError::Io {
            doing,
            path: directory.to_owned(),
            source,
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|error| failed("Making", error))?;
        let mode = fs::metadata(directory)
            .map_err(|error| failed("Reading", error))?
            .permissions()
            .mode();
        if mode & 0o077 != 0 {
            fs::set_permissions(directory, fs::Permissions::from_mode(0o700))
                .map_err(|error| failed("Closing to others", error))?;
        }
        Ok(())
    }

    fn make_private(&self, file: &File) -> Result<(), JournalError> {
        let metadata = file.metadata().map_err(|error| self.io("Reading", error))?;
        if metadata.is_file() && metadata.permissions().mode() & 0o077 != 0 {
            file.set_permissions(fs::Permissions::from_mode(0o600))
                .map_err(|error| self.io("Closing to others", error))?;
        }
        Ok(())
    }

    /// A new file is not there after a crash until its directory is on the disk too.
    fn sync_directory(&self) -> Result<(), JournalError> {
        let Some(directory) = self.path.parent() else {
            return Ok(());
        };
        File::open(directory)
            .and_then(|directory| directory.sync_all())
            .map_err(|error| self.io("Writing the directory of", error))
    }

    fn io(&self, doing: &'static str, source: io::Error) -> JournalError {
        JournalError::Io {
            doing,
            path: self.path.clone(),
            source,
        }
    }
}

/// Returns the number and the previous hash of the next line, from the last whole line. A last line that cannot be
/// read does not stop a change in an emergency: the chain goes on from what it claims, and `--verify` names it.
fn tail(text: &[u8]) -> (u64, String) {
    let count = memchr::memchr_iter(b'\n', text).count() as u64;
    let last = text.strip_suffix(b"\n").unwrap_or(text);
    let last = last
        .rsplit(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    if last.is_empty() {
        return (count + 1, BEGINNING.to_owned());
    }
    (
        count + 1,
        line::claimed_hash(last).unwrap_or_else(|| line::hash(last)),
    )
}

/// Reads and checks the whole text.
fn check(text: &[u8]) -> Contents {
    let mut contents = Contents {
        head: BEGINNING.to_owned(),
        ..Contents::default()
    };
    let whole = text
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |end| end + 1);
    let (kept, torn) = text.split_at_checked(whole).unwrap_or((text, &[]));
    contents.torn = torn.len();
    let lines = kept.strip_suffix(b"\n").unwrap_or(kept);
    if lines.is_empty() {
        return contents;
    }
    for (number, bytes) in (1_u64..).zip(lines.split(|byte| *byte == b'\n')) {
        let place = contents.events.len();
        let problem = |what: String| Break {
            line: number,
            what,
            event: Some(place),
        };
        let line = match Line::parse(bytes) {
            Ok(line) => line,
            Err(what) => {
                contents.breaks.push(Break {
                    event: None,
                    ..problem(what)
                });
                contents.head = line::claimed_hash(bytes).unwrap_or_else(|| line::hash(bytes));
                continue;
            }
        };
        if !line.whole {
            contents
                .breaks
                .push(problem("it was altered: its hash does not fit".to_owned()));
        } else if line.previous != contents.head {
            contents.breaks.push(problem(
                "it does not follow the line before: something was removed, inserted or reordered"
                    .to_owned(),
            ));
        } else if line.seq != number {
            contents
                .breaks
                .push(problem(format!("its number is {}, not {number}", line.seq)));
        }
        contents.head = line.hash;
        contents.events.push((line.at, line.event));
    }
    contents
}
