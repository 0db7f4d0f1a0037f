//! `kmsctl status`: everything on one screen, out of one round trip.

use clap::Args as ClapArgs;
use serde::Serialize;

use super::history::{ArmedRow, armed_line};
use super::log_side::{self, Heard};
use super::rule::RuleView;
use super::{expose, ratelimit, states, virusprot};
use crate::app::Context;
use crate::app::watch;
use crate::app::watch::Watch;
use crate::domain::exposure::Exposure;
use crate::domain::notifier::health::LogSide;
use crate::domain::warning::Warning;
use crate::error::Result;
use crate::pfsense::questions::{Question, Reading};
use crate::terminal::human::{format_bytes, format_count, format_span, number_column, text_column};
use crate::terminal::{Human, Tone, View};

/// Arguments of `kmsctl status`.
#[derive(Debug, Default, ClapArgs)]
pub struct Args {
    #[command(flatten)]
    watch: Watch,
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
    Question::Limits,
    Question::Configured,
];

/// Most rows of a list that one screen shows.
const ROWS: usize = 5;

#[derive(Serialize)]
struct StatusView<'a> {
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

/// pf itself.
#[derive(Default, Serialize)]
struct PfView {
    enabled: Option<bool>,
    states: Option<u64>,
    states_limit: Option<u64>,
    overload_insertions: Option<u64>,
    version: Option<String>,
}

/// Runs `kmsctl status`.
pub async fn run_status(context: &Context, arguments: &Args) -> Result<()> {
    let build = |reading: &Reading, _: Option<&Reading>, heard: &Heard| {
        status_view(context, reading, heard)
    };
    let beside = async || Box::pin(log_side::fetch_kms_activity(context)).await;
    watch::show_beside(context, QUESTIONS, &arguments.watch, beside, build).await
}

/// One part failing leaves the others on the screen.
fn status_view(context: &Context, reading: &Reading, heard: &Heard) -> Result<View> {
    let mut warnings = Vec::new();
    let exposure = expose::assess_exposure(context, reading, &mut warnings);
    if let (Err(failure), Err(_), Err(_)) = (&exposure, &reading.states, &reading.table) {
        return Err(failure.retold());
    }
    let exposure = kept_or_warning(exposure, "The exposure", &mut warnings);
    let states = exposure
        .as_ref()
        .map(|exposure| states::assess_states(context, reading, exposure, &mut warnings));
    let states =
        states.and_then(|states| kept_or_warning(states, "Live connections", &mut warnings));
    let caps = exposure
        .as_ref()
        .map(|exposure| ratelimit::assess_caps(context, exposure, states.as_ref()));
    let table = virusprot::assess_table(context, reading, heard, &mut warnings);
    let table = kept_or_warning(table, "Who is blocked", &mut warnings);
    let data = StatusView {
        expose: exposure.as_ref(),
        rule: exposure.as_ref().map(RuleView::of),
        ratelimit: caps.as_ref(),
        states: states.as_ref(),
        virusprot: table.as_ref(),
        pf: pf_view(reading),
        armed: ArmedRow::of(reading),
        notifier: heard.side.as_ref(),
    };
    let mut view = context.view("status", reading, &data)?;
    firewall_line(&mut view.human, context, reading, &data.pf);
    if let Some(exposure) = &exposure {
        expose::exposure_headline(&mut view.human, exposure, context);
    }
    armed_lines(&mut view.human, &data.armed, reading);
    if let Some(caps) = &caps {
        ratelimit::for_people(&mut view.human, caps);
    }
    if let Some(exposure) = &exposure {
        traffic_line(&mut view.human, exposure, &data.pf);
        show_findings(&mut view.human, exposure);
    }
    if let Some(table) = &table {
        view.human.field(
            "Expiry",
            virusprot::release_sentence(&table.expiry, reading),
            Tone::Plain,
        );
    }
    if let Some(side) = &heard.side {
        log_side::for_people(&mut view.human, side, context.clock.now());
    }
    if let Some(table) = &table {
        show_blocked_line(&mut view, reading, table);
    }
    if let Some(states) = &states {
        show_busiest(&mut view.human, states);
    }
    without_doubles(&mut warnings);
    view.warnings.extend(warnings);
    Ok(view)
}

/// Two parts may miss the same fact.
fn without_doubles(warnings: &mut Vec<Warning>) {
    let mut seen = Vec::new();
    warnings.retain(|warning| {
        let new = !seen.contains(warning);
        seen.push(warning.clone());
        new
    });
}

