//! One vantage and the firewall: the table of what both ends together mean.

use super::{
    ATTEMPTS, Attempt, Control, FirewallEvidence, HeardFromServer, Observation, Place, PortState,
    Row, Saw, Seen, Verdict,
};
use crate::domain::reachability::kms_bind::BindAnswer;
use crate::domain::virusprot::entries::is_private;

/// What is concluded, before it is joined with the observation.
struct Conclusion {
    verdict: Verdict,
    row: Option<Row>,
    why: String,
}

fn open_conclusion(row: Option<Row>, why: impl Into<String>) -> Conclusion {
    Conclusion {
        verdict: Verdict::Open,
        row,
        why: why.into(),
    }
}

fn closed_conclusion(row: Row, why: impl Into<String>) -> Conclusion {
    Conclusion {
        verdict: Verdict::Closed,
        row: Some(row),
        why: why.into(),
    }
}

fn inconclusive_conclusion(row: Option<Row>, why: impl Into<String>) -> Conclusion {
    Conclusion {
        verdict: Verdict::Inconclusive,
        row,
        why: why.into(),
    }
}

/// Judges one observation.
pub(super) fn vantage_verdict(observation: &Observation, end: &FirewallEvidence) -> Seen {
    let Conclusion { verdict, row, why } = conclude_vantage(observation, end);
    let (port, reason) = best_port_state(&observation.attempts).unzip();
    Seen {
        vantage: observation.vantage.clone(),
        kind: observation.kind,
        node: observation.node.clone(),
        address: observation.address,
        place: observation.place.clone(),
        verdict,
        port,
        reason,
        row,
        why,
        attempts: observation.attempts.clone(),
        control: observation.control.clone(),
    }
}

/// nmap's word and reason: the best that was seen.
fn best_port_state(attempts: &[Attempt]) -> Option<(PortState, &'static str)> {
    let any = |wanted: fn(&Attempt) -> bool| attempts.iter().any(wanted);
    if any(|attempt| matches!(attempt, Attempt::Connected { .. })) {
        Some((PortState::Open, "syn-ack"))
    } else if any(|attempt| *attempt == Attempt::Refused) {
        Some((PortState::Closed, "reset"))
    } else if any(|attempt| matches!(attempt, Attempt::Unreachable { .. })) {
        Some((PortState::Filtered, "host-unreach"))
    } else if any(|attempt| *attempt == Attempt::NoAnswer) {
        Some((PortState::Filtered, "no-response"))
    } else {
        None
    }
}

fn conclude_vantage(observation: &Observation, end: &FirewallEvidence) -> Conclusion {
    if let Some(trouble) = &observation.trouble {
        return inconclusive_conclusion(None, format!("the vantage could not be used: {trouble}"));
    }
    match &observation.place {
        Place::Outside => {}
        Place::Inside(why) => {
            return inconclusive_conclusion(None, format!("inside, so it proves nothing: {why}"));
        }
        Place::Unproven(why) => {
            return inconclusive_conclusion(None, format!("not proven to be outside: {why}"));
        }
    }
    let connected = observation
        .attempts
        .iter()
        .find_map(|attempt| match attempt {
            Attempt::Connected { answer, .. } => Some(*answer),
            _ => None,
        });
    match connected {
        Some(answer) => conclude_connected(observation, end, answer),
        None => doubt_of_closed(observation, end).map_or_else(
            || conclude_failed(observation, end),
            |why| inconclusive_conclusion(None, why),
        ),
    }
}

fn conclude_connected(
    observation: &Observation,
    end: &FirewallEvidence,
    answer: Option<BindAnswer>,
) -> Conclusion {
    // Without a known address, the only new states tell where the connection really came from.
    if observation.address.is_none()
        && !end.sources.is_empty()
        && end.sources.keys().all(is_private)
    {
        return inconclusive_conclusion(
            None,
            "inside, so it proves nothing: its connection reached the firewall from a private address",
        );
    }
    match (end.saw(observation.address), answer) {
        (Saw::No, _) => inconclusive_conclusion(
            None,
            "something answered, but the firewall saw nothing of it: a wrong address, or a proxy in between",
        ),
        // Somebody else's connection moves the firewall's counters as well: only the vantage's own is proof.
        (Saw::Unknown, _) => inconclusive_conclusion(None, whose_answer(observation)),
        (Saw::Yes, Some(BindAnswer::Kms)) => {
            open_conclusion(Some(Row::OpenKms), "a KMS server answers")
        }
        (Saw::Yes, None) => open_conclusion(
            None,
            "a connection opens; what answers was not asked, as a check service cannot",
        ),
        (Saw::Yes, Some(answer)) => open_conclusion(Some(Row::OpenNotKms), not_kms(answer)),
    }
}

/// Says why an answer proves nothing while others connect as well, and what would help.
fn whose_answer(observation: &Observation) -> String {
    let name = &observation.vantage;
    match (observation.address, observation.kind) {
        (Some(address), "ssh") => format!(
            "something answered, but the firewall saw no new connection of {address}: if this vantage comes from another address, set vantages.{name}.address; if not, somebody else answered"
        ),
        (Some(address), _) => format!(
            "something answered, but the firewall saw no new connection of {address}: it came from another address, or somebody else answered"
        ),
        (None, "ssh") => format!(
            "something answered, and whether through the firewall cannot be told: the vantage's address is not known; set vantages.{name}.address"
        ),
        (None, _) => "something answered, and whether through the firewall cannot be told: its address is not known".to_owned(),
    }
}

