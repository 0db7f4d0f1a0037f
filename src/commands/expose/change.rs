//! `kmsctl expose revoke|restore|apply`: closes and opens the exposure.

use clap::Args as ClapArgs;

use super::Situation;
use crate::app::Context;
use crate::change;
use crate::change::{ChangeFlags, FromOutside, Options, Temporary};
use crate::domain::connections;
use crate::domain::exposure::Exposure;
use crate::domain::pfsense::configured::FilterRule;
use crate::domain::pfsense::managed::ManagedPair;
use crate::domain::plan;
use crate::domain::plan::{Confirm, Draft, Planned, Present, Risk, StatesChoice};
use crate::domain::reachability::external::Expected;
use crate::error::{Failure, FailureKind, Result};
use crate::pfsense::questions::Reading;

/// Arguments of `kmsctl expose revoke`.
#[derive(Debug, ClapArgs)]
pub(super) struct Revoke {
    /// Remove both rules instead of disabling them; they are saved whole first
    #[arg(long)]
    delete: bool,
    /// Leave live connections alone
    #[arg(long)]
    keep_states: bool,
    #[command(flatten)]
    temporary: Temporary,
    #[command(flatten)]
    from_outside: FromOutside,
    #[command(flatten)]
    flags: ChangeFlags,
}

/// Arguments of `kmsctl expose restore`.
#[derive(Debug, ClapArgs)]
pub(super) struct Restore {
    #[command(flatten)]
    temporary: Temporary,
    #[command(flatten)]
    from_outside: FromOutside,
    #[command(flatten)]
    flags: ChangeFlags,
}

/// Arguments of `kmsctl expose apply`.
#[derive(Debug, ClapArgs)]
pub(super) struct Apply {
    #[command(flatten)]
    temporary: Temporary,
    #[command(flatten)]
    flags: ChangeFlags,
}

impl Situation {
    /// Judges a reading for a plan about the configuration, which must be known for that.
    pub fn from_reading(context: &Context, reading: &Reading) -> Result<Self> {
        crate::app::require_answer(&reading.configured)?;
        let exposure = super::assess_exposure(context, reading, &mut Vec::new())?;
        let states = reading
            .states
            .as_ref()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let members = exposure.alias.members();
        let service = &context.settings.service;
        let sources =
            connections::tally_sources(states, service, members.as_deref(), &[], |_| false);
        Ok(Self { exposure, sources })
    }

    /// Returns what plans are made from.
    pub fn present<'a>(
        &'a self,
        context: &'a Context,
        reading: &'a Reading,
    ) -> Result<Present<'a>> {
        Ok(Present {
            configured: crate::app::require_answer(&reading.configured)?,
            exposure: &self.exposure,
            service: &context.settings.service,
            sources: &self.sources,
            blocked: reading.table.as_ref().ok().map(Vec::len),
        })
    }

    /// Returns the configured filter rule, if there is one.
    pub fn filter_rule<'a>(
        &self,
        context: &Context,
        reading: &'a Reading,
    ) -> Option<&'a FilterRule> {
        let configured = reading.configured.as_ref().ok()?;
        ManagedPair::of_service(configured, &context.settings.service).own_filter()
    }
}

/// Runs `kmsctl expose revoke`.
pub(super) async fn revoke_exposure(context: &Context, arguments: &Revoke) -> Result<()> {
    let terms = arguments.temporary.to_terms()?;
    let mut command = "expose revoke".to_owned();
    for (flag, set) in [
        (" --delete", arguments.delete),
        (" --keep-states", arguments.keep_states),
    ] {
        if set {
            command.push_str(flag);
        }
    }
    let command = arguments.temporary.add_flags(&command);
    let command = arguments.from_outside.add_flags(&command);
    let outside = arguments.from_outside.wanted_proof(Expected::Closed);
    let options = Options {
        outside: outside.as_ref(),
        waits: true,
    };
    let plan = |reading: &Reading| {
        let gathered = Situation::from_reading(context, reading)?;
        let present = gathered.present(context, reading)?;
        let end = !arguments.keep_states;
        match plan::plan_revoke(&present, arguments.delete, end, terms)? {
            // Nothing of the pair is left to close, and the service is not closed.
            Planned::NothingToDo(sentence) if gathered.exposure.lets_in() != Some(false) => {
                Err(Failure::new(
                    FailureKind::Unproven,
                    format!("{sentence} The service is not closed: {}", gathered.exposure.told_paths()),
                )
                .hint("kmsctl does not manage these paths: switch them off in pfSense (Firewall > NAT and Firewall > Rules)."))
            }
            // Closed already; connections from before may still be alive.
            Planned::NothingToDo(sentence) if end => {
                connections_only(context, reading, &gathered.exposure, sentence)
            }
            Planned::Change(draft) if end => Ok(without_unread(draft, reading)),
            planned => Ok(planned),
        }
    };
    change::change_with(
        context,
        &arguments.flags,
        &command,
        options,
        change::CHANGING,
        plan,
    )
    .await
}

