//! Commands in what kmsctl prints can be pasted: each of kmsctl carries `--config`, `--context` and `--demo` as this run had
//! them, each of kubectl its context and namespace as configured. This is the only place that puts them there; messages name
//! commands without them.

use std::borrow::Cow;

use indexmap::IndexMap;
use serde::{Serialize, Serializer, ser::Error as _};
use serde_json::value::RawValue;

use crate::text::quoted_for_shell;

/// The flags that printed commands must carry, by program.
#[derive(Debug)]
pub struct Carried(Vec<CarriedFlags>);

/// The flags that the commands of one program must carry, and which words after its name make one.
#[derive(Debug)]
pub struct CarriedFlags {
    program: &'static str,
    flags: String,
    /// Those of a command that names a context of its own.
    flags_elsewhere: String,
    commands: Vec<String>,
}

const OWN_PROGRAM: &str = "kmsctl";
/// How a command of ours for another context begins.
const ELSEWHERE: &str = "--context ";
/// What is of the context of this run alone.
const OF_CONTEXT: [&str; 2] = ["--context", "--alone"];

/// Fields of data that hold a command, or a sentence with one.
const FIELDS: &[&str] = &["fix", "hint", "hints", "message", "next", "undo", "what"];

impl CarriedFlags {
    /// Takes flags and their values, in order; the values are quoted for a shell. `commands` are the top commands.
    pub fn new(
        program: &'static str,
        flags: &[(&str, Option<&str>)],
        commands: Vec<String>,
    ) -> Self {
        let written = |(flag, value): &(&str, Option<&str>)| match value {
            Some(value) => format!("{flag} {} ", quoted_for_shell(value)),
            None => format!("{flag} "),
        };
        let elsewhere = flags.iter().filter(|(flag, _)| !OF_CONTEXT.contains(flag));
        Self {
            program,
            flags: flags.iter().map(written).collect(),
            flags_elsewhere: elsewhere.map(written).collect(),
            commands,
        }
    }

    /// Puts the flags into every command of a text. One that names a context of its own gets the others; one with other flags
    /// keeps to those.
    fn put_into_text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut carried = String::new();
        let mut copied = 0;
        for (start, _) in text.match_indices(self.program) {
            let before = text.get(..start).and_then(|before| before.chars().next_back());
            let after = start + self.program.len() + 1;
            let Some(rest) = text.get(after - 1..).and_then(|rest| rest.strip_prefix(' ')) else {
                continue;
            };
            let flags = if self.begins_with_command(rest) {
                &self.flags
            } else if self.program == OWN_PROGRAM
                && rest.starts_with(ELSEWHERE)
                && !self.has_flags_elsewhere(rest)
            {
                &self.flags_elsewhere
            } else {
                continue;
            };
            if before.is_none_or(|before| !is_of_word(before)) {
                carried.push_str(text.get(copied..after).unwrap_or_default());
                carried.push_str(flags);
                copied = after;
            }
        }
        if copied == 0 {
            return Cow::Borrowed(text);
        }
        carried.push_str(text.get(copied..).unwrap_or_default());
        Cow::Owned(carried)
    }

    /// Returns whether a command for another context carries the flags already, as one has that another run of kmsctl printed.
    fn has_flags_elsewhere(&self, rest: &str) -> bool {
        let command = rest.split(['`', ';', '\n']).next().unwrap_or_default();
        command.contains(self.flags_elsewhere.trim_end())
    }

    fn begins_with_command(&self, rest: &str) -> bool {
        let word = rest.split(|character| !is_of_word(character)).next();
        word.is_some_and(|word| self.commands.iter().any(|command| command == word))
    }
}

impl Carried {
    /// Takes the flags of each program; without any there is nothing to carry.
    pub fn new(programs: impl IntoIterator<Item = CarriedFlags>) -> Option<Self> {
        let programs: Vec<_> = programs.into_iter().collect();
        (!programs.is_empty()).then_some(Self(programs))
    }

    /// Puts the flags into every command of a text.
    pub fn put_into_text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        self.0.iter().fold(Cow::Borrowed(text), |text, program| {
            match program.put_into_text(&text) {
                Cow::Owned(carried) => Cow::Owned(carried),
                Cow::Borrowed(_) => text,
            }
        })
    }
}

/// The fields of a JSON object, in their order.
pub type JsonFields<'a> = IndexMap<String, &'a RawValue>;

/// JSON text that is printed again piece by piece, as a tree of a long list takes six times the memory. Its commands
/// carry the flags, in the fields that are meant to hold one.
#[derive(Clone, Copy, Debug)]
pub struct PastedJson<'a> {
    text: &'a RawValue,
    carried: Option<&'a Carried>,
    holds_command: bool,
}

impl<'a> PastedJson<'a> {
    /// Takes text as it is, or with flags to put in.
    pub fn new(text: &'a RawValue, carried: Option<&'a Carried>) -> Self {
        Self { text, carried, holds_command: false }
    }
}

