//! Which sources caps would have cut: pf's own arithmetic ([`crate::domain::overload`]) over the connections that a KMS
//! server's log holds. Its stamps are whole seconds of another clock than pf's, so that what hangs on one is said.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::net::IpAddr;

use jiff::Timestamp;
use jiff::civil::Date;
use serde::Serialize;

use super::Caps;
use crate::domain::kms_log::{KmsEvent, Log, RequestOutcome};
use crate::domain::notifier::event_log;
use crate::domain::overload::{Generation, RateTracker, may_trip, surely_trips};
use crate::text::word_enum;

/// How long an activation makes a customer, in seconds.
pub const DAY: i64 = event_log::DAY.as_secs();
/// Most connections that are held: a record has 16 bytes.
const MOST: usize = 3_000_000;
/// Seconds for which pf counts a connection that is closed (`tcp.closed`).
const COUNTED_CLOSED: i64 = 90;
/// Seconds between two of pf's purges, and one for the stamps.
const PURGE: i64 = 11;
/// Silence of so many seconds is a gap: probes alone write a line every few.
const GAP: i64 = 900;
const MOST_GAPS: usize = 1_000;
/// Seconds by which a line may be behind the one before it: a child that is not given the processor writes late. More is a
/// clock that was set back.
const LATE: i64 = 10;
/// Bits below a source's number: which clock its connections were opened by.
const CLOCK_BITS: u32 = 8;
/// Seconds of one character of a sparkline, and how many there are before and from the cut on.
const BUCKET: i64 = 300;
const BUCKETS: i64 = 6;
/// Says how to read a sparkline.
pub const SPARKLINE_LEGEND: &str = "TIMELINE: a mark is 5m, the taller the more connections, `.` none: 30m, then `|`, then the mark of the cut and the rest of another 30m.";
const _: () = assert!(BUCKET == 5 * 60 && BUCKETS * BUCKET == 30 * 60);

#[derive(Clone, Copy, Debug)]
struct SeenConnection {
    opened: i64,
    /// The number of the source, and below it that of the clock before or after a step: in order, each clock's stand together.
    source: u32,
    lasted: u32,
}

impl SeenConnection {
    fn source_number(&self) -> u32 {
        self.source >> CLOCK_BITS
    }

    /// Returns when pf counts it no more.
    fn purged_at(&self) -> i64 {
        self.opened + i64::from(self.lasted) + COUNTED_CLOSED
    }
}

#[derive(Debug)]
struct SeenSource {
    address: IpAddr,
    activations: u64,
    customer: bool,
}

/// The connections from outside that a log holds, by source.
#[derive(Debug, Default)]
pub struct SeenConnections {
    sources: Vec<SeenSource>,
    numbers: HashMap<IpAddr, u32>,
    seen: Vec<SeenConnection>,
    /// Who was activated when: the number of the source, and Unix seconds.
    activated: Vec<(u32, u32)>,
    pub inside: u64,
    pub left_out: u64,
    /// The log's first and last stamps, Unix seconds.
    pub span: Option<(i64, i64)>,
    /// Where a log has no line for long, Unix seconds.
    gaps: Vec<(i64, i64)>,
    /// Where a log's stamps step back, Unix seconds before and after.
    steps: Vec<(i64, i64)>,
    /// The ports that the servers said they listen on.
    pub listens_on: BTreeSet<u16>,
}

impl SeenConnections {
    fn number_of(&mut self, address: IpAddr) -> Option<u32> {
        let next = u32::try_from(self.sources.len()).ok()?;
        if next >= 1 << (u32::BITS - CLOCK_BITS) {
            return None;
        }
        Some(*self.numbers.entry(address).or_insert_with(|| {
            self.sources.push(SeenSource { address, activations: 0, customer: false });
            next
        }))
    }

    /// Adds a connection; times are Unix seconds.
    pub fn add_connection(&mut self, address: IpAddr, opened: i64, closed: i64) {
        self.add_by_clock(0, address, opened, closed);
    }

    /// Adds a connection by the clock that was in force: what was opened by different ones is not counted together.
    fn add_by_clock(&mut self, clock: u8, address: IpAddr, opened: i64, closed: i64) {
        if self.seen.len() >= MOST {
            self.left_out += 1;
        } else if let Some(source) = self.number_of(address) {
            let lasted = u32::try_from(closed.saturating_sub(opened)).unwrap_or(0);
            let source = (source << CLOCK_BITS) | u32::from(clock);
            self.seen.push(SeenConnection { opened, source, lasted });
        }
    }

