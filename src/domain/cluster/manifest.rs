//! The Kubernetes objects around an existing KMS server: the side-car as a patch, the Service with its own address,
//! the operator's rights, the secret. Builds values; printing them is the terminal's work. There is no KMS server in here.
//!
//! Field names are those of Kubernetes (core/v1, apps/v1, rbac.authorization.k8s.io/v1), of MetalLB's annotation and of
//! external-secrets.io/v1.

mod terraform;

use crate::text::word_enum;
use serde_json::{Value, json};
use std::net::IpAddr;

/// The account the side-car runs as: distroless' `nonroot`. deploy/Containerfile names it too.
pub const ACCOUNT: u32 = 65_532;

const STATE_VOLUME: &str = "kmsctl-notifier-state";

const WEBHOOK_VOLUME: &str = "kmsctl-notifier-webhook";

word_enum! {
    /// Parts of the manifest, in the order in which they are printed.
    pub enum ManifestPart {
        Service = "service",
        Rbac = "rbac",
        Secret = "secret",
        /// The side-car, as a patch of the Deployment.
        Patch = "patch",
    }
}

/// What the objects are to hold. Names have passed the checks below.
#[derive(Clone, Debug)]
pub struct ManifestOptions {
    pub namespace: String,
    pub metallb_namespace: String,
    pub deployment: String,
    pub service: String,
    pub address: IpAddr,
    /// The server's TCP port, outside and inside.
    pub port: u16,
    pub selector: Vec<(String, String)>,
    pub server: String,
    pub notifier: String,
    pub own: ManifestNames,
    /// What a former notifier has in the Deployment, and the patch takes out: volume, mount path, ConfigMap.
    pub former: [String; 3],
    /// The directory that the server's log is mounted at in both containers.
    pub log_directory: String,
    pub state: String,
    /// Directory and file name of the webhook's URL.
    pub webhook: (String, String),
    pub metrics_port: u16,
    pub environment: Vec<(String, String)>,
    /// The right to run programs in the pods too.
    pub exec: bool,
}

/// What only the manifest needs to know.
#[derive(Clone, Debug)]
pub struct ManifestNames {
    pub image: String,
    /// The volume that holds the server's log.
    pub log_volume: String,
    pub operator: Operator,
    pub secret: String,
    /// Kind and name.
    pub secret_store: (&'static str, String),
    pub secret_key: String,
    pub secret_property: String,
}

impl ManifestOptions {
    /// Says what a part is and how it is applied; lines.
    pub fn about(&self, part: ManifestPart) -> String {
        let Self { namespace, deployment, former: [volume, mount, config_map], .. } = self;
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
                 or in a kustomization; not with kubectl apply, as it is no whole Deployment. It takes out the former notifier's\n\
                 volume {volume} and its mount at {mount}. When the new pod runs, its ConfigMap may be deleted:\n\
                 \x20 kubectl -n {namespace} delete configmap {config_map}"
            ),
        }
    }

    pub fn objects(&self, part: ManifestPart) -> Vec<Value> {
        match part {
            ManifestPart::Service => vec![self.service()],
            ManifestPart::Rbac => rights_objects(self),
            ManifestPart::Secret => vec![self.secret()],
            ManifestPart::Patch => vec![without_former(self, deployment_patch(self))],
        }
    }

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
            // A cluster's first family is IPv4 by default.
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
        let ManifestNames { secret, secret_key: key, secret_property: property, .. } = &self.own;
        let (kind, store) = &self.own.secret_store;
        json!({
            "apiVersion": "external-secrets.io/v1",
            "kind": "ExternalSecret",
            "metadata": {"name": secret, "namespace": self.namespace},
            "spec": {
                "refreshInterval": "1h",
                "secretStoreRef": {"kind": kind, "name": store},
                "target": {"name": secret},
                "data": [{
                    "secretKey": self.webhook.1,
                    "remoteRef": {"key": key, "property": property},
                }],
            },
        })
    }
}

/// What is wrong with a value: what was wanted, without a full stop.
pub type Wanted = &'static str;

/// Checks a label of a DNS name (RFC 1123): namespaces, containers, volumes.
pub fn check_dns_label(text: &str) -> Result<(), Wanted> {
    let fits = text.len() <= 63
        && edges_fit(text, is_lower_alphanumeric)
        && text.bytes().all(|byte| is_lower_alphanumeric(byte) || byte == b'-');
    fits.then_some(())
        .ok_or("a name of 1 to 63 small letters, digits and -, with a letter or digit at both ends")
}

/// Checks the name of a Service (RFC 1035): a label that begins with a letter.
pub fn check_service_name(text: &str) -> Result<(), Wanted> {
    let letter = text.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
    (check_dns_label(text).is_ok() && letter)
        .then_some(())
        .ok_or("a name of 1 to 63 small letters, digits and - that begins with a letter and does not end with -")
}

