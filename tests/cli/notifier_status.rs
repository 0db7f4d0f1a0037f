//! `kmsctl notifier status`, and the log's side of `status`, `states` and `virusprot show`: real kubectl against a stand-in
//! for a cluster, in every scenario and with every right missing.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::over_sshd::Firewall;
use crate::support::cluster::FakeCluster;
use crate::support::environment::{Outcome, TestEnvironment};
use crate::support::pods::{Answer, FakeSlack, activate, eventually, get};
use crate::support::processes;
use crate::support::sshd::Login;
use crate::support::stubs::closed_port;

/// Runs kmsctl on a stand-in for a cluster.
pub fn ask(cluster: &FakeCluster, arguments: &[&str]) -> Outcome {
    TestEnvironment::new()
        .without("KMSCTL_DEMO_NOW")
        .variable("KMSCTL_CLUSTER_KUBECONFIG", cluster.kubeconfig().display().to_string())
        .run(arguments)
}

fn status(cluster: &FakeCluster) -> (Option<i32>, Value) {
    let outcome = ask(cluster, &["notifier", "status", "-o", "json"]);
    let value = serde_json::from_str(&outcome.stdout)
        .unwrap_or_else(|error| panic!("not JSON ({error}): {outcome}"));
    (outcome.code, value)
}

fn wrong(shown: &Value) -> Vec<&str> {
    let findings = shown["data"]["findings"].as_array().expect("findings");
    let wrong = findings.iter().filter(|finding| finding["result"] == "wrong");
    wrong.map(|finding| finding["check"].as_str().expect("a check")).collect()
}

#[test]
fn every_state_of_the_cluster_is_told() {
    for (scenario, code, health, checks) in [
        ("", 0, "ok", &[][..]),
        ("two-pods", 0, "ok", &[]),
        ("no-pod", 3, "dead", &["pods"]),
        ("no-sidecar", 3, "dead", &["container"]),
        ("crashloop", 3, "dead", &["container", "container", "events", "events"]),
        ("notready", 3, "ok", &["container", "events"]),
        ("metrics-down", 3, "ok", &["metrics"]),
        ("etp-cluster", 3, "ok", &["client-addresses"]),
    ] {
        let Some(cluster) = FakeCluster::start(&["--scenario", scenario, "--bare-items"]) else {
            return;
        };
        let (exit, shown) = status(&cluster);
        assert_eq!(shown["data"]["health"], health, "{scenario}: {shown:#}");
        assert_eq!(wrong(&shown), checks, "{scenario}: {shown:#}");
        assert_eq!(exit, Some(code), "{scenario}");
    }
}

#[test]
fn a_missing_right_hides_nothing_else() {
    let pods =
        |shown: &Value| shown["data"]["pods"][0]["notifier"]["image"] == "python:3.12-alpine";
    let numbers = |shown: &Value| shown["data"]["probes"]["external"] == 17;
    let output = |shown: &Value| shown["data"]["last_hour"]["activations"] == 2;
    let unknown = |shown: &Value, check: &str| {
        let findings = shown["data"]["findings"].as_array().expect("findings");
        findings.iter().any(|finding| finding["check"] == check && finding["result"] == "unknown")
    };
    for (denied, check, exit, seen) in [
        ("list:pods", "pods", 0, [false, true, true]),
        ("get:pods/proxy", "metrics", 0, [true, false, true]),
        ("get:pods/log", "output", 8, [true, true, false]),
        ("get:services", "client-addresses", 0, [true, true, true]),
        ("list:events", "events", 0, [true, true, true]),
        ("list:pods,list:endpointslices", "pods", 8, [false, false, false]),
        ("get:pods/proxy,get:pods/log,get:services,list:events", "events", 8, [true, false, false]),
    ] {
        let Some(cluster) = FakeCluster::start(&["--deny", denied]) else {
            return;
        };
        let (code, shown) = status(&cluster);
        assert_eq!([pods(&shown), numbers(&shown), output(&shown)], seen, "{denied}: {shown:#}");
        assert!(unknown(&shown, check), "{denied}: {shown:#}");
        assert_eq!(code, Some(exit), "{denied}: {shown:#}");
    }
}

