//! Plans that close and open the exposure.

use super::*;

#[test]
fn revoke_disables_or_deletes_and_wants_the_word() {
    let plan = draft(revoked(&Box_::open(), false));
    assert_eq!(change_of(&plan), &Change::Disable);
    assert_eq!(plan.confirm, Confirm::Word("revoke".into()));
    assert!(
        plan.differences
            .contains(&Difference::new("exposure", "open", "closed"))
    );
    assert!(
        plan.differences
            .contains(&Difference::new("connections", 2_u32, 0_u32))
    );
    assert_eq!(
        change_of(&draft(revoked(&Box_::open(), true))),
        &Change::Delete
    );
    assert_eq!(
        change_of(&draft(revoked(&Box_::closed(), true))),
        &Change::Delete
    );
    assert!(nothing(revoked(&Box_::closed(), false)).contains("disabled already"));
    assert!(nothing(revoked(&Box_::absent(), true)).contains("no such rules"));
}

#[test]
fn rules_that_only_pf_still_has_are_no_closed_exposure() {
    let drifted = Box_::open().changed(|configured| {
        configured.nat.clear();
        configured.filter.clear();
    });
    let refusal = revoked(&drifted, false).unwrap_err();
    assert!(refusal.message.contains("but pf runs some"), "{refusal}");
}

#[test]
fn restore_enables_or_puts_back_or_builds() {
    assert_eq!(
        change_of(&draft(restored(&Box_::closed(), None))),
        &Change::Enable
    );
    assert!(nothing(restored(&Box_::open(), None)).contains("is open"));
    let saved = Saved {
        id: "abc".into(),
        by: None,
        records: records("1688"),
        broken: None,
    };
    let put_back = draft(restored(&Box_::absent(), Some(&saved)));
    assert!(
        matches!(change_of(&put_back), Change::PutBack { alias: false, records: given } if **given == records("1688"))
    );
    let built = draft(restored(&Box_::absent(), None));
    assert!(matches!(
        change_of(&built),
        Change::Build {
            alias: false,
            max_src_conn: Some(50),
            ..
        }
    ));
    assert!(codes(&built).contains(&"built-anew"));
    let half = Box_::open().changed(|configured| configured.filter.clear());
    assert!(
        matches!(
            change_of(&draft(restored(&half, Some(&saved)))),
            Change::Build { .. }
        ),
        "what is left of the pair is not overwritten"
    );
}

#[test]
fn a_way_back_that_will_load_what_others_have_saved_says_so_beforehand() {
    let code = "revert-activates-pending";
    for reverts_after in [None, Some(7200)] {
        let terms = Terms {
            with_pending: false,
            reverts_after,
        };
        let wanted = Wanted {
            caps: Caps::default(),
            preset: None,
        };
        for planned in [
            Box_::open().plan(|present| revoke(present, false, true, terms)),
            Box_::closed().plan(|present| restore(present, None, default_caps(), terms)),
            Box_::absent().plan(|present| apply(present, default_caps(), terms)),
            Box_::open().plan(|present| ratelimit(present, &wanted, terms)),
        ] {
            let draft = draft(planned);
            let told = codes(&draft).contains(&code);
            assert_eq!(told, reverts_after.is_some(), "{}", draft.what);
        }
    }
}
