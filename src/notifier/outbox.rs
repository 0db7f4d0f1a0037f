//! The queue between the loop, the sender and the keeper of a shared window. Holds what each of them knows about a
//! post; decides which posts may go and which one gives way, nothing else.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::domain::notifier::decide::Post;
use crate::domain::notifier::dedup::DedupKey;
use crate::domain::notifier::slack::Notice;

/// Most posts that wait; the oldest gives way.
pub const MOST: usize = 1_000;
/// Most notes to a shared window that wait; the oldest gives way.
pub const MOST_OWED: usize = 4_096;
/// How long a post waits for a shared window's answer before it goes without: longer than the keeper needs to find
/// out that there is none.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// What a shared window said about a post.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    Free,
    /// It is being asked since then.
    Asked(Instant),
    /// The key is ours; the lease must be renewed by then.
    Ours(Instant),
    /// Another notifier has a message in hand; it is asked again then.
    Busy(Instant),
    /// It did not answer: better twice than not at all.
    Unchecked,
}

#[derive(Clone, Debug)]
pub struct WaitingPost {
    pub id: u64,
    pub post: Post,
    pub durable: bool,
    pub flying: bool,
    pub claim: Claim,
    pub counted: bool,
}

/// What is to be written to a shared window, sooner or later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owed {
    pub key: DedupKey,
    /// Seconds of the loop's clock up to which it is posted; `None` gives the key back.
    pub until: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostEnding {
    pub posts: Vec<u64>,
    pub dropped: u64,
    /// It reached Slack; otherwise Slack refused it for good.
    pub sent: bool,
}

#[derive(Clone, Debug)]
pub struct Message {
    pub posts: Vec<u64>,
    pub notices: Vec<Notice>,
    pub dropped: u64,
}

#[derive(Debug, Default)]
pub struct Outbox {
    /// Posts that wait, oldest first. They stay until the loop has taken note of their end.
    pub waiting: VecDeque<WaitingPost>,
    pub shared: bool,
    /// Posts that gave way and were not reported yet.
    pub dropped: u64,
    /// What became of the last message, until the loop has taken note.
    pub ended: Option<PostEnding>,
    /// Keys that another notifier has posted, with the seconds they have left, until the loop has taken note.
    pub held: Vec<(DedupKey, u64)>,
    /// Notes to the shared window, numbered, oldest first.
    pub owed: VecDeque<(u64, Owed)>,
    /// No more messages after the one in flight.
    pub stop: bool,
    last: u64,
}

impl Outbox {
    /// Adds a post; returns the one that had to give way. One that is in flight never does.
    pub fn push(&mut self, post: Post, now: Instant) -> Option<WaitingPost> {
        self.last += 1;
        self.waiting.push_back(WaitingPost {
            id: self.last,
            post,
            durable: false,
            flying: false,
            claim: if self.shared { Claim::Asked(now) } else { Claim::Free },
            counted: !self.shared,
        });
        if self.waiting.len() <= MOST {
            return None;
        }
        self.dropped += 1;
        let oldest = self.waiting.iter().position(|waiting| !waiting.flying)?;
        self.waiting.remove(oldest)
    }

    /// Adds what a checkpoint held: durable, and counted by the run that wrote it.
    pub fn restore(&mut self, posts: Vec<Post>, now: Instant) {
        for post in posts {
            self.push(post, now);
        }
        for waiting in &mut self.waiting {
            waiting.durable = true;
            waiting.counted = true;
        }
    }

    /// Takes the next message: one post, or a digest of all that may go. Says which went without an answer from the
    /// shared window.
    pub fn take_message(&mut self, digest_from: usize, now: Instant) -> Option<Message> {
        let may_go = |waiting: &WaitingPost| {
            waiting.durable
                && match waiting.claim {
                    Claim::Free | Claim::Ours(_) | Claim::Unchecked => true,
                    Claim::Asked(since) => now.saturating_duration_since(since) >= PATIENCE,
                    Claim::Busy(_) => false,
                }
        };
        let ready = self.waiting.iter().filter(|waiting| may_go(waiting)).count();
        let all = ready >= digest_from || self.dropped > 0;
        let count = if all { ready } else { ready.min(1) };
        if count == 0 {
            return None;
        }
        let mut message = Message { posts: Vec::new(), notices: Vec::new(), dropped: self.dropped };
        for waiting in self.waiting.iter_mut().filter(|waiting| may_go(waiting)).take(count) {
            waiting.flying = true;
            message.posts.push(waiting.id);
            message.notices.push(waiting.post.notice.clone());
        }
        Some(message)
    }

