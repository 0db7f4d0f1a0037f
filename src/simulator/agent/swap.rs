//! Puts computed records in the place of those that were read, as the agent's `swap.php` does it: a record is found by its
//! content, as pfSense sorts its lists. What a record means is not known here.

use crate::domain::pfsense::change::{Element, Placed, Records, Separators, Swap};
use crate::simulator::configuration::Configuration;

const KINDS: [(&str, &str); 3] = [("nat", "rule"), ("filter", "rule"), ("aliases", "alias")];

fn placed_kinds(records: &Records) -> [Option<&Placed>; 3] {
    [&records.nat, &records.filter, &records.alias].map(Option::as_ref)
}

/// Returns the configuration with the records swapped; `None` where those before are not there, or twice.
pub fn swap_records(configuration: &Configuration, swap: &Swap) -> Option<Configuration> {
    let mut edited = configuration.clone();
    let pairs = placed_kinds(&swap.before).into_iter().zip(placed_kinds(&swap.after));
    for ((from, to), (section, tag)) in pairs.zip(KINDS) {
        if from == to {
            continue;
        }
        let found = match from {
            None => None,
            Some(from) => {
                match record_places(configuration.tree.list(section, tag), &from.record)[..] {
                    [place] => Some(place),
                    _ => return None,
                }
            }
        };
        edited.tree.edit_list(section, tag, |records| match (found, to) {
            (Some(place), None) => drop(records.remove(place)),
            (Some(place), Some(to)) => {
                if let Some(record) = records.get_mut(place) {
                    *record = to.record.clone();
                }
            }
            (None, Some(to)) => {
                let place = usize::try_from(to.index).unwrap_or(usize::MAX);
                records.insert(place.min(records.len()), to.record.clone());
            }
            (None, None) => {}
        });
    }
    let bars = [
        ("nat", &swap.before.separators.nat, &swap.after.separators.nat),
        ("filter", &swap.before.separators.filter, &swap.after.separators.filter),
    ];
    let present = list_separators(configuration);
    for ((section, from, to), now) in bars.into_iter().zip([&present.nat, &present.filter]) {
        // Bars that were moved meanwhile stay where they are.
        if from != to && now.canonical_json() == from.canonical_json() {
            edited.tree.set_child(section, "separator", to.clone());
        }
    }
    Some(edited)
}

fn record_places(list: &[Element], record: &Element) -> Vec<usize> {
    let wanted = record.canonical_json();
    let same = list.iter().enumerate();
    let same = same.filter(|(_, present)| present.canonical_json() == wanted);
    same.map(|(place, _)| place).collect()
}

fn list_separators(configuration: &Configuration) -> Separators {
    let of = |section| {
        let found = configuration.tree.section(section).get("separator");
        found.cloned().unwrap_or_default()
    };
    Separators { nat: of("nat"), filter: of("filter") }
}

/// Says whether a record that differs from this one is what another writer has made of it.
fn is_same_object(section: &str, record: &Element, other: &Element) -> bool {
    let same = |key: &str| {
        let text = record.child_text(key).unwrap_or_default();
        !text.is_empty() && other.child_text(key) == Some(text)
    };
    match section {
        "aliases" => same("name"),
        "filter" if same("tracker") => true,
        _ if record.child_text("associated-rule-id") == Some("pass") => {
            same("target") && record.get("destination") == other.get("destination")
        }
        _ => same("associated-rule-id"),
    }
}

/// Returns what stands in the place of records that are swapped: those after, those before, or what others have made of
/// them.
pub fn present_records(configuration: &Configuration, swap: &Swap) -> Records {
    let pairs = placed_kinds(&swap.after).into_iter().zip(placed_kinds(&swap.before));
    let mut found = pairs.zip(KINDS).map(|((after, before), (section, tag))| {
        let list = configuration.tree.list(section, tag);
        let known = [after, before].into_iter().flatten();
        let exact =
            known.clone().find_map(|placed| record_places(list, &placed.record).first().copied());
        let place = exact.or_else(|| {
            list.iter().position(|record| {
                known.clone().any(|placed| is_same_object(section, record, &placed.record))
            })
        })?;
        Some(Placed {
            index: u32::try_from(place).unwrap_or(u32::MAX),
            record: list.get(place)?.clone(),
        })
    });
    Records {
        nat: found.next().flatten(),
        filter: found.next().flatten(),
        alias: found.next().flatten(),
        separators: list_separators(configuration),
    }
}
