//! Writes logs of a KMS server (vlmcsd) that never ran, with the truth beside them: seeded, so that a failure can
//! be had again. Uses nothing but the standard library and can be put into any test or bench by its path.
//!
//! The form of every line follows the server's source (Wind4's vlmcsd and its forks). What is assumed, because no
//! source says it: between `accepted` and the first request of a connection pass 50–450 ms, evenly spread and the
//! same for everybody; lines of one request follow each other after 15–60 µs, one in two hundred after 1–4 ms; a
//! tenth of the connections bring another request 0.1–0.5 s later; seven in ten clients keep quiet until the
//! server's idle time-out of 30 s, the others hang up 0.1–5 s after their answer; a probe lasts less than 10 ms.

#![allow(
    dead_code,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::indexing_slicing,
    reason = "each user takes its own part; the numbers are small and a wrong index must stop the test"
)]

mod profile;
mod random;
mod script;
mod words;

use std::collections::HashSet;

pub use profile::Profile;
pub use random::Random;
use script::{Client, Script};
#[allow(unused_imports, reason = "each user takes its own part")]
pub use words::{Form, Labels, PRODUCTS};

/// The address of a crowd.
const CROWDED: &str = "198.18.0.1";

/// Microseconds in a second.
const SECOND: u64 = 1_000_000;

/// One line with its newline, unless the log was cut there.
#[derive(Clone, Debug)]
pub struct Line {
    /// When it was written, microseconds after the log's begin.
    pub micros: u64,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered.
    Answered,
    /// It was refused with this code.
    Refused(u32),
    /// The connection or the server ended first.
    Unanswered,
}

/// What happened on a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// It came and went without a request.
    Probe,
    /// A request. What the short form does not say is empty.
    Request {
        /// What became of it.
        outcome: Outcome,
        /// The product's GUID.
        product_id: String,
        /// The product's name as printed, `Unknown` included.
        product: String,
        /// The machine ID.
        machine: String,
        /// The workstation name up to its first newline, decoded lossily.
        workstation: String,
        /// The status' word.
        status: String,
    },
}

/// One thing that truly happened.
#[derive(Clone, Debug)]
pub struct Event {
    /// When the line that decides it was written, microseconds after the log's begin.
    pub micros: u64,
    /// `address:port`, scope id dropped and a mapped IPv4 address unmapped.
    pub peer: String,
    /// Which of the log's connections.
    pub connection: usize,
    /// What.
    pub what: What,
}

/// A log and its truth.
#[derive(Clone, Debug, Default)]
pub struct Simulated {
    /// The lines in the order of the file.
    pub lines: Vec<Line>,
    /// What happened, in the order of time.
    pub events: Vec<Event>,
    /// When each connection was accepted, microseconds after the log's begin, and whose it is.
    pub accepted: Vec<(u64, String)>,
}

impl Simulated {
    /// Returns the file.
    pub fn bytes(&self) -> Vec<u8> {
        self.lines.iter().map(|line| line.bytes.as_slice()).collect::<Vec<_>>().concat()
    }
}

/// A log being made.
struct Simulation {
    profile: Profile,
    random: Random,
    clients: Vec<Client>,
    taken: HashSet<String>,
    made: Simulated,
}

impl Simulation {
    fn new(profile: Profile, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut clients: Vec<Client> =
            (0..profile.machines).map(|_| Client::new(&mut random)).collect();
        let alike = profile.shared > 0.0 || profile.clones > 0.0;
        for index in (1..clients.len()).filter(|_| alike) {
            let other = clients[random.below(index as u64) as usize].clone();
            if random.chance(profile.shared) {
                clients[index].address = other.address;
            } else if random.chance(profile.clones) {
                clients[index].machine = other.machine;
            }
        }
        for client in &mut clients {
            if profile.crowd > 0.0 && random.chance(profile.crowd / 4.0) {
                CROWDED.clone_into(&mut client.address);
            }
        }
        Self { profile, random, clients, taken: HashSet::new(), made: Simulated::default() }
    }

    fn run(mut self) -> Simulated {
        self.started(0);
        self.probes();
        self.bursts();
        self.many(self.profile.scanners, |this, at| {
            let peer = this.stranger();
            this.probe(at, &peer, false);
        });
        self.many(self.profile.holders, |this, at| {
            let peer = this.stranger();
            this.probe(at, &peer, true);
        });
        self.many(self.profile.garbage, Self::garbage);
        self.many(self.profile.activations, Self::activation);
        self.many(self.profile.thieves, |this, at| {
            let mut client = this.random.one(&this.clients).clone();
            let own = ["198.18.0.6", "198.18.0.7", CROWDED];
            (*this.random.one(&own)).clone_into(&mut client.address);
            this.visit(at, client);
        });
        self.many(self.profile.noise, Self::noise);
        let (restarts, seconds) = (self.profile.restarts, self.profile.seconds);
        let mut at = restarts;
        while restarts > 0 && at < seconds {
            self.started(at * SECOND);
            at += restarts;
        }
        // Stable: lines of the same microsecond stay in the order in which they were made.
        self.made.lines.sort_by_key(|line| line.micros);
        self.made.events.sort_by_key(|event| event.micros);
        let begin = self.profile.headless * SECOND;
        self.made.lines.retain(|line| line.micros >= begin);
        self.made.events.retain(|event| event.micros >= begin);
        if self.profile.cut
            && let Some(last) = self.made.lines.last_mut()
        {
            last.bytes = b"2026-05-10 23:59:59: Lis".to_vec();
        }
        self.made
    }

