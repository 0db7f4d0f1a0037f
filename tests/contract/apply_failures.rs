//! Changes on a firewall on which something goes wrong, with pfSense's own ways to fail: afterwards the exposure is
//! as before or as wanted, configured and loaded alike, and the outcome says which.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;

use kmsctl::domain::change::{Answer, Change, Ending, Outcome};
use kmsctl::firewall::agent::{ApplyRequest, Request};

use super::agent::boxes::{Fixture, Version};
use super::agent::changing::ChangingBox;
use super::agent::php;
use super::apply::{answer, apply, asked, back, caps, done, reading, send};

const OLD: &str = "max-src-conn 50, max-src-conn-rate 10/60,";
const NEW: &str = "max-src-conn 20, max-src-conn-rate 5/60,";

fn wanted() -> Change {
    caps(Some(20), Some((5, 60)))
}

fn open() -> ChangingBox {
    ChangingBox::new(Version::V272, Fixture::Editor)
}

/// Applies the wanted change with something going wrong, and looks at what is there.
#[track_caller]
fn with_trouble(version: Version, trouble: &str) -> (ChangingBox, Outcome) {
    let mut firewall = ChangingBox::new(version, Fixture::Editor);
    let request = asked(&mut firewall, "c1", wanted());
    firewall.trouble(trouble);
    let outcome = send(&mut firewall, request);
    (firewall, outcome)
}

/// The exposure is as it was, configured and loaded, and nothing is left over.
#[track_caller]
fn is_old(firewall: &mut ChangingBox) {
    assert!(firewall.text("pf/sr").contains(OLD), "loaded");
    assert!(
        firewall
            .config()
            .contains("<max-src-conn>50</max-src-conn>"),
        "configured"
    );
    assert_eq!(firewall.left_over(), Vec::<String>::new());
    assert_eq!(reading(firewall).unfinished, vec![]);
}

#[test]
fn a_write_that_fails_is_told_whatever_pfsense_returns() {
    if !php::available() {
        return;
    }
    for trouble in ["write-refused", "write-error", "write-dies", "write-throws"] {
        for version in [Version::V272, Version::Master] {
            let (mut firewall, outcome) = with_trouble(version, trouble);
            assert_eq!(outcome.result, Ending::Failed, "{trouble}: {outcome:#?}");
            firewall.trouble("");
            is_old(&mut firewall);
        }
    }
}

#[test]
fn a_full_disk_costs_the_change_and_not_the_configuration() {
    if !php::available() {
        return;
    }
    // The second is cut where pfSense's parser does not notice.
    for trouble in ["disk-full 1", "disk-full-4096 1"] {
        for version in Version::ALL {
            let mut firewall = ChangingBox::new(version, Fixture::Editor);
            let request = asked(&mut firewall, "c1", wanted());
            let before = firewall.config();
            firewall.trouble(trouble);
            let outcome = send(&mut firewall, request);
            assert_eq!(outcome.result, Ending::Failed, "{trouble}: {outcome:#?}");
            assert_eq!(firewall.config(), before, "byte for byte");
            is_old(&mut firewall);
        }
    }
}

#[test]
fn little_space_is_refused_before_anything_is_written() {
    if !php::available() {
        return;
    }
    let (mut firewall, outcome) = with_trouble(Version::V272, "disk-low");
    assert_eq!(outcome.result, Ending::Refused, "{outcome:#?}");
    is_old(&mut firewall);
}

#[test]
fn what_another_writer_loses_is_kept_and_named() {
    if !php::available() {
        return;
    }
    let (firewall, outcome) = with_trouble(Version::V272, "writer-before-write 1");
    assert_eq!(outcome.result, Ending::Done, "{outcome:#?}");
    let path = outcome.lost_update.expect("the other version");
    let other = std::fs::read_to_string(path).expect("it is there");
    assert!(other.contains("<hostname>renamed</hostname>"));
    assert!(other.contains("<max-src-conn>50</max-src-conn>"));
    assert!(firewall.text("pf/sr").contains(NEW));
    assert!(
        outcome.message.contains("another writer"),
        "{}",
        outcome.message
    );
}

