//! Replies that both links must not take for whole: cut short, too large, given up half-way.

use std::ops::ControlFlow;
use std::time::Duration;

use kmsctl::error::FailureKind;
use kmsctl::settings::target::Transport;
use kmsctl::ssh::error::LinkError;

use super::link::{ask, bed, both, collected, connect, script, sh, told};
use crate::support::processes;
use crate::support::sshd::Login;

both!(killed_in_mid_reply, remote_shell_killed, given_up, dropped_in_a_round,);

async fn killed_in_mid_reply(transport: Transport) {
    let Some(bed) = bed(transport, Login::Sh) else {
        return;
    };
    let mut link = connect(&bed.target).await.unwrap();
    let commands = [sh("echo whole"), sh("echo half; exec sleep 30"), sh("echo never")];
    let mut shell = link.shell(&script(commands)).await.unwrap();
    let mut pieces = 0;
    let outcome = shell
        .run_round(&mut |index, _, _| {
            pieces += 1;
            if index == 1 {
                bed.sshd.signal_connections("KILL");
            }
            ControlFlow::Continue(())
        })
        .await;
    assert!(pieces >= 2);
    assert_eq!(
        told(outcome.unwrap_err(), FailureKind::Failed),
        "The reply of 127.0.0.1 was cut short in command 1."
    );
    assert!(collected(&mut shell).await.is_err(), "the shell is spoilt");
}

async fn remote_shell_killed(transport: Transport) {
    let Some(bed) = bed(transport, Login::Sh) else {
        return;
    };
    let error = ask(&bed.target, [sh("echo half; kill -9 $PPID; sleep 1")]).await.unwrap_err();
    assert_eq!(
        told(error, FailureKind::Failed),
        "The reply of 127.0.0.1 was cut short in command 0."
    );
}

async fn given_up(transport: Transport) {
    let Some(bed) = bed(transport, Login::Sh) else {
        return;
    };
    let mut link = connect(&bed.target).await.unwrap();
    let commands = [sh("head -c 100000 /dev/zero; echo talk >&2"), sh("echo small")];
    let mut shell = link.shell(&script(commands)).await.unwrap();
    let mut stopped = false;
    let outcome = shell
        .run_round(&mut |_, _, _| {
            assert!(!stopped, "it was told to stop");
            stopped = true;
            ControlFlow::Break(())
        })
        .await;
    let error = outcome.unwrap_err();
    assert_eq!(
        error.to_string(),
        "Reading from 127.0.0.1 was stopped before the reply was complete."
    );
    assert_eq!(error.kind(), FailureKind::Failed);
    let error = collected(&mut shell).await.unwrap_err();
    assert!(matches!(error, LinkError::Stopped { .. }), "{error:?}");
}

async fn dropped_in_a_round(transport: Transport) {
    let Some(bed) = bed(transport, Login::Sh) else {
        return;
    };
    let mut link = connect(&bed.target).await.unwrap();
    let mut shell = link.shell(&script([sh("echo one; sleep 3; echo two")])).await.unwrap();
    let round = tokio::time::timeout(Duration::from_millis(700), collected(&mut shell));
    assert!(round.await.is_err());
    let error = collected(&mut shell).await.unwrap_err();
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
