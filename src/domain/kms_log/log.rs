//! The log's state machine: lines in, events out. Keeps the set of open connections; [`super::request`] reads
//! requests and [`super::attribute`] finds whose they are.
//!
//! A workstation name may bring a newline and a whole forged line. It then stands between `Workstation name` and
//! `N count policy` of one request; lines there are believed only as far as later lines bear them out.

use std::cmp::Ordering;
use std::collections::{BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use super::connections::{Open, OpenConnection};
use super::event::{Anomaly, Attribution, KmsEvent, RequestOutcome};
use super::line::{LineReader, Text};
use super::machines::Machines;
use super::peer::Peer;
use super::request_block::RequestBlock;
use super::wrapper::Unwrapper;

/// Seconds after which a silent connection is rather gone: the longest idle time-out that the server takes, and a minute. One
/// that the log names stays possible all the same until its `closed` line, as each byte that its client drips starts the time-out
/// anew: unless a child of the server has died meanwhile, whose connection has no such line.
const IDLE_SECONDS: i64 = 660;
/// Seconds that can be believed to have passed between two lines. A longer silence may be a clock that was set; of a
/// server that was silent the connections would have been closed.
const SILENCE_SECONDS: i64 = 60;
/// Seconds within which a doubtful `closed` must be contradicted.
const DOUBT_SECONDS: i64 = 60;
/// Most deaths of the server's children that are remembered.
const MOST_CRASHES: usize = 64;
/// Seconds between two looks for silent connections.
const SWEEP_SECONDS: i64 = 10;
/// Lines after which the place of a forged line has surely passed.
const GAP_LINES: u8 = 64;
/// Seconds by which the stamp of a line in such a place may be ahead: a child that is not given the processor comes
/// late with its next line.
const LATE_SECONDS: i64 = 10;

/// Seconds that count as passed where a clock is set back: enough that no connection from before counts as new.
const HIDDEN_SECONDS: i64 = 5;
/// Seconds by which lines of two children may be out of order; a stamp that is further behind is of a clock that was set back.
const DISORDER_SECONDS: i64 = 2;

/// The place after a `Workstation name` where a forged line could stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Gap {
    pub(super) block: usize,
    pub(super) connection: Option<u64>,
    pub(super) at: i64,
    pub(super) lines: u8,
    /// A client that was accepted at another time than the request's; opened once the next line is of that time too.
    #[serde(default)]
    pub(super) jumped: Option<(i64, Peer)>,
}

impl Gap {
    /// Returns how a stamp jumps: back, or far ahead. One second back is the order in which two children get to write.
    fn jump_direction(&self, at: i64) -> Ordering {
        if at < self.at - 1 {
            Ordering::Less
        } else if at > self.at + LATE_SECONDS {
            Ordering::Greater
        } else {
            Ordering::Equal
        }
    }

    /// Returns the client whose stamp jumped, if this next line bears it out: the clock was set, or it was quiet.
    fn borne_out(&mut self, at: i64) -> Option<(i64, Peer)> {
        let (then, peer) = self.jumped.take()?;
        let same = self.jump_direction(at) == self.jump_direction(then)
            && (then < self.at || at >= then - 1);
        same.then_some((then, peer))
    }
}

/// What the log said so far, as far as it matters for what comes.
#[derive(Clone, Debug, Default)]
pub struct Log {
    pub(super) reader: LineReader,
    /// Takes lines out of what is wrapped around them.
    pub wrapper: Unwrapper,
    pub(super) open: Open,
    pub(super) machines: Machines,
    pub(super) blocks: Vec<RequestBlock>,
    pub(super) gap: Option<Gap>,
    pub(super) last: Option<u64>,
    pub(super) swept: i64,
    pub(super) time: LogTime,
    /// When children died of which it is not known whose they were, in seconds of the log's own time; oldest first.
    pub(super) crashes: VecDeque<i64>,
    /// Connections that ended since this was emptied, where anyone asks for them; `active` is then the end.
    pub ended: Option<Vec<OpenConnection>>,
    /// The ports that servers said they listen on.
    pub listens_on: BTreeSet<u16>,
    pub tally: Tally,
}

/// The log's own time: seconds that have certainly passed, as far as its lines show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogTime {
    pub(super) now: i64,
    /// The latest stamp since the server's clock was last set back.
    #[serde(default)]
    latest: i64,
    /// Until when a connection may be open that this log does not know of, as it begins in the middle or had no room.
    unseen_until: i64,
}

