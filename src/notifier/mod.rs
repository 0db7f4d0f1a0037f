//! The side-car's shell around the pure core: files, clocks, sockets. The rules are in `domain`: `vlmcsd`,
//! `classify`, `dedup`, `decision`, `announce`.
//!
//! Two threads and one task: the loop ([`engine`]) reads the log and writes the checkpoint, the sender posts, and
//! the runtime serves the metrics page and waits for the end.

pub mod checkpoint;
pub mod engine;
pub mod metrics;
pub mod page;
pub mod replay;
pub mod sender;
pub mod tail;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use tokio::signal::unix::{SignalKind, signal};

use crate::clock::Clock;
use crate::domain::decision::Rules;
use crate::domain::dedup::Dedup;
use crate::domain::vlmcsd::Log;
use crate::error::{Failure, Result};
use crate::settings::notifier::{Notifier, Webhook};
use checkpoint::{Checkpoint, Loaded, Store, StoreError};
use engine::{Echo, Engine};
use metrics::Metrics;
use sender::{Sender, Shared};
use tail::Tail;

/// Tells an operator something; both threads hold one.
pub type Say = fn(&str);

/// Runs the notifier until SIGTERM or SIGINT.
pub async fn run(
    settings: &Notifier,
    rules: Rules,
    echo: Echo,
    clock: Clock,
    say: Say,
) -> Result<()> {
    let store = Store::open(&settings.state).map_err(|error| match error {
        StoreError::Taken(_) => Failure::new(crate::error::Kind::Conflict, format!("{error}.")),
        StoreError::Unusable(..) => Failure::usage(format!("{error}."))
            .hint("notifier.state must name a directory on a writable volume of its own."),
    })?;
    let listener = page::listen(settings.listen).await.map_err(|error| {
        Failure::usage(format!(
            "The metrics page cannot listen on {}: {error}.",
            settings.listen
        ))
    })?;
    let metrics = Arc::new(Metrics::new());
    let stop = Arc::new(AtomicBool::new(false));
    let outbox = Shared::default();
    let engine = engine(
        settings, rules, echo, clock, say, store, &metrics, &stop, &outbox,
    );
    let sender = Sender::new(
        settings.webhook.clone(),
        settings.channel.clone(),
        outbox,
        Arc::clone(&metrics),
        Box::new(say),
    );
    let signals = |kind| {
        signal(kind)
            .map_err(|error| Failure::failed(format!("Signals cannot be waited for: {error}.")))
    };
    let (mut terminate, mut interrupt) = (
        signals(SignalKind::terminate())?,
        signals(SignalKind::interrupt())?,
    );
    let page = tokio::spawn(page::serve(listener, metrics));
    let mut reading = tokio::task::spawn_blocking(move || engine.run());
    std::thread::spawn(move || sender.run());
    let ended = tokio::select! {
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        ended = &mut reading => Some(ended),
    };
    stop.store(true, Ordering::Relaxed);
    let ended = match ended {
        Some(ended) => ended,
        None => reading.await,
    };
    page.abort();
    ended.map_err(|error| Failure::failed("The loop that reads the log broke.").because(error))
}

/// Builds the loop from what the checkpoint says.
#[expect(
    clippy::too_many_arguments,
    reason = "everything the loop is made of, once"
)]
fn engine(
    settings: &Notifier,
    mut rules: Rules,
    echo: Echo,
    clock: Clock,
    say: Say,
    store: Store,
    metrics: &Arc<Metrics>,
    stop: &Arc<AtomicBool>,
    outbox: &Shared,
) -> Engine {
    let now = clock.now().as_second();
    let too_old = i64::try_from(settings.too_old.as_secs()).unwrap_or(i64::MAX);
    let first = Checkpoint {
        saved_at: now,
        not_before: now.saturating_sub(too_old),
        ..Checkpoint::default()
    };
    let checkpoint = match store.load() {
        Loaded::Newest(checkpoint) => *checkpoint,
        Loaded::Previous(checkpoint) => {
            say(
                "The checkpoint is broken; the one before it is used, so a message may come twice.",
            );
            *checkpoint
        }
        Loaded::None => first,
        Loaded::Broken => {
            say(
                "Both checkpoints are broken; the log is read from its start, and nothing older than notifier.too_old is posted.",
            );
            first
        }
    };
    let posting = !matches!(settings.webhook, Webhook::None);
    if !posting {
        say(
            "There is no webhook: everything is counted and nothing is posted. Set notifier.webhook_file.",
        );
    }
    rules.not_before = checkpoint.not_before;
    let mut dedup = Dedup::new(settings.dedup_window.as_secs(), Dedup::MOST);
    let gone = u64::try_from(now - checkpoint.saved_at).unwrap_or_default();
    dedup.restore(checkpoint.window, gone, 0);
    {
        let mut outbox = outbox.lock();
        outbox.waiting = checkpoint.outbox.into();
        outbox.durable = outbox.waiting.len();
        outbox.dropped = checkpoint.dropped;
    }
    Engine {
        tail: Tail::new(&settings.log, checkpoint.position),
        rules,
        dedup,
        dedup_survives: settings.dedup_survives,
        log: Log::restore(checkpoint.log),
        outbox: outbox.clone(),
        posting,
        store,
        metrics: Arc::clone(metrics),
        clock,
        echo,
        say: Box::new(say),
        stop: Arc::clone(stop),
        began: Instant::now(),
    }
}
