//! The judgement, case by case: every state, every half state, every finding.

use super::fixtures::*;
use super::*;
use crate::domain::configured::{CapFields, NatRule, Side};
use crate::domain::pf::rule::{Action, Rate, StateOptions};
use crate::domain::ratelimit::{Preset, judge as judge_caps};

/// Judges a change of the user's box, where everything is in order.
fn judged(change: impl FnOnce(&mut Configured, &mut Vec<Rule>, &mut Vec<Rule>)) -> Exposure {
    let mut configured = configured();
    let mut filter = vec![default_deny(), block_table(), pass()];
    let mut nat = vec![rdr()];
    change(&mut configured, &mut filter, &mut nat);
    judge(
        Some(&configured),
        Loaded {
            filter: &filter,
            nat: &nat,
            enabled: true,
        },
        &service(),
    )
}

fn codes(exposure: &Exposure) -> Vec<&'static str> {
    exposure.why.iter().map(|finding| finding.code).collect()
}

#[track_caller]
fn expect(exposure: &Exposure, state: State, expected: &[&str]) {
    assert_eq!(
        (exposure.state, codes(exposure)),
        (state, expected.to_vec()),
        "{:#?}",
        exposure.why
    );
}

#[test]
fn the_users_box_is_open_and_nothing_is_odd() {
    let exposure = judged(|_, _, _| ());
    expect(&exposure, State::Open, &["in-force"]);
    assert_eq!(exposure.caps.configured, exposure.caps.loaded);
    assert_eq!(exposure.filter.tracker.as_deref(), Some(TRACKER));
    assert_eq!(exposure.block.tracker.as_deref(), Some("1000000400"));
    assert_eq!(exposure.alias.as_expected, Some(true));
    let standing = judge_caps(&exposure, &Preset::built_in());
    assert_eq!(
        (standing.in_force, standing.preset.as_deref()),
        (true, Some("default"))
    );
}

#[test]
fn the_rule_as_the_nat_page_creates_it_has_no_caps() {
    let exposure = judged(|configured, filter, _| {
        configured.filter[0].kind = None;
        configured.filter[0].statetype = None;
        configured.filter[0].caps = CapFields::default();
        filter[2] = pass_without_caps();
    });
    expect(&exposure, State::Uncapped, &["no-caps"]);
    let standing = judge_caps(&exposure, &Preset::built_in());
    assert!(!standing.in_force);
    assert_eq!(
        standing.why,
        "Connections get in, and the loaded filter rule caps no source."
    );
}

#[test]
fn nat_disabled_filter_enabled_is_half() {
    let exposure = judged(|configured, _, nat| {
        configured.nat[0].disabled = true;
        nat.clear();
    });
    expect(
        &exposure,
        State::Half,
        &["nat-not-in-force", "nat-disabled"],
    );
    assert_eq!(
        (
            exposure.nat.configured,
            exposure.nat.enabled,
            exposure.nat.loaded
        ),
        (Some(true), Some(false), false)
    );
    assert_eq!(
        (exposure.filter.enabled, exposure.filter.loaded),
        (Some(true), true)
    );
}

#[test]
fn nat_enabled_filter_disabled_is_half() {
    let exposure = judged(|configured, filter, _| {
        configured.filter[0].disabled = true;
        filter.pop();
    });
    expect(
        &exposure,
        State::Half,
        &["filter-not-in-force", "filter-rule-disabled"],
    );
    assert_eq!(exposure.caps.loaded, None);
    assert!(
        exposure.filter.caps.is_some(),
        "the configured caps are shown"
    );
}

#[test]
fn nat_enabled_filter_deleted_is_half() {
    let exposure = judged(|configured, filter, _| {
        configured.filter.clear();
        configured.nat[0].association = text("");
        filter.pop();
    });
    expect(
        &exposure,
        State::Half,
        &["filter-not-in-force", "filter-missing"],
    );
    let dangling = judged(|configured, filter, _| {
        configured.filter.clear();
        filter.pop();
    });
    expect(
        &dangling,
        State::Half,
        &[
            "filter-not-in-force",
            "filter-missing",
            "linked-rule-missing",
        ],
    );
}

