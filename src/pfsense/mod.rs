//! The pfSense edge: one link, one script, typed facts. Knows pfctl's exit codes and messages; holds no rules
//! about what they mean for the exposure (that is `domain`).

pub mod actions;
pub mod agent;
pub mod questions;