/// Checks a DNS subdomain (RFC 1123): most other objects.
pub fn check_dns_subdomain(text: &str) -> Result<(), Wanted> {
    let fits = text.len() <= 253
        && text
            .split('.')
            .all(|part| edges_fit(part, is_lower_alphanumeric) && label_or_long(part));
    fits.then_some(())
        .ok_or("a name of small letters, digits, - and ., with a letter or digit at both ends of each part")
}

/// Checks a reference to an image: what registries can hold, which is more than letters but never a blank or quote.
pub fn check_image_reference(text: &str) -> Result<(), Wanted> {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"._/:@-".contains(&byte);
    let fits = (1..=512).contains(&text.len())
        && text.bytes().all(inner)
        && edges_fit(text, |byte| byte.is_ascii_alphanumeric());
    fits.then_some(()).ok_or("an image such as ghcr.io/owner/name:1.0.0")
}

pub fn check_secret_key(text: &str) -> Result<(), Wanted> {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let fits = (1..=253).contains(&text.len())
        && text.bytes().all(inner)
        && !text.starts_with("..")
        && text != ".";
    fits.then_some(()).ok_or("a file name of letters, digits, ., _ and -")
}

/// Reads `KEY=VALUE,…`, the only form of a selector that a Service can have.
pub fn parse_selector(text: &str) -> Result<Vec<(String, String)>, Wanted> {
    let wanted = "labels such as app=kms-service,tier=aux; a Service knows no other selectors";
    let pair = |part: &str| {
        let (name, value) = part.trim().split_once('=')?;
        let value = value.strip_prefix('=').unwrap_or(value);
        let (prefix, short) =
            name.rsplit_once('/').map_or((None, name), |(prefix, short)| (Some(prefix), short));
        let fits = prefix.is_none_or(|prefix| check_dns_subdomain(prefix).is_ok())
            && label_value(short)
            && (value.is_empty() || label_value(value));
        fits.then(|| (name.to_owned(), value.to_owned()))
    };
    text.split(',').map(|part| pair(part).ok_or(wanted)).collect()
}

/// Reads the name of a ClusterSecretStore, or `SecretStore/NAME`: kind and name.
pub fn parse_secret_store(text: &str) -> Result<(&'static str, String), Wanted> {
    let (kind, name) = match text.split_once('/') {
        Some(("SecretStore", name)) => ("SecretStore", name),
        Some(("ClusterSecretStore", name)) => ("ClusterSecretStore", name),
        _ => ("ClusterSecretStore", text),
    };
    check_dns_subdomain(name).map(|()| (kind, name.to_owned()))
}

/// Checks a path inside a container that a volume is mounted at.
pub fn check_mount_path(text: &str) -> Result<(), Wanted> {
    let fits = text.len() > 1
        && text.starts_with('/')
        && !text.contains([':', '\0'])
        && text.split('/').skip(1).all(|part| !part.is_empty() && part != "." && part != "..");
    fits.then_some(()).ok_or("an absolute path below / without :, ., .. or empty parts")
}

fn is_lower_alphanumeric(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

/// A part of a subdomain may be longer than a label.
fn label_or_long(text: &str) -> bool {
    text.bytes().all(|byte| is_lower_alphanumeric(byte) || byte == b'-')
}

fn label_value(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    text.len() <= 63
        && edges_fit(text, |byte| byte.is_ascii_alphanumeric())
        && text.bytes().all(inner)
}

fn edges_fit(text: &str, fits: impl Fn(u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_some_and(|byte| fits(*byte)) && bytes.last().is_some_and(|byte| fits(*byte))
}

/// Returns the patch. It names its object, so that kustomize finds it.
fn deployment_patch(wanted: &ManifestOptions) -> Value {
    let (log_volume, log_directory) = (&wanted.own.log_volume, &wanted.log_directory);
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": wanted.deployment, "namespace": wanted.namespace},
        "spec": {"template": {
            "metadata": {"annotations": {
                "prometheus.io/scrape": "true",
                "prometheus.io/port": wanted.metrics_port.to_string(),
                "prometheus.io/path": "/metrics",
            }},
            "spec": {
                // The notifier takes 8 s at most to post what waits.
                "terminationGracePeriodSeconds": 30,
                "containers": [
                    {
                        "name": wanted.server,
                        "readinessProbe": server_probe(wanted.port, 1, 5),
                        "livenessProbe": server_probe(wanted.port, 5, 30),
                        "volumeMounts": [{"name": log_volume, "mountPath": log_directory}],
                    },
                    side_car_container(wanted),
                ],
                "volumes": side_car_volumes(wanted),
            },
        }},
    })
}

