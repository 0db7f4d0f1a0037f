//! The check service's answers, read from text; a whole conversation is held with a stub in tests/cli/verify.rs.

use super::*;
use proptest::prelude::*;
use serde_json::json;

#[test]
fn results_are_read() {
    for (value, expected) in [
        (json!(null), None),
        (
            json!([{"time": 0.0301, "address": "192.0.2.1"}]),
            Some(Attempt::Connected {
                answer: None,
                milliseconds: 30,
            }),
        ),
        (
            json!([{"error": "Connection refused"}]),
            Some(Attempt::Refused),
        ),
        (
            json!([{"error": "Connection timed out"}]),
            Some(Attempt::NoAnswer),
        ),
        (
            json!([{"error": "No route to host"}]),
            Some(Attempt::Unreachable {
                why: "No route to host".into(),
            }),
        ),
    ] {
        assert_eq!(attempt(&value), expected, "{value}");
    }
    for value in [
        json!([]),
        json!([null]),
        json!([{}]),
        json!("x"),
        json!([{"time": -1.0}]),
        json!([{"error": "odd"}]),
    ] {
        assert!(
            matches!(attempt(&value), Some(Attempt::NotTried { .. })),
            "{value}"
        );
    }
}

#[test]
fn ids_and_nodes_become_part_of_a_url_only_if_they_are_plain() {
    let body = |id: &str, node: &str| {
        json!({"ok": 1, "request_id": id, "nodes": {node: ["us", "USA", "X", "192.0.2.9", "AS1"]}})
            .to_string()
            .into_bytes()
    };
    assert!(accepted(&body("29b1cfke1d2", "us1.node.check-host.net")).is_ok());
    for (id, node) in [
        ("../x", "us1"),
        ("a?b", "us1"),
        ("", "us1"),
        ("a", "n&host=x"),
        ("a", ""),
    ] {
        assert!(accepted(&body(id, node)).is_err(), "{id} {node}");
    }
    assert!(accepted(br#"{"ok":1,"request_id":"a","nodes":{}}"#).is_err());
    assert!(accepted(b"<html>").is_err());
}

proptest! {
    #[test]
    fn no_body_panics(body in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = accepted(&body);
        let _ = results(&body);
    }
}
