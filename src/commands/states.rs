//! `kmsctl states`: the live connections of the service, one row per source or one per state; and ending them.

mod kill;

use std::collections::BTreeMap;
use std::net::IpAddr;

use clap::{Args as ClapArgs, Subcommand};
use serde::Serialize;

use super::log_side::{self, KmsActivity};
use crate::app::watch;
use crate::app::watch::Watch;
use crate::app::{Context, answer_or_warning, require_answer};
use crate::domain::address::{canonical_address, canonical_net};
use crate::domain::connections;
use crate::domain::connections::ConnectedSource;
use crate::domain::exposure::Exposure;
use crate::domain::notifier::health::LogSide;
use crate::domain::pf::rule::Rule;
use crate::domain::pf::source::SourceNode;
use crate::domain::pf::state::State;
use crate::domain::service::Service;
use crate::domain::warning::Warning;
use crate::error::Result;
use crate::pfsense::questions::{Question, Reading};
use crate::settings::values;
use crate::settings::values::TypedNetwork;
use crate::terminal::View;
use crate::terminal::human::{number_column, text_column};
use crate::text::{counted, format_bytes, format_span};

/// Arguments of `kmsctl states`.
#[derive(Debug, ClapArgs)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// One row per state, both halves of a forwarded connection
    #[arg(long)]
    all: bool,
    /// Only this source, or those within this network
    #[arg(long, value_name = "ADDR", value_parser = values::parse_typed_network)]
    source: Option<TypedNetwork>,
    #[command(flatten)]
    watch: Watch,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// End connections: of these clients, or of all
    Kill(kill::Kill),
}

/// Runs `kmsctl states`.
pub async fn run_states(context: &Context, arguments: &Args) -> Result<()> {
    if let Some(Command::Kill(arguments)) = &arguments.command {
        return kill::kill_states(context, arguments).await;
    }
    context.say_dropped_ports(arguments.source.as_slice());
    // Of one address alone the firewall's own filter leaves out the other states.
    let one = arguments.source.map(|typed| typed.net);
    let one = one.filter(|net| net.prefix_len() == net.max_prefix_len());
    let questions = [
        Question::Table,
        Question::Rules,
        Question::Translation,
        Question::Info,
        Question::Sources,
        Question::States(one.map(|net| net.addr())),
        Question::Configured,
    ];
    let build = |reading: &Reading, before: Option<&Reading>, heard: &KmsActivity| {
        states_view(context, arguments, reading, before, heard)
    };
    let beside = async || Box::pin(log_side::fetch_kms_activity(context)).await;
    watch::show_beside(context, &questions, &arguments.watch, beside, build).await
}

/// The data of `states`.
#[derive(Debug, Serialize)]
#[expect(clippy::struct_field_names, reason = "the keys of the schema")]
pub struct States {
    /// The cap on connections per source, as loaded.
    pub cap: Option<u32>,
    /// What pf counts against it, where it was read.
    #[serde(skip)]
    pub nodes: Option<Vec<SourceNode>>,
    /// Busiest first.
    pub sources: Vec<ConnectedSource>,
    #[serde(skip_serializing_if = "Option::is_none")]
    states: Option<Vec<SourceRow>>,
    /// What the notifier knows about clients, where a cluster is configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    notifier: Option<LogSide>,
}

#[derive(Debug, Serialize)]
struct SourceRow {
    interface: String,
    protocol: String,
    direction: crate::domain::pf::rule::Direction,
    client: IpAddr,
    client_port: u16,
    server: IpAddr,
    server_port: u16,
    levels: String,
    age_seconds: Option<u64>,
    expires_seconds: Option<u64>,
    bytes_in: Option<u64>,
    bytes_out: Option<u64>,
    id: Option<String>,
}

/// Tallies the states of a reading; states are needed, everything else degrades to a warning.
pub fn assess_states(
    context: &Context,
    reading: &Reading,
    exposure: &Exposure,
    warnings: &mut Vec<Warning>,
) -> Result<States> {
    let states = require_answer(&reading.states)?;
    // Source nodes name the number of the loaded rule; several rules can share the tracker.
    let tracker = exposure.filter.tracker_number();
    let rules = reading.rules.as_ref().map(Vec::as_slice).unwrap_or_default();
    let of_filter = |rule: &&Rule| tracker.is_some() && rule.ridentifier == tracker;
    let numbers: Vec<(u32, u64)> = rules
        .iter()
        .filter(of_filter)
        .filter_map(|rule| Some((rule.number?, rule.counters.as_ref()?.states)))
        .collect();
    let sources = answer_or_warning(&reading.sources, "What pf counts per source", warnings);
    let nodes = sources.map(|nodes| connections::counting_nodes(nodes, &numbers));
    let blocked = answer_or_warning(&reading.table, "Whether they are blocked", warnings)
        .map(Vec::as_slice)
        .unwrap_or_default();
    let is_blocked = |address: &IpAddr| {
        blocked.iter().any(|entry| !entry.negated && entry.net.contains(address))
    };
    Ok(States {
        cap: exposure.caps.loaded.and_then(|caps| caps.max_src_conn),
        sources: connections::tally_sources(
            states,
            &context.settings.service,
            exposure.alias.members().as_deref(),
            nodes.as_deref().unwrap_or_default(),
            is_blocked,
        ),
        nodes,
        states: None,
        notifier: None,
    })
}