/// Takes what a former notifier had out of the patched Deployment, where it is there. The mount is named twice: kubectl
/// adds the first container as it stands where there was none, and the second then clears that; kustomize reads the first only.
fn without_former(wanted: &ManifestOptions, mut patch: Value) -> Value {
    let [volume, mount, _] = &wanted.former;
    let unmount = json!({"mountPath": mount, "$patch": "delete"});
    if let Some(spec) = patch.pointer_mut("/spec/template/spec") {
        let mounts = spec.pointer_mut("/containers/1/volumeMounts");
        if let Some(mounts) = mounts.and_then(Value::as_array_mut) {
            mounts.push(unmount.clone());
        }
        for (list, item) in [
            ("containers", json!({"name": wanted.notifier, "volumeMounts": [unmount]})),
            ("volumes", json!({"name": volume, "$patch": "delete"})),
        ] {
            if let Some(list) = spec.get_mut(list).and_then(Value::as_array_mut) {
                list.push(item);
            }
        }
    }
    patch
}

/// A connection that is opened and closed: the log's sign of life, counted as a probe.
fn server_probe(port: u16, delay: u32, period: u32) -> Value {
    json!({
        "tcpSocket": {"port": port},
        "initialDelaySeconds": delay,
        "periodSeconds": period,
        "timeoutSeconds": 1,
        "failureThreshold": 3,
    })
}

fn side_car_container(wanted: &ManifestOptions) -> Value {
    let (log_volume, log_directory) = (&wanted.own.log_volume, &wanted.log_directory);
    let environment: Vec<Value> = wanted
        .environment
        .iter()
        .map(|(name, value)| {
            // The kubelet reads $(NAME) in a value as a reference, and $$ as a dollar sign.
            json!({"name": name, "value": value.replace('$', "$$")})
        })
        .collect();
    let page = |path: &str| json!({"path": path, "port": "metrics"});
    json!({
        "name": wanted.notifier,
        "image": wanted.own.image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["/kmsctl"],
        "args": ["notifier", "run", "--echo"],
        "env": environment,
        "ports": [
            {"name": "metrics", "containerPort": wanted.metrics_port, "protocol": "TCP"},
        ],
        // Whether the loop runs, not whether the log is there: a server that has not written yet is no reason to start
        // the notifier again, which says itself that it waits. There is no readiness probe on purpose: a pod that is
        // not ready loses its address, and a log that goes away must not take the KMS server off the network.
        "startupProbe": {"httpGet": page("/healthz"), "periodSeconds": 5, "timeoutSeconds": 3, "failureThreshold": 60},
        "livenessProbe": {"httpGet": page("/healthz"), "periodSeconds": 10, "timeoutSeconds": 3, "failureThreshold": 6},
        "resources": {
            "requests": {"cpu": "10m", "memory": "32Mi"},
            "limits": {"memory": "64Mi"},
        },
        "securityContext": {
            "runAsNonRoot": true,
            "runAsUser": ACCOUNT,
            "runAsGroup": ACCOUNT,
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": [
            {"name": log_volume, "mountPath": log_directory, "readOnly": true},
            {"name": STATE_VOLUME, "mountPath": wanted.state},
            {"name": WEBHOOK_VOLUME, "mountPath": wanted.webhook.0, "readOnly": true},
        ],
    })
}

