//! `kmsctl virusprot …` on the demo.

use crate::support::environment::TestEnvironment;

#[test]
fn the_schema_has_its_keys() {
    let environment = TestEnvironment::new();
    let shown = environment.demo(&["virusprot", "show", "-o", "json"]).json();
    assert_eq!(shown["schema"], "kmsctl/virusprot.show/v1");
    assert_eq!(shown["firewall"], "demo");
    assert_eq!(shown["taken_at"], "2026-03-01T12:21:34Z");
    assert_eq!(shown["data"]["table"], "virusprot");
    assert_eq!(shown["data"]["expiry"]["kind"], "cron");
    assert_eq!(shown["data"]["expiry"]["older_than_seconds"], 3600);
    let entries = shown["data"]["entries"].as_array().expect("entries");
    assert!(entries.len() >= 3, "{shown:#}");
    for entry in entries {
        let keys: Vec<&str> =
            entry.as_object().expect("an entry").keys().map(String::as_str).collect();
        assert_eq!(
            keys,
            ["address", "added_at", "age_seconds", "release_at", "states", "flags", "activated_at"]
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
    assert!(oldest.is_sorted_by(|left, right| left >= right), "{oldest:?}");
    let limit = newest[newest.len() / 2];
    let older = ages(&["--older-than", &format!("{limit}s")]);
    assert_eq!(older, newest.iter().copied().filter(|age| *age > limit).collect::<Vec<_>>());
    let none = environment.demo(&["virusprot", "show", "--older-than", "10d"]);
    assert_eq!((none.stdout.as_str(), none.code), ("", Some(0)));
    assert!(none.stderr.contains("that old"), "{none}");
    // A warning is about what is shown.
    let customer = "203.0.113.65";
    for (limit, warns) in [("1m", true), ("30m", false)] {
        let shown = environment.demo(&["virusprot", "show", "--older-than", limit]);
        assert_eq!(shown.stdout.contains(customer), warns, "{limit}: {shown}");
        assert_eq!(shown.stderr.contains(customer), warns, "{limit}: {shown}");
    }
}

#[test]
fn test_answers_by_exit_code() {
    let environment = TestEnvironment::new();
    let csv = environment.demo(&["virusprot", "show", "-o", "csv"]).success();
    let blocked =
        csv.lines().nth(1).and_then(|line| line.split(',').next()).expect("an entry").to_owned();
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
    for arguments in [&["virusprot", "show"][..], &["virusprot", "test", "192.0.2.1"]] {
        let outcome = environment.demo(arguments);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(1), ""), "{outcome}");
        assert!(outcome.stderr.contains("the table virusprot does not exist"), "{outcome}");
    }
}

#[test]
fn without_the_cron_job_nothing_is_ever_released() {
    let environment = TestEnvironment::new().variable("KMSCTL_DEMO_SCENARIO", "no-cron");
    let shown = environment.demo(&["virusprot", "show", "-o", "json"]).json();
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
    let shown = environment.demo(&["virusprot", "show", "-o", "json"]).json();
    let entries = shown["data"]["entries"].as_array().expect("entries").clone();
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
        .demo(&["virusprot", "delete", &address, "192.0.2.254", "--yes", "-o", "json"])
        .json();
    let entries = &done["data"]["entries"];
    assert_eq!(entries.as_array().map(Vec::len), Some(1));
    assert_eq!(
        (&entries[0]["address"], &entries[0]["age_seconds"], &entries[0]["result"]),
        (&address.clone().into(), &age.into(), &"freed".into())
    );
    assert_eq!(done["data"]["after"]["blocked"], before.len() - 1);
    assert!(
        done["data"]["risks"].to_string().contains("192.0.2.254 is not in virusprot"),
        "{done:#}"
    );
    let told = environment.demo(&["virusprot", "delete", &address, "--yes"]).success();
    assert!(told.contains("Nothing to do"), "{told}");
    for wrong in ["kms.example", "192.0.2.256", "-1.2.3.4", "1.2.3.4\n5.6.7.8", "!192.0.2.1"] {
        environment.demo(&["virusprot", "delete", "--yes", "--", wrong]).fails_with(2);
    }
}

