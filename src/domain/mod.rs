//! The pure domain: text and values in, values out. No file, process, network, clock or environment is
//! touched below this module; `now` is an argument. A test holds the fence (`tests/cli/house.rs`).

pub mod address;
pub mod announce;
pub mod blocked;
pub mod change;
pub mod classify;
pub mod cluster;
pub mod configured;
pub mod connections;
pub mod decision;
pub mod dedup;
pub mod dns;
pub mod echo;
pub mod expiry;
pub mod exposition;
pub mod exposure;
pub mod findings;
pub mod firewall_identity;
pub mod freebsd;
pub mod history;
pub mod hops;
pub mod leftovers;
pub mod manifest;
pub mod overload;
pub mod pf;
pub mod pfsense;
pub mod pipeline;
pub mod plan;
pub mod products;
pub mod ratelimit;
pub mod reach;
pub mod rpc;
pub mod seam;
pub mod service;
pub mod vlmcsd;
pub mod warning;
