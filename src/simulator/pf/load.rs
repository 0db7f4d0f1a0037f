//! Loading a ruleset, as `pfctl -f` does it: all rules become new objects with new numbers. States and source nodes
//! stay and keep to the object that made them, so open connections stop counting against the caps and `-k label`
//! still finds them by the labels of their own rule. Tables keep their contents and times (FreeBSD 14's
//! `pf_commit_rules` and `pfr_ina_commit`).

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::SimulatedPf;
use super::rule::LoadedRule;
use super::table::{SimulatedTable, table_net};
use crate::simulator::configuration::generate::{DefinedTable, Ruleset};

/// A rule object: which load brought it, and the number it had then, which pfctl goes on printing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleRef {
    pub load: u32,
    pub number: usize,
}

impl SimulatedPf {
    /// Replaces all rules, and the tables that the ruleset defines.
    pub fn load(&mut self, ruleset: &Ruleset, now: i64) {
        let retired = std::mem::take(&mut self.filter);
        let load = self.loads;
        for (number, rule) in retired.iter().enumerate() {
            let old = RuleRef { load, number };
            if self.states.values().any(|state| state.rule == Some(old)) {
                self.retired.push((old, rule.clone()));
            }
        }
        self.loads += 1;
        self.filter = successor_rules(&ruleset.filter, retired);
        for rule in &mut self.filter {
            let mut groups = ruleset.groups.iter();
            let found = groups.find(|(name, _)| rule.interface() == Some(name.as_str()));
            rule.members = found.map_or_else(Vec::new, |(_, members)| members.clone());
        }
        self.scrub = successor_rules(&ruleset.scrub, std::mem::take(&mut self.scrub));
        self.nat = successor_rules(&ruleset.nat, std::mem::take(&mut self.nat));
        self.rdr = successor_rules(&ruleset.rdr, std::mem::take(&mut self.rdr));
        self.binat = successor_rules(&ruleset.binat, std::mem::take(&mut self.binat));
        self.define_tables(ruleset, now);
    }

    /// Says whether pf runs these rules, and has these entries in the tables that have any.
    pub fn runs(&self, ruleset: &Ruleset) -> bool {
        let same = |loaded: &[LoadedRule], wanted: &[String]| {
            loaded.len() == wanted.len()
                && std::iter::zip(loaded, wanted).all(|(rule, text)| rule.text == *text)
        };
        let filled = |defined: &DefinedTable| {
            let entries: Vec<&str> = defined.entries.iter().map(String::as_str).collect();
            let wanted = SimulatedTable::new(&defined.name, defined.flags, &entries, self.since);
            let table = self.table(&defined.name);
            entries.is_empty()
                || table.is_some_and(|table| table.entries.keys().eq(wanted.entries.keys()))
        };
        self.enabled
            && same(&self.filter, &ruleset.filter)
            && same(&self.rdr, &ruleset.rdr)
            && same(&self.binat, &ruleset.binat)
            && ruleset.tables.iter().all(filled)
    }

    fn define_tables(&mut self, ruleset: &Ruleset, now: i64) {
        let mut old = std::mem::take(&mut self.tables);
        for defined in &ruleset.tables {
            let entries: Vec<&str> = defined.entries.iter().map(String::as_str).collect();
            let mut table = SimulatedTable::new(&defined.name, defined.flags, &entries, now);
            if let Some(place) = old.iter().position(|table| table.name == defined.name) {
                let before = old.remove(place);
                if entries.is_empty() {
                    table.entries = before.entries;
                } else {
                    for (entry, since) in &mut table.entries {
                        *since = before.entries.get(entry).copied().unwrap_or(*since);
                    }
                }
            }
            self.tables.push(table);
        }
        // What pfctl -T add made is persistent and of no rule; aliases' tables go with their last rule.
        old.retain(|table| table.flags.contains('p'));
        self.tables.extend(old);
    }

    pub fn object(&self, number: usize) -> RuleRef {
        RuleRef { load: self.loads, number }
    }

    /// Returns a rule object, loaded or not any more.
    pub fn made_by(&self, rule: RuleRef) -> Option<&LoadedRule> {
        if rule.load == self.loads {
            return self.filter.get(rule.number);
        }
        let found = self.retired.iter().find(|(old, _)| *old == rule);
        found.map(|(_, rule)| rule)
    }

    pub(super) fn made_by_mut(&mut self, rule: RuleRef) -> Option<&mut LoadedRule> {
        if rule.load == self.loads {
            return self.filter.get_mut(rule.number);
        }
        let found = self.retired.iter_mut().find(|(old, _)| *old == rule);
        found.map(|(_, rule)| rule)
    }

    /// Frees rule objects that nothing refers to any more.
    pub(super) fn free_rules(&mut self) {
        let (states, nodes) = (&self.states, &self.nodes);
        self.retired.retain(|(old, _)| {
            states.values().any(|state| state.rule == Some(*old))
                || nodes.iter().any(|node| node.rule == *old)
        });
    }
}

/// Makes rules of texts. With `set keepcounters`, which pfSense writes, a rule whose text is unchanged goes on
/// counting; its states and their number stay with the old object.
fn successor_rules(texts: &[String], mut old: Vec<LoadedRule>) -> Vec<LoadedRule> {
    let mut make = |text: &String| {
        let mut rule = LoadedRule::new(text);
        if let Some(place) = old.iter().position(|before| before.text == *text) {
            let before = old.remove(place);
            rule.evaluations = before.evaluations;
            rule.packets = before.packets;
            rule.bytes = before.bytes;
        }
        rule
    };
    texts.iter().map(&mut make).collect()
}

/// Returns the address that a redirection's target stands for.
pub(super) fn resolve_target(tables: &[SimulatedTable], target: &str) -> Option<std::net::IpAddr> {
    match target.strip_prefix('<').and_then(|name| name.strip_suffix('>')) {
        Some(name) => {
            let table = tables.iter().find(|table| table.name == name)?;
            table.entries.keys().next().map(IpNet::addr)
        }
        None => table_net(target).map(|net| net.addr()),
    }
}
