//! The vantages of `kmsctl verify --external`: log in, say what is known about where they are, let them try. Judging
//! is the domain's, the order of things [`super::prove`]'s.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::time::Instant;

use super::budget::{Budget, Permit, Spender};
use super::probe::ProbeAttempt;
use super::ssh::Station;
use super::{Task, check_host, join_in_order, probe, resolver};
use crate::app::Context;
use crate::domain::firewall_identity::FirewallIdentity;
use crate::domain::reachability::external;
use crate::domain::reachability::external::{
    Attempt, Control, Expected, Observation, Place, Resolved,
};
use crate::domain::reachability::external::{Machine, VantageSurroundings};
use crate::error::Failure;
use crate::pfsense::questions::Reading;
use crate::settings::target::Target;
use crate::settings::vantages::{Ssh, Vantage, VantageKind};
use crate::simulator;
use crate::ssh::error::LinkError;
use crate::ssh::target::Secret;
use crate::terminal::prompt;

/// How long a vantage's SSH server may take.
const LOGIN: Duration = Duration::from_secs(6);

/// Until when a run may do what.
#[derive(Clone, Copy)]
pub(crate) struct Times {
    /// No attempt begins after this.
    pub(crate) deadline: Instant,
    pub(crate) end: Instant,
}

/// A vantage that is ready, or what it lacks.
pub(crate) enum Prepared {
    /// Logged in, and what name servers answered it about the public name.
    Ssh(std::result::Result<(Station, Vec<Resolved>), LinkError>),
    Other,
}

impl Prepared {
    pub(crate) fn name_answers(&self) -> &[Resolved] {
        match self {
            Self::Ssh(Ok((_, resolved))) => resolved,
            _ => &[],
        }
    }

    pub(crate) async fn close(self) {
        if let Self::Ssh(Ok((station, _))) = self {
            station.close().await;
        }
    }
}

/// Logs in where a vantage needs it, and asks its name servers. `simulated` is where the demo's vantage is.
pub(crate) async fn prepare_vantage(
    context: &Context,
    vantage: &Vantage,
    simulated: Option<&Target>,
) -> Prepared {
    let VantageKind::Ssh(ssh) = &vantage.kind else {
        return Prepared::Other;
    };
    let ask = |question: &str| {
        prompt::ask_secret(context.terminal, &format!("{} (vantage {})", question, vantage.name))
            .map(Secret::new)
    };
    let target = simulated.cloned().unwrap_or_else(|| target_of(context, ssh));
    let station = match Station::connect(&target, &ask).await {
        Ok(station) => station,
        Err(error) => return Prepared::Ssh(Err(error)),
    };
    let host = &context.settings.service.host;
    let only = [simulator::outside::RESOLVER];
    let resolvers = match simulated {
        Some(_) => only.as_slice(),
        None if host.is_empty() => &[],
        None => &context.settings.resolvers,
    };
    let asked = resolvers
        .iter()
        .map(|server| resolver::ask_name_server(station.way(), &vantage.name, host, *server));
    let resolved = join_in_order(asked.collect()).await;
    Prepared::Ssh(Ok((station, resolved)))
}

/// Vantages share the firewall's client and ssh_config, and nothing that is about the firewall itself. No connection
/// to them is kept.
fn target_of(context: &Context, ssh: &Ssh) -> Target {
    let firewall = context.settings.firewall.target.clone();
    Target {
        host: ssh.host.clone(),
        port: ssh.port,
        user: ssh.user.clone(),
        identity: ssh.identity.clone(),
        known_hosts: ssh.known_hosts.clone().or(firewall.known_hosts),
        fingerprint: None,
        connect_timeout: firewall.connect_timeout.min(LOGIN),
        control_persist: Duration::ZERO,
        sudo: None,
        ..firewall
    }
}

/// What is known about this machine, for the vantage that it may be.
#[derive(Clone, Copy)]
pub(crate) struct Here {
    /// The connection to the firewall goes through no jump host.
    pub(crate) direct: bool,
    /// The private address that its resolver gives the public name.
    pub(crate) private_answer: Option<IpAddr>,
}

