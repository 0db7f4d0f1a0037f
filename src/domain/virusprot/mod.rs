//! The overload table: its entries, and what makes them expire. Pure.

pub(crate) mod cron;
pub mod entries;
pub mod expiry;
