//! The link to the firewall: one authenticated SSH connection, by the system's `ssh` or by the built-in
//! client, over which remote shells are opened. Both keep the same promises (see `tests/contract/link.rs`):
//! strict host keys, one authentication attempt, no password, nothing left behind when dropped. Deadlines
//! are the caller's. What travels inside a shell is [`crate::ssh::shell`]'s matter.

use std::fmt;
use std::net::IpAddr;
use std::os::unix::fs::FileTypeExt as _;
use std::path::PathBuf;

use super::builtin::Russh;
use super::error::LinkError;
use super::forward::{Tunnel, TunnelError};
use super::known_hosts::HostKey;
use super::openssh::OpenSsh;
use super::script;
use super::script::{REMOTE_SHELL, Script};
use super::shell::Shell;
use crate::domain::firewall_identity::FirewallIdentity;
use crate::settings::target::{Target, Transport};

impl Target {
    /// Returns the user's configuration of the system's `ssh`: the named file, or the one that ssh looks for.
    pub(crate) fn ssh_config_file(&self) -> Option<PathBuf> {
        self.ssh_config.clone().or_else(|| Some(self.home.as_ref()?.join(".ssh/config")))
    }

    /// Returns the known_hosts files of the built-in client, the user's first.
    pub(crate) fn known_hosts_files(&self) -> Vec<PathBuf> {
        if let Some(path) = &self.known_hosts {
            return vec![path.clone()];
        }
        let mut paths = Vec::new();
        if let Some(home) = &self.home {
            paths.extend(["known_hosts", "known_hosts2"].map(|name| home.join(".ssh").join(name)));
        }
        paths.extend(["/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"].map(PathBuf::from));
        paths
    }

    /// Refuses what could be taken for an option or for a shell's punctuation on ssh's command line (a
    /// `ProxyCommand` of the user's may hand the host name to a shell), a known_hosts or
    /// configuration of ssh that is no file, and a key that is not there (`ssh` would go on with others).
    pub(crate) fn check(&self) -> Result<(), LinkError> {
        let plain = |text: &str, more: &[u8]| {
            !text.is_empty()
                && !text.starts_with('-')
                && text.bytes().all(|byte| {
                    byte.is_ascii_alphanumeric() || byte >= 0x80 || more.contains(&byte)
                })
        };
        let bad = |what, value: &str| Err(LinkError::BadTarget { what, value: value.to_owned() });
        if !plain(&self.host, b".-_:[]%") {
            return bad("The host name", &self.host);
        }
        if let Some(user) = self.user.as_ref().filter(|user| !plain(user, b".-_@+")) {
            return bad("The user name", user);
        }
        let holds_no_text = |path: &&PathBuf| {
            std::fs::metadata(path).is_ok_and(|file| file.is_dir() || file.file_type().is_fifo())
        };
        // The built-in client reads no configuration of ssh's.
        let ssh_config = self.ssh_config_file().filter(|_| self.transport != Transport::Russh);
        for (what, path) in [("known_hosts", &self.known_hosts), ("ssh_config", &ssh_config)] {
            if let Some(path) = path.as_ref().filter(holds_no_text) {
                return Err(LinkError::NoFile { what, path: path.clone() });
            }
        }
        match &self.identity {
            Some(path) if !path.is_file() => Err(LinkError::BadKey {
                path: path.clone(),
                reason: "there is no such file".to_owned(),
            }),
            _ => Ok(()),
        }
    }

    /// Returns the constant remote command line, through sudo where that is configured.
    pub(crate) fn remote_shell(&self) -> String {
        self.sudo.as_ref().map_or_else(|| REMOTE_SHELL.to_owned(), script::remote_shell_with_sudo)
    }
}

