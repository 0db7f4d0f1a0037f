//! The KMS server's log: bytes → lines → connections and requests. Knows nothing of Slack, metrics or files.
//!
//! Lines are split on `\n` bytes only, each is read by an anchored parser ([`mod@line`]), and [`log`]
//! finds which connection a request belongs to. The server (vlmcsd, Wind4's source and the forks of it) writes
//! detail lines without any connection id, so that step is attribution, and says when it is unsure.

pub mod attribute;
pub mod checkpoint;
pub mod connections;
pub mod event;
pub mod guid;
pub mod line;
pub mod log;
pub mod machines;
pub mod peer;
pub mod request;
pub mod request_block;
pub mod wrapper;

pub use event::{Anomaly, Attribution, KmsEvent, KmsRequest, RequestOutcome, RequestStatus};
pub use guid::Guid;
pub use log::Log;
pub use peer::Peer;
#[cfg(test)]
#[path = "../../../tests/support/kms_log/mod.rs"]
#[expect(clippy::module_inception, reason = "the tests' support has the name of its folder")]
mod kms_log;

#[cfg(test)]
mod score;

#[cfg(test)]
mod cases;
#[cfg(test)]
mod truth;

#[cfg(test)]
mod generated;
pub mod products;
