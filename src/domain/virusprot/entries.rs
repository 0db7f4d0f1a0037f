//! The entries of the overload table with what an operator must know about each: age, release, and whether
//! it should not be there at all.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use jiff::{Timestamp, tz::TimeZone};
use serde::Serialize;

use super::expiry::{Expiry, Judged};
use crate::domain::address::{canonical_address, canonical_net, is_link_local, is_private};
use crate::domain::pf::table::{Entry, TableName};
use crate::domain::pfsense::freebsd::InterfaceAddress;
use crate::domain::warning::Warning;
use crate::text::word_enum;

word_enum! {
    /// Why an entry deserves a second look.
    pub enum Flag {
        /// A private, link-local, shared (CGNAT) or loopback address: the real client may be hidden behind it.
        Private = "private",
        /// In the network of one of the firewall's own interfaces.
        OwnSubnet = "own-subnet",
        Gateway = "gateway",
        Protected = "protected",
        /// The address this very session comes from.
        Operator = "operator",
        /// It was activated within the last day: a customer, not a scanner.
        Customer = "customer",
    }
}

/// What lies around the firewall, to judge entries by.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    pub interfaces: Vec<InterfaceAddress>,
    pub gateways: Vec<IpAddr>,
    /// The address our own session comes from.
    pub operator: Option<IpAddr>,
    pub protected: Vec<IpNet>,
    /// Where clients reach the service from outside, as far as it is known.
    pub public: Option<IpAddr>,
    /// Vantages by name, with the addresses that they connect from.
    pub vantages: Vec<(String, IpAddr)>,
    /// When each client was activated last, within 24 hours, as far as the notifier was asked.
    pub customers: BTreeMap<IpAddr, Timestamp>,
    /// Why not all customers are known; one sentence.
    pub customers_unknown: Option<String>,
    /// What lets entries go, where it was read.
    pub expiry: Option<Expiry>,
}

impl Surroundings {
    /// Returns every flag of an address or network, in a fixed order.
    pub fn flags_of(&self, net: &IpNet) -> Vec<Flag> {
        let net = &canonical_net(*net);
        let touches = |other: &IpNet| {
            let other = &canonical_net(*other);
            other.contains(net) || net.contains(other)
        };
        let holds = |address: &IpAddr| net.contains(&canonical_address(*address));
        let routed = |address: &&InterfaceAddress| {
            !address.net.addr().is_loopback() && !is_link_local(&address.net.addr())
        };
        let checks = [
            (Flag::Private, is_private(&net.addr())),
            (
                Flag::OwnSubnet,
                self.interfaces.iter().filter(routed).any(|own| touches(&own.net.trunc())),
            ),
            (Flag::Gateway, self.gateways.iter().any(holds)),
            (Flag::Protected, self.protected.iter().any(touches)),
            (Flag::Operator, self.operator.as_ref().is_some_and(holds)),
        ];
        checks.into_iter().filter_map(|(flag, set)| set.then_some(flag)).collect()
    }
}

/// One blocked address or network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Blocked {
    /// The address; a network carries its prefix length, an excluded one a leading `!`.
    pub address: String,
    pub added_at: Option<Timestamp>,
    pub age_seconds: Option<u64>,
    /// When the configured job will release it; `None` if never or unknown.
    pub release_at: Option<Timestamp>,
    pub states: u64,
    /// Why it deserves a second look.
    pub flags: Vec<Flag>,
    /// When it was activated last, within 24 hours; `None` if never or unknown.
    pub activated_at: Option<Timestamp>,
    /// The parsed network, for sorting and matching.
    #[serde(skip)]
    pub net: IpNet,
}

/// Judges the entries of the table. `states_of` returns the live states of an address, which
/// it is given in its IPv4 form where it has one; the entry itself stays as the table has it.
pub fn judge_entries(
    entries: &[Entry],
    expiry: &Judged,
    now: Timestamp,
    zone: &TimeZone,
    around: &Surroundings,
    states_of: impl Fn(&IpNet) -> u64,
) -> Vec<Blocked> {
    let blocked = |entry: &Entry| Blocked {
        address: entry_text(entry),
        added_at: entry.since,
        age_seconds: entry_age(entry.since, now),
        release_at: entry_age(entry.since, now)
            .and(entry.since)
            .and_then(|since| expiry.release_at(since, now, zone)),
        states: states_of(&canonical_net(entry.net)),
        activated_at: None,
        flags: around.flags_of(&entry.net),
        net: entry.net,
    };
    entries.iter().map(blocked).collect()
}

/// Marks those that were activated; `clients` are IPv4 addresses in that form, and when each was activated last.
pub fn mark_customers(blocked: &mut [Blocked], clients: &BTreeMap<IpAddr, Timestamp>) {
    for entry in blocked {
        let net = canonical_net(entry.net);
        let held = clients.iter().filter(|(address, _)| net.contains(*address));
        entry.activated_at = held.map(|(_, at)| *at).max();
        if entry.activated_at.is_some() {
            entry.flags.push(Flag::Customer);
        }
    }
}

/// Returns the age of an entry. It is unknown without a time, and where that lies ahead of the firewall's clock, which was set
/// back since; a minute is allowed, as the table is read after the clock.
pub fn entry_age(since: Option<Timestamp>, now: Timestamp) -> Option<u64> {
    const AHEAD: i64 = 60;
    let since = since?;
    (now.duration_since(since).as_secs() >= -AHEAD).then(|| age_seconds(since, now))
}

/// Returns whole seconds from `since` to `now`; a clock that stepped back gives 0.
pub fn age_seconds(since: Timestamp, now: Timestamp) -> u64 {
    u64::try_from(now.duration_since(since).as_secs()).unwrap_or_default()
}

