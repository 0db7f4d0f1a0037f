//! `kmsctl ratelimit preview`: who caps would have cut, by the connections of the KMS server's log; and the same in one
//! sentence for the plans of `ratelimit tighten|loosen|set`.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args as ClapArgs};
use jiff::Timestamp;
use serde::Serialize;

use super::change::{CapValue, parse_connections_cap, parse_rate_cap};
use crate::app::{Context, answer_or_warning, work_or_interrupt};
use crate::change::report;
use crate::commands::exporter::RecordPlace;
use crate::commands::notifier::logs::{MOST_LINES, read_server_file};
use crate::commands::notifier::replay::{cannot_read, not_of_server, open_saved_log};
use crate::commands::notifier::status::{
    configured_kubectl, find_notifier_pods, kubectl_or_interrupt,
};
use crate::commands::virusprot::history::read_record;
use crate::domain::address::is_private;
use crate::domain::kms_log::line::LogLines;
use crate::domain::notifier::decide::DecisionRules;
use crate::domain::notifier::source::ClientSource;
use crate::domain::overload::Generation;
use crate::domain::pf::rule::Rate;
use crate::domain::pf::table::TableName;
use crate::domain::plan;
use crate::domain::plan::Risk;
use crate::domain::ratelimit::preview::{
    BlockedSource, ConnectionReader, CutSource, DAY, SPARKLINE_LEGEND, SeenConnections,
    cuts_sentence, preview_caps, tripping_sources,
};
use crate::domain::ratelimit::{Caps, is_wider, preset_of};
use crate::domain::virusprot::block_log::{BlockEvent, HandBlocks, periods_between};
use crate::domain::virusprot::entries::entry_text;
use crate::domain::virusprot::expiry::{Expiry, Judged};
use crate::domain::warning::Warning;
use crate::error::{Failure, FailureKind, Result};
use crate::pfsense::questions::{Question, Reading};
use crate::settings::values;
use crate::terminal::human::{number_column, text_column};
use crate::terminal::{Tone, View};
use crate::text::{counted, format_span, whole_second};
use crate::vantage::inside::inside_kubectl;

/// A log that begins so many seconds later than asked for reaches back far enough: nothing need have happened before.
const SLACK: i64 = 60;

const NAMED_GAPS: usize = 3;

/// Arguments of `kmsctl ratelimit preview`.
#[derive(Debug, ClapArgs)]
#[command(group = ArgGroup::new("wanted").multiple(true))]
pub(super) struct PreviewArgs {
    /// A preset of the configuration; neither it nor caps, those that are loaded
    #[arg(value_name = "PRESET", group = "wanted", conflicts_with_all = ["max_src_conn", "rate"])]
    preset: Option<String>,
    /// Simultaneous connections per source, or `none`; not given, as loaded
    #[arg(long, value_name = "N", group = "wanted", value_parser = parse_connections_cap)]
    max_src_conn: Option<CapValue<u32>>,
    /// New connections per source within seconds, or `none`; not given, as loaded
    #[arg(long, value_name = "N/SECONDS", group = "wanted", value_parser = parse_rate_cap)]
    rate: Option<CapValue<Rate>>,
    /// How far back, from now or from the end of the file; customers are those activated in that time, or in its last 24 hours
    #[arg(long, value_name = "DURATION", default_value = "24h")]
    since: String,
    /// The KMS server's log, packed or not; - reads it from stdin [default: the file in the pod, through kubectl]
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    log: Option<PathBuf>,
}

/// The data of `ratelimit.preview`.
#[derive(Debug, Serialize)]
struct Preview {
    caps: Caps,
    preset: Option<String>,
    loaded: Option<Caps>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    connections: usize,
    /// Sources that would have been blocked: by the log, and where these caps let no more through than those that are
    /// loaded also who was in the table.
    cut: usize,
    /// How many of them are customers.
    customers: usize,
    borderline: usize,
    /// Where the log has no line for long.
    gaps: Vec<LogSpan>,
    /// Where its clock steps back; what was opened before is not counted together with what was opened after it.
    clock_steps: Vec<LogSpan>,
    /// More could have been cut: what the loaded caps refuse is not in the log.
    lower_bound: bool,
    /// Who was in the table in that time, and would not have been cut by the log alone.
    blocked: Vec<BlockedSource>,
    /// The sources that the loaded caps have blocked trip these as well.
    #[serde(skip)]
    includes_blocked: bool,
    /// No cron job frees an address, for people.
    #[serde(skip)]
    never_freed: bool,
    /// How much of the log was looked at, for people.
    #[serde(skip)]
    span: String,
    /// Whom the loaded caps would have blocked, where these let more through, and who was in the table, for people.
    #[serde(skip)]
    present: Option<String>,
    #[serde(skip)]
    in_table: Option<String>,
    sources: Vec<SourceRow>,
    /// Those that the log shows.
    #[serde(skip)]
    by_log: Vec<CutSource>,
}

