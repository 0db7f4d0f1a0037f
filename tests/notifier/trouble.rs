//! Everything around the notifier goes wrong, and it neither ends nor loses what it could have kept.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::support::pods::{
    Answer, FakeSlack, Pod, Running, activate, activation, append, eventually, is, is_presence,
    stamp, within,
};
use crate::support::skip::skip;

#[test]
fn a_broken_checkpoint_gives_way_to_the_one_before_and_then_to_a_first_start() {
    let slack = FakeSlack::start(&[]);
    let pod = Pod::new(&slack);
    let running = pod.start();
    activate(&pod.log(), 1);
    slack.wait_for(1);
    assert_eq!(running.stop().0, Some(0));
    let newest = pod.state().join("checkpoint");
    let previous = pod.state().join("checkpoint.previous");
    let whole = std::fs::read(&newest).expect("a checkpoint");
    for broken in [&b""[..], b"{}", &whole[..whole.len() - 9], &[0; 10_000]] {
        std::fs::copy(&newest, &previous).expect("a copy");
        std::fs::write(&newest, broken).expect("a write");
        let running = pod.start();
        activate(&pod.log(), 1);
        running.wait_metric("kms_log_lines_total", |lines| lines >= 24.0);
        let (code, _, err) = running.stop();
        assert!(code == Some(0) && err.contains("the one before it is used"), "{err}");
    }
    assert_eq!(slack.posted_texts().len(), 1, "the window was not forgotten");
    std::fs::write(&newest, "x").expect("a write");
    std::fs::write(&previous, "y").expect("a write");
    // What happened long ago is counted and not posted.
    let old = activation(2)
        .iter()
        .map(|text| format!("2026-01-01 00:00:00: {text}\n"))
        .collect::<String>();
    let text = std::fs::read(pod.log()).expect("a log");
    std::fs::write(pod.log(), [old.as_bytes(), &text].concat()).expect("a log");
    let running = pod.start();
    running.wait_metric("kms_requests_total{result=\"answered\"}", |count| is(count, 6.0));
    slack.wait_for(2);
    let (code, _, err) = running.stop();
    assert!(code == Some(0) && err.contains("Both checkpoints are broken"), "{err}");
    assert!(slack.posted_texts().iter().all(|text| !text.contains("PC-2")), "too old to post");
    // A folder in the checkpoint's place cannot be written over: said, counted, and no end.
    std::fs::remove_file(&newest).expect("a removal");
    let _ = std::fs::remove_file(pod.state().join("checkpoint.new"));
    std::fs::create_dir_all(pod.state().join("checkpoint.new/x")).expect("a folder");
    let running = pod.start();
    activate(&pod.log(), 3);
    assert!(eventually(|| slack.posted_texts().iter().any(|text| text.contains("PC-3"))));
    running.wait_metric("kms_checkpoint_failures_total", |count| count > 0.0);
    let (code, _, err) = running.stop();
    assert!(code == Some(1) && err.matches("cannot be written").count() == 1, "{err}");
    assert!(err.contains("The last checkpoint was not written"), "{err}");
}

/// Returns the notifier in mounts of its own, made by `script`.
fn mounted(pod: &Pod, script: &str) -> Option<Command> {
    let probe = Command::new("unshare").args(["-m", "true"]).status();
    if !probe.is_ok_and(|status| status.success()) {
        skip("a full disk and a read-only log", "mounts of one's own need root and unshare");
        return None;
    }
    let inner = pod.command(&[]);
    let mut command = Command::new("unshare");
    command
        .args(["-m", "sh", "-c", &format!("{script} && exec \"$0\" \"$@\"")])
        .arg(inner.get_program())
        .args(inner.get_args())
        .env_clear()
        .envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .current_dir(pod.environment.home());
    Some(command)
}

