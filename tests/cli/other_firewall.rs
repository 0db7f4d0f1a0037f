//! A firewall is its host keys: plans, history, undo and keep are never applied to another box, by any way there, and
//! are applied to the same one by any name.

use kmsctl::domain::plan::Plan;

use crate::support::boxes::{Fixture, Version};
use crate::support::delay_proxy::DelayProxy;
use crate::support::live::{LiveBox, until};
use crate::support::sshd::{self, Options};

/// A box that is another one, by its host key.
fn other_box(transport: &str, host_key: &'static str) -> Option<LiveBox> {
    let options = Options { host_key, ..Options::default() };
    LiveBox::behind(options, transport, Version::V272, Fixture::Editor)
}

fn without_rsa(live: &LiveBox) {
    let text = std::fs::read_to_string(&live.sshd.known_hosts).expect("known_hosts");
    let kept: String = text
        .lines()
        .filter(|line| !line.contains("ssh-rsa"))
        .map(|line| format!("{line}\n"))
        .collect();
    std::fs::write(&live.sshd.known_hosts, kept).expect("known_hosts");
}

#[test]
fn nothing_is_applied_to_another_box() {
    for transport in ["openssh", "russh"] {
        let Some(first) = LiveBox::start(transport) else {
            return;
        };
        without_rsa(&first);
        let environment = &first.environment;
        let made =
            environment.run(&["ratelimit", "tighten", "--for", "2h", "--yes", "-o", "json"]).json();
        let id = made["data"]["id"].as_str().expect("an id").to_owned();
        environment.run(&["ratelimit", "loosen", "--plan-out", "plan.json"]).success();
        let text = std::fs::read_to_string(environment.home().join("plan.json")).expect("a plan");
        let mut nameless = Plan::read(&text).expect("a plan");
        nameless.host_key = None;
        nameless.host_keys.clear();
        let nameless = nameless.replanned(nameless.change.clone(), "demo", "apply");
        let nameless = serde_json::to_string(&nameless).expect("JSON");
        std::fs::write(environment.home().join("nameless.json"), nameless).expect("a plan");
        // A key of a kind that is recorded, and one of a kind that is not.
        for host_key in ["other_box_ed25519", "other_box_ecdsa"] {
            let Some(second) = other_box(transport, host_key) else {
                return;
            };
            without_rsa(&second);
            environment.write_config(&second.settings(transport));
            let (before, mine) =
                (second.firewall.config(), sshd::fingerprint(&sshd::key(host_key)));
            for command in [
                &["apply", "plan.json"][..],
                &["apply", "nameless.json"],
                &["undo", &id],
                &["keep", &id],
                &["keep", &id[..6], "--for", "3h"],
            ] {
                let said = environment.run(&[command, &["--yes"]].concat()).fails_with(6);
                assert!(said.contains(&mine), "both are named: {said}");
                let named =
                    said.contains(&first.sshd.fingerprint) || command.contains(&"nameless.json");
                assert!(named, "both are named: {said}");
            }
            let said = environment.run(&["undo", "--yes"]).fails_with(1);
            assert!(said.contains("nothing to take back"), "{said}");
            assert_eq!(second.firewall.config(), before);
        }
        // The same box by another name.
        let known_hosts = std::fs::read_to_string(&first.sshd.known_hosts).expect("known_hosts");
        let renamed = known_hosts.replace("[127.0.0.1]", "[localhost]");
        std::fs::write(&first.sshd.known_hosts, renamed).expect("known_hosts");
        let settings = first.settings(transport);
        environment.write_config(&settings.replace("host = \"127.0.0.1\"", "host = \"localhost\""));
        let environment_of_host = environment
            .command(&["undo", "--yes"])
            .env("KMSCTL_FIREWALL_HOST", "localhost")
            .output()
            .expect("kmsctl runs");
        assert_eq!(environment_of_host.status.code(), Some(0), "{environment_of_host:?}");
    }
}

/// Two boxes behind one address, both known: the first is lost in the middle of a change, and the second answers.
#[test]
fn a_change_never_goes_on_at_another_box() {
    for transport in ["openssh", "russh"] {
        let (Some(first), Some(second)) =
            (LiveBox::start(transport), other_box(transport, "other_box_ed25519"))
        else {
            return;
        };
        let proxy = DelayProxy::start(first.sshd.port, std::time::Duration::ZERO);
        let name = |live: &LiveBox| {
            without_rsa(live);
            let text = std::fs::read_to_string(&live.sshd.known_hosts).expect("known_hosts");
            text.replace(&format!("]:{} ", live.sshd.port), &format!("]:{} ", proxy.port))
        };
        let known = name(&first) + &name(&second);
        std::fs::write(&first.sshd.known_hosts, known).expect("known_hosts");
        let settings: String = first
            .settings(transport)
            .lines()
            .filter(|line| !line.starts_with("fingerprint"))
            .map(|line| format!("{line}\n"))
            .collect();
        let port = |port: u16| format!("port = {port}\n");
        let settings = settings.replace(&port(first.sshd.port), &port(proxy.port));
        first.environment.write_config(&settings);
        let before = second.firewall.config();
        first.hold(true);
        let kmsctl = first.spawn(&["expose", "revoke", "--yes"]);
        first.wait_until_held();
        proxy.lead_to(second.sshd.port);
        first.sshd.signal_connections("KILL");
        until("it connects again", || second.sshd.connections() > 0);
        first.hold(false);
        let output = kmsctl.wait_with_output().expect("kmsctl ends");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(8), "{transport}: {output:?}");
        assert!(said.contains("another firewall"), "{transport}: {said}");
        assert_eq!(second.sshd.sessions(), 0, "{transport}: it is asked nothing");
        assert_eq!(second.firewall.config(), before);
    }
}

#[test]
fn known_hosts_ties_a_new_kind_of_key() {
    for transport in ["openssh", "russh"] {
        let Some(first) = LiveBox::start(transport) else {
            return;
        };
        without_rsa(&first);
        let environment = &first.environment;
        environment.run(&["ratelimit", "loosen", "--plan-out", "plan.json"]).success();
        let Some(second) = other_box(transport, "other_box_ecdsa") else {
            return;
        };
        without_rsa(&second);
        environment.write_config(&second.settings(transport));
        environment.run(&["apply", "plan.json", "--yes"]).fails_with(6);
        let listed = std::fs::read_to_string(&second.sshd.known_hosts).expect("known_hosts");
        let first_key =
            std::fs::read_to_string(sshd::public(&sshd::key("host_ed25519"))).expect("a key");
        std::fs::write(
            &second.sshd.known_hosts,
            format!("{listed}[127.0.0.1]:{} {first_key}", second.sshd.port),
        )
        .expect("known_hosts");
        environment.run(&["apply", "plan.json", "--yes"]).success();
    }
}
