//! `kmsctl exporter run`: asks the firewall again and again over one held connection, serves what it learns to Prometheus,
//! and prints and keeps who was blocked and released.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Args as ClapArgs, Subcommand};
use tokio::time::Instant as TokioInstant;

use super::log_side::{self, KmsActivity};
use super::{states, status, virusprot};
use crate::app::{Context, OpenedSession, wait_for_interrupt};
use crate::domain::virusprot::block_log::{BlockEvent, BlockWatch};
use crate::domain::virusprot::entries::{Blocked, Flag};
use crate::error::{Failure, FailureKind, Result};
use crate::exporter::activations::ActivationFile;
use crate::exporter::block_record::{BlockRecord, MOST_EVENTS};
use crate::exporter::customer_posts::CustomerPosts;
use crate::exporter::logins::{FileStamps, LoginPolicy};
use crate::exporter::metrics::{FirewallPages, FirewallSample};
use crate::notifier::checkpoint::{CheckpointStore, StoreError};
use crate::notifier::http::serve_pages;
use crate::notifier::listen_or_fail;
use crate::notifier::sender::SenderSettings;
use crate::pfsense::questions::Reading;
use crate::settings::exporter::Exporter as Settings;
use crate::settings::notifier::{Notifier, Webhook};
use crate::settings::values;
use crate::ssh::error::LinkError;
use crate::text::{escape_json, quoted_for_shell};

/// How often the cluster is asked who was activated.
const CUSTOMERS_EVERY: Duration = Duration::from_secs(60);
/// How often is looked whether a login may be tried again.
const LOGIN_LOOK: Duration = Duration::from_secs(5);
/// How often is looked what Slack has taken.
const POSTS_LOOK: Duration = Duration::from_secs(1);

const POSTS_UNKEPT: &str = "What waits for Slack cannot be written down";

/// Arguments of `kmsctl exporter`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the firewall's side to Prometheus, and keep a record of who was blocked
    ///
    /// It changes nothing. One connection is held, with one question on it at a time. After a refused login, or with a host key
    /// that is not trusted, it does not log in again until a key, known_hosts or configuration file has changed, and then reads
    /// the configuration again; after a lost connection it waits 1 to 15 minutes, and it logs in at most twice in 30 minutes.
    Run(Run),
}

#[derive(Debug, ClapArgs)]
struct Run {
    /// Serve /metrics, /healthz and /readyz here (default: exporter.listen)
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
    /// Ask the firewall so often (default: exporter.interval)
    #[arg(long, value_name = "DURATION", value_parser = values::parse_duration)]
    every: Option<Duration>,
    /// Read who is a customer from this file of the notifier's events (default: exporter.events_file)
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    events_file: Option<PathBuf>,
    #[command(flatten)]
    record: RecordPlace,
}

#[derive(Debug, Default, ClapArgs)]
pub(super) struct RecordPlace {
    /// The exporter's record is in this directory (default: exporter.state_dir)
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    state_dir: Option<PathBuf>,
}

impl RecordPlace {
    /// Returns whether it was named, so that no other record is meant.
    pub(super) fn is_named(&self) -> bool {
        self.state_dir.is_some()
    }

    /// Returns the command that shows the record, where none finds it by the configuration.
    fn history_command(&self, context: &Context, settings: &Settings) -> Result<Option<String>> {
        let directory = self.directory(context, settings)?;
        if directory == Self::default().directory(context, settings)? {
            return Ok(None);
        }
        let directory = std::path::absolute(&directory).unwrap_or(directory);
        let directory = directory.display().to_string();
        let word = quoted_for_shell(&directory);
        Ok(Some(format!("kmsctl virusprot history --state-dir {word}")))
    }

    /// Returns the directory.
    ///
    /// # Errors
    /// Where there is no place for a history.
    pub(super) fn directory(&self, context: &Context, settings: &Settings) -> Result<PathBuf> {
        if let Some(directory) = self.state_dir.as_ref().or(settings.state_dir.as_ref()) {
            return Ok(directory.clone());
        }
        // Each context is about a box of its own; the demo's have a directory each already.
        let chosen = context.layers.chosen_context().filter(|_| !context.demo);
        let name = chosen.map_or_else(String::new, |name| format!("-{name}"));
        Ok(context.memory_directory()?.join(format!("exporter{name}")))
    }
}

