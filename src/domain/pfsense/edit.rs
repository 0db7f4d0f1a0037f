//! What each [`ConfigurationEdit`] does to the raw records: the only place that knows how an edit looks. Pure: who, when and the name of
//! a new association are handed in. The firewall only compares and swaps what comes out; it is byte for byte what
//! pfSense's own pages make (the recorded results of its PHP are the test). Building is in `build`.

mod build;
mod put_back;

pub use put_back::are_of_service;

use super::beside::find_neighbours;
use super::change::{ConfigurationEdit, Element, Placed, RecordNames, Records, Separators, Swap};
use super::config::{ReadRequest, Sections, is_exactly, members_of_text, port_field_is};
use super::configured::{Configured, FilterRule, NatRule};
use super::deciding::{find_floating_pass, find_rule_before};
use super::managed::ManagedPair;
use super::proof::{has_rules, is_out, prove_swap};
use super::separators::{remove_rule, separators_of};
use crate::domain::pf::rule::Rate;
use crate::text::quoted;

/// The elements of a filter rule that hold its caps, as they are written: connections, and the two halves of the rate.
pub const CAP_KEYS: [&str; 3] = ["max-src-conn", "max-src-conn-rate", "max-src-conn-rates"];
/// The longest rate period the rule editor takes, in seconds: one beyond it would be lost at the next save in the GUI.
const LONGEST_PERIOD: u32 = 255;
/// pf keeps the rate times 1000 in 32 bits, and pfctl wants it below `PF_THRESHOLD_MAX`, which is 4,294,967.
const MOST_CONNECTIONS: u32 = 4_294_966;

/// Who changes what and when, and what new records are called.
#[derive(Clone, Copy, Debug)]
pub struct EditIds<'a> {
    /// Who, such as `viktor@laptop`.
    pub who: &'a str,
    /// Epoch seconds on the firewall's clock; a new filter rule's tracker.
    pub now: i64,
    /// The association of a new pair, `nat_…`.
    pub association: &'a str,
}

impl EditIds<'_> {
    /// Returns a `created` or `updated` element.
    fn stamp_element(&self) -> Element {
        let (time, username) = (self.now.to_string(), format!("kmsctl ({})", self.who));
        Element::of_texts([("time", time.as_str()), ("username", username.as_str())])
    }
}

/// Why a change is not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalCode {
    /// More than one rule could be meant.
    Ambiguous,
    /// The filter rule that is joined to the forward is not the service's alone.
    SharedRule,
    NoRules,
    HalfMissing,
    Elsewhere,
    /// The forward is for more ports.
    WiderPort,
    /// The forward leads to another inside port.
    OtherInsidePort,
    /// No filter rule could carry caps, or they have no meaning on it.
    NoRuleForCaps,
    /// The GUI would refuse these caps.
    BadCaps,
    TrackerTaken,
    PortTaken,
    NotOfService,
    NoAlias,
    /// pf could not be asked about the filter rule.
    Untellable,
    /// A floating rule lets the service in before any rule of the interface.
    FloatingDecides,
}

/// A refusal: its code, and one clause for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EditRefusal {
    pub code: RefusalCode,
    /// The clause, without a full stop.
    pub clause: String,
}

fn refuse_edit<T>(code: RefusalCode, clause: impl Into<String>) -> Result<T, EditRefusal> {
    Err(EditRefusal { code, clause: clause.into() })
}

/// The sections as they become, and where the service's records stand in them.
struct Draft<'a> {
    sections: Sections,
    pair: ManagedPair<'a>,
    configured: &'a Configured,
    service: &'a ReadRequest,
    ids: &'a EditIds<'a>,
    nat: Option<usize>,
    filter: Option<usize>,
    alias: Option<usize>,
    /// What is to be put back was found among several forwards of the service.
    is_in_place: bool,
}

/// Returns the records before and after the change.
pub fn make_swap(
    configured: &Configured,
    change: &ConfigurationEdit,
    service: &ReadRequest,
    ids: &EditIds<'_>,
) -> Result<Swap, EditRefusal> {
    edit_sections(configured, change, service, ids).map(|(swap, _)| swap)
}

