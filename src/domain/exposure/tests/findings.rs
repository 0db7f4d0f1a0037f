//! Every oddity has its code, and does not change the state unless it must.

use super::super::fixtures::*;
use super::super::*;
use super::{codes, expect, judged};
use crate::domain::pf::rule::StateOptions;
use crate::domain::pfsense::configured::{NatRule, Side};
use crate::domain::reachability::finding::CheckResult;
use crate::domain::reachability::path::other_paths;

#[test]
fn max_src_conn_alone_never_overloads() {
    let exposure = judged(|configured, filter, _| {
        configured.filter[0].caps.max_src_conn_rate = text("");
        configured.filter[0].caps.max_src_conn_rates = None;
        filter[2].state_options =
            StateOptions { max_src_conn: Some(50), ..StateOptions::default() };
    });
    expect(&exposure, State::Open, &["in-force", "never-overloads"]);
}

#[test]
fn half_the_rate_pair() {
    let exposure = judged(|configured, filter, _| {
        configured.filter[0].caps.max_src_conn_rates = text("");
        filter[2].state_options =
            StateOptions { max_src_conn: Some(50), ..StateOptions::default() };
    });
    expect(&exposure, State::Open, &["in-force", "half-rate", "never-overloads"]);
}

#[test]
fn caps_on_udp_are_ignored() {
    let exposure = judged(|configured, _, _| configured.filter[0].protocol = text("udp"));
    assert!(codes(&exposure).contains(&"caps-ignored"), "{:#?}", exposure.why);
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
        configured.nat.insert(0, NatRule { index: 1, disabled: true, ..nat_rule() });
    });
    expect(&exposure, State::Open, &["in-force", "duplicate-nat"]);
    assert_eq!(exposure.nat.enabled, Some(true), "the enabled one counts");
}

#[test]
fn two_rules_with_one_association_and_tracker() {
    let exposure = judged(|configured, _, _| {
        configured.filter.push(FilterRule { index: 9, ..filter_rule() });
    });
    let expected = ["in-force", "duplicate-association", "duplicate-filter", "tracker-shared"];
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
    expect(&exposure, State::Open, &["in-force", "not-linked", "no-tracker"]);
    assert_eq!(exposure.filter.tracker, None);
    assert!(exposure.filter.loaded);
}

#[test]
fn a_ridentifier_on_rules_of_another_service() {
    let exposure = judged(|_, filter, _| {
        filter.push(Rule { to: host("10.0.20.9", Some("= 22")), ..pass() });
    });
    expect(&exposure, State::Open, &["in-force", "tracker-shared"]);
    assert_eq!(
        exposure.filter.counters.map(|counters| counters.states),
        Some(7),
        "the other rule is not counted"
    );
}

/// What is for some sources, or for more than the service, and has the pair's tracker.
#[test]
fn a_shared_tracker_makes_no_false_finding() {
    let friend = "pass in quick on vtnet0 inet proto tcp from 198.51.100.9 to <k8s_kms_lb:1> port = 1688 flags S/SA keep state label \"id:1763000004\" ridentifier 1763000004";
    for place in [2, 3] {
        let exposure = judged(|_, filter, _| filter.insert(place, printed(friend)));
        assert_eq!(exposure.state, State::Open);
        assert!(!codes(&exposure).contains(&"caps-differ"), "{:#?}", exposure.why);
        assert_eq!(exposure.filter.caps, exposure.caps.configured);
        assert_eq!(exposure.filter.counters.map(|counters| counters.states), Some(7));
    }
    let alone = judged(|configured, filter, _| {
        configured.filter[0].source = Side { address: text("198.51.100.9"), ..Side::default() };
        filter[2] = printed(friend);
    });
    assert!(codes(&alone).contains(&"caps-differ"), "{:#?}", alone.why);
    for to in ["any", "10.0.20.0/24"] {
        let wide = judged(|configured, filter, _| {
            configured.filter[0].destination =
                Side { any: true, port: text("1688"), ..Side::default() };
            filter[2].to = host(to, Some("= 1688"));
        });
        assert!(!codes(&wide).contains(&"tracker-shared"), "{to}: {:#?}", wide.why);
        let shared = judged(|_, filter, _| {
            filter.push(Rule { to: host(to, Some("= 1688")), ..pass() });
        });
        assert!(codes(&shared).contains(&"tracker-shared"), "{to}: {:#?}", shared.why);
    }
}

