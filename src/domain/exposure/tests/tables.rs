//! What tables hold and what words say beside what the configuration knows: counts of entries, sides of 1:1 NAT that are no
//! plain address, uplinks of every kind, more than one address of the service, spellings of config.xml.

use super::super::fixtures::*;
use super::super::paths::PathKind;
use super::super::*;
use super::paths::{PASS_ANY, beside, with_networks};
use super::{codes, judged};
use crate::domain::pf::table::parse_table_entries;
use crate::domain::pfsense::config::ReadRequest;
use crate::domain::pfsense::configured::Alias;

const FORWARD: &str = "rdr on vtnet2 inet proto tcp from any to any port = 1688 -> 10.0.20.202";

/// Judges the box with its pair switched off, whose configuration is changed, with these two rules.
fn with_pair_off(change: impl FnOnce(&mut Configured), translation: &str, pass: &str) -> Exposure {
    judged(|configured, filter, nat| {
        with_networks(configured);
        configured.nat[0].disabled = true;
        configured.filter[0].disabled = true;
        configured.aliases.extend(lists());
        change(configured);
        filter.pop();
        filter.push(printed("block drop in log inet6 all"));
        filter.push(printed(pass));
        *nat = vec![printed(translation)];
    })
}

fn lists() -> [Alias; 4] {
    let alias = |name: &str, kind: &str, address: &str| Alias {
        name: name.into(),
        kind: text(kind),
        address: text(address),
    };
    [
        alias("country", "urltable", ""),
        alias("partner", "host", "vpn.example.net"),
        alias("one", "host", "198.51.100.7"),
        alias("none", "host", ""),
    ]
}

fn pass_on_wan2(from: &str, to: &str) -> String {
    format!(
        "pass in quick on vtnet2 inet proto tcp from {from} to {to} port = 1688 flags S/SA keep state"
    )
}

#[test]
fn a_table_counts_for_what_pf_has_in_it() {
    for (from, lets_in) in [
        ("<country:0>", Some(false)),
        ("<country:*>", Some(false)),
        ("<country:20>", Some(true)),
        ("<country>", None),
        ("! <country:0>", Some(true)),
        ("! <country:20>", Some(true)),
        ("<partner:0>", Some(false)),
        ("<partner:1>", Some(true)),
        ("<one:0>", Some(false)),
        ("<one:1>", Some(true)),
        ("<one:2>", Some(true)),
        ("<none:0>", Some(false)),
        ("<none:3>", Some(true)),
    ] {
        let exposure = with_pair_off(|_| (), FORWARD, &pass_on_wan2(from, "any"));
        assert_eq!(exposure.lets_in(), lets_in, "{from}: {:#?}", exposure.paths);
        assert_eq!(exposure.state == State::Unknown, lets_in.is_none(), "{from}");
    }
    for (to, lets_in) in [
        ("<outer:0>", Some(false)),
        ("<outer:*>", Some(false)),
        ("<outer:2>", Some(true)),
        // pf has not loaded what the alias says now.
        ("<outer:1>", None),
        ("<outer:5>", None),
        ("<others:0>", Some(false)),
        ("<others:1>", Some(false)),
        ("<others:2>", None),
        ("<country:3>", None),
        ("<partner:1>", None),
        ("<country:0>", Some(false)),
        ("<none:1>", None),
        ("<none:0>", Some(false)),
    ] {
        let target = to.split(':').next().unwrap().to_owned() + ">";
        let forward = FORWARD.replace("10.0.20.202", &format!("{target} round-robin"));
        for translation in [&forward, FORWARD] {
            let exposure = with_pair_off(|_| (), translation, &pass_on_wan2("any", to));
            assert_eq!(exposure.lets_in(), lets_in, "{to} {translation}: {:#?}", exposure.paths);
        }
    }
}

