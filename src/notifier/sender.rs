//! The one sender: a thread that posts what waits in the outbox, at most one message a second, and never exits for
//! what Slack or the network do. Decides when to try again; what a message says is `domain::announce`.

use std::io::Read as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::metrics::Metrics;
use super::outbox::{Claim, Ended, Message, Shared};
use crate::domain::announce;
use crate::settings::notifier::Webhook;

/// Least time between two messages to anywhere but this machine (Slack allows about one a second).
const PACE: Duration = Duration::from_secs(1);
/// Deadline of one try.
const DEADLINE: Duration = Duration::from_secs(15);
/// Longest wait that is taken from `Retry-After`, and longest back-off.
const LONGEST_WAIT: Duration = Duration::from_secs(600);
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);
/// Longest file of a webhook, in bytes.
const LONGEST_URL: u64 = 4_096;
/// Statuses below 500 that pass by themselves.
const PASSING: [u16; 3] = [408, 425, 429];

/// What one try came to.
enum Tried {
    Sent,
    /// Not before this long; and why, if it is not Slack's fault.
    Later(&'static str, Option<Duration>, Option<String>),
    /// Never: Slack's own words.
    Refused(u16, String),
}

/// The thread's state.
pub struct Sender {
    agent: ureq::Agent,
    settings: Settings,
    outbox: Shared,
    metrics: Arc<Metrics>,
    say: Box<dyn Fn(&str) + Send>,
    seed: u64,
}

/// How messages are sent.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to.
    pub webhook: Webhook,
    /// Slack channel, for legacy webhooks.
    pub channel: Option<String>,
    /// Least time between two messages.
    pub interval: Duration,
    /// From so many posts on, they become one message.
    pub digest_from: usize,
}

