//! `kmsctl ratelimit preview`: who caps would have cut, by the connections of the KMS server's log; and the same in one
//! sentence for the plans of `ratelimit tighten|loosen|set`.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

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
use crate::domain::plan;
use crate::domain::plan::Risk;
use crate::domain::ratelimit::preview::{
    BlockedSource, ConnectionReader, CutSource, DAY, SPARKLINE_LEGEND, SeenConnections,
    cuts_sentence, preview_caps,
};
use crate::domain::ratelimit::{Caps, is_wider, preset_of};
use crate::domain::virusprot::block_log::{BlockEvent, HandBlocks, periods_between};
use crate::domain::virusprot::entries::entry_text;
use crate::domain::virusprot::expiry::{self, Expiry};
use crate::domain::warning::Warning;
use crate::error::{Failure, FailureKind, Result};
use crate::kubectl::Kubectl;
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
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = values::parse_period)]
    since: Duration,
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
    /// Sources that the log shows to trip these caps.
    cut: usize,
    /// How many of them are customers.
    customers: usize,
    borderline: usize,
    /// Where the log has no line for long.
    gaps: Vec<LogSpan>,
    /// Where its clock steps back; what was opened before is not counted together with what was opened after it.
    clock_steps: Vec<LogSpan>,
    /// More could have been cut: refused connections are not in the log.
    lower_bound: bool,
    /// Who came into the table in that time, and does not trip these caps by the log. Why is not known: it can be the work of
    /// caps, of a hand, or of another machine.
    blocked: Vec<BlockedSource>,
    /// No cron job frees an address, for people.
    #[serde(skip)]
    never_freed: bool,
    sources: Vec<SourceRow>,
    /// Whom these caps would have blocked, whom the loaded ones, and who was in the table besides, for people.
    #[serde(skip)]
    sentences: Sentences,
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

/// What is said of a source that came into the table; as its cap, where the log does not show that it would have been cut.
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
    /// When it would have been cut first; null where the log does not show that.
    cut_at: Option<Timestamp>,
    /// When it came into the table in that time, if it did.
    blocked_at: Option<Timestamp>,
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
            blocked_at: None,
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
            counted: false,
            cut_at: None,
            blocked_at: Some(blocked.blocked_at),
            by: IN_TABLE,
            borderline: false,
            released_at: None,
            blocked_seconds: None,
            cuts: 0,
            refused: 0,
            sparkline: String::new(),
        }
    }

    /// Lists the sources that the log shows, and those that came into the table; a source that is in both is one row.
    fn list(cuts: &[CutSource], in_table: &[BlockedSource], seen: &SeenConnections) -> Vec<Self> {
        let mut in_table: BTreeMap<&str, &BlockedSource> =
            in_table.iter().map(|blocked| (blocked.address.as_str(), blocked)).collect();
        let mut rows: Vec<Self> = cuts.iter().map(Self::from).collect();
        for row in &mut rows {
            row.blocked_at = in_table.remove(row.address.as_str()).map(|found| found.blocked_at);
        }
        rows.extend(in_table.into_values().map(|blocked| Self::of_table(blocked, seen)));
        rows.sort_by_key(|row| row.cut_at.or(row.blocked_at));
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
    "blocked_at",
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
    let since = i64::try_from(arguments.since.as_secs()).unwrap_or(i64::MAX);
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
    let (reads, saved) = (Box::pin(context.read(QUESTIONS)), arguments.log.as_deref());
    let collects = Box::pin(collect_evidence(context, saved));
    let all = async {
        if saved.is_some() {
            // A file is read in one go, which can take longer than the firewall waits.
            let collected = collects.await?;
            return Ok::<_, Failure>((reads.await, collected));
        }
        let (reading, collected) = tokio::join!(reads, collects);
        Ok((reading, collected?))
    };
    let (reading, (evidence, mut warnings)) = Box::pin(work_or_interrupt(all)).await??;
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
    if let Some(reading) = reading.as_ref().filter(|_| !evidence.is_saved) {
        let who = format!("Who is in {} now", context.settings.service.table.as_str());
        answer_or_warning(&reading.table, &who, &mut warnings);
    }
    let loaded = reading.as_ref().and_then(|reading| loaded_caps(context, reading));
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
    let end = match evidence.seen.span {
        Some((_, last)) if evidence.is_saved => last,
        _ => now.as_second(),
    };
    let terms = PreviewTerms { caps, loaded, from: end.saturating_sub(since), end };
    let preview = make_preview(context, reading.as_ref(), evidence, &terms, &mut warnings)?;
    let view = preview_view(context, reading.as_ref(), &preview, warnings)?;
    context.terminal.show(&view)
}

