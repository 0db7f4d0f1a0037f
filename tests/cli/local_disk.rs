//! A change on an operator's machine whose disk fills: before the firewall is touched it is refused, afterwards the
//! firewall knows what the history could not take. A limit on the size of files stands for the disk.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::support::environment::TestEnvironment;
use crate::support::live::LiveBox;
use crate::support::processes;

/// Bytes of a block, as sh's `ulimit -f` counts.
const BLOCK: usize = 512;

/// More than any other file that the demo writes.
const BEFORE: usize = 600 * BLOCK;

/// A history of [`BEFORE`] bytes in one line, which is no record.
fn with_history() -> (TestEnvironment, std::path::PathBuf) {
    let environment = TestEnvironment::new();
    environment.demo(&["ratelimit", "show"]).success();
    let directory = environment.home().join(".local/state/kmsctl/demo");
    let path = directory.join("journal.jsonl");
    std::fs::write(&path, "x".repeat(BEFORE - 1) + "\n").expect("a history");
    (environment, path)
}

/// Tightens the caps while no file may become longer than so many blocks; the tool is told by an error, as on a full disk.
fn tighten(environment: &TestEnvironment, blocks: usize) -> (Option<i32>, String) {
    let kmsctl = environment.command(&["--demo", "ratelimit", "tighten", "--yes"]);
    let limited = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", &limited])
        .arg(kmsctl.get_program())
        .args(kmsctl.get_args())
        .env_clear()
        .envs(kmsctl.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .current_dir(environment.home());
    let output = command.output().expect("sh runs");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), told)
}

fn most_connections(environment: &TestEnvironment) -> Value {
    let shown = environment.demo(&["expose", "show", "-o", "json"]).json();
    shown["data"]["caps"]["loaded"]["max_src_conn"].clone()
}

#[test]
fn a_disk_that_takes_half_of_the_first_record_stops_the_change_and_keeps_the_history() {
    let (environment, path) = with_history();
    let (code, told) = tighten(&environment, BEFORE / BLOCK + 2);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("Nothing was changed: without a history"), "{told}");
    assert_eq!(path.metadata().expect("a history").len(), BEFORE as u64);
    assert_eq!(most_connections(&environment), 50);
}

#[test]
fn a_disk_that_fills_during_the_change_costs_the_history_its_end_only() {
    let (environment, path) = with_history();
    let (code, told) = tighten(&environment, BEFORE / BLOCK + 6);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("What follows is not in the history"), "{told}");
    assert_eq!(most_connections(&environment), 10);
    let text = std::fs::read_to_string(&path).expect("a history");
    assert!(text.ends_with('\n') && text.lines().count() == 2, "no half record");
    let list = environment.demo(&["history", "--local", "-o", "json"]).json();
    let entry = &list["data"]["entries"][0];
    assert_eq!(entry["outcome"], "unknown");
    let id = entry["id"].as_str().expect("an id");
    let asked = environment.demo(&["history", id, "-o", "json"]).json();
    assert_eq!(asked["data"]["outcome"], "done", "the firewall knows");
}

/// Runs a command where a directory of the home is a full disk of its own, in a mount namespace; None (said aloud)
/// without one.
fn on_a_full_disk(
    live: &LiveBox,
    directory: &str,
    arguments: &[&str],
) -> Option<(Option<i32>, String)> {
    let mounts = "mount -t tmpfs -o size=16k,mode=700 tmpfs \"$PLACE\" || exit 99\n\
                  dd if=/dev/zero of=\"$PLACE/filler\" bs=1k 2>/dev/null";
    on_another_mount(live, directory, mounts, arguments)
}

