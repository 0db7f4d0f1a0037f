//! `kmsctl virusprot`: who is blocked, since when and until when; is this address blocked?

use std::collections::HashMap;
use std::net::IpAddr;

use clap::{Args as ClapArgs, Subcommand, ValueEnum};
use serde::Serialize;

use super::context::{Context, needed, wanted};
use super::watch::{self, Watch};
use crate::domain::address::canonical;
use crate::domain::blocked::{self, Blocked};
use crate::domain::connections::{self, Half, half_among};
use crate::domain::expiry::Expiry;
use crate::domain::pf::table::Found;
use crate::domain::warning::Warning;
use crate::error::{Failure, Kind, Result};
use crate::firewall::facts::{Question, Reading};
use crate::settings::values;
use crate::terminal::human::{left, right, span};
use crate::terminal::{Tone, View};

/// Arguments of `kmsctl virusprot`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show who is blocked: since when, until when, by what it is released
    Show(Show),
    /// Test whether addresses are blocked: exit 0 when all are, 3 when at least one is not
    Test {
        /// IPv4 or IPv6 addresses
        #[arg(required = true, value_name = "ADDR", value_parser = values::address)]
        addresses: Vec<IpAddr>,
    },
}

#[derive(Debug, ClapArgs)]
struct Show {
    /// Only entries older than this, such as 2h
    #[arg(long, value_name = "DURATION")]
    older_than: Option<String>,
    /// Order of the entries
    #[arg(long, value_enum, default_value_t)]
    sort: Sort,
    #[command(flatten)]
    watch: Watch,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Sort {
    /// By address
    Address,
    /// Newest first
    #[default]
    Newest,
    /// Oldest first
    Oldest,
    /// Next released first
    Release,
    /// Most live states first
    States,
}

/// The questions whose answers [`assess`] needs.
pub const QUESTIONS: &[Question] = &[
    Question::Client,
    Question::Interfaces,
    Question::Gateway,
    Question::Table,
    Question::States(None),
    Question::Crontab,
];

/// Runs `kmsctl virusprot …`.
pub async fn run(context: &Context, arguments: &Args) -> Result<()> {
    match &arguments.command {
        Command::Show(arguments) => {
            let older_than = arguments
                .older_than
                .as_deref()
                .map(values::duration)
                .transpose();
            let older_than = older_than
                .map_err(|problem| Failure::usage(format!("--older-than: {problem}.")))?;
            let older_than = older_than.map(|duration| duration.as_secs());
            let build = |reading: &Reading, _: Option<&Reading>| {
                show(context, reading, older_than, arguments.sort)
            };
            watch::show(context, QUESTIONS, &arguments.watch, build).await
        }
        Command::Test { addresses } => test(context, addresses).await,
    }
}

/// The overload table, judged: the data of `virusprot.show`.
#[derive(Debug, Serialize)]
#[expect(clippy::struct_field_names, reason = "the keys of the schema")]
pub struct Table {
    table: String,
    /// What lets entries go.
    pub expiry: Expiry,
    /// The entries.
    pub entries: Vec<Blocked>,
}

impl Table {
    /// Returns the newest entries, newest first.
    pub fn newest(&self, most: usize) -> Vec<Blocked> {
        let mut entries = self.entries.clone();
        order(&mut entries, Sort::Newest);
        entries.truncate(most);
        entries
    }
}

/// Judges the table of a reading; what is missing becomes a warning, only the table itself is needed.
pub fn assess(context: &Context, reading: &Reading, warnings: &mut Vec<Warning>) -> Result<Table> {
    let entries = needed(&reading.table)?;
    let table = &context.settings.service.table;
    // What cron runs decides; pfSense writes its crontab from config.xml, though not at every write.
    let expiry = wanted(&reading.crontab, "When entries are released", warnings)
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
    let mut states: HashMap<IpAddr, u64> = HashMap::new();
    // Without the configuration (it costs a PHP start) what is forwarded to the port counts.
    let members = reading.configured.as_ref().ok().map(|configured| {
        let alias = configured.alias.as_ref();
        let text = alias.and_then(|alias| alias.address.as_deref());
        let names = text.unwrap_or_default().split_ascii_whitespace();
        connections::members(&names.map(str::to_owned).collect::<Vec<String>>())
    });
    for state in wanted(&reading.states, "Live states", warnings)
        .map(Vec::as_slice)
        .unwrap_or_default()
    {
        let half = half_among(state, &context.settings.service, members.as_deref());
        if let Some(Half::Client { .. }) = half {
            *states.entry(canonical(state.right.address)).or_default() += 1;
        }
    }
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
    let around = context.surroundings(reading);
    let judged = blocked::judge(
        entries,
        &expiry,
        reading.clock.now,
        &reading.clock.zone,
        &around,
        live,
    );
    warnings.extend(blocked::warnings(&judged, &expiry, table));
    Ok(Table {
        table: table.as_str().to_owned(),
        expiry,
        entries: judged,
    })
}

fn show(context: &Context, reading: &Reading, older_than: Option<u64>, sort: Sort) -> Result<View> {
    let mut warnings = Vec::new();
    let mut table = assess(context, reading, &mut warnings)?;
    let all = table.entries.len();
    table.entries.retain(|entry| {
        older_than.is_none_or(|limit| entry.age_seconds.is_some_and(|age| age > limit))
    });
    order(&mut table.entries, sort);
    let mut view = context.view("virusprot.show", reading, &table)?;
    view.items = Some((
        "entries",
        &[
            "address",
            "added_at",
            "age_seconds",
            "release_at",
            "states",
            "flags",
        ],
    ));
    view.warnings.extend(warnings);
    let shown = table.entries.len();
    if shown == 0 {
        view.empty = Some(match all {
            0 => format!("No addresses are blocked: {} is empty.", table.table),
            _ => format!("None of the {all} blocked addresses is that old."),
        });
        return Ok(view);
    }
    let of_all = if shown == all {
        String::new()
    } else {
        format!(" of {all}")
    };
    view.human.line(format!(
        "{shown}{of_all} blocked in {}, on every port and interface. {}",
        table.table,
        releases(&table.expiry, reading)
    ));
    view.human.gap();
    table_of(&mut view, reading, &table.entries);
    Ok(view)
}

/// Tells what lets entries go, and when it does next.
pub fn releases(expiry: &Expiry, reading: &Reading) -> String {
    match expiry {
        Expiry::Cron {
            older_than_seconds,
            schedule,
            ..
        } => {
            let (now, zone) = (reading.clock.now, &reading.clock.zone);
            let next = schedule
                .next(now, zone)
                .map(|at| at.strftime(" (next at %H:%M:%S UTC)").to_string());
            format!(
                "Cron frees those older than {} at `{schedule}`{}.",
                span(*older_than_seconds),
                next.unwrap_or_default()
            )
        }
        Expiry::None => "Nothing frees them: no cron job is configured.".to_owned(),
        Expiry::Unknown { why } => format!("What frees them is unknown: {why}."),
    }
}

/// Adds the table of entries for people.
pub fn table_of(view: &mut View, reading: &Reading, entries: &[Blocked]) {
    let now = reading.clock.now;
    let rows = entries.iter().map(|entry| {
        let flags: Vec<&str> = entry.flags.iter().map(|flag| flag.word()).collect();
        vec![
            entry.address.clone(),
            entry.added_at.map_or_else(
                || "unknown".to_owned(),
                |at| at.strftime("%Y-%m-%d %H:%M:%S").to_string(),
            ),
            entry.age_seconds.map_or_else(|| "-".to_owned(), span),
            entry.release_at.map_or_else(
                || "never".to_owned(),
                |at| format!("in {}", span(blocked::age(now, at))),
            ),
            entry.states.to_string(),
            flags.join(" "),
        ]
    });
    let columns = vec![
        left("ADDRESS"),
        left("SINCE (UTC)"),
        right("AGE"),
        left("RELEASED"),
        right("STATES"),
        left("FLAGS"),
    ];
    view.human.table(columns, rows.collect());
}

fn order(entries: &mut [Blocked], sort: Sort) {
    match sort {
        Sort::Address => entries.sort_by_key(|entry| entry.net),
        Sort::Newest => entries.sort_by_key(|entry| (std::cmp::Reverse(entry.added_at), entry.net)),
        Sort::Oldest => entries.sort_by_key(|entry| (entry.added_at, entry.net)),
        Sort::Release => {
            entries.sort_by_key(|entry| (entry.release_at.is_none(), entry.release_at, entry.net));
        }
        Sort::States => entries.sort_by_key(|entry| (std::cmp::Reverse(entry.states), entry.net)),
    }
}

#[derive(Serialize)]
struct Tested {
    address: IpAddr,
    blocked: bool,
    /// The entry that decided: the address itself, or a network around it.
    entry: Option<String>,
}

async fn test(context: &Context, addresses: &[IpAddr]) -> Result<()> {
    let reading = context.read(&[Question::Test(addresses.to_vec())]).await?;
    let marks = needed(&reading.tested)?;
    let mut tested = Vec::new();
    for address in addresses {
        let Some(mark) = marks.iter().find(|mark| mark.net.addr() == *address) else {
            return Err(Failure::failed(format!(
                "The firewall's answer does not speak of {address}; nothing is known about it."
            )));
        };
        let entry = match mark.found {
            Some(Found::Entry {
                negated: false,
                net,
            }) => Some(if net.prefix_len() == net.max_prefix_len() {
                net.addr().to_string()
            } else {
                net.to_string()
            }),
            _ => None,
        };
        tested.push(Tested {
            address: *address,
            blocked: mark.mark == crate::domain::pf::table::Mark::Match,
            entry,
        });
    }
    let free = tested.iter().filter(|tested| !tested.blocked).count();
    let data =
        serde_json::json!({ "table": context.settings.service.table.as_str(), "tested": tested });
    let mut view = context.view("virusprot.test", &reading, &data)?;
    view.items = Some(("tested", &["address", "blocked", "entry"]));
    for tested in &tested {
        let (word, tone) = if tested.blocked {
            ("blocked", Tone::Bad)
        } else {
            ("not blocked", Tone::Good)
        };
        let by = tested
            .entry
            .as_deref()
            .filter(|entry| *entry != tested.address.to_string());
        let by = by
            .map(|entry| format!(" (as part of {entry})"))
            .unwrap_or_default();
        view.human
            .field(&tested.address.to_string(), format!("{word}{by}"), tone);
    }
    context.terminal.show(&view)?;
    match free {
        0 => Ok(()),
        _ => Err(Failure::new(
            Kind::No,
            format!("{free} of {} not blocked.", tested.len()),
        )),
    }
}
