//! The configuration each scenario begins with: records in the shapes that pfSense 2.7.2's pages leave, the
//! exposure's pair as one save in the rule editor leaves it, among forwards and rules that are not ours.

use serde_json::{Value, json};

use super::Configuration;
use super::paths::edit_records;
use crate::domain::pfsense::change::Element;
use crate::domain::pfsense::config::Sections;
use crate::simulator::scenario::{HTTPS6, KMS, Scenario};

pub const ASSOCIATION: &str = "nat_6b02e05bc72229.61817353";
const DESCRIPTION: &str = "KMS public — kms.viktorbarzin.me";
/// The target before the service got an address of its own.
const OLD_TARGET: &str = "k8s_shared_lb";
/// The alias of the service.
pub const TARGET: &str = "k8s_kms_lb";

/// Forwards beside the service's: protocol, port, description, association, and their rules' trackers.
const OTHER_FORWARDS: [[&str; 5]; 3] = [
    ["udp", "51820", "WireGuard", "nat_5f3a1c20e0a111.10000001", "1763000001"],
    ["tcp", "443", "HTTPS", "nat_5f3a1c20e0a222.10000002", "1763000002"],
    ["tcp", "465", "smtps", "nat_5f3a1c20e0a333.10000003", "1763000003"],
];

pub fn shipped_configuration(scenario: Scenario) -> Configuration {
    let mut tree = json!({
        "version": "23.3",
        "system": system_section(scenario),
        "interfaces": {
            "wan": {"enable": "", "if": "vtnet0", "descr": "WAN", "ipaddr": "192.168.1.2", "subnet": "24", "gateway": "WANGW"},
            "lan": {"enable": "", "if": "vtnet1", "descr": "LAN", "ipaddr": "10.0.10.1", "subnet": "24"},
            "opt1": {"enable": "", "if": "vtnet2", "descr": "K8S", "ipaddr": "10.0.20.1", "subnet": "24"},
        },
        "revision": {
            "time": "1763000900",
            "description": "admin@10.0.10.5 (Local Database): Firewall: Rules - saved/edited a firewall rule.",
            "username": "admin@10.0.10.5 (Local Database)",
        },
        "hasync": {"synchronizetoip": if scenario == Scenario::HaPeer { "10.0.99.2" } else { "" }},
        "nat": {"outbound": {"mode": "automatic"}, "rule": shipped_forwards(scenario), "separator": {
            "sep0": {"row": ["fr0"], "text": "Published services", "color": "bg-info", "if": "nat"},
            "sep1": {"row": ["fr3"], "text": "Cluster", "color": "bg-warning", "if": "nat"},
        }},
        "filter": {"rule": shipped_rules(scenario), "separator": {
            "wan": {
                "sep0": {"row": ["fr3"], "text": "Cluster", "color": "bg-warning", "if": "wan"},
                "sep1": {"row": ["fr4"], "text": "IPv6", "color": "bg-info", "if": "wan"},
            },
            "lan": "",
        }},
        "aliases": {"alias": shipped_aliases(scenario)},
        "cron": {"item": shipped_cron(scenario)},
    });
    edit_records(scenario, &mut tree);
    let dirty = (scenario == Scenario::Drifted).then(|| "filter".to_owned());
    Configuration {
        tree: Sections(element_of(tree)),
        dirty: dirty.into_iter().collect(),
        history: vec![element_of(json!({
            "time": "1763000004",
            "description": "admin@10.0.10.5 (Local Database): Firewall: NAT: Port Forward - saved/edited a port forward rule.",
            "username": "admin@10.0.10.5 (Local Database)",
        }))],
    }
}

/// The literals are texts, maps and lists, which is all that an element can be.
fn element_of(literal: Value) -> Element {
    serde_json::from_value(literal).unwrap_or_default()
}

fn system_section(scenario: Scenario) -> Value {
    let mut system = json!({"hostname": "pfSense", "domain": "home.arpa", "timezone": "Etc/UTC"});
    if scenario == Scenario::PfDisabled
        && let Some(system) = system.as_object_mut()
    {
        system.insert("disablefilter".to_owned(), json!("enabled"));
    }
    system
}

fn created_stamp(time: &str, username: &str) -> Value {
    json!({"time": time, "username": username})
}

/// A port forward as the NAT page writes it.
pub fn port_forward(
    protocol: &str,
    port: &str,
    target: &str,
    descr: &str,
    association: &str,
) -> Value {
    json!({
        "source": {"any": ""},
        "destination": {"network": "wanip", "port": port},
        "ipprotocol": "inet", "protocol": protocol, "target": target, "local-port": port,
        "interface": "wan", "descr": descr, "associated-rule-id": association,
        "updated": created_stamp("1763000004", "admin@10.0.10.5 (Local Database)"),
        "created": created_stamp("1763000004", "admin@10.0.10.5 (Local Database)"),
    })
}

/// A filter rule as the NAT page writes it.
pub fn linked_rule(
    protocol: &str,
    port: &str,
    target: &str,
    descr: &str,
    association: &str,
    tracker: &str,
) -> Value {
    json!({
        "source": {"any": ""}, "interface": "wan", "ipprotocol": "inet", "protocol": protocol,
        "destination": {"address": target, "port": port},
        "descr": format!("NAT {descr}"), "associated-rule-id": association, "tracker": tracker,
        "created": created_stamp(tracker, "NAT Port Forward"),
    })
}

