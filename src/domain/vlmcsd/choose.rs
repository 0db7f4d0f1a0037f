//! Whose request is it? Two answers, kept apart: which connections *could* have sent it, which decides whether the
//! log is sure; and which of those most likely did.
//!
//! A connection could have sent a request if it was open from the request's first line to its answer, and if it is
//! not known to speak for another machine ([`super::guess`] holds what guesses still prove). That a connection
//! speaks for one machine (one machine ID, or one workstation name where programs of a machine have IDs of their
//! own) is what every honest client does; a client that breaks it deceives only about itself and about connections
//! that are silent at the same moment.
//!
//! Most likely, in this order: a new one from this machine's only address; one that it spoke over a moment ago;
//! one from an address where it may be ([`super::machines`]); one without a request so far, accepted no more than a second before; of several, one that
//! is no other machine's only address, then the first accepted, which is the first to ask more often than not; the
//! connection of the last request; the newest.

use std::net::IpAddr;

use super::block::Block;
use super::event::Attribution;
use super::guess::Guesses;
use super::log::Log;
use super::open::Connection;

/// Seconds, in stamps, within which a client that means to ask has asked.
const PROMPT_SECONDS: i64 = 1;

/// Seconds after which a connection that sent nothing will not send anything: a client writes as soon as it is
/// connected.
const SILENT_SECONDS: i64 = 10;

/// Seconds between two requests of a client that asks for several things.
const TALK_SECONDS: i64 = 2;

/// How well a connection fits a request; the largest wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Score {
    /// No forged line is in play.
    believed: bool,
    /// What says that it is this machine's.
    same: Same,
    /// No other machine spoke over it.
    free: bool,
    /// It is new and has asked for nothing.
    recent: bool,
    /// This machine spoke over it.
    spoke: bool,
    /// It has asked for nothing.
    fresh: bool,
    /// It is no other machine's only address.
    unknown: bool,
    /// It was the last to ask.
    last: bool,
    order: i64,
}

/// What says that a connection is the machine's that asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Same {
    /// Nothing.
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
    /// Whether they are all at the address of the chosen one.
    pub attribution: Attribution,
}

impl Log {
    /// Chooses the connection that most likely sent a request.
    pub(super) fn choose(&self, block: &Block) -> Option<u64> {
        let seen = self.seen(block);
        let free = |number: u64, connection: &Connection| {
            number <= block.limit && (!connection.busy || block.connection == Some(number))
        };
        let scored = self
            .open
            .iter()
            .filter(|(number, connection)| free(*number, connection))
            .map(|(number, connection)| (self.score(block, &seen, number, connection), number));
        scored.max().map(|(_, number)| number)
    }

    /// Lists who could have sent a request that is being attributed to `chosen`, which is or was a connection from
    /// `address`.
    pub(super) fn possible(&self, block: &Block, chosen: u64, address: IpAddr) -> Possible {
        let mut among = vec![chosen];
        let mut elsewhere = block.mixed;
        if !elsewhere && self.is_home(block, chosen, address) {
            return Possible {
                among,
                attribution: Attribution::Certain,
            };
        }
        for (number, connection) in self.open.iter() {
            if number == chosen {
                elsewhere |= !self.could(block, number, connection);
            } else if self.could(block, number, connection) {
                elsewhere |= connection.peer.address != address;
                if among.len() <= Guesses::WIDEST {
                    among.push(number);
                }
            }
        }
        let attribution = if elsewhere {
            Attribution::Ambiguous
        } else {
            Attribution::Certain
        };
        Possible { among, attribution }
    }

    /// Tells whether a machine asks over the one new connection from its only address.
    fn is_home(&self, block: &Block, chosen: u64, address: IpAddr) -> bool {
        let known = block
            .machine
            .map(|machine| self.machines.addresses(machine));
        if known != Some(&[address]) {
            return false;
        }
        self.open.iter().all(|(number, connection)| {
            if number == chosen {
                connection.requests == 0
            } else {
                connection.peer.address != address || !self.could(block, number, connection)
            }
        })
    }

    /// Tells whether a connection could have sent a request.
    pub(super) fn could(&self, block: &Block, number: u64, connection: &Connection) -> bool {
        if number > block.limit {
            return false;
        }
        if connection.requests == 0 && block.started - connection.opened > SILENT_SECONDS {
            return false;
        }
        // The short form names no machine; a name may change from request to request and proves nothing.
        let Some(machine) = block.machine else {
            return true;
        };
        match connection.machine {
            _ if block.name.is_some() && block.name == connection.name => true,
            Some(known) if connection.sure => known == machine,
            _ => self.guesses.allow(machine, number),
        }
    }

    /// Returns where the machine of a request was seen: before, else over a connection that is still open.
    fn seen(&self, block: &Block) -> Vec<IpAddr> {
        let Some(machine) = block.identity() else {
            return Vec::new();
        };
        let before = self.machines.addresses(machine);
        if !before.is_empty() {
            return before.to_vec();
        }
        let here = self
            .open
            .iter()
            .filter(|(_, connection)| connection.machine == Some(machine));
        here.map(|(_, connection)| connection.peer.address)
            .collect()
    }

    fn score(&self, block: &Block, seen: &[IpAddr], number: u64, connection: &Connection) -> Score {
        let address = connection.peer.address;
        let known = block.identity().is_some() && connection.machine.is_some();
        let named = block.name.is_some() && block.name == connection.name;
        let in_talk = in_talk(block, connection);
        let spoke = known && (block.identity() == connection.machine || named && in_talk);
        let fresh = connection.requests == 0 && !connection.malformed;
        let recent = fresh && block.started - connection.opened <= PROMPT_SECONDS;
        let same = match seen {
            _ if spoke && in_talk => Same::Talk,
            _ if known => Same::Nothing,
            [only] if *only == address => Same::Home,
            several if several.contains(&address) => Same::Possible,
            _ => Same::Nothing,
        };
        let order = i64::try_from(number).unwrap_or(i64::MAX);
        Score {
            believed: connection.closing.is_none() && !connection.doubtful,
            same,
            free: !known || spoke,
            recent,
            spoke,
            fresh,
            unknown: same == Same::Home || !self.machines.is_home(address),
            last: !fresh && self.last == Some(number),
            order: if recent { -order } else { order },
        }
    }

    /// Draws the conclusions of a request that was attributed.
    pub(super) fn conclude(&mut self, block: &Block, chosen: u64, possible: Possible) {
        let Some(identity) = block.identity().filter(|_| !block.mixed) else {
            return;
        };
        let addresses = possible
            .among
            .iter()
            .filter_map(|number| self.open.get(*number));
        let addresses = addresses
            .map(|connection| connection.peer.address)
            .collect();
        self.machines.learn(identity, addresses);
        let Some(machine) = block.machine else {
            return;
        };
        if possible.among.len() > 1 {
            self.guesses.add(machine, possible.among);
            return;
        }
        let mut certain = self.guesses.settle(machine, chosen);
        certain.push((machine, chosen));
        for (machine, number) in certain {
            if let Some(connection) = self.open.get_mut(number) {
                connection.machine = Some(machine);
                connection.sure = true;
                self.machines.learn(machine, vec![connection.peer.address]);
            }
        }
    }
}

/// Tells whether a connection had a request just before this one: clients that ask several times do it in a row.
fn in_talk(block: &Block, connection: &Connection) -> bool {
    connection.requests > 0 && block.started - connection.active <= TALK_SECONDS
}
