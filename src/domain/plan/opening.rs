//! Plans that open the exposure again: enabled, put back from what a deletion saved, or built. The state they promise is
//! that of the rules as they will be. The alias is touched by `apply` alone.

use ipnet::IpNet;
use jiff::Timestamp;

use super::armed::{nothing_to_open, paths_beside, refuse_crossing};
use super::build::{LEAD_HERE, draft_building, leads_elsewhere, limited_clause};
use super::effect::{lost_fields, place_sentences};
use super::exposure::{
    ChangeOptions, PlanBasis, draft_change, pair_runs, planned_swap, ready_pair, switching_title,
};
use super::{Difference, Draft, Operation, Planned, Refusal, RefusalKind, Risk, Undo};
use crate::domain::address::network_text;
use crate::domain::exposure::State;
use crate::domain::exposure::paths::{PathIn, PathKind};
use crate::domain::pfsense::change::{ArmedKind, ConfigurationEdit, Records, Swap};
use crate::domain::pfsense::config::{ReadRequest, members_of_alias};
use crate::domain::pfsense::configured::{Configured, FilterRule, NatRule};
use crate::domain::pfsense::deciding::{
    find_floating_pass, find_forward_before, find_open_exit, find_open_forward, find_open_rule,
    find_rule_before, lets_named_sources_in, lets_service_in,
};
use crate::domain::pfsense::edit::are_of_service;
use crate::domain::pfsense::managed::{ManagedPair, association_of};
use crate::domain::ratelimit::{self, Caps};
use crate::domain::service::Service;
use crate::text::quoted;

#[derive(Clone, Debug)]
pub struct SavedRecords {
    pub id: String,
    pub by: Option<String>,
    pub at: Option<Timestamp>,
    pub records: Records,
    /// The firewall itself keeps them. What only the history here has is named, and never written.
    pub kept: bool,
    /// The line of the history here that records them and is not as it was written.
    pub broken: Option<u64>,
}

impl SavedRecords {
    fn saved_rules(&self) -> (Option<NatRule>, Option<FilterRule>) {
        let Records { nat, filter, .. } = &self.records;
        (
            nat.as_ref().map(|placed| NatRule::of_record(placed.index, &placed.record)),
            filter.as_ref().map(|placed| FilterRule::of_record(placed.index, &placed.record)),
        )
    }

    /// Returns whether these are rules of this service: what another alias or port had is another service's.
    pub fn is_of(&self, configured: &Configured, service: &Service) -> bool {
        are_of_service(&self.records, &configured.aliases, &service.into())
    }

    fn records_clause(&self) -> String {
        let by = self.by.as_ref().map(|who| format!(" by {who}"));
        let at = self.at.map(|at| format!(" deleted at {at}"));
        let at = at.unwrap_or_else(|| " deleted".to_owned());
        format!("{}{}{at}", self.id, by.unwrap_or_default())
    }

    /// Says which fields are lost where the rules are built anew, as far as the history here has them.
    fn losses(&self, present: &PlanBasis<'_>, built: &Draft) -> Result<String, Refusal> {
        if let Some(line) = self.broken {
            return Ok(format!(
                "Which of their fields are lost is not known: line {line} of the history is not as it was written."
            ));
        }
        let Operation::Configuration { change, .. } = &built.operation else {
            return Ok(String::new());
        };
        let lost = lost_fields(&self.records, &planned_swap(present, change)?.after);
        Ok(if lost.is_empty() {
            "No other field of theirs is lost.".to_owned()
        } else {
            format!("Lost, as the history here has them: {}.", lost.join(", "))
        })
    }

    /// Says where rules lead that are not this service's.
    fn elsewhere_clause(&self) -> String {
        let (nat, filter) = self.saved_rules();
        let to = nat.and_then(|rule| rule.target);
        let to = to.or_else(|| filter.and_then(|rule| rule.destination.address));
        format!(
            "what {} leads to {} and is another service's",
            self.records_clause(),
            quoted(&to.unwrap_or_default())
        )
    }
}

