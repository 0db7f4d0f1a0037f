//! Random configurations and every change of them: what a plan says comes true in the rules that pfSense makes of the
//! records afterwards, nothing but the pair is touched, and what takes the change back is the identity.
//!
//! 500 cases in every run; `KMSCTL_CASES` and `KMSCTL_SEED` name others.

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestCaseError;
use serde_json::json;

use super::*;
use crate::domain::exposure::tests::walk::{
    self, Case, Drawn, Held, Known, Ruleset, Space, Syn, Tries, World,
};
use crate::domain::exposure::{State as ExposureState, judge};
use crate::domain::pfsense::change::Swap;
use crate::domain::pfsense::config::ReadRequest;
use crate::domain::pfsense::edit::{EditIds, make_swap};
use crate::domain::service::Service;

const IDS: EditIds<'static> =
    EditIds { who: "viktor@laptop", now: 1_795_400_000, association: "nat_65f0c0de1a2b3.12345678" };

fn disabled(record: &mut Value, is_disabled: bool) {
    if is_disabled {
        record["disabled"] = json!("");
    }
}

pub(super) fn own_forward(port: &str, target: &str, association: &str) -> Value {
    json!({
        "source": {"any": ""}, "destination": {"network": "wanip", "port": port}, "ipprotocol": "inet", "protocol": "tcp",
        "target": target, "local-port": port, "interface": "wan", "descr": "KMS", "associated-rule-id": association,
    })
}

pub(super) fn own_pass(port: &str, target: &str, association: &str, caps: bool) -> Value {
    let mut rule = json!({
        "type": "pass", "source": {"any": ""}, "interface": "wan", "ipprotocol": "inet", "protocol": "tcp",
        "destination": {"address": target, "port": port}, "tracker": "1763000004", "descr": "NAT KMS",
        "associated-rule-id": association,
    });
    if caps {
        rule["max-src-conn"] = json!("50");
        rule["max-src-conn-rate"] = json!("10");
        rule["max-src-conn-rates"] = json!("60");
    }
    rule
}

fn forwards() -> impl Strategy<Value = Value> {
    let places = vec![
        ("wan", json!({"network": "wanip"})),
        ("wan", json!({"address": "192.168.1.7"})),
        ("opt1", json!({"network": "opt1ip"})),
        ("opt1", json!({"any": ""})),
        ("wan", json!({"network": "(self)"})),
        ("Uplinks", json!({"network": "wanip"})),
    ];
    let ports = vec![
        ("1688", "1688"),
        ("8443", "8443"),
        ("8443", "1688"),
        ("1600-1700", "1600"),
        ("KMS_port", "KMS_port"),
    ];
    (
        select(places),
        select(ports),
        select(vec!["k8s_kms_lb", "10.0.20.202", "outer", "others", "10.0.20.50"]),
        select(vec!["", "", "pass", "nat_1", "nat_2", "nat_3"]),
        (sources(), protocols(), prop::bool::weighted(0.1), prop::bool::weighted(0.1)),
        prop::bool::weighted(0.3),
    )
        .prop_map(|((interface, mut destination), (port, local), target, association, more, is_disabled)| {
            let (source, (family, protocol), is_exception, is_negated) = more;
            destination["port"] = json!(port);
            if is_negated && destination.get("any").is_none() {
                destination["not"] = json!("");
            }
            let mut rule = json!({
                "source": source, "destination": destination, "ipprotocol": family, "protocol": protocol, "target": target,
                "local-port": local, "interface": interface, "descr": "other", "associated-rule-id": association,
            });
            if is_exception {
                rule["nordr"] = json!("");
                rule["target"] = json!("");
                rule["associated-rule-id"] = json!("");
            }
            disabled(&mut rule, is_disabled);
            rule
        })
}

/// What the pair stands before: without it these take its doors, or let its traffic in.
#[derive(Clone, Debug, Default)]
struct Covering {
    forwards: Vec<Value>,
    passes: Vec<Value>,
    external: Option<&'static str>,
}

fn coverings() -> impl Strategy<Value = Covering> {
    let forward = |interface: &str, port: &str, target: &str, association: &str| {
        let local = if port == "1024-65535" { "1024" } else { "1688" };
        json!({
            "source": {"any": ""}, "destination": {"network": "wanip", "port": port}, "ipprotocol": "inet",
            "protocol": "tcp", "target": target, "local-port": local, "interface": interface, "descr": "other",
            "associated-rule-id": association,
        })
    };
    let forwards = vec![
        forward("Uplinks", "1688", "10.0.20.202", "pass"),
        forward("Uplinks", "1688", "k8s_kms_lb", ""),
        forward("wan", "1688", "10.0.20.202", ""),
        forward("wan", "1688", "10.0.20.50", "pass"),
        forward("wan", "1688", "others", ""),
        forward("wan", "1024-65535", "10.0.20.50", ""),
        forward("wan", "8443", "k8s_kms_lb", ""),
    ];
    let pass = |to: &str, port: &str| {
        let mut destination = json!({"address": to});
        if !port.is_empty() {
            destination["port"] = json!(port);
        }
        json!({
            "type": "pass", "source": {"any": ""}, "interface": "wan", "ipprotocol": "inet", "protocol": "tcp",
            "destination": destination, "descr": "other",
        })
    };
    let passes = vec![
        pass("10.0.20.0/24", ""),
        pass("10.0.20.202", "1688"),
        pass("10.0.20.0/24", "1688"),
        pass("others", ""),
    ];
    (
        prop::collection::vec(select(forwards), 0..3),
        prop::collection::vec(select(passes), 0..3),
        prop::option::weighted(0.5, select(vec!["203.0.113.5", "192.168.1.9", "192.168.1.2"])),
    )
        .prop_map(|(forwards, passes, external)| Covering { forwards, passes, external })
}

