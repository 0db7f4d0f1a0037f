//! What a pod says about itself: events about it, its containers' output, a page or a file inside it.

use std::time::Duration;

use jiff::Timestamp;

use super::stream::LogStream;
use super::{Kubectl, KubectlError};
use crate::clock::Clock;
use crate::domain::cluster::objects::{KubernetesEvent, ObjectList};

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

/// One container of one pod.
#[derive(Clone, Copy, Debug)]
pub struct PodFilter<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its pod.
    pub pod: &'a str,
    /// Its name.
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

impl Kubectl {
    /// Lists the events about pods.
    pub async fn events(
        &self,
        namespace: &str,
    ) -> Result<ObjectList<KubernetesEvent>, KubectlError> {
        let selector = "--field-selector=involvedObject.kind=Pod";
        self.get(&["-n", namespace, "get", "events", selector])
            .await
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
        let output = self.run(&["get", "--raw", &path]).await;
        let output = output.map_err(|(_, error)| error)?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
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
        let output = self.run(&words).await.map_err(|(_, error)| error)?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
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
    pub async fn later(&self, span: Duration) -> Self {
        match self {
            Self::Program(_) => {
                tokio::time::sleep(span).await;
                self.clone()
            }
            Self::Simulated(answers, clock) => {
                let span = jiff::SignedDuration::try_from(span).unwrap_or_default();
                Self::Simulated(*answers, Clock::Fixed(clock.now() + span))
            }
        }
    }

    /// Returns the present as this cluster has it.
    pub fn now(&self, clock: Clock) -> Timestamp {
        match self {
            Self::Program(_) => clock.now(),
            Self::Simulated(_, own) => own.now(),
        }
    }
}

/// Refuses a name that no pod can have (a DNS subdomain, RFC 1123): it came from outside, and becomes an argument.
fn check_pod_name(name: &str) -> Result<(), KubectlError> {
    let label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !label.is_empty()
            && label.bytes().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if name.len() <= 253 && name.split('.').all(label) {
        Ok(())
    } else {
        Err(KubectlError::Garbled {
            reason: "the name of a pod is none that a pod can have".to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_dns_name_becomes_an_argument() {
        for good in ["kms-7d9f-x2", "a", "kms.0"] {
            assert!(check_pod_name(good).is_ok(), "{good}");
        }
        let long = "a".repeat(254);
        for bad in [
            "",
            "--all",
            "-c",
            "a b",
            "../x",
            "a/../b",
            "KMS",
            "a..b",
            "é",
            long.as_str(),
        ] {
            assert!(check_pod_name(bad).is_err(), "{bad}");
        }
    }
}
