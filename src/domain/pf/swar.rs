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

/// Marks every byte that is no digit.
fn not_digits(bytes: u128) -> u128 {
    let values = bytes ^ u128::from_ne_bytes([b'0'; 16]);
    let above_nine = (values & !HIGH) + u128::from_ne_bytes([0x7f - 9; 16]);
    (above_nine | values) & HIGH
}

/// Reads a dotted IPv4 address followed by a byte that is no digit: the address and its length.
///
/// Leading zeros are refused.
pub(super) fn ipv4(text: &[u8]) -> Option<(u32, usize)> {
    let text: &[u8; 16] = text.first_chunk()?;
    let mut marks = not_digits(u128::from_le_bytes(*text));
    let (mut address, mut start, mut wrong) = (0, 0, false);
    for part in 0..4 {
        if marks == 0 {
            return None;
        }
        let end = place(marks) as usize;
        marks &= marks - 1;
        let length = end - start;
        if !(1..=3).contains(&length) || (part < 3 && *text.get(end)? != b'.') {
            return None;
        }
        // With at most 12 digits and dots before it, the last part's four bytes are within the 16.
        let four = u32::from_le_bytes(*text.get(start..)?.first_chunk()?);
        // The last digit comes to the highest byte, and nothing but zeros before the first.
        let digits = (four << (32 - 8 * length)) & 0x0f0f_0f00;
        let (hundreds, tens, ones) = (digits >> 8 & 0xff, digits >> 16 & 0xff, digits >> 24);
        let octet = hundreds * 100 + tens * 10 + ones;
        let least = [0, 0, 10, 100].get(length).copied().unwrap_or(0);
        wrong |= octet > 255 || octet < least;
        address = address << 8 | octet;
        start = end + 1;
    }
    (!wrong).then_some((address, start - 1))
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

/// Reads one to four hexadecimal digits followed by a byte that is none: the number and its length.
pub(super) fn group(text: &[u8]) -> Option<(u16, usize)> {
    let bytes = load8(text)?;
    let marks = not_hexadecimal(bytes);
    let length = marks.trailing_zeros() / 8;
    if !(1..=4).contains(&length) {
        return None;
    }
    // A letter's low four bits count from 1, and bit 6 tells it from a digit.
    let values = (bytes & 0x0f0f_0f0f) + 9 * (bytes >> 6 & 0x0101_0101);
    // The last digit comes to bits 24 to 31, and nothing but zeros before the first.
    let digits = (values << (32 - 8 * length)) & 0x0f0f_0f0f;
    let pairs = digits << 4 | digits >> 8;
    u16::try_from((pairs & 0xff) << 8 | pairs >> 16 & 0xff)
        .ok()
        .map(|value| (value, length as usize))
}

/// Marks every byte that is no hexadecimal digit.
fn not_hexadecimal(bytes: u64) -> u64 {
    let each = |byte: u8| u64::from_ne_bytes([byte; 8]);
    let high = each(0x80);
    let letters = (bytes | each(0x20)) & !high;
    let from_a = letters + each(0x80 - b'a');
    let past_f = letters + each(0x7f - b'f');
    let (_, not_digits) = digits8(bytes);
    (not_digits & (!from_a | past_f) & high) | (bytes & high)
}
