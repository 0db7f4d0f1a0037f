//! The window that several notifiers share through a server.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::Duration;

use crate::support::environment::TestEnvironment;
use crate::support::pods::{
    Answer, FakeSlack, OK, Pod, activate, activation, append, client, eventually, is, make_pipe,
};
use crate::support::redis::Redis;

/// Returns a pod with a shared window; nothing is merged, so that each client can be counted.
fn pod(slack: &FakeSlack, store: &str) -> Pod {
    let mut pod = Pod::new(slack);
    pod.set("KMSCTL_NOTIFIER_DEDUP_STORE", store);
    pod.set("KMSCTL_NOTIFIER_DIGEST_FROM", "1000");
    pod
}

const ACTIVATIONS: &str =
    "kms_activations_total{product=\"Windows 10 Professional\",status=\"Licensed\"}";
const SKIPPED: &str = "kms_activations_dedup_skipped_total{product=\"Windows 10 Professional\"}";

/// Returns what the server holds for a client.
fn held(redis: &Redis, number: u32) -> String {
    let key = format!("kmsctl:dedup:{}|2de67392-b7a7-462a-b1ca-108dd189f588", client(number));
    redis.ask(&["GET", &key]).unwrap_or_default()
}

#[test]
fn two_notifiers_on_one_window_post_each_client_once() {
    let Some(redis) = Redis::start(None) else {
        return;
    };
    let slack = FakeSlack::start(&[]);
    let pods = [pod(&slack, &redis.address()), pod(&slack, &redis.address())];
    let running = pods.each_ref().map(Pod::start);
    for number in 0..40 {
        for pod in &pods {
            activate(&pod.log(), number);
        }
    }
    let counted =
        |name: &str| -> f64 { running.iter().filter_map(|running| running.metric(name)).sum() };
    let settled = eventually(|| {
        running.iter().all(|running| running.metric("kms_slack_queue_length") == Some(0.0))
            && counted(ACTIVATIONS) + counted(SKIPPED) > 79.0
    });
    assert!(settled, "{} {}", counted(ACTIVATIONS), counted(SKIPPED));
    let wanted: BTreeMap<_, _> = (0..40).map(|number| (client(number), 1)).collect();
    assert_eq!(slack.clients(), wanted);
    assert!((counted(ACTIVATIONS) - 40.0).abs() < 0.1 && (counted(SKIPPED) - 40.0).abs() < 0.1);
    assert!(eventually(|| held(&redis, 7).contains("sent")), "{}", held(&redis, 7));
    // The window is as long as it is set to be.
    let key = format!("kmsctl:dedup:{}|2de67392-b7a7-462a-b1ca-108dd189f588", client(7));
    let left = redis.ask(&["TTL", &key]).expect("an answer");
    let left: u64 = left[1..left.find('\r').expect("a line")].parse().expect("seconds");
    assert!((3_500..=3_600).contains(&left), "{left}");
    for one in &running {
        assert_eq!(one.metric("kms_dedup_store_up"), Some(1.0));
        assert_eq!(one.metric("kms_dedup_unchecked_total"), Some(0.0));
    }
    for one in running {
        assert_eq!(one.stop().0, Some(0));
    }
}

#[test]
fn the_lease_of_a_killed_holder_runs_out_and_its_own_return_does_not_wait_for_that() {
    let Some(redis) = Redis::start(None) else {
        return;
    };
    let (hangs, works) = (FakeSlack::start(&[]), FakeSlack::start(&[]));
    hangs.answer(Answer::Hang);
    let mut holder = pod(&hangs, &redis.address());
    holder.set("KMSCTL_NOTIFIER_DEDUP_LEASE", "2s");
    let killed = holder.start();
    activate(&holder.log(), 1);
    assert!(eventually(|| hangs.taken().len() == 1));
    assert!(held(&redis, 1).contains("lease:"), "{}", held(&redis, 1));
    let other = pod(&works, &redis.address());
    let running = other.start();
    activate(&other.log(), 1);
    activate(&other.log(), 2);
    // The one that is free is not held up by the one that is not; the lease is kept up meanwhile.
    assert!(works.wait_for(1)[0].contains("PC-2"));
    std::thread::sleep(Duration::from_millis(2_500));
    assert_eq!(works.posted_texts().len(), 1, "the holder lives");
    killed.kill();
    assert!(works.wait_for(2)[1].contains("PC-1"));
    running.stop();
    // One that comes back knows its own lease, however long that is.
    holder.set("KMSCTL_NOTIFIER_DEDUP_LEASE", "1h");
    hangs.answer(Answer::Hang);
    let killed = holder.start();
    activate(&holder.log(), 3);
    assert!(eventually(|| held(&redis, 3).contains("lease:")));
    assert!(eventually(|| hangs.taken().iter().any(|taken| taken.text.contains("PC-3"))));
    killed.kill();
    hangs.answer(OK);
    let running = holder.start();
    assert!(eventually(|| hangs.posted_texts().iter().any(|text| text.contains("PC-3"))));
    assert!(eventually(|| held(&redis, 3).contains("sent")));
    // What the other posted while this one lay dead is not posted again.
    assert!(
        !hangs.posted_texts().iter().any(|text| text.contains("PC-1")),
        "{:?}",
        hangs.posted_texts()
    );
    running.stop();
}

