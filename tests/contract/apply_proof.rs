//! The proof of a change asks no less than the look before it: what cannot be read proves nothing and takes nothing back,
//! and an alias is proven in pf's own table.

use kmsctl::domain::pfsense::change::{
    ChangeEnding, ConfigurationEdit, Element, OutcomeAnswer, Records,
};
use kmsctl::pfsense::agent::{AgentRequest, ApplyRequest};

use super::agent::boxes::{Fixture, Version};
use super::agent::changing::ChangingBox;
use super::agent::php;
use super::apply::{answer, apply, asked, back, caps, done, reading, send};
use super::apply_failures::{NEW, OLD, open, wanted};

const TABLE: &str = "pf/table-k8s_kms_lb";

/// The records of the exposure, with these members in the alias.
fn with_members(firewall: &mut ChangingBox, members: &str) -> ConfigurationEdit {
    let outcome = done(firewall, "look", wanted());
    let mut records: Records = outcome.after;
    let alias = records.alias.as_mut().expect("an alias");
    let Element::Map(fields) = &mut alias.record else {
        panic!("a record");
    };
    for (name, value) in fields {
        if name == "address" {
            *value = Element::Text(members.to_owned());
        }
    }
    ConfigurationEdit::PutBack { records: Box::new(records), alias: true }
}

#[test]
fn a_changed_alias_is_in_pf() {
    if !php::available() {
        return;
    }
    for version in Version::ALL {
        for members in [
            "10.0.20.203",
            "10.0.20.202 10.0.20.204",
            "10.0.20.0/24",
            "",
            "k8s_shared_lb 10.0.20.9",
        ] {
            let mut firewall = ChangingBox::new(version, Fixture::Editor);
            assert_eq!(firewall.text(TABLE), "10.0.20.202\n");
            let change = with_members(&mut firewall, members);
            let outcome = done(&mut firewall, "c1", change);
            let loaded = firewall.text(TABLE);
            let mut loaded: Vec<&str> = loaded.lines().collect();
            let mut wanted: Vec<&str> =
                members.split(' ').filter(|member| !member.is_empty()).collect();
            for name in &mut wanted {
                if *name == "k8s_shared_lb" {
                    *name = "10.0.20.200";
                }
            }
            loaded.sort_unstable();
            wanted.sort_unstable();
            assert_eq!(loaded, wanted, "{version:?} {members}: {outcome:#?}");
        }
    }
}

#[test]
fn a_rollback_refreshes_the_alias_too() {
    if !php::available() {
        return;
    }
    for version in Version::ALL {
        let mut firewall = ChangingBox::new(version, Fixture::Editor);
        let change = with_members(&mut firewall, "10.0.20.203");
        let request =
            ApplyRequest { revert_at: Some(4_000_000_000), ..asked(&mut firewall, "c1", change) };
        assert_eq!(send(&mut firewall, request.clone()).result, ChangeEnding::Done);
        assert_eq!(firewall.text(TABLE), "10.0.20.203\n", "{version:?}");
        firewall.make_due(&request.id);
        firewall.tick();
        assert_eq!(firewall.text(TABLE), "10.0.20.202\n", "{version:?}");
        assert_eq!(firewall.left_over(), Vec::<String>::new());
    }
}

#[test]
fn another_alias_table_is_not_proven() {
    if !php::available() {
        return;
    }
    // Somebody takes the member out of pf's table, or puts one in, as the ruleset is loaded.
    for line in
        ["none|-t k8s_kms_lb -T show", "fail|-t k8s_kms_lb -T show", "busy|-t k8s_kms_lb -T show"]
    {
        let mut firewall = open();
        let request = asked(&mut firewall, "c1", wanted());
        firewall.php().write("pfctl-trouble-after-load", line.as_bytes());
        let outcome = send(&mut firewall, request);
        assert_eq!(outcome.result, ChangeEnding::Unproven, "{line}: {outcome:#?}");
        assert!(firewall.text("pf/sr").contains(NEW), "{line}: it stays");
    }
}

