//! The link over the system's `ssh`: a master process that holds the connection, taken over from the run before
//! where one is alive ([`crate::ssh::control_master`] starts it), and channels opened through its socket with the
//! `openssh` crate's mux client, so no process is started for a shell. `~/.ssh/config`, agent and jump hosts
//! are ssh's own matter and work as they do on the command line.

use std::io;
use std::net::IpAddr;
use std::os::unix::process::ExitStatusExt as _;
use std::sync::Arc;
use std::time::Duration;

use openssh::{Child, ChildStderr, ChildStdin, ChildStdout, Session, Stdio};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::time::timeout;

use super::control_master;
use super::control_master::Master;
use super::error::LinkError;
use super::forward::{Tunnel, TunnelError};
use super::framing::FramedStream;
use super::known_hosts::HostKey;
use super::script::Script;
use super::shell::{Arrived, Outgoing, Pipes, Shell};
use super::target::LinkCounts;
use crate::domain::firewall_identity::FirewallIdentity;
use crate::settings::target::Target;

/// What is read at once; a pipe of Linux holds 64 KiB.
const STDOUT_BUFFER: usize = 64 << 10;
const STDERR_BUFFER: usize = 8 << 10;

/// How long to wait for an exit status after the output has ended.
const STATUS: Duration = Duration::from_secs(1);

/// A connection held by an ssh master process.
pub struct OpenSsh {
    target: Target,
    master: Master,
    counts: LinkCounts,
}

impl OpenSsh {
    pub(crate) async fn connect(target: &Target) -> Result<Self, LinkError> {
        let master = control_master::connect_master(target).await?;
        let counts = LinkCounts { connections: u32::from(!master.reused), channels: 0 };
        Ok(Self { target: target.clone(), master, counts })
    }

    /// Opens a shell. A connection of an earlier run may have died without its master knowing yet (a laptop that
    /// slept): if no channel opens within the connect time-out, a new connection is made, once. That is no second
    /// authentication attempt, since this run has made none yet.
    pub(crate) async fn shell(&mut self, script: &Script) -> Result<Shell, LinkError> {
        let pipes = if self.master.reused && self.counts.channels == 0 {
            match timeout(self.target.connect_timeout, self.open()).await {
                Ok(Ok(pipes)) => pipes,
                Ok(Err(openssh::Error::SshMux(_) | openssh::Error::Disconnected)) | Err(_) => {
                    self.master = control_master::replace_master(&self.target).await?;
                    self.counts.connections += 1;
                    self.open().await.map_err(|error| self.refused(&error))?
                }
                Ok(Err(error)) => return Err(self.refused(&error)),
            }
        } else {
            self.open().await.map_err(|error| self.refused(&error))?
        };
        self.counts.channels += 1;
        Shell::new(
            &self.target.host,
            self.target.sudo.is_some(),
            Pipes::OpenSsh(Box::new(pipes)),
            script,
        )
    }

    async fn open(&self) -> Result<MuxPipes, openssh::Error> {
        let session = Arc::clone(&self.master.session);
        let mut child = Session::to_raw_command(session, self.target.remote_shell())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .await?;
        Ok(MuxPipes {
            stdin: child.stdin().take(),
            stdout: child.stdout().take(),
            stderr: child.stderr().take(),
            child: Some(child),
            stdout_buffer: vec![0; STDOUT_BUFFER],
            stderr_buffer: vec![0; STDERR_BUFFER],
        })
    }

