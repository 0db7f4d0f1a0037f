//! What arrives of one command, in bounded memory; states are parsed as they come.

use std::time::Duration;

use crate::domain::connections;
use crate::domain::pf::Parsed;
use crate::domain::pf::state::{State, StateParser};
use crate::domain::service::Service;
use crate::pfsense::agent;
use crate::ssh::shell::FramedStream;

use super::Question;

/// More states of the service than this are not counted at all: a part of them would be a wrong number.
const MOST_STATES: usize = 100_000;
/// Most bytes of states that are taken apart; those of the service alone cross the wire, 250 bytes each.
const MOST_STATE_BYTES: usize = 48 << 20;
/// Most bytes kept of a list of rules; 10,000 rules have about 6 MiB.
const MOST_RULE_BYTES: usize = 8 << 20;
/// Most bytes kept of what cron runs.
const MOST_CRON_BYTES: usize = 1 << 20;
/// Most bytes kept of a list of addresses; a table of 400,000 has about 25 MiB.
const MOST_LIST_BYTES: usize = 32 << 20;
/// Most bytes kept of any other answer, which is a few lines as a rule.
const MOST_BYTES: usize = 1 << 20;
/// Most bytes kept of all answers of a round together: each may be long, but not all of them.
pub(super) const MOST_KEPT: usize = 64 << 20;
/// Most bytes kept of any command's stderr.
const MOST_TALK: usize = 16 << 10;
/// Where an answer is longer than this, the rest is not waited for: it may have no end.
pub(super) const MOST_ARRIVED: usize = 64 << 20;

/// What arrived of one command, bounded; states are parsed as they come.
pub(super) struct Gathered {
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
    /// Its exit status; `None` until it has ended.
    pub(super) status: Option<i32>,
    pub(super) cut: bool,
    /// How long its end was waited for, in vain.
    pub(super) given_up_after: Option<Duration>,
    /// The shell ended with it, or it was none of ours.
    pub(super) broke: bool,
    /// A reload of the ruleset changed it while it was read, again and again.
    pub(super) raced: bool,
    /// How many bytes arrived on both streams.
    pub(super) arrived: usize,
    /// How many bytes of stdout are kept, or of states taken apart.
    most: usize,
    states: Option<Gathering>,
}

struct Gathering {
    parser: StateParser,
    service: Service,
    states: Vec<State>,
    cut: bool,
}

impl Gathered {
    /// What arrives of a command that changes something: each address that it changed, for one.
    pub(super) fn of_change() -> Self {
        Self { most: MOST_LIST_BYTES, ..Self::without_filter() }
    }

    fn without_filter() -> Self {
        Self {
            stdout: Vec::new(),
            stderr: Vec::new(),
            status: None,
            cut: false,
            given_up_after: None,
            broke: false,
            raced: false,
            arrived: 0,
            most: MOST_BYTES,
            states: None,
        }
    }

    pub(super) fn new(question: &Question, service: &Service) -> Self {
        let plain = Self::without_filter();
        match question.itself() {
            Question::States(_) => Self {
                most: MOST_STATE_BYTES,
                states: Some(Gathering {
                    parser: StateParser::new(),
                    service: service.clone(),
                    states: Vec::new(),
                    cut: false,
                }),
                ..plain
            },
            Question::Rules
            | Question::Translation
            | Question::UpnpRules
            | Question::UpnpTranslation
            | Question::Sources => Self { most: MOST_RULE_BYTES, ..plain },
            Question::Crontab | Question::CronFolder => Self { most: MOST_CRON_BYTES, ..plain },
            Question::Table | Question::Test(_) => Self { most: MOST_LIST_BYTES, ..plain },
            Question::Configured => Self { most: agent::LONGEST_ANSWER, ..plain },
            _ => plain,
        }
    }

    /// Returns the bound that was exceeded, in MiB.
    pub(super) fn bound_in_mebibytes(&self) -> usize {
        self.most >> 20
    }

    /// Takes what arrived; `left` is how much of it may be kept for the other answers' sake.
    pub(super) fn take_bytes(&mut self, stream: FramedStream, bytes: &[u8], left: usize) {
        let before = self.arrived;
        self.arrived = before.saturating_add(bytes.len());
        match (stream, &mut self.states) {
            (FramedStream::Stderr, _) => {
                let room = MOST_TALK.saturating_sub(self.stderr.len());
                self.stderr.extend(bytes.iter().take(room));
            }
            (FramedStream::Stdout, None) => {
                let most = self.most.min(left);
                let room = most.saturating_sub(self.stdout.len());
                if bytes.len() > room {
                    self.cut = true;
                    self.most = most;
                }
                self.stdout
                    .extend_from_slice(bytes.get(..bytes.len().min(room)).unwrap_or_default());
            }
            (FramedStream::Stdout, Some(_)) if self.arrived > self.most => self.cut = true,
            (FramedStream::Stdout, Some(gathering)) => gathering.push(bytes),
        }
        if self.cut {
            // It will not be looked at.
            self.stdout = Vec::new();
            if let Some(gathering) = &mut self.states {
                gathering.states = Vec::new();
            }
        }
    }

    pub(super) fn into_states(self) -> Parsed<Vec<State>> {
        self.states.map_or_else(Parsed::default, Gathering::finish)
    }
}

impl Gathering {
    fn push(&mut self, bytes: &[u8]) {
        let Self { parser, service, states, cut } = self;
        parser.push(bytes, &mut |state| {
            keep_state(states, cut, service, state);
        });
    }

    fn finish(self) -> Parsed<Vec<State>> {
        let Self { parser, service, mut states, mut cut } = self;
        let rest = parser.finish_table(&mut |state| {
            keep_state(&mut states, &mut cut, &service, state);
        });
        let mut parsed = rest.map(|_| states);
        parsed.too_many = cut.then_some(MOST_STATES);
        parsed
    }
}

fn keep_state(states: &mut Vec<State>, cut: &mut bool, service: &Service, state: State) {
    if *cut || !connections::concerns_service(&state, service) {
        return;
    }
    if states.len() >= MOST_STATES {
        *cut = true;
        *states = Vec::new();
        return;
    }
    states.push(state);
}
