//! Whose request is it? Two answers, kept apart: which connections *could* have sent it, which decides whether the
//! log is sure; and which of those most likely did.
//!
//! Any connection that may be open could have sent a request: one that was silent for long, one that spoke for another
//! machine, one that the log never named because it begins later. What rules the others out is knowledge of the machine
//! ([`super::machines`]): one that was seen at a single address only, again and again, and asks at once over a new
//! connection from there (or has just asked over it) is there; but where another connection is as new, is from the same
//! address or may have spoken for this machine, even that is doubtful.
//!
//! Most likely, in this order: a new one from this machine's only address; one that it spoke over a moment ago;
//! one from an address where it may be ([`super::machines`]); one without a request so far, accepted no more than a second before; of several, one that
//! is no other machine's only address, then the first accepted, which is the first to ask more often than not; the
//! connection of the last request; the newest.

use std::net::IpAddr;

use super::connections::OpenConnection;
use super::event::Attribution;
use super::log::Log;
use super::machines::Sighting;
use super::request_block::RequestBlock;

/// Seconds of the log's own time within which a client that means to ask has asked.
const PROMPT_SECONDS: i64 = 1;

/// Seconds after which a connection that sent nothing is not likely to send anything: a client writes as soon as it is
/// connected, and again after 1 and 3 s where the network lost that.
const SILENT_SECONDS: i64 = 4;

/// Seconds of silence after which the server's child is rather dead than waiting: the usual idle time-out is 30 s.
const DEAD_SECONDS: i64 = 120;

/// Most connections that are weighed for their youth. Among more, the result is always a guess.
const MOST_YOUNG: usize = 256;

/// Most connections that are weighed of those that are new or that something connects with the machine: more than there are
/// requests being written, so that one that has nothing to ask is among them.
const MOST_LIKELY: usize = 128;

/// Most connections that are listed as possible senders of a request.
const WIDEST: usize = 24;

/// How many of the newest are weighed, however old.
const FEW: usize = 16;

/// Seconds between two requests of a client that asks for several things.
const TALK_SECONDS: i64 = 2;

/// How well a connection fits a request; the largest wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct CandidateScore {
    /// No forged line is in play, and it was not silent for minutes.
    believed: bool,
    same: Same,
    /// No other machine spoke over it.
    free: bool,
    recent: bool,
    spoke: bool,
    fresh: bool,
    /// It was the last to ask.
    last: bool,
    /// It is no other machine's only address.
    unknown: bool,
    order: i64,
}

/// What says that a connection is the machine's that asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Same {
    Nothing,
    /// Its address is one of several where that machine may be.
    Possible,
    /// The machine spoke over it a moment ago.
    Talk,
    /// It is new and its address is the only one where that machine was.
    Home,
}

/// Who could have sent a request.
#[derive(Clone, Debug)]
pub struct Possible {
    /// Their addresses; `None` where there are too many, or unknown ones.
    addresses: Option<Vec<(IpAddr, u64)>>,
    /// There may be others, of which the log does not know.
    unseen: bool,
    among: Vec<u64>,
    /// Whether that is the chosen one only.
    pub attribution: Attribution,
    pub address_sure: bool,
}

impl Log {
    /// Chooses the connection that most likely sent a request.
    pub(super) fn choose_connection(&self, block: &RequestBlock) -> Option<u64> {
        self.choose_allowed(block, |_, _| true)
    }

    /// Chooses another connection for a request whose own is gone: one that has something to ask, if there is one.
    pub(super) fn choose_other_connection(&self, block: &RequestBlock) -> Option<u64> {
        let speaks = |_, connection: &OpenConnection| {
            connection.requests > 0 || block.started_time - connection.opened_time <= SILENT_SECONDS
        };
        self.choose_allowed(block, speaks).or_else(|| self.choose_connection(block))
    }

    fn choose_allowed(
        &self,
        block: &RequestBlock,
        allowed: impl Fn(u64, &OpenConnection) -> bool,
    ) -> Option<u64> {
        if let Some(own) = self.process_connection(block).filter(|own| *own > 0) {
            return Some(own);
        }
        let seen = self.seen_addresses(block);
        let mut best: Option<(CandidateScore, u64)> = None;
        let weigh = |best: &mut Option<_>, (number, connection): (u64, &OpenConnection)| {
            let free = !connection.busy || block.connection == Some(number);
            if number <= block.limit && free && allowed(number, connection) {
                let score = self.score_sender(block, &seen, number, connection);
                *best = (*best).max(Some((score, number)));
            }
        };
        let is_new = |score: CandidateScore| score.believed && score.free && score.recent;
        // The first accepted comes first: none that is as new and says nothing is before it.
        let mut new = self.new_silent(block).take(MOST_LIKELY);
        while let Some(candidate) = new.next()
            && !best.is_some_and(|(best, _)| is_new(best) && best.unknown)
        {
            weigh(&mut best, candidate);
        }
        for candidate in self.new_speakers(block) {
            weigh(&mut best, candidate);
        }
        // What is not new is behind any new one, unless something connects it with the machine.
        if !best.is_some_and(|(best, _)| is_new(best)) {
            for candidate in self.young_connections(block) {
                weigh(&mut best, candidate);
            }
        }
        for candidate in self.connected_with(block, &seen) {
            weigh(&mut best, candidate);
        }
        best.map(|(_, number)| number)
    }

