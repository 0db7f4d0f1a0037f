//! Which key the system's `ssh` offers where the agent holds more than a server lets it try: OpenSSH's sshd hangs up after
//! six, and a firewall counts each as a failed login. With few keys and no identity the choice stays ssh's own.

use std::path::{Path, PathBuf};

use ::russh::keys::{HashAlg, PublicKey};
use tempfile::NamedTempFile;

use super::control_master::printed_configuration;
use super::error::LinkError;
use super::key_file::Agent;
use super::one_key::write_keyless_configuration;
use crate::plain_file;
use crate::settings::environment::at_home;
use crate::settings::target::Target;

/// As many keys are left to ssh: with the sixth failure the server hangs up.
pub(crate) const FEW: usize = 5;
/// Most bytes of a file of ssh's configuration.
const LARGEST: u64 = 1 << 20;
/// Keywords, as they are compared, and where ssh looks for them beside the user's own file: ssh_config(5).
const AGENT: &str = "identityagent";
const KEY_FILE: &str = "identityfile";
const SYSTEM_FILE: &str = "/etc/ssh/ssh_config";
const SYSTEM_FILES: &str = "/etc/ssh/ssh_config.d";

/// The keys that are offered; nothing where the choice is left to ssh.
#[derive(Debug, Default)]
pub(crate) struct Chosen {
    /// No other key of the agent is offered than those in files that are named.
    only_named: bool,
    /// The agent is silent, and is not asked.
    without_agent: bool,
    path: Option<PathBuf>,
    /// The public half of an agent's key, removed when dropped.
    file: Option<NamedTempFile>,
    /// What ssh reads in place of its own configuration, removed when dropped.
    configuration: Option<NamedTempFile>,
    notice: Option<String>,
}

impl Chosen {
    /// Returns the file that names the key.
    pub(crate) fn file(&self) -> Option<&Path> {
        self.path.as_deref().or_else(|| self.file.as_ref().map(NamedTempFile::path))
    }

    /// Returns the file that ssh must read in place of its own configuration.
    pub(crate) fn configuration(&self) -> Option<&Path> {
        self.configuration.as_ref().map(NamedTempFile::path)
    }

    fn without_agent() -> Self {
        let notice = "The agent did not answer in time, so it is not asked for keys.".to_owned();
        Self { without_agent: true, notice: Some(notice), ..Self::default() }
    }

    /// Returns whether ssh must not ask the agent.
    pub(crate) fn is_without_agent(&self) -> bool {
        self.without_agent
    }

    /// Returns whether ssh must offer no key of the agent beside those in files that are named.
    pub(crate) fn is_only_named(&self) -> bool {
        self.only_named
    }

    /// Returns what the operator should know.
    pub(crate) fn into_notice(self) -> Option<String> {
        self.notice
    }
}

/// Chooses a key where the agent holds many and the configuration names none: the files that ssh's own configuration names,
/// else the agent's first key.
pub(crate) async fn choose_key(target: &Target) -> Result<Chosen, LinkError> {
    if let Some(identity) = &target.identity {
        // ssh asks the agent all the same, and waits for it for as long as it may take.
        let agent = Agent::connect(target.agent_socket.as_deref()).await;
        let chosen = agent.map_or_else(Chosen::without_agent, |_| Chosen::default());
        return Ok(chosen.beside_configured_files(target, identity).await);
    }
    // To ask ssh costs a process: before anything else only where its agent may be another than ours.
    let asked = if may_say(target, AGENT) {
        Some(SshChoice::ask_program(target, None).await)
    } else {
        None
    };
    let socket = match asked.as_ref().and_then(|ssh| ssh.agent.as_deref()) {
        Some(named) => named_socket(named, target),
        None => target.agent_socket.clone(),
    };
    let Some(socket) = socket else {
        return Ok(Chosen::default());
    };
    let Some(agent) = Agent::connect(Some(&socket)).await else {
        return Ok(Chosen::without_agent());
    };
    if agent.held <= FEW {
        return Ok(Chosen::default());
    }
    let ssh = match asked {
        Some(ssh) => ssh,
        None => SshChoice::ask_program(target, None).await,
    };
    if ssh.only_named {
        return Ok(Chosen::default());
    }
    if let Some(first) = ssh.files.first() {
        // What ssh's configuration names is offered as well, and a second time where it is this one; beside a file that ssh
        // looks for by itself it looks for no other.
        let with_first = SshChoice::ask_program(target, Some(first)).await;
        let configured = with_first.files.get(1..).unwrap_or_default();
        let configuration = match configured {
            [] => None,
            _ => write_keyless_configuration(target, first).await,
        };
        let (path, offered) = if configured.is_empty() || configuration.is_some() {
            (Some(first.clone()), std::slice::from_ref(first))
        } else {
            (None, configured)
        };
        return Ok(Chosen {
            notice: Some(crowd_notice(agent.held, &offered_files(offered))),
            only_named: true,
            path,
            configuration,
            ..Chosen::default()
        });
    }
    let Some(key) = agent.keys.first() else {
        return Ok(Chosen::default());
    };
    let file = public_half(key, &target.runtime_directory)?;
    Ok(Chosen {
        notice: Some(crowd_notice(agent.held, &offered_first_key(key))),
        only_named: true,
        file: Some(file),
        ..Chosen::default()
    })
}