/// Tries from one vantage. A check service makes one observation a node.
pub(crate) async fn try_out(
    context: &Context,
    vantage: &Vantage,
    prepared: &Prepared,
    before: &Reading,
    target: Option<SocketAddr>,
    here: Here,
    times: Times,
) -> Vec<Observation> {
    let mut blank = blank_observation(vantage);
    if let Prepared::Ssh(Err(error)) = prepared {
        blank.trouble = Some(error.to_string().trim_end_matches('.').to_owned());
        return vec![blank];
    }
    let Some(target) = target else {
        blank.trouble =
            Some("where to connect is not known: the name has no IPv4 address".to_owned());
        return vec![blank];
    };
    let around = VantageSurroundings {
        target: target.ip(),
        interfaces: &before.interfaces,
        gateway: before.gateway,
    };
    if let (None, Prepared::Ssh(Ok((station, _)))) = (blank.address, prepared) {
        blank.address = station.address();
    }
    blank.place = external::by_address(blank.address, around);
    if vantage.kind == VantageKind::Local {
        let machine = Machine {
            configured: vantage.address,
            seen_by_firewall: before.client,
            direct: here.direct,
            source: probe::local_source_address(target).await,
            private_answer: here.private_answer,
        };
        blank.address = before.client.or(vantage.address);
        blank.place = external::of_this_machine(machine, around);
    }
    let Ok(budget) = vantage_budget(context) else {
        blank.trouble =
            Some("neither HOME nor XDG_STATE_HOME is set, so nothing can be counted".into());
        return vec![blank];
    };
    let reached = match prepared {
        Prepared::Ssh(Ok((station, _))) => station.peer(),
        _ => None,
    };
    let spender = spender_of(context.seen.get(), vantage, &[blank.address, reached]);
    let blocked = blank.address.is_some_and(|address| is_blocked(before, address));
    let task = Task {
        spender: &spender,
        target,
        speaks_kms: context.settings.service.speaks_kms,
        control: vantage.control.as_ref(),
        deadline: times.deadline,
        end: times.end,
        // One attempt shows what there is to see; more would take time and prove nothing.
        only_one: match blank.place {
            _ if blocked => Some("it is in the table of blocked addresses"),
            Place::Outside => None,
            Place::Inside(_) | Place::Unproven(_) => Some("it is not outside"),
        },
        budget: &budget,
        clock: context.clock,
    };
    match (&vantage.kind, prepared) {
        (VantageKind::CheckHost { url, nodes }, _) => {
            nodes_of(&blank, around, check_host::check_from_nodes(url, *nodes, task).await)
        }
        (_, Prepared::Ssh(Ok((station, _)))) => {
            vec![observed_attempt(blank, station.try_out(task).await)]
        }
        _ => vec![observed_attempt(blank, probe::try_out(task).await)],
    }
}

fn is_blocked(before: &Reading, address: IpAddr) -> bool {
    before.table.as_ref().is_ok_and(|entries| {
        entries.iter().any(|entry| !entry.negated && entry.net.contains(&address))
    })
}

fn vantage_budget(context: &Context) -> crate::error::Result<Budget> {
    Ok(Budget::new(&context.memory_directory()?))
}

/// Returns by what a vantage's connections are counted: its name, the address that the firewall sees, and whether it is
/// this machine. The configured address counts alone; else every address that it was reached at. The nodes of check
/// services are their own choice, so all services together have one budget. Before the login fewer addresses are
/// known: what was spent is found by the name then.
fn spender_of(
    seen: Option<&FirewallIdentity>,
    vantage: &Vantage,
    reached: &[Option<IpAddr>],
) -> Spender {
    let addresses: BTreeSet<IpAddr> = match vantage.address {
        Some(address) => [address.to_canonical()].into(),
        None => reached
            .iter()
            .copied()
            .chain([vantage.known_address()])
            .flatten()
            .map(|address| address.to_canonical())
            .collect(),
    };
    let here = match &vantage.kind {
        VantageKind::CheckHost { .. } => false,
        VantageKind::Local => true,
        VantageKind::Ssh(ssh) => vantage.address.is_none() && ssh.host == "localhost",
    };
    let service = matches!(vantage.kind, VantageKind::CheckHost { .. });
    let from = [format!("vantage {}", vantage.name)]
        .into_iter()
        .chain(addresses.iter().map(|address| format!("address {address}")))
        .chain((here || addresses.iter().any(IpAddr::is_loopback)).then(|| "this machine".into()))
        .chain(service.then(|| "check services".into()))
        .collect();
    let through = seen.map(|seen| [vec![seen.host_key.clone()], seen.other_keys()].concat());
    Spender { from, through: through.unwrap_or_default() }
}

