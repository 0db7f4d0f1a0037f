//! Commands in what kmsctl prints can be pasted: each carries `--config`, `--context` and `--demo` as this run had
//! them. This is the only place that puts them there; messages name commands without them.

use std::borrow::Cow;

use serde_json::Value;

/// The flags that a printed command must carry, and which words after `kmsctl` make one.
#[derive(Debug)]
pub struct Carried {
    flags: String,
    commands: Vec<String>,
}

/// Fields of data that hold a command, or a sentence with one.
const FIELDS: &[&str] = &["fix", "hint", "hints", "message", "next", "undo"];

impl Carried {
    /// Takes flags and their values, in order; the values are quoted for a shell. `commands` are the top commands.
    pub fn new(flags: &[(&str, Option<&str>)], commands: Vec<String>) -> Option<Self> {
        let written = flags.iter().map(|(flag, value)| match value {
            Some(value) => format!("{flag} {}", quoted_for_shell(value)),
            None => (*flag).to_owned(),
        });
        let flags: Vec<String> = written.collect();
        (!flags.is_empty()).then(|| Self {
            flags: flags.join(" "),
            commands,
        })
    }

    /// Puts the flags into every command of a text. One that has flags of its own keeps to those.
    pub fn put_into_text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        const NAME: &str = "kmsctl ";
        let mut carried = String::new();
        let mut copied = 0;
        for (start, _) in text.match_indices(NAME) {
            let before = text
                .get(..start)
                .and_then(|before| before.chars().next_back());
            let after = start + NAME.len();
            let rest = text.get(after..).unwrap_or_default();
            if before.is_none_or(|before| !is_of_word(before)) && self.begins_with_command(rest) {
                carried.push_str(text.get(copied..after).unwrap_or_default());
                carried.push_str(&self.flags);
                carried.push(' ');
                copied = after;
            }
        }
        if copied == 0 {
            return Cow::Borrowed(text);
        }
        carried.push_str(text.get(copied..).unwrap_or_default());
        Cow::Owned(carried)
    }

    /// Puts the flags into the commands of data, in the fields that are meant to hold one.
    pub fn put_into_data(&self, value: &mut Value) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields.iter_mut() {
                    if FIELDS.contains(&name.as_str()) {
                        self.put_into_strings(value);
                    } else {
                        self.put_into_data(value);
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.put_into_data(item)),
            _ => {}
        }
    }

    fn put_into_strings(&self, value: &mut Value) {
        match value {
            Value::String(text) => {
                if let Cow::Owned(carried) = self.put_into_text(text) {
                    *text = carried;
                }
            }
            Value::Array(items) => items
                .iter_mut()
                .for_each(|item| self.put_into_strings(item)),
            other => self.put_into_data(other),
        }
    }

    fn begins_with_command(&self, rest: &str) -> bool {
        let word = rest.split(|character| !is_of_word(character)).next();
        word.is_some_and(|word| self.commands.iter().any(|command| command == word))
    }
}

fn is_of_word(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '-' | '_' | '/' | '.')
}

/// Writes a text as one word of a POSIX shell.
pub fn quoted_for_shell(text: &str) -> Cow<'_, str> {
    let plain =
        |character: char| character.is_ascii_alphanumeric() || "/._-+,:@%=".contains(character);
    if !text.is_empty() && text.chars().all(plain) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("'{}'", text.replace('\'', r"'\''")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn carried() -> Carried {
        let commands = ["history", "keep", "status", "undo"].map(str::to_owned);
        Carried::new(
            &[("--config", Some("my file.toml")), ("--demo", None)],
            commands.to_vec(),
        )
        .unwrap()
    }

    #[test]
    fn every_command_of_a_text_carries_flags() {
        let flags = "--config 'my file.toml' --demo";
        for (text, wanted) in [
            ("kmsctl status", format!("kmsctl {flags} status")),
            (
                "Keep it: kmsctl keep 7; or `kmsctl undo 7`.",
                format!("Keep it: kmsctl {flags} keep 7; or `kmsctl {flags} undo 7`."),
            ),
            ("(kmsctl history)", format!("(kmsctl {flags} history)")),
        ] {
            let put = carried().put_into_text(text).into_owned();
            assert_eq!(put, wanted);
            assert_eq!(carried().put_into_text(&put), put, "put in once");
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
        ] {
            assert_eq!(carried().put_into_text(text), text);
        }
    }

    #[test]
    fn data_changes_only_where_commands_belong() {
        let mut data = serde_json::json!({
            "undo": "kmsctl undo 7", "reason": "kmsctl status",
            "findings": [{"fix": "kmsctl status", "evidence": "kmsctl status"}],
        });
        carried().put_into_data(&mut data);
        let flags = "--config 'my file.toml' --demo";
        assert_eq!(data["undo"], format!("kmsctl {flags} undo 7"));
        assert_eq!(data["reason"], "kmsctl status");
        assert_eq!(data["findings"][0]["fix"], format!("kmsctl {flags} status"));
        assert_eq!(data["findings"][0]["evidence"], "kmsctl status");
    }

    #[test]
    fn values_are_one_word_of_a_shell() {
        assert_eq!(quoted_for_shell("/a/b.toml"), "/a/b.toml");
        assert_eq!(quoted_for_shell("~/x"), "'~/x'");
        assert_eq!(quoted_for_shell("a'b $(id)"), r"'a'\''b $(id)'");
        assert_eq!(quoted_for_shell(""), "''");
    }
}
