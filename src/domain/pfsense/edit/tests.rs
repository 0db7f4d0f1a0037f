//! Every edit gives what pfSense's own PHP made of it: the results of the agent that edited on the firewall, whose
//! changes were byte for byte those of the GUI, are recorded in `tests/fixtures/edit`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::*;
use crate::domain::pf::table::TableName;
use crate::domain::pfsense::change::Records;
use crate::domain::pfsense::configured::InterfaceGroup;

const CONFIGURATIONS: &str = include_str!("../../../../tests/fixtures/edit/configurations.json");
const RECORDS: &str = include_str!("../../../../tests/fixtures/edit/records.json");
const RECORDED: &str = include_str!("../../../../tests/fixtures/edit/php.ndjson");

#[derive(Deserialize)]
struct Recorded {
    config: String,
    change: Value,
    #[serde(default)]
    after: Option<BTreeMap<String, Element>>,
    #[serde(default)]
    refused: Option<String>,
    fingerprint: String,
}

fn service() -> ReadRequest {
    ReadRequest {
        alias: "k8s_kms_lb".into(),
        address: [10, 0, 20, 202].into(),
        port: 1688,
        interface: "wan".into(),
        table: TableName::new("virusprot").unwrap(),
    }
}

const IDS: EditIds<'static> =
    EditIds { who: "viktor@laptop", now: 1_795_400_000, association: "nat_65f0c0de1a2b3.12345678" };

fn configured(sections: Element) -> Configured {
    let configured = Configured { sections: Sections(sections), ..Configured::default() };
    configured.shaped_for(&service())
}

fn change_of(recorded: &Value, records: &BTreeMap<String, Records>) -> ConfigurationEdit {
    let mut change = recorded.clone();
    if let Some(name) = change["records"].as_str() {
        change["records"] = serde_json::to_value(&records[name]).unwrap();
    }
    serde_json::from_value(change).unwrap()
}

/// Puts the records that did not change where only their place is recorded.
fn whole(after: &Element, before: &[Element]) -> Vec<Element> {
    let Element::List(records) = after else {
        return Vec::new();
    };
    let record = |record: &Element| match record {
        Element::Text(place) => before[place.parse::<usize>().unwrap()].clone(),
        record => record.clone(),
    };
    records.iter().map(record).collect()
}

/// Where a joined rule for UDP is left alone, which the PHP disabled, enabled and deleted with the forward; and one that blocks,
/// which it disabled and deleted.
fn spares_now(recorded: &Recorded) -> bool {
    let kind = recorded.change["kind"].as_str().unwrap_or_default();
    match recorded.config.as_str() {
        "udp-filter" => matches!(kind, "disable" | "enable" | "delete"),
        "block" => matches!(kind, "disable" | "delete"),
        _ => false,
    }
}

/// Where it may now close by the forward alone what the PHP refused, and take that back, also of one of two forwards; and enable
/// a filter rule that has no forward.
fn closes_now(recorded: &Recorded) -> bool {
    match recorded.change["kind"].as_str() {
        Some("disable") => recorded.config == "duplicate-filter",
        Some("enable") => {
            let refused = recorded.refused.as_deref().unwrap_or_default();
            refused.starts_with("one of the two rules is missing")
        }
        Some("put-back") => {
            matches!(recorded.config.as_str(), "duplicate-filter" | "duplicate-nat")
        }
        _ => false,
    }
}

/// Where a forward to elsewhere stays that the PHP replaced: the filter rule it had is not among what comes back.
fn stays_now(recorded: &Recorded) -> bool {
    recorded.config == "elsewhere" && recorded.change["records"] == "only-nat"
}

#[test]
fn edits_are_those_of_pfsenses_php() {
    let configurations: BTreeMap<String, Element> = serde_json::from_str(CONFIGURATIONS).unwrap();
    let records: BTreeMap<String, Records> = serde_json::from_str(RECORDS).unwrap();
    let mut count = 0;
    for line in RECORDED.lines() {
        let recorded: Recorded = serde_json::from_str(line).unwrap();
        let change = change_of(&recorded.change, &records);
        let present = configured(configurations[&recorded.config].clone());
        let context = format!("{}: {}", recorded.config, recorded.change);
        assert_eq!(present.fingerprint, recorded.fingerprint, "{context}");
        count += 1;
        if spares_now(&recorded) {
            continue;
        }
        let result = edit_sections(&present, &change, &service(), &IDS);
        let (swap, sections) = match (result, &recorded.refused) {
            (Err(refusal), Some(clause)) => {
                let is_of_caps =
                    matches!(refusal.code, RefusalCode::BadCaps | RefusalCode::NoRuleForCaps);
                // What is wrong with caps is worded in one place since.
                assert!(is_of_caps || &refusal.clause == clause, "{context}: {}", refusal.clause);
                continue;
            }
            (Ok(_), Some(_)) if closes_now(&recorded) => continue,
            (Err(refusal), None) if stays_now(&recorded) => {
                assert_eq!(refusal.code, RefusalCode::PortTaken, "{context}");
                continue;
            }
            (Ok(made), None) => made,
            (result, _) => panic!("{context}: {result:?} instead of {:?}", recorded.refused),
        };
        let after = recorded.after.as_ref().unwrap();
        for (section, tag) in [("nat", "rule"), ("filter", "rule"), ("aliases", "alias")] {
            let before = present.sections.list(section, tag);
            let wanted = match after.get(section) {
                None => before.to_vec(),
                Some(after) => after.get(tag).map_or(Vec::new(), |list| whole(list, before)),
            };
            assert_eq!(sections.list(section, tag), wanted, "{context}: {section}");
        }
        for section in ["nat", "filter"] {
            let before = separators_of(&present.sections, section);
            let wanted = match after.get(section).and_then(|after| after.get("separator")) {
                Some(Element::Text(same)) if same == "same" => before,
                Some(wanted) => wanted.clone(),
                None if after.get(section).is_some() => Element::default(),
                None => before,
            };
            assert_eq!(separators_of(&sections, section), wanted, "{context}");
        }
        let is_same = |records: &Records, sections: &Sections| {
            records.nat.as_ref().is_none_or(|placed| {
                sections.list("nat", "rule")[list_place(placed.index)] == placed.record
            })
        };
        assert!(is_same(&swap.before, &present.sections) && is_same(&swap.after, &sections));
    }
    assert_eq!(count, 711);
}

