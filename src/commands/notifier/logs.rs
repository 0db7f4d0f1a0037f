//! `kmsctl notifier logs`: what the notifier echoes, or the server's own file, now or as it grows.

mod choice;
mod cursor;
mod follow;
mod printer;

use std::collections::{BTreeMap, VecDeque};

use clap::Args as ClapArgs;
use jiff::{SignedDuration, Timestamp};
use tokio::time::{Instant, timeout_at};

use super::status;
use super::status::FoundPod;
use crate::app::Context;
use crate::domain::cluster::objects::ObjectNames;
use crate::domain::notifier::event_log::EventFilter;
use crate::domain::notifier::source::ClientSource;
use crate::domain::warning::Warning;
use crate::error::{Failure, Result};
use crate::kubectl::{Kubectl, KubectlError, LeftOut, LogStream, PodFilter, PodPart};
use crate::settings::notifier::Notifier;
use crate::settings::values;
use crate::terminal::Mode;
use crate::text::{counted, format_span};
use choice::Choice;
use follow::follow_logs;
pub use printer::EVENT_COLUMNS;
use printer::{LogPrinter, PrintedEntry, PrintedKind, Shape};

/// Most entries of an answer that is no stream; the newest are kept.
const MOST: usize = 50_000;

/// Most bytes of the lines that they are from, each weighed as in [`printed_weight`]: they are held in several forms.
const MOST_WEIGHT: usize = 24 << 20;

/// Entries of a table, the newest, where nothing else is said.
const NEWEST: usize = 200;

/// Lines of the server's file that are read where nothing else is said.
const LAST_LINES: usize = 200;

/// Lines of it that are read to reach back to `--since`.
pub const MOST_LINES: usize = 100_000;

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
    #[arg(long, value_name = "N", value_parser = values::parse_count)]
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
    let log = Notifier::resolve(&context.settings_reader())?.log;
    let file = log.display().to_string();
    if file.starts_with('/') {
        Ok(file)
    } else {
        Err(Failure::usage(format!(
            "notifier.log is `{file}`, which is no absolute path in the pod."
        )))
    }
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
    let mut entries: VecDeque<(usize, PrintedEntry)> = VecDeque::new();
    let (mut weight, mut left_out) = (0_usize, 0_u64);
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
                    let heavy = printed_weight(line);
                    weight += heavy;
                    entries.push_back((heavy, entry));
                    while (entries.len() > MOST || weight > MOST_WEIGHT)
                        && let Some((oldest, _)) = entries.pop_front()
                    {
                        weight -= oldest;
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
    let mut entries: Vec<PrintedEntry> = entries.into_iter().map(|(_, entry)| entry).collect();
    if names.len() > 1 && printer.shape != Shape::Lines {
        entries.sort_by_key(|entry| match &entry.what {
            PrintedKind::Event(record) => record.at,
            PrintedKind::Line { .. } => None,
        });
    }
    let table = context.terminal.mode == Mode::Table;
    let chosen = !table || arguments.since.is_some() || arguments.until.is_some();
    let tail = arguments.tail.unwrap_or(if chosen { MOST } else { NEWEST });
    let older = entries.len().saturating_sub(tail);
    entries.drain(..older);
    let lines = read.values().sum();
    let empty =
        no_lines_message(&names, lines, arguments, &context.settings.cluster.names.selector);
    let is_empty = entries.is_empty();
    printer.print_all(&names, &entries, warnings, empty)?;
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

/// Returns how many bytes of memory a line may need for a while, in its longest form: JSON has six for what it escapes.
fn printed_weight(line: &[u8]) -> usize {
    let escaped = line.iter().filter(|byte| !(b' '..=b'~').contains(*byte));
    line.len() + 5 * escaped.count()
}

/// Says that a log goes on and on, as where clients fill it or a program in between holds it open.
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

/// Says why nothing is shown: by the flags that left lines out, where there were lines.
fn no_lines_message(pods: &[String], lines: usize, arguments: &Args, selector: &str) -> String {
    if pods.is_empty() {
        return format!(
            "There is no pod with the label {selector}. `kmsctl notifier status` shows more."
        );
    }
    let by_text = [
        (!arguments.include.is_empty(), "--include"),
        (!arguments.exclude.is_empty(), "--exclude"),
        (arguments.since.is_some(), "--since"),
        (arguments.until.is_some(), "--until"),
    ];
    let by_event =
        [(arguments.source.is_some(), "--source"), (arguments.activations, "--activations")];
    let given = by_text.iter().chain(&by_event).filter(|(given, _)| *given);
    let given: Vec<&str> = given.map(|(_, flag)| *flag).collect();
    let flags = given.join(" and ");
    let says = match lines {
        _ if lines == 0 || given.is_empty() => "There is nothing of that kind.".to_owned(),
        1 => format!("The only line that was read does not fit {flags}."),
        _ => format!("None of the {lines} lines that were read fits {flags}."),
    };
    let hint = match (arguments.server, arguments.probes) {
        (true, _) => "",
        _ if lines > 0 && by_text.iter().any(|(given, _)| *given) => "",
        (false, true) => {
            " The notifier echoes probes only when it runs with --echo=all; --server reads them from the server's own file."
        }
        (false, false) => " The notifier prints events only when it runs with --echo.",
    };
    says + hint
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
        let next = timeout_at(until.min(Instant::now() + silence), stream.next()).await;
        // A flood is always ready, so that the time is looked at here as well.
        let over = Instant::now() >= until;
        match next {
            Ok(line) if !over => match line? {
                Some(line) => take(&line),
                None => return Ok(stream.left_out()),
            },
            _ => {
                let seconds = if over { context.settings.timeout } else { silence }.as_secs();
                return Err(KubectlError::TimedOut { seconds, said: String::new() });
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