/// Whom a rule is for: mostly everybody.
fn sources() -> impl Strategy<Value = Value> {
    prop_oneof![
        6 => Just(json!({"any": ""})),
        1 => Just(json!({"address": "198.51.100.0/24"})),
        1 => Just(json!({"address": "friends"})),
        1 => Just(json!({"address": "friends", "not": ""})),
        1 => Just(json!({"address": "country"})),
        1 => Just(json!({"address": "country", "not": ""})),
    ]
}

/// The family and the protocol of a rule: mostly the service's.
fn protocols() -> impl Strategy<Value = (&'static str, &'static str)> {
    let words = vec![
        ("inet", "tcp"),
        ("inet", "tcp"),
        ("inet", "tcp"),
        ("inet", "tcp/udp"),
        ("inet46", "tcp"),
        ("inet", "udp"),
        ("inet6", "tcp"),
    ];
    select(words)
}

fn passes() -> impl Strategy<Value = Value> {
    let ends = vec![
        json!({"any": ""}),
        json!({"address": "k8s_kms_lb"}),
        json!({"address": "10.0.20.202"}),
        json!({"address": "outer"}),
        json!({"address": "others"}),
        json!({"address": "10.0.20.0/24"}),
        json!({"network": "(self)"}),
        json!({"network": "wanip"}),
    ];
    (
        select(vec!["wan", "wan", "opt1", "Uplinks", "floating"]),
        select(ends),
        select(vec!["", "1688", "8443", "KMS_port", "1600-1700"]),
        select(vec!["pass", "pass", "block", "reject"]),
        select(vec!["", "", "", "nat_1", "nat_2"]),
        (sources(), protocols(), prop::bool::weighted(0.1)),
        (floating_words(), condition_words(), prop::bool::weighted(0.3)),
    )
        .prop_map(|(interface, mut destination, port, kind, association, more, (floats, condition, is_disabled))| {
            let (source, (family, protocol), is_negated) = more;
            if !port.is_empty() {
                destination["port"] = json!(port);
            }
            if is_negated && destination.get("any").is_none() {
                destination["not"] = json!("");
            }
            let mut rule = json!({
                "type": kind, "source": source, "interface": interface, "ipprotocol": family, "protocol": protocol,
                "destination": destination, "descr": "other",
            });
            if interface == "floating" {
                let (interface, direction, is_quick, is_match) = floats;
                rule["interface"] = json!(interface);
                rule["floating"] = json!("yes");
                rule["direction"] = json!(direction);
                if is_quick {
                    rule["quick"] = json!("yes");
                }
                if is_match {
                    rule["type"] = json!("match");
                }
            }
            if !association.is_empty() {
                rule["associated-rule-id"] = json!(association);
            }
            if let Some((key, value)) = condition {
                rule[key] = json!(value);
            }
            disabled(&mut rule, is_disabled);
            rule
        })
}

/// What a rule asks for, or does, beside addresses and ports: mostly nothing.
fn condition_words() -> impl Strategy<Value = Option<(&'static str, &'static str)>> {
    prop::option::weighted(
        0.25,
        select(vec![
            ("sched", "always"),
            ("sched", "never"),
            ("tagged", "guest"),
            ("nottagged", "guest"),
            ("tag", "guest"),
            ("dscp", "af11"),
            ("os", "Linux"),
            ("gateway", "WAN2GW"),
            ("statetype", "none"),
        ]),
    )
}

/// Where a floating rule holds, in which direction, whether at once, and whether it only marks what it meets.
fn floating_words() -> impl Strategy<Value = (&'static str, &'static str, bool, bool)> {
    (
        select(vec!["wan,opt1", "wan", "", "opt3"]),
        select(vec!["in", "in", "any", "out"]),
        prop::bool::weighted(0.6),
        prop::bool::weighted(0.15),
    )
}

