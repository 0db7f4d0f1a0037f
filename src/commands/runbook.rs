//! `kmsctl runbook`: the procedures that come with the program, rendered for a terminal and as they are on disk for a
//! pipe, with an index by what one sees.

use clap::Args as ClapArgs;
use clap::builder::{PossibleValue, TypedValueParser};
use serde::Serialize;

use crate::app::Context;
use crate::error::{Failure, Result};
use crate::terminal::human::text_column;
use crate::terminal::{Mode, View, render_markdown};
use crate::text::quoted;

pub const RUNBOOKS: &[(&str, &str)] = &[
    ("contexts", include_str!("../../runbooks/contexts.md")),
    ("doctor", include_str!("../../runbooks/doctor.md")),
    ("exporter", include_str!("../../runbooks/exporter.md")),
    ("expose", include_str!("../../runbooks/expose.md")),
    ("history", include_str!("../../runbooks/history.md")),
    ("logs", include_str!("../../runbooks/logs.md")),
    ("notifier", include_str!("../../runbooks/notifier.md")),
    ("ratelimit", include_str!("../../runbooks/ratelimit.md")),
    ("rule", include_str!("../../runbooks/rule.md")),
    ("states", include_str!("../../runbooks/states.md")),
    ("status", include_str!("../../runbooks/status.md")),
    ("verify", include_str!("../../runbooks/verify.md")),
    ("virusprot", include_str!("../../runbooks/virusprot.md")),
];

/// What an operator sees, hears or is asked, and the runbook for it.
const SYMPTOMS: &[(&str, &str)] = &[
    ("Customers say that activation stopped", "status"),
    ("A customer is blocked", "virusprot"),
    ("Who was blocked last night?", "exporter"),
    ("One source hammers the port", "ratelimit"),
    ("Who is connected right now?", "states"),
    ("Take it down now", "expose"),
    ("Is the port really closed?", "verify"),
    ("It is open, and no client gets an answer", "verify"),
    ("The firewall was changed, and not by you", "history"),
    ("A change went wrong, take it back", "history"),
    ("Do the rules count anything?", "rule"),
    ("Slack is silent, or an alert of the notifier fires", "notifier"),
    ("Who activated, and when?", "logs"),
    ("Is everything set up right?", "doctor"),
    ("There is more than one firewall", "contexts"),
];

/// Arguments of `kmsctl runbook`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Which one, or the command that it is about; without a name they are listed
    #[arg(value_parser = RunbookName)]
    name: Vec<String>,
}

/// Any words: the names are no more than proposals.
#[derive(Clone)]
struct RunbookName;

impl TypedValueParser for RunbookName {
    type Value = String;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&clap::Arg>,
        value: &std::ffi::OsStr,
    ) -> std::result::Result<String, clap::Error> {
        clap::builder::StringValueParser::new().parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(RUNBOOKS.iter().map(|(name, _)| PossibleValue::new(*name))))
    }
}

/// Commands that stand in the runbook of another.
const BESIDE: &[(&str, &str)] =
    &[("apply", "history"), ("config", "contexts"), ("keep", "history"), ("undo", "history")];

#[derive(Serialize)]
struct Runbook<'a> {
    name: &'a str,
    title: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
}

fn runbook_title(text: &'static str) -> &'static str {
    text.lines().next().unwrap_or_default().trim_start_matches(['#', ' '])
}

/// Runs `kmsctl runbook`; `nearest_command` finds the command that a word most likely means.
pub fn run_runbook(
    context: &Context,
    arguments: &Args,
    nearest_command: impl Fn(&str) -> Option<String>,
) -> Result<()> {
    if arguments.name.is_empty() {
        return show_index(context);
    }
    let terminal = context.terminal;
    let wanted = arguments.name.join(" ");
    let find = |wanted: &str| RUNBOOKS.iter().find(|(name, _)| *name == wanted);
    let of_command = || {
        let command = nearest_command(&wanted)?;
        let first = command.split(' ').next().unwrap_or_default();
        let beside = BESIDE.iter().find(|(command, _)| *command == first);
        let found = find(beside.map_or(first, |(_, name)| name))?;
        terminal.say(&format!("The runbook `{}` is about `kmsctl {command}`.", found.0));
        Some(found)
    };
    let Some((name, text)) = find(&wanted).or_else(of_command) else {
        let names = RUNBOOKS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        let failure = Failure::usage(format!("There is no runbook {}.", quoted(&wanted)));
        return Err(failure.hint(format!("There are {names}; for what: `kmsctl runbook`")));
    };
    if let (Mode::Table, Some(width)) = (terminal.mode, terminal.width) {
        let page = render_markdown(text, width, terminal.colors());
        return terminal.write_page(&page, false);
    }
    let runbook = Runbook { name, title: runbook_title(text), text: Some(text) };
    let mut view = View::new("runbook", context.clock.now(), &runbook)?;
    text.lines().for_each(|line| {
        view.human.verbatim(line);
    });
    terminal.show(&view)
}

/// Lists the runbooks, and which one is for what one sees.
fn show_index(context: &Context) -> Result<()> {
    let runbooks = RUNBOOKS.iter().map(|(name, text)| Runbook {
        name,
        title: runbook_title(text),
        text: None,
    });
    let runbooks: Vec<Runbook> = runbooks.collect();
    let symptoms = SYMPTOMS
        .iter()
        .map(|(symptom, name)| serde_json::json!({ "symptom": symptom, "runbook": name }));
    let symptoms: Vec<serde_json::Value> = symptoms.collect();
    let data = serde_json::json!({ "runbooks": runbooks, "symptoms": symptoms });
    let mut view = View::new("runbook.list", context.clock.now(), &data)?;
    view.items = Some(("runbooks", &["name", "title"]));
    let rows =
        runbooks.iter().map(|runbook| vec![runbook.name.to_owned(), runbook.title.to_owned()]);
    view.human.table(vec![text_column("RUNBOOK"), text_column("ABOUT")], rows.collect());
    let symptoms =
        SYMPTOMS.iter().map(|(symptom, name)| vec![(*symptom).to_owned(), (*name).to_owned()]);
    view.human
        .gap()
        .table(vec![text_column("WHAT YOU SEE"), text_column("RUNBOOK")], symptoms.collect());
    context.terminal.show(&view)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_runbook_keeps_its_words() {
        for (name, text) in RUNBOOKS {
            let shown = render_markdown(text, 60, false);
            let words = |text: &str| text.matches("kmsctl").count();
            assert_eq!(words(&shown), words(text), "{name}:\n{shown}");
            assert!(!shown.contains("```") && !shown.contains("\n#"), "{name}:\n{shown}");
        }
    }
}
