//! Runs kubectl and reads its JSON. kubectl has the logins, contexts and plugins that a cluster needs; this
//! module adds a deadline, bounds, and a typed word for every way to fail. Judging what comes back is the domain's.
//!
//! A call is judged by its exit status and never by what was printed: on a 403 `get … -o json` prints an empty list
//! and exits 1. No shell is involved; nothing is ever changed in the cluster.

use super::domain::cluster::objects::{
    Announcement, EndpointSlice, KubernetesService, ObjectList, ObjectNames, Pod,
};
use super::domain::kms_log::line::LogLines;
use crate::clock::Clock;
use crate::domain::cluster::objects::{KubernetesEvent, is_pod_name};
use crate::domain::notifier::event_log::split_kubectl_stamp;
use crate::error::{Failure, FailureKind};
use crate::settings::resolved;
use crate::text::{MOST_VALUES, format_bytes, format_span, has_too_many_values, shorten_words};
use jiff::Timestamp;
use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// Most bytes of an answer that are taken; the lists asked for have some 10 KiB.
const MOST_BYTES: u64 = 16 << 20;

/// After so many lines others have their turn.
const LINES_A_TURN: u64 = 65_536;

/// Most bytes of what it says on stderr that are taken.
const MOST_TALK: u64 = 16 << 10;

/// How long after its end it is listened to what kubectl said on stderr: a helper that it has started may hold that open.
const LAST_WORDS: Duration = Duration::from_millis(300);
/// How much earlier than the deadline kubectl itself gives up, so that it can say what it waited for.
const AHEAD: Duration = Duration::from_secs(1);

/// What kubectl says when its own configuration does not fit, beside `context "NAME" does not exist`.
const CONFIGURATION: &[&str] = &[
    "context was not found",
    "Error in configuration",
    "error loading config file",
    "Missing or incomplete configuration",
    "no configuration has been provided",
    ": no such file or directory",
];

const PIECE: usize = 32 * 1024;

/// How often the simulated cluster is asked for more.
const SIMULATED: Duration = Duration::from_secs(1);

/// Answers in the place of a cluster: kubectl's arguments, the present and the cluster's birth in, what it would print out.
pub type ClusterAnswers = fn(&[&str], Timestamp, Timestamp) -> Option<String>;

#[derive(Clone, Debug)]
pub enum Kubectl {
    Program(Program),
    /// The simulated cluster; its documents are read by the same code.
    Simulated(SimulatedCluster),
}

#[derive(Clone, Copy, Debug)]
pub struct SimulatedCluster {
    pub answers: ClusterAnswers,
    pub clock: Clock,
    pub birth: Timestamp,
}

impl SimulatedCluster {
    fn answer(&self, words: &[&str]) -> Option<String> {
        (self.answers)(words, self.clock.now(), self.birth)
    }
}

#[derive(Clone, Debug)]
pub struct Program {
    name: String,
    kubeconfig: Option<PathBuf>,
    context: Option<String>,
    deadline: Duration,
}

impl Kubectl {
    pub fn new(cluster: &resolved::Cluster) -> Self {
        Self::Program(Program {
            name: cluster.kubectl.clone(),
            kubeconfig: cluster.kubeconfig.clone(),
            context: cluster.context.clone(),
            deadline: cluster.timeout,
        })
    }

    pub async fn service(
        &self,
        namespace: &str,
        names: &ObjectNames,
    ) -> Result<KubernetesService, KubectlError> {
        self.get(&["-n", namespace, "get", "services", &names.service]).await
    }

    pub async fn pods(
        &self,
        namespace: &str,
        names: &ObjectNames,
    ) -> Result<ObjectList<Pod>, KubectlError> {
        self.get(&["-n", namespace, "get", "pods", "-l", &names.selector]).await
    }

    /// Lists the slices of the Service's endpoints; `endpoints` itself is deprecated.
    pub async fn endpoints(
        &self,
        namespace: &str,
        names: &ObjectNames,
    ) -> Result<ObjectList<EndpointSlice>, KubectlError> {
        let selector = format!("kubernetes.io/service-name={}", names.service);
        self.get(&["-n", namespace, "get", "endpointslices.discovery.k8s.io", "-l", &selector])
            .await
    }

    /// Lists who announces the Service's address.
    pub async fn announcements(
        &self,
        metallb: &str,
        namespace: &str,
        names: &ObjectNames,
    ) -> Result<ObjectList<Announcement>, KubectlError> {
        let selector = format!(
            "metallb.io/service-name={},metallb.io/service-namespace={namespace}",
            names.service
        );
        self.get(&["-n", metallb, "get", "servicel2statuses.metallb.io", "-l", &selector]).await
    }

