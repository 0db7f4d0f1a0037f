//! Whether the exposure is whole: open with its caps, or closed on purpose; each thing that keeps it from that is a finding
//! with what mends it. Judged from rules alone: `verify`, `status`, `doctor` and `expose show` all ask here, and what a probe
//! sees is theirs to add.

use super::finding::Finding;
use super::path::Expected;
use crate::domain::exposure::{Exposure, State};

pub const CHECK: &str = "exposure";

/// What mends what pf does not run.
pub(super) const APPLY_SAVED: &str = "What is saved was not applied: apply it in pfSense (Status > Filter Reload), then look at its notices.";
pub(super) const ENABLE: &str = "Enable it in pfSense: System > Advanced > Firewall & NAT.";
/// What brings the table and the rule that blocks it.
pub const RELOAD: &str = "The table and the rule that blocks it come with pfSense's ruleset: reload it (Status > Filter Reload), then look at its notices.";
pub const SET_CAPS: &str = "Set the caps: `kmsctl ratelimit default`";
/// What mends a port forward that passes by itself.
pub const PASSES: &str = "Give it a filter rule with caps: `kmsctl expose apply`; its --dry-run shows what that rewrites.";
/// What mends a pair whose filter rule is another forward's.
pub(super) const OWN_RULE: &str =
    "Give the port forward a filter rule of its own in pfSense (Firewall > NAT).";
const UNREAD: &str = "kmsctl changes no rules before it can read config.xml: `kmsctl doctor --problems` says what is in the way.";
const LOOK: &str = "See which rule it is: `kmsctl expose show`";
/// What closes a path that kmsctl does not manage.
pub(super) const FOREIGN: &str = "Switch off in pfSense what leads in there (Firewall > NAT, Firewall > Rules; of UPnP: Status > UPnP & NAT-PMP): kmsctl names it and never changes it.";
/// What mends a forward that leads elsewhere.
pub(super) const LEAD: &str = "Lead the port to the service, with caps: `kmsctl expose apply`; its --dry-run shows what that rewrites.";

/// What spoils an exposure that lets connections in, and what mends it. Rules that let some sources in beside the pair are
/// not among them: an administrator may have meant them, and `doctor` names them.
const SPOILS: [(&str, &str); 7] = [
    ("other-target", LEAD),
    ("earlier-block", LOOK),
    ("other-pass", LOOK),
    ("caps-differ", APPLY_SAVED),
    ("alias-stale", APPLY_SAVED),
    ("configured-not-loaded", APPLY_SAVED),
    ("loaded-not-configured", APPLY_SAVED),
];

/// What the exposure finds about caps that are there and do not do what caps are for.
pub const IDLE_CAPS: [&str; 6] = [
    "half-rate",
    "cap-not-a-number",
    "caps-ignored",
    "no-overload",
    "never-overloads",
    "other-table",
];

pub const SET_WHOLE: &str = "Set them whole with `kmsctl ratelimit default`.";

/// Returns what mends a finding about the rules; of some kmsctl knows no more than where they stand.
pub fn mending_step(code: &str) -> &'static str {
    match code {
        "alias-missing" | "alias-empty" | "alias-differs" => {
            "Make it what kmsctl's configuration says: `kmsctl expose apply`; or correct service.alias and service.address."
        }
        "block-missing" | "block-ineffective" => RELOAD,
        "table-empty" => {
            "Fill it: reload the ruleset in pfSense (Status > Filter Reload). Names and lists by URL have to resolve on the firewall."
        }
        "filter-disabled" => ENABLE,
        "foreign-association" => OWN_RULE,
        "other-path" | "path-unknown" => FOREIGN,
        "pending-changes" => {
            "Apply or undo them in pfSense (Firewall > Rules, and where else Apply Changes is shown)."
        }
        code if IDLE_CAPS.contains(&code) => SET_WHOLE,
        code => {
            let spoils = SPOILS.iter().find(|(spoils, _)| *spoils == code);
            spoils.map_or(LOOK, |(_, fix)| fix)
        }
    }
}