#[test]
fn a_full_disk_stops_no_message_and_heals_when_there_is_room() {
    let slack = FakeSlack::start(&[]);
    let pod = Pod::new(&slack);
    std::fs::create_dir_all(pod.state()).expect("a folder");
    let state = pod.state().display().to_string();
    let script = format!(
        "mount -t tmpfs -o size=256k none {state} && dd if=/dev/zero of={state}/ballast bs=1k count=252 2>/dev/null"
    );
    let Some(command) = mounted(&pod, &script) else {
        return;
    };
    activate(&pod.log(), 1);
    let running = pod.start_quickly(command);
    slack.wait_for(1);
    for number in 2..60 {
        activate(&pod.log(), number);
    }
    running.wait_metric("kms_checkpoint_failures_total", |count| count > 0.0);
    running.wait_metric("kms_slack_queue_length", |count| is(count, 0.0));
    running.wait_metric("kms_log_lines_total", |lines| is(lines, 59.0 * 24.0));
    let inside = format!("/proc/{}/root{state}", running.id());
    std::fs::remove_file(format!("{inside}/ballast")).expect("room again");
    let newest = format!("{inside}/checkpoint");
    let size = std::fs::metadata(pod.log()).expect("a log").len();
    let healed = eventually(|| {
        std::fs::read_to_string(&newest)
            .is_ok_and(|text| text.contains(&format!("\"offset\":{size}")))
    });
    assert!(healed, "the checkpoint is written once there is room, without a new line");
    let (code, _, err) = running.stop();
    assert_eq!(code, Some(0));
    assert_eq!(err.matches("checkpoint cannot be written").count(), 1, "{err}");
    assert_eq!(err.matches("The checkpoint is written again.").count(), 1, "{err}");
}

#[test]
fn a_read_only_log_directory_is_enough() {
    let slack = FakeSlack::start(&[]);
    let pod = Pod::new(&slack);
    let folder = pod.log().parent().expect("a folder").display().to_string();
    let Some(command) = mounted(
        &pod,
        &format!("mount --bind {folder} {folder} && mount -o remount,ro,bind {folder}"),
    ) else {
        return;
    };
    let running = pod.start_quickly(command);
    activate(&pod.log(), 1);
    slack.wait_for(1);
    std::fs::rename(pod.log(), pod.log().with_extension("log.1")).expect("a rotation");
    activate(&pod.log(), 2);
    slack.wait_for(2);
    let (code, _, err) = running.stop();
    // The log was not there at first, or it was: nothing else is said.
    let rest: Vec<&str> = err.lines().filter(|line| !is_presence(line)).collect();
    assert_eq!((code, rest), (Some(0), vec![]), "{err}");
}

#[test]
fn a_log_that_comes_late_is_waited_for_aloud() {
    let slack = FakeSlack::start(&[]);
    let pod = Pod::new(&slack);
    let folder = pod.log().parent().expect("a folder").to_owned();
    std::fs::remove_dir(&folder).expect("a removal");
    let running = pod.start();
    // Many looks later it is said once, and the pod is alive for Kubernetes.
    std::thread::sleep(Duration::from_millis(700));
    let status = |path: &str| running.get(path).expect("an answer")[..12].to_owned();
    assert_eq!(status("/healthz"), "HTTP/1.1 200");
    assert_eq!(status("/readyz"), "HTTP/1.1 503");
    std::fs::create_dir(&folder).expect("a folder");
    activate(&pod.log(), 1);
    slack.wait_for(1);
    assert_eq!(status("/readyz"), "HTTP/1.1 200");
    // A rotation leaves no log for a while, which is not reported.
    std::fs::rename(pod.log(), folder.join("vlmcsd.log.1")).expect("a rotation");
    std::thread::sleep(Duration::from_millis(700));
    activate(&pod.log(), 2);
    slack.wait_for(2);
    let (code, _, err) = running.stop();
    let log = pod.log().display().to_string();
    let wanted = format!(
        "The log {log} does not exist yet; waiting.\nThe log {log} is there now and is read.\n"
    );
    assert_eq!((code, err), (Some(0), wanted));
}