fn forward(change: impl FnOnce(&mut Value)) -> Value {
    let mut rule = json!({
        "source": {"any": ""}, "destination": {"network": "wanip", "port": "1688"}, "protocol": "tcp",
        "target": "k8s_kms_lb", "local-port": "1688", "interface": "wan", "descr": "KMS",
        "associated-rule-id": "nat_1",
    });
    change(&mut rule);
    rule
}

fn pass(change: impl FnOnce(&mut Value)) -> Value {
    let mut rule = json!({
        "type": "pass", "source": {"any": ""}, "interface": "wan", "protocol": "tcp", "tracker": "1763000004",
        "destination": {"address": "k8s_kms_lb", "port": "1688"}, "descr": "NAT KMS",
        "associated-rule-id": "nat_1", "max-src-conn": "50",
    });
    change(&mut rule);
    rule
}

fn alias(kind: &str, name: &str, address: &str) -> Value {
    json!({"name": name, "type": kind, "address": address})
}

#[expect(clippy::needless_pass_by_value, reason = "a change is named where it is made")]
fn of_lists(nat: Vec<Value>, filter: Vec<Value>, aliases: Vec<Value>) -> Configured {
    let sections = json!({
        "nat": {"rule": nat, "separator": ""}, "filter": {"rule": filter, "separator": ""},
        "aliases": {"alias": aliases},
        "interfaces": {"wan": {"if": "vtnet0", "ipaddr": "192.168.1.2"}},
    });
    configured(serde_json::from_value(sections).unwrap())
}

fn ours() -> Vec<Value> {
    vec![alias("host", "k8s_kms_lb", "10.0.20.202")]
}

fn caps() -> ConfigurationEdit {
    ConfigurationEdit::Caps { max_src_conn: Some(3), rate: None }
}

fn build(alias: bool) -> ConfigurationEdit {
    ConfigurationEdit::Build {
        description: "KMS".into(),
        max_src_conn: Some(50),
        rate: None,
        alias,
    }
}

fn swap_of(configured: &Configured, change: &ConfigurationEdit) -> Result<Swap, RefusalCode> {
    make_swap(configured, change, &service(), &IDS).map_err(|refusal| refusal.code)
}

/// Nothing but the forward is closed, and nothing else is done at all.
#[track_caller]
fn closes_by_the_forward_alone(configured: &Configured, code: RefusalCode) {
    let (swap, sections) = edit_sections(configured, &ConfigurationEdit::Disable, &service(), &IDS)
        .expect("it closes");
    assert_eq!(sections.list("filter", "rule"), configured.sections.list("filter", "rule"));
    assert!(swap.after.nat.as_ref().unwrap().record.has_child("disabled"));
    for change in
        [caps(), ConfigurationEdit::Enable, ConfigurationEdit::Delete, build(false), build(true)]
    {
        assert_eq!(swap_of(configured, &change), Err(code), "{change:?}");
    }
    // The rollback is the identity.
    let closed = Configured { sections, ..Configured::default() }.shaped_for(&service());
    let back = ConfigurationEdit::PutBack { records: Box::new(swap.before), alias: false };
    let (_, again) = edit_sections(&closed, &back, &service(), &IDS).expect("undo");
    assert_eq!(again, configured.sections);
}

#[test]
fn shared_rules_close_by_the_forward() {
    let other = |to: Value| {
        pass(|rule| {
            rule["destination"] = to;
            rule["descr"] = json!("HTTPS");
        })
    };
    let web = || json!({"address": "10.0.20.50", "port": "8443"});
    let web_forward = || {
        forward(|rule| {
            rule["destination"]["port"] = json!("8443");
            rule["target"] = json!("10.0.20.50");
            rule["local-port"] = json!("8443");
        })
    };
    let own = || forward(|_| {});
    for (nat, filter) in [
        (vec![own(), web_forward()], vec![other(web())]),
        (vec![own(), web_forward()], vec![pass(|_| {})]),
        (vec![own(), web_forward()], vec![pass(|_| {}), other(web())]),
        (vec![own()], vec![pass(|_| {}), other(web())]),
        (vec![own()], vec![other(web())]),
        (vec![own()], vec![pass(|rule| rule["interface"] = json!("opt1"))]),
        (vec![own()], vec![pass(|rule| rule["floating"] = json!("yes"))]),
        (vec![own(), forward(|rule| rule["interface"] = json!("opt1"))], vec![pass(|_| {})]),
    ] {
        let configured = of_lists(nat, filter, ours());
        closes_by_the_forward_alone(&configured, RefusalCode::SharedRule);
    }
}

