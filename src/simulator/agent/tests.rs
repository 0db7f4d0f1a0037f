//! What the simulated box's PHP reads and changes.

mod changes;
mod refusals;
mod rollbacks;

use std::net::IpAddr;

use super::run_agent;
use crate::domain::pf::table::TableName;
use crate::domain::pfsense::configured::{CapFields, Configured, FilterRule, NatRule, Side};
use crate::domain::shell_word::ShellWord;
use crate::pfsense::agent;
use crate::pfsense::agent::ReadRequest;
use crate::simulator::scenario::{KMS, Scenario};
use crate::simulator::world::World;
use crate::ssh::script::Nonce;

/// The moment of these tests, in epoch milliseconds.
const NOW: i64 = 1_790_000_000_000;
const ASSOCIATION: &str = "nat_6b02e05bc72229.61817353";
const DESCRIPTION: &str = "KMS public — kms.viktorbarzin.me";

fn request() -> ReadRequest {
    ReadRequest {
        alias: "k8s_kms_lb".into(),
        address: IpAddr::from([10, 0, 20, 202]),
        port: 1688,
        interface: "wan".into(),
        table: TableName::new("virusprot").unwrap(),
    }
}

fn asked(scenario: Scenario, request: &ReadRequest) -> crate::simulator::pfctl::PfctlOutput {
    let mut world = World::fresh_world(scenario, 1, NOW);
    let php = ShellWord::fixed("/usr/local/bin/php");
    run_agent(&mut world, &[], &agent::read_command(request, &php, &Nonce::new([7; 16])).input)
}

fn read(scenario: Scenario) -> Configured {
    let output = asked(scenario, &request());
    agent::parse_agent_answer(&output.stdout, &Nonce::new([7; 16]), &request()).unwrap()
}

#[test]
fn the_pair_is_read_as_the_rule_editor_leaves_it() {
    assert_eq!(asked(Scenario::PhpMissing, &request()).status, 127);
    let configured = read(Scenario::Open);
    assert_eq!(configured.nat, [nat_rule()]);
    assert_eq!(configured.filter, [configured_rule()]);
    assert_eq!(configured.cron.len(), 1);
    assert_eq!(configured.interface.unwrap().device.as_deref(), Some("vtnet0"));
    assert_eq!(configured.revision.time.as_deref(), Some("1763000900"));
    assert!(configured.dirty.is_empty() && !configured.ha_peer && !configured.filter_disabled);
    assert_eq!(read(Scenario::Drifted).dirty, ["filter"]);
    assert!(read(Scenario::HaPeer).ha_peer && read(Scenario::PfDisabled).filter_disabled);
    assert!(read(Scenario::NoCron).cron.is_empty() && read(Scenario::OldTarget).alias.is_none());
}

#[test]
fn leaves_out_what_another_service_did_not_ask_for() {
    let other = ReadRequest {
        alias: "other".into(),
        address: IpAddr::from([10, 0, 20, 9]),
        port: 8443,
        ..request()
    };
    let configured = agent::parse_agent_answer(
        &asked(Scenario::Open, &other).stdout,
        &Nonce::new([7; 16]),
        &other,
    )
    .unwrap();
    assert_eq!((configured.nat.len(), configured.filter.len(), configured.alias), (0, 0, None));
}

#[test]
fn other_scripts_do_not_run() {
    let mut world = World::fresh_world(Scenario::Open, 1, NOW);
    assert_eq!(run_agent(&mut world, &[], b"<?php phpinfo();").status, 255);
}

fn nat_rule() -> NatRule {
    NatRule {
        index: 3,
        disabled: false,
        nordr: false,
        interface: "wan".to_owned(),
        ipprotocol: Some("inet".to_owned()),
        protocol: Some("tcp".to_owned()),
        source: Side { any: true, ..Side::default() },
        destination: Side {
            network: Some("wanip".to_owned()),
            port: Some("1688".to_owned()),
            ..Side::default()
        },
        target: Some("k8s_kms_lb".to_owned()),
        local_port: Some("1688".to_owned()),
        descr: Some(DESCRIPTION.to_owned()),
        association: Some(ASSOCIATION.to_owned()),
        natreflection: None,
    }
}

fn configured_rule() -> FilterRule {
    let caps = CapFields {
        max_src_conn: Some("50".to_owned()),
        max_src_conn_rate: Some("10".to_owned()),
        max_src_conn_rates: Some("60".to_owned()),
    };
    FilterRule {
        index: 3,
        tracker: Some(KMS.to_string()),
        kind: Some("pass".to_owned()),
        interface: Some("wan".to_owned()),
        ipprotocol: Some("inet".to_owned()),
        protocol: Some("tcp".to_owned()),
        source: Side { any: true, ..Side::default() },
        destination: Side {
            address: Some("k8s_kms_lb".to_owned()),
            port: Some("1688".to_owned()),
            ..Side::default()
        },
        descr: Some(format!("NAT {DESCRIPTION}")),
        association: Some(ASSOCIATION.to_owned()),
        statetype: Some("keep state".to_owned()),
        caps,
        ..FilterRule::default()
    }
}
