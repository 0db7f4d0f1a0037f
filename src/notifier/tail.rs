//! Follows the server's log through every kind of rotation: rename, copy and truncate, truncate and grow again,
//! delete and create, inode reuse. Knows nothing of lines; what a generation is and which come next is
//! [`super::tail`].
//!
//! An offset beyond a file's end is never believed. A generation that was renamed is read to its end until it has
//! been silent for a while, and generations that came and went between two looks, or while the notifier was down, are found
//! beside the log. Polled, as notifications do not come through on every volume.

use crate::text::hexadecimal;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::VecDeque;
use std::fs::{File, Metadata};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};
use std::{fs, io};

const CHUNK: usize = 256 * 1024;

/// How long a renamed generation is still looked at: a writer that had it open may write once more.
pub const LINGER: Duration = Duration::from_millis(300);

/// How long the log's name may be missing before that is reported.
const NAMELESS: Duration = Duration::from_secs(5);

/// How often other generations are looked for while the log is empty or missing.
const BESIDE: Duration = Duration::from_secs(1);

/// Most generations remembered as read.
const SEEN: usize = 64;

/// First bytes by which a file is recognised. A server's whole request is less, with its client's address and
/// machine: fewer bytes may be the same in two generations that both begin in the middle of one.
pub const HEAD: usize = 2_048;

/// Last bytes before an offset by which it is known that the file was read up to there.
const TAIL: usize = 256;

const MOST_FILES: usize = 4_096;

