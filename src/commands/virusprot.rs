//! `kmsctl virusprot`: who is blocked, since when and until when; is this address blocked; and freeing addresses.

mod change;
pub(super) mod history;
mod show;
mod test;

use std::collections::HashMap;
use std::net::IpAddr;

use clap::{Args as ClapArgs, Subcommand};
use serde::Serialize;

use super::log_side::KmsActivity;
use crate::app::{Context, answer_or_warning, require_answer};
use crate::change::ChangeFlags;
use crate::domain::virusprot::entries;
use crate::domain::virusprot::entries::Blocked;
use crate::domain::virusprot::expiry::{Expiry, Judged};
use crate::domain::warning::Warning;
use crate::error::Result;
use crate::pfsense::questions::{Question, Reading};
use crate::settings::values;
use crate::settings::values::TypedNetwork;
pub use show::{release_sentence, table_of};

/// Arguments of `kmsctl virusprot`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Block addresses by hand, on every interface and for every service, until expiry
    Add(change::Add),
    /// Free addresses; each is printed with its age
    Delete(change::Delete),
    /// Free the addresses that were blocked longer ago than this
    Expire(change::Expire),
    /// Free all addresses; `kmsctl undo` puts them back
    Flush(change::Flush),
    /// Show who was blocked when, also those that are gone, from the exporter's record
    History(history::History),
    /// Show who is blocked: since when, until when, by what it is released
    Show(show::Show),
    /// Test whether addresses are blocked: exit 0 when all are, 3 when at least one is not
    Test {
        /// IPv4 or IPv6 addresses, or networks: of those any entry within counts
        #[arg(required = true, value_name = "ADDR", value_parser = values::parse_typed_network)]
        addresses: Vec<TypedNetwork>,
    },
}

/// The questions whose answers [`assess_table`] needs.
pub const QUESTIONS: &[Question] = &[
    Question::Client,
    Question::Interfaces,
    Question::Gateway,
    Question::Table,
    Question::States(None),
    Question::Crontab,
];

impl Args {
    pub fn change_flags(&self) -> Option<&ChangeFlags> {
        match &self.command {
            Command::Add(arguments) => Some(&arguments.flags),
            Command::Delete(arguments) => Some(&arguments.flags),
            Command::Expire(arguments) => Some(&arguments.flags),
            Command::Flush(arguments) => Some(&arguments.flags),
            Command::History(_) | Command::Show(_) | Command::Test { .. } => None,
        }
    }

    /// Returns whether the table, or its history, is shown, once.
    pub fn shows_once(&self) -> bool {
        match &self.command {
            Command::History(_) => true,
            Command::Show(arguments) => !arguments.watch.is_on(),
            _ => false,
        }
    }
}

/// Runs `kmsctl virusprot …`.
pub async fn run_virusprot(context: &Context, arguments: &Args) -> Result<()> {
    match &arguments.command {
        Command::Add(arguments) => change::block_addresses(context, arguments).await,
        Command::Delete(arguments) => change::delete_addresses(context, arguments).await,
        Command::Expire(arguments) => change::expire_addresses(context, arguments).await,
        Command::Flush(arguments) => change::flush_table(context, arguments).await,
        Command::History(arguments) => history::show_history(context, arguments).await,
        Command::Show(arguments) => show::show_blocked(context, arguments).await,
        Command::Test { addresses } => test::test_addresses(context, addresses).await,
    }
}

/// The overload table, judged: the data of `virusprot.show`.
#[derive(Debug, Serialize)]
pub struct TableView {
    table: String,
    pub expiry: Judged,
    pub entries: Vec<Blocked>,
}

impl TableView {
    /// Returns the newest entries, newest first.
    pub fn newest(&self, most: usize) -> Vec<Blocked> {
        let mut entries = self.entries.clone();
        show::order_entries(&mut entries, show::Sort::Newest);
        entries.truncate(most);
        entries
    }
}

/// Judges the table of a reading, or of it what is older than so many seconds; what is missing becomes a warning, only the
/// table itself is needed.
pub fn assess_table(
    context: &Context,
    reading: &Reading,
    heard: &KmsActivity,
    older_than: Option<u64>,
    warnings: &mut Vec<Warning>,
) -> Result<TableView> {
    let entries = require_answer(&reading.table)?;
    let table = &context.settings.service.table;
    // What cron runs decides; pfSense writes its crontab from config.xml, though not at every write.
    let expiry = answer_or_warning(&reading.crontab, "When entries are released", warnings)
        .map_or_else(Expiry::unread, |items| Expiry::find(items, table));
    if let Ok(configured) = &reading.configured
        && Expiry::find(&configured.cron, table) != expiry
    {
        warnings.push(Warning::new(
            "expiry-differs",
            format!(
                "config.xml has another cron job for {} than cron runs; what cron runs is shown.",
                table.as_str()
            ),
        ));
    }
    answer_or_warning(&reading.states, "Live states", warnings);
    // Without the configuration (it costs a PHP start) what is forwarded to the port counts.
    let situation = context.situation(reading);
    let sources = situation.sources().iter();
    let states: HashMap<IpAddr, u64> =
        sources.map(|source| (source.address, source.states)).collect();
    let live = |net: &ipnet::IpNet| {
        if net.prefix_len() == net.max_prefix_len() {
            states.get(&net.addr()).copied().unwrap_or_default()
        } else {
            states
                .iter()
                .filter(|(address, _)| net.contains(*address))
                .map(|(_, count)| count)
                .sum()
        }
    };
    let (now, zone) = (reading.clock.now, &reading.clock.zone);
    let expiry = Judged::of(expiry, entries, now, zone);
    let around = context.surroundings(reading);
    warnings.extend(Context::surroundings_unknown(&around));
    let mut judged = entries::judge_entries(entries, &expiry, now, zone, &around, live);
    entries::mark_customers(&mut judged, &heard.clients);
    judged.retain(|entry| {
        older_than.is_none_or(|limit| entry.age_seconds.is_none_or(|age| age > limit))
    });
    warnings.extend(entries::blocked_warnings(&judged, &expiry, table));
    Ok(TableView { table: table.as_str().to_owned(), expiry, entries: judged })
}
