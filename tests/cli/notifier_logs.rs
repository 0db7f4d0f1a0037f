//! `kmsctl notifier logs`: real kubectl against a stand-in for a cluster whose streams break and whose pods come and go.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use super::notifier_status::{ask, write_program};
use crate::support::cluster::FakeCluster;
use crate::support::environment::TestEnvironment;
use crate::support::hostile::measured;
use crate::support::stubs::closed_port;
use crate::support::world::World;

/// A running `notifier logs --follow -o ndjson`; ended when dropped.
struct Follower {
    child: Child,
    lines: std::sync::mpsc::Receiver<String>,
}

impl Follower {
    fn start(kubeconfig: &str, arguments: &[&str]) -> Self {
        let environment = TestEnvironment::new();
        let mut command: Command =
            environment.command(&[&["notifier", "logs", "-f", "-o", "ndjson"], arguments].concat());
        let mut child = command
            .env_remove("KMSCTL_DEMO_NOW")
            .env("KMSCTL_CLUSTER_KUBECONFIG", kubeconfig)
            .current_dir("/")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kmsctl runs");
        let stdout: ChildStdout = child.stdout.take().expect("stdout");
        let (sender, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                let Ok(line) = line else { return };
                let _ = sender.send(line);
            }
        });
        Self { child, lines }
    }

    /// Waits until a line holds this and returns all lines up to it.
    fn until(&self, text: &str) -> Vec<String> {
        let end = Instant::now() + Duration::from_secs(60);
        let mut seen = Vec::new();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    seen.push(line);
                    if seen.last().is_some_and(|line| line.contains(text)) {
                        return seen;
                    }
                }
                Err(error) => panic!("{error}: no {text} in {seen:#?}"),
            }
        }
    }

    /// Ends it as Ctrl-C would; returns the rest of stdout, and stderr.
    fn stop(mut self) -> (Vec<String>, String) {
        let interrupted =
            Command::new("kill").args(["-INT", &self.child.id().to_string()]).status();
        assert!(interrupted.is_ok_and(|status| status.success()));
        let status = self.child.wait().expect("an end");
        assert_eq!(status.code(), Some(130));
        let mut talk = String::new();
        let mut stderr = self.child.stderr.take().expect("stderr");
        stderr.read_to_string(&mut talk).expect("text");
        (self.lines.iter().collect(), talk)
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn hosts(lines: &[String]) -> Vec<String> {
    let host = |line: &String| {
        let event: serde_json::Value = serde_json::from_str(line).expect("JSON");
        event["workstation"].as_str().unwrap_or_default().to_owned()
    };
    lines.iter().map(host).collect()
}

#[test]
fn a_follower_loses_nothing_and_repeats_nothing_through_cuts_restarts_and_new_pods() {
    let mut world = World::new("kms-0");
    let Some(cluster) = FakeCluster::start(&["--world", &world.path()]) else {
        return;
    };
    world.activate();
    let follower = Follower::start(&cluster.kubeconfig().display().to_string(), &[]);
    let mut seen = follower.until("PC-1\"");
    let mut last = 1;
    for round in 0..12_u64 {
        // Lines right before and right after each blow, while nobody reads.
        for _ in 0..7 {
            last = world.activate();
        }
        match round % 4 {
            0 | 2 => world.cut(),
            1 => world.restart(),
            _ => {
                // What a pod printed last can be read only while it is there.
                seen.extend(follower.until(&format!("PC-{last}\"")));
                world.replace(&format!("kms-{round}"));
            }
        }
        for _ in 0..5 {
            last = world.activate();
        }
        if round % 3 == 0 {
            std::thread::sleep(Duration::from_millis(300));
            last = world.activate();
        }
        seen.extend(follower.until(&format!("PC-{last}\"")));
    }
    std::thread::sleep(Duration::from_millis(500));
    let (rest, talk) = follower.stop();
    seen.extend(rest);
    let wanted: Vec<String> = (1..=last).map(|number| format!("PC-{number}")).collect();
    assert_eq!(hosts(&seen), wanted, "{talk}");
    for words in
        ["Reconnected to kms-0: nothing is lost.", "was started again.", "A new pod: kms-3."]
    {
        assert!(talk.contains(words), "{words}: {talk}");
    }
    assert!(!talk.contains("may be missing") && !talk.contains("is gone.\nis gone"), "{talk}");
}

/// An API server that has just started refuses what it granted before, whether or not a line had come over the stream.
#[test]
fn a_stream_once_granted_outlives_refusals() {
    for lines_before in [false, true] {
        let mut world = World::new("kms-0");
        let Some(cluster) = FakeCluster::start(&["--world", &world.path()]) else {
            return;
        };
        let follower = Follower::start(&cluster.kubeconfig().display().to_string(), &[]);
        if lines_before {
            world.activate();
            follower.until("PC-1\"");
        } else {
            std::thread::sleep(Duration::from_secs(5));
        }
        world.refuse("*");
        world.cut();
        std::thread::sleep(Duration::from_secs(3));
        world.refuse("pods/log");
        std::thread::sleep(Duration::from_secs(3));
        world.refuse("");
        let last = world.activate();
        follower.until(&format!("PC-{last}\""));
        let (_, talk) = follower.stop();
        assert!(!talk.contains("may not"), "{talk}");
    }
}

/// The API server starts anew while the pod is replaced, and lists the new one before it grants its log.
#[test]
fn a_new_pods_log_outlives_refusals() {
    let mut world = World::new("kms-0");
    let Some(cluster) = FakeCluster::start(&["--world", &world.path()]) else {
        return;
    };
    let follower = Follower::start(&cluster.kubeconfig().display().to_string(), &[]);
    world.activate();
    follower.until("PC-1\"");
    world.refuse("*");
    world.cut();
    world.replace("kms-1");
    std::thread::sleep(Duration::from_secs(3));
    world.refuse("pods/log");
    // Its log is refused once it is found; pods are looked for every ten seconds.
    std::thread::sleep(Duration::from_secs(12));
    world.refuse("");
    let last = world.activate();
    follower.until(&format!("PC-{last}\""));
    let (_, talk) = follower.stop();
    assert!(talk.contains("A new pod: kms-1.") && !talk.contains("may not"), "{talk}");
}

#[test]
fn a_log_that_was_thrown_away_meanwhile_is_told() {
    let mut world = World::new("kms-0");
    let Some(cluster) = FakeCluster::start(&["--world", &world.path()]) else {
        return;
    };
    world.activate();
    let follower = Follower::start(&cluster.kubeconfig().display().to_string(), &[]);
    follower.until("PC-1\"");
    std::fs::remove_file(std::path::Path::new(&world.path()).join("kms-0/slack-notifier.0.log"))
        .expect("a log");
    std::thread::sleep(Duration::from_secs(4));
    world.cut();
    world.activate();
    follower.until("PC-2\"");
    std::thread::sleep(Duration::from_millis(300));
    let (_, talk) = follower.stop();
    assert!(talk.contains("no longer reaches back"), "{talk}");
}

#[test]
fn the_servers_file_is_followed_through_a_cut() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("vlmcsd.log");
    let mut number = 0;
    let mut write = |count: usize| {
        let mut text = std::fs::read_to_string(&log).unwrap_or_default();
        for _ in 0..count {
            number += 1;
            text.push_str(&format!(
                "2026-05-10 13:12:17: IPv4 connection accepted: 203.0.113.9:{number}.\n"
            ));
        }
        std::fs::write(&log, text).expect("the log");
        number
    };
    write(30);
    let (port, file) =
        (closed_port().to_string(), folder.path().join("vlmcsd.log").display().to_string());
    let arguments = ["--port", &port, "--vlmcsd-log", &file];
    let Some(mut cluster) = FakeCluster::start(&arguments) else {
        return;
    };
    let follower = Follower::start(&cluster.kubeconfig().display().to_string(), &["--server"]);
    let mut seen = follower.until(":30.");
    write(100);
    seen.extend(follower.until(":130."));
    cluster.stop();
    write(50);
    std::thread::sleep(Duration::from_millis(500));
    let Some(_again) = FakeCluster::start(&arguments) else {
        return;
    };
    seen.extend(follower.until(":180."));
    write(1);
    seen.extend(follower.until(":181."));
    let (rest, talk) = follower.stop();
    seen.extend(rest);
    // The last 20 lines at first, then everything once.
    let wanted: Vec<String> = (11..=181).map(|number| format!(":{number}.")).collect();
    assert_eq!(seen.len(), wanted.len(), "{talk}{seen:#?}");
    for (line, number) in seen.iter().zip(&wanted) {
        assert!(line.contains(number.as_str()), "{number}: {line}");
    }
    assert!(talk.contains("Reconnected") && talk.contains("nothing is lost"), "{talk}");
}

