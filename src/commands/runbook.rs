//! `kmsctl runbook`: the procedures that come with the program, as they are on disk.

use clap::Args as ClapArgs;
use serde::Serialize;

use super::context::Context;
use crate::error::{Failure, Result};
use crate::terminal::View;
use crate::terminal::human::left;

/// Name and text of every runbook, alphabetical.
pub const RUNBOOKS: &[(&str, &str)] = &[
    ("doctor", include_str!("../../runbooks/doctor.md")),
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

/// Arguments of `kmsctl runbook`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Which one; without a name they are listed
    #[arg(value_parser = RUNBOOKS.iter().map(|(name, _)| *name).collect::<Vec<_>>())]
    name: Option<String>,
}

/// Runs `kmsctl runbook`.
pub fn run(context: &Context, arguments: &Args) -> Result<()> {
    #[derive(Serialize)]
    struct Runbook<'a> {
        name: &'a str,
        title: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        text: Option<&'a str>,
    }
    let title = |text: &'static str| {
        text.lines()
            .next()
            .unwrap_or_default()
            .trim_start_matches(['#', ' '])
    };
    let Some(wanted) = &arguments.name else {
        let list: Vec<Runbook> = RUNBOOKS
            .iter()
            .map(|(name, text)| Runbook {
                name,
                title: title(text),
                text: None,
            })
            .collect();
        let mut view = View::new(
            "runbook.list",
            context.clock.now(),
            &serde_json::json!({ "runbooks": list }),
        )?;
        view.items = Some(("runbooks", &["name", "title"]));
        let rows = list
            .iter()
            .map(|runbook| vec![runbook.name.to_owned(), runbook.title.to_owned()]);
        view.human
            .table(vec![left("RUNBOOK"), left("ABOUT")], rows.collect());
        return context.terminal.show(&view);
    };
    let Some((name, text)) = RUNBOOKS.iter().find(|(name, _)| name == wanted) else {
        return Err(Failure::usage(format!("There is no runbook `{wanted}`.")));
    };
    let mut view = View::new(
        "runbook",
        context.clock.now(),
        &Runbook {
            name,
            title: title(text),
            text: Some(text),
        },
    )?;
    text.lines().for_each(|line| {
        view.human.verbatim(line);
    });
    context.terminal.show(&view)
}
