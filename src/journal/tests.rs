//! The file: chain, torn lines, privacy, full disks, and every one-byte edit.

use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::domain::history::{EndedAs, Finish};

fn now() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

fn event(number: u32) -> HistoryEvent {
    HistoryEvent::Ended {
        id: format!("id{number}"),
        finish: Box::new(Finish::new(EndedAs::Done, "Done — “so”.")),
    }
}

fn journal() -> (tempfile::TempDir, Journal) {
    let home = tempfile::tempdir().unwrap();
    let journal = Journal::at(&home.path().join("state/kmsctl"));
    // Long enough on a machine that is busy.
    (home, journal.with_patience(Duration::from_secs(120)))
}

/// Everything the history says.
struct Contents {
    events: Vec<(Timestamp, HistoryEvent)>,
    broken: Vec<Option<u64>>,
    chain: Chain,
}

fn collect(
    scan: impl FnOnce(&mut dyn FnMut(Timestamp, HistoryEvent, Option<u64>)) -> Chain,
) -> Contents {
    let (mut events, mut broken) = (Vec::new(), Vec::new());
    let chain = scan(&mut |at, event, line| {
        events.push((at, event));
        broken.push(line);
    });
    Contents { events, broken, chain }
}

fn read(journal: &Journal) -> Contents {
    collect(|each| journal.scan(each).unwrap())
}

fn check(text: &[u8]) -> Contents {
    collect(|each| {
        let mut chain = Chain::default();
        chain.scan(&mut &*text, each).unwrap();
        chain
    })
}

fn with_events(count: u32) -> (tempfile::TempDir, Journal) {
    let (home, journal) = journal();
    for number in 0..count {
        assert_eq!(journal.append(now(), &event(number)).unwrap().torn, 0);
    }
    (home, journal)
}

#[test]
fn events_come_back_in_order_and_the_chain_holds() {
    let (_home, journal) = with_events(3);
    let contents = read(&journal);
    assert_eq!((contents.chain.breaks.as_slice(), contents.chain.torn), (&[][..], 0));
    let events: Vec<HistoryEvent> = contents.events.into_iter().map(|(_, event)| event).collect();
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
    let contents = read(&journal);
    assert_eq!((contents.events.len(), contents.chain.head.as_str()), (0, BEGINNING));
}

#[test]
fn a_torn_last_line_is_reported_taken_out_and_recorded() {
    let (_home, journal) = with_events(3);
    let text = fs::read(journal.path()).unwrap();
    let second = text.iter().enumerate().filter(|(_, byte)| **byte == b'\n').nth(1).unwrap().0 + 1;
    for cut in [1, 40, text.len() - second - 1] {
        fs::write(journal.path(), &text[..second + cut]).unwrap();
        // The machine went down before it came to the head.
        let line = text[..second - 1].rsplit(|byte| *byte == b'\n').next();
        let hash = line::claimed_hash(line.unwrap()).unwrap();
        let head = Head { seq: 2, hash };
        head.write(journal.directory()).unwrap();
        let contents = read(&journal);
        assert_eq!(
            (contents.chain.torn, contents.chain.breaks.len(), contents.events.len()),
            (cut, 0, 2)
        );
        assert_eq!(journal.append(now(), &event(9)).unwrap().torn, cut);
        let contents = read(&journal);
        assert_eq!((contents.chain.torn, contents.chain.breaks.as_slice()), (0, &[][..]));
        assert!(
            matches!(&contents.events[2].1, HistoryEvent::Recovered { bytes, .. } if *bytes == cut as u64)
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
        assert!(!contents.chain.breaks.is_empty() || contents.chain.torn > 0, "byte {place}");
    }
}

#[test]
fn removed_repeated_and_swapped_lines_are_named() {
    let (_home, journal) = with_events(4);
    let text = fs::read_to_string(journal.path()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let broken = |order: &[usize]| {
        let text: String = order.iter().map(|number| format!("{}\n", lines[*number])).collect();
        check(text.as_bytes()).chain.breaks.first().map(|broken| broken.line)
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
    line::push_chained_line(&mut forged, 2, &first, now(), &event(7)).unwrap();
    forged.extend_from_slice(lines[2]);
    let breaks: Vec<u64> = check(&forged).chain.breaks.iter().map(|broken| broken.line).collect();
    assert_eq!(breaks, [3]);
}

#[test]
fn a_broken_chain_does_not_stop_an_emergency_and_stays_named() {
    let (_home, journal) = with_events(2);
    let text = fs::read_to_string(journal.path()).unwrap().replace("id1", "id7");
    fs::write(journal.path(), text).unwrap();
    journal.append(now(), &event(2)).unwrap();
    let contents = read(&journal);
    let lines: Vec<u64> = contents.chain.breaks.iter().map(|broken| broken.line).collect();
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
    let contents = read(&journal);
    assert_eq!(contents.events.len(), 2);
    assert!(contents.chain.breaks.len() >= 3, "{:?}", contents.chain.breaks);
}

/// pfSense lets a table have 400,000 entries, and one has about 112 bytes in a record.
#[test]
fn a_flush_of_the_largest_table_is_recorded() {
    let (_home, journal) = with_events(1);
    let largest = HistoryEvent::Recovered { bytes: 0, text: "x".repeat(400_000 * 112) };
    journal.append(now(), &largest).unwrap();
    journal.append(now(), &event(2)).unwrap();
    let contents = read(&journal);
    assert_eq!(contents.events.len(), 3);
    assert!(contents.chain.breaks.is_empty(), "{:?}", contents.chain.breaks);
}

#[test]
fn too_long_a_record_is_refused_and_nothing_is_written() {
    let (_home, journal) = with_events(1);
    let before = fs::read(journal.path()).unwrap();
    let long = HistoryEvent::Recovered { bytes: 0, text: "x".repeat(LONGEST_LINE) };
    assert!(matches!(journal.append(now(), &long), Err(JournalError::TooLong(_))));
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
                    journal.append(now(), &event(writer * 100 + number)).unwrap();
                }
            });
        }
    });
    let contents = read(&journal);
    assert_eq!((contents.events.len(), contents.chain.breaks.as_slice()), (100, &[][..]));
}