fn armed_lines(human: &mut Human, armed: &[ArmedRow], reading: &Reading) {
    for armed in armed {
        let line = armed_line(armed, reading.clock.now);
        human.field("Armed", line, Tone::Warning);
    }
}

fn kept_or_warning<T>(result: Result<T>, what: &str, warnings: &mut Vec<Warning>) -> Option<T> {
    result
        .map_err(|failure| {
            warnings.push(Warning::new(
                "fact-missing",
                format!("{what}: unknown. {}", failure.message),
            ));
        })
        .ok()
}

fn pf_view(reading: &Reading) -> PfView {
    let info = reading.info.as_ref().ok();
    PfView {
        enabled: info.map(|info| info.enabled),
        states: info.and_then(|info| info.states),
        states_limit: reading
            .limits
            .as_ref()
            .ok()
            .and_then(|limits| limits.get("states").copied().flatten()),
        overload_insertions: info
            .and_then(|info| info.limit_counters.get("overload table insertion").copied()),
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
        .map(|version| format!("pfSense {version}, "))
        .unwrap_or_default();
    let (word, tone) = match pf.enabled {
        Some(true) => ("pf enabled", Tone::Plain),
        Some(false) => ("pf is DISABLED: nothing is filtered", Tone::Bad),
        None => ("pf's status unknown", Tone::Warning),
    };
    let states = match (pf.states, pf.states_limit) {
        (Some(states), Some(limit)) => format!(
            ", {} of {} states",
            format_count(states),
            format_count(limit)
        ),
        (Some(states), None) => format!(", {} states", format_count(states)),
        _ => String::new(),
    };
    let at = reading.clock.now.strftime("%Y-%m-%d %H:%M:%S UTC");
    human.field(
        "Firewall",
        format!(
            "{} at {at}: {version}{word}{states}",
            context.firewall_name()
        ),
        tone,
    );
}

fn traffic_line(human: &mut Human, exposure: &Exposure, pf: &PfView) {
    let Some(filter) = exposure.filter.counters else {
        return;
    };
    let dropped = exposure.block.counters.map(|block| {
        let packets = format_count(block.packets);
        format!(", {packets} packets dropped by the block rule")
    });
    let overloads = pf
        .overload_insertions
        .map(|insertions| format!(", {} overloads", format_count(insertions)));
    // A reload starts the count of connections from zero; pfSense has pf keep the rest.
    human.field(
        "Since load",
        format!(
            "{} connections; over reloads {} through the filter rule{}{}",
            format_count(filter.state_creations),
            format_bytes(filter.bytes),
            dropped.unwrap_or_default(),
            overloads.unwrap_or_default()
        ),
        Tone::Plain,
    );
}

fn show_findings(human: &mut Human, exposure: &Exposure) {
    for finding in exposure.why.iter().skip(1) {
        human.field("Finding", &finding.message, Tone::Warning);
    }
}

fn show_blocked_line(view: &mut View, reading: &Reading, table: &virusprot::TableView) {
    view.human.gap();
    let count = table.entries.len();
    if count == 0 {
        view.human.line("Nobody is blocked.");
        return;
    }
    let newest = table.newest(ROWS);
    let shown = if count > ROWS {
        format!(", the newest {ROWS}")
    } else {
        String::new()
    };
    view.human.line(format!(
        "Blocked: {count}{shown}, on every port and interface"
    ));
    virusprot::table_of(view, reading, &newest, &table.expiry);
}

fn show_busiest(human: &mut Human, states: &states::States) {
    human.gap();
    if states.sources.is_empty() {
        human.line("Nobody is connected.");
        return;
    }
    let shown = if states.sources.len() > ROWS {
        format!(", the busiest {ROWS}")
    } else {
        String::new()
    };
    human.line(format!(
        "Connected: {} sources{shown}",
        states.sources.len()
    ));
    let rows = states.sources.iter().take(ROWS).map(|source| {
        vec![
            source.address.to_string(),
            source.established.to_string(),
            source.states.to_string(),
            states::against_cap(source, states.cap),
            format_bytes(source.bytes_in.saturating_add(source.bytes_out)),
            format_span(source.oldest_seconds),
        ]
    });
    let columns = vec![
        text_column("SOURCE"),
        number_column("EST"),
        number_column("STATES"),
        number_column("COUNTED/CAP"),
        number_column("BYTES").droppable(2),
        number_column("OLDEST").droppable(1),
    ];
    human.table(columns, rows.collect());
}