#[test]
fn filters_and_forms_also_of_the_script_that_runs_today() {
    let Some(cluster) = FakeCluster::start(&[]) else {
        return;
    };
    let all = ask(&cluster, &["notifier", "logs"]).success();
    assert!(all.contains("metrics on :9101") && all.contains("duplicate"), "{all}");
    let table = |filter: &[&str]| {
        let text = ask(&cluster, &[&["notifier", "logs"], filter].concat()).success();
        text.lines().count().saturating_sub(1)
    };
    assert_eq!(table(&["--activations"]), 2);
    assert_eq!(table(&["--probes"]), table(&[]) + 1);
    assert_eq!(table(&["--source", "cluster_node"]), 0);
    assert_eq!(table(&["--source", "cluster_node", "--probes"]), 1);
    assert_eq!(table(&["--source", "external", "--activations"]), 1);
    let json = ask(&cluster, &["notifier", "logs", "--activations", "-o", "json"]).json();
    assert_eq!(json["schema"], "kmsctl/notifier.logs/v1");
    assert_eq!(json["data"]["events"].as_array().map(Vec::len), Some(2), "{json:#}");
    let csv = ask(&cluster, &["notifier", "logs", "--activations", "-o", "csv"]).success();
    assert!(csv.starts_with("pod,at,event,address") && csv.lines().count() == 3, "{csv}");
    let none = ask(&cluster, &["notifier", "logs", "--source", "internal_pod"]);
    assert!(none.stdout.is_empty() && none.stderr.contains("--echo"), "{none}");
    let never = ask(&cluster, &["notifier", "logs", "-f", "-o", "json"]).fails_with(2);
    assert!(never.contains("ndjson"), "{never}");
}

