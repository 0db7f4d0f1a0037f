//! Where a rule that went comes back: beside what it stood beside. Its index says nothing once others have added or removed
//! rules above it, and pf takes the first rule that fits. The agent's `kmsctl_place_beside` finds it alike.

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

/// Returns where a rule comes back: before the one below it, where that and the one above are there, once each and in their order,
/// so that what came between them is not overruled; behind all, where it stood alone; else behind what is left of them, and not
/// before its index, as a rule that lets in comes rather too late than before one that keeps out.
pub fn find_place(rules: &[Element], placed: &Placed) -> usize {
    let stood_alone = placed.beside.as_ref().is_some_and(Vec::is_empty);
    let index = usize::try_from(placed.index).ok().filter(|_| !stood_alone);
    let index = index.unwrap_or(usize::MAX).min(rules.len());
    let beside = placed.beside.iter().flatten();
    let found = beside.filter_map(|neighbour| {
        let mut places =
            rules.iter().enumerate().filter(|(_, rule)| rule.has_part(&neighbour.record));
        let (place, _) = places.next()?;
        places.next().is_none().then_some(place + usize::from(neighbour.behind))
    });
    match found.collect::<Vec<_>>()[..] {
        [above, below] if above <= below => below,
        ref found => found.iter().copied().fold(index, usize::max),
    }
}
