//! One line of the server's log, read by a hand-written parser that is anchored at the fixed time stamp, so
//! that a workstation name cannot pass for a line of its own unless it brings a newline. Holds no state but
//! the last time stamp.

use super::peer::Peer;

/// Bytes of the prefix `YYYY-MM-DD HH:MM:SS: `.
const PREFIX: usize = 21;

const LABELS: [(&[u8], Label); 19] = [
    (b"Protocol version", Label::Protocol),
    (b"Client is a virtual machine", Label::Virtual),
    (b"Licensing status", Label::Status),
    (b"Remaining time (0 = forever)", Label::Remaining),
    (b"Application ID", Label::Application),
    (b"Activation ID (Product)", Label::Product),
    (b"SKU ID (aka Activation ID)", Label::Product),
    (b"Key Management Service ID", Label::Counted),
    (b"KMS ID (aka KMS counted ID)", Label::Counted),
    (b"Client machine ID", Label::Machine),
    (b"Previous client machine ID", Label::Previous),
    (b"Client request timestamp (UTC)", Label::Requested),
    (b"Workstation name", Label::Workstation),
    (b"N count policy (minimum clients)", Label::Policy),
    (b"KMS host extended PID", Label::HostPid),
    (b"KMS host Hardware ID", Label::Hardware),
    (b"KMS host current active clients", Label::Clients),
    (b"Renewal interval policy", Label::Renewal),
    (b"Activation interval policy", Label::Interval),
];

/// Longest line kept, in bytes. Real lines stay under about 270; the server's own buffer holds 2,048.
pub const LONGEST: usize = 64 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLine<'a> {
    /// When it was written: Unix seconds, taking the server's clock for UTC as its image runs it.
    pub at: i64,
    pub text: Text<'a>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text<'a> {
    /// `IPv4 connection accepted: …`.
    Accepted(Peer),
    /// `IPv4 connection closed: …`.
    Closed(Peer),
    /// `<<< Incoming KMS request`.
    Request,
    /// A detail line of a request or of an answer.
    Field(Label, &'a [u8]),
    /// `>>> Sending response…`, or `Sending ePID…` of the short form.
    Answer,
    /// A refusal with its error code, such as `0xC004F042`.
    Refusal(u32),
    /// `KMS v6.0 request from NAME for PRODUCT`, the short form.
    Short { version: &'a [u8], workstation: &'a [u8], product: &'a [u8] },
    /// `… started successfully`: every connection before it is gone.
    Started,
    /// `… was shutdown`.
    Shutdown,
    /// `Warning: Child killed/crashed by …`: some connection will never be closed.
    Crash,
    /// `Fatal: KMSv7.0 unsupported`: a request that is none.
    Malformed,
    /// `Client with public IP address rejected`.
    Rejected,
    /// `Listening on 0.0.0.0:1688`.
    Listening(u16),
    /// A line the server is known to write and that says nothing about clients.
    Idle,
    /// A stamped line that no known server writes.
    Unknown,
}

/// The detail lines, in the server's order. `Protocol`, `Machine` and `Requested` appear in answers again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Label {
    /// `Protocol version`.
    Protocol,
    /// `Client is a virtual machine`.
    Virtual,
    /// `Licensing status`.
    Status,
    /// `Remaining time (0 = forever)`.
    Remaining,
    /// `Application ID`.
    Application,
    /// `Activation ID (Product)`, later `SKU ID (aka Activation ID)`.
    Product,
    /// `Key Management Service ID`, later `KMS ID (aka KMS counted ID)`.
    Counted,
    /// `Client machine ID`.
    Machine,
    /// `Previous client machine ID`.
    Previous,
    /// `Client request timestamp (UTC)`.
    Requested,
    /// `Workstation name`.
    Workstation,
    /// `N count policy (minimum clients)`.
    Policy,
    /// `KMS host extended PID`.
    HostPid,
    /// `KMS host Hardware ID`.
    Hardware,
    /// `KMS host current active clients`.
    Clients,
    /// `Renewal interval policy`.
    Renewal,
    /// `Activation interval policy`.
    Interval,
}

/// Reads lines; remembers the last time stamp, as thousands of lines share one.
#[derive(Clone, Debug, Default)]
pub struct LineReader {
    stamp: [u8; PREFIX],
    at: i64,
}

impl LineReader {
    /// Reads one line; `None` when it does not begin with a time stamp.
    pub fn read_line<'a>(&mut self, line: &'a [u8]) -> Option<LogLine<'a>> {
        let (prefix, text) = line.split_first_chunk::<PREFIX>()?;
        // Before the first stamp there is none that this one could repeat.
        if self.at == 0 || *prefix != self.stamp {
            self.at = stamp_seconds(prefix)?;
            self.stamp = *prefix;
        }
        Some(LogLine { at: self.at, text: read_text(text) })
    }
}