#[test]
fn an_empty_table_of_the_pair_lets_nobody_in() {
    for (before, empty) in [
        ("to <k8s_kms_lb:1>", "to <k8s_kms_lb:0>"),
        ("to <k8s_kms_lb:1>", "to <k8s_kms_lb:*>"),
        ("from any", "from <country:0>"),
    ] {
        let exposure = judged(|configured, filter, _| {
            with_networks(configured);
            configured.aliases.extend(lists());
            filter[2] = printed(&filter[2].text.replace(before, empty));
        });
        assert_eq!(exposure.state, State::Half, "{empty}: {:#?}", exposure.why);
        assert_eq!((codes(&exposure)[0], exposure.lets_in()), ("table-empty", Some(false)));
    }
    let listed = judged(|configured, filter, _| {
        with_networks(configured);
        configured.aliases.extend(lists());
        filter[2] = printed(&filter[2].text.replace("from any", "from <country:20>"));
    });
    assert_eq!((listed.state, listed.lets_in()), (State::Open, Some(true)), "{:#?}", listed.why);
}

#[test]
fn a_rule_with_an_unknown_word_may_match_or_not() {
    let block = "block drop in quick on vtnet2 inet proto tcp from any to any nextword 7";
    let exposure = beside(&[FORWARD], &[block, PASS_ANY]);
    assert_eq!((exposure.state, exposure.lets_in()), (State::Unknown, None));
    let pass = pass_on_wan2("any", "any") + " nextword";
    let exposure = beside(&[FORWARD], &[&pass]);
    assert_eq!((exposure.state, exposure.lets_in()), (State::Unknown, None));
}

#[test]
fn one_to_one_nat_of_any_spelling_is_a_path() {
    let binat = |from: &str, external: &str| {
        format!("binat on vtnet2 inet from {from} to any -> {external}")
    };
    for (from, external, lets_in) in [
        ("10.0.20.202", "(vtnet2)", Some(true)),
        ("10.0.20.202", "(vtnet2:0)", Some(true)),
        ("10.0.20.201", "(vtnet2)", Some(false)),
        // An address of the device that ends as the service's does would be its.
        ("10.0.20.0/24", "(vtnet2)", None),
        ("<outer>", "203.0.113.5", None),
        ("<others>", "203.0.113.5", Some(false)),
        ("(vtnet3:network)", "203.0.113.0/24", None),
    ] {
        let exposure = beside(&[&binat(from, external)], &[PASS_ANY]);
        assert_eq!(exposure.lets_in(), lets_in, "{from} {external}: {:#?}", exposure.paths);
    }
    let leased = |configured: &mut Configured| configured.interfaces[2].ipaddr = text("dhcp");
    let exposure = with_pair_off(leased, &binat("10.0.20.202", "(vtnet2)"), PASS_ANY);
    assert_eq!((exposure.state, exposure.lets_in()), (State::Unknown, None));
}

#[test]
fn every_kind_of_uplink_is_outside() {
    for (device, address, lets_in) in [
        ("l2tp0", "l2tp", Some(true)),
        ("pptp0", "pptp", Some(true)),
        ("pppoe0", "pppoe", Some(true)),
        ("ppp0", "ppp", Some(true)),
        ("vtnet2.100", "dhcp", Some(true)),
        ("bridge0", "203.0.113.2", Some(true)),
        ("l2tps0", "203.0.113.2", Some(false)),
        ("ipsec1", "203.0.113.2", Some(false)),
        ("tun_wg0", "203.0.113.2", Some(false)),
    ] {
        let uplink = |configured: &mut Configured| {
            configured.interfaces[2].device = text(device);
            configured.interfaces[2].ipaddr = text(address);
        };
        let on = |rule: &str| rule.replace("vtnet2", device);
        let exposure = with_pair_off(uplink, &on(FORWARD), &on(&pass_on_wan2("any", "any")));
        assert_eq!(exposure.lets_in(), lets_in, "{device}: {:#?}", exposure.paths);
    }
}

#[test]
fn a_device_that_the_configuration_does_not_name_may_lead_in() {
    for (device, lets_in) in
        [("vtnet7", None), ("lo0", Some(false)), ("enc0", Some(false)), ("ovpns3", Some(false))]
    {
        let on = |rule: &str| rule.replace("vtnet2", device);
        let exposure = with_pair_off(|_| (), &on(FORWARD), &on(&pass_on_wan2("any", "any")));
        assert_eq!(exposure.lets_in(), lets_in, "{device}: {:#?}", exposure.paths);
    }
}