/// Plans to open the exposure again: enables what is there, or puts back what was deleted, or builds it. Refuses where its alias is
/// known not to hold the service: clients would be led to another machine.
pub fn plan_restore(
    present: &PlanBasis<'_>,
    saved: Option<&SavedRecords>,
    caps: Caps,
    terms: ChangeOptions,
) -> Result<Planned, Refusal> {
    let service = present.service;
    let members = members_of_alias(&present.configured.aliases, &service.alias).unwrap_or_default();
    let is_service = |member: &IpNet| *member == IpNet::from(service.address);
    let others = members.iter().filter(|member| !is_service(member));
    let others: Vec<String> = others.map(network_text).collect();
    let leads = format!("The alias {} holds {}", service.alias, others.join(", "));
    if !members.is_empty() && others.len() == members.len() {
        let message = format!("{leads}, not {}: this would open the port to it.", service.address);
        return Err(Refusal::new(RefusalKind::Conflict, message).hint(LEAD_HERE));
    }
    let mut planned = plan_opening(present, saved, caps, terms)?;
    if let Planned::Change(draft) = &mut planned
        && !others.is_empty()
    {
        let message = format!("{leads} too: some of those who connect are led there.");
        draft.risks.insert(0, Risk::new("leads-elsewhere", message));
    }
    Ok(planned)
}

fn plan_opening(
    present: &PlanBasis<'_>,
    saved: Option<&SavedRecords>,
    caps: Caps,
    terms: ChangeOptions,
) -> Result<Planned, Refusal> {
    let pair = ready_pair(present, terms)?;
    let state = present.exposure.state;
    let (nat, filter) = (pair.own_forward(), pair.own_filter());
    let floating = find_floating_pass(present.configured, &present.service.into());
    if let Some(own) = filter.filter(|own| nat.is_none() && is_published_alone(present, own)) {
        return plan_publishing(present, &pair, own, terms);
    }
    let complete =
        nat.is_some() && (filter.is_some() || pair.forward_passes() || floating.is_some());
    let enabled =
        nat.is_some_and(|rule| !rule.disabled) && filter.is_none_or(|rule| !rule.disabled);
    if complete && enabled && state.lets_in() && !present.exposure.is_alias_stale() {
        let uncapped = if state == State::Uncapped {
            " No caps are in force, though: `kmsctl expose apply`"
        } else {
            ""
        };
        let why = format!("the exposure is {state}.{uncapped}");
        return nothing_to_open(present, terms, &why);
    }
    refuse_crossing(present, terms, &[ArmedKind::Closing])?;
    if let Some(other) = pair.forward_elsewhere()
        && !other.disabled
    {
        return Err(leads_elsewhere(other, present).hint(LEAD_HERE));
    }
    refuse_taken(present, nat)?;
    if complete {
        let draft = draft_enabling(present, &pair, terms)?;
        let request = ReadRequest::from(present.service);
        let first = find_rule_before(present.configured, filter, &request);
        let another = first.is_some_and(FilterRule::is_pass);
        if let Some(own) = filter.filter(|_| !another && !pair.forward_passes())
            && !lets_service_in(present.configured, own, &request)
        {
            return Err(filter_lets_nothing_in(own, present.service));
        }
        let promised = promised_state(nat, filter.or(floating));
        let draft = promised_exposure(draft, nat, filter, present, promised);
        refuse_shadowed(&draft, present)?;
        return Ok(draft.into());
    }
    let saved = saved.filter(|_| nat.is_none() && filter.is_none());
    let (mine, foreign) = match saved {
        Some(saved) if saved.is_of(present.configured, present.service) => (Some(saved), None),
        other => (None, other),
    };
    if let Some(saved) = mine.filter(|saved| saved.kept) {
        if let Some(line) = saved.broken {
            return Err(super::undo::refuse_broken(&saved.id, line));
        }
        return Ok(putting_back(present, saved, terms)?.into());
    }
    let foreign = foreign.map(SavedRecords::elsewhere_clause);
    if present.configured.alias.is_none() {
        return Err(no_alias(present.service, foreign));
    }
    let mut draft = draft_building(present, &pair, caps, false, terms)?;
    let anew = "so the rules are built from kmsctl's configuration: a new tracker, new counters, last in their lists";
    let message = if let Some(lost) = mine {
        let (id, lost) = (&lost.id, lost.losses(present, &draft)?);
        format!("The firewall does not keep any more what {id} deleted, {anew}. {lost}")
    } else {
        let none = "neither in the history here nor on the firewall".to_owned();
        let none = foreign.unwrap_or(none);
        format!("No saved records of this service were found ({none}), {anew}.")
    };
    draft.risks.push(Risk::new("built-anew", message));
    Ok(promised_exposure(draft, nat, filter, present, state_of_caps(caps)).into())
}