proptest::proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400)) {
        let _ = check(&bytes);
        let (_home, journal) = journal();
        fs::create_dir_all(journal.path().parent().unwrap()).unwrap();
        fs::write(journal.path(), &bytes).unwrap();
        journal.append(now(), &event(1)).unwrap();
        let contents = read(&journal);
        proptest::prop_assert_eq!(contents.chain.torn, 0);
        proptest::prop_assert_eq!(&contents.events.last().unwrap().1, &event(1));
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
    assert_eq!(contents.broken, [Some(2), Some(3)], "{:?}", contents.chain.breaks);
}

#[test]
fn a_held_lock_stops_no_record() {
    let (_home, journal) = with_events(2);
    let journal = journal.with_patience(Duration::from_millis(50));
    let holder = File::open(journal.path()).unwrap();
    holder.lock().unwrap();
    for number in [2, 3] {
        let aside = journal.append(now(), &event(number)).unwrap().aside.unwrap();
        let mode = aside.path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let waiting = read(&journal);
    assert_eq!((waiting.events.len(), journal.count().unwrap()), (4, 4));
    drop(holder);
    assert_eq!(journal.append(now(), &event(4)).unwrap(), Appended::default());
    let contents = read(&journal);
    let events: Vec<&HistoryEvent> = contents.events.iter().map(|(_, event)| event).collect();
    let wanted: Vec<HistoryEvent> = (0..5).map(event).collect();
    assert_eq!(events, wanted.iter().collect::<Vec<_>>());
    assert!(contents.chain.breaks.is_empty(), "{:?}", contents.chain);
    let left = fs::read_dir(journal.path().parent().unwrap()).unwrap();
    assert_eq!(left.count(), 2, "the history and its head; what was taken in is gone");
}

#[test]
fn what_was_taken_in_is_not_taken_twice() {
    let (_home, journal) = with_events(1);
    aside::write_aside(journal.path().parent().unwrap(), now(), &event(0)).unwrap();
    assert_eq!(read(&journal).events.len(), 1, "by readers either");
    journal.append(now(), &event(1)).unwrap();
    let contents = read(&journal);
    let same = contents.events.iter().filter(|(_, found)| *found == event(0));
    assert_eq!((same.count(), contents.events.len()), (1, 2));
    assert!(contents.chain.breaks.is_empty(), "{:?}", contents.chain);
}

#[test]
fn an_altered_record_is_never_taken_in() {
    let (_home, journal) = with_events(1);
    let directory = journal.path().parent().unwrap();
    let path = aside::write_aside(directory, now(), &event(1)).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let altered = text.replace(r#""seq":1"#, r#""seq":2"#);
    assert_ne!(altered, text);
    fs::write(&path, altered).unwrap();
    for number in 2..4 {
        journal.append(now(), &event(number)).unwrap();
        let contents = read(&journal);
        let broken = contents.broken.iter().flatten().count();
        assert_eq!((contents.events.len(), broken), (usize::try_from(number).unwrap() + 1, 1));
        let named = path.display().to_string();
        assert!(contents.chain.breaks.iter().any(|place| place.what.contains(&named)));
    }
    for unreadable in ["rubbish", &text.replacen('{', "[", 1), ""] {
        fs::write(&path, unreadable).unwrap();
        journal.append(now(), &event(4)).unwrap();
        let breaks = read(&journal).chain.breaks;
        assert!(breaks.iter().any(|place| place.what.contains("aside-")), "{breaks:?}");
        assert!(path.exists(), "{unreadable}");
    }
    fs::write(&path, text).unwrap();
    journal.append(now(), &event(5)).unwrap();
    let contents = read(&journal);
    assert_eq!((contents.events.len(), contents.chain.breaks.len()), (8, 0));
}

#[test]
fn a_full_file_is_closed_and_the_chain_goes_on() {
    let (_home, journal) = journal();
    let long = |number: u64| HistoryEvent::Recovered { bytes: number, text: "x".repeat(12 << 20) };
    for number in 0..7 {
        journal.append(now(), &long(number)).unwrap();
    }
    let closed = journal.closed_files().unwrap();
    assert_eq!(closed.len(), 3);
    for path in closed.iter().map(PathBuf::as_path).chain([journal.path()]) {
        let found = path.metadata().unwrap();
        assert!(found.len() <= FULL);
        assert_eq!(found.permissions().mode() & 0o777, 0o600);
    }
    let mut seen = Vec::new();
    let chain = journal
        .scan(&mut |_, event, broken| {
            if let HistoryEvent::Recovered { bytes, .. } = event {
                seen.push((bytes, broken));
            }
        })
        .unwrap();
    assert_eq!(seen, (0..7).map(|number| (number, None)).collect::<Vec<_>>());
    assert!(chain.breaks.is_empty(), "{chain:?}");
    assert_eq!(journal.count().unwrap(), 7);
    fs::remove_file(&closed[1]).unwrap();
    assert_eq!(journal.scan(&mut |_, _, _| {}).unwrap().breaks.len(), 1);
}

#[test]
fn another_users_directory_is_refused() {
    if own_files::own_user() != 0 {
        eprintln!("SKIPPED: another user's directory needs root");
        return;
    }
    let (_home, journal) = with_events(1);
    let directory = journal.path().parent().unwrap();
    std::os::unix::fs::chown(directory, Some(65534), None).unwrap();
    let error = journal.append(now(), &event(1)).unwrap_err();
    assert!(error.to_string().contains("another user"), "{error}");
    assert_eq!(Failure::from(error).kind, FailureKind::Usage);
}

#[test]
fn another_users_waiting_record_is_not_taken_in() {
    if own_files::own_user() != 0 {
        eprintln!("SKIPPED: another user's file needs root");
        return;
    }
    let (_home, journal) = with_events(1);
    let path = aside::write_aside(journal.directory(), now(), &event(7)).unwrap();
    std::os::unix::fs::chown(&path, Some(65534), None).unwrap();
    for number in 1..3 {
        journal.append(now(), &event(number)).unwrap();
        let contents = read(&journal);
        assert!(contents.events.iter().all(|(_, found)| *found != event(7)));
        let breaks = contents.chain.breaks;
        let named = path.display().to_string();
        let is_named = |what: &str| what.contains(&named) && what.contains("another user");
        assert!(breaks.iter().any(|found| is_named(&found.what)), "{breaks:?}");
        assert!(path.exists());
    }
    std::os::unix::fs::chown(&path, Some(0), None).unwrap();
    journal.append(now(), &event(3)).unwrap();
    assert!(read(&journal).events.iter().any(|(_, found)| *found == event(7)), "it was a record");
}

/// The last number that a history of one record claims, in its line, in its head, and in both.
#[test]
fn no_number_is_too_large_to_be_counted_on() {
    for number in [u64::MAX, u64::MAX - 1, i64::MAX as u64, (1 << 53) + 1, 1 << 53] {
        for (in_line, in_head) in [(true, false), (false, true), (true, true)] {
            let (_home, journal) = with_events(1);
            let mut line = Vec::new();
            let claimed = if in_line { number } else { 1 };
            let hash =
                line::push_chained_line(&mut line, claimed, BEGINNING, now(), &event(0)).unwrap();
            fs::write(journal.path(), line).unwrap();
            if in_head {
                Head { seq: number, hash }.write(journal.directory()).unwrap();
            } else {
                fs::remove_file(Head::path_in(journal.directory())).unwrap();
            }
            for next in 1..4 {
                journal.count().unwrap();
                assert_eq!(journal.append(now(), &event(next)).unwrap(), Appended::default());
            }
            let contents = read(&journal);
            let what = format!("{number} {in_line} {in_head}: {:?}", contents.chain.breaks);
            assert!(!contents.chain.breaks.is_empty(), "{what}");
            for next in 0..4 {
                assert!(contents.events.iter().any(|(_, found)| *found == event(next)), "{what}");
            }
        }
    }
}

#[test]
fn a_history_larger_than_any_is_not_read_and_stops_no_record() {
    for name in ["journal.jsonl", "journal.000001.jsonl", "journal.000002.jsonl"] {
        let (_home, journal) = with_events(1);
        let large = journal.directory().join(name);
        let options = &mut OpenOptions::new();
        let file = options.create(true).append(true).mode(0o600).open(&large).unwrap();
        file.set_len(60 << 30).unwrap();
        let began = Instant::now();
        assert!(matches!(journal.count(), Err(JournalError::TooLarge { .. })));
        let error = journal.scan(&mut |_, _, _| {}).unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
        assert_eq!(Failure::from(error).kind, FailureKind::Usage);
        let aside = journal.append(now(), &event(1)).unwrap().aside.expect("a record beside it");
        assert!(aside.why.contains(name), "{aside:?}");
        assert!(began.elapsed() < Duration::from_secs(5), "{name}: {:?}", began.elapsed());
        // Once it is out of the way, what waited is taken in.
        fs::remove_file(&large).unwrap();
        journal.append(now(), &event(2)).unwrap();
        let contents = read(&journal);
        assert!(contents.events.iter().any(|(_, found)| *found == event(1)), "{name}");
        assert!(!aside.path.exists());
    }
}

#[test]
fn many_files_are_no_longer_history_than_one() {
    let (_home, journal) = with_events(1);
    for number in 1..=LARGEST_HISTORY / LARGEST_FILE + 1 {
        let path = journal.directory().join(format!("journal.{number:06}.jsonl"));
        File::create(path).unwrap().set_len(LARGEST_FILE).unwrap();
    }
    let began = Instant::now();
    let scanned = journal.scan(&mut |_, _, _| {});
    assert!(matches!(scanned, Err(JournalError::TooLarge { .. })), "{scanned:?}");
    assert!(journal.append(now(), &event(1)).unwrap().aside.is_some());
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    journal.forget().unwrap();
    assert_eq!(fs::read_dir(journal.directory()).unwrap().count(), 0);
}

#[test]
fn where_no_number_is_left_the_file_is_not_closed() {
    let (_home, journal) = with_events(1);
    fs::copy(journal.path(), journal.directory().join("journal.999999.jsonl")).unwrap();
    let long = HistoryEvent::Recovered { bytes: 0, text: "x".repeat(12 << 20) };
    for _ in 0..4 {
        journal.append(now(), &long).unwrap();
    }
    let events = read(&journal).events;
    assert_eq!(events.iter().filter(|(_, found)| *found == long).count(), 4);
}

/// What takes much more memory than text, as each value has its own: a list that the event does not have, one that it has, and facts.
#[test]
fn a_line_of_many_values_is_not_taken_apart() {
    let line = |event: &str| {
        let rest = format!(
            r#""previous":"{BEGINNING}","seq":1,"at":"2026-03-01T12:00:00Z","event":{event}}}"#
        );
        format!(r#"{{"hash":"{}",{rest}"#, line::hash_hexadecimal(rest.as_bytes()))
    };
    let zeros = vec!["0"; 400_000].join(",");
    for event in [
        format!(r#"{{"id":"x","finish":[{zeros}],"event":"ended"}}"#),
        format!(r#"{{"event":"ended","id":"x","finish":{{"changed":[],"outside":[{zeros}]}}}}"#),
        format!(
            r#"{{"event":"started","plan":{{"change":{{"operation":[],"seen":[{zeros},{zeros}]}}}}}}"#
        ),
        format!(r#"{{"event":"started","plan":[{zeros}]}}"#),
    ] {
        let error = JournalLine::parse(line(&event).as_bytes()).unwrap_err();
        assert!(error.contains("more values"), "{error}");
    }
    // A flush of the largest table is a line of kmsctl's: there it is only the event that does not fit.
    let entry = r#"{"address":"203.0.113.1","since":null}"#;
    let entries = vec![entry; 400_000].join(",");
    let event = format!(
        r#"{{"event":"ended","id":"x","finish":{{"ended":"done","message":"Done.","changed":[{entries}]}}}}"#
    );
    assert!(JournalLine::parse(line(&event).as_bytes()).is_ok_and(|line| line.whole));
    // What is not read again is not written.
    let (_home, journal) = with_events(1);
    let mut finish = Finish::new(EndedAs::Done, ",".repeat(400_000));
    finish.killed = Some(1);
    let many = HistoryEvent::Ended { id: "x".to_owned(), finish: Box::new(finish) };
    assert!(matches!(journal.append(now(), &many), Err(JournalError::TooMany)));
}

/// Two records that do not fit together: what is over the bound stays, is named, and is taken in by the next change.
#[test]
fn records_that_wait_are_taken_in_as_many_as_fit() {
    let (_home, journal) = with_events(1);
    let long = |number: u64| HistoryEvent::Recovered { bytes: number, text: "x".repeat(33 << 20) };
    for number in 0..2 {
        aside::write_aside(journal.directory(), now(), &long(number)).unwrap();
    }
    let waiting = || aside::waiting_asides(journal.directory()).unwrap().len();
    let contents = read(&journal);
    assert_eq!((contents.events.len(), contents.chain.breaks.len()), (2, 1), "one fits");
    journal.append(now(), &event(1)).unwrap();
    assert_eq!(waiting(), 1);
    journal.append(now(), &event(2)).unwrap();
    assert_eq!(waiting(), 0);
    let contents = read(&journal);
    assert_eq!((contents.events.len(), contents.chain.breaks.len()), (5, 0));
}

/// What can be no record keeps none that is one from being taken in.
#[test]
fn what_is_no_record_holds_no_other_back() {
    let (home, journal) = with_events(1);
    let beside = home.path().join("of another user");
    File::create(&beside).unwrap().set_len(LONGEST_LINE as u64).unwrap();
    for number in 0..2 {
        let link = journal.directory().join(format!("aside-{number}.jsonl"));
        std::os::unix::fs::symlink(&beside, link).unwrap();
    }
    let torn = File::create(journal.directory().join("aside-2.jsonl")).unwrap();
    torn.set_len(LONGEST_LINE as u64).unwrap();
    aside::write_aside(journal.directory(), now(), &event(1)).unwrap();
    assert_eq!(read(&journal).events.len(), 2);
    journal.append(now(), &event(2)).unwrap();
    assert_eq!(read(&journal).events.len(), 3);
    assert_eq!(aside::waiting_asides(journal.directory()).unwrap().len(), 3, "these stay");
}

/// A change does not wait until all lines are looked at: its record goes beside the history.
#[test]
fn many_lines_keep_no_change_waiting() {
    let (_home, journal) = with_events(1);
    let journal = journal.with_patience(Duration::from_secs(1));
    let mut file =
        OpenOptions::new().append(true).open(journal.directory().join("journal.jsonl")).unwrap();
    std::io::Write::write_all(&mut file, &vec![b'\n'; 32 << 20]).unwrap();
    let began = Instant::now();
    let aside = journal.append(now(), &event(1)).unwrap().aside.expect("a record beside it");
    assert!(aside.why.contains("is not looked through"), "{aside:?}");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}