impl Expected {
    /// Reads the intention out of the exposure: open where config.xml enables the whole pair, closed where it disables both or a
    /// `revoke --delete` left nothing. One rule alone is no intention, and without the configuration there is none.
    pub fn of(exposure: &Exposure) -> Option<Self> {
        exposure.nat.configured?;
        match (exposure.nat.enabled, exposure.filter.enabled) {
            (Some(true), Some(true)) => Some(Self::Open),
            (Some(true), None) if passes(exposure) => Some(Self::Open),
            (Some(false), Some(false)) => Some(Self::Closed),
            (Some(false), None) if passes(exposure) => Some(Self::Closed),
            (None, None) if exposure.deleted => Some(Self::Closed),
            _ => None,
        }
    }
}

/// The port forward lets connections in by itself, so that it has no filter rule.
fn passes(exposure: &Exposure) -> bool {
    exposure.finding_of_code("nat-pass").is_some()
}

/// Judges the exposure in one finding, the worst: without `expected` it has to be whole.
pub fn judge_whole(exposure: &Exposure, expected: Option<Expected>) -> Finding {
    let faults = exposure_faults(exposure, expected);
    if let Some(fault) = faults.into_iter().next() {
        return fault;
    }
    let purpose = expected.or_else(|| Expected::of(exposure));
    match (purpose, exposure.lets_in()) {
        (None, gets_in) => Finding::unknown(
            CHECK,
            format!(
                "{} Whether that is meant so is not known, as config.xml was not read.",
                first_reason(exposure)
            ),
        )
        .fix(if gets_in == Some(false) {
            "If it is meant so, say it: add --expect closed to this command."
        } else {
            UNREAD
        })
        .follows("php"),
        (Some(Expected::Closed), None) => {
            let anchor = exposure.unread_anchors().first().map(|message| (*message).to_owned());
            Finding::unknown(CHECK, anchor.unwrap_or_else(|| first_reason(exposure))).fix(LOOK)
        }
        (Some(Expected::Closed), Some(_)) if expected.is_none() && exposure.deleted => {
            Finding::ok(CHECK, "Closed on purpose: `revoke --delete` took both rules away.")
        }
        (Some(Expected::Closed), Some(_)) if expected.is_none() => {
            Finding::ok(CHECK, "Closed on purpose: both rules are disabled.")
        }
        (Some(Expected::Closed), Some(_)) => {
            Finding::ok(CHECK, "Closed: no path of any kind is loaded.")
        }
        (Some(Expected::Open), _) if exposure.nat.configured.is_none() => Finding::unknown(
            CHECK,
            format!(
                "{} Which interface is outside and where they lead is not known, as config.xml was not read.",
                first_reason(exposure)
            ),
        )
        .fix(UNREAD)
        .follows("php"),
        (Some(Expected::Open), _) => match exposure.finding_of_code("alias-unread") {
            Some(unread) => Finding::unknown(CHECK, &unread.message).fix(format!(
                "Run the command again; if it stays so: `pfctl -t {} -T show` on the firewall.",
                exposure.alias.name
            )),
            None => Finding::ok(CHECK, first_reason(exposure)),
        },
    }
}

/// Lists what is proven to be wrong with the exposure, the worst first; nothing where it is whole, or as `expected`.
pub fn exposure_faults(exposure: &Exposure, expected: Option<Expected>) -> Vec<Finding> {
    if !exposure.filtering {
        let fault = switched_off(CHECK).follows("pf");
        // To enable it may open what is to be closed.
        return vec![match expected {
            Some(Expected::Closed) => fault.fix(&exposure.closing),
            _ => fault,
        }];
    }
    match (expected, Expected::of(exposure)) {
        (Some(Expected::Closed), _) => still_open(exposure),
        (Some(Expected::Open), _) | (None, Some(Expected::Open)) => not_open(exposure),
        (None, Some(Expected::Closed)) => not_closed(exposure),
        (None, None) => without_intention(exposure),
    }
}

pub(super) fn switched_off(check: &'static str) -> Finding {
    let evidence = "pf is switched off: nothing is filtered, and nothing is redirected.";
    Finding::wrong(check, evidence, ENABLE)
}

