//! Rules that come and go move the coloured bars of their list: `{sepN: {row: ["frK"], …}}`, where K counts the
//! rules above, among the port forwards or within an interface. As pfSense's `shift_separators()` does it, and as
//! the agent puts them back when nobody has moved them since.

use crate::domain::change::Element;
use crate::simulator::configuration::Configuration;

/// Where a rule's bars are, and how many rules of that place stand above it.
struct Place {
    /// The interface; none for port forwards, whose bars are one map.
    key: Option<String>,
    above: usize,
}

/// Takes a rule out of `nat/rule` or `filter/rule`.
pub fn remove_rule(configuration: &mut Configuration, section: &str, index: usize) {
    let Some(rule) = configuration.list(section, "rule").get(index).cloned() else {
        return;
    };
    let place = place(configuration, section, &rule, index);
    let bars = shifted(&bars(configuration, section), &place, -1);
    set_bars(configuration, section, bars);
    configuration.edit(section, "rule", |rules| drop(rules.remove(index)));
}

/// Puts a rule into a list. Bars go back to where they were `before` if nobody has moved them since the rule went;
/// else they make room.
pub fn insert_rule(
    configuration: &mut Configuration,
    section: &str,
    index: usize,
    rule: Element,
    before: &Element,
) {
    let index = index.min(configuration.list(section, "rule").len());
    let place = place(configuration, section, &rule, index);
    let present = bars(configuration, section);
    let untouched = shifted(before, &place, -1).canonical() == present.canonical();
    let moved = if untouched {
        before.clone()
    } else {
        shifted(&present, &place, 1)
    };
    set_bars(configuration, section, moved);
    configuration.edit(section, "rule", |rules| rules.insert(index, rule));
}

/// Returns the bars of a section.
pub fn bars(configuration: &Configuration, section: &str) -> Element {
    let found = configuration.section(section).get("separator");
    found.cloned().unwrap_or_default()
}

fn set_bars(configuration: &mut Configuration, section: &str, bars: Element) {
    if self::bars(configuration, section).canonical() != bars.canonical() {
        configuration.set(section, "separator", bars);
    }
}

fn place(configuration: &Configuration, section: &str, rule: &Element, index: usize) -> Place {
    let key = |rule: &Element| match (section, rule.has("floating")) {
        ("nat", _) => None,
        (_, true) => Some("floatingrules".to_owned()),
        (_, false) => Some(rule.text("interface").unwrap_or_default().to_lowercase()),
    };
    let own = key(rule);
    let rules = configuration.list(section, "rule").iter().take(index);
    let above = rules.filter(|rule| key(rule) == own).count();
    Place { key: own, above }
}

fn shifted(separators: &Element, place: &Place, by: isize) -> Element {
    let Some(key) = &place.key else {
        return moved_bars(separators, place.above, by);
    };
    let mut separators = separators.clone();
    if let Some(bars) = separators.get(key) {
        let moved = moved_bars(bars, place.above, by);
        separators.set(key, moved);
    }
    separators
}

fn moved_bars(bars: &Element, above: usize, by: isize) -> Element {
    let Element::Map(bars) = bars else {
        return bars.clone();
    };
    let moved = bars.iter().map(|(name, bar)| {
        let mut bar = bar.clone();
        if let Some(Element::List(rows)) = bar.get("row") {
            let rows = rows.iter().map(|row| moved_row(row, above, by)).collect();
            bar.set("row", Element::List(rows));
        }
        (name.clone(), bar)
    });
    Element::Map(moved.collect())
}

fn moved_row(row: &Element, above: usize, by: isize) -> Element {
    let number = match row {
        Element::Text(text) => text
            .strip_prefix("fr")
            .and_then(|rest| rest.parse::<usize>().ok()),
        Element::Map(_) | Element::List(_) => None,
    };
    match number.filter(|number| *number > above) {
        Some(number) => Element::Text(format!("fr{}", number.saturating_add_signed(by))),
        None => row.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::{bars, insert_rule, remove_rule};
    use crate::domain::change::Element;
    use crate::simulator::configuration::Configuration;
    use crate::simulator::scenario::Scenario;

    fn rows(configuration: &Configuration) -> Vec<String> {
        let of = |bars: &Element| match bars {
            Element::Map(bars) => bars
                .iter()
                .map(|(_, bar)| serde_json::to_string(bar.get("row").unwrap()).unwrap())
                .collect(),
            _ => Vec::new(),
        };
        let mut rows: Vec<String> = of(&bars(configuration, "nat"));
        rows.extend(of(bars(configuration, "filter").get("wan").unwrap()));
        rows
    }

    #[test]
    fn a_rule_that_goes_and_comes_back_leaves_no_trace() {
        let before = Configuration::shipped(Scenario::Open);
        assert_eq!(
            rows(&before),
            [r#"["fr0"]"#, r#"["fr3"]"#, r#"["fr3"]"#, r#"["fr4"]"#]
        );
        let mut changed = before.clone();
        let (nat, filter) = (
            before.list("nat", "rule")[1].clone(),
            before.list("filter", "rule")[3].clone(),
        );
        remove_rule(&mut changed, "nat", 1);
        remove_rule(&mut changed, "filter", 3);
        assert_eq!(
            rows(&changed),
            [r#"["fr0"]"#, r#"["fr2"]"#, r#"["fr3"]"#, r#"["fr3"]"#]
        );
        insert_rule(&mut changed, "filter", 3, filter, &bars(&before, "filter"));
        insert_rule(&mut changed, "nat", 1, nat, &bars(&before, "nat"));
        assert_eq!(changed, before);
    }

    #[test]
    fn bars_that_somebody_has_moved_since_make_room_instead() {
        let before = Configuration::shipped(Scenario::Open);
        let mut changed = before.clone();
        let nat = before.list("nat", "rule")[1].clone();
        remove_rule(&mut changed, "nat", 1);
        remove_rule(&mut changed, "nat", 0);
        insert_rule(&mut changed, "nat", 0, nat, &bars(&before, "nat"));
        assert_eq!(rows(&changed)[..2], [r#"["fr0"]"#, r#"["fr2"]"#]);
    }
}
