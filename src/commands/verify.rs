//! `kmsctl verify`: is the service reachable? `--external` proves it from outside ([`external`]).

use clap::{Args as ClapArgs, ValueEnum};

use super::context::Context;
use crate::domain::reach::Expected;
use crate::error::{Failure, Result};

pub mod external;
mod report;

/// Arguments of `kmsctl verify`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Try from outside, from every configured vantage
    #[arg(long)]
    external: bool,
    /// Use this vantage only; may be given more than once
    #[arg(long, value_name = "VANTAGE", requires = "external")]
    from: Vec<String>,
    /// What should be true: open or closed; otherwise what the firewall's rules say
    #[arg(long, value_name = "STATE", hide_possible_values = true)]
    expect: Option<Expect>,
}

/// `--expect`.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Expect {
    Open,
    Closed,
}

impl From<Expect> for Expected {
    fn from(expect: Expect) -> Self {
        match expect {
            Expect::Open => Self::Open,
            Expect::Closed => Self::Closed,
        }
    }
}

/// Runs `kmsctl verify …`.
pub async fn run(context: &Context, arguments: &Args) -> Result<()> {
    if !arguments.external {
        return Err(Failure::usage("Say --external: only that is there so far."));
    }
    let request = external::Request {
        from: arguments.from.clone(),
        expect: arguments.expect.map(Expected::from),
    };
    external::external(context, &request).await
}
