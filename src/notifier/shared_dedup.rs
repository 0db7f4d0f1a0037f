//! Keeps the window that several notifiers share on a server that speaks Redis' protocol; a thread of its own, so
//! that neither the log nor Slack ever waits for that server.
//!
//! A key is reserved with `SET … EX … NX` for a short lease, which is renewed while its post waits; it is committed
//! for the whole window once Slack has the message, and given back when Slack refuses it for good. While the server
//! is away, posts go without asking (rather twice than not at all) and what it should know is kept for its return.
//!
//! Where the client is a guess, the post has a key of its own and only looks whether the client's own was posted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::Value;

use super::backoff::backoff_after;
use super::metrics::Metrics;
use super::outbox::{Claim, Outbox, Owed, SharedOutbox, WaitingPost};
use super::redis_connection::{RedisConnection, RedisTrouble, expect_accepted, refusal};
use crate::domain::notifier::dedup::DedupKey;
use crate::settings::window::Server;

/// Most keys in one batch of commands.
const BATCH: usize = 64;
/// Longest wait before the server is tried again.
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);
/// How often a key that another notifier holds is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// How often an idle connection is tried, so that the gauge is true.
const IDLE: Duration = Duration::from_secs(15);
/// What a committed key holds.
const SENT: &[u8] = b"sent";
/// Gives a key back, if it is still ours.
const RELEASE: &str =
    "if redis.call('get',KEYS[1])==ARGV[1] then return redis.call('del',KEYS[1]) end return 0";

pub struct Keeper {
    pub server: Server,
    /// What a lease of this notifier holds; the same after a restart.
    pub lease: String,
    pub lease_time: Duration,
    pub outbox: SharedOutbox,
    pub metrics: Arc<Metrics>,
    pub say: Box<dyn Fn(&str) + Send>,
    pub began: Instant,
    /// Random bits for the jitter.
    pub seed: u64,
}

#[derive(Default)]
struct Work {
    owed: Vec<(u64, Owed)>,
    asks: Vec<(u64, DedupKey)>,
}

/// What the server says about a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StoreReply {
    Ours,
    Busy,
    /// Posted, with so many milliseconds left.
    Posted(i64),
    /// It has just become free.
    Again,
}

impl Keeper {
    /// Keeps the window until the outbox is stopped and nothing is owed, or the server is away then.
    pub fn keep_window(mut self) {
        let mut connection: Option<RedisConnection> = None;
        let mut failures = 0_u32;
        let mut not_before = Instant::now();
        while let Some(work) = self.next_work(connection.is_some(), not_before) {
            let worked = self.serve_batch(&mut connection, &work);
            match worked {
                Ok(()) if failures == 0 => {}
                Ok(()) => {
                    failures = 0;
                    (self.say)("The shared window answers again.");
                }
                Err(trouble) => {
                    connection = None;
                    if failures == 0 {
                        (self.say)(&format!(
                            "The shared window of notifier.dedup_store is away ({trouble}); messages go out without asking it, so one may come twice."
                        ));
                    }
                    failures = failures.saturating_add(1);
                    let wait = backoff_after(failures, LONGEST_BACKOFF, 25, &mut self.seed);
                    not_before = Instant::now() + wait;
                    self.metrics.window_errors.inc();
                }
            }
            self.metrics.window_up.set(i64::from(failures == 0));
            self.outbox.wake();
        }
    }

    /// Waits for something to do. Without a connection, and before it is time to try again, posts are let go.
    fn next_work(&self, connected: bool, not_before: Instant) -> Option<Work> {
        let idle = Instant::now() + IDLE;
        let mut outbox = self.outbox.lock();
        loop {
            let now = Instant::now();
            let away = !connected && now < not_before;
            if away && self.let_go(&mut outbox) {
                self.outbox.wake();
            }
            if outbox.stop && (away || outbox.owed.is_empty()) {
                return None;
            }
            if !away {
                let work = Self::due_work(&outbox, now);
                let first = !connected && not_before <= now;
                if first || now >= idle || !work.owed.is_empty() || !work.asks.is_empty() {
                    return Some(work);
                }
            }
            outbox = self.outbox.wait(outbox, LOOK_AGAIN / 4);
        }
    }

    fn due_work(outbox: &Outbox, now: Instant) -> Work {
        let due = |waiting: &&WaitingPost| match waiting.claim {
            Claim::Asked(_) => true,
            Claim::Busy(again) | Claim::Ours(again) => now >= again,
            Claim::Free | Claim::Unchecked => false,
        };
        Work {
            owed: outbox.owed.iter().take(BATCH).cloned().collect(),
            asks: outbox
                .waiting
                .iter()
                .filter(due)
                .take(BATCH)
                .map(|waiting| (waiting.id, waiting.post.key.clone()))
                .collect(),
        }
    }

    /// Lets every post go that waits for an answer; returns whether there was one.
    fn let_go(&self, outbox: &mut Outbox) -> bool {
        let mut any = false;
        for waiting in &mut outbox.waiting {
            if matches!(waiting.claim, Claim::Asked(_) | Claim::Busy(_)) && !waiting.flying {
                waiting.claim = Claim::Unchecked;
                self.metrics.window_unchecked.inc();
                self.count_activation(waiting);
                any = true;
            }
        }
        any
    }

