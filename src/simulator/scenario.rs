//! The boxes that can be simulated: for each [`Scenario`] the rules that are loaded and the configuration
//! that says the same, or, where that is the point, something else. The ruleset is the one that pfSense
//! 2.7.2 generates, as FreeBSD 14's pfctl prints it, with one IPv6 rule added so that IPv6 sources get
//! into the overload table.

use super::agent::ledger::Ledger;
use super::configuration::{Configuration, generate};
use super::pf::SimulatedPf;
use crate::domain::pfsense::change::Element;
use crate::text::word_enum;

/// The tracker of the exposure's filter rule.
pub const KMS: u32 = 1_763_000_004;
/// The tracker of the capped IPv6 rule.
pub const HTTPS6: u32 = 1_763_000_005;

word_enum! {
    /// A box in a certain condition, in alphabetical order of [`Scenario::name`].
    #[derive(Default)]
    pub enum Scenario {
        /// Neither the NAT rule nor the filter rule exists.
        Absent = "absent",
        /// As [`Scenario::Open`], but the server behind the firewall crashes since yesterday, so nothing answers there.
        BackendDead = "backend-dead",
        /// Both rules are disabled.
        Closed = "closed",
        /// A change is made, and the connection ends right after its answer.
        CutAfterApply = "cut-after-apply",
        /// A change is made, and the connection ends before its answer.
        CutBeforeAnswer = "cut-before-answer",
        /// `/dev/pf` may not be opened.
        Denied = "denied",
        /// There is less free space than a change asks for.
        DiskFull = "disk-full",
        /// The configuration says 10/60, pf still runs 30/60; an unapplied change waits.
        Drifted = "drifted",
        /// The forward has no association, and a floating rule has the caps.
        Floating = "floating",
        /// A second WAN leads to the service as well, and a rule of an interface group passes both, before ours.
        Group = "group",
        /// The rules are pushed to a second firewall.
        HaPeer = "ha-peer",
        /// The redirection is in force, the filter rule is disabled.
        Half = "half",
        /// The filter rule is in force, the NAT rule is disabled.
        HalfFilter = "half-filter",
        /// As [`Scenario::Open`], but an earlier crash of kmsctl has left its files behind.
        Leftovers = "leftovers",
        /// A ruleset that a change makes does not load; the one before does.
        LoadFails = "load-fails",
        /// Another operator is making a change, and does not come to an end.
        Locked = "locked",
        /// Another writer changes the configuration in the moment before a change does.
        LostUpdate = "lost-update",
        /// As [`Scenario::Open`], but the alias holds another alias, which holds the address.
        NestedAlias = "nested-alias",
        /// As [`Scenario::Open`], but nothing ages the table.
        NoCron = "no-cron",
        /// The pair still points to the load balancer that the service shared before, without caps; there is no alias.
        OldTarget = "old-target",
        /// As [`Scenario::Open`], and 1:1 NAT with a rule of its own leads to the service as well.
        OneToOne = "one-to-one",
        /// Open, with caps 50 and 10/60.
        #[default]
        Open = "open",
        /// As [`Scenario::Open`], and a forward from another outside port goes through the same filter rule.
        OtherPort = "other-port",
        /// The NAT rule's association is `pass`: open, without a filter rule and caps.
        PassAssociation = "pass-association",
        PfDisabled = "pf-disabled",
        PhpMissing = "php-missing",
        /// As [`Scenario::Open`], but the pair names its port by an alias.
        PortAlias = "port-alias",
        /// As [`Scenario::Open`], but the ruleset is loaded again and again: lists that are read meanwhile are cut.
        Reloading = "reloading",
        /// As [`Scenario::Open`], and the service has a public IPv6 address, which a rule passes.
        Routed = "routed",
        /// As [`Scenario::Open`], and a second WAN has the same pair once more.
        SecondWan = "second-wan",
        /// As [`Scenario::Open`], but a rule above ours blocks what it would pass.
        Shadowed = "shadowed",
        /// As [`Scenario::Open`], but another forward has the same filter rule.
        SharedAssociation = "shared-association",
        /// The overload table does not exist.
        TableMissing = "table-missing",
        /// Open, without caps.
        Uncapped = "uncapped",
        /// After a change neither the new ruleset nor the old one loads.
        Unproven = "unproven",
        /// The configuration cannot be written.
        WriteFails = "write-fails",
    }
}

