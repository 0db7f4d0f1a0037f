//! The simulated box's config.xml as pfSense's PHP holds it: a tree of texts, lists and maps, raw. The exposure's
//! records stand in it among their neighbours, so that what must not be touched can be. `shipped` is what each
//! scenario begins with, `paths` what those edit that have another way in, `read` what the agent reports of it, `generate` the rules pfSense makes of it.
//!
//! It decides nothing: changes are `super::agent`'s work.

pub mod generate;
pub mod paths;
pub mod read;
mod shipped;

use serde::{Deserialize, Serialize};

use super::scenario::Scenario;
use crate::domain::pfsense::change::Element;
use crate::domain::pfsense::config::Sections;

/// The configuration, and what pfSense keeps beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration {
    pub tree: Sections,
    /// Subsystems with saved but unapplied changes.
    pub dirty: Vec<String>,
    /// Older revisions, newest first: what pfSense's configuration history lists.
    pub history: Vec<Element>,
}

/// pfSense's own default of `system/backupcount`.
const BACKUPS: usize = 30;

impl Configuration {
    pub fn shipped(scenario: Scenario) -> Self {
        shipped::shipped_configuration(scenario)
    }

    /// Takes everything of another configuration but the revision, which goes by what was written last.
    pub fn replace(&mut self, other: Self) {
        let revision = self.tree.section("revision").clone();
        self.tree = other.tree;
        self.tree.0.set_child("revision", revision);
    }

    /// Records a write as `write_config` does: the revision that was there goes into the history. Returns the time of
    /// the new one.
    pub fn revise(&mut self, now: i64, description: &str, username: &str) -> String {
        let before = self.tree.section("revision").clone();
        self.history.insert(0, before);
        self.history.truncate(BACKUPS);
        let time = now.div_euclid(1000).to_string();
        let described = format!("{username}: {description}");
        let revision =
            [("time", time.as_str()), ("description", described.as_str()), ("username", username)];
        self.tree.0.set_child("revision", Element::of_texts(revision));
        time
    }
}