#[test]
fn a_joined_rule_of_other_traffic_stays() {
    type Touch = fn(&mut Value);
    let to = |port: &str| json!({"address": "k8s_kms_lb", "port": port});
    let cases: [(&str, Touch); 6] = [
        ("udp k8s_kms_lb:1688", |rule| {
            rule["protocol"] = json!("udp");
        }),
        ("udp k8s_kms_lb:51820", |rule| {
            rule["protocol"] = json!("udp");
            rule["destination"]["port"] = json!("51820");
        }),
        ("icmp k8s_kms_lb:any", |rule| {
            rule["protocol"] = json!("icmp");
            rule["destination"] = json!({"address": "k8s_kms_lb"});
        }),
        ("k8s_kms_lb:443", |rule| {
            rule["destination"]["port"] = json!("443");
        }),
        ("k8s_kms_lb:1689-1700", |rule| {
            rule["destination"]["port"] = json!("1689-1700");
        }),
        ("not k8s_kms_lb:1688", |rule| {
            rule["destination"]["not"] = json!("");
        }),
    ];
    for (words, other) in cases {
        let configured = of_lists(vec![forward(|_| {})], vec![pass(other)], ours());
        let (_, sections) =
            edit_sections(&configured, &ConfigurationEdit::Disable, &service(), &IDS).unwrap();
        assert_eq!(
            sections.list("filter", "rule"),
            configured.sections.list("filter", "rule"),
            "{words}"
        );
        assert!(sections.list("nat", "rule")[0].has_child("disabled"));
        for change in [caps(), ConfigurationEdit::Enable, ConfigurationEdit::Delete] {
            let refused = make_swap(&configured, &change, &service(), &IDS).unwrap_err();
            if change != caps() {
                assert!(refused.clause.contains(&format!("is for {words};")), "{refused:?}");
            }
        }
        let (_, repaired) = edit_sections(&configured, &build(true), &service(), &IDS).unwrap();
        let rule = &repaired.list("filter", "rule")[0];
        let side = rule.get("destination").unwrap();
        assert_eq!(rule.child_text("protocol"), Some("tcp"), "{words}");
        assert_eq!(*side, serde_json::from_value(to("1688")).unwrap(), "{words}");
    }
    let as_wide: [Touch; 4] = [
        |rule| rule["protocol"] = json!("tcp/udp"),
        |rule| drop(rule["protocol"].take()),
        |rule| rule["destination"]["port"] = json!("1680-1690"),
        |rule| rule["destination"] = json!({"any": "", "port": "1688"}),
    ];
    for edit in as_wide {
        let configured = of_lists(vec![forward(|_| {})], vec![pass(edit)], ours());
        let (_, sections) =
            edit_sections(&configured, &ConfigurationEdit::Disable, &service(), &IDS).unwrap();
        assert!(sections.list("filter", "rule")[0].has_child("disabled"));
    }
}

#[test]
fn one_of_two_filter_rules_stays_what_it_was() {
    let unlinked = |rule: &mut Value| drop(rule["associated-rule-id"].take());
    let second = pass(|rule| {
        unlinked(rule);
        rule["tracker"] = json!("1763000005");
    });
    let filter = vec![pass(unlinked), second];
    let open = of_lists(vec![forward(unlinked)], filter, ours());
    let (swap, closed) =
        edit_sections(&open, &ConfigurationEdit::Disable, &service(), &IDS).unwrap();
    let closed = Configured { sections: closed, ..Configured::default() };
    let back = ConfigurationEdit::PutBack { records: Box::new(swap.before), alias: false };
    let closed = closed.shaped_for(&service());
    let (_, again) = edit_sections(&closed, &back, &service(), &IDS).unwrap();
    assert_eq!(again, open.sections);
}

#[test]
fn another_inside_port_closes_by_forward() {
    for (inside, to) in [("21688", "1688"), ("21688", "21688"), ("1680-1690", "1688")] {
        let configured = of_lists(
            vec![forward(|rule| rule["local-port"] = json!(inside))],
            vec![pass(|rule| rule["destination"]["port"] = json!(to))],
            ours(),
        );
        let (swap, sections) =
            edit_sections(&configured, &ConfigurationEdit::Disable, &service(), &IDS).unwrap();
        assert!(swap.after.nat.unwrap().record.has_child("disabled"));
        assert_eq!(sections.list("filter", "rule"), configured.sections.list("filter", "rule"));
        let others = [ConfigurationEdit::Enable, ConfigurationEdit::Delete];
        for change in others.into_iter().chain([caps(), build(false), build(true)]) {
            let refused = swap_of(&configured, &change);
            assert_eq!(refused, Err(RefusalCode::OtherInsidePort), "{change:?}");
        }
    }
}

/// Closing disables the forward alone, and every other change is refused.
fn check_shared_rule_stays(configured: &Configured, rule: &Value) {
    let (swap, sections) =
        edit_sections(configured, &ConfigurationEdit::Disable, &service(), &IDS).unwrap();
    assert!(swap.after.nat.unwrap().record.has_child("disabled"), "{rule}");
    assert_eq!(sections.list("filter", "rule"), configured.sections.list("filter", "rule"));
    for change in [caps(), ConfigurationEdit::Delete, build(true)] {
        let refused = swap_of(configured, &change);
        assert_eq!(refused, Err(RefusalCode::SharedRule), "{rule} {change:?}");
    }
}