fn edit_sections(
    configured: &Configured,
    change: &ConfigurationEdit,
    service: &ReadRequest,
    ids: &EditIds<'_>,
) -> Result<(Swap, Sections), EditRefusal> {
    let pair = ManagedPair::find(configured, service);
    let named = |alias: &Element| alias.child_text("name") == Some(service.alias.as_str());
    let aliases = configured.sections.list("aliases", "alias");
    let mut draft = Draft {
        sections: configured.sections.clone(),
        nat: pair.first_forward().map(|rule| list_place(rule.index)),
        filter: pair.passes.first().map(|rule| list_place(rule.index)),
        alias: aliases.iter().position(named),
        is_in_place: false,
        pair,
        configured,
        service,
        ids,
    };
    if let ConfigurationEdit::PutBack { records, .. } = change {
        draft.find_places(records);
    }
    draft.check_ambiguity(change)?;
    if let ConfigurationEdit::PutBack { records, .. } = change {
        draft.let_others_stand(records)?;
        draft.let_other_pass_stand(records.filter.as_ref());
    }
    let mut before = draft.records();
    match change {
        ConfigurationEdit::Caps { max_src_conn, rate } => {
            draft.set_caps(*max_src_conn, *rate)?;
        }
        ConfigurationEdit::Disable => draft.disable(true, true)?,
        ConfigurationEdit::DisableForward => draft.disable(true, false)?,
        ConfigurationEdit::DisableFilter => draft.disable(false, true)?,
        ConfigurationEdit::Enable => draft.enable()?,
        ConfigurationEdit::Delete => draft.delete()?,
        ConfigurationEdit::PutBack { records, alias } => draft.put_back(records, *alias)?,
        ConfigurationEdit::Build { description, max_src_conn, rate, alias } => {
            check_caps(*max_src_conn, *rate)?;
            draft.build(description, (*max_src_conn, *rate), *alias)?;
        }
    }
    let after = draft.records();
    let places =
        [("nat", &mut before.nat, &after.nat), ("filter", &mut before.filter, &after.filter)];
    for (section, was, now) in places {
        if let (Some(was), None) = (was, now) {
            let rules = configured.sections.list(section, "rule");
            was.beside = Some(find_neighbours(section, rules, list_place(was.index)));
        }
    }
    let mut names = names_of_records(&before, &after);
    if let (Some(was), None) = (&before.nat, &after.nat) {
        let stays = draft.sections.list("nat", "rule");
        let copies = names_of_copies(&was.record, service).into_iter();
        names.nat.extend(copies.filter(|name| !stays.iter().any(|rule| rule.has_part(name))));
    }
    let swap = Swap {
        names,
        proof: prove_swap(configured, service, &before, &after),
        closes: closes(&before, &after),
        stays: stays_closed(&before, &after),
        deletes: has_rules(&before) && !has_rules(&after),
        before,
        after,
    };
    Ok((swap, draft.sections))
}

/// Returns whether records let nothing in by themselves: what closes is never taken back because pf contradicts it. A filter
/// rule that is switched off closes by itself.
fn stays_closed(before: &Records, after: &Records) -> bool {
    let (nat, filter) = (is_out(after.nat.as_ref()), is_out(after.filter.as_ref()));
    let by_filter = filter && !is_out(before.filter.as_ref()) && after.nat == before.nat;
    by_filter || nat && (filter || after.filter == before.filter)
}

/// Returns whether a change does nothing but close; one that is so already counts as well. What keeps traffic out closes
/// nothing when it goes.
fn closes(before: &Records, after: &Records) -> bool {
    let keeps_out = |rule: &Placed| !FilterRule::of_record(rule.index, &rule.record).is_pass();
    let opens = |was: Option<&Placed>, now: Option<&Placed>| {
        was != now && (!is_out(now) || (now.is_some() && is_out(was)) || was.is_some_and(keeps_out))
    };
    !opens(before.nat.as_ref(), after.nat.as_ref())
        && !opens(before.filter.as_ref(), after.filter.as_ref())
        && stays_closed(before, after)
}