#[test]
fn a_log_that_is_no_file_is_reported_and_never_opened() {
    let slack = FakeSlack::start(&[]);
    for pipe in [true, false] {
        let pod = Pod::new(&slack);
        if pipe {
            let made = Command::new("mkfifo").arg(pod.log()).status();
            assert!(made.is_ok_and(|status| status.success()));
        } else {
            std::fs::create_dir(pod.log()).expect("a folder");
        }
        let running = pod.start();
        std::thread::sleep(Duration::from_millis(400));
        let ready = running.get("/readyz").expect("an answer");
        assert!(ready.starts_with("HTTP/1.1 503"), "{ready}");
        assert!(running.get("/healthz").is_some_and(|page| page.starts_with("HTTP/1.1 200")));
        let open = |running: &Running| running.metric("kms_log_open");
        assert_eq!(open(&running), Some(0.0));
        assert_eq!(
            running.metric("kms_log_last_read_timestamp_seconds"),
            Some(0.0),
            "a look that fails is none"
        );
        if pipe {
            std::fs::remove_file(pod.log()).expect("a removal");
        } else {
            std::fs::remove_dir(pod.log()).expect("a removal");
        }
        let before = slack.posted_texts().len();
        activate(&pod.log(), 1);
        slack.wait_for(before + 1);
        assert_eq!(open(&running), Some(1.0));
        let (code, _, err) = running.stop();
        assert_eq!(code, Some(0));
        assert_eq!(err.matches("not a regular file").count(), 1, "{err}");
    }
}

#[test]
fn two_notifiers_on_one_checkpoint_are_refused() {
    let slack = FakeSlack::start(&[]);
    let mut pod = Pod::new(&slack);
    let listen = format!("127.0.0.1:{}", crate::support::pods::free_port());
    let first = pod.start();
    pod.set("KMSCTL_NOTIFIER_LISTEN", &listen);
    let mut second = pod.start_quickly(pod.command(&[]));
    assert!(eventually(|| second.has_ended()));
    let (code, _, err) = second.ended();
    assert!(code == Some(6) && err.contains("another notifier uses"), "{err}");
    // A killed one leaves no lock behind.
    first.kill();
    pod.set("KMSCTL_NOTIFIER_LISTEN", &format!("127.0.0.1:{}", pod.port));
    assert_eq!(pod.start().stop().0, Some(0));
}

#[test]
fn a_giant_line_and_forged_ones_cost_themselves_only() {
    let slack = FakeSlack::start(&[]);
    let pod = Pod::new(&slack);
    let mut log =
        std::fs::File::options().create(true).append(true).open(pod.log()).expect("a log");
    activate(&pod.log(), 1);
    // 10 MB without a newline; the notifier dies in the middle of it.
    let forged = format!("x{}IPv4 connection accepted: 9.9.9.9:9.", stamp());
    let piece = forged.repeat(5_000_000 / forged.len());
    log.write_all(piece.as_bytes()).expect("a write");
    let running = pod.start();
    slack.wait_for(1);
    let length = std::fs::metadata(pod.log()).expect("a log").len();
    let checkpoint = pod.state().join("checkpoint");
    let read = eventually(|| {
        std::fs::read_to_string(&checkpoint)
            .is_ok_and(|text| text.contains(&format!("\"offset\":{length}")))
    });
    assert!(read, "the checkpoint follows into the giant line");
    running.kill();
    log.write_all(piece.as_bytes()).expect("a write");
    log.write_all(b"\n").expect("a write");
    let mut lines = activation(2);
    lines.insert(2, "IPv4 connection closed: 1.2.3.4:5.".to_owned());
    lines.insert(2, "x: IPv4 connection accepted: 8.8.8.8:5.".to_owned());
    append(&pod.log(), &lines);
    log.write_all(b"\xff\xfe\x00\r\x0b\n\n").expect("a write");
    activate(&pod.log(), 3);
    let running = pod.start();
    slack.wait_for(3);
    let page = running.get("/metrics").expect("a page");
    assert!(page.contains("kms_connection_probes_total{source=\"external\"} 0"), "{page}");
    assert!(page.contains("kms_open_connections 0"), "{page}");
    running.stop();
    assert_eq!(slack.clients().len(), 3);
}

