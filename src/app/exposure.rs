//! What was read, judged once: the exposure of a reading, for every command and for the proof after a change.

use super::{Context, answer_or_warning, require_answer};
use crate::domain::exposure;
use crate::domain::exposure::{Exposure, Loaded};
use crate::domain::warning::Warning;
use crate::error::{Failure, Result};
use crate::pfsense::questions::{Question, Reading};

/// The questions whose answers [`assess_exposure`] needs.
pub const QUESTIONS: &[Question] = &[
    Question::Rules,
    Question::Translation,
    Question::Info,
    Question::Configured,
];

/// Judges the exposure of a reading. The loaded rules are needed; without the configuration, or pf's status, the
/// judgement rests on what is left and a warning says so.
pub fn assess_exposure(
    context: &Context,
    reading: &Reading,
    warnings: &mut Vec<Warning>,
) -> Result<Exposure> {
    let filter = require_answer(&reading.rules)?;
    if !exposure::complete::looks_complete(filter) {
        return Err(Failure::failed(
            "The firewall's list of rules is cut short or has gaps, so nothing is said about what it lets in.",
        )
        .hint("Run the command again; if it stays so, compare with `pfctl -vvPsr` on the firewall."));
    }
    let nat = require_answer(&reading.translation)?;
    if !exposure::looks_complete_translation(nat) {
        return Err(Failure::failed(
            "The firewall's list of translation rules is cut short or has gaps, so nothing is said about what it lets in.",
        )
        .hint("Run the command again; if it stays so, compare with `pfctl -vvPsn` on the firewall."));
    }
    let info = answer_or_warning(&reading.info, "Whether pf is enabled", warnings);
    let configured = answer_or_warning(&reading.configured, "What is configured", warnings);
    let enabled = info.is_none_or(|info| info.enabled);
    let loaded = Loaded {
        filter,
        nat,
        enabled,
    };
    let judge = || exposure::judge(configured, loaded, &context.settings.service);
    Ok(reading.exposure.get_or_init(judge).clone())
}
