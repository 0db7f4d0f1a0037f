//! Showing a view once, or again and again over one held channel (`--watch`). Nothing is opened per tick.

use std::io::IsTerminal as _;
use std::time::Duration;

use clap::Args as ClapArgs;
use jiff::Timestamp;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{Context, OpenedSession};
use crate::error::{Failure, FailureKind, Result};
use crate::pfsense::questions::{Question, Reading};
use crate::settings::values;
use crate::terminal::keys::{Key, read_keys};
use crate::terminal::{Mode, View};
use crate::text::format_span;

/// How often what stands beside the firewall's answers is asked again.
const BESIDE: Duration = Duration::from_secs(30);

/// `--watch[=2s]`.
#[derive(Clone, Debug, Default, ClapArgs)]
pub struct Watch {
    /// Show it again and again: arrows and page keys scroll, q ends; into a pipe, one JSON object a tick, or what -o says
    #[arg(long, value_name = "INTERVAL", num_args = 0..=1, require_equals = true, default_missing_value = "2s")]
    watch: Option<String>,
}

impl Watch {
    pub fn is_on(&self) -> bool {
        self.watch.is_some()
    }

    fn interval(&self) -> Result<Option<Duration>> {
        let Some(text) = &self.watch else {
            return Ok(None);
        };
        let interval = values::parse_duration(text)
            .map_err(|problem| Failure::usage(format!("--watch: {problem}.")))?;
        if interval < Duration::from_secs(1) {
            return Err(Failure::usage("--watch: the shortest interval is 1s."));
        }
        Ok(Some(interval))
    }
}

/// Asks the questions and shows what `build` makes of the answers; the second argument of `build` is the reading
/// before, for rates.
pub async fn show_watched(
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
    let screen = redraws(context).then(|| context.terminal.take_screen());
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
        result = watch_ticks(context, &mut opened, interval, build) => result,
        () = refresh => Ok(()),
        () = super::wait_for_interrupt() => Err(Failure::new(FailureKind::Interrupted, "Stopped.")),
    };
    drop(screen);
    let closed = opened.close().await;
    result.and(closed)
}

/// Shows again and again what `look` finds, for answers that are not the firewall's.
pub async fn repeat_look(
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
    let screen = redraws(context).then(|| context.terminal.take_screen());
    let work = async {
        let mut live = Live::new(context, interval);
        loop {
            let then = Instant::now() + interval;
            let view = look().await?;
            live.show(&view, view.taken_at)?;
            if !live.rest_until(then).await? {
                return Ok(());
            }
        }
    };
    let result = tokio::select! {
        result = work => result,
        () = super::wait_for_interrupt() => Err(Failure::new(FailureKind::Interrupted, "Stopped.")),
    };
    drop(screen);
    result
}

/// Returns whether a terminal takes the whole screen anew.
fn redraws(context: &Context) -> bool {
    context.terminal.shows_people() && !context.environment.dumb_terminal
}

/// A live view on a terminal, or ticks into a pipe.
struct Live<'a> {
    context: &'a Context,
    interval: Duration,
    keys: Option<mpsc::Receiver<Key>>,
    resized: Option<Signal>,
    /// The line that the screen begins with.
    first: usize,
    shown: Option<(View, Timestamp)>,
}

impl<'a> Live<'a> {
    fn new(context: &'a Context, interval: Duration) -> Self {
        let redraws = redraws(context);
        Self {
            context,
            interval,
            keys: redraws.then(read_keys).flatten(),
            resized: redraws.then(|| signal(SignalKind::window_change()).ok()).flatten(),
            first: 0,
            shown: None,
        }
    }

    fn show(&mut self, view: &View, at: Timestamp) -> Result<()> {
        let terminal = self.context.terminal;
        let view = terminal.pasted_view(view).into_owned();
        if redraws(self.context) {
            self.shown = Some((view, at));
            return self.redraw(None);
        }
        match terminal.mode {
            Mode::Ndjson => terminal.write(&view.stamped_ndjson()?),
            // A terminal that cannot be redrawn is read by a person, too.
            Mode::Table
                if self.context.layers.names_key("output") || std::io::stdout().is_terminal() =>
            {
                let text = view.human.render(terminal.width, false);
                terminal.write(&format!("{at}\n{text}\n"))
            }
            _ => terminal.write(&view.tick()?),
        }
    }

    fn redraw(&mut self, key: Option<Key>) -> Result<()> {
        let Some((view, at)) = &self.shown else {
            return Ok(());
        };
        let footer = format!("{at}  every {}", format_span(self.interval.as_secs()));
        self.first = self.context.terminal.redraw(view, &footer, self.first, key)?;
        Ok(())
    }

    /// Waits until then, and follows keys and the window's size meanwhile. Returns false where the operator ends it.
    async fn rest_until(&mut self, then: Instant) -> Result<bool> {
        loop {
            let key = tokio::select! {
                () = tokio::time::sleep_until(then) => return Ok(true),
                key = next_key(&mut self.keys) => key,
                () = next_resize(&mut self.resized) => None,
            };
            if key == Some(Key::Quit) {
                return Ok(false);
            }
            self.redraw(key)?;
        }
    }
}

/// Waits for a key; for ever where there are none.
async fn next_key(keys: &mut Option<mpsc::Receiver<Key>>) -> Option<Key> {
    let pressed = match keys {
        Some(receiver) => receiver.recv().await,
        None => std::future::pending().await,
    };
    if pressed.is_none() {
        *keys = None;
    }
    pressed
}

async fn next_resize(resized: &mut Option<Signal>) {
    match resized {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

async fn watch_ticks(
    context: &Context,
    opened: &mut OpenedSession,
    interval: Duration,
    build: impl Fn(&Reading, Option<&Reading>) -> Result<View>,
) -> Result<()> {
    let mut before: Option<Reading> = None;
    let mut live = Live::new(context, interval);
    loop {
        let then = Instant::now() + interval;
        let reading = context.ask(opened).await?;
        let view = match build(&reading, before.as_ref()) {
            Ok(view) => view,
            // What a reload raced is read at the next tick; what was never read is no reason to go on.
            Err(failure) if before.is_some() || reading.is_raced() => {
                let at = reading.clock.now;
                let message = &failure.message;
                context.terminal.caution(&format!("{at}: {message}"));
                if live.rest_until(then).await? {
                    continue;
                }
                return Ok(());
            }
            Err(failure) => return Err(failure),
        };
        live.show(&view, reading.clock.now)?;
        before = Some(reading);
        if !live.rest_until(then).await? {
            return Ok(());
        }
    }
}