/// Sections of a config.xml: the pair or a part of it, among others; or with what it stands before.
fn configurations(covers: bool) -> impl Strategy<Value = Element> {
    let pair = (
        select(vec!["1688", "1688", "KMS_port"]),
        select(vec!["nat_1", "nat_1", "nat_1", "", "pass"]),
        any::<bool>(),
        (prop::bool::weighted(0.85), prop::bool::weighted(0.85)),
        (prop::bool::weighted(0.3), prop::bool::weighted(0.3)),
        (0..3_usize, 0..4_usize),
    );
    let covering = if covers { coverings().boxed() } else { Just(Covering::default()).boxed() };
    let more = if covers {
        vec![
            ("filter", "type", json!("block")),
            ("filter", "destination", json!({"address": "k8s_kms_lb"})),
            ("filter", "destination", json!({"address": "k8s_kms_lb", "port": "two_ports"})),
        ]
    } else {
        Vec::new()
    };
    // What an administrator has made of the two: mostly nothing.
    let touched = prop::option::weighted(
        0.25,
        select(
            [
                std::iter::repeat_n(more, 8).flatten().collect(),
                vec![
                    ("nat", "destination", json!({"any": "", "port": "1688"})),
                    ("nat", "destination", json!({"address": "192.168.1.2", "port": "1688"})),
                    ("nat", "destination", json!({"address": "192.168.1.7", "port": "1688"})),
                    ("nat", "source", json!({"address": "friends"})),
                    ("nat", "source", json!({"address": "friends", "not": ""})),
                    ("nat", "protocol", json!("tcp/udp")),
                    ("nat", "ipprotocol", json!("inet6")),
                    ("nat", "target", json!("outer")),
                    ("nat", "local-port", json!("8443")),
                    ("filter", "source", json!({"address": "friends"})),
                    ("filter", "source", json!({"address": "198.51.100.0/24", "not": ""})),
                    ("filter", "protocol", json!("tcp/udp")),
                    ("filter", "protocol", json!("udp")),
                    ("filter", "ipprotocol", json!("inet46")),
                    ("filter", "ipprotocol", json!("inet6")),
                    ("filter", "type", json!("reject")),
                    ("filter", "sched", json!("always")),
                    ("filter", "sched", json!("never")),
                    ("filter", "tagged", json!("guest")),
                    ("filter", "tag", json!("guest")),
                    ("filter", "dscp", json!("af11")),
                    ("filter", "os", json!("Linux")),
                    ("filter", "gateway", json!("WAN2GW")),
                    ("filter", "interface", json!("Uplinks")),
                    ("filter", "destination", json!({"any": "", "port": "1688"})),
                    ("filter", "destination", json!({"address": "10.0.20.0/24"})),
                    (
                        "filter",
                        "destination",
                        json!({"address": "k8s_kms_lb", "port": "1600-1700"}),
                    ),
                    (
                        "filter",
                        "destination",
                        json!({"address": "k8s_kms_lb", "port": "1688", "not": ""}),
                    ),
                ],
            ]
            .concat(),
        ),
    );
    let one_to_one = prop::option::weighted(0.15, select(vec!["203.0.113.5", "192.168.1.9"]));
    let members = select(vec!["10.0.20.202", "10.0.20.202", "kms_real"]);
    (
        prop::collection::vec(forwards(), 0..3),
        prop::collection::vec(passes(), 0..4),
        pair,
        one_to_one,
        members,
        (0..4_usize, 0..4_usize),
        (touched, covering),
    )
        .prop_map(|(mut nat, mut filter, pair, one_to_one, members, bars, (touched, covering))| {
            nat.extend(covering.forwards);
            filter.extend(covering.passes);
            let one_to_one = covering.external.or(one_to_one);
            let touch = |section: &str, record: &mut Value| {
                if let Some((_, key, value)) = touched.as_ref().filter(|(of, ..)| *of == section) {
                    record[*key] = value.clone();
                }
            };
            let (port, association, caps, (has_nat, has_filter), (nat_off, filter_off), at) = pair;
            if has_nat {
                let mut own = own_forward(port, "k8s_kms_lb", association);
                touch("nat", &mut own);
                disabled(&mut own, nat_off);
                nat.insert(at.0.min(nat.len()), own);
            }
            if has_filter && association != "pass" {
                let mut own = own_pass(port, "k8s_kms_lb", association, caps);
                touch("filter", &mut own);
                disabled(&mut own, filter_off);
                filter.insert(at.1.min(filter.len()), own);
            }
            for (place, rule) in filter.iter_mut().enumerate() {
                if rule["descr"] == "other" {
                    rule["tracker"] = json!((1_700_000_000 + place).to_string());
                }
            }
            let alias = |name: &str, kind: &str, address: &str| json!({"name": name, "type": kind, "address": address});
            let interface = |device: &str, address: &str, bits: &str, gateway: &str| {
                json!({"enable": "", "if": device, "ipaddr": address, "subnet": bits, "gateway": gateway})
            };
            let binat: Vec<Value> = one_to_one.into_iter().map(|external| json!({
                "external": external, "interface": if external.starts_with("203") { "opt1" } else { "wan" },
                "source": {"address": "10.0.20.202"}, "destination": {"any": ""}, "descr": "one to one",
            })).collect();
            let bar = |row: usize| json!({"sep0": {"row": [format!("fr{row}")], "text": "bar", "if": "wan"}});
            let sections = json!({
                "nat": {"rule": nat, "onetoone": binat, "separator": bar(bars.0)},
                "filter": {"rule": filter, "separator": {"wan": bar(bars.1)}},
                "aliases": {"alias": [
                    alias("k8s_kms_lb", "host", members), alias("kms_real", "host", "10.0.20.202"),
                    alias("outer", "host", "kms_real 10.0.20.9"), alias("others", "host", "10.0.20.50"),
                    alias("friends", "host", "198.51.100.8"),
                    alias("KMS_port", "port", "1688"), alias("two_ports", "port", "1688 8443"), alias("country", "urltable", "https://lists.example/country"),
                ]},
                "interfaces": {
                    "wan": interface("vtnet0", "192.168.1.2", "24", "WANGW"), "lan": interface("vtnet1", "10.0.10.1", "24", ""),
                    "opt1": interface("vtnet2", "203.0.113.2", "29", "WAN2GW"), "opt3": interface("vtnet3", "10.0.20.1", "24", ""),
                },
                "ifgroups": {"ifgroupentry": [{"ifname": "Uplinks", "members": "wan opt1"}]},
            });
            serde_json::from_value(sections).unwrap()
        })
}

