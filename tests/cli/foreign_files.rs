//! Files and directories that are not this user's, not readable, or not files: none of them is believed, and none is taken
//! for "there is no configuration". Other users' files need root, and are skipped aloud without.

use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::environment::TestEnvironment;
use crate::support::live::LiveBox;
use crate::support::pods::make_pipe;

const ANOTHER: u32 = 65534;

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().expect("id");
    let root = id.stdout == b"0\n";
    if !root {
        eprintln!("SKIPPED: files of another user need root");
    }
    root
}

fn refused(environment: &TestEnvironment, arguments: &[&str], wanted: &str) {
    let said = environment.run(arguments).fails_with(2);
    assert!(said.contains(wanted), "{arguments:?}: {said}");
}

const READ: &[&str] = &["config", "check"];

/// Makes a change in the demo; returns where a file of its state lies.
fn changed_demo(name: &str) -> (TestEnvironment, PathBuf) {
    let environment = TestEnvironment::new();
    environment.demo(&["ratelimit", "tighten", "--yes"]).success();
    let state = environment.home().join(".local/state/kmsctl/demo");
    (environment, state.join(name))
}

#[test]
fn a_configuration_of_another_user_is_refused() {
    if !is_root() {
        return;
    }
    let environment = TestEnvironment::new();
    environment.write_config("[service]\nport = 1688\n");
    environment.run(READ).success();
    chown(environment.config_file(), Some(ANOTHER), None).expect("root may");
    refused(&environment, READ, "another user");
    refused(&environment, &["status"], "another user");
    // A link is judged by its target.
    let real = environment.home().join("real.toml");
    std::fs::rename(environment.config_file(), &real).expect("a rename");
    symlink(&real, environment.config_file()).expect("a link");
    refused(&environment, READ, "another user");
    chown(&real, Some(0), None).expect("root may");
    environment.run(READ).success();
}

#[test]
fn a_configuration_directory_of_another_user_is_refused() {
    if !is_root() {
        return;
    }
    let environment = TestEnvironment::new();
    environment.write_config("[service]\nport = 1688\n");
    let file = environment.config_file();
    let directory = file.parent().expect("a directory").to_owned();
    for there in [true, false] {
        if !there {
            std::fs::remove_file(&file).expect("it is ours");
        }
        chown(&directory, Some(ANOTHER), None).expect("root may");
        refused(&environment, READ, "another user");
        refused(&environment, &["status"], "another user");
        // A link is judged by its target, and by who has made it.
        let real = environment.home().join("real");
        std::fs::rename(&directory, &real).expect("a rename");
        symlink(&real, &directory).expect("a link");
        refused(&environment, READ, "another user");
        chown(&real, Some(0), None).expect("root may");
        environment.run(READ).success();
        lchown(&directory, Some(ANOTHER), None).expect("root may");
        refused(&environment, READ, "another user");
        std::fs::remove_file(&directory).expect("it is ours");
        std::fs::rename(&real, &directory).expect("a rename");
    }
}

#[test]
fn a_configuration_that_others_may_write_is_refused() {
    let environment = TestEnvironment::new();
    environment.write_config("[service]\nport = 1688\n");
    for mode in [0o664, 0o646, 0o666] {
        std::fs::set_permissions(environment.config_file(), std::fs::Permissions::from_mode(mode))
            .expect("it is ours");
        refused(&environment, READ, "others may write it");
    }
    std::fs::set_permissions(environment.config_file(), std::fs::Permissions::from_mode(0o640))
        .expect("it is ours");
    environment.run(READ).success();
}

#[test]
fn a_mounted_config_map_is_read() {
    let environment = TestEnvironment::new();
    let mount = environment.home().join("mount");
    let data = mount.join("..2026_03_01");
    std::fs::create_dir_all(&data).expect("a directory");
    std::fs::set_permissions(&mount, std::fs::Permissions::from_mode(0o777)).expect("it is ours");
    std::fs::write(data.join("config.toml"), "[service]\nport = 1689\n").expect("a file");
    symlink("..2026_03_01", mount.join("..data")).expect("a link");
    symlink("..data/config.toml", mount.join("config.toml")).expect("a link");
    let shown = environment.run(&["--config", "mount/config.toml", "config", "show"]).success();
    assert!(shown.contains("1689"), "{shown}");
}