/// A rule of the pair that another service's forward needs stays, and nothing but closing is done.
#[test]
fn a_rule_that_carries_another_forward_stays() {
    let to = |address: &'static str, port: &'static str| {
        pass(|rule| rule["destination"] = json!({"address": address, "port": port}))
    };
    let any =
        |port: &'static str| pass(|rule| rule["destination"] = json!({"any": "", "port": port}));
    let other = |target: &'static str, port: &'static str| {
        forward(|rule| {
            rule["associated-rule-id"] = json!("");
            rule["destination"]["port"] = json!("8443");
            rule["target"] = json!(target);
            rule["local-port"] = json!(port);
        })
    };
    for (rule, other) in [
        (to("k8s_kms_lb", "1000-2000"), other("k8s_kms_lb", "1194")),
        (to("k8s_kms_lb", ""), other("10.0.20.202", "443")),
        (to("10.0.20.0/24", "1688"), other("10.0.20.77", "1688")),
        (any("1688"), other("10.0.20.77", "1688")),
    ] {
        let configured = of_lists(vec![forward(|_| {}), other.clone()], vec![rule.clone()], ours());
        check_shared_rule_stays(&configured, &rule);
        // One that has a rule of its own, or is switched off, needs no other.
        let own = |rule: &mut Value| {
            rule["associated-rule-id"] = json!("nat_own");
            rule["tracker"] = json!("1763000009");
        };
        let (mut linked, mut off) = (other.clone(), other);
        linked["associated-rule-id"] = json!("nat_own");
        off["disabled"] = json!("");
        for (other, rules) in [(linked, vec![rule.clone(), pass(own)]), (off, vec![rule.clone()])] {
            let configured = of_lists(vec![forward(|_| {}), other], rules, ours());
            let pair = ManagedPair::find(&configured, &service());
            assert!(pair.foreign.is_none(), "{rule}");
        }
    }
}

/// The same of a forward of a group of interfaces that shares one with the rule, either way.
#[test]
fn a_rule_that_carries_a_groups_forward_stays() {
    let other = |interface: &'static str| {
        forward(|rule| {
            rule["associated-rule-id"] = json!("");
            rule["interface"] = json!(interface);
            rule["destination"]["port"] = json!("11688");
            rule["target"] = json!("10.0.20.50");
        })
    };
    let any = pass(|rule| rule["destination"] = json!({"any": "", "port": "1688"}));
    for (interface, is_carried) in [("Uplinks", true), ("Others", false)] {
        let nat = vec![forward(|_| {}), other(interface)];
        let mut configured = of_lists(nat, vec![any.clone()], ours());
        let groups = json!([
            {"ifname": "Uplinks", "members": "opt1 wan"}, {"ifname": "Others", "members": "opt1"},
        ]);
        let groups: Element = serde_json::from_value(groups).unwrap();
        configured.sections.set_child("ifgroups", "ifgroupentry", groups);
        let configured = configured.shaped_for(&service());
        let pair = ManagedPair::find(&configured, &service());
        assert_eq!(pair.foreign.is_some(), is_carried, "{interface}");
        if is_carried {
            check_shared_rule_stays(&configured, &any);
        }
    }
    let groups = vec![
        InterfaceGroup { name: "Uplinks".into(), members: vec!["wan".into(), "opt1".into()] },
        InterfaceGroup { name: "Inner".into(), members: vec!["opt1".into(), "opt2".into()] },
    ];
    let configured = Configured { interface_groups: groups, ..Configured::default() };
    for (one, other, shares) in [
        ("wan", "Uplinks", true),
        ("Uplinks", "wan", true),
        ("Uplinks", "Inner", true),
        ("wan", "Inner", false),
        ("opt2", "opt2", true),
    ] {
        assert_eq!(configured.shares_interface(one, other), shares, "{one} {other}");
    }
}

/// The same of a network inside that the outside reaches by its own public addresses.
#[test]
fn a_rule_that_lets_a_routed_network_in_stays() {
    let to = |destination: Value| pass(|rule| rule["destination"] = destination);
    let any = to(json!({"any": "", "port": "1688"}));
    let with = |rule: &Value, interface: Value| {
        let mut configured = of_lists(vec![forward(|_| {})], vec![rule.clone()], ours());
        let interface: Element = serde_json::from_value(interface).unwrap();
        configured.sections.set_child("interfaces", "opt2", interface);
        configured.shaped_for(&service())
    };
    let dmz = |address: &str, bits: &str| json!({"enable": "", "if": "vtnet3", "ipaddr": address, "subnet": bits});
    let both = pass(|rule| {
        rule["destination"] = json!({"any": "", "port": "1688"});
        rule["ipprotocol"] = json!("inet46");
    });
    let mut v6 = dmz("10.0.20.1", "24");
    (v6["ipaddrv6"], v6["subnetv6"]) = (json!("2a01:4f8:1::1"), json!("64"));
    for (rule, interface) in [
        (any.clone(), dmz("185.1.2.1", "29")),
        (to(json!({"any": ""})), dmz("185.1.2.1", "29")),
        (to(json!({"address": "185.1.2.3", "port": "1688-1690"})), dmz("185.1.2.1", "29")),
        (both, v6.clone()),
    ] {
        let configured = with(&rule, interface);
        check_shared_rule_stays(&configured, &rule);
        let pair = ManagedPair::find(&configured, &service());
        let clause = pair.foreign.unwrap().foreign_clause();
        assert!(clause.contains("of opt2 from outside"), "{clause}");
    }
    let mut uplink = dmz("185.1.2.1", "29");
    uplink["gateway"] = json!("WAN2GW");
    let mut off = dmz("185.1.2.1", "29");
    off.as_object_mut().unwrap().remove("enable");
    for (rule, interface) in [
        (pass(|_| {}), dmz("185.1.2.1", "29")),
        (any.clone(), dmz("10.9.0.1", "24")),
        (any.clone(), v6),
        (any.clone(), uplink),
        (any, off),
    ] {
        let configured = with(&rule, interface);
        assert!(ManagedPair::find(&configured, &service()).foreign.is_none(), "{rule}");
    }
}

