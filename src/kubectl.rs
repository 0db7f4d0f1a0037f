//! Runs kubectl and reads its JSON. kubectl has the logins, contexts and plugins that a cluster needs; this
//! module adds a deadline, bounds, and a typed word for every way to fail. Judging what comes back is the domain's.
//!
//! A call is judged by its exit status and never by what was printed: on a 403 `get … -o json` prints an empty list
//! and exits 1. No shell is involved; nothing is ever changed in the cluster.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;

use crate::domain::cluster::{Announcement, EndpointSlice, List, Names, Pod, Service};
use crate::error::{Failure, Kind};
use crate::settings::resolved;

/// Most bytes of an answer that are taken; the lists asked for have some 10 KiB.
const MOST_BYTES: u64 = 16 << 20;
/// What kubectl says when its own configuration does not fit, beside `context "NAME" does not exist`.
const CONFIGURATION: &[&str] = &[
    "context was not found",
    "Error in configuration",
    "error loading config file",
    "Missing or incomplete configuration",
    "no configuration has been provided",
    ": no such file or directory",
];
/// Most bytes of what it says on stderr that are taken.
const MOST_TALK: u64 = 16 << 10;
/// How much earlier than the deadline kubectl itself gives up, so that it can say what it waited for.
const AHEAD: Duration = Duration::from_secs(1);

/// Why kubectl brought no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KubectlError {
    /// There is no such program.
    #[error("the program {program} is not installed")]
    Missing {
        /// As configured.
        program: String,
    },
    /// The program cannot be started.
    #[error("{program} cannot be started: {reason}")]
    NotStarted {
        /// As configured.
        program: String,
        /// The operating system's words.
        reason: String,
    },
    /// No answer in time.
    #[error("kubectl did not answer within {seconds} s")]
    TimedOut {
        /// The deadline.
        seconds: u64,
    },
    /// The API server cannot be reached.
    #[error("the cluster cannot be reached: {said}")]
    Unreachable {
        /// kubectl's words.
        said: String,
    },
    /// The API server wants a login (401).
    #[error("the cluster refuses the login: {said}")]
    Unauthorized {
        /// kubectl's words.
        said: String,
    },
    /// The login lacks the right (403).
    #[error("this login may not look at that: {said}")]
    Forbidden {
        /// kubectl's words.
        said: String,
    },
    /// There is no object of that name (404).
    #[error("it does not exist: {said}")]
    NotFound {
        /// kubectl's words.
        said: String,
    },
    /// The cluster does not know the kind of object: MetalLB is absent, old, or not in layer 2 mode.
    #[error("the cluster does not know such objects: {said}")]
    UnknownResource {
        /// kubectl's words.
        said: String,
    },
    /// kubectl's own configuration is wrong.
    #[error("kubectl's configuration does not fit: {said}")]
    Configuration {
        /// kubectl's words.
        said: String,
    },
    /// Any other failure.
    #[error("kubectl failed with exit code {status}: {said}")]
    Failed {
        /// Its exit code; -1 after a signal.
        status: i32,
        /// kubectl's words.
        said: String,
    },
    /// More than is taken.
    #[error("kubectl's answer is larger than 16 MiB")]
    TooLarge,
    /// Success, but no JSON of that shape.
    #[error("kubectl answered in a form kmsctl does not know: {reason}")]
    Garbled {
        /// The parser's words.
        reason: String,
    },
}

