//! One state's lines → fields. The form is pfctl's `print_state` of FreeBSD 12, 14 and 15.
//!
//! This is the inner loop over a million states: everything is a slice, and nothing is looked at twice.

use std::net::IpAddr;

use super::super::rule::Direction;
use super::super::swar;
use super::super::text;
use super::super::text::{take_clock, take_digits};
use super::view::{DetailView, HostView, IdentityView, StateView, rule_number};

/// Reads `IF PROTO HOST [(HOST)] ARROW HOST [(HOST)]       LEVELS`.
#[inline]
pub(super) fn parse_state_head(line: &str) -> Option<StateView<'_>> {
    let (interface, rest) = split_word(line)?;
    let (protocol, rest) = split_word(rest)?;
    let (left, rest) = host_word(rest)?;
    let (left_inside, rest) = parse_bracketed_host(rest)?;
    let (direction, rest) = match rest.as_bytes() {
        [b'<', b'-', b' ', ..] => (Direction::In, rest.get(3..)?),
        [b'-', b'>', b' ', ..] => (Direction::Out, rest.get(3..)?),
        _ => return None,
    };
    let (right, rest) = host_word(rest)?;
    let (right_inside, rest) = parse_bracketed_host(rest)?;
    let levels = rest.trim_ascii_start();
    is_levels(levels).then_some(StateView {
        interface,
        protocol,
        direction,
        left,
        left_inside,
        right,
        right_inside,
        levels,
        detail: None,
        identity: None,
    })
}

/// Splits a word that is not empty off the front, with the blank after it.
#[inline]
fn split_word(text: &str) -> Option<(&str, &str)> {
    let end = match swar::blank(text.as_bytes()) {
        Some(end) => end,
        None => text.bytes().position(|byte| byte == b' ')?,
    };
    let (word, rest) = text.split_at_checked(end)?;
    (end > 0).then_some((word, rest.get(1..)?))
}

/// Reads a host off the front, with the blank after it.
#[inline]
fn host_word(text: &str) -> Option<(HostView<'_>, &str)> {
    let (host, rest) = parse_state_host(text)?;
    Some((host, rest.strip_prefix(' ')?))
}

/// Reads `(HOST) ` off the front, if there is one.
#[inline]
fn parse_bracketed_host(text: &str) -> Option<(Option<HostView<'_>>, &str)> {
    let Some(inside) = text.strip_prefix('(') else {
        return Some((None, text));
    };
    let (host, rest) = parse_state_host(inside)?;
    Some((Some(host), rest.strip_prefix(") ")?))
}

/// Reads `1.2.3.4:80`, `2001:db8::1[80]`, `fe80::1%igb0`, the ports optional, off the front.
fn parse_state_host(text: &str) -> Option<(HostView<'_>, &str)> {
    if let Some((address, rest)) = text::take_ipv4(text) {
        let address = IpAddr::V4(address);
        let (port, rest) = match rest.strip_prefix(':') {
            Some(rest) => parse_state_port(rest)?,
            None => (0, rest),
        };
        let scope = None;
        return Some((
            HostView {
                address,
                scope,
                port,
            },
            rest,
        ));
    }
    let (address, rest) = text::take_ipv6(text)?;
    let address = IpAddr::V6(address);
    let (scope, rest) = match rest.strip_prefix('%') {
        None => (None, rest),
        Some(rest) => {
            let end = rest
                .bytes()
                .position(|byte| matches!(byte, b' ' | b')' | b'['))?;
            let (scope, rest) = rest.split_at_checked(end)?;
            ((!scope.is_empty()).then_some(scope), rest)
        }
    };
    let (port, rest) = match rest.strip_prefix('[') {
        None => (0, rest),
        Some(rest) => {
            let (port, rest) = parse_state_port(rest)?;
            (port, rest.strip_prefix(']')?)
        }
    };
    Some((
        HostView {
            address,
            scope,
            port,
        },
        rest,
    ))
}

fn parse_state_port(text: &str) -> Option<(u16, &str)> {
    let (port, rest) = take_digits(text)?;
    Some((u16::try_from(port).ok()?, rest))
}

