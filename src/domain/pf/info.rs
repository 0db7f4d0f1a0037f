//! `pfctl -vsi` and `pfctl -sm`: is pf on, what it counts of itself, its limits.
//!
//! `-si` is headings and indented lines below them. Only what kmsctl shows or judges is kept; the rest is recognised, so
//! that a line of a kind unknown to us is reported.

use std::collections::BTreeMap;

use super::lines::{self, Parsed};
use super::text::whole_number;

/// What kmsctl reads of `pfctl -si`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Info {
    /// `Status: Enabled`.
    pub enabled: bool,
    /// Present states.
    pub states: Option<u64>,
    /// Present source nodes (`-v`).
    pub source_nodes: Option<u64>,
    /// The limit counter `overload table insertion` (`-v`).
    pub overload_insertions: Option<u64>,
    /// A host id, a checksum or a counter was printed: only a pfctl that may ask the kernel has these.
    pub is_of_kernel: bool,
}

/// `pfctl -sm`: hard limits by name; `None` is unlimited.
pub type Limits = BTreeMap<String, Option<u64>>;

/// The heading that indented lines belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Section {
    /// Nothing is indented below it.
    None,
    StateTable,
    SourceTable,
    Counters,
    LimitCounters,
    /// The `loginterface` and the syncookies: read over.
    Other,
}

/// Parses `-si`, with `-v` or without.
pub fn parse_pf_info(text: &[u8]) -> Parsed<Info> {
    let mut info = Info::default();
    let mut section = Section::None;
    let gathered = lines::gather_lines(text, |line| {
        if line.starts_with(' ') {
            return parse_indented(&mut info, section, line.trim_ascii()).is_some();
        }
        let heading = parse_heading(&mut info, line);
        section = heading.unwrap_or(Section::None);
        heading.is_some()
    });
    gathered.with_value(info)
}

/// Parses `-sm`: `states        hard limit  1000000`.
pub fn parse_limits(text: &[u8]) -> Parsed<Limits> {
    let mut limits = Limits::new();
    let gathered = lines::gather_lines(text, |line| {
        let Some((name, limit)) = parse_limit(line) else {
            return false;
        };
        limits.insert(name.to_owned(), limit).is_none()
    });
    gathered.with_value(limits)
}

fn parse_limit(line: &str) -> Option<(&str, Option<u64>)> {
    let (name, rest) = line.split_once(' ')?;
    let limit = match rest.trim_start() {
        "unlimited" => None,
        rest => Some(whole_number(rest.strip_prefix("hard limit ")?.trim_start())?),
    };
    (!name.is_empty()).then_some((name, limit))
}

/// Reads a line that does not begin with a blank.
fn parse_heading(info: &mut Info, line: &str) -> Option<Section> {
    if let Some(status) = line.strip_prefix("Status: ") {
        info.enabled = match status.split(' ').next()? {
            "Enabled" => true,
            "Disabled" => false,
            _ => return None,
        };
        return Some(Section::None);
    }
    if let Some(digits) = line.strip_prefix("Hostid:").or(line.strip_prefix("Checksum:")) {
        let digits = digits.trim().strip_prefix("0x")?;
        let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        info.is_of_kernel |= plain;
        return plain.then_some(Section::None);
    }
    match line {
        "Source Tracking Table" => Some(Section::SourceTable),
        "Counters" => Some(Section::Counters),
        "Limit Counters" => Some(Section::LimitCounters),
        "Syncookies" => Some(Section::Other),
        _ if line.starts_with("State Table ") => Some(Section::StateTable),
        _ if line.starts_with("Interface Stats for ") => Some(Section::Other),
        _ if line.starts_with("Reassemble ") => Some(Section::None),
        _ => None,
    }
}

/// Reads an indented line, its outer blanks removed.
fn parse_indented(info: &mut Info, section: Section, line: &str) -> Option<()> {
    if section == Section::Other {
        return Some(());
    }
    let (name, value) = split_counter(line)?;
    match (section, name) {
        (Section::None, _) => return None,
        (Section::StateTable, "current entries") => info.states = Some(value),
        (Section::SourceTable, "current entries") => info.source_nodes = Some(value),
        (Section::LimitCounters, "overload table insertion") => {
            info.overload_insertions = Some(value);
        }
        (Section::StateTable | Section::Counters, _) => info.is_of_kernel = true,
        _ => {}
    }
    Some(())
}

