//! Every way in beside the managed pair is named, and never called closed.

use super::super::fixtures::*;
use super::super::paths::PathKind;
use super::super::upnp::enter_upnp_anchor;
use super::super::*;
use super::{codes, expect, judged};
use crate::domain::pfsense::configured::{Alias, InterfaceConfig, InterfaceGroup};

/// The user's box with a second WAN and a network inside.
pub fn with_networks(configured: &mut Configured) {
    let interface = |name: &str, device: &str, address: &str, bits: &str, gateway: Option<&str>| {
        InterfaceConfig {
            name: name.into(),
            enabled: true,
            device: text(device),
            ipaddr: text(address),
            subnet: text(bits),
            gateway: gateway.map(Into::into),
            ..InterfaceConfig::default()
        }
    };
    configured.interfaces = vec![
        interface("wan", "vtnet0", "192.168.1.2", "24", Some("WANGW")),
        interface("lan", "vtnet1", "10.0.10.1", "24", None),
        interface("opt1", "vtnet2", "203.0.113.2", "29", Some("WAN2GW")),
        interface("opt2", "ovpnc1", "10.8.0.2", "24", Some("VPNGW")),
        interface("opt3", "vtnet3", "10.0.20.1", "24", None),
    ];
    configured.interface = configured.interfaces.first().cloned();
    configured.interface_groups =
        vec![InterfaceGroup { name: "Uplinks".into(), members: vec!["wan".into(), "opt1".into()] }];
    let alias = |name: &str, address: &str| Alias {
        name: name.into(),
        kind: text("host"),
        address: text(address),
    };
    configured.aliases = vec![
        alias("k8s_kms_lb", "10.0.20.202"),
        alias("outer", "inner 10.0.20.9"),
        alias("inner", "10.0.20.202"),
        alias("others", "10.0.20.50"),
    ];
}

/// Judges the box with its pair switched off and these rules beside it.
pub(super) fn beside(nat_rules: &[&str], filter_rules: &[&str]) -> Exposure {
    judged(|configured, filter, nat| {
        with_networks(configured);
        configured.nat[0].disabled = true;
        configured.filter[0].disabled = true;
        filter.pop();
        nat.clear();
        filter.extend(filter_rules.iter().map(|rule| printed(rule)));
        nat.extend(nat_rules.iter().map(|rule| printed(rule)));
    })
}

pub(super) const PASS_ANY: &str =
    "pass in quick inet proto tcp from any to 10.0.20.202 port = 1688 flags S/SA keep state";

#[test]
fn a_path_beside_the_closed_pair_is_named() {
    for (rdr, interface) in [
        (
            "rdr on vtnet2 inet proto tcp from any to 203.0.113.2 port = 1688 -> <k8s_kms_lb> round-robin",
            "opt1",
        ),
        (
            "rdr on vtnet2 inet proto tcp from any to 203.0.113.2 port = 8443 -> 10.0.20.202 port 1688",
            "opt1",
        ),
        (
            "rdr on vtnet0 inet proto tcp from any to 192.168.1.2 port = 11688 -> <outer> port 1688 round-robin",
            "wan",
        ),
        (
            "rdr on vtnet0 inet proto tcp from any to 192.168.1.2 port 1600:1700 -> <inner> round-robin",
            "wan",
        ),
        (
            "rdr on vtnet0 inet proto tcp from any to 192.168.1.9 port 2600:2700 -> 10.0.20.200/29 port 1600:1700 round-robin",
            "wan",
        ),
        ("rdr on Uplinks inet proto tcp from any to any port = 1688 -> 10.0.20.202", "wan"),
        (
            "rdr pass on vtnet0 inet proto tcp from any to 192.168.1.7 port = 1688 -> <k8s_kms_lb> round-robin",
            "wan",
        ),
    ] {
        let exposure = beside(&[rdr], &[PASS_ANY]);
        let path = exposure.paths.first().unwrap_or_else(|| panic!("{rdr}"));
        assert_eq!((path.interface.as_str(), path.certain), (interface, true), "{rdr}");
        assert!(!exposure.state.lets_in(), "{rdr}");
        assert_eq!(exposure.lets_in(), Some(true), "{rdr}");
        assert_ne!(exposure.state, State::Closed, "{rdr}");
    }
}

