//! `kmsctl expose restore` and `undo` after a deletion: whose rules come back, and what is said of rules without caps.

use serde_json::Value;

use crate::support::environment::TestEnvironment;

fn state(environment: &TestEnvironment) -> Value {
    environment.demo(&["expose", "show", "-o", "json"]).json()["data"]["state"].clone()
}

fn data(environment: &TestEnvironment, arguments: &[&str]) -> Value {
    environment.demo(&[arguments, &["--yes", "-o", "json"]].concat()).json()["data"].clone()
}

#[test]
fn what_another_service_had_on_the_port_stays_away() {
    let environment = TestEnvironment::new();
    let deleted = data(&environment, &["expose", "revoke", "--delete"]);
    let id = deleted["id"].as_str().expect("an id");
    let environment = environment
        .variable("KMSCTL_SERVICE_ALIAS", "k8s_new_lb")
        .variable("KMSCTL_SERVICE_ADDRESS", "10.0.20.203");
    let foreign = format!("what {id} deleted at 2026-03-01T12:21:34Z leads to \"k8s_kms_lb\"");
    let told = environment.demo(&["expose", "restore", "--yes"]).fails_with(1);
    assert!(told.contains("There is no alias k8s_new_lb") && told.contains(&foreign), "{told}");
    assert_eq!(state(&environment), "absent");
    // Its plan was made before; the firewall itself does not put them back for another service.
    let environment = environment
        .variable("KMSCTL_SERVICE_ALIAS", "k8s_shared_lb")
        .variable("KMSCTL_SERVICE_ADDRESS", "10.0.20.200");
    let planned = environment.demo(&["expose", "restore", "--dry-run"]).success();
    assert!(planned.contains("from the configuration") && planned.contains(&foreign), "{planned}");
    assert_eq!(data(&environment, &["expose", "restore"])["outcome"], "done");
    let shown = environment.demo(&["expose", "show", "-o", "json"]).json();
    assert_eq!(shown["data"]["state"], "open", "{shown:#}");
    assert_eq!(data(&environment, &["expose", "revoke"])["outcome"], "done");
    // The first service's rules are still its own.
    data(&environment, &["expose", "revoke", "--delete"]);
    let environment = environment.without("KMSCTL_SERVICE_ALIAS").without("KMSCTL_SERVICE_ADDRESS");
    let planned = environment.demo(&["expose", "restore", "--dry-run"]).success();
    let own = format!("put back the rules that {id} deleted");
    assert!(planned.contains(&own), "{planned}");
}

#[test]
fn without_caps_it_is_uncapped_and_not_open() {
    for (scenario, delete) in [
        ("uncapped", &["--delete"][..]),
        ("uncapped", &[]),
        ("pass-association", &["--delete"]),
        ("pass-association", &[]),
    ] {
        for way in [&["expose", "restore"][..], &["undo"]] {
            let environment = TestEnvironment::new().variable("KMSCTL_DEMO_SCENARIO", scenario);
            data(&environment, &[&["expose", "revoke"], delete].concat());
            let restored = data(&environment, way);
            let what = format!("{scenario} {delete:?} {way:?}: {restored:#}");
            assert_eq!(restored["outcome"], "done", "{what}");
            assert_eq!(restored["after"]["exposure"], "uncapped", "{what}");
            let risks = restored["risks"].to_string();
            assert!(risks.contains("kmsctl --demo expose apply"), "{what}");
            assert_eq!(state(&environment), "uncapped", "{what}");
        }
    }
}

#[test]
fn what_closes_nothing_of_somebody_elses_names_it() {
    let environment = TestEnvironment::new().variable("KMSCTL_DEMO_SCENARIO", "old-target");
    let told = environment.demo(&["expose", "revoke", "--yes"]).fails_with(6);
    assert!(told.contains("points to \"k8s_shared_lb\""), "{told}");
}
