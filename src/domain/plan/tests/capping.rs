//! Plans about the caps: which values, where they work, who would feel them.

use super::*;
use crate::domain::pfsense::change::Armed;
use crate::domain::pfsense::configured::InterfaceConfig;

#[test]
fn caps_that_are_there_already_are_nothing_to_do() {
    let words = nothing(Box_::open().caps(Some(50), Some((10, 60))));
    assert!(words.contains("already"), "{words}");
}

#[test]
fn tightening_says_what_it_implies_and_who_will_feel_it() {
    let mut open = Box_::open();
    (open.sources[0].established, open.sources[0].states) = (14, 14);
    let draft = draft(open.caps(Some(10), Some((3, 60))));
    assert_eq!(
        draft.differences,
        [Difference::new("max_src_conn", 50_u32, 10_u32), Difference::new("rate", "10/60", "3/60")]
    );
    assert_eq!(codes(&draft), ["counters-restart", "cut-soon", "stay-blocked"]);
    assert!(draft.risks[1].message.contains("198.51.100.23 (14)"), "{:?}", draft.risks);
    assert!(!draft.risks[2].message.contains("flush"));
    assert_eq!(draft.seen.fingerprint, "before");
}

#[test]
fn loosening_names_who_stays_blocked() {
    let draft = draft(Box_::open().caps(Some(50), Some((30, 60))));
    let stay = draft.risks.iter().find(|risk| risk.code == "stay-blocked").unwrap();
    assert!(stay.message.contains("kmsctl virusprot show"), "{stay:?}");
    assert!(!stay.message.contains("flush"), "{stay:?}");
}

#[test]
fn caps_without_a_rate_and_without_any_are_named_for_what_they_are() {
    let draft_of = |caps: Result<Planned, Refusal>| draft(caps);
    assert!(codes(&draft_of(Box_::open().caps(Some(10), None))).contains(&"no-overload"));
    let none = draft_of(Box_::open().caps(None, None));
    assert_eq!(none.confirm, Confirm::Word("uncapped".into()));
    assert!(
        codes(&draft_of(Box_::open().caps(Some(1_000_000), Some((10, 60)))))
            .contains(&"never-bites")
    );
}

#[test]
fn values_that_do_not_load_or_that_the_form_refuses_are_refused() {
    for (conn, rate) in [
        (Some(0), None),
        (Some(10), Some((0, 60))),
        (Some(10), Some((10, 0))),
        (Some(10), Some((5_000_000, 60))),
        (Some(10), Some((4_294_967, 60))),
        (Some(10), Some((10, 256))),
    ] {
        let refusal = Box_::open().caps(conn, rate).unwrap_err();
        assert_eq!(refusal.kind, RefusalKind::Usage, "{conn:?} {rate:?}: {refusal}");
    }
    assert!(Box_::open().caps(Some(u32::MAX), Some((4_294_966, 255))).is_ok());
}

#[test]
fn caps_are_refused_where_they_cannot_work_with_the_reason() {
    type Edit = fn(&mut Configured);
    let cases: [(&str, Edit); 6] = [
        ("association is \"Pass\"", |configured| {
            configured.nat[0].association = Some("pass".into());
        }),
        ("action is block", |configured| {
            configured.filter[0].kind = Some("block".into());
        }),
        ("protocol is udp", |configured| {
            configured.filter[0].protocol = Some("udp".into());
        }),
        ("protocol is any", |configured| {
            configured.filter[0].protocol = None;
        }),
        ("keeps no state", |configured| {
            configured.filter[0].statetype = Some("none".into());
        }),
        ("There is no filter rule", |configured| {
            configured.filter.clear();
            configured.nat[0].association = Some(String::new());
        }),
    ];
    for (reason, change) in cases {
        let refusal = Box_::open().changed(change).caps(Some(10), Some((3, 60))).unwrap_err();
        assert!(refusal.message.contains(reason), "{reason}: {refusal}");
        assert_eq!(refusal.kind, RefusalKind::Impossible);
        assert!(!refusal.hints.is_empty(), "{reason}");
    }
}

#[test]
fn half_a_rate_is_something_to_do_even_where_the_caps_would_be_the_same() {
    let half =
        Box_::open().changed(|configured| configured.filter[0].caps.max_src_conn_rate = None);
    let draft = draft(half.caps(Some(50), None));
    assert!(matches!(change_of(&draft), ConfigurationEdit::Caps { rate: None, .. }));
}

