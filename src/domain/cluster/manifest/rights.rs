//! Who may look: the rights that `status`, `verify`, `doctor` and `notifier status|logs|metrics` need through kubectl,
//! and no others. They read; none of them changes anything.

use serde_json::{Value, json};

use super::ManifestOptions;

/// Who gets the rights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operator {
    /// A ServiceAccount of the namespace; it is part of the manifest.
    ServiceAccount(String),
    /// A user as the cluster's login names it.
    User(String),
    /// A group as the cluster's login names it.
    Group(String),
}

impl Operator {
    /// Reads `ServiceAccount:NAME`, `User:NAME` or `Group:NAME`.
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, name) = text.split_once(':')?;
        let name = Some(name).filter(|name| !name.is_empty())?.to_owned();
        match kind {
            "ServiceAccount" if super::names::subdomain(&name).is_ok() => {
                Some(Self::ServiceAccount(name))
            }
            "User" => Some(Self::User(name)),
            "Group" => Some(Self::Group(name)),
            _ => None,
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
pub fn objects(wanted: &ManifestOptions) -> Vec<Value> {
    let mut objects = Vec::new();
    if let Operator::ServiceAccount(name) = &wanted.operator {
        // Operators take a short-lived token of it; no pod runs as it.
        objects.push(json!({
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": name, "namespace": wanted.namespace},
            "automountServiceAccountToken": false,
        }));
    }
    let mut rules = vec![
        rule("", &["pods"], &["get", "list"]),
        rule("", &["pods/log"], &["get"]),
        // The metrics page and the health pages of the side-car.
        rule("", &["pods/proxy"], &["get"]),
        rule("", &["services"], &["get"]),
        rule("", &["events"], &["list"]),
        rule("discovery.k8s.io", &["endpointslices"], &["list"]),
    ];
    if wanted.exec {
        // kubectl asks as get over WebSockets and as create over SPDY; an API server from 1.35 on checks both.
        rules.push(rule("", &["pods/exec"], &["get", "create"]));
    }
    objects.extend(role(wanted, &wanted.namespace, &rules));
    objects.extend(role(
        wanted,
        &wanted.metallb_namespace,
        &[rule("metallb.io", &["servicel2statuses"], &["list"])],
    ));
    objects
}

fn rule(group: &str, resources: &[&str], verbs: &[&str]) -> Value {
    json!({"apiGroups": [group], "resources": resources, "verbs": verbs})
}

fn role(wanted: &ManifestOptions, namespace: &str, rules: &[Value]) -> [Value; 2] {
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
            "subjects": [wanted.operator.subject(&wanted.namespace)],
        }),
    ]
}
