//! Warnings that travel beside data: a stable code for scripts and a sentence for people.

use serde::Serialize;

/// Something the operator should know about the data it comes with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// Stable, kebab-case; scripts may match on it.
    pub code: &'static str,
    /// One or two full sentences.
    pub message: String,
}

impl Warning {
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// Drops what is there already: the configured and the loaded side often say the same.
pub fn remove_repeats(warnings: &mut Vec<Warning>) {
    let mut seen = Vec::new();
    warnings.retain(|warning| {
        let new = !seen.contains(warning);
        seen.extend(new.then(|| warning.clone()));
        new
    });
}
