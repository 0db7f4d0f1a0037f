//! `pfctl -t TABLE -T show -v`: addresses, and when they were added; what `-T test` and the changing commands say of
//! each address.

mod parse;
#[cfg(test)]
mod tests;

use ipnet::IpNet;
use jiff::Timestamp;

pub use parse::{parse_changes, parse_table_entries, parse_test};

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
