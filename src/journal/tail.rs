//! The end of a file of lines, found without reading all of it.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};

use super::{LONGEST_LINE, TORN_KEPT};

/// What is looked at first.
const WINDOW: u64 = 64 << 10;

/// The end of a file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tail {
    /// Where its whole lines end.
    pub end: u64,
    /// How many bytes follow.
    pub torn: u64,
    /// Their beginning.
    pub torn_beginning: Vec<u8>,
    /// The last whole line without its newline; `None` in an empty file, and where the line is longer than any.
    pub last: Option<Vec<u8>>,
}

/// Looks at the end of a file, further and further back, until the last whole line is found.
pub(super) fn find_tail(mut file: &File) -> io::Result<Tail> {
    let length = file.metadata()?.len();
    let mut window = WINDOW;
    loop {
        let start = length.saturating_sub(window);
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::with_capacity(usize::try_from(length - start).unwrap_or_default());
        file.take(length - start).read_to_end(&mut bytes)?;
        let end = memchr::memrchr(b'\n', &bytes);
        let (whole, torn) = bytes.split_at(end.map_or(0, |end| end + 1));
        let line = whole.strip_suffix(b"\n").unwrap_or(whole);
        let before = memchr::memrchr(b'\n', line);
        let complete = before.is_some() || start == 0;
        if !complete && window < 2 * LONGEST_LINE as u64 {
            window = (window * 4).min(2 * LONGEST_LINE as u64);
            continue;
        }
        let line = before.map_or(0, |before| before + 1)..line.len();
        let mut tail = Tail {
            end: start + whole.len() as u64,
            torn: torn.len() as u64,
            torn_beginning: torn.get(..torn.len().min(TORN_KEPT)).unwrap_or_default().to_vec(),
            last: None,
        };
        // A line may be long: it stays where it is.
        if complete && end.is_some() {
            bytes.truncate(line.end);
            bytes.drain(..line.start);
            tail.last = Some(bytes);
        }
        return Ok(tail);
    }
}

/// Counts the whole lines of a file.
pub(super) fn count_lines(mut file: &File) -> io::Result<u64> {
    file.seek(SeekFrom::Start(0))?;
    let mut buffer = vec![0; 1 << 16];
    let mut lines = 0;
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok(lines);
        }
        let read = buffer.get(..count).unwrap_or_default();
        lines += memchr::memchr_iter(b'\n', read).count() as u64;
    }
}