#[test]
fn a_table_holds_the_newest_without_probes() {
    let environment = TestEnvironment::new();
    let rows = |words: &[&str]| {
        let outcome = environment.demo(&[&["notifier", "logs"], words].concat());
        assert_eq!(outcome.code, Some(0), "{outcome}");
        let rows: Vec<String> = outcome.stdout.lines().skip(1).map(str::to_owned).collect();
        (rows, outcome.stderr)
    };
    let (plain, talk) = rows(&[]);
    assert!(plain.iter().all(|row| !row.contains(" probe ")), "{plain:#?}");
    assert!(talk.contains("probes are not shown; --probes shows them."), "{talk}");
    let (probes, talk) = rows(&["--probes"]);
    assert_eq!(probes.len(), 200, "the newest");
    assert!(talk.contains("older entries are not shown"), "{talk}");
    let (all, talk) = rows(&["--probes", "--since", "24h"]);
    assert!(all.len() > 200 && all.ends_with(&probes), "{talk}");
    assert!(!talk.contains("not shown"), "{talk}");
    assert_eq!(rows(&["--probes", "--tail", "3"]).0, all[all.len() - 3..]);
    let requests = all.iter().filter(|row| !row.contains(" probe "));
    assert_eq!(requests.cloned().collect::<Vec<_>>(), plain);
    let lines = environment.demo(&["notifier", "logs", "-o", "ndjson"]);
    assert_eq!(lines.success().lines().count(), all.len());
    let (none, talk) = rows(&["--source", "internal_pod"]);
    assert!(none.is_empty() && talk.contains("--probes"), "{talk}");
}

