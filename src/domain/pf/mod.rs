//! pf as pfctl prints it: text ↔ values, for FreeBSD 12, 14 and 15 (pfSense 2.6, 2.7 and 2.8/Plus).
//!
//! Each parser returns what it understood and, as [`Unread`], the lines it did not; it never panics and
//! never skips silently. What pfctl's own lines look like is the simulator's to know; only states print here, too.

pub mod info;
pub mod lines;
pub mod rule;
pub mod source;
pub mod state;
pub mod table;
mod text;

pub use lines::{Parsed, Unread};
pub use text::ClockTime;

/// How much pfctl was asked to say: no flag, `-v` or `-vv`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Without `-v`.
    #[default]
    Plain,
    /// With `-v`.
    Verbose,
    /// With `-vv`.
    VeryVerbose,
}
