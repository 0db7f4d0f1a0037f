//! What pf's kernel code and pfSense's generator do beside what rules say at a glance: marks, sources that are translated on
//! the way out, translations that change nothing, networks within networks.

use std::net::IpAddr;

use serde_json::json;

use super::super::fixtures::*;
use super::super::paths::PathKind;
use super::super::*;
use super::judged;
use super::paths::{PASS_ANY, beside, with_networks};
use crate::domain::pfsense::configured::{Alias, InterfaceConfig};
use crate::domain::pfsense::deciding::{
    find_forward_before, find_open_exit, find_rule_before, lets_named_sources_in,
};

const FORWARD: &str = "rdr on vtnet2 inet proto tcp from any to any port = 1688 -> 10.0.20.202";

/// Judges a box with its pair switched off, whose configuration is changed, with these rules.
fn changed(
    change: impl FnOnce(&mut Configured),
    nat_rules: &[&str],
    filter_rules: &[&str],
) -> Exposure {
    judged(|configured, filter, nat| {
        with_networks(configured);
        configured.nat[0].disabled = true;
        configured.filter[0].disabled = true;
        change(configured);
        filter.pop();
        nat.clear();
        filter.extend(filter_rules.iter().map(|rule| printed(rule)));
        nat.extend(nat_rules.iter().map(|rule| printed(rule)));
    })
}

fn public_service() -> Service {
    Service { address: IpAddr::from([45, 0, 20, 202]), ..service() }
}

#[test]
fn a_mark_is_borne_by_what_a_rule_has_marked() {
    // pfSense writes the first one wherever NAT reflection is on; its mark is set on inside interfaces alone.
    let reflects = "pass in inet all flags S/SA keep state label \"NAT REFLECT: Allow traffic to localhost\" ridentifier 1000003081 tagged PFREFLECT";
    let marks = "match in on vtnet2 inet proto tcp from any to any tag kms";
    let wants =
        "pass in quick on vtnet2 inet proto tcp from any to any flags S/SA keep state tagged kms";
    let refuses =
        "pass in quick on vtnet2 inet proto tcp from any to any flags S/SA keep state ! tagged kms";
    let marked = "rdr on vtnet2 inet proto tcp from any to any port = 1688 tag kms -> 10.0.20.202";
    let elsewhere = "match in on vtnet0 inet proto tcp from any to any tag kms";
    let other = "match in on vtnet2 inet proto tcp from any to any tag other";
    let blocked = "block drop out quick on vtnet3 inet all tagged kms";
    for (nat, filter, lets_in) in [
        (FORWARD, vec![reflects], false),
        (FORWARD, vec![wants], false),
        (FORWARD, vec![marks, wants], true),
        (FORWARD, vec![elsewhere, wants], false),
        (FORWARD, vec![marks, other, wants], false),
        (FORWARD, vec![refuses], true),
        (FORWARD, vec![marks, refuses], false),
        (marked, vec![wants], true),
        (marked, vec![refuses], false),
        (marked, vec![blocked, PASS_ANY], false),
        (FORWARD, vec![blocked, PASS_ANY], true),
    ] {
        let exposure = beside(&[nat], &filter);
        assert_eq!(exposure.lets_in(), Some(lets_in), "{nat} {filter:?}");
    }
    // Whether it is marked depends on what pf's rules do not say.
    let perhaps = "match in on vtnet2 inet proto tcp from any os \"Linux\" to any tag kms";
    let exposure = beside(&[FORWARD], &[perhaps, wants]);
    assert_eq!((exposure.state, exposure.lets_in()), (State::Unknown, None));
}

#[test]
fn an_exception_to_outbound_nat_keeps_the_clients_address() {
    let source = "nat on vtnet3 inet from any to 10.0.20.0/24 -> 10.0.20.1 port 1024:65535";
    let exception = "no nat on vtnet3 inet from any to 10.0.20.202";
    for (block, lets_in) in [
        ("block drop out quick on vtnet3 inet from ! 10.0.20.1 to any", false),
        ("block drop out quick on vtnet3 inet from 10.0.20.1 to any", true),
    ] {
        let exposure = beside(&[exception, source, FORWARD], &[block, PASS_ANY]);
        assert_eq!(exposure.lets_in(), Some(lets_in), "{block}");
    }
}