#[test]
fn what_leads_elsewhere_is_no_path() {
    for rdr in [
        "rdr on vtnet2 inet proto tcp from any to 203.0.113.2 port = 1688 -> <others> round-robin",
        "rdr on vtnet2 inet proto tcp from any to 203.0.113.2 port = 8443 -> 10.0.20.202 port 8443",
        "rdr on vtnet2 inet proto udp from any to 203.0.113.2 port = 1688 -> 10.0.20.202",
        "rdr on vtnet1 inet proto tcp from any to 192.168.1.2 port = 1688 -> <k8s_kms_lb> round-robin",
        "rdr on ovpnc1 inet proto tcp from any to 10.8.0.2 port = 1688 -> 10.0.20.202",
    ] {
        let exposure = beside(&[rdr], &[PASS_ANY]);
        assert_eq!(exposure.paths, [], "{rdr}");
        assert_eq!(exposure.lets_in(), Some(false), "{rdr}");
    }
}

#[test]
fn a_forward_needs_a_rule_that_admits() {
    let rdr = "rdr on vtnet2 inet proto tcp from any to 203.0.113.2 port = 1688 -> <k8s_kms_lb> round-robin";
    for (pass, lets_in) in [
        (
            "pass in quick on vtnet0 inet proto tcp from any to 10.0.20.202 port = 1688 flags S/SA keep state",
            false,
        ),
        ("pass in on vtnet2 inet proto tcp from any to any flags S/SA keep state", true),
        ("pass in quick on Uplinks inet from any to 10.0.20.0/24 flags S/SA keep state", true),
        (
            "pass in quick on vtnet2 inet proto tcp from 198.51.100.7 to 10.0.20.202 port = 1688 flags S/SA keep state",
            true,
        ),
        (
            "pass in quick on vtnet2 inet proto tcp from any to 10.0.20.202 port = 443 flags S/SA keep state",
            false,
        ),
        (
            "pass in quick on vtnet2 inet proto tcp from any to 10.0.20.202 port = 1688 flags A/A keep state",
            false,
        ),
    ] {
        let exposure = beside(&[rdr], &[pass]);
        assert_eq!(exposure.lets_in(), Some(lets_in), "{pass}");
    }
    let exposure = beside(
        &[rdr],
        &["pass in quick on vtnet2 proto tcp from any os \"Linux\" to any flags S/SA keep state"],
    );
    assert_eq!((exposure.state, exposure.lets_in()), (State::Unknown, None));
    let last = [
        "pass in on vtnet2 inet proto tcp from any to any flags S/SA keep state",
        "block drop in on vtnet2 inet all",
    ];
    assert_eq!(beside(&[rdr], &last).lets_in(), Some(false), "the last match wins");
}

#[test]
fn one_to_one_nat_is_a_path() {
    for (binat, enters) in [
        ("binat on vtnet2 inet from 10.0.20.202 to any -> 203.0.113.5", "203.0.113.5:1688"),
        ("binat on vtnet0 inet from 10.0.20.0/24 to any -> 198.51.100.0/24", "198.51.100.202:1688"),
    ] {
        let exposure = beside(&[binat], &[PASS_ANY]);
        let path = &exposure.paths[0];
        assert_eq!((path.kind, path.enters.as_str()), (PathKind::OneToOne, enters));
        assert_eq!(exposure.lets_in(), Some(true));
        let shadow = "rdr on vtnet2 inet proto tcp from any to 203.0.113.5 port = 1688 -> <others> round-robin";
        if enters.starts_with("203") {
            assert_eq!(beside(&[binat, shadow], &[PASS_ANY]).paths, [], "a redirection goes first");
        }
    }
    let other = "binat on vtnet2 inet from 10.0.20.201 to any -> 203.0.113.5";
    assert_eq!(beside(&[other], &[PASS_ANY]).paths, []);
}

/// What is to do by hand is what leads in, and no other thing.
#[test]
fn the_step_by_hand_names_what_leads_in() {
    let forward = "disable every forward that takes in port 1688 on WAN";
    let entry = "1:1, disable the entry that leads 203.0.113.5 on";
    let binat = "binat on vtnet2 inet from 10.0.20.202 to any -> 203.0.113.5";
    let second = "rdr on vtnet2 inet proto tcp from any to 203.0.113.6 port = 1688 -> <k8s_kms_lb> round-robin";
    let step = "disable the forward of 203.0.113.6:1688 on";
    for (nat, named, missing) in [
        (vec![], vec![forward], vec![entry, step]),
        (vec![binat], vec![entry], vec![forward, step]),
        (vec![second], vec![step], vec![forward, entry]),
        (vec![second, binat], vec![step, entry], vec![forward]),
    ] {
        let said = beside(&nat, &[PASS_ANY]).closing_by_hand(&service());
        assert!(named.iter().all(|words| said.contains(words)), "{said}");
        assert!(!missing.iter().any(|words| said.contains(words)), "{said}");
        assert!(said.ends_with(", and Apply Changes."), "{said}");
    }
    let both = judged(|configured, filter, nat| {
        with_networks(configured);
        filter.push(printed(PASS_ANY));
        nat.push(printed(binat));
    });
    let said = both.closing_by_hand(&service());
    assert!(said.contains(forward) && said.contains(entry), "{said}");
    let routed = Service { address: "203.0.113.202".parse().unwrap(), ..service() };
    let mut shown = beside(&[binat], &[PASS_ANY]);
    shown.paths[0].kind = PathKind::Routed;
    assert!(shown.closing_by_hand(&routed).contains("Firewall > Rules, disable the rule"));
    shown.paths[0].kind = PathKind::Upnp;
    assert!(shown.closing_by_hand(&routed).contains("Status > UPnP & NAT-PMP"));
    shown.paths[0].kind = PathKind::Unread;
    assert!(shown.closing_by_hand(&routed).contains(forward));
}

