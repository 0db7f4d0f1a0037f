//! What is wrapped around the server's lines: a container's or a collector's prefix, JSON around each line, a byte order
//! mark, carriage returns. The wrapping is recognised by the first line that makes sense; from then on a line that is
//! not wrapped that way is no line of the server, so that a forged one gains nothing by it.

use std::borrow::Cow;
use std::sync::LazyLock;

use jiff::Span;
use jiff::civil::Date;
use regex::bytes::Regex;
use serde::{Deserialize, Serialize};

use super::line::{LineReader, Text};

/// Lines in a row, of which none is understood, that are not the server's: it writes a few that are not known, here and there.
pub const STRANGE_ROW: u64 = 20;

/// What is said of a log with lines of more than one server.
pub const SEVERAL_SERVERS: &str = "The log holds lines of more than one server, whose connections cannot be kept apart: no request's client is certain from there on. Save and read the log of each pod or container alone.";

/// Longest start of a line that is looked at for what a file seems to be, in bytes.
const GLANCE: usize = 512;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wrapping {
    Bare,
    /// `docker logs` of Compose: `kms-1  | …`.
    Compose,
    /// `kubectl logs --prefix`: `[pod/NAME/CONTAINER] …`.
    Prefix,
    /// A container's time stamp: `kubectl logs --timestamps`, `docker logs -t`.
    Stamped,
    /// A kubelet's file: `STAMP stdout F …`.
    Cri,
    /// Docker's file: `{"log": …}`.
    JsonFile,
    /// `journalctl -o json`.
    JsonJournal,
    /// Lines of syslog or of the journal.
    Syslog,
}

impl Wrapping {
    pub fn as_words(self) -> &'static str {
        match self {
            Self::Bare => "nothing",
            Self::Compose => "the prefix of docker compose",
            Self::Prefix => "the prefix of kubectl's `logs --prefix`",
            Self::Stamped => "a container's time stamp",
            Self::Cri => "the container runtime's prefix (CRI)",
            Self::JsonFile => "Docker's JSON",
            Self::JsonJournal => "the journal's JSON",
            Self::Syslog => "the prefix of syslog or the journal",
        }
    }
}

static PREFIX: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r"(?x-u)^
        (?P<pod>\[pod/[^\]\ ]{1,300}\]\ )?
        (?P<compose>(?:\x1b\[[0-9;]{0,16}m)?(?P<name>[A-Za-z0-9][A-Za-z0-9_.@-]{0,100})\ *
          (?:\x1b\[[0-9;]{0,16}m)?\|(?:\x1b\[[0-9;]{0,16}m)?\ (?:\x1b\[[0-9;]{0,16}m)?)?
        (?:(?P<time>\d{4}-\d\d-\d\d[T\ ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d))\ )?
        (?P<cri>(?:stdout|stderr)\ [FP]\ )?",
    )
    .ok()
});

static SYSLOG: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r"(?x-u)^(?:<\d{1,3}>)?(?:
          1\ (?P<header>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:?\d\d))
          \ (?P<sender>[^\ ]{1,255})\ (?P<tag>[^\ ]{1,48})\ (?P<process>[^\ ]{1,128})\ [^\ ]{1,32}
          \ (?:-|(?:\[(?:[^\]\x22\\]|\x22(?:[^\x22\\]|\\.)*\x22)*\])+)\ (?:\xef\xbb\xbf)?
        |(?:1\ )?
          (?:(?P<month>[A-Z][a-z]{2})\ (?P<day>[\ \d]\d)\ (?P<clock>\d\d:\d\d:\d\d)(?:\.\d{1,9})?
            |(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d))
            |[A-Z][a-z]{2}\ (?P<full>\d{4}-\d\d-\d\d\ \d\d:\d\d:\d\d)(?:\.\d{1,9})?\ [A-Z]{2,5}
            |(?P<unix>\d{9,11})\.\d{1,9}
            |\[\ {0,10}\d{1,10}\.\d{1,9}\])
          \ (?P<host>[^\ ]{1,255})\ (?P<program>[^\ :\[]{1,100})(?:\[(?P<child>\d{1,10})\])?:?\ )",
    )
    .ok()
});

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Unwrapper {
    pub wrapping: Option<Wrapping>,
    crlf: bool,
    /// The server prints no time of its own; what is wrapped around its lines has it.
    #[serde(default)]
    timeless: bool,
    /// The day on which the log is read: of syslog's stamps, which have no year, none is far behind it.
    #[serde(skip)]
    today: Option<Date>,
    begun: bool,
    /// What the file seems to be, by the first line of a row without sense that says so.
    #[serde(skip)]
    seems: Option<&'static str>,
    /// Lines in a row that made no sense, up to now.
    #[serde(default)]
    pub strange_row: u64,
    /// Lines before the first that made sense.
    #[serde(default)]
    pub unread: u64,
    /// The pod, container or host that the server's lines name.
    #[serde(default)]
    source: Vec<u8>,
    /// The same of the line at hand.
    #[serde(skip)]
    line_source: Vec<u8>,
    /// The process that wrote it, where syslog or the journal names it.
    #[serde(skip)]
    pub line_child: Option<u32>,
    /// Lines of more than one server stand in the log.
    #[serde(default)]
    pub several_sources: bool,
}