// What pfSense loads of the records: nothing below knows the edit's or the judgement's code.

fn devices(interfaces: &str) -> Vec<&'static str> {
    let device = |name: &str| match name {
        "" => "",
        "wan" => "vtnet0",
        "opt1" => "vtnet2",
        "opt3" => "vtnet3",
        "Uplinks" => "Uplinks",
        other => panic!("{other}"),
    };
    interfaces.split(',').map(device).collect()
}

/// Returns a printed condition; ranges are those of the generator above.
fn port_words(port: &str) -> &'static str {
    match port {
        "" => "",
        "1688" | "KMS_port" => "= 1688",
        "8443" => "= 8443",
        "1600-1700" => "1600:1700",
        "1024-65535" => "1024:65535",
        other => panic!("{other}"),
    }
}

fn host_words(name: &str) -> String {
    if name.starts_with(|letter: char| letter.is_ascii_digit()) {
        name.to_owned()
    } else {
        format!("<{name}>")
    }
}

/// Returns a side's address as pf prints it.
fn end_words(rule: &Element, side: &str) -> String {
    let Some(side) = rule.get(side) else {
        return "any".to_owned();
    };
    let address = match (side.child_text("network"), side.child_text("address")) {
        (Some("wanip"), _) => "192.168.1.2".to_owned(),
        (Some("opt1ip"), _) => "203.0.113.2".to_owned(),
        (Some("(self)"), _) => "(self)".to_owned(),
        (_, Some(address)) => host_words(address),
        _ => return "any".to_owned(),
    };
    let negated = if side.has_child("not") { "! " } else { "" };
    format!("{negated}{address}")
}

/// Says whether pfSense makes a rule of it that TCP over IPv4 meets.
fn is_met(record: &Element) -> bool {
    !record.has_child("disabled")
        && record.child_text("protocol") != Some("udp")
        && record.child_text("ipprotocol") != Some("inet6")
        && record.child_text("sched") != Some("never")
}

/// Returns the word of pf's for what a rule asks for, or does, beside addresses and ports.
fn condition_word(record: &Element) -> &'static str {
    let has = |key| record.child_text(key).is_some();
    match () {
        () if has("tagged") && record.has_child("nottagged") => "! tagged guest",
        () if has("tagged") => "tagged guest",
        () if has("tag") => "tag guest",
        () if has("dscp") => "tos 0x10",
        () if has("os") => "os",
        () if has("gateway") && record.child_text("type") == Some("pass") => "route-to",
        () => "",
    }
}

fn side_of<'e>(rule: &'e Element, key: &str) -> &'e str {
    rule.get("destination").and_then(|side| side.child_text(key)).unwrap_or_default()
}

fn plain(action: &'static str, interface: &'static str) -> Drawn {
    Drawn {
        action,
        direction: "",
        quick: false,
        word: "",
        interface,
        from: "any".into(),
        from_port: "",
        to: "any".into(),
        port: "",
        target: "any".into(),
        target_port: "",
    }
}

pub(super) struct Made {
    case: Case,
    /// Which of the filter rules cap their sources.
    capped: Vec<bool>,
    /// The place of the pair's forward.
    own: Option<usize>,
    nat: Vec<Rule>,
    filter: Vec<Rule>,
}

