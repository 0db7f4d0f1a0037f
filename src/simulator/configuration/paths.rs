//! The scenarios with another path into the service, or another shape of the pair: the open box with a few records edited.
//! Each is a shape that people publish.

use serde_json::{Value, json};

use super::shipped::{ASSOCIATION, TARGET, linked_rule, port_forward};
use crate::simulator::scenario::Scenario;

/// Where the pair's records stand.
const FORWARD: &str = "/nat/rule/3";
const RULE: &str = "/filter/rule/3";
const FORWARDS: &str = "/nat/rule";
const RULES: &str = "/filter/rule";
const ALIASES: &str = "/aliases/alias";
/// The tracker of a further rule.
const OTHER: &str = "1763000009";

/// Edits the configuration of the open box.
pub fn edit_records(scenario: Scenario, tree: &mut Value) {
    let named = |port: &str| json!({"address": TARGET, "port": port});
    let pass = |descr: &str, changes: Value| {
        merged(
            linked_rule("tcp", "1688", TARGET, descr, "", OTHER),
            merged(json!({"type": "pass", "descr": descr}), changes),
        )
    };
    match scenario {
        Scenario::Floating => {
            merge(tree, FORWARD, json!({"associated-rule-id": ""}));
            let floating = json!({
                "floating": "yes", "direction": "in", "quick": "yes",
                "descr": "Rate-limited KMS", "associated-rule-id": "",
            });
            merge(tree, RULE, floating);
        }
        Scenario::Group => {
            add_second_wan(tree, Some(""));
            add_uplinks(tree);
            let rule = tree.pointer(RULE).cloned().unwrap_or_default();
            let changes = json!({
                "interface": "Uplinks", "tracker": OTHER, "descr": "KMS on every uplink", "associated-rule-id": "",
            });
            insert(tree, RULES, 4, merged(rule, changes));
        }
        Scenario::GroupForward => {
            let association = "nat_6b02e05bc7f001.10000005";
            add_second_wan(tree, None);
            add_uplinks(tree);
            let forward = port_forward("tcp", "21688", TARGET, "KMS on every uplink", association);
            let destination = json!({"any": "", "port": "21688"});
            let changes =
                json!({"interface": "Uplinks", "destination": destination, "local-port": "1688"});
            insert(tree, FORWARDS, 4, merged(forward, changes));
            let rule = tree.pointer(RULE).cloned().unwrap_or_default();
            let changes = json!({
                "interface": "Uplinks", "tracker": OTHER, "descr": "NAT KMS on every uplink",
                "associated-rule-id": association,
            });
            insert(tree, RULES, 4, merged(rule, changes));
        }
        Scenario::NestedAlias => {
            merge(tree, &format!("{ALIASES}/0"), json!({"address": "kms_real"}));
            let inner = json!({"name": "kms_real", "type": "host", "address": "10.0.20.202", "descr": "", "detail": ""});
            insert(tree, ALIASES, 2, inner);
        }
        Scenario::OneToOne => {
            let pair = json!([{
                "external": "192.168.1.9", "source": {"address": "10.0.20.202"}, "destination": {"any": ""},
                "interface": "wan", "descr": "KMS load balancer",
            }]);
            merge(tree, "/nat", json!({"onetoone": pair}));
            let changes = json!({"destination": {"address": "10.0.20.202"}});
            insert(tree, RULES, 4, pass("Everything to the load balancer", changes));
        }
        Scenario::OtherPort => {
            let forward = port_forward("tcp", "21688", TARGET, "KMS for the branch office", "");
            let forward = merged(forward, json!({"local-port": "1688"}));
            insert(tree, FORWARDS, 4, forward);
        }
        Scenario::PortAlias => {
            let alias = json!({"name": "KMS_port", "type": "port", "address": "1688", "descr": "", "detail": ""});
            insert(tree, ALIASES, 2, alias);
            let destination = json!({"network": "wanip", "port": "KMS_port"});
            let forward = json!({"destination": destination, "local-port": "KMS_port"});
            merge(tree, FORWARD, forward);
            merge(tree, RULE, json!({"destination": named("KMS_port")}));
        }
        Scenario::Routed => {
            let alias = json!({"address": "10.0.20.202 2001:db8:20::ca", "detail": "KMS load balancer||over IPv6"});
            merge(tree, &format!("{ALIASES}/0"), alias);
            insert(tree, RULES, 4, pass("KMS over IPv6", json!({"ipprotocol": "inet6"})));
        }
        Scenario::SecondWan => {
            let association = "nat_6b02e05bc7f001.10000004";
            add_second_wan(tree, Some(association));
            let changes = json!({"interface": "opt2", "associated-rule-id": association});
            insert(tree, RULES, 4, pass("NAT KMS over WAN2", changes));
        }
        Scenario::Shadowed => {
            let block = pass("No KMS during the audit", json!({"type": "block"}));
            insert(tree, RULES, 3, block);
        }
        Scenario::SharedAssociation => {
            let forward = port_forward("tcp", "8443", "10.0.20.50", "Monitoring", ASSOCIATION);
            insert(tree, FORWARDS, 4, forward);
        }
        Scenario::Upnp | Scenario::UpnpElsewhere => {
            merge(tree, "", json!({"installedpackages": {"miniupnpd": {"enable": "on"}}}));
        }
        _ => {}
    }
}

/// Returns the filter rule and the redirection in UPnP's anchor by which a machine inside has had this port opened for its KMS
/// server, as miniupnpd writes them.
pub fn upnp_rules(address: &str, port: u16) -> [String; 2] {
    let on = "on vtnet0 inet proto tcp from any to";
    [
        format!(
            "pass in quick {on} {address} port = 1688 flags S/SA keep state label \"KMS\" rtable 0"
        ),
        format!(
            "rdr {on} any port = {port} keep state label \"KMS\" rtable 0 -> {address} port 1688"
        ),
    ]
}

/// Adds the group of both uplinks.
fn add_uplinks(tree: &mut Value) {
    let groups = json!([{"ifname": "Uplinks", "members": "wan opt2", "descr": ""}]);
    merge(tree, "", json!({"ifgroups": {"ifgroupentry": groups}}));
}

/// Adds a second uplink, with a forward to the service where its association is given.
fn add_second_wan(tree: &mut Value, association: Option<&str>) {
    let interface = json!({
        "enable": "", "if": "vtnet3", "descr": "WAN2", "ipaddr": "203.0.113.2", "subnet": "29", "gateway": "WAN2GW",
    });
    merge(tree, "/interfaces", json!({"opt2": interface}));
    let Some(association) = association else { return };
    let forward = port_forward("tcp", "1688", TARGET, "KMS over WAN2", association);
    let destination = json!({"network": "opt2ip", "port": "1688"});
    let changes = json!({"interface": "opt2", "destination": destination});
    insert(tree, FORWARDS, 4, merged(forward, changes));
}

fn merged(mut record: Value, changes: Value) -> Value {
    merge(&mut record, "", changes);
    record
}

/// Sets fields of the record at a place.
fn merge(tree: &mut Value, place: &str, changes: Value) {
    if let (Some(Value::Object(record)), Value::Object(changes)) =
        (tree.pointer_mut(place), changes)
    {
        record.extend(changes);
    }
}

fn insert(tree: &mut Value, place: &str, index: usize, record: Value) {
    if let Some(Value::Array(list)) = tree.pointer_mut(place) {
        list.insert(index.min(list.len()), record);
    }
}
