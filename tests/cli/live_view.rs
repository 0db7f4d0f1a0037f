//! Live views at a terminal: keys scroll and end them, and what goes into a pipe has a time in every tick.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use rexpect::session::PtySession;

use crate::support::environment::TestEnvironment;
use crate::support::live::{LiveBox, program, until};
use crate::support::processes;

fn watch(environment: &TestEnvironment, words: &str, (columns, rows): (u16, u16)) -> PtySession {
    let like = environment.command(&[]);
    let mut command = std::process::Command::new("/bin/sh");
    let kmsctl = env!("CARGO_BIN_EXE_kmsctl");
    command.arg("-c").arg(format!(
        "stty cols {columns} rows {rows}; '{kmsctl}' --demo {words}; echo ended $?; stty -a"
    ));
    command.env_clear().stdin(Stdio::inherit());
    command.envs(like.get_envs().filter_map(|(name, value)| Some((name, value?))));
    rexpect::session::spawn_command(command, Some(20_000)).expect("a pty")
}

fn watch_status(environment: &TestEnvironment) -> PtySession {
    watch(environment, "status --watch=1s", (80, 12))
}

/// Waits for the next whole frame, and returns its lines; the last is the footer.
fn next_frame(terminal: &mut PtySession) -> Vec<String> {
    let drawn = terminal.exp_string("\u{1b}[J").expect("a frame");
    let frame = drawn.rsplit("\u{1b}[H").next().expect("its beginning");
    let styles = regex::Regex::new("\u{1b}\\[[0-9;]*[a-zA-Z]").expect("an expression");
    let lines = frame.split('\n').map(|line| styles.replace_all(line.trim_end(), ""));
    lines.map(std::borrow::Cow::into_owned).collect()
}

fn resize(terminal: &PtySession, (columns, rows): (u16, u16)) {
    let size =
        rustix::termios::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    let master = terminal.process().get_file_handle().expect("the pty");
    rustix::termios::tcsetwinsize(master, size).expect("a size");
}

fn press(terminal: &mut PtySession, keys: &str) {
    terminal.send(keys).expect("a key");
    terminal.flush().expect("sent");
}

#[test]
fn keys_scroll_and_end_a_live_view() {
    let environment = TestEnvironment::new();
    let mut terminal = watch_status(&environment);
    terminal.exp_string("lines 1-11 of").expect("the top");
    press(&mut terminal, "\u{1b}[B");
    terminal.exp_string("lines 2-12 of").expect("a line down");
    press(&mut terminal, "\u{1b}[6~");
    terminal.exp_string("lines 12-22 of 22").expect("a page down, to the end");
    press(&mut terminal, "\u{1b}[H");
    terminal.exp_string("lines 1-11 of").expect("the top again");
    press(&mut terminal, "q");
    terminal.exp_string("ended 0").expect("the end");
    let modes = terminal.exp_eof().expect("the modes");
    assert!(modes.contains(" icanon"), "{modes}");
}

/// A shell that came back would have the view's screen, and no cursor.
#[test]
fn a_live_view_is_not_suspended() {
    let environment = TestEnvironment::new();
    let mut terminal = watch_status(&environment);
    next_frame(&mut terminal);
    terminal.send_control('z').expect("Ctrl-Z");
    next_frame(&mut terminal);
    press(&mut terminal, "q");
    terminal.exp_string("ended 0").expect("the end");
}

#[test]
fn a_dumb_terminal_gets_tables() {
    let environment = TestEnvironment::new().variable("TERM", "dumb");
    let mut terminal = watch_status(&environment);
    let first = terminal.exp_string("Exposure").expect("a table");
    let second = terminal.exp_string("Exposure").expect("another");
    assert!(!format!("{first}{second}").contains(['{', '\u{1b}']), "{first}{second}");
    terminal.send_control('c').expect("Ctrl-C");
}

