//! Typed questions and answers: which command answers which question, and what its exit codes and messages
//! mean. All questions of a kmsctl command travel in one script, so one channel and one round trip.
//!
//! One answer failing never hides the others: each is a [`Fact`] of its own.

use std::net::IpAddr;
use std::ops::ControlFlow;

use super::agent::{self, AgentError, ReadRequest};
use super::script::{Command, Filter, Nonce, Script, Word};
use super::shell::{Shell, Stream};
use crate::domain::configured::{Configured, CronItem};
use crate::domain::connections;
use crate::domain::expiry;
use crate::domain::freebsd::{self, Carp, FirewallClock, InterfaceAddress};
use crate::domain::pf::info::{self, Info, Limits};
use crate::domain::pf::rule::{self, Rule};
use crate::domain::pf::source::{self, SourceNode};
use crate::domain::pf::state::{State, StateParser};
use crate::domain::pf::table::{self, Entry, Marked, TableName};
use crate::domain::pf::{Parsed, Unread};
use crate::domain::service::Service;
use crate::error::{Failure, Kind};

/// Something to ask the firewall.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// Its clock; every reading asks this first.
    Clock,
    /// The address our session comes from.
    Client,
    /// Addresses of its interfaces.
    Interfaces,
    /// Its default gateway.
    Gateway,
    /// What cron runs.
    Crontab,
    /// The overload table with times.
    Table,
    /// Which of these the overload table holds.
    Test(Vec<IpAddr>),
    /// Loaded filter rules with counters.
    Rules,
    /// Loaded translation rules with counters.
    Translation,
    /// States that concern the service, of one source if named.
    States(Option<IpAddr>),
    /// Source nodes.
    Sources,
    /// pf's status and counters.
    Info,
    /// pf's limits.
    Limits,
    /// What config.xml says.
    Configured,
    /// Room for the configuration.
    FreeSpace,
    /// The largest request that pf answers.
    RequestLimit,
    /// Files of ours in /etc/cron.d.
    Armed,
}

/// Every reading tells its time, so the clock is always the first question.
fn with_clock(questions: &[Question]) -> Vec<Question> {
    std::iter::once(&Question::Clock)
        .chain(
            questions
                .iter()
                .filter(|question| **question != Question::Clock),
        )
        .cloned()
        .collect()
}

/// Where things are on the firewall.
#[derive(Clone, Debug)]
pub struct Paths {
    /// The system's crontab.
    pub crontab: Word,
    /// pfctl.
    pub pfctl: Word,
    /// PHP.
    pub php: Word,
}

/// Why one question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum FactError {
    /// Not asked.
    #[error("this was not asked")]
    NotAsked,
    /// The program is not there.
    #[error("{program} is not on the firewall")]
    ProgramMissing {
        /// Its path.
        program: String,
    },
    /// `/dev/pf: Permission denied`.
    #[error("the account may not open /dev/pf")]
    Denied,
    /// `/dev/pf: No such file or directory`.
    #[error("pf is not loaded on the firewall")]
    NoPf,
    /// `Table does not exist.`
    #[error("the table {table} does not exist")]
    NoTable {
        /// The table.
        table: String,
    },
    /// Any other failure.
    #[error("{program} failed with exit code {status}: {message}")]
    Failed {
        /// Its path.
        program: String,
        /// The exit code.
        status: i32,
        /// The first line of its stderr.
        message: String,
    },
    /// More than is kept.
    #[error("the answer of {program} is larger than {mebibytes} MiB")]
    TooLarge {
        /// Its path.
        program: String,
        /// The bound.
        mebibytes: usize,
    },
    /// The text has another form than expected.
    #[error("{program} answered in a form kmsctl does not know")]
    Garbled {
        /// Its path.
        program: String,
    },
    /// The agent's own error.
    #[error("{0}")]
    Agent(#[from] AgentError),
}

/// The answer to one question.
pub type Fact<T> = Result<T, FactError>;