    /// Reads kubectl's own version, such as `v1.33.2`; the cluster is not asked.
    pub async fn kubectl_version(&self) -> Result<String, KubectlError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Versions {
            client_version: Version,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Version {
            git_version: String,
        }
        let versions: Versions = self.get(&["version", "--client"]).await?;
        Ok(versions.client_version.git_version)
    }

    /// Lists the contexts of kubectl's configuration; the cluster is not asked.
    pub async fn list_contexts(&self) -> Result<Vec<String>, KubectlError> {
        let words = ["config", "get-contexts", "-o", "name"];
        let names = self.read_text(&words).await?;
        Ok(names.lines().map(str::to_owned).collect())
    }

    /// Asks whether this login has a right. `subresource` is asked for as such: `pods/log` would be a pod named log.
    pub async fn has_right(
        &self,
        namespace: &str,
        verb: &str,
        resource: &str,
        subresource: Option<&str>,
    ) -> Result<bool, KubectlError> {
        let flag = subresource.map(|name| format!("--subresource={name}"));
        let mut words = vec!["-n", namespace, "auth", "can-i", verb, resource];
        words.extend(flag.as_deref());
        let answer = self.run(&words).await;
        // `no` is exit code 1 with `no` on stdout; everything else that exits 1 speaks on stderr.
        match answer {
            Ok(stdout) => Ok(stdout.trim_ascii().starts_with(b"yes")),
            Err((Some(stdout), _)) if stdout.trim_ascii().starts_with(b"no") => Ok(false),
            Err((_, error)) => Err(error),
        }
    }

    async fn get<T: DeserializeOwned>(&self, words: &[&str]) -> Result<T, KubectlError> {
        let words = [words, &["-o", "json"]].concat();
        let output = self.run(&words).await.map_err(|(_, error)| error)?;
        if has_too_many_values(&output) {
            return Err(KubectlError::TooLarge);
        }
        serde_json::from_slice(&output).map_err(|error| KubectlError::Garbled {
            reason: shorten_words(&error.to_string()).into_owned(),
        })
    }

    async fn read_text(&self, words: &[&str]) -> Result<String, KubectlError> {
        let output = self.run(words).await.map_err(|(_, error)| error)?;
        Ok(String::from_utf8_lossy(&output).into_owned())
    }

    /// Returns what a successful run printed; with an error what was printed, if it ran.
    async fn run(&self, words: &[&str]) -> Result<Vec<u8>, (Option<Vec<u8>>, KubectlError)> {
        match self {
            Self::Program(program) => program.run(words).await,
            Self::Simulated(cluster) => match cluster.answer(words) {
                Some(text) => Ok(text.into_bytes()),
                None => Err((
                    None,
                    KubectlError::Failed {
                        status: 1,
                        said: "the simulated cluster does not answer that".to_owned(),
                    },
                )),
            },
        }
    }
}

impl Kubectl {
    pub async fn events(
        &self,
        namespace: &str,
    ) -> Result<ObjectList<KubernetesEvent>, KubectlError> {
        let selector = "--field-selector=involvedObject.kind=Pod";
        self.get(&["-n", namespace, "get", "events", selector]).await
    }

    /// Reads the metrics page of a pod through the API server.
    pub async fn metrics(
        &self,
        namespace: &str,
        pod: &str,
        port: u16,
    ) -> Result<String, KubectlError> {
        check_pod_name(pod)?;
        let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}:{port}/proxy/metrics");
        self.read_text(&["get", "--raw", &path]).await
    }

    /// Reads what a container printed, each line behind its stamp.
    pub async fn output(
        &self,
        place: &PodFilter<'_>,
        part: PodPart,
    ) -> Result<String, KubectlError> {
        check_pod_name(place.pod)?;
        let words = place.logs(part);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.read_text(&words).await
    }

    /// Reads what a container printed as a stream; with `follow` it goes on until the container or the connection ends.
    pub fn stream_output(
        &self,
        place: &PodFilter<'_>,
        part: PodPart,
        follow: bool,
    ) -> Result<LogStream, KubectlError> {
        check_pod_name(place.pod)?;
        let mut words = place.logs(part);
        words.extend(follow.then(|| "--follow".to_owned()));
        LogStream::start(self, words)
    }

    /// Reads the last lines of a file in a container as a stream, through `tail` there. Needs the right to exec.
    pub fn stream_file(
        &self,
        place: &PodFilter<'_>,
        file: &str,
        lines: usize,
        follow: bool,
    ) -> Result<LogStream, KubectlError> {
        check_pod_name(place.pod)?;
        LogStream::start(self, place.tail(file, lines, follow))
    }

    /// Lets time pass, and returns the way to the cluster after it: the simulated one does not make anybody wait.
    pub async fn at_later_time(&self, span: Duration) -> Self {
        match self {
            Self::Program(_) => {
                tokio::time::sleep(span).await;
                self.clone()
            }
            Self::Simulated(cluster) => {
                let span = jiff::SignedDuration::try_from(span).unwrap_or_default();
                let clock = Clock::Fixed(cluster.clock.now() + span);
                Self::Simulated(SimulatedCluster { clock, ..*cluster })
            }
        }
    }

    /// Returns the present as this cluster has it.
    pub fn now(&self, clock: Clock) -> Timestamp {
        match self {
            Self::Program(_) => clock.now(),
            Self::Simulated(cluster) => cluster.clock.now(),
        }
    }
}