    pub fn count_activation(&mut self, address: IpAddr, at: i64) {
        if self.activated.len() < MOST
            && let (Some(number), Ok(at)) = (self.number_of(address), u32::try_from(at))
        {
            self.activated.push((number, at));
        }
    }

    /// Drops what was opened before a window, and counts its activations; the log's span says how far back it reaches. A customer
    /// is who was activated in it, or in the last day of one that is shorter.
    pub fn keep_window(&mut self, from: i64, end: i64) {
        self.seen.retain(|seen| seen.opened >= from);
        for source in &mut self.sources {
            (source.activations, source.customer) = (0, false);
        }
        for (number, at) in &self.activated {
            if let Some(source) = self.sources.get_mut(*number as usize) {
                let at = i64::from(*at);
                source.activations += u64::from(at >= from);
                source.customer |= at >= from.min(end.saturating_sub(DAY));
            }
        }
    }

    /// Returns where the log has no line for long, between two moments.
    pub fn gaps_between(&self, from: i64, end: i64) -> Vec<(i64, i64)> {
        let newest = self.span.map_or(end, |(_, last)| last);
        let last = (end - newest > GAP).then_some((newest, end));
        let cut = |(begin, until): (i64, i64)| (begin.max(from), until);
        let gaps = self.gaps.iter().copied().chain(last).map(cut);
        gaps.filter(|(begin, until)| until > begin).collect()
    }

    /// Returns where the clock was set back to another time of those from a moment on: from when to when.
    pub fn steps_since(&self, from: i64) -> Vec<(i64, i64)> {
        self.steps.iter().copied().filter(|(before, _)| *before >= from).collect()
    }

    fn source_of(&self, address: IpAddr) -> Option<&SeenSource> {
        self.sources.get(*self.numbers.get(&address)? as usize)
    }

    pub fn activations_of(&self, address: IpAddr) -> u64 {
        self.source_of(address).map_or(0, |source| source.activations)
    }

    pub fn is_customer(&self, address: IpAddr) -> bool {
        self.source_of(address).is_some_and(|source| source.customer)
    }

    /// Counts the connections of an address, once [`preview_caps`] has put them in order.
    pub fn connections_of(&self, address: IpAddr) -> u64 {
        let Some(number) = self.numbers.get(&address) else {
            return 0;
        };
        let first = self.seen.partition_point(|seen| seen.source_number() < *number);
        let after = self.seen.partition_point(|seen| seen.source_number() <= *number);
        (after - first) as u64
    }

    pub fn len(&self) -> usize {
        self.seen.len()
    }

    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }
}

/// Reads a server's log into [`SeenConnections`].
pub struct ConnectionReader<'a> {
    log: Log,
    events: Vec<KmsEvent>,
    is_external: &'a dyn Fn(IpAddr) -> bool,
    into: &'a mut SeenConnections,
    /// The newest stamp of this log.
    newest: Option<i64>,
    /// The newest stamp of a line since the clock was set.
    line_time: i64,
    /// How often the clock was set back.
    clock: u8,
}

impl<'a> ConnectionReader<'a> {
    /// Begins with a log that is read on this day: syslog leaves out the year.
    pub fn new(
        today: Date,
        is_external: &'a dyn Fn(IpAddr) -> bool,
        into: &'a mut SeenConnections,
    ) -> Self {
        let mut log = Log::keeping_ended();
        log.wrapper.read_on(today);
        Self { log, events: Vec::new(), is_external, into, newest: None, line_time: 0, clock: 0 }
    }

    pub fn read_line(&mut self, line: &[u8]) {
        self.log.read_line(line, &mut self.events);
        self.note_clock();
        self.take_over();
    }

    /// Notes where the stamps step back: times before and after do not compare.
    fn note_clock(&mut self) {
        let now = self.log.tally.last_line;
        if self.line_time - now <= LATE {
            self.line_time = self.line_time.max(now);
            return;
        }
        if self.into.steps.len() < MOST_GAPS {
            self.into.steps.push((self.line_time, now));
        }
        self.clock = self.clock.saturating_add(1);
        self.line_time = now;
        self.newest = Some(now);
    }

