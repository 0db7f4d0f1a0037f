//! The redirections of the service's port on the outside device: which are the exposure's, and whether a connection
//! meets another one first.

use super::super::matching::{
    On, Sources, Truth, from_anywhere, looks_at_device, port_included, rule_sources, same_place,
    sees_inbound_tcp, target_is_service,
};
use super::{Path, Query};
use crate::domain::pf::rule::{Action, Rule};
use crate::domain::service::Service;

impl<'a> Path<'a> {
    /// Returns the outside device: the one asked for, or that of the first redirection to the service.
    pub(super) fn find_redirections(
        &mut self,
        nat: &'a [Rule],
        query: Query<'a>,
    ) -> Option<&'a str> {
        let service = query.service;
        let candidates: Vec<&Rule> =
            nat.iter().filter(|rule| redirects_port(rule, service)).collect();
        let to_service = |rule: &Rule| is_to_service(rule, service);
        // pfSense writes the outside redirection before those of reflection.
        let first = candidates.iter().find(|rule| to_service(rule));
        let device = query.device.or(first
            .and_then(|rule| rule.interface.as_ref())
            .map(|interface| interface.name.as_str()));
        let here: Vec<&Rule> = candidates
            .iter()
            .copied()
            .filter(|rule| looks_at_device(rule, device) == On::Device)
            .collect();
        self.redirections = here.iter().copied().filter(|rule| to_service(rule)).collect();
        let own = self.redirections.first().copied();
        let before: Vec<&Rule> = here
            .into_iter()
            .take_while(|rule| !own.is_some_and(|own| std::ptr::eq(own, *rule)))
            .collect();
        // Without a redirection of ours, where the port leads instead is [`super::OtherRedirection`]'s to tell.
        self.redirects = own.is_some_and(|own| !self.look_at_earlier(&before, own, query));
        self.look_at_redirected_sources();
        device
    }

    /// Names the rules that a connection meets before the exposure's own, and says whether one takes everybody.
    ///
    /// An exception for some sources, or a forward of another outside address, takes nothing away.
    fn look_at_earlier(&mut self, before: &[&Rule], own: &Rule, query: Query<'_>) -> bool {
        let port = query.service.port;
        for rule in before {
            let place = same_place(&rule.to, &own.to, query.outside);
            let who = rule_sources(rule);
            if place == Truth::No || matches!(who, Sources::Some | Sources::None) {
                continue;
            }
            let code = if matches!(rule.action, Action::Rdr { .. }) {
                "other-target"
            } else {
                "no-rdr-exception"
            };
            let takes = (place, who) == (Truth::Yes, Sources::All);
            let how = match (place, who) {
                _ if takes => format!("Connections to port {port}"),
                (Truth::Yes, _) => format!("Most connections to port {port}"),
                // What the interface's own addresses are is not in the rules.
                _ => format!("Connections to port {port} may"),
            };
            self.say(code, rule.rule_sentences(&format!("{how} meet another loaded rule first")));
            if takes {
                return true;
            }
        }
        false
    }

    fn look_at_redirected_sources(&mut self) {
        let limited = self.redirections.iter().all(|rule| !from_anywhere(rule));
        if let Some(first) = self.redirections.first().filter(|_| limited) {
            let from = super::printed_source(first);
            self.say(
                "source-limited",
                format!("The loaded port forward takes only connections from {from}."),
            );
        }
    }
}

fn is_to_service(rule: &Rule, service: &Service) -> bool {
    matches!(rule.action, Action::Rdr { .. }) && target_is_service(rule.target.as_deref(), service)
}

/// Whether a translation rule is a redirection, or an exception to one, of the service's port.
pub(super) fn redirects_port(rule: &Rule, service: &Service) -> bool {
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