#[test]
fn a_silent_follower_says_that_it_lives() {
    let mut world = World::new("kms-0");
    let Some(cluster) = FakeCluster::start(&["--world", &world.path()]) else {
        return;
    };
    world.activate();
    let follower = Follower::start(&cluster.kubeconfig().display().to_string(), &[]);
    follower.until("PC-1\"");
    std::thread::sleep(Duration::from_secs(12));
    world.activate();
    follower.until("PC-2\"");
    let (_, talk) = follower.stop();
    assert!(
        talk.contains("Following kms-0; Ctrl-C ends.") && talk.contains("Nothing new for 10s."),
        "{talk}"
    );
}

#[test]
fn a_giant_without_an_end_is_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("echo");
    let text = format!("before\n{}", "x".repeat(3_000_000));
    std::fs::write(&log, text).expect("a log");
    let log = log.display().to_string();
    let Some(cluster) = FakeCluster::start(&["--notifier-log", &log, "--vlmcsd-log", &log]) else {
        return;
    };
    for more in [&[][..], &["--server"]] {
        let words = [&["notifier", "logs", "-o", "json"], more].concat();
        let outcome = ask(&cluster, &words);
        let shown: serde_json::Value = serde_json::from_str(&outcome.stdout).expect("JSON");
        assert_eq!(
            shown["warnings"][0]["code"], "line-left-out",
            "{more:?}: {:#}",
            shown["warnings"]
        );
    }
}

#[test]
fn a_line_that_is_too_long_is_told_and_costs_itself_only() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("echo");
    let text = format!("before\n{}\nbehind\n", "x".repeat(3_000_000));
    std::fs::write(&log, text).expect("a log");
    let log = log.display().to_string();
    let Some(cluster) = FakeCluster::start(&["--notifier-log", &log]) else {
        return;
    };
    let outcome = ask(&cluster, &["notifier", "logs", "-o", "json"]);
    let shown: serde_json::Value = serde_json::from_str(&outcome.stdout).expect("JSON");
    assert_eq!(outcome.code, Some(0), "{shown:#}");
    let texts: Vec<&serde_json::Value> = shown["data"]["events"]
        .as_array()
        .expect("events")
        .iter()
        .map(|event| &event["text"])
        .collect();
    assert_eq!(texts, ["before", "behind"]);
    let warnings = shown["warnings"].as_array().expect("warnings");
    assert_eq!(warnings.len(), 1, "{shown:#}");
    assert_eq!(warnings[0]["code"], "line-left-out");
    let said = warnings[0]["message"].as_str().expect("a message");
    assert!(said.ends_with("a line of 2.8 MiB was left out."), "{said}");
}

#[test]
fn a_pod_without_the_side_car_is_told_as_such() {
    let Some(cluster) = FakeCluster::start(&["--scenario", "no-sidecar"]) else {
        return;
    };
    let told = ask(&cluster, &["notifier", "logs"]).fails_with(2);
    assert!(
        told.contains("no container slack-notifier") && told.contains("cluster.notifier_container"),
        "{told}"
    );
    let kubeconfig = cluster.kubeconfig().display().to_string();
    let follower = Follower::start(&kubeconfig, &[]);
    // The pods are looked at at once; there is nothing else to wait for.
    std::thread::sleep(Duration::from_secs(3));
    let (_, told) = follower.stop();
    assert!(told.contains("The pod has no container slack-notifier."), "{told}");
}

