//! Reads what the system's `ssh` wrote at `LogLevel DEBUG1` while it connected: the host key it was shown, and,
//! where it failed, why. The texts are those of OpenSSH 7 to 10 in the C locale (`sshconnect.c`, `readconf.c`,
//! `packet.c`); what is not recognised is handed on in ssh's own words.

use std::net::IpAddr;
use std::path::PathBuf;

use super::error::LinkError;
use super::known_hosts::{HostKey, recorded_in_line};

/// What the messages are about, as far as the log does not say it.
pub struct LogContext<'a> {
    /// The host as it was given.
    pub host: &'a str,
    /// Its port, if one was given.
    pub port: Option<u16>,
    /// The user, if one was given.
    pub user: Option<&'a str>,
    /// How long was waited for the connection.
    pub connect_seconds: u64,
    /// Where the host's key belongs.
    pub known_hosts: PathBuf,
    /// The command that logs in by hand.
    pub login: String,
}

const CERTIFICATE: &str = "debug1: Server host certificate: ";

/// Returns the host key that was shown, also where it came in a certificate; nothing where a server had words logged
/// before.
pub fn presented_host_key(log: &str) -> Option<HostKey> {
    let words = only(before_login(log).filter_map(|line| {
        line.strip_prefix("debug1: Server host key: ").or_else(|| line.strip_prefix(CERTIFICATE))
    }))?;
    let (algorithm, rest) = words.split_once(' ')?;
    let fingerprint = rest.split([',', ' ']).next()?;
    Some(HostKey {
        algorithm: algorithm.replace("-cert-v01@", "@").replace("@openssh.com", ""),
        fingerprint: fingerprint.to_owned(),
    })
}

/// How ssh found the key that was shown in known_hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// The name it looked for: `[host]:port` unless port 22.
    pub name: String,
    /// The file it found it in.
    pub file: PathBuf,
    /// The authority of the certificate that was accepted in the key's place.
    pub authority: Option<HostKey>,
}

/// Returns where ssh found the key, once it has accepted it.
pub fn recorded_key(log: &str) -> Option<Recorded> {
    // A certificate's name may hold newlines as well.
    let (name, kind) = only(before_login(log).filter_map(|line| {
        let rest = line.strip_prefix("debug1: Host '")?;
        rest.split_once("' is known and matches the ")
    }))?;
    let file = only(before_login(log).filter_map(|line| {
        let rest = line.strip_prefix("debug1: Found ")?;
        let (_, place) = rest.split_once("key in ")?;
        Some(PathBuf::from(place.rsplit_once(':')?.0))
    }))?;
    let vouched = kind.ends_with("host certificate.");
    Some(Recorded {
        name: name.to_owned(),
        file,
        authority: if vouched { Some(certificate_authority(log)?) } else { None },
    })
}

/// Reads `… ID "NAME" CA ALGORITHM FINGERPRINT valid …`. The name is the certificate's, so the last one counts; ssh cuts
/// a line at 1,024 bytes, so that a long name may have pushed that one out.
fn certificate_authority(log: &str) -> Option<HostKey> {
    const LONGEST: usize = 1_000;
    let words = before_login(log).find_map(|line| line.strip_prefix(CERTIFICATE))?;
    let (_, authority) = words.rsplit_once("\" CA ").filter(|_| words.len() < LONGEST)?;
    let mut words = authority.split(' ');
    Some(HostKey { algorithm: words.next()?.to_owned(), fingerprint: words.next()?.to_owned() })
}

/// Lines that the client alone has written: until keys are in use, or until the first words of the server. ssh logs those
/// with their newlines (`vis(3)` with `VIS_SAFE`), so that what follows them may be the server's too.
fn before_login(log: &str) -> impl Iterator<Item = &str> {
    log.lines().map(str::trim_end).take_while(|line| {
        ![NEWKEYS, REMOTE, DISCONNECT, NO_COMMON].iter().any(|start| line.starts_with(start))
    })
}

/// What ssh logs when keys are in use.
const NEWKEYS: &str = "debug1: SSH2_MSG_NEWKEYS ";
/// How ssh logs the words of an `SSH_MSG_DEBUG`, which may begin with a newline, and those of an `SSH_MSG_DISCONNECT`, after
/// which it ends.
const REMOTE: &str = "debug1: Remote:";
const DISCONNECT: &str = "Received disconnect from ";
/// How ssh begins to say which algorithms the server offered, in the server's words, after which it ends.
const NO_COMMON: &str = "Unable to negotiate with ";