impl Scenario {
    /// Returns what is the matter there, in a line.
    pub fn about(self) -> &'static str {
        match self {
            Self::Absent => "There is neither the port forward nor the filter rule.",
            Self::BackendDead => {
                "The port is open, and the server behind the firewall does not answer."
            }
            Self::Closed => "Both rules are disabled.",
            Self::CutAfterApply => {
                "A change is made, and the connection ends right after its answer."
            }
            Self::CutBeforeAnswer => "A change is made, and the connection ends before its answer.",
            Self::Denied => "This account may not open pf.",
            Self::DiskFull => "There is less free space than a change asks for.",
            Self::Drifted => {
                "The configuration says 10/60, pf still runs 30/60; a change waits to be applied."
            }
            Self::Floating => {
                "The port forward stands alone, and a floating rule passes it, with caps."
            }
            Self::Group => {
                "A second WAN leads to the service too, and a rule of an interface group passes both."
            }
            Self::HaPeer => "pfSense pushes the rules to a second firewall.",
            Self::Half => "The port forward is in force, the filter rule is disabled.",
            Self::HalfFilter => "The filter rule is in force, the port forward is disabled.",
            Self::Leftovers => "An earlier crash of kmsctl has left its files behind.",
            Self::LoadFails => "A ruleset that a change makes does not load; the one before does.",
            Self::Locked => "Another operator is making a change that does not end.",
            Self::LostUpdate => {
                "Another writer saves the configuration in the moment before a change does."
            }
            Self::NestedAlias => "The alias holds another alias, and that one the address.",
            Self::NoCron => "Nothing releases blocked addresses.",
            Self::OldTarget => {
                "The rules still point to the shared load balancer of old, without caps; there is no alias."
            }
            Self::OneToOne => "1:1 NAT leads to the service too, through a filter rule of its own.",
            Self::Open => "The port is open, with caps 50 and 10/60. The usual one.",
            Self::OtherPort => {
                "Port 21688 outside leads to the service too, through the same filter rule."
            }
            Self::PassAssociation => {
                "The port forward passes by itself: open, without a filter rule and caps."
            }
            Self::PfDisabled => "pf is switched off.",
            Self::PhpMissing => "PHP cannot be run, so the configuration cannot be read.",
            Self::PortAlias => "Both rules name the port by an alias.",
            Self::Reloading => "The filter reloads in the midst of every reading.",
            Self::Routed => {
                "The service has a public IPv6 address too, and a filter rule passes it."
            }
            Self::SecondWan => "A second WAN leads to the service too, by a pair of its own.",
            Self::Shadowed => "A rule above ours blocks what ours would pass.",
            Self::SharedAssociation => "Another port forward goes through the same filter rule.",
            Self::TableMissing => "The overload table does not exist.",
            Self::Uncapped => "The port is open, without caps.",
            Self::Unproven => "After a change neither the new ruleset nor the old one loads.",
            Self::WriteFails => "The configuration cannot be written.",
        }
    }

    /// Loads the scenario's rules and tables into a pf that has been up for two weeks.
    pub fn load(self, now: i64) -> SimulatedPf {
        let mut pf = SimulatedPf::new(0x67_4a_91_c3, now - 14 * 86_400_000 - 24_967_000);
        pf.enabled = self != Self::PfDisabled;
        let mut loaded = self.configuration();
        if self == Self::Drifted {
            loosen_caps(&mut loaded);
        }
        let mut ruleset = generate::generate_ruleset(&loaded).unwrap_or_default();
        if self == Self::TableMissing {
            ruleset.filter.retain(|rule| !rule.contains("<virusprot>"));
            ruleset.tables.retain(|table| table.name != "virusprot");
        }
        let since = pf.since;
        pf.load(&ruleset, since);
        pf
    }

    /// Returns what kmsctl keeps on the box at first; epoch milliseconds.
    pub fn ledger(self, now: i64) -> Ledger {
        match self {
            Self::Leftovers => Ledger::after_a_crash(now),
            _ => Ledger::default(),
        }
    }

    /// Returns the configuration that the box holds.
    pub fn configuration(self) -> Configuration {
        Configuration::shipped(self)
    }
}

/// What was in force before the change that waits in [`Scenario::Drifted`]: 30/60.
fn loosen_caps(configuration: &mut Configuration) {
    configuration.tree.edit_list("filter", "rule", |rules| {
        let tracker = KMS.to_string();
        let ours = |rule: &&mut Element| rule.child_text("tracker") == Some(tracker.as_str());
        if let Some(rule) = rules.iter_mut().find(ours) {
            rule.set_child("max-src-conn-rate", "30");
        }
    });
}

#[cfg(test)]
mod tests {
    use super::{HTTPS6, KMS, Scenario};

    #[test]
    fn every_scenario_has_a_name_of_its_own() {
        assert!(
            Scenario::ALL
                .iter()
                .all(|scenario| Scenario::named(scenario.name()) == Some(*scenario))
        );
        assert!(Scenario::ALL.is_sorted_by(|one, other| one.name() < other.name()));
        assert_eq!(Scenario::named("nosuch"), None);
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
