//! `-si` and `-sm` as pfctl of FreeBSD 14 prints them.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use super::super::Verbosity;
use super::super::text::ClockTime;
use super::{Info, InterfaceStats, Lookups};

/// "Counters" in their order; `translate` came with FreeBSD 15.
pub const COUNTERS: [&str; 17] = [
    "match",
    "bad-offset",
    "fragment",
    "short",
    "normalize",
    "memory",
    "bad-timestamp",
    "congestion",
    "ip-option",
    "proto-cksum",
    "state-mismatch",
    "state-insert",
    "state-limit",
    "src-limit",
    "synproxy",
    "map-failed",
    "translate",
];

/// "Limit Counters" in their order; the last three came with FreeBSD 14.
pub const LIMIT_COUNTERS: [&str; 10] = [
    "max states per rule",
    "max-src-states",
    "max-src-nodes",
    "max-src-conn",
    "max-src-conn-rate",
    "overload table insertion",
    "overload flush states",
    "synfloods detected",
    "syncookies sent",
    "syncookies validated",
];

/// Returns a map's items in pfctl's order, unknown names last.
fn in_order<'a, T>(
    map: &'a BTreeMap<String, T>,
    order: &'a [&str],
) -> impl Iterator<Item = (&'a str, &'a T)> {
    let known = order.iter().filter_map(|name| map.get_key_value(*name));
    let unknown = map
        .iter()
        .filter(|(name, _)| !order.contains(&name.as_str()));
    known
        .chain(unknown)
        .map(|(name, value)| (name.as_str(), value))
}

/// Prints an [`Info`]; see [`Info::display`].
#[derive(Clone, Copy, Debug)]
pub struct DisplayInfo<'a> {
    info: &'a Info,
    verbose: bool,
}

impl<'a> DisplayInfo<'a> {
    pub(super) fn new(info: &'a Info, verbosity: Verbosity) -> Self {
        Self {
            info,
            verbose: verbosity != Verbosity::Plain,
        }
    }

    /// Prints a newline and `  NAME  TOTAL  RATE/s`.
    fn counter(&self, formatter: &mut fmt::Formatter<'_>, name: &str, total: u64) -> fmt::Result {
        write!(formatter, "\n  {name:<25} {total:>14} ")?;
        match self.info.running_seconds {
            // Doubles, as in pfctl: the last digit of a rounded rate depends on it.
            #[expect(clippy::cast_precision_loss, reason = "pfctl divides doubles")]
            Some(seconds) if seconds > 0 => {
                write!(formatter, "{:>14.1}/s", total as f64 / seconds as f64)
            }
            _ => write!(formatter, "{:>14}", ""),
        }
    }

    fn table(
        &self,
        formatter: &mut fmt::Formatter<'_>,
        current: Option<u64>,
        lookups: Option<Lookups>,
    ) -> fmt::Result {
        if let Some(current) = current {
            write!(
                formatter,
                "\n  {:<25} {current:>14} {:>14}",
                "current entries", ""
            )?;
        }
        let Some(lookups) = lookups else {
            return Ok(());
        };
        self.counter(formatter, "searches", lookups.searches)?;
        self.counter(formatter, "inserts", lookups.inserts)?;
        self.counter(formatter, "removals", lookups.removals)
    }

    fn status(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut status = String::from(if self.info.enabled {
            "Status: Enabled"
        } else {
            "Status: Disabled"
        });
        if let Some(seconds) = self.info.running_seconds {
            write!(
                status,
                " for {} days {}",
                seconds / 86_400,
                ClockTime(seconds % 86_400)
            )?;
        }
        let debug = self
            .info
            .debug
            .as_ref()
            .map(|debug| format!("Debug: {debug}"));
        writeln!(formatter, "{status:<44}{:>15}", debug.unwrap_or_default())
    }

    /// Prints what only `-v` shows at the end.
    fn verbose_end(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let info = self.info;
        if !info.limit_counters.is_empty() {
            formatter.write_str("\nLimit Counters")?;
        }
        for (name, total) in in_order(&info.limit_counters, &LIMIT_COUNTERS) {
            self.counter(formatter, name, *total)?;
        }
        if let Some(cookies) = &info.syncookies {
            write!(formatter, "\nSyncookies\n  {:<25} {}", "mode", cookies.mode)?;
            write!(formatter, "\n  {:<25} {}", "active", cookies.active)?;
        }
        if let Some(reassemble) = &info.reassemble {
            // The word is right-aligned, then comes a blank and `no-df` or nothing.
            let (word, no_df) = reassemble.split_once(' ').unwrap_or((reassemble, ""));
            write!(formatter, "\nReassemble {word:>24} {no_df}")?;
        }
        Ok(())
    }
}

/// Prints all that is known, as with `-v`.
impl fmt::Display for Info {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.display(Verbosity::Verbose).fmt(formatter)
    }
}

impl fmt::Display for DisplayInfo<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let info = self.info;
        self.status(formatter)?;
        if self.verbose {
            if let Some(id) = info.host_id {
                write!(formatter, "\nHostid:   0x{id:08x}")?;
            }
            if let Some(sum) = &info.checksum {
                write!(formatter, "\nChecksum: {sum}\n")?;
            }
        }
        if let Some(stats) = &info.interface {
            writeln!(formatter, "\n{stats}")?;
        }
        write!(
            formatter,
            "\n{:<27} {:>14} {:>16}",
            "State Table", "Total", "Rate"
        )?;
        self.table(formatter, info.states, info.state_table)?;
        if self.verbose && (info.source_nodes.is_some() || info.source_table.is_some()) {
            formatter.write_str("\nSource Tracking Table")?;
            self.table(formatter, info.source_nodes, info.source_table)?;
        }
        formatter.write_str("\nCounters")?;
        for (name, total) in in_order(&info.counters, &COUNTERS) {
            self.counter(formatter, name, *total)?;
        }
        if self.verbose {
            self.verbose_end(formatter)
        } else {
            Ok(())
        }
    }
}

impl fmt::Display for InterfaceStats {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "Interface Stats for {:<16} {:>5} {:>16}",
            self.name, "IPv4", "IPv6"
        )?;
        let mut line = |name: &str, (four, six): (u64, u64)| {
            write!(formatter, "\n{name:<27} {four:>14} {six:>16}")
        };
        line("  Bytes In", self.bytes_in)?;
        line("  Bytes Out", self.bytes_out)?;
        formatter.write_str("\n  Packets In")?;
        let mut line = |name: &str, (four, six): (u64, u64)| {
            write!(formatter, "\n    {name:<23} {four:>14} {six:>16}")
        };
        line("Passed", self.passed_in)?;
        line("Blocked", self.blocked_in)?;
        formatter.write_str("\n  Packets Out")?;
        let mut line = |name: &str, (four, six): (u64, u64)| {
            write!(formatter, "\n    {name:<23} {four:>14} {six:>16}")
        };
        line("Passed", self.passed_out)?;
        line("Blocked", self.blocked_out)
    }
}