impl Program {
    /// Runs it within the deadline; dropping the future kills it. With an error comes what was printed, if it ran.
    async fn run(&self, words: &[&str]) -> Result<Vec<u8>, (Option<Vec<u8>>, KubectlError)> {
        // Outlives the deadline: a login helper has said by then what it waits for.
        let talk = Arc::new(Mutex::new(Vec::new()));
        match tokio::time::timeout(self.deadline, self.answer(words, &talk)).await {
            Ok(answer) => answer,
            Err(_) => Err((
                None,
                KubectlError::TimedOut {
                    seconds: self.deadline.as_secs(),
                    said: last_words(&talk.lock().unwrap_or_else(PoisonError::into_inner)),
                },
            )),
        }
    }

    async fn answer(
        &self,
        words: &[&str],
        talk: &Mutex<Vec<u8>>,
    ) -> Result<Vec<u8>, (Option<Vec<u8>>, KubectlError)> {
        let not_started = |error: &std::io::Error| self.not_started(error);
        let own = self.deadline.saturating_sub(AHEAD).max(AHEAD).as_secs();
        let patience = format!("--request-timeout={own}s");
        let words = [&[patience.as_str()], words].concat();
        let mut process =
            KubectlProcess::start(self, &words).map_err(|error| (None, not_started(&error)))?;
        let child = &mut process.0;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        // Both at once: either pipe, once full, would block kubectl for ever. What answers without end is not heard out.
        let ended = Notify::new();
        let answered = async {
            let mut stdout = Vec::new();
            if let Some(pipe) = out {
                let _ = pipe.take(MOST_BYTES + 1).read_to_end(&mut stdout).await;
            }
            if stdout.len() as u64 > MOST_BYTES {
                return Err((None::<Vec<u8>>, KubectlError::TooLarge));
            }
            let status = child.wait().await.map_err(|error| (None, not_started(&error)))?;
            ended.notify_one();
            Ok((stdout, status))
        };
        // What a login helper leaves running may hold stderr open: what kubectl itself said is there soon after its end.
        let given_up = async {
            ended.notified().await;
            tokio::time::sleep(LAST_WORDS).await;
        };
        let listened = async {
            tokio::select! {
                () = listen_to_end(err, talk) => Ok(()),
                () = given_up => Ok(()),
            }
        };
        let ((stdout, status), ()) = tokio::try_join!(answered, listened)?;
        if status.success() {
            return Ok(stdout);
        }
        let stderr = std::mem::take(&mut *talk.lock().unwrap_or_else(PoisonError::into_inner));
        let stderr = String::from_utf8_lossy(&stderr);
        let error = KubectlError::of_words(status.code().unwrap_or(-1), &stderr);
        Err((Some(stdout), error))
    }

    fn not_started(&self, error: &std::io::Error) -> KubectlError {
        let program = self.name.clone();
        match error.kind() {
            std::io::ErrorKind::NotFound => KubectlError::Missing { program },
            _ => KubectlError::NotStarted { program, reason: error.to_string() },
        }
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.name);
        // Flags of kubectl stand before the command that is run in a container.
        if let Some(path) = &self.kubeconfig {
            command.arg("--kubeconfig").arg(path);
        }
        if let Some(context) = &self.context {
            command.arg(format!("--context={context}"));
        }
        command
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Its errors are recognised by their English words.
            .env("LC_ALL", "C")
            .process_group(0)
            .kill_on_drop(true);
        command
    }
}

