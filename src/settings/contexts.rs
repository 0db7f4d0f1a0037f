//! Contexts: named overlays over the configuration, for another firewall, service or cluster. `[contexts.NAME]` may hold
//! any key of the file; what it leaves out is as the rest of the file says.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::environment::Environment;
use super::layers::{Layers, Origin, wrong_value};
use crate::error::{Failure, Result};
use crate::text::nearest_word;

/// The contexts of the demo: two boxes.
const DEMO: &str =
    "[contexts.home]\n[contexts.office.presets.night]\nmax_src_conn = 5\nrate = \"3/60\"\n";

impl Layers {
    /// Takes the contexts out of a file's table, every key of them checked, also of those that are not chosen.
    pub(super) fn take_contexts(
        &mut self,
        table: &mut toml::Table,
        text: &str,
        file: &Path,
    ) -> Result<()> {
        let wrong = |path: &str, problem: &str| {
            let line = line_words(text, path);
            let file = file.display();
            Failure::usage(format!("`{path}` in {file}{line}: {problem}."))
        };
        let contexts = match table.remove("contexts") {
            None => return Ok(()),
            Some(toml::Value::Table(contexts)) => contexts,
            Some(_) => return Err(wrong("contexts", "it wants tables: [contexts.NAME]")),
        };
        let mut checked = BTreeMap::new();
        for (name, overlay) in contexts {
            let path = format!("contexts.{name}");
            if !is_context_name(&name) {
                let problem = "a context's name has up to 32 small letters, digits, - and _, a letter or digit first";
                return Err(wrong(&path, problem));
            }
            let toml::Value::Table(overlay) = overlay else {
                return Err(wrong(&path, "it wants a table: [contexts.NAME]"));
            };
            if let Some(key) =
                ["context", "contexts"].into_iter().find(|key| overlay.contains_key(*key))
            {
                let path = format!("{path}.{key}");
                return Err(wrong(&path, "a context holds no other context"));
            }
            let origin = Origin::Context(name.clone(), file.to_owned());
            if let Err(failure) = Self::default().add_table("", &overlay, &origin, text) {
                self.broken_contexts.insert(name.clone(), Arc::new(failure));
            }
            checked.insert(name, overlay);
        }
        self.contexts = checked;
        Ok(())
    }

