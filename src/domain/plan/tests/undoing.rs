//! Plans that take changes back, the history they are chosen from, and keeping.

use super::*;
use crate::domain::pfsense::change::{Armed, Expired, Reverted};

fn flushed() -> HistoryEntry {
    let plan = sealed();
    let mut finish = Finish::new(EndedAs::Done, "4 of 4 freed.");
    finish.changed = entries().iter().map(PlannedEntry::from).collect();
    done(&plan, finish)
}

#[test]
fn undo_of_a_flush_blocks_again_what_was_freed_but_not_the_operator() {
    let operator: IpAddr = [203, 0, 113, 9].into();
    let there = [entry("203.0.113.5", 1)];
    let undone = draft(plan_undo(&flushed(), &Past::Table(&there, Some(operator))));
    let Operation::TableAdd { entries, .. } = &undone.operation else {
        panic!("{undone:?}");
    };
    let names: Vec<String> = entries.iter().map(|entry| entry.address.to_string()).collect();
    assert_eq!(names, ["198.51.100.0/24", "2001:db8::1"]);
    assert_eq!(codes(&undone), ["ages-restart", "operator-left-out"]);
    assert_eq!(undone.undoes.as_deref(), Some(sealed().id.as_str()));
    assert!(
        nothing(plan_undo(&flushed(), &Past::Table(&super::entries(), None)))
            .contains("again already")
    );
}

#[test]
fn undo_says_that_the_operator_is_left_out() {
    let operator: IpAddr = [203, 0, 113, 9].into();
    let others: Vec<_> =
        super::entries().into_iter().filter(|there| !there.net.contains(&operator)).collect();
    let said = nothing(plan_undo(&flushed(), &Past::Table(&others, Some(operator))));
    assert!(said.contains("is where you work from"), "{said}");
    assert!(said.contains("What else was freed is in virusprot again"), "{said}");
}

#[test]
fn nothing_is_undone_twice_and_nothing_unknown_is_undone() {
    let entry = HistoryEntry { undone_by: Some("def".into()), ..flushed() };
    assert!(
        plan_undo(&entry, &Past::Table(&[], None)).unwrap_err().message.contains("already, by def")
    );
    let entry = HistoryEntry { finish: None, ..flushed() };
    let refusal = plan_undo(&entry, &Past::Table(&[], None)).unwrap_err();
    assert!(refusal.message.contains("not known") && refusal.hints.len() == 1, "{refusal}");
}

/// The exposure's records where neither rule is there.
fn no_rules() -> Records {
    let alias = Box_::absent().configured.sections.list("aliases", "alias")[0].clone();
    Records { alias: Some(Placed { index: 0, record: alias, beside: None }), ..Records::default() }
}

/// Where both are.
fn both_rules() -> Records {
    Records { alias: no_rules().alias, ..records("1688") }
}

fn revoke_done() -> HistoryEntry {
    let author = Author { command: "expose revoke --delete".into(), ..author() };
    let plan = Plan::seal(draft(revoked(&Box_::open(), true)), author, "0");
    let outcome = ChangeOutcome {
        id: plan.id.clone(),
        result: ChangeEnding::Done,
        message: "Deleted.".into(),
        before: both_rules(),
        after: no_rules(),
        fingerprints: ("before".into(), "after".into()),
        steps: Vec::new(),
        reverts_at: None,
        lost_update: None,
        holder: None,
        reverted: None,
    };
    let mut finish = Finish::new(EndedAs::Done, "Deleted.");
    finish.outcome = Some(Box::new(outcome));
    done(&plan, finish)
}

/// Takes a change back where neither rule is there, and the firewall keeps of it what the history does.
fn undone_on_absent(entry: &HistoryEntry) -> Result<Planned, Refusal> {
    let finish = entry.finish.as_ref().unwrap();
    undone_with(entry, finish.outcome.as_deref())
}

fn undone_with(entry: &HistoryEntry, stored: Option<&ChangeOutcome>) -> Result<Planned, Refusal> {
    undone_on(&Box_::absent(), entry, stored)
}

fn undone_on(
    on: &Box_,
    entry: &HistoryEntry,
    stored: Option<&ChangeOutcome>,
) -> Result<Planned, Refusal> {
    let terms = ChangeOptions::default();
    on.plan(|present| plan_undo(entry, &Past::Configuration(*present, terms, stored)))
}

