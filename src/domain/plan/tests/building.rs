//! Plans that make the exposure what the configuration says: every field named, nothing of others touched.

use super::*;
use crate::domain::pfsense::configured::FilterRule;

#[test]
fn apply_names_what_differs_and_nothing_else() {
    let applied = |on: &Box_| {
        on.plan(|present| plan_apply(present, default_caps(), ChangeOptions::default()))
    };
    assert!(nothing(applied(&Box_::open())).contains("what the configuration says"));
    let wrong = Box_::open().changed(|configured| {
        configured.nat[0].target = Some("k8s_shared_lb".into());
        configured.nat[0].association = Some("pass".into());
        configured.filter.clear();
    });
    let fields = |draft: &Draft| {
        draft.differences.iter().map(|difference| difference.field.clone()).collect::<Vec<_>>()
    };
    assert_eq!(
        fields(&draft(applied(&wrong))),
        ["port forward target", "association", "filter rule", "max_src_conn", "rate"]
    );
    let absent = draft(applied(&Box_::absent()));
    assert_eq!(
        fields(&absent),
        ["port forward", "filter rule", "max_src_conn", "rate", "exposure"]
    );
    assert!(matches!(change_of(&absent), ConfigurationEdit::Build { alias: true, .. }));
}

fn differences(draft: &Draft) -> Vec<&str> {
    let fields = draft.differences.iter();
    fields.map(|difference| difference.field.as_str()).collect()
}

#[test]
fn apply_names_every_field_that_it_edits() {
    let wrong = Box_::open().changed(|configured| {
        let nat = &mut configured.nat[0];
        nat.disabled = true;
        nat.destination = Side { any: true, ..Side::default() };
        nat.destination.port = Some("1688".into());
        nat.protocol = Some("tcp/udp".into());
        let filter = &mut configured.filter[0];
        filter.disabled = true;
        filter.kind = Some("block".into());
        filter.destination.port = Some("1600".into());
        filter.protocol = Some("tcp/udp".into());
        filter.statetype = Some("none".into());
        let alias = configured.alias.as_mut().unwrap();
        alias.address = Some("10.0.20.202 10.0.20.203".into());
        alias.kind = Some("network".into());
    });
    assert_eq!(
        differences(&draft(applied(&wrong))),
        [
            "port forward",
            "port forward protocol",
            "port forward destination",
            "filter rule",
            "filter rule type",
            "filter rule protocol",
            "filter rule state type",
            "filter rule destination",
            "alias type",
            "alias",
            "alias detail",
            // Such a rule has no caps, whatever its fields say.
            "max_src_conn",
            "rate",
        ]
    );
    let links = |nat: &str, filter: &str| {
        let on = Box_::open().changed(|configured| {
            configured.nat[0].association = Some(nat.into());
            configured.filter[0].association = Some(filter.into());
        });
        match applied(&on).unwrap() {
            Planned::NothingToDo(_) => 0,
            Planned::Change(draft) => draft.differences.len(),
        }
    };
    assert_eq!(links("nat_a", "nat_a"), 0);
    assert_eq!(links("nat_a", ""), 1, "the filter rule takes it over");
    for (nat, filter) in [("", ""), ("", "nat_b"), ("pass", ""), ("nat_a", "nat_b")] {
        assert_eq!(links(nat, filter), 2, "{nat:?} {filter:?}");
    }
}

#[test]
fn a_source_limit_is_told_and_left() {
    let limited = |caps: Option<&str>| {
        let change = move |configured: &mut Configured| {
            let friends = Side { address: Some("10.99.0.0/16".into()), ..Side::default() };
            configured.nat[0].source = friends.clone();
            configured.filter[0].source = friends;
            if let Some(caps) = caps {
                configured.filter[0].caps.max_src_conn = Some(caps.into());
            }
        };
        Box_::open().changed(change)
    };
    let words = nothing(applied(&limited(None)));
    assert!(words.contains("10.99.0.0/16") && words.contains("stays"), "{words}");
    let mut on = limited(Some("9"));
    on.exposure.state = exposure::State::Half;
    let planned = draft(applied(&on));
    assert_eq!(differences(&planned), ["max_src_conn"], "open is not promised");
    assert_eq!(codes(&planned), ["source-limited"]);
    let mut closed = Box_::closed().changed(|configured| {
        configured.filter[0].source.not = true;
    });
    closed.configured.fingerprint = "before".into();
    let enabled = draft(restored(&closed, None));
    assert_eq!(differences(&enabled), ["port forward", "filter rule"]);
    assert_eq!(codes(&enabled), ["source-limited"]);
}