#[test]
fn a_flood_of_connections_is_counted_to_the_last() {
    let slack = FakeSlack::start(&[]);
    let pod = Pod::new(&slack);
    let running = pod.start();
    let mut text = String::new();
    for number in 0..20_000_u32 {
        let peer = format!("203.0.{}.{}:{}", number / 250 % 250, number % 250 + 1, 1024 + number);
        text += &format!(
            "{0}IPv4 connection accepted: {peer}.\n{0}IPv4 connection closed: {peer}.\n",
            stamp()
        );
    }
    std::fs::write(pod.log(), text).expect("a log");
    activate(&pod.log(), 1);
    slack.wait_for(1);
    running.wait_metric("kms_connection_probes_total{source=\"external\"}", |count| {
        is(count, 20_000.0)
    });
    // Connections that never close are forgotten in the end, and counted.
    let open: Vec<String> = (0..6_000_u32)
        .map(|number| format!("IPv4 connection accepted: 203.0.113.9:{}.", 1_024 + number))
        .collect();
    append(&pod.log(), &open);
    running.wait_metric("kms_open_connections", |count| is(count, 4_096.0));
    running.wait_metric("kms_log_anomalies_total{kind=\"evicted\"}", |count| is(count, 1_904.0));
    running.stop();
}

#[test]
fn an_outbox_that_overflows_says_when() {
    let slack = FakeSlack::start(&[]);
    slack.answer(Answer::Say(503, "Retry-After: 3000\r\n", ""));
    let pod = Pod::new(&slack);
    let running = pod.start();
    let lines: String =
        (0..1_005).flat_map(activation).map(|line| format!("{}{line}\n", stamp())).collect();
    std::fs::write(pod.log(), lines).expect("the log");
    running.wait_metric("kms_slack_posts_total{result=\"dropped\"}", |count| count > 3.5);
    let at = running.metric("kms_slack_last_dropped_timestamp_seconds");
    assert!(at.is_some_and(|at| at > 1.7e9), "{at:?}");
    let (_, err) = running.kill();
    assert_eq!(err.matches("The outbox is full").count(), 1, "{err}");
}

#[test]
fn a_stop_waits_for_what_is_in_hand_and_repeats_nothing() {
    let slack = FakeSlack::start(&[Answer::Slow(1_500)]);
    let pod = Pod::new(&slack);
    let running = pod.start_quickly(pod.command(&["--echo=all"]));
    activate(&pod.log(), 1);
    assert!(eventually(|| slack.taken().len() == 1));
    for number in 2..12 {
        activate(&pod.log(), number);
    }
    running.wait_metric("kms_log_lines_total", |lines| is(lines, 264.0));
    let (code, out, _) = running.stop();
    assert_eq!(code, Some(0));
    let posted = slack.posted_texts();
    assert_eq!(posted.len(), 2, "{posted:?}");
    assert!(posted[1].contains("KMS: 10 activations while"), "{posted:?}");
    let events: Vec<serde_json::Value> =
        out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(events.len(), 11);
    assert!(
        events.iter().all(|event| event["event"] == "activation" && event["decision"] == "post")
    );
    let running = pod.start();
    std::thread::sleep(Duration::from_millis(500));
    running.stop();
    assert_eq!(slack.taken().len(), 2, "nothing is repeated");
}

