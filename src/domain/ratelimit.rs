//! The caps: what they are, which preset that is, whether they bite, and who is near them. pf's own arithmetic
//! of the rate is [`super::overload`]'s; finding the rule that carries the caps is [`super::exposure`]'s.

pub mod preview;

use std::fmt;
use std::net::IpAddr;

use serde::Serialize;

use super::exposure::{Exposure, State};
use super::overload::{Generation, RateTracker};
use super::pf::rule::{Rate, Rule};
use super::pfsense::configured::FilterRule;
use super::pfsense::edit::CAP_KEYS;
use super::warning::Warning;
use crate::text::{format_span, quoted};

/// The caps of one rule, per source address. Both absent is no cap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Caps {
    /// Simultaneous established connections; one more trips it.
    pub max_src_conn: Option<u32>,
    /// New connections; without it pfSense loads no `overload`, and no address is ever blocked.
    pub rate: Option<Rate>,
}

impl Caps {
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// Reads the caps of a loaded rule; pf reads a limit of 0 as none.
    pub fn of_loaded(rule: &Rule) -> Self {
        let options = &rule.state_options;
        Self {
            max_src_conn: options.max_src_conn.filter(|limit| *limit > 0),
            rate: options.max_src_conn_rate.filter(|rate| rate.connections > 0),
        }
    }
}

impl fmt::Display for Caps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.max_src_conn, self.rate) {
            (None, None) => f.write_str("no caps"),
            (Some(limit), None) => write!(f, "max-src-conn {limit}"),
            (None, Some(rate)) => {
                write!(f, "max-src-conn-rate {}/{}", rate.connections, rate.seconds)
            }
            (Some(limit), Some(rate)) => {
                write!(
                    f,
                    "max-src-conn {limit}, max-src-conn-rate {}/{}",
                    rate.connections, rate.seconds
                )
            }
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preset {
    /// `default`, `tighten`, `loosen`, or a name of the operator's.
    pub name: String,
    pub caps: Caps,
}

/// Finds the preset that sets exactly these caps; the first wins where two do.
pub fn preset_of(presets: &[Preset], caps: Caps) -> Option<&Preset> {
    presets.iter().find(|preset| preset.caps == caps)
}

/// Reads the caps that pfSense will load for a configured rule, and says which fields it will not honour.
///
/// The rules are those of pfSense 2.7.2's `filter.inc`: caps only on `pass` rules that keep state; connection
/// caps only for TCP; the rate only with both halves set.
pub fn of_configured(rule: &FilterRule) -> (Caps, Vec<Warning>) {
    let mut findings = Vec::new();
    let fields = &rule.caps;
    let [of_connections, of_rate, of_seconds] = CAP_KEYS;
    let mut number = |key, field: &Option<String>| cap_number(key, field.as_deref(), &mut findings);
    let max_src_conn = number(of_connections, &fields.max_src_conn);
    let connections = number(of_rate, &fields.max_src_conn_rate);
    let seconds = number(of_seconds, &fields.max_src_conn_rates);
    let rate = match (connections, seconds) {
        (Some(connections), Some(seconds)) => Some(Rate { connections, seconds }),
        (None, None) => None,
        _ => {
            findings.push(half_rate(rule));
            None
        }
    };
    let caps = Caps { max_src_conn, rate };
    match rule.why_caps_are_ignored() {
        Some(why) if !caps.is_empty() => {
            findings.push(Warning::new(
                "caps-ignored",
                format!("The configured rule has {caps}, but pfSense ignores them: {why}."),
            ));
            (Caps::default(), findings)
        }
        _ => (caps, findings),
    }
}

/// Reads one cap field: absent, empty and 0 are no cap.
fn cap_number(name: &str, field: Option<&str>, findings: &mut Vec<Warning>) -> Option<u32> {
    let text = field.map(str::trim).filter(|text| !text.is_empty())?;
    if let Ok(number) = text.parse::<u32>() {
        return Some(number).filter(|number| *number > 0);
    }
    findings.push(Warning::new(
        "cap-not-a-number",
        format!(
            "The configured rule's {name} is {}, not a number: pf may refuse the whole ruleset.",
            quoted(text)
        ),
    ));
    None
}

fn half_rate(rule: &FilterRule) -> Warning {
    let limits = ["max", "max-src-nodes", "max-src-states", "statetimeout"];
    let connections = rule.caps.max_src_conn.as_deref().unwrap_or_default();
    let has_others = !connections.trim().is_empty()
        || rule.conditions.iter().any(|(key, _)| limits.contains(key));
    let effect = if has_others {
        "pfSense ignores it, so no address is ever put into the table"
    } else {
        "with no other cap set, pfSense up to 2.7.2 writes a ruleset that pf refuses as a whole"
    };
    Warning::new(
        "half-rate",
        format!("Only one half of the rate pair is set on the configured rule: {effect}."),
    )
}

/// Returns whether caps let through what others would have refused.
pub fn is_wider(caps: Caps, than: Caps) -> bool {
    let wider = |new: Option<u32>, old: Option<u32>| match (new, old) {
        (Some(new), Some(old)) => new > old,
        (new, old) => new.is_none() && old.is_some(),
    };
    let rate = match (caps.rate, than.rate) {
        (Some(new), Some(old)) => {
            u64::from(new.connections) * u64::from(old.seconds)
                > u64::from(old.connections) * u64::from(new.seconds)
                || new.connections > old.connections
        }
        (new, old) => new.is_none() && old.is_some(),
    };
    wider(caps.max_src_conn, than.max_src_conn) || rate
}

/// What `ratelimit show` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// What config.xml asks for; null where it has no rule, or could not be read.
    pub configured: Option<Caps>,
    /// What the rule that lets the service through carries; null where no rule is loaded.
    pub loaded: Option<Caps>,
    /// The preset these are (the loaded ones where there are any), if one fits exactly.
    pub preset: Option<String>,
    /// Connections pass, and each source is capped.
    pub in_force: bool,
    /// Where connections pass by the managed pair, the paths beside it that cap no source.
    pub uncapped_paths: Vec<String>,
    /// Why they are in force, or are not.
    pub why: String,
}

