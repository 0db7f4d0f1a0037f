//! `kmsctl verify --external`: tries the service from every vantage, in parallel, reads the firewall before and
//! after over one held shell, and has both ends judged. No rules in here.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::report;
use crate::commands::context::{Context, Opened, interrupted, needed};
use crate::commands::expose;
use crate::domain::blocked::is_private;
use crate::domain::exposure::Exposure;
use crate::domain::pf::state::State;
use crate::domain::pf::table::Entry;
use crate::domain::reach::place::{self, Surroundings};
use crate::domain::reach::{
    self, Attempt, Control, End, Expected, Judgement, Names, Observation, Place, Resolved, Side,
};
use crate::domain::warning::Warning;
use crate::error::{Failure, Kind, Result};
use crate::firewall::facts::{Question, Reading};
use crate::firewall::link::{Secret, Target};
use crate::firewall::link_error::LinkError;
use crate::outside::budget::Budget;
use crate::outside::probe::Tried;
use crate::outside::ssh::Station;
use crate::outside::{Task, all, check_host, local, names};
use crate::settings::vantages::{self, Ssh, Vantage};
use crate::terminal::prompt;

/// The whole run; what has not begun an attempt by then is inconclusive.
const WHOLE: Duration = Duration::from_secs(15);
/// What is left of it for the last attempt, its answer and the second reading.
const TAIL: Duration = Duration::from_secs(4);
/// How long the system's resolver may take.
const RESOLVE: Duration = Duration::from_secs(2);
/// How long a vantage's SSH server may take.
const LOGIN: Duration = Duration::from_secs(6);

/// What was asked for.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Only these vantages.
    pub from: Vec<String>,
    /// What should be true; `None` is what the firewall's rules say.
    pub expect: Option<Expected>,
}

/// What a run proved.
#[derive(Debug)]
pub struct Proof {
    /// The judgement.
    pub judgement: Judgement,
    /// The firewall's end.
    pub end: End,
    /// The public name.
    pub names: Names,
    /// Where was connected to, if that was known.
    pub target: Option<SocketAddr>,
    /// The firewall's second reading.
    pub reading: Reading,
    /// What else should be known.
    pub warnings: Vec<Warning>,
    /// Set when no vantage could be used: why the first could not.
    pub trouble: Option<Failure>,
}

/// Runs `kmsctl verify --external`. Fails with [`Kind::No`] when it is not as expected, with [`Kind::Inconclusive`]
/// when nothing is proven, and as unreachable when no vantage could be used; the report is shown in any case.
pub async fn external(context: &Context, request: &Request) -> Result<()> {
    let proof = prove(context, request).await?;
    context.terminal.show(&report::view(context, &proof)?)?;
    let Proof {
        judgement, trouble, ..
    } = proof;
    match (trouble, judgement.verdict) {
        (Some(trouble), _) => Err(trouble),
        (None, reach::Verdict::Inconclusive) => {
            Err(Failure::new(Kind::Inconclusive, "Nothing is proven."))
        }
        (None, _) if judgement.as_expected => Ok(()),
        (None, _) => Err(Failure::new(
            Kind::No,
            format!("It is not {} as expected.", judgement.expected.word()),
        )),
    }
}

/// The questions whose answers both readings need.
fn questions() -> Vec<Question> {
    let others = [
        Question::Client,
        Question::Interfaces,
        Question::Gateway,
        Question::Table,
        Question::States(None),
    ];
    expose::QUESTIONS.iter().cloned().chain(others).collect()
}