#[test]
fn expire_frees_what_is_older_and_leaves_the_rest() {
    let environment = TestEnvironment::new();
    let before = blocked(&environment);
    let limit = before[before.len() / 2].1;
    let done = environment
        .demo(&["virusprot", "expire", &format!("--older-than={limit}s"), "--yes", "-o", "json"])
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
    let day = environment.demo(&["virusprot", "expire", "--yes"]).success();
    assert!(day.contains("none of the") && day.contains("that old"), "{day}");
    // The default is of use only where pfSense's own job is not.
    assert!(day.contains("Cron frees those older than 1h"), "{day}");
    let silent = environment.demo(&["virusprot", "expire", "--yes", "-q"]);
    assert_eq!((silent.code, silent.to_string().as_str()), (Some(0), ""), "{silent}");
    let without = TestEnvironment::new().variable("KMSCTL_DEMO_SCENARIO", "no-cron");
    let day = without.demo(&["virusprot", "expire", "--older-than", "90d", "--yes"]).success();
    assert!(day.contains("that old") && !day.contains("Cron frees"), "{day}");
}

#[test]
fn a_plan_of_one_address_speaks_of_one() {
    let environment = TestEnvironment::new();
    let (first, age) = blocked(&environment).remove(0);
    let many = regex::Regex::new(r"(?i)\b(them|they|their|addresses)\b").expect("a pattern");
    let freed = environment.demo(&["virusprot", "delete", &first, "--yes", "-o", "json"]).json();
    let id = freed["data"]["id"].as_str().expect("an id").to_owned();
    for words in [
        &["undo", &id, "--dry-run"][..],
        &["undo", &id, "--yes"],
        &["virusprot", "delete", &first, "--dry-run"],
        &["virusprot", "delete", &first, "--yes"],
        &["virusprot", "add", "203.0.113.250", "--dry-run"],
        &["virusprot", "add", "203.0.113.250", "--yes"],
    ] {
        let outcome = environment.demo(words);
        assert_eq!(outcome.code, Some(0), "{words:?}: {outcome}");
        let found = many.find(&outcome.to_string()).map(|found| found.as_str().to_owned());
        assert_eq!(found, None, "{words:?} ({age}s): {outcome}");
    }
}

#[test]
fn a_named_record_alone_is_read() {
    let environment = TestEnvironment::new();
    let empty = environment.home().join("empty").display().to_string();
    let outcome = environment.demo(&["virusprot", "history", "--state-dir", &empty]);
    assert!(outcome.fails_with(8).contains("no record of who was blocked"));
    environment.demo(&["virusprot", "history"]).success();
}

#[test]
fn thousands_come_from_stdin_in_one_round_trip() {
    use std::io::Write as _;
    use std::process::Stdio;
    let environment = TestEnvironment::new();
    let run = |arguments: &[&str], list: &str| {
        let mut command = environment.command(&[&["--demo"], arguments].concat());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("kmsctl runs");
        let mut stdin = child.stdin.take().expect("stdin");
        // Whoever refuses before reading closes the pipe.
        stdin.write_all(list.as_bytes()).ok();
        drop(stdin);
        child.wait_with_output().expect("kmsctl ends")
    };
    let mut list: String =
        blocked(&environment).into_iter().map(|(address, _)| format!("{address}\n")).collect();
    list.extend(
        (0..10_000)
            .map(|number| format!("100.64.{}.{} # not there\n", number / 250, number % 250 + 1)),
    );
    let output = run(&["virusprot", "delete", "-"], &list);
    assert_eq!(output.status.code(), Some(4), "asks before it reads");
    let output = run(&["virusprot", "delete", "-", "--yes", "-q", "-o", "ndjson"], &list);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 10);
    assert_eq!(blocked(&environment), []);
    let output = run(&["virusprot", "delete", "-", "--yes"], "192.0.2.1\nrubbish here\n");
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
        let told = environment.demo(&[command, &["--yes"]].concat()).fails_with(1);
        assert!(told.contains("the table virusprot does not exist"), "{told}");
    }
}

