//! What the public name leads to, as resolvers told it: the address to try, and what would lead clients elsewhere.
//! Asking is not done here.

use std::net::IpAddr;

use serde::Serialize;

use crate::domain::blocked::is_private;
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
pub struct Names {
    /// The public name.
    pub host: String,
    /// The address that is known to be the firewall's outside: configured, or its own where that is public.
    pub expected: Option<IpAddr>,
    /// What was asked.
    pub resolved: Vec<Resolved>,
}

impl Names {
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

    /// What is odd about the name.
    pub fn findings(&self) -> Vec<Warning> {
        let mut findings = Vec::new();
        for resolved in &self.resolved {
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
        match (four.first(), self.expected) {
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
            (Some(address), Some(expected)) if !four.contains(&&expected) => say(
                "wrong-address",
                format!(
                    "{by} gives {host} the address {address}, but the firewall's outside is {expected}."
                ),
            ),
            _ => {}
        }
    }

    /// Tells why clients outside would not get there although the address answers.
    pub fn misleading(&self) -> Option<String> {
        let outside = Self {
            resolved: self
                .resolved
                .iter()
                .filter(|resolved| resolved.from_outside)
                .cloned()
                .collect(),
            ..self.clone()
        };
        let misleads = ["stray-aaaa", "wrong-address", "no-address", "split-horizon"];
        outside
            .findings()
            .into_iter()
            .find(|finding| misleads.contains(&finding.code))
            .map(|finding| finding.message.trim_end_matches('.').to_owned())
    }
}
