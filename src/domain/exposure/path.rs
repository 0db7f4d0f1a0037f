//! The loaded path: what pf does with a connection from outside to the service's port. Redirection first (the
//! first match wins), then the filter rules (the first `quick` match or else the last match wins).

use super::matching::{
    On, from_anywhere, includes_service, is_service, on, port_included, sees_inbound_tcp,
    table_name, target_is_service,
};
use crate::domain::pf::rule::{Action, Rule};
use crate::domain::service::Service;
use crate::domain::warning::Warning;

/// What pf has loaded of the exposure.
#[derive(Debug, Default)]
pub struct Path<'a> {
    /// Redirections to the service on the outside device, in order.
    pub redirections: Vec<&'a Rule>,
    /// The first redirection that a connection meets is one of those.
    pub redirects: bool,
    /// The exposure's own pass rules; several where pfctl expands one.
    pub passes: Vec<&'a Rule>,
    /// The filter rule that decides about a connection from anywhere.
    pub decides: Option<&'a Rule>,
    /// The rules that block the overload table.
    pub blocks: Vec<&'a Rule>,
    /// What is odd about them.
    pub findings: Vec<Warning>,
}

/// What to look for.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// The service.
    pub service: &'a Service,
    /// The outside device, such as `vtnet0`, where the configuration could be read.
    pub device: Option<&'a str>,
    /// The tracker of the configured filter rule.
    pub tracker: Option<&'a str>,
}

impl<'a> Path<'a> {
    /// Follows a connection through the loaded rules.
    pub fn find(filter: &'a [Rule], nat: &'a [Rule], query: Query<'a>) -> Self {
        let mut path = Self::default();
        let device = path.find_redirections(nat, query);
        path.find_passes(filter, Query { device, ..query });
        let own = path.passes.first().and_then(|rule| rule.interface.as_ref());
        let device = device.or(own.map(|interface| interface.name.as_str()));
        let query = Query { device, ..query };
        path.find_deciding(filter, query);
        path.find_blocks(filter, query.service);
        path
    }

    /// Returns whether the deciding rule lets the connection in.
    pub fn lets_in(&self) -> bool {
        self.decides.is_some_and(|rule| rule.action == Action::Pass)
    }

    /// Returns whether the deciding rule is one of the exposure's own.
    pub fn decides_itself(&self) -> bool {
        self.decides
            .is_some_and(|rule| self.passes.iter().any(|own| std::ptr::eq(*own, rule)))
    }

    /// Returns whether the redirection lets the connection in without asking the filter rules (`rdr pass`).
    pub fn redirection_passes(&self) -> bool {
        self.redirections
            .first()
            .is_some_and(|rule| rule.action == Action::Rdr { pass: true })
    }

    fn say(&mut self, code: &'static str, message: String) {
        self.findings.push(Warning::new(code, message));
    }