fn first_reason(exposure: &Exposure) -> String {
    let first = exposure.why.first();
    first.map_or_else(
        || format!("The exposure is {}.", exposure.state),
        |reason| reason.message.clone(),
    )
}

fn state_fault(exposure: &Exposure, fix: &str) -> Finding {
    let evidence = format!("{}: {}", exposure.state, first_reason(exposure));
    Finding::wrong(CHECK, evidence, fix)
}

fn foreign_fault(exposure: &Exposure) -> Option<Finding> {
    let certain = exposure.foreign_paths().any(|path| path.certain);
    let evidence =
        format!("{}: beside the managed pair, {}", exposure.state, exposure.paths_sentence());
    certain.then(|| Finding::wrong(CHECK, evidence, FOREIGN))
}

fn still_open(exposure: &Exposure) -> Vec<Finding> {
    if exposure.state.lets_in() {
        return vec![state_fault(exposure, &exposure.closing)];
    }
    foreign_fault(exposure).into_iter().collect()
}

fn not_closed(exposure: &Exposure) -> Vec<Finding> {
    match exposure.state {
        State::Closed | State::Absent => Vec::new(),
        State::Open | State::Uncapped => {
            let fix = format!("config.xml disables it and pf still has it. {}", exposure.closing);
            vec![state_fault(exposure, &fix)]
        }
        State::Half => match foreign_fault(exposure) {
            Some(fault) => {
                let paths = exposure.paths_sentence();
                let evidence = format!(
                    "{}: the pair is closed, and the service is not: {paths}",
                    exposure.state
                );
                vec![Finding { evidence, ..fault }]
            }
            None => vec![state_fault(exposure, APPLY_SAVED)],
        },
        State::Unknown => vec![state_fault(exposure, LOOK)],
    }
}

fn not_open(exposure: &Exposure) -> Vec<Finding> {
    let mut faults = match exposure.state {
        State::Open => Vec::new(),
        _ if exposure.nat.configured.is_none() => {
            vec![state_fault(exposure, UNREAD)]
        }
        State::Uncapped if exposure.elsewhere.loaded => vec![state_fault(exposure, LEAD)],
        State::Uncapped if exposure.finding_of_code("rdr-pass").is_some() => {
            vec![state_fault(exposure, PASSES)]
        }
        State::Uncapped => vec![state_fault(exposure, SET_CAPS)],
        State::Half if exposure.finding_of_code("shadowed").is_some() => {
            vec![shadow_fault(exposure)]
        }
        State::Half | State::Closed | State::Unknown if is_enabled(exposure) => {
            vec![state_fault(exposure, APPLY_SAVED)]
        }
        State::Absent => vec![absent_fault(exposure)],
        State::Half | State::Closed | State::Unknown => {
            vec![state_fault(exposure, "Open it: `kmsctl expose restore`")]
        }
    };
    faults.extend(foreign_fault(exposure));
    if exposure.state == State::Open {
        let spoilt = exposure.why.iter().filter_map(|reason| {
            let spoils = SPOILS.iter().find(|(code, _)| *code == reason.code);
            let idle = || IDLE_CAPS.contains(&reason.code).then_some(SET_WHOLE);
            let fix = spoils.map(|(_, fix)| *fix).or_else(idle)?;
            Some(Finding::wrong(CHECK, &reason.message, fix))
        });
        faults.extend(spoilt);
    }
    faults
}

/// The configuration enables both rules.
fn is_enabled(exposure: &Exposure) -> bool {
    Expected::of(exposure) == Some(Expected::Open)
}

fn shadow_fault(exposure: &Exposure) -> Finding {
    let shadow = exposure.finding_of_code("shadowed");
    let message = shadow.map_or_else(|| first_reason(exposure), |shadow| shadow.message.clone());
    Finding::wrong(
        CHECK,
        format!("{}: {message}", exposure.state),
        "Move or disable that rule in pfSense (Firewall > Rules), or look at both: `kmsctl expose show`",
    )
}

