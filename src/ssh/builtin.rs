//! The built-in SSH client: one TCP connection, host key checked against known_hosts and the pin, one authentication
//! attempt with one key ([`crate::ssh::key_file`]). `~/.ssh/config` is not read, and there are no jump hosts:
//! that is what the system's `ssh` is for ([`crate::ssh::openssh`]).

use std::borrow::Cow;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ::russh::client::{self, AuthResult, DisconnectReason, Handle};
use ::russh::keys::{PrivateKeyWithHashAlg, PublicKey, PublicKeyOrCertificate};
use ::russh::{
    ChannelId, ChannelMsg, ChannelOpenFailure, ChannelReadHalf, ChannelWriteHalf, Disconnect,
    Error as SshError, Preferred,
};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{error::Elapsed, timeout, timeout_at};

use super::error::LinkError;
use super::forward::{Tunnel, TunnelError};
use super::framing::FramedStream;
use super::key_file;
use super::key_file::Identity;
use super::known_hosts::{HostKey, HostKeyVerdict, KnownHosts, listed_name, portless_name};
use super::script::Script;
use super::shell::{Arrived, Outgoing, Pipes, Shell};
use super::ssh_arguments::login_by_hand;
use super::target::{LinkCounts, Secret};
use crate::clock::Clock;
use crate::domain::firewall_identity::FirewallIdentity;
use crate::settings::target::Target;

/// Who logs in when the configuration does not say: pfSense's first administrator.
const DEFAULT_USER: &str = "admin";

/// After this long without a word from the firewall it is asked for one; three unanswered end the connection.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// How long a good-bye may take.
const GOODBYE: Duration = Duration::from_millis(500);

/// A connection of the built-in client.
pub struct Russh {
    target: Target,
    handle: Handle<Checker>,
    host_key: HostKey,
    identity: FirewallIdentity,
    counts: LinkCounts,
    peer: Option<IpAddr>,
    refusal_words: BuiltinRefusal,
    last_words: LastWords,
    notice: Option<String>,
}

impl Russh {
    pub(crate) async fn connect(
        target: &Target,
        ask_passphrase: &dyn Fn(&str) -> Option<Secret>,
    ) -> Result<Self, LinkError> {
        let port = target.port.unwrap_or(22);
        let checker = Checker::new(target, port);
        if let Some(path) = checker.known.only_rsa() {
            return Err(LinkError::RsaHostKey {
                host: checker.name.clone(),
                known_hosts: path.to_owned(),
            });
        }
        // The key comes first: the operator may have to type a passphrase, and sshd waits 30 s at most.
        let (identity, notice) = key_file::choose_identity(target, ask_passphrase).await?;

        let findings = Arc::clone(&checker.findings);
        let last_words = checker.last_words.clone();
        let refusal_words = Arc::clone(&checker.refusal_words);
        let deadline = tokio::time::Instant::now() + target.connect_timeout;
        let timed_out = |_: Elapsed| LinkError::TimedOut {
            host: target.host.clone(),
            seconds: target.connect_timeout.as_secs(),
        };
        let socket = timeout_at(deadline, dial_target(target, port)).await.map_err(timed_out)??;
        let peer = socket.peer_addr().ok().map(|address| address.ip());
        let config = Arc::new(client_configuration(&checker.known));
        let outcome = timeout_at(deadline, client::connect_stream(config, socket, checker))
            .await
            .map_err(timed_out)?;
        let found = findings.lock().unwrap_or_else(PoisonError::into_inner).take();
        let accepted = match found {
            Some(Err(refusal)) => return Err(refusal),
            Some(Ok(accepted)) => Some(accepted),
            None => None,
        };
        let said = || last_words.take();
        let handle = outcome.map_err(|error| handshake_error(target, port, error, said()))?;
        let (host_key, shown) = accepted
            .ok_or_else(|| connection_closed(target, "the handshake", &SshError::Kex, None))?;

        let mut link = Self {
            target: target.clone(),
            handle,
            host_key,
            identity: shown,
            last_words,
            counts: LinkCounts { connections: 1, channels: 0 },
            peer,
            refusal_words,
            notice,
        };
        link.authenticate(identity).await?;
        Ok(link)
    }

