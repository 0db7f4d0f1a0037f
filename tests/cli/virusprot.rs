//! `kmsctl virusprot …` on the demo.

use crate::support::environment::TestEnvironment;

#[test]
fn the_schema_has_its_keys() {
    let environment = TestEnvironment::new();
    let shown = environment
        .demo(&["virusprot", "show", "-o", "json"])
        .json();
    assert_eq!(shown["schema"], "kmsctl/virusprot.show/v1");
    assert_eq!(shown["firewall"], "demo");
    assert_eq!(shown["taken_at"], "2026-03-01T12:21:34Z");
    assert_eq!(shown["data"]["table"], "virusprot");
    assert_eq!(shown["data"]["expiry"]["kind"], "cron");
    assert_eq!(shown["data"]["expiry"]["older_than_seconds"], 3600);
    let entries = shown["data"]["entries"].as_array().expect("entries");
    assert!(entries.len() >= 3, "{shown:#}");
    for entry in entries {
        let keys: Vec<&str> = entry
            .as_object()
            .expect("an entry")
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(
            keys,
            [
                "address",
                "added_at",
                "age_seconds",
                "release_at",
                "states",
                "flags"
            ]
        );
        let age = entry["age_seconds"].as_u64().expect("an age");
        assert!(age <= 7200, "{entry}");
        assert!(entry["release_at"].is_string(), "{entry}");
    }
}

#[test]
fn older_than_and_sort_choose_and_order() {
    let environment = TestEnvironment::new();
    let ages = |arguments: &[&str]| -> Vec<u64> {
        let lines = environment
            .demo(&[&["virusprot", "show", "-o", "ndjson"], arguments].concat())
            .success();
        lines
            .lines()
            .map(|line| {
                serde_json::from_str::<serde_json::Value>(line).expect("JSON")["age_seconds"]
                    .as_u64()
                    .expect("an age")
            })
            .collect()
    };
    let newest = ages(&[]);
    assert!(newest.is_sorted(), "{newest:?}");
    let oldest = ages(&["--sort", "oldest"]);
    assert!(
        oldest.is_sorted_by(|left, right| left >= right),
        "{oldest:?}"
    );
    let limit = newest[newest.len() / 2];
    let older = ages(&["--older-than", &format!("{limit}s")]);
    assert_eq!(
        older,
        newest
            .iter()
            .copied()
            .filter(|age| *age > limit)
            .collect::<Vec<_>>()
    );
    let none = environment.demo(&["virusprot", "show", "--older-than", "10d"]);
    assert_eq!((none.stdout.as_str(), none.code), ("", Some(0)));
    assert!(none.stderr.contains("that old"), "{none}");
}

#[test]
fn test_answers_by_exit_code() {
    let environment = TestEnvironment::new();
    let csv = environment
        .demo(&["virusprot", "show", "-o", "csv"])
        .success();
    let blocked = csv
        .lines()
        .nth(1)
        .and_then(|line| line.split(',').next())
        .expect("an entry")
        .to_owned();
    let all = environment.demo(&["virusprot", "test", &blocked]);
    assert_eq!(all.code, Some(0), "{all}");
    let mixed = environment.demo(&["virusprot", "test", &blocked, "192.0.2.254", "-o", "json"]);
    assert_eq!(mixed.code, Some(3), "{mixed}");
    let tested: serde_json::Value = serde_json::from_str(&mixed.stdout).expect("JSON");
    assert_eq!(tested["data"]["tested"][0]["blocked"], true);
    assert_eq!(tested["data"]["tested"][1]["blocked"], false);
}

#[test]
fn a_missing_table_is_an_error_and_no_empty_table() {
    let environment = TestEnvironment::new().variable("KMSCTL_DEMO_SCENARIO", "table-missing");
    for arguments in [
        &["virusprot", "show"][..],
        &["virusprot", "test", "192.0.2.1"],
    ] {
        let outcome = environment.demo(arguments);
        assert_eq!(
            (outcome.code, outcome.stdout.as_str()),
            (Some(1), ""),
            "{outcome}"
        );
        assert!(
            outcome
                .stderr
                .contains("the table virusprot does not exist"),
            "{outcome}"
        );
    }
}

#[test]
fn without_the_cron_job_nothing_is_ever_released() {
    let environment = TestEnvironment::new().variable("KMSCTL_DEMO_SCENARIO", "no-cron");
    let shown = environment
        .demo(&["virusprot", "show", "-o", "json"])
        .json();
    assert_eq!(shown["data"]["expiry"]["kind"], "none");
    assert!(shown["data"]["entries"][0]["release_at"].is_null());
    let codes: Vec<&str> = shown["warnings"]
        .as_array()
        .expect("warnings")
        .iter()
        .filter_map(|warning| warning["code"].as_str())
        .collect();
    assert!(codes.contains(&"no-expiry"), "{codes:?}");
}

#[test]
fn a_denied_device_names_the_way_out() {
    let environment = TestEnvironment::new().variable("KMSCTL_DEMO_SCENARIO", "denied");
    let told = environment.demo(&["virusprot", "show"]).fails_with(5);
    assert!(told.contains("/dev/pf") && told.contains("sudo"), "{told}");
}
