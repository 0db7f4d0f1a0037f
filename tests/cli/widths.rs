//! Every view at four widths: no line is wider than the terminal, and no word, address or id is broken.

use std::collections::BTreeSet;

use regex::Regex;

use crate::support::environment::TestEnvironment;
use crate::support::screen::at_terminal;

const VIEWS: &[&str] = &[
    "status",
    "virusprot show",
    "rule show",
    "states",
    "states --all",
    "ratelimit show",
    "expose show",
    "history",
    "verify",
    "doctor",
    "notifier status",
    "notifier metrics",
    "config show",
    "demo scenarios",
    "runbook",
];

fn at_width(environment: &TestEnvironment, width: u16, words: &str) -> String {
    let words = format!("--demo --no-pager --color never {words} 2>/dev/null");
    at_terminal(environment, width, 24, &words)
}

/// Nothing is wider than the terminal but a single word, as an address or an id is pasted.
fn assert_fits(shown: &str, width: u16, view: &str) {
    for line in shown.lines().filter(|line| line.chars().count() > usize::from(width)) {
        let longest = line.split(' ').map(|word| word.chars().count()).max().unwrap_or_default();
        assert!(longest + 16 > usize::from(width), "{view} at {width}: {line}\n{shown}");
    }
}

/// Takes out what is said of columns that have no room.
fn without_notes(shown: &str) -> String {
    let note = Regex::new(r"(?s)Too narrow for .*?a\s+pipe\s+all\.\n").expect("a pattern");
    note.replace_all(shown, "").into_owned()
}

fn words(text: &str) -> BTreeSet<&str> {
    text.split_whitespace().collect()
}

#[test]
fn no_view_breaks_a_word() {
    let environment = TestEnvironment::new().variable("USER", "a-rather-long-name-of-an-operator");
    let reason = "somebody from 2001:db8:ffff:ffff:ffff:ffff:ffff:ffff hammered the port all night, ticket 4711";
    for change in [
        &["ratelimit", "tighten", "--for", "2h", "--reason", reason][..],
        &[
            "ratelimit",
            "set",
            "--max-src-conn",
            "4294967295",
            "--rate",
            "100000/255",
            "--reason",
            reason,
        ],
        &["undo"],
        &["virusprot", "delete", "203.0.113.65"],
    ] {
        environment.demo(&[change, &["--yes"]].concat()).success();
    }
    for view in VIEWS {
        let whole = environment
            .demo(&[&["--color", "never"], &*view.split(' ').collect::<Vec<_>>()].concat());
        for width in [60, 80, 100, 140] {
            let shown = without_notes(&at_width(&environment, width, view));
            assert!(!shown.is_empty(), "{view}");
            let known = words(&whole.stdout);
            // A backslash joins the lines of a command.
            let broken: Vec<&str> =
                words(&shown).difference(&known).filter(|word| **word != "\\").copied().collect();
            assert!(broken.is_empty(), "{view} at {width}: {broken:?}\n{shown}");
            assert_fits(&shown, width, view);
        }
    }
}

/// Pages, whose words are not those of a view: helps, runbooks, contexts, and plans.
#[test]
fn no_page_is_wider_than_its_terminal() {
    let environment = TestEnvironment::new().variable("NO_COLOR", "1");
    environment.write_config(
        "context = \"home\"\n[firewall]\nhost = \"127.0.0.1\"\n[contexts.home]\n[contexts.a-rather-long-name-of-an-office.service]\nport = 8443\nalias = \"a_rather_long_name_of_an_alias\"\n[contexts.wrong.service]\nport = 0\n",
    );
    let helps =
        ["", "expose revoke", "ratelimit preview", "notifier logs", "config init", "verify"];
    let mut pages: Vec<String> =
        helps.iter().map(|command| format!("{command} --help").trim_start().to_owned()).collect();
    let runbooks = kmsctl::commands::runbook::RUNBOOKS.iter();
    pages.extend(runbooks.map(|(name, _)| format!("runbook {name} --no-pager")));
    pages.push("config contexts".to_owned());
    pages.push("--demo=second-wan status".to_owned());
    pages.push("--demo expose revoke --delete --dry-run".to_owned());
    pages.push("--demo ratelimit tighten --dry-run --for 2h".to_owned());
    for page in &pages {
        for width in [60, 80, 100, 140] {
            let shown = at_terminal(&environment, width, 200, page);
            assert!(shown.lines().count() > 3, "{page}: {shown}");
            for line in shown.lines().filter(|line| line.chars().count() > usize::from(width)) {
                let words = line.split_whitespace().count();
                assert!(words <= 1, "{page} at {width}: {line}\n{shown}");
            }
        }
    }
}