pub fn judge_caps(exposure: &Exposure, presets: &[Preset]) -> Standing {
    let caps = exposure.caps.loaded.or(exposure.caps.configured);
    let passes = exposure.state == State::Open;
    let uncapped_paths = if passes { exposure.uncapped_paths() } else { Vec::new() };
    Standing {
        configured: exposure.caps.configured,
        loaded: exposure.caps.loaded,
        preset: caps.and_then(|caps| preset_of(presets, caps)).map(|preset| preset.name.clone()),
        in_force: passes && uncapped_paths.is_empty(),
        uncapped_paths,
        why: exposure.why.first().map(|finding| finding.message.clone()).unwrap_or_default(),
    }
}

impl Standing {
    /// Says in one sentence, without full stop, whether the caps are in force and which they are.
    pub fn caps_sentence(&self) -> String {
        let preset = self.preset.as_ref();
        let name = preset.map_or("no preset".into(), |preset| format!("preset {preset}"));
        match (self.in_force, self.loaded) {
            (true, Some(caps)) => format!("in force: {caps} per source ({name})"),
            (false, Some(caps)) if !self.uncapped_paths.is_empty() => {
                format!("by the managed rule only: {caps} per source ({name})")
            }
            (false, Some(caps)) if caps.is_empty() => {
                "NOT in force: the loaded rule caps no source".to_owned()
            }
            (false, Some(caps)) => {
                format!("NOT in force, though loaded: {caps} per source ({name})")
            }
            (_, None) => match self.configured.filter(|caps| !caps.is_empty()) {
                Some(caps) => format!(
                    "NOT in force: no filter rule is loaded; configured are {caps} per source ({name})"
                ),
                None => "NOT in force: no filter rule is loaded, and none is configured with caps"
                    .into(),
            },
        }
    }
}

/// How close a source is to `max-src-conn`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pressure {
    /// Below 80 % of the cap.
    Within,
    /// At 80 % of the cap or more, the cap itself included: one more connection may trip it.
    Near,
    /// Above the cap: connections from before the cap was set, which do not count against it.
    Over,
}

/// A source and its distance from the cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Pressed {
    pub address: IpAddr,
    /// Its connections as they count against the cap: pf's own count where there is one.
    pub connections: u64,
    pub pressure: Pressure,
}

/// Returns how close a number of established connections is to `max-src-conn`; without a cap, within.
pub fn cap_pressure(established: u64, cap: Option<u32>) -> Pressure {
    match cap.map(u64::from) {
        Some(cap) if established > cap => Pressure::Over,
        Some(cap) if established.saturating_mul(5) >= cap.saturating_mul(4) => Pressure::Near,
        _ => Pressure::Within,
    }
}

