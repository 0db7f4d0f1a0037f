//! What tests of several files share. Each test binary uses its own part of it.
#![allow(dead_code)]
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "tests touch the world and fail loudly"
)]

pub mod delay_proxy;
pub mod processes;
pub mod skip;
pub mod sshd;