fn not_kms(answer: BindAnswer) -> &'static str {
    match answer {
        BindAnswer::Kms => "a KMS server answers",
        BindAnswer::RpcNotKms => "an RPC server answers that does not speak KMS",
        BindAnswer::NotRpc => "something answers that is no KMS server",
        BindAnswer::Silent => "the connection opens, and nobody says a word",
        BindAnswer::Reset => "the connection opens, and is ended before a word is said",
    }
}

/// Tells why failed attempts prove nothing.
fn doubt_of_closed(observation: &Observation, end: &FirewallEvidence) -> Option<String> {
    let failed = observation
        .attempts
        .iter()
        .find_map(|attempt| match attempt {
            Attempt::NotTried { why } => Some(why),
            _ => None,
        });
    if let Some(why) = failed {
        return Some(format!("the vantage could not try: {why}"));
    }
    if is_vantage_blocked(observation, end) {
        return Some(
            "this vantage is in the firewall's table of blocked addresses: it is shut out, others may not be"
                .to_owned(),
        );
    }
    if observation.attempts.len() < ATTEMPTS {
        let why = observation.short.as_deref().unwrap_or("time ran out");
        return Some(format!(
            "{} of {ATTEMPTS} attempts were made: {why}",
            observation.attempts.len()
        ));
    }
    if end.pf_off {
        return Some("pf is switched off: nothing is filtered, so it is not the firewall that keeps anybody out".to_owned());
    }
    if end.changed {
        return Some("the firewall's rules changed meanwhile".to_owned());
    }
    match &observation.control {
        Control::Failed { to, why } => Some(format!(
            "the vantage does not reach its control {to} either: {why}"
        )),
        Control::NotNeeded => Some("the vantage was not controlled".to_owned()),
        Control::Passed { .. } | Control::OwnPath => None,
    }
}

fn is_vantage_blocked(observation: &Observation, end: &FirewallEvidence) -> bool {
    match observation.address {
        Some(address) => end.blocks(address),
        // Somebody in the table was dropped as often as we tried; it may have been us.
        None => {
            !observation.attempts.is_empty()
                && end
                    .dropped_by_table
                    .is_some_and(|dropped| dropped >= observation.attempts.len() as u64)
        }
    }
}

fn conclude_failed(observation: &Observation, end: &FirewallEvidence) -> Conclusion {
    let reset = observation.attempts.contains(&Attempt::Refused);
    let saw = end.saw(observation.address);
    let way = matches!(
        observation.control,
        Control::Passed {
            same_address: true,
            ..
        }
    );
    match (end.lets_in, saw) {
        (true, Saw::Yes) if !nobody_answered(end, observation, reset) => inconclusive_conclusion(
            None,
            "the firewall forwards, and the server answered: its answer did not reach the vantage",
        ),
        (true, Saw::Yes) if reset => closed_conclusion(
            Row::NobodyListens,
            "the firewall forwards, and nobody listens behind it (reset)",
        ),
        (true, Saw::Yes) => closed_conclusion(
            Row::NobodyListens,
            "the firewall forwards, and nobody answers behind it",
        ),
        (false, Saw::Yes) => inconclusive_conclusion(
            None,
            "the firewall made a state for this vantage although its rules should let nobody in",
        ),
        (false, _) if reset && way => closed_conclusion(
            Row::NobodyListens,
            "the connection is rejected with a reset, and the firewall lets nobody in",
        ),
        (false, _) if way => closed_conclusion(Row::ClosedHere, dropped_here(end)),
        (_, Saw::Unknown) => inconclusive_conclusion(
            None,
            "no answer, and which of the firewall's new connections are this vantage's cannot be told",
        ),
        // What counters say is anybody's: the Internet at large is dropped all the time.
        (false, _) if end.dropped.is_some_and(|dropped| dropped > 0) => inconclusive_conclusion(
            None,
            "no connection, and whose packets the firewall dropped meanwhile cannot be told: give the vantage a `control` on the very address that is tried",
        ),
        (_, _) if reset => inconclusive_conclusion(
            Some(Row::NothingArrived),
            "a reset came back, but nothing arrived at the firewall: it came from something on the way",
        ),
        (_, _) => inconclusive_conclusion(
            Some(Row::NothingArrived),
            "no answer, and nothing arrived at the firewall: the provider, carrier NAT, a wrong address or name",
        ),
    }
}

/// Tells whether nobody behind the firewall said a word: the server's side of the vantage's states shows no SYN, or a
/// reset that the vantage heard.
fn nobody_answered(end: &FirewallEvidence, observation: &Observation, reset: bool) -> bool {
    let levels = observation
        .address
        .and_then(|address| end.sources.get(&address));
    levels.is_some_and(|levels| match HeardFromServer::of(levels) {
        HeardFromServer::Nothing => true,
        HeardFromServer::Reset => reset,
        HeardFromServer::Answer => false,
    })
}

fn dropped_here(end: &FirewallEvidence) -> String {
    let rule = end
        .dropped_by
        .map(|tracker| format!(", most by rule {tracker}"))
        .unwrap_or_default();
    let dropped = match end.dropped {
        Some(1) => format!("; the firewall dropped 1 packet meanwhile{rule}"),
        Some(dropped) if dropped > 0 => {
            format!("; the firewall dropped {dropped} packets meanwhile{rule}")
        }
        _ => String::new(),
    };
    format!("no answer, although another port of the same address answers this vantage{dropped}")
}
