//! What arrives of one command, in bounded memory; states are parsed as they come.

use crate::domain::connections;
use crate::domain::pf::Parsed;
use crate::domain::pf::state::{State, StateParser, StateView};
use crate::domain::service::Service;
use crate::firewall::shell::Stream;

use super::Question;

/// Most states of the service that are kept; the rest is dropped, and said.
const MOST_STATES: usize = 200_000;
/// Most bytes kept of any other answer.
pub(super) const MOST_BYTES: usize = 32 << 20;
/// Most bytes kept of any command's stderr.
const MOST_TALK: usize = 16 << 10;

/// What arrived of one command, bounded; states are parsed as they come.
pub(super) struct Gathered {
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
    /// More arrived than is kept.
    pub(super) cut: bool,
    states: Option<Gathering>,
}

struct Gathering {
    parser: StateParser,
    service: Service,
    states: Vec<State>,
    cut: bool,
}

impl Gathered {
    pub(super) fn plain() -> Self {
        Self {
            stdout: Vec::new(),
            stderr: Vec::new(),
            cut: false,
            states: None,
        }
    }

    pub(super) fn new(question: &Question, service: &Service) -> Self {
        let gathering = || Gathering {
            parser: StateParser::new(),
            service: service.clone(),
            states: Vec::new(),
            cut: false,
        };
        let states = matches!(question, Question::States(_)).then(gathering);
        Self {
            states,
            ..Self::plain()
        }
    }

    pub(super) fn take(&mut self, stream: Stream, bytes: &[u8]) {
        match (stream, &mut self.states) {
            (Stream::Stderr, _) => {
                let room = MOST_TALK.saturating_sub(self.stderr.len());
                self.stderr.extend(bytes.iter().take(room));
            }
            (Stream::Stdout, None) => {
                let room = MOST_BYTES.saturating_sub(self.stdout.len());
                self.cut |= bytes.len() > room;
                self.stdout
                    .extend_from_slice(bytes.get(..bytes.len().min(room)).unwrap_or_default());
            }
            (Stream::Stdout, Some(gathering)) => {
                let Gathering {
                    parser,
                    service,
                    states,
                    cut,
                } = gathering;
                parser.push(bytes, &mut |view: StateView<'_>| {
                    if states.len() >= MOST_STATES {
                        *cut = true;
                        return;
                    }
                    let state = view.to_owned();
                    if connections::concerns(&state, service) {
                        states.push(state);
                    }
                });
            }
        }
    }

    /// Returns whether there were more states than are kept.
    pub(super) fn states_cut(&self) -> bool {
        self.states.as_ref().is_some_and(|gathering| gathering.cut)
    }

    pub(super) fn into_states(self) -> Parsed<Vec<State>> {
        let Some(Gathering {
            parser,
            service,
            mut states,
            ..
        }) = self.states
        else {
            return Parsed::default();
        };
        let rest = parser.finish(&mut |view: StateView<'_>| {
            let state = view.to_owned();
            if connections::concerns(&state, &service) {
                states.push(state);
            }
        });
        Parsed {
            value: states,
            unread: rest.unread,
            more_unread: rest.more_unread,
        }
    }
}
