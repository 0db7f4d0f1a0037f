//! DNS messages, as little as a question for the addresses of one name needs (RFC 1035, RFC 3596): the question as
//! bytes, the answer read back. Not a resolver: aliases are followed within one answer only, as recursive servers
//! send them. Sending is the work of `vantage::resolver`.

use crate::text::quoted;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Most bytes of an answer over UDP without EDNS.
pub const LARGEST: usize = 512;
const MOST_RECORDS: u16 = 64;
/// Most jumps of a compressed name; more is a loop.
const MOST_JUMPS: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// A: IPv4.
    A,
    /// AAAA: IPv6.
    Aaaa,
}

impl Family {
    fn code(self) -> u16 {
        match self {
            Self::A => 1,
            Self::Aaaa => 28,
        }
    }
}

/// Why an answer cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DnsError {
    #[error("{} is not a host name", quoted(name))]
    BadName { name: String },
    /// The answer is not to this question.
    #[error("it answered another question")]
    NotOurs,
    /// The answer makes no sense.
    #[error("its answer is not DNS")]
    Garbled,
    /// The answer is cut, and TCP is not spoken here.
    #[error("its answer is too long for UDP")]
    Truncated,
    /// The server refuses or fails.
    #[error("it answered {0}")]
    Refused(&'static str),
}

pub fn dns_question(id: u16, name: &str, family: Family) -> Result<Vec<u8>, DnsError> {
    let bad = || DnsError::BadName { name: name.to_owned() };
    let plain = name.strip_suffix('.').unwrap_or(name);
    if plain.is_empty() || plain.len() > 253 {
        return Err(bad());
    }
    let mut bytes = id.to_be_bytes().to_vec();
    // A standard query, recursion desired; one question.
    bytes.extend([0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in plain.split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length));
        bytes.push(length.ok_or_else(bad)?);
        bytes.extend(label.bytes());
    }
    bytes.push(0);
    bytes.extend(family.code().to_be_bytes());
    bytes.extend([0, 1]);
    Ok(bytes)
}

/// Reads the addresses out of the answer to [`dns_question`]; an unknown name (NXDOMAIN) and one without such records
/// have none.
pub fn parse_dns_answer(
    bytes: &[u8],
    question: &[u8],
    family: Family,
) -> Result<Vec<IpAddr>, DnsError> {
    let garbled = DnsError::Garbled;
    let asked = question.get(12..).ok_or(DnsError::NotOurs)?;
    let echoed = bytes.get(12..12 + asked.len()).unwrap_or_default();
    let id = bytes.get(..2).ok_or_else(|| garbled.clone())?;
    let flags = number_at(bytes, 2).ok_or_else(|| garbled.clone())?;
    // Names may come back in another case (some servers play with it), the rest is echoed.
    if Some(id) != question.get(..2) || flags & 0x8000 == 0 || !echoed.eq_ignore_ascii_case(asked) {
        return Err(DnsError::NotOurs);
    }
    if flags & 0x0200 != 0 {
        return Err(DnsError::Truncated);
    }
    match flags & 0x000f {
        0 => {}
        3 => return Ok(Vec::new()),
        1 => return Err(DnsError::Refused("FORMERR")),
        2 => return Err(DnsError::Refused("SERVFAIL")),
        5 => return Err(DnsError::Refused("REFUSED")),
        _ => return Err(DnsError::Refused("an error")),
    }
    let count = number_at(bytes, 6).ok_or_else(|| garbled.clone())?;
    parse_records(bytes, 12 + asked.len(), count, family).ok_or(garbled)
}

fn parse_records(bytes: &[u8], start: usize, count: u16, family: Family) -> Option<Vec<IpAddr>> {
    let mut wanted = name_at(bytes, 12)?.0;
    let mut place = start;
    let mut found = Vec::new();
    for _ in 0..count.min(MOST_RECORDS) {
        let (owner, after) = name_at(bytes, place)?;
        let (kind, class) = (number_at(bytes, after)?, number_at(bytes, after + 2)?);
        let length = usize::from(number_at(bytes, after + 8)?);
        let start = after + 10;
        let data = bytes.get(start..start.checked_add(length)?)?;
        place = start + length;
        if class != 1 || owner != wanted {
            continue;
        }
        match (kind, family) {
            (5, _) => wanted = name_at(bytes, start)?.0,
            (1, Family::A) => {
                found.push(IpAddr::from(Ipv4Addr::from(<[u8; 4]>::try_from(data).ok()?)));
            }
            (28, Family::Aaaa) => {
                found.push(IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(data).ok()?)));
            }
            _ => {}
        }
    }
    Some(found)
}

