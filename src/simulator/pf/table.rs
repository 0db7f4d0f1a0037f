//! A table of the simulated pf.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// A table: its entries in pfctl's order (IPv4 ascending, then IPv6) with the time each was added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// The seven letters of `pfctl -sT -v`.
    pub flags: String,
    /// Entries and the epoch milliseconds of their "Cleared" time.
    pub entries: BTreeMap<IpNet, i64>,
}

impl Table {
    /// Makes a table whose entries were all added at `now`.
    pub fn new(name: &str, flags: &str, entries: &[&str], now: i64) -> Self {
        let entries = entries
            .iter()
            .filter_map(|entry| net(entry))
            .map(|net| (net, now))
            .collect();
        Self {
            name: name.to_owned(),
            flags: flags.to_owned(),
            entries,
        }
    }

    /// Returns the longest entry that holds the address.
    pub fn find(&self, address: IpAddr) -> Option<IpNet> {
        self.entries
            .keys()
            .filter(|net| net.contains(&address))
            .max_by_key(|net| net.prefix_len())
            .copied()
    }

    /// Removes what was added more than `seconds` before `now` (epoch milliseconds), as `-T expire` counts:
    /// in whole seconds, strictly older. Returns what went.
    pub fn expire(&mut self, seconds: i64, now: i64) -> Vec<IpNet> {
        let old = |since: i64| now.div_euclid(1000) - since.div_euclid(1000) > seconds;
        let gone: Vec<IpNet> = self
            .entries
            .iter()
            .filter(|(_, since)| old(**since))
            .map(|(net, _)| *net)
            .collect();
        self.entries.retain(|_, since| !old(*since));
        gone
    }
}

/// Reads an address or a network.
pub fn net(text: &str) -> Option<IpNet> {
    text.parse::<IpNet>()
        .ok()
        .or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}
