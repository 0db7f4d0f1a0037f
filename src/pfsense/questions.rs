//! Typed questions and answers: which command answers which question, and what its exit codes and messages
//! mean. All questions of a kmsctl command travel in one script, so one channel and one round trip.
//!
//! One answer failing never hides the others: each is a [`Answer`] of its own.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

mod ask;
mod error;
mod gather;
mod race;
mod round;
#[cfg(test)]
mod tests;

pub use ask::Paths;
pub use error::{Answer, FactError};
pub use round::{RUNNING_TIMEOUT, RunningTimeout};

use super::agent::{self, ReadRequest};
use crate::domain::exposure::Exposure;
use crate::domain::exposure::upnp::enter_upnp_anchor;
use crate::domain::pf::info::{self, Info, Limits};
use crate::domain::pf::rule::{self, Rule};
use crate::domain::pf::source::{self, SourceNode};
use crate::domain::pf::state::State;
use crate::domain::pf::table::{self, Entry, Marked};
use crate::domain::pf::{Parsed, Unread};
use crate::domain::pfsense::configured::{Configured, CronItem};
use crate::domain::pfsense::freebsd;
use crate::domain::pfsense::freebsd::{Carp, FirewallClock, InterfaceAddress};
use crate::domain::service::Service;
use crate::domain::virusprot::expiry;
use crate::error::Failure;
use crate::ssh::script::{NOT_RUN, Nonce, Script};
use crate::ssh::shell::Shell;
use ask::{in_order, question_command};
use error::{check_came, check_exit};
use gather::Gathered;

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
    /// What cron runs out of the system's crontab; the folder beside it is asked with it.
    Crontab,
    /// What cron runs out of the folder cron.d.
    CronFolder,
    /// The overload table with times.
    Table,
    /// Which of these the overload table holds.
    Test(Vec<IpAddr>),
    /// What pf's table of the service's alias holds.
    AliasTable,
    /// Loaded filter rules with counters.
    Rules,
    /// Loaded translation rules with counters.
    Translation,
    /// The filter rules in UPnP's anchor; asked where the lists name it.
    UpnpRules,
    /// The translation rules in UPnP's anchor, likewise.
    UpnpTranslation,
    /// States of the service's port, of one source if named; which are the service's follows from its alias.
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
    /// What a change can do without. It is asked last, and not waited for as long as the rest: a closing must not wait for who
    /// is connected, for what a table holds, or for pf's counters; what is unread is unproven.
    Dispensable(&'static Question),
}

impl Question {
    /// Returns the question itself, whether it can be done without or not.
    pub fn itself(&self) -> &Self {
        match self {
            Self::Dispensable(question) => question,
            question => question,
        }
    }
}

/// Everything one round brought back. What was not asked is [`FactError::NotAsked`].
#[derive(Debug)]
pub struct Reading {
    /// The firewall's clock and zone.
    pub clock: FirewallClock,
    /// The address our session comes from, if known.
    pub client: Option<IpAddr>,
    /// Addresses of its interfaces.
    pub interfaces: Vec<InterfaceAddress>,
    /// Its role for CARP addresses, asked with the interfaces.
    pub carp: Vec<Carp>,
    /// Its default gateway.
    pub gateway: Option<IpAddr>,
    /// What cron runs.
    pub crontab: Answer<Vec<CronItem>>,
    /// The overload table.
    pub table: Answer<Vec<Entry>>,
    /// What pf's table of the service's alias holds.
    pub alias_table: Answer<Vec<Entry>>,
    /// The answers to [`Question::Test`].
    pub tested: Answer<Vec<Marked>>,
    /// Loaded filter rules.
    pub rules: Answer<Vec<Rule>>,
    /// Loaded translation rules.
    pub translation: Answer<Vec<Rule>>,
    /// States of the service.
    pub states: Answer<Vec<State>>,
    /// Source nodes.
    pub sources: Answer<Vec<SourceNode>>,
    /// pf's status.
    pub info: Answer<Info>,
    /// pf's limits.
    pub limits: Answer<Limits>,
    /// What config.xml says.
    pub configured: Answer<Configured>,
    /// Free bytes below /cf/conf.
    pub free_space: Answer<u64>,
    /// `net.pf.request_maxcount`, in entries.
    pub request_limit: Answer<u64>,
    /// Names of our files in /etc/cron.d.
    pub armed: Answer<Vec<String>>,
    /// Lines that no parser understood: which command, and the line.
    pub unread: Vec<(String, Unread)>,
    /// How many more there were.
    pub more_unread: usize,
    /// How many of them stood in the overload table.
    pub table_unread: usize,
    /// The exposure that these answers mean, once it was judged.
    pub exposure: OnceLock<Exposure>,
}