/// Says by what each record is known again where another writer has changed it.
fn names_of_records(before: &Records, after: &Records) -> RecordNames {
    let named = |placed: &Placed, keys: &[&str]| {
        let mut name = Element::Map(Vec::new());
        for key in keys {
            let value = placed.record.get(key)?.clone();
            if value == Element::from("") {
                return None;
            }
            name.set_child(key, value);
        }
        Some(name)
    };
    let by_link = |placed: &Placed| match placed.record.child_text("associated-rule-id") {
        Some("pass") => named(placed, &["target", "destination"]),
        _ => named(placed, &["associated-rule-id"]),
    };
    let pair = |of: fn(&Records) -> Option<&Placed>| [of(after), of(before)].into_iter().flatten();
    RecordNames {
        nat: pair(|records| records.nat.as_ref()).filter_map(by_link).collect(),
        filter: pair(|records| records.filter.as_ref())
            .flat_map(|placed| [named(placed, &["tracker"]), by_link(placed)])
            .flatten()
            .collect(),
        alias: pair(|records| records.alias.as_ref())
            .filter_map(|placed| named(placed, &["name"]))
            .collect(),
    }
}

/// Says by what a forward is known that others build in the place of one that goes: it leads the same port of the interface to
/// the service.
fn names_of_copies(forward: &Element, service: &ReadRequest) -> Vec<Element> {
    let was = NatRule::of_record(0, forward);
    let (port, address) = (service.port.to_string(), service.address.to_string());
    let targets = [Some(service.alias.as_str()), Some(address.as_str()), was.target.as_deref()];
    let ports = [Some(port.as_str()), was.destination.port.as_deref()];
    let mut names = Vec::new();
    for target in targets.into_iter().flatten() {
        for port in ports.into_iter().flatten() {
            let texts = [("interface", was.interface.as_str()), ("target", target)];
            let mut name = Element::of_texts(texts);
            name.set_child("destination", Element::of_texts([("port", port)]));
            names.push(name);
        }
    }
    names
}

fn list_place(index: u32) -> usize {
    usize::try_from(index).unwrap_or(usize::MAX)
}