#[test]
fn a_writer_after_us_is_let_be() {
    if !php::available() {
        return;
    }
    let (firewall, outcome) = with_trouble(Version::V272, "writer-after-write 1");
    assert_eq!((outcome.result, outcome.lost_update), (Ending::Done, None));
    assert!(firewall.config().contains("<hostname>renamed</hostname>"));
    assert!(firewall.text("pf/sr").contains(NEW));
    let (mut firewall, outcome) = with_trouble(Version::V272, "overwritten 1");
    assert_eq!(outcome.result, Ending::Failed, "{outcome:#?}");
    assert!(
        outcome.message.contains("another writer"),
        "{}",
        outcome.message
    );
    assert!(firewall.config().contains("<hostname>renamed</hostname>"));
    is_old(&mut firewall);
}

#[test]
fn a_ruleset_that_does_not_load_is_taken_back() {
    if !php::available() {
        return;
    }
    for trouble in [
        "load-error 1",
        "load-error",
        "load-silent 1",
        "load-silent",
        "load-busy 1",
        "rules-unwritable 1",
    ] {
        for version in Version::ALL {
            let (mut firewall, outcome) = with_trouble(version, trouble);
            assert_eq!(
                outcome.result,
                Ending::RolledBack,
                "{version:?} {trouble}: {outcome:#?}"
            );
            assert_eq!(outcome.after, outcome.before, "the old records, verbatim");
            firewall.trouble("");
            is_old(&mut firewall);
        }
    }
}

#[test]
fn pending_changes_wait_for_a_word() {
    if !php::available() {
        return;
    }
    let mut firewall = open();
    firewall.php().write("run/natconf.dirty", b"");
    let request = asked(&mut firewall, "c1", wanted());
    let outcome = send(&mut firewall, request.clone());
    assert_eq!(outcome.result, Ending::Pending);
    assert!(outcome.message.contains("natconf"));
    is_old(&mut firewall);
    let anyway = ApplyRequest {
        with_pending: true,
        ..request
    };
    assert_eq!(send(&mut firewall, anyway).result, Ending::Done);
}

#[test]
fn a_firewall_that_does_not_filter_is_refused() {
    if !php::available() {
        return;
    }
    let mut firewall = ChangingBox::new(Version::V272, Fixture::Circumstances);
    let outcome = apply(&mut firewall, "c1", wanted());
    assert_eq!(outcome.result, Ending::Refused, "{outcome:?}");
    assert!(outcome.message.contains("switched off"));
}

#[test]
fn a_carp_backup_is_refused_and_a_master_is_not() {
    if !php::available() {
        return;
    }
    let xml = String::from_utf8(Fixture::Editor.xml(Version::V272)).expect("text");
    let vip = "<virtualip><vip><mode>carp</mode><uniqid>5f</uniqid></vip></virtualip><hasync>";
    let xml = xml.replacen("<hasync>", vip, 1);
    let mut firewall = ChangingBox::of_xml(Version::V272, xml.as_bytes());
    firewall.php().write("carp/_vip5f", b"BACKUP\n");
    let outcome = apply(&mut firewall, "c1", wanted());
    assert_eq!(outcome.result, Ending::Refused);
    assert!(outcome.message.contains("CARP"), "{}", outcome.message);
    firewall.php().write("carp/_vip5f", b"MASTER\n");
    done(&mut firewall, "c1", wanted());
}

/// A process that holds the lock as a change does, until it is killed.
const HOLDER: &str = r#"<?php $file = fopen(getenv('KMSCTL_SHIM_BOX') . '/conf/kmsctl/lock', 'c+e'); flock($file, LOCK_EX);
ftruncate($file, 0); fwrite($file, '{"id":"x1","who":"anna@desk","what":"exposure disabled","since":1795350619,"pid":1}');
fflush($file); echo "held\n"; sleep(60);"#;

