//! The way to the firewall: was there a login, with what, was the host key checked, what is kept.

use crate::domain::reachability::finding::Finding;
use crate::domain::reachability::path::Known;

const CHECKS: [&str; 5] = ["ssh-login", "ssh-key", "ssh-host-key", "ssh-reuse", "sudo"];

/// How we logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// Whom and where: `admin@10.0.20.1`.
    pub target: String,
    /// Through the system's ssh, and not the built-in client.
    pub system_ssh: bool,
    /// The configured key file, and its type where the public half tells it.
    pub identity: Option<(String, Option<String>)>,
    /// An agent is there to ask.
    pub agent: bool,
    /// The host key that was verified: algorithm and fingerprint.
    pub host_key: String,
    /// It is also pinned in the configuration.
    pub pinned: bool,
    /// How long the connection is kept for the next command, in seconds; 0 is not at all.
    pub kept_seconds: u64,
    /// It was kept by an earlier command.
    pub reused: bool,
    /// Commands run through sudo.
    pub sudo: bool,
}

/// Judges the way to the firewall.
pub fn login_findings(login: &Known<Login>) -> Vec<Finding> {
    let login = match login {
        Ok(login) => login,
        Err(trouble) => {
            let fix = trouble
                .fix
                .clone()
                .unwrap_or_else(|| "Try it with plain ssh.".to_owned());
            let mut findings = vec![Finding::wrong(
                "ssh-login",
                format!("No login: {}.", trouble.why),
                fix,
            )];
            let rest = CHECKS.into_iter().skip(1);
            findings.extend(
                rest.map(|check| Finding::unknown(check, "Unknown, as there is no login.")),
            );
            return findings;
        }
    };
    vec![
        login_finding(login),
        key_finding(login),
        host_key(login),
        reuse_finding(login),
        sudo_finding(login),
    ]
}

fn login_finding(login: &Login) -> Finding {
    let client = if login.system_ssh {
        "the system's ssh"
    } else {
        "the built-in SSH client"
    };
    Finding::ok(
        "ssh-login",
        format!(
            "{} lets us in through {client}, and runs our shell.",
            login.target
        ),
    )
}

fn key_finding(login: &Login) -> Finding {
    let of_kind = |kind: &Option<String>| {
        kind.as_ref()
            .map(|kind| format!(" ({kind})"))
            .unwrap_or_default()
    };
    match (&login.identity, login.agent) {
        (Some((path, kind)), _) => Finding::ok("ssh-key", format!("The key is {path}{}.", of_kind(kind))),
        (None, true) => Finding::ok("ssh-key", "No key is named: ssh offers those of the agent one after another.")
            .fix("Name one in firewall.identity: sshd ends a login after 6 offers, and sshguard counts them."),
        (None, false) => Finding::ok("ssh-key", "No key is named: ssh takes the usual files."),
    }
}

fn host_key(login: &Login) -> Finding {
    let pinned = if login.pinned { " and as pinned" } else { "" };
    Finding::ok(
        "ssh-host-key",
        format!("{}, as in known_hosts{pinned}.", login.host_key),
    )
}

fn reuse_finding(login: &Login) -> Finding {
    if !login.system_ssh {
        return Finding::skipped(
            "ssh-reuse",
            "The built-in client logs in anew for each command.",
        );
    }
    let from = if login.reused {
        "was kept by an earlier command"
    } else {
        "is new"
    };
    match login.kept_seconds {
        0 => Finding::ok(
            "ssh-reuse",
            "Connections are not kept: each command logs in.",
        )
        .fix("Set firewall.control_persist to 10m: sshguard counts logins."),
        seconds => Finding::ok(
            "ssh-reuse",
            format!("The connection {from}, and is kept for {seconds} s."),
        ),
    }
}

fn sudo_finding(login: &Login) -> Finding {
    if login.sudo {
        return Finding::ok(
            "sudo",
            "Commands run as root through sudo, without a password.",
        );
    }
    Finding::skipped("sudo", "Not used: the account is expected to be root.")
}