#[test]
fn a_pass_rule_alone_is_no_path() {
    let exposure = beside(&[], &[PASS_ANY]);
    assert_eq!((exposure.paths.len(), exposure.lets_in()), (0, Some(false)));
}

#[test]
fn the_open_pair_names_the_second_wan() {
    let exposure = judged(|configured, filter, nat| {
        with_networks(configured);
        nat.push(printed("rdr on vtnet2 inet proto tcp from any to 203.0.113.2 port = 1688 -> <k8s_kms_lb> round-robin"));
        filter.push(printed("pass in quick on vtnet2 inet proto tcp from any to <k8s_kms_lb> port = 1688 flags S/SA keep state ridentifier 1763000005"));
    });
    assert_eq!(exposure.state, State::Open);
    assert!(codes(&exposure).contains(&"other-path"), "{:#?}", exposure.why);
    assert!(!codes(&exposure).contains(&"reflection"));
    assert_eq!(exposure.paths.iter().map(|path| path.managed).collect::<Vec<_>>(), [true, false]);
    assert_eq!(exposure.aftermath.left_open.len(), 1, "{:#?}", exposure.aftermath.left_open);
}

#[test]
fn a_gateway_of_routing_may_lead_outside() {
    let exposure = judged(|configured, filter, nat| {
        with_networks(configured);
        configured.interfaces[2].gateway = None;
        configured.interfaces[2].has_routing_gateway = true;
        nat.push(printed("rdr on vtnet2 inet proto tcp from any to 203.0.113.2 port = 1688 -> <k8s_kms_lb> round-robin"));
        filter.push(printed("pass in quick on vtnet2 inet proto tcp from any to <k8s_kms_lb> port = 1688 flags S/SA keep state ridentifier 1763000005"));
    });
    assert_eq!(exposure.state, State::Open);
    assert!(!codes(&exposure).contains(&"reflection"), "{:#?}", exposure.why);
    let certain: Vec<bool> = exposure.paths.iter().map(|path| path.certain).collect();
    assert_eq!(certain, [true, false], "it may be a router inside");
    assert_eq!(exposure.aftermath.left_open.len(), 1, "{:#?}", exposure.aftermath.left_open);
    let vpn = judged(|configured, _, _| {
        with_networks(configured);
        configured.interfaces[3].has_routing_gateway = true;
    });
    assert_eq!(vpn.paths.len(), 1, "a VPN leads outside only where it is named");
}

#[test]
fn a_pass_rule_alone_is_a_note() {
    let closed = |pass: &str| {
        judged(|configured, filter, nat| {
            with_networks(configured);
            configured.nat[0].disabled = true;
            configured.filter[0].disabled = true;
            filter.truncate(2);
            filter.push(printed(pass));
            nat.clear();
        })
    };
    let wide = "pass in quick on vtnet0 inet proto tcp from any to any flags S/SA keep state";
    for (pass, noted) in [
        (PASS_ANY, true),
        (wide, true),
        (
            "pass in quick on vtnet0 inet proto tcp from any to 10.0.20.0/24 flags S/SA keep state",
            true,
        ),
        (
            "pass in quick on vtnet0 inet proto tcp from any to 10.0.20.202 port = 443 flags S/SA keep state",
            false,
        ),
        ("pass in quick on vtnet1 inet from 10.0.10.0/24 to any flags S/SA keep state", false),
        ("block drop in quick on vtnet0 inet from any to any", false),
    ] {
        let exposure = closed(pass);
        assert_eq!((exposure.state, exposure.lets_in()), (State::Closed, Some(false)), "{pass}");
        assert_eq!(codes(&exposure).contains(&"pass-alone"), noted, "{pass}: {:#?}", exposure.why);
    }
    let open = judged(|configured, filter, _| {
        with_networks(configured);
        filter.push(printed(wide));
    });
    assert!(!codes(&open).contains(&"pass-alone"), "the pair leads there");
}