    async fn authenticate(&mut self, identity: Identity) -> Result<(), LinkError> {
        let user = self.target.user.clone().unwrap_or_else(|| DEFAULT_USER.to_owned());
        let refused = |reason: String| LinkError::AuthenticationRefused {
            host: self.target.host.clone(),
            user: user.clone(),
            reason,
            notice: self.notice.clone(),
        };
        let result = match identity {
            Identity::File(key) => self
                .handle
                .authenticate_publickey(user.clone(), PrivateKeyWithHashAlg::new(key, None))
                .await
                .map_err(|error| {
                    connection_closed(
                        &self.target,
                        "authentication",
                        &error,
                        self.last_words.take(),
                    )
                })?,
            Identity::Agent(mut agent, key) => self
                .handle
                .authenticate_publickey_with(user.clone(), key, None, agent.as_mut())
                .await
                .map_err(|error| refused(format!("the agent did not sign: {error}")))?,
        };
        match result {
            AuthResult::Success => Ok(()),
            AuthResult::Failure { remaining_methods, partial_success } => {
                let names: Vec<&str> = remaining_methods.iter().map(Into::into).collect();
                let names = names.join(", ");
                Err(refused(if partial_success {
                    format!("the key was accepted, but it also asks for {names}")
                } else if names.is_empty() {
                    match self.last_words.take() {
                        Some(words) => format!("it hung up: {words}"),
                        None => "it hung up".to_owned(),
                    }
                } else {
                    format!("the key was not accepted (it takes {names})")
                }))
            }
        }
    }

    pub(crate) async fn shell(&mut self, script: &Script) -> Result<Shell, LinkError> {
        let refused = |error: &SshError| {
            if has_hung_up(error) {
                let words = self.last_words.take();
                return connection_closed(&self.target, "the session", error, words);
            }
            LinkError::ShellRefused {
                host: self.target.host.clone(),
                status: None,
                said: error.to_string(),
                sudo: false,
            }
        };
        let channel = self.handle.channel_open_session().await.map_err(|error| refused(&error))?;
        self.counts.channels += 1;
        // The answer to this is read with the reply: one round trip less.
        channel.exec(true, self.target.remote_shell()).await.map_err(|error| refused(&error))?;
        let (read, write) = channel.split();
        let pipes = ChannelPipes {
            read,
            input: Box::pin(write.make_writer()),
            write,
            last: None,
            status: None,
        };
        Shell::new(
            &self.target.host,
            self.target.sudo.is_some(),
            Pipes::Russh(Box::new(pipes)),
            script,
        )
    }

    /// Opens a connection from the other end. russh hands the server's words to a callback of their own, a moment
    /// after the refusal itself.
    pub(crate) async fn tunnel(&self, host: &str, port: u16) -> Result<Tunnel, TunnelError> {
        let take = || self.refusal_words.lock().unwrap_or_else(PoisonError::into_inner).take();
        take();
        let opened =
            self.handle.channel_open_direct_tcpip(host, u32::from(port), "127.0.0.1", 0).await;
        match opened {
            Ok(channel) => Ok(Tunnel::Russh(Box::new(channel.into_stream()))),
            Err(error) => {
                let mut words = take();
                for _ in 0..20 {
                    if words.is_some() {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    words = take();
                }
                Err(TunnelError::of_russh(&error, words))
            }
        }
    }

    pub(crate) fn notice(&self) -> Option<&str> {
        self.notice.as_deref()
    }

    pub(crate) fn peer(&self) -> Option<IpAddr> {
        self.peer
    }

    pub(crate) fn host_key(&self) -> &HostKey {
        &self.host_key
    }

    pub(crate) fn identity(&self) -> FirewallIdentity {
        self.identity.clone()
    }

    pub(crate) fn counts(&self) -> LinkCounts {
        self.counts
    }

    pub(crate) async fn close(self: Box<Self>) {
        if self.handle.disconnect(Disconnect::ByApplication, "", "").await.is_ok() {
            let _ = timeout(GOODBYE, self.handle).await;
        }
    }
}

/// Resolves and connects; all addresses of a name are tried in order.
pub(crate) async fn dial_target(target: &Target, port: u16) -> Result<TcpStream, LinkError> {
    let host = &target.host;
    let addresses: Vec<_> = tokio::net::lookup_host((host.as_str(), port))
        .await
        .map_err(|error| LinkError::NameUnknown { host: host.clone(), reason: error.to_string() })?
        .collect();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(socket) => {
                // Without it each short exchange waits for the other side's delayed acknowledgement, some 40 ms.
                let _ = socket.set_nodelay(true);
                return Ok(socket);
            }
            Err(error) => last = error,
        }
    }
    Err(match last.kind() {
        io::ErrorKind::ConnectionRefused => {
            LinkError::Refused { host: host.clone(), port: port.to_string() }
        }
        _ => LinkError::Unreachable { host: host.clone(), reason: last.to_string() },
    })
}