#[test]
fn no_line_of_a_pod_acts_on_the_terminal() {
    let folder = tempfile::tempdir().expect("a folder");
    let echo = folder.path().join("echo");
    let hostile = "\u{1b}[2J\u{9b}31m\u{202e}x\r\u{7}";
    let event = serde_json::json!({"event": "activation", "address": "203.0.113.9", "workstation": hostile, "product": hostile});
    let giant = "x".repeat(200_000);
    std::fs::write(&echo, format!("{event}\n{hostile}\n{giant}\nafter\n")).expect("a log");
    let server = format!("2026-05-10 13:12:17: Workstation name                : {hostile}\n");
    std::fs::write(folder.path().join("server"), server).expect("a log");
    let (echo, server) =
        (echo.display().to_string(), folder.path().join("server").display().to_string());
    let Some(cluster) = FakeCluster::start(&["--notifier-log", &echo, "--vlmcsd-log", &server])
    else {
        return;
    };
    for form in ["table", "json", "ndjson", "csv"] {
        for more in [&[][..], &["--server"]] {
            let text = ask(&cluster, &[&["notifier", "logs", "-o", form], more].concat()).success();
            let acting =
                text.chars().find(|character| character.is_control() && *character != '\n');
            assert_eq!(acting, None, "{form} {more:?}: {text:?}");
            assert!(!text.contains('\u{202e}') && text.len() < 100_000, "{form}");
            assert!(!more.is_empty() || text.contains("after"), "{form}: {text}");
        }
    }
}

#[test]
fn the_servers_file_needs_exec_and_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("vlmcsd.log").display().to_string();
    std::fs::copy(
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/vlmcsd/busy.old.log"),
        &file,
    )
    .expect("a log");
    for denied in ["get:pods/exec,create:pods/exec", "create:pods/exec"] {
        let Some(cluster) = FakeCluster::start(&["--deny", denied, "--vlmcsd-log", &file]) else {
            return;
        };
        let told = ask(&cluster, &["notifier", "logs", "--server"]).fails_with(5);
        assert!(told.contains("pods/exec") && told.contains("get and create"), "{told}");
        let told = ask(&cluster, &["notifier", "logs", "--server", "-f"]).fails_with(5);
        assert!(told.contains("get and create"), "{told}");
    }
    let Some(cluster) = FakeCluster::start(&["--deny", "get:pods/log", "--vlmcsd-log", &file])
    else {
        return;
    };
    let told = ask(&cluster, &["notifier", "logs"]).fails_with(5);
    assert!(told.contains("pods/log"), "{told}");
    let lines = ask(&cluster, &["notifier", "logs", "--server"]).success();
    assert_eq!(lines.lines().count(), 200);
    let replayed = TestEnvironment::new().run(&["notifier", "replay", &file, "-o", "json"]).json();
    // The same reader: the same events.
    let events = ask(
        &cluster,
        &["notifier", "logs", "--server", "--activations", "--since", "3650d", "-o", "json"],
    )
    .json();
    let summary = &replayed["data"]["summary"];
    let wanted = summary["activations"].as_u64().expect("a number")
        + summary["refusals"].as_u64().expect("a number");
    assert_eq!(events["data"]["events"].as_array().map(|list| list.len() as u64), Some(wanted));
    let Some(cluster) = FakeCluster::start(&["--vlmcsd-log", "/nonexistent/log"]) else {
        return;
    };
    let told = ask(&cluster, &["notifier", "logs", "--server"]).fails_with(5);
    assert!(told.contains("No such file"), "{told}");
}

#[test]
fn pods_that_may_not_be_listed_are_not_absent() {
    let Some(cluster) = FakeCluster::start(&["--deny", "list:pods,list:endpointslices"]) else {
        return;
    };
    for more in [&[][..], &["--server"], &["--activations"], &["-o", "json"]] {
        let told = ask(&cluster, &[&["notifier", "logs"], more].concat()).fails_with(5);
        assert!(told.contains("may not list pods in kms"), "{more:?}: {told}");
    }
    let Some(cluster) = FakeCluster::start(&["--scenario", "no-pod"]) else {
        return;
    };
    let none = ask(&cluster, &["notifier", "logs"]);
    assert!(none.stderr.contains("There is no pod"), "{none}");
    assert_eq!(none.code, Some(0));
}