/// Runs `kmsctl exporter …`.
pub async fn run_exporter(context: &Context, arguments: &Args) -> Result<()> {
    let Command::Run(arguments) = &arguments.command;
    let settings = Settings::resolve(&context.settings_reader())?;
    let every = arguments.every.unwrap_or(settings.interval);
    if every < Duration::from_secs(1) {
        return Err(Failure::usage("--every: the shortest interval is 1s."));
    }
    let directory = arguments.record.directory(context, &settings)?;
    let unusable = |error| {
        Failure::usage(format!(
            "The directory {} cannot hold the record: {error}.",
            directory.display()
        ))
    };
    let known = BlockRecord::read(&directory).map_err(unusable)?;
    let record = BlockRecord::open(&directory).map_err(unusable)?;
    let store = CheckpointStore::open(&directory).map_err(|error| match error {
        StoreError::Taken(_) => Failure::new(
            FailureKind::Conflict,
            format!("Another exporter uses {}.", directory.display()),
        ),
        StoreError::Unusable(_, error) => unusable(error),
    })?;
    let listen = arguments.listen.unwrap_or(settings.listen);
    let listener = listen_or_fail(listen).await?;
    let pages = Arc::new(FirewallPages::new(every * 3 + context.settings.timeout * 2));
    let listen = listener.local_addr().unwrap_or(listen);
    let page = tokio::spawn(serve_pages(listener, Arc::clone(&pages)));
    context.terminal.say(&format!(
        "Metrics are on http://{listen}/metrics; the record is in {}.",
        directory.display()
    ));
    if let Some(command) = arguments.record.history_command(context, &settings)? {
        context.terminal.hint(&format!(
            "Who was blocked: `{command}`; previews read this record once exporter.state_dir names it."
        ));
    }
    let mut exporter = Exporter {
        files: login_files(context),
        context: context.read_again()?,
        pages,
        record,
        watch: BlockWatch::resume_record(known.unwrap_or_default()),
        policy: LoginPolicy::default(),
        opened: None,
        heard: (None, KmsActivity::default()),
        activations: arguments
            .events_file
            .clone()
            .or(settings.events_file)
            .map(ActivationFile::new),
        posts: start_posts(context, settings.webhook, store)?,
        said: None,
        said_beside: BTreeMap::new(),
    };
    tokio::select! {
        () = exporter.look_again_and_again(every) => {}
        () = wait_for_interrupt() => {}
    }
    page.abort();
    let finished = exporter.posts.0.finish_posts();
    exporter.note_result(POSTS_UNKEPT, finished);
    match exporter.opened.take() {
        Some(opened) => opened.close().await,
        None => Ok(()),
    }
}

/// Starts what posts to Slack. Without a webhook the store only keeps others out of the directory.
fn start_posts(
    context: &Context,
    webhook: Webhook,
    store: CheckpointStore,
) -> Result<(CustomerPosts, bool)> {
    let notifier = Notifier::resolve(&context.settings_reader())?;
    let posting = !matches!(webhook, Webhook::None);
    let how = SenderSettings {
        webhook,
        channel: notifier.channel,
        interval: notifier.post_interval,
        digest_from: notifier.digest_from,
    };
    let terminal = context.terminal;
    let say = Box::new(move |sentence: &str| terminal.caution(sentence));
    Ok((CustomerPosts::start(store, how, say), posting))
}

/// Lists the files that decide whether and where a login is let in.
fn login_files(context: &Context) -> Vec<PathBuf> {
    let target = &context.settings.firewall.target;
    let home = context.environment.home.iter();
    let configuration = context.layers.file.clone().or_else(|| context.environment.config_file());
    let ssh = home.flat_map(|home| {
        ["", "config", "known_hosts", "id_ed25519", "id_ecdsa", "id_rsa"]
            .map(|name| home.join(".ssh").join(name))
    });
    let system = ["ssh_config", "ssh_known_hosts"].map(|name| PathBuf::from("/etc/ssh").join(name));
    let configured = [&target.identity, &target.known_hosts, &target.ssh_config].map(Clone::clone);
    configured.into_iter().chain([configuration]).flatten().chain(system).chain(ssh).collect()
}

struct Exporter {
    /// The configuration as it was read last.
    context: Context,
    pages: Arc<FirewallPages>,
    record: BlockRecord,
    watch: BlockWatch,
    policy: LoginPolicy,
    files: Vec<PathBuf>,
    opened: Option<OpenedSession>,
    heard: (Option<Instant>, KmsActivity),
    activations: Option<ActivationFile>,
    posts: (CustomerPosts, bool),
    /// The last trouble, which is said once.
    said: Option<String>,
    /// Troubles beside the firewall's, which are said once as well.
    said_beside: BTreeMap<&'static str, String>,
}

