//! Which code answers which command.

use super::tree::nearest_command;
use super::{Cli, Command, util};
use crate::app::Context;
use crate::commands::{
    apply, config, contexts, demo, doctor, exporter, expose, history, keep, notifier, ratelimit,
    rule, runbook, states, status, undo, verify, virusprot,
};
use crate::error::Result;

/// Runs a command line: in every context, on both nodes of a pair, or here.
pub async fn run_command(context: &Context, cli: &Cli) -> Result<()> {
    if cli.global.all_contexts {
        return contexts::run_in_contexts(context).await;
    }
    let work = cli.command.pair_work();
    match contexts::peer::run_on_pair(context, work, &cli.global.words()).await {
        Some(ran) => ran,
        None => run_here(context, cli).await,
    }
}

async fn run_here(context: &Context, cli: &Cli) -> Result<()> {
    match &cli.command {
        Command::Apply(arguments) => apply::run_apply(context, arguments).await,
        Command::Completion(wanted) => {
            context.terminal.write(&util::completion_script(wanted.shell))
        }
        Command::Config(arguments) => config::run_config(context, arguments).await,
        Command::Demo(arguments) => demo::run_demo(context, arguments).await,
        Command::Doctor(arguments) => Box::pin(doctor::run_doctor(context, arguments)).await,
        Command::Exporter(arguments) => Box::pin(exporter::run_exporter(context, arguments)).await,
        Command::Expose(arguments) => expose::run_expose(context, arguments).await,
        Command::History(arguments) => history::run_history(context, arguments).await,
        Command::Keep(arguments) => keep::keep_change(context, arguments).await,
        Command::Notifier(arguments) => notifier::run_notifier_group(context, arguments).await,
        Command::Ratelimit(arguments) => ratelimit::run_ratelimit(context, arguments).await,
        Command::Rule(arguments) => rule::run_rule(context, arguments).await,
        Command::Runbook(arguments) => runbook::run_runbook(context, arguments, nearest_command),
        Command::States(arguments) => states::run_states(context, arguments).await,
        Command::Status(arguments) => status::run_status(context, arguments).await,
        Command::Undo(arguments) => {
            undo::undo_change(context, arguments, &cli.global.words()).await
        }
        Command::Util(arguments) => util::run_util(context, arguments),
        Command::Verify(arguments) => Box::pin(verify::run_verify(context, arguments)).await,
        Command::Version => {
            let version = env!("BUILD_VERSION");
            context.terminal.write(&format!("kmsctl {version}\n"))
        }
        Command::Virusprot(arguments) => virusprot::run_virusprot(context, arguments).await,
    }
}
