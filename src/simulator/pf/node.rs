//! Source tracking: one node per (source, rule), with both generations of pf's rate arithmetic.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::domain::pf::rule::Rate;

/// Which arithmetic pf uses for `max-src-conn-rate`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Generation {
    /// FreeBSD 12 to 14: a decaying average (`pf_add_threshold`).
    #[default]
    Decaying,
    /// FreeBSD 15: a window that starts anew when it has ended.
    Window,
}

/// A source node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// The source.
    pub address: IpAddr,
    /// The filter rule.
    pub rule: usize,
    /// States of the source under the rule.
    pub states: u32,
    /// Of these, completed connections.
    pub connections: u32,
    /// Epoch milliseconds at which it was made.
    pub created: i64,
    /// Epoch milliseconds at which it goes, once it has no states.
    pub expires: i64,
    /// Packets of its states.
    pub packets: u64,
    /// Bytes of its states.
    pub bytes: u64,
    /// The rate, in thousandths of a connection (decaying) or connections (window).
    count: u64,
    /// Epoch second of the last connection (decaying) or of the window's start.
    last: i64,
}

impl Node {
    /// Makes an empty node.
    pub fn new(address: IpAddr, rule: usize, now: i64) -> Self {
        Self {
            address,
            rule,
            states: 0,
            connections: 0,
            created: now,
            expires: now,
            packets: 0,
            bytes: 0,
            count: 0,
            last: 0,
        }
    }

    /// Counts one completed connection at `now` (epoch milliseconds) and says whether that is one too many.
    pub fn add_to_rate(&mut self, rate: Rate, generation: Generation, now: i64) -> bool {
        let (now, seconds, limit) = (
            now.div_euclid(1000),
            u64::from(rate.seconds),
            u64::from(rate.connections),
        );
        let passed = u64::try_from(now - self.last).unwrap_or(0);
        match generation {
            Generation::Decaying => {
                self.count = if passed >= seconds {
                    0
                } else {
                    self.count - self.count * passed / seconds
                };
                self.count += 1000;
                self.last = now;
                self.count > limit * 1000
            }
            Generation::Window => {
                if passed >= seconds {
                    self.count = 0;
                    self.last = now;
                }
                self.count += 1;
                self.count > limit
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::{Generation, Node};
    use crate::domain::pf::rule::Rate;

    /// Returns the number of the connection that trips 10/60 when one comes every `every` milliseconds.
    fn trips_at(generation: Generation, every: i64) -> Option<i64> {
        let mut node = Node::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0, 0);
        let rate = Rate {
            connections: 10,
            seconds: 60,
        };
        (1..=200)
            .find(|number| node.add_to_rate(rate, generation, 1_000_000_000_000 + number * every))
    }

    #[test]
    fn decaying_average_trips_as_freebsd_14_does() {
        assert_eq!(trips_at(Generation::Decaying, 10), Some(11));
        assert_eq!(trips_at(Generation::Decaying, 6000), None);
        assert!(matches!(
            trips_at(Generation::Decaying, 5000),
            Some(20..=22)
        ));
    }

    #[test]
    fn window_trips_on_the_first_above_the_limit() {
        assert_eq!(trips_at(Generation::Window, 10), Some(11));
        assert_eq!(trips_at(Generation::Window, 5000), Some(11));
        assert_eq!(trips_at(Generation::Window, 6000), None);
    }
}