impl Default for LogTime {
    fn default() -> Self {
        Self { now: 0, latest: 0, unseen_until: IDLE_SECONDS }
    }
}

impl LogTime {
    /// Lets the time pass up to a stamp. One that is a little behind is a child's that came late; one that is further behind is
    /// of a clock that was set back, and hides how much has passed.
    fn note_stamp(&mut self, at: i64) {
        let set_back = at < self.latest - DISORDER_SECONDS;
        if set_back {
            self.now += HIDDEN_SECONDS;
        } else if self.latest > 0 {
            self.now += (at - self.latest).clamp(0, SILENCE_SECONDS);
        }
        if at > self.latest || set_back {
            self.latest = at;
        }
    }

    /// Returns the log's own time of a line that was just read.
    pub(super) fn of_stamp(&self, at: i64) -> i64 {
        self.now - (self.latest - at).clamp(0, DISORDER_SECONDS)
    }

    /// Notes that connections may be open that the log does not know of.
    fn note_unseen(&mut self) {
        self.unseen_until = self.now + IDLE_SECONDS;
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    pub lines: u64,
    /// Lines without a time stamp, or that no known server writes.
    pub unparsed: u64,
    pub connections: u64,
    /// Time stamp of the last line, Unix seconds.
    pub last_line: i64,
}

impl Log {
    pub fn keeping_ended() -> Self {
        Self { ended: Some(Vec::new()), ..Self::default() }
    }

    /// Notes that the log begins here with the server, or was empty: no connection is open.
    pub fn begin_empty(&mut self) {
        self.time.unseen_until = self.time.now;
    }

    /// Notes that a part of the log is missing.
    pub fn note_missing_part(&mut self) {
        self.time.note_unseen();
    }

    /// Returns whether a connection may be open that the log does not know of.
    pub(super) fn may_be_unseen(&self) -> bool {
        self.time.now < self.time.unseen_until
    }

    pub fn open_connections(&self) -> usize {
        self.open.len()
    }

    /// Reads one line without its newline and appends what it says to `events`.
    pub fn read_line(&mut self, bytes: &[u8], events: &mut Vec<KmsEvent>) {
        self.tally.lines += 1;
        let inner = self.wrapper.unwrap_line(bytes);
        let Some(line) = inner.as_deref().and_then(|inner| self.reader.read_line(inner)) else {
            self.tally.unparsed += 1;
            self.wrapper.note_strange(bytes);
            return;
        };
        let at = line.at;
        if line.text == Text::Unknown {
            self.wrapper.note_strange(bytes);
        } else {
            let starts = matches!(line.text, Text::Started | Text::Listening(_));
            self.wrapper.note_understood(starts);
        }
        if let Some((then, peer)) = self.gap.as_mut().and_then(|gap| gap.borne_out(at)) {
            self.open_connection(then, peer, true, events);
        }
        let before = self.tally.last_line;
        let inside = self.is_inside(at);
        if !inside {
            self.time.note_stamp(at);
            self.tally.last_line = at;
            if (self.time.now - self.swept).abs() >= SWEEP_SECONDS {
                self.look_around(at, events);
            }
        }
        match line.text {
            Text::Accepted(peer) => self.note_accepted(at, peer, inside, events),
            Text::Closed(peer) => self.note_closed(at, peer, inside, events),
            Text::Request => self.begin_request(at, inside, events),
            Text::Field(label, value) => self.note_field(at, label, value, inside, events),
            Text::Answer => self.finish_request(at, RequestOutcome::Answered, inside, events),
            Text::Refusal(code) => {
                self.finish_request(at, RequestOutcome::Refused(code), inside, events);
            }
            Text::Short { version, workstation, product } => {
                self.note_short(at, [version, workstation, product], inside, events);
            }
            Text::Started if inside => push_anomaly(at, None, Anomaly::InsideRequest, events),
            Text::Started => self.note_restart(at, before, events),
            Text::Crash => self.note_crash(at, inside, events),
            Text::Malformed => self.note_malformed(at, events),
            Text::Listening(port) if !inside => drop(self.listens_on.insert(port)),
            Text::Listening(_) | Text::Rejected | Text::Shutdown | Text::Idle => {}
            Text::Unknown => self.tally.unparsed += 1,
        }
    }

