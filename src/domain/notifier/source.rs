//! Which kind of place an address is, and whether a connection was only a probe.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::domain::kms_log::request_block::RequestBlock;

/// Where a connection came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientSource {
    /// A pod of the cluster.
    InternalPod,
    /// A node of the cluster, or anything else of its network: probes of the kubelet, and every outside client
    /// once the Service loses `externalTrafficPolicy: Local`.
    ClusterNode,
    /// Everybody else.
    External,
}

impl ClientSource {
    /// Every source, in the order of metrics.
    pub const ALL: [Self; 3] = [Self::InternalPod, Self::ClusterNode, Self::External];

    /// Returns its name in metrics and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::InternalPod => "internal_pod",
            Self::ClusterNode => "cluster_node",
            Self::External => "external",
        }
    }
}

/// Returns where an address is; pods are looked at first. An IPv4 address mapped into IPv6 is the IPv4 address.
pub fn classify_source(address: IpAddr, pods: &[IpNet], nodes: &[IpNet]) -> ClientSource {
    let address = address.to_canonical();
    let within = |networks: &[IpNet]| networks.iter().any(|network| network.contains(&address));
    if within(pods) {
        ClientSource::InternalPod
    } else if within(nodes) {
        ClientSource::ClusterNode
    } else {
        ClientSource::External
    }
}

/// Returns whether a connection of which only this is known was a probe: nothing but an address.
pub fn is_probe(known: &RequestBlock) -> bool {
    !known.is_request()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classed(address: &str) -> ClientSource {
        let networks = |text: &str| vec![text.parse::<IpNet>().expect("a network")];
        let bare = address.trim_matches(['[', ']']);
        classify_source(
            bare.parse().expect("an address"),
            &networks("10.10.0.0/16"),
            &networks("10.0.20.0/24"),
        )
    }

    #[test]
    fn classify_source_separates_pods_nodes_and_world() {
        for (address, source) in [
            ("10.10.107.224", ClientSource::InternalPod),
            ("10.10.0.1", ClientSource::InternalPod),
            ("10.0.20.103", ClientSource::ClusterNode),
            ("10.0.20.200", ClientSource::ClusterNode),
            ("8.8.8.8", ClientSource::External),
            ("203.0.113.42", ClientSource::External),
            ("[2001:db8::1]", ClientSource::External),
            ("::ffff:10.10.0.1", ClientSource::InternalPod),
            ("10.11.0.1", ClientSource::External),
        ] {
            assert_eq!(classed(address), source, "{address}");
        }
        let v6 = ["fd00::/8".parse().expect("a network")];
        assert_eq!(
            classify_source("fd00::1".parse().expect("an address"), &v6, &[]),
            ClientSource::InternalPod
        );
    }

    #[test]
    fn a_probe_has_an_address_only() {
        assert!(is_probe(&RequestBlock::default()));
        let application = RequestBlock {
            application: Some("Windows".to_owned()),
            ..RequestBlock::default()
        };
        let product = RequestBlock {
            product: Some("Windows 11 Pro".to_owned()),
            ..RequestBlock::default()
        };
        let both = RequestBlock {
            product: product.product.clone(),
            workstation: Some("x".to_owned()),
            ..application.clone()
        };
        assert!(!is_probe(&application) && !is_probe(&product) && !is_probe(&both));
    }
}
