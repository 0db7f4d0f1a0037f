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
                "flags",
                "activated_at"
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

fn blocked(environment: &TestEnvironment) -> Vec<(String, u64)> {
    let shown = environment
        .demo(&["virusprot", "show", "-o", "json"])
        .json();
    let entries = shown["data"]["entries"]
        .as_array()
        .expect("entries")
        .clone();
    entries
        .iter()
        .map(|entry| {
            let address = entry["address"].as_str().expect("an address").to_owned();
            (address, entry["age_seconds"].as_u64().expect("an age"))
        })
        .collect()
}

#[test]
fn each_address_freed_is_printed_with_its_age() {
    let environment = TestEnvironment::new();
    let before = blocked(&environment);
    let (address, age) = before.first().expect("an entry").clone();
    let done = environment
        .demo(&[
            "virusprot",
            "delete",
            &address,
            "192.0.2.254",
            "--yes",
            "-o",
            "json",
        ])
        .json();
    let entries = &done["data"]["entries"];
    assert_eq!(entries.as_array().map(Vec::len), Some(1));
    assert_eq!(
        (
            &entries[0]["address"],
            &entries[0]["age_seconds"],
            &entries[0]["result"]
        ),
        (&address.clone().into(), &age.into(), &"freed".into())
    );
    assert_eq!(done["data"]["after"]["blocked"], before.len() - 1);
    assert!(
        done["data"]["risks"]
            .to_string()
            .contains("192.0.2.254 is not in virusprot"),
        "{done:#}"
    );
    let told = environment
        .demo(&["virusprot", "delete", &address, "--yes"])
        .success();
    assert!(told.contains("Nothing to do"), "{told}");
    for wrong in [
        "kms.example",
        "192.0.2.256",
        "-1.2.3.4",
        "1.2.3.4\n5.6.7.8",
        "!192.0.2.1",
    ] {
        environment
            .demo(&["virusprot", "delete", "--yes", "--", wrong])
            .fails_with(2);
    }
}

#[test]
fn expire_frees_what_is_older_and_leaves_the_rest() {
    let environment = TestEnvironment::new();
    let before = blocked(&environment);
    let limit = before[before.len() / 2].1;
    let done = environment
        .demo(&[
            "virusprot",
            "expire",
            &format!("--older-than={limit}s"),
            "--yes",
            "-o",
            "json",
        ])
        .json();
    let freed: Vec<&str> = done["data"]["entries"]
        .as_array()
        .expect("entries")
        .iter()
        .filter_map(|entry| entry["address"].as_str())
        .collect();
    let mut wanted: Vec<&str> = before
        .iter()
        .filter(|(_, age)| *age > limit)
        .map(|(address, _)| address.as_str())
        .collect();
    let mut freed = freed.clone();
    wanted.sort_unstable();
    freed.sort_unstable();
    assert_eq!(freed, wanted);
    assert_eq!(blocked(&environment).len(), before.len() - wanted.len());
    let day = environment
        .demo(&["virusprot", "expire", "--yes"])
        .success();
    assert!(
        day.contains("none of the") && day.contains("that old"),
        "{day}"
    );
}

#[test]
fn thousands_come_from_stdin_in_one_round_trip() {
    use std::io::Write as _;
    use std::process::Stdio;
    let environment = TestEnvironment::new();
    let run = |arguments: &[&str], list: &str| {
        let mut command = environment.command(&[&["--demo"], arguments].concat());
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("kmsctl runs");
        let mut stdin = child.stdin.take().expect("stdin");
        // Whoever refuses before reading closes the pipe.
        stdin.write_all(list.as_bytes()).ok();
        drop(stdin);
        child.wait_with_output().expect("kmsctl ends")
    };
    let mut list: String = blocked(&environment)
        .into_iter()
        .map(|(address, _)| format!("{address}\n"))
        .collect();
    list.extend(
        (0..10_000)
            .map(|number| format!("100.64.{}.{} # not there\n", number / 250, number % 250 + 1)),
    );
    let output = run(&["virusprot", "delete", "-"], &list);
    assert_eq!(output.status.code(), Some(4), "asks before it reads");
    let output = run(
        &["virusprot", "delete", "-", "--yes", "-q", "-o", "ndjson"],
        &list,
    );
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 10);
    assert_eq!(blocked(&environment), []);
    let output = run(
        &["virusprot", "delete", "-", "--yes"],
        "192.0.2.1\nrubbish here\n",
    );
    assert_eq!(output.status.code(), Some(2));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("line 2: rubbish"),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn a_missing_table_is_never_made() {
    let environment = TestEnvironment::new().variable("KMSCTL_DEMO_SCENARIO", "table-missing");
    for command in [
        &["virusprot", "flush"][..],
        &["virusprot", "delete", "192.0.2.1"],
        &["virusprot", "expire"],
    ] {
        let told = environment
            .demo(&[command, &["--yes"]].concat())
            .fails_with(1);
        assert!(
            told.contains("the table virusprot does not exist"),
            "{told}"
        );
    }
}
