//! Plans that close and open the exposure.

use super::*;
use crate::domain::pfsense::configured::{Alias, FilterRule, NatRule};
use crate::domain::ratelimit::Preset;

#[test]
fn revoke_disables_or_deletes_and_wants_the_word() {
    let plan = draft(revoked(&Box_::open(), false));
    assert_eq!(change_of(&plan), &ConfigurationEdit::Disable);
    assert_eq!(plan.confirm, Confirm::Word("revoke".into()));
    assert!(plan.differences.contains(&Difference::new("exposure", "open", "closed")));
    assert!(plan.differences.contains(&Difference::new("connections", 2_u32, 0_u32)));
    assert_eq!(change_of(&draft(revoked(&Box_::open(), true))), &ConfigurationEdit::Delete);
    assert_eq!(change_of(&draft(revoked(&Box_::closed(), true))), &ConfigurationEdit::Delete);
    assert!(nothing(revoked(&Box_::closed(), false)).contains("disabled already"));
    assert!(nothing(revoked(&Box_::absent(), true)).contains("no such rules"));
}

#[test]
fn what_upnp_has_opened_is_a_risk_of_closing() {
    let filter = [fixtures::block_table(), fixtures::pass(), fixtures::default_deny()];
    let anchor = fixtures::printed("rdr-anchor \"miniupnpd\" all");
    let with_upnp = Box_::new(fixtures::configured(), &filter, &[fixtures::rdr(), anchor]);
    for delete in [false, true] {
        let plan = draft(revoked(&with_upnp, delete));
        assert!(codes(&plan).contains(&"anchor-unread"), "{:#?}", plan.risks);
        let without = draft(revoked(&Box_::open(), delete));
        assert!(!codes(&without).contains(&"anchor-unread"));
    }
}

#[test]
fn rules_that_only_pf_still_has_are_no_closed_exposure() {
    let drifted = Box_::open().changed(|configured| {
        configured.nat.clear();
        configured.filter.clear();
    });
    let loading = draft(revoked(&drifted, false));
    assert!(
        matches!(change_of(&loading), ConfigurationEdit::PutBack { records, .. } if records.nat.is_none())
    );
    assert_eq!(loading.confirm, Confirm::Word("revoke".into()));
    // Nothing of it helps where somebody else's forward is meant.
    let mut elsewhere = Box_::open().changed(|configured| {
        configured.nat[0].target = Some("k8s_shared_lb".into());
        configured.nat[0].descr = Some("Shared".into());
        configured.filter.clear();
    });
    let refusal = revoked(&elsewhere, false).unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::Conflict);
    assert!(refusal.message.contains("\"Shared\" points to \"k8s_shared_lb\""), "{refusal}");
    assert!(refusal.message.contains("leads elsewhere"), "{refusal}");
    // By another alias it may lead to the service all the same.
    let mut renamed = Box_::open().changed(|configured| {
        configured.nat[0].target = Some("node".into());
        configured.filter.clear();
    });
    let node = Alias { name: "node".into(), ..renamed.configured.aliases[0].clone() };
    renamed.configured.aliases.push(node);
    let refusal = revoked(&renamed, false).unwrap_err();
    assert!(refusal.message.contains("leads to the service, and not by the alias"), "{refusal}");
    elsewhere = elsewhere.changed(|configured| configured.nat[0].disabled = true);
    let loading = draft(revoked(&elsewhere, false));
    assert!(matches!(change_of(&loading), ConfigurationEdit::PutBack { .. }));
}

/// An alias that holds another machine opens nothing to it; one that holds another too says so first.
#[test]
fn an_alias_of_another_machine_opens_nothing() {
    let held = |members: &str| {
        let on = Box_::closed().changed(|configured| {
            configured.alias.as_mut().expect("an alias").address = Some(members.to_owned());
        });
        restored(&on, None)
    };
    for members in ["10.0.20.50", "10.0.20.50 10.0.20.51", "10.0.20.0/24"] {
        let refusal = held(members).expect_err(members);
        assert_eq!(refusal.kind, RefusalKind::Conflict, "{members}");
        assert!(refusal.message.contains("this would open the port to it"), "{refusal}");
    }
    let draft = draft(held("10.0.20.202 10.0.20.50"));
    assert_eq!(draft.risks.first().map(|risk| risk.code.as_str()), Some("leads-elsewhere"));
    assert!(held("10.0.20.202").is_ok() && held("kms.example.org").is_ok());
}

