//! The side-car whole: the real binary beside a log that another process writes, a fake Slack, a real Redis or
//! Valkey, a real Prometheus.
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "tests touch the world and fail loudly"
)]

#[path = "notifier/campaign.rs"]
mod campaign;
#[path = "notifier/clock.rs"]
mod clock;
#[path = "notifier/pipeline.rs"]
mod pipeline;
#[path = "notifier/slack.rs"]
mod slack;
mod support;
#[path = "notifier/trouble.rs"]
mod trouble;
#[path = "notifier/window.rs"]
mod window;
