//! One suite for both links, against OpenSSH's sshd configured as pfSense configures it. What only one of them
//! does stands in `link_kept.rs` (the system's `ssh` keeps connections) and `link_keys.rs` (which key is used).

use std::future::Future;
use std::net::TcpListener;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use kmsctl::error::{Failure, Kind};
use kmsctl::firewall::link::{Counts, Link, Secret, Target, Transport};
use kmsctl::firewall::link_error::LinkError;
use kmsctl::firewall::script::{Command, Script, Word};
use kmsctl::firewall::shell::{Limits, Reply, Shell, Stream};
use tempfile::TempDir;

use crate::support::sshd::{self, Login, Options, Sshd};
use crate::support::{processes, skip};

/// A server and how to reach it.
pub struct Bed {
    pub directory: TempDir,
    pub target: Target,
    pub sshd: Sshd,
}

pub fn bed(transport: Transport, login: Login) -> Option<Bed> {
    let sshd = Sshd::start(Options { login })?;
    let directory = TempDir::new().unwrap();
    let target = target(transport, &sshd, &directory);
    Some(Bed {
        directory,
        target,
        sshd,
    })
}

fn target(transport: Transport, sshd: &Sshd, directory: &TempDir) -> Target {
    let config = directory.path().join("ssh_config");
    std::fs::write(&config, "").unwrap();
    std::fs::create_dir_all(directory.path().join("home/.ssh")).unwrap();
    Target {
        host: "127.0.0.1".to_owned(),
        port: Some(sshd.port),
        user: Some(sshd.user.clone()),
        transport,
        identity: Some(sshd.client_key.clone()),
        ssh_config: Some(config),
        known_hosts: Some(sshd.known_hosts.clone()),
        fingerprint: None,
        connect_timeout: Duration::from_secs(10),
        control_persist: Duration::ZERO,
        runtime_directory: directory.path().join("run"),
        sudo: None,
        home: Some(directory.path().join("home")),
        agent_socket: None,
        ssh_program: PathBuf::from("ssh"),
    }
}

/// Runs a test on the kind of runtime that kmsctl has, within a minute.
pub fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(60), test)
            .await
            .expect("the test takes too long");
    });
}

pub fn nobody_asks(prompt: &str) -> Option<Secret> {
    panic!("asked: {prompt}");
}

pub fn sh(text: &'static str) -> Command {
    Command::new([Word::fixed("/bin/sh"), Word::fixed("-c"), Word::fixed(text)])
}

pub fn script(commands: impl IntoIterator<Item = Command>) -> Script {
    Script {
        commands: commands.into_iter().collect(),
    }
}

pub async fn connect(target: &Target) -> Result<Link, LinkError> {
    Link::connect(target, &nobody_asks).await
}

/// Connects, runs one round, closes.
pub async fn ask(
    target: &Target,
    commands: impl IntoIterator<Item = Command>,
) -> Result<Vec<Reply>, LinkError> {
    let mut link = connect(target).await?;
    let mut shell = link.shell(&script(commands)).await?;
    let replies = shell.round_collected(Limits::default()).await?;
    shell.close().await;
    link.close().await;
    Ok(replies)
}

async fn refusal(target: &Target) -> LinkError {
    match connect(target).await {
        Ok(_) => panic!("connected"),
        Err(error) => error,
    }
}

/// Checks what the operator sees: the kind, and that there is something to do.
fn told(error: LinkError, kind: Kind) -> String {
    let failure = Failure::from(error);
    assert_eq!(failure.kind, kind, "{failure}");
    assert!(!failure.hints.is_empty(), "{failure}");
    failure.message
}

