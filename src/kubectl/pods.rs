//! What a pod says about itself: events about it, its containers' output, a page or a file inside it.

use std::time::Duration;

use jiff::Timestamp;

use super::stream::Stream;
use super::{Kubectl, KubectlError};
use crate::clock::Clock;
use crate::domain::cluster::{Event, List};

/// Which part of a container's output is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// From this moment on, whole seconds.
    pub since: Option<Timestamp>,
    /// This many lines at most, the last ones.
    pub tail: Option<usize>,
    /// Of the container that ran before the last restart.
    pub previous: bool,
}

impl Part {
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
pub struct Place<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its pod.
    pub pod: &'a str,
    /// Its name.
    pub container: &'a str,
}

impl Place<'_> {
    fn logs(&self, part: Part) -> Vec<String> {
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
    pub async fn events(&self, namespace: &str) -> Result<List<Event>, KubectlError> {
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
        let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}:{port}/proxy/metrics");
        let output = self.run(&["get", "--raw", &path]).await;
        let output = output.map_err(|(_, error)| error)?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Reads what a container printed, each line behind its stamp.
    pub async fn output(&self, place: &Place<'_>, part: Part) -> Result<String, KubectlError> {
        let words = place.logs(part);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let output = self.run(&words).await.map_err(|(_, error)| error)?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Reads what a container printed as a stream; with `follow` it goes on until the container or the connection ends.
    pub fn stream_output(
        &self,
        place: &Place<'_>,
        part: Part,
        follow: bool,
    ) -> Result<Stream, KubectlError> {
        let mut words = place.logs(part);
        words.extend(follow.then(|| "--follow".to_owned()));
        Stream::start(self, words)
    }

    /// Reads the last lines of a file in a container as a stream, through `tail` there. Needs the right to exec.
    pub fn stream_file(
        &self,
        place: &Place<'_>,
        file: &str,
        lines: usize,
        follow: bool,
    ) -> Result<Stream, KubectlError> {
        Stream::start(self, place.tail(file, lines, follow))
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
