//! The one sender: a thread that posts what waits in the outbox, at most one message a second, and never exits for
//! what Slack or the network do. Decides when to try again; what a message says is `domain::announce`.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::metrics::Metrics;
use crate::domain::announce::{self, Notice};
use crate::domain::decision::Post;
use crate::settings::notifier::Webhook;

/// Most posts that wait; the oldest gives way.
pub const MOST: usize = 1_000;
/// From so many waiting posts on, they become one message.
const DIGEST: usize = 4;
/// Least time between two messages (Slack allows about one a second).
const PACE: Duration = Duration::from_secs(1);
/// Deadline of one try.
const DEADLINE: Duration = Duration::from_secs(15);
/// Longest wait that is taken from `Retry-After`, and longest back-off.
const LONGEST_WAIT: Duration = Duration::from_secs(600);
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);

/// The queue between the tail and the sender.
#[derive(Debug, Default)]
pub struct Outbox {
    /// Posts that wait, oldest first. They stay until the loop has taken note of their end.
    pub waiting: VecDeque<Post>,
    /// Posts that gave way and were not told yet.
    pub dropped: u64,
    /// Waiting posts from the front that the checkpoint holds; only these may be sent.
    pub durable: usize,
    /// How many from the front a message in flight holds.
    pub in_flight: usize,
    /// What became of the last message, until the loop has taken note.
    pub ended: Option<Ended>,
    /// No more messages after the one in flight.
    pub stop: bool,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// How many posts from the front it held.
    pub posts: usize,
    /// How many dropped posts it told.
    pub dropped: u64,
    /// It reached Slack; otherwise Slack refused it for good.
    pub sent: bool,
}

impl Outbox {
    /// Adds a post; returns the one that had to give way. One that is in flight never does.
    pub fn push(&mut self, post: Post) -> Option<Post> {
        self.waiting.push_back(post);
        if self.waiting.len() <= MOST {
            return None;
        }
        self.dropped += 1;
        if self.durable > self.in_flight {
            self.durable -= 1;
        }
        self.waiting.remove(self.in_flight)
    }
}

/// The outbox as both threads hold it.
#[derive(Clone, Debug, Default)]
pub struct Shared(Arc<(Mutex<Outbox>, Condvar)>);

impl Shared {
    /// Locks the outbox. A thread that panicked while it held the lock left it whole.
    pub fn lock(&self) -> MutexGuard<'_, Outbox> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes whoever waits.
    pub fn wake(&self) {
        self.0.1.notify_all();
    }

    /// Waits for a change, at most so long.
    pub fn wait<'a>(
        &self,
        guard: MutexGuard<'a, Outbox>,
        most: Duration,
    ) -> MutexGuard<'a, Outbox> {
        self.0
            .1
            .wait_timeout(guard, most)
            .unwrap_or_else(PoisonError::into_inner)
            .0
    }
}

