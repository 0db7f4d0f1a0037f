//! One file a command group: its arguments beside its code. No rules in here: commands ask the firewall for
//! facts, hand them to the domain and show what comes back.

pub mod apply;
pub mod config;
pub mod contexts;
pub mod demo;
pub mod doctor;
pub mod exporter;
pub mod expose;
pub mod history;
pub mod keep;
pub mod log_side;
pub mod notifier;
pub mod ratelimit;
pub mod rule;
pub mod runbook;
pub mod states;
pub mod status;
pub mod undo;
pub mod util;
pub mod verify;
pub mod virusprot;

use crate::app::Context;
use crate::cli::Command;
use crate::error::Result;

pub async fn run_command(context: &Context, command: &Command) -> Result<()> {
    match command {
        Command::Apply(arguments) => apply::run_apply(context, arguments).await,
        Command::Completion(wanted) => context
            .terminal
            .write(&util::completion_script(wanted.shell)),
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
        Command::Runbook(arguments) => runbook::run_runbook(context, arguments),
        Command::States(arguments) => states::run_states(context, arguments).await,
        Command::Status(arguments) => status::run_status(context, arguments).await,
        Command::Undo(arguments) => undo::undo_change(context, arguments).await,
        Command::Util(arguments) => util::run_util(context, arguments),
        Command::Verify(arguments) => Box::pin(verify::run_verify(context, arguments)).await,
        Command::Version => {
            let version = env!("BUILD_VERSION");
            context.terminal.write(&format!("kmsctl {version}\n"))
        }
        Command::Virusprot(arguments) => virusprot::run_virusprot(context, arguments).await,
    }
}
