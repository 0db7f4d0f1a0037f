//! What every command is handed, and the one way to the firewall: connect, open one shell, ask.

mod demo;
mod last_reading;
mod other_context;
pub mod situation;
pub mod watch;

use std::future::Future;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::domain::virusprot::entries::Surroundings;
use super::pfsense::questions::{
    Answer, AskedQuestions, Paths, Question, RUNNING_TIMEOUT, Reader, Reading, RunningTimeout,
};
use super::ssh::script::{Nonce, Script};
use super::ssh::shell::Shell;
use super::ssh::target::{Link, Secret};
use crate::clock::Clock;
use crate::domain::firewall_identity::FirewallIdentity;
use crate::domain::plan::Plan;
use crate::domain::shell_word::ShellWord;
use crate::domain::virusprot::expiry::Expiry;
use crate::domain::warning::Warning;
use crate::error::{Failure, FailureKind, Result};
use crate::journal::Journal;
use crate::settings::target::Target;
use crate::settings::values::TypedNetwork;
use crate::settings::{Environment, Layers, Settings, SettingsReader};
use crate::simulator::Simulator;
pub use crate::terminal::wait_for_interrupt;
use crate::terminal::{Terminal, View, prompt};
use crate::text::{clean_text, format_span};
pub use last_reading::{LastReading, last_reading, service_name};

/// How long a change waits for the history (a lock that another process holds, the look through all records), if --timeout allows
/// as much.
const HISTORY_PATIENCE: Duration = Duration::from_secs(2);

/// Everything a command works with; all of it decided before any connection.
pub struct Context {
    pub terminal: Terminal,
    pub settings: Settings,
    pub layers: Layers,
    /// What is wrong with them, for the commands that do without.
    pub problem: Option<Failure>,
    pub environment: Environment,
    pub clock: Clock,
    pub demo: bool,
    /// The simulated firewall's name: `demo`, or that of another context.
    pub demo_name: String,
    /// The file named by `--config`.
    pub config_named: Option<PathBuf>,
    /// Which box was connected to; empty before.
    pub seen: OnceLock<FirewallIdentity>,
}

/// A connection, on which any number of scripts can be run one after the other.
pub struct Session {
    link: Link,
    /// The shell of the last script, which takes the next one: a login on the firewall costs more than most scripts.
    idle: Option<Shell>,
    target: Target,
    simulator: Option<Simulator>,
}

impl Session {
    /// Returns whether what is changed here is there the next time: not on a demo that another run has.
    pub fn keeps_changes(&self) -> bool {
        let simulator = self.simulator.as_ref();
        simulator.is_none_or(Simulator::keeps_state)
    }

    /// Opens a shell that runs this script, or gives it to the one that has run the script before.
    pub async fn shell(&mut self, script: &Script) -> Result<Shell> {
        if let Some(mut shell) = self.idle.take()
            && shell.is_still_there().await
        {
            shell.replace_script(script);
            return Ok(shell);
        }
        Ok(self.link.shell(script).await?)
    }

    /// Keeps a shell for the next script, if it has come to the end of the last one.
    pub async fn keep_shell(&mut self, shell: Shell) {
        if self.idle.is_none() && shell.is_idle() {
            self.idle = Some(shell);
        } else {
            shell.close().await;
        }
    }

    /// Says good-bye; the simulated firewall saves its state.
    pub async fn close(self) -> Result<()> {
        if let Some(shell) = self.idle {
            shell.close().await;
        }
        self.link.close().await;
        match self.simulator {
            Some(simulator) => simulator.stop().await.map_err(Failure::from),
            None => Ok(()),
        }
    }

    /// Returns whether the connection is known to go to the firewall itself: behind a jump host or a proxy, that is what
    /// the firewall sees.
    pub fn is_direct(&self) -> bool {
        self.link.peer().is_some()
    }

