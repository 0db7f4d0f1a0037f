//! How long to wait after a failure: twice as long each time, varied so that many notifiers do not come back at once.

use std::time::Duration;

/// Returns 1 s, 2 s, 4 s … up to `longest` for so many failures in a row, each give or take `spread` parts in a hundred (1 to
/// 100). `seed` is the state of the generator, not 0.
pub fn backoff_after(failures: u32, longest: Duration, spread: u32, seed: &mut u64) -> Duration {
    let doubled = Duration::from_secs(1_u64 << failures.saturating_sub(1).min(6));
    // xorshift64: quality does not matter here.
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    let drawn = u32::try_from(*seed % u64::from(2 * spread)).unwrap_or_default();
    doubled.min(longest) * (100 - spread + drawn) / 100
}
