//! The filter rule that decides about a connection from outside, and the rules that let some sources in beside it.
//!
//! pf takes the first `quick` match, or else the last match; where nothing matches it passes (pf.conf(5)).

use super::super::matching::{Sources, Truth, endpoint_includes, from_anywhere, rule_sources};
use super::{Path, Query, looks_at};
use crate::domain::pf::rule::{Action, Rule};

/// Most rules of a kind that are named one by one.
const NAMED: usize = 3;

/// What the filter rules do with connections to the service.
#[derive(Debug, Default)]
pub(super) struct RuleVerdict<'a> {
    /// The rule that decides about everybody, or nearly everybody.
    pub decides: Option<&'a Rule>,
    /// Passes for some sources, or for what may be the service, that nothing overrides.
    pub some: Vec<&'a Rule>,
    /// A `quick` block of nearly everybody before the deciding rule.
    pub blocked: Option<&'a Rule>,
}

impl<'a> RuleVerdict<'a> {
    pub(super) fn find(filter: &'a [Rule], query: Query<'_>) -> Self {
        let mut verdict = Self::default();
        for rule in filter.iter().filter(|rule| looks_at(rule, query)) {
            let pass = match rule.action {
                Action::Pass => true,
                Action::Block => false,
                _ => continue,
            };
            match (endpoint_includes(&rule.to, query.service), rule_sources(rule)) {
                (Truth::No, _) | (_, Sources::None) => {}
                // A pass for all but some lets the outside in; a block of all but some still lets some in.
                (Truth::Yes, Sources::All) => verdict.decide(rule),
                (Truth::Yes, Sources::Most) if pass => verdict.decide(rule),
                (Truth::Yes, Sources::Most) if rule.quick => {
                    verdict.blocked = verdict.blocked.or(Some(rule));
                }
                _ if pass => verdict.some.push(rule),
                _ => {}
            }
            if rule.quick && verdict.decides.is_some_and(|last| std::ptr::eq(last, rule)) {
                break;
            }
        }
        verdict
    }

    fn decide(&mut self, rule: &'a Rule) {
        self.decides = Some(rule);
        self.some.retain(|pass| pass.quick);
    }
}

impl<'a> Path<'a> {
    pub(super) fn find_deciding(&mut self, filter: &'a [Rule], query: Query<'a>) {
        let RuleVerdict { decides, some, blocked } = RuleVerdict::find(filter, query);
        self.decides = decides;
        self.look_at_groups(filter, query);
        let (own, others): (Vec<&Rule>, Vec<&Rule>) =
            some.into_iter().partition(|rule| self.is_own(rule));
        // A rule of ours that is limited to some sources lets those in though it does not decide about all.
        if !self.lets_in()
            && let Some(limited) = self.passes.iter().copied().find(|rule| !from_anywhere(rule))
        {
            let from = super::printed_source(limited);
            self.say("source-limited", format!("The filter rule lets in only {from}."));
            self.decides = own.first().copied().or(self.decides);
        }
        if self.redirects && !self.redirection_passes() {
            self.look_at_other_passes(&others);
            if let Some(block) = blocked.filter(|_| self.lets_in()) {
                let what = "Another loaded rule keeps nearly everybody out first";
                self.say("earlier-block", block.rule_sentences(what));
            }
        }
        let shut = !self.passes.is_empty() && !self.lets_in();
        if let Some(block) = self.decides.filter(|_| shut) {
            let what = "The filter rule is loaded, but another rule blocks its traffic";
            self.say("shadowed", block.rule_sentences(what));
        }
    }

    /// Names the rules of others that let connections in: for everybody, for some, or perhaps.
    fn look_at_other_passes(&mut self, some: &[&Rule]) {
        if let Some(rule) = self.decides.filter(|_| self.lets_in() && !self.decides_itself()) {
            let what = match rule_sources(rule) {
                Sources::All => "Another loaded rule lets the service's port through",
                _ => "Another loaded rule lets nearly everybody through to the service's port",
            };
            self.say("other-pass", rule.rule_sentences(what));
        }
        for rule in some.iter().take(NAMED) {
            let what = "Another loaded rule lets some sources through to the service's port, or may, and the exposure's caps do not count them";
            self.say("earlier-pass", rule.rule_sentences(what));
        }
        let more = some.len().saturating_sub(NAMED);
        if more > 0 {
            self.say(
                "earlier-pass",
                format!(
                    "{more} more loaded rules may let some sources through to the service's port."
                ),
            );
        }
    }
}