/// What the agent asks of pf.
const ASKED: [&str; 4] = ["-P -sr", "-P -sn", "-si", "-t k8s_kms_lb -T show"];

#[test]
fn what_is_unread_takes_nothing_back() {
    if !php::available() {
        return;
    }
    for version in Version::ALL {
        for what in ASKED {
            for kind in ["fail", "cut", "busy", "none"] {
                if what == "-si" && kind == "cut" {
                    continue; // Its first line is all that is asked.
                }
                let line = format!("{kind}|{what}");
                let mut firewall = ChangingBox::new(version, Fixture::Editor);
                let request = ApplyRequest {
                    revert_at: Some(4_000_000_000),
                    ..asked(&mut firewall, "c1", wanted())
                };
                firewall.php().write("pfctl-trouble-after-load", line.as_bytes());
                let outcome = send(&mut firewall, request.clone());
                assert_eq!(
                    outcome.result,
                    ChangeEnding::Unproven,
                    "{version:?} {line}: {outcome:#?}"
                );
                assert!(firewall.text("pf/sr").contains(NEW), "{line}: it stays");
                assert_eq!(outcome.reverts_at, Some(4_000_000_000), "{line}");
                assert_eq!(reading(&mut firewall).armed.len(), 1, "{line}: its rollback stays");
                assert_eq!(reading(&mut firewall).unfinished, vec![]);
                let _ = std::fs::remove_file(firewall.file("pfctl-trouble"));
                firewall.make_due(&request.id);
                firewall.tick();
                assert!(firewall.text("pf/sr").contains(OLD), "{line}: taken back");
            }
        }
    }
}

/// Has a case of a shell's `case` look at what pfctl is asked first; the real one is `$real`.
fn wrap_pfctl(firewall: &ChangingBox, case: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    let real = firewall.text("pfctl");
    firewall.php().write("pfctl-real", real.as_bytes());
    let path = firewall.file("pfctl-real");
    let executable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&path, executable).expect("an executable");
    let path = path.display();
    let text =
        format!("#!/bin/sh\nreal='{path}'\ncase \"$*\" in\n{case}\nesac\nexec \"$real\" \"$@\"\n");
    firewall.php().write("pfctl", text.as_bytes());
}

/// Has pfctl's list of rules edited by sed before the agent sees it.
fn edit_rules(firewall: &ChangingBox, script: &str) {
    let case = format!("'-P -sr') \"$real\" \"$@\" | sed '{script}'; exit ;;");
    wrap_pfctl(firewall, &case);
}

#[test]
fn what_pf_runs_instead_is_found_and_taken_back() {
    if !php::available() {
        return;
    }
    for (script, said) in [
        ("s/max-src-conn 10,/max-src-conn 100,/", "other caps: max-src-conn 100"),
        ("s/max-src-conn 10, //", "other caps"),
        ("s/max-src-conn-rate 3.60/max-src-conn-rate 3\\/600/", "other caps"),
        ("s/max-src-conn-rate 3.60/max-src-conn-rate 13\\/60/", "other caps"),
        ("s/, max-src-conn-rate 3.60//", "other caps"),
        ("/max-src-conn 10,/s/port = 1688/port = 1689/", "another port"),
        ("/max-src-conn 10,/d", "does not run the filter rule"),
        ("/max-src-conn 10,/s/ridentifier 1/ridentifier 11/", "does not run the filter rule"),
    ] {
        let mut firewall = open();
        let at_first = firewall.ours();
        let request = asked(&mut firewall, "c1", caps(Some(10), Some((3, 60))));
        edit_rules(&firewall, script);
        let outcome = send(&mut firewall, request);
        assert_eq!(outcome.result, ChangeEnding::RolledBack, "{script}: {outcome:#?}");
        assert!(outcome.message.contains(said), "{script}: {}", outcome.message);
        assert_eq!(firewall.ours(), at_first, "{script}");
    }
}

