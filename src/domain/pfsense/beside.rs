//! Where a rule that went comes back: beside what it stood beside. Its index says nothing once others have added or removed
//! rules above it, and pf takes the first rule that fits. The agent's `kmsctl_places_beside` finds it alike.

use super::change::{Neighbour, Placed};
use super::record::Element;

/// What an administrator, or a save, changes of a rule that stays the same rule.
const PASSING: [&str; 4] = ["created", "descr", "disabled", "updated"];

/// Returns what stands beside a rule, the one above first.
pub fn find_neighbours(section: &str, rules: &[Element], place: usize) -> Vec<Neighbour> {
    let above = place.checked_sub(1).and_then(|above| rules.get(above));
    let sides = [(above, true), (rules.get(place + 1), false)];
    let named = |(rule, behind)| Some(Neighbour { record: name_of(section, rule?), behind });
    sides.into_iter().filter_map(named).collect()
}

/// Returns by what a rule is known again: its tracker or its association, or else what it is for.
fn name_of(section: &str, rule: &Element) -> Element {
    let keys: &[&str] =
        if section == "nat" { &["associated-rule-id"] } else { &["interface", "tracker"] };
    let texts = keys.iter().map(|key| (*key, rule.child_text(key).unwrap_or_default()));
    if texts.clone().all(|(_, text)| !matches!(text, "" | "pass")) {
        return Element::of_texts(texts);
    }
    let mut name = rule.clone();
    for key in PASSING {
        name.remove(key);
    }
    name
}

/// Returns where a rule comes back; `None` where what it stood beside is gone, there twice, or in another order. Behind what
/// came between the two, and behind all where it stood alone: what others added meanwhile is not overruled.
pub fn find_place(rules: &[Element], placed: &Placed) -> Option<usize> {
    let Some(beside) = &placed.beside else {
        let index = usize::try_from(placed.index).unwrap_or(usize::MAX);
        return Some(index.min(rules.len()));
    };
    if beside.is_empty() || rules.is_empty() {
        return Some(rules.len());
    }
    let found = beside.iter().filter_map(|neighbour| {
        let mut places =
            rules.iter().enumerate().filter(|(_, rule)| rule.has_part(&neighbour.record));
        let (place, _) = places.next()?;
        places.next().is_none().then_some(place + usize::from(neighbour.behind))
    });
    let found: Vec<usize> = found.collect();
    let (first, last) = (*found.first()?, *found.last()?);
    (first <= last).then_some(last)
}
