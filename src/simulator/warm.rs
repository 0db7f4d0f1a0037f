//! Counters of the time without a reader: what the rules of a box like this count in a while, so that a fresh
//! or long-forgotten box does not look newborn. Invented, but in proportion to the traffic that is lived.

use super::pf::rule::LoadedRule;
use super::pf::{OVERLOAD_BLOCK, SimulatedPf};
use super::scenario::{HTTPS6, KMS};

/// What a rule counts in 1000 seconds: states made, packets and bytes of one direction; and the port of its redirection.
const USUAL: [(u32, u64, u64, u64, u16); 12] = [
    (KMS, 157, 1_330, 96_400, 1688),
    (HTTPS6, 19, 4_300, 1_020_000, 0),
    (1_763_000_001, 0, 15_700, 9_300_000, 51_820),
    (1_763_000_002, 50, 8_100, 2_340_000, 443),
    (1_763_000_003, 2, 90, 31_000, 465),
    (100_000_101, 210, 61_000, 48_700_000, 0),
    (1_762_999_900, 340, 88_000, 90_300_000, 0),
    (1_000_003_615, 230, 25_500, 11_800_000, 0),
    (1_000_003_616, 19, 4_300, 1_020_000, 0),
    (1_000_003_711, 540, 149_000, 139_000_000, 0),
    (1_000_000_103, 0, 640, 38_400, 0),
    (OVERLOAD_BLOCK, 0, 14, 840, 0),
];

/// Packets that the rules were searched for, in 1000 seconds.
const SEARCHED: u64 = 2_100;

/// Adds what `seconds` of usual traffic count.
pub fn age_counters(pf: &mut SimulatedPf, seconds: i64, now: i64) {
    if !pf.enabled {
        return;
    }
    let seconds = u64::try_from(seconds).unwrap_or(0);
    let times = |rate: u64| rate.saturating_mul(seconds) / 1000;
    let length = super::pf::widened_count(pf.filter.len()).max(1);
    for (index, rule) in pf.filter.iter_mut().enumerate() {
        // Quick rules before take packets away, skip steps more of them; but each state made took a look.
        let left = length - super::pf::widened_count(index).min(length - 1);
        let interface = if rule.text.contains(" on ") { 2 } else { 1 };
        let made = usual_rate(rule).map_or(0, |(_, states, ..)| states);
        rule.evaluations += times((SEARCHED * left / length / interface).max(2 * made));
    }
    for rule in pf.rdr.iter_mut().chain(pf.nat.iter_mut()) {
        rule.evaluations += times(SEARCHED / 4);
    }
    for usual in USUAL {
        let (_, states, packets, bytes, port) = usual;
        let mut rules = pf.filter.iter_mut().filter(|rule| usual_rate(rule) == Some(usual));
        let Some(rule) = rules.next() else {
            continue;
        };
        let redirects = format!(" port = {port} ->");
        let redirection = pf.rdr.iter_mut().find(|rule| rule.text.contains(&redirects));
        // A redirection counts what its filter rule counts.
        for rule in std::iter::once(rule).chain(rules).chain(redirection) {
            let replies = u64::from(states > 0);
            rule.creations += times(states);
            rule.packets.0 += times(packets);
            rule.packets.1 += replies * times(packets);
            rule.bytes.0 += times(bytes);
            rule.bytes.1 += replies * times(bytes);
            rule.last_active = Some(now);
        }
        pf.totals.inserts += times(states);
        pf.totals.removals += times(states);
        pf.totals.searches += times(2 * packets);
    }
    pf.totals.matches += times(SEARCHED);
    let capped = |rule: &LoadedRule| {
        rule.caps.overload.is_some() && usual_rate(rule).is_some_and(|usual| usual.0 == KMS)
    };
    if pf.filter.iter().any(capped) {
        let tripped = times(2) + times(1) / 50;
        pf.totals.source_rates += times(2);
        pf.totals.source_connections += times(1) / 50;
        pf.totals.overload_insertions += tripped;
        pf.totals.overload_flushes += tripped;
        pf.totals.nodes.0 += times(176);
        pf.totals.nodes.1 += times(40);
        pf.totals.nodes.2 += times(40);
    }
}

/// Returns which of the usual rules this one is: the service's may have been made anew, with another tracker.
fn usual_rate(rule: &LoadedRule) -> Option<(u32, u64, u64, u64, u16)> {
    let to_service = |(_, to): (&str, &str)| to.ends_with(" port = 1688");
    let ours =
        rule.is_users() && rule.text.starts_with("pass ") && rule.ends().is_some_and(to_service);
    let identifier = if ours { Some(KMS) } else { rule.identifier };
    USUAL.into_iter().find(|usual| Some(usual.0) == identifier)
}
