//! Asks the cluster about the notifier, everything at once: pods, their metrics pages and what they printed, the
//! Service, events. Each answer may be missing alone; without the cluster there is none.

use std::future::Future;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::app::{Context, wait_for_interrupt};
use crate::domain::cluster::objects::{KubernetesEvent, KubernetesService, ObjectNames, Pod};
use crate::domain::notifier::event_log::{EventRecord, split_kubectl_stamp};
use crate::domain::notifier::health::{Evidence, MetricsReading, NoPage, PodEvidence};
use crate::domain::reachability::path::{Known, Trouble};
use crate::error::{Failure, FailureKind, Result};
use crate::kubectl::pods::{PodFilter, PodPart};
use crate::kubectl::{Kubectl, KubectlError};
use crate::vantage::inside;
use crate::vantage::inside::known_answer;
use crate::vantage::join_in_order;

/// Most pods that are asked: a deployment in a bad way can have very many.
const MOST_PODS: usize = 8;
/// Most lines read of a pod's output. In 24 hours a notifier that echoes probes prints up to 25,000.
const LINES: usize = 10_000;
/// Time between two looks at the numbers: more than a second, as they are whole seconds.
const BETWEEN: Duration = Duration::from_millis(1_600);

/// How much is asked.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// Most lines of a pod's output.
    pub lines: usize,
    /// Look at the numbers twice, and at what lies around.
    pub thorough: bool,
}

impl Wish {
    /// All that can be known.
    pub const EVERYTHING: Self = Self {
        lines: LINES,
        thorough: true,
    };
}

/// A pod that was found.
#[derive(Clone, Debug)]
pub struct FoundPod {
    /// Its name.
    pub name: String,
    /// What Kubernetes says about it; `None` where only endpoints tell of it.
    pub pod: Option<Pod>,
    /// Whether it is ready.
    pub ready: Option<bool>,
}

/// What came back.
pub struct PipelineReading {
    /// When.
    pub now: Timestamp,
    /// The pods.
    pub pods: Known<Vec<PodEvidence>>,
    /// Why they could not be listed, where endpoints told their names.
    pub unlisted: Option<Trouble>,
    /// The Service.
    pub service: Known<KubernetesService>,
    /// Events about pods.
    pub events: Known<Vec<KubernetesEvent>>,
}

impl PipelineReading {
    /// Returns it as evidence.
    pub fn evidence(self, names: &ObjectNames) -> Evidence<'_> {
        Evidence {
            names,
            now: self.now,
            pods: self.pods,
            unlisted: self.unlisted,
            service: self.service,
            events: self.events,
        }
    }
}

/// Returns the way to the cluster, or says how to configure one.
pub fn configured_kubectl(context: &Context) -> Result<Kubectl> {
    inside::inside_kubectl(context).ok_or_else(|| {
        Failure::usage("No cluster is configured, so there is nobody to ask.")
            .hint("Name kubectl's context: cluster.context in the configuration, or KMSCTL_CLUSTER_CONTEXT.")
            .hint("Try it without one: kmsctl --demo notifier status")
    })
}

/// Waits for work with the cluster; Ctrl-C ends it.
pub async fn kubectl_or_interrupt<T>(
    context: &Context,
    work: impl Future<Output = Result<T, KubectlError>>,
) -> Result<T> {
    let spinner = context.terminal.spinner("Asking the cluster …");
    let answered = tokio::select! {
        answered = work => answered.map_err(Failure::from),
        () = wait_for_interrupt() => Err(Failure::new(FailureKind::Interrupted, "Interrupted.")),
    };
    spinner.finish_and_clear();
    answered
}

/// Lists the pods; where that is forbidden, their names, and whether they are ready, may still be read from the endpoints
/// of the Service.
pub async fn find_notifier_pods(
    context: &Context,
    kubectl: &Kubectl,
) -> Result<(Vec<FoundPod>, Option<KubectlError>), KubectlError> {
    let (namespace, names) = (
        context.settings.cluster.namespace.as_str(),
        &context.settings.cluster.names,
    );
    let denied = match kubectl.pods(namespace, names).await {
        Ok(list) => {
            let pods = list.items.into_iter();
            let named = pods.map(|pod| FoundPod {
                name: pod.metadata.name.clone(),
                ready: Some(pod.is_ready()),
                pod: Some(pod),
            });
            return Ok((named.take(MOST_PODS).collect(), None));
        }
        Err(error @ KubectlError::Forbidden { .. }) => error,
        Err(error) => return Err(error),
    };
    let slices = kubectl.endpoints(namespace, names).await;
    let slices = slices.map(|list| list.items).unwrap_or_default();
    let mut found: Vec<FoundPod> = Vec::new();
    let endpoints = slices.into_iter().filter_map(|slice| slice.endpoints);
    for endpoint in endpoints.flatten() {
        if let Some(target) = endpoint.target_ref.filter(|target| target.kind == "Pod")
            && found.len() < MOST_PODS
            && !found.iter().any(|pod| pod.name == target.name)
        {
            found.push(FoundPod {
                name: target.name,
                pod: None,
                ready: endpoint.conditions.ready,
            });
        }
    }
    Ok((found, Some(denied)))
}

