//! Records in files of their own, written where another process keeps the history's lock, and taken in later.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use jiff::Timestamp;

use super::{BEGINNING, JournalError, JournalLine, LONGEST_LINE, line, sync};
use crate::domain::history::HistoryEvent;
use crate::own_files;
use crate::plain_file;

/// As many are looked at, with as many bytes together; the rest stays until those are taken in.
const MOST: usize = 1000;
const MOST_BYTES: u64 = LONGEST_LINE as u64 + 1;

/// How many this process has written, so that they keep their order.
static WRITTEN: AtomicU32 = AtomicU32::new(0);

/// One such file.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Aside {
    path: PathBuf,
    /// There are too many before it.
    is_over: bool,
}

impl Aside {
    /// Reads the record; the error is a sentence without a full stop.
    pub(super) fn read(&self) -> Result<JournalLine, String> {
        if self.is_over {
            return Err("it stays there until those before it are taken in".to_owned());
        }
        let mut bytes = Vec::new();
        open_record(&self.path)
            .and_then(|file| file.take(LONGEST_LINE as u64 + 2).read_to_end(&mut bytes))
            .map_err(|error| format!("it cannot be read: {error}"))?;
        JournalLine::parse(bytes.strip_suffix(b"\n").unwrap_or(&bytes))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the file of a record that is in the history.
    pub(super) fn remove(self) {
        let _ = fs::remove_file(self.path);
    }
}

/// Returns all that wait, oldest first.
pub(super) fn waiting_asides(directory: &Path) -> io::Result<Vec<Aside>> {
    let names = match fs::read_dir(directory) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let waits = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with("aside-"))
    };
    let mut paths: Vec<PathBuf> =
        names.filter_map(|entry| Some(entry.ok()?.path())).filter(waits).collect();
    paths.sort();
    let (mut count, mut together) = (0, 0);
    let asides = paths.into_iter().map(|path| {
        // What is no record anyway is in no other's way.
        let bytes = record_length(&path).filter(|bytes| *bytes <= MOST_BYTES);
        count += usize::from(bytes.is_some());
        together += bytes.unwrap_or_default();
        Aside { path, is_over: count > MOST || together > MOST_BYTES }
    });
    Ok(asides.collect())
}

/// Returns the length of a file that begins as a record does.
fn record_length(path: &Path) -> Option<u64> {
    let file = open_record(path).ok()?;
    let bytes = file.metadata().ok()?.len();
    let mut start = [0; line::OPENING.len()];
    (&file).read_exact(&mut start).ok()?;
    (start == *line::OPENING).then_some(bytes)
}

/// Opens a file of this user's, and no link: to which record it leads is another user's choice.
fn open_record(path: &Path) -> io::Result<File> {
    let file = plain_file::open_own_file(path, OpenOptions::new().read(true))?;
    own_files::check_own(&file.metadata()?)?;
    Ok(file)
}

/// Writes one record and returns its path when it is on the disk.
pub(super) fn write_aside(
    directory: &Path,
    now: Timestamp,
    event: &HistoryEvent,
) -> Result<PathBuf, JournalError> {
    let mut text = Vec::new();
    line::push_chained_line(&mut text, 1, BEGINNING, now, event)?;
    let name = format!(
        "aside-{:020}-{:010}-{:06}.jsonl",
        now.as_nanosecond(),
        std::process::id(),
        WRITTEN.fetch_add(1, Ordering::Relaxed)
    );
    let path = directory.join(name);
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .and_then(|mut file| {
            file.write_all(&text)?;
            file.sync_all()
        })
        .and_then(|()| sync(directory));
    match written {
        Ok(()) => Ok(path),
        Err(source) => {
            let _ = fs::remove_file(&path);
            Err(JournalError::Io { doing: "Writing", path, source })
        }
    }
}
