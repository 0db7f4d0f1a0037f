//! UPnP's anchor: pf's main lists only name it, and its rules are asked for themselves. Read, they stand in the lists as
//! pfctl prints rules in braces: behind the anchor, one deeper. Not for any other anchor: those stay unread, or are pfSense's.
//!
//! pf walks an anchor's rules where the anchor stands: a redirection in it counts before what follows, and a `quick` rule in
//! it decides at once. So its rules can be taken for rules of the list (FreeBSD's `pf_step_into_anchor`).

use super::complete::{looks_complete, looks_complete_translation, translation_kind};
use crate::domain::pf::rule::{Action, Rule};

/// The anchor's name on pfSense; miniupnpd makes no other below it.
pub const UPNP_ANCHOR: &str = "miniupnpd";

/// Says whether a rule is the anchor as pfSense writes it, for all packets; with a condition its rules are not taken apart.
pub fn is_upnp_anchor(rule: &Rule) -> bool {
    let Action::Anchor { kind, name } = &rule.action else {
        return false;
    };
    rule.depth == 0 && name == UPNP_ANCHOR && rule.text == format!("{kind} \"{name}\" all")
}

/// Puts the anchor's rules (of `-a miniupnpd -sn`, or `-sr`) behind the anchor in the main list of that kind. A list that
/// has gaps, or names further anchors, is none: the anchor stays as one that was not read.
pub fn enter_upnp_anchor(list: &mut Vec<Rule>, inside: &[Rule]) {
    let nests = |rule: &Rule| matches!(rule.action, Action::Anchor { .. }) || rule.depth > 0;
    let translates = |rule: &Rule| !translation_kind(rule).is_empty();
    let is_whole = looks_complete_translation(inside)
        && (looks_complete(inside) || inside.iter().any(translates));
    if inside.iter().any(nests) || !is_whole {
        return;
    }
    for mut rule in std::mem::take(list) {
        let is_anchor = is_upnp_anchor(&rule);
        rule.block |= is_anchor;
        // Filter rules have no kind of their own.
        let kind = translation_kind(&rule).to_owned();
        let kind = kind.strip_prefix("anchor").unwrap_or(&kind);
        list.push(rule);
        if is_anchor {
            let is_here = |rule: &&Rule| rule.is_unread() || translation_kind(rule) == kind;
            let here = inside.iter().filter(is_here);
            list.extend(here.map(|rule| Rule {
                depth: 1,
                // States refer to the rules of the main list by these numbers.
                number: None,
                ..rule.clone()
            }));
        }
    }
}
