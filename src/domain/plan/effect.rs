//! What a change makes of the records of config.xml, field by field: computed from the records before and after it, and
//! put into words here.

use serde_json::Value;

use super::Difference;
use super::build::{side_words, source_clause};
use super::caps;
use super::exposure::{PLANNED_ASSOCIATION, standing_word};
use crate::domain::pfsense::change::{Element, Placed, Records, Swap};
use crate::domain::pfsense::configured::{Configured, FilterRule, NatRule, Side};
use crate::domain::pfsense::edit::CAP_KEYS;
use crate::domain::ratelimit::{self, Caps};
use crate::text::quoted;

/// Stamps that every write renews: they are in no plan.
const STAMPS: [&str; 2] = ["created", "updated"];
/// What a rule that is built anew has of its own.
const NAMES: [&str; 2] = ["tracker", "associated-rule-id"];
/// The longest value that is shown whole, in characters.
const LONGEST_VALUE: usize = 60;

#[derive(Clone, Copy, PartialEq, Eq)]
enum RecordKind {
    Forward,
    Filter,
    Alias,
}

impl RecordKind {
    const ALL: [Self; 3] = [Self::Forward, Self::Filter, Self::Alias];

    fn name(self) -> &'static str {
        match self {
            Self::Forward => "port forward",
            Self::Filter => "filter rule",
            Self::Alias => "alias",
        }
    }

    fn record(self, records: &Records) -> Option<&Placed> {
        match self {
            Self::Forward => records.nat.as_ref(),
            Self::Filter => records.filter.as_ref(),
            Self::Alias => records.alias.as_ref(),
        }
    }

    fn summary(self, placed: &Placed) -> String {
        let Placed { index, record, .. } = placed;
        let port = |side: &Side| side.port.clone().unwrap_or_default();
        let (line, disabled) = match self {
            Self::Forward => {
                let rule = NatRule::of_record(*index, record);
                let target = rule.target.as_deref().unwrap_or_default();
                let (port, from) = (port(&rule.destination), source_clause(&rule.source));
                (format!("port {port} to {target} from {from}"), rule.disabled)
            }
            Self::Filter => {
                let rule = FilterRule::of_record(*index, record);
                let to = rule.destination.address.as_deref().unwrap_or("any");
                let (port, from) = (port(&rule.destination), source_clause(&rule.source));
                (format!("pass to {to} port {port} from {from}"), rule.disabled)
            }
            Self::Alias => (value_of(record.get("address")), false),
        };
        line + if disabled { ", disabled" } else { "" }
    }

    /// Names an element of a record as people see it.
    fn field(self, key: &str) -> String {
        let name = self.name();
        match (self, key) {
            (_, "disabled") | (Self::Alias, "address") => name.to_owned(),
            (Self::Forward, "associated-rule-id") => "association".to_owned(),
            (_, "associated-rule-id") => format!("{name} association"),
            (Self::Forward, "local-port") => format!("{name} port"),
            (_, "statetype") => format!("{name} state type"),
            _ => format!("{name} {key}"),
        }
    }
}

/// Names every field that differs between the records before and after; the stamps of their last change do not count.
pub(super) fn record_differences(before: &Records, after: &Records) -> Vec<Difference> {
    let mut differences = Vec::new();
    for kind in RecordKind::ALL {
        let name = kind.name();
        match (kind.record(before), kind.record(after)) {
            (None, None) => {}
            (None, Some(now)) => {
                differences.push(Difference::new(name, None::<&str>, kind.summary(now)));
            }
            (Some(was), None) if kind == RecordKind::Alias => {
                differences.push(Difference::new(name, kind.summary(was), None::<&str>));
            }
            (Some(was), None) => {
                let was = standing_word(was.record.has_child("disabled"));
                differences.push(Difference::new(name, was, None::<&str>));
            }
            (Some(was), Some(now)) => {
                let keys = [keys_of(&was.record), keys_of(&now.record)].concat();
                differences.extend(
                    differing(&keys, &was.record, &now.record)
                        .filter(is_no_cap)
                        .map(|key| field_difference(kind, key, &was.record, &now.record)),
                );
            }
        }
    }
    let caps = |records: &Records| {
        let placed = records.filter.as_ref()?;
        let rule = FilterRule::of_record(placed.index, &placed.record);
        Some(ratelimit::of_configured(&rule).0)
    };
    let (was, now) = (caps(before), caps(after));
    differences.extend(caps::caps_differences(
        was.unwrap_or_else(Caps::default),
        now.unwrap_or_else(Caps::default),
    ));
    differences
}

/// Says between which rules those stand that come back.
pub(super) fn place_sentences(swap: &Swap, configured: &Configured) -> Vec<String> {
    let kinds = [(RecordKind::Forward, "nat"), (RecordKind::Filter, "filter")];
    let came = kinds.into_iter().filter(|(kind, _)| kind.record(&swap.before).is_none());
    let sentences = came.filter_map(|(kind, section)| {
        let place = usize::try_from(kind.record(&swap.after)?.index).ok()?;
        let rules = configured.sections.list(section, "rule");
        let named = |rule: &Element| match rule.child_text("descr").unwrap_or_default() {
            "" => "a rule without a description".to_owned(),
            text => quoted(text),
        };
        let above = place.checked_sub(1).and_then(|above| rules.get(above)).map(named);
        let where_it_stands = match (above, rules.get(place).map(named)) {
            (Some(above), Some(below)) => format!("behind {above} and before {below}"),
            (Some(above), None) => format!("last in its list, behind {above}"),
            (None, Some(below)) => format!("first in its list, before {below}"),
            (None, None) => return None,
        };
        Some(format!("The {} stands {where_it_stands}.", kind.name()))
    });
    sentences.collect()
}

