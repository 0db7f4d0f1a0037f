//! `kmsctl doctor`: every check on the demo, and each way in which one part cannot be seen. The cluster is asked by the
//! real kubectl; the firewall is a closed port, so the cluster's checks must not need it.

use std::collections::BTreeMap;

use crate::support::cluster::FakeCluster;
use crate::support::environment::{Outcome, TestEnvironment};
use crate::support::live::program;
use crate::support::stubs;

/// Every check and its result.
pub fn results(outcome: &Outcome, list: &str) -> BTreeMap<String, String> {
    let data: serde_json::Value = serde_json::from_str(&outcome.stdout)
        .unwrap_or_else(|error| panic!("not JSON ({error}): {outcome}"));
    let items = data["data"][list].as_array().expect("a list");
    let text = |value: &serde_json::Value| value.as_str().expect("a text").to_owned();
    items.iter().map(|item| (text(&item["check"]), text(&item["result"]))).collect()
}

/// A home whose firewall is a closed port of this machine, and whose names need no name server.
fn without_firewall() -> TestEnvironment {
    TestEnvironment::new()
        .variable("KMSCTL_FIREWALL_PORT", stubs::closed_port().to_string())
        .variable("KMSCTL_FIREWALL_TRANSPORT", "russh")
        .variable("KMSCTL_SERVICE_HOST", "127.0.0.1")
        .variable("KMSCTL_SERVICE_PUBLIC_ADDRESS", "127.0.0.1")
        .without("KMSCTL_DEMO_NOW")
}

/// The demo in a scenario in which a customer is blocked, and is freed here.
fn without_blocked_customer(scenario: &str) -> TestEnvironment {
    let environment = TestEnvironment::new().variable("KMSCTL_DEMO_SCENARIO", scenario);
    environment.demo(&["virusprot", "delete", "203.0.113.65", "--yes"]).success();
    environment
}

fn with_cluster(cluster: &FakeCluster) -> TestEnvironment {
    let kubeconfig = cluster.kubeconfig().display().to_string();
    // On a busy machine kubectl takes seconds to start.
    without_firewall()
        .variable("KMSCTL_CLUSTER_KUBECONFIG", kubeconfig)
        .variable("KMSCTL_CLUSTER_TIMEOUT", "60s")
        .variable("KMSCTL_TIMEOUT", "60s")
}

#[test]
fn one_cause_is_one_line() {
    let environment = without_firewall();
    for (command, cause, count) in [
        ("doctor", "no key to authenticate", "27 checks"),
        ("verify", "no key to authenticate", "8 checks"),
    ] {
        let outcome = environment.run(&[command]);
        let said = format!("{}{}", outcome.stdout, outcome.stderr);
        assert_eq!(said.matches(cause).count(), 1, "{command}: {outcome}");
        assert!(said.contains(count), "{command}: {outcome}");
    }
    for command in ["doctor", "verify"] {
        let denied = TestEnvironment::new().variable("KMSCTL_DEMO_SCENARIO", "denied");
        let told = denied.demo(&[command]);
        assert_eq!(told.stdout.matches("/dev/pf").count(), 1, "{told}");
        assert_eq!(told.stdout.matches("Log in as admin").count(), 1, "{told}");
        assert!(told.stdout.contains("For the same reason ("), "{told}");
    }
}

#[test]
fn a_broken_kubectl_is_one_cause() {
    for script in
        ["#!/bin/sh\nexit 3\n", "#!/bin/sh\necho 'error: no such context' >&2\nexit 1\n", ""]
    {
        let environment = without_firewall().variable("KMSCTL_CLUSTER_ENABLED", "yes");
        let kubectl = environment.home().join("kubectl");
        if !script.is_empty() {
            program(&kubectl, script);
        }
        let path = kubectl.display().to_string();
        let shown = environment.variable("KMSCTL_CLUSTER_KUBECTL", path).run(&["doctor"]);
        assert!(shown.stdout.contains("\nkubectl "), "{script}: {shown}");
        let same = "For the same reason (service, address, announcement, endpoints, pod, kubectl-rights, notifier).";
        assert!(shown.stdout.contains(same), "{script}: {shown}");
    }
}

