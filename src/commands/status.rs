//! `kmsctl status`: everything on one screen, out of one round trip: first what is wrong and the command for it.

mod findings;

use clap::Args as ClapArgs;
use serde::Serialize;

use super::history::{ArmedRow, armed_commands};
use super::log_side::{self, KmsActivity};
use super::rule::RuleView;
use super::verify::{Expect, judge_expected};
use super::{ratelimit, states, virusprot};
use crate::app::Context;
use crate::app::watch;
use crate::app::watch::Watch;
use crate::domain::exposure::Exposure;
use crate::domain::notifier::health::LogSide;
use crate::domain::pf::rule::PF_WORDS;
use crate::domain::reachability::doctor::{CUSTOMER, is_of_address};
use crate::domain::reachability::finding::{CheckResult, Finding};
use crate::domain::reachability::path::Expected;
use crate::domain::reachability::whole;
use crate::domain::virusprot::entries::age_seconds;
use crate::domain::warning::{Warning, remove_repeats};
use crate::error::{Failure, Result};
use crate::pfsense::questions::{Question, Reading};
use crate::terminal::human::{number_column, text_column};
use crate::terminal::{Human, Mode, Tone, View};
use crate::text::{counted, format_bytes, format_span};

/// Arguments of `kmsctl status`.
#[derive(Debug, Default, ClapArgs)]
pub struct Args {
    /// Exit 0 where the exposure is so, 3 where it is not; nothing is probed
    #[arg(long, value_name = "STATE", value_enum, conflicts_with = "watch")]
    expect: Option<Expect>,
    #[command(flatten)]
    watch: Watch,
}

impl Args {
    pub fn looks_once(&self) -> bool {
        !self.watch.is_on()
    }
}

/// Every question there is; they travel in one script.
pub const QUESTIONS: &[Question] = &[
    Question::Client,
    Question::Interfaces,
    Question::Gateway,
    Question::Crontab,
    Question::Table,
    Question::Rules,
    Question::Translation,
    Question::States(None),
    Question::Sources,
    Question::Info,
    Question::AliasTable,
    Question::Limits,
    Question::Configured,
    Question::FreeSpace,
    Question::RequestLimit,
];

/// Most rows of a list that one screen shows.
const ROWS: usize = 5;
/// A finding more is shown one by one as long as those before it take no more lines than this.
const FINDING_LINES: usize = 7;
/// How many lines stand behind the findings and the facts: how many findings there are more, and a gap and a sentence for each list.
const BEHIND: usize = 5;
/// The same where neither list has a row: two sentences that stand together.
const BEHIND_LEAST: usize = 4;
/// Most characters of one finding on the screen.
const EVIDENCE: usize = 260;
/// The screen that everything fits: lines, less two for the prompt below and a gap, and columns.
const SCREEN: (usize, u16) = (22, 80);

#[derive(Serialize)]
struct StatusView<'a> {
    /// What leaves much unread, what is wrong, then what is not known; empty where all is as it should be.
    findings: Vec<Finding>,
    expose: Option<&'a Exposure>,
    rule: Option<RuleView<'a>>,
    ratelimit: Option<&'a ratelimit::Ratelimit>,
    states: Option<&'a states::States>,
    virusprot: Option<&'a virusprot::TableView>,
    pf: PfView,
    /// Temporary changes that the firewall will take back by itself.
    armed: Vec<ArmedRow>,
    /// What the notifier knows about clients; null where no cluster is configured.
    notifier: Option<&'a LogSide>,
}

#[derive(Default, Serialize)]
pub(super) struct PfView {
    pub(super) enabled: Option<bool>,
    pub(super) states: Option<u64>,
    pub(super) states_limit: Option<u64>,
    pub(super) overload_insertions: Option<u64>,
    version: Option<String>,
}

/// Runs `kmsctl status`.
pub async fn run_status(context: &Context, arguments: &Args) -> Result<()> {
    let judged = std::cell::RefCell::new(Ok(()));
    let build = |reading: &Reading, _: Option<&Reading>, heard: &KmsActivity| {
        let expected = arguments.expect.map(Expected::from);
        let (view, exposure) = status_view(context, reading, heard, expected)?;
        if let Some(expect) = arguments.expect {
            let exposure = exposure.map_err(Failure::without_verdict);
            *judged.borrow_mut() = exposure.and_then(|exposure| judge_expected(&exposure, expect));
        }
        Ok(view)
    };
    let beside = async || Box::pin(log_side::fetch_kms_activity(context)).await;
    watch::show_beside(context, QUESTIONS, &arguments.watch, beside, build).await?;
    judged.into_inner()
}