#[test]
fn another_inside_port_is_open() {
    for inside in ["21688", "443"] {
        let exposure = judged(|configured, filter, nat| {
            with_networks(configured);
            configured.nat[0].local_port = text(inside);
            configured.filter[0].destination.port = text(inside);
            nat[0] = printed(&format!(
                "rdr on vtnet0 inet proto tcp from any to 192.168.1.2 port = 1688 -> <k8s_kms_lb> port {inside} round-robin"
            ));
            filter[2].to.port = text(&format!("= {inside}"));
        });
        assert_eq!(exposure.state, State::Open, "{:#?}", exposure.why);
        assert!(codes(&exposure).contains(&"other-inside-port"));
    }
}

#[test]
fn a_shadowed_second_forward_appears_afterwards() {
    let exposure = judged(|configured, _, nat| {
        with_networks(configured);
        nat.push(rdr());
    });
    assert_eq!(exposure.aftermath.left_open.len(), 0, "its pass rule goes with the pair");
    let exposure = judged(|configured, filter, nat| {
        with_networks(configured);
        nat.push(rdr());
        filter.push(printed(PASS_ANY));
    });
    assert_eq!((exposure.paths.len(), exposure.aftermath.left_open.len()), (1, 1));
}

#[test]
fn a_public_address_needs_no_translation() {
    let public = Service { address: "203.0.113.77".parse().unwrap(), ..service() };
    let pass = |to: &str| {
        printed(&format!(
            "pass in quick on vtnet0 inet proto tcp from any to {to} port = 1688 flags S/SA keep state"
        ))
    };
    for (to, paths) in [("203.0.113.77", 1), ("203.0.113.64/27", 1), ("203.0.113.78", 0)] {
        let filter = [default_deny(), block_table(), pass(to)];
        let mut configured = configured();
        configured.nat.clear();
        configured.filter.clear();
        let loaded =
            Loaded { filter: &filter, nat: &[], enabled: true, alias_table: AliasTable::Unasked };
        let exposure = judge(Some(&configured), loaded, &public);
        assert_eq!(exposure.paths.len(), paths, "{to}");
    }
}

#[test]
fn sources_that_rules_leave_out_are_tried() {
    let leaves_out =
        "rdr on vtnet2 inet proto tcp from ! 198.51.100.7 to any -> <others> round-robin";
    let leads_in = "rdr on vtnet2 inet proto tcp from any to any -> <k8s_kms_lb> round-robin";
    let blocks = "block drop in quick inet proto tcp from ! 198.51.100.7 to any";
    for (nat, filter) in
        [(vec![leaves_out, leads_in], vec![PASS_ANY]), (vec![leads_in], vec![blocks, PASS_ANY])]
    {
        let exposure = beside(&nat, &filter);
        assert_eq!(exposure.lets_in(), Some(true), "{nat:?} {filter:?}");
        assert_ne!(exposure.state, State::Closed, "{nat:?} {filter:?}");
    }
}

#[test]
fn a_pair_behind_an_outbound_block_is_half() {
    for block in [
        "block drop out inet proto tcp from any to any",
        "block drop out quick on vtnet3 inet from any to 10.0.20.0/24",
        "block drop quick on ! vtnet0 inet proto tcp from any to <k8s_kms_lb> port = 1688",
        "block drop out quick inet proto tcp from any to any port 1000:2000",
    ] {
        let exposure = judged(|configured, filter, _| {
            with_networks(configured);
            filter.insert(1, printed(block));
        });
        expect(&exposure, State::Half, &["kept-behind"]);
        assert!(exposure.why[0].message.contains(block), "{exposure:#?}");
        assert_eq!(exposure.lets_in(), Some(false), "{block}");
    }
    // Which interface leads to the service is known only where its network is.
    let routed = judged(|configured, filter, _| {
        with_networks(configured);
        configured.interfaces.retain(|interface| interface.name != "opt3");
        filter.insert(1, printed("block drop out quick on vtnet3 inet from any to any"));
    });
    expect(&routed, State::Unknown, &["path-unknown"]);
    assert_eq!(routed.lets_in(), None);
    for elsewhere in [
        "block drop out quick on vtnet1 inet from any to any",
        "block drop out quick inet proto tcp from any to any port = 443",
    ] {
        let exposure = judged(|configured, filter, _| {
            with_networks(configured);
            filter.insert(1, printed(elsewhere));
        });
        expect(&exposure, State::Open, &["in-force"]);
    }
}

