//! Chunks of text → records of lines. A record is a line that does not begin with a blank and the lines
//! after it that do; what a record says is [`super::record`]'s work.
//!
//! Memory is bounded: a record that lies in one chunk is read in place, only the one cut by the end of a chunk
//! is kept, and neither a line nor a record may grow without end.

use memchr::memchr;

use super::super::Parsed;
use super::super::lines::{GatheredLines, Unread, split_line};
use super::{State, record};

/// More lines than any version prints for a state; further ones belong to nothing.
const MOST_LINES: usize = 16;

#[derive(Debug, Default)]
pub struct StateParser {
    /// The record cut by the end of the last chunk.
    kept: Vec<u8>,
    /// Complete lines in `kept`.
    kept_lines: usize,
    /// Where the last, incomplete line of `kept` begins.
    last_line: usize,
    /// The rest of an overlong line is being dropped.
    dropping: bool,
    line: usize,
    states: usize,
    unread: GatheredLines,
}

impl StateParser {
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next piece of text, cut anywhere, and hands every state completed by it to `sink`.
    pub fn push(&mut self, chunk: &[u8], sink: &mut impl FnMut(State)) {
        let mut rest = self.drop_overlong(chunk);
        while !self.kept.is_empty() && !rest.is_empty() {
            if self.kept_is_complete(rest) {
                self.flush(sink);
            } else {
                rest = self.keep_line(rest, sink);
            }
        }
        rest = self.read_records(rest, sink);
        while !rest.is_empty() {
            rest = self.keep_line(rest, sink);
        }
    }

    /// Ends the table; the value is the number of states.
    pub fn finish_table(mut self, sink: &mut impl FnMut(State)) -> Parsed<usize> {
        self.flush(sink);
        self.unread.with_value(self.states)
    }

    /// Skips what is left of an overlong line.
    fn drop_overlong<'a>(&mut self, chunk: &'a [u8]) -> &'a [u8] {
        if !self.dropping {
            return chunk;
        }
        self.dropping = memchr(b'\n', chunk).is_none();
        split_line(chunk).1
    }

    /// Returns whether the kept record ends before `next`.
    fn kept_is_complete(&self, next: &[u8]) -> bool {
        let at_line_end = self.last_line == self.kept.len();
        at_line_end && (self.kept_lines > MOST_LINES || !begins_blank(next))
    }

    /// Keeps the first line of `text`, or what there is of it, and returns what follows.
    fn keep_line<'a>(&mut self, text: &'a [u8], sink: &mut impl FnMut(State)) -> &'a [u8] {
        let newline = memchr(b'\n', text);
        let length = newline.map_or(text.len(), |end| end + 1);
        let (line, rest) = text.split_at_checked(length).unwrap_or((text, &[]));
        if self.kept.len() - self.last_line + length > Unread::LONGEST + 1 {
            let mut start = self.kept.split_off(self.last_line);
            self.flush(sink);
            start.extend_from_slice(line.get(..Unread::SHOWN * 4).unwrap_or(line));
            self.line += 1;
            self.unread.add_line(self.line, split_line(&start).0);
            self.dropping = newline.is_none();
            return rest;
        }
        self.kept.extend_from_slice(line);
        if newline.is_some() {
            self.kept_lines += 1;
            self.last_line = self.kept.len();
        }
        rest
    }

    fn flush(&mut self, sink: &mut impl FnMut(State)) {
        let mut kept = std::mem::take(&mut self.kept);
        self.read_record(&kept, sink);
        kept.clear();
        self.kept = kept;
        (self.kept_lines, self.last_line) = (0, 0);
    }

    /// Reads the records that lie whole in `text`, and returns what is left.
    fn read_records<'a>(&mut self, text: &'a [u8], sink: &mut impl FnMut(State)) -> &'a [u8] {
        let mut text = text;
        while let Some(end) = record_end(text) {
            let (record, rest) = text.split_at_checked(end).unwrap_or((text, &[]));
            self.read_record(record, sink);
            text = rest;
        }
        text
    }

    /// Reads a record; only OPNsense's `rlabel` could hold bytes that are no UTF-8.
    fn read_record(&mut self, record: &[u8], sink: &mut impl FnMut(State)) {
        let record = String::from_utf8_lossy(record);
        let mut state = None;
        let mut windows = None;
        let mut first = true;
        for line in record.split_terminator('\n') {
            self.line += 1;
            let understood = match &mut state {
                _ if line.len() > Unread::LONGEST => false,
                _ if line.is_empty() => true,
                Some(state) => record::parse_continuation(state, &mut windows, line),
                None if first => {
                    state = record::parse_state_head(line);
                    state.is_some()
                }
                None => false,
            };
            first = false;
            if !understood {
                self.unread.add_line(self.line, line.as_bytes());
            }
        }
        if let Some(state) = state {
            self.states += 1;
            sink(state);
        }
    }
}

fn begins_blank(text: &[u8]) -> bool {
    matches!(text.first(), Some(b' ' | b'\t'))
}

/// Finds where the first record ends, if the text shows it.
fn record_end(text: &[u8]) -> Option<usize> {
    let mut end = 0;
    for _ in 0..=MOST_LINES {
        end += memchr(b'\n', text.get(end..)?)? + 1;
        if !matches!(text.get(end)?, b' ' | b'\t') {
            break;
        }
    }
    Some(end)
}
