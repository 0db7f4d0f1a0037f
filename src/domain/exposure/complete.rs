//! Is this the whole ruleset? A list that was cut short says nothing about what it lacks, so it must not be judged.
//!
//! The marks are what pfSense's `filter.inc` (2.4 to 2.7.2) writes on every box, with any configuration. At the
//! head: anchors for OpenVPN and IPsec, and rules whose trackers count from 1000000100 on (older versions: the label
//! of the default deny rule). At the tail: `anchor "tftp-proxy/*"`, which stands behind every rule of a user and of
//! a VPN; only rules of miniupnpd can follow. So a cut head has the first marks and lacks the last one, with or
//! without the rule that blocks the overload table. pfctl's numbers (`@N`) tell of gaps in between.

use crate::domain::pf::rule::{Action, Rule};

/// How much of a ruleset a list of filter rules is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completeness {
    /// It has pfSense's marks at both ends, and no gap.
    Complete,
    /// It has no rule at all, as after `pfctl -F rules`. With pf enabled never normal on pfSense.
    Empty,
    /// It has none of pfSense's marks: another program's ruleset, whole as far as can be seen.
    Foreign,
    /// It begins as pfSense's, and its end is missing.
    Cut,
    /// Numbers are missing in between: rules were lost, or not understood.
    Gap,
}

impl Completeness {
    /// Looks for the marks in the rules of `pfctl -vvPsr` (scrub rules included), in order.
    pub fn from_rules(filter: &[Rule]) -> Self {
        let main = || filter.iter().filter(|rule| rule.depth == 0);
        let rules = || main().filter(|rule| !is_scrub(rule));
        if filter.is_empty() {
            Self::Empty
        } else if !has_all_numbers(main(), is_scrub)
            || !has_all_numbers(main(), |rule| !is_scrub(rule) && !rule.is_unread())
        {
            Self::Gap
        } else if rules().any(|rule| is_anchor(rule, &["tftp-proxy/*"])) {
            // The tail without the head: rules were taken out by hand; what is loaded is all here.
            Self::Complete
        } else if main().any(is_pfsense) {
            Self::Cut
        } else {
            Self::Foreign
        }
    }
}

/// Returns whether nothing shows that the list of translation rules was cut short: pfSense writes
/// `rdr-anchor "tftp-proxy/*"` behind every rule for outbound NAT, pfctl numbers each kind from 0 on, and prints counters
/// below every rule. A cut between two port forwards shows nothing of all that; pfctl's stderr does.
pub fn looks_complete_translation(nat: &[Rule]) -> bool {
    let main = || nat.iter().filter(|rule| rule.depth == 0);
    let kinds = ["nat", "rdr", "binat"];
    let numbered =
        kinds.iter().all(|kind| has_all_numbers(main(), |rule| translation_kind(rule) == *kind));
    let counted = |rule: &Rule| rule.counters.is_some();
    let first = "no nat proto carp";
    let begun = main()
        .any(|rule| is_anchor(rule, &["natearly/*", "natrules/*"]) || rule.text.starts_with(first));
    let ended = main().any(|rule| is_anchor(rule, &["tftp-proxy/*"]));
    let half_printed = nat.iter().any(counted) && !nat.last().is_some_and(counted);
    numbered && (ended || !begun) && !half_printed
}

/// The kind of a translation rule, by which pfctl numbers it.
pub(super) fn translation_kind(rule: &Rule) -> &str {
    match &rule.action {
        Action::Nat => "nat",
        Action::Rdr { .. } => "rdr",
        Action::Binat => "binat",
        Action::No(kind) => kind,
        Action::Anchor { kind, .. } => kind.strip_suffix("-anchor").unwrap_or(kind),
        _ => "",
    }
}

/// Returns whether nothing shows that rules are missing from the list, so that it can be judged.
///
/// An empty or foreign list is whole in itself, and is judged with findings of its own.
pub fn looks_complete(filter: &[Rule]) -> bool {
    !matches!(Completeness::from_rules(filter), Completeness::Cut | Completeness::Gap)
}

