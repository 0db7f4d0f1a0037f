//! The connections that are open. Bounded. Decides nothing about requests.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::guid::Guid;
use super::peer::Peer;

/// Most connections kept open at a time; the server of a flood forks no more either.
pub const MOST: usize = 4_096;

/// One open connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// The client.
    pub peer: Peer,
    /// When it was accepted, Unix seconds.
    pub opened: i64,
    /// When it last did anything, Unix seconds.
    pub active: i64,
    /// Requests attributed to it and finished.
    pub requests: u32,
    /// A request is being written for it.
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
}

impl Connection {
    /// Returns whether it was closed, as far as can be believed: where its begin may be forged as well as its end,
    /// there may have been no such connection at all.
    pub fn was_closed(&self) -> bool {
        self.closing.is_some() && !self.doubtful
    }
}

/// The set of open connections, in the order they were accepted.
#[derive(Clone, Debug, Default)]
pub struct Open {
    connections: BTreeMap<u64, Connection>,
    numbers: HashMap<Peer, u64>,
    newest: u64,
}

impl Open {
    /// Makes the set again from what [`Open::iter`] gave. `newest` is the number of connections there ever were: a
    /// number that a request still remembers must not be given to another connection.
    pub fn restore(connections: impl IntoIterator<Item = (u64, Connection)>, newest: u64) -> Self {
        let mut open = Self {
            newest,
            ..Self::default()
        };
        for (number, connection) in connections.into_iter().take(MOST) {
            open.numbers.insert(connection.peer, number);
            open.newest = open.newest.max(number);
            open.connections.insert(number, connection);
        }
        open
    }

    /// Adds a connection; returns the one that had to make room.
    pub fn insert(&mut self, peer: Peer, at: i64, doubtful: bool) -> Option<(u64, Connection)> {
        let evicted = if self.connections.len() >= MOST {
            let oldest = self
                .connections
                .first_key_value()
                .map(|(number, _)| *number);
            oldest.and_then(|number| self.remove(number).map(|connection| (number, connection)))
        } else {
            None
        };
        self.newest += 1;
        self.numbers.insert(peer, self.newest);
        let connection = Connection {
            peer,
            opened: at,
            active: at,
            requests: 0,
            busy: false,
            malformed: false,
            machine: None,
            name: None,
            sure: false,
            doubtful,
            closing: None,
        };
        self.connections.insert(self.newest, connection);
        evicted
    }

    /// Removes a connection.
    pub fn remove(&mut self, number: u64) -> Option<Connection> {
        let connection = self.connections.remove(&number)?;
        self.numbers.remove(&connection.peer);
        Some(connection)
    }

    /// Returns the number of the connection with this client.
    pub fn number(&self, peer: &Peer) -> Option<u64> {
        self.numbers.get(peer).copied()
    }

    /// Returns a connection.
    pub fn get(&self, number: u64) -> Option<&Connection> {
        self.connections.get(&number)
    }

    /// Returns a connection to change.
    pub fn get_mut(&mut self, number: u64) -> Option<&mut Connection> {
        self.connections.get_mut(&number)
    }

    /// Returns the number given to the newest connection so far.
    pub fn newest(&self) -> u64 {
        self.newest
    }

    /// Walks the connections, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (u64, &Connection)> {
        self.connections
            .iter()
            .map(|(number, connection)| (*number, connection))
    }

    /// Returns how many there are.
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// Returns whether there is none.
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// Returns the numbers of all that satisfy a condition, oldest first.
    pub fn find(&self, wanted: impl Fn(&Connection) -> bool) -> Vec<u64> {
        self.iter()
            .filter(|(_, connection)| wanted(connection))
            .map(|(number, _)| number)
            .collect()
    }
}
