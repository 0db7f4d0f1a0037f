//! One loaded rule of the simulated pf: its text, what the simulation needs to know about it, and counters.

use serde::{Deserialize, Serialize};

use crate::domain::pf::rule::{Direction, Rate};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadedRule {
    /// As `pfctl -sr -P` prints it.
    pub text: String,
    /// `ridentifier N`.
    pub identifier: Option<u32>,
    /// `label "…"`, in order.
    pub labels: Vec<String>,
    /// The caps of `keep state (…)`.
    pub caps: LoadedCaps,
    /// `on IF`, unless negated: skip steps pass over the rule on others.
    interface: Option<String>,
    #[serde(default)]
    pub members: Vec<String>,
    /// `in` or `out`.
    direction: Option<Direction>,
    pub evaluations: u64,
    /// Packets in and out.
    pub packets: (u64, u64),
    /// Bytes in and out.
    pub bytes: (u64, u64),
    pub creations: u64,
    /// Epoch milliseconds of the last packet.
    pub last_active: Option<i64>,
}

/// What limits the sources of a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadedCaps {
    /// `max-src-conn N`.
    pub connections: Option<u32>,
    /// `max-src-conn-rate N/S`.
    pub rate: Option<Rate>,
    /// `overload <T> flush global`, the only form pfSense makes.
    pub overload: Option<String>,
}

impl LoadedCaps {
    /// Says whether the rule keeps source nodes.
    pub fn track_sources(&self) -> bool {
        self.connections.is_some() || self.rate.is_some()
    }

    /// Returns how long a source node outlives its last state, in milliseconds (`src.track`).
    pub fn remember(&self) -> i64 {
        self.rate.map_or(0, |rate| i64::from(rate.seconds) * 1000)
    }

    /// Reads the caps of a rule of ours; nothing else is understood, as nothing else is loaded.
    fn of(text: &str) -> Self {
        let options = text
            .split_once("keep state (")
            .and_then(|(_, rest)| rest.split_once(')'))
            .map_or("", |(inside, _)| inside);
        let mut caps = Self::default();
        for option in options.split(", ") {
            match option.split_once(' ') {
                Some(("max-src-conn", number)) => caps.connections = number.parse().ok(),
                Some(("max-src-conn-rate", rate)) => {
                    caps.rate = rate.split_once('/').and_then(|(connections, seconds)| {
                        Some(Rate {
                            connections: connections.parse().ok()?,
                            seconds: seconds.parse().ok()?,
                        })
                    });
                }
                Some(("overload", table)) => {
                    caps.overload = table
                        .strip_prefix('<')
                        .and_then(|rest| rest.split_once('>'))
                        .map(|(name, _)| name.to_owned());
                }
                _ => {}
            }
        }
        caps
    }
}

impl LoadedRule {
    /// Loads a rule with zero counters.
    pub fn new(text: &str) -> Self {
        let labels = text
            .split(" label \"")
            .skip(1)
            .filter_map(|rest| rest.split_once('"'))
            .map(|(label, _)| label.to_owned());
        let mut words = text.split(' ');
        let direction = words.clone().take(4).find_map(|word| match word {
            "in" => Some(Direction::In),
            "out" => Some(Direction::Out),
            _ => None,
        });
        let interface = words.find(|word| *word == "on").and_then(|_| words.next());
        Self {
            text: text.to_owned(),
            interface: interface.filter(|name| *name != "!").map(str::to_owned),
            members: Vec::new(),
            direction,
            identifier: text
                .rsplit_once(" ridentifier ")
                .and_then(|(_, number)| number.parse().ok()),
            labels: labels.collect(),
            caps: LoadedCaps::of(text),
            evaluations: 0,
            packets: (0, 0),
            bytes: (0, 0),
            creations: 0,
            last_active: None,
        }
    }

    /// Says whether a packet on this interface and in this direction makes pf look at the rule, as far as
    /// skip steps tell.
    pub fn considers(&self, interface: &str, direction: Direction) -> bool {
        let on = self.interface.as_deref();
        let here = on.is_none_or(|on| on == interface)
            || self.members.iter().any(|member| member == interface);
        here && self.direction.is_none_or(|wanted| wanted == direction)
    }

    /// Returns the interface or the group that it is on.
    pub fn interface(&self) -> Option<&str> {
        self.interface.as_deref()
    }

    /// Says whether it is one of the user's: those are quick, floating ones too, and carry a label of their own.
    pub fn is_users(&self) -> bool {
        // The labels first: every packet is held against every rule.
        self.labels.iter().any(|label| label.starts_with("USER_RULE"))
            && self.text.contains(" quick ")
    }

    /// Returns the protocol, if it names one.
    pub fn protocol(&self) -> Option<&str> {
        let (_, rest) = self.text.split_once(" proto ")?;
        rest.split(' ').next()
    }

    /// Returns what stands after `from` and after `to`, each `HOST [port = N]`.
    pub fn ends(&self) -> Option<(&str, &str)> {
        let (_, rest) = self.text.split_once(" from ")?;
        let (from, rest) = rest.split_once(" to ")?;
        let end = [" flags ", " keep state", " no state", " label "]
            .iter()
            .filter_map(|word| rest.find(word))
            .min();
        Some((from, end.and_then(|end| rest.get(..end)).unwrap_or(rest)))
    }

    /// Counts packets of a state's direction: `forward` with it, `reply` against it.
    pub fn count(
        &mut self,
        direction: Direction,
        packets: (u64, u64),
        bytes: (u64, u64),
        now: i64,
    ) {
        let turn = |pair: (u64, u64)| match direction {
            Direction::In => pair,
            Direction::Out => (pair.1, pair.0),
        };
        let (packets, bytes) = (turn(packets), turn(bytes));
        self.packets = (self.packets.0 + packets.0, self.packets.1 + packets.1);
        self.bytes = (self.bytes.0 + bytes.0, self.bytes.1 + bytes.1);
        self.last_active = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::{LoadedCaps, LoadedRule};
    use crate::domain::pf::rule::{Direction, Rate};

    const KMS: &str = "pass in quick on vtnet0 reply-to (vtnet0 192.168.1.1) inet proto tcp from any to <k8s_kms_lb> port = 1688 flags S/SA keep state (source-track rule, max-src-conn 50, max-src-conn-rate 10/60, overload <virusprot> flush global, src.track 60) label \"USER_RULE: NAT KMS\" label \"id:1763000004\" ridentifier 1763000004";

    #[test]
    fn caps_are_read_from_the_text() {
        let rule = LoadedRule::new(KMS);
        assert_eq!(rule.caps.connections, Some(50));
        assert_eq!(rule.caps.rate, Some(Rate { connections: 10, seconds: 60 }));
        assert_eq!(rule.labels, ["USER_RULE: NAT KMS", "id:1763000004"]);
        assert_eq!(rule.identifier, Some(1_763_000_004));
        let uncapped = LoadedRule::new("pass in all flags S/SA keep state");
        assert_eq!(uncapped.caps, LoadedCaps::default());
    }

    #[test]
    fn skip_steps_pass_over_other_interfaces_and_directions() {
        let rule = LoadedRule::new(KMS);
        assert!(rule.considers("vtnet0", Direction::In));
        assert!(!rule.considers("vtnet1", Direction::In));
        assert!(!rule.considers("vtnet0", Direction::Out));
        assert!(LoadedRule::new("anchor \"ipsec/*\" all").considers("vtnet9", Direction::Out));
    }
}
