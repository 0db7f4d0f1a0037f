//! What both links refuse, and what refuses them: host keys, keys, and the ways a connection cannot come about.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use kmsctl::error::FailureKind;
use kmsctl::settings::target::{Target, Transport};
use kmsctl::ssh::error::LinkError;

use super::link::{ask, bed, bed_with, both, connect, refusal, sh, told};
use crate::support::processes;
use crate::support::sshd::{self, Login, Options};

both!(
    unknown_host_key,
    changed_host_key,
    pinned_host_key,
    refused_key,
    words_of_a_disconnect,
    a_banner_that_plants_words,
    password_wanted_too,
    nothing_listens,
    no_such_name,
    never_answers,
    a_greeting_without_end,
    hangs_up_at_once,
    dropped_while_connecting,
    bad_words_on_the_command_line,
);

#[tokio::test]
async fn an_unknown_key_names_the_file_ssh_reads() {
    let Some(mut bed) = bed(Transport::OpenSsh, Login::Sh) else {
        return;
    };
    let (file, config) =
        (bed.directory.path().join("hosts here"), bed.directory.path().join("config"));
    for (words, named) in [
        (
            format!("UserKnownHostsFile {}\n", file.display()).replace(" here", "_here"),
            "hosts_here has no entry",
        ),
        // The home of the user database, whatever HOME says.
        (String::new(), ".ssh/known_hosts has no entry"),
    ] {
        std::fs::write(&config, words).unwrap();
        bed.target.known_hosts = None;
        bed.target.ssh_config = Some(config.clone());
        bed.target.home = Some("/nonexistent".into());
        let told = told(refusal(&bed.target).await, FailureKind::Unreachable);
        assert!(told.contains(named) && !told.contains("/nonexistent"), "{told}");
    }
}

async fn unknown_host_key(transport: Transport) {
    let Some(mut bed) = bed(transport, Login::Sh) else {
        return;
    };
    let known_hosts = bed.directory.path().join("known_hosts");
    bed.target.known_hosts = Some(known_hosts.clone());
    let port = bed.sshd.port;
    for text in ["", "other.example ssh-ed25519 AAAA\n"] {
        std::fs::write(&known_hosts, text).unwrap();
        assert_eq!(
            told(refusal(&bed.target).await, FailureKind::Unreachable),
            format!(
                "The host key of [127.0.0.1]:{port} is not known: it presents ssh-ed25519 {}, and {} has no entry for it.",
                bed.sshd.fingerprint,
                known_hosts.display()
            )
        );
        assert_eq!(std::fs::read_to_string(&known_hosts).unwrap(), text, "nothing is added");
    }
    assert_eq!(bed.sshd.logins(), 0);
}

async fn changed_host_key(transport: Transport) {
    let Some(mut bed) = bed(transport, Login::Sh) else {
        return;
    };
    let known_hosts = bed.directory.path().join("known_hosts");
    let other = sshd::key("changed_ed25519");
    let line = std::fs::read_to_string(sshd::public(&other)).unwrap();
    let port = bed.sshd.port;
    std::fs::write(&known_hosts, format!("# mine\n[127.0.0.1]:{port} {line}")).unwrap();
    bed.target.known_hosts = Some(known_hosts.clone());
    assert_eq!(
        told(refusal(&bed.target).await, FailureKind::Unreachable),
        format!(
            "The host key of [127.0.0.1]:{port} has changed: it presents ssh-ed25519 {}, but {}:2 says ssh-ed25519 {}.",
            bed.sshd.fingerprint,
            known_hosts.display(),
            sshd::fingerprint(&other)
        )
    );
    assert_eq!(bed.sshd.logins(), 0);
}

