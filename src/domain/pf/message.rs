//! What pfctl says on stderr: results (`3/3 addresses deleted.`), notices and errors.
//!
//! The exit code alone proves little (`0/1 addresses deleted.` exits 0), so the counts in these lines
//! are what a change is judged by.

#[cfg(test)]
mod tests;

use std::fmt;

use super::lines::{self, Parsed};
use super::text::{take_digits, whole_number};

/// One line of pfctl's stderr.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// `D/N addresses VERB.`
    Addresses {
        /// How many it was done to, or that matched.
        done: u64,
        /// Of how many; flush and replace name no total.
        of: Option<u64>,
        /// What was done.
        verb: Verb,
        /// With `-n`: nothing was changed.
        dry_run: bool,
    },
    /// `N table created.`, `N table deleted.` or `N table/stats cleared.`
    Tables {
        /// How many.
        count: u64,
        /// What was done.
        verb: Verb,
        /// With `-n`: nothing was changed.
        dry_run: bool,
    },
    /// `no changes.`
    NoChanges {
        /// With `-n`.
        dry_run: bool,
    },
    /// `killed N states[ from S sources and D destinations]`, or the same of `src nodes`.
    Killed {
        /// States or source nodes.
        what: Killed,
        /// How many.
        count: u64,
        /// How many sources and destinations were looked for; not printed for labels, ids and gateways.
        among: Option<(u64, u64)>,
    },
    /// `N states cleared`.
    StatesCleared(u64),
    /// `source tracking entries cleared` and the like, which name no number.
    Cleared(String),
    /// `no IP address found for TEXT`: an address was not one.
    NotAnAddress(String),
    /// `FILE:LINE: TEXT`: a ruleset has a mistake.
    RulesetError(String),
    /// `pfctl: TEXT`, without the first word.
    Error(String),
    /// `pfctl: warning: TEXT`, without the first two words: such as a table of the same name in an anchor.
    Warning(String),
    /// `cannot get astats from TABLE: too many elements.` and the advice after it: one request may not hold so
    /// many entries (`net.pf.request_maxcount`).
    TooMany(String),
    /// A line of the usage text, which follows an error of usage.
    Usage(String),
    /// `No ALTQ support in kernel` and its second line, which mean nothing to us.
    Altq(String),
}

/// What a table command did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// `added`.
    Added,
    /// `changed`.
    Changed,
    /// `cleared`: statistics and "Cleared" times.
    Cleared,
    /// `created`.
    Created,
    /// `deleted`.
    Deleted,
    /// `expired`.
    Expired,
    /// `match`.
    Match,
}

/// What a kill killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Killed {
    /// `states`.
    States,
    /// `src nodes`.
    SourceNodes,
}

/// Parses pfctl's stderr.
pub fn parse(text: &[u8]) -> Parsed<Vec<Message>> {
    let mut messages = Vec::new();
    let gathered = lines::gather_lines(text, |line| {
        let message = message(line, messages.last());
        let understood = message.is_some();
        messages.extend(message);
        understood
    });
    gathered.with(messages)
}

fn message(line: &str, previous: Option<&Message>) -> Option<Message> {
    if let Some(warning) = line.strip_prefix("pfctl: warning: ") {
        return Some(Message::Warning(warning.to_owned()));
    }
    if let Some(error) = line.strip_prefix("pfctl: ") {
        return Some(Message::Error(error.to_owned()));
    }
    let continues_usage = line.starts_with('\t') && matches!(previous, Some(Message::Usage(_)));
    if line.starts_with("usage: ") || continues_usage {
        return Some(Message::Usage(line.to_owned()));
    }
    if let Some(name) = line.strip_prefix("no IP address found for ") {
        return Some(Message::NotAnAddress(name.to_owned()));
    }
    if matches!(
        line,
        "No ALTQ support in kernel" | "ALTQ related functions disabled"
    ) {
        return Some(Message::Altq(line.to_owned()));
    }
    let too_many = line.starts_with("cannot get ") && line.ends_with(": too many elements.");
    if too_many || line == "Consider increasing net.pf.request_maxcount." {
        return Some(Message::TooMany(line.to_owned()));
    }
    table_result(line)
        .or_else(|| killed(line))
        .or_else(|| cleared(line))
        .or_else(|| ruleset_error(line))
}

