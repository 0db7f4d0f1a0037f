//! Plans that close the exposure, and what all plans about it share: the pair of port forward and filter rule is one
//! thing.

use super::armed;
use super::armed::{nothing_to_do, timer_risk};
use super::build::leads_elsewhere;
use super::caps::rate_value;
use super::effect::{listed_kinds, record_differences, touched_kinds, undo_clause};
use super::{
    Confirm, Difference, Draft, Operation, Planned, Refusal, RefusalKind, Risk, Seen, Undo,
};
use crate::domain::address::is_private;
use crate::domain::connections::ConnectedSource;
use crate::domain::exposure::pair::pair_findings;
use crate::domain::exposure::paths::{Aftermath, PathIn, PathKind};
use crate::domain::exposure::{Exposure, State};
use crate::domain::pfsense::change::{Armed, ConfigurationEdit, RunningChange, Swap};
use crate::domain::pfsense::config::ReadRequest;
use crate::domain::pfsense::configured::{Configured, FilterRule};
use crate::domain::pfsense::deciding::find_floating_pass;
use crate::domain::pfsense::edit::{EditIds, make_swap};
use crate::domain::pfsense::leftovers::lock_is_held;
use crate::domain::pfsense::managed::ManagedPair;
use crate::domain::service::Service;
use crate::text::quoted;

/// What was read, for plans about the configuration.
#[derive(Clone, Copy, Debug)]
pub struct PlanBasis<'a> {
    pub configured: &'a Configured,
    pub exposure: &'a Exposure,
    pub service: &'a Service,
    pub sources: &'a [ConnectedSource],
    /// Entries of the overload table, if it was read.
    pub blocked: Option<usize>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChangeOptions {
    /// Go on although other changes wait to be applied.
    pub with_pending: bool,
    /// It hardens, and waits for nothing; what others have saved it opens only where `with_pending` says so.
    pub urgent: bool,
    /// Seconds after which the firewall takes it back.
    pub reverts_after: Option<u64>,
}

/// Refuses where no change of the configuration can be made safely; otherwise finds the pair.
pub(crate) fn ready_pair<'a>(
    present: &PlanBasis<'a>,
    terms: ChangeOptions,
) -> Result<ManagedPair<'a>, Refusal> {
    check_loadable(present, terms)?;
    clear_pair(present, false, false)
}

/// Refuses where nothing can be written and loaded safely, whichever rules are meant.
pub(super) fn check_loadable(present: &PlanBasis<'_>, terms: ChangeOptions) -> Result<(), Refusal> {
    let configured = present.configured;
    if let Some(running) = configured.unfinished.first() {
        return Err(refuse_unfinished(running));
    }
    if !configured.dirty.is_empty() && !terms.with_pending {
        return Err(Refusal::new(
            RefusalKind::Conflict,
            format!("Changes saved in the GUI wait to be applied ({}); loading the rules would activate them too.", configured.dirty.join(", ")),
        )
        .hint("Apply or undo them in the GUI, or go on and activate them with --with-pending."));
    }
    check_filtering(configured)
}

/// Refuses where the exposure cannot be closed; otherwise finds the pair. What a process that is dead has left unfinished,
/// what waits in the GUI and what is armed never prevent closing.
fn ready_to_close<'a>(present: &PlanBasis<'a>, delete: bool) -> Result<ManagedPair<'a>, Refusal> {
    let configured = present.configured;
    if let Some(running) = configured.unfinished.first()
        && lock_is_held(&configured.leftovers)
    {
        return Err(refuse_unfinished(running));
    }
    if configured.filter_disabled {
        // To enable it would open what is to be closed.
        return Err(Refusal::new(
            RefusalKind::Impossible,
            "Packet filtering is disabled on this firewall: nothing is redirected, and no rule would be loaded.",
        )
        .hint("Once filtering is enabled again, what is enabled in Firewall > NAT is open: disable it there before."));
    }
    // What is deleted beside another rule of the service could not be distinguished from it when it comes back.
    clear_pair(present, !delete, delete)
}

