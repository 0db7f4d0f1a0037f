//! Against real pfctl output: each named sample is run on a box prepared like the one it was taken from.

use jiff::Timestamp;

use super::{PfctlOutput, run_pfctl};
use crate::simulator::pf::table::SimulatedTable;
use crate::simulator::scenario::Scenario;
use crate::simulator::world::World;

const MANIFEST: &str = include_str!("../../../tests/fixtures/pfctl/MANIFEST.tsv");

fn at(text: &str) -> i64 {
    text.parse::<Timestamp>().unwrap().as_millisecond()
}

/// The box of the samples, as far as its tables go.
fn sampled() -> World {
    let now = at("2025-10-09T08:53:20Z");
    let mut world = World::fresh_world(Scenario::Open, 1, now);
    let virusprot = world.pf.table_mut("virusprot").unwrap();
    let old = ["198.51.100.23", "198.51.100.25", "2001:db8:ffff::77"];
    *virusprot = SimulatedTable::new("virusprot", "--a-r--", &old, at("2025-10-09T06:06:40Z"));
    virusprot.entries.insert("203.0.113.77/32".parse().unwrap(), at("2025-10-09T08:53:10Z"));
    virusprot.entries.insert("203.0.113.78/32".parse().unwrap(), now);
    let blocked = ["198.51.100.66", "203.0.113.128/25", "2001:db8:bad::/48"];
    world.pf.tables.push(SimulatedTable::new("Blocked_Hosts", "-pa-r--", &blocked, now));
    world.pf.tables.push(SimulatedTable::new("consttbl", "c-a----", &["192.0.2.1"], now));
    world
}

fn pfctl(world: &mut World, command: &str) -> PfctlOutput {
    let arguments: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
    run_pfctl(world, &arguments, b"")
}

fn sample(file: &str) -> String {
    if file == "-" {
        return String::new();
    }
    std::fs::read_to_string(format!("{}/tests/fixtures/pfctl/{file}", env!("CARGO_MANIFEST_DIR")))
        .unwrap()
}

/// Runs a sample's command and compares all three things it gave.
fn check(name: &str, world: &mut World) {
    let row = MANIFEST
        .lines()
        .map(|line| line.split('\t').collect::<Vec<_>>())
        .find(|row| row[0] == name && row[1] == "14");
    let row = row.unwrap_or_else(|| panic!("no sample {name}"));
    let command = row[5].split_once("pfctl").unwrap().1;
    let output = pfctl(world, command);
    assert_eq!(String::from_utf8(output.stdout).unwrap(), sample(row[3]), "{name}: stdout");
    assert_eq!(String::from_utf8(output.stderr).unwrap(), sample(row[4]), "{name}: stderr");
    assert_eq!(output.status.to_string(), row[2], "{name}: exit status");
}

#[test]
fn the_anchor_of_upnp_has_rules_of_its_own() {
    let asked =
        |scenario: Scenario, command: &str| pfctl(&mut World::fresh_world(scenario, 1, 0), command);
    for (command, rule) in [("-a miniupnpd -sn", "rdr on "), ("-aminiupnpd -sr", "pass in ")] {
        let output = asked(Scenario::Upnp, command);
        assert!(output.stdout.starts_with(rule.as_bytes()), "{command}");
        assert_eq!((output.stderr, output.status), (Vec::new(), 0), "{command}");
        let missing = asked(Scenario::Open, command);
        assert_eq!((missing.stdout, missing.status), (Vec::new(), 0), "{command}");
        assert_eq!(missing.stderr, b"pfctl: DIOCGETRULES: Invalid argument\n");
    }
    let refused = asked(Scenario::Upnp, "-a miniupnpd -vvss");
    assert_eq!(refused.status, 1, "an anchor has no states of its own");
}

#[test]
fn messages_and_exit_codes_are_pfctls() {
    for name in [
        "K-none",
        "T-add-const",
        "T-add-existing",
        "T-add-newtable",
        "T-delete-badaddr",
        "T-delete-missing-addr",
        "T-delete-missing-table",
        "T-delete-mixed",
        "T-delete-noargs",
        "T-delete-v",
        "T-show",
        "T-show-empty",
        "T-show-empty-v",
        "T-show-missing",
        "T-show-negated-nets",
        "T-show-v",
        "T-show-vv",
        "T-test-hit",
        "T-test-miss",
        "T-test-mixed-v",
        "T-test-mixed-vv",
        "T-test-net",
    ] {
        check(name, &mut sampled());
    }
}