#[test]
fn a_second_operator_is_told_who_is_first() {
    if !php::available() {
        return;
    }
    let mut firewall = open();
    done(&mut firewall, "c0", caps(Some(49), Some((10, 60))));
    let mut holder = firewall.php().spawn();
    let mut stdin = holder.stdin.take().expect("stdin");
    stdin.write_all(HOLDER.as_bytes()).expect("it reads");
    drop(stdin);
    let mut said = [0_u8; 5];
    std::io::Read::read_exact(&mut holder.stdout.take().expect("stdout"), &mut said)
        .expect("it holds the lock");
    let outcome = apply(&mut firewall, "c1", wanted());
    assert_eq!(outcome.result, Ending::Locked);
    let first = outcome.holder.expect("the holder");
    assert_eq!(
        (first.who.as_str(), first.since),
        ("anna@desk", 1_795_350_619)
    );
    assert!(outcome.message.contains("anna@desk") && outcome.message.contains("exposure disabled"));
    holder.kill().expect("it is killed");
    holder.wait().expect("it ends");
    done(&mut firewall, "c1", wanted());
}

#[test]
fn it_goes_on_when_nobody_listens() {
    if !php::available() {
        return;
    }
    let mut firewall = open();
    let request = asked(&mut firewall, "c1", wanted());
    let script = firewall.script(&Request::Apply(Box::new(request)));
    let mut child = firewall.php().spawn();
    drop(child.stdout.take());
    drop(child.stderr.take());
    let mut stdin = child.stdin.take().expect("stdin");
    stdin.write_all(&script).expect("it reads");
    drop(stdin);
    child.wait().expect("it ends");
    let Answer::Ended { outcome } = answer(&mut firewall, "c1", true) else {
        panic!("it has an outcome")
    };
    assert_eq!(outcome.result, Ending::Done);
    assert!(firewall.text("pf/sr").contains(NEW));
    assert_eq!(firewall.left_over(), Vec::<String>::new());
}

#[test]
fn a_hang_up_does_not_end_it() {
    if !php::available() {
        return;
    }
    let mut firewall = open();
    let request = asked(&mut firewall, "c1", wanted());
    let script = String::from_utf8(firewall.script(&Request::Apply(Box::new(request))))
        .expect("text")
        .replacen(
            "write_config($description)",
            "write_config($description . exec('kill -HUP ' . getmypid()))",
            1,
        );
    let run = firewall.php().run(script.as_bytes());
    assert_eq!(run.status, Some(0), "{}", run.stderr);
    assert!(firewall.text("pf/sr").contains(NEW));
    assert_eq!(reading(&mut firewall).unfinished, vec![]);
}

#[test]
fn what_is_kept_on_the_firewall_is_private() {
    if !php::available() {
        return;
    }
    let mut firewall = open();
    let request = ApplyRequest {
        revert_at: Some(4_000_000_000),
        ..asked(&mut firewall, "c1", wanted())
    };
    assert_eq!(send(&mut firewall, request).result, Ending::Done);
    let mode = |name: &str| {
        let data = std::fs::metadata(firewall.file(name)).expect(name);
        data.permissions().mode() & 0o777
    };
    assert_eq!(mode("conf/kmsctl"), 0o700);
    for name in [
        "conf/kmsctl/change-c1.json",
        "conf/kmsctl/revert-c1.php",
        "conf/kmsctl/lock",
        "etc/cron.d/kmsctl-c1",
    ] {
        assert_eq!(mode(name), 0o600, "{name}");
    }
    assert_eq!(
        firewall.left_over(),
        ["kmsctl-c1", "revert-c1.php"],
        "the copy of the configuration has gone"
    );
    for name in ["conf/kmsctl/change-c1.json", "conf/kmsctl/revert-c1.php"] {
        assert!(!firewall.text(name).contains("SECRET"), "{name}");
    }
}

#[test]
fn old_outcomes_are_pruned_and_armed_ones_stay() {
    if !php::available() {
        return;
    }
    let mut firewall = open();
    let request = ApplyRequest {
        revert_at: Some(4_000_000_000),
        ..asked(&mut firewall, "armed", wanted())
    };
    send(&mut firewall, request);
    done(&mut firewall, "pattern", caps(Some(30), None));
    let pattern = firewall.text("conf/kmsctl/change-pattern.json");
    for number in 0..60 {
        let text = pattern
            .replace("\"pattern\"", &format!("\"old-{number:02}\""))
            .replace("\"since\":", "\"since\":-");
        firewall.php().write(
            &format!("conf/kmsctl/change-old-{number:02}.json"),
            text.as_bytes(),
        );
    }
    done(&mut firewall, "last", caps(Some(31), None));
    let names: Vec<String> = std::fs::read_dir(firewall.file("conf/kmsctl"))
        .expect("the directory")
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with("change-"))
        .collect();
    assert_eq!(names.len(), 51, "{names:?}");
    for name in ["armed", "pattern", "last"] {
        assert!(names.contains(&format!("change-{name}.json")), "{name}");
    }
}

