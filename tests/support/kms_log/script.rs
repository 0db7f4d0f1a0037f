//! One connection: the lines that the server's child writes for it, and what they mean.

use super::random::Random;
use super::words::{self, Form, Labels, PRODUCTS, REFUSALS, STATUSES};
use super::{Event, Line, Outcome, Profile, SECOND, What};

/// A machine that asks.
#[derive(Clone, Debug)]
pub struct Client {
    /// Its address without port, as the server prints it.
    pub address: String,
    /// Its ID.
    pub machine: String,
    name: Vec<u8>,
    /// Seconds its clock is ahead; -2 to 2.
    ahead: u64,
    keeps: bool,
}

impl Client {
    /// Makes one up.
    pub fn new(random: &mut Random) -> Self {
        Self {
            address: words::address(random),
            machine: random.guid(),
            name: words::workstation(random),
            ahead: random.below(5),
            keeps: random.chance(0.7),
        }
    }
}

/// A connection being written.
pub struct Script {
    /// The lines so far.
    pub lines: Vec<Line>,
    /// What they mean.
    pub events: Vec<Event>,
    profile: Profile,
    peer: String,
    printed: String,
    number: usize,
    now: u64,
    /// When the server is replaced: nothing is written from then on.
    end: u64,
    asked: bool,
}

impl Script {
    /// Begins with the line that it was accepted.
    pub fn accepted(
        profile: &Profile,
        random: &mut Random,
        at: u64,
        end: u64,
        (peer, printed): (String, String),
        number: usize,
    ) -> Self {
        let mut script = Self {
            lines: Vec::new(),
            events: Vec::new(),
            profile: profile.clone(),
            peer,
            printed,
            number,
            now: at + random.below(30),
            end,
            asked: false,
        };
        let accepted = script.printed.replace("{}", "accepted");
        script.write(accepted.as_bytes());
        script
    }

    /// Writes a line, unless the server is gone; returns whether it did.
    fn write(&mut self, text: &[u8]) -> bool {
        if self.now >= self.end {
            return false;
        }
        let stamp = words::stamp(self.profile.clock_start(self.now), self.now);
        let bytes = [stamp.as_bytes(), text, b"\n"].concat();
        // A name may have brought newlines: one piece a line.
        let micros = self.now;
        self.lines.extend(
            bytes
                .split_inclusive(|byte| *byte == b'\n')
                .map(|bytes| Line { micros, bytes: bytes.to_vec() }),
        );
        true
    }

    /// Lets the time pass that a child needs from line to line.
    fn step(&mut self, random: &mut Random) {
        self.now += if random.chance(0.005) {
            random.between(1_000, 4_000)
        } else {
            random.between(15, 60)
        };
    }

    fn event(&mut self, what: What) {
        self.events.push(Event {
            micros: self.now,
            peer: self.peer.clone(),
            connection: self.number,
            what,
        });
    }

    /// Closes it so many microseconds from now.
    pub fn close_after(&mut self, micros: u64) {
        self.now += micros;
        let closed = self.printed.replace("{}", "closed");
        if self.write(closed.as_bytes()) && !self.asked {
            self.event(What::Probe);
        }
    }

    /// Sends what is no request; the server says so only if it looks like one.
    pub fn garbage(&mut self, random: &mut Random) {
        self.now += random.between(1_000, 300_000);
        if random.chance(0.7) {
            self.asked = self.write(b"Fatal: KMSv7.0 unsupported");
        }
        self.close_after(random.between(100, 2 * SECOND));
    }

    /// Sends so many requests and ends; `crash` is the place among all lines where the child dies.
    pub fn requests(
        &mut self,
        random: &mut Random,
        client: &Client,
        count: u64,
        crash: Option<u64>,
    ) {
        self.now += random.between(50_000, 450_000);
        if self.profile.slow > 0.0 && random.chance(self.profile.slow) {
            self.now += *random.one(&[1, 1, 1, 3]) * SECOND;
        }
        if self.profile.late > 0.0 && random.chance(self.profile.late) {
            self.now += random.below(self.profile.idle.saturating_sub(2)) * SECOND;
        }
        let changes = self.profile.changers > 0.0 && random.chance(self.profile.changers);
        let mut left = crash.unwrap_or(u64::MAX);
        for number in 0..count {
            if number > 0 {
                self.now += random.between(100_000, 500_000);
            }
            let another = (changes && number > 0).then(|| Client::new(random));
            if !self.request(random, another.as_ref().unwrap_or(client), &mut left) {
                self.now += random.between(100, 2_000);
                if crash.is_some() {
                    self.write(b"Warning: Child killed/crashed by SIGSEGV");
                }
                return;
            }
        }
        let pause = if client.keeps {
            self.profile.idle * SECOND + random.below(2_000)
        } else {
            random.between(100_000, 5 * SECOND)
        };
        self.close_after(pause);
    }

