//! `kmsctl states kill`: ends connections of the service, and of nothing else.

use std::net::IpAddr;

use clap::{ArgGroup, Args as ClapArgs};

use crate::app::{Context, require_answer};
use crate::change;
use crate::change::ChangeFlags;
use crate::commands::expose;
use crate::domain::pfsense::configured::Configured;
use crate::domain::plan::{self, StatesChoice};
use crate::error::Result;
use crate::pfsense::questions::{Question, Reading};
use crate::settings::values;

/// Arguments of `kmsctl states kill`.
#[derive(Debug, ClapArgs)]
#[command(group = ArgGroup::new("whose").required(true))]
pub(super) struct Kill {
    /// The clients whose connections to end
    #[arg(value_name = "ADDR", group = "whose", value_parser = values::parse_address)]
    addresses: Vec<IpAddr>,
    /// Everybody's connections to the service
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
    let (choice, command) = if arguments.all {
        (StatesChoice::All, "states kill --all".to_owned())
    } else {
        let names: Vec<String> = arguments.addresses.iter().map(IpAddr::to_string).collect();
        let choice = StatesChoice::Clients(arguments.addresses.clone());
        (choice, format!("states kill {}", names.join(" ")))
    };
    let plan = |reading: &Reading| {
        let states = require_answer(&reading.states)?;
        // Without the configuration the rule's tracker is read from pf; without both, every state goes by its id.
        let exposure = expose::assess_exposure(context, reading, &mut Vec::new()).ok();
        let tracker = exposure.and_then(|exposure| exposure.filter.tracker?.parse::<u32>().ok());
        let rules = reading
            .rules
            .as_ref()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let members = reading.configured.as_ref().ok().map(Configured::members);
        let live = plan::Live::new(states, &context.settings.service, members.as_deref());
        Ok(plan::kill(&live, plan::labels(rules, tracker), &choice)?)
    };
    change::make_change(context, &arguments.flags, &command, QUESTIONS, plan).await
}
