//! pfSense's configuration as raw records: what is read of config.xml and how it becomes what the judgements use. Not for
//! pf's own rules (`super::pf`), and not for asking the firewall.

pub mod config;
pub mod edit;
pub mod managed;
mod separators;