/// Returns for how many seconds none of the vantages may connect as often as a proof takes; `None` where one may now, or
/// where that is not known.
pub(crate) fn budget_seconds(
    context: &Context,
    chosen: &[&Vantage],
    expected: Expected,
) -> Option<u64> {
    let (budget, now) = (vantage_budget(context).ok()?, context.clock.now());
    let connections = match expected {
        Expected::Open => 1,
        Expected::Closed => external::ATTEMPTS,
    };
    // A check service never proves "closed", so that it still may connect is no comfort.
    let useful = |vantage: &&&Vantage| {
        expected == Expected::Open || !matches!(vantage.kind, VantageKind::CheckHost { .. })
    };
    let mut soonest: Option<u64> = None;
    for vantage in chosen.iter().filter(useful) {
        match budget.look(&spender_of(context.seen.get(), vantage, &[]), now, connections) {
            Ok(Permit::Wait(seconds)) => {
                soonest = Some(soonest.map_or(seconds, |other| other.min(seconds)));
            }
            Ok(Permit::Granted) | Err(_) => return None,
        }
    }
    soonest
}

/// Makes an observation in which nothing was tried yet.
fn blank_observation(vantage: &Vantage) -> Observation {
    Observation {
        vantage: vantage.name.clone(),
        kind: vantage_kind_name(vantage),
        node: None,
        address: vantage.address,
        place: Place::Outside,
        attempts: Vec::new(),
        control: Control::NotNeeded,
        short: None,
        trouble: None,
    }
}

fn observed_attempt(blank: Observation, tried: ProbeAttempt) -> Observation {
    Observation { attempts: tried.attempts, control: tried.control, short: tried.short, ..blank }
}

/// Makes an observation of each node; a service that fails is trouble. Each node is where its own address is.
fn nodes_of(
    blank: &Observation,
    around: VantageSurroundings<'_>,
    checked: std::result::Result<
        (Vec<check_host::CheckNode>, Option<String>),
        check_host::CheckError,
    >,
) -> Vec<Observation> {
    let (nodes, short) = match checked {
        Ok((nodes, short)) if !nodes.is_empty() => (nodes, short),
        Ok((_, short)) => {
            return vec![Observation { short, ..blank.clone() }];
        }
        Err(error) => {
            return vec![Observation { trouble: Some(error.to_string()), ..blank.clone() }];
        }
    };
    nodes
        .into_iter()
        .map(|node| {
            let connected = |attempt: &Attempt| matches!(attempt, Attempt::Connected { .. });
            let missing = node.attempts.len() < external::ATTEMPTS;
            let late = (missing && !node.attempts.iter().any(connected))
                .then(|| "the service had no result in time".to_owned());
            Observation {
                node: Some(node.name),
                place: external::by_address(node.address, around),
                address: node.address,
                attempts: node.attempts,
                control: node.control,
                short: short.clone().or(late),
                ..blank.clone()
            }
        })
        .collect()
}

fn vantage_kind_name(vantage: &Vantage) -> &'static str {
    match vantage.kind {
        VantageKind::Ssh(_) => "ssh",
        VantageKind::CheckHost { .. } => "check-host",
        VantageKind::Local => "local",
    }
}