/// The state lives as long as the log does, with the pod: a place in a log that is gone would be worth nothing. The
/// log is not rotated, so its limit stands between it and the node's disk: about a year of probes, after
/// which the kubelet replaces the pod.
fn side_car_volumes(wanted: &ManifestOptions) -> Value {
    let file = &wanted.webhook.1;
    json!([
        {"name": wanted.own.log_volume, "emptyDir": {"sizeLimit": "1Gi"}},
        {"name": STATE_VOLUME, "emptyDir": {"sizeLimit": "32Mi"}},
        {
            "name": WEBHOOK_VOLUME,
            "secret": {
                "secretName": wanted.own.secret,
                // 0444: the side-car is not root and shares no group with the volume.
                "defaultMode": 292,
                "items": [{"key": file, "path": file}],
            },
        },
    ])
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operator {
    /// A ServiceAccount of the namespace; it is part of the manifest.
    ServiceAccount(String),
    User(String),
    Group(String),
}

impl Operator {
    /// Reads `ServiceAccount:NAME`, `User:NAME` or `Group:NAME`.
    pub fn parse(text: &str) -> Result<Self, Wanted> {
        match text.split_once(':') {
            Some(("ServiceAccount", name)) if check_dns_subdomain(name).is_ok() => {
                Ok(Self::ServiceAccount(name.to_owned()))
            }
            Some(("User", name)) if !name.is_empty() => Ok(Self::User(name.to_owned())),
            Some(("Group", name)) if !name.is_empty() => Ok(Self::Group(name.to_owned())),
            _ => Err("ServiceAccount:NAME, User:NAME or Group:NAME"),
        }
    }

    fn subject(&self, namespace: &str) -> Value {
        let group = "rbac.authorization.k8s.io";
        match self {
            Self::ServiceAccount(name) => {
                json!({"kind": "ServiceAccount", "name": name, "namespace": namespace})
            }
            Self::User(name) => json!({"kind": "User", "name": name, "apiGroup": group}),
            Self::Group(name) => json!({"kind": "Group", "name": name, "apiGroup": group}),
        }
    }
}

/// Returns the account (if it is ours), the roles and their bindings.
pub fn rights_objects(wanted: &ManifestOptions) -> Vec<Value> {
    let mut objects = Vec::new();
    if let Operator::ServiceAccount(name) = &wanted.own.operator {
        // Operators take a short-lived token of it; no pod runs as it.
        objects.push(json!({
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": name, "namespace": wanted.namespace},
            "automountServiceAccountToken": false,
        }));
    }
    let mut rules = vec![
        policy_rule("", &["pods"], &["get", "list"]),
        policy_rule("", &["pods/log"], &["get"]),
        // The metrics page and the health pages of the side-car.
        policy_rule("", &["pods/proxy"], &["get"]),
        policy_rule("", &["services"], &["get"]),
        policy_rule("", &["events"], &["list"]),
        policy_rule("discovery.k8s.io", &["endpointslices"], &["list"]),
    ];
    if wanted.exec {
        // kubectl asks as get over WebSockets and as create over SPDY; an API server from 1.35 on checks both.
        rules.push(policy_rule("", &["pods/exec"], &["get", "create"]));
    }
    objects.extend(role_and_binding(wanted, &wanted.namespace, &rules));
    objects.extend(role_and_binding(
        wanted,
        &wanted.metallb_namespace,
        &[policy_rule("metallb.io", &["servicel2statuses"], &["list"])],
    ));
    objects
}

fn policy_rule(group: &str, resources: &[&str], verbs: &[&str]) -> Value {
    json!({"apiGroups": [group], "resources": resources, "verbs": verbs})
}

fn role_and_binding(wanted: &ManifestOptions, namespace: &str, rules: &[Value]) -> [Value; 2] {
    const NAME: &str = "kmsctl-operator";
    let version = "rbac.authorization.k8s.io/v1";
    [
        json!({
            "apiVersion": version,
            "kind": "Role",
            "metadata": {"name": NAME, "namespace": namespace},
            "rules": rules,
        }),
        json!({
            "apiVersion": version,
            "kind": "RoleBinding",
            "metadata": {"name": NAME, "namespace": namespace},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": NAME},
            "subjects": [wanted.own.operator.subject(&wanted.namespace)],
        }),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: [&str; 9] = ["", "-a", "a b", "a\nb", "a: b", "A", "a\"", "../x", "a$b"];

    #[test]
    fn names_are_those_of_the_api_server() {
        for text in HOSTILE {
            assert!(
                check_dns_label(text).is_err()
                    && check_service_name(text).is_err()
                    && check_dns_subdomain(text).is_err(),
                "{text}"
            );
        }
        assert!(check_dns_label("1a").is_ok() && check_service_name("1a").is_err());
        assert!(
            check_dns_subdomain("a.b-c.1").is_ok()
                && check_dns_subdomain("a..b").is_err()
                && check_dns_label("a.b").is_err()
        );
        assert!(
            check_dns_label(&"a".repeat(63)).is_ok() && check_dns_label(&"a".repeat(64)).is_err()
        );
    }

    #[test]
    fn images_keys_and_mounts() {
        assert!(check_image_reference("ghcr.io/a/b:1.0@sha256:00").is_ok());
        assert!(
            check_secret_key("url").is_ok()
                && check_secret_key("a/b").is_err()
                && check_secret_key("..").is_err()
        );
        assert!(check_mount_path("/var/log/vlmcsd").is_ok());
        for text in ["/", "var", "/a/../b", "/a//b", "/a:b", ""] {
            assert!(check_mount_path(text).is_err(), "{text}");
        }
        for text in ["", "a b", "a\n", ":a", "a;b"] {
            assert!(check_image_reference(text).is_err(), "{text}");
        }
    }

    #[test]
    fn selectors_are_equalities() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(parse_selector("app=kms"), Ok(vec![pair("app", "kms")]));
        assert_eq!(
            parse_selector("app.kubernetes.io/name==a, tier=aux"),
            Ok(vec![pair("app.kubernetes.io/name", "a"), pair("tier", "aux")])
        );
        for text in ["", "app", "app!=a", "app in (a,b)", "!app", "a=b c", "a=b\nc: d", "=a"] {
            assert!(parse_selector(text).is_err(), "{text}");
        }
    }
}
