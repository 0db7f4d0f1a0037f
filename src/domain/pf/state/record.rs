//! One state's lines → fields. The form is pfctl's `print_state` of FreeBSD 12, 14 and 15.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::super::rule::Direction;
use super::super::text::{take_clock, take_digits, whole_number};
use super::{Detail, Host, Identity, State};

/// Reads `IF PROTO HOST [(HOST)] ARROW HOST [(HOST)]       LEVELS`.
pub(super) fn parse_state_head(line: &str) -> Option<State> {
    let (interface, rest) = split_word(line)?;
    let (protocol, rest) = split_word(rest)?;
    let (left, left_inside, rest) = parse_state_side(rest)?;
    let (arrow, rest) = split_word(rest)?;
    let direction = match arrow {
        "<-" => Direction::In,
        "->" => Direction::Out,
        _ => return None,
    };
    let (right, right_inside, rest) = parse_state_side(rest)?;
    let levels = rest.trim_ascii_start();
    is_levels(levels).then(|| State {
        interface: interface.to_owned(),
        protocol: protocol.to_owned(),
        direction,
        left,
        left_inside,
        right,
        right_inside,
        levels: levels.to_owned(),
        detail: None,
        identity: None,
    })
}

/// Splits a word that is not empty off the front, with the blank after it.
fn split_word(text: &str) -> Option<(&str, &str)> {
    text.split_once(' ').filter(|(word, _)| !word.is_empty())
}

/// Reads `HOST ` or `HOST (HOST) ` off the front.
fn parse_state_side(text: &str) -> Option<(Host, Option<Host>, &str)> {
    let (host, rest) = split_word(text)?;
    let host = parse_state_host(host)?;
    let Some(inside) = rest.strip_prefix('(') else {
        return Some((host, None, rest));
    };
    let (inside, rest) = inside.split_once(") ")?;
    Some((host, Some(parse_state_host(inside)?), rest))
}

/// Reads `1.2.3.4:80`, `2001:db8::1[80]` or `fe80::1%igb0`, the ports optional.
fn parse_state_host(text: &str) -> Option<Host> {
    if let Some((address, port)) = text.split_once(':')
        && let Ok(address) = address.parse::<Ipv4Addr>()
    {
        return Some(Host { address: IpAddr::V4(address), scope: None, port: whole_number(port)? });
    }
    let (host, port) = match text.split_once('[') {
        Some((host, port)) => (host, whole_number(port.strip_suffix(']')?)?),
        None => (text, 0),
    };
    let (address, scope) = match host.split_once('%') {
        Some((address, scope)) => (
            IpAddr::V6(address.parse::<Ipv6Addr>().ok()?),
            (!scope.is_empty()).then(|| scope.to_owned()),
        ),
        None => (host.parse().ok()?, None),
    };
    Some(Host { address, scope, port })
}

/// Distinguishes `ESTABLISHED:ESTABLISHED`, `PROXY:SRC`, `0:0` and `<BAD STATE LEVELS 4:13>` from rubbish.
fn is_levels(text: &str) -> bool {
    let pair = text
        .strip_prefix("<BAD STATE LEVELS ")
        .and_then(|levels| levels.strip_suffix('>'))
        .unwrap_or(text);
    let is_level = |level: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        !level.is_empty() && level.bytes().all(plain)
    };
    pair.split_once(':').is_some_and(|(left, right)| is_level(left) && is_level(right))
}

/// Reads a line that begins with a blank into `state`; false if it says nothing known, or says it twice.
pub(super) fn parse_continuation(
    state: &mut State,
    windows: &mut Option<String>,
    line: &str,
) -> bool {
    let line = line.trim_ascii_start();
    match line.as_bytes().first() {
        Some(b'[') if state.detail.is_none() && windows.is_none() => {
            *windows = is_windows(line).then(|| line.to_owned());
            windows.is_some()
        }
        Some(b'a') if state.detail.is_none() => {
            state.detail =
                parse_state_age(line).map(|detail| Detail { windows: windows.take(), ..detail });
            state.detail.is_some()
        }
        Some(b'i') if state.identity.is_none() => {
            state.identity = parse_identity(line);
            state.identity.is_some()
        }
        Some(_) => state.identity.as_mut().is_some_and(|identity| parse_addition(identity, line)),
        None => false,
    }
}