    /// Returns the connection whose process writes a request: exact where each has one of its own and the lines name it, as those
    /// that the server gives to syslog do. 0, which none has, is one that the log does not know.
    fn process_connection(&self, block: &RequestBlock) -> Option<u64> {
        let child = block.child.filter(|_| !self.wrapper.several_sources)?;
        self.open.is_forked().then(|| self.open.child_connection(child).unwrap_or_default())
    }

    /// Walks the connections that were accepted a moment before a request and have not asked, oldest first: to pass over each
    /// that has would cost too much in a flood.
    fn new_silent(&self, block: &RequestBlock) -> impl Iterator<Item = (u64, &OpenConnection)> {
        let new = self.open.silent_connections(self.first_new(block));
        new.filter(|(_, connection)| is_recent(block, connection))
    }

    fn first_new(&self, block: &RequestBlock) -> u64 {
        self.open.first_since(block.started_time - PROMPT_SECONDS)
    }

    /// Walks those that have asked, as far as they asked last.
    fn new_speakers(&self, block: &RequestBlock) -> impl Iterator<Item = (u64, &OpenConnection)> {
        let first = self.first_new(block);
        let speakers = self.open.last_speakers().filter(move |number| *number >= first);
        let speakers = speakers.filter_map(|number| Some((number, self.open.get(number)?)));
        speakers.filter(|(_, connection)| is_recent(block, connection))
    }

    /// Walks the newest connections of any kind, and the young as far as a flood of them allows.
    fn young_connections(
        &self,
        block: &RequestBlock,
    ) -> impl Iterator<Item = (u64, &OpenConnection)> {
        let newest = self.open.iter().rev().take(MOST_YOUNG).enumerate();
        newest
            .take_while(|(place, (_, connection))| {
                *place < FEW || block.started_time - connection.opened_time <= SILENT_SECONDS
            })
            .map(|(_, young)| young)
    }

    /// Walks the connections that something connects with the machine of a request.
    fn connected_with(
        &self,
        block: &RequestBlock,
        seen: &[IpAddr],
    ) -> impl Iterator<Item = (u64, &OpenConnection)> {
        let at_home =
            seen.iter().flat_map(|address| self.open.connections_at(*address).rev().take(FEW));
        let kin = self.open.kin_connections(block).take(MOST_LIKELY);
        let known = at_home.chain(kin).chain(self.last);
        known.filter_map(|number| Some((number, self.open.get(number)?)))
    }

    /// Lists who could have sent a request that is being attributed to `chosen`, which is or was a connection from
    /// `address`.
    pub(super) fn possible_senders(
        &self,
        block: &RequestBlock,
        chosen: u64,
        address: IpAddr,
    ) -> Possible {
        let process = self.process_connection(block);
        if process == Some(chosen) && !block.mixed {
            return Possible {
                addresses: Some(vec![(address, chosen)]),
                unseen: false,
                among: vec![chosen],
                attribution: Attribution::Certain,
                address_sure: true,
            };
        }
        let known = process.is_none() && self.is_known_here(block, chosen, address);
        let known_rivals = known.then(|| self.rivals_of_known(block, address));
        let rivals = (!known).then(|| self.rivals_of_unknown(block));
        let others = known_rivals.into_iter().flatten().chain(rivals.into_iter().flatten());
        let others = others.filter(|number| *number != chosen && *number <= block.limit);
        let others = others.filter_map(|number| Some((number, self.open.get(number)?)));
        let (mut addresses, mut among) = (vec![(address, chosen)], vec![chosen]);
        for (number, other) in others.take(WIDEST) {
            addresses.push((other.peer.address, number));
            among.push(number);
        }
        // However many there are of one address, it is the only one where no other is open.
        let wide = addresses.len() > WIDEST && !self.open.is_only_address(address);
        let mut certain = addresses.len() == 1;
        let unseen = process.is_some() || (!known && self.may_be_unseen());
        let unknown = block.mixed || self.wrapper.several_sources || unseen;
        let elsewhere = wide || unknown || addresses.iter().any(|(other, _)| *other != address);
        certain &= !elsewhere && chosen <= block.limit;
        Possible {
            addresses: (!wide).then_some(addresses),
            unseen: unknown,
            among,
            attribution: if certain { Attribution::Certain } else { Attribution::Ambiguous },
            address_sure: !elsewhere,
        }
    }