/// Splits `overload table insertion            3750            0.0/s` into name and total.
fn split_counter(line: &str) -> Option<(&str, u64)> {
    let without_rate = match line.rsplit_once(' ') {
        Some((before, rate)) if rate.ends_with("/s") => before.trim_end(),
        _ => line,
    };
    let (name, value) = without_rate.rsplit_once(' ')?;
    let name = name.trim_end();
    (!name.is_empty()).then_some((name, whole_number(value)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const VERBOSE: &[u8] = include_bytes!("../../../tests/fixtures/pfctl/si-loginterface.14.txt");
    const DISABLED: &[u8] = include_bytes!("../../../tests/fixtures/pfctl/si-disabled.12.txt");
    const LIMITS: &[u8] = include_bytes!("../../../tests/fixtures/pfctl/sm.14.txt");

    #[test]
    fn the_verbose_form_is_read_whole() {
        let parsed = parse_pf_info(VERBOSE);
        assert_eq!(parsed.unread, []);
        let expected = Info {
            enabled: true,
            states: Some(0),
            source_nodes: Some(6),
            overload_insertions: Some(3750),
            is_of_kernel: true,
        };
        assert_eq!(parsed.value, expected);
    }

    #[test]
    fn a_disabled_pf_is_seen() {
        let parsed = parse_pf_info(DISABLED);
        assert_eq!(parsed.unread, []);
        assert!(!parsed.value.enabled);
    }

    #[test]
    fn a_status_without_the_kernels_numbers_is_seen() {
        let text = b"Status: Disabled\n\nState Table                          Total             Rate\n  current entries                        0\n";
        let parsed = parse_pf_info(text);
        assert_eq!(parsed.unread, []);
        assert!(!parsed.value.is_of_kernel);
        for more in [
            "Hostid:   0x1f2e3d4c\n",
            "Checksum: 0xa5\n",
            "  searches 1 0.0/s\n",
            "Counters\n  match 1\n",
        ] {
            let text = [&text[..], more.as_bytes()].concat();
            assert!(parse_pf_info(&text).value.is_of_kernel, "{more}");
        }
    }

    #[test]
    fn limits_are_read_and_may_be_unlimited() {
        let parsed = parse_limits(LIMITS);
        assert_eq!(parsed.unread, []);
        assert_eq!(parsed.value["states"], Some(1_000_000));
        assert_eq!(parsed.value["table-entries"], Some(400_000));
        assert_eq!(parsed.value.len(), LIMITS.split(|byte| *byte == b'\n').count() - 1);
        let more = parse_limits(b"anchors       unlimited\neth-anchors   hard limit 512\n");
        assert_eq!((more.value["anchors"], more.value["eth-anchors"]), (None, Some(512)));
        assert_eq!(more.unread, []);
    }

    #[test]
    fn rubbish_is_reported() {
        let text = "  stray  1\nStatus: Perhaps\nHostid:   0xzz\nCounters\n  match  many  0.0/s\n  match  1  0.0/s\nWhat is this\n  x 1 0.0/s\n";
        let unread: Vec<usize> =
            parse_pf_info(text.as_bytes()).unread.iter().map(|unread| unread.line).collect();
        assert_eq!(unread, [1, 2, 3, 5, 7, 8]);
        assert_eq!(parse_limits(b"states\nstates hard limit many\n").unread.len(), 2);
    }

    proptest! {
        #[test]
        fn mutated_samples_never_panic(changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..50)) {
            let mut text = VERBOSE.to_vec();
            for (place, byte) in changes {
                let place = place.index(text.len());
                text[place] = byte;
            }
            parse_pf_info(&text);
            parse_limits(&text);
        }

        #[test]
        fn arbitrary_bytes_never_panic(text: Vec<u8>) {
            parse_pf_info(&text);
            parse_limits(&text);
        }
    }
}