impl Exporter {
    async fn look_again_and_again(&mut self, every: Duration) {
        loop {
            let then = TokioInstant::now() + every;
            self.pages.note_beat(Instant::now());
            match self.look().await {
                Err(failure) if failure.kind != FailureKind::Interrupted => {
                    self.note_failure(&failure);
                }
                _ => {}
            }
            self.pages.note_beat(Instant::now());
            self.wait_until(then).await;
        }
    }

    /// Waits, and looks each second what Slack has taken.
    async fn wait_until(&mut self, then: TokioInstant) {
        loop {
            self.keep_posts();
            let now = TokioInstant::now();
            if now >= then {
                return;
            }
            tokio::time::sleep_until(then.min(now + POSTS_LOOK)).await;
        }
    }

    fn keep_posts(&mut self) {
        let kept = self.posts.0.keep_waiting();
        self.note_result(POSTS_UNKEPT, kept);
    }

    /// Says once what goes wrong beside the firewall, until it goes well again.
    fn note_result(&mut self, start: &'static str, result: std::io::Result<()>) {
        let Err(error) = result else {
            self.said_beside.remove(start);
            return;
        };
        let sentence = format!("{start}: {error}.");
        if self.said_beside.get(start) != Some(&sentence) {
            self.context.terminal.caution(&sentence);
            self.said_beside.insert(start, sentence);
        }
    }

    /// Asks once; logs in before where there is no connection and a login may be tried.
    async fn look(&mut self) -> Result<()> {
        let mut opened = match self.opened.take() {
            Some(opened) => opened,
            None => self.log_in().await?,
        };
        let reading = match self.context.ask(&mut opened).await {
            Ok(reading) => reading,
            Err(failure) => {
                // Its last words would only be that it is gone.
                let _ = opened.close().await;
                return Err(failure);
            }
        };
        self.opened = Some(opened);
        self.policy.note_answer();
        match reading.list_unread() {
            Some(error) => {
                let account = "Which account may read pf's lists: `kmsctl runbook exporter`.";
                self.say_trouble(&Failure::from(error).hint(account));
            }
            None if self.said.take().is_some() => {
                self.context.terminal.say("The firewall answers again.");
            }
            None => {}
        }
        self.ask_for_customers().await;
        self.note_reading(&reading);
        Ok(())
    }

    async fn log_in(&mut self) -> Result<OpenedSession> {
        loop {
            let files = FileStamps::take(&self.files);
            if self.policy.allows_login(TokioInstant::now(), &files)
                && self.renew_after_refusal(files)
            {
                break;
            }
            self.pages.note_beat(Instant::now());
            self.wait_until(TokioInstant::now() + LOGIN_LOOK).await;
        }
        self.policy.note_login(TokioInstant::now(), FileStamps::take(&self.files));
        self.pages.count_login();
        Box::pin(self.context.open(status::QUESTIONS)).await
    }

    /// Reads the configuration again where the last login was refused, as a file has changed since: the firewall's key, or its
    /// address, may rightly be another. Returns whether a login can be tried.
    fn renew_after_refusal(&mut self, files: FileStamps) -> bool {
        if !self.policy.was_refused() {
            return true;
        }
        match self.context.read_again() {
            Ok(context) => {
                self.files = login_files(&context);
                self.context = context;
                true
            }
            Err(failure) => {
                self.policy.note_unusable(files);
                self.say_trouble(&failure);
                false
            }
        }
    }

    fn note_failure(&mut self, failure: &Failure) {
        let cause = failure.source.as_ref();
        let cause = cause.and_then(|cause| cause.downcast_ref::<LinkError>());
        // Another box under the same name is as little to be trusted as another key.
        let refused =
            failure.kind == FailureKind::Conflict || cause.is_some_and(LinkError::needs_repair);
        if refused {
            self.policy.note_refusal();
        } else {
            self.policy.note_loss(TokioInstant::now());
        }
        self.pages.note_down(if refused { "refused" } else { "unreachable" });
        if self.say_trouble(failure) && refused {
            self.context.terminal.hint(
                "There is no further login until a key, known_hosts or configuration file changes.",
            );
        }
    }