#[test]
fn the_demo_is_healthy() {
    let environment = without_blocked_customer("open");
    let outcome = environment.demo(&["doctor", "-o", "json"]);
    let results = results(&outcome, "findings");
    assert!(results.len() >= 35, "{results:#?}");
    let odd: Vec<_> =
        results.iter().filter(|(_, result)| !matches!(result.as_str(), "ok" | "skipped")).collect();
    assert!(odd.is_empty(), "{odd:?}");
    let finding = &outcome.json()["data"]["findings"][0];
    let mut keys: Vec<&String> = finding.as_object().expect("an object").keys().collect();
    keys.sort();
    assert_eq!(keys, ["check", "evidence", "fix", "result"]);
    for form in ["table", "ndjson", "csv"] {
        assert!(!environment.demo(&["doctor", "-o", form]).success().is_empty());
    }
}

#[test]
fn each_scenario_breaks_its_own_checks_and_no_other() {
    let expected: &[(&str, &[&str])] = &[
        ("backend-dead", &["announcement", "endpoints", "notifier", "pod"]),
        ("closed", &[]),
        ("denied", &["pf"]),
        ("disk-full", &["customer", "free-space"]),
        ("drifted", &["caps", "exposure", "pending-changes"]),
        ("ha-backup", &["customer", "ha"]),
        ("half", &["exposure", "pair"]),
        ("half-filter", &["exposure", "pair"]),
        ("leftovers", &["customer", "leftovers"]),
        ("no-cron", &["customer", "expiry"]),
        ("open", &["customer"]),
        ("pass-association", &["association", "caps", "exposure"]),
        ("pf-disabled", &["exposure", "pf"]),
        ("php-missing", &["customer", "php"]),
        ("states-full", &["customer", "limits"]),
        ("table-missing", &["caps-loadable", "expiry", "exposure", "table"]),
        ("uncapped", &["caps", "exposure"]),
    ];
    for (scenario, wrong) in expected {
        let environment = TestEnvironment::new().variable("KMSCTL_DEMO_SCENARIO", *scenario);
        let outcome = environment.demo(&["doctor", "-o", "json"]);
        let mut found: Vec<String> = results(&outcome, "findings")
            .into_iter()
            .filter(|(_, result)| result == "wrong")
            .map(|(check, _)| check)
            .collect();
        found.sort();
        assert_eq!(found, *wrong, "{scenario}: {outcome}");
        let code = match *wrong {
            [] => 0,
            // That it cannot be read proves nothing of what would be read.
            ["pf"] if *scenario == "denied" => 8,
            ["php"] => 8,
            _ => 3,
        };
        assert_eq!(outcome.code, Some(code), "{scenario}");
        if code == 8 {
            assert_eq!(environment.demo(&["verify"]).code, Some(8), "{scenario}");
        }
    }
}

#[test]
fn problems_alone_are_shown_on_request() {
    let environment = without_blocked_customer("no-cron");
    let outcome = environment.demo(&["doctor", "--problems", "-o", "json"]);
    let results = results(&outcome, "findings");
    assert_eq!(results.into_iter().collect::<Vec<_>>(), [("expiry".into(), "wrong".into())]);
}

#[test]
fn a_firewall_that_is_away_hides_nothing_of_the_cluster() {
    let Some(cluster) = FakeCluster::start(&[]) else {
        return;
    };
    let outcome = with_cluster(&cluster).run(&["doctor", "-o", "json"]);
    let results = results(&outcome, "findings");
    assert_eq!(outcome.code, Some(5), "{outcome}");
    for (check, result) in [
        ("ssh-login", "wrong"),
        ("ssh-host-key", "unknown"),
        ("alias", "unknown"),
        ("service", "ok"),
        ("address", "ok"),
        ("announcement", "ok"),
        ("endpoints", "ok"),
        ("pod", "ok"),
        ("kubectl", "ok"),
        ("kubectl-rights", "ok"),
        ("notifier", "ok"),
    ] {
        assert_eq!(results[check], result, "{check}: {outcome}");
    }
}

#[test]
fn a_firewall_that_is_away_leaves_every_check_of_it_in_its_place() {
    let healthy = without_blocked_customer("open").demo(&["doctor", "-o", "json"]);
    let away = without_firewall().run(&["doctor", "-o", "json"]);
    let (healthy, checks) = (results(&healthy, "findings"), results(&away, "findings"));
    let names = |results: &BTreeMap<String, String>| results.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&healthy), names(&checks), "{away}");
    for check in [
        "ssh-speed",
        "pfsense-version",
        "php",
        "pf",
        "table",
        "expiry",
        "limits",
        "clock",
        "free-space",
        "ha",
        "pair",
        "caps",
        "leftovers",
        "wan",
        "alias",
    ] {
        assert_eq!(checks[check], "unknown", "{check}: {away}");
    }
    let wrong: Vec<&String> =
        checks.iter().filter(|(_, result)| *result == "wrong").map(|(check, _)| check).collect();
    assert_eq!(wrong, ["ssh-login"], "{away}");
    let shown: serde_json::Value = serde_json::from_str(&away.stdout).expect("JSON");
    let at = shown["taken_at"].as_str().expect("a time");
    assert_eq!(at.len(), "2026-03-01T12:21:34Z".len(), "{at}");
}