impl KubectlError {
    /// Returns what to do about it.
    pub fn fix(&self) -> &'static str {
        match self {
            Self::Missing { .. } | Self::NotStarted { .. } => {
                "Install kubectl, or name it in cluster.kubectl."
            }
            Self::TimedOut { .. } | Self::Unreachable { .. } => {
                "Is the VPN up? Try `kubectl cluster-info`; cluster.context and cluster.kubeconfig choose the cluster."
            }
            Self::Unauthorized { .. } => "Log in to the cluster again.",
            Self::Forbidden { .. } => {
                "Ask for the right to read it, or look with a login that has it (cluster.context)."
            }
            Self::NotFound { .. } => {
                "Does cluster.namespace, and do the names below cluster, fit what is deployed?"
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

    /// Tells the failure apart by kubectl's words, which are stable from 1.27 to 1.37.
    fn of_words(status: i32, stderr: &str) -> Self {
        let lines = || {
            stderr
                .lines()
                .map(str::trim)
                .filter(|line| !line.is_empty())
        };
        // Warnings and klog's lines (`E0822 …`, `W0822 …`) come first; the sentence that counts is the last.
        let said: String = lines()
            .next_back()
            .unwrap_or("it said nothing")
            .chars()
            .take(300)
            .collect();
        let has = |words: &[&str]| words.iter().any(|word| stderr.contains(word));
        if has(&["(Forbidden)", "is forbidden:"]) {
            return Self::Forbidden { said };
        }
        if has(&["(NotFound)"]) {
            return Self::NotFound { said };
        }
        if has(&[
            "(Unauthorized)",
            "You must be logged in",
            "getting credentials",
        ]) {
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

impl From<KubectlError> for Failure {
    fn from(error: KubectlError) -> Self {
        Self::new(
            Kind::Unreachable,
            format!("The cluster cannot answer: {error}."),
        )
        .hint(error.fix())
    }
}

/// Answers in the place of a cluster: kubectl's arguments in, the JSON that it would print out.
pub type Answers = fn(&[&str]) -> Option<&'static str>;

/// The way to the cluster.
#[derive(Clone, Debug)]
pub enum Kubectl {
    /// The program.
    Program(Program),
    /// The simulated cluster; its documents are read by the same code.
    Simulated(Answers),
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
    pub async fn service(&self, namespace: &str, names: &Names) -> Result<Service, KubectlError> {
        self.get(&["-n", namespace, "get", "services", &names.service])
            .await
    }

    /// Lists the pods of the deployment.
    pub async fn pods(&self, namespace: &str, names: &Names) -> Result<List<Pod>, KubectlError> {
        self.get(&["-n", namespace, "get", "pods", "-l", &names.selector])
            .await
    }

    /// Lists the slices of the Service's endpoints; `endpoints` itself is deprecated.
    pub async fn endpoints(
        &self,
        namespace: &str,
        names: &Names,
    ) -> Result<List<EndpointSlice>, KubectlError> {
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
        names: &Names,
    ) -> Result<List<Announcement>, KubectlError> {
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
            Ok(Output { stdout, .. }) => Ok(stdout.trim_ascii().starts_with(b"yes")),
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

    async fn run(&self, words: &[&str]) -> Result<Output, (Option<Vec<u8>>, KubectlError)> {
        match self {
            Self::Program(program) => program.run(words).await,
            Self::Simulated(answers) => match answers(words) {
                Some(text) => Ok(Output {
                    stdout: text.as_bytes().to_vec(),
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
struct Output {
    stdout: Vec<u8>,
}

impl Program {
    /// Runs it within the deadline; dropping the future kills it. With an error comes what was printed, if it ran.
    async fn run(&self, words: &[&str]) -> Result<Output, (Option<Vec<u8>>, KubectlError)> {
        match tokio::time::timeout(self.deadline, self.answer(words)).await {
            Ok(answer) => answer,
            Err(_) => Err((
                None,
                KubectlError::TimedOut {
                    seconds: self.deadline.as_secs(),
                },
            )),
        }
    }

    async fn answer(&self, words: &[&str]) -> Result<Output, (Option<Vec<u8>>, KubectlError)> {
        let not_started = |error: &std::io::Error| match error.kind() {
            std::io::ErrorKind::NotFound => KubectlError::Missing {
                program: self.name.clone(),
            },
            _ => KubectlError::NotStarted {
                program: self.name.clone(),
                reason: error.to_string(),
            },
        };
        let mut child = self
            .command(words)
            .spawn()
            .map_err(|error| (None, not_started(&error)))?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        // Both at once: either pipe, once full, would block kubectl for ever.
        let (stdout, stderr) = tokio::join!(bounded(out, MOST_BYTES), bounded(err, MOST_TALK));
        if stdout.len() as u64 > MOST_BYTES {
            return Err((None, KubectlError::TooLarge));
        }
        let status = child
            .wait()
            .await
            .map_err(|error| (None, not_started(&error)))?;
        if status.success() {
            return Ok(Output { stdout });
        }
        let talk = String::from_utf8_lossy(&stderr);
        let error = KubectlError::of_words(status.code().unwrap_or(-1), &talk);
        Err((Some(stdout), error))
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.name);
        command
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Its words are told apart.
            .env("LC_ALL", "C")
            .kill_on_drop(true);
        let own = self.deadline.saturating_sub(AHEAD).max(AHEAD).as_secs();
        command.arg(format!("--request-timeout={own}s"));
        if let Some(path) = &self.kubeconfig {
            command.arg("--kubeconfig").arg(path);
        }
        if let Some(context) = &self.context {
            command.arg(format!("--context={context}"));
        }
        command
    }
}

/// Reads to the end, but keeps no more than one byte beyond the bound: enough to tell that it was passed.
async fn bounded(pipe: Option<impl AsyncRead + Unpin>, most: u64) -> Vec<u8> {
    let mut kept = Vec::new();
    if let Some(mut pipe) = pipe {
        let _ = (&mut pipe).take(most + 1).read_to_end(&mut kept).await;
        // What is beyond is read away, so that the writer can end; the deadline bounds it.
        let _ = tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await;
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(
            kind(""),
            KubectlError::Failed {
                status: 1,
                said: "it said nothing".into()
            }
        );
    }

    #[test]
    fn failures_are_of_the_other_side() {
        let failure = Failure::from(KubectlError::Missing {
            program: "kubectl".into(),
        });
        assert_eq!(failure.kind.exit_code(), 5);
        assert_eq!(failure.hints.len(), 1);
    }
}
