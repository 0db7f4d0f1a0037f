//! What can go wrong between us and a remote shell, and which side failed. Reported to the operator through
//! [`Failure`]; the sentences say what happened, the hints what to do. Nothing here opens a connection.

use std::path::PathBuf;

use super::known_hosts::HostKey;
use crate::error::{Failure, FailureKind};
use crate::text::{format_span, quoted, quoted_for_shell};

/// Why there is no link, or why a reply cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The target's host or user holds characters that no host or user name has.
    #[error("{what} {} cannot be used on an ssh command line.", quoted(value))]
    BadTarget {
        /// What it is: `The host name`, `The user name`, `The path`.
        what: &'static str,
        /// Its value.
        value: String,
    },
    /// A file that ssh reads is a directory or a pipe, which would hold ssh up for as long as it may take.
    #[error("{what} is {}, a directory or a pipe and no file.", path.display())]
    NoFile {
        /// What it is: `known_hosts`, `ssh_config`.
        what: &'static str,
        /// Where it is.
        path: PathBuf,
    },
    /// The name could not be resolved on our side.
    #[error("The name {host} cannot be resolved: {reason}.")]
    NameUnknown {
        /// As configured.
        host: String,
        /// The resolver's words.
        reason: String,
    },
    /// Something answered that no server listens there.
    #[error("{host} refuses connections on port {port}.")]
    Refused {
        /// As configured.
        host: String,
        /// The port asked, or `?` when only ssh's configuration knows it.
        port: String,
    },
    /// No way there.
    #[error("{host} cannot be reached: {reason}.")]
    Unreachable {
        /// As configured.
        host: String,
        /// The operating system's words.
        reason: String,
    },
    /// No answer within the connect time-out.
    #[error("{host} did not answer within {}.", format_span(*seconds))]
    TimedOut {
        /// As configured.
        host: String,
        /// The connect time-out in seconds.
        seconds: u64,
    },
    /// The other side hung up before a command ran.
    #[error("{host} closed the connection during {stage}: {reason}.")]
    Closed {
        /// As configured.
        host: String,
        /// `the handshake`, `authentication` or `the session`.
        stage: &'static str,
        /// What was said.
        reason: String,
    },
    /// Both sides speak SSH but share no algorithm.
    #[error("{host} and this client share no {what} algorithm; it offers {offered}.")]
    NoCommonAlgorithm {
        /// As configured.
        host: String,
        /// `key exchange`, `host key`, `cipher`, `MAC`.
        what: String,
        /// The server's list.
        offered: String,
    },
    /// The server refused our key.
    #[error("{host} refused {user}: {reason}.")]
    AuthenticationRefused {
        /// As configured.
        host: String,
        /// The user, or `the user` when ssh's configuration chose it.
        user: String,
        /// ssh's words, or the methods that would be accepted.
        reason: String,
        /// Which of many keys were offered, in a sentence.
        notice: Option<String>,
    },
    /// There is no key to authenticate with.
    #[error("There is no key to authenticate with: {reason}.")]
    NoKey {
        /// Where was looked.
        reason: String,
    },
    /// The key cannot be read.
    #[error("The key {} cannot be used: {reason}.", path.display())]
    BadKey {
        /// The key file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The built-in client has no RSA.
    #[error("{what} is an RSA key, which the built-in SSH client does not use.")]
    RsaKey {
        /// The file or agent key, or the host's entry in known_hosts.
        what: String,
    },
    /// known_hosts holds nothing but an RSA key for the host, which the built-in client cannot check.
    #[error("{} has only an RSA key for {host}, which the built-in SSH client cannot check.", known_hosts.display())]
    RsaHostKey {
        /// As looked up.
        host: String,
        /// The file.
        known_hosts: PathBuf,
    },
    /// The host is not in known_hosts.
    #[error("The host key of {host} is not known: it presents {} {}, and {} has no entry for it.", presented.algorithm, presented.fingerprint, known_hosts.display())]
    HostKeyUnknown {
        /// As looked up (`[host]:port` unless port 22).
        host: String,
        /// What the server showed.
        presented: HostKey,
        /// The file that was searched first.
        known_hosts: PathBuf,
        /// The command that logs in by hand.
        login: String,
    },
    /// The host's certificate does not count, and its key is not in known_hosts.
    #[error("The certificate of {host} for its key {} {} is not accepted: {reason}.", presented.algorithm, presented.fingerprint)]
    CertificateRefused {
        /// As looked up.
        host: String,
        /// The key in the certificate.
        presented: HostKey,
        /// What is wrong with it.
        reason: String,
    },
    /// The host's key differs from the one in known_hosts.
    #[error("The host key of {host} has changed: it presents {} {}, but {}:{line} says {}.", presented.algorithm, presented.fingerprint, known_hosts.display(), recorded.as_ref().map_or_else(|| "another key".to_owned(), ToString::to_string))]
    HostKeyChanged {
        /// As looked up.
        host: String,
        /// What the server showed.
        presented: HostKey,
        /// What the file says.
        recorded: Option<Box<HostKey>>,
        /// The file.
        known_hosts: PathBuf,
        /// The line in it, from 1.
        line: usize,
    },
    /// The key is marked `@revoked` in known_hosts.
    #[error("The host key {} {} of {host} is revoked in {}.", presented.algorithm, presented.fingerprint, known_hosts.display())]
    HostKeyRevoked {
        /// As looked up.
        host: String,
        /// What the server showed.
        presented: HostKey,
        /// The file.
        known_hosts: PathBuf,
    },
    /// The key is in known_hosts, but it is not the pinned one.
    #[error("The host key of {host} is not the pinned one: it presents {}, the configuration pins {pinned}.", presented.fingerprint)]
    PinMismatch {
        /// As configured.
        host: String,
        /// What the server showed.
        presented: HostKey,
        /// The configured fingerprint.
        pinned: String,
    },
    /// The server opened no session, or its shell did not start ours.
    #[error("{host} did not start a shell{}: {said}.", status.map(|status| format!(" (exit {status})")).unwrap_or_default())]
    ShellRefused {
        /// As configured.
        host: String,
        /// The exit status of what ran instead, if it gave one.
        status: Option<i32>,
        /// What it said, cut to a few hundred bytes.
        said: String,
        /// Whether sudo stood in between.
        sudo: bool,
    },
    /// The login shell talks to a person: our script went to a menu, or to nothing.
    #[error(
        "The login shell of {host} shows a menu and ran no command; the last line that it printed: {}.",
        quoted(said)
    )]
    Menu {
        /// As configured.
        host: String,
        /// The last line that it printed.
        said: String,
    },
    /// The reply ended before its end marker.
    #[error("The reply of {host} was cut short{}.", command.map(|index| format!(" in command {index}")).unwrap_or_default())]
    CutShort {
        /// As configured.
        host: String,
        /// The command whose output was arriving.
        command: Option<usize>,
    },
    /// The reply does not keep to the framing.
    #[error("The reply of {host} is garbled: {what}.")]
    Garbled {
        /// As configured.
        host: String,
        /// What was found.
        what: String,
    },
    /// The caller stopped reading; the shell cannot be used again.
    #[error("Reading from {host} was stopped before the reply was complete.")]
    Stopped {
        /// As configured.
        host: String,
    },
    /// The ssh program is not there.
    #[error("The program {} is not installed.", program.display())]
    SshMissing {
        /// As configured.
        program: PathBuf,
    },
    /// The ssh program failed for a reason of its own (its configuration, its options).
    #[error("The local ssh program failed: {said}.")]
    SshFailed {
        /// Its last words.
        said: String,
    },
    /// The private directory for sockets cannot be used.
    #[error("The directory {} for sockets cannot be used: {reason}.", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Something of the operating system failed on our side.
    #[error("{doing} failed on this machine: {source}.")]
    Local {
        /// What was being done.
        doing: &'static str,
        /// The cause.
        source: std::io::Error,
    },
}