#[test]
fn a_message_refused_for_good_gives_its_key_back() {
    let Some(redis) = Redis::start(None) else {
        return;
    };
    let slack = FakeSlack::start(&[Answer::Say(404, "", "no_service")]);
    let mut place = pod(&slack, &redis.address());
    place.set("KMSCTL_NOTIFIER_DEDUP_LEASE", "1h");
    let running = place.start();
    activate(&place.log(), 1);
    assert!(eventually(|| slack.taken().len() == 1));
    assert!(eventually(|| held(&redis, 1).starts_with("$-1")), "{}", held(&redis, 1));
    activate(&place.log(), 1);
    slack.wait_for(1);
    running.stop();
}

/// Appends a request that ends otherwise than with an answer: with a refusal, or with nothing.
fn ask_in_vain(pod: &Pod, number: u32, refusal: Option<&str>) {
    let lines = activation(number);
    append(&pod.log(), &lines[..14]);
    append(&pod.log(), &refusal.map_or(vec![], |line| vec![line.to_owned()]));
    append(&pod.log(), &lines[23..]);
}

/// Appends an activation that may be a client's or another's, who is connected at the same time.
fn ask_in_doubt(pod: &Pod, number: u32) {
    let other = |word: &str| vec![format!("IPv4 connection {word}: 198.51.100.66:9.")];
    let lines = activation(number);
    append(&pod.log(), &lines[..1]);
    append(&pod.log(), &other("accepted"));
    append(&pod.log(), &lines[1..]);
    append(&pod.log(), &other("closed"));
}

/// Returns how often a client was posted: in all, as refused, as not answered, as a guess.
fn count_posts(slack: &FakeSlack, number: u32) -> [usize; 4] {
    let client = format!("`{}`", client(number));
    let all: Vec<String> = slack.posted_texts();
    let of_client = all.iter().filter(|text| text.contains(&client));
    let count = |word: &str| of_client.clone().filter(|text| text.contains(word)).count();
    ["", "refused", "not answered", "client uncertain"].map(count)
}

#[test]
fn an_activation_is_posted_after_refusals_and_guesses() {
    let Some(redis) = Redis::start(None) else {
        return;
    };
    for store in ["memory", "file", &redis.address()] {
        let slack = FakeSlack::start(&[]);
        let place = pod(&slack, store);
        let in_vain = || {
            ask_in_vain(&place, 1, Some("Refusing (0xC004F042)"));
            ask_in_vain(&place, 2, None);
            ask_in_doubt(&place, 3);
        };
        let mut running = place.start();
        in_vain();
        slack.wait_for(3);
        if store != "memory" {
            assert_eq!(running.stop().0, Some(0));
            running = place.start();
        }
        (1..=4).for_each(|number| activate(&place.log(), number));
        slack.wait_for(7);
        // The same again is nothing new; a guess may be another client, who was not posted.
        in_vain();
        ask_in_doubt(&place, 4);
        (1..=4).for_each(|number| activate(&place.log(), number));
        running.wait_metric(SKIPPED, |count| is(count, 6.0));
        running.wait_metric("kms_slack_queue_length", |count| is(count, 0.0));
        assert_eq!(running.stop().0, Some(0));
        let books = [1, 2, 3, 4].map(|number| count_posts(&slack, number));
        let wanted = [[2, 1, 0, 0], [2, 0, 1, 0], [2, 0, 0, 1], [2, 0, 0, 1]];
        assert_eq!(books, wanted, "{store}: {:?}", slack.posted_texts());
    }
}

