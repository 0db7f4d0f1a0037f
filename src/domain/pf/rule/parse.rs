//! `-sr` and `-sn` in all their verbosities → rules. Lines: rules, `[ … ]` lines below them, closing braces.

use super::super::lines::{self, Bounded, Parsed, Unread};
use super::super::text::{is_closed, parse_ctime, take_digits, take_labelled, whole_number};
use super::labels::{self, Parts};
use super::tokens::{Tokens, without_counts};
use super::{Action, Endpoint, Rule, RuleCounters, StateOptions, body};

/// More rules than this are not looked at: pfSense takes minutes to load as many.
const MOST_RULES: usize = 10_000;

/// Parses `-sr` or `-sn` with any of `-v`, `-vv`, `-g`, `-P` and `-a '*'`.
///
/// A rule with a word unknown to us is in the value, and its line is among the unread; so is a numbered one of which not
/// even the action is known, as [`Action::Unread`].
pub fn parse_pf_rules(text: &[u8]) -> Parsed<Vec<Rule>> {
    let mut rules = Bounded::new(MOST_RULES);
    let mut depth = 0_u32;
    let gathered = lines::gather_line_heads(text, |line, is_whole| {
        let trimmed = line.trim_start_matches(' ');
        if let Some(counters) = trimmed.strip_prefix("[ ") {
            let rule = rules.last_mut();
            return rule.is_some_and(|rule| counter_line(rule, counters).is_some());
        }
        if trimmed == "}" {
            let open = depth > 0;
            depth = depth.saturating_sub(1);
            return open;
        }
        if rules.is_full() {
            return true;
        }
        let readable = if is_whole { rule_line(trimmed, depth) } else { None };
        let Some(rule) = readable.or_else(|| unread_rule(trimmed, depth)) else {
            return false;
        };
        depth += u32::from(rule.block);
        let is_understood = rule.is_understood;
        rules.push(rule);
        is_understood
    });
    gathered.with_list(rules)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loader {
    /// There is no rule.
    NoRule,
    /// Not one process, or none is printed.
    Unknown,
    /// One process: the number of `Inserted: uid 0 pid N`.
    Process(u32),
}

/// Returns who loaded the rules of `-vvPsr` or `-vvPsn`, without reading more of them. pf's rulesets are replaced as a
/// whole, so two lists of one moment are of one process.
pub fn parse_loader(text: &[u8]) -> Loader {
    let mut found = None;
    let mut rest = text;
    while !rest.is_empty() {
        let (line, after) = lines::split_line(rest);
        rest = after;
        let line = line.trim_ascii_start();
        let Some(words) = line.strip_prefix(b"[ Inserted: ") else {
            continue;
        };
        let words = std::str::from_utf8(words).unwrap_or_default();
        let Some((pid, _)) = parse_inserted(words) else {
            return Loader::Unknown;
        };
        if found.is_some_and(|found| found != pid) {
            return Loader::Unknown;
        }
        found = Some(pid);
    }
    match found {
        Some(pid) => Loader::Process(pid),
        None if text.trim_ascii().is_empty() => Loader::NoRule,
        None => Loader::Unknown,
    }
}

/// Parses one rule as `-sr` prints it; `None` if it does not begin with an action.
pub fn parse_one(text: &str) -> Option<Rule> {
    rule_line(text, 0)
}

/// Reads `[@N[(ID)] ]TEXT[ {]`.
fn rule_line(line: &str, depth: u32) -> Option<Rule> {
    let (number, tracker, text) = split_rule_number(line)?;
    let is_anchor = text.split(' ').next()?.ends_with("anchor");
    let (text, block) = match text.strip_suffix(" {") {
        Some(text) if is_anchor => (text, true),
        _ => (text, false),
    };
    let mut rule = rule_text(text)?;
    rule.ridentifier = rule.ridentifier.or(tracker.filter(|id| *id > 0));
    Some(Rule { number, depth, block, ..rule })
}

/// Takes a numbered line that is no rule we know for what it is: a rule, and its place among the others.
fn unread_rule(line: &str, depth: u32) -> Option<Rule> {
    let (number @ Some(_), _, text) = split_rule_number(line)? else {
        return None;
    };
    let head = text.chars().take(Unread::SHOWN).collect();
    Some(Rule { number, depth, is_understood: false, ..blank_rule(head, Action::Unread) })
}

/// Splits `@N ` or `@N(ID) ` off.
fn split_rule_number(line: &str) -> Option<(Option<u32>, Option<u32>, &str)> {
    let Some(rest) = line.strip_prefix('@') else {
        return Some((None, None, line));
    };
    let (prefix, text) = rest.split_once(' ')?;
    let (rule, after) = take_digits(prefix)?;
    let rule = Some(u32::try_from(rule).ok()?);
    if after.is_empty() {
        return Some((rule, None, text));
    }
    let tracker = whole_number(after.strip_prefix('(')?.strip_suffix(')')?)?;
    Some((rule, Some(tracker), text))
}

fn rule_text(text: &str) -> Option<Rule> {
    let Parts { head, labels, tail } = labels::split_labels(text);
    let (head, head_target) = split_target(head);
    let (tail, tail_target) = split_target(tail);
    let mut words = Tokens::new(head);
    let action = body::parse_action(&mut words)?;
    let mut rule = Rule {
        labels: labels.into_iter().map(str::to_owned).collect(),
        target: tail_target.or(head_target).map(without_counts),
        ..blank_rule(text.to_owned(), action)
    };
    for mut words in [words, Tokens::new(tail)] {
        rule.is_understood &= body::parse_conditions(&mut rule, &mut words);
    }
    Some(rule)
}

/// Returns a rule without conditions.
fn blank_rule(text: String, action: Action) -> Rule {
    Rule {
        number: None,
        depth: 0,
        block: false,
        text,
        action,
        direction: None,
        quick: false,
        interface: None,
        reply_to: None,
        family: None,
        protocol: None,
        from: any_endpoint(),
        to: any_endpoint(),
        keep: None,
        state_options: StateOptions::default(),
        labels: Vec::new(),
        ridentifier: None,
        target: None,
        counters: None,
        is_understood: true,
    }
}

fn any_endpoint() -> Endpoint {
    Endpoint { host: "any".to_owned(), ..Endpoint::default() }
}

/// Splits what a rule translates to off: `-> POOL`, on FreeBSD 15 also `rdr-to POOL` and its like.
fn split_target(text: &str) -> (&str, Option<&str>) {
    let split =
        [" -> ", " rdr-to ", " nat-to ", " af-to "].iter().find_map(|arrow| text.split_once(arrow));
    match split {
        Some((before, target)) => (before, Some(target)),
        None => (text, None),
    }
}

/// Reads a line of counters, after its `[ `, into `rule`; `None` if it says nothing we know, or comes too early.
fn counter_line(rule: &mut Rule, line: &str) -> Option<()> {
    if line.starts_with("Skip steps:") || line.starts_with("queue:") {
        return line.ends_with(']').then_some(());
    }
    if line.starts_with("Evaluations:") {
        let counters = parse_evaluations(line)?;
        return rule.counters.replace(counters).is_none().then_some(());
    }
    let counters = rule.counters.as_mut()?;
    if let Some(rest) = line.strip_prefix("Inserted: ") {
        let (loader, creations) = parse_inserted(rest)?;
        counters.state_creations = creations;
        return counters.loader.replace(loader).is_none().then_some(());
    }
    if let Some(time) = line.strip_prefix("Last Active Time: ") {
        let time = time.strip_suffix(']')?.trim_matches(' ');
        return (time == "N/A" || parse_ctime(time).is_some()).then_some(());
    }
    skip_source_nodes(line)
}

/// Reads `Evaluations: 90        Packets: 2183      Bytes: 2000042     States: 17    ]`.
fn parse_evaluations(line: &str) -> Option<RuleCounters> {
    let (evaluations, rest) = take_labelled(line, "Evaluations:")?;
    let (packets, rest) = take_labelled(rest, "Packets:")?;
    let (bytes, rest) = take_labelled(rest, "Bytes:")?;
    let (states, rest) = take_labelled(rest, "States:")?;
    is_closed(rest).then(|| RuleCounters {
        evaluations,
        packets,
        bytes,
        states,
        ..RuleCounters::default()
    })
}

/// Reads `[uid 0 ]pid 20038 State Creations: 1024  ]`: the process and the number.
fn parse_inserted(line: &str) -> Option<(u32, u64)> {
    // Not printed by pfSense up to 2.4.
    let rest = match take_labelled(line, "uid") {
        Some((_, rest)) => rest,
        None => line,
    };
    let (pid, rest) = take_labelled(rest, "pid")?;
    let (creations, rest) = take_labelled(rest, "State Creations:")?;
    let pid = u32::try_from(pid).ok()?;
    is_closed(rest).then_some((pid, creations))
}

/// Reads over `Source Nodes: 3      Limit: 3      NAT/RDR: 0      Route: 0      ]` (FreeBSD 15).
fn skip_source_nodes(line: &str) -> Option<()> {
    let (_, rest) = take_labelled(line, "Source Nodes:")?;
    let (_, rest) = take_labelled(rest, "Limit:")?;
    let (_, rest) = take_labelled(rest, "NAT/RDR:")?;
    let (_, rest) = take_labelled(rest, "Route:")?;
    is_closed(rest).then_some(())
}
