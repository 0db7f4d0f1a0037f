//! `kmsctl ratelimit`: the caps per source, configured and loaded, and who is near them; and changing them.

mod change;
mod preview;

use std::collections::HashMap;
use std::net::IpAddr;

use clap::{Args as ClapArgs, Subcommand};
use serde::Serialize;

use super::{expose, states};
use crate::app::{Context, require_answer};
use crate::domain::address::canonical_address;
use crate::domain::connections::{ConnectedSource, Half, connection_half};
use crate::domain::exposure::Exposure;
use crate::domain::overload::Generation;
use crate::domain::ratelimit::{self, Pressed, PressedRate, Pressure, Standing};
use crate::domain::warning::Warning;
use crate::error::Result;
use crate::pfsense::questions::{Question, Reading};
use crate::terminal::human::{number_column, text_column};
use crate::terminal::{Human, Tone, View};
use crate::text::counted;

/// Arguments of `kmsctl ratelimit`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Set the caps of the preset `default`
    Default(change::PresetArgs),
    /// Set the caps of the preset `loosen`: when legitimate users are blocked
    Loosen(change::PresetArgs),
    /// Show who caps would have cut, by the KMS server's log and pf's own arithmetic; changes nothing
    Preview(preview::PreviewArgs),
    /// Set any caps, or those of any preset
    Set(change::SetArgs),
    /// Show the caps, which preset they are, whether they bite, and who is over or near
    Show,
    /// Set the caps of the preset `tighten`: for suspected abuse
    Tighten(change::PresetArgs),
}

/// The questions whose answers [`assess_caps`] needs.
const QUESTIONS: &[Question] = &[
    Question::Rules,
    Question::Translation,
    Question::Info,
    Question::AliasTable,
    Question::Table,
    Question::Sources,
    Question::States(None),
    Question::Configured,
];

impl Args {
    pub fn changes_caps(&self) -> bool {
        !matches!(self.command, Command::Show | Command::Preview(_))
    }
}

/// Runs `kmsctl ratelimit …`.
pub async fn run_ratelimit(context: &Context, arguments: &Args) -> Result<()> {
    match &arguments.command {
        Command::Default(arguments) => change::apply_preset(context, "default", arguments).await,
        Command::Loosen(arguments) => change::apply_preset(context, "loosen", arguments).await,
        Command::Preview(arguments) => preview::preview_ratelimit(context, arguments).await,
        Command::Set(arguments) => change::set_caps(context, arguments).await,
        Command::Tighten(arguments) => change::apply_preset(context, "tighten", arguments).await,
        Command::Show => {
            let reading = context.read(QUESTIONS).await?;
            context.terminal.show(&ratelimit_view(context, &reading)?)
        }
    }
}

#[derive(Debug, Serialize)]
pub struct Ratelimit {
    #[serde(flatten)]
    standing: Standing,
    /// Sources near or over the cap, busiest first.
    near: Vec<Pressed>,
}

/// Judges the caps, and the sources against them where they are known.
pub fn assess_caps(
    context: &Context,
    exposure: &Exposure,
    states: Option<&states::States>,
) -> Ratelimit {
    let standing = ratelimit::judge_caps(exposure, &context.settings.presets);
    let cap = standing.loaded.and_then(|caps| caps.max_src_conn);
    let sources = states.map(|states| states.sources.as_slice()).unwrap_or_default();
    // What pf counts is the truth: connections of before a reload count nothing. Where it was not read, established
    // connections stand in.
    let known = states.is_some_and(|states| states.nodes.is_some());
    let count = |source: &ConnectedSource| match source.counted {
        Some(counted) => u64::from(counted),
        None if known => 0,
        None => source.established,
    };
    let near = ratelimit::sources_near_cap(
        sources.iter().map(|source| (source.address, count(source))),
        cap,
    );
    Ratelimit { standing, near }
}

/// The data of `ratelimit.show`.
#[derive(Debug, Serialize)]
struct RatelimitShown {
    #[serde(flatten)]
    caps: Ratelimit,
    /// Sources near or over the rate, busiest first; null where it is not known.
    near_rate: Option<Vec<PressedRate>>,
}

