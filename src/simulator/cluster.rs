//! The cluster behind the simulated firewall: JSON as kubectl prints it, by the arguments that kmsctl uses. Healthy,
//! and always the same; anything that kmsctl would not ask is not answered.

const SERVICE: &str = include_str!("cluster/service.json");
const PODS: &str = include_str!("cluster/pods.json");
const ENDPOINT_SLICES: &str = include_str!("cluster/endpointslices.json");
const ANNOUNCEMENTS: &str = include_str!("cluster/servicel2statuses.json");
const VERSION: &str = r#"{"clientVersion": {"gitVersion": "v1.33.2"}}"#;

/// Returns what kubectl would print.
pub fn answers(words: &[&str]) -> Option<&'static str> {
    match words {
        ["version", "--client", "-o", "json"] => Some(VERSION),
        ["-n", _, "auth", "can-i", ..] => Some("yes\n"),
        ["-n", _, "get", "services", _, "-o", "json"] => Some(SERVICE),
        ["-n", _, "get", resource, "-l", _, "-o", "json"] => match *resource {
            "pods" => Some(PODS),
            "endpointslices.discovery.k8s.io" => Some(ENDPOINT_SLICES),
            "servicel2statuses.metallb.io" => Some(ANNOUNCEMENTS),
            _ => None,
        },
        _ => None,
    }
}
