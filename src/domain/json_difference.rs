//! What differs between two JSON values, leaf by leaf, as lines for people. Holds no layout.

use serde_json::Value;

/// Returns `- PATH: OLD` and `+ PATH: NEW` for every leaf that differs, in the order of the old value; what only the
/// new one has comes last.
pub fn differing_lines(before: &Value, after: &Value) -> Vec<String> {
    let (old, new) = (json_leaves(before), json_leaves(after));
    let value = |leaves: &[(String, &Value)], path: &str| {
        let found = leaves.iter().find(|(other, _)| other == path);
        found.map(|(_, value)| value.to_string())
    };
    let mut lines = Vec::new();
    for (path, was) in &old {
        let (was, is) = (was.to_string(), value(&new, path));
        if is.as_ref() != Some(&was) {
            lines.push(format!("- {path}: {was}"));
            lines.extend(is.map(|is| format!("+ {path}: {is}")));
        }
    }
    let added = new.iter().filter(|(path, _)| value(&old, path).is_none());
    lines.extend(added.map(|(path, is)| format!("+ {path}: {is}")));
    lines
}

/// Returns every leaf with its dotted path. An empty object or list is a leaf; null is none, as it stands for absence.
fn json_leaves(value: &Value) -> Vec<(String, &Value)> {
    let mut found = Vec::new();
    collect_leaves("", value, &mut found);
    found
}

fn collect_leaves<'a>(path: &str, value: &'a Value, found: &mut Vec<(String, &'a Value)>) {
    let below = |name: &str| {
        if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
    };
    match value {
        Value::Null => {}
        Value::Object(fields) if !fields.is_empty() => {
            fields.iter().for_each(|(name, value)| collect_leaves(&below(name), value, found));
        }
        Value::Array(items) if !items.is_empty() => items
            .iter()
            .enumerate()
            .for_each(|(index, value)| collect_leaves(&below(&index.to_string()), value, found)),
        leaf => found.push((path.to_owned(), leaf)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_leaves_that_differ_are_named() {
        let before =
            json!({"nat": {"port": "1688", "disabled": null}, "filter": {"max": "50", "log": ""}});
        let after = json!({"nat": {"port": "1688", "disabled": ""}, "filter": {"max": "10"}});
        assert_eq!(
            differing_lines(&before, &after),
            [
                "- filter.max: \"50\"",
                "+ filter.max: \"10\"",
                "- filter.log: \"\"",
                "+ nat.disabled: \"\""
            ]
        );
        assert!(differing_lines(&before, &before).is_empty());
        assert_eq!(
            differing_lines(&json!({"rule": {"a": 1, "b": [true]}}), &json!({"rule": null})),
            ["- rule.a: 1", "- rule.b.0: true"]
        );
    }
}
