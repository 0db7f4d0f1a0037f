//! The loaded path: what pf does with a connection from outside to the service's port. Redirection first (the
//! first match wins), then the filter rules (the first `quick` match or else the last match wins).

use std::net::IpAddr;

use super::matching::{
    On, from_anywhere, includes_service, is_service, looks_at_device, port_included,
    sees_inbound_tcp,
};
use crate::domain::pf::rule::{Action, Rule};
use crate::domain::service::Service;
use crate::domain::warning::Warning;

mod block;
mod deciding;
mod elsewhere;
mod redirection;

pub use elsewhere::OtherRedirection;

/// What pf has loaded of the exposure.
#[derive(Debug, Default)]
pub struct Path<'a> {
    /// Redirections to the service on the outside device, in order.
    pub redirections: Vec<&'a Rule>,
    /// The first redirection that a connection meets is one of those.
    pub redirects: bool,
    /// The exposure's own pass rules; several where pfctl expands one.
    pub passes: Vec<&'a Rule>,
    /// The filter rule that decides about a connection from anywhere; `None` leaves it to pf, which passes.
    pub decides: Option<&'a Rule>,
    /// The port is redirected, and not to the service.
    pub elsewhere: Option<OtherRedirection<'a>>,
    pub blocks: Vec<&'a Rule>,
    pub findings: Vec<Warning>,
    pub device: Option<&'a str>,
    /// The port inside that the first redirection to the service leads to, where that is another one.
    pub inside_port: Option<u16>,
}

#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    pub service: &'a Service,
    /// The outside device, such as `vtnet0`, where the configuration could be read.
    pub device: Option<&'a str>,
    /// The first address of that device, where the configuration has it.
    pub outside: Option<IpAddr>,
    /// The port that connections have when the filter rules see them.
    pub inside_port: u16,
    /// The trackers of configured filter rules that are not the pair's.
    pub others: &'a [u32],
    pub tracker: Option<u32>,
    /// The pair's configured filter rule is for every source.
    pub is_for_anyone: bool,
}

impl<'a> Path<'a> {
    /// Follows a connection through the loaded rules.
    pub fn find(filter: &'a [Rule], nat: &'a [Rule], query: Query<'a>) -> Self {
        let mut path = Self::default();
        let device = path.find_redirections(nat, query);
        let first = path.redirections.first();
        path.inside_port = first
            .and_then(|rule| super::paths::inside_port(rule, query.service.port))
            .filter(|port| *port != query.service.port);
        let query =
            Query { device, inside_port: path.inside_port.unwrap_or(query.inside_port), ..query };
        path.find_passes(filter, query);
        let own = path.passes.first().and_then(|rule| rule.interface.as_ref());
        let device = device.or(own.map(|interface| interface.name.as_str()));
        let query = Query { device, ..query };
        path.device = device;
        path.find_deciding(filter, query);
        path.find_blocks(filter, query);
        if path.redirections.is_empty() {
            path.elsewhere = OtherRedirection::find(filter, nat, query);
        }
        path
    }

    /// Returns whether a connection from anywhere is let in: by the deciding rule, or because there is none.
    pub fn lets_in(&self) -> bool {
        self.decides.is_none_or(|rule| rule.action == Action::Pass)
    }

    pub fn decides_itself(&self) -> bool {
        self.decides.is_some_and(|rule| self.is_own(rule))
    }

    fn is_own(&self, rule: &Rule) -> bool {
        self.passes.iter().any(|own| std::ptr::eq(*own, rule))
    }

    /// Returns whether the redirection lets the connection in without asking the filter rules (`rdr pass`).
    pub fn redirection_passes(&self) -> bool {
        // Those behind one for everybody are never met.
        let general = self.redirections.iter().position(|rule| from_anywhere(rule));
        let met = general.map_or(self.redirections.len(), |place| place + 1);
        self.redirections.iter().take(met).any(|rule| rule.action == Action::Rdr { pass: true })
    }

    fn say(&mut self, code: &'static str, message: String) {
        self.findings.push(Warning::new(code, message));
    }

    fn find_passes(&mut self, filter: &'a [Rule], query: Query<'a>) {
        let service = query.service;
        let shaped: Vec<&Rule> = filter
            .iter()
            .filter(|rule| {
                rule.action == Action::Pass
                    && looks_at(rule, query)
                    && is_service(&rule.to, service)
                    && !rule.ridentifier.is_some_and(|id| query.others.contains(&id))
            })
            .collect();
        let wanted = query.tracker.or_else(|| shaped.first().and_then(|rule| rule.ridentifier));
        self.passes = match wanted {
            Some(id) => shaped.into_iter().filter(|rule| rule.ridentifier == Some(id)).collect(),
            // Neither the configuration nor pf knows a tracker (very old configurations).
            None => shaped,
        };
        // A rule for some sources is not the pair's where that is for all, whatever tracker they share.
        if query.is_for_anyone && self.passes.iter().any(|rule| from_anywhere(rule)) {
            self.passes.retain(|rule| from_anywhere(rule));
        }
        if let Some(id) = wanted {
            // One that is for more than the service is its own, unless another is for the service alone.
            let is_about = |rule: &Rule| {
                is_service(&rule.to, service)
                    || (self.passes.is_empty() && includes_service(&rule.to, service))
            };
            let shares = |rule: &Rule| rule.ridentifier == Some(id) && !is_about(rule);
            if filter.iter().any(shares) {
                self.say("tracker-shared", format!("Loaded rules that are not about the service carry its ridentifier {id} too."));
            }
        }
    }

    /// Names rules of interface groups: whether the outside device is a member cannot be seen from the rules.
    fn look_at_groups(&mut self, filter: &[Rule], query: Query<'_>) {
        let passes = |rule: &&Rule| {
            rule.action == Action::Pass
                && sees_inbound_tcp(rule, query.service)
                && looks_at_device(rule, query.device) == On::Group
                && port_included(rule.to.port.as_deref(), query.inside_port)
                && includes_service(&rule.to, query.service)
        };
        if let Some(rule) = filter.iter().find(passes) {
            let what = "A rule of an interface group lets the service's port through, on the outside too if that is a member";
            self.say("group-pass", rule.rule_sentences(what));
        }
    }
}

/// Whether a filter rule looks at inbound TCP to the service's port on the outside device.
fn looks_at(rule: &Rule, query: Query<'_>) -> bool {
    sees_inbound_tcp(rule, query.service)
        // What is printed inside an anchor's braces belongs to the anchor, which has conditions of its own.
        && rule.depth == 0
        && looks_at_device(rule, query.device) == On::Device
        && port_included(rule.to.port.as_deref(), query.inside_port)
}

/// Renders whom a rule is for: `! <friends>`, `203.0.113.7`, `any port = 53`.
fn printed_source(rule: &Rule) -> String {
    super::paths::from_text(&rule.from)
}