#[test]
fn what_cannot_be_read_is_not_missing() {
    let environment = TestEnvironment::new();
    let file = environment.config_file();
    let directory = file.parent().expect("a directory").to_owned();
    std::fs::create_dir_all(directory.parent().expect("a directory")).expect("a directory");
    environment.run(READ).success();
    // Dangling links: the file, then its directory.
    std::fs::create_dir(&directory).expect("a directory");
    symlink("nowhere", &file).expect("a link");
    refused(&environment, READ, "cannot be read");
    std::fs::remove_dir_all(&directory).expect("it is ours");
    symlink("nowhere", &directory).expect("a link");
    refused(&environment, READ, "cannot be read");
    refused(&environment, READ, "remove the link");
    std::fs::remove_file(&directory).expect("it is ours");
    // A file, and a link to one, in the directory's place; then in the place of the directory that holds it.
    std::fs::write(&directory, "").expect("a file");
    refused(&environment, READ, "cannot be read");
    std::fs::rename(&directory, environment.home().join("file")).expect("it is ours");
    symlink(environment.home().join("file"), &directory).expect("a link");
    refused(&environment, READ, "cannot be read");
    std::fs::remove_file(&directory).expect("it is ours");
    let above = directory.parent().expect("a directory");
    std::fs::remove_dir_all(above).expect("it is ours");
    std::fs::write(above, "").expect("a file");
    refused(&environment, READ, "cannot be read");
    std::fs::remove_file(above).expect("it is ours");
    // A directory in the file's place, and a link that leads to itself.
    std::fs::create_dir_all(&file).expect("a directory");
    refused(&environment, READ, "cannot be read");
    std::fs::remove_dir(&file).expect("it is ours");
    symlink(&file, &file).expect("a link");
    refused(&environment, READ, "cannot be read");
}

#[test]
fn an_unreadable_directory_is_no_missing_file() {
    if !is_root() {
        return;
    }
    let environment = TestEnvironment::new();
    environment.write_config("[service]\nport = 1688\n");
    let directory = environment.config_file();
    let directory = directory.parent().expect("a directory");
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o000)).expect("ours");
    std::fs::set_permissions(environment.home(), std::fs::Permissions::from_mode(0o755))
        .expect("ours");
    // Root reads everything, so an account without rights looks.
    let binary = environment.home().join("kmsctl");
    // By another process: one of ours that starts meanwhile would hold the copy open for writing.
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_kmsctl")).arg(&binary).status();
    assert!(copied.expect("cp").success());
    let output = environment
        .command(READ)
        .get_envs()
        .fold(Command::new("setpriv"), |mut command, (name, value)| {
            if let Some(value) = value {
                command.env(name, value);
            }
            command
        })
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .arg(&binary)
        .args(READ)
        .output()
        .expect("setpriv is there");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

/// Runs a command and returns its exit code; what waits for a pipe is ended and named.
#[track_caller]
fn code_in_time(mut command: Command) -> Option<i32> {
    const PATIENCE: Duration = Duration::from_secs(20);
    let start = Instant::now();
    let mut child =
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("kmsctl runs");
    while start.elapsed() < PATIENCE && child.try_wait().expect("a child").is_none() {
        std::thread::sleep(Duration::from_millis(20));
    }
    let waited = start.elapsed();
    let _ = child.kill();
    let status = child.wait().expect("a child");
    assert!(waited < PATIENCE, "{command:?} waits");
    status.code()
}

/// A pipe in the place of a file that kmsctl itself keeps, or that the configuration names, is not waited for.
#[test]
fn a_pipe_in_any_files_place_never_waits() {
    let names = [
        "journal.head",
        "journal.000001.jsonl",
        "aside-1.jsonl",
        "last-reading.json",
        "state.json",
        "lock",
        "client_key",
        "host_key",
    ];
    std::thread::scope(|scope| {
        for name in names {
            scope.spawn(move || {
                let (environment, file) = changed_demo(name);
                let _ = std::fs::remove_file(&file);
                make_pipe(&file);
                for arguments in [
                    &["--demo", "status"][..],
                    &["--demo", "history"],
                    &["--demo", "expose", "revoke", "--yes"],
                    &["--demo", "demo", "reset"],
                ] {
                    let code = code_in_time(environment.command(arguments));
                    assert!(code.is_some(), "{name}: {arguments:?}");
                }
            });
        }
    });
    let environment = TestEnvironment::new().private_runtime();
    let at = |name: &str| environment.home().join(name);
    for pipe in ["known_hosts", "identity", "identity.pub", "key", "key.pub"] {
        make_pipe(&at(pipe));
    }
    std::fs::remove_file(at("key")).expect("a pipe");
    std::fs::copy(crate::support::sshd::key("client"), at("key")).expect("a key");
    for (known_hosts, identity) in [("known_hosts", "key"), ("none", "identity"), ("none", "key")] {
        environment.write_config(&format!(
            "[firewall]\nhost = \"127.0.0.1\"\nport = 1\ntransport = \"russh\"\nknown_hosts = \"{}\"\nidentity = \"{}\"\n",
            at(known_hosts).display(),
            at(identity).display(),
        ));
        for arguments in [&["status"][..], &["doctor"]] {
            let mut command = environment.command(arguments);
            command.env_remove("KMSCTL_FIREWALL_HOST");
            assert!(code_in_time(command).is_some(), "{arguments:?}");
        }
    }
}

