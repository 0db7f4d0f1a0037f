//! The vantage `ssh`: any SSH server outside. Nothing is installed or started there; it only connects on our behalf.

use std::net::IpAddr;

use super::Task;
use super::probe::{ProbeAttempt, ProbeRoute};
use crate::domain::address::is_private;
use crate::settings::target::Target;
use crate::ssh::error::LinkError;
use crate::ssh::target::{Link, Secret};

/// A connection to an SSH server outside.
pub struct Station {
    link: Link,
}

impl Station {
    /// Connects, with exactly one authentication attempt, and strict about the host key.
    pub async fn connect(
        target: &Target,
        ask_passphrase: &dyn Fn(&str) -> Option<Secret>,
    ) -> Result<Self, LinkError> {
        let link = Link::connect(target, ask_passphrase).await?;
        Ok(Self { link })
    }

    /// Returns the address that we reach it at.
    pub fn peer(&self) -> Option<IpAddr> {
        self.link.peer()
    }

    /// Returns the address that its connections most likely come from: the one we reach it at. A private one says
    /// nothing about what the firewall sees.
    pub fn address(&self) -> Option<IpAddr> {
        self.peer().filter(|address| !is_private(address))
    }

    /// Returns how connections are made through it.
    pub fn way(&self) -> ProbeRoute<'_> {
        ProbeRoute::Through(&self.link)
    }

    /// Tries the service from there.
    pub async fn try_out(&self, task: Task<'_>) -> ProbeAttempt {
        self.way().try_out(task).await
    }

    /// Ends the connection.
    pub async fn close(self) {
        self.link.close().await;
    }
}
