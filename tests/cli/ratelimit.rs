//! `kmsctl ratelimit …`: presets, values, refusals, and changes that revert by themselves.

use serde_json::Value;

use crate::support::boxes::{Fixture, Version};
use crate::support::cluster::FakeCluster;
use crate::support::environment::TestEnvironment;
use crate::support::live::{LiveBox, TRACKER};
use crate::support::pods::make_pipe;
use crate::support::served::Served;

fn caps(environment: &TestEnvironment) -> Value {
    let shown = environment.demo(&["ratelimit", "show", "-o", "json"]).json();
    assert_eq!(shown["data"]["configured"], shown["data"]["loaded"], "{shown:#}");
    let loaded = &shown["data"]["loaded"];
    serde_json::json!([
        loaded["max_src_conn"],
        loaded["rate"]["connections"],
        loaded["rate"]["seconds"],
        shown["data"]["preset"]
    ])
}

#[test]
fn presets_come_from_the_configuration_and_both_sides_follow() {
    let environment = TestEnvironment::new()
        .variable("KMSCTL_PRESETS_NIGHT_MAX_SRC_CONN", "5")
        .variable("KMSCTL_PRESETS_NIGHT_RATE", "2/30")
        .variable("KMSCTL_PRESETS_LOOSEN_MAX_SRC_CONN", "60")
        .variable("KMSCTL_PRESETS_LOOSEN_RATE", "31/61");
    let cases: [(&[&str], Value); 4] = [
        (&["tighten"], serde_json::json!([10, 3, 60, "tighten"])),
        (&["set", "--preset", "night"], serde_json::json!([5, 2, 30, "night"])),
        (&["loosen"], serde_json::json!([60, 31, 61, "loosen"])),
        (&["default"], serde_json::json!([50, 10, 60, "default"])),
    ];
    for (arguments, wanted) in cases {
        environment.demo(&[&["ratelimit"], arguments, &["--yes"]].concat()).success();
        assert_eq!(caps(&environment), wanted, "{arguments:?}");
    }
}

#[test]
fn set_changes_what_it_names_and_leaves_the_rest() {
    let environment = TestEnvironment::new();
    let set = |arguments: &[&str]| {
        environment.demo(&[&["ratelimit", "set", "--yes"], arguments].concat())
    };
    set(&["--max-src-conn", "7"]).success();
    assert_eq!(caps(&environment), serde_json::json!([7, 10, 60, null]));
    set(&["--rate", "4/20"]).success();
    assert_eq!(caps(&environment), serde_json::json!([7, 4, 20, null]));
    let outcome = set(&["--rate", "none"]);
    assert!(outcome.stderr.contains("no address is ever blocked"), "{outcome}");
    assert_eq!(caps(&environment), serde_json::json!([7, null, null, null]));
    set(&["--max-src-conn", "50", "--rate", "10/60"]).success();
    assert_eq!(caps(&environment)[3], "default");
}

#[test]
fn bad_values_are_refused_before_any_connection() {
    let environment = TestEnvironment::new();
    let bad: [&[&str]; 16] = [
        &["--max-src-conn", "0"],
        &["--max-src-conn", "-1"],
        &["--max-src-conn", "4294967296"],
        &["--max-src-conn", " 10"],
        &["--max-src-conn", ""],
        &["--max-src-conn", "+5"],
        &["--rate", "10/0"],
        &["--rate", "0/60"],
        &["--rate", "10"],
        &["--rate", "10/"],
        &["--rate", "10 / 60"],
        &["--rate", "10/256"],
        &["--rate", "99999999/60"],
        &["--preset", "nonsense"],
        &["--preset", "tighten", "--rate", "10/60"],
        &[],
    ];
    for arguments in bad {
        let outcome = environment.demo(&[&["ratelimit", "set", "--yes"], arguments].concat());
        assert_eq!(
            (outcome.code, outcome.stdout.as_str()),
            (Some(2), ""),
            "{arguments:?}: {outcome}"
        );
    }
    assert!(!environment.home().join(".local").exists(), "the demo was not even started");
    let told =
        environment.demo(&["ratelimit", "set", "--preset", "nonsense", "--yes"]).fails_with(2);
    assert!(told.contains("default, loosen, tighten"), "{told}");
    for wrong in ["30s", "0s", "31d", "soon", "-1h"] {
        environment
            .demo(&["ratelimit", "tighten", "--yes", &format!("--for={wrong}")])
            .fails_with(2);
    }
}

#[test]
fn caps_are_refused_with_the_reason_where_they_cannot_work() {
    // Where there is nothing, a command that opens the port is no help to who wants it tighter.
    for (scenario, reason, next) in [
        ("pass-association", "association is \"Pass\"", "kmsctl --demo expose apply"),
        ("absent", "no filter rule", "kmsctl --demo expose show"),
    ] {
        let environment = TestEnvironment::new().variable("KMSCTL_DEMO_SCENARIO", scenario);
        let told = environment.demo(&["ratelimit", "tighten", "--yes"]).fails_with(1);
        assert!(told.contains(reason) && told.contains(next), "{scenario}: {told}");
    }
}

