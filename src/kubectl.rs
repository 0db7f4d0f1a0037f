//! Runs kubectl and reads its JSON. kubectl has the logins, contexts and plugins that a cluster needs; this
//! module adds a deadline, bounds, and a typed word for every way to fail. Judging what comes back is the domain's.
//!
//! A call is judged by its exit status and never by what was printed: on a 403 `get … -o json` prints an empty list
//! and exits 1. No shell is involved; nothing is ever changed in the cluster.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;

use super::domain::cluster::objects::{
    Announcement, EndpointSlice, KubernetesService, ObjectList, ObjectNames, Pod,
};
use crate::clock::Clock;
use crate::settings::resolved;

mod error;
pub mod pods;
mod stream;

pub use error::KubectlError;
pub use stream::{LeftOut, LogStream};

/// Most bytes of an answer that are taken; the lists asked for have some 10 KiB.
const MOST_BYTES: u64 = 16 << 20;
/// Most bytes of what it says on stderr that are taken.
const MOST_TALK: u64 = 16 << 10;
/// How much earlier than the deadline kubectl itself gives up, so that it can say what it waited for.
const AHEAD: Duration = Duration::from_secs(1);

/// Answers in the place of a cluster: kubectl's arguments and the present in, what it would print out.
pub type ClusterAnswers = fn(&[&str], Timestamp) -> Option<String>;

/// The way to the cluster.
#[derive(Clone, Debug)]
pub enum Kubectl {
    /// The program.
    Program(Program),
    /// The simulated cluster; its documents are read by the same code.
    Simulated(ClusterAnswers, Clock),
}

/// The program and what it is always told.
#[derive(Clone, Debug)]
pub struct Program {
    name: String,
    kubeconfig: Option<PathBuf>,
    context: Option<String>,
    deadline: Duration,
}

impl Kubectl {
    /// Makes the way to the configured cluster.
    pub fn new(cluster: &resolved::Cluster) -> Self {
        Self::Program(Program {
            name: cluster.kubectl.clone(),
            kubeconfig: cluster.kubeconfig.clone(),
            context: cluster.context.clone(),
            deadline: cluster.timeout,
        })
    }

    /// Reads the Service.
    pub async fn service(
        &self,
        namespace: &str,
        names: &ObjectNames,
    ) -> Result<KubernetesService, KubectlError> {
        self.get(&["-n", namespace, "get", "services", &names.service])
            .await
    }

    /// Lists the pods of the deployment.
    pub async fn pods(
        &self,
        namespace: &str,
        names: &ObjectNames,
    ) -> Result<ObjectList<Pod>, KubectlError> {
        self.get(&["-n", namespace, "get", "pods", "-l", &names.selector])
            .await
    }

    /// Lists the slices of the Service's endpoints; `endpoints` itself is deprecated.
    pub async fn endpoints(
        &self,
        namespace: &str,
        names: &ObjectNames,
    ) -> Result<ObjectList<EndpointSlice>, KubectlError> {
        let selector = format!("kubernetes.io/service-name={}", names.service);
        self.get(&[
            "-n",
            namespace,
            "get",
            "endpointslices.discovery.k8s.io",
            "-l",
            &selector,
        ])
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
        self.get(&[
            "-n",
            metallb,
            "get",
            "servicel2statuses.metallb.io",
            "-l",
            &selector,
        ])
        .await
    }

    /// Reads kubectl's own version, such as `v1.33.2`; the cluster is not asked.
    pub async fn version(&self) -> Result<String, KubectlError> {
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
    pub async fn contexts(&self) -> Result<Vec<String>, KubectlError> {
        let words = ["config", "get-contexts", "-o", "name"];
        let output = self.run(&words).await.map_err(|(_, error)| error)?;
        let names = String::from_utf8_lossy(&output.stdout);
        Ok(names.lines().map(str::to_owned).collect())
    }

    /// Asks whether this login has a right. `subresource` is asked for as such: `pods/log` would be a pod named log.
    pub async fn may(
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
            Ok(KubectlOutput { stdout, .. }) => Ok(stdout.trim_ascii().starts_with(b"yes")),
            Err((Some(stdout), _)) if stdout.trim_ascii().starts_with(b"no") => Ok(false),
            Err((_, error)) => Err(error),
        }
    }

