//! Rules → text, as pfctl of FreeBSD 14 prints them.

use std::fmt::{self, Write as _};

use super::super::Verbosity;
use super::super::text::Ctime;
use super::labels;
use super::tokens::without_counts;
use super::{LastActive, Rule, RuleCounters};

/// Prints a whole listing as `-sr` or `-sn` does, anchors' braces included.
pub fn print_rules(rules: &[Rule], verbosity: Verbosity) -> String {
    let mut out = String::new();
    let mut open = 0;
    for rule in rules {
        close_braces(&mut out, &mut open, rule.depth, verbosity);
        indent_rule(&mut out, rule.depth, verbosity);
        let _ = writeln!(out, "{}", rule.display(verbosity));
        open += u32::from(rule.block);
    }
    close_braces(&mut out, &mut open, 0, verbosity);
    out
}

/// Closes braces down to `depth`.
fn close_braces(out: &mut String, open: &mut u32, depth: u32, verbosity: Verbosity) {
    while *open > depth {
        *open -= 1;
        indent_rule(out, *open, verbosity);
        out.push_str("}\n");
    }
}

/// Indents as pfctl does, which with `-v` it does not.
fn indent_rule(out: &mut String, depth: u32, verbosity: Verbosity) {
    if verbosity == Verbosity::Plain {
        (0..depth).for_each(|_| out.push_str("  "));
    }
}

/// Prints a [`Rule`]; see [`Rule::display`].
#[derive(Clone, Copy, Debug)]
pub struct DisplayRule<'a> {
    rule: &'a Rule,
    verbosity: Verbosity,
}

impl<'a> DisplayRule<'a> {
    pub(super) fn new(rule: &'a Rule, verbosity: Verbosity) -> Self {
        Self { rule, verbosity }
    }
}

impl fmt::Display for DisplayRule<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rule = self.rule;
        if self.verbosity == Verbosity::VeryVerbose {
            if let Some(number) = rule.number {
                write!(formatter, "@{number}")?;
                if let Some(bracket) = rule.bracket {
                    write!(formatter, "({bracket})")?;
                }
                formatter.write_str(" ")?;
            }
            formatter.write_str(&rule.text)?;
        } else {
            formatter.write_str(&without_counts_but_labels(&rule.text))?;
        }
        if rule.block {
            formatter.write_str(" {")?;
        }
        match &rule.counters {
            Some(counters) if self.verbosity != Verbosity::Plain => {
                write!(formatter, "\n{}", counters.display(self.verbosity))
            }
            _ => Ok(()),
        }
    }
}

/// Takes the counts of `-vv` out of a rule's text, but not out of its labels.
fn without_counts_but_labels(text: &str) -> String {
    let parts = labels::split_labels(text);
    let between = text
        .get(parts.head.len()..text.len() - parts.tail.len())
        .unwrap_or_default();
    format!(
        "{}{between}{}",
        without_counts(parts.head),
        without_counts(parts.tail)
    )
}

/// Prints the text.
impl fmt::Display for Rule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl RuleCounters {
    /// Prints the lines that `-v` or `-vv` puts below a rule; no newline at the end.
    pub fn display(&self, verbosity: Verbosity) -> impl fmt::Display + '_ {
        DisplayCounters {
            counters: self,
            verbosity,
        }
    }
}

struct DisplayCounters<'a> {
    counters: &'a RuleCounters,
    verbosity: Verbosity,
}

impl fmt::Display for DisplayCounters<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counters = self.counters;
        write!(
            formatter,
            "  [ Evaluations: {:<8}  Packets: {:<8}  Bytes: {:<10}  States: {:<6}]",
            counters.evaluations, counters.packets, counters.bytes, counters.states,
        )?;
        if let Some(nodes) = counters.source_nodes {
            write!(
                formatter,
                "\n  [ Source Nodes: {:<6} Limit: {:<6} NAT/RDR: {:<6} Route: {:<6} ]",
                nodes.all, nodes.limit, nodes.translation, nodes.route,
            )?;
        }
        if let Some(inserted) = counters.inserted {
            formatter.write_str("\n  [ Inserted: ")?;
            if let Some(uid) = inserted.uid {
                write!(formatter, "uid {uid} ")?;
            }
            let (pid, creations) = (inserted.pid, counters.state_creations);
            write!(formatter, "pid {pid} State Creations: {creations:<6}]")?;
        }
        match counters.last_active {
            Some(last) if self.verbosity == Verbosity::VeryVerbose => {
                write!(formatter, "\n  [ Last Active Time: {last} ]")
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for LastActive {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Never => formatter.write_str("N/A"),
            Self::At(time) => Ctime(*time).fmt(formatter),
        }
    }
}
