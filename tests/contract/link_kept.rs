//! What only the link over the system's `ssh` does: it keeps its connection for the next run, and honours the user's
//! configuration of ssh.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use kmsctl::error::FailureKind;
use kmsctl::settings::target::{Target, Transport};
use kmsctl::ssh::error::LinkError;
use kmsctl::ssh::target::{Link, LinkCounts};

use super::link::{Bed, ask, bed, collected, connect, nobody_asks, run, script, sh};
use crate::support::processes;
use crate::support::sshd::{self, Login};

const PATIENCE: Duration = Duration::from_secs(5);

fn kept() -> Option<Bed> {
    let mut bed = bed(Transport::OpenSsh, Login::RcInitial)?;
    bed.target.control_persist = Duration::from_secs(60);
    Some(bed)
}

async fn echo(target: &Target) -> LinkCounts {
    let mut link = connect(target).await.unwrap();
    let mut shell = link.shell(&script([sh("echo ok")])).await.unwrap();
    let replies = collected(&mut shell).await.unwrap();
    assert_eq!(replies[0].stdout, b"ok\n");
    shell.close().await;
    let counts = link.counts();
    link.close().await;
    counts
}

fn sockets(bed: &Bed) -> Vec<PathBuf> {
    use std::os::unix::fs::FileTypeExt as _;
    let entries = fs::read_dir(&bed.target.runtime_directory).unwrap();
    let entries = entries.map(Result::unwrap);
    entries
        .filter(|entry| entry.file_type().unwrap().is_socket())
        .map(|entry| entry.path())
        .collect()
}

#[test]
fn the_next_run_takes_the_connection_over() {
    let Some(bed) = kept() else { return };
    run(async {
        assert_eq!(echo(&bed.target).await, LinkCounts { connections: 1, channels: 1 });
        for _ in 0..3 {
            assert_eq!(echo(&bed.target).await, LinkCounts { connections: 0, channels: 1 });
        }
        let link = connect(&bed.target).await.unwrap();
        assert_eq!(link.host_key().fingerprint, bed.sshd.fingerprint, "remembered");
    });
    assert_eq!((bed.sshd.connections(), bed.sshd.logins(), bed.sshd.sessions()), (1, 1, 4));
}

#[test]
fn what_is_left_behind_is_private() {
    let Some(bed) = kept() else { return };
    run(async {
        echo(&bed.target).await;
    });
    let mode = |path: &PathBuf| fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&bed.target.runtime_directory), 0o700);
    let mut names = Vec::new();
    for entry in fs::read_dir(&bed.target.runtime_directory).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path) & 0o077, 0, "{}", path.display());
        names.push(path.extension().map(|extension| extension.to_str().unwrap().to_owned()));
    }
    names.sort();
    assert_eq!(names, [None, Some("key".to_owned()), Some("lock".to_owned())], "no log is left");
}

#[test]
fn another_target_makes_its_own_connection() {
    let Some(bed) = kept() else { return };
    let pinned = Target { fingerprint: Some(bed.sshd.fingerprint.clone()), ..bed.target.clone() };
    run(async {
        echo(&bed.target).await;
        assert_eq!(
            echo(&pinned).await.connections,
            1,
            "a connection is used by those who checked it alike"
        );
        assert_eq!(echo(&pinned).await.connections, 0);
        let wrong = sshd::fingerprint(&sshd::key("changed_ed25519"));
        let wrong = Target { fingerprint: Some(wrong), ..bed.target.clone() };
        assert!(matches!(connect(&wrong).await, Err(LinkError::PinMismatch { .. })));
        fs::write(bed.target.ssh_config.as_ref().unwrap(), "# changed\n").unwrap();
        assert_eq!(
            echo(&bed.target).await.connections,
            1,
            "the configuration may lead elsewhere now"
        );
    });
}

#[test]
fn a_stale_socket_is_replaced() {
    let Some(bed) = kept() else { return };
    run(async {
        echo(&bed.target).await;
        let socket = sockets(&bed).remove(0);
        // What a master leaves that was killed: a socket nobody listens on.
        let pid = processes::naming(&bed.target.runtime_directory.display().to_string())[0].pid;
        processes::signal(pid, "KILL");
        drop(processes::remaining(&bed.target.runtime_directory.display().to_string(), PATIENCE));
        assert!(socket.exists());
        assert_eq!(echo(&bed.target).await.connections, 1);
        assert_eq!(echo(&bed.target).await.connections, 0);
    });
}

#[test]
fn a_reused_connection_still_tells_where_it_leads() {
    let Some(bed) = kept() else { return };
    run(async {
        for connections in [1, 0] {
            let link = connect(&bed.target).await.unwrap();
            assert_eq!(link.counts().connections, connections);
            assert_eq!(link.peer(), Some([127, 0, 0, 1].into()));
            link.close().await;
        }
    });
}

