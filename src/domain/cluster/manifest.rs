//! The Kubernetes objects around an existing KMS server: the side-car as a patch, the Service with its own address,
//! the operator's rights, the secret. Builds values; printing them is the terminal's work. There is no KMS server in here.
//!
//! Field names are those of Kubernetes (core/v1, apps/v1, rbac.authorization.k8s.io/v1), of MetalLB's annotation and of
//! external-secrets.io/v1.

use std::net::IpAddr;

use serde_json::{Value, json};

pub mod names;
mod patch;
pub mod rights;
mod terraform;

pub use rights::Operator;

/// The account the side-car runs as: distroless' `nonroot`. deploy/Containerfile names it too.
pub const ACCOUNT: u32 = 65_532;

/// Parts of the manifest, in the order in which they are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ManifestPart {
    /// The Service.
    Service,
    /// The operator's rights.
    Rbac,
    /// The webhook's ExternalSecret.
    Secret,
    /// The side-car, as a patch of the Deployment.
    Patch,
}

impl ManifestPart {
    /// Every part.
    pub const ALL: [Self; 4] = [Self::Service, Self::Rbac, Self::Secret, Self::Patch];

    /// Returns its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Rbac => "rbac",
            Self::Secret => "secret",
            Self::Patch => "patch",
        }
    }
}

/// What the objects are to hold. Names have passed [`names`].
#[derive(Clone, Debug)]
pub struct ManifestOptions {
    /// Namespace of the service.
    pub namespace: String,
    /// Namespace of MetalLB.
    pub metallb_namespace: String,
    /// The Deployment that is patched.
    pub deployment: String,
    /// The Service.
    pub service: String,
    /// Its address.
    pub address: IpAddr,
    /// The server's TCP port, outside and inside.
    pub port: u16,
    /// Labels of the pods.
    pub selector: Vec<(String, String)>,
    /// The server's container.
    pub server: String,
    /// The side-car's container.
    pub notifier: String,
    /// The side-car's image.
    pub image: String,
    /// The volume that holds the server's log, and the directory it is mounted at in both containers.
    pub log_volume: (String, String),
    /// Directory of the side-car's state.
    pub state: String,
    /// Directory and file name of the webhook's URL.
    pub webhook: (String, String),
    /// Port of the metrics page.
    pub metrics_port: u16,
    /// The side-car's environment.
    pub environment: Vec<(String, String)>,
    /// The Secret.
    pub secret: String,
    /// Kind and name of the store that the secret comes from.
    pub secret_store: (&'static str, String),
    /// Key and property in that store.
    pub secret_source: (String, String),
    /// Who gets the rights.
    pub operator: Operator,
    /// The right to run programs in the pods too.
    pub exec: bool,
}

impl ManifestOptions {
    /// Says what a part is and how it is applied; lines.
    pub fn about(&self, part: ManifestPart) -> String {
        let Self {
            namespace,
            deployment,
            ..
        } = self;
        match part {
            ManifestPart::Service => "The Service, with an address of its own. externalTrafficPolicy Local keeps the clients' addresses:\n\
                 with Cluster every client would look like a node."
                .to_owned(),
            ManifestPart::Rbac => "What an operator needs for kmsctl status, verify, doctor and notifier status, logs and metrics."
                .to_owned(),
            ManifestPart::Secret => "The URL of Slack's webhook, fetched by External Secrets. The side-car reads it as a file, and again\n\
                 when it changes."
                .to_owned(),
            ManifestPart::Patch => format!(
                "The side-car: a strategic merge patch of the Deployment that runs the KMS server. Apply it with\n\
                 \x20 kubectl -n {namespace} patch deployment {deployment} --patch-file FILE\n\
                 or in a kustomization; not with kubectl apply, as it is no whole Deployment."
            ),
        }
    }

    /// Returns the objects of a part.
    pub fn objects(&self, part: ManifestPart) -> Vec<Value> {
        match part {
            ManifestPart::Service => vec![self.service()],
            ManifestPart::Rbac => rights::rights_objects(self),
            ManifestPart::Secret => vec![self.secret()],
            ManifestPart::Patch => vec![patch::deployment_patch(self)],
        }
    }

    /// Returns a part as Terraform's HCL.
    pub fn terraform(&self, part: ManifestPart) -> String {
        terraform::terraform_text(self, part)
    }

    fn service(&self) -> Value {
        let selector: serde_json::Map<String, Value> = self
            .selector
            .iter()
            .map(|(name, value)| (name.clone(), value.clone().into()))
            .collect();
        let mut spec = json!({
            "type": "LoadBalancer",
            "externalTrafficPolicy": "Local",
            "selector": selector,
            "ports": [{"name": "kms", "port": self.port, "targetPort": self.port, "protocol": "TCP"}],
        });
        if let (IpAddr::V6(_), Some(spec)) = (self.address, spec.as_object_mut()) {
            // A cluster's first family is IPv4 unless told.
            spec.insert("ipFamilies".to_owned(), json!(["IPv6"]));
        }
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {
                "name": self.service,
                "namespace": self.namespace,
                "annotations": {"metallb.io/loadBalancerIPs": self.address.to_string()},
            },
            "spec": spec,
        })
    }

    fn secret(&self) -> Value {
        let (key, property) = &self.secret_source;
        let (kind, store) = &self.secret_store;
        json!({
            "apiVersion": "external-secrets.io/v1",
            "kind": "ExternalSecret",
            "metadata": {"name": self.secret, "namespace": self.namespace},
            "spec": {
                "refreshInterval": "1h",
                "secretStoreRef": {"kind": kind, "name": store},
                "target": {"name": self.secret},
                "data": [{
                    "secretKey": self.webhook.1,
                    "remoteRef": {"key": key, "property": property},
                }],
            },
        })
    }
}
