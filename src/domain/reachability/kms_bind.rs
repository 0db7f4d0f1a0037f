//! The DCE/RPC bind to the KMS interface and the reading of what answers it. Bytes in, an [`BindAnswer`] out; sends
//! nothing, and knows no activation request: binding is the last thing kmsctl ever says to a KMS server.
//!
//! Formats: The Open Group C706, chapter 12, and [MS-RPCE] 2.2.2. Nothing in an answer is trusted: its lengths are
//! only compared with what has arrived, and more than [`LARGEST`] bytes are never looked at.

use crate::text::word_enum;

/// Length of the bind in bytes.
pub const BIND_LENGTH: usize = 72;

/// The most bytes of an answer that are looked at; a bind_ack of a KMS server has 60.
pub const LARGEST: usize = 1024;

/// Length of the header that every PDU begins with.
const HEADER: usize = 16;

/// The call id of our bind; an answer must echo it.
const CALL: u32 = 1;

const BIND_ACK: u8 = 12;
/// What a server says to a bind: fault, bind_ack, bind_nak. Anything else is no server's word: an echo sends our bind back.
const FROM_SERVER: [u8; 3] = [3, BIND_ACK, 13];
/// First and last fragment: an answer to a bind is never in pieces.
const WHOLE: u8 = 3;

/// The transfer syntax NDR, 8a885d04-1ceb-11c9-9fe8-08002b104860 version 2, as it stands in the bind.
const NDR: [u8; 20] = [
    0x04, 0x5d, 0x88, 0x8a, 0xeb, 0x1c, 0xc9, 0x11, 0x9f, 0xe8, 0x08, 0x00, 0x2b, 0x10, 0x48, 0x60,
    0x02, 0x00, 0x00, 0x00,
];

/// The bind: version 5.0, both fragment flags, little-endian, fragments of 5840 bytes, one context with the KMS
/// interface 51c82175-844e-4750-b0d8-ec255555bc06 version 1.0 and the transfer syntax NDR; no authentication.
pub const BIND: [u8; BIND_LENGTH] = [
    0x05, 0x00, 0x0b, 0x03, 0x10, 0x00, 0x00, 0x00, 0x48, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00,
    0xd0, 0x16, 0xd0, 0x16, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00,
    0x75, 0x21, 0xc8, 0x51, 0x4e, 0x84, 0x50, 0x47, 0xb0, 0xd8, 0xec, 0x25, 0x55, 0x55, 0xbc, 0x06,
    0x01, 0x00, 0x00, 0x00, 0x04, 0x5d, 0x88, 0x8a, 0xeb, 0x1c, 0xc9, 0x11, 0x9f, 0xe8, 0x08, 0x00,
    0x2b, 0x10, 0x48, 0x60, 0x02, 0x00, 0x00, 0x00,
];

word_enum! {
#[derive(Hash)]
pub enum BindAnswer {
    /// A bind_ack that accepts the KMS interface.
    Kms = "kms",
    /// DCE/RPC, but it does not take the KMS interface, or its answer is not whole.
    RpcNotKms = "rpc-not-kms",
    NotRpc = "not-rpc",
    /// It accepted the connection and said nothing until the deadline.
    Silent = "silent",
    /// It ended the connection without a whole answer.
    Reset = "reset",
}
}

/// How a connection ended before its answer was whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindEnd {
    /// The other side closed or reset it.
    Closed,
    /// The deadline passed.
    Deadline,
}

/// Gathers an answer as it arrives.
#[derive(Clone, Debug, Default)]
pub struct Listener {
    bytes: Vec<u8>,
}

impl Listener {
    /// Takes what has arrived; returns the answer as soon as it is certain.
    pub fn hear_bytes(&mut self, bytes: &[u8]) -> Option<BindAnswer> {
        let room = LARGEST.saturating_sub(self.bytes.len());
        self.bytes.extend(bytes.iter().take(room));
        read_bind_answer(&self.bytes)
    }

