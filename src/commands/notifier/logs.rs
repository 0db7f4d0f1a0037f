//! `kmsctl notifier logs`: what the notifier echoes, or the server's own file, now or as it grows.

mod choice;

use super::status;
use super::status::{FoundPod, Layout};
use crate::app::{Context, wait_for_interrupt};
use crate::domain::cluster::objects::{Container, ObjectNames, Pod};
use crate::domain::kms_log::Log;
use crate::domain::notifier::decide::{Decision, DecisionRules};
use crate::domain::notifier::event_log::{EventFilter, EventRecord, split_kubectl_stamp};
use crate::domain::notifier::source::ClientSource;
use crate::domain::warning::Warning;
use crate::error::{Failure, FailureKind, Result};
use crate::kubectl::{
    Kubectl, KubectlError, LeftOut, LogStream, PodFilter, PodPart, server_line_timestamp,
};
use crate::settings::notifier::Notifier;
use crate::terminal::{Human, Mode, View};
use crate::text::{clean_text, counted, escape_json, format_span};
use choice::Choice;
use clap::Args as ClapArgs;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::sync::mpsc::Sender;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// Most entries of an answer that is no stream; the newest are kept.
const MOST: usize = 50_000;

/// Entries of a table, the newest, where nothing else is said.
const NEWEST: usize = 200;

/// A follower that prints nothing says that it is alive: after so long, and then each time after twice as long, at most
/// [`LONGEST_QUIET`].
const QUIET: Duration = Duration::from_secs(10);

const LONGEST_QUIET: Duration = Duration::from_secs(640);

/// Lines of the server's file that are read where nothing else is said.
const LAST_LINES: usize = 200;

/// Lines of it that are read to reach back to `--since`.
pub const MOST_LINES: usize = 100_000;

/// Items between the readers and the printer.
const WAITING: usize = 256;

/// How often it is looked for new pods; their output waits for us.
const LOOK: Duration = Duration::from_secs(10);

/// How often in a row a refusal is taken for an API server that has just started, once it had answered.
const PATIENT: u32 = 5;

/// A stream that is silent for so long is opened anew: some kubelets stop it at a rotation without a word.
const SILENT: Duration = Duration::from_secs(300);

/// Waits between two tries, in seconds; the last repeats.
const WAITS: [u64; 6] = [1, 2, 4, 8, 15, 30];

/// How long after a reconnection the first known line is waited for.
const SETTLE: Duration = Duration::from_secs(3);

/// Printed where the place of a log was not found again.
const MISSING: &str =
    "the log no longer reaches back to the last line shown, so lines may be missing or come twice.";

const EVENT_COLUMNS: &[&str] = &[
    "pod",
    "at",
    "event",
    "address",
    "port",
    "source",
    "product",
    "product_id",
    "workstation",
    "status",
    "decision",
    "attribution",
    "kind",
    "text",
];

const LINE_COLUMNS: &[&str] = &["pod", "line"];

/// How far back a stamped log is asked for again: lines of stdout and stderr may be a little out of order.
const OVERLAP: SignedDuration = SignedDuration::from_secs(2);

/// Most lines remembered of that time; beyond it, in a flood, lines may come twice rather than be lost.
const MOST_SEEN_LINES: usize = 65_536;

/// Lines of a file that are remembered to find the place again. Each bears a time and most a port: so many in the same
/// order are one place.
const REMEMBERED: usize = 64;

/// Arguments of `kmsctl notifier logs`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Read the server's own log file in the pod, through exec; without a filter its lines are printed as they are
    #[arg(long)]
    server: bool,
    /// Go on as it grows, through restarts and cuts, until Ctrl-C
    #[arg(short, long)]
    follow: bool,
    /// Only what is younger than this, such as 2h, or a time [default: 24h; with --follow 10m; with --server the last lines]
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// Only what is older than this, such as 30m, or a time
    #[arg(long, value_name = "WHEN", conflicts_with = "follow")]
    until: Option<String>,
    /// Only the last so many lines [default: 200 in a table without --since and --until]
    #[arg(long, value_name = "N")]
    tail: Option<usize>,
    /// Only lines that match this, as they are printed; may be given several times
    #[arg(long, value_name = "REGEX")]
    include: Vec<String>,
    /// No lines that match this; may be given several times
    #[arg(long, value_name = "REGEX")]
    exclude: Vec<String>,
    /// Mark what matches this, where colour is on
    #[arg(long, value_name = "REGEX")]
    highlight: Vec<String>,
    /// Only clients of this class
    #[arg(long, value_name = "CLASS", value_parser = ["external", "cluster_node", "internal_pod"])]
    source: Option<String>,
    /// Only activations, refused ones included
    #[arg(long)]
    activations: bool,
    /// Show probes, which are connections without a request, in the table as well; other forms always hold them
    #[arg(long)]
    probes: bool,
}

/// What a reader hands to the printer.
enum Item {
    Line {
        pod: String,
        line: Vec<u8>,
    },
    /// Something an operator should know.
    Say(String),
    Fail(Failure),
}

