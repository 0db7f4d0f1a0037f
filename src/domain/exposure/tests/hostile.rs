//! Rulesets that look shut, capped or absent at a glance, and are not.

use super::super::fixtures::*;
use super::super::*;
use super::{codes, expect, judged};
use crate::domain::pfsense::configured::Side;

/// A pass rule before ours, with another tracker and without caps.
fn pass_from(from: &str, to: &str) -> Rule {
    printed(&format!(
        "pass in quick on vtnet0 inet proto tcp from {from} to {to} flags S/SA keep state label \"x\" ridentifier 99"
    ))
}

#[test]
fn without_any_rule_pf_passes() {
    let flushed = judged(|_, filter, _| filter.clear());
    assert_eq!(flushed.state, State::Uncapped, "{:#?}", flushed.why);
    assert_eq!(codes(&flushed)[0], "no-rules-loaded");
    assert!(flushed.why[0].message.contains("passes everything"));
    let alone = judge(
        None,
        Loaded { filter: &[], nat: &[rdr()], enabled: true, alias_table: AliasTable::Unasked },
        &service(),
    );
    assert_eq!(alone.state, State::Uncapped);
    let both = judged(|_, filter, nat| {
        filter.clear();
        nat.clear();
    });
    assert_eq!(both.state, State::Closed);
    assert!(codes(&both).contains(&"no-rules-loaded"));
}

#[test]
fn rules_that_say_nothing_about_the_service_leave_it_to_pf() {
    let exposure = judged(|configured, filter, _| {
        configured.filter[0].disabled = true;
        filter.clear();
        filter.push(printed(
            "block drop in log inet6 all label \"Default deny rule IPv6\" ridentifier 1000000105",
        ));
    });
    assert_eq!(exposure.state, State::Uncapped, "{:#?}", exposure.why);
    assert_eq!(codes(&exposure)[0], "default-pass");
    let off = Loaded { filter: &[], nat: &[], enabled: false, alias_table: AliasTable::Unasked };
    let off = judge(Some(&configured()), off, &service());
    assert_eq!((off.state, codes(&off)[0]), (State::Closed, "pf-disabled"));
    assert!(!codes(&off).contains(&"no-rules-loaded"));
}

#[test]
fn a_pass_for_nearly_everybody_before_ours_decides() {
    for from in [
        "! <friends:2>",
        "0.0.0.0/1",
        "128.0.0.0/1",
        "64.0.0.0/2",
        "192.0.0.0/3",
        "any port > 1023",
    ] {
        let exposure = judged(|_, filter, _| filter.insert(2, pass_from(from, "any")));
        expect(&exposure, State::Uncapped, &["no-caps", "other-pass"]);
    }
    let behind = judged(|_, filter, _| filter.push(pass_from("! <friends:2>", "any")));
    expect(&behind, State::Open, &["in-force"]);
}

#[test]
fn a_pass_for_some_before_ours_is_told() {
    for (from, to) in [
        ("<friends:2>", "any"),
        ("203.0.113.0/24", "10.0.20.202 port = 1688"),
        ("any", "<k8s_shared_lb:1> port = 1688"),
        ("! <friends:2>", "<k8s_shared_lb:1>"),
        ("any port = 53", "any"),
    ] {
        let exposure = judged(|_, filter, _| filter.insert(2, pass_from(from, to)));
        expect(&exposure, State::Open, &["in-force", "earlier-pass"]);
    }
    for to in ["<k8s_shared_lb:1> port = 443", "(vtnet0:1)", "10.0.20.9 port = 1688"] {
        let exposure = judged(|_, filter, _| filter.insert(2, pass_from("any", to)));
        expect(&exposure, State::Open, &["in-force"]);
    }
    let five = judged(|_, filter, _| {
        for _ in 0..5 {
            filter.insert(2, pass_from("<friends:2>", "any"));
        }
    });
    assert_eq!(codes(&five).len(), 3, "alike ones are told once: {five:#?}");
}

#[test]
fn our_rule_disabled_and_another_lets_the_outside_in() {
    let without_ours = |from: &str| {
        judged(|configured, filter, _| {
            configured.filter[0].disabled = true;
            filter[2] = pass_from(from, "<k8s_kms_lb:1> port = 1688");
        })
    };
    let most = without_ours("! <friends:2>");
    assert_eq!(most.state, State::Uncapped, "{:#?}", most.why);
    assert_eq!(codes(&most)[0], "no-caps");
    let some = without_ours("<friends:2>");
    expect(&some, State::Half, &["filter-not-in-force", "filter-rule-disabled", "earlier-pass"]);
}