fn number_at(bytes: &[u8], place: usize) -> Option<u16> {
    let pair = bytes.get(place..place.checked_add(2)?)?;
    Some(u16::from_be_bytes(pair.try_into().ok()?))
}

/// Reads a name in lower case, compressed or not, and where what follows it begins.
fn name_at(bytes: &[u8], start: usize) -> Option<(Vec<u8>, usize)> {
    let mut name = Vec::new();
    let (mut place, mut after, mut jumps) = (start, None, 0);
    loop {
        let length = usize::from(*bytes.get(place)?);
        match length & 0xc0 {
            0xc0 => {
                jumps += 1;
                if jumps > MOST_JUMPS {
                    return None;
                }
                after.get_or_insert(place + 2);
                place = usize::from(number_at(bytes, place)? & 0x3fff);
            }
            0 if length == 0 => return Some((name, after.unwrap_or(place + 1))),
            0 => {
                name.extend(bytes.get(place + 1..place + 1 + length)?.to_ascii_lowercase());
                name.push(b'.');
                if name.len() > 255 {
                    return None;
                }
                place += 1 + length;
            }
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reply(question: &[u8], flags: u16, records: &[&[u8]]) -> Vec<u8> {
        let mut bytes = question.to_vec();
        bytes[2..4].copy_from_slice(&flags.to_be_bytes());
        bytes[6..8].copy_from_slice(&u16::try_from(records.len()).unwrap().to_be_bytes());
        records.iter().for_each(|record| bytes.extend_from_slice(record));
        bytes
    }

    const A: &[u8] = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xcb\x00\x71\x07";

    #[test]
    fn the_question_is_what_rfc_1035_draws() {
        let bytes = dns_question(0x1234, "kms.example.net.", Family::A).unwrap();
        assert_eq!(bytes, b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03kms\x07example\x03net\x00\x00\x01\x00\x01");
        assert!(dns_question(1, "", Family::A).is_err());
        assert!(dns_question(1, "a..b", Family::A).is_err());
        assert!(dns_question(1, &"x".repeat(64), Family::A).is_err());
    }

    #[test]
    fn addresses_are_found_behind_an_alias() {
        let question = dns_question(7, "kms.example.net", Family::A).unwrap();
        let plain = reply(&question, 0x8180, &[A]);
        assert_eq!(
            parse_dns_answer(&plain, &question, Family::A),
            Ok(vec!["203.0.113.7".parse().unwrap()])
        );
        let alias = b"\xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x3c\x00\x04\x01x\xc0\x10";
        let behind = b"\x01X\xc0\x10\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xcb\x00\x71\x08";
        let other = b"\x01y\xc0\x10\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xcb\x00\x71\x09";
        let chain = reply(&question, 0x8180, &[alias, behind, other]);
        assert_eq!(
            parse_dns_answer(&chain, &question, Family::A),
            Ok(vec!["203.0.113.8".parse().unwrap()])
        );
    }

    #[test]
    fn answers_to_others_and_refusals_are_no_answers() {
        let ours = dns_question(7, "kms.example.net", Family::A).unwrap();
        let theirs = dns_question(8, "kms.example.net", Family::A).unwrap();
        let answers = |bytes: &[u8]| parse_dns_answer(bytes, &ours, Family::A);
        assert_eq!(answers(&reply(&theirs, 0x8180, &[A])), Err(DnsError::NotOurs));
        assert_eq!(answers(&ours), Err(DnsError::NotOurs), "our own question");
        assert_eq!(answers(&reply(&ours, 0x8183, &[])), Ok(vec![]), "NXDOMAIN");
        assert_eq!(answers(&reply(&ours, 0x8185, &[])), Err(DnsError::Refused("REFUSED")));
        assert_eq!(answers(&reply(&ours, 0x8380, &[A])), Err(DnsError::Truncated));
        assert_eq!(answers(&reply(&ours, 0x8180, &[&A[..12]])), Err(DnsError::Garbled));
        let looped = b"\xc0\x21\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xcb\x00\x71\x07";
        assert_eq!(answers(&reply(&ours, 0x8180, &[looped])), Err(DnsError::Garbled));
    }

    proptest! {
        #[test]
        fn no_answer_panics(tail in proptest::collection::vec(any::<u8>(), 0..200), count in any::<u16>()) {
            let question = dns_question(7, "kms.example.net", Family::Aaaa).unwrap();
            let mut bytes = reply(&question, 0x8180, &[&tail]);
            bytes[6..8].copy_from_slice(&count.to_be_bytes());
            let _ = parse_dns_answer(&bytes, &question, Family::Aaaa);
            let _ = parse_dns_answer(&tail, &question, Family::A);
        }
    }
}
