//! The loop: bytes → lines → events → decisions → outbox, with one checkpoint over all of it. Never waits for
//! Slack; a post may be sent only once a checkpoint holds it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::checkpoint::{Checkpoint, CheckpointStore, machine_uptime};
use super::metrics::Metrics;
use super::outbox::{Owed, SharedOutbox};
use super::sender::SenderTrouble;
use super::stdout::Aside;
use super::tail::Position;
use super::tail::{LogLook, Rotation, Tail};
use crate::clock::Clock;
use crate::domain::kms_log::line::LogLines;
use crate::domain::kms_log::products;
use crate::domain::kms_log::wrapper::{SEVERAL_SERVERS, STRANGE_ROW, Unwrapper, Wrapping};
use crate::domain::kms_log::{
    Attribution, KmsEvent, KmsRequest, Log, RequestOutcome, RequestStatus,
};
use crate::domain::notifier::decide::{Decision, DecisionRules};
use crate::domain::notifier::dedup::Dedup;
use crate::domain::notifier::health::{CLOCKS_AGREE, clocks_differ};

/// Time between two looks at the log.
const PAUSE: Duration = Duration::from_millis(100);
/// Time between checkpoints while only the position moves, and before one that failed is tried again.
const QUIET_SAVE: Duration = Duration::from_secs(1);
/// Lines that are not understood, before any that is, of which the log is said to be strange; or one for so long.
const PUZZLING: u64 = 5;
const PUZZLED: Duration = Duration::from_secs(20);
/// By how many seconds more the stamps must be off to be reported again.
const SKEW_CHANGE: i64 = 30 * 60;
/// Seconds over which the stamps of lines are spread, at most, that were written between two looks.
const SPREAD: i64 = 3;
/// How long a clock that had agreed must be seen to be another one: old lines that are appended come once.
const WITNESSED: Duration = Duration::from_secs(2);
/// How long the loss of a generation is not reported again.
const AGAIN: Duration = Duration::from_secs(60);
/// How long ago the last look must have found nothing, for a line to have been written since.
const FRESH: Duration = Duration::from_secs(2);
/// How long what is owed may still be written to a shared window when the notifier is asked to stop.
const PAY: Duration = Duration::from_secs(2);
/// How long the sender may finish when the notifier is asked to stop.
const DRAIN: Duration = Duration::from_secs(8);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Echo {
    No,
    Requests,
    All,
}

pub struct Engine {
    pub tail: Tail,
    pub rules: DecisionRules,
    /// Of what was there before the first look, nothing that happened before this is posted, Unix seconds.
    pub not_before: i64,
    /// By how many seconds the server's stamps are ahead of the clock here, where that is more than a minute.
    pub skew: i64,
    pub dedup: Dedup,
    pub dedup_survives: bool,
    pub log: Log,
    pub outbox: SharedOutbox,
    pub posting: bool,
    /// What a lease of this notifier in a shared window holds.
    pub identity: String,
    /// The log's line at hand began before the checkpoint and is too long.
    pub discarding: bool,
    pub store: CheckpointStore,
    pub metrics: Arc<Metrics>,
    pub clock: Clock,
    pub echo: Echo,
    pub stdout: Aside,
    pub say: Box<dyn Fn(&str) + Send>,
    pub stop: Arc<AtomicBool>,
    /// When the loop began, for a clock that does not step.
    pub began: Instant,
}

/// What the loop remembers between two rounds.
struct Round {
    lines: LogLines,
    events: Vec<KmsEvent>,
    saved: Instant,
    moved: bool,
    urgent: bool,
    reading: SenderTrouble,
    saving: SenderTrouble,
    stamps: SenderTrouble,
    wrapped: SenderTrouble,
    /// By how much the stamps were off when that was reported.
    reported_skew: i64,
    /// By how much they were off as far as that is sure.
    sure_skew: Option<i64>,
    /// By how much they are off lately instead, and since when.
    other_skew: Option<(i64, Instant)>,
    overflow: SenderTrouble,
    /// How many messages the outbox had dropped at the last look.
    dropped: u64,
    /// When the loss of a generation was reported.
    lost: Option<Instant>,
    /// That the checkpoint's file is gone was reported at the start.
    lost_place: bool,
    puzzled: Option<Instant>,
    strange: SenderTrouble,
    /// When the last look found nothing new to read.
    caught_up: Option<Instant>,
    counted: (u64, u64, u64),
}