/// Endings of packed generations; there is nothing to read in them.
const PACKED: [&str; 5] = ["gz", "xz", "bz2", "zst", "lz4"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// Another file took its name, and it was read to its end.
    Renamed,
    /// It was cut, and perhaps grew again.
    Truncated,
    /// It was cut, and reading goes on at the same place in a copy.
    Copied,
    /// It is gone, and was not read to its end as far as anybody knows.
    Missing,
    /// The copy in which reading went on is read to its end: the end of a rotation that was seen already.
    CopyRead,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogLook {
    pub bytes: usize,
    /// The generation that ended before the next look.
    pub rotation: Option<Rotation>,
    /// The bytes were there before the notifier first looked.
    pub first_read: bool,
}

impl From<Rotation> for LogLook {
    fn from(rotation: Rotation) -> Self {
        Self { rotation: Some(rotation), ..Self::default() }
    }
}

#[derive(Debug)]
struct OpenedLog {
    file: File,
    position: Position,
    /// Since when the name belongs to another file and nothing more has come.
    leaving: Option<Instant>,
    /// Since when the log's name belongs to no file.
    nameless: Option<Instant>,
    /// It is not under the log's name: read to its end and leave.
    aside: bool,
    /// The last bytes that were read.
    recent: Vec<u8>,
}

impl OpenedLog {
    fn new(file: File, position: Position, aside: bool) -> Self {
        Self { file, position, leaving: None, nameless: None, aside, recent: Vec::new() }
    }
}

#[derive(Debug)]
pub struct Tail {
    place: LogPosition,
    opened: Option<OpenedLog>,
    /// Generations beside the log that are still to be read, oldest first.
    waiting: VecDeque<FoundGeneration>,
    seen: VecDeque<Position>,
    /// Where reading stood when no file is open.
    last: Option<Position>,
    /// Generations that were gone before they were read, and not reported yet.
    missing: usize,
    copy: Option<Position>,
    /// When other generations were last looked for beside a log that is empty or missing.
    looked_beside: Option<Instant>,
    /// What was there before the first look: a file, and how many bytes of it.
    already: Vec<(Position, u64)>,
    /// Neither the file of the position to start from nor a copy of it was found.
    lost_place: bool,
    buffer: Vec<u8>,
}

impl Tail {
    /// Starts at a position, or at the beginning of the log. `seen` are generations that were read before.
    pub fn new(path: &Path, from: Position, seen: Vec<Position>) -> Self {
        let mut tail = Self {
            place: LogPosition(path.to_owned()),
            opened: None,
            waiting: VecDeque::new(),
            seen: seen.into_iter().take(SEEN).collect(),
            last: None,
            missing: 0,
            copy: None,
            looked_beside: None,
            already: Vec::new(),
            lost_place: false,
            buffer: vec![0; CHUNK],
        };
        tail.resume_at(from);
        tail
    }

    pub fn path(&self) -> &Path {
        &self.place.0
    }

    /// Returns where reading stands, once a file was opened.
    pub fn position(&self) -> Option<&Position> {
        let open = self.opened.as_ref().map(|opened| &opened.position);
        open.or(self.last.as_ref())
    }

    pub fn read_generations(&self) -> Vec<Position> {
        self.seen.iter().cloned().collect()
    }

    /// Returns whether reading could not go on where it was to start from.
    pub fn lost_place(&self) -> bool {
        self.lost_place
    }

    /// Takes all that is there now for what was written before the notifier first looked.
    pub fn begin_first_read(&mut self) {
        self.already = self
            .place
            .sibling_generations()
            .into_iter()
            .map(|found| (found.position, found.size))
            .collect();
        if let Ok(metadata) = fs::metadata(&self.place.0) {
            self.already.push((Position::from_metadata(&metadata), metadata.len()));
        }
    }

    /// Returns what is left of the first read, for a checkpoint.
    pub fn left_of_first_read(&self) -> &[(Position, u64)] {
        &self.already
    }

    /// Goes on with a first read: in a copy, where the file of the checkpoint was cut.
    pub fn restore_already(&mut self, already: Vec<(Position, u64)>) {
        self.already = already;
        if self.opened.is_none()
            && let Some(before) = self.last.clone()
        {
            self.move_first_read(&before);
        }
    }

    /// Takes what is left of the first read of a file that was cut along to its copy, if there is one: what is written
    /// to the file from now on is new.
    fn move_first_read(&mut self, before: &Position) {
        let (of_file, others) = std::mem::take(&mut self.already)
            .into_iter()
            .partition(|(known, _): &(Position, u64)| known.is_same_file(before));
        self.already = others;
        if let (Some((_, size)), Some(copy)) = (Vec::into_iter(of_file).next(), &self.copy) {
            self.already.push((copy.clone(), size));
        }
    }

    /// Returns whether the log, or what is left of its last generations, is open.
    pub fn is_open(&self) -> bool {
        self.opened.is_some()
    }

    /// Returns whether the log's name is there, as far as the last looks showed: what is open may be moved or deleted. A
    /// rotation takes the name away for a moment.
    pub fn has_name(&self) -> bool {
        self.opened
            .as_ref()
            .is_none_or(|opened| opened.nameless.is_none_or(|since| since.elapsed() < NAMELESS))
    }

    /// Returns how many bytes of the open generation, and of those that wait, are not read yet.
    pub fn bytes_behind(&self) -> u64 {
        let behind = |opened: &OpenedLog| {
            let size = opened.file.metadata().map_or(0, |metadata| metadata.len());
            size.saturating_sub(opened.position.offset)
        };
        let waiting = |found: &FoundGeneration| found.size.saturating_sub(found.position.offset);
        self.opened.as_ref().map_or(0, behind) + self.waiting.iter().map(waiting).sum::<u64>()
    }

    /// Looks once: hands over the next bytes, or notices a rotation at the end of a generation.
    pub fn look_once(&mut self, mut each: impl FnMut(&[u8])) -> io::Result<LogLook> {
        if self.missing > 0 {
            self.missing -= 1;
            return Ok(Rotation::Missing.into());
        }
        if self.opened.is_none() && !self.open_next()? {
            return Ok(LogLook::default());
        }
        let looks_beside = self.looks_beside();
        let Some(opened) = &mut self.opened else {
            return Ok(LogLook::default());
        };
        let metadata = opened.file.metadata()?;
        let size = metadata.len();
        if size < opened.position.offset || !opened.position.fits_file(&opened.file)? {
            return Ok(self.note_truncation());
        }
        // A cut of an empty file goes unnoticed: what was in it meanwhile may be in a copy, and comes first.
        if opened.position.head.is_empty() && (size > 0 || looks_beside) {
            self.looked_beside = Some(Instant::now());
            self.find_missed();
            if !self.waiting.is_empty() {
                self.opened = None;
                return Ok(Rotation::Truncated.into());
            }
            // What is still to be found is newer than this; later lines, which may be late, change nothing in that.
            if size > 0
                && let Some(opened) = &mut self.opened
            {
                opened.position.modified = modified_nanoseconds(&metadata);
            }
        }
        self.read(&mut each)
    }

    fn looks_beside(&self) -> bool {
        self.looked_beside.is_none_or(|last| last.elapsed() >= BESIDE)
    }

    fn read(&mut self, each: &mut impl FnMut(&[u8])) -> io::Result<LogLook> {
        let Some(opened) = &mut self.opened else {
            return Ok(LogLook::default());
        };
        let offset = opened.position.offset;
        let known = self.already.iter().find(|(known, _)| known.is_same_file(&opened.position));
        let left = known.map_or(0, |(_, size)| size.saturating_sub(offset));
        let first_read = left > 0;
        let most = usize::try_from(left).ok().filter(|_| first_read).unwrap_or(CHUNK).min(CHUNK);
        let buffer = self.buffer.get_mut(..most).unwrap_or_default();
        let count = opened.file.read_at(buffer, offset)?;
        // Cut and grown again between the two: these bytes are from the middle of something else.
        if count > 0 && !opened.position.fits_file(&opened.file)? {
            return Ok(self.note_truncation());
        }
        if count == 0 {
            return self.at_end();
        }
        let bytes = self.buffer.get(..count).unwrap_or_default();
        opened.position.advance(bytes, &mut opened.recent);
        opened.position.learn_head(&opened.file)?;
        opened.leaving = None;
        each(bytes);
        Ok(LogLook { bytes: count, rotation: None, first_read })
    }

    fn at_end(&mut self) -> io::Result<LogLook> {
        let Some(opened) = &mut self.opened else {
            return Ok(LogLook::default());
        };
        let named = fs::metadata(&self.place.0);
        if named.is_ok() {
            opened.nameless = None;
        }
        let gone = opened.aside
            || match named {
                Ok(metadata) => !opened.position.is_file(&metadata),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    opened.nameless.get_or_insert_with(Instant::now);
                    // Deleted, not renamed: there is nothing more to come of it.
                    let metadata = opened.file.metadata()?;
                    metadata.nlink() == 0
                }
                Err(error) => return Err(error),
            };
        let metadata = opened.file.metadata()?;
        if !gone || metadata.len() != opened.position.offset {
            opened.leaving = None;
            return Ok(LogLook::default());
        }
        // A renamed generation may get one more line; one that has been silent for long will not.
        let silent =
            metadata.modified().is_ok_and(|time| time.elapsed().is_ok_and(|age| age > LINGER * 4));
        let since = *opened.leaving.get_or_insert_with(Instant::now);
        if !silent && since.elapsed() < LINGER {
            return Ok(LogLook::default());
        }
        self.leave_generation()
    }

    /// Leaves a generation that was read to its end for the next.
    fn leave_generation(&mut self) -> io::Result<LogLook> {
        let opened = self.opened.as_ref().map(|opened| &opened.position);
        let copy = self.copy.take_if(|copy| opened.is_some_and(|opened| copy.is_same_file(opened)));
        // The log is opened before what was missed is looked for: a file that takes its name after that is newer.
        let current = self.open_log()?;
        if let Some(opened) = self.opened.take() {
            self.already.retain(|(known, _)| !known.is_same_file(&opened.position));
            self.remember_generation(opened.position.clone());
            self.last = Some(opened.position);
        }
        self.find_missed();
        if self.waiting.is_empty() {
            self.opened = current;
        }
        Ok(if copy.is_some() { Rotation::CopyRead.into() } else { Rotation::Renamed.into() })
    }

    /// The open file was cut. What was appended before the cut may be in a copy beside it.
    fn note_truncation(&mut self) -> LogLook {
        let Some(opened) = self.opened.take() else {
            return LogLook::default();
        };
        let before = opened.position;
        let copied = self.go_on_in_copy(&before);
        self.move_first_read(&before);
        self.last = Some(before);
        if copied { Rotation::Copied.into() } else { Rotation::Truncated.into() }
    }

    /// Lets reading go on in a copy of a generation, if there is one.
    fn go_on_in_copy(&mut self, before: &Position) -> bool {
        let copy = self.place.sibling_generations().into_iter().find(|found| {
            !found.position.is_same_file(before)
                && !before.head.is_empty()
                && found.size >= before.offset
                && found.holds_read(before)
        });
        let Some(mut copy) = copy else {
            return false;
        };
        copy.position.tail = before.tail.clone();
        copy.position.offset = before.offset;
        copy.position.unfinished = before.unfinished;
        copy.position.go_back();
        self.copy = Some(copy.position.clone());
        self.waiting.push_front(copy);
        true
    }

    /// Opens the next generation beside the log, or the log itself.
    fn open_next(&mut self) -> io::Result<bool> {
        loop {
            while let Some(found) = self.waiting.pop_front() {
                if let Some(file) = self.place.find_generation(&found.path, &found.position) {
                    self.opened = Some(OpenedLog::new(file, found.position, true));
                    return Ok(true);
                }
                self.missing += 1;
                self.remember_generation(found.position);
            }
            let Some(current) = self.open_log()? else {
                if !self.looks_beside() {
                    return Ok(false);
                }
                self.looked_beside = Some(Instant::now());
                self.find_missed();
                if self.waiting.is_empty() {
                    return Ok(false);
                }
                continue;
            };
            self.find_missed();
            if self.waiting.is_empty() {
                self.opened = Some(current);
                return Ok(true);
            }
        }
    }

    fn open_log(&self) -> io::Result<Option<OpenedLog>> {
        let Some(file) = self.place.open()? else {
            return Ok(None);
        };
        let metadata = file.metadata()?;
        let mut position = Position::from_metadata(&metadata);
        // What is to be found beside it is newer than what was read before it, and perhaps older than itself.
        if let Some(last) = &self.last {
            position.modified = position.modified.min(last.modified);
        }
        // Known already: renamed away and back.
        let known = |seen: &&Position| {
            seen.is_same_file(&position)
                && !seen.head.is_empty()
                && seen.fits_file(&file).unwrap_or(false)
        };
        if let Some(read) = self.seen.iter().rev().find(known) {
            position = read.clone();
        }
        Ok(Some(OpenedLog::new(file, position, false)))
    }

    fn resume_at(&mut self, mut position: Position) {
        self.last = Some(position.clone());
        // Under the log's name, or beside it under another.
        if let Some(file) = self.place.find_generation(&self.place.0, &position) {
            let here =
                fs::metadata(&self.place.0).is_ok_and(|metadata| position.is_file(&metadata));
            position.go_back();
            self.opened = Some(OpenedLog::new(file, position, !here));
            return;
        }
        // Cut or gone between two looks; what is newer is found once something is opened.
        if !position.is_nowhere() && !self.go_on_in_copy(&position) {
            self.missing += 1;
            self.lost_place = true;
        }
    }

    /// Finds generations that came and went since the last one was written to, if none is known yet. What bears the
    /// log's name is none of them; a file that has lost the name a moment ago is, at its place among the others.
    fn find_missed(&mut self) {
        let Some(last) = self.last.as_ref().map(|last| last.modified) else {
            return;
        };
        if !self.waiting.is_empty() {
            return;
        }
        for mut found in self.place.sibling_generations() {
            if found.position.modified < last || found.head.is_empty() {
                continue;
            }
            // Itself, perhaps with a late line, or a copy of it.
            let read = self.seen.iter().rev().find(|seen| {
                let copy = seen.head.is_whole();
                (copy || seen.is_same_file(&found.position)) && found.holds_read(seen)
            });
            if let Some(read) = read {
                found.position.offset = read.offset;
                found.position.tail = read.tail.clone();
            }
            if found.size > found.position.offset {
                self.waiting.push_back(found);
            }
        }
    }

    fn remember_generation(&mut self, position: Position) {
        self.seen.retain(|seen| !(seen.is_same_file(&position) && seen.head == position.head));
        self.seen.push_back(position);
        if self.seen.len() > SEEN {
            self.seen.pop_front();
        }
    }
}