/// Tries the service from outside and judges.
pub async fn prove(context: &Context, request: &Request) -> Result<Proof> {
    let chosen = choose(&context.settings.vantages, &request.from)?;
    let deadline = Instant::now() + WHOLE - TAIL;
    let preparing = all(chosen
        .iter()
        .map(|vantage| prepare(context, vantage))
        .collect());
    let work = async {
        let host = &context.settings.service.host;
        tokio::join!(first_reading(context), preparing, resolve(host))
    };
    let (first, prepared, resolved) = tokio::select! {
        done = work => done,
        () = interrupted() => return Err(Failure::new(Kind::Interrupted, "Interrupted.")),
    };
    let (mut opened, before) = first?;
    let mut warnings = Vec::new();
    let told = prepared.iter().flat_map(Prepared::told).cloned();
    let names = Names {
        host: context.settings.service.host.clone(),
        expected: context
            .settings
            .verify
            .public_address
            .or_else(|| outside_address(&before)),
        resolved: [resolved].into_iter().chain(told).collect(),
    };
    let target = names
        .target()
        .map(|address| SocketAddr::new(address, context.settings.service.port));
    let spinner = context.terminal.spinner("Trying from outside …");
    let trying = all(chosen
        .iter()
        .zip(&prepared)
        .map(|(vantage, prepared)| try_out(context, vantage, prepared, &before, target, deadline))
        .collect());
    let observations = tokio::select! {
        observations = trying => observations.concat(),
        () = interrupted() => return Err(Failure::new(Kind::Interrupted, "Interrupted.")),
    };
    spinner.finish_and_clear();
    let reading = context.ask(&mut opened).await;
    let closed = opened.close().await;
    let reading = reading?;
    closed?;
    let exposures = (
        expose::assess(context, &before, &mut Vec::new())?,
        expose::assess(context, &reading, &mut warnings)?,
    );
    let end = compare(context, (&before, &exposures.0), (&reading, &exposures.1))?;
    let expected = request.expect.unwrap_or(match exposures.0.state.lets_in() {
        true => Expected::Open,
        false => Expected::Closed,
    });
    let judgement = reach::judge(&observations, &end, &names, expected);
    let trouble = all_in_trouble(&chosen, &prepared);
    for prepared in prepared {
        prepared.close().await;
    }
    Ok(Proof {
        judgement,
        end,
        names,
        target,
        reading,
        warnings,
        trouble,
    })
}

async fn first_reading(context: &Context) -> Result<(Opened, Reading)> {
    let mut opened = context.open(&questions()).await?;
    match context.ask(&mut opened).await {
        Ok(reading) => Ok((opened, reading)),
        Err(failure) => {
            opened.close().await?;
            Err(failure)
        }
    }
}

fn compare(
    context: &Context,
    before: (&Reading, &Exposure),
    after: (&Reading, &Exposure),
) -> Result<End> {
    let states = |reading: &Reading| -> Result<Vec<State>> { needed(&reading.states).cloned() };
    let table = |reading: &Reading| -> Result<Vec<Entry>> { needed(&reading.table).cloned() };
    let (states_before, states_after) = (states(before.0)?, states(after.0)?);
    let (table_before, table_after) = (table(before.0)?, table(after.0)?);
    let side = |reading, exposure, states, table| -> Result<Side<'_>> {
        let reading: &Reading = reading;
        Ok(Side {
            exposure,
            filter: needed(&reading.rules)?,
            states,
            table,
        })
    };
    let before = side(before.0, before.1, &states_before, &table_before)?;
    let after = side(after.0, after.1, &states_after, &table_after)?;
    Ok(End::between(before, after, &context.settings.service))
}

/// Returns the vantages to use, or says how to get one.
fn choose<'a>(vantages: &'a [Vantage], from: &[String]) -> Result<Vec<&'a Vantage>> {
    if vantages.is_empty() {
        return Err(Failure::usage("No vantage is configured: there is no place outside to try from.")
            .hint("Any SSH login outside will do: [vantages.vps] with host = \"vps.example.net\"; nothing is installed there.")
            .hint("A public check service: [vantages.public] with kind = \"check-host\"; it learns the address and port.")
            .hint("This machine on another line, such as a phone's: [vantages.tether] with kind = \"local\"."));
    }
    if from.is_empty() {
        return Ok(vantages.iter().collect());
    }
    from.iter()
        .map(|name| {
            vantages
                .iter()
                .find(|vantage| vantage.name == *name)
                .ok_or_else(|| {
                    let names: Vec<&str> = vantages
                        .iter()
                        .map(|vantage| vantage.name.as_str())
                        .collect();
                    Failure::usage(format!("There is no vantage `{name}`."))
                        .hint(format!("There are: {}.", names.join(", ")))
                })
        })
        .collect()
}