#[test]
fn what_is_ambiguous_or_cannot_carry_caps_is_refused() {
    if !php::available() {
        return;
    }
    for (fixture, words) in [
        (Fixture::Duplicates, "not clear which"),
        (Fixture::PassAssociation, "\"Pass\""),
        (Fixture::EmptySections, "no filter rule"),
        (Fixture::NoSections, "no filter rule"),
        (Fixture::Dangling, "no filter rule"),
    ] {
        let mut firewall = ChangingBox::new(Version::V272, fixture);
        let outcome = apply(&mut firewall, "c1", wanted());
        assert_eq!(outcome.result, Ending::Refused, "{fixture:?}");
        assert!(outcome.message.contains(words), "{}", outcome.message);
    }
}

#[test]
fn the_exposure_is_built_from_whatever_is_there() {
    if !php::available() {
        return;
    }
    let change = Change::Build {
        description: "KMS".into(),
        max_src_conn: Some(20),
        rate: Some(kmsctl::domain::pf::rule::Rate {
            connections: 5,
            seconds: 60,
        }),
        alias: true,
    };
    for fixture in Fixture::ALL {
        if [Fixture::Duplicates, Fixture::Circumstances].contains(&fixture) {
            continue;
        }
        let mut firewall = ChangingBox::new(Version::V272, fixture);
        let foreign = firewall.foreign();
        let built = done(&mut firewall, "b1", change.clone());
        assert!(firewall.text("pf/sr").contains(NEW), "{fixture:?}");
        assert!(
            firewall
                .text("pf/sn")
                .contains("port = 1688 -> <k8s_kms_lb>"),
            "{fixture:?}"
        );
        if ![Fixture::EmptySections, Fixture::NoSections].contains(&fixture) {
            assert_eq!(firewall.foreign(), foreign, "{fixture:?}");
        }
        let nat = &built.after.nat.as_ref().expect("a forward").record;
        let filter = &built.after.filter.as_ref().expect("a rule").record;
        let association = nat.text("associated-rule-id").expect("an association");
        assert!(association.starts_with("nat_"), "{fixture:?}");
        assert_eq!(filter.text("associated-rule-id"), Some(association));
        assert_eq!(
            apply(&mut firewall, "b2", change.clone()).result,
            Ending::NothingToDo
        );
        let undo = Change::PutBack {
            records: Box::new(built.before.clone()),
            alias: true,
        };
        let undone = done(&mut firewall, "b3", undo);
        assert_eq!(undone.after, built.before, "{fixture:?}");
        if ![Fixture::EmptySections, Fixture::NoSections].contains(&fixture) {
            assert_eq!(firewall.foreign(), foreign, "{fixture:?}");
        }
    }
}

#[test]
fn a_forward_to_the_old_target_becomes_ours() {
    if !php::available() {
        return;
    }
    let xml = String::from_utf8(Fixture::Editor.xml(Version::V272)).expect("text");
    let xml = xml
        .replace(
            "<target>k8s_kms_lb</target>",
            "<target>k8s_shared_lb</target>",
        )
        .replace(
            "<address>k8s_kms_lb</address><port>1688",
            "<address>k8s_shared_lb</address><port>1688",
        );
    let mut firewall = ChangingBox::of_xml(Version::V272, xml.as_bytes());
    let refused = apply(&mut firewall, "c1", Change::Disable);
    assert_eq!(refused.result, Ending::Refused, "it is not ours to close");
    let change = Change::Build {
        description: "KMS".into(),
        max_src_conn: Some(50),
        rate: None,
        alias: false,
    };
    let built = done(&mut firewall, "b1", change);
    assert!(
        firewall
            .text("pf/sn")
            .contains("port = 1688 -> <k8s_kms_lb>")
    );
    assert!(
        !firewall
            .text("pf/sn")
            .contains("port = 1688 -> <k8s_shared_lb>")
    );
    let undone = done(&mut firewall, "b2", back(&built.before));
    assert_eq!(undone.after, built.before);
    assert!(
        firewall
            .text("pf/sn")
            .contains("port = 1688 -> <k8s_shared_lb>")
    );
}

