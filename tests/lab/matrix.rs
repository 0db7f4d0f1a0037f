//! Every verdict from real packets, in both transports where that makes a difference. `KMSCTL_LAB_ROUNDS=20` runs the
//! matrix that often, and `KMSCTL_LAB_ONLY='drop;open'` these rows alone, one at a time, to be measured.

use std::fmt::Write as _;
use std::sync::Mutex;

use serde_json::Value;

use crate::net::{self, CLOSED, FORWARDING, Lab, OUTSIDE, Rules, WAN, ssh_vantage};

/// One row of the matrix.
struct Case {
    name: &'static str,
    transport: &'static str,
    rules: Rules,
    /// What listens behind the firewall.
    backend: Option<&'static str>,
    /// What the vantage's name server says.
    dns: Option<&'static str>,
    /// Adds to the vantage's configuration, or replaces all of it.
    vantage: fn() -> String,
    /// Changes the lab before kmsctl runs.
    change: fn(&mut Lab),
    /// Another client connects all the while.
    busy: bool,
    /// Where kmsctl runs.
    place: &'static str,
    /// The configured public address.
    known_address: bool,
    verdict: &'static str,
    row: Option<&'static str>,
    code: i32,
    /// A part of what is says.
    says: &'static str,
}

fn vps() -> String {
    ssh_vantage(OUTSIDE, "")
}

/// A vantage whose control is another port of the very address that is tried.
fn controlled() -> String {
    ssh_vantage(OUTSIDE, "control = \"198.51.100.1:443\"")
}

fn control_listens(lab: &mut Lab) {
    lab.serve("rtr", "silence", "198.51.100.1:443", "");
}

fn base(name: &'static str) -> Case {
    Case {
        name,
        transport: "russh",
        rules: FORWARDING,
        backend: Some("ack"),
        dns: None,
        vantage: vps,
        change: |_| {},
        busy: false,
        place: "op",
        known_address: true,
        verdict: "open",
        row: Some("open-kms"),
        code: 0,
        says: "",
    }
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for transport in ["openssh", "russh"] {
        cases.extend(plain(transport));
    }
    for (backend, says) in [
        ("nak", "does not speak KMS"),
        ("rubbish", "no KMS server"),
        ("lies", "does not speak KMS"),
        ("silence", "the server sends nothing"),
        ("reset", "reset before the server"),
    ] {
        cases.push(Case {
            backend: Some(backend),
            row: Some("open-not-kms"),
            code: 3,
            says,
            ..base(backend)
        });
    }
    cases.extend(gates());
    cases.extend(crowd());
    cases.extend(names());
    cases.extend(vantages());
    cases
}

/// Open, reset, silence.
fn plain(transport: &'static str) -> Vec<Case> {
    vec![
        Case { transport, ..base("open") },
        Case {
            transport,
            backend: None,
            verdict: "closed",
            row: Some("nobody-listens"),
            code: 3,
            says: "reset",
            ..base("no server listens")
        },
        Case {
            transport,
            rules: CLOSED,
            verdict: "closed",
            row: Some("closed-here"),
            says: "1000000103",
            vantage: controlled,
            change: control_listens,
            ..base("drop")
        },
        Case {
            transport,
            rules: CLOSED,
            verdict: "inconclusive",
            row: None,
            code: 8,
            says: "it is not known whose packets",
            ..base("drop, no control")
        },
    ]
}

/// What the firewall does.
fn gates() -> Vec<Case> {
    let closed = |name| Case {
        verdict: "closed",
        row: Some("closed-here"),
        vantage: controlled,
        change: control_listens,
        ..base(name)
    };
    vec![
        Case { rules: Rules { filter: false, ..FORWARDING }, ..closed("NAT only") },
        Case { rules: Rules { nat: false, ..FORWARDING }, ..closed("filter only") },
        Case {
            rules: Rules { reject: true, ..CLOSED },
            row: Some("nobody-listens"),
            says: "rejected",
            ..closed("reject rule")
        },
        Case {
            rules: Rules { blocked: true, ..FORWARDING },
            verdict: "inconclusive",
            row: None,
            code: 8,
            says: "blocked addresses",
            ..base("vantage in the block set")
        },
        Case {
            vantage: vps,
            change: |lab| lab.inside("inn", "ip", &["link", "set", "c2", "down"]),
            row: Some("nobody-listens"),
            code: 3,
            says: "no server answers behind",
            ..closed("backend dead")
        },
        Case {
            change: |lab| lost(lab, "output", "dport"),
            verdict: "inconclusive",
            row: Some("nothing-arrived"),
            code: 8,
            says: "nothing arrived",
            ..base("lost on the way")
        },
        Case {
            change: |lab| lost(lab, "input", "sport"),
            verdict: "inconclusive",
            row: None,
            code: 8,
            says: "did not reach the vantage",
            ..base("lost on the way back")
        },
        Case {
            rules: CLOSED,
            change: |lab| {
                lab.inside("out", "nft", &["add", "table", "ip", "x"]);
                lab.inside(
                    "out",
                    "nft",
                    &["add chain ip x o { type filter hook output priority 0; }"],
                );
                lab.inside("out", "nft", &["add rule ip x o tcp dport 1688 reject with tcp reset"]);
            },
            verdict: "inconclusive",
            row: Some("nothing-arrived"),
            code: 8,
            ..base("reset on the way, and closed")
        },
    ]
}