/// Says whether the service is published without a port forward: by 1:1 NAT, or its public address. A filter rule in force
/// that once had a forward is half of a pair.
fn is_published_alone(present: &PlanBasis<'_>, own: &FilterRule) -> bool {
    let is_linked = association_of(own.association.as_ref()).is_some();
    !present.exposure.published.is_empty() && (own.disabled || !is_linked)
}

/// Plans to enable the filter rule of a service that is published without a port forward: none is made.
fn plan_publishing(
    present: &PlanBasis<'_>,
    pair: &ManagedPair<'_>,
    own: &FilterRule,
    terms: ChangeOptions,
) -> Result<Planned, Refusal> {
    let exposure = present.exposure;
    let ways: Vec<String> = exposure.published.iter().map(PathIn::path_clause).collect();
    let ways = ways.join("; ");
    if !own.disabled && exposure.lets_in() == Some(true) && !exposure.is_alias_stale() {
        let why = format!("the filter rule is enabled, and {ways}.");
        return nothing_to_open(present, terms, &why);
    }
    refuse_crossing(present, terms, &[ArmedKind::Closing])?;
    let request = ReadRequest::from(present.service);
    if !lets_service_in(present.configured, own, &request) {
        return Err(filter_lets_nothing_in(own, present.service));
    }
    let mut draft = draft_enabling(present, pair, terms)?;
    let shadow = find_rule_before(present.configured, Some(own), &request);
    let shadow = shadow.filter(|rule| rule.is_block()).map(called_filter);
    let is_routed = exposure.published.iter().any(|path| path.kind == PathKind::Routed);
    let promised =
        if is_routed && shadow.is_none() { promised_state(None, Some(own)) } else { State::Half };
    let difference = Difference::new("exposure", exposure.state.name(), promised.name());
    draft.differences.push(difference);
    draft.risks.extend(shadow.map(|rule| {
        let words = format!("{rule} blocks the service's traffic first and is left as it is.");
        Risk::new("shadowed", words)
    }));
    let port = present.service.port;
    let words = format!("No forward of port {port} is there, and none is made: {ways}.");
    draft.risks.push(Risk::new("without-forward", words));
    draft
        .risks
        .extend(limited_clause(None, Some(own)).map(|words| Risk::new("source-limited", words)));
    name_opened(&mut draft, present, promised);
    Ok(draft.into())
}

/// Refuses where pf runs the pair as it is wanted, and another rule keeps connections out: nothing that is done to the pair
/// lets them in.
pub(super) fn refuse_shadowed(draft: &Draft, present: &PlanBasis<'_>) -> Result<(), Refusal> {
    let shadow = draft.risks.iter().find(|risk| risk.code == "shadowed");
    match shadow
        .filter(|_| pair_runs(present) && draft.differences.iter().all(Difference::is_of_exposure))
    {
        None => Ok(()),
        Some(shadow) => {
            let message = format!(
                "Both rules are enabled and loaded, and clients do not get in. {}",
                shadow.message
            );
            Err(Refusal::new(RefusalKind::Conflict, message)
                .hint("Move or disable that rule in pfSense (Firewall > Rules)."))
        }
    }
}

