//! What speaks against a change, in pf as it was read back: the agent proves its own two rules, and here the whole
//! path counts. Pure; the reading is `config`'s work.

use serde_json::Value;

use crate::domain::exposure::{Exposure, State};
use crate::domain::pf::table::Entry;
use crate::domain::pfsense::change::ConfigurationEdit;
use crate::domain::pfsense::proof::is_out;
use crate::domain::plan::{Draft, Operation, rate_value};
use crate::domain::ratelimit::Caps;
use crate::pfsense::questions::{Answer, FactError};

/// Says why pf is not what the plan promised. `promised` is the state of the exposure before and after, where the plan
/// says that it turns. What `closes` is to leave nothing open; what takes an opening back leaves what was open before.
pub(super) fn contradiction(
    change: &ConfigurationEdit,
    promised: Option<(State, State)>,
    exposure: &Exposure,
    closes: bool,
) -> Option<String> {
    let why = exposure.why.first().map_or("", |finding| finding.message.as_str());
    let state = exposure.state;
    let promised = promised.map(|(_, promised)| promised);
    let opens = match change {
        ConfigurationEdit::Disable
        | ConfigurationEdit::DisableForward
        | ConfigurationEdit::DisableFilter
        | ConfigurationEdit::Delete => Some(false),
        ConfigurationEdit::Enable | ConfigurationEdit::Build { .. } => Some(true),
        ConfigurationEdit::Caps { .. } => {
            promised.filter(|promised| *promised != State::Unknown).map(State::lets_in)
        }
        // What comes back enabled closes nothing, also where no client got in before.
        ConfigurationEdit::PutBack { records, .. } => {
            promised.map(State::lets_in).filter(|opens| *opens || is_out(records.nat.as_ref()))
        }
    };
    let not_closed = exposure.not_closed_clause().filter(|_| !state.lets_in());
    match (opens, not_closed) {
        // With caps and without are two states, and one was promised; behind a rule of others the pair is half.
        (Some(true), _) if promised.map_or(!state.lets_in(), |promised| promised != state) => {
            return Some(format!("The rules are written, but the service is {state}: {why}"));
        }
        // A path of others is left as it is, and what it leaves open is not closed.
        (Some(false), Some(but)) if closes || promised != Some(State::Half) => {
            return Some(format!("The pair is disabled, but {but}"));
        }
        // Where the port leads to another host, that is whom it lets in to.
        (Some(false), None) if state.lets_in() && !exposure.elsewhere.loaded => {
            return Some(format!("The rules are gone, but the service is still {state}: {why}"));
        }
        (Some(false), None)
            if matches!(promised, Some(State::Closed | State::Absent))
                && is_half_loaded(exposure) =>
        {
            return Some(format!("The rules are written, but the exposure is {state}: {why}"));
        }
        _ => {}
    }
    let ConfigurationEdit::Caps { max_src_conn, rate } = change else {
        return None;
    };
    let caps = Caps { max_src_conn: *max_src_conn, rate: *rate };
    // Those of the rule itself, whichever rule lets in.
    let loaded = exposure.filter.caps.unwrap_or_default();
    (exposure.filter.loaded && loaded != caps)
        .then(|| format!("The configuration says {caps}, but pf runs {loaded}."))
}

/// Says that a change of caps has turned the exposure, which its plan does not say: all that was saved was loaded with it.
pub(super) fn contradicting_state(
    plan: &Draft,
    before: &Exposure,
    exposure: &Exposure,
) -> Option<String> {
    let Operation::Configuration { change: ConfigurationEdit::Caps { max_src_conn, rate }, .. } =
        &plan.operation
    else {
        return None;
    };
    let caps = Caps { max_src_conn: *max_src_conn, rate: *rate };
    let (was, is) = (before.state, exposure.state);
    let loses_caps = (was, is) == (State::Open, State::Uncapped) && !caps.is_empty();
    let is_turned = was.lets_in() != is.lets_in() || loses_caps;
    let why = exposure.why.first().map_or("", |finding| finding.message.as_str());
    (plan.turns_exposure().is_none() && was != State::Unknown && is_turned)
        .then(|| format!("The caps are written, but the service was {was} and is {is}: {why}"))
}

/// Returns whether pf still has a rule of the pair that config.xml has switched off, or a forward that it has no more.
fn is_half_loaded(exposure: &Exposure) -> bool {
    let Exposure { nat, filter, .. } = exposure;
    nat.loaded && nat.enabled != Some(true) || filter.loaded && filter.enabled == Some(false)
}

/// Says which of the caps that a plan to put records back names pf does not run: what is put back comes from a history,
/// and the plan shows what the operator agreed to.
pub(super) fn contradicting_caps(plan: &Draft, exposure: &Exposure) -> Option<String> {
    let puts_back = matches!(
        &plan.operation,
        Operation::Configuration { change, .. } if matches!(change, ConfigurationEdit::PutBack { .. })
    );
    if !puts_back || !exposure.filter.loaded {
        return None;
    }
    let loaded = exposure.filter.caps.unwrap_or_default();
    let runs = [
        ("max_src_conn", Value::from(loaded.max_src_conn)),
        ("rate", Value::from(rate_value(loaded))),
    ];
    let mut broken = plan.differences.iter().filter(|difference| {
        let mut named = runs.iter().filter(|(field, _)| difference.field == *field);
        named.any(|(_, runs)| difference.after != *runs)
    });
    let field = &broken.next()?.field;
    Some(format!("The rules are written, but pf runs {loaded}: {field} is not what the plan says."))
}

