//! `pfctl -t TABLE -T show -v`: addresses, when they were added, and their counters; what `-T test` and the
//! changing commands say of each address.

mod parse;
mod print;
#[cfg(test)]
mod tests;

use ipnet::IpNet;
use jiff::Timestamp;

pub use parse::{parse_changes, parse_table_entries, parse_test};
pub use print::DisplayEntry;

use super::Verbosity;
use crate::text::quoted;

/// One entry of a pf table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Printed with `!`: the address is excluded from the table.
    pub negated: bool,
    /// The address or network; a host has the full prefix length.
    pub net: IpNet,
    /// The "Cleared" time (whole seconds, read as UTC): when the entry was added, or its statistics last zeroed.
    pub since: Option<Timestamp>,
    /// Only for tables declared with `counters` (virusprot is not).
    pub counters: Option<EntryCounters>,
}

impl Entry {
    /// Prints the entry as `-T show` does, with `-v` also what is known of it; no newline at the end.
    pub fn display(&self, verbosity: Verbosity) -> DisplayEntry<'_> {
        DisplayEntry::new(self, verbosity)
    }
}

/// Packets and bytes of an [`Entry`], by direction and verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EntryCounters {
    /// Blocked inbound.
    pub in_block: Traffic,
    /// Passed inbound.
    pub in_pass: Traffic,
    /// Blocked outbound.
    pub out_block: Traffic,
    /// Passed outbound.
    pub out_pass: Traffic,
}

/// A packet and byte count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// A line of `-T test -vv`, or of `-T add|delete|expire|… -v`: an address and what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marked {
    /// Column 1.
    pub mark: Mark,
    /// Printed with `!`.
    pub negated: bool,
    /// The address or network asked about or changed.
    pub net: IpNet,
    /// What matched it (`-T test -vv` only).
    pub found: Option<Found>,
}

/// What pfctl did with an address, by the letter in column 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// Blank: nothing, or no match.
    None,
    /// `M`: it is in the table.
    Match,
    /// `A`: added.
    Added,
    /// `D`: deleted.
    Deleted,
    /// `C`: changed.
    Changed,
    /// `Z`: statistics zeroed.
    Cleared,
    /// `X`: given twice.
    Duplicate,
    /// `Y`: given both plain and negated.
    Conflict,
}

/// The second column of `-T test -vv`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// `nomatch`.
    Nothing,
    /// The entry that decided.
    Entry {
        /// It excludes the address.
        negated: bool,
        /// The entry.
        net: IpNet,
    },
}

/// The name of a pf table: 1 to 31 letters, digits, `_`, `-` or `.`, not starting with `-`.
///
/// pf allows more; nothing that pfSense makes uses it, and these need no quoting anywhere.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TableName(String);

impl TryFrom<String> for TableName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        Self::new(&name).ok_or_else(|| format!("{} is not the name of a table", quoted(&name)))
    }
}

impl From<TableName> for String {
    fn from(name: TableName) -> Self {
        name.0
    }
}

impl TableName {
    /// Checks and wraps a name.
    pub fn new(name: &str) -> Option<Self> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
        let fits = (1..=31).contains(&name.len()) && !name.starts_with('-');
        (fits && name.bytes().all(plain)).then(|| Self(name.to_owned()))
    }

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
