//! Plans that end connections of the service: both halves of each, and nothing else on the box. By id; only where those are
//! too many, by the label of the exposure's rule, which reaches what an earlier form of the rule let in as well. Never by
//! address, which would end other services' connections too, and never by two addresses, which FreeBSD 15 gets wrong while
//! exiting 0.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::exposure::ends_inside;
use super::{
    Confirm, Difference, Draft, Operation, Planned, Refusal, RefusalKind, Risk, Seen, Undo, counted,
};
use crate::domain::address::is_private;
use crate::domain::connections::{self, Half};
use crate::domain::exposure::matching::is_service;
use crate::domain::pf::rule::{Direction, Rule};
use crate::domain::pf::state::State;
use crate::domain::pfsense::configured::Configured;
use crate::domain::service::Service;

/// Most states that are ended one by one: each costs a process on the firewall.
pub const MOST: usize = 5_000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StatesChoice {
    Clients(Vec<IpAddr>),
    /// Those of all clients.
    All,
}

impl StatesChoice {
    /// Reads the list of an operation: an empty one means all.
    pub fn of_clients(clients: &[IpAddr]) -> Self {
        if clients.is_empty() { Self::All } else { Self::Clients(clients.to_vec()) }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedState {
    pub id: u64,
    pub creator: u32,
    pub client: IpAddr,
    /// Which half: inbound is the client's, outbound the server's.
    pub direction: Direction,
    /// Its age in seconds when the plan was made.
    pub age_seconds: u64,
}

/// What is alive on the firewall, and what of it is the service's: what is shown and what is ended are the same.
#[derive(Clone, Debug)]
pub struct Live<'a> {
    states: &'a [State],
    service: &'a Service,
    servers: Vec<IpNet>,
}

impl<'a> Live<'a> {
    /// Takes a reading; `members` is what the alias holds, if that is known.
    pub fn new(states: &'a [State], service: &'a Service, members: Option<&[IpNet]>) -> Self {
        Self { servers: connections::server_networks(states, service, members), states, service }
    }

    /// Returns the clients that are meant: each single address, and of a network those that are connected.
    pub fn clients_within(&self, wanted: &[super::Address]) -> Vec<IpAddr> {
        let mut clients = std::collections::BTreeSet::new();
        for super::Address { net, .. } in wanted {
            if net.prefix_len() == net.max_prefix_len() {
                clients.insert(net.addr());
                continue;
            }
            let ours = self.states.iter().filter(|state| self.connection_half(state).is_some());
            let within =
                ours.map(|state| state.client().address).filter(|client| net.contains(client));
            clients.extend(within);
        }
        clients.into_iter().collect()
    }

    /// Chooses the clients from outside, or led in by a redirection; nothing where there is none.
    pub fn clients_outside(&self) -> Option<StatesChoice> {
        let ours = self.states.iter().filter(|state| self.connection_half(state).is_some());
        let mut clients: BTreeMap<IpAddr, bool> = BTreeMap::new();
        for state in ours {
            let address = state.client().address;
            let is_led = state.direction == Direction::In && state.left_inside.is_some();
            *clients.entry(address).or_default() |= is_led || !is_private(&address);
        }
        let (outside, inside): (Vec<_>, Vec<_>) = clients.into_iter().partition(|(_, out)| *out);
        let outside: Vec<IpAddr> = outside.into_iter().map(|(address, _)| address).collect();
        match (outside.is_empty(), inside.is_empty()) {
            (true, _) => None,
            (false, true) => Some(StatesChoice::All),
            (false, false) => Some(StatesChoice::Clients(outside)),
        }
    }

    /// Returns the service's states that are meant by the choice, both halves.
    pub fn chosen_states(&self, choice: &StatesChoice) -> Vec<&'a State> {
        let states = self.states.iter();
        states
            .filter(|state| self.connection_half(state).is_some() && state_is_chosen(state, choice))
            .collect()
    }

    fn connection_half(&self, state: &State) -> Option<Half> {
        connections::connection_half(state, self.service, Some(&self.servers))
    }

    /// Counts connections: their clients' halves.
    pub fn count_connections(&self, states: &[&State]) -> usize {
        let client =
            |state: &&&State| matches!(self.connection_half(state), Some(Half::Client { .. }));
        states.iter().filter(client).count()
    }

    /// Counts the states that the exposure's rule made: those through the port forward, from outside.
    fn by_label(&self, states: &[&State]) -> usize {
        let through = Some(Half::Client { forwarded: true });
        let forwarded = |state: &&&State| self.connection_half(state) == through;
        states.iter().filter(forwarded).count()
    }
}

/// Plans to end connections. `labels` are those of the exposure's rule (see [`rule_labels`]), for ending all of them.
pub fn plan_kill(
    live: &Live<'_>,
    mut labels: Vec<String>,
    choice: &StatesChoice,
) -> Result<Planned, Refusal> {
    let chosen = live.chosen_states(choice);
    if chosen.is_empty() {
        return Ok(Planned::NothingToDo(no_states_clause(choice, live.service.port)));
    }
    let planned: Vec<PlannedState> =
        chosen.iter().filter_map(|state| planned_state(state)).collect();
    if planned.len() < chosen.len() {
        return Err(Refusal::new(
            RefusalKind::Impossible,
            "pfctl did not print the ids of all states, so they cannot be ended one by one.",
        )
        .hint("End them in pfSense: Diagnostics > States."));
    }
    if matches!(choice, StatesChoice::Clients(_)) || planned.len() <= MOST {
        labels.clear();
    }
    let one_by_one = if labels.is_empty() {
        planned.len()
    } else {
        chosen.len().saturating_sub(live.by_label(&chosen))
    };
    if one_by_one > MOST {
        return Err(Refusal::new(
            RefusalKind::Impossible,
            format!("{one_by_one} states would have to be ended one by one; more than {MOST} at a time would keep the firewall busy."),
        )
        .hint("End the busiest sources first: `kmsctl states`; `kmsctl states kill ADDR`"));
    }
    Ok(draft_kill(live, &chosen, planned, labels, choice).into())
}

