//! `kmsctl states kill`: the service's connections, both halves, and nothing else.

use serde_json::Value;

use crate::support::environment::TestEnvironment;
use crate::support::live::LiveBox;

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

/// One number, one meaning: how many were ended, and how many there are now.
#[test]
fn a_closing_counts_what_it_ended() {
    for scenario in ["open", "group", "group-forward", "one-to-one", "routed", "second-wan", "upnp"]
    {
        let run = |words: &[&str]| {
            let demo = TestEnvironment::new().variable("KMSCTL_DEMO_SCENARIO", scenario);
            demo.demo(&[&["expose", "revoke", "--yes"], words].concat())
        };
        let shown = run(&["-o", "json"]);
        let data = &serde_json::from_str::<Value>(&shown.stdout).expect("JSON")["data"];
        let ended = format!("{} connections ended", data["before"]["connections"]);
        let said = data["message"].as_str().expect("a message");
        assert!(said.contains(&ended), "{scenario}: {shown}");
        assert_eq!(data["after"]["connections"], 0, "{scenario}: {shown}");
        assert!(!run(&[]).stdout.contains("not known"), "{scenario}");
    }
}

const CLIENTS: [&str; 3] = ["198.51.100.23", "198.51.100.24", "10.0.20.50"];

/// Of each client the half through the firewall, as pfctl prints it.
fn printed_states(clients: &[&str]) -> String {
    let lines = clients.iter().map(|client| {
        let id = client.len() * 256 + usize::from(client.as_bytes().last().copied().unwrap_or(0));
        format!(
            "all tcp 10.0.20.202:1688 (192.168.1.2:1688) <- {client}:50122       ESTABLISHED:ESTABLISHED\n   \
             age 00:02:05, expires in 00:59:00, 14:11 pkts, 1820:3100 bytes, rule 25\n   \
             id: {id:016x} creatorid: 0000001a\n"
        )
    });
    lines.collect()
}

/// What is left, what came meanwhile, and what could not be read are never the plan's number.
#[test]
fn connections_left_are_those_read_back() {
    for (left, count) in [
        (&CLIENTS[..0], Some(0)),
        (&CLIENTS[..1], Some(1)),
        (&CLIENTS[..2], Some(2)),
        (&CLIENTS[2..], Some(1)),
        (&[], None),
    ] {
        for words in [&["expose", "revoke"][..], &["states", "kill", "--all"]] {
            let Some(live) = LiveBox::start("russh") else {
                return;
            };
            live.firewall.php().write("states-now", printed_states(&CLIENTS[..2]).as_bytes());
            live.firewall.php().write("states-then", printed_states(left).as_bytes());
            let read = match count {
                Some(_) => "cat \"$BOX/states-now\"",
                None => "[ ! -e \"$BOX/ended\" ] && cat \"$BOX/states-now\"",
            };
            live.answer_pfctl(
                "russh",
                &format!(
                    "-vvss) {read} ;;\n-k*) cp \"$BOX/states-then\" \"$BOX/states-now\" && touch \"$BOX/ended\" && \
                     echo 'killed 2 states' >&2 ;;"
                ),
            );
            let run = live.environment.run(&[words, &["--yes", "-o", "json"]].concat());
            let case = format!("{words:?}, {left:?}: {run}");
            let data = &serde_json::from_str::<Value>(&run.stdout).expect(&case)["data"];
            assert_eq!(data["before"]["connections"], 2, "{case}");
            assert_eq!(data["after"]["connections"].as_u64(), count, "{case}");
            let message = data["message"].as_str().expect(&case);
            let new = left.iter().filter(|client| !CLIENTS[..2].contains(client)).count();
            let ended = match 2 + new - left.len() {
                1 => "1 connection ended (".to_owned(),
                many => format!("{many} connections ended ("),
            };
            assert!(!message.contains("ended (") || message.contains(&ended), "{case}");
        }
    }
}