#[test]
fn samples_that_need_a_box_in_another_condition() {
    let mut empty = sampled();
    empty.pf.table_mut("virusprot").unwrap().entries.clear();
    check("T-add-1", &mut empty.clone());
    check("T-add-3", &mut empty.clone());
    check("T-add-mixed-v", &mut {
        let mut one = sampled();
        one.pf
            .table_mut("virusprot")
            .unwrap()
            .entries
            .retain(|net, _| net.to_string() != "203.0.113.78/32");
        one
    });
    let mut denied = sampled();
    denied.scenario = Scenario::Denied;
    check("perm-denied", &mut denied);
}

#[test]
fn loaded_rules_print_as_the_generated_ones() {
    let mut world = sampled();
    let generated = include_str!("../../../tests/fixtures/pfsense-2.7.2/sr-P.txt");
    let plain = String::from_utf8(pfctl(&mut world, "-sr -P").stdout).unwrap();
    // The added IPv6 rule, and four anti-spoofing rules with the networks of this box.
    let strange: Vec<&str> =
        plain.lines().filter(|line| !generated.lines().any(|other| other == *line)).collect();
    assert_eq!(strange.len(), 5, "{strange:#?}");
    let translation = include_str!("../../../tests/fixtures/pfsense-2.7.2/sn-P.txt");
    assert_eq!(String::from_utf8(pfctl(&mut world, "-Psn").stdout).unwrap(), translation);
    let counted = String::from_utf8(pfctl(&mut world, "-vvPsr").stdout).unwrap();
    assert!(counted.contains("@0 scrub from any to <vpn_networks:*> fragment no reassemble\n"));
    assert!(counted.contains("@54 block drop in log quick from <virusprot:5> to any label"));
    assert!(counted.contains("overload <virusprot> flush global"));
}

#[test]
fn status_lines_stand_where_pfctls_do() {
    // Numbers are right-aligned, so that blanks in their place leave all else where it is.
    let shape = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.contains("0x"));
        lines
            .map(|line| line.replace(|letter: char| letter.is_ascii_digit() || letter == '.', " "))
            .collect()
    };
    let mut world = sampled();
    world.pf.since = world.now - 1_234_567_000;
    for (command, file) in [("-vsi", "si-v.14.txt"), ("-si", "si.14.txt")] {
        let printed = String::from_utf8(pfctl(&mut world, command).stdout).unwrap();
        assert_eq!(shape(&printed), shape(&sample(file)), "{command}");
    }
}

#[test]
fn what_kmsctl_never_asks_is_refused() {
    for command in [
        "-F states",
        "-t virusprot -T show -n",
        "-ss -i vtnet0",
        "-k 198.51.100.200",
        "-K 192.0.2.1 -K 192.0.2.2",
        "-sr -a openvpn",
        "-Z",
        "-s nosuch",
        "-T show",
        "-t virusprot",
        "-t virusprot -T load",
        "-sr virusprot",
        "-k label",
        "-k id -k 1 -k 2",
    ] {
        let output = pfctl(&mut sampled(), command);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("not supported by the simulated"), "{command}: {said}");
        assert_eq!((output.status, output.stdout.len()), (1, 0), "{command}");
    }
}

#[test]
fn options_join_abbreviate_and_end() {
    let mut world = sampled();
    let states = pfctl(&mut world, "-ss");
    assert_eq!(pfctl(&mut world, "-s states"), states);
    assert_eq!(pfctl(&mut world, "-s s"), states);
    assert_eq!(pfctl(&mut world, "-s S"), pfctl(&mut world, "-sSources"));
    assert_eq!(
        pfctl(&mut world, "-tvirusprot -Tshow -v"),
        pfctl(&mut world, "-v -t virusprot -T s")
    );
}

#[test]
fn addresses_come_from_standard_input_too() {
    let mut world = sampled();
    let arguments = ["-t", "virusprot", "-T", "delete", "-f", "-"].map(str::to_owned);
    let output = run_pfctl(&mut world, &arguments, b"203.0.113.77 # the office\n192.0.2.1\n");
    assert_eq!(output.stderr, b"1/2 addresses deleted.\n");
}

#[test]
fn kills_go_by_label_and_id() {
    let mut world = sampled();
    let states = |world: &mut World, filter: &str| {
        let text = String::from_utf8(pfctl(world, "-ss").stdout).unwrap();
        text.lines().filter(|line| line.contains(filter)).count()
    };
    let said = |world: &mut World, command: &str| {
        let output = pfctl(world, command);
        assert_eq!((output.status, output.stdout.len()), (0, 0), "{command}");
        String::from_utf8(output.stderr).unwrap()
    };
    // By label: the states of that rule only.
    let by_rule = states(&mut world, "(192.168.1.2:1688)");
    assert!(by_rule > 0);
    let killed = said(&mut world, "-k label -k id:1763000004");
    assert_eq!(killed, format!("killed {by_rule} states\n"));
    let id = world.pf.states.keys().next().copied().unwrap();
    assert_eq!(said(&mut world, &format!("-k id -k {id:x}/674a91c3")), "killed 1 states\n");
}