/// Somebody else connects meanwhile, as on every service that is used.
fn crowd() -> Vec<Case> {
    let busy = |name| Case { busy: true, ..base(name) };
    let nothing = |name| Case { verdict: "inconclusive", row: None, code: 8, ..busy(name) };
    vec![
        busy("open, busy"),
        Case { transport: "openssh", ..busy("open, busy, openssh") },
        Case {
            backend: None,
            verdict: "closed",
            row: Some("nobody-listens"),
            code: 3,
            says: "reset",
            ..busy("no server listens, busy")
        },
        Case {
            rules: CLOSED,
            vantage: controlled,
            change: control_listens,
            verdict: "closed",
            row: Some("closed-here"),
            ..busy("drop, busy")
        },
        Case {
            // What the vantage reaches is a KMS server, and not ours.
            change: |lab| {
                lab.serve("out", "ack", "127.0.0.1:1688", "");
                lab.inside("out", "nft", &["add", "table", "ip", "x"]);
                lab.inside(
                    "out",
                    "nft",
                    &["add chain ip x o { type nat hook output priority -100; }"],
                );
                lab.inside(
                    "out",
                    "nft",
                    &["add rule ip x o tcp dport 1688 dnat to 127.0.0.1:1688"],
                );
            },
            says: "no new connection of 198.51.100.10",
            ..nothing("answered by another, busy")
        },
        Case {
            vantage: || ssh_vantage(OUTSIDE, "address = \"203.0.113.9\""),
            says: "set vantages.vps.address",
            ..nothing("vantage with a wrong address, busy")
        },
        Case {
            change: |lab| lost(lab, "output", "dport"),
            says: "it is not known which of the firewall's new connections",
            ..nothing("lost on the way, busy")
        },
    ]
}

/// Loses what the vantage sends to the service, or hears of it.
fn lost(lab: &mut Lab, hook: &str, port: &str) {
    lab.inside("out", "nft", &["add", "table", "ip", "x"]);
    let chain = format!("add chain ip x o {{ type filter hook {hook} priority 0; }}");
    lab.inside("out", "nft", &[&chain]);
    let rule = format!("add rule ip x o tcp {port} 1688 drop");
    lab.inside("out", "nft", &[&rule]);
}

/// What the name leads to.
fn names() -> Vec<Case> {
    vec![
        Case { dns: Some(WAN), ..base("right DNS") },
        Case { dns: Some(WAN), known_address: false, ..base("address from DNS") },
        Case {
            dns: Some("203.0.113.99"),
            code: 3,
            says: "wrong-address",
            ..base("wrong DNS, address known")
        },
        Case {
            dns: Some("203.0.113.99"),
            known_address: false,
            verdict: "inconclusive",
            row: Some("nothing-arrived"),
            code: 8,
            ..base("wrong DNS, address unknown")
        },
        Case {
            dns: Some("198.51.100.1 2001:db8::1"),
            code: 3,
            says: "stray-aaaa",
            ..base("stray AAAA")
        },
        Case {
            dns: Some("10.0.20.202"),
            known_address: false,
            verdict: "inconclusive",
            row: None,
            code: 8,
            says: "split horizon",
            ..base("split horizon")
        },
        Case {
            known_address: false,
            verdict: "inconclusive",
            row: None,
            code: 8,
            says: "no IPv4 address",
            ..base("name does not resolve")
        },
    ]
}