impl Serialize for PastedJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = self.text.get();
        let piece = |text, holds_command| PastedJson { text, holds_command, ..*self };
        match (text.as_bytes().first(), self.carried) {
            (Some(b'{'), _) => {
                let fields: JsonFields<'_> =
                    serde_json::from_str(text).map_err(S::Error::custom)?;
                serializer.collect_map(fields.iter().map(|(name, text)| {
                    let holds_command = FIELDS.contains(&name.as_str());
                    (name, piece(text, holds_command))
                }))
            }
            (Some(b'['), _) => {
                let items: Vec<&RawValue> = serde_json::from_str(text).map_err(S::Error::custom)?;
                serializer.collect_seq(items.iter().map(|text| piece(text, self.holds_command)))
            }
            (Some(b'"'), Some(carried)) if self.holds_command => {
                let text: String = serde_json::from_str(text).map_err(S::Error::custom)?;
                serializer.serialize_str(&carried.put_into_text(&text))
            }
            _ => self.text.serialize(serializer),
        }
    }
}

fn is_of_word(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '-' | '_' | '/' | '.')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn carried() -> Carried {
        let flags = [("--config", Some("my file.toml")), ("--demo", None)];
        let kmsctl = ["history", "keep", "status", "undo"].map(str::to_owned).to_vec();
        let place = [("--context", Some("home lab")), ("-n", Some("kms"))];
        let kubectl = ["describe", "logs"].map(str::to_owned).to_vec();
        Carried::new([
            CarriedFlags::new("kmsctl", &flags, kmsctl),
            CarriedFlags::new("kubectl", &place, kubectl),
        ])
        .unwrap()
    }

    #[test]
    fn every_command_of_a_text_carries_flags() {
        let flags = "--config 'my file.toml' --demo";
        let place = "--context 'home lab' -n kms";
        for (text, wanted) in [
            ("kmsctl status", format!("kmsctl {flags} status")),
            (
                "Keep it: kmsctl keep 7; or `kmsctl undo 7`.",
                format!("Keep it: kmsctl {flags} keep 7; or `kmsctl {flags} undo 7`."),
            ),
            ("(kmsctl history)", format!("(kmsctl {flags} history)")),
            (
                "`kmsctl --context office --alone status`",
                format!("`kmsctl {flags} --context office --alone status`"),
            ),
            (
                "`kmsctl history`, or `kubectl logs POD -c x`; `kubectl describe pod POD`",
                format!(
                    "`kmsctl {flags} history`, or `kubectl {place} logs POD -c x`; `kubectl {place} describe pod POD`"
                ),
            ),
        ] {
            let put = carried().put_into_text(text).into_owned();
            assert_eq!(put, wanted);
            assert_eq!(carried().put_into_text(&put), put, "put in once");
        }
    }

    /// The run for one context prints its flags, and what ran it for all contexts prints its text.
    #[test]
    fn what_another_run_printed_stays() {
        let of_flags = |flags: &[(&str, Option<&str>)]| {
            Carried::new([CarriedFlags::new("kmsctl", flags, vec!["expose".to_owned()])]).unwrap()
        };
        for flag in ["--demo", "--demo=closed"] {
            let inner = of_flags(&[("--context", Some("home")), (flag, None)]);
            let outer = of_flags(&[(flag, None)]);
            let printed =
                inner.put_into_text("`kmsctl expose revoke`; `kmsctl expose show`").into_owned();
            assert_eq!(printed.matches(flag).count(), 2, "{printed}");
            assert_eq!(outer.put_into_text(&printed), printed);
        }
    }

    #[test]
    fn what_is_no_command_stays() {
        for text in [
            "kmsctl reads it",
            "kmsctl keeps them",
            "kmsctl --demo status",
            "/opt/kmsctl status",
            "notkmsctl status",
            "kmsctl",
            "kmsctl status-page",
            "kubectl is not installed",
            "kubectl -n other logs POD",
        ] {
            assert_eq!(carried().put_into_text(text), text);
        }
    }

    #[test]
    fn data_changes_only_where_commands_belong() {
        let data = serde_json::value::to_raw_value(&serde_json::json!({
            "undo": "kmsctl undo 7", "reason": "kmsctl status",
            "findings": [{"fix": "kmsctl status", "evidence": "kmsctl status"}],
        }))
        .unwrap();
        let carried = carried();
        let data = serde_json::to_value(PastedJson::new(&data, Some(&carried))).unwrap();
        let flags = "--config 'my file.toml' --demo";
        assert_eq!(data["undo"], format!("kmsctl {flags} undo 7"));
        assert_eq!(data["reason"], "kmsctl status");
        assert_eq!(data["findings"][0]["fix"], format!("kmsctl {flags} status"));
        assert_eq!(data["findings"][0]["evidence"], "kmsctl status");
    }

    #[test]
    fn data_print_as_their_tree_does() {
        let tree = serde_json::json!({
            "list": [{"text": "\"\u{1b}[31m\\ \u{202e}ä", "none": null}, [], {}, [[1, -2.5]]],
            "z": 0.1, "a": 1e300, "large": u64::MAX, "small": i64::MIN, "quoted \"key\"": [true, ""],
        });
        for tree in [&tree, &tree["list"], &tree["z"], &tree["list"][1]] {
            let text = serde_json::value::to_raw_value(tree).unwrap();
            let carried = carried();
            for carried in [None, Some(&carried)] {
                let data = PastedJson::new(&text, carried);
                let pretty = serde_json::to_string_pretty(&data).unwrap();
                assert_eq!(pretty, format!("{tree:#}"));
                assert_eq!(serde_json::to_string(&data).unwrap(), tree.to_string());
                assert_eq!(serde_json::to_value(data).unwrap(), *tree);
            }
        }
    }
}
