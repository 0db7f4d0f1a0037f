//! Questions to a person, on stderr. Nothing is asked unless someone can answer; no answer is never a yes.

use dialoguer::{Confirm, Input, Password};

use super::{Terminal, clean};
use crate::error::{Failure, Kind, Result};

fn asked<T>(terminal: Terminal, answer: impl FnOnce() -> dialoguer::Result<T>) -> Result<T> {
    if !terminal.interactive {
        return Err(Failure::new(
            Kind::NotConfirmed,
            "This asks questions, and there is no terminal to ask on.",
        ));
    }
    answer().map_err(|dialoguer::Error::IO(error)| match error.kind() {
        // Ctrl-C, or a signal while it waited for a key.
        std::io::ErrorKind::Interrupted => Failure::new(Kind::Interrupted, "Interrupted."),
        _ => Failure::new(Kind::NotConfirmed, "No answer was given.").because(error),
    })
}

/// Asks for a line of text that `check` accepts.
pub fn text(
    terminal: Terminal,
    question: &str,
    default: &str,
    check: impl Fn(&str) -> std::result::Result<(), String>,
) -> Result<String> {
    asked(terminal, || {
        Input::<String>::new()
            .with_prompt(question)
            .default(default.to_owned())
            .allow_empty(true)
            .validate_with(|text: &String| check(text))
            .interact_text()
    })
}

/// Asks yes or no; no is the default.
pub fn confirm(terminal: Terminal, question: &str) -> Result<bool> {
    asked(terminal, || {
        Confirm::new()
            .with_prompt(question)
            .default(false)
            .interact()
    })
}

/// Asks to type a word; anything else is a no.
pub fn word(terminal: Terminal, question: &str, word: &str) -> Result<bool> {
    let typed = asked(terminal, || {
        Input::<String>::new()
            .with_prompt(clean(question))
            .allow_empty(true)
            .interact_text()
    })?;
    Ok(typed.trim() == word)
}

/// Asks for a secret without showing it; `None` when nobody can be asked.
pub fn secret(terminal: Terminal, question: &str) -> Option<String> {
    asked(terminal, || {
        Password::new()
            .with_prompt(question)
            .allow_empty_password(true)
            .interact()
    })
    .ok()
}