/// Has pf lose lines of these lists with each load of the new caps, if the shell's `also` holds: pfctl does not show them,
/// and says nothing about it.
fn lose_lines(firewall: &ChangingBox, lists: &[&str], also: &str) {
    let lists = lists.join("' | '");
    let case = format!(
        "'{lists}') if grep -q '{NEW}' '{}' && {also}; then \"$real\" \"$@\" | sed /k8s_kms_lb/d; exit; fi ;;",
        firewall.file("pf/sr").display()
    );
    wrap_pfctl(firewall, &case);
}

/// What pf runs without the rules is read, however often it is asked: it speaks against the change.
#[test]
fn what_pf_lost_is_taken_back() {
    if !php::available() {
        return;
    }
    let mut versions = Version::ALL.into_iter().cycle();
    for lists in [&["-P -sn"][..], &["-P -sr"], &["-P -sn", "-P -sr"]] {
        for at in ["0 nothing", "kmsctl_prove kill", "filter_configure_sync: loaded kill"] {
            let version = versions.next().expect("a version");
            let mut firewall = ChangingBox::new(version, Fixture::Editor).with_moments();
            let at_first = firewall.ours();
            let request = asked(&mut firewall, "c1", wanted());
            lose_lines(&firewall, lists, "true");
            firewall.php().write("at", at.as_bytes());
            firewall.ask(&AgentRequest::Apply(Box::new(request)));
            firewall.php().write("at", b"0 nothing");
            firewall.tick();
            let case = format!("{version:?} {lists:?} {at}");
            is_taken_back(&mut firewall, &at_first, &case);
        }
        versions.next();
    }
}

fn is_taken_back(firewall: &mut ChangingBox, at_first: &str, case: &str) {
    let answer = answer(firewall, "c1", false);
    let OutcomeAnswer::Ended { outcome } = answer else {
        panic!("{case}: {answer:?}");
    };
    assert_eq!(outcome.result, ChangeEnding::RolledBack, "{case}: {outcome:#?}");
    assert_eq!(firewall.ours(), at_first, "{case}: {outcome:#?}");
    assert_eq!(firewall.left_over(), Vec::<String>::new(), "{case}");
}

/// The process dies between pf's load and pfSense's own copy of what it loaded, and the job's load loses the rules too.
#[test]
fn what_two_loads_lost_is_taken_back() {
    if !php::available() {
        return;
    }
    for version in Version::ALL {
        for times in 2..=3 {
            let mut firewall = ChangingBox::new(version, Fixture::Editor).with_moments();
            let at_first = firewall.ours();
            let request = asked(&mut firewall, "c1", wanted());
            firewall.trouble(&format!("rule-lost {times}"));
            firewall.php().write("at", b"filter_configure_sync: loaded kill");
            firewall.ask(&AgentRequest::Apply(Box::new(request)));
            firewall.php().write("at", b"0 nothing");
            for _ in 0..3 {
                firewall.tick();
            }
            is_taken_back(&mut firewall, &at_first, &format!("{version:?} {times}"));
        }
    }
}

/// A list that is another one when it is asked for again, without a word from pfctl, is not read.
#[test]
fn a_list_that_changes_is_unread() {
    if !php::available() {
        return;
    }
    let mut firewall = open();
    let request = asked(&mut firewall, "c1", wanted());
    let asked = firewall.file("asked");
    let first = format!("[ ! -e '{0}' ] && : >'{0}'", asked.display());
    lose_lines(&firewall, &["-P -sn"], &first);
    let outcome = send(&mut firewall, request);
    assert_eq!(outcome.result, ChangeEnding::Unproven, "{outcome:#?}");
    assert!(firewall.text("pf/sr").contains(NEW), "it stays");
}

