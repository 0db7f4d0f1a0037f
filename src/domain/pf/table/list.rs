//! `pfctl -sT`, with `-v` or `-vv`: which tables there are, their flags and totals.

use std::fmt;

use jiff::Timestamp;

use super::super::lines::{self, Parsed};
use super::super::text::{Ctime, parse_ctime, whole_number};
use super::Traffic;
use super::parse::{parse_labelled_pair, parse_traffic};
use super::print;

/// One table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Its name.
    pub name: String,
    /// The anchor it lives in, if not the main ruleset.
    pub anchor: Option<String>,
    /// From `-v`.
    pub flags: Option<TableFlags>,
    /// From `-vv`.
    pub totals: Option<TableTotals>,
}

/// The seven letters `cpairhC` of `-sT -v`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableFlags {
    /// `c`: cannot be changed.
    pub constant: bool,
    /// `p`: stays without being referenced.
    pub persistent: bool,
    /// `a`: in use.
    pub active: bool,
    /// `i`: being loaded.
    pub inactive: bool,
    /// `r`: a rule refers to it.
    pub referenced: bool,
    /// `h`: hides or is hidden by a table of the same name in an anchor.
    pub shadowed: bool,
    /// `C`: keeps counters per entry.
    pub counters: bool,
}

/// What `-sT -vv` prints of a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableTotals {
    /// Entries.
    pub addresses: u64,
    /// When the table's statistics were last zeroed.
    pub since: Option<Timestamp>,
    /// References by anchors and by rules.
    pub references: (u64, u64),
    /// Look-ups that did not match, and that did.
    pub evaluations: (u64, u64),
    /// In/Block, In/Pass, In/XPass, Out/Block, Out/Pass, Out/XPass.
    pub traffic: [Traffic; 6],
}

const TRAFFIC: [&str; 6] = [
    "In/Block",
    "In/Pass",
    "In/XPass",
    "Out/Block",
    "Out/Pass",
    "Out/XPass",
];

/// Parses `-sT`, `-sT -v` or `-sT -vv`.
pub fn parse_list(text: &[u8]) -> Parsed<Vec<Listing>> {
    let mut tables: Vec<Listing> = Vec::new();
    let gathered = lines::gather_lines(text, |line| {
        if let Some(about) = line.strip_prefix('\t') {
            let table = tables.last_mut();
            return table.is_some_and(|table| parse_total(table, about).is_some());
        }
        let table = parse_listing(line);
        let understood = table.is_some();
        tables.extend(table);
        understood
    });
    gathered.with_value(tables)
}

/// Reads `[FLAGS<TAB>]NAME[<TAB>ANCHOR]`.
fn parse_listing(line: &str) -> Option<Listing> {
    let (first, rest) = line.split_once('\t').unwrap_or((line, ""));
    let flags = parse_table_flags(first);
    let (name, anchor) = match flags {
        Some(_) => rest.split_once('\t').unwrap_or((rest, "")),
        None => (first, rest),
    };
    let plain = !name.is_empty() && !name.contains(' ') && !anchor.contains(['\t', ' ']);
    plain.then(|| Listing {
        name: name.to_owned(),
        anchor: (!anchor.is_empty()).then(|| anchor.to_owned()),
        flags,
        totals: None,
    })
}

/// Reads the flag letters, each in its place.
fn parse_table_flags(text: &str) -> Option<TableFlags> {
    let letters: [u8; 7] = text.as_bytes().try_into().ok()?;
    let mut set = [false; 7];
    for ((set, letter), name) in set.iter_mut().zip(letters).zip(*b"cpairhC") {
        *set = letter == name;
        if !*set && letter != b'-' {
            return None;
        }
    }
    let [
        constant,
        persistent,
        active,
        inactive,
        referenced,
        shadowed,
        counters,
    ] = set;
    Some(TableFlags {
        constant,
        persistent,
        active,
        inactive,
        referenced,
        shadowed,
        counters,
    })
}

/// Reads a line below a table into it.
fn parse_total(table: &mut Listing, line: &str) -> Option<()> {
    let (name, value) = line.split_once(':')?;
    let totals = table.totals.get_or_insert_with(TableTotals::default);
    match name {
        "Addresses" => totals.addresses = whole_number(value.trim_start_matches(' '))?,
        "Cleared" => totals.since = Some(parse_ctime(value)?),
        "References" => totals.references = parse_labelled_pair(value, "Anchors:", "Rules:")?,
        "Evaluations" => totals.evaluations = parse_labelled_pair(value, "NoMatch:", "Match:")?,
        _ => {
            let place = TRAFFIC.iter().position(|traffic| *traffic == name)?;
            *totals.traffic.get_mut(place)? = parse_traffic(value)?;
        }
    }
    Some(())
}

impl fmt::Display for Listing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(flags) = self.flags {
            write!(formatter, "{flags}\t")?;
        }
        formatter.write_str(&self.name)?;
        if let Some(anchor) = &self.anchor {
            write!(formatter, "\t{anchor}")?;
        }
        match &self.totals {
            Some(totals) => totals.fmt(formatter),
            None => Ok(()),
        }
    }
}

impl fmt::Display for TableFlags {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = [
            self.constant,
            self.persistent,
            self.active,
            self.inactive,
            self.referenced,
            self.shadowed,
            self.counters,
        ];
        for (set, letter) in set.into_iter().zip("cpairhC".chars()) {
            write!(formatter, "{}", if set { letter } else { '-' })?;
        }
        Ok(())
    }
}

/// Prints each line with a newline before it.
impl fmt::Display for TableTotals {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "\n\tAddresses:   {}", self.addresses)?;
        if let Some(since) = self.since {
            write!(formatter, "\n\tCleared:     {}", Ctime(since))?;
        }
        let (anchors, rules) = self.references;
        print::print_pair(
            formatter,
            "References:",
            ("Anchors:", anchors),
            ("Rules:", rules),
        )?;
        let (misses, matches) = self.evaluations;
        print::print_pair(
            formatter,
            "Evaluations:",
            ("NoMatch:", misses),
            ("Match:", matches),
        )?;
        for (name, traffic) in TRAFFIC.iter().zip(self.traffic) {
            print::print_traffic(formatter, &format!("{name}:"), traffic)?;
        }
        Ok(())
    }
}