/// Some bytes of a file, as a hash.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    length: usize,
    sum: String,
}

impl Head {
    fn from_bytes(bytes: &[u8]) -> Self {
        let mut sum = hexadecimal(&Sha256::digest(bytes));
        sum.truncate(32);
        Self { length: bytes.len(), sum }
    }

    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Returns whether there are enough bytes to recognise a log.
    pub fn is_whole(&self) -> bool {
        self.length >= HEAD
    }

    /// Returns whether a file that starts with these bytes starts as this one did. An empty head begins nothing.
    pub fn begins_file(&self, bytes: &[u8]) -> bool {
        !self.is_empty()
            && bytes.get(..self.length).is_some_and(|bytes| Self::from_bytes(bytes) == *self)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    pub device: u64,
    pub inode: u64,
    /// Nanoseconds between 1970 and the file's birth, where the file system has it.
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
    pub fn from_metadata(metadata: &Metadata) -> Self {
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
    pub fn since_time(seconds: i64) -> Self {
        let seconds = u64::try_from(seconds).unwrap_or_default();
        Self { modified: seconds.saturating_mul(1_000_000_000), ..Self::default() }
    }

    /// Returns whether this is a place in no file.
    pub fn is_nowhere(&self) -> bool {
        self.inode == 0
    }

    /// Returns whether this is a position in that file, as far as a directory shows.
    pub fn is_file(&self, metadata: &Metadata) -> bool {
        self.is_same_file(&Self::from_metadata(metadata))
    }

    pub fn is_same_file(&self, other: &Self) -> bool {
        let born = self.born.is_none() || other.born.is_none() || self.born == other.born;
        born && (self.device, self.inode) == (other.device, other.inode)
    }

    /// Returns whether a file holds what was read up to here: its first bytes, and the last before the offset.
    pub fn fits_file(&self, file: &File) -> io::Result<bool> {
        if self.head.is_empty() {
            return Ok(self.offset == 0);
        }
        let start = self.offset.saturating_sub(self.tail.length as u64);
        Ok(self.head.begins_file(&head_of(file)?)
            && (self.tail.is_empty()
                || self.tail.begins_file(&bytes_at(file, start, self.tail.length)?)))
    }

    /// Notes bytes that were read at the offset; `recent` holds those before.
    pub fn advance(&mut self, bytes: &[u8], recent: &mut Vec<u8>) {
        recent.extend_from_slice(bytes.get(bytes.len().saturating_sub(TAIL)..).unwrap_or_default());
        recent.drain(..recent.len().saturating_sub(TAIL));
        self.offset += bytes.len() as u64;
        self.tail = Head::from_bytes(recent);
    }

    /// Goes back to the start of a line that was not complete: the file with its first half is gone.
    pub fn go_back(&mut self) {
        if self.unfinished > 0 {
            self.offset = self.offset.saturating_sub(self.unfinished);
            self.unfinished = 0;
            self.tail = Head::default();
        }
    }

    /// Learns more of the file's first bytes, up to what was read of it.
    pub fn learn_head(&mut self, file: &File) -> io::Result<()> {
        if self.head.is_whole() {
            return Ok(());
        }
        let bytes = head_of(file)?;
        if !self.head.is_empty() && !self.head.begins_file(&bytes) {
            return Ok(());
        }
        let known = usize::try_from(self.offset).unwrap_or(HEAD).min(bytes.len());
        if known > self.head.length {
            self.head = Head::from_bytes(bytes.get(..known).unwrap_or_default());
        }
        Ok(())
    }
}

/// A file beside the log.
#[derive(Clone, Debug)]
pub struct FoundGeneration {
    pub path: PathBuf,
    /// Its start, or where reading it goes on.
    pub position: Position,
    /// Its first bytes.
    pub head: Vec<u8>,
    pub size: u64,
}

impl FoundGeneration {
    pub fn holds_read(&self, read: &Position) -> bool {
        read.head.begins_file(&self.head)
            && self.size >= read.offset
            && File::open(&self.path).is_ok_and(|file| read.fits_file(&file).unwrap_or(false))
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
    pub fn find_generation(&self, path: &Path, wanted: &Position) -> Option<File> {
        let fits = |path: &Path| {
            if !fs::metadata(path).ok()?.is_file() {
                return None;
            }
            let file = File::open(path).ok()?;
            let metadata = file.metadata().ok()?;
            (wanted.is_file(&metadata) && wanted.fits_file(&file).ok()?).then_some(file)
        };
        fits(path).or_else(|| {
            let siblings = self.sibling_generations();
            let mut same = siblings.iter().filter(|found| wanted.is_same_file(&found.position));
            same.find_map(|found| fits(&found.path))
        })
    }

    /// Lists the uncompressed files whose names say that they are the log's generations: oldest first, at offset 0.
    pub fn sibling_generations(&self) -> Vec<FoundGeneration> {
        let Some((folder, name)) = self.0.parent().zip(self.0.file_name()) else {
            return Vec::new();
        };
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let Ok(entries) = fs::read_dir(folder) else {
            return Vec::new();
        };
        let beside = entries.flatten().filter(|entry| {
            is_generation_name(entry.file_name().as_encoded_bytes(), name.as_encoded_bytes())
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

/// Returns whether a generation of a log has this name: the log's with more behind it, or, as logrotate's `extension` has
/// it, with a number or a date before its ending (`vlmcsd-20261129.log`, `vlmcsd.1.log`). A name with other words there is
/// another log's.
fn is_generation_name(name: &[u8], log: &[u8]) -> bool {
    if let Some(behind) = name.strip_prefix(log) {
        return !behind.is_empty();
    }
    let Some(dot) = memchr::memrchr(b'.', log).filter(|dot| *dot > 0) else {
        return false;
    };
    let (stem, ending) = log.split_at(dot);
    let between = name.strip_prefix(stem).and_then(|rest| rest.strip_suffix(ending));
    let of_date = |byte: &u8| byte.is_ascii_digit() || b"-._:TZ".contains(byte);
    matches!(between, Some([b'-' | b'.' | b'_', first, rest @ ..])
        if first.is_ascii_digit() && rest.iter().all(of_date))
}

fn is_packed(path: &Path) -> bool {
    path.extension().is_some_and(|end| PACKED.iter().any(|packed| end == *packed))
}

fn describe_generation(path: PathBuf) -> io::Result<Option<FoundGeneration>> {
    if !fs::symlink_metadata(&path)?.is_file() {
        return Ok(None);
    }
    let file = File::open(&path)?;
    let metadata = file.metadata()?;
    let head = head_of(&file)?;
    let position = Position { head: Head::from_bytes(&head), ..Position::from_metadata(&metadata) };
    Ok(Some(FoundGeneration { path, position, head, size: metadata.len() }))
}

/// Returns nanoseconds between 1970 and a file's last change.
pub fn modified_nanoseconds(metadata: &Metadata) -> u64 {
    metadata.modified().map_or(0, unix_nanoseconds)
}

fn unix_nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
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

#[cfg(test)]
#[path = "tail_tests.rs"]
mod tests;