#[test]
fn a_block_of_nearly_everybody_before_ours_is_told() {
    let block =
        "block drop in quick on vtnet0 inet proto tcp from ! <friends:2> to any port = 1688";
    let exposure = judged(|_, filter, _| filter.insert(2, printed(block)));
    expect(&exposure, State::Open, &["in-force", "earlier-block"]);
}

#[test]
fn a_block_rule_that_does_not_block() {
    let variants = [
        "block drop in log from <virusprot:0> to any",
        "block drop out log quick from <virusprot:0> to any",
        "block drop in log quick on vtnet1 from <virusprot:0> to any",
        "block drop in log quick inet proto udp from <virusprot:0> to any",
        "block drop in log quick inet proto tcp from <virusprot:0> to any port = 22",
        "block drop in log quick inet proto tcp from <virusprot:0> to (self:1)",
    ];
    for text in variants {
        let exposure = judged(|_, filter, _| filter[1] = printed(text));
        expect(&exposure, State::Open, &["in-force", "block-ineffective"]);
        assert!(exposure.block.loaded, "{text}");
    }
    let behind = judged(|_, filter, _| filter.swap(1, 2));
    expect(&behind, State::Open, &["in-force", "block-ineffective"]);
    for text in [
        "block drop quick from <virusprot:0> to any",
        "block return in quick from <virusprot:0> to any",
    ] {
        let exposure = judged(|_, filter, _| filter[1] = printed(text));
        expect(&exposure, State::Open, &["in-force"]);
    }
    let twice = judged(|_, filter, _| filter.push(printed(variants[2])));
    expect(&twice, State::Open, &["in-force"]);
}

#[test]
fn a_forward_of_the_same_place_in_another_spelling() {
    let thief = "rdr on vtnet0 inet proto tcp from any to (vtnet0:1) port = 1688 -> 10.9.9.9";
    let known = judged(|configured, _, nat| {
        configured.interface.as_mut().unwrap().ipaddr = text("192.168.1.2");
        nat.insert(0, printed(thief));
    });
    expect(&known, State::Half, &["nat-not-in-force", "other-target"]);
    let unknown = judged(|_, _, nat| nat.insert(0, printed(thief)));
    expect(&unknown, State::Unknown, &["path-unknown", "other-target"]);
    let most =
        "rdr on vtnet0 inet proto tcp from ! <friends:2> to 192.168.1.2 port = 1688 -> 10.9.9.9";
    let most = judged(|_, _, nat| nat.insert(0, printed(most)));
    expect(&most, State::Open, &["in-force", "other-target"]);
}

#[test]
fn a_forward_for_some_sources() {
    let limited = "rdr on vtnet0 inet proto tcp from 203.0.113.7 to 192.168.1.2 port = 1688 -> <k8s_kms_lb> round-robin";
    let side = || Side { address: text("203.0.113.7"), ..Side::default() };
    let loaded = judged(|_, _, nat| nat[0] = printed(limited));
    expect(&loaded, State::Open, &["in-force", "source-limited"]);
    let configured = judged(|configured, _, _| configured.nat[0].source = side());
    expect(&configured, State::Open, &["in-force", "source-limited"]);
    let both = judged(|configured, _, nat| {
        configured.nat[0].source = side();
        nat[0] = printed(limited);
    });
    expect(&both, State::Open, &["in-force", "source-limited"]);
    let general_behind = judged(|_, _, nat| nat.insert(0, printed(limited)));
    expect(&general_behind, State::Open, &["in-force", "other-path"]);
}

#[test]
fn the_port_leads_elsewhere_and_our_rules_do_not_exist() {
    let elsewhere = |target: &str, pass: Option<Rule>| {
        judged(|configured, filter, nat| {
            configured.nat.clear();
            configured.filter.clear();
            filter.truncate(2);
            filter.extend(pass);
            *nat = vec![printed(&format!(
                "rdr on vtnet0 inet proto tcp from any to 192.168.1.2 port = 1688 -> {target}"
            ))];
        })
    };
    let misspelt = elsewhere(
        "<k8s_kms_lbb> round-robin",
        Some(pass_from("any", "<k8s_kms_lbb:1> port = 1688")),
    );
    assert_eq!(misspelt.state, State::Uncapped, "{:#?}", misspelt.why);
    assert_eq!(codes(&misspelt)[0], "other-target");
    assert_eq!(misspelt.caps.loaded, Some(Caps::default()));
    let moved = elsewhere("10.0.20.9 port 443", Some(pass_from("any", "10.0.20.9 port = 443")));
    assert_eq!(moved.state, State::Uncapped, "the inside port counts");
    let shut = elsewhere("10.0.20.9", None);
    assert_eq!((shut.state, codes(&shut)[0]), (State::Half, "other-target"));
}