impl From<&FactError> for Failure {
    fn from(error: &FactError) -> Self {
        let message = format!("The firewall cannot answer: {error}.");
        match error {
            FactError::Denied => Self::new(Kind::Unreachable, message).hint("Log in as admin or root, or set firewall.become = \"sudo\" (pfSense's sudo package)."),
            FactError::NoPf => Self::failed(message).hint("Is this the right machine? `kmsctl config show` tells where kmsctl connects."),
            FactError::NoTable { .. } => Self::failed(message).hint("pf makes it with the ruleset: look at `kmsctl rule show`, and at Status > Filter Reload in pfSense."),
            FactError::ProgramMissing { .. } => Self::failed(message).hint("Is this a pfSense box? firewall.paths.* names the paths."),
            FactError::Failed { .. } | FactError::TooLarge { .. } | FactError::Garbled { .. } | FactError::Agent(_) | FactError::NotAsked => Self::failed(message),
        }
    }
}

/// Everything one round brought back. What was not asked is [`FactError::NotAsked`].
#[derive(Debug)]
pub struct Reading {
    /// The firewall's clock and zone.
    pub clock: FirewallClock,
    /// The address our session comes from, if told.
    pub client: Option<IpAddr>,
    /// Addresses of its interfaces.
    pub interfaces: Vec<InterfaceAddress>,
    /// Its role for CARP addresses, asked with the interfaces.
    pub carp: Vec<Carp>,
    /// Its default gateway.
    pub gateway: Option<IpAddr>,
    /// What cron runs.
    pub crontab: Fact<Vec<CronItem>>,
    /// The overload table.
    pub table: Fact<Vec<Entry>>,
    /// The answers to [`Question::Test`].
    pub tested: Fact<Vec<Marked>>,
    /// Loaded filter rules.
    pub rules: Fact<Vec<Rule>>,
    /// Loaded translation rules.
    pub translation: Fact<Vec<Rule>>,
    /// States of the service.
    pub states: Fact<Vec<State>>,
    /// Source nodes.
    pub sources: Fact<Vec<SourceNode>>,
    /// pf's status.
    pub info: Fact<Info>,
    /// pf's limits.
    pub limits: Fact<Limits>,
    /// What config.xml says.
    pub configured: Fact<Configured>,
    /// Free bytes below /cf/conf.
    pub free_space: Fact<u64>,
    /// `net.pf.request_maxcount`, in entries.
    pub request_limit: Fact<u64>,
    /// Names of our files in /etc/cron.d.
    pub armed: Fact<Vec<String>>,
    /// Lines that no parser understood: which command, and the line.
    pub unread: Vec<(String, Unread)>,
}

/// Most states of the service that are kept; beyond that the answer is [`FactError::TooLarge`].
const MOST_STATES: usize = 200_000;
/// Most bytes kept of any other answer.
const MOST_BYTES: usize = 32 << 20;
/// Most bytes kept of any command's stderr.
const MOST_TALK: usize = 16 << 10;

/// One remote shell that answers the same questions as often as it is asked.
pub struct Survey {
    shell: Shell,
    service: Service,
    paths: Paths,
    questions: Vec<Question>,
    agent_nonce: Nonce,
}

impl Survey {
    /// Renders the script of the questions; the clock comes first.
    pub fn script(
        questions: &[Question],
        service: &Service,
        paths: &Paths,
        agent_nonce: &Nonce,
    ) -> Script {
        let questions = with_clock(questions);
        let commands = questions
            .iter()
            .map(|question| command(question, service, paths, agent_nonce));
        Script {
            commands: commands.collect(),
        }
    }

    /// Wraps an open shell that was given [`Survey::script`] of the same questions.
    pub fn new(
        shell: Shell,
        questions: &[Question],
        service: Service,
        paths: Paths,
        agent_nonce: Nonce,
    ) -> Self {
        Self {
            shell,
            service,
            paths,
            questions: with_clock(questions),
            agent_nonce,
        }
    }

