//! The history on disk: append-only JSON lines, each chained to the one before by SHA-256, written and synced before
//! the firewall is touched. Knows nothing of what the events mean; that is `domain::history`.
//!
//! A line is `{"hash":"H","previous":"P","seq":N,"at":"…","event":{…}}`, where H is the SHA-256 of every byte after
//! `"hash":"H",` and P is the hash of the line before. So every byte is covered, and a line can be checked without
//! printing it again.
//!
//! `journal.head` beside it says which record is the last one, so that one which is cut off is missed.
//!
//! A file that would grow past [`FULL`] is closed as `journal.NNNNNN.jsonl`, and the chain goes on in a new one. Where
//! another process keeps the lock, a record is written into a file of its own (`aside-….jsonl`), which the next writer
//! that has the lock takes in: a lock never stops a change.

mod aside;
mod head;
mod line;
mod tail;
#[cfg(test)]
mod tests;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::domain::history::HistoryEvent;
use crate::error::{Failure, FailureKind};
use crate::own_files;
use crate::plain_file;
use crate::text::{counted, format_bytes, format_span};
use head::Head;
use line::LARGEST_NUMBER;
pub use line::{JournalLine, LONGEST_LINE};

/// A file is closed before it grows larger than this; some thousands of changes.
pub const FULL: u64 = 32 << 20;
/// No file of the history is larger: a new one begins with at most one record of the greatest length, and as much that waited.
const LARGEST_FILE: u64 = FULL + 2 * LONGEST_LINE as u64;
/// More than that in all files together is not read, as nothing is heard meanwhile; some hundred thousands of changes.
const LARGEST_HISTORY: u64 = 1 << 30;
/// The number of the last file that is closed.
const LAST_CLOSED: u32 = 999_999;
/// How often a lock that another process holds is tried.
const POLL: Duration = Duration::from_millis(20);
/// So many broken places are named; a file of other things has one in each line.
const MOST_BREAKS: usize = 1000;
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
    /// A file, or all of them up to this one, is larger than what kmsctl writes; nothing of it is read.
    #[error("{} is not read: up to its end the history has {}, more than kmsctl writes", path.display(), format_bytes(*bytes))]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// How many there are.
        bytes: u64,
    },
    /// There are so many lines that a change would have to wait.
    #[error("{} is not looked through within {}", path.display(), format_span(within.as_secs()))]
    Slow {
        /// The file.
        path: PathBuf,
        /// How long it was looked at.
        within: Duration,
    },
    /// An event is longer than a line may be.
    #[error("the record would have {}, and {} is the most", format_bytes(*.0 as u64), format_bytes(LONGEST_LINE as u64))]
    TooLong(usize),
    /// An event has more values than a line may have.
    #[error("the record would have more values than are read again")]
    TooMany,
    /// The event cannot be put into JSON.
    #[error("the record cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl From<JournalError> for Failure {
    fn from(error: JournalError) -> Self {
        use io::ErrorKind::{InvalidInput, IsADirectory, PermissionDenied};
        // Another user's, or no file: nothing that a second try changes.
        let unusable = match &error {
            JournalError::Io { source, .. } => {
                matches!(source.kind(), InvalidInput | IsADirectory | PermissionDenied)
                    || source.raw_os_error() == Some(libc::ELOOP)
            }
            JournalError::TooLarge { .. } => true,
            _ => false,
        };
        let kind = if unusable { FailureKind::Usage } else { FailureKind::Failed };
        let failure = Self::new(kind, format!("The history cannot be kept: {error}."));
        match &error {
            JournalError::TooLarge { path, .. } => {
                let next = format!("Look at {}, and move it away", path.display());
                failure.hint(next).with_cause(error)
            }
            _ => failure.with_cause(error),
        }
    }
}

/// What is wrong with the chain.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Break {
    /// The line in the file, from 1.
    pub line: u64,
    /// One sentence without a full stop.
    pub what: String,
}