/// Returns a failure if none of the vantages could even be logged in to.
pub(crate) fn all_in_trouble(chosen: &[&Vantage], prepared: &[Prepared]) -> Option<Failure> {
    let mut failures = chosen.iter().zip(prepared).map(|(vantage, prepared)| {
        let Prepared::Ssh(Err(error)) = prepared else {
            return None;
        };
        let mut failure =
            Failure::new(error.kind(), format!("The vantage {}: {error}", vantage.name));
        let name = &vantage.name;
        Some(match error {
            LinkError::HostKeyUnknown { .. } => {
                let compare = "Compare the fingerprint with the vantage's own (on it: `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub`).";
                failure = failure.hint(compare);
                failure.hints.extend(error.accepting_hint());
                failure
            }
            LinkError::HostKeyChanged { .. } | LinkError::HostKeyRevoked { .. } => {
                failure.hint("Another machine may stand in between, or it was reinstalled: find out before anything else.")
            }
            _ => failure.hint(format!("Log in with ssh yourself; the keys are vantages.{name}.* in the configuration.")),
        })
    });
    let first = failures.next()??;
    failures.all(|failure| failure.is_some()).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vantage(name: &str, kind: VantageKind, address: Option<&str>) -> Vantage {
        let address = address.map(|address| address.parse().unwrap());
        Vantage { name: name.to_owned(), kind, address, control: None }
    }

    fn server(host: &str) -> VantageKind {
        let host = host.to_owned();
        VantageKind::Ssh(Ssh { host, user: None, port: None, identity: None, known_hosts: None })
    }

    fn service(url: &str) -> VantageKind {
        VantageKind::CheckHost { url: url.to_owned(), nodes: 3 }
    }

    /// One source is counted once, whichever names are configured for it, and before the login as after it.
    #[test]
    fn vantages_that_are_one_source_share_a_budget() {
        let seen = |key: &str, tied: &[&str]| FirewallIdentity {
            host_key: key.to_owned(),
            authority: None,
            tied: tied.iter().map(ToString::to_string).collect(),
        };
        let (one, other_key, another) =
            (seen("ed A", &["ec A"]), seen("ec A", &[]), seen("ed B", &[]));
        let local = vantage("here", VantageKind::Local, None);
        let vps = vantage("vps", server("vps.example"), None);
        let reached: &[Option<IpAddr>] = &[Some("198.51.100.7".parse().unwrap())];
        let loopback: &[Option<IpAddr>] = &[Some("127.0.0.1".parse().unwrap())];
        let spent = [
            (spender_of(Some(&one), &vps, reached), "vps"),
            (spender_of(Some(&one), &local, reached), "here"),
            (spender_of(Some(&one), &vantage("a", service("https://one.example"), None), &[]), "a"),
        ];
        for (spender, counts_for) in [
            (spender_of(Some(&one), &vps, &[]), &["vps"][..]),
            (spender_of(None, &vps, &[]), &["vps"]),
            (spender_of(Some(&other_key), &vps, &[]), &["vps"]),
            (spender_of(Some(&another), &vps, reached), &[]),
            (
                spender_of(Some(&one), &vantage("b", server("198.51.100.7"), None), &[]),
                &["vps", "here"],
            ),
            (
                spender_of(Some(&one), &vantage("b", server("::ffff:198.51.100.7"), None), &[]),
                &["vps", "here"],
            ),
            (spender_of(Some(&one), &vantage("b", server("localhost"), None), &[]), &["here"]),
            (spender_of(Some(&one), &vantage("b", server("::1"), None), &[]), &["here"]),
            (
                spender_of(Some(&one), &vantage("b", server("fwd.example"), None), loopback),
                &["here"],
            ),
            // A port on this machine that leads elsewhere: the operator says where.
            (
                spender_of(
                    Some(&one),
                    &vantage("b", server("127.0.0.1"), Some("203.0.113.9")),
                    loopback,
                ),
                &[],
            ),
            (
                spender_of(Some(&one), &vantage("b", service("http://two.example:80"), None), &[]),
                &["a"],
            ),
        ] {
            let home = tempfile::tempdir().unwrap();
            for (number, (spent, name)) in spent.iter().enumerate() {
                let budget = Budget::new(&home.path().join(number.to_string()));
                let now = jiff::Timestamp::UNIX_EPOCH;
                while budget.take(spent, now).unwrap() == Permit::Granted {}
                let refused = budget.look(&spender, now, 1).unwrap() != Permit::Granted;
                assert_eq!(refused, counts_for.contains(name), "{spender:?} after {spent:?}");
            }
        }
    }
}
