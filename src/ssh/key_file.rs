//! The one key the built-in client authenticates with: from a file or from the agent. Exactly one is chosen before
//! anything is sent, because each refused key counts against us on the firewall. RSA is not used: russh has it
//! only through release candidates of `rsa`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ::russh::keys::agent::AgentIdentity;
use ::russh::keys::agent::client::AgentClient;
use ::russh::keys::{Algorithm, Error as KeyError, PrivateKey, PublicKey, decode_secret_key};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::agent_key::{FEW, crowd_notice, offered_first_key};
use super::error::LinkError;
use super::target::Secret;
use crate::plain_file;
use crate::settings::target::Target;

/// The file names looked for in `~/.ssh` when no identity is configured, as ssh(1) does, without RSA.
const DEFAULT_FILES: [&str; 2] = ["id_ed25519", "id_ecdsa"];

/// A key that can sign.
pub(crate) enum Identity {
    /// Read from a file.
    File(Arc<PrivateKey>),
    /// Held by the agent, named by its public half.
    Agent(Box<AgentClient<UnixStream>>, PublicKey),
}

/// Chooses the key: the configured file, else a default file, else the agent's first usable key. A file whose
/// public half the agent holds is not read, so that no passphrase is asked. The second value is what the operator should
/// know: among many keys of the agent the first may be the wrong one.
pub(crate) async fn choose_identity(
    target: &Target,
    ask_passphrase: &dyn Fn(&str) -> Option<Secret>,
) -> Result<(Identity, Option<String>), LinkError> {
    let mut agent = Agent::connect(target.agent_socket.as_deref()).await.unwrap_or_default();
    if let Some(path) = &target.identity {
        return Ok((from_file(path, &mut agent, ask_passphrase)?, None));
    }
    let directory = target.home.as_ref().map(|home| home.join(".ssh"));
    let default = directory
        .iter()
        .flat_map(|directory| DEFAULT_FILES.map(|name| directory.join(name)))
        .find(|path| path.is_file());
    if let Some(path) = default {
        return Ok((from_file(&path, &mut agent, ask_passphrase)?, None));
    }
    let Agent { client, keys, held } = agent;
    let usable = keys.iter().find(|key| !is_rsa(key)).cloned();
    match (client, usable, keys.is_empty()) {
        (Some(client), Some(key), _) => {
            let notice = (held > FEW).then(|| crowd_notice(held, &offered_first_key(&key)));
            Ok((Identity::Agent(Box::new(client), key), notice))
        }
        (_, _, false) => Err(LinkError::RsaKey { what: "The only kind of key in the agent".to_owned() }),
        _ => match directory.map(|directory| directory.join("id_rsa")).filter(|path| path.is_file()) {
            Some(path) => Err(LinkError::RsaKey { what: path.display().to_string() }),
            None => Err(LinkError::NoKey {
                reason: "no identity is configured, ~/.ssh holds neither id_ed25519 nor id_ecdsa, and the agent none"
                    .to_owned(),
            }),
        },
    }
}

/// How long the agent may take to list its keys.
const PATIENCE: Duration = Duration::from_secs(2);

/// The agent as far as it answers; without one, keys come from files only.
#[derive(Default)]
pub(crate) struct Agent {
    client: Option<AgentClient<UnixStream>>,
    /// Its plain keys.
    pub keys: Vec<PublicKey>,
    /// How many it holds, certificates too.
    pub held: usize,
}

impl Agent {
    /// Connects to it and lists its keys; `None` where it is silent, as one that was stopped.
    pub(crate) async fn connect(socket: Option<&Path>) -> Option<Self> {
        let Some(socket) = socket else { return Some(Self::default()) };
        timeout(PATIENCE, Self::list_keys(socket)).await.ok()
    }

    async fn list_keys(socket: &Path) -> Self {
        let Ok(mut client) = AgentClient::connect_uds(socket).await else {
            return Self::default();
        };
        let Ok(identities) = client.request_identities().await else {
            return Self::default();
        };
        let held = identities.len();
        // Certificates would need the host's trust in their authority; only plain keys are used.
        let keys = identities
            .into_iter()
            .filter_map(|identity| match identity {
                AgentIdentity::PublicKey { key, .. } => Some(key),
                AgentIdentity::Certificate { .. } => None,
            })
            .collect();
        Self { client: Some(client), keys, held }
    }

    /// Gives the client away if it holds this key.
    fn take_key(&mut self, key: &PublicKey) -> Option<Identity> {
        let held = self.keys.iter().any(|candidate| candidate.key_data() == key.key_data());
        let client = if held { self.client.take() } else { None };
        client.map(|client| Identity::Agent(Box::new(client), key.clone()))
    }
}

/// More is no key.
const LARGEST: u64 = 1 << 20;

fn is_rsa(key: &PublicKey) -> bool {
    matches!(key.algorithm(), Algorithm::Rsa { .. })
}

fn from_file(
    path: &Path,
    agent: &mut Agent,
    ask_passphrase: &dyn Fn(&str) -> Option<Secret>,
) -> Result<Identity, LinkError> {
    let bad = |reason: String| LinkError::BadKey { path: path.to_owned(), reason };
    let text = plain_file::read_plain_text(path, LARGEST);
    let public = public_half(path, text.as_deref().ok());
    if public.as_ref().is_some_and(is_rsa) {
        return Err(LinkError::RsaKey { what: path.display().to_string() });
    }
    if let Some(identity) = public.as_ref().and_then(|key| agent.take_key(key)) {
        return Ok(identity);
    }
    let text = text.map_err(|error| bad(error.to_string()))?;
    if !text.contains("PRIVATE KEY-----") {
        return Err(bad(
            "it is a public key, and the agent does not hold its private half".to_owned()
        ));
    }
    if text.contains("BEGIN RSA PRIVATE KEY") {
        return Err(LinkError::RsaKey { what: path.display().to_string() });
    }
    let key = match decode_secret_key(&text, None) {
        Err(KeyError::KeyIsEncrypted) => {
            let prompt = format!("Passphrase for {}", path.display());
            let secret =
                ask_passphrase(&prompt).ok_or_else(|| bad("it needs a passphrase".to_owned()))?;
            decode_secret_key(&text, Some(secret.expose_secret()))
                .map_err(|_| bad("wrong passphrase".to_owned()))?
        }
        other => other.map_err(|error| bad(error.to_string()))?,
    };
    if matches!(key.algorithm(), Algorithm::Rsa { .. }) {
        return Err(LinkError::RsaKey { what: path.display().to_string() });
    }
    Ok(Identity::File(Arc::new(key)))
}

/// Returns the public half: from the file itself (a public key, or OpenSSH's private format, which carries it in
/// clear), else from the `.pub` beside it.
fn public_half(path: &Path, text: Option<&str>) -> Option<PublicKey> {
    if let Some(text) = text {
        if let Ok(key) = PublicKey::from_openssh(text.trim()) {
            return Some(key);
        }
        if let Ok(key) = PrivateKey::from_openssh(text) {
            return Some(key.public_key().clone());
        }
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(".pub");
    let text = plain_file::read_plain_text(Path::new(&beside), LARGEST).ok()?;
    PublicKey::from_openssh(text.trim()).ok()
}
