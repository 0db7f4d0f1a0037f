//! Reads the lines that a pod prints and prints those that were asked for, as events or as they are.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::choice::Choice;
use crate::app::Context;
use crate::commands::notifier::status::Layout;
use crate::domain::kms_log::Log;
use crate::domain::notifier::decide::{Decision, DecisionRules};
use crate::domain::notifier::event_log::{EventFilter, EventRecord, split_kubectl_stamp};
use crate::domain::warning::Warning;
use crate::error::{Failure, Result};
use crate::kubectl::server_line_timestamp;
use crate::terminal::{Human, Mode, View};
use crate::text::{clean_text, escape_json};

/// Keys of an event as `notifier logs` prints it; `notifier replay` has neither the first nor the last.
pub const EVENT_COLUMNS: &[&str] = &[
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Events,
    ServerEvents,
    Lines,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct PrintedEntry {
    pod: String,
    #[serde(flatten)]
    pub(super) what: PrintedKind,
}

#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub(super) enum PrintedKind {
    Event(Box<EventRecord>),
    Line { line: String },
}

pub(super) struct LogPrinter<'a> {
    context: &'a Context,
    pub(super) shape: Shape,
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
    /// How many probes were left out of a table.
    pub(super) hidden_probes: u64,
}

impl<'a> LogPrinter<'a> {
    pub(super) fn new(
        context: &'a Context,
        shape: Shape,
        filter: EventFilter,
        since: Timestamp,
        choice: Choice,
    ) -> Self {
        Self {
            context,
            shape,
            filter,
            since,
            choice,
            layout: Layout::new(context.terminal.width),
            whole: Layout::new(None),
            rules: context.settings.networks.decision_rules(),
            logs: BTreeMap::new(),
            young: true,
            hidden_probes: 0,
        }
    }

    pub(super) fn read_line(&mut self, pod: &str, line: &[u8]) -> Vec<PrintedEntry> {
        let mut entries = self.parse_entries(pod, line);
        if self.choice.reads_text() {
            entries.retain(|entry| match &entry.what {
                PrintedKind::Event(record) => {
                    self.choice.wants_line(&self.whole.render_event(record))
                }
                PrintedKind::Line { line } => self.choice.wants_line(line),
            });
        }
        entries
    }

    fn parse_entries(&mut self, pod: &str, line: &[u8]) -> Vec<PrintedEntry> {
        let entry = |what: PrintedKind| PrintedEntry { pod: pod.to_owned(), what };
        match self.shape {
            Shape::Lines => {
                let line = String::from_utf8_lossy(line).into_owned();
                if let Some(at) = server_line_timestamp(&line) {
                    self.young = self.is_within(at);
                }
                let young = self.young.then(|| entry(PrintedKind::Line { line }));
                young.into_iter().collect()
            }
            Shape::Events => {
                let text = String::from_utf8_lossy(line);
                let (printed, line) = split_kubectl_stamp(&text);
                let record = EventRecord::read_line(line, printed);
                let wanted = self.wants_event(&record);
                let printed = wanted.then(|| entry(PrintedKind::Event(Box::new(record))));
                printed.into_iter().collect()
            }
            Shape::ServerEvents => {
                let mut events = Vec::new();
                let log = self.logs.entry(pod.to_owned()).or_default();
                log.read_line(line, &mut events);
                let mut entries = Vec::new();
                for event in &events {
                    let decided = self.rules.describe_event(event, Decision::Count);
                    // About what the server alone wrote nothing has been decided.
                    let record = EventRecord { decision: None, ..EventRecord::from(decided) };
                    if self.wants_event(&record) {
                        entries.push(entry(PrintedKind::Event(Box::new(record))));
                    }
                }
                entries
            }
        }
    }