/// Runs `kmsctl notifier logs`.
pub async fn run_logs(context: &Context, arguments: &Args) -> Result<()> {
    let now = context.clock.now();
    let moment = |flag: &str, text: Option<&str>| {
        text.map(|text| choice::parse_moment(flag, text, now)).transpose()
    };
    let since = moment("--since", arguments.since.as_deref())?;
    let until = moment("--until", arguments.until.as_deref())?;
    let choice = Choice::new(&arguments.include, &arguments.exclude, &arguments.highlight, until)?;
    if arguments.follow && context.terminal.mode == Mode::Json {
        return Err(Failure::usage(
            "--follow never ends, so it prints no JSON object; use -o ndjson.",
        ));
    }
    let kubectl = status::configured_kubectl(context)?;
    let filter = EventFilter {
        source: arguments.source.as_deref().and_then(ClientSource::named),
        activations: arguments.activations,
        probes: arguments.probes
            || (context.terminal.mode != Mode::Table && !arguments.activations),
    };
    let as_events = arguments.activations || arguments.probes || arguments.source.is_some();
    let shape = match (arguments.server, as_events) {
        (true, false) => Shape::Lines,
        (true, true) => Shape::ServerEvents,
        (false, _) => Shape::Events,
    };
    let default = match (arguments.server, arguments.follow) {
        (true, _) => SignedDuration::MAX,
        (false, true) => SignedDuration::from_mins(10),
        (false, false) => SignedDuration::from_hours(24),
    };
    let since_time =
        since.unwrap_or_else(|| now.checked_sub(default).unwrap_or(Timestamp::UNIX_EPOCH));
    let file = arguments.server.then(|| server_file(context)).transpose()?;
    let chosen = choice.reads_text() || until.is_some();
    let lines = match (since, arguments.follow) {
        (Some(_), _) => MOST_LINES,
        (None, true) => arguments.tail.unwrap_or(20),
        (None, false) if chosen => MOST_LINES,
        (None, false) => arguments.tail.unwrap_or(LAST_LINES).max(LAST_LINES),
    };
    let cluster = &context.settings.cluster;
    let followed = Followed {
        kubectl,
        namespace: cluster.namespace.clone(),
        container: if arguments.server {
            cluster.names.server.clone()
        } else {
            cluster.names.notifier.clone()
        },
        names: cluster.names.clone(),
        since: since_time,
        file: file.map(|file| (file, lines)),
    };
    let printer = LogPrinter::new(context, shape, filter, since_time, choice);
    if arguments.follow {
        Box::pin(follow_logs(context, followed, printer)).await
    } else {
        Box::pin(print_logs_once(context, &followed, printer, arguments)).await
    }
}

/// Returns the server's log file; it becomes a word of a command in the pod.
fn server_file(context: &Context) -> Result<String> {
    let log = Notifier::resolve(&context.layers, &context.environment)?.log;
    let file = log.display().to_string();
    if file.starts_with('/') {
        Ok(file)
    } else {
        Err(Failure::usage(format!(
            "notifier.log is `{file}`, which is no absolute path in the pod."
        )))
    }
}

/// Follows until Ctrl-C.
async fn follow_logs(
    context: &Context,
    followed: Followed,
    mut printer: LogPrinter<'_>,
) -> Result<()> {
    let (sender, mut items) = mpsc::channel(WAITING);
    let readers = tokio::spawn(follow_all_pods(followed, sender));
    printer.print_head()?;
    let print = async {
        let (mut last, mut quiet) = (Instant::now(), QUIET);
        let mut next = last + quiet;
        loop {
            match timeout_at(next, items.recv()).await {
                Ok(Some(Item::Line { pod, line })) => {
                    for entry in printer.read_line(&pod, &line) {
                        printer.print_entry(&entry)?;
                        (last, quiet) = (Instant::now(), QUIET);
                        next = last + quiet;
                    }
                }
                Ok(Some(Item::Say(sentence))) => context.terminal.say(&sentence),
                Ok(Some(Item::Fail(failure))) => return Err(failure),
                Ok(None) => return Ok(()),
                Err(_) => {
                    let span = format_span(last.elapsed().as_secs());
                    let hidden = match std::mem::take(&mut printer.hidden_probes) {
                        0 => String::new(),
                        count => format!(" but {}", counted(count, "probe", "probes")),
                    };
                    context.terminal.say(&format!("Nothing new for {span}{hidden}."));
                    quiet = (quiet * 2).min(LONGEST_QUIET);
                    next = Instant::now() + quiet;
                }
            }
        }
    };
    let ended = tokio::select! {
        ended = print => ended,
        () = wait_for_interrupt() => Err(Failure::new(FailureKind::Interrupted, "Stopped.")),
    };
    readers.abort();
    ended
}