#[test]
fn a_guess_of_one_notifier_silences_no_client_of_another() {
    let Some(redis) = Redis::start(None) else {
        return;
    };
    let slack = FakeSlack::start(&[]);
    let pods = [pod(&slack, &redis.address()), pod(&slack, &redis.address())];
    let running = pods.each_ref().map(Pod::start);
    ask_in_doubt(&pods[0], 1);
    activate(&pods[0].log(), 2);
    slack.wait_for(2);
    assert!(eventually(|| held(&redis, 2).contains("sent")));
    assert!(held(&redis, 1).starts_with("$-1"), "{}", held(&redis, 1));
    activate(&pods[1].log(), 1);
    ask_in_doubt(&pods[1], 2);
    running[1].wait_metric(ACTIVATIONS, |count| is(count, 2.0));
    running[1].wait_metric("kms_slack_queue_length", |count| is(count, 0.0));
    let posted = || [1, 2].map(|number| count_posts(&slack, number));
    assert!(eventually(|| posted() == [[2, 0, 0, 1], [2, 0, 0, 1]]), "{:?}", posted());
    for one in running {
        assert_eq!(one.stop().0, Some(0));
    }
}

#[test]
fn a_server_that_goes_away_holds_nothing_up_and_learns_what_it_missed() {
    let Some(mut redis) = Redis::start(None) else {
        return;
    };
    let slack = FakeSlack::start(&[]);
    let (one, two) = (pod(&slack, &redis.address()), pod(&slack, &redis.address()));
    let running = one.start();
    activate(&one.log(), 1);
    slack.wait_for(1);
    redis.down();
    activate(&one.log(), 2);
    activate(&one.log(), 3);
    slack.wait_for(3);
    running.wait_metric("kms_dedup_store_up", |value| is(value, 0.0));
    running.wait_metric("kms_dedup_unchecked_total", |value| is(value, 2.0));
    running.wait_metric("kms_dedup_store_errors_total", |value| value >= 1.0);
    redis.up();
    running.wait_metric("kms_dedup_store_up", |value| is(value, 1.0));
    assert!(eventually(|| held(&redis, 2).contains("sent") && held(&redis, 3).contains("sent")));
    let other = two.start();
    activate(&two.log(), 2);
    activate(&two.log(), 4);
    slack.wait_for(4);
    other.wait_metric(SKIPPED, |value| is(value, 1.0));
    assert!(slack.clients().values().all(|count| *count == 1), "{:?}", slack.clients());
    // Frozen, with its connections open: the notifier goes on all the same.
    redis.freeze(true);
    activate(&one.log(), 5);
    slack.wait_for(5);
    running.wait_metric("kms_log_lines_total", |value| is(value, 96.0));
    redis.freeze(false);
    running.wait_metric("kms_dedup_store_up", |value| is(value, 1.0));
    let (code, _, err) = running.stop();
    assert_eq!(code, Some(0));
    assert_eq!(err.matches("is away").count(), 2, "once an outage: {err}");
    assert_eq!(err.matches("answers again").count(), 2, "{err}");
}

#[test]
fn what_is_owed_to_a_server_that_is_away_survives_a_kill() {
    let Some(mut redis) = Redis::start(None) else {
        return;
    };
    redis.down();
    let slack = FakeSlack::start(&[]);
    let place = pod(&slack, &redis.address());
    let running = place.start();
    activate(&place.log(), 1);
    slack.wait_for(1);
    running.wait_metric("kms_slack_queue_length", |value| is(value, 0.0));
    running.kill();
    redis.up();
    let running = place.start();
    assert!(eventually(|| held(&redis, 1).contains("sent")), "{}", held(&redis, 1));
    assert_eq!(slack.posted_texts().len(), 1);
    running.stop();
}