impl Round {
    /// Returns whether the stamps are off by so much: as before, or for longer than one look.
    fn is_skew_sure(&mut self, skew: i64) -> bool {
        let near = |other: i64| (skew - other).abs() <= CLOCKS_AGREE;
        let sure = self.sure_skew.is_none_or(near)
            || self
                .other_skew
                .is_some_and(|(other, since)| near(other) && since.elapsed() >= WITNESSED);
        if sure {
            self.sure_skew = Some(skew);
            self.other_skew = None;
        } else if !self.other_skew.is_some_and(|(other, _)| near(other)) {
            self.other_skew = Some((skew, Instant::now()));
        }
        sure
    }
}

impl Engine {
    /// Runs until it is asked to stop; then drains the outbox for a few seconds and saves. Returns whether that was
    /// written.
    pub fn run_until_stopped(mut self) -> bool {
        let mut round = Round {
            lines: LogLines::default(),
            events: Vec::new(),
            saved: Instant::now(),
            moved: true,
            urgent: true,
            reading: SenderTrouble::default(),
            saving: SenderTrouble::default(),
            stamps: SenderTrouble::default(),
            wrapped: SenderTrouble::default(),
            reported_skew: self.skew,
            sure_skew: (self.skew != 0).then_some(self.skew),
            other_skew: None,
            overflow: SenderTrouble::default(),
            dropped: self.outbox.lock().dropped,
            lost: None,
            lost_place: self.tail.lost_place(),
            puzzled: None,
            strange: SenderTrouble::default(),
            caught_up: None,
            counted: (self.log.tally.lines, self.log.tally.unparsed, 0),
        };
        if self.discarding {
            round.lines.discard_line();
        }
        while !self.stop.load(Ordering::Relaxed) {
            let busy = self.read_log_piece(&mut round);
            self.settle_endings(&mut round);
            if round.urgent || (round.moved && round.saved.elapsed() >= QUIET_SAVE) {
                self.save_checkpoint(&mut round);
            }
            self.update_gauges(&mut round);
            if !busy {
                let outbox = self.outbox.lock();
                drop(self.outbox.wait(outbox, PAUSE));
            }
        }
        self.drain_outbox(&mut round)
    }

