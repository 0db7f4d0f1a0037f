//! What the side-car decides: from a request to a message, a count or nothing. Pure.

pub mod decide;
pub mod dedup;
pub mod event_log;
pub mod health;
pub mod prometheus;
pub mod slack;
pub mod source;