#[test]
fn a_group_rule_without_caps_before_ours_is_uncapped() {
    let exposure = judged(|configured, filter, _| {
        with_networks(configured);
        filter.insert(
            1,
            printed(
                "pass in quick on Uplinks inet proto tcp from any to <outer> flags S/SA keep state",
            ),
        );
    });
    assert_eq!(exposure.state, State::Uncapped, "{:#?}", exposure.why);
    assert_eq!(exposure.caps.loaded, Some(Caps::default()));
}

#[test]
fn an_exception_to_redirections_keeps_one_to_one_nat() {
    let binat = "binat on vtnet2 inet from 10.0.20.202 to any -> 203.0.113.5";
    for exception in [
        "no rdr on vtnet2 inet proto tcp from any to 203.0.113.5 port = 1688",
        "no rdr inet proto tcp from any to any",
    ] {
        let exposure = beside(&[exception, binat], &[PASS_ANY]);
        assert_eq!(exposure.lets_in(), Some(true), "{exception}");
    }
    // It is looked up in the direction of the packet.
    for (exception, lets_in) in [
        ("no binat on vtnet2 inet from 10.0.20.202 to any", true),
        ("no binat on vtnet2 inet from any to 203.0.113.5", false),
    ] {
        let exposure = beside(&[exception, binat], &[PASS_ANY]);
        assert_eq!(exposure.lets_in(), Some(lets_in), "{exception}");
    }
}

#[test]
fn what_neighbouring_networks_leave_is_tried() {
    let forward = |to: &str, target: &str| {
        format!("rdr on vtnet2 inet proto tcp from any to {to} -> {target}")
    };
    let nat = [
        forward("203.0.113.0/29", "10.0.20.50"),
        forward("203.0.113.16/28", "10.0.20.50"),
        forward("203.0.113.0/27", "10.0.20.202"),
    ];
    let nat: Vec<&str> = nat.iter().map(String::as_str).collect();
    assert_eq!(beside(&nat, &[PASS_ANY]).lets_in(), Some(true));
    let filter = [
        "block drop in quick inet from 198.51.100.0/25 to any",
        "block drop in quick inet from 198.51.100.192 - 198.51.100.255 to any",
        "pass in quick inet proto tcp from 198.51.100.0/24 to 10.0.20.202 port = 1688 flags S/SA keep state",
    ];
    let leads_in = "rdr on vtnet2 inet proto tcp from any to any -> 10.0.20.202";
    assert_eq!(beside(&[leads_in], &filter).lets_in(), Some(true));
    let all =
        ["block drop in quick inet from 198.51.100.128/26 to any", filter[0], filter[1], filter[2]];
    assert_eq!(beside(&[leads_in], &all).lets_in(), Some(false));
}

#[test]
fn a_range_leads_in_once_a_turn() {
    for (ports, target, lets_in) in [
        ("2000:2100", "1680:1689", true),
        ("2000:2007", "1680:1689", false),
        ("2000:2008", "1680:1689", true),
    ] {
        let rdr = format!(
            "rdr on vtnet2 inet proto tcp from any to any port {ports} -> 10.0.20.202 port {target}"
        );
        let before = "rdr on vtnet2 inet proto tcp from any to any port = 2008 -> 10.0.20.50";
        let alone = beside(&[&rdr], &[PASS_ANY]).lets_in();
        assert_eq!(alone, Some(lets_in), "{ports}");
        let rest = beside(&[before, &rdr], &[PASS_ANY]).lets_in();
        assert_eq!(rest, Some(ports == "2000:2100"), "{ports}");
    }
}

#[test]
fn a_list_from_the_web_may_hold_the_service() {
    for kind in ["urltable", "urltable_ports"] {
        let exposure = judged(|configured, filter, nat| {
            with_networks(configured);
            configured.nat[0].disabled = true;
            configured.filter[0].disabled = true;
            configured.aliases.push(Alias {
                name: "partners".into(),
                kind: text(kind),
                address: text(""),
            });
            filter[2] = printed(PASS_ANY);
            nat[0] =
                printed("rdr on vtnet2 inet proto tcp from any to any -> <partners> round-robin");
        });
        assert_eq!((exposure.state, exposure.lets_in()), (State::Unknown, None), "{kind}");
    }
}

