//! Several firewalls from one configuration: the list of the contexts, and one read command run in each of them. Each
//! runs as a process of its own, so that nothing of one can hide or mix with another.

pub mod peer;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::process::Stdio;

use serde::Serialize;
use serde_json::Value;
use tokio::process::Command;
use tokio::sync::Semaphore;

use crate::app::{Context, LastReading, last_reading, service_name, work_or_interrupt};
use crate::domain::warning::Warning;
use crate::error::{Failure, FailureKind, Result};
use crate::kubectl::read_bounded;
use crate::terminal::human::{number_column, text_column};
use crate::terminal::{Mode, View};
use crate::vantage::join_in_order;

const AT_A_TIME: usize = 4;
/// The longest answer and the longest talk of one context that are kept.
const LONGEST: (u64, u64) = (16 << 20, 64 << 10);
/// Exit codes in the order in which one of them decides about all.
const DECIDING: [FailureKind; 6] = [
    FailureKind::Usage,
    FailureKind::Unreachable,
    FailureKind::No,
    FailureKind::Inconclusive,
    FailureKind::Interrupted,
    FailureKind::Failed,
];

#[derive(Serialize)]
struct ContextRow {
    name: String,
    chosen: bool,
    /// Null where its settings are wrong.
    firewall: Option<String>,
    service: Option<String>,
    /// The state of the exposure at the last reading from here, and when that was.
    state: Option<String>,
    read_at: Option<jiff::Timestamp>,
    problem: Option<String>,
    /// The host key at the last reading.
    #[serde(skip)]
    host_key: Option<String>,
    /// Where it is without a host key: its name and port.
    #[serde(skip)]
    place: Option<String>,
    #[serde(skip)]
    paired: bool,
}

/// Lists the contexts, without a connection.
pub fn list_contexts(context: &Context) -> Result<()> {
    if let Some(problem) = context.problem.as_ref().filter(|_| context.layers.contexts.is_empty()) {
        return Err(problem.without_cause());
    }
    let rows: Vec<ContextRow> = describe_contexts(context);
    let data = serde_json::json!({ "contexts": rows });
    let mut view = View::new("config.contexts", context.clock.now(), &data)?;
    view.items = Some((
        "contexts",
        &["name", "chosen", "firewall", "service", "state", "read_at", "problem"],
    ));
    view.warnings = shared_boxes(&rows);
    let chosen = context.layers.chosen_context();
    let is_missing = chosen.is_some_and(|chosen| !context.layers.contexts.contains_key(chosen));
    if let Some(problem) = context.problem.as_ref().filter(|_| is_missing) {
        view.warnings.push(Warning::new("unknown-context", &problem.message));
    }
    if rows.is_empty() {
        let none = "The configuration has no contexts: one is a table [contexts.NAME].";
        view.empty = Some(none.to_owned());
    }
    let cells = rows.iter().map(|row| {
        let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "?".to_owned());
        let state = row.problem.clone().or_else(|| {
            let at = row.read_at.map(|at| format!(" ({at})"));
            Some(format!("{}{}", row.state.as_ref()?, at.unwrap_or_default()))
        });
        vec![
            if row.chosen { "*" } else { "" }.to_owned(),
            row.name.clone(),
            text(&row.firewall),
            text(&row.service),
            state.unwrap_or_else(|| "not read yet".to_owned()),
        ]
    });
    if !rows.is_empty() {
        let names = ["", "CONTEXT", "FIREWALL", "SERVICE", "AT THE LAST READING"];
        view.human.table(names.map(text_column).to_vec(), cells.collect());
    }
    context.terminal.show(&view)
}

fn describe_contexts(context: &Context) -> Vec<ContextRow> {
    let chosen = context.layers.chosen_context();
    let describe = |name: &String| {
        let is_chosen = chosen == Some(name);
        let found = context.in_context(name);
        let row = ContextRow {
            name: name.clone(),
            chosen: is_chosen,
            firewall: None,
            service: None,
            state: None,
            read_at: None,
            problem: None,
            host_key: None,
            place: None,
            paired: false,
        };
        let found = match found {
            Ok(found) => found,
            Err(failure) => {
                let problem = Some(failure.message);
                return ContextRow { problem, ..row };
            }
        };
        let firewall = found.firewall_name().to_owned();
        let service = service_name(&found.settings.service);
        let directory = found.memory_directory().ok();
        let remembered = found.layers.remembered_context(found.demo);
        let last: Option<LastReading> =
            directory.and_then(|directory| last_reading(&directory, remembered, &firewall));
        let host_key = last.as_ref().map(|last| last.host_key.clone());
        let last = last.filter(|last| last.service == service);
        let (state, read_at) = last.and_then(|last| last.state).unzip();
        ContextRow {
            service: Some(service),
            state,
            read_at,
            host_key: host_key.filter(|key| !key.is_empty()),
            place: Some(format!(
                "{firewall} {}",
                found.settings.firewall.target.port.unwrap_or(22)
            )),
            firewall: Some(firewall),
            paired: found.settings.firewall.peer.is_some(),
            ..row
        }
    };
    context.layers.contexts.keys().map(describe).collect()
}

