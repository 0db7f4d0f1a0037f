//! `-si` and `-sm` → values. `-si` is headings and indented lines below them.

use super::super::lines::{self, Parsed};
use super::super::text::{take_clock, take_digits, whole_number};
use super::{Info, InterfaceStats, Limits, Lookups, Syncookies};

/// The heading that indented lines belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Section {
    None,
    StateTable,
    SourceTable,
    Counters,
    LimitCounters,
    Syncookies,
    Interface,
    PacketsIn,
    PacketsOut,
}

/// Parses `-si`, with `-v` or without.
pub fn parse_pf_info(text: &[u8]) -> Parsed<Info> {
    let mut info = Info::default();
    let mut section = Section::None;
    let gathered = lines::gather_lines(text, |line| {
        if line.starts_with(' ') {
            return parse_indented(&mut info, &mut section, line.trim_ascii()).is_some();
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
        rest => Some(whole_number(
            rest.strip_prefix("hard limit ")?.trim_start(),
        )?),
    };
    (!name.is_empty()).then_some((name, limit))
}

/// Reads a line that does not begin with a blank.
fn parse_heading(info: &mut Info, line: &str) -> Option<Section> {
    if let Some(rest) = line.strip_prefix("Status: ") {
        return parse_status(info, rest).map(|()| Section::None);
    }
    if let Some(id) = line.strip_prefix("Hostid:") {
        let id = id.trim_start().strip_prefix("0x")?;
        info.host_id = Some(u32::from_str_radix(id, 16).ok()?);
        return Some(Section::None);
    }
    if let Some(sum) = line.strip_prefix("Checksum: ") {
        let digits = sum.strip_prefix("0x")?;
        let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        info.checksum = Some(sum.to_owned()).filter(|_| plain);
        return plain.then_some(Section::None);
    }
    if let Some(rest) = line.strip_prefix("Interface Stats for ") {
        let name = rest.split(' ').next()?.to_owned();
        info.interface = Some(InterfaceStats {
            name,
            ..InterfaceStats::default()
        });
        return Some(Section::Interface);
    }
    if let Some(rest) = line.strip_prefix("Reassemble ") {
        info.reassemble = Some(rest.trim().to_owned());
        return Some(Section::None);
    }
    match line {
        "Source Tracking Table" => Some(Section::SourceTable),
        "Counters" => Some(Section::Counters),
        "Limit Counters" => Some(Section::LimitCounters),
        "Syncookies" => Some(Section::Syncookies),
        _ if line.starts_with("State Table ") => Some(Section::StateTable),
        _ => None,
    }
}

/// Reads `Enabled for 14 days 06:56:07          Debug: Urgent`.
fn parse_status(info: &mut Info, text: &str) -> Option<()> {
    let (state, debug) = match text.split_once("Debug: ") {
        Some((state, debug)) => (state, Some(debug)),
        None => (text, None),
    };
    let (state, running) = match state.trim_end().split_once(" for ") {
        Some((state, running)) => (state, Some(running)),
        None => (state.trim_end(), None),
    };
    info.enabled = match state {
        "Enabled" => true,
        "Disabled" => false,
        _ => return None,
    };
    info.debug = debug.map(|debug| debug.trim_end().to_owned());
    if let Some(running) = running {
        let (days, rest) = take_digits(running)?;
        let (seconds, rest) = take_clock(rest.strip_prefix(" days ")?)?;
        let total = days.checked_mul(86_400)?.checked_add(seconds)?;
        info.running_seconds = Some(total).filter(|_| rest.is_empty());
        return info.running_seconds.map(|_| ());
    }
    Some(())
}

/// Reads an indented line, its outer blanks removed.
fn parse_indented(info: &mut Info, section: &mut Section, line: &str) -> Option<()> {
    match *section {
        Section::None => None,
        Section::StateTable => {
            let (name, value) = split_counter(line)?;
            parse_state_table(&mut info.states, &mut info.state_table, name, value)
        }
        Section::SourceTable => {
            let (name, value) = split_counter(line)?;
            parse_state_table(&mut info.source_nodes, &mut info.source_table, name, value)
        }
        Section::Counters => {
            let (name, value) = split_counter(line)?;
            info.counters
                .insert(name.to_owned(), value)
                .is_none()
                .then_some(())
        }
        Section::LimitCounters => {
            let (name, value) = split_counter(line)?;
            info.limit_counters
                .insert(name.to_owned(), value)
                .is_none()
                .then_some(())
        }
        Section::Syncookies => {
            let (name, value) = line.split_once(' ')?;
            let cookies = info.syncookies.get_or_insert_with(Syncookies::default);
            match name {
                "mode" => value.trim_start().clone_into(&mut cookies.mode),
                "active" => value.trim_start().clone_into(&mut cookies.active),
                _ => return None,
            }
            Some(())
        }
        Section::Interface | Section::PacketsIn | Section::PacketsOut => {
            parse_interface_line(info.interface.as_mut()?, section, line)
        }
    }
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

fn parse_state_table(
    current: &mut Option<u64>,
    lookups: &mut Option<Lookups>,
    name: &str,
    value: u64,
) -> Option<()> {
    if name == "current entries" {
        *current = Some(value);
        return Some(());
    }
    let lookups = lookups.get_or_insert_with(Lookups::default);
    match name {
        "searches" => lookups.searches = value,
        "inserts" => lookups.inserts = value,
        "removals" => lookups.removals = value,
        _ => return None,
    }
    Some(())
}

fn parse_interface_line(
    stats: &mut InterfaceStats,
    section: &mut Section,
    line: &str,
) -> Option<()> {
    match line {
        "Packets In" => *section = Section::PacketsIn,
        "Packets Out" => *section = Section::PacketsOut,
        _ => {
            let (before, six) = line.rsplit_once(' ')?;
            let (name, four) = before.trim_end().rsplit_once(' ')?;
            let pair = (whole_number(four)?, whole_number(six)?);
            let place = match (name.trim_end(), *section) {
                ("Bytes In", _) => &mut stats.bytes_in,
                ("Bytes Out", _) => &mut stats.bytes_out,
                ("Passed", Section::PacketsIn) => &mut stats.passed_in,
                ("Blocked", Section::PacketsIn) => &mut stats.blocked_in,
                ("Passed", Section::PacketsOut) => &mut stats.passed_out,
                ("Blocked", Section::PacketsOut) => &mut stats.blocked_out,
                _ => return None,
            };
            *place = pair;
        }
    }
    Some(())
}
