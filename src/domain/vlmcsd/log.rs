//! The log's state machine: lines in, events out. Tells which connection a request belongs to.
//!
//! The server forks a child per connection and detail lines name none, so a request is attributed: to a
//! connection that was open when it began, still open when it was answered, and not busy with another; among
//! those to one whose machine ID is known, else to one without a request so far (the oldest of the last two
//! seconds, else the newest), else to the one of the last request. Probes are open for less than a millisecond
//! and so rarely in the way.
//!
//! A workstation name may bring a newline and a whole forged line. It then stands between `Workstation name` and
//! `N count policy` of one request; lines there are believed only as far as later lines bear them out.

use serde::{Deserialize, Serialize};

use super::block::{ANSWER, Block};
use super::event::{Anomaly, Attribution, Event, Outcome, Request};
use super::guid::Guid;
use super::line::{Label, Reader, Text};
use super::open::{Connection, Machines, Open};
use super::peer::Peer;

/// Seconds after which a silent connection is forgotten: the server's default idle time-out of 30 s and a
/// wide margin for one that was set longer.
pub const IDLE_SECONDS: i64 = 120;
/// Seconds within which a doubtful `closed` must be contradicted.
const DOUBT_SECONDS: i64 = 60;
/// Seconds between two looks for silent connections.
const SWEEP_SECONDS: i64 = 10;
/// Seconds in which a server writes a whole request, seen through whole-second stamps.
const WRITING_SECONDS: i64 = 2;
/// Most requests being written at a time.
const MOST_BLOCKS: usize = 64;
/// Lines after which the place of a forged line has surely passed.
const GAP_LINES: u8 = 64;

/// The place after a `Workstation name` where a forged line could stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Gap {
    block: usize,
    connection: Option<u64>,
    at: i64,
    lines: u8,
}

/// What the log said so far, as far as it matters for what comes.
#[derive(Clone, Debug, Default)]
pub struct Log {
    reader: Reader,
    open: Open,
    machines: Machines,
    blocks: Vec<Block>,
    gap: Option<Gap>,
    last: Option<u64>,
    swept: i64,
    /// Totals.
    pub tally: Tally,
}

/// Totals of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Lines read.
    pub lines: u64,
    /// Lines without a time stamp, or that no known server writes.
    pub unparsed: u64,
    /// Connections accepted.
    pub connections: u64,
    /// Time stamp of the last line, Unix seconds.
    pub last_line: i64,
}

/// What a checkpoint keeps of a [`Log`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Saved {
    open: Vec<(u64, Connection)>,
    machines: Vec<(Guid, std::net::IpAddr)>,
    blocks: Vec<Block>,
    gap: Option<Gap>,
    last: Option<u64>,
    swept: i64,
    tally: Tally,
}

impl Log {
    /// Returns what is needed to go on later.
    pub fn save(&self) -> Saved {
        Saved {
            open: self
                .open
                .iter()
                .map(|(number, connection)| (number, connection.clone()))
                .collect(),
            machines: self.machines.iter().collect(),
            blocks: self.blocks.clone(),
            gap: self.gap,
            last: self.last,
            swept: self.swept,
            tally: self.tally,
        }
    }

    /// Goes on from what was saved.
    pub fn restore(saved: Saved) -> Self {
        let mut machines = Machines::default();
        saved
            .machines
            .iter()
            .for_each(|(machine, address)| machines.learn(*machine, *address));
        Self {
            open: Open::restore(saved.open, saved.tally.connections),
            machines,
            blocks: saved.blocks,
            gap: saved.gap,
            last: saved.last,
            swept: saved.swept,
            tally: saved.tally,
            ..Self::default()
        }
    }

    /// Returns how many connections are open.
    pub fn open_connections(&self) -> usize {
        self.open.len()
    }