#[test]
fn a_pipe_without_a_reader_stops_no_message_and_no_end() {
    let slack = FakeSlack::start(&[]);
    let pod = Pod::new(&slack);
    for round in 0..2 {
        let mut running = pod.start_quickly(pod.command(&["--echo=all"]));
        let before = slack.posted_texts().len();
        let mut text = String::new();
        for number in 0..12_000_u32 {
            let peer = format!("203.0.113.{}:{}", number % 250, 1_024 + number);
            text += &format!(
                "{0}IPv4 connection accepted: {peer}.\n{0}IPv4 connection closed: {peer}.\n",
                stamp()
            );
        }
        let mut log =
            std::fs::File::options().create(true).append(true).open(pod.log()).expect("a log");
        log.write_all(text.as_bytes()).expect("a log");
        activate(&pod.log(), round);
        // The pipe is full long before the activation is read.
        slack.wait_for(before + 1);
        running.wait_metric("kms_echo_dropped_total", |count| count > 0.0);
        running.ask_to_stop();
        assert!(eventually(|| running.has_ended()), "SIGTERM ends it");
        assert_eq!(running.ended().0, Some(0));
    }
}

#[test]
fn the_demo_has_no_notifier_and_touches_nothing() {
    let slack = FakeSlack::start(&[]);
    let pod = Pod::new(&slack);
    let mut running = pod.start_quickly(pod.command(&["--demo"]));
    assert!(eventually(|| running.has_ended()));
    let (code, _, err) = running.ended();
    assert!(code == Some(2) && err.contains("notifier replay"), "{err}");
    assert!(!pod.state().exists());
}

#[test]
fn no_other_account_may_read_the_state() {
    use std::os::unix::fs::PermissionsExt as _;
    let slack = FakeSlack::start(&[]);
    let pod = Pod::new(&slack);
    assert_eq!(pod.start().stop().0, Some(0));
    let mode = |path: &Path| path.metadata().expect("it exists").permissions().mode() & 0o777;
    assert_eq!(mode(&pod.state()), 0o700);
    assert_eq!(mode(&pod.state().join("lock")), 0o600);
}

#[test]
fn a_wrong_variable_is_named_as_it_was_given() {
    let slack = FakeSlack::start(&[]);
    for (name, value, wanted) in [
        ("DEDUP_WINDOW_SECONDS", "abc", "`abc` is not a number of seconds"),
        ("DEDUP_WINDOW_SECONDS", "1h", "`1h` is not a number of seconds"),
        ("METRICS_PORT", "99999", "`99999` is not a port from 1 to 65535"),
        ("METRICS_PORT", "0", "`0` is not a port from 1 to 65535"),
        ("KMSCTL_NOTIFIER_LISTEN", "here", "`here` is not an address and a port"),
        ("SLACK_WEBHOOK_URL", "ftp://hooks.slack.com/services/SECRET", "is no https:// address"),
        ("SLACK_WEBHOOK_URL", "http://hooks.slack.com/services/SECRET", "is no https:// address"),
        ("SLACK_WEBHOOK_URL", "https://[::1/services/SECRET", "is no valid address"),
    ] {
        let mut pod = Pod::new(&slack);
        pod.unset("KMSCTL_NOTIFIER_LISTEN");
        pod.set(name, value);
        let mut running = pod.start_quickly(pod.command(&[]));
        assert!(eventually(|| running.has_ended()), "{name}");
        let (code, _, err) = running.ended();
        assert!(code == Some(2) && err.contains(name) && err.contains(wanted), "{name}: {err}");
        assert!(!err.contains("SECRET"), "{err}");
    }
}

/// Kills follow each other at any moment; each activation is in what was printed, once or more.
#[test]
fn a_kill_loses_no_echoed_line() {
    let slack = FakeSlack::start(&[]);
    let pod = Pod::new(&slack);
    let (mut printed, mut random) = (String::new(), crate::support::pods::Random(7));
    let mut number = 0;
    for _ in 0..25 {
        let running = pod.start_quickly(pod.command(&["--echo"]));
        running.wait_metric("kms_slack_notifier_up", |up| is(up, 1));
        for _ in 0..=random.below(4) {
            number += 1;
            activate(&pod.log(), number);
        }
        std::thread::sleep(Duration::from_millis(random.below(150)));
        printed += &running.kill().0;
    }
    let running = pod.start_quickly(pod.command(&["--echo"]));
    running.wait_metric("kms_log_read_lag_bytes", |lag| is(lag, 0));
    printed += &running.stop().1;
    let missing = (1..=number).filter(|number| !printed.contains(&format!("PC-{number}\"")));
    assert_eq!(missing.count(), 0);
}

