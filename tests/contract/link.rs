//! One suite for both links, against OpenSSH's sshd configured as pfSense configures it. What only one of them
//! does stands in `link_kept.rs` (the system's `ssh` keeps connections) and `link_keys.rs` (which key is used).

use std::future::Future;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use kmsctl::domain::shell_word::ShellWord;
use kmsctl::error::{Failure, FailureKind};
use kmsctl::settings::target::{Target, Transport};
use kmsctl::ssh::error::LinkError;
use kmsctl::ssh::script::{Script, ScriptCommand};
use kmsctl::ssh::shell::{FramedStream, Shell};
use kmsctl::ssh::target::{Link, LinkCounts, Secret};
use tempfile::TempDir;

use crate::support::delay_proxy::DelayProxy;
use crate::support::skip;
use crate::support::sshd::{Login, Options, Sshd};

/// A server and how to reach it.
pub struct Bed {
    pub directory: TempDir,
    pub target: Target,
    pub sshd: Sshd,
}

impl Bed {
    /// Goes through a proxy from here on.
    pub fn reach_through(&mut self, proxy: &DelayProxy) {
        let known_hosts = std::fs::read_to_string(&self.sshd.known_hosts).unwrap();
        let known_hosts =
            known_hosts.replace(&format!("]:{} ", self.sshd.port), &format!("]:{} ", proxy.port));
        let path = self.directory.path().join("known_hosts_of_the_proxy");
        std::fs::write(&path, known_hosts).unwrap();
        self.target.known_hosts = Some(path);
        self.target.port = Some(proxy.port);
    }
}

pub fn bed(transport: Transport, login: Login) -> Option<Bed> {
    bed_with(transport, Options { login, ..Options::default() })
}

pub fn bed_with(transport: Transport, options: Options) -> Option<Bed> {
    let sshd = Sshd::start(options)?;
    let directory = TempDir::new().unwrap();
    let target = target(transport, &sshd, &directory);
    Some(Bed { directory, target, sshd })
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
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(60), test).await.expect("the test takes too long");
    });
}

pub fn nobody_asks(prompt: &str) -> Option<Secret> {
    panic!("asked: {prompt}");
}

pub fn sh(text: &'static str) -> ScriptCommand {
    ScriptCommand::new([
        ShellWord::fixed("/bin/sh"),
        ShellWord::fixed("-c"),
        ShellWord::fixed(text),
    ])
}

pub fn script(commands: impl IntoIterator<Item = ScriptCommand>) -> Script {
    Script { commands: commands.into_iter().collect() }
}

pub async fn connect(target: &Target) -> Result<Link, LinkError> {
    Link::connect(target, &nobody_asks).await
}

/// What one command answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    pub status: i32,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

/// Runs every command once, and keeps what they answer.
pub async fn collected(shell: &mut Shell) -> Result<Vec<Reply>, LinkError> {
    let mut replies: Vec<Reply> = Vec::new();
    let statuses = shell
        .run_round(&mut |index, stream, bytes| {
            if replies.len() <= index {
                replies.resize_with(index + 1, Reply::default);
            }
            match stream {
                FramedStream::Stdout => replies[index].stdout.extend_from_slice(bytes),
                FramedStream::Stderr => replies[index].stderr.extend_from_slice(bytes),
            }
            ControlFlow::Continue(())
        })
        .await?;
    replies.resize_with(statuses.len(), Reply::default);
    for (reply, status) in replies.iter_mut().zip(statuses) {
        reply.status = status;
    }
    Ok(replies)
}

/// Connects, runs one round, closes.
pub async fn ask(
    target: &Target,
    commands: impl IntoIterator<Item = ScriptCommand>,
) -> Result<Vec<Reply>, LinkError> {
    let mut link = connect(target).await?;
    let mut shell = link.shell(&script(commands)).await?;
    let replies = collected(&mut shell).await?;
    shell.close().await;
    link.close().await;
    Ok(replies)
}

pub async fn refusal(target: &Target) -> LinkError {
    match connect(target).await {
        Ok(_) => panic!("connected"),
        Err(error) => error,
    }
}

/// Checks what the operator sees: the kind, and that there is something to do.
pub fn told(error: LinkError, kind: FailureKind) -> String {
    let failure = Failure::from(error);
    assert_eq!(failure.kind, kind, "{failure}");
    assert!(!failure.hints.is_empty(), "{failure}");
    failure.message
}

