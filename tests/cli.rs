//! End to end: the real binary, one module a command group. The path of a module is the command's.

#[path = "cli/config.rs"]
mod config;
#[path = "cli/demo.rs"]
mod demo;
#[path = "cli/house.rs"]
mod house;
#[path = "cli/runbook.rs"]
mod runbook;
#[path = "cli/status.rs"]
mod status;
mod support;
#[path = "cli/util.rs"]
mod util;
#[path = "cli/virusprot.rs"]
mod virusprot;