/// Whether the rules of a kind carry the numbers 0, 1, 2, …; pfctl without `-vv` prints none. A rule that cannot be read is
/// of the kind that lacks its number.
fn has_all_numbers<'a>(
    rules: impl Iterator<Item = &'a Rule>,
    is_of_kind: impl Fn(&Rule) -> bool,
) -> bool {
    let (mut next, mut is_numbered, mut is_whole) = (0, false, true);
    for rule in rules {
        let fills = || rule.is_unread() && rule.number == Some(next);
        if is_of_kind(rule) || fills() {
            is_numbered |= rule.number.is_some();
            is_whole &= rule.number == Some(next);
            next += 1;
        }
    }
    is_whole || !is_numbered
}

fn is_scrub(rule: &Rule) -> bool {
    match &rule.action {
        Action::Scrub => true,
        Action::No(kind) => kind == "scrub",
        _ => false,
    }
}

fn is_anchor(rule: &Rule, names: &[&str]) -> bool {
    matches!(&rule.action, Action::Anchor { name, .. } if names.contains(&name.as_str()))
}

/// Whether a rule is one that pfSense writes by itself near the head. Scrub rules come before all others.
fn is_pfsense(rule: &Rule) -> bool {
    let generated = |id: u32| (1_000_000_100..1_001_000_000).contains(&id);
    is_scrub(rule)
        || is_anchor(rule, &["openvpn/*", "ipsec/*", "relayd/*", "userrules/*"])
        || rule.tracker().is_some_and(generated)
        || rule.labels.iter().any(|label| label.starts_with("Default deny rule"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::exposure::fixtures::printed;
    use crate::domain::pf::rule::parse_pf_rules;

    fn real() -> Vec<Rule> {
        parse_pf_rules(include_bytes!("../../../tests/fixtures/pfsense-2.7.2/vvPsr.txt")).value
    }

    #[test]
    fn every_cut_of_a_real_ruleset_is_seen() {
        let rules = real();
        assert_eq!(Completeness::from_rules(&rules), Completeness::Complete);
        for kept in 1..rules.len() {
            let head = &rules[..kept];
            assert_eq!(Completeness::from_rules(head), Completeness::Cut, "{kept} rules");
            assert!(!looks_complete(head));
        }
        // A missing last scrub rule leaves no gap, and decides nothing.
        let scrub = rules.iter().filter(|rule| is_scrub(rule)).count();
        for gone in (0..rules.len() - 1).filter(|gone| gone + 1 != scrub) {
            let mut rest = rules.clone();
            rest.remove(gone);
            assert!(!looks_complete(&rest), "without rule {gone}");
        }
    }

    #[test]
    fn a_cut_list_of_translation_rules_is_seen() {
        let text = include_str!("../../../tests/fixtures/pfsense-2.7.2/vvPsn.txt");
        let judge = |text: &str| looks_complete_translation(&parse_pf_rules(text.as_bytes()).value);
        assert!(judge(text) && judge(""));
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        let ends = lines.iter().position(|line| line.contains("tftp-proxy")).unwrap();
        for kept in 1..lines.len() {
            // Where a rule begins right behind the cut, and the last mark stands before it, nothing can be seen.
            let unseen = kept > ends && !lines[kept - 1].starts_with('@');
            assert_eq!(judge(&lines[..kept].concat()), unseen, "{kept} lines");
        }
        let mut rules = parse_pf_rules(text.as_bytes()).value;
        rules.remove(3);
        assert!(!looks_complete_translation(&rules));
    }

    #[test]
    fn a_box_without_the_tables_block_rule_is_complete() {
        let mut rules = real();
        rules.retain(|rule| rule.ridentifier != Some(1_000_000_400));
        for (rule, number) in rules.iter_mut().filter(|rule| rule.action != Action::Scrub).zip(0..)
        {
            rule.number = Some(number);
        }
        assert_eq!(Completeness::from_rules(&rules), Completeness::Complete);
    }

    #[test]
    fn nothing_and_another_ruleset_are_not_cut() {
        assert_eq!(Completeness::from_rules(&[]), Completeness::Empty);
        let foreign = [printed("block drop in inet6 all"), printed("pass out all")];
        assert_eq!(Completeness::from_rules(&foreign), Completeness::Foreign);
        assert!(looks_complete(&[]) && looks_complete(&foreign));
    }

    #[test]
    fn rules_without_numbers_have_no_gap() {
        let text = include_bytes!("../../../tests/fixtures/pfsense-2.7.2/sr-P.txt");
        assert_eq!(Completeness::from_rules(&parse_pf_rules(text).value), Completeness::Complete);
    }
}
