//! What a checkpoint keeps of a [`Log`], and how it goes on from there.

use std::collections::VecDeque;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::connections::{Open, OpenConnection};
use super::guid::Guid;
use super::log::{Gap, Log, LogTime, Tally};
use super::machines::{Machines, Whereabouts};
use super::request_block::RequestBlock;
use super::wrapper::Unwrapper;

/// What a checkpoint keeps of a [`Log`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SavedLog {
    open: Vec<(u64, OpenConnection)>,
    #[serde(default)]
    whereabouts: Vec<(Guid, Whereabouts)>,
    #[serde(default)]
    stays: Vec<(IpAddr, u32)>,
    blocks: Vec<RequestBlock>,
    gap: Option<Gap>,
    last: Option<u64>,
    swept: i64,
    /// Of an older checkpoint, which has no such time, the connections count as they are.
    #[serde(default)]
    time: LogTime,
    #[serde(default)]
    crashes: VecDeque<i64>,
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
            whereabouts: self
                .machines
                .iter()
                .map(|(machine, known)| (machine, known.clone()))
                .collect(),
            stays: self.machines.stays().collect(),
            blocks: self.blocks.clone(),
            gap: self.gap,
            last: self.last,
            swept: self.swept,
            time: self.time,
            crashes: self.crashes.clone(),
            tally: self.tally,
            wrapper: self.wrapper.clone(),
        }
    }

    pub fn restore_log(saved: SavedLog) -> Self {
        Self {
            open: Open::restore_set(saved.open, saved.tally.connections),
            machines: Machines::restore_machines(saved.whereabouts, saved.stays),
            blocks: saved.blocks,
            gap: saved.gap,
            last: saved.last,
            swept: saved.swept,
            time: saved.time,
            crashes: saved.crashes,
            tally: saved.tally,
            wrapper: saved.wrapper,
            ..Self::default()
        }
    }
}
