//! Every screen of the demo at four widths. Each is read once, in this process; what is laid out is the same view each time.

use std::collections::BTreeSet;
use std::path::Path;

use clap::Parser as _;

use super::{build_context, within_runtime};
use crate::cli::Cli;
use crate::settings::Environment;
use crate::terminal::View;
use crate::terminal::tests::views_of;

const VIEWS: [&str; 6] = [
    "status",
    "doctor",
    "verify",
    "expose show",
    "expose revoke --dry-run",
    "expose restore --dry-run",
];
/// Those in which something else is on the screen than in the others.
const SCENARIOS: [&str; 18] = [
    "absent",
    "backend-dead",
    "closed",
    "denied",
    "drifted",
    "floating",
    "group-forward",
    "half",
    "leftovers",
    "no-cron",
    "old-target",
    "one-to-one",
    "open",
    "php-missing",
    "routed",
    "shadowed",
    "shared-association",
    "upnp",
];
const WIDTHS: [u16; 4] = [60, 80, 100, 140];

/// Runs a command on the demo, and returns what it shows.
fn shown_views(home: &Path, scenario: &str, words: &str) -> Vec<View> {
    let demo = format!("--demo={scenario}");
    let line = ["kmsctl", &demo, "--quiet", "--timeout", "2s"];
    let cli = Cli::try_parse_from(line.into_iter().chain(words.split(' '))).expect("a command");
    let mut environment = Environment::default();
    environment.home = Some(home.to_owned());
    let now = ("KMSCTL_DEMO_NOW".to_owned(), "2026-03-01T12:21:34Z".to_owned());
    environment.variables.extend([now]);
    let context = build_context(&cli, environment).map_err(|(_, failure)| failure);
    let context = context.expect("a context");
    views_of(|| {
        let _ = within_runtime(&context, &cli);
    })
}

fn words(text: &str) -> BTreeSet<&str> {
    text.split_whitespace().collect()
}

/// Leaves out what is said of columns that have no room.
fn without_notes(text: &str) -> String {
    let mut kept = text.to_owned();
    while let Some(start) = kept.find("Too narrow for ") {
        let end = kept[start..].find("all.\n").map_or(kept.len(), |end| start + end + 5);
        kept.replace_range(start..end, "");
    }
    kept
}

/// Returns how long the longest part of a line is that is never broken: a word, or a command.
fn longest_part(line: &str) -> usize {
    let quoted = line.split('`').skip(1).step_by(2);
    quoted.chain(line.split(' ')).map(|part| part.chars().count()).max().unwrap_or(0)
}

fn check_screen(view: &View, what: &str) {
    let whole = view.human.render(None, false);
    for width in WIDTHS {
        let shown = view.human.render(Some(width), false);
        let shown = without_notes(&shown);
        // A backslash joins the lines of a command.
        let (shown_words, known) = (words(&shown), words(&whole));
        let broken = shown_words.difference(&known).filter(|word| **word != "\\");
        let broken: Vec<&str> = broken.copied().collect();
        assert!(broken.is_empty(), "{what} at {width}: {broken:?}\n{shown}");
        for line in shown.lines() {
            let fits = line.chars().count() <= usize::from(width);
            assert!(
                fits || longest_part(line) + 20 > usize::from(width),
                "{what} at {width}: {line}"
            );
        }
        for line in shown.replace(" \\\n", "").lines() {
            let ticks = line.matches('`').count();
            assert_eq!(ticks % 2, 0, "{what} at {width}: {line}");
        }
    }
}

#[test]
fn every_screen_fits_at_four_widths() {
    let mut screens = 0;
    for scenario in SCENARIOS {
        let home = tempfile::tempdir().expect("a home");
        for words in VIEWS {
            for view in shown_views(home.path(), scenario, words) {
                check_screen(&view, &format!("{scenario}: {words}"));
                screens += 1;
            }
        }
    }
    assert!(screens > 4 * SCENARIOS.len(), "only {screens} screens");
}

#[test]
#[should_panic(expected = "a line at 60")]
fn a_line_that_is_too_wide_is_found() {
    let mut view = View::new("test", jiff::Timestamp::UNIX_EPOCH, &()).expect("a view");
    view.human.verbatim(&"word ".repeat(20));
    check_screen(&view, "a line");
}