/// No tick comes within ten minutes: what is drawn anew is drawn for the new size.
#[test]
fn a_resized_live_view_is_drawn_anew() {
    for (words, live) in [
        ("rule show", "block rule"),
        ("states", "198.51.100.200"),
        ("status", "Exposure"),
        ("virusprot show", "203.0.113.65"),
    ] {
        let environment = TestEnvironment::new();
        let mut terminal = watch(&environment, &format!("{words} --watch=10m"), (100, 50));
        let whole = next_frame(&mut terminal);
        assert!(whole.iter().any(|line| line.contains(live)), "{words}: {whole:?}");
        for (columns, rows) in [(80, 24), (60, 10), (80, 24), (40, 5), (140, 60), (80, 24)] {
            resize(&terminal, (columns, rows));
            let frame = next_frame(&mut terminal);
            let case = format!("{words} at {columns} x {rows}: {frame:#?}");
            assert!(frame.len() <= usize::from(rows), "{case}");
            let width = frame.iter().map(|line| line.chars().count()).max();
            assert!(width <= Some(usize::from(columns)), "{case}");
            let footer = frame.last().expect("a footer");
            let begins = format!("q ends  lines 1-{} of ", rows - 1);
            let is_full = frame.len() == usize::from(rows) && footer.starts_with(&begins);
            assert!(is_full || footer.starts_with("q ends  20"), "{case}");
            assert!(columns < 80 || footer.ends_with("every 10m"), "{case}");
            let shown = frame.iter().any(|line| line.contains(live));
            assert!(shown || rows < 24, "{case}");
        }
        press(&mut terminal, "q");
        terminal.exp_string("ended 0").expect("the end");
    }
}

/// Rates take a reading before, so they come with the second frame.
#[test]
fn rates_stay_in_sight_at_24_lines() {
    for (words, rate) in [("rule show", "CREATED/s"), ("states", "RATE")] {
        let environment = TestEnvironment::new();
        let mut terminal = watch(&environment, &format!("{words} --watch=1s"), (80, 24));
        next_frame(&mut terminal);
        let second = next_frame(&mut terminal);
        assert!(second.len() <= 24, "{second:#?}");
        assert!(second.iter().any(|line| line.contains(rate)), "{second:#?}");
    }
}

/// The end of a scrolled view stays at the end of a larger window.
#[test]
fn a_scrolled_live_view_fills_its_window() {
    let environment = TestEnvironment::new();
    let mut terminal = watch(&environment, "status --watch=10m", (80, 12));
    next_frame(&mut terminal);
    press(&mut terminal, "\u{1b}[F");
    let end = next_frame(&mut terminal);
    assert!(end.last().is_some_and(|footer| footer.contains("lines 12-22 of 22")), "{end:?}");
    resize(&terminal, (80, 16));
    let more = next_frame(&mut terminal);
    assert!(more.last().is_some_and(|footer| footer.contains("lines 8-22 of 22")), "{more:?}");
    assert_eq!(more.get(4..15), end.get(..11), "{more:?}");
    resize(&terminal, (80, 24));
    let all = next_frame(&mut terminal);
    assert!(all.last().is_some_and(|footer| footer.starts_with("q ends  20")), "{all:?}");
}

/// What comes while nothing waits for it, such as between the connection and the first screen, ends the next wait.
#[test]
fn an_interrupt_between_two_waits_counts() {
    let Some(live) = LiveBox::start("russh") else {
        return;
    };
    let started = live.environment.home().join("started");
    let kubectl = live.environment.home().join("kubectl");
    program(&kubectl, &format!("#!/bin/sh\ntouch '{}'\nexec sleep 2\n", started.display()));
    for command in ["status", "states", "virusprot show"] {
        let _ = std::fs::remove_file(&started);
        let mut words: Vec<&str> = command.split(' ').collect();
        words.push("--watch=1s");
        let mut command = live.environment.command(&words);
        command
            .env("KMSCTL_CLUSTER_ENABLED", "yes")
            .env("KMSCTL_CLUSTER_KUBECTL", &kubectl)
            .stdout(Stdio::null());
        let mut child = command.spawn().expect("kmsctl starts");
        until("kubectl runs", || started.exists());
        processes::signal(child.id(), "INT");
        let mut code = None;
        until("it ends", || {
            code = child.try_wait().expect("its state");
            code.is_some()
        });
        assert_eq!(code.and_then(|status| status.code()), Some(130), "{words:?}");
    }
}