/// Refuses to open behind a rule of port forwards that pf meets first.
pub(super) fn refuse_taken(
    present: &PlanBasis<'_>,
    forward: Option<&NatRule>,
) -> Result<(), Refusal> {
    let request = ReadRequest::from(present.service);
    let Some(first) = find_forward_before(present.configured, forward, &request) else {
        return Ok(());
    };
    let (name, port) = (first.descr.as_deref().unwrap_or_default(), present.service.port);
    let message = if first.nordr {
        format!(
            "The exception from port forwards (No RDR) {} keeps port {port} from being forwarded.",
            quoted(name)
        )
    } else {
        let target = first.target.as_deref().unwrap_or_default();
        format!(
            "The port forward {} stands above the service's and leads port {port} to {}.",
            quoted(name),
            quoted(target)
        )
    };
    Err(Refusal::new(RefusalKind::Conflict, message)
        .hint("Remove it in the GUI, or move it down: Firewall > NAT > Port Forward."))
}

/// Refuses to enable a filter rule that would not let the service's connections in.
fn filter_lets_nothing_in(own: &FilterRule, service: &Service) -> Refusal {
    let message = format!(
        "The filter rule {}, which belongs to the port forward, does not let connections to port {} in.",
        quoted(own.descr.as_deref().unwrap_or_default()),
        service.port
    );
    Refusal::new(RefusalKind::Conflict, message)
        .hint("`kmsctl expose apply --dry-run` shows what repairs it.")
}

fn no_alias(service: &Service, foreign: Option<String>) -> Refusal {
    let foreign = foreign.map(|foreign| format!("; {foreign}"));
    let message = format!(
        "There is no alias {} on this firewall that rules could be built for{}.",
        service.alias,
        foreign.unwrap_or_default()
    );
    Refusal::new(RefusalKind::Impossible, message).hint(
        "`kmsctl expose apply --dry-run` shows what it takes to make alias and rules; or correct service.alias.",
    )
}

fn draft_enabling(
    present: &PlanBasis<'_>,
    pair: &ManagedPair<'_>,
    terms: ChangeOptions,
) -> Result<Draft, Refusal> {
    let title = |swap: &Swap| switching_title("Open the exposure", "enable", swap, present);
    let (mut draft, _) = draft_change(present, terms, ConfigurationEdit::Enable, title)?;
    draft.checks.extend(pair.own_filter().map(carried_caps));
    Ok(draft)
}

fn carried_caps(filter: &FilterRule) -> String {
    let (caps, _) = ratelimit::of_configured(filter);
    format!("pf's loaded rule carries {caps}.")
}

fn putting_back(
    present: &PlanBasis<'_>,
    saved: &SavedRecords,
    terms: ChangeOptions,
) -> Result<Draft, Refusal> {
    let (nat, filter) = saved.saved_rules();
    let mut records = saved.records.clone();
    // They may have been disabled when they were deleted; what opens puts them back enabled.
    for placed in [&mut records.nat, &mut records.filter].into_iter().flatten() {
        placed.record.remove("disabled");
    }
    let change = ConfigurationEdit::PutBack { records: Box::new(records), alias: false };
    let what = format!("Open the exposure: put back the rules that {}.", saved.records_clause());
    let (mut draft, swap) = draft_change(present, terms, change, |_| what)?;
    draft.checks.extend(place_sentences(&swap, present.configured));
    draft.checks.extend(filter.as_ref().map(carried_caps));
    let (nat, filter) = (nat.as_ref(), filter.as_ref());
    let promised = promised_state(nat, filter);
    Ok(promised_exposure(draft, nat, filter, present, promised))
}