impl LinkError {
    /// Returns the kind, and with it the exit code: connection matters are 5, a spoilt reply is 1.
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::BadTarget { .. } | Self::NoFile { .. } | Self::Directory { .. } => {
                FailureKind::Usage
            }
            Self::CutShort { .. }
            | Self::Garbled { .. }
            | Self::Stopped { .. }
            | Self::Local { .. } => FailureKind::Failed,
            _ => FailureKind::Unreachable,
        }
    }

    /// Returns whether another login would end the same way until a key, known_hosts or the configuration has changed; a
    /// lost or impossible connection may come back by itself.
    pub fn needs_repair(&self) -> bool {
        !matches!(
            self,
            Self::NameUnknown { .. }
                | Self::Refused { .. }
                | Self::Unreachable { .. }
                | Self::TimedOut { .. }
                | Self::Closed { .. }
                | Self::CutShort { .. }
                | Self::Garbled { .. }
                | Self::Stopped { .. }
                | Self::SshFailed { .. }
                | Self::Local { .. }
        )
    }

    fn hints(&self) -> Vec<String> {
        let notice = match self {
            Self::AuthenticationRefused { notice, .. } => notice.as_deref(),
            _ => None,
        };
        let texts = [self.connection_hints(), self.key_hints()].concat();
        let texts = notice.into_iter().chain(texts).map(ToOwned::to_owned);
        texts.chain(self.accepting_hint()).collect()
    }

    /// Says how a host key is accepted that was compared.
    pub fn accepting_hint(&self) -> Option<String> {
        match self {
            Self::HostKeyUnknown { login, .. } => {
                Some(format!("If it is the same, log in once by hand and accept it: `{login}`"))
            }
            Self::HostKeyChanged { host, known_hosts, .. } => Some(format!(
                "If the new key is right, remove the old entry, and run this command again: `ssh-keygen -R {} -f {}`",
                quoted_for_shell(host),
                quoted_for_shell(&known_hosts.display().to_string())
            )),
            _ => None,
        }
    }

    /// Adds what the operator should know about the keys that were offered, where they were refused.
    pub(crate) fn with_notice(mut self, offered: Option<String>) -> Self {
        if let Self::AuthenticationRefused { notice, .. } = &mut self {
            *notice = offered;
        }
        self
    }

    fn connection_hints(&self) -> &'static [&'static str] {
        match self {
            Self::NameUnknown { .. } => {
                &["Check the host name in the configuration, or use its address."]
            }
            Self::Refused { .. } => &[
                "Check the port in the configuration and that Secure Shell is enabled under System > Advanced.",
            ],
            Self::Unreachable { .. } | Self::TimedOut { .. } => &[
                "Check the route and VPN to the firewall.",
                "If the firewall's sshguard has locked this address out, wait: the first block lasts 2 minutes.",
            ],
            Self::Closed { .. } => &[
                "If the firewall's sshguard has locked this address out, wait: the first block lasts 2 minutes.",
            ],
            Self::NoCommonAlgorithm { .. } => {
                &["Use transport = \"openssh\", or allow one of its algorithms."]
            }
            Self::ShellRefused { sudo: true, .. } => &[
                "The sudo package must be installed and allow this user /usr/bin/env without a password.",
            ],
            Self::Menu { .. } => &[
                "kmsctl needs a login shell that runs what ssh asks for: log in as admin or root, or give the user /bin/sh or /bin/tcsh.",
            ],
            Self::ShellRefused { .. } => &[
                "The user needs a login shell: the privilege \"User - System: Shell account access\".",
            ],
            Self::Garbled { .. } => &[
                "Something else writes into the shell's output, or /usr/bin/grep or /usr/bin/awk is missing there; look with --verbose.",
            ],
            Self::CutShort { .. } => {
                &["The connection or the remote shell ended early; run it again."]
            }
            Self::Directory { .. } => {
                &["Remove it, or set XDG_RUNTIME_DIR to a directory that is yours alone."]
            }
            Self::SshMissing { .. } => {
                &["Install the OpenSSH client, or use transport = \"russh\"."]
            }
            _ => &[],
        }
    }

    fn key_hints(&self) -> &'static [&'static str] {
        match self {
            Self::AuthenticationRefused { .. } => &[
                "Nothing was tried again: repeated failures make the firewall's sshguard lock this address out.",
                "Check that the key is in the user's Authorized Keys, and that the firewall does not also ask for a password.",
                "A key with a passphrase must be in the agent: ssh-add FILE.",
            ],
            Self::NoKey { .. } => &[
                "Make one with `ssh-keygen -t ed25519`, or name one as identity in the configuration.",
            ],
            Self::NoFile { .. } => {
                &["Name a file in the configuration, or leave it out for ssh's own."]
            }
            Self::BadKey { .. } => {
                &["Check the file and its passphrase, or load it into the agent: ssh-add FILE."]
            }
            Self::RsaKey { .. } => &[
                "Use transport = \"openssh\", which does RSA, or an Ed25519 key: `ssh-keygen -t ed25519`.",
            ],
            Self::RsaHostKey { .. } => &[
                "Use transport = \"openssh\", or add the firewall's Ed25519 key to known_hosts after comparing it.",
            ],
            Self::HostKeyUnknown { .. } => &[
                "Compare the fingerprint with the firewall's own (console: `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub`).",
            ],
            Self::CertificateRefused { .. } => &[
                "Have the certificate renewed, or trust its authority in known_hosts (@cert-authority) after comparing it.",
                "Otherwise add the firewall's own key to known_hosts after comparing it.",
            ],
            Self::HostKeyChanged { .. } | Self::HostKeyRevoked { .. } => &[
                "Another machine may stand in between, or the firewall was reinstalled: compare with its console before anything else.",
            ],
            Self::PinMismatch { .. } => &[
                "Compare with the firewall's console; if the presented key is right, change the pinned fingerprint in the configuration.",
            ],
            _ => &[],
        }
    }
}

impl From<LinkError> for Failure {
    fn from(error: LinkError) -> Self {
        Self {
            kind: error.kind(),
            message: error.to_string(),
            hints: error.hints(),
            source: Some(error.into()),
        }
    }
}