/// Finds the sources near the loaded rate by the ages of their states; the error says why it is not known.
fn sources_near_rate(
    context: &Context,
    reading: &Reading,
    exposure: &Exposure,
    states: Option<&states::States>,
) -> std::result::Result<Vec<PressedRate>, &'static str> {
    let caps = exposure.caps.loaded.ok_or("no filter rule is loaded")?;
    let rate = caps.rate.ok_or("the loaded rule has none")?;
    let version = reading.configured.as_ref().ok();
    let version = version.and_then(|configured| configured.system.version.as_deref());
    let generation = version
        .and_then(Generation::of_version)
        .ok_or("it is not known how this version of pfSense counts")?;
    let nodes = states.and_then(|states| states.nodes.as_ref());
    let nodes = nodes.ok_or("pf's source nodes were not read")?;
    let live = require_answer(&reading.states).map_err(|_| "the states were not read")?;
    let (service, members) = (&context.settings.service, exposure.alias.members());
    let mut ages: HashMap<IpAddr, Vec<u64>> = HashMap::new();
    for state in live {
        // Only completed handshakes count.
        let counts =
            !["SYN_", "PROXY", "CLOSED:CLOSED"].iter().any(|word| state.levels.contains(word));
        let client = connection_half(state, service, members.as_deref());
        if let (true, Some(Half::Client { .. }), Some(detail)) = (counts, client, &state.detail) {
            let address = canonical_address(state.right.address);
            ages.entry(address).or_default().push(detail.age_seconds);
        }
    }
    let mut pressed = Vec::new();
    for node in nodes {
        let address = canonical_address(node.address);
        let Some(ages) = ages.remove(&address) else {
            continue;
        };
        // Whose window is not known is not known to be far from it either.
        let counted = ratelimit::replay_ages(
            generation,
            rate,
            ages,
            node.age_seconds.ok_or("the nodes' ages were not read")?,
        )
        .ok_or("older connections of the same window may be gone")?;
        if ratelimit::cap_pressure(u64::from(counted), Some(rate.connections)) != Pressure::Within {
            pressed.push(PressedRate {
                address,
                counted,
                connections: rate.connections,
                seconds: rate.seconds,
            });
        }
    }
    pressed.sort_by_key(|source| (std::cmp::Reverse(source.counted), source.address));
    Ok(pressed)
}

fn ratelimit_view(context: &Context, reading: &Reading) -> Result<View> {
    let situation = context.situation(reading);
    let (exposure, mut warnings) = (situation.exposure()?, situation.warnings());
    let states = match states::assess_states(context, reading, exposure, &mut warnings) {
        Ok(states) => Some(states),
        Err(failure) => {
            warnings.push(Warning::new(
                "fact-missing",
                format!("Who is near the cap: unknown. {}", failure.message),
            ));
            None
        }
    };
    let near_rate = sources_near_rate(context, reading, exposure, states.as_ref());
    let shown = RatelimitShown {
        caps: assess_caps(context, exposure, states.as_ref()),
        near_rate: near_rate.as_ref().ok().cloned(),
    };
    let mut view = context.view("ratelimit.show", reading, &shown)?;
    let data = shown.caps;
    view.warnings.extend(warnings);
    for_people(&mut view.human, &data);
    let text = match near_rate.as_deref() {
        Err(why) => format!("rate not known: {why}"),
        Ok([]) => "no source".to_owned(),
        Ok([first, rest @ ..]) => {
            let more =
                if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
            format!("{} with {first}{more}", first.address)
        }
    };
    view.human.field("Near the rate", text, Tone::Plain);
    expose::limits_field(&mut view.human, exposure);
    view.human.field("Why", &data.standing.why, Tone::Plain);
    view.human.gap();
    let presets = context
        .settings
        .presets
        .iter()
        .map(|preset| vec![preset.name.clone(), preset.caps.to_string()]);
    view.human
        .table(vec![text_column("PRESET"), text_column("CAPS PER SOURCE")], presets.collect());
    if !data.near.is_empty() {
        view.human.gap();
        let rows = data.near.iter().map(|pressed| {
            let word = if pressed.pressure == Pressure::Over { "over" } else { "near" };
            vec![pressed.address.to_string(), pressed.connections.to_string(), word.to_owned()]
        });
        view.human.table(
            vec![text_column("SOURCE"), number_column("CONNECTIONS"), text_column("THE CAP")],
            rows.collect(),
        );
    }
    Ok(view)
}

pub fn caps_lines(human: &mut Human, data: &Ratelimit) {
    human.field("Caps", data.standing.caps_sentence(), Tone::Plain);
    if !data.near.is_empty() {
        near_line(human, data);
    }
}

/// Adds the caps in two or three lines.
fn for_people(human: &mut Human, data: &Ratelimit) {
    let standing = &data.standing;
    let tone = if standing.in_force { Tone::Good } else { Tone::Warning };
    human.field("Caps", standing.caps_sentence(), tone);
    for path in &standing.uncapped_paths {
        human.verdict("Uncapped", format!("No source is capped where {path}."), Tone::Warning);
    }
    // Where nothing is loaded the sentence names the configured ones.
    if standing.configured.is_some()
        && standing.loaded.is_some()
        && standing.configured != standing.loaded
    {
        let configured = standing.configured.map(|caps| caps.to_string()).unwrap_or_default();
        human.field("Configured", configured, Tone::Plain);
    }
    near_line(human, data);
}

/// Adds who is near the cap, or over it.
fn near_line(human: &mut Human, data: &Ratelimit) {
    let near = match data.near.as_slice() {
        [] => "no source".to_owned(),
        [first, rest @ ..] => {
            let more =
                if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
            format!(
                "{} with {}{more}",
                first.address,
                counted(first.connections, "connection", "connections")
            )
        }
    };
    human.field("Near the cap", near, Tone::Plain);
}
