//! The connections that are open. Bounded. Decides nothing about requests.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::guid::Guid;
use super::peer::Peer;
use super::request_block::RequestBlock;

/// Most connections kept open at a time; the server of a flood forks no more either.
pub const MOST: usize = 4_096;

/// How many of those that asked last are remembered as such; more than are listed for any request.
const MOST_SPEAKERS: usize = 64;

/// So many connections in a row of which each has a process of its own: the server forks, and its processes tell them apart.
const FORKED: u8 = 3;

/// Of how many of the last seconds it is known which connection was the first.
const MOST_SECONDS: usize = 8;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenConnection {
    pub peer: Peer,
    /// When it was accepted, Unix seconds.
    pub opened: i64,
    /// When it last did anything, Unix seconds.
    pub active: i64,
    /// Both in seconds of the log's own time, which no change of the server's clock moves.
    #[serde(default)]
    pub opened_time: i64,
    #[serde(default)]
    pub active_time: i64,
    pub requests: u32,
    pub busy: bool,
    /// It sent something that is no request.
    pub malformed: bool,
    /// The machine it speaks for; of a server that names none, what stands for it.
    pub machine: Option<Guid>,
    /// What stands for the workstation name it gave last.
    pub name: Option<Guid>,
    /// That is certain, not the outcome of a guess.
    pub sure: bool,
    /// It was accepted where a forged line could stand.
    pub doubtful: bool,
    /// When it was closed by a line that could be forged.
    pub closing: Option<i64>,
    /// The process that wrote that it was accepted.
    #[serde(default)]
    pub child: Option<u32>,
}

impl OpenConnection {
    /// Returns whether it was closed, as far as can be believed: where its begin may be forged as well as its end,
    /// there may have been no such connection at all.
    pub fn was_closed(&self) -> bool {
        self.closing.is_some() && !self.doubtful
    }

    /// Returns whether it certainly spoke for another machine than the one that asks.
    pub fn speaks_for_another(&self, block: &RequestBlock) -> bool {
        self.sure && self.machine != block.machine_identity()
    }
}