#[test]
fn a_client_whose_address_alone_is_translated_is_tried() {
    let source = "nat on vtnet3 inet from 198.51.100.7 to any -> 10.0.20.1 port 1024:65535";
    let block = "block drop out quick on vtnet3 inet from ! 10.0.20.1 to any";
    let exposure = beside(&[source, FORWARD], &[block, PASS_ANY]);
    assert_eq!(exposure.lets_in(), Some(true), "{:#?}", exposure.paths);
    assert_eq!(exposure.paths[0].sources, "198.51.100.7");
}

#[test]
fn the_narrowest_network_leads_to_the_service() {
    let disabled = InterfaceConfig {
        name: "opt8".into(),
        device: text("vtnet8"),
        ipaddr: text("10.0.20.1"),
        subnet: text("24"),
        ..InterfaceConfig::default()
    };
    let on = |device: &str| format!("block drop out quick on {device} inet all");
    let (own, other) = (on("vtnet3"), on("vtnet1"));
    for block in [&own, &other] {
        let lets_in = block == &other;
        let beside_disabled = |configured: &mut Configured| {
            configured.interfaces.insert(1, disabled.clone());
        };
        let exposure = changed(beside_disabled, &[FORWARD], &[block, PASS_ANY]);
        assert_eq!(exposure.lets_in(), Some(lets_in), "disabled, {block}");
        let wide = |configured: &mut Configured| {
            configured.interfaces[1].ipaddr = text("10.0.0.1");
            configured.interfaces[1].subnet = text("8");
        };
        let exposure = changed(wide, &[FORWARD], &[block, PASS_ANY]);
        assert_eq!(exposure.lets_in(), Some(lets_in), "wide, {block}");
    }
}

#[test]
fn without_pf_a_public_address_is_reached() {
    let mut configured = configured();
    with_networks(&mut configured);
    configured.nat[0].disabled = true;
    configured.filter[0].disabled = true;
    let off = Loaded {
        filter: &[default_deny()],
        nat: &[],
        enabled: false,
        alias_table: AliasTable::Unasked,
    };
    let exposure = judge(Some(&configured), off, &public_service());
    assert_eq!(exposure.lets_in(), Some(true), "{:#?}", exposure.why);
    assert_eq!(exposure.paths[0].kind, PathKind::Routed);
    assert_ne!(exposure.state, State::Closed);
    let private = judge(Some(&configured), off, &service());
    assert_eq!(private.lets_in(), Some(false));
}

#[test]
fn the_rules_of_a_vpn_count_where_it_is_named_as_outside() {
    for (name, device) in [("openvpn", "ovpnc1"), ("WireGuard", "tun_wg0")] {
        let nat = [printed(&format!(
            "rdr on {name} inet proto tcp from any to any port = 1688 -> 10.0.20.202"
        ))];
        let filter = [
            default_deny(),
            printed(&format!("pass in quick on {name} inet all flags S/SA keep state")),
        ];
        for (outside, lets_in) in [(vec!["opt2".to_owned()], true), (Vec::new(), false)] {
            let mut configured = configured();
            with_networks(&mut configured);
            configured.interfaces[3].device = text(device);
            let loaded = Loaded {
                filter: &filter,
                nat: &nat,
                enabled: true,
                alias_table: AliasTable::Unasked,
            };
            let service = Service { outside, ..service() };
            let exposure = judge(Some(&configured), loaded, &service);
            assert_eq!(exposure.lets_in(), Some(lets_in), "{name}: {:#?}", exposure.paths);
        }
    }
}

#[test]
fn a_tunnel_that_brings_ipv6_may_be_outside() {
    let mut configured = configured();
    with_networks(&mut configured);
    configured.interfaces[3].device = text("gif0");
    configured.interfaces[3].gateway_v6 = text("HENETGW");
    let service = Service { address: "2600:1:2:3::202".parse().unwrap(), ..service() };
    let filter = [
        printed("block drop in log inet6 all"),
        printed(
            "pass in quick on gif0 inet6 proto tcp from any to 2600:1:2:3::202 port = 1688 flags S/SA keep state",
        ),
    ];
    let loaded =
        Loaded { filter: &filter, nat: &[], enabled: true, alias_table: AliasTable::Unasked };
    assert_eq!(judge(Some(&configured), loaded, &service).lets_in(), None);
}

