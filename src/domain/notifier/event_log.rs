//! What the notifier prints, read back: events as JSON lines, and the words of the script that it replaces. Anything
//! else is a note. Also what a period held, and which events an operator asked for.

use std::collections::BTreeSet;
use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::decide::{Decided, Probes};
use super::source::ClientSource;
use crate::domain::address::canonical_address;
use crate::text::{whole_second, word_enum};

/// Most characters kept of a line that is no event.
const LONGEST_NOTE: usize = 2_000;
/// How long an activation makes a customer.
pub const DAY: SignedDuration = SignedDuration::from_hours(24);

word_enum! {
    #[derive(Default)]
    pub enum EventKind {
        Activation = "activation",
        /// A connection without any request.
        Probe = "probe",
        Refusal = "refusal",
        /// Something that no honest client and server write.
        Anomaly = "anomaly",
        /// No event: words of the notifier about itself, or anything else.
        #[default]
        #[serde(other)]
        Note = "note",
    }
}

/// One line, read; an item of `notifier.logs`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EventRecord {
    /// When it happened; for a note, when it was printed.
    pub at: Option<Timestamp>,
    pub event: EventKind,
    pub address: Option<IpAddr>,
    pub port: Option<u16>,
    pub source: Option<ClientSource>,
    pub product: Option<String>,
    pub product_id: Option<String>,
    pub workstation: Option<String>,
    pub status: Option<String>,
    pub decision: Option<String>,
    pub attribution: Option<String>,
    /// The kind of an anomaly, or a refusal's code.
    pub kind: Option<String>,
    pub text: Option<String>,
}

impl EventRecord {
    /// Reads a line of the notifier's output that was printed at `printed`.
    pub fn read_line(line: &str, printed: Option<Timestamp>) -> Self {
        let event = serde_json::from_str(line)
            .ok()
            .filter(|record: &Self| record.event != EventKind::Note)
            .or_else(|| parse_old_script_line(line));
        let mut record = event.unwrap_or_else(|| Self {
            text: Some(line.chars().take(LONGEST_NOTE).collect()),
            ..Self::default()
        });
        record.at = record.at.or(printed).map(whole_second);
        record
    }

    /// Returns whether this was stamped by a clock of another time: more than a zone's difference ahead.
    pub fn is_far_ahead(&self, now: Timestamp) -> bool {
        self.at.is_some_and(|at| at.duration_since(now) > DAY)
    }

    /// Returns whose activation of the last 24 hours this is, and when it was; one that is ahead is of now.
    pub fn recent_activation(&self, now: Timestamp) -> Option<(IpAddr, Timestamp)> {
        let at = self.at.filter(|_| !self.is_far_ahead(now))?.min(now);
        let is_recent = self.event == EventKind::Activation && now.duration_since(at) <= DAY;
        is_recent.then_some((canonical_address(self.address?), at))
    }
}

impl From<Decided> for EventRecord {
    fn from(decided: Decided) -> Self {
        Self {
            at: Timestamp::from_second(decided.at).ok(),
            event: decided.event,
            address: decided.address,
            port: decided.port,
            source: decided.source,
            product: decided.product,
            product_id: decided.product_id,
            workstation: decided.workstation,
            status: decided.status.map(str::to_owned),
            decision: Some(decided.decision.name().to_owned()),
            attribution: decided.attribution.map(|sure| sure.name().to_owned()),
            kind: decided.kind,
            text: None,
        }
    }
}

/// Splits the stamp off that `kubectl logs --timestamps` puts before each line.
pub fn split_kubectl_stamp(line: &str) -> (Option<Timestamp>, &str) {
    let split = line.split_once(' ').and_then(|(stamp, rest)| Some((stamp.parse().ok()?, rest)));
    split.map_or((None, line), |(at, rest)| (Some(at), rest))
}