fn refuse_unfinished(running: &RunningChange) -> Refusal {
    Refusal::new(
        RefusalKind::Conflict,
        format!(
            "Another change is being made: {} by {} ({}).",
            running.id, running.who, running.what
        ),
    )
    .hint("Wait a minute and try again; an interrupted change is brought to an end by the firewall itself.")
}

fn check_filtering(configured: &Configured) -> Result<(), Refusal> {
    if configured.filter_disabled {
        return Err(Refusal::new(
            RefusalKind::Impossible,
            "Packet filtering is disabled on this firewall, so no rule would be loaded.",
        )
        .hint("Enable it in pfSense: System > Advanced > Firewall & NAT."));
    }
    Ok(())
}

/// Finds the pair where it is clear which rules are meant. To close is to disable the forward, whatever its filter rules
/// are.
fn clear_pair<'a>(
    present: &PlanBasis<'a>,
    closes: bool,
    deletes: bool,
) -> Result<ManagedPair<'a>, Refusal> {
    let pair = ManagedPair::of_service(present.configured, present.service);
    if let (Some(foreign), false) = (&pair.foreign, closes) {
        let message = format!("Nothing but closing is possible: {}.", foreign.foreign_clause());
        return Err(Refusal::new(RefusalKind::Conflict, message)
            .hint("Give each of them a rule of its own in the GUI; `kmsctl expose revoke` disables the port forward alone."));
    }
    let filters_unclear =
        (deletes || pair.passes.len() > 1) && (!closes || pair.own_forward().is_none());
    let findings = pair_findings(present.configured, &pair, present.service);
    let doubt = findings.iter().find(|finding| match finding.code {
        // Those that are disabled already need no closing, whichever is meant.
        "duplicate-nat" if closes => pair.forwards.iter().filter(|rule| !rule.disabled).count() > 1,
        "duplicate-nat" => deletes || pair.forwards.len() > 1,
        "duplicate-filter" | "duplicate-association" => filters_unclear,
        _ => false,
    });
    if let Some(doubt) = doubt {
        return Err(Refusal::new(
            RefusalKind::Impossible,
            format!("It is not clear which rules are meant. {}", doubt.message),
        )
        .hint("Remove the surplus rule in the GUI; `kmsctl expose show` lists what was found."));
    }
    Ok(pair)
}

pub(crate) fn seen_configuration(present: &PlanBasis<'_>) -> Seen {
    Seen {
        fingerprint: present.configured.fingerprint.clone(),
        facts: super::configuration_facts(present.configured, present.service),
    }
}

/// The association of a new pair in a plan: what is written gets a name of its own.
pub(super) const PLANNED_ASSOCIATION: &str = "nat_planned";

/// Computes what a change makes of the records.
pub(super) fn planned_swap(
    present: &PlanBasis<'_>,
    change: &ConfigurationEdit,
) -> Result<Swap, Refusal> {
    let ids = EditIds { who: "", now: 0, association: PLANNED_ASSOCIATION };
    let service = ReadRequest::from(present.service);
    Ok(make_swap(present.configured, change, &service, &ids)?)
}