#[test]
fn a_closing_that_pf_contradicts_stays_closed() {
    if !php::available() {
        return;
    }
    for change in [ConfigurationEdit::Disable, ConfigurationEdit::Delete] {
        let mut firewall = open();
        let request = asked(&mut firewall, "c1", change);
        let other = "rdr on vtnet0 inet proto tcp from any to 192.168.1.2 port = 1688 -> <k8s_kms_lb> round-robin\n";
        firewall.php().write("nat-above", other.as_bytes());
        let outcome = send(&mut firewall, request);
        assert_eq!(outcome.result, ChangeEnding::Unproven, "{outcome:#?}");
        assert!(outcome.message.contains("pf still runs the"), "{}", outcome.message);
        assert!(!firewall.text("pf/sn").contains("k8s_kms_lb"), "ours is gone");
        assert_eq!(firewall.left_over(), Vec::<String>::new());
    }
}

#[test]
fn a_closing_that_cannot_be_read_back_stays_closed() {
    if !php::available() {
        return;
    }
    for what in ["-P -sr", "-P -sn", "-si"] {
        for kind in ["fail", "cut", "busy", "none"] {
            if what == "-si" && kind == "cut" {
                continue;
            }
            let mut firewall = open();
            let request = asked(&mut firewall, "c1", ConfigurationEdit::Disable);
            let line = format!("{kind}|{what}");
            firewall.php().write("pfctl-trouble-after-load", line.as_bytes());
            let outcome = send(&mut firewall, request);
            assert_eq!(outcome.result, ChangeEnding::Unproven, "{line}: {outcome:#?}");
            assert!(!firewall.text("pf/sn").contains("k8s_kms_lb"), "{line}: closed");
        }
    }
}

#[test]
fn a_race_that_ends_is_waited_for() {
    if !php::available() {
        return;
    }
    let mut firewall = open();
    let request = asked(&mut firewall, "c1", wanted());
    firewall.php().write("pfctl-trouble-after-load", b"busy|-P -sr|2");
    assert_eq!(send(&mut firewall, request).result, ChangeEnding::Done);
}

/// Disables or enables both rules in the configuration alone, as a GUI toggle that was not applied.
fn toggle(firewall: &ChangingBox, disabled: bool) {
    let config = firewall.config();
    let (from, to) = if disabled {
        ("<rule>", "<rule><disabled></disabled>")
    } else {
        ("<disabled></disabled>", "")
    };
    let pieces: Vec<String> = config
        .split("</rule>")
        .map(|piece| {
            let ours = piece.contains("k8s_kms_lb");
            if ours { piece.replacen(from, to, 1) } else { piece.to_owned() }
        })
        .collect();
    firewall.php().write("conf/config.xml", pieces.join("</rule>").as_bytes());
}

#[test]
fn nothing_to_do_needs_pf_to_agree() {
    if !php::available() {
        return;
    }
    for version in Version::ALL {
        for pending in [&["filter", "natconf"][..], &["natconf"], &["aliases"], &[]] {
            let mut firewall = ChangingBox::new(version, Fixture::Editor);
            toggle(&firewall, true);
            for name in pending {
                firewall.php().write(&format!("run/{name}.dirty"), b"");
            }
            let request = asked(&mut firewall, "c1", ConfigurationEdit::Disable);
            assert!(firewall.text("pf/sn").contains("k8s_kms_lb"), "still loaded");
            if !pending.is_empty() {
                let refused = send(&mut firewall, request.clone());
                assert_eq!(refused.result, ChangeEnding::Pending, "{pending:?}");
            }
            let config = firewall.config();
            let outcome = send(&mut firewall, ApplyRequest { with_pending: true, ..request });
            assert_eq!(outcome.result, ChangeEnding::Done, "{version:?} {pending:?}: {outcome:#?}");
            assert!(!firewall.text("pf/sn").contains("k8s_kms_lb"), "closed");
            assert!(!firewall.text("pf/sr").contains("k8s_kms_lb"), "closed");
            assert_eq!(firewall.config(), config, "nothing is written");
            assert_eq!(firewall.left_over(), Vec::<String>::new());
            let again = asked(&mut firewall, "c2", ConfigurationEdit::Disable);
            assert_eq!(send(&mut firewall, again).result, ChangeEnding::NothingToDo);
            toggle(&firewall, false);
            assert_eq!(done(&mut firewall, "c3", ConfigurationEdit::Enable).reverts_at, None);
            assert!(firewall.text("pf/sn").contains("k8s_kms_lb"), "open");
        }
    }
}

