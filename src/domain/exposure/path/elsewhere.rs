//! The service's port where no redirection leads to the service: does it lead to something else, and is that let in?
//! A misspelt alias looks like this, and so does the time before the exposure was moved to an alias of its own.

use super::super::matching::{On, looks_at_device, table_name};
use super::Query;
use super::deciding::RuleVerdict;
use super::redirection::redirects_port;
use crate::domain::pf::rule::{Action, Rule};
use crate::domain::ratelimit::Caps;
use crate::domain::service::Service;

/// Where the port leads instead.
#[derive(Clone, Copy, Debug)]
pub struct OtherRedirection<'a> {
    /// The loaded redirection.
    pub redirection: &'a Rule,
    /// The filter rule that decides about its connections.
    pub decides: Option<&'a Rule>,
}

impl<'a> OtherRedirection<'a> {
    pub(super) fn find(filter: &'a [Rule], nat: &'a [Rule], query: Query<'_>) -> Option<Self> {
        let redirects = |rule: &&Rule| {
            matches!(rule.action, Action::Rdr { .. })
                && redirects_port(rule, query.service)
                && looks_at_device(rule, query.device) == On::Device
        };
        let redirection = nat.iter().find(redirects)?;
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
        let device = query.device.or(redirection
            .interface
            .as_ref()
            .map(|interface| interface.name.as_str()));
        let query = Query {
            service: &there,
            inside_port: there.port,
            device,
            ..query
        };
        Some(Self {
            redirection,
            decides: RuleVerdict::find(filter, query).decides,
        })
    }

    /// Returns whether its connections are let in.
    pub fn lets_in(&self) -> bool {
        self.redirection_passes() || self.decides.is_none_or(|rule| rule.action == Action::Pass)
    }

    /// Returns the caps of the rule that lets its connections in.
    pub fn caps(&self) -> Caps {
        self.decides
            .filter(|_| !self.redirection_passes())
            .map(Caps::of_loaded)
            .unwrap_or_default()
    }

    fn redirection_passes(&self) -> bool {
        self.redirection.action == Action::Rdr { pass: true }
    }
}
