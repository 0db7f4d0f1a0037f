//! Slack, or the way to it, goes wrong: what is said about it, when it is tried again, and that nothing is lost.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::pods::{Answer, FakeSlack, Pod, activate, eventually, is};

#[test]
fn the_webhook_is_read_again_and_never_printed() {
    let (first, second) = (FakeSlack::start(&[]), FakeSlack::start(&[]));
    let mut pod = Pod::new(&first);
    let file = pod.environment.home().join("webhook");
    pod.unset("SLACK_WEBHOOK_URL");
    pod.set("KMSCTL_NOTIFIER_WEBHOOK_FILE", &file.display().to_string());
    let running = pod.start();
    activate(&pod.log(), 1);
    running.wait_metric("kms_slack_posts_total{result=\"error\"}", |count| {
        count > 0.0
    });
    replace(&file, "http://hooks.slack.com/services/SECRET");
    // A try may be under way; the second from now has read the new file.
    let errors = "kms_slack_posts_total{result=\"error\"}";
    let before = running.metric(errors).unwrap_or_default();
    running.wait_metric(errors, |count| count > before + 1.5);
    replace(&file, &first.url);
    first.wait_for(1);
    replace(&file, &format!("{}\n", second.url));
    activate(&pod.log(), 2);
    second.wait_for(1);
    let (code, out, err) = running.stop();
    assert_eq!((code, first.told().len()), (Some(0), 1));
    assert!(
        err.contains("webhook's file") && err.contains("no https:// address"),
        "{err}"
    );
    assert!(!(out + &err).contains("SECRET"));
    // None at all: everything is counted, and that is said.
    pod.unset("KMSCTL_NOTIFIER_WEBHOOK_FILE");
    let running = pod.start();
    activate(&pod.log(), 3);
    running.wait_metric("kms_requests_total{result=\"answered\"}", |count| {
        is(count, 1.0)
    });
    let (code, _, err) = running.stop();
    assert!(
        code == Some(0) && err.contains("There is no webhook"),
        "{err}"
    );
}

/// Replaces a file as a secret's volume does: never half.
fn replace(file: &Path, text: &str) {
    let aside = file.with_extension("new");
    std::fs::write(&aside, text).expect("a file");
    std::fs::rename(aside, file).expect("a rename");
}

#[test]
fn less_than_a_second_between_messages_is_for_this_machine_only() {
    let slack = FakeSlack::start(&[]);
    let mut pod = Pod::new(&slack);
    pod.set("KMSCTL_NOTIFIER_POST_INTERVAL", "2s");
    let running = pod.start();
    let began = Instant::now();
    for number in 0..3 {
        activate(&pod.log(), number);
    }
    slack.wait_for(3);
    assert!(
        began.elapsed() >= Duration::from_secs(4),
        "two pauses of 2 s"
    );
    running.stop();
}

#[test]
fn answers_that_are_not_slacks_are_not_believed() {
    let slack = FakeSlack::start(&[
        Answer::Say(200, "", "<html>log in first</html>"),
        Answer::Say(302, "Location: http://127.0.0.1:1/\r\n", ""),
        Answer::Say(503, "Retry-After: 1\r\n", ""),
    ]);
    let pod = Pod::new(&slack);
    let running = pod.start();
    activate(&pod.log(), 1);
    assert!(
        eventually(|| slack.taken().len() == 4),
        "{:?}",
        slack.taken()
    );
    running.wait_metric("kms_slack_posts_total{result=\"ok\"}", |count| {
        is(count, 1.0)
    });
    running.wait_metric("kms_slack_posts_total{result=\"error\"}", |count| {
        is(count, 3.0)
    });
    let (_, _, err) = running.stop();
    assert!(err.contains("web page answers in Slack's place"), "{err}");
}