    fn serve_batch(
        &self,
        connection: &mut Option<RedisConnection>,
        work: &Work,
    ) -> Result<(), RedisTrouble> {
        let open = match connection {
            Some(open) => open,
            None => connection.insert(RedisConnection::open(&self.server)?),
        };
        if work.owed.is_empty() && work.asks.is_empty() {
            return open.call(&mut redis::pipe()).map(drop);
        }
        self.write_owed(open, &work.owed)?;
        let said = self.reserve_keys(open, &work.asks)?;
        self.apply_claims(&work.asks, &said);
        Ok(())
    }

    fn write_owed(
        &self,
        open: &mut RedisConnection,
        owed: &[(u64, Owed)],
    ) -> Result<(), RedisTrouble> {
        if owed.is_empty() {
            return Ok(());
        }
        let now = self.began.elapsed().as_secs();
        let mut commands = redis::pipe();
        let mut commits = Vec::with_capacity(owed.len());
        for (_, owed) in owed {
            let key = redis_key_name(&owed.key);
            let left = owed.until.map_or(0, |until| until.saturating_sub(now));
            if left > 0 {
                commands.cmd("SET").arg(key).arg(SENT).arg("EX").arg(left);
            } else {
                let release = commands.cmd("EVAL").arg(RELEASE).arg(1);
                release.arg(key).arg(&self.lease);
            }
            commits.push(left > 0);
        }
        for (reply, commit) in open.call(&mut commands)?.iter().zip(commits) {
            // Without the right to EVAL a lease lapses by itself.
            if let (Value::ServerError(error), true) = (reply, commit) {
                return Err(refusal(error));
            }
        }
        let mut outbox = self.outbox.lock();
        outbox.owed.retain(|(id, _)| !owed.iter().any(|(paid, _)| paid == id));
        Ok(())
    }

    /// Reserves keys, or renews their leases.
    fn reserve_keys(
        &self,
        open: &mut RedisConnection,
        asks: &[(u64, DedupKey)],
    ) -> Result<Vec<StoreReply>, RedisTrouble> {
        if asks.is_empty() {
            return Ok(Vec::new());
        }
        let seconds = self.lease_time.as_secs().max(1);
        let mut commands = redis::pipe();
        for (_, key) in asks {
            let key = redis_key_name(key);
            let reserve = commands.cmd("SET").arg(&key).arg(&self.lease);
            reserve.arg("EX").arg(seconds).arg("NX");
            commands.cmd("GET").arg(&key);
            commands.cmd("PTTL").arg(&key);
        }
        let replies = open.call(&mut commands)?;
        let said: Result<Vec<StoreReply>, RedisTrouble> =
            replies.chunks(3).map(|three| self.read_claim(three)).collect();
        let said = said?;
        let mut renewals = redis::pipe();
        for ((_, key), said) in asks.iter().zip(&said) {
            if *said == StoreReply::Ours {
                renewals.cmd("EXPIRE").arg(redis_key_name(key)).arg(seconds);
            }
        }
        if !renewals.is_empty() {
            expect_accepted(&open.call(&mut renewals)?)?;
        }
        Ok(said)
    }

    fn read_claim(&self, replies: &[Value]) -> Result<StoreReply, RedisTrouble> {
        expect_accepted(replies)?;
        match replies {
            [Value::Okay, ..] => Ok(StoreReply::Ours),
            [Value::Nil, Value::Nil, _] => Ok(StoreReply::Again),
            [Value::Nil, Value::BulkString(value), Value::Int(left)] => {
                Ok(if value == self.lease.as_bytes() {
                    StoreReply::Ours
                } else if value == SENT {
                    StoreReply::Posted(*left)
                } else {
                    StoreReply::Busy
                })
            }
            _ => Err(RedisTrouble::Nonsense),
        }
    }

    fn apply_claims(&self, asks: &[(u64, DedupKey)], said: &[StoreReply]) {
        let now = Instant::now();
        let mut outbox = self.outbox.lock();
        for ((id, key), said) in asks.iter().zip(said) {
            let Some(at) = outbox.waiting.iter().position(|waiting| waiting.id == *id) else {
                continue;
            };
            let Some(waiting) = outbox.waiting.get_mut(at) else {
                continue;
            };
            match said {
                StoreReply::Ours => {
                    waiting.claim = Claim::Ours(now + self.lease_time / 3);
                    self.count_activation(waiting);
                }
                // In flight already: its end is written in the usual way.
                _ if waiting.flying => waiting.claim = Claim::Unchecked,
                StoreReply::Busy => waiting.claim = Claim::Busy(now + LOOK_AGAIN),
                StoreReply::Again => waiting.claim = Claim::Busy(now),
                StoreReply::Posted(left) => {
                    if !waiting.counted && waiting.post.notice.refused.is_none() {
                        self.metrics.count_skipped(&waiting.post.notice.product);
                    }
                    outbox.waiting.remove(at);
                    // Rounded up: a key that has just been posted must not look free.
                    let left = u64::try_from(*left).unwrap_or_default().div_ceil(1_000);
                    outbox.held.push((key.clone(), left));
                }
            }
        }
    }

    /// Counts an activation once it is known that no other notifier has posted it.
    fn count_activation(&self, waiting: &mut WaitingPost) {
        let notice = &waiting.post.notice;
        if !waiting.counted && notice.refused.is_none() {
            self.metrics.count_activation(&notice.product, &notice.status);
        }
        waiting.counted = true;
    }
}

fn redis_key_name(key: &DedupKey) -> String {
    format!("kmsctl:dedup:{}", key.as_word())
}
