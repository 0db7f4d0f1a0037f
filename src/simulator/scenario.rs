//! The boxes that can be simulated: for each [`Scenario`] the rules that are loaded and the configuration
//! that says the same, or, where that is the point, something else. The ruleset is the one that pfSense
//! 2.7.2 generates, as FreeBSD 14's pfctl prints it, with one IPv6 rule added so that IPv6 sources get
//! into the overload table.

use super::agent::ledger::Ledger;
use super::configuration::paths::upnp_rules;
use super::configuration::{Configuration, generate};
use super::pf::SimulatedPf;
use super::pf::rule::LoadedRule;
use crate::domain::pfsense::change::Element;
use crate::text::word_enum;

/// The tracker of the exposure's filter rule.
pub const KMS: u32 = 1_763_000_004;
/// The tracker of the capped IPv6 rule.
pub const HTTPS6: u32 = 1_763_000_005;

/// Declares the boxes: variant, name, and what is the matter there, in a line.
macro_rules! scenarios {
    ($($(#[$mark:meta])* $variant:ident $name:literal => $about:literal,)+) => {
        word_enum! {
            /// A box in a certain condition, in alphabetical order of [`Scenario::name`]. What is not said is as in the open one.
            #[derive(Default)]
            pub enum Scenario {
                $($(#[$mark])* #[doc = $about] $variant = $name,)+
            }
        }

        impl Scenario {
            /// Returns what is the matter there, in a line.
            pub fn about(self) -> &'static str {
                match self {
                    $(Self::$variant => $about,)+
                }
            }
        }
    };
}

scenarios! {
    Absent "absent" => "There is neither the port forward nor the filter rule.",
    BackendDead "backend-dead" => "The port is open, and the server behind the firewall does not answer.",
    Closed "closed" => "Both rules are disabled.",
    CutAfterApply "cut-after-apply" => "A change is made, and the connection ends right after its answer.",
    CutBeforeAnswer "cut-before-answer" => "A change is made, and the connection ends before its answer.",
    Denied "denied" => "This account may not open pf.",
    DiskFull "disk-full" => "There is less free space than a change asks for.",
    Drifted "drifted" => "The configuration says 10/60, pf still runs 30/60; a change waits to be applied.",
    Floating "floating" => "The port forward stands alone, and a floating rule passes it, with caps.",
    Group "group" => "A second WAN leads to the service too, and a rule of an interface group passes both.",
    GroupForward "group-forward" => "A port forward of an interface group leads port 21688 of both WANs to the service too.",
    HaBackup "ha-backup" => "The box is the CARP backup of a pair: its rules come from the primary.",
    HaPeer "ha-peer" => "The box is the CARP primary of a pair: pfSense pushes its rules to the other firewall.",
    Half "half" => "The port forward is in force, the filter rule is disabled.",
    HalfFilter "half-filter" => "The filter rule is in force, the port forward is disabled.",
    Leftovers "leftovers" => "An earlier crash of kmsctl has left its files behind.",
    LoadFails "load-fails" => "A ruleset that a change makes does not load; the one before does.",
    Locked "locked" => "Another operator is making a change that does not end.",
    LostUpdate "lost-update" => "Another writer saves the configuration in the moment before a change does.",
    NestedAlias "nested-alias" => "The alias holds another alias, and that one the address.",
    NoCron "no-cron" => "Nothing releases blocked addresses.",
    OldTarget "old-target" => "The rules still point to the shared load balancer of old, without caps; there is no alias.",
    OneToOne "one-to-one" => "1:1 NAT leads to the service too, through a filter rule of its own.",
    #[default]
    Open "open" => "The port is open, with caps 50 and 10/60. The usual one.",
    OtherPort "other-port" => "Port 21688 outside leads to the service too, through the same filter rule.",
    PassAssociation "pass-association" => "The port forward passes by itself: open, without a filter rule and caps.",
    PfDisabled "pf-disabled" => "pf is switched off.",
    PhpMissing "php-missing" => "PHP cannot be run, so the configuration cannot be read.",
    PortAlias "port-alias" => "Both rules name the port by an alias.",
    Reloading "reloading" => "The filter reloads in the midst of every reading.",
    Routed "routed" => "The service has a public IPv6 address too, and a filter rule passes it.",
    SecondWan "second-wan" => "A second WAN leads to the service too, by a pair of its own.",
    Shadowed "shadowed" => "A rule above ours blocks what ours would pass.",
    SharedAssociation "shared-association" => "Another port forward goes through the same filter rule.",
    StatesFull "states-full" => "pf holds almost as many states as it may.",
    TableMissing "table-missing" => "The overload table does not exist.",
    Uncapped "uncapped" => "The port is open, without caps.",
    Unproven "unproven" => "After a change neither the new ruleset nor the old one loads.",
    Upnp "upnp" => "UPnP has opened port 31688 outside for the service too.",
    UpnpElsewhere "upnp-elsewhere" => "Both rules are disabled, and UPnP has opened the service's port for another machine.",
    WriteFails "write-fails" => "The configuration cannot be written.",
}

impl Scenario {
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
        let opened = match self {
            Self::Upnp => Some(("10.0.20.202", 31688)),
            Self::UpnpElsewhere => Some(("10.0.10.77", 1688)),
            _ => None,
        };
        if let Some((address, port)) = opened {
            let [pass, rdr] = upnp_rules(address, port);
            pf.upnp = (vec![LoadedRule::new(&pass)], vec![LoadedRule::new(&rdr)]);
        }
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
        assert_eq!((pf.scrub.len(), pf.filter.len(), pf.nat.len(), pf.rdr.len()), (8, 80, 11, 6));
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
        assert!(rdr(Scenario::PassAssociation).unwrap().starts_with("rdr pass on vtnet0 "));
        assert!(rule(Scenario::Uncapped).unwrap().contains("flags S/SA keep state label"));
        assert!(rule(Scenario::Drifted).unwrap().contains("max-src-conn-rate 30/60"));
        assert!(Scenario::TableMissing.load(0).table("virusprot").is_none());
    }
}