/// Reads the lines of the script that kmsctl replaces: `[slack-notifier] sent: ip=… source=… product='…' host='…'`.
fn parse_old_script_line(line: &str) -> Option<EventRecord> {
    let rest = line.strip_prefix("[slack-notifier] ")?;
    let (word, fields) = rest.split_once(": ")?;
    let (event, decision) = match word {
        "probe" => (EventKind::Probe, "count"),
        "sent" => (EventKind::Activation, "post"),
        "dedup-skip" => (EventKind::Activation, "duplicate"),
        _ => return None,
    };
    let plain = |name: &str| {
        let (_, behind) = fields.split_once(name)?;
        behind.split(' ').next()
    };
    let quoted = |name: &str, next: &str| {
        let (_, behind) = fields.split_once(name)?;
        let end = behind.rfind(next).or_else(|| behind.rfind('\''))?;
        behind.get(..end).map(str::to_owned)
    };
    let source = plain("source=").unwrap_or_default();
    Some(EventRecord {
        event,
        address: Some(plain("ip=")?.parse().ok()?),
        source: ClientSource::named(source),
        product: quoted("product='", "' host='"),
        workstation: quoted("host='", "'"),
        decision: Some(decision.to_owned()),
        ..EventRecord::default()
    })
}

/// Which events are asked for; without anything all but probes, and notes as well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    pub source: Option<ClientSource>,
    /// Only requests: activations and refusals.
    pub activations: bool,
    pub probes: bool,
}

impl EventFilter {
    pub fn lets_pass(&self, record: &EventRecord) -> bool {
        let kind = match record.event {
            EventKind::Probe => self.probes,
            EventKind::Activation | EventKind::Refusal => true,
            EventKind::Anomaly | EventKind::Note => !self.activations,
        };
        kind && self.source.is_none_or(|source| record.source == Some(source))
    }
}

/// The last activation of a period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Last {
    pub at: Timestamp,
    pub address: Option<IpAddr>,
    pub product: Option<String>,
    pub workstation: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Held {
    /// Requests that were answered or cut short.
    pub activations: u64,
    pub activations_by_class: Probes,
    pub clients: u64,
    /// Activations and refusals to be posted; the metrics say whether Slack took them.
    pub posts: u64,
    pub duplicates: u64,
    pub refusals: u64,
    /// Probes by class; only where the notifier echoes them.
    pub probes: Probes,
    pub anomalies: u64,
    /// The last activation.
    pub last_activation: Option<Last>,
    /// Clients of activations, by class: they show a lost client address.
    #[serde(skip)]
    pub addresses: BTreeSet<(ClientSource, IpAddr)>,
}