    /// Walks the connections over which a machine may ask of which nothing is known: all but those that have spoken for
    /// another one beyond doubt and were silent since. A program that speaks for several does it in a row.
    ///
    /// No line of the server's names a request's connection, and none shows that a connection will stay silent. So a guess
    /// leaves both connections of it possible until they are closed; most doubts of a busy hour are about such. Counting
    /// (two machines have asked, and only two connections could have: each has spoken) frees next to none: two that ask within
    /// two seconds may be one program's. What was measured stands in benches/FIGURES.md.
    fn rivals_of_unknown(&self, block: &RequestBlock) -> impl Iterator<Item = u64> {
        let in_talk = self
            .open
            .last_speakers()
            .filter(|number| self.open.get(*number).is_some_and(|other| in_talk(block, other)));
        let unsettled = self.open.unsettled_connections(block.limit);
        unsettled.chain(in_talk).chain(self.open.kin_connections(block))
    }

    /// Walks the connections over which a machine may ask all the same that is known to be elsewhere: as new ones, those
    /// from its address or from where it was before, and those that something connects with it. Of many that are as new, not each is looked at for another
    /// machine's: the rest count as rivals.
    fn rivals_of_known(&self, block: &RequestBlock, address: IpAddr) -> impl Iterator<Item = u64> {
        let new = self.open.unsettled_connections(block.limit);
        let new = new.filter_map(|number| Some((number, self.open.get(number)?)));
        let new = new.take_while(|(_, other)| is_recent(block, other)).enumerate();
        let new = new
            .filter(|(place, (_, other))| *place >= MOST_YOUNG || !self.is_explained(block, other));
        let machine = block.machine_identity();
        let haunts = machine.into_iter().flat_map(|machine| self.machines.haunts_of(machine));
        let haunts = haunts.flat_map(|address| self.open.connections_at(address).rev());
        let others = machine.into_iter().flat_map(|machine| self.machines.others_of(machine));
        let others = others.chain(haunts).filter(|number| {
            self.open.get(*number).is_some_and(|other| !other.speaks_for_another(block))
        });
        let here = self.open.connections_at(address).rev();
        new.map(|(_, (number, _))| number)
            .chain(here)
            .chain(others)
            .chain(self.open.kin_connections(block))
    }

    /// Returns whether another machine spoke over a connection, most likely, that is known to be at its address.
    fn is_explained(&self, block: &RequestBlock, other: &OpenConnection) -> bool {
        other.machine.filter(|machine| Some(*machine) != block.machine_identity()).is_some_and(
            |machine| {
                self.machines.is_settled(machine, other.peer.address, self.open.oldest_open())
            },
        )
    }

    /// Returns whether a machine that is known at one address only asks from there: at once over a new connection, or over
    /// one that is certainly its own and just spoke.
    ///
    /// Wrong where it asks over an old connection from where it never was in the very second in which another machine connects
    /// from its address. To leave out addresses of several machines
    /// would call 46 % of twelve busy hours uncertain, not 32, as guesses put machines where they are not.
    fn is_known_here(&self, block: &RequestBlock, chosen: u64, address: IpAddr) -> bool {
        let Some((machine, connection)) = block.machine_identity().zip(self.open.get(chosen))
        else {
            return false;
        };
        let speaks = connection.machine == Some(machine) && in_talk(block, connection);
        let new = connection.requests == 0 && is_recent(block, connection);
        (new || speaks) && self.machines.is_settled(machine, address, self.open.oldest_open())
    }

    /// Returns where the machine of a request was seen: before, else over a connection that is still open.
    fn seen_addresses(&self, block: &RequestBlock) -> Vec<IpAddr> {
        let Some(machine) = block.machine_identity() else {
            return Vec::new();
        };
        let before = self.machines.addresses_of(machine);
        if !before.is_empty() {
            return before.to_vec();
        }
        let kin = self.open.kin_connections(block).take(WIDEST);
        let kin = kin.filter_map(|number| self.open.get(number));
        let here = kin.filter(|connection| connection.machine == Some(machine));
        let mut here: Vec<IpAddr> = here.map(|connection| connection.peer.address).collect();
        here.sort_unstable();
        here.dedup();
        here
    }

