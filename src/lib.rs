//! kmsctl: the map of the house.
pub mod clock;
pub mod commands;
pub mod domain;
pub mod error;
pub mod firewall;
pub mod simulator;
pub mod terminal;
