//! Slack's word that a customer is blocked: the notifier's outbox, sender and checkpoint, with other contents.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::domain::notifier::decide::Post;
use crate::domain::notifier::dedup::{DedupEnding, DedupKey, Product};
use crate::domain::notifier::slack::Notice;
use crate::domain::notifier::source::ClientSource;
use crate::domain::virusprot::block_log::{BlockChange, BlockEvent};
use crate::notifier::checkpoint::{Checkpoint, CheckpointStore, LoadedCheckpoint};
use crate::notifier::metrics::Metrics;
use crate::notifier::outbox::SharedOutbox;
use crate::notifier::random_seed;
use crate::notifier::sender::{Sender, SenderSettings};

/// How long the end waits for a message in flight.
const PATIENCE: Duration = Duration::from_secs(5);

/// The posts that wait, on disk before one of them is sent.
pub struct CustomerPosts {
    outbox: SharedOutbox,
    store: CheckpointStore,
    unsaved: bool,
}

impl CustomerPosts {
    /// Takes up what an earlier run has left, and starts the sender. `say` gets what an operator should read.
    pub fn start(
        store: CheckpointStore,
        settings: SenderSettings,
        say: Box<dyn Fn(&str) + Send>,
    ) -> Self {
        let outbox = SharedOutbox::default();
        if let LoadedCheckpoint::Newest(left) | LoadedCheckpoint::Previous(left) = store.load() {
            let mut outbox = outbox.lock();
            outbox.restore(left.outbox, Instant::now());
            outbox.dropped = left.dropped;
        }
        let metrics = Arc::new(Metrics::default());
        let sender = Sender::new(settings, outbox.clone(), metrics, say, random_seed());
        std::thread::spawn(move || sender.send_until_stopped());
        Self { outbox, store, unsaved: false }
    }

    /// Adds a post for each customer that was blocked, with the command that frees the address.
    pub fn add_blocked(&mut self, events: &[BlockEvent], command: impl Fn(&str) -> String) {
        let blocked = events
            .iter()
            .filter(|event| event.event != BlockChange::Released && event.customer == Some(true));
        for event in blocked {
            let Some(address) = event.address.split('/').next().and_then(|text| text.parse().ok())
            else {
                continue;
            };
            let post = Post {
                key: DedupKey {
                    address,
                    product: Product::Name(String::new()),
                    result: DedupEnding::Refused,
                    guessed: false,
                    client: None,
                },
                notice: Notice {
                    at: event.since.unwrap_or(event.at).as_second(),
                    client: event.address.clone(),
                    source: ClientSource::External,
                    workstation: String::new(),
                    product: String::new(),
                    unnamed: None,
                    status: String::new(),
                    refused: None,
                    unanswered: false,
                    uncertain: false,
                    blocked: Some(command(&event.address)),
                },
            };
            self.outbox.lock().push(post, Instant::now());
            self.unsaved = true;
        }
    }

    /// Sends no further message, waits a little for the end of one in flight, and writes down what waits.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn finish_posts(&mut self) -> io::Result<()> {
        let end = Instant::now() + PATIENCE;
        let mut outbox = self.outbox.lock();
        outbox.stop = true;
        while outbox.ended.is_none() && outbox.waiting.iter().any(|waiting| waiting.flying) {
            let Some(left) = end.checked_duration_since(Instant::now()) else {
                break;
            };
            outbox = self.outbox.wait(outbox, left);
        }
        drop(outbox);
        self.keep_waiting()
    }

    /// Writes down what waits, where that has changed, and lets the sender go on. A kill doubles a post and loses none.
    ///
    /// # Errors
    /// Those of the operating system; the posts are sent all the same.
    pub fn keep_waiting(&mut self) -> io::Result<()> {
        let mut outbox = self.outbox.lock();
        let ended = outbox.ended.clone();
        if let Some(ended) = &ended {
            outbox.remove(ended);
        } else if !self.unsaved {
            return Ok(());
        }
        let posts = outbox.waiting.iter().map(|waiting| waiting.post.clone());
        let checkpoint = Checkpoint {
            outbox: posts.collect(),
            dropped: outbox.dropped,
            ..Checkpoint::default()
        };
        drop(outbox);
        let saved = self.store.save(&checkpoint);
        self.unsaved = saved.is_err();
        let mut outbox = self.outbox.lock();
        for waiting in &mut outbox.waiting {
            waiting.durable = true;
        }
        if ended.is_some() {
            outbox.ended = None;
        }
        drop(outbox);
        self.outbox.wake();
        saved
    }
}
