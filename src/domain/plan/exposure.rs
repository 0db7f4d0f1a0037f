//! Plans that close and open the exposure: the pair of port forward and filter rule as one thing. The alias is
//! touched by `apply` alone.

use super::{
    Confirm, Difference, Draft, Operation, Planned, Refusal, RefusalKind, Risk, Seen, Undo, caps,
};
use crate::domain::change::{Change, Records};
use crate::domain::configured::{Configured, NatRule};
use crate::domain::connections::Source;
use crate::domain::exposure::pair::Pair;
use crate::domain::exposure::{Exposure, State};
use crate::domain::ratelimit::{self, Caps};
use crate::domain::service::Service;

/// What was read, for plans about the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Present<'a> {
    /// What config.xml says.
    pub configured: &'a Configured,
    /// The judgement.
    pub exposure: &'a Exposure,
    /// The service.
    pub service: &'a Service,
    /// Who is connected.
    pub sources: &'a [Source],
    /// Entries of the overload table, if it was read.
    pub blocked: Option<usize>,
}

/// The terms the operator set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Go on although other changes wait to be applied.
    pub with_pending: bool,
    /// Seconds after which the firewall takes it back.
    pub reverts_after: Option<u64>,
}

/// Records that were saved when they were deleted.
#[derive(Clone, Debug)]
pub struct Saved {
    /// The change that deleted them.
    pub id: String,
    /// The records.
    pub records: Records,
}

/// Refuses where no change of the configuration can be made safely; otherwise finds the pair.
pub(crate) fn ready<'a>(present: &Present<'a>, terms: Terms) -> Result<Pair<'a>, Refusal> {
    let configured = present.configured;
    if let Some(running) = configured.unfinished.first() {
        return Err(Refusal::new(
            RefusalKind::Conflict,
            format!("Another change is being made: {} by {} ({}).", running.id, running.who, running.what),
        )
        .hint("Wait a minute and try again; an interrupted change is brought to an end by the firewall itself."));
    }
    if !configured.dirty.is_empty() && !terms.with_pending {
        return Err(Refusal::new(
            RefusalKind::Conflict,
            format!("Changes saved in the GUI wait to be applied ({}); loading the rules would activate them too.", configured.dirty.join(", ")),
        )
        .hint("Apply or undo them in the GUI, or go on and activate them with --with-pending."));
    }
    if configured.filter_disabled {
        return Err(Refusal::new(
            RefusalKind::Impossible,
            "Packet filtering is disabled on this firewall (System > Advanced > Firewall & NAT), so no rule would be loaded.",
        ));
    }
    let pair = Pair::find(configured, present.service);
    const AMBIGUOUS: [&str; 3] = ["duplicate-nat", "duplicate-filter", "duplicate-association"];
    let doubt = pair
        .findings
        .iter()
        .find(|finding| AMBIGUOUS.contains(&finding.code));
    if let Some(doubt) = doubt {
        return Err(Refusal::new(
            RefusalKind::Impossible,
            format!("It is not clear which rules are meant. {}", doubt.message),
        )
        .hint("Remove the surplus rule in the GUI; `kmsctl expose show` lists what was found."));
    }
    Ok(pair)
}

/// Returns what a plan about the configuration rests on.
pub(crate) fn seen(present: &Present<'_>) -> Seen {
    Seen {
        fingerprint: present.configured.fingerprint.clone(),
        facts: super::configuration_facts(present.configured, present.service),
    }
}

/// Returns the risks that every change of the configuration has here.
pub(crate) fn risks(present: &Present<'_>) -> Vec<Risk> {
    let mut risks = Vec::new();
    for armed in &present.configured.armed {
        risks.push(Risk::new(
            "armed",
            format!("The temporary change {} is armed to revert; after this change it leaves the rules alone and disarms itself.", armed.id),
        ));
    }
    if !present.configured.dirty.is_empty() {
        risks.push(Risk::new(
            "activates-pending",
            format!(
                "Loading the rules also activates what others saved and did not apply ({}).",
                present.configured.dirty.join(", ")
            ),
        ));
    }
    if present.configured.ha_peer {
        risks.push(Risk::new(
            "ha-sync",
            "A sync peer is configured: pfSense sends the changed rules there by itself, and kmsctl cannot see whether they arrive. The overload table is each node's own.",
        ));
    }
    risks
}

fn draft(present: &Present<'_>, terms: Terms, change: Change, what: &str) -> Draft {
    Draft {
        what: what.to_owned(),
        differences: Vec::new(),
        checks: vec!["The configuration holds it, and nothing else in it differs.".to_owned()],
        undo: Undo::Command("puts both rules back as they were".to_owned()),
        risks: risks(present),
        confirm: Confirm::YesNo,
        seen: seen(present),
        operation: Operation::Configuration {
            change,
            with_pending: terms.with_pending,
            end_connections: false,
        },
        reverts_after: terms.reverts_after,
        undoes: None,
    }
}

fn standing(disabled: bool) -> &'static str {
    if disabled { "disabled" } else { "enabled" }
}