impl Sender {
    /// Makes the sender; `say` gets what an operator should read.
    pub fn new(
        settings: Settings,
        outbox: Shared,
        metrics: Arc<Metrics>,
        say: Box<dyn Fn(&str) + Send>,
        seed: u64,
    ) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(DEADLINE))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .build();
        Self {
            agent: config.into(),
            settings,
            outbox,
            metrics,
            say,
            seed,
        }
    }

    /// Sends until it is stopped.
    pub fn run(mut self) {
        let mut failures = 0_u32;
        let mut not_before = Instant::now();
        let mut complained = String::new();
        while let Some(message) = self.next(not_before) {
            let (tried, pace) = self.post(&message);
            not_before = Instant::now() + pace;
            let ended = |sent| Ended {
                posts: message.posts.clone(),
                dropped: message.dropped,
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
                Tried::Later(result, wait, why) => {
                    failures = failures.saturating_add(1);
                    not_before = Instant::now() + wait.unwrap_or_else(|| self.backoff(failures));
                    let why =
                        why.unwrap_or_else(|| "Slack cannot be reached or is busy".to_owned());
                    (
                        result,
                        None,
                        format!("{why}; messages wait and are tried again."),
                    )
                }
            };
            self.metrics.posted(result);
            if !complaint.is_empty() && complaint != complained {
                (self.say)(&complaint);
            }
            complained = complaint;
            self.end(end);
        }
    }

    /// Hands the end of a message to the loop; without one its posts wait on.
    fn end(&self, end: Option<Ended>) {
        let mut outbox = self.outbox.lock();
        if end.is_none() {
            for waiting in &mut outbox.waiting {
                waiting.flying = false;
            }
        }
        outbox.ended = end;
        drop(outbox);
        self.outbox.wake();
    }

    /// Waits for the next message's turn and takes its posts; `None` says that there will be no more.
    fn next(&self, not_before: Instant) -> Option<Message> {
        let mut outbox = self.outbox.lock();
        loop {
            if outbox.stop {
                return None;
            }
            let now = Instant::now();
            let early = not_before.saturating_duration_since(now);
            if early.is_zero()
                && outbox.ended.is_none()
                && let Some(message) = outbox.take(self.settings.digest_from, now)
            {
                for waiting in outbox.waiting.iter_mut().filter(|waiting| waiting.flying) {
                    self.unchecked(waiting);
                }
                return Some(message);
            }
            let most = if early.is_zero() {
                Duration::from_secs(1)
            } else {
                early
            };
            outbox = self.outbox.wait(outbox, most);
        }
    }

    /// Counts a post that goes without the shared window's answer.
    fn unchecked(&self, waiting: &mut super::outbox::Waiting) {
        if !matches!(waiting.claim, Claim::Asked(_)) {
            return;
        }
        waiting.claim = Claim::Unchecked;
        self.metrics.window_unchecked.inc();
        if !waiting.counted {
            waiting.counted = true;
            let notice = &waiting.post.notice;
            if notice.refused.is_none() {
                self.metrics.activation(&notice.product, &notice.status);
            }
        }
    }

    /// Tries once; returns what came of it, and how long to wait before the next message.
    fn post(&self, message: &Message) -> (Tried, Duration) {
        let channel = self.settings.channel.as_deref();
        let payload = announce::payload(&message.notices, message.dropped, channel);
        match self.url() {
            Ok((url, true)) => (self.send(&url, &payload), self.settings.interval),
            Ok((url, false)) => (self.send(&url, &payload), self.settings.interval.max(PACE)),
            Err(why) => (Tried::Later("error", None, Some(why)), PACE),
        }
    }

    fn send(&self, url: &str, payload: &serde_json::Value) -> Tried {
        let request = self
            .agent
            .post(url)
            .header("Content-Type", "application/json");
        // The error's text may hold the URL, which is a secret: it is not looked at.
        let Ok(mut response) = request.send(payload.to_string()) else {
            return Tried::Later("error", None, None);
        };
        let status = response.status().as_u16();
        let after = response
            .headers()
            .get("retry-after")
            .and_then(|value| value.to_str().ok()?.trim().parse().ok())
            .map(|seconds| Duration::from_secs(seconds).clamp(PACE, LONGEST_WAIT));
        let body = response
            .body_mut()
            .with_config()
            .limit(4_096)
            .read_to_string()
            .unwrap_or_default();
        match status {
            // Some portal's or proxy's page is no `ok` of Slack's.
            200..=299 if body.trim_start().starts_with('<') => Tried::Later(
                "error",
                None,
                Some("A web page answers in Slack's place".to_owned()),
            ),
            200..=299 => Tried::Sent,
            429 => Tried::Later("rate_limited", Some(after.unwrap_or(PACE * 30)), None),
            400..=499 if !PASSING.contains(&status) => {
                Tried::Refused(status, words(&body).to_owned())
            }
            _ => Tried::Later("error", after, None),
        }
    }

    /// Reads the URL anew for every message: a rotated secret needs no restart. Plain HTTP goes nowhere but to this
    /// machine, which the flag tells. The error never quotes what was read.
    fn url(&self) -> Result<(String, bool), String> {
        let url = match &self.settings.webhook {
            Webhook::File(path) => {
                let mut text = String::new();
                std::fs::File::open(path)
                    .and_then(|file| file.take(LONGEST_URL).read_to_string(&mut text))
                    .map_err(|error| {
                        format!(
                            "The webhook's file {} cannot be read: {error}",
                            path.display()
                        )
                    })?;
                text
            }
            Webhook::Url(url) => url.clone(),
            Webhook::None => return Err("There is no webhook".to_owned()),
        };
        let url = url.trim();
        let local = ["http://127.0.0.1:", "http://[::1]:"]
            .iter()
            .any(|start| url.starts_with(start));
        if local || url.starts_with("https://") {
            return Ok((url.to_owned(), local));
        }
        Err("The webhook is no https:// address".to_owned())
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

/// Returns Slack's own words, which are one word or a few. Anything else may repeat the address, which is a secret.
fn words(body: &str) -> &str {
    let plain = |character: char| character.is_ascii_lowercase() || "_ ".contains(character);
    let body = body.trim();
    if body.len() <= 80 && body.chars().all(plain) {
        body
    } else {
        "(an answer that is not in Slack's words)"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_may_repeat_the_address_is_not_shown() {
        assert_eq!(words("no_service\n"), "no_service");
        assert_eq!(words("channel_is_archived"), "channel_is_archived");
        for other in [
            "/services/T0/B0/XYZ was not found",
            "T0B0",
            "<html>",
            "a\x1b[2J",
        ] {
            assert!(words(other).starts_with('('), "{other}");
        }
    }
}