    pub fn identity(&self) -> FirewallIdentity {
        self.link.identity()
    }
}

/// A connection with an open survey.
pub struct OpenedSession {
    survey: Reader,
    session: Session,
}

impl OpenedSession {
    /// Returns the connection, for what it can tell about itself.
    pub fn link(&self) -> &Link {
        &self.session.link
    }

    /// Says good-bye; the simulated firewall saves its state.
    pub async fn close(self) -> Result<()> {
        self.survey.close().await;
        self.session.close().await
    }
}

impl Context {
    /// Asks the questions once and closes the connection.
    pub async fn read(&self, questions: &[Question]) -> Result<Reading> {
        let mut opened = self.open(questions).await?;
        let spinner = self.terminal.spinner("Reading the firewall …");
        let reading = self.ask(&mut opened).await;
        spinner.finish_and_clear();
        let closed = opened.close().await;
        let reading = reading?;
        self.remember_reading(&reading);
        // What was read is worth showing, also where the simulated firewall could not keep its state.
        if let Err(failure) = closed {
            self.terminal.caution(&failure.message);
        }
        Ok(reading)
    }

    /// Connects and opens one shell that can answer the questions, within the time-out.
    pub async fn open(&self, questions: &[Question]) -> Result<OpenedSession> {
        let mut session = self.connect().await?;
        match self.within_time(self.survey(&mut session, questions)).await {
            Ok(survey) => Ok(OpenedSession { survey, session }),
            Err(failure) => {
                let _ = session.close().await;
                Err(failure)
            }
        }
    }

    /// Refuses a change of a firewall that the operator never named, and one by an account that only looks.
    pub fn require_configuration(&self) -> Result<()> {
        if self.settings.firewall.pfctl_sudo.is_some() && !self.demo {
            return Err(Failure::usage(
                "firewall.become is \"sudo-pfctl\": this account only looks, and nothing is changed.",
            )
            .hint("Change it by an account that is root, or with become = \"sudo\"."));
        }
        if self.demo || self.layers.name_a_firewall() {
            return Ok(());
        }
        Err(Failure::usage(
            "There is no configuration that names your firewall, so nothing is changed.",
        )
        .hint("Write one: `kmsctl config init`")
        .hint("Or try it without a firewall: add --demo."))
    }