fn loaded_caps(context: &Context, reading: &Reading) -> Option<Caps> {
    context.situation(reading).exposure().ok()?.caps.loaded
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
    evidence: Evidence,
    terms: &PreviewTerms,
    warnings: &mut Vec<Warning>,
) -> Result<Preview> {
    let (left_out, log) = (evidence.seen.left_out, evidence.seen.span.unwrap_or_default());
    if left_out > 0 {
        let more = counted(left_out, "more connection was", "more connections were");
        let text = format!("{more} not looked at.");
        warnings.push(Warning::new("too-many", text));
    }
    let judged = judge_caps(context, reading, evidence, terms, warnings)?;
    let at = |seconds: i64| Timestamp::from_second(seconds).ok();
    let (first, until) = log;
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
    warnings.extend(gap_warning(&judged.gaps));
    warnings.extend(step_sentence(&judged.steps).map(|text| Warning::new("clock-stepped", text)));
    if terms.caps.rate.is_none() && !terms.caps.is_empty() {
        warnings.push(Warning::new(
            "no-overload",
            "Without a rate pfSense loads no overload: connections over the cap are refused, and no address is blocked.",
        ));
    }
    if judged.lower_bound {
        warnings.push(Warning::new(
            "lower-bound",
            "At least these: refused connections are not in the log.",
        ));
    }
    let table = &context.settings.service.table;
    let preset = preset_of(&context.settings.presets, terms.caps);
    let cut = || judged.cuts.iter().filter(|cut| cut.cuts > 0);
    Ok(Preview {
        caps: terms.caps,
        preset: preset.map(|preset| preset.name.clone()),
        loaded: terms.loaded,
        since: at(terms.from.max(first)),
        until: at(until),
        connections: judged.seen.len(),
        cut: cut().count(),
        customers: cut().filter(|cut| cut.customer).count(),
        borderline: judged.cuts.iter().filter(|cut| cut.borderline).count(),
        gaps: LogSpan::list(&judged.gaps),
        clock_steps: LogSpan::list(&judged.steps),
        lower_bound: judged.lower_bound,
        sources: SourceRow::list(&judged.cuts, &judged.in_table, &judged.seen),
        blocked: judged.blocked,
        never_freed: reading.is_some_and(|reading| {
            let items = reading.crontab.as_ref().ok();
            items.is_some_and(|items| Expiry::find(items, table) == Expiry::None)
        }),
        sentences: judged.sentences,
    })
}

/// Whom caps would have blocked: the one judgement, which a preview shows and a plan says.
struct Judged {
    /// The connections of the window.
    seen: SeenConnections,
    /// Where the log has no line for long, and where its clock steps back.
    gaps: Vec<(i64, i64)>,
    steps: Vec<(i64, i64)>,
    /// Those that trip the caps by the log, or only may.
    cuts: Vec<CutSource>,
    /// Who came into the table in the window.
    in_table: Vec<BlockedSource>,
    /// Those of them that do not trip the caps by the log.
    blocked: Vec<BlockedSource>,
    lower_bound: bool,
    sentences: Sentences,
}

/// What is said of the sources, without full stops.
#[derive(Debug)]
struct Sentences {
    /// Whom the caps would have blocked; `None` where there are none.
    sum: Option<String>,
    /// Whom the loaded caps would have blocked, where these let more through.
    present: Option<String>,
    /// Who came into the table besides.
    in_table: Option<String>,
}