/// Two stamps of the log, one behind the other.
#[derive(Debug, Serialize)]
struct LogSpan {
    from: Timestamp,
    until: Timestamp,
}

impl LogSpan {
    fn list(spans: &[(i64, i64)]) -> Vec<Self> {
        let stamps = spans.iter().filter_map(|(from, until)| {
            let [from, until] = [*from, *until].map(|at| Timestamp::from_second(at).ok());
            Some(Self { from: from?, until: until? })
        });
        stamps.collect()
    }
}

/// What is said of a source that was in the table, where the log alone does not show that it would have been cut.
const IN_TABLE: &str = "in-table";

/// One source of the sum, or one that only could have been cut.
#[derive(Debug, Serialize)]
struct SourceRow {
    /// The address; of an entry of the table also a network with its prefix length.
    address: String,
    connections: u64,
    activations: u64,
    customer: bool,
    /// It is one of those that `cut` counts.
    counted: bool,
    /// When it would have been cut first, or when it was blocked.
    cut_at: Option<Timestamp>,
    /// The cap, or `in-table`.
    by: &'static str,
    borderline: bool,
    released_at: Option<Timestamp>,
    blocked_seconds: Option<u64>,
    cuts: u64,
    refused: u64,
    #[serde(skip)]
    sparkline: String,
}

impl From<&CutSource> for SourceRow {
    fn from(cut: &CutSource) -> Self {
        Self {
            address: cut.address.to_string(),
            connections: cut.connections,
            activations: cut.activations,
            customer: cut.customer,
            counted: cut.cuts > 0,
            cut_at: Some(cut.cut_at),
            by: cut.by.name(),
            borderline: cut.borderline,
            released_at: cut.released_at,
            blocked_seconds: cut.blocked_seconds,
            cuts: cut.cuts,
            refused: cut.refused,
            sparkline: cut.sparkline.clone(),
        }
    }
}

impl SourceRow {
    fn of_table(blocked: &BlockedSource, seen: &SeenConnections) -> Self {
        let address: Option<IpAddr> = blocked.address.parse().ok();
        Self {
            address: blocked.address.clone(),
            connections: address.map_or(0, |address| seen.connections_of(address)),
            activations: address.map_or(0, |address| seen.activations_of(address)),
            customer: blocked.customer,
            counted: true,
            cut_at: blocked.blocked_at,
            by: IN_TABLE,
            borderline: false,
            released_at: None,
            blocked_seconds: None,
            cuts: 0,
            refused: 0,
            sparkline: String::new(),
        }
    }

    /// Lists the sources that the log shows, and `also` those that were in the table; a source that is in both is one row.
    fn list(by_log: &[CutSource], also: &[BlockedSource], seen: &SeenConnections) -> Vec<Self> {
        let mut also: BTreeMap<&str, &BlockedSource> =
            also.iter().map(|blocked| (blocked.address.as_str(), blocked)).collect();
        let mut rows: Vec<Self> = by_log.iter().map(Self::from).collect();
        for row in &mut rows {
            row.counted |= also.remove(row.address.as_str()).is_some();
        }
        rows.extend(also.into_values().map(|blocked| Self::of_table(blocked, seen)));
        rows.sort_by_key(|row| row.cut_at);
        rows
    }
}

const COLUMNS: &[&str] = &[
    "address",
    "connections",
    "activations",
    "customer",
    "counted",
    "cut_at",
    "by",
    "borderline",
    "released_at",
    "blocked_seconds",
    "cuts",
    "refused",
];

const QUESTIONS: &[Question] = &[
    Question::Rules,
    Question::Translation,
    Question::Info,
    Question::Table,
    Question::Crontab,
    Question::Configured,
];

