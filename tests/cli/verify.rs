//! `kmsctl verify`: every hop with real packets on loopback. The firewall is a real sshd with a stand-in for pfctl, the
//! name servers and the service are stubs, kubectl is real.

use std::process::Command;

use super::doctor::results;
use super::over_sshd::Firewall;
use crate::support::cluster::FakeCluster;
use crate::support::environment::{Outcome, TestEnvironment};
use crate::support::sshd::Login;
use crate::support::stubs::{Manner, NameServer, Service, closed_port};

/// The path with a service on this machine; nothing is resolved by the system.
struct Path {
    firewall: Firewall,
}

impl Path {
    fn start() -> Option<Self> {
        let firewall = Firewall::start("russh", Login::Sh)?;
        Some(Self { firewall })
    }

    fn verify(&self, port: u16, more: &[(&str, &str)], arguments: &[&str]) -> Outcome {
        self.firewall.move_service(port);
        let mut command: Command =
            self.firewall.environment.command(&[&["verify", "-o", "json"], arguments].concat());
        command
            .env("KMSCTL_SERVICE_HOST", "127.0.0.1")
            .env("KMSCTL_SERVICE_ADDRESS", "127.0.0.1")
            .env("KMSCTL_SERVICE_PORT", port.to_string())
            .env_remove("KMSCTL_DEMO_NOW");
        command.envs(more.iter().copied());
        let output = command.output().expect("kmsctl runs");
        Outcome {
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            code: output.status.code(),
        }
    }
}

fn verdict(outcome: &Outcome) -> String {
    let shown: serde_json::Value = serde_json::from_str(&outcome.stdout)
        .unwrap_or_else(|error| panic!("not JSON ({error}): {outcome}"));
    shown["data"]["verdict"].as_str().expect("a verdict").to_owned()
}

#[test]
fn the_service_is_judged_by_what_it_answers() {
    let Some(path) = Path::start() else { return };
    for (manner, speaks, told) in [
        (Manner::Ack, "ok", "open"),
        (Manner::Nak, "wrong", "inconclusive"),
        (Manner::Echo, "wrong", "inconclusive"),
        (Manner::Rubbish, "wrong", "inconclusive"),
        (Manner::Hangup, "wrong", "inconclusive"),
        (Manner::Silent, "wrong", "inconclusive"),
    ] {
        let service = Service::start(manner);
        let outcome = path.verify(service.port, &[], &[]);
        let hops = results(&outcome, "hops");
        assert_eq!(hops["connect"], "ok", "{manner:?}: {outcome}");
        assert_eq!(hops["speaks"], speaks, "{manner:?}: {outcome}");
        assert_eq!(verdict(&outcome), told, "{manner:?}: {outcome}");
        for check in ["nat", "filter", "caps", "alias"] {
            assert_eq!(hops[check], "ok", "{manner:?}: {check}: {outcome}");
        }
        assert_eq!(hops["pod"], "skipped", "{outcome}");
    }
    let refused = path.verify(closed_port(), &[], &[]);
    assert_eq!(results(&refused, "hops")["connect"], "wrong", "{refused}");
    assert_eq!(results(&refused, "hops")["speaks"], "unknown", "{refused}");
    assert_eq!(refused.code, Some(3), "{refused}");
}

#[test]
fn a_service_that_is_not_kms_proves_connections() {
    let Some(path) = Path::start() else { return };
    let tcp = [("KMSCTL_SERVICE_PROTOCOL", "tcp")];
    for manner in [Manner::Ack, Manner::Rubbish, Manner::Hangup, Manner::Silent] {
        let outcome = path.verify(Service::start(manner).port, &tcp, &[]);
        let hops = results(&outcome, "hops");
        assert_eq!(hops["connect"], "ok", "{manner:?}: {outcome}");
        assert_eq!(hops["speaks"], "skipped", "{manner:?}: {outcome}");
        assert_eq!(verdict(&outcome), "open", "{manner:?}: {outcome}");
    }
    // Not a byte is said to it.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let heard = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut heard = Vec::new();
        std::io::Read::read_to_end(&mut stream, &mut heard).map(|_| heard)
    });
    let _ = path.verify(port, &tcp, &[]);
    assert_eq!(heard.join().unwrap().expect("a whole connection"), b"");
    let refused = path.verify(closed_port(), &tcp, &[]);
    assert_eq!(results(&refused, "hops")["connect"], "wrong", "{refused}");
    assert_eq!(refused.code, Some(3), "{refused}");
}