#[test]
fn each_fault_of_a_cluster_is_found_where_it_is() {
    let cases: &[(&str, &[&str])] = &[
        ("two-pods", &[]),
        ("no-pod", &["announcement", "endpoints", "notifier", "pod"]),
        ("notready", &["announcement", "endpoints", "notifier", "pod"]),
        ("crashloop", &["announcement", "endpoints", "notifier", "pod"]),
        ("no-endpoints", &["announcement", "endpoints"]),
        ("etp-cluster", &["notifier", "service"]),
        ("wrong-lb-ip", &["address"]),
        ("no-lb-ip", &["address"]),
        ("dual-stack", &[]),
        ("half-dual-stack", &["address"]),
        ("other-node", &["announcement"]),
        ("no-l2status", &["announcement"]),
        ("stale-l2status", &["announcement"]),
        ("no-sidecar", &["notifier"]),
    ];
    for (scenario, wrong) in cases {
        let Some(cluster) = FakeCluster::start(&["--scenario", scenario]) else {
            return;
        };
        let outcome = with_cluster(&cluster).run(&["doctor", "-o", "json"]);
        let found: Vec<String> = results(&outcome, "findings")
            .into_iter()
            .filter(|(check, result)| result == "wrong" && check != "ssh-login")
            .map(|(check, _)| check)
            .collect();
        assert_eq!(found, *wrong, "{scenario}: {outcome}");
    }
}

#[test]
fn a_missing_right_costs_its_own_check_alone() {
    let checks = ["service", "address", "announcement", "endpoints", "pod", "notifier"];
    let cases: &[(&str, &[&str])] = &[
        ("get:services", &["service", "address"]),
        ("list:endpointslices", &["endpoints"]),
        ("list:servicel2statuses", &["announcement"]),
        ("list:pods", &["pod"]),
    ];
    for (denied, unknown) in cases {
        let Some(cluster) = FakeCluster::start(&["--deny", denied]) else {
            return;
        };
        let outcome = with_cluster(&cluster).run(&["doctor", "-o", "json"]);
        let results = results(&outcome, "findings");
        for check in checks {
            let expected = if unknown.contains(&check) { "unknown" } else { "ok" };
            assert_eq!(results[check], expected, "{denied}: {check}: {outcome}");
        }
        assert!(outcome.stdout.contains("this login may not "), "{denied}: {outcome}");
        assert_eq!(results["kubectl-rights"], "wrong", "{denied}: {outcome}");
    }
}

#[test]
fn every_right_is_asked_for_and_told_with_the_commands_that_need_it() {
    for (denied, told, result) in [
        ("get:pods/log", "get pods/log in kms", "wrong"),
        ("get:pods/proxy", "`notifier metrics`", "wrong"),
        ("get:pods", "get pods in kms", "wrong"),
        ("list:events", "list events in kms", "wrong"),
        // The manifest grants it on request alone.
        ("create:pods/exec", "`notifier logs --server`", "ok"),
    ] {
        let Some(cluster) = FakeCluster::start(&["--deny", denied]) else {
            return;
        };
        let outcome = with_cluster(&cluster).run(&["doctor", "-o", "json"]);
        let results = results(&outcome, "findings");
        assert_eq!(results["kubectl-rights"], result, "{denied}: {outcome}");
        assert!(outcome.stdout.contains(told), "{denied}: {outcome}");
    }
}

#[test]
fn the_notifier_is_judged_as_notifier_status_judges_it() {
    for (arguments, code, result) in [
        (["--scenario", "two-pods"], 0, "ok"),
        (["--scenario", "metrics-down"], 3, "wrong"),
        (["--deny", "get:pods/log"], 8, "unknown"),
    ] {
        let Some(cluster) = FakeCluster::start(&arguments) else {
            return;
        };
        let status = with_cluster(&cluster).run(&["notifier", "status"]);
        assert_eq!(status.code, Some(code), "{arguments:?}: {status}");
        let doctor = with_cluster(&cluster).run(&["doctor", "-o", "json"]);
        let results = results(&doctor, "findings");
        assert_eq!(results["notifier"], result, "{arguments:?}: {doctor}");
    }
}

