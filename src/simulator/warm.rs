//! Counters of the time without a reader: what the rules of a box like this count in a while, so that a fresh
//! or long-forgotten box does not look newborn. Invented, but in proportion to the traffic that is lived.

use super::pf::rule::LoadedRule;
use super::pf::{OVERLOAD_BLOCK, SimulatedPf};
use super::scenario::{HTTPS6, KMS};

/// What a rule counts in 1000 seconds: states made, packets and bytes of one direction.
const USUAL: [(u32, u64, u64, u64); 12] = [
    (KMS, 157, 1_330, 96_400),
    (HTTPS6, 19, 4_300, 1_020_000),
    (1_763_000_001, 0, 15_700, 9_300_000),
    (1_763_000_002, 50, 8_100, 2_340_000),
    (1_763_000_003, 2, 90, 31_000),
    (100_000_101, 210, 61_000, 48_700_000),
    (1_762_999_900, 340, 88_000, 90_300_000),
    (1_000_003_615, 230, 25_500, 11_800_000),
    (1_000_003_616, 19, 4_300, 1_020_000),
    (1_000_003_711, 540, 149_000, 139_000_000),
    (1_000_000_103, 0, 640, 38_400),
    (OVERLOAD_BLOCK, 0, 14, 840),
];

/// Packets that the rules were searched for, in 1000 seconds.
const SEARCHED: u64 = 2_100;

/// Adds what `seconds` of usual traffic count.
pub fn age_counters(pf: &mut SimulatedPf, seconds: i64, now: i64) {
    let seconds = u64::try_from(seconds).unwrap_or(0);
    let times = |rate: u64| rate.saturating_mul(seconds) / 1000;
    if !pf.enabled {
        return;
    }
    let length = super::pf::widened_count(pf.filter.len()).max(1);
    for (index, rule) in pf.filter.iter_mut().enumerate() {
        // Quick rules before take packets away, skip steps more of them; but each state made took a look.
        let left = length - super::pf::widened_count(index).min(length - 1);
        let interface = if rule.text.contains(" on ") { 2 } else { 1 };
        let looks = SEARCHED * left / length / interface;
        rule.evaluations += times(looks.max(2 * states_made(rule)));
        count_usual(rule, times, now);
    }
    let mut made = 0;
    for (identifier, states, packets, _) in USUAL {
        if pf
            .filter
            .iter()
            .any(|rule| usual_rate(rule) == Some(identifier))
        {
            made += times(states);
            pf.totals.searches += times(2 * packets);
        }
    }
    pf.totals.inserts += made;
    pf.totals.removals += made;
    pf.totals.matches += times(SEARCHED);
    for rule in pf.rdr.iter_mut().chain(pf.nat.iter_mut()) {
        rule.evaluations += times(SEARCHED / 4);
    }
    count_redirections(pf, times, now);
    let kms = pf.filter.iter().find(|rule| usual_rate(rule) == Some(KMS));
    if kms.is_some_and(|rule| rule.caps.overload.is_some()) {
        pf.totals.source_rates += times(2);
        pf.totals.source_connections += times(1) / 50;
        pf.totals.overload_insertions += times(2) + times(1) / 50;
        pf.totals.overload_flushes += times(2) + times(1) / 50;
        let nodes = times(40);
        pf.totals.nodes = (
            pf.totals.nodes.0 + times(176),
            pf.totals.nodes.1 + nodes,
            pf.totals.nodes.2 + nodes,
        );
    }
}

/// Returns which of the usual rules this one is: the service's may have been made anew, with another tracker.
fn usual_rate(rule: &LoadedRule) -> Option<u32> {
    let to_service = |(_, to): (&str, &str)| to.ends_with(" port = 1688");
    if rule.is_users() && rule.text.starts_with("pass ") && rule.ends().is_some_and(to_service) {
        Some(KMS)
    } else {
        rule.identifier
    }
}

/// Returns how many states the rule makes in 1000 seconds.
fn states_made(rule: &LoadedRule) -> u64 {
    USUAL
        .iter()
        .find(|(identifier, ..)| usual_rate(rule) == Some(*identifier))
        .map_or(0, |(_, states, ..)| *states)
}

fn count_usual(rule: &mut LoadedRule, times: impl Fn(u64) -> u64, now: i64) {
    let Some((_, states, packets, bytes)) = USUAL
        .into_iter()
        .find(|(identifier, ..)| usual_rate(rule) == Some(*identifier))
    else {
        return;
    };
    let replies = u64::from(states > 0);
    rule.creations += times(states);
    rule.packets = (
        rule.packets.0 + times(packets),
        rule.packets.1 + replies * times(packets),
    );
    rule.bytes = (
        rule.bytes.0 + times(bytes),
        rule.bytes.1 + replies * times(bytes),
    );
    rule.last_active = Some(now);
}

/// A redirection counts what its filter rule counts.
fn count_redirections(pf: &mut SimulatedPf, times: impl Fn(u64) -> u64 + Copy, now: i64) {
    for (port, identifier) in [
        (51_820, 1_763_000_001),
        (443, 1_763_000_002),
        (465, 1_763_000_003),
        (1688, KMS),
    ] {
        let mut like = LoadedRule::new("");
        like.identifier = Some(identifier);
        count_usual(&mut like, times, now);
        let wanted = format!(" port = {port} ->");
        let passes = port != 1688 || pf.filter.iter().any(|rule| usual_rate(rule) == Some(KMS));
        if let Some(rule) = pf
            .rdr
            .iter_mut()
            .find(|rule| passes && rule.text.contains(&wanted))
        {
            rule.packets = (
                rule.packets.0 + like.packets.0,
                rule.packets.1 + like.packets.1,
            );
            rule.bytes = (rule.bytes.0 + like.bytes.0, rule.bytes.1 + like.bytes.1);
            rule.creations += like.creations;
            rule.last_active = Some(now);
        }
    }
}
