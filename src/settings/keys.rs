//! A configuration key is declared once, where it is read: `key!` gives its path, built-in default, parser and meaning. The
//! tables of keys ([`KEYS`], [`VANTAGE_KEYS`]) come from reading the built-in values once; `config.example.toml` is them
//! printed ([`example_configuration`]), and a test holds the file to it.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::LazyLock;

use super::environment::Environment;
use super::exporter::Exporter;
use super::layers::{Layers, wrong_value};
use super::manifest::read_manifest_names;
use super::notifier::Notifier;
use super::resolved::Settings;
use super::vantages::Vantage;
use crate::error::Result;
use crate::text::nearest_word;

type TextCheck = dyn Fn(&str) -> Result<(), String> + Send + Sync;

/// A key as it was declared.
pub struct SettingKey {
    /// Dotted path in the file, such as `firewall.host`.
    pub path: &'static str,
    /// The built-in default as a TOML literal; the file wants a value of the same type.
    pub default: &'static str,
    /// What it means, for `config.example.toml`; sentences.
    pub meaning: &'static str,
    /// Says what is wrong with a text.
    pub check: Box<TextCheck>,
}

impl SettingKey {
    /// Returns the environment name: `KMSCTL_` and the path in capitals.
    pub fn environment_name(&self) -> String {
        format!("KMSCTL_{}", self.path.replace('.', "_").to_uppercase())
    }

    /// Splits the path into its table (empty for the top) and its last word.
    pub fn split_path(&self) -> (&'static str, &'static str) {
        self.path.rsplit_once('.').unwrap_or(("", self.path))
    }

    /// Returns the text of a TOML value of the default's type; lists are joined by commas.
    pub fn text_of(&self, value: &toml::Value) -> Result<String, String> {
        use toml::Value::{Array, Integer, String};
        let refused = |wanted| Err(format!("it wants {wanted}, not a {}", value.type_str()));
        match (self.default.as_bytes().first(), value) {
            (Some(b'"'), String(text)) => Ok(text.clone()),
            (Some(b'"'), _) => refused("a text in quotes"),
            (Some(b'['), Array(items)) => {
                let texts: Option<Vec<&str>> = items.iter().map(toml::Value::as_str).collect();
                texts.map(|texts| texts.join(",")).ok_or_else(|| "it wants a list of texts".into())
            }
            (Some(b'['), _) => refused("a list"),
            (_, Integer(number)) => Ok(number.to_string()),
            (_, _) => refused("a number"),
        }
    }

    /// Returns whether it is written without quotes.
    pub fn is_number(&self) -> bool {
        !self.default.starts_with(['"', '['])
    }

    /// Returns the text of the built-in default.
    pub fn default_text(&self) -> String {
        let value = self.default.parse().ok();
        value.and_then(|value| self.text_of(&value).ok()).unwrap_or_default()
    }
}

/// Gives layered texts their types, and remembers every key that is read.
pub struct SettingsReader<'a> {
    pub layers: &'a Layers,
    pub environment: &'a Environment,
    /// What stands for `NAME` in a path.
    pub name: &'a str,
    declared: RefCell<Vec<SettingKey>>,
}

/// Declares a key and reads it: `key!(read, "path" = default, parser; "What it means.")`.
macro_rules! key {
    ($read:expr, $path:literal = $default:tt, $parse:expr; $meaning:literal) => {
        $read.read_key($path, stringify!($default), $parse, $meaning)?
    };
}
pub(super) use key;

impl<'a> SettingsReader<'a> {
    pub fn new(layers: &'a Layers, environment: &'a Environment) -> Self {
        Self { layers, environment, name: "NAME", declared: RefCell::default() }
    }

    /// Reads the keys of a family for a name of it.
    #[must_use]
    pub fn of_name(&self, name: &'a str) -> Self {
        Self { name, ..Self::new(self.layers, self.environment) }
    }