/// One remote shell that answers the same questions as often as it is asked.
pub struct Reader {
    shell: Shell,
    asked: Arc<AskedQuestions>,
}

/// What is asked of whom; what the answers mean depends on it.
pub struct AskedQuestions {
    service: Service,
    paths: Paths,
    questions: Vec<Question>,
    agent_nonce: Nonce,
}

impl AskedQuestions {
    pub fn new(questions: &[Question], service: Service, paths: Paths, agent_nonce: Nonce) -> Self {
        Self { service, paths, questions: in_order(questions), agent_nonce }
    }

    /// Renders the script of the questions; the clock comes first.
    pub fn script(&self) -> Script {
        let commands = self.questions.iter().enumerate().map(|(place, question)| {
            let mut command =
                question_command(question, &self.service, &self.paths, &self.agent_nonce);
            if *question == Question::Configured {
                command.starts_ahead = place;
            }
            command
        });
        Script { commands: commands.collect() }
    }

    /// Returns the nonce that the agent's answers carry.
    pub(super) fn agent_nonce(&self) -> &Nonce {
        &self.agent_nonce
    }

    /// Returns where things are on the firewall.
    pub(super) fn paths(&self) -> &Paths {
        &self.paths
    }
}

impl Reader {
    /// Wraps an open shell that was given the script of these questions.
    pub fn new(shell: Shell, asked: AskedQuestions) -> Self {
        Self { shell, asked: Arc::new(asked) }
    }

    /// Asks every question once: one round trip, and some more where a reload of the ruleset races with it.
    pub async fn read(&mut self) -> Result<Reading, Failure> {
        let (_, reading) = self.read_after(0).await?;
        Ok(reading)
    }

    /// Runs a script in which so many commands stand before the questions, and returns their replies too.
    pub(super) async fn read_after(
        &mut self,
        before: usize,
    ) -> Result<(Vec<ReaderNote>, Reading), Failure> {
        let mut replies = round::ask_round(&mut self.shell, &self.asked, before).await?;
        let asked = replies.split_off(before.min(replies.len()));
        let notes = replies.into_iter().map(|reply| ReaderNote {
            status: reply.status.unwrap_or(NOT_RUN),
            stdout: reply.stdout,
            stderr: reply.stderr,
        });
        let notes = notes.collect();
        // Reading megabytes takes its time, in which Ctrl-C and the time-out must be heard.
        let meant = Arc::clone(&self.asked);
        let reading = tokio::task::spawn_blocking(move || meant.reading(asked)).await;
        let reading = reading.map_err(|error| {
            Failure::failed("The firewall's answers could not be taken apart.").with_cause(error)
        })?;
        Ok((notes, reading?))
    }

    pub(super) fn asked(&self) -> &AskedQuestions {
        &self.asked
    }

    /// Returns the shell, to ask something else in it.
    pub fn into_shell(self) -> Shell {
        self.shell
    }

    /// Ends the shell.
    pub async fn close(self) {
        self.shell.close().await;
    }
}

impl AskedQuestions {
    /// Takes every answer apart, one after the other: what a big one held is gone before the next one.
    fn reading(&self, replies: Vec<Gathered>) -> Result<Reading, Failure> {
        let mut reading = Reading::empty(read_clock(replies.first())?);
        for (question, reply) in self.questions.iter().zip(replies) {
            self.answer(&mut reading, question, reply);
        }
        reading.distrust_empty_lists();
        Ok(reading)
    }