    /// Reads a piece of the log; returns whether there may be more at once.
    fn read_log_piece(&mut self, round: &mut Round) -> bool {
        let stamp = self.log.tally.last_line;
        self.log.wrapper.read_on(self.clock.today());
        let (wrapping, several) = (self.log.wrapper.wrapping, self.log.wrapper.several_sources);
        let (lines, log, events) = (&mut round.lines, &mut self.log, &mut round.events);
        let (mut earliest, mut latest) = (i64::MAX, i64::MIN);
        let looked = self.tail.look_once(|bytes| {
            lines.feed_chunk(bytes, |line| {
                log.read_line(line, events);
                earliest = earliest.min(log.tally.last_line);
                latest = latest.max(log.tally.last_line);
            });
            if log.wrapper.wrapping.is_none() && log.wrapper.unread == 0 {
                log.wrapper.note_unended(bytes);
            }
        });
        let now = self.clock.now().as_second();
        self.metrics.note_beat(now, self.has_log(), looked.is_ok());
        let look = match looked {
            Ok(look) => look,
            Err(error) => {
                let name = self.tail.path().display();
                let complaint = format!("The log {name} cannot be read: {error}.");
                self.report_once(&mut round.reading, &complaint);
                return false;
            }
        };
        self.report_presence(&mut round.reading, look);
        if let Some(rotation) = look.rotation {
            if rotation != Rotation::Copied {
                round.lines.reset();
            }
            if !matches!(rotation, Rotation::Copied) {
                self.log.wrapper = Unwrapper::default();
            }
            if rotation == Rotation::Missing {
                self.log.note_missing_part();
                self.report_loss(round);
            }
            let kind = match rotation {
                Rotation::Renamed => Some("renamed"),
                Rotation::Truncated | Rotation::Copied => Some("truncated"),
                Rotation::Missing => Some("missing"),
                Rotation::CopyRead => None,
            };
            if let Some(kind) = kind {
                self.metrics.count_rotation(kind);
            }
        }
        if !look.first_read
            && self.log.tally.last_line != stamp
            && self.log.wrapper.strange_row == 0
        {
            self.compare_clocks(round, now, latest.saturating_sub(earliest) <= SPREAD);
        }
        if self.log.wrapper.wrapping != wrapping {
            self.report_wrapping(round);
        }
        if self.log.wrapper.several_sources && !several {
            (self.say)(SEVERAL_SERVERS);
        }
        self.report_foreign_log(round);
        round.caught_up = (look == LogLook::default()).then(Instant::now);
        round.moved |= look.bytes > 0 || look.rotation.is_some();
        let events = std::mem::take(&mut round.events);
        for event in &events {
            round.urgent |= self.decide_event(event, look.first_read);
        }
        self.report_overflow(round);
        look.bytes > 0 || look.rotation.is_some()
    }

    /// Reports once what is wrapped around the server's lines.
    fn report_wrapping(&self, round: &mut Round) {
        let wrapping = self.log.wrapper.wrapping;
        if let Some(wrapping) = wrapping.filter(|wrapping| *wrapping != Wrapping::Bare)
            && round.wrapped.is_news(wrapping.as_words())
        {
            (self.say)(&format!(
                "Each line of the log carries {}; it is taken off.",
                wrapping.as_words()
            ));
        }
    }

    /// Reports once that the log is none of this server's: lines come, and none is understood.
    fn report_foreign_log(&self, round: &mut Round) {
        let name = self.tail.path().display();
        let row = self.log.wrapper.strange_row;
        if self.log.wrapper.wrapping.is_some() && row >= STRANGE_ROW {
            let seems = self.log.wrapper.seems_to_be();
            let seems =
                seems.map_or_else(String::new, |seems| format!(" They seem to be {seems}."));
            if round.strange.is_news("strange") {
                (self.say)(&format!(
                    "None of the last {row} lines of the log {name} is the KMS server's.{seems}"
                ));
            }
            self.metrics.understood.set(0);
            return;
        }
        if self.log.wrapper.wrapping.is_some() {
            // A few that are not known are no reason to take back what was reported.
            if row > 0 {
                return;
            }
            round.puzzled = None;
            self.metrics.understood.set(1);
            if round.strange.end_trouble() {
                (self.say)(&format!("The lines of the log {name} are understood now."));
            }
            return;
        }
        let unread = self.log.wrapper.unread;
        if unread == 0 && round.lines.pending_bytes() == 0 && !round.lines.is_discarding() {
            return;
        }
        // One line may be half of one: the log was cut.
        let since = *round.puzzled.get_or_insert_with(Instant::now);
        let seems = self.log.wrapper.seems_to_be();
        if unread >= PUZZLING || unread > 0 && seems.is_some() || since.elapsed() >= PUZZLED {
            let seems = seems.map_or_else(String::new, |seems| format!(" It seems to be {seems}."));
            let complaint = format!("No line of the log {name} is the KMS server's.{seems}");
            if round.strange.is_news("strange") {
                (self.say)(&complaint);
            }
        }
        self.metrics.understood.set(i64::from(round.strange.is_over()));
    }

