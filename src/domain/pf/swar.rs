//! Eight or sixteen bytes at a time: the state table's inner loop.
//!
//! A loop over single bytes mispredicts a branch at the end of almost every number and word, which costs more
//! than the work itself. These functions do the same arithmetic on a whole register instead. Each answers
//! `None` where the text is too short or the form unusual; the caller then takes the plain loop, so
//! what they mean is defined (and tested) by that loop.

const HIGH: u128 = u128::from_ne_bytes([0x80; 16]);
const LOW: u128 = u128::from_ne_bytes([0x01; 16]);

/// Loads the first 16 bytes, the first one lowest.
fn load16(text: &[u8]) -> Option<u128> {
    Some(u128::from_le_bytes(*text.first_chunk()?))
}

/// Loads the first 8 bytes, the first one lowest.
fn load8(text: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(*text.first_chunk()?))
}

/// Returns the place of the lowest marked byte (a bit 7).
fn place(marks: u128) -> u32 {
    marks.trailing_zeros() / 8
}

/// Finds the first blank within 16 bytes.
pub(super) fn blank(text: &[u8]) -> Option<usize> {
    // Blanks become zero bytes; the lowest mark of this well-known trick is exact.
    let bytes = load16(text)? ^ u128::from_ne_bytes([b' '; 16]);
    let marks = bytes.wrapping_sub(LOW) & !bytes & HIGH;
    (marks != 0).then(|| place(marks) as usize)
}

/// Turns digits into their values and marks every byte that is none.
fn digits16(bytes: u128) -> (u128, u128) {
    let values = bytes ^ u128::from_ne_bytes([b'0'; 16]);
    let above_nine = (values & !HIGH) + u128::from_ne_bytes([0x7f - 9; 16]);
    (values, (above_nine | values) & HIGH)
}

/// Reads a dotted IPv4 address followed by a byte that is no digit: the address and its length.
///
/// Leading zeros are refused.
pub(super) fn ipv4(text: &[u8]) -> Option<(u32, usize)> {
    let bytes = load16(text)?;
    let (values, mut marks) = digits16(bytes);
    let (mut address, mut start, mut wrong) = (0, 0, false);
    for part in 0..4 {
        if marks == 0 {
            return None;
        }
        let end = place(marks);
        marks &= marks - 1;
        let length = end.wrapping_sub(start);
        wrong |= length.wrapping_sub(1) > 2;
        let digits = ((values >> (8 * start)) & 0xff_ffff) as u32;
        // The last digit comes to bits 16 to 23, and nothing but zeros before the first.
        let digits = (digits << (8 * (3_u32.saturating_sub(length)))) & 0xff_ffff;
        let (hundreds, tens, ones) = (digits & 0xff, digits >> 8 & 0xff, digits >> 16);
        let octet = hundreds * 100 + tens * 10 + ones;
        let least = [0, 0, 10, 100].get(length as usize).copied().unwrap_or(0);
        wrong |= octet > 255 || octet < least;
        wrong |= part < 3 && (bytes >> (8 * end)) & 0xff != u128::from(b'.');
        address = address << 8 | octet;
        start = end + 1;
    }
    (!wrong).then_some((address, start as usize - 1))
}

/// Reads one to seven digits followed by a byte that is no digit: the number and its length.
pub(super) fn number(text: &[u8]) -> Option<(u64, usize)> {
    let (values, marks) = digits8(load8(text)?);
    // Without a mark, this is 8: no end in sight.
    let length = marks.trailing_zeros() / 8;
    if !(1..8).contains(&length) {
        return None;
    }
    Some((decimal(values << (64 - 8 * length)), length as usize))
}

/// Turns digits into their values and marks every byte that is none.
fn digits8(bytes: u64) -> (u64, u64) {
    let high = u64::from_ne_bytes([0x80; 8]);
    let values = bytes ^ u64::from_ne_bytes([b'0'; 8]);
    let above_nine = (values & !high) + u64::from_ne_bytes([0x7f - 9; 8]);
    (values, (above_nine | values) & high)
}

/// Adds up eight digits, the most significant one in the lowest byte.
fn decimal(digits: u64) -> u64 {
    let pairs = (digits & 0x0f0f_0f0f_0f0f_0f0f).wrapping_mul(10 << 8 | 1) >> 8;
    let fours = (pairs & 0x00ff_00ff_00ff_00ff).wrapping_mul(100 << 16 | 1) >> 16;
    (fours & 0x0000_ffff_0000_ffff).wrapping_mul(10_000 << 32 | 1) >> 32
}

/// Reads `HH:MM:SS` with two digits each, in seconds, if a byte that is no digit follows.
pub(super) fn clock(text: &[u8]) -> Option<u64> {
    let bytes = load8(text)?;
    if text.get(8)?.is_ascii_digit() || bytes & 0x0000_ff00_00ff_0000 != 0x0000_3a00_003a_0000 {
        return None;
    }
    let (_, marks) = digits8(bytes);
    // The two colons are the only bytes that may be marked.
    if marks != 0x0000_8000_0080_0000 {
        return None;
    }
    let digits = bytes & 0x0f0f_000f_0f00_0f0f;
    let pairs = digits.wrapping_mul(10 << 8 | 1) >> 8;
    let (hours, minutes, seconds) = (pairs & 0xff, pairs >> 24 & 0xff, pairs >> 48 & 0xff);
    (minutes < 60 && seconds < 60).then_some(hours * 3600 + minutes * 60 + seconds)
}