/// Distinguishes `[1 + 2](+3) wscale 4  [5 + 6] wscale 7` from rubbish.
fn is_windows(line: &str) -> bool {
    line.bytes().all(|byte| byte.is_ascii_digit() || b" +[]()wscale".contains(&byte))
}

/// Reads `age 00:02:05, expires in 00:59:00, 14:11 pkts, 1820:3100 bytes[, OPTIONS]`.
fn parse_state_age(line: &str) -> Option<Detail> {
    let (age_seconds, rest) = take_clock(line.strip_prefix("age ")?)?;
    let (expires_seconds, rest) = take_clock(rest.strip_prefix(", expires in ")?)?;
    let (packets, rest) = parse_number_pair(rest.strip_prefix(", ")?)?;
    let (bytes, rest) = parse_number_pair(rest.strip_prefix(" pkts, ")?)?;
    let rest = rest.strip_prefix(" bytes")?;
    let options = if rest.is_empty() { rest } else { rest.strip_prefix(", ")? };
    let mut detail = Detail { age_seconds, expires_seconds, packets, bytes, ..Detail::default() };
    for option in options.split(", ").filter(|option| !option.is_empty()) {
        let number = option.strip_prefix("rule ").and_then(whole_number);
        match number {
            Some(_) if detail.rule.is_none() => detail.rule = number,
            _ => detail.extras.push(option.to_owned()),
        }
    }
    Some(detail)
}

fn parse_number_pair(text: &str) -> Option<((u64, u64), &str)> {
    let (first, rest) = take_digits(text)?;
    let (second, rest) = take_digits(rest.strip_prefix(':')?)?;
    Some(((first, second), rest))
}

/// Reads `id: 640000005f3a2101 creatorid: 1f2e3d4c[ reply-to: 192.0.2.1@igb0]`.
fn parse_identity(line: &str) -> Option<Identity> {
    let (id, rest) = line.strip_prefix("id: ")?.split_once(' ')?;
    let rest = rest.strip_prefix("creatorid: ")?;
    let (creator, options) = rest.split_once(' ').unwrap_or((rest, ""));
    let mut extras: Vec<String> = Vec::new();
    for word in options.split(' ').filter(|word| !word.is_empty()) {
        match extras.last_mut() {
            Some(last) if !is_option_name(word) => {
                last.push(' ');
                last.push_str(word);
            }
            _ => extras.push(word.to_owned()),
        }
    }
    Some(Identity {
        id: parse_hexadecimal(id)?,
        creator: u32::try_from(parse_hexadecimal(creator)?).ok()?,
        extras,
        original_interface: None,
    })
}

/// Distinguishes `reply-to:` from an address that ends in a colon, such as `2001:db8::`.
fn is_option_name(word: &str) -> bool {
    let name = word.strip_suffix(':').unwrap_or_default();
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'-';
    !name.is_empty() && name.bytes().all(plain)
}

/// Reads what may follow the identity on lines of their own.
fn parse_addition(identity: &mut Identity, line: &str) -> bool {
    if let Some(interface) = line.strip_prefix("origif: ") {
        let known = identity.original_interface.replace(interface.to_owned()).is_some();
        return !known && !interface.is_empty();
    }
    let is_label = |extra: &str| extra.starts_with("rlabel: ");
    let new = is_label(line) && !identity.extras.iter().any(|extra| is_label(extra));
    if new {
        identity.extras.push(line.to_owned());
    }
    new
}

/// Reads 1 to 16 hexadecimal digits.
fn parse_hexadecimal(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    (digits && text.len() <= 16).then(|| u64::from_str_radix(text, 16).ok()).flatten()
}