/// What an operator pastes out of another view: networks, and addresses with a port.
#[test]
fn networks_and_printed_addresses_are_taken() {
    let environment = TestEnvironment::new();
    for (words, code, said) in [
        (&["203.0.113.0/24"][..], 0, "entries within"),
        (&["203.0.113.65/32"], 0, "blocked"),
        (&["203.0.113.65:49396"], 0, "blocked"),
        (&["[2001:db8:bad::20]:1688"], 0, "blocked"),
        (&["[2001:db8:bad::20]"], 0, "blocked"),
        (&["2001:db8::/32", "203.0.113.95"], 0, "entries within"),
        (&["192.0.2.0/24"], 3, "(none within 192.0.2.0/24)"),
        (&["203.0.113.0/24", "192.0.2.0/24"], 3, "1 of 2 not blocked"),
        (&["203.0.113.66:1"], 3, "1 of 1 not blocked"),
        (&["203.0.113.65:99999"], 2, "neither an address nor a network"),
        (&["kms.example:1688"], 2, "neither an address nor a network"),
        (&["203.0.113.0/33"], 2, "neither an address nor a network"),
    ] {
        let outcome = environment.demo(&[&["virusprot", "test"], words].concat());
        assert_eq!(outcome.code, Some(code), "{words:?}: {outcome}");
        let text = outcome.to_string();
        assert!(text.contains(said), "{words:?}: {outcome}");
        assert!(text.to_lowercase().matches("none within").count() < 2, "{words:?}: {outcome}");
    }
    let outcome = environment.demo(&["-v", "virusprot", "test", "203.0.113.65:49396"]);
    assert!(outcome.stderr.contains("49396"), "{outcome}");

    let before = blocked(&environment);
    let within = |address: &str| address.starts_with("203.0.113.");
    let meant = before.iter().filter(|(address, _)| within(address)).count();
    assert!(meant > 1, "{before:?}");
    let none = environment.demo(&["virusprot", "delete", "192.0.2.0/24", "--yes"]);
    assert_eq!(none.code, Some(0), "{none}");
    assert!(none.to_string().contains("within 192.0.2.0/24"), "{none}");
    environment.demo(&["virusprot", "delete", "203.0.113.0/24", "--yes"]).success();
    let after = blocked(&environment);
    assert_eq!(after.len(), before.len() - meant, "{after:?}");
    assert!(!after.iter().any(|(address, _)| within(address)), "{after:?}");
    // One undo puts every one of them back.
    environment.demo(&["undo", "--yes"]).success();
    assert_eq!(blocked(&environment).len(), before.len());
    environment.demo(&["virusprot", "delete", "203.0.113.65:49396", "--yes"]).success();
    assert_eq!(blocked(&environment).len(), before.len() - 1);
}

#[test]
fn addresses_are_blocked_by_hand_and_freed_again() {
    let environment = TestEnvironment::new();
    let before = blocked(&environment).len();
    let planned = environment.demo(&["virusprot", "add", "203.0.113.99", "--dry-run"]);
    assert!(planned.success().contains("every interface"));
    assert_eq!(blocked(&environment).len(), before);
    environment
        .demo(&["virusprot", "add", "203.0.113.99:1688", "198.18.0.0/24", "--yes"])
        .success();
    environment.demo(&["virusprot", "test", "203.0.113.99", "198.18.0.7"]).success();
    // The same once more is nothing to do, also for what a network holds already.
    for again in ["203.0.113.99", "198.18.0.7"] {
        let outcome = environment.demo(&["virusprot", "add", again, "--yes", "-o", "json"]);
        assert_eq!(outcome.json()["data"]["outcome"], "nothing-to-do", "{again}");
    }
    environment.demo(&["undo", "--yes"]).success();
    assert_eq!(blocked(&environment).len(), before);
    for public in ["2002:c633:6463::1", "2001:0:4136:e378:8000:63bf:39cc:9b9c"] {
        environment.demo(&["virusprot", "add", public, "--dry-run"]).success();
    }
    // By a saved plan, too.
    environment.demo(&["virusprot", "add", "203.0.113.99", "--plan-out", "plan.json"]).success();
    environment.demo(&["apply", "plan.json", "--yes"]).success();
    assert_eq!(blocked(&environment).len(), before + 1);
}