#[test]
fn others_work_is_in_the_way() {
    let pending = Box_::open().changed(|configured| configured.dirty = vec!["filter".into()]);
    assert_eq!(pending.caps(Some(9), None).unwrap_err().kind, RefusalKind::Conflict);
    let terms =
        ChangeOptions { with_pending: true, reverts_after: Some(7200), ..Default::default() };
    let wanted = WantedCaps { caps: Caps { max_src_conn: Some(9), rate: None }, preset: None };
    let draft = draft(pending.plan(|present| plan_caps(present, &wanted, terms)));
    assert!(codes(&draft).contains(&"activates-pending"));
    assert_eq!(draft.reverts_after, Some(7200));
    let busy = Box_::open().changed(|configured| {
        let id = ChangeId::new("abc").unwrap();
        configured.unfinished =
            vec![RunningChange { id, who: "vera@desk".into(), what: "caps".into(), since: 1 }];
    });
    let refusal = busy.caps(Some(9), None).unwrap_err();
    assert!(
        refusal.kind == RefusalKind::Conflict && refusal.message.contains("vera@desk"),
        "{refusal}"
    );
    let twice = Box_::open().changed(|configured| {
        let copy = configured.nat[0].clone();
        configured.nat.push(copy);
    });
    assert!(twice.caps(Some(9), None).unwrap_err().message.contains("not clear which"));
    let off = Box_::open().changed(|configured| configured.filter_disabled = true);
    assert!(off.caps(Some(9), None).unwrap_err().message.contains("disabled"));
}

/// Plans `tighten`, or `set` where it is not urgent.
fn tightened(on: &Box_, urgent: bool, with_pending: bool) -> Result<Planned, Refusal> {
    let rate = Some(Rate { connections: 3, seconds: 60 });
    let wanted = WantedCaps { caps: Caps { max_src_conn: Some(10), rate }, preset: None };
    let terms = ChangeOptions { with_pending, urgent, reverts_after: None };
    on.plan(|present| plan_caps(present, &wanted, terms))
}

fn rules_without(pass: bool) -> Vec<Rule> {
    let own = (!pass).then(fixtures::pass);
    let mut rules = vec![fixtures::block_table()];
    rules.extend(own);
    rules.push(fixtures::default_deny());
    rules
}

#[test]
fn caps_open_nothing_that_others_saved() {
    let configured = fixtures::configured;
    for (pass_is_out, nat) in
        [(true, Vec::new()), (false, Vec::new()), (true, vec![fixtures::rdr()])]
    {
        for dirty in [Vec::new(), vec!["filter".to_owned()]] {
            let configured = Configured { dirty, ..configured() };
            let saved = Box_::new(configured, &rules_without(pass_is_out), &nat);
            for urgent in [true, false] {
                let refusal = tightened(&saved, urgent, false).unwrap_err();
                assert_eq!(refusal.kind, RefusalKind::Conflict, "{refusal}");
                let hints = refusal.hints.join(" ");
                assert!(hints.contains("--with-pending"), "{refusal} {hints}");
                let draft = draft(tightened(&saved, urgent, true));
                let (_, then) = draft.turns_exposure().expect("it opens");
                assert_eq!(then, exposure::State::Open);
                assert_eq!(draft.shown_risks()[0].code, "turns-exposure", "{:?}", draft.risks);
            }
        }
    }
}

#[test]
fn caps_open_nothing_to_some_either() {
    let mut configured = fixtures::configured();
    configured.filter[0].source =
        Side { address: Some("198.51.100.0/24".into()), ..Side::default() };
    let saved = Box_::new(configured, &rules_without(true), &[]);
    assert_eq!(tightened(&saved, true, false).unwrap_err().kind, RefusalKind::Conflict);
    let draft = draft(tightened(&saved, true, true));
    assert_eq!(draft.shown_risks()[0].code, "turns-exposure", "{:?}", draft.risks);
}

#[test]
fn caps_that_close_what_is_open_say_so() {
    let mut configured = fixtures::configured();
    configured.nat[0].disabled = true;
    for is_whole in [true, false] {
        configured.filter[0].disabled = is_whole;
        let saved = Box_::new(configured.clone(), &rules_without(false), &[fixtures::rdr()]);
        assert_eq!(tightened(&saved, false, false).unwrap_err().kind, RefusalKind::Conflict);
        for (urgent, with_pending) in [(true, false), (false, true)] {
            let draft = draft(tightened(&saved, urgent, with_pending));
            let then = if is_whole { exposure::State::Closed } else { exposure::State::Half };
            assert_eq!(draft.turns_exposure(), Some((exposure::State::Open, then)));
            assert_eq!(draft.shown_risks()[0].code, "turns-exposure", "{:?}", draft.risks);
        }
    }
    // Where pf runs what is saved, nothing turns.
    for steady in [Box_::open(), Box_::closed()] {
        assert_eq!(draft(tightened(&steady, true, false)).turns_exposure(), None);
    }
}