/// Port forwards: WireGuard, ours; filter: WireGuard (wan), LAN, ours (wan). Bars above, between and below.
fn with_separators() -> ChangingBox {
    let bar = |name: &str, row: u32| {
        format!(
            "<{name}><row>fr{row}</row><text><![CDATA[{name}]]></text><color>bg-info</color><if>wan</if></{name}>"
        )
    };
    let nat = [bar("sep0", 0), bar("sep1", 1), bar("sep2", 2)].concat();
    let filter = [bar("sep0", 0), bar("sep1", 1), bar("sep2", 2)].concat();
    let xml = String::from_utf8(Fixture::Editor.xml(Version::V272)).expect("text");
    let xml = xml
        .replacen(
            "<separator></separator>",
            &format!("<separator>{nat}</separator>"),
            1,
        )
        .replacen(
            "<separator><wan></wan></separator>",
            &format!("<separator><wan>{filter}</wan></separator>"),
            1,
        );
    ChangingBox::of_xml(Version::V272, xml.as_bytes())
}

fn rows(outcome: &Outcome) -> (Vec<String>, Vec<String>) {
    let of = |element: &kmsctl::domain::change::Element| {
        ["sep0", "sep1", "sep2"]
            .iter()
            .map(|name| {
                serde_json::to_string(
                    element
                        .get(name)
                        .and_then(|bar| bar.get("row"))
                        .expect("a row"),
                )
                .expect("text")
            })
            .collect()
    };
    let separators = &outcome.after.separators;
    (
        of(&separators.nat),
        of(separators.filter.get("wan").expect("wan")),
    )
}

#[test]
fn separators_shift_as_in_the_gui_and_come_back_exactly() {
    if !php::available() {
        return;
    }
    let mut firewall = with_separators();
    let deleted = done(&mut firewall, "s1", Change::Delete);
    let shifted: Vec<String> = ["[\"fr0\"]", "[\"fr1\"]", "[\"fr1\"]"]
        .map(str::to_owned)
        .to_vec();
    assert_eq!(rows(&deleted), (shifted.clone(), shifted));
    let restored = done(&mut firewall, "s2", back(&deleted.before));
    assert_eq!(restored.after, deleted.before);

    let deleted = done(&mut firewall, "s3", Change::Delete);
    // The administrator moves the lowest bar of the port forwards to the top meanwhile.
    let config = firewall.config();
    let at = config.rfind("<row>fr1</row>").expect("a bar");
    let nat_at = config.find("<sep2>").expect("a bar");
    let moved = if at < nat_at {
        at
    } else {
        nat_at + config[nat_at..].find("<row>fr1</row>").expect("its row")
    };
    let text = format!(
        "{}<row>fr0</row>{}",
        &config[..moved],
        &config[moved + "<row>fr1</row>".len()..]
    );
    firewall.php().write("conf/config.xml", text.as_bytes());
    let restored = done(&mut firewall, "s4", back(&deleted.before));
    let (nat, filter) = rows(&restored);
    assert_eq!(
        nat,
        ["[\"fr0\"]", "[\"fr1\"]", "[\"fr0\"]"],
        "his bars stay where he put them"
    );
    assert_eq!(filter, ["[\"fr0\"]", "[\"fr1\"]", "[\"fr2\"]"]);
}

#[test]
fn a_change_touches_nothing_else() {
    if !php::available() {
        return;
    }
    for version in Version::ALL {
        let mut firewall = with_separators_of(version);
        let foreign = firewall.foreign();
        for (name, change) in [
            ("f1", wanted()),
            ("f2", Change::Disable),
            ("f3", Change::Enable),
        ] {
            done(&mut firewall, name, change);
            assert_eq!(firewall.foreign(), foreign, "{version:?} {name}");
        }
    }
}