    /// Returns what a question's error names.
    fn program(&self, question: &Question) -> &str {
        match question.itself() {
            Question::Configured => self.paths.php.as_str(),
            Question::Crontab => self.paths.crontab.as_str(),
            Question::CronFolder => "/usr/bin/find",
            Question::FreeSpace => "/bin/df",
            Question::RequestLimit => "/sbin/sysctl",
            Question::Armed => "/bin/ls",
            Question::Clock | Question::Client | Question::Interfaces | Question::Gateway => {
                "a base system tool"
            }
            _ => self.paths.pfctl.as_str(),
        }
    }

    /// Checks exit code and stderr of an answer, and those of sudo where it stands before pfctl.
    fn check_answer(
        &self,
        reply: &Gathered,
        fine: &[i32],
        program: &str,
        table: &str,
    ) -> Answer<()> {
        if let Some(sudo) =
            self.paths.pfctl_sudo.as_ref().filter(|_| program == self.paths.pfctl.as_str())
        {
            error::check_sudo(reply, fine, sudo.as_str(), program)?;
        }
        check_exit(reply, fine, program, table)
    }

    fn answer(&self, reading: &mut Reading, question: &Question, reply: Gathered) {
        let program = self.program(question);
        let mut unread =
            Unreads { program, unread: &mut reading.unread, more: &mut reading.more_unread };
        let table = self.service.table.as_str();
        let checked =
            |reply: &Gathered, fine: &[i32]| self.check_answer(reply, fine, program, table);
        match question {
            Question::Dispensable(question) => self.answer(reading, question, reply),
            // `reading` reads it first: without it no age means anything.
            Question::Clock => {}
            Question::Client => reading.client = freebsd::ssh_client(&reply.stdout),
            Question::Interfaces => {
                reading.interfaces = freebsd::interface_addresses(&reply.stdout);
                reading.carp = freebsd::parse_carp(&reply.stdout);
            }
            Question::Gateway => reading.gateway = freebsd::default_gateway(&reply.stdout),
            Question::Crontab => {
                reading.crontab =
                    checked(&reply, &[0]).map(|()| expiry::crontab_items(&reply.stdout));
            }
            Question::CronFolder => {
                // Boxes without the folder run nothing out of it.
                let missing = memchr::memmem::find(&reply.stderr, b": No such file or directory");
                let fine: &[i32] = if missing.is_some() { &[0, 1] } else { &[0] };
                let more = checked(&reply, fine).map(|()| expiry::crontab_items(&reply.stdout));
                add_items(&mut reading.crontab, more);
            }
            Question::Table => {
                let parsed = table::parse_table_entries(&reply.stdout);
                reading.table_unread = parsed.unread.len() + parsed.more_unread;
                reading.table = checked(&reply, &[0]).and_then(|()| unread.kept(parsed));
            }
            Question::AliasTable => {
                let alias = &self.service.alias;
                reading.alias_table = self
                    .check_answer(&reply, &[0], program, alias)
                    .and_then(|()| unread.kept(table::parse_table_entries(&reply.stdout)));
            }
            Question::Test(_) => {
                reading.tested = checked(&reply, &[0, 2])
                    .and_then(|()| unread.kept(table::parse_test(&reply.stdout)));
            }
            Question::Rules => {
                reading.rules =
                    checked(&reply, &[0]).and_then(|()| unread.kept_rules(&reply.stdout));
            }
            Question::Translation => {
                reading.translation =
                    checked(&reply, &[0]).and_then(|()| unread.kept_rules(&reply.stdout));
            }
            Question::UpnpRules => {
                if let (Ok(rules), Ok(inside)) =
                    (&mut reading.rules, parse_upnp_anchor(&reply, &mut unread))
                {
                    enter_upnp_anchor(rules, &inside);
                }
            }
            Question::UpnpTranslation => {
                if let (Ok(rules), Ok(inside)) =
                    (&mut reading.translation, parse_upnp_anchor(&reply, &mut unread))
                {
                    enter_upnp_anchor(rules, &inside);
                }
            }
            Question::States(_) => {
                reading.states =
                    checked(&reply, &[0]).and_then(|()| unread.kept(reply.into_states()));
            }
            Question::Sources => {
                reading.sources = checked(&reply, &[0])
                    .and_then(|()| unread.kept(source::parse_source_nodes(&reply.stdout)));
            }
            Question::Info => {
                reading.info = checked(&reply, &[0])
                    .and_then(|()| unread.kept(info::parse_pf_info(&reply.stdout)))
                    .and_then(|info| whole(info, program));
            }
            Question::Limits => {
                reading.limits = checked(&reply, &[0])
                    .and_then(|()| unread.kept(info::parse_limits(&reply.stdout)));
            }
            Question::Configured => {
                let request = ReadRequest::from(&self.service);
                let nonce = &self.agent_nonce;
                reading.configured = parse_configured(&reply, program, nonce, &request);
            }
            Question::FreeSpace => {
                let space = freebsd::free_space(&reply.stdout);
                reading.free_space =
                    checked(&reply, &[0]).and_then(|()| require_value(space, program));
            }
            Question::RequestLimit => {
                let limit = freebsd::parse_sysctl(&reply.stdout);
                reading.request_limit =
                    checked(&reply, &[0]).and_then(|()| require_value(limit, program));
            }
            Question::Armed => {
                reading.armed =
                    checked(&reply, &[0]).map(|()| freebsd::parse_armed_names(&reply.stdout));
            }
        }
    }
}