/// What one try came to.
enum Tried {
    Sent,
    /// Not before this long.
    Later(&'static str, Option<Duration>),
    /// Never: Slack's own words.
    Refused(u16, String),
}

/// The thread's state.
pub struct Sender {
    agent: ureq::Agent,
    webhook: Webhook,
    channel: Option<String>,
    outbox: Shared,
    metrics: Arc<Metrics>,
    say: Box<dyn Fn(&str) + Send>,
    seed: u64,
}

impl Sender {
    /// Makes the sender; `say` gets what an operator should read.
    pub fn new(
        webhook: Webhook,
        channel: Option<String>,
        outbox: Shared,
        metrics: Arc<Metrics>,
        say: Box<dyn Fn(&str) + Send>,
    ) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(DEADLINE))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .build();
        let mut seed = [0; 8];
        // Without random numbers the jitter is the same every time; nothing depends on it.
        let _ = getrandom::fill(&mut seed);
        Self {
            agent: config.into(),
            webhook,
            channel,
            outbox,
            metrics,
            say,
            seed: u64::from_le_bytes(seed) | 1,
        }
    }

    /// Sends until it is stopped.
    pub fn run(mut self) {
        let mut failures = 0_u32;
        let mut not_before = Instant::now();
        let mut complained = String::new();
        while let Some((notices, dropped)) = self.next(not_before) {
            let payload = announce::payload(&notices, dropped, self.channel.as_deref());
            let tried = self.post(&payload);
            not_before = Instant::now() + PACE;
            let ended = |sent| Ended {
                posts: notices.len(),
                dropped,
                sent,
            };
            let (result, end, complaint) = match tried {
                Tried::Sent => {
                    failures = 0;
                    ("ok", Some(ended(true)), String::new())
                }
                Tried::Refused(status, words) => {
                    let words = format!("Slack refuses messages for good: {status} {words}");
                    ("rejected", Some(ended(false)), words)
                }
                Tried::Later(result, wait) => {
                    failures = failures.saturating_add(1);
                    not_before = Instant::now() + wait.unwrap_or_else(|| self.backoff(failures));
                    (
                        result,
                        None,
                        "Slack cannot be reached or is busy; messages wait and are tried again"
                            .to_owned(),
                    )
                }
            };
            self.metrics.posted(result);
            if !complaint.is_empty() && complaint != complained {
                (self.say)(&complaint);
            }
            complained = complaint;
            let mut outbox = self.outbox.lock();
            outbox.in_flight = 0;
            outbox.ended = end;
            self.outbox.wake();
        }
    }

    /// Waits for the next message's turn and takes its posts; `None` says that there will be no more.
    fn next(&self, not_before: Instant) -> Option<(Vec<Notice>, u64)> {
        let mut outbox = self.outbox.lock();
        loop {
            if outbox.stop {
                return None;
            }
            let early = not_before.saturating_duration_since(Instant::now());
            if early.is_zero() && outbox.durable > 0 && outbox.ended.is_none() {
                let all = outbox.durable >= DIGEST || outbox.dropped > 0;
                let count = if all { outbox.durable } else { 1 };
                outbox.in_flight = count;
                let notices = outbox
                    .waiting
                    .iter()
                    .take(count)
                    .map(|post| post.notice.clone())
                    .collect();
                return Some((notices, outbox.dropped));
            }
            let most = if early.is_zero() {
                Duration::from_secs(1)
            } else {
                early
            };
            outbox = self.outbox.wait(outbox, most);
        }
    }

    fn post(&self, payload: &serde_json::Value) -> Tried {
        let Some(url) = self.url() else {
            return Tried::Later("error", None);
        };
        let request = self
            .agent
            .post(&url)
            .header("Content-Type", "application/json");
        // The error's text may hold the URL, which is a secret: it is not looked at.
        let Ok(mut response) = request.send(payload.to_string()) else {
            return Tried::Later("error", None);
        };
        let status = response.status().as_u16();
        let after = response
            .headers()
            .get("retry-after")
            .and_then(|value| value.to_str().ok()?.trim().parse().ok());
        match status {
            200..=299 => Tried::Sent,
            429 => Tried::Later(
                "rate_limited",
                Some(
                    after
                        .map_or(PACE * 30, Duration::from_secs)
                        .clamp(PACE, LONGEST_WAIT),
                ),
            ),
            400..=499 => {
                let body = response
                    .body_mut()
                    .with_config()
                    .limit(4_096)
                    .read_to_string()
                    .unwrap_or_default();
                Tried::Refused(
                    status,
                    body.chars()
                        .filter(|character| !character.is_control())
                        .take(100)
                        .collect(),
                )
            }
            _ => Tried::Later("error", None),
        }
    }

    /// Reads the URL anew for every message: a rotated secret needs no restart. Plain HTTP goes nowhere but to this
    /// machine.
    fn url(&self) -> Option<String> {
        let url = match &self.webhook {
            Webhook::File(path) => std::fs::read_to_string(path).ok()?,
            Webhook::Url(url) => url.clone(),
            Webhook::None => return None,
        };
        let url = url.trim();
        let local = ["http://127.0.0.1:", "http://[::1]:"]
            .iter()
            .any(|start| url.starts_with(start));
        (url.starts_with("https://") || local).then(|| url.to_owned())
    }

    /// Returns 1 s, 2 s, 4 s … 60 s, each give or take a half, so that many notifiers do not return at once.
    fn backoff(&mut self, failures: u32) -> Duration {
        let base =
            Duration::from_secs(1_u64 << (failures.saturating_sub(1)).min(6)).min(LONGEST_BACKOFF);
        // xorshift64: quality does not matter here.
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        let percent = u32::try_from(self.seed % 100).unwrap_or_default();
        (base * (50 + percent) / 100).max(PACE / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::classify::Source;
    use crate::domain::dedup::{Key, Product};

    fn post(number: usize) -> Post {
        let client = "192.0.2.1".to_owned();
        Post {
            key: Key {
                address: client.parse().expect("an address"),
                product: Product::Name(number.to_string()),
            },
            notice: Notice {
                at: 0,
                client,
                source: Source::External,
                workstation: String::new(),
                product: number.to_string(),
                status: String::new(),
                refused: None,
                uncertain: false,
            },
        }
    }

    #[test]
    fn a_full_outbox_drops_the_oldest_but_never_one_in_flight() {
        let mut outbox = Outbox {
            in_flight: 2,
            ..Outbox::default()
        };
        let gone: Vec<String> = (0..MOST + 3)
            .filter_map(|number| outbox.push(post(number)))
            .map(|post| post.notice.product)
            .collect();
        assert_eq!(gone, ["2", "3", "4"]);
        assert_eq!((outbox.waiting.len(), outbox.dropped), (MOST, 3));
    }
}