#[test]
fn beside_a_tcp_service_stands_no_notifier() {
    let environment = TestEnvironment::new().variable("KMSCTL_SERVICE_PROTOCOL", "tcp");
    let doctor = environment.demo(&["doctor", "-o", "json"]);
    assert_eq!(results(&doctor, "findings")["notifier"], "skipped", "{doctor}");
    let status = environment.demo(&["status", "-o", "json"]).success();
    let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
    assert!(status["data"]["notifier"].is_null(), "{status}");
    for line in [&["notifier", "status"][..], &["notifier", "logs"]] {
        let refused = environment.demo(line).fails_with(2);
        assert!(refused.contains("service.protocol is tcp"), "{refused}");
    }
    let preview = environment.demo(&["ratelimit", "preview", "tighten"]);
    let preview = preview.fails_with(8);
    assert!(preview.contains("service.protocol is tcp"), "{preview}");
    let plan = environment.demo(&["ratelimit", "tighten", "--dry-run"]);
    assert!(!plan.success().contains("would have blocked"));
    let opening = ["expose", "restore", "--verify", "--dry-run"];
    let planned = TestEnvironment::new()
        .variable("KMSCTL_SERVICE_PROTOCOL", "tcp")
        .variable("KMSCTL_DEMO_SCENARIO", "closed")
        .demo(&opening)
        .success();
    assert!(planned.contains("From outside, a connection opens."), "{planned}");
    let wrong = TestEnvironment::new().variable("KMSCTL_SERVICE_PROTOCOL", "udp");
    let _ = wrong.demo(&["status"]).fails_with(2);
}

#[test]
fn names_are_judged_by_every_resolver() {
    let Some(path) = Path::start() else { return };
    let service = Service::start(Manner::Ack);
    let public = "203.0.113.7";
    let cases: &[(Option<&[&str]>, &str, &str)] = &[
        (Some(&[public]), "ok", "ok"),
        (Some(&[public, "2001:db8::7"]), "ok", "wrong"),
        (Some(&["203.0.113.8"]), "wrong", "ok"),
        (Some(&["10.1.2.3"]), "wrong", "ok"),
        (Some(&[]), "wrong", "ok"),
        (None, "unknown", "ok"),
    ];
    for (addresses, a, aaaa) in cases {
        let server = NameServer::start(*addresses);
        let outcome = path.verify(
            service.port,
            &[
                ("KMSCTL_VERIFY_RESOLVERS", &server.address.to_string()),
                ("KMSCTL_SERVICE_PUBLIC_ADDRESS", public),
            ],
            &[],
        );
        let hops = results(&outcome, "hops");
        assert_eq!(hops["dns"], *a, "{addresses:?}: {outcome}");
        assert_eq!(hops["dns-aaaa"], *aaaa, "{addresses:?}: {outcome}");
        if *a == "ok" {
            assert!(outcome.stdout.contains("Split horizon"), "{outcome}");
        }
    }
}

#[test]
fn the_cluster_is_asked_only_where_one_is_configured() {
    let Some(path) = Path::start() else { return };
    let Some(cluster) = FakeCluster::start(&["--deny", "list:pods"]) else {
        return;
    };
    let service = Service::start(Manner::Ack);
    let kubeconfig = cluster.kubeconfig().display().to_string();
    let outcome = path.verify(service.port, &[("KMSCTL_CLUSTER_KUBECONFIG", &kubeconfig)], &[]);
    let hops = results(&outcome, "hops");
    assert_eq!(hops["pod"], "unknown", "{outcome}");
    for check in ["announcement", "endpoints"] {
        assert_eq!(hops[check], "ok", "{check}: {outcome}");
    }
    // This cluster's Service has another address and port than the moved one: that is told, not hidden.
    assert_eq!(hops["address"], "wrong", "{outcome}");
    assert_eq!(outcome.code, Some(3), "{outcome}");
}

#[test]
fn the_exit_code_follows_the_expectation() {
    let environment = TestEnvironment::new();
    for (scenario, expect, code) in [
        ("open", "open", 0),
        ("open", "closed", 3),
        ("closed", "closed", 0),
        ("closed", "open", 3),
        ("half", "closed", 0),
        ("uncapped", "open", 3),
        ("pf-disabled", "open", 3),
        ("pf-disabled", "closed", 3),
        ("php-missing", "open", 8),
    ] {
        let environment = TestEnvironment::new().variable("KMSCTL_DEMO_SCENARIO", scenario);
        let outcome = environment.demo(&["verify", "--expect", expect]);
        assert_eq!(outcome.code, Some(code), "{scenario} {expect}: {outcome}");
    }
    let wrong = environment.demo(&["verify", "--expect", "ajar"]);
    assert!(wrong.fails_with(2).contains("open"));
}

