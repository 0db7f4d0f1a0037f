//! Table entries → text, as pfctl prints them.

use std::fmt;

use super::super::Verbosity;
use super::super::text::{Ctime, Net};
use super::{Entry, Found, Mark, Marked, Traffic};

/// Prints an [`Entry`]; see [`Entry::display`].
#[derive(Clone, Copy, Debug)]
pub struct DisplayEntry<'a> {
    entry: &'a Entry,
    verbosity: Verbosity,
}

impl<'a> DisplayEntry<'a> {
    pub(super) fn new(entry: &'a Entry, verbosity: Verbosity) -> Self {
        Self { entry, verbosity }
    }
}

impl fmt::Display for DisplayEntry<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entry = self.entry;
        write!(
            formatter,
            "  {}{}",
            sign_letter(entry.negated),
            Net(entry.net)
        )?;
        if self.verbosity == Verbosity::Plain {
            return Ok(());
        }
        if let Some(since) = entry.since {
            write!(formatter, "\n\tCleared:     {}", Ctime(since))?;
        }
        if let Some(counters) = entry.counters {
            print_traffic(formatter, "In/Block:", counters.in_block)?;
            print_traffic(formatter, "In/Pass:", counters.in_pass)?;
            print_traffic(formatter, "Out/Block:", counters.out_block)?;
            print_traffic(formatter, "Out/Pass:", counters.out_pass)?;
        }
        Ok(())
    }
}

/// Prints all that is known, as with `-v`.
impl fmt::Display for Entry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.display(Verbosity::Verbose).fmt(formatter)
    }
}

impl fmt::Display for Marked {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} {}{}",
            self.mark,
            sign_letter(self.negated),
            Net(self.net)
        )?;
        match self.found {
            None => Ok(()),
            Some(Found::Nothing) => write!(formatter, "\t nomatch"),
            Some(Found::Entry { negated, net }) => {
                write!(formatter, "\t{}{}", sign_letter(negated), Net(net))
            }
        }
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::None => " ",
            Self::Match => "M",
            Self::Added => "A",
            Self::Deleted => "D",
            Self::Changed => "C",
            Self::Cleared => "Z",
            Self::Duplicate => "X",
            Self::Conflict => "Y",
        })
    }
}

fn sign_letter(negated: bool) -> char {
    if negated { '!' } else { ' ' }
}

/// Prints a newline and a counter line.
fn print_traffic(
    formatter: &mut fmt::Formatter<'_>,
    name: &str,
    Traffic { packets, bytes }: Traffic,
) -> fmt::Result {
    write!(
        formatter,
        "\n\t{name:<12} [ Packets: {packets:<18} Bytes: {bytes:<18} ]"
    )
}