#[test]
fn without_a_configuration_other_interfaces_may_lead_in() {
    let filter = [default_deny(), printed(PASS_ANY)];
    for nat in [
        "rdr on vtnet2 inet proto tcp from any to 203.0.113.2 port = 8443 -> 10.0.20.202 port 1688",
        "rdr inet proto tcp from any to 203.0.113.2 port = 8443 -> 10.0.20.202 port 1688",
        "rdr on Uplinks inet proto tcp from any to any port = 8443 -> 10.0.20.202 port 1688",
        "binat on vtnet2 inet from 10.0.20.202 to any -> 203.0.113.5",
    ] {
        let loaded = Loaded {
            filter: &filter,
            nat: &[printed(nat)],
            enabled: true,
            alias_table: AliasTable::Unasked,
        };
        let exposure = judge(None, loaded, &service());
        assert_eq!(exposure.lets_in(), None, "{nat}");
        let is_shut = matches!(exposure.state, State::Closed | State::Absent);
        assert!(!is_shut, "{nat}: {:?}", exposure.state);
    }
}

#[test]
fn translated_clients_leave_as_the_firewall() {
    let forward = "rdr on vtnet2 inet proto tcp from any to any port = 1688 -> 10.0.20.202";
    let source = "nat on vtnet3 inet from any to 10.0.20.0/24 -> 10.0.20.1 port 1024:65535";
    let block = "block drop out quick on vtnet3 inet from ! 10.0.20.1 to any";
    assert_eq!(beside(&[forward], &[block, PASS_ANY]).lets_in(), Some(false));
    let exposure = beside(&[source, forward], &[block, PASS_ANY]);
    assert_eq!(exposure.lets_in(), Some(true));
    let block = "block drop out quick on vtnet3 inet from 10.0.20.1 to any";
    let exposure = beside(&[source, forward], &[block, PASS_ANY]);
    assert_eq!(exposure.lets_in(), Some(false));
}

#[test]
fn a_rule_that_leads_elsewhere_is_not_certain() {
    let forward = "rdr on vtnet2 inet proto tcp from any to any port = 1688 -> 10.0.20.202";
    for (pass, lets_in) in [
        (
            "pass in quick on vtnet2 route-to (vtnet1 10.0.10.9) inet proto tcp from any to any flags S/SA keep state",
            None,
        ),
        (
            "pass in quick on vtnet2 inet proto tcp from any to any flags S/SA keep state rtable 1",
            None,
        ),
        (
            "pass in quick on vtnet2 inet proto tcp from any to any flags S/SA prio 3 keep state",
            None,
        ),
        (
            "pass in quick on vtnet2 inet proto tcp from any to any flags S/SA set ( prio 3 ) keep state",
            Some(true),
        ),
        (
            "pass in quick on vtnet2 reply-to (vtnet2 203.0.113.1) inet proto tcp from any to any flags S/SA keep state",
            Some(true),
        ),
    ] {
        // A later rule does not see what a quick one has let in.
        let rules = [pass, "block drop in quick on vtnet2 inet all"];
        assert_eq!(beside(&[forward], &rules).lets_in(), lets_in, "{pass}");
    }
}

#[test]
fn a_filter_rule_that_translates_may_lead_in() {
    let in_0 = "pass in quick on vtnet0";
    for (rule, lets_in) in [
        (format!("{in_0} inet proto tcp from any to 192.168.1.2 port = 1688 flags S/SA keep state rdr-to 10.0.20.202"), None),
        (format!("{in_0} inet proto tcp from any to 192.168.1.2 port = 443 flags S/SA keep state label \"x\" ridentifier 7 rdr-to <k8s_kms_lb> port 1688 round-robin"), None),
        (format!("{in_0} inet6 proto tcp from any to 64:ff9b::/96 flags S/SA keep state af-to inet from (vtnet3)"), None),
        ("match in on Uplinks inet proto tcp from any to any port 1600:1700 rdr-to 10.0.20.202".to_owned(), None),
        (format!("{in_0} inet proto tcp from any to 192.168.1.2 port = 1688 flags S/SA keep state rdr-to 10.0.20.50"), Some(false)),
        (format!("{in_0} inet proto tcp from any to 192.168.1.2 port = 443 flags S/SA keep state rdr-to 10.0.20.202"), Some(false)),
        (format!("{in_0} inet6 proto udp from any to 64:ff9b::/96 keep state af-to inet from (vtnet3)"), Some(false)),
        ("pass in quick on vtnet1 inet6 proto tcp from any to 64:ff9b::/96 flags S/SA keep state af-to inet from (vtnet0)".to_owned(), Some(false)),
        ("pass out quick on vtnet0 inet proto tcp from any to any port = 1688 flags S/SA keep state rdr-to 10.0.20.202".to_owned(), Some(false)),
        (format!("{in_0} inet proto tcp from any to any port = 1688 flags S/SA keep state nat-to 10.0.20.202"), Some(false)),
    ] {
        let exposure = beside(&[], &[&rule]);
        assert_eq!(exposure.lets_in(), lets_in, "{rule}");
        let is_unknown = exposure.state == State::Unknown;
        assert_eq!(is_unknown, lets_in.is_none(), "{rule}: {:?}", exposure.state);
    }
}