/// A line taken out of its wrapping.
struct Inner<'a> {
    line: Cow<'a, [u8]>,
    wrapping: Wrapping,
    time: Option<jiff::Timestamp>,
    source: Option<Cow<'a, [u8]>>,
    child: Option<u32>,
}

impl<'a> Inner<'a> {
    fn of(line: impl Into<Cow<'a, [u8]>>, wrapping: Wrapping) -> Self {
        Self { line: line.into(), wrapping, time: None, source: None, child: None }
    }
}

impl Unwrapper {
    /// Sets the day on which the log is read: syslog's stamps, which have no year, are of the last one in which they are not ahead
    /// of it.
    pub fn read_on(&mut self, today: Date) {
        self.today = Some(today);
    }

    fn dated(&self, month: i8, day: i8) -> Option<Date> {
        let today = self.today?;
        // A server's clock, or a time zone, may be a day ahead.
        let latest = today.checked_add(Span::new().days(2)).ok()?;
        (0..=8)
            .filter_map(|back| Date::new(latest.year() - back, month, day).ok())
            .find(|date| *date <= latest)
    }

    /// Returns what a file seems to be of which nothing is understood, or nothing any more.
    pub fn seems_to_be(&self) -> Option<&'static str> {
        self.seems
    }

    pub fn note_strange(&mut self, line: &[u8]) {
        self.strange_row += 1;
        if self.seems.is_none() {
            self.seems = seems_to_be(line);
        }
    }

    /// Notes that the line at hand is the server's, and whether it is one of those with which a server begins.
    pub fn note_understood(&mut self, is_server_start: bool) {
        self.strange_row = 0;
        self.seems = None;
        // A container that takes another's place may have another name.
        if self.source.is_empty() || is_server_start && !self.line_source.is_empty() {
            self.source.clone_from(&self.line_source);
        } else if !self.line_source.is_empty() && self.source != self.line_source {
            self.several_sources = true;
        }
    }

    /// Notes how a log begins that has no whole line so far, for what it seems to be.
    pub fn note_unended(&mut self, start: &[u8]) {
        if self.seems.is_none() && LineReader::default().read_line(start).is_none() {
            self.seems = seems_to_be(start);
        }
    }

    fn note_line_source(&mut self, source: Option<&[u8]>, child: Option<u32>) {
        self.line_child = child;
        self.line_source.clear();
        self.line_source.extend_from_slice(source.unwrap_or_default());
    }

    pub fn unwrap_line<'a>(&mut self, line: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        const KINDS: [Wrapping; 4] =
            [Wrapping::Bare, Wrapping::JsonFile, Wrapping::Stamped, Wrapping::Syslog];
        if self.wrapping == Some(Wrapping::Bare) && !self.crlf {
            // A server that begins to end its lines so: its own lines say it, not those that a client has a part in.
            self.crlf = line.ends_with(b".\r") && is_connections_own(without_carriage_return(line));
            return Some(Cow::Borrowed(if self.crlf {
                without_carriage_return(line)
            } else {
                line
            }));
        }
        let mut line = line;
        if !std::mem::replace(&mut self.begun, true) {
            line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        }
        if let Some(wrapping) = self.wrapping {
            let line = if self.crlf { without_carriage_return(line) } else { line };
            let inner = self.take_wrapped(wrapping, line)?;
            self.note_line_source(inner.source.as_deref(), inner.child);
            return Some(if self.timeless {
                stamped(&inner.line, inner.time?)
            } else {
                inner.line
            });
        }
        // What a client chose may end with a carriage return of its own; then the next line decides.
        let ends = without_carriage_return(line);
        for kind in KINDS {
            let Some(Inner { line: mut inner, wrapping, time, source, child }) =
                self.take_wrapped(kind, ends)
            else {
                continue;
            };
            let timeless = LineReader::default().read_line(&inner).is_none();
            if let Some(time) = time.filter(|_| timeless) {
                inner = stamped(&inner, time);
            }
            let known = LineReader::default().read_line(&inner).map(|line| line.text);
            let own_stamp = kind != Wrapping::Syslog && !timeless;
            if known.is_some_and(|text| own_stamp || text != Text::Unknown) {
                self.wrapping = Some(wrapping);
                self.timeless = timeless;
                self.crlf = ends.len() < line.len();
                self.note_line_source(source.as_deref(), child);
                return Some(inner);
            }
        }
        self.unread += 1;
        None
    }

    /// Takes a line out of one kind of wrapping; returns which it is exactly, and what that says.
    fn take_wrapped<'a>(&self, kind: Wrapping, line: &'a [u8]) -> Option<Inner<'a>> {
        match kind {
            Wrapping::Bare => Some(Inner::of(line, kind)),
            Wrapping::JsonFile | Wrapping::JsonJournal => unwrap_json(line),
            Wrapping::Syslog => self.unwrap_syslog(line),
            Wrapping::Compose | Wrapping::Prefix | Wrapping::Stamped | Wrapping::Cri => {
                let found = PREFIX.as_ref()?.captures(line)?;
                let end = found.get(0)?.end();
                let wrapping = if found.name("cri").is_some() {
                    Wrapping::Cri
                } else if found.name("pod").is_some() {
                    Wrapping::Prefix
                } else if found.name("compose").is_some() {
                    Wrapping::Compose
                } else {
                    Wrapping::Stamped
                };
                let time = found.name("time").and_then(|time| parse_time(time.as_bytes()));
                let source = found.name("pod").or_else(|| found.name("name"));
                let source = source.map(|source| Cow::Borrowed(source.as_bytes()));
                (end > 0).then_some(Inner { time, source, ..Inner::of(line.get(end..)?, wrapping) })
            }
        }
    }

    /// Takes a line out of syslog's; the server prints no time of its own there.
    fn unwrap_syslog<'a>(&self, line: &'a [u8]) -> Option<Inner<'a>> {
        let found = SYSLOG.as_ref()?.captures(line)?;
        let inner = line.get(found.get(0)?.end()..)?;
        let words =
            ["sender", "tag", "host", "program"].into_iter().filter_map(|name| found.name(name));
        let words: Vec<&[u8]> = words.map(|word| word.as_bytes()).collect();
        let source = Some(Cow::Owned(words.join(&b' ')));
        let text = |name: &str| std::str::from_utf8(found.name(name)?.as_bytes()).ok();
        let child = text("process").or_else(|| text("child")).and_then(|child| child.parse().ok());
        if LineReader::default().read_line(inner).is_some() {
            return Some(Inner { source, child, ..Inner::of(inner, Wrapping::Syslog) });
        }
        let stamp = if let Some(time) = text("time").or_else(|| text("header")) {
            written(parse_time(time.as_bytes())?)
        } else if let Some(full) = text("full") {
            full.to_owned()
        } else if let Some(seconds) = text("unix") {
            written(jiff::Timestamp::from_second(seconds.parse().ok()?).ok()?)
        } else {
            const MONTHS: [&str; 12] = [
                "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
            ];
            let name = text("month")?;
            let month = MONTHS.iter().position(|month| *month == name)? + 1;
            let day = text("day")?.trim().parse().ok()?;
            format!("{} {}", self.dated(i8::try_from(month).ok()?, day)?, text("clock")?)
        };
        let whole = [stamp.as_bytes(), b": ", inner].concat();
        Some(Inner { source, child, ..Inner::of(whole, Wrapping::Syslog) })
    }
}