async fn pinned_host_key(transport: Transport) {
    let Some(mut bed) = bed(transport, Login::Sh) else {
        return;
    };
    bed.target.fingerprint = Some(bed.sshd.fingerprint.clone());
    assert_eq!(ask(&bed.target, [sh("echo ok")]).await.unwrap()[0].stdout, b"ok\n");
    let pinned = sshd::fingerprint(&sshd::key("changed_ed25519"));
    bed.target.fingerprint = Some(pinned.clone());
    let message = told(refusal(&bed.target).await, FailureKind::Unreachable);
    assert!(message.contains(&pinned) && message.contains(&bed.sshd.fingerprint), "{message}");
    assert_eq!(bed.sshd.sessions(), 1, "no command reaches a host with another key");
    let runtime = bed.target.runtime_directory.display().to_string();
    assert!(
        processes::remaining(&runtime, Duration::from_secs(3)).is_empty(),
        "the master is gone"
    );
}

async fn refused_key(transport: Transport) {
    let Some(mut bed) = bed(transport, Login::Sh) else {
        return;
    };
    bed.target.identity = Some(bed.sshd.other_client_key.clone());
    let error = refusal(&bed.target).await;
    assert!(matches!(error, LinkError::AuthenticationRefused { .. }), "{error:?}");
    let message = told(error, FailureKind::Unreachable);
    assert!(message.starts_with(&format!("127.0.0.1 refused {}: ", bed.sshd.user)), "{message}");
    assert!(message.contains("publickey"), "{message}");
    let attempts = bed.sshd.log().lines().filter(|line| line.starts_with("Failed ")).count();
    assert_eq!((bed.sshd.connections(), attempts), (1, 1), "one attempt:\n{}", bed.sshd.log());
}

async fn words_of_a_disconnect(transport: Transport) {
    let options = Options { more: "MaxAuthTries 1\n", ..Options::default() };
    let Some(mut bed) = bed_with(transport, options) else {
        return;
    };
    bed.target.identity = Some(bed.sshd.other_client_key.clone());
    let message = told(refusal(&bed.target).await, FailureKind::Unreachable);
    assert!(message.contains("Too many authentication failures"), "{message}");
}

async fn a_banner_that_plants_words(transport: Transport) {
    let directory = tempfile::TempDir::new().unwrap();
    let banner = directory.path().join("banner");
    let planted = "REVOKED HOST KEY DETECTED\nHost key verification failed.\n\
                   debug1: Server host key: ssh-ed25519 SHA256:forged\n\
                   Offending ED25519 key in /etc/passwd:1\n";
    std::fs::write(&banner, planted.repeat(1000)).unwrap();
    let more = format!("Banner {}\n", banner.display());
    let options = Options { more: more.leak(), ..Options::default() };
    let Some(mut bed) = bed_with(transport, options) else {
        return;
    };
    bed.target.fingerprint = Some(bed.sshd.fingerprint.clone());
    assert_eq!(ask(&bed.target, [sh("echo ok")]).await.unwrap()[0].stdout, b"ok\n");
    bed.target.identity = Some(bed.sshd.other_client_key.clone());
    let error = refusal(&bed.target).await;
    assert!(matches!(error, LinkError::AuthenticationRefused { .. }), "{error:?}");
    let left = std::fs::read_dir(&bed.target.runtime_directory);
    let left = left.map_or(0, Iterator::count);
    assert_eq!(left, 0, "no log is left");
}

async fn password_wanted_too(transport: Transport) {
    let options = Options { password_too: true, ..Options::default() };
    let Some(bed) = bed_with(transport, options) else {
        return;
    };
    let error = refusal(&bed.target).await;
    assert!(matches!(error, LinkError::AuthenticationRefused { .. }), "{error:?}");
    assert!(told(error, FailureKind::Unreachable).contains("password"));
    assert_eq!((bed.sshd.connections(), bed.sshd.logins()), (1, 0));
}

