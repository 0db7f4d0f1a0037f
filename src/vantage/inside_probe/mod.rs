//! What this machine sees of the service: what name servers say, whether the service's address takes a connection,
//! and the first word of its protocol. The edge only; judging is [`crate::domain::reachability::path`]'s. It proves nothing about
//! the outside.
