//! Random rules, and a connection tried at every door by a plain packet walk that shares no code with the judgement:
//! closed means that no packet got in, every way in has a name, and what is named for certain lets a packet in.
//!
//! 500 cases in every run; `KMSCTL_CASES` and `KMSCTL_SEED` name others.

use std::net::Ipv4Addr;

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};

use super::super::fixtures::*;
use super::super::*;
use super::paths::with_networks;
use crate::domain::pf::rule::Rule;
use crate::domain::pfsense::configured::Alias;

const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 0, 20, 202);
const DEVICES: [(&str, &str); 2] = [("wan", "vtnet0"), ("opt1", "vtnet2")];
const EXIT: &str = "vtnet3";
const CLIENTS: [&str; 5] = [
    "9.9.9.9",
    "8.8.8.8",
    "198.51.100.6",
    "198.51.100.7",
    "198.51.100.8",
];

const INTERFACES: [&str; 6] = ["", "vtnet0", "vtnet2", "Uplinks", "vtnet1", "! vtnet0"];
const SOURCES: [&str; 7] = [
    "any",
    "any",
    "any",
    "198.51.100.7",
    "! 198.51.100.7",
    "8.8.8.0/24",
    "<friends>",
];
const DOORS: [&str; 8] = [
    "any",
    "192.168.1.2",
    "203.0.113.2",
    "192.168.1.0/24",
    "203.0.113.0/29",
    "<vips>",
    "! 192.168.1.2",
    "192.168.1.9",
];
const ENDS: [&str; 8] = [
    "any",
    "10.0.20.202",
    "10.0.20.0/24",
    "<k8s_kms_lb>",
    "<outer>",
    "<others>",
    "! 10.0.20.202",
    "10.0.20.50",
];
const TARGETS: [&str; 5] = [
    "<k8s_kms_lb>",
    "10.0.20.202",
    "<outer>",
    "<others>",
    "10.0.20.50",
];
const PORTS: [&str; 7] = [
    "",
    "= 1688",
    "= 1688",
    "= 8443",
    "1600:1700",
    "!= 1688",
    "> 1688",
];
const TARGET_PORTS: [&str; 4] = ["", "1688", "8443", "1600:1700"];
const TRIED_PORTS: [u16; 11] = [
    1, 1599, 1600, 1687, 1688, 1689, 1700, 1701, 8442, 8443, 50_000,
];
const TRIED_ADDRESSES: [&str; 9] = [
    "192.168.1.1",
    "192.168.1.2",
    "192.168.1.3",
    "192.168.1.7",
    "192.168.1.9",
    "203.0.113.1",
    "203.0.113.2",
    "203.0.113.3",
    "100.99.98.97",
];

/// A rule as it was drawn: the walk reads these words, the judgement the text that is made of them.
#[derive(Clone, Debug)]
struct Drawn {
    /// `rdr`, `rdr pass`, `no rdr`, `binat`; `pass`, `block`.
    action: &'static str,
    direction: &'static str,
    quick: bool,
    tagged: bool,
    interface: &'static str,
    from: &'static str,
    to: &'static str,
    port: &'static str,
    target: &'static str,
    target_port: &'static str,
}

impl Drawn {
    fn text(&self) -> String {
        let word = |before: &str, word: &str| {
            if word.is_empty() {
                String::new()
            } else {
                format!(" {before}{word}")
            }
        };
        let on = word("on ", self.interface);
        if self.action == "binat" {
            return format!("binat{on} inet from {SERVICE} to any -> {}", self.target);
        }
        let port = if self.port.contains(' ') || self.port.is_empty() {
            word("port ", self.port)
        } else {
            format!(" port {}", self.port)
        };
        let ends = format!("inet proto tcp from {} to {}{port}", self.from, self.to);
        match self.action {
            "no rdr" => format!("no rdr{on} {ends}"),
            "rdr" | "rdr pass" => {
                let pool = if self.target.starts_with('<') {
                    " round-robin"
                } else {
                    ""
                };
                let target_port = word("port ", self.target_port);
                format!(
                    "{}{on} {ends} -> {}{target_port}{pool}",
                    self.action, self.target
                )
            }
            action => {
                let verb = if action == "block" {
                    "block drop"
                } else {
                    "pass"
                };
                let direction = word("", self.direction);
                let quick = if self.quick { " quick" } else { "" };
                let state = if action == "pass" {
                    " flags S/SA keep state"
                } else {
                    ""
                };
                let tagged = if self.tagged { " tagged guest" } else { "" };
                format!("{verb}{direction}{quick}{on} {ends}{state}{tagged}")
            }
        }
    }
}

