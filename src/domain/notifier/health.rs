//! Is the notifier alive, is it behind, and is what it says to be believed? Judges what Kubernetes, the notifier's own
//! metrics page and its echoed log tell; each may be missing alone. Fetching them is `kubectl`'s work.

use jiff::Timestamp;
use serde::Serialize;

use super::decide::Probes;
use super::event_log::{EventRecord, Held, Last};
use crate::domain::cluster::objects::{
    ContainerStatus, KubernetesEvent, KubernetesService, ObjectNames, Pod,
};
use crate::domain::reachability::finding::{CheckResult, Finding};
use crate::domain::reachability::path::{Known, Trouble};

mod around;
mod checks;
mod judge;
mod numbers;
#[cfg(test)]
mod tests;

pub use checks::{CLOCKS_AGREE, clocks_differ, waiting_messages};
pub use judge::judge_pipeline;
pub use numbers::{MetricsReading, Numbers};

/// How it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// It reads, and nothing waits.
    Ok,
    /// It lives, and there is nothing to read.
    Idle,
    /// Nobody can tell.
    Unknown,
    /// It lives, and does not keep up: with the log, or with Slack.
    Behind,
    /// It does not run, or stands still.
    Dead,
}

impl Health {
    /// Returns the word that JSON uses too.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Idle => "idle",
            Self::Unknown => "unknown",
            Self::Behind => "behind",
            Self::Dead => "dead",
        }
    }
}

/// Why a metrics page could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPage {
    /// This login may not.
    Forbidden,
    /// Nobody listens where it should be.
    Silent,
    /// It was asked for, and no whole page came in time.
    Unanswered,
}

/// Everything known about one pod.
#[derive(Clone, Debug)]
pub struct PodEvidence {
    /// Its name.
    pub name: String,
    /// What Kubernetes says about it; `None` where only its name is known.
    pub pod: Option<Pod>,
    /// Whether it is ready, by itself or by the endpoints of the Service.
    pub ready: Option<bool>,
    /// Its metrics page.
    pub first: Known<MetricsReading>,
    /// Why that could not be read; `None` where it was.
    pub no_page: Option<NoPage>,
    /// The page a moment later; `None` where it was not asked twice.
    pub second: Option<MetricsReading>,
    /// What it printed.
    pub log: Known<Vec<EventRecord>>,
}

/// Everything that is judged.
#[derive(Clone, Debug)]
pub struct Evidence<'a> {
    /// The names of what is looked at.
    pub names: &'a ObjectNames,
    /// The present.
    pub now: Timestamp,
    /// The pods.
    pub pods: Known<Vec<PodEvidence>>,
    /// Why they could not be listed, though their names are known.
    pub unlisted: Option<Trouble>,
    /// The Service.
    pub service: Known<KubernetesService>,
    /// What Kubernetes tells about the pods.
    pub events: Known<Vec<KubernetesEvent>>,
}

/// One container, for output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ContainerReport {
    /// As it was asked for.
    pub image: String,
    /// With its digest.
    pub image_id: String,
    /// It passes its probe.
    pub ready: bool,
    /// How often it was started again.
    pub restarts: u64,
    /// `running`, or why it does not run.
    pub state: String,
    /// Since when it runs.
    pub started_at: Option<Timestamp>,
    /// How it ended before, such as `Error, exit code 1`.
    pub last_exit: Option<String>,
    /// When it ended before.
    pub last_exit_at: Option<Timestamp>,
}

impl ContainerReport {
    fn of(status: &ContainerStatus) -> Self {
        let state = &status.state;
        let ended = |ended: &crate::domain::cluster::objects::pod::Terminated| {
            let reason = ended.reason.as_deref().unwrap_or("ended");
            format!("{reason}, exit code {}", ended.exit_code)
        };
        let last = status.last_state.terminated.as_ref();
        Self {
            image: status.image.clone(),
            image_id: status.image_id.clone(),
            ready: status.ready,
            restarts: status.restart_count,
            state: if state.running.is_some() {
                "running".to_owned()
            } else if let Some(waiting) = &state.waiting {
                waiting.reason.clone().unwrap_or("waiting".to_owned())
            } else {
                state
                    .terminated
                    .as_ref()
                    .map_or("unknown".to_owned(), ended)
            },
            started_at: state
                .running
                .as_ref()
                .and_then(|running| running.started_at),
            last_exit: last.map(ended),
            last_exit_at: last.and_then(|last| last.finished_at),
        }
    }
}

/// One pod, for output.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PodReport {
    /// Its name.
    pub name: String,
    /// Its node.
    pub node: Option<String>,
    /// `Running`, `Pending`, ….
    pub phase: Option<String>,
    /// All of its containers are; by the endpoints of the Service where pods may not be listed.
    pub ready: Option<bool>,
    /// The notifier.
    pub notifier: Option<ContainerReport>,
    /// The KMS server.
    pub server: Option<ContainerReport>,
    /// kmsctl's version, as the notifier tells it.
    pub version: Option<String>,
    /// How the notifier in it is.
    pub health: Health,
}

/// Activations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Activations {
    /// Outside the window, since the notifier started.
    pub total: Option<u64>,
    /// Held back by the window, since then.
    pub held_back: Option<u64>,
    /// Refused by the server, since then.
    pub refused: Option<u64>,
    /// The last one.
    pub last_at: Option<Timestamp>,
}