fn shown(draft: &Draft) -> Vec<(&str, String)> {
    let differences = draft.differences.iter();
    differences
        .map(|difference| (difference.field.as_str(), difference.after.to_string()))
        .collect()
}

#[test]
fn what_is_put_back_can_be_judged_before_it_is() {
    let mut old = records("1688");
    old.nat.as_mut().unwrap().record.set_child("disabled", "");
    let plan = draft(restored(&Box_::absent(), Some(&saved(old.clone()))));
    assert_eq!(
        plan.what,
        "Open the exposure: put back the rules that abc deleted at 2026-03-01T12:00:00Z."
    );
    assert_eq!(
        shown(&plan),
        [
            ("port forward", "\"port 1688 to k8s_kms_lb from any\"".to_owned()),
            ("filter rule", "\"pass to k8s_kms_lb port 1688 from any\"".to_owned()),
            ("max_src_conn", "50".to_owned()),
            ("rate", "\"10/60\"".to_owned()),
            ("exposure", "\"open\"".to_owned()),
        ]
    );
    let friends = Element::of_texts([("address", "10.99.0.0/16")]);
    old.filter.as_mut().unwrap().record.set_child("source", friends);
    let plan = draft(restored(&Box_::absent(), Some(&saved(old))));
    let fields = shown(&plan);
    assert!(fields[1].1.contains("from 10.99.0.0/16"), "{fields:?}");
    assert!(!fields.iter().any(|(field, _)| *field == "exposure"));
    assert_eq!(codes(&plan), ["source-limited"]);
}

#[test]
fn rules_without_caps_are_promised_as_what_they_are() {
    let promised = |planned: Result<Planned, Refusal>| {
        let plan = draft(planned);
        let shown = codes(&plan).contains(&"uncapped");
        (plan.turns_exposure().map(|(_, after)| after.name()), shown)
    };
    let uncapped = (Some("uncapped"), true);
    let open = (Some("open"), false);
    let back = |records: Records| restored(&Box_::absent(), Some(&saved(records)));
    assert_eq!(promised(back(records("1688"))), open);
    let mut bare = records("1688");
    for cap in ["max-src-conn", "max-src-conn-rate"] {
        bare.filter.as_mut().unwrap().record.remove(cap);
    }
    assert_eq!(promised(back(bare)), uncapped);
    let mut passing = records("1688");
    let nat = &mut passing.nat.as_mut().unwrap().record;
    nat.set_child("associated-rule-id", "pass");
    assert_eq!(promised(back(passing.clone())), uncapped);
    passing.filter = None;
    assert_eq!(promised(back(passing)), uncapped);

    assert_eq!(promised(restored(&Box_::closed(), None)), open);
    let bare =
        Box_::closed().changed(|configured| configured.filter[0].caps = CapFields::default());
    assert_eq!(promised(restored(&bare, None)), uncapped);
    let passing = Box_::closed().changed(|configured| {
        configured.nat[0].association = Some("pass".into());
    });
    assert_eq!(promised(restored(&passing, None)), uncapped);
    assert_eq!(promised(restored(&Box_::absent(), None)), open);
}