/// Few lines, and each as long as one may be: the newest are kept, as many as fit.
#[test]
fn long_lines_of_a_log_fill_no_memory() {
    let Some(cluster) = FakeCluster::start(&[]) else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let program = folder.path().join("kubectl");
    for (byte, words) in [
        ("x", &["-o", "json"][..]),
        (r"\033", &["--server", "-o", "csv"]),
        (r"\377", &["--since", "10000h"]),
    ] {
        let flood = format!(
            r#"case " $* " in
*" logs "* | *" exec "*)
    line=$(head -c 60000 /dev/zero | LC_ALL=C tr '\0' '{byte}')
    yes "$line" | head -n 3000 ;;
*) exec kubectl "$@" ;;
esac
"#
        );
        write_program(&program, &flood);
        let environment = TestEnvironment::new()
            .without("KMSCTL_DEMO_NOW")
            .variable("KMSCTL_CLUSTER_KUBECONFIG", cluster.kubeconfig().display().to_string())
            .variable("KMSCTL_CLUSTER_KUBECTL", program.display().to_string());
        let words = [&["notifier", "logs", "--timeout", "60s"], words].concat();
        let run = measured(environment.command(&words));
        let case = format!("{byte} {words:?}: {:?}, {} MiB", run.code, run.peak);
        assert_eq!(run.code, Some(0), "{case}: {}", run.stderr);
        assert!(run.stderr.contains("older") || run.stdout.contains("older"), "{case}");
        assert!(run.peak <= 256, "{case}");
        eprintln!("{case}");
    }
}

/// A log that drips for ever, as kubectl prints it where a proxy holds the stream open.
#[test]
fn a_log_without_an_end_is_bound_by_the_timeout() {
    let Some(cluster) = FakeCluster::start(&[]) else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let program = folder.path().join("kubectl");
    let flood = r#"case " $* " in
*" logs "* | *" exec "*) exec yes "" ;;
*) exec kubectl "$@" ;;
esac
"#;
    let drip = r#"case " $* " in
*" logs "* | *" exec "*)
    left=300
    while [ $left -gt 0 ]; do
        echo "2026-01-01T00:00:00Z event=probe source=external address=203.0.113.9"
        sleep 0.2
        left=$((left - 1))
    done ;;
*) exec kubectl "$@" ;;
esac
"#;
    let since = ["--since", "10000h"];
    for (script, more) in
        [(drip, &since[..]), (drip, &["--server"]), (flood, &since), (flood, &["--server"])]
    {
        write_program(&program, script);
        let began = Instant::now();
        let outcome = TestEnvironment::new()
            .without("KMSCTL_DEMO_NOW")
            .variable("KMSCTL_CLUSTER_KUBECONFIG", cluster.kubeconfig().display().to_string())
            .variable("KMSCTL_CLUSTER_KUBECTL", program.display().to_string())
            .run(&[&["notifier", "logs", "--timeout", "2s"], more].concat());
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
        assert!(script == flood || outcome.stdout.contains("203.0.113.9"), "{outcome}");
        let talk = outcome.fails_with(5);
        assert!(talk.contains("did not end within 2s") && talk.contains("--timeout"), "{talk}");
    }
}

/// What leaves every line out is named, and not the notifier's own `--echo`, which it runs with.
#[test]
fn an_empty_answer_names_the_flags_that_emptied_it() {
    for (flags, words) in [
        (&["--include", "no such line"][..], "lines that were read fits --include."),
        (&["--exclude", "."], "lines that were read fits --exclude."),
        (&["--until", "2001-01-01T00:00:00Z"], "lines that were read fits --until."),
        (
            &["--source", "external", "--include", "no such line"],
            "lines that were read fits --include and --source.",
        ),
    ] {
        let shown = TestEnvironment::new().demo(&[&["notifier", "logs"], flags].concat());
        let text = format!("{}{}", shown.stdout, shown.stderr);
        assert!(text.contains(words) && !text.contains("--echo"), "{flags:?}: {text}");
    }
}