#[test]
fn ipv6_by_6rd_comes_in_by_its_own_device() {
    let service = Service { address: "2600:1:2:3::202".parse().unwrap(), ..service() };
    for (words, lets_in) in [("6rd", Some(true)), ("6to4", Some(true)), ("dhcp6", None)] {
        let mut configured = configured();
        with_networks(&mut configured);
        configured.interfaces[0].ipaddr_v6 = text(words);
        let filter = [
            printed("block drop in log inet6 all"),
            printed(
                "pass in quick on wan_stf inet6 proto tcp from any to 2600:1:2:3::202 port = 1688 flags S/SA keep state",
            ),
        ];
        let loaded =
            Loaded { filter: &filter, nat: &[], enabled: true, alias_table: AliasTable::Unasked };
        let exposure = judge(Some(&configured), loaded, &service);
        assert_eq!(exposure.lets_in(), lets_in, "{words}: {:#?}", exposure.paths);
    }
}

/// The alias of the service holds an address of IPv6 too, and a second machine.
#[test]
fn every_address_of_the_alias_is_the_service() {
    let with_members = |configured: &mut Configured, last: &str| {
        let members = text(&format!("10.0.20.202 10.0.20.203 fd00::ca {last}"));
        configured.alias.as_mut().unwrap().address.clone_from(&members);
        configured.aliases[0].address = members;
    };
    let six = |from: &str, to: &str| {
        format!(
            "pass in quick on vtnet0 inet6 proto tcp from {from} to {to} port = 1688 flags S/SA keep state"
        )
    };
    let on_six = "rdr on vtnet0 inet6 proto tcp from any to";
    for (translation, pass, end, kind) in [
        (
            format!("{on_six} 2001:db8::2 port = 1688 -> <k8s_kms_lb> round-robin"),
            six("any", "<k8s_kms_lb:4>"),
            "[fd00::ca]:1688",
            PathKind::Forward,
        ),
        (
            format!("{on_six} any port = 11688 -> fd00::ca port 1688"),
            six("2600:9::/32", "fd00::ca"),
            "[fd00::ca]:1688",
            PathKind::Forward,
        ),
        (
            "binat on vtnet0 inet6 from fd00::/64 to any -> 2001:db8:7::/64".to_owned(),
            six("any", "fd00::ca"),
            "[fd00::ca]:1688",
            PathKind::OneToOne,
        ),
        (
            FORWARD.replace("202", "203"),
            pass_on_wan2("any", "10.0.20.203"),
            "10.0.20.203:1688",
            PathKind::Forward,
        ),
        (
            "no rdr proto carp all".to_owned(),
            six("2600:9::/32", "2600:1:2:3::ca"),
            "[2600:1:2:3::ca]:1688",
            PathKind::Routed,
        ),
    ] {
        let last = if kind == PathKind::Routed { "2600:1:2:3::ca" } else { "fd00::cb" };
        let exposure =
            with_pair_off(|configured| with_members(configured, last), &translation, &pass);
        let found = exposure.paths.first().unwrap_or_else(|| panic!("{translation}"));
        assert_eq!((found.leads_to.as_str(), found.kind), (end, kind), "{translation}");
        assert!(found.certain && !found.managed, "{found:#?}");
        assert_eq!(exposure.paths.len(), 1, "{:#?}", exposure.paths);
    }
}

#[test]
fn a_tracker_that_is_no_number_of_pf_is_found_by_its_way() {
    for tracker in ["17630000041234", "4294967296", "abc", " ", "0"] {
        let exposure = judged(|configured, filter, _| {
            with_networks(configured);
            configured.filter[0].tracker = text(tracker);
            filter[2].ridentifier = Some(7);
        });
        assert_eq!(codes(&exposure), ["in-force", "no-tracker"], "{tracker}");
    }
}

/// Of a tracker with blanks pf is asked as well as of one without.
#[test]
fn a_tracker_with_blanks_distinguishes() {
    for tracker in ["1763000004", " 1763000004 ", "01763000004"] {
        let mut configured = configured();
        configured.filter[0].tracker = text(tracker);
        configured.all_filter.clone_from(&configured.filter);
        let pair = ManagedPair::of_service(&configured, &service());
        let request = ReadRequest::from(&service());
        assert_eq!(pair.find_indistinct_pass(&configured, &request), None, "{tracker}");
    }
}