/// What the vantage is.
fn vantages() -> Vec<Case> {
    let nothing = |name| Case { verdict: "inconclusive", row: None, code: 8, ..base(name) };
    vec![
        Case {
            vantage: || ssh_vantage("10.99.1.2", "address = \"10.0.20.202\""),
            change: |lab| lab.sshd("inn", "2222", ""),
            says: "inside",
            ..nothing("hairpin")
        },
        Case {
            rules: CLOSED,
            vantage: || ssh_vantage(OUTSIDE, "control = \"198.51.100.10:9\""),
            says: "control",
            ..nothing("control failing")
        },
        Case {
            rules: CLOSED,
            vantage: || ssh_vantage(OUTSIDE, "control = \"198.51.100.1:443\""),
            change: |lab| lab.serve("rtr", "silence", "198.51.100.1:443", ""),
            verdict: "closed",
            row: Some("closed-here"),
            code: 0,
            ..nothing("control passing")
        },
        Case {
            vantage: || ssh_vantage(OUTSIDE, "").replace("2222", "2223"),
            code: 5,
            says: "The vantage vps: 198.51.100.10 refuses connections",
            ..nothing("vantage unreachable")
        },
        Case {
            vantage: || ssh_vantage("10.99.0.2", ""),
            code: 5,
            says: "is not known",
            ..nothing("vantage host key unknown")
        },
        Case {
            vantage: || "[vantages.here]\nkind = \"local\"\n".to_owned(),
            place: "out",
            ..base("local, outside")
        },
        Case {
            vantage: || "[vantages.here]\nkind = \"local\"\naddress = \"203.0.113.9\"\n".to_owned(),
            place: "out",
            says: "the firewall sees it come from 198.51.100.10",
            ..nothing("local, another address claimed")
        },
        Case {
            vantage: || "[vantages.here]\nkind = \"local\"\n".to_owned(),
            says: "not proven to be outside",
            ..nothing("local, no route out")
        },
    ]
}

/// Runs one case and tells what is wrong with the outcome.
fn run(case: &Case) -> (String, Option<String>) {
    let mut lab = Lab::new(case.rules);
    if let Some(role) = case.backend {
        lab.serve("inn", role, "10.0.20.202:1688", "");
    }
    let mut more = String::new();
    if case.known_address {
        let _ = writeln!(more, "public_address = \"{WAN}\"");
    }
    if let Some(addresses) = case.dns {
        lab.serve("out", "dns", "198.51.100.10:5353", addresses);
        more.push_str("[verify]\nresolvers = [\"198.51.100.10:5353\"]\n");
    }
    more.push_str(&(case.vantage)());
    lab.configure(case.transport, &more);
    (case.change)(&mut lab);
    if case.busy {
        lab.crowd();
    }
    // The lab's firewall has no PHP that could tell the configuration, so what to expect is said.
    let expect = if case.rules.nat && case.rules.filter { "open" } else { "closed" };
    let (output, took) =
        lab.kmsctl(case.place, &["verify", "--external", "--expect", expect, "-o", "json"]);
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let json: Value = serde_json::from_str(&stdout).unwrap_or(Value::Null);
    let data = &json["data"];
    let seen = &data["vantages"][0];
    let line = format!(
        "{:34} {:8} {:13} {:16} {:9} {:13} {:>5} {:>6.2} s",
        case.name,
        case.transport,
        data["verdict"].as_str().unwrap_or("-"),
        seen["row"].as_str().unwrap_or("-"),
        seen["port"].as_str().unwrap_or("-"),
        seen["reason"].as_str().unwrap_or("-"),
        output.status.code().unwrap_or(-1),
        took.as_secs_f64(),
    );
    // Nor is it known then that an open port is all that was expected.
    let code = if case.verdict == "open" && case.code == 0 { 8 } else { case.code };
    let right = data["verdict"] == case.verdict
        && seen["row"].as_str() == case.row
        && output.status.code() == Some(code)
        && (stdout.contains(case.says) || stderr.contains(case.says))
        && took.as_secs_f64() < 15.0;
    let wrong = format!(
        "{line}\nwanted: {} {:?} {} {:?}\n{stdout}\n{stderr}",
        case.verdict, case.row, code, case.says
    );
    (line, (!right).then_some(wrong))
}

#[test]
fn every_verdict_from_real_packets() {
    if !net::permitted() {
        return;
    }
    let _alone = net::alone();
    let rounds = std::env::var("KMSCTL_LAB_ROUNDS")
        .ok()
        .and_then(|rounds| rounds.parse().ok())
        .unwrap_or(1_usize);
    let only = std::env::var("KMSCTL_LAB_ONLY").ok();
    let chosen = |case: &Case| {
        only.as_ref().is_none_or(|only| only.split(';').any(|name| name == case.name))
    };
    // Cases wait most of their time; more at once would make the machine, not the network, the clock.
    let workers = if only.is_some() { 1 } else { 3 };
    let wrong = Mutex::new(Vec::new());
    for round in 1..=rounds {
        let cases: Vec<Case> = cases().into_iter().filter(chosen).collect();
        let lines = Mutex::new(vec![String::new(); cases.len()]);
        let next = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|| {
                    loop {
                        let index = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        let Some(case) = cases.get(index) else { return };
                        let (line, trouble) = run(case);
                        lines.lock().unwrap()[index] = line;
                        wrong.lock().unwrap().extend(trouble);
                    }
                });
            }
        });
        eprintln!("round {round}\n{}", lines.into_inner().unwrap().join("\n"));
    }
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n\n"));
}