/// Asks everything. Fails where the cluster cannot be asked at all.
pub async fn gather_pipeline(
    context: &Context,
    kubectl: &Kubectl,
    wish: Wish,
) -> Result<PipelineReading, KubectlError> {
    let (namespace, names) = (
        context.settings.cluster.namespace.as_str(),
        &context.settings.cluster.names,
    );
    let around = async {
        if wish.thorough {
            let (service, events) =
                tokio::join!(kubectl.service(namespace, names), kubectl.events(namespace));
            (
                known_answer(service),
                known_answer(events.map(|list| list.items)),
            )
        } else {
            (Ok(KubernetesService::default()), Ok(Vec::new()))
        }
    };
    let inside = async {
        let (pods, denied) = find_notifier_pods(context, kubectl).await?;
        let asked = pods
            .into_iter()
            .map(|found| gather_pod_evidence(context, kubectl, found, wish));
        let pods = join_in_order(asked.collect()).await;
        let unlisted = known_answer(denied.map_or(Ok(()), Err)).err();
        Ok(match unlisted {
            Some(trouble) if pods.is_empty() => (Err(trouble), None),
            unlisted => (Ok(pods), unlisted),
        })
    };
    let (inside, (service, events)) = tokio::join!(inside, around);
    let (pods, unlisted) = inside?;
    Ok(PipelineReading {
        now: context.clock.now(),
        pods,
        unlisted,
        service,
        events,
    })
}

/// Asks one pod.
async fn gather_pod_evidence(
    context: &Context,
    kubectl: &Kubectl,
    found: FoundPod,
    wish: Wish,
) -> PodEvidence {
    let FoundPod { name, pod, ready } = found;
    let cluster = &context.settings.cluster;
    let port = pod.as_ref().map_or_else(
        || Pod::default().metrics_port(""),
        |pod| pod.metrics_port(&cluster.names.notifier),
    );
    let numbers = async {
        let first = read_pod_metrics(context, kubectl, &name, port).await;
        if first.is_err() || !wish.thorough {
            return (first, None);
        }
        let later = kubectl.later(BETWEEN).await;
        let second = read_pod_metrics(context, &later, &name, port).await;
        (first, second.ok())
    };
    let restarts = pod
        .as_ref()
        .and_then(|pod| pod.container(&cluster.names.notifier))
        .map_or(0, |container| container.restart_count);
    let (numbers, log) = tokio::join!(
        numbers,
        read_pod_events(context, kubectl, &name, restarts, wish)
    );
    PodEvidence {
        log: known_answer(log),
        no_page: numbers.0.as_ref().err().map(|error| match error {
            KubectlError::Forbidden { .. } => NoPage::Forbidden,
            KubectlError::PodSilent { .. } => NoPage::Silent,
            _ => NoPage::Unanswered,
        }),
        first: known_answer(numbers.0),
        second: numbers.1,
        pod,
        ready,
        name,
    }
}

/// Reads the numbers of a pod.
pub async fn read_pod_metrics(
    context: &Context,
    kubectl: &Kubectl,
    pod: &str,
    port: u16,
) -> Result<MetricsReading, KubectlError> {
    let namespace = &context.settings.cluster.namespace;
    let text = kubectl.metrics(namespace, pod, port).await?;
    Ok(MetricsReading::of(&text, kubectl.now(context.clock)))
}

/// Reads what a pod printed in the last 24 hours, also before its last restart.
async fn read_pod_events(
    context: &Context,
    kubectl: &Kubectl,
    pod: &str,
    restarts: u64,
    wish: Wish,
) -> Result<Vec<EventRecord>, KubectlError> {
    let cluster = &context.settings.cluster;
    let place = PodFilter {
        namespace: &cluster.namespace,
        pod,
        container: &cluster.names.notifier,
    };
    let part = PodPart {
        since: Some(context.clock.now() - SignedDuration::from_hours(24)),
        tail: Some(wish.lines),
        previous: false,
    };
    let earlier = async {
        if restarts == 0 {
            return String::new();
        }
        let part = PodPart {
            previous: true,
            ..part
        };
        // It may be gone already; what runs now is what counts.
        kubectl.output(&place, part).await.unwrap_or_default()
    };
    let (earlier, present) = tokio::join!(earlier, kubectl.output(&place, part));
    let text = earlier + &present?;
    let lines = text.split('\n').filter(|line| !line.is_empty());
    Ok(lines
        .map(|line| {
            let (printed, line) = split_kubectl_stamp(line);
            EventRecord::read(line, printed)
        })
        .collect())
}
