//! A Pod: where it runs, how its containers are and how they came to be so (core/v1).

use jiff::Timestamp;
use serde::Deserialize;

use super::Metadata;

/// A Pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Pod {
    /// Its name.
    pub metadata: Metadata,
    /// Where it runs.
    pub spec: PodSpec,
    /// How it is.
    pub status: PodStatus,
}

/// `spec` of a Pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodSpec {
    /// Its node.
    pub node_name: Option<String>,
    /// Its containers as they are wanted.
    pub containers: Vec<Container>,
}

/// A container as it is wanted.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Container {
    /// Its name.
    pub name: String,
    /// The ports it names.
    pub ports: Vec<ContainerPort>,
    /// How Kubernetes asks whether it is ready; only whether there is one matters.
    pub readiness_probe: Option<serde::de::IgnoredAny>,
    /// How Kubernetes asks whether it lives.
    pub liveness_probe: Option<serde::de::IgnoredAny>,
}

/// One port of a container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ContainerPort {
    /// Its name, such as `metrics`.
    pub name: Option<String>,
    /// Its number.
    pub container_port: u16,
}

/// `status` of a Pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodStatus {
    /// `Running`, `Pending`, ….
    pub phase: String,
    /// Its conditions.
    pub conditions: Vec<Condition>,
    /// Its containers.
    pub container_statuses: Vec<ContainerStatus>,
}

/// One condition of a Pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Condition {
    /// `Ready`, ….
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False`, `Unknown`.
    pub status: String,
}

/// One container of a Pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ContainerStatus {
    /// Its name.
    pub name: String,
    /// It passes its probe.
    pub ready: bool,
    /// How often it was started again.
    pub restart_count: u64,
    /// The image as it was asked for.
    pub image: String,
    /// The image as it is, with its digest.
    #[serde(rename = "imageID")]
    pub image_id: String,
    /// What it does now.
    pub state: ContainerState,
    /// What it did before it was started again.
    pub last_state: ContainerState,
}

/// `state` of a container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ContainerState {
    /// Why it does not run.
    pub waiting: Option<WaitingContainer>,
    /// Since when it runs.
    pub running: Option<RunningContainer>,
    /// How it ended.
    pub terminated: Option<Terminated>,
}

/// `state.running`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RunningContainer {
    /// Since when.
    pub started_at: Option<Timestamp>,
}

/// `state.terminated`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Terminated {
    /// Its exit code.
    pub exit_code: i64,
    /// `Error`, `OOMKilled`, `Completed`, ….
    pub reason: Option<String>,
    /// When.
    pub finished_at: Option<Timestamp>,
}

/// `state.waiting`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct WaitingContainer {
    /// `CrashLoopBackOff`, `ImagePullBackOff`, ….
    pub reason: Option<String>,
}

impl Pod {
    /// Returns whether Kubernetes calls it Ready: *all* of its containers, the notifier included.
    pub fn is_ready(&self) -> bool {
        let conditions = &self.status.conditions;
        conditions
            .iter()
            .any(|condition| condition.kind == "Ready" && condition.status == "True")
    }

    /// Returns the port of a container's metrics page: the port of that name, else what Prometheus is told, else
    /// the notifier's own default.
    pub fn metrics_port(&self, container: &str) -> u16 {
        let wanted = self.spec.containers.iter();
        let mut named = wanted
            .filter(|wanted| wanted.name == container)
            .flat_map(|wanted| &wanted.ports)
            .filter(|port| port.name.as_deref() == Some("metrics"));
        let annotated = self.metadata.annotations.get("prometheus.io/port");
        named
            .next()
            .map(|port| port.container_port)
            .or_else(|| annotated?.parse().ok())
            .unwrap_or(9101)
    }

    /// Returns whether Kubernetes itself connects to a container from time to time.
    pub fn is_probed(&self, container: &str) -> bool {
        let wanted = self.spec.containers.iter();
        wanted
            .filter(|wanted| wanted.name == container)
            .any(|wanted| wanted.readiness_probe.is_some() || wanted.liveness_probe.is_some())
    }

    /// Returns the container of that name.
    pub fn container(&self, name: &str) -> Option<&ContainerStatus> {
        self.status
            .container_statuses
            .iter()
            .find(|status| status.name == name)
    }
}

impl ContainerStatus {
    /// Renders how it is, such as `not ready, 7 restarts, CrashLoopBackOff`.
    pub fn standing(&self) -> String {
        let mut words = vec![if self.ready { "ready" } else { "not ready" }.to_owned()];
        words.push(match self.restart_count {
            0 => "no restarts".to_owned(),
            1 => "1 restart".to_owned(),
            count => format!("{count} restarts"),
        });
        words.extend(
            self.state
                .waiting
                .as_ref()
                .and_then(|waiting| waiting.reason.clone()),
        );
        words.join(", ")
    }
}
