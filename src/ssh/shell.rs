//! One remote shell on one channel of a [`crate::ssh::target::Link`]: sends a script once, runs it in
//! rounds, and takes the replies apart while they arrive; then the next script, as a login costs more than what it
//! runs. Reading and writing go on together, so that neither a big script nor a big reply can block the other. Sets no
//! deadline; dropping a shell, or a round of it, closes the channel.

use std::io;
use std::ops::ControlFlow;
use std::time::Duration;

use super::builtin::ChannelPipes;
use super::error::LinkError;
use super::framing::Demux;
pub use super::framing::{FramedStream, Sink};
use super::openssh::MuxPipes;
use super::script::{Nonce, ROUND, Script, round_of};

/// A login that says something and then nothing for so long waits for an answer of its own: it shows a menu. A shell
/// that has read our script prints the first marker at once.
const MENU_SILENCE: Duration = Duration::from_secs(4);

/// How long is listened whether an idle shell has ended meanwhile; its end lies in the pipe already.
const LISTENING: Duration = Duration::from_millis(1);

/// What is still to be written to the remote shell.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    bytes: Vec<u8>,
    sent: usize,
}

impl Outgoing {
    pub(crate) fn rest(&self) -> &[u8] {
        self.bytes.get(self.sent..).unwrap_or_default()
    }

    pub(crate) fn advance(&mut self, count: usize) {
        self.sent += count;
        if self.sent >= self.bytes.len() {
            self.bytes.clear();
            self.sent = 0;
        }
    }
}

/// What happened on a channel.
pub(crate) enum Arrived<'a> {
    Bytes(FramedStream, &'a [u8]),
    End,
}

/// The channel below a shell.
pub(crate) enum Pipes {
    OpenSsh(Box<MuxPipes>),
    Russh(Box<ChannelPipes>),
}

impl Pipes {
    /// Writes what can be written until something arrives.
    async fn next(&mut self, outgoing: &mut Outgoing) -> io::Result<Arrived<'_>> {
        match self {
            Self::OpenSsh(pipes) => pipes.next(outgoing).await,
            Self::Russh(pipes) => pipes.next(outgoing).await,
        }
    }

    /// Returns the remote shell's exit status after its end, if it gave one.
    async fn exit_status(&mut self) -> Option<i32> {
        match self {
            Self::OpenSsh(pipes) => pipes.exit_status().await,
            Self::Russh(pipes) => pipes.exit_status(),
        }
    }

    async fn close(self) {
        match self {
            Self::OpenSsh(pipes) => drop(pipes),
            Self::Russh(pipes) => pipes.close().await,
        }
    }
}

/// Where a shell is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    /// A round is running, or was given up: what arrives next belongs to it, so no other can be run.
    Busy,
}

/// One remote shell on one channel.
pub struct Shell {
    host: String,
    sudo: bool,
    pipes: Pipes,
    nonce: Nonce,
    demux: Demux,
    /// How many commands the script has.
    commands: usize,
    outgoing: Outgoing,
    phase: Phase,
}

