//! One request as its lines come in: which line is expected next, and what was read so far.
//!
//! The server writes the twelve detail lines of a request always in one order, then the answer and its lines in
//! another; interleaved requests are separated by that order alone. Lines in another order, or with gaps, are
//! taken as well when no request expects them exactly.

use serde::{Deserialize, Serialize};

use super::event::RequestStatus;
use super::guid::Guid;
use super::line::Label;

/// Place of the answer's first line in the order of a request's lines.
pub const ANSWER: u8 = 12;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestBlock {
    pub connection: Option<u64>,
    /// The newest connection when it began: no later one can have sent it.
    pub limit: u64,
    /// When it began, Unix seconds.
    pub started: i64,
    /// The same in seconds of the log's own time.
    #[serde(default)]
    pub started_time: i64,
    /// When its last line was written, Unix seconds.
    pub touched: i64,
    pub turn: u64,
    /// The process that writes it, where lines name one.
    #[serde(default)]
    pub child: Option<u32>,
    /// A line of it fitted another request as well, and may be the other's.
    pub mixed: bool,
    /// Place of the line that comes next.
    pub expects: u8,
    /// It is of the short form: one line holds the whole request.
    pub short: bool,
    /// It began where a forged line could stand.
    pub doubtful: bool,
    /// Its request was reported; only lines of the answer are still to come.
    pub reported: bool,
    /// Places of the lines that were read, a bit each.
    pub seen: u32,
    pub protocol: Option<String>,
    pub status: Option<RequestStatus>,
    pub application: Option<String>,
    pub product_id: Option<Guid>,
    pub product: Option<String>,
    pub machine: Option<Guid>,
    /// What stands for the workstation's name.
    pub name: Option<Guid>,
    pub workstation: Option<String>,
}

/// Where a detail line can stand: read once, for all the requests that are asked whether it is theirs.
#[derive(Clone, Copy, Debug)]
pub struct LinePlaces {
    request: Option<u8>,
    answer: Option<u8>,
    names_machine: bool,
    machine: Option<Guid>,
}

impl LinePlaces {
    pub fn of_line(label: Label, value: &[u8]) -> Self {
        Self {
            request: request_place(label),
            answer: answer_place(label),
            names_machine: label == Label::Machine,
            machine: (label == Label::Machine).then(|| Guid::parse(value)).flatten(),
        }
    }
}

impl RequestBlock {
    /// Returns how far from the expected line this one would be: 0 is exact, larger is a worse fit, `None` is no fit at
    /// all. An answer repeats the machine ID of its request, so no other one fits it.
    pub fn line_distance(&self, line: &LinePlaces) -> Option<u8> {
        let place = if self.reported {
            let foreign = line.names_machine && line.machine != self.machine;
            line.answer.filter(|_| !foreign)
        } else {
            line.request
        }?;
        if place >= self.expects {
            return Some(place - self.expects);
        }
        // Out of order, as long as that line has not been there yet.
        (!self.reported && self.seen & (1 << place) == 0).then(|| 32 + self.expects - place)
    }

    /// Takes a detail line. The first value stays: a second one can only be forged.
    pub fn take_detail(&mut self, label: Label, value: &[u8]) {
        let place = if self.reported { answer_place(label) } else { request_place(label) };
        let Some(place) = place else { return };
        self.seen |= 1 << place;
        if place >= self.expects {
            self.expects = place + 1;
        }
        if self.reported {
            return;
        }
        match label {
            Label::Protocol => self.protocol = Some(short_text(value, 8)),
            Label::Status => self.status = RequestStatus::parse(value),
            Label::Application => {
                let (id, name) = guid_and_name(value);
                self.application = name.or_else(|| application_name(id?).map(str::to_owned));
            }
            Label::Product => (self.product_id, self.product) = guid_and_name(value),
            Label::Machine => self.machine = Guid::parse(value),
            Label::Workstation => {
                self.name = (!value.is_empty()).then(|| Guid::of_name(value));
                self.workstation = Some(short_text(value, 256));
            }
            _ => {}
        }
    }

    /// Returns whether the server has written what makes it a request, not just its first line.
    pub fn is_request(&self) -> bool {
        self.short
            || self.application.is_some()
            || self.product.is_some()
            || self.product_id.is_some()
    }

    #[must_use]
    pub fn take_texts(&mut self) -> Self {
        let texts =
            [&mut self.protocol, &mut self.application, &mut self.product, &mut self.workstation];
        let [protocol, application, product, workstation] = texts.map(Option::take);
        Self { protocol, application, product, workstation, ..self.clone() }
    }