    /// Compares the stamp of a line that was just written with the clock here. A line that may have waited says nothing,
    /// nor do lines of another day (`at_once` says that they are not).
    fn compare_clocks(&mut self, round: &mut Round, now: i64, at_once: bool) {
        let fresh = round.caught_up.is_some_and(|then| then.elapsed() < FRESH);
        let skew = self.log.tally.last_line - now;
        if !fresh || !at_once || !round.is_skew_sure(skew) {
            return;
        }
        self.metrics.clock_skew.set(skew);
        if skew.abs() <= CLOCKS_AGREE {
            self.skew = 0;
            round.reported_skew = 0;
            if round.stamps.end_trouble() {
                (self.say)("The server's clock agrees with this one again.");
            }
            return;
        }
        self.skew = skew;
        let changed = (skew - round.reported_skew).abs() > SKEW_CHANGE;
        if round.stamps.is_news(if skew < 0 { "behind" } else { "ahead" }) || changed {
            round.reported_skew = skew;
            (self.say)(&clocks_differ(skew));
        }
    }

    /// Decides about one event; returns whether the outbox changed.
    fn decide_event(&mut self, event: &KmsEvent, first_read: bool) -> bool {
        let not_before = first_read.then_some(self.not_before);
        let (decision, post) = match event {
            KmsEvent::Request(request) => {
                let now = self.began.elapsed().as_secs();
                let decided = if self.posting {
                    self.rules.decide_request(request, not_before, &mut self.dedup, now)
                } else {
                    (DecisionRules::decide_unposted(request, not_before), None)
                };
                let deferred = decided.1.is_some() && self.outbox.lock().shared;
                self.count_request(request, decided.0, deferred);
                decided
            }
            KmsEvent::Probe { peer, .. } => {
                self.metrics.count_probe(self.rules.source_of(peer.address));
                (Decision::Count, None)
            }
            KmsEvent::Anomaly { kind, .. } => {
                self.metrics.count_anomaly(*kind);
                (Decision::Count, None)
            }
        };
        let probe = matches!(event, KmsEvent::Probe { .. });
        if self.echo == Echo::All || (self.echo == Echo::Requests && !probe) {
            self.print_event(event, decision);
        }
        let Some(mut post) = post else {
            return false;
        };
        post.notice.at = self.time_of(post.notice.at);
        let mut outbox = self.outbox.lock();
        if let Some(gone) = outbox.push(post, Instant::now()) {
            let notice = &gone.post.notice;
            if !gone.counted && notice.refused.is_none() {
                self.metrics.count_activation(&notice.product, &notice.status);
            }
            self.dedup.release_key(&gone.post.key);
            outbox.owe_window(Owed { key: gone.post.key, until: None });
            self.metrics.count_post("dropped");
            self.metrics.last_dropped.set(self.clock.now().as_second());
        }
        true
    }

    /// Counts a request; one whose decision is a shared window's is counted as activation or duplicate later.
    fn count_request(&self, request: &KmsRequest, decision: Decision, deferred: bool) {
        let product = products::display_product(request);
        let status = request.status.map_or("unknown", RequestStatus::as_str);
        self.metrics.count_request(match request.outcome {
            RequestOutcome::Answered => "answered",
            RequestOutcome::Refused(_) => "refused",
            RequestOutcome::Unanswered => "unanswered",
        });
        if request.attribution == Attribution::Ambiguous {
            self.metrics.ambiguous.inc();
        }
        if matches!(request.outcome, RequestOutcome::Refused(_)) {
            return;
        }
        // What a clock that was ahead has left there is no reason to keep it.
        let now = self.clock.now().as_second();
        let at = self.time_of(request.at);
        let before = self.metrics.last_activation.get();
        let before = if before > now { 0 } else { before };
        self.metrics.last_activation.set(at.max(before));
        match decision {
            _ if deferred => {}
            Decision::Duplicate => self.metrics.count_skipped(product),
            _ => self.metrics.count_activation(product, status),
        }
    }