/// Takes the rules of UPnP's anchor. One that does not exist has none.
fn parse_upnp_anchor(reply: &Gathered, unread: &mut Unreads<'_>) -> Answer<Vec<Rule>> {
    if error::is_no_anchor(reply) {
        return Ok(Vec::new());
    }
    check_exit(reply, &[0], unread.program, "")?;
    unread.kept(rule::parse_pf_rules(&reply.stdout))
}

/// Adds the items of cron's folder to those of its table; without one of the two, what cron runs is not known.
fn add_items(crontab: &mut Answer<Vec<CronItem>>, more: Answer<Vec<CronItem>>) {
    match (crontab.as_mut(), more) {
        (Ok(items), Ok(more)) => items.extend(more),
        (Ok(_), Err(error)) => *crontab = Err(error),
        (Err(_), _) => {}
    }
}

fn read_clock(reply: Option<&Gathered>) -> Result<FirewallClock, Failure> {
    reply.and_then(|reply| freebsd::parse_firewall_clock(&reply.stdout)).ok_or_else(|| {
        Failure::failed("The firewall printed no time, so no age is known either.")
            .hint("Run `date '+%s %z'` on it: is this a FreeBSD system?")
    })
}

fn require_value<T>(value: Option<T>, program: &str) -> Answer<T> {
    value.ok_or_else(|| FactError::Garbled { program: program.to_owned() })
}

fn parse_configured(
    reply: &Gathered,
    program: &str,
    nonce: &Nonce,
    request: &ReadRequest,
) -> Answer<Configured> {
    check_came(reply, program)?;
    Ok(agent::parse_agent_answer(&reply.stdout, nonce, request)?)
}

fn distrust<T>(fact: &mut Answer<Vec<T>>, program: &str) {
    if fact.as_ref().is_ok_and(Vec::is_empty) {
        *fact = Err(FactError::Unprivileged { program: program.to_owned() });
    }
}

/// Passes parsers' unread lines on to the reading.
struct Unreads<'a> {
    program: &'a str,
    unread: &'a mut Vec<(String, Unread)>,
    more: &'a mut usize,
}

impl Unreads<'_> {
    /// Returns the rules of the main list. Where none could be read at all, they were not read.
    fn kept_rules(&mut self, text: &[u8]) -> Answer<Vec<Rule>> {
        let mut parsed = rule::parse_pf_rules(text);
        if parsed.value.iter().all(Rule::is_unread) {
            parsed.value.clear();
        }
        self.kept(parsed)
    }

    /// Returns what was understood. Nothing understood of something printed is no empty answer.
    fn kept<T: Understood>(&mut self, parsed: Parsed<T>) -> Answer<T> {
        if let Some(most) = parsed.too_many {
            return Err(FactError::TooMany { program: self.program.to_owned(), most });
        }
        if parsed.value.is_nothing() && !parsed.unread.is_empty() {
            return Err(FactError::Garbled { program: self.program.to_owned() });
        }
        let room = Unread::KEPT.saturating_sub(self.unread.len());
        *self.more += parsed.more_unread + parsed.unread.len().saturating_sub(room);
        self.unread.extend(
            parsed.unread.into_iter().take(room).map(|line| (self.program.to_owned(), line)),
        );
        Ok(parsed.value)
    }
}