async fn print_logs_once(
    context: &Context,
    followed: &Followed,
    mut printer: LogPrinter<'_>,
    arguments: &Args,
) -> Result<()> {
    let (pods, _) = status::kubectl_or_interrupt(
        context,
        status::find_notifier_pods(context, &followed.kubectl),
    )
    .await?;
    let mut entries: VecDeque<PrintedEntry> = VecDeque::new();
    let mut left_out = 0_u64;
    let (mut warnings, mut long) = (Vec::new(), Vec::new());
    let mut trouble: Option<Failure> = None;
    let mut read: BTreeMap<String, usize> = BTreeMap::new();
    let until = Instant::now() + context.settings.timeout;
    for FoundPod { name, pod, .. } in &pods {
        let restarts = pod
            .as_ref()
            .and_then(|pod| pod.container(&followed.container))
            .map_or(0, |container| container.restart_count);
        let rounds: &[bool] =
            if restarts > 0 && followed.file.is_none() { &[true, false] } else { &[false] };
        for previous in rounds {
            let take = |line: &[u8]| {
                *read.entry(name.clone()).or_default() += 1;
                for entry in printer.read_line(name, line) {
                    entries.push_back(entry);
                    if entries.len() > MOST {
                        entries.pop_front();
                        left_out += 1;
                    }
                }
            };
            let work = drain_container(context, followed, name, *previous, until, take);
            // What ran before a restart may be gone.
            match status::kubectl_or_interrupt(context, async { Ok(work.await) }).await? {
                Ok(left_out) => long.extend(too_long(name, left_out)),
                Err(error) if !previous => {
                    let failure = match &error {
                        KubectlError::TimedOut { seconds, .. } if read.contains_key(name) => {
                            never_ended(*seconds)
                        }
                        _ => explain_log_error(error, followed),
                    };
                    let text = format!("{name}: {}", failure.message);
                    warnings.push(Warning::new("pod-unread", text));
                    trouble.get_or_insert(failure);
                }
                Err(_) => {}
            }
        }
    }
    let trouble = match trouble {
        Some(failure) if warnings.len() == pods.len() && entries.is_empty() => return Err(failure),
        trouble => trouble.filter(|_| warnings.len() == pods.len()),
    };
    let cut = arguments.server && arguments.since.is_some();
    let full = cut && read.values().any(|count| *count >= MOST_LINES);
    warnings.extend(long);
    warnings.extend(older_lines_warning(left_out, full));
    let names: Vec<String> = pods.into_iter().map(|pod| pod.name).collect();
    if names.len() > 1 && printer.shape != Shape::Lines {
        entries.make_contiguous().sort_by_key(|entry| match &entry.what {
            PrintedKind::Event(record) => record.at,
            PrintedKind::Line { .. } => None,
        });
    }
    let table = context.terminal.mode == Mode::Table;
    let chosen = !table || arguments.since.is_some() || arguments.until.is_some();
    let tail = arguments.tail.unwrap_or(if chosen { MOST } else { NEWEST });
    let older = entries.len().saturating_sub(tail);
    entries.drain(..older);
    let empty = no_lines_message(&names, arguments, &context.settings.cluster.names.selector);
    let is_empty = entries.is_empty();
    printer.print_all(&names, entries.make_contiguous(), warnings, empty)?;
    if table && !is_empty && older > 0 && arguments.tail.is_none() {
        let older = counted(older, "older entry is", "older entries are");
        let hint = format!("{older} not shown; see --tail and --since.");
        context.terminal.hint(&hint);
    }
    if printer.hidden_probes > 0 {
        let probes = counted(printer.hidden_probes, "probe is", "probes are");
        let hint = format!("{probes} not shown; --probes shows them.");
        context.terminal.hint(&hint);
    }
    trouble.map_or(Ok(()), Err)
}

/// Of a log that goes on and on, as one is that somebody fills or a program in between holds open.
fn never_ended(seconds: u64) -> Failure {
    let span = format_span(seconds);
    Failure::unreachable(format!(
        "The log did not end within {span}: what came until then is shown, and newer lines may be missing."
    ))
    .hint("Give it more time with --timeout, or read less of it with --since.")
}

fn too_long(pod: &str, left_out: LeftOut) -> Option<Warning> {
    let note = left_out.note()?;
    Some(Warning::new("line-left-out", format!("{pod}: {note}.")))
}

/// Warns of older lines that are not shown.
fn older_lines_warning(left_out: u64, full: bool) -> Vec<Warning> {
    let code = "older-left-out";
    let left_out = (left_out > 0).then(|| {
        let text = "older entries are left out; narrow it with --since or a filter.";
        Warning::new(code, format!("{left_out} {text}"))
    });
    let full = full.then(|| {
        Warning::new(code, format!("Only the last {MOST_LINES} lines of the file were read."))
    });
    [left_out, full].into_iter().flatten().collect()
}

fn no_lines_message(pods: &[String], arguments: &Args, selector: &str) -> String {
    if pods.is_empty() {
        return format!(
            "There is no pod with the label {selector}. `kmsctl notifier status` shows more."
        );
    }
    let hint = match (arguments.server, arguments.probes) {
        (true, _) => "",
        (false, true) => {
            " The notifier echoes probes only when it runs with --echo=all; --server reads them from the server's own file."
        }
        (false, false) => " The notifier prints events only when it runs with --echo.",
    };
    format!("There is nothing of that kind.{hint}")
}

/// Reads the last lines of the server's own file in a pod, at most [`MOST_LINES`].
pub async fn read_server_file(
    context: &Context,
    kubectl: &Kubectl,
    pod: &str,
    take: impl FnMut(&[u8]),
) -> Result<LeftOut> {
    let cluster = &context.settings.cluster;
    let followed = Followed {
        kubectl: kubectl.clone(),
        namespace: cluster.namespace.clone(),
        names: cluster.names.clone(),
        container: cluster.names.server.clone(),
        since: Timestamp::UNIX_EPOCH,
        file: Some((server_file(context)?, MOST_LINES)),
    };
    let until = Instant::now() + context.settings.timeout;
    let drained = drain_container(context, &followed, pod, false, until, take).await;
    drained.map_err(|error| explain_log_error(error, &followed))
}

/// Reads one container to the end of what there is, or until a moment; returns what was too long to be read.
async fn drain_container(
    context: &Context,
    followed: &Followed,
    pod: &str,
    previous: bool,
    until: Instant,
    mut take: impl FnMut(&[u8]),
) -> std::result::Result<LeftOut, KubectlError> {
    let mut stream = open_log_stream(&followed.kubectl, followed, pod, previous)?;
    let silence = context.settings.cluster.timeout;
    loop {
        let next = timeout_at(until.min(Instant::now() + silence), stream.next());
        let Ok(line) = next.await else {
            let whole = context.settings.timeout;
            let seconds = if Instant::now() < until { silence } else { whole }.as_secs();
            return Err(KubectlError::TimedOut { seconds, said: String::new() });
        };
        match line? {
            Some(line) => take(&line),
            None => return Ok(stream.left_out()),
        }
    }
}

fn open_log_stream(
    kubectl: &Kubectl,
    followed: &Followed,
    pod: &str,
    previous: bool,
) -> std::result::Result<LogStream, KubectlError> {
    let place = PodFilter { namespace: &followed.namespace, pod, container: &followed.container };
    if let Some((file, lines)) = &followed.file {
        return kubectl.stream_file(&place, file, *lines, false);
    }
    let part = PodPart { since: Some(followed.since), previous, ..PodPart::default() };
    kubectl.stream_output(&place, part, false)
}