/// The same of what 1:1 NAT leads to another host.
#[test]
fn a_rule_that_carries_one_to_one_stays() {
    let to = |destination: Value| pass(|rule| rule["destination"] = destination);
    let entry = |changes: Value| {
        let mut entry = json!({
            "external": "192.168.1.9", "interface": "wan",
            "source": {"address": "10.0.20.50"}, "destination": {"any": ""},
        });
        for (key, value) in changes.as_object().unwrap() {
            entry[key] = value.clone();
        }
        entry
    };
    let with = |rule: &Value, entry: Value| {
        let mut configured = of_lists(vec![forward(|_| {})], vec![rule.clone()], ours());
        let list: Element = serde_json::from_value(json!([entry])).unwrap();
        configured.sections.set_child("nat", "onetoone", list);
        configured.shaped_for(&service())
    };
    let any = to(json!({"any": "", "port": "1688"}));
    let network = json!({"source": {"address": "10.0.20.0/24"}});
    for (rule, changes) in [
        (any.clone(), json!({})),
        (any.clone(), network.clone()),
        (to(json!({"any": "", "port": "1688-1690"})), json!({})),
        (to(json!({"any": ""})), json!({})),
        (to(json!({"address": "10.0.20.0/24", "port": "1688"})), json!({})),
        (to(json!({"address": "10.0.20.128/25", "port": "1688"})), network),
    ] {
        let configured = with(&rule, entry(changes));
        check_shared_rule_stays(&configured, &rule);
        let pair = ManagedPair::find(&configured, &service());
        let clause = pair.foreign.unwrap().foreign_clause();
        assert!(clause.contains("1:1 NAT leads from 192.168.1.9 to 10.0.20."), "{clause}");
    }
    // What it does not lead to another host, on the rule's interface, needs no rule.
    for (rule, changes) in [
        (any.clone(), json!({"source": {"address": "10.0.20.202"}})),
        (any.clone(), json!({"disabled": ""})),
        (any.clone(), json!({"nobinat": ""})),
        (any, json!({"interface": "opt1"})),
        (pass(|_| {}), json!({})),
        (to(json!({"address": "10.0.20.192/26", "port": "1688"})), json!({})),
    ] {
        let configured = with(&rule, entry(changes));
        assert!(ManagedPair::find(&configured, &service()).foreign.is_none(), "{rule}");
    }
}

/// An old copy that is disabled makes nothing unclear but what would leave it alone there.
#[test]
fn a_disabled_copy_stops_no_change() {
    let copy = |association: &'static str| {
        forward(|rule| {
            rule["disabled"] = json!("");
            rule["associated-rule-id"] = json!(association);
            rule["target"] = json!("10.0.20.202");
        })
    };
    for copy in [copy(""), copy("nat_old"), copy("pass")] {
        for forwards in [vec![copy.clone(), forward(|_| {})], vec![forward(|_| {}), copy.clone()]] {
            let open = of_lists(forwards, vec![pass(|_| {})], ours());
            for change in [caps(), ConfigurationEdit::Disable] {
                let (swap, changed) = edit_sections(&open, &change, &service(), &IDS).unwrap();
                let of_copy = |sections: &Sections| {
                    let rules = sections.list("nat", "rule").iter();
                    let copies =
                        rules.filter(|rule| rule.child_text("target") == Some("10.0.20.202"));
                    copies.cloned().collect::<Vec<Element>>()
                };
                assert_eq!(of_copy(&changed), of_copy(&open.sections), "{change:?}");
                let changed = Configured { sections: changed, ..Configured::default() };
                let changed = changed.shaped_for(&service());
                let back =
                    ConfigurationEdit::PutBack { records: Box::new(swap.before), alias: false };
                let (_, again) = edit_sections(&changed, &back, &service(), &IDS).unwrap();
                assert_eq!(again, open.sections, "{change:?}");
            }
            for change in [build(true), ConfigurationEdit::Delete] {
                assert_eq!(swap_of(&open, &change), Err(RefusalCode::Ambiguous), "{change:?}");
            }
        }
    }
    // The filter rules are joined to the copy, and count as the port's once both forwards are disabled.
    let unlinked = forward(|rule| rule["associated-rule-id"] = json!(""));
    let second = pass(|rule| rule["tracker"] = json!("1700000001"));
    let linked = forward(|rule| rule["disabled"] = json!(""));
    let open = of_lists(vec![linked, unlinked], vec![pass(|_| {}), second], ours());
    let (swap, closed) =
        edit_sections(&open, &ConfigurationEdit::Disable, &service(), &IDS).unwrap();
    let closed = Configured { sections: closed, ..Configured::default() }.shaped_for(&service());
    let back = ConfigurationEdit::PutBack { records: Box::new(swap.before), alias: false };
    assert_eq!(edit_sections(&closed, &back, &service(), &IDS).unwrap().1, open.sections);
    let two = of_lists(vec![forward(|_| {}), forward(|_| {})], vec![pass(|_| {})], ours());
    assert_eq!(swap_of(&two, &ConfigurationEdit::Disable), Err(RefusalCode::Ambiguous));
}

