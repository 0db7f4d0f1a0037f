//! `kmsctl verify --external` without packets: what is refused, and a check service played by a stub. Verdicts from
//! real packets are the lab's (tests/lab.rs).

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use crate::support::environment::TestEnvironment;
use crate::support::served::Served;

/// Says what was asked, in order.
type Asked = Arc<Mutex<Vec<String>>>;

/// Answers every request with what `answer` makes of its path.
fn stub(answer: impl Fn(&str) -> (u16, String) + Send + Sync + 'static) -> (String, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Asked::default();
    let heard = Arc::clone(&asked);
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let (answer, heard) = (Arc::clone(&answer), Arc::clone(&heard));
            std::thread::spawn(move || {
                let mut request = Vec::new();
                let mut buffer = [0; 1024];
                while !request.windows(4).any(|four| four == b"\r\n\r\n") {
                    match stream.read(&mut buffer) {
                        Ok(0) | Err(_) => return,
                        Ok(count) => request.extend_from_slice(&buffer[..count]),
                    }
                }
                let text = String::from_utf8_lossy(&request).into_owned();
                let path = text.split(' ').nth(1).unwrap_or_default().to_owned();
                heard.lock().unwrap().push(path.clone());
                let (status, body) = answer(&path);
                let _ = write!(
                    stream,
                    "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                    body.len()
                );
            });
        }
    });
    (url, asked)
}

/// As check-host.net documents it.
fn accepted() -> String {
    r#"{"ok":1,"request_id":"29b1cf","permanent_link":"https://check-host.net/check-report/29b1cf","nodes":{
        "us1.node.check-host.net":["us","USA","Los Angeles","203.0.113.1","AS1"],
        "de1.node.check-host.net":["de","Germany","Berlin","203.0.113.2","AS2"],
        "jp1.node.check-host.net":["jp","Japan","Tokyo","203.0.113.3","AS3"]}}"#
        .to_owned()
}

fn results(value: &str) -> String {
    format!(
        r#"{{"us1.node.check-host.net":{value},"de1.node.check-host.net":{value},"jp1.node.check-host.net":{value}}}"#
    )
}

