//! The file: chain, torn lines, privacy, full disks, and every one-byte edit.

use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::domain::history::{Ended, Finish};

fn now() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

fn event(number: u32) -> Event {
    Event::Ended {
        id: format!("id{number}"),
        finish: Box::new(Finish::new(Ended::Done, "Done — “so”.")),
    }
}

fn journal() -> (tempfile::TempDir, Journal) {
    let home = tempfile::tempdir().unwrap();
    let journal = Journal::at(&home.path().join("state/kmsctl"));
    (home, journal)
}

fn with_events(count: u32) -> (tempfile::TempDir, Journal) {
    let (home, journal) = journal();
    for number in 0..count {
        assert_eq!(journal.append(now(), &event(number)).unwrap(), 0);
    }
    (home, journal)
}

#[test]
fn events_come_back_in_order_and_the_chain_holds() {
    let (_home, journal) = with_events(3);
    let contents = journal.read().unwrap();
    assert_eq!((contents.breaks.as_slice(), contents.torn), (&[][..], 0));
    let events: Vec<Event> = contents
        .events
        .into_iter()
        .map(|(_, event)| event)
        .collect();
    assert_eq!(events, [event(0), event(1), event(2)]);
}

#[test]
fn directory_and_file_are_private_also_where_they_were_not() {
    let (_home, journal) = with_events(1);
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    let directory = journal.path().parent().unwrap();
    assert_eq!((mode(directory), mode(journal.path())), (0o700, 0o600));
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(journal.path(), fs::Permissions::from_mode(0o644)).unwrap();
    journal.append(now(), &event(1)).unwrap();
    assert_eq!((mode(directory), mode(journal.path())), (0o700, 0o600));
}

#[test]
fn no_history_is_an_empty_one() {
    let (_home, journal) = journal();
    let contents = journal.read().unwrap();
    assert_eq!(
        (contents.events.len(), contents.head.as_str()),
        (0, BEGINNING)
    );
}

#[test]
fn a_torn_last_line_is_reported_taken_out_and_recorded() {
    let (_home, journal) = with_events(3);
    let text = fs::read(journal.path()).unwrap();
    let second = text
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'\n')
        .nth(1)
        .unwrap()
        .0
        + 1;
    for cut in [1, 40, text.len() - second - 1] {
        fs::write(journal.path(), &text[..second + cut]).unwrap();
        let contents = journal.read().unwrap();
        assert_eq!(
            (contents.torn, contents.breaks.len(), contents.events.len()),
            (cut, 0, 2)
        );
        assert_eq!(journal.append(now(), &event(9)).unwrap(), cut);
        let contents = journal.read().unwrap();
        assert_eq!((contents.torn, contents.breaks.as_slice()), (0, &[][..]));
        assert!(
            matches!(&contents.events[2].1, Event::Recovered { bytes, .. } if *bytes == cut as u64)
        );
        assert_eq!(contents.events[3].1, event(9));
    }
}

#[test]
fn every_edit_of_one_byte_is_found() {
    let (_home, journal) = with_events(3);
    let text = fs::read(journal.path()).unwrap();
    for place in 0..text.len() {
        let mut edited = text.clone();
        edited[place] ^= 1;
        let contents = check(&edited);
        assert!(
            !contents.breaks.is_empty() || contents.torn > 0,
            "byte {place}"
        );
    }
}

#[test]
fn removed_repeated_and_swapped_lines_are_named() {
    let (_home, journal) = with_events(4);
    let text = fs::read_to_string(journal.path()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let broken = |order: &[usize]| {
        let text: String = order
            .iter()
            .map(|number| format!("{}\n", lines[*number]))
            .collect();
        check(text.as_bytes())
            .breaks
            .first()
            .map(|broken| broken.line)
    };
    assert_eq!(broken(&[0, 1, 2, 3]), None);
    assert_eq!(broken(&[0, 2, 3]), Some(2));
    assert_eq!(broken(&[1, 2, 3]), Some(1));
    assert_eq!(broken(&[0, 1, 1, 2, 3]), Some(3));
    assert_eq!(broken(&[0, 2, 1, 3]), Some(2));
}

#[test]
fn a_record_forged_with_a_fitting_hash_breaks_the_next_link() {
    let (_home, journal) = with_events(3);
    let text = fs::read(journal.path()).unwrap();
    let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
    let mut forged = lines[0].to_vec();
    let first = line::claimed_hash(lines[0]).unwrap();
    line::push(&mut forged, 2, &first, now(), &event(7)).unwrap();
    forged.extend_from_slice(lines[2]);
    let breaks: Vec<u64> = check(&forged)
        .breaks
        .iter()
        .map(|broken| broken.line)
        .collect();
    assert_eq!(breaks, [3]);
}

#[test]
fn a_broken_chain_does_not_stop_an_emergency_and_stays_named() {
    let (_home, journal) = with_events(2);
    let text = fs::read_to_string(journal.path())
        .unwrap()
        .replace("id1", "id7");
    fs::write(journal.path(), text).unwrap();
    journal.append(now(), &event(2)).unwrap();
    let contents = journal.read().unwrap();
    let lines: Vec<u64> = contents.breaks.iter().map(|broken| broken.line).collect();
    assert_eq!(lines, [2]);
    assert_eq!(contents.events.len(), 3);
}

#[test]
fn rubbish_in_the_middle_is_named_and_the_rest_is_read() {
    let (_home, journal) = with_events(1);
    let mut text = fs::read(journal.path()).unwrap();
    text.extend_from_slice(b"\xff\xfe rubbish\n\n{}\n");
    fs::write(journal.path(), &text).unwrap();
    journal.append(now(), &event(1)).unwrap();
    let contents = journal.read().unwrap();
    assert_eq!(contents.events.len(), 2);
    assert!(contents.breaks.len() >= 3, "{:?}", contents.breaks);
}

#[test]
fn too_long_a_record_is_refused_and_nothing_is_written() {
    let (_home, journal) = with_events(1);
    let before = fs::read(journal.path()).unwrap();
    let long = Event::Recovered {
        bytes: 0,
        text: "x".repeat(LONGEST_LINE),
    };
    assert!(matches!(
        journal.append(now(), &long),
        Err(JournalError::TooLong(_))
    ));
    assert_eq!(fs::read(journal.path()).unwrap(), before);
}

#[test]
fn two_writers_never_tear_each_others_lines() {
    let (_home, journal) = journal();
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let journal = &journal;
            scope.spawn(move || {
                for number in 0..25 {
                    journal
                        .append(now(), &event(writer * 100 + number))
                        .unwrap();
                }
            });
        }
    });
    let contents = journal.read().unwrap();
    assert_eq!(
        (contents.events.len(), contents.breaks.as_slice()),
        (100, &[][..])
    );
}

proptest::proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400)) {
        let _ = check(&bytes);
        let _ = tail(&bytes);
    }
}

#[test]
fn an_event_knows_that_its_line_is_broken_also_behind_one_that_cannot_be_read() {
    let (_home, journal) = with_events(3);
    let text = fs::read_to_string(journal.path()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let altered = lines[2].replace(r#""seq":3"#, r#""seq":4"#);
    assert_ne!(altered, lines[2]);
    let contents = check(format!("nonsense\n{}\n{altered}\n", lines[1]).as_bytes());
    let broken: Vec<Option<u64>> = contents.recorded().map(|(_, _, line)| line).collect();
    assert_eq!(broken, [Some(2), Some(3)], "{:?}", contents.breaks);
}
