//! Lines to entries, and entries to every form of output.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::choice::Choice;
use crate::app::Context;
use crate::commands::notifier::rows::Layout;
use crate::domain::kms_log::Log;
use crate::domain::notifier::decide::{Decision, DecisionRules};
use crate::domain::notifier::event_log::{EventFilter, EventRecord, split_kubectl_stamp};
use crate::domain::warning::Warning;
use crate::error::{Failure, Result};
use crate::terminal::view::escape_json;
use crate::terminal::{Human, Mode, View, clean_text};

const EVENT_COLUMNS: &[&str] = &[
    "pod",
    "at",
    "event",
    "address",
    "port",
    "source",
    "product",
    "product_id",
    "workstation",
    "status",
    "decision",
    "attribution",
    "kind",
    "text",
];
const LINE_COLUMNS: &[&str] = &["pod", "line"];

/// What is made of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Events, from the notifier's output.
    Events,
    /// Events, from the server's own log.
    ServerEvents,
    /// The server's lines as they are.
    Lines,
}

/// One thing that is printed.
#[derive(Clone, Debug, Serialize)]
pub(super) struct PrintedEntry {
    pod: String,
    #[serde(flatten)]
    what: PrintedKind,
}

#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
enum PrintedKind {
    Event(Box<EventRecord>),
    Line { line: String },
}

/// Reads and prints.
pub(super) struct LogPrinter<'a> {
    context: &'a Context,
    shape: Shape,
    filter: EventFilter,
    since: Timestamp,
    choice: Choice,
    layout: Layout,
    /// Uncut, for what patterns are held against.
    whole: Layout,
    rules: DecisionRules,
    /// What the server's log of each pod said so far.
    logs: BTreeMap<String, Log>,
    /// Whether the last stamped line was young enough; lines without a stamp belong to it.
    young: bool,
}

impl<'a> LogPrinter<'a> {
    pub(super) fn new(
        context: &'a Context,
        shape: Shape,
        filter: EventFilter,
        since: Timestamp,
        choice: Choice,
    ) -> Self {
        let networks = &context.settings.networks;
        Self {
            context,
            shape,
            filter,
            since,
            choice,
            layout: Layout::new(context.terminal.width),
            whole: Layout::new(None),
            rules: DecisionRules {
                pods: networks.pods.clone(),
                nodes: networks.nodes.clone(),
            },
            logs: BTreeMap::new(),
            young: true,
        }
    }

    /// Reads one line of a pod.
    pub(super) fn read(&mut self, pod: &str, line: &[u8]) -> Vec<PrintedEntry> {
        let mut entries = self.understand(pod, line);
        if self.choice.reads_text() {
            entries.retain(|entry| match &entry.what {
                PrintedKind::Event(told) => self.choice.wants(&self.whole.event(told)),
                PrintedKind::Line { line } => self.choice.wants(line),
            });
        }
        entries
    }

    fn understand(&mut self, pod: &str, line: &[u8]) -> Vec<PrintedEntry> {
        let entry = |what: PrintedKind| PrintedEntry {
            pod: pod.to_owned(),
            what,
        };
        match self.shape {
            Shape::Lines => {
                let line = String::from_utf8_lossy(line).into_owned();
                if let Some(at) = line_timestamp(&line) {
                    self.young = self.is_within(at);
                }
                let young = self.young.then(|| entry(PrintedKind::Line { line }));
                young.into_iter().collect()
            }
            Shape::Events => {
                let text = String::from_utf8_lossy(line);
                let (printed, line) = split_kubectl_stamp(&text);
                let told = EventRecord::read(line, printed);
                let wanted = self.wants(&told);
                let told = wanted.then(|| entry(PrintedKind::Event(Box::new(told))));
                told.into_iter().collect()
            }
            Shape::ServerEvents => {
                let mut events = Vec::new();
                let log = self.logs.entry(pod.to_owned()).or_default();
                log.line(line, &mut events);
                let told = events.iter().map(|event| {
                    EventRecord::of_server(&self.rules.describe(event, Decision::Count))
                });
                told.filter(|told| self.wants(told))
                    .map(|told| entry(PrintedKind::Event(Box::new(told))))
                    .collect()
            }
        }
    }

