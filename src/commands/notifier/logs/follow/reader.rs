//! Reads one pod: when its stream ends it finds out why (a cut, a restart, the pod is gone) and goes on at the seam.

use std::time::Duration;

use tokio::sync::mpsc::Sender;
use tokio::time::{sleep, timeout};

use super::{Followed, PATIENT, is_final, is_refusal, send_notice};
use crate::commands::notifier::logs::{Item, explain_log_error};
use crate::domain::cluster::objects::Pod;
use crate::domain::notifier::event_log::split_kubectl_stamp;
use crate::domain::seam::{Seam, TailSeam};
use crate::error::Failure;
use crate::kubectl::KubectlError;
use crate::kubectl::pods::{PodFilter, PodPart};

/// A stream that is silent for so long is opened anew: some kubelets stop it at a rotation without a word.
const SILENT: Duration = Duration::from_secs(300);
/// Waits between two tries, in seconds; the last repeats.
const WAITS: [u64; 6] = [1, 2, 4, 8, 15, 30];
/// How long after a reconnection the first known line is waited for.
const SETTLE: Duration = Duration::from_secs(3);

/// What became of a pod.
enum Fate {
    /// It is as it was: the stream was cut.
    Same,
    /// The container was started again.
    Restarted,
    /// It is not there any more.
    Gone,
}

/// The place in one container's output, or in the server's file.
enum Cursor {
    Output(Seam),
    File(TailSeam),
}

/// Follows one pod until there is nothing more to follow.
pub(super) async fn follow_one_pod(followed: Followed, pod: Pod, listeners: Sender<Item>) {
    let mut reader = FollowReader {
        restarts: restarts_of(&pod, &followed.container),
        cursor: match followed.file {
            Some(_) => Cursor::File(TailSeam::default()),
            None => Cursor::Output(Seam::default()),
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
    while reader.round().await {}
}

fn restarts_of(pod: &Pod, container: &str) -> u64 {
    pod.container(container)
        .map_or(0, |container| container.restart_count)
}

struct FollowReader {
    followed: Followed,
    listeners: Sender<Item>,
    name: String,
    cursor: Cursor,
    restarts: u64,
    /// Why the stream before ended, until the reconnection is told.
    cut: Option<String>,
    tries: usize,
    opened: bool,
    /// It brought lines.
    heard: bool,
    /// How often in a row it was refused.
    refusals: u32,
}

impl FollowReader {
    /// Opens a stream and reads it to its end; tells whether to go on.
    async fn round(&mut self) -> bool {
        let end = match self.open() {
            Ok(stream) => self.read(stream).await,
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
                let _ = self.listeners.send(Item::Fail(self.explain(error))).await;
                return false;
            }
            Err(KubectlError::NotFound { .. }) => return self.gone().await,
            Err(error) => error.to_string(),
        };
        match self.fate().await {
            Ok(Fate::Gone) => return self.gone().await,
            Ok(Fate::Restarted) => {
                self.cut = None;
                return self.wait().await;
            }
            Ok(Fate::Same) | Err(_) => {}
        }
        if self.cut.is_none() && self.tries > 0 {
            send_notice(
                &self.listeners,
                &format!("Lost {}: {why}; trying again.", self.name),
            )
            .await;
        }
        self.cut = Some(why);
        self.wait().await
    }

    /// Waits a little, longer each time nothing came; tells whether anybody still listens.
    async fn wait(&mut self) -> bool {
        let wait = WAITS
            .get(self.tries)
            .or(WAITS.last())
            .copied()
            .unwrap_or(30);
        self.tries += 1;
        tokio::select! {
            () = sleep(Duration::from_secs(wait)) => true,
            () = self.listeners.closed() => false,
        }
    }

    async fn gone(&self) -> bool {
        send_notice(&self.listeners, &format!("{} is gone.", self.name)).await;
        false
    }

    /// Opens the stream where the one before ended.
    fn open(&mut self) -> Result<crate::kubectl::LogStream, KubectlError> {
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
            (Cursor::File(_), None) => Err(KubectlError::Failed {
                status: -1,
                said: "no file is followed".to_owned(),
            }),
        }
    }

    /// Reads lines until the stream ends (true), or is silent for too long (false).
    async fn read(&mut self, mut stream: crate::kubectl::LogStream) -> Result<bool, KubectlError> {
        loop {
            let patience = if self.settling() { SETTLE } else { SILENT };
            let line = match timeout(patience, stream.next()).await {
                Ok(line) => line?,
                Err(_) if self.settling() => {
                    self.settle(true).await;
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
            if !self.take(&line).await {
                return Ok(true);
            }
            if self.settling() {
                self.settle(false).await;
            }
        }
    }

    /// Returns whether something is still to be told about a reconnection.
    fn settling(&self) -> bool {
        let searching = matches!(&self.cursor, Cursor::File(seam) if seam.is_searching());
        self.cut.is_some() || searching
    }

    /// Takes one line; tells whether anybody still listens.
    async fn take(&mut self, line: &[u8]) -> bool {
        let new = match &mut self.cursor {
            Cursor::Output(seam) => {
                let text = String::from_utf8_lossy(line);
                let (at, rest) = split_kubectl_stamp(&text);
                let new = at.is_none_or(|at| seam.is_new(at, rest.as_bytes()));
                new.then(|| line.to_vec()).into_iter().collect()
            }
            Cursor::File(seam) => {
                let (lines, sound) = seam.take(line);
                if !sound {
                    let _ = self.listeners.send(Item::Say(MISSING.to_owned())).await;
                }
                lines
            }
        };
        for line in new {
            let item = Item::Line {
                pod: self.name.clone(),
                line,
            };
            if self.listeners.send(item).await.is_err() {
                return false;
            }
        }
        true
    }

    /// Tells that it goes on, as soon as it is known whether anything was lost; at the latest when nothing comes.
    async fn settle(&mut self, silent: bool) {
        let joined = match &mut self.cursor {
            Cursor::Output(seam) => seam.meets().or(silent.then_some(true)),
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
            send_notice(
                &self.listeners,
                &format!("Reconnected to {}: {rest}", self.name),
            )
            .await;
        }
    }

    /// Finds out what became of the pod. What a container printed before its restart is read first.
    async fn fate(&mut self) -> Result<Fate, KubectlError> {
        let Followed {
            kubectl,
            namespace,
            names,
            container,
            ..
        } = self.followed.clone();
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
        let whole = self.earlier().await && times == 1;
        let lost = if whole || self.followed.file.is_some() {
            ""
        } else {
            " Some of what it printed before is gone."
        };
        let often = if times == 1 {
            "again".to_owned()
        } else {
            format!("again, {times} times")
        };
        let sentence = format!("{container} in {} was started {often}.{lost}", self.name);
        send_notice(&self.listeners, &sentence).await;
        Ok(Fate::Restarted)
    }

    /// Reads the rest of what the container printed before its restart; tells whether nothing of it is missing.
    async fn earlier(&mut self) -> bool {
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
            self.take(line.as_bytes()).await;
        }
        matches!(&self.cursor, Cursor::Output(seam) if seam.meets() != Some(false))
    }

    fn explain(&self, error: KubectlError) -> Failure {
        explain_log_error(error, &self.followed)
    }
}

/// Told where the place of a log was not found again.
const MISSING: &str =
    "the log no longer reaches back to the last line shown, so lines may be missing or come twice.";