fn translations() -> impl Strategy<Value = Drawn> {
    (
        select(vec![
            "rdr", "rdr", "rdr", "rdr", "rdr pass", "no rdr", "binat",
        ]),
        select(INTERFACES.to_vec()),
        select(SOURCES.to_vec()),
        select(DOORS.to_vec()),
        select(PORTS.to_vec()),
        select(TARGETS.to_vec()),
        select(TARGET_PORTS.to_vec()),
        select(vec!["192.168.1.7", "203.0.113.3"]),
    )
        .prop_map(
            |(action, interface, from, to, port, target, target_port, external)| {
                let is_binat = action == "binat";
                let is_range = port == "1600:1700";
                Drawn {
                    action,
                    direction: "",
                    quick: false,
                    tagged: false,
                    interface: if is_binat && !interface.starts_with("vtnet") {
                        "vtnet0"
                    } else {
                        interface
                    },
                    from,
                    to,
                    port,
                    target: if is_binat { external } else { target },
                    target_port: if target_port.contains(':') && !is_range {
                        ""
                    } else {
                        target_port
                    },
                }
            },
        )
}

fn filters() -> impl Strategy<Value = Drawn> {
    (
        select(vec!["pass", "pass", "pass", "block"]),
        select(vec!["in", "in", "in", "", "out"]),
        any::<bool>(),
        prop::bool::weighted(0.1),
        select([INTERFACES.as_slice(), &[EXIT]].concat()),
        select(SOURCES.to_vec()),
        select(ENDS.to_vec()),
        select(PORTS.to_vec()),
    )
        .prop_map(
            |(action, direction, quick, tagged, interface, from, to, port)| Drawn {
                action,
                direction,
                quick,
                tagged,
                interface,
                from,
                to,
                port,
                target: "",
                target_port: "",
            },
        )
}

// The walk: nothing below knows the judgement's code.

fn on_holds(interface: &str, device: &str) -> bool {
    match interface {
        "" => true,
        "Uplinks" => device == "vtnet0" || device == "vtnet2",
        "! vtnet0" => device != "vtnet0",
        name => name == device,
    }
}

fn host_holds(host: &str, address: Ipv4Addr) -> bool {
    if let Some(rest) = host.strip_prefix("! ") {
        return !host_holds(rest, address);
    }
    let [a, b, c, d] = address.octets();
    match host {
        "any" => true,
        "8.8.8.0/24" => (a, b, c) == (8, 8, 8),
        "192.168.1.0/24" => (a, b, c) == (192, 168, 1),
        "203.0.113.0/29" => (a, b, c) == (203, 0, 113) && d < 8,
        "10.0.20.0/24" => (a, b, c) == (10, 0, 20),
        "<friends>" => address == Ipv4Addr::new(198, 51, 100, 8),
        "<vips>" => [[192, 168, 1, 9], [203, 0, 113, 3]].contains(&[a, b, c, d]),
        "<k8s_kms_lb>" => address == SERVICE,
        "<outer>" => (a, b, c) == (10, 0, 20) && (d == 202 || d == 9),
        "<others>" => [a, b, c, d] == [10, 0, 20, 50],
        single => single.parse() == Ok(address),
    }
}

fn port_holds(condition: &str, port: u16) -> bool {
    match condition {
        "" => true,
        "= 1688" => port == 1688,
        "= 8443" => port == 8443,
        "1600:1700" => (1600..=1700).contains(&port),
        "!= 1688" => port != 1688,
        "> 1688" => port > 1688,
        other => panic!("{other}"),
    }
}