    fn take_over(&mut self) {
        for connection in self.log.ended.iter_mut().flat_map(|ended| ended.drain(..)) {
            // Where a forged line could stand, only what asked for something is believed.
            if connection.doubtful && connection.requests == 0 {
                continue;
            }
            let (first, last) = self.into.span.unwrap_or((i64::MAX, i64::MIN));
            let (opened, closed) = (connection.opened, connection.active);
            let newest = self.newest.unwrap_or(opened);
            // What ends now and was opened in the future, was opened before the clock was set back.
            let is_earlier = opened - self.log.tally.last_line > LATE;
            let clock = self.clock.saturating_sub(u8::from(is_earlier));
            if !is_earlier && opened - newest > GAP && self.into.gaps.len() < MOST_GAPS {
                self.into.gaps.push((newest, opened));
            }
            self.newest = Some(newest.max(closed));
            self.into.span = Some((first.min(opened), last.max(closed)));
            let address = connection.peer.address;
            if (self.is_external)(address) {
                self.into.add_by_clock(clock, address, opened, closed);
            } else {
                self.into.inside += 1;
            }
        }
        for event in self.events.drain(..) {
            if let KmsEvent::Request(request) = event
                && request.outcome == RequestOutcome::Answered
                && let Some(peer) = request.peer
                && (self.is_external)(peer.address)
            {
                self.into.count_activation(peer.address, request.at);
            }
        }
    }

    /// Ends the log; returns how many lines it had, and how many of them were not understood.
    pub fn finish_log(mut self) -> (u64, u64) {
        self.log.end_open_connections();
        self.take_over();
        self.into.listens_on.extend(&self.log.listens_on);
        (self.log.tally.lines, self.log.tally.unparsed)
    }
}

word_enum! {
pub enum CutBy {
    /// `max-src-conn`.
    MaxSrcConn = "max-src-conn",
    /// `max-src-conn-rate`.
    Rate = "rate",
}
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CutSource {
    pub address: IpAddr,
    pub connections: u64,
    pub activations: u64,
    /// It was activated in the window, or in its last day: no scanner.
    pub customer: bool,
    /// When it would have been cut first.
    pub cut_at: Timestamp,
    pub by: CutBy,
    /// Where within their seconds its connections lie, or pf's next purge, decides whether it is cut.
    pub borderline: bool,
    /// When it would have been released then; null where nothing does, or that is not known.
    pub released_at: Option<Timestamp>,
    pub blocked_seconds: Option<u64>,
    pub cuts: u64,
    pub refused: u64,
    /// Its connections in five minutes each around the cut, which is marked with `|`.
    #[serde(skip)]
    pub sparkline: String,
}

/// What one source's connections come down to.
struct ReplayedSource<'a> {
    /// Those of one clock.
    among: &'a [SeenConnection],
    at: i64,
    by: CutBy,
    /// It is cut wherever within their seconds the connections lie.
    certain: bool,
    /// How often by the stamps as they are; where never, it only could have been.
    cuts: u64,
    refused: u64,
    until: Option<i64>,
}

/// Finds the sources that the caps would have cut, those cut first in front. Without a generation both are tried. `release`
/// says when an entry of a time would have been let go. The connections are put in order.
pub fn preview_caps(
    connections: &mut SeenConnections,
    caps: Caps,
    generation: Option<Generation>,
    release: impl Fn(i64) -> Option<i64>,
) -> Vec<CutSource> {
    connections.seen.sort_unstable_by_key(|seen| (seen.source, seen.opened));
    let mut cuts = Vec::new();
    for own in connections.seen.chunk_by(|one, other| one.source_number() == other.source_number())
    {
        let replay = |generation| replay_clocks(own, caps, generation, &release);
        let mut found = replay(generation.unwrap_or(Generation::Decaying));
        if generation.is_none() {
            let other = replay(Generation::Window);
            let is_certain =
                |one: &Option<ReplayedSource<'_>>| one.as_ref().is_some_and(|one| one.certain);
            let certain = is_certain(&found) && is_certain(&other);
            found = found.or(other).map(|found| ReplayedSource { certain, ..found });
        }
        let (Some(found), Some(first)) = (found, own.first()) else {
            continue;
        };
        let source = connections.sources.get(first.source_number() as usize);
        let (Some(source), Ok(cut_at)) = (source, Timestamp::from_second(found.at)) else {
            continue;
        };
        let released_at = found.until.and_then(|at| Timestamp::from_second(at).ok());
        cuts.push(CutSource {
            address: source.address,
            connections: own.len() as u64,
            activations: source.activations,
            customer: source.customer,
            cut_at,
            by: found.by,
            borderline: !found.certain,
            released_at,
            blocked_seconds: (found.until).and_then(|at| u64::try_from(at - found.at).ok()),
            cuts: found.cuts,
            refused: found.refused,
            sparkline: draw_sparkline(found.among, found.at),
        });
    }
    cuts.sort_by_key(|cut| (cut.cut_at, cut.address));
    cuts
}