#[test]
fn protocols_in_capitals_are_the_same() {
    for protocol in ["TCP", "TCP/UDP"] {
        let exposure = judged(|configured, _, _| {
            with_networks(configured);
            configured.nat[0].protocol = text(protocol);
            configured.filter[0].protocol = text(protocol);
        });
        let codes = codes(&exposure);
        assert_eq!((exposure.state, codes[0]), (State::Open, "in-force"), "{protocol}");
        assert!(!codes.contains(&"loaded-not-configured"), "{protocol}: {codes:?}");
        assert!(exposure.closing.contains("expose revoke"), "{protocol}");
    }
}

/// The rules name the alias; whom they let in to is what pf's table of it holds.
#[test]
fn the_alias_holds_what_pf_lists() {
    for (listed, state, is_stale, reaches) in [
        ("10.0.20.202", State::Open, false, Some(true)),
        ("10.0.20.99", State::Open, true, Some(true)),
        ("", State::Half, true, Some(false)),
        ("10.0.20.202 10.0.20.99", State::Open, true, Some(true)),
        ("10.0.20.0/24", State::Open, true, Some(true)),
        ("!10.0.20.202", State::Open, true, Some(true)),
    ] {
        let lines = format!("   {}\n", listed.replace(' ', "\n   ")).replace(" !", "!");
        let entries = parse_table_entries(lines.as_bytes()).value;
        let count = format!("<k8s_kms_lb:{}>", entries.len());
        let for_it = printed(&pass().text.replace("<k8s_kms_lb:1>", &count));
        let (filter, nat) = ([block_table(), for_it, default_deny()], [rdr()]);
        for is_configured in [true, false] {
            let configured = is_configured.then(configured);
            let loaded = Loaded {
                filter: &filter,
                nat: &nat,
                enabled: true,
                alias_table: AliasTable::Read(&entries),
            };
            let exposure = judge(configured.as_ref(), loaded, &service());
            let named = format!("{listed}, {is_configured}: {:#?}", exposure.why);
            assert_eq!((exposure.state, exposure.lets_in()), (state, reaches), "{named}");
            let lacks = !listed.split(' ').any(|word| word == "10.0.20.202");
            let is_stale = if is_configured { is_stale } else { lacks && is_stale };
            assert_eq!(exposure.is_alias_stale(), is_stale, "{named}");
            assert!(state == State::Open || codes(&exposure)[0] == "alias-stale", "{named}");
        }
        // Where nothing of the pair is loaded, the table is in no use.
        let loaded = Loaded {
            filter: &filter[..1],
            nat: &[],
            enabled: true,
            alias_table: AliasTable::Read(&entries),
        };
        let closed = judge(Some(&configured()), loaded, &service());
        assert!(!closed.is_alias_stale(), "{listed}: {:#?}", closed.why);
    }
}

/// Members in other aliases are members; what names are, only pf's table says.
#[test]
fn the_table_is_compared_with_nested_members() {
    let alias = |name: &str, address: &str| Alias {
        name: name.into(),
        kind: text("host"),
        address: text(address),
    };
    for (members, listed, is_stale) in [
        ("inner", "10.0.20.202", false),
        ("inner", "10.0.20.99", true),
        ("inner", "10.0.20.202 10.0.20.99", true),
        ("kms.lan", "10.0.20.202", false),
        ("kms.lan", "10.0.20.99", false),
        ("kms.lan 10.0.20.202", "10.0.20.202 10.0.20.99", false),
        ("kms.lan 10.0.20.202", "10.0.20.99", true),
    ] {
        let mut configured = configured();
        configured.alias = Some(alias("k8s_kms_lb", members));
        configured.aliases = vec![alias("k8s_kms_lb", members), alias("inner", "10.0.20.202")];
        let lines = format!("   {}\n", listed.replace(' ', "\n   "));
        let entries = parse_table_entries(lines.as_bytes()).value;
        let count = format!("<k8s_kms_lb:{}>", entries.len());
        let for_it = printed(&pass().text.replace("<k8s_kms_lb:1>", &count));
        let (filter, nat) = ([block_table(), for_it, default_deny()], [rdr()]);
        let loaded = Loaded {
            filter: &filter,
            nat: &nat,
            enabled: true,
            alias_table: AliasTable::Read(&entries),
        };
        let exposure = judge(Some(&configured), loaded, &service());
        assert_eq!(exposure.is_alias_stale(), is_stale, "{members}, {listed}: {:?}", exposure.why);
        assert_eq!(exposure.lets_in(), Some(true), "{members}, {listed}");
    }
}