/// Reads the results of `-T`: they end in a dot, or ` (dummy).`, ` (syntax only).` with `-n`.
fn table_result(line: &str) -> Option<Message> {
    let line = line.strip_suffix('.')?;
    let (line, dry_run) = match line
        .strip_suffix(" (dummy)")
        .or(line.strip_suffix(" (syntax only)"))
    {
        Some(line) => (line, true),
        None => (line, false),
    };
    if line == "no changes" {
        return Some(Message::NoChanges { dry_run });
    }
    let (done, rest) = take_digits(line)?;
    let (of, rest) = match rest.strip_prefix('/') {
        Some(rest) => take_digits(rest).map(|(of, rest)| (Some(of), rest))?,
        None => (None, rest),
    };
    if let Some(verb) = rest.strip_prefix(" addresses ") {
        let verb = table_verb(verb)?;
        return Some(Message::Addresses {
            done,
            of,
            verb,
            dry_run,
        });
    }
    let verb = match rest {
        " table/stats cleared" => Verb::Cleared,
        " table created" => Verb::Created,
        " table deleted" => Verb::Deleted,
        _ => return None,
    };
    of.is_none().then_some(Message::Tables {
        count: done,
        verb,
        dry_run,
    })
}

fn table_verb(word: &str) -> Option<Verb> {
    const VERBS: [Verb; 6] = [
        Verb::Added,
        Verb::Changed,
        Verb::Cleared,
        Verb::Deleted,
        Verb::Expired,
        Verb::Match,
    ];
    VERBS.into_iter().find(|verb| verb.as_str() == word)
}

/// Reads `killed 4 states from 1 sources and 0 destinations`.
fn killed(line: &str) -> Option<Message> {
    let (count, rest) = take_digits(line.strip_prefix("killed ")?)?;
    let (what, rest) = match rest.strip_prefix(" states") {
        Some(rest) => (Killed::States, rest),
        None => (Killed::SourceNodes, rest.strip_prefix(" src nodes")?),
    };
    let among = match rest.strip_prefix(" from ") {
        Some(rest) => {
            let (sources, rest) = take_digits(rest)?;
            let rest = rest.strip_prefix(" sources and ")?;
            Some((sources, whole_number(rest.strip_suffix(" destinations")?)?))
        }
        None if rest.is_empty() => None,
        None => return None,
    };
    Some(Message::Killed { what, count, among })
}

/// Reads the results of `-F`: `27 states cleared`, `source tracking entries cleared`, `pf: statistics cleared`.
fn cleared(line: &str) -> Option<Message> {
    let what = line.strip_suffix(" cleared")?;
    if let Some(count) = what.strip_suffix(" states").and_then(whole_number) {
        return Some(Message::StatesCleared(count));
    }
    let known = matches!(
        what,
        "source tracking entries"
            | "pf: statistics"
            | "pf: interface flags"
            | "rules"
            | "nat"
            | "altq"
    ) || what.ends_with(" tables");
    known.then(|| Message::Cleared(line.to_owned()))
}

/// Reads `stdin:1: syntax error`.
fn ruleset_error(line: &str) -> Option<Message> {
    let (file, rest) = line.split_once(':')?;
    let (row, text) = rest.split_once(": ")?;
    let found = !file.is_empty() && whole_number::<u64>(row).is_some() && !text.is_empty();
    found.then(|| Message::RulesetError(line.to_owned()))
}

impl Verb {
    /// Returns pfctl's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Changed => "changed",
            Self::Cleared => "cleared",
            Self::Created => "created",
            Self::Deleted => "deleted",
            Self::Expired => "expired",
            Self::Match => "match",
        }
    }
}

/// Prints the line as pfctl does.
impl fmt::Display for Message {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = |dry_run: bool| if dry_run { " (dummy)." } else { "." };
        match self {
            Self::Addresses {
                done,
                of,
                verb,
                dry_run,
            } => {
                write!(formatter, "{done}")?;
                if let Some(of) = of {
                    write!(formatter, "/{of}")?;
                }
                write!(formatter, " addresses {}{}", verb.as_str(), end(*dry_run))
            }
            Self::Tables {
                count,
                verb,
                dry_run,
            } => {
                let what = if *verb == Verb::Cleared {
                    "table/stats"
                } else {
                    "table"
                };
                write!(
                    formatter,
                    "{count} {what} {}{}",
                    verb.as_str(),
                    end(*dry_run)
                )
            }
            Self::NoChanges { dry_run } => write!(formatter, "no changes{}", end(*dry_run)),
            Self::Killed { what, count, among } => {
                let what = match what {
                    Killed::States => "states",
                    Killed::SourceNodes => "src nodes",
                };
                write!(formatter, "killed {count} {what}")?;
                match among {
                    Some((sources, destinations)) => {
                        write!(
                            formatter,
                            " from {sources} sources and {destinations} destinations"
                        )
                    }
                    None => Ok(()),
                }
            }
            Self::StatesCleared(count) => write!(formatter, "{count} states cleared"),
            Self::NotAnAddress(name) => write!(formatter, "no IP address found for {name}"),
            Self::Warning(text) => write!(formatter, "pfctl: warning: {text}"),
            Self::Error(text) => write!(formatter, "pfctl: {text}"),
            Self::Cleared(line)
            | Self::RulesetError(line)
            | Self::Usage(line)
            | Self::TooMany(line)
            | Self::Altq(line) => formatter.write_str(line),
        }
    }
}