impl Draft<'_> {
    fn records(&self) -> Records {
        let placed = |section, tag, place: Option<usize>| {
            let record = self.sections.list(section, tag).get(place?)?.clone();
            let index = u32::try_from(place?).unwrap_or(u32::MAX);
            Some(Placed { index, record, beside: None })
        };
        Records {
            nat: placed("nat", "rule", self.nat),
            filter: placed("filter", "rule", self.filter),
            alias: placed("aliases", "alias", self.alias),
            separators: Separators {
                nat: separators_of(&self.sections, "nat"),
                filter: separators_of(&self.sections, "filter"),
            },
        }
    }

    fn rule(&self, section: &str, place: Option<usize>) -> Option<&Element> {
        self.sections.list(section, "rule").get(place?)
    }

    fn edit_rule<T>(
        &mut self,
        section: &str,
        place: Option<usize>,
        edit: impl FnOnce(&mut Element) -> T,
    ) -> Option<T> {
        let place = place?;
        self.sections.edit_list(section, "rule", |rules| rules.get_mut(place).map(edit))
    }

    fn forward(&self) -> Option<&NatRule> {
        self.pair.first_forward()
    }

    fn pass(&self) -> Option<&FilterRule> {
        self.pair.passes.first().copied()
    }

    /// Refuses what is not clear, and rules that are not the service's alone. To close is to disable the forward, whatever
    /// its filter rules are.
    fn check_ambiguity(&self, change: &ConfigurationEdit) -> Result<(), EditRefusal> {
        let closes = change.disables();
        let puts_back = matches!(change, ConfigurationEdit::PutBack { .. });
        let unclear = |count: usize, what: &str| {
            let clause = format!("{count} {what} match; it is not clear which is meant");
            refuse_edit(RefusalCode::Ambiguous, clause)
        };
        // What comes back stands beside the forwards of others, and is one of several where it is there.
        let (count, all) = (self.pair.forwards.len(), self.pair.all_forwards().count());
        let is_clear = match change {
            ConfigurationEdit::PutBack { .. } => !self.pair.is_ours || self.is_in_place || all < 2,
            // What is built or comes back could not be distinguished from a copy.
            ConfigurationEdit::Build { .. } | ConfigurationEdit::Delete => all < 2,
            // Where all of them are disabled it does not matter which is meant.
            ConfigurationEdit::Disable
            | ConfigurationEdit::DisableForward
            | ConfigurationEdit::DisableFilter => {
                count < 2 || self.forward().is_some_and(|rule| rule.disabled)
            }
            _ => count < 2,
        };
        if !is_clear {
            return unclear(all, "port forwards");
        }
        let count = self.pair.passes.len();
        let is_as_it_was = self.is_filter_as_it_was(change);
        let stand_beside = self.is_in_place || puts_back && !self.pair.is_ours;
        let by_forward_alone =
            closes && self.forward().is_some() && *change != ConfigurationEdit::DisableFilter;
        if count > 1 && !is_as_it_was && !stand_beside && !by_forward_alone {
            return unclear(count, "filter rules");
        }
        if let Some(foreign) = &self.pair.foreign
            && (!closes || *change == ConfigurationEdit::DisableFilter)
            && !puts_back
        {
            return refuse_edit(RefusalCode::SharedRule, foreign.foreign_clause());
        }
        if count == 1 && !by_forward_alone && !is_as_it_was {
            self.check_tellable()?;
        }
        Ok(())
    }

    /// Says whether the filter rule to put back is there already: what closed by the forward alone left it.
    fn is_filter_as_it_was(&self, change: &ConfigurationEdit) -> bool {
        let ConfigurationEdit::PutBack { records, .. } = change else {
            return false;
        };
        let wanted = records.filter.as_ref().map(|placed| &placed.record);
        wanted.is_some() && self.rule("filter", self.filter) == wanted
    }

    /// Refuses a filter rule that pf could not be asked about.
    fn check_tellable(&self) -> Result<(), EditRefusal> {
        match self.pair.find_indistinct_pass(self.configured, self.service) {
            None => Ok(()),
            Some(why) => {
                let advice =
                    "open it in the GUI and save it as a new rule with a tracker of its own";
                refuse_edit(RefusalCode::Untellable, format!("{why}; {advice}"))
            }
        }
    }

    /// Refuses rules of more than the service: to end one port would end others too.
    fn check_only_ours(&self) -> Result<(), EditRefusal> {
        let Some(forward) = self.forward() else {
            return Ok(());
        };
        if !self.pair.is_ours {
            return self.refuse_elsewhere(forward);
        }
        self.check_one_port(forward, true)
    }

    fn refuse_elsewhere(&self, forward: &NatRule) -> Result<(), EditRefusal> {
        let target = forward.target.as_deref().unwrap_or_default();
        let members = members_of_text(&self.configured.aliases, target).unwrap_or_default();
        let leads = if is_exactly(&self.configured.aliases, target, self.service.address) {
            format!("to the service by {target}, and not by its alias {}", self.service.alias)
        } else if members.iter().any(|net| net.contains(&self.service.address)) {
            format!("to more than the service ({target})")
        } else {
            format!("elsewhere ({target})")
        };
        let clause = format!("the port forward of this port leads {leads}");
        refuse_edit(RefusalCode::Elsewhere, clause)
    }

    fn check_one_port(&self, forward: &NatRule, says_which: bool) -> Result<(), EditRefusal> {
        let (port, field) = (self.service.port, forward.destination.port.as_deref());
        if port_field_is(&self.configured.aliases, field, port) {
            return Ok(());
        }
        let which = format!(" ({})", field.unwrap_or_default());
        let which = if says_which { which.as_str() } else { "" };
        let clause = format!("the port forward is for more than port {port}{which}");
        refuse_edit(RefusalCode::WiderPort, clause)
    }

    /// Refuses a forward whose inside port is another one: what it leads to is not the service as it is configured.
    fn check_inside_port(&self) -> Result<(), EditRefusal> {
        let aliases = &self.configured.aliases;
        match self.pair.other_inside_port(aliases, self.service) {
            None => Ok(()),
            Some(port) => {
                let clause = format!(
                    "the inside port of the port forward is {port}, not {}; change one of them in the GUI",
                    self.service.port
                );
                refuse_edit(RefusalCode::OtherInsidePort, clause)
            }
        }
    }

    fn check_not_astray(&self) -> Result<(), EditRefusal> {
        match self.pair.leads_astray(&self.configured.aliases, self.service) {
            None => Ok(()),
            Some(to) => {
                let clause = format!(
                    "the filter rule that is joined to the port forward is for {to}; `kmsctl expose apply` repairs it"
                );
                refuse_edit(RefusalCode::SharedRule, clause)
            }
        }
    }

    /// Refuses caps on a rule in force that pf does not load, or that another rule is met before.
    fn check_caps_count(&self) -> Result<(), EditRefusal> {
        let Some(own) = self.pass().filter(|own| !own.disabled) else {
            return Ok(());
        };
        self.check_alias_there()?;
        let first = find_rule_before(self.configured, Some(own), self.service);
        let Some(first) = first.filter(|rule| rule.is_pass()) else {
            return Ok(());
        };
        let kind = if first.floating { "floating" } else { "filter" };
        let clause = format!(
            "the {kind} rule {} (tracker {}) lets the service's traffic in before the pair's rule sees it, so the caps would not count; remove it, or change it in the GUI",
            quoted(first.descr.as_deref().unwrap_or_default()),
            first.tracker.as_deref().unwrap_or("none"),
        );
        refuse_edit(RefusalCode::FloatingDecides, clause)
    }

    /// Refuses rules that name the alias where there is none: pfSense leaves them out.
    fn check_alias_there(&self) -> Result<(), EditRefusal> {
        let alias = &self.service.alias;
        let target = self.forward().and_then(|rule| rule.target.as_ref());
        let address = self.pass().and_then(|rule| rule.destination.address.as_ref());
        let names_it = [target, address].contains(&Some(alias));
        if self.alias.is_some() || !names_it {
            return Ok(());
        }
        let clause = format!(
            "there is no alias {alias}, so pf does not load the rules that name it; `kmsctl expose apply` makes it"
        );
        refuse_edit(RefusalCode::NoAlias, clause)
    }

    fn set_caps(
        &mut self,
        connections: Option<u32>,
        rate: Option<Rate>,
    ) -> Result<(), EditRefusal> {
        let refuse = |clause: &str| refuse_edit(RefusalCode::NoRuleForCaps, clause);
        if self.pair.forward_passes() {
            return refuse(
                "the port forward passes traffic by itself (association \"Pass\"), so there is no rule for caps",
            );
        }
        self.check_only_ours()?;
        self.check_inside_port()?;
        let Some(pass) = self.pass() else {
            return refuse("there is no filter rule that could carry caps");
        };
        if let Some(why) = pass.why_caps_are_ignored() {
            return refuse(&why);
        }
        self.check_not_astray()?;
        self.check_caps_count()?;
        check_caps(connections, rate)?;
        let stamp = self.ids.stamp_element();
        self.edit_rule("filter", self.filter, |rule| {
            if write_caps(rule, connections, rate) {
                rule.set_child("updated", stamp);
            }
        });
        Ok(())
    }

    /// Disables the forward, and its filter rule where that is the service's alone; one of them where the other has to stay.
    fn disable(&mut self, forward: bool, filter: bool) -> Result<(), EditRefusal> {
        if self.nat.is_none() && self.filter.is_none() {
            return refuse_edit(RefusalCode::NoRules, "there are no such rules");
        }
        self.check_only_ours()?;
        let stays = self.pair.why_filter_stays(self.configured, self.service).is_some();
        let filter = self.filter.filter(|_| filter && !stays);
        for (section, place) in [("nat", self.nat.filter(|_| forward)), ("filter", filter)] {
            self.edit_rule(section, place, |rule| {
                if !rule.has_child("disabled") {
                    rule.set_child("disabled", "");
                }
            });
        }
        Ok(())
    }

    fn enable(&mut self) -> Result<(), EditRefusal> {
        let alone = self.pair.forward_passes()
            || find_floating_pass(self.configured, self.service).is_some();
        // A service that is published without a forward has a filter rule alone.
        if self.filter.is_none() && (self.nat.is_none() || !alone) {
            let clause = "one of the two rules is missing; the pair must be built or put back";
            return refuse_edit(RefusalCode::HalfMissing, clause);
        }
        self.check_only_ours()?;
        self.check_inside_port()?;
        self.check_not_astray()?;
        self.check_alias_there()?;
        for (section, place) in [("nat", self.nat), ("filter", self.filter)] {
            self.edit_rule(section, place, |rule| rule.remove("disabled"));
        }
        Ok(())
    }

    fn delete(&mut self) -> Result<(), EditRefusal> {
        if self.nat.is_none() && self.filter.is_none() {
            return refuse_edit(RefusalCode::NoRules, "there are no such rules");
        }
        self.check_only_ours()?;
        self.check_inside_port()?;
        self.check_not_astray()?;
        if self.pass().is_some_and(|own| !own.is_pass()) {
            let clause = "the filter rule that is joined to the port forward lets nothing in, and what it keeps out would get in without it";
            return refuse_edit(RefusalCode::SharedRule, clause);
        }
        if self.pair.find_capped_forward(self.configured, self.service).is_some() {
            let clause = "the caps of the filter rule hold for another port forward as well, which would lose them";
            return refuse_edit(RefusalCode::SharedRule, clause);
        }
        let record = self.rule("filter", self.filter);
        let tracker = record.and_then(|record| record.child_text("tracker"));
        let tracker = tracker.unwrap_or_default().to_owned();
        for (section, place) in [("nat", self.nat.take()), ("filter", self.filter.take())] {
            if let Some(place) = place {
                remove_rule(&mut self.sections, section, place);
            }
        }
        if self.is_tracker_taken(&tracker) {
            let clause = "another rule has the tracker of the filter rule, so it could not be put back; disable it instead";
            return refuse_edit(RefusalCode::TrackerTaken, clause);
        }
        Ok(())
    }

    fn is_tracker_taken(&self, tracker: &str) -> bool {
        let mut rules = self.sections.list("filter", "rule").iter();
        !tracker.is_empty() && rules.any(|rule| rule.child_text("tracker") == Some(tracker))
    }
}