/// Each command of kubectl that is printed can be pasted: it names file, context and namespace as configured.
#[test]
fn kubectl_commands_carry_context_and_namespace() {
    for (scenario, command) in
        [("crashloop", "logs "), ("no-pod", "rollout status "), ("etp-cluster", "patch service ")]
    {
        let Some(cluster) = FakeCluster::start(&["--scenario", scenario]) else {
            return;
        };
        let file = cluster.kubeconfig().display().to_string();
        let shown = TestEnvironment::new()
            .without("KMSCTL_DEMO_NOW")
            .variable("KMSCTL_CLUSTER_KUBECONFIG", file.clone())
            .variable("KMSCTL_CLUSTER_CONTEXT", "fake")
            .run(&["notifier", "status", "-o", "json"])
            .stdout;
        let wanted = format!("`kubectl --kubeconfig {file} --context fake -n kms {command}");
        assert!(shown.contains(&wanted), "{scenario}: {wanted} in {shown}");
        assert!(!shown.contains(&format!("kubectl {command}")), "{shown}");
    }
}

#[test]
fn a_crash_is_seen_without_the_right_to_list_pods() {
    for scenario in ["notready", "crashloop"] {
        let denied = ["--deny", "list:pods", "--scenario", scenario];
        let Some(cluster) = FakeCluster::start(&denied) else {
            return;
        };
        let (code, shown) = status(&cluster);
        assert_eq!(code, Some(3), "{scenario}: {shown:#}");
        assert_eq!(shown["data"]["pods"][0]["ready"], false, "{shown:#}");
        let wrong = wrong(&shown);
        assert!(wrong.contains(&"container") && wrong.contains(&"events"), "{scenario}: {shown:#}");
    }
}

#[test]
fn a_cluster_that_cannot_be_asked_is_exit_code_5_and_none_configured_2() {
    let environment = TestEnvironment::new();
    for command in ["status", "logs", "metrics"] {
        let told = environment.run(&["notifier", command]).fails_with(2);
        assert!(told.contains("cluster.context"), "{told}");
    }
    let Some(mut cluster) = FakeCluster::start(&["--fail", "401:1000"]) else {
        return;
    };
    let told = ask(&cluster, &["notifier", "status"]).fails_with(5);
    assert!(told.contains("refuses the login"), "{told}");
    cluster.stop();
    for command in ["status", "logs", "metrics"] {
        let told = ask(&cluster, &["notifier", command]).fails_with(5);
        assert!(told.contains("cannot be reached"), "{told}");
    }
    let none = TestEnvironment::new()
        .variable("KMSCTL_CLUSTER_CONTEXT", "x")
        .variable("KMSCTL_CLUSTER_KUBECTL", "/nonexistent/kubectl")
        .run(&["notifier", "status", "-o", "json"])
        .fails_with(5);
    let error: Value = serde_json::from_str(&none).expect("an error object");
    assert_eq!(error["error"]["kind"], "unreachable", "{none}");
}

/// A metrics page as the notifier prints it, with other values.
fn page(folder: &std::path::Path, more: &[(&str, i64)]) -> String {
    let now = jiff::Timestamp::now().as_second();
    let mut values = std::collections::BTreeMap::from([
        ("kms_slack_notifier_up", 1),
        ("kms_log_lines_total", 1000),
        ("kms_log_unparsed_lines_total", 0),
        ("kms_log_read_lag_bytes", 0),
        ("kms_log_last_read_timestamp_seconds", now),
        ("kms_log_last_line_timestamp_seconds", now - 4),
        ("kms_slack_queue_length", 0),
        ("kms_slack_last_success_timestamp_seconds", now - 600),
    ]);
    values.extend(more.iter().copied());
    let text: String = values.iter().map(|(name, value)| format!("{name} {value}\n")).collect();
    let file = folder.join("page");
    std::fs::write(&file, text).expect("a page");
    file.display().to_string()
}