    pub fn remove(&mut self, ended: &PostEnding) -> Vec<Post> {
        let mut over = Vec::new();
        self.waiting.retain(|waiting| {
            let gone = ended.posts.contains(&waiting.id);
            if gone {
                over.push(waiting.post.clone());
            }
            !gone
        });
        self.dropped = self.dropped.saturating_sub(ended.dropped);
        over
    }

    /// Notes something for the shared window, if there is one.
    pub fn owe_window(&mut self, owed: Owed) {
        if !self.shared {
            return;
        }
        self.last += 1;
        self.owed.push_back((self.last, owed));
        if self.owed.len() > MOST_OWED {
            self.owed.pop_front();
        }
    }
}

#[derive(Clone, Debug, Default)]
pub struct SharedOutbox(Arc<(Mutex<Outbox>, Condvar)>);

impl SharedOutbox {
    /// Locks the outbox. A thread that panicked while it held the lock left it whole.
    pub fn lock(&self) -> MutexGuard<'_, Outbox> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn wake(&self) {
        self.0.1.notify_all();
    }

    /// Waits for a change, at most so long.
    pub fn wait<'a>(
        &self,
        guard: MutexGuard<'a, Outbox>,
        most: Duration,
    ) -> MutexGuard<'a, Outbox> {
        self.0.1.wait_timeout(guard, most).unwrap_or_else(PoisonError::into_inner).0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::notifier::dedup::Product;
    use crate::domain::notifier::source::ClientSource;

    fn post(number: usize) -> Post {
        let client = "192.0.2.1".to_owned();
        Post {
            key: DedupKey {
                address: client.parse().expect("an address"),
                product: Product::Name(number.to_string()),
                result: crate::domain::notifier::dedup::DedupEnding::Answered,
                guessed: false,
                client: None,
            },
            notice: Notice {
                at: 0,
                client,
                source: ClientSource::External,
                workstation: String::new(),
                product: number.to_string(),
                unnamed: None,
                status: String::new(),
                refused: None,
                unanswered: false,
                uncertain: false,
                blocked: None,
            },
        }
    }

    fn outbox(shared: bool, posts: usize) -> Outbox {
        let mut outbox = Outbox { shared, ..Outbox::default() };
        outbox.restore((0..posts).map(post).collect(), Instant::now());
        outbox
    }

    #[test]
    fn a_full_outbox_drops_the_oldest_but_never_one_in_flight() {
        let mut outbox = outbox(false, MOST);
        assert_eq!(
            outbox.take_message(2_000, Instant::now()).map(|message| message.posts),
            Some(vec![1])
        );
        let gone: Vec<String> = (MOST..MOST + 3)
            .filter_map(|number| outbox.push(post(number), Instant::now()))
            .map(|waiting| waiting.post.notice.product)
            .collect();
        assert_eq!(gone, ["1", "2", "3"]);
        assert_eq!((outbox.waiting.len(), outbox.dropped), (MOST, 3));
        let digest = outbox.take_message(2_000, Instant::now()).expect("a digest");
        assert_eq!((digest.notices.len(), digest.dropped), (MOST - 3, 3), "those that are durable");
    }

    #[test]
    fn what_a_shared_window_has_not_cleared_holds_up_no_other() {
        let mut outbox = outbox(true, 3);
        let now = Instant::now();
        assert!(outbox.take_message(4, now).is_none());
        outbox.waiting[0].claim = Claim::Busy(now);
        outbox.waiting[1].claim = Claim::Ours(now);
        assert_eq!(outbox.take_message(4, now).map(|message| message.posts), Some(vec![2]));
        let ended = PostEnding { posts: vec![2], dropped: 0, sent: true };
        assert_eq!(outbox.remove(&ended).len(), 1);
        let late = outbox.take_message(4, now + PATIENCE).map(|message| message.posts);
        assert_eq!(late, Some(vec![3]), "no answer is an answer");
    }
}