    /// Returns whether this line stands where a name could have put it. The first stamped line does, with any stamp;
    /// time ends the place only after that.
    fn is_inside(&mut self, at: i64) -> bool {
        let Some(gap) = &mut self.gap else {
            return false;
        };
        // What another process writes, no name has put there.
        let child = self.wrapper.line_child;
        if self.blocks.get(gap.block).is_some_and(|block| block.child != child) {
            return false;
        }
        if (gap.lines > 0 && at > gap.at + 1) || gap.lines >= GAP_LINES {
            self.gap = None;
            return false;
        }
        gap.lines += 1;
        true
    }

    fn note_accepted(&mut self, at: i64, peer: Peer, inside: bool, events: &mut Vec<KmsEvent>) {
        if let Some(number) = self.open.number_of(&peer) {
            let before = self.open.get(number);
            let closed = before.is_some_and(OpenConnection::was_closed);
            if before.is_some_and(|before| before.closing.is_none()) {
                push_anomaly(at, Some(peer), Anomaly::AcceptedTwice, events);
            }
            if inside {
                return;
            }
            self.end_connection(at, number, closed, events);
        }
        // A forged stamp would keep an invented connection among those that may have sent what comes.
        if let Some(gap) = self.gap.as_mut().filter(|_| inside)
            && gap.jump_direction(at) != Ordering::Equal
        {
            gap.jumped = Some((at, peer));
            push_anomaly(at, Some(peer), Anomaly::InsideRequest, events);
            return;
        }
        self.open_connection(at, peer, inside, events);
    }

    fn open_connection(&mut self, at: i64, peer: Peer, inside: bool, events: &mut Vec<KmsEvent>) {
        self.tally.connections += 1;
        let child = self.wrapper.line_child.filter(|_| !inside);
        let room = self.open.insert(peer, [at, self.time.of_stamp(at)], inside, child);
        if let Some((number, connection)) = room {
            self.time.note_unseen();
            push_anomaly(at, Some(connection.peer), Anomaly::Evicted, events);
            self.release_requests(at, number, &connection, events);
            self.note_ended(connection, at);
        }
    }

    fn note_closed(&mut self, at: i64, peer: Peer, inside: bool, events: &mut Vec<KmsEvent>) {
        let Some(number) = self.open.number_of(&peer) else {
            // Where one was open of which the log does not know, there may be more.
            if !inside {
                self.time.note_unseen();
            }
            push_anomaly(at, Some(peer), Anomaly::ClosedUnopened, events);
            return;
        };
        // Where several are open, whose request it is may be a guess; the only one closes only itself, and even that not
        // before the last line of a server that wrote all the others.
        let own = self.open.len() == 1
            && self.gap.is_some_and(|gap| {
                let block = self.blocks.get(gap.block);
                gap.connection == Some(number)
                    && !block.is_some_and(RequestBlock::lacks_policy_alone)
            });
        let Some(connection) = self.open.get_mut(number) else {
            return;
        };
        if connection.closing.is_some() && !inside {
            push_anomaly(at, Some(peer), Anomaly::ForgedClose, events);
        } else if inside && !own {
            // Never final: the line may be forged, and later ones decide.
            push_anomaly(at, Some(peer), Anomaly::InsideRequest, events);
            connection.closing.get_or_insert(at);
            return;
        }
        self.end_connection(at, number, true, events);
    }

    /// Takes a connection out of the set. `seen` says that its end was in the log: only then was it a probe.
    fn end_connection(&mut self, at: i64, number: u64, seen: bool, events: &mut Vec<KmsEvent>) {
        let Some(connection) = self.open.remove(number) else {
            return;
        };
        if connection.opened != at {
            self.machines.note_stay(connection.peer.address);
        }
        let requested = self.release_requests(at, number, &connection, events);
        if seen && !requested && connection.requests == 0 && !connection.malformed {
            events.push(KmsEvent::Probe { at, peer: connection.peer });
        }
        let end = if seen { at } else { connection.active };
        self.note_ended(connection, end);
    }

    fn note_ended(&mut self, mut connection: OpenConnection, at: i64) {
        if let Some(ended) = &mut self.ended {
            connection.active = at;
            ended.push(connection);
        }
    }

    /// Hands out the connections that the log leaves open, as ended with its last line.
    pub fn end_open_connections(&mut self) {
        for number in self.open.find_all(|_| true) {
            if let Some(connection) = self.open.remove(number) {
                self.note_ended(connection, self.tally.last_line);
            }
        }
    }

