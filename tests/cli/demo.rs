//! `kmsctl demo …`: the simulated firewall for any ssh client, and its state.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use crate::support::environment::TestEnvironment;

#[test]
fn any_ssh_client_can_ask_the_served_demo() {
    let environment = TestEnvironment::new();
    let mut command =
        environment.command(&["demo", "serve", "--listen", "127.0.0.1:0", "-o", "ndjson"]);
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("kmsctl serves");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("stdout")).read_line(&mut line).expect("a line");
    let serving: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    let address: std::net::SocketAddr =
        serving["address"].as_str().expect("an address").parse().expect("an address");
    let known_hosts = serving["known_hosts"].as_str().expect("known hosts");
    let Ok(output) = Command::new("ssh")
        .args(["-F", "/dev/null", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o"])
        .arg(format!("UserKnownHostsFile={known_hosts}"))
        .args([
            "-p",
            &address.port().to_string(),
            "admin@127.0.0.1",
            "pfctl -t virusprot -T show -v",
        ])
        .stdin(Stdio::null())
        .output()
    else {
        assert!(std::env::var_os("KMSCTL_TESTS_MUST_RUN").is_none(), "ssh is missing");
        eprintln!("SKIPPED: the served demo, because there is no ssh program");
        let _ = child.kill().and_then(|()| child.wait());
        return;
    };
    let _ = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    let ended = child.wait().expect("kmsctl ends");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("\tCleared:     "),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
    assert_eq!(ended.code(), Some(130));
}

#[test]
fn the_demo_serves_loopback_only() {
    let environment = TestEnvironment::new();
    let told = environment.run(&["demo", "serve", "--listen", "0.0.0.0:0"]).fails_with(2);
    assert!(told.contains("not a loopback address"), "{told}");
}

#[test]
fn state_is_kept_between_runs_and_forgotten_on_request() {
    let environment = TestEnvironment::new();
    let first = environment.demo(&["virusprot", "show"]).success();
    let second = environment.demo(&["virusprot", "show"]).success();
    assert_eq!(first, second, "the clock stands still");
    let state = environment.home().join(".local/state/kmsctl/demo");
    assert!(state.is_dir());
    assert!(environment.run(&["demo", "reset"]).success().contains("has forgotten"));
    assert!(environment.run(&["demo", "reset"]).success().contains("had no state"));
}

#[test]
fn a_history_belongs_to_its_firewall_and_goes_with_it() {
    let environment = TestEnvironment::new();
    let told = |environment: &TestEnvironment, arguments: &[&str]| {
        let outcome = environment.demo(arguments);
        assert_eq!(outcome.code, Some(0), "{outcome}");
        outcome.to_string()
    };
    told(&environment, &["expose", "revoke", "--delete", "--yes"]);
    let restored = told(&environment, &["expose", "restore", "--dry-run"]);
    assert!(restored.contains("put back the rules"), "{restored}");
    told(&environment, &["demo", "reset"]);
    assert!(told(&environment, &["history"]).contains("Nothing was changed yet"));
    assert!(environment.demo(&["undo", "--yes"]).fails_with(1).contains("nothing to take back"));
    assert!(
        told(&environment, &["expose", "restore", "--yes"])
            .contains("Nothing to do: the exposure is open")
    );
    // Another scenario is another firewall: what was deleted on the first was never on the second.
    told(&environment, &["expose", "revoke", "--delete", "--yes"]);
    let environment = environment.variable("KMSCTL_DEMO_SCENARIO", "absent");
    assert!(environment.demo(&["undo", "--yes"]).fails_with(1).contains("nothing to take back"));
    let restored = told(&environment, &["expose", "restore", "--dry-run"]);
    assert!(restored.contains("built from kmsctl's configuration"), "{restored}");
}

#[test]
fn nothing_is_changed_while_another_run_has_the_firewall() {
    let environment = TestEnvironment::new();
    let mut serving = environment.command(&["--demo", "demo", "serve", "--listen", "127.0.0.1:0"]);
    let mut serving = serving
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("kmsctl starts");
    let mut line = String::new();
    let stdout = serving.stdout.take().expect("stdout");
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).expect("a line");
    let told = environment.demo(&["ratelimit", "tighten", "--yes"]).fails_with(6);
    assert!(told.contains("would not be kept; nothing was changed"), "{told}");
    let shown = environment.demo(&["ratelimit", "tighten", "--dry-run"]);
    assert_eq!(shown.code, Some(0), "{shown}");
    serving.kill().expect("it runs");
    serving.wait().expect("it ends");
    assert!(!environment.home().join(".local/state/kmsctl/demo/journal.jsonl").exists());
}

