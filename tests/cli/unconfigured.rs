//! Without a configuration: reads say which firewall is meant, changes are refused, and the demo stands alone.

use std::os::unix::fs::PermissionsExt as _;

use crate::support::boxes::{Fixture, Version};
use crate::support::environment::TestEnvironment;
use crate::support::live::LiveBox;
use crate::support::sshd::Options;

/// An environment that names no firewall. Its `ssh` reaches nothing, so that the built-in address is never contacted.
fn nameless() -> TestEnvironment {
    let environment = TestEnvironment::new().without("KMSCTL_FIREWALL_HOST");
    let programs = environment.home().join("bin");
    std::fs::create_dir(&programs).expect("a directory");
    let ssh = programs.join("ssh");
    std::fs::write(
        &ssh,
        "#!/bin/sh\necho 'ssh: connect to host: Connection refused' >&2\nexit 255\n",
    )
    .expect("a program");
    std::fs::set_permissions(&ssh, std::fs::Permissions::from_mode(0o755)).expect("a program");
    let path = format!("{}:/usr/bin:/bin", programs.display());
    environment
        .variable("PATH", path)
        .variable("KMSCTL_FIREWALL_TRANSPORT", "openssh")
        .private_runtime()
}

#[test]
fn every_change_without_configuration_is_refused() {
    let environment = nameless();
    for change in [
        &["expose", "revoke", "--yes"][..],
        &["expose", "restore", "--yes"],
        &["expose", "apply", "--yes"],
        &["ratelimit", "tighten", "--yes"],
        &["virusprot", "flush", "--yes"],
        &["virusprot", "expire", "--yes"],
        &["states", "kill", "--all", "--yes"],
        &["doctor", "--clean", "--yes"],
        &["keep", "x", "--yes"],
        &["undo", "--yes"],
        &["expose", "revoke"],
    ] {
        let outcome = environment.run(change);
        let shown = outcome.to_string();
        let stderr = outcome.fails_with(2);
        assert!(stderr.contains("kmsctl config init"), "{change:?}: {shown}");
        assert!(stderr.contains("--demo"), "{change:?}: {shown}");
        assert!(!stderr.contains("Connection refused"), "{change:?}: {shown}");
    }
}

#[test]
fn reads_say_the_built_in_firewall_once() {
    for read in [&["status"][..], &["virusprot", "show"], &["history"]] {
        let outcome = nameless().run(read);
        let lines: Vec<&str> = outcome
            .stderr
            .lines()
            .filter(|line| line.contains("admin@10.0.20.1"))
            .filter(|line| line.contains("kmsctl config init") && line.contains("--demo"))
            .collect();
        assert_eq!(lines.len(), 1, "{read:?}: {outcome}");
    }
    let quiet = nameless().run(&["--quiet", "status"]);
    assert!(!quiet.stderr.contains("config init"), "{quiet}");
}

#[test]
fn a_file_without_a_host_names_no_firewall() {
    for text in
        ["", "[service]\nport = 1688\n", "[firewall]\nuser = \"admin\"\n", "color = \"never\"\n"]
    {
        let environment = nameless();
        environment.write_config(text);
        let refused = environment.run(&["expose", "revoke", "--yes"]).fails_with(2);
        assert!(refused.contains("names your firewall"), "{text}: {refused}");
        let read = environment.run(&["status"]);
        assert!(read.stderr.contains("the built-in admin@10.0.20.1"), "{text}: {read}");
    }
}

#[test]
fn a_file_or_the_environment_is_a_configuration() {
    let named = nameless().variable("KMSCTL_FIREWALL_HOST", "127.0.0.1");
    let filed = nameless();
    filed.write_config("[firewall]\nhost = \"127.0.0.1\"\n");
    for environment in [named, filed] {
        let outcome = environment.run(&["expose", "revoke", "--yes"]);
        assert!(!outcome.stderr.contains("config init"), "{outcome}");
        assert_eq!(outcome.code, Some(5), "{outcome}");
    }
}

#[test]
fn the_demo_reads_no_configuration() {
    for text in ["not toml at all", "[service]\nport = 9999\n", "[firewall]\nhots = \"x\"\n"] {
        let environment = nameless();
        let alone = environment.demo(&["expose", "show"]).success();
        environment.write_config(text);
        assert_eq!(environment.demo(&["expose", "show"]).success(), alone, "{text}");
        let file = environment.config_file().display().to_string();
        let environment = environment.variable("KMSCTL_CONFIG", file);
        assert_eq!(environment.demo(&["expose", "show"]).success(), alone, "{text}");
        environment.demo(&["ratelimit", "tighten", "--yes"]).success();
    }
}

/// The configuration names a firewall alone: the built-in address of the service is one of another network.
#[test]
fn the_built_in_address_is_never_written() {
    let editor = Fixture::Editor.xml(Version::V272);
    let other = String::from_utf8(editor).expect("UTF-8").replace("10.0.20.202", "10.0.30.7");
    for xml in [Fixture::EmptySections.xml(Version::V272), other.into_bytes()] {
        let Some(mut live) = LiveBox::of_xml(Options::default(), "russh", Version::V272, &xml)
        else {
            return;
        };
        let before = live.firewall.config();
        for words in [&["--yes"][..], &["--dry-run"], &["--plan-out", "plan.json"]] {
            let said = live.environment.run(&[&["expose", "apply"], words].concat()).fails_with(2);
            for part in ["10.0.20.202", "service.address", "`kmsctl config init`"] {
                assert!(said.contains(part), "{part}: {said}");
            }
            assert_eq!(live.firewall.config(), before);
        }
        for look in ["doctor", "verify"] {
            let shown = live.environment.run(&[look]).to_string();
            assert!(!shown.contains("Make 10.0.20.202"), "{look}: {shown}");
        }
        live.environment = live.environment.variable("KMSCTL_SERVICE_ADDRESS", "10.0.30.9");
        live.environment.run(&["expose", "apply", "--yes"]).success();
        assert!(live.firewall.config().contains("10.0.30.9"));
    }
    // What the alias of the firewall holds already is no other network's.
    let Some(live) = LiveBox::start("russh") else {
        return;
    };
    live.environment.run(&["ratelimit", "tighten", "--yes"]).success();
    live.environment.run(&["expose", "apply", "--yes"]).success();
}