/// Nothing is configured, or one rule alone; or the configuration was not read, and the loaded rules have to do.
fn without_intention(exposure: &Exposure) -> Vec<Finding> {
    if exposure.nat.configured.is_none() {
        return match exposure.state {
            State::Uncapped => not_open(exposure),
            State::Open => foreign_fault(exposure).into_iter().collect(),
            // A rule that is loaded alone may be another one's, where config.xml does not say which is the pair's.
            State::Half | State::Closed | State::Absent | State::Unknown => Vec::new(),
        };
    }
    if (exposure.nat.enabled, exposure.filter.enabled) == (None, None) {
        return vec![absent_fault(exposure)];
    }
    if exposure.state.lets_in() {
        let mut faults = not_open(exposure);
        if faults.is_empty() {
            faults.push(half_fault(exposure));
        }
        return faults;
    }
    vec![foreign_fault(exposure).unwrap_or_else(|| half_fault(exposure))]
}

/// The configuration has, or enables, one rule of the pair and not the other. Shared with `doctor`.
pub fn half_fault(exposure: &Exposure) -> Finding {
    let standing = |enabled: Option<bool>| match enabled {
        Some(true) => "enabled",
        Some(false) => "disabled",
        None => "missing",
    };
    Finding::wrong(
        CHECK,
        format!(
            "{}: in the configuration the port forward is {}, the filter rule {}. {}",
            exposure.state,
            standing(exposure.nat.enabled),
            standing(exposure.filter.enabled),
            first_reason(exposure)
        ),
        half_remedy(exposure),
    )
}

/// Says how half a pair becomes whole; a filter rule that another forward has cannot be opened, and one that is not the
/// pair's is no half to open.
pub(super) fn half_remedy(exposure: &Exposure) -> &'static str {
    if exposure.state.lets_in() && exposure.filter.configured == Some(false) {
        "Give the port forward a filter rule of its own in pfSense (Firewall > NAT), or close it: `kmsctl expose revoke`"
    } else if exposure.finding_of_code("foreign-association").is_some() {
        "Give the port forward a filter rule of its own in pfSense (Firewall > NAT) before it is opened."
    } else {
        "Open it with `kmsctl expose restore`, or close it with `kmsctl expose revoke`"
    }
}

