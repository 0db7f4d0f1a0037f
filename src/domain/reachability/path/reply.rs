//! The last hops: did the service's address take a connection from this machine, and did a KMS server answer.

use std::time::Duration as Span;

use super::Evidence;
use crate::domain::reachability::finding::Finding;
use crate::domain::reachability::kms_bind::BindAnswer;

/// How a connection went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServiceConnection {
    /// Taken.
    Open {
        /// How long that took.
        took: Span,
    },
    /// Somebody answered that nobody listens.
    Refused,
    /// No answer.
    Silent {
        /// How long was waited.
        seconds: u64,
    },
    /// This machine could not even send.
    NoWay {
        /// The operating system's words.
        reason: String,
    },
}

/// Judges the hops `connect` and `speaks`.
pub fn service_hops(evidence: &Evidence<'_>) -> Vec<Finding> {
    let place = format!("{}:{}", evidence.service.address, evidence.service.port);
    vec![connect_hop(evidence, &place), speaks_hop(evidence)]
}

fn connect_hop(evidence: &Evidence<'_>, place: &str) -> Finding {
    let here = "From this machine";
    match evidence.connection {
        ServiceConnection::Open { took } => Finding::ok("connect", format!("{here}, {place} takes connections (within {}).", rounded_time(*took))),
        ServiceConnection::Refused => Finding::wrong(
            "connect",
            format!("{here}, {place} refuses connections: the address is there, but nobody listens."),
            "Look at the pod; without a cluster configured, is the server running?",
        ),
        ServiceConnection::Silent { seconds } => Finding::unknown("connect", format!("{here}, {place} did not answer within {seconds} s."))
            .fix("Run it inside (LAN or VPN): from elsewhere silence says nothing. Inside, it means that nobody announces the address."),
        ServiceConnection::NoWay { reason } => Finding::unknown("connect", format!("{here}, {place} cannot be tried: {reason}."))
            .fix("Run it inside (LAN or VPN)."),
    }
}

fn speaks_hop(evidence: &Evidence<'_>) -> Finding {
    let check = "speaks";
    let another =
        "Is that the KMS server? Compare service.address and service.port with what is deployed.";
    let stuck =
        "The server is wedged, or something between takes connections for it: restart the pod.";
    let Some(answer) = evidence.answer else {
        return Finding::unknown(check, "Unknown, as there is no connection.");
    };
    match answer {
        BindAnswer::Kms => Finding::ok(
            check,
            "The server accepted a bind to the KMS interface; no activation was asked for.",
        ),
        BindAnswer::RpcNotKms => Finding::wrong(
            check,
            "It speaks DCE/RPC, but does not take the KMS interface.",
            another,
        ),
        BindAnswer::NotRpc => Finding::wrong(check, "It answered, but not in DCE/RPC.", another),
        BindAnswer::Silent => {
            Finding::wrong(check, "It took the connection and never answered.", stuck)
        }
        BindAnswer::Reset => Finding::wrong(
            check,
            "It took the connection and closed it without an answer.",
            stuck,
        ),
    }
}

/// Rounds a time up to a step, so that two runs tell the same unless something changed.
pub fn rounded_time(took: Span) -> String {
    let steps = [
        (10, "10 ms"),
        (100, "0.1 s"),
        (500, "0.5 s"),
        (1_000, "1 s"),
        (3_000, "3 s"),
    ];
    let millis = took.as_millis();
    steps
        .into_iter()
        .find(|(step, _)| millis < *step)
        .map_or_else(
            || format!("{} s", took.as_secs() + 1),
            |(_, word)| word.to_owned(),
        )
}