/// Says which contexts have one box: by the host key that it presented at the last reading, else by its name and port. Behind
/// two ports of one name may be two boxes.
fn shared_boxes(rows: &[ContextRow]) -> Vec<Warning> {
    let mut boxes: BTreeMap<&str, Vec<&ContextRow>> = BTreeMap::new();
    for row in rows {
        let Some(place) = row.place.as_deref() else {
            continue;
        };
        // A context that was not read yet is where another one of that place is.
        let mut there = rows.iter().filter(|other| other.place.as_deref() == Some(place));
        let key = there.find_map(|other| other.host_key.as_deref());
        boxes.entry(key.unwrap_or(place)).or_default().push(row);
    }
    let shared = boxes.into_values().filter(|rows| rows.len() > 1);
    shared
        .map(|rows| {
            let names: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
            let mut firewalls: Vec<&str> =
                (rows.iter().filter_map(|row| row.firewall.as_deref())).collect();
            firewalls.dedup();
            let by = if firewalls.len() > 1 { ", by its host key" } else { "" };
            let (names, firewalls) = (names.join(", "), firewalls.join(", "));
            let sentence = format!("The contexts {names} have one firewall{by}: {firewalls}.");
            Warning::new("one-firewall", sentence)
        })
        .collect()
}

#[derive(Serialize)]
struct ContextAnswer {
    context: String,
    firewall: Option<String>,
    exit_code: u8,
    /// The command's own document; null where there is none.
    answer: Option<Value>,
    /// What it said beside; the error, where it failed.
    said: Vec<String>,
    #[serde(skip)]
    text: String,
}

/// Runs this command line once in every context, a few at a time, and shows all of it as one answer.
pub async fn run_in_contexts(context: &Context) -> Result<()> {
    let rows = describe_contexts(context);
    if rows.is_empty() {
        return Err(Failure::usage("The configuration has no contexts.")
            .hint("One is a table [contexts.NAME]; `kmsctl config contexts` lists them."));
    }
    look_in_contexts(context, &rows, |_| own_words()).await
}

/// Runs a command line once in each of these contexts, and shows all of it as one answer.
async fn look_in_contexts(
    context: &Context,
    rows: &[ContextRow],
    words: impl Fn(&ContextRow) -> Vec<OsString>,
) -> Result<()> {
    if context.terminal.mode == Mode::Csv {
        return Err(Failure::usage(
            "Of several firewalls there is no CSV: the answers have different columns.",
        )
        .hint("Take -o json or -o ndjson."));
    }
    let places = Semaphore::new(AT_A_TIME);
    let runs = rows.iter().map(async |row| {
        let _place = places.acquire().await;
        run_words(context, row, words(row)).await
    });
    let answers = work_or_interrupt(join_in_order(runs.collect())).await?;
    let answers = answers.into_iter().collect::<Result<Vec<ContextAnswer>>>()?;
    let data = serde_json::json!({ "contexts": answers });
    let mut view = View::new("contexts", context.clock.now(), &data)?;
    view.items = Some(("contexts", &[]));
    view.warnings = shared_boxes(rows);
    list_answers(&mut view, &answers);
    context.terminal.show(&view)?;
    let codes: Vec<u8> = answers.iter().map(|answer| answer.exit_code).collect();
    match deciding_kind(&codes) {
        None => Ok(()),
        Some(kind) => {
            let failed = answers.iter().filter(|answer| answer.exit_code != 0);
            let failed: Vec<String> =
                failed.map(|answer| format!("{} ({})", answer.context, answer.exit_code)).collect();
            let sentence = format!("Not as expected, or not known, in: {}.", failed.join(", "));
            Err(Failure::new(kind, sentence))
        }
    }
}