#[test]
fn association_pass_is_open_without_caps() {
    let exposure = judged(|configured, filter, nat| {
        configured.nat[0].association = text("pass");
        configured.filter.clear();
        filter.pop();
        nat[0].action = Action::Rdr { pass: true };
    });
    expect(&exposure, State::Uncapped, &["rdr-pass", "nat-pass"]);
    assert_eq!(exposure.filter.configured, Some(false));
}

#[test]
fn association_pass_that_is_not_loaded_yet_is_a_difference() {
    let exposure = judged(|configured, _, _| configured.nat[0].association = text("pass"));
    assert_eq!(exposure.state, State::Open, "the loaded rules win");
    assert!(
        codes(&exposure).contains(&"configured-not-loaded"),
        "{:#?}",
        exposure.why
    );
    let reverse = judged(|_, _, nat| nat[0].action = Action::Rdr { pass: true });
    expect(
        &reverse,
        State::Uncapped,
        &["rdr-pass", "loaded-not-configured"],
    );
}

#[test]
fn nat_gone_filter_left_is_half() {
    let exposure = judged(|configured, _, nat| {
        configured.nat.clear();
        nat.clear();
    });
    expect(&exposure, State::Half, &["nat-not-in-force", "nat-missing"]);
}

#[test]
fn both_disabled_is_closed() {
    let exposure = judged(|configured, filter, nat| {
        configured.nat[0].disabled = true;
        configured.filter[0].disabled = true;
        filter.pop();
        nat.clear();
    });
    expect(
        &exposure,
        State::Closed,
        &["not-loaded", "nat-disabled", "filter-rule-disabled"],
    );
}

#[test]
fn neither_configured_nor_loaded_is_absent() {
    let exposure = judged(|configured, filter, nat| {
        configured.nat.clear();
        configured.filter.clear();
        filter.pop();
        nat.clear();
    });
    expect(&exposure, State::Absent, &["no-rules"]);
}

#[test]
fn configured_and_enabled_but_not_loaded() {
    let exposure = judged(|configured, filter, nat| {
        configured.filter[0].sched = text("office");
        configured.dirty = vec!["natconf".into(), "filter".into()];
        filter.pop();
        nat.clear();
    });
    let expected = [
        "not-loaded",
        "pending-changes",
        "configured-not-loaded",
        "configured-not-loaded",
    ];
    expect(&exposure, State::Closed, &expected);
    assert!(
        exposure.why[3].message.contains("schedule \"office\""),
        "{}",
        exposure.why[3].message
    );
}

#[test]
fn loaded_but_disabled_in_the_configuration() {
    let exposure = judged(|configured, _, _| {
        configured.nat[0].disabled = true;
        configured.filter[0].disabled = true;
    });
    expect(
        &exposure,
        State::Open,
        &["in-force", "loaded-not-configured", "loaded-not-configured"],
    );
}

#[test]
fn caps_that_differ_are_shown_both() {
    let exposure = judged(|configured, _, _| configured.filter[0].caps.max_src_conn = text("10"));
    expect(&exposure, State::Open, &["in-force", "caps-differ"]);
    assert_eq!(
        exposure.why[1].message,
        "Configured are max-src-conn 10, max-src-conn-rate 10/60, loaded are max-src-conn 50, max-src-conn-rate 10/60: the configuration was changed and not applied."
    );
}

#[test]
fn max_src_conn_alone_never_overloads() {
    let exposure = judged(|configured, filter, _| {
        configured.filter[0].caps.max_src_conn_rate = text("");
        configured.filter[0].caps.max_src_conn_rates = None;
        filter[2].state_options = StateOptions {
            max_src_conn: Some(50),
            ..StateOptions::default()
        };
    });
    expect(&exposure, State::Open, &["in-force", "never-overloads"]);
}

