//! Why kubectl brought no answer, told apart by its words, each with what to do about it. Runs nothing.

use crate::error::{Failure, FailureKind};

/// What kubectl says when its own configuration does not fit, beside `context "NAME" does not exist`.
const CONFIGURATION: &[&str] = &[
    "context was not found",
    "Error in configuration",
    "error loading config file",
    "Missing or incomplete configuration",
    "no configuration has been provided",
    ": no such file or directory",
];

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
    #[error("kubectl did not answer within {seconds} s{}", said_so_far(said))]
    TimedOut {
        /// The deadline.
        seconds: u64,
        /// What it printed until then, empty for nothing.
        said: String,
    },
    /// The API server cannot be reached.
    #[error("the cluster cannot be reached: {said}")]
    Unreachable {
        /// kubectl's words.
        said: String,
    },
    /// The API server cannot reach the pod's port (503 of its proxy).
    #[error("the API server cannot reach the pod: {said}")]
    PodSilent {
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
    #[error("this login may not {said}")]
    Forbidden {
        /// What, such as `list pods in kms`.
        said: String,
    },
    /// There is no object of that name (404).
    #[error("it does not exist: {said}")]
    NotFound {
        /// kubectl's words.
        said: String,
    },
    /// The pod has no container of that name.
    #[error("the pod has no such container: {said}")]
    NoContainer {
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

    /// Tells the failure apart by kubectl's words; those of 1.32 and 1.37 are the same.
    pub(super) fn of_words(status: i32, stderr: &str) -> Self {
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

/// Says what kubectl printed before it was given up.
fn said_so_far(said: &str) -> String {
    if said.is_empty() {
        String::new()
    } else {
        format!("; it printed: {said}")
    }
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
pub(super) fn last_words(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let last = text.lines().map(str::trim).rfind(|line| !line.is_empty());
    last.unwrap_or_default().chars().take(300).collect()
}

/// Leaves out of kubectl's sentence what names no fact: who says it, and what it asks of its reader.
fn concrete_sentence(sentence: &str) -> &str {
    let mut words = sentence;
    for start in [
        "Error from server",
        "error: ",
        "Unable to connect to the server: ",
    ] {
        words = words.strip_prefix(start).unwrap_or(words).trim_start();
    }
    // `(Forbidden): …`, `(NotFound): …`, or `: …`.
    let reason = words
        .strip_prefix('(')
        .and_then(|rest| rest.split_once("): "));
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
        Self::new(
            FailureKind::Unreachable,
            format!("The cluster cannot answer: {error}."),
        )
        .hint(error.fix())
    }
}

#[cfg(test)]
mod tests {
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
        assert_eq!(
            kind(""),
            KubectlError::Failed {
                status: 1,
                said: "it said nothing".into()
            }
        );
    }

    #[test]
    fn the_sentence_is_short_and_names_the_fact() {
        for (words, told) in [
            (
                "Error from server (Forbidden): pods is forbidden: User \"tester\" cannot list resource \"pods\" in API group \"\" in the namespace \"kms\"",
                "this login may not list pods in kms",
            ),
            (
                "Error from server (Forbidden): nodes is forbidden: User \"x\" cannot list resource \"nodes\" in API group \"\" at the cluster scope",
                "this login may not list nodes",
            ),
            (
                "Error from server (Forbidden): admission says no: x is forbidden: nobody",
                "this login may not look at that: admission says no: x is forbidden: nobody",
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
            assert_eq!(KubectlError::of_words(1, words).to_string(), told);
        }
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