/// Without `--expect` the exposure has to be whole, whatever else was seen: from inside and from outside.
#[test]
fn by_default_the_exposure_is_whole() {
    for (scenario, inside, outside) in [
        ("open", 0, 0),
        ("closed", 0, 0),
        ("absent", 3, 3),
        ("drifted", 3, 3),
        ("half", 3, 3),
        ("half-filter", 3, 3),
        ("old-target", 3, 3),
        ("pass-association", 3, 3),
        ("pf-disabled", 3, 3),
        ("uncapped", 3, 3),
        ("php-missing", 8, 8),
        ("denied", 8, 8),
    ] {
        let environment = TestEnvironment::new().variable("KMSCTL_DEMO_SCENARIO", scenario);
        let outcome = environment.demo(&["verify"]);
        assert_eq!(outcome.code, Some(inside), "{scenario}: {outcome}");
        if inside == 3 {
            let first = outcome.stdout.split("\n\n").nth(1).unwrap_or_default();
            // What causes it comes before it.
            let lead = if scenario == "pf-disabled" { "pf " } else { "exposure" };
            assert!(first.starts_with(lead), "{scenario}: {outcome}");
            assert!(first.lines().next().unwrap_or_default().contains("WRONG"), "{outcome}");
        }
        let outcome = environment.demo(&["verify", "--external"]);
        assert_eq!(outcome.code, Some(outside), "{scenario}: {outcome}");
    }
}

#[test]
fn a_deleted_exposure_is_closed_on_purpose() {
    let environment = TestEnvironment::new();
    let doctor = |environment: &TestEnvironment| {
        let outcome = environment.demo(&["doctor", "-o", "json"]);
        (outcome.code, results(&outcome, "findings")["pair"].clone())
    };
    environment.demo(&["virusprot", "delete", "203.0.113.65", "--yes"]).success();
    environment.demo(&["expose", "revoke", "--delete", "--yes"]).success();
    environment.demo(&["verify"]).success();
    environment.demo(&["verify", "--external"]).success();
    assert_eq!(doctor(&environment), (Some(0), "skipped".to_owned()));
    // The same look of the rules without that record is a fault.
    let absent = TestEnvironment::new().variable("KMSCTL_DEMO_SCENARIO", "absent");
    assert_eq!(doctor(&absent), (Some(3), "wrong".to_owned()));
    // The exposure is there, and the configuration of kmsctl looks for another one.
    for (name, value) in [
        ("KMSCTL_SERVICE_PORT", "1689"),
        ("KMSCTL_SERVICE_INTERFACE", "opt1"),
        ("KMSCTL_SERVICE_INTERFACE", "lan"),
        ("KMSCTL_SERVICE_INTERFACE", "opt9"),
    ] {
        let other = TestEnvironment::new().variable(name, value);
        assert_eq!(doctor(&other), (Some(3), "wrong".to_owned()), "{value}");
        let outcome = other.demo(&["verify"]);
        assert_eq!(outcome.code, Some(3), "{value}: {outcome}");
    }
}

/// The demo's dead server is dead wherever one looks; from outside it is in tests/cli/verify_external.rs.
#[test]
fn a_dead_server_is_dead_on_every_hop_behind_the_firewall() {
    let environment = TestEnvironment::new().variable("KMSCTL_DEMO_SCENARIO", "backend-dead");
    let outcome = environment.demo(&["verify", "-o", "json"]);
    assert_eq!(outcome.code, Some(3), "{outcome}");
    let hops = results(&outcome, "hops");
    for check in ["pf", "nat", "filter", "caps", "service"] {
        assert_eq!(hops[check], "ok", "{check}: {outcome}");
    }
    for check in ["announcement", "endpoints", "pod"] {
        assert_eq!(hops[check], "wrong", "{check}: {outcome}");
    }
    assert_eq!(hops["connect"], "unknown", "{outcome}");
    let status = environment.demo(&["status", "-o", "json"]).json();
    let sources = status["data"]["states"]["sources"].as_array().unwrap();
    assert!(!sources.is_empty(), "{status:#}");
    assert!(sources.iter().all(|source| source["established"] == 0), "{status:#}");
    // The condition is kept with the box, and so is the cluster's.
    let kept = TestEnvironment::command(&environment, &["--demo", "verify", "-o", "json"])
        .env_remove("KMSCTL_DEMO_SCENARIO")
        .output()
        .expect("kmsctl runs");
    let shown: serde_json::Value = serde_json::from_slice(&kept.stdout).expect("JSON");
    assert_eq!(shown["data"]["hops"], outcome_json(&outcome)["data"]["hops"]);
}