fn without_carriage_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Returns whether a line says that a connection was accepted or closed.
fn is_connections_own(line: &[u8]) -> bool {
    let read = LineReader::default().read_line(line).map(|line| line.text);
    matches!(read, Some(Text::Accepted(_) | Text::Closed(_)))
}

fn parse_time(text: &[u8]) -> Option<jiff::Timestamp> {
    std::str::from_utf8(text).ok()?.replace(',', ".").parse().ok()
}

/// Writes a time as the server writes it.
fn written(time: jiff::Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// Puts a time before a line, as the server does.
fn stamped(line: &[u8], time: jiff::Timestamp) -> Cow<'static, [u8]> {
    Cow::Owned([written(time).as_bytes(), b": ", line].concat())
}

/// Takes a line out of the JSON of Docker or of the journal.
fn unwrap_json(line: &[u8]) -> Option<Inner<'_>> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Message {
        Text(String),
        /// What is no UTF-8.
        Bytes(Vec<u8>),
    }
    #[derive(Deserialize)]
    struct Around {
        log: Option<String>,
        /// Of Docker.
        time: Option<serde_json::Value>,
        #[serde(rename = "MESSAGE")]
        message: Option<Message>,
        /// Of the journal, in microseconds.
        #[serde(rename = "__REALTIME_TIMESTAMP")]
        received: Option<serde_json::Value>,
        #[serde(rename = "_PID")]
        process: Option<serde_json::Value>,
        #[serde(flatten)]
        rest: serde_json::Map<String, serde_json::Value>,
    }
    /// What names the server among others: of the journal, of Docker's `tag`, of what collectors add.
    const SOURCES: [&str; 7] = [
        "/_HOSTNAME",
        "/CONTAINER_NAME",
        "/_SYSTEMD_UNIT",
        "/SYSLOG_IDENTIFIER",
        "/attrs/tag",
        "/kubernetes/pod_name",
        "/kubernetes/container_name",
    ];
    if line.first() != Some(&b'{') {
        return None;
    }
    let around: Around = serde_json::from_slice(line).ok()?;
    let (mut text, wrapping) = match (around.log, around.message) {
        (Some(log), _) => (log.into_bytes(), Wrapping::JsonFile),
        (None, Some(Message::Text(text))) => (text.into_bytes(), Wrapping::JsonJournal),
        (None, Some(Message::Bytes(bytes))) => (bytes, Wrapping::JsonJournal),
        (None, None) => return None,
    };
    let time = match wrapping {
        Wrapping::JsonFile => around.time.and_then(|time| parse_time(time.as_str()?.as_bytes())),
        _ => around
            .received
            .and_then(|time| jiff::Timestamp::from_microsecond(time.as_str()?.parse().ok()?).ok()),
    };
    if text.last() == Some(&b'\n') {
        text.pop();
    }
    let child = around.process.and_then(|process| process.as_str()?.parse().ok());
    let rest = serde_json::Value::Object(around.rest);
    let words = SOURCES.iter().filter_map(|path| rest.pointer(path)?.as_str());
    let source = words.collect::<Vec<_>>().join(" ");
    let source = Some(Cow::Owned(source.into_bytes()));
    Some(Inner { time, source, child, ..Inner::of(text, wrapping) })
}