#[test]
fn a_connection_without_a_state_may_get_no_answer() {
    let forward = "rdr on vtnet2 inet proto tcp from any to any port = 1688 -> 10.0.20.202";
    let stateless = "pass in quick on vtnet2 inet proto tcp from any to 10.0.20.202 port = 1688 flags S/SA no state";
    let out = "pass out quick on vtnet3 inet proto tcp from any to any flags S/SA no state";
    let source = "nat on vtnet3 inet from any to 10.0.20.0/24 -> 10.0.20.1 port 1024:65535";
    // A translation makes a state, whatever the rule says.
    for (nat, filter, lets_in) in [
        (vec![forward], vec![stateless], Some(true)),
        (vec![forward], vec![PASS_ANY, out], None),
        (vec![forward, source], vec![PASS_ANY, out], Some(true)),
    ] {
        let exposure = beside(&nat, &filter);
        assert_eq!(exposure.lets_in(), lets_in, "{nat:?} {filter:?}");
    }
}

#[test]
fn an_interface_that_is_switched_off_counts_while_pf_has_rules_for_it() {
    let forward = "rdr on vtnet2 inet proto tcp from any to any port = 1688 -> 10.0.20.202";
    let by_interface =
        "pass in quick on vtnet2 inet proto tcp from any to any flags S/SA keep state";
    for (nat, filter, lets_in) in [
        (vec![forward], PASS_ANY, true),
        (vec![forward], by_interface, true),
        (vec![], by_interface, false),
    ] {
        let exposure = judged(|configured, filters, nats| {
            with_networks(configured);
            configured.interfaces[2].enabled = false;
            configured.nat[0].disabled = true;
            configured.filter[0].disabled = true;
            filters.pop();
            filters.push(printed(filter));
            *nats = nat.iter().map(|rule| printed(rule)).collect();
        });
        assert_eq!(exposure.lets_in(), Some(lets_in), "{nat:?} {filter}");
    }
}

const UPNP_RDR: &str = "rdr on vtnet0 inet proto tcp from any to any port = 31688 keep state label \"KMS\" rtable 0 -> 10.0.20.202 port 1688";
const UPNP_PASS: &str = "pass in quick on vtnet0 inet proto tcp from any to 10.0.20.202 port = 1688 flags S/SA keep state label \"KMS\" rtable 0";

/// Puts UPnP's anchors behind everything else, with these rules in them.
fn with_upnp(filter: &mut Vec<Rule>, nat: &mut Vec<Rule>, inside: [&[&str]; 2]) {
    let [rdr, pass] =
        inside.map(|rules| -> Vec<Rule> { rules.iter().map(|rule| printed(rule)).collect() });
    nat.push(printed("rdr-anchor \"miniupnpd\" all"));
    filter.push(printed("anchor \"miniupnpd\" all"));
    enter_upnp_anchor(nat, &rdr);
    enter_upnp_anchor(filter, &pass);
}

/// Judges the box with its pair switched off, UPnP beside it, and these rules in UPnP's anchors.
fn upnp_alone(rdr: &[&str], pass: &[&str]) -> Exposure {
    judged(|configured, filter, nat| {
        with_networks(configured);
        configured.nat[0].disabled = true;
        configured.filter[0].disabled = true;
        filter.pop();
        nat.clear();
        with_upnp(filter, nat, [rdr, pass]);
    })
}

#[test]
fn a_port_opened_by_upnp_is_a_path() {
    let by_itself = UPNP_RDR.replace("rdr on", "rdr pass on");
    let same_port = UPNP_RDR.replace("31688", "1688");
    let second = UPNP_RDR.replace("vtnet0", "vtnet2");
    let second_pass = UPNP_PASS.replace("vtnet0", "vtnet2");
    for (rdr, pass, enters) in [
        (UPNP_RDR, &[UPNP_PASS][..], "192.168.1.2:31688"),
        (&by_itself, &[], "192.168.1.2:31688"),
        (&same_port, &[UPNP_PASS], "192.168.1.2:1688"),
        (&second, &[&second_pass], "203.0.113.2:31688"),
    ] {
        let exposure = upnp_alone(&[rdr], pass);
        let path = exposure.paths.first().unwrap_or_else(|| panic!("{rdr}"));
        assert_eq!((path.kind, path.enters.as_str()), (PathKind::Upnp, enters));
        assert!(path.certain && !path.managed, "{path:#?}");
        assert_eq!((exposure.state, exposure.lets_in()), (State::Half, Some(true)));
        assert_eq!(exposure.unread_anchors(), Vec::<&str>::new());
    }
}