#[test]
fn expanded_rules_are_one_rule() {
    let exposure = judged(|_, filter, _| {
        filter.push(Rule { to: host("10.0.20.202", Some("= 1688")), ..pass() });
    });
    expect(&exposure, State::Open, &["in-force"]);
    assert_eq!(exposure.filter.counters.map(|counters| counters.bytes), Some(14));
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
        nat[0] = printed(
            "rdr on vtnet0 inet proto tcp from any to 192.168.1.2 port = 1688 -> <k8s_shared_lb> round-robin",
        );
        filter[2].to = host("<k8s_shared_lb>", Some("= 1688"));
    });
    // What the table holds is not configured here: perhaps the service.
    let expected =
        ["other-target", "path-unknown", "nat-missing", "filter-missing", "other-target"];
    expect(&exposure, State::Open, &expected);
}

#[test]
fn an_earlier_forward_takes_the_port_away() {
    let thief = || Rule { target: text("10.0.20.9"), ..rdr() };
    let exposure = judged(|_, _, nat| nat.insert(0, thief()));
    expect(&exposure, State::Half, &["nat-not-in-force", "other-target"]);
    let later = judged(|_, _, nat| nat.push(thief()));
    expect(&later, State::Open, &["in-force"]);
    let elsewhere = judged(|_, _, nat| {
        nat.insert(0, Rule { to: host("192.168.1.3", Some("= 1688")), ..thief() });
    });
    expect(&elsewhere, State::Open, &["in-force"]);
    let no_rdr = "no rdr on vtnet0 inet proto tcp from any to 192.168.1.2 port = 1688";
    let exception = judged(|_, _, nat| nat.insert(0, printed(no_rdr)));
    expect(&exception, State::Half, &["nat-not-in-force", "no-rdr-exception"]);
    let some =
        printed("no rdr on vtnet0 inet proto tcp from 198.51.100.7 to 192.168.1.2 port = 1688");
    expect(&judged(|_, _, nat| nat.insert(0, some)), State::Open, &["in-force"]);
    let carp = printed("no rdr proto carp all");
    expect(&judged(|_, _, nat| nat.insert(0, carp)), State::Open, &["in-force"]);
}

