//! The parser against simulated logs that come with the truth beside them (`tests/fixtures/vlmcsd`).

use std::collections::HashMap;

use super::score::{Did, Score, first_line, read, score};
use super::*;

/// Connections that got wrong requests in the busy samples: of 205, and of 93.
const BUSY_OLD: usize = 14;
const BUSY_NEW: usize = 4;

fn truth(text: &str) -> HashMap<String, Did> {
    let mut by_peer: HashMap<String, Did> = HashMap::new();
    for line in text.lines() {
        let connection: serde_json::Value = serde_json::from_str(line).expect("a line of truth");
        let peer = connection["conn"].as_str().expect("a peer").as_bytes();
        let peer = Peer::parse(peer).expect("a peer").to_string();
        let entry = by_peer.entry(peer).or_default();
        for request in connection["requests"].as_array().expect("requests") {
            let word = |key: &str| request[key].as_str().unwrap_or_default().to_owned();
            let answered = request["answered"] == true;
            let host = first_line(&word("host"));
            let words = [word("product"), host, word("status"), answered.to_string()];
            entry.requests.push(words.to_vec());
        }
        entry.probes += u32::from(connection["kind"] == "probe");
    }
    by_peer
}

fn words(request: &KmsRequest) -> Vec<String> {
    let product = request.product.as_deref().unwrap_or("Unknown").to_owned();
    let host = first_line(request.workstation.as_deref().unwrap_or_default());
    let status = request.status.map_or("", RequestStatus::as_str).to_owned();
    let answered = request.outcome == RequestOutcome::Answered;
    vec![product, host, status, answered.to_string()]
}

fn sample(name: &str, log: &[u8], truth_text: &str) -> Score {
    let score = score(&truth(truth_text), &read(log).0, words);
    println!("{name}: {score:?}");
    score
}

macro_rules! sample {
    ($name:literal) => {
        sample(
            $name,
            include_bytes!(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/tests/fixtures/vlmcsd/",
                $name,
                ".log"
            )),
            include_str!(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/tests/fixtures/vlmcsd/",
                $name,
                ".truth.jsonl"
            )),
        )
    };
}

#[test]
fn the_quiet_log_loses_nothing_and_invents_nothing() {
    let score = sample!("quiet.old");
    assert_eq!((score.wrong_count(), score.vanished, score.ambiguous), (0, 0, 0));
    assert_eq!((score.probes_missed, score.forged), (0, 0));
}

/// Ten and five minutes in which nearly every machine is a stranger. Where two strangers connect within half a
/// second, the log does not show which wrote first: the guess is "the first", wrong in a few of a hundred, and always
/// said to be a guess.
#[test]
fn the_busy_logs_lose_nothing_and_are_wrong_only_where_they_say_so() {
    for (score, most) in [(sample!("busy.old"), BUSY_OLD), (sample!("busy.new"), BUSY_NEW)] {
        assert_eq!((score.vanished, score.falsely_certain), (0, 0), "{score:?}");
        assert!(score.wrong_count() <= most, "{score:?}");
        assert_eq!((score.probes_missed, score.forged), (0, 0));
    }
}

#[test]
fn the_flood_loses_nothing() {
    let score = sample!("flood.old");
    assert_eq!(score.right, score.connections, "{score:?}");
}

#[test]
fn the_hostile_log_gets_no_forged_event_in() {
    let score = sample!("hostile.old");
    assert_eq!((score.wrong_count(), score.forged), (0, 0), "{score:?}");
}