#[test]
fn half_the_rate_pair() {
    let exposure = judged(|configured, filter, _| {
        configured.filter[0].caps.max_src_conn_rates = text("");
        filter[2].state_options = StateOptions {
            max_src_conn: Some(50),
            ..StateOptions::default()
        };
    });
    expect(
        &exposure,
        State::Open,
        &["in-force", "half-rate", "never-overloads"],
    );
}

#[test]
fn caps_on_udp_are_ignored() {
    let exposure = judged(|configured, _, _| configured.filter[0].protocol = text("udp"));
    assert!(
        codes(&exposure).contains(&"caps-ignored"),
        "{:#?}",
        exposure.why
    );
}

#[test]
fn overload_oddities() {
    let none = judged(|_, filter, _| filter[2].state_options.overload = None);
    expect(&none, State::Open, &["in-force", "no-overload"]);
    let other = judged(|_, filter, _| {
        filter[2].state_options.overload.as_mut().unwrap().table = "bruteforce".into();
    });
    expect(&other, State::Open, &["in-force", "other-table"]);
}

#[test]
fn two_port_forwards_to_the_alias() {
    let exposure = judged(|configured, _, _| {
        configured.nat.insert(
            0,
            NatRule {
                index: 1,
                disabled: true,
                ..nat_rule()
            },
        );
    });
    expect(&exposure, State::Open, &["in-force", "duplicate-nat"]);
    assert_eq!(exposure.nat.enabled, Some(true), "the enabled one counts");
}

#[test]
fn two_rules_with_one_association_and_tracker() {
    let exposure = judged(|configured, _, _| {
        configured.filter.push(FilterRule {
            index: 9,
            ..filter_rule()
        });
    });
    let expected = [
        "in-force",
        "duplicate-association",
        "duplicate-filter",
        "tracker-shared",
    ];
    expect(&exposure, State::Open, &expected);
}

#[test]
fn a_filter_rule_without_link_or_tracker() {
    let exposure = judged(|configured, filter, _| {
        configured.nat[0].association = None;
        configured.filter[0].association = None;
        configured.filter[0].tracker = None;
        filter[2].ridentifier = None;
    });
    expect(
        &exposure,
        State::Open,
        &["in-force", "not-linked", "no-tracker"],
    );
    assert_eq!(exposure.filter.tracker, None);
    assert!(exposure.filter.loaded);
}

#[test]
fn a_ridentifier_on_rules_of_another_service() {
    let exposure = judged(|_, filter, _| {
        filter.push(Rule {
            to: host("10.0.20.9", Some("= 22")),
            ..pass()
        });
    });
    expect(&exposure, State::Open, &["in-force", "tracker-shared"]);
    assert_eq!(
        exposure.filter.counters.map(|counters| counters.states),
        Some(7),
        "the other rule is not counted"
    );
}

#[test]
fn expanded_rules_are_one_rule() {
    let exposure = judged(|_, filter, _| {
        filter.push(Rule {
            to: host("10.0.20.202", Some("= 1688")),
            ..pass()
        });
    });
    expect(&exposure, State::Open, &["in-force"]);
    assert_eq!(
        exposure.filter.counters.map(|counters| counters.bytes),
        Some(14)
    );
}

#[test]
fn the_alias_is_looked_at() {
    let missing = judged(|configured, _, _| configured.alias = None);
    expect(&missing, State::Open, &["in-force", "alias-missing"]);
    let empty = judged(|configured, _, _| configured.alias.as_mut().unwrap().address = text(""));
    expect(&empty, State::Open, &["in-force", "alias-empty"]);
    let other =
        judged(|configured, _, _| configured.alias.as_mut().unwrap().address = text("10.0.20.200"));
    expect(&other, State::Open, &["in-force", "alias-differs"]);
    let more = judged(|configured, _, _| {
        configured.alias.as_mut().unwrap().address = text("10.0.20.202 10.0.20.203");
    });
    assert_eq!(more.alias.as_expected, Some(false));
    assert_eq!(more.alias.addresses.len(), 2);
}

