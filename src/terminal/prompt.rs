//! Questions to a person, on stderr. Nothing is asked unless a person can answer; no answer is never a yes. What was
//! typed before a question appeared is thrown away: it answers something else.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};

use dialoguer::Password;
use rustix::termios::{QueueSelector, tcflush};

use super::Terminal;
use crate::error::{Failure, FailureKind, Result};
use crate::text::clean_text;

/// No answer is longer; a terminal gives at most 4096 bytes of a line anyway.
const LONGEST_LINE: u64 = 4096;

/// Asks for a line of text that `check` accepts; an empty one is the default.
pub fn ask_text(
    terminal: Terminal,
    question: &str,
    default: &str,
    check: impl Fn(&str) -> std::result::Result<(), String>,
) -> Result<String> {
    let shown = if default.is_empty() {
        format!("{question}: ")
    } else {
        format!("{question} [{default}]: ")
    };
    loop {
        let typed = ask_line(terminal, &shown)?
            .ok_or_else(|| Failure::new(FailureKind::NotConfirmed, "No answer was given."))?;
        let answer = if typed.is_empty() { default.to_owned() } else { typed };
        match check(&answer) {
            Ok(()) => return Ok(answer),
            Err(problem) => terminal.present_line(&format!("{problem}.")),
        }
    }
}

/// Asks yes or no: `y` and `yes`, in capitals too, are a yes, everything else is a no.
pub fn ask_yes_no(terminal: Terminal, question: &str) -> Result<bool> {
    let answer = ask_line(terminal, &format!("{question} [y/N] "))?;
    Ok(answer.is_some_and(|answer| is_yes(&answer)))
}

fn is_yes(answer: &str) -> bool {
    ["y", "yes"].iter().any(|yes| answer.eq_ignore_ascii_case(yes))
}

/// Asks yes or no where yes is the default: an empty line is one as well. The end of the input is a no.
pub fn confirm_default_yes(terminal: Terminal, question: &str) -> Result<bool> {
    let answer = ask_line(terminal, &format!("{question} [Y/n] "))?;
    Ok(answer.is_some_and(|answer| answer.is_empty() || is_yes(&answer)))
}

pub fn wait_for_enter(terminal: Terminal, question: &str) -> Result<()> {
    ask_line(terminal, &format!("{question} "))?
        .map(drop)
        .ok_or_else(|| Failure::new(FailureKind::NotConfirmed, "No answer was given."))
}

/// Asks to type a word; anything else is a no.
pub fn ask_word(terminal: Terminal, question: &str, word: &str) -> Result<bool> {
    let answer = ask_line(terminal, &format!("{question}: "))?;
    Ok(answer.as_deref() == Some(word))
}

/// Asks for a secret without showing it; `None` when there is no terminal to ask on.
pub fn ask_secret(terminal: Terminal, question: &str) -> Option<String> {
    require_terminal(terminal).ok()?;
    forget_typed_ahead();
    Password::new().with_prompt(clean_text(question)).allow_empty_password(true).interact().ok()
}

fn require_terminal(terminal: Terminal) -> Result<()> {
    if terminal.interactive {
        return Ok(());
    }
    Err(Failure::new(
        FailureKind::NotConfirmed,
        "This asks questions, and there is no terminal to ask on.",
    ))
}

/// Asks a question and returns the line that was typed after it, trimmed; `None` at the end of the input.
fn ask_line(terminal: Terminal, question: &str) -> Result<Option<String>> {
    require_terminal(terminal)?;
    forget_typed_ahead();
    let mut stderr = io::stderr().lock();
    let _ = stderr.write_all(clean_text(question).as_bytes()).and_then(|()| stderr.flush());
    let typed = line_or_interrupt();
    if !matches!(typed, Ok(Some(_))) {
        let _ = writeln!(stderr);
    }
    typed
}

fn forget_typed_ahead() {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        let _ = tcflush(&stdin, QueueSelector::IFlush);
    }
}

/// Reads a line while signals are looked at. The read cannot be called off, so it has a thread of its own, which ends
/// with the program where the operator does not answer.
fn line_or_interrupt() -> Result<Option<String>> {
    let unasked = |error: io::Error| {
        Failure::new(FailureKind::NotConfirmed, "No answer could be read.").with_cause(error)
    };
    let waiter = std::thread::spawn(move || {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(unasked)?;
        let answer = runtime.block_on(async {
            tokio::select! {
                line = tokio::task::spawn_blocking(read_line) => match line {
                    Ok(line) => line.map_err(unasked),
                    Err(error) => Err(unasked(io::Error::other(error))),
                },
                () = super::wait_for_interrupt() => {
                    Err(Failure::new(FailureKind::Interrupted, "Interrupted."))
                }
            }
        });
        runtime.shutdown_background();
        answer
    });
    waiter.join().unwrap_or_else(|_| {
        Err(Failure::new(FailureKind::NotConfirmed, "No answer could be read."))
    })
}

fn read_line() -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    io::stdin().lock().take(LONGEST_LINE).read_until(b'\n', &mut bytes)?;
    // The end of the input in the midst of a line is no answer: only the Enter key ends one.
    if bytes.pop() != Some(b'\n') {
        return Ok(None);
    }
    Ok(Some(String::from_utf8_lossy(&bytes).trim().to_owned()))
}
