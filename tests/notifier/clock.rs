//! The server's clock is another one: what is read as it is written is posted all the same, and the clock is named.

use std::io::Write as _;
use std::path::Path;

use crate::support::pods::{FakeSlack, Pod, activate, activation, is};
use crate::support::skip::program;

/// Appends one whole activation in one write, stamped so many seconds from now.
fn activate_at(log: &Path, number: u32, seconds: i64) {
    let at = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
    let stamp = at.strftime("%Y-%m-%d %H:%M:%S: ").to_string();
    let lines = activation(number).into_iter();
    let text: String = lines.map(|line| format!("{stamp}{line}\n")).collect();
    let file = std::fs::OpenOptions::new().create(true).append(true).open(log);
    file.expect("the log").write_all(text.as_bytes()).expect("lines");
}

#[test]
fn a_wrong_server_clock_stops_no_post() {
    for (off, words) in [
        (-661_i32, "The server's clock is 11m behind; its stamps are not used."),
        (-7_200, "The server's clock is 2h behind; its stamps are not used."),
        (20_700, "The server's clock is 5h 45m ahead; its stamps are not used."),
    ] {
        let slack = FakeSlack::start(&[]);
        let pod = Pod::new(&slack);
        std::fs::write(pod.log(), "").expect("a log");
        let running = pod.start();
        running.wait_metric("kms_log_open", |open| is(open, 1));
        activate_at(&pod.log(), 1, off.into());
        slack.wait_for(1);
        activate_at(&pod.log(), 2, off.into());
        slack.wait_for(2);
        running
            .wait_metric("kms_log_clock_skew_seconds", |skew| (skew - f64::from(off)).abs() < 9.0);
        let (_, _, err) = running.stop();
        assert_eq!(err.matches(words).count(), 1, "{err}");
        // While the notifier is away, and after the log was renamed.
        activate_at(&pod.log(), 3, off.into());
        let running = pod.start();
        slack.wait_for(3);
        std::fs::rename(pod.log(), pod.log().with_extension("log.1")).expect("a rename");
        activate_at(&pod.log(), 4, off.into());
        slack.wait_for(4);
        assert_eq!(running.stop().0, Some(0));
    }
}

/// The notifier's own clock is another one, and is set while it runs: nothing that the server writes is too old.
#[test]
fn a_wrong_own_clock_stops_no_post() {
    let library =
        format!("/usr/lib/{}-linux-gnu/faketime/libfaketimeMT.so.1", std::env::consts::ARCH);
    let Some(library) = program("a notifier whose own clock is off", &[&library]) else {
        return;
    };
    for (first, then) in [("-2h", "+0"), ("+0", "-2h"), ("+3h", "-1h")] {
        let slack = FakeSlack::start(&[]);
        let pod = Pod::new(&slack);
        let offset = pod.state().with_extension("clock");
        std::fs::write(pod.log(), "").expect("a log");
        let start = || {
            let mut command = pod.command(&[]);
            command.env("LD_PRELOAD", &library).env("FAKETIME_TIMESTAMP_FILE", &offset);
            command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("FAKETIME_CACHE_DURATION", "1");
            pod.start_quickly(command)
        };
        std::fs::write(&offset, first).expect("an offset");
        let running = start();
        running.wait_metric("kms_log_open", |open| is(open, 1));
        activate_at(&pod.log(), 1, 0);
        slack.wait_for(1);
        std::fs::write(&offset, then).expect("an offset");
        // One line that does not fit a clock that did is not taken for more than a line.
        for number in 2..4 {
            std::thread::sleep(std::time::Duration::from_secs(3));
            activate_at(&pod.log(), number, 0);
            slack.wait_for(number as usize);
        }
        let (code, _, said) = running.stop();
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("The server's clock is "), "{first}, {then}: {said}");
        activate_at(&pod.log(), 4, 0);
        let running = start();
        slack.wait_for(4);
        assert_eq!(running.stop().0, Some(0), "{first}, {then}");
    }
}

/// Lines of another day, or of an hour ago, that someone appends to the log: posted, and no clock is off. One that is set while
/// the notifier runs is off as soon as a second line bears it out.
#[test]
fn old_lines_in_a_followed_log_are_no_clock() {
    let slack = FakeSlack::start(&[]);
    let pod = Pod::new(&slack);
    std::fs::write(pod.log(), "").expect("a log");
    let running = pod.start();
    running.wait_metric("kms_log_open", |open| is(open, 1));
    activate_at(&pod.log(), 1, 0);
    slack.wait_for(1);
    activate_at(&pod.log(), 2, -7_200);
    slack.wait_for(2);
    let day: String = (0..24_i64)
        .flat_map(|hour| {
            let at = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(48 - hour);
            let stamp = at.strftime("%Y-%m-%d %H:%M:%S: ").to_string();
            activation(3).into_iter().map(move |line| format!("{stamp}{line}\n"))
        })
        .collect();
    let file = std::fs::OpenOptions::new().append(true).open(pod.log());
    file.expect("the log").write_all(day.as_bytes()).expect("lines");
    slack.wait_for(3);
    std::thread::sleep(std::time::Duration::from_secs(3));
    activate_at(&pod.log(), 4, 0);
    slack.wait_for(4);
    let skew = running.metric("kms_log_clock_skew_seconds").expect("a number");
    assert!(skew.abs() < 60.0, "{skew}");
    for number in 5..7 {
        activate_at(&pod.log(), number, -7_200);
        std::thread::sleep(std::time::Duration::from_secs(3));
    }
    running.wait_metric("kms_log_clock_skew_seconds", |skew| (skew + 7_200.0).abs() < 60.0);
    for number in 7..9 {
        activate_at(&pod.log(), number, 0);
        std::thread::sleep(std::time::Duration::from_secs(3));
    }
    running.wait_metric("kms_log_clock_skew_seconds", |skew| skew.abs() < 60.0);
    let (_, _, err) = running.stop();
    assert_eq!(err.matches("The server's clock is ").count(), 1, "{err}");
    assert!(err.contains("The server's clock is 2h behind; its stamps are not used."), "{err}");
    assert_eq!(err.matches("The server's clock agrees with this one again.").count(), 1, "{err}");
}