/// Makes each case a test for both links.
macro_rules! both {
    ($($case:ident),* $(,)?) => {
        mod openssh {
            $(#[test] fn $case() { super::run(super::$case(super::Transport::OpenSsh)); })*
        }
        mod russh {
            $(#[test] fn $case() { super::run(super::$case(super::Transport::Russh)); })*
        }
    };
}

both!(
    right_key,
    statuses_and_stderr,
    every_login_shell,
    no_shell_access,
    unknown_host_key,
    changed_host_key,
    pinned_host_key,
    refused_key,
    nothing_listens,
    no_such_name,
    never_answers,
    hangs_up_at_once,
    killed_in_mid_reply,
    remote_shell_killed,
    thirty_megabytes,
    slow_reply,
    big_script_and_big_reply,
    limits,
    one_channel_many_rounds,
    sudo,
    dropped_while_connecting,
    dropped_in_a_round,
    bad_words_on_the_command_line,
);

async fn right_key(transport: Transport) {
    let Some(bed) = bed(transport, Login::Sh) else {
        return;
    };
    let mut link = connect(&bed.target).await.unwrap();
    assert_eq!(link.host_key().unwrap().fingerprint, bed.sshd.fingerprint);
    let commands = [
        sh("echo $TZ $LC_ALL"),
        sh("cat"),
        sh("printf 'a\\000b\\377'"),
    ];
    let mut shell = link.shell(&script(commands)).await.unwrap();
    let replies = shell.round_collected(Limits::default()).await.unwrap();
    let outputs: Vec<&[u8]> = replies
        .iter()
        .map(|reply| reply.stdout.as_slice())
        .collect();
    assert_eq!(outputs, [&b"UTC C\n"[..], b"", b"a\0b\xff"]);
    assert_eq!(
        link.counts(),
        Counts {
            connections: 1,
            channels: 1
        }
    );
    shell.close().await;
    link.close().await;
    assert_eq!(
        (
            bed.sshd.connections(),
            bed.sshd.logins(),
            bed.sshd.sessions()
        ),
        (1, 1, 1)
    );
}

async fn statuses_and_stderr(transport: Transport) {
    let Some(bed) = bed(transport, Login::Sh) else {
        return;
    };
    let commands = [
        sh("exit 0"),
        sh("echo one >&2; exit 1"),
        sh("echo out; echo two >&2; exit 2"),
        Command::new([Word::fixed("/nonexistent/pfctl")]),
        sh("echo 'pfctl: Table does not exist.' >&2; exit 255"),
    ];
    let replies = ask(&bed.target, commands).await.unwrap();
    let statuses: Vec<i32> = replies.iter().map(|reply| reply.status).collect();
    assert_eq!(statuses, [0, 1, 2, 127, 255]);
    assert_eq!(replies[2].stdout, b"out\n");
    assert_eq!(replies[2].stderr, b"two\n");
    assert!(String::from_utf8_lossy(&replies[3].stderr).contains("not found"));
    assert_eq!(replies[4].stderr, b"pfctl: Table does not exist.\n");
    assert_eq!(bed.sshd.sessions(), 1, "five commands, one channel");
}

async fn every_login_shell(transport: Transport) {
    for login in [Login::Sh, Login::RcInitial, Login::Tcsh] {
        let Some(bed) = bed(transport, login) else {
            continue;
        };
        let replies = ask(&bed.target, [sh("echo \"it's $TZ\"; exit 3")])
            .await
            .unwrap();
        assert_eq!(
            (replies[0].status, replies[0].stdout.as_slice()),
            (3, &b"it's UTC\n"[..]),
            "{login:?}"
        );
    }
}

async fn no_shell_access(transport: Transport) {
    let Some(bed) = bed(transport, Login::Nologin) else {
        return;
    };
    let error = ask(&bed.target, [sh(":")]).await.unwrap_err();
    let message = told(error, Kind::Unreachable);
    assert_eq!(
        message,
        "127.0.0.1 did not start a shell (exit 1): This account is currently not available."
    );
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
            told(refusal(&bed.target).await, Kind::Unreachable),
            format!(
                "The host key of [127.0.0.1]:{port} is not known: it presents ssh-ed25519 {}, and {} has no entry for it.",
                bed.sshd.fingerprint,
                known_hosts.display()
            )
        );
        assert_eq!(
            std::fs::read_to_string(&known_hosts).unwrap(),
            text,
            "nothing is added"
        );
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
        told(refusal(&bed.target).await, Kind::Unreachable),
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
    assert_eq!(
        ask(&bed.target, [sh("echo ok")]).await.unwrap()[0].stdout,
        b"ok\n"
    );
    let pinned = sshd::fingerprint(&sshd::key("changed_ed25519"));
    bed.target.fingerprint = Some(pinned.clone());
    let message = told(refusal(&bed.target).await, Kind::Unreachable);
    assert!(
        message.contains(&pinned) && message.contains(&bed.sshd.fingerprint),
        "{message}"
    );
    assert_eq!(
        bed.sshd.sessions(),
        1,
        "no command reaches a host with another key"
    );
    let runtime = bed.target.runtime_directory.display().to_string();
    assert!(
        processes::remaining(&runtime, Duration::from_secs(3)).is_empty(),
        "the master is gone"
    );
    bed.target.fingerprint = Some("SHA256:abc".to_owned());
    assert_eq!(refusal(&bed.target).await.kind(), Kind::Usage);
}

async fn refused_key(transport: Transport) {
    let Some(mut bed) = bed(transport, Login::Sh) else {
        return;
    };
    bed.target.identity = Some(bed.sshd.other_client_key.clone());
    let error = refusal(&bed.target).await;
    assert!(
        matches!(error, LinkError::AuthenticationRefused { .. }),
        "{error:?}"
    );
    let message = told(error, Kind::Unreachable);
    assert!(
        message.starts_with(&format!("127.0.0.1 refused {}: ", bed.sshd.user)),
        "{message}"
    );
    assert!(message.contains("publickey"), "{message}");
    let attempts = bed
        .sshd
        .log()
        .lines()
        .filter(|line| line.starts_with("Failed "))
        .count();
    assert_eq!(
        (bed.sshd.connections(), attempts),
        (1, 1),
        "one attempt:\n{}",
        bed.sshd.log()
    );
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
        told(refusal(&bed.target).await, Kind::Unreachable),
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
    assert!(told(error, Kind::Unreachable).starts_with("The name no..name cannot be resolved: "));
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
        told(refusal(&bed.target).await, Kind::Unreachable),
        "127.0.0.1 did not answer within 1 s."
    );
    assert!(
        start.elapsed() < Duration::from_secs(4),
        "{:?}",
        start.elapsed()
    );
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
    told(error, Kind::Unreachable);
    server.join().unwrap();
}