/// One part failing leaves the others on the screen.
fn status_view(
    context: &Context,
    reading: &Reading,
    heard: &KmsActivity,
    expected: Option<Expected>,
) -> Result<(View, Result<Exposure>)> {
    let situation = context.situation(reading);
    let (judged, mut warnings) = (situation.exposure(), Vec::new());
    if let (Err(failure), Err(_), Err(_)) = (&judged, &reading.states, &reading.table) {
        return Err(failure.without_cause().without_verdict());
    }
    let exposure = known_or_warning(judged.as_ref(), "The exposure", &mut warnings).copied();
    let states =
        exposure.map(|exposure| states::assess_states(context, reading, exposure, &mut warnings));
    let states = states
        .as_ref()
        .and_then(|states| known_or_warning(states.as_ref(), "Live connections", &mut warnings));
    let caps = exposure.map(|exposure| ratelimit::assess_caps(context, exposure, states));
    let table = virusprot::assess_table(context, reading, heard, None, &mut warnings);
    let table = known_or_warning(table.as_ref(), "Who is blocked", &mut warnings);
    remove_repeats(&mut warnings);
    let seen = findings::StatusFacts {
        exposure,
        expected,
        table,
        notifier: heard.side.as_ref(),
        warnings: &warnings,
    };
    let data = StatusView {
        findings: findings::find_faults(context, reading, &seen),
        expose: exposure,
        rule: exposure.map(RuleView::from_exposure),
        ratelimit: caps.as_ref(),
        states,
        virusprot: table,
        pf: read_pf_view(reading),
        armed: ArmedRow::from_reading(reading),
        notifier: heard.side.as_ref(),
    };
    let mut view = context.view("status", reading, &data)?;
    let mut facts = Human::default();
    firewall_line(&mut facts, context, reading, &data.pf);
    if let Some(exposure) = exposure {
        exposure_line(&mut facts, exposure, context);
    }
    armed_lines(&mut facts, &data.armed, reading);
    if let Some(caps) = &caps {
        ratelimit::caps_lines(&mut facts, caps);
    }
    if let Some(exposure) = exposure {
        traffic_line(&mut facts, exposure);
    }
    if let Some(table) = table {
        let released = virusprot::release_sentence(&table.expiry, reading);
        facts.field("Expiry", released, Tone::Plain);
    }
    if let Some(side) = &heard.side {
        activations_line(&mut facts, side, context.clock.now());
    }
    let lines = screen_lines(context);
    show_findings(&mut view.human, &data.findings, (exposure, expected), (&facts, lines));
    view.human.add_view(facts);
    view.human.is_extract = true;
    let rows = rows_left(&view.human, table, states, lines);
    if let Some(table) = table {
        show_blocked_line(&mut view, reading, table, rows);
    }
    if let Some(states) = states {
        show_busiest(&mut view.human, states, rows);
    }
    // On the screen each is a finding already.
    if context.terminal.mode != Mode::Table {
        view.warnings.extend(situation.warnings().into_iter().chain(warnings));
    }
    Ok((view, judged.cloned()))
}

/// Returns how many lines there are: of a terminal that is higher, all of them.
fn screen_lines(context: &Context) -> usize {
    let height = context.terminal.height.map_or(0, usize::from);
    SCREEN.0.max(height.saturating_sub(2))
}

/// Returns how many rows of each list the rest of the screen takes.
fn rows_left(
    human: &Human,
    table: Option<&virusprot::TableView>,
    states: Option<&states::States>,
    lines: usize,
) -> usize {
    let used = human.render(Some(SCREEN.1), false).lines().count();
    let blocked = table.map_or(0, |table| table.entries.len());
    let connected = states.map_or(0, |states| states.sources.len());
    // A list is a gap, its heading and its columns; where it is empty there is a sentence in their place.
    let frame = |entries: usize| if entries == 0 { 2 } else { 3 };
    let left = lines.saturating_sub(used + frame(blocked) + frame(connected));
    match (blocked, connected) {
        (0, _) | (_, 0) => left.min(ROWS),
        _ => (left / 2).min(ROWS),
    }
}