#[test]
fn what_depends_on_more_than_the_rules_say_is_not_promised() {
    let conditions = [
        ("os", "Linux"),
        ("tagged", "guest"),
        ("dscp", "af11"),
        ("sched", "Workdays"),
        ("gateway", "WAN2GW"),
    ];
    let first = |kind: &str, condition: (&'static str, &str)| {
        let mut rule = fixtures::filter_rule();
        (rule.index, rule.kind, rule.association) = (0, Some(kind.into()), None);
        (rule.tracker, rule.descr) = (Some("1763000009".into()), Some("first".into()));
        rule.conditions = vec![(condition.0, condition.1.to_owned())];
        rule
    };
    let unsaid = |planned: Result<Planned, Refusal>, words: &str| {
        let plan = draft(planned);
        assert_eq!(plan.turns_exposure(), None, "{words}");
        let risk = plan.risks.iter().find(|risk| risk.code == "source-limited");
        let risk = risk.unwrap_or_else(|| panic!("{words}: {:?}", plan.risks));
        assert!(risk.message.contains(words), "{}", risk.message);
    };
    for condition in conditions {
        let own = Box_::closed().changed(|configured| {
            configured.filter[0].conditions = vec![(condition.0, condition.1.to_owned())];
        });
        let words = format!("{} {}", condition.0, condition.1);
        unsaid(restored(&own, None), &words);
        for kind in ["block", "pass"] {
            if (kind, condition.0) == ("block", "gateway") {
                continue;
            }
            let mut before = Box_::closed();
            let rules = &mut before.configured.all_filter;
            rules.insert(0, first(kind, condition));
            unsaid(restored(&before, None), "the filter rule \"first\"");
        }
    }
    // Behind it everybody is blocked, but for those whom it may let in.
    let friends = Side { address: Some("198.51.100.0/24".into()), ..Side::default() };
    for (source, condition) in [(friends, ("dscp", "af11")), (any_side(), ("os", "Linux"))] {
        let mut before = Box_::closed();
        let block = FilterRule {
            index: 1,
            conditions: Vec::new(),
            destination: any_side(),
            ..first("block", condition)
        };
        let pass = FilterRule { source, destination: any_side(), ..first("pass", condition) };
        before.configured.all_filter.splice(0..0, [pass, block]);
        unsaid(restored(&before, None), "the filter rule \"first\"");
    }
    // What is made a rule that passes keeps its gateway, which counts then.
    let blocking = Box_::closed().changed(|configured| {
        configured.filter[0].kind = Some("block".into());
        configured.filter[0].conditions = vec![("gateway", "WAN2GW".to_owned())];
    });
    unsaid(applied(&blocking), "gateway WAN2GW");
    // What leaves for the service may be led to a gateway.
    let mut leaving = Box_::closed();
    leaving.configured.all_filter.push(FilterRule {
        floating: true,
        direction: Some("any".into()),
        interface: Some(String::new()),
        destination: any_side(),
        ..first("pass", ("gateway", "WAN2GW"))
    });
    unsaid(restored(&leaving, None), "the filter rule \"first\"");
    // pfSense reads no gateway of a rule that blocks.
    let mut shut = Box_::closed();
    let rules = &mut shut.configured.all_filter;
    rules.insert(0, first("block", ("gateway", "WAN2GW")));
    let turned = draft(restored(&shut, None)).turns_exposure();
    assert_eq!(turned.map(|(_, after)| after.name()), Some("half"));
}

#[test]
fn a_forward_that_may_come_first_leaves_it_unsaid() {
    let address = |text: &str| Side { address: Some(text.into()), ..Side::default() };
    let network = |text: &str| Side { network: Some(text.into()), ..Side::default() };
    let not = |side: Side| Side { not: true, ..side };
    let own = || fixtures::nat_rule().destination;
    let restored_behind = |first: (Side, Side), door: Side| {
        let on = Box_::closed().changed(|configured| {
            let mut interface = configured.interface.take().unwrap();
            (interface.ipaddr, interface.subnet) = (Some("192.168.1.2".into()), Some("24".into()));
            configured.interfaces = vec![interface.clone()];
            configured.interface = Some(interface);
            let port = |side: &Side| Side { port: Some("1688".into()), ..side.clone() };
            configured.nat[0].destination = port(&door);
            configured.nat.push(NatRule {
                index: 1,
                target: Some("10.0.20.50".into()),
                descr: Some("first".into()),
                association: None,
                source: first.0.clone(),
                destination: port(&first.1),
                ..fixtures::nat_rule()
            });
        });
        restored(&on, None)
    };
    for (number, (source, to, door)) in [
        (any_side(), network("(self)"), address("192.168.1.7")),
        (any_side(), not(network("(self)")), address("192.168.1.7")),
        (any_side(), address("vips"), address("192.168.1.7")),
        (any_side(), address("192.168.1.7"), address("vips")),
        (any_side(), address("192.168.1.7"), not(address("192.168.1.9"))),
        (any_side(), address("vips"), own()),
        (not(address("country")), own(), own()),
        (address("0.0.0.0/1"), own(), own()),
    ]
    .into_iter()
    .enumerate()
    {
        let plan = draft(restored_behind((source, to), door));
        assert_eq!(plan.turns_exposure(), None, "{number}");
        let risk = plan.risks.iter().find(|risk| risk.code == "source-limited").unwrap();
        assert!(risk.message.contains("the port forward \"first\""), "{number}: {risk:?}");
    }
    // Its own one may be for the firewall's address, or not.
    for door in [not(network("(self)")), address("vips")] {
        let elsewhere = address("192.168.1.7");
        let plan = draft(restored_behind((address("198.51.100.7"), elsewhere), door));
        assert_eq!(plan.turns_exposure(), None);
        let risk = plan.risks.iter().find(|risk| risk.code == "source-limited").unwrap();
        assert!(risk.message.contains("the port forward \"KMS public"), "{risk:?}");
    }
    for (number, (source, to, door)) in [
        (any_side(), network("(self)"), own()),
        (any_side(), address("192.168.1.0/24"), own()),
        (any_side(), not(address("192.168.1.7")), own()),
        (any_side(), not(address("192.168.1.9")), not(address("192.168.1.9"))),
        (not(address("198.51.100.7")), own(), own()),
    ]
    .into_iter()
    .enumerate()
    {
        let refusal = restored_behind((source, to), door).unwrap_err();
        assert!(refusal.message.contains("\"first\" stands above"), "{number}: {refusal:?}");
    }
    for (number, (source, to, door)) in [
        (address("country"), own(), own()),
        (address("198.51.100.7"), own(), own()),
        (any_side(), not(own()), own()),
        (any_side(), address("192.168.1.7"), own()),
    ]
    .into_iter()
    .enumerate()
    {
        let turned = draft(restored_behind((source, to), door)).turns_exposure();
        assert_eq!(turned.unwrap().1, exposure::State::Open, "{number}");
    }
}