/// A vantage that is ready, or what it lacks.
enum Prepared {
    /// Logged in, and what it was told about the public name.
    Ssh(std::result::Result<(Station, Vec<Resolved>), LinkError>),
    Other,
}

impl Prepared {
    fn told(&self) -> &[Resolved] {
        match self {
            Self::Ssh(Ok((_, resolved))) => resolved,
            _ => &[],
        }
    }

    async fn close(self) {
        if let Self::Ssh(Ok((station, _))) = self {
            station.close().await;
        }
    }
}

async fn prepare(context: &Context, vantage: &Vantage) -> Prepared {
    let vantages::Kind::Ssh(ssh) = &vantage.kind else {
        return Prepared::Other;
    };
    let ask = |question: &str| {
        prompt::secret(
            context.terminal,
            &format!("{} (vantage {})", question, vantage.name),
        )
        .map(Secret::new)
    };
    let station = match Station::connect(&target_of(context, ssh), &ask).await {
        Ok(station) => station,
        Err(error) => return Prepared::Ssh(Err(error)),
    };
    let host = &context.settings.service.host;
    let resolvers = &context.settings.verify.resolvers;
    let asked = resolvers
        .iter()
        .map(|server| names::ask(station.way(), &vantage.name, host, *server));
    let resolved = all(asked.collect()).await;
    Prepared::Ssh(Ok((station, resolved)))
}

/// Vantages share the firewall's client and ssh_config, and nothing that is about the firewall itself. No connection
/// to them is kept.
fn target_of(context: &Context, ssh: &Ssh) -> Target {
    let firewall = &context.settings.firewall;
    Target {
        host: ssh.host.clone(),
        port: ssh.port,
        user: ssh.user.clone(),
        transport: firewall.transport,
        identity: ssh.identity.clone(),
        ssh_config: firewall.ssh_config.clone(),
        known_hosts: ssh
            .known_hosts
            .clone()
            .or_else(|| firewall.known_hosts.clone()),
        fingerprint: None,
        connect_timeout: firewall.connect_timeout.min(LOGIN),
        control_persist: Duration::ZERO,
        runtime_directory: firewall.runtime_directory.clone(),
        sudo: None,
        home: context.environment.home.clone(),
        agent_socket: context.environment.agent_socket.clone(),
        ssh_program: "ssh".into(),
    }
}

/// Returns the firewall's own outside address, where it is a public one.
fn outside_address(reading: &Reading) -> Option<IpAddr> {
    let gateway = reading.gateway?;
    reading
        .interfaces
        .iter()
        .find(|own| own.net.contains(&gateway))
        .map(|own| own.net.addr())
        .filter(|address| !is_private(address))
}