/// Runs `kmsctl ratelimit preview`.
pub(super) async fn preview_ratelimit(context: &Context, arguments: &PreviewArgs) -> Result<()> {
    let since = values::parse_duration(&arguments.since)
        .map_err(|problem| Failure::usage(format!("--since: {problem}.")))?;
    let since = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    let preset = arguments.preset.as_deref();
    let preset =
        preset.map(|name| plan::caps_of_preset(&context.settings.presets, name)).transpose()?;
    let typed = Caps {
        max_src_conn: CapValue::or_present(arguments.max_src_conn, None),
        rate: CapValue::or_present(arguments.rate, None),
    };
    plan::check_caps(typed)?;
    if !context.settings.service.speaks_kms {
        return Err(no_log_of_tcp());
    }
    let mut warnings = Vec::new();
    let reads = async { context.read(QUESTIONS).await };
    let record = Box::pin(read_blocked(context));
    let (reading, seen, record) = if let Some(file) = &arguments.log {
        let seen = read_saved_log(context, file)?;
        let (reading, record) = tokio::join!(Box::pin(reads), record);
        (reading, seen, record)
    } else {
        let pods = Box::pin(read_pods(context));
        let all = async { tokio::join!(Box::pin(reads), pods, record) };
        let (reading, seen, record) = Box::pin(work_or_interrupt(all)).await?;
        let (seen, unread) = seen?;
        warnings.extend(unread);
        (reading, seen, record)
    };
    let reading = match reading {
        Ok(reading) => Some(reading),
        Err(failure) if failure.kind == FailureKind::Interrupted => return Err(failure),
        Err(failure) => {
            warnings.push(Warning::new(
                "firewall-unread",
                format!(
                    "The caps that are loaded, pf's arithmetic and what releases addresses are not known. {}",
                    failure.message
                ),
            ));
            None
        }
    };
    if let Some(reading) = &reading {
        let who = format!("Who is in {} now", context.settings.service.table.as_str());
        answer_or_warning(&reading.table, &who, &mut warnings);
    }
    let loaded = reading
        .as_ref()
        .and_then(|reading| context.situation(reading).exposure().ok()?.caps.loaded);
    let named = preset.is_some() || arguments.max_src_conn.is_some() || arguments.rate.is_some();
    if loaded.is_none() && !named {
        let why = "No caps of the service are loaded, or they could not be read.";
        return Err(Failure::new(FailureKind::Inconclusive, why)
            .hint("Name those to look at: `kmsctl ratelimit preview tighten`"));
    }
    let present = loaded.unwrap_or_default();
    let caps = preset.unwrap_or_else(|| Caps {
        max_src_conn: CapValue::or_present(arguments.max_src_conn, present.max_src_conn),
        rate: CapValue::or_present(arguments.rate, present.rate),
    });
    let now = context.clock.now();
    let end = match (&arguments.log, seen.span) {
        (Some(_), Some((_, last))) => last,
        _ => now.as_second(),
    };
    let terms = PreviewTerms { caps, loaded, from: end.saturating_sub(since), end };
    let preview = make_preview(context, reading.as_ref(), seen, record, &terms, &mut warnings)?;
    let view = preview_view(context, reading.as_ref(), &preview, warnings)?;
    context.terminal.show(&view)
}

struct PreviewTerms {
    caps: Caps,
    loaded: Option<Caps>,
    /// Unix seconds.
    from: i64,
    end: i64,
}