/// Returns the kinds of records that a change makes, and those that it alters or takes away.
pub(super) fn touched_kinds(swap: &Swap) -> (Vec<&'static str>, Vec<&'static str>) {
    let (mut made, mut altered) = (Vec::new(), Vec::new());
    for kind in RecordKind::ALL {
        let (was, now) = (kind.record(&swap.before), kind.record(&swap.after));
        match (was, now) {
            (None, Some(_)) => made.push(kind.name()),
            (Some(_), None) => altered.push(kind.name()),
            (Some(was), Some(now)) => {
                let keys = [keys_of(&was.record), keys_of(&now.record)].concat();
                let first = differing(&keys, &was.record, &now.record).next();
                altered.extend(first.map(|_| kind.name()));
            }
            (None, None) => {}
        }
    }
    (made, altered)
}

/// Lists kinds of records in words: `the port forward and the filter rule`.
pub(super) fn listed_kinds(kinds: &[&str]) -> String {
    let with_article: Vec<String> = kinds.iter().map(|kind| format!("the {kind}")).collect();
    match with_article.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => String::new(),
    }
}

/// Says what taking a change of records back does; `None` where it leaves them as they are.
pub(super) fn undo_clause(swap: &Swap) -> Option<String> {
    let (made, altered) = touched_kinds(swap);
    let was = if altered.len() == 1 { "it was" } else { "they were" };
    let back = format!("puts {} back as {was}", listed_kinds(&altered));
    let away = format!("removes {}", listed_kinds(&made));
    match (altered.is_empty(), made.is_empty()) {
        (true, true) => None,
        (false, true) => Some(back),
        (true, false) => Some(away),
        (false, false) => Some(format!("{back}, and {away}")),
    }
}

/// Names the fields of deleted records that the ones built in their place do not have, with what they held.
pub(super) fn lost_fields(deleted: &Records, built: &Records) -> Vec<String> {
    let mut lost = Vec::new();
    for kind in [RecordKind::Forward, RecordKind::Filter] {
        let (Some(was), Some(now)) = (kind.record(deleted), kind.record(built)) else {
            continue;
        };
        let keys = keys_of(&was.record);
        let others = differing(&keys, &was.record, &now.record)
            .filter(is_no_cap)
            .filter(|key| !NAMES.contains(key) && *key != "disabled");
        let caps = CAP_KEYS.into_iter().filter(|key| {
            was.record.child_text(key).unwrap_or_default()
                != now.record.child_text(key).unwrap_or_default()
        });
        lost.extend(others.chain(caps).map(|key| {
            let was = value_of(was.record.get(key));
            format!("{} ({was})", kind.field(key))
        }));
    }
    lost
}

fn keys_of(record: &Element) -> Vec<&str> {
    match record {
        Element::Map(fields) => fields.iter().map(|(key, _)| key.as_str()).collect(),
        Element::Text(_) | Element::List(_) => Vec::new(),
    }
}

/// Whether a key is shown by itself: caps are shown together.
fn is_no_cap(key: &&str) -> bool {
    !CAP_KEYS.contains(key)
}

/// Returns the keys under which the records differ, each once, but for the stamps.
fn differing<'a>(
    keys: &[&'a str],
    was: &'a Element,
    now: &'a Element,
) -> impl Iterator<Item = &'a str> {
    let mut found: Vec<&str> = Vec::new();
    for key in keys {
        let counts = !STAMPS.contains(key) && !found.contains(key);
        if counts && was.get(key) != now.get(key) {
            found.push(key);
        }
    }
    found.into_iter()
}

fn field_difference(kind: RecordKind, key: &str, was: &Element, now: &Element) -> Difference {
    let field = kind.field(key);
    if key == "disabled" {
        return Difference::new(
            &field,
            standing_word(was.has_child(key)),
            standing_word(now.has_child(key)),
        );
    }
    let joins = |record: &Element| {
        let id = record.child_text("associated-rule-id");
        id.is_some_and(|id| id == PLANNED_ASSOCIATION || id.starts_with("nat_"))
    };
    // What a new association is called is not known before it is made.
    let is_planned = |record: &Element| joins(record) && (std::ptr::eq(record, now) || !joins(now));
    let value = |record: &Element| {
        let element = record.get(key)?;
        Some(match key {
            "associated-rule-id" if is_planned(record) => match kind {
                RecordKind::Filter => "that of the port forward".to_owned(),
                _ => "a filter rule of its own".to_owned(),
            },
            "source" | "destination" => side_words(&Side::of_record(record, key)),
            _ => value_of(Some(element)),
        })
    };
    let (was, now): (Value, Value) = (value(was).into(), value(now).into());
    Difference { field, before: was, after: now }
}

/// Renders an element in a line that is not too long.
fn value_of(element: Option<&Element>) -> String {
    let text = match element {
        None => "unset".to_owned(),
        Some(Element::Text(text)) => text.clone(),
        Some(other) => other.canonical_json(),
    };
    if text.chars().count() <= LONGEST_VALUE {
        return text;
    }
    text.chars().take(LONGEST_VALUE).chain(['…']).collect()
}