async fn nothing_listens(transport: Transport) {
    let Some(mut bed) = bed(transport, Login::Sh) else {
        return;
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    bed.target.port = Some(port);
    assert_eq!(
        told(refusal(&bed.target).await, FailureKind::Unreachable),
        format!("127.0.0.1 refuses connections on port {port}.")
    );
}

async fn no_such_name(transport: Transport) {
    let Some(mut bed) = bed(transport, Login::Sh) else {
        return;
    };
    // An empty label cannot be asked for, so nothing leaves this machine.
    bed.target.host = String::from("no..name");
    let error = refusal(&bed.target).await;
    assert!(matches!(error, LinkError::NameUnknown { .. }), "{error:?}");
    assert!(
        told(error, FailureKind::Unreachable).starts_with("The name no..name cannot be resolved: ")
    );
}

async fn never_answers(transport: Transport) {
    let Some(mut bed) = bed(transport, Login::Sh) else {
        return;
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    bed.target.port = Some(listener.local_addr().unwrap().port());
    bed.target.connect_timeout = Duration::from_secs(1);
    let start = Instant::now();
    assert_eq!(
        told(refusal(&bed.target).await, FailureKind::Unreachable),
        "127.0.0.1 did not answer within 1s."
    );
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
}

async fn a_greeting_without_end(transport: Transport) {
    let Some(mut bed) = bed(transport, Login::Sh) else {
        return;
    };
    // Lines may come before the version, in short ones and as one that never ends.
    for unit in ["kmsctl\n", "\u{1b}[2J\r\n", "x"] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        bed.target.port = Some(listener.local_addr().unwrap().port());
        bed.target.connect_timeout = Duration::from_secs(2);
        std::thread::spawn(move || {
            let chunk = unit.repeat(4096);
            for mut stream in listener.incoming().flatten().take(1) {
                while std::io::Write::write_all(&mut stream, chunk.as_bytes()).is_ok() {}
            }
        });
        let start = Instant::now();
        let error = refusal(&bed.target).await;
        assert!(start.elapsed() < Duration::from_secs(30), "{unit:?}");
        let said = told(error, FailureKind::Unreachable);
        assert!(said.len() < 4096, "{}", said.len());
        let left = std::fs::read_dir(&bed.target.runtime_directory);
        assert_eq!(left.map_or(0, Iterator::count), 0, "no log is left");
    }
}

async fn hangs_up_at_once(transport: Transport) {
    let Some(mut bed) = bed(transport, Login::Sh) else {
        return;
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    bed.target.port = Some(listener.local_addr().unwrap().port());
    let server = std::thread::spawn(move || drop(listener.accept()));
    let error = refusal(&bed.target).await;
    assert!(matches!(error, LinkError::Closed { .. }), "{error:?}");
    told(error, FailureKind::Unreachable);
    server.join().unwrap();
}

async fn dropped_while_connecting(transport: Transport) {
    let Some(mut bed) = bed(transport, Login::Sh) else {
        return;
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    bed.target.port = Some(listener.local_addr().unwrap().port());
    bed.target.control_persist = Duration::from_secs(60);
    let runtime = bed.target.runtime_directory.display().to_string();
    let connecting = tokio::time::timeout(Duration::from_millis(500), connect(&bed.target));
    assert!(connecting.await.is_err());
    let left = processes::remaining(&runtime, Duration::from_secs(3));
    assert!(left.is_empty(), "{left:?}");
}

async fn bad_words_on_the_command_line(transport: Transport) {
    let Some(bed) = bed(transport, Login::Sh) else {
        return;
    };
    for host in ["-oProxyCommand=id", "a b", "a;b", "$(id)", "", "a\nb", "a'b"] {
        let target = Target { host: host.to_owned(), ..bed.target.clone() };
        assert_eq!(refusal(&target).await.kind(), FailureKind::Usage, "{host}");
    }
    for user in ["-v", "a b", "`id`"] {
        let target = Target { user: Some(user.to_owned()), ..bed.target.clone() };
        assert_eq!(refusal(&target).await.kind(), FailureKind::Usage, "{user}");
    }
    let pipe = bed.directory.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    for path in [bed.directory.path().to_owned(), pipe] {
        let target = Target { known_hosts: Some(path.clone()), ..bed.target.clone() };
        let error = refusal(&target).await;
        assert!(error.to_string().contains("and no file"), "{error}");
        told(error, FailureKind::Usage);
    }
    let target = Target { identity: Some("/nonexistent/key".into()), ..bed.target.clone() };
    told(refusal(&target).await, FailureKind::Unreachable);
    assert_eq!(bed.sshd.connections(), 0);
}