fn make_preview(
    context: &Context,
    reading: Option<&Reading>,
    mut seen: SeenConnections,
    record: Vec<BlockEvent>,
    terms: &PreviewTerms,
    warnings: &mut Vec<Warning>,
) -> Result<Preview> {
    check_sources(&seen)?;
    if seen.left_out > 0 {
        let more = counted(seen.left_out, "more connection was", "more connections were");
        let text = format!("{more} not looked at.");
        warnings.push(Warning::new("too-many", text));
    }
    let at = |seconds: i64| Timestamp::from_second(seconds).ok();
    let (first, until) = seen.span.unwrap_or_default();
    if first > terms.from + SLACK {
        let text = format!(
            "The log begins {} later than asked for.",
            format_span(u64::try_from(first - terms.from).unwrap_or(0))
        );
        warnings.push(Warning::new("log-short", text));
    }
    let ahead = until.saturating_sub(context.clock.now().as_second());
    if ahead > SLACK {
        let span = format_span(u64::try_from(ahead).unwrap_or(0));
        let text = format!(
            "The log ends {span} in the future: the server's clock was set, or differs from this machine's."
        );
        warnings.push(Warning::new("log-ahead", text));
    }
    let gaps = seen.gaps_between(terms.from, terms.end);
    warnings.extend(gap_warning(&gaps));
    let steps = seen.steps_since(terms.from);
    warnings.extend(step_sentence(&steps).map(|text| Warning::new("clock-stepped", text)));
    seen.keep_window(terms.from, terms.end);
    let sources = cut_sources(context, reading, &mut seen, terms.caps);
    let by_hand = report::read_hand_blocks(context).unwrap_or_else(|failure| {
        let text =
            format!("Which addresses were blocked by hand is not known. {}", failure.message);
        warnings.push(Warning::new("history-unread", text));
        HandBlocks::default()
    });
    let record = (record, &by_hand);
    let span = (first.max(terms.from), terms.end);
    let mut blocked = blocked_sources(context, reading, record, &seen, span);
    let in_table = blocked.clone();
    drop_cut_sources(&mut blocked, &sources);
    let widens = terms.loaded.is_none_or(|loaded| is_wider(terms.caps, loaded));
    let includes_blocked = !widens && terms.caps.rate.is_some();
    if terms.caps.rate.is_none() && !terms.caps.is_empty() {
        warnings.push(Warning::new(
            "no-overload",
            "Without a rate pfSense loads no overload: connections over the cap are refused, and no address is blocked.",
        ));
    }
    let also = if includes_blocked { blocked.as_slice() } else { &[] };
    let trips = tripping_sources(&sources, also);
    let lower_bound = is_lower_bound(terms.caps, widens, &blocked);
    let table = &context.settings.service.table;
    let span = span_words(first, terms.from, terms.end);
    let widened = terms.loaded.filter(|_| widens);
    let in_table = (in_table, includes_blocked);
    let (present, in_table) = table_clauses(context, reading, &mut seen, widened, in_table, &span);
    if lower_bound {
        warnings.push(Warning::new(
            "lower-bound",
            "At least these: connections that the caps of that time refused are not in the log.",
        ));
    }
    let preset = preset_of(&context.settings.presets, terms.caps);
    Ok(Preview {
        caps: terms.caps,
        preset: preset.map(|preset| preset.name.clone()),
        loaded: terms.loaded,
        since: at(terms.from.max(first)),
        until: at(until),
        connections: seen.len(),
        cut: trips.len(),
        customers: trips.iter().filter(|(_, customer)| *customer).count(),
        borderline: sources.iter().filter(|cut| cut.borderline).count(),
        gaps: LogSpan::list(&gaps),
        clock_steps: LogSpan::list(&steps),
        lower_bound,
        sources: SourceRow::list(&sources, also, &seen),
        by_log: sources,
        blocked,
        includes_blocked,
        never_freed: reading.is_some_and(|reading| {
            let items = reading.crontab.as_ref().ok();
            items.is_some_and(|items| Expiry::find(items, table) == Expiry::None)
        }),
        span,
        present,
        in_table,
    })
}

/// Lists who was in the table between two times: by what is in it now, and by a record of what was. Only external sources
/// count, and none that was blocked by hand.
fn blocked_sources(
    context: &Context,
    reading: Option<&Reading>,
    (record, by_hand): (Vec<BlockEvent>, &HandBlocks),
    seen: &SeenConnections,
    (from, end): (i64, i64),
) -> Vec<BlockedSource> {
    let mut blocked: BTreeMap<String, (bool, Option<Timestamp>)> = BTreeMap::new();
    let at = |seconds: i64| Timestamp::from_second(seconds).ok();
    let is_by_hand = |address: &str, since: Timestamp| {
        address.parse().is_ok_and(|address| by_hand.holds(address, since))
    };
    if let (Some(from), Some(end)) = (at(from), at(end)) {
        let periods = periods_between(record, from, end).into_iter();
        let met = periods.filter(|period| period.blocked_at <= end);
        for period in met.filter(|period| !is_by_hand(&period.address, period.blocked_at)) {
            let (customer, first) = blocked.entry(period.address).or_default();
            *customer |= period.customer == Some(true);
            // The newest is in front.
            *first = Some(period.blocked_at);
        }
    }
    let entries = reading.and_then(|reading| reading.table.as_ref().ok());
    for entry in entries.into_iter().flatten().filter(|entry| !entry.negated) {
        let address = entry_text(entry);
        if let Some(since) = entry.since
            && (from..=end).contains(&since.as_second())
            && !is_by_hand(&address, since)
        {
            blocked.entry(address).or_default().1.get_or_insert(since);
        }
    }
    let external = is_external(context);
    // A cap blocks single addresses: a network was blocked by hand.
    blocked.retain(|address, _| address.parse().is_ok_and(&external));
    let sources = blocked.into_iter().map(|(address, (customer, blocked_at))| {
        let known = address.parse().is_ok_and(|address| seen.is_customer(address));
        BlockedSource { customer: customer || known, address, blocked_at }
    });
    sources.collect()
}

