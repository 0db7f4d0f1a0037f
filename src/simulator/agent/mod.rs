//! PHP on the simulated box: it runs kmsctl's agent script and nothing else, and answers from the world's
//! configuration. The script is recognised to the byte, so a changed script fails here first.

use super::pfctl::Output;
use super::scenario::Scenario;
use super::world::World;
use crate::firewall::agent::{Request, encode_reply};

/// Runs `php` with these arguments and this script on its standard input.
pub fn run(world: &World, arguments: &[String], input: &[u8]) -> Output {
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
    match request {
        Some((Request::Read(request), nonce)) => {
            Output::data(encode_reply(&world.configuration.read(&request), &nonce))
        }
        _ => Output::failure(
            255,
            "php: only kmsctl's agent script is supported by the simulated firewall",
        ),
    }
}

#[cfg(test)]
mod tests;
