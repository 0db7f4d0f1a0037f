//! The command line of the ssh master: our promises as options. ssh takes the first value it finds, and the
//! command line comes first, so these win over the user's configuration; all else stays the user's. See
//! ssh(1) and ssh_config(5).

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use super::agent_key::Chosen;
use super::error::LinkError;
use crate::settings::target::Target;
use crate::text::quoted_for_shell;

/// What holds for every connection.
const FIXED: [&str; 24] = [
    // ssh asks no question, and no host key is taken on trust, by DNS or because the host is local.
    "BatchMode=yes",
    "StrictHostKeyChecking=yes",
    "UpdateHostKeys=no",
    "VerifyHostKeyDNS=no",
    "NoHostAuthenticationForLocalhost=no",
    // Keys only, one attempt: the firewall's sshguard counts failures.
    "PasswordAuthentication=no",
    "KbdInteractiveAuthentication=no",
    "NumberOfPasswordPrompts=0",
    "ConnectionAttempts=1",
    // A master that holds a connection and does nothing else.
    "ControlMaster=yes",
    "RemoteCommand=none",
    "RequestTTY=no",
    "EscapeChar=none",
    "ClearAllForwardings=yes",
    "ExitOnForwardFailure=no",
    "ForwardAgent=no",
    "ForwardX11=no",
    "Tunnel=no",
    "PermitLocalCommand=no",
    "AddKeysToAgent=no",
    "VisualHostKey=no",
    // A dead connection is noticed after half a minute.
    "ServerAliveInterval=10",
    "ServerAliveCountMax=3",
    // The level that prints the fingerprint of the host key.
    "LogLevel=DEBUG1",
];

/// Builds the argument vector.
pub(crate) fn ssh_arguments(
    target: &Target,
    socket: &Path,
    persist: Duration,
    chosen: &Chosen,
) -> Result<Vec<OsString>, LinkError> {
    // The log has a stream of its own: on stderr a server's banner and jump hosts speak, too.
    let mut words: Vec<OsString> =
        ["-N", "-f", "-E", "/dev/stdout", "-S"].map(OsString::from).into();
    words.push(unexpanded_path(socket)?.into());
    if let Some(config) = chosen.configuration().or(target.ssh_config.as_deref()) {
        words.push("-F".into());
        words.push(config.into());
    }
    let mut option = |text: String| words.extend(["-o".into(), OsString::from(text)]);
    for text in FIXED {
        option(text.to_owned());
    }
    option(format!("ConnectTimeout={}", target.connect_timeout.as_secs().max(1)));
    option(format!("ControlPersist={}", persist.as_secs().max(1)));
    if let Some(known_hosts) = &target.known_hosts {
        option(format!("UserKnownHostsFile=\"{}\"", unexpanded_path(known_hosts)?));
        option("GlobalKnownHostsFile=/dev/null".to_owned());
    }
    let identity = target.identity.as_deref().or(chosen.file());
    if chosen.is_without_agent() {
        option("IdentityAgent=none".to_owned());
    }
    if identity.is_some() || chosen.is_only_named() {
        option("IdentitiesOnly=yes".to_owned());
    }
    if let Some(identity) = identity {
        words.push("-i".into());
        words.push(unexpanded_path(identity)?.into());
    }
    if let Some(user) = &target.user {
        words.extend(["-l".into(), OsString::from(user)]);
    }
    if let Some(port) = target.port {
        words.extend(["-p".into(), OsString::from(port.to_string())]);
    }
    words.push("--".into());
    words.push(OsString::from(&target.host));
    Ok(words)
}

/// Returns the command that logs in once by hand, where ssh asks whether a host key is right.
pub(crate) fn login_by_hand(target: &Target, user: Option<&str>, known: Option<&Path>) -> String {
    let mut words = vec!["ssh".to_owned()];
    if let Some(config) = &target.ssh_config {
        words.extend(["-F".to_owned(), config.display().to_string()]);
    }
    if let Some(port) = target.port {
        words.extend(["-p".to_owned(), port.to_string()]);
    }
    if let Some(identity) = &target.identity {
        words.extend(["-i".to_owned(), identity.display().to_string()]);
    }
    if let Some(known) = known {
        words.extend(["-o".to_owned(), format!("UserKnownHostsFile={}", known.display())]);
    }
    let user = user.map(|user| format!("{user}@")).unwrap_or_default();
    words.extend([format!("{user}{}", target.host), "true".to_owned()]);
    let quoted: Vec<_> = words.iter().map(|word| quoted_for_shell(word)).collect();
    quoted.join(" ")
}

/// Builds the argument vector that has ssh print its own configuration for a target, and connect nowhere.
pub(crate) fn configuration_arguments(
    target: &Target,
    identity: Option<&Path>,
) -> Result<Vec<OsString>, LinkError> {
    let mut words: Vec<OsString> = vec!["-G".into()];
    if let Some(config) = &target.ssh_config {
        words.extend(["-F".into(), config.into()]);
    }
    if let Some(identity) = identity {
        words.extend(["-i".into(), unexpanded_path(identity)?.into()]);
    }
    if let Some(user) = &target.user {
        words.extend(["-l".into(), OsString::from(user)]);
    }
    if let Some(port) = target.port {
        words.extend(["-p".into(), OsString::from(port.to_string())]);
    }
    words.extend(["--".into(), OsString::from(&target.host)]);
    Ok(words)
}

/// Builds the argument vector of a client that only asks the master behind a socket for a connection to a host and
/// port, carried by its pipes. Should the master be gone, it must fail and not connect on its own: hence the proxy.
pub(crate) fn forward_arguments(
    socket: &Path,
    host: &str,
    port: u16,
) -> Result<Vec<OsString>, LinkError> {
    let mut words: Vec<OsString> = ["-F", "/dev/null", "-S"].map(OsString::from).into();
    words.push(unexpanded_path(socket)?.into());
    for option in [
        "ControlMaster=no",
        "BatchMode=yes",
        "ProxyCommand=/bin/false",
        // The level that says when the connection stands.
        "LogLevel=DEBUG1",
    ] {
        words.extend(["-o", option].map(OsString::from));
    }
    words.push("-W".into());
    let brackets = if host.contains(':') { ("[", "]") } else { ("", "") };
    words.push(format!("{}{host}{}:{port}", brackets.0, brackets.1).into());
    words.extend(["--", "master"].map(OsString::from));
    Ok(words)
}

/// Returns a path so written that ssh takes it literally. There is no way to write a quote or `${`.
fn unexpanded_path(path: &Path) -> Result<String, LinkError> {
    let bad = || LinkError::BadTarget { what: "The path", value: path.display().to_string() };
    let text = path.to_str().ok_or_else(bad)?;
    if text.contains("${") || text.contains(['"', '\\', '\n', '\0']) || text.starts_with('~') {
        return Err(bad());
    }
    Ok(text.replace('%', "%%"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_taken_literally_or_not_at_all() {
        assert_eq!(unexpanded_path(Path::new("/a b/%h")).unwrap(), "/a b/%%h");
        for path in ["/a\"b", "/${HOME}", "~/x", "/a\nb", "/a\\b"] {
            assert!(unexpanded_path(Path::new(path)).is_err(), "{path}");
        }
    }
}
