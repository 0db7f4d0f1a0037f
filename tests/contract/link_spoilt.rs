//! Replies that both links must not take for whole: cut short, too large, given up half-way.

use std::ops::ControlFlow;
use std::time::Duration;

use kmsctl::error::Kind;
use kmsctl::firewall::link::Transport;
use kmsctl::firewall::link_error::LinkError;
use kmsctl::firewall::shell::Limits;

use super::link::{ask, bed, both, connect, script, sh, told};
use crate::support::processes;
use crate::support::sshd::Login;

both!(
    killed_in_mid_reply,
    remote_shell_killed,
    limits,
    dropped_in_a_round,
);

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
