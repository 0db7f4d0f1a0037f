//! The overload table: its entries, and what makes them expire. Pure.

pub mod cron;
pub mod entries;
pub mod expiry;
