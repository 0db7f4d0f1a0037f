//! One remote shell.
use std::ops::ControlFlow;

use crate::firewall::link_error::LinkError;

/// Which of a command's outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Data.
    Stdout,
    /// Talk.
    Stderr,
}

/// What one command answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// The exit status as the remote shell saw it: 0 to 255; 128 + n after signal n.
    pub status: i32,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
    /// Whether one of them was longer than the limit; the rest was thrown away.
    pub truncated: bool,
}

/// How much of a round is kept in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of standard output kept of each command; what is beyond is thrown away and marked.
    pub stdout: usize,
    /// Bytes of standard error kept of each command.
    pub stderr: usize,
    /// Bytes of a whole round beyond which reading stops with [`LinkError::TooLarge`].
    pub round: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            stdout: 64 << 20,
            stderr: 64 << 10,
            round: 1 << 30,
        }
    }
}

/// Takes what arrives: index of the command, which stream, bytes. Breaking ends the round and the shell.
pub type Sink<'a> = dyn FnMut(usize, Stream, &[u8]) -> ControlFlow<()> + 'a;

/// One remote shell on one channel.
pub struct Shell {}

#[expect(clippy::unused_async, reason = "skeleton")]
impl Shell {
    /// Runs every command once.
    pub async fn round(&mut self, _sink: &mut Sink<'_>) -> Result<Vec<i32>, LinkError> {
        Ok(Vec::new())
    }
    /// Runs every command once and keeps what they answer.
    pub async fn round_collected(&mut self, _limits: Limits) -> Result<Vec<Reply>, LinkError> {
        Ok(Vec::new())
    }
    /// Ends the shell.
    pub async fn close(self) {}
}
