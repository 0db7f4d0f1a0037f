//! The side-car's container, its volumes and the pod's annotations, as a strategic merge patch of the Deployment.
//!
//! No directive such as `$patch: replace` is in it: where the container is new, kubectl and kustomize leave it standing
//! as an item of the list. So what a former notifier had in its environment and mounts stays. Its `SLACK_CHANNEL` and
//! `DEDUP_WINDOW_SECONDS` are aliases of keys: they act where the newer names are not set here, which win over them.

use serde_json::{Value, json};

use super::{ACCOUNT, ManifestOptions};

const STATE_VOLUME: &str = "kmsctl-notifier-state";
const WEBHOOK_VOLUME: &str = "kmsctl-notifier-webhook";

/// Returns the patch. It names its object, so that kustomize finds it.
pub(super) fn deployment_patch(wanted: &ManifestOptions) -> Value {
    let (log_volume, log_directory) = &wanted.log_volume;
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
    let (log_volume, log_directory) = &wanted.log_volume;
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
        "image": wanted.image,
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
/// log is not rotated by anybody, so its limit stands between it and the node's disk: about a year of probes, after
/// which the kubelet replaces the pod.
fn side_car_volumes(wanted: &ManifestOptions) -> Value {
    let file = &wanted.webhook.1;
    json!([
        {"name": wanted.log_volume.0, "emptyDir": {"sizeLimit": "1Gi"}},
        {"name": STATE_VOLUME, "emptyDir": {"sizeLimit": "32Mi"}},
        {
            "name": WEBHOOK_VOLUME,
            "secret": {
                "secretName": wanted.secret,
                // 0444: the side-car is not root and shares no group with the volume.
                "defaultMode": 292,
                "items": [{"key": file, "path": file}],
            },
        },
    ])
}