    /// Reads one line without its newline and appends what it tells to `events`.
    pub fn line(&mut self, bytes: &[u8], events: &mut Vec<Event>) {
        self.tally.lines += 1;
        let Some(line) = self.reader.read(bytes) else {
            self.tally.unparsed += 1;
            return;
        };
        let at = line.at;
        let inside = self.inside(at);
        if !inside {
            self.tally.last_line = at;
            if at >= self.swept + SWEEP_SECONDS {
                self.sweep(at, events);
            } else if at < self.swept - IDLE_SECONDS * 10 {
                // The clock was set back.
                self.swept = at;
            }
        }
        match line.text {
            Text::Accepted(peer) => self.accepted(at, peer, inside, events),
            Text::Closed(peer) => self.closed(at, peer, inside, events),
            Text::Request => self.begin(at, inside, events),
            Text::Field(label, value) => self.field(at, label, value, inside, events),
            Text::Answer => self.finish(at, Outcome::Answered, inside, events),
            Text::Refusal(code) => self.finish(at, Outcome::Refused(code), inside, events),
            Text::Short {
                version,
                workstation,
                product,
            } => {
                self.short(at, [version, workstation, product], inside, events);
            }
            Text::Started if inside => anomaly(at, None, Anomaly::InsideRequest, events),
            Text::Started => self.restarted(at, events),
            Text::Crash => anomaly(at, None, Anomaly::Crash, events),
            Text::Malformed => self.malformed(at, events),
            Text::Rejected | Text::Shutdown | Text::Idle => {}
            Text::Unknown => self.tally.unparsed += 1,
        }
    }

    /// Tells whether this line stands where a name could have put it. The first stamped line does, whatever its
    /// stamp says; time ends the place only after that.
    fn inside(&mut self, at: i64) -> bool {
        let Some(gap) = &mut self.gap else {
            return false;
        };
        if (gap.lines > 0 && at > gap.at + 1) || gap.lines >= GAP_LINES {
            self.gap = None;
            return false;
        }
        gap.lines += 1;
        true
    }

    fn accepted(&mut self, at: i64, peer: Peer, inside: bool, events: &mut Vec<Event>) {
        if let Some(number) = self.open.number(&peer) {
            let doubtful = self
                .open
                .get(number)
                .is_some_and(|before| before.closing.is_some());
            if !doubtful {
                anomaly(at, Some(peer), Anomaly::AcceptedTwice, events);
            }
            if inside {
                return;
            }
            self.end(at, number, doubtful, events);
        }
        self.tally.connections += 1;
        if let Some((number, connection)) = self.open.insert(peer, at, inside) {
            anomaly(at, Some(connection.peer), Anomaly::Evicted, events);
            self.release(at, number, &connection, events);
        }
    }

    fn closed(&mut self, at: i64, peer: Peer, inside: bool, events: &mut Vec<Event>) {
        let Some(number) = self.open.number(&peer) else {
            anomaly(at, Some(peer), Anomaly::ClosedUnopened, events);
            return;
        };
        let own = self.gap.is_some_and(|gap| gap.connection == Some(number));
        let Some(connection) = self.open.get_mut(number) else {
            return;
        };
        if connection.closing.is_some() && !inside {
            anomaly(at, Some(peer), Anomaly::ForgedClose, events);
        } else if inside && !own {
            anomaly(at, Some(peer), Anomaly::InsideRequest, events);
            if connection.doubtful {
                self.open.remove(number);
            } else {
                connection.closing.get_or_insert(at);
            }
            return;
        }
        self.end(at, number, true, events);
    }

    /// Takes a connection out of the set. `seen` says that its end was in the log: only then was it a probe.
    fn end(&mut self, at: i64, number: u64, seen: bool, events: &mut Vec<Event>) {
        let Some(connection) = self.open.remove(number) else {
            return;
        };
        let requested = self.release(at, number, &connection, events);
        if seen && !requested && connection.requests == 0 && !connection.malformed {
            events.push(Event::Probe {
                at,
                peer: connection.peer,
            });
        }
    }

    /// Settles the requests that are being written for a connection that is gone; tells whether there was one.
    fn release(
        &mut self,
        at: i64,
        number: u64,
        gone: &Connection,
        events: &mut Vec<Event>,
    ) -> bool {
        let mut requested = false;
        for index in 0..self.blocks.len() {
            let Some(block) = self
                .blocks
                .get(index)
                .filter(|block| block.connection == Some(number))
            else {
                continue;
            };
            if block.reported {
                continue;
            }
            // A server answers before it closes: while it still writes, the request must be another's.
            let writing = at - block.started <= WRITING_SECONDS && !block.doubtful;
            if writing && let Some((other, _)) = self.choose(block) {
                self.assign(index, Some(other));
                continue;
            }
            requested = true;
            if block.is_request() {
                events.push(report(
                    block,
                    at,
                    gone.peer,
                    Attribution::Certain,
                    Outcome::Unanswered,
                ));
            }
            if let Some(block) = self.blocks.get_mut(index) {
                block.connection = None;
                block.reported = true;
                block.expects = u8::MAX;
            }
        }
        for index in (0..self.blocks.len()).rev() {
            let over = |block: &Block| {
                block.is_over() || block.reported && block.connection == Some(number)
            };
            if self.blocks.get(index).is_some_and(over) {
                self.drop_block(index);
            }
        }
        requested
    }

