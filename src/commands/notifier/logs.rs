//! `kmsctl notifier logs`: what the notifier echoes, or the server's own file, now or as it grows.

mod choice;
mod follow;
mod print;

use std::collections::{BTreeMap, VecDeque};

use clap::Args as ClapArgs;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;

use super::gather;
use super::gather::FoundPod;
use crate::app::{Context, wait_for_interrupt};
use crate::domain::notifier::event_log::EventFilter;
use crate::domain::notifier::source::ClientSource;
use crate::domain::warning::Warning;
use crate::error::{Failure, FailureKind, Result};
use crate::kubectl::pods::{PodFilter, PodPart};
use crate::kubectl::{Kubectl, KubectlError, LeftOut, LogStream};
use crate::settings::notifier::Notifier;
use crate::terminal::Mode;
use choice::Choice;
use follow::Followed;
use print::{LogPrinter, PrintedEntry, Shape};

/// Most entries of an answer that is no stream; the newest are kept.
const MOST: usize = 50_000;
/// Lines of the server's file that are read where nothing else is said.
const LAST_LINES: usize = 200;
/// Lines of it that are read to reach back to `--since`.
const MOST_LINES: usize = 100_000;
/// Items between the readers and the printer.
const WAITING: usize = 256;

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
    /// Only the last so many lines
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
    /// Only connections without a request
    #[arg(long)]
    probes: bool,
}

/// What a reader hands to the printer.
enum Item {
    /// A line of a pod.
    Line { pod: String, line: Vec<u8> },
    /// Something an operator should know.
    Say(String),
    /// There is nothing more to come.
    Fail(Failure),
}