    fn wants_event(&mut self, record: &EventRecord) -> bool {
        if record.at.is_some_and(|at| !self.is_within(at)) {
            return false;
        }
        let with_probes = EventFilter { probes: !self.filter.activations, ..self.filter };
        let wanted = self.filter.lets_pass(record);
        self.hidden_probes += u64::from(!wanted && with_probes.lets_pass(record));
        wanted
    }

    fn is_within(&self, at: Timestamp) -> bool {
        at >= self.since && self.choice.until.is_none_or(|until| at <= until)
    }

    /// Prints what stands above the first entry of a stream.
    pub(super) fn print_head(&self) -> Result<()> {
        let terminal = self.context.terminal;
        match (terminal.mode, self.shape) {
            (Mode::Csv, shape) => terminal.write(&(columns_of_shape(shape).join(",") + "\n")),
            (Mode::Table, Shape::Events | Shape::ServerEvents) => {
                if let Some(sentence) = self.layout.left_out() {
                    terminal.say(&sentence);
                }
                terminal.write(&(self.layout.title_row() + "\n"))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn print_entry(&self, entry: &PrintedEntry) -> Result<()> {
        let terminal = self.context.terminal;
        let text = match terminal.mode {
            Mode::Table => self.entry_text(entry) + "\n",
            Mode::Json | Mode::Ndjson => {
                let text = serde_json::to_string(entry).map_err(|error| {
                    Failure::failed("An event cannot be put into JSON.").with_cause(error)
                })?;
                escape_json(text) + "\n"
            }
            Mode::Csv => {
                let text = self.view(&[], std::slice::from_ref(entry))?.csv()?;
                text.split_once('\n').map_or(String::new(), |(_, record)| record.to_owned())
            }
        };
        terminal.write(&text)
    }

    pub(super) fn print_all(
        &self,
        pods: &[String],
        entries: &[PrintedEntry],
        warnings: Vec<Warning>,
        nothing: String,
    ) -> Result<()> {
        let empty = entries.is_empty();
        let mut human = Human::default();
        if !empty && self.shape != Shape::Lines {
            human.verbatim(&self.layout.title_row());
        }
        for entry in entries {
            // Cleaned and fitted already.
            human.verbatim(&self.entry_text(entry));
        }
        if let Some(sentence) =
            self.layout.left_out().filter(|_| !empty && self.shape != Shape::Lines)
        {
            human.line(sentence);
        }
        let mut view = self.view(pods, entries)?;
        view.human = human;
        view.warnings = warnings;
        view.empty = empty.then_some(nothing);
        (view.is_for_reading, view.ends_with_newest) = (true, true);
        self.context.terminal.show(&view)
    }

    fn view(&self, pods: &[String], entries: &[PrintedEntry]) -> Result<View> {
        let list = if self.shape == Shape::Lines { "lines" } else { "events" };
        let mut data = serde_json::json!({ "pods": pods, list: entries });
        if self.context.terminal.mode == Mode::Csv {
            // JSON has escapes for what acts, CSV has none.
            without_controls(&mut data);
        }
        let mut view = View::new("notifier.logs", self.context.clock.now(), &data)?;
        view.items = Some((list, columns_of_shape(self.shape)));
        Ok(view)
    }

    fn entry_text(&self, entry: &PrintedEntry) -> String {
        let text = match &entry.what {
            PrintedKind::Event(record) => self.layout.render_event(record),
            PrintedKind::Line { line } => self.layout.fit_line(&clean_text(line)),
        };
        self.choice.mark_matches(&text, self.context.terminal.stdout_color)
    }
}

fn columns_of_shape(shape: Shape) -> &'static [&'static str] {
    if shape == Shape::Lines { LINE_COLUMNS } else { EVENT_COLUMNS }
}

fn without_controls(value: &mut Value) {
    match value {
        Value::String(text) => *text = clean_text(text).into_owned(),
        Value::Array(items) => items.iter_mut().for_each(without_controls),
        Value::Object(fields) => fields.values_mut().for_each(without_controls),
        _ => {}
    }
}