    /// Asks every question once: one round trip.
    pub async fn read(&mut self) -> Result<Reading, Failure> {
        let mut replies: Vec<Gathered> = self
            .questions
            .iter()
            .map(|question| Gathered::new(question, &self.service))
            .collect();
        let statuses = self
            .shell
            .round(&mut |index, stream, bytes| {
                if let Some(reply) = replies.get_mut(index) {
                    reply.take(stream, bytes);
                }
                ControlFlow::Continue(())
            })
            .await?;
        let mut reading = Reading::empty(clock(replies.first())?);
        for ((question, reply), status) in self.questions.iter().zip(replies).zip(statuses) {
            self.answer(&mut reading, question, reply, status);
        }
        Ok(reading)
    }

    /// Ends the shell.
    pub async fn close(self) {
        self.shell.close().await;
    }

    /// Returns what a question's error names.
    fn program(&self, question: &Question) -> &str {
        match question {
            Question::Configured => self.paths.php.as_str(),
            Question::Crontab => self.paths.crontab.as_str(),
            Question::FreeSpace => "/bin/df",
            Question::RequestLimit => "/sbin/sysctl",
            Question::Armed => "/bin/ls",
            Question::Clock | Question::Client | Question::Interfaces | Question::Gateway => {
                "a base system tool"
            }
            _ => self.paths.pfctl.as_str(),
        }
    }

    fn answer(&self, reading: &mut Reading, question: &Question, reply: Gathered, status: i32) {
        let program = self.program(question);
        let mut unread = Unreads {
            program,
            unread: &mut reading.unread,
        };
        let checked = |reply: &Gathered, fine: &[i32]| {
            check(reply, status, fine, program, &self.service.table)
        };
        match question {
            // Read first, by `read`: without a clock no age means anything.
            Question::Clock => {}
            Question::Client => reading.client = freebsd::ssh_client(&reply.stdout),
            Question::Interfaces => {
                reading.interfaces = freebsd::interface_addresses(&reply.stdout);
                reading.carp = freebsd::carp(&reply.stdout);
            }
            Question::Gateway => reading.gateway = freebsd::default_gateway(&reply.stdout),
            Question::Crontab => {
                reading.crontab =
                    checked(&reply, &[0]).map(|()| expiry::crontab_items(&reply.stdout));
            }
            Question::Table => {
                reading.table =
                    checked(&reply, &[0]).map(|()| unread.kept(table::parse(&reply.stdout)));
            }
            Question::Test(_) => {
                reading.tested = checked(&reply, &[0, 2])
                    .map(|()| unread.kept(table::parse_test(&reply.stdout)));
            }
            Question::Rules => {
                reading.rules =
                    checked(&reply, &[0]).map(|()| unread.kept(rule::parse(&reply.stdout)));
            }
            Question::Translation => {
                reading.translation =
                    checked(&reply, &[0]).map(|()| unread.kept(rule::parse(&reply.stdout)));
            }
            Question::States(_) => {
                reading.states = checked(&reply, &[0]).map(|()| unread.kept(reply.into_states()));
            }
            Question::Sources => {
                reading.sources =
                    checked(&reply, &[0]).map(|()| unread.kept(source::parse(&reply.stdout)));
            }
            Question::Info => {
                reading.info =
                    checked(&reply, &[0]).map(|()| unread.kept(info::parse(&reply.stdout)));
            }
            Question::Limits => {
                reading.limits =
                    checked(&reply, &[0]).map(|()| unread.kept(info::parse_limits(&reply.stdout)));
            }
            Question::Configured => {
                reading.configured = configured(&reply, status, program, &self.agent_nonce);
            }
            Question::FreeSpace | Question::RequestLimit | Question::Armed => {
                let checked = checked(&reply, &[0]);
                small(reading, question, &reply.stdout, checked, program);
            }
        }
    }
}

fn clock(reply: Option<&Gathered>) -> Result<FirewallClock, Failure> {
    reply
        .and_then(|reply| freebsd::clock(&reply.stdout))
        .ok_or_else(|| {
            Failure::failed("The firewall did not tell its time, so no age could be told either.")
                .hint("Run `date '+%s %z'` on it: is this a FreeBSD system?")
        })
}