    fn begin(&mut self, at: i64, inside: bool, events: &mut Vec<Event>) {
        let block = Block {
            limit: self.open.newest(),
            started: at,
            doubtful: inside,
            ..Block::default()
        };
        let chosen = self.choose(&block).map(|(number, _)| number);
        if chosen.is_none() {
            anomaly(at, None, Anomaly::Orphan, events);
        }
        if inside {
            anomaly(at, None, Anomaly::InsideRequest, events);
        }
        if self.blocks.len() >= MOST_BLOCKS {
            self.drop_block(0);
        }
        self.blocks.push(block);
        // A doubtful request must not make a connection busy.
        if !inside {
            self.assign(self.blocks.len() - 1, chosen);
        }
    }

    fn short(
        &mut self,
        at: i64,
        [version, workstation, product]: [&[u8]; 3],
        inside: bool,
        events: &mut Vec<Event>,
    ) {
        if inside {
            anomaly(at, None, Anomaly::InsideRequest, events);
            return;
        }
        self.begin(at, false, events);
        if let Some(block) = self.blocks.last_mut() {
            block.take(Label::Protocol, version);
            block.take(Label::Product, product);
            block.take(Label::Workstation, workstation);
            block.expects = ANSWER;
            self.gap = Some(Gap {
                block: self.blocks.len() - 1,
                connection: self.blocks.last().and_then(|block| block.connection),
                at,
                lines: 0,
            });
        }
    }

    fn field(
        &mut self,
        at: i64,
        label: Label,
        value: &[u8],
        inside: bool,
        events: &mut Vec<Event>,
    ) {
        let Some(index) = self.expecting(|block| block.distance(label), inside) else {
            const OPENING: [Label; 6] = [
                Label::Virtual,
                Label::Status,
                Label::Remaining,
                Label::Application,
                Label::Product,
                Label::Workstation,
            ];
            let writing = self.blocks.iter().any(|block| !block.reported);
            if inside || writing || self.open.is_empty() || !OPENING.contains(&label) {
                anomaly(at, None, Anomaly::Stray, events);
                return;
            }
            // A request whose first line is missing.
            self.begin(at, false, events);
            if let Some(block) = self.blocks.last_mut() {
                block.take(label, value);
            }
            return;
        };
        let Some(block) = self.blocks.get_mut(index) else {
            return;
        };
        block.take(label, value);
        let (over, reported, connection) = (block.is_over(), block.reported, block.connection);
        if over {
            self.drop_block(index);
        } else if reported {
        } else if label == Label::Machine {
            self.reconsider(index);
        } else if label == Label::Workstation {
            self.gap = Some(Gap {
                block: index,
                connection,
                at,
                lines: 0,
            });
        } else if label == Label::Policy && self.gap.is_some_and(|gap| gap.block == index) {
            self.gap = None;
        }
    }

    /// Finds the request that a line belongs to: the best fit, undoubted before doubtful, the oldest of equals.
    fn expecting(&self, distance: impl Fn(&Block) -> Option<u8>, exact: bool) -> Option<usize> {
        let fits = self.blocks.iter().enumerate().filter_map(|(index, block)| {
            let distance = distance(block).filter(|distance| !exact || *distance == 0)?;
            Some((distance > 0, block.doubtful, distance, index))
        });
        fits.min().map(|(_, _, _, index)| index)
    }

