//! Makes the pair what saved records say: undo, revert and restore. A record that is there stays where it stands; one
//! that is gone comes back beside what it stood beside.

use super::{Draft, EditRefusal, RefusalCode, list_place, refuse_edit};
use crate::domain::pfsense::beside::find_place;
use crate::domain::pfsense::change::{Element, Placed, Records};
use crate::domain::pfsense::config::{ReadRequest, port_field_covers};
use crate::domain::pfsense::configured::{Alias, FilterRule, NatRule};
use crate::domain::pfsense::managed::{association_of, is_tcp, passes_to_service};
use crate::domain::pfsense::separators::{insert_rule, remove_rule};

/// Returns whether saved records are the service's: its forward, and the filter rule that is joined to it or lets the
/// service's traffic in. What another alias had on the same port is another service's.
pub fn are_of_service(records: &Records, aliases: &[Alias], service: &ReadRequest) -> bool {
    let nat = records.nat.as_ref();
    let nat = nat.map(|placed| NatRule::of_record(placed.index, &placed.record));
    let filter = records.filter.as_ref();
    let filter = filter.map(|placed| FilterRule::of_record(placed.index, &placed.record));
    let joined = nat.as_ref().and_then(|rule| association_of(rule.association.as_ref()));
    let is_joined =
        |rule: &FilterRule| joined.is_some() && association_of(rule.association.as_ref()) == joined;
    let forwards = |rule: &NatRule| {
        !rule.nordr
            && rule.interface == service.interface
            && is_tcp(rule.protocol.as_ref())
            && port_field_covers(aliases, rule.destination.port.as_deref(), service.port, 0)
            && service.is_named_by(rule.target.as_deref())
    };
    (nat.is_some() || filter.is_some())
        && nat.as_ref().is_none_or(forwards)
        && filter
            .as_ref()
            .is_none_or(|rule| is_joined(rule) || passes_to_service(rule, aliases, service))
}