/// Turns kubectl's error into a failure that says which right is missing, or which container.
fn explain_log_error(error: KubectlError, followed: &Followed) -> Failure {
    let server = followed.file.is_some();
    if matches!(error, KubectlError::NoContainer { .. }) {
        return followed.without_container();
    }
    let forbidden = matches!(error, KubectlError::Forbidden { .. });
    let failure = Failure::from(error);
    match (forbidden, server) {
        (true, true) => failure
            .hint("The server writes its log into a file only, so reading it needs exec: the verbs get and create on pods/exec, which is nearly the right to do anything in the pod.")
            .hint("`kmsctl notifier logs` needs the verb get on pods/log only: the notifier echoes what it reads."),
        (true, false) => failure.hint("The verb get on pods/log is needed."),
        _ => failure,
    }
}

#[derive(Clone)]
struct Followed {
    /// The way there.
    pub kubectl: Kubectl,
    pub namespace: String,
    pub names: ObjectNames,
    pub container: String,
    /// From when on.
    pub since: Timestamp,
    /// The server's file and how many of its last lines, instead of the output.
    pub file: Option<(String, usize)>,
}

impl Followed {
    fn without_container(&self) -> Failure {
        let key = match self.file {
            Some(_) => "cluster.server_container",
            None => "cluster.notifier_container",
        };
        let message = format!("The pod has no container {}.", self.container);
        Failure::usage(message).hint(format!("Does {key} fit what is deployed?"))
    }
}

/// Follows every pod until the printer is gone.
async fn follow_all_pods(followed: Followed, listeners: Sender<Item>) {
    let mut known: BTreeSet<String> = BTreeSet::new();
    let mut tasks = JoinSet::new();
    let mut first = true;
    let mut reported = false;
    let mut refusals = 0;
    loop {
        match followed.kubectl.pods(&followed.namespace, &followed.names).await {
            Ok(list) => {
                reported = false;
                refusals = 0;
                // A name that is still listed is not followed twice, though its task may have ended.
                known.retain(|name| list.items.iter().any(|pod| pod.metadata.name == *name));
                if first && !list.items.is_empty() {
                    let names = list.items.iter().map(|pod| pod.metadata.name.as_str());
                    let names = names.collect::<Vec<_>>().join(", ");
                    send_notice(&listeners, &format!("Following {names}; Ctrl-C ends.")).await;
                }
                if list.items.is_empty() && first {
                    send_notice(&listeners, "There is no pod; waiting for one.").await;
                }
                for pod in list.items {
                    let name = pod.metadata.name.clone();
                    let wanted = |wanted: &Container| wanted.name == followed.container;
                    if first && !pod.spec.containers.iter().any(wanted) {
                        let failure = followed.without_container();
                        let hint = failure.hints.join(" ");
                        send_notice(&listeners, &format!("{name}: {} {hint}", failure.message))
                            .await;
                    }
                    if pod.container(&followed.container).is_none() || !known.insert(name.clone()) {
                        continue;
                    }
                    if !first {
                        send_notice(&listeners, &format!("A new pod: {name}.")).await;
                    }
                    tasks.spawn(follow_one_pod(followed.clone(), pod, listeners.clone()));
                }
            }
            Err(error) if !first && refusals < PATIENT && is_refusal(&error) => {
                refusals += 1;
            }
            Err(error) if first || is_final(&error) => {
                let _ = listeners.send(Item::Fail(Failure::from(error))).await;
                return;
            }
            Err(error) if !reported => {
                reported = true;
                send_notice(&listeners, &format!("New pods cannot be looked for: {error}.")).await;
            }
            Err(_) => {}
        }
        first = false;
        tokio::select! {
            () = sleep(LOOK) => {}
            Some(_) = tasks.join_next() => sleep(Duration::from_secs(1)).await,
            () = listeners.closed() => return,
        }
    }
}

async fn send_notice(listeners: &Sender<Item>, sentence: &str) {
    let _ = listeners.send(Item::Say(sentence.to_owned())).await;
}

/// Returns whether the cluster refuses what it may have granted before.
fn is_refusal(error: &KubectlError) -> bool {
    matches!(error, KubectlError::Forbidden { .. } | KubectlError::Unauthorized { .. })
}

/// Returns whether trying again is pointless.
fn is_final(error: &KubectlError) -> bool {
    matches!(
        error,
        KubectlError::Forbidden { .. }
            | KubectlError::Unauthorized { .. }
            | KubectlError::Missing { .. }
            | KubectlError::NotStarted { .. }
            | KubectlError::Configuration { .. }
    )
}

enum Fate {
    /// It is as it was: the stream was cut.
    Same,
    Restarted,
    /// It is not there any more.
    Gone,
}

/// The place in one container's output, or in the server's file.
enum Cursor {
    Output(LogCursor),
    File(TailSeam),
}

/// Follows one pod until there is nothing more to follow.
async fn follow_one_pod(followed: Followed, pod: Pod, listeners: Sender<Item>) {
    let mut reader = FollowReader {
        restarts: restarts_of(&pod, &followed.container),
        cursor: match followed.file {
            Some(_) => Cursor::File(TailSeam::default()),
            None => Cursor::Output(LogCursor::default()),
        },
        name: pod.metadata.name,
        cut: None,
        tries: 0,
        opened: false,
        heard: false,
        refusals: 0,
        followed,
        listeners,
    };
    while reader.follow_once().await {}
}

fn restarts_of(pod: &Pod, container: &str) -> u64 {
    pod.container(container).map_or(0, |container| container.restart_count)
}

struct FollowReader {
    followed: Followed,
    listeners: Sender<Item>,
    name: String,
    cursor: Cursor,
    restarts: u64,
    /// Why the stream before ended, until the reconnection is reported.
    cut: Option<String>,
    tries: usize,
    opened: bool,
    heard: bool,
    refusals: u32,
}

