//! The objects as Terraform's HCL, for the `kubernetes` provider, laid out as `terraform fmt` does.
//!
//! Service, roles and ExternalSecret become `kubernetes_manifest` resources. The patch becomes the blocks of a
//! `kubernetes_deployment_v1`, whose fields are Kubernetes' own names in snake case; a list of objects is a block for each.

use serde_json::{Map, Value};

use super::{ManifestOptions, ManifestPart, deployment_patch};

/// Fields whose object is a map of the user's own keys, and so an attribute.
const MAPS: [&str; 5] = ["annotations", "labels", "match_labels", "limits", "requests"];

/// Returns the resources of a part under a comment that says what they are.
pub(super) fn terraform_text(wanted: &ManifestOptions, part: ManifestPart) -> String {
    let about =
        if part == ManifestPart::Patch { deployment_comment(wanted) } else { wanted.about(part) };
    let mut text: String = about.lines().map(|line| format!("# {line}\n")).collect();
    let resources: Vec<String> = if part == ManifestPart::Patch {
        vec![deployment_resource(wanted)]
    } else {
        let objects = wanted.objects(part);
        objects.iter().map(manifest_resource).collect()
    };
    text.push_str(&resources.join("\n"));
    text
}

fn deployment_comment(wanted: &ManifestOptions) -> String {
    let [volume, _, config_map] = &wanted.former;
    format!(
        "The side-car: blocks for the resource that you have of the Deployment {}. Copy them into it: the server's own\n\
         container keeps its image, arguments and ports, and gains its mount and probes. A former notifier goes from it with\n\
         its volume {volume} and its ConfigMap {config_map}. Do not patch the Deployment with kubectl as well: Terraform would undo that at its\n\
         next apply, unless the resource says\n\
         \x20 lifecycle {{ ignore_changes = [spec[0].template[0].spec[0].container, spec[0].template[0].spec[0].volume] }}",
        wanted.deployment
    )
}

fn manifest_resource(object: &Value) -> String {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    let words = [
        text("/kind").map(str::to_lowercase),
        text("/metadata/namespace").map(str::to_owned),
        text("/metadata/name").map(str::to_owned),
    ];
    let name = words.into_iter().flatten().collect::<Vec<_>>().join("_");
    let mut lines = HclLines::default();
    lines.open(&format!("resource \"kubernetes_manifest\" {}", quoted(&identifier(&name))));
    lines.attribute("manifest", object);
    lines.close();
    lines.text
}

fn deployment_resource(wanted: &ManifestOptions) -> String {
    let mut object = deployment_patch(wanted);
    let labels: Map<String, Value> =
        wanted.selector.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        spec.insert("selector".to_owned(), serde_json::json!({ "matchLabels": labels }));
    }
    if let Some(metadata) = object.pointer_mut("/spec/template/metadata")
        && let Some(metadata) = metadata.as_object_mut()
    {
        metadata.insert("labels".to_owned(), labels.into());
    }
    let mut lines = HclLines::default();
    lines.open(&format!(
        "resource \"kubernetes_deployment_v1\" {}",
        quoted(&identifier(&wanted.deployment))
    ));
    for name in ["metadata", "spec"] {
        if let Some(value) = object.get(name) {
            lines.field(name, value);
        }
    }
    lines.close();
    lines.text
}

/// Turns any name into one that a resource may have.
fn identifier(name: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
    let name: String =
        name.chars().map(|letter| if plain(letter) { letter } else { '_' }).collect();
    match name.chars().next() {
        Some(first) if first.is_ascii_alphabetic() => name,
        _ => format!("kms_{name}"),
    }
}

/// Quotes a text; nothing in it is a template.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '$' | '%' if letters.peek() == Some(&'{') => quoted.extend([letter, letter]),
            // Letters that cannot be seen, or turn the direction of writing, are among them.
            letter if letter.is_control() || !letter.is_ascii() => {
                quoted.push_str(&format!("\\U{:08x}", u32::from(letter)));
            }
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