#[test]
fn what_must_not_be_blocked_is_refused() {
    let environment =
        TestEnvironment::new().variable("KMSCTL_NETWORKS_PROTECTED", "203.0.113.128/25");
    let before = blocked(&environment).len();
    let shown = environment.demo(&["status", "-o", "json"]).json();
    assert!(shown["data"]["findings"].is_array());
    for address in [
        "10.0.20.202",
        "10.1.2.3",
        "192.168.1.1",
        "192.168.1.2",
        "192.168.1.0/30",
        "172.16.0.9",
        "100.64.0.1",
        "127.0.0.1",
        "0.0.0.0/0",
        "8.0.0.0/5",
        "224.0.0.1",
        "255.255.255.255",
        "203.0.113.200",
        "203.0.113.0/24",
        "::/0",
        "::1",
        "fe80::1",
        "fd00::1",
        "::ffff:10.0.20.1",
        "::ffc0:0:0/90",
        // An IPv4 address stands in them: private, own, a gateway's, protected, the service's.
        "2002:a00:1::1",
        "2002:a00::/24",
        "2002::/16",
        "2000::/3",
        "2002:a00:14ca::5",
        "2002:c0a8:101::1",
        "2002:cb00:71c8::1",
        "2002:cb00:710a::1",
        "2001:0:4136:e378:8000:63bf:f5ff:fffe",
        "2001:0:4136:e378:8000:63bf:34ff:8e37",
        "64:ff9b::a00:1",
        "64:ff9b:1::a00:1",
        "::10.0.0.1",
    ] {
        let outcome = environment.demo(&["virusprot", "add", "--yes", "--", "198.18.0.1", address]);
        assert_eq!(outcome.code, Some(1), "{address}: {outcome}");
        assert_eq!(blocked(&environment).len(), before, "{address}");
    }
}

#[test]
fn a_plan_names_a_network_with_its_size() {
    let environment = TestEnvironment::new();
    for (addresses, wanted) in [
        (&["203.0.114.0/24"][..], "Block 203.0.114.0/24 (256 addresses) in virusprot."),
        (
            &["198.18.4.0/30", "203.0.113.99"],
            "Block 1 address and 198.18.4.0/30 (4 addresses) in virusprot.",
        ),
        (&["2001:db9::/32"], "Block 2001:db9::/32 (2^96 addresses) in virusprot."),
        (&["203.0.113.99", "203.0.113.98"], "Block 2 addresses in virusprot."),
    ] {
        let planned = environment.demo(&[&["virusprot", "add", "--dry-run"], addresses].concat());
        let shown = planned.success().replace('\n', " ");
        let shown = shown.split_whitespace().collect::<Vec<_>>().join(" ");
        let wanted = wanted.replace("virusprot.", "virusprot");
        assert!(shown.contains(&wanted), "{addresses:?}: {shown}");
    }
    environment.demo(&["virusprot", "add", "198.18.4.0/24", "--yes"]).success();
    let planned = environment.demo(&["virusprot", "delete", "198.18.0.0/16", "--dry-run"]);
    let shown = planned.success();
    assert!(shown.contains("Free 198.18.4.0/24 (256 addresses) from virusprot"), "{shown}");
    let planned = environment.demo(&["undo", "--dry-run"]).success();
    assert!(planned.contains("Free 198.18.4.0/24 (256 addresses)"), "{planned}");
}

