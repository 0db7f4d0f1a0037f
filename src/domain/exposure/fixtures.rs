//! Hand-made values for unit tests: the user's service, its pair as pfSense 2.7.2 stores it, and the rules that
//! pf loads for it.

#![expect(clippy::unnecessary_wraps, reason = "most fields that these fill are optional")]

use std::net::IpAddr;

use crate::domain::pf::rule::{Endpoint, Interface, Rule, RuleCounters, StateOptions, parse_one};
use crate::domain::pf::table::TableName;
use crate::domain::pfsense::configured::{
    Alias, CapFields, Configured, FilterRule, InterfaceConfig, NatRule, Side,
};
use crate::domain::service::Service;

pub const TRACKER: &str = "1763000004";
pub const ASSOCIATION: &str = "nat_6b02e05bc72229.61817353";

pub fn service() -> Service {
    Service {
        alias: "k8s_kms_lb".into(),
        address: IpAddr::from([10, 0, 20, 202]),
        port: 1688,
        interface: "wan".into(),
        outside: Vec::new(),
        description: "KMS public — kms.viktorbarzin.me".into(),
        host: "kms.viktorbarzin.me".into(),
        table: TableName::new("virusprot").unwrap(),
        speaks_kms: true,
    }
}

pub fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

pub fn nat_rule() -> NatRule {
    NatRule {
        index: 3,
        interface: "wan".into(),
        ipprotocol: text("inet"),
        protocol: text("tcp"),
        source: Side { any: true, ..Side::default() },
        destination: Side { network: text("wanip"), port: text("1688"), ..Side::default() },
        target: text("k8s_kms_lb"),
        local_port: text("1688"),
        descr: text("KMS public — kms.viktorbarzin.me"),
        association: text(ASSOCIATION),
        ..NatRule::default()
    }
}

pub fn filter_rule() -> FilterRule {
    FilterRule {
        index: 7,
        tracker: text(TRACKER),
        kind: text("pass"),
        interface: text("wan"),
        ipprotocol: text("inet"),
        protocol: text("tcp"),
        source: Side { any: true, ..Side::default() },
        destination: Side { address: text("k8s_kms_lb"), port: text("1688"), ..Side::default() },
        descr: text("NAT KMS public — kms.viktorbarzin.me"),
        association: text(ASSOCIATION),
        statetype: text("keep state"),
        caps: CapFields {
            max_src_conn: text("50"),
            max_src_conn_rate: text("10"),
            max_src_conn_rates: text("60"),
        },
        ..FilterRule::default()
    }
}

pub fn configured() -> Configured {
    Configured {
        nat: vec![nat_rule()],
        filter: vec![filter_rule()],
        alias: Some(Alias {
            name: "k8s_kms_lb".into(),
            kind: text("host"),
            address: text("10.0.20.202"),
        }),
        interface: Some(InterfaceConfig {
            name: "wan".into(),
            device: text("vtnet0"),
            ..InterfaceConfig::default()
        }),
        ..Configured::default()
    }
}

/// Fills the lists of every record, where a test has said only which ones concern the service.
pub fn fill_lists(configured: &mut Configured) {
    if configured.all_nat.is_empty() {
        configured.all_nat.clone_from(&configured.nat);
    }
    if configured.all_filter.is_empty() {
        configured.all_filter.clone_from(&configured.filter);
    }
}

pub fn host(host: &str, port: Option<&str>) -> Endpoint {
    Endpoint { host: host.into(), port: port.map(Into::into), ..Endpoint::default() }
}

pub fn on(name: &str) -> Option<Interface> {
    Some(Interface { negated: false, name: name.into() })
}

/// Reads a rule as pfctl prints it.
pub fn printed(text: &str) -> Rule {
    parse_one(text).unwrap()
}

pub fn counters(number: u64) -> Option<RuleCounters> {
    Some(RuleCounters {
        evaluations: number,
        packets: number,
        bytes: number,
        states: number,
        state_creations: number,
        ..RuleCounters::default()
    })
}

pub fn default_deny() -> Rule {
    printed("block drop in log inet all label \"Default deny rule IPv4\" ridentifier 1000000103")
}

pub fn block_table() -> Rule {
    let text = "block drop in log quick from <virusprot:0> to any label \"virusprot overload table\" ridentifier 1000000400";
    Rule { counters: counters(15), ..printed(text) }
}

pub fn pass() -> Rule {
    let text = "pass in quick on vtnet0 reply-to (vtnet0 192.168.1.1) inet proto tcp from any to <k8s_kms_lb:1> port = 1688 \
                flags S/SA keep state (source-track rule, max-src-conn 50, max-src-conn-rate 10/60, overload <virusprot> \
                flush global, src.track 60) label \"USER_RULE: NAT KMS public — kms.viktorbarzin.me\" \
                label \"id:1763000004\" ridentifier 1763000004";
    Rule { counters: counters(7), ..printed(text) }
}

pub fn pass_without_caps() -> Rule {
    Rule { state_options: StateOptions::default(), ..pass() }
}

pub fn rdr() -> Rule {
    let text = "rdr on vtnet0 inet proto tcp from any to 192.168.1.2 port = 1688 -> <k8s_kms_lb> round-robin";
    Rule { counters: counters(3), ..printed(text) }
}