#[test]
fn no_cluster_no_kubectl_and_no_answer_are_told_apart() {
    let Some(mut cluster) = FakeCluster::start(&[]) else {
        return;
    };
    let environment = with_cluster(&cluster);
    cluster.stop();
    let away = environment.run(&["doctor", "-o", "json"]);
    assert_eq!(results(&away, "findings")["pod"], "unknown", "{away}");
    assert!(away.stdout.contains("cannot be reached"), "{away}");

    let missing = with_cluster(&cluster).variable("KMSCTL_CLUSTER_KUBECTL", "/nowhere/kubectl");
    let missing = missing.run(&["doctor", "-o", "json"]);
    assert_eq!(results(&missing, "findings")["kubectl"], "wrong", "{missing}");
    assert!(missing.stdout.contains("is not installed"), "{missing}");

    let context = with_cluster(&cluster).variable("KMSCTL_CLUSTER_CONTEXT", "nonsense");
    let context = context.run(&["doctor", "-o", "json"]);
    assert!(context.stdout.contains("configuration does not fit"), "{context}");

    let none = without_firewall().run(&["doctor", "-o", "json"]);
    assert_eq!(results(&none, "findings")["kubectl"], "skipped", "{none}");
    let refused = without_firewall().variable("KMSCTL_CLUSTER_SERVICE", "--all-namespaces");
    assert!(refused.run(&["doctor"]).fails_with(2).contains("is not a name"));
}

/// Programs in kubectl's place that hang, or never stop talking.
#[test]
fn a_kubectl_that_hangs_or_floods_is_given_up() {
    use std::os::unix::fs::PermissionsExt as _;
    // How much `yes` writes in two seconds is the machine's matter.
    let flooded: &[&str] = &["did not answer within 2s", "larger than 16 MiB"];
    for (body, reasons) in [
        ("exec sleep 60", &flooded[..1]),
        ("./helper 60 & helper=$!; ./helper 61; wait $helper", &flooded[..1]),
        ("exec yes", flooded),
        ("echo '{\"items\": 3}'", &["a form kmsctl does not know"]),
        ("head -c 20000000 /dev/zero", flooded),
        // A small answer that would take hundreds of MiB once it is read.
        (
            "printf '{\"items\":['; yes '{},' | head -n 400000 | tr -d '\\n'; printf '{}]}'",
            &["more than 300000 values"],
        ),
        // As many pods as are read, without names.
        (
            "printf '{\"items\":['; yes '{},' | head -n 40000 | tr -d '\\n'; printf '{}]}'",
            &["and 39993 more"],
        ),
    ] {
        let environment = without_firewall();
        let program = environment.home().join("kubectl");
        std::fs::write(&program, format!("#!/bin/sh\n{body}\n")).expect("a program");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755))
            .expect("executable");
        let environment = environment
            .variable("KMSCTL_CLUSTER_ENABLED", "yes")
            .variable("KMSCTL_CLUSTER_TIMEOUT", "2s")
            .variable("KMSCTL_CLUSTER_KUBECTL", program.display().to_string());
        // What a login helper of kubectl's would be.
        let helper = environment.home().join("helper");
        std::fs::copy("/bin/sleep", &helper).expect("a program");
        let started = std::time::Instant::now();
        let outcome = environment.run(&["doctor", "-o", "json"]);
        assert!(started.elapsed().as_secs() < 20, "{body}: {:?}", started.elapsed());
        let said = |reason: &&str| outcome.stdout.contains(*reason);
        assert!(reasons.iter().any(said), "{body}: {outcome}");
        let is_gone = || {
            let mut processes = std::fs::read_dir("/proc").expect("/proc").flatten();
            !processes.any(|process| {
                std::fs::read_link(process.path().join("exe")).is_ok_and(|exe| exe == helper)
            })
        };
        // One that was killed a moment ago may not have had the processor since.
        let gone = (0..50).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(100));
            is_gone()
        });
        assert!(gone, "{body}: a helper is left");
    }
}

