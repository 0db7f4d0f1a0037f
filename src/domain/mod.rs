//! The pure domain: text and values in, values out. No file, process, network, clock or environment is
//! touched below this module; `now` is an argument. A test holds the fence (`tests/cli/house.rs`).

pub mod address;
pub mod cluster;
pub mod connections;
pub mod exposure;
pub mod firewall_identity;
pub mod history;
pub mod json_difference;
pub mod kms_log;
pub mod notifier;
pub mod overload;
pub mod pf;
pub mod pfsense;
pub mod plan;
pub mod ratelimit;
pub mod reachability;
pub mod service;
pub mod shell_word;
pub mod virusprot;
pub mod warning;
