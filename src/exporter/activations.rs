//! Who was activated within a day, read from a file that the notifier's lines of JSON go to, as it grows.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};

use crate::domain::kms_log::line::LogLines;
use crate::domain::notifier::event_log::{DAY, EventRecord};
use crate::plain_file::open_plain_file;

/// Most clients that are remembered; the newest of more are not.
const MOST_CLIENTS: usize = 100_000;
/// Most bytes of one look: about 100,000 activations. What is further behind is passed over.
const MOST_BEHIND: u64 = 32 << 20;
/// Seconds between two looks that are a step of the clock, or a machine that slept.
const STEP: SignedDuration = SignedDuration::from_mins(10);
/// Bytes that are read between two chances for an interrupt.
const PIECE: usize = 256 * 1024;

#[derive(Debug)]
pub struct ActivationFile {
    path: PathBuf,
    /// Device and inode of what was read, and how far.
    place: Option<(u64, u64, u64)>,
    lines: LogLines,
    clients: BTreeMap<IpAddr, Timestamp>,
    /// From when on no event was missed, by the first that was read.
    since: Option<Timestamp>,
    /// The moment of the last look.
    looked_at: Option<Timestamp>,
}

impl ActivationFile {
    /// Names the file; it may not be there yet.
    pub fn new(path: PathBuf) -> Self {
        let (lines, clients) = (LogLines::default(), BTreeMap::new());
        Self { path, place: None, lines, clients, since: None, looked_at: None }
    }

    /// Returns whether every client of the last 24 hours was read: who is none of them is no customer.
    pub fn reaches_day(&self, now: Timestamp) -> bool {
        self.since.is_some_and(|since| now.duration_since(since) >= DAY)
    }

    /// Reads what has been written since, up to the end that the file has now, and returns when each client was activated last,
    /// within 24 hours. A file in its place, or one that was cut, is read from its start, and so is one after a step of the clock,
    /// as other events are of the last 24 hours then; of one that is further behind than [`MOST_BEHIND`], only its end.
    ///
    /// # Errors
    /// Those of the operating system; what was read before stays.
    pub async fn read_clients(
        &mut self,
        now: Timestamp,
    ) -> io::Result<BTreeMap<IpAddr, Timestamp>> {
        let looked_at = self.looked_at.replace(now);
        if looked_at.is_some_and(|at| now < at || now.duration_since(at) > STEP) {
            (self.place, self.since) = (None, None);
        }
        let known_since = self.since.take();
        let mut file: File = open_plain_file(&self.path, OpenOptions::new().read(true))?;
        let found = file.metadata()?;
        let same = self.place.filter(|(device, inode, read)| {
            (*device, *inode) == (found.dev(), found.ino()) && *read <= found.len()
        });
        let mut place = same.map_or(0, |(.., read)| read);
        if same.is_none() {
            self.lines.reset();
        }
        let behind = found.len() - place;
        if behind > MOST_BEHIND {
            place = found.len() - MOST_BEHIND;
            self.lines.reset();
            self.lines.discard_line();
        } else {
            self.since = known_since;
        }
        file.seek(SeekFrom::Start(place))?;
        let mut file = file.take(found.len() - place);
        let mut piece = vec![0; PIECE];
        loop {
            let count = file.read(&mut piece)?;
            if count == 0 {
                break;
            }
            place += count as u64;
            // Where this look is given up, the next goes on from here.
            self.place = Some((found.dev(), found.ino(), place));
            self.note_piece(piece.get(..count).unwrap_or_default(), now);
            tokio::task::yield_now().await;
        }
        self.place = Some((found.dev(), found.ino(), place));
        self.clients.retain(|_, at| now.duration_since(*at) <= DAY);
        Ok(self.clients.clone())
    }

