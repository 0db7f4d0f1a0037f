//! The cluster's side of the path: the few fields of Kubernetes' JSON that decide whether a connection to the
//! service's address ends at a server. Fetching them is `kubectl`'s work, judging them [`crate::domain::reachability::path`]'s.
//!
//! Field names are those of Kubernetes (core/v1, discovery.k8s.io/v1) and of MetalLB (metallb.io/v1beta1). Everything
//! unknown is skipped, everything that may be absent has a default: clusters are newer or older than this text.

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::Timestamp;
use serde::Deserialize;

pub mod pod;

pub use pod::{Container, ContainerStatus, Pod};

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
    /// `TCP` unless told.
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

/// An event: something that Kubernetes tells about an object for an hour.
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
    /// When it was told last.
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
