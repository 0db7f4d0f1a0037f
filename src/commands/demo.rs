//! `kmsctl demo`: the simulated firewall as an SSH server of its own, for any ssh client.

use std::net::SocketAddr;

use clap::{Args as ClapArgs, Subcommand};
use serde::Serialize;

use crate::app::{Context, wait_for_interrupt};
use crate::error::{Failure, FailureKind, Result};
use crate::simulator::{self, Scenario};
use crate::terminal::View;
use crate::terminal::human::text_column;

/// Arguments of `kmsctl demo`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Forget the state of the simulated firewall, and its history
    Reset,
    /// List the conditions that the simulated firewall can be in
    Scenarios,
    /// Serve the simulated firewall over SSH on loopback until interrupted
    Serve {
        /// Loopback address and port; port 0 takes a free one
        #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:2222")]
        listen: SocketAddr,
    },
}

/// Runs `kmsctl demo …`.
pub async fn run_demo(context: &Context, arguments: &Args) -> Result<()> {
    match &arguments.command {
        Command::Reset => reset_demo(context),
        Command::Scenarios => list_scenarios(context),
        Command::Serve { listen } => serve_demo(context, *listen).await,
    }
}

fn reset_demo(context: &Context) -> Result<()> {
    #[derive(Serialize)]
    struct Reset {
        forgotten: bool,
    }
    let forgotten = simulator::reset_simulator(&context.demo_directory()).map_err(Failure::from)?;
    let mut view = View::new("demo.reset", context.clock.now(), &Reset { forgotten })?;
    view.human.line(if forgotten {
        "The simulated firewall has forgotten its state and its history."
    } else {
        "The simulated firewall had no state."
    });
    context.terminal.show(&view)
}

fn list_scenarios(context: &Context) -> Result<()> {
    #[derive(Serialize)]
    struct Row {
        name: &'static str,
        about: &'static str,
    }
    let rows = Scenario::ALL.map(|scenario| Row { name: scenario.name(), about: scenario.about() });
    let data = serde_json::json!({ "scenarios": rows.as_slice() });
    let mut view = View::new("demo.scenarios", context.clock.now(), &data)?;
    view.items = Some(("scenarios", &["name", "about"]));
    let cells = rows.map(|row| vec![row.name.to_owned(), row.about.to_owned()]);
    view.human.table(vec![text_column("SCENARIO"), text_column("ABOUT")], cells.to_vec());
    context.terminal.show(&view)?;
    context.terminal.hint("Start in one of them: `kmsctl --demo=half status`");
    Ok(())
}

async fn serve_demo(context: &Context, listen: SocketAddr) -> Result<()> {
    #[derive(Serialize)]
    struct Serving {
        address: SocketAddr,
        host_key: String,
        known_hosts: String,
        identity: String,
    }
    if !listen.ip().is_loopback() {
        return Err(Failure::usage(format!(
            "{listen} is not a loopback address; the demo lets everybody in, so it listens on 127.0.0.1 or [::1] only."
        )));
    }
    let mut simulator = context.start_demo_on(listen).await?;
    let address = simulator.address();
    let serving = Serving {
        address,
        host_key: simulator.host_key_fingerprint(),
        known_hosts: simulator.known_hosts().display().to_string(),
        identity: simulator.client_key().display().to_string(),
    };
    let mut view = View::new("demo.serve", context.clock.now(), &serving)?;
    view.human.line(format!(
        "The simulated firewall listens on {address}. Host key: {}",
        serving.host_key
    ));
    view.human.line("Try it from another terminal:");
    view.human.line(format!(
        "  ssh -p {} -o UserKnownHostsFile={} admin@{} pfctl -t virusprot -T show -v",
        address.port(),
        serving.known_hosts,
        address.ip()
    ));
    context.terminal.show(&view)?;
    context.terminal.say("Ctrl-C ends it.");
    let served = tokio::select! {
        served = simulator.wait() => served.map_err(Failure::from),
        () = wait_for_interrupt() => Err(Failure::new(FailureKind::Interrupted, "Stopped.")),
    };
    simulator.stop().await?;
    served
}
