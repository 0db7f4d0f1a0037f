//! What the side-car does about each event of the log: post, hold back, or only count. One place for `notifier
//! run` and `notifier replay`, so that both decide alike.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::dedup::{Dedup, DedupKey};
use super::event_log::EventKind;
use super::slack::Notice;
use super::source::{ClientSource, classify_source};
use crate::domain::kms_log::products;
use crate::domain::kms_log::wrapper::Wrapping;
use crate::domain::kms_log::{Attribution, KmsEvent, KmsRequest, RequestOutcome, RequestStatus};
use crate::text::word_enum;

word_enum! {
    pub enum Decision {
        Post = "post",
        /// It was posted within the window.
        Duplicate = "duplicate",
        /// Count it only.
        Count = "count",
        /// It happened too long ago to post.
        TooOld = "too-old",
    }
}

/// An event with everything that is said about it; the schema of `notifier.replay`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Decided {
    pub event: EventKind,
    pub address: Option<IpAddr>,
    pub port: Option<u16>,
    pub source: Option<ClientSource>,
    pub product: Option<String>,
    pub product_id: Option<String>,
    pub workstation: Option<String>,
    pub status: Option<&'static str>,
    /// When, Unix seconds.
    #[serde(serialize_with = "as_time")]
    pub at: i64,
    pub decision: Decision,
    pub attribution: Option<Attribution>,
    /// The kind of an anomaly, or a refusal's code.
    pub kind: Option<String>,
}

/// A post that was decided on, and the key it holds in the window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Post {
    pub notice: Notice,
    pub key: DedupKey,
}

/// The rules: who is where, and what is posted.
#[derive(Clone, Debug)]
pub struct DecisionRules {
    pub pods: Vec<IpNet>,
    pub nodes: Vec<IpNet>,
}

impl DecisionRules {
    pub fn source_of(&self, address: IpAddr) -> ClientSource {
        classify_source(address, &self.pods, &self.nodes)
    }

    /// Decides about a request; `now` is the dedup store's clock in seconds. A refused request is counted and posted
    /// like an activation: an operator wants to know both. `not_before` holds for what was in the log before anything
    /// was read of it: what is read as it is written is posted with any stamp, as the server's clock may be wrong.
    pub fn decide_request(
        &self,
        request: &KmsRequest,
        not_before: Option<i64>,
        dedup: &mut Dedup,
        now: u64,
    ) -> (Decision, Option<Post>) {
        if is_too_old(request, not_before) {
            return (Decision::TooOld, None);
        }
        let key = DedupKey::from_request(request);
        if !dedup.reserve_key(&key, now) {
            return (Decision::Duplicate, None);
        }
        let notice = Notice::from_request(request, self.source_of_request(request));
        (Decision::Post, Some(Post { notice, key }))
    }

    /// Returns where a request came from: from outside, where the log does not say whose it is.
    fn source_of_request(&self, request: &KmsRequest) -> ClientSource {
        request.peer.map_or(ClientSource::External, |peer| self.source_of(peer.address))
    }

    /// Decides about a request where nothing can be posted: it is counted, and takes no key, so that a webhook that
    /// comes later misses no client.
    pub fn decide_unposted(request: &KmsRequest, not_before: Option<i64>) -> Decision {
        if is_too_old(request, not_before) { Decision::TooOld } else { Decision::Count }
    }

    pub fn describe_event(&self, event: &KmsEvent, decision: Decision) -> Decided {
        match event {
            KmsEvent::Request(request) => self.describe_request(request, decision),
            KmsEvent::Probe { at, peer } => Decided {
                address: Some(peer.address),
                port: Some(peer.port),
                source: Some(self.source_of(peer.address)),
                ..Decided::without_request(EventKind::Probe, *at, decision)
            },
            KmsEvent::Anomaly { at, peer, kind } => Decided {
                address: peer.map(|peer| peer.address),
                port: peer.map(|peer| peer.port),
                source: peer.map(|peer| self.source_of(peer.address)),
                kind: Some(kind.name().to_owned()),
                ..Decided::without_request(EventKind::Anomaly, *at, decision)
            },
        }
    }