/// Asks the system's resolver.
async fn resolve(host: &str) -> Resolved {
    let answer = match timeout(RESOLVE, tokio::net::lookup_host((host, 0))).await {
        Ok(Ok(found)) => {
            let mut addresses: Vec<IpAddr> = Vec::new();
            for address in found.map(|found| found.ip()) {
                if !addresses.contains(&address) {
                    addresses.push(address);
                }
            }
            Ok(addresses)
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s", RESOLVE.as_secs())),
    };
    Resolved {
        by: "this machine's resolver".to_owned(),
        from_outside: false,
        answer,
    }
}

/// Tries from one vantage. A check service makes one observation a node.
async fn try_out(
    context: &Context,
    vantage: &Vantage,
    prepared: &Prepared,
    before: &Reading,
    target: Option<SocketAddr>,
    deadline: Instant,
) -> Vec<Observation> {
    let mut blank = Observation {
        vantage: vantage.name.clone(),
        kind: kind(vantage),
        node: None,
        address: vantage.address,
        place: Place::Outside,
        attempts: Vec::new(),
        control: Control::NotNeeded,
        short: None,
        trouble: None,
    };
    if let Prepared::Ssh(Err(error)) = prepared {
        blank.trouble = Some(error.to_string().trim_end_matches('.').to_owned());
        return vec![blank];
    }
    let Some(target) = target else {
        blank.trouble =
            Some("where to connect is not known: the name has no IPv4 address".to_owned());
        return vec![blank];
    };
    let around = Surroundings {
        target: target.ip(),
        interfaces: &before.interfaces,
        gateway: before.gateway,
    };
    if let (None, Prepared::Ssh(Ok((station, _)))) = (blank.address, prepared) {
        blank.address = station.address();
    }
    blank.place = place::by_address(blank.address, around);
    if vantage.kind == vantages::Kind::Local {
        blank.address = blank.address.or(before.client);
        let source = local::source(target).await;
        blank.place = place::of_this_machine(blank.address, source, around);
    }
    let budget = Budget::new(&context.settings.state_directory);
    let blocked = blank.address.is_some_and(|address| {
        before.table.as_ref().is_ok_and(|entries| {
            entries
                .iter()
                .any(|entry| !entry.negated && entry.net.contains(&address))
        })
    });
    let task = Task {
        name: &vantage.name,
        target,
        control: vantage.control.as_ref(),
        deadline,
        only_one: blocked.then_some("it is in the table of blocked addresses"),
        budget: &budget,
        clock: context.clock,
    };
    match (&vantage.kind, prepared) {
        (vantages::Kind::CheckHost { url, nodes }, _) => {
            nodes_of(&blank, check_host::check(url, *nodes, task).await)
        }
        (_, Prepared::Ssh(Ok((station, _)))) => vec![observed(blank, station.try_out(task).await)],
        _ => vec![observed(blank, local::try_out(task).await)],
    }
}

fn observed(blank: Observation, tried: Tried) -> Observation {
    Observation {
        attempts: tried.attempts,
        control: tried.control,
        short: tried.short,
        ..blank
    }
}

/// Makes an observation of each node; a service that fails is trouble.
fn nodes_of(
    blank: &Observation,
    checked: std::result::Result<(Vec<check_host::Node>, Option<String>), check_host::CheckError>,
) -> Vec<Observation> {
    let (nodes, short) = match checked {
        Ok((nodes, short)) if !nodes.is_empty() => (nodes, short),
        Ok((_, short)) => {
            return vec![Observation {
                short,
                ..blank.clone()
            }];
        }
        Err(error) => {
            return vec![Observation {
                trouble: Some(error.to_string()),
                ..blank.clone()
            }];
        }
    };
    nodes
        .into_iter()
        .map(|node| {
            let connected = |attempt: &Attempt| matches!(attempt, Attempt::Connected { .. });
            let missing = node.attempts.len() < reach::ATTEMPTS;
            let late = (missing && !node.attempts.iter().any(connected))
                .then(|| "the service had no result in time".to_owned());
            Observation {
                node: Some(node.name),
                address: node.address,
                attempts: node.attempts,
                control: node.control,
                short: short.clone().or(late),
                ..blank.clone()
            }
        })
        .collect()
}

fn kind(vantage: &Vantage) -> &'static str {
    match vantage.kind {
        vantages::Kind::Ssh(_) => "ssh",
        vantages::Kind::CheckHost { .. } => "check-host",
        vantages::Kind::Local => "local",
    }
}

/// Returns a failure if none of the vantages could even be logged in to.
fn all_in_trouble(chosen: &[&Vantage], prepared: &[Prepared]) -> Option<Failure> {
    let mut failures = chosen.iter().zip(prepared).map(|(vantage, prepared)| {
        let Prepared::Ssh(Err(error)) = prepared else {
            return None;
        };
        let failure = Failure::new(error.kind(), format!("The vantage {}: {error}", vantage.name));
        let name = &vantage.name;
        Some(match error {
            LinkError::HostKeyUnknown { .. } => failure
                .hint("Compare the fingerprint with the vantage's own (ssh-keygen -lf on it).")
                .hint("If it is the same, connect once with ssh and accept it, or add it to known_hosts."),
            LinkError::HostKeyChanged { .. } | LinkError::HostKeyRevoked { .. } => {
                failure.hint("Somebody may stand in between, or it was reinstalled: find out before anything else.")
            }
            _ => failure.hint(format!("Log in with ssh yourself; the keys are vantages.{name}.* in the configuration.")),
        })
    });
    let first = failures.next()??;
    failures.all(|failure| failure.is_some()).then_some(first)
}