/// Returns whether more could be cut than the log shows: what the loaded caps refuse is not in it. Without a rate none is.
fn is_lower_bound(caps: Caps, widens: bool, blocked: &[BlockedSource]) -> bool {
    caps.rate.is_some() && (widens || !blocked.is_empty())
}

/// Leaves those that the log alone shows to be cut.
fn drop_cut_sources(blocked: &mut Vec<BlockedSource>, cut: &[CutSource]) {
    let is_cut = |source: &BlockedSource| {
        let mut sure = cut.iter().filter(|cut| cut.cuts > 0);
        sure.any(|cut| cut.address.to_string() == source.address)
    };
    blocked.retain(|source| !is_cut(source));
}

/// Says in a sentence without full stop who was in the table; `None` is that none was. Whether they are counted among
/// those who would have been blocked is `included`.
fn blocked_sentence(
    blocked: &[BlockedSource],
    included: bool,
    table: &TableName,
) -> Option<String> {
    let customers = blocked.iter().filter(|source| source.customer);
    let customers: Vec<String> = customers.map(|source| source.address.clone()).collect();
    let (verb, count) = match (blocked.len(), included) {
        (0, _) => return None,
        (1, true) => ("was", "1 of these".to_owned()),
        (count, true) => ("were", format!("{count} of these")),
        (1, false) => ("was", "1 more source".to_owned()),
        (count, false) => ("were", format!("{count} more sources")),
    };
    let among = match customers.as_slice() {
        [] => String::new(),
        names => format!(
            ", {} among them ({})",
            counted(names.len(), "customer", "customers"),
            plan::named(names)
        ),
    };
    Some(format!("{count} {verb} in {} in that time{among}", table.as_str()))
}

/// Says in sentences without full stop whom the caps that are in force would have blocked, where others are wider, and who was
/// in the table; whether they are counted among those is `included` where they are not.
fn table_clauses(
    context: &Context,
    reading: Option<&Reading>,
    seen: &mut SeenConnections,
    widened: Option<Caps>,
    (mut in_table, included): (Vec<BlockedSource>, bool),
    span: &str,
) -> (Option<String>, Option<String>) {
    let table = &context.settings.service.table;
    let Some(present) = widened else {
        return (None, blocked_sentence(&in_table, included, table));
    };
    let cut = cut_sources(context, reading, seen, present);
    let included = present.rate.is_some();
    let in_words = blocked_sentence(&in_table, included, table);
    if included {
        drop_cut_sources(&mut in_table, &cut);
    } else {
        in_table.clear();
    }
    let clause = format!("The present caps would have {}", cuts_sentence(&cut, &in_table, span));
    (Some(clause), in_words)
}

/// Names the times of which the log has no line, the longest in front.
fn gap_warning(gaps: &[(i64, i64)]) -> Option<Warning> {
    let mut longest = gaps.to_vec();
    longest.sort_by_key(|(from, until)| from - until);
    let named: Vec<String> = (longest.iter().take(NAMED_GAPS))
        .filter_map(|(from, until)| {
            let [from, to] = [*from, *until].map(|at| Timestamp::from_second(at).ok());
            let length = format_span(u64::try_from(until - from?.as_second()).ok()?);
            let (from, to) = (from?.strftime("%m-%d %H:%M"), to?.strftime("%m-%d %H:%M"));
            Some(format!("{from} to {to} UTC ({length})"))
        })
        .collect();
    let more = match gaps.len().checked_sub(NAMED_GAPS) {
        None | Some(0) => String::new(),
        Some(more) => format!(", and {more} shorter times"),
    };
    let text = format!(
        "The log has no line from {}{more}: the server was away, or lines are missing.",
        named.join(", ")
    );
    (!named.is_empty()).then(|| Warning::new("log-gap", text))
}

/// Says where the clock of a log was set back.
fn step_sentence(steps: &[(i64, i64)]) -> Option<String> {
    let first = LogSpan::list(steps).into_iter().next()?;
    let at = |at: Timestamp| at.strftime("%m-%d %H:%M:%S").to_string();
    let first = format!("from {} to {} UTC", at(first.from), at(first.until));
    let times = match steps.len() {
        1 => first,
        count => format!("{count} times, first {first}"),
    };
    Some(format!(
        "The log's clock steps back {times}: the server's clock was set, or several logs stand one behind the other. What came before is not counted together with what came after."
    ))
}