/// How the lines hold together.
#[derive(Debug)]
pub struct Chain {
    /// How many records could be read.
    pub records: usize,
    /// Where the chain does not hold: the first places.
    pub breaks: Vec<Break>,
    /// How many more there are.
    pub more_breaks: usize,
    /// Bytes of a torn last line.
    pub torn: usize,
    /// There are records, and no head beside them: whether newer ones were cut off is not known.
    pub is_headless: bool,
    // What the head says, and whether the record was met that it names.
    expected: Option<Head>,
    met_head: bool,
    // When the scan is given up.
    until: Option<Instant>,
    // Lines so far, the number of the last one, and its hash.
    lines: u64,
    seq: u64,
    head: String,
}

impl Default for Chain {
    fn default() -> Self {
        Self {
            records: 0,
            breaks: Vec::new(),
            more_breaks: 0,
            torn: 0,
            is_headless: false,
            expected: None,
            met_head: false,
            until: None,
            lines: 0,
            seq: 0,
            head: BEGINNING.to_owned(),
        }
    }
}

/// What became of a record.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Appended {
    /// Bytes of a torn last line, left by a machine that died while writing, that were taken out of the file and recorded.
    pub torn: usize,
    /// The file of its own that the record is in, where the history could not take it.
    pub aside: Option<SideRecord>,
}

/// A record in a file of its own.
#[derive(Debug, PartialEq, Eq)]
pub struct SideRecord {
    /// The file.
    pub path: PathBuf,
    /// Why it is not in the history, as a sentence without a full stop.
    pub why: String,
    /// When it will be, as a clause.
    pub until: &'static str,
}

/// The history of one operator on one machine.
#[derive(Clone, Debug)]
pub struct Journal {
    path: PathBuf,
    patience: Duration,
}

impl Journal {
    /// Names the file; nothing is touched yet.
    pub fn at(directory: &Path) -> Self {
        Self { path: directory.join("journal.jsonl"), patience: Duration::from_secs(2) }
    }