#[test]
fn ctrl_c_while_connecting_is_130_at_once() {
    // Takes connections and never says a word.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
    let port = silent.local_addr().expect("an address").port();
    for command in ["status", "doctor", "verify", "expose revoke", "history", "states --watch"] {
        let environment = TestEnvironment::new()
            .variable("KMSCTL_FIREWALL_PORT", port.to_string())
            .variable("KMSCTL_FIREWALL_TRANSPORT", "openssh")
            .variable("KMSCTL_SERVICE_ADDRESS", "127.0.0.1")
            .variable("KMSCTL_SERVICE_HOST", "127.0.0.1");
        let like = environment.command(&[]);
        let mut run = std::process::Command::new(env!("CARGO_BIN_EXE_kmsctl"));
        run.args(command.split(' '))
            .env_clear()
            .envs(like.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let mut terminal = rexpect::session::spawn_command(run, Some(20_000)).expect("a pty");
        let begun = std::time::Instant::now();
        terminal.exp_string("Connecting to").expect("it connects");
        terminal.send_control('c').expect("Ctrl-C");
        let said = terminal.exp_eof().expect("the end");
        assert!(begun.elapsed().as_secs() < 15, "{command}: {said}");
        assert!(said.contains("Interrupted."), "{command}: {said}");
        for part in ["ssh program", "WRONG", "unknown"] {
            assert!(!said.contains(part), "{command} {part}: {said}");
        }
        let status = terminal.process().wait().expect("its end");
        assert!(format!("{status:?}").contains(", 130)"), "{command}: {status:?}");
    }
}

#[test]
fn ctrl_c_gives_the_terminal_back() {
    let environment = TestEnvironment::new();
    let mut terminal = watch_status(&environment);
    terminal.exp_string("lines 1-11 of").expect("the top");
    terminal.send_control('c').expect("Ctrl-C");
    // The shell may end by the same signal; what counts is that the view left the screen.
    terminal.exp_string("\u{1b}[?1049l").expect("the screen of before");
}

/// Who follows sees that the table was read, and is empty.
#[test]
fn a_tick_without_entries_has_a_time() {
    let environment = TestEnvironment::new();
    let words = ["--demo=pf-disabled", "-o", "ndjson", "virusprot", "show", "--watch=1s"];
    let mut command = environment.command(&words);
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("kmsctl runs");
    let mut lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
    let first = lines.next().expect("a line").expect("text");
    let _ = child.kill().and_then(|()| child.wait());
    assert!(first.starts_with("{\"taken_at\":\"20"), "{first}");
}

#[test]
fn every_tick_into_a_pipe_has_a_time() {
    for (arguments, wanted) in [
        (&["-o", "ndjson", "virusprot", "show", "--watch=1s"][..], "\"taken_at\":\"20"),
        (&["-o", "json", "virusprot", "show", "--watch=1s"], "\"taken_at\":\"20"),
        (&["virusprot", "show", "--watch=1s"], "\"taken_at\":\"20"),
        (&["-o", "table", "virusprot", "show", "--watch=1s"], "20"),
    ] {
        let environment = TestEnvironment::new();
        let mut command = environment.command(&[&["--demo"], arguments].concat());
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("kmsctl runs");
        let mut lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
        let first = lines.next().expect("a line").expect("text");
        let _ = child.kill().and_then(|()| child.wait());
        assert!(first.contains(wanted), "{arguments:?}: {first}");
        assert_eq!(first.starts_with('{'), arguments[1] != "table", "{first}");
    }
}