/// Takes the answer of one of the small tools, each a line or a few.
fn small(
    reading: &mut Reading,
    question: &Question,
    text: &[u8],
    checked: Fact<()>,
    program: &str,
) {
    match question {
        Question::FreeSpace => {
            reading.free_space = checked.and_then(|()| read(freebsd::free_space(text), program));
        }
        Question::RequestLimit => {
            reading.request_limit = checked.and_then(|()| read(freebsd::sysctl(text), program));
        }
        _ => reading.armed = checked.map(|()| freebsd::armed(text)),
    }
}

fn read<T>(value: Option<T>, program: &str) -> Fact<T> {
    value.ok_or_else(|| FactError::Garbled {
        program: program.to_owned(),
    })
}

fn configured(reply: &Gathered, status: i32, program: &str, nonce: &Nonce) -> Fact<Configured> {
    if status == 127 || status == 126 {
        return Err(FactError::ProgramMissing {
            program: program.to_owned(),
        });
    }
    if reply.cut {
        return Err(FactError::TooLarge {
            program: program.to_owned(),
            mebibytes: MOST_BYTES >> 20,
        });
    }
    Ok(agent::parse(&reply.stdout, nonce)?)
}

/// Passes parsers' unread lines on to the reading.
struct Unreads<'a> {
    program: &'a str,
    unread: &'a mut Vec<(String, Unread)>,
}

impl Unreads<'_> {
    fn kept<T>(&mut self, parsed: Parsed<T>) -> T {
        let room = Unread::KEPT.saturating_sub(self.unread.len());
        self.unread.extend(
            parsed
                .unread
                .into_iter()
                .take(room)
                .map(|line| (self.program.to_owned(), line)),
        );
        parsed.value
    }
}

/// What arrived of one command, bounded; states are parsed as they come.
struct Gathered {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    cut: bool,
    states: Option<Gathering>,
}

struct Gathering {
    parser: StateParser,
    service: Service,
    states: Vec<State>,
}

impl Gathered {
    fn new(question: &Question, service: &Service) -> Self {
        let gathering = || Gathering {
            parser: StateParser::new(),
            service: service.clone(),
            states: Vec::new(),
        };
        let states = matches!(question, Question::States(_)).then(gathering);
        Self {
            stdout: Vec::new(),
            stderr: Vec::new(),
            cut: false,
            states,
        }
    }