    fn note_malformed(&mut self, at: i64, events: &mut Vec<KmsEvent>) {
        // Only as many are busy as requests are being written: the look ends soon, however many are open.
        let fresh = self.open.silent_connections(0).filter(|(_, silent)| !silent.busy);
        let fresh: Vec<u64> = fresh.map(|(number, _)| number).take(2).collect();
        let one = if let [number] = fresh.as_slice() { self.open.get_mut(*number) } else { None };
        push_anomaly(
            at,
            one.as_ref().map(|connection| connection.peer),
            Anomaly::Malformed,
            events,
        );
        if let Some(connection) = one {
            connection.malformed = true;
            connection.active = at;
            connection.active_time = self.time.of_stamp(at);
        }
    }

    /// The server has started: all connections are gone, and were not before its last line, of `before`.
    fn note_restart(&mut self, at: i64, before: i64, events: &mut Vec<KmsEvent>) {
        for number in self.open.find_all(|_| true) {
            let closed = self.open.get(number).is_some_and(OpenConnection::was_closed);
            if let Some(connection) = self.open.get_mut(number) {
                connection.active = connection.active.max(before);
            }
            self.end_connection(at, number, closed, events);
        }
        self.blocks.clear();
        self.begin_empty();
        self.gap = None;
    }

    /// A child of the server died, with what it was writing.
    fn note_crash(&mut self, at: i64, inside: bool, events: &mut Vec<KmsEvent>) {
        push_anomaly(at, None, Anomaly::Crash, events);
        let dead = if inside { None } else { self.find_dead(at, events) };
        if let Some(number) = dead {
            self.end_connection(at, number, false, events);
        } else {
            // A forged one as well, which counts as forged: else each true one in such a place would leave a doubt for ever.
            if self.crashes.len() >= MOST_CRASHES {
                self.crashes.pop_front();
            }
            self.crashes.push_back(self.time.now);
        }
    }

    /// Returns the connection whose child has just died, where that is certain, and cuts short what it was writing.
    fn find_dead(&mut self, at: i64, events: &mut Vec<KmsEvent>) -> Option<u64> {
        let written = |block: &RequestBlock| !block.reported && block.is_live(at);
        let mut written =
            (0..self.blocks.len()).filter(|index| self.blocks.get(*index).is_some_and(written));
        let (first, None) = (written.next(), written.next()) else {
            return None;
        };
        let Some(index) = first else {
            // Between two requests: of the only connection, where there can be no other.
            let sure =
                self.open.len() == 1 && !self.may_be_unseen() && !self.wrapper.several_sources;
            return self.open.oldest_open().filter(|_| sure);
        };
        let block = self.blocks.get(index)?;
        let dead = block.connection.and_then(|number| {
            let address = self.open.get(number)?.peer.address;
            let attribution = self.possible_senders(block, number, address).attribution;
            (attribution == Attribution::Certain).then_some(number)
        });
        self.cut_short(at, index, events);
        dead
    }

    /// Ends connections whose doubtful end was not contradicted, names those that have been silent for long, and forgets requests
    /// that will not be finished.
    fn look_around(&mut self, at: i64, events: &mut Vec<KmsEvent>) {
        let (before, now) = (std::mem::replace(&mut self.swept, self.time.now), self.time.now);
        let silent = |until: i64, connection: &OpenConnection| {
            connection.closing.is_none() && until - connection.active_time > IDLE_SECONDS
        };
        for number in
            self.open.find_all(|connection| silent(now, connection) && !silent(before, connection))
        {
            let Some(connection) = self.open.get(number) else {
                continue;
            };
            push_anomaly(at, Some(connection.peer), Anomaly::Expired, events);
            let opened = connection.opened_time;
            if let Some(crash) = self.crashes.iter().position(|crash| *crash >= opened) {
                self.crashes.remove(crash);
                self.end_connection(at, number, false, events);
            }
        }
        let over = |closing: i64| (at - closing).abs() > DOUBT_SECONDS;
        for number in self.open.find_all(|connection| connection.closing.is_some_and(over)) {
            let closed = self.open.get(number).is_some_and(OpenConnection::was_closed);
            self.end_connection(at, number, closed, events);
        }
        for index in (0..self.blocks.len()).rev() {
            let stale = |block: &RequestBlock| {
                let age = (at - block.started).abs();
                (block.reported || block.connection.is_none()) && age > SWEEP_SECONDS
            };
            if self.blocks.get(index).is_some_and(stale) {
                self.drop_block(index);
            }
        }
    }
}

pub(super) fn push_anomaly(at: i64, peer: Option<Peer>, kind: Anomaly, events: &mut Vec<KmsEvent>) {
    events.push(KmsEvent::Anomaly { at, peer, kind });
}
