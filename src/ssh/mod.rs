//! The SSH edge: how one remote shell is reached (the system's ssh or the built-in client), framed and read. It knows nothing of pfSense.

pub(crate) mod agent_key;
pub mod builtin;
pub(crate) mod control_master;
pub mod error;
pub mod first_contact;
pub mod forward;
pub mod framing;
pub(crate) mod key_file;
pub mod known_hosts;
pub(crate) mod log_pipe;
pub(crate) mod one_key;
pub mod openssh;
pub mod openssh_log;
pub mod script;
pub mod shell;
pub(crate) mod ssh_arguments;
pub mod target;