#[test]
fn aliases_of_the_port_are_the_port() {
    let nat = || {
        vec![forward(|rule| {
            rule["destination"]["port"] = json!("KMS_port");
        })]
    };
    let filter = || vec![pass(|rule| rule["destination"]["port"] = json!("KMS_port"))];
    for members in ["1688", "inner", "1688 inner", "1688:1688"] {
        let mut aliases = ours();
        aliases.push(alias("port", "KMS_port", members));
        aliases.push(alias("port", "inner", "1688"));
        let configured = of_lists(nat(), filter(), aliases);
        for change in [caps(), ConfigurationEdit::Disable, ConfigurationEdit::Delete, build(true)] {
            let swap = swap_of(&configured, &change);
            let swap = swap.unwrap_or_else(|code| panic!("{members} {change:?}: {code:?}"));
            for placed in [swap.after.nat, swap.after.filter].into_iter().flatten() {
                let port = placed.record.get("destination").unwrap().child_text("port");
                assert_eq!(port, Some("KMS_port"));
            }
        }
    }
    for members in ["1688 1689", "1688:1690", "1688 nowhere", ""] {
        let mut aliases = ours();
        aliases.push(alias("port", "KMS_port", members));
        let configured = of_lists(nat(), filter(), aliases);
        assert!(swap_of(&configured, &caps()).is_err(), "{members}");
    }
}

#[test]
fn nested_aliases_are_looked_into() {
    let nat = || vec![forward(|_| {})];
    let filter = || vec![pass(|rule| drop(rule["max-src-conn"].take()))];
    let aliases =
        vec![alias("host", "k8s_kms_lb", "kms_real"), alias("host", "kms_real", "10.0.20.202/32")];
    let configured = of_lists(nat(), filter(), aliases);
    let swap = swap_of(&configured, &build(true)).unwrap();
    assert_eq!(swap.before.alias, swap.after.alias);
    let aliases = vec![
        alias("host", "k8s_kms_lb", "kms_real"),
        alias("host", "kms_real", "10.0.20.202 10.0.20.203"),
    ];
    let configured = of_lists(nat(), filter(), aliases);
    let swap = swap_of(&configured, &build(true)).unwrap();
    assert_ne!(swap.before.alias, swap.after.alias);
}

#[test]
fn floating_rules_are_foreign() {
    let unlinked = |rule: &mut Value| drop(rule["associated-rule-id"].take());
    let floating = pass(|rule| {
        unlinked(rule);
        rule["floating"] = json!("yes");
        rule["quick"] = json!("yes");
    });
    let configured = of_lists(vec![forward(unlinked)], vec![floating.clone()], ours());
    assert_eq!(swap_of(&configured, &build(true)), Err(RefusalCode::FloatingDecides));
    assert_eq!(swap_of(&configured, &caps()), Err(RefusalCode::NoRuleForCaps));
    let (_, closed) =
        edit_sections(&configured, &ConfigurationEdit::Disable, &service(), &IDS).unwrap();
    assert_eq!(closed.list("filter", "rule"), configured.sections.list("filter", "rule"));
    let closed = Configured { sections: closed, ..Configured::default() }.shaped_for(&service());
    let (_, opened) = edit_sections(&closed, &ConfigurationEdit::Enable, &service(), &IDS).unwrap();
    assert_eq!(opened, configured.sections);
    // Beside a rule of its own it is in no edit's way.
    let configured = of_lists(vec![forward(|_| {})], vec![floating, pass(|_| {})], ours());
    assert!(swap_of(&configured, &ConfigurationEdit::Disable).is_ok());
}

#[test]
fn a_foreign_forward_stands_beside_what_comes_back() {
    let foreign = |change: fn(&mut Value)| {
        let mut rule = forward(change);
        rule["target"] = json!("10.0.20.50");
        rule["associated-rule-id"] = json!("");
        rule
    };
    let others: [Value; 2] = [
        foreign(|rule| rule["disabled"] = json!("")),
        foreign(|rule| rule["destination"] = json!({"address": "192.168.1.2", "port": "1688"})),
    ];
    for other in others {
        let own = vec![forward(|_| {}), other];
        let whole = of_lists(own, vec![pass(|_| {})], ours());
        let (deleted, rest, back) = delete_for_undo(&whole);
        // What the firewall swaps are these records, not the sections: it takes away none that is not the pair's.
        let swap = swap_of(&rest, &back).unwrap();
        assert_eq!((swap.before.nat, swap.before.filter), (None, None));
        assert_eq!(swap.after.nat.unwrap().record, deleted.before.nat.unwrap().record);
    }
}

/// Deletes the pair; returns what was swapped, what is left, and the change that takes the deletion back.
fn delete_for_undo(whole: &Configured) -> (Swap, Configured, ConfigurationEdit) {
    let (deleted, sections) =
        edit_sections(whole, &ConfigurationEdit::Delete, &service(), &IDS).unwrap();
    let rest = Configured { sections, ..Configured::default() };
    let back =
        ConfigurationEdit::PutBack { records: Box::new(deleted.before.clone()), alias: false };
    (deleted, rest.shaped_for(&service()), back)
}

