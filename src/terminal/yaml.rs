//! YAML out of JSON values: the small part of YAML that every parser reads alike. Block maps and lists; a text stands
//! plain only where no YAML, 1.1 (which kubectl reads) or 1.2, could take it for anything else, and is quoted elsewhere.
//! Reads nothing.

use serde_json::Value;

use crate::text::acts_on_terminal;

/// Words that YAML 1.1 or 1.2 takes for a boolean or for nothing.
const WORDS: [&str; 9] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];

/// Prints a value as one block, each line ended.
pub fn yaml_block(value: &Value) -> String {
    let mut text = String::new();
    match value {
        Value::Object(fields) if !fields.is_empty() => yaml_map(&mut text, 0, fields),
        Value::Array(items) if !items.is_empty() => yaml_list(&mut text, 0, items),
        other => {
            text.push_str(&yaml_scalar(other));
            text.push('\n');
        }
    }
    text
}

fn yaml_map(text: &mut String, depth: usize, fields: &serde_json::Map<String, Value>) {
    for (number, (name, value)) in fields.iter().enumerate() {
        if number > 0 {
            text.push_str(&"  ".repeat(depth));
        }
        text.push_str(&quoted_text(name));
        text.push(':');
        match value {
            Value::Object(fields) if !fields.is_empty() => {
                text.push('\n');
                text.push_str(&"  ".repeat(depth + 1));
                yaml_map(text, depth + 1, fields);
            }
            Value::Array(items) if !items.is_empty() => {
                text.push('\n');
                text.push_str(&"  ".repeat(depth));
                yaml_list(text, depth, items);
            }
            other => {
                text.push(' ');
                text.push_str(&yaml_scalar(other));
                text.push('\n');
            }
        }
    }
}

fn yaml_list(text: &mut String, depth: usize, items: &[Value]) {
    for (number, value) in items.iter().enumerate() {
        if number > 0 {
            text.push_str(&"  ".repeat(depth));
        }
        text.push_str("- ");
        match value {
            Value::Object(fields) if !fields.is_empty() => yaml_map(text, depth + 1, fields),
            Value::Array(items) if !items.is_empty() => yaml_list(text, depth + 1, items),
            other => {
                text.push_str(&yaml_scalar(other));
                text.push('\n');
            }
        }
    }
}

fn yaml_scalar(value: &Value) -> String {
    match value {
        Value::String(text) => quoted_text(text),
        // Empty maps and lists, numbers, true, false and null are JSON, which is YAML.
        other => other.to_string(),
    }
}

/// Prints a text plain where that is safe and in double quotes elsewhere. What acts on a terminal is escaped in YAML's
/// own way; JSON's pairs of surrogates are not YAML.
fn quoted_text(text: &str) -> String {
    if is_plain_text(text) {
        return text.to_owned();
    }
    let mut safe = String::with_capacity(text.len() + 2);
    safe.push('"');
    for character in text.chars() {
        let code = u32::from(character);
        match character {
            '"' | '\\' => {
                safe.push('\\');
                safe.push(character);
            }
            '\n' => safe.push_str("\\n"),
            _ if !acts_on_terminal(character) && code & 0xfffe != 0xfffe => safe.push(character),
            _ if code < 0x100 => safe.push_str(&format!("\\x{code:02x}")),
            _ if code < 0x1_0000 => safe.push_str(&format!("\\u{code:04x}")),
            _ => safe.push_str(&format!("\\U{code:08x}")),
        }
    }
    safe.push('"');
    safe
}

/// Returns whether a text can be taken for nothing but itself: letters, digits and `_./$-`, the first no digit, dot or
/// dash (numbers, dates, `.nan`, list marks), colons only inside, and none of the [`WORDS`].
fn is_plain_text(text: &str) -> bool {
    let first = |byte: &u8| byte.is_ascii_alphabetic() || *byte == b'/' || *byte == b'$';
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"_./$:-".contains(&byte);
    text.as_bytes().first().is_some_and(first)
        && text.bytes().all(inner)
        && !text.ends_with(':')
        && !WORDS.contains(&text.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn blocks_nest_as_people_write_them() {
        let value = json!({
            "kind": "Service",
            "metadata": {"annotations": {"prometheus.io/port": "9101"}, "labels": {}},
            "spec": {"ports": [{"name": "kms", "port": 1688}, {"name": "b"}], "list": ["a", ["x"], []]},
        });
        assert_eq!(
            yaml_block(&value),
            "kind: Service\nmetadata:\n  annotations:\n    prometheus.io/port: \"9101\"\n  labels: {}\nspec:\n  ports:\n  - name: kms\n    port: 1688\n  - name: b\n  list:\n  - a\n  - - x\n  - []\n"
        );
    }

    #[test]
    fn what_another_parser_could_misread_is_quoted() {
        for text in [
            "",
            "y",
            "No",
            "ON",
            "null",
            "True",
            "~",
            "1",
            "1e3",
            "0x1f",
            "1:30",
            ".nan",
            "-",
            "- a",
            "a: b",
            "a #b",
            "a:",
            "#",
            "&a",
            "*a",
            "!a",
            "%a",
            "@a",
            "`a",
            "{",
            "[",
            "?",
            "|",
            ">",
            "=",
            "<<",
            "2026-01-01",
            "a\nb",
            " a",
        ] {
            assert!(quoted_text(text).starts_with('"'), "{text}");
        }
        for text in
            ["kms", "ghcr.io/a/kmsctl:0.1.0", "/var/log", "app.kubernetes.io/name", "$patch"]
        {
            assert_eq!(quoted_text(text), text);
        }
        assert_eq!(
            quoted_text("a\"\\\u{1b}\u{85}\u{2028}\u{e0001}"),
            "\"a\\\"\\\\\\x1b\\x85\\u2028\\U000e0001\""
        );
    }

    proptest! {
        #[test]
        fn a_text_is_one_line_without_anything_that_acts(text in any::<String>()) {
            prop_assert!(!quoted_text(&text).chars().any(acts_on_terminal));
        }
    }
}
