//! Slack, or the way to it, goes wrong: what is said about it, when it is tried again, and that nothing is lost.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::pods::{
    Answer, FakeSlack, OK, Pod, activate, client, eventually, is, is_presence, make_pipe,
    slack_with_private_certificate,
};
use crate::support::redis::make_certificates;
use crate::support::skip::program;

#[test]
fn the_webhook_is_read_again_and_never_printed() {
    let (first, second) = (FakeSlack::start(&[]), FakeSlack::start(&[]));
    let mut pod = Pod::new(&first);
    let file = pod.environment.home().join("webhook");
    pod.unset("SLACK_WEBHOOK_URL");
    pod.set("KMSCTL_NOTIFIER_WEBHOOK_FILE", &file.display().to_string());
    let running = pod.start();
    activate(&pod.log(), 1);
    running.wait_metric("kms_slack_posts_total{result=\"error\"}", |count| count > 0.0);
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
    assert_eq!((code, first.posted_texts().len()), (Some(0), 1));
    assert!(err.contains("webhook's file") && err.contains("no https:// address"), "{err}");
    assert!(!(out + &err).contains("SECRET"));
    // None at all: everything is counted, and that is said.
    pod.unset("KMSCTL_NOTIFIER_WEBHOOK_FILE");
    let running = pod.start();
    activate(&pod.log(), 3);
    running.wait_metric("kms_requests_total{result=\"answered\"}", |count| is(count, 1.0));
    assert_eq!(running.metric("kms_slack_configured"), Some(0.0));
    let (code, _, err) = running.stop();
    assert!(code == Some(0) && err.contains("There is no webhook"), "{err}");
    // A webhook that comes within the window misses no client.
    pod.set("SLACK_WEBHOOK_URL", &first.url);
    let running = pod.start_quickly(pod.command(&["--echo"]));
    activate(&pod.log(), 3);
    assert!(first.wait_for(2)[1].contains("PC-3"));
    assert_eq!(running.metric("kms_slack_configured"), Some(1.0));
    running.stop();
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
    assert!(began.elapsed() >= Duration::from_secs(4), "two pauses of 2 s");
    running.stop();
}

#[test]
fn answers_that_are_not_slacks_are_not_believed() {
    let slack = FakeSlack::start(&[
        Answer::Say(200, "", "<html>log in first</html>"),
        Answer::Say(200, "", r#"{"ok":false}"#),
        Answer::Say(204, "", ""),
        Answer::Say(302, "Location: http://127.0.0.1:1/\r\n", "no_service"),
        Answer::Say(307, "Location: /log-in\r\n", "<html>moved</html>"),
        Answer::Say(503, "Retry-After: 1\r\n", ""),
    ]);
    let pod = Pod::new(&slack);
    let running = pod.start();
    activate(&pod.log(), 1);
    assert!(eventually(|| slack.taken().len() == 7), "{:?}", slack.taken());
    running.wait_metric("kms_slack_posts_total{result=\"ok\"}", |count| is(count, 1.0));
    running.wait_metric("kms_slack_posts_total{result=\"error\"}", |count| is(count, 6.0));
    assert_eq!(running.metric("kms_slack_posts_total{result=\"rejected\"}"), Some(0.0));
    let (_, _, err) = running.stop();
    for words in [
        "A web page answers in Slack's place with HTTP 200; messages wait",
        "Something that does not say `ok` answers in Slack's place with HTTP 200; messages wait",
        "Something that is not Slack answers in Slack's place with HTTP 302; messages wait",
        "A web page answers in Slack's place with HTTP 307; messages wait",
    ] {
        assert!(err.contains(words), "{words} in {err}");
    }
}

#[test]
fn a_webhook_file_without_an_address_is_named() {
    let no_file: fn(&Path) = |_| {};
    let empty: fn(&Path) = |file| std::fs::write(file, "\n").expect("a file");
    let device: fn(&Path) = |file| std::os::unix::fs::symlink("/dev/zero", file).expect("a link");
    let open_to_all: fn(&Path) = |file| {
        std::fs::write(file, "https://127.0.0.1:1/other").expect("a file");
        let mode = std::fs::Permissions::from_mode(0o666);
        std::fs::set_permissions(file, mode).expect("it is ours");
    };
    for (place, words) in [
        (open_to_all, "is not used: others may write it (mode 666)"),
        (empty, "is empty; messages wait"),
        (no_file, "does not exist; messages wait"),
        (make_pipe, "it is not a plain file; messages wait"),
        (device, "it is not a plain file; messages wait"),
    ] {
        let slack = FakeSlack::start(&[]);
        let mut pod = Pod::new(&slack);
        let file = pod.environment.home().join("webhook");
        place(&file);
        pod.unset("SLACK_WEBHOOK_URL");
        pod.set("KMSCTL_NOTIFIER_WEBHOOK_FILE", &file.display().to_string());
        let running = pod.start();
        activate(&pod.log(), 1);
        running.wait_metric("kms_slack_queue_length", |count| is(count, 1));
        replace(&file, &slack.url);
        slack.wait_for(1);
        let (_, _, err) = running.stop();
        assert_eq!(err.matches(words).count(), 1, "{err}");
    }
}

/// Returns the lines of stderr, those about the log's being there left out.
fn lines(err: &str) -> Vec<&str> {
    err.lines().filter(|line| !is_presence(line)).collect()
}

#[test]
fn an_outage_and_its_end_are_reported_once() {
    const BUSY: Answer = Answer::Say(503, "Retry-After: 1\r\n", "");
    let slack = FakeSlack::start(&[BUSY, BUSY, BUSY]);
    let pod = Pod::new(&slack);
    let running = pod.start();
    for number in 1..8 {
        activate(&pod.log(), number);
    }
    slack.wait_for(1);
    running.wait_metric("kms_slack_queue_length", |count| is(count, 0.0));
    // A second outage is reported again.
    slack.answer(BUSY);
    activate(&pod.log(), 8);
    let taken = slack.taken().len();
    assert!(eventually(|| slack.taken().len() > taken + 1));
    slack.answer(OK);
    slack.wait_for(2);
    running.wait_metric("kms_slack_queue_length", |count| is(count, 0.0));
    let (code, _, err) = running.stop();
    let said = lines(&err);
    assert_eq!((code, said.len()), (Some(0), 4), "{err}");
    let trouble =
        "Slack answers with HTTP 503 and asks to wait 1s; messages wait and are tried again.";
    assert_eq!([said[0], said[2]], [trouble; 2]);
    for (line, end) in [
        (said[1], "; 7 posts that waited go out now."),
        (said[3], "; 1 post that waited goes out now."),
    ] {
        let right = line.starts_with("Slack answers again after ") && line.ends_with(end);
        assert!(right, "{err}");
    }
}

/// A server that answers a TLS client as a web server without TLS does.
fn no_tls() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4_096]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    format!("https://{address}/services/SECRET")
}