#[test]
fn a_socket_whose_host_key_nobody_verified_is_not_used() {
    let Some(bed) = kept() else { return };
    run(async {
        echo(&bed.target).await;
        let verified = sockets(&bed).remove(0).with_extension("key");
        fs::remove_file(verified).unwrap();
        assert_eq!(echo(&bed.target).await.connections, 1);
        assert_eq!(echo(&bed.target).await.connections, 0);
    });
}

#[test]
fn a_connection_that_died_unnoticed_is_replaced_once() {
    let Some(mut bed) = kept() else { return };
    bed.target.connect_timeout = Duration::from_secs(2);
    run(async {
        echo(&bed.target).await;
        // A laptop that slept, a firewall that rebooted: the master is alive and its connection silent.
        let silent = bed.sshd.serving();
        bed.sshd.signal_connections("STOP");
        let start = Instant::now();
        assert_eq!(echo(&bed.target).await.connections, 1);
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
        assert_eq!(echo(&bed.target).await.connections, 0);
        for pid in silent {
            processes::signal(pid, "KILL");
        }
    });
}

#[test]
fn a_socket_that_does_not_answer_is_replaced() {
    let Some(bed) = kept() else { return };
    run(async {
        echo(&bed.target).await;
        let socket = sockets(&bed).remove(0);
        fs::remove_file(&socket).unwrap();
        let _silent = UnixListener::bind(&socket).unwrap();
        assert_eq!(echo(&bed.target).await.connections, 1);
    });
}

/// A run that was stopped (Ctrl-Z) while it connected keeps the lock for as long as it is.
#[test]
fn a_lock_that_is_never_released_stops_no_run() {
    let Some(bed) = kept() else { return };
    run(async {
        echo(&bed.target).await;
        let entries = fs::read_dir(&bed.target.runtime_directory).unwrap();
        let mut paths = entries.map(|entry| entry.unwrap().path());
        let path = paths.find(|path| path.extension().is_some_and(|end| end == "lock")).unwrap();
        let held = fs::File::open(path).unwrap();
        held.lock().unwrap();
        assert_eq!(echo(&bed.target).await.connections, 0, "what is there is used");
        fs::remove_file(sockets(&bed).remove(0)).unwrap();
        let begun = Instant::now();
        let link = connect(&bed.target).await.unwrap();
        assert!(begun.elapsed() < PATIENCE + PATIENCE, "{:?}", begun.elapsed());
        let notice = link.notice().unwrap_or_default().to_owned();
        assert!(notice.contains("another process has held"), "{notice}");
        assert_eq!(link.counts().connections, 1);
        link.close().await;
    });
}

#[test]
fn runs_that_start_at_once_make_one_connection() {
    let Some(bed) = kept() else { return };
    run(async {
        let runs = [(); 6].map(|()| {
            let target = bed.target.clone();
            tokio::task::spawn_blocking(move || {
                let mut connections = 0;
                run(async { connections = echo(&target).await.connections });
                connections
            })
        });
        let mut total = 0;
        for one in runs {
            total += one.await.unwrap();
        }
        assert_eq!(total, 1);
    });
    assert_eq!((bed.sshd.connections(), bed.sshd.sessions()), (1, 6));
    let runtime = bed.target.runtime_directory.display().to_string();
    assert_eq!(processes::naming(&runtime).len(), 1, "one master");
}

#[test]
fn an_interrupted_launch_lets_the_next_run_connect() {
    let Some(bed) = kept() else { return };
    run(async {
        for milliseconds in [0, 5, 10, 20, 40] {
            let limit = Duration::from_millis(milliseconds);
            drop(tokio::time::timeout(limit, connect(&bed.target)).await);
        }
        echo(&bed.target).await;
        assert_eq!(echo(&bed.target).await.connections, 0);
        let runtime = bed.target.runtime_directory.display().to_string();
        let masters = processes::naming(&runtime);
        assert_eq!(masters.len(), 1, "{masters:?}");
    });
}

#[test]
fn nothing_is_kept_where_nothing_shall_be() {
    let Some(mut bed) = kept() else { return };
    bed.target.control_persist = Duration::ZERO;
    run(async {
        assert_eq!(echo(&bed.target).await.connections, 1);
        assert_eq!(echo(&bed.target).await.connections, 1);
    });
    let runtime = bed.target.runtime_directory.display().to_string();
    assert!(processes::remaining(&runtime, PATIENCE).is_empty());
    assert_eq!(fs::read_dir(&bed.target.runtime_directory).unwrap().count(), 0);
}

#[test]
fn two_shells_share_the_connection() {
    let Some(bed) = kept() else { return };
    run(async {
        let mut link = connect(&bed.target).await.unwrap();
        let mut one = link.shell(&script([sh("echo one")])).await.unwrap();
        let mut two = link.shell(&script([sh("echo two")])).await.unwrap();
        let (one, two) = tokio::join!(collected(&mut one), collected(&mut two));
        assert_eq!(
            (one.unwrap()[0].stdout.as_slice(), two.unwrap()[0].stdout.as_slice()),
            (&b"one\n"[..], &b"two\n"[..])
        );
        assert_eq!(link.counts(), LinkCounts { connections: 1, channels: 2 });
    });
}