impl Draft<'_> {
    pub(super) fn put_back(&mut self, records: &Records, alias: bool) -> Result<(), EditRefusal> {
        let is_ours = are_of_service(records, &self.configured.aliases, self.service);
        let bars = &records.separators;
        self.nat = self.put_rule_back("nat", self.nat, records.nat.as_ref(), &bars.nat, is_ours)?;
        let wanted = records.filter.as_ref();
        self.filter = self.put_rule_back("filter", self.filter, wanted, &bars.filter, is_ours)?;
        if alias {
            self.put_alias_back(records.alias.as_ref());
        }
        Ok(())
    }

    /// Of several forwards of the service, finds the one that is to be put back where it was, and its filter rule; of a single
    /// one the filter rule that became others' too.
    pub(super) fn find_places(&mut self, wanted: &Records) {
        self.find_shared_filter(wanted.filter.as_ref());
        if !self.pair.is_ours || self.pair.all_forwards().count() < 2 {
            return;
        }
        let place = |section, wanted: Option<&Placed>, keys: &[&str]| {
            let wanted = wanted?;
            let place = list_place(wanted.index);
            let present = self.rule(section, Some(place))?;
            let is_it = keys.iter().all(|key| wanted.record.get(key) == present.get(key));
            is_it.then_some(place)
        };
        let keys = ["associated-rule-id", "destination", "local-port", "target"];
        let Some(nat) = place("nat", wanted.nat.as_ref(), &keys) else {
            return;
        };
        let filter = place("filter", wanted.filter.as_ref(), &["interface", "tracker"]);
        if filter.is_some() || wanted.filter.is_none() {
            (self.nat, self.filter, self.is_in_place) = (Some(nat), filter, true);
        }
    }

    /// A filter rule that others need as well, as it is enabled now, is what comes back all the same: tracker and association
    /// are those of the pair.
    fn find_shared_filter(&mut self, wanted: Option<&Placed>) {
        let Some(wanted) = wanted.filter(|_| self.filter.is_none() && self.pair.foreign.is_some())
        else {
            return;
        };
        let wanted = FilterRule::of_record(wanted.index, &wanted.record);
        let (tracker, joined) =
            (wanted.tracker_number(), association_of(wanted.association.as_ref()));
        let is_it = |rule: &&FilterRule| {
            rule.tracker_number() == tracker && association_of(rule.association.as_ref()) == joined
        };
        let mut found = self.configured.all_filter.iter().filter(is_it);
        if let (Some(rule), None, true) =
            (found.next(), found.next(), tracker.and(joined).is_some())
        {
            self.filter = Some(list_place(rule.index));
        }
    }

    /// A forward of the port to elsewhere is not ours to replace, unless it is what the one that comes back had become: its
    /// filter rule, by association and tracker, is there still. Any other may stand beside it, unless both are for the same
    /// address.
    pub(super) fn let_others_stand(&mut self, wanted: &Records) -> Result<(), EditRefusal> {
        if self.pair.is_ours || self.pair.forwards.is_empty() {
            return Ok(());
        }
        let of_filter = |placed: &Placed| FilterRule::of_record(placed.index, &placed.record);
        let wanted_pass = wanted.filter.as_ref().map(of_filter);
        let of_forward = |placed: &Placed| NatRule::of_record(placed.index, &placed.record);
        let wanted = wanted.nat.as_ref().map(of_forward);
        let joined = wanted.as_ref().and_then(|wanted| association_of(wanted.association.as_ref()));
        let is_its_filter = |rule: &FilterRule| {
            let same =
                |wanted: &FilterRule| wanted.tracker.is_some() && wanted.tracker == rule.tracker;
            association_of(rule.association.as_ref()) == joined
                && wanted_pass.as_ref().is_some_and(same)
        };
        let mut rules = self.configured.all_filter.iter();
        let is_linked = joined.is_some() && rules.any(is_its_filter);
        let is_it =
            |rule: &&&NatRule| is_linked && association_of(rule.association.as_ref()) == joined;
        if let Some(present) = self.pair.forwards.iter().find(is_it) {
            self.nat = Some(list_place(present.index));
            return Ok(());
        }
        let takes_port = |present: &&NatRule| {
            let same = |wanted: &NatRule| wanted.destination == present.destination;
            !present.disabled && wanted.as_ref().is_some_and(same)
        };
        if self.pair.forwards.iter().any(takes_port) {
            let clause = "another port forward uses this port";
            return refuse_edit(RefusalCode::PortTaken, clause);
        }
        let aliases = self.configured.aliases.as_slice();
        let all = self.configured.filter.iter();
        // Of the filter rules only the one that comes back may be replaced: the others belong to the forwards that stay.
        let tracker = |rule: &FilterRule| rule.tracker.clone().filter(|text| !text.is_empty());
        let is_meant = |rule: &&FilterRule| {
            let meant = |wanted: &FilterRule| match (tracker(wanted), tracker(rule)) {
                (Some(wanted), Some(present)) => wanted == present,
                _ => true,
            };
            wanted_pass.as_ref().is_some_and(meant)
        };
        let passes: Vec<&FilterRule> = all
            .filter(|rule| passes_to_service(rule, aliases, self.service))
            .filter(is_meant)
            .collect();
        if passes.len() > 1 {
            let count = passes.len();
            let clause = format!("{count} filter rules match; it is not clear which is meant");
            return refuse_edit(RefusalCode::Ambiguous, clause);
        }
        self.nat = None;
        self.filter = passes.first().map(|rule| list_place(rule.index));
        Ok(())
    }

    /// A filter rule with another tracker that no forward of the service is joined to is not what comes back: both stand.
    pub(super) fn let_other_pass_stand(&mut self, wanted: Option<&Placed>) {
        let Some(wanted) = wanted else { return };
        let tracker =
            |record: &Element| record.child_text("tracker").unwrap_or_default().to_owned();
        let wanted = tracker(&wanted.record);
        let is_other = self.rule("filter", self.filter).is_some_and(|present| {
            let present = tracker(present);
            !wanted.is_empty() && !present.is_empty() && present != wanted
        });
        let mut forwards = self.pair.forwards.iter();
        let joined = self.pass().and_then(|rule| association_of(rule.association.as_ref()));
        let is_joined = joined.is_some_and(|id| {
            forwards.any(|rule| association_of(rule.association.as_ref()) == Some(id))
        });
        if is_other && !is_joined {
            self.filter = None;
        }
    }

    fn put_rule_back(
        &mut self,
        section: &str,
        present: Option<usize>,
        wanted: Option<&Placed>,
        bars: &Element,
        is_ours: bool,
    ) -> Result<Option<usize>, EditRefusal> {
        match (present, wanted) {
            (None, None) => Ok(None),
            (Some(place), None) => {
                remove_rule(&mut self.sections, section, place);
                Ok(None)
            }
            (Some(_), Some(wanted)) => {
                let record = wanted.record.clone();
                self.edit_rule(section, present, |rule| *rule = record);
                Ok(present)
            }
            // In the place of the service's rules may come what they had replaced; where there are none, only its own.
            (None, Some(_)) if !is_ours => {
                let clause =
                    format!("the rules to put back are not those of {}", self.service.alias);
                refuse_edit(RefusalCode::NotOfService, clause)
            }
            (None, Some(wanted)) => {
                let tracker = wanted.record.child_text("tracker").unwrap_or_default();
                if section == "filter" && self.is_tracker_taken(tracker) {
                    return refuse_edit(
                        RefusalCode::TrackerTaken,
                        "another rule has its tracker now",
                    );
                }
                let place = find_place(self.sections.list(section, "rule"), wanted);
                let (sections, record) = (&mut self.sections, wanted.record.clone());
                Ok(Some(insert_rule(sections, section, place, record, bars)))
            }
        }
    }

    fn put_alias_back(&mut self, wanted: Option<&Placed>) {
        let present = self.alias;
        self.alias =
            self.sections.edit_list("aliases", "alias", |aliases| match (present, wanted) {
                (Some(place), None) => {
                    aliases.remove(place);
                    None
                }
                (Some(place), Some(wanted)) => {
                    if let Some(alias) = aliases.get_mut(place) {
                        *alias = wanted.record.clone();
                    }
                    present
                }
                (None, Some(wanted)) => {
                    let place = list_place(wanted.index).min(aliases.len());
                    aliases.insert(place, wanted.record.clone());
                    Some(place)
                }
                (None, None) => None,
            });
    }
}