#[test]
fn what_a_condition_on_ports_leaves_out_is_tried() {
    for others in ["port != 8443", "port 8442 <> 8444", "port < 8443"] {
        let takes = format!("rdr on vtnet2 inet proto tcp from any to any {others} -> 10.0.20.50");
        let rest = "rdr on vtnet2 inet proto tcp from any to any -> 10.0.20.202 port 1688";
        let exposure = beside(&[&takes, rest], &[PASS_ANY]);
        assert_eq!(exposure.lets_in(), Some(true), "{others}");
    }
}

#[test]
fn what_leads_elsewhere_has_to_take_the_port_of_the_interface() {
    let elsewhere = |nat: &[&str]| {
        judged(|configured, filter, loaded| {
            with_networks(configured);
            configured.nat.clear();
            configured.filter.clear();
            filter[2] = printed(
                "pass in quick on vtnet0 inet proto tcp from any to 10.0.20.50 port = 1688 flags S/SA keep state",
            );
            loaded.clear();
            loaded.extend(nat.iter().map(|rule| printed(rule)));
        })
    };
    let to = |from: &str, to: &str| {
        format!("rdr on vtnet0 inet proto tcp from {from} to {to} port = 1688 -> 10.0.20.50")
    };
    let own = to("any", "192.168.1.2");
    assert_eq!(elsewhere(&[&own]).state, State::Uncapped);
    // The port of a virtual address is another service's.
    assert_eq!(elsewhere(&[&to("any", "192.168.1.9")]).state, State::Absent);
    let exception = "no rdr on vtnet0 inet proto tcp from any to 192.168.1.2 port = 1688";
    assert_eq!(elsewhere(&[exception, &own]).state, State::Absent);
    assert_eq!(elsewhere(&[&to("198.51.100.7", "192.168.1.2")]).state, State::Half);
}

#[test]
fn a_redirection_that_changes_nothing_passes_nothing() {
    let nat = [printed(
        "rdr pass on vtnet0 inet proto tcp from any to 45.0.20.202 port = 1688 -> 45.0.20.202",
    )];
    let pass = "pass in quick on vtnet0 inet proto tcp from any to 45.0.20.202 port = 1688 flags S/SA keep state";
    for (passes, lets_in) in [(vec![], false), (vec![printed(pass)], true)] {
        let mut filter = vec![default_deny()];
        filter.extend(passes);
        let mut configured = configured();
        with_networks(&mut configured);
        configured.nat.clear();
        configured.filter.clear();
        let loaded =
            Loaded { filter: &filter, nat: &nat, enabled: true, alias_table: AliasTable::Unasked };
        let exposure = judge(Some(&configured), loaded, &public_service());
        assert_eq!(exposure.lets_in(), Some(lets_in), "{:#?}", exposure.paths);
    }
}

#[test]
fn aliases_are_followed_however_deep_they_are() {
    let alias =
        |name: String, address: &str| Alias { name, kind: text("host"), address: text(address) };
    let rdr = "rdr on vtnet2 inet proto tcp from any to any port = 1688 -> <deep0> round-robin";
    for (last, lets_in) in [
        ("10.0.20.202", Some(true)),
        ("10.0.20.50", Some(false)),
        ("10.0.20.202 deep0", Some(true)),
        ("10.0.20.50 deep0", Some(false)),
        ("elsewhere.example", None),
    ] {
        let nested = |configured: &mut Configured| {
            for place in 0..8 {
                let next = format!("deep{}", place + 1);
                configured.aliases.push(alias(format!("deep{place}"), &next));
            }
            configured.aliases.push(alias("deep8".to_owned(), last));
        };
        let exposure = changed(nested, &[rdr], &[PASS_ANY]);
        assert_eq!(exposure.lets_in(), lets_in, "{last}");
    }
}

#[test]
fn what_tables_hold_is_not_known_while_aliases_wait_to_be_applied() {
    let rdr = "rdr on vtnet2 inet proto tcp from any to any port = 1688 -> <others> round-robin";
    for (dirty, lets_in) in [
        (vec!["aliases".to_owned()], None),
        (vec!["natconf".to_owned(), "filter".to_owned()], Some(false)),
    ] {
        let waits = |configured: &mut Configured| configured.dirty = dirty.clone();
        let exposure = changed(waits, &[rdr], &[PASS_ANY]);
        assert_eq!(exposure.lets_in(), lets_in, "{dirty:?}");
    }
}