/// Growth per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Rates {
    /// Lines read; the kubelet's probes alone make about 0.5.
    pub lines: Option<f64>,
    /// Messages that Slack took.
    pub posts: Option<f64>,
}

/// The judgement; the data of `notifier.status`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// How it is.
    pub health: Health,
    /// One sentence that says why.
    pub why: String,
    /// The pods.
    pub pods: Vec<PodReport>,
    /// Bytes of the log that are not read.
    pub lag_bytes: Option<u64>,
    /// How old the last line read is, while there are unread ones; else 0.
    pub lag_seconds: Option<u64>,
    /// Stamp of the last line.
    pub last_line: Option<Timestamp>,
    /// Messages that wait.
    pub outbox: Option<u64>,
    /// When Slack took the last one.
    pub last_post: Option<Timestamp>,
    /// Tries to post since the notifier started, by what became of them.
    pub posts: std::collections::BTreeMap<String, u64>,
    /// Activations.
    pub activations: Activations,
    /// Probes by class, since the notifier started.
    pub probes: Option<Probes>,
    /// Growth between two looks.
    pub rates: Rates,
    /// What the last hour held, by the notifier's own output; null where that could not be read.
    pub last_hour: Option<Held>,
    /// What was looked at.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Returns the checks in which something is wrong, each once.
    pub fn faults(&self) -> Vec<&'static str> {
        let wrong = |finding: &&Finding| finding.result == CheckResult::Wrong;
        let mut names: Vec<&str> = Vec::new();
        for finding in self.findings.iter().filter(wrong) {
            if !names.contains(&finding.check) {
                names.push(finding.check);
            }
        }
        names
    }

    /// Returns what it amounts to: the health first, then every finding.
    pub fn outcome(&self) -> CheckResult {
        match self.health {
            Health::Dead | Health::Behind => CheckResult::Wrong,
            _ if !self.faults().is_empty() => CheckResult::Wrong,
            Health::Unknown => CheckResult::Unknown,
            Health::Ok | Health::Idle => CheckResult::Ok,
        }
    }

    /// Returns the whole as one finding of `doctor`.
    pub fn finding(&self, check: &'static str) -> Finding {
        let wrong = |finding: &&Finding| finding.result == CheckResult::Wrong;
        let mut told: Vec<String> = self
            .findings
            .iter()
            .filter(wrong)
            .map(|finding| finding.evidence.clone())
            .collect();
        let health = format!("The notifier is {}: {}.", self.health.name(), self.why);
        // Whatever is worst stands first.
        match self.health {
            Health::Dead | Health::Behind => told.insert(0, health),
            Health::Ok | Health::Idle | Health::Unknown => told.push(health),
        }
        let told = told.join(" ");
        let finding = Finding::new(check, self.outcome(), told);
        match self.outcome() {
            CheckResult::Ok | CheckResult::Skipped => finding,
            CheckResult::Wrong | CheckResult::Unknown => {
                finding.fix("`kmsctl notifier status` tells more, each with its fix.")
            }
        }
    }
}

/// The log's side of `status` and `states`: who was here, by the notifier.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct LogSide {
    /// When the last activation was.
    pub last_activation_at: Option<Timestamp>,
    /// The last activation, where the notifier's output still holds it.
    pub last_activation: Option<Last>,
    /// Activations since the notifier started, repeated ones included.
    pub activations: Option<u64>,
    /// Probes by class, since then.
    pub probes: Option<Probes>,
    /// What the last 24 hours held, by the notifier's own output.
    pub last_day: Option<Held>,
    /// What could not be read.
    pub unknown: Vec<String>,
}

impl LogSide {
    /// Makes it of the numbers and the output of every pod.
    pub fn of(pods: &[PodEvidence], now: Timestamp) -> Self {
        let readings = pods.iter().filter_map(|pod| pod.first.as_ref().ok());
        let numbers = Numbers::total(readings.map(|reading| &reading.numbers));
        let mut unknown: Vec<String> = Vec::new();
        let mut miss = |what: &str, why: &str| {
            let sentence = format!("{what}: {why}.");
            if !unknown.contains(&sentence) {
                unknown.push(sentence);
            }
        };
        let mut told = Vec::new();
        let mut heard = false;
        for pod in pods {
            if let Err(trouble) = &pod.first {
                miss("The notifier's numbers", &trouble.why);
            }
            match &pod.log {
                Ok(lines) => {
                    heard = true;
                    told.extend(lines);
                }
                Err(trouble) => miss("The notifier's output", &trouble.why),
            }
        }
        let day = now - jiff::SignedDuration::from_hours(24);
        let last_day = heard.then(|| Held::since(told, day));
        let last_activation = last_day
            .as_ref()
            .and_then(|day| day.last_activation.clone());
        Self {
            last_activation_at: numbers
                .last_activation
                .max(last_activation.as_ref().map(|last| last.at)),
            last_activation,
            activations: numbers
                .activations
                .map(|count| count + numbers.held_back.unwrap_or_default()),
            probes: numbers.probes,
            last_day,
            unknown,
        }
    }
}