/// Adds the answers for people: a row for each, and then each whole.
fn list_answers(view: &mut View, answers: &[ContextAnswer]) {
    let firewall = |answer: &ContextAnswer| answer.firewall.clone().unwrap_or_else(|| "?".into());
    let columns = vec![
        text_column("CONTEXT"),
        text_column("FIREWALL"),
        number_column("EXIT CODE"),
        text_column("BEGINS WITH"),
    ];
    let rows = answers.iter().map(|answer| {
        let first = answer.text.lines().next().or(answer.said.first().map(String::as_str));
        let words: Vec<&str> = first.unwrap_or_default().split_whitespace().collect();
        let code = answer.exit_code.to_string();
        vec![answer.context.clone(), firewall(answer), code, words.join(" ")]
    });
    view.human.table(columns, rows.collect());
    for answer in answers {
        let (name, code) = (&answer.context, answer.exit_code);
        view.human.gap().line(format!("== {name} ({}), exit code {code}", firewall(answer)));
        // It is laid out already.
        for line in answer.text.lines() {
            view.human.verbatim(line);
        }
        for line in &answer.said {
            view.human.line(line);
        }
    }
}

/// Returns this command line without what chooses a context.
fn own_words() -> Vec<OsString> {
    let mut words = std::env::args_os().skip(1);
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        match word.to_str() {
            Some("--all-contexts" | "--no-pager" | "--alone") => {}
            Some("--context" | "--width") => drop(words.next()),
            Some(word) if word.starts_with("--context=") || word.starts_with("--width=") => {}
            _ => kept.push(word),
        }
    }
    kept
}

/// Returns the kind that decides about all, or `None` where every context is as expected.
fn deciding_kind(codes: &[u8]) -> Option<FailureKind> {
    let first = DECIDING.into_iter().find(|kind| codes.contains(&kind.exit_code()));
    first.or_else(|| codes.iter().any(|code| *code != 0).then_some(FailureKind::Failed))
}

/// Runs kmsctl with these words in one context, without its peer.
async fn run_words(
    context: &Context,
    row: &ContextRow,
    words: Vec<OsString>,
) -> Result<ContextAnswer> {
    let failed = |error: std::io::Error| {
        Failure::failed(format!("kmsctl cannot be run for the context {}: {error}.", row.name))
    };
    let program = std::env::current_exe().map_err(failed)?;
    let mut command = Command::new(program);
    command
        .args(["--context", &row.name, "--no-pager"])
        .args(context.terminal.width.map(|width| format!("--width={width}")))
        .args(row.paired.then_some("--alone"))
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn().map_err(failed)?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (stdout, stderr) =
        tokio::join!(read_bounded(stdout, LONGEST.0), read_bounded(stderr, LONGEST.1));
    let cut = stdout.len() as u64 > LONGEST.0;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let (stdout, stderr) = (text(stdout), text(stderr));
    let status = child.wait().await.map_err(failed)?;
    // What was ended by a signal has no code, and is no success.
    let exit_code = status.code().and_then(|code| u8::try_from(code).ok());
    let answers: Vec<Value> = match context.terminal.mode {
        Mode::Json => serde_json::from_str(&stdout).into_iter().collect(),
        Mode::Ndjson => {
            let lines = stdout.lines().map(serde_json::from_str);
            lines.filter_map(std::result::Result::ok).collect()
        }
        _ => Vec::new(),
    };
    let answer = match context.terminal.mode {
        Mode::Ndjson => Some(Value::Array(answers)),
        _ => answers.into_iter().next(),
    };
    let mut said: Vec<String> = stderr.lines().map(said_line).collect();
    if cut {
        said.push("The answer is longer than 16 MiB and was cut.".to_owned());
    }
    let exit_code = exit_code.filter(|code| !cut || *code != 0);
    Ok(ContextAnswer {
        context: row.name.clone(),
        firewall: row.firewall.clone(),
        exit_code: exit_code.unwrap_or(FailureKind::Failed.exit_code()),
        answer,
        said,
        text: stdout,
    })
}

/// Takes the sentence out of an error that is JSON.
fn said_line(line: &str) -> String {
    let error: Option<Value> = serde_json::from_str(line).ok();
    let message = error.as_ref().and_then(|error| error.pointer("/error/message")?.as_str());
    message.unwrap_or(line).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_the_codes_decides() {
        let code = |codes: &[u8]| deciding_kind(codes).map_or(0, FailureKind::exit_code);
        assert_eq!(code(&[0, 3, 5, 8]), 5);
        assert_eq!(code(&[8, 3]), 3);
        assert_eq!(code(&[0, 8, 0]), 8);
        assert_eq!(code(&[5, 2]), 2);
        assert_eq!(code(&[0, 1]), 1);
        assert_eq!(code(&[0, 101]), 1, "a crash is no success");
        assert_eq!(code(&[0, 0]), 0);
    }
}
