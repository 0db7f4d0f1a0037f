//! Signals that end a run. Holds no decision about what is ended.

use std::sync::Mutex;
use std::task::{Context, Waker};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Sees the signals that come between two waits. Without it they would be lost: since the first wait they end nothing by
/// themselves.
static BETWEEN: Mutex<Option<[Signal; 3]>> = Mutex::new(None);

/// Waits for Ctrl-C, or for a signal to end (SIGTERM, SIGHUP); for ever, where signals cannot be waited for. A signal that
/// came since the last wait ends it at once.
pub async fn wait_for_interrupt() {
    let Ok([mut interrupt, mut terminate, mut hang_up]) = ending_signals() else {
        return std::future::pending().await;
    };
    if take_past_signals() {
        return;
    }
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hang_up.recv() => {}
    }
    take_past_signals();
}

fn ending_signals() -> std::io::Result<[Signal; 3]> {
    let [interrupt, terminate, hang_up] =
        [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal);
    Ok([interrupt?, terminate?, hang_up?])
}

/// Returns whether a signal has come since it was asked last.
fn take_past_signals() -> bool {
    let Ok(mut between) = BETWEEN.lock() else {
        return false;
    };
    let Some(signals) = between.as_mut() else {
        *between = ending_signals().ok();
        return false;
    };
    let mut context = Context::from_waker(Waker::noop());
    let arrived = signals.iter_mut().map(|one| one.poll_recv(&mut context).is_ready());
    arrived.fold(false, |any, one| any | one)
}
