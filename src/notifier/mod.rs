//! The side-car's shell around the pure core: files, clocks, sockets. The rules are in `domain::kms_log` and
//! `domain::notifier`.
//!
//! Threads and one task: the loop ([`mod@engine`]) reads the log and writes the checkpoint, the sender posts, the
//! keeper of a shared [`shared_dedup`] reads and writes its server, two write what people read ([`stdout`]), and the runtime
//! serves the metrics page and waits for the
//! end. They meet in the [`outbox`].

mod backoff;
pub mod checkpoint;
pub mod engine;
pub mod http;
pub mod metrics;
pub mod outbox;
pub mod redis_connection;
pub mod replay;
pub mod sender;
pub mod shared_dedup;
pub mod stdout;
pub mod tail;

use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::domain::kms_log::Log;
use super::domain::notifier::decide::DecisionRules;
use super::domain::notifier::dedup::Dedup;
use crate::clock::Clock;
use crate::error::{Failure, Result};
use crate::settings::notifier::{Notifier, Webhook};
use crate::settings::window::Window;
use crate::text::{clean_text, escape_json};
use checkpoint::{Checkpoint, CheckpointStore, LoadedCheckpoint, StoreError, machine_uptime};
use engine::{Echo, Engine};
use metrics::Metrics;
use outbox::{Owed, SharedOutbox};
use sender::Sender;
use shared_dedup::Keeper;
use stdout::Aside;
use tail::Position;
use tail::Tail;

/// How long the loop may take to end: longer than its own deadlines, in case a disk stands still.
const END: Duration = Duration::from_secs(20);
/// How long lines for stdout and stderr may take to be read at the end.
const FLUSH: Duration = Duration::from_secs(1);

/// Writes a line for the operator; every thread holds one.
type Say = Box<dyn Fn(&str) + Send>;

/// Runs the notifier until SIGTERM or SIGINT.
pub async fn run_notifier(
    settings: &Notifier,
    rules: DecisionRules,
    echo: Echo,
    clock: Clock,
) -> Result<()> {
    let store = open_checkpoint_store(&settings.state)?;
    let listener = listen_or_fail(settings.listen).await?;
    let metrics = Arc::new(Metrics::default());
    let stop = Arc::new(AtomicBool::new(false));
    let outbox = SharedOutbox::default();
    let (stdout, stderr) = output_queues()?;
    let say = || -> Say {
        let stderr = stderr.clone();
        Box::new(move |line| _ = stderr.add_line(&clean_text(line)))
    };
    let engine = build_engine(
        settings,
        rules,
        (echo, stdout.clone()),
        clock,
        say(),
        store,
        &metrics,
        &stop,
        &outbox,
    );
    let keeper = build_shared_dedup(settings, &engine, say());
    let sender = build_sender(settings, &engine, say());
    let (mut terminate, mut interrupt) =
        (signal_stream(SignalKind::terminate())?, signal_stream(SignalKind::interrupt())?);
    let page = tokio::spawn(http::serve_pages(listener, metrics));
    let (done, mut reading) = tokio::sync::oneshot::channel();
    // A thread, not a task: a runtime waits for its tasks without end, and this one may hang in a disk.
    std::thread::spawn(move || {
        let _ = done.send(engine.run_until_stopped());
    });
    std::thread::spawn(move || sender.send_until_stopped());
    if let Some(keeper) = keeper {
        std::thread::spawn(move || keeper.keep_window());
    }
    let ended = tokio::select! {
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        ended = &mut reading => Some(ended),
    };
    stop.store(true, Ordering::Relaxed);
    let ended = match ended {
        Some(ended) => Ok(ended),
        None => tokio::time::timeout(END, reading).await,
    };
    page.abort();
    stdout.flush(FLUSH);
    stderr.flush(FLUSH);
    notifier_ending(&ended)
}

