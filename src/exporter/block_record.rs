//! The record of block events on this machine: JSON lines in a directory that is ours alone, bounded by one rotation.

use std::fs::{self, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::domain::virusprot::block_log::BlockEvent;
use crate::own_files::{check_own_directory, make_private_directory};
use crate::plain_file::open_own_file;

const FILE: &str = "blocks.jsonl";
const OLDER: &str = "blocks.1.jsonl";
/// The file is put aside once it has so many bytes (some 25,000 events); the one put aside before goes.
const LARGEST: u64 = 4 << 20;

/// Most events that one look adds; a table that was flushed would fill the record with itself.
pub const MOST_EVENTS: usize = 10_000;

#[derive(Debug)]
pub struct BlockRecord {
    directory: PathBuf,
    /// What the file may end with is a line that a crash has cut.
    fresh: bool,
}

impl BlockRecord {
    /// Opens it for writing.
    ///
    /// # Errors
    /// Those of the operating system; `PermissionDenied` where the directory is another user's.
    pub fn open(directory: &Path) -> io::Result<Self> {
        make_private_directory(directory)?;
        Ok(Self { directory: directory.to_owned(), fresh: true })
    }

    /// Appends events, [`MOST_EVENTS`] of them at most.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn add_events(&mut self, events: &[BlockEvent]) -> io::Result<()> {
        if events.is_empty() {
            return Ok(());
        }
        let path = self.directory.join(FILE);
        if fs::metadata(&path).is_ok_and(|found| found.len() >= LARGEST) {
            fs::rename(&path, self.directory.join(OLDER))?;
        }
        let mut lines = Vec::new();
        if std::mem::take(&mut self.fresh) {
            lines.push(b'\n');
        }
        for event in events.iter().take(MOST_EVENTS) {
            serde_json::to_writer(&mut lines, event)?;
            lines.push(b'\n');
        }
        let mut options = OpenOptions::new();
        options.create(true).append(true).mode(0o600);
        open_own_file(&path, &mut options)?.write_all(&lines)
    }

    /// Reads the events of a directory, oldest first; `None` where there is no record. A line that is none, such as one cut
    /// by a crash, is left out.
    ///
    /// # Errors
    /// Those of the operating system; `PermissionDenied` where the directory is another user's.
    pub fn read(directory: &Path) -> io::Result<Option<Vec<BlockEvent>>> {
        match check_own_directory(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            checked => checked?,
        }
        let mut events = None;
        for name in [OLDER, FILE] {
            let path = directory.join(name);
            let file = match open_own_file(&path, OpenOptions::new().read(true)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                opened => opened?,
            };
            // One batch of events may lie beyond the bound.
            let lines = BufReader::new(file.take(2 * LARGEST)).split(b'\n');
            let events = events.get_or_insert_with(Vec::new);
            for line in lines {
                events.extend(serde_json::from_slice::<BlockEvent>(&line?).ok());
            }
        }
        Ok(events)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::virusprot::block_log::BlockChange;
    use std::os::unix::fs::MetadataExt as _;

    fn event(number: i64) -> BlockEvent {
        BlockEvent {
            at: jiff::Timestamp::from_second(number).expect("a time"),
            event: BlockChange::Blocked,
            address: format!("2001:db8::{number:x}"),
            since: None,
            connections: 0,
            customer: None,
        }
    }

    #[test]
    fn the_record_is_bounded_and_private() {
        let folder = tempfile::tempdir().expect("a folder");
        let directory = folder.path().join("exporter");
        assert!(BlockRecord::read(&directory).expect("no record").is_none());
        let mut record = BlockRecord::open(&directory).expect("a record");
        let batch: Vec<BlockEvent> = (0..10_000).map(event).collect();
        for _ in 0..12 {
            record.add_events(&batch).expect("appended");
        }
        let sizes = [FILE, OLDER].map(|name| {
            let found = fs::metadata(directory.join(name)).expect(name);
            assert_eq!(found.mode() & 0o777, 0o600);
            found.len()
        });
        assert!(sizes.iter().sum::<u64>() < 3 * LARGEST, "{sizes:?}");
        let events = BlockRecord::read(&directory).expect("read").expect("events");
        assert!(events.len() >= 10_000);
        assert_eq!(events.last(), batch.last());
    }

    /// Another user may have put them there before the directory was closed to others.
    #[test]
    fn a_planted_record_is_neither_read_nor_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut record = BlockRecord::open(folder.path()).expect("a record");
        let (path, precious) = (folder.path().join(FILE), folder.path().join("precious"));
        fs::write(&precious, "kept").expect("written");
        std::os::unix::fs::symlink(&precious, &path).expect("a link");
        assert!(record.add_events(&[event(1)]).is_err());
        assert!(BlockRecord::read(folder.path()).is_err());
        assert_eq!(fs::read(&precious).expect("read"), b"kept");
        if crate::own_files::own_user() == 0 {
            fs::remove_file(&path).expect("a removal");
            record.add_events(&[event(1)]).expect("appended");
            std::os::unix::fs::chown(&path, Some(65534), None).expect("root may");
            assert!(record.add_events(&[event(2)]).is_err());
            assert!(BlockRecord::read(folder.path()).is_err());
        }
    }

    #[test]
    fn a_cut_line_costs_only_itself() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut record = BlockRecord::open(folder.path()).expect("a record");
        record.add_events(&[event(1)]).expect("appended");
        let path = folder.path().join(FILE);
        let mut text = fs::read(&path).expect("read");
        text.extend_from_slice(b"{\"at\":\"2026-\n\xff\xfe\n");
        text.extend_from_slice(b"{\"at\":\"20");
        fs::write(&path, text).expect("written");
        let mut record = BlockRecord::open(folder.path()).expect("a record");
        record.add_events(&[event(2)]).expect("appended");
        let events = BlockRecord::read(folder.path()).expect("read");
        assert_eq!(events, Some(vec![event(1), event(2)]));
    }
}
