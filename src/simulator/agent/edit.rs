//! What each [`Change`] does to the raw configuration: to the service's records and to nothing else, as the agent's
//! `change.php` does it. Whether it may be done now, and what follows from it, is `super::apply`'s work.

use super::build;
use super::pair::{Pair, are_ours, association};
use super::separators::{insert_rule, remove_rule};
use crate::domain::change::{Change, Element, Placed, Records};
use crate::domain::pf::rule::Rate;
use crate::firewall::agent::ReadRequest;
use crate::simulator::configuration::Configuration;
use crate::simulator::configuration::read::side_field;

/// The longest rate period the rule editor takes, in seconds.
const LONGEST_PERIOD: u32 = 255;
/// pf keeps the rate times 1000 in 32 bits.
const MOST_CONNECTIONS: u32 = 4_294_966;

/// Why a change is not made, for people.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal(pub String);

/// Who changes what, and when.
pub struct Context<'a> {
    /// Whose rules.
    pub service: &'a ReadRequest,
    /// Who, such as `viktor@laptop`.
    pub who: &'a str,
    /// Epoch seconds.
    pub now: i64,
}

impl Context<'_> {
    /// Returns a `created` or `updated` element.
    pub fn stamp(&self) -> Element {
        let (time, username) = (self.now.to_string(), format!("kmsctl ({})", self.who));
        Element::of_texts([("time", time.as_str()), ("username", username.as_str())])
    }
}

/// Returns the configuration with the change made.
pub fn edited(
    configuration: &Configuration,
    change: &Change,
    context: &Context<'_>,
) -> Result<Configuration, Refusal> {
    let pair = Pair::find(configuration, context.service);
    let mut configuration = configuration.clone();
    unambiguous(&pair)?;
    match change {
        Change::Caps { max_src_conn, rate } => {
            set_caps_of(&mut configuration, &pair, *max_src_conn, *rate, context)?;
        }
        Change::Disable => disable(&mut configuration, &pair, context.service)?,
        Change::Enable => enable(&mut configuration, &pair, context.service)?,
        Change::Delete => delete(&mut configuration, &pair, context.service)?,
        Change::PutBack { records, alias } => {
            put_back(&mut configuration, &pair, records, context.service)?;
            if *alias {
                put_alias_back(&mut configuration, &pair, records.alias.as_ref());
            }
        }
        Change::Build {
            description,
            max_src_conn,
            rate,
            alias,
        } => {
            check_caps(*max_src_conn, *rate)?;
            let wanted = build::Wanted {
                description,
                caps: (*max_src_conn, *rate),
                alias: *alias,
            };
            build::build(&mut configuration, &pair, &wanted, context)?;
        }
    }
    Ok(configuration)
}

/// Makes a refusal.
pub fn refuse<T>(why: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal(why.into()))
}

fn unambiguous(pair: &Pair) -> Result<(), Refusal> {
    for (places, what) in [(&pair.nat, "port forwards"), (&pair.filter, "filter rules")] {
        if places.len() > 1 {
            let count = places.len();
            return refuse(format!(
                "{count} {what} match; it is not clear which is meant"
            ));
        }
    }
    Ok(())
}

/// Edits the first record of a list of places.
pub fn edit_rule<T>(
    configuration: &mut Configuration,
    section: &str,
    places: &[usize],
    edit: impl FnOnce(&mut Element) -> T,
) -> Option<T> {
    configuration.edit(section, "rule", |rules| {
        let place = places.first()?;
        rules.get_mut(*place).map(edit)
    })
}

fn rule<'a>(
    configuration: &'a Configuration,
    section: &str,
    places: &[usize],
) -> Option<&'a Element> {
    configuration.list(section, "rule").get(*places.first()?)
}

