//! `-T show`, `-T test` and the marks of `-T add|delete|expire|replace -v` → values.

use ipnet::IpNet;

use super::super::lines::{self, Bounded, Parsed};
use super::super::text;
use super::super::text::{is_closed, parse_ctime, take_labelled};
use super::{Entry, Found, Mark, Marked};

/// More entries than this are not looked at: pfSense's own limit is 400,000, for all tables together.
const MOST_ENTRIES: usize = 400_000;

/// Parses `-T show`, with `-v` or without.
pub fn parse_table_entries(text: &[u8]) -> Parsed<Vec<Entry>> {
    let mut entries: Bounded<Entry> = Bounded::new(MOST_ENTRIES);
    let gathered = lines::gather_lines(text, |line| match line.strip_prefix('\t') {
        Some(about) => {
            entries.last_mut().is_some_and(|entry| parse_entry_detail(entry, about).is_some())
        }
        None => match parse_marked_address(line) {
            Some((Mark::None, negated, net)) => {
                entries.push(Entry { negated, net, since: None });
                true
            }
            _ => false,
        },
    });
    gathered.with_list(entries)
}

/// Parses the stdout of `-T test -v` (only what is in the table) or `-vv` (every address asked about).
pub fn parse_test(text: &[u8]) -> Parsed<Vec<Marked>> {
    let mut all = Bounded::new(MOST_ENTRIES);
    let gathered = lines::gather_lines(text, |line| {
        let marked = parse_marked(line);
        if let Some(marked) = marked {
            all.push(marked);
        }
        marked.is_some()
    });
    gathered.with_list(all)
}

/// Parses the stdout of `-T add|delete|expire|replace -v`: the addresses that were changed.
pub fn parse_changes(text: &[u8]) -> Parsed<Vec<Marked>> {
    parse_test(text)
}

/// Reads `M  192.0.2.1[<TAB> 192.0.2.0/24]`.
fn parse_marked(line: &str) -> Option<Marked> {
    let (asked, found) = match line.split_once('\t') {
        Some((asked, " nomatch")) => (asked, Some(Found::Nothing)),
        Some((asked, entry)) => (asked, Some(parse_found(entry)?)),
        None => (line, None),
    };
    let (mark, negated, net) = parse_marked_address(asked)?;
    Some(Marked { mark, negated, net, found })
}

fn parse_found(entry: &str) -> Option<Found> {
    let (negated, net) = parse_signed_address(entry)?;
    Some(Found::Entry { negated, net })
}

/// Reads a mark, a blank, a sign and an address.
fn parse_marked_address(line: &str) -> Option<(Mark, bool, IpNet)> {
    let mut rest = line.chars();
    let mark = match rest.next()? {
        ' ' => Mark::None,
        'M' => Mark::Match,
        'A' => Mark::Added,
        'D' => Mark::Deleted,
        'C' => Mark::Changed,
        'Z' => Mark::Cleared,
        'X' => Mark::Duplicate,
        'Y' => Mark::Conflict,
        _ => return None,
    };
    let (negated, net) = parse_signed_address(rest.as_str().strip_prefix(' ')?)?;
    Some((mark, negated, net))
}

/// Reads a blank or `!`, and an address or network.
fn parse_signed_address(text: &str) -> Option<(bool, IpNet)> {
    match text.strip_prefix('!') {
        Some(address) => Some((true, text::parse_net(address)?)),
        None => Some((false, text::parse_net(text.strip_prefix(' ')?)?)),
    }
}

/// Reads a line below an entry into it; `None` if it says nothing we know, or says it twice.
fn parse_entry_detail(entry: &mut Entry, line: &str) -> Option<()> {
    let (name, value) = line.split_once(':')?;
    if name == "Cleared" {
        let since = parse_ctime(value)?;
        return entry.since.replace(since).is_none().then_some(());
    }
    // The counters that a table has with the word `counters`; virusprot has none.
    let known = ["In/Block", "In/Pass", "Out/Block", "Out/Pass"].contains(&name);
    let rest = value.trim_start_matches(' ').strip_prefix('[')?;
    let (_, rest) = take_labelled(rest, "Packets:")?;
    let (_, rest) = take_labelled(rest, "Bytes:")?;
    (known && is_closed(rest)).then_some(())
}