impl Shell {
    /// Wraps an open channel that runs the remote shell.
    pub(crate) fn new(
        host: &str,
        sudo: bool,
        pipes: Pipes,
        script: &Script,
    ) -> Result<Self, LinkError> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|error| LinkError::Local {
            doing: "Making random numbers",
            source: error.into(),
        })?;
        let nonce = Nonce::new(bytes);
        Ok(Self {
            host: host.to_owned(),
            sudo,
            pipes,
            demux: Demux::new(&nonce),
            commands: script.commands.len(),
            outgoing: Outgoing { bytes: script.render(&nonce), sent: 0 },
            nonce,
            phase: Phase::Idle,
        })
    }

    /// Returns whether every round has come to its end.
    pub fn is_idle(&self) -> bool {
        self.phase == Phase::Idle
    }

    /// Returns whether the other end of an idle shell waits for more, as far as is known here.
    pub async fn is_still_there(&mut self) -> bool {
        let next = self.pipes.next(&mut self.outgoing);
        tokio::time::timeout(LISTENING, next).await.is_err()
    }

    /// Runs this script from now on, in place of the one before.
    pub fn replace_script(&mut self, script: &Script) {
        self.commands = script.commands.len();
        self.outgoing.bytes.extend(script.render(&self.nonce));
    }

    /// Runs every command once; hands on each piece of output as it arrives and returns the exit statuses in
    /// order. After an error, or when dropped half-way, the shell cannot be used again.
    pub async fn run_round(&mut self, sink: &mut Sink<'_>) -> Result<Vec<i32>, LinkError> {
        let all: Vec<usize> = (0..self.commands).collect();
        self.round_of(&all, sink).await
    }

    /// Runs these commands alone, in the order of the script; the rest is as with [`Shell::run_round`].
    pub async fn round_of(
        &mut self,
        commands: &[usize],
        sink: &mut Sink<'_>,
    ) -> Result<Vec<i32>, LinkError> {
        let line =
            if commands.len() == self.commands { ROUND.to_vec() } else { round_of(commands) };
        if self.phase == Phase::Busy {
            return Err(LinkError::Stopped { host: self.host.clone() });
        }
        self.phase = Phase::Busy;
        self.demux.begin_round(commands);
        self.outgoing.bytes.extend_from_slice(&line);
        while !self.demux.is_complete() {
            let arrived = match self.allowed_silence() {
                None => self.pipes.next(&mut self.outgoing).await,
                Some(patience) => {
                    let next = self.pipes.next(&mut self.outgoing);
                    match tokio::time::timeout(patience, next).await {
                        Ok(arrived) => arrived,
                        Err(_) => return Err(self.menu_error()),
                    }
                }
            };
            match arrived {
                Ok(Arrived::Bytes(stream, bytes)) => {
                    match self.demux.feed_bytes(stream, bytes, sink) {
                        Ok(ControlFlow::Continue(())) => {}
                        Ok(ControlFlow::Break(())) => {
                            return Err(LinkError::Stopped { host: self.host.clone() });
                        }
                        Err(garbled) => {
                            return Err(LinkError::Garbled {
                                host: self.host.clone(),
                                what: garbled.0,
                            });
                        }
                    }
                }
                Ok(Arrived::End) => return Err(self.ended_error().await),
                Err(_) => return Err(self.cut_short()),
            }
        }
        self.phase = Phase::Idle;
        Ok(self.demux.statuses().to_vec())
    }

    /// Returns the exit statuses of the commands that have ended in the last round, in order.
    pub fn statuses(&self) -> &[i32] {
        self.demux.statuses()
    }

    /// Ends the shell and closes its channel.
    pub async fn close(self) {
        self.pipes.close().await;
    }

    /// Returns how long a login that has talked and not run our shell may stay silent: for ever as long as the script is
    /// being sent, or nothing was said.
    fn allowed_silence(&self) -> Option<Duration> {
        let talks = !self.demux.has_started() && self.demux.last_noise().is_some();
        (talks && self.outgoing.rest().is_empty()).then_some(MENU_SILENCE)
    }

    fn menu_error(&self) -> LinkError {
        LinkError::Menu {
            host: self.host.clone(),
            said: self.demux.last_noise().unwrap_or_default(),
        }
    }

    fn cut_short(&self) -> LinkError {
        LinkError::CutShort { host: self.host.clone(), command: self.demux.current_command() }
    }

    /// Says why the stream ended: a shell that never spoke our marker was never ours.
    async fn ended_error(&mut self) -> LinkError {
        let status = self.pipes.exit_status().await;
        if self.demux.has_started() || status.is_none() {
            return self.cut_short();
        }
        let noise = self.demux.noise_outside();
        let said = match noise.trim_end_matches('.') {
            "" => "it said nothing".to_owned(),
            noise => noise.chars().take(300).collect(),
        };
        LinkError::ShellRefused { host: self.host.clone(), status, said, sudo: self.sudo }
    }
}