fn draft_kill(
    live: &Live<'_>,
    chosen: &[&State],
    planned: Vec<PlannedState>,
    labels: Vec<String>,
    choice: &StatesChoice,
) -> Draft {
    // A server's half whose client's half is gone already is no connection any more, and ends with the rest.
    let halves = planned.iter().filter(|state| state.direction == Direction::In);
    let mut sources: Vec<IpAddr> = halves.map(|state| state.client).collect();
    sources.sort_unstable();
    sources.dedup();
    let clients = match choice {
        StatesChoice::All => Vec::new(),
        StatesChoice::Clients(clients) => clients.clone(),
    };
    let (connections, port) = (live.count_connections(chosen), live.service.port);
    let states = counted(planned.len(), "state", "states");
    let what = if connections == 0 {
        format!("End {states} to port {port}, left over from connections that have ended.")
    } else {
        format!(
            "End {} of {} to port {port} ({states}).",
            counted(connections, "connection", "connections"),
            counted(sources.len(), "source", "sources"),
        )
    };
    let inside = chosen.iter().copied();
    let inside: Vec<&State> = inside.filter(|state| is_private(&state.client().address)).collect();
    let mut risks = vec![
        Risk::new("silent", "pf ends states silently: both sides notice by time-out only."),
        Risk::new(
            "reconnects",
            "Ending a connection blocks no client, which may connect again at once.",
        ),
    ];
    if !labels.is_empty() {
        risks.push(Risk::new(
            "by-label",
            format!("More than {MOST} states are ended by the label of the filter rule: what it let in under that tracker before it was changed, to other ports too, ends with them."),
        ));
    }
    risks.extend(ends_inside(live.count_connections(&inside) as u64, connections as u64));
    let confirm = match choice {
        StatesChoice::All => Confirm::Word("kill".to_owned()),
        StatesChoice::Clients(_) => Confirm::YesNo,
    };
    Draft {
        what,
        differences: vec![
            Difference::new("connections", connections, 0),
            Difference::new("states", planned.len(), 0),
        ],
        checks: vec!["None of these states is left in pf, both halves read back.".to_owned()],
        undo: Undo::Impossible(
            "Ended connections do not come back; clients connect again by themselves.".to_owned(),
        ),
        risks,
        confirm,
        seen: Seen::of(super::state_facts(chosen.iter().copied())),
        operation: Operation::StatesKill { labels, states: planned, clients },
        reverts_after: None,
        undoes: None,
    }
}

fn state_is_chosen(state: &State, choice: &StatesChoice) -> bool {
    match choice {
        StatesChoice::All => true,
        StatesChoice::Clients(clients) => clients.contains(&state.client().address),
    }
}

fn planned_state(state: &State) -> Option<PlannedState> {
    let identity = state.identity.as_ref()?;
    Some(PlannedState {
        id: identity.id,
        creator: identity.creator,
        client: state.client().address,
        direction: state.direction,
        age_seconds: state.detail.as_ref().map_or(0, |detail| detail.age_seconds),
    })
}

/// Finds the labels `id:TRACKER` (pfSense 2.7) or `id=TRACKER` (development versions) of the loaded rule. Without one
/// (2.6), and where the rule or its tracker is not the service's alone, every state is ended by its id.
pub fn rule_labels(
    rules: &[Rule],
    tracker: Option<u32>,
    service: &Service,
    configured: Option<&Configured>,
) -> Vec<String> {
    let Some(tracker) = tracker else {
        return Vec::new();
    };
    let ours = rules.iter().filter(|rule| rule.tracker() == Some(tracker));
    let is_shared =
        configured.is_some_and(|configured| configured.rules_of_tracker(tracker).count() > 1);
    if is_shared || !ours.clone().all(|rule| makes_only_service_states(rule, service)) {
        return Vec::new();
    }
    let names = [format!("id:{tracker}"), format!("id={tracker}")];
    let mut labels: Vec<String> = ours
        .flat_map(|rule| rule.labels.iter())
        .filter(|label| names.contains(label))
        .cloned()
        .collect();
    labels.sort_unstable();
    labels.dedup();
    labels
}

/// Says whether all that a loaded rule lets through is the service's: TCP to its port alone, at its address or alias.
fn makes_only_service_states(rule: &Rule, service: &Service) -> bool {
    rule.protocol.as_deref() == Some("tcp")
        && is_service(&rule.to, service)
        && rule.to.port.as_deref() == Some(format!("= {}", service.port).as_str())
}

fn no_states_clause(choice: &StatesChoice, port: u16) -> String {
    match choice {
        StatesChoice::All => format!("Nothing to do: no client is connected to port {port}."),
        StatesChoice::Clients(clients) => {
            let names: Vec<String> = clients.iter().map(IpAddr::to_string).collect();
            let verb = if names.len() == 1 { "has" } else { "have" };
            format!("Nothing to do: {} {verb} no connection to port {port}.", super::named(&names))
        }
    }
}
