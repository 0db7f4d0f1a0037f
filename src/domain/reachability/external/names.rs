//! What the public name leads to, as resolvers told it: the address to try, and what would lead clients elsewhere.
//! Asking is not done here.

use std::net::IpAddr;

use serde::Serialize;

use crate::domain::virusprot::entries::is_private;
use crate::domain::warning::Warning;

/// What one resolver said about the public name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Resolved {
    /// Which resolver, and from where it was asked.
    pub by: String,
    /// It was asked from a vantage, so it tells what the outside is told.
    pub from_outside: bool,
    /// The addresses, or why there are none; null in JSON then.
    #[serde(rename = "addresses", serialize_with = "or_null")]
    pub answer: Result<Vec<IpAddr>, String>,
}

fn or_null<S: serde::Serializer>(
    answer: &Result<Vec<IpAddr>, String>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    answer.as_ref().ok().serialize(serializer)
}

/// The name, what it resolves to, and what it should resolve to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PublicNames {
    /// The public name.
    pub host: String,
    /// The address that is known to be the firewall's outside: configured, or its own where that is public.
    pub expected: Option<IpAddr>,
    /// What was asked.
    pub resolved: Vec<Resolved>,
}

impl PublicNames {
    /// Returns the address to try: the known one, else what the outside is told, else what this machine is told.
    pub fn target(&self) -> Option<IpAddr> {
        self.expected.or_else(|| {
            let told = |outside: bool| {
                self.resolved
                    .iter()
                    .filter(move |resolved| resolved.from_outside == outside)
                    .flat_map(|resolved| resolved.answer.iter().flatten())
                    .find(|address| address.is_ipv4())
                    .copied()
            };
            told(true).or_else(|| told(false))
        })
    }

    /// Returns the private address that this machine's own resolver gives: the answer for the inside.
    pub fn told_inside(&self) -> Option<IpAddr> {
        let here = self.resolved.iter().filter(|told| !told.from_outside);
        here.flat_map(|told| told.answer.iter().flatten())
            .find(|address| is_private(address))
            .copied()
    }

    /// What is odd about the name.
    pub fn findings(&self) -> Vec<Warning> {
        let mut findings = self.odd(|_| true);
        let outside = |told: &Resolved| told.from_outside && told.answer.is_ok();
        if !self.resolved.iter().any(outside) && self.host.parse::<IpAddr>().is_err() {
            findings.push(Warning::new(
                "name-not-checked",
                format!(
                    "Where {} leads was not checked from outside: name resolvers in verify.resolvers, which an ssh vantage asks.",
                    self.host
                ),
            ));
        }
        findings
    }

    /// What is odd about these answers.
    fn odd(&self, these: impl Fn(&Resolved) -> bool) -> Vec<Warning> {
        let mut findings = Vec::new();
        for resolved in self.resolved.iter().filter(|resolved| these(resolved)) {
            match &resolved.answer {
                Err(why) => findings.push(Warning::new(
                    "name-unknown",
                    format!("{} cannot resolve {}: {why}.", resolved.by, self.host),
                )),
                Ok(addresses) => self.look_at(&resolved.by, addresses, &mut findings),
            }
        }
        findings
    }

    fn look_at(&self, by: &str, addresses: &[IpAddr], findings: &mut Vec<Warning>) {
        let host = &self.host;
        let mut say = |code, message: String| findings.push(Warning::new(code, message));
        if let Some(six) = addresses.iter().find(|address| address.is_ipv6()) {
            say(
                "stray-aaaa",
                format!(
                    "{by} gives {host} the IPv6 address {six}: clients try it first, and the port forward is IPv4."
                ),
            );
        }
        let four: Vec<&IpAddr> = addresses
            .iter()
            .filter(|address| address.is_ipv4())
            .collect();
        let elsewhere = self.target().and_then(|target| {
            let other = |address: &&&IpAddr| ***address != target && !is_private(address);
            four.iter().find(other).map(|address| (*address, target))
        });
        match (four.first(), elsewhere) {
            (None, _) => say(
                "no-address",
                format!("{by} knows no IPv4 address of {host}."),
            ),
            (Some(address), _) if is_private(address) => say(
                "split-horizon",
                format!(
                    "{by} gives {host} the private address {address}: that is the answer for the inside."
                ),
            ),
            (_, Some((address, target))) => say(
                "wrong-address",
                match self.expected {
                    Some(expected) => format!(
                        "{by} gives {host} the address {address}, but the firewall's outside is {expected}."
                    ),
                    None => {
                        format!("{by} gives {host} the address {address}, but {target} was tried.")
                    }
                },
            ),
            _ => {}
        }
    }

    /// Tells why clients outside would not get there although the address answers. What this machine is told counts
    /// where it cannot be an answer for the inside alone.
    pub fn misleading(&self) -> Option<String> {
        let misleads = |from_outside: bool, codes: &[&str]| {
            let odd = self.odd(|resolved| resolved.from_outside == from_outside);
            odd.into_iter()
                .find(|finding| codes.contains(&finding.code))
                .map(|finding| finding.message.trim_end_matches('.').to_owned())
        };
        let everything = ["stray-aaaa", "wrong-address", "no-address", "split-horizon"];
        misleads(true, &everything).or_else(|| misleads(false, &["stray-aaaa", "wrong-address"]))
    }

    /// Tells why "closed" is half of the truth: the name has an IPv6 address that the outside can reach, and only IPv4 was
    /// tried.
    pub fn other_family(&self) -> Option<String> {
        self.resolved.iter().find_map(|resolved| {
            let six = resolved
                .answer
                .iter()
                .flatten()
                .find(|address| address.is_ipv6() && !is_private(address))?;
            Some(format!(
                "IPv4 only: IPv6 was not tried, and {} gives {} the address {six}",
                resolved.by, self.host
            ))
        })
    }
}
