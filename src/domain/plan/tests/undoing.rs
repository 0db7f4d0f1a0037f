//! Plans that take changes back, the history they are chosen from, and keeping.

use super::*;

fn flushed() -> Entry {
    let plan = sealed();
    let mut finish = Finish::new(Ended::Done, "4 of 4 freed.");
    finish.changed = entries().iter().map(PlannedEntry::from).collect();
    done(&plan, finish)
}

#[test]
fn undo_of_a_flush_blocks_again_what_was_freed_but_not_the_operator() {
    let operator: IpAddr = [203, 0, 113, 9].into();
    let there = [entry("203.0.113.5", 1)];
    let undone = draft(undo(&flushed(), &Past::Table(&there, Some(operator))));
    let Operation::TableAdd { entries, .. } = &undone.operation else {
        panic!("{undone:?}");
    };
    let names: Vec<String> = entries
        .iter()
        .map(|entry| entry.address.to_string())
        .collect();
    assert_eq!(names, ["198.51.100.0/24", "2001:db8::1"]);
    assert_eq!(codes(&undone), ["ages-restart", "operator-left-out"]);
    assert_eq!(undone.undoes.as_deref(), Some(sealed().id.as_str()));
    assert!(
        nothing(undo(&flushed(), &Past::Table(&super::entries(), None))).contains("again already")
    );
}

#[test]
fn nothing_is_undone_twice_and_nothing_unknown_is_undone() {
    let entry = Entry {
        undone_by: Some("def".into()),
        ..flushed()
    };
    assert!(
        undo(&entry, &Past::Table(&[], None))
            .unwrap_err()
            .message
            .contains("already, by def")
    );
    let entry = Entry {
        finish: None,
        ..flushed()
    };
    let refusal = undo(&entry, &Past::Table(&[], None)).unwrap_err();
    assert!(
        refusal.message.contains("not known") && refusal.hints.len() == 1,
        "{refusal}"
    );
}

fn revoke_done(fingerprints: (&str, &str)) -> Entry {
    let plan = Plan::seal(draft(revoked(&Box_::open(), true)), author(), "0").unwrap();
    let outcome = Outcome {
        id: plan.id.clone(),
        result: Ending::Done,
        message: "Deleted.".into(),
        before: records("1688"),
        after: Records::default(),
        fingerprints: (fingerprints.0.into(), fingerprints.1.into()),
        steps: Vec::new(),
        reverts_at: None,
        lost_update: None,
        holder: None,
        reverted: None,
    };
    let mut finish = Finish::new(Ended::Done, "Deleted.");
    finish.outcome = Some(Box::new(outcome));
    done(&plan, finish)
}

#[test]
fn undo_of_a_deletion_puts_the_saved_records_back_if_nothing_moved() {
    let undone = |fingerprints| {
        let entry = revoke_done(fingerprints);
        Box_::absent()
            .plan(|present| undo(&entry, &Past::Configuration(*present, Terms::default())))
    };
    let draft = draft(undone(("older", "before")));
    assert!(
        matches!(change_of(&draft), Change::PutBack { records: given, alias: false } if **given == records("1688"))
    );
    assert!(
        draft
            .differences
            .contains(&Difference::new("port forward", Value::Null, "enabled")),
        "{:?}",
        draft.differences
    );
    assert_eq!(
        undone(("older", "newer")).unwrap_err().kind,
        RefusalKind::Conflict
    );
    assert!(nothing(undone(("before", "newer"))).contains("before"));
}

#[test]
fn undo_without_an_id_means_the_last_that_can_be_and_never_an_undo() {
    let first = sealed();
    let undoing = Draft {
        undoes: Some(first.id.to_string()),
        ..first.change.clone()
    };
    let second = Plan::seal(undoing, author(), "2").unwrap();
    let started = |plan: &Plan| Event::Started {
        plan: Box::new(plan.clone()),
        by: None,
    };
    let ended = |plan: &Plan, how| Event::Ended {
        id: plan.id.to_string(),
        finish: Box::new(Finish::new(how, "So.")),
    };
    let fold = |events: &[Event]| history::fold(events.iter().map(|event| (now(), event)));
    let before = fold(&[started(&first), ended(&first, Ended::Done)]);
    assert_eq!(
        history::last_undoable(&before, "demo").map(|entry| &entry.plan.id),
        Some(&first.id)
    );
    assert_eq!(history::last_undoable(&before, "other"), None);
    let failed = fold(&[
        started(&first),
        ended(&first, Ended::Done),
        started(&second),
        ended(&second, Ended::Failed),
    ]);
    assert_eq!(
        history::last_undoable(&failed, "demo").map(|entry| &entry.plan.id),
        Some(&first.id),
        "an undo that failed undid nothing"
    );
    let after = fold(&[
        started(&first),
        ended(&first, Ended::Done),
        started(&second),
        ended(&second, Ended::Done),
    ]);
    assert_eq!(history::last_undoable(&after, "demo"), None);
    assert_eq!(after[0].undone_by.as_deref(), Some(second.id.as_str()));
    assert!(history::find(&after, &second.id.as_str()[..6]).is_ok());
    assert!(matches!(
        history::find(&after, "zz"),
        Err(history::FindError::Unknown(_))
    ));
}

#[test]
fn the_firewalls_own_history_tells_of_other_operators() {
    let revision = |username: &str, description: &str| crate::domain::configured::Revision {
        time: Some("1795350619".into()),
        description: Some(description.into()),
        username: Some(username.into()),
    };
    let told = history::elsewhere(&revision(
        "kmsctl (vera@desk)",
        "kmsctl (vera@desk): kmsctl c1: caps per source: 10: night",
    ))
    .unwrap();
    assert_eq!(
        (told.id.as_str(), told.who.as_str(), told.what.as_str()),
        ("c1", "vera@desk", "caps per source: 10: night")
    );
    assert_eq!(
        history::elsewhere(&revision(
            "admin@10.0.10.5 (Local Database)",
            "kmsctl c1: x"
        )),
        None
    );
    assert_eq!(
        history::elsewhere(&revision("kmsctl (vera@desk)", "nonsense")),
        None
    );
}

#[test]
fn keep_disarms_only_what_is_armed() {
    let armed = Box_::open().changed(|configured| {
        let id = ChangeId::new("abc").unwrap();
        configured.armed = vec![crate::domain::change::Armed {
            id,
            reverts_at: 1_795_350_619,
            what: "caps".into(),
            who: "v@l".into(),
        }];
    });
    assert!(matches!(
        draft(armed.plan(|present| keep("abc", present))).operation,
        Operation::Keep { .. }
    ));
    assert!(nothing(armed.plan(|present| keep("def", present))).contains("nothing is armed"));
}
