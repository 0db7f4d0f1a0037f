//! The lab: `verify --external` against real packets. Network namespaces made by the test hold a vantage (a real
//! sshd), a router (nftables), a KMS stub and an operator; nothing leaves them. Needs root, ip and nft.
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "tests touch the world and fail loudly"
)]

#[path = "lab/changes.rs"]
mod changes;
#[path = "lab/matrix.rs"]
mod matrix;
#[path = "lab/net.rs"]
mod net;
#[path = "lab/serve.rs"]
mod serve;
mod support;