    /// A change waits at most so long for a lock that another process holds, and for the look through all records.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Returns the file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the history, with every file of it: for the simulated firewall, whose changes are gone with it.
    pub fn forget(&self) -> Result<(), JournalError> {
        let removed = |path: &Path| match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(self.io("Removing", error))
            }
            _ => Ok(()),
        };
        for waiting in
            aside::waiting_asides(self.directory()).map_err(|error| self.io("Reading", error))?
        {
            waiting.remove();
        }
        for path in self.list_closed_files()? {
            removed(&path)?;
        }
        removed(&Head::path_in(self.directory()))?;
        removed(&self.path)
    }

    fn directory(&self) -> &Path {
        self.path.parent().unwrap_or(&self.path)
    }

    /// Reads and checks everything, line by line; what does not exist is an empty history. Each event is handed on with its time, and with its line where that is
    /// broken. Where another process keeps the lock, it is read as it stands.
    pub fn scan(
        &self,
        each: &mut dyn FnMut(Timestamp, HistoryEvent, Option<u64>),
    ) -> Result<Chain, JournalError> {
        match own_files::check_own_directory(self.directory()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(self.io("Opening", error));
            }
            _ => {}
        }
        let mut chain = Chain::default();
        // Before the records: what is written meanwhile makes it late, and never early.
        let head = Head::read(self.directory());
        chain.expected = head.as_ref().ok().cloned().flatten();
        let closed = self.closed_files()?;
        let current = match self.open_current(OpenOptions::new().read(true), Lock::Shared) {
            Ok((file, _)) => Some(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(self.io("Opening", error)),
        };
        let waiting =
            aside::waiting_asides(self.directory()).map_err(|error| self.io("Reading", error))?;
        // One at a time is in memory. One that was taken in, and whose file has outlived a crash, counts once.
        let mut marks: Vec<Option<Mark>> =
            waiting.iter().map(|file| Some(Mark::of_line(&file.read().ok()?))).collect();
        let unreadable: Vec<bool> = marks.iter().map(Option::is_none).collect();
        let mut each_once = |at, event: HistoryEvent, broken| {
            Mark::strike(&mut marks, at, &event);
            each(at, event, broken);
        };
        for path in closed {
            let file = Self::open_closed(&path)?;
            self.scan_file(&file, &mut chain, &mut each_once)?;
            if std::mem::take(&mut chain.torn) > 0 {
                chain.add_break("the file before it is torn at its end".to_owned());
            }
        }
        if let Some(file) = &current {
            self.scan_file(file, &mut chain, &mut each_once)?;
        }
        chain.compare_with_head(&head);
        let left: Vec<bool> =
            marks.iter().zip(unreadable).map(|(mark, unread)| unread || mark.is_some()).collect();
        for (file, _) in waiting.iter().zip(left).filter(|(_, is_left)| *is_left) {
            match file.read() {
                Ok(line) => {
                    let broken = (!line.whole).then_some(chain.lines + 1);
                    if broken.is_some() {
                        let what =
                            format!("it waits in {}, and was altered", file.path().display());
                        chain.lines += 1;
                        chain.add_break(what);
                    }
                    chain.records += 1;
                    each(line.at, line.event, broken);
                }
                Err(what) => {
                    let path = file.path().display();
                    chain.add_break(format!("the record that waits in {path}: {what}"));
                }
            }
        }
        Ok(chain)
    }

    fn scan_file(
        &self,
        file: &File,
        chain: &mut Chain,
        each: &mut dyn FnMut(Timestamp, HistoryEvent, Option<u64>),
    ) -> Result<(), JournalError> {
        chain
            .scan(&mut BufReader::with_capacity(1 << 16, file), each)
            .map_err(|error| self.io("Reading", error))
    }

    /// Returns how many lines there are, those that wait to be taken in too.
    pub fn count(&self) -> Result<u64, JournalError> {
        let waiting =
            aside::waiting_asides(self.directory()).map_err(|error| self.io("Reading", error))?;
        let before = match open_history_file(&self.path, OpenOptions::new().read(true)) {
            Ok(file) => self.last_line(&file)?.seq,
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(self.io("Opening", error)),
        };
        Ok(before.saturating_add(waiting.len() as u64))
    }

    /// Appends one event and returns when it is on the disk: in the history, or in a file of its own where another process
    /// keeps the lock, or where its files are larger than any. A torn last line is taken out of the file first and recorded as such.
    pub fn append(&self, now: Timestamp, event: &HistoryEvent) -> Result<Appended, JournalError> {
        let (why, until) = match self.append_in_turn(now, event) {
            Ok(Some(torn)) => return Ok(Appended { torn, aside: None }),
            Ok(None) => {
                let why = "Another process keeps the history locked".to_owned();
                (why, "the next change takes it in")
            }
            Err(error @ (JournalError::TooLarge { .. } | JournalError::Slow { .. })) => {
                (error.to_string(), "a change takes it in once that file is moved away")
            }
            Err(error) => return Err(error),
        };
        let path = aside::write_aside(self.directory(), now, event)?;
        Ok(Appended { torn: 0, aside: Some(SideRecord { path, why, until }) })
    }

    /// Returns how many bytes of a torn last line were taken out; `None` where another process keeps the lock.
    fn append_in_turn(
        &self,
        now: Timestamp,
        event: &HistoryEvent,
    ) -> Result<Option<usize>, JournalError> {
        own_files::make_private_directory(self.directory()).map_err(|source| JournalError::Io {
            doing: "Making",
            path: self.directory().to_owned(),
            source,
        })?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let (mut file, locked) = self
            .open_current(&mut options, Lock::Exclusive)
            .map_err(|error| self.io("Opening", error))?;
        if !locked {
            return Ok(None);
        }
        self.make_private(&file)?;
        let last = self.last_line(&file)?;
        let (mut seq, mut head) = (last.seq + 1, last.head.clone());
        let mut text = Vec::new();
        // One that cannot be read stays as it is, so that it is named until an operator has looked at it.
        let known = Head::read(self.directory());
        if let Ok(Some(known)) = &known
            && !self.holds_head(known, &last)?
        {
            // The chain goes on from what was there: where it was cut stays to be seen.
            seq = seq.max(known.seq + 1);
            let cut = HistoryEvent::Recovered {
                bytes: 0,
                text: format!("the history did not end in its record {} any more", known.seq),
            };
            head = line::push_chained_line(&mut text, seq, &known.hash, now, &cut)?;
            seq += 1;
        }
        if last.torn > 0 {
            let recovered = HistoryEvent::Recovered { bytes: last.torn, text: last.torn_text };
            head = line::push_chained_line(&mut text, seq, &head, now, &recovered)?;
            seq += 1;
        }
        let waiting = self.waiting()?;
        for (file, _) in waiting.iter().filter(|(_, is_new)| *is_new) {
            if let Ok(line) = file.read() {
                head = line::push_chained_line(&mut text, seq, &head, line.at, &line.event)?;
                seq += 1;
            }
        }
        let hash = line::push_chained_line(&mut text, seq, &head, now, event)?;
        let mut end = last.end;
        if end > 0
            && end + text.len() as u64 > FULL
            && let Some(closed) = self.next_closed_file()?
        {
            file = self.close_and_begin(&file, end, &closed, &mut options)?;
            end = 0;
        }
        self.write(&mut file, end, &text)?;
        if end == 0 || !waiting.is_empty() {
            self.sync_directory()?;
        }
        for (file, _) in waiting {
            file.remove();
        }
        if known.is_ok() {
            // The record is on the disk; a head that stays behind misses the last ones, and accuses none.
            let _ = Head { seq, hash }.write(self.directory());
        }
        Ok(Some(usize::try_from(last.torn).unwrap_or(usize::MAX)))
    }

    /// Returns whether the record that the head names is there. Where it is not the last one, all are looked at.
    fn holds_head(&self, known: &Head, last: &LastLine) -> Result<bool, JournalError> {
        if known.seq >= last.seq {
            return Ok(known.seq == last.seq && known.hash == last.head);
        }
        let mut chain = Chain { expected: Some(known.clone()), ..Chain::default() };
        self.look_through(&mut chain, &mut |_, _, _| {})?;
        Ok(chain.met_head)
    }

    /// Scans all files, for no longer than a change may wait.
    fn look_through(
        &self,
        chain: &mut Chain,
        each: &mut dyn FnMut(Timestamp, HistoryEvent, Option<u64>),
    ) -> Result<(), JournalError> {
        chain.until = Some(Instant::now() + self.patience);
        for path in self.closed_files()?.iter().chain([&self.path]) {
            let file = Self::open_closed(path)?;
            self.scan_file(&file, chain, each)?;
            if chain.is_late() {
                return Err(JournalError::Slow { path: path.clone(), within: self.patience });
            }
        }
        Ok(())
    }

    /// Returns the path at which the history cannot be written, and why; nothing is written to find that out.
    pub fn unwritable_path(&self) -> Option<(PathBuf, io::Error)> {
        match open_history_file(&self.path, OpenOptions::new().write(true)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Some((self.path.clone(), error));
            }
            _ => {}
        }
        let mut place = self.directory();
        while !place.exists()
            && let Some(above) = place.parent()
        {
            place = above;
        }
        let wanted = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
        let refused = rustix::fs::access(place, wanted).err()?;
        Some((place.to_owned(), refused.into()))
    }

    /// Returns the directory and the files of the history that are open to others, with their modes.
    pub fn open_to_others(&self) -> Vec<(PathBuf, u32)> {
        let directory = self.directory();
        let mut paths = vec![directory.to_owned(), self.path.clone()];
        paths.push(Head::path_in(directory));
        paths.extend(self.list_closed_files().unwrap_or_default());
        let modes = paths.into_iter().filter_map(|path| {
            let mode = fs::metadata(&path).ok()?.permissions().mode() & 0o777;
            (mode & 0o077 != 0).then_some((path, mode))
        });
        modes.collect()
    }

    /// Returns the records that wait to be taken in. One that is there already has outlived a crash, and is not
    /// taken in again. One that was altered, or cannot be read, stays where it is, so that it is named until an operator has
    /// looked at it.
    fn waiting(&self) -> Result<Vec<Waiting>, JournalError> {
        let files =
            aside::waiting_asides(self.directory()).map_err(|error| self.io("Reading", error))?;
        if files.is_empty() {
            return Ok(Vec::new());
        }
        let (files, mut marks): (Vec<_>, Vec<_>) = files
            .into_iter()
            .filter_map(|file| {
                let line = file.read().ok().filter(|line| line.whole)?;
                Some((file, Some(Mark::of_line(&line))))
            })
            .unzip();
        self.look_through(&mut Chain::default(), &mut |at, event, _| {
            Mark::strike(&mut marks, at, &event);
        })?;
        Ok(files.into_iter().zip(marks.iter().map(Option::is_some)).collect())
    }

    /// Opens the file that is written to, and takes its lock if that is to be had in time. Another process may close the
    /// file between the two.
    fn open_current(&self, options: &mut OpenOptions, lock: Lock) -> io::Result<(File, bool)> {
        let deadline = Instant::now() + self.patience;
        loop {
            let file = open_history_file(&self.path, options)?;
            let taken = match lock {
                Lock::Shared => file.try_lock_shared(),
                Lock::Exclusive => file.try_lock(),
            };
            let locked = match taken {
                Ok(()) => true,
                Err(TryLockError::WouldBlock) => false,
                // Where files cannot be locked there is no other process to wait for.
                Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
                    true
                }
                Err(TryLockError::Error(error)) => return Err(error),
            };
            let found = file.metadata()?;
            let same = fs::metadata(&self.path)
                .is_ok_and(|there| (there.dev(), there.ino()) == (found.dev(), found.ino()));
            if (locked && same) || Instant::now() >= deadline {
                return Ok((file, locked && same));
            }
            std::thread::sleep(POLL);
        }
    }

    fn open_closed(path: &Path) -> Result<File, JournalError> {
        open_history_file(path, OpenOptions::new().read(true)).map_err(|source| JournalError::Io {
            doing: "Opening",
            path: path.to_owned(),
            source,
        })
    }

    /// Returns the closed files, oldest first, before anything is read of them or of the current one; where they are larger than
    /// any history they are refused.
    fn closed_files(&self) -> Result<Vec<PathBuf>, JournalError> {
        let files = self.list_closed_files()?;
        let mut together: u64 = 0;
        for path in files.iter().chain([&self.path]) {
            let bytes = fs::metadata(path).map_or(0, |found| found.len());
            together = together.saturating_add(bytes);
            if bytes > LARGEST_FILE || together > LARGEST_HISTORY {
                return Err(JournalError::TooLarge { path: path.clone(), bytes: together });
            }
        }
        Ok(files)
    }

    fn list_closed_files(&self) -> Result<Vec<PathBuf>, JournalError> {
        let names = match fs::read_dir(self.directory()) {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(self.io("Listing the directory of", error)),
        };
        let mut files: Vec<PathBuf> = names
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| closed_number(path).is_some())
            .collect();
        files.sort();
        Ok(files)
    }

    /// Returns the path that a full file gets, while there is a number for it.
    fn next_closed_file(&self) -> Result<Option<PathBuf>, JournalError> {
        let last = self.list_closed_files()?.last().and_then(|path| closed_number(path));
        let number = last.unwrap_or_default() + 1;
        let name = format!("journal.{number:06}.jsonl");
        Ok((number <= LAST_CLOSED).then(|| self.directory().join(name)))
    }

    /// Closes a full file and begins another, whose lock is taken before it is there.
    fn close_and_begin(
        &self,
        file: &File,
        end: u64,
        closed: &Path,
        options: &mut OpenOptions,
    ) -> Result<File, JournalError> {
        // A torn line is in the new file as a record.
        file.set_len(end).map_err(|error| self.io("Writing", error))?;
        fs::rename(&self.path, closed).map_err(|error| self.io("Closing", error))?;
        let begun =
            open_history_file(&self.path, options).map_err(|error| self.io("Opening", error))?;
        begun.lock().map_err(|error| self.io("Locking", error))?;
        Ok(begun)
    }

    /// Finds the last whole line, in this file or in the last closed one. A last line that cannot be read does not stop a
    /// change in an emergency: the chain goes on from what it claims, and `--verify` names it.
    fn last_line(&self, file: &File) -> Result<LastLine, JournalError> {
        let reading = |error| self.io("Reading", error);
        let closed = self.closed_files()?;
        let mut tail = tail::find_tail(file).map_err(reading)?;
        if tail.last.is_none()
            && tail.end == 0
            && let Some(path) = closed.last()
        {
            let before = Self::open_closed(path)?;
            tail.last = tail::find_tail(&before).map_err(reading)?.last;
        }
        let seq = match tail.last.as_deref().map(line::claimed_seq) {
            None if tail.end == 0 => 0,
            Some(Some(seq)) => seq,
            _ => {
                let mut lines = tail::count_lines(file).map_err(reading)?;
                for path in &closed {
                    lines += tail::count_lines(&Self::open_closed(path)?).map_err(reading)?;
                }
                lines
            }
        };
        let head = tail.last.as_deref().map_or_else(
            || BEGINNING.to_owned(),
            |last| line::claimed_hash(last).unwrap_or_else(|| line::hash_hexadecimal(last)),
        );
        Ok(LastLine {
            end: tail.end,
            torn: tail.torn,
            torn_text: String::from_utf8_lossy(&tail.torn_beginning).into_owned(),
            seq,
            head,
        })
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
        sync(self.directory()).map_err(|error| self.io("Writing the directory of", error))
    }

    fn io(&self, doing: &'static str, source: io::Error) -> JournalError {
        JournalError::Io { doing, path: self.path.clone(), source }
    }
}

