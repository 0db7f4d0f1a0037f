//! Who was blocked when, also after the entry is gone: what changed between two looks at the table, and the periods that
//! a record of these changes makes. Pure; nothing here reads a file.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::entries::{Blocked, age_seconds};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BlockChange {
    /// It is in the table, and was not at the look before.
    Blocked,
    /// It was in the table at the look before, and is not any more.
    Released,
    /// It is still in the table, and turned out to be a customer.
    Customer,
}

/// One line of the exporter's output and of its record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockEvent {
    /// The look that found it, by the firewall's clock.
    pub at: Timestamp,
    pub event: BlockChange,
    /// The address, or the network with its prefix length.
    pub address: String,
    /// When pf added the entry; null where pf did not say.
    pub since: Option<Timestamp>,
    /// Live states of the service from it at the last look that found it in the table.
    pub connections: u64,
    /// It was activated within 24 hours; null where that is not known.
    pub customer: Option<bool>,
}

/// The table as the last look found it.
#[derive(Debug, Default)]
pub struct BlockWatch {
    known: BTreeMap<String, BlockEvent>,
}

impl BlockWatch {
    /// Takes up where a record ended, so that a restart reports nothing twice.
    pub fn resume_record(events: impl IntoIterator<Item = BlockEvent>) -> Self {
        let mut watch = Self::default();
        for event in events {
            match event.event {
                BlockChange::Blocked | BlockChange::Customer => {
                    watch.known.insert(event.address.clone(), event)
                }
                BlockChange::Released => watch.known.remove(&event.address),
            };
        }
        watch
    }

