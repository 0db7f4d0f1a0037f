//! Follows the server's log through every kind of rotation: rename, copy and truncate, truncate and grow again,
//! delete and create, inode reuse. Knows nothing of lines.
//!
//! A file is known by device, inode and its first bytes; an offset beyond its end is never believed. A generation
//! that was renamed is read to its end twice before the next one is begun, and generations that came and went
//! between two looks are found beside the log. Polled, as notifications do not come through on every volume.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// First bytes by which a file is told from another with the same inode.
const HEAD: usize = 256;
/// Bytes read at a time.
const CHUNK: usize = 256 * 1024;
/// How long a renamed generation is still looked at: a writer that had it open may write once more.
const LINGER: Duration = Duration::from_millis(300);
/// Most generations remembered as read.
const SEEN: usize = 64;

/// Where reading stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Device of the file.
    pub device: u64,
    /// Inode of the file.
    pub inode: u64,
    /// The file's first bytes, at most 256.
    pub head: Vec<u8>,
    /// Offset of the first byte that was not read.
    pub offset: u64,
}

/// How a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// Another file took its name.
    Renamed,
    /// It was cut, and perhaps grew again.
    Truncated,
}

/// What one look brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// Bytes handed over.
    pub bytes: usize,
    /// The generation that ended before the next look.
    pub rotation: Option<Rotation>,
}

#[derive(Debug)]
struct Opened {
    file: File,
    position: Position,
    /// The name belongs to another file since then.
    leaving: Option<Instant>,
    /// Read to its end and leave; it is not under the log's name.
    aside: bool,
}

/// Follows one file name.
#[derive(Debug)]
pub struct Tail {
    path: PathBuf,
    opened: Option<Opened>,
    /// Generations beside the log that are still to be read, oldest first.
    waiting: Vec<(PathBuf, Position)>,
    seen: Vec<(u64, u64, Vec<u8>)>,
    /// Where reading stood when no file is open.
    last: Option<Position>,
    buffer: Vec<u8>,
}

impl Tail {
    /// Starts at the position of a checkpoint, or at the beginning of the log.
    pub fn new(path: &Path, from: Option<Position>) -> Self {
        let mut tail = Self {
            path: path.to_owned(),
            opened: None,
            waiting: Vec::new(),
            seen: Vec::new(),
            last: None,
            buffer: vec![0; CHUNK],
        };
        match from {
            Some(position) => tail.resume(position),
            // Older generations are none of a first start's business.
            None => tail
                .siblings()
                .into_iter()
                .for_each(|(_, _, position)| tail.remember(&position)),
        }
        tail
    }

    /// Returns where reading stands, once a file was opened.
    pub fn position(&self) -> Option<&Position> {
        let open = self.opened.as_ref().map(|opened| &opened.position);
        open.or(self.last.as_ref())
    }

    /// Returns how many bytes of the open generation are not read yet.
    pub fn lag(&self) -> u64 {
        let behind = |opened: &Opened| {
            let size = opened.file.metadata().map_or(0, |metadata| metadata.len());
            size.saturating_sub(opened.position.offset)
        };
        self.opened.as_ref().map_or(0, behind)
    }

    /// Looks once: hands over the next bytes, or notices a rotation at the end of a generation.
    pub fn look(&mut self, mut each: impl FnMut(&[u8])) -> io::Result<Look> {
        if self.opened.is_none() && !self.open_next()? {
            return Ok(Look::default());
        }
        let Some(opened) = &mut self.opened else {
            return Ok(Look::default());
        };
        let size = opened.file.metadata()?.len();
        if size < opened.position.offset || !same_head(opened)? {
            return Ok(self.truncated());
        }
        let count = opened
            .file
            .read_at(&mut self.buffer, opened.position.offset)?;
        // Cut and grown again between the two: these bytes are from the middle of something else.
        if count > 0 && !same_head(opened)? {
            return Ok(self.truncated());
        }
        if count > 0 {
            let bytes = self.buffer.get(..count).unwrap_or_default();
            let missing = HEAD.saturating_sub(opened.position.head.len());
            if missing > 0 && opened.position.offset == opened.position.head.len() as u64 {
                opened
                    .position
                    .head
                    .extend_from_slice(bytes.get(..missing.min(count)).unwrap_or_default());
            }
            opened.position.offset += count as u64;
            each(bytes);
            return Ok(Look {
                bytes: count,
                rotation: None,
            });
        }
        self.at_end()
    }