/// A running kubectl. Dropped before its end, it is killed with all that it has started and that has not left its group: a login
/// helper that hangs would otherwise stay, one for every question.
struct KubectlProcess(Child);

impl KubectlProcess {
    fn start(program: &Program, words: &[&str]) -> std::io::Result<Self> {
        program.command(words).spawn().map(Self)
    }
}

impl Drop for KubectlProcess {
    fn drop(&mut self) {
        // Once it was waited for it has no id any more, and the number may be another's.
        let id = self.0.id().and_then(|id| i32::try_from(id).ok());
        if let Some(group) = id.and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// Reads to the end, and keeps the first of it where others can see it.
async fn listen_to_end(pipe: Option<impl AsyncRead + Unpin>, kept: &Mutex<Vec<u8>>) {
    let Some(mut pipe) = pipe else { return };
    let mut piece = vec![0; 4096];
    while let Ok(count @ 1..) = pipe.read(&mut piece).await {
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        let room = usize::try_from(MOST_TALK).unwrap_or(usize::MAX).saturating_sub(kept.len());
        kept.extend_from_slice(piece.get(..count.min(room)).unwrap_or_default());
    }
}

/// Reads to the end, but keeps no more than one byte beyond the bound: enough to see that it was passed.
pub async fn read_bounded(pipe: Option<impl AsyncRead + Unpin>, most: u64) -> Vec<u8> {
    let mut kept = Vec::new();
    if let Some(mut pipe) = pipe {
        let _ = (&mut pipe).take(most + 1).read_to_end(&mut kept).await;
        // What is beyond is read away, so that the writer can end; the deadline bounds it.
        let _ = tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await;
    }
    kept
}

/// Why kubectl brought no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KubectlError {
    /// There is no such program.
    #[error("the program {program} is not installed")]
    Missing { program: String },
    #[error("{program} cannot be started: {reason}")]
    NotStarted { program: String, reason: String },
    #[error("kubectl did not answer within {}{}", format_span(*seconds), said_so_far(said))]
    TimedOut {
        /// The deadline.
        seconds: u64,
        /// What it printed until then, empty for nothing.
        said: String,
    },
    /// The API server cannot be reached.
    #[error("the cluster cannot be reached: {said}")]
    Unreachable { said: String },
    /// The API server cannot reach the pod's port (503 of its proxy).
    #[error("the API server cannot reach the pod: {said}")]
    PodSilent { said: String },
    /// The API server wants a login (401).
    #[error("the cluster refuses the login: {said}")]
    Unauthorized { said: String },
    /// The login lacks the right (403).
    #[error("this login may not {said}")]
    Forbidden {
        /// What, such as `list pods in kms`.
        said: String,
    },
    /// There is no object of that name (404).
    #[error("it does not exist: {said}")]
    NotFound { said: String },
    /// The pod has no container of that name.
    #[error("the pod has no such container: {said}")]
    NoContainer { said: String },
    /// The cluster does not know the kind of object: MetalLB is absent, old, or not in layer 2 mode.
    #[error("the cluster does not know such objects: {said}")]
    UnknownResource { said: String },
    #[error("kubectl's configuration does not fit: {said}")]
    Configuration { said: String },
    #[error("kubectl failed with exit code {status}: {said}")]
    Failed {
        /// Its exit code; -1 after a signal.
        status: i32,
        said: String,
    },
    #[error("kubectl's answer is larger than 16 MiB, or holds more than {MOST_VALUES} values")]
    TooLarge,
    /// Success, but no JSON of that shape.
    #[error("kubectl answered in a form kmsctl does not know: {reason}")]
    Garbled { reason: String },
}

impl KubectlError {
    /// Returns whether kubectl itself did not run, and not the cluster answered so.
    pub fn is_of_program(&self) -> bool {
        matches!(
            self,
            Self::Missing { .. }
                | Self::NotStarted { .. }
                | Self::TimedOut { .. }
                | Self::Configuration { .. }
                | Self::Failed { .. }
        )
    }

