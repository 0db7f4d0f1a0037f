//! Changes on a firewall on which something goes wrong, with pfSense's own ways to fail: afterwards the exposure is
//! as before or as wanted, configured and loaded alike, and the outcome says which.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;

use kmsctl::domain::pfsense::change::{
    ChangeEnding, ChangeOutcome, ConfigurationEdit, OutcomeAnswer,
};
use kmsctl::pfsense::agent::{AgentRequest, ApplyRequest};

use super::agent::boxes::{Fixture, Version};
use super::agent::changing::ChangingBox;
use super::agent::php;
use super::apply::{answer, apply, asked, caps, done, reading, send};

pub const OLD: &str = "max-src-conn 50, max-src-conn-rate 10/60,";
pub const NEW: &str = "max-src-conn 20, max-src-conn-rate 5/60,";

pub fn wanted() -> ConfigurationEdit {
    caps(Some(20), Some((5, 60)))
}

pub fn open() -> ChangingBox {
    ChangingBox::new(Version::V272, Fixture::Editor)
}

/// Applies the wanted change with something going wrong, and looks at what is there.
#[track_caller]
fn with_trouble(version: Version, trouble: &str) -> (ChangingBox, ChangeOutcome) {
    let mut firewall = ChangingBox::new(version, Fixture::Editor);
    let request = asked(&mut firewall, "c1", wanted());
    firewall.trouble(trouble);
    let outcome = send(&mut firewall, request);
    (firewall, outcome)
}

/// The exposure is as it was, configured and loaded, and nothing is left over.
#[track_caller]
pub fn is_old(firewall: &mut ChangingBox) {
    assert!(firewall.text("pf/sr").contains(OLD), "loaded");
    assert!(firewall.config().contains("<max-src-conn>50</max-src-conn>"), "configured");
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
            assert_eq!(outcome.result, ChangeEnding::Failed, "{trouble}: {outcome:#?}");
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
            assert_eq!(outcome.result, ChangeEnding::Failed, "{trouble}: {outcome:#?}");
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
    assert_eq!(outcome.result, ChangeEnding::Refused, "{outcome:#?}");
    is_old(&mut firewall);
}

#[test]
fn what_another_writer_loses_is_kept_and_named() {
    if !php::available() {
        return;
    }
    let (firewall, outcome) = with_trouble(Version::V272, "writer-before-write 1");
    assert_eq!(outcome.result, ChangeEnding::Done, "{outcome:#?}");
    let path = outcome.lost_update.expect("the other version");
    let name = path.rsplit('/').next().expect("a name");
    let time = name.strip_prefix("lost-c1-").and_then(|rest| rest.strip_suffix(".xml"));
    assert!(time.is_some_and(|time| time.parse::<u64>().is_ok()), "{path}");
    let other = std::fs::read_to_string(path).expect("it is there");
    assert!(other.contains("<hostname>renamed</hostname>"));
    assert!(other.contains("<max-src-conn>50</max-src-conn>"));
    assert!(firewall.text("pf/sr").contains(NEW));
    assert!(outcome.message.contains("another writer"), "{}", outcome.message);
}