/// A passphrase; never shown in debug output.
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(secret: String) -> Self {
        Self(secret)
    }

    /// Returns the secret itself.
    pub fn expose_secret(&self) -> &str {
        &self.0
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.0).into_bytes();
        bytes.fill(0);
        std::hint::black_box(&bytes);
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// How much was opened, for the tests that count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkCounts {
    /// Connections made by this process; 0 when one of an earlier run was used.
    pub connections: u32,
    /// Channels opened by this process, each with one remote shell.
    pub channels: u32,
}

/// One connection to the firewall.
pub enum Link {
    /// Through the system's `ssh`.
    OpenSsh(Box<OpenSsh>),
    /// Through the built-in client.
    Russh(Box<Russh>),
}

impl Link {
    /// Connects, or takes over a kept connection, with exactly one authentication attempt. `ask_passphrase`
    /// is called with a prompt when a key file is encrypted; the system's `ssh` never asks.
    pub async fn connect(
        target: &Target,
        ask_passphrase: &dyn Fn(&str) -> Option<Secret>,
    ) -> Result<Self, LinkError> {
        target.check()?;
        match target.transport {
            Transport::Russh => Self::connect_russh(target, ask_passphrase).await,
            Transport::OpenSsh => Self::connect_openssh(target).await,
            Transport::Auto => match Self::connect_openssh(target).await {
                Err(LinkError::SshMissing { .. }) => {
                    Self::connect_russh(target, ask_passphrase).await
                }
                other => other,
            },
        }
    }

    async fn connect_openssh(target: &Target) -> Result<Self, LinkError> {
        Ok(Self::OpenSsh(Box::new(OpenSsh::connect(target).await?)))
    }

    async fn connect_russh(
        target: &Target,
        ask_passphrase: &dyn Fn(&str) -> Option<Secret>,
    ) -> Result<Self, LinkError> {
        Ok(Self::Russh(Box::new(Russh::connect(target, ask_passphrase).await?)))
    }

    /// Opens one channel with one remote shell; the script's commands run with each round of it.
    pub async fn shell(&mut self, script: &Script) -> Result<Shell, LinkError> {
        match self {
            Self::OpenSsh(link) => link.shell(script).await,
            Self::Russh(link) => link.shell(script).await,
        }
    }

    /// Has the other end connect to a host and port (SSH's `direct-tcpip`); the name, if it is one, is resolved
    /// there. Waits as long as the other end does.
    pub async fn tunnel(&self, host: &str, port: u16) -> Result<Tunnel, TunnelError> {
        match self {
            Self::OpenSsh(link) => link.tunnel(host, port).await,
            Self::Russh(link) => link.tunnel(host, port).await,
        }
    }

    /// Returns the address that the connection was made to; None where that is not known, as behind a jump host.
    pub fn peer(&self) -> Option<IpAddr> {
        match self {
            Self::OpenSsh(link) => link.peer(),
            Self::Russh(link) => link.peer(),
        }
    }

    /// Returns the host key that was verified when the connection was made.
    pub fn host_key(&self) -> &HostKey {
        match self {
            Self::OpenSsh(link) => link.host_key(),
            Self::Russh(link) => link.host_key(),
        }
    }

    /// Returns which box this is: the verified key, and what known_hosts has for it beside.
    pub fn identity(&self) -> FirewallIdentity {
        match self {
            Self::OpenSsh(link) => link.identity(),
            Self::Russh(link) => link.identity(),
        }
    }

    /// Returns what the operator should know about how the connection was made.
    pub fn notice(&self) -> Option<&str> {
        match self {
            Self::OpenSsh(link) => link.notice(),
            Self::Russh(link) => link.notice(),
        }
    }

    /// Returns how much was opened so far.
    pub fn counts(&self) -> LinkCounts {
        match self {
            Self::OpenSsh(link) => link.counts(),
            Self::Russh(link) => link.counts(),
        }
    }

    /// Says good-bye: a kept OpenSSH connection stays for the next run, every other is closed.
    pub async fn close(self) {
        match self {
            Self::OpenSsh(link) => link.close().await,
            Self::Russh(link) => link.close().await,
        }
    }
}
