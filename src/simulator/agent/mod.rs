//! PHP on the simulated box: it runs kmsctl's agent script and nothing else. The script is recognised to the byte, so
//! a changed script fails here first. `pair` finds the service's records, `edit` and `build` change them, `apply`
//! makes a change as the real agent does, `ledger` is what it keeps.

mod apply;
mod build;
mod edit;
pub mod ledger;
mod pair;
mod separators;
mod words;

use super::pfctl::Output;
use super::scenario::Scenario;
use super::world::World;
use crate::domain::change::{Answer, Kept};
use crate::domain::configured::Configured;
use crate::firewall::agent::{KeepRequest, OutcomeRequest, ReadRequest, Request, encode_reply};
pub use apply::{apply, revert};
use pair::Pair;

/// Runs `php` with these arguments and this script on its standard input.
pub fn run(world: &mut World, arguments: &[String], input: &[u8]) -> Output {
    if world.scenario == Scenario::PhpMissing {
        return Output::failure(127, "sh: /usr/local/bin/php: not found");
    }
    if let [flag] = arguments
        && (flag == "-v" || flag == "--version")
    {
        return Output::data("PHP 8.2.11 (cli) (built: Dec  6 2023 20:04:21) (NTS)\n");
    }
    let request = if arguments.is_empty() {
        Request::decode(input)
    } else {
        None
    };
    let Some((request, nonce)) = request else {
        return Output::failure(
            255,
            "php: only kmsctl's agent script is supported by the simulated firewall",
        );
    };
    Output::data(match request {
        Request::Read(request) => encode_reply(&read(world, &request), &nonce),
        Request::Apply(request) => encode_reply(&apply(world, &request), &nonce),
        Request::Outcome(request) => encode_reply(&outcome(world, &request), &nonce),
        Request::Keep(request) => encode_reply(&keep(world, &request), &nonce),
    })
}

/// Answers what the configuration says.
pub fn read(world: &World, request: &ReadRequest) -> Configured {
    let pair = Pair::find(&world.configuration, request);
    Configured {
        fingerprint: pair.fingerprint(&world.configuration),
        armed: world.ledger.armed(),
        unfinished: apply::holder(world).into_iter().collect(),
        ..world.configuration.read(request)
    }
}

/// Answers what became of a change.
pub fn outcome(world: &mut World, request: &OutcomeRequest) -> Answer {
    if let Some(stored) = world.ledger.get(&request.id) {
        return Answer::Ended {
            outcome: Box::new(stored.outcome.clone()),
        };
    }
    if let Some(running) = apply::holder(world).filter(|holder| holder.id == request.id) {
        return Answer::Running { running };
    }
    if request.settle {
        world.ledger.declare_void(&request.id);
    }
    Answer::Unknown
}

/// Makes a temporary change permanent.
pub fn keep(world: &mut World, request: &KeepRequest) -> Kept {
    if let Some(holder) = apply::holder(world) {
        return Kept::Locked { holder };
    }
    let Some(stored) = world.ledger.get_mut(&request.id) else {
        return Kept::NotArmed;
    };
    if let Some(reverted) = stored.outcome.reverted.clone() {
        return Kept::Reverted { reverted };
    }
    match stored.revert_at.take() {
        Some(reverts_at) => {
            stored.outcome.reverts_at = None;
            Kept::Kept { reverts_at }
        }
        None => Kept::NotArmed,
    }
}

#[cfg(test)]
mod tests;