fn make_rules(sections: &Sections) -> Made {
    let (mut nat, mut filter, mut ids) = (Vec::new(), Vec::new(), Vec::new());
    let (mut capped, mut own) = (Vec::new(), None);
    for record in sections.list("nat", "onetoone") {
        nat.push(Drawn {
            from: "10.0.20.202".into(),
            target: record.child_text("external").unwrap().into(),
            ..plain("binat", devices(record.child_text("interface").unwrap())[0])
        });
    }
    let forwards = sections.list("nat", "rule").iter();
    for record in forwards.filter(|record| is_met(record)) {
        let action = match record.child_text("associated-rule-id") {
            _ if record.has_child("nordr") => "no rdr",
            Some("pass") => "rdr pass",
            _ => "rdr",
        };
        let port = port_words(side_of(record, "port"));
        let local = record.child_text("local-port").unwrap_or_default();
        let moved = match (side_of(record, "port"), local) {
            ("8443", "1688" | "KMS_port") => "1688",
            ("1688" | "KMS_port", "8443") => "8443",
            _ => "",
        };
        if record.child_text("descr") == Some("KMS") {
            own = Some(nat.len());
        }
        nat.push(Drawn {
            from: end_words(record, "source"),
            to: end_words(record, "destination"),
            port,
            target: host_words(record.child_text("target").unwrap_or_default()),
            target_port: moved,
            ..plain(action, devices(record.child_text("interface").unwrap())[0])
        });
    }
    // Floating rules come first, then those of groups, then those of interfaces.
    let rank = |record: &Element| match record.child_text("interface") {
        _ if record.has_child("floating") => 0,
        Some("Uplinks") => 1,
        _ => 2,
    };
    let mut records: Vec<&Element> = sections.list("filter", "rule").iter().collect();
    records.sort_by_key(|record| rank(record));
    for record in records.into_iter().filter(|record| is_met(record)) {
        let action = match record.child_text("type") {
            Some("block" | "reject") => "block",
            Some("match") => "match",
            _ => "pass",
        };
        let direction = match record.child_text("direction") {
            Some("any") => "",
            Some("out") => "out",
            _ => "in",
        };
        let ports = match side_of(record, "port") {
            "two_ports" => vec!["1688", "8443"],
            port => vec![port],
        };
        let places = devices(record.child_text("interface").unwrap()).into_iter();
        for (device, port) in
            places.flat_map(|device| ports.iter().map(move |port| (device, *port)))
        {
            capped.push(record.child_text("max-src-conn").is_some());
            filter.push(Drawn {
                direction,
                quick: !record.has_child("floating") || record.has_child("quick"),
                from: end_words(record, "source"),
                to: end_words(record, "destination"),
                port: port_words(port),
                word: condition_word(record),
                ..plain(action, device)
            });
            let caps = match (
                record.child_text("max-src-conn"),
                record.child_text("max-src-conn-rate"),
                record.child_text("max-src-conn-rates"),
            ) {
                (Some(connections), Some(rate), Some(seconds)) => format!(
                    " (source-track rule, max-src-conn {connections}, max-src-conn-rate {rate}/{seconds}, overload <virusprot> flush global, src.track {seconds})"
                ),
                (Some(connections), _, _) => {
                    format!(" (source-track rule, max-src-conn {connections})")
                }
                _ => String::new(),
            };
            ids.push(format!("{caps} ridentifier {}", record.child_text("tracker").unwrap()));
        }
    }
    let case = Case {
        nat,
        filter,
        pair: None,
        enabled: true,
        space: Space::Private,
        known: Known::All,
        // Somebody is on the list from the web.
        held: vec![("country", Held::Counted)],
        has_twin: false,
    };
    let printed =
        |drawn: &Drawn, more: &str| fixtures::printed(&format!("{}{more}", case.printed(drawn)));
    let mut rules = vec![fixtures::default_deny()];
    rules.extend(case.filter.iter().zip(&ids).map(|(drawn, id)| printed(drawn, id)));
    let nat = case.nat.iter().map(|drawn| printed(drawn, "")).collect();
    Made { nat, filter: rules, case, capped, own }
}

