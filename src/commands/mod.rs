//! One file a command group, with a folder where it has more to do: its arguments beside its code. Commands ask the firewall, hand the answers to the domain
//! and show what comes back; what pf does and what a rule means is not decided here.

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
