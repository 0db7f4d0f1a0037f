//! The SSH server of the simulated box, on loopback only. It lets everybody in, since it runs nothing and
//! holds nothing: what it is asked goes to [`super::shell`]. It speaks the algorithms of pfSense 2.7.2's sshd.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use russh::keys::{Algorithm, PrivateKey};
use russh::server::{Auth, ChannelOpenHandle, Config, Handler, Msg, Session, VerifiedPublicKey};
use russh::{
    Channel, ChannelId, Disconnect, MethodKind, MethodSet, Preferred, Pty, SshId, cipher,
    compression, kex, mac,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use super::shell::{ShellReply, SimulatedShell};
use super::world::{Cut, World};
use crate::clock::Clock;

/// Connections at once; more are closed as they come.
const CONNECTIONS: usize = 32;
/// Channels of one connection, as sshd's MaxSessions.
const CHANNELS: usize = 10;
/// What a client sees that asks for a login shell.
const NOTICE: &str = "This is kmsctl's simulated firewall: it has no login shell.\r\n\
Run single commands instead, such as: ssh HOST pfctl -t virusprot -T show -v\r\n";

#[derive(Debug)]
pub struct SharedWorld {
    world: Mutex<World>,
    clock: Clock,
}

impl SharedWorld {
    pub fn new(world: World, clock: Clock) -> Self {
        Self { world: Mutex::new(world), clock }
    }

    /// Brings the world to the present and hands it out.
    pub fn world(&self) -> MutexGuard<'_, World> {
        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        world.advance_to(self.clock.now().as_millisecond());
        world
    }
}

/// Returns the server's configuration.
pub fn server_config(key: PrivateKey) -> Config {
    Config {
        server_id: SshId::Standard(Cow::Borrowed("SSH-2.0-kmsctl_simulated_firewall")),
        methods: MethodSet::from(&[MethodKind::None, MethodKind::PublicKey][..]),
        auth_rejection_time: Duration::ZERO,
        keys: vec![key],
        inactivity_timeout: Some(Duration::from_secs(3600)),
        nodelay: true,
        preferred: Preferred {
            kex: Cow::Borrowed(&[
                kex::CURVE25519_PRE_RFC_8731,
                kex::DH_GEX_SHA256,
                kex::EXTENSION_SUPPORT_AS_SERVER,
                kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER,
            ]),
            key: Cow::Borrowed(&[Algorithm::Ed25519]),
            cipher: Cow::Borrowed(&[
                cipher::CHACHA20_POLY1305,
                cipher::AES_256_GCM,
                cipher::AES_128_GCM,
                cipher::AES_256_CTR,
                cipher::AES_192_CTR,
                cipher::AES_128_CTR,
            ]),
            mac: Cow::Borrowed(&[
                mac::HMAC_SHA512_ETM,
                mac::HMAC_SHA256_ETM,
                mac::HMAC_SHA512,
                mac::HMAC_SHA256,
            ]),
            compression: Cow::Borrowed(&[compression::NONE]),
            ..Preferred::default()
        },
        ..Config::default()
    }
}

/// Serves until it is stopped; each connection is a task of its own, with a handler of its own.
pub async fn serve_ssh<H: Handler<Error = russh::Error> + Send + 'static>(
    listener: TcpListener,
    config: Arc<Config>,
    shared: Arc<SharedWorld>,
    mut stop: watch::Receiver<bool>,
    handler: fn(Arc<SharedWorld>) -> H,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            () = wait_for_stop(&mut stop) => return,
            accepted = listener.accept() => accepted,
        };
        // Running out of file descriptors passes; the pause keeps it from spinning.
        let Ok((stream, peer)) = accepted else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            continue;
        };
        let task = serve_connection(
            stream,
            peer,
            Arc::clone(&config),
            handler(Arc::clone(&shared)),
            stop.clone(),
        );
        tokio::spawn(async move {
            task.await;
            drop(place);
        });
    }
}