#[test]
fn what_upnp_opens_for_others_is_no_path() {
    let to = |rule: &str, address: &str| rule.replace("10.0.20.202", address);
    let (other, other_pass) = (to(UPNP_RDR, "10.0.20.77"), to(UPNP_PASS, "10.0.20.77"));
    let inside = UPNP_RDR.replace("vtnet0", "vtnet1");
    let udp = UPNP_RDR.replace("tcp", "udp");
    let port = UPNP_RDR.replace("port 1688", "port 80");
    for (rdr, pass) in [
        (&[][..], &[][..]),
        (&[other.as_str()], &[other_pass.as_str()]),
        (&[&inside], &[UPNP_PASS]),
        (&[&udp], &[UPNP_PASS]),
        (&[&port], &[UPNP_PASS]),
        // Without a rule that lets it in, the default deny rule decides.
        (&[UPNP_RDR], &[]),
        (&[UPNP_RDR], &[&other_pass]),
        (&[], &[UPNP_PASS]),
    ] {
        let exposure = upnp_alone(rdr, pass);
        assert_eq!(exposure.paths, [], "{rdr:?} {pass:?}");
        assert_eq!(exposure.state, State::Closed, "{rdr:?} {pass:?}");
        assert_eq!(exposure.unread_anchors(), Vec::<&str>::new(), "{rdr:?}");
    }
}

#[test]
fn what_upnp_opens_at_the_services_port_for_another_machine_is_said() {
    let other = |port: &str| {
        let rule = UPNP_RDR.replace("10.0.20.202", "10.0.10.77");
        rule.replace("31688", port)
    };
    let range = other("1688").replace("port = 1688", "port 1600:1700");
    let inside = other("1688").replace("vtnet0", "vtnet1");
    for (rdr, said) in [
        (other("1688"), true),
        (range, true),
        (other("31688"), false),
        (inside, false),
        (UPNP_RDR.replace("31688", "1688"), false),
    ] {
        let exposure = upnp_alone(&[&rdr], &[UPNP_PASS]);
        let is_said = codes(&exposure).contains(&"upnp-elsewhere");
        assert_eq!(is_said, said, "{rdr}: {:#?}", exposure.why);
    }
    // Beside the pair in force it is never met.
    let exposure = judged(|configured, filter, nat| {
        with_networks(configured);
        with_upnp(filter, nat, [&[&other("1688")], &[UPNP_PASS]]);
    });
    assert!(!codes(&exposure).contains(&"upnp-elsewhere"));
}

/// The pair's forward stands before the anchor: only once it is gone, UPnP's one of the same port counts.
#[test]
fn the_pair_hides_what_upnp_opened_at_its_port() {
    let same_port = UPNP_RDR.replace("any port = 31688", "192.168.1.2 port = 1688");
    let exposure = judged(|configured, filter, nat| {
        with_networks(configured);
        with_upnp(filter, nat, [&[&same_port], &[UPNP_PASS]]);
    });
    assert_eq!(exposure.state, State::Open, "{:#?}", exposure.why);
    assert_eq!(exposure.foreign_paths().count(), 0);
    assert_eq!(exposure.aftermath.left_open.len(), 1, "{:#?}", exposure.aftermath.left_open);
    assert_eq!(exposure.aftermath.left_open[0].kind, PathKind::Upnp);
}

#[test]
fn an_anchor_that_is_not_whole_stays_unread() {
    let mut numbered = printed(UPNP_RDR);
    numbered.number = Some(1);
    let nested = printed("rdr-anchor \"more\" all");
    for inside in [numbered, nested] {
        let exposure = judged(|_, _, nat| {
            nat.push(printed("rdr-anchor \"miniupnpd\" all"));
            enter_upnp_anchor(nat, std::slice::from_ref(&inside));
        });
        assert_eq!(exposure.unread_anchors().len(), 1, "{inside:#?}");
    }
    let exposure = judged(|_, _, nat| {
        nat.push(printed("rdr-anchor \"miniupnpd\" on vtnet0 all"));
        enter_upnp_anchor(nat, &[printed(UPNP_RDR)]);
    });
    assert_eq!(exposure.unread_anchors().len(), 1, "it has a condition");
}