#[test]
fn reflection_is_not_the_exposure() {
    let exposure = judged(|_, _, nat| {
        nat.push(Rule { interface: on("vtnet1"), ..rdr() });
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
    expect(&exposure, State::Uncapped, &["no-caps", "filter-rule-disabled", "other-pass"]);
    let before = judged(|_, filter, _| filter.insert(2, wide()));
    expect(&before, State::Uncapped, &["no-caps", "other-pass"]);
    let behind = judged(|_, filter, _| filter.push(wide()));
    expect(&behind, State::Open, &["in-force"]);
    let not_quick = judged(|_, filter, _| {
        filter.insert(2, Rule { quick: false, ..wide() });
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
    expect(&judged(|_, filter, _| filter.insert(0, lan)), State::Open, &["in-force"]);
}

#[test]
fn a_block_rule_before_ours_shadows_it() {
    let block = printed("block drop in quick on vtnet0 inet proto tcp from any to any port = 1688");
    let exposure = judged(|_, filter, _| filter.insert(2, block));
    expect(&exposure, State::Half, &["filter-not-in-force", "shadowed"]);
}

#[test]
fn a_rule_for_some_sources_is_open_to_those() {
    let exposure = judged(|_, filter, _| {
        filter[2] = printed(&filter[2].text.replace("from any", "from <friends:2>"));
    });
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
        &["in-force", "interface-missing", "ha-peer", "filter-disabled"],
    );
    let (filter, nat) = (vec![default_deny(), block_table(), pass()], vec![rdr()]);
    let loaded =
        Loaded { filter: &filter, nat: &nat, enabled: false, alias_table: AliasTable::Unasked };
    expect(&judge(Some(&configured()), loaded, &service()), State::Closed, &["pf-disabled"]);
}

#[test]
fn a_udp_forward_is_another_service() {
    let exposure = judged(|configured, _, _| {
        let side = Side { network: text("wanip"), port: text("1688"), ..Side::default() };
        configured.nat.push(NatRule {
            index: 8,
            protocol: text("udp"),
            association: text("nat_of_udp"),
            destination: side,
            ..nat_rule()
        });
    });
    expect(&exposure, State::Open, &["in-force"]);
}

#[test]
fn rules_inside_an_anchors_braces_are_the_anchors_own() {
    let inner = || Rule {
        depth: 1,
        interface: None,
        to: host("any", None),
        ridentifier: Some(96),
        ..pass_without_caps()
    };
    expect(&judged(|_, filter, _| filter.insert(0, inner())), State::Open, &["in-force"]);
    let forward = Rule { depth: 1, target: text("10.0.20.9"), ..rdr() };
    expect(&judged(|_, _, nat| nat.insert(0, forward)), State::Open, &["in-force"]);
}

#[test]
fn a_rule_loaded_under_another_tracker_is_another_rule() {
    let exposure = judged(|_, filter, _| filter[2].ridentifier = Some(95));
    expect(&exposure, State::Open, &["in-force", "configured-not-loaded", "other-pass"]);
    assert!(!exposure.filter.loaded);
}

#[test]
fn one_finder_says_which_records_are_the_pair() {
    use crate::domain::pfsense::configured::Alias;
    let alias = |name: &str, kind: &str, address: &str| Alias {
        name: name.into(),
        kind: text(kind),
        address: text(address),
    };
    // What is not the service's filter rule alone is never taken for it.
    let not_ours: [fn(&mut FilterRule); 6] = [
        |rule| rule.floating = true,
        |rule| rule.interface = text("wan,lan"),
        |rule| rule.protocol = None,
        |rule| rule.destination.port = None,
        |rule| rule.destination.port = text("1600:1700"),
        |rule| rule.destination.port = text("many"),
    ];
    for (number, change) in not_ours.into_iter().enumerate() {
        let exposure = judged(|configured, _, _| {
            configured.aliases = vec![alias("many", "port", "1688 443")];
            configured.nat[0].association = text("");
            configured.filter[0].association = None;
            change(&mut configured.filter[0]);
        });
        assert_eq!(exposure.filter.configured, Some(false), "{number}");
        assert!(!exposure.filter.loaded, "{number}: the loaded rule is that of others");
        assert_eq!(exposure.state, State::Open, "{number}");
        assert!(codes(&exposure).contains(&"other-pass"), "{number}: {:#?}", exposure.why);
        let stays = |path: &PathIn| path.passed_by.is_some();
        assert!(!exposure.aftermath.left_open.iter().any(stays), "no forward leads to it");
    }
    // An alias of ports that holds exactly the port is the port, however deep it is nested.
    for port in ["one", "two", "three"] {
        let exposure = judged(|configured, _, _| {
            configured.aliases = vec![
                alias("one", "port", "1688"),
                alias("two", "port", "one"),
                alias("three", "port", "two 1688"),
            ];
            configured.nat[0].destination.port = text(port);
            configured.nat[0].local_port = text(port);
            configured.filter[0].destination.port = text(port);
        });
        expect(&exposure, State::Open, &["in-force"]);
        assert_eq!((exposure.nat.configured, exposure.filter.configured), (Some(true), Some(true)));
    }
    // A forward of other ports is another service's.
    for port in ["443", "other", "1600:1687"] {
        let exposure = judged(|configured, filter, nat| {
            configured.aliases = vec![alias("other", "port", "8443")];
            configured.nat[0].destination.port = text(port);
            (filter[2], nat[0]) = (default_deny(), printed("no rdr proto carp all"));
        });
        assert_eq!(exposure.nat.configured, Some(false), "{port}");
    }
}

#[test]
fn a_shared_filter_rule_is_nobodys_own() {
    use crate::domain::pfsense::configured::NatRule;
    let other = || NatRule {
        index: 1,
        target: text("10.0.20.50"),
        destination: Side { network: text("wanip"), port: text("8443"), ..Side::default() },
        local_port: text("8443"),
        ..nat_rule()
    };
    for forwards in [1, 2] {
        let exposure = judged(|configured, _, _| {
            configured.all_nat = vec![other(), nat_rule()];
            if forwards == 2 {
                let second = NatRule { index: 8, ..nat_rule() };
                configured.nat.push(second.clone());
                configured.all_nat.push(second);
            }
        });
        assert!(codes(&exposure).contains(&"foreign-association"), "{:#?}", exposure.why);
        assert_eq!((exposure.filter.configured, exposure.state), (Some(false), State::Open));
    }
}

#[test]
fn nested_aliases_are_looked_into() {
    use crate::domain::pfsense::configured::Alias;
    let of = |address: &str, nested: &str| {
        judged(|configured, _, _| {
            configured.alias.as_mut().unwrap().address = text(address);
            configured.aliases = vec![
                Alias { name: "deep".into(), kind: text("host"), address: text(nested) },
                Alias { name: "outer".into(), kind: text("host"), address: text("deep") },
                Alias { name: "loop".into(), kind: text("host"), address: text("loop") },
            ];
        })
    };
    for (address, nested, expected) in [
        ("deep", "10.0.20.202", Some(true)),
        ("outer", "10.0.20.202/32", Some(true)),
        ("outer 10.0.20.202", "10.0.20.202", Some(true)),
        ("outer", "10.0.20.202 10.0.20.9", Some(false)),
        ("outer", "10.0.20.0/24", Some(false)),
        ("outer", "", Some(false)),
        ("outer", "kms.example.net", None),
        // pfSense leaves out what it has followed already: nothing is left.
        ("loop", "", Some(false)),
        ("missing", "", None),
    ] {
        let exposure = of(address, nested);
        assert_eq!(exposure.alias.as_expected, expected, "{address} {nested}");
        let odd = codes(&exposure).iter().any(|code| code.starts_with("alias-"));
        assert_eq!(odd, expected != Some(true), "{:#?}", exposure.why);
    }
    assert_eq!(of("outer", "10.0.20.202").alias.members().map(|nets| nets.len()), Some(1));
}

#[test]
fn other_limits_of_the_rule_are_named() {
    let limited = judged(|configured, filter, _| {
        configured.filter[0].conditions =
            vec![("max", "5000".into()), ("statetimeout", "5".into()), ("sched", "Office".into())];
        filter[2] = printed(
            "pass in quick on vtnet0 inet proto tcp from any os \"Linux\" to <k8s_kms_lb:1> port = 1688 flags S/SA keep state \
             (max 5000, source-track rule, max-src-states 3, max-src-nodes 100, max-src-conn 50, max-src-conn-rate 10/60, \
             overload <virusprot> flush global, src.track 60, tcp.established 5) tag OUT label \"tagged \" ridentifier 1763000004",
        );
    });
    let expected = [
        "max 5000",
        "tcp.established 5",
        "max-src-nodes 100",
        "max-src-states 3",
        "os Linux",
        "sched Office",
    ];
    assert_eq!(limited.other_limits, expected, "{:#?}", limited.why);
    let found = limited.why.iter().find(|finding| finding.code == "other-limits");
    assert!(found.unwrap().message.contains("max-src-states 3 is the lower limit"), "{found:?}");
    assert_eq!(judged(|_, _, _| ()).other_limits, Vec::<String>::new());
}

#[test]
fn anchors_that_are_not_read_are_named() {
    let anchor = |kind: &str, name: &str| printed(&format!("{kind} \"{name}\" all"));
    let upnp = |_: &mut Configured, filter: &mut Vec<Rule>, nat: &mut Vec<Rule>| {
        filter.push(anchor("anchor", "miniupnpd"));
        nat.push(anchor("rdr-anchor", "miniupnpd"));
    };
    let exposure = judged(upnp);
    expect(&exposure, State::Open, &["in-force", "anchor-unread"]);
    assert_eq!(
        exposure.unread_anchors(),
        [
            "UPnP's rules (anchor miniupnpd) are not read: a port that a machine inside has opened by UPnP is not seen here. \
             Look on the firewall: `pfctl -a miniupnpd -sn`"
        ]
    );
    let hop = other_paths(&exposure).unwrap();
    assert_eq!((hop.check, hop.result), ("paths", CheckResult::Skipped));
    assert_eq!(other_paths(&judged(|_, _, _| ())), None);
    let closed = judged(|configured, filter, nat| {
        configured.nat[0].disabled = true;
        configured.filter[0].disabled = true;
        filter.truncate(2);
        nat.clear();
        nat.push(anchor("rdr-anchor", "miniupnpd"));
    });
    assert_eq!(closed.state, State::Closed, "{:#?}", closed.why);
    assert_eq!(closed.unread_anchors().len(), 1, "{:#?}", closed.why);
    assert_eq!(closed.lets_in(), None, "what it lets in is not known");
    let hop = other_paths(&closed).unwrap();
    assert_eq!((hop.check, hop.result), ("paths", CheckResult::Unknown));
    // A shell must not read anything into a name; rules of another family or of outgoing packets let none in.
    let odd = judged(|_, filter, nat| {
        filter.push(anchor("anchor", "$(reboot)/*"));
        filter.push(printed("anchor \"out\" out all"));
        filter.push(printed("anchor \"six\" inet6 all"));
        nat.push(anchor("nat-anchor", "natural"));
        nat.push(anchor("binat-anchor", "pairs"));
    });
    let unread = odd.unread_anchors();
    assert_eq!(unread.len(), 2, "{unread:#?}");
    assert!(unread[0].ends_with("`pfctl -a pairs -sn`"), "{unread:#?}");
    assert!(unread[1].ends_with("`pfctl -a '*' -sr`"), "{unread:#?}");
    for own in [
        "natearly/*",
        "natrules/*",
        "tftp-proxy/*",
        "openvpn/*",
        "ipsec/*",
        "userrules/*",
        "relayd/*",
    ] {
        let exposure = judged(|_, filter, nat| {
            filter.push(anchor("anchor", own));
            nat.push(anchor("rdr-anchor", own));
        });
        expect(&exposure, State::Open, &["in-force"]);
    }
}