#[test]
fn records_of_the_history_alone_are_not_put_back() {
    let entry = revoke_done();
    let refusal = undone_with(&entry, None).unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::Conflict);
    assert!(refusal.message.contains("does not keep"), "{refusal}");
    let outcome = entry.finish.as_ref().unwrap().outcome.as_deref().unwrap();
    let others = [
        ChangeOutcome { before: records("1689"), ..outcome.clone() },
        ChangeOutcome { after: records("1689"), ..outcome.clone() },
        ChangeOutcome { fingerprints: ("other".into(), "after".into()), ..outcome.clone() },
    ];
    for other in others {
        let refusal = undone_with(&entry, Some(&other)).unwrap_err();
        assert_eq!(refusal.kind, RefusalKind::Conflict);
        assert!(refusal.message.contains("keeps other records"), "{refusal}");
    }
}

#[test]
fn undo_of_a_deletion_puts_the_saved_records_back_if_nothing_moved() {
    let entry = revoke_done();
    let draft = draft(undone_on_absent(&entry));
    assert!(
        matches!(change_of(&draft), ConfigurationEdit::PutBack { records: given, alias: false } if **given == both_rules())
    );
    assert!(
        draft.differences.contains(&Difference::new(
            "port forward",
            Value::Null,
            "port 1688 to k8s_kms_lb from any"
        )),
        "{:?}",
        draft.differences
    );
    for moved in [Box_::closed(), Box_::open()] {
        let refusal = undone_on(&moved, &entry, None).unwrap_err();
        assert!(refusal.message.contains("moved on"), "{refusal}");
    }
    let mut idle = entry;
    let outcome = idle.finish.as_mut().and_then(|finish| finish.outcome.as_mut()).unwrap();
    outcome.before = no_rules();
    assert!(nothing(undone_on_absent(&idle)).contains("before"));
}

fn last_undoable(events: &[HistoryEvent]) -> Option<ChangeId> {
    let mut search = history::UndoSearch::default();
    for event in events {
        search.push(event, |_| true);
    }
    search.found()
}

#[test]
fn undo_without_an_id_means_the_last_that_can_be_and_never_an_undo() {
    let first = sealed();
    let undoing = Draft { undoes: Some(first.id.to_string()), ..first.change.clone() };
    let second = Plan::seal(undoing, author(), "2");
    let started = |plan: &Plan| HistoryEvent::Started {
        plan: Box::new(plan.clone()),
        by: None,
        context: None,
        planned_as: None,
        beside: None,
    };
    let ended = |plan: &Plan, how| HistoryEvent::Ended {
        id: plan.id.to_string(),
        finish: Box::new(Finish::new(how, "So.")),
    };
    let fold = |events: &[HistoryEvent]| super::fold(events.iter().map(|event| (event, None)));
    let before = [started(&first), ended(&first, EndedAs::Done)];
    assert_eq!(last_undoable(&before), Some(first.id.clone()));
    let failed = [
        started(&first),
        ended(&first, EndedAs::Done),
        started(&second),
        ended(&second, EndedAs::Failed),
    ];
    assert_eq!(last_undoable(&failed), Some(first.id.clone()), "an undo that failed undid nothing");
    let after = [
        started(&first),
        ended(&first, EndedAs::Done),
        started(&second),
        ended(&second, EndedAs::Done),
    ];
    assert_eq!(last_undoable(&after), None);
    let after = fold(&after);
    assert_eq!(after[0].undone_by.as_deref(), Some(second.id.as_str()));
    assert!(history::find_entry(&after, &second.id.as_str()[..6]).is_ok());
    assert!(matches!(history::find_entry(&after, "zz"), Err(history::FindError::Unknown(_))));
}

#[test]
fn the_firewalls_own_history_tells_of_other_operators() {
    let revision =
        |username: &str, description: &str| crate::domain::pfsense::configured::Revision {
            time: Some("1795350619".into()),
            description: Some(description.into()),
            username: Some(username.into()),
        };
    let words = history::parse_listed_change(&revision(
        "kmsctl (vera@desk)",
        "kmsctl (vera@desk): kmsctl c1: caps per source: 10: night",
    ))
    .unwrap();
    assert_eq!(
        (words.id.as_str(), words.who.as_str(), words.what.as_str()),
        ("c1", "vera@desk", "caps per source: 10: night")
    );
    assert_eq!(
        history::parse_listed_change(&revision("admin@10.0.10.5 (Local Database)", "kmsctl c1: x")),
        None
    );
    assert_eq!(history::parse_listed_change(&revision("kmsctl (vera@desk)", "nonsense")), None);
}

