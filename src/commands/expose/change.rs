//! `kmsctl expose revoke|restore|apply`: closes and opens the exposure.

use clap::Args as ClapArgs;

use crate::app::Context;
use crate::app::situation::Situation;
use crate::change;
use crate::change::{ChangeFlags, FromOutside, Options, Temporary};
use crate::domain::plan;
use crate::domain::plan::{Confirm, Difference, Planned, Risk};
use crate::domain::reachability::external::Expected;
use crate::domain::reachability::path::NAME_ADDRESS;
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

/// Runs `kmsctl expose revoke`.
pub(super) async fn revoke_exposure(context: &Context, arguments: &Revoke) -> Result<()> {
    let terms = arguments.temporary.to_terms()?;
    let mut command = "expose revoke".to_owned();
    for (flag, set) in [(" --delete", arguments.delete), (" --keep-states", arguments.keep_states)]
    {
        if set {
            command.push_str(flag);
        }
    }
    let command = arguments.temporary.add_flags(&command);
    let command = arguments.from_outside.add_flags(&command);
    let outside = arguments.from_outside.wanted_proof(Expected::Closed);
    let options = Options { outside: outside.as_ref(), closes: true, ..Options::default() };
    let by_hand = context.settings.service.closing_by_hand();
    let plan = |reading: &Reading| {
        let situation = context.situation(reading);
        let present = situation.present();
        let present = present.map_err(|unread| unread.hint(&by_hand))?;
        let exposure = present.exposure;
        let end = !arguments.keep_states;
        let planned = plan::plan_revoke(&present, arguments.delete, end, terms)?;
        match (planned, exposure.not_closed_clause()) {
            // Nothing of the pair is left to close, and the service is not closed.
            (Planned::NothingToDo(sentence), Some(but)) => Err(Failure::new(
                FailureKind::Unproven,
                format!("{sentence} {}", plan::as_sentence(&but)),
            )
            .hint(exposure.closing_by_hand(&context.settings.service))),
            // Closed already; connections from before may still be alive.
            (Planned::NothingToDo(sentence), None) if end => {
                connections_only(&situation, sentence, plan::timer_risk(&present, terms))
            }
            (planned, _) => Ok(planned),
        }
    };
    let change = change::ChangeRun::new(context, &arguments.flags, &command, change::CHANGING);
    change.with(options).run(plan).await.map_err(|failure| {
        let unreached = failure.kind == FailureKind::Unreachable;
        let is_said = failure.hints.contains(&by_hand);
        if unreached && !is_said { failure.hint(&by_hand) } else { failure }
    })
}

/// Plans to end connections where the rules need no change.
fn connections_only(
    situation: &Situation<'_>,
    sentence: String,
    timer: Option<Risk>,
) -> Result<Planned> {
    let live = situation.live().map_err(|unread| {
        let message = format!("{sentence} Connections: not read. {}", unread.message);
        let failure = Failure::new(FailureKind::Unproven, message);
        failure.hint("See who is still connected: `kmsctl states`")
    })?;
    // Who is inside does not come in by what is closed.
    let Some(choice) = live.clients_outside() else {
        return Ok(Planned::NothingToDo(sentence));
    };
    Ok(match plan::plan_kill(&live, situation.rule_labels(), &choice)? {
        Planned::NothingToDo(_) => Planned::NothingToDo(sentence),
        Planned::Change(mut draft) => {
            draft.confirm = Confirm::Word("revoke".to_owned());
            draft.what = format!(
                "The exposure is closed already, and its rules are left as they are. {}",
                draft.what
            );
            draft.risks.extend(timer);
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
    let options = Options { outside: outside.as_ref(), ..Options::default() };
    let plan = |reading: &Reading| {
        let situation = context.situation(reading);
        let present = situation.present()?;
        let saved = crate::change::deleted_records(context, present.configured)?;
        Ok(plan::plan_restore(
            &present,
            saved.as_ref(),
            plan::caps_of_preset(&context.settings.presets, "default")?,
            terms,
        )?)
    };
    let change = change::ChangeRun::new(context, &arguments.flags, &command, change::CHANGING);
    change.with(options).run(plan).await
}

/// Refuses to lead a firewall of the operator's to the built-in address, which is one of another network.
fn unnamed_address(context: &Context) -> Failure {
    let service = &context.settings.service;
    let message = format!(
        "The alias {} would be made {}, the built-in service.address, and the configuration names a firewall without saying where its service is; nothing was changed.",
        service.alias, service.address
    );
    Failure::usage(message).hint(NAME_ADDRESS)
}

/// Runs `kmsctl expose apply`.
pub(super) async fn apply_configuration(context: &Context, arguments: &Apply) -> Result<()> {
    let terms = arguments.temporary.to_terms()?;
    let command = arguments.temporary.add_flags("expose apply");
    let plan = |reading: &Reading| {
        let situation = context.situation(reading);
        let present = situation.present()?;
        let planned = plan::plan_apply(
            &present,
            plan::caps_of_preset(&context.settings.presets, "default")?,
            terms,
        )?;
        match &planned {
            Planned::Change(draft)
                if !context.names_service_address()
                    && draft.differences.iter().any(Difference::is_of_alias) =>
            {
                Err(unnamed_address(context))
            }
            _ => Ok(planned),
        }
    };
    change::ChangeRun::new(context, &arguments.flags, &command, change::CHANGING).run(plan).await
}