fn states_view(
    context: &Context,
    arguments: &Args,
    reading: &Reading,
    before: Option<&Reading>,
    heard: &KmsActivity,
) -> Result<View> {
    let situation = context.situation(reading);
    let (exposure, mut warnings) = (situation.exposure()?, situation.warnings());
    let mut data = assess_states(context, reading, exposure, &mut warnings)?;
    data.notifier.clone_from(&heard.side);
    let is_meant = |address: IpAddr| {
        arguments
            .source
            .is_none_or(|source| canonical_net(source.net).contains(&canonical_address(address)))
    };
    data.sources.retain(|row| is_meant(row.address));
    let (service, members) = (&context.settings.service, exposure.alias.members());
    let states: Vec<&State> = require_answer(&reading.states)?
        .iter()
        .filter(|state| connections::connection_half(state, service, members.as_deref()).is_some())
        .filter(|state| is_meant(state.client().address))
        .collect();
    if arguments.all {
        data.states = Some(states.iter().map(|state| state_row(state)).collect());
    }
    let mut view = context.view("states", reading, &data)?;
    view.warnings.extend(warnings);
    if arguments.all {
        view.items = Some(("states", STATE_COLUMNS));
        all_for_people(&mut view, &data);
    } else {
        view.items = Some(("sources", SOURCE_COLUMNS));
        let before =
            before.map(|before| byte_rates(&data, reading, before, service, members.as_deref()));
        sources_for_people(&mut view, &data, before.as_ref());
    }
    if let Some(side) = &heard.side {
        view.human.gap();
        let now = context.clock.now();
        if arguments.source.is_none() {
            log_side::for_people(&mut view.human, side, now);
        } else {
            let clients = heard.clients.iter();
            let meant = clients.filter(|(address, _)| is_meant(**address));
            log_side::activated_line(&mut view.human, meant.max_by_key(|(_, at)| **at), now);
        }
    }
    let port = context.settings.service.port;
    let nothing = if arguments.all { states.is_empty() } else { data.sources.is_empty() };
    view.empty = nothing.then(|| match arguments.source {
        Some(source) if source.net.prefix_len() < source.net.max_prefix_len() => {
            format!("No source within {} has a connection to port {port}.", source.net)
        }
        Some(source) => format!("{} has no connection to port {port}.", source.net.addr()),
        None => format!("No client is connected to port {port}."),
    });
    Ok(view)
}

const SOURCE_COLUMNS: &[&str] = &[
    "address",
    "established",
    "states",
    "counted",
    "bytes_in",
    "bytes_out",
    "oldest_seconds",
    "blocked",
];
const STATE_COLUMNS: &[&str] = &[
    "interface",
    "protocol",
    "direction",
    "client",
    "client_port",
    "server",
    "server_port",
    "levels",
    "age_seconds",
    "expires_seconds",
    "bytes_in",
    "bytes_out",
    "id",
];

fn state_row(state: &State) -> SourceRow {
    use crate::domain::pf::rule::Direction;
    let client = state.client();
    let server = match state.direction {
        Direction::In => &state.left,
        Direction::Out => &state.right,
    };
    let detail = state.detail.as_ref();
    SourceRow {
        interface: state.interface.clone(),
        protocol: state.protocol.clone(),
        direction: state.direction,
        client: client.address,
        client_port: client.port,
        server: server.address,
        server_port: server.port,
        levels: state.levels.clone(),
        age_seconds: detail.map(|detail| detail.age_seconds),
        expires_seconds: detail.map(|detail| detail.expires_seconds),
        bytes_in: detail.map(|detail| detail.bytes.0),
        bytes_out: detail.map(|detail| detail.bytes.1),
        id: state
            .identity
            .as_ref()
            .map(|identity| format!("{:016x}/{:08x}", identity.id, identity.creator)),
    }
}

/// Renders what was not read.
pub fn unknown_count() -> String {
    "-".to_owned()
}