    fn at_end(&mut self) -> io::Result<Look> {
        let Some(opened) = &mut self.opened else {
            return Ok(Look::default());
        };
        let renamed = opened.aside
            || match fs::metadata(&self.path) {
                Ok(metadata) => !is_file(&metadata, &opened.position),
                Err(error) if error.kind() == io::ErrorKind::NotFound => false,
                Err(error) => return Err(error),
            };
        if !renamed {
            opened.leaving = None;
            return Ok(Look::default());
        }
        // A copy beside the log is complete; a renamed generation may get one more line.
        let since = *opened.leaving.get_or_insert_with(Instant::now);
        if since.elapsed() < LINGER {
            return Ok(Look::default());
        }
        let Some(opened) = self.opened.take() else {
            return Ok(Look::default());
        };
        self.remember(&opened.position);
        self.last = Some(opened.position.clone());
        if self.waiting.is_empty() {
            self.find_missed(&opened);
        }
        Ok(Look {
            bytes: 0,
            rotation: Some(Rotation::Renamed),
        })
    }

    /// The open file was cut. What was appended before the cut may be in a copy beside it.
    fn truncated(&mut self) -> Look {
        let Some(opened) = self.opened.take() else {
            return Look::default();
        };
        let before = opened.position;
        let copy = self
            .siblings()
            .into_iter()
            .map(|(_, path, position)| (path, position))
            .find(|(path, position)| {
                let grown =
                    fs::metadata(path).is_ok_and(|metadata| metadata.len() >= before.offset);
                (position.device, position.inode) != (before.device, before.inode)
                    && !before.head.is_empty()
                    && position.head.starts_with(&before.head)
                    && grown
            });
        if let Some((path, position)) = copy {
            self.waiting.insert(
                0,
                (
                    path,
                    Position {
                        offset: before.offset,
                        ..position
                    },
                ),
            );
        }
        Look {
            bytes: 0,
            rotation: Some(Rotation::Truncated),
        }
    }