impl FollowReader {
    /// Opens a stream and reads it to its end; returns whether to go on.
    async fn follow_once(&mut self) -> bool {
        let end = match self.open_stream() {
            Ok(stream) => self.read_lines(stream).await,
            Err(error) => Err(error),
        };
        if self.listeners.is_closed() {
            return false;
        }
        let why = match end {
            // Silent: opened anew without a word.
            Ok(false) => return true,
            Ok(true) => {
                self.refusals = 0;
                "the stream ended".to_owned()
            }
            // An API server that has just started refuses everybody until it knows the rights again.
            Err(error) if self.heard && self.refusals < PATIENT && is_refusal(&error) => {
                self.refusals += 1;
                error.to_string()
            }
            Err(error) if is_final(&error) => {
                let _ = self.listeners.send(Item::Fail(self.explain_error(error))).await;
                return false;
            }
            Err(KubectlError::NotFound { .. }) => return self.report_gone().await,
            Err(error) => error.to_string(),
        };
        match self.container_fate().await {
            Ok(Fate::Gone) => return self.report_gone().await,
            Ok(Fate::Restarted) => {
                self.cut = None;
                return self.wait_to_retry().await;
            }
            Ok(Fate::Same) | Err(_) => {}
        }
        if self.cut.is_none() && self.tries > 0 {
            send_notice(&self.listeners, &format!("Lost {}: {why}; trying again.", self.name))
                .await;
        }
        self.cut = Some(why);
        self.wait_to_retry().await
    }

    /// Waits a little, longer each time nothing came; returns whether the printer is still there.
    async fn wait_to_retry(&mut self) -> bool {
        let wait = WAITS.get(self.tries).or(WAITS.last()).copied().unwrap_or(30);
        self.tries += 1;
        tokio::select! {
            () = sleep(Duration::from_secs(wait)) => true,
            () = self.listeners.closed() => false,
        }
    }

    async fn report_gone(&self) -> bool {
        send_notice(&self.listeners, &format!("{} is gone.", self.name)).await;
        false
    }

    /// Opens the stream where the one before ended.
    fn open_stream(&mut self) -> Result<crate::kubectl::LogStream, KubectlError> {
        let place = PodFilter {
            namespace: &self.followed.namespace,
            pod: &self.name,
            container: &self.followed.container,
        };
        let again = std::mem::replace(&mut self.opened, true);
        match (&mut self.cursor, &self.followed.file) {
            (Cursor::File(seam), Some((file, lines))) => {
                let lines = if again { TailSeam::AGAIN } else { *lines };
                seam.reopen();
                self.followed.kubectl.stream_file(&place, file, lines, true)
            }
            (Cursor::Output(seam), _) => {
                let part = PodPart {
                    since: Some(seam.since().unwrap_or(self.followed.since)),
                    ..PodPart::default()
                };
                seam.reopen();
                self.followed.kubectl.stream_output(&place, part, true)
            }
            (Cursor::File(_), None) => {
                Err(KubectlError::Failed { status: -1, said: "no file is followed".to_owned() })
            }
        }
    }

    /// Reads lines until the stream ends (true), or is silent for too long (false).
    async fn read_lines(
        &mut self,
        mut stream: crate::kubectl::LogStream,
    ) -> Result<bool, KubectlError> {
        loop {
            let patience = if self.is_settling() { SETTLE } else { SILENT };
            let line = match timeout(patience, stream.next()).await {
                Ok(line) => line?,
                Err(_) if self.is_settling() => {
                    self.report_resumption(true).await;
                    continue;
                }
                Err(_) => return Ok(false),
            };
            if let Some(note) = stream.left_out().note() {
                send_notice(&self.listeners, &format!("{}: {note}.", self.name)).await;
            }
            let Some(line) = line else { return Ok(true) };
            self.tries = 0;
            self.heard = true;
            if !self.take_line(&line).await {
                return Ok(true);
            }
            if self.is_settling() {
                self.report_resumption(false).await;
            }
        }
    }

    /// Returns whether a reconnection is still to be reported.
    fn is_settling(&self) -> bool {
        let searching = matches!(&self.cursor, Cursor::File(seam) if seam.is_searching());
        self.cut.is_some() || searching
    }

    /// Takes one line; returns whether the printer is still there.
    async fn take_line(&mut self, line: &[u8]) -> bool {
        let new = match &mut self.cursor {
            Cursor::Output(seam) => {
                let text = String::from_utf8_lossy(line);
                let (at, rest) = split_kubectl_stamp(&text);
                let new = at.is_none_or(|at| seam.is_new(at, rest.as_bytes()));
                new.then(|| line.to_vec()).into_iter().collect()
            }
            Cursor::File(seam) => {
                let (lines, sound) = seam.take_new_lines(line);
                if !sound {
                    let _ = self.listeners.send(Item::Say(MISSING.to_owned())).await;
                }
                lines
            }
        };
        for line in new {
            let item = Item::Line { pod: self.name.clone(), line };
            if self.listeners.send(item).await.is_err() {
                return false;
            }
        }
        true
    }

    /// Reports that it goes on, as soon as it is known whether anything was lost; at the latest when nothing comes.
    async fn report_resumption(&mut self, silent: bool) {
        let joined = match &mut self.cursor {
            Cursor::Output(seam) => seam.readings_meet().or(silent.then_some(true)),
            Cursor::File(seam) if !seam.is_searching() => Some(true),
            Cursor::File(_) if !silent => None,
            Cursor::File(seam) => {
                for line in seam.give_up() {
                    let pod = self.name.clone();
                    let _ = self.listeners.send(Item::Line { pod, line }).await;
                }
                Some(false)
            }
        };
        let Some(joined) = joined else { return };
        if self.cut.take().is_some() || !joined {
            let rest = if joined { "nothing is lost." } else { MISSING };
            send_notice(&self.listeners, &format!("Reconnected to {}: {rest}", self.name)).await;
        }
    }