    /// Compares the table with the look before. `customers_known` says whether all clients of 24 hours are. An entry
    /// that went and came again between two looks has another time, and is reported as both.
    pub fn compare_entries(
        &mut self,
        entries: &[Blocked],
        customers_known: bool,
        at: Timestamp,
    ) -> Vec<BlockEvent> {
        let entries = entries.iter().filter(|entry| !entry.address.starts_with('!'));
        let mut fresh: BTreeMap<String, BlockEvent> = entries
            .map(|entry| {
                let event = BlockEvent {
                    at,
                    event: BlockChange::Blocked,
                    address: entry.address.clone(),
                    since: entry.added_at,
                    connections: entry.states,
                    customer: match entry.activated_at {
                        Some(_) => Some(true),
                        None => customers_known.then_some(false),
                    },
                };
                (entry.address.clone(), event)
            })
            .collect();
        let mut events = Vec::new();
        for (address, known) in &self.known {
            let stays = |entry: &&mut BlockEvent| {
                entry.since.is_none() || known.since.is_none() || entry.since == known.since
            };
            match fresh.get_mut(address).filter(stays) {
                None => {
                    events.push(BlockEvent { at, event: BlockChange::Released, ..known.clone() });
                }
                // Once a customer, always: that is said once, whatever the log holds later.
                Some(entry) if known.customer == Some(true) => entry.customer = Some(true),
                Some(entry) if entry.customer == Some(true) => {
                    events.push(BlockEvent { event: BlockChange::Customer, ..entry.clone() });
                }
                Some(_) => {}
            }
        }
        let gone = |address: &String| {
            let released = |event: &BlockEvent| event.event == BlockChange::Released;
            (events.iter()).any(|event| released(event) && event.address == *address)
        };
        let blocked: Vec<BlockEvent> = fresh
            .values()
            .filter(|entry| !self.known.contains_key(&entry.address) || gone(&entry.address))
            .cloned()
            .collect();
        events.extend(blocked);
        self.known = fresh;
        events
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BlockPeriod {
    /// The address, or the network with its prefix length.
    pub address: String,
    /// When pf added the entry, or else the look that found it first.
    pub blocked_at: Timestamp,
    /// The look that did not find it any more; null while it is blocked, as far as the record goes.
    pub released_at: Option<Timestamp>,
    /// Seconds between the two; until now while it is blocked.
    pub seconds: u64,
    /// Live states of the service from it at the last look that found it in the table.
    pub connections: u64,
    /// It was activated within 24 hours before; null where nothing was known about clients.
    pub customer: Option<bool>,
}

/// Makes periods of events that are in order: those that touch the time from `from` to `now`, newest first.
pub fn periods_between(
    events: impl IntoIterator<Item = BlockEvent>,
    from: Timestamp,
    now: Timestamp,
) -> Vec<BlockPeriod> {
    let mut running: BTreeMap<String, BlockPeriod> = BTreeMap::new();
    let mut periods = Vec::new();
    for event in events {
        match event.event {
            BlockChange::Blocked => {
                let blocked_at = event.since.unwrap_or(event.at);
                let period = BlockPeriod {
                    address: event.address.clone(),
                    blocked_at,
                    released_at: None,
                    seconds: age_seconds(blocked_at, now),
                    connections: event.connections,
                    customer: event.customer,
                };
                periods.extend(running.insert(event.address, period));
            }
            BlockChange::Customer => {
                if let Some(period) = running.get_mut(&event.address) {
                    period.customer = event.customer;
                }
            }
            BlockChange::Released => {
                // Where the record was cut, the beginning is only in this event.
                let began = running.remove(&event.address);
                let blocked_at =
                    began.map(|period| period.blocked_at).or(event.since).unwrap_or(event.at);
                periods.push(BlockPeriod {
                    address: event.address,
                    blocked_at,
                    released_at: Some(event.at),
                    seconds: age_seconds(blocked_at, event.at),
                    connections: event.connections,
                    customer: event.customer,
                });
            }
        }
    }
    periods.extend(running.into_values());
    periods.retain(|period| period.released_at.is_none_or(|at| at >= from));
    periods.sort_by(|a, b| (b.blocked_at, &a.address).cmp(&(a.blocked_at, &b.address)));
    periods
}

/// The firewall's clock and this machine's, by which the history is, can differ so much.
const CLOCKS_APART: SignedDuration = SignedDuration::from_mins(10);

/// Who was blocked by hand, and when.
#[derive(Debug, Default)]
pub struct HandBlocks(BTreeSet<(IpAddr, Timestamp)>);

impl HandBlocks {
    /// Notes what a change has blocked: anew, or again what was in the table `before`.
    pub fn note_block(&mut self, address: IpAddr, before: Option<Timestamp>, at: Timestamp) {
        if before.is_none_or(|before| self.holds(address, before)) {
            self.0.insert((address, at));
        }
    }

    /// Returns whether the entry that an address has since then was made by hand.
    pub fn holds(&self, address: IpAddr, since: Timestamp) -> bool {
        let [from, until] = [-CLOCKS_APART, CLOCKS_APART]
            .map(|apart| (address, since.saturating_add(apart).unwrap_or(since)));
        self.0.range(from..=until).next().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + seconds).expect("a time")
    }

    fn entry(address: &str, since: Option<i64>, states: u64) -> Blocked {
        Blocked {
            address: address.to_owned(),
            added_at: since.map(second),
            age_seconds: None,
            release_at: None,
            states,
            flags: Vec::new(),
            activated_at: None,
            net: "203.0.113.0/24".parse().expect("a network"),
        }
    }

    fn words(events: &[BlockEvent]) -> Vec<String> {
        let word = |event: &BlockEvent| format!("{:?} {}", event.event, event.address);
        events.iter().map(word).collect()
    }

    #[test]
    fn each_change_is_reported_once() {
        let mut watch = BlockWatch::default();
        let first = [entry("203.0.113.1", Some(0), 3), entry("2001:db8::1", None, 0)];
        let events = watch.compare_entries(&first, false, second(10));
        assert_eq!(words(&events), ["Blocked 2001:db8::1", "Blocked 203.0.113.1"]);
        assert_eq!(events[1].since, Some(second(0)));
        assert_eq!(events[1].customer, None);
        assert!(watch.compare_entries(&first, false, second(40)).is_empty());
        let events = watch.compare_entries(&first[..1], true, second(70));
        assert_eq!(words(&events), ["Released 2001:db8::1"]);
        let events = watch.compare_entries(&[], true, second(100));
        assert_eq!(words(&events), ["Released 203.0.113.1"]);
        assert_eq!((events[0].since, events[0].connections), (Some(second(0)), 3));
    }

    #[test]
    fn a_late_activation_makes_a_customer_once() {
        let scanner = [entry("203.0.113.1", Some(0), 0)];
        let mut customer = scanner.clone();
        customer[0].activated_at = Some(second(5));
        let mut watch = BlockWatch::default();
        let mut record = watch.compare_entries(&scanner, true, second(10));
        record.extend(watch.compare_entries(&customer, true, second(40)));
        assert_eq!(words(&record), ["Blocked 203.0.113.1", "Customer 203.0.113.1"]);
        // Not again when the cluster was away, when the day is over, or after a restart.
        for known in [false, true] {
            assert!(watch.compare_entries(&scanner, known, second(70)).is_empty());
            assert!(watch.compare_entries(&customer, true, second(80)).is_empty());
            watch = BlockWatch::resume_record(record.clone());
        }
        record.extend(watch.compare_entries(&[], true, second(100)));
        let periods = periods_between(record, second(0), second(200));
        assert_eq!(periods.len(), 1);
        assert_eq!(periods[0].customer, Some(true));
    }

    #[test]
    fn who_was_activated_is_a_customer() {
        let mut activated = entry("203.0.113.1", Some(0), 0);
        activated.activated_at = Some(second(5));
        let entries = [activated, entry("203.0.113.2", Some(0), 0)];
        for (all_known, other) in [(true, Some(false)), (false, None)] {
            let events = BlockWatch::default().compare_entries(&entries, all_known, second(10));
            assert_eq!((events[0].customer, events[1].customer), (Some(true), other));
        }
    }

    #[test]
    fn an_entry_of_another_time_is_new() {
        let mut watch = BlockWatch::default();
        watch.compare_entries(&[entry("203.0.113.1", Some(0), 0)], true, second(10));
        let events = watch.compare_entries(&[entry("203.0.113.1", Some(25), 1)], true, second(40));
        assert_eq!(words(&events), ["Released 203.0.113.1", "Blocked 203.0.113.1"]);
        assert_eq!(events[1].customer, Some(false));
    }

    #[test]
    fn a_restart_reports_nothing_twice() {
        let entries = [entry("203.0.113.1", Some(0), 3), entry("203.0.113.2", Some(5), 3)];
        let mut record = BlockWatch::default().compare_entries(&entries, true, second(10));
        let mut watch = BlockWatch::resume_record(record.clone());
        assert!(watch.compare_entries(&entries, true, second(600)).is_empty());
        record.extend(watch.compare_entries(&entries[1..], true, second(700)));
        let mut watch = BlockWatch::resume_record(record.clone());
        assert!(watch.compare_entries(&entries[1..], true, second(800)).is_empty());
        let periods = periods_between(record, second(0), second(1000));
        let shown: Vec<_> = periods
            .iter()
            .map(|period| (period.address.as_str(), period.released_at, period.seconds))
            .collect();
        assert_eq!(shown, [("203.0.113.2", None, 995), ("203.0.113.1", Some(second(700)), 700)]);
    }

    #[test]
    fn entries_made_by_hand_are_known() {
        let address = |last: u8| IpAddr::from([203, 0, 113, last]);
        let mut blocks = HandBlocks::default();
        blocks.note_block(address(1), None, second(0));
        // Freed, and put back: by hand what was by hand.
        blocks.note_block(address(1), Some(second(1)), second(5_000));
        blocks.note_block(address(2), Some(second(1)), second(5_000));
        for (last, at, by_hand) in [
            (1, 0, true),
            (1, 590, true),
            (1, -590, true),
            (1, 700, false),
            (1, 5_001, true),
            (2, 0, false),
            (2, 5_001, false),
        ] {
            assert_eq!(blocks.holds(address(last), second(at)), by_hand, "{last} {at}");
        }
    }

    #[test]
    fn periods_that_ended_before_are_left_out() {
        let mut watch = BlockWatch::default();
        let mut record =
            watch.compare_entries(&[entry("203.0.113.1", Some(0), 3)], true, second(10));
        record.extend(watch.compare_entries(&[], true, second(100)));
        assert!(periods_between(record.clone(), second(101), second(200)).is_empty());
        assert_eq!(periods_between(record.clone(), second(100), second(200)).len(), 1);
        // The beginning was cut off: the end knows when it began.
        let cut = periods_between(record.split_off(1), second(50), second(200));
        assert_eq!(cut[0].seconds, 100);
    }
}
