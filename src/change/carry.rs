//! Hands a confirmed plan to the part that carries its kind out, and runs actions on the firewall for them. An action
//! is never repeated blindly: a lost connection goes to the part that asks the firewall what happened.

use jiff::Timestamp;

use super::{Execution, clean, config, keep, states, table};
use crate::app::{Context, Session};
use crate::domain::plan::{Operation, Plan};
use crate::error::{FailureKind, Result};
use crate::pfsense::actions::{ActionRun, Done, FirewallAction};
use crate::pfsense::questions::{Answer, Question, Reading};

/// What the firewall said to each action, and the reading after them.
pub(super) type ActionReplies = (Vec<Answer<Done>>, Reading);

pub(super) async fn execute(
    context: &Context,
    session: &mut Session,
    plan: &Plan,
    before: &Reading,
    read_at: Timestamp,
) -> Execution {
    match &plan.change.operation {
        Operation::TableDelete { table, entries, forget } => {
            table::free_entries(context, session, table, entries, forget).await
        }
        Operation::TableAdd { table, entries } => {
            table::block_entries(context, session, table, entries).await
        }
        Operation::StatesKill { labels, states, clients } => {
            states::end_states(context, session, labels, states, clients, before).await
        }
        Operation::Configuration { change, with_pending, end_connections } => {
            let wanted = config::ConfigurationChange {
                plan,
                change,
                with_pending: *with_pending,
                end_connections: *end_connections,
                read_at,
            };
            config::change_configuration(context, session, &wanted, before).await
        }
        Operation::Keep { id, until } => {
            keep::keep_temporary_change(context, session, id, *until).await
        }
        Operation::Clean { paths } => {
            clean::clean_leftovers(context, session, plan, paths, before).await
        }
    }
}

/// Runs actions and their proof in one shell and one round; where it takes its time, a terminal shows what is done.
pub(super) async fn run_actions(
    context: &Context,
    session: &mut Session,
    doing: &str,
    actions: Vec<FirewallAction>,
    proof: &[Question],
) -> Result<ActionReplies> {
    let spinner = context.terminal.spinner(doing);
    let replies = context
        .within_time(Box::pin(async {
            let proof = context.prepare_questions(proof)?;
            let script = ActionRun::render_script(&actions, &proof);
            let shell = session.shell(&script).await?;
            let mut errand = ActionRun::new(shell, actions, proof);
            let said = errand.run_actions().await;
            session.keep_shell(errand.into_shell()).await;
            said
        }))
        .await;
    spinner.finish_and_clear();
    replies
}

/// Runs an errand that asks only, and may therefore be repeated: over a new connection where the old one is lost, once.
pub(super) async fn ask_again(
    context: &Context,
    session: &mut Session,
    actions: Vec<FirewallAction>,
    proof: &[Question],
) -> Result<ActionReplies> {
    const ASKING: &str = "Asking the firewall …";
    match run_actions(context, session, ASKING, actions.clone(), proof).await {
        Err(failure) if failure.kind != FailureKind::Interrupted => {
            context
                .terminal
                .say(&format!("{} Connecting again to ask what happened.", failure.message));
            context.reconnect(session).await?;
            run_actions(context, session, ASKING, actions, proof).await
        }
        other => other,
    }
}