    /// Calls for each arrival of a kind.
    fn many(&mut self, per_minute: f64, mut each: impl FnMut(&mut Self, u64)) {
        if per_minute <= 0.0 {
            return;
        }
        let mut at = self.random.wait(per_minute);
        while at < self.profile.seconds * SECOND {
            each(self, at);
            at += self.random.wait(per_minute);
        }
    }

    /// Returns when a server that runs at this time is replaced.
    fn replaced(&self, at: u64) -> u64 {
        match self.profile.restarts * SECOND {
            0 => u64::MAX,
            every => (at / every + 1) * every,
        }
    }

    /// Begins a connection; `None` where the server is not up.
    fn accept(&mut self, at: u64, address: &str) -> Option<Script> {
        let end = self.replaced(at);
        let away = self.profile.restarts > 0
            && at % (self.profile.restarts * SECOND) < SECOND / 2
            && at > SECOND;
        // A port comes back only when the address has used nearly all of them, which takes probes days.
        let mut peer = words::peer(address, self.random.between(1_024, 65_536));
        for _ in 0..64 {
            if self.taken.insert(peer.0.clone()) {
                break;
            }
            peer = words::peer(address, self.random.between(1_024, 65_536));
        }
        if away {
            return None;
        }
        self.made.accepted.push((at, peer.0.clone()));
        Some(Script::accepted(
            &self.profile,
            &mut self.random,
            at,
            end,
            peer,
            self.made.accepted.len() - 1,
        ))
    }

    fn finish(&mut self, script: Script) {
        self.made.lines.extend(script.lines);
        self.made.events.extend(script.events);
    }

    fn stranger(&mut self) -> String {
        if self.profile.crowd > 0.0 && self.random.chance(self.profile.crowd) {
            return CROWDED.to_owned();
        }
        words::address(&mut self.random)
    }

    fn probe(&mut self, at: u64, address: &str, held: bool) {
        let life = if held {
            self.random.between(200_000, self.profile.idle * SECOND / 3)
        } else if self.random.chance(0.02) {
            self.random.between(1_000, 10_000)
        } else {
            self.random.between(5, 1_000)
        };
        if let Some(mut script) = self.accept(at, address) {
            script.close_after(life);
            self.finish(script);
        }
    }

    fn probes(&mut self) {
        let (seconds, monitor) = (self.profile.seconds, self.profile.monitor);
        let every = |period: u64| {
            (0..).map(move |n| n * period).take_while(move |at| period > 0 && *at < seconds)
        };
        let kubelet = u64::from(self.profile.kubelet);
        for (period, phase) in [(5 * kubelet, 1_781_336), (30 * kubelet, 3_699_135)] {
            for at in every(period) {
                self.probe(at * SECOND + phase, "10.0.20.102", false);
            }
        }
        for at in every(monitor) {
            self.probe(at * SECOND + 7_113_000, "10.10.107.224", false);
        }
    }

    fn bursts(&mut self) {
        let [every, length, rate] = self.profile.bursts;
        let mut begin = every / 2;
        while every > 0 && begin < self.profile.seconds {
            for number in 0..length * rate {
                let at = begin * SECOND + number * SECOND / rate + self.random.below(3_000);
                let address = self.stranger();
                let held = self.random.chance(0.01);
                self.probe(at, &address, held);
            }
            begin += every;
        }
    }

    fn garbage(&mut self, at: u64) {
        let address = self.stranger();
        if let Some(mut script) = self.accept(at, &address) {
            script.garbage(&mut self.random);
            self.finish(script);
        }
    }

    fn activation(&mut self, at: u64) {
        let mut client = if self.random.chance(self.profile.strangers) || self.clients.is_empty() {
            Client::new(&mut self.random)
        } else {
            self.random.one(&self.clients).clone()
        };
        if self.random.chance(self.profile.roaming) {
            client.address = self.stranger();
        }
        self.visit(at, client);
    }

    /// Lets a client connect and ask.
    fn visit(&mut self, at: u64, client: Client) {
        let Some(mut script) = self.accept(at, &client.address.clone()) else {
            return;
        };
        let mut requests = 1;
        while requests < 6
            && self.random.chance(if requests == 1 { self.profile.several } else { 0.3 })
        {
            requests += 1;
        }
        let crash =
            self.random.chance(self.profile.crashes).then(|| self.random.below(14 * requests));
        script.requests(&mut self.random, &client, requests, crash);
        let end = script.lines.last().map_or(at, |line| line.micros);
        self.finish(script);
        if self.profile.hasty > 0.0 && self.random.chance(self.profile.hasty) {
            let again = end + self.random.below(SECOND);
            self.visit(again, client);
        }
    }

    fn noise(&mut self, at: u64) {
        let bytes = words::noise(&mut self.random);
        self.made.lines.push(Line { micros: at, bytes });
    }

    fn started(&mut self, at: u64) {
        let stamp = words::stamp(self.profile.clock_start(at), at);
        let down = format!("{stamp}vlmcsd svn1113, built for tests, was shutdown\n");
        let up = format!(
            "{stamp}Listening on [::]:1688\n{stamp}Listening on 0.0.0.0:1688\n{stamp}vlmcsd svn1113, built for tests, started successfully\n"
        );
        // Half of the servers go without a word.
        let both = if at > 0 && self.random.chance(0.5) { down + &up } else { up };
        for line in both.split_inclusive('\n') {
            self.made.lines.push(Line { micros: at, bytes: line.as_bytes().to_vec() });
        }
    }
}