#[test]
fn a_writer_after_us_is_let_be() {
    if !php::available() {
        return;
    }
    let (firewall, outcome) = with_trouble(Version::V272, "writer-after-write 1");
    assert_eq!((outcome.result, outcome.lost_update), (ChangeEnding::Done, None));
    assert!(firewall.config().contains("<hostname>renamed</hostname>"));
    assert!(firewall.text("pf/sr").contains(NEW));
    let (mut firewall, outcome) = with_trouble(Version::V272, "overwritten 1");
    assert_eq!(outcome.result, ChangeEnding::Failed, "{outcome:#?}");
    assert!(outcome.message.contains("another writer"), "{}", outcome.message);
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
        "rule-lost 1",
    ] {
        for version in Version::ALL {
            let (mut firewall, outcome) = with_trouble(version, trouble);
            assert_eq!(
                outcome.result,
                ChangeEnding::RolledBack,
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
    assert_eq!(outcome.result, ChangeEnding::Pending);
    assert!(outcome.message.contains("natconf"));
    is_old(&mut firewall);
    let anyway = ApplyRequest { with_pending: true, ..request };
    assert_eq!(send(&mut firewall, anyway).result, ChangeEnding::Done);
}

#[test]
fn a_firewall_that_does_not_filter_is_refused() {
    if !php::available() {
        return;
    }
    let mut firewall = ChangingBox::new(Version::V272, Fixture::Circumstances);
    let outcome = apply(&mut firewall, "c1", wanted());
    assert_eq!(outcome.result, ChangeEnding::Refused, "{outcome:?}");
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
    assert_eq!(outcome.result, ChangeEnding::Refused);
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
    assert_eq!(outcome.result, ChangeEnding::Locked);
    let first = outcome.holder.expect("the holder");
    assert_eq!(
        (first.who.as_str(), first.what.as_str(), first.since),
        ("anna@desk", "exposure disabled", 1_795_350_619)
    );
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
    let script = firewall.script(&AgentRequest::Apply(Box::new(request)));
    let mut child = firewall.php().spawn();
    drop(child.stdout.take());
    drop(child.stderr.take());
    let mut stdin = child.stdin.take().expect("stdin");
    stdin.write_all(&script).expect("it reads");
    drop(stdin);
    child.wait().expect("it ends");
    let OutcomeAnswer::Ended { outcome } = answer(&mut firewall, "c1", true) else {
        panic!("it has an outcome")
    };
    assert_eq!(outcome.result, ChangeEnding::Done);
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
    let script = String::from_utf8(firewall.script(&AgentRequest::Apply(Box::new(request))))
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
    let request =
        ApplyRequest { revert_at: Some(4_000_000_000), ..asked(&mut firewall, "c1", wanted()) };
    assert_eq!(send(&mut firewall, request).result, ChangeEnding::Done);
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
    // cron's own has neither /sbin nor /usr/local/sbin, and pfSense's code calls programs there by name.
    let line = firewall.text("etc/cron.d/kmsctl-c1");
    let path = line.lines().find_map(|line| line.strip_prefix("PATH="));
    let places: Vec<&str> = path.expect("a PATH").split(':').collect();
    for place in ["/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"] {
        assert!(places.contains(&place), "{line}");
    }
}

#[test]
fn old_outcomes_are_pruned_and_armed_ones_stay() {
    if !php::available() {
        return;
    }
    let mut firewall = open();
    done(&mut firewall, "pattern", caps(Some(30), None));
    let pattern = firewall.text("conf/kmsctl/change-pattern.json");
    // Of another service, so that no change here supersedes it.
    let armed = pattern
        .replace("\"pattern\"", "\"armed\"")
        .replace("\"since\":", "\"since\":-")
        .replace("\"port\":1688", "\"port\":1689")
        .replace("\"revert_at\":null", "\"revert_at\":4000000000");
    let name = "conf/kmsctl/change-armed.json";
    firewall.php().write(name, armed.as_bytes());
    for number in 0..60 {
        let text = pattern
            .replace("\"pattern\"", &format!("\"old-{number:02}\""))
            .replace("\"since\":", "\"since\":-");
        firewall.php().write(&format!("conf/kmsctl/change-old-{number:02}.json"), text.as_bytes());
    }
    let lost = "conf/kmsctl/lost-old-00-1.xml";
    firewall.php().write(lost, b"<pfsense/>");
    done(&mut firewall, "last", caps(Some(31), None));
    assert!(firewall.file(lost).exists(), "it may be the only copy");
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
fn an_interrupted_change_is_finished_before_the_next_one_begins() {
    if !php::available() {
        return;
    }
    // The reading that makes the request has no moments in it.
    let mut firewall = open().with_moments();
    let request = asked(&mut firewall, "c1", wanted());
    let other = asked(&mut firewall, "c2", caps(Some(7), None));
    let at = b"filter_configure_sync: called kill";
    firewall.php().write("at", at);
    let run = firewall.ask(&AgentRequest::Apply(Box::new(request)));
    assert_eq!(run.status, None, "it is killed");
    assert!(firewall.config().contains("<max-src-conn>20</max-src-conn>"));
    assert!(firewall.text("pf/sr").contains(OLD), "written, not loaded");
    let reading_now = reading(&mut firewall);
    assert_eq!(reading_now.unfinished.len(), 1);
    assert_eq!(reading_now.unfinished[0].who, "viktor@laptop");
    let outcome = send(&mut firewall, other);
    assert_eq!(outcome.result, ChangeEnding::Stale, "{outcome:?}");
    assert!(firewall.text("pf/sr").contains(NEW), "the first is whole");
    let OutcomeAnswer::Ended { outcome } = answer(&mut firewall, "c1", true) else {
        panic!("it has ended")
    };
    assert_eq!(outcome.result, ChangeEnding::Done);
    assert!(outcome.steps.iter().any(|step| step.name == "resume"));
    assert_eq!(firewall.left_over(), Vec::<String>::new());
}