fn check_caps(connections: Option<u32>, rate: Option<Rate>) -> Result<(), EditRefusal> {
    find_cap_fault(connections, rate)
        .map_or(Ok(()), |clause| refuse_edit(RefusalCode::BadCaps, clause))
}

/// Says what is wrong with caps that pf does not load or pfSense's form does not accept: a clause.
pub fn find_cap_fault(connections: Option<u32>, rate: Option<Rate>) -> Option<String> {
    if connections == Some(0) {
        return Some("a max-src-conn of 0 would be no cap at all; 1 is the least".to_owned());
    }
    let Rate { connections, seconds } = rate?;
    if connections == 0 || seconds == 0 {
        return Some(format!(
            "a rate of {connections}/{seconds} does not work: both numbers count from 1"
        ));
    }
    if connections > MOST_CONNECTIONS {
        return Some(format!(
            "a rate of {connections} connections is more than pf loads; {MOST_CONNECTIONS} is the most"
        ));
    }
    (seconds > LONGEST_PERIOD).then(|| {
        format!(
            "a rate over {seconds} seconds is longer than pfSense's form takes, and the next save in the GUI would fail; {LONGEST_PERIOD} is the most"
        )
    })
}

/// Sets a text, or removes the element; an empty and an absent one mean the same. Says whether it differed.
fn write_text(record: &mut Element, key: &str, value: Option<&str>) -> bool {
    if record.child_text(key).unwrap_or_default() == value.unwrap_or_default() {
        return false;
    }
    match value {
        Some(value) => record.set_child(key, value),
        None => drop(record.remove(key)),
    }
    true
}

/// Writes both halves of the rate or removes both: one alone makes pfSense 2.7.2 write a ruleset that does not load.
fn write_caps(rule: &mut Element, connections: Option<u32>, rate: Option<Rate>) -> bool {
    let values = [connections, rate.map(|rate| rate.connections), rate.map(|rate| rate.seconds)];
    let mut differed = false;
    for (key, value) in CAP_KEYS.into_iter().zip(values) {
        let value = value.map(|value| value.to_string());
        differed |= write_text(rule, key, value.as_deref());
    }
    differed
}

#[cfg(test)]
mod tests;