    /// Opens the next generation beside the log, or the log itself.
    fn open_next(&mut self) -> io::Result<bool> {
        while !self.waiting.is_empty() {
            let (path, wanted) = self.waiting.remove(0);
            let found = self.find(&path, &wanted);
            if let Some(file) = found {
                self.opened = Some(Opened {
                    file,
                    position: wanted,
                    leaving: None,
                    aside: true,
                });
                return Ok(true);
            }
        }
        // Not before it is known to be a file: opening a pipe would wait for a writer.
        match fs::metadata(&self.path) {
            Ok(metadata) if metadata.is_file() => {}
            Ok(_) => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "it is not a regular file",
                ));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        }
        let file = File::open(&self.path)?;
        let metadata = file.metadata()?;
        let position = Position {
            device: metadata.dev(),
            inode: metadata.ino(),
            head: Vec::new(),
            offset: 0,
        };
        self.opened = Some(Opened {
            file,
            position,
            leaving: None,
            aside: false,
        });
        Ok(true)
    }

    /// Opens a generation under the name it had, or under the one it has now.
    fn find(&self, path: &Path, wanted: &Position) -> Option<File> {
        let fits = |path: &Path| {
            let file = File::open(path).ok()?;
            let metadata = file.metadata().ok()?;
            (metadata.is_file()
                && is_file(&metadata, wanted)
                && head_of(&file, wanted.head.len()).ok()? == wanted.head)
                .then_some(file)
        };
        fits(path).or_else(|| self.siblings().iter().find_map(|(_, path, _)| fits(path)))
    }

    fn resume(&mut self, position: Position) {
        let Some(file) = self.find(&self.path, &position) else {
            // Not under its name nor beside it: it is gone, and what is there is new.
            self.remember(&position);
            return;
        };
        let size = file.metadata().map_or(0, |metadata| metadata.len());
        if size < position.offset {
            return;
        }
        let here = fs::metadata(&self.path).is_ok_and(|metadata| is_file(&metadata, &position));
        let opened = Opened {
            file,
            position,
            leaving: None,
            aside: !here,
        };
        if !here {
            self.mark_older(&opened);
        }
        self.opened = Some(opened);
    }

    /// Remembers every generation that is older than this one, so that it is not read as a missed one.
    fn mark_older(&mut self, opened: &Opened) {
        let modified = opened
            .file
            .metadata()
            .ok()
            .and_then(|metadata| metadata.modified().ok());
        for (time, _, position) in self.siblings() {
            if Some(time) < modified && !is_same(&position, &opened.position) {
                self.remember(&position);
            }
        }
    }

    /// Finds generations that came and went while the last one was read.
    fn find_missed(&mut self, last: &Opened) {
        let modified = last
            .file
            .metadata()
            .ok()
            .and_then(|metadata| metadata.modified().ok());
        let now = fs::metadata(&self.path).ok();
        for (time, path, position) in self.siblings() {
            let current = now
                .as_ref()
                .is_some_and(|metadata| is_file(metadata, &position));
            let known = self.seen.iter().any(|(device, inode, head)| {
                (*device, *inode) == (position.device, position.inode)
                    && position.head.starts_with(head)
            });
            if !current && !known && Some(time) >= modified && !position.head.is_empty() {
                self.waiting.push((path, position));
            }
        }
    }

    /// Lists the uncompressed files whose names begin with the log's, without the log: oldest first, at offset 0.
    fn siblings(&self) -> Vec<(std::time::SystemTime, PathBuf, Position)> {
        const PACKED: [&str; 5] = ["gz", "xz", "bz2", "zst", "lz4"];
        let Some((folder, name)) = self.path.parent().zip(self.path.file_name()) else {
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
        let mut found = Vec::new();
        for entry in entries.flatten() {
            let path = entry.path();
            let packed = path
                .extension()
                .is_some_and(|end| PACKED.iter().any(|packed| end == *packed));
            let beside = entry
                .file_name()
                .as_encoded_bytes()
                .starts_with(name.as_encoded_bytes());
            if !beside
                || packed
                || entry.file_name() == name
                || !entry.file_type().is_ok_and(|kind| kind.is_file())
            {
                continue;
            }
            let described = File::open(&path).and_then(|file| {
                let metadata = file.metadata()?;
                let head = head_of(&file, HEAD)?;
                let position = Position {
                    device: metadata.dev(),
                    inode: metadata.ino(),
                    head,
                    offset: 0,
                };
                Ok((metadata.modified()?, path.clone(), position))
            });
            found.extend(described);
        }
        found.sort_by_key(|(time, ..)| *time);
        found
    }

    fn remember(&mut self, position: &Position) {
        self.seen
            .push((position.device, position.inode, position.head.clone()));
        if self.seen.len() > SEEN {
            self.seen.remove(0);
        }
    }
}

fn is_file(metadata: &Metadata, position: &Position) -> bool {
    (metadata.dev(), metadata.ino()) == (position.device, position.inode)
}

fn is_same(one: &Position, other: &Position) -> bool {
    (one.device, one.inode) == (other.device, other.inode)
}

/// Reads the first bytes of a file, at most so many.
fn head_of(file: &File, most: usize) -> io::Result<Vec<u8>> {
    let mut head = vec![0; most.min(HEAD)];
    let mut filled = 0;
    while filled < head.len() {
        match file.read_at(head.get_mut(filled..).unwrap_or_default(), filled as u64)? {
            0 => break,
            count => filled += count,
        }
    }
    head.truncate(filled);
    Ok(head)
}

