//! `pfctl -vsS`: source-tracking nodes, one per (source, rule).

use std::fmt;
use std::net::IpAddr;

use super::Verbosity;
use super::lines::{self, Bounded, Parsed};
use super::table::Traffic;
use super::text::{ClockTime, take_clock, take_digits, whole_number};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceNode {
    pub address: IpAddr,
    /// Where sticky translation sends it; `0.0.0.0` or `::` if nowhere.
    pub target: IpAddr,
    pub states: u32,
    /// Of these, those that completed the handshake.
    pub connections: u32,
    /// The rate as printed; kept for printing only: it is wrong on FreeBSD 14 and 15.
    pub printed_rate: PrintedRate,
    /// Seconds since the node was made (`-v`).
    pub age_seconds: Option<u64>,
    /// Seconds until it goes (`-v`, printed only without states; always 0 on FreeBSD 14).
    pub expires_seconds: Option<u64>,
    /// Packets and bytes (`-v`).
    pub traffic: Option<Traffic>,
    /// `filter`, `nat` or `rdr`, and the rule's number (`-v`).
    pub rule: Option<(String, u32)>,
    /// The kind of node (`-v`, FreeBSD 15), such as `limit source-track`.
    pub kind: Option<String>,
}

/// `rate 9.8/60s`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PrintedRate {
    /// Tenths of connections.
    pub tenths: u64,
    pub seconds: u32,
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
    let (whole, rest) = take_digits(rest.strip_prefix(", rate ")?)?;
    let (tenth, rest) = take_digits(rest.strip_prefix('.')?)?;
    let (seconds, rest) = take_digits(rest.strip_prefix('/')?)?;
    if rest != "s )" || tenth > 9 {
        return None;
    }
    Some(SourceNode {
        address: address.parse().ok()?,
        target: target.parse().ok()?,
        states: u32::try_from(states).ok()?,
        connections: u32::try_from(connections).ok()?,
        printed_rate: PrintedRate {
            tenths: whole.checked_mul(10)?.checked_add(tenth)?,
            seconds: u32::try_from(seconds).ok()?,
        },
        age_seconds: None,
        expires_seconds: None,
        traffic: None,
        rule: None,
        kind: None,
    })
}

/// Reads `age 00:02:05[, expires in 00:00:35], 120 pkts, 9000 bytes[, filter rule 25][, KIND]` into `node`.
fn parse_node_detail(node: &mut SourceNode, line: &str) -> Option<()> {
    let (age, rest) = take_clock(line.strip_prefix("age ")?)?;
    let (expires, rest) = match rest.strip_prefix(", expires in ") {
        Some(rest) => take_clock(rest).map(|(expires, rest)| (Some(expires), rest))?,
        None => (None, rest),
    };
    let (packets, rest) = take_digits(rest.strip_prefix(", ")?)?;
    let (bytes, rest) = take_digits(rest.strip_prefix(" pkts, ")?)?;
    let mut extras = rest.strip_prefix(" bytes")?;
    let (mut rule, mut kind) = (None, None);
    while let Some(rest) = extras.strip_prefix(", ") {
        let end = rest.find(", ").unwrap_or(rest.len());
        let (extra, after) = rest.split_at_checked(end)?;
        extras = after;
        let place = match rule_of(extra) {
            Some(found) => rule.replace(found).is_some(),
            None => kind.replace(extra.to_owned()).is_some(),
        };
        if place || extra.is_empty() {
            return None;
        }
    }
    if !extras.is_empty() {
        return None;
    }
    node.age_seconds = Some(age);
    node.expires_seconds = expires;
    node.traffic = Some(Traffic { packets, bytes });
    (node.rule, node.kind) = (rule, kind);
    Some(())
}

/// Reads `filter rule 25`.
fn rule_of(text: &str) -> Option<(String, u32)> {
    let (kind, rule) = text.split_once(" rule ")?;
    let known = matches!(kind, "filter" | "nat" | "rdr");
    let rule = whole_number(rule).filter(|_| known)?;
    Some((kind.to_owned(), rule))
}

impl SourceNode {
    /// Prints the node as pfctl does, with `-v` also what is known of it; no newline at the end.
    pub fn display(&self, verbosity: Verbosity) -> DisplaySourceNode<'_> {
        DisplaySourceNode {
            node: self,
            verbosity,
        }
    }
}

/// Prints a [`SourceNode`]; see [`SourceNode::display`].
#[derive(Clone, Copy, Debug)]
pub struct DisplaySourceNode<'a> {
    node: &'a SourceNode,
    verbosity: Verbosity,
}

/// Prints all that is known, as with `-v`.
impl fmt::Display for SourceNode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.display(Verbosity::Verbose).fmt(formatter)
    }
}