/// Tells `ESTABLISHED:ESTABLISHED`, `PROXY:SRC`, `0:0` and `<BAD STATE LEVELS 4:13>` from rubbish.
#[inline]
fn is_levels(text: &str) -> bool {
    let pair = text
        .strip_prefix("<BAD STATE LEVELS ")
        .and_then(|levels| levels.strip_suffix('>'))
        .unwrap_or(text);
    let (mut colons, mut others) = (0, 0);
    for byte in pair.bytes() {
        colons += u32::from(byte == b':');
        others += u32::from(!(byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':'));
    }
    let open = pair.starts_with(':') || pair.ends_with(':');
    colons == 1 && others == 0 && !open
}

/// Reads a line that begins with a blank into `state`; false if it says nothing we know, or says it twice.
pub(super) fn parse_continuation<'a>(
    state: &mut StateView<'a>,
    windows: &mut Option<&'a str>,
    line: &'a str,
) -> bool {
    let line = line.trim_ascii_start();
    match line.as_bytes().first() {
        Some(b'[') if state.detail.is_none() && windows.is_none() => {
            *windows = is_windows(line).then_some(line);
            windows.is_some()
        }
        Some(b'a') if state.detail.is_none() => {
            state.detail = parse_state_age(line).map(|detail| DetailView {
                windows: *windows,
                ..detail
            });
            state.detail.is_some()
        }
        Some(b'i') if state.identity.is_none() => {
            state.identity = parse_identity(line);
            state.identity.is_some()
        }
        Some(_) => state
            .identity
            .as_mut()
            .is_some_and(|identity| parse_addition(identity, line)),
        None => false,
    }
}

/// Tells `[1 + 2](+3) wscale 4  [5 + 6] wscale 7` from rubbish.
fn is_windows(line: &str) -> bool {
    line.bytes()
        .all(|byte| byte.is_ascii_digit() || b" +[]()wscale".contains(&byte))
}

/// Reads `age 00:02:05, expires in 00:59:00, 14:11 pkts, 1820:3100 bytes[, OPTIONS]`.
fn parse_state_age(line: &str) -> Option<DetailView<'_>> {
    let (age_seconds, rest) = take_clock(line.strip_prefix("age ")?)?;
    let (expires_seconds, rest) = take_clock(rest.strip_prefix(", expires in ")?)?;
    let (packets, rest) = parse_number_pair(rest.strip_prefix(", ")?)?;
    let (bytes, rest) = parse_number_pair(rest.strip_prefix(" pkts, ")?)?;
    let rest = rest.strip_prefix(" bytes")?;
    let options = if rest.is_empty() {
        rest
    } else {
        rest.strip_prefix(", ")?
    };
    Some(DetailView {
        windows: None,
        age_seconds,
        expires_seconds,
        packets,
        bytes,
        rule: options.split(", ").find_map(rule_number),
        options,
    })
}

fn parse_number_pair(text: &str) -> Option<((u64, u64), &str)> {
    let (first, rest) = take_digits(text)?;
    let (second, rest) = take_digits(rest.strip_prefix(':')?)?;
    Some(((first, second), rest))
}

/// Reads `id: 640000005f3a2101 creatorid: 1f2e3d4c[ reply-to: 192.0.2.1@igb0]`.
fn parse_identity(line: &str) -> Option<IdentityView<'_>> {
    let (id, rest) = line.strip_prefix("id: ")?.split_once(' ')?;
    let rest = rest.strip_prefix("creatorid: ")?;
    let (creator, options) = rest.split_once(' ').unwrap_or((rest, ""));
    Some(IdentityView {
        id: parse_hexadecimal(id)?,
        creator: u32::try_from(parse_hexadecimal(creator)?).ok()?,
        options,
        label: None,
        original_interface: None,
    })
}

/// Reads what may follow the identity on lines of their own.
fn parse_addition<'a>(identity: &mut IdentityView<'a>, line: &'a str) -> bool {
    if let Some(interface) = line.strip_prefix("origif: ") {
        let known = identity.original_interface.replace(interface).is_some();
        return !known && !interface.is_empty();
    }
    let label = line.starts_with("rlabel: ");
    label && identity.label.replace(line).is_none()
}

/// Reads 1 to 16 hexadecimal digits.
fn parse_hexadecimal(text: &str) -> Option<u64> {
    if text.is_empty() || text.len() > 16 {
        return None;
    }
    text.chars().try_fold(0, |value: u64, digit| {
        Some(value << 4 | u64::from(digit.to_digit(16)?))
    })
}
