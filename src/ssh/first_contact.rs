//! The first contact with a box whose host key is not known yet: the key is asked for, shown and, once a person has
//! compared its fingerprint, kept. No login happens here, and no other code adds a host key.

use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use ::russh::Error as SshError;
use ::russh::client;
use ::russh::keys::ssh_key::LineEnding;
use ::russh::keys::ssh_key::private::Ed25519Keypair;
use ::russh::keys::{PrivateKey, PublicKey, PublicKeyOrCertificate};

use super::builtin::{client_configuration, dial_target, handshake_error};
use super::error::LinkError;
use super::known_hosts::{HostKey, HostKeyVerdict, KnownHosts, listed_name};
use crate::plain_file;
use crate::settings::target::Target;

/// A host key that the box presented, and what is known of it.
#[derive(Debug)]
pub struct Presented {
    /// The key as people compare it.
    pub key: HostKey,
    /// The known_hosts files' word on it.
    pub verdict: HostKeyVerdict,
    line: String,
}

/// Remembers the key and refuses it, so that nothing is sent after it.
struct KeyCatcher(Arc<Mutex<Option<PublicKey>>>);

impl client::Handler for KeyCatcher {
    type Error = SshError;

    async fn check_server_key(&mut self, key: &PublicKeyOrCertificate) -> Result<bool, SshError> {
        let mut caught = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *caught = Some(key.public_key().clone());
        Ok(false)
    }
}

/// Asks for the host key over a connection of its own, without logging in.
pub async fn fetch_host_key(target: &Target) -> Result<Presented, LinkError> {
    target.check()?;
    let port = target.port.unwrap_or(22);
    let name = listed_name(&target.host, port);
    let known = KnownHosts::read(&target.known_hosts_files(), &name);
    let caught = Arc::new(Mutex::new(None));
    let catcher = KeyCatcher(Arc::clone(&caught));
    let exchange = async {
        let socket = dial_target(target, port).await?;
        let config = Arc::new(client_configuration(&known));
        let refused = client::connect_stream(config, socket, catcher).await.err();
        Ok(refused)
    };
    let refused =
        tokio::time::timeout(target.connect_timeout, exchange).await.map_err(|_| {
            LinkError::TimedOut {
                host: target.host.clone(),
                seconds: target.connect_timeout.as_secs(),
            }
        })??;
    let caught = caught.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(key) = caught else {
        let error = refused.unwrap_or(SshError::Kex);
        return Err(handshake_error(target, port, error, None));
    };
    let text = key.to_openssh().map_err(|_| handshake_error(target, port, SshError::Kex, None))?;
    let words: Vec<&str> = text.split(' ').take(2).collect();
    Ok(Presented {
        key: HostKey::from(&key),
        verdict: known.judge_key(&key),
        line: format!("{name} {}\n", words.join(" ")),
    })
}

impl Presented {
    /// Adds the key to a known_hosts file, which is made where there is none.
    pub fn remember(&self, path: &Path) -> std::io::Result<()> {
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let mut file = plain_file::open_plain_file(path, &mut options)?;
        file.seek(SeekFrom::End(0))?;
        file.write_all(self.line.as_bytes())?;
        file.sync_all()
    }
}

/// Makes an Ed25519 key pair without a passphrase, the private half for its owner only, and returns the public line.
/// Never replaces a file.
pub fn make_login_key(path: &Path) -> std::io::Result<String> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(std::io::Error::other)?;
    let key = PrivateKey::from(Ed25519Keypair::from_seed(&seed));
    let text = key.to_openssh(LineEnding::LF).map_err(std::io::Error::other)?;
    let public = key.public_key().to_openssh().map_err(std::io::Error::other)?;
    let public = format!("{public} kmsctl");
    for (path, text, mode) in [
        (path.to_owned(), text.as_str(), 0o600),
        (path.with_extension("pub"), &format!("{public}\n"), 0o644),
    ] {
        let mut file =
            std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
    }
    Ok(public)
}
