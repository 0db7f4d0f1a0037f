//! What a checkpoint keeps of a [`Log`], and how it goes on from there.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::candidates::{Guesses, Lost};
use super::connections::{Open, OpenConnection};
use super::guid::Guid;
use super::log::{Gap, Log, Tally};
use super::machines::Machines;
use super::request_block::RequestBlock;
use super::wrapper::Unwrapper;

/// What a checkpoint keeps of a [`Log`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SavedLog {
    open: Vec<(u64, OpenConnection)>,
    machines: Vec<(Guid, Vec<IpAddr>)>,
    guesses: Guesses,
    #[serde(default)]
    lost: Lost,
    blocks: Vec<RequestBlock>,
    gap: Option<Gap>,
    last: Option<u64>,
    swept: i64,
    tally: Tally,
    #[serde(default)]
    wrapper: Unwrapper,
}

impl Log {
    pub fn save_log(&self) -> SavedLog {
        SavedLog {
            open: self
                .open
                .iter()
                .map(|(number, connection)| (number, connection.clone()))
                .collect(),
            machines: self
                .machines
                .iter()
                .map(|(machine, addresses)| (machine, addresses.to_vec()))
                .collect(),
            guesses: self.guesses.clone(),
            lost: self.lost.clone(),
            blocks: self.blocks.clone(),
            gap: self.gap,
            last: self.last,
            swept: self.swept,
            tally: self.tally,
            wrapper: self.wrapper.clone(),
        }
    }

    pub fn restore_log(saved: SavedLog) -> Self {
        let mut machines = Machines::default();
        for (machine, addresses) in saved.machines {
            machines.learn_addresses(machine, addresses);
        }
        Self {
            open: Open::restore_set(saved.open, saved.tally.connections),
            machines,
            guesses: saved.guesses,
            lost: saved.lost,
            blocks: saved.blocks,
            gap: saved.gap,
            last: saved.last,
            swept: saved.swept,
            tally: saved.tally,
            wrapper: saved.wrapper,
            ..Self::default()
        }
    }
}
