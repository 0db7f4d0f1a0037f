//! The pager: what is longer than the screen goes through it, at a terminal only.

use std::os::unix::fs::PermissionsExt as _;

use crate::support::environment::TestEnvironment;
use crate::support::screen;

/// A home with a pager that marks what passed through it.
fn with_pager() -> TestEnvironment {
    let environment = TestEnvironment::new();
    let pager = environment.home().join("pager");
    std::fs::write(&pager, "#!/bin/sh\necho \"PAGED $1\"\nsed 's/^/> /' | head -n 3\n")
        .expect("a program");
    std::fs::set_permissions(&pager, std::fs::Permissions::from_mode(0o755)).expect("a program");
    let command = format!("{} -x", pager.display());
    environment.variable("PAGER", command)
}

fn at_terminal(environment: &TestEnvironment, lines: u16, words: &str) -> String {
    screen::at_terminal(environment, 80, lines, words)
}

#[test]
fn long_pages_go_through_the_pager() {
    let environment = with_pager();
    let shown = at_terminal(&environment, 24, "runbook expose");
    assert!(shown.contains("PAGED -x") && shown.contains("> "), "{shown}");
    assert_eq!(shown.matches("\n> ").count(), 3, "left early: {shown}");
    for (lines, words) in
        [(24, "--no-pager runbook expose"), (900, "runbook expose"), (24, "version")]
    {
        let shown = at_terminal(&environment, lines, words);
        assert!(!shown.contains("PAGED"), "{words}: {shown}");
    }
    let shown = environment.run(&["runbook", "expose"]).success();
    assert!(!shown.contains("PAGED"), "{shown}");
}

#[test]
fn a_pager_that_fails_hides_nothing() {
    for pager in ["/nonexistent/pager", "more --no-such-option", "sh -c 'less", "false"] {
        let environment = TestEnvironment::new().variable("PAGER", pager);
        let shown = at_terminal(&environment, 24, "runbook expose");
        assert!(shown.contains("expose revoke") && shown.contains(pager), "{pager}: {shown}");
    }
}

#[test]
fn a_log_opens_at_its_end() {
    let environment = with_pager();
    let pager = environment.home().join("pager");
    let less = environment.home().join("less");
    std::fs::copy(pager, &less).expect("a program");
    let environment = environment.variable("PAGER", less.display().to_string());
    let shown = at_terminal(&environment, 24, "--demo notifier logs");
    assert!(shown.contains("PAGED +G"), "{shown}");
    let shown = at_terminal(&environment, 24, "runbook expose");
    assert!(shown.contains("PAGED") && !shown.contains("+G"), "{shown}");
}

#[test]
fn a_terminal_shows_rendered_runbooks() {
    let environment = TestEnvironment::new();
    {
        let words = "--no-pager --color never runbook expose";
        let shown = at_terminal(&environment, 24, words);
        assert!(!shown.contains("```") && !shown.contains("\n# "), "{shown}");
        assert!(shown.contains("    $ kmsctl expose"), "{shown}");
    }
    let index = at_terminal(&environment, 60, "runbook");
    for symptom in ["stopped", "hammers the port", "Take it down now"] {
        assert!(index.contains(symptom), "{index}");
    }
}

/// A pager is worked by keys: where standard input is none, none begins.
#[test]
fn without_a_keyboard_no_pager_begins() {
    let environment = with_pager();
    for input in ["</dev/null", "<&-", "<runbook.txt"] {
        std::fs::write(environment.home().join("runbook.txt"), "q\n").expect("a file");
        for words in ["runbook expose", "--demo doctor", "--demo notifier logs"] {
            let shown = at_terminal(&environment, 24, &format!("{words} {input}"));
            assert!(!shown.contains("PAGED"), "{words} {input}: {shown}");
            assert!(shown.lines().count() > 24, "{words} {input}: {shown}");
        }
    }
}
