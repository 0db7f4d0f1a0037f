//! The cluster's side of the path: the few fields of Kubernetes' JSON that decide whether a connection to the
//! service's address ends at a server. Fetching them is `kubectl`'s work, judging them [`crate::domain::reachability::path`]'s.
//!
//! Field names are those of Kubernetes (core/v1, discovery.k8s.io/v1) and of MetalLB (metallb.io/v1beta1). Everything
//! unknown is skipped, everything that may be absent has a default: clusters are newer or older than this text.

use jiff::Timestamp;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The names of what is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectNames {
    /// The Service.
    pub service: String,
    /// The Deployment behind it.
    pub deployment: String,
    /// The label selector of its pods.
    pub selector: String,
    /// The container of the server.
    pub server: String,
    /// The container of the notifier.
    pub notifier: String,
}

/// A list as `kubectl get … -o json` prints it.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct ObjectList<T> {
    /// Its items.
    #[serde(default = "Vec::new")]
    pub items: Vec<T>,
}

/// `metadata` of any object.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Metadata {
    /// Its name.
    pub name: String,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
}

/// A Service.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct KubernetesService {
    /// Name and annotations.
    pub metadata: Metadata,
    /// What is wanted.
    pub spec: ServiceSpec,
    /// What is given.
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
    /// Its ports.
    pub ports: Vec<ServicePort>,
}

/// One port of a Service.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ServicePort {
    /// The port clients connect to.
    pub port: u16,
    /// `TCP` by default.
    pub protocol: Option<String>,
}

/// `status` of a Service.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServiceStatus {
    /// What the load balancer gave.
    pub load_balancer: LoadBalancer,
}

/// `status.loadBalancer`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct LoadBalancer {
    /// One entry per address.
    pub ingress: Vec<Ingress>,
}

/// One address of a load balancer.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Ingress {
    /// The address.
    pub ip: Option<IpAddr>,
}

impl KubernetesService {
    /// Returns the addresses asked for: MetalLB's annotation (both generations), or else the older field.
    pub fn wanted(&self) -> Vec<String> {
        let annotations = &self.metadata.annotations;
        let asked = [
            "metallb.io/loadBalancerIPs",
            "metallb.universe.tf/loadBalancerIPs",
        ]
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

    /// Returns the addresses given.
    pub fn given(&self) -> Vec<IpAddr> {
        let ingress = &self.status.load_balancer.ingress;
        ingress.iter().filter_map(|ingress| ingress.ip).collect()
    }

    /// Returns whether it takes TCP connections on the port.
    pub fn has_port(&self, port: u16) -> bool {
        self.spec.ports.iter().any(|offered| {
            offered.port == port
                && offered
                    .protocol
                    .as_deref()
                    .is_none_or(|protocol| protocol == "TCP")
        })
    }
}

/// An EndpointSlice.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct EndpointSlice {
    /// Its endpoints; null in the JSON of an empty slice.
    pub endpoints: Option<Vec<Endpoint>>,
}

/// One endpoint.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Endpoint {
    /// Its addresses.
    pub addresses: Vec<String>,
    /// The node it is on.
    pub node_name: Option<String>,
    /// Whether it may be used.
    pub conditions: EndpointConditions,
    /// What it is.
    pub target_ref: Option<Reference>,
}

/// A reference to another object.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Reference {
    /// `Pod`, ….
    pub kind: String,
    /// Its name.
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
    /// A sentence.
    pub message: String,
    /// About what.
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
    /// Returns whether connections are sent to it.
    pub fn is_ready(&self) -> bool {
        self.conditions.ready.unwrap_or(true)
    }
}

/// MetalLB's word on who announces an address.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Announcement {
    /// Its name.
    pub metadata: Metadata,
    /// Who.
    pub status: AnnouncementStatus,
}

/// `status` of a ServiceL2Status.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct AnnouncementStatus {
    /// The announcing node.
    pub node: Option<String>,
}

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
