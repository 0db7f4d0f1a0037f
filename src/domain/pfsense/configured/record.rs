//! Rules read from raw records, field by field: what was saved can then be judged
//! like what is configured.

use super::{Alias, CapFields, FilterRule, NatRule, Side};
use crate::domain::pfsense::change::Element;
use crate::domain::pfsense::edit::CAP_KEYS;

impl NatRule {
    /// Reads a record of `nat/rule` that stands at this index.
    pub fn of_record(index: u32, rule: &Element) -> Self {
        Self {
            index,
            disabled: rule.has_child("disabled"),
            nordr: rule.has_child("nordr"),
            interface: owned_text(rule, "interface").unwrap_or_default(),
            ipprotocol: owned_text(rule, "ipprotocol"),
            protocol: owned_text(rule, "protocol"),
            source: Side::of_record(rule, "source"),
            destination: Side::of_record(rule, "destination"),
            target: owned_text(rule, "target"),
            local_port: owned_text(rule, "local-port"),
            descr: owned_text(rule, "descr"),
            association: owned_text(rule, "associated-rule-id"),
            natreflection: owned_text(rule, "natreflection"),
        }
    }
}

impl FilterRule {
    /// Reads a record of `filter/rule` that stands at this index.
    pub fn of_record(index: u32, rule: &Element) -> Self {
        Self {
            index,
            tracker: owned_text(rule, "tracker"),
            kind: owned_text(rule, "type"),
            disabled: rule.has_child("disabled"),
            floating: rule.has_child("floating"),
            quick: rule.has_child("quick"),
            direction: owned_text(rule, "direction"),
            interface: owned_text(rule, "interface"),
            ipprotocol: owned_text(rule, "ipprotocol"),
            protocol: owned_text(rule, "protocol"),
            source: Side::of_record(rule, "source"),
            destination: Side::of_record(rule, "destination"),
            descr: owned_text(rule, "descr"),
            association: owned_text(rule, "associated-rule-id"),
            statetype: owned_text(rule, "statetype"),
            sched: owned_text(rule, "sched"),
            caps: CapFields {
                max_src_conn: owned_text(rule, CAP_KEYS[0]),
                max_src_conn_rate: owned_text(rule, CAP_KEYS[1]),
                max_src_conn_rates: owned_text(rule, CAP_KEYS[2]),
            },
            conditions: conditions(rule),
        }
    }
}

impl Side {
    pub fn of_record(rule: &Element, key: &str) -> Self {
        let Some(side) = rule.get(key) else {
            return Self::default();
        };
        Self {
            any: side.has_child("any"),
            network: owned_text(side, "network"),
            address: owned_text(side, "address"),
            port: owned_text(side, "port"),
            not: side.has_child("not"),
        }
    }
}

/// Elements of a filter rule that limit or mark its traffic beside the three caps; one that is there without a value counts
/// only where that means yes.
const CONDITIONS: [(&str, bool); 27] = [
    ("max", false),
    ("max-src-nodes", false),
    ("max-src-states", false),
    ("statetimeout", false),
    ("statepolicy", false),
    ("os", false),
    ("tagged", false),
    ("nottagged", true),
    ("tag", false),
    ("sched", false),
    ("gateway", false),
    ("dscp", false),
    ("vlanprio", false),
    ("vlanprioset", false),
    ("tcpflags1", false),
    ("tcpflags2", false),
    ("tcpflags_any", true),
    ("icmptype", false),
    ("allowopts", true),
    ("disablereplyto", true),
    ("nopfsync", true),
    ("nosync", true),
    ("dnpipe", false),
    ("pdnpipe", false),
    ("ackqueue", false),
    ("defaultqueue", false),
    ("l7container", false),
];

fn conditions(rule: &Element) -> Vec<(&'static str, String)> {
    let value = |(key, is_flag): &(&'static str, bool)| {
        let text = rule.child_text(key).map(str::trim).unwrap_or_default();
        let counts = rule.has_child(key) && (*is_flag || !text.is_empty());
        counts.then(|| (*key, text.to_owned()))
    };
    CONDITIONS.iter().filter_map(value).collect()
}

impl Alias {
    /// Reads a record of `aliases/alias`.
    pub fn of_record(record: &Element) -> Self {
        Self {
            name: owned_text(record, "name").unwrap_or_default(),
            kind: owned_text(record, "type"),
            address: owned_text(record, "address"),
        }
    }
}

fn owned_text(record: &Element, key: &str) -> Option<String> {
    record.child_text(key).map(str::to_owned)
}
