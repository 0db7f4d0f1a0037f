//! Rules read from raw records, field by field: what was saved can then be judged
//! like what is configured.

use super::{Alias, CapFields, FilterRule, NatRule, OneToOne, Side};
use crate::domain::pfsense::change::Element;
use crate::domain::pfsense::edit::CAP_KEYS;

impl NatRule {
    /// Reads a record of `nat/rule` that stands at this index.
    pub fn of_record(index: u32, rule: &Element) -> Self {
        Self {
            index,
            disabled: rule.has("disabled"),
            nordr: rule.has("nordr"),
            interface: owned(rule, "interface").unwrap_or_default(),
            ipprotocol: owned(rule, "ipprotocol"),
            protocol: owned(rule, "protocol"),
            source: Side::of_record(rule, "source"),
            destination: Side::of_record(rule, "destination"),
            target: owned(rule, "target"),
            local_port: owned(rule, "local-port"),
            descr: owned(rule, "descr"),
            association: owned(rule, "associated-rule-id"),
            natreflection: owned(rule, "natreflection"),
        }
    }
}

impl FilterRule {
    /// Reads a record of `filter/rule` that stands at this index.
    pub fn of_record(index: u32, rule: &Element) -> Self {
        Self {
            index,
            tracker: owned(rule, "tracker"),
            kind: owned(rule, "type"),
            disabled: rule.has("disabled"),
            floating: rule.has("floating"),
            quick: rule.has("quick"),
            direction: owned(rule, "direction"),
            interface: owned(rule, "interface"),
            ipprotocol: owned(rule, "ipprotocol"),
            protocol: owned(rule, "protocol"),
            source: Side::of_record(rule, "source"),
            destination: Side::of_record(rule, "destination"),
            descr: owned(rule, "descr"),
            association: owned(rule, "associated-rule-id"),
            statetype: owned(rule, "statetype"),
            sched: owned(rule, "sched"),
            gateway: owned(rule, "gateway"),
            os: owned(rule, "os"),
            tagged: owned(rule, "tagged"),
            caps: CapFields {
                max: owned(rule, "max"),
                max_src_nodes: owned(rule, "max-src-nodes"),
                max_src_conn: owned(rule, CAP_KEYS[0]),
                max_src_states: owned(rule, "max-src-states"),
                max_src_conn_rate: owned(rule, CAP_KEYS[1]),
                max_src_conn_rates: owned(rule, CAP_KEYS[2]),
                statetimeout: owned(rule, "statetimeout"),
            },
            conditions: conditions(rule),
        }
    }
}

impl Side {
    /// Reads the side of a rule that stands under this key.
    pub fn of_record(rule: &Element, key: &str) -> Self {
        let Some(side) = rule.get(key) else {
            return Self::default();
        };
        Self {
            any: side.has("any"),
            network: owned(side, "network"),
            address: owned(side, "address"),
            port: owned(side, "port"),
            not: side.has("not"),
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
        let text = rule.text(key).map(str::trim).unwrap_or_default();
        let counts = rule.has(key) && (*is_flag || !text.is_empty());
        counts.then(|| (*key, text.to_owned()))
    };
    CONDITIONS.iter().filter_map(value).collect()
}

impl Alias {
    /// Reads a record of `aliases/alias`.
    pub fn of_record(record: &Element) -> Self {
        Self {
            name: owned(record, "name").unwrap_or_default(),
            kind: owned(record, "type"),
            address: owned(record, "address"),
        }
    }
}

impl OneToOne {
    /// Reads a record of `nat/onetoone`.
    pub fn of_record(record: &Element) -> Self {
        Self {
            disabled: record.has("disabled"),
            exception: record.has("nobinat"),
            interface: owned(record, "interface").unwrap_or_default(),
            ipprotocol: owned(record, "ipprotocol"),
            external: owned(record, "external"),
            source: Side::of_record(record, "source"),
            destination: Side::of_record(record, "destination"),
            descr: owned(record, "descr"),
        }
    }
}

fn owned(record: &Element, key: &str) -> Option<String> {
    record.text(key).map(str::to_owned)
}