/// A pipe that a log is to be read from, or ssh its configuration, is refused; what a shell puts in a command's place is not.
#[test]
fn a_named_pipe_to_read_from_is_refused() {
    let environment = TestEnvironment::new().private_runtime();
    let pipe = environment.home().join("pipe");
    make_pipe(&pipe);
    let named = pipe.display().to_string();
    for words in [
        &["--demo", "notifier", "replay", &named][..],
        &["--demo", "ratelimit", "preview", "tighten", "--log", &named],
        &["virusprot", "show"],
    ] {
        let mut command = environment.command(words);
        command.env("KMSCTL_FIREWALL_SSH_CONFIG", &pipe).env("KMSCTL_FIREWALL_PORT", "1");
        command.env("KMSCTL_FIREWALL_TRANSPORT", "openssh");
        assert_eq!(code_in_time(command), Some(2), "{words:?}");
    }
    let log = environment.home().join("log");
    std::fs::write(&log, "").expect("a file");
    let mut command = Command::new("bash");
    let made = environment.command(&[]);
    command.envs(made.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.args([
        "-c",
        r#"exec "$0" --demo notifier replay <(cat "$1")"#,
        env!("CARGO_BIN_EXE_kmsctl"),
    ]);
    command.arg(&log);
    assert_eq!(code_in_time(command), Some(0));
}

/// A look at a history that is no file is refused, and so is a change; what closes the port is never stopped by it.
#[test]
fn a_history_that_is_no_file_stops_no_revoke() {
    let puts = |what: &str, path: &Path| match what {
        "a pipe" => make_pipe(path),
        "a directory" => std::fs::create_dir(path).expect("a directory"),
        _ => symlink(path, path).expect("a link"),
    };
    for what in ["a directory", "a pipe", "a link to itself"] {
        for name in ["journal.jsonl", "journal.000001.jsonl"] {
            let (environment, history) = changed_demo(name);
            let _ = std::fs::remove_file(&history);
            puts(what, &history);
            for look in [&["history", "--local"][..], &["history", "--verify"], &["undo", "--yes"]]
            {
                let said = environment.demo(look).fails_with(2);
                assert!(said.contains(name), "{what}, {look:?}: {said}");
            }
            if name == "journal.jsonl" {
                let said = environment.demo(&["ratelimit", "loosen", "--yes"]).fails_with(2);
                assert!(said.contains(name), "{what}: {said}");
            }
            environment.demo(&["expose", "revoke", "--dry-run"]).success();
            let closed = environment.demo(&["expose", "revoke", "--yes", "-o", "json"]);
            assert_eq!(closed.code, Some(0), "{what}: {closed}");
            if name == "journal.jsonl" {
                assert!(closed.stderr.contains("history cannot be kept"), "{what}: {closed}");
                assert!(closed.stderr.contains("expose restore"), "{what}: {closed}");
                assert!(!closed.stderr.contains("kmsctl undo ID"), "{what}: {closed}");
                assert!(closed.stdout.contains("\"undo\": null"), "{what}: {closed}");
            }
            environment.demo(&["expose", "show", "--expect", "closed"]).success();
        }
    }
}

/// Neither does one that another user planted, or a directory that cannot be written.
#[test]
fn a_foreign_history_stops_no_revoke() {
    if !is_root() {
        return;
    }
    for planted in ["journal.jsonl", "journal.head", "aside-1.jsonl"] {
        let (environment, file) = changed_demo(planted);
        std::fs::write(&file, "planted\n").expect("a file");
        chown(&file, Some(ANOTHER), None).expect("root may");
        let closed = environment.demo(&["expose", "revoke", "--yes"]);
        assert_eq!(closed.code, Some(0), "{planted}: {closed}");
        environment.demo(&["expose", "show", "--expect", "closed"]).success();
    }
}

/// A record beside the history that another user planted is no offer to undo.
#[test]
fn a_foreign_record_beside_the_history_is_not_undone() {
    if !is_root() {
        return;
    }
    let (environment, history) = changed_demo("journal.jsonl");
    let directory = history.parent().expect("a directory");
    let text = std::fs::read_to_string(&history).expect("a history");
    let planted = text.lines().enumerate().map(|(place, line)| {
        let path = directory.join(format!("aside-{place}.jsonl"));
        std::fs::write(&path, format!("{line}\n")).expect("a file");
        chown(&path, Some(ANOTHER), None).expect("root may");
        path
    });
    let planted: Vec<PathBuf> = planted.collect();
    for name in ["journal.jsonl", "journal.head"] {
        std::fs::remove_file(directory.join(name)).expect("it is ours");
    }
    let said = environment.demo(&["undo", "--yes"]).stderr;
    assert!(said.contains("nothing to take back"), "{said}");
    environment.demo(&["virusprot", "flush", "--yes"]).success();
    let verified = environment.demo(&["history", "--verify"]);
    for path in planted {
        assert!(path.exists(), "{}", path.display());
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        assert!(verified.stdout.contains(name), "{verified}");
    }
    assert!(verified.stdout.contains("another user"), "{verified}");
}

#[test]
fn a_pipe_as_configuration_never_waits() {
    let environment = TestEnvironment::new();
    make_pipe(&environment.home().join("pipe"));
    for arguments in [&["--config", "pipe", "config", "check"][..], &["--config", "pipe", "status"]]
    {
        assert_eq!(code_in_time(environment.command(arguments)), Some(2));
    }
}

#[test]
fn variables_that_are_no_text_are_refused() {
    let environment = TestEnvironment::new();
    for name in ["KMSCTL_CONFIG", "KMSCTL_DEMO", "KMSCTL_SERVICE_PORT", "KMSCTL_ODD"] {
        let value = std::ffi::OsString::from_vec(b"\xff".to_vec());
        let output =
            environment.command(&["status"]).env(name, value).output().expect("kmsctl runs");
        assert_eq!(output.status.code(), Some(2), "{name}: {output:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(name), "{said}");
    }
}

#[test]
fn without_a_home_no_history_is_kept() {
    let environment = TestEnvironment::new();
    for arguments in [
        &["history", "--local"][..],
        &["virusprot", "flush", "--yes"],
        &["expose", "revoke", "--yes"],
    ] {
        let output =
            environment.command(arguments).env_remove("HOME").output().expect("kmsctl runs");
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("XDG_STATE_HOME"), "{said}");
    }
}

#[test]
fn planted_directories_are_refused_for_root_too() {
    if !is_root() {
        return;
    }
    let environment = TestEnvironment::new().private_runtime();
    for planted in ["r/kmsctl", ".local/state/kmsctl"] {
        let path = environment.home().join(planted);
        std::fs::create_dir_all(&path).expect("a directory");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).expect("ours");
        chown(&path, Some(ANOTHER), None).expect("root may");
        let arguments: &[&str] = match planted {
            "r/kmsctl" => &["status"],
            _ => &["--demo", "expose", "revoke", "--yes"],
        };
        let path_of_demo = path.join("demo");
        if planted != "r/kmsctl" {
            std::fs::create_dir_all(&path_of_demo).expect("a directory");
            chown(&path_of_demo, Some(ANOTHER), None).expect("root may");
        }
        let outcome = environment.run(arguments);
        assert!(outcome.stderr.contains("another user"), "{planted}: {outcome}");
        assert_ne!(outcome.code, Some(0));
        if planted != "r/kmsctl" {
            // What lies in another user's directory can be replaced by that user, whose ever it is now.
            for below in ["of root", "missing"] {
                chown(&path_of_demo, Some(0), None).expect("root may");
                if below == "missing" {
                    std::fs::remove_dir_all(&path_of_demo).expect("it is ours");
                }
                let outcome = environment.run(arguments);
                assert!(outcome.stderr.contains("another user"), "{below}: {outcome}");
                assert_ne!(outcome.code, Some(0), "{below}");
            }
        }
        chown(&path, Some(0), None).expect("root may");
    }
}