    /// Lays the chosen context over the file: that of the flag, else of the environment, else of the file.
    pub(super) fn add_chosen_context(
        &mut self,
        environment: &Environment,
        flags: &[(&str, &'static str, String)],
    ) -> Result<()> {
        if environment.is_demo && self.file.is_none() {
            let mut table: toml::Table = toml::from_str(DEMO).unwrap_or_default();
            self.take_contexts(&mut table, DEMO, Path::new("the demo"))?;
        }
        self.peer_of_all = self.given_text("firewall.peer").map(str::to_owned);
        let flag = flags.iter().find(|(path, ..)| *path == "context");
        let (name, origin) = match (flag, environment.variable("KMSCTL_CONTEXT")) {
            (Some((_, flag, name)), _) => (name.as_str(), (*flag).to_owned()),
            (None, Some(name)) => (name, "KMSCTL_CONTEXT".to_owned()),
            (None, None) if self.key_text("context").is_empty() => return Ok(()),
            (None, None) => (self.key_text("context"), "`context` of the file".to_owned()),
        };
        let Some((name, overlay)) = self.contexts.get_key_value(name) else {
            return Err(self.unknown_context(name, &origin));
        };
        if let Some(failure) = self.broken_contexts.get(name) {
            return Err(failure.without_cause());
        }
        let file = self.file.as_deref().unwrap_or(Path::new("the demo"));
        let origin = Origin::Context(name.clone(), file.to_owned());
        let overlay = overlay.clone();
        self.add_table("", &overlay, &origin, "")
    }

    /// Returns the context of this run, if one is chosen.
    pub fn chosen_context(&self) -> Option<&str> {
        Some(self.key_text("context")).filter(|name| !name.is_empty())
    }

    pub(super) fn peer_context(&self) -> Result<Option<&str>> {
        let Some(peer) = self.given_text("firewall.peer") else {
            return Ok(None);
        };
        let origin = self.values.get("firewall.peer").map(|value| &value.origin);
        let wrong = |problem: &str| {
            let origin = origin.unwrap_or(&Origin::Default);
            Err(wrong_value("firewall.peer", origin, problem))
        };
        match self.chosen_context() {
            None => wrong("both nodes of a pair are contexts, and none is chosen"),
            Some(chosen) if chosen == peer => wrong("it names its own context"),
            Some(_) if !self.contexts.contains_key(peer) => {
                wrong(&format!("there is no context `{peer}`"))
            }
            Some(chosen) if self.peer_in_file(peer) != Some(chosen) => wrong(&format!(
                "the context `{peer}` does not name `{chosen}` as its firewall.peer"
            )),
            Some(_) => Ok(Some(peer)),
        }
    }

    /// Returns the peer that the file gives a context.
    fn peer_in_file(&self, context: &str) -> Option<&str> {
        let own = || self.contexts.get(context)?.get("firewall")?.get("peer")?.as_str();
        own().or(self.peer_of_all.as_deref())
    }

    /// Returns the name of the simulated firewall: each context has its own, and `home` is the usual one.
    pub fn demo_name(&self) -> String {
        match self.chosen_context() {
            None | Some("home") => "demo".to_owned(),
            Some(name) => format!("demo-{name}"),
        }
    }

    /// Returns whose readings are remembered together; each firewall of the demo has a directory of its own.
    pub fn remembered_context(&self, is_demo: bool) -> Option<&str> {
        self.chosen_context().filter(|_| !is_demo)
    }

    /// Returns whether the file names its firewalls in contexts alone, and none of them is chosen: the built-in host is then
    /// not what is meant.
    pub fn lack_a_context(&self) -> bool {
        !self.contexts.is_empty()
            && self.chosen_context().is_none()
            && !self.names_key("firewall.host")
    }

    pub fn context_names(&self) -> String {
        let names: Vec<&str> = self.contexts.keys().map(String::as_str).collect();
        names.join(", ")
    }

    fn unknown_context(&self, name: &str, origin: &str) -> Failure {
        let failure = Failure::usage(format!("There is no context `{name}` ({origin})."));
        let near = |known: &&String| strsim::jaro_winkler(name, known);
        match nearest_word(self.contexts.keys(), 0.75, near) {
            Some(nearest) => failure.hint(format!("Did you mean `{nearest}`?")),
            None if self.contexts.is_empty() => {
                failure.hint("The configuration has no contexts: one is a table [contexts.NAME].")
            }
            None => failure.hint(format!("There are: {}.", self.context_names())),
        }
    }
}

/// A context's name is part of file names and of printed commands.
fn is_context_name(name: &str) -> bool {
    let small = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let mut bytes = name.bytes();
    name.len() <= 32
        && bytes.next().is_some_and(small)
        && bytes.all(|byte| small(byte) || matches!(byte, b'-' | b'_'))
}

/// Returns `, line N` for a dotted key of a file, where it is found.
pub(super) fn line_words(text: &str, path: &str) -> String {
    let line = || {
        let table = DeTable::parse(text).ok()?;
        let place = place_of_key(table.get_ref(), path)?;
        Some(text.get(..place)?.matches('\n').count() + 1)
    };
    line().map_or_else(String::new, |line| format!(", line {line}"))
}

fn place_of_key(table: &DeTable<'_>, path: &str) -> Option<usize> {
    table.iter().find_map(|(key, value)| {
        let rest = path.strip_prefix(key.get_ref().as_ref())?;
        match (rest.strip_prefix('.'), value.get_ref()) {
            (Some(rest), DeValue::Table(inner)) => place_of_key(inner, rest),
            _ => rest.is_empty().then(|| key.span().start),
        }
    })
}
