//! Lines of foreign text: what was understood, what was not, and a splitter that holds no more than one
//! bounded line.

/// A parser's result: the value, and every line it could not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed<T> {
    /// What was understood.
    pub value: T,
    /// What was not, in order; at most [`Unread::KEPT`] lines are kept.
    pub unread: Vec<Unread>,
}

/// A line that a parser did not understand.
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
}
