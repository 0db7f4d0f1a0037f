//! `pfctl -vsS`: source-tracking nodes, one per (source, rule).

use std::net::IpAddr;

use super::lines::{self, Bounded, Parsed};
use super::text::{take_clock, take_digits, whole_number};

/// What kmsctl reads of a node. Not kept: the printed rate and the time left (wrong on FreeBSD 14 and 15), where sticky
/// translation sends it, and its traffic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceNode {
    pub address: IpAddr,
    pub states: u32,
    /// Of these, those that completed the handshake.
    pub connections: u32,
    /// Seconds since the node was made (`-v`).
    pub age_seconds: Option<u64>,
    /// `filter`, `nat` or `rdr`, and the rule's number (`-v`).
    pub rule: Option<(String, u32)>,
}

/// More nodes than this are not looked at; pfSense keeps no more than its limit of states.
const MOST_NODES: usize = 100_000;

/// Parses `-sS`, with `-v` or `-vv` or without.
pub fn parse_source_nodes(text: &[u8]) -> Parsed<Vec<SourceNode>> {
    let mut nodes: Bounded<SourceNode> = Bounded::new(MOST_NODES);
    let gathered = lines::gather_lines(text, |line| {
        if line.starts_with([' ', '\t']) {
            if nodes.is_over() {
                return true;
            }
            let node = nodes.last_mut().filter(|node| node.age_seconds.is_none());
            return node.is_some_and(|node| parse_node_detail(node, line.trim_start()).is_some());
        }
        let node = parse_node_head(line);
        let understood = node.is_some();
        if let Some(node) = node {
            nodes.push(node);
        }
        understood
    });
    gathered.with_list(nodes)
}

/// Reads `198.51.100.23 -> 0.0.0.0 ( states 3, connections 2, rate 9.8/60s )`.
fn parse_node_head(line: &str) -> Option<SourceNode> {
    let (address, rest) = line.split_once(" -> ")?;
    let (target, rest) = rest.split_once(" ( states ")?;
    let (states, rest) = take_digits(rest)?;
    let (connections, rest) = take_digits(rest.strip_prefix(", connections ")?)?;
    let (_, rest) = take_digits(rest.strip_prefix(", rate ")?)?;
    let (tenth, rest) = take_digits(rest.strip_prefix('.')?)?;
    let (_, rest) = take_digits(rest.strip_prefix('/')?)?;
    let whole = rest == "s )" && tenth <= 9 && target.parse::<IpAddr>().is_ok();
    whole.then_some(SourceNode {
        address: address.parse().ok()?,
        states: u32::try_from(states).ok()?,
        connections: u32::try_from(connections).ok()?,
        age_seconds: None,
        rule: None,
    })
}

/// Reads `age 00:02:05[, expires in 00:00:35], 120 pkts, 9000 bytes[, filter rule 25][, KIND]` into `node`.
fn parse_node_detail(node: &mut SourceNode, line: &str) -> Option<()> {
    let (age, rest) = take_clock(line.strip_prefix("age ")?)?;
    let rest = match rest.strip_prefix(", expires in ") {
        Some(rest) => take_clock(rest)?.1,
        None => rest,
    };
    let (_, rest) = take_digits(rest.strip_prefix(", ")?)?;
    let (_, rest) = take_digits(rest.strip_prefix(" pkts, ")?)?;
    let mut extras = rest.strip_prefix(" bytes")?;
    let (mut rule, mut kind) = (None, None);
    while let Some(rest) = extras.strip_prefix(", ") {
        let end = rest.find(", ").unwrap_or(rest.len());
        let (extra, after) = rest.split_at_checked(end)?;
        extras = after;
        let place = match rule_of(extra) {
            Some(found) => rule.replace(found).is_some(),
            None => kind.replace(extra).is_some(),
        };
        if place || extra.is_empty() {
            return None;
        }
    }
    if !extras.is_empty() {
        return None;
    }
    node.age_seconds = Some(age);
    node.rule = rule;
    Some(())
}

/// Reads `filter rule 25`.
fn rule_of(text: &str) -> Option<(String, u32)> {
    let (kind, rule) = text.split_once(" rule ")?;
    let known = matches!(kind, "filter" | "nat" | "rdr");
    let rule = whole_number(rule).filter(|_| known)?;
    Some((kind.to_owned(), rule))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SAMPLE: &[u8] = include_bytes!("../../../tests/fixtures/pfctl/sS-v.12.txt");
    const UNDERFLOW: &[u8] = include_bytes!("../../../tests/fixtures/pfctl/sS-v.14.txt");

    #[test]
    fn a_source_shows_its_states_and_rule() {
        let parsed = parse_source_nodes(SAMPLE);
        assert_eq!(parsed.unread, []);
        let expected = SourceNode {
            address: "203.0.113.77".parse().unwrap(),
            states: 0,
            connections: 0,
            age_seconds: Some(400),
            rule: Some(("filter".to_owned(), 25)),
        };
        assert_eq!(parsed.value[3], expected);
    }

    #[test]
    fn a_rate_that_underflowed_is_read_over() {
        let parsed = parse_source_nodes(UNDERFLOW);
        assert_eq!(parsed.unread, []);
        assert!(String::from_utf8_lossy(UNDERFLOW).contains("rate 4294967.2/0s"));
    }

    #[test]
    fn the_kind_that_freebsd_15_appends_is_read() {
        let text = "2001:db8::77 -> :: ( states 1, connections 1, rate 0.0/60s )\n   age 00:00:05, 1 pkts, 2 bytes, filter rule 7, limit source-track\n";
        let parsed = parse_source_nodes(text.as_bytes());
        assert_eq!(parsed.unread, []);
        assert_eq!(parsed.value[0].rule, Some(("filter".to_owned(), 7)));
    }

    #[test]
    fn rubbish_is_reported() {
        let text = "   age 00:00:05, 1 pkts, 2 bytes\na -> :: ( states 1, connections 1, rate 0.0/60s )\n:: -> :: ( states 1, connections 1, rate 0.10/60s )\n:: -> :: ( states 1, connections 1, rate 0.0/60s )\n   age 00:00:05, 1 pkts\n   age 00:00:05, 1 pkts, 2 bytes,\n";
        let parsed = parse_source_nodes(text.as_bytes());
        let unread: Vec<usize> = parsed.unread.iter().map(|unread| unread.line).collect();
        assert_eq!(unread, [1, 2, 3, 5, 6]);
        assert_eq!(parsed.value[0].age_seconds, None);
    }

    proptest! {
        #[test]
        fn mutated_samples_never_panic(changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..50)) {
            let mut text = SAMPLE.to_vec();
            for (place, byte) in changes {
                let place = place.index(text.len());
                text[place] = byte;
            }
            parse_source_nodes(&text);
        }

        #[test]
        fn arbitrary_bytes_never_panic(text: Vec<u8>) {
            parse_source_nodes(&text);
        }
    }
}
