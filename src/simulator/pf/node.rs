//! Source tracking: one node per (source, rule).

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::RuleRef;

use crate::domain::overload::{Generation, RateTracker};
use crate::domain::pf::rule::Rate;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrackedSource {
    pub address: IpAddr,
    pub rule: RuleRef,
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
    /// What `max-src-conn-rate` counts; made with the first connection.
    rate: Option<RateTracker>,
}

impl TrackedSource {
    /// Makes an empty node.
    pub fn new(address: IpAddr, rule: RuleRef, now: i64) -> Self {
        Self {
            address,
            rule,
            states: 0,
            connections: 0,
            created: now,
            expires: now,
            packets: 0,
            bytes: 0,
            rate: None,
        }
    }

    /// Counts one completed connection at `now` (epoch milliseconds) and says whether that is one too many.
    pub fn add_to_rate(&mut self, rate: Rate, generation: Generation, now: i64) -> bool {
        let seconds = u64::try_from(now.div_euclid(1000)).unwrap_or(0);
        self.rate
            .get_or_insert_with(|| RateTracker::new(generation, rate))
            .count_connection(seconds)
    }
}
