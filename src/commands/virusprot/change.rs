//! `kmsctl virusprot add|delete|expire|flush`: blocks or frees addresses. What is planned is `domain::plan`'s, how it is done the
//! procedure's.

use std::io::{IsTerminal as _, Read as _};

use clap::Args as ClapArgs;

use crate::app::{Context, require_answer};
use crate::change;
use crate::change::ChangeFlags;
use crate::commands::log_side;
use crate::domain::pf::table::TableName;
use crate::domain::plan::{
    Address, Planned, SourceCounts, TableChoice, block, check_blockable, plan_freeing,
};
use crate::domain::virusprot::entries::Surroundings;
use crate::domain::virusprot::expiry::Expiry;
use crate::error::{Failure, Result};
use crate::pfsense::questions::{Question, Reading};
use crate::settings::values;
use crate::settings::values::TypedNetwork;
use crate::text::{counted, format_span};

/// The longest list of addresses on stdin, in bytes.
const LONGEST_LIST: u64 = 32 << 20;
/// So many addresses are named in the history's command line.
const NAMED: usize = 5;

#[derive(Clone, Copy, Debug, ClapArgs)]
pub(super) struct KeepCount {
    /// Leave what pf counted of the addresses: the next connection may block them again
    #[arg(long)]
    keep_count: bool,
}

/// Arguments of `kmsctl virusprot delete`.
#[derive(Debug, ClapArgs)]
pub(super) struct Delete {
    /// IPv4 or IPv6 addresses, or networks, of which every entry within is freed; `-` reads them from stdin
    #[arg(required = true, value_name = "ADDR", value_parser = parse_table_word)]
    addresses: Vec<TableWord>,
    #[command(flatten)]
    counts: KeepCount,
    #[command(flatten)]
    pub(super) flags: ChangeFlags,
}

/// Arguments of `kmsctl virusprot add`.
#[derive(Debug, ClapArgs)]
pub(super) struct Add {
    /// IPv4 or IPv6 addresses or networks; `-` reads them from stdin
    #[arg(required = true, value_name = "ADDR", value_parser = parse_table_word)]
    addresses: Vec<TableWord>,
    #[command(flatten)]
    pub(super) flags: ChangeFlags,
}

/// Arguments of `kmsctl virusprot expire`.
#[derive(Debug, ClapArgs)]
pub(super) struct Expire {
    /// Free entries older than this; pfSense's own job, where it runs, frees them after an hour or two
    #[arg(long, value_name = "DURATION", default_value = "24h")]
    older_than: String,
    #[command(flatten)]
    counts: KeepCount,
    #[command(flatten)]
    pub(super) flags: ChangeFlags,
}

/// Arguments of `kmsctl virusprot flush`.
#[derive(Debug, ClapArgs)]
pub(super) struct Flush {
    #[command(flatten)]
    counts: KeepCount,
    #[command(flatten)]
    pub(super) flags: ChangeFlags,
}

/// What was typed for an address.
#[derive(Clone, Copy, Debug)]
enum TableWord {
    Address(TypedNetwork),
    Stdin,
}

fn parse_table_word(text: &str) -> Result<TableWord, String> {
    if text == "-" {
        return Ok(TableWord::Stdin);
    }
    values::parse_typed_network(text).map(TableWord::Address)
}

/// Runs `kmsctl virusprot delete`.
pub(super) async fn delete_addresses(context: &Context, arguments: &Delete) -> Result<()> {
    let addresses = meant_addresses(context, &arguments.flags, &arguments.addresses)?;
    let command = command_line("virusprot delete", &addresses);
    change_entries(
        context,
        &arguments.flags,
        arguments.counts,
        command,
        TableChoice::Within(addresses),
    )
    .await
}

/// Runs `kmsctl virusprot add`.
pub(super) async fn block_addresses(context: &Context, arguments: &Add) -> Result<()> {
    let addresses = meant_addresses(context, &arguments.flags, &arguments.addresses)?;
    check_blockable(&addresses, &context.configured_surroundings())?;
    arguments.flags.someone_can_confirm(context.terminal)?;
    let command = command_line("virusprot add", &addresses);
    let heard = Box::pin(log_side::fetch_kms_activity(context)).await;
    let unknown: Vec<&str> =
        heard.side.iter().flat_map(|side| side.unknown.iter().map(String::as_str)).collect();
    let plan = |reading: &Reading| {
        let entries = require_answer(&reading.table)?;
        let table = &context.settings.service.table;
        let around = Surroundings {
            customers: heard.clients.clone(),
            customers_unknown: (!unknown.is_empty()).then(|| unknown.join(" ")),
            ..context.surroundings(reading)
        };
        Ok(block(entries, &addresses, table, &around)?)
    };
    change::ChangeRun::new(context, &arguments.flags, &command, change::BLOCKING).run(plan).await
}

/// Returns what was typed, and what is listed on stdin where `-` was.
fn meant_addresses(
    context: &Context,
    flags: &ChangeFlags,
    words: &[TableWord],
) -> Result<Vec<Address>> {
    let mut addresses = Vec::new();
    for word in words {
        match word {
            TableWord::Address(typed) => {
                context.say_dropped_ports(&[*typed]);
                addresses.push(Address::new(typed.net));
            }
            TableWord::Stdin => {
                // An operator who typed `-` at a terminal should not type a list for nothing.
                if std::io::stdin().is_terminal() {
                    flags.someone_can_confirm(context.terminal)?;
                }
                addresses.extend(listed_addresses()?);
            }
        }
    }
    Ok(addresses)
}

fn command_line(command: &str, addresses: &[Address]) -> String {
    match addresses.len() {
        0..=NAMED => {
            let names: Vec<String> = addresses.iter().map(Address::to_string).collect();
            format!("{command} {}", names.join(" "))
        }
        count => format!("{command} - ({count} addresses)"),
    }
}

