//! The embedded firewall: pf's tables, rules, states and overload in memory, the answers of pfctl and of
//! the agent, served over real SSH on loopback.

mod agent;
mod pf;
mod pfctl;
mod random;
mod scenario;
mod shell;
mod traffic;
mod warm;
mod world;

pub use scenario::Scenario;
