//! Which of the printed lines an operator wants, by regular expressions and time, and what is marked in them.

use std::ops::Range;

use jiff::{SignedDuration, Timestamp};
use regex::{Regex, RegexSet};
use unicode_width::UnicodeWidthStr as _;

use crate::error::{Failure, Result};
use crate::settings::values;
use crate::terminal::Tone;
use crate::text::{clean_text, whole_second};

#[derive(Debug)]
pub(super) struct Choice {
    include: RegexSet,
    exclude: RegexSet,
    highlight: Vec<Regex>,
    pub(super) until: Option<Timestamp>,
}

impl Choice {
    /// Reads the patterns: one of `include` must match where there are any, and none of `exclude`.
    pub(super) fn new(
        include: &[String],
        exclude: &[String],
        highlight: &[String],
        until: Option<Timestamp>,
    ) -> Result<Self> {
        let each = |flag: &str, patterns: &[String]| -> Result<Vec<Regex>> {
            patterns.iter().map(|pattern| compile_pattern(flag, pattern)).collect()
        };
        each("--include", include)?;
        each("--exclude", exclude)?;
        let set = |patterns: &[String]| {
            RegexSet::new(patterns).map_err(|error| {
                Failure::usage("The patterns are too large together.").with_cause(error)
            })
        };
        Ok(Self {
            include: set(include)?,
            exclude: set(exclude)?,
            highlight: each("--highlight", highlight)?,
            until,
        })
    }

    pub(super) fn wants_line(&self, text: &str) -> bool {
        (self.include.is_empty() || self.include.is_match(text)) && !self.exclude.is_match(text)
    }

    pub(super) fn reads_text(&self) -> bool {
        !self.include.is_empty() || !self.exclude.is_empty()
    }

    /// Marks what the patterns match, where colour is wanted.
    pub(super) fn mark_matches(&self, text: &str, color: bool) -> String {
        let mut marked = vec![false; text.len()];
        for found in self.highlight.iter().flat_map(|pattern| pattern.find_iter(text)) {
            if let Some(bytes) = marked.get_mut(found.range()) {
                bytes.fill(true);
            }
        }
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        let mut at = 0;
        while let Some(is_marked) = marked.get(at).copied() {
            let same = marked.iter().skip(at).take_while(|byte| **byte == is_marked).count();
            let (piece, behind) = rest.split_at_checked(same).unwrap_or((rest, ""));
            out += &if is_marked { Tone::Warning.paint(piece, color) } else { piece.to_owned() };
            rest = behind;
            at += same;
        }
        out
    }
}

/// Reads one pattern. A wrong one is shown with a caret under the fault.
fn compile_pattern(flag: &str, pattern: &str) -> Result<Regex> {
    let Err(error) = regex_syntax::parse(pattern) else {
        return Regex::new(pattern).map_err(|error| {
            Failure::usage(format!("{flag}: `{}` cannot be used.", clean_text(pattern)))
                .with_cause(error)
                .hint("Give a shorter one, or one that repeats less.")
        });
    };
    let (fault, why) = match &error {
        regex_syntax::Error::Parse(error) => (error.span(), error.kind().to_string()),
        regex_syntax::Error::Translate(error) => (error.span(), error.kind().to_string()),
        error => return Err(Failure::usage(format!("{flag}: {error}."))),
    };
    let width = |range: Range<usize>| clean_text(pattern.get(range).unwrap_or_default()).width();
    let before = " ".repeat(width(0..fault.start.offset));
    let carets = "^".repeat(width(fault.start.offset..fault.end.offset).max(1));
    let failure = Failure::usage(format!("{flag} is no regular expression: {why}."));
    let failure =
        failure.hint(format!("    {}", clean_text(pattern))).hint(format!("    {before}{carets}"));
    Err(failure.hint(
        "A character with a meaning, such as ( [ { * + ? . |, is meant itself after a backslash.",
    ))
}

/// Reads a time: RFC 3339, or how long ago.
pub(super) fn parse_moment(flag: &str, text: &str, now: Timestamp) -> Result<Timestamp> {
    if let Ok(at) = text.parse() {
        return Ok(at);
    }
    let ago = values::parse_duration(text).map_err(|problem| {
        let now = whole_second(now);
        Failure::usage(format!("{flag}: {problem}; or a time: {now}."))
    })?;
    let ago = SignedDuration::try_from(ago).unwrap_or(SignedDuration::MAX);
    Ok(now.checked_sub(ago).unwrap_or(Timestamp::UNIX_EPOCH))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::FailureKind;

    fn choice(include: &[&str], exclude: &[&str], highlight: &[&str]) -> Result<Choice> {
        let [include, exclude, highlight] = [include, exclude, highlight]
            .map(|list| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        Choice::new(&include, &exclude, &highlight, None)
    }

    #[test]
    fn patterns_choose_and_mark() {
        let both = choice(&["activation", "probe"], &["10\\.10\\."], &["PC-\\d", "C-1"])
            .expect("patterns");
        assert!(
            both.wants_line("activation 192.0.2.1") && !both.wants_line("activation 10.10.0.1")
        );
        assert!(!both.wants_line("refusal"));
        assert_eq!(both.mark_matches("é PC-1 x", false), "é PC-1 x");
        let marked = both.mark_matches("é PC-1 x", true);
        assert_eq!(marked, format!("é {} x", Tone::Warning.paint("PC-1", true)));
    }

    /// The caret stands under the fault in the cells of a terminal: a character may have two, or none.
    #[test]
    fn a_wrong_pattern_has_a_caret_under_its_fault() {
        for (wrong, shown, caret) in [
            ("a(", "a(", " ^"),
            ("[z-a]", "[z-a]", " ^^^"),
            ("x{2,1}", "x{2,1}", " ^^^^^"),
            ("\\p{Nothing}", "\\p{Nothing}", "^^^^^^^^^^^"),
            ("é(", "é(", " ^"),
            ("日本(", "日本(", "    ^"),
            ("e\u{301}(", "e\u{301}(", " ^"),
            ("\t(", "\\x09(", "    ^"),
            ("two\nli(nes", "two\\x0ali(nes", "         ^"),
            ("(?<n>a)(?<n>b)", "(?<n>a)(?<n>b)", "          ^"),
            ("", "", ""),
        ] {
            for flag in ["--include", "--exclude", "--highlight"] {
                let given = |own: &str| if own == flag { vec![wrong] } else { Vec::new() };
                let chosen =
                    choice(&given("--include"), &given("--exclude"), &given("--highlight"));
                if wrong.is_empty() {
                    assert!(chosen.is_ok());
                    continue;
                }
                let failure = chosen.expect_err(wrong);
                assert_eq!(failure.kind, FailureKind::Usage);
                assert!(failure.message.starts_with(flag), "{failure:?}");
                let hints: Vec<_> = failure.hints.iter().map(String::as_str).collect();
                let wanted = [format!("    {shown}"), format!("    {caret}")];
                assert_eq!(&hints[..2], &wanted, "{wrong}");
            }
        }
        let large = choice(&["a{99999}{99999}"], &[], &[]).expect_err("too large");
        assert!(large.message.ends_with("` cannot be used."), "{large:?}");
    }

    #[test]
    fn the_time_that_is_proposed_has_no_fraction() {
        let now = "2026-03-01T12:21:34.376716715Z".parse().expect("a time");
        let failure = parse_moment("--since", "5", now).expect_err("no unit");
        assert!(failure.message.ends_with("a time: 2026-03-01T12:21:34Z."), "{failure:?}");
    }
}
