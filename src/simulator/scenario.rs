//! The boxes that can be simulated: for each [`Scenario`] the rules that are loaded and the configuration
//! that says the same, or, where that is the point, something else. The ruleset is the one that pfSense
//! 2.7.2 generates, as FreeBSD 14's pfctl prints it, with one IPv6 rule added so that IPv6 sources get
//! into the overload table.

use serde::{Deserialize, Serialize};

use super::pf::rule::{Caps, LoadedRule};
use super::pf::table::Table;
use super::pf::{OVERLOAD_BLOCK, Pf};
use crate::domain::configured::{
    Alias, CapFields, Configured, CronItem, FilterRule, InterfaceConfig, NatRule, Revision, Side,
    System,
};
use crate::domain::pf::rule::Rate;

/// The tracker of the exposure's filter rule.
pub const KMS: u32 = 1_763_000_004;
/// The tracker of the capped IPv6 rule.
pub const HTTPS6: u32 = 1_763_000_005;

const FILTER: &str = include_str!("ruleset/filter.txt");
const TRANSLATION: &str = include_str!("ruleset/translation.txt");
const ASSOCIATION: &str = "nat_6b02e05bc72229.61817353";
const DESCRIPTION: &str = "KMS public — kms.viktorbarzin.me";

/// Networks that never are anybody's; the documentation networks, which the simulated clients live in, are
/// left out of the real list.
const BOGONS: [&str; 7] = [
    "0.0.0.0/8",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "192.0.0.0/24",
    "198.18.0.0/15",
    "224.0.0.0/4",
    "240.0.0.0/4",
];
const BOGONS6: [&str; 2] = ["::/8", "3fff::/20"];

/// A box in a certain condition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scenario {
    /// Neither the NAT rule nor the filter rule exists.
    Absent,
    /// Both rules are disabled.
    Closed,
    /// `/dev/pf` may not be opened.
    Denied,
    /// The configuration says 10/60, pf still runs 30/60; an unapplied change waits.
    Drifted,
    /// The redirection is in force, the filter rule is disabled.
    Half,
    /// The filter rule is in force, the NAT rule is disabled.
    HalfFilter,
    /// As [`Scenario::Open`], but nothing ages the table.
    NoCron,
    /// Open, with caps 50 and 10/60.
    #[default]
    Open,
    /// The NAT rule's association is `pass`: open, without a filter rule and caps.
    PassAssociation,
    /// pf is switched off.
    PfDisabled,
    /// PHP cannot be run.
    PhpMissing,
    /// The overload table does not exist.
    TableMissing,
    /// Open, without caps.
    Uncapped,
}

impl Scenario {
    /// Every scenario, in alphabetical order of [`Scenario::name`].
    pub const ALL: [Self; 13] = [
        Self::Absent,
        Self::Closed,
        Self::Denied,
        Self::Drifted,
        Self::Half,
        Self::HalfFilter,
        Self::NoCron,
        Self::Open,
        Self::PassAssociation,
        Self::PfDisabled,
        Self::PhpMissing,
        Self::TableMissing,
        Self::Uncapped,
    ];