    /// Judges what there is when nothing more comes.
    pub fn judge_end(&self, end: BindEnd) -> BindAnswer {
        match (read_bind_answer(&self.bytes), end) {
            (Some(answer), _) => answer,
            (None, BindEnd::Closed) => BindAnswer::Reset,
            (None, BindEnd::Deadline) => BindAnswer::Silent,
        }
    }
}

/// Reads an answer from its first byte on; `None` means that more is needed.
pub fn read_bind_answer(bytes: &[u8]) -> Option<BindAnswer> {
    if bytes.first().is_some_and(|version| *version != 5) {
        return Some(BindAnswer::NotRpc);
    }
    if bytes.get(2).is_some_and(|kind| !FROM_SERVER.contains(kind)) {
        return Some(BindAnswer::NotRpc);
    }
    let header = Fields::new(bytes)?;
    let length = usize::from(header.short(8)?);
    let call = header.long(12)?;
    if length < HEADER {
        return Some(BindAnswer::NotRpc);
    }
    // A length beyond the cap is a lie or not for us; there is no need to wait for the rest.
    if length > LARGEST || call != CALL || header.byte(3)? & WHOLE != WHOLE {
        return Some(BindAnswer::RpcNotKms);
    }
    let whole = Fields { bytes: bytes.get(..length)?, ..header };
    match whole.byte(2)? {
        BIND_ACK if accepted_context(&whole) == Some(true) => Some(BindAnswer::Kms),
        // A bind_nak, a fault, a rejected context, or a bind_ack that ends before its results do.
        _ => Some(BindAnswer::RpcNotKms),
    }
}

/// Returns the outcome of our one context; `None` where the PDU ends too early.
fn accepted_context(pdu: &Fields<'_>) -> Option<bool> {
    // After the header: two fragment sizes, the group, and the secondary address with its own length.
    let address = usize::from(pdu.short(HEADER + 8)?);
    let results = (HEADER + 10 + address).next_multiple_of(4);
    let count = pdu.byte(results)?;
    let outcome = pdu.short(results + 4)?;
    let syntax = pdu.bytes.get(results + 8..results + 28)?;
    // The identifier is made of numbers, so in a big-endian answer its bytes stand in another order.
    let expected = if pdu.little { NDR } else { swapped_syntax(NDR) };
    Some(count == 1 && outcome == 0 && syntax == expected)
}

/// Swaps the numbers of a syntax identifier: one of 4 bytes, two of 2, eight single bytes, and the version.
fn swapped_syntax(mut syntax: [u8; 20]) -> [u8; 20] {
    for (from, to) in [(0, 4), (4, 6), (6, 8), (16, 20)] {
        if let Some(number) = syntax.get_mut(from..to) {
            number.reverse();
        }
    }
    syntax
}

/// Numbers of a PDU in its own byte order.
#[derive(Clone, Copy)]
struct Fields<'a> {
    bytes: &'a [u8],
    little: bool,
}

impl<'a> Fields<'a> {
    /// Wraps a PDU whose header is there; the upper half of the byte at 4 holds its byte order.
    fn new(bytes: &'a [u8]) -> Option<Self> {
        let header = bytes.get(..HEADER)?;
        let little = header.get(4)? >> 4 == 1;
        Some(Self { bytes, little })
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.bytes.get(at).copied()
    }

    fn short(&self, at: usize) -> Option<u16> {
        let two = self.bytes.get(at..at + 2)?.try_into().ok()?;
        Some(if self.little { u16::from_le_bytes(two) } else { u16::from_be_bytes(two) })
    }

