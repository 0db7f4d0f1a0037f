//! `kmsctl states kill`: the service's connections, both halves, and nothing else.

use serde_json::Value;

use crate::support::environment::TestEnvironment;

fn rows(environment: &TestEnvironment) -> Vec<Value> {
    let lines = environment.demo(&["states", "--all", "-o", "ndjson"]).success();
    lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn all_states(environment: &TestEnvironment) -> u64 {
    environment.demo(&["status", "-o", "json"]).json()["data"]["pf"]["states"]
        .as_u64()
        .expect("a number")
}

#[test]
fn a_source_loses_both_halves_and_others_none() {
    let environment = TestEnvironment::new();
    let before = rows(&environment);
    let busiest = before
        .iter()
        .map(|row| row["client"].as_str().expect("a client").to_owned())
        .max_by_key(|client| before.iter().filter(|row| row["client"] == **client).count())
        .expect("a client");
    let of = |rows: &[Value]| rows.iter().filter(|row| row["client"] == *busiest).count();
    assert!(of(&before) >= 2);
    let all = all_states(&environment);
    let done = environment.demo(&["states", "kill", &busiest, "--yes", "-o", "json"]).json();
    assert_eq!(done["data"]["states_ended"], of(&before), "{done:#}");
    let after = rows(&environment);
    assert_eq!((of(&after), after.len()), (0, before.len() - of(&before)));
    assert_eq!(all_states(&environment), all - of(&before) as u64);
    let again = environment.demo(&["states", "kill", &busiest, "--yes", "-o", "json"]).json();
    assert_eq!(again["data"]["outcome"], "nothing-to-do");
}

#[test]
fn all_ends_the_service_and_nothing_else() {
    let environment = TestEnvironment::new();
    let (service, all) = (rows(&environment).len() as u64, all_states(&environment));
    assert!(all > service, "others are connected too");
    let done = environment.demo(&["states", "kill", "--all", "--yes", "-o", "json"]).json();
    assert_eq!(
        (&done["data"]["outcome"], &done["data"]["states_ended"]),
        (&Value::from("done"), &Value::from(service)),
        "{done:#}"
    );
    assert_eq!((rows(&environment).len(), all_states(&environment)), (0, all - service));
}

#[test]
fn what_is_no_address_is_refused() {
    let environment = TestEnvironment::new();
    for arguments in [
        &["states", "kill"][..],
        &["states", "kill", "kms.example"],
        &["states", "kill", "10.0.0.0/33"],
        &["states", "kill", "--all", "192.0.2.1"],
    ] {
        environment.demo(&[arguments, &["--yes"]].concat()).fails_with(2);
    }
}

/// A network means every client within; a port beside an address means nothing.
#[test]
fn clients_are_named_by_network_and_by_what_is_printed() {
    let environment = TestEnvironment::new();
    let sources = |words: &[&str]| {
        let outcome = environment.demo(&[&["states", "-o", "json"], words].concat());
        let shown = outcome.json();
        let sources = shown["data"]["sources"].as_array().expect("sources");
        let addresses = sources.iter().filter_map(|source| source["address"].as_str());
        addresses.map(str::to_owned).collect::<Vec<_>>()
    };
    let all = sources(&[]);
    let within: Vec<&String> =
        all.iter().filter(|address| address.starts_with("198.51.100.")).collect();
    assert!(within.len() > 1 && within.len() < all.len(), "{all:?}");
    let shown = sources(&["--source", "198.51.100.0/24"]);
    assert_eq!(shown.iter().collect::<Vec<_>>(), within);
    assert_eq!(sources(&["--source", "198.51.100.200:4711"]), ["198.51.100.200"]);
    assert_eq!(sources(&["--source", "203.0.112.0/24"]), Vec::<String>::new());

    let none = environment.demo(&["states", "kill", "203.0.112.0/24", "--yes"]);
    assert_eq!(none.code, Some(0), "{none}");
    assert!(none.to_string().contains("within 203.0.112.0/24"), "{none}");
    environment.demo(&["states", "kill", "198.51.100.200:4711", "--yes"]).success();
    assert!(!sources(&[]).contains(&"198.51.100.200".to_owned()));
    environment.demo(&["states", "kill", "198.51.100.0/24", "--yes"]).success();
    let left = sources(&[]);
    assert_eq!(left.len(), all.len() - within.len(), "{left:?}");
}

/// Each cell stands below a title, also that of who is blocked.
#[test]
fn no_column_of_states_is_nameless() {
    let shown = TestEnvironment::new().demo(&["states"]).success();
    let head = shown.lines().find(|line| line.starts_with("SOURCE")).expect("titles");
    assert!(head.ends_with("FLAGS"), "{shown}");
}