fn expired(id: &str, result: ChangeEnding) -> Expired {
    Expired {
        id: ChangeId::new(id).unwrap(),
        reverted: Reverted { at: 1_795_350_619, result, message: "why".into() },
    }
}

#[test]
fn what_reverted_by_itself_is_not_chosen_and_not_kept() {
    let entry = |result| {
        let mut entry = revoke_done();
        let outcome = entry.finish.as_mut().and_then(|finish| finish.outcome.as_mut());
        outcome.expect("an outcome").reverts_at = Some(1_795_350_619);
        assert!(entry.may_be_reverted());
        let expired = expired(entry.plan.id.as_str(), result);
        let other = self::expired("other", result);
        assert_eq!(entry.learnt_ending(std::slice::from_ref(&other)), None);
        entry.finish = entry.learnt_ending(&[other, expired.clone()]);
        assert_eq!(entry.learnt_ending(&[expired]), None, "once is enough");
        entry
    };
    for (result, chosen) in [
        (ChangeEnding::Done, false),
        (ChangeEnding::NothingToDo, false),
        (ChangeEnding::Stale, true),
        (ChangeEnding::Unproven, true),
    ] {
        let entries = [entry(result)];
        let events = [
            HistoryEvent::Started {
                plan: Box::new(entries[0].plan.clone()),
                by: None,
                context: None,
                planned_as: None,
                beside: None,
            },
            HistoryEvent::Ended {
                id: entries[0].plan.id.to_string(),
                finish: Box::new(entries[0].finish.clone().unwrap()),
            },
        ];
        let found = last_undoable(&events);
        assert_eq!(found.is_some(), chosen, "{result:?}");
        let id = entries[0].plan.id.as_str();
        let refusal = Box_::absent()
            .plan(|present| plan_keep(id, None, entries.first(), present))
            .unwrap_err();
        assert_eq!(refusal.kind, RefusalKind::Conflict);
        for part in [id, "2026-11-22T", ": why."] {
            assert!(refusal.message.contains(part), "{part}: {refusal}");
        }
    }
}

#[test]
fn what_a_broken_line_tells_is_neither_put_back_nor_written_anew() {
    let entry = revoke_done();
    let events = |finish: &Finish| {
        let id = entry.plan.id.to_string();
        let finish = Box::new(finish.clone());
        HistoryEvent::Ended { id, finish }
    };
    let started = HistoryEvent::Started {
        by: None,
        context: None,
        planned_as: None,
        beside: None,
        plan: Box::new(entry.plan.clone()),
    };
    let ended = events(entry.finish.as_ref().unwrap());
    let folded = |lines: [Option<u64>; 3]| {
        let events = [&started, &ended, &ended].into_iter().zip(lines);
        super::fold(events).remove(0)
    };
    let undone = undone_on_absent;
    for (lines, named) in [([Some(3), None, None], "Line 3 "), ([None, None, Some(5)], "Line 5 ")] {
        let entry = folded(lines);
        let refusal = undone(&entry).unwrap_err();
        assert_eq!(refusal.kind, RefusalKind::Conflict);
        assert!(refusal.message.starts_with(named), "{refusal}");
        let expired = expired(entry.plan.id.as_str(), ChangeEnding::Done);
        assert_eq!(entry.learnt_ending(&[expired]), None);
        let id = entry.plan.id.as_str();
        let kept = Box_::closed().plan(|present| plan_keep(id, None, Some(&entry), present));
        assert!(kept.unwrap_err().message.starts_with(named));
    }
    let saved = SavedRecords { broken: Some(7), ..saved(records("1688")) };
    let restored = |on: &Box_| {
        on.plan(|present| {
            plan_restore(present, Some(&saved), default_caps(), ChangeOptions::default())
        })
    };
    let refusal = restored(&Box_::absent()).unwrap_err();
    assert!(refusal.message.starts_with("Line 7 "), "{refusal}");
    assert!(restored(&Box_::closed()).is_ok(), "they are not needed there");
    // An ending that the firewall told anew stands in the place of the broken one.
    assert!(undone(&folded([None, Some(4), None])).is_ok());
}