#[test]
fn a_forward_of_one_association_is_not_replaced() {
    let unlinked = |rule: &mut Value| drop(rule["associated-rule-id"].take());
    let same = json!({"network": "wanip", "port": "1688"});
    let by_address = json!({"address": "192.168.1.2", "port": "1688"});
    for (to, is_disabled) in [(&same, false), (&same, true), (&by_address, false)] {
        for filter in [Vec::new(), vec![pass(unlinked)]] {
            let other = forward(|rule| {
                rule["target"] = json!("10.0.20.50");
                rule["destination"] = to.clone();
                if is_disabled {
                    rule["disabled"] = json!("");
                }
            });
            let whole = of_lists(vec![forward(|_| {}), other.clone()], filter, ours());
            let (_, rest, back) = delete_for_undo(&whole);
            let other = rest.sections.list("nat", "rule").to_vec();
            match edit_sections(&rest, &back, &service(), &IDS) {
                Ok((_, again)) => {
                    assert_eq!(again, whole.sections);
                    assert!(again.list("nat", "rule").contains(&other[0]), "{again:?}");
                }
                Err(refusal) => {
                    assert_eq!(refusal.code, RefusalCode::PortTaken, "{to} {is_disabled}");
                }
            }
        }
    }
}

#[test]
fn a_new_rule_takes_no_association_of_others() {
    let web = forward(|rule| rule["destination"]["port"] = json!("8443"));
    let configured = of_lists(vec![forward(|_| {}), web], Vec::new(), ours());
    for alias in [false, true] {
        let swap = swap_of(&configured, &build(alias)).unwrap();
        for placed in [swap.after.nat, swap.after.filter] {
            let association = placed.unwrap().record;
            assert_eq!(association.child_text("associated-rule-id"), Some(IDS.association));
        }
    }
}

#[test]
fn another_filter_rule_stands_beside_what_comes_back() {
    for is_disabled in [false, true] {
        let other = pass(|rule| {
            rule["tracker"] = json!("1763000099");
            drop(rule["associated-rule-id"].take());
            if is_disabled {
                rule["disabled"] = json!("");
            }
        });
        let whole = of_lists(vec![forward(|_| {})], vec![pass(|_| {}), other], ours());
        let (_, rest, back) = delete_for_undo(&whole);
        let (swap, again) = edit_sections(&rest, &back, &service(), &IDS).unwrap();
        assert_eq!(swap.before.filter, None);
        assert_eq!(again, whole.sections);
    }
}

/// A block rule, the pair's pass rule and another one; an exception from forwards, the pair's forward and another one.
fn among_others() -> Configured {
    let rule = |tracker: &str, kind: &str| {
        pass(|rule| {
            rule["type"] = json!(kind);
            rule["tracker"] = json!(tracker);
            rule["descr"] = json!(tracker);
            rule["destination"]["port"] = json!("443");
            drop(rule["associated-rule-id"].take());
        })
    };
    let other = |port: &str, association: &str| {
        forward(|rule| {
            rule["destination"]["port"] = json!(port);
            rule["target"] = json!("10.0.20.50");
            rule["associated-rule-id"] = json!(association);
            rule["descr"] = json!(port);
        })
    };
    let own = pass(|rule| rule["max-src-conn"] = json!(""));
    let lan = pass(|rule| {
        rule["interface"] = json!("lan");
        rule["tracker"] = json!("3");
        drop(rule["associated-rule-id"].take());
    });
    of_lists(
        vec![other("8080", ""), forward(|_| {}), other("443", "nat_2")],
        vec![rule("1", "block"), own, rule("2", "pass"), lan],
        ours(),
    )
}

/// Puts the pair back after others have edited the lists, and returns the descriptions of both in their order.
fn orders_after(others: impl FnOnce(&mut Sections)) -> Result<[Vec<String>; 2], RefusalCode> {
    let (_, mut rest, back) = delete_for_undo(&among_others());
    others(&mut rest.sections);
    let rest =
        Configured { sections: rest.sections, ..Configured::default() }.shaped_for(&service());
    let (_, again) =
        edit_sections(&rest, &back, &service(), &IDS).map_err(|refused| refused.code)?;
    let names = |rule: &Element| rule.child_text("descr").unwrap_or_default().to_owned();
    Ok(["nat", "filter"].map(|section| again.list(section, "rule").iter().map(names).collect()))
}