/// Says how much of what was asked for a log holds.
fn span_words(first: i64, from: i64, end: i64) -> String {
    let begin = if first > from + SLACK { first } else { from };
    format_span(u64::try_from(end - begin).unwrap_or(0))
}

/// Refuses a log in which every client has lost its address on the way.
fn check_sources(seen: &SeenConnections) -> Result<()> {
    if !seen.is_empty() {
        return Ok(());
    }
    let why = match seen.inside {
        0 => "The log holds no connection, so nothing can be said.".to_owned(),
        inside => format!(
            "The log holds {} from inside (pods, nodes, private addresses) and none from outside, so nothing can be said: without externalTrafficPolicy: Local the server sees a node instead of the client.",
            counted(inside, "connection", "connections")
        ),
    };
    Err(Failure::new(FailureKind::Inconclusive, why)
        .hint("See what the server sees: `kmsctl notifier status`"))
}

/// Lists whom the caps would have blocked: none without a rate, as pfSense loads no overload then.
fn cut_sources(
    context: &Context,
    reading: Option<&Reading>,
    seen: &mut SeenConnections,
    caps: Caps,
) -> Vec<CutSource> {
    if caps.rate.is_none() {
        return Vec::new();
    }
    let configured = reading.and_then(|reading| reading.configured.as_ref().ok());
    let version = configured.and_then(|configured| configured.system.version.as_deref());
    let crontab = reading.and_then(|reading| reading.crontab.as_ref().ok());
    let judged = reading.zip(crontab).map(|(reading, crontab)| {
        let entries = reading.table.as_ref().map(Vec::as_slice);
        let expiry = Expiry::find(crontab, &context.settings.service.table);
        let (now, zone) = (reading.clock.now, &reading.clock.zone);
        (Judged::of(expiry, entries.unwrap_or_default(), now, zone), zone)
    });
    let release = |at: i64| {
        let (judged, zone) = judged.as_ref()?;
        let at = Timestamp::from_second(at).ok()?;
        Some(judged.release_at(at, at, zone)?.as_second())
    };
    preview_caps(seen, caps, version.and_then(Generation::of_version), release)
}

/// Returns what says whether an address is that of a client outside: of no pod and no node, and no private one, as the
/// firewall's cap counts what comes in from the internet alone.
fn is_external(context: &Context) -> impl Fn(IpAddr) -> bool + use<> {
    let rules = DecisionRules {
        pods: context.settings.networks.pods.clone(),
        nodes: context.settings.networks.nodes.clone(),
    };
    move |address| !is_private(&address) && rules.source_of(address) == ClientSource::External
}

fn this_year(context: &Context) -> i16 {
    let now = context.clock.now().to_zoned(jiff::tz::TimeZone::UTC);
    now.year()
}

fn read_saved_log(context: &Context, file: &Path) -> Result<SeenConnections> {
    let mut input = open_saved_log(file)?;
    let (external, mut seen) = (is_external(context), SeenConnections::default());
    let mut reader = ConnectionReader::new(this_year(context), &external, &mut seen);
    let (mut chunk, mut lines) = (vec![0; 256 * 1024], LogLines::default());
    loop {
        match input.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => {
                let read = chunk.get(..count).unwrap_or_default();
                lines.feed_chunk(read, |line| reader.read_line(line));
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(cannot_read(file, &error)),
        }
    }
    let (lines, unparsed) = reader.finish_log();
    if lines > 0 && unparsed == lines {
        return Err(not_of_server(file));
    }
    let own = context.settings.service.port;
    let ports: Vec<String> = seen.listens_on.iter().map(u16::to_string).collect();
    if !ports.is_empty() && !seen.listens_on.contains(&own) {
        let (name, ports) = (file.display(), ports.join(", "));
        let why = format!(
            "{name} is the log of another service: its server listens on port {ports}, and service.port is {own}."
        );
        return Err(Failure::new(FailureKind::Inconclusive, why).hint(
            "If something between them changes the port, leave out what says it: `grep -v 'Listening on' LOG`, on stdin, with --log -",
        ));
    }
    Ok(seen)
}

fn no_log_of_tcp() -> Failure {
    let why = "service.protocol is tcp, and kmsctl reads no other log of connections than a KMS server's: that of another service.";
    Failure::new(FailureKind::Inconclusive, why)
        .hint("See who is near the caps now: `kmsctl ratelimit show`")
}