    pub fn settings_reader(&self) -> SettingsReader<'_> {
        SettingsReader::new(&self.layers, &self.environment)
    }

    /// Returns whether the service's address is known to be this firewall's: the built-in one beside another firewall is that of
    /// another network.
    pub fn names_service_address(&self) -> bool {
        self.demo || !self.layers.leaves_built_in("service.address")
    }

    /// Says once a run that the firewall is the built-in one.
    fn say_where_built_in(&self) {
        static SAID: std::sync::Once = std::sync::Once::new();
        if self.demo || self.layers.name_a_firewall() {
            return;
        }
        let target = &self.settings.firewall.target;
        let user = target.user.as_deref().map(|user| format!("{user}@"));
        SAID.call_once(|| {
            self.terminal.say(&format!(
                "No configuration names your firewall, so this is the built-in {}{}. Write one: `kmsctl config init`; or try it without a firewall: `kmsctl --demo status`",
                user.unwrap_or_default(),
                target.host
            ));
        });
    }

    /// Connects, within the time-out.
    pub async fn connect(&self) -> Result<Session> {
        self.say_where_built_in();
        let simulator = if self.demo { Some(self.start_demo().await?) } else { None };
        let target = simulator.as_ref().map_or_else(
            || self.settings.firewall.target.clone(),
            |simulator| self.demo_target(simulator),
        );
        let link = self.link(&target).await?;
        if let Err(failure) = self.note_identity(&link) {
            link.close().await;
            return Err(failure);
        }
        Ok(Session { link, idle: None, target, simulator })
    }

    /// Connects once more where a connection was lost.
    pub async fn reconnect(&self, session: &mut Session) -> Result<()> {
        session.idle = None;
        session.link = self.link(&session.target).await?;
        self.note_identity(&session.link)
    }

    async fn link(&self, target: &Target) -> Result<Link> {
        let spinner = self.terminal.spinner(&format!("Connecting to {} …", self.firewall_name()));
        let ask = |question: &str| {
            spinner.finish_and_clear();
            prompt::ask_secret(self.terminal, question).map(Secret::new)
        };
        let link = self.within_time(Box::pin(Link::connect(target, &ask))).await;
        spinner.finish_and_clear();
        let link = link?;
        if let Some(notice) = link.notice() {
            self.terminal.caution(notice);
        }
        Ok(link)
    }

    /// Notes which box was reached. All of one run is about one box: a name that leads elsewhere the second time is not
    /// asked what the first one did.
    fn note_identity(&self, link: &Link) -> Result<()> {
        let identity = link.identity();
        let first = self.seen.get_or_init(|| identity.clone());
        let known: Vec<String> = [vec![first.host_key.clone()], first.other_keys()].concat();
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        if identity.is_recorded_in(&known) {
            return Ok(());
        }
        Err(Failure::new(
            FailureKind::Conflict,
            format!(
                "{} leads to another firewall now: it showed the host key {} before, and shows {}.",
                self.firewall_name(),
                first.host_key,
                identity.host_key
            ),
        )
        .hint("Find out which of the two it is, and let firewall.host name that one alone."))
    }

    /// Returns whether a plan, or a change of the history, is of the box that was connected to.
    pub fn is_of_this_firewall(&self, plan: &Plan) -> bool {
        let seen = self.seen.get();
        seen.is_some_and(|seen| seen.is_recorded_in(&plan.recorded_keys()))
    }

    /// Refuses a plan, or a change of the history, that is not of the box that was connected to. The name and address that
    /// lead there are shown, and decide nothing.
    pub fn check_firewall(&self, plan: &Plan) -> Result<()> {
        if self.is_of_this_firewall(plan) {
            return Ok(());
        }
        let Some(seen) = self.seen.get() else {
            return Err(Failure::failed("There is no connection to a firewall."));
        };
        let (id, planned) = (&plan.id, &plan.firewall);
        let here = format!("{} (host key {})", self.firewall_name(), seen.host_key);
        let failure = match &plan.host_key {
            Some(key) => Failure::new(
                FailureKind::Conflict,
                format!(
                    "{id} is of another firewall: of {planned} (host key {key}), and this is {here}; nothing was changed."
                ),
            ),
            None => Failure::new(
                FailureKind::Conflict,
                format!(
                    "{id} does not say which firewall it is of: it names {planned} without a host key, and this is {here}; nothing was changed."
                ),
            ),
        };
        Err(failure.hint("If it is the same box with a key of another kind, list both keys for it in known_hosts."))
    }

    /// Asks the questions over a connection, in a shell of their own, within the time-out.
    pub async fn ask_over(&self, session: &mut Session, questions: &[Question]) -> Result<Reading> {
        self.within_time(Box::pin(async {
            let mut survey = self.survey(session, questions).await?;
            let reading = survey.read().await;
            session.keep_shell(survey.into_shell()).await;
            reading
        }))
        .await
    }

    /// Prepares questions about the service, with the firewall's paths and a nonce of their own.
    pub fn prepare_questions(&self, questions: &[Question]) -> Result<AskedQuestions> {
        let service = self.settings.service.clone();
        Ok(AskedQuestions::new(questions, service, self.paths(), random_nonce()?))
    }

    /// Asks once more over an open shell, within the time-out.
    pub async fn ask(&self, opened: &mut OpenedSession) -> Result<Reading> {
        self.within_time(opened.survey.read()).await
    }

    /// Returns the name that output gives the firewall.
    pub fn firewall_name(&self) -> &str {
        if self.demo { &self.demo_name } else { &self.settings.firewall.target.host }
    }

    /// Makes a view about the firewall with the reading's time and its parsers' complaints.
    pub fn view(
        &self,
        schema: &'static str,
        reading: &Reading,
        data: &impl serde::Serialize,
    ) -> Result<View> {
        let mut view = View::new(schema, reading.clock.now, data)?;
        view.firewall = Some(self.firewall_name().to_owned());
        if let Some((program, line)) = reading.unread.first() {
            let more = reading.unread.len() - 1 + reading.more_unread;
            let others = if more > 0 { format!(" (and {more} more)") } else { String::new() };
            view.warnings.push(Warning::new(
                "unread-output",
                format!("{program} printed a line kmsctl does not understand, which is left out{others}: {}", line.text),
            ));
        }
        Ok(view)
    }

    /// Returns what lies around the firewall, as far as this reading knows it.
    pub fn surroundings(&self, reading: &Reading) -> Surroundings {
        Surroundings {
            interfaces: reading.interfaces.clone(),
            gateways: reading.gateway.into_iter().collect(),
            operator: reading.client,
            expiry: (reading.crontab.as_ref().ok())
                .map(|items| Expiry::find(items, &self.settings.service.table)),
            ..self.configured_surroundings()
        }
    }

    /// Returns what is known of them before any connection.
    pub fn configured_surroundings(&self) -> Surroundings {
        Surroundings {
            protected: self.settings.networks.protected.clone(),
            public: self.public_address(),
            vantages: self
                .vantages()
                .into_iter()
                .filter_map(|vantage| vantage.known_address().map(|at| (vantage.name, at)))
                .collect(),
            ..Surroundings::default()
        }
    }

    /// Says with -v which ports beside addresses mean nothing.
    pub fn say_dropped_ports(&self, typed: &[TypedNetwork]) {
        if !self.terminal.verbose {
            return;
        }
        for TypedNetwork { net, port } in typed {
            if let Some(port) = port {
                let address = net.addr();
                self.terminal.say(&format!("{address}: the port {port} beside it is dropped."));
            }
        }
    }

    /// Returns who works: `user@host`, as one short line. On the demo the host is the demo, so that its answers are the same
    /// everywhere.
    pub fn who(&self) -> String {
        let short = |text: &str| clean_text(text).chars().take(64).collect::<String>();
        let user = self.environment.user.as_deref().unwrap_or("unknown");
        let host = self.environment.host.as_deref().unwrap_or("localhost");
        let host = if self.demo { "demo" } else { host };
        format!("{}@{}", short(user), short(host))
    }

    /// Returns the history: the demo has its own.
    pub fn journal(&self) -> Result<Journal> {
        let patience = self.settings.timeout.min(HISTORY_PATIENCE);
        Ok(Journal::at(&self.memory_directory()?).with_patience(patience))
    }

    /// Returns the directory of the history and the vantages' budgets: the demo has its own. In a directory that all users
    /// share another user could have written them.
    pub fn memory_directory(&self) -> Result<PathBuf> {
        if self.demo {
            return Ok(self.demo_directory());
        }
        self.settings.state_directory.clone().ok_or_else(|| {
            Failure::usage("There is no place for the history: neither HOME nor XDG_STATE_HOME is set to an absolute path, and kmsctl keeps none in /tmp, which all users share.")
                .hint("Set XDG_STATE_HOME to a directory that is yours alone.")
        })
    }

    /// Returns a warning for each flag that cannot be set, as what lies around the firewall is not known.
    pub fn surroundings_unknown(around: &Surroundings) -> Vec<Warning> {
        let networks = "The firewall's own networks could not be read, so nothing is flagged own-subnet or gateway.";
        let operator = "The firewall did not report which address you come from, so nothing is flagged operator.";
        let unknown = [
            ("surroundings-unknown", around.interfaces.is_empty(), networks),
            ("operator-unknown", around.operator.is_none(), operator),
        ];
        unknown
            .into_iter()
            .filter(|(_, unknown, _)| *unknown)
            .map(|(code, _, sentence)| Warning::new(code, sentence))
            .collect()
    }

    /// Opens a shell on a connection that can answer the questions again and again.
    pub async fn survey(&self, session: &mut Session, questions: &[Question]) -> Result<Reader> {
        let asked = self.prepare_questions(questions)?;
        let shell = session.shell(&asked.script()).await?;
        Ok(Reader::new(shell, asked))
    }

    /// The simulated firewall has pfSense's own paths; those configured for the real one do not count.
    fn paths(&self) -> Paths {
        if self.demo {
            return Paths {
                crontab: ShellWord::fixed("/etc/crontab"),
                pfctl: ShellWord::fixed("/sbin/pfctl"),
                pfctl_sudo: None,
                php: ShellWord::fixed("/usr/local/bin/php"),
            };
        }
        let firewall = &self.settings.firewall;
        Paths {
            crontab: firewall.crontab.clone(),
            pfctl: firewall.pfctl.clone(),
            pfctl_sudo: firewall.pfctl_sudo.clone(),
            php: firewall.php.clone(),
        }
    }

    /// Does something with the firewall within the time-out; Ctrl-C ends it.
    pub async fn within_time<T, E: Into<Failure>>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T> {
        let seconds = self.settings.timeout.as_secs();
        let running = RunningTimeout::start(self.settings.timeout);
        let work = RUNNING_TIMEOUT.scope(Arc::clone(&running), work);
        match work_or_interrupt(tokio::time::timeout(self.settings.timeout, work)).await? {
            Ok(result) => result.map_err(Into::into),
            Err(_) => Err(Failure::unreachable(late_answer(
                self.firewall_name(),
                seconds,
                running.arrived.load(Ordering::Relaxed),
            ))
            .hint("Give it more time with --timeout, or look whether the firewall is busy.")),
        }
    }

    /// Waits; Ctrl-C ends it.
    pub async fn pause(&self, duration: Duration) -> Result<()> {
        work_or_interrupt(tokio::time::sleep(duration)).await
    }
}