#[test]
fn a_drifted_alias_is_loaded_again() {
    if !php::available() {
        return;
    }
    for members in ["", "10.0.20.9\n", "10.0.20.202\n10.0.20.9\n"] {
        let mut firewall = open();
        firewall.php().write(TABLE, members.as_bytes());
        done(&mut firewall, "c1", ConfigurationEdit::Enable);
        assert_eq!(firewall.text(TABLE), "10.0.20.202\n", "{members}");
    }
}

#[test]
fn loading_what_is_written_takes_nothing_back() {
    if !php::available() {
        return;
    }
    for trouble in ["load-silent", "load-error", "rule-lost", "load-throws"] {
        let mut firewall = open();
        toggle(&firewall, true);
        let config = firewall.config();
        let request = asked(&mut firewall, "c1", ConfigurationEdit::Disable);
        firewall.trouble(trouble);
        let outcome = send(&mut firewall, request);
        let wanted =
            if trouble == "rule-lost" { ChangeEnding::Done } else { ChangeEnding::Unproven };
        assert_eq!(outcome.result, wanted, "{trouble}: {outcome:#?}");
        assert_eq!(firewall.config(), config, "{trouble}");
    }
}

#[test]
fn a_killed_load_is_loaded_by_the_job() {
    if !php::available() {
        return;
    }
    let mut firewall = open().with_moments();
    toggle(&firewall, true);
    let request = asked(&mut firewall, "c1", ConfigurationEdit::Disable);
    firewall.php().write("at", b"filter_configure_sync: called kill");
    firewall.ask(&AgentRequest::Apply(Box::new(request)));
    assert!(firewall.text("pf/sn").contains("k8s_kms_lb"), "still loaded");
    firewall.tick();
    assert!(!firewall.text("pf/sn").contains("k8s_kms_lb"), "closed");
    assert_eq!(firewall.left_over(), Vec::<String>::new());
}

/// A firewall on which a change of the caps was interrupted, by `at` or because pfSense's code throws as it loads.
fn unsettled(version: Version, at: Option<&str>) -> ChangingBox {
    let mut firewall = ChangingBox::new(version, Fixture::Editor).with_moments();
    let request = asked(&mut firewall, "c1", wanted());
    match at {
        Some(at) => firewall.php().write("at", at.as_bytes()),
        None => firewall.trouble("load-throws"),
    }
    firewall.ask(&AgentRequest::Apply(Box::new(request)));
    firewall.trouble("");
    let _ = std::fs::remove_file(firewall.file("at"));
    firewall
}

