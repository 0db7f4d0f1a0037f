//! The firewall's side of the metrics, and the record of who was blocked: what `kmsctl exporter run` serves and keeps.
//! Asking the firewall is the command's; nothing here opens a connection to it.

pub mod activations;
pub mod block_record;
pub mod customer_posts;
pub mod logins;
pub mod metrics;
