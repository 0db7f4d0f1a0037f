//! What a reload keeps and what it starts anew.

use super::{NOW, client, connect, listed, pf};
use crate::domain::pfsense::change::Element;
use crate::simulator::configuration::{Configuration, generate};
use crate::simulator::pf::{Handshake, SimulatedPf};
use crate::simulator::random::Random;
use crate::simulator::scenario::{KMS, Scenario};
use crate::simulator::traffic::TrafficTarget;

/// Loads the open box's rules with one record of a list changed.
fn reload(pf: &mut SimulatedPf, section: &str, index: usize, edit: impl FnOnce(&mut Element)) {
    let mut configuration = Configuration::shipped(Scenario::Open);
    configuration.tree.edit_list(section, "rule", |rules| edit(&mut rules[index]));
    pf.load(&generate::generate_ruleset(&configuration).unwrap(), NOW + 500);
}

#[test]
fn open_connections_stop_counting_and_new_ones_start_from_zero() {
    let mut pf = pf();
    let (old, _) = connect(&mut pf, TrafficTarget::Kms, 100, NOW).unwrap();
    for port in 101..110 {
        connect(&mut pf, TrafficTarget::Kms, port, NOW).unwrap();
    }
    let number = pf.rule(KMS).unwrap();
    let counted = pf.filter[number].packets;
    reload(&mut pf, "filter", 3, |rule| {
        rule.set_child("max-src-conn", "10");
        rule.set_child("max-src-conn-rate", "3");
    });
    assert!(pf.filter[number].text.contains("max-src-conn 10, max-src-conn-rate 3/60"));
    assert_eq!(pf.states[&old.0].rule.unwrap().number, number);
    assert_eq!((pf.filter[number].packets, pf.states_of(number)), ((0, 0), 0));
    assert_eq!((counted.0, pf.nodes.len()), (20, 1));
    // Ten are open, and yet three more pass: they are the first of the new rule.
    for port in 200..203 {
        let connected = connect(&mut pf, TrafficTarget::Kms, port, NOW + 1000).unwrap();
        assert_eq!(connected.1, Handshake::Passed, "{port}");
    }
    assert_eq!((pf.nodes.len(), pf.nodes[0].connections, pf.nodes[1].connections), (2, 10, 3));
    assert_eq!(
        connect(&mut pf, TrafficTarget::Kms, 203, NOW + 1000).unwrap().1,
        Handshake::Tripped
    );
    assert_eq!(listed(&pf), Some(NOW + 1000));
}

#[test]
fn unchanged_rules_go_on_counting_and_their_states_stay_with_the_old_ones() {
    let mut pf = pf();
    connect(&mut pf, TrafficTarget::Https, 1, NOW).unwrap();
    let number = pf.rule(1_763_000_002).unwrap();
    let before = pf.filter[number].clone();
    reload(&mut pf, "filter", 3, |rule| rule.set_child("disabled", ""));
    let after = &pf.filter[number];
    assert_eq!((after.packets, after.evaluations), (before.packets, before.evaluations));
    assert_eq!((after.creations, pf.states_of(number)), (0, 0));
}

#[test]
fn a_rule_that_is_gone_is_found_by_its_states_until_they_end() {
    let mut pf = pf();
    let (ids, _) = connect(&mut pf, TrafficTarget::Kms, 100, NOW).unwrap();
    reload(&mut pf, "filter", 3, |rule| rule.set_child("disabled", ""));
    assert_eq!(pf.rule(KMS), None);
    let rule = pf.states[&ids.0].rule.unwrap();
    assert_eq!(pf.made_by(rule).unwrap().identifier, Some(KMS));
    let passage = TrafficTarget::Kms.passage(client(101), &mut Random::new(1));
    assert_eq!(pf.open(&passage, NOW + 600), None, "nothing new gets in");
    pf.count_transfer(ids, (1, 1), (40, 40), NOW + 700);
    assert_eq!(pf.states[&ids.0].packets, (3, 2), "what is open goes on");
    pf.remove(ids.0, NOW + 800);
    pf.purge_expired(NOW + 800);
    assert!(pf.made_by(rule).is_some(), "its source node still refers to it");
    pf.purge_expired(NOW + 60_800);
    assert_eq!(pf.made_by(rule), None);
}

#[test]
fn tables_keep_their_entries_and_times() {
    let mut pf = pf();
    let table = pf.table_mut("virusprot").unwrap();
    table.entries.insert("203.0.113.9/32".parse().unwrap(), NOW - 5000);
    let made =
        crate::simulator::pf::table::SimulatedTable::new("mine", "-pa----", &["192.0.2.1"], NOW);
    pf.tables.push(made);
    let before = pf.table("k8s_shared_lb").unwrap().clone();
    reload(&mut pf, "nat", 3, |rule| {
        rule.set_child("target", "k8s_shared_lb");
    });
    assert_eq!(listed(&pf), Some(NOW - 5000));
    assert_eq!(pf.table("k8s_shared_lb"), Some(&before));
    assert!(pf.table("mine").is_some() && pf.table("k8s_kms_lb").is_some());
}

#[test]
fn connections_go_where_the_redirection_leads() {
    let mut pf = pf();
    reload(&mut pf, "nat", 3, |rule| {
        rule.set_child("target", "k8s_shared_lb");
    });
    let passage = TrafficTarget::Kms.passage(client(100), &mut Random::new(1));
    assert_eq!(pf.open(&passage, NOW), None, "the filter rule is for the other address");
    reload(&mut pf, "nat", 3, |rule| {
        rule.set_child("local-port", "1689");
    });
    assert_eq!(pf.open(&passage, NOW), None, "the filter rule is for the other port");
    reload(&mut pf, "nat", 3, |_| {});
    assert!(pf.open(&passage, NOW).is_some());
}

#[test]
fn an_alias_that_nothing_refers_to_leaves_no_table() {
    let ruleset = generate::generate_ruleset(&Configuration::shipped(Scenario::Absent)).unwrap();
    let names: Vec<&str> = ruleset.tables.iter().map(|table| table.name.as_str()).collect();
    assert!(names.contains(&"k8s_shared_lb") && !names.contains(&"k8s_kms_lb"));
}

#[test]
fn half_a_rate_and_nothing_else_does_not_load() {
    let mut configuration = Configuration::shipped(Scenario::Uncapped);
    configuration.tree.edit_list("filter", "rule", |rules| {
        rules[3].set_child("max-src-conn-rate", "10");
    });
    assert!(generate::generate_ruleset(&configuration).is_err());
    configuration.tree.edit_list("filter", "rule", |rules| {
        rules[3].set_child("max-src-conn", "50");
    });
    let rules = generate::generate_ruleset(&configuration).unwrap().filter;
    assert!(
        rules
            .iter()
            .any(|rule| rule.contains("keep state (source-track rule, max-src-conn 50) label"))
    );
}