#[test]
fn the_cause_is_named_and_the_address_is_not() {
    let plain = FakeSlack::start(&[]);
    let tls = no_tls();
    for (url, cause) in [
        ("http://127.0.0.1:1/services/SECRET", "the connection is refused"),
        ("https://no-such-host.invalid/services/SECRET", "its name "),
        (tls.as_str(), "TLS fails"),
    ] {
        let mut pod = Pod::new(&plain);
        pod.set("SLACK_WEBHOOK_URL", url);
        let running = pod.start();
        activate(&pod.log(), 1);
        running.wait_metric("kms_slack_posts_total{result=\"error\"}", |count| count > 1.5);
        let (out, err) = running.kill();
        let said = lines(&err);
        assert_eq!(said.len(), 1, "not one for each try: {err}");
        assert!(
            said[0].starts_with("Slack cannot be reached: ") && said[0].contains(cause),
            "{err}"
        );
        assert!(!(out + &err).contains("SECRET"), "{err}");
    }
}

#[test]
fn a_private_authority_is_trusted_where_named() {
    let openssl = ["/usr/bin/openssl"];
    let Some(openssl) = program("a Slack with a private certificate", &openssl) else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    make_certificates(&openssl, folder.path());
    let url = slack_with_private_certificate(folder.path());
    for (trusted, result) in [(false, "error"), (true, "ok")] {
        let mut pod = Pod::new(&FakeSlack::start(&[]));
        pod.set("SLACK_WEBHOOK_URL", &url);
        if trusted {
            let authority = folder.path().join("authority.pem");
            pod.set("SSL_CERT_FILE", &authority.display().to_string());
        }
        let running = pod.start();
        activate(&pod.log(), 1);
        let posts = format!("kms_slack_posts_total{{result=\"{result}\"}}");
        running.wait_metric(&posts, |count| count > 0.0);
        let (_, err) = running.kill();
        assert_eq!(err.contains("TLS fails"), !trusted, "{err}");
    }
}

#[test]
fn a_new_webhook_ends_a_long_wait() {
    let slow = FakeSlack::start(&[Answer::Say(429, "Retry-After: 10800\r\n", "rate_limited")]);
    let other = FakeSlack::start(&[]);
    let mut pod = Pod::new(&slow);
    let file = pod.environment.home().join("webhook");
    pod.unset("SLACK_WEBHOOK_URL");
    pod.set("KMSCTL_NOTIFIER_WEBHOOK_FILE", &file.display().to_string());
    replace(&file, &slow.url);
    let running = pod.start();
    activate(&pod.log(), 1);
    running.wait_metric("kms_slack_posts_total{result=\"rate_limited\"}", |count| is(count, 1.0));
    // The same file again changes nothing: a wait of 10 minutes would be the old bound.
    std::thread::sleep(Duration::from_millis(2_500));
    assert_eq!((slow.taken().len(), other.taken().len()), (1, 0));
    replace(&file, &other.url);
    other.wait_for(1);
    let (code, _, err) = running.stop();
    assert_eq!(code, Some(0));
    assert!(err.contains("HTTP 429 and asks to wait 3h, which is cut to 1h"), "{err}");
}