    fn long(&self, at: usize) -> Option<u32> {
        let four = self.bytes.get(at..at + 4)?.try_into().ok()?;
        Some(if self.little { u32::from_le_bytes(four) } else { u32::from_be_bytes(four) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A bind_ack as vlmcsd sends it: secondary address "1688", 60 bytes.
    fn bind_ack(little: bool, outcome: u16, reason: u16) -> Vec<u8> {
        let short = |number: u16| {
            if little { number.to_le_bytes() } else { number.to_be_bytes() }
        };
        let long = |number: u32| {
            if little { number.to_le_bytes() } else { number.to_be_bytes() }
        };
        let mut pdu = vec![5, 0, 12, 3, if little { 0x10 } else { 0 }, 0, 0, 0];
        pdu.extend(short(60));
        pdu.extend(short(0));
        pdu.extend(long(1));
        pdu.extend(short(5840));
        pdu.extend(short(5840));
        pdu.extend(long(0x1234));
        pdu.extend(short(5));
        pdu.extend(b"1688\0\0");
        pdu.pop();
        pdu.push(0);
        while pdu.len() % 4 != 0 {
            pdu.push(0);
        }
        pdu.extend([1, 0, 0, 0]);
        pdu.extend(short(outcome));
        pdu.extend(short(reason));
        let syntax = if little { NDR } else { swapped_syntax(NDR) };
        pdu.extend(if outcome == 0 { syntax } else { [0; 20] });
        assert_eq!(pdu.len(), 60);
        pdu
    }

    fn bind_nak() -> Vec<u8> {
        let mut pdu = vec![5, 0, 13, 3, 0x10, 0, 0, 0, 24, 0, 0, 0, 1, 0, 0, 0];
        pdu.extend([0, 0, 1, 5, 0, 0, 0, 0]);
        pdu
    }

    fn hear(bytes: &[u8]) -> Option<BindAnswer> {
        Listener::default().hear_bytes(bytes)
    }

    #[test]
    fn the_bind_is_what_the_specification_says() {
        assert_eq!(BIND.len(), 72);
        assert_eq!(BIND[8..10], 72_u16.to_le_bytes());
        assert_eq!(BIND[12..16], CALL.to_le_bytes());
        assert_eq!(BIND[52..], NDR);
        assert_eq!(BIND[2], 11);
    }

    #[test]
    fn answers_are_told_apart() {
        assert_eq!(hear(&bind_ack(true, 0, 0)), Some(BindAnswer::Kms));
        assert_eq!(hear(&bind_ack(false, 0, 0)), Some(BindAnswer::Kms));
        assert_eq!(hear(&bind_ack(true, 2, 1)), Some(BindAnswer::RpcNotKms));
        assert_eq!(hear(&bind_ack(false, 2, 1)), Some(BindAnswer::RpcNotKms));
        assert_eq!(hear(&bind_nak()), Some(BindAnswer::RpcNotKms));
        assert_eq!(hear(b"SSH-2.0-OpenSSH_9.2\r\n"), Some(BindAnswer::NotRpc));
        assert_eq!(hear(b"H"), Some(BindAnswer::NotRpc));
        assert_eq!(hear(&BIND), Some(BindAnswer::NotRpc), "an echo");
        for kind in [0, 1, 2, 11, 14, 16, 255] {
            let mut request = BIND;
            request[2] = kind;
            assert_eq!(hear(&request), Some(BindAnswer::NotRpc), "{kind}");
            assert_eq!(hear(&request[..3]), Some(BindAnswer::NotRpc), "{kind}");
        }
        assert_eq!(hear(b""), None);
    }

    #[test]
    fn lengths_that_lie_are_not_believed() {
        for (at, value) in [
            // frag_length below the header, beyond the cap, and shorter than the results.
            (8, 15_u16),
            (8, 0xffff),
            (8, 30),
            // A secondary address that reaches behind the end.
            (24, 0xffff),
            (24, 40),
        ] {
            let mut pdu = bind_ack(true, 0, 0);
            pdu[at..at + 2].copy_from_slice(&value.to_le_bytes());
            let answer = hear(&pdu);
            assert!(
                matches!(answer, Some(BindAnswer::NotRpc | BindAnswer::RpcNotKms)),
                "{at} {value} {answer:?}"
            );
        }
    }

    #[test]
    fn another_call_another_syntax_or_a_piece_is_not_ours() {
        for (at, value) in [(12, 9), (3, 1), (3, 2), (40, 1), (32, 2)] {
            let mut pdu = bind_ack(true, 0, 0);
            pdu[at] = value;
            assert_eq!(hear(&pdu), Some(BindAnswer::RpcNotKms), "{at}");
        }
    }

    #[test]
    fn what_never_comes_is_silent_and_what_ends_is_reset() {
        let mut listener = Listener::default();
        assert_eq!(listener.judge_end(BindEnd::Deadline), BindAnswer::Silent);
        assert_eq!(listener.judge_end(BindEnd::Closed), BindAnswer::Reset);
        assert_eq!(listener.hear_bytes(&bind_ack(true, 0, 0)[..59]), None);
        assert_eq!(listener.judge_end(BindEnd::Deadline), BindAnswer::Silent);
        assert_eq!(listener.judge_end(BindEnd::Closed), BindAnswer::Reset);
        assert_eq!(listener.hear_bytes(&[0]), Some(BindAnswer::Kms));
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_nothing_waits_beyond_the_cap(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let answer = read_bind_answer(&bytes);
            prop_assert!(answer.is_some() || bytes.len() < LARGEST);
            let mut five = bytes;
            if let Some(first) = five.first_mut() {
                *first = 5;
            }
            let answer = read_bind_answer(&five);
            prop_assert!(answer.is_some() || five.len() < LARGEST);
        }

        #[test]
        fn pieces_make_no_difference(little in any::<bool>(), outcome in 0_u16..3, cuts in proptest::collection::vec(1_usize..60, 0..6), tail in proptest::collection::vec(any::<u8>(), 0..40)) {
            let mut whole = bind_ack(little, outcome, 1);
            whole.extend(tail);
            let mut cuts = cuts;
            cuts.sort_unstable();
            let mut listener = Listener::default();
            let mut from = 0;
            let mut heard = None;
            for cut in cuts.into_iter().chain([whole.len()]) {
                heard = listener.hear_bytes(&whole[from..cut]).or(heard);
                from = cut;
            }
            prop_assert_eq!(heard, read_bind_answer(&whole));
        }

        /// Every length and flag of the header may lie, in either byte order.
        #[test]
        fn no_length_or_flag_is_believed(
            little in any::<bool>(),
            fragment in any::<u16>(),
            authentication in any::<u16>(),
            address in any::<u16>(),
            flags in any::<u8>(),
            tail in 0_usize..1100,
        ) {
            let short = |number: u16| if little { number.to_le_bytes() } else { number.to_be_bytes() };
            let mut pdu = bind_ack(little, 0, 0);
            pdu[3] = flags;
            for (at, value) in [(8, fragment), (10, authentication), (24, address)] {
                pdu[at..at + 2].copy_from_slice(&short(value));
            }
            pdu.resize(60 + tail, 0);
            let answer = read_bind_answer(&pdu);
            prop_assert!(answer.is_some() || pdu.len() < LARGEST, "more than the cap is never waited for");
            if answer == Some(BindAnswer::Kms) {
                prop_assert!(flags & 3 == 3, "a piece of an answer is none");
                prop_assert!((60..=1024).contains(&fragment), "{}", fragment);
                prop_assert!((2..=5).contains(&address), "{}", address);
            }
        }

        #[test]
        fn one_spoilt_byte_never_panics_and_never_makes_kms_of_a_rejection(at in 0_usize..60, value in any::<u8>()) {
            let mut pdu = bind_ack(true, 2, 1);
            pdu[at] = value;
            prop_assert_ne!(read_bind_answer(&pdu), Some(BindAnswer::Kms));
        }
    }
}