impl Held {
    /// Tallies what happened at or after `since`.
    pub fn tally_since<'a>(
        records: impl IntoIterator<Item = &'a EventRecord>,
        since: Timestamp,
    ) -> Self {
        let mut held = Self::default();
        let within = |record: &&EventRecord| record.at.is_some_and(|at| at >= since);
        for record in records.into_iter().filter(within) {
            held.count_event(record);
        }
        let clients: BTreeSet<IpAddr> =
            held.addresses.iter().map(|(_, address)| *address).collect();
        held.clients = clients.len() as u64;
        held
    }

    fn count_event(&mut self, record: &EventRecord) {
        match record.event {
            EventKind::Activation => {
                self.activations += 1;
                self.activations_by_class.add(record.source);
                if let Some(client) = record.source.zip(record.address) {
                    self.addresses.insert(client);
                }
                let newer = |last: &Last| record.at.is_some_and(|at| at >= last.at);
                if let Some(at) = record.at
                    && self.last_activation.as_ref().is_none_or(newer)
                {
                    self.last_activation = Some(Last {
                        at,
                        address: record.address,
                        product: record.product.clone(),
                        workstation: record.workstation.clone(),
                    });
                }
            }
            EventKind::Refusal => self.refusals += 1,
            EventKind::Probe => self.probes.add(record.source),
            EventKind::Anomaly => self.anomalies += 1,
            EventKind::Note => {}
        }
        match record.decision.as_deref() {
            Some("post") => self.posts += 1,
            Some("duplicate") => self.duplicates += 1,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn unknown_lines_become_notes() {
        let record = EventRecord::read_line(
            r#"{"event":"activation","address":"203.0.113.9","port":50001,"source":"external","product":"P","at":"2026-03-01T10:00:00Z","decision":"post","kind":null,"new":1}"#,
            None,
        );
        assert_eq!(record.event, EventKind::Activation);
        assert_eq!(record.source, Some(ClientSource::External));
        assert_eq!(record.at, "2026-03-01T10:00:00Z".parse().ok());
        let printed = "2026-03-01T11:00:00Z".parse().ok();
        let script = EventRecord::read_line(
            "[slack-notifier] sent: ip=192.168.1.230 source=external product='Windows 10' host='it's me'",
            printed,
        );
        assert_eq!(script.event, EventKind::Activation);
        assert_eq!(script.product.as_deref(), Some("Windows 10"));
        assert_eq!(script.workstation.as_deref(), Some("it's me"));
        assert_eq!(script.at, printed);
        let probe = EventRecord::read_line(
            "[slack-notifier] probe: ip=10.0.20.103 source=cluster_node",
            printed,
        );
        assert_eq!(probe.source, Some(ClientSource::ClusterNode));
        for line in [
            "",
            "{}",
            "[1]",
            "[slack-notifier] metrics on :9101/metrics",
            r#"{"event":"new thing"}"#,
        ] {
            let note = EventRecord::read_line(line, printed);
            assert_eq!((note.event, note.text.as_deref()), (EventKind::Note, Some(line)));
        }
    }

    #[test]
    fn the_stamp_is_split_off() {
        let (at, rest) = split_kubectl_stamp("2026-03-01T11:00:00.123456789Z a b");
        assert_eq!((at.is_some(), rest), (true, "a b"));
        assert_eq!(split_kubectl_stamp("no stamp"), (None, "no stamp"));
    }

    fn record_at(event: EventKind, source: ClientSource, at: i64) -> EventRecord {
        EventRecord {
            event,
            at: Timestamp::from_second(at).ok(),
            source: Some(source),
            address: "203.0.113.9".parse().ok(),
            decision: Some("post".to_owned()),
            ..EventRecord::default()
        }
    }

    #[test]
    fn filters_combine_and_a_period_is_tallied() {
        let list = [
            record_at(EventKind::Activation, ClientSource::External, 100),
            record_at(EventKind::Activation, ClientSource::External, 300),
            record_at(EventKind::Refusal, ClientSource::ClusterNode, 200),
            record_at(EventKind::Probe, ClientSource::External, 250),
            record_at(EventKind::Note, ClientSource::External, 250),
        ];
        let passing =
            |filter: EventFilter| list.iter().filter(|record| filter.lets_pass(record)).count();
        assert_eq!(passing(EventFilter::default()), 4, "all but probes");
        let external =
            EventFilter { source: Some(ClientSource::External), ..EventFilter::default() };
        assert_eq!(passing(external), 3);
        assert_eq!(passing(EventFilter { activations: true, ..EventFilter::default() }), 3);
        assert_eq!(passing(EventFilter { probes: true, ..external }), 4);
        let held = Held::tally_since(&list, Timestamp::from_second(200).unwrap());
        assert_eq!((held.activations, held.refusals, held.clients), (1, 1, 1));
        assert_eq!((held.probes.external, held.activations_by_class.external), (1, 1));
        assert_eq!(held.last_activation.map(|last| last.at.as_second()), Some(300));
    }

    proptest! {
        #[test]
        fn no_line_breaks_it(line in any::<String>()) {
            let _ = EventRecord::read_line(&line, None);
            let _ = EventRecord::read_line(&format!("[slack-notifier] sent: {line}"), None);
            let _ = split_kubectl_stamp(&line);
        }
    }
}