    pub fn fix(&self) -> &'static str {
        match self {
            Self::Missing { .. } | Self::NotStarted { .. } => {
                "Install kubectl, or name it in cluster.kubectl."
            }
            Self::TimedOut { said, .. } if !said.is_empty() => {
                "Does a login helper wait for you? Run `kubectl get pods` by hand, then this again."
            }
            Self::TimedOut { .. } | Self::Unreachable { .. } => {
                "Is the VPN up? Try `kubectl cluster-info`; cluster.context and cluster.kubeconfig choose the cluster."
            }
            Self::PodSilent { .. } => {
                "Does the process listen there (`kmsctl notifier logs`)? Does a network policy keep the API server out?"
            }
            Self::Unauthorized { .. } => "Log in to the cluster again.",
            Self::Forbidden { .. } => {
                "Ask for the right to read it, or look with a login that has it (cluster.context)."
            }
            Self::NotFound { .. } => {
                "Does cluster.namespace, and do the names below cluster, fit what is deployed?"
            }
            Self::NoContainer { .. } => {
                "Do cluster.notifier_container and cluster.server_container fit what is deployed?"
            }
            Self::UnknownResource { .. } => "Is MetalLB installed, and 0.14 or newer?",
            Self::Configuration { .. } => {
                "`kubectl config get-contexts` lists what cluster.context may name."
            }
            Self::Failed { .. } | Self::TooLarge | Self::Garbled { .. } => {
                "Run the same with kubectl to see more."
            }
        }
    }

    /// Classifies the failure by kubectl's words; those of 1.32 and 1.37 are the same.
    pub fn of_words(status: i32, stderr: &str) -> Self {
        let lines = || {
            stderr
                .lines()
                .map(str::trim)
                // Of a command in a pod its own words count, not that it failed.
                .filter(|line| !line.is_empty() && !line.starts_with("command terminated"))
        };
        // Warnings and klog's lines (`E0822 …`, `W0822 …`) come first; the sentence that counts is the last.
        let said: String = lines()
            .next_back()
            .map_or("it said nothing", concrete_sentence)
            .chars()
            .take(300)
            .collect();
        let has = |words: &[&str]| words.iter().any(|word| stderr.contains(word));
        if let Some(said) = credential_trouble(stderr) {
            return Self::Unauthorized { said };
        }
        if has(&["(Forbidden)", "is forbidden:"]) {
            return Self::Forbidden {
                said: refused_right(&said).unwrap_or_else(|| format!("look at that: {said}")),
            };
        }
        if has(&["error trying to reach service"]) {
            return Self::PodSilent { said };
        }
        // Of the API server (logs), and of kubectl itself (exec).
        if has(&["is not valid for pod", " not found in pod "]) {
            return Self::NoContainer { said };
        }
        if has(&["(NotFound)"]) {
            return Self::NotFound { said };
        }
        if has(&["(Unauthorized)", "You must be logged in", "getting credentials"]) {
            return Self::Unauthorized { said };
        }
        if has(&[
            "doesn't have a resource type",
            "no matches for kind",
            "could not find the requested resource",
        ]) {
            return Self::UnknownResource { said };
        }
        let no_context = stderr.contains("context \"") && stderr.contains("does not exist");
        if no_context || has(CONFIGURATION) {
            return Self::Configuration { said };
        }
        if has(&[
            "Unable to connect",
            "was refused",
            "dial tcp",
            "i/o timeout",
            "TLS handshake timeout",
            "Client.Timeout",
            "context deadline exceeded",
            "no route to host",
            "no such host",
            "(ServiceUnavailable)",
        ]) {
            return Self::Unreachable { said };
        }
        Self::Failed { status, said }
    }
}

fn said_so_far(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!("; it printed: {said}") }
}

/// Returns why kubectl got no credentials, such as `exec: executable aws not found`; advice and a web address follow it.
fn credential_trouble(stderr: &str) -> Option<String> {
    let (_, behind) = stderr.rsplit_once("getting credentials: ")?;
    let end = behind.find(['\n', '"']).unwrap_or(behind.len());
    let end = behind.find("\\n").map_or(end, |escaped| escaped.min(end));
    let said: String = behind.get(..end)?.trim().chars().take(300).collect();
    (!said.is_empty()).then_some(said)
}

/// Returns the last line of what was printed, bounded.
fn last_words(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let last = text.lines().map(str::trim).rfind(|line| !line.is_empty());
    last.unwrap_or_default().chars().take(300).collect()
}

/// Leaves out of kubectl's sentence what names no fact: who says it, and what it asks of its reader.
fn concrete_sentence(sentence: &str) -> &str {
    let mut words = sentence;
    for start in ["Error from server", "error: ", "Unable to connect to the server: "] {
        words = words.strip_prefix(start).unwrap_or(words).trim_start();
    }
    // `(Forbidden): …`, `(NotFound): …`, or `: …`.
    let reason = words.strip_prefix('(').and_then(|rest| rest.split_once("): "));
    words = reason.map_or(words, |(_, rest)| rest);
    words = words.strip_prefix(": ").unwrap_or(words);
    words.split(" - did you specify").next().unwrap_or(words)
}