#[test]
fn a_loop_that_stands_still_is_dead_though_its_page_answers() {
    let folder = tempfile::tempdir().expect("a folder");
    // The page is a file: nothing in it ever moves.
    let page = page(folder.path(), &[]);
    let Some(cluster) = FakeCluster::start(&["--metrics-from", &page]) else {
        return;
    };
    let (code, shown) = status(&cluster);
    assert_eq!(shown["data"]["health"], "dead", "{shown:#}");
    assert_eq!((code, wrong(&shown)), (Some(3), vec!["reading"]));
}

/// A real notifier; killed when dropped.
struct Notifier {
    child: Child,
    port: u16,
    home: tempfile::TempDir,
    slack: FakeSlack,
}

impl Notifier {
    fn start() -> Self {
        let home = tempfile::tempdir().expect("a home");
        let slack = FakeSlack::start(&[]);
        let port = crate::support::stubs::closed_port();
        let echo = std::fs::File::create(home.path().join("echo")).expect("a file");
        std::fs::write(home.path().join("vlmcsd.log"), "").expect("a log");
        let child = TestEnvironment::new()
            .command(&["notifier", "run", "--echo=all"])
            .env_remove("KMSCTL_DEMO_NOW")
            .env("KMSCTL_NOTIFIER_LISTEN", format!("127.0.0.1:{port}"))
            .env("KMSCTL_NOTIFIER_STATE", home.path().join("state"))
            .env("SLACK_WEBHOOK_URL", &slack.url)
            .env("VLMCSD_LOG", home.path().join("vlmcsd.log"))
            .current_dir(home.path())
            .stdout(echo)
            .stderr(Stdio::null())
            .spawn()
            .expect("kmsctl runs");
        let end = Instant::now() + Duration::from_secs(10);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < end, "the notifier does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        Self { child, port, home, slack }
    }

    fn path(&self, name: &str) -> String {
        self.home.path().join(name).display().to_string()
    }

    fn log(&self, texts: &[&str]) {
        let now = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M:%S").to_string();
        let text: String = texts.iter().map(|text| format!("{now}: {text}\n")).collect();
        std::fs::write(self.home.path().join("vlmcsd.log"), text).expect("the log");
    }
}