    /// Finds out what became of the pod. What a container printed before its restart is read first.
    async fn container_fate(&mut self) -> Result<Fate, KubectlError> {
        let Followed { kubectl, namespace, names, container, .. } = self.followed.clone();
        let list = kubectl.pods(&namespace, &names).await?;
        let pod = list.items.iter().find(|pod| pod.metadata.name == self.name);
        let Some(pod) = pod else {
            return Ok(Fate::Gone);
        };
        let restarts = restarts_of(pod, &container);
        let times = restarts.saturating_sub(self.restarts);
        self.restarts = restarts;
        if times == 0 {
            return Ok(Fate::Same);
        }
        let whole = self.read_before_restart().await && times == 1;
        let lost = if whole || self.followed.file.is_some() {
            ""
        } else {
            " Some of what it printed before is gone."
        };
        let often = if times == 1 { "again".to_owned() } else { format!("again, {times} times") };
        let sentence = format!("{container} in {} was started {often}.{lost}", self.name);
        send_notice(&self.listeners, &sentence).await;
        Ok(Fate::Restarted)
    }

    /// Reads the rest of what the container printed before its restart; returns whether nothing of it is missing.
    async fn read_before_restart(&mut self) -> bool {
        let Cursor::Output(seam) = &mut self.cursor else {
            return false;
        };
        let place = PodFilter {
            namespace: &self.followed.namespace,
            pod: &self.name,
            container: &self.followed.container,
        };
        let part = PodPart {
            since: Some(seam.since().unwrap_or(self.followed.since)),
            previous: true,
            ..PodPart::default()
        };
        seam.reopen();
        let Ok(text) = self.followed.kubectl.output(&place, part).await else {
            return false;
        };
        for line in text.split('\n').filter(|line| !line.is_empty()) {
            self.take_line(line.as_bytes()).await;
        }
        matches!(&self.cursor, Cursor::Output(seam) if seam.readings_meet() != Some(false))
    }

    fn explain_error(&self, error: KubectlError) -> Failure {
        explain_log_error(error, &self.followed)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Events,
    ServerEvents,
    Lines,
}

#[derive(Clone, Debug, Serialize)]
struct PrintedEntry {
    pod: String,
    #[serde(flatten)]
    what: PrintedKind,
}

#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
enum PrintedKind {
    Event(Box<EventRecord>),
    Line { line: String },
}

struct LogPrinter<'a> {
    context: &'a Context,
    shape: Shape,
    filter: EventFilter,
    since: Timestamp,
    choice: Choice,
    layout: Layout,
    /// Uncut, for what patterns are held against.
    whole: Layout,
    rules: DecisionRules,
    /// What the server's log of each pod said so far.
    logs: BTreeMap<String, Log>,
    /// Whether the last stamped line was young enough; lines without a stamp belong to it.
    young: bool,
    /// How many probes were left out of a table.
    hidden_probes: u64,
}

impl<'a> LogPrinter<'a> {
    fn new(
        context: &'a Context,
        shape: Shape,
        filter: EventFilter,
        since: Timestamp,
        choice: Choice,
    ) -> Self {
        let networks = &context.settings.networks;
        Self {
            context,
            shape,
            filter,
            since,
            choice,
            layout: Layout::new(context.terminal.width),
            whole: Layout::new(None),
            rules: DecisionRules { pods: networks.pods.clone(), nodes: networks.nodes.clone() },
            logs: BTreeMap::new(),
            young: true,
            hidden_probes: 0,
        }
    }

    fn read_line(&mut self, pod: &str, line: &[u8]) -> Vec<PrintedEntry> {
        let mut entries = self.parse_entries(pod, line);
        if self.choice.reads_text() {
            entries.retain(|entry| match &entry.what {
                PrintedKind::Event(record) => {
                    self.choice.wants_line(&self.whole.render_event(record))
                }
                PrintedKind::Line { line } => self.choice.wants_line(line),
            });
        }
        entries
    }

    fn parse_entries(&mut self, pod: &str, line: &[u8]) -> Vec<PrintedEntry> {
        let entry = |what: PrintedKind| PrintedEntry { pod: pod.to_owned(), what };
        match self.shape {
            Shape::Lines => {
                let line = String::from_utf8_lossy(line).into_owned();
                if let Some(at) = server_line_timestamp(&line) {
                    self.young = self.is_within(at);
                }
                let young = self.young.then(|| entry(PrintedKind::Line { line }));
                young.into_iter().collect()
            }
            Shape::Events => {
                let text = String::from_utf8_lossy(line);
                let (printed, line) = split_kubectl_stamp(&text);
                let record = EventRecord::read_line(line, printed);
                let wanted = self.wants_event(&record);
                let printed = wanted.then(|| entry(PrintedKind::Event(Box::new(record))));
                printed.into_iter().collect()
            }
            Shape::ServerEvents => {
                let mut events = Vec::new();
                let log = self.logs.entry(pod.to_owned()).or_default();
                log.read_line(line, &mut events);
                let mut entries = Vec::new();
                for event in &events {
                    let decided = self.rules.describe_event(event, Decision::Count);
                    // About what the server alone wrote nothing has been decided.
                    let record = EventRecord { decision: None, ..EventRecord::from(decided) };
                    if self.wants_event(&record) {
                        entries.push(entry(PrintedKind::Event(Box::new(record))));
                    }
                }
                entries
            }
        }
    }