    /// Reads a key; one that no layer gives is as built in.
    pub fn read_key<T: 'static>(
        &self,
        path: &'static str,
        default: &'static str,
        parse: fn(&str) -> Result<T, String>,
        meaning: &'static str,
    ) -> Result<T> {
        let check = Box::new(move |text: &str| parse(text).map(drop));
        let key = SettingKey { path, default, meaning, check };
        let path = path.replace("NAME", self.name);
        let given = self.layers.values.get(&path);
        let text = given.map_or_else(|| key.default_text(), |value| value.text.clone());
        self.declared.borrow_mut().push(key);
        parse(&text).map_err(|problem| wrong_value(&path, self.layers.origin_of(&path), &problem))
    }

    /// Reads what no default is declared for, where a layer gives it.
    pub fn find<T>(&self, path: &str, parse: fn(&str) -> Result<T, String>) -> Result<Option<T>> {
        let parsed = self.layers.values.get(path).map(|value| parse(&value.text)).transpose();
        parsed.map_err(|problem| wrong_value(path, self.layers.origin_of(path), &problem))
    }

    /// Returns the file that a text names, `~/` being the home directory.
    pub fn file(&self, named: Option<String>) -> Option<PathBuf> {
        named.map(|named| self.environment.expand(&named))
    }
}

/// Returns the keys that a reading declares.
fn declared_keys(read_all: fn(&SettingsReader<'_>) -> Result<()>) -> Vec<SettingKey> {
    let (layers, environment) = (Layers::default(), Environment::default());
    let reader = SettingsReader::new(&layers, &environment);
    // What the built-in values lack, such as the host of a vantage, is found missing after every key was read.
    let _ = read_all(&reader);
    reader.declared.into_inner()
}

/// Words of `output`.
pub const OUTPUTS: &[&str] = &["table", "json", "ndjson", "csv"];
/// Words of `color`.
pub const COLORS: &[&str] = &["auto", "always", "never"];

/// Every key, in the order of the example file.
pub static KEYS: LazyLock<Vec<SettingKey>> = LazyLock::new(|| {
    declared_keys(|read| {
        Settings::resolve(read)?;
        Notifier::resolve(read)?;
        Exporter::resolve(read)?;
        read_manifest_names(read).map(drop)
    })
});

/// Keys of one vantage. There is none unless the operator names it, so they have no place among the defaults; the
/// default is what an absent key means.
pub static VANTAGE_KEYS: LazyLock<Vec<SettingKey>> =
    LazyLock::new(|| declared_keys(|read| Vantage::resolve(read).map(drop)));

/// Returns the key of that path; `vantages.NAME.…` are [`VANTAGE_KEYS`], `presets.NAME.…` beyond the built-in ones share the keys of `default`.
pub fn find_key(path: &str) -> Option<&'static SettingKey> {
    KEYS.iter().find(|key| key.path == path).or_else(|| {
        let (family, path) = path.split_once('.')?;
        let (name, field) = path.split_once('.')?;
        let plain = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_'
        };
        let named = !name.is_empty() && name.bytes().all(plain);
        let (keys, prefix) = match family {
            "presets" => (&KEYS, "presets.default."),
            "vantages" => (&VANTAGE_KEYS, "vantages.NAME."),
            _ => return None,
        };
        let found = || keys.iter().find(|key| key.path.strip_prefix(prefix) == Some(field));
        named.then(found)?
    })
}

/// Returns the known path that is most like an unknown one. A preset keeps the name that was typed.
pub fn nearest_key(path: &str) -> Option<String> {
    let last = path.rsplit('.').next().unwrap_or(path);
    let preset = path.split_once("presets.").and_then(|(_, rest)| rest.split_once('.'));
    let score = |key: &&SettingKey| {
        let name = key.split_path().1;
        // The name of no table, or else of another.
        let moved = match (name == last, key.path == name) {
            (true, true) => 0.995,
            (true, false) => 0.99,
            (false, _) => strsim::jaro_winkler(last, name) - 0.15,
        };
        strsim::jaro_winkler(path, key.path).max(moved)
    };
    if let Some((name, _)) = preset {
        let fields = KEYS.iter().filter_map(|key| key.path.strip_prefix("presets.default."));
        let like = |field: &&str| strsim::jaro_winkler(last, field);
        return nearest_word(fields, 0.75, like).map(|field| format!("presets.{name}.{field}"));
    }
    // Only where a vantage was meant: their short names are like many others.
    let vantages = VANTAGE_KEYS.iter().filter(|_| path.starts_with("vantage"));
    nearest_word(KEYS.iter().chain(vantages), 0.75, score).map(|key| key.path.to_owned())
}