/// Lists the sources near or over the cap, busiest first.
pub fn sources_near_cap(
    sources: impl IntoIterator<Item = (IpAddr, u64)>,
    cap: Option<u32>,
) -> Vec<Pressed> {
    let mut pressed: Vec<Pressed> = sources
        .into_iter()
        .map(|(address, connections)| Pressed {
            address,
            connections,
            pressure: cap_pressure(connections, cap),
        })
        .filter(|source| source.pressure != Pressure::Within)
        .collect();
    pressed.sort_by_key(|source| (std::cmp::Reverse(source.connections), source.address));
    pressed
}

/// A source and what the rate counts of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PressedRate {
    pub address: IpAddr,
    /// What its next connection finds counted, at least: states that are gone already are not seen.
    pub counted: u32,
    /// One more than so many trips it.
    pub connections: u32,
    /// Within so many seconds.
    pub seconds: u32,
}

impl fmt::Display for PressedRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { counted, connections, seconds, .. } = self;
        write!(f, "{counted} of {connections} in {}", format_span(u64::from(*seconds)))
    }
}

/// Replays the ages of a source's connections, in seconds, whose node is so old: what the rate counts of it now. Connections
/// of before the node count nothing. `None` where the window could have begun with a connection that is not seen any more.
pub fn replay_ages(
    generation: Generation,
    rate: Rate,
    ages: impl IntoIterator<Item = u64>,
    node_age: u64,
) -> Option<u32> {
    // State and node are printed with whole seconds, each rounded by itself.
    let mut ages: Vec<u64> = ages.into_iter().filter(|age| *age <= node_age + 1).collect();
    ages.sort_unstable_by_key(|age| std::cmp::Reverse(*age));
    let oldest = *ages.first()?;
    if generation == Generation::Window && oldest + 1 < node_age {
        return None;
    }
    let mut tracker = RateTracker::new(generation, rate);
    for age in ages {
        tracker.count_connection(oldest - age);
    }
    Some(tracker.count_at(oldest))
}

#[cfg(test)]
impl Preset {
    /// Makes a preset with both caps.
    pub fn new(name: &str, max_src_conn: u32, connections: u32, seconds: u32) -> Self {
        let rate = Some(Rate { connections, seconds });
        Self { name: name.to_owned(), caps: Caps { max_src_conn: Some(max_src_conn), rate } }
    }

