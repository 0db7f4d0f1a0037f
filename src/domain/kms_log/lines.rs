//! Bytes to lines: `\n` bytes only, whatever pieces the bytes come in. Bounded: a line that is too long is
//! thrown away up to its end and counted. Carriage returns and other controls are ordinary bytes, as a
//! workstation name may hold them.

/// Longest line kept, in bytes. Real lines stay under about 270; the server's own buffer holds 2,048.
pub const LONGEST: usize = 64 * 1024;

/// Cuts chunks of bytes into lines.
#[derive(Clone, Debug, Default)]
pub struct LogLines {
    partial: Vec<u8>,
    discarding: bool,
    /// Lines thrown away for their length.
    pub giants: u64,
    /// Bytes of the last of them, as far as they came.
    pub giant: u64,
}

impl LogLines {
    /// Hands every line that is complete with this chunk to `each`, without its newline.
    pub fn feed(&mut self, chunk: &[u8], mut each: impl FnMut(&[u8])) {
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', chunk) {
            let piece = chunk.get(start..end).unwrap_or_default();
            start = end + 1;
            if self.discarding {
                self.discarding = false;
                self.giant += piece.len() as u64;
            } else if self.partial.is_empty() && piece.len() <= LONGEST {
                each(piece);
            } else if self.partial.len() + piece.len() <= LONGEST {
                self.partial.extend_from_slice(piece);
                each(&self.partial);
            } else {
                self.giants += 1;
                self.giant = (self.partial.len() + piece.len()) as u64;
            }
            self.partial.clear();
        }
        self.keep(chunk.get(start..).unwrap_or_default());
    }

    /// Returns how many bytes of an unfinished line are held.
    pub fn pending(&self) -> usize {
        self.partial.len()
    }

    /// Forgets the unfinished line: its file is gone.
    pub fn reset(&mut self) {
        self.partial.clear();
        self.discarding = false;
    }

    /// Returns whether the line at hand is being thrown away up to its end.
    pub fn is_discarding(&self) -> bool {
        self.discarding
    }

    /// Throws the line at hand away up to its end: it began before what is fed now.
    pub fn discard(&mut self) {
        self.discarding = true;
    }

    fn keep(&mut self, rest: &[u8]) {
        if self.discarding {
            self.giant += rest.len() as u64;
            return;
        }
        if self.partial.len() + rest.len() > LONGEST {
            self.giants += 1;
            self.giant = (self.partial.len() + rest.len()) as u64;
            self.discarding = true;
            self.partial = Vec::new();
        } else {
            self.partial.extend_from_slice(rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(chunks: &[&[u8]]) -> (Vec<Vec<u8>>, u64) {
        let mut lines = LogLines::default();
        let mut found = Vec::new();
        for chunk in chunks {
            lines.feed(chunk, |line| found.push(line.to_vec()));
        }
        (found, lines.giants)
    }

    #[test]
    fn a_giant_is_dropped_to_its_end_and_counted_once() {
        let giant = vec![b'x'; LONGEST + 1];
        let (found, giants) = split(&[b"a\n", &giant, &giant, b"tail\nb\n"]);
        assert_eq!((found, giants), (vec![b"a".to_vec(), b"b".to_vec()], 1));
        let mut whole = giant.clone();
        whole.extend_from_slice(b"\nb\n");
        assert_eq!(split(&[&whole]), (vec![b"b".to_vec()], 1));
    }

    #[test]
    fn the_length_of_a_giant_is_known_however_it_comes() {
        let mut giant = vec![b'x'; 3 * LONGEST];
        giant.push(b'\n');
        for cut in [1_000, LONGEST, LONGEST + 1, giant.len()] {
            let mut lines = LogLines::default();
            for piece in [&b"a\n"[..], &giant, b"b\n"].concat().chunks(cut) {
                lines.feed(piece, |_| {});
            }
            assert_eq!(
                (lines.giants, lines.giant),
                (1, 3 * LONGEST as u64),
                "{cut}"
            );
        }
    }

    proptest! {
        #[test]
        fn the_cut_of_chunks_does_not_matter(text in proptest::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..200), cut in 1_usize..9) {
            let whole: Vec<Vec<u8>> = split(&[&text]).0;
            let pieces: Vec<&[u8]> = text.chunks(cut).collect();
            prop_assert_eq!(split(&pieces).0, whole.clone());
            prop_assert_eq!(whole.len(), memchr::memchr_iter(b'\n', &text).count());
        }
    }
}
