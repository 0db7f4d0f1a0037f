//! A history of many years: what reads it keeps what is shown in memory, and a change in a closed file is still found.

use std::io::Write as _;
use std::path::Path;

use kmsctl::journal::{BEGINNING, FULL};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::support::environment::TestEnvironment;
use crate::support::hostile::measured;

/// What a run without a history needs, and some more: a history of 30 MiB takes several times this when it is held whole.
const MOST_MEBIBYTES: u64 = 40;

/// Writes lines with their chain, in a file of their own.
struct Chained {
    file: std::io::BufWriter<std::fs::File>,
    head: String,
    seq: u64,
    bytes: u64,
}

impl Chained {
    fn file(path: &Path, head: String, seq: u64) -> Self {
        let file = std::fs::File::create(path).expect("a history");
        Self { file: std::io::BufWriter::new(file), head, seq, bytes: 0 }
    }

    fn push(&mut self, event: &str) {
        self.seq += 1;
        let rest = format!(
            "\"previous\":\"{}\",\"seq\":{},\"at\":\"2026-03-01T12:21:34Z\",\"event\":{event}}}",
            self.head, self.seq
        );
        let digest = Sha256::digest(rest.as_bytes());
        self.head = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let line = format!("{{\"hash\":\"{}\",{rest}\n", self.head);
        self.file.write_all(line.as_bytes()).expect("a line");
        self.bytes += line.len() as u64;
    }
}

/// Makes two changes in the demo: one that stands, and one with its undo, copied until the file is nearly full. Returns the id of the one that
/// stands, which is in a closed file.
fn with_long_history(environment: &TestEnvironment) -> String {
    let done = |arguments: &[&str]| -> Value {
        let run = environment.demo(&[arguments, &["--yes", "-o", "json"]].concat());
        run.json()["data"]["id"].clone()
    };
    let first = done(&["ratelimit", "tighten"]);
    let second = done(&["virusprot", "flush"]);
    let third = done(&["undo"]);
    let path = environment.home().join(".local/state/kmsctl/demo/journal.jsonl");
    let text = std::fs::read_to_string(&path).expect("a history");
    // The copies are of an earlier version of kmsctl, which wrote no head.
    std::fs::remove_file(path.with_file_name("journal.head")).expect("a head");
    let events: Vec<String> = text
        .lines()
        .map(|line| {
            let (_, event) = line.split_once("\"event\":").expect("an event");
            event.strip_suffix('}').expect("a line").to_owned()
        })
        .collect();
    assert_eq!(events.len(), 6, "three changes");
    let closed = path.with_file_name("journal.000001.jsonl");
    let mut chained = Chained::file(&closed, BEGINNING.to_owned(), 0);
    events[..2].iter().for_each(|event| chained.push(event));
    let (head, seq) = (chained.head.clone(), chained.seq);
    drop(chained);
    let mut chained = Chained::file(&path, head, seq);
    let name = |id: &Value| id.as_str().expect("an id").to_owned();
    let mut number = 0;
    while chained.bytes < FULL - (1 << 20) {
        number += 1;
        for event in &events[2..] {
            let event = event
                .replace(&name(&second), &format!("5{number:011x}"))
                .replace(&name(&third), &format!("3{number:011x}"));
            chained.push(&event);
        }
    }
    drop(chained);
    name(&first)
}

#[test]
fn a_long_history_takes_no_memory() {
    let environment = TestEnvironment::new();
    let first = with_long_history(&environment);
    let run = |arguments: &[&str]| {
        let run = measured(environment.command(&[&["--demo"], arguments].concat()));
        eprintln!("{arguments:?}: {:?}, {} MiB, {:?}", run.code, run.peak, run.took);
        assert_eq!(run.code, Some(0), "{arguments:?}: {run:?}");
        assert!(!run.stderr.contains("chain is broken"), "{run:?}");
        assert!(run.peak <= MOST_MEBIBYTES, "{arguments:?}: {} MiB", run.peak);
        run.stdout
    };
    let shown = run(&["history", &first, "--local", "-o", "json"]);
    let shown: Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!(shown["data"]["command"], "ratelimit tighten");
    assert_eq!(shown["data"]["outcome"], "done");
    run(&["history", "--local", "-o", "json"]);
    run(&["expose", "restore", "--yes", "-o", "json"]);
    // All but the first was taken back.
    let undone = run(&["undo", "--yes", "-o", "json"]);
    let undone: Value = serde_json::from_str(&undone).expect("JSON");
    assert_eq!(undone["data"]["after"]["max_src_conn"], 50, "{undone:#}");
    let shown = run(&["history", &first, "--local", "-o", "json"]);
    let shown: Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!(shown["data"]["undone_by"], undone["data"]["id"]);
}

/// One line, in the history and beside it, whose values would take twenty times its text.
#[test]
fn a_line_of_many_values_takes_no_memory() {
    let environment = TestEnvironment::new();
    environment.demo(&["ratelimit", "tighten", "--yes"]).success();
    let history = environment.home().join(".local/state/kmsctl/demo/journal.jsonl");
    let event = format!(r#"{{"id":"x","finish":[0{}],"event":"ended"}}"#, ",0".repeat(20 << 20));
    for place in [history.clone(), history.with_file_name("aside-1.jsonl")] {
        Chained::file(&place, BEGINNING.to_owned(), 0).push(&event);
    }
    for arguments in [&["history", "--local"][..], &["expose", "revoke", "--yes"]] {
        let run = measured(environment.command(&[&["--demo"], arguments].concat()));
        assert_eq!(run.code, Some(0), "{arguments:?}: {}", run.stderr);
        assert!(run.peak <= 256, "{arguments:?}: {} MiB", run.peak);
    }
    environment.demo(&["expose", "show", "--expect", "closed"]).success();
}
