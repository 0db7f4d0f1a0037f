//! The service's port where no redirection leads to the service: does it lead to something else, and is that let in?
//! A misspelt alias looks like this, and so does the time before the exposure was moved to an alias of its own.

use super::super::matching::{
    On, Sources, Truth, looks_at_device, rule_sources, same_place, table_name,
};
use super::Query;
use super::deciding::RuleVerdict;
use super::redirection::redirects_port;
use crate::domain::pf::rule::{Action, Endpoint, Rule};
use crate::domain::ratelimit::Caps;
use crate::domain::service::Service;

/// Where the port leads instead.
#[derive(Clone, Copy, Debug)]
pub struct OtherRedirection<'a> {
    pub redirection: &'a Rule,
    pub decides: Option<&'a Rule>,
}

impl<'a> OtherRedirection<'a> {
    pub(super) fn find(filter: &'a [Rule], nat: &'a [Rule], query: Query<'_>) -> Option<Self> {
        // The port of a virtual address is another service's.
        let own = query
            .outside
            .map(|address| Endpoint { host: address.to_string(), ..Endpoint::default() });
        let is_here = |rule: &&Rule| {
            let place = own.as_ref().map(|own| same_place(&rule.to, own, query.outside));
            redirects_port(rule, query.service)
                && looks_at_device(rule, query.device) == On::Device
                && place != Some(Truth::No)
        };
        let is_redirection = |rule: &&Rule| matches!(rule.action, Action::Rdr { .. });
        let mut here = nat.iter().filter(is_here);
        let wide = here.clone().find(|rule| is_wide(rule));
        let redirection = wide.or_else(|| here.find(is_redirection)).filter(is_redirection)?;
        let host = redirection.target_hosts().first().copied()?;
        let there = Service {
            // What a table holds is not known: perhaps the service, under another name.
            alias: table_name(host).unwrap_or(host).to_owned(),
            address: host.parse().unwrap_or(query.service.address),
            port: redirection
                .target_port()
                .and_then(|port| port.parse().ok())
                .unwrap_or(query.service.port),
            ..query.service.clone()
        };
        let device = query
            .device
            .or(redirection.interface.as_ref().map(|interface| interface.name.as_str()));
        let query = Query { service: &there, inside_port: there.port, device, ..query };
        Some(Self { redirection, decides: RuleVerdict::find(filter, query).decides })
    }

    /// Returns whether its connections are let in, and those of nearly everybody are.
    pub fn lets_in(&self) -> bool {
        self.takes_everybody()
            && (self.redirection_passes()
                || self.decides.is_none_or(|rule| rule.action == Action::Pass))
    }

    /// Returns whether it takes the connections of nearly everybody.
    pub fn takes_everybody(&self) -> bool {
        is_wide(self.redirection)
    }

    /// Returns the caps of the rule that lets its connections in.
    pub fn caps(&self) -> Caps {
        self.decides.filter(|_| !self.redirection_passes()).map(Caps::of_loaded).unwrap_or_default()
    }

    fn redirection_passes(&self) -> bool {
        self.redirection.action == Action::Rdr { pass: true }
    }
}

fn is_wide(rule: &Rule) -> bool {
    matches!(rule_sources(rule), Sources::All | Sources::Most)
}