/// Takes out of the plan a number of connections that was not read: closing does not wait for it.
fn without_unread(mut draft: Box<Draft>, reading: &Reading) -> Planned {
    if let Err(error) = &reading.states {
        draft
            .differences
            .retain(|difference| difference.field != "connections");
        let message = format!(
            "Connections: not read, as {error}. They are read again and ended once it is closed."
        );
        draft.risks.push(Risk::new("connections-unread", message));
    }
    Planned::Change(draft)
}

fn connections_only(
    context: &Context,
    reading: &Reading,
    exposure: &Exposure,
    sentence: String,
) -> Result<Planned> {
    let states = match &reading.states {
        Ok(states) => states,
        Err(error) => {
            let message = format!("{sentence} Connections: not read, as {error}.");
            let failure = Failure::new(FailureKind::Unproven, message);
            return Err(failure.hint("See who is still connected: kmsctl states"));
        }
    };
    let rules = reading
        .rules
        .as_ref()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let tracker = exposure
        .filter
        .tracker
        .as_ref()
        .and_then(|tracker| tracker.parse().ok());
    let members = exposure.alias.members();
    let live = plan::Live::new(states, &context.settings.service, members.as_deref());
    let labels = plan::rule_labels(rules, tracker);
    Ok(match plan::plan_kill(&live, labels, &StatesChoice::All)? {
        Planned::NothingToDo(_) => Planned::NothingToDo(sentence),
        Planned::Change(mut draft) => {
            draft.confirm = Confirm::Word("revoke".to_owned());
            Planned::Change(draft)
        }
    })
}

/// Runs `kmsctl expose restore`.
pub(super) async fn restore_exposure(context: &Context, arguments: &Restore) -> Result<()> {
    let terms = arguments.temporary.to_terms()?;
    let command = arguments.temporary.add_flags("expose restore");
    let command = arguments.from_outside.add_flags(&command);
    let outside = arguments.from_outside.wanted_proof(Expected::Open);
    let options = Options {
        outside: outside.as_ref(),
        waits: false,
    };
    let plan = |reading: &Reading| {
        let gathered = Situation::from_reading(context, reading)?;
        let present = gathered.present(context, reading)?;
        let saved = crate::change::deleted_records(context, present.configured)?;
        Ok(plan::plan_restore(
            &present,
            saved.as_ref(),
            plan::caps_of_preset(&context.settings.presets, "default")?,
            terms,
        )?)
    };
    change::change_with(
        context,
        &arguments.flags,
        &command,
        options,
        change::CHANGING,
        plan,
    )
    .await
}

/// Runs `kmsctl expose apply`.
pub(super) async fn apply_configuration(context: &Context, arguments: &Apply) -> Result<()> {
    let terms = arguments.temporary.to_terms()?;
    let command = arguments.temporary.add_flags("expose apply");
    let plan = |reading: &Reading| {
        let gathered = Situation::from_reading(context, reading)?;
        let present = gathered.present(context, reading)?;
        Ok(plan::plan_apply(
            &present,
            plan::caps_of_preset(&context.settings.presets, "default")?,
            terms,
        )?)
    };
    change::make_change(context, &arguments.flags, &command, change::CHANGING, plan).await
}