/// Says what a closing opens, shuts beside the service, or leads elsewhere unsaid: nothing, in either way in which what the
/// rules leave open can be.
pub(super) fn find_fault_of_closing(before: &Made, after: &Made, draft: &Draft) -> Option<String> {
    const SERVICE: &str = "10.0.20.202";
    const OTHER: &str = "10.0.20.50";
    let is_said = draft.risks.iter().any(|risk| risk.code == "leads-elsewhere");
    let (nows, thens) = (worlds_of(before), worlds_of(after));
    let is_capped = |made: &Made, arrival: &walk::Arrival| {
        arrival.passed_by.is_some_and(|place| made.capped[place])
    };
    for (now, then) in nows.iter().zip(&thens) {
        let tries = Tries::of(&before.case, &World { case: &before.case, salt: 1 });
        for (_, device) in walk::OUTSIDE {
            for to in tries.doors.iter().filter(|to| now.has_door(device, **to)) {
                for client in &tries.clients {
                    let syn = Syn { device, client: *client, to: *to };
                    let shown = |what: &str| Some(format!("{what}: {syn:?}"));
                    let [(was, is), (was_other, is_other)] = [SERVICE, OTHER].map(|address| {
                        (now.arrival_at(syn, address), then.arrival_at(syn, address))
                    });
                    let of_service = |arrival: &walk::Arrival| arrival.port == 1688;
                    if let Some(is) = is.filter(of_service) {
                        if was.as_ref().is_none_or(|was| !of_service(was)) {
                            return shown("opened");
                        }
                        // Whether a rule with a condition caps is the client's choice.
                        let mut nows = nows.iter().filter_map(|now| now.arrival_at(syn, SERVICE));
                        if nows.all(|was| is_capped(before, &was)) && !is_capped(after, &is) {
                            return shown("lost its caps");
                        }
                    }
                    let of_pair = before.own.is_some() && now.led_by(syn, SERVICE) == before.own;
                    if is_other.is_some() && of_pair && !is_said {
                        return shown("leads elsewhere, and is not said");
                    }
                    let by_others = |was: &walk::Arrival| was.by != before.own;
                    let was = was.filter(|was| !of_service(was) && !is_door_of(*to, SERVICE));
                    if was.as_ref().is_some_and(by_others) && is.is_none()
                        || was_other.as_ref().is_some_and(by_others) && is_other.is_none()
                    {
                        return shown("shut beside the service");
                    }
                }
            }
        }
    }
    None
}

/// Returns the rules in both ways in which what they leave open can be.
fn worlds_of(made: &Made) -> [Ruleset<'_>; 2] {
    [0, 1].map(|salt| Ruleset::of(&made.case, World { case: &made.case, salt }))
}

/// Says whether a connection is to the address itself, which is private: none is so from outside.
fn is_door_of(door: (u32, u16), address: &str) -> bool {
    std::net::Ipv4Addr::from_bits(door.0).to_string() == address
}

/// Says whether a connection from outside arrives at the service, where what the rules leave open is so or so.
fn lets_in(case: &Case, salt: u64) -> bool {
    let rules = Ruleset::of(case, World { case, salt });
    let tries = Tries::of(case, &World { case, salt });
    let clients = tries.clients;
    let arrives = |device, client, to| {
        rules.arrivals(Syn { device, client, to }).any(|arrival| arrival.port == 1688)
    };
    walk::OUTSIDE.iter().any(|(_, device)| {
        let mut doors = tries.doors.iter().filter(|to| rules.has_door(device, **to));
        doors.any(|to| clients.iter().any(|client| arrives(device, *client, *to)))
    })
}

fn shaped(sections: &Sections) -> Configured {
    let configured = Configured { sections: sections.clone(), ..Configured::default() };
    configured.shaped_for(&ReadRequest::from(&fixtures::service()))
}

pub(super) fn judged(sections: &Sections) -> (Configured, Exposure, Made) {
    judged_apart(sections, sections)
}

/// The same where pf runs what was configured before.
pub(super) fn judged_apart(sections: &Sections, runs: &Sections) -> (Configured, Exposure, Made) {
    let (configured, made) = (shaped(sections), make_rules(runs));
    let loaded = Loaded {
        filter: &made.filter,
        nat: &made.nat,
        enabled: true,
        alias_table: AliasTable::Unasked,
    };
    let exposure = judge(Some(&configured), loaded, &fixtures::service());
    (configured, exposure, made)
}

/// Swaps the records as the firewall does it; `None` where those before do not stand where they should.
pub(super) fn swap_records(sections: &Sections, swap: &Swap) -> Option<Sections> {
    let mut sections = sections.clone();
    let kinds = [
        ("nat", "rule", &swap.before.nat, &swap.after.nat),
        ("filter", "rule", &swap.before.filter, &swap.after.filter),
        ("aliases", "alias", &swap.before.alias, &swap.after.alias),
    ];
    for (section, tag, before, after) in kinds {
        if before == after {
            continue;
        }
        let mut records = sections.list(section, tag).to_vec();
        if let Some(before) = before {
            let place = before.index as usize;
            (records.get(place) == Some(&before.record)).then_some(())?;
            records.remove(place);
        }
        if let Some(after) = after {
            records.insert(after.index as usize, after.record.clone());
        }
        sections.set_child(section, tag, Element::List(records));
    }
    let (before, after) = (&swap.before.separators, &swap.after.separators);
    for (section, before, after) in
        [("nat", &before.nat, &after.nat), ("filter", &before.filter, &after.filter)]
    {
        if before != after {
            sections.set_child(section, "separator", after.clone());
        }
    }
    Some(sections)
}

