//! Puts computed records in the place of those that were read, as the agent's `swap.php` does it: a record is found by its
//! content, as pfSense sorts its lists. What a record means is not known here.

use crate::domain::pfsense::beside::find_place;
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
        let list = configuration.tree.list(section, tag);
        let place = match (from, to) {
            (None, to) => find_place(list, to?),
            (Some(from), _) => match record_places(list, &from.record)[..] {
                [place] => place,
                _ => return None,
            },
        };
        edited.tree.edit_list(section, tag, |records| {
            let going = usize::from(from.is_some());
            records.splice(place..place + going, to.map(|to| to.record.clone()));
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

/// Returns what stands in the place of records that are swapped: those after, those before, or what others have made of
/// them.
pub fn present_records(configuration: &Configuration, swap: &Swap) -> Records {
    let pairs = placed_kinds(&swap.after).into_iter().zip(placed_kinds(&swap.before));
    let names = [&swap.names.nat, &swap.names.filter, &swap.names.alias];
    let mut found =
        pairs.zip(KINDS).zip(names).map(|(((after, before), (section, tag)), names)| {
            let list = configuration.tree.list(section, tag);
            let known = [after, before].into_iter().flatten();
            let exact = known
                .clone()
                .find_map(|placed| record_places(list, &placed.record).first().copied());
            let place = exact.or_else(|| {
                list.iter().position(|record| names.iter().any(|name| record.has_part(name)))
            })?;
            Some(Placed {
                index: u32::try_from(place).unwrap_or(u32::MAX),
                record: list.get(place)?.clone(),
                beside: before.and_then(|before| before.beside.clone()),
            })
        });
    Records {
        nat: found.next().flatten(),
        filter: found.next().flatten(),
        alias: found.next().flatten(),
        separators: list_separators(configuration),
    }
}