/// A reader that stands still, and then a kill: what it has not taken is printed by the next run.
#[test]
fn a_kill_beside_a_stalled_reader_loses_no_echoed_line() {
    let slack = FakeSlack::start(&[]);
    let pod = Pod::new(&slack);
    let running = pod.start_quickly(pod.command(&["--echo"]));
    let lines: String =
        (1..=300).flat_map(activation).map(|line| format!("{}{line}\n", stamp())).collect();
    std::fs::write(pod.log(), lines).expect("the log");
    running.wait_metric("kms_requests_total{result=\"answered\"}", |count| is(count, 300));
    // The checkpoint is beyond them.
    std::thread::sleep(Duration::from_secs(3));
    let mut printed = running.kill().0;
    let cut = printed.rfind('\n').unwrap_or_default();
    printed.truncate(cut);
    assert!(!printed.contains("PC-300\""), "the pipe was full");
    let running = pod.start_quickly(pod.command(&["--echo"]));
    running.wait_metric("kms_log_read_lag_bytes", |lag| is(lag, 0));
    printed += &running.stop().1;
    let missing = (1..=300).filter(|number| !printed.contains(&format!("PC-{number}\"")));
    assert_eq!(missing.count(), 0);
}

/// The server's own lines, and then those of another program under the same name.
#[test]
fn a_log_that_another_server_goes_on_with_is_named() {
    for (line, words) in [
        ("2026-05-10 13:00:00: hello world".to_owned(), ""),
        (
            "Mon, 17 Nov 2025 22:14:09 INFO     Received V6 request on Mon Nov 17".to_owned(),
            " They seem to be a log of py-kms, which is another server.",
        ),
    ] {
        let slack = FakeSlack::start(&[]);
        let pod = Pod::new(&slack);
        let running = pod.start();
        activate(&pod.log(), 1);
        slack.wait_for(1);
        append(&pod.log(), &vec![line; 40]);
        running.wait_metric("kms_log_understood", |understood| is(understood, 0));
        activate(&pod.log(), 2);
        slack.wait_for(2);
        running.wait_metric("kms_log_understood", |understood| is(understood, 1));
        let (_, _, err) = running.stop();
        assert!(err.contains("lines of the log") && err.contains(words), "{err}");
        assert!(!err.contains("clock"), "{err}");
    }
}

#[test]
fn a_log_without_its_name_is_reported_and_found_again() {
    let deleted: fn(&Path) = |log| std::fs::remove_file(log).expect("a removal");
    let moved: fn(&Path) = |log| {
        let elsewhere = log.parent().expect("a folder").with_file_name("away");
        std::fs::rename(log, elsewhere).expect("a rename");
    };
    for take_away in [deleted, moved] {
        let slack = FakeSlack::start(&[]);
        let pod = Pod::new(&slack);
        let running = pod.start();
        activate(&pod.log(), 1);
        slack.wait_for(1);
        running.wait_metric("kms_log_open", |open| is(open, 1));
        take_away(&pod.log());
        running.wait_metric("kms_log_open", |open| is(open, 0));
        assert!(running.get("/readyz").is_some_and(|page| page.starts_with("HTTP/1.1 503")));
        activate(&pod.log(), 2);
        slack.wait_for(2);
        running.wait_metric("kms_log_open", |open| is(open, 1));
        let (_, _, err) = running.stop();
        assert!(
            err.contains("is gone; waiting for it.") && err.contains("is there now and is read."),
            "{err}"
        );
    }
}

