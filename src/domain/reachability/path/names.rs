//! DNS and the address it should lead to: A records by every resolver that was asked, stray AAAA records, the split
//! between inside and outside, and whether the firewall's own address is a public one.

use std::net::IpAddr;

use super::{Evidence, Resolution};
use crate::domain::reachability::finding::Finding;
use crate::domain::virusprot::entries::is_private;

/// Judges the hops `dns`, `dns-aaaa` and `wan`.
pub fn name_hops(evidence: &Evidence<'_>) -> Vec<Finding> {
    vec![
        addresses_hop(evidence),
        strays_hop(evidence),
        wan_hop(evidence),
    ]
}

/// Returns the address that the outside should be told, if anything tells it.
fn public_address(evidence: &Evidence<'_>) -> Option<IpAddr> {
    let own = || {
        evidence
            .wan
            .as_ref()
            .ok()?
            .address()
            .filter(|address| !is_private(address))
    };
    evidence.public_address.or_else(own)
}

/// What one resolver's A records mean.
enum NameAnswer<'a> {
    Nothing(&'a str),
    NoAddress,
    Inside,
    Public(IpAddr),
    Wrong(IpAddr),
}

fn answer_of<'a>(resolution: &'a Resolution, evidence: &Evidence<'_>) -> NameAnswer<'a> {
    let answer = match &resolution.answer {
        Err(why) => return NameAnswer::Nothing(why),
        Ok(answer) => answer,
    };
    let own = |address: &IpAddr| *address == evidence.service.address;
    let mut addresses = answer
        .iter()
        .copied()
        .filter(|address| address.is_ipv4() || own(address));
    let Some(first) = addresses.next() else {
        return NameAnswer::NoAddress;
    };
    let all: Vec<IpAddr> = std::iter::once(first).chain(addresses).collect();
    if all.iter().all(own) {
        return NameAnswer::Inside;
    }
    let expected = public_address(evidence);
    let wrong = |address: &&IpAddr| match expected {
        Some(expected) => **address != expected,
        None => is_private(address),
    };
    match all.iter().find(wrong) {
        Some(address) => NameAnswer::Wrong(*address),
        None => NameAnswer::Public(first),
    }
}

fn addresses_hop(evidence: &Evidence<'_>) -> Finding {
    let host = &evidence.service.host;
    let resolutions = evidence.resolutions;
    if resolutions.is_empty() {
        return Finding::unknown("dns", "No resolver was asked.");
    }
    let mut sentences = Vec::new();
    let (mut unread, mut wrong, mut inside) = (false, false, false);
    let mut publics: Vec<IpAddr> = Vec::new();
    for resolution in resolutions {
        let who = &resolution.resolver;
        sentences.push(match answer_of(resolution, evidence) {
            NameAnswer::Nothing(why) => {
                unread = true;
                format!("{who}: no answer ({why})")
            }
            NameAnswer::NoAddress => {
                wrong = true;
                format!("{who}: no A record")
            }
            NameAnswer::Inside => {
                inside = true;
                format!(
                    "{who}: {}, the service's own address inside",
                    evidence.service.address
                )
            }
            NameAnswer::Public(address) => {
                publics.push(address);
                format!("{who}: {address}")
            }
            NameAnswer::Wrong(address) => {
                wrong = true;
                format!("{who}: {address}, which does not lead to the firewall")
            }
        });
    }
    publics.sort();
    publics.dedup();
    let notes = dns_notes(evidence, &publics, inside);
    let told = format!("{host}: {}.{notes}", sentences.join("; "));
    match (wrong || publics.len() > 1, unread) {
        (true, _) => Finding::wrong("dns", told, dns_fix(evidence)),
        (false, true) => Finding::unknown("dns", told)
            .fix("Ask again; `verify.resolvers` names the name servers that are asked."),
        (false, false) if publics.is_empty() => {
            Finding::unknown("dns", told).fix("Name servers outside in verify.resolvers.")
        }
        (false, false) if public_address(evidence).is_none() => Finding::unknown("dns", told).fix(
            "Set service.public_address to the public address that is forwarded to the firewall.",
        ),
        (false, false) => Finding::ok("dns", told),
    }
}

/// Says what the answers do not prove.
fn dns_notes(evidence: &Evidence<'_>, publics: &[IpAddr], inside: bool) -> String {
    let mut notes = String::new();
    notes.push_str(match publics {
        [] if inside => " What the outside is told was not asked.",
        [_] if inside => {
            " Split horizon: inside and outside are told different addresses, as is right here."
        }
        [] | [_] => "",
        _ => " They disagree.",
    });
    if !publics.is_empty() && public_address(evidence).is_none() {
        notes.push_str(" Whether that leads to the firewall is not known: its own address is not a public one, and service.public_address is not set.");
    }
    notes
}

fn dns_fix(evidence: &Evidence<'_>) -> String {
    let host = &evidence.service.host;
    match public_address(evidence) {
        Some(address) => {
            format!("Make the A record of {host} {address}; outside it may have no other.")
        }
        None => format!(
            "Give {host} one A record outside: the public address that is forwarded to the firewall."
        ),
    }
}

fn strays_hop(evidence: &Evidence<'_>) -> Finding {
    if evidence.service.address.is_ipv6() {
        return Finding::skipped("dns-aaaa", "The service has an IPv6 address of its own.");
    }
    let answers = || {
        evidence
            .resolutions
            .iter()
            .filter_map(|resolution| Some((resolution, resolution.answer.as_ref().ok()?)))
    };
    let stray = answers().find_map(|(resolution, answer)| {
        let address = answer.iter().find(|address| address.is_ipv6())?;
        Some((resolution, address))
    });
    let host = &evidence.service.host;
    match stray {
        Some((resolution, address)) => Finding::wrong(
            "dns-aaaa",
            format!(
                "{}: {host} has an AAAA record, {address}. Clients try it first, and the service has IPv4 only.",
                resolution.resolver
            ),
            format!("Remove the AAAA record of {host}."),
        ),
        None if answers().next().is_none() => Finding::unknown("dns-aaaa", "No resolver answered."),
        None => Finding::ok("dns-aaaa", format!("{host} has no AAAA record.")),
    }
}

fn wan_hop(evidence: &Evidence<'_>) -> Finding {
    let wan = match &evidence.wan {
        Ok(wan) => wan,
        Err(trouble) => return trouble.finding("wan"),
    };
    let (device, port) = (&wan.device, evidence.service.port);
    match wan.address() {
        None => Finding::wrong(
            "wan",
            format!("{device} has no IPv4 address."),
            "Look at Status > Interfaces in pfSense: is the line up?",
        ),
        Some(address) if is_private(&address) => Finding::ok(
            "wan",
            format!(
                "{device} has {address}, not a public address: another router stands before the firewall and must forward TCP/{port} to it, which nothing here can see."
            ),
        ),
        Some(address) => Finding::ok("wan", format!("{device} has {address}, a public address.")),
    }
}
