//! A table of the simulated pf.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Looking through so many entries one by one is faster than looking up every length.
const FEW: usize = 128;

/// A table: its entries in pfctl's order (IPv4 ascending, then IPv6) with the time each was added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SimulatedTable {
    pub name: String,
    /// The seven letters of `pfctl -sT -v`.
    pub flags: String,
    /// Entries and the epoch milliseconds of their "Cleared" time.
    pub entries: BTreeMap<IpNet, i64>,
}

impl SimulatedTable {
    /// Makes a table whose entries were all added at `now`.
    pub fn new(name: &str, flags: &str, entries: &[&str], now: i64) -> Self {
        let entries =
            entries.iter().filter_map(|entry| table_net(entry)).map(|net| (net, now)).collect();
        Self { name: name.to_owned(), flags: flags.to_owned(), entries }
    }

    /// Returns the longest entry that holds the address.
    pub fn find(&self, address: IpAddr) -> Option<IpNet> {
        let host = IpNet::from(address);
        if self.entries.len() > FEW {
            let wider = (0..=host.max_prefix_len()).rev();
            let nets = wider.filter_map(|length| IpNet::new(address, length).ok());
            return nets.map(|net| net.trunc()).find(|net| self.entries.contains_key(net));
        }
        self.entries
            .keys()
            .filter(|net| net.contains(&address))
            .max_by_key(|net| net.prefix_len())
            .copied()
    }

    /// Removes what was added more than `seconds` before `now` (epoch milliseconds), as `-T expire` counts:
    /// in whole seconds, strictly older.
    pub fn expire(&mut self, seconds: i64, now: i64) {
        self.entries.retain(|_, since| now.div_euclid(1000) - since.div_euclid(1000) <= seconds);
    }
}

/// Reads an address or a network.
pub fn table_net(text: &str) -> Option<IpNet> {
    text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

#[cfg(test)]
mod tests {
    use super::{FEW, SimulatedTable, table_net};

    #[test]
    fn the_longest_entry_is_found_in_small_and_large_tables() {
        let mut table =
            SimulatedTable::new("t", "-pa----", &["10.0.0.0/8", "10.1.0.0/16", "2001:db8::/32"], 0);
        for filled in [false, true] {
            for (address, entry) in [
                ("10.1.2.3", Some("10.1.0.0/16")),
                ("10.2.2.3", Some("10.0.0.0/8")),
                ("192.0.2.1", None),
                ("2001:db8::7", Some("2001:db8::/32")),
            ] {
                let found = table.find(address.parse().unwrap());
                assert_eq!(found, entry.and_then(table_net), "{address} {filled}");
            }
            let more = u8::try_from(FEW).unwrap();
            table.entries.extend(
                (0..=more).map(|last| (table_net(&format!("198.51.100.{last}")).unwrap(), 0)),
            );
        }
        assert_eq!(table.find("198.51.100.7".parse().unwrap()), table_net("198.51.100.7"));
    }
}