    /// Returns when a line was written, by its stamp and the clock here: never later than now, which a server's clock that is
    /// ahead would say before it is known to be.
    fn time_of(&self, stamp: i64) -> i64 {
        (stamp - self.skew).min(self.clock.now().as_second())
    }

    fn print_event(&self, event: &KmsEvent, decision: Decision) {
        let mut decided = self.rules.describe_event(event, decision);
        decided.at = self.time_of(decided.at);
        let Ok(line) = serde_json::to_string(&decided) else {
            return;
        };
        // A stdout without a reader is no reason to stop posting.
        if !self.stdout.add_line(&crate::text::escape_json(line)) {
            self.metrics.echo_dropped.inc();
        }
    }

    /// Takes note of what became of the last message, and of what another notifier has posted.
    fn settle_endings(&mut self, round: &mut Round) {
        let now = self.began.elapsed().as_secs();
        let mut outbox = self.outbox.lock();
        for (key, left) in std::mem::take(&mut outbox.held) {
            self.dedup.hold_key(&key, left, now);
            round.urgent = true;
        }
        let Some(ended) = outbox.ended.clone() else {
            return;
        };
        for post in outbox.remove(&ended) {
            let until = ended.sent.then(|| now + self.dedup.window_seconds());
            if ended.sent {
                self.dedup.commit_key(&post.key, now);
            } else {
                self.dedup.release_key(&post.key);
            }
            outbox.owe_window(Owed { key: post.key, until });
        }
        drop(outbox);
        self.metrics.note_ending(ended.sent, self.clock.now().as_second());
        // Saved before the sender may go on: a kill repeats one message at most.
        self.save_checkpoint(round);
        self.outbox.lock().ended = None;
        self.outbox.wake();
    }

    /// Writes a checkpoint; returns whether that went well.
    fn save_checkpoint(&mut self, round: &mut Round) -> bool {
        // What was echoed is with its reader before the position moves beyond it: a kill doubles lines and loses none.
        if self.echo != Echo::No {
            self.stdout.catch_up();
        }
        let checkpoint = self.make_checkpoint(round);
        let saved = self.store.save(&checkpoint);
        if let Err(error) = &saved {
            self.metrics.failed_checkpoints.inc();
            let complaint = format!(
                "The checkpoint cannot be written: {error}. Messages are sent all the same; a crash may repeat them."
            );
            self.report_once(&mut round.saving, &complaint);
        } else if round.saving.end_trouble() {
            (self.say)("The checkpoint is written again.");
        }
        round.saved = Instant::now();
        round.moved = saved.is_err();
        round.urgent = false;
        let mut outbox = self.outbox.lock();
        // Also after a failure: posted twice is better than not at all.
        for waiting in &mut outbox.waiting {
            waiting.durable = true;
        }
        drop(outbox);
        self.outbox.wake();
        saved.is_ok()
    }

    fn make_checkpoint(&self, round: &Round) -> Checkpoint {
        let now = self.began.elapsed().as_secs();
        let outbox = self.outbox.lock();
        let posts = outbox.waiting.iter().map(|waiting| waiting.post.clone());
        let owed = outbox.owed.iter().map(|(_, owed)| Owed {
            key: owed.key.clone(),
            until: owed.until.map(|until| until.saturating_sub(now)),
        });
        Checkpoint {
            position: self.tail.position().map(|position| Position {
                unfinished: round.lines.pending_bytes() as u64,
                ..position.clone()
            }),
            seen: self.tail.read_generations(),
            discarding: round.lines.is_discarding(),
            identity: self.identity.clone(),
            uptime: machine_uptime(),
            skew: self.skew,
            echo: if self.echo == Echo::No { String::new() } else { self.stdout.unwritten() },
            saved_at: self.clock.now().as_second(),
            already: self.tail.left_of_first_read().to_vec(),
            not_before: self.not_before,
            log: self.log.save_log(),
            window: if self.dedup_survives { self.dedup.remaining_keys(now) } else { Vec::new() },
            dropped: outbox.dropped,
            owed: owed.collect(),
            outbox: posts.collect(),
        }
    }