    fn wants(&self, told: &EventRecord) -> bool {
        self.filter.lets(told) && told.at.is_none_or(|at| self.is_within(at))
    }

    fn is_within(&self, at: Timestamp) -> bool {
        at >= self.since && self.choice.until.is_none_or(|until| at <= until)
    }

    /// Prints what stands above the first entry of a stream.
    pub(super) fn open(&self) -> Result<()> {
        let terminal = self.context.terminal;
        match (terminal.mode, self.shape) {
            (Mode::Csv, shape) => terminal.write(&(columns_of_shape(shape).join(",") + "\n")),
            (Mode::Table, Shape::Events | Shape::ServerEvents) => {
                terminal.write(&(self.layout.head() + "\n"))
            }
            _ => Ok(()),
        }
    }

    /// Prints one entry of a stream.
    pub(super) fn print(&self, entry: &PrintedEntry) -> Result<()> {
        let terminal = self.context.terminal;
        let text = match terminal.mode {
            Mode::Table => self.text(entry) + "\n",
            Mode::Json | Mode::Ndjson => {
                let text = serde_json::to_string(entry).map_err(|error| {
                    Failure::failed("An event cannot be put into JSON.").because(error)
                })?;
                escape_json(&text) + "\n"
            }
            Mode::Csv => {
                let text = self.view(&[], std::slice::from_ref(entry))?.csv()?;
                text.split_once('\n')
                    .map_or(String::new(), |(_, record)| record.to_owned())
            }
        };
        terminal.write(&text)
    }

    /// Prints everything at once.
    pub(super) fn finish(
        &self,
        pods: &[String],
        mut entries: Vec<PrintedEntry>,
        warnings: Vec<Warning>,
        nothing: String,
    ) -> Result<()> {
        if pods.len() > 1 && self.shape != Shape::Lines {
            entries.sort_by_key(|entry| match &entry.what {
                PrintedKind::Event(told) => told.at,
                PrintedKind::Line { .. } => None,
            });
        }
        let empty = entries.is_empty();
        let mut human = Human::default();
        if !empty && self.shape != Shape::Lines {
            human.verbatim(&self.layout.head());
        }
        for entry in &entries {
            // Cleaned and fitted already.
            human.verbatim(&self.text(entry));
        }
        let mut view = self.view(pods, &entries)?;
        view.human = human;
        view.warnings = warnings;
        view.empty = empty.then_some(nothing);
        self.context.terminal.show(&view)
    }

    fn view(&self, pods: &[String], entries: &[PrintedEntry]) -> Result<View> {
        let list = if self.shape == Shape::Lines {
            "lines"
        } else {
            "events"
        };
        let mut data = serde_json::json!({ "pods": pods, list: entries });
        if self.context.terminal.mode == Mode::Csv {
            // JSON has escapes for what acts, CSV has none.
            without_controls(&mut data);
        }
        let mut view = View::new("notifier.logs", self.context.clock.now(), &data)?;
        view.items = Some((list, columns_of_shape(self.shape)));
        Ok(view)
    }

    fn text(&self, entry: &PrintedEntry) -> String {
        let text = match &entry.what {
            PrintedKind::Event(told) => self.layout.event(told),
            PrintedKind::Line { line } => self.layout.fit(&clean_text(line)),
        };
        self.choice.mark(&text, self.context.terminal.stdout_color)
    }
}

fn columns_of_shape(shape: Shape) -> &'static [&'static str] {
    if shape == Shape::Lines {
        LINE_COLUMNS
    } else {
        EVENT_COLUMNS
    }
}

fn without_controls(value: &mut Value) {
    match value {
        Value::String(text) => *text = clean_text(text).into_owned(),
        Value::Array(items) => items.iter_mut().for_each(without_controls),
        Value::Object(fields) => fields.values_mut().for_each(without_controls),
        _ => {}
    }
}

/// Reads the stamp of a line of the server's log; the server's image runs in UTC.
fn line_timestamp(line: &str) -> Option<Timestamp> {
    let stamp: jiff::civil::DateTime = line.get(..19)?.replacen(' ', "T", 1).parse().ok()?;
    let zoned = stamp.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(zoned.timestamp())
}