/// Plans to close the exposure. `connections` are ended afterwards if wanted.
pub fn revoke(
    present: &Present<'_>,
    delete: bool,
    end_connections: bool,
    terms: Terms,
) -> Result<Planned, Refusal> {
    let pair = ready(present, terms)?;
    let state = present.exposure.state;
    if pair.nat.is_none() && pair.filter.is_none() {
        return no_rules(state);
    }
    let enabled = pair.nat.is_some_and(|rule| !rule.disabled)
        || pair.filter.is_some_and(|rule| !rule.disabled);
    let loaded = present.exposure.nat.loaded || present.exposure.filter.loaded;
    if !delete && !enabled && !loaded {
        return Ok(Planned::NothingToDo(format!(
            "Nothing to do: both rules are disabled already, and the exposure is {state}."
        )));
    }
    let (change, what) = if delete {
        (
            Change::Delete,
            "Close the exposure: delete the port forward and its filter rule, after saving both whole.",
        )
    } else {
        (
            Change::Disable,
            "Close the exposure: disable the port forward and its filter rule.",
        )
    };
    let mut draft = draft(present, terms, change, what);
    let after = if delete { None } else { Some("disabled") };
    if let Some(nat) = pair.nat {
        draft.differences.push(Difference::new(
            "port forward",
            standing(nat.disabled),
            after,
        ));
    }
    if let Some(filter) = pair.filter {
        draft.differences.push(Difference::new(
            "filter rule",
            standing(filter.disabled),
            after,
        ));
    }
    let closed = if delete { State::Absent } else { State::Closed };
    draft
        .differences
        .push(Difference::new("exposure", state.name(), closed.name()));
    let connections: u64 = present.sources.iter().map(|source| source.states).sum();
    if end_connections {
        draft
            .differences
            .push(Difference::new("connections", connections, 0));
        draft
            .checks
            .push("No connection to the service is left in pf.".to_owned());
    } else if connections > 0 {
        draft.risks.push(Risk::new(
            "connections-live-on",
            format!("{connections} open connections live on until they end by themselves."),
        ));
    }
    draft.checks.push(
        "pf has neither the redirection nor the pass rule any more, and lets nothing in."
            .to_owned(),
    );
    draft.confirm = Confirm::Word("revoke".to_owned());
    if let Operation::Configuration {
        end_connections: end,
        ..
    } = &mut draft.operation
    {
        *end = end_connections;
    }
    Ok(draft.into())
}

fn no_rules(state: State) -> Result<Planned, Refusal> {
    if state == State::Absent || state == State::Closed {
        return Ok(Planned::NothingToDo(
            "Nothing to do: there are no such rules.".to_owned(),
        ));
    }
    Err(Refusal::new(
        RefusalKind::Impossible,
        format!("The configuration has no rules of the exposure, but pf runs some: it is {state}."),
    )
    .hint("Load the configured rules: Status > Filter Reload in pfSense; then look again."))
}

/// Plans to open the exposure again: enables what is there, or puts back what was deleted, or builds it.
pub fn restore(
    present: &Present<'_>,
    saved: Option<&Saved>,
    caps: Caps,
    terms: Terms,
) -> Result<Planned, Refusal> {
    let pair = ready(present, terms)?;
    let state = present.exposure.state;
    let complete = pair.nat.is_some() && (pair.filter.is_some() || pair.nat_passes());
    let enabled = pair.nat.is_some_and(|rule| !rule.disabled)
        && pair.filter.is_none_or(|rule| !rule.disabled);
    if complete && enabled && state.lets_in() {
        let uncapped = if state == State::Uncapped {
            " No caps are in force, though: kmsctl expose apply"
        } else {
            ""
        };
        return Ok(Planned::NothingToDo(format!(
            "Nothing to do: the exposure is {state}.{uncapped}"
        )));
    }
    if complete {
        let mut draft = draft(
            present,
            terms,
            Change::Enable,
            "Open the exposure: enable the port forward and its filter rule.",
        );
        if let Some(nat) = pair.nat {
            draft.differences.push(Difference::new(
                "port forward",
                standing(nat.disabled),
                "enabled",
            ));
        }
        if let Some(filter) = pair.filter {
            draft.differences.push(Difference::new(
                "filter rule",
                standing(filter.disabled),
                "enabled",
            ));
            let (caps, _) = ratelimit::of_configured(filter);
            draft
                .checks
                .push(format!("pf's loaded rule carries {caps}."));
        }
        return Ok(opening(draft, state).into());
    }
    if let (None, None, Some(saved)) = (pair.nat, pair.filter, saved) {
        let change = Change::PutBack {
            records: Box::new(saved.records.clone()),
            alias: false,
        };
        let what = format!(
            "Open the exposure: put back the rules that {} deleted, as they were.",
            saved.id
        );
        let mut draft = draft(present, terms, change, &what);
        let standing = |record: bool| if record { Some("as it was") } else { None };
        draft.differences.push(Difference::new(
            "port forward",
            None::<&str>,
            standing(saved.records.nat.is_some()),
        ));
        draft.differences.push(Difference::new(
            "filter rule",
            None::<&str>,
            standing(saved.records.filter.is_some()),
        ));
        return Ok(opening(draft, state).into());
    }
    let mut draft = build(present, &pair, caps, false, terms);
    draft.risks.push(Risk::new(
        "built-anew",
        "Nothing was saved that could be put back, so the rules are built from kmsctl's configuration: a new tracker, new counters, last in their lists.",
    ));
    Ok(opening(draft, state).into())
}