#[test]
fn keep_has_nothing_to_do_only_where_the_change_stands() {
    let entry = revoke_done();
    let id = entry.plan.id.as_str();
    let kept = |entry: &HistoryEntry, on: &Box_| {
        on.plan(|present| plan_keep(id, None, Some(entry), present))
    };
    let absent = Box_::absent();
    assert!(nothing(kept(&entry, &absent)).contains("nothing is armed"));
    let refused = |entry: &HistoryEntry, on: &Box_| kept(entry, on).unwrap_err().message;
    assert!(refused(&entry, &Box_::closed()).contains("are not what it made of them"));
    let armed = |on: Box_| {
        on.changed(|configured| {
            configured.armed = vec![Armed {
                id: entry.plan.id.clone(),
                reverts_at: 1_795_350_619,
                what: "exposure deleted".into(),
                who: "v@l".into(),
                port: 1688,
                interface: "wan".into(),
            }];
        })
    };
    assert!(refused(&entry, &armed(Box_::closed())).contains("moved on"));
    assert!(matches!(kept(&entry, &armed(Box_::absent())), Ok(Planned::Change(_))));
    let running = Box_::absent().changed(|configured| {
        configured.unfinished = vec![RunningChange {
            id: entry.plan.id.clone(),
            who: "v@l".into(),
            what: "caps".into(),
            since: 1,
        }];
    });
    assert!(refused(&entry, &running).contains("at this moment"));
    let by = || Some("def".to_owned());
    let undone = HistoryEntry { undone_by: by(), ..entry.clone() };
    assert!(refused(&undone, &absent).contains("def stands in the place"));
    let superseded = HistoryEntry { superseded_by: by(), ..entry.clone() };
    assert!(refused(&superseded, &absent).contains("def stands in the place"));
    let unknown = HistoryEntry { finish: None, ..entry.clone() };
    assert!(refused(&unknown, &absent).contains("not known"));
    let failed =
        HistoryEntry { finish: Some(Finish::new(EndedAs::Failed, "No.")), ..entry.clone() };
    assert!(refused(&failed, &absent).contains("ended as failed"));
}

#[test]
fn keep_disarms_only_what_is_armed() {
    let armed = Box_::open().changed(|configured| {
        let id = ChangeId::new("abc").unwrap();
        configured.armed = vec![Armed {
            id,
            reverts_at: 1_795_350_619,
            what: "caps".into(),
            who: "v@l".into(),
            port: 1688,
            interface: "wan".into(),
        }];
    });
    assert!(matches!(
        draft(armed.plan(|present| plan_keep("abc", None, None, present))).operation,
        Operation::Keep { .. }
    ));
    assert!(
        nothing(armed.plan(|present| plan_keep("def", None, None, present)))
            .contains("nothing is armed")
    );
}

#[test]
fn the_rollback_of_another_service_concerns_nobody_else() {
    for (port, interface, concerns) in
        [(1688, "wan", true), (8443, "wan", false), (1688, "opt1", false)]
    {
        let armed = Box_::open().changed(|configured| {
            configured.armed = vec![Armed {
                id: ChangeId::new("abc").unwrap(),
                reverts_at: 1_795_350_619,
                what: "caps".into(),
                who: "v@l".into(),
                port,
                interface: interface.into(),
            }];
        });
        let terms = ChangeOptions { reverts_after: Some(60), ..ChangeOptions::default() };
        // No closing is refused because of a timer: it lasts, and says so.
        let crossing = draft(armed.plan(|present| plan_revoke(present, false, false, terms)));
        assert_eq!(crossing.reverts_after.is_none(), concerns, "{port} {interface}");
        assert_eq!(codes(&crossing).contains(&"for-left-out"), concerns);
        let idle =
            armed.plan(|present| plan_apply(present, default_caps(), ChangeOptions::default()));
        assert_eq!(idle.is_err(), concerns, "{port} {interface}");
        let disarming = draft(revoked(&armed, false));
        let words = codes(&disarming).contains(&"armed");
        assert_eq!(words, concerns, "{port} {interface}");
    }
}
