//! The cluster's side of the path: the few fields of Kubernetes' JSON that decide whether a connection to the
//! service's address ends at a server. Fetching them is `kubectl`'s work, judging them [`crate::domain::reachability::path`]'s.
//!
//! Field names are those of Kubernetes (core/v1, discovery.k8s.io/v1) and of MetalLB (metallb.io/v1beta1). Everything
//! unknown is skipped, everything that may be absent has a default: clusters are newer or older than this text.

use jiff::Timestamp;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::IpAddr;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectNames {
    pub service: String,
    pub deployment: String,
    pub selector: String,
    pub server: String,
    pub notifier: String,
}

/// Returns whether a pod can have this name (a DNS subdomain, RFC 1123): it comes from outside, and becomes an argument.
pub fn is_pod_name(name: &str) -> bool {
    let label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !label.is_empty()
            && label.bytes().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

/// Returns a pod's name as it stands in a command to paste: one that no pod can have is left to the reader.
pub fn pod_word(name: &str) -> &str {
    if is_pod_name(name) { name } else { "POD" }
}

/// A list as `kubectl get … -o json` prints it.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct ObjectList<T> {
    #[serde(default = "Vec::new")]
    pub items: Vec<T>,
}

/// `metadata` of any object.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Metadata {
    pub name: String,
    pub annotations: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct KubernetesService {
    pub metadata: Metadata,
    pub spec: ServiceSpec,
    pub status: ServiceStatus,
}

/// `spec` of a Service.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServiceSpec {
    /// `LoadBalancer`, `ClusterIP`, ….
    #[serde(rename = "type")]
    pub kind: String,
    /// `Local` keeps the client's address; `Cluster` replaces it by a node's.
    pub external_traffic_policy: Option<String>,
    /// The older way to ask for an address.
    #[serde(rename = "loadBalancerIP")]
    pub load_balancer_ip: Option<String>,
    pub ports: Vec<ServicePort>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ServicePort {
    pub port: u16,
    /// `TCP` by default.
    pub protocol: Option<String>,
}

/// `status` of a Service.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServiceStatus {
    pub load_balancer: LoadBalancer,
}

/// `status.loadBalancer`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct LoadBalancer {
    pub ingress: Vec<Ingress>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Ingress {
    pub ip: Option<IpAddr>,
}

impl KubernetesService {
    /// Returns the addresses asked for: MetalLB's annotation (both generations), or else the older field.
    pub fn wanted(&self) -> Vec<String> {
        let annotations = &self.metadata.annotations;
        let asked = ["metallb.io/loadBalancerIPs", "metallb.universe.tf/loadBalancerIPs"]
            .into_iter()
            .find_map(|name| annotations.get(name).cloned())
            .or_else(|| self.spec.load_balancer_ip.clone())
            .unwrap_or_default();
        asked
            .split(',')
            .map(|part| part.trim().to_owned())
            .filter(|part| !part.is_empty())
            .collect()
    }

    pub fn given(&self) -> Vec<IpAddr> {
        let ingress = &self.status.load_balancer.ingress;
        ingress.iter().filter_map(|ingress| ingress.ip).collect()
    }