fn opening(mut draft: Draft, state: State) -> Draft {
    if !state.lets_in() {
        draft.differences.push(Difference::new(
            "exposure",
            state.name(),
            State::Open.name(),
        ));
        draft
            .checks
            .push("pf redirects the service's port and lets connections in.".to_owned());
    }
    draft
}

/// Plans to make alias, port forward, filter rule and caps what the configuration says.
pub fn apply(present: &Present<'_>, caps: Caps, terms: Terms) -> Result<Planned, Refusal> {
    caps::limits(caps)?;
    let pair = ready(present, terms)?;
    let draft = build(present, &pair, caps, true, terms);
    let state = present.exposure.state;
    if draft.differences.is_empty()
        && state == State::Open
        && present.exposure.caps.loaded == Some(caps)
    {
        return Ok(Planned::NothingToDo(
            "Nothing to do: the firewall is what the configuration says.".to_owned(),
        ));
    }
    Ok(opening(draft, state).into())
}

fn build(present: &Present<'_>, pair: &Pair<'_>, caps: Caps, alias: bool, terms: Terms) -> Draft {
    let service = present.service;
    let change = Change::Build {
        description: service.description.clone(),
        max_src_conn: caps.max_src_conn,
        rate: caps.rate,
        alias,
    };
    let what = if alias {
        "Make alias, port forward, filter rule and caps what the configuration says."
    } else {
        "Open the exposure: build the port forward and its filter rule from the configuration."
    };
    let mut draft = draft(present, terms, change, what);
    if alias && present.exposure.alias.as_expected != Some(true) {
        let members = &present.exposure.alias;
        let now = (members.configured == Some(true)).then(|| members.addresses.join(" "));
        draft
            .differences
            .push(Difference::new("alias", now, service.address.to_string()));
    }
    let differences = &mut draft.differences;
    match pair.nat.or_else(|| elsewhere(present)) {
        None => differences.push(Difference::new(
            "port forward",
            None::<&str>,
            format!("port {} to {}", service.port, service.alias),
        )),
        Some(nat) => nat_differences(nat, service, differences),
    }
    match pair.filter {
        None => {
            differences.push(Difference::new(
                "filter rule",
                None::<&str>,
                format!("pass to {} port {}", service.alias, service.port),
            ));
            differences.extend(caps::differences(Caps::default(), caps));
        }
        Some(filter) => {
            if filter.disabled {
                differences.push(Difference::new("filter rule", "disabled", "enabled"));
            }
            let kind = filter.kind.as_deref().unwrap_or("pass");
            if !matches!(kind, "" | "pass") {
                differences.push(Difference::new("filter rule type", kind, "pass"));
            }
            if filter.protocol.as_deref() != Some("tcp") {
                differences.push(Difference::new(
                    "filter rule protocol",
                    filter.protocol.clone(),
                    "tcp",
                ));
            }
            differences.extend(caps::differences(ratelimit::of_configured(filter).0, caps));
        }
    }
    draft
        .checks
        .push(format!("pf's loaded rule carries {caps}."));
    draft
}

fn nat_differences(nat: &NatRule, service: &Service, differences: &mut Vec<Difference>) {
    if nat.disabled {
        differences.push(Difference::new("port forward", "disabled", "enabled"));
    }
    if nat.target.as_deref() != Some(service.alias.as_str()) {
        differences.push(Difference::new(
            "port forward target",
            nat.target.clone(),
            service.alias.clone(),
        ));
    }
    let port = service.port.to_string();
    if nat.local_port.as_deref() != Some(port.as_str()) {
        differences.push(Difference::new(
            "port forward port",
            nat.local_port.clone(),
            port,
        ));
    }
    if nat.protocol.as_deref() != Some("tcp") {
        differences.push(Difference::new(
            "port forward protocol",
            nat.protocol.clone(),
            "tcp",
        ));
    }
    if nat.association.as_deref() == Some("pass") {
        differences.push(Difference::new(
            "association",
            "pass",
            "a filter rule of its own",
        ));
    }
}

/// Finds a port forward of the service's port that points elsewhere: the one that `apply` corrects.
fn elsewhere<'a>(present: &Present<'a>) -> Option<&'a NatRule> {
    let port = present.service.port.to_string();
    let here = |rule: &&NatRule| {
        rule.interface == present.service.interface
            && !rule.nordr
            && rule.destination.port.as_deref() == Some(port.as_str())
    };
    present.configured.nat.iter().find(here)
}
