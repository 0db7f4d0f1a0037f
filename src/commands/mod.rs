//! One file a command group: its arguments beside its code. No rules in here: commands ask the firewall for
//! facts, hand them to the domain and show what comes back.

pub mod apply;
pub mod config;
pub mod demo;
pub mod doctor;
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

/// Runs one command.
pub async fn run(context: &Context, command: &Command) -> Result<()> {
    match command {
        Command::Apply(arguments) => apply::run(context, arguments).await,
        Command::Completion(wanted) => context.terminal.write(&util::completions(wanted.shell)),
        Command::Config(arguments) => config::run(context, arguments).await,
        Command::Demo(arguments) => demo::run(context, arguments).await,
        Command::Doctor(arguments) => Box::pin(doctor::run(context, arguments)).await,
        Command::Expose(arguments) => expose::run(context, arguments).await,
        Command::History(arguments) => history::run(context, arguments).await,
        Command::Keep(arguments) => keep::run(context, arguments).await,
        Command::Notifier(arguments) => notifier::run(context, arguments).await,
        Command::Ratelimit(arguments) => ratelimit::run(context, arguments).await,
        Command::Rule(arguments) => rule::run(context, arguments).await,
        Command::Runbook(arguments) => runbook::run(context, arguments),
        Command::States(arguments) => states::run(context, arguments).await,
        Command::Status(arguments) => status::run(context, arguments).await,
        Command::Undo(arguments) => undo::run(context, arguments).await,
        Command::Util(arguments) => util::run(context, arguments),
        Command::Verify(arguments) => Box::pin(verify::run(context, arguments)).await,
        Command::Version => {
            let version = env!("KMSCTL_VERSION");
            context.terminal.write(&format!("kmsctl {version}\n"))
        }
        Command::Virusprot(arguments) => virusprot::run(context, arguments).await,
    }
}