    /// Says a trouble, and returns whether it is another than was said last.
    fn say_trouble(&mut self, failure: &Failure) -> bool {
        if self.said.as_ref() == Some(&failure.message) {
            return false;
        }
        self.context.terminal.caution(&failure.message);
        for hint in &failure.hints {
            self.context.terminal.hint(hint);
        }
        self.said = Some(failure.message.clone());
        true
    }

    async fn ask_for_customers(&mut self) {
        if let Some(file) = &mut self.activations {
            let now = self.context.clock.now();
            let read = file.read_clients(now).await;
            let (clients, read) =
                read.map_or_else(|error| (None, Err(error)), |clients| (Some(clients), Ok(())));
            let reaches_day = file.reaches_day(now);
            let heard = clients.map(|clients| KmsActivity::from_file(clients, reaches_day));
            self.heard = (Some(Instant::now()), heard.unwrap_or_default());
            let start = "Who is a customer is not known, as the file of events cannot be read";
            self.note_result(start, read);
            return;
        }
        let asked = self.heard.0;
        if asked.is_none_or(|asked| asked.elapsed() >= CUSTOMERS_EVERY) {
            let heard = Box::pin(log_side::fetch_kms_activity(&self.context)).await;
            self.heard = (Some(Instant::now()), heard);
        }
    }

    fn note_reading(&mut self, reading: &Reading) {
        let heard = &self.heard.1;
        let is_heard = heard.side.as_ref().is_some_and(|side| side.unknown.is_empty());
        let customers_known = is_heard && heard.reaches_day;
        let mut unsaid = Vec::new();
        let table = virusprot::assess_table(&self.context, reading, heard, None, &mut unsaid).ok();
        let mut sample = sample_reading(&self.context, reading);
        if let Some(table) = &table {
            let entries = &table.entries;
            let is_customer = |entry: &&Blocked| entry.flags.contains(&Flag::Customer);
            sample.blocked = Some(entries.len() as u64);
            let customers = entries.iter().filter(is_customer).count() as u64;
            sample.blocked_customers = (customers_known || customers > 0).then_some(customers);
            sample.oldest_blocked = entries.iter().filter_map(|entry| entry.age_seconds).max();
            sample.expiry_working = table.expiry.working();
            let events = self.watch.compare_entries(entries, customers_known, reading.clock.now);
            self.report_events(&events);
        }
        self.pages.note_sample(sample, Instant::now());
    }

    /// Prints and keeps what happened; neither stops the metrics.
    fn report_events(&mut self, events: &[BlockEvent]) {
        let terminal = self.context.terminal;
        for event in events.iter().take(MOST_EVENTS) {
            if let Ok(line) = serde_json::to_string(event) {
                let _ = terminal.write(&format!("{}\n", escape_json(line)));
            }
        }
        if events.len() > MOST_EVENTS {
            let more = events.len() - MOST_EVENTS;
            terminal
                .caution(&format!("{more} more events of one look are neither printed nor kept."));
        }
        // On disk before the record: a kill in between repeats a post and loses none.
        if self.posts.1 {
            let chosen = self.context.layers.chosen_context();
            let flag = chosen.map_or_else(String::new, |name| format!("--context {name} "));
            let command = |address: &str| {
                let command = format!("kmsctl {flag}virusprot delete {address}");
                terminal.pasted(&command).into_owned()
            };
            self.posts.0.add_blocked(events, command);
            self.keep_posts();
        }
        let added = self.record.add_events(events);
        self.note_result("The record of block events cannot be written", added);
    }
}

/// Everything but the table.
fn sample_reading(context: &Context, reading: &Reading) -> FirewallSample {
    let mut unsaid = Vec::new();
    let exposure = context.situation(reading).exposure().ok();
    let states = exposure
        .and_then(|exposure| states::assess_states(context, reading, exposure, &mut unsaid).ok());
    let pf = status::read_pf_view(reading);
    let configured = reading.configured.as_ref().ok();
    FirewallSample {
        at: reading.clock.now.as_second(),
        list_unread: reading.list_unread().is_some(),
        answers: reading.asked_answers(),
        sources: states.map(|states| states.sources.len() as u64),
        pf_enabled: pf.enabled,
        pf_states: pf.states,
        pf_states_limit: pf.states_limit,
        overloads: pf.overload_insertions,
        armed: configured.map(|configured| configured.armed.len() as u64),
        exposure: exposure.cloned(),
        ..FirewallSample::default()
    }
}
