//! What kmsctl reads back after a change, over OpenSSH's own sshd: what is unread is not proven, and said as that.

use crate::support::live::LiveBox;

/// What kmsctl itself asks of pf after a change.
const READ_BACK: [(&str, &[&str]); 3] =
    [("-vvPsr", &["fail", "cut", "none"]), ("-vvPsn", &["fail"]), ("-vsi", &["fail"])];

/// Runs a change behind whose load an answer of pf is spoilt; it must be called unproven.
#[track_caller]
fn unproven(line: &str, command: &[&str]) -> Option<LiveBox> {
    let live = LiveBox::start("russh")?;
    live.firewall.php().write("pfctl-trouble-after-load", line.as_bytes());
    let run = live.environment.run(&[command, &["--yes", "-o", "json"]].concat());
    assert_eq!(run.code, Some(7), "{line}: {run}");
    let shown: serde_json::Value = serde_json::from_str(&run.stdout).expect("JSON");
    assert_eq!(shown["data"]["outcome"], "unverified", "{line}: {shown:#}");
    assert!(
        shown["data"]["after"].get("exposure").is_none(),
        "{line}: what was not read is not told: {shown:#}"
    );
    Some(live)
}

#[test]
fn what_is_not_read_back_is_not_proven() {
    for (what, kinds) in READ_BACK {
        for kind in kinds {
            let line = format!("{kind}|{what}");
            let Some(live) = unproven(&line, &["expose", "revoke"]) else {
                return;
            };
            assert!(!live.redirected(), "{line}: it stays closed");
        }
    }
}

#[test]
fn caps_that_are_not_read_back_stay() {
    for (what, kinds) in READ_BACK {
        let line = format!("{}|{what}", kinds[0]);
        let Some(live) = unproven(&line, &["ratelimit", "tighten"]) else {
            return;
        };
        assert_eq!(
            live.loaded_caps().as_deref(),
            Some("max-src-conn 10, max-src-conn-rate 3/60"),
            "{line}"
        );
    }
}

#[test]
fn a_wrong_table_of_the_alias_is_told() {
    let Some(live) = LiveBox::start("russh") else {
        return;
    };
    // Its members change in the configuration, and nothing loads them: the caps are loaded, and the table with them.
    let config = live
        .firewall
        .config()
        .replace("<address>10.0.20.202</address>", "<address>10.0.20.202 10.0.20.203</address>");
    live.firewall.php().write("conf/config.xml", config.as_bytes());
    live.environment.run(&["ratelimit", "tighten", "--yes"]).success();
    let members = live.firewall.text("pf/table-k8s_kms_lb");
    assert_eq!(members, "10.0.20.202\n10.0.20.203\n");
    // Somebody empties pf's own.
    live.firewall.php().write("pfctl-trouble-after-load", b"none|-t k8s_kms_lb -T show");
    let run = live.environment.run(&["ratelimit", "loosen", "--yes"]);
    let said = run.fails_with(7);
    assert!(said.contains("lacks 10.0.20.202"), "{said}");
}

/// The rules say open, and the table that they name leads elsewhere: no look is green.
#[test]
fn a_stale_table_of_the_alias_is_seen() {
    let Some(live) = LiveBox::start("russh") else {
        return;
    };
    live.environment.run(&["expose", "show", "--expect", "open"]).success();
    for members in ["10.0.20.99\n", "10.0.20.202\n10.0.20.203\n", "10.0.20.200/29\n"] {
        live.firewall.php().write("pf/table-k8s_kms_lb", members.as_bytes());
        for look in ["expose show --expect open", "status --expect open", "verify", "doctor"] {
            let words: Vec<&str> = look.split(' ').collect();
            let run = live.environment.run(&words);
            assert_eq!(run.code, Some(3), "{look}: {run}");
            let said = run.to_string().replace('\n', " ");
            assert!(said.contains("pf's table of the alias"), "{look}: {said}");
        }
    }
    // Whom the rules let in to another machine is let in all the same.
    live.firewall.php().write("pf/table-k8s_kms_lb", b"10.0.20.99\n");
    for look in ["expose show", "status", "verify"] {
        let words: Vec<&str> = look.split(' ').chain(["--expect", "closed"]).collect();
        live.environment.run(&words).fails_with(3);
    }
    // What cannot be read is no wrong table, and not passed over either.
    live.firewall.php().write("pf/table-k8s_kms_lb", b"10.0.20.202\n");
    live.answer_pfctl("russh", "'-t k8s_kms_lb -T show') exit 1 ;;");
    let unread = "pf's table of the alias k8s_kms_lb could not be read";
    for (look, code) in [
        ("expose show", 0),
        ("expose show --expect open", 8),
        ("status --expect open", 8),
        ("verify --expect open", 3),
        ("doctor", 3),
        ("expose restore --yes", 7),
        ("expose apply --yes", 7),
        ("ratelimit default --yes", 7),
    ] {
        let words: Vec<&str> = look.split(' ').collect();
        let run = live.environment.run(&words);
        assert_eq!(run.code, Some(code), "{look}: {run}");
        let said = run.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(said.contains(unread), "{look}: {said}");
    }
}