fn outcome_json(outcome: &Outcome) -> serde_json::Value {
    serde_json::from_str(&outcome.stdout).expect("JSON")
}

#[test]
fn a_firewall_that_cannot_answer_leaves_no_verdict() {
    let denied = TestEnvironment::new().variable("KMSCTL_DEMO_SCENARIO", "denied");
    let outcome = denied.demo(&["verify", "-o", "json"]);
    assert_eq!(outcome.code, Some(8), "{outcome}");
    assert_eq!(verdict(&outcome), "inconclusive");
    let hops = results(&outcome, "hops");
    assert_eq!(hops["nat"], "unknown", "{outcome}");
    // That pf may not be asked is proven, and says nothing about what it does.
    assert_eq!(hops["pf"], "wrong", "{outcome}");
    assert!(outcome.stdout.contains("Log in as admin"), "{outcome}");
    for expect in ["open", "closed"] {
        let outcome = denied.demo(&["verify", "--expect", expect]);
        assert_eq!(outcome.code, Some(8), "{outcome}");
    }
    let missing = TestEnvironment::new().variable("KMSCTL_DEMO_SCENARIO", "table-missing");
    let missing = missing.demo(&["verify", "-o", "json"]);
    let hops = results(&missing, "hops");
    assert_eq!(hops["table"], "wrong", "{missing}");
    assert_eq!(verdict(&missing), "open", "{missing}");
    let away = TestEnvironment::new()
        .variable("KMSCTL_FIREWALL_PORT", closed_port().to_string())
        .variable("KMSCTL_FIREWALL_TRANSPORT", "russh")
        .variable("KMSCTL_SERVICE_HOST", "127.0.0.1")
        .variable("KMSCTL_SERVICE_ADDRESS", "127.0.0.1")
        .variable("KMSCTL_SERVICE_PORT", closed_port().to_string());
    let away = away.run(&["verify"]);
    assert_eq!(away.code, Some(5), "{away}");
}

#[test]
fn a_firewall_that_is_away_hides_none_of_the_other_hops() {
    let Some(cluster) = FakeCluster::start(&[]) else {
        return;
    };
    let service = Service::start(Manner::Ack);
    let name = NameServer::start(Some(&["203.0.113.7"]));
    let environment = TestEnvironment::new()
        .variable("KMSCTL_FIREWALL_PORT", closed_port().to_string())
        .variable("KMSCTL_FIREWALL_TRANSPORT", "russh")
        .variable("KMSCTL_SERVICE_HOST", "127.0.0.1")
        .variable("KMSCTL_SERVICE_ADDRESS", "127.0.0.1")
        .variable("KMSCTL_SERVICE_PORT", service.port.to_string())
        .variable("KMSCTL_SERVICE_PUBLIC_ADDRESS", "203.0.113.7")
        .variable("KMSCTL_VERIFY_RESOLVERS", name.address.to_string())
        .variable("KMSCTL_CLUSTER_KUBECONFIG", cluster.kubeconfig().display().to_string())
        .without("KMSCTL_DEMO_NOW");
    let away = environment.run(&["verify", "-o", "json"]);
    assert_eq!(away.code, Some(5), "{away}");
    assert!(away.stderr.contains("There is no key"), "{away}");
    let hops = results(&away, "hops");
    for check in ["dns", "dns-aaaa", "announcement", "endpoints", "pod", "connect", "speaks"] {
        assert_eq!(hops[check], "ok", "{check}: {away}");
    }
    for check in ["wan", "pf", "nat", "filter", "caps", "table", "alias"] {
        assert_eq!(hops[check], "unknown", "{check}: {away}");
    }
    assert_eq!(verdict(&away), "inconclusive");
}

#[test]
fn the_schema_has_its_keys() {
    let shown = TestEnvironment::new().demo(&["verify", "-o", "json"]).json();
    let mut keys: Vec<&String> = shown["data"].as_object().expect("an object").keys().collect();
    keys.sort();
    assert_eq!(keys, ["as_expected", "expected", "hops", "vantages", "verdict"]);
    assert_eq!(shown["schema"], "kmsctl/verify/v1");
}