/// Returns which drawn translation a packet meets, and the address and port that it has afterwards.
fn translate(
    rules: &[Drawn],
    device: &str,
    client: Ipv4Addr,
    door: (Ipv4Addr, u16),
) -> Option<(usize, (Ipv4Addr, u16))> {
    for (at, rule) in rules.iter().enumerate() {
        if rule.action == "binat"
            || !on_holds(rule.interface, device)
            || !host_holds(rule.from, client)
            || !host_holds(rule.to, door.0)
            || !port_holds(rule.port, door.1)
        {
            continue;
        }
        if rule.action == "no rdr" {
            return None;
        }
        let port = match rule.target_port {
            "" | "1600:1700" => door.1,
            number => number.parse().unwrap(),
        };
        let address = if host_holds(rule.target, SERVICE) {
            SERVICE
        } else {
            Ipv4Addr::new(10, 0, 20, 50)
        };
        return Some((at, (address, port)));
    }
    let at = rules.iter().position(|rule| {
        rule.action == "binat"
            && on_holds(rule.interface, device)
            && rule.target.parse() == Ok(door.0)
    })?;
    Some((at, (SERVICE, door.1)))
}

fn filter_passes(
    rules: &[Drawn],
    tag: bool,
    direction: &str,
    device: &str,
    client: Ipv4Addr,
    end: (Ipv4Addr, u16),
) -> bool {
    // The default rule of the fixture blocks what comes in.
    let mut passes = direction == "out";
    for rule in rules {
        let matches = (rule.direction.is_empty() || rule.direction == direction)
            && (!rule.tagged || tag)
            && on_holds(rule.interface, device)
            && host_holds(rule.from, client)
            && host_holds(rule.to, end.0)
            && port_holds(rule.port, end.1);
        if matches {
            passes = rule.action == "pass";
            if rule.quick {
                break;
            }
        }
    }
    passes
}

/// Returns where a connection arrives, and by which drawn translation; `None` where the firewall drops it.
fn arrive(
    nat: &[Drawn],
    filter: &[Drawn],
    tag: bool,
    device: &str,
    client: Ipv4Addr,
    door: (Ipv4Addr, u16),
) -> Option<(usize, (Ipv4Addr, u16))> {
    let (at, end) = translate(nat, device, client, door)?;
    let enters =
        nat[at].action == "rdr pass" || filter_passes(filter, tag, "in", device, client, end);
    (enters && filter_passes(filter, tag, "out", EXIT, client, end)).then_some((at, end))
}

fn surrounded(pair_is_loaded: bool) -> Configured {
    let mut configured = configured();
    with_networks(&mut configured);
    let alias = |name: &str, address: &str| Alias {
        name: name.into(),
        kind: text("host"),
        address: text(address),
    };
    configured.aliases.extend([
        alias("friends", "198.51.100.8"),
        alias("vips", "192.168.1.9 203.0.113.3"),
    ]);
    configured.nat[0].disabled = !pair_is_loaded;
    configured.filter[0].disabled = !pair_is_loaded;
    configured
}

const PAIR_FORWARD: Drawn = Drawn {
    action: "rdr",
    direction: "",
    quick: false,
    tagged: false,
    interface: "vtnet0",
    from: "any",
    to: "192.168.1.2",
    port: "= 1688",
    target: "<k8s_kms_lb>",
    target_port: "",
};
const PAIR_FILTER: Drawn = Drawn {
    action: "pass",
    direction: "in",
    quick: true,
    to: "<k8s_kms_lb>",
    target: "",
    ..PAIR_FORWARD
};