impl Drop for Notifier {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_real_notifier_is_seen_through_a_real_kubectl() {
    let notifier = Notifier::start();
    let peer = "203.0.113.9:50001.";
    notifier.log(&[
        "IPv4 connection accepted: 10.0.20.103:40000.",
        "IPv4 connection closed: 10.0.20.103:40000.",
        &format!("IPv4 connection accepted: {peer}"),
        "<<< Incoming KMS request",
        "Licensing status                : 1 (Licensed)",
        "Activation ID (Product)         : 2de67392-b7a7-462a-b1ca-108dd189f588 (Windows 10 Professional)",
        "Workstation name                : PC-1",
        ">>> Sending response, ePID source = x",
        &format!("IPv4 connection closed: {peer}"),
    ]);
    let echo = notifier.path("echo");
    let metrics = format!("http://127.0.0.1:{}/metrics", notifier.port);
    let Some(cluster) = FakeCluster::start(&["--metrics-from", &metrics, "--notifier-log", &echo])
    else {
        return;
    };
    let end = Instant::now() + Duration::from_secs(10);
    while std::fs::read_to_string(&echo).expect("the echo").lines().count() < 2 {
        assert!(Instant::now() < end, "nothing is echoed");
        std::thread::sleep(Duration::from_millis(20));
    }
    let (code, shown) = status(&cluster);
    let data = &shown["data"];
    assert_eq!((data["health"].as_str(), code), (Some("ok"), Some(0)), "{shown:#}");
    assert_eq!(data["activations"]["total"], 1, "{shown:#}");
    assert_eq!(data["probes"]["cluster_node"], 1);
    assert_eq!(data["last_hour"]["activations"], 1);
    assert_eq!(data["last_hour"]["last_activation"]["workstation"], "PC-1");
    assert_eq!(data["pods"][0]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(data["lag_bytes"], 0);
    let events = ask(&cluster, &["notifier", "logs", "-o", "ndjson", "--activations"]).success();
    let event: Value = serde_json::from_str(events.trim()).expect("one event");
    assert_eq!((&event["address"], &event["workstation"]), (&"203.0.113.9".into(), &"PC-1".into()));
}

#[test]
fn a_webhook_that_is_revoked_and_a_log_that_is_no_file_are_seen() {
    let notifier = Notifier::start();
    let echo = notifier.path("echo");
    let metrics = format!("http://127.0.0.1:{}/metrics", notifier.port);
    let Some(cluster) = FakeCluster::start(&["--metrics-from", &metrics, "--notifier-log", &echo])
    else {
        return;
    };
    let log = notifier.home.path().join("vlmcsd.log");
    let shows = |text: &str| {
        eventually(|| get(notifier.port, "/metrics").is_some_and(|page| page.contains(text)))
    };
    // One message went out; the next is refused.
    activate(&log, 1);
    assert!(shows("{result=\"ok\"} 1"));
    notifier.slack.answer(Answer::Say(404, "", "no_service"));
    activate(&log, 2);
    assert!(shows("{result=\"rejected\"} 1"));
    let (code, shown) = status(&cluster);
    assert_eq!((code, wrong(&shown)), (Some(3), vec!["posts"]), "{shown:#}");
    std::fs::remove_file(&log).expect("a removal");
    std::fs::create_dir(&log).expect("a folder");
    assert!(shows("kms_log_open 0"));
    let (code, shown) = status(&cluster);
    assert_eq!(shown["data"]["health"], "behind", "{shown:#}");
    assert_eq!((code, wrong(&shown)), (Some(3), vec!["log"]), "{shown:#}");
}

#[test]
fn a_page_that_does_not_answer_leaves_the_health_unknown() {
    // The kernel takes the connection, and nobody ever reads it: a process that is stopped.
    let frozen = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let page = format!("http://{}/metrics", frozen.local_addr().expect("an address"));
    let Some(cluster) = FakeCluster::start(&["--metrics-from", &page]) else {
        return;
    };
    // kubectl gives up, or the API server does.
    for patience in ["3s", "20s"] {
        let outcome = TestEnvironment::new()
            .without("KMSCTL_DEMO_NOW")
            .variable("KMSCTL_CLUSTER_TIMEOUT", patience.to_owned())
            .variable("KMSCTL_CLUSTER_KUBECONFIG", cluster.kubeconfig().display().to_string())
            .run(&["notifier", "status", "-o", "json"]);
        let shown: Value = serde_json::from_str(&outcome.stdout).expect("JSON");
        assert_eq!(outcome.code, Some(8), "{patience}: {shown:#}");
        assert_eq!(shown["data"]["health"], "unknown", "{shown:#}");
        let finding = shown["data"]["findings"]
            .as_array()
            .expect("findings")
            .iter()
            .find(|finding| finding["check"] == "metrics")
            .expect("a finding");
        assert_eq!(finding["result"], "unknown", "{shown:#}");
        assert!(!finding["fix"].to_string().contains("VPN"), "{shown:#}");
    }
}

#[test]
fn activations_are_one_number_everywhere() {
    let environment = TestEnvironment::new();
    let asked = |words: &[&str]| {
        let text = environment.demo(words).success();
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        (text, environment.demo(&[words, &["-o", "json"]].concat()).json()["data"].take())
    };
    let (pipeline, data) = asked(&["notifier", "status"]);
    let total = data["activations"]["total"].as_u64().expect("a number");
    let held = data["activations"]["held_back"].as_u64().expect("a number");
    assert!(held > 0 && held < total);
    assert!(pipeline.contains(&format!("{total} activations, {held} held back")), "{pipeline}");
    let (status, data) = asked(&["status"]);
    assert_eq!(data["notifier"]["activations"], total);
    assert!(status.contains(&format!("Activations {total} since start")), "{status}");
    let (metrics, data) = asked(&["notifier", "metrics"]);
    assert_eq!(data["activations"], total);
    assert!(metrics.contains(&format!("Activations {total} since start")), "{metrics}");
    let (states, _) = asked(&["states"]);
    assert!(states.contains(&format!("{total} activations;")), "{states}");
}

#[test]
fn the_schema_has_its_keys() {
    let shown = TestEnvironment::new().demo(&["notifier", "status", "-o", "json"]).json();
    let keys: Vec<&String> = shown["data"].as_object().expect("data").keys().collect();
    let wanted = [
        "health",
        "why",
        "pods",
        "lag_bytes",
        "lag_seconds",
        "last_line",
        "outbox",
        "last_post",
        "posts",
        "activations",
        "probes",
        "rates",
        "last_hour",
        "findings",
    ];
    assert_eq!(keys, wanted.iter().collect::<Vec<_>>());
    assert_eq!(shown["data"]["health"], "ok");
    for form in ["table", "ndjson", "csv"] {
        let text = TestEnvironment::new().demo(&["notifier", "status", "-o", form]).success();
        assert!(text.contains("kms-6c9d8f7b54-x2x9q"), "{text}");
    }
}

/// Runs kmsctl on a real sshd with a stand-in for pfctl, beside a cluster.
fn beside(firewall: &Firewall, kubeconfig: &str, arguments: &[&str]) -> (Value, String) {
    let output = firewall
        .environment
        .command(&[arguments, &["-o", "json"]].concat())
        .env_remove("KMSCTL_DEMO_NOW")
        .env("KMSCTL_CLUSTER_KUBECONFIG", kubeconfig)
        .output()
        .expect("kmsctl runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{arguments:?}: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    (serde_json::from_str(&text).expect("JSON"), text)
}

#[test]
fn the_firewalls_screens_show_the_logs_side_and_do_without_it() {
    let Some(firewall) = Firewall::start("russh", Login::Sh) else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("echo");
    let (blocked, _) = beside(&firewall, "", &["virusprot", "show"]);
    let customer =
        blocked["data"]["entries"][0]["address"].as_str().expect("a blocked address").to_owned();
    assert!(blocked["data"]["entries"][0]["activated_at"].is_null(), "{blocked:#}");
    let at = jiff::Timestamp::now().to_string();
    let event = serde_json::json!({"event": "activation", "address": customer, "source": "external", "at": at});
    std::fs::write(&log, format!("{event}\n")).expect("a log");
    let log = log.display().to_string();
    let Some(mut cluster) = FakeCluster::start(&["--notifier-log", &log]) else {
        return;
    };
    let kubeconfig = cluster.kubeconfig().display().to_string();
    let (shown, _) = beside(&firewall, &kubeconfig, &["virusprot", "show"]);
    let marked: Vec<&Value> = shown["data"]["entries"]
        .as_array()
        .expect("entries")
        .iter()
        .filter(|entry| entry["flags"].to_string().contains("customer"))
        .collect();
    assert_eq!(marked.len(), 1, "{shown:#}");
    assert_eq!(marked[0]["address"], customer.as_str());
    assert!(
        marked[0]["activated_at"].is_string()
            && shown["warnings"].to_string().contains("customer-blocked")
    );
    for command in [["status"], ["states"]] {
        let (shown, text) = beside(&firewall, &kubeconfig, &command);
        assert_eq!(shown["data"]["notifier"]["last_day"]["activations"], 1, "{command:?}: {text}");
        assert_eq!(shown["data"]["notifier"]["probes"]["external"], 17, "{command:?}: {text}");
    }
    cluster.stop();
    for command in [&["status"][..], &["states"], &["virusprot", "show"]] {
        let (_, text) = beside(&firewall, &kubeconfig, command);
        assert!(text.contains("cannot be reached"), "{command:?}: {text}");
    }
}

#[test]
fn an_endless_answer_of_kubectl_is_too_large() {
    let environment = TestEnvironment::new().without("KMSCTL_DEMO_NOW");
    let program = environment.home().join("kubectl");
    for (script, words) in [
        ("exec cat /dev/zero", "larger than 16 MiB"),
        ("exec yes '{\"items\":[],'", "larger than 16 MiB"),
        ("yes $(printf '\\033[2J') >&2", "did not answer"),
    ] {
        write_program(&program, script);
        let asked = Instant::now();
        let told = environment
            .command(&["notifier", "metrics"])
            .env("KMSCTL_CLUSTER_CONTEXT", "there")
            .env("KMSCTL_CLUSTER_TIMEOUT", "6s")
            .env("KMSCTL_CLUSTER_KUBECTL", &program)
            .output()
            .expect("kmsctl runs");
        let said = String::from_utf8_lossy(&told.stderr);
        assert_eq!(told.status.code(), Some(5), "{script}: {said}");
        assert!(said.contains(words), "{script}: {said}");
        assert!(!said.contains('\u{1b}') && said.len() < 4096, "{script}: {said}");
        assert!(asked.elapsed() < Duration::from_secs(20), "{script}");
    }
}

/// Whatever asks the cluster ends with Ctrl-C while kubectl hangs, and kubectl with it.
#[test]
fn an_interrupt_ends_every_wait_for_kubectl() {
    const PATIENCE: Duration = Duration::from_secs(20);
    let commands: [&[&str]; 7] = [
        &["verify"],
        &["ratelimit", "preview", "tighten"],
        &["doctor"],
        &["notifier", "status"],
        &["notifier", "logs"],
        &["notifier", "logs", "--follow"],
        &["notifier", "metrics"],
    ];
    for words in commands {
        let environment = TestEnvironment::new()
            .private_runtime()
            .without("KMSCTL_DEMO_NOW")
            .variable("KMSCTL_SERVICE_HOST", "127.0.0.1")
            .variable("KMSCTL_SERVICE_ADDRESS", "127.0.0.1")
            .variable("KMSCTL_SERVICE_PORT", closed_port().to_string())
            .variable("KMSCTL_FIREWALL_PORT", closed_port().to_string())
            .variable("KMSCTL_FIREWALL_TRANSPORT", "russh")
            .variable("KMSCTL_CLUSTER_CONTEXT", "there")
            .variable("KMSCTL_CLUSTER_TIMEOUT", "60s");
        let program = environment.home().join("kubectl");
        write_program(&program, "echo >\"$0.asked\"\nwhile :; do sleep 1; done");
        let mut command = environment.command(words);
        command.args(["--timeout", "60s"]).env("KMSCTL_CLUSTER_KUBECTL", &program);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().expect("kmsctl starts");
        let begun = Instant::now();
        while !environment.home().join("kubectl.asked").exists() {
            assert!(begun.elapsed() < PATIENCE, "{words:?} asks no kubectl");
            std::thread::sleep(Duration::from_millis(20));
        }
        let interrupted = Instant::now();
        processes::signal(child.id(), "INT");
        let code = child.wait().expect("it ends").code();
        assert_eq!(code, Some(130), "{words:?}");
        assert!(interrupted.elapsed() < PATIENCE, "{words:?}: {:?}", interrupted.elapsed());
        let left = processes::remaining(&program.display().to_string(), PATIENCE);
        assert!(left.is_empty(), "{words:?}: {left:?}");
    }
}

pub fn write_program(path: &Path, script: &str) {
    std::fs::write(path, format!("#!/bin/sh\n{script}\n")).expect("a program");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("a mode");
}