/// russh's own defaults agree with pfSense's sshd: curve25519-sha256@libssh.org, chacha20-poly1305 and AES-GCM/CTR,
/// HMAC-SHA2. SHA-1 is in none of its default lists.
pub(crate) fn client_configuration(known: &KnownHosts) -> client::Config {
    client::Config {
        preferred: Preferred {
            key: Cow::Owned(known.known_algorithms()),
            // A server that is asked for a certificate shows it in its plain key's place.
            host_key_certificates: Cow::Owned(if known.has_authority() {
                known.known_algorithms()
            } else {
                Vec::new()
            }),
            ..Preferred::DEFAULT
        },
        keepalive_interval: Some(KEEPALIVE),
        keepalive_max: 3,
        nodelay: true,
        ..client::Config::default()
    }
}

fn connection_closed(
    target: &Target,
    stage: &'static str,
    error: &SshError,
    words: Option<String>,
) -> LinkError {
    // russh's words for it are about its own inside.
    let said = || if has_hung_up(error) { "it hung up".to_owned() } else { error.to_string() };
    LinkError::Closed { host: target.host.clone(), stage, reason: words.unwrap_or_else(said) }
}

fn has_hung_up(error: &SshError) -> bool {
    use SshError::{Disconnect, HUP, RecvError, SendError};
    matches!(error, Disconnect | HUP | RecvError | SendError)
}

pub(crate) fn handshake_error(
    target: &Target,
    port: u16,
    error: SshError,
    words: Option<String>,
) -> LinkError {
    let host = target.host.clone();
    match error {
        SshError::NoCommonAlgo { kind, theirs, .. } => LinkError::NoCommonAlgorithm {
            host,
            what: format!("{kind:?}").to_lowercase(),
            offered: theirs.join(", "),
        },
        SshError::IO(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            LinkError::Refused { host, port: port.to_string() }
        }
        error => connection_closed(target, "the handshake", &error, words),
    }
}

/// What the check of the host key found: the key and whose it is, or why it is refused.
type Findings = Arc<Mutex<Option<Result<(HostKey, FirewallIdentity), LinkError>>>>;

/// What the server said when it hung up.
#[derive(Clone, Default)]
struct LastWords(Arc<Mutex<Option<String>>>);

impl LastWords {
    fn note(&self, words: &str) {
        let words: String = words.chars().take(200).collect();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(words).filter(|words| !words.is_empty());
    }

    fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The server's words about the last channel it refused.
type BuiltinRefusal = Arc<Mutex<Option<String>>>;

/// Judges the host key; the verdict is left in `findings`, since russh only takes a yes or no.
struct Checker {
    host: String,
    name: String,
    known: Arc<KnownHosts>,
    searched_first: PathBuf,
    login: String,
    pin: Option<String>,
    findings: Findings,
    refusal_words: BuiltinRefusal,
    last_words: LastWords,
}

impl Checker {
    fn new(target: &Target, port: u16) -> Self {
        let name = listed_name(&target.host, port);
        let paths = target.known_hosts_files();
        let searched_first = paths.first().cloned().unwrap_or_default();
        let user = target.user.as_deref().unwrap_or(DEFAULT_USER);
        Self {
            host: target.host.clone(),
            login: login_by_hand(target, Some(user), Some(&searched_first)),
            known: Arc::new(KnownHosts::read(&paths, &name)),
            name,
            searched_first,
            pin: target.fingerprint.clone(),
            findings: Findings::default(),
            refusal_words: BuiltinRefusal::default(),
            last_words: LastWords::default(),
        }
    }

    /// Judges what the server showed. A certificate that does not count leaves its plain key to be judged, as with `ssh`.
    fn judge(
        &self,
        shown: &PublicKeyOrCertificate,
    ) -> Result<(HostKey, FirewallIdentity), LinkError> {
        let key = shown.public_key();
        let host_key = HostKey::from(&key);
        let judged = shown.certificate().map(|certificate| {
            let now = Clock::System.now().as_second();
            let now = u64::try_from(now).unwrap_or_default();
            self.known.judge_certificate(certificate, &self.name, now)
        });
        let authority = match judged {
            Some(Ok(authority)) => Some(authority.vouching_for(portless_name(&self.name))),
            Some(Err(why)) if self.known.judge_key(&key) == HostKeyVerdict::Unknown => {
                return Err(LinkError::CertificateRefused {
                    host: self.name.clone(),
                    presented: host_key,
                    reason: why,
                });
            }
            _ => None,
        };
        if authority.is_none() {
            self.judge_key(&key, &host_key)?;
        }
        if let Some(pinned) = self.pin.clone()
            && host_key.fingerprint != pinned
        {
            return Err(LinkError::PinMismatch {
                host: self.host.clone(),
                presented: host_key,
                pinned,
            });
        }
        let tied = self.known.tied_to(&host_key.algorithm);
        let identity = FirewallIdentity {
            host_key: host_key.to_string(),
            authority,
            tied: tied.iter().map(ToString::to_string).collect(),
        };
        Ok((host_key, identity))
    }

