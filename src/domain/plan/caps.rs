//! Plans that change the caps: which values are allowed, where caps cannot work and why, and who would feel them.

use super::armed::{disarmed_differences, lasting_risks, nothing_to_open, refuse_crossing};
use super::build::limited_clause;
use super::exposure::{
    ChangeOptions, PlanBasis, draft_change, name_left_open, not_recorded, ready_pair,
};
use super::opening::{foresee_exposure, state_of_caps};
use super::{
    Confirm, Difference, Draft, Planned, Refusal, RefusalKind, Risk, Undo, as_sentence, counted,
    named,
};
use crate::domain::exposure::State;
use crate::domain::exposure::differences::lower_limit;
use crate::domain::pfsense::change::{ArmedKind, ConfigurationEdit, Swap};
use crate::domain::pfsense::config::{ReadRequest, single_port_of};
use crate::domain::pfsense::configured::{FilterRule, NatRule};
use crate::domain::pfsense::deciding::{
    find_forward_before, find_rule_before, forwards_that_let_in,
};
use crate::domain::pfsense::edit::{CAP_KEYS, find_cap_fault};
use crate::domain::pfsense::managed::ManagedPair;
use crate::domain::ratelimit::{self, Caps, Preset};
use crate::domain::virusprot::expiry::Expiry;
use crate::text::quoted;

/// A cap above this never bites: no source holds as many states.
const NEVER_BITES: u32 = 100_000;