/// Runs `kmsctl virusprot expire`.
pub(super) async fn expire_addresses(context: &Context, arguments: &Expire) -> Result<()> {
    let limit = values::parse_duration(&arguments.older_than)
        .map_err(|problem| Failure::usage(format!("--older-than: {problem}.")))?;
    let command = format!("virusprot expire --older-than {}", arguments.older_than);
    change_entries(
        context,
        &arguments.flags,
        arguments.counts,
        command,
        TableChoice::OlderThan(limit.as_secs()),
    )
    .await
}

/// Runs `kmsctl virusprot flush`.
pub(super) async fn flush_table(context: &Context, arguments: &Flush) -> Result<()> {
    change_entries(
        context,
        &arguments.flags,
        arguments.counts,
        "virusprot flush".to_owned(),
        TableChoice::All,
    )
    .await
}

async fn change_entries(
    context: &Context,
    flags: &ChangeFlags,
    KeepCount { keep_count }: KeepCount,
    mut command: String,
    choice: TableChoice,
) -> Result<()> {
    let mut questions = if keep_count {
        command.push_str(" --keep-count");
        vec![Question::Table]
    } else {
        change::FREEING.to_vec()
    };
    if matches!(choice, TableChoice::OlderThan(_)) {
        questions.push(Question::Crontab);
    }
    let plan = |reading: &Reading| {
        let entries = require_answer(&reading.table)?;
        let table = &context.settings.service.table;
        let counts =
            if keep_count { SourceCounts::Kept } else { change::source_counts(context, reading) };
        let now = reading.clock.now;
        let planned = plan_freeing(entries, &choice, table, now, &counts)?;
        // All that is read is not all that is there.
        let means_all =
            matches!(choice, TableChoice::All) || matches!(planned, Planned::NothingToDo(_));
        if means_all && reading.table_unread > 0 {
            return Err(unknown_entries(reading.table_unread, table));
        }
        Ok(match planned {
            Planned::NothingToDo(sentence) => {
                let job = pointless_clause(reading, &choice, table);
                Planned::NothingToDo(sentence + &job.unwrap_or_default())
            }
            planned @ Planned::Change(_) => planned,
        })
    };
    change::ChangeRun::new(context, flags, &command, &questions).run(plan).await
}

/// Refuses to say that there is nothing to do, or to free all, where an entry was not understood.
fn unknown_entries(count: usize, table: &TableName) -> Failure {
    let table = table.as_str();
    let lines = counted(count, "line", "lines");
    Failure::failed(format!(
        "{lines} of {table} cannot be read, so it is not known what there is to do."
    ))
    .hint(format!("See every entry on the firewall: `pfctl -t {table} -T show`"))
}

/// Says where entries never get as old as those that are to be freed: a cron job frees them before.
fn pointless_clause(reading: &Reading, choice: &TableChoice, table: &TableName) -> Option<String> {
    let TableChoice::OlderThan(limit) = choice else {
        return None;
    };
    let Expiry::Cron { older_than_seconds, schedule, .. } =
        Expiry::find(reading.crontab.as_ref().ok()?, table)
    else {
        return None;
    };
    (older_than_seconds <= *limit).then(|| {
        format!(
            " Cron frees those older than {} at `{schedule}`, so this has something to do only where that job does not run.",
            format_span(older_than_seconds)
        )
    })
}

/// Reads addresses from stdin: separated by white space, `#` begins a comment. Rubbish is refused as a whole, with
/// the first line that holds it: half a list was never meant.
fn listed_addresses() -> Result<Vec<Address>> {
    let mut text = String::new();
    std::io::stdin()
        .lock()
        .take(LONGEST_LIST + 1)
        .read_to_string(&mut text)
        .map_err(|error| Failure::usage(format!("The list on stdin cannot be read: {error}.")))?;
    if text.len() as u64 > LONGEST_LIST {
        return Err(Failure::usage("The list on stdin is longer than 32 MiB."));
    }
    parse_list(&text)
}

fn parse_list(text: &str) -> Result<Vec<Address>> {
    let (mut addresses, mut wrong) = (Vec::new(), Vec::new());
    for (number, line) in (1..).zip(text.lines()) {
        let words = line.split('#').next().unwrap_or_default();
        for word in words.split_whitespace() {
            match values::parse_typed_network(word) {
                Ok(typed) => addresses.push(Address::new(typed.net)),
                Err(_) => wrong
                    .push(format!("line {number}: {}", word.chars().take(60).collect::<String>())),
            }
        }
    }
    if let Some(first) = wrong.first() {
        let more = match wrong.len() - 1 {
            0 => String::new(),
            more => format!(" (and {more} more)"),
        };
        return Err(Failure::usage(format!(
            "The list on stdin holds something that is no address and no network, {first}{more}; nothing was changed."
        )));
    }
    if addresses.is_empty() {
        return Err(Failure::usage("The list on stdin holds no address; nothing was changed."));
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_may_have_comments_and_several_to_a_line() {
        let list = parse_list("192.0.2.1 2001:db8::1 # two\n\n# none\n203.0.113.0/24\r\n").unwrap();
        let names: Vec<String> = list.iter().map(Address::to_string).collect();
        assert_eq!(names, ["192.0.2.1", "2001:db8::1", "203.0.113.0/24"]);
    }

    #[test]
    fn rubbish_in_a_list_is_named_with_its_line() {
        let message = parse_list("192.0.2.1\nkms.example\n-f\n").unwrap_err().message;
        assert!(message.contains("line 2: kms.example (and 1 more)"), "{message}");
    }
}