    fn judge_key(&self, key: &PublicKey, presented: &HostKey) -> Result<(), LinkError> {
        let (host, presented) = (self.name.clone(), presented.clone());
        match self.known.judge_key(key) {
            HostKeyVerdict::Known => Ok(()),
            HostKeyVerdict::Unknown => Err(LinkError::HostKeyUnknown {
                host,
                presented,
                known_hosts: self.searched_first.clone(),
                login: self.login.clone(),
            }),
            HostKeyVerdict::Changed { path, line, recorded } => Err(LinkError::HostKeyChanged {
                host,
                presented,
                recorded: Some(Box::new(recorded)),
                known_hosts: path,
                line,
            }),
            HostKeyVerdict::Revoked { path } => {
                Err(LinkError::HostKeyRevoked { host, presented, known_hosts: path })
            }
        }
    }
}

impl client::Handler for Checker {
    type Error = SshError;

    async fn check_server_key(&mut self, key: &PublicKeyOrCertificate) -> Result<bool, SshError> {
        let judged = self.judge(key);
        let accepted = judged.is_ok();
        let mut findings = self.findings.lock().unwrap_or_else(PoisonError::into_inner);
        *findings = Some(judged);
        Ok(accepted)
    }

    async fn disconnected(&mut self, reason: DisconnectReason<SshError>) -> Result<(), SshError> {
        match reason {
            DisconnectReason::ReceivedDisconnect(said) => {
                self.last_words.note(&said.message);
                Ok(())
            }
            DisconnectReason::Error(error) => Err(error),
        }
    }

    async fn channel_open_failure(
        &mut self,
        _channel: ChannelId,
        _reason: ChannelOpenFailure,
        description: &str,
        _language: &str,
        _session: &mut client::Session,
    ) -> Result<(), SshError> {
        let mut words = self.refusal_words.lock().unwrap_or_else(PoisonError::into_inner);
        *words = Some(description.chars().take(200).collect());
        Ok(())
    }
}

/// One channel with a remote shell.
pub(crate) struct ChannelPipes {
    read: ChannelReadHalf,
    input: Pin<Box<dyn AsyncWrite + Send>>,
    write: ChannelWriteHalf<client::Msg>,
    last: Option<ChannelMsg>,
    status: Option<i32>,
}

impl ChannelPipes {
    pub(crate) async fn next(&mut self, outgoing: &mut Outgoing) -> io::Result<Arrived<'_>> {
        let stream = loop {
            let message = tokio::select! {
                message = self.read.wait() => message,
                written = self.input.write(outgoing.rest()), if !outgoing.rest().is_empty() => {
                    outgoing.advance(written?);
                    continue;
                }
            };
            match message {
                Some(ChannelMsg::ExitStatus { exit_status }) => {
                    self.status = i32::try_from(exit_status).ok();
                }
                Some(ChannelMsg::Data { .. }) => {
                    self.last = message;
                    break FramedStream::Stdout;
                }
                Some(ChannelMsg::ExtendedData { ext: 1, .. }) => {
                    self.last = message;
                    break FramedStream::Stderr;
                }
                // A refused exec request: no shell, and no status to tell.
                Some(ChannelMsg::Failure) => {
                    self.status = Some(self.status.unwrap_or(126));
                    return Ok(Arrived::End);
                }
                Some(ChannelMsg::Close) | None => return Ok(Arrived::End),
                Some(_) => {}
            }
        };
        Ok(match &self.last {
            Some(ChannelMsg::Data { data } | ChannelMsg::ExtendedData { data, .. }) => {
                Arrived::Bytes(stream, data)
            }
            _ => Arrived::End,
        })
    }

    pub(crate) fn exit_status(&self) -> Option<i32> {
        self.status
    }

    pub(crate) async fn close(self: Box<Self>) {
        let _ = timeout(GOODBYE, self.write.close()).await;
    }
}
