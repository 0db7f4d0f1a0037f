//! `kmsctl ratelimit tighten|loosen|default|set`: changes the caps.

use std::cell::Cell;
use std::time::Duration;

use clap::{ArgGroup, Args as ClapArgs};

use crate::app::Context;
use crate::change;
use crate::change::{ChangeFlags, Temporary};
use crate::domain::pf::rule::Rate;
use crate::domain::plan;
use crate::domain::plan::{ChangeOptions, Planned, WantedCaps};
use crate::domain::ratelimit::{self, Caps, preset_of};
use crate::error::Result;
use crate::pfsense::questions::Reading;
use crate::settings::values;

use super::preview;

/// How long the cluster may take to say who would have been cut.
const PATIENCE: Duration = Duration::from_secs(2);

/// Arguments of a command that applies one preset.
#[derive(Debug, ClapArgs)]
pub(super) struct PresetArgs {
    #[command(flatten)]
    temporary: Temporary,
    #[command(flatten)]
    flags: ChangeFlags,
}

/// Arguments of `kmsctl ratelimit set`.
#[derive(Debug, ClapArgs)]
#[command(group = ArgGroup::new("wanted").required(true).multiple(true))]
pub(super) struct SetArgs {
    /// A preset of the configuration
    #[arg(long, value_name = "NAME", group = "wanted", conflicts_with_all = ["max_src_conn", "rate"])]
    preset: Option<String>,
    /// Simultaneous connections per source, or `none`; not given, it stays as it is
    #[arg(long, value_name = "N", group = "wanted", value_parser = parse_connections_cap)]
    max_src_conn: Option<CapValue<u32>>,
    /// New connections per source within seconds, or `none`; not given, it stays as it is
    #[arg(long, value_name = "N/SECONDS", group = "wanted", value_parser = parse_rate_cap)]
    rate: Option<CapValue<Rate>>,
    #[command(flatten)]
    temporary: Temporary,
    #[command(flatten)]
    flags: ChangeFlags,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum CapValue<T> {
    None,
    Some(T),
}

impl<T: Copy> CapValue<T> {
    /// Returns the cap that is meant, `present` where none was typed.
    pub(super) fn or_present(typed: Option<Self>, present: Option<T>) -> Option<T> {
        match typed {
            None => present,
            Some(Self::None) => None,
            Some(Self::Some(value)) => Some(value),
        }
    }
}

pub(super) fn parse_connections_cap(text: &str) -> Result<CapValue<u32>, String> {
    if text == "none" {
        return Ok(CapValue::None);
    }
    match text.parse::<u32>() {
        Ok(number) if number > 0 && text.bytes().all(|byte| byte.is_ascii_digit()) => {
            Ok(CapValue::Some(number))
        }
        _ => Err(format!("`{text}` is neither `none` nor a whole number from 1 to {}", u32::MAX)),
    }
}

pub(super) fn parse_rate_cap(text: &str) -> Result<CapValue<Rate>, String> {
    if text == "none" {
        return Ok(CapValue::None);
    }
    values::parse_rate(text).map(CapValue::Some)
}

/// Runs `kmsctl ratelimit tighten|loosen|default`.
pub(super) async fn apply_preset(
    context: &Context,
    name: &str,
    arguments: &PresetArgs,
) -> Result<()> {
    let caps = plan::caps_of_preset(&context.settings.presets, name)?;
    let command = format!("ratelimit {name}");
    let (flags, temporary) = (&arguments.flags, &arguments.temporary);
    change_caps(context, flags, temporary, &command, name == "tighten", |_| caps).await
}

/// Runs `kmsctl ratelimit set`.
pub(super) async fn set_caps(context: &Context, arguments: &SetArgs) -> Result<()> {
    let SetArgs { preset, max_src_conn, rate, temporary, flags } = arguments;
    if let Some(name) = preset {
        let caps = plan::caps_of_preset(&context.settings.presets, name)?;
        let command = format!("ratelimit set --preset {name}");
        return change_caps(context, flags, temporary, &command, false, |_| caps).await;
    }
    let mut command = "ratelimit set".to_owned();
    if let Some(value) = max_src_conn {
        let text = match value {
            CapValue::None => "none".to_owned(),
            CapValue::Some(number) => number.to_string(),
        };
        command.push_str(&format!(" --max-src-conn {text}"));
    }
    if let Some(value) = rate {
        let text = match value {
            CapValue::None => "none".to_owned(),
            CapValue::Some(rate) => format!("{}/{}", rate.connections, rate.seconds),
        };
        command.push_str(&format!(" --rate {text}"));
    }
    // Values that can never work are refused before any connection.
    let typed = Caps {
        max_src_conn: CapValue::or_present(*max_src_conn, None),
        rate: CapValue::or_present(*rate, None),
    };
    plan::check_caps(typed)?;
    let wanted = |now: Caps| Caps {
        max_src_conn: CapValue::or_present(*max_src_conn, now.max_src_conn),
        rate: CapValue::or_present(*rate, now.rate),
    };
    change_caps(context, flags, temporary, &command, false, wanted).await
}

/// Plans the caps that `wanted` makes of the configured ones. What is urgent does not wait for what others have left in
/// the GUI: it is the first risk that is shown.
async fn change_caps(
    context: &Context,
    flags: &ChangeFlags,
    temporary: &Temporary,
    command: &str,
    urgent: bool,
    wanted: impl Fn(Caps) -> Caps,
) -> Result<()> {
    let terms = ChangeOptions { urgent, ..temporary.to_terms()? };
    let command = temporary.add_flags(command);
    let evidence: Cell<Option<Result<preview::Evidence>>> = Cell::new(None);
    let plan = |reading: &Reading| {
        let situation = context.situation(reading);
        let present = situation.present()?;
        let now = situation.filter_rule().map(|rule| ratelimit::of_configured(rule).0);
        let caps = wanted(now.unwrap_or_default());
        let preset = preset_of(&context.settings.presets, caps).map(|preset| preset.name.clone());
        let mut planned = plan::plan_caps(&present, &WantedCaps { caps, preset }, terms)?;
        if let Planned::Change(draft) = &mut planned {
            let risk = preview::preview_risk(context, reading, evidence.take(), caps);
            draft.risks.push(risk);
        }
        Ok(planned)
    };
    let changes = change::ChangeRun::new(context, flags, &command, change::CHANGING);
    let changes = changes.run(plan);
    // The log is looked at beside the firewall's answers, and nothing waits for it.
    let looks = async {
        let collects = preview::collect_evidence(context, None);
        let fetched = tokio::time::timeout(PATIENCE, collects).await;
        evidence.set(fetched.ok().map(|collected| collected.map(|(evidence, _)| evidence)));
        std::future::pending::<()>().await;
    };
    tokio::select! {
        changed = changes => changed,
        () = Box::pin(looks) => Ok(()),
    }
}