    /// Returns what is left to know of it when its answer has begun.
    #[must_use]
    pub fn answer_part(&self) -> Self {
        Self {
            connection: self.connection,
            limit: self.limit,
            started: self.started,
            touched: self.touched,
            turn: self.turn,
            child: self.child,
            doubtful: self.doubtful,
            machine: self.machine,
            reported: true,
            expects: ANSWER + 1,
            ..Self::default()
        }
    }

    /// Takes the product's name of the short form, which gives no GUID.
    pub fn take_product_name(&mut self, name: &[u8]) {
        self.short = true;
        self.product = known_name(name).map(|name| short_text(name, 256));
    }

    /// Returns what a connection speaks for: the machine ID, or where the server names none, the workstation name.
    pub fn machine_identity(&self) -> Option<Guid> {
        self.machine.or(self.name)
    }

    /// Returns whether it may still be written: a child writes a request and its answer in milliseconds.
    pub fn is_live(&self, at: i64) -> bool {
        (at - self.touched).abs() <= 1
    }

    /// Returns whether every line of the request was written but the last.
    pub fn lacks_policy_alone(&self) -> bool {
        self.seen == (1 << Label::Policy as u8) - 1
    }

    /// Returns whether the whole request was written and its answer is next.
    pub fn awaits_answer(&self) -> bool {
        !self.reported && self.expects == ANSWER
    }

    pub fn is_over(&self) -> bool {
        self.reported && Some(self.expects) > answer_place(Label::Interval)
    }
}

fn request_place(label: Label) -> Option<u8> {
    (label <= Label::Policy).then_some(label as u8)
}

fn answer_place(label: Label) -> Option<u8> {
    let place = match label {
        Label::Protocol => 1,
        Label::HostPid => 2,
        Label::Hardware => 3,
        Label::Machine => 4,
        Label::Requested => 5,
        Label::Clients => 6,
        Label::Renewal => 7,
        Label::Interval => 8,
        _ => return None,
    };
    Some(ANSWER + place)
}

/// Splits `GUID (NAME)`: the name may hold parentheses itself. `Unknown` and an empty name are no name.
fn guid_and_name(value: &[u8]) -> (Option<Guid>, Option<String>) {
    let id = value.get(..36).and_then(Guid::parse);
    let name = memchr::memmem::find(value, b" (").and_then(|open| {
        let inside = value.get(open + 2..)?;
        inside.get(..memchr::memrchr(b')', inside)?)
    });
    let name = name.or_else(|| id.is_none().then_some(value));
    (id, name.and_then(known_name).map(|name| short_text(name, 256)))
}

/// Returns what an application ID stands for (the same in every version of Windows and of Office), where the server has
/// no name for it.
fn application_name(id: Guid) -> Option<&'static str> {
    const NAMES: [(&str, &str); 3] = [
        ("55c92734-d682-4d71-983e-d6ec3f16059f", "Windows"),
        ("59a52881-a989-479d-af46-f275c6370663", "Office"),
        ("0ff1ce15-a989-479d-af46-f275c6370663", "Office"),
    ];
    let is = |text: &str| Guid::parse(text.as_bytes()) == Some(id);
    NAMES.iter().find_map(|(text, name)| is(text).then_some(*name))
}

fn known_name(name: &[u8]) -> Option<&[u8]> {
    (!name.is_empty() && name != b"Unknown").then_some(name)
}

/// Decodes at most so many bytes, invalid UTF-8 replaced.
fn short_text(value: &[u8], most: usize) -> String {
    String::from_utf8_lossy(value.get(..most).unwrap_or(value)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_hold_parentheses_and_unknown_is_none() {
        let guid = "00000000-0000-4000-8000-00000000cafe";
        let read = |name: &str| guid_and_name(format!("{guid} ({name})").as_bytes()).1;
        assert_eq!(read("Windows Server (Volume)").as_deref(), Some("Windows Server (Volume)"));
        assert_eq!(read("Unknown"), None);
        assert_eq!(guid_and_name(b"Windows 11 Pro"), (None, Some("Windows 11 Pro".to_owned())));
        assert_eq!(guid_and_name(guid.as_bytes()), (Guid::parse(guid.as_bytes()), None));
    }

    #[test]
    fn the_expected_line_fits_best_and_a_repeated_one_not_at_all() {
        let mut block = RequestBlock::default();
        let distance =
            |block: &RequestBlock, label| block.line_distance(&LinePlaces::of_line(label, b"x"));
        assert_eq!(distance(&block, Label::Protocol), Some(0));
        block.take_detail(Label::Protocol, b"6.0");
        assert_eq!(distance(&block, Label::Protocol), None);
        assert_eq!(distance(&block, Label::Product), Some(4));
        assert_eq!(distance(&block, Label::Interval), None);
        block.take_detail(Label::Product, b"x");
        assert!(distance(&block, Label::Status).is_some_and(|far| far > 32));
    }
}