/// Says how the loop ended: whether its last checkpoint was written, that it broke, or that it did not end in time.
fn notifier_ending<Broke, Late>(
    ended: &std::result::Result<std::result::Result<bool, Broke>, Late>,
) -> Result<()> {
    match ended {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false)) => Err(Failure::failed(
            "The last checkpoint was not written: the next start reads on from an older one, and messages may come twice.",
        )
        .hint("Look at the volume of notifier.state: it must be writable and have room.")),
        Ok(Err(_)) => Err(Failure::failed("The loop that reads the log broke.")),
        Err(_) => Err(Failure::failed(
            "The loop that reads the log did not end in time; its last checkpoint may be missing.",
        )),
    }
}

fn signal_stream(kind: SignalKind) -> Result<Signal> {
    signal(kind).map_err(|error| Failure::failed(format!("Signals cannot be waited for: {error}.")))
}

fn open_checkpoint_store(folder: &Path) -> Result<CheckpointStore> {
    CheckpointStore::open(folder).map_err(|error| match error {
        StoreError::Taken(_) => {
            Failure::new(crate::error::FailureKind::Conflict, format!("{error}."))
        }
        StoreError::Unusable(..) => Failure::usage(format!("{error}."))
            .hint("notifier.state must name a directory on a writable volume of its own."),
    })
}

/// Listens for the metrics page.
///
/// # Errors
/// The address is taken, or is none of this machine.
pub async fn listen_or_fail(address: SocketAddr) -> Result<TcpListener> {
    http::listen_for_pages(address).await.map_err(|error| {
        Failure::usage(format!("The metrics page cannot listen on {address}: {error}."))
    })
}

/// Makes the queues of stdout and stderr. Each has a descriptor of its own: the end of the process must not wait
/// for a lock that a stalled writer holds.
fn output_queues() -> Result<(Aside, Aside)> {
    let own = |stream: std::io::Result<OwnedFd>| match stream {
        Ok(stream) => Ok(Aside::start(std::fs::File::from(stream))),
        Err(error) => Err(Failure::failed("The output cannot be written.").with_cause(error)),
    };
    Ok((
        own(std::io::stdout().as_fd().try_clone_to_owned())?,
        own(std::io::stderr().as_fd().try_clone_to_owned())?,
    ))
}

/// Builds the loop from what the checkpoint says.
#[expect(clippy::too_many_arguments, reason = "everything the loop is made of, once")]
fn build_engine(
    settings: &Notifier,
    rules: DecisionRules,
    (echo, stdout): (Echo, Aside),
    clock: Clock,
    say: Say,
    store: CheckpointStore,
    metrics: &Arc<Metrics>,
    stop: &Arc<AtomicBool>,
    outbox: &SharedOutbox,
) -> Engine {
    let now = clock.now().as_second();
    let first =
        Checkpoint { saved_at: now, not_before: settings.not_before(now), ..Checkpoint::default() };
    let loaded = store.load();
    let fresh = matches!(loaded, LoadedCheckpoint::None);
    let mut first_start = matches!(loaded, LoadedCheckpoint::None | LoadedCheckpoint::Broken);
    let mut checkpoint = match loaded {
        LoadedCheckpoint::Newest(checkpoint) => *checkpoint,
        LoadedCheckpoint::Previous(checkpoint) => {
            say(
                "The checkpoint is broken; the one before it is used, so a message may come twice.",
            );
            *checkpoint
        }
        LoadedCheckpoint::None => first,
        LoadedCheckpoint::Broken => {
            say(
                "Both checkpoints are broken; the log is read from its start, and of what is in it nothing older than notifier.too_old is posted.",
            );
            first
        }
    };
    if echo != Echo::No {
        let unwritten = std::mem::take(&mut checkpoint.echo);
        let lost = unwritten
            .lines()
            .filter(|line| !stdout.add_line(&escape_json((*line).to_owned())))
            .count();
        metrics.echo_dropped.inc_by(lost as u64);
    }
    metrics.clock_skew.set(checkpoint.skew);
    let posting = !matches!(settings.webhook, Webhook::None);
    metrics.configured.set(i64::from(posting));
    if !posting {
        say(
            "There is no webhook: everything is counted and nothing is posted. Set notifier.webhook_file.",
        );
    }
    let dedup = restore_dedup(settings, &checkpoint, clock, outbox);
    // A first start, or one before the log's first line: what was rotated away lately is read as well.
    let from =
        checkpoint.position.take().unwrap_or_else(|| Position::since_time(checkpoint.not_before));
    let mut tail = Tail::new(&settings.log, from, std::mem::take(&mut checkpoint.seen));
    if tail.lost_place() {
        say(
            "The file that the checkpoint names is gone; the log is read from its start, and of what is in it nothing older than notifier.too_old is posted.",
        );
        first_start = true;
        checkpoint.not_before = settings.not_before(now);
    }
    let mut log = Log::restore_log(checkpoint.log);
    if first_start {
        tail.begin_first_read();
        if fresh && tail.left_of_first_read().iter().all(|(_, size)| *size == 0) {
            log.begin_empty();
        }
        if fresh && !tail.left_of_first_read().is_empty() {
            say(
                "There is no checkpoint: the log is read from its start, and of what is in it nothing older than notifier.too_old is posted.",
            );
        }
    } else {
        tail.restore_already(std::mem::take(&mut checkpoint.already));
    }
    Engine {
        tail,
        rules,
        not_before: checkpoint.not_before,
        skew: checkpoint.skew,
        dedup,
        dedup_survives: settings.dedup != Window::Memory,
        log,
        outbox: outbox.clone(),
        posting,
        identity: if checkpoint.identity.is_empty() {
            format!("{:016x}", random_seed())
        } else {
            checkpoint.identity
        },
        discarding: checkpoint.discarding,
        store,
        metrics: Arc::clone(metrics),
        clock,
        echo,
        stdout,
        say,
        stop: Arc::clone(stop),
        began: Instant::now(),
    }
}

