//! Takes the two output streams of a remote shell apart again: finds the markers that
//! [`crate::ssh::script`] prints around each command and hands on what lies between them, as it arrives,
//! in bounded memory, however the bytes were cut on their way. Knows nothing of connections, and nothing of
//! what the commands mean.

use std::ops::ControlFlow;

use memchr::{memchr, memmem, memrchr};

use super::script::Nonce;
use crate::text::quoted;

/// Which of a command's outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FramedStream {
    /// Data.
    Stdout,
    /// Talk.
    Stderr,
}

/// Takes what arrives: index of the command, which stream, bytes. Breaking ends the round and the shell.
pub type Sink<'a> = dyn FnMut(usize, FramedStream, &[u8]) -> ControlFlow<()> + 'a;

/// A marker that stands where none may stand, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Garbled(pub String);

/// The longest rest of a marker's line: two numbers of ten digits and their blanks fit well.
const MARKER_REST: usize = 64;

/// How much of what is said before the first marker is kept for error messages, in bytes a stream.
const NOISE_KEPT: usize = 2048;
/// How much of its end is kept, for its last line.
const NOISE_END_KEPT: usize = 512;
/// More than this is said by no login before its first command runs, in bytes.
const MOST_NOISE: usize = 1 << 20;

/// The two streams of one shell.
#[derive(Debug)]
pub struct Demux {
    stdout: Framing,
    stderr: Framing,
}

impl Demux {
    /// Expects rounds that are marked with this nonce.
    pub fn new(nonce: &Nonce) -> Self {
        Self { stdout: Framing::new(nonce), stderr: Framing::new(nonce) }
    }

    /// Expects a new round of these commands, in order, from its first marker on.
    pub fn begin_round(&mut self, commands: &[usize]) {
        self.stdout.begin_round(commands);
        self.stderr.begin_round(commands);
    }

    /// Takes the next bytes of one stream and hands on the commands' share of them.
    pub fn feed_bytes(
        &mut self,
        stream: FramedStream,
        bytes: &[u8],
        sink: &mut Sink<'_>,
    ) -> Result<ControlFlow<()>, Garbled> {
        let framing = match stream {
            FramedStream::Stdout => &mut self.stdout,
            FramedStream::Stderr => &mut self.stderr,
        };
        framing.feed_bytes(bytes, &mut |index, part| sink(index, stream, part))
    }

    /// Returns whether both streams have reached the end of the round.
    pub fn is_complete(&self) -> bool {
        self.stdout.place == FramePosition::Done && self.stderr.place == FramePosition::Done
    }

    /// Returns the exit statuses of the commands that have ended, in order.
    pub fn statuses(&self) -> &[i32] {
        &self.stdout.statuses
    }

    /// Returns whether any marker has arrived since the shell was opened.
    pub fn has_started(&self) -> bool {
        self.stdout.started || self.stderr.started
    }

    /// Returns the last line that was said outside the commands, on either stream; `None` where nothing was.
    pub fn last_noise(&self) -> Option<String> {
        let last = |framing: &Framing| {
            let end = String::from_utf8_lossy(&framing.noise_end).into_owned();
            let line = end.lines().rev().find(|line| !line.trim().is_empty())?;
            Some(line.trim().to_owned())
        };
        last(&self.stdout).or_else(|| last(&self.stderr))
    }

    /// Returns the command whose output is arriving.
    pub fn current_command(&self) -> Option<usize> {
        match self.stdout.place {
            FramePosition::Inside(index) => Some(index),
            FramePosition::Outside | FramePosition::Done => None,
        }
    }

    /// Returns what was said outside the commands, the error stream first; for error messages.
    pub fn noise_outside(&self) -> String {
        let mut text = String::from_utf8_lossy(&self.stderr.noise).trim().to_owned();
        let stdout = String::from_utf8_lossy(&self.stdout.noise);
        if !stdout.trim().is_empty() {
            if !text.is_empty() {
                text.push_str("; ");
            }
            text.push_str(stdout.trim());
        }
        text
    }
}