    fn update_gauges(&self, round: &mut Round) {
        let tally = self.log.tally;
        let unparsed = tally.unparsed + round.lines.giants;
        self.metrics.lines.inc_by(tally.lines.saturating_sub(round.counted.0));
        self.metrics.unparsed.inc_by(unparsed.saturating_sub(round.counted.1));
        self.metrics.evicted.inc_by(self.dedup.evicted.saturating_sub(round.counted.2));
        round.counted = (tally.lines, unparsed, self.dedup.evicted);
        self.metrics.last_line.set(tally.last_line - self.skew);
        self.metrics.open.set(i64::try_from(self.log.open_connections()).unwrap_or_default());
        self.metrics.lag.set(i64::try_from(self.tail.bytes_behind()).unwrap_or(i64::MAX));
        self.metrics.queue.set(i64::try_from(self.outbox.lock().waiting.len()).unwrap_or_default());
    }

    /// Gives the sender a few seconds for what waits, and a shared window a moment, then saves for the last time; returns
    /// whether that went well.
    fn drain_outbox(&mut self, round: &mut Round) -> bool {
        self.save_checkpoint(round);
        let end = Instant::now() + DRAIN;
        loop {
            self.settle_endings(round);
            let outbox = self.outbox.lock();
            if outbox.waiting.is_empty() || Instant::now() >= end {
                break;
            }
            drop(self.outbox.wait(outbox, PAUSE));
        }
        let end = Instant::now() + PAY;
        self.outbox.lock().stop = true;
        self.outbox.wake();
        loop {
            let outbox = self.outbox.lock();
            let away = self.metrics.window_up.get() == 0;
            if outbox.owed.is_empty() || away || Instant::now() >= end {
                break;
            }
            drop(self.outbox.wait(outbox, PAUSE));
        }
        self.save_checkpoint(round)
    }

    /// Returns whether the log is open and under its name.
    fn has_log(&self) -> bool {
        self.tail.is_open() && self.tail.has_name()
    }

    /// Reports that a part of the log was gone before it was read, once a minute at most.
    fn report_loss(&self, round: &mut Round) {
        // At the start that is reported already.
        let known = std::mem::take(&mut round.lost_place);
        if !known && round.lost.is_none_or(|then| then.elapsed() > AGAIN) {
            round.lost = Some(Instant::now());
            (self.say)(&format!(
                "A generation of the log {} was gone before it was read to its end: what else was in it is lost. \
                 Let logrotate keep one uncompressed (`delaycompress`) beside the log.",
                self.tail.path().display()
            ));
        }
    }

    /// Reports once that the outbox has no room, and once that it has.
    fn report_overflow(&self, round: &mut Round) {
        let (dropped, waiting) = {
            let outbox = self.outbox.lock();
            (outbox.dropped, outbox.waiting.len())
        };
        if dropped > round.dropped {
            self.report_once(
                &mut round.overflow,
                &format!(
                    "The outbox is full ({waiting} messages wait): the oldest are dropped, and counted in the next message."
                ),
            );
        } else if dropped == 0 {
            round.overflow.end_trouble();
        }
        round.dropped = dropped;
    }

    /// Reports once that there is no log, and once that there is.
    fn report_presence(&self, reading: &mut SenderTrouble, look: LogLook) {
        let name = self.tail.path().display();
        if self.has_log() {
            if reading.end_trouble() {
                (self.say)(&format!("The log {name} is there now and is read."));
            }
        } else if look == LogLook::default() {
            let words = if self.tail.position().is_some_and(|position| !position.is_nowhere()) {
                "is gone; waiting for it"
            } else {
                "does not exist yet; waiting"
            };
            self.report_once(reading, &format!("The log {name} {words}."));
        }
    }

    /// Says something once, until the trouble is over.
    fn report_once(&self, trouble: &mut SenderTrouble, complaint: &str) {
        if trouble.is_news(complaint) {
            (self.say)(complaint);
        }
    }
}