/// Judges whom caps would have blocked by the log alone, and who came into the table besides.
///
/// # Errors
/// Where the log does not show the clients' own addresses.
fn judge_caps(
    context: &Context,
    reading: Option<&Reading>,
    evidence: Evidence,
    terms: &PreviewTerms,
    warnings: &mut Vec<Warning>,
) -> Result<Judged> {
    let Evidence { mut seen, record, is_saved } = evidence;
    check_sources(&seen)?;
    let gaps = seen.gaps_between(terms.from, terms.end);
    let steps = seen.steps_since(terms.from);
    let first = seen.span.map_or(terms.end, |(first, _)| first);
    seen.keep_window(terms.from, terms.end);
    let cuts = judge_sources(context, reading, &mut seen, terms.caps);
    // Without a loaded rate nothing blocks, and a file does not say that it is of this firewall's service.
    let mut in_table = Vec::new();
    if !is_saved && terms.loaded.is_some_and(|loaded| loaded.rate.is_some()) {
        let by_hand = report::read_hand_blocks(context).unwrap_or_else(|failure| {
            let text =
                format!("Which addresses were blocked by hand is not known. {}", failure.message);
            warnings.push(Warning::new("history-unread", text));
            HandBlocks::default()
        });
        let span = (first.max(terms.from), terms.end);
        in_table = blocked_sources(context, reading, (record, &by_hand), &seen, span);
    }
    let is_cut = |source: &BlockedSource| {
        let mut sure = cuts.iter().filter(|cut| cut.cuts > 0);
        sure.any(|cut| cut.address.to_string() == source.address)
    };
    let mut blocked: Vec<BlockedSource> =
        in_table.iter().filter(|source| !is_cut(source)).cloned().collect();
    // What a source that is blocked the whole time would open is in no log either.
    let widens = terms.loaded.is_none_or(|loaded| is_wider(terms.caps, loaded));
    let lower_bound = terms.caps.rate.is_some() && (widens || !blocked.is_empty());
    let begin = first.max(terms.from);
    let began = |source: &BlockedSource| source.blocked_at.as_second() >= begin;
    blocked.retain(began);
    in_table.retain(began);
    let span = span_words(first, terms.from, terms.end);
    let would = |cuts: &[CutSource]| format!("would have {}", cuts_sentence(cuts, &span));
    let sentences = Sentences {
        sum: (!terms.caps.is_empty()).then(|| would(&cuts)),
        present: terms.loaded.filter(|_| widens).map(|loaded| {
            let present = judge_sources(context, reading, &mut seen, loaded);
            format!("The present caps {}", would(&present))
        }),
        in_table: blocked_sentence(&blocked, blocked.len() < in_table.len(), context),
    };
    Ok(Judged { seen, gaps, steps, cuts, in_table, blocked, lower_bound, sentences })
}