    fn finish(&mut self, at: i64, outcome: Outcome, inside: bool, events: &mut Vec<Event>) {
        let distance =
            |block: &Block| (!block.reported).then(|| ANSWER.saturating_sub(block.expects));
        let Some(index) = self.expecting(distance, inside) else {
            anomaly(at, None, Anomaly::Stray, events);
            return;
        };
        if self.gap.is_some_and(|gap| gap.block == index) {
            self.gap = None;
        }
        self.reconsider(index);
        let Some(block) = self.blocks.get(index) else {
            return;
        };
        let attribution = self
            .choose(block)
            .map_or(Attribution::Ambiguous, |(_, attribution)| attribution);
        let number = block.connection;
        let Some(connection) = number.and_then(|number| self.open.get_mut(number)) else {
            anomaly(at, None, Anomaly::Orphan, events);
            self.drop_block(index);
            return;
        };
        connection.active = at;
        connection.requests += 1;
        connection.busy = false;
        connection.machine = block.machine.or(connection.machine);
        connection.guessed = (attribution == Attribution::Ambiguous).then_some(block.limit);
        events.push(report(block, at, connection.peer, attribution, outcome));
        if attribution == Attribution::Certain
            && let Some(machine) = block.machine
        {
            self.machines.learn(machine, connection.peer.address);
        }
        self.last = number;
        if outcome == Outcome::Answered
            && let Some(block) = self.blocks.get_mut(index)
        {
            block.reported = true;
            block.expects = ANSWER + 1;
        } else {
            self.drop_block(index);
        }
    }

    /// Looks again whose request this is, now that its machine ID is known or its connection may be gone.
    fn reconsider(&mut self, index: usize) {
        let Some(block) = self.blocks.get(index) else {
            return;
        };
        if let Some((number, _)) = self.choose(block)
            && block.connection != Some(number)
        {
            self.assign(index, Some(number));
        }
    }

    fn assign(&mut self, index: usize, number: Option<u64>) {
        let Some(block) = self.blocks.get_mut(index) else {
            return;
        };
        let before = std::mem::replace(&mut block.connection, number);
        if let Some(connection) = before.and_then(|number| self.open.get_mut(number)) {
            connection.busy = false;
        }
        if let Some(connection) = number.and_then(|number| self.open.get_mut(number)) {
            connection.busy = true;
        }
    }

    /// Chooses the connection that most likely sent a request, and says how sure that is.
    fn choose(&self, block: &Block) -> Option<(u64, Attribution)> {
        let home = self.home(block);
        let candidates = || {
            let free = |number, connection: &Connection| {
                number <= block.limit && (!connection.busy || block.connection == Some(number))
            };
            self.open
                .iter()
                .filter(move |(number, connection)| free(*number, connection))
        };
        let scored = candidates().map(|(number, connection)| {
            (
                self.score(block, home, number, connection),
                number,
                connection,
            )
        });
        let (score, number, chosen) = scored.max_by_key(|(score, ..)| *score)?;
        let guessed = chosen.guessed.is_some() && chosen.requests > 0;
        let settled = match score.machine {
            Known::Same => !guessed,
            _ => !candidates().any(|(other, rival)| {
                let score = self.score(block, home, other, rival);
                // The machine of an earlier guess says little, where the connection now chosen was in that choice.
                let other_machine = score.machine == Known::Another
                    && rival
                        .guessed
                        .is_none_or(|limit| number > limit || !is_fresh(chosen));
                other != number && !other_machine
            }),
        };
        let attribution = if settled {
            Attribution::Certain
        } else {
            Attribution::Ambiguous
        };
        Some((number, attribution))
    }

    /// Returns the address where the machine of a request was seen.
    fn home(&self, block: &Block) -> Option<std::net::IpAddr> {
        let machine = block.machine?;
        let here = || {
            let mut connected = self
                .open
                .iter()
                .filter(|(_, connection)| connection.machine == Some(machine));
            connected
                .next_back()
                .map(|(_, connection)| connection.peer.address)
        };
        self.machines.address(machine).or_else(here)
    }