/// Where in a round a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FramePosition {
    Outside,
    Inside(usize),
    Done,
}

/// One stream.
#[derive(Debug)]
struct Framing {
    /// Newline, nonce, blank: what every marker starts with.
    needle: Vec<u8>,
    /// The commands of the round, by their position in the script.
    commands: Vec<usize>,
    place: FramePosition,
    statuses: Vec<i32>,
    /// The end of the last bytes, where it may be the start of a marker.
    carry: Vec<u8>,
    noise: Vec<u8>,
    noise_end: Vec<u8>,
    noise_bytes: usize,
    started: bool,
}

impl Framing {
    fn new(nonce: &Nonce) -> Self {
        Self {
            needle: format!("\n{} ", nonce.as_str()).into_bytes(),
            commands: Vec::new(),
            place: FramePosition::Outside,
            statuses: Vec::new(),
            carry: Vec::new(),
            noise: Vec::new(),
            noise_end: Vec::new(),
            noise_bytes: 0,
            started: false,
        }
    }

    fn begin_round(&mut self, commands: &[usize]) {
        self.commands = commands.to_vec();
        self.place = FramePosition::Outside;
        self.statuses.clear();
        self.carry.clear();
    }

    fn feed_bytes(
        &mut self,
        bytes: &[u8],
        deliver: &mut dyn FnMut(usize, &[u8]) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, Garbled> {
        if self.carry.is_empty() {
            return self.scan_markers(bytes, deliver);
        }
        let mut joined = std::mem::take(&mut self.carry);
        joined.extend_from_slice(bytes);
        self.scan_markers(&joined, deliver)
    }

    /// Walks from marker to marker; keeps back what may be the start of one.
    fn scan_markers(
        &mut self,
        mut bytes: &[u8],
        deliver: &mut dyn FnMut(usize, &[u8]) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, Garbled> {
        while self.place != FramePosition::Done {
            let Some(at) = memmem::find(bytes, &self.needle) else {
                let (output, held) = bytes.split_at(self.possible_marker(bytes));
                self.carry.extend_from_slice(held);
                let flow = self.hand_on(output, deliver);
                if self.noise_bytes > MOST_NOISE {
                    let mebibytes = MOST_NOISE >> 20;
                    return Err(Garbled(format!(
                        "more than {mebibytes} MiB came that belong to no command"
                    )));
                }
                return Ok(flow);
            };
            let (output, marker) = bytes.split_at(at);
            if self.hand_on(output, deliver).is_break() {
                return Ok(ControlFlow::Break(()));
            }
            let rest = marker.get(self.needle.len()..).unwrap_or_default();
            let Some(end) = memchr(b'\n', rest) else {
                if rest.len() > MARKER_REST {
                    return Err(Garbled("a marker has no end".to_owned()));
                }
                self.carry.extend_from_slice(marker);
                return Ok(ControlFlow::Continue(()));
            };
            let (line, after) = rest.split_at(end);
            self.take_marker(line)?;
            bytes = after.get(1..).unwrap_or_default();
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Returns where the last bytes may be the start of a marker that is still arriving, else their length. A
    /// marker holds only one newline, its first byte, so only the last newline can start an unfinished one.
    fn possible_marker(&self, bytes: &[u8]) -> usize {
        let from = bytes.len().saturating_sub(self.needle.len());
        let tail = bytes.get(from..).unwrap_or_default();
        memrchr(b'\n', tail)
            .filter(|&at| tail.get(at..).is_some_and(|end| self.needle.starts_with(end)))
            .map_or(bytes.len(), |at| from + at)
    }

    fn hand_on(
        &mut self,
        output: &[u8],
        deliver: &mut dyn FnMut(usize, &[u8]) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        match self.place {
            FramePosition::Inside(index) if !output.is_empty() => deliver(index, output),
            FramePosition::Outside => {
                let room = NOISE_KEPT.saturating_sub(self.noise.len());
                self.noise.extend(output.iter().take(room));
                self.noise_bytes = self.noise_bytes.saturating_add(output.len());
                let end = output.len().saturating_sub(NOISE_END_KEPT);
                self.noise_end.extend(output.iter().skip(end));
                let over = self.noise_end.len().saturating_sub(NOISE_END_KEPT);
                self.noise_end.drain(..over);
                ControlFlow::Continue(())
            }
            FramePosition::Inside(_) | FramePosition::Done => ControlFlow::Continue(()),
        }
    }

    fn take_marker(&mut self, line: &[u8]) -> Result<(), Garbled> {
        self.started = true;
        let text = String::from_utf8_lossy(line);
        let mut words = text.split(' ');
        let kind = words.next().unwrap_or_default();
        let index = words.next().and_then(|word| word.parse::<usize>().ok());
        let status = words.next().and_then(|word| word.parse::<i32>().ok());
        let next = self.commands.get(self.statuses.len()).copied();
        match (kind, index, status, self.place) {
            ("b", Some(index), None, FramePosition::Outside) if next == Some(index) => {
                self.place = FramePosition::Inside(index);
            }
            ("e", Some(index), Some(status), FramePosition::Inside(current))
                if index == current =>
            {
                self.statuses.push(status);
                self.place = FramePosition::Outside;
            }
            ("d", None, None, FramePosition::Outside) if next.is_none() => {
                self.place = FramePosition::Done;
            }
            // What a missing awk looks like: its pipe ate the end marker.
            ("b" | "d", _, _, FramePosition::Inside(current)) => {
                return Err(Garbled(format!(
                    "command {current} has no end{}",
                    self.noise_clause()
                )));
            }
            _ => {
                return Err(Garbled(format!("a marker is out of place: {}", quoted(&text))));
            }
        }
        Ok(())
    }

    fn noise_clause(&self) -> String {
        let noise = String::from_utf8_lossy(&self.noise);
        let noise = noise.trim();
        if noise.is_empty() { String::new() } else { format!(" ({noise})") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const COMMANDS: usize = 2;

    fn nonce() -> Nonce {
        Nonce::new(*b"0123456789abcdef")
    }

    fn marked(text: &str) -> Vec<u8> {
        text.replace('@', nonce().as_str()).into_bytes()
    }

    /// The outputs, the statuses, and whether the round was complete.
    type Round = (Vec<Vec<u8>>, Vec<i32>, bool);

    /// Feeds stdout in the given pieces and stderr whole.
    fn run(pieces: &[&[u8]]) -> Result<Round, Garbled> {
        let mut demux = Demux::new(&nonce());
        demux.begin_round(&[0, 1]);
        let mut outputs = vec![Vec::new(); COMMANDS];
        let mut sink = |index: usize, stream: FramedStream, bytes: &[u8]| {
            assert_eq!(stream, FramedStream::Stdout);
            outputs[index].extend_from_slice(bytes);
            ControlFlow::Continue(())
        };
        let _ = demux.feed_bytes(
            FramedStream::Stderr,
            &marked("\n@ b 0\n\n@ e 0 0\n\n@ b 1\n\n@ e 1 0\n\n@ d\n"),
            &mut sink,
        )?;
        for piece in pieces {
            let _ = demux.feed_bytes(FramedStream::Stdout, piece, &mut sink)?;
        }
        let (statuses, complete) = (demux.statuses().to_vec(), demux.is_complete());
        Ok((outputs, statuses, complete))
    }

    #[test]
    fn takes_a_round_apart() {
        let reply = marked("noise\n\n@ b 0\none\n\n@ e 0 0\n\n@ b 1\n\n@ e 1 255\n\n@ d\nafter");
        let (outputs, statuses, complete) = run(&[&reply]).unwrap();
        assert_eq!(outputs, [b"one\n".to_vec(), Vec::new()]);
        assert_eq!(statuses, [0, 255]);
        assert!(complete);
    }

    #[test]
    fn one_newline_before_a_marker_belongs_to_it() {
        let reply = marked("\n@ b 0\nno newline\n@ e 0 0\n\n@ b 1\n\n\n\n@ e 1 0\n\n@ d\n");
        let (outputs, _, _) = run(&[&reply]).unwrap();
        assert_eq!(outputs, [b"no newline".to_vec(), b"\n\n".to_vec()]);
    }

    #[test]
    fn keeps_noise_for_the_error_message_but_not_all_of_it() {
        let mut demux = Demux::new(&nonce());
        demux.begin_round(&[0]);
        let mut sink = |_: usize, _: FramedStream, _: &[u8]| ControlFlow::Continue(());
        let _ =
            demux.feed_bytes(FramedStream::Stderr, b"sudo: a password is required\n", &mut sink);
        let _ = demux.feed_bytes(FramedStream::Stdout, &vec![b'x'; 1 << 20], &mut sink);
        assert!(demux.noise_outside().starts_with("sudo: a password is required; xxx"));
        assert!(demux.noise_outside().len() < 3 * NOISE_KEPT);
        assert!(!demux.has_started());
    }

    #[test]
    fn the_last_line_of_noise_is_known() {
        let mut demux = Demux::new(&nonce());
        demux.begin_round(&[0]);
        assert_eq!(demux.last_noise(), None);
        let mut sink = |_: usize, _: FramedStream, _: &[u8]| ControlFlow::Continue(());
        for _ in 0..2000 {
            let _ = demux.feed_bytes(FramedStream::Stdout, b"\nInvalid option\n", &mut sink);
        }
        let _ = demux.feed_bytes(FramedStream::Stdout, b"\n Enter an option: ", &mut sink);
        assert_eq!(demux.last_noise().as_deref(), Some("Enter an option:"));
        let endless = vec![b'x'; MOST_NOISE];
        assert!(demux.feed_bytes(FramedStream::Stdout, &endless, &mut sink).is_err());
    }

    #[test]
    fn holds_back_no_more_than_a_marker() {
        let mut demux = Demux::new(&nonce());
        demux.begin_round(&[0]);
        let mut taken = 0;
        let mut sink = |_: usize, _: FramedStream, bytes: &[u8]| {
            taken += bytes.len();
            ControlFlow::Continue(())
        };
        let _ = demux.feed_bytes(FramedStream::Stdout, &marked("\n@ b 0\n"), &mut sink).unwrap();
        for _ in 0..1000 {
            let _ = demux.feed_bytes(FramedStream::Stdout, b"\n\n\n\nkmsctl", &mut sink).unwrap();
        }
        assert!(demux.stdout.carry.len() <= demux.stdout.needle.len());
        assert!(taken >= 10 * 999);
    }

    #[test]
    fn a_break_stops_at_once() {
        let mut demux = Demux::new(&nonce());
        demux.begin_round(&[0]);
        let mut calls = 0;
        let mut sink = |_: usize, _: FramedStream, _: &[u8]| {
            calls += 1;
            ControlFlow::Break(())
        };
        let flow = demux
            .feed_bytes(FramedStream::Stdout, &marked("\n@ b 0\nx\n@ e 0 0\n\n@ d\n"), &mut sink)
            .unwrap();
        assert!(flow.is_break());
        assert_eq!(calls, 1);
    }

    #[test]
    fn markers_out_of_place_are_garbled() {
        for reply in [
            "\n@ b 1\n",
            "\n@ e 0 0\n",
            "\n@ d\n",
            "\n@ b 0\n\n@ e 1 0\n",
            "\n@ b 0\n\n@ e 0\n",
            "\n@ b 0\n\n@ e 0 x\n",
            "\n@ b 0\n\n@ b 1\n",
            "\n@ b 0\n\n@ d\n",
            "\n@ b 99999999999999999999999\n",
            "\n@ z\n",
            "\n@ b 0\n\n@ e 0 0\n\n@ b 1\n\n@ e 1 0\n\n@ b 2\n",
        ] {
            assert!(run(&[&marked(reply)]).is_err(), "{reply:?}");
        }
        let endless = marked(&format!("\n@ {}", "9".repeat(MARKER_REST + 1)));
        assert!(run(&[&endless]).is_err());
    }

    #[test]
    fn a_round_of_some_commands_keeps_their_numbers() {
        let mut demux = Demux::new(&nonce());
        let reply = marked("\n@ b 1\none\n@ e 1 0\n\n@ b 4\nfour\n@ e 4 7\n\n@ d\n");
        let mut seen = Vec::new();
        let mut sink = |index: usize, stream: FramedStream, bytes: &[u8]| {
            seen.extend((stream == FramedStream::Stdout).then(|| (index, bytes.to_vec())));
            ControlFlow::Continue(())
        };
        demux.begin_round(&[1, 4]);
        let _ = demux.feed_bytes(FramedStream::Stdout, &reply, &mut sink).unwrap();
        let _ = demux.feed_bytes(FramedStream::Stderr, &reply, &mut sink).unwrap();
        assert!(demux.is_complete());
        assert_eq!(demux.statuses(), [0, 7]);
        assert_eq!(seen, [(1, b"one".to_vec()), (4, b"four".to_vec())]);
        for other in [&[0, 4][..], &[1], &[4, 1], &[1, 4, 5], &[]] {
            demux.begin_round(other);
            let mut sink = |_: usize, _: FramedStream, _: &[u8]| ControlFlow::Continue(());
            let read = demux.feed_bytes(FramedStream::Stdout, &reply, &mut sink);
            assert!(read.is_err() || !demux.is_complete(), "{other:?}");
        }
    }

    #[test]
    fn an_unfinished_round_is_not_complete() {
        let reply = marked("\n@ b 0\none\n@ e 0 0\n\n@ b 1\ntw");
        let (outputs, statuses, complete) = run(&[&reply]).unwrap();
        assert_eq!(outputs[1], b"tw");
        assert_eq!((statuses.len(), complete), (1, false));
    }

    proptest! {
        #[test]
        fn however_it_is_cut_it_is_the_same(
            outputs in proptest::collection::vec(
                proptest::collection::vec(
                    prop_oneof![
                        Just(b"\n".to_vec()),
                        Just(format!("\n{}", nonce().as_str()).into_bytes()),
                        Just(nonce().as_str().as_bytes().to_vec()),
                        Just(b"kmsctl3031".to_vec()),
                        proptest::collection::vec(any::<u8>(), 0..50),
                    ],
                    0..8,
                ),
                COMMANDS..=COMMANDS,
            ),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..30),
            statuses in proptest::collection::vec(0..256_i32, COMMANDS..=COMMANDS),
        ) {
            // A nonce followed by a blank cannot be forged (it is random), so it is not generated either.
            let outputs: Vec<Vec<u8>> = outputs.iter().map(|parts| parts.concat()).collect();
            let needle = Framing::new(&nonce()).needle;
            prop_assume!(outputs.iter().all(|output| {
                memmem::find(&[b"\n", output.as_slice(), b"\n"].concat(), &needle).is_none()
            }));
            let mut reply = Vec::new();
            for (index, output) in outputs.iter().enumerate() {
                reply.extend(marked(&format!("\n@ b {index}\n")));
                reply.extend(output);
                reply.extend(marked(&format!("\n@ e {index} {}\n", statuses[index])));
            }
            reply.extend(marked("\n@ d\n"));

            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(reply.len())).collect();
            at.extend([0, reply.len()]);
            at.sort_unstable();
            let pieces: Vec<&[u8]> = at.windows(2).map(|pair| &reply[pair[0]..pair[1]]).collect();

            let whole = run(&[&reply]).unwrap();
            prop_assert_eq!(&whole.0, &outputs);
            prop_assert_eq!(&whole.1, &statuses);
            prop_assert!(whole.2);
            prop_assert_eq!(run(&pieces).unwrap(), whole);
        }

        #[test]
        fn rubbish_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..500)) {
            let _ = run(&[&bytes]);
            let _ = run(&[&marked("\n@ "), &bytes]);
        }
    }
}
