//! `kmsctl rule show`: the rules of the exposure and the table's block rule, with their counters and rates.

use clap::{Args as ClapArgs, Subcommand};
use serde::Serialize;

use super::expose;
use crate::app::Context;
use crate::app::situation::QUESTIONS;
use crate::app::watch;
use crate::app::watch::Watch;
use crate::domain::exposure::{Exposure, Part};
use crate::error::Result;
use crate::pfsense::questions::Reading;
use crate::terminal::View;
use crate::terminal::human::{number_column, text_column};
use crate::text::format_bytes;

/// Arguments of `kmsctl rule`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show NAT rule, filter rule and block rule: loaded or not, caps, counters
    Show {
        #[command(flatten)]
        watch: Watch,
    },
}

/// Runs `kmsctl rule …`.
pub async fn run_rule(context: &Context, arguments: &Args) -> Result<()> {
    match &arguments.command {
        Command::Show { watch } => {
            let build =
                |reading: &Reading, before: Option<&Reading>| rule_view(context, reading, before);
            watch::show_watched(context, QUESTIONS, watch, build).await
        }
    }
}

/// The data of `rule.show`.
#[derive(Serialize)]
pub struct RuleView<'a> {
    nat: &'a Part,
    filter: &'a Part,
    block: &'a Part,
}

impl<'a> RuleView<'a> {
    pub fn from_exposure(exposure: &'a Exposure) -> Self {
        Self { nat: &exposure.nat, filter: &exposure.filter, block: &exposure.block }
    }
}

fn rule_view(context: &Context, reading: &Reading, before: Option<&Reading>) -> Result<View> {
    let situation = context.situation(reading);
    let exposure = situation.exposure()?;
    let earlier = before.map(|before| context.situation(before).exposure()).transpose()?;
    let seconds = before.map(|before| {
        crate::domain::virusprot::entries::age_seconds(before.clock.now, reading.clock.now).max(1)
    });
    let Exposure { nat, filter, block, .. } = exposure;
    let mut view = context.view("rule.show", reading, &RuleView::from_exposure(exposure))?;
    view.warnings.extend(situation.warnings());
    expose::exposure_headline(&mut view.human, exposure, context);
    view.human.gap();
    let past = earlier.as_ref();
    let rows = [
        ("port forward", nat, past.map(|past| &past.nat)),
        ("filter rule", filter, past.map(|past| &past.filter)),
        ("block rule", block, past.map(|past| &past.block)),
    ];
    let rows = rows.map(|(name, part, past)| rule_row(name, part, past, seconds));
    let mut columns = vec![
        text_column("RULE"),
        text_column("STANDING"),
        number_column("EVALUATIONS").droppable(1),
        number_column("PACKETS").droppable(3),
        number_column("BYTES").droppable(2),
        number_column("STATES"),
        number_column("CREATED"),
    ];
    if seconds.is_some() {
        columns.extend([number_column("PACKETS/s"), number_column("CREATED/s")]);
    }
    view.human.table(columns, rows.to_vec());
    view.human.gap();
    view.human.field("Caps", expose::caps_text(exposure), crate::terminal::Tone::Plain);
    expose::limits_field(&mut view.human, exposure);
    for (name, part) in [("NAT text", nat), ("Rule text", filter)] {
        if let Some(text) = &part.text {
            view.human.field(name, text, crate::terminal::Tone::Plain);
        }
    }
    Ok(view)
}

fn rule_row(name: &str, part: &Part, past: Option<&Part>, seconds: Option<u64>) -> Vec<String> {
    let counters = part.counters.unwrap_or_default();
    let shown = |number: u64| {
        if part.counters.is_some() { number.to_string() } else { "-".to_owned() }
    };
    let mut row = vec![
        name.to_owned(),
        rule_standing(part).to_owned(),
        shown(counters.evaluations),
        shown(counters.packets),
        if part.counters.is_some() { format_bytes(counters.bytes) } else { "-".to_owned() },
        shown(counters.states),
        shown(counters.state_creations),
    ];
    if let Some(seconds) = seconds {
        let past = past.and_then(|past| past.counters);
        row.push(counter_rate(past.map(|past| past.packets), counters.packets, seconds));
        row.push(counter_rate(
            past.map(|past| past.state_creations),
            counters.state_creations,
            seconds,
        ));
    }
    row
}

/// Renders the growth of a counter per second, to a tenth; a counter that fell was reset by a reload.
fn counter_rate(past: Option<u64>, now: u64, seconds: u64) -> String {
    match past {
        None => "-".to_owned(),
        Some(past) if past > now => "reset".to_owned(),
        Some(past) => {
            let tenths = (now - past).saturating_mul(10) / seconds;
            format!("{}.{}", tenths / 10, tenths % 10)
        }
    }
}

fn rule_standing(part: &Part) -> &'static str {
    match (part.loaded, part.configured, part.enabled) {
        (true, Some(true), Some(false)) => "loaded, but disabled",
        (true, Some(false), _) => "loaded, not configured",
        (true, _, _) => "loaded",
        (false, Some(true), Some(false)) => "disabled",
        (false, Some(true), _) => "NOT LOADED",
        (false, _, _) => "none",
    }
}