/// Replays one source's connections: those before and after a step of the clock each by themselves.
fn replay_clocks<'a>(
    own: &'a [SeenConnection],
    caps: Caps,
    generation: Generation,
    release: &impl Fn(i64) -> Option<i64>,
) -> Option<ReplayedSource<'a>> {
    let by_clock = own.chunk_by(|one, other| one.source == other.source);
    let replayed = by_clock.filter_map(|among| replay_source(among, caps, generation, release));
    replayed.reduce(|first, next| {
        let (cuts, refused) = (first.cuts + next.cuts, first.refused + next.refused);
        let certain = first.certain || next.certain;
        // What is cut by the stamps as they are goes before what only could have been.
        let shown = if first.cuts > 0 || next.cuts == 0 { first } else { next };
        ReplayedSource { certain, cuts, refused, ..shown }
    })
}

/// Replays one source's connections, which are in order.
fn replay_source<'a>(
    own: &'a [SeenConnection],
    caps: Caps,
    generation: Generation,
    release: &impl Fn(i64) -> Option<i64>,
) -> Option<ReplayedSource<'a>> {
    // What is far below both caps is not replayed: most sources of a day are.
    let many = |limit: u32| own.len() > limit as usize;
    if !caps.max_src_conn.is_some_and(many) && !caps.rate.is_some_and(|rate| many(rate.connections))
    {
        return None;
    }
    let seconds = |at: i64| u64::try_from(at).unwrap_or(0);
    let stamps = || own.iter().map(|seen| seconds(seen.opened));
    if let Some(found) = replay_stamps(own, caps, generation, release) {
        let certain = caps.rate.is_some_and(|rate| surely_trips(generation, rate, stamps()))
            || caps.max_src_conn.is_some_and(|limit| first_crowded(own, limit, 1).is_some());
        return Some(ReplayedSource { certain, ..found });
    }
    let fast = caps.rate.and_then(|rate| may_trip(generation, rate, stamps()));
    let fast = fast.and_then(|at| Some((i64::try_from(at).ok()?, CutBy::Rate)));
    let crowded = caps.max_src_conn.and_then(|limit| first_crowded(own, limit, -PURGE));
    let crowded = crowded.map(|at| (at, CutBy::MaxSrcConn));
    let (at, by) = fast.into_iter().chain(crowded).min_by_key(|(at, _)| *at)?;
    let (certain, cuts, refused, until) = (false, 0, 0, None);
    Some(ReplayedSource { among: own, at, by, certain, cuts, refused, until })
}

/// Replays one source's connections by their stamps as they are; whether a second decides is not looked at.
fn replay_stamps<'a>(
    own: &'a [SeenConnection],
    caps: Caps,
    generation: Generation,
    release: &impl Fn(i64) -> Option<i64>,
) -> Option<ReplayedSource<'a>> {
    let begin = || caps.rate.map(|rate| RateTracker::new(generation, rate));
    let (mut tracker, mut held) = (begin(), BinaryHeap::new());
    let mut found: Option<ReplayedSource<'_>> = None;
    let mut blocked: Option<Option<i64>> = None;
    for seen in own {
        let at = seen.opened;
        if let Some(until) = blocked {
            if until.is_none_or(|until| at < until) {
                if let Some(found) = &mut found {
                    found.refused += 1;
                }
                continue;
            }
            (tracker, blocked) = (begin(), None);
            held.clear();
        }
        let seconds = u64::try_from(at).unwrap_or(0);
        let fast = tracker.as_mut().is_some_and(|tracker| tracker.count_connection(seconds));
        let many = caps.max_src_conn.is_some_and(|limit| count_held(&mut held, seen, at) > limit);
        if !fast && !many {
            continue;
        }
        let until = release(at);
        blocked = Some(until);
        if let Some(found) = &mut found {
            found.cuts += 1;
            continue;
        }
        let by = if fast { CutBy::Rate } else { CutBy::MaxSrcConn };
        let (certain, cuts, refused) = (false, 1, 0);
        found = Some(ReplayedSource { among: own, at, by, certain, cuts, refused, until });
    }
    found
}

