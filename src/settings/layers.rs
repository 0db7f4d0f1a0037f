//! The layers and their precedence: built-in < file < context < environment < flag. Values are still text here, each
//! checked against its key and remembering its [`Origin`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::OpenOptions;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::contexts::line_words;
use super::environment::Environment;
use super::keys;
use super::keys::{KEYS, SettingKey};
use crate::domain::warning::Warning;
use crate::error::{Failure, Result};
use crate::own_files;
use crate::plain_file;
use crate::text::nearest_word;

/// A configuration file larger than this is refused.
const LARGEST_FILE: u64 = 1 << 20;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Default,
    File(PathBuf),
    Context(String, PathBuf),
    Environment(String),
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("built-in"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Context(name, path) => write!(f, "context {name} of {}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayeredValue {
    /// The text; lists are joined by commas.
    pub text: String,
    pub origin: Origin,
}

#[derive(Clone, Debug, Default)]
pub struct Layers {
    pub values: BTreeMap<String, LayeredValue>,
    /// The file that was read, if any.
    pub file: Option<PathBuf>,
    pub contexts: BTreeMap<String, toml::Table>,
    /// What is wrong with a context: it keeps from choosing that one and no other.
    pub broken_contexts: BTreeMap<String, Arc<Failure>>,
    /// The `firewall.peer` that the file gives every context without one of its own.
    pub(super) peer_of_all: Option<String>,
    /// What looked wrong but is not an error.
    pub warnings: Vec<Warning>,
}

impl Layers {
    /// Reads all layers. `named` is the file of `--config` or `KMSCTL_CONFIG`, which must exist; otherwise the
    /// usual place may be empty. The failure, of kind usage, names the layer, the key and what was wanted; what was read
    /// before it is kept, so that `config show` can still help.
    pub fn read(
        environment: &Environment,
        named: Option<&Path>,
        flags: &[(&str, &'static str, String)],
    ) -> (Self, Option<Failure>) {
        let mut layers = Self::built_in();
        let problem = layers.add_all(environment, named, flags).err();
        (layers, problem)
    }

    fn add_all(
        &mut self,
        environment: &Environment,
        named: Option<&Path>,
        flags: &[(&str, &'static str, String)],
    ) -> Result<()> {
        let variable = || environment.variable("KMSCTL_CONFIG");
        let named =
            named.map(Path::to_owned).or_else(|| variable().map(|path| environment.expand(path)));
        match (named, environment.config_file()) {
            (Some(path), _) => self.add_file(&path)?,
            (None, Some(path)) => {
                check_directory(&path)?;
                if may_be_there(&path) {
                    self.add_file(&path)?;
                }
            }
            (None, None) => {}
        }
        self.add_chosen_context(environment, flags)?;
        if let Some(name) = &environment.not_text {
            return Err(Failure::usage(format!(
                "The environment name {name} or its value is not UTF-8 text."
            )));
        }
        self.add_environment(environment)?;
        for (path, flag, text) in flags {
            self.set_value(path, text.clone(), Origin::Flag(flag))?;
        }
        Ok(())
    }

    /// Returns whether something else than the built-in default gives a key.
    pub fn names_key(&self, path: &str) -> bool {
        *self.origin_of(path) != Origin::Default
    }

    /// Returns the value of a key; every key of the table has one.
    pub fn key_text(&self, path: &str) -> &str {
        self.values.get(path).map_or("", |value| value.text.as_str())
    }

    /// Returns the value of a key, or `None` where it is empty.
    pub fn given_text(&self, path: &str) -> Option<&str> {
        Some(self.key_text(path)).filter(|text| !text.is_empty())
    }

    pub(super) fn origin_of(&self, path: &str) -> &Origin {
        self.values.get(path).map_or(&Origin::Default, |value| &value.origin)
    }

    /// Returns the flags that gave keys, as [`Self::read`] takes them.
    pub fn typed_flags(&self) -> Vec<(&str, &'static str, String)> {
        let typed = self.values.iter().filter_map(|(path, value)| match value.origin {
            Origin::Flag(flag) => Some((path.as_str(), flag, value.text.clone())),
            _ => None,
        });
        typed.collect()
    }

    /// Returns the names of a family such as `presets`.
    pub fn names_below(&self, family: &str) -> BTreeSet<&str> {
        let names = self.values.keys().filter_map(|path| {
            let (name, _) = path.strip_prefix(family)?.strip_prefix('.')?.split_once('.')?;
            Some(name)
        });
        names.collect()
    }

    /// Returns whether a file, the environment or a flag says which firewall is meant.
    pub fn name_a_firewall(&self) -> bool {
        self.names_key("firewall.host")
    }

    /// Returns whether a value about the service is the built-in one beside another firewall: that of another network.
    pub fn leaves_built_in(&self, path: &str) -> bool {
        self.name_a_firewall() && !self.names_key(path)
    }

    /// Sets values that were answered to `config init`.
    pub fn set_answers(&mut self, answers: &[(String, String)]) -> Result<()> {
        for (path, text) in answers {
            self.set_value(path, text.clone(), Origin::Flag("config init"))?;
        }
        Ok(())
    }

    /// Returns the built-in layer alone.
    pub fn built_in() -> Self {
        let value =
            |key: &SettingKey| LayeredValue { text: key.default_text(), origin: Origin::Default };
        let values = KEYS.iter().map(|key| (key.path.to_owned(), value(key))).collect();
        Self { values, ..Self::default() }
    }

    fn add_file(&mut self, path: &Path) -> Result<()> {
        let shown = path.display();
        let mut text = String::new();
        let unreadable = |error: std::io::Error| unreadable_file(path, &error);
        let file =
            plain_file::open_plain_file(path, OpenOptions::new().read(true)).map_err(unreadable)?;
        let found = file.metadata().map_err(unreadable)?;
        if let Some(problem) = own_files::configuration_problem(&found) {
            return Err(refused("file", path, &problem));
        }
        file.take(LARGEST_FILE + 1).read_to_string(&mut text).map_err(unreadable)?;
        if text.len() as u64 > LARGEST_FILE {
            return Err(Failure::usage(format!(
                "The configuration file {shown} is larger than 1 MiB."
            )));
        }
        self.add_text(&text, path)
    }

    /// Adds the text of a configuration file.
    pub fn add_text(&mut self, text: &str, path: &Path) -> Result<()> {
        let mut table: toml::Table = toml::from_str(text).map_err(|error| {
            let shown = path.display();
            // The first line says where; the drawing below it is no sentence.
            let place = error.to_string().lines().next().unwrap_or_default().to_owned();
            Failure::usage(format!(
                "The configuration file {shown} is not valid TOML: {place}: {}.",
                error.message()
            ))
            .hint("Every key, as it is written: `kmsctl util example-config`")
        })?;
        self.file = Some(path.to_owned());
        self.take_contexts(&mut table, text, path)?;
        self.add_table("", &table, &Origin::File(path.to_owned()), text)
    }

    /// Adds a table of a file whose whole text is given, for the lines of what is wrong.
    pub(super) fn add_table(
        &mut self,
        prefix: &str,
        table: &toml::Table,
        origin: &Origin,
        text: &str,
    ) -> Result<()> {
        for (name, value) in table {
            let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
            if let (toml::Value::Table(inner), None) = (value, keys::find_key(&path)) {
                self.add_table(&path, inner, origin, text)?;
                continue;
            }
            let (inside, file) = match origin {
                Origin::Context(name, file) => (format!("contexts.{name}.{path}"), file),
                Origin::File(file) => (path.clone(), file),
                _ => continue,
            };
            let line = || line_words(text, &inside);
            let Some(key) = keys::find_key(&path) else {
                let (file, line) = (file.display(), line());
                let failure = Failure::usage(format!("Unknown key `{inside}` in {file}{line}."));
                return Err(match keys::nearest_key(&path) {
                    Some(known) => failure.hint(format!("Did you mean `{known}`?")),
                    None => failure.hint("config.example.toml lists every key."),
                });
            };
            let value = key
                .text_of(value)
                .and_then(|value| (key.check)(&value).map(|()| value))
                .map_err(|problem| wrong_value(&path, &format!("{origin}{}", line()), &problem))?;
            self.set_value(&path, value, origin.clone())?;
        }
        Ok(())
    }

    fn add_environment(&mut self, environment: &Environment) -> Result<()> {
        const OTHERS: &[&str] = &["KMSCTL_CONFIG", "KMSCTL_DEMO", "KMSCTL_QUIET", "KMSCTL_VERBOSE"];
        for (name, text) in &environment.variables {
            let known = KEYS
                .iter()
                .find(|key| key.environment_name() == *name)
                .map(|key| key.path.to_owned())
                .or_else(|| path_of_name(name, "presets", &KEYS))
                .or_else(|| path_of_name(name, "vantages", &keys::VANTAGE_KEYS));
            if let Some(path) = known {
                if let Some(Origin::Context(context, _)) =
                    self.values.get(&path).map(|value| &value.origin)
                {
                    let sentence =
                        format!("{name} is set, and goes before what the context {context} says.");
                    let warning = Warning::new("environment-over-context", sentence);
                    self.warnings.push(warning);
                }
                self.set_value(&path, text.clone(), Origin::Environment(name.clone()))?;
            } else if !OTHERS.contains(&name.as_str())
                && name.starts_with("KMSCTL_")
                && !name.starts_with("KMSCTL_DEMO_")
                && !name.starts_with("KMSCTL_TESTS_")
            {
                self.warnings.push(Warning::new("unknown-environment", unknown_name(name)));
            }
        }
        Ok(())
    }

    fn set_value(&mut self, path: &str, text: String, origin: Origin) -> Result<()> {
        if let Some(key) = keys::find_key(path) {
            (key.check)(&text).map_err(|problem| wrong_value(path, &origin, &problem))?;
        }
        self.values.insert(path.to_owned(), LayeredValue { text, origin });
        Ok(())
    }
}

/// Refuses kmsctl's own directory where it is another user's: what is in it, or is not, is then that user's choice.
fn check_directory(file: &Path) -> Result<()> {
    let directory = file.parent().unwrap_or(file);
    let problem = own_files::directory_problem(directory);
    problem.map_or(Ok(()), |problem| Err(refused("directory", directory, &problem)))
}

fn refused(what: &str, path: &Path, problem: &str) -> Failure {
    let shown = path.display();
    Failure::usage(format!("The configuration {what} {shown} is refused: {problem}."))
        .hint("What it says decides where kmsctl connects, and which programs it runs.")
}

fn unreadable_file(path: &Path, error: &std::io::Error) -> Failure {
    use std::io::ErrorKind;
    let shown = path.display();
    let failure =
        Failure::usage(format!("The configuration file {shown} cannot be read: {error}."));
    failure.hint(match error.kind() {
        ErrorKind::NotFound if path.ancestors().any(leads_nowhere) => {
            "A link leads to what is not there: make that, or remove the link, or name another file with --config."
        }
        ErrorKind::NotFound => {
            "Write one with `kmsctl config init`, or leave out --config to use the built-in values."
        }
        ErrorKind::InvalidData => {
            "Save it as UTF-8 text, or name another file with --config."
        }
        ErrorKind::PermissionDenied => {
            "Make it readable for this user, or name another file with --config."
        }
        _ => "Put a file in its place, or name another file with --config.",
    })
}

fn leads_nowhere(path: &Path) -> bool {
    path.is_symlink() && std::fs::metadata(path).is_err()
}

/// Returns whether something is at a path, or may be for all that can be seen: a dangling link, a directory that may not be
/// searched, or a file in its place, is no missing configuration. `HOME=/dev/null` is.
fn may_be_there(path: &Path) -> bool {
    let missing = |error: &std::io::Error| {
        use std::io::ErrorKind::{NotADirectory, NotFound};
        matches!(error.kind(), NotFound | NotADirectory)
    };
    let in_the_way = |path: &Path| leads_nowhere(path) || path.is_file();
    match std::fs::symlink_metadata(path) {
        Ok(_) => true,
        Err(error) => !missing(&error) || path.ancestors().any(in_the_way),
    }
}

/// Turns `KMSCTL_VANTAGES_VPS_HOST` into `vantages.vps.host`. The longest field that fits wins.
fn path_of_name(name: &str, family: &str, fields: &[SettingKey]) -> Option<String> {
    let start = format!("KMSCTL_{}_", family.to_uppercase());
    let rest = name.strip_prefix(&start)?;
    let fits = fields.iter().filter_map(|key| {
        let field = key.split_path().1;
        let named = rest.strip_suffix(&field.to_uppercase())?.strip_suffix('_')?;
        let path = format!("{family}.{}.{field}", named.to_lowercase());
        keys::find_key(&path).map(|_| (field.len(), path))
    });
    fits.max().map(|(_, path)| path)
}

fn unknown_name(name: &str) -> String {
    let guess = name.trim_start_matches("KMSCTL_").to_lowercase();
    let score = |key: &&SettingKey| strsim::jaro_winkler(&guess, &key.path.replace('.', "_"));
    match nearest_word(KEYS.iter(), 0.85, score) {
        Some(key) => format!(
            "The environment name {name} means nothing to kmsctl. Did you mean {}?",
            key.environment_name()
        ),
        None => format!("The environment name {name} means nothing to kmsctl."),
    }
}

/// Refuses a value by its key and the layer that gave it.
pub(super) fn wrong_value(path: &str, origin: &dyn fmt::Display, problem: &str) -> Failure {
    Failure::usage(format!("Wrong value for `{path}` ({origin}): {problem}."))
        .hint("`kmsctl config show` prints every value and where it came from.")
}
