//! Which key the system's `ssh` offers where the agent holds more than a server lets it try: OpenSSH's sshd hangs up after
//! six, and a firewall counts each as a failed login. With few keys the choice stays ssh's own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ::russh::keys::{HashAlg, PublicKey};
use tempfile::NamedTempFile;
use tokio::time::timeout;

use super::control_master::printed_configuration;
use super::error::LinkError;
use super::key_file::Agent;
use crate::plain_file;
use crate::settings::environment::at_home;
use crate::settings::target::Target;

/// As many keys are left to ssh: with the sixth failure the server hangs up.
pub(crate) const FEW: usize = 5;
/// How long the agent, or ssh reading its configuration, may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Most bytes of a file of ssh's configuration.
const LARGEST: u64 = 1 << 20;
/// The keyword, as it is compared, and where ssh looks for it beside the user's own file: ssh_config(5).
const AGENT: &str = "identityagent";
const SYSTEM_FILE: &str = "/etc/ssh/ssh_config";
const SYSTEM_FILES: &str = "/etc/ssh/ssh_config.d";

/// The one key that is offered; nothing where the choice is left to ssh.
#[derive(Debug, Default)]
pub(crate) struct Chosen {
    path: Option<PathBuf>,
    /// The public half of an agent's key, removed when dropped.
    file: Option<NamedTempFile>,
    notice: Option<String>,
}

impl Chosen {
    /// Returns the file that names the key.
    pub(crate) fn file(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Returns what the operator should know.
    pub(crate) fn notice(self) -> Option<String> {
        drop(self.file);
        self.notice
    }
}

/// Chooses one key where the agent holds many and the configuration names none: the first file that ssh's own
/// configuration names, else the agent's first key.
pub(crate) async fn choose_key(target: &Target) -> Result<Chosen, LinkError> {
    if target.identity.is_some() {
        return Ok(Chosen::default());
    }
    // To ask ssh costs a process: before anything else only where its agent may be another than ours.
    let asked =
        if names_an_agent(target) { Some(SshChoice::ask_program(target).await) } else { None };
    let socket = match asked.as_ref().and_then(|ssh| ssh.agent.as_deref()) {
        Some(named) => named_socket(named, target),
        None => target.agent_socket.clone(),
    };
    let Some(socket) = socket else {
        return Ok(Chosen::default());
    };
    let Ok(agent) = timeout(PATIENCE, Agent::connect(Some(&socket))).await else {
        return Ok(Chosen::default());
    };
    if agent.held <= FEW {
        return Ok(Chosen::default());
    }
    let ssh = match asked {
        Some(ssh) => ssh,
        None => SshChoice::ask_program(target).await,
    };
    if ssh.only_named {
        return Ok(Chosen::default());
    }
    let notice = |key: &str| Some(crowd_notice(agent.held, key));
    if let Some(path) = ssh.first_file {
        return Ok(Chosen {
            notice: notice(&path.display().to_string()),
            path: Some(path),
            file: None,
        });
    }
    let Some(key) = agent.keys.first() else {
        return Ok(Chosen::default());
    };
    let file = public_half(key, &target.runtime_directory)?;
    Ok(Chosen {
        notice: notice(&format!("its first key ({})", key.fingerprint(HashAlg::Sha256))),
        path: Some(file.path().to_owned()),
        file: Some(file),
    })
}

/// Returns whether ssh's configuration may name an agent of its own: by the keyword, or by a file that the user's own
/// includes. With a file that is given, ssh reads no other.
fn names_an_agent(target: &Target) -> bool {
    let mentions = |path: &Path, keywords: &[&str]| {
        let bytes = plain_file::read_plain_file(path, LARGEST).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
        keywords.iter().any(|keyword| text.contains(keyword))
    };
    let given = target.ssh_config.is_some();
    let listed = Path::new(SYSTEM_FILES).read_dir().into_iter().flatten().flatten();
    target.ssh_config_file().is_some_and(|path| mentions(&path, &[AGENT, "include"]))
        || !given
            && listed
                .map(|entry| entry.path())
                .chain([SYSTEM_FILE.into()])
                .any(|path| mentions(&path, &[AGENT]))
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

/// Says that of many keys one is offered.
pub(crate) fn crowd_notice(held: usize, offered: &str) -> String {
    format!(
        "The agent holds {held} keys, more than a server lets ssh try, so only {offered} is offered. Name the right one as identity in the configuration."
    )
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
    /// The first key file it names, or looks for by default, that is there.
    first_file: Option<PathBuf>,
    /// What it says of the agent, where it says anything.
    agent: Option<String>,
}

impl SshChoice {
    async fn ask_program(target: &Target) -> Self {
        let printed = timeout(PATIENCE, printed_configuration(target)).await;
        let text = printed.unwrap_or_default();
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
            first_file: text
                .lines()
                .filter_map(|line| line.strip_prefix("identityfile "))
                .find_map(there),
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
    fn the_first_key_file_that_is_there_counts() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join(".ssh")).unwrap();
        let text =
            "user op\nidentitiesonly no\nidentityfile ~/.ssh/id_rsa\nidentityfile ~/.ssh/fw\n";
        let choice = SshChoice::read(text, Some(home.path()));
        assert_eq!((choice.only_named, choice.first_file), (false, None));
        std::fs::write(home.path().join(".ssh/fw.pub"), "").unwrap();
        let choice = SshChoice::read(text, Some(home.path()));
        assert_eq!(choice.first_file, Some(home.path().join(".ssh/fw")));
        assert!(SshChoice::read("identitiesonly yes\n", None).only_named);
    }
}