/// Waits for work, or for Ctrl-C.
pub async fn work_or_interrupt<T>(work: impl Future<Output = T>) -> Result<T> {
    tokio::select! {
        // First, as the work's own first step may start processes already: Ctrl-C must not kill this one alone.
        biased;
        () = wait_for_interrupt() => Err(Failure::new(FailureKind::Interrupted, "Interrupted.")),
        done = work => Ok(done),
    }
}

/// Says what is not there in time: any answer, or the end of one.
fn late_answer(firewall: &str, seconds: u64, arrived: usize) -> String {
    let span = format_span(seconds);
    match arrived >> 20 {
        0 => format!("{firewall} did not answer within {span}."),
        mebibytes => format!(
            "The answer of {firewall} did not end within {span}: more than {mebibytes} MiB came."
        ),
    }
}

/// Returns the fact, or fails the command with the reason: for facts a command is nothing without.
pub fn require_answer<T>(fact: &Answer<T>) -> Result<&T> {
    fact.as_ref().map_err(Failure::from)
}

/// Returns the fact, or `None` and a warning that names what is missing from the answer.
pub fn answer_or_warning<'a, T>(
    fact: &'a Answer<T>,
    what: &str,
    warnings: &mut Vec<Warning>,
) -> Option<&'a T> {
    match fact {
        Ok(value) => Some(value),
        Err(error) => {
            warnings.push(Warning::new("fact-missing", format!("{what}: unknown, as {error}.")));
            None
        }
    }
}

fn random_nonce() -> Result<Nonce> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| {
        Failure::failed(format!("This machine gives no random numbers: {error}."))
    })?;
    Ok(Nonce::new(bytes))
}
