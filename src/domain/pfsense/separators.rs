//! Rules that come and go move the coloured bars of their list: `{sepN: {row: ["frK"], …}}`, where K counts the rules
//! above, among the port forwards or within an interface. As pfSense's `shift_separators()` does it; where a rule comes back
//! and the bars were not moved meanwhile, they are what they were.

use super::change::Element;
use super::config::Sections;

/// Where a rule's bars are, and how many rules of that place stand above it.
struct RulePlace {
    /// The interface; none for port forwards, whose bars are one map.
    key: Option<String>,
    above: usize,
}

/// Takes a rule out of `nat/rule` or `filter/rule`.
pub fn remove_rule(sections: &mut Sections, section: &str, index: usize) {
    let Some(rule) = sections.list(section, "rule").get(index).cloned() else {
        return;
    };
    let place = place_of(sections, section, &rule, index);
    let moved = shift_separators(&separators_of(sections, section), &place, -1);
    set_separators(sections, section, moved);
    sections.edit_list(section, "rule", |rules| drop(rules.remove(index)));
}

/// Puts a rule into a list, and returns where it stands. Bars go back to where they were `before` if they were not moved
/// since the rule went; else they make room.
pub fn insert_rule(
    sections: &mut Sections,
    section: &str,
    index: usize,
    rule: Element,
    before: &Element,
) -> usize {
    let index = index.min(sections.list(section, "rule").len());
    let place = place_of(sections, section, &rule, index);
    let present = separators_of(sections, section);
    let untouched =
        shift_separators(before, &place, -1).canonical_json() == present.canonical_json();
    let moved = if untouched { before.clone() } else { shift_separators(&present, &place, 1) };
    set_separators(sections, section, moved);
    sections.edit_list(section, "rule", |rules| rules.insert(index, rule));
    index
}

pub fn separators_of(sections: &Sections, section: &str) -> Element {
    let found = sections.section(section).get("separator");
    found.cloned().unwrap_or_default()
}

/// An empty map is left as it was: an empty and an absent element are different configurations.
fn set_separators(sections: &mut Sections, section: &str, separators: Element) {
    if separators_of(sections, section).canonical_json() != separators.canonical_json() {
        sections.set_child(section, "separator", separators);
    }
}

fn place_of(sections: &Sections, section: &str, rule: &Element, index: usize) -> RulePlace {
    let key = |rule: &Element| match (section, rule.has_child("floating")) {
        ("nat", _) => None,
        (_, true) => Some("floatingrules".to_owned()),
        (_, false) => Some(rule.child_text("interface").unwrap_or_default().to_lowercase()),
    };
    let own = key(rule);
    let rules = sections.list(section, "rule").iter().take(index);
    let above = rules.filter(|rule| key(rule) == own).count();
    RulePlace { key: own, above }
}

fn shift_separators(separators: &Element, place: &RulePlace, by: isize) -> Element {
    let Some(key) = &place.key else {
        return shift_map(separators, place.above, by);
    };
    let mut separators = separators.clone();
    if let Some(bars) = separators.get(key) {
        let moved = shift_map(bars, place.above, by);
        separators.set_child(key, moved);
    }
    separators
}

fn shift_map(bars: &Element, above: usize, by: isize) -> Element {
    let Element::Map(bars) = bars else {
        return bars.clone();
    };
    let moved = bars.iter().map(|(name, bar)| {
        let mut bar = bar.clone();
        let row = match bar.get("row") {
            Some(Element::List(rows)) => {
                let rows = rows.iter().map(|row| shift_row(row, above, by));
                Some(Element::List(rows.collect()))
            }
            Some(row @ Element::Text(_)) => Some(shift_row(row, above, by)),
            _ => None,
        };
        if let Some(row) = row {
            bar.set_child("row", row);
        }
        (name.clone(), bar)
    });
    Element::Map(moved.collect())
}

fn shift_row(row: &Element, above: usize, by: isize) -> Element {
    let number = match row {
        Element::Text(text) => text.strip_prefix("fr").and_then(|rest| rest.parse::<usize>().ok()),
        Element::Map(_) | Element::List(_) => None,
    };
    match number.filter(|number| *number > above) {
        Some(number) => Element::Text(format!("fr{}", number.saturating_add_signed(by))),
        None => row.clone(),
    }
}