/// Generations that were rotated while the notifier was away, of which one goes before its turn: logrotate keeps too few.
#[test]
fn a_generation_that_goes_unread_is_reported() {
    let slack = FakeSlack::start(&[]);
    let pod = Pod::new(&slack);
    let running = pod.start();
    activate(&pod.log(), 1);
    slack.wait_for(1);
    assert_eq!(running.stop().0, Some(0));
    std::fs::rename(pod.log(), pod.log().with_extension("log.1")).expect("a rename");
    // Long enough to be read for a while.
    let probe = |number: u32| {
        let peer = format!("203.0.113.{}:{}", number % 250, 1_024 + number % 60_000);
        let (stamp, connection) = (stamp(), "IPv4 connection");
        format!("{stamp}{connection} accepted: {peer}.\n{stamp}{connection} closed: {peer}.\n")
    };
    let long: String = (0..200_000).map(probe).collect();
    std::fs::write(pod.log().with_extension("log.2"), long).expect("a log");
    let unread = pod.log().with_extension("log.3");
    activate(&unread, 2);
    activate(&pod.log(), 3);
    let running = pod.start();
    running.wait_metric("kms_log_lines_total", |lines| lines > 100.0);
    std::fs::remove_file(unread).expect("a removal");
    slack.wait_for(2);
    running.wait_metric("kms_log_rotations_total{kind=\"missing\"}", |count| is(count, 1));
    let (_, _, err) = running.stop();
    let words = "was gone before it was read to its end: what else was in it is lost.";
    assert_eq!(err.matches(words).count(), 1, "{err}");
    assert!(err.contains("`delaycompress`"), "{err}");
    let posted = slack.posted_texts();
    assert!(posted[1].contains("PC-3") && posted.len() == 2, "{posted:?}");
}

/// What has no whole line is named as well: packed, or without any newline, however long.
#[test]
fn a_log_without_a_line_is_named() {
    let zeros = vec![0; 1_000_000];
    let packed = b"\x1f\x8b\x08\0\0\0\0\0\0\x03\x4b\x4c\x4a\x06\0";
    let cases: [(&[u8], &str); 3] = [
        (packed, "It seems to be a file packed by gzip."),
        (&zeros, "It seems to be UTF-16 text or no text at all"),
        (b"2026-05-10 13:12:17: IPv4 conn", "is the KMS server's.\n"),
    ];
    let running = cases.map(|(bytes, words)| {
        let slack = FakeSlack::start(&[]);
        let pod = Pod::new(&slack);
        std::fs::write(pod.log(), bytes).expect("a log");
        (pod.start(), words, slack, pod)
    });
    for (running, words, slack, pod) in running {
        let named = within(Duration::from_secs(60), &mut || {
            running.get("/metrics").unwrap_or_default().contains("kms_log_understood 0\n")
        });
        assert!(named, "{words}");
        std::fs::remove_file(pod.log()).expect("a log");
        append(&pod.log(), &activation(1));
        slack.wait_for(1);
        running.wait_metric("kms_log_understood", |understood| is(understood, 1));
        let (_, _, err) = running.stop();
        assert_eq!(err.matches("No line of the log").count(), 1, "{err}");
        assert!(err.contains(words), "{words} in {err}");
    }
}

#[test]
fn a_log_of_another_server_is_named() {
    let slack = FakeSlack::start(&[]);
    let pod = Pod::new(&slack);
    std::fs::write(pod.log(), include_str!("../fixtures/wrapped/py-kms.log")).expect("a log");
    let running = pod.start();
    running.wait_metric("kms_log_understood", |understood| is(understood, 0));
    // The server's own lines, in Docker's JSON.
    let wrapped = |line: String| format!("{{\"log\":\"{}{line}\\n\"}}\n", stamp());
    let lines: String = activation(1).into_iter().map(wrapped).collect();
    std::fs::write(pod.log(), lines).expect("a log");
    slack.wait_for(1);
    running.wait_metric("kms_log_understood", |understood| is(understood, 1));
    let (_, _, err) = running.stop();
    for words in ["It seems to be a log of py-kms", "are understood now", "carries Docker's JSON"] {
        assert_eq!(err.matches(words).count(), 1, "{words} in {err}");
    }
}
