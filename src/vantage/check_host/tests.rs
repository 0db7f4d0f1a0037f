//! The check service's answers, read from text; a whole conversation is held with a stub in tests/cli/verify.rs.

use super::*;
use crate::vantage::budget::{Budget, Spender};
use proptest::prelude::*;
use serde_json::json;

#[test]
fn results_are_read() {
    for (value, expected) in [
        (json!(null), None),
        (
            json!([{"time": 0.0301, "address": "192.0.2.1"}]),
            Some(Attempt::Connected { answer: None, milliseconds: 30 }),
        ),
        (json!([{"error": "Connection refused"}]), Some(Attempt::Refused)),
        (json!([{"error": "Connection timed out"}]), Some(Attempt::NoAnswer)),
        (
            json!([{"error": "No route to host"}]),
            Some(Attempt::Unreachable { why: "No route to host".into() }),
        ),
    ] {
        assert_eq!(parse_attempt(&value), expected, "{value}");
    }
    for value in [
        json!([]),
        json!([null]),
        json!([{}]),
        json!("x"),
        json!([{"time": -1.0}]),
        json!([{"error": "odd"}]),
    ] {
        assert!(matches!(parse_attempt(&value), Some(Attempt::NotTried { .. })), "{value}");
    }
}

#[test]
fn ids_and_nodes_become_part_of_a_url_only_if_they_are_plain() {
    let body = |id: &str, node: &str| {
        json!({"ok": 1, "request_id": id, "nodes": {node: ["us", "USA", "X", "192.0.2.9", "AS1"]}})
            .to_string()
            .into_bytes()
    };
    assert!(parse_accepted(&body("29b1cfke1d2", "us1.node.check-host.net")).is_ok());
    for (id, node) in [("../x", "us1"), ("a?b", "us1"), ("", "us1"), ("a", "n&host=x"), ("a", "")] {
        assert!(parse_accepted(&body(id, node)).is_err(), "{id} {node}");
    }
    assert!(parse_accepted(br#"{"ok":1,"request_id":"a","nodes":{}}"#).is_err());
    assert!(parse_accepted(b"<html>").is_err());
}

/// Runs a whole check of a service that does what `serve` does with each of its connections.
async fn checked(
    serve: impl Fn(std::net::TcpStream) + Send + 'static,
    left: Duration,
) -> Result<(Vec<CheckNode>, Option<String>), CheckError> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || listener.incoming().flatten().for_each(serve));
    let home = tempfile::tempdir().unwrap();
    let budget = Budget::new(home.path());
    let spender = Spender { from: vec!["public".to_owned()], through: Vec::new() };
    let now = Instant::now();
    let task = Task {
        spender: &spender,
        target: "192.0.2.1:1688".parse().unwrap(),
        speaks_kms: true,
        control: None,
        deadline: now + left,
        end: now + left,
        only_one: None,
        budget: &budget,
        clock: crate::clock::Clock::System,
    };
    check_from_nodes(&url, 3, task).await
}

/// A service that takes connections and keeps silent would hold a request for 4 s, and each of several polls.
#[tokio::test]
async fn a_silent_service_is_given_up_when_the_run_is_over() {
    let silent = std::sync::Mutex::new(Vec::new());
    let began = Instant::now();
    let left = Duration::from_millis(300);
    let outcome = checked(move |stream| silent.lock().unwrap().push(stream), left).await;
    assert_eq!(outcome, Err(CheckError::Late));
    assert!(began.elapsed() < REQUEST, "{:?}", began.elapsed());
}

/// The results of the nodes never come: what was tried is reported with nothing seen, and in time. The service is asked
/// for results once a second, however many are awaited.
#[tokio::test]
async fn results_that_never_come_are_told_as_missing() {
    use std::io::{Read as _, Write as _};
    let polls = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let polled = polls.clone();
    let serve = move |mut stream: std::net::TcpStream| {
        let mut request = [0; 2048];
        let count = stream.read(&mut request).unwrap_or_default();
        let body = if request[..count].starts_with(b"GET /check-tcp") {
            r#"{"request_id":"a","nodes":{"n1":["x","y","z","192.0.2.9"],"n2":[]}}"#
        } else {
            polled.lock().unwrap().push(Instant::now());
            r#"{"n1":null,"n2":null}"#
        };
        let _ = write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
    };
    let (nodes, _) = checked(serve, Duration::from_secs(8)).await.unwrap();
    let polls = polls.lock().unwrap();
    assert!(polls.len() > 3, "{polls:?}");
    for (earlier, later) in polls.iter().zip(&polls[1..]) {
        assert!(later.duration_since(*earlier) > POLL / 2, "{polls:?}");
    }
    assert_eq!(nodes.len(), 2);
    assert!(nodes.iter().all(|node| node.attempts.is_empty()), "{nodes:?}");
}

proptest! {
    #[test]
    fn no_body_panics(body in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse_accepted(&body);
        let _ = parse_results(&body);
    }
}