/// Makes each case a test for both links.
macro_rules! both {
    ($($case:ident),* $(,)?) => {
        mod openssh {
            $(#[test] fn $case() { crate::link::run(super::$case(kmsctl::settings::target::Transport::OpenSsh)); })*
        }
        mod russh {
            $(#[test] fn $case() { crate::link::run(super::$case(kmsctl::settings::target::Transport::Russh)); })*
        }
    };
}
pub(crate) use both;

both!(
    right_key,
    statuses_and_stderr,
    every_login_shell,
    no_shell_access,
    thirty_megabytes,
    slow_reply,
    big_script_and_big_reply,
    one_channel_many_rounds,
    one_channel_many_scripts,
    an_idle_shell_that_ended_is_noticed,
    one_round_trip_a_round,
    sudo,
);

async fn right_key(transport: Transport) {
    let Some(bed) = bed(transport, Login::Sh) else {
        return;
    };
    let mut link = connect(&bed.target).await.unwrap();
    assert_eq!(link.host_key().fingerprint, bed.sshd.fingerprint);
    let commands = [sh("echo $TZ $LC_ALL"), sh("cat"), sh("printf 'a\\000b\\377'")];
    let mut shell = link.shell(&script(commands)).await.unwrap();
    let replies = collected(&mut shell).await.unwrap();
    let outputs: Vec<&[u8]> = replies.iter().map(|reply| reply.stdout.as_slice()).collect();
    assert_eq!(outputs, [&b"UTC C\n"[..], b"", b"a\0b\xff"]);
    assert_eq!(link.counts(), LinkCounts { connections: 1, channels: 1 });
    shell.close().await;
    link.close().await;
    assert_eq!((bed.sshd.connections(), bed.sshd.logins(), bed.sshd.sessions()), (1, 1, 1));
}

async fn statuses_and_stderr(transport: Transport) {
    let Some(bed) = bed(transport, Login::Sh) else {
        return;
    };
    let commands = [
        sh("exit 0"),
        sh("echo one >&2; exit 1"),
        sh("echo out; echo two >&2; exit 2"),
        ScriptCommand::new([ShellWord::fixed("/nonexistent/pfctl")]),
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
        let replies = ask(&bed.target, [sh("echo \"it's $TZ\"; exit 3")]).await.unwrap();
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
    let message = told(error, FailureKind::Unreachable);
    assert_eq!(
        message,
        "127.0.0.1 did not start a shell (exit 1): This account is currently not available."
    );
}

async fn thirty_megabytes(transport: Transport) {
    const SIZE: usize = 30 << 20;
    let Some(bed) = bed(transport, Login::Sh) else {
        return;
    };
    let mut link = connect(&bed.target).await.unwrap();
    let commands = [sh("head -c 31457280 /dev/zero | tr '\\000' '\\n'"), sh("echo after")];
    let mut shell = link.shell(&script(commands)).await.unwrap();
    let (mut total, mut largest) = (0, 0);
    let statuses = shell
        .run_round(&mut |index, _, bytes| {
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
    assert!(largest <= 128 << 10, "handed on in pieces, not gathered: {largest}");
}

/// Runs a round and does something at the first output.
async fn round_with(
    shell: &mut Shell,
    mut at_first: impl FnMut(),
) -> (Result<Vec<i32>, LinkError>, Vec<u8>) {
    let mut seen = Vec::new();
    let outcome = shell
        .run_round(&mut |_, stream, bytes| {
            if stream == FramedStream::Stdout {
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

async fn slow_reply(transport: Transport) {
    let Some(bed) = bed(transport, Login::Sh) else {
        return;
    };
    let mut link = connect(&bed.target).await.unwrap();
    let mut shell = link
        .shell(&script([sh("echo one; sleep 1; echo two; sleep 1; echo three")]))
        .await
        .unwrap();
    let mut first = None;
    let (outcome, seen) = round_with(&mut shell, || first = Some(Instant::now())).await;
    assert_eq!((outcome.unwrap(), seen.as_slice()), (vec![0], &b"one\ntwo\nthree\n"[..]));
    let later = first.unwrap().elapsed();
    assert!(later > Duration::from_millis(1500), "what is there is handed on: {later:?}");
}

async fn big_script_and_big_reply(transport: Transport) {
    let Some(bed) = bed(transport, Login::Sh) else {
        return;
    };
    let line = b"0123456789abcdef0123456789abcdef0123456789abcdef\n";
    let input = line.repeat(40_000);
    // The first command fills every buffer before the shell has read the second one's input.
    let cat = || ScriptCommand {
        input: input.clone(),
        ..ScriptCommand::new([ShellWord::fixed("/bin/cat")])
    };
    let replies = ask(&bed.target, [cat(), cat(), sh("echo done")]).await.unwrap();
    assert_eq!((replies[0].stdout.len(), replies[1].stdout.len()), (input.len(), input.len()));
    assert!(replies[1].stdout == input && replies[2].stdout == b"done\n");
}

async fn one_channel_many_rounds(transport: Transport) {
    let Some(bed) = bed(transport, Login::Sh) else {
        return;
    };
    let mut link = connect(&bed.target).await.unwrap();
    let counter = bed.directory.path().join("counter");
    let append = ScriptCommand::new([
        ShellWord::fixed("/usr/bin/tee"),
        ShellWord::fixed("-a"),
        ShellWord::path(counter.to_str().unwrap()).unwrap(),
    ]);
    let mut shell = link
        .shell(&script([ScriptCommand { input: b"x\n".to_vec(), ..append }, sh("exit 7")]))
        .await
        .unwrap();
    for _ in 0..20 {
        let replies = collected(&mut shell).await.unwrap();
        assert_eq!((replies[0].stdout.as_slice(), replies[1].status), (&b"x\n"[..], 7));
    }
    assert_eq!(std::fs::read_to_string(&counter).unwrap().lines().count(), 20);
    assert_eq!(link.counts(), LinkCounts { connections: 1, channels: 1 });
    assert_eq!((bed.sshd.connections(), bed.sshd.sessions()), (1, 1));
}

async fn one_channel_many_scripts(transport: Transport) {
    let Some(bed) = bed(transport, Login::Tcsh) else {
        return;
    };
    let mut link = connect(&bed.target).await.unwrap();
    let mut shell = link.shell(&script([sh("echo one"), sh("exit 7")])).await.unwrap();
    for _ in 0..2 {
        assert_eq!(collected(&mut shell).await.unwrap()[1].status, 7);
    }
    let input = b"some\nlines\n".repeat(20_000);
    let cat = ScriptCommand {
        input: input.clone(),
        ..ScriptCommand::new([ShellWord::fixed("/bin/cat")])
    };
    assert!(shell.is_idle() && shell.is_still_there().await);
    shell.replace_script(&script([cat, sh("exit 3"), sh("echo three >&2")]));
    for _ in 0..2 {
        let replies = collected(&mut shell).await.unwrap();
        assert_eq!(replies.len(), 3);
        assert!(replies[0].stdout == input);
        assert_eq!((replies[1].status, replies[2].stderr.as_slice()), (3, &b"three\n"[..]));
    }
    assert_eq!(link.counts().channels, 1);
    assert_eq!(bed.sshd.sessions(), 1);
}

async fn an_idle_shell_that_ended_is_noticed(transport: Transport) {
    let Some(bed) = bed(transport, Login::Sh) else {
        return;
    };
    let mut link = connect(&bed.target).await.unwrap();
    // It ends when what has read the script is gone, a moment after its answer.
    let ends = sh("(sleep 1; kill -9 $PPID) >/dev/null 2>&1 & echo soon");
    let mut shell = link.shell(&script([ends])).await.unwrap();
    assert_eq!(collected(&mut shell).await.unwrap()[0].stdout, b"soon\n");
    assert!(shell.is_idle());
    tokio::time::timeout(Duration::from_secs(30), async {
        while shell.is_still_there().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("it is noticed");
}

async fn one_round_trip_a_round(transport: Transport) {
    let Some(mut bed) = bed(transport, Login::Sh) else {
        return;
    };
    let round_trip = Duration::from_millis(400);
    let proxy = DelayProxy::start(bed.sshd.port, round_trip / 2);
    bed.reach_through(&proxy);
    let mut link = connect(&bed.target).await.unwrap();
    // The least of several, since other tests want the processor too.
    let (mut opened, mut asked) = (Duration::MAX, Duration::MAX);
    for _ in 0..4 {
        let start = Instant::now();
        let mut shell = link.shell(&script([sh("echo one"), sh("echo two")])).await.unwrap();
        collected(&mut shell).await.unwrap();
        opened = opened.min(start.elapsed());
        let start = Instant::now();
        collected(&mut shell).await.unwrap();
        asked = asked.min(start.elapsed());
    }
    // One for the channel, one for the shell (before that sshd takes no input), one for the script.
    assert!(opened >= 3 * round_trip && opened < 4 * round_trip, "{opened:?}");
    assert!(asked >= round_trip && asked < 2 * round_trip, "{asked:?}");
}

async fn sudo(transport: Transport) {
    let Some(mut bed) = bed(transport, Login::Tcsh) else {
        return;
    };
    bed.target.sudo = ShellWord::path("/bin/false");
    let error = ask(&bed.target, [sh(":")]).await.unwrap_err();
    assert!(
        matches!(error, LinkError::ShellRefused { status: Some(1), sudo: true, .. }),
        "{error:?}"
    );
    told(error, FailureKind::Unreachable);
    let Some(sudo) = skip::program("a test with sudo", &["/usr/bin/sudo", "/usr/local/bin/sudo"])
    else {
        return;
    };
    if !std::process::Command::new(&sudo).args(["-n", "true"]).output().unwrap().status.success() {
        skip::skip("a test with sudo", "this user may not use it without a password");
        return;
    }
    bed.target.sudo = ShellWord::path(sudo.to_str().unwrap());
    let replies =
        ask(&bed.target, [sh("id -u; echo $TZ; echo $SUDO_COMMAND; echo $SSH_CONNECTION")])
            .await
            .unwrap();
    // sudo clears the environment; who asks has to come through it.
    let said = String::from_utf8_lossy(&replies[0].stdout).into_owned();
    let lines: Vec<&str> = said.lines().collect();
    let [user, zone, command, client] = lines[..] else {
        panic!("{said}");
    };
    assert_eq!((user, zone), ("0", "UTC"));
    assert!(client.starts_with("127.0.0.1 "), "{client}");
    assert_eq!(command, format!("/usr/bin/env TZ=UTC LC_ALL=C SSH_CONNECTION={client} /bin/sh -s"));
}
