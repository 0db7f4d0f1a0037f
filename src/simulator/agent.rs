//! PHP on the simulated box: it runs kmsctl's agent script and nothing else, and answers from the world's
//! configuration. The script is recognised to the byte, so a changed script fails here first.

use super::pfctl::Output;
use super::scenario::Scenario;
use super::world::World;
use crate::domain::configured::{Configured, FilterRule, NatRule};
use crate::firewall::agent::{ReadRequest, Request, encode_reply};

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
            Output::data(encode_reply(&answer(&world.configured, &request), &nonce))
        }
        _ => Output::failure(
            255,
            "php: only kmsctl's agent script is supported by the simulated firewall",
        ),
    }
}

/// Returns what the request asks for of the configuration.
fn answer(configured: &Configured, request: &ReadRequest) -> Configured {
    let mut answer = configured.clone();
    answer.alias = answer.alias.filter(|alias| alias.name == request.alias);
    answer.interface = answer
        .interface
        .filter(|interface| interface.name == request.interface);
    answer.cron.retain(|item| {
        item.command
            .split(' ')
            .any(|word| word == request.table.as_str())
    });
    answer.nat.retain(|rule| concerns(rule, request));
    let kept: Vec<Option<String>> = answer
        .nat
        .iter()
        .map(|rule| rule.association.clone())
        .collect();
    answer.filter.retain(|rule| {
        let joined = rule
            .association
            .as_ref()
            .is_some_and(|id| id.starts_with("nat_") && kept.contains(&rule.association));
        joined || leads_there(rule, request)
    });
    answer
}

fn concerns(rule: &NatRule, request: &ReadRequest) -> bool {
    let port = Some(request.port.to_string());
    rule.destination.port == port
        || rule.local_port == port
        || names(rule.target.as_deref(), request)
}

fn leads_there(rule: &FilterRule, request: &ReadRequest) -> bool {
    let here = rule.interface.as_deref() == Some(&request.interface);
    names(rule.destination.address.as_deref(), request)
        || (here && rule.destination.port == Some(request.port.to_string()))
}

fn names(target: Option<&str>, request: &ReadRequest) -> bool {
    target.is_some_and(|target| target == request.alias || target == request.address.to_string())
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::run;
    use crate::domain::pf::table::TableName;
    use crate::firewall::agent::{self, ReadRequest};
    use crate::firewall::script::{Nonce, Word};
    use crate::simulator::scenario::Scenario;
    use crate::simulator::world::World;

    fn request() -> ReadRequest {
        ReadRequest {
            alias: "k8s_kms_lb".into(),
            address: IpAddr::from([10, 0, 20, 202]),
            port: 1688,
            interface: "wan".into(),
            table: TableName::new("virusprot").unwrap(),
        }
    }

    fn asked(scenario: Scenario, request: &ReadRequest) -> crate::simulator::pfctl::Output {
        let world = World::fresh(scenario, 1, 1_790_000_000_000);
        let php = Word::fixed("/usr/local/bin/php");
        run(
            &world,
            &[],
            &agent::command(request, &php, &Nonce::new([7; 16])).input,
        )
    }

    #[test]
    fn answers_what_the_scenario_configures() {
        for scenario in Scenario::ALL {
            let output = asked(scenario, &request());
            if scenario == Scenario::PhpMissing {
                assert_eq!(output.status, 127);
            } else {
                assert_eq!(
                    agent::parse(&output.stdout, &Nonce::new([7; 16])).unwrap(),
                    scenario.configured(),
                    "{scenario:?}"
                );
            }
        }
    }

    #[test]
    fn leaves_out_what_another_service_did_not_ask_for() {
        let other = ReadRequest {
            alias: "other".into(),
            address: IpAddr::from([10, 0, 20, 9]),
            port: 8443,
            ..request()
        };
        let configured =
            agent::parse(&asked(Scenario::Open, &other).stdout, &Nonce::new([7; 16])).unwrap();
        assert_eq!(
            (
                configured.nat.len(),
                configured.filter.len(),
                configured.alias
            ),
            (0, 0, None)
        );
    }

    #[test]
    fn other_scripts_do_not_run() {
        let world = World::fresh(Scenario::Open, 1, 1_790_000_000_000);
        assert_eq!(run(&world, &[], b"<?php phpinfo();").status, 255);
    }
}