/// Runs a round and does something at the first output.
async fn round_with(
    shell: &mut Shell,
    mut at_first: impl FnMut(),
) -> (Result<Vec<i32>, LinkError>, Vec<u8>) {
    let mut seen = Vec::new();
    let outcome = shell
        .round(&mut |_, stream, bytes| {
            if stream == Stream::Stdout {
                if seen.is_empty() {
                    at_first();
                }
                seen.extend_from_slice(bytes);
            }
            ControlFlow::Continue(())
        })
        .await;
    (outcome, seen)
}

async fn killed_in_mid_reply(transport: Transport) {
    let Some(bed) = bed(transport, Login::Sh) else {
        return;
    };
    let mut link = connect(&bed.target).await.unwrap();
    let commands = [
        sh("echo whole"),
        sh("echo half; exec sleep 30"),
        sh("echo never"),
    ];
    let mut shell = link.shell(&script(commands)).await.unwrap();
    let mut pieces = 0;
    let outcome = shell
        .round(&mut |index, _, _| {
            pieces += 1;
            if index == 1 {
                bed.sshd.signal_connections("KILL");
            }
            ControlFlow::Continue(())
        })
        .await;
    assert!(pieces >= 2);
    assert_eq!(
        told(outcome.unwrap_err(), Kind::Failed),
        "The reply of 127.0.0.1 was cut short in command 1."
    );
    assert!(
        shell.round_collected(Limits::default()).await.is_err(),
        "the shell is spoilt"
    );
}

async fn remote_shell_killed(transport: Transport) {
    let Some(bed) = bed(transport, Login::Sh) else {
        return;
    };
    let error = ask(&bed.target, [sh("echo half; kill -9 $PPID; sleep 1")])
        .await
        .unwrap_err();
    assert_eq!(
        told(error, Kind::Failed),
        "The reply of 127.0.0.1 was cut short in command 0."
    );
}