fn with_separators_of(version: Version) -> ChangingBox {
    ChangingBox::new(version, Fixture::Elsewhere)
}

/// The moments of an undisturbed change, by name.
fn moment(name: &str) -> u64 {
    let mut firewall = open().with_moments();
    firewall.php().write("at", b"0 nothing");
    done(&mut firewall, "m1", wanted());
    let log = firewall.text("moments.log");
    let line = log
        .lines()
        .find(|line| line.ends_with(name))
        .expect("the moment");
    line.split(' ')
        .next()
        .and_then(|number| number.parse().ok())
        .expect("its number")
}

#[test]
fn an_interrupted_change_is_finished_before_the_next_one_begins() {
    if !php::available() {
        return;
    }
    let at = moment("filter_configure_sync: called");
    // The reading that makes the request has no moments in it.
    let mut firewall = open().with_moments();
    let request = asked(&mut firewall, "c1", wanted());
    let other = asked(&mut firewall, "c2", caps(Some(7), None));
    firewall.php().write("at", format!("{at} kill").as_bytes());
    let run = firewall.ask(&Request::Apply(Box::new(request)));
    assert_eq!(run.status, None, "it is killed");
    assert!(
        firewall
            .config()
            .contains("<max-src-conn>20</max-src-conn>")
    );
    assert!(firewall.text("pf/sr").contains(OLD), "written, not loaded");
    let reading_now = reading(&mut firewall);
    assert_eq!(reading_now.unfinished.len(), 1);
    assert_eq!(reading_now.unfinished[0].who, "viktor@laptop");
    let outcome = send(&mut firewall, other);
    assert_eq!(outcome.result, Ending::Stale, "{outcome:?}");
    assert!(firewall.text("pf/sr").contains(NEW), "the first is whole");
    let Answer::Ended { outcome } = answer(&mut firewall, "c1", true) else {
        panic!("it has ended")
    };
    assert_eq!(outcome.result, Ending::Done);
    assert!(outcome.steps.iter().any(|step| step.name == "resume"));
    assert_eq!(firewall.left_over(), Vec::<String>::new());
}

#[test]
fn a_way_back_survives_a_restart() {
    if !php::available() {
        return;
    }
    let mut firewall = open();
    let request = ApplyRequest {
        revert_at: Some(4_000_000_000),
        ..asked(&mut firewall, "c1", Change::Disable)
    };
    send(&mut firewall, request.clone());
    firewall.boot();
    assert!(!firewall.text("pf/sr").contains(OLD));
    firewall.make_due(&request.id);
    firewall.boot();
    firewall.tick();
    is_old(&mut firewall);
}

#[test]
fn a_way_back_that_is_not_due_does_not_load_pfsense() {
    if !php::available() {
        return;
    }
    let mut firewall = open();
    let request = ApplyRequest {
        revert_at: Some(4_000_000_000),
        ..asked(&mut firewall, "c1", Change::Disable)
    };
    send(&mut firewall, request);
    let _ = std::fs::remove_file(firewall.file("tmp/config.cache"));
    assert_eq!(firewall.tick(), 1);
    assert!(!firewall.file("tmp/config.cache").exists());
}

#[test]
fn a_way_back_that_cannot_be_loaded_tries_again_and_then_says_so() {
    if !php::available() {
        return;
    }
    let mut firewall = open();
    let request = ApplyRequest {
        revert_at: Some(4_000_000_000),
        ..asked(&mut firewall, "c1", Change::Disable)
    };
    send(&mut firewall, request.clone());
    firewall.make_due(&request.id);
    // pfctl's message has no colon, so nothing is loaded and pfSense knows nothing of it.
    firewall.trouble("load-silent");
    for _ in 0..7 {
        firewall.tick();
    }
    assert_eq!(firewall.left_over(), Vec::<String>::new());
    let Answer::Ended { outcome } = answer(&mut firewall, "c1", false) else {
        panic!("it has ended")
    };
    let reverted = outcome.reverted.expect("its way back");
    assert_eq!(reverted.result, Ending::Unproven);
    assert!(firewall.text("tmp/notices").contains("several attempts"));
    assert!(
        firewall.config().contains("<max-src-conn>50<"),
        "the configuration is the old one"
    );
}