#[test]
fn the_port_still_leads_to_the_old_target() {
    let exposure = judged(|configured, filter, nat| {
        configured.nat[0].target = text("k8s_shared_lb");
        configured.filter[0].destination.address = text("k8s_shared_lb");
        nat[0].target = text("<k8s_shared_lb> round-robin");
        filter[2].to = host("<k8s_shared_lb>", Some("= 1688"));
    });
    expect(
        &exposure,
        State::Absent,
        &["no-rules", "other-target", "other-target"],
    );
}

#[test]
fn an_earlier_forward_takes_the_port_away() {
    let thief = || Rule {
        target: text("10.0.20.9"),
        ..rdr()
    };
    let exposure = judged(|_, _, nat| nat.insert(0, thief()));
    expect(
        &exposure,
        State::Half,
        &["nat-not-in-force", "other-target"],
    );
    let later = judged(|_, _, nat| nat.push(thief()));
    expect(&later, State::Open, &["in-force"]);
    let elsewhere = judged(|_, _, nat| {
        nat.insert(
            0,
            Rule {
                to: host("192.168.1.3", Some("= 1688")),
                ..thief()
            },
        );
    });
    expect(&elsewhere, State::Open, &["in-force"]);
    let exception = judged(|_, _, nat| {
        nat.insert(
            0,
            Rule {
                action: Action::No("no rdr".into()),
                target: None,
                ..rdr()
            },
        );
    });
    expect(
        &exception,
        State::Half,
        &["nat-not-in-force", "no-rdr-exception"],
    );
    let carp = Rule {
        protocol: text("carp"),
        to: host("any", None),
        interface: None,
        action: Action::No("no rdr".into()),
        ..rdr()
    };
    expect(
        &judged(|_, _, nat| nat.insert(0, carp)),
        State::Open,
        &["in-force"],
    );
}

#[test]
fn reflection_is_not_the_exposure() {
    let exposure = judged(|_, _, nat| {
        nat.push(Rule {
            interface: on("vtnet1"),
            ..rdr()
        });
    });
    expect(&exposure, State::Open, &["in-force", "reflection"]);
    assert_eq!(
        exposure.nat.counters.map(|counters| counters.packets),
        Some(3),
        "only the outside one is counted"
    );
}

#[test]
fn a_floating_rule_lets_the_port_through() {
    let wide = || Rule {
        interface: None,
        to: host("10.0.20.0/24", None),
        ridentifier: Some(99),
        ..pass_without_caps()
    };
    let exposure = judged(|configured, filter, _| {
        configured.filter[0].disabled = true;
        filter.pop();
        filter.push(wide());
    });
    expect(
        &exposure,
        State::Uncapped,
        &["no-caps", "filter-rule-disabled", "other-pass"],
    );
    let before = judged(|_, filter, _| filter.insert(2, wide()));
    expect(&before, State::Uncapped, &["no-caps", "other-pass"]);
    let behind = judged(|_, filter, _| filter.push(wide()));
    expect(&behind, State::Open, &["in-force"]);
    let not_quick = judged(|_, filter, _| {
        filter.insert(
            2,
            Rule {
                quick: false,
                ..wide()
            },
        );
    });
    expect(&not_quick, State::Open, &["in-force"]);
}

#[test]
fn a_group_rule_may_let_the_port_through() {
    let group = Rule {
        interface: on("WANS"),
        to: host("any", None),
        ridentifier: Some(98),
        ..pass_without_caps()
    };
    let exposure = judged(|_, filter, _| filter.insert(0, group));
    expect(&exposure, State::Open, &["in-force", "group-pass"]);
    let lan = Rule {
        interface: on("vtnet1"),
        to: host("any", None),
        ridentifier: Some(97),
        ..pass_without_caps()
    };
    expect(
        &judged(|_, filter, _| filter.insert(0, lan)),
        State::Open,
        &["in-force"],
    );
}