#[test]
fn a_closing_takes_over_what_is_unfinished() {
    if !php::available() {
        return;
    }
    for version in Version::ALL {
        for at in [
            None,
            Some("kmsctl_claim kill"),
            Some("kmsctl_arm kill"),
            Some("kmsctl_write kill"),
            Some("filter_configure_sync: called kill"),
            Some("kmsctl_prove kill"),
        ] {
            let changes: &[ConfigurationEdit] = if version == Version::V272 {
                &[ConfigurationEdit::Disable, ConfigurationEdit::Delete]
            } else {
                &[ConfigurationEdit::Delete]
            };
            for change in changes {
                let mut firewall = unsettled(version, at);
                let unfinished = reading(&mut firewall).unfinished.len();
                assert_eq!(
                    unfinished,
                    usize::from(at != Some("kmsctl_claim kill") && at != Some("kmsctl_arm kill")),
                    "{at:?}"
                );
                let outcome = done(&mut firewall, "c2", change.clone());
                let told = outcome.steps.iter().any(|step| step.name == "take-over");
                assert_eq!(told, at != Some("kmsctl_claim kill"), "{at:?}: {outcome:#?}");
                assert!(!firewall.text("pf/sn").contains("k8s_kms_lb"), "{at:?}: closed");
                assert_eq!(firewall.left_over(), Vec::<String>::new(), "{at:?}");
                firewall.tick();
                assert!(!firewall.text("pf/sn").contains("k8s_kms_lb"), "{at:?}: it stays closed");
                if let OutcomeAnswer::Ended { outcome } = answer(&mut firewall, "c1", false) {
                    assert_ne!(outcome.result, ChangeEnding::Done, "{at:?}");
                }
            }
        }
    }
}

#[test]
fn a_closing_disarms_what_would_open_again() {
    if !php::available() {
        return;
    }
    let mut firewall = open();
    done(&mut firewall, "c0", ConfigurationEdit::Disable);
    let opened = ApplyRequest {
        revert_at: Some(4_000_000_000),
        ..asked(&mut firewall, "c1", ConfigurationEdit::Enable)
    };
    assert_eq!(send(&mut firewall, opened.clone()).result, ChangeEnding::Done);
    done(&mut firewall, "c2", ConfigurationEdit::Delete);
    assert_eq!(reading(&mut firewall).armed, vec![]);
    assert_eq!(firewall.left_over(), Vec::<String>::new());
}

#[test]
fn half_written_files_are_seen_at_once() {
    if !php::available() {
        return;
    }
    let mut firewall = unsettled(Version::V272, Some("kmsctl_claim kill"));
    // A process that is dead, and this one, which is not.
    firewall.php().write("conf/kmsctl/.claim-4194303", b"{}");
    let alive = format!("conf/kmsctl/.claim-{}", std::process::id());
    firewall.php().write(&alive, b"{}");
    let files = reading(&mut firewall).leftovers;
    let mut stale = files.iter().filter(|file| file.stale);
    assert!(stale.any(|file| file.path.ends_with("/.claim-4194303")), "{files:#?}");
    assert!(
        !files.iter().any(|file| alive.ends_with(&file.path) || file.path.ends_with(&alive)),
        "{files:#?}"
    );
}

#[test]
fn what_the_parser_loses_is_found_before_the_write() {
    if !php::available() {
        return;
    }
    for version in Version::ALL {
        for (tag, unit) in [("k8s_shared_lb", "&eacute; "), ("kms_ports", "&amp;&eacute; ")] {
            // On the development branch only what XML knows is an entity.
            let unit = if version == Version::Master { "a&amp;b &lt; " } else { unit };
            let mut firewall = ChangingBox::new(version, Fixture::Editor);
            let detail = format!("<detail><![CDATA[{}]]></detail></alias>", unit.repeat(6_000));
            let config = firewall.config();
            let place = config.find(&format!("<name>{tag}</name>")).expect("the alias");
            let end = place + config[place..].find("</alias>").expect("its end");
            let config = [&config[..end], &detail, &config[end + "</alias>".len()..]].concat();
            firewall.php().write("conf/config.xml", config.as_bytes());
            let request = asked(&mut firewall, "c1", wanted());
            let outcome = send(&mut firewall, request);
            assert_eq!(outcome.result, ChangeEnding::Refused, "{version:?} {tag}: {outcome:#?}");
            assert!(outcome.message.contains("section aliases"), "{}", outcome.message);
            assert!(outcome.message.contains("no other writer"), "{}", outcome.message);
            assert_eq!(outcome.lost_update, None);
            assert_eq!(firewall.config(), config, "nothing is written");
            assert_eq!(reading(&mut firewall).leftovers, []);
        }
    }
}