/// Runs `kmsctl notifier logs`.
pub async fn run_logs(context: &Context, arguments: &Args) -> Result<()> {
    let now = context.clock.now();
    let moment = |flag: &str, text: Option<&str>| {
        text.map(|text| choice::moment(flag, text, now)).transpose()
    };
    let since = moment("--since", arguments.since.as_deref())?;
    let until = moment("--until", arguments.until.as_deref())?;
    let choice = Choice::new(
        &arguments.include,
        &arguments.exclude,
        &arguments.highlight,
        until,
    )?;
    if arguments.follow && context.terminal.mode == Mode::Json {
        return Err(Failure::usage(
            "--follow never ends, so it prints no JSON object; use -o ndjson.",
        ));
    }
    let kubectl = gather::configured_kubectl(context)?;
    let filter = EventFilter {
        source: arguments.source.as_deref().and_then(|name| {
            ClientSource::ALL
                .into_iter()
                .find(|source| source.name() == name)
        }),
        activations: arguments.activations,
        probes: arguments.probes,
    };
    let shape = match (arguments.server, filter.filters()) {
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
    let readers = tokio::spawn(follow::follow_all_pods(followed, sender));
    printer.open()?;
    let print = async {
        while let Some(item) = items.recv().await {
            match item {
                Item::Line { pod, line } => {
                    for entry in printer.read(&pod, &line) {
                        printer.print(&entry)?;
                    }
                }
                Item::Say(sentence) => context.terminal.say(&sentence),
                Item::Fail(failure) => return Err(failure),
            }
        }
        Ok(())
    };
    let ended = tokio::select! {
        ended = print => ended,
        () = wait_for_interrupt() => Err(Failure::new(FailureKind::Interrupted, "Stopped.")),
    };
    readers.abort();
    ended
}

/// Reads what there is.
async fn print_logs_once(
    context: &Context,
    followed: &Followed,
    mut printer: LogPrinter<'_>,
    arguments: &Args,
) -> Result<()> {
    let (pods, _) = gather::kubectl_or_interrupt(
        context,
        gather::find_notifier_pods(context, &followed.kubectl),
    )
    .await?;
    let mut entries: VecDeque<PrintedEntry> = VecDeque::new();
    let mut left_out = 0_u64;
    let (mut warnings, mut long) = (Vec::new(), Vec::new());
    let mut trouble: Option<Failure> = None;
    let mut read: BTreeMap<String, usize> = BTreeMap::new();
    for FoundPod { name, pod, .. } in &pods {
        let restarts = pod
            .as_ref()
            .and_then(|pod| pod.container(&followed.container))
            .map_or(0, |container| container.restart_count);
        let rounds: &[bool] = if restarts > 0 && followed.file.is_none() {
            &[true, false]
        } else {
            &[false]
        };
        for previous in rounds {
            let take = |line: &[u8]| {
                *read.entry(name.clone()).or_default() += 1;
                for entry in printer.read(name, line) {
                    entries.push_back(entry);
                    if entries.len() > arguments.tail.unwrap_or(MOST).min(MOST) {
                        entries.pop_front();
                        left_out += u64::from(arguments.tail.is_none());
                    }
                }
            };
            let work = drain_container(context, followed, name, *previous, take);
            // What ran before a restart may be gone.
            match gather::kubectl_or_interrupt(context, async { Ok(work.await) }).await? {
                Ok(left_out) => long.extend(too_long(name, left_out)),
                Err(error) if !previous => {
                    let failure = explain_log_error(error, followed);
                    let text = format!("{name}: {}", failure.message);
                    warnings.push(Warning::new("pod-unread", text));
                    trouble.get_or_insert(failure);
                }
                Err(_) => {}
            }
        }
    }
    if let Some(failure) = trouble.filter(|_| warnings.len() == pods.len()) {
        return Err(failure);
    }
    let cut = arguments.server && arguments.since.is_some();
    let full = cut && read.values().any(|count| *count >= MOST_LINES);
    warnings.extend(long);
    warnings.extend(older_lines_warning(left_out, full));
    let names: Vec<String> = pods.into_iter().map(|pod| pod.name).collect();
    let empty = no_lines_message(&names, arguments, &context.settings.cluster.names.selector);
    printer.finish(&names, entries.into(), warnings, empty)
}

/// Tells of lines of a pod that were too long to be held.
fn too_long(pod: &str, left_out: LeftOut) -> Option<Warning> {
    let note = left_out.note()?;
    Some(Warning::new("line-left-out", format!("{pod}: {note}.")))
}

/// Tells what is older than what is shown.
fn older_lines_warning(left_out: u64, full: bool) -> Vec<Warning> {
    let code = "older-left-out";
    let left_out = (left_out > 0).then(|| {
        let text = "older entries are left out; narrow it with --since or a filter.";
        Warning::new(code, format!("{left_out} {text}"))
    });
    let full = full.then(|| {
        Warning::new(
            code,
            format!("Only the last {MOST_LINES} lines of the file were read."),
        )
    });
    [left_out, full].into_iter().flatten().collect()
}

fn no_lines_message(pods: &[String], arguments: &Args, selector: &str) -> String {
    if pods.is_empty() {
        return format!(
            "There is no pod with the label {selector}. `kmsctl notifier status` tells more."
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

/// Reads one container to the end of what there is; returns what was too long to be read.
async fn drain_container(
    context: &Context,
    followed: &Followed,
    pod: &str,
    previous: bool,
    mut take: impl FnMut(&[u8]),
) -> std::result::Result<LeftOut, KubectlError> {
    let mut stream = open_log_stream(&followed.kubectl, followed, pod, previous)?;
    let patience = context.settings.cluster.timeout;
    loop {
        match tokio::time::timeout(patience, stream.next()).await {
            Ok(line) => match line? {
                Some(line) => take(&line),
                None => return Ok(stream.left_out()),
            },
            Err(_) => {
                return Err(KubectlError::TimedOut {
                    seconds: patience.as_secs(),
                    said: String::new(),
                });
            }
        }
    }
}

fn open_log_stream(
    kubectl: &Kubectl,
    followed: &Followed,
    pod: &str,
    previous: bool,
) -> std::result::Result<LogStream, KubectlError> {
    let place = PodFilter {
        namespace: &followed.namespace,
        pod,
        container: &followed.container,
    };
    if let Some((file, lines)) = &followed.file {
        return kubectl.stream_file(&place, file, *lines, false);
    }
    let part = PodPart {
        since: Some(followed.since),
        previous,
        ..PodPart::default()
    };
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
