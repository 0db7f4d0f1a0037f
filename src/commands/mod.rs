//! One file a command group: its arguments beside its code. No rules in here: commands ask the firewall for
//! facts, hand them to the domain and show what comes back.

pub mod apply;
pub mod config;
pub mod contexts;
pub mod demo;
pub mod doctor;
pub mod exporter;
pub mod expose;
pub mod history;
pub mod keep;
pub mod log_side;
pub mod notifier;
pub mod ratelimit;
pub mod rule;
pub mod runbook;
pub mod states;
pub mod status;
pub mod undo;
pub mod verify;
pub mod virusprot;