/// Reads the server's own file in each pod: that alone holds every connection.
async fn read_pods(context: &Context) -> Result<(SeenConnections, Vec<Warning>)> {
    if !context.settings.service.speaks_kms {
        return Err(no_log_of_tcp());
    }
    let kubectl = configured_kubectl(context)
        .map_err(|failure| failure.hint("Or give it the server's log: --log FILE"))?;
    let cluster = &context.settings.cluster;
    let service = kubectl.service(&cluster.namespace, &cluster.names).await;
    let mut warnings = Vec::new();
    match service {
        Ok(service) => {
            let policy = service.spec.external_traffic_policy;
            if policy.as_deref() != Some("Local") {
                let policy = policy.unwrap_or_else(|| "Cluster".to_owned());
                return Err(Failure::new(
                    FailureKind::Inconclusive,
                    format!("The Service has externalTrafficPolicy {policy}: the server sees a node instead of the client, so nothing can be said."),
                )
                .hint("See what the server sees: `kmsctl notifier status`"));
            }
        }
        Err(error) => warnings.push(Warning::new(
            "service-unread",
            format!("Whether the server sees the clients' own addresses is not known: {error}."),
        )),
    }
    let found = find_notifier_pods(context, &kubectl);
    let (pods, _) = kubectl_or_interrupt(context, found).await?;
    let (external, mut seen) = (is_external(context), SeenConnections::default());
    let (mut read, mut trouble) = (0, None);
    for pod in &pods {
        let mut reader = ConnectionReader::new(this_year(context), &external, &mut seen);
        let take = |line: &[u8]| reader.read_line(line);
        match read_server_file(context, &kubectl, &pod.name, take).await {
            Ok(_) => read += 1,
            Err(failure) => {
                let text = format!("{}: {}", pod.name, failure.message);
                warnings.push(Warning::new("pod-unread", text));
                trouble = trouble.or(Some(failure));
            }
        }
        if reader.finish_log().0 >= MOST_LINES as u64 {
            let text = format!("{}: only the last {MOST_LINES} lines were read.", pod.name);
            warnings.push(Warning::new("older-left-out", text));
        }
    }
    match trouble {
        Some(failure) if read == 0 => Err(failure),
        _ => Ok((seen, warnings)),
    }
}

fn preview_view(
    context: &Context,
    reading: Option<&Reading>,
    preview: &Preview,
    warnings: Vec<Warning>,
) -> Result<View> {
    let mut view = match reading {
        Some(reading) => context.view("ratelimit.preview", reading, preview)?,
        None => View::new("ratelimit.preview", context.clock.now(), preview)?,
    };
    view.items = Some(("sources", COLUMNS));
    view.warnings.extend(warnings);
    let name = preview.preset.clone();
    let name = name.unwrap_or_else(|| preview.caps.to_string());
    let also = if preview.includes_blocked { preview.blocked.as_slice() } else { &[] };
    let sum = cuts_sentence(&preview.by_log, also, &preview.span);
    let sentence = if preview.caps.is_empty() {
        "without caps no source is blocked".to_owned()
    } else {
        format!("{name} would have {sum}")
    };
    view.human.field("Preview", sentence, Tone::Plain);
    if let Some(sentence) = &preview.present {
        view.human.field("Loaded", sentence, Tone::Plain);
    }
    if let Some(sentence) = &preview.in_table {
        view.human.field("Blocked", sentence, Tone::Plain);
    }
    view.human.field(
        "Looked at",
        counted(preview.connections, "connection from outside", "connections from outside"),
        Tone::Plain,
    );
    if preview.sources.is_empty() {
        return Ok(view);
    }
    view.human.gap();
    let unknown = || "unknown".to_owned();
    let rows = preview.sources.iter().map(|row| {
        let mut flags = Vec::new();
        let was_in_table = row.by == IN_TABLE;
        flags.extend(was_in_table.then_some(IN_TABLE));
        flags.extend(row.customer.then_some("customer"));
        flags.extend(row.borderline.then_some("borderline"));
        vec![
            row.address.clone(),
            row.connections.to_string(),
            row.activations.to_string(),
            row.cut_at.map_or_else(unknown, |at| whole_second(at).to_string()),
            if was_in_table { String::new() } else { row.by.to_owned() },
            match row.blocked_seconds {
                Some(seconds) => format_span(seconds),
                None if was_in_table => String::new(),
                None if preview.never_freed => "until freed".to_owned(),
                None => unknown(),
            },
            row.refused.to_string(),
            row.sparkline.clone(),
            flags.join(" "),
        ]
    });
    let columns = vec![
        text_column("ADDRESS"),
        number_column("CONNECTIONS").droppable(2),
        number_column("ACTIVATIONS").droppable(3),
        text_column("CUT (UTC)"),
        text_column("BY").droppable(4),
        number_column("BLOCKED FOR").droppable(1),
        number_column("REFUSED").droppable(5),
        text_column("TIMELINE").droppable(6).explained(SPARKLINE_LEGEND),
        text_column("FLAGS"),
    ];
    view.human.table(columns, rows.collect());
    Ok(view)
}

