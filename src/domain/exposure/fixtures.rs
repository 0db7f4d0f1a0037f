//! Hand-made values for unit tests: the user's service, its pair as pfSense 2.7.2 stores it, and the rules that
//! pf loads for it.

#![expect(
    clippy::unnecessary_wraps,
    reason = "most fields that these fill are optional"
)]

use std::net::IpAddr;

use crate::domain::configured::{
    Alias, CapFields, Configured, FilterRule, InterfaceConfig, NatRule, Side,
};
use crate::domain::pf::rule::{
    Action, Direction, Endpoint, Family, Flush, Interface, Overload, Rate, Rule, RuleCounters,
    StateOptions,
};
use crate::domain::pf::table::TableName;
use crate::domain::service::Service;

pub const TRACKER: &str = "1763000004";
pub const ASSOCIATION: &str = "nat_6b02e05bc72229.61817353";

pub fn service() -> Service {
    Service {
        alias: "k8s_kms_lb".into(),
        address: IpAddr::from([10, 0, 20, 202]),
        port: 1688,
        interface: "wan".into(),
        description: "KMS public — kms.viktorbarzin.me".into(),
        host: "kms.viktorbarzin.me".into(),
        table: TableName::new("virusprot").unwrap(),
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
        source: Side {
            any: true,
            ..Side::default()
        },
        destination: Side {
            network: text("wanip"),
            port: text("1688"),
            ..Side::default()
        },
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
        source: Side {
            any: true,
            ..Side::default()
        },
        destination: Side {
            address: text("k8s_kms_lb"),
            port: text("1688"),
            ..Side::default()
        },
        descr: text("NAT KMS public — kms.viktorbarzin.me"),
        association: text(ASSOCIATION),
        statetype: text("keep state"),
        caps: CapFields {
            max: text(""),
            max_src_conn: text("50"),
            max_src_conn_rate: text("10"),
            max_src_conn_rates: text("60"),
            ..CapFields::default()
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

pub fn host(host: &str, port: Option<&str>) -> Endpoint {
    Endpoint {
        negated: false,
        host: host.into(),
        port: port.map(Into::into),
    }
}

pub fn on(name: &str) -> Option<Interface> {
    Some(Interface {
        negated: false,
        name: name.into(),
    })
}

/// A rule that matches every inbound packet.
pub fn rule(action: Action, words: &str) -> Rule {
    Rule {
        number: None,
        bracket: None,
        depth: 0,
        block: false,
        text: words.into(),
        action,
        direction: Some(Direction::In),
        quick: false,
        interface: None,
        reply_to: None,
        family: Some(Family::Inet),
        protocol: None,
        from: host("any", None),
        to: host("any", None),
        keep: None,
        state_options: StateOptions::default(),
        labels: Vec::new(),
        ridentifier: None,
        target: None,
        counters: None,
    }
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
    rule(
        Action::Block,
        "block drop in log inet all label \"Default deny rule IPv4\"",
    )
}

pub fn block_table() -> Rule {
    Rule {
        quick: true,
        family: None,
        from: host("<virusprot>", None),
        ridentifier: Some(1_000_000_400),
        counters: counters(15),
        ..rule(
            Action::Block,
            "block drop in log quick from <virusprot:0> to any label \"virusprot overload table\"",
        )
    }
}

pub fn pass() -> Rule {
    let overload = Overload {
        table: "virusprot".into(),
        flush: Flush::Global,
    };
    Rule {
        quick: true,
        interface: on("vtnet0"),
        protocol: text("tcp"),
        to: host("<k8s_kms_lb>", Some("= 1688")),
        state_options: StateOptions {
            max_src_conn: Some(50),
            max_src_conn_rate: Some(Rate {
                connections: 10,
                seconds: 60,
            }),
            overload: Some(overload),
            ..StateOptions::default()
        },
        ridentifier: Some(1_763_000_004),
        counters: counters(7),
        ..rule(
            Action::Pass,
            "pass in quick on vtnet0 inet proto tcp from any to <k8s_kms_lb:1> port = 1688",
        )
    }
}

pub fn pass_without_caps() -> Rule {
    Rule {
        state_options: StateOptions::default(),
        ..pass()
    }
}

pub fn rdr() -> Rule {
    Rule {
        direction: None,
        interface: on("vtnet0"),
        protocol: text("tcp"),
        to: host("192.168.1.2", Some("= 1688")),
        target: text("<k8s_kms_lb> round-robin"),
        counters: counters(3),
        ..rule(
            Action::Rdr { pass: false },
            "rdr on vtnet0 inet proto tcp from any to 192.168.1.2 port = 1688 -> <k8s_kms_lb> round-robin",
        )
    }
}