/// What is broken in a runbook is whole again for a shell.
#[test]
fn commands_of_narrow_runbooks_stay_pasteable() {
    let environment = TestEnvironment::new().variable("NO_COLOR", "1");
    let joint = Regex::new(r" \\\n +").expect("a pattern");
    let mut broken = 0;
    for (name, text) in kmsctl::commands::runbook::RUNBOOKS {
        let shown = at_terminal(&environment, 60, 200, &format!("runbook {name} --no-pager"));
        broken += shown.matches(" \\\n").count();
        let joined = joint.replace_all(&shown, " ");
        let commands = text.lines().filter(|line| line.starts_with("$ "));
        for command in commands {
            assert!(joined.contains(command), "{name}: {command}\n{shown}");
        }
    }
    assert!(broken > 3, "only {broken} lines were broken");
}

/// What a terminal has no room for is named, with the way to see it.
#[test]
fn no_column_goes_without_a_word() {
    let environment = TestEnvironment::new();
    let title = Regex::new(r"[A-Z][A-Z/]+( \(UTC\)| FOR)?").expect("a pattern");
    let more =
        ["virusprot show", "virusprot history", "notifier logs", "ratelimit preview tighten"];
    let mut named = 0;
    // One screen has no room for notes; its lists are a few rows of those of other commands.
    for view in VIEWS.iter().chain(&more).filter(|view| **view != "status") {
        let whole = environment.demo(&view.split(' ').collect::<Vec<_>>()).stdout;
        let heads = whole.lines().filter(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let is_title = |word: &&str| {
                word.chars().all(|letter| !letter.is_lowercase() && !letter.is_numeric())
            };
            words.len() > 2 && words.iter().all(is_title)
        });
        let titles: Vec<&str> =
            heads.flat_map(|head| title.find_iter(head)).map(|found| found.as_str()).collect();
        for width in [60, 80, 100, 140] {
            let shown = at_width(&environment, width, view);
            named += shown.matches("Too narrow for").count();
            // Row by row there is a line for each cell that is not empty.
            let first = titles.first().copied().unwrap_or_default();
            if shown.lines().filter(|line| line.starts_with(first)).count() > 1 {
                continue;
            }
            for title in &titles {
                assert!(shown.contains(title), "{view} at {width}: {title}\n{shown}");
            }
        }
    }
    assert!(named > 5, "only {named} tables left a column out");
}

#[test]
fn moments_and_spans_have_one_form() {
    let clock =
        Regex::new(r"(\d{4}-\d\d-\d\dT)?\d{1,2}:\d\d:\d\d(\.\d+)?\b(Z| UTC)?").expect("a pattern");
    let moment = Regex::new(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$").expect("a pattern");
    let other = Regex::new(
        r"\b\d+ (ms|s|sec|seconds|min|minutes|h|hours|d)\b|\d,\d{3}\b|\b\d\d-\d\d \d\d:\d\d",
    )
    .expect("a pattern");
    let more = [
        "virusprot history",
        "notifier logs --tail 20",
        "ratelimit preview tighten",
        "expose revoke --dry-run --for 2h",
        "states kill --all --dry-run",
        "virusprot flush --dry-run",
        "virusprot expire --dry-run --older-than 10m",
        "doctor --clean --dry-run",
    ];
    let environment = TestEnvironment::new().without("KMSCTL_DEMO_NOW");
    environment.demo(&["ratelimit", "loosen", "--for", "2h", "--yes"]).success();
    for view in VIEWS.iter().chain(&more).filter(|view| **view != "runbook") {
        let words: Vec<&str> = view.split(' ').collect();
        for form in ["table", "json"] {
            let outcome = environment.demo(&[&words, &["-o", form][..]].concat());
            let said = format!("{}{}", outcome.stdout, outcome.stderr);
            for found in clock.find_iter(&said) {
                assert!(moment.is_match(found.as_str()), "{view} {form}: {found:?}");
            }
            let found = other.find(&said);
            assert!(found.is_none(), "{view} {form}: {found:?}");
        }
    }
}

#[test]
fn odd_terminals_are_no_trouble() {
    let environment = TestEnvironment::new();
    environment.demo(&["ratelimit", "tighten", "--yes"]).success();
    for width in [0, 1, 20] {
        for view in ["status", "history", "doctor", "runbook expose"] {
            assert!(!at_width(&environment, width, view).is_empty(), "{view} at {width}");
        }
    }
}

/// A list of usual rows is one of rows at 60 columns, and no pile of blocks.
#[test]
fn lists_are_rows_on_narrow_terminals() {
    let environment = TestEnvironment::new();
    environment.demo(&["ratelimit", "tighten", "--yes"]).success();
    for view in [
        "virusprot show",
        "virusprot history",
        "ratelimit preview",
        "ratelimit preview tighten",
        "states",
        "history",
        "demo scenarios",
    ] {
        let shown = at_width(&environment, 60, view);
        let titles = ["ADDRESS ", "SOURCE ", "SCENARIO ", "AT "];
        let heads: Vec<&str> = shown
            .lines()
            .filter(|line| titles.iter().any(|title| line.starts_with(title)))
            .collect();
        // A preview has a second list; row by row there would be a line for each address.
        let lists = if view.starts_with("ratelimit preview") { 1..=2 } else { 1..=1 };
        assert!(lists.contains(&heads.len()), "{view}: {shown}");
        assert!(heads.iter().all(|head| head.split_whitespace().count() > 1), "{view}: {shown}");
    }
}
