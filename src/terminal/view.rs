//! One value of a command's answer and its machine-readable forms. The human form is built beside it.

use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use super::human::Human;
use super::pasted::{Carried, JsonFields, PastedJson};
use crate::domain::warning::Warning;
use crate::error::{Failure, Result};
use crate::text::{acts_on_terminal, escape_json, whole_second};

/// A command's answer in all its forms.
#[derive(Clone, Debug)]
pub struct View {
    /// The schema without its frame: `virusprot.show` is `kmsctl/virusprot.show/v1`.
    pub schema: &'static str,
    /// The firewall it is about; `None` for answers that need none.
    pub firewall: Option<String>,
    /// The firewall's time of the reading, in whole seconds.
    pub taken_at: Timestamp,
    /// The data of the schema, as JSON text.
    data: Arc<RawValue>,
    /// The flags that its commands carry.
    pub(super) carried: Option<&'static Carried>,
    /// The list in `data` that NDJSON and CSV print an item a line, and its columns.
    pub items: Option<(&'static str, &'static [&'static str])>,
    pub human: Human,
    /// What the operator should know.
    pub warnings: Vec<Warning>,
    /// Said on stderr when there is nothing to show.
    pub empty: Option<String>,
    /// Goes through the pager where it is longer than the screen.
    pub is_for_reading: bool,
    /// Of what is longer than the screen the end is shown first.
    pub ends_with_newest: bool,
}

impl View {
    pub fn new(schema: &'static str, taken_at: Timestamp, data: &impl Serialize) -> Result<Self> {
        let data = to_raw_value(data).map_err(serialisation_failure)?.into();
        Ok(Self {
            schema,
            firewall: None,
            // The firewall's clock is read in whole seconds, so ours is shown in them as well.
            taken_at: whole_second(taken_at),
            data,
            carried: None,
            items: None,
            human: Human::default(),
            warnings: Vec::new(),
            empty: None,
            is_for_reading: false,
            ends_with_newest: false,
        })
    }

    /// Returns the JSON object with its frame, ending with a newline.
    pub fn json(&self) -> Result<String> {
        print_json(serde_json::to_string_pretty(&self.frame()))
    }

    /// Returns one line an item, or the whole data on one line for answers that are no list.
    pub fn ndjson(&self) -> Result<String> {
        let list = self.list().map_err(serialisation_failure)?;
        let lines = list.iter().map(|item| json_line(&self.pasted_json(item)));
        lines.collect()
    }

    /// Returns one line an item, each with the time of the reading, for `--watch` into a pipe.
    pub fn stamped_ndjson(&self) -> Result<String> {
        let stamp = to_raw_value(&self.taken_at.to_string()).map_err(serialisation_failure)?;
        let stamped = |item: &&RawValue| {
            let Ok(mut fields) = serde_json::from_str::<JsonFields<'_>>(item.get()) else {
                return json_line(&self.pasted_json(item));
            };
            fields.entry("taken_at".to_owned()).or_insert(&stamp);
            let item = to_raw_value(&fields).map_err(serialisation_failure)?;
            json_line(&self.pasted_json(&item))
        };
        let list = self.list().map_err(serialisation_failure)?;
        if list.is_empty() {
            // Who follows sees that it was read, and when.
            return json_line(&serde_json::json!({ "taken_at": self.taken_at.to_string() }));
        }
        list.iter().map(stamped).collect()
    }

    /// Returns one line with the frame and the data, for `--watch` into a pipe.
    pub fn tick(&self) -> Result<String> {
        json_line(&self.frame())
    }

    /// Returns a header and one record an item; answers that are no list become `key,value` records.
    pub fn csv(&self) -> Result<String> {
        let bytes = self.csv_bytes().map_err(|error| {
            Failure::failed("The answer cannot be put into CSV.").with_cause(error)
        })?;
        Ok(String::from_utf8_lossy(&bytes)
            .chars()
            .map(|character| if acts_in_csv(character) { '\u{fffd}' } else { character })
            .collect())
    }

    fn csv_bytes(&self) -> anyhow::Result<Vec<u8>> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        if let Some((_, columns)) = self.items {
            writer.write_record(columns)?;
            for item in self.list()? {
                let item = serde_json::to_value(self.pasted_json(item))?;
                writer.write_record(columns.iter().map(|column| csv_cell(&item, column)))?;
            }
        } else {
            writer.write_record(["key", "value"])?;
            let mut pairs = Vec::new();
            flatten_value("", &serde_json::to_value(self.pasted_json(&self.data))?, &mut pairs);
            for (key, value) in &pairs {
                writer.write_record([key, value])?;
            }
        }
        Ok(writer.into_inner()?)
    }

    fn frame(&self) -> Frame<'_> {
        Frame {
            schema: format!("kmsctl/{}/v1", self.schema),
            firewall: self.firewall.as_deref(),
            taken_at: self.taken_at,
            data: self.pasted_json(&self.data),
            warnings: &self.warnings,
        }
    }

    fn pasted_json<'a>(&'a self, text: &'a RawValue) -> PastedJson<'a> {
        PastedJson::new(text, self.carried)
    }

    fn list(&self) -> serde_json::Result<Vec<&RawValue>> {
        let Some((name, _)) = self.items else {
            return Ok(vec![&self.data]);
        };
        let fields: JsonFields<'_> = serde_json::from_str(self.data.get())?;
        let list = fields.get(name).filter(|list| list.get().starts_with('['));
        match list {
            Some(list) => serde_json::from_str(list.get()),
            None => Ok(vec![&self.data]),
        }
    }
}

/// What stands around the data.
#[derive(Serialize)]
struct Frame<'a> {
    schema: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    firewall: Option<&'a str>,
    taken_at: Timestamp,
    data: PastedJson<'a>,
    warnings: &'a [Warning],
}

fn acts_in_csv(character: char) -> bool {
    !matches!(character, '\n' | '\r') && acts_on_terminal(character)
}

fn json_line(value: &impl Serialize) -> Result<String> {
    print_json(serde_json::to_string(value))
}

fn print_json(text: serde_json::Result<String>) -> Result<String> {
    let mut text = escape_json(text.map_err(serialisation_failure)?);
    text.push('\n');
    Ok(text)
}

fn serialisation_failure(error: serde_json::Error) -> Failure {
    Failure::failed("The answer cannot be put into JSON.").with_cause(error)
}

/// Returns a column of an item as CSV text: null is empty, lists are joined by blanks, `a.b` looks inside.
fn csv_cell(item: &Value, column: &str) -> String {
    let value = column.split('.').try_fold(item, |value, name| value.get(name));
    value.map(scalar_text).unwrap_or_default()
}

fn scalar_text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(scalar_text).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

fn flatten_value(prefix: &str, value: &Value, pairs: &mut Vec<(String, String)>) {
    let join = |name: &str| {
        if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") }
    };
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(name, value)| flatten_value(&join(name), value, pairs));
        }
        Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
            items
                .iter()
                .enumerate()
                .for_each(|(index, value)| flatten_value(&join(&index.to_string()), value, pairs));
        }
        other => pairs.push((prefix.to_owned(), scalar_text(other))),
    }
}