#[test]
fn a_long_list_leaves_nothing_open_where_no_rule_passes() {
    let listed: Vec<String> =
        (0..600).map(|place| format!("198.51.{}.{}", place / 100, place % 100 * 2)).collect();
    let long = |configured: &mut Configured| {
        configured.aliases.push(Alias {
            name: "offenders".into(),
            kind: text("host"),
            address: Some(listed.join(" ")),
        });
    };
    let block = "block drop in quick on vtnet2 inet from <offenders> to any";
    let shut = changed(long, &[FORWARD], &[block]);
    assert_eq!(shut.lets_in(), Some(false), "{:#?}", shut.paths);
    let open = changed(long, &[FORWARD], &[block, PASS_ANY]);
    assert_eq!(open.lets_in(), Some(true));
}

#[test]
fn a_first_packet_can_bear_more_flags() {
    let pass = |flags: &str| {
        format!("pass in quick on vtnet2 inet proto tcp from any to any flags {flags} keep state")
    };
    let block = |flags: &str| {
        format!("block drop in quick on vtnet2 inet proto tcp from any to any flags {flags}")
    };
    for (rules, lets_in) in [
        (vec![pass("SEW/SAEW")], None),
        (vec![pass("SA/SA")], Some(false)),
        (vec![pass("/A")], Some(true)),
        (vec![block("SEW/SAEW"), pass("S/SA")], Some(true)),
        (vec![block("A/A"), pass("S/SA")], Some(true)),
        (vec![block("S/SA"), pass("any")], Some(false)),
    ] {
        let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
        assert_eq!(beside(&[FORWARD], &rules).lets_in(), lets_in, "{rules:?}");
    }
}

/// A box as its records are read, with a second network on the interface that leads to the service.
fn of_records() -> Configured {
    let interface = |device: &str, address: &str, bits: &str, gateway: &str| json!({"enable": "", "if": device, "ipaddr": address, "subnet": bits, "gateway": gateway});
    let vip = |mode: &str, interface: &str, address: &str, bits: &str, id: &str| json!({"mode": mode, "interface": interface, "subnet": address, "subnet_bits": bits, "uniqid": id});
    let sections = json!({
        "interfaces": {
            "wan": interface("vtnet0", "192.168.1.2", "24", "WANGW"),
            "lan": interface("vtnet1", "10.0.10.1", "24", ""),
            "opt1": interface("vtnet2", "203.0.113.2", "29", "WAN2GW"),
            "opt3": interface("vtnet3", "10.9.9.1", "24", ""),
        },
        "virtualip": {"vip": [
            vip("carp", "opt3", "10.9.9.9", "24", "65f0"),
            vip("ipalias", "_vip65f0", "10.0.20.1", "24", "65f1"),
        ]},
    });
    let configured =
        Configured { sections: serde_json::from_value(sections).unwrap(), ..Configured::default() };
    configured.shaped_for(&(&service()).into())
}

#[test]
fn networks_of_virtual_addresses_are_networks_of_their_interface() {
    let nat = [printed(FORWARD)];
    let to_network = "pass in quick on vtnet2 inet proto tcp from any to <OPT3__NETWORK:2> flags S/SA keep state";
    let to_lan =
        "pass in quick on vtnet2 inet proto tcp from any to <LAN__NETWORK:1> flags S/SA keep state";
    for (rules, lets_in) in [
        (vec![to_network], true),
        (vec![to_lan], false),
        (vec!["block drop out quick on vtnet3 inet all", PASS_ANY], false),
        (vec!["block drop out quick on vtnet1 inet all", PASS_ANY], true),
    ] {
        let mut filter = vec![default_deny()];
        filter.extend(rules.iter().map(|rule| printed(rule)));
        let loaded =
            Loaded { filter: &filter, nat: &nat, enabled: true, alias_table: AliasTable::Unasked };
        let exposure = judge(Some(&of_records()), loaded, &service());
        assert_eq!(exposure.lets_in(), Some(lets_in), "{rules:?}");
    }
}