/// Reads `YYYY-MM-DD HH:MM:SS: ` as Unix seconds.
fn stamp_seconds(prefix: &[u8; PREFIX]) -> Option<i64> {
    const FORM: &[u8; PREFIX] = b"dddd-dd-dd dd:dd:dd: ";
    let shaped = prefix.iter().zip(FORM).all(|(byte, form)| match form {
        b'd' => byte.is_ascii_digit(),
        other => byte == other,
    });
    if !shaped {
        return None;
    }
    let number = |from: usize, to: usize| {
        prefix
            .get(from..to)
            .unwrap_or_default()
            .iter()
            .fold(0_i16, |sum, digit| sum * 10 + i16::from(digit - b'0'))
    };
    let small = |from: usize| i8::try_from(number(from, from + 2)).ok();
    let date = jiff::civil::Date::new(number(0, 4), small(5)?, small(8)?).ok()?;
    // A leap second is written as :60 by some C libraries.
    let time = jiff::civil::Time::new(small(11)?, small(14)?, small(17)?.min(59), 0).ok()?;
    Some(jiff::tz::TimeZone::UTC.to_timestamp(date.to_datetime(time)).ok()?.as_second())
}

fn read_text(text: &[u8]) -> Text<'_> {
    let special = match text.first() {
        Some(b'I') => connection_line(text),
        Some(b'<') if text == b"<<< Incoming KMS request" => Some(Text::Request),
        Some(b'>') if text.starts_with(b">>> Sending response") => Some(Text::Answer),
        Some(b'K') => text.strip_prefix(b"KMS v").and_then(short_request_line),
        Some(b'S') if text.starts_with(b"Sending ePID (") => Some(Text::Answer),
        Some(b'v') => server_line(text),
        Some(b'L') => text.strip_prefix(b"Listening on ").map(listening_line),
        Some(b'W' | b'F') => trouble_line(text),
        Some(b'R' | b'C') => refusal_line(text),
        _ => None,
    };
    special.or_else(|| block_field_line(text)).unwrap_or(Text::Unknown)
}

fn connection_line(text: &[u8]) -> Option<Text<'_>> {
    let rest = text
        .strip_prefix(b"IPv4 connection ")
        .or_else(|| text.strip_prefix(b"IPv6 connection "))?;
    let bare = rest.strip_suffix(b".")?;
    if let Some(peer) = bare.strip_prefix(b"accepted: ") {
        return Peer::parse(peer).map(Text::Accepted);
    }
    Peer::parse(bare.strip_prefix(b"closed: ")?).map(Text::Closed)
}

/// Reads the short form after `KMS v`. The name is the client's and may hold ` for `: the last one counts. One with a
/// newline leaves no product on this line.
fn short_request_line(rest: &[u8]) -> Option<Text<'_>> {
    let from = memchr::memmem::find(rest, b" request from ")?;
    let (version, tail) = (rest.get(..from)?, rest.get(from + 14..)?);
    let split = memchr::memmem::rfind(tail, b" for ");
    let plain = version.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.');
    plain.then_some(Text::Short {
        version,
        workstation: tail.get(..split.unwrap_or(tail.len()))?,
        product: tail.get(split.map_or(tail.len(), |split| split + 5)..)?,
    })
}

fn server_line(text: &[u8]) -> Option<Text<'_>> {
    let ours = text.starts_with(b"vlmcsd ");
    if ours && text.ends_with(b" started successfully") {
        return Some(Text::Started);
    }
    (ours && text.ends_with(b" was shutdown")).then_some(Text::Shutdown)
}

fn listening_line(place: &[u8]) -> Text<'_> {
    let port = place.rsplit(|byte| *byte == b':').next();
    let port = port.and_then(|port| std::str::from_utf8(port).ok()?.parse().ok());
    port.map_or(Text::Idle, Text::Listening)
}

fn trouble_line(text: &[u8]) -> Option<Text<'_>> {
    if text.starts_with(b"Warning: Child killed/crashed by ") {
        return Some(Text::Crash);
    }
    if text.starts_with(b"Fatal: KMSv") {
        return Some(Text::Malformed);
    }
    (text.starts_with(b"Warning: ") || text.starts_with(b"Fatal: ")).then_some(Text::Idle)
}