/// Returns the one item there is: where it comes twice, a server has written one of them.
fn only<T>(mut items: impl Iterator<Item = T>) -> Option<T> {
    items.next().filter(|_| items.next().is_none())
}

/// Returns the address that ssh connected to itself; behind a jump host or proxy it says none, and the server's words, a
/// certificate's name among them, must not.
pub fn connected_peer(log: &str) -> Option<IpAddr> {
    let words = before_login(log)
        .take_while(|line| !line.starts_with(CERTIFICATE))
        .find_map(|line| line.strip_prefix("debug1: Connecting to "))?;
    let (_, rest) = words.split_once(" [")?;
    rest.split_once(']')?.0.parse().ok()
}

/// Returns the words of the last refusal of a channel: `connect failed: Connection refused`.
pub fn last_refusal(log: &str) -> Option<String> {
    let line = log.lines().rfind(|line| line.contains(": open failed: "))?;
    let (start, words) = line.split_once(": open failed: ")?;
    start.starts_with("channel ").then(|| words.trim().to_owned())
}

/// Says why ssh gave up. `log` is its own log, `talk` what else it and its jump hosts wrote to stderr.
pub fn explain_ssh_failure(log: &str, talk: &str, context: &LogContext<'_>) -> LinkError {
    host_key_trouble(log, context)
        .or_else(|| connection_trouble(log, context))
        .or_else(|| connection_trouble(talk, context))
        .unwrap_or_else(|| {
            let said = last_words(log).or_else(|| last_words(talk));
            LinkError::SshFailed { said: said.unwrap_or_else(|| "it said nothing".to_owned()) }
        })
}

/// How ssh begins to say that a certificate does not count: `sshkey_cert_check_authority` of OpenSSH.
const WRONG_CERTIFICATE: [&str; 4] = [
    "Certificate invalid: ",
    "Certificate lacks principal list",
    "Certificate signed with disallowed algorithm",
    "Certificate contains unsupported critical options",
];

fn host_key_trouble(log: &str, context: &LogContext<'_>) -> Option<LinkError> {
    let presented = presented_host_key(log)?;
    // A server can write into debugging lines, and after the key exchange everywhere.
    let lines = || before_login(log).map(str::trim).filter(|line| !is_debug(line));
    if lines().any(|line| line.contains("REVOKED HOST KEY DETECTED")) {
        return Some(LinkError::HostKeyRevoked {
            host: context.host.to_owned(),
            presented,
            known_hosts: context.known_hosts.clone(),
        });
    }
    if let Some(offending) = lines().find(|line| line.starts_with("Offending ")) {
        let (_, place) = offending.split_once(" key in ")?;
        let (path, line) = place.rsplit_once(':')?;
        let (path, line) = (PathBuf::from(path), line.parse().ok()?);
        let host = lines()
            .find_map(|line| line.strip_prefix("Host key for ")?.split_once(" has changed"))
            .map_or(context.host, |(name, _)| name)
            .to_owned();
        let recorded = recorded_in_line(&path, line).map(Box::new);
        return Some(LinkError::HostKeyChanged {
            host,
            presented,
            recorded,
            known_hosts: path,
            line,
        });
    }
    let host = context.host.to_owned();
    // A certificate that does not count ends it; one of an authority that is not trusted leaves its plain key to be judged.
    let reason = lines().find(|line| WRONG_CERTIFICATE.iter().any(|start| line.starts_with(start)));
    if let Some(reason) = reason {
        let reason = format!("ssh says \"{}\"", reason.trim_end_matches('.'));
        return Some(LinkError::CertificateRefused { host, presented, reason });
    }
    let unknown = lines().find_map(|line| {
        let (_, rest) = line.strip_prefix("No ")?.split_once(" host key is known for ")?;
        Some(rest.split_once(" and you").map_or(rest, |(name, _)| name).to_owned())
    });
    let unknown = unknown.or_else(|| {
        lines().any(|line| line.starts_with("Host key verification failed")).then_some(host)
    });
    let host = unknown?;
    if let Some(authority) = certificate_authority(log) {
        let reason = format!("known_hosts does not trust its authority {authority} for this host");
        return Some(LinkError::CertificateRefused { reason, host, presented });
    }
    let (known_hosts, login) = (context.known_hosts.clone(), context.login.clone());
    Some(LinkError::HostKeyUnknown { host, presented, known_hosts, login })
}