/// Nothing to do means that pf's table of the alias agrees as well.
#[test]
fn a_stale_table_of_the_alias_is_loaded_anew() {
    for command in ["expose restore", "ratelimit default", "expose apply"] {
        let Some(live) = LiveBox::start("russh") else {
            return;
        };
        let words: Vec<&str> = command.split(' ').chain(["--yes"]).collect();
        let again = live.environment.run(&words).success();
        assert!(again.contains("Nothing to do"), "{command}: {again}");
        live.firewall.php().write("pf/table-k8s_kms_lb", b"10.0.20.99\n");
        let loaded = live.environment.run(&words).success();
        assert!(!loaded.contains("Nothing to do"), "{command}: {loaded}");
        assert_eq!(live.firewall.text("pf/table-k8s_kms_lb"), "10.0.20.202\n", "{command}");
    }
}

/// Switches the pair off, as the GUI saves it.
fn with_pair_disabled(config: &str) -> String {
    let disabled: Vec<String> = config
        .split("</rule>")
        .map(|piece| {
            if piece.contains("k8s_kms_lb") {
                piece.replacen("<rule>", "<rule><disabled></disabled>", 1)
            } else {
                piece.to_owned()
            }
        })
        .collect();
    disabled.join("</rule>")
}

/// A change of caps loads all that is saved: what that opens is asked for, and what it closes is said.
#[test]
fn caps_turn_the_exposure_only_as_said() {
    let Some(live) = LiveBox::start("russh") else {
        return;
    };
    let open = live.firewall.config();
    let save = |config: &str| live.firewall.php().write("conf/config.xml", config.as_bytes());
    save(&with_pair_disabled(&open));
    live.environment.run(&["ratelimit", "loosen", "--yes"]).fails_with(6);
    assert!(live.redirected(), "nothing is loaded");
    let closed = live.environment.run(&["ratelimit", "tighten", "--yes", "-o", "json"]).json();
    let data = &closed["data"];
    assert_eq!(
        (&data["before"]["exposure"], &data["after"]["exposure"]),
        (&"open".into(), &"closed".into())
    );
    assert_eq!(data["risks"][0]["code"], "turns-exposure", "{data:#}");
    assert!(!live.redirected());
    save(&open);
    for command in ["tighten", "loosen"] {
        let said = live.environment.run(&["ratelimit", command, "--yes"]).fails_with(6);
        assert!(said.contains("This opens the service"), "{said}");
        assert_eq!(live.firewall.config(), open, "{command}");
        assert!(!live.redirected(), "{command}");
    }
    let tighten = ["ratelimit", "tighten", "--yes", "-o", "json", "--with-pending"];
    let opened = live.environment.run(&tighten).json();
    assert_eq!(opened["data"]["after"]["exposure"], "open", "{opened:#}");
    assert!(live.redirected());
    // A list that comes back empty is no proof that it stayed so.
    live.firewall.php().write("pfctl-trouble-after-load", b"none|-vvPsn");
    let said = live.environment.run(&["ratelimit", "loosen", "--yes"]).fails_with(7);
    assert!(said.contains("was open and is"), "{said}");
}

#[test]
fn a_toggle_that_waits_is_loaded_by_revoke() {
    let Some(live) = LiveBox::start("openssh") else {
        return;
    };
    let disabled = with_pair_disabled(&live.firewall.config());
    live.firewall.php().write("conf/config.xml", disabled.as_bytes());
    assert!(live.redirected(), "not loaded yet");
    live.environment.run(&["expose", "revoke", "--yes"]).success();
    assert!(!live.redirected(), "loaded");
    assert_eq!(live.firewall.config(), disabled, "nothing is written");
}

#[test]
fn a_rollback_that_others_kept_is_told() {
    let Some(live) = LiveBox::start("russh") else {
        return;
    };
    let tightened = ["ratelimit", "tighten", "--for", "1h", "--yes", "-o", "json"];
    let change = live.environment.run(&tightened).json();
    let id = change["data"]["id"].as_str().expect("an id");
    // An administrator makes them others.
    let config = live.firewall.config();
    let config = config.replace("<max-src-conn>10<", "<max-src-conn>12<");
    live.firewall.php().write("conf/config.xml", config.as_bytes());
    let named = kmsctl::domain::pfsense::change::ChangeId::new(id).expect("an id");
    live.firewall.make_due(&named);
    live.firewall.tick();
    let list = live.environment.run(&["history", "-o", "json"]).json();
    let entry = &list["data"]["entries"][0];
    assert_eq!(entry["outcome"], "kept-by-others", "{list:#}");
    assert!(entry["reverts_at"].is_null(), "{list:#}");
    let told = live.environment.run(&["history", id]).success();
    assert!(told.contains("kept-by-others"), "{told}");
}

#[test]
fn caps_of_a_disabled_pair_are_written_only() {
    let Some(live) = LiveBox::start("russh") else {
        return;
    };
    live.environment.run(&["expose", "revoke", "--yes"]).success();
    let told = live.environment.run(&["ratelimit", "tighten", "--yes"]).success();
    assert!(told.contains("count once the rules are enabled"), "{told}");
}

#[test]
fn an_unwritten_report_keeps_the_code_of_the_change() {
    let Some(live) = LiveBox::start("russh") else {
        return;
    };
    let line = "fail|-vvPsr";
    live.firewall.php().write("pfctl-trouble-after-load", line.as_bytes());
    let full = std::fs::File::options().write(true).open("/dev/full");
    let output = live
        .environment
        .command(&["expose", "revoke", "--yes"])
        .stdout(full.expect("a full device"))
        .output()
        .expect("kmsctl runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(7), "{said}");
    assert!(said.contains("cannot be written"), "{said}");
    let history = live.environment.run(&["history", "-o", "json"]).json();
    let id = history["data"]["entries"][0]["id"].as_str();
    assert!(said.contains(id.expect("an id")), "{said}");
}
