//! One value of a command's answer and its machine-readable forms. The human form is built beside it.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};

use super::human::Human;
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
    /// The data of the schema.
    pub data: Value,
    /// The list in `data` that NDJSON and CSV print an item a line, and its columns.
    pub items: Option<(&'static str, &'static [&'static str])>,
    /// For people.
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
    /// Makes a view of serialisable data.
    pub fn new(schema: &'static str, taken_at: Timestamp, data: &impl Serialize) -> Result<Self> {
        let data = serde_json::to_value(data).map_err(|error| {
            Failure::failed("The answer cannot be put into JSON.").with_cause(error)
        })?;
        Ok(Self {
            schema,
            firewall: None,
            // The firewall's clock is read in whole seconds, so ours is shown in them as well.
            taken_at: whole_second(taken_at),
            data,
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
        let mut frame = self.frame();
        frame.insert("data".to_owned(), self.data.clone());
        frame.insert("warnings".to_owned(), to_value(&self.warnings)?);
        let text =
            serde_json::to_string_pretty(&Value::Object(frame)).map_err(serialisation_failure)?;
        Ok(escape_json(&text) + "\n")
    }

    /// Returns one line an item, or the whole data on one line for answers that are no list.
    pub fn ndjson(&self) -> Result<String> {
        let mut text = String::new();
        for item in self.list() {
            text.push_str(&escape_json(
                &serde_json::to_string(item).map_err(serialisation_failure)?,
            ));
            text.push('\n');
        }
        Ok(text)
    }

    /// Returns one line an item, each with the time of the reading, for `--watch` into a pipe.
    pub fn stamped_ndjson(&self) -> Result<String> {
        let mut text = String::new();
        for item in self.list() {
            let mut item = item.clone();
            if let Value::Object(fields) = &mut item {
                let taken_at = self.taken_at.to_string();
                fields.entry("taken_at").or_insert(taken_at.into());
            }
            text.push_str(&escape_json(
                &serde_json::to_string(&item).map_err(serialisation_failure)?,
            ));
            text.push('\n');
        }
        Ok(text)
    }

    /// Returns one line with the frame and the data, for `--watch` into a pipe.
    pub fn tick(&self) -> Result<String> {
        let mut frame = self.frame();
        frame.insert("data".to_owned(), self.data.clone());
        frame.insert("warnings".to_owned(), to_value(&self.warnings)?);
        Ok(escape_json(
            &serde_json::to_string(&Value::Object(frame)).map_err(serialisation_failure)?,
        ) + "\n")
    }

    /// Returns a header and one record an item; answers that are no list become `key,value` records.
    pub fn csv(&self) -> Result<String> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        let written = match self.items {
            Some((_, columns)) => writer.write_record(columns).and_then(|()| {
                self.list().iter().try_for_each(|item| {
                    writer.write_record(columns.iter().map(|column| csv_cell(item, column)))
                })
            }),
            None => writer.write_record(["key", "value"]).and_then(|()| {
                let mut pairs = Vec::new();
                flatten_value("", &self.data, &mut pairs);
                pairs
                    .iter()
                    .try_for_each(|(key, value)| writer.write_record([key, value]))
            }),
        };
        let bytes = written
            .map_err(anyhow::Error::from)
            .and_then(|()| Ok(writer.into_inner()?));
        let bytes = bytes.map_err(|error| {
            Failure::failed("The answer cannot be put into CSV.").with_cause(error)
        })?;
        Ok(String::from_utf8_lossy(&bytes)
            .chars()
            .map(|character| {
                if acts_in_csv(character) {
                    '\u{fffd}'
                } else {
                    character
                }
            })
            .collect())
    }

    fn frame(&self) -> Map<String, Value> {
        let mut frame = Map::new();
        frame.insert(
            "schema".to_owned(),
            format!("kmsctl/{}/v1", self.schema).into(),
        );
        if let Some(firewall) = &self.firewall {
            frame.insert("firewall".to_owned(), firewall.clone().into());
        }
        frame.insert("taken_at".to_owned(), self.taken_at.to_string().into());
        frame
    }

    fn list(&self) -> Vec<&Value> {
        let list = self
            .items
            .and_then(|(name, _)| self.data.get(name))
            .and_then(Value::as_array);
        list.map_or_else(|| vec![&self.data], |items| items.iter().collect())
    }
}

fn acts_in_csv(character: char) -> bool {
    !matches!(character, '\n' | '\r') && acts_on_terminal(character)
}

fn to_value(value: &impl Serialize) -> Result<Value> {
    serde_json::to_value(value).map_err(serialisation_failure)
}

fn serialisation_failure(error: serde_json::Error) -> Failure {
    Failure::failed("The answer cannot be put into JSON.").with_cause(error)
}

/// Returns a column of an item as CSV text: null is empty, lists are joined by blanks, `a.b` looks inside.
fn csv_cell(item: &Value, column: &str) -> String {
    let value = column
        .split('.')
        .try_fold(item, |value, name| value.get(name));
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
        if prefix.is_empty() {
            name.to_owned()
        } else {
            format!("{prefix}.{name}")
        }
    };
    match value {
        Value::Object(fields) => fields
            .iter()
            .for_each(|(name, value)| flatten_value(&join(name), value, pairs)),
        Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
            items
                .iter()
                .enumerate()
                .for_each(|(index, value)| flatten_value(&join(&index.to_string()), value, pairs));
        }
        other => pairs.push((prefix.to_owned(), scalar_text(other))),
    }
}