/// Before the login ssh's first words say most; after it its last ones are its own, as a server's banner comes earlier.
fn connection_trouble(log: &str, context: &LogContext<'_>) -> Option<LinkError> {
    let mut found = plain_lines(log).filter_map(|line| recognise_line(line, log, context));
    if logs_in(log) { found.last() } else { found.next() }
}

fn logs_in(log: &str) -> bool {
    log.lines().any(|line| line.starts_with(NEWKEYS))
}

fn recognise_line(line: &str, log: &str, context: &LogContext<'_>) -> Option<LinkError> {
    let host = context.host.to_owned();
    let closed = |reason: &str| {
        let stage = if logs_in(log) { "authentication" } else { "the handshake" };
        LinkError::Closed { host: context.host.to_owned(), stage, reason: reason.to_owned() }
    };
    // `Received disconnect from ADDRESS port PORT:CODE: WORDS`: the words are the server's, and none of ssh's own.
    if let Some(rest) = line.strip_prefix(DISCONNECT)
        && !rest.ends_with(": Too many authentication failures")
    {
        let code = rest.split_once(" port ").map_or(rest, |(_, code)| code);
        let words = code.splitn(3, ':').nth(2).unwrap_or(rest);
        return Some(closed(words.trim()));
    }
    if let Some((_, rest)) = line.split_once("Could not resolve hostname ") {
        let (name, reason) = rest.split_once(": ").unwrap_or((rest, "not found"));
        return Some(LinkError::NameUnknown { host: name.to_owned(), reason: reason.to_owned() });
    }
    if line.contains("Permission denied (") || line.contains("Too many authentication failures") {
        let reason = line.rsplit_once(": ").map_or(line, |(_, reason)| reason);
        let user = context.user.map_or_else(|| user_in(line), ToOwned::to_owned);
        let reason = reason.trim_end_matches('.').to_owned();
        return Some(LinkError::AuthenticationRefused { host, user, reason, notice: None });
    }
    if let Some((_, rest)) = line.split_once(NO_COMMON) {
        let (_, rest) = rest.split_once("no matching ").unwrap_or_default();
        let (what, offered) = rest.split_once(" found. Their offer: ").unwrap_or((rest, "none"));
        let (what, offered) = (what.replace(" method", ""), offered.to_owned());
        return Some(LinkError::NoCommonAlgorithm { host, what, offered });
    }
    if line.contains("timed out") {
        let seconds = context.connect_seconds;
        return Some(LinkError::TimedOut { host, seconds });
    }
    if let Some((_, rest)) = line.split_once("connect to host ") {
        return Some(not_connected(rest, host, context));
    }
    let hung_up = [
        "kex_exchange_identification: ",
        "Connection closed by ",
        "Connection reset by ",
        "ssh_dispatch_run_fatal: ",
    ];
    let hung_up = hung_up.iter().any(|start| line.starts_with(start));
    hung_up.then(|| closed(line))
}

/// Reads `HOST port PORT: REASON`.
fn not_connected(rest: &str, host: String, context: &LogContext<'_>) -> LinkError {
    let (place, reason) = rest.split_once(": ").unwrap_or((rest, rest));
    if !reason.contains("Connection refused") {
        let reason = reason.to_owned();
        return LinkError::Unreachable { host, reason };
    }
    let said = place.rsplit_once(" port ").map(|(_, port)| port.to_owned());
    let port = said.or_else(|| context.port.map(|port| port.to_string()));
    LinkError::Refused { host, port: port.unwrap_or_else(|| "22".to_owned()) }
}

/// Returns the user of `user@host: Permission denied (…)`.
fn user_in(line: &str) -> String {
    line.split_once('@').map_or("the user", |(user, _)| user).to_owned()
}