    /// Asks for JSON and reads it.
    async fn get<T: DeserializeOwned>(&self, words: &[&str]) -> Result<T, KubectlError> {
        let words = [words, &["-o", "json"]].concat();
        let output = self.run(&words).await.map_err(|(_, error)| error)?;
        serde_json::from_slice(&output.stdout).map_err(|error| KubectlError::Garbled {
            reason: error.to_string(),
        })
    }

    async fn run(&self, words: &[&str]) -> Result<KubectlOutput, (Option<Vec<u8>>, KubectlError)> {
        match self {
            Self::Program(program) => program.run(words).await,
            Self::Simulated(answers, clock) => match answers(words, clock.now()) {
                Some(text) => Ok(KubectlOutput {
                    stdout: text.into_bytes(),
                }),
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

/// What a successful run printed.
struct KubectlOutput {
    stdout: Vec<u8>,
}

impl Program {
    /// Runs it within the deadline; dropping the future kills it. With an error comes what was printed, if it ran.
    async fn run(&self, words: &[&str]) -> Result<KubectlOutput, (Option<Vec<u8>>, KubectlError)> {
        // Outlives the deadline: a login helper has said by then what it waits for.
        let talk = Arc::new(Mutex::new(Vec::new()));
        match tokio::time::timeout(self.deadline, self.answer(words, &talk)).await {
            Ok(answer) => answer,
            Err(_) => Err((
                None,
                KubectlError::TimedOut {
                    seconds: self.deadline.as_secs(),
                    said: error::last_words(&talk.lock().unwrap_or_else(PoisonError::into_inner)),
                },
            )),
        }
    }

    async fn answer(
        &self,
        words: &[&str],
        talk: &Mutex<Vec<u8>>,
    ) -> Result<KubectlOutput, (Option<Vec<u8>>, KubectlError)> {
        let not_started = |error: &std::io::Error| self.not_started(error);
        let own = self.deadline.saturating_sub(AHEAD).max(AHEAD).as_secs();
        let patience = format!("--request-timeout={own}s");
        let words = [&[patience.as_str()], words].concat();
        let mut child = self
            .command(&words)
            .spawn()
            .map_err(|error| (None, not_started(&error)))?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        // Both at once: either pipe, once full, would block kubectl for ever.
        let (stdout, ()) = tokio::join!(read_bounded(out, MOST_BYTES), listened(err, talk));
        if stdout.len() as u64 > MOST_BYTES {
            return Err((None, KubectlError::TooLarge));
        }
        let status = child
            .wait()
            .await
            .map_err(|error| (None, not_started(&error)))?;
        if status.success() {
            return Ok(KubectlOutput { stdout });
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
            _ => KubectlError::NotStarted {
                program,
                reason: error.to_string(),
            },
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
            // Its words are told apart.
            .env("LC_ALL", "C")
            .kill_on_drop(true);
        command
    }
}

/// Reads to the end, and keeps the first of it where others can see it.
async fn listened(pipe: Option<impl AsyncRead + Unpin>, kept: &Mutex<Vec<u8>>) {
    let Some(mut pipe) = pipe else { return };
    let mut piece = vec![0; 4096];
    while let Ok(count @ 1..) = pipe.read(&mut piece).await {
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        let room = usize::try_from(MOST_TALK)
            .unwrap_or(usize::MAX)
            .saturating_sub(kept.len());
        kept.extend_from_slice(piece.get(..count.min(room)).unwrap_or_default());
    }
}

/// Reads to the end, but keeps no more than one byte beyond the bound: enough to tell that it was passed.
async fn read_bounded(pipe: Option<impl AsyncRead + Unpin>, most: u64) -> Vec<u8> {
    let mut kept = Vec::new();
    if let Some(mut pipe) = pipe {
        let _ = (&mut pipe).take(most + 1).read_to_end(&mut kept).await;
        // What is beyond is read away, so that the writer can end; the deadline bounds it.
        let _ = tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await;
    }
    kept
}