    /// Returns whether it takes TCP connections on the port.
    pub fn has_port(&self, port: u16) -> bool {
        self.spec.ports.iter().any(|offered| {
            offered.port == port
                && offered.protocol.as_deref().is_none_or(|protocol| protocol == "TCP")
        })
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct EndpointSlice {
    /// Its endpoints; null in the JSON of an empty slice.
    pub endpoints: Option<Vec<Endpoint>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Endpoint {
    pub addresses: Vec<String>,
    pub node_name: Option<String>,
    pub conditions: EndpointConditions,
    pub target_ref: Option<Reference>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Reference {
    /// `Pod`, ….
    pub kind: String,
    pub name: String,
}

/// An event: something that Kubernetes reports about an object for an hour.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct KubernetesEvent {
    /// `Normal` or `Warning`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `BackOff`, `Unhealthy`, ….
    pub reason: String,
    pub message: String,
    pub involved_object: Reference,
    /// When it was reported last.
    pub last_timestamp: Option<Timestamp>,
}

/// `conditions` of an endpoint.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct EndpointConditions {
    /// Absent means ready.
    pub ready: Option<bool>,
}

impl Endpoint {
    pub fn is_ready(&self) -> bool {
        self.conditions.ready.unwrap_or(true)
    }
}

/// MetalLB's word on who announces an address.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Announcement {
    pub metadata: Metadata,
    pub status: AnnouncementStatus,
}

/// `status` of a ServiceL2Status.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct AnnouncementStatus {
    pub node: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Pod {
    pub metadata: Metadata,
    pub spec: PodSpec,
    pub status: PodStatus,
}

/// `spec` of a Pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodSpec {
    pub node_name: Option<String>,
    pub containers: Vec<Container>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Container {
    pub name: String,
    pub ports: Vec<ContainerPort>,
    /// How Kubernetes asks whether it is ready; only whether there is one matters.
    pub readiness_probe: Option<serde::de::IgnoredAny>,
    pub liveness_probe: Option<serde::de::IgnoredAny>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ContainerPort {
    /// Its name, such as `metrics`.
    pub name: Option<String>,
    pub container_port: u16,
}

/// `status` of a Pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodStatus {
    /// `Running`, `Pending`, ….
    pub phase: String,
    pub conditions: Vec<Condition>,
    pub container_statuses: Vec<ContainerStatus>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Condition {
    /// `Ready`, ….
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False`, `Unknown`.
    pub status: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ContainerStatus {
    pub name: String,
    pub ready: bool,
    pub restart_count: u64,
    pub image: String,
    #[serde(rename = "imageID")]
    pub image_id: String,
    pub state: ContainerState,
    pub last_state: ContainerState,
}

impl ContainerStatus {
    /// Returns since when its output is kept: with that from before its last restart.
    pub fn printed_since(&self) -> Option<Timestamp> {
        let before = self.last_state.terminated.as_ref().and_then(|before| before.started_at);
        before.or_else(|| self.state.running.as_ref()?.started_at)
    }
}

/// `state` of a container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ContainerState {
    /// Why it does not run.
    pub waiting: Option<WaitingContainer>,
    pub running: Option<RunningContainer>,
    pub terminated: Option<Terminated>,
}

/// `state.running`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RunningContainer {
    pub started_at: Option<Timestamp>,
}

/// `state.terminated`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Terminated {
    pub exit_code: i64,
    /// `Error`, `OOMKilled`, `Completed`, ….
    pub reason: Option<String>,
    pub started_at: Option<Timestamp>,
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
        conditions.iter().any(|condition| condition.kind == "Ready" && condition.status == "True")
    }

    /// Returns the port of a container's metrics page: the port of that name, else the port that Prometheus scrapes, else
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

    pub fn container(&self, name: &str) -> Option<&ContainerStatus> {
        self.status.container_statuses.iter().find(|status| status.name == name)
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
        words.extend(self.state.waiting.as_ref().and_then(|waiting| waiting.reason.clone()));
        words.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_kept_over_one_restart() {
        let (running, before) = ("2026-03-01T10:00:00Z", "2026-02-27T10:00:00Z");
        for (state, wanted) in [
            (format!(r#"{{"state": {{"running": {{"startedAt": "{running}"}}}}}}"#), Some(running)),
            (
                format!(
                    r#"{{"state": {{"running": {{"startedAt": "{running}"}}}},
                        "lastState": {{"terminated": {{"startedAt": "{before}"}}}}}}"#
                ),
                Some(before),
            ),
            (r#"{"state": {"waiting": {}}}"#.to_owned(), None),
        ] {
            let status: ContainerStatus = serde_json::from_str(&state).expect(&state);
            let since = status.printed_since().map(|at| at.to_string());
            assert_eq!(since.as_deref(), wanted, "{state}");
        }
    }
}