/// `periodSeconds` → `period_seconds`; a list's name in the singular, as its blocks have it.
fn snake_case(name: &str, is_blocks: bool) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    match snake.as_str() {
        "containers" | "volumes" | "volume_mounts" | "ports" if is_blocks => {
            snake.trim_end_matches('s').to_owned()
        }
        _ => snake,
    }
}

/// Lines of HCL. Attributes of one line that follow each other have their signs of equality in one column.
#[derive(Default)]
struct HclLines {
    text: String,
    depth: usize,
    /// Attributes of one line that are not written yet: name and value.
    waiting: Vec<(String, String)>,
}

impl HclLines {
    fn line(&mut self, line: &str) {
        self.write_waiting();
        self.text.push_str(&"  ".repeat(self.depth));
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn write_waiting(&mut self) {
        let width = self.waiting.iter().map(|(name, _)| name.len()).max();
        for (name, value) in std::mem::take(&mut self.waiting) {
            let indent = "  ".repeat(self.depth);
            let width = width.unwrap_or_default();
            self.text.push_str(&format!("{indent}{name:width$} = {value}\n"));
        }
    }

    fn open(&mut self, head: &str) {
        self.line(&format!("{head} {{"));
        self.depth += 1;
    }

    fn close(&mut self) {
        self.write_waiting();
        self.depth -= 1;
        self.line("}");
    }

    /// Writes a field of a typed resource: a block, blocks or an attribute.
    fn field(&mut self, name: &str, value: &Value) {
        match value {
            Value::Object(fields) if !MAPS.contains(&snake_case(name, false).as_str()) => {
                self.open(&snake_case(name, false));
                self.fields(fields);
                self.close();
            }
            Value::Array(items) if items.iter().any(Value::is_object) => {
                for item in items.iter().filter_map(Value::as_object) {
                    self.open(&snake_case(name, true));
                    self.fields(item);
                    self.close();
                }
            }
            // The provider takes a file's mode as octal digits.
            Value::Number(mode) if name == "defaultMode" => {
                let mode = mode.as_u64().unwrap_or_default();
                self.attribute("default_mode", &Value::from(format!("{mode:04o}")));
            }
            value => self.attribute(&snake_case(name, false), value),
        }
    }

    fn fields(&mut self, fields: &Map<String, Value>) {
        for (name, value) in fields {
            self.field(name, value);
        }
    }

    /// Writes `name = VALUE`.
    fn attribute(&mut self, name: &str, value: &Value) {
        match value {
            Value::Object(fields) if !fields.is_empty() => {
                self.open(&format!("{name} ="));
                for (key, value) in fields {
                    self.attribute(&map_key(key), value);
                }
                self.close();
            }
            Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
                self.line(&format!("{name} = ["));
                self.depth += 1;
                for (number, item) in items.iter().enumerate() {
                    let comma = if number + 1 < items.len() { "," } else { "" };
                    self.item(item, comma);
                }
                self.depth -= 1;
                self.line("]");
            }
            value => self.waiting.push((name.to_owned(), inline_value(value))),
        }
    }

    fn item(&mut self, item: &Value, comma: &str) {
        let Some(fields) = item.as_object().filter(|fields| !fields.is_empty()) else {
            return self.line(&format!("{}{comma}", inline_value(item)));
        };
        self.line("{");
        self.depth += 1;
        for (key, value) in fields {
            self.attribute(&map_key(key), value);
        }
        self.write_waiting();
        self.depth -= 1;
        self.line(&format!("}}{comma}"));
    }
}

fn map_key(key: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let starts_well = key.starts_with(|first: char| first.is_ascii_alphabetic());
    if starts_well && key.bytes().all(plain) { key.to_owned() } else { quoted(key) }
}

fn inline_value(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(inline_value).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(_) => "{}".to_owned(),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}