/// `su` and `sudo -E` keep the variable: root's sockets are not put where another user may replace them.
#[test]
fn the_runtime_directory_of_another_user_is_not_used() {
    if !is_root() {
        return;
    }
    let environment = TestEnvironment::new().private_runtime();
    let runtime = environment.home().join("r");
    let status = ["status", "--timeout", "5s"];
    let run = |environment: &TestEnvironment| {
        let mut command = environment.command(&status);
        let command = command.env("KMSCTL_FIREWALL_HOST", "127.0.0.1");
        command.env("KMSCTL_FIREWALL_PORT", "1").output().expect("kmsctl runs")
    };
    chown(&runtime, Some(ANOTHER), None).expect("root may");
    run(&environment);
    assert!(!runtime.join("kmsctl").exists());
    chown(&runtime, Some(0), None).expect("root may");
    run(&environment);
    assert!(runtime.join("kmsctl").exists());
}

/// A history that another user planted is not believed: what it says would be offered as this user's own undo.
#[test]
fn a_planted_history_is_not_read() {
    if !is_root() {
        return;
    }
    let environment = TestEnvironment::new();
    let run = |arguments: &[&str]| environment.demo(arguments);
    let made = run(&["ratelimit", "tighten", "--yes", "-o", "json"]).json();
    let id = made["data"]["id"].as_str().expect("an id").to_owned();
    let directory = environment.home().join(".local/state/kmsctl/demo");
    let journal = directory.join("journal.jsonl");
    let asking: &[&[&str]] = &[
        &["history"],
        &["history", &id],
        &["history", "--verify"],
        &["undo", "--yes"],
        &["undo", &id, "--yes"],
    ];
    for planted in [&directory, &journal] {
        chown(planted, Some(ANOTHER), None).expect("root may");
        for arguments in asking {
            let outcome = run(arguments);
            assert!(
                outcome.stderr.contains("another user"),
                "{planted:?} {arguments:?}: {outcome}"
            );
            assert_ne!(outcome.code, Some(0), "{planted:?} {arguments:?}");
        }
        chown(planted, Some(0), None).expect("root may");
    }
    run(&["undo", &id, "--yes"]).success();
}

