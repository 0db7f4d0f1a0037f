//! A table entry as plans and the history hold it: the address in pfctl's own form, and since when.

use std::fmt;
use std::str::FromStr;

use ipnet::IpNet;
use jiff::Timestamp;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::domain::pf::table::Entry;
use crate::text::quoted;

/// An entry's address: `192.0.2.1`, `192.0.2.0/24`, `!192.0.2.7`. Read back it is checked, so that nothing but an
/// address can travel to pfctl, also from a plan that another person wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// The network, host bits cleared.
    pub net: IpNet,
    pub negated: bool,
}

impl Address {
    pub fn new(net: IpNet) -> Self {
        Self { net: net.trunc(), negated: false }
    }
}

impl From<&Entry> for Address {
    fn from(entry: &Entry) -> Self {
        Self { net: entry.net.trunc(), negated: entry.negated }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.negated {
            f.write_str("!")?;
        }
        if self.net.prefix_len() == self.net.max_prefix_len() {
            self.net.addr().fmt(f)
        } else {
            self.net.fmt(f)
        }
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (negated, rest) = match text.strip_prefix('!') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let net = rest
            .parse::<IpNet>()
            .or_else(|_| rest.parse::<std::net::IpAddr>().map(IpNet::from))
            .map_err(|_| format!("{} is not an address", quoted(text)))?;
        Ok(Self { net: net.trunc(), negated })
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedEntry {
    pub address: Address,
    /// Since when it was blocked; null if pf did not say.
    pub since: Option<Timestamp>,
}

impl From<&Entry> for PlannedEntry {
    fn from(entry: &Entry) -> Self {
        Self { address: entry.into(), since: entry.since }
    }
}