    /// Returns the name it is chosen by, such as `half-filter`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Closed => "closed",
            Self::Denied => "denied",
            Self::Drifted => "drifted",
            Self::Half => "half",
            Self::HalfFilter => "half-filter",
            Self::NoCron => "no-cron",
            Self::Open => "open",
            Self::PassAssociation => "pass-association",
            Self::PfDisabled => "pf-disabled",
            Self::PhpMissing => "php-missing",
            Self::TableMissing => "table-missing",
            Self::Uncapped => "uncapped",
        }
    }

    /// Returns the scenario of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|scenario| scenario.name() == name)
    }

    /// Says whether a redirection of the service is loaded.
    fn redirects(self) -> bool {
        !matches!(self, Self::Absent | Self::Closed | Self::HalfFilter)
    }

    /// Returns the caps of the loaded filter rule; `None` if there is no such rule.
    fn loaded_caps(self) -> Option<Caps> {
        let capped = |connections: u32| Caps {
            connections: Some(50),
            rate: Some(Rate {
                connections,
                seconds: 60,
            }),
            overload: Some("virusprot".to_owned()),
        };
        match self {
            Self::Absent | Self::Closed | Self::Half | Self::PassAssociation => None,
            Self::Drifted => Some(capped(30)),
            Self::TableMissing => Some(Caps {
                connections: Some(50),
                ..Caps::default()
            }),
            Self::Uncapped => Some(Caps::default()),
            Self::Denied
            | Self::HalfFilter
            | Self::NoCron
            | Self::Open
            | Self::PfDisabled
            | Self::PhpMissing => Some(capped(10)),
        }
    }

    /// Loads the scenario's rules and tables into a pf that has been up for two weeks.
    pub fn load(self, now: i64) -> Pf {
        let mut pf = Pf::new(0x67_4a_91_c3, now - 14 * 86_400_000 - 24_967_000);
        pf.enabled = self != Self::PfDisabled;
        for text in FILTER.lines() {
            let Some(text) = self.filter_rule(text) else {
                continue;
            };
            let list = if text.starts_with("scrub ") {
                &mut pf.scrub
            } else {
                &mut pf.filter
            };
            list.push(LoadedRule::new(&text));
        }
        for text in TRANSLATION.lines() {
            let Some(text) = self.translation_rule(text) else {
                continue;
            };
            let is_rdr = text.starts_with("rdr") || text.starts_with("no rdr");
            let list = if is_rdr { &mut pf.rdr } else { &mut pf.nat };
            list.push(LoadedRule::new(&text));
        }
        pf.tables = self.tables(pf.since);
        pf
    }

    fn filter_rule(self, text: &str) -> Option<String> {
        let rule = LoadedRule::new(text);
        let table_missing = self == Self::TableMissing;
        match rule.identifier {
            Some(KMS) => {
                let caps = self.loaded_caps()?;
                Some(text.replace(&rule.caps.keep_state(), &caps.keep_state()))
            }
            Some(HTTPS6 | OVERLOAD_BLOCK) if table_missing => None,
            _ => Some(text.to_owned()),
        }
    }

    fn translation_rule(self, text: &str) -> Option<String> {
        if !text.contains("port = 1688 ->") {
            return Some(text.to_owned());
        }
        match self {
            Self::PassAssociation => Some(text.replacen("rdr on", "rdr pass on", 1)),
            _ => self.redirects().then(|| text.to_owned()),
        }
    }

    fn tables(self, now: i64) -> Vec<Table> {
        let mut tables = vec![
            Table::new("WAN__NETWORK", "-pa----", &["192.168.1.0/24"], now),
            Table::new("LAN__NETWORK", "-pa-r--", &["10.0.10.0/24"], now),
            Table::new("OPT1__NETWORK", "-pa-r--", &["10.0.20.0/24"], now),
            Table::new("sshguard", "-pa-r--", &[], now),
            Table::new("snort2c", "--a-r--", &[], now),
            Table::new("virusprot", "--a-r--", &[], now),
            Table::new("bogons", "-pa-r--", &BOGONS, now),
            Table::new("bogonsv6", "-pa-r--", &BOGONS6, now),
            Table::new("k8s_kms_lb", "--a-r--", &["10.0.20.202"], now),
            Table::new("k8s_shared_lb", "--a-r--", &["10.0.20.200"], now),
        ];
        tables.retain(|table| self != Self::TableMissing || table.name != "virusprot");
        tables
    }

    /// Returns the configuration that the box holds.
    pub fn configured(self) -> Configured {
        let cron = [Self::NoCron, Self::TableMissing]
            .contains(&self)
            .then(Vec::new)
            .unwrap_or_else(|| vec![cron_item()]);
        let present = self != Self::Absent;
        Configured {
            system: System {
                version: Some("2.7.2-RELEASE".to_owned()),
                config_version: Some("23.3".to_owned()),
                php: "8.2.11".to_owned(),
                timezone: Some("Etc/UTC".to_owned()),
            },
            revision: Revision {
                time: Some("1763000900".to_owned()),
                description: Some("admin@10.0.10.5 (Local Database): Firewall: Rules - saved/edited a firewall rule.".to_owned()),
                username: Some("admin@10.0.10.5 (Local Database)".to_owned()),
            },
            nat: present.then(|| self.nat_rule()).into_iter().collect(),
            filter: (present && self != Self::PassAssociation).then(|| self.configured_rule()).into_iter().collect(),
            alias: Some(Alias {
                name: "k8s_kms_lb".to_owned(),
                kind: Some("host".to_owned()),
                address: Some("10.0.20.202".to_owned()),
            }),
            cron,
            interface: Some(InterfaceConfig {
                name: "wan".to_owned(),
                device: Some("vtnet0".to_owned()),
                descr: Some("WAN".to_owned()),
                ipaddr: Some("192.168.1.2".to_owned()),
                subnet: Some("24".to_owned()),
            }),
            dirty: (self == Self::Drifted).then(|| "filter".to_owned()).into_iter().collect(),
            ha_peer: false,
            filter_disabled: self == Self::PfDisabled,
            ..Configured::default()
        }
    }

    fn nat_rule(self) -> NatRule {
        let association = if self == Self::PassAssociation {
            "pass"
        } else {
            ASSOCIATION
        };
        NatRule {
            index: 3,
            disabled: matches!(self, Self::Closed | Self::HalfFilter),
            nordr: false,
            interface: "wan".to_owned(),
            ipprotocol: Some("inet".to_owned()),
            protocol: Some("tcp".to_owned()),
            source: Side {
                any: true,
                ..Side::default()
            },
            destination: Side {
                network: Some("wanip".to_owned()),
                port: Some("1688".to_owned()),
                ..Side::default()
            },
            target: Some("k8s_kms_lb".to_owned()),
            local_port: Some("1688".to_owned()),
            descr: Some(DESCRIPTION.to_owned()),
            association: Some(association.to_owned()),
            natreflection: None,
        }
    }

    /// The record as the rule editor leaves it: what is not set is there, but empty.
    fn configured_rule(self) -> FilterRule {
        let empty = || Some(String::new());
        let mut caps = CapFields {
            max: empty(),
            max_src_nodes: empty(),
            max_src_conn: Some("50".to_owned()),
            max_src_states: empty(),
            max_src_conn_rate: Some("10".to_owned()),
            max_src_conn_rates: Some("60".to_owned()),
            statetimeout: empty(),
        };
        if matches!(self, Self::TableMissing | Self::Uncapped) {
            caps.max_src_conn_rate = None;
            caps.max_src_conn_rates = None;
        }
        if self == Self::Uncapped {
            caps.max_src_conn = empty();
        }
        FilterRule {
            index: 3,
            tracker: Some(KMS.to_string()),
            kind: Some("pass".to_owned()),
            disabled: matches!(self, Self::Closed | Self::Half),
            floating: false,
            interface: Some("wan".to_owned()),
            ipprotocol: Some("inet".to_owned()),
            protocol: Some("tcp".to_owned()),
            source: Side {
                any: true,
                ..Side::default()
            },
            destination: Side {
                address: Some("k8s_kms_lb".to_owned()),
                port: Some("1688".to_owned()),
                ..Side::default()
            },
            descr: Some(format!("NAT {DESCRIPTION}")),
            association: Some(ASSOCIATION.to_owned()),
            statetype: Some("keep state".to_owned()),
            sched: None,
            caps,
        }
    }
}