/// Returns what a line that makes no sense says of its file.
fn seems_to_be(line: &[u8]) -> Option<&'static str> {
    let start = line.get(..GLANCE).unwrap_or(line);
    let has = |text: &[u8]| memchr::memmem::find(start, text).is_some();
    if start.starts_with(b"\x1f\x8b") {
        Some("a file packed by gzip")
    } else if start.starts_with(b"\xff\xfe") || start.starts_with(b"\xfe\xff") || has(b"\0") {
        Some("UTF-16 text or no text at all; save it as UTF-8")
    } else if has(b"Received V") || has(b"TCP server listening at") || has(b"HWID: ") {
        Some("a log of py-kms, which is another server")
    } else if has(b" connection accepted: ") || has(b"<<< Incoming KMS request") {
        Some("a log of this server without its time stamps, or with another form of them")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "2026-05-10 13:12:17: IPv4 connection accepted: 192.0.2.1:7.";

    fn inner(line: &str) -> Option<(String, Wrapping)> {
        let mut unwrapper = Unwrapper::default();
        unwrapper.read_on(jiff::civil::date(2026, 6, 1));
        let inner = unwrapper.unwrap_line(line.as_bytes())?;
        let text = String::from_utf8(inner.into_owned()).expect("text");
        Some((text, unwrapper.wrapping?))
    }

    #[test]
    fn every_wrapping_is_taken_off() {
        let bare = "IPv4 connection accepted: 192.0.2.1:7.";
        for (line, wrapping) in [
            (LINE.to_owned(), Wrapping::Bare),
            (format!("{LINE}\r"), Wrapping::Bare),
            (format!("\u{feff}{LINE}\r"), Wrapping::Bare),
            (format!("kms-1  | {LINE}"), Wrapping::Compose),
            (format!("kms-1  | 2026-05-10T13:12:17.5Z {LINE}"), Wrapping::Compose),
            (format!("[pod/kms-1/windows-kms] {LINE}"), Wrapping::Prefix),
            (format!("[pod/kms-1/windows-kms] 2026-05-10T13:12:17.5Z {LINE}"), Wrapping::Prefix),
            (format!("2026-05-10T13:12:17.123456789Z {LINE}"), Wrapping::Stamped),
            (format!("2026-05-10T15:12:17+02:00 {LINE}"), Wrapping::Stamped),
            (format!("2026-05-10T13:12:17.123456789Z stdout F {LINE}"), Wrapping::Cri),
            (format!("{{\"log\":\"{LINE}\\n\",\"stream\":\"stdout\"}}"), Wrapping::JsonFile),
            (format!("{{\"MESSAGE\":\"{LINE}\",\"_PID\":\"1\"}}"), Wrapping::JsonJournal),
            (
                format!("{{\"MESSAGE\":\"{bare}\",\"__REALTIME_TIMESTAMP\":\"1778418737123456\"}}"),
                Wrapping::JsonJournal,
            ),
            (
                format!(
                    "{{\"MESSAGE\":{:?},\"__REALTIME_TIMESTAMP\":\"1778418737123456\"}}",
                    bare.as_bytes()
                ),
                Wrapping::JsonJournal,
            ),
            (format!("2026-05-10T13:12:17.123456789Z {bare}"), Wrapping::Stamped),
            (format!("2026-05-10T13:12:17.123456789Z stdout F {bare}"), Wrapping::Cri),
            (
                format!(
                    "{{\"log\":\"{bare}\\n\",\"stream\":\"stdout\",\"time\":\"2026-05-10T13:12:17.5Z\"}}"
                ),
                Wrapping::JsonFile,
            ),
            (format!("kms-1  | 2026-05-10T13:12:17.5Z {bare}"), Wrapping::Compose),
            (format!("\x1b[36mkms-1  | \x1b[0m{LINE}"), Wrapping::Compose),
            (format!("\x1b[36;1mkms-1  |\x1b[0m {LINE}"), Wrapping::Compose),
            (format!("May 10 13:12:17 kms vlmcsd[77]: {bare}"), Wrapping::Syslog),
            (format!("<14>May 10 13:12:17 kms vlmcsd[77]: {bare}"), Wrapping::Syslog),
            (format!("May 10 13:12:17 node docker[77]: {LINE}"), Wrapping::Syslog),
            (format!("2026-05-10T15:12:17+0200 kms vlmcsd[77]: {bare}"), Wrapping::Syslog),
            (
                format!("<30>1 2026-05-10T15:12:17.25+02:00 kms vlmcsd 77 - - {bare}"),
                Wrapping::Syslog,
            ),
            (
                format!(
                    "<30>1 2026-05-10T13:12:17Z kms docker 77 ID7 [a@1 b=\"]\\\"\"][c] \u{feff}{LINE}"
                ),
                Wrapping::Syslog,
            ),
            (format!("May 10 13:12:17.123456 kms vlmcsd[77]: {bare}"), Wrapping::Syslog),
            (format!("Sun 2026-05-10 13:12:17 UTC kms vlmcsd[77]: {bare}"), Wrapping::Syslog),
            (format!("1778418737.123456 kms vlmcsd[77]: {bare}"), Wrapping::Syslog),
            (format!("[  123.456789] node docker[77]: {LINE}"), Wrapping::Syslog),
            (format!("kms.1.x7f@node-1    | {LINE}"), Wrapping::Compose),
        ] {
            assert_eq!(inner(&line), Some((LINE.to_owned(), wrapping)), "{line}");
        }
    }

    #[test]
    fn stamps_without_a_year_are_of_the_last() {
        for (today, stamp, year) in [
            ((2026, 11, 30), "Dec 31 23:59:58", "2025-12-31"),
            ((2026, 11, 30), "Jan  1 00:00:03", "2026-01-01"),
            ((2027, 1, 1), "Dec 31 23:59:58", "2026-12-31"),
            ((2026, 12, 31), "Jan  1 00:00:03", "2027-01-01"),
            ((2026, 3, 1), "Feb 29 12:00:00", "2024-02-29"),
        ] {
            let mut unwrapper = Unwrapper::default();
            unwrapper.read_on(jiff::civil::date(today.0, today.1, today.2));
            let line = format!("{stamp} kms vlmcsd[7]: IPv4 connection accepted: 192.0.2.1:7.");
            let inner = unwrapper.unwrap_line(line.as_bytes()).expect("a line");
            assert!(inner.starts_with(year.as_bytes()), "{stamp}, read on {today:?}: {inner:?}");
        }
    }

    /// What puts a text of a server of a name into a collector's line.
    type Wrap<'a> = &'a dyn Fn(&str, &str) -> String;

    /// Each word that names a server in the lines of a collector tells two servers apart; one that takes another's place is none beside it.
    #[test]
    fn servers_of_one_collector_are_kept_apart() {
        let json = |place: &str, text: &str| format!("{{\"MESSAGE\":\"{text}\",{place}}}");
        let host = |name: &str| format!("\"_HOSTNAME\":\"{name}\"");
        let container = |name: &str| format!("\"_HOSTNAME\":\"n\",\"CONTAINER_NAME\":\"{name}\"");
        let tag = |name: &str, text: &str| {
            format!("{{\"log\":\"{text}\\n\",\"attrs\":{{\"tag\":\"{name}\"}}}}")
        };
        let wraps: [Wrap<'_>; 5] = [
            &|name, text| json(&host(name), text),
            &|name, text| json(&container(name), text),
            &|name, text| tag(name, text),
            &|name, text| format!("May 10 13:12:17 node {name}[812]: {text}"),
            &|name, text| format!("<30>1 2026-05-10T13:12:17Z node {name} 812 - - {text}"),
        ];
        let start =
            LINE.replace("IPv4 connection accepted: 192.0.2.1:7.", "Listening on 0.0.0.0:1688");
        for wrap in wraps {
            for (lines, several) in [
                ([("a", LINE), ("a", LINE)], false),
                ([("a", LINE), ("b", LINE)], true),
                ([("a", LINE), ("b", start.as_str())], false),
            ] {
                let mut unwrapper = Unwrapper::default();
                unwrapper.read_on(jiff::civil::date(2026, 6, 1));
                for (name, text) in lines {
                    let line = wrap(name, text);
                    assert!(unwrapper.unwrap_line(line.as_bytes()).is_some(), "{line}");
                    unwrapper.note_understood(text != LINE);
                }
                assert_eq!(unwrapper.several_sources, several, "{}", wrap("a", LINE));
            }
        }
    }

    #[test]
    fn a_wrapping_stays_what_it_was() {
        let mut unwrapper = Unwrapper::default();
        assert!(unwrapper.unwrap_line(format!("kms-1  | {LINE}").as_bytes()).is_some());
        assert!(unwrapper.unwrap_line(LINE.as_bytes()).is_none());
        let mut unwrapper = Unwrapper::default();
        assert!(unwrapper.unwrap_line(LINE.as_bytes()).is_some());
        let name = b"2026-05-10 13:12:17: Workstation name                : x\r";
        assert_eq!(unwrapper.unwrap_line(name).as_deref(), Some(&name[..]));
    }

    #[test]
    fn carriage_returns_may_begin_in_the_middle() {
        let mut unwrapper = Unwrapper::default();
        let with = format!("{LINE}\r");
        for line in [LINE, &with, LINE, &with] {
            assert_eq!(unwrapper.unwrap_line(line.as_bytes()).as_deref(), Some(LINE.as_bytes()));
        }
    }

    #[test]
    fn what_is_no_log_is_named() {
        for (line, words) in [
            (&b"Mon, 17 Nov 2025 22:14:09 INFO     Received V6 request on Mon Nov 17 22:14:09 2025."[..], "py-kms"),
            (b"\x1f\x8b\x08\0", "gzip"),
            (b"\xff\xfe2\0", "UTF-16"),
            (b"05/10/2026 01:12:17 PM: IPv4 connection accepted: 192.0.2.1:7.", "time stamps"),
        ] {
            let mut unwrapper = Unwrapper::default();
            assert!(unwrapper.unwrap_line(line).is_none());
            unwrapper.note_strange(line);
            assert!(unwrapper.seems_to_be().is_some_and(|seems| seems.contains(words)), "{words}");
        }
    }
}