/// Lists who was in the table between two times: by what is in it now, and by a record of what was. Only external sources
/// count, and none that this machine's history has blocked by hand.
fn blocked_sources(
    context: &Context,
    reading: Option<&Reading>,
    (record, by_hand): (Vec<BlockEvent>, &HandBlocks),
    seen: &SeenConnections,
    (from, end): (i64, i64),
) -> Vec<BlockedSource> {
    let mut blocked: BTreeMap<String, (bool, Timestamp)> = BTreeMap::new();
    let at = |seconds: i64| Timestamp::from_second(seconds).ok();
    let is_by_hand = |address: &str, since: Timestamp| {
        address.parse().is_ok_and(|address| by_hand.holds(address, since))
    };
    if let (Some(from), Some(end)) = (at(from), at(end)) {
        let periods = periods_between(record, from, end).into_iter();
        let met = periods.filter(|period| period.blocked_at <= end);
        for period in met.filter(|period| !is_by_hand(&period.address, period.blocked_at)) {
            let first = (false, period.blocked_at);
            let (customer, first) = blocked.entry(period.address).or_insert(first);
            *customer |= period.customer == Some(true);
            // The newest is in front; of those that began before, the last says enough.
            if period.blocked_at >= from {
                *first = period.blocked_at;
            }
        }
    }
    let entries = reading.and_then(|reading| reading.table.as_ref().ok());
    for entry in entries.into_iter().flatten().filter(|entry| !entry.negated) {
        let address = entry_text(entry);
        if let Some(since) = entry.since
            && since.as_second() <= end
            && !is_by_hand(&address, since)
        {
            let (_, first) = blocked.entry(address).or_insert((false, since));
            if first.as_second() < from {
                *first = since;
            }
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

/// Says in a sentence without full stop who came into the table, and that the log does not show why; `None` is that none did.
/// `are_more` says that others came who trip the caps by the log.
fn blocked_sentence(
    blocked: &[BlockedSource],
    are_more: bool,
    context: &Context,
) -> Option<String> {
    let customers = blocked.iter().filter(|source| source.customer);
    let customers: Vec<String> = customers.map(|source| source.address.clone()).collect();
    let sources = match (blocked.len(), are_more) {
        (0, _) => return None,
        (1, true) => "1 more source".to_owned(),
        (count, true) => format!("{count} more sources"),
        (count, false) => counted(count, "source", "sources"),
    };
    let among = match customers.as_slice() {
        [] => String::new(),
        names => format!(
            ", {} among them ({})",
            counted(names.len(), "customer", "customers"),
            plan::named(names)
        ),
    };
    let table = context.settings.service.table.as_str();
    Some(format!("{sources} came into {table} in that time{among}; the log does not show why"))
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
fn judge_sources(
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
        (expiry::Judged::of(expiry, entries.unwrap_or_default(), now, zone), zone)
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

fn read_saved_log(context: &Context, file: &Path) -> Result<SeenConnections> {
    let mut input = open_saved_log(file)?;
    let (external, mut seen) = (is_external(context), SeenConnections::default());
    let mut reader = ConnectionReader::new(context.clock.today(), &external, &mut seen);
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

/// Refuses what a server behind this Service has logged where that hides the clients' own addresses; returns a warning where
/// it is not known whether it does.
async fn check_policy(context: &Context, kubectl: &Kubectl) -> Result<Option<Warning>> {
    let cluster = &context.settings.cluster;
    let service = match kubectl.service(&cluster.namespace, &cluster.names).await {
        Ok(service) => service,
        Err(error) => {
            let text = format!(
                "Whether the server sees the clients' own addresses is not known: {error}."
            );
            return Ok(Some(Warning::new("service-unread", text)));
        }
    };
    let policy = service.spec.external_traffic_policy;
    if policy.as_deref() == Some("Local") {
        return Ok(None);
    }
    let policy = policy.unwrap_or_else(|| "Cluster".to_owned());
    let why = format!(
        "The Service has externalTrafficPolicy {policy}: the server sees a node instead of the client, so nothing can be said."
    );
    Err(Failure::new(FailureKind::Inconclusive, why)
        .hint("See what the server sees: `kmsctl notifier status`"))
}

/// Reads the server's own file in each pod: that alone holds every connection.
async fn read_pods(context: &Context) -> Result<(SeenConnections, Vec<Warning>)> {
    if !context.settings.service.speaks_kms {
        return Err(no_log_of_tcp());
    }
    let kubectl = configured_kubectl(context)
        .map_err(|failure| failure.hint("Or give it the server's log: --log FILE"))?;
    let mut warnings = Vec::from_iter(check_policy(context, &kubectl).await?);
    let found = find_notifier_pods(context, &kubectl);
    let (pods, _) = kubectl_or_interrupt(context, found).await?;
    let (external, mut seen) = (is_external(context), SeenConnections::default());
    let (mut read, mut trouble) = (0, None);
    for pod in &pods {
        let mut reader = ConnectionReader::new(context.clock.today(), &external, &mut seen);
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
    let Sentences { sum, present, in_table } = &preview.sentences;
    let sentence = match sum {
        None => "without caps no source is blocked".to_owned(),
        Some(sum) => format!("{name} {sum}"),
    };
    view.human.field("Preview", sentence, Tone::Plain);
    if let Some(sentence) = present {
        view.human.field("Loaded", sentence, Tone::Plain);
    }
    if let Some(sentence) = in_table {
        view.human.field("In the table", sentence, Tone::Plain);
    }
    view.human.field(
        "Looked at",
        counted(preview.connections, "connection from outside", "connections from outside"),
        Tone::Plain,
    );
    show_sources(&mut view, preview);
    Ok(view)
}

/// Adds those that the log shows, and by themselves those that only came into the table.
fn show_sources(view: &mut View, preview: &Preview) {
    let time =
        |at: Option<Timestamp>| at.map_or_else(String::new, |at| whole_second(at).to_string());
    let (by_log, in_table): (Vec<&SourceRow>, Vec<&SourceRow>) =
        preview.sources.iter().partition(|row| row.by != IN_TABLE);
    let rows = by_log.iter().map(|row| {
        let mut flags = Vec::new();
        flags.extend(row.customer.then_some("customer"));
        flags.extend(row.borderline.then_some("borderline"));
        flags.extend(row.blocked_at.map(|_| IN_TABLE));
        let blocked_for = match row.blocked_seconds {
            Some(seconds) => format_span(seconds),
            None if preview.never_freed => "until freed".to_owned(),
            None => "unknown".to_owned(),
        };
        vec![
            row.address.clone(),
            row.connections.to_string(),
            row.activations.to_string(),
            time(row.cut_at),
            row.by.to_owned(),
            if row.counted { blocked_for } else { String::new() },
            row.refused.to_string(),
            row.sparkline.clone(),
            flags.join(" "),
        ]
    });
    if !by_log.is_empty() {
        let columns = vec![
            text_column("ADDRESS"),
            number_column("CONNECTIONS").droppable(2),
            number_column("ACTIVATIONS").droppable(3),
            text_column("CUT (UTC)"),
            text_column("CAP").droppable(4),
            number_column("BLOCKED FOR").droppable(1),
            number_column("REFUSED").droppable(5),
            text_column("TIMELINE").droppable(6).explained(SPARKLINE_LEGEND),
            text_column("FLAGS"),
        ];
        view.human.gap().table(columns, rows.collect());
    }
    let rows = in_table.iter().map(|row| {
        vec![
            row.address.clone(),
            row.connections.to_string(),
            row.activations.to_string(),
            time(row.blocked_at),
            if row.customer { "customer" } else { "" }.to_owned(),
        ]
    });
    if !in_table.is_empty() {
        let columns = vec![
            text_column("ADDRESS"),
            number_column("CONNECTIONS").droppable(2),
            number_column("ACTIVATIONS").droppable(1),
            text_column("IN THE TABLE SINCE (UTC)"),
            text_column("FLAGS"),
        ];
        view.human.gap().table(columns, rows.collect());
    }
}

/// What is known beside the firewall: the KMS server's log, and the exporter's record.
pub(super) struct Evidence {
    seen: SeenConnections,
    record: Vec<BlockEvent>,
    /// The log is a file, which does not say of which service it is.
    is_saved: bool,
}

/// Collects it, beside the firewall's answers: from the pods, or from a saved log and nothing else.
pub(super) async fn collect_evidence(
    context: &Context,
    saved: Option<&Path>,
) -> Result<(Evidence, Vec<Warning>)> {
    let Some(file) = saved else {
        let (read, record) =
            tokio::join!(Box::pin(read_pods(context)), Box::pin(read_blocked(context)));
        let (seen, warnings) = read?;
        return Ok((Evidence { seen, record, is_saved: false }, warnings));
    };
    let seen = read_saved_log(context, file)?;
    let unknown = match inside_kubectl(context) {
        Some(kubectl) => check_policy(context, &kubectl).await?,
        None => None,
    };
    Ok((Evidence { seen, record: Vec::new(), is_saved: true }, Vec::from_iter(unknown)))
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
    let evidence = match fetched {
        None => return unknown("The cluster did not answer while the firewall did."),
        Some(Err(failure)) => return unknown(&failure.message),
        Some(Ok(fetched)) => fetched,
    };
    let (end, loaded) = (context.clock.now().as_second(), loaded_caps(context, reading));
    let terms = PreviewTerms { caps, loaded, from: end - DAY, end };
    let judged = match judge_caps(context, Some(reading), evidence, &terms, &mut Vec::new()) {
        Ok(judged) => judged,
        Err(failure) => return unknown(&failure.message),
    };
    let Sentences { sum, present, in_table } = judged.sentences;
    let sum = sum.map(|sum| format!("These caps {sum}"));
    let more = "Refused connections are not in the log, so more could be cut";
    let more = judged.lower_bound.then(|| more.to_owned());
    let clauses = [sum, present, in_table, more].into_iter().flatten();
    let mut sentences: Vec<String> = clauses.map(|clause| format!("{clause}.")).collect();
    sentences.extend(step_sentence(&judged.steps));
    let silent: i64 = judged.gaps.iter().map(|(from, until)| until - from).sum();
    if let Ok(silent @ 1..) = u64::try_from(silent) {
        let silent = format_span(silent);
        sentences.push(format!("For {silent} of it the log has no line."));
    }
    Risk::new("preview", sentences.join(" "))
}
