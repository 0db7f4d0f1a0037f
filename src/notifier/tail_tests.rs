//! Rotations of every kind, as the tail sees them.

use super::*;
use std::path::PathBuf;

struct Room {
    folder: tempfile::TempDir,
}

impl Room {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder") }
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("vlmcsd.log")
    }

    /// Adds text to a file, as a server would.
    fn write(&self, name: &str, text: &str) {
        let path = self.folder.path().join(name);
        let mut whole = fs::read(&path).unwrap_or_default();
        whole.extend_from_slice(text.as_bytes());
        fs::write(path, whole).expect("a write");
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.folder.path().join(from), self.folder.path().join(to)).expect("a rename");
    }
}

/// Looks until nothing has come for longer than a generation lingers: until a look that began that long after a quiet
/// one was quiet too, however slow the machine is.
fn all(tail: &mut Tail) -> String {
    let (mut text, mut quiet) = (Vec::new(), None);
    loop {
        let began = Instant::now();
        let look = tail.look_once(|bytes| text.extend_from_slice(bytes)).expect("a look");
        if look.bytes > 0 || look.rotation.is_some() {
            quiet = None;
        } else if began.duration_since(*quiet.get_or_insert_with(Instant::now)) > LINGER {
            return String::from_utf8(text).expect("text");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_renamed_generation_is_read_to_its_end_and_missed_ones_are_found() {
    let place = Room::new();
    place.write("vlmcsd.log.1", "ancient\n");
    let lately = 1_750_000_000;
    fs::File::options()
        .write(true)
        .open(place.folder.path().join("vlmcsd.log.1"))
        .and_then(|file| {
            file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(1_749_999_999))
        })
        .expect("an old file");
    place.write("vlmcsd.log.0", "lately\n");
    place.write("vlmcsd.log", "a\n");
    let mut tail = Tail::new(&place.log(), Position::since_time(lately), vec![]);
    assert_eq!(all(&mut tail), "lately\na\n");
    place.write("vlmcsd.log", "b\n");
    place.rename("vlmcsd.log", "vlmcsd.log.2");
    place.write("vlmcsd.log", "c\n");
    place.rename("vlmcsd.log", "vlmcsd.log.3");
    place.write("vlmcsd.log", "d\n");
    place.write("vlmcsd.log.2", "late\n");
    assert_eq!(all(&mut tail), "b\nlate\nc\nd\n");
}

/// logrotate's `extension .log` puts number or date before the ending.
#[test]
fn generations_are_known_by_their_names() {
    for name in [
        "vlmcsd-20261129.log",
        "vlmcsd-20261129-13.log",
        "vlmcsd-2026-11-29T13:05:00Z.log",
        "vlmcsd-1795953600.log",
        "vlmcsd.1.log",
        "vlmcsd-1.log",
        "vlmcsd_1.log",
        "vlmcsd.log.1",
        "vlmcsd.log-20261129",
        "vlmcsd.log.old",
    ] {
        assert!(is_generation_name(name.as_bytes(), b"vlmcsd.log"), "{name}");
        let place = Room::new();
        place.write("vlmcsd.log", "a\n");
        let mut tail = Tail::new(&place.log(), Position::since_time(0), vec![]);
        assert_eq!(all(&mut tail), "a\n");
        let (position, seen) =
            (tail.position().expect("a position").clone(), tail.read_generations());
        drop(tail);
        place.write("vlmcsd.log", "b\n");
        place.rename("vlmcsd.log", name);
        place.write("vlmcsd.log", "c\n");
        let mut again = Tail::new(&place.log(), position, seen);
        assert_eq!(all(&mut again), "b\nc\n", "{name}");
    }
    for other in [
        "vlmcsd.log",
        "vlmcsd-debug.log",
        "vlmcsd-2nd.log",
        "vlmcsd1.log",
        "vlmcsd-.log",
        "vlmcsd-20261129.log.gz",
        "other-20261129.log",
        "vlmcsd-20261129.txt",
    ] {
        assert!(!is_generation_name(other.as_bytes(), b"vlmcsd.log"), "{other}");
    }
    assert!(is_generation_name(b"vlmcsd-1", b"vlmcsd") && !is_generation_name(b"1.log", b".log"));
}

/// What a first read left in the log goes along into a copy; what is written after the cut is new, also where the cut came
/// while the notifier was down and something new was read before.
#[test]
fn what_follows_a_cut_is_no_first_read() {
    for read_new in [false, true] {
        let place = Room::new();
        place.write("vlmcsd.log", "old\n");
        let mut tail = Tail::new(&place.log(), Position::since_time(0), vec![]);
        tail.begin_first_read();
        assert_eq!(all(&mut tail), "old\n");
        if read_new {
            place.write("vlmcsd.log", "b\n");
            assert_eq!(all(&mut tail), "b\n");
        }
        let position = tail.position().expect("a position").clone();
        let (seen, already) = (tail.read_generations(), tail.left_of_first_read().to_vec());
        drop(tail);
        place.write("vlmcsd.log", "c\n");
        fs::copy(place.log(), place.folder.path().join("vlmcsd.log.1")).expect("a copy");
        fs::write(place.log(), "").expect("a cut");
        place.write("vlmcsd.log", "d\n");
        let mut again = Tail::new(&place.log(), position, seen);
        again.restore_already(already);
        let (mut text, end) = (Vec::new(), Instant::now() + Duration::from_secs(20));
        while !text.ends_with(b"d\n") && Instant::now() < end {
            let look = again.look_once(|bytes| text.extend_from_slice(bytes)).expect("a look");
            assert!(!look.first_read, "{}", String::from_utf8_lossy(&text));
        }
        assert_eq!(String::from_utf8_lossy(&text), "c\nd\n");
    }
}

#[test]
fn a_log_that_has_lost_its_name_is_noticed_and_still_read() {
    let place = Room::new();
    place.write("vlmcsd.log", "a\n");
    let mut tail = Tail::new(&place.log(), Position::since_time(0), vec![]);
    assert_eq!(all(&mut tail), "a\n");
    place.rename("vlmcsd.log", "elsewhere");
    let end = Instant::now() + NAMELESS * 4;
    while tail.has_name() && Instant::now() < end {
        all(&mut tail);
    }
    assert!(!tail.has_name() && tail.is_open());
    place.write("elsewhere", "b\n");
    assert_eq!(all(&mut tail), "b\n");
    place.write("vlmcsd.log", "c\n");
    assert_eq!(all(&mut tail), "c\n");
    assert!(tail.has_name());
}

#[test]
fn a_cut_file_is_read_from_its_start_also_when_it_grew_past_the_old_offset() {
    let place = Room::new();
    place.write("vlmcsd.log", "first\n");
    let mut tail = Tail::new(&place.log(), Position::since_time(0), vec![]);
    assert_eq!(all(&mut tail), "first\n");
    fs::write(place.log(), "2\n").expect("a write");
    assert_eq!(all(&mut tail), "2\n");
    fs::write(place.log(), "third and longer\n").expect("a write");
    assert_eq!(all(&mut tail), "third and longer\n");
}

#[test]
fn what_was_copied_before_the_cut_is_read_from_the_copy() {
    let place = Room::new();
    place.write("vlmcsd.log", "a\n");
    let mut tail = Tail::new(&place.log(), Position::since_time(0), vec![]);
    assert_eq!(all(&mut tail), "a\n");
    place.write("vlmcsd.log", "b\n");
    fs::copy(place.log(), place.folder.path().join("vlmcsd.log.1")).expect("a copy");
    fs::write(place.log(), "c\n").expect("a write");
    assert_eq!(all(&mut tail), "b\nc\n");
}

#[test]
fn deleted_and_created_again_is_a_new_file() {
    let place = Room::new();
    place.write("vlmcsd.log", "a\n");
    let mut tail = Tail::new(&place.log(), Position::since_time(0), vec![]);
    assert_eq!(all(&mut tail), "a\n");
    fs::remove_file(place.log()).expect("a removal");
    assert_eq!(all(&mut tail), "");
    place.write("vlmcsd.log", "b\n");
    assert_eq!(all(&mut tail), "b\n");
}

#[test]
fn a_checkpoint_goes_on_in_the_file_it_was_made_for() {
    let place = Room::new();
    place.write("vlmcsd.log", "a\n");
    let mut tail = Tail::new(&place.log(), Position::since_time(0), vec![]);
    assert_eq!(all(&mut tail), "a\n");
    let position = tail.position().cloned().expect("a position");
    drop(tail);
    let resumed = |position: &Position| Tail::new(&place.log(), position.clone(), vec![]);
    place.write("vlmcsd.log", "b\n");
    assert_eq!(all(&mut resumed(&position)), "b\n");
    place.rename("vlmcsd.log", "vlmcsd.log.1");
    place.write("vlmcsd.log", "c\n");
    assert_eq!(all(&mut resumed(&position)), "b\nc\n");
    // An offset beyond the end, or other first bytes, is another file.
    let beyond = Position { offset: 999, ..position.clone() };
    fs::rename(place.folder.path().join("vlmcsd.log.1"), place.log()).expect("a rename");
    assert_eq!(all(&mut resumed(&beyond)), "a\nb\n");
    fs::write(place.log(), "x\ny\n").expect("a write");
    assert_eq!(all(&mut resumed(&position)), "x\ny\n");
}

#[test]
fn what_was_rotated_between_two_runs_is_read_once() {
    for vanished in [false, true] {
        let place = Room::new();
        place.write("vlmcsd.log", "a\n");
        let mut tail = Tail::new(&place.log(), Position::since_time(0), vec![]);
        assert_eq!(all(&mut tail), "a\n");
        place.rename("vlmcsd.log", "vlmcsd.log.1");
        place.write("vlmcsd.log", "b\n");
        assert_eq!(all(&mut tail), "b\n");
        let (position, seen) =
            (tail.position().cloned().expect("a position"), tail.read_generations());
        drop(tail);
        for (number, text) in [(2, "c\n"), (3, "d\n")] {
            place.rename("vlmcsd.log", &format!("vlmcsd.log.{number}"));
            std::thread::sleep(Duration::from_millis(10));
            place.write("vlmcsd.log", text);
        }
        if vanished {
            fs::remove_file(place.folder.path().join("vlmcsd.log.2")).expect("a removal");
        }
        let mut tail = Tail::new(&place.log(), position, seen);
        let mut missing = 0;
        let mut text = Vec::new();
        for _ in 0..100 {
            let look = tail.look_once(|bytes| text.extend_from_slice(bytes)).expect("a look");
            missing += usize::from(look.rotation == Some(Rotation::Missing));
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(String::from_utf8_lossy(&text), "c\nd\n", "vanished: {vanished}");
        assert_eq!(missing, usize::from(vanished));
    }
}

#[test]
fn what_was_cut_between_two_runs_is_read_from_copies() {
    let place = Room::new();
    place.write("vlmcsd.log", "a\n");
    let mut tail = Tail::new(&place.log(), Position::since_time(0), vec![]);
    assert_eq!(all(&mut tail), "a\n");
    let (position, seen) = (tail.position().cloned().expect("a position"), tail.read_generations());
    drop(tail);
    for (number, text) in [(1, "b\n"), (2, "c\n"), (3, "d\n")] {
        place.write("vlmcsd.log", text);
        fs::copy(place.log(), place.folder.path().join(format!("vlmcsd.log.{number}")))
            .expect("a copy");
        fs::write(place.log(), "").expect("a cut");
        std::thread::sleep(Duration::from_millis(10));
    }
    place.write("vlmcsd.log", "e\n");
    let mut tail = Tail::new(&place.log(), position, seen);
    assert_eq!(all(&mut tail), "b\nc\nd\ne\n");
}

#[test]
fn an_empty_log_that_is_filled_copied_and_cut_between_two_looks_loses_nothing() {
    let place = Room::new();
    place.write("vlmcsd.log", "a\n");
    let mut tail = Tail::new(&place.log(), Position::since_time(0), vec![]);
    assert_eq!(all(&mut tail), "a\n");
    fs::write(place.log(), "").expect("a cut");
    assert_eq!(all(&mut tail), "");
    std::thread::sleep(Duration::from_millis(10));
    place.write("vlmcsd.log", "b\n");
    fs::copy(place.log(), place.folder.path().join("vlmcsd.log.1")).expect("a copy");
    fs::write(place.log(), "c\n").expect("a cut");
    assert_eq!(all(&mut tail), "b\nc\n");
    assert_eq!(all(&mut tail), "");
}

#[test]
fn an_empty_log_filled_cut_and_renamed_unseen_loses_nothing() {
    let place = Room::new();
    place.write("vlmcsd.log", "");
    let mut tail = Tail::new(&place.log(), Position::since_time(0), vec![]);
    assert_eq!(all(&mut tail), "");
    place.write("vlmcsd.log", "a\n");
    fs::copy(place.log(), place.folder.path().join("vlmcsd.log.1")).expect("a copy");
    std::thread::sleep(Duration::from_millis(10));
    fs::write(place.log(), "").expect("a cut");
    let found = all(&mut tail);
    let (position, seen) = (tail.position().cloned().expect("a position"), tail.read_generations());
    drop(tail);
    std::thread::sleep(Duration::from_millis(10));
    place.write("vlmcsd.log", "b\n");
    place.rename("vlmcsd.log", "vlmcsd.log.2");
    std::thread::sleep(Duration::from_millis(10));
    place.write("vlmcsd.log", "c\n");
    let mut tail = Tail::new(&place.log(), position, seen);
    assert_eq!(found + &all(&mut tail), "a\nb\nc\n");
}

/// What was rotated away while none looked is not kept back until the log has a line again: it is empty, or not there yet.
#[test]
fn an_idle_log_keeps_no_generation_back() {
    for (renamed, present) in [(false, true), (true, true), (true, false)] {
        let place = Room::new();
        place.write("vlmcsd.log", "a\n");
        let mut tail = Tail::new(&place.log(), Position::since_time(0), vec![]);
        assert_eq!(all(&mut tail), "a\n");
        let (position, seen) =
            (tail.position().cloned().expect("a position"), tail.read_generations());
        drop(tail);
        for (number, text) in [(2, "b\n"), (1, "c\n")] {
            std::thread::sleep(Duration::from_millis(10));
            place.write("vlmcsd.log", text);
            let other = format!("vlmcsd.log.{number}");
            if renamed {
                place.rename("vlmcsd.log", &other);
            } else {
                fs::copy(place.log(), place.folder.path().join(other)).expect("a copy");
            }
            if present {
                fs::write(place.log(), "").expect("an empty log");
            }
        }
        let mut tail = Tail::new(&place.log(), position, seen);
        assert_eq!(all(&mut tail), "b\nc\n", "renamed: {renamed}, present: {present}");
        assert_eq!(all(&mut tail), "");
        place.write("vlmcsd.log", "d\n");
        assert_eq!(all(&mut tail), "d\n");
    }
}

#[test]
fn a_copy_and_a_name_that_returns_are_read_once() {
    let place = Room::new();
    let long = format!("{}\n", "x".repeat(super::HEAD));
    place.write("vlmcsd.log", &long);
    let mut tail = Tail::new(&place.log(), Position::since_time(0), vec![]);
    assert_eq!(all(&mut tail), long);
    fs::copy(place.log(), place.folder.path().join("vlmcsd.log.bak")).expect("a copy");
    place.rename("vlmcsd.log", "vlmcsd.log.1");
    place.write("vlmcsd.log", "b\n");
    assert_eq!(all(&mut tail), "b\n");
    place.rename("vlmcsd.log", "vlmcsd.log.2");
    place.write("vlmcsd.log", "");
    assert_eq!(all(&mut tail), "");
    place.rename("vlmcsd.log.2", "vlmcsd.log");
    place.write("vlmcsd.log", "c\n");
    assert_eq!(all(&mut tail), "c\n");
}

#[test]
fn generations_that_start_alike_are_all_read() {
    let place = Room::new();
    let head = format!("{}\n", "x".repeat(300));
    place.write("vlmcsd.log", &format!("{head}a\n"));
    let mut tail = Tail::new(&place.log(), Position::since_time(0), vec![]);
    assert_eq!(all(&mut tail), format!("{head}a\n"));
    // Cut, and grown past the old offset with the same first bytes.
    fs::write(place.log(), format!("{head}b\nb\n")).expect("a write");
    assert_eq!(all(&mut tail), format!("{head}b\nb\n"));
    place.rename("vlmcsd.log", "vlmcsd.log.1");
    place.write("vlmcsd.log", &format!("{head}c\nc\n"));
    place.rename("vlmcsd.log", "vlmcsd.log.2");
    place.write("vlmcsd.log", "d\n");
    assert_eq!(all(&mut tail), format!("{head}c\nc\nd\n"));
}

/// As it was in a campaign of a thousand rotations: in the same second, cut at the same line of a request, of the same
/// length up to the end of the older one.
#[test]
fn generations_cut_within_a_request_are_told_apart_by_what_is_behind_its_first_lines() {
    let generation = |client: u32| {
        let general = "2026-11-22 20:15:45: Licensing status                : 1 (Licensed)\n";
        let machine = format!("2026-11-22 20:15:45: Client machine ID : {client:08}\n");
        general.repeat(8) + &machine + &general.repeat(8) + &machine.repeat(40) + &general.repeat(8)
    };
    let place = Room::new();
    place.write("vlmcsd.log", &generation(1));
    let mut tail = Tail::new(&place.log(), Position::since_time(0), Vec::new());
    assert_eq!(all(&mut tail), generation(1));
    // The next one comes and goes between two looks.
    place.rename("vlmcsd.log", "vlmcsd.log.1");
    let next = generation(2) + "more\n";
    place.write("vlmcsd.log", &next);
    place.rename("vlmcsd.log", "vlmcsd.log.2");
    place.write("vlmcsd.log", "third\n");
    assert_eq!(all(&mut tail), next + "third\n");
}

#[test]
fn a_new_file_with_an_old_inode_is_a_new_file() {
    let place = Room::new();
    let mut reused = 0;
    let mut tail = Tail::new(&place.log(), Position::since_time(0), vec![]);
    for round in 0..20 {
        place.write("vlmcsd.log", &format!("{round}\n"));
        let inode = fs::metadata(place.log())
            .map(|metadata| std::os::unix::fs::MetadataExt::ino(&metadata))
            .ok();
        let (position, seen) =
            (tail.position().cloned().expect("a position"), tail.read_generations());
        reused += usize::from(Some(position.inode) == inode);
        drop(tail);
        tail = Tail::new(&place.log(), position, seen);
        let mut text = Vec::new();
        for _ in 0..3 {
            tail.look_once(|bytes| text.extend_from_slice(bytes)).expect("a look");
        }
        assert_eq!(String::from_utf8_lossy(&text), format!("{round}\n"));
        let (position, seen) =
            (tail.position().cloned().expect("a position"), tail.read_generations());
        // Not held open, so that the file system may use the inode again.
        tail = Tail::new(Path::new("/nonexistent/log"), position, seen);
        fs::remove_file(place.log()).expect("a removal");
    }
    eprintln!("{reused} of 20 inodes were used again");
}

#[test]
fn a_pipe_or_a_folder_is_refused_and_never_waited_for() {
    let place = Room::new();
    fs::create_dir(place.log()).expect("a folder");
    assert!(Tail::new(&place.log(), Position::since_time(0), vec![]).look_once(|_| ()).is_err());
}

#[test]
fn a_first_read_ends_where_the_log_ended() {
    let place = Room::new();
    place.write("vlmcsd.log", "old\n");
    let mut tail = Tail::new(&place.log(), Position::since_time(0), vec![]);
    tail.begin_first_read();
    // Killed before it read anything, and grown meanwhile.
    let (already, from) = (tail.left_of_first_read().to_vec(), Position::since_time(0));
    place.write("vlmcsd.log", "new\n");
    let mut tail = Tail::new(&place.log(), from, vec![]);
    tail.restore_already(already);
    let mut looks = Vec::new();
    for _ in 0..2 {
        let mut text = Vec::new();
        let look = tail.look_once(|bytes| text.extend_from_slice(bytes)).expect("a look");
        looks.push((String::from_utf8(text).expect("text"), look.first_read));
    }
    assert_eq!(looks, [("old\n".to_owned(), true), ("new\n".to_owned(), false)]);
    // Another file under its name is none of what was there.
    place.rename("vlmcsd.log", "vlmcsd.log.1");
    place.write("vlmcsd.log", "x\n");
    assert_eq!(all(&mut tail), "x\n");
    assert!(tail.left_of_first_read().is_empty());
}

#[test]
fn a_deleted_log_is_not_open_and_is_found_again() {
    let place = Room::new();
    place.write("vlmcsd.log", "one\n");
    let mut tail = Tail::new(&place.log(), Position::since_time(0), vec![]);
    assert_eq!(all(&mut tail), "one\n");
    assert!(tail.is_open());
    fs::remove_file(place.log()).expect("a removal");
    assert_eq!(all(&mut tail), "");
    assert!(!tail.is_open());
    place.write("vlmcsd.log", "two\n");
    assert_eq!(all(&mut tail), "two\n");
    assert!(tail.is_open());
    // Renamed away, with nothing in its place yet: the server writes a new one with its next line.
    place.rename("vlmcsd.log", "vlmcsd.log.1");
    assert_eq!(all(&mut tail), "");
    assert!(tail.is_open());
}

#[test]
fn a_copy_and_cut_is_one_rotation() {
    let place = Room::new();
    place.write("vlmcsd.log", "one\n");
    let mut tail = Tail::new(&place.log(), Position::since_time(0), vec![]);
    assert_eq!(all(&mut tail), "one\n");
    place.write("vlmcsd.log", "two\n");
    fs::copy(place.log(), place.folder.path().join("vlmcsd.log.1")).expect("a copy");
    fs::write(place.log(), "").expect("a cut");
    let mut rotations = Vec::new();
    let end = Instant::now() + LINGER * 8;
    while Instant::now() < end {
        rotations.extend(tail.look_once(|_| {}).expect("a look").rotation);
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(rotations, [Rotation::Copied, Rotation::CopyRead]);
}
