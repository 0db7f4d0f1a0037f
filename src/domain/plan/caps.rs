//! Plans that change the caps: which values are allowed, where caps cannot work and why, and who would feel them.

use super::armed::{nothing_to_open, refuse_crossing};
use super::exposure::{ChangeOptions, PlanBasis, draft_change, not_recorded, ready_pair};
use super::opening::state_of_caps;
use super::{
    Confirm, Difference, Planned, Refusal, RefusalKind, Risk, Undo, as_sentence, counted, named,
};
use crate::domain::exposure::differences::lower_limit;
use crate::domain::pfsense::change::{ConfigurationEdit, Swap};
use crate::domain::pfsense::config::ReadRequest;
use crate::domain::pfsense::configured::FilterRule;
use crate::domain::pfsense::deciding::find_rule_before;
use crate::domain::pfsense::edit::find_cap_fault;
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
    terms: ChangeOptions,
) -> Result<Planned, Refusal> {
    check_caps(wanted.caps)?;
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
    let loaded = present.exposure.caps.loaded;
    let name = wanted.preset.as_ref().map(|name| format!(" (preset {name})")).unwrap_or_default();
    let is_in_force = loaded == Some(now) && !present.exposure.is_alias_stale();
    if now == wanted.caps && (is_in_force || filter.disabled) && written_whole(filter) {
        let why = match now {
            Caps { max_src_conn: None, rate: None } => "no caps are set already.".to_owned(),
            now => format!("the caps are {now} already{name}."),
        };
        return nothing_to_open(present, terms, &why);
    }
    refuse_crossing(present, terms)?;
    let Caps { max_src_conn, rate } = wanted.caps;
    let change = ConfigurationEdit::Caps { max_src_conn, rate };
    let title = |_: &Swap| format!("Set the caps per source to {}{name}.", wanted.caps);
    let (mut draft, _) = draft_change(present, terms, change, title)?;
    let unlike = loaded_differences(present, Some(filter), wanted.caps);
    draft.undo = if now == wanted.caps {
        not_recorded(present)
    } else if unlike.is_empty() {
        Undo::Command("puts the caps back that were there".to_owned())
    } else {
        Undo::Command(format!("puts {now} back, as config.xml says; what pf runs now is not in it"))
    };
    draft.differences = caps_differences(now, wanted.caps);
    draft.differences.extend(unlike);
    draft.differences.extend(turned_exposure(present, filter, wanted.caps));
    draft.checks = caps_checks(filter, wanted.caps);
    draft.risks = caps_risks(present, filter, wanted.caps, terms);
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

/// Returns what the exposure turns to, where the pair's own rule decides about its connections.
fn turned_exposure(
    present: &PlanBasis<'_>,
    filter: &FilterRule,
    wanted: Caps,
) -> Option<Difference> {
    let (exposure, promised) = (present.exposure, state_of_caps(wanted));
    let request = ReadRequest::from(present.service);
    let decides = exposure.filter.loaded
        && exposure.nat.loaded
        && exposure.state.lets_in()
        && find_rule_before(present.configured, Some(filter), &request).is_none();
    let (now, then) = (exposure.state.name(), promised.name());
    (decides && now != then).then(|| Difference::new("exposure", now, then))
}

/// Renders the rate as a difference of the schema `change` has it: `10/60`.
pub fn rate_value(caps: Caps) -> Option<String> {
    caps.rate.map(|rate| format!("{}/{}", rate.connections, rate.seconds))
}

fn caps_checks(filter: &FilterRule, wanted: Caps) -> Vec<String> {
    let tracker = filter.tracker.as_deref().unwrap_or("of the exposure");
    let mut checks =
        vec!["The configuration holds them, and nothing else in it differs.".to_owned()];
    if filter.disabled {
        checks.push("The rule is disabled, so pf loads no caps until it is enabled.".to_owned());
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
    let is_out = !filter.disabled && !present.exposure.filter.loaded;
    risks.extend(filter.sched.as_deref().filter(|_| is_out).map(|name| {
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