impl fmt::Display for DisplaySourceNode<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let node = self.node;
        let PrintedRate { tenths, seconds } = node.printed_rate;
        write!(
            formatter,
            "{} -> {} ( states {}, connections {}, rate {}.{}/{seconds}s )",
            node.address,
            node.target,
            node.states,
            node.connections,
            tenths / 10,
            tenths % 10,
        )?;
        let (Some(age), Some(traffic)) = (node.age_seconds, node.traffic) else {
            return Ok(());
        };
        if self.verbosity == Verbosity::Plain {
            return Ok(());
        }
        write!(formatter, "\n   age {}", ClockTime(age))?;
        if let Some(expires) = node.expires_seconds {
            write!(formatter, ", expires in {}", ClockTime(expires))?;
        }
        write!(
            formatter,
            ", {} pkts, {} bytes",
            traffic.packets, traffic.bytes
        )?;
        if let Some((kind, rule)) = &node.rule {
            write!(formatter, ", {kind} rule {rule}")?;
        }
        match &node.kind {
            Some(kind) => write!(formatter, ", {kind}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SAMPLE: &[u8] = include_bytes!("../../../tests/fixtures/pfctl/sS-v.12.txt");
    const UNDERFLOW: &[u8] = include_bytes!("../../../tests/fixtures/pfctl/sS-v.14.txt");

    fn print(nodes: &[SourceNode]) -> String {
        nodes.iter().map(|node| node.to_string() + "\n").collect()
    }

    #[test]
    fn a_source_tells_its_states_and_rule() {
        let parsed = parse_source_nodes(SAMPLE);
        assert_eq!(parsed.unread, []);
        let node = &parsed.value[3];
        assert_eq!(node.address.to_string(), "203.0.113.77");
        assert_eq!((node.states, node.connections), (0, 0));
        assert_eq!(
            (node.age_seconds, node.expires_seconds),
            (Some(400), Some(35))
        );
        assert_eq!(
            node.traffic,
            Some(Traffic {
                packets: 400,
                bytes: 40_000
            })
        );
        assert_eq!(node.rule, Some(("filter".to_owned(), 25)));
        assert_eq!(print(&parsed.value).as_bytes(), SAMPLE);
    }

    #[test]
    fn the_rate_that_underflowed_is_read_and_printed_alike() {
        let parsed = parse_source_nodes(UNDERFLOW);
        assert_eq!(
            parsed.value[5].printed_rate,
            PrintedRate {
                tenths: 42_949_672,
                seconds: 0
            }
        );
        assert_eq!(print(&parsed.value).as_bytes(), UNDERFLOW);
    }

    #[test]
    fn the_kind_that_freebsd_15_appends_is_read() {
        let text = "2001:db8::77 -> :: ( states 1, connections 1, rate 0.0/60s )\n   age 00:00:05, 1 pkts, 2 bytes, filter rule 7, limit source-track\n";
        let parsed = parse_source_nodes(text.as_bytes());
        assert_eq!(parsed.unread, []);
        assert_eq!(parsed.value[0].kind.as_deref(), Some("limit source-track"));
        assert_eq!(print(&parsed.value), text);
    }

    #[test]
    fn rubbish_is_reported() {
        let text = "   age 00:00:05, 1 pkts, 2 bytes\na -> :: ( states 1, connections 1, rate 0.0/60s )\n:: -> :: ( states 1, connections 1, rate 0.10/60s )\n:: -> :: ( states 1, connections 1, rate 0.0/60s )\n   age 00:00:05, 1 pkts\n   age 00:00:05, 1 pkts, 2 bytes,\n";
        let parsed = parse_source_nodes(text.as_bytes());
        let unread: Vec<usize> = parsed.unread.iter().map(|unread| unread.line).collect();
        assert_eq!(unread, [1, 2, 3, 5, 6]);
        assert_eq!(parsed.value[0].age_seconds, None);
    }

    fn nodes() -> impl Strategy<Value = SourceNode> {
        let rate = (0..u64::MAX / 2, any::<u32>())
            .prop_map(|(tenths, seconds)| PrintedRate { tenths, seconds });
        let rule = proptest::option::of(("(filter|nat|rdr)", any::<u32>()));
        let kind = proptest::option::of("(limit|NAT/RDR|route) [a-z-]{3,14}");
        let detail = (
            any::<u64>(),
            any::<Option<u64>>(),
            any::<(u64, u64)>(),
            rule,
            kind,
        );
        (
            any::<(IpAddr, IpAddr, u32, u32)>(),
            rate,
            proptest::option::of(detail),
        )
            .prop_map(
                |((address, target, states, connections), printed_rate, detail)| {
                    let (age, expires_seconds, traffic, rule, kind) = match detail {
                        Some((age, expires, (packets, bytes), rule, kind)) => (
                            Some(age),
                            expires,
                            Some(Traffic { packets, bytes }),
                            rule,
                            kind,
                        ),
                        None => (None, None, None, None, None),
                    };
                    SourceNode {
                        address,
                        target,
                        states,
                        connections,
                        printed_rate,
                        age_seconds: age,
                        expires_seconds,
                        traffic,
                        rule,
                        kind,
                    }
                },
            )
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(nodes in proptest::collection::vec(nodes(), 0..5)) {
            let parsed = parse_source_nodes(print(&nodes).as_bytes());
            prop_assert_eq!(&parsed.unread, &[]);
            prop_assert_eq!(parsed.value, nodes);
        }

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