#[test]
fn who_would_be_cut_is_told_before() {
    let environment = TestEnvironment::new();
    let plan = environment.demo(&["ratelimit", "tighten", "--dry-run", "-o", "json"]).json();
    let risks = plan["data"]["risks"].as_array().expect("risks").clone();
    let codes: Vec<&str> = risks.iter().filter_map(|risk| risk["code"].as_str()).collect();
    assert!(codes.contains(&"counters-restart") && codes.contains(&"stay-blocked"), "{codes:?}");
    let cut = risks.iter().find(|risk| risk["code"] == "cut-soon").expect("who");
    assert!(
        cut["message"].as_str().expect("a text").contains("more than 10 connections now"),
        "{cut}"
    );
}

/// Who trips caps trips tighter ones as well.
#[test]
fn tighter_caps_cut_no_fewer() {
    let environment = TestEnvironment::new();
    let cut = |words: &[&str]| {
        let seen = environment.demo(&[&["ratelimit", "preview"], words, &["-o", "json"]].concat());
        let data = seen.json()["data"].clone();
        let count = |key: &str| data[key].as_u64().expect("a number");
        assert!(count("customers") <= count("cut"), "{data:#}");
        count("cut")
    };
    let (loaded, tighter) = (cut(&[]), cut(&["tighten"]));
    assert!(tighter > 0 && loaded <= tighter, "{loaded} {tighter}");
    assert!(tighter <= cut(&["--max-src-conn", "5", "--rate", "2/60"]));
}

#[test]
fn a_path_without_caps_is_named_beside_the_caps() {
    for scenario in ["second-wan", "routed"] {
        let environment = TestEnvironment::new().variable("KMSCTL_DEMO_SCENARIO", scenario);
        let shown = environment.demo(&["ratelimit", "show", "-o", "json"]).json();
        assert_eq!(shown["data"]["in_force"], false, "{shown:#}");
        assert_eq!(shown["data"]["uncapped_paths"].as_array().map(Vec::len), Some(1), "{shown:#}");
        let risk = "no source is capped";
        for (words, said) in
            [(&["status"][..], ", uncapped."), (&["ratelimit", "tighten", "--dry-run"], risk)]
        {
            let told = environment.demo(words);
            assert!((told.stdout.clone() + &told.stderr).contains(said), "{told}");
        }
        let hops = environment.demo(&["verify", "-o", "json"]);
        let hops: Value = serde_json::from_str(&hops.stdout).expect("JSON");
        let hops = hops["data"]["hops"].as_array().expect("hops").clone();
        let caps = hops.iter().find(|hop| hop["check"] == "caps").expect("caps");
        assert_eq!(caps["result"], "wrong", "{caps:#}");
    }
}

/// Without an id the only armed change is meant; once more is nothing to do.
#[test]
fn keep_without_an_id_means_the_only_armed() {
    let environment = TestEnvironment::new();
    let outcome = |words: &[&str]| {
        let shown = environment.demo(&[words, &["--yes", "-o", "json"]].concat()).json();
        shown["data"]["outcome"].as_str().expect("an outcome").to_owned()
    };
    assert_eq!(outcome(&["keep"]), "nothing-to-do");
    assert_eq!(outcome(&["ratelimit", "tighten", "--for", "2h"]), "done");
    let armed = environment.demo(&["history", "-o", "json"]).json();
    assert_eq!(armed["data"]["armed"].as_array().map(Vec::len), Some(1));
    assert_eq!(outcome(&["keep"]), "done");
    let armed = environment.demo(&["history", "-o", "json"]).json();
    assert_eq!(armed["data"]["armed"].as_array().map(Vec::len), Some(0));
    assert_eq!(outcome(&["keep"]), "nothing-to-do");
}