fn with_disabled(mut record: Value, disabled: bool) -> Value {
    if disabled && let Some(record) = record.as_object_mut() {
        record.insert("disabled".to_owned(), json!(""));
    }
    record
}

fn shipped_forwards(scenario: Scenario) -> Vec<Value> {
    let other = OTHER_FORWARDS.map(|[protocol, port, descr, association, _]| {
        port_forward(protocol, port, OLD_TARGET, descr, association)
    });
    let mut list = Vec::from(other);
    let association = if scenario == Scenario::PassAssociation { "pass" } else { ASSOCIATION };
    let target = if scenario == Scenario::OldTarget { OLD_TARGET } else { TARGET };
    let disabled =
        matches!(scenario, Scenario::Closed | Scenario::HalfFilter | Scenario::UpnpElsewhere);
    if scenario != Scenario::Absent {
        list.push(with_disabled(
            port_forward("tcp", "1688", target, DESCRIPTION, association),
            disabled,
        ));
    }
    list
}

fn shipped_rules(scenario: Scenario) -> Vec<Value> {
    let other = OTHER_FORWARDS.map(|[protocol, port, descr, association, tracker]| {
        linked_rule(protocol, port, OLD_TARGET, descr, association, tracker)
    });
    let mut list = Vec::from(other);
    match scenario {
        Scenario::Absent | Scenario::PassAssociation => {}
        Scenario::OldTarget => list.push(linked_rule(
            "tcp",
            "1688",
            OLD_TARGET,
            DESCRIPTION,
            ASSOCIATION,
            &KMS.to_string(),
        )),
        _ => list.push(edited_rule(scenario)),
    }
    list.extend(other_rules());
    list
}

/// The exposure's rule as the rule editor leaves it: what is not set is there, but empty.
fn edited_rule(scenario: Scenario) -> Value {
    let capped = scenario != Scenario::Uncapped;
    let mut record = json!({
        "id": "", "tracker": KMS.to_string(), "type": "pass", "interface": "wan", "ipprotocol": "inet",
        "tag": "", "tagged": "", "max": "", "max-src-nodes": "",
        "max-src-conn": if capped { "50" } else { "" },
        "max-src-states": "", "statetimeout": "", "statetype": "keep state", "os": "",
        "protocol": "tcp", "source": {"any": ""}, "destination": {"address": TARGET, "port": "1688"},
        "descr": format!("NAT {DESCRIPTION}"), "associated-rule-id": ASSOCIATION,
        "updated": created_stamp("1763000900", "admin@10.0.10.5 (Local Database)"),
        "created": created_stamp(&KMS.to_string(), "NAT Port Forward"),
    });
    let rated = capped && scenario != Scenario::TableMissing;
    if let Some(record) = record.as_object_mut().filter(|_| rated) {
        record.insert("max-src-conn-rate".to_owned(), json!("10"));
        record.insert("max-src-conn-rates".to_owned(), json!("60"));
    }
    let disabled = matches!(scenario, Scenario::Closed | Scenario::Half | Scenario::UpnpElsewhere);
    with_disabled(record, disabled)
}

/// Rules that do not lead to the service's port.
fn other_rules() -> [Value; 3] {
    let plain = |interface: &str, network: &str, descr: &str, tracker: &str| {
        json!({
            "type": "pass", "ipprotocol": "inet", "interface": interface, "descr": descr, "tracker": tracker,
            "source": {"network": network}, "destination": {"any": ""},
        })
    };
    [
        json!({
            "id": "", "tracker": HTTPS6.to_string(), "type": "pass", "interface": "wan", "ipprotocol": "inet6",
            "max": "", "max-src-nodes": "", "max-src-conn": "100", "max-src-states": "", "statetimeout": "",
            "max-src-conn-rate": "20", "max-src-conn-rates": "60", "statetype": "keep state",
            "protocol": "tcp", "source": {"any": ""}, "destination": {"address": "2001:db8:20::44", "port": "443"},
            "descr": "HTTPS over IPv6", "created": created_stamp("1763000005", "admin@10.0.10.5 (Local Database)"),
        }),
        plain("lan", "lan", "Default allow LAN to any rule", "0100000101"),
        plain("opt1", "opt1", "K8S to any", "1762999900"),
    ]
}

fn shipped_aliases(scenario: Scenario) -> Vec<Value> {
    let host = |name: &str, address: &str, descr: &str| json!({"name": name, "type": "host", "address": address, "descr": descr, "detail": descr});
    let mut list = vec![
        host(TARGET, "10.0.20.202", "KMS load balancer"),
        host(OLD_TARGET, "10.0.20.200", "Shared load balancer"),
    ];
    list.retain(|alias| scenario != Scenario::OldTarget || alias["name"] != TARGET);
    list
}

fn shipped_cron(scenario: Scenario) -> Vec<Value> {
    let item = |minute: &str, hour: &str, command: &str| json!({"minute": minute, "hour": hour, "mday": "*", "month": "*", "wday": "*", "who": "root", "command": command});
    let mut list = vec![item("1", "3", "/etc/rc.periodic daily")];
    if !matches!(scenario, Scenario::NoCron | Scenario::TableMissing) {
        let expire = "/usr/bin/nice -n20 /usr/local/sbin/expiretable -v -t 3600 virusprot";
        list.push(item("*/60", "*", expire));
    }
    list
}