fn all_for_people(view: &mut View, data: &States) {
    let rows = data.states.as_deref().unwrap_or_default();
    if rows.is_empty() {
        return;
    }
    let connections: u64 = data.sources.iter().map(|source| source.states).sum();
    view.human
        .line(format!(
            "{} pf states of {}: a forwarded one has a state on each side.",
            rows.len(),
            counted(connections, "connection", "connections")
        ))
        .gap();
    let columns = vec![
        text_column("IF").droppable(2),
        text_column("DIR"),
        text_column("CLIENT"),
        text_column("SERVER").droppable(1),
        text_column("STATE"),
        number_column("AGE"),
        number_column("IN").droppable(3),
        number_column("OUT").droppable(3),
        text_column("ID").droppable(4),
    ];
    let cells = rows.iter().map(|row| {
        let arrow = if matches!(row.direction, crate::domain::pf::rule::Direction::In) {
            "in"
        } else {
            "out"
        };
        vec![
            row.interface.clone(),
            arrow.to_owned(),
            endpoint_text(row.client, row.client_port),
            endpoint_text(row.server, row.server_port),
            row.levels.clone(),
            row.age_seconds.map_or_else(unknown_count, format_span),
            row.bytes_in.map_or_else(unknown_count, format_bytes),
            row.bytes_out.map_or_else(unknown_count, format_bytes),
            row.id.clone().unwrap_or_default(),
        ]
    });
    view.human.table(columns, cells.collect());
}

fn endpoint_text(address: IpAddr, port: u16) -> String {
    std::net::SocketAddr::new(address, port).to_string()
}

/// Adds one row per source; with `rates`, also bytes per second.
fn sources_for_people(view: &mut View, data: &States, rates: Option<&BTreeMap<IpAddr, u64>>) {
    if data.sources.is_empty() {
        return;
    }
    let total: u64 = data.sources.iter().map(|source| source.states).sum();
    let cap = data.cap.map_or_else(
        || "no cap is loaded".to_owned(),
        |cap| format!("the cap is {cap} per source"),
    );
    view.human
        .line(format!(
            "{} from {}; {cap}.",
            counted(total, "connection", "connections"),
            counted(data.sources.len(), "source", "sources")
        ))
        .gap();
    let mut columns = vec![
        text_column("SOURCE"),
        number_column("EST"),
        number_column("CONNECTIONS"),
        number_column("COUNTED/CAP"),
        number_column("IN").droppable(3),
        number_column("OUT").droppable(3),
        number_column("OLDEST").droppable(1),
        text_column("FLAGS"),
    ];
    if rates.is_some() {
        columns.insert(6, number_column("RATE").droppable(2));
    }
    let rows = data.sources.iter().map(|source| {
        let mut row = vec![
            source.address.to_string(),
            source.established.to_string(),
            source.states.to_string(),
            against_cap(source, data.cap),
            source.bytes_in.map_or_else(unknown_count, format_bytes),
            source.bytes_out.map_or_else(unknown_count, format_bytes),
            source.oldest_seconds.map_or_else(unknown_count, format_span),
            if source.blocked { "blocked".to_owned() } else { String::new() },
        ];
        if let Some(rates) = rates {
            let rate = rates.get(&source.address).copied();
            let rate = rate.map(|rate| format!("{}/s", format_bytes(rate)));
            row.insert(6, rate.unwrap_or_else(unknown_count));
        }
        row
    });
    view.human.table(columns, rows.collect());
}

/// Renders what pf counts against the cap: `37/50`, `-/50` without a source node.
pub fn against_cap(source: &ConnectedSource, cap: Option<u32>) -> String {
    let counted = source.counted.map_or_else(|| "-".to_owned(), |counted| counted.to_string());
    cap.map_or_else(|| counted.clone(), |cap| format!("{counted}/{cap}"))
}

/// Returns bytes per second of each source since the reading before.
fn byte_rates(
    data: &States,
    reading: &Reading,
    before: &Reading,
    service: &Service,
    members: Option<&[ipnet::IpNet]>,
) -> BTreeMap<IpAddr, u64> {
    let seconds =
        crate::domain::virusprot::entries::age_seconds(before.clock.now, reading.clock.now).max(1);
    let earlier = before
        .states
        .as_ref()
        .map(|states| connections::tally_sources(states, service, members, &[], |_| false))
        .unwrap_or_default();
    let past: BTreeMap<IpAddr, u64> =
        earlier.iter().filter_map(|source| Some((source.address, source.bytes()?))).collect();
    let rate = |source: &ConnectedSource| {
        let past = past.get(&source.address).copied().unwrap_or_default();
        Some((source.address, source.bytes()?.saturating_sub(past) / seconds))
    };
    data.sources.iter().filter_map(rate).collect()
}