/// Adds a connection to those that are held, as the purges until a moment have left them, and returns how many there are.
fn count_held(held: &mut BinaryHeap<Reverse<i64>>, seen: &SeenConnection, purged: i64) -> u32 {
    while held.peek().is_some_and(|gone| gone.0 <= purged) {
        held.pop();
    }
    held.push(Reverse(seen.purged_at()));
    u32::try_from(held.len()).unwrap_or(u32::MAX)
}

/// Returns when one source holds more connections than a limit first, if pf's purges are so many seconds `ahead`.
fn first_crowded(own: &[SeenConnection], limit: u32, ahead: i64) -> Option<i64> {
    let mut held = BinaryHeap::new();
    let mut crowds =
        own.iter().filter(|seen| count_held(&mut held, seen, seen.opened + ahead) > limit);
    crowds.next().map(|seen| seen.opened)
}

fn draw_sparkline(own: &[SeenConnection], cut: i64) -> String {
    const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let of = |at: i64| at.div_euclid(BUCKET) - cut.div_euclid(BUCKET) + BUCKETS;
    let width = usize::try_from(2 * BUCKETS).unwrap_or(0);
    let mut counts = vec![0_usize; width];
    for seen in own {
        let bucket = usize::try_from(of(seen.opened)).ok();
        if let Some(count) = bucket.and_then(|bucket| counts.get_mut(bucket)) {
            *count += 1;
        }
    }
    let most = counts.iter().copied().max().unwrap_or(0).max(1);
    let mut line = String::new();
    for (place, count) in counts.iter().enumerate() {
        if place == width / 2 {
            line.push('|');
        }
        let level = (count * LEVELS.len()).div_ceil(most).saturating_sub(1);
        let drawn = LEVELS.get(level).filter(|_| *count > 0);
        line.push(drawn.copied().unwrap_or('.'));
    }
    line
}

/// A source that was in the table; why is not known.
#[derive(Clone, Debug, Serialize)]
pub struct BlockedSource {
    /// The address, or the network with its prefix length.
    pub address: String,
    /// When it came into it first in that time, or last before.
    pub blocked_at: Timestamp,
    /// It was activated: no scanner.
    pub customer: bool,
}

/// Says in a clause whom caps would have blocked: those that trip them by the log, and no others.
pub fn cuts_sentence(cuts: &[CutSource], span: &str) -> String {
    const NAMED: usize = 5;
    let sources = cuts.iter().filter(|cut| cut.cuts > 0);
    let customers = sources.clone().filter(|cut| cut.customer);
    let customers: Vec<String> = customers.map(|cut| cut.address.to_string()).collect();
    let counted = |count: usize, one: &str| match count {
        1 => format!("1 {one}"),
        count => format!("{count} {one}s"),
    };
    let mut text = match sources.count() {
        0 => format!("blocked no source in {span}"),
        all => {
            let scanners = all - customers.len();
            let mut kinds = vec![counted(scanners, "scanner")];
            if !customers.is_empty() {
                let more = if customers.len() > NAMED { ", …" } else { "" };
                let names = customers.get(..NAMED).unwrap_or(&customers).join(", ");
                let count = counted(customers.len(), "customer");
                kinds.push(format!("{count} ({names}{more})"));
                kinds.retain(|kind| kind != "0 scanners");
            }
            format!("blocked {} in {span}: {}", counted(all, "source"), kinds.join(", "))
        }
    };
    let maybe = cuts.iter().filter(|cut| cut.borderline).count();
    if maybe > 0 {
        text.push_str(&format!("; {maybe} borderline"));
    }
    text
}

#[cfg(test)]
mod tests;
