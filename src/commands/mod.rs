//! One file a command group: its arguments beside its code. No rules in here: commands ask the firewall for
//! facts, hand them to the domain and show what comes back.

pub mod config;
pub mod context;
pub mod demo;
pub mod expose;
pub mod notifier;
pub mod ratelimit;
pub mod rule;
pub mod runbook;
pub mod states;
pub mod status;
pub mod util;
pub mod virusprot;
pub mod watch;

use crate::cli::Command;
use crate::error::Result;
use context::Context;

/// Runs one command.
pub async fn run(context: &Context, command: &Command) -> Result<()> {
    match command {
        Command::Config(arguments) => config::run(context, arguments),
        Command::Demo(arguments) => demo::run(context, arguments).await,
        Command::Expose(arguments) => expose::run(context, arguments).await,
        Command::Notifier(arguments) => notifier::run(context, arguments).await,
        Command::Ratelimit(arguments) => ratelimit::run(context, arguments).await,
        Command::Rule(arguments) => rule::run(context, arguments).await,
        Command::Runbook(arguments) => runbook::run(context, arguments),
        Command::States(arguments) => states::run(context, arguments).await,
        Command::Status(arguments) => status::run(context, arguments).await,
        Command::Util(arguments) => util::run(context, arguments),
        Command::Virusprot(arguments) => virusprot::run(context, arguments).await,
    }
}