/// Prints the example file: every key with its default, meaning and environment name.
pub fn example_configuration() -> String {
    let mut text = String::from(
        "# kmsctl's configuration: every key, its built-in default, meaning and environment name.\n\
         # Copy what you change to ~/.config/kmsctl/config.toml (`kmsctl config path` prints where exactly),\n\
         # or let `kmsctl config init` ask. Precedence: flag > environment > this file > built-in.\n",
    );
    let mut table = "";
    for key in KEYS.iter() {
        let (section, name) = key.split_path();
        if section == table {
            text.push('\n');
        } else {
            let _ = write!(text, "\n[{section}]\n");
            table = section;
        }
        for line in key.meaning.lines() {
            let _ = writeln!(text, "# {line}");
        }
        let _ = writeln!(text, "# Environment: {}", key.environment_name());
        let _ = writeln!(text, "{name} = {}", key.default);
    }
    text.push_str("\n# More presets can be added: [presets.NAME] with max_src_conn and rate,\n# applied with `kmsctl ratelimit set --preset NAME`.\n");
    text.push_str("\n# Vantages: places outside from where `kmsctl verify --external` tries the service. There is none unless\n# you name one. Environment: KMSCTL_VANTAGES_NAME_HOST and so on.\n# [vantages.NAME]\n");
    for key in VANTAGE_KEYS.iter() {
        text.push_str("#\n");
        for line in key.meaning.lines() {
            let _ = writeln!(text, "# {line}");
        }
        let _ = writeln!(text, "# {} = {}", key.split_path().1, key.default);
    }
    text.push_str("\n# Contexts: other firewalls, services or clusters. One may hold any key of this file; what it leaves out is as\n# above. Chosen by --context NAME, KMSCTL_CONTEXT or `context`; `kmsctl config contexts` lists them.\n# [contexts.NAME.firewall]\n# host = \"10.0.30.1\"\n# [contexts.NAME.service]\n# address = \"10.0.30.202\"\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_names_its_nearest() {
        for (typed, meant) in [
            ("firewall.hots", "firewall.host"),
            ("firewall.timeout", "timeout"),
            ("output", "output"),
            ("presets.foo.rat", "presets.foo.rate"),
            ("ratelimit.presets.foo.max_src_con", "presets.foo.max_src_conn"),
            ("vantages.vps.hots", "vantages.NAME.host"),
        ] {
            assert_eq!(nearest_key(typed).as_deref(), Some(meant), "{typed}");
        }
        assert_eq!(nearest_key("zzzzqqqq"), None);
    }

    #[test]
    fn presets_may_be_added_but_only_with_known_fields() {
        assert!(find_key("presets.night.rate").is_some());
        assert!(find_key("presets.night.speed").is_none());
        assert!(find_key("presets.Ni ght.rate").is_none());
    }

    #[test]
    fn vantages_have_their_own_keys_and_no_defaults() {
        assert!(find_key("vantages.vps.host").is_some());
        assert!(find_key("vantages.vps.hots").is_none());
        assert!(find_key("vantages.NAME.host").is_none(), "capitals name nothing");
        assert!(KEYS.iter().all(|key| !key.path.starts_with("vantages.")));
    }

    #[test]
    fn every_default_passes_its_check() {
        for key in KEYS.iter() {
            assert_eq!((key.check)(&key.default_text()), Ok(()), "{}", key.path);
        }
        assert!(
            Settings::resolve(&SettingsReader::new(&Layers::built_in(), &Environment::default()))
                .is_ok()
        );
    }

    #[test]
    fn environment_names_do_not_collide() {
        let mut names: Vec<String> = KEYS.iter().map(SettingKey::environment_name).collect();
        names.sort();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