/// The job of pfSense's default configuration.
fn cron_item() -> CronItem {
    let every = || "*".to_owned();
    CronItem {
        minute: "*/60".to_owned(),
        hour: every(),
        mday: every(),
        month: every(),
        wday: every(),
        who: "root".to_owned(),
        command: "/usr/bin/nice -n20 /usr/local/sbin/expiretable -v -t 3600 virusprot".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{HTTPS6, KMS, Scenario};

    #[test]
    fn every_scenario_has_a_name_of_its_own() {
        assert!(
            Scenario::ALL
                .iter()
                .all(|scenario| Scenario::parse(scenario.name()) == Some(*scenario))
        );
        assert!(Scenario::ALL.is_sorted_by(|one, other| one.name() < other.name()));
        assert_eq!(Scenario::parse("nosuch"), None);
    }

    #[test]
    fn the_open_box_loads_the_generated_ruleset_unchanged() {
        let pf = Scenario::Open.load(0);
        assert_eq!(
            (pf.scrub.len(), pf.filter.len(), pf.nat.len(), pf.rdr.len()),
            (8, 80, 11, 6)
        );
        let generated = include_str!("../../tests/fixtures/pfsense-2.7.2/sr-P.txt");
        let rule = &pf.filter[pf.rule(KMS).unwrap()];
        assert!(generated.lines().any(|line| line == rule.text));
        assert!(pf.filter.iter().all(|rule| rule.identifier == Some(HTTPS6)
            || generated.lines().any(|line| line == rule.text)
            || rule.text.contains("from 192.168.1.")
            || rule.text.contains("from 10.0.10.")));
    }

    #[test]
    fn scenarios_load_what_they_say() {
        let rule = |scenario: Scenario| {
            let pf = scenario.load(0);
            pf.rule(KMS).map(|index| pf.filter[index].text.clone())
        };
        let rdr = |scenario: Scenario| {
            scenario
                .load(0)
                .rdr
                .into_iter()
                .map(|rule| rule.text)
                .find(|text| text.contains("port = 1688"))
        };
        assert_eq!(rule(Scenario::Half), None);
        assert!(rdr(Scenario::Half).is_some());
        assert!(rule(Scenario::HalfFilter).is_some());
        assert_eq!(rdr(Scenario::HalfFilter), None);
        assert!(
            rdr(Scenario::PassAssociation)
                .unwrap()
                .starts_with("rdr pass on vtnet0 ")
        );
        assert!(
            rule(Scenario::Uncapped)
                .unwrap()
                .contains("flags S/SA keep state label")
        );
        assert!(
            rule(Scenario::Drifted)
                .unwrap()
                .contains("max-src-conn-rate 30/60")
        );
        assert!(Scenario::TableMissing.load(0).table("virusprot").is_none());
    }
}
