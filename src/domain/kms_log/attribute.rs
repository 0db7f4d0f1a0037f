//! Whose request is it? Two answers, kept apart: which connections *could* have sent it, which decides whether the
//! log is sure; and which of those most likely did.
//!
//! A connection could have sent a request if it was open from the request's first line to its answer, and if it is
//! not known to speak for another machine ([`super::candidates`] holds what guesses still prove). That a connection
//! speaks for one machine (one machine ID, or one workstation name where programs of a machine have IDs of their
//! own) is what every honest client does; a client that breaks it deceives only about itself and about connections
//! that are silent at the same moment.
//!
//! Most likely, in this order: a new one from this machine's only address; one that it spoke over a moment ago;
//! one from an address where it may be ([`super::machines`]); one without a request so far, accepted no more than a second before; of several, one that
//! is no other machine's only address, then the first accepted, which is the first to ask more often than not; the
//! connection of the last request; the newest.

use std::net::IpAddr;

use super::candidates::{Guesses, Room};
use super::connections::OpenConnection;
use super::event::Attribution;
use super::guid::Guid;
use super::log::Log;
use super::request_block::RequestBlock;

/// Seconds, in stamps, within which a client that means to ask has asked.
const PROMPT_SECONDS: i64 = 1;

/// Seconds after which a connection that sent nothing will not send anything: a client writes as soon as it is
/// connected, and again after 1 and 3 s where the network lost that.
const SILENT_SECONDS: i64 = 4;

/// Most connections that are weighed for their youth. Among more, the result is always a guess.
const MOST_YOUNG: usize = 256;

/// How many of the newest are weighed, however old.
const FEW: usize = 16;

/// Seconds between two requests of a client that asks for several things.
const TALK_SECONDS: i64 = 2;

/// How well a connection fits a request; the largest wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct CandidateScore {
    /// No forged line is in play.
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
    /// Their numbers, no more than [`Guesses::WIDEST`] and one.
    pub among: Vec<u64>,
    /// Whether that is the chosen one only.
    pub attribution: Attribution,
    pub address_sure: bool,
}

impl Log {
    /// Chooses the connection that most likely sent a request.
    pub(super) fn choose_connection(&self, block: &RequestBlock) -> Option<u64> {
        self.choose_allowed(block, |_, _| true)
    }

    /// Chooses another connection for a request whose own is gone, of those that could have sent it.
    pub(super) fn choose_other_connection(&self, block: &RequestBlock) -> Option<u64> {
        let room = self.room_of(block);
        self.choose_allowed(block, |number, connection| could(block, &room, number, connection))
    }

    fn choose_allowed(
        &self,
        block: &RequestBlock,
        allowed: impl Fn(u64, &OpenConnection) -> bool,
    ) -> Option<u64> {
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
        let (new, older): (Vec<_>, Vec<_>) =
            self.young_connections(block).partition(|(_, connection)| is_recent(block, connection));
        // The first accepted comes first: none that is as new and says nothing is before it.
        for candidate in new.into_iter().rev() {
            let (_, connection) = candidate;
            let silent = connection.machine.is_none() && !seen.contains(&connection.peer.address);
            if !silent || !best.is_some_and(|(best, _)| is_new(best) && best.unknown) {
                weigh(&mut best, candidate);
            }
        }
        // What is not new is behind any new one, unless something connects it with the machine.
        if !best.is_some_and(|(best, _)| is_new(best)) {
            for candidate in older {
                weigh(&mut best, candidate);
            }
        }
        for candidate in self.connected_with(block, &seen) {
            weigh(&mut best, candidate);
        }
        best.map(|(_, number)| number)
    }

