//! `pfctl -vsS`: source-tracking nodes, one per (source, rule).

use std::net::IpAddr;

/// One source node. The printed rate is not kept: it is wrong on FreeBSD 14 and 15.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceNode {
    /// The source.
    pub address: IpAddr,
    /// States of the source under this rule.
    pub states: u32,
    /// Of these, those that completed the handshake.
    pub connections: u32,
    /// Seconds since the node was made (`-v`).
    pub age_seconds: Option<u64>,
    /// `filter`, `nat` or `rdr`, and the rule's number (`-v`).
    pub rule: Option<(String, u32)>,
}
