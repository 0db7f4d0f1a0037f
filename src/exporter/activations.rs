//! Who was activated within a day, read from a file that the notifier's lines of JSON go to, as it grows.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};

use crate::domain::address::canonical_address;
use crate::domain::kms_log::line::LogLines;
use crate::domain::notifier::event_log::{EventKind, EventRecord};
use crate::plain_file::open_plain_file;

/// Most clients that are remembered; the newest of more are not.
const MOST_CLIENTS: usize = 100_000;
/// How long an activation makes a customer.
const DAY: SignedDuration = SignedDuration::from_hours(24);

#[derive(Debug)]
pub struct ActivationFile {
    path: PathBuf,
    /// Device and inode of what was read, and how far.
    place: Option<(u64, u64, u64)>,
    lines: LogLines,
    clients: BTreeMap<IpAddr, Timestamp>,
}

impl ActivationFile {
    /// Names the file; it may not be there yet.
    pub fn new(path: PathBuf) -> Self {
        Self { path, place: None, lines: LogLines::default(), clients: BTreeMap::new() }
    }

    /// Reads what has been written since, and returns when each client was activated last, within 24 hours. A file in its
    /// place, or one that was cut, is read from its start.
    ///
    /// # Errors
    /// Those of the operating system; what was read before stays.
    pub fn read_clients(&mut self, now: Timestamp) -> io::Result<BTreeMap<IpAddr, Timestamp>> {
        let mut file = open_plain_file(&self.path, OpenOptions::new().read(true))?;
        let found = file.metadata()?;
        let same = self.place.filter(|(device, inode, read)| {
            (*device, *inode) == (found.dev(), found.ino()) && *read <= found.len()
        });
        let begin = same.map_or(0, |(.., read)| read);
        if same.is_none() {
            self.lines.reset();
        }
        file.seek(SeekFrom::Start(begin))?;
        let read = self.read_on(&mut file, now)?;
        self.place = Some((found.dev(), found.ino(), begin + read));
        self.clients.retain(|_, at| now.duration_since(*at) <= DAY);
        Ok(self.clients.clone())
    }

    fn read_on(&mut self, file: &mut File, now: Timestamp) -> io::Result<u64> {
        let (mut chunk, mut total) = (vec![0; 64 * 1024], 0);
        let Self { lines, clients, .. } = self;
        loop {
            let count = file.read(&mut chunk)?;
            if count == 0 {
                return Ok(total);
            }
            total += count as u64;
            lines.feed_chunk(chunk.get(..count).unwrap_or_default(), |line| {
                if let Some((address, at)) = activated_client(line, now)
                    && (clients.len() < MOST_CLIENTS || clients.contains_key(&address))
                {
                    let newest = clients.entry(address).or_insert(at);
                    *newest = (*newest).max(at);
                }
            });
        }
    }
}

/// Returns whose activation a line is, if it is one of the last 24 hours. A stamp that is ahead counts as now.
fn activated_client(line: &[u8], now: Timestamp) -> Option<(IpAddr, Timestamp)> {
    let record = EventRecord::read_line(std::str::from_utf8(line).ok()?, None);
    let at = record.at?.min(now);
    let activated = record.event == EventKind::Activation && now.duration_since(at) <= DAY;
    activated.then_some((canonical_address(record.address?), at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write as _;

    fn clients(file: &mut ActivationFile, now: &str) -> Vec<String> {
        let read = file.read_clients(now.parse().expect("a time"));
        let read = read.expect("a file");
        read.keys().map(IpAddr::to_string).collect()
    }

    fn line(at: &str, event: &str, address: &str) -> String {
        format!("{{\"at\":\"{at}\",\"event\":\"{event}\",\"address\":\"{address}\"}}\n")
    }

    #[test]
    fn clients_are_found_as_the_file_grows() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("events.jsonl");
        let mut file = ActivationFile::new(path.clone());
        let now = "2026-03-01T12:00:00Z";
        assert!(file.read_clients(now.parse().unwrap()).is_err(), "not there");
        let old = line("2026-02-28T11:59:59Z", "activation", "203.0.113.1");
        let new = line("2026-02-28T12:00:01Z", "activation", "::ffff:203.0.113.2");
        let probe = line("2026-03-01T11:00:00Z", "probe", "203.0.113.3");
        let half = line("2026-03-01T11:59:00Z", "activation", "2001:db8::4");
        let (head, tail) = half.split_at(30);
        fs::write(&path, [&old, &new, &probe, "no JSON\n", head].concat()).unwrap();
        assert_eq!(clients(&mut file, now), ["203.0.113.2"]);
        let mut appended = OpenOptions::new().append(true).open(&path).unwrap();
        appended.write_all(tail.as_bytes()).unwrap();
        assert_eq!(clients(&mut file, now), ["203.0.113.2", "2001:db8::4"]);
        // Cut and begun anew, and then another file in its place: who was found stays.
        fs::write(&path, line(now, "activation", "203.0.113.5")).unwrap();
        assert_eq!(clients(&mut file, now).len(), 3);
        fs::rename(&path, folder.path().join("older")).unwrap();
        fs::write(&path, line("2030-01-01T00:00:00Z", "activation", "203.0.113.6")).unwrap();
        assert_eq!(clients(&mut file, now).len(), 4);
        assert_eq!(
            clients(&mut file, "2026-03-02T11:59:30Z"),
            ["203.0.113.5", "203.0.113.6"],
            "a day later"
        );
    }
}
