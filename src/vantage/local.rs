//! The vantage `local`: this machine, on a tether or another line. Whether it is outside is judged elsewhere, by what
//! the firewall sees and by the route.

use std::net::{IpAddr, SocketAddr};

use tokio::net::UdpSocket;

use super::Task;
use super::probe::{ProbeAttempt, ProbeRoute};

/// Returns the address this machine would send from, or `None` without a route. Sends nothing: connecting a UDP
/// socket only looks up the route.
pub async fn local_source_address(target: SocketAddr) -> Option<IpAddr> {
    let any: SocketAddr = if target.is_ipv4() {
        ([0, 0, 0, 0], 0).into()
    } else {
        ([0_u16; 8], 0).into()
    };
    let socket = UdpSocket::bind(any).await.ok()?;
    socket.connect(target).await.ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

/// Tries the service from here.
pub async fn try_out(task: Task<'_>) -> ProbeAttempt {
    ProbeRoute::Direct.try_out(task).await
}