/// Returns the caps of a preset; one that does not exist is no preset without caps.
pub fn caps_of_preset(presets: &[Preset], name: &str) -> Result<Caps, Refusal> {
    let found = presets.iter().find(|preset| preset.name == name);
    found.map(|preset| preset.caps).ok_or_else(|| {
        let names: Vec<&str> = presets.iter().map(|preset| preset.name.as_str()).collect();
        let message = format!("There is no preset `{name}`.");
        Refusal::new(RefusalKind::Usage, message)
            .hint(format!("There are: {}. The configuration file adds more.", names.join(", ")))
    })
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedCaps {
    pub caps: Caps,
    /// The preset they are, if they were named.
    pub preset: Option<String>,
}

/// Refuses values that pf does not load or pfSense's form does not accept.
pub fn check_caps(caps: Caps) -> Result<(), Refusal> {
    find_cap_fault(caps.max_src_conn, caps.rate)
        .map_or(Ok(()), |clause| Err(Refusal::new(RefusalKind::Usage, as_sentence(&clause))))
}

pub fn plan_caps(
    present: &PlanBasis<'_>,
    wanted: &WantedCaps,
    asked: ChangeOptions,
) -> Result<Planned, Refusal> {
    check_caps(wanted.caps)?;
    let terms = ChangeOptions { with_pending: asked.with_pending || asked.urgent, ..asked };
    let pair = ready_pair(present, terms)?;
    if pair.forward_passes() {
        return Err(Refusal::new(
            RefusalKind::Impossible,
            "Caps cannot work here: the port forward's filter rule association is \"Pass\", so there is no rule that could carry them.",
        )
        .hint("Give it a rule with caps: `kmsctl expose apply`"));
    }
    let Some(filter) = pair.own_filter() else {
        return Err(Refusal::new(
            RefusalKind::Impossible,
            "There is no filter rule for the service that could carry caps.",
        )
        .hint("See what is there: `kmsctl expose show`"));
    };
    if let Some(why) = filter.why_caps_are_ignored() {
        let message = format!("Caps cannot work here: {why}.");
        return Err(Refusal::new(RefusalKind::Impossible, message)
            .hint("Make the rule what the configuration says: `kmsctl expose apply`"));
    }
    let (now, _) = ratelimit::of_configured(filter);
    let part = &present.exposure.filter;
    let loaded = part.caps.filter(|_| part.loaded);
    let name = wanted.preset.as_ref().map(|name| format!(" (preset {name})")).unwrap_or_default();
    let is_in_force = loaded == Some(now)
        && (now.is_empty() || present.exposure.state != State::Uncapped)
        && !present.exposure.is_alias_stale();
    if now == wanted.caps && (is_in_force || filter.disabled) && written_whole(filter) {
        let why = match now {
            Caps { max_src_conn: None, rate: None } => "no caps are set already.".to_owned(),
            now => format!("the caps are {now} already{name}."),
        };
        return nothing_to_open(present, terms, &why);
    }
    let replaced: &[ArmedKind] = if asked.urgent { &ArmedKind::ALL } else { &[ArmedKind::Caps] };
    refuse_crossing(present, terms, replaced)?;
    let Caps { max_src_conn, rate } = wanted.caps;
    let change = ConfigurationEdit::Caps { max_src_conn, rate };
    let title = |_: &Swap| format!("Set the caps per source to {}{name}.", wanted.caps);
    let (mut draft, _) = draft_change(present, terms, change, title)?;
    let unlike = loaded_differences(present, Some(filter), wanted.caps);
    draft.undo = if now == wanted.caps && written_whole(filter) {
        not_recorded(present)
    } else if unlike.is_empty() {
        Undo::Command("puts the caps back that were there".to_owned())
    } else {
        Undo::Command(format!("puts {now} back, as config.xml says; what pf runs now is not in it"))
    };
    draft.differences = caps_differences(now, wanted.caps);
    draft.differences.extend(lone_half(filter));
    draft.differences.extend(unlike);
    draft.differences.extend(disarmed_differences(present));
    draft.checks = caps_checks(present, filter, wanted.caps);
    draft.risks = caps_risks(present, filter, wanted.caps, terms);
    let lasting: Vec<Risk> = lasting_risks(present).collect();
    draft.risks.retain(|risk| lasting.is_empty() || risk.code != "armed");
    draft.risks.extend(lasting);
    name_turned_exposure(&mut draft, present, (&pair, filter), wanted.caps, asked)?;
    if wanted.caps.is_empty() {
        draft.confirm = Confirm::Word("uncapped".to_owned());
    }
    Ok(draft.into())
}

/// A lone half of the rate counts as no rate and must still go: alone it makes the ruleset fail to load.
fn written_whole(filter: &FilterRule) -> bool {
    let set = |field: &Option<String>| field.as_deref().is_some_and(|text| !text.trim().is_empty());
    set(&filter.caps.max_src_conn_rate) == set(&filter.caps.max_src_conn_rates)
}

/// Returns what goes with the caps where config.xml holds one half of a rate.
fn lone_half(filter: &FilterRule) -> Option<Difference> {
    let caps = &filter.caps;
    let [_, rate, seconds] = CAP_KEYS;
    let halves = [(rate, &caps.max_src_conn_rate), (seconds, &caps.max_src_conn_rates)];
    let mut halves = halves.into_iter().filter_map(|(key, text)| Some((key, text.as_deref()?)));
    let (key, half) = halves.find(|(_, text)| !text.trim().is_empty())?;
    let is_lone = !written_whole(filter);
    is_lone.then(|| Difference::new(&format!("filter rule {key}"), half, None::<&str>))
}

/// Returns the caps that differ, as the schema `change` shows them.
pub(crate) fn caps_differences(before: Caps, after: Caps) -> Vec<Difference> {
    let mut differences = Vec::new();
    if before.max_src_conn != after.max_src_conn {
        differences.push(Difference::new("max_src_conn", before.max_src_conn, after.max_src_conn));
    }
    if before.rate != after.rate {
        differences.push(Difference::new("rate", rate_value(before), rate_value(after)));
    }
    differences
}

/// Returns the caps that pf runs now and will run, where they are not what config.xml says.
pub(super) fn loaded_differences(
    present: &PlanBasis<'_>,
    filter: Option<&FilterRule>,
    wanted: Caps,
) -> Vec<Difference> {
    let part = &present.exposure.filter;
    let configured = filter.map(|rule| ratelimit::of_configured(rule).0);
    let runs = part.caps.filter(|_| part.loaded);
    let (Some(runs), Some(configured)) = (runs, configured) else {
        return Vec::new();
    };
    let unlike = caps_differences(configured, runs);
    let mut differences = caps_differences(runs, wanted);
    differences.retain(|difference| unlike.iter().any(|other| other.field == difference.field));
    for difference in &mut differences {
        difference.field.insert_str(0, "loaded ");
    }
    differences
}

/// Names what the exposure turns to: all that is saved is loaded, not the caps alone. What that opens wants `--with-pending`, also
/// where the caps are urgent; what it closes, where they are not.
fn name_turned_exposure(
    draft: &mut Draft,
    present: &PlanBasis<'_>,
    (pair, filter): (&ManagedPair<'_>, &FilterRule),
    wanted: Caps,
    asked: ChangeOptions,
) -> Result<(), Refusal> {
    let state = present.exposure.state;
    let then = foreseen_state(present, pair, filter, wanted).filter(|then| *then != state);
    let difference = |then: State| Difference::new("exposure", state.name(), then.name());
    draft.differences.extend(then.map(difference));
    let runs_all = present.exposure.nat.loaded
        && (present.exposure.filter.loaded || schedule_out(present, filter).is_some());
    let is_enabled =
        pair.own_forward().is_some_and(|forward| !forward.disabled) && !filter.disabled;
    // Where its rules say who may connect, it opens to those.
    let opens_to_some =
        is_enabled && !runs_all && limited_clause(pair.own_forward(), Some(filter)).is_some();
    let opens = !state.lets_in() && (then.is_some_and(State::lets_in) || opens_to_some);
    let closed = closed_by_loading(present, pair, filter);
    if let Some((part, closed)) = &closed
        && let Some(after) = present.exposure.after_closing(part)
    {
        name_left_open(draft, present, after, *closed);
    }
    let (what, is_covered) = if opens {
        let what = "This opens the service: config.xml lets it in, and pf does not";
        (what.to_owned(), asked.with_pending)
    } else if let Some(forward) = waiting_forward(present, pair) {
        let name = quoted(forward.descr.as_deref().unwrap_or_default());
        let what = format!(
            "This opens another way to the service: pf does not run the port forward {name} of {} yet",
            forward.interface
        );
        (what, asked.with_pending || asked.urgent && state.lets_in())
    } else if closed.is_some() {
        let what = "This closes the service: pf lets it in, and config.xml does not";
        (what.to_owned(), asked.with_pending || asked.urgent)
    } else {
        return Ok(());
    };
    let message = format!("{what}; loading the rules loads all that is saved, not the caps alone.");
    if !is_covered {
        let refusal = Refusal::new(RefusalKind::Conflict, message)
            .hint("Go on, and load that too, with --with-pending; or undo it in the GUI.");
        return Err(refusal.hint("See what is saved and what pf runs: `kmsctl expose show`"));
    }
    draft.risks.insert(0, Risk::new("turns-exposure", message));
    Ok(())
}

/// Returns the exposure once config.xml is loaded, as far as its rules let the service in and say it alone.
fn foreseen_state(
    present: &PlanBasis<'_>,
    pair: &ManagedPair<'_>,
    filter: &FilterRule,
    wanted: Caps,
) -> Option<State> {
    let exposure = present.exposure;
    let forward = pair.own_forward();
    let promised = state_of_caps(wanted);
    let request = ReadRequest::from(present.service);
    let is_taken = find_forward_before(present.configured, forward, &request).is_some();
    if filter.disabled || is_taken || exposure.finding_of_code("table-empty").is_some() {
        return None;
    }
    let Some(forward) = forward else {
        let is_published = !exposure.published.is_empty() && !exposure.filter.loaded;
        return is_published.then_some(promised);
    };
    let foreseen = foresee_exposure(present, (Some(forward), Some(filter)), promised, false);
    // Who may connect stays as it is, and those whom the rule lets in have its caps.
    let decides = exposure.filter.loaded
        && exposure.nat.loaded
        && exposure.state.lets_in()
        && find_rule_before(present.configured, Some(filter), &request).is_none();
    (!forward.disabled && (foreseen.is_certain || decides)).then_some(foreseen.state)
}

/// Returns what config.xml has switched off of what lets the service in, and what the pair is once that is loaded.
fn closed_by_loading(
    present: &PlanBasis<'_>,
    pair: &ManagedPair<'_>,
    filter: &FilterRule,
) -> Option<(ConfigurationEdit, State)> {
    let exposure = present.exposure;
    let has_no_forward = pair.own_forward().is_none_or(|forward| forward.disabled);
    let request = ReadRequest::from(present.service);
    let another = find_rule_before(present.configured, None, &request);
    let by_another = !has_no_forward && another.is_some_and(FilterRule::is_pass);
    let goes = exposure.nat.loaded && has_no_forward || exposure.filter.loaded && filter.disabled;
    let closes = goes
        && exposure.state.lets_in()
        && !by_another
        && pair.forward_elsewhere().is_none_or(|other| other.disabled);
    let closed = match (has_no_forward, filter.disabled) {
        (true, true) => (ConfigurationEdit::Disable, State::Closed),
        (true, false) => (ConfigurationEdit::DisableForward, State::Half),
        (false, _) => (ConfigurationEdit::DisableFilter, State::Half),
    };
    closes.then_some(closed)
}

/// Finds a forward to the service beside the pair that was saved and not applied.
fn waiting_forward<'a>(present: &PlanBasis<'a>, pair: &ManagedPair<'_>) -> Option<&'a NatRule> {
    let configured = present.configured;
    let request = ReadRequest::from(present.service);
    let is_loaded = |rule: &NatRule| {
        let port = single_port_of(&configured.aliases, rule.destination.port.as_deref());
        let mut paths = present.exposure.paths.iter();
        paths.any(|path| {
            configured.shares_interface(&rule.interface, &path.interface)
                && port.is_none_or(|port| path.enters.ends_with(&format!(":{port}")))
        })
    };
    let mut forwards = forwards_that_let_in(configured, &request);
    forwards.find(|rule| {
        !configured.dirty.is_empty()
            && pair.all_forwards().all(|own| own.index != rule.index)
            && !is_loaded(rule)
    })
}

/// Renders the rate as a difference of the schema `change` has it: `10/60`.
pub fn rate_value(caps: Caps) -> Option<String> {
    caps.rate.map(|rate| format!("{}/{}", rate.connections, rate.seconds))
}

/// Returns the schedule of a rule in force that pf does not run: it may be outside its time.
fn schedule_out<'a>(present: &PlanBasis<'_>, filter: &'a FilterRule) -> Option<&'a str> {
    let is_out = !filter.disabled && !present.exposure.filter.loaded;
    filter.sched.as_deref().filter(|_| is_out)
}

fn caps_checks(present: &PlanBasis<'_>, filter: &FilterRule, wanted: Caps) -> Vec<String> {
    let tracker = filter.tracker.as_deref().unwrap_or("of the exposure");
    let mut checks =
        vec!["The configuration holds them, and nothing else in it differs.".to_owned()];
    if filter.disabled {
        checks.push("The rule is disabled, so pf loads no caps until it is enabled.".to_owned());
    } else if schedule_out(present, filter).is_some() {
        checks.push("pf does not run the rule now, and loads no caps until it does.".to_owned());
    } else {
        checks.push(format!("pf's loaded rule {tracker} carries {wanted}."));
    }
    checks
}

fn caps_risks(
    present: &PlanBasis<'_>,
    filter: &FilterRule,
    wanted: Caps,
    terms: ChangeOptions,
) -> Vec<Risk> {
    let (now, _) = ratelimit::of_configured(filter);
    let mut risks = super::exposure::change_risks(present, terms);
    risks.extend(schedule_out(present, filter).map(|name| {
        Risk::new(
            "not-loaded",
            format!("pf does not run the rule now (its schedule {} may be outside its time): the caps count once it does.", quoted(name)),
        )
    }));
    if wanted.is_empty() {
        risks.push(Risk::new(
            "caps-off",
            "The caps are off then: no source is limited, and none is blocked for what it does here.",
        ));
    } else if present.exposure.filter.loaded {
        risks.push(Risk::new(
            "counters-restart",
            "The rule is loaded anew: its counters and its source tracking start from zero, and connections that are open now do not count against the new caps.",
        ));
    }
    risks.extend(present.exposure.uncapped_clause().map(|paths| {
        let message =
            format!("The caps are the managed rule's: no source is capped where {paths}.");
        Risk::new("other-path", message)
    }));
    if let Some(lower) = lower_limit(&present.exposure.other_limits, wanted) {
        risks.push(Risk::new("other-limit", format!("{lower} It stays as it is.")));
    }
    risks.extend(shadowed(present));
    if let Some(limit) = wanted.max_src_conn {
        risks.extend(sources_above(present, limit));
        if limit > NEVER_BITES {
            risks.push(Risk::new(
                "never-bites",
                format!("No source holds {limit} connections: this cap will never bite."),
            ));
        }
    }
    if wanted.rate.is_none() && !wanted.is_empty() {
        risks.push(Risk::new(
            "no-overload",
            "Without a rate pfSense loads no overload: connections over the cap are refused, but no address is ever blocked.",
        ));
    }
    if let Some(blocked) = present.blocked.filter(|blocked| *blocked > 0) {
        let loosens = ratelimit::is_wider(wanted, now) && !ratelimit::is_wider(now, wanted);
        let hint = if loosens {
            " Free those that are customers: `kmsctl virusprot show` names them."
        } else {
            ""
        };
        risks.push(Risk::new(
            "stay-blocked",
            format!(
                "{} stay{} blocked, whatever the caps, until {}.{hint}",
                counted(blocked, "address", "addresses"),
                if blocked == 1 { "s" } else { "" },
                Expiry::find(&present.configured.cron, &present.service.table).freeing_words(),
            ),
        ));
    }
    risks
}

/// Says that the exposure stays half, where another loaded rule keeps connections of the pair out.
fn shadowed(present: &PlanBasis<'_>) -> Option<Risk> {
    let codes = ["shadowed", "kept-behind", "table-empty"];
    if let Some(stale) = present.exposure.finding_of_code("alias-stale") {
        let message = format!("{} Loading the rules loads it as well.", stale.message);
        return Some(Risk::new("alias-stale", message));
    }
    let mut why = present.exposure.why.iter();
    let finding = why.find(|finding| codes.contains(&finding.code))?;
    let state = present.exposure.state;
    let message = format!("The exposure stays {state}: {}", finding.message);
    Some(Risk::new("shadowed", message))
}

/// Names the sources that hold more connections now than they may then.
fn sources_above(present: &PlanBasis<'_>, limit: u32) -> Option<Risk> {
    let over: Vec<String> = present
        .sources
        .iter()
        .filter(|source| source.established > u64::from(limit))
        .map(|source| match source.states - source.established {
            0 => format!("{} ({})", source.address, source.states),
            _ => format!(
                "{} ({} established of {})",
                source.address, source.established, source.states
            ),
        })
        .collect();
    let (verb, then) = if over.len() == 1 {
        ("holds", "It keeps these, and the caps count only what it opens after the reload.")
    } else {
        ("hold", "They keep these, and the caps count only what they open after the reload.")
    };
    (!over.is_empty()).then(|| {
        Risk::new(
            "cut-soon",
            format!(
                "{} {verb} more than {} now: {}. {then}",
                counted(over.len(), "source", "sources"),
                counted(limit, "connection", "connections"),
                named(&over),
            ),
        )
    })
}
