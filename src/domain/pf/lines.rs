//! Lines of foreign text: what was understood, what was not.
//!
//! Not here: reading from anything; the streaming splitter of the state table is in [`super::state`].

/// A parser's result: the value, and every line it could not read.
///
/// Empty lines are neither understood nor unread.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parsed<T> {
    pub value: T,
    /// What was not, in order; at most [`Unread::KEPT`] lines are kept.
    pub unread: Vec<Unread>,
    /// How many more lines were not understood than `unread` holds.
    pub more_unread: usize,
    /// There was more than so many of what was understood; then the value is not all of it.
    pub too_many: Option<usize>,
}

impl<T> Parsed<T> {
    /// Changes the value and keeps what was unread.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Parsed<U> {
        Parsed {
            value: change(self.value),
            unread: self.unread,
            more_unread: self.more_unread,
            too_many: self.too_many,
        }
    }
}

/// A line that a parser did not understand, or understood only in part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// Line number in the text, from 1.
    pub line: usize,
    /// The line, lossily decoded and cut to [`Unread::SHOWN`] characters; control characters are still in it.
    pub text: String,
}

impl Unread {
    /// How many unread lines a [`Parsed`] keeps at most.
    pub const KEPT: usize = 100;
    /// How many characters of an unread line are kept.
    pub const SHOWN: usize = 200;
    /// Longer lines, in bytes, are never looked into.
    pub const LONGEST: usize = 64 * 1024;
}

/// Unread lines being gathered; bounded.
#[derive(Clone, Debug, Default)]
pub(super) struct GatheredLines {
    unread: Vec<Unread>,
    more: usize,
}

impl GatheredLines {
    /// Notes a line that was not understood.
    pub(super) fn add_line(&mut self, line: usize, text: &[u8]) {
        if self.unread.len() >= Unread::KEPT {
            self.more += 1;
            return;
        }
        // Four bytes a character at most: what is cut off here would not have been shown.
        let head = text.get(..Unread::SHOWN * 4).unwrap_or(text);
        let text = String::from_utf8_lossy(head).chars().take(Unread::SHOWN).collect();
        self.unread.push(Unread { line, text });
    }

    /// Joins what was gathered to what was understood.
    pub(super) fn with_value<T>(self, value: T) -> Parsed<T> {
        Parsed { value, unread: self.unread, more_unread: self.more, too_many: None }
    }

    /// The same, of a list of which no more than `most` were kept.
    pub(super) fn with_list<T>(self, list: Bounded<T>) -> Parsed<Vec<T>> {
        let too_many = list.over.then_some(list.most);
        Parsed { too_many, ..self.with_value(list.items) }
    }
}

/// A list that grows to a bound, so that no text can fill the memory.
#[derive(Debug)]
pub(super) struct Bounded<T> {
    items: Vec<T>,
    most: usize,
    over: bool,
}

impl<T> Bounded<T> {
    pub(super) fn new(most: usize) -> Self {
        Self { items: Vec::new(), most, over: false }
    }

    /// Returns whether it is full; what is then offered is dropped, and the list is known not to be whole.
    pub(super) fn is_full(&mut self) -> bool {
        self.over |= self.items.len() >= self.most;
        self.over
    }

    /// Returns whether something was dropped.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    pub(super) fn push(&mut self, item: T) {
        if !self.is_full() {
            self.items.push(item);
        }
    }

    pub(super) fn last_mut(&mut self) -> Option<&mut T> {
        self.items.last_mut()
    }
}

/// Offers each line that is not empty to `understand`, which answers whether it understood all of it.
///
/// Text that is not UTF-8 is decoded lossily; a line longer than [`Unread::LONGEST`] is not offered.
pub(super) fn gather_lines(text: &[u8], mut understand: impl FnMut(&str) -> bool) -> GatheredLines {
    gather_line_heads(text, |head, is_whole| is_whole && understand(head))
}

/// The same, with the head of a line that is longer than [`Unread::LONGEST`], and whether the line is whole.
pub(super) fn gather_line_heads(
    text: &[u8],
    mut understand: impl FnMut(&str, bool) -> bool,
) -> GatheredLines {
    let mut gathered = GatheredLines::default();
    let mut rest = text;
    let mut number = 0;
    while !rest.is_empty() {
        let (line, after) = split_line(rest);
        rest = after;
        number += 1;
        if line.is_empty() {
            continue;
        }
        let head = line.get(..Unread::LONGEST).unwrap_or(line);
        if !understand(&String::from_utf8_lossy(head), head.len() == line.len()) {
            gathered.add_line(number, line);
        }
    }
    gathered
}

/// Splits the first line off, without its newline.
pub(super) fn split_line(text: &[u8]) -> (&[u8], &[u8]) {
    let end = memchr::memchr(b'\n', text).unwrap_or(text.len());
    let (line, rest) = text.split_at_checked(end).unwrap_or((text, &[]));
    (line, rest.get(1..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unread_lines_are_numbered_cut_and_bounded() {
        let mut text = vec![b'x'; 1000];
        text.extend_from_slice(b"\n\nfine\n\xff\n");
        text.extend(b"y\n".repeat(Unread::KEPT));
        let parsed = gather_lines(&text, |line| line == "fine").with_value(());
        assert_eq!(parsed.unread.len(), Unread::KEPT);
        assert_eq!(parsed.more_unread, 2);
        assert_eq!(parsed.unread[0].line, 1);
        assert_eq!(parsed.unread[0].text.len(), Unread::SHOWN);
        assert_eq!(parsed.unread[1].line, 4);
        assert_eq!(parsed.unread[1].text, "\u{fffd}");
    }

    #[test]
    fn an_overlong_line_is_not_looked_into() {
        let text = vec![b'x'; Unread::LONGEST + 1];
        assert_eq!(gather_lines(&text, |_| true).with_value(()).unread.len(), 1);
        let text = vec![b'x'; Unread::LONGEST];
        assert_eq!(gather_lines(&text, |_| true).with_value(()).unread.len(), 0);
    }
}