    /// Returns the presets that exist without a configuration file.
    pub fn built_in() -> Vec<Self> {
        vec![
            Self::new("default", 50, 10, 60),
            Self::new("tighten", 10, 3, 60),
            Self::new("loosen", 50, 30, 60),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::pfsense::configured::CapFields;

    fn rule(conn: Option<&str>, rate: Option<&str>, rates: Option<&str>) -> FilterRule {
        FilterRule {
            protocol: Some("tcp".into()),
            caps: CapFields {
                max_src_conn: conn.map(Into::into),
                max_src_conn_rate: rate.map(Into::into),
                max_src_conn_rates: rates.map(Into::into),
            },
            ..FilterRule::default()
        }
    }

    fn codes(findings: &[Warning]) -> Vec<&'static str> {
        findings.iter().map(|finding| finding.code).collect()
    }

    #[test]
    fn the_default_preset_is_recognised() {
        let (caps, findings) = of_configured(&rule(Some("50"), Some("10"), Some("60")));
        assert_eq!(findings, []);
        assert_eq!(
            preset_of(&Preset::built_in(), caps).map(|preset| preset.name.as_str()),
            Some("default")
        );
        assert_eq!(caps.to_string(), "max-src-conn 50, max-src-conn-rate 10/60");
    }

    #[test]
    fn empty_absent_and_zero_fields_set_no_cap() {
        for value in [None, Some(""), Some(" "), Some("0")] {
            let (caps, findings) = of_configured(&rule(value, None, None));
            assert!(caps.is_empty(), "{value:?}");
            assert_eq!(findings, []);
        }
    }

    #[test]
    fn half_a_rate_is_named_with_its_effect() {
        let (caps, findings) = of_configured(&rule(Some("50"), Some("10"), Some("")));
        assert_eq!(caps, Caps { max_src_conn: Some(50), rate: None });
        assert_eq!(codes(&findings), ["half-rate"]);
        assert!(findings[0].message.contains("ignores it"), "{}", findings[0].message);
        let (_, alone) = of_configured(&rule(None, None, Some("60")));
        assert!(alone[0].message.contains("refuses as a whole"), "{}", alone[0].message);
    }

    #[test]
    fn rubbish_in_a_cap_field_is_named() {
        let (caps, findings) = of_configured(&rule(Some("fifty"), Some("10"), Some("60")));
        assert_eq!(caps.max_src_conn, None);
        assert_eq!(codes(&findings), ["cap-not-a-number"]);
        let (_, negative) = of_configured(&rule(Some("-1"), None, None));
        assert_eq!(codes(&negative), ["cap-not-a-number"]);
    }

    #[test]
    fn caps_that_pfsense_ignores_are_not_caps() {
        let full = || rule(Some("50"), Some("10"), Some("60"));
        let ignored = [
            FilterRule { kind: Some("block".into()), ..full() },
            FilterRule { kind: Some("reject".into()), ..full() },
            FilterRule { protocol: Some("udp".into()), ..full() },
            FilterRule { protocol: None, ..full() },
            FilterRule { statetype: Some("none".into()), ..full() },
        ];
        for rule in ignored {
            let (caps, findings) = of_configured(&rule);
            assert!(caps.is_empty(), "{rule:?}");
            assert_eq!(codes(&findings), ["caps-ignored"], "{rule:?}");
        }
        let both = FilterRule { protocol: Some("tcp/udp".into()), ..full() };
        assert_eq!(of_configured(&both).1, []);
    }

    #[test]
    fn near_begins_at_four_fifths_of_the_cap() {
        assert_eq!(cap_pressure(39, Some(50)), Pressure::Within);
        assert_eq!(cap_pressure(40, Some(50)), Pressure::Near);
        assert_eq!(cap_pressure(50, Some(50)), Pressure::Near);
        assert_eq!(cap_pressure(51, Some(50)), Pressure::Over);
        assert_eq!(cap_pressure(u64::MAX, None), Pressure::Within);
        assert_eq!(cap_pressure(2, Some(3)), Pressure::Within, "two thirds");
    }

    #[test]
    fn the_standing_in_one_sentence() {
        let caps = Preset::built_in()[0].caps;
        let sentence = |in_force, loaded, configured| {
            let (preset, why) = (Some("default".to_owned()), String::new());
            let uncapped_paths = Vec::new();
            Standing { configured, loaded, preset, in_force, uncapped_paths, why }.caps_sentence()
        };
        let text = "max-src-conn 50, max-src-conn-rate 10/60 per source (preset default)";
        assert_eq!(sentence(true, Some(caps), None), format!("in force: {text}"));
        assert_eq!(
            sentence(false, Some(caps), None),
            format!("NOT in force, though loaded: {text}")
        );
        assert_eq!(
            sentence(false, None, Some(caps)),
            format!("NOT in force: no filter rule is loaded; configured are {text}")
        );
        assert_eq!(
            sentence(false, Some(Caps::default()), Some(caps)),
            "NOT in force: the loaded rule caps no source"
        );
    }

    #[test]
    fn ages_replay_as_pf_counted_them() {
        let rate = Rate { connections: 10, seconds: 60 };
        let of =
            |generation, ages: &[u64], node| replay_ages(generation, rate, ages.to_vec(), node);
        let (decaying, window) = (Generation::Decaying, Generation::Window);
        assert_eq!(of(decaying, &[0; 9], 0), Some(9), "a burst");
        assert_eq!(of(decaying, &[30; 10], 30), Some(5), "half of it after half the time");
        assert_eq!(of(decaying, &[60; 10], 60), Some(0));
        assert_eq!(of(decaying, &[10, 500, 600], 11), Some(1), "only since the node was made");
        assert_eq!(of(window, &[59; 9], 59), Some(9));
        assert_eq!(of(window, &[66, 66, 5], 66), Some(1), "a new window");
        assert_eq!(of(window, &[5, 5], 70), None, "begun by a connection that is gone");
        assert_eq!(of(decaying, &[], 70), None);
    }

    #[test]
    fn the_busiest_source_comes_first() {
        let address = |last| IpAddr::from([198, 51, 100, last]);
        let pressed =
            sources_near_cap([(address(1), 45), (address(2), 3), (address(3), 50)], Some(50));
        let addresses: Vec<IpAddr> = pressed.iter().map(|source| source.address).collect();
        assert_eq!(addresses, [address(3), address(1)]);
    }
}
