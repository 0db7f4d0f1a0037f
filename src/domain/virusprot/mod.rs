//! The overload table: its entries, what makes them expire, and the record of who was in it. Pure.

pub mod block_log;
pub mod cron;
pub mod entries;
pub mod expiry;