/// Reads what is refused out of the API server's sentence: `… cannot list resource "pods" in API group "" in the
/// namespace "kms"`.
fn refused_right(sentence: &str) -> Option<String> {
    let (_, what) = sentence.split_once(" cannot ")?;
    let (verb, what) = what.split_once(" resource \"")?;
    let (resource, rest) = what.split_once('"')?;
    let place = rest
        .split_once("in the namespace \"")
        .and_then(|(_, name)| name.split_once('"'))
        .map(|(name, _)| format!(" in {name}"))
        .unwrap_or_default();
    Some(format!("{verb} {resource}{place}"))
}

impl From<KubectlError> for Failure {
    fn from(error: KubectlError) -> Self {
        Self::new(FailureKind::Unreachable, format!("The cluster cannot answer: {error}."))
            .hint(error.fix())
    }
}

/// A running kubectl; ended when dropped.
pub struct LogStream {
    ready: VecDeque<Vec<u8>>,
    /// How many lines were handed out.
    taken: u64,
    end: StreamEnd,
}

enum StreamEnd {
    Running(Box<RunningKubectl>),
    Simulated(Simulated),
}

struct RunningKubectl {
    child: KubectlProcess,
    stdout: Option<ChildStdout>,
    talk: Option<JoinHandle<Vec<u8>>>,
    lines: LogLines,
    piece: Vec<u8>,
    program: Program,
    /// Lines that are noted as left out, of those that were too long.
    noted: u64,
    left_out: LeftOut,
}

/// Lines that were too long to be held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    pub lines: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl LeftOut {
    /// Says it, if there is anything to say.
    pub fn note(self) -> Option<String> {
        match self.lines {
            0 => None,
            1 => Some(format!("a line of {} was left out", format_bytes(self.bytes))),
            more => {
                Some(format!("{more} lines of {} together were left out", format_bytes(self.bytes)))
            }
        }
    }
}

/// The simulated cluster, asked again and again.
struct Simulated {
    words: Vec<String>,
    cluster: SimulatedCluster,
    newest: Option<Timestamp>,
    asked: bool,
}

impl LogStream {
    fn start(kubectl: &Kubectl, words: Vec<String>) -> Result<Self, KubectlError> {
        let end = match kubectl {
            Kubectl::Simulated(cluster) => StreamEnd::Simulated(Simulated {
                words,
                cluster: *cluster,
                newest: None,
                asked: false,
            }),
            Kubectl::Program(program) => {
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                let mut child = KubectlProcess::start(program, &words)
                    .map_err(|error| program.not_started(&error))?;
                let talk = child.0.stderr.take();
                StreamEnd::Running(Box::new(RunningKubectl {
                    stdout: child.0.stdout.take(),
                    talk: Some(tokio::spawn(read_bounded(talk, MOST_TALK))),
                    child,
                    lines: LogLines::default(),
                    piece: vec![0; PIECE],
                    program: program.clone(),
                    noted: 0,
                    left_out: LeftOut::default(),
                }))
            }
        };
        Ok(Self { ready: VecDeque::new(), taken: 0, end })
    }

    /// Returns which lines were left out since this was asked the last time.
    pub fn left_out(&mut self) -> LeftOut {
        match &mut self.end {
            StreamEnd::Running(running) => std::mem::take(&mut running.left_out),
            StreamEnd::Simulated(_) => LeftOut::default(),
        }
    }

    /// Returns the next whole line without its end; `None` when kubectl ended with success. Half a line at the end is
    /// left out, as it comes again. Nothing is lost when the future is dropped before it is ready.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, KubectlError> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                self.taken += 1;
                // Lines that are always ready must not keep Ctrl-C from being seen.
                if self.taken.is_multiple_of(LINES_A_TURN) {
                    tokio::task::yield_now().await;
                }
                return Ok(Some(line));
            }
            let more = match &mut self.end {
                StreamEnd::Running(running) => running.read(&mut self.ready).await?,
                StreamEnd::Simulated(simulated) => simulated.read(&mut self.ready).await?,
            };
            if !more {
                return Ok(None);
            }
        }
    }
}