    /// Writes one request; false when the child or the server died on it.
    fn request(&mut self, random: &mut Random, client: &Client, left: &mut u64) -> bool {
        let name = if random.chance(self.profile.hostile) {
            words::deception(random, self.profile.start, self.now, &self.peer)
        } else {
            client.name.clone()
        };
        let product = *random.one(&PRODUCTS);
        let status = random.below(7) as usize;
        let verbose = self.profile.form == Form::Verbose;
        let (lines, decisive) = if verbose {
            (self.verbose(random, client, &name, product, status), 5)
        } else {
            (vec![short(&name, product.1)], 0)
        };
        let mut written = 0;
        for line in &lines {
            if *left == 0 || !self.write(line) {
                break;
            }
            *left -= 1;
            written += 1;
            self.step(random);
        }
        let refusal = (self.profile.labels == Labels::New && random.chance(self.profile.refusals))
            .then(|| *random.one(&REFUSALS));
        let last = match refusal {
            Some((code, text)) => format!("{text} (0x{code:08X})"),
            None if verbose => {
                ">>> Sending response, ePID source = randomized at program start".to_owned()
            }
            None => "Sending ePID (randomized at program start): 00000-00000-000-000000-03-1033"
                .to_owned(),
        };
        let whole = written == lines.len() && *left > 0 && self.write(last.as_bytes());
        // The first line alone is no probe and no request either.
        self.asked |= written > 0;
        if whole || written > decisive {
            let outcome = match refusal {
                Some((code, _)) if whole => Outcome::Refused(code),
                _ if whole => Outcome::Answered,
                _ => Outcome::Unanswered,
            };
            self.note_request(client, &name, product, status, outcome, written);
        }
        if whole && refusal.is_none() && verbose {
            self.answer(random, client);
        }
        *left = left.saturating_sub(1);
        whole
    }

    fn note_request(
        &mut self,
        client: &Client,
        name: &[u8],
        product: (&str, &str, &str),
        status: usize,
        outcome: Outcome,
        written: usize,
    ) {
        let verbose = self.profile.form == Form::Verbose;
        // A request that was cut short says what it had said by then.
        let said = |place: usize, text: &str| {
            if verbose && written > place { text.to_owned() } else { String::new() }
        };
        let first = name.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let first = String::from_utf8_lossy(first).into_owned();
        let what = What::Request {
            outcome,
            product_id: said(6, product.0),
            // Of the short form's one line, what stands behind a newline in the name is lost.
            product: if verbose {
                said(6, product.1)
            } else if name.contains(&b'\n') {
                String::new()
            } else {
                product.1.to_owned()
            },
            machine: said(8, &client.machine),
            workstation: if verbose { said(11, &first) } else { first },
            status: said(3, STATUSES[status]),
        };
        self.event(what);
    }

    fn verbose(
        &self,
        random: &mut Random,
        client: &Client,
        name: &[u8],
        (id, product, application): (&str, &str, &str),
        status: usize,
    ) -> Vec<Vec<u8>> {
        let old = self.profile.labels == Labels::Old;
        let application_id = if application == "Windows" {
            "55c92734-d682-4d71-983e-d6ec3f16059f"
        } else {
            "0ff1ce15-a989-479d-af46-f275c6370663"
        };
        let field = |label: &str, value: &str| format!("{label:<32}: {value}").into_bytes();
        vec![
            b"<<< Incoming KMS request".to_vec(),
            field("Protocol version", "6.0"),
            field("Client is a virtual machine", if random.chance(0.3) { "Yes" } else { "No" }),
            field("Licensing status", &format!("{status} ({})", STATUSES[status])),
            field("Remaining time (0 = forever)", &format!("{} minutes", random.below(259_200))),
            field("Application ID", &format!("{application_id} ({application})")),
            field(
                if old { "Activation ID (Product)" } else { "SKU ID (aka Activation ID)" },
                &format!("{id} ({product})"),
            ),
            field(
                if old { "Key Management Service ID" } else { "KMS ID (aka KMS counted ID)" },
                "58e2134f-8e11-4d17-9cb2-91069c151148 (Windows 10 VL)",
            ),
            field("Client machine ID", &client.machine),
            field("Previous client machine ID", "00000000-0000-0000-0000-000000000000"),
            field("Client request timestamp (UTC)", &self.client_clock(client)),
            [&field("Workstation name", ""), name].concat(),
            field("N count policy (minimum clients)", "25"),
        ]
    }

    fn client_clock(&self, client: &Client) -> String {
        words::clock(self.profile.start - 2, self.now + client.ahead * SECOND)
    }

    fn answer(&mut self, random: &mut Random, client: &Client) {
        let clock = self.client_clock(client);
        for (label, value) in [
            ("Protocol version", "6.0"),
            ("KMS host extended PID", "00000-00000-000-000000-03-1033-9600.0000-0012026"),
            ("KMS host Hardware ID", "0123456789ABCDEF"),
            ("Client machine ID", &client.machine),
            ("Client request timestamp (UTC)", &clock),
            ("KMS host current active clients", "50"),
            ("Renewal interval policy", "10080"),
            ("Activation interval policy", "120"),
        ] {
            self.step(random);
            self.write(format!("{label:<32}: {value}").as_bytes());
        }
    }
}

fn short(name: &[u8], product: &str) -> Vec<u8> {
    [b"KMS v6.0 request from ", name, b" for ", product.as_bytes()].concat()
}