/// A check service whose nodes have no luck.
fn failing_nodes() -> (String, Asked) {
    stub(|path| {
        if path.starts_with("/check-tcp") {
            (200, accepted())
        } else {
            (200, results(r#"[{"error":"Connection timed out"}]"#))
        }
    })
}

/// Counts the checks that a service was asked for.
fn checks(asked: &Asked) -> usize {
    let asked = asked.lock().unwrap();
    let checks = asked.iter().filter(|path| path.starts_with("/check-tcp"));
    checks.count()
}

fn with_service(served: &Served, url: &str) -> TestEnvironment {
    let environment = TestEnvironment::new().without("KMSCTL_DEMO_NOW");
    served
        .reached_from(environment)
        .variable("KMSCTL_VANTAGES_PUBLIC_KIND", "check-host")
        .variable("KMSCTL_VANTAGES_PUBLIC_URL", url)
        .variable("KMSCTL_SERVICE_HOST", "127.0.0.1")
        .variable("KMSCTL_SERVICE_PUBLIC_ADDRESS", "192.0.2.1")
}

#[test]
fn without_a_vantage_it_says_three_ways_to_get_one() {
    let told = TestEnvironment::new().run(&["verify", "--external"]).fails_with(2);
    for word in ["[vantages.vps]", "check-host", "local"] {
        assert!(told.contains(word), "{told}");
    }
    assert_eq!(told.matches("hint:").count(), 3, "{told}");
}

/// The demo's own host outside; configured vantages are left alone there, as they would really connect.
#[test]
fn the_demo_is_proven_by_both_ends_in_every_condition() {
    for (scenario, verdict, row, code) in [
        ("open", "open", Some("open-kms"), 0),
        ("closed", "closed", Some("closed-here"), 0),
        ("half", "closed", Some("closed-here"), 3),
        ("half-filter", "closed", Some("closed-here"), 3),
        ("absent", "closed", Some("closed-here"), 3),
        ("uncapped", "open", Some("open-kms"), 3),
        ("pass-association", "open", Some("open-kms"), 3),
        ("backend-dead", "closed", Some("nobody-listens"), 3),
        ("pf-disabled", "inconclusive", None, 3),
    ] {
        let environment = TestEnvironment::new()
            .variable("KMSCTL_DEMO_SCENARIO", scenario)
            .variable("KMSCTL_VANTAGES_OFFICE_HOST", "198.51.100.1");
        let outcome = environment.demo(&["verify", "--external", "-o", "json"]);
        assert_eq!(outcome.code, Some(code), "{scenario}: {outcome}");
        let json: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
        let vantages = json["data"]["vantages"].as_array().unwrap();
        assert_eq!(json["data"]["verdict"], verdict, "{scenario}: {outcome}");
        assert_eq!(vantages.len(), 1, "{scenario}: {outcome}");
        assert_eq!(vantages[0]["vantage"], "vps");
        assert_eq!(vantages[0]["row"].as_str(), row, "{scenario}: {outcome}");
    }
}

#[test]
fn a_tcp_service_is_proven_by_its_connection() {
    for (scenario, verdict, code) in
        [("open", "open", 0), ("closed", "closed", 0), ("backend-dead", "closed", 3)]
    {
        let environment = TestEnvironment::new()
            .variable("KMSCTL_SERVICE_PROTOCOL", "tcp")
            .variable("KMSCTL_DEMO_SCENARIO", scenario);
        let outcome = environment.demo(&["verify", "--external", "-o", "json"]);
        assert_eq!(outcome.code, Some(code), "{scenario}: {outcome}");
        let json: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
        assert_eq!(json["data"]["verdict"], verdict, "{scenario}: {outcome}");
        assert!(!outcome.stdout.contains("check service"), "{outcome}");
    }
}

#[test]
fn a_missing_table_is_a_note_and_costs_no_verdict() {
    let environment = TestEnvironment::new().variable("KMSCTL_DEMO_SCENARIO", "table-missing");
    let outcome = environment.demo(&["verify", "--external", "-o", "json"]);
    // Its caps have no rate, so that they keep no one out: that is the finding, and the port is open all the same.
    assert_eq!(outcome.code, Some(3), "{outcome}");
    let json: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(json["data"]["verdict"], "open", "{outcome}");
    let warnings = json["warnings"].as_array().unwrap();
    let told = "Whether a vantage is blocked: unknown, as the table virusprot does not exist.";
    assert!(warnings.iter().any(|warning| warning["message"] == told), "{outcome}");
}

#[test]
fn a_blocked_vantage_of_the_demo_proves_nothing() {
    let environment = TestEnvironment::new();
    let state = environment.home().join(".local/state/kmsctl/demo/state.json");
    let _ = environment.demo(&["virusprot", "show"]).success();
    let text = std::fs::read_to_string(&state).unwrap();
    let mut saved: serde_json::Value = serde_json::from_str(&text).unwrap();
    let tables = saved["world"]["pf"]["tables"].as_array_mut().unwrap();
    let table = tables.iter_mut().find(|table| table["name"] == "virusprot").unwrap();
    table["entries"]["198.51.100.77/32"] = 1_772_367_000_000_i64.into();
    std::fs::write(&state, saved.to_string()).unwrap();
    let outcome = environment.demo(&["verify", "--external"]);
    assert_eq!(outcome.code, Some(8), "{outcome}");
    assert!(outcome.stdout.contains("table of blocked addresses"), "{outcome}");
}

#[test]
fn what_makes_no_sense_is_refused_before_any_connection() {
    let environment = TestEnvironment::new().variable("KMSCTL_VANTAGES_VPS_HOST", "127.0.0.1");
    let told = environment.run(&["verify", "--external", "--from", "office"]).fails_with(2);
    assert!(told.contains("There are: vps."), "{told}");
    environment.run(&["verify", "--from", "vps"]).fails_with(2);
    environment.run(&["verify", "--external", "--expect", "ajar"]).fails_with(2);
    let environment = TestEnvironment::new();
    environment.write_config("[vantages.vps]\nhots = \"x\"\n");
    let told = environment.run(&["verify", "--external"]).fails_with(2);
    assert!(told.contains("vantages.NAME.host"), "{told}");
    environment.write_config("[vantages.vps]\nhost = \"127.0.0.1\"\nport = 0\n");
    let told = environment.run(&["verify", "--external"]).fails_with(2);
    assert!(told.contains("vantages.vps.port"), "{told}");
    environment.write_config("[service]\nport = 0\n[vantages.vps]\nhost = \"127.0.0.1\"\n");
    let told = environment.run(&["verify", "--external"]).fails_with(2);
    assert!(told.contains("service.port"), "{told}");
    environment.write_config("[vantages.vps]\nhost = \"127.0.0.1\"\ncontrol = \"h:0\"\n");
    environment.run(&["verify", "--external"]).fails_with(2);
}

#[test]
fn nodes_that_connect_prove_nothing_the_firewall_did_not_see() {
    let served = Served::start("open");
    let (url, asked) = stub(|path| {
        if path.starts_with("/check-tcp") {
            (200, accepted())
        } else {
            (200, results(r#"[{"time":0.03,"address":"192.0.2.1"}]"#))
        }
    });
    let outcome = with_service(&served, &url).run(&["verify", "--external", "-o", "json"]);
    assert_eq!(outcome.code, Some(8), "{outcome}");
    let json: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    let vantages = json["data"]["vantages"].as_array().unwrap();
    assert_eq!(vantages.len(), 3, "{json:#}");
    assert!(vantages.iter().all(|one| one["port"] == "open" && one["kind"] == "check-host"));
    assert_eq!(json["data"]["verdict"], "inconclusive");
    let asked = asked.lock().unwrap();
    assert_eq!(asked[0], "/check-tcp?host=192.0.2.1:1688&max_nodes=3");
    assert_eq!(asked[1], "/check-result/29b1cf");
    assert_eq!(asked.len(), 2, "one connection is enough: {asked:?}");
}

#[test]
fn nodes_beyond_the_wanted_number_are_cut() {
    let served = Served::start("open");
    let (url, asked) = stub(|path| {
        if path.starts_with("/check-tcp") {
            (200, accepted())
        } else {
            // The third never comes to an end: nobody waits for it.
            let seen = r#"[{"time":0.03,"address":"192.0.2.1"}]"#;
            let body = format!(
                r#"{{"us1.node.check-host.net":null,"de1.node.check-host.net":{seen},"jp1.node.check-host.net":{seen}}}"#
            );
            (200, body)
        }
    });
    let environment = with_service(&served, &url).variable("KMSCTL_VANTAGES_PUBLIC_NODES", "2");
    let outcome = environment.run(&["verify", "--external", "-o", "json"]);
    let json: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    let vantages = json["data"]["vantages"].as_array().unwrap();
    let names: Vec<&str> = vantages.iter().filter_map(|one| one["node"].as_str()).collect();
    assert_eq!(names, ["de1.node.check-host.net", "jp1.node.check-host.net"], "{outcome}");
    let asked = asked.lock().unwrap();
    assert_eq!(asked[0], "/check-tcp?host=192.0.2.1:1688&max_nodes=2");
    assert_eq!(asked.len(), 2, "{asked:?}");
}

/// A node with an address of the inside is a hairpin, whatever its neighbours are.
#[test]
fn each_node_is_where_its_own_address_is() {
    let served = Served::start("open");
    let (url, _) = stub(|path| {
        if path.starts_with("/check-tcp") {
            (200, accepted().replace("203.0.113.2", "10.0.10.7"))
        } else {
            (200, results(r#"[{"time":0.03,"address":"192.0.2.1"}]"#))
        }
    });
    let outcome = with_service(&served, &url).run(&["verify", "--external", "-o", "json"]);
    let json: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    let vantages = json["data"]["vantages"].as_array().unwrap();
    for one in vantages {
        let place = if one["node"] == "de1.node.check-host.net" { "inside" } else { "outside" };
        assert_eq!(one["place"]["where"], place, "{one:#}");
    }
}

/// The firewall drops what the Internet sends it all the time; that proves nothing about a check service's nodes.
#[test]
fn nodes_that_fail_against_a_closed_firewall_prove_nothing() {
    let served = Served::start("closed");
    let (url, asked) = failing_nodes();
    for arguments in [
        ["verify", "--external", "--expect", "closed", "-o", "json"].as_slice(),
        &["verify", "--external", "-o", "json"],
    ] {
        let environment = with_service(&served, &url);
        let outcome = environment.run(arguments);
        assert_eq!(outcome.code, Some(8), "{outcome}");
        let json: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
        assert_eq!(json["data"]["verdict"], "inconclusive", "{outcome}");
        assert_eq!(json["data"]["expected"], "closed", "{outcome}");
        assert_eq!(json["data"]["quorum"]["inconclusive"], 1, "{outcome}");
    }
    let asked = asked.lock().unwrap();
    assert!(asked.iter().any(|path| path.contains("&node=")), "{asked:?}");
}

#[test]
fn one_vantage_that_is_named_twice_tries_once() {
    let outcome = TestEnvironment::new().demo(&[
        "verify",
        "--external",
        "--from",
        "vps",
        "--from",
        "vps",
        "-o",
        "json",
    ]);
    let json: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(json["data"]["vantages"].as_array().map(Vec::len), Some(1), "{outcome}");
    assert_eq!(json["data"]["quorum"]["open"], 1, "{outcome}");
}

#[test]
fn nodes_that_fail_are_asked_three_times_and_their_silence_is_not_closed() {
    let served = Served::start("open");
    let (url, asked) = failing_nodes();
    let outcome = with_service(&served, &url).run(&["verify", "--external", "-o", "json"]);
    assert_eq!(outcome.code, Some(8), "{outcome}");
    let json: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    let one = &json["data"]["vantages"][0];
    assert_eq!(one["attempts"].as_array().map(Vec::len), Some(3), "{json:#}");
    assert_eq!(checks(&asked), 3);
    // The budget counts across runs: two more, then none.
    let environment = with_service(&served, &url);
    for _ in 0..2 {
        let _ = environment.run(&["verify", "--external"]);
    }
    let spent = environment.run(&["verify", "--external"]);
    assert!(spent.stdout.contains("times a minute"), "{spent}");
    assert_eq!(checks(&asked), 3 + 5);
}

/// The budget is the service's, by whichever name it is asked.
#[test]
fn two_names_of_one_service_share_its_budget() {
    let served = Served::start("open");
    let (url, asked) = failing_nodes();
    let environment = with_service(&served, &url)
        .variable("KMSCTL_VANTAGES_OTHER_KIND", "check-host")
        .variable("KMSCTL_VANTAGES_OTHER_URL", &url);
    let verify = |name| environment.run(&["verify", "--external", "--from", name]);
    for _ in 0..2 {
        let _ = verify("public");
    }
    let spent = verify("other");
    assert!(spent.stdout.contains("times a minute"), "{spent}");
    assert_eq!(checks(&asked), 5);
}

#[test]
fn a_service_is_asked_once_a_second() {
    let served = Served::start("open");
    let times: Arc<Mutex<Vec<std::time::Instant>>> = Arc::default();
    let seen = Arc::clone(&times);
    let (url, _) = stub(move |path| {
        if path.starts_with("/check-tcp") {
            (200, accepted())
        } else {
            seen.lock().unwrap().push(std::time::Instant::now());
            (200, results("null"))
        }
    });
    let outcome = with_service(&served, &url).run(&["verify", "--external", "-o", "json"]);
    assert_eq!(outcome.code, Some(8), "{outcome}");
    let times = times.lock().unwrap();
    // It is pending for ever: of three requests the results are looked at, together.
    assert!((4..=60).contains(&times.len()), "{} times", times.len());
    let first = times[0];
    for second in 0..15 {
        let within = times.iter().filter(|time| {
            let at = time.duration_since(first).as_millis();
            (second * 1000..second * 1000 + 900).contains(&at)
        });
        let within = within.count();
        assert!(within <= 4, "{within} within 0.9 s, for one request each");
    }
}

#[test]
fn a_service_that_is_down_rate_limited_or_talks_rubbish_is_inconclusive() {
    let served = Served::start("open");
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let nowhere = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    let large = "x".repeat(100_000);
    // Takes the connection and never says a word.
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let silence = format!("http://{}", mute.local_addr().unwrap());
    let mut services = vec![(nowhere, "cannot be reached"), (silence, "did not answer in time")];
    for (status, body, told) in [
        (429, String::new(), "too many requests"),
        (500, String::new(), "status 500"),
        (302, String::new(), "status 302"),
        (200, "<html>".to_owned(), "something else than documented"),
        (200, large, "something else than documented"),
        (
            200,
            r#"{"request_id":"../x","nodes":{"a":[]}}"#.to_owned(),
            "something else than documented",
        ),
    ] {
        services.push((stub(move |_| (status, body.clone())).0, told));
    }
    for (url, told) in services {
        let outcome = with_service(&served, &url).run(&["verify", "--external"]);
        assert_eq!(outcome.code, Some(8), "{told}: {outcome}");
        assert!(outcome.stdout.contains(told), "{told}: {outcome}");
    }
}