impl RunningKubectl {
    async fn read(&mut self, ready: &mut VecDeque<Vec<u8>>) -> Result<bool, KubectlError> {
        if let Some(stdout) = &mut self.stdout {
            let count = stdout.read(&mut self.piece).await.unwrap_or_default();
            if count > 0 {
                let piece = self.piece.get(..count).unwrap_or_default();
                self.lines.feed_chunk(piece, |line| ready.push_back(line.to_vec()));
                // Of a piece so short one giant ends at most.
                if self.lines.giants > self.noted && !self.lines.is_discarding() {
                    self.noted = self.lines.giants;
                    self.left_out.lines += 1;
                    self.left_out.bytes += self.lines.giant;
                }
                return Ok(true);
            }
            self.stdout = None;
            // A giant without an end is left out as well.
            if self.lines.is_discarding() {
                self.left_out.lines += 1;
                self.left_out.bytes += self.lines.giant;
            }
        }
        let status = self.child.0.wait().await;
        let status = status.map_err(|error| self.program.not_started(&error))?;
        let talk = self.talk.take();
        if status.success() {
            return Ok(false);
        }
        let talk = match talk {
            Some(talk) => tokio::time::timeout(LAST_WORDS, talk).await,
            None => Ok(Ok(Vec::new())),
        };
        let talk = talk.ok().and_then(Result::ok).unwrap_or_default();
        let talk = String::from_utf8_lossy(&talk);
        Err(KubectlError::of_words(status.code().unwrap_or(-1), &talk))
    }
}

impl Simulated {
    async fn read(&mut self, ready: &mut VecDeque<Vec<u8>>) -> Result<bool, KubectlError> {
        let follow = self.words.iter().any(|word| word == "--follow" || word == "-F");
        if self.asked && !follow {
            return Ok(false);
        }
        if self.asked {
            tokio::time::sleep(SIMULATED).await;
        }
        self.asked = true;
        let words: Vec<&str> = self.words.iter().map(String::as_str).collect();
        let text = self.cluster.answer(&words).ok_or(KubectlError::Failed {
            status: 1,
            said: "the simulated cluster does not answer that".to_owned(),
        })?;
        let before = self.newest;
        for line in text.lines() {
            let at = split_kubectl_stamp(line).0.or_else(|| server_line_timestamp(line));
            if at.is_none_or(|at| before.is_none_or(|before| at > before)) {
                ready.push_back(line.as_bytes().to_vec());
            }
            self.newest = self.newest.max(at);
        }
        Ok(true)
    }
}

/// Reads the stamp of a line of the server's log; the server's image runs in UTC.
pub fn server_line_timestamp(line: &str) -> Option<Timestamp> {
    let stamp: jiff::civil::DateTime = line.get(..19)?.replacen(' ', "T", 1).parse().ok()?;
    stamp.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

/// Which part of a container's output is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PodPart {
    /// From this moment on, whole seconds.
    pub since: Option<Timestamp>,
    /// This many lines at most, the last ones.
    pub tail: Option<usize>,
    /// Of the container that ran before the last restart.
    pub previous: bool,
}

impl PodPart {
    fn words(self) -> Vec<String> {
        let since = self.since.map(|at| {
            let whole = Timestamp::from_second(at.as_second()).unwrap_or(at);
            format!("--since-time={whole}")
        });
        let tail = self.tail.map(|count| format!("--tail={count}"));
        let previous = self.previous.then(|| "--previous".to_owned());
        [since, tail, previous].into_iter().flatten().collect()
    }
}

#[derive(Clone, Copy, Debug)]
pub struct PodFilter<'a> {
    pub namespace: &'a str,
    pub pod: &'a str,
    pub container: &'a str,
}

impl PodFilter<'_> {
    fn logs(&self, part: PodPart) -> Vec<String> {
        let words = ["-n", self.namespace, "logs", self.pod, "-c", self.container];
        let mut words: Vec<String> = words.map(str::to_owned).to_vec();
        words.push("--timestamps".to_owned());
        words.extend(part.words());
        words
    }

    fn tail(&self, file: &str, lines: usize, follow: bool) -> Vec<String> {
        let mut words = ["-n", self.namespace, "exec", self.pod, "-c", self.container]
            .map(str::to_owned)
            .to_vec();
        words.extend(["--", "tail", "-n"].map(str::to_owned));
        words.push(lines.to_string());
        words.extend(follow.then(|| "-F".to_owned()));
        words.push(file.to_owned());
        words
    }
}

/// Refuses a name that no pod can have.
fn check_pod_name(name: &str) -> Result<(), KubectlError> {
    if is_pod_name(name) {
        Ok(())
    } else {
        Err(KubectlError::Garbled {
            reason: "the name of a pod is none that a pod can have".to_owned(),
        })
    }
}

