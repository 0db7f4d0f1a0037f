//! What is read out of the log: activations, refusals, probes, anomalies.

use serde::{Deserialize, Serialize};

use super::guid::Guid;
use super::peer::Peer;
use crate::text::word_enum;

/// One thing that happened, by the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KmsEvent {
    Request(Box<KmsRequest>),
    /// A connection came and went without any request.
    Probe {
        /// When it was closed, Unix seconds.
        at: i64,
        peer: Peer,
    },
    /// Something that no honest server and client write.
    Anomaly {
        /// When, Unix seconds.
        at: i64,
        peer: Option<Peer>,
        kind: Anomaly,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KmsRequest {
    /// When it was answered, refused or cut short: Unix seconds.
    pub at: i64,
    /// `None` where no connection is known that could have sent it.
    pub peer: Option<Peer>,
    pub attribution: Attribution,
    /// No other address could have sent it, whichever of its connections did.
    pub address_sure: bool,
    pub outcome: RequestOutcome,
    /// Protocol version, such as `6.0`.
    pub protocol: Option<String>,
    /// The client's state before the request.
    pub status: Option<RequestStatus>,
    /// Name of the application the server printed, such as `Windows`.
    pub application: Option<String>,
    /// The product's GUID: its identity.
    pub product_id: Option<Guid>,
    /// The product's name as the server printed it; `None` for `Unknown`.
    pub product: Option<String>,
    /// The client's machine ID; chosen by the client.
    pub machine: Option<Guid>,
    /// The workstation's name; chosen by the client, raw but for invalid UTF-8.
    pub workstation: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestOutcome {
    Answered,
    /// It was refused with this Windows error code.
    Refused(u32),
    /// The connection ended before either was written.
    Unanswered,
}

word_enum! {
    pub enum Attribution {
        /// No other connection could have sent it.
        Certain = "certain",
        /// Another connection could have sent it too.
        Ambiguous = "ambiguous",
    }
}

/// The client's licensing state before its request (SoftwareLicensingProduct's LicenseStatus).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum RequestStatus {
    /// 0.
    Unlicensed,
    /// 1: this is a renewal.
    Licensed,
    /// 2: out of box grace.
    OobGrace,
    /// 3: out of tolerance grace.
    OotGrace,
    /// 4.
    NonGenuine,
    /// 5.
    Notification,
    /// 6.
    ExtendedGrace,
}

impl RequestStatus {
    pub const ALL: [Self; 7] = [
        Self::Unlicensed,
        Self::Licensed,
        Self::OobGrace,
        Self::OotGrace,
        Self::NonGenuine,
        Self::Notification,
        Self::ExtendedGrace,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unlicensed => "Unlicensed",
            Self::Licensed => "Licensed",
            Self::OobGrace => "OOB grace",
            Self::OotGrace => "OOT grace",
            Self::NonGenuine => "Non-Genuine",
            Self::Notification => "Notification",
            Self::ExtendedGrace => "Extended grace",
        }
    }

    /// Reads `1 (Licensed)`, or the bare word. The word decides, not the number: that is what people read.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let word = value.iter().position(|byte| *byte == b'(').map_or(value, |open| {
            let inside = value.get(open + 1..).unwrap_or_default();
            inside.strip_suffix(b")").unwrap_or(inside)
        });
        Self::ALL.into_iter().find(|status| status.as_str().as_bytes() == word)
    }
}

word_enum! {
    /// What no honest server and client write, or what was lost. Each is a label of a counter.
    #[derive(PartialOrd, Ord, Hash)]
    pub enum Anomaly {
        AcceptedTwice = "accepted_twice",
        /// A connection was closed that was not open.
        ClosedUnopened = "closed_unopened",
        /// A line stands where a workstation name with a newline would put it.
        InsideRequest = "inside_request",
        /// A `closed` of that kind proved false: the connection went on.
        ForgedClose = "forged_close",
        /// A detail line, an answer or a refusal fits no request.
        Stray = "stray",
        /// A request came while no client was connected.
        Orphan = "orphan",
        /// A connection never closed; it was forgotten.
        Expired = "expired",
        /// More connections were open than are kept; the oldest was forgotten.
        Evicted = "evicted",
        /// A server's child died; its connection will never be closed.
        Crash = "crash",
        /// A request in no known form.
        Malformed = "malformed",
    }
}
