//! The judgement, case by case: every state and every half state; the oddities are in [`findings`], what
//! an unfriendly ruleset can look like in [`hostile`].

mod findings;
mod hostile;
mod kernel;
mod paths;
mod tables;
pub(crate) mod walk;

use super::fixtures::*;
use super::*;
use crate::domain::pf::rule::{Action, Rate};
use crate::domain::pfsense::configured::CapFields;
use crate::domain::ratelimit::{Preset, judge_caps};

/// Judges a change of the user's box, where everything is in order.
fn judged(change: impl FnOnce(&mut Configured, &mut Vec<Rule>, &mut Vec<Rule>)) -> Exposure {
    let mut configured = configured();
    let mut filter = vec![default_deny(), block_table(), pass()];
    let mut nat = vec![rdr()];
    change(&mut configured, &mut filter, &mut nat);
    fixtures::fill_lists(&mut configured);
    judge(
        Some(&configured),
        Loaded { filter: &filter, nat: &nat, enabled: true, alias_table: AliasTable::Unasked },
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
    assert_eq!((standing.in_force, standing.preset.as_deref()), (true, Some("default")));
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
    assert_eq!(standing.why, "Connections get in, and the loaded filter rule caps no source.");
}

#[test]
fn nat_disabled_filter_enabled_is_half() {
    let exposure = judged(|configured, _, nat| {
        configured.nat[0].disabled = true;
        nat.clear();
    });
    expect(&exposure, State::Half, &["nat-not-in-force", "nat-disabled"]);
    assert_eq!(
        (exposure.nat.configured, exposure.nat.enabled, exposure.nat.loaded),
        (Some(true), Some(false), false)
    );
    assert_eq!((exposure.filter.enabled, exposure.filter.loaded), (Some(true), true));
}

#[test]
fn nat_enabled_filter_disabled_is_half() {
    let exposure = judged(|configured, filter, _| {
        configured.filter[0].disabled = true;
        filter.pop();
    });
    expect(&exposure, State::Half, &["filter-not-in-force", "filter-rule-disabled"]);
    assert_eq!(exposure.caps.loaded, None);
    assert!(exposure.filter.caps.is_some(), "the configured caps are shown");
}

#[test]
fn nat_enabled_filter_deleted_is_half() {
    let exposure = judged(|configured, filter, _| {
        configured.filter.clear();
        configured.nat[0].association = text("");
        filter.pop();
    });
    expect(&exposure, State::Half, &["filter-not-in-force", "filter-missing"]);
    let dangling = judged(|configured, filter, _| {
        configured.filter.clear();
        filter.pop();
    });
    expect(
        &dangling,
        State::Half,
        &["filter-not-in-force", "filter-missing", "linked-rule-missing"],
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
    assert!(codes(&exposure).contains(&"configured-not-loaded"), "{:#?}", exposure.why);
    let reverse = judged(|_, _, nat| nat[0].action = Action::Rdr { pass: true });
    expect(&reverse, State::Uncapped, &["rdr-pass", "loaded-not-configured"]);
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
    expect(&exposure, State::Closed, &["not-loaded", "nat-disabled", "filter-rule-disabled"]);
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
    let expected =
        ["not-loaded", "pending-changes", "configured-not-loaded", "configured-not-loaded"];
    expect(&exposure, State::Closed, &expected);
    assert!(exposure.why[3].message.contains("schedule \"office\""), "{}", exposure.why[3].message);
}

#[test]
fn loaded_but_disabled_in_the_configuration() {
    let exposure = judged(|configured, _, _| {
        configured.nat[0].disabled = true;
        configured.filter[0].disabled = true;
    });
    expect(&exposure, State::Open, &["in-force", "loaded-not-configured", "loaded-not-configured"]);
}

#[test]
fn caps_that_differ_are_shown_both() {
    let exposure = judged(|configured, _, _| configured.filter[0].caps.max_src_conn = text("10"));
    expect(&exposure, State::Open, &["in-force", "caps-differ"]);
    assert_eq!(
        exposure.why[1].message,
        "Configured are max-src-conn 10, max-src-conn-rate 10/60, loaded are max-src-conn 50, max-src-conn-rate 10/60: the configuration was changed and not applied, or its last reload failed."
    );
}

#[test]
fn without_the_configuration_the_loaded_rules_are_judged() {
    let (filter, nat) = (vec![default_deny(), block_table(), pass()], vec![rdr()]);
    let open = judge(
        None,
        Loaded { filter: &filter, nat: &nat, enabled: true, alias_table: AliasTable::Unasked },
        &service(),
    );
    expect(&open, State::Open, &["in-force", "configuration-unread"]);
    assert_eq!((open.filter.configured, open.filter.enabled), (None, None));
    assert_eq!(open.filter.tracker.as_deref(), Some(TRACKER));
    assert_eq!(open.alias.configured, None);
    let empty = judge(
        None,
        Loaded { filter: &filter[..2], nat: &[], enabled: true, alias_table: AliasTable::Unasked },
        &service(),
    );
    expect(&empty, State::Closed, &["not-loaded", "configuration-unread"]);
}

#[test]
fn json_is_what_the_contract_says() {
    let json = serde_json::to_value(judged(|_, _, _| ())).unwrap();
    let keys = |value: &serde_json::Value| -> Vec<String> {
        value.as_object().unwrap().keys().cloned().collect()
    };
    let mut top = keys(&json);
    top.sort();
    assert_eq!(top, ["alias", "caps", "filter", "nat", "paths", "state", "why"]);
    let mut part = keys(&json["filter"]);
    part.sort();
    assert_eq!(part, ["caps", "configured", "counters", "enabled", "loaded", "tracker"]);
    assert_eq!(json["state"], "open");
    assert_eq!(json["nat"]["caps"], serde_json::Value::Null);
    assert_eq!(json["filter"]["caps"]["rate"]["connections"], 10);
    assert_eq!(json["filter"]["counters"]["state_creations"], 7);
    let rate = Rate { connections: 10, seconds: 60 };
    assert_eq!(
        json["caps"]["loaded"],
        serde_json::to_value(Caps { max_src_conn: Some(50), rate: Some(rate) }).unwrap()
    );
}

/// What pfctl 14 prints for the ruleset that pfSense 2.7.2 generates.
fn printed_rules() -> (Vec<Rule>, Vec<Rule>) {
    use crate::domain::pf::rule::parse_pf_rules;
    let filter = parse_pf_rules(include_bytes!("../../../tests/fixtures/pfsense-2.7.2/vvPsr.txt"));
    let nat = parse_pf_rules(include_bytes!("../../../tests/fixtures/pfsense-2.7.2/vvPsn.txt"));
    (filter.value, nat.value)
}

#[test]
fn the_rules_of_a_real_ruleset_are_found() {
    let (filter, nat) = printed_rules();
    let loaded =
        Loaded { filter: &filter, nat: &nat, enabled: true, alias_table: AliasTable::Unasked };
    let exposure = judge(Some(&configured()), loaded, &service());
    expect(&exposure, State::Open, &["in-force"]);
    assert_eq!(exposure.caps.loaded, Some(Preset::new("default", 50, 10, 60).caps));
    assert_eq!(exposure.filter.counters.map(|counters| counters.evaluations), Some(1_445_985));
    assert_eq!(exposure.nat.counters.map(|counters| counters.packets), Some(66_355_782_302));
    assert_eq!(exposure.block.counters.map(|counters| counters.packets), Some(2062));
    let alone = judge(None, loaded, &service());
    expect(&alone, State::Open, &["in-force", "configuration-unread"]);
    assert_eq!(
        (alone.nat.counters, alone.filter.counters),
        (exposure.nat.counters, exposure.filter.counters)
    );
}

#[test]
fn without_our_rule_a_real_ruleset_denies() {
    let (mut filter, nat) = printed_rules();
    filter.retain(|rule| rule.ridentifier != Some(1_763_000_004));
    let loaded =
        Loaded { filter: &filter, nat: &nat, enabled: true, alias_table: AliasTable::Unasked };
    let mut disabled = configured();
    disabled.filter[0].disabled = true;
    let exposure = judge(Some(&disabled), loaded, &service());
    expect(&exposure, State::Half, &["filter-not-in-force", "filter-rule-disabled"]);
}