fn refusal_line(text: &[u8]) -> Option<Text<'_>> {
    const WORDS: [&[u8]; 4] = [b"Rejecting ", b"Refusing ", b"Client time differs ", b"Read "];
    if text == b"Client with public IP address rejected" {
        return Some(Text::Rejected);
    }
    let word = WORDS.iter().find(|word| text.starts_with(word))?;
    if *word == b"Read " {
        return Some(Text::Idle);
    }
    let open = memchr::memmem::rfind(text, b"(0x")?;
    let code = std::str::from_utf8(text.get(open + 3..)?.strip_suffix(b")")?).ok()?;
    u32::from_str_radix(code, 16).ok().map(Text::Refusal)
}

fn block_field_line(text: &[u8]) -> Option<Text<'_>> {
    let first = text.first()?;
    let (name, label) =
        LABELS.iter().find(|(name, _)| name.first() == Some(first) && text.starts_with(name))?;
    let rest = text.get(name.len()..)?;
    let padding = rest.iter().take_while(|byte| **byte == b' ').count();
    let value = rest.get(padding..)?.strip_prefix(b":")?;
    Some(Text::Field(*label, value.strip_prefix(b" ").unwrap_or(value)))
}

/// Cuts chunks of bytes into lines.
#[derive(Clone, Debug, Default)]
pub struct LogLines {
    partial: Vec<u8>,
    discarding: bool,
    pub giants: u64,
    /// Bytes of the last of them, as far as they came.
    pub giant: u64,
}

impl LogLines {
    /// Hands every line that is complete with this chunk to `each`, without its newline.
    pub fn feed_chunk(&mut self, chunk: &[u8], mut each: impl FnMut(&[u8])) {
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', chunk) {
            let piece = chunk.get(start..end).unwrap_or_default();
            start = end + 1;
            if self.discarding {
                self.discarding = false;
                self.giant += piece.len() as u64;
            } else if self.partial.is_empty() && piece.len() <= LONGEST {
                each(piece);
            } else if self.partial.len() + piece.len() <= LONGEST {
                self.partial.extend_from_slice(piece);
                each(&self.partial);
            } else {
                self.giants += 1;
                self.giant = (self.partial.len() + piece.len()) as u64;
            }
            self.partial.clear();
        }
        self.keep_rest(chunk.get(start..).unwrap_or_default());
    }

    /// Returns how many bytes of an unfinished line are held.
    pub fn pending_bytes(&self) -> usize {
        self.partial.len()
    }

    /// Hands over what is left as a line of its own: the log ends without a newline.
    pub fn end_line(&mut self, each: impl FnOnce(&[u8])) {
        let rest = std::mem::take(&mut self.partial);
        if !rest.is_empty() && !self.discarding {
            each(&rest);
        }
        self.discarding = false;
    }

    /// Forgets the unfinished line: its file is gone.
    pub fn reset(&mut self) {
        self.partial.clear();
        self.discarding = false;
    }

    /// Returns whether the line at hand is being thrown away up to its end.
    pub fn is_discarding(&self) -> bool {
        self.discarding
    }

    /// Throws the line at hand away up to its end: it began before what is fed now.
    pub fn discard_line(&mut self) {
        self.discarding = true;
    }

    fn keep_rest(&mut self, rest: &[u8]) {
        if self.discarding {
            self.giant += rest.len() as u64;
            return;
        }
        if self.partial.len() + rest.len() > LONGEST {
            self.giants += 1;
            self.giant = (self.partial.len() + rest.len()) as u64;
            self.discarding = true;
            self.partial = Vec::new();
        } else {
            self.partial.extend_from_slice(rest);
        }
    }
}

#[cfg(test)]
mod lines_tests {
    use super::*;
    use proptest::prelude::*;

    fn split(chunks: &[&[u8]]) -> (Vec<Vec<u8>>, u64) {
        let mut lines = LogLines::default();
        let mut found = Vec::new();
        for chunk in chunks {
            lines.feed_chunk(chunk, |line| found.push(line.to_vec()));
        }
        (found, lines.giants)
    }

    #[test]
    fn a_giant_is_dropped_to_its_end_and_counted_once() {
        let giant = vec![b'x'; LONGEST + 1];
        let (found, giants) = split(&[b"a\n", &giant, &giant, b"tail\nb\n"]);
        assert_eq!((found, giants), (vec![b"a".to_vec(), b"b".to_vec()], 1));
        let mut whole = giant.clone();
        whole.extend_from_slice(b"\nb\n");
        assert_eq!(split(&[&whole]), (vec![b"b".to_vec()], 1));
    }