async fn thirty_megabytes(transport: Transport) {
    const SIZE: usize = 30 << 20;
    let Some(bed) = bed(transport, Login::Sh) else {
        return;
    };
    let mut link = connect(&bed.target).await.unwrap();
    let commands = [
        sh("head -c 31457280 /dev/zero | tr '\\000' '\\n'"),
        sh("echo after"),
    ];
    let mut shell = link.shell(&script(commands)).await.unwrap();
    let (mut total, mut largest) = (0, 0);
    let statuses = shell
        .round(&mut |index, _, bytes| {
            if index == 0 {
                total += bytes.len();
                largest = largest.max(bytes.len());
                assert!(bytes.iter().all(|&byte| byte == b'\n'));
            }
            ControlFlow::Continue(())
        })
        .await
        .unwrap();
    assert_eq!((total, statuses), (SIZE, vec![0, 0]));
    assert!(
        largest <= 128 << 10,
        "handed on in pieces, not gathered: {largest}"
    );
}

async fn slow_reply(transport: Transport) {
    let Some(bed) = bed(transport, Login::Sh) else {
        return;
    };
    let mut link = connect(&bed.target).await.unwrap();
    let mut shell = link
        .shell(&script([sh(
            "echo one; sleep 1; echo two; sleep 1; echo three",
        )]))
        .await
        .unwrap();
    let start = Instant::now();
    let mut first = None;
    let (outcome, seen) = round_with(&mut shell, || first = Some(start.elapsed())).await;
    assert_eq!(
        (outcome.unwrap(), seen.as_slice()),
        (vec![0], &b"one\ntwo\nthree\n"[..])
    );
    assert!(
        first.unwrap() < Duration::from_secs(1),
        "what is there is handed on: {first:?}"
    );
}

async fn big_script_and_big_reply(transport: Transport) {
    let Some(bed) = bed(transport, Login::Sh) else {
        return;
    };
    let line = b"0123456789abcdef0123456789abcdef0123456789abcdef\n";
    let input = line.repeat(40_000);
    // The first command fills every buffer before the shell has read the second one's input.
    let cat = || Command {
        input: input.clone(),
        ..Command::new([Word::fixed("/bin/cat")])
    };
    let replies = ask(&bed.target, [cat(), cat(), sh("echo done")])
        .await
        .unwrap();
    assert_eq!(
        (replies[0].stdout.len(), replies[1].stdout.len()),
        (input.len(), input.len())
    );
    assert!(replies[1].stdout == input && replies[2].stdout == b"done\n");
}

async fn limits(transport: Transport) {
    let Some(bed) = bed(transport, Login::Sh) else {
        return;
    };
    let mut link = connect(&bed.target).await.unwrap();
    let commands = [
        sh("head -c 100000 /dev/zero; head -c 5000 /dev/zero >&2"),
        sh("echo small"),
    ];
    let mut shell = link.shell(&script(commands)).await.unwrap();
    let limits = Limits {
        stdout: 1000,
        stderr: 10,
        round: 1 << 20,
    };
    let replies = shell.round_collected(limits).await.unwrap();
    assert_eq!(
        (
            replies[0].stdout.len(),
            replies[0].stderr.len(),
            replies[0].truncated
        ),
        (1000, 10, true)
    );
    assert_eq!(
        (replies[1].stdout.as_slice(), replies[1].truncated),
        (&b"small\n"[..], false)
    );
    let error = shell
        .round_collected(Limits {
            round: 50_000,
            ..limits
        })
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "The reply of 127.0.0.1 is larger than 50000 bytes."
    );
    assert_eq!(error.kind(), Kind::Failed);
}

