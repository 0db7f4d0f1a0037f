//! Showing a view once, or again and again over one held channel (`--watch`). Nothing is opened per tick.

use std::time::Duration;

use clap::Args as ClapArgs;

use super::context::{Context, Opened};
use crate::error::{Failure, Kind, Result};
use crate::firewall::facts::{Question, Reading};
use crate::settings::values;
use crate::terminal::View;

/// `--watch[=2s]`.
#[derive(Clone, Debug, Default, ClapArgs)]
pub struct Watch {
    /// Show it again and again; into a pipe, one JSON object a line
    #[arg(long, value_name = "INTERVAL", num_args = 0..=1, require_equals = true, default_missing_value = "2s")]
    watch: Option<String>,
}

impl Watch {
    fn interval(&self) -> Result<Option<Duration>> {
        let Some(text) = &self.watch else {
            return Ok(None);
        };
        let interval = values::duration(text)
            .map_err(|problem| Failure::usage(format!("--watch: {problem}.")))?;
        if interval < Duration::from_secs(1) {
            return Err(Failure::usage("--watch: the shortest interval is 1s."));
        }
        Ok(Some(interval))
    }
}

/// Asks the questions and shows what `build` makes of the answers; the second argument of `build` is the reading
/// before, for rates.
pub async fn show(
    context: &Context,
    questions: &[Question],
    watch: &Watch,
    build: impl Fn(&Reading, Option<&Reading>) -> Result<View>,
) -> Result<()> {
    let Some(interval) = watch.interval()? else {
        let reading = context.read(questions).await?;
        return context.terminal.show(&build(&reading, None)?);
    };
    let mut opened = context.open(questions).await?;
    let screen = context
        .terminal
        .redraws()
        .then(|| context.terminal.take_screen());
    let result = tokio::select! {
        result = ticks(context, &mut opened, interval, build) => result,
        () = super::context::interrupted() => Err(Failure::new(Kind::Interrupted, "Stopped.")),
    };
    drop(screen);
    let closed = opened.close().await;
    result.and(closed)
}

async fn ticks(
    context: &Context,
    opened: &mut Opened,
    interval: Duration,
    build: impl Fn(&Reading, Option<&Reading>) -> Result<View>,
) -> Result<()> {
    let mut before: Option<Reading> = None;
    let mut clock = tokio::time::interval(interval);
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        clock.tick().await;
        let reading = context.ask(opened).await?;
        let view = build(&reading, before.as_ref())?;
        if context.terminal.redraws() {
            let footer = format!(
                "{}  every {} s, Ctrl-C ends",
                reading.clock.now,
                interval.as_secs()
            );
            context.terminal.redraw(&view, &footer)?;
        } else {
            context.terminal.write(&view.tick()?)?;
        }
        before = Some(reading);
    }
}