#[test]
fn blocking_by_hand_warns_of_customers_and_vantages() {
    let environment = TestEnvironment::new();
    let outcome = environment.demo(&["virusprot", "show", "-o", "json"]).json();
    let entries = outcome["data"]["entries"].as_array().expect("entries");
    let customer = entries
        .iter()
        .find(|entry| entry["activated_at"].is_string())
        .expect("a customer in the demo");
    let customer = customer["address"].as_str().expect("an address");
    environment.demo(&["virusprot", "delete", customer, "--yes"]).success();
    let network = format!("{}64/26", &customer[..=customer.rfind('.').expect("IPv4")]);
    environment.demo(&["virusprot", "flush", "--yes"]).success();
    for address in [customer, &network] {
        let planned = environment.demo(&["virusprot", "add", address, "--dry-run", "-o", "json"]);
        let planned = planned.json();
        let risks = planned["data"]["risks"].to_string();
        assert!(risks.contains("customer") && risks.contains(customer), "{address}: {planned:#}");
    }
    let planned = environment.demo(&["virusprot", "add", customer, "--yes"]);
    assert!(planned.stderr.contains("activated"), "{planned}");
    let environment = TestEnvironment::new();
    let vantages = environment.demo(&["verify", "--external", "-o", "json"]).stdout;
    let vantages: serde_json::Value = serde_json::from_str(&vantages).expect("JSON");
    let address = vantages["data"]["vantages"]
        .as_array()
        .and_then(|all| all.iter().find_map(|one| one["address"].as_str()))
        .expect("a vantage's address");
    let planned = environment.demo(&["virusprot", "add", address, "--dry-run"]);
    let shown = format!("{}{}", planned.stdout, planned.stderr);
    assert!(shown.contains("vantage"), "{address}: {shown}");
}

#[test]
fn the_history_says_of_when_it_is() {
    let environment = TestEnvironment::new();
    let shown = environment.demo(&["virusprot", "history"]).success();
    let shown = shown.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in [
        "by the record, whose last entry is of 2026-03-01T",
        "Who is blocked now was not read: `kmsctl --demo virusprot show`",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(!shown.contains("none is any more"), "{shown}");
    let data = environment.demo(&["virusprot", "history", "-o", "json"]).json();
    assert!(data["data"]["last_event_at"].is_string(), "{data:#}");
    assert_eq!(data["firewall"], "demo");
}

/// The demo's history of blocked addresses and its table are one story, at any moment.
#[test]
fn the_record_holds_who_is_blocked_now() {
    let environment = TestEnvironment::new();
    let listed = |words: &[&str], list: &str| -> Vec<String> {
        let shown = environment.demo(&[words, &["-o", "json"]].concat()).json();
        let rows = shown["data"][list].as_array().expect("rows").clone();
        let still = rows.iter().filter(|row| row["released_at"].is_null());
        let mut names: Vec<String> =
            still.map(|row| row["address"].as_str().expect("an address").to_owned()).collect();
        names.sort();
        names
    };
    let now = listed(&["virusprot", "show"], "entries");
    assert!(now.len() >= 3, "{now:?}");
    assert_eq!(listed(&["virusprot", "history"], "periods"), now);
    environment.demo(&["virusprot", "delete", &now[0], "--yes"]).success();
    assert_eq!(listed(&["virusprot", "history"], "periods"), now[1..]);
}

#[test]
fn the_services_own_address_is_never_blocked() {
    for address in ["203.0.113.10", "203.0.113.0/28"] {
        let told = TestEnvironment::new().demo(&["virusprot", "add", address, "--yes"]);
        assert!(told.fails_with(1).contains("clients reach the service at that address"));
    }
}

/// What is wrong with the words is said before that there is no terminal to confirm at.
#[test]
fn words_are_judged_before_the_terminal() {
    let environment = TestEnvironment::new();
    for address in ["10.0.0.5", "192.168.0.0/16", "127.0.0.1", "224.0.0.1", "fe80::1", "0.0.0.0/0"]
    {
        let refused = environment.demo(&["virusprot", "add", address]).fails_with(1);
        assert!(refused.contains("is not blocked:"), "{address}: {refused}");
        assert!(!refused.contains("no terminal"), "{address}: {refused}");
    }
    for command in ["add", "delete"] {
        for (text, code, words) in [
            ("203.0.113.250\nkms.example\n", 2, "line 2: kms.example"),
            ("203.0.113.250\n", 4, "no terminal"),
        ] {
            let mut listed = environment.command(&["--demo", "virusprot", command, "-"]);
            let list = environment.home().join("list");
            std::fs::write(&list, text).expect("a list");
            let list = std::fs::File::open(&list).expect("a list");
            let output = listed.stdin(list).output().expect("kmsctl runs");
            let answer = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(code), "{answer}");
            assert!(answer.contains(words), "{answer}");
        }
    }
    let plan = environment.home().join("plan").display().to_string();
    environment.demo(&["ratelimit", "tighten", "--plan-out", &plan]).success();
    environment.demo(&["apply", &plan, "--yes"]).success();
    let again = environment.demo(&["apply", &plan]).fails_with(6);
    assert!(again.contains("carried out already"), "{again}");
    for words in
        [&["virusprot", "add", "203.0.113.250"][..], &["virusprot", "delete", "203.0.113.250"]]
    {
        let refused = environment.demo(words).fails_with(4);
        assert!(refused.contains("no terminal"), "{refused}");
    }
}