pub(crate) fn change_risks(present: &PlanBasis<'_>, terms: ChangeOptions) -> Vec<Risk> {
    // What else is put in force comes first.
    let mut risks = pending_risks(present);
    for armed in armed::armed_on(present) {
        risks.push(Risk::new(
            "armed",
            format!("The temporary change {} is armed to revert; this change supersedes and disarms it.", armed.id),
        ));
    }
    if terms.reverts_after.is_some() {
        // There is no question at that moment, so it is said now.
        risks.push(Risk::new(
            "revert-activates-pending",
            "When the firewall takes it back by itself it loads the rules, and with them whatever others have saved in the GUI by then and not applied.",
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

/// Returns the risk that loading the rules loads more than the change.
pub(super) fn pending_risks(present: &PlanBasis<'_>) -> Vec<Risk> {
    let dirty = &present.configured.dirty;
    let waits = format!(
        "Loading the rules also activates what others saved and did not apply ({}).",
        dirty.join(", ")
    );
    let risk = Risk::new("activates-pending", waits);
    Vec::from_iter((!dirty.is_empty()).then_some(risk))
}

impl Draft {
    /// Returns the state of the exposure before and after, where the change alters it.
    pub fn turns_exposure(&self) -> Option<(State, State)> {
        let mut differences = self.differences.iter();
        let turned = differences.find(|difference| difference.is_of_exposure())?;
        let state = |value: &serde_json::Value| State::named(value.as_str()?);
        Some((state(&turned.before)?, state(&turned.after)?))
    }
}

pub(super) fn draft_change(
    present: &PlanBasis<'_>,
    terms: ChangeOptions,
    change: ConfigurationEdit,
    title: impl FnOnce(&Swap) -> String,
) -> Result<(Draft, Swap), Refusal> {
    let swap = planned_swap(present, &change)?;
    let only_loads = swap.before == swap.after;
    if only_loads && terms.reverts_after.is_some() && !swap.closes && !pair_runs(present) {
        return Err(refuse_timer());
    }
    let asked = terms;
    let terms =
        ChangeOptions { reverts_after: asked.reverts_after.filter(|_| !only_loads), ..asked };
    let mut risks = change_risks(present, terms);
    risks.extend(timer_risk(present, asked).filter(|_| only_loads));
    let draft = Draft {
        what: title(&swap),
        differences: record_differences(&swap.before, &swap.after),
        checks: vec!["The configuration holds it, and nothing else in it differs.".to_owned()],
        undo: undo_clause(&swap).map_or_else(|| not_recorded(present), Undo::Command),
        risks,
        confirm: Confirm::YesNo,
        seen: seen_configuration(present),
        operation: Operation::Configuration {
            change,
            with_pending: terms.with_pending,
            end_connections: false,
        },
        reverts_after: terms.reverts_after,
        undoes: None,
    };
    Ok((draft, swap))
}

/// Refuses to open for a while what config.xml opens for good already: there is nothing that could be taken back.
fn refuse_timer() -> Refusal {
    let message = "config.xml has the rules so already, and only pf does not run them: nothing would take that back when the time of --for is over.";
    Refusal::new(RefusalKind::Conflict, message).hint(
        "Close it first, then open it for a while: `kmsctl expose revoke`, and this command again; or leave --for out.",
    )
}

/// Titles a change that switches rules on or off, by those that it touches.
pub(super) fn switching_title(
    aim: &str,
    verb: &str,
    swap: &Swap,
    present: &PlanBasis<'_>,
) -> String {
    let (_, altered) = touched_kinds(swap);
    if altered.is_empty() {
        let why = if pair_runs(present) { "if pf does not run" } else { "as pf does not run" };
        return format!("{aim}: load the rules again, {why} what config.xml says.");
    }
    format!("{aim}: {verb} {}.", listed_kinds(&altered))
}

/// Whether pf runs the pair as config.xml has it. Only the firewall can compare all the other rules.
pub(super) fn pair_runs(present: &PlanBasis<'_>) -> bool {
    let exposure = present.exposure;
    exposure.nat.loaded
        && exposure.filter.loaded
        && exposure.caps.loaded == exposure.caps.configured
        && !present.exposure.is_alias_stale()
}

/// Says that a change of what pf runs alone is in no record, and how its caps come back.
pub(super) fn not_recorded(present: &PlanBasis<'_>) -> Undo {
    if pair_runs(present) {
        return Undo::Impossible("config.xml stays as it is.".to_owned());
    }
    let runs = present.exposure.filter.caps;
    let runs = runs.filter(|_| present.exposure.filter.loaded);
    let command = runs.and_then(|runs| {
        let (limit, rate) = (runs.max_src_conn?, rate_value(runs)?);
        Some(format!(
            " To have its caps back: `kmsctl ratelimit set --max-src-conn {limit} --rate {rate}`"
        ))
    });
    Undo::Impossible(format!(
        "config.xml stays as it is, and what pf runs now is not in it.{}",
        command.unwrap_or_default()
    ))
}

pub(super) fn standing_word(disabled: bool) -> &'static str {
    if disabled { "disabled" } else { "enabled" }
}

/// Plans to close the exposure. `connections` are ended afterwards if wanted.
pub fn plan_revoke(
    present: &PlanBasis<'_>,
    delete: bool,
    end_connections: bool,
    terms: ChangeOptions,
) -> Result<Planned, Refusal> {
    let planned = plan_closing(present, delete, end_connections, terms);
    planned.map_err(|refusal| refusal.hint(present.exposure.closing_by_hand(present.service)))
}

fn plan_closing(
    present: &PlanBasis<'_>,
    delete: bool,
    end_connections: bool,
    terms: ChangeOptions,
) -> Result<Planned, Refusal> {
    let pair = ready_to_close(present, delete)?;
    let state = present.exposure.state;
    let asked = terms;
    // A rollback would lead to what an armed one was to end.
    let crossed = armed::armed_on(present).next().filter(|_| asked.reverts_after.is_some());
    let terms = ChangeOptions {
        with_pending: true,
        urgent: true,
        reverts_after: asked.reverts_after.filter(|_| crossed.is_none()),
    };
    let (nat, filter) = (pair.own_forward(), pair.own_filter());
    // What is closed for a while only is closed for good by a command without --for: what would open it again is disarmed.
    let disarmed = armed::armed_on(present).next().filter(|_| asked.reverts_after.is_none());
    if nat.is_none() && (filter.is_none() || is_led_away(present, &pair)) {
        let mut draft = match (no_rules(present, &pair)?, disarmed) {
            (Some(why), None) => return nothing_to_do(present, asked, why),
            (why, disarmed) => {
                let mut draft = draft_unloading(present, end_connections, terms)?;
                name_disarmed(&mut draft, disarmed.filter(|_| why.is_some()));
                draft.risks.extend(led_elsewhere(present, &pair));
                draft
            }
        };
        draft.risks.extend(crossed.map(for_good));
        return Ok(draft.into());
    }
    let change = closing_change(present, delete)?;
    let spared = spared_filter(present, &pair, &change);
    let kept = spared_forward(present, &change);
    // A rule that stays has nothing to be closed.
    let (nat, filter) = (nat.filter(|_| kept.is_none()), filter.filter(|_| spared.is_none()));
    let enabled =
        nat.is_some_and(|rule| !rule.disabled) || filter.is_some_and(|rule| !rule.disabled);
    let loaded = (kept.is_none() && present.exposure.nat.loaded)
        || (spared.is_none() && present.exposure.filter.loaded);
    let is_closed = !delete && !enabled && !loaded;
    if is_closed && disarmed.is_none() {
        if !present.exposure.would_open.is_empty() && present.exposure.lets_in() == Some(true) {
            return Err(refuse_opening(present, &change));
        }
        let rules = match (&spared, &kept) {
            (Some(why), _) => {
                format!("the port forward is disabled already, and the filter rule stays: {why}")
            }
            (None, Some(why)) => {
                format!("the filter rule is disabled already, and the port forward stays: {why}")
            }
            (None, None) => "both rules are disabled already".to_owned(),
        };
        let why = format!("{rules}, and the exposure is {state}.");
        return nothing_to_do(present, asked, &why);
    }
    let mut draft = draft_closing(present, &pair, (change, spared.or(kept)), terms)?;
    name_disarmed(&mut draft, disarmed.filter(|_| is_closed));
    let taken_over = present.configured.unfinished.iter().map(taken_over);
    draft.risks.extend(taken_over);
    draft.risks.extend(crossed.map(for_good));
    draft_connections(&mut draft, present, end_connections);
    Ok(draft.into())
}

/// Returns the change that closes and opens nothing.
fn closing_change(present: &PlanBasis<'_>, delete: bool) -> Result<ConfigurationEdit, Refusal> {
    let exposure = present.exposure;
    match &exposure.closed_by {
        Some(ConfigurationEdit::Disable) if delete => Ok(ConfigurationEdit::Delete),
        Some(change) if !delete => Ok(change.clone()),
        Some(_) => {
            Err(refuse_opening(present, &ConfigurationEdit::Delete).hint(exposure.closing.clone()))
        }
        None => Err(refuse_opening(present, &ConfigurationEdit::Disable)),
    }
}

/// Refuses a closing that would open something, or take its caps away.
fn refuse_opening(present: &PlanBasis<'_>, change: &ConfigurationEdit) -> Refusal {
    let verb = if *change == ConfigurationEdit::Delete { "delete" } else { "disable" };
    let message =
        format!("To {verb} the pair would open something: {}.", would_open_clause(present));
    Refusal::new(RefusalKind::Conflict, message)
}

/// Lists what is shut, or capped, by the rules that stay.
fn would_open_clause(present: &PlanBasis<'_>) -> String {
    opened_clause(&present.exposure.would_open)
}

pub(super) fn opened_clause(opened: &[PathIn]) -> String {
    let opened = opened.iter().map(|path| path.path_clause() + &path.caps_clause());
    opened.collect::<Vec<String>>().join("; ")
}

/// Drafts the closing, without a word about connections. `spared` says why one of the rules stays.
fn draft_closing(
    present: &PlanBasis<'_>,
    pair: &ManagedPair<'_>,
    (change, spared): (ConfigurationEdit, Option<String>),
    terms: ChangeOptions,
) -> Result<Draft, Refusal> {
    let aim = "Close the exposure";
    let by_filter = change == ConfigurationEdit::DisableFilter;
    let deletes = change == ConfigurationEdit::Delete;
    let verb = if deletes { "save whole and delete" } else { "disable" };
    let title = |swap: &Swap| switching_title(aim, verb, swap, present);
    let drafted = draft_change(present, terms, change, title);
    let closing = || present.exposure.closing.clone();
    let (mut draft, swap) =
        drafted.map_err(|refusal| if deletes { refusal.hint(closing()) } else { refusal })?;
    let (stays, goes) =
        if by_filter { ("port forward", "filter rule") } else { ("filter rule", "port forward") };
    let is_switched = swap.before.nat != swap.after.nat || swap.before.filter != swap.after.filter;
    if spared.is_some() && is_switched {
        draft.what = format!("Close the exposure: disable the {goes}; the {stays} stays.");
    }
    let closed = match &spared {
        _ if deletes => State::Absent,
        Some(_) if by_filter || stays_loaded(present, pair) => State::Half,
        _ => State::Closed,
    };
    name_left_open(&mut draft, present, &present.exposure.aftermath, closed);
    let gone = match &spared {
        Some(_) if by_filter => "pf has the pass rule no more",
        Some(_) => "pf has the redirection no more",
        None => "pf has neither the redirection nor the pass rule any more",
    };
    let rest = if present.exposure.aftermath.left_open.is_empty() {
        if present.exposure.unread_anchors().is_empty() {
            ", and lets nothing in to the service."
        } else {
            "; what the anchors that are named as risks let in is not known."
        }
    } else {
        "; the paths named as risks stay."
    };
    draft.checks.push(format!("{gone}{rest}"));
    if let Some(why) = spared {
        let message = format!("Only the {goes} is disabled: {why}.");
        draft.risks.insert(0, Risk::new("shared-rule", message));
    }
    draft.confirm = Confirm::Word("revoke".to_owned());
    Ok(draft)
}

/// Names the paths that are left once the pair is closed, and what the exposure is then.
pub(super) fn name_left_open(
    draft: &mut Draft,
    present: &PlanBasis<'_>,
    after: &Aftermath,
    closed: State,
) {
    let left = &after.left_open;
    // One rule may be several paths.
    for rule in left.chunk_by(|one, next| one.rule_clause() == next.rule_clause()) {
        let Some(path) = rule.first() else { continue };
        let clauses: Vec<String> = rule.iter().map(PathIn::path_clause).collect();
        let remedy = match path.kind {
            PathKind::Upnp => "take it back in pfSense (Status > UPnP & NAT-PMP)",
            _ => "switch it off in pfSense",
        };
        let that = if clauses.len() == 1 { "that path" } else { "these paths" };
        let it = if clauses.len() == 1 { "it" } else { "them" };
        let leaves = if path.managed {
            "The pair's own filter rule lets it in, and stays".to_owned()
        } else {
            format!("kmsctl does not manage {that} and leaves {it}")
        };
        draft.risks.push(Risk::new(
            "other-path",
            format!(
                "The service is not closed by this: {}. {leaves}; {remedy}. {}",
                clauses.join("; "),
                path.rule_clause()
            ),
        ));
    }
    let elsewhere = after.elsewhere.iter();
    let elsewhere = elsewhere.map(|door| Risk::new("leads-elsewhere", door.door_sentence()));
    draft.risks.extend(elsewhere);
    let unread = present.exposure.unread_anchors();
    let unread = unread.into_iter().map(|message| Risk::new("anchor-unread", message));
    draft.risks.extend(unread);
    let own = left.iter().find(|path| path.managed && path.certain && path.sources == "any");
    let then = match (left.iter().any(|path| path.certain), left.is_empty()) {
        _ if own.is_some() => {
            super::opening::state_of_caps(own.and_then(|own| own.caps).unwrap_or_default())
        }
        (true, _) => State::Half,
        (false, false) => State::Unknown,
        (false, true) => closed,
    };
    let now = present.exposure.state.name();
    let difference = Difference::new("exposure", now, then.name());
    draft.differences.push(difference);
}

/// Says why the port forward is not disabled with its filter rule.
fn spared_forward(present: &PlanBasis<'_>, change: &ConfigurationEdit) -> Option<String> {
    let opened = would_open_clause(present);
    (*change == ConfigurationEdit::DisableFilter)
        .then(|| format!("without the port forward this would be open: {opened}"))
}

/// Says why no filter rule is disabled with the forward, where one lets the service in.
fn spared_filter(
    present: &PlanBasis<'_>,
    pair: &ManagedPair<'_>,
    change: &ConfigurationEdit,
) -> Option<String> {
    pair.own_forward()?;
    match change {
        ConfigurationEdit::DisableForward => {
            let opened = would_open_clause(present);
            return Some(format!("without its filter rule this would be open: {opened}"));
        }
        ConfigurationEdit::Disable => {}
        _ => return None,
    }
    if let Some(foreign) = &pair.foreign {
        return Some(foreign.foreign_clause());
    }
    let request = ReadRequest::from(present.service);
    if pair.passes.iter().any(|pass| !pass.disabled) {
        return pair.why_filter_stays(present.configured, &request);
    }
    let floating = find_floating_pass(present.configured, &request)?;
    let name = floating.descr.as_deref().unwrap_or_default();
    let is_alone = pair.own_filter().is_none() && !pair.forward_passes();
    is_alone.then(|| {
        format!("the floating rule {} lets the service in, and is not the pair's", quoted(name))
    })
}

/// Returns whether pf goes on to run a filter rule of the service once its forward is disabled: nothing gets in by it.
fn stays_loaded(present: &PlanBasis<'_>, pair: &ManagedPair<'_>) -> bool {
    let request = ReadRequest::from(present.service);
    let is_for_it = |own: &FilterRule| {
        !own.disabled && own.is_pass() && request.is_named_by(own.destination.address.as_deref())
    };
    present.exposure.filter.loaded && pair.own_filter().is_some_and(is_for_it)
}

/// Returns the risk of what closes and ends no connections, where there are any.
pub(super) fn live_on(present: &PlanBasis<'_>) -> Option<Risk> {
    let connections: u64 = present.sources.iter().map(|source| source.states).sum();
    (connections > 0).then(|| {
        Risk::new(
            "connections-live-on",
            if connections == 1 {
                "1 open connection lives on until it ends by itself.".to_owned()
            } else {
                format!("{connections} open connections live on until they end by themselves.")
            },
        )
    })
}

/// Names those who are not outside: their connections end too.
fn from_inside(present: &PlanBasis<'_>, all: u64) -> Option<Risk> {
    let inside = present.sources.iter();
    let inside = inside.filter(|source| is_private(&source.address));
    ends_inside(inside.map(|source| source.states).sum(), all)
}

pub(super) fn ends_inside(inside: u64, all: u64) -> Option<Risk> {
    let message = match (inside, all) {
        (0, _) => return None,
        (1, 1) => "The connection that is ended is from inside (a private address).".to_owned(),
        (1, _) => {
            format!("1 of the {all} connections that are ended is from inside (a private address).")
        }
        (2, 2) => "Both connections that are ended are from inside (private addresses).".to_owned(),
        _ if inside == all => {
            format!("All {all} connections that are ended are from inside (private addresses).")
        }
        _ => format!(
            "{inside} of the {all} connections that are ended are from inside (private addresses)."
        ),
    };
    Some(Risk::new("ends-inside", message))
}

fn draft_connections(draft: &mut Draft, present: &PlanBasis<'_>, ends: bool) {
    let connections: u64 = present.sources.iter().map(|source| source.states).sum();
    if ends {
        let difference = Difference::new("connections", connections, 0);
        draft.differences.push(difference);
        draft.checks.push("No connection to the service is left in pf.".to_owned());
        draft.risks.extend(from_inside(present, connections));
    } else {
        draft.risks.extend(live_on(present));
    }
    if let Operation::Configuration { end_connections, .. } = &mut draft.operation {
        *end_connections = ends;
    }
}

fn taken_over(running: &RunningChange) -> Risk {
    Risk::new(
        "takes-over",
        format!(
            "The change {} by {} ({}) was interrupted and has not come to an end; the closing takes it over, and the firewall does not go on with it.",
            running.id, running.who, running.what
        ),
    )
}

/// Says that a closing for a while lasts, as another temporary change would end in the middle of it.
fn for_good(armed: &Armed) -> Risk {
    Risk::new(
        "for-left-out",
        format!(
            "--for is left out: the temporary change {} is disarmed, and its rules must not come back by themselves. It stays closed until `kmsctl expose restore`.",
            armed.id
        ),
    )
}

/// Says that a closing which changes no rule disarms what would open it again.
fn name_disarmed(draft: &mut Draft, armed: Option<&Armed>) {
    let Some(armed) = armed else { return };
    draft.what =
        format!("Keep the exposure closed: disarm what takes back {} ({}).", armed.id, armed.what);
    draft.undo = Undo::Impossible("To open it: `kmsctl expose restore`".to_owned());
}

/// Drafts the loading of a configuration that has no rules of the exposure, where pf runs some.
fn draft_unloading(
    present: &PlanBasis<'_>,
    ends: bool,
    terms: ChangeOptions,
) -> Result<Draft, Refusal> {
    let change = ConfigurationEdit::PutBack { records: Box::default(), alias: false };
    let what = "Close the exposure: the configuration leads no connection to it, and is loaded.";
    let (mut draft, _) = draft_change(present, terms, change, |_| what.to_owned())?;
    let pair = ManagedPair::of_service(present.configured, present.service);
    let closed = match pair.own_filter() {
        Some(_) if stays_loaded(present, &pair) => State::Half,
        Some(_) => State::Closed,
        None => State::Absent,
    };
    name_left_open(&mut draft, present, &present.exposure.aftermath, closed);
    draft.undo = Undo::Impossible("To open it: `kmsctl expose restore`".to_owned());
    draft.confirm = Confirm::Word("revoke".to_owned());
    draft_connections(&mut draft, present, ends);
    Ok(draft)
}

/// Says why there is nothing to close where the configuration has no rules of the exposure; `None` where pf still runs some.
fn no_rules(
    present: &PlanBasis<'_>,
    pair: &ManagedPair<'_>,
) -> Result<Option<&'static str>, Refusal> {
    let state = present.exposure.state;
    if state == State::Absent || state == State::Closed {
        return Ok(Some("there are no such rules."));
    }
    if let Some(other) = pair.forward_elsewhere()
        && !other.disabled
        && !is_led_away(present, pair)
    {
        // What leads it here opens the service; what closes it is said by hand.
        let look = "See what is in force, and where it leads: `kmsctl expose show`";
        return Err(leads_elsewhere(other, present).hint(look));
    }
    Ok(None)
}

/// Says whether config.xml leads the port to another host while pf still leads it to the service: loading closes that.
fn is_led_away(present: &PlanBasis<'_>, pair: &ManagedPair<'_>) -> bool {
    let away = pair.forward_away(present.configured, &present.service.into());
    present.exposure.nat.loaded && away.is_some()
}

/// Says where the port leads once what waits is loaded.
fn led_elsewhere(present: &PlanBasis<'_>, pair: &ManagedPair<'_>) -> Option<Risk> {
    let other = pair.forward_elsewhere().filter(|rule| !rule.disabled)?;
    let message = format!(
        "The configuration leads port {} to {} then, as it was saved in the GUI.",
        present.service.port,
        quoted(other.target.as_deref().unwrap_or_default())
    );
    Some(Risk::new("leads-elsewhere", message))
}