impl Chosen {
    /// Has ssh offer the identity alone, also where its own configuration names further key files.
    async fn beside_configured_files(mut self, target: &Target, identity: &Path) -> Self {
        if !may_say(target, KEY_FILE) {
            return self;
        }
        let named = SshChoice::ask_program(target, Some(identity)).await.files;
        if let Some(further) = named.get(1..).filter(|further| !further.is_empty()) {
            self.configuration = write_keyless_configuration(target, identity).await;
            if self.configuration.is_none() {
                let offered = offered_files(further);
                self.notice.get_or_insert_with(|| format!("Beside the identity {offered}."));
            }
        }
        self
    }
}

/// Returns whether ssh's configuration may say something: by the keyword, or by a file that the user's own includes. With a
/// file that is given, ssh reads no other.
fn may_say(target: &Target, keyword: &str) -> bool {
    let mentions = |path: &Path, keywords: &[&str]| {
        let bytes = plain_file::read_plain_file(path, LARGEST).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
        keywords.iter().any(|keyword| text.contains(keyword))
    };
    let given = target.ssh_config.is_some();
    let listed = Path::new(SYSTEM_FILES).read_dir().into_iter().flatten().flatten();
    target.ssh_config_file().is_some_and(|path| mentions(&path, &[keyword, "include"]))
        || !given
            && listed
                .map(|entry| entry.path())
                .chain([SYSTEM_FILE.into()])
                .any(|path| mentions(&path, &[keyword]))
}

/// Returns the socket that `IdentityAgent` names in the way ssh prints it: a path, `none`, `SSH_AUTH_SOCK`, or a
/// variable of the environment.
#[expect(clippy::disallowed_methods, reason = "which variable it is, ssh's configuration says")]
fn named_socket(named: &str, target: &Target) -> Option<PathBuf> {
    match named.strip_prefix('$').unwrap_or(named) {
        "none" => None,
        "SSH_AUTH_SOCK" => target.agent_socket.clone(),
        variable if named.starts_with('$') => std::env::var_os(variable).map(PathBuf::from),
        path => Some(at_home(path, target.home.as_deref())),
    }
}

/// Says which of many keys are offered.
pub(crate) fn crowd_notice(held: usize, offered: &str) -> String {
    format!(
        "The agent holds {held} keys, more than a server lets ssh try, so only {offered}. Name the right one as identity in the configuration."
    )
}

/// Says that of the agent's keys the first is offered.
pub(crate) fn offered_first_key(key: &PublicKey) -> String {
    format!("its first key ({}) is offered", key.fingerprint(HashAlg::Sha256))
}

/// Says which files are offered: several only where ssh's configuration could not be written without them.
fn offered_files(files: &[PathBuf]) -> String {
    let names: Vec<String> = files.iter().map(|path| path.display().to_string()).collect();
    match names.as_slice() {
        [one] => format!("{one} is offered"),
        several => format!(
            "the keys that ssh's own configuration names are offered, one after the other: {}",
            several.join(", ")
        ),
    }
}

fn public_half(key: &PublicKey, directory: &Path) -> Result<NamedTempFile, LinkError> {
    let local = |source| LinkError::Local { doing: "Writing the chosen key's public half", source };
    let mut file = NamedTempFile::new_in(directory).map_err(local)?;
    let text = key.to_openssh().map_err(|error| local(std::io::Error::other(error)))?;
    std::io::Write::write_all(&mut file, text.as_bytes()).map_err(local)?;
    Ok(file)
}

/// What ssh's own configuration says about keys.
#[derive(Debug, Default)]
struct SshChoice {
    /// `IdentitiesOnly` is set already.
    only_named: bool,
    /// The key files it names, or looks for by default, that are there.
    files: Vec<PathBuf>,
    /// What it says of the agent, where it says anything.
    agent: Option<String>,
}

impl SshChoice {
    /// Has ssh say it, also of a key file that it is given.
    async fn ask_program(target: &Target, identity: Option<&Path>) -> Self {
        let text = printed_configuration(target, identity).await;
        Self::read(&text, target.home.as_deref())
    }

    fn read(text: &str, home: Option<&Path>) -> Self {
        let there = |name: &str| {
            let path = at_home(name, home);
            let mut public = path.clone().into_os_string();
            public.push(".pub");
            (path.is_file() || Path::new(&public).is_file()).then_some(path)
        };
        Self {
            only_named: text.lines().any(|line| line == "identitiesonly yes"),
            files: text
                .lines()
                .filter_map(|line| line.strip_prefix("identityfile "))
                .filter_map(there)
                .collect(),
            agent: text
                .lines()
                .find_map(|line| line.strip_prefix("identityagent "))
                .map(str::to_owned),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_files_that_are_there_count() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join(".ssh")).unwrap();
        let text =
            "user op\nidentitiesonly no\nidentityfile ~/.ssh/id_rsa\nidentityfile ~/.ssh/fw\n";
        let choice = SshChoice::read(text, Some(home.path()));
        assert_eq!((choice.only_named, choice.files), (false, Vec::new()));
        std::fs::write(home.path().join(".ssh/fw.pub"), "").unwrap();
        let choice = SshChoice::read(text, Some(home.path()));
        assert_eq!(choice.files, [home.path().join(".ssh/fw")]);
        assert!(SshChoice::read("identitiesonly yes\n", None).only_named);
    }
}
