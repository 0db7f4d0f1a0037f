//! What a child process writes without end, kept in bounded memory: its beginning, which says how it started, and its
//! latest words. The pipe is read as long as the value lives, so that the child never waits for a reader.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::task::AbortHandle;

/// How much of the beginning is kept, in bytes; a whole connection of ssh is some 10 KiB at DEBUG1.
const BEGINNING: usize = 256 << 10;
/// How much of the end is kept.
const LATEST: usize = 64 << 10;

#[derive(Debug, Default)]
struct Kept {
    beginning: Vec<u8>,
    latest: Vec<u8>,
}

impl Kept {
    fn add(&mut self, mut bytes: &[u8]) {
        let room = BEGINNING - self.beginning.len();
        let (first, rest) = bytes.split_at(room.min(bytes.len()));
        self.beginning.extend_from_slice(first);
        bytes = rest;
        self.latest.extend_from_slice(bytes);
        // Cut now and then only, lest each line moves all before it.
        if self.latest.len() > 2 * LATEST {
            self.latest.drain(..self.latest.len() - LATEST);
        }
    }
}

/// A pipe that is drained; dropping it closes it.
#[derive(Debug)]
pub(crate) struct LogPipe {
    kept: Arc<Mutex<Kept>>,
    task: AbortHandle,
}

impl LogPipe {
    /// Drains a pipe from now on.
    pub(crate) fn drain_pipe(mut pipe: impl AsyncRead + Unpin + Send + 'static) -> Self {
        let kept = Arc::new(Mutex::new(Kept::default()));
        let shared = Arc::clone(&kept);
        let task = tokio::spawn(async move {
            let mut buffer = vec![0; 16 << 10];
            while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
                let bytes = buffer.get(..count).unwrap_or_default();
                shared.lock().unwrap_or_else(PoisonError::into_inner).add(bytes);
            }
        });
        Self { kept, task: task.abort_handle() }
    }

    fn kept_text(&self, pick: impl FnOnce(&Kept) -> Vec<u8>) -> String {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&pick(&kept)).into_owned()
    }

    /// Returns the beginning.
    pub(crate) fn first_words(&self) -> String {
        self.kept_text(|kept| kept.beginning.clone())
    }

    /// Returns the latest words: the end, or everything where that is little.
    pub(crate) fn latest_words(&self) -> String {
        self.kept_text(|kept| {
            if kept.latest.is_empty() { kept.beginning.clone() } else { kept.latest.clone() }
        })
    }

    /// Returns the beginning and the end; what was between them is missing where it was too much.
    pub(crate) fn whole_text(&self) -> String {
        self.kept_text(|kept| {
            let between: &[u8] = if kept.latest.is_empty() { b"" } else { b"\n" };
            [&kept.beginning, between, &kept.latest].concat()
        })
    }
}

impl Drop for LogPipe {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endless_log_stays_bounded() {
        let mut kept = Kept::default();
        kept.add(b"first\n");
        for number in 0..100_000 {
            kept.add(format!("line {number} of a flood of words\n").as_bytes());
        }
        assert!(kept.beginning.starts_with(b"first\n"));
        assert_eq!(kept.beginning.len(), BEGINNING);
        assert!(kept.latest.len() <= 2 * LATEST);
        assert!(kept.latest.ends_with(b"line 99999 of a flood of words\n"));
    }
}
