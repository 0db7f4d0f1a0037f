//! `kmsctl states kill`: ends connections of the service, and of nothing else.

use clap::{ArgGroup, Args as ClapArgs};

use crate::app::Context;
use crate::change;
use crate::change::ChangeFlags;
use crate::domain::plan::{self, Address, Planned, StatesChoice};
use crate::error::Result;
use crate::pfsense::questions::{Question, Reading};
use crate::settings::values;
use crate::settings::values::TypedNetwork;

/// Arguments of `kmsctl states kill`.
#[derive(Debug, ClapArgs)]
#[command(group = ArgGroup::new("whose").required(true))]
pub(super) struct Kill {
    /// The clients whose connections to end, or networks: of those every client within
    #[arg(value_name = "ADDR", group = "whose", value_parser = values::parse_typed_network)]
    addresses: Vec<TypedNetwork>,
    /// All connections to the service
    #[arg(long, group = "whose")]
    all: bool,
    #[command(flatten)]
    flags: ChangeFlags,
}

const QUESTIONS: &[Question] = &[
    Question::Rules,
    Question::Translation,
    Question::Info,
    Question::States(None),
    Question::Configured,
];

/// Runs `kmsctl states kill`.
pub(super) async fn kill_states(context: &Context, arguments: &Kill) -> Result<()> {
    context.say_dropped_ports(&arguments.addresses);
    let meant = arguments.addresses.iter().map(|typed| Address::new(typed.net));
    let meant: Vec<Address> = meant.collect();
    let names: Vec<String> = meant.iter().map(Address::to_string).collect();
    let command = if arguments.all {
        "states kill --all".to_owned()
    } else {
        format!("states kill {}", names.join(" "))
    };
    let plan = |reading: &Reading| {
        // Without the configuration the rule's tracker is read from pf; without both, every state goes by its id.
        let situation = context.situation(reading);
        let live = situation.live()?;
        let choice = if arguments.all {
            StatesChoice::All
        } else {
            let clients = live.clients_within(&meant);
            if clients.is_empty() {
                let names = names.join(", ");
                return Ok(Planned::NothingToDo(format!(
                    "Nothing to do: no client within {names} has a connection to port {}.",
                    context.settings.service.port
                )));
            }
            StatesChoice::Clients(clients)
        };
        Ok(plan::plan_kill(&live, situation.rule_labels(), &choice)?)
    };
    change::ChangeRun::new(context, &arguments.flags, &command, QUESTIONS).run(plan).await
}