    fn wants_event(&mut self, record: &EventRecord) -> bool {
        if record.at.is_some_and(|at| !self.is_within(at)) {
            return false;
        }
        let with_probes = EventFilter { probes: !self.filter.activations, ..self.filter };
        let wanted = self.filter.lets_pass(record);
        self.hidden_probes += u64::from(!wanted && with_probes.lets_pass(record));
        wanted
    }

    fn is_within(&self, at: Timestamp) -> bool {
        at >= self.since && self.choice.until.is_none_or(|until| at <= until)
    }

    /// Prints what stands above the first entry of a stream.
    fn print_head(&self) -> Result<()> {
        let terminal = self.context.terminal;
        match (terminal.mode, self.shape) {
            (Mode::Csv, shape) => terminal.write(&(columns_of_shape(shape).join(",") + "\n")),
            (Mode::Table, Shape::Events | Shape::ServerEvents) => {
                terminal.write(&(self.layout.title_row() + "\n"))
            }
            _ => Ok(()),
        }
    }

    fn print_entry(&self, entry: &PrintedEntry) -> Result<()> {
        let terminal = self.context.terminal;
        let text = match terminal.mode {
            Mode::Table => self.entry_text(entry) + "\n",
            Mode::Json | Mode::Ndjson => {
                let text = serde_json::to_string(entry).map_err(|error| {
                    Failure::failed("An event cannot be put into JSON.").with_cause(error)
                })?;
                escape_json(text) + "\n"
            }
            Mode::Csv => {
                let text = self.view(&[], std::slice::from_ref(entry))?.csv()?;
                text.split_once('\n').map_or(String::new(), |(_, record)| record.to_owned())
            }
        };
        terminal.write(&text)
    }

    fn print_all(
        &self,
        pods: &[String],
        entries: &[PrintedEntry],
        warnings: Vec<Warning>,
        nothing: String,
    ) -> Result<()> {
        let empty = entries.is_empty();
        let mut human = Human::default();
        if !empty && self.shape != Shape::Lines {
            human.verbatim(&self.layout.title_row());
        }
        for entry in entries {
            // Cleaned and fitted already.
            human.verbatim(&self.entry_text(entry));
        }
        let mut view = self.view(pods, entries)?;
        view.human = human;
        view.warnings = warnings;
        view.empty = empty.then_some(nothing);
        (view.is_for_reading, view.ends_with_newest) = (true, true);
        self.context.terminal.show(&view)
    }

    fn view(&self, pods: &[String], entries: &[PrintedEntry]) -> Result<View> {
        let list = if self.shape == Shape::Lines { "lines" } else { "events" };
        let mut data = serde_json::json!({ "pods": pods, list: entries });
        if self.context.terminal.mode == Mode::Csv {
            // JSON has escapes for what acts, CSV has none.
            without_controls(&mut data);
        }
        let mut view = View::new("notifier.logs", self.context.clock.now(), &data)?;
        view.items = Some((list, columns_of_shape(self.shape)));
        Ok(view)
    }

    fn entry_text(&self, entry: &PrintedEntry) -> String {
        let text = match &entry.what {
            PrintedKind::Event(record) => self.layout.render_event(record),
            PrintedKind::Line { line } => self.layout.fit_line(&clean_text(line)),
        };
        self.choice.mark_matches(&text, self.context.terminal.stdout_color)
    }
}

fn columns_of_shape(shape: Shape) -> &'static [&'static str] {
    if shape == Shape::Lines { LINE_COLUMNS } else { EVENT_COLUMNS }
}

fn without_controls(value: &mut Value) {
    match value {
        Value::String(text) => *text = clean_text(text).into_owned(),
        Value::Array(items) => items.iter_mut().for_each(without_controls),
        Value::Object(fields) => fields.values_mut().for_each(without_controls),
        _ => {}
    }
}

/// The seam of a log whose lines are stamped.
#[derive(Clone, Debug, Default)]
pub struct LogCursor {
    newest: Option<Timestamp>,
    kept: BTreeMap<(Timestamp, u64), u32>,
    again: Option<Again>,
}

/// What may come again after a cut.
#[derive(Clone, Debug)]
struct Again {
    from: Option<Timestamp>,
    until: Option<Timestamp>,
    lines: BTreeMap<(Timestamp, u64), u32>,
    met: u64,
}

impl LogCursor {
    /// Returns the time from which the log must be read again; `None` before the first line.
    pub fn since(&self) -> Option<Timestamp> {
        let from = self.newest?.checked_sub(OVERLAP).ok()?;
        Timestamp::from_second(from.as_second()).ok()
    }

    /// Notes that the log is read again from [`LogCursor::since`].
    pub fn reopen(&mut self) {
        self.again = Some(Again {
            from: self.since(),
            until: self.newest,
            lines: self.kept.clone(),
            met: 0,
        });
    }

    /// Returns whether a line is new; one that came already is not.
    pub fn is_new(&mut self, at: Timestamp, line: &[u8]) -> bool {
        let mut hasher = DefaultHasher::new();
        line.hash(&mut hasher);
        let key = (at, hasher.finish());
        if let Some(again) = &mut self.again {
            if again.from.is_some_and(|from| at < from) {
                again.met += 1;
                return false;
            }
            if let Some(count) = again.lines.get_mut(&key).filter(|count| **count > 0) {
                *count -= 1;
                again.met += 1;
                return false;
            }
        }
        *self.kept.entry(key).or_default() += 1;
        if self.newest.is_none_or(|newest| at > newest) {
            self.newest = Some(at);
            if let Some(from) = self.since() {
                self.kept = self.kept.split_off(&(from, 0));
            }
        }
        while self.kept.len() > MOST_SEEN_LINES {
            self.kept.pop_first();
        }
        true
    }