pub fn entry_text(entry: &Entry) -> String {
    let sign = if entry.negated { "!" } else { "" };
    if entry.net.prefix_len() == entry.net.max_prefix_len() {
        format!("{sign}{}", entry.net.addr())
    } else {
        format!("{sign}{}", entry.net)
    }
}

/// Returns the warnings that matter at night: who is blocked and should not be, and that nothing expires.
pub fn blocked_warnings(blocked: &[Blocked], expiry: &Judged, table: &TableName) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let mut warn = |flag: Flag, code: &'static str, text: &str| {
        let hit: Vec<&str> = blocked
            .iter()
            .filter(|entry| entry.flags.contains(&flag))
            .map(|entry| entry.address.as_str())
            .collect();
        if let Some(names) = name_some(&hit) {
            warnings.push(Warning::new(code, format!("{names} {text}")));
        }
    };
    warn(
        Flag::Operator,
        "operator-blocked",
        "is the address you work from: new connections from it are dropped on every port, this one included once it ends.",
    );
    warn(
        Flag::Gateway,
        "gateway-blocked",
        "is a gateway of this firewall. A router in front hides the clients behind its own address, so one abuser blocks them all.",
    );
    warn(Flag::Protected, "protected-blocked", "lies in a network you protect.");
    warn(
        Flag::OwnSubnet,
        "own-subnet-blocked",
        "lies in the firewall's own networks: a local host, or clients hidden behind one address.",
    );
    warn(
        Flag::Customer,
        "customer-blocked",
        "was activated within the last day: a customer rather than a scanner.",
    );
    let hidden = |entry: &&Blocked| {
        let others = |flag: &&Flag| **flag != Flag::Customer;
        entry.flags.iter().filter(others).eq([&Flag::Private])
    };
    let private: Vec<&str> =
        blocked.iter().filter(hidden).map(|entry| entry.address.as_str()).collect();
    if let Some(names) = name_some(&private) {
        warnings.push(Warning::new("private-blocked", format!("{names} is a private address: something translates the clients' addresses before they arrive, so one abuser blocks them all.")));
    }
    if !blocked.is_empty() {
        warnings.extend(expiry.warning(table));
    }
    warnings
}

/// Names up to three of the addresses; `None` when there are none.
fn name_some(addresses: &[&str]) -> Option<String> {
    match addresses {
        [] => None,
        [one] => Some((*one).to_owned()),
        [first, ..] => Some(format!("{first} (and {} more)", addresses.len() - 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::virusprot::expiry::Expiry;

    fn no_expiry() -> Judged {
        Judged { expiry: Expiry::None, overdue: None }
    }

    #[test]
    fn a_mapped_entry_is_judged_as_the_ipv4_one_and_printed_as_it_is() {
        let around = Surroundings {
            operator: "198.51.100.7".parse().ok(),
            protected: vec!["198.51.100.0/24".parse().unwrap()],
            ..Surroundings::default()
        };
        let entry = Entry {
            net: "::ffff:198.51.100.7/128".parse().unwrap(),
            ..crate::domain::pf::table::parse_table_entries(b"   198.51.100.9\n").value.remove(0)
        };
        let now = Timestamp::UNIX_EPOCH;
        let asked = |net: &IpNet| u64::from(net.to_string() == "198.51.100.7/32");
        let judged = judge_entries(&[entry], &no_expiry(), now, &TimeZone::UTC, &around, asked);
        assert_eq!(judged[0].flags, [Flag::Protected, Flag::Operator]);
        assert_eq!(judged[0].states, 1);
        assert_eq!(judged[0].address, "::ffff:198.51.100.7");
    }

    #[test]
    fn a_clock_set_back_leaves_no_age() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let judged = |ahead: i64| {
            let entry = Entry {
                since: Timestamp::from_second(1_000_000 + ahead).ok(),
                ..crate::domain::pf::table::parse_table_entries(b"   198.51.100.9\n")
                    .value
                    .remove(0)
            };
            let around = Surroundings::default();
            judge_entries(&[entry], &no_expiry(), now, &TimeZone::UTC, &around, |_| 0).remove(0)
        };
        assert_eq!(judged(-5).age_seconds, Some(5));
        // Blocked between the reading of the clock and that of the table.
        assert_eq!(judged(20).age_seconds, Some(0));
        for ahead in [120, 90_000, 2_000_000_000] {
            assert_eq!(judged(ahead).age_seconds, None, "{ahead}");
        }
    }

    #[test]
    fn customers_are_marked_also_by_network_and_in_their_mapped_form() {
        let entries: Vec<Entry> = ["::ffff:198.51.100.7/128", "203.0.113.0/24", "192.0.2.1/32"]
            .iter()
            .map(|net| Entry {
                net: net.parse().unwrap(),
                ..crate::domain::pf::table::parse_table_entries(b"   198.51.100.9\n")
                    .value
                    .remove(0)
            })
            .collect();
        let (now, around) = (Timestamp::UNIX_EPOCH, Surroundings::default());
        let mut judged = judge_entries(&entries, &no_expiry(), now, &TimeZone::UTC, &around, |_| 0);
        let at = |second| Timestamp::from_second(second).unwrap();
        let clients = BTreeMap::from([
            ("198.51.100.7".parse().unwrap(), at(5)),
            ("203.0.113.4".parse().unwrap(), at(6)),
            ("203.0.113.9".parse().unwrap(), at(7)),
        ]);
        mark_customers(&mut judged, &clients);
        let marked: Vec<Option<i64>> =
            judged.iter().map(|entry| entry.activated_at.map(Timestamp::as_second)).collect();
        assert_eq!(marked, [Some(5), Some(7), None]);
        assert!(judged[1].flags.contains(&Flag::Customer) && judged[2].flags.is_empty());
    }
}