    fn take(&mut self, stream: Stream, bytes: &[u8]) {
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
                } = gathering;
                let cut = &mut self.cut;
                parser.push(bytes, &mut |view: crate::domain::pf::state::StateView<
                    '_,
                >| {
                    if states.len() >= MOST_STATES {
                        *cut = true;
                        return;
                    }
                    let state = view.to_owned();
                    if connections::half(&state, service).is_some() {
                        states.push(state);
                    }
                });
            }
        }
    }

    fn into_states(self) -> Parsed<Vec<State>> {
        let Some(Gathering {
            parser,
            service,
            mut states,
        }) = self.states
        else {
            return Parsed::default();
        };
        let rest = parser.finish(&mut |view: crate::domain::pf::state::StateView<'_>| {
            let state = view.to_owned();
            if connections::half(&state, &service).is_some() {
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

/// Turns an exit code and stderr of pfctl into a typed error. `fine` are the codes of success; 255 is pfctl's own
/// code for table errors and never means a lost connection here.
fn check(
    reply: &Gathered,
    status: i32,
    fine: &[i32],
    program: &str,
    table: &TableName,
) -> Fact<()> {
    let talk = String::from_utf8_lossy(&reply.stderr);
    let program = || program.to_owned();
    if reply.cut {
        return Err(FactError::TooLarge {
            program: program(),
            mebibytes: MOST_BYTES >> 20,
        });
    }
    if fine.contains(&status) {
        return Ok(());
    }
    if status == 127 || status == 126 {
        return Err(FactError::ProgramMissing { program: program() });
    }
    if talk.contains("/dev/pf: Permission denied") {
        return Err(FactError::Denied);
    }
    if talk.contains("/dev/pf: No such file or directory") {
        return Err(FactError::NoPf);
    }
    if talk.contains("Table does not exist") {
        return Err(FactError::NoTable {
            table: table.as_str().to_owned(),
        });
    }
    let message = talk
        .lines()
        .find(|line| !line.trim().is_empty())
        .unwrap_or("it said nothing")
        .chars()
        .take(200)
        .collect();
    Err(FactError::Failed {
        program: program(),
        status,
        message,
    })
}

fn command(question: &Question, service: &Service, paths: &Paths, agent_nonce: &Nonce) -> Command {
    let pfctl = |words: &[&'static str]| {
        Command::new(
            std::iter::once(paths.pfctl.clone()).chain(words.iter().map(|word| Word::fixed(word))),
        )
    };
    let of_table = |words: &[&'static str]| {
        let mut command = pfctl(&["-t"]);
        command.words.push(Word::table(&service.table));
        command
            .words
            .extend(words.iter().map(|word| Word::fixed(word)));
        command
    };
    let plain = |words: &[&'static str]| Command::new(words.iter().map(|word| Word::fixed(word)));
    match question {
        // The shell runs with TZ=UTC; without it `%z` is the zone that the firewall's cron works in.
        Question::Clock => plain(&["/usr/bin/env", "-u", "TZ", "/bin/date", "+%s %z"]),
        Question::Client => plain(&["/usr/bin/printenv", "SSH_CONNECTION"]),
        Question::Interfaces => plain(&["/sbin/ifconfig", "-a"]),
        Question::Gateway => plain(&["/sbin/route", "-n", "get", "default"]),
        Question::Crontab => Command::new([Word::fixed("/bin/cat"), paths.crontab.clone()]),
        Question::Table => of_table(&["-T", "show", "-v"]),
        Question::Test(addresses) => {
            let mut command = of_table(&["-T", "test", "-vv", "-f", "-"]);
            command.input = addresses
                .iter()
                .flat_map(|address| format!("{address}\n").into_bytes())
                .collect();
            command
        }
        Question::Rules => pfctl(&["-vvPsr"]),
        Question::Translation => pfctl(&["-vvPsn"]),
        Question::States(source) => {
            let mut command = pfctl(&["-vvss"]);
            command.filter = Some(Filter {
                port: service.port,
                address: *source,
            });
            command
        }
        Question::Sources => pfctl(&["-vsS"]),
        Question::Info => pfctl(&["-vsi"]),
        Question::Limits => pfctl(&["-sm"]),
        Question::FreeSpace => plain(&["/bin/df", "-k", "/cf/conf"]),
        Question::RequestLimit => plain(&["/sbin/sysctl", "-n", "net.pf.request_maxcount"]),
        Question::Armed => plain(&["/bin/ls", "-1", "/etc/cron.d"]),
        Question::Configured => {
            let request = ReadRequest {
                alias: service.alias.clone(),
                address: service.address,
                port: service.port,
                interface: service.interface.clone(),
                table: service.table.clone(),
            };
            agent::command(&request, &paths.php, agent_nonce)
        }
    }
}

impl Reading {
    fn empty(clock: FirewallClock) -> Self {
        Self {
            clock,
            client: None,
            interfaces: Vec::new(),
            carp: Vec::new(),
            gateway: None,
            crontab: Err(FactError::NotAsked),
            table: Err(FactError::NotAsked),
            tested: Err(FactError::NotAsked),
            rules: Err(FactError::NotAsked),
            translation: Err(FactError::NotAsked),
            states: Err(FactError::NotAsked),
            sources: Err(FactError::NotAsked),
            info: Err(FactError::NotAsked),
            limits: Err(FactError::NotAsked),
            configured: Err(FactError::NotAsked),
            free_space: Err(FactError::NotAsked),
            request_limit: Err(FactError::NotAsked),
            armed: Err(FactError::NotAsked),
            unread: Vec::new(),
        }
    }
}