/// Returns the rules of others above each bar.
fn above_bars<'e>(sections: &'e Sections, own: &[&Option<Placed>]) -> Vec<Vec<&'e Element>> {
    let own: Vec<&Element> =
        own.iter().filter_map(|placed| placed.as_ref()).map(|placed| &placed.record).collect();
    ["nat", "filter"]
        .map(|section| {
            let bars = sections.section(section).get("separator").unwrap();
            let bars = bars.get("wan").unwrap_or(bars);
            let Some(Element::List(rows)) = bars.get("sep0").and_then(|bar| bar.get("row")) else {
                panic!("{bars:?}");
            };
            let Element::Text(row) = &rows[0] else { panic!("{bars:?}") };
            let row: usize = row[2..].parse().unwrap();
            let rules = sections.list(section, "rule").iter();
            let here = rules.filter(|rule| {
                section == "nat"
                    || rule.child_text("interface") == Some("wan") && !rule.has_child("floating")
            });
            here.take(row).filter(|rule| !own.contains(rule)).collect()
        })
        .to_vec()
}

fn others<'e>(sections: &'e Sections, section: &str, own: Option<&Placed>) -> Vec<&'e Element> {
    let place = own.map(|placed| placed.index as usize);
    let rules = sections.list(section, "rule").iter().enumerate();
    rules.filter(|(at, _)| Some(*at) != place).map(|(_, rule)| rule).collect()
}

/// Says whether one forward alone is about the service or its port, and one rule alone is joined to it.
fn is_uniquely_linked(sections: &Sections) -> bool {
    let joined = |record: &&Element| record.child_text("associated-rule-id") == Some("nat_1");
    let about = |record: &&Element| {
        let local = record.child_text("local-port").unwrap_or_default();
        record.child_text("interface") == Some("wan")
            && (side_of(record, "port") != "8443" || local != "8443")
            || joined(record)
    };
    let forwards: Vec<&Element> = sections.list("nat", "rule").iter().filter(about).collect();
    let passes: Vec<&Element> = sections.list("filter", "rule").iter().filter(joined).collect();
    matches!((forwards.as_slice(), passes.as_slice()), ([forward], [pass])
        if joined(forward) && forward.child_text("target") == Some("k8s_kms_lb")
            && forward.child_text("ipprotocol") != Some("inet6") && forward.child_text("descr") == Some("KMS") && pass.child_text("descr") == Some("NAT KMS"))
}

/// Says whether another enabled forward has the very address and port of the one that was taken away.
fn is_port_taken(after: &Sections, swap: &Swap) -> bool {
    let own = swap.before.nat.as_ref().map(|own| &own.record);
    let to = own.and_then(|own| own.get("destination"));
    let takes = |rule: &Element| !rule.has_child("disabled") && rule.get("destination") == to;
    swap.after.nat.is_none() && after.list("nat", "rule").iter().any(takes)
}

/// Plans to take a change back that has just been made.
pub(super) fn undo_at_once(
    name: &str,
    draft: &Draft,
    swap: &Swap,
    present: &PlanBasis<'_>,
) -> Result<Planned, Refusal> {
    let group = if matches!(name, "tighten" | "set") { "ratelimit" } else { "expose" };
    let author = Author { command: format!("{group} {name}"), ..author() };
    let plan = Plan::seal(draft.clone(), author, "0");
    let outcome = ChangeOutcome {
        id: plan.id.clone(),
        result: ChangeEnding::Done,
        message: "Written.".into(),
        before: swap.before.clone(),
        after: swap.after.clone(),
        fingerprints: (swap.before.fingerprint(), swap.after.fingerprint()),
        steps: Vec::new(),
        reverts_at: None,
        lost_update: None,
        holder: None,
        reverted: None,
    };
    let mut finish = Finish::new(EndedAs::Done, "Written.");
    finish.outcome = Some(Box::new(outcome.clone()));
    let terms = ChangeOptions::default();
    plan_undo(&done(&plan, finish), &Past::Configuration(*present, terms, Some(&outcome)))
}

/// What plans are made of, where no client is connected.
pub(super) fn basis<'a>(
    configured: &'a Configured,
    exposure: &'a Exposure,
    service: &'a Service,
) -> PlanBasis<'a> {
    PlanBasis { configured, exposure, service, sources: &[], blocked: None }
}