    fn score(
        &self,
        block: &Block,
        home: Option<std::net::IpAddr>,
        number: u64,
        connection: &Connection,
    ) -> Score {
        let address = connection.peer.address;
        let machine = match (block.machine, connection.machine) {
            (Some(asked), Some(known)) if asked == known => Known::Same,
            (Some(_), Some(_)) => Known::Another,
            (Some(_), None) => match home {
                Some(seen) if seen == address => Known::Same,
                Some(_) => Known::Unlikely,
                None if self.machines.knows(address) => Known::Unlikely,
                None => Known::Nothing,
            },
            (None, _) => Known::Nothing,
        };
        let fresh = is_fresh(connection);
        let recent = fresh && block.started - connection.opened <= WRITING_SECONDS;
        let order = i64::try_from(number).unwrap_or(i64::MAX);
        Score {
            open: connection.closing.is_none(),
            machine,
            fresh,
            recent,
            last: !fresh && self.last == Some(number),
            order: if recent { -order } else { order },
        }
    }

    fn malformed(&mut self, at: i64, events: &mut Vec<Event>) {
        let fresh = self
            .open
            .find(|connection| connection.requests == 0 && !connection.busy);
        let one = if let [number] = fresh.as_slice() {
            self.open.get_mut(*number)
        } else {
            None
        };
        anomaly(
            at,
            one.as_ref().map(|connection| connection.peer),
            Anomaly::Malformed,
            events,
        );
        if let Some(connection) = one {
            connection.malformed = true;
            connection.active = at;
        }
    }

    /// The server has started: whatever was open is gone.
    fn restarted(&mut self, at: i64, events: &mut Vec<Event>) {
        for number in self.open.find(|_| true) {
            let doubtful = self
                .open
                .get(number)
                .is_some_and(|connection| connection.closing.is_some());
            self.end(at, number, doubtful, events);
        }
        self.blocks.clear();
        self.gap = None;
    }

    /// Forgets connections that were silent for too long, and requests that will not be finished.
    fn sweep(&mut self, at: i64, events: &mut Vec<Event>) {
        self.swept = at;
        let old = self.open.find(|connection| match connection.closing {
            Some(closing) => (at - closing).abs() > DOUBT_SECONDS,
            None => (at - connection.active).abs() > IDLE_SECONDS,
        });
        for number in old {
            let Some(connection) = self.open.get(number) else {
                continue;
            };
            let closed = connection.closing.is_some();
            if !closed {
                anomaly(at, Some(connection.peer), Anomaly::Expired, events);
            }
            self.end(at, number, closed, events);
        }
        for index in (0..self.blocks.len()).rev() {
            let stale = |block: &Block| {
                let age = (at - block.started).abs();
                (block.reported || block.connection.is_none()) && age > SWEEP_SECONDS
            };
            if self.blocks.get(index).is_some_and(stale) {
                self.drop_block(index);
            }
        }
    }

    fn drop_block(&mut self, index: usize) {
        if index >= self.blocks.len() {
            return;
        }
        let block = self.blocks.remove(index);
        if !block.reported
            && let Some(connection) = block
                .connection
                .and_then(|number| self.open.get_mut(number))
        {
            connection.busy = false;
        }
        if let Some(gap) = &mut self.gap {
            match gap.block.cmp(&index) {
                std::cmp::Ordering::Less => {}
                std::cmp::Ordering::Equal => gap.block = usize::MAX,
                std::cmp::Ordering::Greater => gap.block = gap.block.saturating_sub(1),
            }
        }
    }
}

/// How well a connection fits a request; the largest wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Score {
    open: bool,
    machine: Known,
    fresh: bool,
    recent: bool,
    last: bool,
    order: i64,
}

/// What machine IDs say about a connection and a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Known {
    /// Another machine sent over this connection.
    Another,
    /// Another machine is known at this address, or this machine at another address.
    Unlikely,
    /// Nothing.
    Nothing,
    /// This machine, here.
    Same,
}

/// Tells whether a connection has not sent anything yet.
fn is_fresh(connection: &Connection) -> bool {
    connection.requests == 0 && !connection.malformed
}

fn anomaly(at: i64, peer: Option<Peer>, kind: Anomaly, events: &mut Vec<Event>) {
    events.push(Event::Anomaly { at, peer, kind });
}

fn report(block: &Block, at: i64, peer: Peer, attribution: Attribution, outcome: Outcome) -> Event {
    Event::Request(Box::new(Request {
        at,
        peer,
        attribution,
        outcome,
        protocol: block.protocol.clone(),
        status: block.status,
        application: block.application.clone(),
        product_id: block.product_id,
        product: block.product.clone(),
        machine: block.machine,
        workstation: block.workstation.clone(),
    }))
}
