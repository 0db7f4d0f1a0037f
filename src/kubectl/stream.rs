//! A kubectl that goes on: its lines one by one, and how it ended. Whatever the cluster sends, no more than one piece and
//! one line is held.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, ChildStdout};
use tokio::task::JoinHandle;

use super::{ClusterAnswers, Kubectl, KubectlError, MOST_TALK, Program, read_bounded};
use crate::clock::Clock;
use crate::domain::kms_log::lines::LogLines;
use crate::domain::notifier::event_log::split_kubectl_stamp;

/// Bytes taken at a time.
const PIECE: usize = 32 * 1024;
/// How often the simulated cluster is asked for more.
const SIMULATED: Duration = Duration::from_secs(1);

/// A running kubectl; ended when dropped.
pub struct LogStream {
    ready: VecDeque<Vec<u8>>,
    end: StreamEnd,
}

enum StreamEnd {
    Running(Box<RunningKubectl>),
    Simulated(Simulated),
}

struct RunningKubectl {
    child: Child,
    stdout: Option<ChildStdout>,
    talk: Option<JoinHandle<Vec<u8>>>,
    lines: LogLines,
    piece: Vec<u8>,
    program: Program,
    /// Lines that are noted as left out, of those that were too long.
    noted: u64,
    left_out: LeftOut,
}

/// Lines that were too long to be held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// How many.
    pub lines: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl LeftOut {
    /// Says it, if there is anything to say.
    pub fn note(self) -> Option<String> {
        match self.lines {
            0 => None,
            1 => Some(format!("a line of {} bytes was left out", self.bytes)),
            more => Some(format!(
                "{more} lines of {} bytes together were left out",
                self.bytes
            )),
        }
    }
}

/// The simulated cluster, asked again and again.
struct Simulated {
    words: Vec<String>,
    answers: ClusterAnswers,
    clock: Clock,
    newest: Option<Timestamp>,
    asked: bool,
}

impl LogStream {
    pub(super) fn start(kubectl: &Kubectl, words: Vec<String>) -> Result<Self, KubectlError> {
        let end = match kubectl {
            Kubectl::Simulated(answers, clock) => StreamEnd::Simulated(Simulated {
                words,
                answers: *answers,
                clock: *clock,
                newest: None,
                asked: false,
            }),
            Kubectl::Program(program) => {
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                let mut child = program
                    .command(&words)
                    .spawn()
                    .map_err(|error| program.not_started(&error))?;
                let talk = child.stderr.take();
                StreamEnd::Running(Box::new(RunningKubectl {
                    stdout: child.stdout.take(),
                    talk: Some(tokio::spawn(read_bounded(talk, MOST_TALK))),
                    child,
                    lines: LogLines::default(),
                    piece: vec![0; PIECE],
                    program: program.clone(),
                    noted: 0,
                    left_out: LeftOut::default(),
                }))
            }
        };
        Ok(Self {
            ready: VecDeque::new(),
            end,
        })
    }

    /// Returns which lines were left out since this was asked the last time.
    pub fn left_out(&mut self) -> LeftOut {
        match &mut self.end {
            StreamEnd::Running(running) => std::mem::take(&mut running.left_out),
            StreamEnd::Simulated(_) => LeftOut::default(),
        }
    }

    /// Returns the next whole line without its end; `None` when kubectl ended with success. Half a line at the end is
    /// left out, as it comes again. Nothing is lost when the future is dropped before it is ready.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, KubectlError> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Ok(Some(line));
            }
            let more = match &mut self.end {
                StreamEnd::Running(running) => running.read(&mut self.ready).await?,
                StreamEnd::Simulated(simulated) => simulated.read(&mut self.ready).await?,
            };
            if !more {
                return Ok(None);
            }
        }
    }
}

impl RunningKubectl {
    async fn read(&mut self, ready: &mut VecDeque<Vec<u8>>) -> Result<bool, KubectlError> {
        if let Some(stdout) = &mut self.stdout {
            let count = stdout.read(&mut self.piece).await.unwrap_or_default();
            if count > 0 {
                let piece = self.piece.get(..count).unwrap_or_default();
                self.lines
                    .feed(piece, |line| ready.push_back(line.to_vec()));
                // Of a piece so short one giant ends at most.
                if self.lines.giants > self.noted && !self.lines.is_discarding() {
                    self.noted = self.lines.giants;
                    self.left_out.lines += 1;
                    self.left_out.bytes += self.lines.giant;
                }
                return Ok(true);
            }
            self.stdout = None;
        }
        let status = self.child.wait().await;
        let status = status.map_err(|error| self.program.not_started(&error))?;
        let talk = match &mut self.talk {
            Some(talk) => talk.await.unwrap_or_default(),
            None => Vec::new(),
        };
        self.talk = None;
        if status.success() {
            return Ok(false);
        }
        let talk = String::from_utf8_lossy(&talk);
        Err(KubectlError::of_words(status.code().unwrap_or(-1), &talk))
    }
}

impl Simulated {
    async fn read(&mut self, ready: &mut VecDeque<Vec<u8>>) -> Result<bool, KubectlError> {
        let follow = self
            .words
            .iter()
            .any(|word| word == "--follow" || word == "-F");
        if self.asked && !follow {
            return Ok(false);
        }
        if self.asked {
            tokio::time::sleep(SIMULATED).await;
        }
        self.asked = true;
        let words: Vec<&str> = self.words.iter().map(String::as_str).collect();
        let text = (self.answers)(&words, self.clock.now()).ok_or(KubectlError::Failed {
            status: 1,
            said: "the simulated cluster does not answer that".to_owned(),
        })?;
        let before = self.newest;
        for line in text.lines() {
            let at = split_kubectl_stamp(line)
                .0
                .or_else(|| server_line_timestamp(line));
            if at.is_none_or(|at| before.is_none_or(|before| at > before)) {
                ready.push_back(line.as_bytes().to_vec());
            }
            self.newest = self.newest.max(at);
        }
        Ok(true)
    }
}

/// Reads the stamp of a line of the server's file.
fn server_line_timestamp(line: &str) -> Option<Timestamp> {
    let stamp: jiff::civil::DateTime = line.get(..19)?.replacen(' ', "T", 1).parse().ok()?;
    stamp
        .to_zoned(jiff::tz::TimeZone::UTC)
        .ok()
        .map(|zoned| zoned.timestamp())
}