#[test]
fn passwords_come_from_address_file_or_environment_and_are_never_printed() {
    let Some(redis) = Redis::start(Some("hunter2")) else {
        return;
    };
    let slack = FakeSlack::start(&[]);
    let at = |login: &str| format!("redis://{login}127.0.0.1:{}/2", redis.port);
    let mut printed = String::new();
    // Wrong or none: reported in the server's own word, and messages go all the same.
    for (number, (login, word)) in [("u:hunter3@", "WRONGPASS"), ("", "NOAUTH")].iter().enumerate()
    {
        let place = pod(&slack, &at(login));
        let running = place.start();
        activate(&place.log(), u32::try_from(number).expect("small"));
        slack.wait_for(number + 1);
        running.wait_metric("kms_dedup_store_up", |value| is(value, 0.0));
        let (_, out, err) = running.stop();
        assert!(err.contains(word), "{err}");
        printed += &(out + &err);
    }
    let mut by_file = pod(&slack, &at("default:hunter3@"));
    let file = by_file.environment.home().join("password");
    std::fs::write(&file, "hunter2\n").expect("a file");
    by_file.set("KMSCTL_NOTIFIER_DEDUP_PASSWORD_FILE", &file.display().to_string());
    let mut by_environment = pod(&slack, &at(""));
    by_environment.set("REDIS_PASSWORD", "hunter2");
    for (number, place) in
        [pod(&slack, &at(":hunter2@")), by_file, by_environment].iter().enumerate()
    {
        let number = u32::try_from(number).expect("small") + 10;
        let running = place.start();
        activate(&place.log(), number);
        running.wait_metric("kms_slack_queue_length", |value| is(value, 0.0));
        running.wait_metric(ACTIVATIONS, |value| is(value, 1.0));
        assert_eq!(running.metric("kms_dedup_unchecked_total"), Some(0.0));
        let (_, out, err) = running.stop();
        printed += &(out + &err);
    }
    let environment = TestEnvironment::new();
    for (login, code) in [("u:hunter2@", 0), ("u:hunter2@:x", 2)] {
        let environment = &environment;
        for form in ["table", "json"] {
            let mut command = environment.command(&["config", "show", "-o", form]);
            command.env("KMSCTL_NOTIFIER_DEDUP_STORE", at(login));
            let output = command.output().expect("kmsctl runs");
            assert_eq!(output.status.code(), Some(code));
            printed += &String::from_utf8_lossy(&output.stdout);
            printed += &String::from_utf8_lossy(&output.stderr);
        }
    }
    assert!(printed.contains("redis://…@127.0.0.1"), "{printed}");
    assert!(!printed.contains("hunter"), "{printed}");
}

#[test]
fn a_window_over_tls_trusts_the_named_authority_alone() {
    let Some(redis) = Redis::start_with_tls() else {
        return;
    };
    let slack = FakeSlack::start(&[]);
    let (address, authority) = redis.tls_address("localhost");
    let (elsewhere, _) = redis.tls_address("127.0.0.1");
    let cases = [
        (&address, Some(&authority), None),
        (&address, None, Some("certificate")),
        (&elsewhere, Some(&authority), Some("certificate")),
    ];
    for (number, (address, trusted, refusal)) in (0..).zip(cases) {
        let mut place = pod(&slack, address);
        if let Some(file) = trusted {
            place.set("SSL_CERT_FILE", &file.display().to_string());
        }
        let running = place.start();
        activate(&place.log(), number);
        slack.wait_for(usize::try_from(number).expect("small") + 1);
        running.wait_metric("kms_dedup_store_up", |value| {
            is(value, if refusal.is_none() { 1.0 } else { 0.0 })
        });
        let kept = eventually(|| held(&redis, number).contains("sent") == refusal.is_none());
        let (_, _, err) = running.stop();
        assert!(kept, "{number}: {err}");
        assert!(err.contains(refusal.unwrap_or_default()), "{number}: {err}");
    }
}

/// A server that answers any request with these bytes, again and again, or never.
fn impostor(answer: &'static [u8], pause: Duration) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut asked = [0; 4096];
                while !answer.is_empty() && stream.read(&mut asked).is_ok_and(|count| count > 0) {
                    for piece in answer.chunks(if pause.is_zero() { 4096 } else { 1 }) {
                        if stream.write_all(piece).is_err() {
                            return;
                        }
                        std::thread::sleep(pause);
                    }
                }
                std::thread::sleep(Duration::from_secs(600));
            });
        }
    });
    format!("redis://{address}")
}