/// Says when a temporary change ends, and both commands that end the waiting.
fn armed_lines(human: &mut Human, armed: &[ArmedRow], reading: &Reading) {
    for armed in armed {
        let line = armed_commands(armed, reading.clock.now);
        human.field("Temporary", line, Tone::Plain);
    }
}

fn known_or_warning<'a, T>(
    result: std::result::Result<&'a T, &Failure>,
    what: &str,
    warnings: &mut Vec<Warning>,
) -> Option<&'a T> {
    result
        .map_err(|failure| {
            warnings.push(Warning::new(
                "fact-missing",
                format!("{what}: unknown. {}", failure.message),
            ));
        })
        .ok()
}

pub(super) fn read_pf_view(reading: &Reading) -> PfView {
    let info = reading.info.as_ref().ok();
    PfView {
        enabled: info.map(|info| info.enabled),
        states: info.and_then(|info| info.states),
        states_limit: reading
            .limits
            .as_ref()
            .ok()
            .and_then(|limits| limits.get("states").copied().flatten()),
        overload_insertions: info.and_then(|info| info.overload_insertions),
        version: reading
            .configured
            .as_ref()
            .ok()
            .and_then(|configured| configured.system.version.clone()),
    }
}

fn firewall_line(human: &mut Human, context: &Context, reading: &Reading, pf: &PfView) {
    let version = pf
        .version
        .as_ref()
        .map(|version| format!("pfSense {}, ", version.trim_end_matches("-RELEASE")))
        .unwrap_or_default();
    let word = match pf.enabled {
        Some(true) => "pf enabled",
        Some(false) => "pf DISABLED",
        None => "pf's status unknown",
    };
    let states = match (pf.states, pf.states_limit) {
        // The limit matters where it is near.
        (Some(states), Some(limit)) if states.saturating_mul(10) >= limit.saturating_mul(8) => {
            format!(", {states} of {limit} pf states")
        }
        (Some(states), _) => format!(", {states} pf states"),
        _ => String::new(),
    };
    // A reload of the rules does not begin this count anew.
    let overloads = pf.overload_insertions.map(|insertions| {
        let overloads = counted(insertions, "overload", "overloads");
        format!(", {overloads} since it started")
    });
    let overloads = overloads.unwrap_or_default();
    let at = reading.clock.now;
    human.field(
        "Firewall",
        format!("{} at {at}: {version}{word}{states}{overloads}", context.firewall_name()),
        Tone::Plain,
    );
}

fn exposure_line(human: &mut Human, exposure: &Exposure, context: &Context) {
    let service = &context.settings.service;
    let line = format!(
        "{}: TCP/{} on {} to {}",
        exposure.state_words(),
        service.port,
        service.interface,
        service.alias
    );
    human.field("Exposure", line, Tone::Plain);
}

/// What the notifier counted in a day, and the last of it.
fn activations_line(human: &mut Human, side: &LogSide, now: jiff::Timestamp) {
    let last =
        side.last_activation_at.map(|at| format!("last {} ago", format_span(age_seconds(at, now))));
    let start = side.activations.map(|times| format!("{times} since start"));
    let day = side.last_day.as_ref().map(|day| {
        format!(
            "{} in the last day by {}",
            day.activations,
            counted(day.clients, "client", "clients")
        )
    });
    let words: Vec<String> = start.into_iter().chain(day).chain(last).collect();
    if !words.is_empty() {
        human.field("Activations", words.join(", "), Tone::Plain);
    }
}

fn traffic_line(human: &mut Human, exposure: &Exposure) {
    let Some(filter) = exposure.filter.counters else {
        return;
    };
    let dropped = exposure.block.counters.map(|block| {
        format!(", {} of blocked addresses", counted(block.packets, "packet", "packets"))
    });
    human.field(
        "Since load",
        format!(
            "{}{}",
            counted(filter.state_creations, "connection", "connections"),
            dropped.unwrap_or_default()
        ),
        Tone::Plain,
    );
}