fn check_case(
    mut nat: Vec<Drawn>,
    mut filter: Vec<Drawn>,
    pair: Option<(usize, usize)>,
    enabled: bool,
) -> Result<(), TestCaseError> {
    let mut own_filter = None;
    if let Some((forward, pass)) = pair {
        nat.insert(forward.min(nat.len()), PAIR_FORWARD);
        let at = pass.min(filter.len());
        filter.insert(at, PAIR_FILTER);
        own_filter = Some(at);
    }
    let nat_rules: Vec<Rule> = nat.iter().map(|rule| printed(&rule.text())).collect();
    let mut filter_rules = vec![default_deny()];
    filter_rules.extend(filter.iter().enumerate().map(|(at, rule)| {
        if own_filter == Some(at) {
            super::super::fixtures::pass()
        } else {
            printed(&rule.text())
        }
    }));
    let configured = surrounded(pair.is_some());
    let loaded = Loaded {
        filter: &filter_rules,
        nat: &nat_rules,
        enabled,
    };
    let exposure = judge(Some(&configured), loaded, &service());
    let shown = format!(
        "{:?}\n{:#?}\nnat {:#?}\nfilter {:#?}",
        exposure.state,
        exposure.paths,
        nat.iter().map(Drawn::text).collect::<Vec<_>>(),
        filter.iter().map(Drawn::text).collect::<Vec<_>>(),
    );
    let clients: Vec<Ipv4Addr> = CLIENTS.iter().map(|text| text.parse().unwrap()).collect();
    for (interface, device) in DEVICES {
        for door in TRIED_ADDRESSES {
            for port in TRIED_PORTS {
                for client in &clients {
                    for tag in [false, true] {
                        let door: Ipv4Addr = door.parse().unwrap();
                        let arrived = arrive(&nat, &filter, tag, device, *client, (door, port));
                        let Some((at, end)) = arrived else { continue };
                        if !enabled || end != (SERVICE, 1688) {
                            continue;
                        }
                        let met = format!("{interface} {client} -> {door}:{port}\n{shown}");
                        prop_assert!(
                            !matches!(exposure.state, State::Closed | State::Absent),
                            "called closed: {met}"
                        );
                        prop_assert!(
                            exposure.paths.iter().any(|path| path.interface == interface
                                && path.rule == nat_rules[at].text),
                            "not named: {met}"
                        );
                    }
                }
            }
        }
    }
    let by_pair = |clients: &[Ipv4Addr], tag: bool| {
        clients.iter().any(|client| {
            DEVICES.iter().any(|(interface, device)| {
                TRIED_ADDRESSES.iter().any(|door| {
                    let door: Ipv4Addr = door.parse().unwrap();
                    TRIED_PORTS.iter().any(|port| {
                        let arrived = arrive(&nat, &filter, tag, device, *client, (door, *port));
                        arrived.is_some_and(|(at, end)| {
                            end.0 == SERVICE
                                && (end.1 == 1688 || *port == 1688)
                                && exposure.paths.iter().any(|path| {
                                    path.managed
                                        && path.interface == *interface
                                        && path.rule == nat_rules[at].text
                                })
                        })
                    })
                })
            })
        })
    };
    if exposure.state.lets_in() {
        for tag in [false, true] {
            prop_assert!(
                enabled && by_pair(&clients, tag),
                "called open, and the managed pair lets nothing in: {shown}"
            );
        }
    } else if exposure.state != State::Unknown {
        let stranger = &clients[..1];
        prop_assert!(
            !enabled || !by_pair(stranger, false) || !by_pair(stranger, true),
            "the managed pair lets strangers in, and is not called open: {shown}"
        );
    }
    for path in exposure.paths.iter().filter(|path| path.certain) {
        let device = DEVICES.iter().find(|(name, _)| path.interface == *name);
        let Some((_, device)) = device else {
            continue;
        };
        let door: std::net::SocketAddrV4 = path.enters.parse().unwrap();
        for tag in [false, true] {
            let gets_in = enabled
                && clients.iter().any(|client| {
                    let door = (*door.ip(), door.port());
                    arrive(&nat, &filter, tag, device, *client, door).is_some_and(|(_, end)| {
                        path.leads_to == std::net::SocketAddrV4::new(end.0, end.1).to_string()
                    })
                });
            prop_assert!(gets_in, "named, and leads nowhere: {path:?}\n{shown}");
        }
    }
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "the cases and their seed are chosen by hand"
)]
#[test]
fn the_judgement_agrees_with_the_walk() {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let cases = number("KMSCTL_CASES").unwrap_or(500);
    let seed = number("KMSCTL_SEED").unwrap_or(1688);
    println!("KMSCTL_SEED={seed} KMSCTL_CASES={cases}");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config {
        cases: u32::try_from(cases).unwrap(),
        failure_persistence: None,
        ..Config::default()
    };
    let mut runner =
        TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let drawn = (
        prop::collection::vec(translations(), 0..5),
        prop::collection::vec(filters(), 0..6),
        prop::option::of((0..5_usize, 0..6_usize)),
        prop::bool::weighted(0.95),
    );
    let outcome = runner.run(&drawn, |(nat, filter, pair, enabled)| {
        check_case(nat, filter, pair, enabled)
    });
    if let Err(error) = outcome {
        panic!("KMSCTL_SEED={seed}: {error}");
    }
}
