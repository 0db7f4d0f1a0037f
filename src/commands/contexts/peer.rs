//! A pair of nodes (`firewall.peer`): looks show both, changes of the table are planned on both, confirmed once and carried out
//! on each. Rules are changed on the primary alone, and `change::peer_proof` looks at the other node.

use std::ffi::OsString;
use std::path::Path;

use serde_json::Value;

use super::{ContextAnswer, ContextRow, describe_contexts, list_answers, own_words, run_words};
use crate::app::{Context, work_or_interrupt};
use crate::change::ChangeFlags;
use crate::error::{Failure, FailureKind, Result};
use crate::terminal::{View, prompt};
use crate::text::quoted_for_shell;

/// What a command means where the firewall is a pair.
#[derive(Clone, Copy)]
pub enum PairWork<'a> {
    /// It looks at both.
    Looks,
    /// It changes the table, which each node has for itself.
    ChangesTable(&'a ChangeFlags),
    /// It is about the context's own node, or about none; rules are, as the primary hands them on.
    Own,
}

/// Runs a command on both nodes, where the firewall is a pair and the command is about both; `None` leaves it to the
/// context's own node. `global` are the words of the command line that every command takes.
///
/// # Errors
/// Those of the nodes; 7 where one of them was changed and the other was not.
pub async fn run_on_pair(
    context: &Context,
    work: PairWork<'_>,
    global: &[OsString],
) -> Option<Result<()>> {
    let peer = context.settings.firewall.peer.as_deref()?;
    if matches!(work, PairWork::Own) {
        return None;
    }
    let rows = rows_of_pair(context, peer);
    Some(match work {
        PairWork::Looks => super::look_in_contexts(context, &rows, |_| own_words()).await,
        PairWork::ChangesTable(flags) => {
            let words = |_: &ContextRow| own_words();
            Box::pin(change_both_tables(context, &rows, words, flags, global)).await
        }
        PairWork::Own => Ok(()),
    })
}

/// Returns the nodes of the pair, the context's own first.
fn rows_of_pair(context: &Context, peer: &str) -> Vec<ContextRow> {
    let chosen = context.layers.chosen_context().unwrap_or_default();
    let mut rows = describe_contexts(context);
    rows.retain(|row| row.name == chosen || row.name == peer);
    rows.sort_by_key(|row| row.name != chosen);
    rows
}

/// Takes back what was changed on both nodes together: `own` here, and `other` on the peer.
///
/// # Errors
/// As [`run_on_pair`].
pub async fn undo_on_pair(
    context: &Context,
    (own, other): (&str, &str),
    peer: &str,
    flags: &ChangeFlags,
    global: &[OsString],
) -> Result<()> {
    let words = |row: &ContextRow| {
        let id = if row.name == peer { other } else { own };
        let reason = flags.reason.iter().flat_map(|reason| ["--reason", reason]);
        let dry_run = flags.dry_run.then_some("--dry-run");
        let words = ["undo", id].into_iter().chain(reason).chain(dry_run).map(OsString::from);
        global.iter().cloned().chain(words).collect()
    };
    let rows = rows_of_pair(context, peer);
    Box::pin(change_both_tables(context, &rows, words, flags, global)).await
}

