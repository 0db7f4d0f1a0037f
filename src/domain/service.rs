//! What is exposed, and where on the firewall it is looked for.

use std::net::IpAddr;

use super::pf::table::TableName;

/// The exposed service as the operator configured it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// pfSense alias the NAT and filter rule point to (`k8s_kms_lb`).
    pub alias: String,
    pub address: IpAddr,
    /// TCP port, outside and inside.
    pub port: u16,
    /// pfSense's name of the outside interface (`wan`).
    pub interface: String,
    /// Further interfaces, by pfSense's name or the device's, whose other side is the outside: VPNs that have to be named.
    pub outside: Vec<String>,
    /// Description of the rules, for people; rules are never matched by it.
    pub description: String,
    pub host: String,
    /// pf's overload table (`virusprot`).
    pub table: TableName,
    /// Its server speaks KMS; otherwise nothing is asked of it beyond a connection, and no notifier watches it.
    pub speaks_kms: bool,
}

impl Service {
    /// Says how it is closed where kmsctl cannot do it, and what leads in was not read.
    pub fn closing_by_hand(&self) -> String {
        self.by_hand_sentence(&[self.forward_step()])
    }

    /// Names the step in the GUI that takes the service's own port away.
    pub fn forward_step(&self) -> String {
        format!(
            "Firewall > NAT > Port Forward, disable every forward that takes in port {} on {}",
            self.port,
            self.interface.to_uppercase()
        )
    }

    /// Says that it is closed by these steps.
    pub fn by_hand_sentence(&self, steps: &[String]) -> String {
        format!(
            "To close it by hand, in the GUI (of the primary, where this node is a CARP backup): {}, and Apply Changes.",
            steps.join("; ")
        )
    }
}
