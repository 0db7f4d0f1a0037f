//! What was seen from outside of a change: both ends' evidence, kept with its ending.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::domain::reachability::external::{Expected, FirewallEvidence, Judgement, Seen, Verdict};

/// The proof, or why there is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExternalOutcome {
    /// What can be said of the outside.
    pub verdict: Verdict,
    /// What the change was for.
    pub expected: Expected,
    /// The verdict is that one, for the right reason.
    pub as_expected: bool,
    /// One sentence without a full stop.
    pub summary: String,
    /// Where was connected to, if that was known.
    pub target: Option<SocketAddr>,
    /// What each vantage saw.
    pub vantages: Vec<Witness>,
    /// What the firewall saw meanwhile; null where it could not be read.
    pub firewall: Option<FirewallEvidence>,
}

/// What one vantage, or one node of a check service, saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Witness {
    /// Its name; a node stands behind a slash.
    pub name: String,
    /// The address that the firewall should see, if known.
    pub address: Option<IpAddr>,
    /// What it proves.
    pub verdict: Verdict,
    /// nmap's word and reason: `filtered (no-response)`; null where no attempt was made.
    pub port: Option<String>,
    /// One sentence for people, without a full stop.
    pub why: String,
}

impl From<&Seen> for Witness {
    fn from(seen: &Seen) -> Self {
        let node = seen.node.as_ref().map(|node| format!("/{node}"));
        Self {
            name: seen.vantage.clone() + &node.unwrap_or_default(),
            address: seen.address,
            verdict: seen.verdict,
            port: seen
                .port
                .zip(seen.reason)
                .map(|(port, reason)| format!("{} ({reason})", port.word())),
            why: seen.why.clone(),
        }
    }
}

impl ExternalOutcome {
    /// Keeps what was judged. Of the new connections only the vantages' own are kept: a busy service has many more.
    pub fn new(
        judgement: &Judgement,
        expected: Expected,
        target: Option<SocketAddr>,
        end: &FirewallEvidence,
    ) -> Self {
        let vantages: Vec<Witness> = judgement.vantages.iter().map(Witness::from).collect();
        let mut end = end.clone();
        end.sources
            .retain(|source, _| vantages.iter().any(|one| one.address == Some(*source)));
        Self {
            verdict: judgement.verdict,
            expected,
            as_expected: judgement.as_expected == Some(true),
            summary: judgement.summary.clone(),
            target,
            vantages,
            firewall: Some(end),
        }
    }

    /// Says that nothing could be tried.
    pub fn untried(expected: Expected, why: &str) -> Self {
        Self {
            verdict: Verdict::Inconclusive,
            expected,
            as_expected: false,
            summary: format!("inconclusive: {}", why.trim_end_matches('.')),
            target: None,
            vantages: Vec::new(),
            firewall: None,
        }
    }

    /// Returns one line for each end, with its name: what each vantage saw, then what the firewall saw.
    pub fn lines(&self) -> Vec<(String, String)> {
        let of_vantage = |one: &Witness| {
            let from = one
                .address
                .map(|address| format!("from {address}: "))
                .unwrap_or_default();
            let port = one.port.as_deref().unwrap_or("not tried");
            let why = Some(&one.why).filter(|why| !self.summary.contains(*why));
            let why = why.map(|why| format!("; {why}")).unwrap_or_default();
            (one.name.clone(), format!("{from}{port}{why}"))
        };
        let firewall = self
            .firewall
            .as_ref()
            .map(|end| ("firewall".to_owned(), end.to_string()));
        self.vantages
            .iter()
            .map(of_vantage)
            .chain(firewall)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::reachability::external::{
        Attempt, Control, Observation, Place, PublicNames, judge,
    };

    fn closed() -> (Judgement, FirewallEvidence) {
        let observation = Observation {
            vantage: "public".to_owned(),
            kind: "check-host",
            node: Some("us1".to_owned()),
            address: "198.51.100.77".parse().ok(),
            place: Place::Outside,
            attempts: vec![Attempt::NoAnswer; 3],
            control: Control::Passed {
                to: "203.0.113.10:443".to_owned(),
                same_address: true,
            },
            short: None,
            trouble: None,
        };
        let end = FirewallEvidence {
            forwarded: Some(0),
            dropped_by_table: Some(0),
            dropped: Some(6),
            dropped_by: Some(1_000_000_103),
            sources: [("192.0.2.9".parse().unwrap(), String::new())].into(),
            ..FirewallEvidence::default()
        };
        let judgement = judge(
            &[observation],
            &end,
            &PublicNames::default(),
            Some(Expected::Closed),
        );
        (judgement, end)
    }

    #[test]
    fn both_ends_are_kept_and_come_back_from_json() {
        let (judgement, end) = closed();
        let kept = ExternalOutcome::new(
            &judgement,
            Expected::Closed,
            "203.0.113.10:1688".parse().ok(),
            &end,
        );
        assert!(kept.as_expected, "{kept:?}");
        let lines = kept.lines();
        assert_eq!(lines[0].0, "public/us1");
        assert!(
            lines[0]
                .1
                .starts_with("from 198.51.100.77: filtered (no-response)"),
            "{lines:?}"
        );
        assert!(
            !lines[0].1.contains("no answer"),
            "the summary says it already: {lines:?}"
        );
        assert!(lines[1].1.contains("dropped 6 packets"), "{lines:?}");
        let firewall = kept.firewall.as_ref().unwrap();
        assert!(firewall.sources.is_empty(), "somebody else's connection");
        let text = serde_json::to_string(&kept).unwrap();
        assert_eq!(
            serde_json::from_str::<ExternalOutcome>(&text).unwrap(),
            kept
        );
    }

    #[test]
    fn what_could_not_be_tried_is_never_a_verdict() {
        let kept = ExternalOutcome::untried(Expected::Closed, "the firewall did not answer.");
        assert!(!kept.as_expected);
        assert_eq!(kept.verdict, Verdict::Inconclusive);
        assert_eq!(kept.summary, "inconclusive: the firewall did not answer");
    }
}
