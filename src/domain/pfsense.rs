//! pfSense's configuration as raw records: what is read of config.xml and how it becomes what the judgements use. Not for
//! pf's own rules (`super::pf`), and not for asking the firewall.

pub mod beside;
pub mod change;
pub mod config;
pub mod configured;
pub mod deciding;
pub mod edit;
pub mod freebsd;
pub mod leftovers;
pub mod managed;
pub mod proof;
pub(crate) mod record;
mod separators;
pub mod stored;