#[cfg(test)]
mod error_tests {
    use super::*;

    #[test]
    fn a_missing_credential_plugin_is_named() {
        for stderr in [
            "Unable to connect to the server: getting credentials: exec: executable aws not found\n\nIt looks like you are trying\n\nTo learn more\n      https://kubernetes.io/docs/",
            "E1128 memcache.go:265] \"Unhandled Error\" err=\"Get \\\"https://10.0.20.100\\\": getting credentials: exec: executable aws not found\\n\\nIt looks\"",
        ] {
            let error = KubectlError::of_words(1, stderr);
            let said = "exec: executable aws not found".to_owned();
            assert_eq!(error, KubectlError::Unauthorized { said }, "{stderr}");
        }
    }

    #[test]
    fn every_way_to_fail_is_told_apart_by_kubectls_words() {
        let kind = |text: &str| KubectlError::of_words(1, text);
        let forbidden = kind(
            "Error from server (Forbidden): pods is forbidden: User \"tester\" cannot list resource \"pods\"",
        );
        assert!(matches!(forbidden, KubectlError::Forbidden { .. }));
        assert!(matches!(
            kind("Error from server (NotFound): services \"x\" not found"),
            KubectlError::NotFound { .. }
        ));
        assert!(matches!(
            kind("error: the server doesn't have a resource type \"servicel2statuses\""),
            KubectlError::UnknownResource { .. }
        ));
        for words in [
            "Error from server (BadRequest): container slack-notifier is not valid for pod kms-1",
            "error: container slack-notifier not found in pod kms-1",
        ] {
            assert!(matches!(kind(words), KubectlError::NoContainer { .. }));
        }
        assert!(matches!(
            kind("Error in configuration: context was not found for specified context: x"),
            KubectlError::Configuration { .. }
        ));
        assert!(matches!(
            kind(
                "E0822 1 memcache.go] couldn't get\nThe connection to the server 127.0.0.1:1 was refused - did you specify the right host or port?"
            ),
            KubectlError::Unreachable { .. }
        ));
        assert!(matches!(
            kind("error: You must be logged in to the server (Unauthorized)"),
            KubectlError::Unauthorized { .. }
        ));
        assert!(matches!(
            kind("error: context \"nonsense\" does not exist"),
            KubectlError::Configuration { .. }
        ));
        assert_eq!(kind(""), KubectlError::Failed { status: 1, said: "it said nothing".into() });
    }

    #[test]
    fn the_sentence_is_short_and_names_the_fact() {
        for (words, sentence) in [
            (
                "Error from server (Forbidden): pods is forbidden: User \"tester\" cannot list resource \"pods\" in API group \"\" in the namespace \"kms\"",
                "this login may not list pods in kms",
            ),
            (
                "Error from server (Forbidden): nodes is forbidden: User \"x\" cannot list resource \"nodes\" in API group \"\" at the cluster scope",
                "this login may not list nodes",
            ),
            (
                "Error from server (Forbidden): admission says no: x is forbidden: no user",
                "this login may not look at that: admission says no: x is forbidden: no user",
            ),
            (
                "The connection to the server 127.0.0.1:1 was refused - did you specify the right host or port?",
                "the cluster cannot be reached: The connection to the server 127.0.0.1:1 was refused",
            ),
            (
                "Unable to connect to the server: dial tcp 10.0.0.1:6443: i/o timeout",
                "the cluster cannot be reached: dial tcp 10.0.0.1:6443: i/o timeout",
            ),
            (
                "Error from server (NotFound): services \"x\" not found",
                "it does not exist: services \"x\" not found",
            ),
        ] {
            assert_eq!(KubectlError::of_words(1, words).to_string(), sentence);
        }
    }

    #[test]
    fn failures_are_of_the_other_side() {
        let failure = Failure::from(KubectlError::Missing { program: "kubectl".into() });
        assert_eq!(failure.kind.exit_code(), 5);
        assert_eq!(failure.hints.len(), 1);
    }
}

#[cfg(test)]
mod pods_tests {
    use super::*;

    #[test]
    fn only_a_dns_name_becomes_an_argument() {
        for good in ["kms-7d9f-x2", "a", "kms.0"] {
            assert!(check_pod_name(good).is_ok(), "{good}");
        }
        let long = "a".repeat(254);
        for bad in ["", "--all", "-c", "a b", "../x", "a/../b", "KMS", "a..b", "é", long.as_str()]
        {
            assert!(check_pod_name(bad).is_err(), "{bad}");
        }
    }
}