async fn change_both_tables(
    context: &Context,
    rows: &[ContextRow],
    words: impl Fn(&ContextRow) -> Vec<OsString>,
    flags: &ChangeFlags,
    global: &[OsString],
) -> Result<()> {
    let reads_stdin = |row: &ContextRow| words(row).iter().any(|word| word == "-");
    if flags.plan_out.is_some() || rows.iter().any(reads_stdin) {
        return Err(Failure::usage(
            "On a pair there is a plan for each node, and addresses are arguments: --plan-out and - need --alone.",
        ));
    }
    flags.someone_can_confirm(context.terminal)?;
    if flags.dry_run {
        return super::look_in_contexts(context, rows, words).await;
    }
    let folder = tempfile::tempdir()
        .map_err(|error| Failure::failed(format!("A plan cannot be kept: {error}.")))?;
    let mut plans = Vec::new();
    for (number, row) in rows.iter().enumerate() {
        let file = folder.path().join(number.to_string());
        let saving = ["--plan-out".into(), file.clone().into_os_string()];
        let asked = words(row).into_iter().chain(saving).collect();
        let answer = work_or_interrupt(run_words(context, row, asked)).await??;
        if answer.exit_code != 0 {
            let alone = |row: &ContextRow| (row.name.clone(), alone_command(row, words(row)));
            return Err(unplanned(&answer, rows.iter().map(alone)));
        }
        plans.push((row, read_plan(&file), file, answer));
    }
    let host_keys = plans.iter().filter_map(|(_, plan, ..)| plan.get("host_key"));
    let host_keys: Vec<&Value> = host_keys.filter(|key| key.is_string()).collect();
    if let [one, other] = host_keys.as_slice()
        && one == other
    {
        return Err(Failure::new(
            FailureKind::Conflict,
            "Both contexts lead to one box, which is no pair. Nothing was changed.",
        ));
    }
    let nothing = plans.iter().all(|(_, plan, ..)| plan.is_null());
    if !flags.yes || nothing {
        for (row, _, _, answer) in &plans {
            context.terminal.say(&format!("== {}", row.name));
            for line in answer.text.lines().chain(answer.said.iter().map(String::as_str)) {
                context.terminal.say(line);
            }
        }
    }
    if nothing {
        return Ok(());
    }
    if !flags.yes && !prompt::ask_yes_no(context.terminal, "Change both nodes?")? {
        return Err(Failure::new(FailureKind::NotConfirmed, "Not confirmed; nothing was changed."));
    }
    let changes: Vec<Option<String>> = (plans.iter())
        .map(|(row, plan, ..)| Some(format!("{}/{}", row.name, plan.get("id")?.as_str()?)))
        .collect();
    let mut answers = Vec::new();
    for (number, (row, plan, file, answer)) in plans.into_iter().enumerate() {
        if plan.is_null() {
            answers.push((answer, String::new()));
            continue;
        }
        let command = plan.get("command").and_then(Value::as_str).unwrap_or("virusprot").to_owned();
        let interrupted = FailureKind::Interrupted.exit_code();
        // Ctrl-C reached the process that changes the first node: it is meant for both.
        if answers.iter().any(|(done, _): &(ContextAnswer, _)| done.exit_code == interrupted) {
            let said = vec!["Interrupted; this node was not changed.".to_owned()];
            let text = String::new();
            let not_begun =
                ContextAnswer { exit_code: interrupted, answer: None, said, text, ..answer };
            answers.push((not_begun, command));
            continue;
        }
        let mut other = changes.iter().enumerate().filter(|(place, _)| *place != number);
        let beside = other.find_map(|(_, change)| change.as_ref());
        let beside = beside.map(|change| OsString::from(format!("--beside={change}")));
        let flags = ["--yes", "--as-planned"].map(OsString::from).into_iter().chain(beside);
        let apply = ["apply".into(), file.into_os_string()].into_iter().chain(flags);
        let asked = global.iter().cloned().chain(apply).collect();
        answers.push((run_words(context, row, asked).await?, command));
    }
    report_both(context, answers)?;
    if let [Some(own), Some(_)] = changes.as_slice()
        && let Some((_, id)) = own.split_once('/')
    {
        context.terminal.hint(&format!("`kmsctl undo {id}` takes both back."));
    }
    Ok(())
}