    fn describe_request(&self, request: &KmsRequest, decision: Decision) -> Decided {
        let (event, kind) = match request.outcome {
            RequestOutcome::Refused(code) => (EventKind::Refusal, Some(format!("0x{code:08X}"))),
            RequestOutcome::Unanswered => (EventKind::Activation, Some("unanswered".to_owned())),
            RequestOutcome::Answered => (EventKind::Activation, None),
        };
        Decided {
            address: request.peer.map(|peer| peer.address),
            port: request.peer.map(|peer| peer.port),
            source: Some(self.source_of_request(request)),
            product: Some(products::display_product(request).to_owned()),
            product_id: request.product_id.map(|id| id.to_string()),
            workstation: request.workstation.clone(),
            status: request.status.map(RequestStatus::as_str),
            attribution: Some(request.attribution),
            kind,
            ..Decided::without_request(event, request.at, decision)
        }
    }
}

fn is_too_old(request: &KmsRequest, not_before: Option<i64>) -> bool {
    not_before.is_some_and(|not_before| request.at < not_before)
}

impl Decided {
    fn without_request(event: EventKind, at: i64, decision: Decision) -> Self {
        Self {
            event,
            address: None,
            port: None,
            source: None,
            product: None,
            product_id: None,
            workstation: None,
            status: None,
            at,
            decision,
            attribution: None,
            kind: None,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn as_time<S: serde::Serializer>(at: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    match jiff::Timestamp::from_second(*at) {
        Ok(time) => serializer.collect_str(&time),
        Err(_) => serializer.serialize_none(),
    }
}

/// Totals of what was decided; the `summary` of `notifier.replay`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    pub lines: u64,
    /// Lines that no known server writes.
    pub unparsed: u64,
    /// What is wrapped around the server's lines, if anything.
    #[serde(skip)]
    pub wrapped: Option<Wrapping>,
    /// Lines of more than one server stand in the log.
    #[serde(skip)]
    pub several_sources: bool,
    /// Lines at the end of the log that are not understood, in a row.
    #[serde(skip)]
    pub strange_row: u64,
    /// What they seem to be.
    #[serde(skip)]
    pub seems: Option<&'static str>,
    pub connections: u64,
    /// Requests that were answered or cut short.
    pub activations: u64,
    pub probes: Probes,
    pub posts: u64,
    pub duplicates: u64,
    pub refusals: u64,
    pub anomalies: u64,
    pub ambiguous: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Probes {
    pub internal_pod: u64,
    pub cluster_node: u64,
    pub external: u64,
}

impl Probes {
    pub fn add(&mut self, source: Option<ClientSource>) {
        match source {
            Some(ClientSource::InternalPod) => self.internal_pod += 1,
            Some(ClientSource::ClusterNode) => self.cluster_node += 1,
            Some(ClientSource::External) => self.external += 1,
            None => {}
        }
    }
}

impl Summary {
    pub fn count_event(&mut self, event: &KmsEvent, decision: Decision, rules: &DecisionRules) {
        match event {
            KmsEvent::Request(request) => {
                match request.outcome {
                    RequestOutcome::Refused(_) => self.refusals += 1,
                    RequestOutcome::Answered | RequestOutcome::Unanswered => self.activations += 1,
                }
                self.ambiguous += u64::from(request.attribution == Attribution::Ambiguous);
                self.posts += u64::from(decision == Decision::Post);
                self.duplicates += u64::from(decision == Decision::Duplicate);
            }
            KmsEvent::Probe { peer, .. } => self.probes.add(Some(rules.source_of(peer.address))),
            KmsEvent::Anomaly { .. } => self.anomalies += 1,
        }
    }
}