/// Waits for the word to stop; a sender that is gone means the same.
async fn wait_for_stop(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn serve_connection<H: Handler<Error = russh::Error> + Send + 'static>(
    stream: TcpStream,
    peer: SocketAddr,
    config: Arc<Config>,
    handler: H,
    mut stop: watch::Receiver<bool>,
) {
    // russh sets this only on sockets it accepts itself.
    let _ = stream.set_nodelay(true);
    match russh::server::run_stream(config, stream, handler).await {
        Err(error) => {
            tracing::debug!(%peer, %error, "the simulated firewall could not greet a client");
        }
        Ok(session) => {
            let handle = session.handle();
            tokio::select! {
                ended = session => {
                    if let Err(error) = ended {
                        tracing::debug!(%peer, %error, "a client left the simulated firewall in disorder");
                    }
                }
                () = wait_for_stop(&mut stop) => {
                    let _ = handle.disconnect(Disconnect::ByApplication, "the simulated firewall ends".to_owned(), String::new()).await;
                }
            }
        }
    }
}

/// One connection: its channels and what runs in them.
pub struct ServedClient {
    shared: Arc<SharedWorld>,
    shells: HashMap<ChannelId, SimulatedShell>,
}

impl ServedClient {
    /// Makes the handler of one connection.
    pub fn new(shared: Arc<SharedWorld>) -> Self {
        Self { shared, shells: HashMap::new() }
    }

    /// Answers, unless the connection breaks before; it may break after, too.
    fn answer(
        session: &mut Session,
        channel: ChannelId,
        reply: ShellReply,
        cut: Option<Cut>,
    ) -> Result<(), russh::Error> {
        match cut {
            None => Self::say(session, channel, reply),
            // As when a cable is pulled: no word of farewell.
            Some(Cut::BeforeAnswer) => Err(russh::Error::Disconnect),
            Some(Cut::AfterAnswer) => {
                Self::say(session, channel, reply)?;
                session.disconnect(Disconnect::ByApplication, "the link is cut", "")
            }
        }
    }

    fn say(
        session: &mut Session,
        channel: ChannelId,
        reply: ShellReply,
    ) -> Result<(), russh::Error> {
        if !reply.stdout.is_empty() {
            session.data(channel, reply.stdout)?;
        }
        if !reply.stderr.is_empty() {
            session.extended_data(channel, 1, reply.stderr)?;
        }
        if let Some(status) = reply.exit {
            session.exit_status_request(channel, u32::from(status))?;
            session.eof(channel)?;
            session.close(channel)?;
        }
        Ok(())
    }
}

impl Handler for ServedClient {
    type Error = russh::Error;

    async fn auth_none(&mut self, _user: &str) -> Result<Auth, Self::Error> {
        Ok(Auth::Accept)
    }

    async fn auth_publickey(
        &mut self,
        _user: &str,
        _key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, Self::Error> {
        Ok(Auth::Accept)
    }

    async fn channel_open_session(
        &mut self,
        _channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        // Dropped, the handle refuses.
        if self.shells.len() < CHANNELS {
            reply.accept().await;
        }
        Ok(())
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let (shell, reply) = SimulatedShell::start(command, &mut self.shared.world());
        session.channel_success(channel)?;
        self.shells.insert(channel, shell);
        Self::say(session, channel, reply)
    }

    async fn shell_request(
        &mut self,
        channel: ChannelId,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_success(channel)?;
        let reply = ShellReply {
            stdout: NOTICE.as_bytes().to_vec(),
            exit: Some(1),
            ..ShellReply::default()
        };
        Self::say(session, channel, reply)
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        _term: &str,
        _columns: u32,
        _rows: u32,
        _width: u32,
        _height: u32,
        _modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_success(channel)
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        _name: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }

    async fn data(
        &mut self,
        channel: ChannelId,
        data: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let Some(shell) = self.shells.get_mut(&channel) else {
            return Ok(());
        };
        let (reply, cut) = {
            let mut world = self.shared.world();
            (shell.feed(data, &mut world), world.cut.take())
        };
        Self::answer(session, channel, reply, cut)
    }

    async fn channel_eof(
        &mut self,
        channel: ChannelId,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let Some(shell) = self.shells.get_mut(&channel) else {
            return Ok(());
        };
        let (reply, cut) = {
            let mut world = self.shared.world();
            (shell.finish(&mut world), world.cut.take())
        };
        Self::answer(session, channel, reply, cut)
    }

    async fn channel_close(
        &mut self,
        channel: ChannelId,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.shells.remove(&channel);
        Ok(())
    }
}