fn called_forward(rule: &NatRule) -> String {
    let name = quoted(rule.descr.as_deref().unwrap_or_default());
    let kind = if rule.nordr { "exception from port forwards (No RDR)" } else { "port forward" };
    format!("the {kind} {name}")
}

fn called_filter(rule: &FilterRule) -> String {
    let name = quoted(rule.descr.as_deref().unwrap_or_default());
    let tracker = rule.tracker.as_deref().unwrap_or("none");
    format!("the filter rule {name} (tracker {tracker})")
}

/// Returns what the exposure is where these two are in force: a forward that passes by itself has no caps, and a rule
/// without caps neither.
fn promised_state(nat: Option<&NatRule>, filter: Option<&FilterRule>) -> State {
    let passes = nat.is_some_and(NatRule::passes_by_itself);
    let filter = filter.filter(|_| !passes);
    state_of_caps(filter.map_or_else(Caps::default, |rule| ratelimit::of_configured(rule).0))
}

pub(super) fn state_of_caps(caps: Caps) -> State {
    if caps.is_empty() { State::Uncapped } else { State::Open }
}

/// What the exposure is once the pair is in force as its records are then.
pub(super) struct Foreseen {
    pub(super) state: State,
    /// Not so where rules say who may connect: that is left as it is.
    pub(super) is_certain: bool,
    /// What keeps connections out all the same.
    shadowed: Option<Risk>,
    /// Who may connect.
    limits: Vec<Risk>,
}

/// Foresees the exposure where the pair itself makes it `promised`. What is built gets a filter rule of its own.
pub(super) fn foresee_exposure(
    present: &PlanBasis<'_>,
    (nat, filter): (Option<&NatRule>, Option<&FilterRule>),
    promised: State,
    builds: bool,
) -> Foreseen {
    let state = present.exposure.state;
    let mut limits = Vec::new();
    let passes = !builds && nat.is_some_and(NatRule::passes_by_itself);
    let request = ReadRequest::from(present.service);
    let first = find_rule_before(present.configured, filter, &request).filter(|_| !passes);
    let floating = find_floating_pass(present.configured, &request).filter(|_| !builds);
    let promised = match first.filter(|rule| rule.is_pass()) {
        Some(first) => state_of_caps(ratelimit::of_configured(first).0),
        None => promised,
    };
    let shadow = first.filter(|rule| rule.is_block());
    let shadow = shadow.map(|shadow| {
        let rule = called_filter(shadow);
        format!("{rule}, which blocks the service's traffic first and is left as it is")
    });
    let some_get_in = lets_named_sources_in(present.configured, nat, filter, passes, &request);
    // Those whom it spares meet what follows; where it spares none, another rule before it may let some in.
    let (end, known) = match &shadow {
        Some(_) if !some_get_in => (first, (false, false)),
        Some(_) => (filter, (true, false)),
        None => (first.or(filter), (true, true)),
    };
    let open_rule = find_open_rule(present.configured, end, known, &request);
    let open_rule = open_rule.filter(|_| !passes).map(called_filter);
    let shadow = shadow.filter(|_| open_rule.is_none());
    let open_forward = find_open_forward(present.configured, nat, known.1, &request);
    let is_own = |rule: &NatRule| nat.is_some_and(|own| own.index == rule.index);
    let open_rule = match open_forward {
        Some(own) if is_own(own) => Some(format!(
            "the address that {} is for, which is not in the configuration",
            called_forward(own)
        )),
        other => other
            .map(called_forward)
            .or(open_rule)
            .map(|rule| format!("{rule}, which stands first and is left as it is")),
    };
    let shadow = shadow.filter(|shadow| {
        if some_get_in {
            let words = format!("Not all may connect, only sources that rules name: {shadow}.");
            limits.push(Risk::new("source-limited", words));
        }
        !some_get_in
    });
    // What is let in has to get out to the service as well.
    let open_exit = find_open_exit(present.configured, &request).map(called_filter);
    let shadow = shadow.or_else(|| {
        let (rule, keeps_all) = present.exposure.exit_block.as_ref()?;
        // Those that it spares get in by the pair's own rule.
        if !keeps_all && (some_get_in || open_exit.is_some()) {
            return None;
        }
        Some(format!("a rule that keeps connections from getting out to the service and is left as it is: {rule}"))
    });
    let shadowed = shadow.map(|shadow| {
        let becomes = if state == State::Half { "stays" } else { "will be" };
        Risk::new("shadowed", format!("The exposure {becomes} half: shadowed by {shadow}."))
    });
    let clause = limited_clause(nat, filter.or(floating))
        .or_else(|| open_rule.map(|rule| format!("Who gets in depends on {rule}.")))
        .or_else(|| {
            let rule = open_exit?;
            Some(format!("Who gets in depends on {rule}, which may keep connections from getting out to the service and is left as it is."))
        })
        .filter(|_| shadowed.is_none());
    let is_certain = clause.is_none();
    limits.extend(clause.map(|words| Risk::new("source-limited", words)));
    let state = if shadowed.is_some() { State::Half } else { promised };
    Foreseen { state, is_certain, shadowed, limits }
}