#[test]
fn caps_that_open_a_second_way_say_so() {
    let forward = |interface: &str, target: &str, association: &str| {
        let mut forward = fixtures::configured().nat.remove(0);
        forward.index += 1;
        forward.interface = interface.to_owned();
        forward.target = Some(target.to_owned());
        forward.association = Some(association.to_owned());
        forward
    };
    let second_wan = InterfaceConfig {
        name: "opt1".into(),
        enabled: true,
        gateway: Some("WAN2GW".into()),
        ..InterfaceConfig::default()
    };
    for (interface, target, association, dirty, is_opened) in [
        ("opt1", "k8s_kms_lb", "pass", true, true),
        ("opt1", "10.0.20.202", "pass", true, true),
        ("opt1", "10.0.20.202", "", true, false),
        ("opt1", "10.0.20.50", "pass", true, false),
        ("opt2", "k8s_kms_lb", "pass", true, false),
        ("opt1", "k8s_kms_lb", "pass", false, false),
    ] {
        let mut configured = fixtures::configured();
        configured.interfaces = vec![second_wan.clone()];
        configured.nat.push(forward(interface, target, association));
        configured.dirty.extend(dirty.then(|| "filter".to_owned()));
        let saved = Box_::new(configured, &rules_without(false), &[fixtures::rdr()]);
        // Where the service is open, a hardening goes on, and says it first.
        let draft = draft(tightened(&saved, true, false));
        let is_said = draft.shown_risks().first().is_some_and(|risk| risk.code == "turns-exposure");
        assert_eq!(is_said, is_opened, "{interface} {target} {association}: {:?}", draft.risks);
    }
}

#[test]
fn caps_make_nothing_temporary_permanent_in_silence() {
    let armed = |on: Box_, what: &str| {
        on.changed(|configured| {
            configured.armed = vec![Armed {
                id: ChangeId::new("abc").unwrap(),
                reverts_at: 1_795_350_619,
                what: what.to_owned(),
                who: "v@l".into(),
                port: 1688,
                interface: "wan".into(),
            }];
        })
    };
    let edits = [
        (ConfigurationEdit::Enable, "kmsctl expose revoke", Box_::open as fn() -> Box_),
        (ConfigurationEdit::Disable, "kmsctl expose restore", Box_::closed),
        (ConfigurationEdit::Delete, "kmsctl expose restore", Box_::closed),
        (ConfigurationEdit::DisableFilter, "kmsctl expose restore", Box_::closed),
    ];
    for (edit, next, on) in edits {
        let on = armed(on(), &edit.edit_words());
        let refusal = tightened(&on, false, true).unwrap_err();
        let hints = refusal.hints.join(" ");
        assert_eq!(refusal.kind, RefusalKind::Conflict, "{refusal}");
        assert!(hints.contains("kmsctl keep abc") && hints.contains("kmsctl undo abc"), "{hints}");
        let draft = draft(tightened(&on, true, false));
        let first = draft.shown_risks()[0];
        assert_eq!(first.code, "becomes-permanent", "{:?}", draft.risks);
        assert!(first.message.contains(next), "{first:?}");
        let reverts = draft.differences.iter().find(|one| one.field == "reverts_at").unwrap();
        assert!(reverts.before.is_string() && reverts.after.is_null(), "{reverts:?}");
    }
    // Caps replace caps, and an opening a closing; an opening leaves caps as they are for a while.
    let caps = ConfigurationEdit::Caps { max_src_conn: Some(50), rate: None }.edit_words();
    assert!(
        !codes(&draft(tightened(&armed(Box_::open(), &caps), false, false)))
            .contains(&"becomes-permanent")
    );
    let closing = ConfigurationEdit::Disable.edit_words();
    draft(restored(&armed(Box_::closed(), &closing), None));
    let refusal = restored(&armed(Box_::closed(), &caps), None).unwrap_err();
    assert!(refusal.hints.join(" ").contains("kmsctl keep abc"), "{refusal}");
    draft(applied(&armed(Box_::closed(), &caps)));
}

#[test]
fn caps_of_a_rule_out_of_its_schedule_are_not_proven() {
    let mut configured = fixtures::configured();
    configured.filter[0].sched = Some("office".into());
    configured.filter[0].conditions = vec![("sched", "office".into())];
    let out = Box_::new(configured, &rules_without(true), &[fixtures::rdr()]);
    let draft = draft(tightened(&out, true, false));
    assert!(draft.checks.iter().all(|check| !check.contains("carries")), "{:?}", draft.checks);
    assert!(codes(&draft).contains(&"not-loaded"));
}

#[test]
fn half_a_rate_is_shown_and_comes_back() {
    let half =
        Box_::open().changed(|configured| configured.filter[0].caps.max_src_conn_rates = None);
    let draft = draft(half.caps(Some(50), None));
    let shown = Difference::new("filter rule max-src-conn-rate", "10", None::<&str>);
    assert!(draft.differences.contains(&shown), "{:?}", draft.differences);
    assert!(matches!(draft.undo, Undo::Command(_)), "{:?}", draft.undo);
}