/// The stand-in's firewall, with aliases of ports beside the exposure.
fn with_port_aliases(version: Version) -> ChangingBox {
    let alias = |name: &str, ports: &str| {
        format!(
            "<alias><name>{name}</name><type>port</type><address>{ports}</address><descr></descr><detail></detail></alias>"
        )
    };
    let xml = String::from_utf8(Fixture::Editor.xml(version)).expect("a text");
    let aliases = [alias("kms_port", "1688"), alias("kms_ports", "443 1688 1600:1700")];
    let with = xml.replacen("<aliases>", &format!("<aliases>{}", aliases.concat()), 1);
    assert_ne!(xml, with);
    ChangingBox::of_xml(version, with.as_bytes())
}

/// All that counts as the pair is found again in pf's lists: every spelling of its ports and of its target.
#[test]
fn what_counts_as_the_pair_is_proven() {
    if !php::available() {
        return;
    }
    // Outside port, inside port, target, and port and address of the filter rule.
    let shapes = [
        ["1688", "1688", "10.0.20.202/32", "1688", "10.0.20.202"],
        ["1688-1688", "1688", "k8s_kms_lb", "1688", "k8s_kms_lb"],
        ["1600-1700", "1600", "k8s_kms_lb", "1600-1700", "k8s_kms_lb"],
        ["1688:1690", "1688", "10.0.20.202", "1688:1690", "10.0.20.202/32"],
        ["1688", "1688", "k8s_kms_lb", "1600:1700", "k8s_kms_lb"],
        ["1688", "1688", "k8s_kms_lb", "kms_ports", "k8s_kms_lb"],
        ["kms_port", "kms_port", "k8s_kms_lb", "kms_port", "k8s_kms_lb"],
        ["kms_ports", "kms_ports", "k8s_kms_lb", "kms_ports", "k8s_kms_lb"],
    ];
    let mut contradicted = Vec::new();
    for (shape, version) in shapes.into_iter().zip(Version::ALL.into_iter().cycle()) {
        let [outside, inside, target, port, address] = shape;
        let mut firewall = with_port_aliases(version);
        let mut records = done(&mut firewall, "d", ConfigurationEdit::Delete).before;
        let side = |host: (&str, &str), port| Element::of_texts([host, ("port", port)]);
        let nat = &mut records.nat.as_mut().expect("a forward").record;
        nat.set_child("destination", side(("network", "wanip"), outside));
        nat.set_child("local-port", inside);
        nat.set_child("target", target);
        let filter = &mut records.filter.as_mut().expect("a filter rule").record;
        filter.set_child("destination", side(("address", address), port));
        let mut disabled = records.clone();
        for placed in [&mut disabled.nat, &mut disabled.filter] {
            placed.as_mut().expect("a record").record.set_child("disabled", "");
        }
        let changes = [
            back(&records),
            wanted(),
            back(&disabled),
            ConfigurationEdit::Enable,
            back(&records),
            ConfigurationEdit::Disable,
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let what = change.edit_words();
            let outcome = apply(&mut firewall, &format!("c{number}"), change);
            // The edit itself may refuse what is for more than the service.
            if !matches!(
                outcome.result,
                ChangeEnding::Done | ChangeEnding::Refused | ChangeEnding::NothingToDo
            ) {
                contradicted.push(format!("{version:?} {shape:?} {what}: {}", outcome.message));
            }
        }
    }
    assert!(contradicted.is_empty(), "{contradicted:#?}");
}

#[test]
fn members_are_proven_as_pf_prints_them() {
    if !php::available() {
        return;
    }
    for members in ["10.0.20.202/32", "10.0.20.9/24 10.0.20.202/32"] {
        let mut firewall = open();
        let change = with_members(&mut firewall, members);
        done(&mut firewall, "c1", change);
    }
}