    fn note_piece(&mut self, piece: &[u8], now: Timestamp) {
        let Self { lines, clients, since, .. } = self;
        lines.feed_chunk(piece, |line| {
            let text = std::str::from_utf8(line).unwrap_or_default();
            let record = EventRecord::read_line(text, None);
            if record.is_far_ahead(now) {
                // When it was is not known.
                *since = None;
            } else if since.is_none() {
                *since = record.at;
            }
            if let Some((address, at)) = record.recent_activation(now)
                && (clients.len() < MOST_CLIENTS || clients.contains_key(&address))
            {
                let newest = clients.entry(address).or_insert(at);
                *newest = (*newest).max(at);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write as _;

    async fn clients(file: &mut ActivationFile, now: &str) -> Vec<String> {
        let read = file.read_clients(now.parse().expect("a time")).await;
        let read = read.expect("a file");
        read.keys().map(IpAddr::to_string).collect()
    }

    fn line(at: &str, event: &str, address: &str) -> String {
        format!("{{\"at\":\"{at}\",\"event\":\"{event}\",\"address\":\"{address}\"}}\n")
    }

    /// By a clock of another time others are recent; once it is right again, all are known again.
    #[tokio::test]
    async fn a_stepping_clock_loses_no_client() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("events.jsonl");
        let lines = [
            line("2026-02-28T12:00:00Z", "probe", "203.0.113.9"),
            line("2026-02-28T13:00:00Z", "activation", "203.0.113.1"),
            line("2026-03-01T11:00:00Z", "activation", "203.0.113.2"),
        ];
        fs::write(&path, lines.concat()).unwrap();
        let now: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        for wrong in [
            "2026-03-01T14:00:00Z",
            "2026-03-01T10:00:00Z",
            "1970-01-01T00:01:00Z",
            "2027-03-01T12:00:00Z",
        ] {
            for begins_wrong in [false, true] {
                let mut file = ActivationFile::new(path.clone());
                if !begins_wrong {
                    assert_eq!(clients(&mut file, "2026-03-01T12:00:00Z").await.len(), 2);
                }
                clients(&mut file, wrong).await;
                let found = clients(&mut file, "2026-03-01T12:00:01Z").await;
                assert_eq!(found, ["203.0.113.1", "203.0.113.2"], "{wrong} {begins_wrong}");
                assert!(file.reaches_day(now), "{wrong} {begins_wrong}");
            }
        }
    }

    #[tokio::test]
    async fn clients_are_found_as_the_file_grows() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("events.jsonl");
        let mut file = ActivationFile::new(path.clone());
        let now = "2026-03-01T12:00:00Z";
        assert!(file.read_clients(now.parse().unwrap()).await.is_err(), "not there");
        let old = line("2026-02-28T11:59:59Z", "activation", "203.0.113.1");
        let new = line("2026-02-28T12:00:01Z", "activation", "::ffff:203.0.113.2");
        let probe = line("2026-03-01T11:00:00Z", "probe", "203.0.113.3");
        let half = line("2026-03-01T11:59:00Z", "activation", "2001:db8::4");
        let (head, tail) = half.split_at(30);
        fs::write(&path, [&old, &new, &probe, "no JSON\n", head].concat()).unwrap();
        assert_eq!(clients(&mut file, now).await, ["203.0.113.2"]);
        let mut appended = OpenOptions::new().append(true).open(&path).unwrap();
        appended.write_all(tail.as_bytes()).unwrap();
        assert_eq!(clients(&mut file, now).await, ["203.0.113.2", "2001:db8::4"]);
        // Cut and begun anew, and then another file in its place: who was found stays.
        fs::write(&path, line(now, "activation", "203.0.113.5")).unwrap();
        assert_eq!(clients(&mut file, now).await.len(), 3);
        fs::rename(&path, folder.path().join("older")).unwrap();
        fs::write(&path, line("2026-03-02T11:00:00Z", "activation", "203.0.113.6")).unwrap();
        assert_eq!(clients(&mut file, now).await.len(), 4);
        assert_eq!(
            clients(&mut file, "2026-03-02T11:59:30Z").await,
            ["203.0.113.5", "203.0.113.6"],
            "a day later"
        );
    }

    /// Without every event of the last day no address is known to be no customer's, and a clock that is far ahead makes none.
    #[tokio::test]
    async fn only_a_whole_day_denies_a_customer() {
        const NOW: &str = "2026-03-01T12:00:00Z";
        let now: Timestamp = NOW.parse().unwrap();
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("events.jsonl");
        let (day, hour, year) =
            ("2026-02-28T12:00:00Z", "2026-03-01T11:00:00Z", "2027-03-01T12:00:00Z");
        for (stamps, reaches, count) in [
            (&[][..], false, 0),
            (&[hour], false, 1),
            (&[day], true, 1),
            (&["2026-02-27T12:00:00Z", hour], true, 1),
            (&[year], false, 0),
            (&[hour, year], false, 1),
            (&["2026-02-27T12:00:00Z", year], false, 0),
            (&["2026-02-27T12:00:00Z", year, hour], false, 1),
            // A server of another time zone.
            (&["2026-02-27T12:00:00Z", "2026-03-02T02:00:00Z"], true, 1),
        ] {
            let lines: Vec<String> =
                stamps.iter().map(|at| line(at, "activation", "203.0.113.1")).collect();
            fs::write(&path, lines.concat()).unwrap();
            let mut file = ActivationFile::new(path.clone());
            assert_eq!(clients(&mut file, NOW).await.len(), count, "{stamps:?}");
            assert_eq!(file.reaches_day(now), reaches, "{stamps:?}");
        }
        // It was away for a while, or is begun anew.
        let old = line("2026-02-27T12:00:00Z", "probe", "203.0.113.1");
        fs::write(&path, &old).unwrap();
        let mut file = ActivationFile::new(path.clone());
        for (text, reaches) in
            [(Some(old.as_str()), true), (Some(""), true), (None, false), (Some(""), false)]
        {
            match text {
                Some(text) => fs::write(&path, text).unwrap(),
                None => fs::remove_file(&path).unwrap(),
            }
            let read = file.read_clients(now).await;
            assert_eq!(
                (read.is_ok(), file.reaches_day(now)),
                (text.is_some(), reaches),
                "{text:?}"
            );
        }
    }

    /// Ordinary lines without end, and a sparse file: the look ends in time and lets others be heard, and the last line counts.
    #[tokio::test]
    async fn a_file_without_end_keeps_no_one_waiting() {
        const NOW: &str = "2026-03-01T12:00:00Z";
        let folder = tempfile::tempdir().expect("a folder");
        let many = line(NOW, "activation", "203.0.113.1").repeat(1000);
        for is_sparse in [true, false] {
            let path = folder.path().join(format!("events-{is_sparse}.jsonl"));
            let mut written = File::create(&path).expect("a file");
            if is_sparse {
                written.set_len(60 << 30).expect("a sparse file");
                written.seek(SeekFrom::End(0)).expect("its end");
                written.write_all(b"\n").expect("a line");
            } else {
                let first = line(NOW, "activation", "203.0.113.9");
                written.write_all(first.as_bytes()).expect("a line");
                for _ in 0..=(MOST_BEHIND / many.len() as u64) {
                    written.write_all(many.as_bytes()).expect("lines");
                }
            }
            let last = line(NOW, "activation", "203.0.113.2");
            written.write_all(last.as_bytes()).expect("a line");
            let mut file = ActivationFile::new(path);
            let mut heard = 0;
            let others = async {
                loop {
                    heard += 1;
                    tokio::task::yield_now().await;
                }
            };
            let read = tokio::select! {
                read = clients(&mut file, NOW) => read,
                () = others => unreachable!("it goes on"),
            };
            let wanted =
                if is_sparse { &["203.0.113.2"][..] } else { &["203.0.113.1", "203.0.113.2"] };
            assert_eq!(read, wanted);
            let pieces = MOST_BEHIND / PIECE as u64;
            assert!((pieces..2 * pieces).contains(&heard), "{heard}");
            // The next look goes on where this one ended.
            let next = line(NOW, "activation", "203.0.113.3");
            written.write_all(next.as_bytes()).expect("a line");
            assert_eq!(clients(&mut file, NOW).await.len(), wanted.len() + 1);
        }
    }
}
