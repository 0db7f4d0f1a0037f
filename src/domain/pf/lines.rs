//! Lines of foreign text: what was understood, what was not.
//!
//! Not here: reading from anything; the streaming splitter of the state table is in [`super::state`].

/// A parser's result: the value, and every line it could not read.
///
/// Empty lines are neither understood nor unread.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parsed<T> {
    /// What was understood.
    pub value: T,
    /// What was not, in order; at most [`Unread::KEPT`] lines are kept.
    pub unread: Vec<Unread>,
    /// How many more lines were not understood than `unread` holds.
    pub more_unread: usize,
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
