//! What changes do to the records: building from whatever is there, separators, and leaving everything else alone.

use kmsctl::domain::pf::rule::Rate;
use kmsctl::domain::pfsense::change::{ChangeEnding, ChangeOutcome, ConfigurationEdit, Element};

use super::agent::boxes::{Fixture, Version};
use super::agent::changing::ChangingBox;
use super::agent::php;
use super::apply::{apply, back, caps, done, standing};

const NEW: &str = "max-src-conn 20, max-src-conn-rate 5/60,";

fn wanted() -> ConfigurationEdit {
    caps(Some(20), Some((5, 60)))
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
        assert_eq!(outcome.result, ChangeEnding::Refused, "{fixture:?}");
        assert!(outcome.message.contains(words), "{}", outcome.message);
    }
}

#[test]
fn the_exposure_is_built_from_whatever_is_there() {
    if !php::available() {
        return;
    }
    let change = ConfigurationEdit::Build {
        description: "KMS".into(),
        max_src_conn: Some(20),
        rate: Some(Rate { connections: 5, seconds: 60 }),
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
        assert!(firewall.text("pf/sn").contains("port = 1688 -> <k8s_kms_lb>"), "{fixture:?}");
        if ![Fixture::EmptySections, Fixture::NoSections].contains(&fixture) {
            assert_eq!(firewall.foreign(), foreign, "{fixture:?}");
        }
        let nat = &built.after.nat.as_ref().expect("a forward").record;
        let filter = &built.after.filter.as_ref().expect("a rule").record;
        let association = nat.child_text("associated-rule-id").expect("an association");
        assert!(association.starts_with("nat_"), "{fixture:?}");
        assert_eq!(filter.child_text("associated-rule-id"), Some(association));
        assert_eq!(apply(&mut firewall, "b2", change.clone()).result, ChangeEnding::NothingToDo);
        let undo =
            ConfigurationEdit::PutBack { records: Box::new(built.before.clone()), alias: true };
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
    let xml = xml.replace("<target>k8s_kms_lb</target>", "<target>k8s_shared_lb</target>").replace(
        "<address>k8s_kms_lb</address><port>1688",
        "<address>k8s_shared_lb</address><port>1688",
    );
    let mut firewall = ChangingBox::of_xml(Version::V272, xml.as_bytes());
    let refused = apply(&mut firewall, "c1", ConfigurationEdit::Disable);
    assert_eq!(refused.result, ChangeEnding::Refused, "it is not ours to close");
    let change = ConfigurationEdit::Build {
        description: "KMS".into(),
        max_src_conn: Some(50),
        rate: None,
        alias: true,
    };
    let built = done(&mut firewall, "b1", change);
    assert!(firewall.text("pf/sn").contains("port = 1688 -> <k8s_kms_lb>"));
    assert!(!firewall.text("pf/sn").contains("port = 1688 -> <k8s_shared_lb>"));
    let undone = done(&mut firewall, "b2", back(&built.before));
    assert_eq!(undone.after, built.before);
    assert!(firewall.text("pf/sn").contains("port = 1688 -> <k8s_shared_lb>"));
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
        .replacen("<separator></separator>", &format!("<separator>{nat}</separator>"), 1)
        .replacen(
            "<separator><wan></wan></separator>",
            &format!("<separator><wan>{filter}</wan></separator>"),
            1,
        );
    ChangingBox::of_xml(Version::V272, xml.as_bytes())
}

fn rows(outcome: &ChangeOutcome) -> (Vec<String>, Vec<String>) {
    let of = |element: &Element| {
        ["sep0", "sep1", "sep2"]
            .iter()
            .map(|name| {
                serde_json::to_string(
                    element.get(name).and_then(|bar| bar.get("row")).expect("a row"),
                )
                .expect("text")
            })
            .collect()
    };
    let separators = &outcome.after.separators;
    (of(&separators.nat), of(separators.filter.get("wan").expect("wan")))
}

#[test]
fn separators_shift_as_in_the_gui_and_come_back_exactly() {
    if !php::available() {
        return;
    }
    let mut firewall = with_separators();
    let deleted = done(&mut firewall, "s1", ConfigurationEdit::Delete);
    let shifted: Vec<String> = ["[\"fr0\"]", "[\"fr1\"]", "[\"fr1\"]"].map(str::to_owned).to_vec();
    assert_eq!(rows(&deleted), (shifted.clone(), shifted));
    let restored = done(&mut firewall, "s2", back(&deleted.before));
    assert_eq!(restored.after, standing(&deleted.before));

    let deleted = done(&mut firewall, "s3", ConfigurationEdit::Delete);
    // The administrator moves the lowest bar of the port forwards to the top meanwhile.
    let config = firewall.config();
    let at = config.rfind("<row>fr1</row>").expect("a bar");
    let nat_at = config.find("<sep2>").expect("a bar");
    let moved = if at < nat_at {
        at
    } else {
        nat_at + config[nat_at..].find("<row>fr1</row>").expect("its row")
    };
    let text =
        format!("{}<row>fr0</row>{}", &config[..moved], &config[moved + "<row>fr1</row>".len()..]);
    firewall.php().write("conf/config.xml", text.as_bytes());
    let restored = done(&mut firewall, "s4", back(&deleted.before));
    let (nat, filter) = rows(&restored);
    assert_eq!(nat, ["[\"fr0\"]", "[\"fr1\"]", "[\"fr0\"]"], "his bars stay where he put them");
    assert_eq!(filter, ["[\"fr0\"]", "[\"fr1\"]", "[\"fr2\"]"]);
}

#[test]
fn a_change_touches_nothing_else() {
    if !php::available() {
        return;
    }
    for version in Version::ALL {
        let mut firewall = ChangingBox::new(version, Fixture::Elsewhere);
        let foreign = firewall.foreign();
        for (name, change) in [
            ("f1", wanted()),
            ("f2", ConfigurationEdit::Disable),
            ("f3", ConfigurationEdit::Enable),
        ] {
            done(&mut firewall, name, change);
            assert_eq!(firewall.foreign(), foreign, "{version:?} {name}");
        }
    }
}
