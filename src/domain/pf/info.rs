//! `pfctl -vsi` and `pfctl -sm`: is pf on, its counters, its limits.

mod parse;
mod print;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use parse::{parse_limits, parse_pf_info};
pub use print::{COUNTERS, DisplayInfo, LIMIT_COUNTERS};

use super::Verbosity;

/// `pfctl -si`, with `-v` or without.
///
/// The printed rates (`N/s`) are not kept: they are the totals divided by [`Info::running_seconds`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Info {
    /// `Status: Enabled`.
    pub enabled: bool,
    /// How long it has been in that status, in seconds.
    pub running_seconds: Option<u64>,
    /// `Debug: Urgent`, without the first word.
    pub debug: Option<String>,
    /// Present states.
    pub states: Option<u64>,
    /// Work on the state table.
    pub state_table: Option<Lookups>,
    /// Present source nodes (`-v`).
    pub source_nodes: Option<u64>,
    /// Work on the source tracking table (`-v`).
    pub source_table: Option<Lookups>,
    /// Changes when the main ruleset changes (`-v`): `0x` and 32 hexadecimal digits.
    pub checksum: Option<String>,
    /// The host id that states carry as creator (`-v`).
    pub host_id: Option<u32>,
    /// "Limit Counters" (`-v`) by their printed names, such as `overload table insertion`.
    pub limit_counters: BTreeMap<String, u64>,
    /// "Counters" by their printed names.
    pub counters: BTreeMap<String, u64>,
    /// Only where a `loginterface` is set.
    pub interface: Option<InterfaceStats>,
    /// "Syncookies" (`-v`, from FreeBSD 14): `mode` and `active` as printed.
    pub syncookies: Option<Syncookies>,
    /// "Reassemble" (`-v`, from FreeBSD 14) as printed: `yes`, `no` or `yes no-df`.
    pub reassemble: Option<String>,
}

impl Info {
    /// Prints the information as `-si` does, with `-v` also what is known of it; no newline at the end.
    ///
    /// Rates are computed as pfctl computes them, from the totals.
    pub fn display(&self, verbosity: Verbosity) -> DisplayInfo<'_> {
        DisplayInfo::new(self, verbosity)
    }
}

/// Searches, inserts and removals of one of pf's tables since pf was enabled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lookups {
    /// Searches.
    pub searches: u64,
    /// Inserts.
    pub inserts: u64,
    /// Removals.
    pub removals: u64,
}

/// Traffic of the `loginterface`; each pair is IPv4 and IPv6.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InterfaceStats {
    /// The interface.
    pub name: String,
    /// Bytes in.
    pub bytes_in: (u64, u64),
    /// Bytes out.
    pub bytes_out: (u64, u64),
    /// Packets passed in.
    pub passed_in: (u64, u64),
    /// Packets blocked in.
    pub blocked_in: (u64, u64),
    /// Packets passed out.
    pub passed_out: (u64, u64),
    /// Packets blocked out.
    pub blocked_out: (u64, u64),
}

/// The syncookie settings as printed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Syncookies {
    /// `never`, `always` or `adaptive`.
    pub mode: String,
    /// `active` or `inactive`.
    pub active: String,
}

/// `pfctl -sm`: hard limits by name; `None` is unlimited.
pub type Limits = BTreeMap<String, Option<u64>>;