    /// Returns, after a reopening, whether the two readings meet: `Some(true)` where a known line came again, so that
    /// nothing is lost; `Some(false)` where newer ones came without; `None` while that is open.
    pub fn readings_meet(&self) -> Option<bool> {
        let again = self.again.as_ref()?;
        if again.met > 0 || again.lines.is_empty() {
            return Some(true);
        }
        (self.newest > again.until).then_some(false)
    }
}

/// The seam of a file that is read again by its last lines.
#[derive(Clone, Debug, Default)]
pub struct TailSeam {
    last: VecDeque<Vec<u8>>,
    catching: Option<Vec<Vec<u8>>>,
}

impl TailSeam {
    /// How many lines must be asked for after a cut.
    pub const AGAIN: usize = 5_000;

    /// Notes that the last [`TailSeam::AGAIN`] lines come again.
    pub fn reopen(&mut self) {
        self.catching = (!self.last.is_empty()).then(Vec::new);
    }

    /// Returns whether the place was not found again yet.
    pub fn is_searching(&self) -> bool {
        self.catching.is_some()
    }

    /// Takes a line and returns those that are new by now. The second value is false where the place was not found:
    /// then lines may be missing, or come twice.
    pub fn take_new_lines(&mut self, line: &[u8]) -> (Vec<Vec<u8>>, bool) {
        let Some(lines) = &mut self.catching else {
            self.remember_line(line);
            return (vec![line.to_vec()], true);
        };
        lines.push(line.to_vec());
        let place = lines.len().checked_sub(self.last.len());
        let end = place.and_then(|place| lines.get(place..));
        if end.is_some_and(|end| end.iter().eq(self.last.iter())) {
            self.catching = None;
            return (Vec::new(), true);
        }
        if lines.len() < Self::AGAIN {
            return (Vec::new(), true);
        }
        (self.give_up(), false)
    }

    /// Ends the search: everything that came counts as new.
    pub fn give_up(&mut self) -> Vec<Vec<u8>> {
        let lines = self.catching.take().unwrap_or_default();
        for line in &lines {
            self.remember_line(line);
        }
        lines
    }

    fn remember_line(&mut self, line: &[u8]) {
        self.last.push_back(line.to_vec());
        if self.last.len() > REMEMBERED {
            self.last.pop_front();
        }
    }
}

#[cfg(test)]
mod cursor_tests {
    use super::*;
    use proptest::prelude::*;

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::from_millisecond(1_700_000_000_000 + milliseconds).unwrap()
    }

    #[test]
    fn a_log_that_no_longer_reaches_back_is_told() {
        let mut seam = LogCursor::default();
        assert!(seam.is_new(at(0), b"a"));
        assert_eq!(seam.readings_meet(), None);
        seam.reopen();
        assert_eq!(seam.readings_meet(), None);
        assert!(seam.is_new(at(9_000), b"b"));
        assert_eq!(seam.readings_meet(), Some(false));
        seam.reopen();
        assert!(!seam.is_new(at(9_000), b"b"));
        assert_eq!(seam.readings_meet(), Some(true));
    }

    proptest! {
        /// For any cuts, and though some stamps are equal and some a little out of order.
        #[test]
        fn nothing_is_lost_and_nothing_comes_twice(
            steps in proptest::collection::vec((0_i64..1_500, 0_u8..3), 1..120),
            cuts in proptest::collection::vec(0_usize..120, 0..6),
        ) {
            let mut now = 0;
            let log: Vec<(Timestamp, Vec<u8>)> = steps.iter().map(|(step, text)| {
                now += step;
                // One in three is stamped half a second early, as another stream's line may be.
                (at(now - 500 * i64::from(*text == 2)), vec![*text])
            }).collect();
            let mut seam = LogCursor::default();
            let mut taken = Vec::new();
            let mut cuts = cuts;
            cuts.push(log.len());
            cuts.sort_unstable();
            for (round, cut) in cuts.iter().enumerate() {
                let since = seam.since();
                if round > 0 { seam.reopen(); }
                for (stamp, line) in log.iter().take((*cut).min(log.len())) {
                    if since.is_none_or(|since| *stamp >= since) && seam.is_new(*stamp, line) {
                        taken.push((*stamp, line.clone()));
                    }
                }
            }
            let mut wanted = log;
            wanted.sort();
            taken.sort();
            prop_assert_eq!(taken, wanted);
        }

        #[test]
        fn a_tail_goes_on_where_it_was_cut(count in 1_usize..300, first in 0_usize..300, again in 0_usize..300) {
            let log: Vec<Vec<u8>> = (0..count).map(|number| number.to_string().into_bytes()).collect();
            let first = first % count + 1;
            let mut seam = TailSeam::default();
            let mut taken = Vec::new();
            for line in &log[..first] { taken.extend(seam.take_new_lines(line).0); }
            // So many lines before the cut come again.
            let from = first.saturating_sub(again + REMEMBERED);
            seam.reopen();
            for line in &log[from..] {
                let (lines, sound) = seam.take_new_lines(line);
                prop_assert!(sound);
                taken.extend(lines);
            }
            prop_assert!(!seam.is_searching());
            prop_assert_eq!(taken, log);
        }
    }

    #[test]
    fn a_tail_whose_place_is_gone_shows_everything() {
        let mut seam = TailSeam::default();
        for line in [b"a", b"b"] {
            assert_eq!(seam.take_new_lines(line).0.len(), 1);
        }
        seam.reopen();
        assert_eq!(seam.take_new_lines(b"x"), (Vec::new(), true));
        assert!(seam.is_searching());
        assert_eq!(seam.give_up(), [b"x".to_vec()]);
        assert_eq!(seam.take_new_lines(b"y").0, [b"y".to_vec()]);
        seam.reopen();
        let mut sound = true;
        for number in 0..TailSeam::AGAIN {
            sound = seam.take_new_lines(number.to_string().as_bytes()).1;
        }
        assert!(!sound && !seam.is_searching());
    }
}
