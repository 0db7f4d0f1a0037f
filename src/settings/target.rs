//! Where the firewall is and how to log in there, as the settings say it.

use std::path::PathBuf;
use std::time::Duration;

use crate::domain::shell_word::ShellWord;

/// Which SSH client to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// The system's `ssh` where there is one, else the built-in client.
    Auto,
    /// The system's `ssh`: honours `~/.ssh/config`, agent and jump hosts, and keeps a connection between runs.
    OpenSsh,
    /// The built-in client: Ed25519 and ECDSA keys only, `~/.ssh/config` is not read.
    Russh,
}

#[derive(Clone, Debug)]
pub struct Target {
    /// Name, address, or (with OpenSSH) an alias of `~/.ssh/config`.
    pub host: String,
    /// None leaves it to `~/.ssh/config`, else 22.
    pub port: Option<u16>,
    /// None leaves it to `~/.ssh/config`; the built-in client then uses `admin`.
    pub user: Option<String>,
    pub transport: Transport,
    /// A private key file; its public half alone selects a key of the agent.
    pub identity: Option<PathBuf>,
    /// Read instead of `~/.ssh/config` and `/etc/ssh/ssh_config`; OpenSSH only.
    pub ssh_config: Option<PathBuf>,
    /// Read instead of the usual known_hosts files.
    pub known_hosts: Option<PathBuf>,
    /// A second check of the host key: `SHA256:…`.
    pub fingerprint: Option<String>,
    /// From the first packet to the end of the key exchange.
    pub connect_timeout: Duration,
    /// How long an idle OpenSSH connection is kept for the next run; zero keeps none.
    pub control_persist: Duration,
    /// A private directory for sockets; made with mode 0700.
    pub runtime_directory: PathBuf,
    /// The absolute path of sudo, when commands must run as root through it.
    pub sudo: Option<ShellWord>,
    /// The home directory that holds `.ssh`; used by the built-in client (`ssh` asks the user database).
    pub home: Option<PathBuf>,
    /// The agent's socket (`SSH_AUTH_SOCK`); None hides the agent.
    pub agent_socket: Option<PathBuf>,
    /// The ssh program, usually `ssh`.
    pub ssh_program: PathBuf,
}