    /// Walks the newest connections of any kind, and the young as far as a flood of them allows.
    fn young_connections(
        &self,
        block: &RequestBlock,
    ) -> impl Iterator<Item = (u64, &OpenConnection)> {
        let newest = self.open.iter().rev().take(MOST_YOUNG).enumerate();
        newest
            .take_while(|(place, (_, connection))| {
                *place < FEW || block.started - connection.opened <= SILENT_SECONDS
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
        let kin = self.open.kin_connections(block).take(MOST_YOUNG);
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
        let room = self.room_of(block);
        let mut among = vec![chosen];
        let mut elsewhere = block.mixed;
        if let Some(connection) = self.open.get(chosen) {
            elsewhere |= !could(block, &room, chosen, connection);
        }
        let at_home = self.is_at_home(block, chosen, address);
        let young = self
            .open
            .iter()
            .rev()
            .take_while(|(_, connection)| block.started - connection.opened <= SILENT_SECONDS);
        let old = self.open.kin_connections(block);
        let all = room.is_lost().then(|| self.open.iter());
        // Without a machine's name, any connection that asked before may ask again.
        let asked = block.machine.is_none().then(|| self.open.asked_connections());
        let old = old.chain(asked.into_iter().flatten()).chain(room.own_connections());
        let old = old.filter_map(|number| Some((number, self.open.get(number)?)));
        let others = young.chain(old).chain(all.into_iter().flatten());
        for (number, connection) in others {
            // Another one from the same address may as well be this machine's.
            let unlikely = at_home
                && connection.peer.address != address
                && is_only_silent(block, &room, connection, number);
            if unlikely || among.contains(&number) || !could(block, &room, number, connection) {
                continue;
            }
            elsewhere |= connection.peer.address != address;
            among.push(number);
            if among.len() > Guesses::WIDEST {
                elsewhere = true;
                break;
            }
        }
        let certain = among.len() == 1 && !elsewhere;
        Possible {
            among,
            attribution: if certain { Attribution::Certain } else { Attribution::Ambiguous },
            address_sure: !elsewhere,
        }
    }

    /// Returns whether a machine asks at once over a new connection from its only address.
    fn is_at_home(&self, block: &RequestBlock, chosen: u64, address: IpAddr) -> bool {
        let known = block.machine.map(|machine| self.machines.addresses_of(machine));
        let new = self
            .open
            .get(chosen)
            .is_some_and(|connection| connection.requests == 0 && is_recent(block, connection));
        new && known == Some(&[address])
    }

    fn room_of(&self, block: &RequestBlock) -> Room<'_> {
        let words = [block.machine, block.name];
        let lost = self.lost.holds_words(words, self.open.oldest_open());
        Room::for_block(&self.guesses, lost, block)
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
        let kin = self.open.kin_connections(block).filter_map(|number| self.open.get(number));
        let here = kin.filter(|connection| connection.machine == Some(machine));
        let mut here: Vec<IpAddr> = here.map(|connection| connection.peer.address).collect();
        here.sort_unstable();
        here.dedup();
        here
    }

    /// Forgets of a machine that its connection is one of several.
    fn lose_machine(&mut self, words: &[Guid]) {
        self.lost.add_words(words, self.open.newest(), self.open.oldest_open());
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
        let order = i64::try_from(number).unwrap_or(i64::MAX);
        CandidateScore {
            believed: connection.closing.is_none() && !connection.doubtful,
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
        // Without a machine's name, or with parts of another's lines, no guess can hold it.
        if possible.among.len() > 1 && (block.machine.is_none() || block.mixed) {
            let words: Vec<_> = [block.machine, block.name].into_iter().flatten().collect();
            self.lose_machine(&words);
        }
        let Some(identity) = block.machine_identity().filter(|_| !block.mixed) else {
            return;
        };
        let addresses = possible.among.iter().filter_map(|number| self.open.get(*number));
        let addresses = addresses.map(|connection| connection.peer.address).collect();
        self.machines.learn_addresses(identity, addresses);
        let Some(machine) = block.machine else {
            return;
        };
        if possible.among.len() > 1 {
            let forgotten = self.guesses.add_guess(machine, block.name, possible.among);
            self.lose_machine(&forgotten);
            return;
        }
        let mut certain = self.guesses.settle_machine(machine, chosen);
        certain.push((machine, chosen));
        for (machine, number) in certain {
            if let Some(address) = self.open.settle_connection(number, machine) {
                self.machines.learn_addresses(machine, vec![address]);
            }
        }
    }
}

/// Returns whether a connection could have sent a request. One that is silent for so long that it has nothing to ask could
/// only have asked before: it speaks for a machine that a guess names, or for none.
fn could(block: &RequestBlock, room: &Room, number: u64, connection: &OpenConnection) -> bool {
    if number > block.limit {
        return false;
    }
    let settled = block.started - connection.opened > SILENT_SECONDS;
    // The short form names no machine; a name may change from request to request and proves nothing.
    let Some(machine) = block.machine else {
        return !settled || connection.requests > 0 || room.is_lost();
    };
    match connection.machine {
        _ if block.name.is_some() && block.name == connection.name => true,
        Some(known) if connection.sure => known == machine,
        _ if settled => room.may_hold(number),
        _ => room.allows_connection(number),
    }
}

/// Returns whether nothing speaks for a connection but that it is open: it did not ask at once, nor is it this machine's.
fn is_only_silent(
    block: &RequestBlock,
    room: &Room,
    connection: &OpenConnection,
    number: u64,
) -> bool {
    let kin = connection.machine == block.machine
        || (block.name.is_some() && block.name == connection.name);
    !is_recent(block, connection) && !kin && !room.may_hold(number)
}

/// Returns whether a connection was accepted a moment before a request.
fn is_recent(block: &RequestBlock, connection: &OpenConnection) -> bool {
    block.started - connection.opened <= PROMPT_SECONDS
}

/// Returns whether a connection had a request just before this one: clients that ask several times do it in a row.
fn in_talk(block: &RequestBlock, connection: &OpenConnection) -> bool {
    connection.requests > 0 && block.started - connection.active <= TALK_SECONDS
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
        let young = log.young_connections(block);
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
