//! `kmsctl notifier logs --follow`: every pod of the Deployment, through restarts, cuts and new pods, until Ctrl-C.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::mpsc::Sender;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::cursor::{LogCursor, TailSeam};
use super::printer::LogPrinter;
use super::{Followed, explain_log_error};
use crate::app::{Context, wait_for_interrupt};
use crate::domain::cluster::objects::{Container, Pod};
use crate::domain::notifier::event_log::split_kubectl_stamp;
use crate::error::{Failure, FailureKind, Result};
use crate::kubectl::{KubectlError, LogStream, PodFilter, PodPart};
use crate::text::{counted, format_span};

/// Items between the readers and the printer.
const WAITING: usize = 256;

/// A follower that prints nothing says that it is alive: after so long, and then each time after twice as long, at most
/// [`LONGEST_QUIET`].
const QUIET: Duration = Duration::from_secs(10);

const LONGEST_QUIET: Duration = Duration::from_secs(640);

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

/// Follows until Ctrl-C.
pub(super) async fn follow_logs(
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

/// Follows every pod until the printer is gone.
async fn follow_all_pods(followed: Followed, listeners: Sender<Item>) {
    let mut known: BTreeSet<String> = BTreeSet::new();
    let mut tasks = JoinSet::new();
    let granted = Arc::new(AtomicBool::new(false));
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
                    let granted = Arc::clone(&granted);
                    tasks.spawn(follow_one_pod(followed.clone(), pod, listeners.clone(), granted));
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
async fn follow_one_pod(
    followed: Followed,
    pod: Pod,
    listeners: Sender<Item>,
    granted: Arc<AtomicBool>,
) {
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
        granted,
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
    /// The cluster let us read once, from whichever pod.
    granted: Arc<AtomicBool>,
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
        // A stream that ended in any other way had been granted, lines or not.
        self.granted.fetch_or(!end.as_ref().is_err_and(is_refusal), Ordering::Relaxed);
        let granted = self.granted.load(Ordering::Relaxed);
        let why = match end {
            // Silent: opened anew without a word.
            Ok(false) => return true,
            Ok(true) => {
                self.refusals = 0;
                "the stream ended".to_owned()
            }
            // An API server that has just started refuses everybody until it knows the rights again.
            Err(error) if granted && self.refusals < PATIENT && is_refusal(&error) => {
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
    fn open_stream(&mut self) -> Result<LogStream, KubectlError> {
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
    async fn read_lines(&mut self, mut stream: LogStream) -> Result<bool, KubectlError> {
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
