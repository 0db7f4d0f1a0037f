//! The connections that are open, and which machine was last seen at which address. Both bounded. Decides
//! nothing about requests.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;

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
    /// The machine of its last request.
    pub machine: Option<Guid>,
    /// That request was a guess among the connections up to this number.
    pub guessed: Option<u64>,
    /// It was accepted where a forged line could stand.
    pub doubtful: bool,
    /// When it was closed by a line that could be forged.
    pub closing: Option<i64>,
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
            guessed: None,
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

/// Which address a machine ID was last seen at. The ID is the client's to choose, so this may only break ties.
#[derive(Clone, Debug, Default)]
pub struct Machines {
    address: HashMap<Guid, IpAddr>,
    order: VecDeque<Guid>,
    known: HashMap<IpAddr, u32>,
}

impl Machines {
    /// Most machines remembered.
    const MOST: usize = 4_096;

    /// Remembers where a machine was seen.
    pub fn learn(&mut self, machine: Guid, address: IpAddr) {
        match self.address.insert(machine, address) {
            Some(before) => self.forget_address(before),
            None => self.order.push_back(machine),
        }
        *self.known.entry(address).or_default() += 1;
        if self.order.len() > Self::MOST
            && let Some(oldest) = self.order.pop_front()
            && let Some(before) = self.address.remove(&oldest)
        {
            self.forget_address(before);
        }
    }

    /// Returns where a machine was last seen.
    pub fn address(&self, machine: Guid) -> Option<IpAddr> {
        self.address.get(&machine).copied()
    }

    /// Returns whether some machine was seen at this address.
    pub fn knows(&self, address: IpAddr) -> bool {
        self.known.contains_key(&address)
    }

    /// Walks the machines, longest known first.
    pub fn iter(&self) -> impl Iterator<Item = (Guid, IpAddr)> {
        self.order
            .iter()
            .filter_map(|machine| Some((*machine, *self.address.get(machine)?)))
    }

    fn forget_address(&mut self, address: IpAddr) {
        if let Some(count) = self.known.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.known.remove(&address);
            }
        }
    }
}