#[test]
fn an_unsafe_directory_is_refused() {
    let Some(mut bed) = kept() else { return };
    let open = bed.directory.path().join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).unwrap();
    let link = bed.directory.path().join("link");
    symlink(&bed.target.runtime_directory, &link).unwrap();
    let file = bed.directory.path().join("file");
    fs::write(&file, "").unwrap();
    let long = bed.directory.path().join("x".repeat(90));
    run(async {
        for path in [open, link, file, long] {
            bed.target.runtime_directory = path.clone();
            let error = connect(&bed.target).await.err().unwrap();
            assert!(matches!(error, LinkError::Directory { .. }), "{}: {error:?}", path.display());
            assert_eq!(error.kind(), FailureKind::Usage);
        }
    });
    assert_eq!(bed.sshd.connections(), 0);
}

#[test]
fn aliases_and_jump_hosts_of_the_users_configuration_work() {
    let Some(mut bed) = kept() else { return };
    let config = format!(
        "Host fw\n  HostName 127.0.0.1\n  Port {port}\n  User {user}\n  ProxyJump jump\n  RemoteCommand /bin/false\n  \
         RequestTTY force\n  LocalForward 127.0.0.1:1 127.0.0.1:1\n  StrictHostKeyChecking no\n  BatchMode no\n  \
         IdentityFile {other}\n\
         Host jump\n  HostName 127.0.0.1\n  Port {port}\n  User {user}\n  IdentityFile {key}\n  \
         UserKnownHostsFile {known_hosts}\n",
        port = bed.sshd.port,
        user = bed.sshd.user,
        key = bed.sshd.client_key.display(),
        other = bed.sshd.other_client_key.display(),
        known_hosts = bed.sshd.known_hosts.display(),
    );
    fs::write(bed.target.ssh_config.as_ref().unwrap(), config).unwrap();
    bed.target.host = "fw".to_owned();
    bed.target.port = None;
    bed.target.user = None;
    run(async {
        let replies = ask(&bed.target, [sh("echo through")]).await.unwrap();
        assert_eq!(replies[0].stdout, b"through\n");
        assert_eq!(bed.sshd.logins(), 2, "the jump host and the firewall");
        assert!(!bed.sshd.log().contains("Failed "), "{}", bed.sshd.log());
        // The user's StrictHostKeyChecking=no does not weaken ours.
        let empty = bed.directory.path().join("empty");
        fs::write(&empty, "").unwrap();
        bed.target.known_hosts = Some(empty);
        let error = connect(&bed.target).await.err().unwrap();
        assert!(matches!(error, LinkError::HostKeyUnknown { .. }), "{error:?}");
    });
}

#[test]
fn a_broken_configuration_is_told_in_the_words_of_ssh() {
    let Some(bed) = kept() else { return };
    fs::write(bed.target.ssh_config.as_ref().unwrap(), "Nonsense yes\n").unwrap();
    run(async {
        let error = connect(&bed.target).await.err().unwrap();
        assert!(matches!(error, LinkError::SshFailed { .. }), "{error:?}");
        assert!(error.to_string().contains("bad configuration option"), "{error}");
    });
}

#[test]
fn auto_takes_the_built_in_client_where_there_is_no_ssh() {
    let Some(mut bed) = kept() else { return };
    bed.target.transport = Transport::Auto;
    run(async {
        let link = Link::connect(&bed.target, &nobody_asks).await.unwrap();
        assert!(matches!(link, Link::OpenSsh(_)));
        bed.target.ssh_program = PathBuf::from("/nonexistent/ssh");
        let link = Link::connect(&bed.target, &nobody_asks).await.unwrap();
        assert!(matches!(link, Link::Russh(_)));
        bed.target.transport = Transport::OpenSsh;
        let error = connect(&bed.target).await.err().unwrap();
        assert!(matches!(error, LinkError::SshMissing { .. }), "{error:?}");
    });
}

#[test]
fn a_kept_master_logs_into_no_file() {
    let Some(bed) = kept() else { return };
    run(async {
        echo(&bed.target).await;
    });
    let runtime = bed.target.runtime_directory.display().to_string();
    let masters = processes::naming(&runtime);
    assert!(!masters.is_empty());
    for master in masters {
        let open = fs::read_dir(format!("/proc/{}/fd", master.pid)).unwrap();
        for entry in open {
            let Ok(target) = fs::read_link(entry.unwrap().path()) else {
                continue;
            };
            let target = target.display().to_string();
            assert!(
                !target.contains("(deleted)")
                    && (!target.contains(&runtime) || !target.contains('.')),
                "{target}"
            );
        }
    }
    let left: Vec<_> = fs::read_dir(&bed.target.runtime_directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left.len(), 3, "socket, lock and key: {left:?}");
}