    fn score_sender(
        &self,
        block: &RequestBlock,
        seen: &[IpAddr],
        number: u64,
        connection: &OpenConnection,
    ) -> CandidateScore {
        let address = connection.peer.address;
        let known = block.machine_identity().is_some() && connection.machine.is_some();
        let named = block.name.is_some() && block.name == connection.name;
        let in_talk = in_talk(block, connection);
        let spoke = known && (block.machine_identity() == connection.machine || named && in_talk);
        let fresh = connection.requests == 0 && !connection.malformed;
        let recent = fresh && is_recent(block, connection);
        let same = match seen {
            _ if spoke && in_talk => Same::Talk,
            _ if known => Same::Nothing,
            [only] if *only == address => Same::Home,
            several if several.contains(&address) => Same::Possible,
            _ => Same::Nothing,
        };
        let dead = self.time.now - connection.active_time > DEAD_SECONDS;
        let order = i64::try_from(number).unwrap_or(i64::MAX);
        CandidateScore {
            believed: connection.closing.is_none() && !connection.doubtful && !dead,
            same,
            free: !known || spoke,
            recent,
            spoke,
            fresh,
            last: !fresh && self.last == Some(number),
            unknown: same == Same::Home || !self.machines.is_home(address),
            order: if recent { -order } else { order },
        }
    }

    pub(super) fn draw_conclusions(
        &mut self,
        block: &RequestBlock,
        chosen: u64,
        possible: Possible,
    ) {
        let Some(identity) = block.machine_identity().filter(|_| !block.mixed) else {
            return;
        };
        let certain = possible.attribution == Attribution::Certain;
        if certain {
            self.open.settle_connection(chosen, identity);
        }
        let addresses = possible.addresses.unwrap_or_else(|| {
            // Any that is open: where it was before is narrowed by that.
            let before = self.machines.addresses_of(identity).iter();
            before
                .filter_map(|address| {
                    Some((*address, self.open.connections_at(*address).next_back()?))
                })
                .collect()
        });
        let sighting = Sighting {
            addresses,
            among: possible.among,
            unseen: possible.unseen,
            newest: self.open.newest(),
        };
        let open = &self.open;
        self.machines.learn_sighting(identity, sighting, |number| open.get(number).is_some());
    }
}

/// Returns whether a connection was accepted a moment before a request.
fn is_recent(block: &RequestBlock, connection: &OpenConnection) -> bool {
    block.started_time - connection.opened_time <= PROMPT_SECONDS
}

/// Returns whether a connection had a request just before this one: clients that ask several times do it in a row.
fn in_talk(block: &RequestBlock, connection: &OpenConnection) -> bool {
    connection.requests > 0 && block.started_time - connection.active_time <= TALK_SECONDS
}

#[cfg(test)]
mod tests {
    use super::super::line::LogLines;
    use super::super::request_block::RequestBlock;
    use super::*;
    use crate::domain::kms_log::kms_log::Profile;

    /// Chooses of the connections that are weighed, each of them weighed.
    fn choose_plainly(log: &Log, block: &RequestBlock) -> Option<u64> {
        let seen = log.seen_addresses(block);
        let new = log.open.iter().filter(|(_, connection)| is_recent(block, connection));
        let young = new.chain(log.young_connections(block));
        let weighed = young.chain(log.connected_with(block, &seen));
        let allowed = weighed.filter(|(number, connection)| {
            *number <= block.limit && (!connection.busy || block.connection == Some(*number))
        });
        let scores = allowed.map(|(number, connection)| {
            (log.score_sender(block, &seen, number, connection), number)
        });
        scores.max().map(|(_, number)| number)
    }

    #[test]
    fn passing_over_the_silent_changes_no_choice() {
        let profiles = [Profile::busy(), Profile::flood(), Profile::hostile()];
        let mut compared = 0;
        for (seed, base) in (5..).zip(profiles) {
            let profile = Profile { seconds: 600, holders: 20.0, shared: 0.4, ..base };
            let (mut log, mut events) = (Log::default(), Vec::new());
            LogLines::default().feed_chunk(&profile.simulate(seed).bytes(), |line| {
                log.read_line(line, &mut events);
                for block in log.blocks.iter().filter(|block| !block.reported) {
                    let plain = choose_plainly(&log, block);
                    assert_eq!(log.choose_connection(block), plain, "seed {seed}: {block:?}");
                    compared += 1;
                }
            });
        }
        assert!(compared > 1_000, "{compared}");
    }
}
