//! How well a log was read, by the truth beside it. For tests.

use std::collections::HashMap;

use super::*;

/// What a connection truly did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Did {
    /// Its requests, each in the words that the truth has for one.
    pub requests: Vec<Vec<String>>,
    /// How often it came and went without one.
    pub probes: u32,
}

/// How well a log was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Score {
    /// Connections with requests.
    pub connections: usize,
    /// Of those, how many have exactly their own requests.
    pub right: usize,
    /// Requests that were found.
    pub requests: usize,
    /// Of those, how many of an uncertain client.
    pub ambiguous: usize,
    /// Of those, how many are that connection's all the same.
    pub ambiguous_and_right: usize,
    /// Of the others, how many are not that connection's.
    pub falsely_certain: usize,
    /// True requests that were found for no client.
    pub vanished: usize,
    /// Requests and probes that were found and never happened.
    pub forged: usize,
    /// Probes that were found for no client.
    pub probes_missed: usize,
}

impl Score {
    /// Returns how many connections with requests lost one or got another's.
    pub fn wrong_count(&self) -> usize {
        self.connections - self.right
    }
}

/// Reads a whole log in pieces.
pub fn read(log: &[u8]) -> (Vec<KmsEvent>, Log) {
    let (mut reader, mut events) = (Log::default(), Vec::new());
    let mut lines = line::LogLines::default();
    for chunk in log.chunks(1000) {
        lines.feed_chunk(chunk, |line| reader.read_line(line, &mut events));
    }
    (events, reader)
}

/// Returns a name up to its first newline: what follows is a line of its own in the log.
pub fn first_line(name: &str) -> String {
    name.split('\n').next().unwrap_or_default().to_owned()
}

/// Compares what was found with what is true.
pub fn score(
    want: &HashMap<String, Did>,
    events: &[KmsEvent],
    words: impl Fn(&KmsRequest) -> Vec<String>,
) -> Score {
    let mut score = Score::default();
    let mut got: HashMap<String, Did> = HashMap::new();
    let mut left: HashMap<&Vec<String>, isize> = HashMap::new();
    for did in want.values() {
        for request in &did.requests {
            *left.entry(request).or_default() += 1;
        }
    }
    for event in events {
        match event {
            KmsEvent::Request(request) => {
                let (peer, found) = (
                    request.peer.map_or_else(String::new, |peer| peer.to_string()),
                    words(request),
                );
                score.requests += 1;
                let own = want.get(&peer);
                let right = own.is_some_and(|own| own.requests.contains(&found));
                if request.attribution == Attribution::Ambiguous {
                    score.ambiguous += 1;
                    score.ambiguous_and_right += usize::from(right);
                } else if !right {
                    println!("  certain, and false: {peer} {found:?}");
                    score.falsely_certain += 1;
                }
                if let Some(count) = left.get_mut(&found) {
                    *count -= 1;
                } else {
                    println!("  never was: {peer} {found:?} {:?}", request.attribution);
                    score.forged += 1;
                }
                got.entry(peer).or_default().requests.push(found);
            }
            KmsEvent::Probe { peer, .. } => got.entry(peer.to_string()).or_default().probes += 1,
            KmsEvent::Anomaly { .. } => {}
        }
    }
    for count in left.values() {
        score.vanished += usize::try_from(*count).unwrap_or_default();
        score.forged += usize::try_from(-*count).unwrap_or_default();
    }
    let nothing = Did::default();
    let (mut probes, mut told_probes) = (0, 0);
    for (peer, wanted) in want {
        let found = got.get(peer).unwrap_or(&nothing);
        probes += wanted.probes;
        told_probes += found.probes;
        score.connections += usize::from(!wanted.requests.is_empty());
        score.right += usize::from(!wanted.requests.is_empty() && wanted == found);
    }
    let strangers = got.iter().filter(|(peer, _)| !want.contains_key(*peer));
    score.forged += strangers.map(|(_, did)| did.probes as usize).sum::<usize>();
    score.probes_missed = probes.saturating_sub(told_probes) as usize;
    score
}