#[test]
fn a_home_that_is_a_link_works() {
    let environment = TestEnvironment::new();
    let (real, link) = (environment.home().join("real"), environment.home().join("link"));
    std::fs::create_dir(&real).expect("a directory");
    symlink(&real, &link).expect("a link");
    let home = link.display().to_string();
    let run =
        environment.demo_with(&[("HOME", &home)], &["ratelimit", "tighten", "--yes", "-o", "json"]);
    assert_eq!(run.json()["data"]["outcome"], "done");
    let history = real.join(".local/state/kmsctl/demo/journal.jsonl");
    let mode = history.metadata().expect("a history").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

/// `/tmp/kmsctl-0`, planted before root came: in a mount namespace of its own, as the real one is everybody's. The binary is
/// opened before, as it may lie below `/tmp` itself.
#[test]
fn planted_sockets_in_tmp_are_refused() {
    if !is_root() {
        return;
    }
    let environment = TestEnvironment::new();
    let binary = Path::new(env!("CARGO_BIN_EXE_kmsctl"));
    for (arguments, mode, code) in [("status", 700, 2), ("--demo status", 777, 1)] {
        let script = format!(
            "exec 3<'{}' && mount -t tmpfs tmpfs /tmp && chmod 1777 /tmp && mkdir -m {mode} /tmp/kmsctl-0 && chown {ANOTHER} /tmp/kmsctl-0 && cd / && \
             exec env -i PATH=\"$PATH\" KMSCTL_FIREWALL_HOST=127.0.0.1 KMSCTL_FIREWALL_PORT=1 /proc/self/fd/3 {arguments}",
            binary.display()
        );
        let output = Command::new("unshare")
            .args(["--mount", "sh", "-c", &script])
            .current_dir(environment.home())
            .output()
            .expect("unshare is there");
        let said = String::from_utf8_lossy(&output.stderr);
        if said.contains("mount:") || said.contains("unshare:") {
            eprintln!(
                "SKIPPED: the planted /tmp/kmsctl-0 because there is no mount namespace: {said}"
            );
            return;
        }
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains("/tmp/kmsctl-0") && said.contains("another user"), "{said}");
    }
}

/// A master, or what is known of its host key, that another user has put into the directory before it was closed to others.
#[test]
fn a_planted_master_is_not_used() {
    let Some(live) = LiveBox::start("openssh").filter(|_| is_root()) else {
        return;
    };
    let owners = || {
        let folder = std::fs::read_dir(live.environment.home().join("r/kmsctl")).expect("a folder");
        let files = folder.map(|file| file.expect("a file"));
        let named: Vec<(PathBuf, u32)> = files
            .map(|file| (file.path(), file.metadata().expect("a file").uid()))
            .filter(|(path, _)| path.extension().is_none_or(|suffix| suffix == "key"))
            .collect();
        named
    };
    live.environment.run(&["virusprot", "show"]).success();
    let kept = owners();
    assert_eq!(kept.len(), 2, "{kept:?}");
    for (path, _) in &kept {
        lchown(path, Some(ANOTHER), None).expect("root may");
        live.environment.run(&["virusprot", "show"]).success();
        let now = owners();
        assert!(now.len() == 2 && now.iter().all(|(_, owner)| *owner == 0), "{path:?}: {now:?}");
    }
}