/// What is known beside the firewall: the KMS server's log, and the exporter's record.
pub(super) struct Evidence {
    seen: SeenConnections,
    record: Vec<BlockEvent>,
}

/// Collects for a plan, beside the firewall's answers.
pub(super) async fn fetch_for_plan(context: &Context) -> Result<Evidence> {
    let pods = Box::pin(read_pods(context));
    let (read, record) = tokio::join!(pods, Box::pin(read_blocked(context)));
    read.map(|(seen, _)| Evidence { seen, record })
}

/// Reads who was blocked, as far as an exporter's record says.
async fn read_blocked(context: &Context) -> Vec<BlockEvent> {
    let read = read_record(context, &RecordPlace::default()).await;
    read.ok().and_then(|(record, _)| record).unwrap_or_default()
}

/// Says in a plan who the caps would have cut in the last day; `None` is that it did not come in time.
pub(super) fn preview_risk(
    context: &Context,
    reading: &Reading,
    fetched: Option<Result<Evidence>>,
    caps: Caps,
    present: Caps,
) -> Risk {
    let unknown = |why: &str| {
        let next = if !context.settings.service.speaks_kms {
            "Who is near the caps now: `kmsctl ratelimit show`"
        } else if inside_kubectl(context).is_none() {
            "To look at a saved log: `kmsctl ratelimit preview --log FILE`"
        } else {
            "To look again: `kmsctl ratelimit preview`"
        };
        let message = format!("Who these caps would have cut is not known. {why} {next}");
        Risk::new("preview-unknown", message)
    };
    let Evidence { mut seen, record } = match fetched {
        None => return unknown("The cluster did not answer while the firewall did."),
        Some(Err(failure)) => return unknown(&failure.message),
        Some(Ok(fetched)) => fetched,
    };
    if let Err(failure) = check_sources(&seen) {
        return unknown(&failure.message);
    }
    let now = context.clock.now().as_second();
    let from = now - DAY;
    let gaps = seen.gaps_between(from, now);
    let step = step_sentence(&seen.steps_since(from));
    let silent: i64 = gaps.iter().map(|(from, until)| until - from).sum();
    seen.keep_window(from, now);
    let first = seen.span.map_or(now, |(first, _)| first);
    let span = span_words(first, from, now);
    let would = cut_sources(context, Some(reading), &mut seen, caps);
    let by_hand = report::read_hand_blocks(context).unwrap_or_default();
    let record = (record, &by_hand);
    let mut blocked =
        blocked_sources(context, Some(reading), record, &seen, (first.max(from), now));
    let in_table = blocked.clone();
    drop_cut_sources(&mut blocked, &would);
    let widens = is_wider(caps, present);
    let lower_bound = is_lower_bound(caps, widens, &blocked);
    let mut sentences = Vec::new();
    let included = !widens && caps.rate.is_some();
    if !caps.is_empty() {
        let also = if included { blocked.as_slice() } else { &[] };
        sentences.push(format!("These caps would have {}.", cuts_sentence(&would, also, &span)));
    }
    let widened = Some(present).filter(|_| widens);
    let in_table = (in_table, included);
    let (before, in_table) =
        table_clauses(context, Some(reading), &mut seen, widened, in_table, &span);
    sentences.extend([before, in_table].into_iter().flatten().map(|clause| format!("{clause}.")));
    if lower_bound {
        sentences.push("Refused connections are not in the log, so more could be cut.".to_owned());
    }
    sentences.extend(step);
    let mut message = sentences.join(" ");
    if let Ok(silent @ 1..) = u64::try_from(silent) {
        let silent = format_span(silent);
        message.push_str(&format!(" For {silent} of it the log has no line."));
    }
    Risk::new("preview", message)
}