/// Of what was there before the notifier first looked no clock is known to be off: no message is of a time to come.
#[test]
fn a_first_read_posts_no_future_date() {
    for ahead in [30, 7_200] {
        let slack = FakeSlack::start(&[]);
        let pod = Pod::new(&slack);
        activate_at(&pod.log(), 1, ahead);
        let running = pod.start();
        slack.wait_for(1);
        let now = jiff::Timestamp::now().as_second();
        let texts = slack.posted_texts();
        let date = texts[0].split_once("<!date^").and_then(|(_, rest)| rest.split_once('^'));
        let date: i64 = date.expect("a date").0.parse().expect("seconds");
        assert!((now - 60..=now).contains(&date), "{ahead}: {date}, {now}");
        assert_eq!(running.stop().0, Some(0));
    }
}

/// What is printed and shown of a server whose clock is behind carries the time here, after a restart as well.
#[test]
fn a_wrong_server_clock_is_set_right_in_what_is_shown() {
    let slack = FakeSlack::start(&[]);
    let pod = Pod::new(&slack);
    std::fs::write(pod.log(), "").expect("a log");
    let seconds = |at: jiff::Timestamp| f64::from(u32::try_from(at.as_second()).expect("a time"));
    let now = seconds(jiff::Timestamp::now());
    for round in 1..=2 {
        let running = pod.start_quickly(pod.command(&["--echo"]));
        running.wait_metric("kms_log_open", |open| is(open, 1));
        if round == 1 {
            activate_at(&pod.log(), 1, -7_200);
        }
        slack.wait_for(round);
        let shown = |name: &str| running.metric(name).unwrap_or_default();
        let near = |at: f64| (at - now).abs() < 120.0;
        assert!(near(shown("kms_log_last_line_timestamp_seconds")));
        assert!(near(shown("kms_last_activation_timestamp_seconds")));
        // The next one comes while the notifier is away.
        let (_, out, _) = running.stop();
        let record: serde_json::Value =
            serde_json::from_str(out.lines().last().unwrap_or_default()).expect("a record");
        let at: jiff::Timestamp = record["at"].as_str().expect("a time").parse().expect("a time");
        assert!(near(seconds(at)), "{out}");
        activate_at(&pod.log(), 2, -7_200);
    }
}

#[test]
fn a_lost_checkpoint_is_a_first_start() {
    for gone in ["checkpoint", "log"] {
        let slack = FakeSlack::start(&[]);
        let pod = Pod::new(&slack);
        let running = pod.start();
        activate(&pod.log(), 1);
        slack.wait_for(1);
        assert_eq!(running.stop().0, Some(0));
        let words = if gone == "checkpoint" {
            std::fs::remove_dir_all(pod.state()).expect("a removal");
            "There is no checkpoint"
        } else {
            "The file that the checkpoint names is gone"
        };
        std::fs::remove_file(pod.log()).expect("a removal");
        activate_at(&pod.log(), 2, -3_600);
        activate_at(&pod.log(), 3, -5);
        let running = pod.start();
        slack.wait_for(2);
        // What comes after the first look is live.
        activate_at(&pod.log(), 4, -3_600);
        slack.wait_for(3);
        running.wait_metric("kms_requests_total{result=\"answered\"}", |count| is(count, 3));
        let (_, _, err) = running.stop();
        assert!(err.contains(words), "{err}");
        assert!(
            slack.posted_texts().iter().all(|text| !text.contains("PC-2")),
            "{:?}",
            slack.posted_texts()
        );
    }
}

#[test]
fn replay_judges_as_if_followed_live() {
    let slack = FakeSlack::start(&[]);
    let pod = Pod::new(&slack);
    activate_at(&pod.log(), 1, -3_600);
    activate_at(&pod.log(), 2, -5);
    let log = pod.log().display().to_string();
    let decided = |more: &[&str]| {
        let run = pod.environment.run(&[&["notifier", "replay", &log, "-o", "csv"], more].concat());
        let text = run.success();
        [text.matches(",post,").count(), text.matches(",too-old,").count()]
    };
    assert_eq!(decided(&[]), [2, 0]);
    assert_eq!(decided(&["--as-first-read"]), [1, 1]);
}