    /// Opens a connection from the other end. The mux protocol reports when it stands, and the client process writes
    /// that on its stderr; why it does not stand is in the master's log alone.
    pub(crate) async fn tunnel(&self, host: &str, port: u16) -> Result<Tunnel, TunnelError> {
        let broken = |error: &dyn std::fmt::Display| TunnelError::Broken(error.to_string());
        let mut child =
            self.master.forward(&self.target, host, port).map_err(|error| broken(&error))?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(input), Some(output), Some(stderr)) = pipes else {
            return Err(broken(&"ssh has no pipes"));
        };
        let mut lines = BufReader::new(stderr).lines();
        let mut said = String::new();
        while let Ok(Some(line)) = lines.next_line().await {
            if line.contains("master session id: ") {
                return Ok(Tunnel::OpenSsh { child: Box::new(child), input, output });
            }
            said = line;
        }
        let refusal = self.master.last_refusal().await;
        Err(match refusal {
            _ if !said.contains("refused by peer") => TunnelError::Broken(said),
            Some(words) => TunnelError::of_words(&words),
            None => TunnelError::Unclear(said),
        })
    }

    pub(crate) fn peer(&self) -> Option<IpAddr> {
        self.master.verified.peer
    }

    pub(crate) fn notice(&self) -> Option<&str> {
        self.master.notice.as_deref()
    }

    pub(crate) fn identity(&self) -> FirewallIdentity {
        self.master.verified.identity(&self.target)
    }

    fn refused(&self, error: &openssh::Error) -> LinkError {
        let source = std::error::Error::source(error)
            .map(|source| format!(" ({source})"))
            .unwrap_or_default();
        LinkError::ShellRefused {
            host: self.target.host.clone(),
            status: None,
            said: format!("{error}{source}"),
            sudo: false,
        }
    }

    pub(crate) fn host_key(&self) -> &HostKey {
        &self.master.verified.host_key
    }

    pub(crate) fn counts(&self) -> LinkCounts {
        self.counts
    }

    pub(crate) async fn close(self: Box<Self>) {
        self.master.close().await;
    }
}

/// One channel with a remote shell; dropping it makes the master close the channel.
pub(crate) struct MuxPipes {
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    child: Option<Child<Arc<Session>>>,
    stdout_buffer: Vec<u8>,
    stderr_buffer: Vec<u8>,
}

impl MuxPipes {
    pub(crate) async fn next(&mut self, outgoing: &mut Outgoing) -> io::Result<Arrived<'_>> {
        while self.stdout.is_some() || self.stderr.is_some() {
            let (stream, count) = tokio::select! {
                read = read_pipe(&mut self.stdout, &mut self.stdout_buffer), if self.stdout.is_some() => {
                    (FramedStream::Stdout, read?)
                }
                read = read_pipe(&mut self.stderr, &mut self.stderr_buffer), if self.stderr.is_some() => {
                    (FramedStream::Stderr, read?)
                }
                written = write_pipe(&mut self.stdin, outgoing), if self.stdin.is_some() && !outgoing.rest().is_empty() => {
                    // The remote shell is gone; what it said on its way out still has to be read.
                    if written.is_err() {
                        self.stdin = None;
                    }
                    continue;
                }
            };
            match (stream, count) {
                (FramedStream::Stdout, 0) => self.stdout = None,
                (FramedStream::Stderr, 0) => self.stderr = None,
                (FramedStream::Stdout, count) => {
                    return Ok(Arrived::Bytes(
                        stream,
                        self.stdout_buffer.get(..count).unwrap_or_default(),
                    ));
                }
                (FramedStream::Stderr, count) => {
                    return Ok(Arrived::Bytes(
                        stream,
                        self.stderr_buffer.get(..count).unwrap_or_default(),
                    ));
                }
            }
        }
        Ok(Arrived::End)
    }

    /// The crate makes an error of 127, since it takes it for a missing command; 255 comes through as it is.
    pub(crate) async fn exit_status(&mut self) -> Option<i32> {
        match timeout(STATUS, self.child.take()?.wait()).await {
            Ok(Ok(status)) => status.code().or_else(|| status.signal().map(|signal| 128 + signal)),
            Ok(Err(openssh::Error::Remote(_))) => Some(127),
            Ok(Err(_)) | Err(_) => None,
        }
    }
}

async fn read_pipe<R: tokio::io::AsyncRead + Unpin>(
    pipe: &mut Option<R>,
    buffer: &mut [u8],
) -> io::Result<usize> {
    match pipe {
        Some(pipe) => pipe.read(buffer).await,
        None => Ok(0),
    }
}

async fn write_pipe(pipe: &mut Option<ChildStdin>, outgoing: &mut Outgoing) -> io::Result<()> {
    if let Some(pipe) = pipe {
        let count = pipe.write(outgoing.rest()).await?;
        outgoing.advance(count);
    }
    Ok(())
}
