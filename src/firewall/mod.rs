//! The pfSense edge: one link, one script, typed facts. Knows pfctl's exit codes and messages; holds no rules
//! about what they mean for the exposure (that is `domain`).

pub mod act;
pub mod agent;
mod agent_key;
pub mod demux;
pub mod facts;
pub mod hostkey;
mod identity;
pub mod link;
pub mod link_error;
mod log_pipe;
mod master;
pub mod new_box;
pub mod openssh;
pub mod russh;
pub mod script;
pub mod shell;
mod ssh_arguments;
mod ssh_log;
pub mod tunnel;