    #[test]
    fn the_length_of_a_giant_is_known_however_it_comes() {
        let mut giant = vec![b'x'; 3 * LONGEST];
        giant.push(b'\n');
        for cut in [1_000, LONGEST, LONGEST + 1, giant.len()] {
            let mut lines = LogLines::default();
            for piece in [&b"a\n"[..], &giant, b"b\n"].concat().chunks(cut) {
                lines.feed_chunk(piece, |_| {});
            }
            assert_eq!((lines.giants, lines.giant), (1, 3 * LONGEST as u64), "{cut}");
        }
    }

    proptest! {
        #[test]
        fn the_cut_of_chunks_does_not_matter(text in proptest::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..200), cut in 1_usize..9) {
            let whole: Vec<Vec<u8>> = split(&[&text]).0;
            let pieces: Vec<&[u8]> = text.chunks(cut).collect();
            prop_assert_eq!(split(&pieces).0, whole.clone());
            prop_assert_eq!(whole.len(), memchr::memchr_iter(b'\n', &text).count());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(line: &str) -> Option<Text<'_>> {
        LineReader::default().read_line(line.as_bytes()).map(|line| line.text)
    }

    #[test]
    fn both_generations_of_labels_and_any_padding_are_one() {
        let guid = "2de67392-b7a7-462a-b1ca-108dd189f588 (Windows 10 Professional)";
        for line in [
            format!("2026-05-10 13:12:17: Activation ID (Product)         : {guid}"),
            format!("2026-05-10 13:12:17: SKU ID (aka Activation ID)      : {guid}"),
            format!("2026-05-10 13:12:17: Activation ID (Product) : {guid}"),
            format!("2026-05-10 13:12:17: Activation ID (Product):{guid}"),
        ] {
            assert_eq!(text(&line), Some(Text::Field(Label::Product, guid.as_bytes())), "{line}");
        }
    }

    #[test]
    fn the_short_form_takes_the_last_for() {
        let line = "2026-05-10 13:12:17: KMS v6.0 request from a for b for Windows 10";
        let wanted =
            Text::Short { version: b"6.0", workstation: b"a for b", product: b"Windows 10" };
        assert_eq!(text(line), Some(wanted));
    }

    #[test]
    fn refusals_carry_their_code() {
        for line in [
            "Refusing unknown product (0xC004F042)",
            "Rejecting request with more than 1000 minimum clients (0x8007000D)",
            "Client time differs more than 4 hours from system time (0xC004F06C)",
        ] {
            let line = format!("2026-05-10 13:12:17: {line}");
            assert!(matches!(text(&line), Some(Text::Refusal(_))), "{line}");
        }
    }

    #[test]
    fn a_line_must_begin_with_a_whole_time_stamp() {
        for line in [
            "2026-05-10 11:00:00 IPv4 connection accepted: 1.2.3.4:1.",
            " 2026-05-10 11:00:00: IPv4 connection accepted: 1.2.3.4:1.",
            "2026-13-10 11:00:00: IPv4 connection accepted: 1.2.3.4:1.",
            "2026-05-10 25:00:00: IPv4 connection accepted: 1.2.3.4:1.",
            "IPv4 connection accepted: 1.2.3.4:1.",
            "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
            "",
        ] {
            assert_eq!(text(line), None, "{line}");
        }
        let inside = "2026-05-10 11:00:00: Workstation name                : x: IPv4 connection accepted: 8.8.8.8:5.";
        assert!(matches!(text(inside), Some(Text::Field(Label::Workstation, _))));
    }

    #[test]
    fn the_time_is_utc_and_follows_the_line() {
        let mut reader = LineReader::default();
        let mut at = |line: &str| reader.read_line(line.as_bytes()).expect("a stamp").at;
        assert_eq!(at("2026-05-10 11:00:00: x"), 1_778_410_800);
        assert_eq!(at("2026-05-10 11:00:01: x"), 1_778_410_801);
        assert_eq!(at("2026-05-10 11:00:00: x"), 1_778_410_800);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80), which in 0_usize..LABELS.len()) {
            let mut reader = LineReader::default();
            let _ = reader.read_line(&bytes);
            let mut line = b"2026-05-10 11:00:00: ".to_vec();
            line.extend_from_slice(LABELS[which].0);
            line.extend_from_slice(&bytes);
            prop_assert!(reader.read_line(&line).is_some());
        }
    }
}