async fn one_channel_many_rounds(transport: Transport) {
    let Some(bed) = bed(transport, Login::Sh) else {
        return;
    };
    let mut link = connect(&bed.target).await.unwrap();
    let counter = bed.directory.path().join("counter");
    let append = Command::new([
        Word::fixed("/usr/bin/tee"),
        Word::fixed("-a"),
        Word::path(counter.to_str().unwrap()).unwrap(),
    ]);
    let mut shell = link
        .shell(&script([
            Command {
                input: b"x\n".to_vec(),
                ..append
            },
            sh("exit 7"),
        ]))
        .await
        .unwrap();
    for _ in 0..20 {
        let replies = shell.round_collected(Limits::default()).await.unwrap();
        assert_eq!(
            (replies[0].stdout.as_slice(), replies[1].status),
            (&b"x\n"[..], 7)
        );
    }
    assert_eq!(
        std::fs::read_to_string(&counter).unwrap().lines().count(),
        20
    );
    assert_eq!(
        link.counts(),
        Counts {
            connections: 1,
            channels: 1
        }
    );
    assert_eq!((bed.sshd.connections(), bed.sshd.sessions()), (1, 1));
}

async fn sudo(transport: Transport) {
    let Some(mut bed) = bed(transport, Login::Tcsh) else {
        return;
    };
    bed.target.sudo = Word::path("/bin/false");
    let error = ask(&bed.target, [sh(":")]).await.unwrap_err();
    assert!(
        matches!(
            error,
            LinkError::ShellRefused {
                status: Some(1),
                sudo: true,
                ..
            }
        ),
        "{error:?}"
    );
    told(error, Kind::Unreachable);
    let Some(sudo) = skip::program(
        "a test with sudo",
        &["/usr/bin/sudo", "/usr/local/bin/sudo"],
    ) else {
        return;
    };
    if !std::process::Command::new(&sudo)
        .args(["-n", "true"])
        .output()
        .unwrap()
        .status
        .success()
    {
        skip::skip(
            "a test with sudo",
            "this user may not use it without a password",
        );
        return;
    }
    bed.target.sudo = Word::path(sudo.to_str().unwrap());
    let replies = ask(&bed.target, [sh("id -u; echo $TZ $SUDO_COMMAND")])
        .await
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&replies[0].stdout),
        "0\nUTC /usr/bin/env TZ=UTC LC_ALL=C /bin/sh -s\n"
    );
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

async fn dropped_in_a_round(transport: Transport) {
    let Some(bed) = bed(transport, Login::Sh) else {
        return;
    };
    let mut link = connect(&bed.target).await.unwrap();
    let mut shell = link
        .shell(&script([sh("echo one; sleep 3; echo two")]))
        .await
        .unwrap();
    let round = tokio::time::timeout(
        Duration::from_millis(700),
        shell.round_collected(Limits::default()),
    );
    assert!(round.await.is_err());
    let error = shell.round_collected(Limits::default()).await.unwrap_err();
    assert!(
        matches!(error, LinkError::Stopped { .. }),
        "what arrives belongs to the old round: {error:?}"
    );
    // No good-bye: this is what an interrupt does.
    drop(shell);
    drop(link);
    let runtime = bed.target.runtime_directory.display().to_string();
    let left =
        tokio::task::spawn_blocking(move || processes::remaining(&runtime, Duration::from_secs(5)));
    let left = left.await.unwrap();
    assert!(left.is_empty(), "{left:?}");
}

async fn bad_words_on_the_command_line(transport: Transport) {
    let Some(bed) = bed(transport, Login::Sh) else {
        return;
    };
    for host in [
        "-oProxyCommand=id",
        "a b",
        "a;b",
        "$(id)",
        "",
        "a\nb",
        "a'b",
    ] {
        let target = Target {
            host: host.to_owned(),
            ..bed.target.clone()
        };
        assert_eq!(refusal(&target).await.kind(), Kind::Usage, "{host}");
    }
    for user in ["-v", "a b", "`id`"] {
        let target = Target {
            user: Some(user.to_owned()),
            ..bed.target.clone()
        };
        assert_eq!(refusal(&target).await.kind(), Kind::Usage, "{user}");
    }
    let target = Target {
        identity: Some("/nonexistent/key".into()),
        ..bed.target.clone()
    };
    told(refusal(&target).await, Kind::Unreachable);
    assert_eq!(bed.sshd.connections(), 0);
}