    /// Returns the outside device: the one asked for, or that of the first redirection to the service.
    fn find_redirections(&mut self, nat: &'a [Rule], query: Query<'a>) -> Option<&'a str> {
        let service = query.service;
        let candidates: Vec<&Rule> = nat
            .iter()
            .filter(|rule| redirects_port(rule, service))
            .collect();
        let to_service = |rule: &Rule| {
            matches!(rule.action, Action::Rdr { .. })
                && target_is_service(rule.target.as_deref(), service)
        };
        // pfSense writes the outside redirection before those of reflection.
        let first = candidates.iter().find(|rule| to_service(rule));
        let device = query.device.or(first
            .and_then(|rule| rule.interface.as_ref())
            .map(|interface| interface.name.as_str()));
        let here: Vec<&Rule> = candidates
            .iter()
            .copied()
            .filter(|rule| on(rule, device) == On::Device)
            .collect();
        self.redirections = here
            .iter()
            .copied()
            .filter(|rule| to_service(rule))
            .collect();
        let own = self.redirections.first().copied();
        // An exception for some sources, or a forward of another outside address, takes nothing away.
        let takes = |rule: &&&Rule| {
            let same = own.is_none_or(|own| rule.to == own.to || rule.to.host == "any");
            !to_service(rule) && same && from_anywhere(rule)
        };
        let before = here
            .iter()
            .take_while(|rule| !own.is_some_and(|own| std::ptr::eq(own, **rule)));
        let thief = before.clone().find(takes).copied();
        self.redirects = own.is_some() && thief.is_none();
        let elsewhere = candidates
            .iter()
            .filter(|rule| to_service(rule) && on(rule, device) != On::Device)
            .count();
        if elsewhere > 0 {
            self.say(
                "reflection",
                format!("{elsewhere} more redirections to the service are loaded on other interfaces (NAT reflection); the caps do not apply there."),
            );
        }
        if let Some(other) = thief {
            let (text, port) = (&other.text, service.port);
            let code = if matches!(other.action, Action::Rdr { .. }) {
                "other-target"
            } else {
                "no-rdr-exception"
            };
            self.say(
                code,
                format!("Connections to port {port} meet another loaded rule first: {text}."),
            );
        }
        device
    }

    fn find_passes(&mut self, filter: &'a [Rule], query: Query<'a>) {
        let service = query.service;
        let shaped: Vec<&Rule> = filter
            .iter()
            .filter(|rule| {
                rule.action == Action::Pass
                    && looks_at(rule, query)
                    && is_service(&rule.to, service)
            })
            .collect();
        let wanted = query.tracker.map_or_else(
            || shaped.first().and_then(|rule| rule.ridentifier),
            |tracker| tracker.parse::<u32>().ok(),
        );
        self.passes = match (wanted, query.tracker) {
            (Some(id), _) => shaped
                .into_iter()
                .filter(|rule| rule.ridentifier == Some(id))
                .collect(),
            // Neither the configuration nor pf knows a tracker (very old configurations).
            (None, None) => shaped,
            (None, Some(_)) => Vec::new(),
        };
        if let Some(id) = wanted {
            let shares =
                |rule: &Rule| rule.ridentifier == Some(id) && !is_service(&rule.to, service);
            if filter.iter().any(shares) {
                self.say("tracker-shared", format!("Loaded rules that are not about the service carry its ridentifier {id} too."));
            }
        }
    }

    fn find_deciding(&mut self, filter: &'a [Rule], query: Query<'a>) {
        for rule in filter {
            let about = looks_at(rule, query) && includes_service(&rule.to, query.service);
            let verdict = matches!(rule.action, Action::Pass | Action::Block);
            if about && verdict && from_anywhere(rule) {
                self.decides = Some(rule);
                if rule.quick {
                    break;
                }
            }
        }
        self.look_at_groups(filter, query);
        // A rule of ours that is limited to some sources lets those in though it does not decide about all.
        if !self.lets_in()
            && let Some(own) = self
                .passes
                .iter()
                .copied()
                .find(|rule| !from_anywhere(rule))
        {
            let from = &own.from.host;
            self.say(
                "source-limited",
                format!(
                    "The filter rule lets in only {}{from}.",
                    if own.from.negated { "! " } else { "" }
                ),
            );
            if self.decides.is_none_or(|decides| {
                !decides.quick || position(filter, own) < position(filter, decides)
            }) {
                self.decides = Some(own);
            }
        }
        if self.redirects && self.lets_in() && !self.decides_itself() && !self.redirection_passes()
        {
            let text = self
                .decides
                .map(|rule| rule.text.clone())
                .unwrap_or_default();
            self.say(
                "other-pass",
                format!("Another loaded rule lets the service's port through: {text}."),
            );
        }
        let blocked = !self.passes.is_empty() && !self.lets_in();
        if let Some(block) = self.decides.filter(|_| blocked) {
            let text = block.text.clone();
            self.say(
                "shadowed",
                format!("The filter rule is loaded, but another rule blocks its traffic: {text}."),
            );
        }
    }

    /// Names rules of interface groups: whether the outside device is a member cannot be seen from the rules.
    fn look_at_groups(&mut self, filter: &[Rule], query: Query<'_>) {
        let passes = |rule: &&Rule| {
            rule.action == Action::Pass
                && sees_inbound_tcp(rule, query.service)
                && on(rule, query.device) == On::Group
                && port_included(rule.to.port.as_deref(), query.service.port)
                && includes_service(&rule.to, query.service)
        };
        if let Some(rule) = filter.iter().find(passes) {
            let text = &rule.text;
            self.say("group-pass", format!("A rule of an interface group lets the service's port through, on the outside too if that is a member: {text}."));
        }
    }

    fn find_blocks(&mut self, filter: &'a [Rule], service: &Service) {
        let table = service.table.as_str();
        let blocks = |rule: &&Rule| {
            rule.action == Action::Block
                && rule.quick
                && !rule.from.negated
                && table_name(&rule.from.host) == Some(table)
        };
        self.blocks = filter.iter().filter(blocks).collect();
        if self.blocks.is_empty() {
            self.say(
                "block-missing",
                format!(
                    "No loaded rule blocks the table {table}: addresses in it are not kept out."
                ),
            );
        }
    }
}

/// Whether a translation rule is a redirection, or an exception to one, of the service's port.
fn redirects_port(rule: &Rule, service: &Service) -> bool {
    let redirection = match &rule.action {
        Action::Rdr { .. } => true,
        Action::No(kind) => kind == "rdr",
        _ => false,
    };
    redirection
        && rule.depth == 0
        && sees_inbound_tcp(rule, service)
        && port_included(rule.to.port.as_deref(), service.port)
}

/// Whether a filter rule looks at inbound TCP to the service's port on the outside device.
fn looks_at(rule: &Rule, query: Query<'_>) -> bool {
    sees_inbound_tcp(rule, query.service)
        // What is printed inside an anchor's braces belongs to the anchor, which has conditions of its own.
        && rule.depth == 0
        && on(rule, query.device) == On::Device
        && port_included(rule.to.port.as_deref(), query.service.port)
}

fn position(rules: &[Rule], wanted: &Rule) -> Option<usize> {
    rules.iter().position(|rule| std::ptr::eq(rule, wanted))
}