/// The exposure is gone, and somebody's forward of the port leads to 10.0.30.5.
fn somebody_elses(destination: Side) -> Box_ {
    Box_::absent().changed(move |configured| {
        let mut nat = fixtures::nat_rule();
        nat.target = Some("10.0.30.5".into());
        nat.descr = Some("Theirs".into());
        nat.destination = Side { port: Some("1688".into()), ..destination.clone() };
        let mut filter = fixtures::filter_rule();
        filter.destination.address = Some("10.0.30.5".into());
        filter.tracker = Some("1700000009".into());
        configured.nat = vec![nat];
        configured.filter = vec![filter];
        configured.interface.as_mut().unwrap().ipaddr = Some("192.0.2.2".into());
    })
}

#[test]
fn a_forward_of_another_address_is_left_alone() {
    let theirs = somebody_elses(Side { address: Some("203.0.113.9".into()), ..Side::default() });
    for planned in [restored(&theirs, None), applied(&theirs)] {
        let planned = draft(planned);
        assert_eq!(
            differences(&planned),
            ["port forward", "filter rule", "max_src_conn", "rate", "exposure"]
        );
        assert!(!codes(&planned).contains(&"takes-over"));
    }
}

#[test]
fn only_apply_takes_a_forward_to_elsewhere_over_and_says_so() {
    let saved = saved(records("1688"));
    let places = [
        Side { network: Some("wanip".into()), ..Side::default() },
        Side { address: Some("192.0.2.2".into()), ..Side::default() },
    ];
    for place in places {
        let theirs = somebody_elses(place);
        for saved in [None, Some(&saved)] {
            let refusal = restored(&theirs, saved).unwrap_err();
            assert_eq!(refusal.kind, RefusalKind::Conflict);
            assert!(refusal.message.contains("\"10.0.30.5\""), "{refusal}");
        }
        let planned = draft(applied(&theirs));
        let risk = planned.risks.iter().find(|risk| risk.code == "takes-over").unwrap();
        assert!(
            risk.message.contains("Theirs") && risk.message.contains("1700000009"),
            "{}",
            risk.message
        );
        let fields = differences(&planned);
        for field in ["port forward target", "filter rule destination"] {
            assert!(fields.contains(&field), "{fields:?}");
        }
    }
}

#[test]
fn a_forward_of_more_ports_is_not_planned_on() {
    let range = Box_::open().changed(|configured| {
        configured.nat[0].destination.port = Some("1600-1700".into());
    });
    let refusal = applied(&range).unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::Impossible);
    assert!(refusal.message.contains("more than port 1688"), "{refusal}");
}

#[test]
fn apply_is_not_done_where_none_get_in() {
    let of = |net: &str| Side { address: Some(net.into()), ..Side::default() };
    let limited = |forward: &str, filter: &str| {
        let mut configured = fixtures::configured();
        configured.nat[0].source = of(forward);
        configured.filter[0].source = of(filter);
        let from = |net: &str| fixtures::host(net, None);
        let rdr = Rule { from: from(forward), ..fixtures::rdr() };
        let pass = Rule { from: from(filter), ..fixtures::pass() };
        applied(&Box_::new(configured, &[pass, fixtures::default_deny()], &[rdr]))
    };
    assert!(nothing(limited("198.51.100.0/24", "198.51.100.0/24")).contains("Not all may connect"));
    let refusal = limited("198.51.100.0/24", "203.0.113.0/24").unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::Conflict, "{refusal}");
    assert!(refusal.message.contains("the exposure is half"), "{refusal}");
}

#[test]
fn apply_makes_no_caps_behind_an_uncapped_rule() {
    let group = crate::domain::pfsense::configured::InterfaceGroup {
        name: "Uplinks".into(),
        members: vec!["wan".into()],
    };
    let mut first = fixtures::filter_rule();
    first.index += 1;
    first.interface = Some("Uplinks".into());
    (first.association, first.tracker) = (None, Some("1763000077".into()));
    let with = |caps: CapFields| {
        let mut configured = fixtures::configured();
        configured.interface_groups = vec![group.clone()];
        configured.filter.push(FilterRule { caps, ..first.clone() });
        let first = fixtures::printed(
            "pass in quick on vtnet0 inet proto tcp from any to <k8s_kms_lb:1> port = 1688 flags S/SA keep state ridentifier 1763000077",
        );
        applied(&Box_::new(configured, &[first, fixtures::pass()], &[fixtures::rdr()]))
    };
    let refusal = with(CapFields::default()).unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::Conflict, "{refusal}");
    assert!(refusal.message.contains("caps no source"), "{refusal}");
    assert!(with(fixtures::filter_rule().caps).is_ok());
}
