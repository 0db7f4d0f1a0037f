//! Showing a view once, or again and again over one held channel (`--watch`). Nothing is opened per tick.

use std::time::Duration;

use clap::Args as ClapArgs;

use super::context::{Context, Opened};
use crate::error::{Failure, Kind, Result};
use crate::firewall::facts::{Question, Reading};
use crate::settings::values;
use crate::terminal::{Mode, View};

/// How often what stands beside the firewall's answers is asked again.
const BESIDE: Duration = Duration::from_secs(30);

/// `--watch[=2s]`.
#[derive(Clone, Debug, Default, ClapArgs)]
pub struct Watch {
    /// Show it again and again; into a pipe, one JSON object a tick
    #[arg(long, value_name = "INTERVAL", num_args = 0..=1, require_equals = true, default_missing_value = "2s")]
    watch: Option<String>,
}

impl Watch {
    /// Returns whether it was asked for.
    pub fn is_on(&self) -> bool {
        self.watch.is_some()
    }

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
    show_beside(
        context,
        questions,
        watch,
        async || {},
        |reading, before, ()| build(reading, before),
    )
    .await
}

/// The same with something else beside the firewall's answers: `beside` is asked at the same time, and with `--watch`
/// again and again without ever holding a tick up.
pub async fn show_beside<B>(
    context: &Context,
    questions: &[Question],
    watch: &Watch,
    beside: impl AsyncFn() -> B,
    build: impl Fn(&Reading, Option<&Reading>, &B) -> Result<View>,
) -> Result<()> {
    let Some(interval) = watch.interval()? else {
        // Without the firewall there is no answer, so its failure ends the rest at once.
        let other = async { Ok(beside().await) };
        let (reading, other) = tokio::try_join!(context.read(questions), other)?;
        return context.terminal.show(&build(&reading, None, &other)?);
    };
    if context.terminal.mode == Mode::Csv {
        return Err(Failure::usage("--watch does not print CSV; use -o ndjson."));
    }
    let mut opened = context.open(questions).await?;
    let screen = context
        .terminal
        .redraws()
        .then(|| context.terminal.take_screen());
    let other = std::cell::RefCell::new(beside().await);
    let refresh = async {
        loop {
            tokio::time::sleep(BESIDE).await;
            let fresh = beside().await;
            *other.borrow_mut() = fresh;
        }
    };
    let build =
        |reading: &Reading, before: Option<&Reading>| build(reading, before, &other.borrow());
    let result = tokio::select! {
        result = ticks(context, &mut opened, interval, build) => result,
        () = refresh => Ok(()),
        () = super::context::interrupted() => Err(Failure::new(Kind::Interrupted, "Stopped.")),
    };
    drop(screen);
    let closed = opened.close().await;
    result.and(closed)
}

/// Shows again and again what `look` finds, for answers that are not the firewall's.
pub async fn repeat(
    context: &Context,
    watch: &Watch,
    mut look: impl AsyncFnMut() -> Result<View>,
) -> Result<()> {
    let Some(interval) = watch.interval()? else {
        return context.terminal.show(&look().await?);
    };
    if context.terminal.mode == Mode::Csv {
        return Err(Failure::usage("--watch does not print CSV; use -o ndjson."));
    }
    let screen = context
        .terminal
        .redraws()
        .then(|| context.terminal.take_screen());
    let work = async {
        let mut clock = tokio::time::interval(interval);
        clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            clock.tick().await;
            let view = look().await?;
            draw(context, &view, interval, view.taken_at)?;
        }
    };
    let result = tokio::select! {
        result = work => result,
        () = super::context::interrupted() => Err(Failure::new(Kind::Interrupted, "Stopped.")),
    };
    drop(screen);
    result
}

/// Shows one tick.
fn draw(context: &Context, view: &View, interval: Duration, at: jiff::Timestamp) -> Result<()> {
    if context.terminal.redraws() {
        let seconds = interval.as_secs();
        let footer = format!("{at}  every {seconds} s, Ctrl-C ends");
        context.terminal.redraw(view, &footer)
    } else if context.terminal.mode == Mode::Ndjson {
        context.terminal.write(&view.ndjson()?)
    } else {
        context.terminal.write(&view.tick()?)
    }
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
        let view = match build(&reading, before.as_ref()) {
            Ok(view) => view,
            // What a reload raced is read at the next tick; what was never read is no reason to go on.
            Err(failure) if before.is_some() || reading.is_raced() => {
                let at = reading.clock.now;
                let message = &failure.message;
                context.terminal.caution(&format!("{at}: {message}"));
                continue;
            }
            Err(failure) => return Err(failure),
        };
        draw(context, &view, interval, reading.clock.now)?;
        before = Some(reading);
    }
}
