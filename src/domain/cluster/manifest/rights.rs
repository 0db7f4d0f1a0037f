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
            "ServiceAccount" if super::names::check_dns_subdomain(&name).is_ok() => {
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
pub fn rights_objects(wanted: &ManifestOptions) -> Vec<Value> {
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
            "subjects": [wanted.operator.subject(&wanted.namespace)],
        }),
    ]
}
