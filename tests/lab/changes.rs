//! `expose revoke --verify` and `expose restore --verify` against real packets. The firewall's end can be changed: real
//! PHP runs the agent over the stand-in for pfSense, and the router follows what that loads, unless it is told not to.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::MutexGuard;

use serde_json::Value;

use crate::net::{self, CLOSED, FORWARDING, Lab, OUTSIDE, Rules, WAN, ssh_vantage};
use crate::support::boxes::{Fixture, Version};
use crate::support::changing::ChangingBox;
use crate::support::php;

/// A lab whose firewall lets itself be changed.
struct Changing {
    lab: Lab,
    php_box: ChangingBox,
    _alone: MutexGuard<'static, ()>,
}

/// Read by the lab's pfctl before it answers: what the stand-in has loaded, and the router made like it.
const FOLLOW: &str = "\
nat=0; filter=0; blocked=0
if grep -q k8s_kms_lb BOX/pf/sn; then nat=1; fi
if grep -q k8s_kms_lb BOX/pf/sr; then filter=1; fi
if [ ! -e HOME/stuck ] && [ \"$(cat HOME/followed)\" != \"$nat$filter\" ]; then
    { echo 'delete table ip lab'; cat \"HOME/rules-$nat$filter.nft\"; } | ip netns exec ROUTER nft -f - && echo \"$nat$filter\" > HOME/followed
fi
";

impl Changing {
    /// Makes a lab with an open exposure; `None`, said aloud, where that is not possible here.
    fn new(transport: &str, vantage: &str) -> Option<Self> {
        if !net::permitted() || !php::available() {
            return None;
        }
        let alone = net::alone();
        let lab = Lab::new(FORWARDING);
        let php_box = ChangingBox::new(Version::V272, Fixture::Editor);
        let home = lab.environment.home().display().to_string();
        for (name, rules) in [
            ("11", FORWARDING),
            ("00", CLOSED),
            ("10", Rules { filter: false, ..FORWARDING }),
            ("01", Rules { nat: false, ..FORWARDING }),
        ] {
            let path = lab.file(&format!("rules-{name}.nft"));
            std::fs::write(path, Lab::ruleset(rules)).unwrap();
        }
        std::fs::write(lab.file("followed"), "11\n").unwrap();
        let follow = FOLLOW
            .replace("BOX", &php_box.php().path().display().to_string())
            .replace("HOME", &home)
            .replace("ROUTER", &lab.at("rtr"));
        std::fs::write(lab.file("pf"), follow).unwrap();
        let words: String = php_box
            .php()
            .environment()
            .iter()
            .map(|(name, value)| format!("{name}='{value}' "))
            .collect();
        let program = lab.file("php");
        let text = format!("#!/bin/sh\nexec env {words}{}\n", php_box.php().interpreter());
        std::fs::write(&program, text).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        lab.configure(transport, &format!("public_address = \"{WAN}\"\n{vantage}"));
        Some(Self { lab, php_box, _alone: alone })
    }

    /// Runs kmsctl and returns its data, its exit code, and everything it said.
    fn run(&self, arguments: &[&str]) -> (Value, Option<i32>, String) {
        let (output, _) = self.lab.kmsctl("op", &[arguments, &["-o", "json"]].concat());
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        let json: Value = serde_json::from_str(&stdout).unwrap_or_default();
        (json["data"].clone(), output.status.code(), stdout + &stderr)
    }

    /// What the history says of the change.
    fn history(&self, id: &Value) -> Value {
        let id = id.as_str().unwrap();
        let (data, code, told) = self.run(&["history", id, "--local"]);
        assert_eq!(code, Some(0), "{told}");
        data
    }
}

fn vps() -> String {
    ssh_vantage(OUTSIDE, "")
}

#[test]
fn a_revoke_and_a_restore_are_proven_by_packets() {
    for transport in ["openssh", "russh"] {
        let control = "control = \"198.51.100.1:443\"";
        let Some(mut lab) = Changing::new(transport, &ssh_vantage(OUTSIDE, control)) else {
            return;
        };
        lab.lab.serve("rtr", "silence", "198.51.100.1:443", "");
        lab.lab.serve("inn", "ack", "10.0.20.202:1688", "");
        let (data, code, told) = lab.run(&["expose", "revoke", "--verify", "--yes"]);
        assert_eq!((code, &data["outcome"]), (Some(0), &"done".into()), "{told}");
        let outside = &data["outside"];
        assert_eq!(outside["verdict"], "closed", "{told}");
        assert_eq!(outside["vantages"][0]["port"], "filtered (no-response)");
        assert!(outside["firewall"]["dropped"].as_u64() >= Some(3), "{told}");
        assert_eq!(lab.history(&data["id"])["finish"]["outside"], *outside);

        let (data, code, told) = lab.run(&["expose", "restore", "--verify", "--yes"]);
        assert_eq!((code, &data["outcome"]), (Some(0), &"done".into()), "{told}");
        assert_eq!(data["outside"]["verdict"], "open", "{told}");
        assert!(data["outside"]["firewall"]["forwarded"].as_u64() >= Some(1), "{told}");
    }
}

#[test]
fn a_router_that_still_forwards_is_found_out() {
    let Some(mut lab) = Changing::new("russh", &vps()) else {
        return;
    };
    lab.lab.serve("inn", "ack", "10.0.20.202:1688", "");
    std::fs::write(lab.lab.file("stuck"), "").unwrap();
    let (data, code, told) = lab.run(&["expose", "revoke", "--verify", "--for", "30m", "--yes"]);
    assert_eq!((code, &data["outcome"]), (Some(7), &"unverified".into()), "{told}");
    assert_eq!(data["after"]["exposure"], "closed", "pf's own proof: {told}");
    assert_eq!(data["outside"]["verdict"], "open", "{told}");
    assert_eq!(data["outside"]["firewall"]["lets_in"], false, "{told}");
    for part in ["still OPEN", OUTSIDE, "rollback stays armed"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert_eq!(lab.history(&data["id"])["finish"]["ended"], "unverified");
    assert!(
        lab.php_box.left_over().iter().any(|name| name.starts_with("kmsctl-")),
        "the rollback is armed"
    );
    // What is not proven is still the change that undo means.
    std::fs::remove_file(lab.lab.file("stuck")).unwrap();
    let (data, code, told) = lab.run(&["undo", "--yes"]);
    assert_eq!((code, &data["outcome"]), (Some(0), &"done".into()), "{told}");
}

#[test]
fn an_opening_whose_server_is_dead_is_not_called_done() {
    let Some(lab) = Changing::new("russh", &vps()) else {
        return;
    };
    let (_, code, told) = lab.run(&["expose", "revoke", "--yes"]);
    assert_eq!(code, Some(0), "{told}");
    let (data, code, told) = lab.run(&["expose", "restore", "--verify", "--for", "30m", "--yes"]);
    assert_eq!((code, &data["outcome"]), (Some(7), &"unverified".into()), "{told}");
    assert_eq!(data["outside"]["verdict"], "closed", "{told}");
    assert_eq!(data["outside"]["vantages"][0]["port"], "closed (reset)");
    assert!(data["reverts_at"].is_string(), "{told}");
    for part in ["no server listens", "rollback stays armed"] {
        assert!(told.contains(part), "{part}: {told}");
    }
}

#[test]
fn without_a_proof_it_says_so_and_leaves_the_rollback_armed() {
    let unreachable = vps().replace("2222", "2223");
    let Some(lab) = Changing::new("russh", &unreachable) else {
        return;
    };
    let (data, code, told) = lab.run(&["expose", "revoke", "--verify", "--for", "30m", "--yes"]);
    assert_eq!((code, &data["outcome"]), (Some(8), &"unverified".into()), "{told}");
    assert_eq!(data["outside"]["verdict"], "inconclusive", "{told}");
    for part in ["is not proven", "rollback stays armed", "refuses connections"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(
        lab.php_box.left_over().iter().any(|name| name.starts_with("kmsctl-")),
        "the rollback is armed"
    );
}

#[test]
fn a_vantage_that_is_not_configured_is_refused_before_anything_is_changed() {
    let Some(lab) = Changing::new("russh", "") else {
        return;
    };
    let before = lab.php_box.config();
    let (_, code, told) = lab.run(&["expose", "revoke", "--verify", "--yes"]);
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("No vantage is configured"), "{told}");
    assert_eq!(lab.php_box.config(), before);
}