/// Checks every plan of a case; of one that covers something, the closings alone.
fn check_case(sections: &Element, covers: bool) -> Result<(), TestCaseError> {
    let sections = Sections(sections.clone());
    let (configured, exposure, made_before) = judged(&sections);
    let (service, request) = (fixtures::service(), ReadRequest::from(&fixtures::service()));
    let present = basis(&configured, &exposure, &service);
    let caps = |connections, rate: Option<u32>| Caps {
        max_src_conn: Some(connections),
        rate: rate.map(|connections| Rate { connections, seconds: 60 }),
    };
    let wanted = |caps| WantedCaps { caps, preset: None };
    let terms = ChangeOptions::default();
    let plans = [
        ("revoke", plan_revoke(&present, false, false, terms)),
        ("revoke --delete", plan_revoke(&present, true, false, terms)),
        ("restore", plan_restore(&present, None, caps(50, Some(10)), terms)),
        ("tighten", plan_caps(&present, &wanted(caps(10, Some(3))), terms)),
        ("set", plan_caps(&present, &wanted(caps(7, None)), terms)),
        ("apply", plan_apply(&present, caps(50, Some(30)), terms)),
    ];
    for (name, planned) in plans.into_iter().take(if covers { 2 } else { 6 }) {
        if let Err(refusal) = &planned {
            let shown = || format!("{name}: {refusal:?}\n{}", sections.0.canonical_json());
            let opens = refusal.message.starts_with("To disable");
            prop_assert!(
                name != "revoke" || opens || !is_uniquely_linked(&sections),
                "{}",
                shown()
            );
            prop_assert!(refusal.kind != RefusalKind::Usage, "{}", shown());
        }
        let Ok(Planned::Change(draft)) = planned else {
            continue;
        };
        let Operation::Configuration { change, .. } = &draft.operation else {
            panic!("{:?}", draft.operation)
        };
        let shown = || {
            format!(
                "{name}: {change:?}\n{:?} {:#?}\n{}",
                exposure.state,
                draft.differences,
                sections.0.canonical_json()
            )
        };
        let swap = make_swap(&configured, change, &request, &IDS).expect("planned by the edit");
        let Some(after) = swap_records(&sections, &swap) else {
            prop_assert!(false, "not the records: {swap:?}\n{}", shown());
            continue;
        };
        for (section, own) in [
            ("nat", (&swap.before.nat, &swap.after.nat)),
            ("filter", (&swap.before.filter, &swap.after.filter)),
        ] {
            prop_assert_eq!(
                others(&sections, section, own.0.as_ref()),
                others(&after, section, own.1.as_ref()),
                "{}",
                shown()
            );
        }
        let own = [&swap.before.nat, &swap.before.filter, &swap.after.nat, &swap.after.filter];
        prop_assert_eq!(above_bars(&sections, &own), above_bars(&after, &own), "{}", shown());
        let (closed, judged_after, made) = judged(&after);
        let came_true = judged_after.state;
        let comes_in = [0, 1, 77].map(|salt| lets_in(&made.case, salt));
        let shown = || format!("{}\nafter: {came_true:?} {:#?}", shown(), judged_after.paths);
        if change.only_closes() {
            let fault = find_fault_of_closing(&made_before, &made, &draft);
            prop_assert!(fault.is_none(), "{fault:?} {:#?}\n{}", draft.risks, shown());
        }
        if let Some((_, promised)) = draft.turns_exposure() {
            // Whether it is closed, half or absent depends on rules that let nothing in; what comes in does not.
            let class = |state: ExposureState| (state.lets_in(), state == ExposureState::Unknown);
            // Where the port leads to another service afterwards, its state is that one's.
            let is_doubt = promised == ExposureState::Unknown && judged_after.lets_in().is_none();
            if !promised.lets_in() && !is_doubt && !judged_after.elsewhere.loaded {
                prop_assert_eq!(class(promised), class(came_true), "{}", shown());
            }
            if matches!(promised, ExposureState::Closed | ExposureState::Absent) {
                prop_assert!(!comes_in.contains(&true), "called closed: {}", shown());
            }
            if promised.lets_in() {
                let always = !comes_in.contains(&false);
                prop_assert!(always && came_true.lets_in(), "called open: {}", shown());
            }
        }
        let undone = undo_at_once(
            name,
            &draft,
            &swap,
            &PlanBasis { configured: &closed, exposure: &judged_after, ..present },
        );
        let is_undone = if swap.before == swap.after {
            // What only loads the rules has nothing to put back.
            matches!(draft.undo, Undo::Impossible(_))
                && undone.as_ref().is_err_and(|refusal| refusal.kind == RefusalKind::Impossible)
        } else {
            let taken = |refusal: &Refusal| refusal.message.contains("uses this port");
            matches!(undone, Ok(Planned::Change(_)))
                || is_port_taken(&after, &swap) && undone.as_ref().is_err_and(taken)
        };
        prop_assert!(is_undone, "{undone:?}\n{}", shown());
        let back = ConfigurationEdit::PutBack {
            records: Box::new(swap.before.clone()),
            alias: swap.before.alias != swap.after.alias,
        };
        match make_swap(&closed, &back, &request, &IDS) {
            Ok(undo) => {
                let again = swap_records(&after, &undo);
                prop_assert_eq!(again.as_ref(), Some(&sections), "not taken back: {}", shown());
            }
            Err(refusal) => prop_assert!(
                refusal.code == RefusalCode::PortTaken && is_port_taken(&after, &swap),
                "cannot be taken back: {refusal:?}\n{}",
                shown()
            ),
        }
    }
    Ok(())
}

#[test]
fn plans_come_true_and_can_be_taken_back() {
    walk::run_cases(configurations(false), |sections| check_case(&sections, false));
}

#[test]
fn closings_open_nothing_and_shut_nothing_else() {
    walk::run_cases(configurations(true), |sections| check_case(&sections, true));
}