/// Fills window and outbox from a checkpoint. What waits keeps its key, however the window is remembered.
fn restore_dedup(
    settings: &Notifier,
    checkpoint: &Checkpoint,
    clock: Clock,
    outbox: &SharedOutbox,
) -> Dedup {
    let mut dedup = Dedup::new(settings.dedup_window.as_secs(), Dedup::MOST);
    let gone = checkpoint.age(machine_uptime().as_ref(), clock.now().as_second());
    if settings.dedup != Window::Memory {
        dedup.restore_keys(checkpoint.window.clone(), gone, 0);
    }
    let mut outbox = outbox.lock();
    outbox.shared = matches!(settings.dedup, Window::Redis(_));
    for post in &checkpoint.outbox {
        dedup.reserve_key(&post.key, 0);
    }
    outbox.restore(checkpoint.outbox.clone(), Instant::now());
    outbox.dropped = checkpoint.dropped;
    for owed in &checkpoint.owed {
        outbox.owe_window(Owed {
            key: owed.key.clone(),
            until: owed.until.map(|left| left.saturating_sub(gone)),
        });
    }
    dedup
}

fn build_sender(settings: &Notifier, engine: &Engine, say: Say) -> Sender {
    let how = sender::SenderSettings {
        webhook: settings.webhook.clone(),
        channel: settings.channel.clone(),
        interval: settings.post_interval,
        digest_from: settings.digest_from,
    };
    let (outbox, metrics) = (engine.outbox.clone(), Arc::clone(&engine.metrics));
    Sender::new(how, outbox, metrics, say, random_seed())
}

/// Makes the keeper of a shared window, if one is named.
fn build_shared_dedup(settings: &Notifier, engine: &Engine, say: Say) -> Option<Keeper> {
    let Window::Redis(server) = &settings.dedup else {
        return None;
    };
    Some(Keeper {
        server: server.clone(),
        lease: format!("lease:{}", engine.identity),
        lease_time: settings.dedup_lease,
        outbox: engine.outbox.clone(),
        metrics: Arc::clone(&engine.metrics),
        say,
        began: engine.began,
        seed: random_seed(),
    })
}

/// Returns a random number that is not 0; without random numbers always the same, as nothing secret depends on it.
pub fn random_seed() -> u64 {
    let mut bytes = [0; 8];
    let _ = getrandom::fill(&mut bytes);
    u64::from_le_bytes(bytes) | 1
}