/// The record is by the firewall's clock.
#[test]
fn times_of_a_stepped_clock_are_named() {
    let environment = TestEnvironment::new();
    environment.write_config("[firewall]\nhost = \"127.0.0.1\"\nport = 9\n");
    let record = environment.home().join("record");
    std::fs::create_dir(&record).expect("a directory");
    let event = |event: &str, at: &str| {
        format!(
            "{{\"at\":\"2026-03-01T{at}Z\",\"event\":\"{event}\",\"address\":\"203.0.113.5\",\"since\":null,\"connections\":0,\"customer\":null}}\n"
        )
    };
    for (events, odd) in [
        ([event("blocked", "11:00:00"), event("released", "12:00:00")], false),
        ([event("blocked", "11:00:00"), event("released", "10:00:00")], true),
        ([event("blocked", "12:22:00"), String::new()], false),
        ([event("blocked", "15:00:00"), String::new()], true),
    ] {
        std::fs::write(record.join("blocks.jsonl"), events.concat()).expect("a record");
        let directory = record.display().to_string();
        let shown = environment.run(&["virusprot", "history", "--state-dir", &directory]);
        assert_eq!(shown.code, Some(0), "{shown}");
        let named = shown.stderr.contains("1 period begins in the future or after the release");
        assert_eq!(named, odd, "{events:?}: {shown}");
    }
}

/// What a network in the table covers is not free once its own entry is gone.
#[test]
fn an_entry_within_a_network_is_not_freed_alone() {
    let environment = TestEnvironment::new();
    environment.demo(&["virusprot", "add", "203.0.113.64/27", "--yes"]).success();
    let refused = environment.demo(&["virusprot", "delete", "203.0.113.65", "--yes"]).fails_with(1);
    assert!(refused.contains("203.0.113.65 would not be free"), "{refused}");
    let hint = "virusprot delete 203.0.113.65 203.0.113.64/27";
    assert!(refused.contains(hint), "{refused}");
    let both = ["virusprot", "delete", "203.0.113.65", "203.0.113.64/27", "--yes"];
    environment.demo(&both).success();
    environment.demo(&["virusprot", "test", "203.0.113.65"]).fails_with(3);
}