#[test]
fn what_another_service_had_is_not_put_back() {
    let mut targets = vec![records("1689")];
    for (kind, text) in [("target", "k8s_old_lb"), ("interface", "opt1")] {
        let mut records = records("1688");
        let nat = records.nat.as_mut().unwrap();
        nat.record.set_child(kind, text);
        targets.push(records);
    }
    // Not joined to the forward, and to elsewhere.
    let mut loose = records("1688");
    let filter = &mut loose.filter.as_mut().unwrap().record;
    filter.set_child("associated-rule-id", "");
    let to = Element::of_texts([("address", "10.0.30.5"), ("port", "1688")]);
    filter.set_child("destination", to);
    targets.push(Records { nat: None, ..loose.clone() });
    targets.push(loose);
    targets.push(Records::default());
    for records in targets {
        let plan = draft(restored(&Box_::absent(), Some(&saved(records.clone()))));
        assert!(matches!(change_of(&plan), ConfigurationEdit::Build { .. }), "{records:#?}");
    }
    let mut other = records("1688");
    other.nat.as_mut().unwrap().record.set_child("target", "k8s_old_lb");
    let planned = |on: &Box_| restored(on, Some(&saved(other.clone())));
    let plan = draft(planned(&Box_::absent()));
    let risk = plan.risks.iter().find(|risk| risk.code == "built-anew");
    let words =
        "what abc deleted at 2026-03-01T12:00:00Z leads to \"k8s_old_lb\" and is another service's";
    assert!(risk.unwrap().message.contains(words), "{risk:?}");
    let without = Box_::absent().changed(|configured| configured.alias = None);
    let refusal = planned(&without).unwrap_err();
    assert!(
        refusal.message.contains("no alias k8s_kms_lb") && refusal.message.contains(words),
        "{refusal}"
    );
}

#[test]
fn restore_enables_or_puts_back_or_builds() {
    assert_eq!(change_of(&draft(restored(&Box_::closed(), None))), &ConfigurationEdit::Enable);
    assert!(nothing(restored(&Box_::open(), None)).contains("is open"));
    let saved = saved(records("1688"));
    let put_back = draft(restored(&Box_::absent(), Some(&saved)));
    assert!(
        matches!(change_of(&put_back), ConfigurationEdit::PutBack { alias: false, records: given } if **given == records("1688"))
    );
    let built = draft(restored(&Box_::absent(), None));
    assert!(matches!(
        change_of(&built),
        ConfigurationEdit::Build { alias: false, max_src_conn: Some(50), .. }
    ));
    assert!(codes(&built).contains(&"built-anew"));
    let half = Box_::open().changed(|configured| configured.filter.clear());
    assert!(
        matches!(change_of(&draft(restored(&half, Some(&saved)))), ConfigurationEdit::Build { .. }),
        "what is left of the pair is not overwritten"
    );
}

#[test]
fn a_rollback_that_will_load_what_others_have_saved_says_so_beforehand() {
    let code = "revert-activates-pending";
    for reverts_after in [None, Some(7200)] {
        let terms = ChangeOptions { reverts_after, ..ChangeOptions::default() };
        let wanted = WantedCaps { caps: Caps::default(), preset: None };
        for planned in [
            Box_::open().plan(|present| plan_revoke(present, false, true, terms)),
            Box_::closed().plan(|present| plan_restore(present, None, default_caps(), terms)),
            Box_::absent().plan(|present| plan_apply(present, default_caps(), terms)),
            Box_::open().plan(|present| plan_caps(present, &wanted, terms)),
        ] {
            let draft = draft(planned);
            let shown = codes(&draft).contains(&code);
            assert_eq!(shown, reverts_after.is_some(), "{}", draft.what);
        }
    }
}