#[test]
fn connections_cut_for_a_while_lose_nothing_and_repeat_nothing() {
    let slack = FakeSlack::start(&[]);
    let mut pod = Pod::new(&slack);
    pod.set("KMSCTL_NOTIFIER_DIGEST_FROM", "1000");
    let running = pod.start();
    activate(&pod.log(), 0);
    // Also the connection that is kept open is cut.
    slack.wait_for(1);
    slack.reset(true);
    for number in 1..15 {
        activate(&pod.log(), number);
    }
    let errors = "kms_slack_posts_total{result=\"error\"}";
    running.wait_metric(errors, |count| count > 1.5);
    let (_, err) = running.kill();
    assert!(err.contains("the connection is cut"), "{err}");
    let running = pod.start();
    for number in 15..30 {
        activate(&pod.log(), number);
    }
    running.wait_metric(errors, |count| count > 1.5);
    assert_eq!(slack.posted_texts().len(), 1);
    slack.reset(false);
    slack.wait_for(30);
    running.wait_metric("kms_slack_queue_length", |count| is(count, 0.0));
    let (code, _, err) = running.stop();
    let said = lines(&err);
    assert_eq!((code, said.len()), (Some(0), 2), "{err}");
    assert!(
        said[0].contains("the connection is cut") && said[1].contains("; 29 posts that waited go"),
        "{err}"
    );
    let wanted: std::collections::BTreeMap<_, _> =
        (0..30).map(|number| (client(number), 1)).collect();
    assert_eq!(slack.clients(), wanted);
}

/// On a quiet day: no message follows that could prove the new webhook, and the alert must end all the same.
#[test]
fn a_renewed_webhook_takes_the_refusal_back() {
    const REFUSED: Answer = Answer::Say(404, "", "no_service");
    let (old, new) = (FakeSlack::start(&[REFUSED]), FakeSlack::start(&[REFUSED]));
    let mut pod = Pod::new(&old);
    let file = pod.environment.home().join("webhook");
    pod.unset("SLACK_WEBHOOK_URL");
    pod.set("KMSCTL_NOTIFIER_WEBHOOK_FILE", &file.display().to_string());
    replace(&file, &old.url);
    let running = pod.start();
    let refused = "kms_slack_last_rejected_timestamp_seconds";
    activate(&pod.log(), 1);
    running.wait_metric(refused, |at| at > 0.0);
    // The same address in a new file is no repair, nor is a file that is half written.
    for same in [format!("{}\n", old.url), String::new(), old.url.clone()] {
        replace(&file, &same);
        std::thread::sleep(Duration::from_millis(1_500));
        assert!(running.metric(refused).is_some_and(|at| at > 0.0), "{same}");
    }
    replace(&file, &new.url);
    running.wait_metric(refused, |at| is(at, 0));
    assert_eq!((old.taken().len(), new.taken().len()), (1, 0), "no message since");
    // Which is revoked as well, as the next message shows.
    activate(&pod.log(), 2);
    running.wait_metric(refused, |at| at > 0.0);
    let (_, _, err) = running.stop();
    assert_eq!(err.matches("There is another address in the webhook's file").count(), 1, "{err}");
}

#[test]
fn only_slacks_own_words_end_a_message() {
    const SOON: &str = "Retry-After: 1\r\n";
    let slack = FakeSlack::start(&[
        Answer::Say(401, SOON, "<!DOCTYPE html><title>log in</title>"),
        Answer::Say(403, SOON, "access_denied"),
        Answer::Say(404, SOON, ""),
        Answer::Say(407, SOON, r#"{"error":"no_service"}"#),
    ]);
    let pod = Pod::new(&slack);
    let running = pod.start();
    activate(&pod.log(), 1);
    slack.wait_for(1);
    running.wait_metric("kms_slack_posts_total{result=\"ok\"}", |count| is(count, 1));
    assert_eq!(running.metric("kms_slack_posts_total{result=\"rejected\"}"), Some(0.0));
    let (_, _, err) = running.stop();
    for words in [
        "A web page answers in Slack's place with HTTP 401; messages wait",
        "Something that is not Slack answers in Slack's place with HTTP 404; messages wait",
    ] {
        assert!(err.contains(words), "{words} in {err}");
    }
}
