//! Which key a link authenticates with: files, passphrases, the agent; and that RSA is the system's `ssh`'s matter.

use std::cell::RefCell;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kmsctl::error::{Failure, FailureKind};
use kmsctl::settings::target::{Target, Transport};
use kmsctl::ssh::error::LinkError;
use kmsctl::ssh::target::{Link, Secret};

use super::link::{ask, bed, connect, run, sh};
use crate::support::sshd::{Login, PASSPHRASE, key, public};

/// An agent of our own; ends when dropped.
struct Agent {
    process: Child,
    socket: PathBuf,
}

impl Agent {
    fn start(directory: &Path, keys: &[&Path]) -> Self {
        let socket = directory.join("agent");
        let process = Command::new("ssh-agent")
            .args(["-D", "-a"])
            .arg(&socket)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let agent = Self { process, socket };
        let start = Instant::now();
        while std::os::unix::net::UnixStream::connect(&agent.socket).is_err() {
            assert!(start.elapsed() < Duration::from_secs(30));
            std::thread::sleep(Duration::from_millis(5));
        }
        for key in keys {
            let added = Command::new("ssh-add")
                .arg("-q")
                .arg(key)
                .env("SSH_AUTH_SOCK", &agent.socket)
                .output()
                .unwrap();
            assert!(added.status.success(), "{added:?}");
        }
        agent
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn works(target: &Target) {
    assert_eq!(ask(target, [sh("echo ok")]).await.unwrap()[0].stdout, b"ok\n");
}

async fn fails(target: &Target) -> LinkError {
    connect(target).await.err().expect("it must not connect")
}

#[test]
fn the_agent_serves_the_key_that_the_identity_names() {
    for transport in [Transport::OpenSsh, Transport::Russh] {
        let Some(mut bed) = bed(transport, Login::Sh) else {
            return;
        };
        // The first key of the agent is not the one that is let in.
        let keys = [bed.sshd.other_client_key.as_path(), bed.sshd.client_key.as_path()];
        let agent = Agent::start(bed.directory.path(), &keys);
        bed.target.agent_socket = Some(agent.socket.clone());
        // Only the public half is here.
        let identity = bed.directory.path().join("fw.pub");
        fs::copy(public(&bed.sshd.client_key), &identity).unwrap();
        bed.target.identity = Some(identity);
        run(async {
            works(&bed.target).await;
            assert_eq!(
                bed.sshd.log().lines().filter(|line| line.starts_with("Failed ")).count(),
                0
            );
            bed.target.agent_socket = None;
            let error = fails(&bed.target).await;
            assert_eq!(error.kind(), FailureKind::Unreachable, "{error:?}");
        });
    }
}

#[test]
fn without_an_identity_the_default_file_comes_before_the_agent() {
    let Some(mut bed) = bed(Transport::Russh, Login::Sh) else {
        return;
    };
    bed.target.identity = None;
    run(async {
        let error = fails(&bed.target).await;
        assert!(matches!(error, LinkError::NoKey { .. }), "{error:?}");
        assert!(!Failure::from(error).hints.is_empty());
        let agent = Agent::start(bed.directory.path(), &[&key("client_rsa"), &bed.sshd.client_key]);
        bed.target.agent_socket = Some(agent.socket.clone());
        works(&bed.target).await;
        let default = bed.target.home.as_ref().unwrap().join(".ssh/id_ed25519");
        fs::copy(&bed.sshd.other_client_key, &default).unwrap();
        let error = fails(&bed.target).await;
        assert!(matches!(error, LinkError::AuthenticationRefused { .. }), "{error:?}");
        fs::remove_file(&default).unwrap();
        fs::copy(&bed.sshd.client_key, default.with_file_name("id_ecdsa")).unwrap();
        bed.target.agent_socket = Some("/nonexistent/agent".into());
        works(&bed.target).await;
    });
}

#[test]
fn ecdsa_keys_are_used() {
    for transport in [Transport::OpenSsh, Transport::Russh] {
        let Some(mut bed) = bed(transport, Login::Sh) else {
            return;
        };
        let ecdsa = key("client_ecdsa");
        bed.sshd.authorize(&ecdsa);
        bed.target.identity = Some(ecdsa);
        run(works(&bed.target));
    }
}

#[test]
fn rsa_is_refused_with_what_to_use_instead() {
    let Some(mut bed) = bed(Transport::Russh, Login::Sh) else {
        return;
    };
    let rsa = key("client_rsa");
    run(async {
        bed.target.identity = Some(rsa.clone());
        let failure = Failure::from(fails(&bed.target).await);
        assert_eq!(failure.kind, FailureKind::Unreachable);
        assert_eq!(
            failure.message,
            format!("{} is an RSA key, which the built-in SSH client does not use.", rsa.display())
        );
        assert!(failure.hints[0].contains("openssh") && failure.hints[0].contains("Ed25519"));
        // The form of old OpenSSH versions.
        let old = bed.directory.path().join("old");
        fs::write(&old, "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n")
            .unwrap();
        bed.target.identity = Some(old);
        assert!(matches!(fails(&bed.target).await, LinkError::RsaKey { .. }));
        // The agent's only key.
        let agent = Agent::start(bed.directory.path(), &[&rsa]);
        bed.target.identity = None;
        bed.target.agent_socket = Some(agent.socket.clone());
        assert!(matches!(fails(&bed.target).await, LinkError::RsaKey { .. }));
        bed.target.agent_socket = None;
        fs::copy(&rsa, bed.target.home.as_ref().unwrap().join(".ssh/id_rsa")).unwrap();
        assert!(matches!(fails(&bed.target).await, LinkError::RsaKey { .. }));
        assert_eq!(bed.sshd.connections(), 0, "known before anything is sent");
        // The system's ssh does RSA.
        bed.sshd.authorize(&rsa);
        bed.target.identity = Some(rsa.clone());
        bed.target.transport = Transport::OpenSsh;
        works(&bed.target).await;
    });
}

#[test]
fn a_host_known_by_its_rsa_key_only_is_told_so() {
    let Some(mut bed) = bed(Transport::Russh, Login::Sh) else {
        return;
    };
    let known_hosts = bed.directory.path().join("known_hosts");
    let all = fs::read_to_string(&bed.sshd.known_hosts).unwrap();
    let rsa = all.lines().find(|line| line.contains("ssh-rsa")).unwrap();
    fs::write(&known_hosts, format!("{rsa}\n")).unwrap();
    bed.target.known_hosts = Some(known_hosts);
    run(async {
        assert!(matches!(fails(&bed.target).await, LinkError::RsaHostKey { .. }));
        bed.target.transport = Transport::OpenSsh;
        works(&bed.target).await;
    });
}

#[test]
fn a_passphrase_is_asked_once_and_only_where_it_is_needed() {
    let Some(mut bed) = bed(Transport::Russh, Login::Sh) else {
        return;
    };
    let encrypted = key("client_encrypted");
    bed.sshd.authorize(&encrypted);
    bed.target.identity = Some(encrypted.clone());
    run(async {
        let prompts = RefCell::new(Vec::new());
        let answer = |text: Option<&str>| {
            let text = text.map(ToOwned::to_owned);
            let prompts = &prompts;
            move |prompt: &str| {
                prompts.borrow_mut().push(prompt.to_owned());
                text.clone().map(Secret::new)
            }
        };
        let link = Link::connect(&bed.target, &answer(Some(PASSPHRASE))).await.unwrap();
        link.close().await;
        assert_eq!(*prompts.borrow(), [format!("Passphrase for {}", encrypted.display())]);
        for text in [Some("wrong"), None] {
            let error = Link::connect(&bed.target, &answer(text)).await.err().unwrap();
            assert!(matches!(error, LinkError::BadKey { .. }), "{error:?}");
        }
        assert_eq!((prompts.borrow().len(), bed.sshd.connections()), (3, 1));
        assert_eq!(format!("{:?}", Secret::new("x".to_owned())), "Secret(…)");
    });
}

#[test]
fn without_a_configured_file_the_known_hosts_of_the_home_counts() {
    let Some(mut bed) = bed(Transport::Russh, Login::Sh) else {
        return;
    };
    let home = bed.target.home.clone().unwrap().join(".ssh/known_hosts");
    let configured = bed.target.known_hosts.take().unwrap();
    run(async {
        let error = fails(&bed.target).await;
        assert!(error.to_string().contains(&home.display().to_string()), "{error}");
        fs::copy(configured, home).unwrap();
        works(&bed.target).await;
    });
}

#[test]
fn rubbish_is_no_key() {
    let Some(mut bed) = bed(Transport::Russh, Login::Sh) else {
        return;
    };
    let file = bed.directory.path().join("key");
    run(async {
        for text in [
            "",
            "rubbish",
            "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n",
        ] {
            fs::write(&file, text).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
            bed.target.identity = Some(file.clone());
            assert!(matches!(fails(&bed.target).await, LinkError::BadKey { .. }), "{text:?}");
        }
    });
}

#[test]
fn an_agent_of_many_keys_is_one_attempt() {
    for transport in [Transport::OpenSsh, Transport::Russh] {
        let Some(mut bed) = bed(transport, Login::Sh) else {
            return;
        };
        bed.target.identity = None;
        let others: Vec<PathBuf> = (0..7).map(|number| key(&format!("many_{number}"))).collect();
        let mut keys: Vec<&Path> = vec![&bed.sshd.client_key];
        keys.extend(others.iter().map(PathBuf::as_path));
        let agent = Agent::start(bed.directory.path(), &keys);
        bed.target.agent_socket = Some(agent.socket.clone());
        run(async {
            let link = connect(&bed.target).await.unwrap();
            let noticed = link.notice().is_some_and(|notice| notice.contains("8 keys"));
            assert!(noticed, "{transport:?}");
            link.close().await;
        });
        drop(agent);
        fs::remove_file(bed.target.agent_socket.as_ref().unwrap()).unwrap();
        let agent = Agent::start(bed.directory.path(), &keys[1..]);
        run(async {
            let error = fails(&bed.target).await;
            assert!(matches!(error, LinkError::AuthenticationRefused { .. }), "{error:?}");
            let said = Failure::from(error).hints.join("\n");
            assert!(said.contains("only its first key (SHA256:"), "{transport:?}: {said}");
        });
        drop(agent);
        let attempts = bed.sshd.log();
        let attempts = attempts.lines().filter(|line| line.starts_with("Failed "));
        assert_eq!(attempts.count(), 1, "{}", bed.sshd.log());
    }
}

/// One that was stopped, or that waits for somebody at another terminal.
#[test]
fn an_agent_that_is_silent_holds_no_login_up() {
    for transport in [Transport::OpenSsh, Transport::Russh] {
        let Some(mut bed) = bed(transport, Login::Sh) else {
            return;
        };
        let socket = bed.directory.path().join("agent");
        let _silent = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        bed.target.agent_socket = Some(socket);
        let begun = Instant::now();
        run(async {
            works(&bed.target).await;
            bed.target.identity = None;
            fails(&bed.target).await;
        });
        assert!(begun.elapsed() < Duration::from_secs(20), "{transport:?}: {:?}", begun.elapsed());
    }
}

/// ssh adds up the files of its configuration, and the firewall counts each. Where the configuration cannot be said without
/// them (a value with a blank), what is said names them all.
#[test]
fn key_files_of_the_configuration_are_no_attempts() {
    let Some(mut bed) = bed(Transport::OpenSsh, Login::Sh) else {
        return;
    };
    let others: Vec<PathBuf> = (0..7).map(|number| key(&format!("many_{number}"))).collect();
    let keys: Vec<&Path> = others.iter().map(PathBuf::as_path).collect();
    let agent = Agent::start(bed.directory.path(), &keys);
    bed.target.agent_socket = Some(agent.socket.clone());
    let config = bed.target.ssh_config.clone().unwrap();
    let count = |log: &str| log.lines().filter(|line| line.starts_with("Failed ")).count();
    let let_in = bed.target.identity.take();
    for (identity, files, more, attempts, named) in [
        (None, 1, "", 1, 1),
        (None, 3, "", 1, 1),
        (None, 3, "SetEnv A=\"b c\"\n", 3, 3),
        (Some(&others[6]), 3, "", 1, 0),
        (Some(&others[6]), 3, "HostName 127.0.0.1\nCiphers aes256-ctr\n", 1, 0),
    ] {
        let lines =
            others.iter().take(files).map(|key| format!("IdentityFile {}\n", key.display()));
        fs::write(&config, lines.chain([more.to_owned()]).collect::<String>()).unwrap();
        bed.target.identity = identity.cloned();
        let earlier = count(&bed.sshd.log());
        let mut said = String::new();
        run(async { said = Failure::from(fails(&bed.target).await).hints.join("\n") });
        for (number, key) in others.iter().take(6).enumerate() {
            assert_eq!(said.contains(&*key.to_string_lossy()), number < named, "{more}{said}");
        }
        assert_eq!(count(&bed.sshd.log()) - earlier, attempts, "{identity:?} {files} {more}{said}");
    }
    // The agent holds keys that ssh would try first.
    bed.target.identity = let_in;
    let earlier = count(&bed.sshd.log());
    run(works(&bed.target));
    assert_eq!(count(&bed.sshd.log()), earlier);
    let left = fs::read_dir(&bed.target.runtime_directory).unwrap().count();
    assert_eq!(left, 0, "no file is left");
}

/// Password managers put their agent into ssh's own configuration, and the environment names another or none.
#[test]
fn an_agent_of_many_keys_that_ssh_is_configured_with_is_one_attempt() {
    let Some(mut bed) = bed(Transport::OpenSsh, Login::Sh) else {
        return;
    };
    bed.target.identity = None;
    bed.target.agent_socket = None;
    let others: Vec<PathBuf> = (0..7).map(|number| key(&format!("many_{number}"))).collect();
    let keys: Vec<&Path> = others.iter().map(PathBuf::as_path).collect();
    let agent = Agent::start(bed.directory.path(), &keys);
    let config = bed.target.ssh_config.clone().unwrap();
    let before = fs::read_to_string(&config).unwrap();
    let socket = agent.socket.display();
    let included = bed.directory.path().join("included");
    fs::write(&included, format!("identityagent={socket}\n")).unwrap();
    for (number, written) in [
        format!("Host *\n IdentityAgent {socket}\n"),
        format!("Match all\n\tidentityagent \"{socket}\"\n"),
        format!("Include {}\n", included.display()),
    ]
    .iter()
    .enumerate()
    {
        fs::write(&config, format!("{written}{before}")).unwrap();
        run(async {
            let error = fails(&bed.target).await;
            assert!(matches!(error, LinkError::AuthenticationRefused { .. }), "{error:?}");
        });
        let log = bed.sshd.log();
        let attempts = log.lines().filter(|line| line.starts_with("Failed "));
        assert_eq!(attempts.count(), number + 1, "{written}{log}");
    }
}
