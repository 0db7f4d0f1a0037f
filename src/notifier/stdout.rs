//! Lines for another process: each stream is written by a thread of its own behind a bounded queue, so that a pipe
//! that is not emptied stalls that thread and nothing else. Decides when a line is given up; knows nothing of lines.

use std::io::{ErrorKind, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Most bytes that wait for a stream; as many again may be in its thread's hands.
const MOST: usize = 1024 * 1024;
/// How long a full queue may hold up the one who writes, once until it is empty again: a reader that is only slower
/// than a log being caught up with loses nothing.
const PATIENCE: Duration = Duration::from_millis(250);

/// How long after a stream took nothing it is tried again.
const AGAIN: Duration = Duration::from_millis(500);

#[derive(Debug, Default)]
struct QueuedLines {
    text: String,
    /// What the thread is writing.
    hand: Arc<String>,
    writing: bool,
    /// The reader did not make room in time, and the queue was not empty since.
    stalled: bool,
}

impl QueuedLines {
    fn is_behind(&self) -> bool {
        self.writing || !self.text.is_empty()
    }
}

#[derive(Debug, Default)]
struct Queue {
    inside: Mutex<QueuedLines>,
    changed: Condvar,
}

/// A stream's queue. Its thread lives as long as the process.
#[derive(Clone, Debug)]
pub struct Aside(Arc<Queue>);

impl Aside {
    /// Starts the thread that writes to `stream`. What that does not take, as its disk is full or its reader gone, waits in the queue.
    pub fn start(mut stream: impl Write + Send + 'static) -> Self {
        let aside = Self(Arc::default());
        let queue = Self(Arc::clone(&aside.0));
        std::thread::spawn(move || {
            loop {
                let text = queue.take();
                let mut rest = text.as_bytes();
                while !rest.is_empty() {
                    match stream.write(rest) {
                        Ok(count @ 1..) => rest = rest.get(count..).unwrap_or_default(),
                        Err(error) if error.kind() == ErrorKind::Interrupted => {}
                        Ok(_) | Err(_) => std::thread::sleep(AGAIN),
                    }
                }
                let _ = stream.flush();
                queue.note_written();
            }
        });
        aside
    }

    /// Adds a line, which gets its newline here; returns whether there was room.
    pub fn add_line(&self, line: &str) -> bool {
        let mut inside = self.lock();
        if inside.text.len() >= MOST && !inside.stalled {
            inside = self.wait(inside, PATIENCE, |inside| inside.text.len() >= MOST);
            inside.stalled = inside.text.len() >= MOST;
        }
        if inside.text.len() >= MOST {
            return false;
        }
        inside.text.push_str(line);
        inside.text.push('\n');
        self.0.changed.notify_all();
        true
    }

    /// Waits until everything is written, at most this long.
    pub fn flush(&self, most: Duration) {
        drop(self.wait(self.lock(), most, QueuedLines::is_behind));
    }

    /// Waits until everything is written; as patient as [`Self::add_line`], and not at all while the reader is stalled.
    pub fn catch_up(&self) {
        let inside = self.lock();
        if !inside.stalled {
            let mut inside = self.wait(inside, PATIENCE, QueuedLines::is_behind);
            inside.stalled = inside.is_behind();
        }
    }

    /// Returns every line that is not known to be written.
    pub fn unwritten(&self) -> String {
        let inside = self.lock();
        [inside.hand.as_str(), &inside.text].concat()
    }

    fn take(&self) -> Arc<String> {
        let mut inside = self.lock();
        while inside.text.is_empty() {
            inside = self.0.changed.wait(inside).unwrap_or_else(PoisonError::into_inner);
        }
        inside.writing = true;
        let text = Arc::new(std::mem::take(&mut inside.text));
        inside.hand = Arc::clone(&text);
        self.0.changed.notify_all();
        text
    }

    fn note_written(&self) {
        let mut inside = self.lock();
        inside.writing = false;
        inside.hand = Arc::default();
        inside.stalled = false;
        self.0.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, QueuedLines> {
        self.0.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(
        &'a self,
        mut inside: MutexGuard<'a, QueuedLines>,
        most: Duration,
        unready: impl Fn(&QueuedLines) -> bool,
    ) -> MutexGuard<'a, QueuedLines> {
        let end = Instant::now() + most;
        while unready(&inside) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.0.changed.wait_timeout(inside, left);
            inside = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        inside
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};

    /// Writes when it is allowed to.
    struct Gate(Receiver<()>, Sender<String>);

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let _ = self.0.recv();
            let _ = self.1.send(String::from_utf8_lossy(bytes).into_owned());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// Takes a few bytes, then fails for a while.
    struct FullDisk(usize, Sender<Vec<u8>>);

    impl Write for FullDisk {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += 1;
            if self.0.is_multiple_of(2) {
                return Err(ErrorKind::StorageFull.into());
            }
            let count = bytes.len().min(if self.0 > 2 { usize::MAX } else { 3 });
            let _ = self.1.send(bytes.get(..count).unwrap_or_default().to_vec());
            Ok(count)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_loses_and_tears_nothing() {
        let (sent, written) = channel();
        let aside = Aside::start(FullDisk(0, sent));
        assert!(aside.add_line("first") && aside.add_line("second"));
        aside.flush(Duration::from_secs(60));
        assert_eq!(written.try_iter().collect::<Vec<_>>().concat(), b"first\nsecond\n");
    }

    #[test]
    fn a_stream_without_a_reader_costs_lines_and_stops_no_writer() {
        let (allow, gate) = channel();
        let (sent, written) = channel();
        let aside = Aside::start(Gate(gate, sent));
        let line = "x".repeat(1023);
        let kept = (0..3 * 1024).filter(|_| aside.add_line(&line)).count();
        // The thread may have one batch in hand besides the full queue.
        assert!((1024..=2 * 1024).contains(&kept), "{kept}");
        aside.flush(Duration::from_millis(1));
        // For a checkpoint: what is in the thread's hands may not have been written.
        assert_eq!(aside.unwritten().lines().count(), kept);
        let began = Instant::now();
        (0..100).for_each(|_| aside.catch_up());
        assert!(began.elapsed() < PATIENCE * 10, "a stalled reader is waited for once");
        drop(allow);
        aside.flush(Duration::from_secs(60));
        let text: String = written.try_iter().collect();
        assert_eq!(text.len(), 1024 * kept);
        assert!(aside.add_line("again"), "it takes lines again");
    }
}