#[test]
fn a_deletion_that_was_not_proven_has_saved_its_records_too() {
    let plan = Plan::seal(draft(revoked(&Box_::open(), true)), author(), "0");
    let found = |result: ChangeEnding, ended: EndedAs| {
        let mut finish = Finish::new(ended, "So.");
        finish.outcome = Some(Box::new(ChangeOutcome {
            id: plan.id.clone(),
            result,
            message: "So.".into(),
            before: records("1688"),
            after: Records::default(),
            fingerprints: (String::new(), String::new()),
            steps: Vec::new(),
            reverts_at: None,
            lost_update: None,
            holder: None,
            reverted: None,
        }));
        let entries = [done(&plan, finish)];
        history::deletions_on(&entries).count()
    };
    assert_eq!(found(ChangeEnding::Done, EndedAs::Done), 1);
    assert_eq!(found(ChangeEnding::Done, EndedAs::Unverified), 1);
    assert_eq!(found(ChangeEnding::Unproven, EndedAs::Unverified), 1);
    assert_eq!(found(ChangeEnding::RolledBack, EndedAs::RolledBack), 0);
    assert_eq!(found(ChangeEnding::Refused, EndedAs::Failed), 0);
}

#[test]
fn a_rule_that_blocks_first_is_in_the_plan() {
    let block = |change: fn(&mut FilterRule)| {
        let mut rule = FilterRule {
            index: 2,
            tracker: Some("1700000001".into()),
            kind: Some("block".into()),
            association: None,
            descr: Some("Nobody".into()),
            ..fixtures::filter_rule()
        };
        change(&mut rule);
        rule
    };
    let shadows: [fn(&mut FilterRule); 5] = [
        |_| {},
        |rule| rule.destination = any_side(),
        |rule| {
            (rule.floating, rule.quick, rule.index) = (true, true, 99);
            rule.interface = Some("lan,wan".into());
        },
        |rule| {
            rule.destination.address = Some("10.0.20.0/24".into());
            rule.destination.port = Some("1600:1700".into());
        },
        |rule| {
            rule.kind = Some("reject".into());
            rule.protocol = None;
        },
    ];
    for (number, change) in shadows.into_iter().enumerate() {
        let closed = Box_::closed().changed(|configured| configured.filter.push(block(change)));
        let absent = Box_::absent().changed(|configured| configured.filter.push(block(change)));
        for plan in
            [draft(restored(&closed, None)), draft(applied(&closed)), draft(applied(&absent))]
        {
            let turned = plan.turns_exposure().unwrap();
            assert_eq!(turned.1, exposure::State::Half, "{number}: {plan:#?}");
            let risk = plan.risks.iter().find(|risk| risk.code == "shadowed").unwrap();
            let said = "The exposure will be half: shadowed by";
            assert!(risk.message.contains(said) && risk.message.contains("\"Nobody\""), "{risk:?}");
        }
    }
    let others: [fn(&mut FilterRule); 7] = [
        |rule| rule.disabled = true,
        |rule| rule.index = 8,
        |rule| rule.interface = Some("lan".into()),
        |rule| rule.source = Side { address: Some("203.0.113.7".into()), ..Side::default() },
        |rule| rule.destination.port = Some("443".into()),
        |rule| (rule.floating, rule.quick) = (true, false),
        |rule| rule.ipprotocol = Some("inet6".into()),
    ];
    for (number, change) in others.into_iter().enumerate() {
        let closed = Box_::closed().changed(|configured| configured.filter.push(block(change)));
        let plan = draft(restored(&closed, None));
        assert_eq!(plan.turns_exposure().unwrap().1, exposure::State::Open, "{number}");
    }
}

fn any_side() -> Side {
    Side { any: true, ..Side::default() }
}

#[test]
fn a_missing_preset_is_refused_on_replan() {
    let absent = Box_::absent();
    for planned in [restored(&absent, None), applied(&absent)] {
        let plan = Plan::seal(draft(planned), author(), "0");
        let again = |presets: &[Preset]| {
            absent.plan(|present| {
                let ground = Ground::Configuration(*present, presets);
                plan_again(&plan, ground, Origins::default()).map(Planned::from)
            })
        };
        assert_eq!(draft(again(&Preset::built_in())).operation, plan.change.operation);
        let refusal = again(&[]).unwrap_err();
        assert_eq!(refusal.kind, RefusalKind::Conflict, "{refusal}");
        assert!(refusal.message.contains("no preset `default`"), "{refusal}");
    }
}