/// Runs a command where something else is mounted at a directory of the home.
fn on_another_mount(
    live: &LiveBox,
    directory: &str,
    mounts: &str,
    arguments: &[&str],
) -> Option<(Option<i32>, String)> {
    let place = live.environment.home().join(directory);
    std::fs::create_dir_all(&place).expect("a directory");
    let kmsctl = live.environment.command(arguments);
    let script = format!("{mounts}\nexec \"$0\" \"$@\"");
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", &script])
        .arg(kmsctl.get_program())
        .args(kmsctl.get_args())
        .env_clear()
        .env("PLACE", &place)
        .envs(kmsctl.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .current_dir(live.environment.home())
        .output()
        .expect("unshare is there");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.code() == Some(99) || said.contains("unshare:") {
        eprintln!("SKIPPED: another mount because there is no mount namespace: {said}");
        return None;
    }
    Some((output.status.code(), said))
}

const STATE: &str = ".local/state/kmsctl";

#[test]
fn a_full_runtime_directory_stops_no_revoke() {
    let Some(live) = LiveBox::start("openssh") else {
        return;
    };
    let closing = ["expose", "revoke", "--yes"];
    let Some((code, said)) = on_a_full_disk(&live, "r", &closing) else {
        return;
    };
    assert_eq!(code, Some(0), "{said}");
    assert!(!live.redirected(), "it is closed");
    assert!(said.contains("not kept for the next"), "{said}");
    let runtime = live.environment.home().join("r").display().to_string();
    let left = processes::remaining(&runtime, Duration::from_secs(3));
    assert!(left.is_empty(), "{left:?}");
}

/// Before its directory was made in it, and after.
#[test]
fn a_read_only_runtime_directory_stops_no_revoke() {
    let read_only =
        "mount --bind \"$PLACE\" \"$PLACE\" && mount -o remount,bind,ro \"$PLACE\" || exit 99";
    for made in [false, true] {
        let Some(live) = LiveBox::start("openssh") else {
            return;
        };
        let runtime = live.environment.home().join("r");
        let _ = std::fs::remove_dir_all(&runtime);
        let sockets = runtime.join("kmsctl");
        std::fs::create_dir_all(if made { &sockets } else { &runtime }).expect("a directory");
        if made {
            use std::os::unix::fs::PermissionsExt as _;
            let private = std::fs::Permissions::from_mode(0o700);
            std::fs::set_permissions(&sockets, private).expect("ours");
        }
        let closing = ["expose", "revoke", "--yes"];
        let Some((code, said)) = on_another_mount(&live, "r", read_only, &closing) else {
            return;
        };
        assert_eq!(code, Some(0), "{said}");
        assert!(!live.redirected(), "it is closed");
        assert!(said.contains("not kept for the next"), "{said}");
    }
}

#[test]
fn a_full_disk_stops_no_revoke() {
    for arguments in
        [&["expose", "revoke", "--yes"][..], &["expose", "revoke", "--delete", "--yes"]]
    {
        let Some(live) = LiveBox::start("russh") else {
            return;
        };
        let before = live.loaded_caps();
        let Some((code, said)) = on_a_full_disk(&live, STATE, &["ratelimit", "tighten", "--yes"])
        else {
            return;
        };
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("without a history"), "{said}");
        assert_eq!(live.loaded_caps(), before);
        let (code, said) = on_a_full_disk(&live, STATE, arguments).expect("as before");
        assert_eq!(code, Some(0), "{said}");
        assert!(!live.redirected(), "it is closed");
        assert!(
            said.contains("`kmsctl undo` does not know it") && said.contains("expose restore"),
            "{said}"
        );
        live.environment.run(&["expose", "restore", "--yes"]).success();
        assert!(live.redirected(), "it is open again");
    }
}

/// Files that are far larger than kmsctl lets one become, though they take no room: nothing is heard while one is read.
#[test]
fn a_history_larger_than_any_is_named_and_stops_no_revoke() {
    for name in ["journal.jsonl", "journal.000001.jsonl"] {
        let environment = TestEnvironment::new();
        environment.demo(&["ratelimit", "tighten", "--yes"]).success();
        let large = environment.home().join(".local/state/kmsctl/demo").join(name);
        let mut options = std::fs::File::options();
        let file = options.create(true).append(true).open(&large).expect("a file");
        file.set_len(60 << 30).expect("a sparse file");
        let began = std::time::Instant::now();
        for look in [&["history", "--local"][..], &["history", "--verify"], &["undo", "--yes"]] {
            let said = environment.demo(look).fails_with(2);
            assert!(said.contains(name) && said.contains("move it away"), "{look:?}: {said}");
        }
        let said = environment.demo(&["ratelimit", "loosen", "--yes"]).fails_with(2);
        assert!(said.contains(name), "{said}");
        let closed = environment.demo(&["expose", "revoke", "--yes"]);
        assert_eq!(closed.code, Some(0), "{closed}");
        assert!(closed.stderr.contains(name) && closed.stderr.contains("aside-"), "{closed}");
        assert!(began.elapsed() < Duration::from_secs(20), "{name}: {:?}", began.elapsed());
        environment.demo(&["expose", "show", "--expect", "closed"]).success();
        // Once it is out of the way, what waited beside it is known.
        std::fs::remove_file(&large).expect("it is ours");
        environment.demo(&["undo", "--yes"]).success();
        environment.demo(&["expose", "show", "--expect", "open"]).success();
    }
}
