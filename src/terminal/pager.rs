//! What is longer than the screen goes through the operator's pager. Without one, or where it does not start, the text
//! is written as it is.

use std::io::Write as _;
use std::process::{Command, Stdio};

#[derive(Clone, Debug)]
pub struct Pager {
    /// The program with its arguments, split at blanks.
    pub command: String,
    pub has_less_options: bool,
}

/// Shows text through a pager, of which `less` begins at the end where that is wanted. Fails with the reason where the pager
/// did not start or did not end well: it may have shown nothing then.
#[expect(clippy::disallowed_methods, reason = "the pager is the operator's own program")]
pub(super) fn show_through(pager: &Pager, text: &str, from_end: bool) -> Result<(), String> {
    let mut words = pager.command.split_whitespace();
    let program = words.next().unwrap_or_default();
    let mut command = Command::new(program);
    command.args(words).stdin(Stdio::piped());
    if from_end && program.rsplit('/').next() == Some("less") {
        command.arg("+G");
    }
    // As git does: colours pass, and a text that fits after all is left on the screen.
    if !pager.has_less_options {
        command.env("LESS", "FRX");
    }
    // Ctrl-C is the pager's while it runs.
    let _kept = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt());
    let spawned = command.spawn();
    let mut child = spawned.map_err(|error| format!("cannot be started: {error}"))?;
    if let Some(mut input) = child.stdin.take() {
        // Leaving the pager early closes the pipe; that is no trouble.
        let _ = input.write_all(text.as_bytes());
    }
    match child.wait() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("failed ({status})")),
        Err(error) => Err(format!("failed: {error}")),
    }
}