#[test]
fn the_lock_of_the_demo_is_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let environment = TestEnvironment::new();
    let kmsctl = environment.command(&["--demo", "expose", "show"]);
    let output = std::process::Command::new("/bin/sh")
        .args(["-c", "umask 0; exec \"$0\" \"$@\""])
        .arg(kmsctl.get_program())
        .args(kmsctl.get_args())
        .envs(kmsctl.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .output()
        .expect("sh runs");
    assert!(output.status.success(), "{output:?}");
    let directory = environment.home().join(".local/state/kmsctl/demo");
    let mut files = 0;
    for entry in std::fs::read_dir(&directory).expect("a directory") {
        let entry = entry.expect("an entry");
        let metadata = entry.metadata().expect("a file");
        let mode = metadata.permissions().mode() & 0o777;
        let wanted = if metadata.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(mode, wanted, "{:?}", entry.path());
        files += usize::from(entry.file_name() == "lock");
    }
    assert_eq!(files, 1, "there is a lock");
}

/// The demo repeats: whenever it is begun, the same commands show the same sources, counts and ids.
#[test]
fn a_new_demo_tells_the_same_story_at_any_moment() {
    let story = |now: &str| {
        let environment = TestEnvironment::new().variable("KMSCTL_DEMO_NOW", now);
        let json = |words: &[&str]| environment.demo(&[words, &["-o", "json"]].concat()).json();
        let states = json(&["states"]);
        let sources = states["data"]["sources"].as_array().expect("sources").iter();
        let mut sources: Vec<&str> =
            sources.filter_map(|source| source["address"].as_str()).collect();
        sources.sort_unstable();
        let notifier = json(&["notifier", "status"]);
        let preview = json(&["ratelimit", "preview", "tighten"]);
        let changed = json(&["ratelimit", "tighten", "--yes"]);
        let cut = preview["data"]["cut"].as_array().map(Vec::len);
        let data = &notifier["data"];
        format!(
            "{sources:?} {} {} {} {cut:?} {}",
            data["activations"]["total"],
            data["activations"]["held_back"],
            data["probes"],
            changed["data"]["id"]
        )
    };
    let first = story("2026-03-01T12:21:34Z");
    for now in ["2026-03-01T12:21:34.417Z", "2026-07-14T03:02:01Z", "2031-01-01T00:00:00.999Z"] {
        assert_eq!(story(now), first, "{now}");
    }
}

#[test]
fn a_demo_goes_on_where_it_was() {
    let environment = TestEnvironment::new();
    let last = |now: &str| {
        let environment = environment.command(&["--demo", "notifier", "status", "-o", "json"]);
        let mut command = environment;
        let output = command.env("KMSCTL_DEMO_NOW", now).output().expect("kmsctl runs");
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        answer["data"].clone()
    };
    environment.demo(&["status"]).success();
    let (now, later) = (last("2026-03-01T12:21:34Z"), last("2026-03-01T12:22:14Z"));
    assert_eq!(now["last_activation"], later["last_activation"], "{now:#} {later:#}");
    assert!(later["probes"]["cluster_node"].as_u64() >= now["probes"]["cluster_node"].as_u64());
}