#[cfg(test)]
thread_local! {
    /// How many connections were looked at on this thread: what a line costs, on however busy a machine.
    pub static LOOKS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// Counts a look at a connection, in tests alone.
fn note_look() {
    #[cfg(test)]
    LOOKS.set(LOOKS.get() + 1);
}

/// The set of open connections, in the order they were accepted.
#[derive(Clone, Debug, Default)]
pub struct Open {
    connections: BTreeMap<u64, OpenConnection>,
    numbers: HashMap<Peer, u64>,
    newest: u64,
    at: HashMap<IpAddr, BTreeSet<u64>>,
    /// Which speak for a machine, or gave a name.
    speakers: HashMap<Guid, BTreeSet<u64>>,
    /// Which certainly speak for no machine so far.
    unsettled: BTreeSet<u64>,
    /// Which had no request so far.
    silent: BTreeSet<u64>,
    /// Which asked last, newest last.
    last_speakers: VecDeque<u64>,
    /// Seconds of the log's own time, each with the first connection in a row that has it; newest last.
    arrivals: VecDeque<(i64, u64)>,
    /// Which process serves which, where lines name it.
    children: HashMap<u32, u64>,
    last_child: Option<u32>,
    /// How many in a row were accepted by a process of their own.
    forked: u8,
}

impl Open {
    /// Makes the set again from what [`Open::iter`] gave. `newest` is the number of connections there ever were: a
    /// number that a request still remembers must not be given to another connection.
    pub fn restore_set(
        connections: impl IntoIterator<Item = (u64, OpenConnection)>,
        newest: u64,
    ) -> Self {
        let mut open = Self { newest, ..Self::default() };
        for (number, connection) in connections.into_iter().take(MOST) {
            open.newest = open.newest.max(number);
            open.add_connection(number, connection);
        }
        open
    }

    /// Adds a connection; returns the one that had to make room.
    pub fn insert(
        &mut self,
        peer: Peer,
        [at, time]: [i64; 2],
        doubtful: bool,
        child: Option<u32>,
    ) -> Option<(u64, OpenConnection)> {
        let evicted = if self.connections.len() >= MOST {
            let oldest = self.connections.first_key_value().map(|(number, _)| *number);
            oldest.and_then(|number| self.remove(number).map(|connection| (number, connection)))
        } else {
            None
        };
        self.newest += 1;
        let own = child.is_some_and(|child| self.child_connection(child).is_none());
        self.forked =
            if own && child != self.last_child { self.forked.saturating_add(1) } else { 0 };
        self.last_child = child;
        let connection = OpenConnection {
            peer,
            opened: at,
            active: at,
            opened_time: time,
            active_time: time,
            requests: 0,
            busy: false,
            malformed: false,
            machine: None,
            name: None,
            sure: false,
            doubtful,
            closing: None,
            child,
        };
        self.add_connection(self.newest, connection);
        evicted
    }

    fn add_connection(&mut self, number: u64, connection: OpenConnection) {
        self.numbers.insert(connection.peer, number);
        self.at.entry(connection.peer.address).or_default().insert(number);
        for word in [connection.machine, connection.name].into_iter().flatten() {
            self.speakers.entry(word).or_default().insert(number);
        }
        if !connection.sure {
            self.unsettled.insert(number);
        }
        if let Some(child) = connection.child {
            self.children.insert(child, number);
        }
        if connection.requests > 0 {
            self.note_speaker(number);
        } else {
            self.silent.insert(number);
        }
        if self.arrivals.back().is_none_or(|(time, _)| *time != connection.opened_time) {
            self.arrivals.push_back((connection.opened_time, number));
            if self.arrivals.len() > MOST_SECONDS {
                self.arrivals.pop_front();
            }
        }
        self.connections.insert(number, connection);
    }

    fn note_speaker(&mut self, number: u64) {
        self.last_speakers.retain(|other| *other != number);
        self.last_speakers.push_back(number);
        if self.last_speakers.len() > MOST_SPEAKERS {
            self.last_speakers.pop_front();
        }
    }

    pub fn remove(&mut self, number: u64) -> Option<OpenConnection> {
        let connection = self.connections.remove(&number)?;
        self.unsettled.remove(&number);
        self.silent.remove(&number);
        self.numbers.remove(&connection.peer);
        if let Some(child) =
            connection.child.filter(|child| self.child_connection(*child) == Some(number))
        {
            self.children.remove(&child);
        }
        forget_connection(&mut self.at, connection.peer.address, number);
        for word in [connection.machine, connection.name].into_iter().flatten() {
            forget_connection(&mut self.speakers, word, number);
        }
        Some(connection)
    }

    pub fn note_request(&mut self, number: u64, block: &RequestBlock) {
        self.note_machine(number, block);
        if let Some(connection) = self.connections.get_mut(&number) {
            connection.requests += 1;
            self.silent.remove(&number);
            self.note_speaker(number);
        }
    }

    /// Notes for which machine a connection spoke, and with which name, where a request said so. A guess does not replace a
    /// machine that is certain.
    fn note_machine(&mut self, number: u64, block: &RequestBlock) {
        let Some(connection) = self.connections.get_mut(&number) else {
            return;
        };
        let machine = block.machine_identity().filter(|_| !connection.sure);
        for (before, now) in
            [(&mut connection.machine, machine), (&mut connection.name, block.name)]
        {
            if now.is_none() || *before == now {
                continue;
            }
            if let Some(before) = *before {
                forget_connection(&mut self.speakers, before, number);
            }
            *before = now;
        }
        // Whichever of the two the other has replaced is still known by its own.
        for word in [connection.machine, connection.name].into_iter().flatten() {
            self.speakers.entry(word).or_default().insert(number);
        }
    }

    /// Notes for certain for which machine a connection spoke last.
    pub fn settle_connection(&mut self, number: u64, machine: Guid) {
        let block = RequestBlock { machine: Some(machine), ..RequestBlock::default() };
        if let Some(connection) = self.connections.get_mut(&number) {
            connection.sure = false;
            self.note_machine(number, &block);
        }
        if let Some(connection) = self.connections.get_mut(&number) {
            connection.sure = true;
            self.unsettled.remove(&number);
        }
    }

    /// Walks the connections at an address, oldest first.
    pub fn connections_at(&self, address: IpAddr) -> impl DoubleEndedIterator<Item = u64> {
        self.at.get(&address).into_iter().flatten().copied()
    }

    /// Walks the connections that speak for the machine of a request or gave its name.
    pub fn kin_connections(&self, block: &RequestBlock) -> impl Iterator<Item = u64> {
        let words = [block.machine_identity(), block.name].into_iter().flatten();
        words.flat_map(|word| self.speakers.get(&word).into_iter().flatten().copied())
    }

    /// Walks the connections up to `limit` of which it is not certain for which machine they speak, newest first.
    pub fn unsettled_connections(&self, limit: u64) -> impl Iterator<Item = u64> {
        self.unsettled.range(..=limit).rev().copied()
    }

    /// Walks the connections from `first` on that had no request so far, oldest first.
    pub fn silent_connections(&self, first: u64) -> impl Iterator<Item = (u64, &OpenConnection)> {
        let silent = self.silent.range(first..);
        silent.filter_map(|number| Some((*number, self.get(*number)?)))
    }

    /// Returns whether every open connection is from one address, and that is this one.
    pub fn is_only_address(&self, address: IpAddr) -> bool {
        self.at.len() == 1 && self.at.contains_key(&address)
    }

    /// Walks the connections that asked last, newest first.
    pub fn last_speakers(&self) -> impl Iterator<Item = u64> {
        self.last_speakers.iter().rev().copied()
    }

    /// Returns the number from which on connections were accepted at this second of the log's own time or later.
    pub fn first_since(&self, second: i64) -> u64 {
        let first = self.arrivals.iter().filter(|(at, _)| *at >= second).map(|(_, first)| *first);
        first.min().unwrap_or(u64::MAX)
    }

    /// Returns the number of the oldest that is open.
    pub fn oldest_open(&self) -> Option<u64> {
        self.connections.first_key_value().map(|(number, _)| *number)
    }

    /// Returns whether each connection has a process of its own that its lines name. Threads share one, as do all lines that a
    /// container's daemon passes on.
    pub fn is_forked(&self) -> bool {
        self.forked >= FORKED
    }

    pub fn child_connection(&self, child: u32) -> Option<u64> {
        self.children.get(&child).copied()
    }

    pub fn number_of(&self, peer: &Peer) -> Option<u64> {
        self.numbers.get(peer).copied()
    }

    pub fn get(&self, number: u64) -> Option<&OpenConnection> {
        note_look();
        self.connections.get(&number)
    }

    pub fn get_mut(&mut self, number: u64) -> Option<&mut OpenConnection> {
        self.connections.get_mut(&number)
    }

    /// Returns the number given to the newest connection so far.
    pub fn newest(&self) -> u64 {
        self.newest
    }

    /// Walks the connections, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (u64, &OpenConnection)> {
        self.connections.iter().map(|(number, connection)| {
            note_look();
            (*number, connection)
        })
    }

    pub fn len(&self) -> usize {
        self.connections.len()
    }

    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// Returns the numbers of all that satisfy a condition, oldest first.
    pub fn find_all(&self, wanted: impl Fn(&OpenConnection) -> bool) -> Vec<u64> {
        self.iter().filter(|(_, connection)| wanted(connection)).map(|(number, _)| number).collect()
    }
}

fn forget_connection<Key: Eq + std::hash::Hash>(
    index: &mut HashMap<Key, BTreeSet<u64>>,
    key: Key,
    number: u64,
) {
    if let std::collections::hash_map::Entry::Occupied(mut entry) = index.entry(key) {
        entry.get_mut().remove(&number);
        if entry.get().is_empty() {
            entry.remove();
        }
    }
}
