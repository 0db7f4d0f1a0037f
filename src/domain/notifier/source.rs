//! Which kind of place an address is.

use std::net::IpAddr;

use crate::text::word_enum;
use ipnet::IpNet;

word_enum! {
    #[derive(PartialOrd, Ord, Hash)]
    pub enum ClientSource {
        InternalPod = "internal_pod",
        /// A node of the cluster, or anything else of its network: probes of the kubelet, and every outside client
        /// once the Service loses `externalTrafficPolicy: Local`.
        ClusterNode = "cluster_node",
        /// Everybody else.
        External = "external",
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
}
