//! One vantage's attempts: connect, speak the bind, wait, try again; and the positive control. The same for this
//! machine and through an SSH server.

use super::Task;
use crate::domain::reachability::external::{ATTEMPTS, Attempt, Control};
use crate::domain::reachability::kms_bind::{BIND, BindAnswer, BindEnd, Listener};
use crate::ssh::forward::{Tunnel, TunnelError};
use crate::ssh::target::Link;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, sleep, timeout};

/// How long a connection may take to stand: two SYNs and their answers.
pub const CONNECT: Duration = Duration::from_secs(3);

/// Between two attempts.
pub const PAUSE: Duration = Duration::from_secs(1);

/// How long the answer to the bind may take.
pub const ANSWER: Duration = Duration::from_secs(3);

/// How a vantage connects.
#[derive(Clone, Copy)]
pub enum ProbeRoute<'a> {
    Direct,
    Through(&'a Link),
}

/// An open connection.
pub(super) enum ProbeStream {
    Tcp(TcpStream),
    Tunnel(Box<Tunnel>),
}

impl ProbeStream {
    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.write_all(bytes).await,
            Self::Tunnel(tunnel) => tunnel.write(bytes).await,
        }
    }

    pub(super) async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer).await,
            Self::Tunnel(tunnel) => tunnel.read(buffer).await,
        }
    }
}

#[derive(Debug)]
pub struct ProbeAttempt {
    pub attempts: Vec<Attempt>,
    pub control: Control,
    /// Why there are fewer attempts than wanted.
    pub short: Option<String>,
}

impl ProbeRoute<'_> {
    pub(super) async fn connect(self, host: &str, port: u16) -> Result<ProbeStream, Attempt> {
        let connecting = async {
            match self {
                Self::Direct => match TcpStream::connect((host, port)).await {
                    Ok(stream) => Ok(ProbeStream::Tcp(stream)),
                    Err(error) => Err(of_io(&error)),
                },
                Self::Through(link) => match link.tunnel(host, port).await {
                    Ok(tunnel) => Ok(ProbeStream::Tunnel(Box::new(tunnel))),
                    Err(error) => Err(of_tunnel(error)),
                },
            }
        };
        timeout(CONNECT, connecting).await.unwrap_or(Err(Attempt::NoAnswer))
    }

    async fn attempt(self, target: SocketAddr, speaks_kms: bool) -> Attempt {
        let began = Instant::now();
        match self.connect(&target.ip().to_string(), target.port()).await {
            Err(failed) => failed,
            Ok(mut stream) => {
                let milliseconds = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
                let answer = if speaks_kms { Some(speak_bind(&mut stream).await) } else { None };
                Attempt::Connected { answer, milliseconds }
            }
        }
    }

    /// Tries up to three times; the control runs in the first pause.
    pub async fn try_out(self, task: Task<'_>) -> ProbeAttempt {
        let mut tried =
            ProbeAttempt { attempts: Vec::new(), control: Control::NotNeeded, short: None };
        while tried.attempts.len() < ATTEMPTS {
            match tried.attempts.len() {
                0 => {}
                1 => {
                    let control = probe_control(self, task);
                    tried.control = tokio::join!(control, sleep(PAUSE)).0;
                }
                _ => sleep(PAUSE).await,
            }
            tried.short = task.permission();
            if tried.short.is_some() {
                break;
            }
            let attempt = self.attempt(task.target, task.speaks_kms).await;
            let connected = matches!(attempt, Attempt::Connected { .. });
            tried.attempts.push(attempt);
            tried.short = task.only_one.map(str::to_owned);
            if connected || tried.short.is_some() {
                break;
            }
        }
        tried
    }
}

async fn probe_control(way: ProbeRoute<'_>, task: Task<'_>) -> Control {
    let Some((host, port)) = task.control else {
        return Control::OwnPath;
    };
    let to = format!("{host}:{port}");
    match way.connect(host, *port).await {
        Ok(_) => Control::Passed { to, same_address: host.parse() == Ok(task.target.ip()) },
        Err(attempt) => Control::Failed { to, why: attempt_text(&attempt) },
    }
}

/// Speaks the bind and waits for the answer; nothing else is ever sent.
async fn speak_bind(stream: &mut ProbeStream) -> BindAnswer {
    let mut listener = Listener::default();
    let listening = async {
        // A failed write means that it was closed; what it said before may still be read.
        let _ = stream.write(&BIND).await;
        let mut buffer = [0; 256];
        loop {
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return listener.judge_end(BindEnd::Closed),
                Ok(count) => {
                    if let Some(answer) =
                        listener.hear_bytes(buffer.get(..count).unwrap_or_default())
                    {
                        return answer;
                    }
                }
            }
        }
    };
    match timeout(ANSWER, listening).await {
        Ok(answer) => answer,
        Err(_) => listener.judge_end(BindEnd::Deadline),
    }
}

/// Says what happened in a few words.
pub fn attempt_text(attempt: &Attempt) -> String {
    match attempt {
        Attempt::Connected { .. } => "connected".to_owned(),
        Attempt::Refused => "refused".to_owned(),
        Attempt::NoAnswer => "no answer".to_owned(),
        Attempt::Unreachable { why } | Attempt::NotTried { why } => why.clone(),
    }
}

fn of_io(error: &io::Error) -> Attempt {
    let why = error.to_string();
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Attempt::Refused,
        io::ErrorKind::TimedOut => Attempt::NoAnswer,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            Attempt::Unreachable { why }
        }
        _ => Attempt::NotTried { why },
    }
}

/// A failure that the server does not explain is neither a reset nor silence, so it proves nothing.
fn of_tunnel(error: TunnelError) -> Attempt {
    match error {
        TunnelError::Refused => Attempt::Refused,
        TunnelError::NoAnswer => Attempt::NoAnswer,
        TunnelError::Unreachable(why) => Attempt::Unreachable { why },
        other => Attempt::NotTried { why: other.to_string() },
    }
}

/// Returns the address this machine would send from, or `None` without a route. Sends nothing: connecting a UDP
/// socket only looks up the route.
pub async fn local_source_address(target: SocketAddr) -> Option<IpAddr> {
    let any: SocketAddr =
        if target.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).await.ok()?;
    socket.connect(target).await.ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

/// Tries the service from here.
pub async fn try_out(task: Task<'_>) -> ProbeAttempt {
    ProbeRoute::Direct.try_out(task).await
}