fn same_head(opened: &Opened) -> io::Result<bool> {
    Ok(head_of(&opened.file, opened.position.head.len())? == opened.position.head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    struct Place {
        folder: tempfile::TempDir,
    }

    impl Place {
        fn new() -> Self {
            Self {
                folder: tempfile::tempdir().expect("a folder"),
            }
        }

        fn log(&self) -> PathBuf {
            self.folder.path().join("vlmcsd.log")
        }

        fn write(&self, name: &str, text: &str) {
            let path = self.folder.path().join(name);
            let mut file = fs::OpenOptions::new()
                .create(true)
                .append(true)
                .open(path)
                .expect("a log");
            file.write_all(text.as_bytes()).expect("a write");
        }

        fn rename(&self, from: &str, to: &str) {
            fs::rename(self.folder.path().join(from), self.folder.path().join(to))
                .expect("a rename");
        }
    }

    /// Looks until nothing has come for longer than a generation lingers.
    fn all(tail: &mut Tail) -> String {
        let (mut text, mut quiet) = (Vec::new(), Instant::now());
        while quiet.elapsed() < LINGER + Duration::from_millis(100) {
            let look = tail
                .look(|bytes| text.extend_from_slice(bytes))
                .expect("a look");
            if look.bytes > 0 || look.rotation.is_some() {
                quiet = Instant::now();
            } else {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        String::from_utf8(text).expect("text")
    }

    #[test]
    fn a_renamed_generation_is_read_to_its_end_and_missed_ones_are_found() {
        let place = Place::new();
        place.write("vlmcsd.log.1", "ancient\n");
        place.write("vlmcsd.log", "a\n");
        let mut tail = Tail::new(&place.log(), None);
        assert_eq!(all(&mut tail), "a\n");
        place.write("vlmcsd.log", "b\n");
        place.rename("vlmcsd.log", "vlmcsd.log.2");
        place.write("vlmcsd.log", "c\n");
        place.rename("vlmcsd.log", "vlmcsd.log.3");
        place.write("vlmcsd.log", "d\n");
        place.write("vlmcsd.log.2", "late\n");
        assert_eq!(all(&mut tail), "b\nlate\nc\nd\n");
    }

    #[test]
    fn a_cut_file_is_read_from_its_start_also_when_it_grew_past_the_old_offset() {
        let place = Place::new();
        place.write("vlmcsd.log", "first\n");
        let mut tail = Tail::new(&place.log(), None);
        assert_eq!(all(&mut tail), "first\n");
        fs::write(place.log(), "2\n").expect("a write");
        assert_eq!(all(&mut tail), "2\n");
        fs::write(place.log(), "third and longer\n").expect("a write");
        assert_eq!(all(&mut tail), "third and longer\n");
    }

    #[test]
    fn what_was_copied_before_the_cut_is_read_from_the_copy() {
        let place = Place::new();
        place.write("vlmcsd.log", "a\n");
        let mut tail = Tail::new(&place.log(), None);
        assert_eq!(all(&mut tail), "a\n");
        place.write("vlmcsd.log", "b\n");
        fs::copy(place.log(), place.folder.path().join("vlmcsd.log.1")).expect("a copy");
        fs::write(place.log(), "c\n").expect("a write");
        assert_eq!(all(&mut tail), "b\nc\n");
    }

    #[test]
    fn deleted_and_created_again_is_a_new_file() {
        let place = Place::new();
        place.write("vlmcsd.log", "a\n");
        let mut tail = Tail::new(&place.log(), None);
        assert_eq!(all(&mut tail), "a\n");
        fs::remove_file(place.log()).expect("a removal");
        assert_eq!(all(&mut tail), "");
        place.write("vlmcsd.log", "b\n");
        assert_eq!(all(&mut tail), "b\n");
    }

    #[test]
    fn a_checkpoint_goes_on_in_the_file_it_was_made_for() {
        let place = Place::new();
        place.write("vlmcsd.log", "a\n");
        let mut tail = Tail::new(&place.log(), None);
        assert_eq!(all(&mut tail), "a\n");
        let position = tail.position().cloned().expect("a position");
        drop(tail);
        place.write("vlmcsd.log", "b\n");
        assert_eq!(
            all(&mut Tail::new(&place.log(), Some(position.clone()))),
            "b\n"
        );
        place.rename("vlmcsd.log", "vlmcsd.log.1");
        place.write("vlmcsd.log", "c\n");
        assert_eq!(
            all(&mut Tail::new(&place.log(), Some(position.clone()))),
            "b\nc\n"
        );
        // An offset beyond the end, or other first bytes, is another file.
        let beyond = Position {
            offset: 999,
            ..position.clone()
        };
        fs::rename(place.folder.path().join("vlmcsd.log.1"), place.log()).expect("a rename");
        assert_eq!(all(&mut Tail::new(&place.log(), Some(beyond))), "a\nb\n");
        let other = Position {
            head: b"x".to_vec(),
            ..position
        };
        assert_eq!(all(&mut Tail::new(&place.log(), Some(other))), "a\nb\n");
    }

    #[test]
    fn a_pipe_or_a_folder_is_refused_and_never_waited_for() {
        let place = Place::new();
        fs::create_dir(place.log()).expect("a folder");
        assert!(Tail::new(&place.log(), None).look(|_| ()).is_err());
    }
}
