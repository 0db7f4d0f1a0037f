//! What a machine inside the simulated network sees: two resolvers, one of them outside, and a server that answers.
//! Nothing is sent; the server's bytes are read by the same code as real ones.

use std::net::IpAddr;
use std::time::Duration;

use super::Scenario;
use crate::domain::reachability::kms_bind::{BindAnswer, Listener};
use crate::domain::reachability::path::{Resolution, ServiceConnection};

/// The public address in front of the simulated firewall's own, private one.
pub(super) const PUBLIC: [u8; 4] = [203, 0, 113, 10];

/// A bind_ack of 60 bytes that accepts the KMS interface, as a KMS server on port 1688 sends it.
pub(super) const BIND_ACK: &[u8] =
    b"\x05\x00\x0c\x03\x10\x00\x00\x00\x3c\x00\x00\x00\x01\x00\x00\x00\
    \xd0\x16\xd0\x16\xc5\x1b\x00\x00\x05\x001688\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\
    \x04\x5d\x88\x8a\xeb\x1c\xc9\x11\x9f\xe8\x08\x00\x2b\x10\x48\x60\x02\x00\x00\x00";

/// Returns the address that the router in front of the simulated firewall forwards.
pub fn public_address() -> IpAddr {
    IpAddr::from(PUBLIC)
}

/// Returns what the resolvers say: inside the service's own address, outside the public one.
pub fn simulated_resolutions(service: IpAddr) -> Vec<Resolution> {
    vec![
        Resolution::new("the system's resolver", true, Ok(vec![service])),
        Resolution::new("192.0.2.53", false, Ok(vec![public_address()])),
    ]
}

/// Connects to the server and hears its answer, if there is one, without waiting for silence.
pub fn simulated_greeting(scenario: Scenario) -> (ServiceConnection, Option<BindAnswer>) {
    if scenario == Scenario::BackendDead {
        return (ServiceConnection::Silent { seconds: 3 }, None);
    }
    let took = Duration::from_millis(1);
    (ServiceConnection::Open { took }, Listener::default().hear_bytes(BIND_ACK))
}