fn set_caps_of(
    configuration: &mut Configuration,
    pair: &Pair,
    connections: Option<u32>,
    rate: Option<Rate>,
    context: &Context<'_>,
) -> Result<(), Refusal> {
    let forward = rule(configuration, "nat", &pair.nat);
    if forward.is_some_and(|rule| rule.text("associated-rule-id") == Some("pass")) {
        return refuse(
            "the port forward passes traffic by itself (association \"Pass\"), so there is no rule for caps",
        );
    }
    let Some(pass) = rule(configuration, "filter", &pair.filter) else {
        return refuse("there is no filter rule that could carry caps");
    };
    if !matches!(pass.text("type"), None | Some("" | "pass")) {
        return refuse("the filter rule does not pass traffic, so caps have no meaning on it");
    }
    if !matches!(pass.text("protocol"), Some("tcp" | "tcp/udp")) {
        return refuse("the filter rule is not for TCP; pfSense ignores caps on others");
    }
    if pass.text("statetype") == Some("none") {
        return refuse("the filter rule keeps no state; pfSense ignores caps on such");
    }
    check_caps(connections, rate)?;
    edit_rule(configuration, "filter", &pair.filter, |rule| {
        if set_caps(rule, connections, rate) {
            rule.set("updated", context.stamp());
        }
    });
    Ok(())
}

/// Refuses rules of more than the service: to end one port would end others too.
fn only_ours(
    configuration: &Configuration,
    pair: &Pair,
    service: &ReadRequest,
) -> Result<(), Refusal> {
    let Some(forward) = rule(configuration, "nat", &pair.nat) else {
        return Ok(());
    };
    if !pair.ours {
        let target = forward.text("target").unwrap_or_default();
        return refuse(format!(
            "the port forward of this port leads elsewhere ({target})"
        ));
    }
    let port = side_field(forward, "destination", "port").unwrap_or_default();
    if port.trim() == service.port.to_string() {
        Ok(())
    } else {
        refuse(format!(
            "the port forward is for more than port {} ({port})",
            service.port
        ))
    }
}

fn disable(
    configuration: &mut Configuration,
    pair: &Pair,
    service: &ReadRequest,
) -> Result<(), Refusal> {
    if pair.nat.is_empty() && pair.filter.is_empty() {
        return refuse("there are no such rules");
    }
    only_ours(configuration, pair, service)?;
    for (section, places) in [("nat", &pair.nat), ("filter", &pair.filter)] {
        edit_rule(configuration, section, places, |rule| {
            if !rule.has("disabled") {
                rule.set("disabled", "");
            }
        });
    }
    Ok(())
}

fn enable(
    configuration: &mut Configuration,
    pair: &Pair,
    service: &ReadRequest,
) -> Result<(), Refusal> {
    // A forward that passes by itself has no filter rule.
    let forward = rule(configuration, "nat", &pair.nat);
    let passes = forward.is_some_and(|rule| rule.text("associated-rule-id") == Some("pass"));
    if pair.nat.is_empty() || (pair.filter.is_empty() && !passes) {
        return refuse("one of the two rules is missing; the pair must be built or put back");
    }
    only_ours(configuration, pair, service)?;
    for (section, places) in [("nat", &pair.nat), ("filter", &pair.filter)] {
        edit_rule(configuration, section, places, |rule| {
            rule.remove("disabled")
        });
    }
    Ok(())
}

fn delete(
    configuration: &mut Configuration,
    pair: &Pair,
    service: &ReadRequest,
) -> Result<(), Refusal> {
    if pair.nat.is_empty() && pair.filter.is_empty() {
        return refuse("there are no such rules");
    }
    only_ours(configuration, pair, service)?;
    let record = rule(configuration, "filter", &pair.filter);
    let tracker = record.and_then(|record| record.text("tracker"));
    let tracker = tracker.unwrap_or_default().to_owned();
    for (section, places) in [("nat", &pair.nat), ("filter", &pair.filter)] {
        if let Some(place) = places.first() {
            remove_rule(configuration, section, *place);
        }
    }
    if tracker_taken(configuration, &tracker) {
        return refuse(
            "another rule has the tracker of the filter rule, so it could not be put back; disable it instead",
        );
    }
    Ok(())
}

