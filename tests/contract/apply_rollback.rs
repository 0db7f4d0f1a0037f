//! Rollbacks on a firewall on which something goes wrong: they fire as long as the exposure is what the change made of
//! it, say so, and leave nothing.

use kmsctl::domain::pfsense::change::{ChangeEnding, ConfigurationEdit, OutcomeAnswer};
use kmsctl::pfsense::agent::{AgentRequest, ApplyRequest};

use super::agent::boxes::{Fixture, Version};
use super::agent::changing::ChangingBox;
use super::agent::php;
use super::apply::{answer, asked, done, id, send};
use super::apply_failures::{NEW, OLD, is_old, open, wanted};

#[test]
fn a_rollback_survives_a_restart() {
    if !php::available() {
        return;
    }
    let mut firewall = open();
    let request = ApplyRequest {
        revert_at: Some(4_000_000_000),
        ..asked(&mut firewall, "c1", ConfigurationEdit::Disable)
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
fn a_rollback_that_is_not_due_does_not_load_pfsense() {
    if !php::available() {
        return;
    }
    let mut firewall = open();
    let request = ApplyRequest {
        revert_at: Some(4_000_000_000),
        ..asked(&mut firewall, "c1", ConfigurationEdit::Disable)
    };
    send(&mut firewall, request);
    let _ = std::fs::remove_file(firewall.file("tmp/config.cache"));
    assert_eq!(firewall.tick(), 1);
    assert!(!firewall.file("tmp/config.cache").exists());
}

#[test]
fn a_rollback_that_cannot_be_loaded_tries_again_and_then_says_so() {
    if !php::available() {
        return;
    }
    let mut firewall = open();
    let request = ApplyRequest {
        revert_at: Some(4_000_000_000),
        ..asked(&mut firewall, "c1", ConfigurationEdit::Disable)
    };
    send(&mut firewall, request.clone());
    firewall.make_due(&request.id);
    // pfctl's message has no colon, so nothing is loaded and pfSense knows nothing of it.
    firewall.trouble("load-silent");
    for _ in 0..7 {
        firewall.tick();
    }
    assert_eq!(firewall.left_over(), Vec::<String>::new());
    let OutcomeAnswer::Ended { outcome } = answer(&mut firewall, "c1", false) else {
        panic!("it has ended")
    };
    let reverted = outcome.reverted.expect("its rollback");
    assert_eq!(reverted.result, ChangeEnding::Unproven);
    assert!(firewall.text("tmp/notices").contains("several attempts"));
    assert!(firewall.config().contains("<max-src-conn>50<"), "the configuration is the old one");
}

/// A firewall on which the exposure is closed for a while.
fn for_a_while(version: Version) -> (ChangingBox, ApplyRequest) {
    let mut firewall = ChangingBox::new(version, Fixture::Editor).with_moments();
    let request = ApplyRequest {
        revert_at: Some(4_000_000_000),
        ..asked(&mut firewall, "c1", ConfigurationEdit::Disable)
    };
    assert_eq!(send(&mut firewall, request.clone()).result, ChangeEnding::Done);
    (firewall, request)
}

/// The time is over, and a minute passes.
fn due(firewall: &mut ChangingBox, request: &ApplyRequest) {
    firewall.make_due(&request.id);
    firewall.tick();
}

/// The rollback has fired, says so, and leaves nothing.
#[track_caller]
fn is_taken_back(firewall: &mut ChangingBox) {
    let _ = std::fs::remove_file(firewall.file("at"));
    is_old(firewall);
    let OutcomeAnswer::Ended { outcome } = answer(firewall, "c1", false) else {
        panic!("it has ended")
    };
    let reverted = outcome.reverted.expect("its rollback");
    assert_eq!(reverted.result, ChangeEnding::Done, "{reverted:?}");
    assert_eq!(firewall.left_over(), Vec::<String>::new());
}

#[test]
fn a_rollback_whose_rules_are_lost_in_loading_fires_again() {
    if !php::available() {
        return;
    }
    for version in Version::ALL {
        let (mut firewall, request) = for_a_while(version);
        firewall.trouble("rule-lost 1");
        due(&mut firewall, &request);
        assert!(!firewall.text("pf/sr").contains(OLD), "{version:?}: lost");
        // That it was tried before is known also where it could not be noted.
        let name = "conf/kmsctl/change-c1.json";
        let noted = firewall.text(name).replace("\"attempts\":1", "\"attempts\":0");
        firewall.php().write(name, noted.as_bytes());
        firewall.tick();
        is_taken_back(&mut firewall);
    }
}

#[test]
fn a_rollback_that_a_full_disk_keeps_from_being_noted_is_noted_later() {
    if !php::available() {
        return;
    }
    for version in Version::ALL {
        for moment in ["kmsctl_reverted", "kmsctl_in_force", "kmsctl_is_due"] {
            let (mut firewall, request) = for_a_while(version);
            firewall.php().write("at", format!("{moment} full").as_bytes());
            due(&mut firewall, &request);
            for _ in 0..8 {
                firewall.tick();
            }
            let armed = firewall.left_over().contains(&"revert-c1.php".to_owned());
            assert!(armed, "{version:?} {moment}: it is not noted yet");
            firewall.trouble("");
            firewall.tick();
            is_taken_back(&mut firewall);
        }
    }
}

#[test]
fn a_rollback_killed_after_its_write_still_names_what_it_replaced() {
    if !php::available() {
        return;
    }
    let (mut firewall, request) = for_a_while(Version::V272);
    firewall.trouble("writer-before-write 1");
    // The first thing after the look for a lost update, which is not noted yet.
    firewall.php().write("at", b"kmsctl_is_whole kill");
    due(&mut firewall, &request);
    assert!(firewall.config().contains("<hostname>firewall<"), "lost");
    firewall.tick();
    is_taken_back(&mut firewall);
    let OutcomeAnswer::Ended { outcome } = answer(&mut firewall, "c1", false) else {
        panic!("it has ended")
    };
    let other = std::fs::read_to_string(outcome.lost_update.expect("his version"));
    assert!(other.expect("it is there").contains("<hostname>renamed</hostname>"));
}

#[test]
fn an_interrupted_change_asked_for_again_is_not_told_as_refused() {
    if !php::available() {
        return;
    }
    let mut firewall = open().with_moments();
    let request = asked(&mut firewall, "c1", wanted());
    let at = b"filter_configure_sync: called kill";
    firewall.php().write("at", at);
    firewall.ask(&AgentRequest::Apply(Box::new(request.clone())));
    assert!(firewall.config().contains("<max-src-conn>20</max-src-conn>"));
    // The job that is to finish it is killed too.
    firewall.php().write("at", at);
    let outcome = send(&mut firewall, request);
    assert_eq!(outcome.result, ChangeEnding::Unproven, "{outcome:?}");
    firewall.tick();
    assert!(firewall.text("pf/sr").contains(NEW));
    assert_eq!(firewall.left_over(), Vec::<String>::new());
}

/// The cut is one that pfSense's parser does not notice, so that the mending is ours.
#[test]
fn a_writer_while_a_cut_configuration_is_mended_is_let_be() {
    if !php::available() {
        return;
    }
    let cut = |at: &str| {
        let mut firewall = open().with_moments();
        let request = asked(&mut firewall, "c1", wanted());
        firewall.trouble("disk-full-4096 1");
        firewall.php().write("at", at.as_bytes());
        let outcome = send(&mut firewall, request);
        let _ = std::fs::remove_file(firewall.file("at"));
        (firewall, outcome)
    };
    let (firewall, _) = cut("0 nothing");
    let log = firewall.text("moments.log");
    // The number of the moment at which a function begins, after another one.
    let moment = |name: &str, before: &str| -> u64 {
        let mut lines = log.lines().skip_while(|line| !line.ends_with(before));
        let begins = lines.find(|line| line.ends_with(name));
        let number = begins.and_then(|line| line.split(' ').next());
        number.and_then(|text| text.parse().ok()).expect("a moment")
    };
    let number = moment(" kmsctl_mend", "");
    // Between the good copy's return and the look at it.
    let looks = moment(" kmsctl_config_path", " kmsctl_time_of");
    let (mut firewall, outcome) = cut(&format!("{looks} writer"));
    assert!(firewall.config().contains("<hostname>renamed<"));
    assert_eq!(outcome.result, ChangeEnding::Failed, "{outcome:#?}");
    is_old(&mut firewall);
    // He has loaded the cut one, waits for pfSense's lock, and saves it over the good one; the job mends that.
    let holds = moment(" kmsctl_is_another_writers", " kmsctl_mend");
    let (mut firewall, outcome) = cut(&format!("{holds} writer"));
    assert!(firewall.config().contains("<hostname>firewall<"));
    assert_eq!(outcome.result, ChangeEnding::Failed, "{outcome:#?}");
    let other = std::fs::read_to_string(outcome.lost_update.expect("his version"));
    assert!(other.expect("it is there").contains("<hostname>renamed<"));
    is_old(&mut firewall);
    // He has loaded and saved the cut one.
    let (mut firewall, outcome) = cut(&format!("{number} writer"));
    assert!(firewall.config().contains("<hostname>firewall<"));
    assert_eq!(outcome.result, ChangeEnding::Failed, "{outcome:#?}");
    let other = std::fs::read_to_string(outcome.lost_update.expect("his version"));
    assert!(other.expect("it is there").contains("<hostname>renamed<"));
    is_old(&mut firewall);
}

/// Of a deletion so little is left of a full disk's write that the file is empty: no page of pfSense's loads that.
#[test]
fn an_empty_configuration_is_saved_by_no_page() {
    if !php::available() {
        return;
    }
    let mut firewall = ChangingBox::new(Version::Master, Fixture::Editor).with_moments();
    let request = asked(&mut firewall, "c1", ConfigurationEdit::Delete);
    let before = firewall.config();
    firewall.trouble("disk-full-4096 1");
    firewall.php().write("at", b"kmsctl_interrupted writer");
    let outcome = send(&mut firewall, request);
    assert_eq!(outcome.result, ChangeEnding::Failed, "{outcome:#?}");
    assert!(!firewall.file("written-by-another").exists());
    assert_eq!(firewall.config(), before);
}

/// What another writer saves of a file that is cut is cut as well; a restart takes the newest backup instead of it.
#[test]
fn a_restart_restores_what_another_writer_cut() {
    if !php::available() {
        return;
    }
    let log = cut_rollback("0 nothing").0.text("moments.log");
    let mut lines = log.lines().skip_while(|line| !line.ends_with(" kmsctl_mend"));
    let holds = lines.find(|line| line.ends_with(" kmsctl_is_another_writers"));
    let holds = holds.and_then(|line| line.split(' ').next()).expect("a moment");
    let (mut firewall, _, _) = cut_rollback(&format!("{holds} writer"));
    assert!(firewall.config().contains("<hostname>renamed<"));
    let _ = std::fs::remove_file(firewall.file("at"));
    firewall.boot();
    assert!(firewall.config().contains("<hostname>firewall<"));
    assert!(!firewall.file("written-by-another").exists());
    firewall.tick();
    is_taken_back(&mut firewall);
}

/// A rollback whose own write is cut on a full disk, with something happening at a moment; and, of an undisturbed one,
/// the moment at which the mending begins, and how many it has.
fn cut_rollback(at: &str) -> (ChangingBox, u64, u64) {
    let (mut firewall, request) = for_a_while(Version::V272);
    firewall.trouble("disk-full-4096 1");
    firewall.php().write("at", at.as_bytes());
    due(&mut firewall, &request);
    let log = firewall.text("moments.log");
    let mut lines = log.lines();
    let number = |line: &str| line.split(' ').next().and_then(|text| text.parse().ok());
    let begins = lines.find(|line| line.ends_with(" kmsctl_mend"));
    let ends = lines.find(|line| line.ends_with(" kmsctl_load"));
    let begins: u64 = begins.and_then(number).expect("the mending");
    let ends: u64 = ends.and_then(number).unwrap_or(begins);
    (firewall, begins, ends - begins)
}

#[test]
fn a_writer_who_saves_what_the_rollback_cut_is_not_lost_without_a_word() {
    if !php::available() {
        return;
    }
    let (_, begins, _) = cut_rollback("0 nothing");
    // From the cut file's rename, while he has to wait for pfSense's lock, to the beginning of the mending.
    for moment in begins - 5..=begins {
        let (mut firewall, _, _) = cut_rollback(&format!("{moment} writer"));
        assert!(firewall.file("written-by-another").exists(), "{moment}");
        firewall.tick();
        is_taken_back(&mut firewall);
        let OutcomeAnswer::Ended { outcome } = answer(&mut firewall, "c1", false) else {
            panic!("it has ended")
        };
        let kept = outcome.lost_update.map(std::fs::read_to_string);
        let kept = kept.unwrap_or_else(|| panic!("{moment} of {begins}: it is named"));
        assert!(kept.expect("it is there").contains("<hostname>renamed<"));
    }
}

#[test]
fn a_mending_that_is_ended_at_any_moment_leaves_nothing() {
    if !php::available() {
        return;
    }
    let (_, begins, moments) = cut_rollback("0 nothing");
    assert!(moments > 5, "{moments}");
    for moment in begins..begins + moments {
        for end in ["die", "kill"] {
            let (mut firewall, _, _) = cut_rollback(&format!("{moment} {end}"));
            // What the job that mends leaves when it is killed between its own two steps.
            let copy = firewall.file("conf/kmsctl/config-c1.xml");
            let _ = std::fs::hard_link(copy, firewall.file("conf/.kmsctl-c1.xml"));
            let _ = std::fs::remove_file(firewall.file("at"));
            firewall.tick();
            is_taken_back(&mut firewall);
        }
    }
}

#[test]
fn a_cut_configuration_that_is_not_mended_at_once_is_mended_by_the_job() {
    if !php::available() {
        return;
    }
    let mut firewall = open().with_moments();
    let request = asked(&mut firewall, "c1", wanted());
    let before = firewall.config();
    firewall.trouble("disk-full-4096 1");
    firewall.php().write("at", b"kmsctl_mend kill");
    firewall.ask(&AgentRequest::Apply(Box::new(request)));
    assert_ne!(firewall.config(), before, "cut");
    firewall.php().write("at", b"0 nothing");
    firewall.tick();
    assert_eq!(firewall.config(), before);
    let OutcomeAnswer::Ended { outcome } = answer(&mut firewall, "c1", false) else {
        panic!("it has ended")
    };
    assert_eq!(outcome.result, ChangeEnding::Failed, "{outcome:#?}");
    is_old(&mut firewall);
}

#[test]
fn a_rollback_leaves_an_administrators_change_alone() {
    if !php::available() {
        return;
    }
    let (mut firewall, request) = for_a_while(Version::V272);
    let edited = firewall.config().replace(">50<", ">40<");
    firewall.php().write("conf/config.xml", edited.as_bytes());
    due(&mut firewall, &request);
    let OutcomeAnswer::Ended { outcome } = answer(&mut firewall, "c1", false) else {
        panic!("it has ended")
    };
    let reverted = outcome.reverted.expect("its rollback");
    assert_eq!(reverted.result, ChangeEnding::Stale, "{reverted:?}");
    assert!(firewall.config().contains("<max-src-conn>40<"));
}

#[test]
fn asking_again_does_not_use_up_the_attempts_of_a_rollback() {
    if !php::available() {
        return;
    }
    let (mut firewall, request) = for_a_while(Version::V272);
    let next = asked(&mut firewall, "c2", wanted());
    firewall.trouble("load-silent");
    due(&mut firewall, &request);
    for number in 0..8 {
        let again = ApplyRequest { id: id(&format!("again-{number}")), ..next.clone() };
        assert_eq!(send(&mut firewall, again).result, ChangeEnding::Locked);
    }
    firewall.trouble("");
    firewall.tick();
    is_taken_back(&mut firewall);
}

#[test]
fn a_rollback_says_what_it_activates_of_others() {
    if !php::available() {
        return;
    }
    let (mut firewall, request) = for_a_while(Version::V272);
    firewall.php().write("run/filter.dirty", b"");
    due(&mut firewall, &request);
    let OutcomeAnswer::Ended { outcome } = answer(&mut firewall, "c1", false) else {
        panic!("it has ended")
    };
    let message = outcome.reverted.expect("its rollback").message;
    let wanted = "activated changes saved in the GUI and not applied (filter)";
    assert!(message.contains(wanted), "{message}");
    assert!(firewall.text("tmp/notices").contains(wanted));
}

/// A firewall on which the pair is deleted for a while, others edit its config.xml, and the time is over.
fn deleted_while(edit: impl FnOnce(String) -> String) -> (ChangingBox, ApplyRequest) {
    let mut firewall = open();
    let request = ApplyRequest {
        revert_at: Some(4_000_000_000),
        ..asked(&mut firewall, "c1", ConfigurationEdit::Delete)
    };
    assert_eq!(send(&mut firewall, request.clone()).result, ChangeEnding::Done);
    let edited = edit(firewall.config());
    firewall.php().write("conf/config.xml", edited.as_bytes());
    due(&mut firewall, &request);
    (firewall, request)
}

#[test]
fn a_deleted_rule_comes_back_beside_its_neighbour() {
    if !php::available() {
        return;
    }
    let places = |firewall: &ChangingBox| {
        let config = firewall.config();
        ["<tracker>1763000001<", "<tracker>0100000101<", "<tracker>1763000004<"]
            .map(|tracker| config.find(tracker).expect("a rule"))
    };
    let new = "<rule><type>block</type><interface>wan</interface><source><any/></source><destination><any/></destination><protocol>udp</protocol></rule>";
    let on_top = |config: String| config.replace("<filter>", &format!("<filter>{new}{new}"));
    for (edit, is_gone) in [
        (&on_top as &dyn Fn(String) -> String, false),
        (&|config| on_top(config).replace("<tracker>0100000101<", "<tracker>1763000009<"), true),
    ] {
        let (mut firewall, _) = deleted_while(edit);
        for _ in 0..7 {
            firewall.tick();
        }
        let OutcomeAnswer::Ended { outcome } = answer(&mut firewall, "c1", false) else {
            panic!("it has ended")
        };
        let reverted = outcome.reverted.expect("its rollback");
        assert_eq!(reverted.result, ChangeEnding::Done, "{reverted:?}");
        assert!(firewall.config().contains("k8s_kms_lb</target>"), "it ends, gone or not");
        if !is_gone {
            assert!(places(&firewall).is_sorted(), "{:?}", places(&firewall));
        }
    }
}

#[test]
fn a_pair_built_meanwhile_is_not_doubled() {
    if !php::available() {
        return;
    }
    let new = "<rule><source><any/></source><destination><network>wanip</network><port>1688</port></destination><ipprotocol>inet</ipprotocol><protocol>tcp</protocol><target>k8s_kms_lb</target><local-port>1688</local-port><interface>wan</interface><associated-rule-id>nat_new</associated-rule-id></rule>";
    let (mut firewall, _) =
        deleted_while(|config| config.replace("</nat>", &format!("{new}</nat>")));
    let OutcomeAnswer::Ended { outcome } = answer(&mut firewall, "c1", false) else {
        panic!("it has ended")
    };
    let reverted = outcome.reverted.expect("its rollback");
    assert_eq!(reverted.result, ChangeEnding::Stale, "{reverted:?}");
    assert_eq!(firewall.config().matches("k8s_kms_lb</target>").count(), 1);
}

#[test]
fn a_forward_built_meanwhile_for_another_address_hides_no_rollback() {
    if !php::available() {
        return;
    }
    let mut firewall = open();
    done(&mut firewall, "c0", ConfigurationEdit::Disable);
    let request = ApplyRequest {
        revert_at: Some(4_000_000_000),
        ..asked(&mut firewall, "c1", ConfigurationEdit::Enable)
    };
    assert_eq!(send(&mut firewall, request.clone()).result, ChangeEnding::Done);
    let new = "<rule><source><any/></source><destination><address>192.168.1.77</address><port>1688</port></destination><ipprotocol>inet</ipprotocol><protocol>tcp</protocol><target>k8s_kms_lb</target><local-port>1688</local-port><interface>wan</interface><associated-rule-id></associated-rule-id></rule>";
    let edited = firewall.config().replace("</nat>", &format!("{new}</nat>"));
    firewall.php().write("conf/config.xml", edited.as_bytes());
    due(&mut firewall, &request);
    let OutcomeAnswer::Ended { outcome } = answer(&mut firewall, "c1", false) else {
        panic!("it has ended")
    };
    let reverted = outcome.reverted.expect("its rollback");
    assert_eq!(reverted.result, ChangeEnding::Done, "{reverted:?}");
}