/// Says what is wrong and what mends it, as far as a screen has room beside the facts; where nothing is, what the exposure is.
fn show_findings(
    human: &mut Human,
    findings: &[Finding],
    seen: (Option<&Exposure>, Option<Expected>),
    (facts, screen): (&Human, usize),
) {
    let Some(first) = findings.first() else {
        let (exposure, expected) = seen;
        let whole = exposure.map(|exposure| whole::judge_whole(exposure, expected));
        if let Some(whole) = whole.filter(|whole| whole.result == CheckResult::Ok) {
            human.verdict("Fine", whole.evidence, Tone::Good);
        }
        return;
    };
    let lines = |human: &Human| human.render(Some(SCREEN.1), false).lines().count();
    let most = FINDING_LINES + screen - SCREEN.0;
    let mut hidden: Vec<&Finding> = Vec::new();
    for finding in findings {
        // A customer who is shut out is seen before any list.
        let is_customer = finding.check == CUSTOMER;
        let mut with = human.clone();
        let (word, tone) = match finding.result {
            CheckResult::Wrong => ("WRONG", Tone::Bad),
            _ => ("Unknown", Tone::Warning),
        };
        with.verdict(word, cut_evidence(&finding.evidence), tone);
        if let Some(fix) = &finding.fix {
            with.field("", fix, Tone::Plain);
        }
        let behind = if is_customer { BEHIND_LEAST } else { BEHIND };
        let is_over = || lines(with.clone().add_view(facts.clone())) + behind > screen;
        let waits = !is_customer && (!hidden.is_empty() || lines(human) > most);
        if finding != first && (waits || is_over()) {
            hidden.push(finding);
        } else {
            *human = with;
        }
    }
    let (blocked, others): (Vec<&Finding>, Vec<&Finding>) =
        hidden.into_iter().partition(|finding| is_of_address(finding));
    let has_customer = blocked.iter().any(|finding| finding.check == CUSTOMER);
    let more = format!("{} more: `kmsctl doctor --problems`", others.len());
    let who = if has_customer { "a blocked customer" } else { "blocked addresses to look at" };
    let who = format!("{who}: `kmsctl virusprot show`");
    let named = [(!others.is_empty()).then_some(more), (!blocked.is_empty()).then_some(who)];
    let named: Vec<String> = named.into_iter().flatten().collect();
    if !named.is_empty() {
        human.field("And", named.join("; "), Tone::Plain);
    }
}

/// Leaves out a rule in pf's words, and the end of what is long: the other commands have it whole.
fn cut_evidence(evidence: &str) -> String {
    let evidence = evidence.split(PF_WORDS).next().unwrap_or_default();
    if evidence.chars().count() <= EVIDENCE {
        return evidence.to_owned();
    }
    let mut kept: String = evidence.chars().take(EVIDENCE).collect();
    kept.truncate(kept.rfind(' ').unwrap_or(kept.len()));
    kept + " …"
}

fn show_blocked_line(
    view: &mut View,
    reading: &Reading,
    table: &virusprot::TableView,
    rows: usize,
) {
    view.human.gap();
    let count = table.entries.len();
    if count == 0 {
        view.human.line("No address is blocked.");
        return;
    }
    let newest = table.newest(rows);
    view.human.line(match count {
        _ if rows == 0 => format!("Blocked: {count}; all of them: `kmsctl virusprot show`"),
        _ if count > rows => {
            format!("Blocked on every port and interface: {count}, here the newest {rows}")
        }
        _ => format!("Blocked on every port and interface: {count}"),
    });
    if rows > 0 {
        virusprot::table_of(view, reading, &newest, &table.expiry);
    }
}

fn show_busiest(human: &mut Human, states: &states::States, most: usize) {
    // Two lists of one line each stand together.
    if most > 0 {
        human.gap();
    }
    if states.sources.is_empty() {
        human.line("No client is connected.");
        return;
    }
    let count = states.sources.len();
    let sources = counted(count, "source", "sources");
    human.line(match count {
        _ if most == 0 => format!("Connected: {sources}; all of them: `kmsctl states`"),
        _ if count > most => format!("Connected: {sources}, here the busiest {most}"),
        _ => format!("Connected: {sources}"),
    });
    if most == 0 {
        return;
    }
    let rows = states.sources.iter().take(most).map(|source| {
        vec![
            source.address.to_string(),
            source.established.to_string(),
            source.states.to_string(),
            states::against_cap(source, states.cap),
            source.bytes().map_or_else(states::unknown_count, format_bytes),
            source.oldest_seconds.map_or_else(states::unknown_count, format_span),
        ]
    });
    let columns = vec![
        text_column("SOURCE"),
        number_column("EST"),
        number_column("CONNECTIONS"),
        number_column("COUNTED/CAP"),
        number_column("BYTES").droppable(2),
        number_column("OLDEST").droppable(1),
    ];
    human.table(columns, rows.collect());
}