#[test]
fn a_block_rule_before_ours_shadows_it() {
    let block = Rule {
        quick: true,
        to: host("any", Some("= 1688")),
        ..rule(Action::Block, "block drop in quick …")
    };
    let exposure = judged(|_, filter, _| filter.insert(2, block));
    expect(&exposure, State::Half, &["filter-not-in-force", "shadowed"]);
}

#[test]
fn a_rule_for_some_sources_is_open_to_those() {
    let exposure = judged(|_, filter, _| filter[2].from = host("<friends>", None));
    expect(&exposure, State::Open, &["in-force", "source-limited"]);
}

#[test]
fn the_table_must_be_blocked() {
    let exposure = judged(|_, filter, _| {
        filter.remove(1);
    });
    expect(&exposure, State::Open, &["in-force", "block-missing"]);
    assert!(!exposure.block.loaded);
}

#[test]
fn the_firewall_as_a_whole() {
    let exposure = judged(|configured, _, _| {
        configured.ha_peer = true;
        configured.interface = None;
        configured.filter_disabled = true;
    });
    expect(
        &exposure,
        State::Open,
        &[
            "in-force",
            "interface-missing",
            "ha-peer",
            "filter-disabled",
        ],
    );
    let (filter, nat) = (vec![default_deny(), block_table(), pass()], vec![rdr()]);
    let loaded = Loaded {
        filter: &filter,
        nat: &nat,
        enabled: false,
    };
    expect(
        &judge(Some(&configured()), loaded, &service()),
        State::Closed,
        &["pf-disabled"],
    );
}

#[test]
fn without_the_configuration_the_loaded_rules_are_judged() {
    let (filter, nat) = (vec![default_deny(), block_table(), pass()], vec![rdr()]);
    let open = judge(
        None,
        Loaded {
            filter: &filter,
            nat: &nat,
            enabled: true,
        },
        &service(),
    );
    expect(&open, State::Open, &["in-force", "configuration-unread"]);
    assert_eq!((open.filter.configured, open.filter.enabled), (None, None));
    assert_eq!(open.filter.tracker.as_deref(), Some(TRACKER));
    assert_eq!(open.alias.configured, None);
    let empty = judge(
        None,
        Loaded {
            filter: &filter[..2],
            nat: &[],
            enabled: true,
        },
        &service(),
    );
    expect(
        &empty,
        State::Closed,
        &["not-loaded", "configuration-unread"],
    );
}

#[test]
fn a_udp_forward_is_another_service() {
    let exposure = judged(|configured, _, _| {
        let side = Side {
            network: text("wanip"),
            port: text("1688"),
            ..Side::default()
        };
        configured.nat.push(NatRule {
            index: 8,
            protocol: text("udp"),
            destination: side,
            ..nat_rule()
        });
    });
    expect(&exposure, State::Open, &["in-force"]);
}

#[test]
fn json_is_what_the_contract_says() {
    let json = serde_json::to_value(judged(|_, _, _| ())).unwrap();
    let keys = |value: &serde_json::Value| -> Vec<String> {
        value.as_object().unwrap().keys().cloned().collect()
    };
    let mut top = keys(&json);
    top.sort();
    assert_eq!(top, ["alias", "caps", "filter", "nat", "state", "why"]);
    let mut part = keys(&json["filter"]);
    part.sort();
    assert_eq!(
        part,
        [
            "caps",
            "configured",
            "counters",
            "enabled",
            "loaded",
            "tracker"
        ]
    );
    assert_eq!(json["state"], "open");
    assert_eq!(json["nat"]["caps"], serde_json::Value::Null);
    assert_eq!(json["filter"]["caps"]["rate"]["connections"], 10);
    assert_eq!(json["filter"]["counters"]["state_creations"], 7);
    let rate = Rate {
        connections: 10,
        seconds: 60,
    };
    assert_eq!(
        json["caps"]["loaded"],
        serde_json::to_value(Caps {
            max_src_conn: Some(50),
            rate: Some(rate)
        })
        .unwrap()
    );
}
