//! `pfctl -vsS`: source-tracking nodes, one per (source, rule).

use std::net::IpAddr;

/// One source node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceNode {
    /// The source.
    pub address: IpAddr,
    /// Where sticky translation sends it; `0.0.0.0` or `::` if nowhere.
    pub target: IpAddr,
    /// States of the source under this rule.
    pub states: u32,
    /// Of these, those that completed the handshake.
    pub connections: u32,
    /// The rate as printed; kept for printing only: it is wrong on FreeBSD 14 and 15.
    pub printed_rate: PrintedRate,
    /// Seconds since the node was made (`-v`).
    pub age_seconds: Option<u64>,
    /// Seconds until it goes (`-v`, printed only without states; always 0 on FreeBSD 14).
    pub expires_seconds: Option<u64>,
    /// Packets and bytes (`-v`).
    pub traffic: Option<super::table::Traffic>,
    /// `filter`, `nat` or `rdr`, and the rule's number (`-v`).
    pub rule: Option<(String, u32)>,
    /// The kind of node (`-v`, FreeBSD 15), such as `limit source-track`.
    pub kind: Option<String>,
}

/// `rate 9.8/60s`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PrintedRate {
    /// Tenths of connections.
    pub tenths: u64,
    /// Seconds.
    pub seconds: u32,
}