#[test]
fn a_rule_comes_back_beside_its_neighbours() {
    type Edit<'a> = &'a dyn Fn(&mut Sections);
    let named = |name: &str| Element::of_texts([("descr", name), ("interface", "wan")]);
    let insert = |place: usize| {
        move |sections: &mut Sections| {
            for section in ["nat", "filter"] {
                sections.edit_list(section, "rule", |rules| rules.insert(place, named("new")));
            }
        }
    };
    let remove = |place: usize| {
        move |sections: &mut Sections| {
            for section in ["nat", "filter"] {
                sections.edit_list(section, "rule", |rules| drop(rules.remove(place)));
            }
        }
    };
    let rename = |sections: &mut Sections| {
        for section in ["nat", "filter"] {
            sections.edit_list(section, "rule", |rules| {
                rules[0].set_child("descr", "was");
                rules[0].set_child("disabled", "");
                rules.remove(1);
                rules.insert(0, named("new"));
            });
        }
    };
    let cases: [(Edit<'_>, [&str; 2]); 6] = [
        (&|_: &mut Sections| {}, ["8080 KMS 443", "1 NAT KMS 2 NAT KMS"]),
        (&insert(0), ["new 8080 KMS 443", "new 1 NAT KMS 2 NAT KMS"]),
        // What came between the two is not overruled.
        (&insert(1), ["8080 new KMS 443", "1 new NAT KMS 2 NAT KMS"]),
        // Where one is gone, it comes rather too late than before what keeps out.
        (&remove(0), ["443 KMS", "2 NAT KMS NAT KMS"]),
        (&remove(1), ["8080 KMS", "1 NAT KMS NAT KMS"]),
        (&rename, ["new was KMS", "new was NAT KMS NAT KMS"]),
    ];
    for (others, wanted) in cases {
        let orders = orders_after(others).map(|orders| orders.map(|names| names.join(" ")));
        assert_eq!(orders, Ok(wanted.map(str::to_owned)));
    }
}

/// Never in front of what it stood behind, also after moves, new names and removals, and never refused.
#[test]
fn a_lost_place_overrules_nothing_that_stood_before() {
    type Edit = fn(&mut Vec<Element>);
    let edits: [(Edit, [&str; 2]); 5] = [
        (
            |rules| {
                for rule in rules {
                    rule.set_child("interface", "opt2");
                    rule.set_child("associated-rule-id", "nat_9");
                }
            },
            ["8080 KMS 443", "1 NAT KMS 2 NAT KMS"],
        ),
        (|rules| rules.swap(0, 1), ["443 8080 KMS", "2 1 NAT KMS NAT KMS"]),
        (
            |rules| rules.extend_from_within(..2),
            ["8080 KMS 443 8080 443", "1 NAT KMS 2 NAT KMS 1 2"],
        ),
        (|rules| rules.rotate_left(1), ["443 8080 KMS", "2 NAT KMS 1 NAT KMS"]),
        (Vec::clear, ["KMS", "NAT KMS"]),
    ];
    for (edit, wanted) in edits {
        let orders = orders_after(|sections| {
            for section in ["nat", "filter"] {
                sections.edit_list(section, "rule", edit);
            }
        });
        assert_eq!(
            orders.map(|orders| orders.map(|names| names.join(" "))),
            Ok(wanted.map(str::to_owned))
        );
    }
}

#[test]
fn what_older_versions_kept_comes_back_by_index() {
    let (_, rest, back) = delete_for_undo(&among_others());
    let ConfigurationEdit::PutBack { mut records, .. } = back else { panic!("{back:?}") };
    for placed in [&mut records.nat, &mut records.filter].into_iter().flatten() {
        assert!(placed.beside.take().is_some_and(|beside| beside.len() == 2));
    }
    let back = ConfigurationEdit::PutBack { records, alias: false };
    let (_, again) = edit_sections(&rest, &back, &service(), &IDS).unwrap();
    assert_eq!(again, among_others().sections);
}

/// Enabled, the pair's rule lets in what another forward leads as well; that is what the undo takes back.
#[test]
fn a_rule_that_others_need_now_is_found() {
    let to_any = |rule: &mut Value| rule["destination"] = json!({"any": "", "port": "1688"});
    let other = |target: &str| {
        forward(|rule| {
            rule["destination"] = json!({"address": "192.168.1.7", "port": "1688"});
            rule["target"] = json!(target);
            rule["associated-rule-id"] = json!("");
        })
    };
    for target in ["10.0.20.50", "outer"] {
        let off = pass(|rule| {
            to_any(rule);
            rule["disabled"] = json!("");
        });
        let aliases = [ours(), vec![alias("host", "outer", "10.0.20.202 10.0.20.9")]].concat();
        let before = of_lists(vec![forward(|_| {}), other(target)], vec![off], aliases);
        let (swap, sections) =
            edit_sections(&before, &ConfigurationEdit::Enable, &service(), &IDS).unwrap();
        let opened = Configured { sections, ..Configured::default() }.shaped_for(&service());
        assert!(ManagedPair::find(&opened, &service()).foreign.is_some(), "{target}");
        let back = ConfigurationEdit::PutBack { records: Box::new(swap.before), alias: false };
        let (_, again) = edit_sections(&opened, &back, &service(), &IDS).unwrap();
        assert_eq!(again, before.sections);
    }
}

#[test]
fn caps_of_another_forward_stay() {
    let other = |change: fn(&mut Value)| {
        forward(|rule| {
            rule["destination"]["port"] = json!("11688");
            rule["target"] = json!("10.0.20.50");
            rule["associated-rule-id"] = json!("nat_2");
            change(rule);
        })
    };
    let any = |cap: &str| {
        pass(|rule| {
            rule["destination"] = json!({"any": "", "port": "1688"});
            rule["max-src-conn"] = json!(cap);
        })
    };
    let its_own = pass(|rule| {
        rule["destination"]["address"] = json!("10.0.20.50");
        rule["associated-rule-id"] = json!("nat_2");
        rule["tracker"] = json!("1763000009");
        rule["max-src-conn"] = json!("");
    });
    let is_left = |other: Value, own: Value| {
        let lists = (vec![forward(|_| {}), other], vec![own, its_own.clone()]);
        let configured = of_lists(lists.0, lists.1, ours());
        let swap = swap_of(&configured, &ConfigurationEdit::Disable).unwrap();
        let stays = swap.after.filter == swap.before.filter;
        assert_eq!(swap_of(&configured, &ConfigurationEdit::Delete).is_err(), stays);
        stays
    };
    assert!(is_left(other(|_| {}), any("50")));
    for (other, own) in [
        (other(|_| {}), any("")),
        (other(|rule| rule["disabled"] = json!("")), any("50")),
        (other(|rule| rule["local-port"] = json!("443")), any("50")),
        (other(|rule| rule["interface"] = json!("opt1")), any("50")),
    ] {
        assert!(!is_left(other, own));
    }
}