/// Promises what the exposure is then, unless its rules say who may connect: that is left as it is.
pub(super) fn promised_exposure(
    mut draft: Draft,
    nat: Option<&NatRule>,
    filter: Option<&FilterRule>,
    present: &PlanBasis<'_>,
    promised: State,
) -> Draft {
    let state = present.exposure.state;
    let builds = matches!(
        &draft.operation,
        Operation::Configuration { change: ConfigurationEdit::Build { .. }, .. }
    );
    let foreseen = foresee_exposure(present, (nat, filter), promised, builds);
    let (promised, is_shadowed) = (foreseen.state, foreseen.shadowed.is_some());
    draft.risks.extend(foreseen.limits);
    if is_shadowed || foreseen.is_certain && state != promised {
        let difference = Difference::new("exposure", state.name(), promised.name());
        draft.differences.push(difference);
        let lets_in = "pf redirects the service's port and lets connections in.".to_owned();
        draft.checks.extend(Some(lets_in).filter(|_| !is_shadowed));
    }
    draft.risks.splice(0..0, foreseen.shadowed);
    name_opened(&mut draft, present, promised);
    if matches!(state, State::Closed | State::Absent) {
        draft.undo = match &draft.undo {
            Undo::Command(_) => {
                Undo::Command("closes it again, and puts the rules back as they were".to_owned())
            }
            Undo::Impossible(why) => {
                Undo::Impossible(format!("{why} To close it: `kmsctl expose revoke`"))
            }
        };
    }
    draft
}

/// Names what an opening leaves open beside the pair or later, and that no caps are in force; also where an undo opens.
pub(super) fn name_opened(draft: &mut Draft, present: &PlanBasis<'_>, promised: State) {
    if !present.exposure.state.lets_in() && promised.lets_in() && draft.reverts_after.is_some() {
        draft.risks.push(Risk::new(
            "connections-live-on",
            "When the firewall closes it again by itself, connections that are open then live on until they end by themselves: `kmsctl states kill --all`",
        ));
    }
    let elsewhere = present.exposure.elsewhere.text.as_ref();
    let elsewhere = elsewhere.filter(|_| draft.reverts_after.is_some());
    draft.risks.extend(elsewhere.map(|rule| {
        let words = "When the firewall takes it back by itself, the port leads elsewhere again, as it does now";
        Risk::new("leads-elsewhere", format!("{words}. Its rule: {rule}"))
    }));
    let beside = paths_beside(present).map(|others| Risk::new("path-beside", others));
    draft.risks.extend(beside);
    if promised == State::Uncapped {
        draft.risks.push(Risk::new(
            "uncapped",
            "No caps per source are in force then: `kmsctl expose apply`",
        ));
    }
}