#[test]
fn leftovers_are_removed_through_the_procedure() {
    let environment = without_blocked_customer("leftovers");
    let plan = environment.home().join("plan.json");
    let plan = plan.to_str().expect("a path");
    let _ = environment.demo(&["doctor", "--clean", "--plan-out", plan]).success();
    // A temporary change beside them: its rollback must stay.
    let armed = environment
        .demo(&["ratelimit", "tighten", "--for", "30m", "--yes", "-o", "json"])
        .json()["data"]
        .clone();
    let id = armed["id"].as_str().expect("an id");
    let before = environment.demo(&["doctor", "--problems", "-o", "json"]);
    assert_eq!(before.code, Some(3), "{before}");
    assert_eq!(
        results(&before, "findings").into_iter().collect::<Vec<_>>(),
        [("leftovers".into(), "wrong".into())]
    );
    assert!(before.stdout.contains("Pending") && before.stdout.contains(id), "{before}");
    assert!(before.stdout.contains("doctor --clean"), "{before}");

    let shown = environment.demo(&["doctor", "--clean", "--dry-run"]).success();
    assert!(shown.contains("3d old") && shown.contains("2 files still"), "{shown}");
    assert!(!shown.contains(id), "what is armed is not in the plan: {shown}");
    let refused = environment.demo(&["doctor", "--clean"]);
    assert_eq!(refused.code, Some(4), "nobody can confirm: {refused}");

    let done =
        environment.demo(&["doctor", "--clean", "--yes", "-o", "json"]).json()["data"].clone();
    assert_eq!(done["outcome"], "done", "{done:#}");
    let entry = done["id"].as_str().expect("an id");
    assert!(done["undo"].is_null(), "{done:#}");
    let told = environment.demo(&["history", entry]).success();
    assert!(told.contains("doctor --clean"), "{told}");
    let stale = environment.demo(&["apply", plan, "--yes"]).fails_with(6);
    assert!(stale.contains("stale"), "{stale}");

    let after = environment.demo(&["doctor", "-o", "json"]);
    assert_eq!(results(&after, "findings")["leftovers"], "ok", "{after}");
    assert!(after.stdout.contains(id), "the rollback is still armed: {after}");
    let again = environment.demo(&["doctor", "--clean", "--yes", "-o", "json"]).json();
    assert_eq!(again["data"]["outcome"], "nothing-to-do");
    // With nothing to do nobody is needed who confirms it.
    let alone = environment.demo(&["doctor", "--clean"]).success();
    assert!(alone.contains("Nothing to do"), "{alone}");
}

#[test]
fn a_lock_that_is_held_leaves_everything_where_it_is() {
    let environment = TestEnvironment::new().variable("KMSCTL_DEMO_SCENARIO", "locked");
    let outcome = environment.demo(&["doctor", "--clean", "--yes"]);
    assert!(outcome.stdout.contains("1 file still has something to do"), "{outcome}");
    assert_eq!(outcome.code, Some(0), "{outcome}");
}

#[test]
fn doctor_itself_takes_no_flag_of_a_change() {
    let environment = TestEnvironment::new();
    for flag in ["--yes", "--dry-run"] {
        let _ = environment.demo(&["doctor", flag]).fails_with(2);
    }
    let _ = environment.demo(&["doctor", "--clean", "--problems"]).fails_with(2);
}

#[test]
fn a_history_that_was_tampered_with_is_told() {
    let environment = TestEnvironment::new();
    let _ = environment.demo(&["ratelimit", "tighten", "--yes"]).success();
    let fine = environment.demo(&["doctor", "-o", "json"]);
    assert_eq!(results(&fine, "findings")["journal"], "ok", "{fine}");
    let path = environment.home().join(".local/state/kmsctl/demo/journal.jsonl");
    let text = std::fs::read_to_string(&path).expect("a history");
    std::fs::write(&path, text.replacen("tighten", "loosen.", 1)).expect("a history");
    let broken = environment.demo(&["doctor", "-o", "json"]);
    assert_eq!(results(&broken, "findings")["journal"], "wrong", "{broken}");
    assert!(broken.stdout.contains("broken at line 1"), "{broken}");
    std::fs::write(&path, text.trim_end()).expect("a history");
    let cut = environment.demo(&["doctor", "-o", "json"]);
    assert_eq!(results(&cut, "findings")["journal"], "wrong", "{cut}");
    // A machine that goes down while writing has not come to the head yet.
    let first: serde_json::Value =
        serde_json::from_str(text.lines().next().expect("a line")).expect("JSON");
    let head = serde_json::json!({ "seq": first["seq"], "hash": first["hash"] });
    std::fs::write(path.with_file_name("journal.head"), head.to_string()).expect("a head");
    let torn = environment.demo(&["doctor", "-o", "json"]);
    assert_eq!(results(&torn, "findings")["journal"], "unknown", "{torn}");
}
