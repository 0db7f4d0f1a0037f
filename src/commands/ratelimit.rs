//! `kmsctl ratelimit`: the caps per source, configured and loaded, and who is near them; and changing them.

mod change;

use clap::{Args as ClapArgs, Subcommand};
use serde::Serialize;

use super::{expose, states};
use crate::app::Context;
use crate::domain::connections::ConnectedSource;
use crate::domain::exposure::Exposure;
use crate::domain::ratelimit::{self, Pressed, Pressure, Standing};
use crate::domain::warning::Warning;
use crate::error::Result;
use crate::pfsense::questions::{Question, Reading};
use crate::terminal::human::{number_column, text_column};
use crate::terminal::{Human, Tone, View};

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
    Question::Table,
    Question::Sources,
    Question::States(None),
    Question::Configured,
];

/// Runs `kmsctl ratelimit …`.
pub async fn run_ratelimit(context: &Context, arguments: &Args) -> Result<()> {
    match &arguments.command {
        Command::Default(arguments) => change::apply_preset(context, "default", arguments).await,
        Command::Loosen(arguments) => change::apply_preset(context, "loosen", arguments).await,
        Command::Set(arguments) => change::set_caps(context, arguments).await,
        Command::Tighten(arguments) => change::apply_preset(context, "tighten", arguments).await,
        Command::Show => {
            let reading = context.read(QUESTIONS).await?;
            context.terminal.show(&ratelimit_view(context, &reading)?)
        }
    }
}

/// The data of `ratelimit.show`.
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
    let sources = states
        .map(|states| states.sources.as_slice())
        .unwrap_or_default();
    // What pf counts is the truth: connections of before a reload count nothing. Where it was not read, established
    // connections stand in.
    let known = states.is_some_and(|states| states.counted);
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

fn ratelimit_view(context: &Context, reading: &Reading) -> Result<View> {
    let mut warnings = Vec::new();
    let exposure = expose::assess_exposure(context, reading, &mut warnings)?;
    let states = match states::assess_states(context, reading, &exposure, &mut warnings) {
        Ok(states) => Some(states),
        Err(failure) => {
            warnings.push(Warning::new(
                "fact-missing",
                format!("Who is near the cap: unknown. {}", failure.message),
            ));
            None
        }
    };
    let data = assess_caps(context, &exposure, states.as_ref());
    let mut view = context.view("ratelimit.show", reading, &data)?;
    view.warnings.extend(warnings);
    for_people(&mut view.human, &data);
    expose::limits_field(&mut view.human, &exposure);
    view.human.field("Why", &data.standing.why, Tone::Plain);
    view.human.gap();
    let presets = context
        .settings
        .presets
        .iter()
        .map(|preset| vec![preset.name.clone(), preset.caps.to_string()]);
    view.human.table(
        vec![text_column("PRESET"), text_column("CAPS PER SOURCE")],
        presets.collect(),
    );
    if !data.near.is_empty() {
        view.human.gap();
        let rows = data.near.iter().map(|pressed| {
            let word = if pressed.pressure == Pressure::Over {
                "over"
            } else {
                "near"
            };
            vec![
                pressed.address.to_string(),
                pressed.connections.to_string(),
                word.to_owned(),
            ]
        });
        view.human.table(
            vec![
                text_column("SOURCE"),
                number_column("CONNECTIONS"),
                text_column("THE CAP"),
            ],
            rows.collect(),
        );
    }
    Ok(view)
}

/// Adds the caps in one line, and who is near them where one is.
pub fn caps_lines(human: &mut Human, data: &Ratelimit) {
    human.field("Caps", data.standing.caps_sentence(), Tone::Plain);
    if !data.near.is_empty() {
        near_line(human, data);
    }
}

/// Adds the caps in two or three lines.
fn for_people(human: &mut Human, data: &Ratelimit) {
    let standing = &data.standing;
    let tone = if standing.in_force {
        Tone::Good
    } else {
        Tone::Warning
    };
    human.field("Caps", standing.caps_sentence(), tone);
    // Where nothing is loaded the sentence tells the configured ones.
    if standing.configured.is_some()
        && standing.loaded.is_some()
        && standing.configured != standing.loaded
    {
        let configured = standing
            .configured
            .map(|caps| caps.to_string())
            .unwrap_or_default();
        human.field("Configured", configured, Tone::Warning);
    }
    near_line(human, data);
}

/// Adds who is near the cap, or over it.
fn near_line(human: &mut Human, data: &Ratelimit) {
    let near = match data.near.as_slice() {
        [] => "no source".to_owned(),
        [first, rest @ ..] => {
            let more = if rest.is_empty() {
                String::new()
            } else {
                format!(" and {} more", rest.len())
            };
            format!(
                "{} with {} connections{more}",
                first.address, first.connections
            )
        }
    };
    human.field(
        "Near the cap",
        near,
        if data.near.is_empty() {
            Tone::Plain
        } else {
            Tone::Warning
        },
    );
}