/// Says what became of the nodes: done, done on one alone, or on none.
fn report_both(context: &Context, answers: Vec<(ContextAnswer, String)>) -> Result<()> {
    let (answers, commands): (Vec<ContextAnswer>, Vec<String>) = answers.into_iter().unzip();
    let data = serde_json::json!({ "contexts": answers });
    let mut view = View::new("contexts", context.clock.now(), &data)?;
    view.items = Some(("contexts", &[]));
    list_answers(&mut view, &answers);
    context.terminal.show(&view)?;
    let failed = answers.iter().zip(&commands);
    let mut failed = failed.filter(|(answer, _)| answer.exit_code != 0).peekable();
    let Some((first, _)) = failed.peek() else {
        return Ok(());
    };
    let is_done = |answer: &ContextAnswer| answer.exit_code == 0;
    let (kind, sentence) = if answers.iter().any(is_done) {
        let names = |done: bool| {
            let these = answers.iter().filter(|answer| is_done(answer) == done);
            let names: Vec<&str> = these.map(|answer| answer.context.as_str()).collect();
            names.join(", ")
        };
        let (done, not) = (names(true), names(false));
        let sentence = format!("Done on {done}, and not, or not provably, on {not}.");
        (FailureKind::Unproven, sentence)
    } else {
        let codes: Vec<u8> = answers.iter().map(|answer| answer.exit_code).collect();
        let kind = if codes.contains(&FailureKind::Unproven.exit_code()) {
            FailureKind::Unproven
        } else {
            super::deciding_kind(&[first.exit_code]).unwrap_or(FailureKind::Failed)
        };
        (kind, "Done, provably, on neither node.".to_owned())
    };
    let mut failure = Failure::new(kind, sentence);
    for (answer, command) in failed {
        let name = &answer.context;
        failure = failure.hint(format!("kmsctl --context {name} --alone {command}"));
    }
    Err(failure)
}

/// Makes a failure of a node that could not plan; `commands` are those that change each node by itself.
fn unplanned(answer: &ContextAnswer, commands: impl Iterator<Item = (String, String)>) -> Failure {
    let kinds = [FailureKind::Conflict, FailureKind::NotConfirmed, FailureKind::Unproven];
    let kind = kinds
        .into_iter()
        .find(|kind| kind.exit_code() == answer.exit_code)
        .or_else(|| super::deciding_kind(&[answer.exit_code]))
        .unwrap_or(FailureKind::Failed);
    let lines = answer.said.iter().map(String::as_str);
    let (hints, said): (Vec<&str>, Vec<&str>) = lines.partition(|line| line.starts_with("hint: "));
    let said: Vec<&str> =
        said.iter().map(|line| line.strip_prefix("error: ").unwrap_or(line)).collect();
    let sentence = format!("{}: {} Neither node was changed.", answer.context, said.join(" "));
    let mut failure = Failure::new(kind, sentence);
    failure.hints = hints.iter().map(|line| line.replacen("hint: ", "", 1)).collect();
    if kind != FailureKind::Unreachable {
        return failure;
    }
    for (name, command) in commands {
        failure = failure.hint(if name == answer.context {
            format!("When {name} is back: `{command}`")
        } else {
            format!("{name} alone, meanwhile: `{command}`")
        });
    }
    failure
}

/// Returns the command that does on one node what these words do on both.
fn alone_command(row: &ContextRow, words: Vec<OsString>) -> String {
    const WITH_VALUE: [&str; 5] = ["--color", "--config", "--output", "--timeout", "-o"];
    let mut kept = format!("kmsctl --context {} --alone", row.name);
    let is_group = |word: &OsString| word == "virusprot" || word == "undo";
    let mut words = words.into_iter().skip_while(|word| !is_group(word));
    while let Some(word) = words.next() {
        let word = word.to_string_lossy();
        let (flag, value) = word.split_once('=').unzip();
        if WITH_VALUE.contains(&flag.unwrap_or(&word)) {
            if value.is_none() {
                words.next();
            }
        } else if flag != Some("--demo") && word != "--demo" {
            kept.push_str(&format!(" {}", quoted_for_shell(&word)));
        }
    }
    kept
}

/// Reads a plan; null where there was nothing to plan.
fn read_plan(file: &Path) -> Value {
    let text = std::fs::read(file).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}