/// No rule of the service is configured, and no deletion by kmsctl explains that. Shared with `doctor`.
pub fn absent_fault(exposure: &Exposure) -> Finding {
    if exposure.finding_of_code("other-target").is_some() {
        return state_fault(exposure, LEAD);
    }
    let elsewhere = exposure
        .why
        .iter()
        .find(|reason| ["configured-elsewhere", "interface-missing"].contains(&reason.code));
    let evidence = format!("{}: {}", exposure.state, first_reason(exposure));
    match elsewhere {
        Some(elsewhere) => Finding::wrong(
            CHECK,
            format!("{evidence} {}", elsewhere.message),
            "Correct service.interface, service.port or service.alias in kmsctl's configuration: `kmsctl config show`",
        ),
        None => Finding::wrong(
            CHECK,
            evidence,
            "Build it: `kmsctl expose apply`; or correct service.interface, service.port or service.alias.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::exposure::{AliasTable, Loaded, fixtures, judge};
    use crate::domain::pf::rule::Rule;
    use crate::domain::pfsense::configured::Configured;
    use crate::domain::reachability::finding::CheckResult;

    fn exposure(change: impl FnOnce(&mut Configured, &mut Vec<Rule>, &mut Vec<Rule>)) -> Exposure {
        let mut configured = fixtures::configured();
        let mut filter = vec![fixtures::default_deny(), fixtures::block_table(), fixtures::pass()];
        let mut nat = vec![fixtures::rdr()];
        change(&mut configured, &mut filter, &mut nat);
        let loaded =
            Loaded { filter: &filter, nat: &nat, enabled: true, alias_table: AliasTable::Unasked };
        judge(Some(&configured), loaded, &fixtures::service())
    }

    /// What is configured and loaded, the state, and what is made of it: without an expectation, as open, as closed.
    #[test]
    fn a_whole_exposure_is_open_or_closed_on_purpose() {
        use CheckResult::{Ok, Wrong};
        type Change = fn(&mut Configured, &mut Vec<Rule>, &mut Vec<Rule>);
        let cases: [(&str, Change, State, [CheckResult; 3]); 9] = [
            ("whole", |_, _, _| {}, State::Open, [Ok, Ok, Wrong]),
            (
                "both disabled",
                |configured, filter, nat| {
                    configured.nat[0].disabled = true;
                    configured.filter[0].disabled = true;
                    filter.pop();
                    nat.pop();
                },
                State::Closed,
                [Ok, Wrong, Ok],
            ),
            (
                "both disabled, never applied",
                |configured, _, _| {
                    configured.nat[0].disabled = true;
                    configured.filter[0].disabled = true;
                },
                State::Open,
                [Wrong, Wrong, Wrong],
            ),
            (
                "one disabled, nothing loaded",
                |configured, filter, nat| {
                    configured.nat[0].disabled = true;
                    filter.pop();
                    nat.pop();
                },
                State::Closed,
                [Wrong, Wrong, Ok],
            ),
            (
                "one disabled, the other loaded",
                |configured, filter, _| {
                    configured.filter[0].disabled = true;
                    filter.pop();
                },
                State::Half,
                [Wrong, Wrong, Ok],
            ),
            (
                "enabled, nothing loaded",
                |_, filter, nat| {
                    filter.pop();
                    nat.pop();
                },
                State::Closed,
                [Wrong, Wrong, Ok],
            ),
            (
                "deleted by hand",
                |configured, filter, nat| {
                    configured.nat.clear();
                    configured.filter.clear();
                    filter.pop();
                    nat.pop();
                },
                State::Absent,
                [Wrong, Wrong, Ok],
            ),
            (
                "shadowed by a block",
                |_, filter, _| {
                    let mut block = fixtures::default_deny();
                    block.quick = true;
                    filter.insert(0, block);
                },
                State::Half,
                [Wrong, Wrong, Ok],
            ),
            (
                "no caps",
                |_, filter, _| {
                    let pass = filter.pop().map(|mut rule| {
                        rule.state_options = crate::domain::pf::rule::StateOptions::default();
                        rule
                    });
                    filter.extend(pass);
                },
                State::Uncapped,
                [Wrong, Wrong, Wrong],
            ),
        ];
        for (what, change, state, expected) in cases {
            let exposure = exposure(change);
            assert_eq!(exposure.state, state, "{what}: {:?}", exposure.why);
            let judged = [None, Some(Expected::Open), Some(Expected::Closed)]
                .map(|expect| judge_whole(&exposure, expect));
            assert_eq!(
                judged.clone().map(|finding| finding.result),
                expected,
                "{what}: {judged:?}"
            );
            let without_fix = |finding: &&Finding| finding.result == Wrong && finding.fix.is_none();
            assert_eq!(judged.iter().find(without_fix), None, "{what}");
        }
    }

    #[test]
    fn a_deletion_of_our_own_is_a_purpose() {
        let mut gone = exposure(|configured, filter, nat| {
            configured.nat.clear();
            configured.filter.clear();
            filter.pop();
            nat.pop();
        });
        assert_eq!(judge_whole(&gone, None).result, CheckResult::Wrong);
        gone.deleted = true;
        assert_eq!(judge_whole(&gone, None).result, CheckResult::Ok);
        // A rule that appears afterwards is no deletion any more.
        gone.state = State::Half;
        assert_eq!(judge_whole(&gone, None).result, CheckResult::Wrong);
    }

    #[test]
    fn without_the_configuration_the_loaded_rules_have_to_do() {
        let filter = [fixtures::default_deny(), fixtures::block_table(), fixtures::pass()];
        let half =
            Loaded { filter: &filter, nat: &[], enabled: true, alias_table: AliasTable::Unasked };
        let nat = [fixtures::rdr()];
        let open = Loaded { nat: &nat, ..half };
        let service = fixtures::service();
        let judged = |loaded, expected| judge_whole(&judge(None, loaded, &service), expected);
        assert_eq!(judged(open, None).result, CheckResult::Unknown);
        assert_eq!(judged(half, None).result, CheckResult::Unknown);
        assert_eq!(judged(open, Some(Expected::Open)).result, CheckResult::Unknown);
        assert_eq!(judged(open, Some(Expected::Closed)).result, CheckResult::Wrong);
    }
}
