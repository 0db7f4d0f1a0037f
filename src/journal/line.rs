//! One line of the history: how it is printed, hashed and read back.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use super::JournalError;
use crate::domain::history::HistoryEvent;
use crate::text::{MOST_VALUES, count_values, has_too_many_values, hexadecimal, whole_second};

/// The longest line, in bytes: a flush of the largest table that pfSense lets pf have, 400,000 entries, fits.
pub const LONGEST_LINE: usize = 64 << 20;

/// No history has as many records: what claims a larger number is not as kmsctl wrote it, and nothing is added to it.
pub(super) const LARGEST_NUMBER: u64 = 1 << 53;

/// Most values of a line with its lists: a flush of the largest table has some five for each entry.
const MOST_LISTED: usize = 2_500_000;
/// Most facts that a plan has seen: one for each entry of the largest table.
const MOST_FACTS: usize = 450_000;

pub(super) const OPENING: &[u8] = br#"{"hash":""#;
const CLOSING: &[u8] = br#"","#;
const HASH_LENGTH: usize = 64;

/// One line, read.
#[derive(Clone, Debug, PartialEq)]
pub struct JournalLine {
    /// Its hash as it stands there.
    pub hash: String,
    /// The hash fits the bytes.
    pub whole: bool,
    /// Hash of the line before.
    pub previous: String,
    /// Its number, from 1.
    pub seq: u64,
    /// When it was written.
    pub at: Timestamp,
    /// What happened.
    pub event: HistoryEvent,
}

/// The part of a line that is hashed.
#[derive(Debug, Serialize)]
struct Body<'a> {
    previous: &'a str,
    seq: u64,
    at: Timestamp,
    event: &'a HistoryEvent,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChainedLine {
    hash: String,
    previous: String,
    seq: u64,
    at: Timestamp,
    event: HistoryEvent,
}

/// Appends a line to `text` and returns its hash.
pub(super) fn push_chained_line(
    text: &mut Vec<u8>,
    seq: u64,
    previous: &str,
    at: Timestamp,
    event: &HistoryEvent,
) -> Result<String, JournalError> {
    let begin = text.len();
    text.extend_from_slice(OPENING);
    let place = text.len();
    text.extend_from_slice(&[b'0'; HASH_LENGTH]);
    text.push(b'"');
    let comma = text.len();
    let body = Body { previous, seq, at: whole_second(at), event };
    serde_json::to_writer(&mut *text, &body)?;
    // The body's own opening brace makes room for the hash before it.
    if let Some(brace) = text.get_mut(comma) {
        *brace = b',';
    }
    let length = text.len() - begin;
    if has_too_many(text.get(begin..).unwrap_or_default()) {
        return Err(JournalError::TooMany);
    }
    if length > LONGEST_LINE {
        return Err(JournalError::TooLong(length));
    }
    let hash = hash_hexadecimal(text.get(comma + 1..).unwrap_or_default());
    text.splice(place..place + HASH_LENGTH, hash.bytes());
    text.push(b'\n');
    Ok(hash)
}

/// Returns whether a line has more values than one of kmsctl's: only what a change does and has seen are long lists. Each value
/// may take hundreds of bytes of memory.
fn has_too_many(line: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Line<'a> {
        #[serde(borrow)]
        event: Event<'a>,
    }
    #[derive(Deserialize)]
    struct Event<'a> {
        #[serde(borrow)]
        plan: Option<Plan<'a>>,
        #[serde(borrow)]
        finish: Option<Finish<'a>>,
    }
    #[derive(Deserialize)]
    struct Plan<'a> {
        #[serde(borrow)]
        change: Change<'a>,
    }
    #[derive(Deserialize)]
    struct Change<'a> {
        #[serde(borrow)]
        operation: &'a RawValue,
        #[serde(borrow)]
        seen: &'a RawValue,
    }
    #[derive(Deserialize)]
    struct Finish<'a> {
        #[serde(borrow)]
        changed: Option<&'a RawValue>,
    }
    if !has_too_many_values(line) {
        return false;
    }
    let Ok(Line { event }) = serde_json::from_slice(line) else {
        return true;
    };
    let count =
        |part: Option<&RawValue>| part.map_or(0, |part| count_values(part.get().as_bytes()));
    let change = event.plan.map(|plan| plan.change);
    let seen = count(change.as_ref().map(|change| change.seen));
    let listed = seen
        + count(change.as_ref().map(|change| change.operation))
        + count(event.finish.and_then(|finish| finish.changed));
    let all = count_values(line);
    all > MOST_LISTED || seen > MOST_FACTS || all - listed > MOST_VALUES
}

/// Returns the hash of bytes in hexadecimal.
pub(super) fn hash_hexadecimal(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

/// Returns the hash a line claims to have.
pub(super) fn claimed_hash(line: &[u8]) -> Option<String> {
    split_hash(line).map(|(hash, _)| hash)
}

/// Returns the number a line claims to have, if a history can have as many.
pub(super) fn claimed_seq(line: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Numbered {
        seq: u64,
    }
    let numbered: Numbered = serde_json::from_slice(line).ok()?;
    Some(numbered.seq).filter(|seq| *seq <= LARGEST_NUMBER)
}

fn split_hash(line: &[u8]) -> Option<(String, &[u8])> {
    let rest = line.strip_prefix(OPENING)?;
    let (hash, rest) = rest.split_at_checked(HASH_LENGTH)?;
    let hash = std::str::from_utf8(hash).ok()?;
    let hexadecimal = hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    Some((hash.to_owned(), rest.strip_prefix(CLOSING)?)).filter(|_| hexadecimal)
}

impl JournalLine {
    /// Reads a line without its newline; the error is a sentence without a full stop.
    pub fn parse(line: &[u8]) -> Result<Self, String> {
        if line.len() > LONGEST_LINE {
            return Err("it is longer than any line of kmsctl's".to_owned());
        }
        let Some((claimed, rest)) = split_hash(line) else {
            return Err("it is not a record of kmsctl's: it does not begin with a hash".to_owned());
        };
        if has_too_many(line) {
            return Err("it has more values than any line of kmsctl's".to_owned());
        }
        let read: ChainedLine =
            serde_json::from_slice(line).map_err(|error| format!("it cannot be read: {error}"))?;
        Ok(Self {
            whole: hash_hexadecimal(rest) == claimed && read.hash == claimed,
            hash: claimed,
            previous: read.previous,
            seq: read.seq,
            at: read.at,
            event: read.event,
        })
    }
}