fn put_back(
    configuration: &mut Configuration,
    pair: &Pair,
    records: &Records,
    service: &ReadRequest,
) -> Result<(), Refusal> {
    let is_ours = are_ours(records, configuration, service);
    let kinds = [
        ("nat", &pair.nat, &records.nat, &records.separators.nat),
        (
            "filter",
            &pair.filter,
            &records.filter,
            &records.separators.filter,
        ),
    ];
    for (section, places, wanted, bars) in kinds {
        let present = rule(configuration, section, places);
        if section == "nat"
            && !pair.ours
            && present.is_some_and(|rule| !replaces(rule, wanted.as_ref()))
        {
            return refuse("another port forward uses this port");
        }
        match (places.first(), wanted) {
            (None, None) => {}
            (Some(place), None) => remove_rule(configuration, section, *place),
            (Some(_), Some(wanted)) => {
                edit_rule(configuration, section, places, |rule| {
                    *rule = wanted.record.clone();
                });
            }
            (None, Some(_)) if !is_ours => {
                return refuse(format!(
                    "the rules to put back are not those of {}",
                    service.alias
                ));
            }
            (None, Some(wanted)) => {
                let tracker = wanted.record.text("tracker").unwrap_or_default();
                if section == "filter" && tracker_taken(configuration, tracker) {
                    return refuse("another rule has its tracker now");
                }
                insert_rule(
                    configuration,
                    section,
                    index(wanted),
                    wanted.record.clone(),
                    bars,
                );
            }
        }
    }
    Ok(())
}

/// Says whether a record to be put back is the one that is there, by their association.
fn replaces(present: &Element, wanted: Option<&Placed>) -> bool {
    let id = association(present);
    id.is_some() && wanted.is_some_and(|wanted| wanted.record.text("associated-rule-id") == id)
}

fn put_alias_back(configuration: &mut Configuration, pair: &Pair, wanted: Option<&Placed>) {
    configuration.edit("aliases", "alias", |aliases| match (pair.alias, wanted) {
        (Some(place), None) => drop(aliases.remove(place)),
        (Some(place), Some(wanted)) => {
            if let Some(alias) = aliases.get_mut(place) {
                *alias = wanted.record.clone();
            }
        }
        (None, Some(wanted)) => {
            aliases.insert(index(wanted).min(aliases.len()), wanted.record.clone());
        }
        (None, None) => {}
    });
}

fn index(placed: &Placed) -> usize {
    usize::try_from(placed.index).unwrap_or(usize::MAX)
}

/// Says whether a rule has this tracker.
pub fn tracker_taken(configuration: &Configuration, tracker: &str) -> bool {
    let rules = configuration.list("filter", "rule");
    !tracker.is_empty()
        && rules
            .iter()
            .any(|rule| rule.text("tracker") == Some(tracker))
}

fn check_caps(connections: Option<u32>, rate: Option<Rate>) -> Result<(), Refusal> {
    if connections == Some(0) {
        return refuse("the cap on connections must be 1 or more");
    }
    let bad = |rate: Rate| {
        !(1..=MOST_CONNECTIONS).contains(&rate.connections)
            || !(1..=LONGEST_PERIOD).contains(&rate.seconds)
    };
    if rate.is_some_and(bad) {
        return refuse("the rate must be 1 or more connections within 1 to 255 seconds");
    }
    Ok(())
}

/// Sets a text, or removes the element; an empty and an absent one mean the same. Says whether it differed.
pub fn set(record: &mut Element, key: &str, value: Option<&str>) -> bool {
    if record.text(key).unwrap_or_default() == value.unwrap_or_default() {
        return false;
    }
    match value {
        Some(value) => record.set(key, value),
        None => drop(record.remove(key)),
    }
    true
}

/// Writes both halves of the rate or removes both: one alone makes pfSense 2.7.2 write a ruleset that does not load.
pub fn set_caps(rule: &mut Element, connections: Option<u32>, rate: Option<Rate>) -> bool {
    let values = [
        ("max-src-conn", connections),
        ("max-src-conn-rate", rate.map(|rate| rate.connections)),
        ("max-src-conn-rates", rate.map(|rate| rate.seconds)),
    ];
    let mut differed = false;
    for (key, value) in values {
        let value = value.map(|value| value.to_string());
        differed |= set(rule, key, value.as_deref());
    }
    differed
}
