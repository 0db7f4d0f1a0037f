//! Plans about the caps: which values, where they work, who would feel them.

use super::*;

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
    let terms = ChangeOptions { with_pending: true, reverts_after: Some(7200) };
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
