//! Questions at a terminal: what was typed before does not count, a whole line is read, and only `y` or `yes` is a yes.

use std::time::Duration;

use rexpect::session::PtySession;

use crate::support::environment::TestEnvironment;

const QUESTION: &str = "Do it?";

fn spawn_tighten(environment: &TestEnvironment) -> PtySession {
    let mut command = environment.command(&["--demo", "--color", "never", "ratelimit", "tighten"]);
    command.stdin(std::process::Stdio::inherit());
    rexpect::session::spawn_command(command, Some(20_000)).expect("a pty")
}

/// Returns what was printed until the end, and the exit code.
fn ending(terminal: &mut PtySession) -> (String, Option<i32>) {
    let rest = terminal.exp_eof().expect("the end");
    let status = format!("{:?}", terminal.process().wait().expect("a status"));
    let code = status.strip_suffix(')').and_then(|text| text.rsplit(", ").next()?.parse().ok());
    (rest, code)
}

fn answered(environment: &TestEnvironment, answer: &str) -> (String, Option<i32>) {
    let mut terminal = spawn_tighten(environment);
    terminal.exp_string(QUESTION).expect(QUESTION);
    terminal.send(answer).expect("an answer");
    terminal.flush().expect("sent");
    ending(&mut terminal)
}

fn preset(environment: &TestEnvironment) -> String {
    let shown = environment.demo(&["ratelimit", "show", "-o", "json"]).json();
    shown["data"]["preset"].to_string()
}

#[test]
fn only_a_whole_yes_is_a_yes() {
    let environment = TestEnvironment::new();
    for answer in [
        "\n",
        "n\n",
        "no\n",
        "yy\n",
        "yep\n",
        "yes please\n",
        "j\n",
        "1\n",
        "tighten\n",
        "\u{4}",
        "y\u{8}n\n",
        "\u{202e}y\n",
        "\u{1b}[A\n",
    ] {
        let (shown, code) = answered(&environment, answer);
        assert_eq!(code, Some(4), "{answer:?}: {shown}");
        assert!(shown.contains("nothing was changed"), "{answer:?}: {shown}");
    }
    assert_eq!(preset(&environment), "\"default\"");
    for (answer, undo) in
        [("y\n", true), ("Y\n", true), ("YES\n", true), ("Yes\n", true), ("yes\n", false)]
    {
        let (shown, code) = answered(&environment, answer);
        assert_eq!(code, Some(0), "{answer:?}: {shown}");
        if undo {
            environment.demo(&["undo", "--yes"]).success();
        }
    }
}

#[test]
fn one_key_alone_changes_nothing() {
    let environment = TestEnvironment::new();
    let mut terminal = spawn_tighten(&environment);
    terminal.exp_string(QUESTION).expect(QUESTION);
    terminal.send("y").expect("a key");
    terminal.flush().expect("sent");
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(preset(&environment), "\"default\"");
    terminal.send_control('c').expect("Ctrl-C");
    let (shown, code) = ending(&mut terminal);
    assert_eq!(code, Some(130), "{shown}");
}

#[test]
fn what_was_typed_before_is_no_answer() {
    let environment = TestEnvironment::new();
    for typed in ["y\n", "yes\ny\ny\n", "y"] {
        let mut terminal = spawn_tighten(&environment);
        terminal.send(typed).expect("typed ahead");
        terminal.flush().expect("sent");
        terminal.exp_string(QUESTION).expect(QUESTION);
        std::thread::sleep(Duration::from_millis(300));
        terminal.send_line("").expect("nothing");
        let (shown, code) = ending(&mut terminal);
        assert_eq!(code, Some(4), "{typed:?}: {shown}");
    }
    assert_eq!(preset(&environment), "\"default\"");
}

/// A time out of range is called that, however long it is.
#[test]
fn a_time_out_of_range_is_called_that() {
    for (time, word) in [("100000d", "too long"), ("31d", "too long"), ("5s", "too short")] {
        let line = ["ratelimit", "tighten", "--dry-run", "--for", time];
        let said = TestEnvironment::new().demo(&line).fails_with(2);
        assert!(said.contains(word) && said.contains("the longest is 30d"), "{said}");
    }
}