/// A record that waits, and whether it is not in the history yet.
type Waiting = (aside::Aside, bool);

/// What distinguishes a record: its time, and the hash of its event.
struct Mark {
    at: Timestamp,
    hash: String,
}

impl Mark {
    fn of_line(line: &JournalLine) -> Self {
        Self { at: line.at, hash: Self::hash_event(&line.event) }
    }

    fn hash_event(event: &HistoryEvent) -> String {
        line::hash_hexadecimal(&serde_json::to_vec(event).unwrap_or_default())
    }

    /// Strikes out the marks that are this record's.
    fn strike(marks: &mut [Option<Self>], at: Timestamp, event: &HistoryEvent) {
        if !marks.iter().flatten().any(|mark| mark.at == at) {
            return;
        }
        let hash = Self::hash_event(event);
        for mark in marks {
            if mark.as_ref().is_some_and(|mark| mark.at == at && mark.hash == hash) {
                *mark = None;
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Lock {
    Shared,
    Exclusive,
}

/// The end of the history.
struct LastLine {
    /// Where the whole lines of the current file end.
    end: u64,
    /// Bytes behind that.
    torn: u64,
    /// Their beginning.
    torn_text: String,
    /// The number of the last whole line.
    seq: u64,
    /// Its hash.
    head: String,
}

/// Opens a file of the history; another user's is refused: what it says is offered as this user's own doing.
fn open_history_file(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let file = plain_file::open_plain_file(path, options)?;
    own_files::check_own(&file.metadata()?)?;
    Ok(file)
}

fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory).and_then(|directory| directory.sync_all())
}

/// Returns the number of a closed file: `journal.000001.jsonl`.
fn closed_number(path: &Path) -> Option<u32> {
    let name = path.file_name()?.to_str()?;
    let digits = name.strip_prefix("journal.")?.strip_suffix(".jsonl")?;
    (digits.len() == 6).then(|| digits.parse().ok())?
}

impl Chain {
    fn add_break(&mut self, what: String) {
        if self.breaks.len() >= MOST_BREAKS {
            self.more_breaks += 1;
            return;
        }
        self.breaks.push(Break { line: self.lines, what });
    }

    fn is_late(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() > until)
    }

    /// Reads and checks lines, of which one at a time is in memory.
    fn scan(
        &mut self,
        text: &mut impl BufRead,
        each: &mut dyn FnMut(Timestamp, HistoryEvent, Option<u64>),
    ) -> io::Result<()> {
        let mut bytes = Vec::new();
        loop {
            if self.is_late() {
                return Ok(());
            }
            bytes.clear();
            let count =
                text.by_ref().take(LONGEST_LINE as u64 + 1).read_until(b'\n', &mut bytes)?;
            if count == 0 {
                return Ok(());
            }
            if let Some(line) = bytes.strip_suffix(b"\n") {
                self.line(line, each);
            } else if count <= LONGEST_LINE {
                self.torn = count;
                return Ok(());
            } else {
                // What follows of it is passed over, and not kept.
                while !text.fill_buf()?.is_empty() {
                    let (length, ends) = {
                        let rest = text.fill_buf()?;
                        let end = memchr::memchr(b'\n', rest);
                        (end.map_or(rest.len(), |end| end + 1), end.is_some())
                    };
                    text.consume(length);
                    if ends {
                        break;
                    }
                }
                self.line(&bytes, each);
            }
        }
    }

    /// Compares the end with what the head says of it.
    fn compare_with_head(&mut self, head: &io::Result<Option<Head>>) {
        let what = match head {
            Ok(Some(_)) if self.met_head => return,
            Ok(Some(head)) if head.seq > self.seq => format!(
                "{} missing at the end: {} beside it knows record {}",
                counted(head.seq - self.seq, "record is", "records are"),
                head::NAME,
                head.seq
            ),
            // A line that was altered is named already.
            Ok(Some(_)) if !self.breaks.is_empty() => return,
            Ok(Some(head)) => {
                format!("record {} is not the one that {} beside it knows", head.seq, head::NAME)
            }
            Ok(None) => {
                self.is_headless = self.lines > 0;
                return;
            }
            Err(error) => format!(
                "{} beside it, which knows the last record, cannot be read: {error}",
                head::NAME
            ),
        };
        self.lines += 1;
        self.add_break(what);
    }

    fn line(&mut self, bytes: &[u8], each: &mut dyn FnMut(Timestamp, HistoryEvent, Option<u64>)) {
        self.lines += 1;
        self.seq = self.seq.saturating_add(1);
        let line = match JournalLine::parse(bytes) {
            Ok(line) => line,
            Err(what) => {
                self.add_break(what);
                self.head =
                    line::claimed_hash(bytes).unwrap_or_else(|| line::hash_hexadecimal(bytes));
                return;
            }
        };
        let problem = if !line.whole {
            Some("it was altered: its hash does not fit".to_owned())
        } else if line.previous != self.head {
            Some(
                "it does not follow the line before: something was removed, inserted or reordered"
                    .to_owned(),
            )
        } else if line.seq != self.seq || line.seq > LARGEST_NUMBER {
            Some(format!("its number is {}, not {}", line.seq, self.seq))
        } else {
            None
        };
        if line.whole && line.seq <= LARGEST_NUMBER {
            // What follows a gap is whole in itself.
            self.seq = line.seq;
        }
        let is_head = |head: &Head| (head.seq, &head.hash) == (line.seq, &line.hash);
        self.met_head |= line.whole && self.expected.as_ref().is_some_and(is_head);
        let broken = problem.is_some().then_some(self.lines);
        if let Some(what) = problem {
            self.add_break(what);
        }
        self.head = line.hash;
        self.records += 1;
        each(line.at, line.event, broken);
    }
}