#[test]
fn a_configured_rule_with_a_condition_decides_nothing() {
    let mut configured = configured();
    with_networks(&mut configured);
    let request = (&service()).into();
    let own = filter_rule();
    let mut first =
        FilterRule { index: 1, tracker: text("1700000001"), kind: text("block"), ..filter_rule() };
    for (conditions, decides) in [
        (vec![], true),
        (vec![("statetimeout", "60")], true),
        (vec![("dscp", "af11")], false),
        (vec![("tcpflags1", "ack"), ("tcpflags2", "syn,ack")], false),
        (vec![("vlanprio", "vi")], false),
        (vec![("tagged", "x"), ("nottagged", "")], false),
    ] {
        first.conditions =
            conditions.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
        configured.all_filter = vec![first.clone(), own.clone()];
        let found = find_rule_before(&configured, Some(&own), &request);
        assert_eq!(found.is_some(), decides, "{conditions:?}");
    }
}

#[test]
fn a_configured_forward_takes_the_port_where_pfsense_loads_it() {
    let mut configured = configured();
    with_networks(&mut configured);
    configured.aliases.push(Alias {
        name: "nothing".into(),
        kind: text("host"),
        address: text(""),
    });
    let request = (&service()).into();
    for (target, takes) in [
        ("10.0.20.50", true),
        ("others", true),
        ("lanip", true),
        // pf finds no address to lead to, and the packet is not led on.
        ("nothing", true),
        // pfSense leaves it out.
        ("no_such_alias", false),
        ("k8s_kms_lb", false),
    ] {
        let first = NatRule { index: 1, target: text(target), ..nat_rule() };
        configured.nat = vec![first, nat_rule()];
        let found = find_forward_before(&configured, Some(&nat_rule()), &request);
        assert_eq!(found.is_some(), takes, "{target}");
    }
}

#[test]
fn the_configured_way_out_is_the_narrowest_network_too() {
    let mut configured = configured();
    with_networks(&mut configured);
    configured.interfaces[1].ipaddr = text("10.0.0.1");
    configured.interfaces[1].subnet = text("8");
    let request = (&service()).into();
    let friends = FilterRule {
        index: 1,
        tracker: text("1700000001"),
        source: crate::domain::pfsense::configured::Side {
            address: text("198.51.100.7"),
            ..Default::default()
        },
        ..filter_rule()
    };
    for (interface, lets_in) in [("opt3", false), ("lan", true)] {
        let block = FilterRule {
            index: 0,
            tracker: text("1700000002"),
            kind: text("block"),
            floating: true,
            quick: true,
            direction: text("out"),
            interface: text(interface),
            ..filter_rule()
        };
        configured.all_filter = vec![block, friends.clone()];
        let found =
            lets_named_sources_in(&configured, Some(&nat_rule()), Some(&friends), false, &request);
        assert_eq!(found, lets_in, "{interface}");
    }
}

#[test]
fn a_way_out_that_a_rule_may_keep_shut_is_found() {
    let mut configured = configured();
    with_networks(&mut configured);
    configured.interfaces[1].ipaddr = text("10.0.20.1");
    configured.interfaces[1].subnet = text("24");
    configured.aliases.push(Alias {
        name: "country".into(),
        kind: text("urltable"),
        address: text("https://lists.example/country"),
    });
    let request = (&service()).into();
    let lan = configured.interfaces[1].name.clone();
    let from = |address: &str, not: bool| crate::domain::pfsense::configured::Side {
        address: text(address),
        not,
        ..Default::default()
    };
    let block = FilterRule {
        kind: text("block"),
        floating: true,
        direction: text("any"),
        interface: text(&lan),
        ..filter_rule()
    };
    let with_mark = FilterRule {
        conditions: [("dscp", "af11".to_owned())].into_iter().collect(),
        ..block.clone()
    };
    for (rule, is_open) in [
        (block.clone(), false),
        (with_mark.clone(), true),
        (FilterRule { direction: text("out"), ..with_mark.clone() }, true),
        (FilterRule { direction: text("in"), ..with_mark.clone() }, false),
        (FilterRule { disabled: true, ..with_mark.clone() }, false),
        (FilterRule { interface: text("wan"), ..with_mark.clone() }, false),
        (FilterRule { kind: text("pass"), ..with_mark }, false),
        (FilterRule { source: from("country", true), ..block.clone() }, true),
        (FilterRule { source: from("country", false), ..block.clone() }, true),
        (FilterRule { source: from("198.51.100.7", false), ..block }, false),
    ] {
        configured.all_filter = vec![rule.clone()];
        let found = find_open_exit(&configured, &request);
        assert_eq!(found.is_some(), is_open, "{rule:?}");
    }
}
