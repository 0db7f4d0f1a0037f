//! `pfctl -vsi` and `pfctl -sm`: is pf on, its counters, its limits.

use std::collections::BTreeMap;

/// `pfctl -si`, with `-v` or without.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Info {
    /// `Status: Enabled`.
    pub enabled: bool,
    /// Present states.
    pub states: Option<u64>,
    /// Changes when the main ruleset changes (`-v`).
    pub checksum: Option<String>,
    /// The host id that states carry as creator (`-v`).
    pub host_id: Option<u32>,
    /// "Limit Counters" (`-v`) by their printed names, such as `overload table insertion`.
    pub limit_counters: BTreeMap<String, u64>,
    /// "Counters" by their printed names.
    pub counters: BTreeMap<String, u64>,
}

/// `pfctl -sm`: hard limits by name; `None` is unlimited.
pub type Limits = BTreeMap<String, Option<u64>>;