/// Says how pf's table of the alias differs from the configuration, where a rule in force may name it: pfSense makes no
/// table else.
pub(super) fn of_alias(exposure: &Exposure, table: &Answer<Vec<Entry>>) -> Option<String> {
    match table {
        // Where pf has no such table, the rules name the address itself.
        Ok(_) | Err(FactError::NoTable { .. }) => {
            exposure.finding_of_code("alias-stale").map(|stale| stale.message.clone())
        }
        Err(error) => exposure.is_any_loaded().then(|| {
            let name = &exposure.alias.name;
            format!(
                "The rules are loaded, but pf's table of the alias {name} could not be read: {error}."
            )
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::exposure::{self, AliasTable, Loaded, fixtures};
    use crate::domain::pf::rule::{Rate, Rule};
    use crate::domain::pfsense::change::Records;
    use crate::domain::plan::{Confirm, Difference, Seen, Undo};

    fn contradiction(
        change: &ConfigurationEdit,
        promised: Option<(State, State)>,
        exposure: &Exposure,
    ) -> Option<String> {
        super::contradiction(change, promised, exposure, change.only_closes())
    }

    fn draft(change: ConfigurationEdit, differences: Vec<Difference>) -> Draft {
        Draft {
            what: String::new(),
            differences,
            checks: Vec::new(),
            undo: Undo::Impossible(String::new()),
            risks: Vec::new(),
            confirm: Confirm::YesNo,
            seen: Seen::default(),
            operation: Operation::Configuration {
                change,
                with_pending: false,
                end_connections: false,
            },
            reverts_after: None,
            undoes: None,
        }
    }

    /// What is judged of these rules of pf's.
    fn seen(filter: &[Rule], nat: &[Rule]) -> Exposure {
        let loaded = Loaded { filter, nat, enabled: true, alias_table: AliasTable::Unasked };
        let configured = fixtures::configured();
        exposure::judge(Some(&configured), loaded, &fixtures::service())
    }

    fn open() -> Exposure {
        let filter = [fixtures::block_table(), fixtures::pass(), fixtures::default_deny()];
        seen(&filter, &[fixtures::rdr()])
    }

    fn shut() -> Exposure {
        seen(&[fixtures::block_table(), fixtures::default_deny()], &[])
    }

    fn put_back() -> ConfigurationEdit {
        ConfigurationEdit::PutBack { records: Box::new(Records::default()), alias: false }
    }

    fn caps(max_src_conn: u32) -> ConfigurationEdit {
        ConfigurationEdit::Caps {
            max_src_conn: Some(max_src_conn),
            rate: Some(Rate { connections: 10, seconds: 60 }),
        }
    }

    const OPENS: Option<(State, State)> = Some((State::Absent, State::Open));
    const CLOSES: Option<(State, State)> = Some((State::Open, State::Closed));

    #[test]
    fn a_closing_that_leaves_a_half_is_not_what_was_promised() {
        let mut configured = fixtures::configured();
        configured.nat.iter_mut().for_each(|forward| forward.disabled = true);
        configured.filter.iter_mut().for_each(|rule| rule.disabled = true);
        let judged = |filter: &[Rule], nat: &[Rule]| {
            let loaded = Loaded { filter, nat, enabled: true, alias_table: AliasTable::Unasked };
            exposure::judge(Some(&configured), loaded, &fixtures::service())
        };
        let shut = [fixtures::block_table(), fixtures::default_deny()];
        let kept = [fixtures::block_table(), fixtures::pass(), fixtures::default_deny()];
        let halves = [judged(&shut, &[fixtures::rdr()]), judged(&kept, &[])];
        assert_eq!(contradiction(&ConfigurationEdit::Disable, CLOSES, &judged(&shut, &[])), None);
        for half in halves {
            assert_eq!(half.state, State::Half);
            assert!(contradiction(&ConfigurationEdit::Disable, CLOSES, &half).is_some());
            let promised = Some((State::Open, State::Half));
            assert_eq!(contradiction(&ConfigurationEdit::Disable, promised, &half), None);
        }
    }

    #[test]
    fn records_that_were_put_back_are_judged_by_what_the_plan_promised() {
        assert_eq!(contradiction(&put_back(), OPENS, &open()), None);
        assert_eq!(contradiction(&put_back(), CLOSES, &shut()), None);
        let words = contradiction(&put_back(), OPENS, &shut()).expect("it is not open");
        assert!(words.contains("written, but the service is"), "{words}");
        let words = contradiction(&put_back(), CLOSES, &open()).expect("it is not closed");
        assert!(words.contains("the service is still open"), "{words}");
        // An undo of caps promises nothing about the exposure.
        for exposure in [open(), shut()] {
            assert_eq!(contradiction(&put_back(), None, &exposure), None);
        }
    }

    #[test]
    fn with_caps_and_without_are_two_promises() {
        let uncapped =
            seen(&[fixtures::pass_without_caps(), fixtures::default_deny()], &[fixtures::rdr()]);
        let promised = |state| Some((State::Absent, state));
        for change in [put_back(), ConfigurationEdit::Enable] {
            assert_eq!(contradiction(&change, promised(State::Uncapped), &uncapped), None);
            let words =
                contradiction(&change, promised(State::Open), &uncapped).expect("it has no caps");
            assert!(words.contains("the service is uncapped"), "{words}");
            assert!(contradiction(&change, promised(State::Uncapped), &open()).is_some());
        }
    }

    #[test]
    fn what_opens_and_what_closes_is_judged_whatever_the_plan_says() {
        let build = ConfigurationEdit::Build {
            description: String::new(),
            max_src_conn: None,
            rate: None,
            alias: false,
        };
        for change in [ConfigurationEdit::Enable, build] {
            assert_eq!(contradiction(&change, None, &open()), None, "{change:?}");
            assert!(contradiction(&change, None, &shut()).is_some(), "{change:?}");
        }
        for change in [ConfigurationEdit::Disable, ConfigurationEdit::Delete] {
            assert_eq!(contradiction(&change, None, &shut()), None, "{change:?}");
            assert!(contradiction(&change, None, &open()).is_some(), "{change:?}");
        }
    }

    #[test]
    fn a_put_back_carries_the_caps_that_its_plan_names() {
        let plan = |change, after: u32, rate: &str| {
            let connections = Difference::new("max_src_conn", 10, after);
            draft(change, vec![connections, Difference::new("rate", "2/60", rate)])
        };
        assert_eq!(contradicting_caps(&plan(put_back(), 50, "10/60"), &open()), None);
        let words =
            contradicting_caps(&plan(put_back(), 40_000, "10/60"), &open()).expect("others");
        assert!(words.contains("max_src_conn is not"), "{words}");
        let words = contradicting_caps(&plan(put_back(), 50, "9/60"), &open()).expect("others");
        assert!(words.contains("rate is not"), "{words}");
        assert_eq!(contradicting_caps(&plan(put_back(), 40_000, "10/60"), &shut()), None);
        assert_eq!(contradicting_caps(&plan(ConfigurationEdit::Enable, 9, "1/1"), &open()), None);
    }

    #[test]
    fn an_opening_taken_back_may_leave_a_half() {
        let mut half = shut();
        half.state = State::Half;
        half.paths = open().paths;
        for path in &mut half.paths {
            path.managed = false;
        }
        assert!(half.not_closed_clause().is_some());
        let to = |promised| Some((State::Open, promised));
        let judged = |promised, closes| super::contradiction(&put_back(), promised, &half, closes);
        assert_eq!(judged(to(State::Half), false), None);
        assert!(judged(to(State::Closed), false).is_some());
        assert!(judged(to(State::Half), true).is_some(), "a closing that is none");
    }

    #[test]
    fn caps_turn_nothing_that_their_plan_does_not_name() {
        let plan = |differences| draft(caps(50), differences);
        let half = seen(&[fixtures::pass(), fixtures::default_deny()], &[]);
        let uncapped =
            seen(&[fixtures::pass_without_caps(), fixtures::default_deny()], &[fixtures::rdr()]);
        let (silent, open, shut) = (plan(Vec::new()), open(), shut());
        for (before, after, is_turned) in [
            (&open, &open, false),
            (&shut, &shut, false),
            (&half, &shut, false),
            (&open, &shut, true),
            (&open, &half, true),
            (&open, &uncapped, true),
            (&shut, &open, true),
            (&half, &open, true),
        ] {
            let said = contradicting_state(&silent, before, after);
            assert_eq!(said.is_some(), is_turned, "{} {}: {said:?}", before.state, after.state);
        }
        let named = plan(vec![Difference::new("exposure", "closed", "open")]);
        assert_eq!(contradicting_state(&named, &shut, &open), None);
        assert!(contradiction(&caps(50), OPENS, &shut).is_some());
        assert!(contradiction(&caps(50), CLOSES, &open).is_some());
    }

    #[test]
    fn caps_are_those_of_the_rule_itself() {
        // None are led to it, and it carries them all the same.
        let mut alone = seen(&[fixtures::pass(), fixtures::default_deny()], &[]);
        alone.caps.loaded = None;
        assert_eq!(contradiction(&caps(50), None, &alone), None);
        assert!(contradiction(&caps(20), None, &alone).is_some());
    }

    #[test]
    fn caps_are_those_that_pf_runs() {
        assert_eq!(contradiction(&caps(50), None, &open()), None);
        let words = contradiction(&caps(20), None, &open()).expect("other caps");
        assert!(words.contains("but pf runs max-src-conn 50"), "{words}");
        assert_eq!(contradiction(&caps(20), None, &shut()), None, "no rule carries any");
    }
}
