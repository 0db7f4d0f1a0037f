//! Keys of a live view: the terminal gives them one by one while the view is on the screen. Ctrl-C stays a signal.

use std::io::{self, IsTerminal as _, Read as _};

use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use tokio::sync::mpsc;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// `q`.
    Quit,
    /// So many lines down, or up.
    Lines(isize),
    /// So many screens down, or up.
    Pages(isize),
    /// To the first line.
    Home,
    /// To the last line.
    End,
}

/// Keys are given one by one, and not echoed, until this is dropped.
pub struct KeyMode(Option<Termios>);

impl KeyMode {
    /// Switches the terminal, where stdin is one.
    pub(super) fn start() -> Self {
        let stdin = io::stdin();
        let Some(before) = stdin.is_terminal().then(|| tcgetattr(&stdin).ok()).flatten() else {
            return Self(None);
        };
        let mut modes = before.clone();
        modes.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
        // Ctrl-Z would leave the shell with our screen.
        modes.special_codes[SpecialCodeIndex::VSUSP] = 0;
        let set = tcsetattr(&stdin, OptionalActions::Flush, &modes);
        Self(set.is_ok().then_some(before))
    }
}

impl Drop for KeyMode {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = tcsetattr(io::stdin(), OptionalActions::Flush, before);
        }
    }
}

/// Reads keys on a thread of its own, which ends with the program; `None` where there is no terminal to press them on.
pub fn read_keys() -> Option<mpsc::Receiver<Key>> {
    if !io::stdin().is_terminal() {
        return None;
    }
    let (sender, receiver) = mpsc::channel(16);
    std::thread::spawn(move || {
        let mut bytes = [0; 64];
        while let Ok(count) = io::stdin().lock().read(&mut bytes) {
            let pressed = bytes.get(..count).unwrap_or_default();
            if count == 0 || !keys_of(pressed).iter().all(|key| sender.blocking_send(*key).is_ok())
            {
                break;
            }
        }
    });
    Some(receiver)
}

/// Understands what a terminal sends at once; what is unknown is passed over.
fn keys_of(mut bytes: &[u8]) -> Vec<Key> {
    const KNOWN: &[(&[u8], Key)] = &[
        (b"q", Key::Quit),
        (b"Q", Key::Quit),
        (b"j", Key::Lines(1)),
        (b"k", Key::Lines(-1)),
        (b" ", Key::Pages(1)),
        (b"g", Key::Home),
        (b"G", Key::End),
        (b"\x1b[A", Key::Lines(-1)),
        (b"\x1bOA", Key::Lines(-1)),
        (b"\x1b[B", Key::Lines(1)),
        (b"\x1bOB", Key::Lines(1)),
        (b"\x1b[5~", Key::Pages(-1)),
        (b"\x1b[6~", Key::Pages(1)),
        (b"\x1b[H", Key::Home),
        (b"\x1bOH", Key::Home),
        (b"\x1b[F", Key::End),
        (b"\x1bOF", Key::End),
    ];
    let mut keys = Vec::new();
    while !bytes.is_empty() {
        let known = KNOWN.iter().find(|(sequence, _)| bytes.starts_with(sequence));
        let length = known.map_or(1, |(sequence, _)| sequence.len());
        keys.extend(known.map(|(_, key)| *key));
        bytes = bytes.get(length..).unwrap_or_default();
    }
    keys
}

/// Returns the first line to show after a key, of so many lines in a window of so many.
pub fn scrolled_first(first: usize, key: Key, lines: usize, window: usize) -> usize {
    let last = lines.saturating_sub(window);
    let page = isize::try_from(window.saturating_sub(1).max(1)).unwrap_or(isize::MAX);
    let moved = match key {
        Key::Quit => first,
        Key::Lines(by) => first.saturating_add_signed(by),
        Key::Pages(by) => first.saturating_add_signed(by.saturating_mul(page)),
        Key::Home => 0,
        Key::End => last,
    };
    moved.min(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_keys_are_understood_among_others() {
        assert_eq!(
            keys_of(b"x\x1b[B\x1b[6~\x1b[99;1Rq"),
            [Key::Lines(1), Key::Pages(1), Key::Quit]
        );
        assert_eq!(keys_of(b"\x1bOA\x1b[HG"), [Key::Lines(-1), Key::Home, Key::End]);
    }

    #[test]
    fn scrolling_stays_within_the_lines() {
        assert_eq!(scrolled_first(0, Key::Lines(-1), 50, 20), 0);
        assert_eq!(scrolled_first(0, Key::Pages(1), 50, 20), 19);
        assert_eq!(scrolled_first(19, Key::Pages(9), 50, 20), 30);
        assert_eq!(scrolled_first(5, Key::End, 10, 20), 0);
        assert_eq!(scrolled_first(30, Key::Home, 50, 20), 0);
    }
}