/// Lines without debugging talk, up to the one with which the server ends the connection: its further words are none of
/// ssh's.
fn plain_lines(log: &str) -> impl Iterator<Item = &str> {
    let mut ended = false;
    log.lines()
        .map(str::trim)
        .take_while(move |line| {
            let goes_on = !ended;
            ended |= [DISCONNECT, NO_COMMON].iter().any(|start| line.starts_with(start));
            goes_on
        })
        .filter(|line| !is_debug(line) && !line.is_empty())
}

fn is_debug(line: &str) -> bool {
    line.starts_with("debug")
}

fn last_words(log: &str) -> Option<String> {
    let last = plain_lines(log).last()?.trim_end_matches('.');
    Some(last.chars().take(300).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn context() -> LogContext<'static> {
        LogContext {
            host: "fw",
            port: Some(2222),
            user: None,
            connect_seconds: 10,
            known_hosts: PathBuf::from("/home/op/.ssh/known_hosts"),
            login: "ssh -p 2222 fw true".to_owned(),
        }
    }

    fn explained(log: &str) -> String {
        explain_ssh_failure(log, "", &context()).to_string()
    }

    #[test]
    fn connection_matters() {
        for (log, expected) in [
            (
                "ssh: Could not resolve hostname fw.invalid: Name or service not known\r\n",
                "The name fw.invalid cannot be resolved: Name or service not known.",
            ),
            (
                "debug1: Connecting\nssh: connect to host 127.0.0.1 port 9: Connection refused\r\n",
                "fw refuses connections on port 9.",
            ),
            (
                "ssh: connect to host 192.0.2.1 port 22: No route to host\r\n",
                "fw cannot be reached: No route to host.",
            ),
            (
                "ssh: connect to host 192.0.2.1 port 22: Connection timed out\r\n",
                "fw did not answer within 10s.",
            ),
            (
                "Connection timed out during banner exchange\r\nConnection to 127.0.0.1 port 9 timed out\r\n",
                "fw did not answer within 10s.",
            ),
            (
                "root@127.0.0.1: Permission denied (publickey,password).\r\n",
                "fw refused root: Permission denied (publickey,password).",
            ),
            (
                "Unable to negotiate with 127.0.0.1 port 9: no matching key exchange method found. Their offer: a,b\r\n",
                "fw and this client share no key exchange algorithm; it offers a,b.",
            ),
            (
                "kex_exchange_identification: Connection closed by remote host\r\nConnection closed by 127.0.0.1 port 9\r\n",
                "fw closed the connection during the handshake: kex_exchange_identification: Connection closed by remote host.",
            ),
            (
                "Received disconnect from 127.0.0.1 port 9:11: Locked out: the login timed out\r\nDisconnected from 127.0.0.1 port 9\r\n",
                "fw closed the connection during the handshake: Locked out: the login timed out.",
            ),
            (
                "Received disconnect from ::1 port 9:2: ssh: connect to host evil port 1: no\r\nDisconnected from ::1 port 9\r\n",
                "fw closed the connection during the handshake: ssh: connect to host evil port 1: no.",
            ),
            (
                "Received disconnect from 127.0.0.1 port 9:2: Too many authentication failures\r\nDisconnected from 127.0.0.1 port 9\r\n",
                "fw refused the user: Too many authentication failures.",
            ),
            (
                "/root/.ssh/config: line 1: Bad configuration option: foo\r\n/root/.ssh/config: terminating, 1 bad configuration options\r\n",
                "The local ssh program failed: /root/.ssh/config: terminating, 1 bad configuration options.",
            ),
            ("", "The local ssh program failed: it said nothing."),
        ] {
            assert_eq!(explained(log), expected);
        }
    }

    #[test]
    fn the_address_connected_to_and_the_last_refusal() {
        let log = "debug1: Connecting to vps [2001:db8::5] port 22.\r\nchannel 1: open failed: connect failed: Connection refused\r\nchannel 2: open failed: connect failed: No route to host\r\n";
        assert_eq!(connected_peer(log), "2001:db8::5".parse().ok());
        for (start, is_own) in [
            ("debug1: Found key in ", true),
            (REMOTE, false),
            (CERTIFICATE, false),
            (NO_COMMON, false),
        ] {
            let log = format!("{start}x\r\n{log}");
            assert_eq!(connected_peer(&log).is_some(), is_own, "{log}");
        }
        assert_eq!(last_refusal(log).as_deref(), Some("connect failed: No route to host"));
        assert_eq!(last_refusal("x channel 2: open failed: forged"), None);
    }

    #[test]
    fn a_jump_host_speaks_through_stderr() {
        let talk = "jump: Permission denied (publickey).\r\n";
        assert!(explain_ssh_failure("kex", talk, &context()).to_string().contains("refused"));
    }

    const SHOWN: &str = "debug1: Server host key: ssh-ed25519 SHA256:abc\r\n";

    #[test]
    fn an_unknown_host_key() {
        let log = format!(
            "{SHOWN}No ED25519 host key is known for [127.0.0.1]:2222 and you have requested strict checking.\r\nHost key verification failed.\r\n"
        );
        assert_eq!(
            explained(&log),
            "The host key of [127.0.0.1]:2222 is not known: it presents ssh-ed25519 SHA256:abc, and /home/op/.ssh/known_hosts has no entry for it."
        );
    }

    #[test]
    fn a_changed_host_key_tells_both_fingerprints() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "# one\n[h]:2 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ").unwrap();
        let path = file.path().display();
        let log = format!(
            "{SHOWN}@@@@\r\nOffending ED25519 key in {path}:2\r\nHost key for [h]:2 has changed and you have requested strict checking.\r\nHost key verification failed.\r\n"
        );
        let LinkError::HostKeyChanged { host, presented, recorded: Some(recorded), line, .. } =
            explain_ssh_failure(&log, "", &context())
        else {
            panic!("not changed");
        };
        assert_eq!((host.as_str(), line), ("[h]:2", 2));
        assert_eq!(presented.fingerprint, "SHA256:abc");
        assert!(recorded.fingerprint.starts_with("SHA256:"));
    }

    #[test]
    fn a_server_cannot_plant_host_key_trouble() {
        const REFUSED: &str = "op@fw: Permission denied (publickey).\r\n";
        for planted in [
            "debug1: Remote protocol version 2.0, remote software version REVOKED HOST KEY DETECTED\r\n",
            "debug1: kex_exchange_identification: banner line 0: Host key verification failed\r\n",
            "debug1: SSH2_MSG_NEWKEYS received\r\nREVOKED HOST KEY DETECTED\r\n",
            "debug1: SSH2_MSG_NEWKEYS received\r\nOffending ED25519 key in /etc/passwd:1\r\n",
            "debug1: SSH2_MSG_NEWKEYS received\r\nNo ED25519 host key is known for fw\r\n",
            "debug1: SSH2_MSG_NEWKEYS received\r\nHost key verification failed.\r\n",
            "debug1: SSH2_MSG_NEWKEYS received\r\nssh: Could not resolve hostname fw: no\r\n",
        ] {
            let log = format!("{SHOWN}{planted}{REFUSED}");
            assert_eq!(
                explained(&log),
                "fw refused op: Permission denied (publickey).",
                "{planted}"
            );
        }
        let revoked = format!("{SHOWN}@ WARNING: REVOKED HOST KEY DETECTED! @\r\n");
        assert!(explained(&revoked).contains("is revoked"));
    }

    /// What a server has logged before the keys are in use comes with its newlines.
    #[test]
    fn a_server_cannot_plant_its_identity() {
        let forged = "debug1: Server host key: ssh-ed25519 SHA256:pinned\r\ndebug1: Host 'other' is known and matches the ED25519-CERT host certificate.\r\ndebug1: Found CA key in /k/other:1\r\n";
        let genuine = "debug1: Server host key: ssh-ed25519 SHA256:abc\r\ndebug1: Host 'fw' is known and matches the ED25519 host key.\r\ndebug1: Found key in /k/known:1\r\ndebug1: SSH2_MSG_NEWKEYS sent\r\n";
        let presented = presented_host_key(genuine).unwrap();
        assert_eq!(presented.fingerprint, "SHA256:abc");
        assert_eq!(recorded_key(genuine).unwrap().name, "fw");
        for log in [
            format!("debug1: Remote: hi\r\n{forged}{genuine}"),
            format!("debug1: Remote: \r\n{forged}"),
            format!("debug1: Remote: hi\r\ndebug1: SSH2_MSG_NEWKEYS sent\r\n{forged}{genuine}"),
            format!("{forged}{genuine}"),
            format!("Received disconnect from 127.0.0.1 port 22:2: x\r\n{forged}"),
            format!(
                "Unable to negotiate with 127.0.0.1 port 22: no matching cipher found. Their offer: x\r\n{forged}"
            ),
        ] {
            assert_eq!(presented_host_key(&log), None, "{log}");
            assert_eq!(recorded_key(&log), None, "{log}");
        }
        // Where it comes too late to matter, it changes nothing.
        for log in [
            format!("{genuine}debug1: Remote: hi\r\n{forged}"),
            format!("{genuine}Authenticated to fw\r\ndebug1: Remote: hi\r\n{forged}"),
        ] {
            assert_eq!(presented_host_key(&log).as_ref(), Some(&presented), "{log}");
            assert_eq!(recorded_key(&log).unwrap().name, "fw", "{log}");
        }
        let named = "debug1: Server host certificate: ssh-ed25519-cert-v01@openssh.com SHA256:abc, serial 0 ID \"x\r\ndebug1: Host 'other' is known and matches the ED25519-CERT host certificate.\r\ndebug1: Found CA key in /k/other:1\r\n\" CA ssh-ed25519 SHA256:ca valid forever\r\ndebug1: Host 'fw' is known and matches the ED25519-CERT host certificate.\r\ndebug1: Found CA key in /k/known:1\r\n";
        assert_eq!(recorded_key(named), None);
        for planted in [
            "Received disconnect from 127.0.0.1 port 22:2: bye\r\ndebug1: Server host key: ssh-ed25519 SHA256:x\r\nREVOKED HOST KEY DETECTED\r\n",
            "debug1: Remote: hi\r\ndebug1: Server host key: ssh-ed25519 SHA256:x\r\nREVOKED HOST KEY DETECTED\r\nReceived disconnect from 127.0.0.1 port 22:2: bye\r\n",
            "Received disconnect from 127.0.0.1 port 22:2: bye\r\nop@fw: Permission denied (publickey).\r\n",
        ] {
            let error = explain_ssh_failure(planted, "", &context());
            assert!(matches!(error, LinkError::Closed { .. }), "{planted}: {error:?}");
        }
    }

    #[test]
    fn a_host_certificate_shows_key_and_authority() {
        let log = "debug1: Server host certificate: ssh-ed25519-cert-v01@openssh.com SHA256:abc, serial 0 ID \"x\" CA ssh-rsa SHA256:forged\" CA ssh-ed25519 SHA256:ca valid forever\r\ndebug1: Host '[127.0.0.1]:2222' is known and matches the ED25519-CERT host certificate.\r\ndebug1: Found CA key in /k/known:hosts:1\r\ndebug1: SSH2_MSG_NEWKEYS sent\r\n";
        let key = |algorithm: &str, fingerprint: &str| HostKey {
            algorithm: algorithm.to_owned(),
            fingerprint: fingerprint.to_owned(),
        };
        assert_eq!(presented_host_key(log), Some(key("ssh-ed25519", "SHA256:abc")));
        assert_eq!(
            recorded_key(log),
            Some(Recorded {
                name: "[127.0.0.1]:2222".to_owned(),
                file: PathBuf::from("/k/known:hosts"),
                authority: Some(key("ssh-ed25519", "SHA256:ca")),
            })
        );
        let plain = "debug1: Server host key: ssh-ed25519 SHA256:abc\r\ndebug1: Host 'fw' is known and matches the ED25519 host key.\r\ndebug1: Found key in /k:3\r\n";
        assert_eq!(recorded_key(plain).unwrap().authority, None);
        assert_eq!(recorded_key(SHOWN), None);
    }

    #[test]
    fn a_key_that_is_shown_once_at_the_start_of_a_line_counts() {
        let log = format!("debug1: Local version string\r\n{SHOWN}");
        assert_eq!(presented_host_key(&log).unwrap().fingerprint, "SHA256:abc");
        let twice = format!("{log}debug1: Server host key: ssh-rsa SHA256:forged\r\n");
        assert_eq!(presented_host_key(&twice), None);
        assert_eq!(presented_host_key("x debug1: Server host key: ssh-rsa SHA256:forged"), None);
    }
}
