//! `kmsctl expose`: is the service open to the outside, half open or shut, rule by rule, and why; and closing and
//! opening it.

mod change;

use clap::{Args as ClapArgs, Subcommand};

use super::verify::{Expect, judge_expected};
use crate::app::Context;
use crate::app::situation::{QUESTIONS, Situation};
use crate::domain::exposure::differences::lower_limit;
use crate::domain::exposure::{Exposure, Part, State};
use crate::domain::reachability::whole::exposure_faults;
use crate::error::{Failure, Result};
use crate::pfsense::questions::Reading;
use crate::terminal::{Human, Tone, View};

/// Arguments of `kmsctl expose`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make alias, port forward, filter rule and caps what the configuration says
    Apply(change::Apply),
    /// Open it again: enable both rules, put back what was deleted, or build them
    Restore(change::Restore),
    /// Close it: disable both rules, then end live connections
    Revoke(change::Revoke),
    /// Show the exposure, rule by rule, with its state and why
    Show {
        /// Exit 0 where it is so, 3 where it is not; nothing is probed
        #[arg(long, value_name = "STATE", value_enum)]
        expect: Option<Expect>,
    },
}

impl Args {
    /// Returns whether the firewall is only looked at.
    pub fn only_shows(&self) -> bool {
        matches!(self.command, Command::Show { .. })
    }
}

/// Runs `kmsctl expose …`.
pub async fn run_expose(context: &Context, arguments: &Args) -> Result<()> {
    match &arguments.command {
        Command::Apply(arguments) => change::apply_configuration(context, arguments).await,
        Command::Restore(arguments) => change::restore_exposure(context, arguments).await,
        Command::Revoke(arguments) => change::revoke_exposure(context, arguments).await,
        Command::Show { expect } => {
            let reading = context.read(QUESTIONS).await?;
            let situation = context.situation(&reading);
            let view = expose_view(context, &reading, &situation);
            let Some(expect) = *expect else {
                return context.terminal.show(&view?);
            };
            context.terminal.show(&view.map_err(Failure::without_verdict)?)?;
            judge_expected(situation.exposure()?, expect)
        }
    }
}

fn expose_view(context: &Context, reading: &Reading, situation: &Situation<'_>) -> Result<View> {
    let exposure = situation.exposure()?;
    let mut view = context.view("expose.show", reading, exposure)?;
    view.warnings.extend(situation.warnings());
    exposure_headline(&mut view.human, exposure, context);
    let deleted = reading.configured.as_ref().ok();
    if let Some(deleted) = deleted.and_then(|configured| configured.deleted.as_ref()) {
        let words = format!(
            "both rules, by {} with {}; `kmsctl expose restore` puts back exactly these",
            deleted.who, deleted.id
        );
        view.human.field("Deleted", words, Tone::Plain);
    }
    view.human.gap();
    exposure_parts(&mut view.human, exposure);
    paths_lines(&mut view.human, exposure);
    let others = exposure.why.get(1..).unwrap_or_default();
    if !others.is_empty() {
        view.human.gap().line("Findings:");
        for finding in others {
            view.human.line(format!("  {}: {}", finding.code, finding.message));
        }
    }
    Ok(view)
}

/// Adds the state and its reason.
pub fn exposure_headline(human: &mut Human, exposure: &Exposure, context: &Context) {
    let service = &context.settings.service;
    let reason = exposure.why.first().map_or("", |finding| finding.message.as_str());
    let what = format!("TCP/{} on {} to {}", service.port, service.interface, service.alias);
    let tone = match state_tone(exposure.state) {
        Tone::Good if !exposure_faults(exposure, None).is_empty() => Tone::Warning,
        tone => tone,
    };
    human.field("Exposure", format!("{}: {what}", exposure.state_words()), tone);
    human.field("Why", reason, Tone::Plain);
}

/// Adds the port forward, the filter rule, the block rule and the alias.
fn exposure_parts(human: &mut Human, exposure: &Exposure) {
    human.field("Port forward", part_standing(&exposure.nat), Tone::Plain);
    human.field("Filter rule", part_standing(&exposure.filter), Tone::Plain);
    human.field("Caps", caps_text(exposure), Tone::Plain);
    limits_field(human, exposure);
    let alias = &exposure.alias;
    let members = match (alias.configured, alias.addresses.is_empty()) {
        (None, _) => ", whose members are unknown".to_owned(),
        (Some(false), _) => " does not exist".to_owned(),
        (Some(true), true) => " is empty".to_owned(),
        (Some(true), false) => format!(" = {}", alias.addresses.join(" ")),
    };
    human.field("Alias", format!("{}{members}", alias.name), Tone::Plain);
}

/// Adds what limits the traffic beside the caps, where anything does, and which of it holds first.
pub fn limits_field(human: &mut Human, exposure: &Exposure) {
    let limits = &exposure.other_limits;
    if limits.is_empty() {
        return;
    }
    let caps = exposure.caps.loaded.or(exposure.caps.configured);
    let lower = caps.and_then(|caps| lower_limit(limits, caps));
    let lower = lower.map(|lower| format!("; {lower}")).unwrap_or_default();
    human.field("Other limits", format!("{}{lower}", limits.join(", ")), Tone::Plain);
}

/// Adds every path into the service, where one is beside the managed pair.
fn paths_lines(human: &mut Human, exposure: &Exposure) {
    if exposure.foreign_paths().next().is_none() {
        return;
    }
    human.gap().line("Paths into the service:");
    for path in &exposure.paths {
        let who = if path.managed { "managed" } else { "NOT managed" };
        human.line(format!("  {who}: {}", path.path_clause()));
    }
}

/// Renders one rule's standing: `configured, enabled, loaded (tracker 1763000004)`.
pub fn part_standing(part: &Part) -> String {
    let tracker = part.tracker.as_ref().map(|tracker| format!(" (tracker {tracker})"));
    part.standing() + &tracker.unwrap_or_default()
}

/// Renders the caps on both sides, once where they agree.
pub fn caps_text(exposure: &Exposure) -> String {
    let side = |caps: Option<crate::domain::ratelimit::Caps>| {
        let some = caps.filter(|caps| !caps.is_empty());
        some.map_or_else(|| "none".to_owned(), |caps| caps.to_string())
    };
    let (configured, loaded) = (exposure.caps.configured, exposure.caps.loaded);
    if configured == loaded {
        return side(loaded);
    }
    match configured {
        None => format!("loaded: {}", side(loaded)),
        Some(_) => format!("configured: {}; loaded: {}", side(configured), side(loaded)),
    }
}

/// Returns the tone of a state. Closed is no error: it may be wanted.
pub fn state_tone(state: State) -> Tone {
    match state {
        State::Open => Tone::Good,
        State::Closed | State::Absent => Tone::Plain,
        State::Half | State::Unknown => Tone::Warning,
        State::Uncapped => Tone::Bad,
    }
}