#[test]
fn impostors_are_named_and_hold_nothing_up() {
    const PONG: &[u8] = b"+PONG\r\n+PONG\r\n+PONG\r\n";
    const FLOOD: &[u8] = &[b'$'; 1 << 20];
    let nothing = Duration::ZERO;
    for (what, store, word) in [
        ("a web server", impostor(b"HTTP/1.1 400 Bad Request\r\n\r\n", nothing), "does not speak"),
        ("chatter", impostor(PONG, nothing), "does not speak"),
        ("a flood", impostor(FLOOD, nothing), "does not speak"),
        ("a huge promise", impostor(b"$2000000000\r\n", nothing), "does not answer in time"),
        ("an echo of secrets", impostor(b"-ERR 'AUTH' 'hunter2'\r\n", nothing), "refuses: ERR"),
        ("silence", impostor(b"", nothing), "does not answer in time"),
        ("drip", impostor(b"+PONG", Duration::from_millis(700)), "does not answer in time"),
        (
            "a plain answer to TLS",
            impostor(PONG, nothing).replace("redis://", "rediss://"),
            "is away",
        ),
        ("no server", "redis://127.0.0.1:1".to_owned(), "refused"),
        ("no name", "redis://no-such-host.invalid".to_owned(), "is away"),
    ] {
        let slack = FakeSlack::start(&[]);
        let place = pod(&slack, &store);
        let running = place.start();
        for number in 0..3 {
            activate(&place.log(), number);
        }
        slack.wait_for(3);
        running.wait_metric("kms_dedup_store_up", |value| is(value, 0.0));
        running.wait_metric("kms_dedup_unchecked_total", |value| is(value, 3.0));
        let (code, _, err) = running.stop();
        assert_eq!(code, Some(0), "{what}");
        assert!(err.contains(word) && !err.contains("hunter2"), "{what}: {err}");
        assert!(slack.clients().values().all(|count| *count == 1), "{what}");
    }
}

#[test]
fn a_password_in_a_pipe_is_not_waited_for() {
    let slack = FakeSlack::start(&[]);
    let mut place = pod(&slack, "redis://127.0.0.1:1");
    let file = place.environment.home().join("password");
    make_pipe(&file);
    place.set("KMSCTL_NOTIFIER_DEDUP_PASSWORD_FILE", &file.display().to_string());
    let running = place.start();
    activate(&place.log(), 1);
    slack.wait_for(1);
    let (code, _, err) = running.stop();
    assert_eq!(code, Some(0), "{err}");
    assert!(err.contains("it is not a plain file"), "{err}");
}

/// A Sentinel says where the master is: the window outlives the one that was, as far as another server has it.
#[test]
fn a_sentinel_leads_to_the_master_of_now() {
    let Some(mut first) = Redis::start(None) else {
        return;
    };
    let second = first.start_replica();
    let sentinel = first.start_sentinel();
    let slack = FakeSlack::start(&[]);
    let address = format!("redis-sentinel://127.0.0.1:{}/kms", sentinel.port);
    let holder = pod(&slack, &address);
    let running = holder.start();
    activate(&holder.log(), 1);
    slack.wait_for(1);
    assert!(eventually(|| held(&second, 1).contains("sent")), "{}", held(&second, 1));
    first.down();
    let leads = || sentinel.named_master().is_some_and(|it| it.contains(&second.port.to_string()));
    assert!(eventually(leads), "{:?}", sentinel.named_master());
    // What was posted before is known to the other notifier afterwards.
    let other = pod(&slack, &address);
    let beside = other.start();
    activate(&other.log(), 1);
    activate(&other.log(), 2);
    slack.wait_for(2);
    assert!(eventually(|| held(&second, 2).contains("sent")), "{}", held(&second, 2));
    activate(&holder.log(), 3);
    slack.wait_for(3);
    running.wait_metric("kms_dedup_store_up", |up| is(up, 1));
    assert_eq!(slack.clients(), (1..4).map(|number| (client(number), 1)).collect());
    beside.stop();
    running.stop();
    // A name that it does not watch is no server.
    let stray = pod(&slack, &address.replace("/kms", "/other"));
    let running = stray.start();
    activate(&stray.log(), 4);
    slack.wait_for(4);
    let (_, _, said) = running.stop();
    assert!(said.contains("the Sentinel watches no master of that name"), "{said}");
}
