//! The simulated box's config.xml as pfSense's PHP holds it: a tree of texts, lists and maps, raw. The exposure's
//! records stand in it among their neighbours, so that what must not be touched can be. `shipped` is what each
//! scenario begins with, `read` what the agent reports of it, `generate` the rules pfSense makes of it.
//!
//! It decides nothing: changes are `super::agent`'s work.

pub mod generate;
pub mod read;
mod shipped;

use serde::{Deserialize, Serialize};

use super::scenario::Scenario;
use crate::domain::pfsense::change::Element;

/// The configuration, and what pfSense keeps beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration {
    /// The root element.
    pub tree: Element,
    /// Subsystems with saved but unapplied changes.
    pub dirty: Vec<String>,
    /// Older revisions, newest first: what pfSense's configuration history lists.
    pub history: Vec<Element>,
}

/// pfSense's own default of `system/backupcount`.
const BACKUPS: usize = 30;

impl Configuration {
    /// Returns what a scenario begins with.
    pub fn shipped(scenario: Scenario) -> Self {
        shipped::shipped_configuration(scenario)
    }

    /// Returns a section; one that is absent looks like an empty one.
    pub fn section(&self, name: &str) -> &Element {
        self.tree.get(name).unwrap_or(&EMPTY)
    }

    /// Returns the records of a list such as `nat/rule`; an empty section is a text, not a list.
    pub fn list(&self, section: &str, tag: &str) -> &[Element] {
        match self.section(section).get(tag) {
            Some(Element::List(records)) => records,
            _ => &[],
        }
    }

    /// Gives a change of a list such as `nat/rule` to `edit`; the list is made if it is not there.
    pub fn edit<T>(
        &mut self,
        section: &str,
        tag: &str,
        edit: impl FnOnce(&mut Vec<Element>) -> T,
    ) -> T {
        let mut records = self.list(section, tag).to_vec();
        let result = edit(&mut records);
        self.set(section, tag, Element::List(records));
        result
    }

    /// Sets a child of a section.
    pub fn set(&mut self, section: &str, tag: &str, child: Element) {
        let mut holder = self.section(section).clone();
        holder.set_child(tag, child);
        self.tree.set_child(section, holder);
    }

    /// Takes everything of another configuration but the revision, which goes by what was written last.
    pub fn replace(&mut self, other: Self) {
        let revision = self.section("revision").clone();
        self.tree = other.tree;
        self.tree.set_child("revision", revision);
    }

    /// Records a write as `write_config` does: the revision that was there goes into the history. Returns the time of
    /// the new one.
    pub fn revise(&mut self, now: i64, description: &str, username: &str) -> String {
        let before = self.section("revision").clone();
        self.history.insert(0, before);
        self.history.truncate(BACKUPS);
        let time = now.div_euclid(1000).to_string();
        let described = format!("{username}: {description}");
        let revision = [
            ("time", time.as_str()),
            ("description", described.as_str()),
            ("username", username),
        ];
        self.tree.set_child("revision", Element::of_texts(revision));
        time
    }
}

/// An empty element.
static EMPTY: Element = Element::Text(String::new());