/// Marks an answer that holds nothing.
trait Understood {
    fn is_nothing(&self) -> bool;
}

impl<T> Understood for Vec<T> {
    fn is_nothing(&self) -> bool {
        self.is_empty()
    }
}

impl Understood for Info {
    fn is_nothing(&self) -> bool {
        self.states.is_none() && !self.enabled
    }
}

impl Understood for Limits {
    fn is_nothing(&self) -> bool {
        self.is_empty()
    }
}

/// What a command that is no question said.
pub(super) struct ReaderNote {
    pub(super) status: i32,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
}

impl ReaderNote {
    /// Turns its exit code and stderr into a typed error.
    pub(super) fn check(&self, table: &str, program: &str) -> Answer<()> {
        error::status_trouble(&self.stderr, self.status, &[0], program, table)
    }
}

/// Returns pf's status, if it came whole. A pfctl that may not ask the kernel can print a status that it made up, and
/// exit with 0.
fn whole(info: Info, program: &str) -> Answer<Info> {
    if !info.is_of_kernel {
        return Err(FactError::Unprivileged { program: program.to_owned() });
    }
    Ok(info)
}

impl Reading {
    /// Returns why, where one of the lists that the exposure is judged by (pf's rules, translation, status) could not be read.
    pub fn list_unread(&self) -> Option<&FactError> {
        let (rules, translation) = (self.rules.as_ref().err(), self.translation.as_ref().err());
        rules.or(translation).or(self.info.as_ref().err())
    }

    /// Names the answers that were asked for, in a fixed order, and says of each whether it came. That there is no such table is
    /// an answer.
    pub fn asked_answers(&self) -> Vec<(&'static str, bool)> {
        let answers = [
            ("alias", self.alias_table.as_ref().err()),
            ("configuration", self.configured.as_ref().err()),
            ("crontab", self.crontab.as_ref().err()),
            ("limits", self.limits.as_ref().err()),
            ("rules", self.rules.as_ref().err()),
            ("sources", self.sources.as_ref().err()),
            ("states", self.states.as_ref().err()),
            ("status", self.info.as_ref().err()),
            ("table", self.table.as_ref().err()),
            ("translation", self.translation.as_ref().err()),
        ];
        let asked = answers.into_iter();
        let asked = asked.filter(|(_, error)| !matches!(error, Some(FactError::NotAsked)));
        asked
            .map(|(name, error)| (name, matches!(error, None | Some(FactError::NoTable { .. }))))
            .collect()
    }

    /// Returns whether the ruleset was being loaded each time that it was asked.
    pub fn is_raced(&self) -> bool {
        let busy = |error: Option<&FactError>| matches!(error, Some(FactError::Busy { .. }));
        busy(self.rules.as_ref().err()) || busy(self.translation.as_ref().err())
    }

    /// Where pfctl may not even ask for pf's status, lists that it printed empty are not empty.
    fn distrust_empty_lists(&mut self) {
        let Err(FactError::Unprivileged { program }) = &self.info else {
            return;
        };
        distrust(&mut self.rules, program);
        distrust(&mut self.translation, program);
        distrust(&mut self.states, program);
        distrust(&mut self.sources, program);
        distrust(&mut self.table, program);
        distrust(&mut self.alias_table, program);
        distrust(&mut self.tested, program);
    }

    fn empty(clock: FirewallClock) -> Self {
        Self {
            clock,
            client: None,
            interfaces: Vec::new(),
            carp: Vec::new(),
            gateway: None,
            crontab: Err(FactError::NotAsked),
            table: Err(FactError::NotAsked),
            alias_table: Err(FactError::NotAsked),
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
            more_unread: 0,
            table_unread: 0,
            exposure: OnceLock::new(),
        }
    }
}