#[test]
fn a_temporary_change_reverts_by_itself_unless_it_is_kept() {
    let environment = TestEnvironment::new();
    let at = |time: &str, arguments: &[&str]| {
        let mut command = environment.command(&[&["--demo"], arguments].concat());
        command.env("KMSCTL_DEMO_NOW", time);
        let output = command.output().expect("kmsctl runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let (noon, one, late) =
        ("2026-03-02T12:00:00Z", "2026-03-02T13:00:00Z", "2026-03-02T14:01:30Z");
    let done: Value = serde_json::from_str(&at(
        noon,
        &["ratelimit", "tighten", "--for", "2h", "--yes", "-o", "json"],
    ))
    .expect("JSON");
    assert_eq!(done["data"]["reverts_at"], "2026-03-02T14:00:00Z", "{done:#}");
    let id = done["data"]["id"].as_str().expect("an id").to_owned();
    for command in ["status", "history"] {
        let shown = at(one, &[command]);
        assert!(
            shown.contains("Temporary  ")
                && shown.contains(&id)
                && shown.contains("until 2026-03-02T14:00:00Z, for another 1h"),
            "{shown}"
        );
    }
    assert!(at(one, &["ratelimit", "show"]).contains("preset tighten"));
    assert!(at(late, &["ratelimit", "show"]).contains("preset default"));
    assert!(at(late, &["history"]).contains("reverted by itself"));
    assert!(!at(late, &["status"]).contains("Temporary"));
    let done: Value = serde_json::from_str(&at(
        late,
        &["ratelimit", "loosen", "--for", "1h", "--yes", "-o", "json"],
    ))
    .expect("JSON");
    let id = done["data"]["id"].as_str().expect("an id").to_owned();
    assert!(at(late, &["keep", &id[..7], "--yes"]).contains("permanent"));
    assert!(at("2026-03-02T18:00:00Z", &["ratelimit", "show"]).contains("preset loosen"));
    let list: Value = serde_json::from_str(&at("2026-03-02T18:00:00Z", &["history", "-o", "json"]))
        .expect("JSON");
    assert_eq!(list["data"]["armed"], serde_json::json!([]));
    assert!(list["data"]["entries"][1]["kept_by"].is_string(), "{list:#}");
}

#[test]
fn a_preview_names_the_customers_it_would_cut() {
    let environment = TestEnvironment::new();
    let preview = |words: &[&str]| environment.demo(&[&["ratelimit", "preview"], words].concat());
    let shown = preview(&["tighten", "-o", "json"]).json();
    assert_eq!(shown["schema"], "kmsctl/ratelimit.preview/v1");
    let data = &shown["data"];
    assert_eq!((&data["cut"], &data["customers"]), (&2.into(), &2.into()), "{data:#}");
    assert_eq!(data["lower_bound"], true, "others were blocked then");
    let sources = data["sources"].as_array().expect("sources");
    let (in_table, by_log): (Vec<&Value>, Vec<&Value>) =
        sources.iter().partition(|source| source["by"] == "in-table");
    assert_eq!((in_table.len(), by_log.len()), (12, 2), "{data:#}");
    for source in in_table {
        assert_eq!((&source["cut_at"], &source["counted"]), (&Value::Null, &false.into()));
        assert!(source["blocked_at"].is_string(), "{source}");
    }
    for source in by_log {
        assert_eq!(source["by"], "rate", "{source}");
        assert_eq!((&source["customer"], &source["counted"]), (&true.into(), &true.into()));
        // The demo's cron job frees after more than an hour.
        assert!(source["blocked_seconds"].as_u64() > Some(3_600), "{source}");
    }
    let shown = preview(&["tighten"]).success();
    assert!(shown.contains("blocked 2 sources in 1d: 2 customers (198.51.100.84, "), "{shown}");
    assert!(
        shown.contains("12 more sources came into virusprot in that time, 1 customer"),
        "{shown}"
    );
    assert!(shown.contains("the log does not show why"), "{shown}");
    assert!(shown.contains('|'), "a sparkline: {shown}");
    let wider = preview(&["loosen", "-o", "json"]).json();
    assert_eq!((&wider["data"]["cut"], &wider["data"]["lower_bound"]), (&0.into(), &true.into()));
    let present = preview(&["-o", "json"]).json();
    assert_eq!(present["data"]["preset"], "default");
    assert_eq!(present["data"]["caps"], present["data"]["loaded"]);
    preview(&["nosuch"]).fails_with(2);
    preview(&["tighten", "--rate", "3/60"]).fails_with(2);
    for wrong in ["long", "0s", "0m"] {
        preview(&["tighten", "--since", wrong]).fails_with(2);
        environment.demo(&["virusprot", "history", "--since", wrong]).fails_with(2);
    }
    let plan = environment.demo(&["ratelimit", "tighten", "--dry-run"]).success();
    assert!(plan.contains("These caps would have blocked 2 sources"), "{plan}");
    let plan = environment.demo(&["ratelimit", "loosen", "--dry-run"]).success();
    assert!(plan.contains("Refused connections are not in the log"), "{plan}");
}

/// The table's sum, the rows of CSV and those for people are one set.
#[test]
fn a_preview_has_a_row_for_each_counted_source() {
    let environment = TestEnvironment::new();
    for words in [
        &["tighten"][..],
        &["default"],
        &["loosen"],
        &["--rate", "20/60"],
        &["--max-src-conn", "12"],
        &["--rate", "none", "--max-src-conn", "none"],
    ] {
        let preview =
            |form: &[&str]| environment.demo(&[&["ratelimit", "preview"], words, form].concat());
        let data = preview(&["-o", "json"]).json()["data"].clone();
        let sources = data["sources"].as_array().expect("sources");
        let count = |key: &str, wanted: bool| {
            sources.iter().filter(|source| source[key] == wanted).count() as u64
        };
        assert_eq!(data["cut"], count("counted", true), "{words:?}: {data:#}");
        let customers =
            sources.iter().filter(|one| one["counted"] == true && one["customer"] == true);
        assert_eq!(data["customers"], customers.count(), "{words:?}: {data:#}");
        let csv = preview(&["-o", "csv"]).success();
        assert_eq!(csv.lines().count(), sources.len() + 1, "{csv}");
        let shown = preview(&[]).success();
        let rows = shown.lines().filter(|line| {
            let first = line.split(' ').next().unwrap_or_default();
            first.parse::<std::net::IpAddr>().is_ok()
        });
        assert_eq!(rows.count(), sources.len(), "{shown}");
    }
}

#[test]
fn a_preview_names_what_the_log_lacks() {
    let environment = TestEnvironment::new();
    environment.write_config("[firewall]\nhost = \"127.0.0.1\"\nport = 9\n");
    let log = environment.home().join("gaps.log");
    let preview = |times: &[&str]| {
        let lines = times.iter().enumerate().flat_map(|(port, time)| {
            ["accepted", "closed"].map(|word| {
                format!("2026-03-0{time}: IPv4 connection {word}: 203.0.113.9:1{port}.\n")
            })
        });
        std::fs::write(&log, lines.collect::<String>()).expect("a log");
        let file = log.display().to_string();
        let words = ["ratelimit", "preview", "tighten", "--log", &file, "-o", "json"];
        environment.run(&words).json()
    };
    let named = |shown: &Value| {
        let warnings = shown["warnings"].as_array().expect("warnings").iter();
        let mut gaps = warnings.filter(|warning| warning["code"] == "log-gap");
        gaps.next().map(|warning| warning["message"].as_str().expect("text").to_owned())
    };
    let whole = preview(&["1 12:00:00", "1 12:10:00", "1 12:24:59"]);
    assert_eq!(named(&whole), None);
    assert_eq!(whole["data"]["gaps"], serde_json::json!([]));
    let holes = preview(&["1 12:00:00", "1 12:15:01", "1 12:16:00", "1 15:16:00"]);
    let said = named(&holes).expect("a warning");
    assert!(said.contains("from 03-01 12:16 to 03-01 15:16 UTC (3h), "), "{said}");
    assert_eq!(holes["data"]["gaps"][0]["until"], "2026-03-01T12:15:01Z");
    // What is longer ago than was asked for is no gap of it, or only its end.
    let old = preview(&["1 12:00:00", "2 18:00:00", "2 18:05:00"]);
    assert_eq!(old["data"]["gaps"][0]["from"], "2026-03-01T18:05:00Z", "{old:#}");
    let older = preview(&["1 12:00:00", "1 18:00:00", "1 18:10:00", "2 18:05:00"]);
    assert_eq!(older["data"]["gaps"].as_array().map(Vec::len), Some(1), "{older:#}");
}

/// Who is in the table may have been refused: that it could not be read is said.
#[test]
fn a_preview_without_the_table_says_so() {
    for (scenario, is_unknown) in [("open", false), ("denied", true)] {
        let environment = TestEnvironment::new().variable("KMSCTL_DEMO_SCENARIO", scenario);
        let shown = environment.demo(&["ratelimit", "preview", "tighten"]);
        assert_eq!(shown.code, Some(0), "{shown}");
        let said = shown.stderr.contains("Who is in virusprot now: unknown");
        assert_eq!(said, is_unknown, "{scenario}: {shown}");
    }
}

/// The sum, and what stands beside it: only who came into the table of this service, in that time, beside loaded caps.
#[test]
fn what_is_in_the_table_is_apart() {
    let environment = TestEnvironment::new();
    let preview = |environment: &TestEnvironment, words: &[&str]| {
        let words = [&["ratelimit", "preview", "tighten", "-o", "json"], words].concat();
        environment.demo(&words).json()["data"].clone()
    };
    let in_table = |data: &Value| {
        let sources = data["sources"].as_array().expect("sources").iter();
        sources.filter(|source| !source["blocked_at"].is_null()).cloned().collect::<Vec<Value>>()
    };
    let day = preview(&environment, &[]);
    assert!(in_table(&day).len() > 10, "{day:#}");
    let hour = preview(&environment, &["--since", "1h"]);
    let rows = in_table(&hour);
    assert!(!rows.is_empty() && rows.len() < in_table(&day).len(), "{hour:#}");
    for row in hour["sources"].as_array().expect("sources").iter().chain(&rows) {
        let at = row["cut_at"].as_str().or(row["blocked_at"].as_str()).expect("a time");
        assert!(at >= "2026-03-01T11:21:34", "{row}");
    }
    for scenario in ["uncapped", "closed"] {
        let other = TestEnvironment::new().variable("KMSCTL_DEMO_SCENARIO", scenario);
        let data = preview(&other, &[]);
        assert_eq!((in_table(&data).len(), &data["cut"]), (0, &2.into()), "{scenario}: {data:#}");
        assert_eq!(data["blocked"], serde_json::json!([]), "{scenario}");
    }
    // Another client's log may hold the same scanners.
    let log = environment.home().join("other.log");
    let is_v4 = |row: &&Value| row["address"].as_str().is_some_and(|address| address.contains('.'));
    let row = rows.iter().find(is_v4).expect("a scanner");
    let lines = ["accepted", "closed"].map(|word| {
        format!(
            "2026-03-01 12:20:00: IPv4 connection {word}: {}:1111.\n",
            row["address"].as_str().expect("text")
        )
    });
    std::fs::write(&log, lines.concat()).expect("a log");
    let file = log.display().to_string();
    let of_file = preview(&environment, &["--log", &file]);
    assert_eq!((in_table(&of_file).len(), &of_file["cut"]), (0, &0.into()), "{of_file:#}");
}

/// The server's clock was set back by an hour: two connections before it, two behind.
#[test]
fn a_clock_set_back_is_named() {
    let environment = TestEnvironment::new();
    environment.write_config("[firewall]\nhost = \"127.0.0.1\"\nport = 9\n");
    let log = environment.home().join("back.log");
    let times = ["12:00:00", "12:00:01", "11:00:02", "11:00:03"];
    let lines = times.iter().enumerate().flat_map(|(port, time)| {
        ["accepted", "closed"].map(|word| {
            format!("2026-03-01 {time}: IPv4 connection {word}: 203.0.113.9:1{port}.\n")
        })
    });
    std::fs::write(&log, lines.collect::<String>()).expect("a log");
    let file = log.display().to_string();
    let words = ["ratelimit", "preview", "tighten", "--log", &file, "-o", "json"];
    let shown = environment.run(&words).json();
    let warnings = shown["warnings"].as_array().expect("warnings").iter();
    let stepped = warnings.filter(|warning| warning["code"] == "clock-stepped");
    let said: Vec<&str> = stepped.filter_map(|warning| warning["message"].as_str()).collect();
    assert!(said.concat().contains("from 03-01 12:00:01 to 03-01 11:00:02 UTC"), "{said:?}");
    let step =
        serde_json::json!([{"from": "2026-03-01T12:00:01Z", "until": "2026-03-01T11:00:02Z"}]);
    assert_eq!(shown["data"]["clock_steps"], step);
    assert_eq!(shown["data"]["gaps"], serde_json::json!([]));
}

#[test]
fn a_log_of_times_to_come_is_named() {
    let environment = TestEnvironment::new();
    environment.write_config("[firewall]\nhost = \"127.0.0.1\"\nport = 9\n");
    let log = environment.home().join("ahead.log");
    for (day, is_ahead) in [("2026-03-01 12:21:59", false), ("2027-03-01 12:00:00", true)] {
        let lines = ["accepted", "closed"]
            .map(|word| format!("{day}: IPv4 connection {word}: 203.0.113.9:1111.\n"));
        std::fs::write(&log, lines.concat()).expect("a log");
        let file = log.display().to_string();
        let shown = environment.run(&["ratelimit", "preview", "tighten", "--log", &file]);
        assert_eq!(shown.stderr.contains("The log ends 364d"), is_ahead, "{shown}");
        assert_eq!(shown.stderr.contains("in the future"), is_ahead, "{shown}");
    }
}

#[test]
fn a_preview_needs_the_clients_own_addresses() {
    let Some(cluster) = FakeCluster::start(&["--scenario", "etp-cluster"]) else {
        return;
    };
    let environment = TestEnvironment::new()
        .without("KMSCTL_DEMO_NOW")
        .variable("KMSCTL_CLUSTER_KUBECONFIG", cluster.kubeconfig().display().to_string());
    environment.write_config("[firewall]\nhost = \"127.0.0.1\"\nport = 9\n");
    let refused = environment.run(&["ratelimit", "preview", "tighten"]);
    let refused = refused.fails_with(8);
    assert!(refused.contains("externalTrafficPolicy Cluster"), "{refused}");
}

/// A saved log is as blind as the server was.
#[test]
fn a_saved_log_is_judged_by_its_service() {
    for (scenario, code) in [("etp-cluster", 8), ("two-pods", 0)] {
        let Some(cluster) = FakeCluster::start(&["--scenario", scenario]) else {
            return;
        };
        let environment = TestEnvironment::new()
            .variable("KMSCTL_CLUSTER_KUBECONFIG", cluster.kubeconfig().display().to_string());
        environment.write_config("[firewall]\nhost = \"127.0.0.1\"\nport = 9\n");
        let log = environment.home().join("server.log");
        let lines = ["accepted", "closed"].map(|word| {
            format!("2026-03-01 12:00:02: IPv4 connection {word}: 203.0.113.9:1111.\n")
        });
        std::fs::write(&log, lines.concat()).expect("a log");
        let file = log.display().to_string();
        let preview = || environment.run(&["ratelimit", "preview", "tighten", "--log", &file]);
        let judged = preview();
        assert_eq!(judged.code, Some(code), "{scenario}: {judged}");
        assert_eq!(judged.stderr.contains("externalTrafficPolicy Cluster"), code == 8, "{judged}");
        let unknown = "Whether the server sees the clients' own addresses is not known";
        assert!(!judged.stderr.contains(unknown), "{judged}");
        drop(cluster);
        let unjudged = preview();
        assert_eq!(unjudged.code, Some(0), "{unjudged}");
        assert!(unjudged.stderr.contains(unknown), "{unjudged}");
    }
}

#[test]
fn a_slow_cluster_never_delays_tightening() {
    use std::os::unix::fs::PermissionsExt as _;
    let served = Served::start("open");
    let environment = served.reached_from(TestEnvironment::new());
    let program = environment.home().join("kubectl");
    std::fs::write(&program, "#!/bin/sh\nsleep 60 & wait\n").expect("a program");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("a mode");
    let environment = environment
        .variable("KMSCTL_CLUSTER_ENABLED", "yes")
        .variable("KMSCTL_CLUSTER_KUBECTL", program.display().to_string());
    let begin = std::time::Instant::now();
    let plan = environment.run(&["ratelimit", "tighten", "--dry-run"]).success();
    let took = begin.elapsed();
    assert!(took < std::time::Duration::from_secs(30), "{took:?}");
    assert!(plan.contains("The cluster did not answer while the firewall did"), "{plan}");
    assert!(plan.contains("To look again: `kmsctl ratelimit preview`"), "{plan}");
}

/// Without a log the plan says so, and how to look.
#[test]
fn a_plan_without_the_log_says_so() {
    let served = Served::start("open");
    for (protocol, why, next) in [
        ("kms", "No cluster is configured", "`kmsctl ratelimit preview --log FILE`"),
        ("tcp", "service.protocol is tcp", "`kmsctl ratelimit show`"),
    ] {
        let environment = served
            .reached_from(TestEnvironment::new())
            .variable("KMSCTL_SERVICE_PROTOCOL", protocol);
        for words in ["tighten", "loosen", "set --rate 4/60"] {
            let words: Vec<&str> = words.split(' ').collect();
            let planned = ["ratelimit", "--dry-run", "-o", "json"];
            let planned = environment.run(&[&planned[..1], &words, &planned[1..]].concat()).json();
            let risks = planned["data"]["risks"].as_array().expect("risks");
            let unknown: Vec<&str> = (risks.iter())
                .filter(|risk| risk["code"] == "preview-unknown")
                .filter_map(|risk| risk["message"].as_str())
                .collect();
            let [said] = unknown.as_slice() else { panic!("{planned:#}") };
            assert!(said.contains(why) && said.contains(next), "{said}");
        }
    }
}

#[test]
fn a_preview_of_a_file_needs_no_cluster() {
    let environment = TestEnvironment::new();
    // Nothing listens there.
    environment.write_config("[firewall]\nhost = \"127.0.0.1\"\nport = 9\n");
    let log = |name: &str, client: &str| {
        let mut text = String::new();
        for port in 1..=5 {
            for word in ["accepted", "closed"] {
                text.push_str(&format!(
                    "2026-03-01 12:00:0{port}: IPv4 connection {word}: {client}:{port}.\n"
                ));
            }
        }
        std::fs::write(environment.home().join(name), text).expect("a log");
    };
    log("outside.log", "203.0.113.9");
    let inside = [
        ("node", "10.0.20.103"),
        ("pod", "10.10.1.2"),
        ("lan", "192.168.1.9"),
        ("other", "172.16.9.1"),
        ("shared", "100.64.0.9"),
        ("own", "127.0.0.1"),
        ("link", "169.254.1.9"),
        ("local", "[fd00::9]"),
    ];
    for (name, client) in inside {
        log(name, client);
    }
    std::fs::write(environment.home().join("web.log"), "GET / 200\n").expect("a log");
    let preview = |file: &str, words: &[&str]| {
        environment.run(&[&["ratelimit", "preview", "--log", file], words].concat())
    };
    let shown = preview("outside.log", &["tighten", "-o", "json"]).json();
    let source = &shown["data"]["sources"][0];
    assert_eq!(source["cut_at"], "2026-03-01T12:00:04Z", "{shown:#}");
    assert_eq!((&source["customer"], &source["released_at"]), (&false.into(), &Value::Null));
    let codes: Vec<&str> = shown["warnings"]
        .as_array()
        .expect("warnings")
        .iter()
        .filter_map(|warning| warning["code"].as_str())
        .collect();
    assert!(codes.contains(&"firewall-unread") && codes.contains(&"lower-bound"), "{codes:?}");
    for (name, client) in inside {
        let said = preview(name, &["tighten"]).fails_with(8);
        assert!(said.contains("externalTrafficPolicy: Local"), "{client}: {said}");
    }
    std::fs::write(environment.home().join("empty.log"), "").expect("a log");
    for name in ["web.log", "empty.log", "node"] {
        let said = preview(name, &["tighten", "-o", "json"]).fails_with(8);
        let error: Value = serde_json::from_str(said.lines().next().expect("a line")).expect(&said);
        assert_eq!(error["schema"], "kmsctl/error/v1", "{said}");
        assert_eq!(error["error"]["kind"], "inconclusive", "{said}");
        assert!(
            error["error"]["hints"].as_array().is_some_and(|hints| !hints.is_empty()),
            "{said}"
        );
    }
    preview("none.log", &["tighten"]).fails_with(2);
    let told = preview("outside.log", &[]).fails_with(8);
    assert!(told.contains("ratelimit preview tighten"), "{told}");
    let told = environment.run(&["ratelimit", "preview", "tighten"]).fails_with(2);
    assert!(told.contains("--log FILE"), "{told}");
}

/// Reading them would never end, or is no log's.
#[test]
fn an_endless_log_is_refused() {
    let environment = TestEnvironment::new();
    environment.write_config("[firewall]\nhost = \"127.0.0.1\"\nport = 9\n");
    make_pipe(&environment.home().join("pipe"));
    let zeros = || std::process::Stdio::from(std::fs::File::open("/dev/zero").expect("a device"));
    for (file, code, said) in [
        ("/dev/zero", 2, "it is a device"),
        ("pipe", 2, "it is a named pipe"),
        (".", 2, "it is a directory"),
        ("-", 1, "a line of more than 64 MiB"),
    ] {
        for words in [&["ratelimit", "preview", "tighten", "--log"][..], &["notifier", "replay"]] {
            let mut command = environment.command(&[words, &[file]].concat());
            let ended = command.stdin(zeros()).output().expect("an end");
            let stderr = String::from_utf8_lossy(&ended.stderr);
            assert_eq!(ended.status.code(), Some(code), "{file}: {stderr}");
            assert!(stderr.contains(said), "{file}: {stderr}");
        }
    }
}

/// Of another port, or of a service of which kmsctl knows no log.
#[test]
fn a_log_of_another_service_is_refused() {
    let environment = TestEnvironment::new();
    // Nothing listens there.
    let config = "[firewall]\nhost = \"127.0.0.1\"\nport = 9\n";
    environment.write_config(config);
    let log = environment.home().join("server.log");
    let preview = |listening: &[&str]| {
        let mut lines: Vec<String> = listening
            .iter()
            .map(|place| format!("2026-03-01 12:00:00: Listening on {place}\n"))
            .collect();
        lines.extend(["accepted", "closed"].map(|word| {
            format!("2026-03-01 12:00:01: IPv4 connection {word}: 203.0.113.9:4711.\n")
        }));
        std::fs::write(&log, lines.concat()).expect("a log");
        let file = log.display().to_string();
        environment.run(&["ratelimit", "preview", "tighten", "--log", &file])
    };
    for places in [
        &[][..],
        &["0.0.0.0:1688"],
        &["[::]:1688", "0.0.0.0:1688"],
        // It was started anew, or listens on both.
        &["0.0.0.0:4711", "0.0.0.0:1688"],
        &["nowhere"],
    ] {
        preview(places).success();
    }
    for places in [&["0.0.0.0:4711"][..], &["[::]:4711", "0.0.0.0:4711"], &["127.0.0.1:16880"]] {
        let said = preview(places).fails_with(8);
        let port = places[0].rsplit(':').next().expect("a port");
        for part in ["log of another service", "port is 1688", port] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }
    environment.write_config(&format!("{config}[service]\nprotocol = \"tcp\"\n"));
    for words in [&[][..], &["--log", "server.log"]] {
        let said = environment.run(&[&["ratelimit", "preview", "tighten"], words].concat());
        let said = said.fails_with(8);
        assert!(said.contains("service.protocol is tcp"), "{said}");
    }
}

#[test]
fn a_preview_says_how_to_read_its_timeline() {
    let environment = TestEnvironment::new();
    let preview = |width: &str| {
        let words = ["ratelimit", "preview", "tighten", "--width", width];
        environment.demo(&words).success()
    };
    let wide = preview("140");
    assert!(wide.contains("TIMELINE: a mark is 5m"), "{wide}");
    let narrow = preview("70");
    assert!(!narrow.contains("TIMELINE: a mark"), "{narrow}");
}

/// The kernel's own figure is unreadable, so the states' ages are replayed: through real sshd, and by both arithmetics.
#[test]
fn who_is_near_the_rate_is_named() {
    let base = include_str!("../support/pfsense/base-rules");
    let near = |version, node: &str| {
        let live = LiveBox::of("russh", version, Fixture::Editor)?;
        let rules = format!("{base}{}", live.firewall.text("pf/sr"));
        let mut rules = rules.lines().filter(|line| !line.trim().is_empty());
        let own = format!("ridentifier {TRACKER}");
        let rule = rules.position(|line| line.contains(&own)).expect("the rule is loaded");
        let state = |port: usize| {
            format!(
                "vtnet0 tcp 10.0.20.202:1688 (192.168.1.2:1688) <- 203.0.113.7:{port}       ESTABLISHED:ESTABLISHED\n   \
                 [0 + 0]  [0 + 0]\n   age 00:00:00, expires in 00:59:00, 14:11 pkts, 1820:3100 bytes, rule {rule}\n   \
                 id: 65000000000000{port:02x} creatorid: 1f2e3d4c\n"
            )
        };
        let states: String = (10..19).map(state).collect();
        let node = format!(
            "203.0.113.7 -> 0.0.0.0 ( states 9, connections 9, rate 4294967.1/0s )\n   \
             age {node}, 99 pkts, 9000 bytes, filter rule {rule}\n"
        );
        live.firewall.php().write("near-states", states.as_bytes());
        live.firewall.php().write("near-nodes", node.as_bytes());
        // Which nodes are of before a reload is known by the rule's own sum.
        live.answer_pfctl(
            "russh",
            &format!(
                "-vvPsr) \"$PFCTL\" -vvPsr | sed '/{own}/{{n;s/States: 0 /States: 9 /;}}' ;;\n\
                 -vvss) exec cat \"$BOX/near-states\" ;;\n-vsS) exec cat \"$BOX/near-nodes\" ;;"
            ),
        );
        let shown = live.environment.run(&["ratelimit", "show", "-o", "json"]).json();
        let text = live.environment.run(&["ratelimit", "show"]).success();
        Some((shown["data"]["near_rate"].clone(), text))
    };
    for (version, node) in [(Version::V272, "00:10:00"), (Version::Master, "00:00:00")] {
        let Some((data, text)) = near(version, node) else {
            return;
        };
        let said = "203.0.113.7 with 9 of 10 in 1m";
        assert!(text.contains(said), "{}: {text}", version.name());
        assert_eq!((&data[0]["counted"], data.as_array().map(Vec::len)), (&9.into(), Some(1)));
    }
    // A window that a connection may have begun which is gone.
    let Some((data, text)) = near(Version::Master, "00:10:00") else {
        return;
    };
    assert_eq!(data, Value::Null, "{text}");
    assert!(text.contains("rate not known"), "{text}");
}

/// What was blocked by hand is no work of caps, whether or not it is still blocked, and without a rate pfSense loads nothing
/// that blocks.
#[test]
fn a_preview_counts_what_caps_can_block() {
    for scenario in ["open", "uncapped"] {
        let environment = TestEnvironment::new().variable("KMSCTL_DEMO_SCENARIO", scenario);
        let seen = || {
            let words = ["ratelimit", "preview", "tighten", "-o", "json"];
            environment.demo(&words).json()["data"].clone()
        };
        let before = seen();
        let add = |address| environment.demo(&["virusprot", "add", address, "--yes"]).success();
        for address in ["9.9.9.0/24", "198.51.100.200", "2001:db8::200"] {
            add(address);
            assert_eq!(seen(), before, "{scenario} {address}");
        }
        environment.demo(&["virusprot", "delete", "198.51.100.200", "--yes"]).success();
        assert_eq!(seen(), before, "{scenario}: by the record alone");
        environment.demo(&["undo", "--yes"]).success();
        assert_eq!(seen(), before, "{scenario}: put back");
        if scenario != "open" {
            // Without loaded caps no block is looked at.
            assert_eq!(before["blocked"], serde_json::json!([]), "{before:#}");
            continue;
        }
        // What a hand only put back stays.
        let entries = environment.demo(&["virusprot", "show", "-o", "json"]).json();
        let entries = entries["data"]["entries"].as_array().expect("entries").clone();
        let by_caps = before["blocked"].as_array().expect("blocked").iter().find_map(|blocked| {
            let found = entries.iter().find(|entry| entry["address"] == blocked["address"]);
            found.and_then(|entry| entry["address"].as_str())
        });
        let by_caps = by_caps.expect("one of the table");
        environment.demo(&["virusprot", "delete", by_caps, "--yes"]).success();
        environment.demo(&["undo", "--yes"]).success();
        assert_eq!(
            seen()["blocked"].as_array().map(Vec::len),
            before["blocked"].as_array().map(Vec::len),
            "{by_caps}"
        );
    }
    let environment = TestEnvironment::new();
    let seen = |words: &str| {
        let words: Vec<&str> = words.split(' ').chain(["-o", "json"]).collect();
        environment.demo(&words).json()["data"]["cut"].as_u64().expect("a number")
    };
    let unrated = ["ratelimit", "preview", "--max-src-conn", "2", "--rate", "none"];
    let run = environment.demo(&unrated);
    assert!(run.stderr.contains("no address is blocked"), "{run}");
    assert_eq!(seen(&unrated.join(" ")), 0);
    let planned = ["ratelimit", "set", "--max-src-conn", "2", "--rate", "none", "--dry-run"];
    let planned = environment.demo(&planned).success();
    assert!(!planned.contains("would have blocked 2"), "{planned}");
}
